//! Digest and Basic challenges (RFC 7616, RFC 2617, RFC 2069) of the field, and
//! their answers. The answer follows the challenge: what was given is echoed as it
//! was given, what was not given is not written.
//!
//! Basic is used only where the settings allow it: it gives the password to the side
//! that asks. Nothing here keeps a password.

mod parse;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::fix::{Fix, Fixes};
use crate::config::settings::Credential;
use crate::digest::{Hash, hex};
use parse::{Challenge, Value};

/// Signed requests that may be answered with a new nonce in a row, without an
/// acceptance between: more is a camera that never accepts.
const NONCES_LIMIT: u32 = 3;

/// How many refusals of its password a start may cause. Recorders lock an account
/// after five. A password that has not proven right is tried by one start at a time,
/// which may step down once: 2. Beside it up to three starts of a proven password run
/// at once (`LOGINS`), 1 each and 3 together should it have changed meanwhile.
pub(in crate::gateway) const fn refusals(proven: bool) -> u32 {
    if proven { 1 } else { 2 }
}

/// A way to sign, without anything secret. The one that proved right is worth being
/// remembered for its host and user: the next start does not step down again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Way {
    /// Digest with this algorithm.
    Digest(Algorithm),
    /// Digest with this algorithm, over texts without the backslashes that they were sent with.
    Unescaped(Algorithm),
    /// The password itself.
    Basic,
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(algorithm) | Self::Unescaped(algorithm) => {
                write!(f, "Digest {}", algorithm.as_str())
            }
            Self::Basic => f.write_str("Basic"),
        }
    }
}

/// A hash of Digest, strongest first; `-sess` last of its strength, for few
/// cameras get it right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gateway) enum Algorithm {
    /// SHA-512/256 (RFC 7616).
    Sha512,
    /// SHA-256.
    Sha256,
    /// SHA-512/256 over a session's key.
    Sha512Sess,
    /// SHA-256 over a session's key.
    Sha256Sess,
    /// MD5: what is meant where none is named.
    Md5,
    /// MD5 over a session's key (RFC 2617 3.2.2.2).
    Md5Sess,
}

impl Algorithm {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Sha512 => "SHA-512-256",
            Self::Sha256 => "SHA-256",
            Self::Sha512Sess => "SHA-512-256-sess",
            Self::Sha256Sess => "SHA-256-sess",
            Self::Md5 => "MD5",
            Self::Md5Sess => "MD5-sess",
        }
    }

    /// By its name, in any case and with any signs between.
    fn named(name: &[u8]) -> Option<Self> {
        let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
        let plain: Vec<u8> = letters.map(u8::to_ascii_lowercase).take(24).collect();
        match plain.as_slice() {
            b"md5" => Some(Self::Md5),
            b"md5sess" => Some(Self::Md5Sess),
            b"sha256" => Some(Self::Sha256),
            b"sha256sess" => Some(Self::Sha256Sess),
            b"sha512256" => Some(Self::Sha512),
            b"sha512256sess" => Some(Self::Sha512Sess),
            _ => None,
        }
    }

    const fn has_session(self) -> bool {
        matches!(self, Self::Sha512Sess | Self::Sha256Sess | Self::Md5Sess)
    }

    /// The hash of these parts with colons between, in lower-case hexadecimal.
    fn hash(self, parts: &[&[u8]]) -> String {
        let hash = match self {
            Self::Sha512 | Self::Sha512Sess => Hash::Sha512,
            Self::Sha256 | Self::Sha256Sess => Hash::Sha256,
            Self::Md5 | Self::Md5Sess => Hash::Md5,
        };
        hash.of(parts)
    }
}

/// The quality of protection chosen (RFC 7616 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protection {
    Auth,
    AuthInt,
}

/// A challenge that can be answered.
#[derive(Clone, Debug)]
struct Offer {
    way: Way,
    /// As sent between its quotes.
    realm: Vec<u8>,
    nonce: Vec<u8>,
    /// Echoed; `None`: not given.
    opaque: Option<Vec<u8>>,
    /// Echoed as given, with quotes where it had some; `None`: not given, or empty.
    algorithm: Option<Value>,
    protection: Option<Protection>,
    stale: bool,
    hides_user: bool,
    /// Requests signed with this nonce.
    count: u32,
    /// Stays the same for a nonce: `-sess` may be computed once or each time.
    cnonce: Option<String>,
}

impl Offer {
    /// The ways that a challenge opens, each with its name as the camera wrote it.
    fn all(challenge: &Challenge) -> Vec<Self> {
        if challenge.scheme.eq_ignore_ascii_case("Basic") {
            return vec![Self::new(Way::Basic, challenge, None)];
        }
        if !challenge.scheme.eq_ignore_ascii_case("Digest") {
            return Vec::new();
        }
        let Some(given) = challenge.get("algorithm") else {
            return Self::both(Algorithm::Md5, challenge, None);
        };
        let names = given.bytes.split(|byte| b",| ;".contains(byte));
        let names: Vec<&[u8]> = names.filter(|name| !name.is_empty()).take(8).collect();
        if names.is_empty() {
            return Self::both(Algorithm::Md5, challenge, None);
        }
        let known = names.into_iter().filter_map(|name| {
            let echo = Value {
                bytes: name.to_vec(),
                quoted: given.quoted,
            };
            Some(Self::both(Algorithm::named(name)?, challenge, Some(echo)))
        });
        known.flatten().collect()
    }

    /// Both readings of a challenge whose texts have backslashes: whether those are part of
    /// what is hashed is read in two ways (RFC 2617 1.2 `unq`, RFC 7230 3.2.6). Where each
    /// stands before a quote or another one, it was put there to be taken away.
    fn both(algorithm: Algorithm, challenge: &Challenge, echo: Option<Value>) -> Vec<Self> {
        let raw = Self::new(Way::Digest(algorithm), challenge, echo);
        let texts = [&raw.realm, &raw.nonce];
        if !texts.iter().any(|text| text.contains(&b'\\')) {
            return vec![raw];
        }
        let mut other = raw.clone();
        other.way = Way::Unescaped(algorithm);
        if texts.iter().all(|text| is_escaped(text)) {
            vec![other, raw]
        } else {
            vec![raw, other]
        }
    }

    fn new(way: Way, challenge: &Challenge, algorithm: Option<Value>) -> Self {
        let bytes = |name| challenge.get(name).map(|value| value.bytes.clone());
        let says = |name| {
            challenge
                .get(name)
                .is_some_and(|value| value.bytes.trim_ascii().eq_ignore_ascii_case(b"true"))
        };
        Self {
            way,
            realm: bytes("realm").unwrap_or_default(),
            nonce: bytes("nonce").unwrap_or_default(),
            opaque: bytes("opaque"),
            algorithm,
            protection: challenge.get("qop").and_then(protection),
            stale: says("stale"),
            hides_user: says("userhash"),
            count: 0,
            cnonce: None,
        }
    }

    /// How weak it is: the order in which ways are tried.
    const fn rank(&self) -> u8 {
        match self.way {
            Way::Digest(algorithm) | Way::Unescaped(algorithm) => algorithm as u8,
            Way::Basic => u8::MAX,
        }
    }

    fn sign(
        &mut self,
        credential: &Credential,
        method: &str,
        uri: &str,
        body: &[u8],
        cnonce: [u8; 8],
    ) -> Vec<u8> {
        let user = credential.username.as_bytes();
        let password = credential.password.expose().as_bytes();
        let (Way::Digest(algorithm) | Way::Unescaped(algorithm)) = self.way else {
            let pair = STANDARD.encode([user, b":", password].concat());
            return format!("Basic {pair}").into_bytes();
        };
        self.count = self.count.saturating_add(1);
        let cnonce = &*self.cnonce.get_or_insert_with(|| hex(&cnonce));
        let count = format!("{:08x}", self.count);

        let hashed = |text: &[u8]| match self.way {
            Way::Unescaped(_) => unescaped(text),
            _ => text.to_vec(),
        };
        let (realm, nonce) = (hashed(&self.realm), hashed(&self.nonce));
        let mut first = algorithm.hash(&[user, &realm, password]);
        if algorithm.has_session() {
            first = algorithm.hash(&[first.as_bytes(), &nonce, cnonce.as_bytes()]);
        }
        let asked = [method.as_bytes(), uri.as_bytes()];
        let second = match self.protection {
            Some(Protection::AuthInt) => {
                let body = algorithm.hash(&[body]);
                algorithm.hash(&[asked[0], asked[1], body.as_bytes()])
            }
            Some(Protection::Auth) | None => algorithm.hash(&asked),
        };
        let quality = self.protection.map(|protection| match protection {
            Protection::Auth => "auth",
            Protection::AuthInt => "auth-int",
        });
        let response = match quality {
            None => algorithm.hash(&[first.as_bytes(), &nonce, second.as_bytes()]),
            Some(quality) => algorithm.hash(&[
                first.as_bytes(),
                &nonce,
                count.as_bytes(),
                cnonce.as_bytes(),
                quality.as_bytes(),
                second.as_bytes(),
            ]),
        };

        let mut answer = b"Digest ".to_vec();
        let mut write = |name: &str, value: &[u8], quoted: bool| {
            if answer.last() != Some(&b' ') {
                answer.extend_from_slice(b", ");
            }
            answer.extend_from_slice(name.as_bytes());
            answer.push(b'=');
            let quote: &[u8] = if quoted { b"\"" } else { b"" };
            answer.extend_from_slice(quote);
            answer.extend_from_slice(value);
            answer.extend_from_slice(quote);
        };
        if self.hides_user {
            let hidden = algorithm.hash(&[user, &realm]);
            write("username", hidden.as_bytes(), true);
        } else {
            write("username", &escaped(user), true);
        }
        write("realm", &self.realm, true);
        write("nonce", &self.nonce, true);
        write("uri", uri.as_bytes(), true);
        write("response", response.as_bytes(), true);
        if let Some(given) = &self.algorithm {
            write("algorithm", &given.bytes, given.quoted);
        }
        if let Some(opaque) = &self.opaque {
            write("opaque", opaque, true);
        }
        if let Some(quality) = quality {
            write("qop", quality.as_bytes(), false);
            write("nc", count.as_bytes(), false);
        }
        if quality.is_some() || algorithm.has_session() {
            write("cnonce", cnonce.as_bytes(), true);
        }
        if self.hides_user {
            write("userhash", b"true", false);
        }
        answer
    }
}

/// `auth` from any list; `auth-int` where it is alone; none where the list is
/// empty or unknown, as in RFC 2069.
fn protection(listed: &Value) -> Option<Protection> {
    let has = |wanted: &[u8]| {
        let mut names = listed.bytes.split(|byte| b",;| \t".contains(byte));
        names.any(|name| name.eq_ignore_ascii_case(wanted))
    };
    if has(b"auth") {
        Some(Protection::Auth)
    } else if has(b"auth-int") {
        Some(Protection::AuthInt)
    } else {
        None
    }
}

/// The inside of a quoted string.
fn escaped(text: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(text.len());
    for byte in text {
        if b"\"\\".contains(byte) {
            written.push(b'\\');
        }
        written.push(*byte);
    }
    written
}

/// Whether each backslash stands before a quote or another one.
fn is_escaped(text: &[u8]) -> bool {
    escaped(&unescaped(text)) == text
}

/// What was meant by the inside of a quoted string.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut meant = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let next = if *byte == b'\\' { bytes.next() } else { None };
        meant.push(*next.unwrap_or(byte));
    }
    meant
}

/// How a 401 is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Next {
    /// The request is sent again, signed.
    Sign,
    /// The camera refused the password.
    Refused,
    /// Only Basic is offered, and the settings do not allow it: nothing was tried.
    BasicOnly,
    /// Nothing known is offered: nothing was tried.
    Unknown,
}

/// Signs the requests of a start. Its owner keeps it for the next connection
/// ([`Self::carried`]) where the camera hangs up behind its challenge.
#[derive(Clone, Debug)]
pub(in crate::gateway) struct Signer {
    remembered: Option<Way>,
    refusals_left: u32,
    basic_allowed: bool,
    offers: Vec<Offer>,
    /// The one that signs.
    current: Option<usize>,
    /// The last signed request on this connection was accepted.
    proven: bool,
    /// The nonce in use comes from another connection.
    carried: bool,
    /// New nonces since a signed request was accepted.
    nonces: u32,
    /// Names of what was offered, and ways that were refused.
    offered: Vec<String>,
    tried: Vec<Way>,
    /// The camera asks as a proxy does.
    is_proxied: bool,
}

impl Signer {
    /// `remembered` is the way that proved right before at this host for this user;
    /// `refusals` comes from [`refusals`].
    pub(in crate::gateway) const fn new(
        remembered: Option<Way>,
        refusals: u32,
        basic_allowed: bool,
    ) -> Self {
        Self {
            remembered,
            refusals_left: refusals,
            basic_allowed,
            offers: Vec::new(),
            current: None,
            proven: false,
            carried: false,
            nonces: 0,
            offered: Vec::new(),
            tried: Vec::new(),
            is_proxied: false,
        }
    }

    /// The same for the next connection, which it signs from its first request on.
    #[must_use]
    pub(in crate::gateway) fn carried(mut self) -> Self {
        self.carried = self.current.is_some();
        self.proven = false;
        self
    }

    /// Whether a proxy is to see the answer too.
    pub(in crate::gateway) const fn is_proxied(&self) -> bool {
        self.is_proxied
    }

    /// The newest challenge came as a proxy's, or not.
    pub(in crate::gateway) fn note_proxied(&mut self, is_proxied: bool, fixes: &Fixes) {
        self.is_proxied = is_proxied;
        if is_proxied {
            fixes.note(Fix::ProxyChallenge);
        }
    }

    /// Whether requests are signed.
    pub(in crate::gateway) const fn is_ready(&self) -> bool {
        self.current.is_some()
    }

    /// Takes a 401 with its `WWW-Authenticate` headers. `signed`: the request was.
    pub(in crate::gateway) fn challenged<'a>(
        &mut self,
        headers: impl Iterator<Item = &'a [u8]>,
        signed: bool,
        fixes: &Fixes,
    ) -> Next {
        let before = self.current.and_then(|at| self.offers.get(at)).cloned();
        self.read(headers, fixes);
        let Some(before) = before.filter(|_| signed) else {
            return self.choose();
        };
        let same = self.offers.iter().position(|offer| offer.way == before.way);
        if let Some(same) = same
            && let Some(offer) = self.offers.get(same)
            && (offer.stale
                || ((offer.nonce != before.nonce || offer.realm != before.realm)
                    && (self.proven || self.carried)))
            && self.nonces < NONCES_LIMIT
        {
            // The nonce was too old; the password was not judged.
            self.nonces += 1;
            self.carried = false;
            self.current = Some(same);
            return Next::Sign;
        }
        self.tried.push(before.way);
        self.refusals_left = self.refusals_left.saturating_sub(1);
        self.current = None;
        if self.refusals_left == 0 {
            return Next::Refused;
        }
        match self.choose() {
            Next::Sign => {
                fixes.note(Fix::DigestStepDown);
                Next::Sign
            }
            Next::Refused | Next::BasicOnly | Next::Unknown => Next::Refused,
        }
    }

    /// Takes what is offered; a 401 without a challenge repeats the last.
    fn read<'a>(&mut self, headers: impl Iterator<Item = &'a [u8]>, fixes: &Fixes) {
        let challenges = parse::all(headers, fixes);
        if challenges.is_empty() {
            return;
        }
        self.offered = challenges.iter().map(Challenge::name).collect();
        self.offered.dedup();
        self.offers = challenges.iter().flat_map(Offer::all).collect();
        // Stable: of two alike the first stays first.
        self.offers.sort_by_key(Offer::rank);
        if let Some(remembered) = self.remembered {
            self.offers.sort_by_key(|offer| offer.way != remembered);
        }
        self.current = None;
    }

    /// The next way that was not refused.
    fn choose(&mut self) -> Next {
        let open = |offer: &Offer| {
            !self.tried.contains(&offer.way) && (offer.way != Way::Basic || self.basic_allowed)
        };
        self.current = self.offers.iter().position(open);
        match self.current {
            Some(_) if self.refusals_left > 0 => Next::Sign,
            _ if !self.tried.is_empty() || self.refusals_left == 0 => Next::Refused,
            _ if self.offers.iter().any(|offer| offer.way == Way::Basic) => Next::BasicOnly,
            _ => Next::Unknown,
        }
    }

    /// A signed request was answered with anything but 401: the way that proved right.
    pub(in crate::gateway) fn accepted(&mut self) -> Option<Way> {
        let way = self.offers.get(self.current?)?.way;
        self.proven = true;
        self.carried = false;
        self.nonces = 0;
        self.remembered = Some(way);
        Some(way)
    }

    /// The `Authorization` of a request. `cnonce` is random; `uri` is the request's.
    pub(in crate::gateway) fn respond(
        &mut self,
        credential: &Credential,
        method: &str,
        uri: &str,
        body: &[u8],
        cnonce: [u8; 8],
    ) -> Option<Vec<u8>> {
        let offer = self.offers.get_mut(self.current?)?;
        Some(offer.sign(credential, method, uri, body, cnonce))
    }

    /// Tells what was offered and refused: "it offered Digest MD5 and Basic; tried
    /// Digest SHA-256". No secret, no address.
    pub(in crate::gateway) fn sentence(&self) -> String {
        let offered = match self.offered.as_slice() {
            [] => "no way to sign in".to_owned(),
            names => listed(names),
        };
        if self.tried.is_empty() {
            return format!("it offered {offered}");
        }
        let mut tried: Vec<String> = self.tried.iter().map(ToString::to_string).collect();
        tried.dedup();
        format!("it offered {offered}; tried {}", listed(&tried))
    }
}

/// `A, B and C`.
fn listed(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [only] => only.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests;
