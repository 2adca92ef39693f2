//! Digest for players (RFC 7616, RFC 2617, RFC 2069): SHA-256 and MD5, which is
//! all that most players know; with `qop=auth` or, as VLC and GStreamer do, without.
//!
//! Right credentials are always taken, however a player writes them. The length of
//! its answer says which hash it used: some name no algorithm, or the one of the
//! other challenge. Each connection has its own nonce, so a response seen by an
//! eavesdropper is worth nothing on another connection, and neither a count that
//! comes twice nor the URI that the player claims (its own idea of it: a part, the
//! proxy's, `*`) can be used to gain anything.

use std::time::Duration;

use subtle::{Choice, ConstantTimeEq};

use crate::clock::Boot;
use crate::digest::{Hash, hex};
use crate::secret::Secret;

/// The realm in challenges.
pub const REALM: &str = "fanal";

/// How long a nonce is taken.
pub const NONCE_LIFE: Duration = Duration::from_secs(300);

/// What a request's credentials are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Right: the user.
    Accepted(String),
    /// None given.
    Missing,
    /// Of another scheme, which some send unasked, or not to be made out: no
    /// attempt at this user's password.
    Unreadable,
    /// Right, but for a nonce that is over or not this connection's: ask again.
    Stale,
    /// Wrong: the user.
    Wrong(String),
}

/// What of a request the digest covers.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// The method as written.
    pub method: &'a str,
    /// The request's URL as written; counts where the credentials name none.
    pub uri: &'a str,
}

/// The nonce of a connection.
#[derive(Clone, Debug)]
pub struct Nonce {
    text: String,
    issued: Boot,
}

impl Nonce {
    /// A nonce of 16 random bytes.
    pub fn new(random: [u8; 16], now: Boot) -> Self {
        Self {
            text: hex(&random),
            issued: now,
        }
    }

    /// Whether it is time for another.
    pub fn is_over(&self, now: Boot) -> bool {
        now.since(self.issued) >= NONCE_LIFE
    }

    /// The challenges, each for a `WWW-Authenticate` of its own. MD5 comes last:
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

    /// Checks a request's `Authorization` headers: the best of them counts.
    /// `password` gives a user's password; where it knows none the same work is
    /// done and the answer is `Wrong`.
    pub fn check<'a>(
        &self,
        covered: Covered<'_>,
        headers: impl Iterator<Item = &'a str>,
        now: Boot,
        password: &dyn Fn(&str) -> Option<Secret>,
    ) -> Verdict {
        let mut best = Verdict::Missing;
        for header in headers {
            let verdict = self.check_one(covered, header, now, password);
            best = match (best, verdict) {
                (_, accepted @ Verdict::Accepted(_)) => return accepted,
                (_, Verdict::Stale) => Verdict::Stale,
                (Verdict::Missing | Verdict::Unreadable, verdict) => verdict,
                (best, _) => best,
            };
        }
        best
    }

    fn check_one(
        &self,
        covered: Covered<'_>,
        header: &str,
        now: Boot,
        password: &dyn Fn(&str) -> Option<Secret>,
    ) -> Verdict {
        let Some(given) = Credentials::read(header, covered.uri) else {
            return Verdict::Unreadable;
        };
        let known = password(&given.user);
        let secret = known.clone().unwrap_or_else(|| Secret::new("no such user"));
        let is_right = given.is_answer_to(covered.method, secret.expose());
        if !is_right || known.is_none() {
            Verdict::Wrong(given.user)
        } else if given.nonce != self.text || self.is_over(now) {
            Verdict::Stale
        } else {
            Verdict::Accepted(given.user)
        }
    }
}

/// What is in an `Authorization: Digest` header.
struct Credentials {
    user: String,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    /// Comes with `qop` and with the `-sess` algorithms.
    cnonce: String,
    count: String,
    quality: String,
}

impl Credentials {
    fn read(header: &str, requested: &str) -> Option<Self> {
        let (scheme, rest) = header.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("digest") {
            return None;
        }
        let given = parameters(rest);
        let get = |name: &str| {
            let found = given.iter().find(|(there, _)| there == name);
            found.map(|(_, value)| value.clone())
        };
        let filled = |name: &str| get(name).filter(|value| !value.is_empty());
        Some(Self {
            user: filled("username")?,
            realm: get("realm").unwrap_or_else(|| REALM.to_owned()),
            nonce: filled("nonce")?,
            uri: get("uri").unwrap_or_else(|| requested.to_owned()),
            response: filled("response")?.to_ascii_lowercase(),
            cnonce: get("cnonce").unwrap_or_default(),
            count: get("nc").unwrap_or_default(),
            quality: filled("qop").unwrap_or_else(|| "auth".to_owned()),
        })
    }

    /// Whether the response is what this password gives in any of the ways that
    /// players reckon it: with and without quality of protection, of a session or
    /// not. What else they write about the way is not relied upon.
    fn is_answer_to(&self, method: &str, password: &str) -> bool {
        let hash = match self.response.len() {
            32 => Hash::Md5,
            64 => Hash::Sha256,
            _ => return false,
        };
        let hash = |text: &str| hash.of(&[text.as_bytes()]);
        let Self {
            user,
            realm,
            nonce,
            uri,
            cnonce,
            count,
            quality,
            ..
        } = self;
        let plain = hash(&format!("{user}:{realm}:{password}"));
        let of_session = hash(&format!("{plain}:{nonce}:{cnonce}"));
        let what = hash(&format!("{method}:{uri}"));
        let mut is_right = Choice::from(0);
        for who in [plain, of_session] {
            for expected in [
                hash(&format!("{who}:{nonce}:{what}")),
                hash(&format!("{who}:{nonce}:{count}:{cnonce}:{quality}:{what}")),
            ] {
                is_right |= expected.as_bytes().ct_eq(self.response.as_bytes());
            }
        }
        is_right.into()
    }
}

/// The parameters behind the scheme, their names in lower case. Values stand in
/// double or single quotes or bare, behind commas, semicolons or spaces; of a name
/// given twice the first counts to who asks.
fn parameters(text: &str) -> Vec<(String, String)> {
    let is_between = |c: char| c.is_whitespace() || c == ',' || c == ';';
    let mut found = Vec::new();
    let mut rest = text.trim_start_matches(is_between);
    while !rest.is_empty() {
        let end = rest.find(|c| is_between(c) || c == '=');
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = value(after.trim_start(), is_between);
            found.push((name.to_ascii_lowercase(), value));
            rest = after;
        }
        rest = rest.trim_start_matches(is_between);
    }
    found
}

/// The value at the front, and what is behind it.
fn value(text: &str, is_between: impl Fn(char) -> bool) -> (String, &str) {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let (value, rest) = text.split_at(text.find(is_between).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            _ if c == quote => return (value, text.get(at + 1..).unwrap_or_default()),
            _ => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Boot = Boot(Duration::from_secs(100));
    const URI: &str = "rtsp://host:8554/commune/camera";

    fn later(seconds: u64) -> Boot {
        START.plus(Duration::from_secs(seconds))
    }

    fn password(user: &str) -> Option<Secret> {
        (user == "grant").then(|| Secret::new("secret"))
    }

    fn nonce() -> Nonce {
        Nonce::new([7; 16], START)
    }

    fn md5(text: &str) -> String {
        Hash::Md5.of(&[text.as_bytes()])
    }

    fn sha(text: &str) -> String {
        Hash::Sha256.of(&[text.as_bytes()])
    }

    /// How a client reckons its response, by RFC 7616 3.4.1.
    #[derive(Clone, Copy)]
    struct Client<'a> {
        password: &'a str,
        hash: fn(&str) -> String,
        uri: &'a str,
        nonce: &'a str,
        /// `nc:cnonce:qop` in the hash; empty for none.
        quality: &'a str,
        is_session: bool,
    }

    impl Client<'_> {
        fn response(&self, method: &str) -> String {
            let mut who = (self.hash)(&format!("grant:{REALM}:{}", self.password));
            if self.is_session {
                who = (self.hash)(&format!("{who}:{}:abc", self.nonce));
            }
            let what = (self.hash)(&format!("{method}:{}", self.uri));
            let nonce = self.nonce;
            match self.quality {
                "" => (self.hash)(&format!("{who}:{nonce}:{what}")),
                quality => (self.hash)(&format!("{who}:{nonce}:{quality}:{what}")),
            }
        }

        /// The usual form, with more parameters at its end.
        fn header(&self, more: &str) -> String {
            format!(
                "Digest username=\"grant\", realm=\"{REALM}\", nonce=\"{}\", uri=\"{}\", \
                 response=\"{}\"{more}",
                self.nonce,
                self.uri,
                self.response("DESCRIBE")
            )
        }
    }

    fn right(nonce: &str) -> Client<'_> {
        Client {
            password: "secret",
            hash: md5,
            uri: URI,
            nonce,
            quality: "",
            is_session: false,
        }
    }

    fn check(nonce: &Nonce, headers: &[&str], now: Boot) -> Verdict {
        let covered = Covered {
            method: "DESCRIBE",
            uri: URI,
        };
        nonce.check(covered, headers.iter().copied(), now, &password)
    }

    #[test]
    fn the_examples_of_the_rfcs() {
        // RFC 2617 3.5, RFC 7616 3.9.1.
        let header = "Digest username=\"Mufasa\", realm=\"testrealm@host.com\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", uri=\"/dir/index.html\", qop=auth, \
            nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\"";
        let given = Credentials::read(header, "").unwrap();
        assert!(given.is_answer_to("GET", "Circle Of Life"));
        assert!(!given.is_answer_to("GET", "Circle of Life"));
        let header = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", \
            uri=\"/dir/index.html\", algorithm=SHA-256, \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
            cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
            response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\"";
        let given = Credentials::read(header, "").unwrap();
        assert!(given.is_answer_to("GET", "Circle of Life"));
    }

    #[test]
    fn right_credentials_are_taken_in_every_players_form() {
        let nonce = nonce();
        let plain = right(&nonce.text);
        let counted = Client {
            quality: "00000001:abc:auth",
            ..plain
        };
        let tail = ", qop=auth, nc=00000001, cnonce=\"abc\"";
        let strong = |client: Client<'static>| Client {
            hash: sha,
            ..client
        };
        let text: &'static str = Box::leak(nonce.text.clone().into_boxed_str());
        let strong_counted = strong(Client {
            quality: "00000001:abc:auth",
            ..right(text)
        });
        let of_session = Client {
            is_session: true,
            ..counted
        };
        let forms = [
            plain.header(""),
            plain.header(", algorithm=MD5"),
            plain.header(", algorithm=\"md5\", opaque=\"\","),
            counted.header(tail),
            // The answer's length says which hash it is, not what is written.
            plain.header(", algorithm=SHA-256"),
            strong(right(text)).header(""),
            strong(right(text)).header(", algorithm=MD5"),
            strong_counted.header(&format!("{tail}, algorithm=SHA-256")),
            strong_counted.header(tail),
            // Quality named and not used, or empty.
            plain.header(tail),
            plain.header(", qop=\"\""),
            counted.header(", nc=00000001, cnonce='abc'"),
            of_session.header(&format!("{tail}, algorithm=MD5-sess")),
            Client {
                quality: "",
                ..of_session
            }
            .header(", cnonce=abc, algorithm=\"MD5-sess\""),
            Client {
                quality: "1:abc:auth",
                ..plain
            }
            .header(", qop=\"auth\", nc=1, cnonce=\"abc\""),
            // Case, quotes and spaces.
            plain.header("").replacen("Digest ", "DIGEST   ", 1),
            plain.header("").replace('"', "'"),
            plain.header("").replace(", ", ","),
            plain.header("").replace(", ", "  ").replace('=', " = "),
            plain
                .header("")
                .replace("username=\"grant\"", "UserName=grant"),
            plain.header("").replace("\"grant\"", "\"g\\rant\""),
            plain.header(", username=\"other\""),
            plain.header("").replace(&format!(", uri=\"{URI}\""), ""),
            plain.header("").replace(
                &plain.response("DESCRIBE"),
                &plain.response("DESCRIBE").to_uppercase(),
            ),
            plain.header("").trim_end_matches('"').to_owned(),
        ];
        for header in &forms {
            let verdict = check(&nonce, &[header], later(1));
            assert_eq!(verdict, Verdict::Accepted("grant".into()), "{header}");
        }
        for uri in [
            "",
            "*",
            "/commune/camera/",
            "rtsps://other/commune%2Fcamera?x",
        ] {
            let header = Client { uri, ..plain }.header("");
            let verdict = check(&nonce, &[&header], later(1));
            assert_eq!(verdict, Verdict::Accepted("grant".into()), "{uri}");
        }
        // Beside another scheme, and the same count again and again.
        let header = counted.header(tail);
        for _ in 0..3 {
            let verdict = check(&nonce, &["Basic Og==", &header], later(1));
            assert_eq!(verdict, Verdict::Accepted("grant".into()));
        }
    }

    #[test]
    fn what_is_wrong_is_wrong_and_what_is_unreadable_no_attempt() {
        let nonce = nonce();
        let plain = right(&nonce.text);
        let good = plain.header("");
        let guess = Client {
            password: "guess",
            ..plain
        };
        for (header, user) in [
            (guess.header(""), "grant"),
            (good.replace("\"grant\"", "\"other\""), "other"),
            (good.replace("realm=\"fanal\"", "realm=\"other\""), "grant"),
            (good.replace("/camera", "/other"), "grant"),
            (good.replace("response=\"", "response=\"0"), "grant"),
        ] {
            let wrong = Verdict::Wrong(user.to_owned());
            assert_eq!(check(&nonce, &[&header], START), wrong, "{header}");
            // Neither is it made better by another scheme.
            assert_eq!(check(&nonce, &["Basic Og==", &header], START), wrong);
            assert_eq!(check(&nonce, &[&header, "Basic Og=="], START), wrong);
        }
        let of_other_method = good.replace(&plain.response("DESCRIBE"), &plain.response("SETUP"));
        assert!(matches!(
            check(&nonce, &[&of_other_method], START),
            Verdict::Wrong(_)
        ));
        for header in [
            "",
            "Basic Z3JhbnQ6c2VjcmV0",
            "Bearer x",
            "Digest",
            "Digest username=\"grant\"",
            "Digest ====,,;",
            &good.replace("username=\"grant\"", "username=\"\""),
        ] {
            let verdict = check(&nonce, &[header], START);
            assert_eq!(verdict, Verdict::Unreadable, "{header}");
        }
        assert_eq!(check(&nonce, &[], START), Verdict::Missing);
        assert!(matches!(
            check(&nonce, &[&good], START),
            Verdict::Accepted(_)
        ));
    }

    #[test]
    fn an_old_or_foreign_nonce_is_stale() {
        let nonce = nonce();
        let header = right(&nonce.text).header("");
        assert_eq!(check(&nonce, &[&header], later(300)), Verdict::Stale);
        let foreign = right("1234").header("");
        assert_eq!(check(&nonce, &[&foreign], START), Verdict::Stale);
        let verdict = check(&nonce, &[&foreign, &header], START);
        assert_eq!(verdict, Verdict::Accepted("grant".into()));
    }

    #[test]
    fn no_truncated_or_flipped_header_is_accepted_or_panics() {
        let nonce = nonce();
        let client = Client {
            hash: sha,
            ..right(&nonce.text)
        };
        let header = client.header("");
        // The last is the closing quote alone, which nobody misses.
        for end in 0..header.len() - 1 {
            let cut = header.get(..end).unwrap();
            let verdict = check(&nonce, &[cut], START);
            assert!(!matches!(verdict, Verdict::Accepted(_)), "{end}");
        }
        for bit in 0..header.len() * 8 {
            let mut broken = header.clone().into_bytes();
            broken[bit / 8] ^= 1 << (bit % 8);
            if let Ok(broken) = String::from_utf8(broken) {
                let _ = check(&nonce, &[&broken], START);
            }
        }
    }
}
