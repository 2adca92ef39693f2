//! Connects to a name that has several addresses (RFC 8305): families alternate,
//! the next address is tried a moment after the one before or as soon as that has
//! failed, and the first that answers wins. A dead address among live ones costs
//! [`STAGGER`], not a time-out. And which names are this machine's own.

pub mod listen;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// From one attempt to the next while none has ended (RFC 8305 8).
pub const STAGGER: Duration = Duration::from_millis(250);

/// Most addresses of one name that are tried.
pub const ADDRESSES_LIMIT: usize = 8;

/// What one peer has at no cost, so what its share is counted by: an IPv4 address, however it
/// is written, or the /64 network around an IPv6 address.
pub fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) if v6.is_loopback() => v6.into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// The first connection that an address of `host` accepts, and whether an address
/// tried before did not answer.
///
/// # Errors
/// The name has no address, or the last error of its addresses. It has no limit in
/// time of its own: the caller has.
pub async fn connect(host: &str, port: u16) -> io::Result<(TcpStream, bool)> {
    let addresses = tokio::net::lookup_host((host, port)).await?;
    match race(alternate(addresses), STAGGER, TcpStream::connect).await {
        Ok((stream, at)) => Ok((stream, at > 0)),
        Err(mut errors) => Err(errors
            .pop()
            .unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))),
    }
}

/// Runs `attempt` on the addresses in turn, `stagger` apart; the first success with
/// its place in the list.
///
/// # Errors
/// Those of all addresses, in the order in which they failed.
pub async fn race<T, E, F, A>(
    addresses: Vec<SocketAddr>,
    stagger: Duration,
    attempt: A,
) -> Result<(T, usize), Vec<E>>
where
    F: Future<Output = Result<T, E>>,
    A: Fn(SocketAddr) -> F,
{
    let mut waiting = addresses.into_iter().enumerate();
    let mut running = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        if let Some((at, address)) = waiting.next() {
            let attempted = attempt(address);
            running.push(async move { attempted.await.map(|made| (made, at)) });
        } else if running.is_empty() {
            return Err(errors);
        }
        let next = tokio::time::sleep(stagger);
        tokio::pin!(next);
        tokio::select! {
            biased;
            Some(ended) = running.next() => match ended {
                Ok(made) => return Ok(made),
                Err(error) => errors.push(error),
            },
            () = &mut next, if waiting.len() > 0 => {}
        }
    }
}

/// Families in turn, from that of the first address; at most [`ADDRESSES_LIMIT`].
pub fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let all: Vec<_> = addresses.collect();
    let first = all.first().is_some_and(SocketAddr::is_ipv6);
    let (mut own, mut other): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    own.reverse();
    other.reverse();
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES_LIMIT {
        let before = turns.len();
        turns.extend(own.pop());
        turns.extend(other.pop());
        if turns.len() == before {
            break;
        }
    }
    turns.truncate(ADDRESSES_LIMIT);
    turns
}

/// `localhost` or an address of the loopback network.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_of_ipv6_is_one_place() {
        let place = |text: &str| place(text.parse().unwrap());
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:2"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("10.0.0.1"), place("::ffff:10.0.0.1"));
        assert_ne!(place("10.0.0.1"), place("10.0.0.2"));
        assert!(place("::1").is_loopback());
    }

    #[test]
    fn families_alternate() {
        let all = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1"].map(address);
        let turns = alternate(all.into_iter());
        let right = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(turns, right);
        assert!(alternate(std::iter::empty()).is_empty());
        let many = (0..100).map(|port| SocketAddr::from(([1, 1, 1, 1], port)));
        assert_eq!(alternate(many).len(), ADDRESSES_LIMIT);
    }

    #[tokio::test]
    async fn a_silent_address_and_a_refusal_do_not_stand_in_the_way() {
        let addresses = ["1.0.0.1:1", "1.0.0.2:1", "1.0.0.3:1"]
            .map(address)
            .to_vec();
        let made = race(addresses.clone(), Duration::ZERO, |to| async move {
            match to.ip().to_string().as_str() {
                "1.0.0.1" => std::future::pending().await,
                "1.0.0.2" => Err(()),
                _ => Ok(to),
            }
        });
        assert_eq!(made.await.unwrap(), (address("1.0.0.3:1"), 2));
        // An hour apart: only refusals bring the next one's turn.
        let hour = Duration::from_secs(3_600);
        let refused = race(addresses, hour, |to| async move { Err::<(), _>(to) });
        let errors = refused.await.unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        let none = race(Vec::new(), hour, |_| async { Ok::<_, ()>(()) }).await;
        assert_eq!(none.unwrap_err(), []);
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "::1"] {
            assert!(is_loopback(host), "{host}");
        }
        for other in [
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "0",
        ] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
