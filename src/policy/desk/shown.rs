//! A grant as operators see it.

use std::sync::Arc;
use std::time::Duration;

use super::ENDED_KEPT;
use crate::clock::{Boot, Now, Wall};
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::designation::{Designation, Unit};
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, Sha256};
use crate::format::statement::{Operator, RefusedCamera};
use crate::media::relay::{Profile, RelayId};
use crate::reason::Refusal;
use crate::secret::Secret;

/// A grant as it is shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The commune.
    pub commune: CommuneId,
    /// The intervention.
    pub incident: Incident,
    /// Why.
    pub grounds: String,
    /// The agreement that it is given under, as its gateway says; `None`: not said.
    pub agreement: Option<String>,
    /// Who signed the newest request: he alone gets the RTSP credentials.
    pub operator: Operator,
    /// Who else is present, as the newest request names them.
    pub present: Vec<String>,
    /// When it first began, by the gateway's clock: a renewal does not change it.
    pub start: Wall,
    /// Which authority designates him ([`crate::format::designation::Authority::id`]).
    pub authority: Sha256,
    /// +1 whenever the RTSP password changed.
    pub credentials: u32,
    /// Until when, as the gateway signed it, by its clock.
    pub expires: Wall,
    /// Until when at this centre, by the wall clock.
    pub until: Wall,
    /// Until when at this centre, by the boot clock.
    pub deadline: Boot,
    /// Granted cameras, in the request's order.
    pub cameras: Vec<GrantCamera>,
    /// The rest.
    pub refused: Vec<RefusedCamera>,
    /// The gateway's statement, at most 16 KiB. Empty where the grant ended and many
    /// have ended since: the journal has it.
    pub proof: Arc<str>,
    /// Which receiver of the centre has its pictures: SHA-256 of the key of its certificate.
    /// `None`: the gateway knows of one receiver alone.
    pub receiver: Option<Sha256>,
    /// Whether that is another one than this.
    pub elsewhere: bool,
    /// The RTSP password that another receiver of the centre gave it; `None`: this one's own.
    pub password: Option<Secret>,
    /// Why and when it ended, if it did.
    pub end: Option<End>,
}

impl Grant {
    /// Its unit, which may know of it.
    pub fn unit(&self) -> Unit {
        Unit {
            name: self.operator.unit.clone(),
            authority: self.authority,
        }
    }

    /// Whether this operator signed its newest request.
    pub fn is_of(&self, who: &Designation) -> bool {
        self.operator.number == who.operator.number && self.is_of_unit(who)
    }

    /// Whether it is of this operator's unit.
    pub fn is_of_unit(&self, who: &Designation) -> bool {
        self.operator.unit == who.operator.unit && self.authority == who.authority
    }

    /// How long it lives yet.
    pub fn left(&self, now: Now) -> Duration {
        if self.end.is_some() {
            return Duration::ZERO;
        }
        self.until
            .since(now.wall)
            .min(self.deadline.since(now.boot))
    }

    /// Whether anybody is told of it: live, or ended less than [`ENDED_KEPT`] ago.
    pub fn is_told(&self, now: Now) -> bool {
        let end = self.end.as_ref();
        end.is_none_or(|end| now.boot.since(end.at.boot) < ENDED_KEPT)
    }

    /// Why a camera of it is not live: its own cause, or that the grant ended.
    pub fn refusal<'a>(&'a self, camera: &'a GrantCamera) -> Option<&'a Refusal> {
        let end = self.end.as_ref().map(|end| &end.refusal);
        camera.refusal.as_ref().or(end)
    }

    /// Its part for one camera.
    pub fn camera(&self, camera: &CameraId) -> Option<&GrantCamera> {
        self.cameras.iter().find(|held| &held.camera == camera)
    }
}

/// One camera of a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct GrantCamera {
    /// Which.
    pub camera: CameraId,
    /// Its state.
    pub state: RelayState,
    /// Why, where it is not `live`; `None` also where it ended with its grant, see
    /// [`Grant::refusal`].
    pub refusal: Option<Refusal>,
    /// Which of its streams.
    pub profile: Profile,
    /// Why that one, where the gateway said so.
    pub profile_cause: Option<Cause>,
    /// Its number on the link that is, or was last, up.
    pub relay: Option<RelayId>,
    /// When it was asked for.
    pub asked: Boot,
    /// Whether a picture came under this grant.
    pub pictured: bool,
}

impl GrantCamera {
    /// Whether it may be watched, now or when its pictures come.
    pub fn is_open(&self) -> bool {
        self.state != RelayState::Ended
    }
}

/// The end of a grant.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Why.
    pub refusal: Refusal,
    /// Who gave it back, where a person of its unit did.
    pub by: Option<Operator>,
    /// When.
    pub at: Now,
}
