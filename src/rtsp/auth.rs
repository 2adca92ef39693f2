//! Digest for players (RFC 7616, RFC 2617, RFC 2069): SHA-256 and MD5, which is
//! all that most players know; with `qop=auth` or, as VLC and GStreamer do, without.
//!
//! Each connection has its own nonce: a response seen by an eavesdropper is worth
//! nothing on another connection.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use http_auth::{ChallengeRef, parse_challenges};
use md5::Md5;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::session::camera_path;
use crate::clock::Boot;
use crate::secret::Secret;

/// The realm in challenges.
pub const REALM: &str = "fanal";

/// How long a nonce is taken.
pub const NONCE_LIFE: Duration = Duration::from_secs(300);

/// Wrong credentials a peer address may send in [`ATTEMPTS_WINDOW`].
pub const ATTEMPTS_LIMIT: u32 = 10;

/// See [`ATTEMPTS_LIMIT`].
pub const ATTEMPTS_WINDOW: Duration = Duration::from_secs(60);

/// Peer addresses remembered at once.
const ADDRESSES_LIMIT: usize = 4_096;

/// What a request's credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right: the user.
    Accepted(String),
    /// None given.
    Missing,
    /// Right, but for a nonce that is over or not this connection's: ask again.
    Stale,
    /// Wrong, unreadable, or of another scheme.
    Wrong,
}

/// What of a request the digest covers.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// The method.
    pub method: &'a str,
    /// The camera's path, as [`camera_path`] makes it.
    pub path: &'a str,
    /// The `Authorization` header.
    pub header: Option<&'a str>,
}

/// The nonce of a connection.
#[derive(Clone, Debug)]
pub struct Nonce {
    text: String,
    issued: Boot,
    /// Highest `nc` seen with it.
    count: u32,
}

impl Nonce {
    /// A nonce of 16 random bytes.
    pub fn new(random: [u8; 16], now: Boot) -> Self {
        Self {
            text: hex(&random),
            issued: now,
            count: 0,
        }
    }

    /// Whether it is time for another.
    pub fn is_over(&self, now: Boot) -> bool {
        now.since(self.issued) >= NONCE_LIFE
    }

    /// The challenges, each for a `WWW-Authenticate` of its own. MD5 stands last:
    /// ffmpeg and live555 (VLC) take the last they see, whether they know it or not;
    /// live555 reads realm, nonce and stale in this order only.
    pub fn challenges(&self, stale: bool) -> [String; 2] {
        let stale = if stale { ", stale=true" } else { "" };
        let start = format!("Digest realm=\"{REALM}\", nonce=\"{}\"{stale}", self.text);
        [
            format!("{start}, algorithm=SHA-256, qop=\"auth\""),
            format!("{start}, algorithm=MD5"),
        ]
    }

    /// Checks a request's credentials. `password` gives a user's password for the
    /// path; where it knows none the same work is done and the answer is `Wrong`.
    pub fn check(
        &mut self,
        covered: Covered<'_>,
        now: Boot,
        password: &dyn Fn(&str, &str) -> Option<Secret>,
    ) -> Verdict {
        let Some(header) = covered.header else {
            return Verdict::Missing;
        };
        let Some(given) = Credentials::parse(header) else {
            return Verdict::Wrong;
        };
        // Players give the URL of the camera, of its track, with or without host
        // and final slash; what counts is which camera they meant.
        if camera_path(&given.uri) != covered.path {
            return Verdict::Wrong;
        }
        let known = password(&given.user, covered.path);
        let secret = known.clone().unwrap_or_else(|| Secret::new("no such user"));
        let expected = given.expected(covered.method, secret.expose());
        let equal: bool = expected
            .as_bytes()
            .ct_eq(given.response.to_ascii_lowercase().as_bytes())
            .into();
        if !equal || known.is_none() {
            return Verdict::Wrong;
        }
        if given.nonce != self.text || self.is_over(now) {
            return Verdict::Stale;
        }
        if let Some(quality) = &given.quality {
            match u32::from_str_radix(&quality.count, 16) {
                Ok(count) if count > self.count => self.count = count,
                _ => return Verdict::Stale,
            }
        }
        Verdict::Accepted(given.user)
    }
}

#[derive(Clone, Copy)]
enum Algorithm {
    Md5,
    Sha256,
}

/// What stands in an `Authorization: Digest` header.
struct Credentials {
    user: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    algorithm: Algorithm,
    quality: Option<Quality>,
}

/// What comes with `qop=auth`.
struct Quality {
    count: String,
    cnonce: String,
}

impl Credentials {
    fn parse(header: &str) -> Option<Self> {
        let parsed = parse_challenges(header).ok()?;
        let [digest] = parsed.as_slice() else {
            return None;
        };
        if !digest.scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let get = |name: &str| parameter(digest, name);
        let algorithm = match get("algorithm") {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("md5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("sha-256") => Algorithm::Sha256,
            Some(_) => return None,
        };
        let quality = match get("qop") {
            None => None,
            Some(quality) if quality.eq_ignore_ascii_case("auth") => Some(Quality {
                count: get("nc")?,
                cnonce: get("cnonce")?,
            }),
            Some(_) => return None,
        };
        Some(Self {
            user: get("username")?,
            realm: get("realm")?,
            nonce: get("nonce")?,
            uri: get("uri")?,
            response: get("response")?,
            algorithm,
            quality,
        })
        .filter(|given| given.realm == REALM)
    }

    fn expected(&self, method: &str, password: &str) -> String {
        let Self {
            user,
            realm,
            nonce,
            uri,
            ..
        } = self;
        let who = self.hash(&format!("{user}:{realm}:{password}"));
        let what = self.hash(&format!("{method}:{uri}"));
        match &self.quality {
            None => self.hash(&format!("{who}:{nonce}:{what}")),
            Some(Quality { count, cnonce }) => {
                self.hash(&format!("{who}:{nonce}:{count}:{cnonce}:auth:{what}"))
            }
        }
    }

    fn hash(&self, text: &str) -> String {
        match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text)),
            Algorithm::Sha256 => hex(&Sha256::digest(text)),
        }
    }
}

fn parameter(challenge: &ChallengeRef<'_>, name: &str) -> Option<String> {
    let mut values = challenge
        .params
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    let (_, value) = values.next()?;
    // A parameter given twice could be read in two ways.
    values.next().is_none().then(|| value.to_unescaped())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Wrong credentials by peer address, so that guessing is slow.
#[derive(Debug, Default)]
pub struct Attempts {
    by_address: BTreeMap<IpAddr, (Boot, u32)>,
}

impl Attempts {
    /// Notes wrong credentials.
    pub fn failed(&mut self, address: IpAddr, now: Boot) {
        if self.by_address.len() >= ADDRESSES_LIMIT && !self.by_address.contains_key(&address) {
            self.by_address
                .retain(|_, (since, _)| now.since(*since) < ATTEMPTS_WINDOW);
            // Still full: whoever attacks from that many addresses is not
            // stopped by this table, and it must not grow.
            if self.by_address.len() >= ADDRESSES_LIMIT {
                return;
            }
        }
        let entry = self.by_address.entry(address).or_insert((now, 0));
        if now.since(entry.0) >= ATTEMPTS_WINDOW {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }

    /// Whether this address must wait (`too_many_attempts`).
    pub fn blocked(&self, address: IpAddr, now: Boot) -> bool {
        self.by_address.get(&address).is_some_and(|(since, count)| {
            *count >= ATTEMPTS_LIMIT && now.since(*since) < ATTEMPTS_WINDOW
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Boot = Boot(Duration::from_secs(100));

    fn later(seconds: u64) -> Boot {
        START.plus(Duration::from_secs(seconds))
    }

    fn password(user: &str, path: &str) -> Option<Secret> {
        (user == "grant" && path == "commune/camera").then(|| Secret::new("secret"))
    }

    /// What a client sends; `tail` holds algorithm, qop and the like.
    struct Client<'a> {
        user: &'a str,
        password: &'a str,
        uri: &'a str,
        nonce: &'a str,
        tail: &'a str,
    }

    impl Client<'_> {
        fn header(&self, method: &str) -> String {
            let without = format!(
                "Digest username=\"{}\", realm=\"fanal\", nonce=\"{}\", uri=\"{}\"{}",
                self.user, self.nonce, self.uri, self.tail
            );
            let parsed = Credentials::parse(&format!("{without}, response=\"\"")).unwrap();
            let response = parsed.expected(method, self.password);
            format!("{without}, response=\"{response}\"")
        }
    }

    fn check(nonce: &mut Nonce, header: Option<&str>, now: Boot) -> Verdict {
        let covered = Covered {
            method: "DESCRIBE",
            path: "commune/camera",
            header,
        };
        nonce.check(covered, now, &password)
    }

    #[test]
    fn the_example_of_rfc_2617() {
        let given = Credentials {
            user: "Mufasa".into(),
            realm: "testrealm@host.com".into(),
            nonce: "dcd98b7102dd2f0e8b11d0f600bfb0c093".into(),
            uri: "/dir/index.html".into(),
            response: String::new(),
            algorithm: Algorithm::Md5,
            quality: Some(Quality {
                count: "00000001".into(),
                cnonce: "0a4f113b".into(),
            }),
        };
        let expected = given.expected("GET", "Circle Of Life");
        assert_eq!(expected, "6629fae49393a05397450978507c4ef1");
    }

    #[test]
    fn players_ways_are_all_taken() {
        for uri in [
            "rtsp://host:8554/commune/camera",
            "rtsp://host:8554/commune/camera/",
            "rtsp://host:8554/commune/camera/trackID=0",
            "rtsps://other/commune/camera",
            "/commune/camera",
            "/commune/camera/trackID=0",
        ] {
            for tail in [
                "",
                ", algorithm=MD5",
                ", algorithm=\"MD5\"",
                ", algorithm=SHA-256",
                ", algorithm=SHA-256, qop=auth, nc=00000001, cnonce=\"abc\"",
                ", qop=\"auth\", nc=00000001, cnonce=\"abc\"",
            ] {
                let mut nonce = Nonce::new([7; 16], START);
                let text = nonce.text.clone();
                let client = Client {
                    user: "grant",
                    password: "secret",
                    uri,
                    nonce: &text,
                    tail,
                };
                let header = client.header("DESCRIBE");
                assert_eq!(
                    check(&mut nonce, Some(&header), later(1)),
                    Verdict::Accepted("grant".into()),
                    "{uri} {tail}"
                );
            }
        }
    }

    #[test]
    fn whatever_is_wrong_is_wrong() {
        let mut nonce = Nonce::new([7; 16], START);
        let text = nonce.text.clone();
        let right = Client {
            user: "grant",
            password: "secret",
            uri: "/commune/camera",
            nonce: &text,
            tail: "",
        };
        for client in [
            Client {
                user: "other",
                ..right
            },
            Client {
                password: "guess",
                ..right
            },
            Client {
                uri: "/commune/other",
                ..right
            },
        ] {
            let header = client.header("DESCRIBE");
            assert_eq!(check(&mut nonce, Some(&header), START), Verdict::Wrong);
        }
        let of_other_method = right.header("SETUP");
        assert_eq!(
            check(&mut nonce, Some(&of_other_method), START),
            Verdict::Wrong
        );
        let good = right.header("DESCRIBE");
        for header in [
            "",
            "Basic Z3JhbnQ6c2VjcmV0",
            "Digest",
            "Digest username=\"grant\"",
            &good.replace("realm=\"fanal\"", "realm=\"other\""),
            &good.replace("Digest ", "Digest algorithm=MD5-sess, "),
            &good.replace("Digest ", "Digest qop=auth-int, "),
            &good.replace("Digest ", "Digest username=\"grant\", "),
        ] {
            assert_eq!(
                check(&mut nonce, Some(header), START),
                Verdict::Wrong,
                "{header}"
            );
        }
        assert_eq!(check(&mut nonce, None, START), Verdict::Missing);
        assert!(matches!(
            check(&mut nonce, Some(&good), START),
            Verdict::Accepted(_)
        ));
    }

    #[test]
    fn an_old_or_foreign_nonce_and_a_count_seen_before_are_stale() {
        let mut nonce = Nonce::new([7; 16], START);
        let text = nonce.text.clone();
        let right = Client {
            user: "grant",
            password: "secret",
            uri: "/commune/camera",
            nonce: &text,
            tail: "",
        };
        let header = right.header("DESCRIBE");
        assert_eq!(check(&mut nonce, Some(&header), later(300)), Verdict::Stale);
        let foreign = Client {
            nonce: "1234",
            ..right
        }
        .header("DESCRIBE");
        assert_eq!(check(&mut nonce, Some(&foreign), START), Verdict::Stale);

        let counted = |tail| Client { tail, ..right }.header("DESCRIBE");
        let second = counted(", qop=auth, nc=00000002, cnonce=\"a\"");
        assert!(matches!(
            check(&mut nonce, Some(&second), START),
            Verdict::Accepted(_)
        ));
        assert_eq!(check(&mut nonce, Some(&second), START), Verdict::Stale);
        let first = counted(", qop=auth, nc=00000001, cnonce=\"b\"");
        assert_eq!(check(&mut nonce, Some(&first), START), Verdict::Stale);
    }

    #[test]
    fn no_truncated_or_flipped_header_is_accepted_or_panics() {
        let mut nonce = Nonce::new([7; 16], START);
        let text = nonce.text.clone();
        let header = Client {
            user: "grant",
            password: "secret",
            uri: "/commune/camera",
            nonce: &text,
            tail: ", algorithm=SHA-256",
        }
        .header("DESCRIBE");
        for end in 0..header.len() {
            let verdict = check(&mut nonce, header.get(..end), START);
            assert!(!matches!(verdict, Verdict::Accepted(_)), "{end}");
        }
        for bit in 0..header.len() * 8 {
            let mut broken = header.clone().into_bytes();
            broken[bit / 8] ^= 1 << (bit % 8);
            if let Ok(broken) = String::from_utf8(broken) {
                let _ = check(&mut nonce, Some(&broken), START);
            }
        }
    }

    #[test]
    fn guessing_is_slow_and_the_table_bounded() {
        let mut attempts = Attempts::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..ATTEMPTS_LIMIT {
            assert!(!attempts.blocked(address, START));
            attempts.failed(address, START);
        }
        assert!(attempts.blocked(address, later(59)));
        assert!(!attempts.blocked(address, later(60)));
        for number in 0..20_000_u32 {
            attempts.failed(IpAddr::from(number.to_be_bytes()), START);
        }
        assert!(attempts.by_address.len() <= ADDRESSES_LIMIT);
        attempts.failed(IpAddr::from([192, 0, 2, 1]), later(61));
        assert!(attempts.by_address.len() <= 1, "what is over makes room");
    }
}
