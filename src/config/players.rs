//! Which URL players get. Pure.

use std::net::SocketAddr;

use super::settings::Rtsp;
use crate::connect::is_loopback;

/// Start of the URLs that grants carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Players {
    /// `rtsps` where the URL leads to TLS.
    pub scheme: &'static str,
    /// Where players connect to; `None`: by the name under which the console is
    /// called, for this machine listens on all its addresses and `address` is not set.
    pub host: Option<String>,
    /// The port there.
    pub port: u16,
}

impl Rtsp {
    /// What players get, with clear RTSP and RTSPS on these addresses; `None` where
    /// neither is there. TLS where `address` leads to it, and where clear RTSP does
    /// not leave this machine.
    pub fn players(&self, clear: Option<SocketAddr>, tls: Option<SocketAddr>) -> Option<Players> {
        let named = self.address.as_deref().and_then(|address| {
            let (host, port) = address.rsplit_once(':')?;
            Some((host, port.parse::<u16>().ok()?))
        });
        let is_encrypted = match (clear, tls) {
            (Some(clear), Some(tls)) => is_encrypted(clear, tls, named),
            (clear, _) => clear.is_none(),
        };
        let (scheme, bound, other) = if is_encrypted {
            ("rtsps", tls?, clear)
        } else {
            ("rtsp", clear?, tls)
        };
        let host = match named {
            Some((host, _)) => Some(host.to_owned()),
            None if bound.ip().is_unspecified() => None,
            None => Some(bracketed(&bound.ip().to_string())),
        };
        // A port that leads to the other of both can't be meant.
        let named = named.map(|(_, port)| port);
        let is_other = |port: &u16| other.is_some_and(|other| other.port() == *port);
        let port = named.filter(|port| *port == bound.port() || !is_other(port));
        Some(Players {
            scheme,
            host,
            port: port.unwrap_or_else(|| bound.port()),
        })
    }
}

impl Players {
    /// `host:port`; `called` is the host by which the console was called, without port.
    pub fn authority(&self, called: &str) -> String {
        match &self.host {
            Some(host) => format!("{host}:{}", self.port),
            None => format!("{}:{}", bracketed(called), self.port),
        }
    }
}

/// Whether players are led to TLS where both are there.
fn is_encrypted(clear: SocketAddr, tls: SocketAddr, named: Option<(&str, u16)>) -> bool {
    let is_local = clear.ip().is_loopback();
    match named {
        _ if clear.port() == tls.port() => is_local,
        Some((_, port)) if port == tls.port() => true,
        Some((host, port)) if port == clear.port() => {
            // To a name of this machine alone it may well lead.
            is_local && !is_loopback(host.trim_matches(['[', ']']))
        }
        // Forwarded from elsewhere: by the usual numbers, or else as without a name.
        Some((_, 322 | 8322)) => true,
        Some((_, 554 | 8554)) => false,
        _ => is_local,
    }
}

/// As a URL wants it: IPv6 addresses in brackets.
fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(clear: &str, tls: &str, address: &str) -> Option<String> {
        let parse = |text: &str| text.parse().ok();
        let rtsp = Rtsp {
            listen: parse(clear),
            tls_listen: parse(tls),
            tls: None,
            address: (!address.is_empty()).then(|| address.to_owned()),
            plain: false,
            udp: true,
        };
        let players = rtsp.players(rtsp.listen, rtsp.tls_listen)?;
        Some(format!(
            "{}://{}",
            players.scheme,
            players.authority("called")
        ))
    }

    #[test]
    fn the_url_leads_to_what_is_there() {
        const LOCAL: &str = "127.0.0.1:8554";
        const ALL: &str = "0.0.0.0:8554";
        const TLS: &str = "0.0.0.0:8322";
        for (clear, tls, address, expected) in [
            ("", "", "h:1", ""),
            (LOCAL, "", "", "rtsp://127.0.0.1:8554"),
            ("[::1]:8554", "", "", "rtsp://[::1]:8554"),
            ("10.0.0.1:8554", "", "", "rtsp://10.0.0.1:8554"),
            (ALL, "", "", "rtsp://called:8554"),
            (ALL, "", "h:8554", "rtsp://h:8554"),
            (ALL, "", "h:554", "rtsp://h:554"),
            // RTSPS beside clear RTSP on this machine alone.
            (LOCAL, TLS, "", "rtsps://called:8322"),
            (LOCAL, TLS, "h:8322", "rtsps://h:8322"),
            (LOCAL, TLS, "h:8554", "rtsps://h:8322"),
            (LOCAL, TLS, "localhost:8554", "rtsp://localhost:8554"),
            (LOCAL, TLS, "h:9000", "rtsps://h:9000"),
            (LOCAL, "10.0.0.1:8322", "", "rtsps://10.0.0.1:8322"),
            // Both are reached from elsewhere.
            (ALL, TLS, "", "rtsp://called:8554"),
            (ALL, TLS, "h:8554", "rtsp://h:8554"),
            (ALL, TLS, "h:8322", "rtsps://h:8322"),
            (ALL, TLS, "[2001:db8::1]:322", "rtsps://[2001:db8::1]:322"),
            (ALL, "0.0.0.0:9443", "h:8322", "rtsps://h:8322"),
            // RTSPS alone.
            ("", TLS, "", "rtsps://called:8322"),
            ("", TLS, "h:8554", "rtsps://h:8554"),
            ("", "[::]:8322", "h:443", "rtsps://h:443"),
        ] {
            let given = url(clear, tls, address).unwrap_or_default();
            assert_eq!(given, expected, "{clear} {tls} {address}");
        }
    }
}
