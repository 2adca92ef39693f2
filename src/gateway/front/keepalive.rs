//! The request that tells a camera that its session is still wanted, and how often it is
//! sent. RFC 2326 has none, so cameras differ in what they count.

use std::time::Duration;

/// Between two where the camera names no timeout. RFC 2326 12.37 says 60 s; there are
/// cameras that name none and hang up after 15 or 20 s.
const USUAL: Duration = Duration::from_secs(5);

/// Bounds of a third of the timeout that a camera names.
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(20);

/// What cameras know it by, in the order in which they do it well; all know OPTIONS.
const METHODS: [&str; 2] = ["GET_PARAMETER", "SET_PARAMETER"];

/// How a session is kept alive.
#[derive(Debug)]
pub(super) struct Keepalive {
    timeout: Option<Duration>,
    /// The methods that the camera names, in capitals.
    public: Option<String>,
    method: &'static str,
    /// It is sent again, signed for a new challenge.
    is_repeated: bool,
}

impl Keepalive {
    /// Nothing is known of the camera.
    pub(super) const fn new() -> Self {
        Self {
            timeout: None,
            public: None,
            method: "OPTIONS",
            is_repeated: false,
        }
    }

    /// How often it is sent.
    pub(super) fn interval(&self) -> Duration {
        self.timeout
            .map_or(USUAL, |timeout| (timeout / 3).clamp(LEAST, MOST))
    }

    /// The camera names its timeout.
    pub(super) const fn note_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// The camera names its methods (RFC 2326 12.28).
    pub(super) fn note_public(&mut self, public: &str) {
        self.public = Some(public.to_ascii_uppercase());
    }

    /// The camera wants the same again, signed for its new challenge: no turn of the other's.
    pub(super) const fn repeat(&mut self) {
        self.is_repeated = true;
    }

    /// The method sent last.
    pub(super) const fn method(&self) -> &'static str {
        self.method
    }

    /// The method to send now. The first is OPTIONS, which tells what the camera knows.
    /// After that OPTIONS and another take turns, because there are cameras that count
    /// OPTIONS alone, and cameras that count all but OPTIONS: with a third of the timeout
    /// between two, either comes in time. `refused`: what this camera refused.
    pub(super) fn next(&mut self, refused: &[&'static str]) -> &'static str {
        if std::mem::take(&mut self.is_repeated) {
            return self.method;
        }
        let named = |method: &&str| self.public.as_ref().is_some_and(|all| all.contains(method));
        let other = METHODS
            .into_iter()
            .find(|method| named(method) && !refused.contains(method));
        let is_turn = self.method == "OPTIONS" || refused.contains(&"OPTIONS");
        self.method = other.filter(|_| is_turn).unwrap_or("OPTIONS");
        self.method
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_take_turns_and_a_refused_one_is_not_sent_again() {
        let mut keepalive = Keepalive::new();
        assert_eq!([0; 2].map(|_| keepalive.next(&[])), ["OPTIONS"; 2]);
        keepalive.note_public("DESCRIBE, get_parameter, SET_PARAMETER");
        let (get, set) = ("GET_PARAMETER", "SET_PARAMETER");
        let mut four = |refused: &[&'static str]| [0; 4].map(|_| keepalive.next(refused));
        assert_eq!(four(&[]), [get, "OPTIONS", get, "OPTIONS"]);
        assert_eq!(four(&[get]), [set, "OPTIONS", set, "OPTIONS"]);
        assert_eq!(four(&["OPTIONS"]), [get; 4]);
        assert_eq!(four(&[get, set]), ["OPTIONS"; 4]);
        assert_eq!(four(&[get, set, "OPTIONS"]), ["OPTIONS"; 4]);
        // A camera whose nonces serve once challenges each: the other does not take its turn.
        let mut signed_again = || {
            let first = keepalive.next(&[]);
            keepalive.repeat();
            [first, keepalive.next(&[])]
        };
        assert_eq!([signed_again(), signed_again()], [[get; 2], ["OPTIONS"; 2]]);
    }

    #[test]
    fn a_third_of_the_timeout_is_between_two() {
        let mut keepalive = Keepalive::new();
        assert_eq!(keepalive.interval().as_secs(), 5);
        for (timeout, interval) in [
            (0, 300),
            (1, 333),
            (15, 5_000),
            (60, 20_000),
            (3_600, 20_000),
        ] {
            keepalive.note_timeout(Duration::from_secs(timeout));
            assert_eq!(keepalive.interval().as_millis(), interval, "{timeout}");
        }
    }
}
