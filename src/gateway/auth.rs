//! Answers a camera's challenge: Digest with SHA-256 or MD5; Basic only where the
//! settings allow it, for whoever asks for it learns the password.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_auth::digest::Algorithm;
use http_auth::{ChallengeParser, DigestClient, PasswordParams};

use crate::config::settings::Credential;

/// A challenge that is to be answered.
#[derive(Debug)]
pub(super) enum Scheme {
    Digest(Box<DigestClient>),
    Basic,
}

/// Why no answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsuitable {
    /// Only Basic is offered, and the settings do not allow it.
    BasicOnly,
    /// Nothing known is offered.
    Unknown,
}

impl Scheme {
    /// The best of the challenges in these `WWW-Authenticate` headers.
    pub(super) fn choose<'a>(
        headers: impl Iterator<Item = &'a str>,
        basic_allowed: bool,
    ) -> Result<Self, Unsuitable> {
        let mut digests = Vec::new();
        let mut basic = false;
        for header in headers {
            // What can't be read ends its header, not the others.
            for challenge in ChallengeParser::new(header).map_while(Result::ok) {
                if challenge.scheme.eq_ignore_ascii_case("Basic") {
                    basic = true;
                } else if challenge.scheme.eq_ignore_ascii_case("Digest")
                    && let Ok(client) = DigestClient::try_from(&challenge)
                {
                    digests.push(client);
                }
            }
        }
        let strength = |client: &DigestClient| match client.algorithm() {
            Algorithm::Sha512Trunc256 | Algorithm::Sha256 => 1,
            _ => 0,
        };
        match digests.into_iter().max_by_key(strength) {
            Some(client) => Ok(Self::Digest(Box::new(client))),
            None if basic && basic_allowed => Ok(Self::Basic),
            None if basic => Err(Unsuitable::BasicOnly),
            None => Err(Unsuitable::Unknown),
        }
    }

    /// Whether the camera says that only the nonce was too old.
    pub(super) fn is_stale(&self) -> bool {
        matches!(self, Self::Digest(client) if client.stale())
    }

    /// The `Authorization` header of a request.
    pub(super) fn authorization(
        &mut self,
        credential: &Credential,
        method: &str,
        uri: &str,
        body: &[u8],
    ) -> Result<String, String> {
        let password = credential.password.expose();
        match self {
            Self::Digest(client) => client.respond(&PasswordParams {
                username: &credential.username,
                password,
                uri,
                method,
                body: Some(body),
            }),
            Self::Basic => {
                let pair = format!("{}:{password}", credential.username);
                Ok(format!("Basic {}", STANDARD.encode(pair)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = r#"Digest realm="r", nonce="n", algorithm=MD5"#;
    const SHA256: &str = r#"Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth""#;
    const BASIC: &str = r#"Basic realm="r""#;

    fn algorithm(headers: &[&str]) -> Option<Algorithm> {
        match Scheme::choose(headers.iter().copied(), true) {
            Ok(Scheme::Digest(client)) => Some(client.algorithm()),
            Ok(Scheme::Basic) | Err(_) => None,
        }
    }

    #[test]
    fn the_strongest_digest_is_answered_however_they_are_listed() {
        let both = format!("{MD5}, {SHA256}");
        assert_eq!(algorithm(&[MD5, SHA256, BASIC]), Some(Algorithm::Sha256));
        assert_eq!(algorithm(&[BASIC, &both]), Some(Algorithm::Sha256));
        assert_eq!(algorithm(&[BASIC, MD5]), Some(Algorithm::Md5));
    }

    #[test]
    fn basic_is_answered_only_where_allowed() {
        let choose = |headers: &[&str], allowed| {
            Scheme::choose(headers.iter().copied(), allowed).map(|_| ())
        };
        assert_eq!(choose(&[BASIC], true), Ok(()));
        assert_eq!(choose(&[BASIC], false), Err(Unsuitable::BasicOnly));
        assert_eq!(choose(&["Bearer x=\"y\""], true), Err(Unsuitable::Unknown));
        assert_eq!(choose(&[], true), Err(Unsuitable::Unknown));
    }
}
