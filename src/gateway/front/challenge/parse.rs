//! Challenges as cameras write them: any case, spaces, quotes, commas or none.

use crate::gateway::front::fix::{Fix, Fixes};

/// Challenges read from one 401.
const CHALLENGES_LIMIT: usize = 16;
/// Parameters read of one challenge.
const PARAMETERS_LIMIT: usize = 32;

/// Schemes that are known by name, wherever they stand (IANA's list, and NTLM).
const SCHEMES: &[&str] = &["Digest", "Basic", "Bearer", "NTLM", "Negotiate", "OAuth"];

/// A parameter's value, as sent between its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    pub(super) quoted: bool,
}

/// One challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    pub(super) scheme: String,
    parameters: Vec<(String, Value)>,
}

impl Challenge {
    fn new(scheme: &[u8]) -> Self {
        let printable = scheme.iter().filter(|byte| is_word(**byte)).take(24);
        Self {
            scheme: printable.map(|byte| char::from(*byte)).collect(),
            parameters: Vec::new(),
        }
    }

    /// The first parameter of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let mut parameters = self.parameters.iter();
        let found = parameters.find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// Its scheme, and the algorithm of Digest: fit for a sentence.
    pub(super) fn name(&self) -> String {
        if !self.scheme.eq_ignore_ascii_case("Digest") {
            return self.scheme.clone();
        }
        let algorithm: String = self.get("algorithm").map_or_else(String::new, |value| {
            let words = value.bytes.iter().filter(|b| is_word(**b) || **b == b',');
            words.take(32).map(|byte| char::from(*byte)).collect()
        });
        let algorithm = if algorithm.is_empty() {
            "MD5"
        } else {
            &algorithm
        };
        format!("Digest {algorithm}")
    }
}

/// All challenges of these `WWW-Authenticate` headers.
pub(super) fn all<'a>(headers: impl Iterator<Item = &'a [u8]>, fixes: &Fixes) -> Vec<Challenge> {
    let mut found = Vec::new();
    for header in headers {
        Scanner {
            rest: header,
            fixes,
        }
        .read(&mut found);
        if found.len() >= CHALLENGES_LIMIT {
            break;
        }
    }
    found.truncate(CHALLENGES_LIMIT);
    found
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/' | b'*')
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0)
}

/// One header, from its head to its end.
struct Scanner<'a> {
    rest: &'a [u8],
    fixes: &'a Fixes,
}

impl<'a> Scanner<'a> {
    fn read(mut self, found: &mut Vec<Challenge>) {
        // What was found in earlier headers gets no parameters of this one.
        let earlier = found.len();
        loop {
            let comma = self.separators();
            if self.rest.is_empty() || found.len() > CHALLENGES_LIMIT {
                return;
            }
            let word = self.word();
            if word.is_empty() {
                self.odd();
                self.rest = self.rest.get(1..).unwrap_or_default();
                continue;
            }
            let current = found.len() > earlier;
            if self.equals() {
                let value = self.value();
                if !current {
                    // Parameters without a scheme: Digest is what has a nonce.
                    self.odd();
                    found.push(Challenge::new(b"Digest"));
                } else if !comma
                    && found
                        .last()
                        .is_some_and(|challenge| !challenge.parameters.is_empty())
                {
                    self.odd();
                }
                if let Some(challenge) = found.last_mut()
                    && challenge.parameters.len() < PARAMETERS_LIMIT
                {
                    let name = String::from_utf8_lossy(word).into_owned();
                    challenge.parameters.push((name, value));
                }
            } else if SCHEMES
                .iter()
                .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
            {
                found.push(Challenge::new(word));
            } else if let Some((name, value)) = found
                .get_mut(earlier..)
                .and_then(<[Challenge]>::last_mut)
                .and_then(|challenge| challenge.parameters.last_mut())
                && (name.eq_ignore_ascii_case("qop") || name.eq_ignore_ascii_case("algorithm"))
                && !value.quoted
                && comma
                && !self.parameter_follows()
            {
                // A list without quotes: `qop=auth,auth-int`.
                value.bytes.push(b',');
                value.bytes.extend_from_slice(word);
                self.odd();
            } else if !current || self.parameter_follows() {
                found.push(Challenge::new(word));
            } else {
                self.odd();
            }
        }
    }

    fn odd(&self) {
        self.fixes.note(Fix::ChallengeForm);
    }

    /// Skips to the next word; whether a comma stood before it.
    fn separators(&mut self) -> bool {
        let mut comma = false;
        while let Some((&byte, rest)) = self.rest.split_first()
            && (is_space(byte) || matches!(byte, b',' | b';' | b':'))
        {
            comma |= !is_space(byte);
            self.rest = rest;
        }
        comma
    }

    fn spaces(&mut self) {
        while let Some((&byte, rest)) = self.rest.split_first()
            && is_space(byte)
        {
            self.rest = rest;
        }
    }

    fn word(&mut self) -> &'a [u8] {
        let length = self.rest.iter().take_while(|byte| is_word(**byte)).count();
        let (word, rest) = self.rest.split_at(length);
        self.rest = rest;
        word
    }

    /// Takes `=` and the spaces around it.
    fn equals(&mut self) -> bool {
        let before = self.rest;
        self.spaces();
        if let Some((b'=', rest)) = self.rest.split_first() {
            self.rest = rest;
            self.spaces();
            return true;
        }
        self.rest = before;
        false
    }

    /// Whether a name with its `=` comes next.
    fn parameter_follows(&self) -> bool {
        let mut ahead = Scanner {
            rest: self.rest,
            fixes: self.fixes,
        };
        ahead.spaces();
        !ahead.word().is_empty() && ahead.equals()
    }

    fn value(&mut self) -> Value {
        match self.rest.first() {
            Some(b'"') => {
                if let Some(bytes) = self.quoted() {
                    return Value {
                        bytes,
                        quoted: true,
                    };
                }
            }
            Some(b'\'') => {
                let inside = self.rest.get(1..).unwrap_or_default();
                if let Some(end) = inside.iter().position(|byte| *byte == b'\'') {
                    self.odd();
                    let (bytes, rest) = inside.split_at(end);
                    self.rest = rest.get(1..).unwrap_or_default();
                    return Value {
                        bytes: bytes.to_vec(),
                        quoted: true,
                    };
                }
            }
            _ => {}
        }
        self.unquoted()
    }

    /// To the closing quote; `None` where there is none at all. Realms of the field
    /// have quotes inside, and backslashes at their end that escape nothing.
    fn quoted(&mut self) -> Option<Vec<u8>> {
        let inside = self.rest.get(1..)?;
        let (mut escaped, mut first, mut closing) = (false, None, None);
        for (at, byte) in inside.iter().enumerate() {
            if *byte == b'"' {
                let behind = Scanner {
                    rest: inside.get(at + 1..)?,
                    fixes: self.fixes,
                };
                if !escaped {
                    first.get_or_insert(at);
                }
                let ends = if escaped {
                    behind.next_parameter_follows()
                } else {
                    behind.ends_value()
                };
                if ends {
                    closing = Some(at);
                    break;
                }
            }
            escaped = *byte == b'\\' && !escaped;
        }
        if closing.is_none() || closing != first {
            self.odd();
        }
        let any = || inside.iter().position(|byte| *byte == b'"');
        let closing = closing.or(first).or_else(any)?;
        self.rest = inside.get(closing + 1..)?;
        Some(inside.get(..closing)?.to_vec())
    }

    /// Whether a value may end here, behind a quote.
    fn ends_value(&self) -> bool {
        let mut ahead = Scanner {
            rest: self.rest,
            fixes: self.fixes,
        };
        ahead.spaces();
        ahead.rest.first().is_none_or(|byte| b",;".contains(byte))
            || ahead.parameter_follows()
            || ahead.scheme_follows()
    }

    /// Whether a comma and a parameter come next.
    fn next_parameter_follows(&self) -> bool {
        let mut ahead = Scanner {
            rest: self.rest,
            fixes: self.fixes,
        };
        ahead.separators() && ahead.parameter_follows()
    }

    /// To a comma, or to a space behind which a parameter or a scheme comes.
    fn unquoted(&mut self) -> Value {
        let mut end = 0;
        while let Some(&byte) = self.rest.get(end) {
            if matches!(byte, b',' | b';') {
                break;
            }
            if is_space(byte) {
                let mut ahead = Scanner {
                    rest: self.rest.get(end..).unwrap_or_default(),
                    fixes: self.fixes,
                };
                ahead.spaces();
                if ahead.parameter_follows() || ahead.scheme_follows() {
                    break;
                }
                // On behind the run of spaces.
                end = self.rest.len() - ahead.rest.len();
                continue;
            }
            end += 1;
        }
        let (value, rest) = self.rest.split_at(end.min(self.rest.len()));
        self.rest = rest;
        let mut value = value.trim_ascii();
        // A quote that is opened or closed only.
        if let Some(inside) = value.strip_prefix(b"\"") {
            self.odd();
            value = inside;
        } else if let Some(inside) = value.strip_suffix(b"\"") {
            self.odd();
            value = inside;
        }
        Value {
            bytes: value.to_vec(),
            quoted: false,
        }
    }

    fn scheme_follows(&self) -> bool {
        let mut ahead = Scanner {
            rest: self.rest,
            fixes: self.fixes,
        };
        let word = ahead.word();
        SCHEMES
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
            && ahead.parameter_follows()
    }
}
