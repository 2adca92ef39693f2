//! Checks `Authorization` as cameras do (RFC 2617, RFC 7616). Its own code: nothing
//! of the gateway's client is used, so that an error there shows.

use super::request::{Request, bytes};
use super::script::Guard;
use crate::digest::Hash;

/// The nonce in use, and how often it served.
#[derive(Debug, Default)]
pub(super) struct Nonce {
    number: u32,
    uses: u32,
    count: u32,
}

impl Nonce {
    fn text(&self, salt: u64) -> String {
        format!("{:08x}{salt:08x}", self.number.wrapping_mul(0x9e37_79b9))
    }

    /// Begins the next.
    fn renew(&mut self) {
        *self = Self {
            number: self.number.wrapping_add(1),
            uses: 0,
            count: 0,
        };
    }
}

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is served.
    Good,
    /// It is refused with these challenges.
    Refused(Vec<String>),
}

/// Who may come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check<'a> {
    pub(super) guard: &'a Guard,
    pub(super) user: &'a str,
    pub(super) password: &'a str,
    /// Tells the nonces of connections apart, where they have their own.
    pub(super) salt: u64,
}

impl Check<'_> {
    /// Judges a request, and says what to answer.
    pub(super) fn judge(&self, request: &Request, nonce: &mut Nonce) -> Verdict {
        let current = nonce.text(self.salt);
        let is_proxys = |line: &&str| line.starts_with("Proxy-");
        let given = if self.guard.challenges.iter().any(is_proxys) {
            request.header("Proxy-Authorization")
        } else {
            request.header("Authorization")
        };
        let right = given.is_some_and(|given| self.is_right(given, request, &current, nonce));
        if right && nonce.uses < self.guard.uses {
            nonce.uses += 1;
            return Verdict::Good;
        }
        // A right answer to a nonce that has served its time is stale (RFC 7616 3.3).
        let stale = if right { "TRUE" } else { "FALSE" };
        if given.is_some() {
            nonce.renew();
        }
        let fresh = nonce.text(self.salt);
        let fill = |line: &&str| line.replace("{nonce}", &fresh).replace("{stale}", stale);
        Verdict::Refused(self.guard.challenges.iter().map(fill).collect())
    }

    fn is_right(&self, given: &str, request: &Request, nonce: &str, state: &mut Nonce) -> bool {
        if self.guard.refuses_all {
            return false;
        }
        let Some((scheme, rest)) = given.split_once(' ') else {
            return false;
        };
        let offered = self.offers(scheme);
        if scheme.eq_ignore_ascii_case("Basic") {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let right = engine.encode(format!("{}:{}", self.user, self.password));
            return !offered.is_empty() && rest.trim() == right;
        }
        scheme == "Digest"
            && self
                .digest(&parameters(rest), request, nonce, &offered, state)
                .is_some()
    }

    /// Challenges of this scheme, as parameters.
    fn offers(&self, scheme: &str) -> Vec<Vec<(String, String)>> {
        let scheme = scheme.to_ascii_lowercase();
        let challenge = |line: &&'static str| {
            let (_, value) = line.split_once(':')?;
            let at = value.to_ascii_lowercase().find(&scheme)?;
            value.get(at + scheme.len()..).map(parameters)
        };
        self.guard.challenges.iter().filter_map(challenge).collect()
    }

    /// `Some`: the answer is right.
    fn digest(
        &self,
        given: &[(String, String)],
        request: &Request,
        nonce: &str,
        offered: &[Vec<(String, String)>],
        state: &mut Nonce,
    ) -> Option<()> {
        let named = value(given, "algorithm");
        let algorithm = named.unwrap_or("MD5").to_ascii_uppercase();
        let refused = self.guard.refuses.iter().any(|name| *name == algorithm);
        let ours = offered.iter().find(|offer| {
            let offer = value(offer, "algorithm");
            // Cameras that take anything answer to what the client names.
            offer.unwrap_or("MD5").eq_ignore_ascii_case(&algorithm)
                || self.guard.lenient && named.is_none()
        })?;
        // As the challenge wrote it: some put more around it.
        let written = value(ours, "nonce")?.replace("{nonce}", nonce);
        if refused || value(given, "username")? != self.user || value(given, "nonce")? != written {
            return None;
        }
        let nonce = written.as_str();
        let realm = value(given, "realm")?;
        if realm != value(ours, "realm").unwrap_or_default() {
            return None;
        }
        let uri = value(given, "uri")?;
        if uri != request.uri {
            return None;
        }
        if !self.guard.lenient {
            // RFC 7616 3.4: what was not offered is not answered, and the other way round.
            if named.is_some() != value(ours, "algorithm").is_some() {
                return None;
            }
            let wanted = value(ours, "qop").is_some_and(|qop| !qop.trim().is_empty());
            if value(given, "qop").is_some() != wanted {
                return None;
            }
        }
        if let Some(opaque) = value(ours, "opaque")
            && value(given, "opaque") != Some(opaque)
        {
            return None;
        }
        let hash = |text: &str| hash(&algorithm, text);
        let cnonce = value(given, "cnonce").unwrap_or_default();
        let mut secret = hash(&format!("{}:{realm}:{}", self.user, self.password))?;
        if algorithm.ends_with("-SESS") {
            secret = hash(&format!("{secret}:{nonce}:{cnonce}"))?;
        }
        let qop = value(given, "qop");
        let action = match qop {
            Some("auth-int") => format!("{}:{uri}:{}", request.method, hash("")?),
            _ => format!("{}:{uri}", request.method),
        };
        let action = hash(&action)?;
        let right = match qop {
            Some(qop) => {
                let offer = value(ours, "qop").unwrap_or_default();
                let count = value(given, "nc")?;
                let well_formed = count.len() == 8 && !cnonce.is_empty();
                if !well_formed || !offer.split(',').any(|one| one.trim() == qop) {
                    return None;
                }
                let number = u32::from_str_radix(count, 16).ok()?;
                if self.guard.counts {
                    if number != state.count + 1 {
                        return None;
                    }
                    state.count = number;
                }
                hash(&format!("{secret}:{nonce}:{count}:{cnonce}:{qop}:{action}"))?
            }
            None => hash(&format!("{secret}:{nonce}:{action}"))?,
        };
        (value(given, "response")? == right).then_some(())
    }
}

/// The value of a parameter, its name in whatever case.
fn value<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = parameters
        .iter()
        .find(|(n, _)| n.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// `name=value` and `name="value"`, with commas or without; words without a value are
/// passed over.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, behind)) = rest.split_once('=') {
        let name = name.trim_end_matches([' ', '\t']);
        let name = name.rsplit([',', ' ', '\t', ';']).next().unwrap_or(name);
        let name = name.to_owned();
        let behind = behind.trim_start();
        let mut value = String::new();
        if let Some(quoted) = behind.strip_prefix('"') {
            let mut letters = quoted.char_indices();
            let mut end = quoted.len();
            while let Some((at, letter)) = letters.next() {
                match letter {
                    '"' => {
                        end = at + 1;
                        break;
                    }
                    // What follows a backslash is meant as it stands.
                    '\\' => value.extend(letters.next().map(|(_, letter)| letter)),
                    letter => value.push(letter),
                }
            }
            rest = quoted.get(end..).unwrap_or_default();
        } else {
            let end = behind.find([',', ' ', '\t']).unwrap_or(behind.len());
            value.push_str(behind.get(..end).unwrap_or_default());
            rest = behind.get(end..).unwrap_or_default();
        }
        found.push((name, value));
    }
    found
}

/// The hash of text that has a character for each byte, in lower case hexadecimal.
fn hash(algorithm: &str, text: &str) -> Option<String> {
    let text = bytes(text);
    let hash = match algorithm.strip_suffix("-SESS").unwrap_or(algorithm) {
        "MD5" => Hash::Md5,
        "SHA-256" => Hash::Sha256,
        "SHA-512-256" => Hash::Sha512,
        _ => return None,
    };
    Some(hash.of(&[&text]))
}

#[cfg(test)]
mod tests {
    use super::super::script::GUARD;
    use super::*;

    #[test]
    fn hashes_are_those_of_rfc_7616() {
        // RFC 7616 3.9.1, its nonces and all.
        let secret = "Mufasa:http-auth@example.org:Circle of Life";
        let (nonce, cnonce) = (
            "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
        );
        for (algorithm, response) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            (
                "SHA-256",
                "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            ),
        ] {
            let h = |text: &str| hash(algorithm, text).unwrap();
            let (first, second) = (h(secret), h("GET:/dir/index.html"));
            assert_eq!(
                h(&format!("{first}:{nonce}:00000001:{cnonce}:auth:{second}")),
                response
            );
        }
    }

    #[test]
    fn parameters_are_read_in_any_form() {
        let all = parameters(
            r#"realm="a, \"b\"" nonce=n1,QOP = "auth,auth-int", foo, uri="rtsp://a/?b=c""#,
        );
        assert_eq!(value(&all, "realm"), Some(r#"a, "b""#));
        assert_eq!(value(&all, "nonce"), Some("n1"));
        assert_eq!(value(&all, "qop"), Some("auth,auth-int"));
        assert_eq!(value(&all, "uri"), Some("rtsp://a/?b=c"));
    }

    #[test]
    fn a_nonce_serves_as_long_as_it_may_and_is_stale_then() {
        let guard = Guard {
            uses: 1,
            challenges: &["WWW-Authenticate: Digest realm=\"r\", nonce=\"{nonce}\", stale={stale}"],
            ..GUARD
        };
        let check = Check {
            guard: &guard,
            user: "u",
            password: "p",
            salt: 1,
        };
        let mut nonce = Nonce::default();
        let request = |nonce: &str| {
            let secret = hash("MD5", "u:r:p").unwrap();
            let action = hash("MD5", "DESCRIBE:rtsp://c/x").unwrap();
            let response = hash("MD5", &format!("{secret}:{nonce}:{action}")).unwrap();
            let value = format!(
                "Digest username=\"u\", realm=\"r\", nonce=\"{nonce}\", uri=\"rtsp://c/x\", response=\"{response}\""
            );
            Request {
                method: "DESCRIBE".to_owned(),
                uri: "rtsp://c/x".to_owned(),
                headers: vec![("Authorization".to_owned(), value)],
                size: 0,
            }
        };
        let first = nonce.text(1);
        assert_eq!(check.judge(&request(&first), &mut nonce), Verdict::Good);
        let Verdict::Refused(challenges) = check.judge(&request(&first), &mut nonce) else {
            panic!("served twice");
        };
        assert!(challenges[0].ends_with("stale=TRUE"), "{challenges:?}");
        let second = nonce.text(1);
        assert!(challenges[0].contains(&second) && first != second);
        assert_ne!(check.judge(&request("x"), &mut nonce), Verdict::Good);
    }
}
