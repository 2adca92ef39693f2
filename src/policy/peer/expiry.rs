//! Why a grant's time is up. Pure.
//!
//! A grant ends at the earliest of several limits. Both judges know them from the same
//! signed figures, so both journals, the page and the viewers name the same one,
//! whichever side's clock came first.

use crate::clock::Wall;
use crate::format::designation;
use crate::format::jws;
use crate::format::statement::{REQUEST_TYPE, RequestClaims};
use crate::journal::entry::GrantEntry;
use crate::reason::{Reason, Refusal};

/// A grant's time, as its gateway signed it.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From when, whole seconds.
    pub start: Wall,
    /// Until when, whole seconds.
    pub expires: Wall,
    /// The end of its operator's designation.
    pub not_after: Wall,
}

/// The limit that a grant has reached. `in_force`: whether its agreement is in force at
/// that time; where that is not known, a shortened first grant was shortened by its
/// agreement (the total of renewals is never below one duration).
pub fn cause(request: &RequestClaims, span: &Span, in_force: Option<bool>) -> Refusal {
    if span.not_after.seconds() <= span.expires.seconds() {
        let detail = "the operator's designation ended, and the grant with it";
        return Refusal::new(Reason::DesignationExpired, detail);
    }
    let whole = i64::from(request.duration);
    let is_whole = span.expires.seconds().saturating_sub(span.start.seconds()) >= whole;
    if is_whole || in_force.unwrap_or_else(|| request.renews.is_some()) {
        return Reason::GrantExpired.into();
    }
    let detail = "the agreement's days or hours ended, and the grant with them";
    Refusal::new(Reason::AgreementNotInForce, detail)
}

/// The same for a grant of the own journal whose time was over at the start.
pub fn of_entry(entry: &GrantEntry, in_force: Option<bool>) -> Refusal {
    let Ok(request) = jws::open::<RequestClaims>(&entry.request, REQUEST_TYPE) else {
        return Reason::GrantExpired.into();
    };
    let leaf = request.chain.first();
    let designation = leaf.and_then(|leaf| designation::read(leaf).ok());
    let span = Span {
        start: Wall::from_seconds(entry.start),
        expires: Wall::from_seconds(entry.expires),
        not_after: designation.map_or(Wall(i64::MAX), |read| read.not_after),
    };
    cause(&request.claims, &span, in_force)
}
