//! Who calls: a bearer token (`fanal-token+jwt`), signed by the caller; for every server with a
//! page.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | failures of one signer at an address | [`ATTEMPTS`] a minute | `too_many_attempts` |
//! | verified tokens remembered | 4096, to their `exp` | the soonest to end go |

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::{Peer, Problem};
use crate::attempts::Attempts;
use crate::clock::{Now, Wall};
use crate::format::designation::{
    Authority, Designation, Rules, check_not_of, recheck, verify_token,
};
use crate::format::ids::Sha256;
use crate::format::statement::{STATEMENT_LIMIT, TOKEN_TYPE};
use crate::reason::{Reason, Refusal};

/// Failures of one signer at one address in a minute before they are told to wait
/// (`too_many_attempts`). Right tokens and requests are always served: behind a tunnel or
/// proxy all come from one address, and a signature can't be guessed.
pub const ATTEMPTS: u32 = 120;
/// Verified tokens remembered.
const TOKENS: usize = 4_096;

/// Who calls, by a verified token.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who signed it.
    pub designation: Designation,
    /// When the token or the designation ends, whichever is first.
    pub expires: Wall,
    /// Under which settings this was judged.
    pub generation: u64,
    token: Arc<str>,
}

impl Caller {
    /// Why it ends at [`Caller::expires`].
    pub fn end(&self) -> Reason {
        if self.designation.not_after <= self.expires {
            Reason::DesignationExpired
        } else {
            Reason::TokenExpired
        }
    }
}

/// Whose tokens are good here.
#[derive(Clone, Copy, Debug)]
pub struct Realm<'a> {
    /// The id that tokens are for.
    pub id: &'a str,
    /// What has that id, for people: `centre` or `commune`.
    pub kind: &'static str,
    /// Who signs the callers' certificates.
    pub authorities: &'a [Authority],
    /// Who else must not have signed them.
    pub others: &'a [Authority],
    /// Changes whenever one of these does.
    pub generation: u64,
}

/// Verified tokens, and failures.
#[derive(Debug, Default)]
pub struct Bearers {
    tokens: Mutex<Known>,
    failures: Failures,
}

/// Failures, by address and signer.
#[derive(Debug)]
struct Failures(Mutex<Attempts>);

impl Default for Failures {
    fn default() -> Self {
        Self(Mutex::new(Attempts::new(ATTEMPTS)))
    }
}

impl Failures {
    /// Counts a failure of this signer at an address: the refusal, or
    /// `too_many_attempts` once there were too many.
    fn count(&self, address: IpAddr, signer: &str, refusal: Refusal, now: Now) -> Refusal {
        let mut attempts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if attempts.is_blocked(address, signer, now.boot) {
            let detail = format!("{ATTEMPTS} failed within a minute");
            return Refusal::new(Reason::TooManyAttempts, detail);
        }
        if attempts.failed(address, signer, now.boot) {
            tracing::debug!(%address, %refusal, "credentials were refused");
        }
        refusal
    }
}

/// Who is said to have signed a statement, so far unproven: statements of one certificate
/// share their first part (interfaces.md 4).
pub fn signer(statement: &str) -> String {
    let header = statement.split_once('.').map_or("", |(header, _)| header);
    Sha256::of(header.as_bytes()).to_string()
}

#[derive(Debug, Default)]
struct Known {
    /// Of which settings the tokens are known to be good.
    generation: u64,
    tokens: HashMap<Sha256, Caller>,
    by_end: BTreeMap<(Wall, Sha256), ()>,
}

impl Known {
    fn find(&mut self, hash: Sha256, generation: u64, now: Now) -> Option<Caller> {
        if self.generation != generation {
            self.generation = generation;
            self.tokens.clear();
            self.by_end.clear();
        }
        let caller = self.tokens.get(&hash)?;
        (caller.expires > now.wall).then(|| caller.clone())
    }

    fn keep(&mut self, hash: Sha256, caller: Caller) {
        self.by_end.insert((caller.expires, hash), ());
        self.tokens.insert(hash, caller);
        if self.tokens.len() > TOKENS
            && let Some(((_, soonest), ())) = self.by_end.pop_first()
        {
            self.tokens.remove(&soonest);
        }
    }

    fn forget_ended(&mut self, now: Now) {
        while let Some(((end, hash), ())) = self.by_end.first_key_value() {
            if *end > now.wall {
                break;
            }
            self.tokens.remove(hash);
            self.by_end.pop_first();
        }
    }
}

impl Bearers {
    fn tokens(&self) -> MutexGuard<'_, Known> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose token this is.
    ///
    /// # Errors
    /// `token_invalid`, `token_expired`, `designation_expired`, `designation_revoked`,
    /// `revocation_unknown`, `too_many_attempts`.
    pub fn authenticate(
        &self,
        token: &str,
        address: IpAddr,
        realm: Realm<'_>,
        now: Now,
    ) -> Result<Caller, Refusal> {
        if token.len() > STATEMENT_LIMIT {
            return Err(Refusal::new(Reason::TokenInvalid, "longer than 16 KiB"));
        }
        let hash = Sha256::of(token.as_bytes());
        if let Some(caller) = self.tokens().find(hash, realm.generation, now) {
            return Ok(caller);
        }
        match verify(token, realm, now) {
            Ok(caller) => {
                let mut known = self.tokens();
                known.forget_ended(now);
                known.keep(hash, caller.clone());
                Ok(caller)
            }
            Err(refusal) => Err(self.count_failure(address, &signer(token), refusal, now)),
        }
    }

    /// Counts a failure of this signer at an address: the refusal, or
    /// `too_many_attempts` once there were too many.
    pub fn count_failure(
        &self,
        address: IpAddr,
        signer: &str,
        refusal: Refusal,
        now: Now,
    ) -> Refusal {
        self.failures.count(address, signer, refusal, now)
    }
}

/// What only agreements know is left to the gateway's judge.
const RULES: Rules = Rules {
    max_designation: None,
    require_fresh_revocation: false,
};

/// The same caller under the settings and at the time of now: for connections that outlive
/// the call. His authority may be gone, or have revoked him.
///
/// # Errors
/// Why he may not call any more.
pub fn judge_again(caller: &Caller, realm: Realm<'_>, now: Now) -> Result<Caller, Refusal> {
    if caller.expires <= now.wall {
        return Err(caller.end().into());
    }
    if caller.generation == realm.generation {
        return Ok(caller.clone());
    }
    check_not_of(&caller.token, realm.others, now.wall)?;
    let mut best = Refusal::from(Reason::OperatorNotDesignated);
    for authority in realm.authorities {
        match recheck(&caller.token, TOKEN_TYPE, authority, RULES, now.wall) {
            Ok(designation) => {
                return Ok(Caller {
                    designation,
                    generation: realm.generation,
                    ..caller.clone()
                });
            }
            Err(refusal) if refusal.reason != Reason::OperatorNotDesignated => best = refusal,
            Err(_) => {}
        }
    }
    Err(best)
}

fn verify(token: &str, realm: Realm<'_>, now: Now) -> Result<Caller, Refusal> {
    let mut best = Refusal::from(Reason::TokenInvalid);
    for authority in realm.authorities {
        match verify_token(token, authority, RULES, now.wall) {
            Ok(verified) => {
                let claims = verified.claims();
                if claims.aud.as_str() != realm.id {
                    let detail = format!("it is for {}, not for this {}", claims.aud, realm.kind);
                    return Err(Refusal::new(Reason::TokenInvalid, detail));
                }
                check_not_of(token, realm.others, now.wall).map_err(unauthorized)?;
                let designation = verified.designation().clone();
                return Ok(Caller {
                    expires: Wall::from_seconds(claims.exp).min(designation.not_after),
                    designation,
                    generation: realm.generation,
                    token: token.into(),
                });
            }
            // What another authority knows nothing of says least.
            Err(refusal) if refusal.reason != Reason::OperatorNotDesignated => best = refusal,
            Err(_) => {}
        }
    }
    Err(unauthorized(best))
}

/// Where nobody knows the signer the token is worth nothing; a designation that
/// ended or was revoked is told as such.
fn unauthorized(refusal: Refusal) -> Refusal {
    match refusal.reason {
        Reason::OperatorNotDesignated => Refusal::new(Reason::TokenInvalid, refusal.detail),
        _ => refusal,
    }
}

/// The bearer token of a call.
///
/// # Errors
/// There is not exactly one Authorization header with one; 401.
pub fn token_of(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let token = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok().and_then(bearer),
        _ => None,
    };
    token.ok_or_else(|| {
        let detail = "an Authorization header with a bearer token is needed";
        Refusal::new(Reason::TokenInvalid, detail).into()
    })
}

/// The caller's address.
pub fn address(parts: &Parts) -> IpAddr {
    parts
        .extensions
        .get::<Peer>()
        .map_or_else(|| IpAddr::from([0, 0, 0, 0]), |peer| peer.address.ip())
}

/// The token of `Bearer TOKEN` (RFC 6750 2.1); the scheme in any case.
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::statement::Operator;

    #[test]
    fn a_flood_of_failures_is_told_to_wait_a_minute() {
        let failures = Failures::default();
        let (clock, hand) = crate::clock::Clock::manual(Wall(0));
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let count = |address, text: &str| {
            let refusal = Refusal::from(Reason::TokenInvalid);
            let now = clock.now();
            failures.count(address, &signer(text), refusal, now).reason
        };
        for _ in 0..ATTEMPTS {
            assert_eq!(count(one, "a.b.c"), Reason::TokenInvalid);
        }
        assert_eq!(count(one, "a.d.e"), Reason::TooManyAttempts);
        assert_eq!(count(one, "b.b.c"), Reason::TokenInvalid);
        assert_eq!(count(other, "a.b.c"), Reason::TokenInvalid);
        hand.advance(crate::attempts::ATTEMPTS_WINDOW);
        assert_eq!(count(one, "a.b.c"), Reason::TokenInvalid);
    }

    #[test]
    fn tokens_are_remembered_to_their_end_and_no_further_than_a_reload() {
        let mut known = Known::default();
        let (clock, hand) = crate::clock::Clock::manual(Wall(0));
        let caller = || Caller {
            designation: Designation {
                operator: Operator {
                    name: "A".to_owned(),
                    number: "1".to_owned(),
                    unit: "U".to_owned(),
                },
                not_after: Wall::from_seconds(20),
                fingerprint: Sha256::ZERO,
                authority: Sha256::ZERO,
                path: Vec::new(),
            },
            expires: Wall::from_seconds(10),
            generation: 0,
            token: "".into(),
        };
        assert_eq!(caller().end(), Reason::TokenExpired);
        known.keep(Sha256::ZERO, caller());
        assert!(known.find(Sha256::ZERO, 0, clock.now()).is_some());
        assert!(known.find(Sha256::ZERO, 1, clock.now()).is_none());
        known.keep(Sha256::ZERO, caller());
        hand.advance(std::time::Duration::from_secs(10));
        assert!(known.find(Sha256::ZERO, 1, clock.now()).is_none());
        known.forget_ended(clock.now());
        assert!(known.tokens.is_empty());
    }

    #[test]
    fn bearer_headers() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc"), Some("abc"));
        for bad in ["abc", "Basic abc", "Bearer ", ""] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }
}
