//! A signed request, opened: who signed it, under which authority, and whether it is
//! fresh. Pure. Both judges make these checks, each for itself and in the same words.
//!
//! Of several authorities that refuse, the refusal tells of the one under which the
//! request got furthest: an operator whose designation is revoked should not read that
//! another commune's authority does not know him. That order is the order of the checks:
//! form, signature, chain, revocation, validity. (The roots in one authority's file are
//! compared in `format::trust` in the order in which a chain is walked, where a
//! certificate's validity comes before its revocation: each order is that of its checks.)

use std::fmt::Display;

use crate::clock::Now;
use crate::format::designation::{Authority, Rules, Verified, verify_request};
use crate::format::statement::{FRESH_SECONDS, RequestClaims};
use crate::reason::{Reason, Refusal};

/// Verifies a request under each of these authorities in turn, until `most` have vouched
/// for its signer; each of those comes with its key.
///
/// # Errors
/// None does: the refusal with the furthest [`Reason::stage`], or `none` where nobody was asked.
pub fn open<'a, K>(
    text: &str,
    authorities: impl IntoIterator<Item = (K, &'a Authority, Rules)>,
    most: usize,
    none: Reason,
    now: Now,
) -> Result<Vec<(K, Verified<RequestClaims>)>, Refusal> {
    let mut opened = Vec::new();
    let mut furthest: Option<Refusal> = None;
    for (key, authority, rules) in authorities {
        match verify_request(text, authority, rules, now.wall) {
            Ok(verified) => opened.push((key, verified)),
            Err(refusal) => {
                let got = |refusal: &Refusal| refusal.reason.stage();
                if furthest
                    .as_ref()
                    .is_none_or(|other| got(&refusal) > got(other))
                {
                    furthest = Some(refusal);
                }
            }
        }
        if opened.len() >= most {
            break;
        }
    }
    if opened.is_empty() {
        return Err(furthest.unwrap_or_else(|| none.into()));
    }
    Ok(opened)
}

/// Whether what was signed at `iat` (seconds since the epoch) was signed within [`FRESH_SECONDS`] of now, by the clock of `whose`.
///
/// # Errors
/// `stale_request`, with how far the clocks are apart.
pub fn check_fresh(iat: i64, whose: impl Display, now: Now) -> Result<(), Refusal> {
    let late = now.wall.seconds().saturating_sub(iat);
    if late.abs() <= FRESH_SECONDS {
        return Ok(());
    }
    let way = if late > 0 { "behind" } else { "ahead of" };
    let detail = format!(
        "the clock of the operator's machine (or the request) is {} s {way} the clock of {whose}",
        late.unsigned_abs()
    );
    Err(Refusal::new(Reason::StaleRequest, detail))
}
