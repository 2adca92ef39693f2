//! Does an agreement allow this: dates and hours in Europe/Paris, centre, unit,
//! cameras, grounds, duration, total, number of relays. Pure.

use std::time::Duration;

use crate::clock::Wall;
use crate::config::settings::{Agreement, Camera};
use crate::proto::ids::CameraId;
use crate::proto::statement::{RefusedCamera, RequestClaims};
use crate::reason::Refusal;

/// What is known of the grant that a request carries on.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// When the grant first began.
    pub first_start: Wall,
}

/// What an agreement says to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Covered cameras, in the request's order.
    pub granted: Vec<CameraId>,
    /// The rest.
    pub refused: Vec<RefusedCamera>,
    /// End by agreement, hours, duration and total; the designation's end is not in it.
    pub expires: Wall,
}

/// Judges a verified request. `relays` = cameras relayed to this centre under
/// other grants of the agreement now, each counted once.
/// Whole refusals: `no_agreement` (unit), `agreement_not_in_force`,
/// `grounds_not_allowed`, `duration_too_long`; if no camera is left, the first
/// camera's reason.
pub fn judge(
    _agreement: &Agreement,
    _request: &RequestClaims,
    _unit: &str,
    _camera: &dyn Fn(&CameraId) -> Option<Camera>,
    _relays: &std::collections::BTreeSet<CameraId>,
    _renewal: Option<Renewal>,
    _now: Wall,
) -> Result<Verdict, Refusal> {
    todo!("AUTH")
}

/// When the agreement stops being in force after `now` (its last day's end or
/// the end of its hours), or `None` if it is not in force now.
pub fn in_force_until(_agreement: &Agreement, _now: Wall) -> Option<Wall> {
    todo!("AUTH")
}

/// Longest duration a file may name.
pub const DURATION_LIMIT: Duration = Duration::from_secs(24 * 3600);
