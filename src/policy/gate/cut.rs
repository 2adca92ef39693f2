//! The commune cuts: a scope ends at once and is refused for a time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{BLOCK_LIMIT, Gate};
use crate::clock::{Boot, Now, Wall};
use crate::format::ids::{CameraId, CentreId, GrantId, Incident};
use crate::format::statement::Operator;
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// The longest that the cut of a grant may hold: what the grant was is told by its
/// entry, which a restart finds for two days.
const GRANT_BLOCK_LIMIT: Duration = Duration::from_secs(24 * 3_600);

/// What a cut covers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One grant. It holds against the same centre's further requests for the
    /// grant's cameras by the same operator, whatever the incident, and for the
    /// same incident, anyone who asks.
    Grant(GrantId),
    /// One camera, for all centres.
    Camera(CameraId),
    /// One centre.
    Centre(CentreId),
    /// Everything.
    All,
}

impl Scope {
    /// Why what it covers ends.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::new(Reason::GrantCut, format!("the commune cut {self}"))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grant(grant) => write!(f, "grant:{grant}"),
            Self::Camera(camera) => write!(f, "camera:{camera}"),
            Self::Centre(centre) => write!(f, "centre:{centre}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |cause: &dyn fmt::Display| {
            format!("scope {text:?}: {cause}; write grant:ID, camera:ID, centre:ID or all")
        };
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("grant", id)) => id.parse().map(Self::Grant).map_err(|e| bad(&e)),
            Some(("camera", id)) => id.parse().map(Self::Camera).map_err(|e| bad(&e)),
            Some(("centre", id)) => id.parse().map(Self::Centre).map_err(|e| bad(&e)),
            _ => Err(bad(&"not a scope")),
        }
    }
}

/// Why a cut could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// No such grant lives.
    #[error("grant {0} is not live; `fanal relays` lists those that are")]
    GrantUnknown(GrantId),
    /// The commune has no such camera.
    #[error("the settings have no camera {0}; `fanal check --config FILE` lists them")]
    CameraUnknown(CameraId),
    /// The commune has no agreement with such a centre.
    #[error("the settings have no agreement with centre {0}")]
    CentreUnknown(CentreId),
    /// The block is out of bounds.
    #[error(
        "a cut can hold for {} days at most, that of a grant for {} h: cut the camera or the centre",
        BLOCK_LIMIT.as_secs() / 86_400, GRANT_BLOCK_LIMIT.as_secs() / 3_600
    )]
    BlockTooLong,
}

impl CutError {
    /// Its stable code.
    pub fn reason(&self) -> Reason {
        match self {
            Self::GrantUnknown(_) => Reason::GrantUnknown,
            Self::CameraUnknown(_) => Reason::CameraUnknown,
            Self::CentreUnknown(_) => Reason::NoAgreement,
            Self::BlockTooLong => Reason::MalformedRequest,
        }
    }
}

/// What a cut grant was, so that the same is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) centre: CentreId,
    pub(super) incident: Incident,
    pub(super) operator: String,
    pub(super) cameras: Vec<CameraId>,
}

/// A cut that holds.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) until: Wall,
    pub(super) deadline: Boot,
    pub(super) shape: Option<Shape>,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutDone {
    /// Grants that ended or lost a camera.
    pub grants: usize,
    /// Until when the scope is refused; the time of the cut if it holds no longer than itself.
    pub until: Wall,
}

impl Gate {
    /// Cuts a scope. `by` is who did it, as the socket knows.
    ///
    /// # Errors
    ///
    /// The scope names no live grant, camera or centre of the settings, or the block is too long.
    pub fn handle_cut(
        &mut self,
        scope: &Scope,
        block: Duration,
        by: &str,
        now: Now,
    ) -> Result<CutDone, CutError> {
        let shape = self.may_cut(scope, block)?;
        let until = now.wall.plus(block);
        self.generation += 1;
        self.owe_entry(
            Entry::Cut {
                scope: scope.to_string(),
                until: until.rfc3339(),
                by: by.to_owned(),
            },
            None,
        );
        if !block.is_zero() {
            let held = Block {
                until,
                deadline: now.boot.plus(block),
                shape,
            };
            self.blocks.insert(scope.clone(), held);
        }
        let grants = self.end_scope(scope, by, now);
        self.review_waiting(now);
        Ok(CutDone { grants, until })
    }

    /// Whether this can be cut for so long; of a grant: what it was.
    pub(super) fn may_cut(
        &self,
        scope: &Scope,
        block: Duration,
    ) -> Result<Option<Shape>, CutError> {
        let limit = match scope {
            Scope::Grant(_) => GRANT_BLOCK_LIMIT,
            Scope::Camera(_) | Scope::Centre(_) | Scope::All => BLOCK_LIMIT,
        };
        if block > limit {
            return Err(CutError::BlockTooLong);
        }
        self.known(scope)?;
        match scope {
            Scope::Grant(grant) => {
                let shape = self.shape(*grant).ok_or(CutError::GrantUnknown(*grant));
                shape.map(Some)
            }
            Scope::Camera(_) | Scope::Centre(_) | Scope::All => Ok(None),
        }
    }

    /// Whether there may be a cut of this scope to lift.
    pub(super) fn may_allow(&self, scope: &Scope) -> Result<(), CutError> {
        if self.blocks.contains_key(scope) {
            return Ok(());
        }
        self.known(scope)
    }

    /// Lifts cuts: of this scope, or with [`Scope::All`] every one. How many.
    ///
    /// # Errors
    ///
    /// The scope names no camera or centre of the settings.
    pub fn handle_allow(&mut self, scope: &Scope, by: &str) -> Result<usize, CutError> {
        let lifted = if scope == &Scope::All {
            std::mem::take(&mut self.blocks).len()
        } else {
            usize::from(self.blocks.remove(scope).is_some())
        };
        if lifted == 0 {
            self.known(scope)?;
        } else {
            self.owe_entry(
                Entry::Allowed {
                    scope: scope.to_string(),
                    by: by.to_owned(),
                },
                None,
            );
        }
        Ok(lifted)
    }

    /// The cuts that hold, with their ends.
    pub fn cuts(&self) -> Vec<(Scope, Wall)> {
        let held = self.blocks.iter();
        held.map(|(scope, block)| (scope.clone(), block.until))
            .collect()
    }

    /// A name nobody knows is a slip of the pen: nothing must look cut by it.
    fn known(&self, scope: &Scope) -> Result<(), CutError> {
        match scope {
            Scope::Camera(camera) if self.rules.settings.camera(camera).is_none() => {
                Err(CutError::CameraUnknown(camera.clone()))
            }
            Scope::Centre(centre) if !self.rules.centres.contains_key(centre) => {
                Err(CutError::CentreUnknown(centre.clone()))
            }
            _ => Ok(()),
        }
    }

    fn shape(&self, grant: GrantId) -> Option<Shape> {
        let terms = self.held_terms(grant)?;
        Some(Shape {
            centre: terms.centre.clone(),
            incident: terms.claims().incident.clone(),
            operator: terms.request.designation().operator.number.clone(),
            cameras: terms.granted.clone(),
        })
    }

    /// Ends what a cut covers; how many grants it touched.
    pub(super) fn end_scope(&mut self, scope: &Scope, by: &str, now: Now) -> usize {
        let refusal = scope.refusal();
        let by = Some(by.to_owned());
        let live = self.grants.iter().map(|(id, live)| (*id, &live.terms));
        let resuming = self.resuming.iter().map(|(id, held)| (*id, &held.terms));
        let mut touched: Vec<(usize, GrantId)> = live
            .chain(resuming)
            .filter(|(id, terms)| match scope {
                Scope::Grant(grant) => id == grant,
                Scope::Camera(camera) => terms.granted.contains(camera),
                Scope::Centre(centre) => &terms.centre == centre,
                Scope::All => true,
            })
            .map(|(id, terms)| (terms.granted.len(), id))
            .collect();
        // Grants that end whole come first: the relay of a cut camera then stops
        // with a grant that goes on, which is how the centre is told of it.
        touched.sort_unstable();
        for (_, grant) in &touched {
            match scope {
                Scope::Camera(camera) => {
                    self.drop_camera(*grant, camera, &refusal, by.clone(), now);
                }
                Scope::Grant(_) | Scope::Centre(_) | Scope::All => {
                    self.end(*grant, refusal.clone(), by.clone(), now);
                }
            }
        }
        touched.len()
    }

    /// Whether a cut holds against the whole of a centre.
    pub(super) fn blocked_whole(&self, centre: &CentreId) -> Option<Refusal> {
        [Scope::All, Scope::Centre(centre.clone())]
            .iter()
            .find_map(|scope| Some(refused(scope, self.blocks.get(scope)?)))
    }

    /// Whether a cut holds against a camera for this asker.
    pub(super) fn blocked_camera(
        &self,
        centre: &CentreId,
        incident: &Incident,
        operator: &Operator,
        camera: &CameraId,
    ) -> Option<Refusal> {
        let scope = Scope::Camera(camera.clone());
        if let Some(block) = self.blocks.get(&scope) {
            return Some(refused(&scope, block));
        }
        self.blocks.iter().find_map(|(scope, block)| {
            let shape = block.shape.as_ref()?;
            // An incident is free text and can be called otherwise: the operator counts too.
            let same = &shape.centre == centre
                && (&shape.incident == incident || shape.operator == operator.number)
                && shape.cameras.contains(camera);
            same.then(|| refused(scope, block))
        })
    }
}

fn refused(scope: &Scope, block: &Block) -> Refusal {
    let detail = format!(
        "the commune cut {scope} and refuses the same until {} or until it allows it",
        block.until.rfc3339()
    );
    Refusal::new(Reason::CommuneRefused, detail)
}
