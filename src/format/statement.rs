//! The claims of fanal's signed statements (interfaces.md 4). The envelope, a
//! compact JWS, is [`crate::format::jws`]'s.
//!
//! `deny_unknown_fields` is part of the profile: an unknown claim is refused.

use serde::{Deserialize, Serialize};

use crate::format::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, ProfileWish, RequestId, Sha256,
};
use crate::reason::Refusal;

/// `typ` of an operator's request.
pub const REQUEST_TYPE: &str = "fanal-request+jwt";
/// `typ` of an operator's bearer token.
pub const TOKEN_TYPE: &str = "fanal-token+jwt";
/// `typ` of a gateway's grant.
pub const GRANT_TYPE: &str = "fanal-grant+jwt";
/// `typ` of a journal's head.
pub const HEAD_TYPE: &str = "fanal-head+jwt";
/// `typ` of a journal's log key.
pub const LOG_KEY_TYPE: &str = "fanal-log-key+jwt";
/// `typ` of a receiver's list of viewings, sent to the gateway at a grant's end.
pub const VIEWINGS_TYPE: &str = "fanal-viewings+jwt";

/// Largest signed statement that is looked at, in bytes.
pub const STATEMENT_LIMIT: usize = 16 * 1024;
/// How far `iat` of a request may be from the checker's clock, in seconds.
pub const FRESH_SECONDS: i64 = 60;
/// Longest life of a bearer token, in seconds.
pub const TOKEN_SECONDS: i64 = 300;

/// Who signed a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operator {
    /// Common name.
    pub name: String,
    /// Service number.
    pub number: String,
    /// Unit.
    pub unit: String,
}

/// An operator asks a commune for cameras.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestClaims {
    /// UUIDv7, used once.
    pub jti: RequestId,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
    /// The commune it is for.
    pub aud: CommuneId,
    /// The centre it goes through; must be the name of the connection that brings it.
    pub centre: CentreId,
    /// Which cameras, without repeats.
    pub cameras: Vec<CameraId>,
    /// Why: an id of the grounds list.
    pub grounds: String,
    /// The intervention it serves.
    pub incident: Incident,
    /// For how long, in seconds.
    pub duration: u32,
    /// Which of the cameras' streams.
    pub profile: ProfileWish,
    /// Who else is present (CSI R253-3 III-2°), at most 20 names of at most 128 characters.
    pub present: Vec<String>,
    /// The live grant this one carries on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<GrantId>,
}

/// The bearer token of every API call but the request itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClaims {
    /// Random id.
    pub jti: RequestId,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
    /// When it ends, at most 300 s later.
    pub exp: i64,
    /// The centre it is for.
    pub aud: CentreId,
}

/// A gateway grants a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantClaims {
    /// The commune that grants.
    pub iss: CommuneId,
    /// The centre it grants to.
    pub aud: CentreId,
    /// The grant's id; a renewal keeps it.
    pub grant: GrantId,
    /// SHA-256 of the request's characters as received.
    pub request: Sha256,
    /// What is granted.
    pub granted: Vec<CameraId>,
    /// What is not, and why.
    pub refused: Vec<RefusedCamera>,
    /// From when, seconds since the epoch by the gateway's clock.
    pub start: i64,
    /// Until when, seconds since the epoch by the gateway's clock.
    pub expires: i64,
    /// The gateway's journal head, which covers the grant's entry: a head statement.
    pub head: String,
}

/// One camera that was not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedCamera {
    /// Which.
    pub camera: CameraId,
    /// Why.
    #[serde(flatten)]
    pub refusal: Refusal,
}

/// The newest line of a journal, signed by its owner after fsync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadClaims {
    /// The commune's or centre's id.
    pub iss: String,
    /// The journal's random id, made with its first line (32 hexadecimal digits).
    pub journal: String,
    /// Number of the line.
    pub seq: u64,
    /// Its link.
    pub link: Sha256,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
}

/// The key that signs a journal's checkpoints, signed by its owner's link key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogKeyClaims {
    /// The commune's or centre's id.
    pub iss: String,
    /// The journal's random id.
    pub journal: String,
    /// The verifier key (`vkey`); its name is the log's origin, `fanal/ID/JOURNAL`.
    pub vkey: String,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
}

/// Who watched under a grant, as the receiver recorded it; sent at the grant's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewingsClaims {
    /// The centre.
    pub iss: CentreId,
    /// The commune.
    pub aud: CommuneId,
    /// The grant.
    pub grant: GrantId,
    /// When it was signed, seconds since the epoch.
    pub iat: i64,
    /// Number of this part of the list, from 0. Centres before protocol 1.1 number none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
    /// How many parts the list has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<u32>,
    /// How many viewings all parts together tell of, folded ones counted singly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The viewings, oldest first.
    pub viewings: Vec<Viewing>,
    /// What was received of some of the grant's cameras; the other parts tell of the others.
    /// Centres before protocol 1.2, and those that were stopped meanwhile, don't say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub received: Vec<Received>,
    /// Since when that was counted, seconds since the epoch: a centre that was started again
    /// counted from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_since: Option<i64>,
    /// The id of the journal that has these viewings: several receivers of a centre may each
    /// have a list of one grant. Centres before protocol 1.3 don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<String>,
}

/// The bytes of one camera's pictures that the centre read from the link under a grant, headers of
/// groups included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Received {
    /// The camera.
    pub camera: CameraId,
    /// How many.
    pub bytes: u64,
}

/// One viewing: a person (or account) saw a camera for a time. With `count` it is many of one
/// camera, person and way, folded: from the first one's begin to the last one's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewing {
    /// Which camera.
    pub camera: CameraId,
    /// Who: the operator's number, or `vms:NAME`.
    pub who: String,
    /// How: `rtsp`, `live`.
    pub kind: String,
    /// From when, RFC 3339.
    pub from: String,
    /// Until when, RFC 3339.
    pub to: String,
    /// Numbers of other operators who were given the same RTSP URL, under earlier requests of
    /// this grant: the picture was on `who`'s request, the player may be theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<String>,
    /// How many viewings are folded here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// How many seconds they lasted in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}
