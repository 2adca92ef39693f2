//! One line of a record: what an entry of the journal says of its incident.

use serde::{Serialize, Serializer};

use crate::clock::Wall;
use crate::format::ids::{CameraId, CommuneId, GrantId, MarkId, RequestId, Sha256, SnapshotId};
use crate::format::jws;
use crate::format::statement::{Operator, RefusedCamera, RequestClaims};
use crate::journal::entry::{Entry, GrantEntry};
use crate::reason::Reason;

/// A line.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// Its number in the centre's journal.
    pub seq: u64,
    /// When it was written.
    #[serde(serialize_with = "rfc3339")]
    pub time: Wall,
    /// What it says.
    #[serde(flatten)]
    pub what: What,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// Somebody opened the record.
    Opened {
        /// Who.
        operator: Operator,
    },
    /// Somebody closed it.
    Closed {
        /// Who.
        operator: Operator,
    },
    /// A grant, or its renewal.
    Granted(Box<Granted>),
    /// A request that was refused whole.
    Refused(Box<Refused>),
    /// A grant goes on after a restart.
    Resumed {
        /// Which.
        grant: GrantId,
    },
    /// A grant ended.
    Ended {
        /// Which.
        grant: GrantId,
        /// Why.
        reason: Reason,
        /// When; RFC 3339.
        at: String,
        /// The number of who ended it, where a person did.
        #[serde(skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    /// Somebody began to watch.
    ViewingStarted {
        /// Under which grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// The operator's number, or `vms:NAME`.
        who: String,
        /// `live`, `rtsp`, `rtsp_udp`.
        how: String,
    },
    /// The same stopped.
    ViewingEnded {
        /// The line of its start.
        start: u64,
        /// Under which grant.
        grant: GrantId,
        /// When; RFC 3339.
        at: String,
        /// Why, where the viewer did not leave by itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// The number of who took the grant over.
        #[serde(skip_serializing_if = "Option::is_none")]
        taken_over_by: Option<String>,
    },
    /// The commune's journal holds the list of a grant's viewings.
    ViewingsConfirmed {
        /// Which.
        grant: GrantId,
    },
    /// A still was asked for.
    Still {
        /// Its id.
        snapshot: SnapshotId,
        /// Under which grant.
        grant: GrantId,
        /// The commune.
        commune: CommuneId,
        /// The camera.
        camera: CameraId,
        /// When the picture was captured; RFC 3339.
        captured: String,
        /// Who took it.
        operator: Operator,
        /// Of the image data.
        #[serde(skip_serializing_if = "Option::is_none")]
        sha256: Option<Sha256>,
    },
    /// It was not given.
    StillRefused {
        /// Which.
        snapshot: SnapshotId,
        /// Under which grant.
        grant: GrantId,
        /// Why.
        reason: Reason,
    },
    /// A note or a bookmark was written, changed or withdrawn.
    Mark {
        /// Which.
        mark: MarkId,
        /// Whether it marks pictures.
        bookmark: bool,
        /// Who.
        operator: Operator,
        /// When he wrote it; RFC 3339.
        at: String,
        /// The digest of its text.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<Sha256>,
        /// Whether it was withdrawn.
        withdrawn: bool,
    },
}

/// A grant as a line says it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Granted {
    /// Its id.
    pub grant: GrantId,
    /// The request's.
    pub request: RequestId,
    /// When that was signed; RFC 3339.
    pub asked: String,
    /// The commune.
    pub commune: CommuneId,
    /// Who signed.
    pub operator: Operator,
    /// Why.
    pub grounds: String,
    /// Who else is present.
    pub present: Vec<String>,
    /// What is granted.
    pub cameras: Vec<CameraId>,
    /// What is not.
    pub refused: Vec<Not>,
    /// Whether a grant is carried on.
    pub renewal: bool,
    /// From when; RFC 3339.
    pub start: String,
    /// Until when; RFC 3339.
    pub expires: String,
    /// The agreement's reference.
    pub agreement: String,
    /// The gateway's statement, verbatim.
    pub proof: String,
    /// The request, verbatim; not told.
    #[serde(skip)]
    text: String,
}

/// A camera that is not granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Not {
    /// Which.
    pub camera: CameraId,
    /// Why.
    pub reason: Reason,
}

/// A refused request as a line says it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// Its id.
    pub request: RequestId,
    /// When it was signed; RFC 3339.
    pub asked: String,
    /// The commune.
    pub commune: CommuneId,
    /// Who signed.
    pub operator: Operator,
    /// Why it was asked for.
    pub grounds: String,
    /// Who else is present.
    pub present: Vec<String>,
    /// What was asked for.
    pub cameras: Vec<CameraId>,
    /// The grant that it was to renew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renews: Option<GrantId>,
    /// Why not.
    pub reason: Reason,
    /// What stood in the way.
    pub detail: String,
}

fn rfc3339<S: Serializer>(time: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.rfc3339())
}

/// A time of an entry.
pub(super) fn moment(text: &str) -> Option<Wall> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(Wall(time.as_microsecond()))
}

/// What a request of the journal says; it was verified before it was written.
pub(super) fn claims(request: &str) -> Option<RequestClaims> {
    jws::read_unverified(request).ok()
}

impl What {
    /// None where an entry says nothing of an incident.
    pub fn of(entry: &Entry) -> Option<Self> {
        Some(match entry {
            Entry::Grant(entry) => Self::Granted(Box::new(granted(entry)?)),
            Entry::Refused {
                request,
                jti,
                operator,
                refusal,
                ..
            } => {
                let claims = claims(request)?;
                Self::Refused(Box::new(Refused {
                    request: *jti,
                    asked: Wall::from_seconds(claims.iat).rfc3339(),
                    commune: claims.aud,
                    operator: operator.clone(),
                    grounds: claims.grounds,
                    present: claims.present,
                    cameras: claims.cameras,
                    renews: claims.renews,
                    reason: refusal.reason,
                    detail: refusal.detail.clone(),
                }))
            }
            Entry::Resumed { grant } => Self::Resumed { grant: *grant },
            Entry::Ended {
                grant,
                reason,
                at,
                by,
            } => Self::Ended {
                grant: *grant,
                reason: *reason,
                at: at.clone(),
                by: by.clone(),
            },
            Entry::ViewingStarted {
                grant,
                commune,
                camera,
                who,
                how,
                ..
            } => Self::ViewingStarted {
                grant: *grant,
                commune: commune.clone(),
                camera: camera.clone(),
                who: who.clone(),
                how: how.clone(),
            },
            Entry::ViewingEnded {
                start,
                grant,
                reason,
                at,
                taken_over_by,
            } => Self::ViewingEnded {
                start: *start,
                grant: *grant,
                at: at.clone(),
                reason: *reason,
                taken_over_by: taken_over_by.clone(),
            },
            Entry::ViewingsTaken { grant, .. } => Self::ViewingsConfirmed { grant: *grant },
            Entry::Snapshot {
                snapshot,
                grant,
                commune,
                camera,
                captured,
                operator,
                sha256,
            } => Self::Still {
                snapshot: *snapshot,
                grant: *grant,
                commune: commune.clone(),
                camera: camera.clone(),
                captured: captured.clone(),
                operator: operator.clone(),
                sha256: *sha256,
            },
            Entry::SnapshotRefused {
                snapshot,
                grant,
                refusal,
            } => Self::StillRefused {
                snapshot: *snapshot,
                grant: *grant,
                reason: refusal.reason,
            },
            Entry::Incident { open, operator, .. } => {
                let operator = operator.clone();
                if *open {
                    Self::Opened { operator }
                } else {
                    Self::Closed { operator }
                }
            }
            Entry::Mark(entry) => Self::Mark {
                mark: entry.mark,
                bookmark: entry.span.is_some(),
                operator: entry.operator.clone(),
                at: entry.at.clone(),
                text: entry.text,
                withdrawn: entry.withdrawn,
            },
            _ => return None,
        })
    }

    /// The request that a line rests on, verbatim.
    pub(super) fn request_text(&self) -> Option<&str> {
        match self {
            Self::Granted(granted) => Some(&granted.text),
            _ => None,
        }
    }
}

fn granted(entry: &GrantEntry) -> Option<Granted> {
    let claims = claims(&entry.request)?;
    let not = |refused: &RefusedCamera| Not {
        camera: refused.camera.clone(),
        reason: refused.refusal.reason,
    };
    Some(Granted {
        grant: entry.grant,
        request: entry.jti,
        asked: Wall::from_seconds(claims.iat).rfc3339(),
        commune: entry.commune.clone(),
        operator: entry.operator.clone(),
        grounds: entry.grounds.clone(),
        present: claims.present,
        cameras: entry.granted.clone(),
        refused: entry.refused.iter().map(not).collect(),
        renewal: entry.renewal,
        start: Wall::from_seconds(entry.start).rfc3339(),
        expires: Wall::from_seconds(entry.expires).rfc3339(),
        agreement: entry.agreement.clone(),
        proof: entry.proof.clone().unwrap_or_default(),
        text: entry.request.clone(),
    })
}

impl Line {
    /// About how much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        let more = match &self.what {
            What::Granted(one) => {
                let cameras = one.cameras.len() + one.refused.len() + one.present.len();
                size_of::<Granted>() + one.proof.len() + one.text.len() + 64 * cameras
            }
            What::Refused(one) => {
                let lists = one.cameras.len() + one.present.len();
                size_of::<Refused>() + one.detail.len() + 64 * lists
            }
            _ => 200,
        };
        size_of::<Self>() + more
    }
}
