//! Tries the way to each centre step by step, for `fanal check --link`.
//!
//! A link of its own would replace that of a gateway that runs, and interrupt its
//! pictures. So beside a running gateway only handshakes are made, and what needs
//! a link (clock, rate) is left to its metrics.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::pki_types::CertificateDer;
use serde::Serialize;
use tokio::time::{timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::claims::Claims;
use super::dial::targets;
use super::endpoint::{self, Error};
use super::reach::{CONNECT_TIMEOUT, Opened, Sockets, Way, greet, resolve};
use super::tls;
use super::transport::Connection;
use crate::clock::Clock;
use crate::config::settings;
use crate::format::control::ToGateway;
use crate::format::trust::dns_names;
use crate::metrics::health::{Check, State};
use crate::pki::Kept;

/// How long a centre has to refuse our certificate after the handshake, which
/// for us is over before it has looked.
const REFUSAL: Duration = Duration::from_millis(750);
/// How long a centre has to tell its time.
const TIME: Duration = Duration::from_secs(3);
/// The rate is measured for so long, or until so many bytes went.
const RATE: (Duration, usize) = (Duration::from_secs(5), 2 * 1024 * 1024);
/// Bytes that may be on their way meanwhile, and are not counted.
const RATE_WINDOW: usize = 256 * 1024;
/// Offsets from which a clock is pointed out, and from which requests fail.
const CLOCK: (i64, i64) = (5, 60);
/// Datagrams below this size cost noticeably more for the same pictures.
const SMALL_MTU: u16 = 1_280;

/// What was found at one address.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The centre.
    pub centre: String,
    /// As the settings have it.
    pub address: String,
    /// The name's addresses.
    pub found: Option<SocketAddr>,
    /// Each step that was taken, in order.
    pub steps: Vec<Step>,
}

/// One step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// `dns`, `udp`, `tcp`, `peer`, `mtu`, `clock`, `rate`.
    pub step: &'static str,
    /// How it went.
    #[serde(flatten)]
    pub check: Check,
}

impl Report {
    /// Whether no link can come about here.
    pub fn failed(&self) -> bool {
        let failed = |step: &Step| step.check.state == State::Failed;
        self.steps.iter().any(failed)
    }

    fn add(&mut self, step: &'static str, check: Check) {
        self.steps.push(Step { step, check });
    }
}

/// Tries every address of every centre; `beside` a gateway that runs only as far
/// as that does it no harm. Must be called on a runtime.
///
/// # Errors
/// Certificates or keys that can't be read, or no socket.
pub async fn probe(
    settings: &settings::Gateway,
    clock: &Clock,
    beside: bool,
) -> Result<Vec<Report>, Error> {
    let kept = Kept::reading(&settings.state_dir);
    let (targets, _) = targets(settings, &kept, clock, &Claims::default())?;
    let (quic, parity) = endpoint::dial()?;
    let sockets = Sockets {
        quic,
        parity,
        carriers: TaskTracker::new(),
    };
    let prober = Prober {
        sockets,
        clock,
        beside,
        max_bitrate: settings.uplink.max_bitrate,
    };
    let mut reports = Vec::new();
    for ((centre, address), target) in targets.iter() {
        let report = |found| Report {
            centre: centre.to_string(),
            address: address.clone(),
            found,
            steps: Vec::new(),
        };
        match resolve(address).await {
            Ok(all) => {
                for found in all {
                    let mut report = report(Some(found));
                    report.add("dns", Check::ok(found.ip().to_string()));
                    prober.address(&target.way, found, &mut report).await;
                    reports.push(report);
                }
            }
            Err(cause) => {
                let remedy = "check the name in addresses, and this machine's name server";
                let mut report = report(None);
                report.add("dns", Check::failed(cause, remedy));
                reports.push(report);
            }
        }
    }
    prober.sockets.part().await;
    Ok(reports)
}

/// How a handshake went.
enum Tried {
    Accepted(Connection),
    Refused(String),
    Silent,
}

struct Prober<'a> {
    sockets: Sockets,
    clock: &'a Clock,
    beside: bool,
    max_bitrate: Option<u64>,
}

impl Prober<'_> {
    async fn address(&self, way: &Way, found: SocketAddr, report: &mut Report) {
        let udp = tried(self.sockets.connect_quic(way, found)).await;
        let tcp = tried(self.sockets.connect_tcp(way, found, Duration::ZERO)).await;
        let port = found.port();
        report.add("udp", shown("UDP", port, &udp, &tcp));
        report.add("tcp", shown("TCP", port, &tcp, &udp));
        if !matches!(tcp, Tried::Accepted(_)) {
            let answers = timeout(CONNECT_TIMEOUT, way.tunnel.shown(found)).await;
            if let Ok(Ok(Some(certificate))) = answers
                && let Some(check) = stranger(&certificate, &way.centre, &report.address)
            {
                report.add("peer", check);
            }
        }
        let quic = match &udp {
            Tried::Accepted(connection) => Some(connection.clone()),
            Tried::Refused(_) | Tried::Silent => None,
        };
        if let (Tried::Accepted(connection), _) | (_, Tried::Accepted(connection)) = (udp, tcp) {
            self.centre(connection, report).await;
        }
        // Last: its discovery takes some round trips.
        if let Some(connection) = quic {
            report.add("mtu", mtu(connection.stats().mtu));
        }
    }

    /// What a centre that accepts us tells.
    async fn centre(&self, connection: Connection, report: &mut Report) {
        let leaf = connection.certificates();
        let peer = leaf.first().map(tls::describe).unwrap_or_default();
        report.add("peer", Check::ok(peer));
        if self.beside {
            let metric = "fanal_gateway_link_clock_offset_seconds";
            let text = format!("not measured beside the gateway that runs, which has {metric}");
            report.add("clock", Check::ok(text));
            return;
        }
        match timeout(CONNECT_TIMEOUT, greet(connection)).await {
            Ok(Ok(opened)) => self.link(opened, report).await,
            Ok(Err(cause)) => report.add("clock", refused(&cause)),
            Err(_) => {
                let remedy = "see the centre's log; it may be overloaded";
                report.add("clock", Check::failed("the centre opens no link", remedy));
            }
        }
    }

    /// What only a link can tell.
    async fn link(&self, mut opened: Opened, report: &mut Report) {
        let told = async {
            loop {
                match opened.receive.message::<ToGateway>().await {
                    Ok(ToGateway::Time { wall, .. }) => return wall,
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        let told = timeout(TIME, told).await.ok().flatten();
        let half = i64::try_from(opened.connection.rtt().as_micros() / 2).unwrap_or(0);
        let now = self.clock.now().wall.0;
        report.add("clock", clock(told.map(|wall| wall + half - now)));
        report.add("rate", rate(measure(&mut opened).await, self.max_bitrate));
    }
}

/// Makes a handshake, and waits whether the centre refuses us after it.
async fn tried(connecting: impl Future<Output = Result<Connection, String>>) -> Tried {
    match timeout(CONNECT_TIMEOUT, connecting).await {
        Err(_) => Tried::Silent,
        Ok(Err(cause)) => Tried::Refused(cause),
        Ok(Ok(connection)) => match timeout(REFUSAL, connection.closed()).await {
            Ok(closed) => Tried::Refused(closed.to_string()),
            Err(_) => Tried::Accepted(connection),
        },
    }
}

/// A handshake's step; one transport makes up for the other's silence.
fn shown(name: &str, port: u16, tried: &Tried, other: &Tried) -> Check {
    let detail = "no answer";
    let remedy = format!("open outbound {name} {port} at the commune and inbound at the centre");
    match (tried, other) {
        (Tried::Accepted(connection), _) => {
            let rtt = connection.rtt().as_secs_f64() * 1_000.0;
            Check::ok(format!("accepted, round trip {rtt:.1} ms"))
        }
        (Tried::Refused(cause), Tried::Accepted(_)) if !is_closed(cause) => {
            Check::warning(cause.clone(), remedy)
        }
        (Tried::Refused(cause), Tried::Accepted(_)) => {
            let remedy = format!(
                "nothing takes {name} on port {port}: a firewall that answers for the centre, or another program; the link has no fall-back meanwhile"
            );
            Check::warning(cause.clone(), remedy)
        }
        (Tried::Refused(cause), _) if is_closed(cause) => {
            Check::failed(cause.clone(), closed(port))
        }
        (Tried::Refused(cause), _) => refused(cause),
        (Tried::Silent, Tried::Accepted(_)) => {
            Check::warning(format!("{detail}: {name} is dropped on the way"), remedy)
        }
        (Tried::Silent, Tried::Refused(cause)) if is_closed(cause) => {
            Check::failed(detail, closed(port))
        }
        (Tried::Silent, _) => Check::failed(detail, remedy),
    }
}

/// The system's word that nothing listens.
fn is_closed(cause: &str) -> bool {
    cause.contains("Connection refused")
}

fn closed(port: u16) -> String {
    format!(
        "nothing listens on port {port} there: is the receiver running, and is that the port of its [link] listen? is the address right?"
    )
}

/// What to do about a handshake that was refused, by its cause.
fn refused(cause: &str) -> Check {
    let says = |words: &[&str]| words.iter().any(|word| cause.contains(word));
    let remedy = if says(&["unreachable", "No route"]) {
        "this machine has no way there: look at its network settings, or a firewall that says so"
    } else if says(&["xpired", "NotValidYet", "not valid yet"]) {
        "a certificate has ended or does not begin yet: see fanal check on both sides, and compare both clocks"
    } else if says(&["UnknownIssuer", "UnknownCA", "unknown ca", "unknown issuer"]) {
        "the other side's certificate is of another authority: exchange the files of authority, or look for a firewall that opens TLS"
    } else if says(&["evoked"]) {
        "the certificate was revoked: ask the authority for a new one"
    } else {
        "compare the names, authorities and revocation lists of both ends; \
         the centre's log has its side"
    };
    Check::failed(cause, remedy)
}

/// Who answers over TCP, where that is not the centre.
fn stranger(certificate: &CertificateDer<'_>, centre: &str, address: &str) -> Option<Check> {
    if dns_names(certificate).iter().any(|name| name == centre) {
        return None;
    }
    let found = tls::describe(certificate);
    let remedy = format!(
        "that is not {centre}: a firewall that opens and inspects TLS (have {address} exempted), or another server at this address"
    );
    Some(Check::failed(found, remedy))
}

fn mtu(bytes: u16) -> Check {
    let detail = format!("datagrams of {bytes} bytes");
    if bytes < SMALL_MTU {
        Check::warning(detail, "look for a tunnel or a VPN on the way")
    } else {
        Check::ok(detail)
    }
}

/// The step `clock`: the centre's clock less ours, in µs; `None`: it does not tell.
pub fn clock(offset_us: Option<i64>) -> Check {
    let remedy = "set both machines' clocks by NTP";
    let Some(offset) = offset_us else {
        return Check::warning("the centre does not tell its time", "update it");
    };
    let seconds = offset.abs() / 1_000_000;
    #[allow(clippy::cast_precision_loss)] // for people
    let detail = format!(
        "the centre's clock is {:+.3} s from ours",
        offset as f64 / 1e6
    );
    match seconds {
        _ if seconds >= CLOCK.1 => Check::failed(detail, remedy),
        _ if seconds >= CLOCK.0 => Check::warning(detail, remedy),
        _ => Check::ok(detail),
    }
}

/// Bits a second that the link carried, on the control stream: a message of a
/// type that nobody knows and every version ignores. `None` where it broke.
async fn measure(opened: &mut Opened) -> Option<u64> {
    const HEAD: &[u8] = br#"{"type":"rate","fill":""#;
    const TAIL: &[u8] = br#""}"#;
    const PIECE: usize = 16 * 1024;
    let piece = Bytes::from(vec![b'x'; PIECE]);
    opened.connection.set_send_window(RATE_WINDOW as u64);
    let start = Instant::now();
    let deadline = tokio::time::Instant::from_std(start + RATE.0);
    let mut written = 0;
    while written < RATE.1 {
        // Messages of half a megabyte, their limit being a whole one.
        let length = HEAD.len() + 32 * PIECE + TAIL.len();
        let head = [&u32::try_from(length).ok()?.to_be_bytes()[..], HEAD].concat();
        let parts = std::iter::once(Bytes::from(head))
            .chain(std::iter::repeat_n(piece.clone(), 32))
            .chain(std::iter::once(Bytes::from_static(TAIL)));
        for part in parts {
            let bytes = part.len();
            match timeout_at(deadline, opened.send.write_chunk(part)).await {
                Ok(Ok(())) => written += bytes,
                Ok(Err(_)) => return None,
                Err(_) => return Some(bit_rate(written, RATE.0)),
            }
        }
    }
    Some(bit_rate(written, start.elapsed()))
}

/// What is still on its way does not count.
fn bit_rate(written: usize, elapsed: Duration) -> u64 {
    let bits = written.saturating_sub(RATE_WINDOW) as u128 * 8;
    u64::try_from(bits * 1_000_000 / elapsed.as_micros().max(1)).unwrap_or(u64::MAX)
}

fn rate(measured: Option<u64>, max_bitrate: Option<u64>) -> Check {
    let Some(bits) = measured else {
        return Check::warning("the link broke while it was measured", "try again");
    };
    #[allow(clippy::cast_precision_loss)] // for people
    let detail = format!("about {:.1} Mbit/s up", bits as f64 / 1e6);
    match max_bitrate {
        Some(limit) if bits < limit / 10 * 8 => Check::warning(
            format!("{detail}, less than max_bitrate"),
            "set [uplink] max_bitrate to what the line carries",
        ),
        _ => Check::ok(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_its_way_is_no_rate() {
        let second = Duration::from_secs(1);
        assert_eq!(bit_rate(RATE_WINDOW, second), 0);
        assert_eq!(bit_rate(RATE_WINDOW + 125_000, second), 1_000_000);
        assert_eq!(rate(Some(9_000_000), Some(10_000_000)).state, State::Ok);
        assert_eq!(
            rate(Some(7_000_000), Some(10_000_000)).state,
            State::Warning
        );
        assert_eq!(rate(Some(7_000_000), None).state, State::Ok);
        assert_eq!(rate(None, None).state, State::Warning);
    }

    #[test]
    fn clocks_are_judged_as_requests_will_be() {
        assert_eq!(clock(Some(-4_900_000)).state, State::Ok);
        assert_eq!(clock(Some(5_000_000)).state, State::Warning);
        assert_eq!(clock(Some(-61_000_000)).state, State::Failed);
        assert_eq!(clock(None).state, State::Warning);
    }

    #[test]
    fn one_transport_makes_up_for_the_others_silence_but_not_for_a_refusal_of_both() {
        let silent = shown("UDP", 4433, &Tried::Silent, &Tried::Silent);
        assert_eq!(silent.state, State::Failed);
        assert!(
            silent.remedy.contains("outbound UDP 4433"),
            "{}",
            silent.remedy
        );
        let refusal = || Tried::Refused("certificate revoked".to_owned());
        assert_eq!(shown("UDP", 1, &refusal(), &refusal()).state, State::Failed);
        assert!(
            shown("TCP", 1, &refusal(), &refusal())
                .remedy
                .contains("revoked")
        );
    }

    #[test]
    fn a_closed_port_is_told_from_a_filter_and_from_a_certificate() {
        let closed = || Tried::Refused("Connection refused (os error 111)".to_owned());
        for (name, tried, other) in [
            ("TCP", closed(), Tried::Silent),
            ("UDP", Tried::Silent, closed()),
        ] {
            let check = shown(name, 4433, &tried, &other);
            assert_eq!(check.state, State::Failed);
            assert!(
                check.remedy.contains("is the receiver running"),
                "{check:?}"
            );
            assert!(!check.remedy.contains("authorities"), "{check:?}");
        }
        for (cause, remedy) in [
            ("Network is unreachable (os error 101)", "no way there"),
            ("invalid peer certificate: Expired", "both clocks"),
            ("invalid peer certificate: NotValidYet", "both clocks"),
            (
                "invalid peer certificate: UnknownIssuer",
                "another authority",
            ),
            ("something else", "compare the names"),
        ] {
            let check = refused(cause);
            assert!(check.remedy.contains(remedy), "{check:?}");
        }
    }

    #[test]
    fn who_answers_for_the_centre_is_named_with_the_issuer() {
        let trial = crate::certs::trial::Trial::new(Clock::system().now().wall).unwrap();
        let identity = trial.machine("proxy").unwrap();
        let shown = crate::format::pem::certificates(identity.certificate.as_bytes());
        let shown = shown.unwrap().remove(0);
        assert_eq!(stranger(&shown, "proxy", "x:1"), None);
        let check = stranger(&shown, "corg-13", "corg13.example:4433").unwrap();
        assert!(
            check
                .detail
                .starts_with("proxy, signed by CN=fanal link authority"),
            "{check:?}"
        );
        assert!(check.remedy.contains("corg13.example:4433 exempted"));
    }
}
