//! The control messages of a link: JSON, one object a message, behind a length.
//!
//! Low rate and readable. Unknown messages and unknown fields are ignored by
//! design: either side may be a year older. A field that is added may only
//! narrow what the older meaning allows. Texts, lists and numbers are bounded where they
//! are decoded (`bounded`): nobody behind that has to ask how long they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::format::bounded;
use crate::format::cause::Cause;
use crate::format::ids::{CameraId, GrantId, RequestId, Sha256, SnapshotId};
use crate::format::statement::RefusedCamera;
use crate::format::text;
use crate::media::relay::{Profile, RelayId};
use crate::reason::{Reason, Refusal};
use crate::secret::Secret;

/// Largest control message, in bytes.
pub const MESSAGE_LIMIT: usize = 1024 * 1024;
/// Most cameras in one page of the list.
pub const CAMERA_PAGE: usize = 200;
/// Most cameras of one grant or refusal in a message, and most relays in focus: more than
/// a request of `STATEMENT_LIMIT` can name.
pub const CAMERAS_LIMIT: usize = 4_096;
/// Most body-less lines in one message: some 300 bytes each.
pub const LINES_LIMIT: usize = 2_000;
/// Longest body-less line, in bytes.
const LINE_BYTES: usize = 512;
/// Most agreements of a commune with a centre.
const AGREEMENTS: usize = 32;
/// Most units or grounds of an agreement.
const NAMES: usize = 256;
/// Most weekly windows of an agreement, groups of a camera, and neighbours of it.
const FEW: usize = 64;
/// Most authorities of an agreement that are announced.
pub const AUTHORITIES: usize = FEW;
/// Version of the protocol: major (must match, is in the ALPN) and minor.
pub const VERSION: (u32, u32) = (1, 3);
/// From this minor version on a gateway takes numbered lists of viewings and confirms each part.
pub const NUMBERED_VIEWINGS: u32 = 1;
/// From this minor version on it also takes in them what the centre received.
pub const COUNTED_VIEWINGS: u32 = 2;
/// From this minor version on it also gives a camera's other stream ([`ToGateway::Streams`]).
pub const OTHER_STREAMS: u32 = 3;
/// From this minor version on both sides know that a centre may have several receivers.
pub const SEVERAL_RECEIVERS: u32 = 3;
/// Longest RTSP password of a grant, in characters.
pub const PASSWORD_LIMIT: usize = 64;

/// From the gateway to the receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToReceiver {
    /// First message of a link.
    Hello(GatewayHello),
    /// The cameras that the agreement covers; a list replaces the one before.
    Cameras {
        /// This page's number, from 0.
        page: u32,
        /// How many pages the list has.
        pages: u32,
        /// The cameras; one more than [`CAMERA_PAGE`] where there are too many.
        #[serde(deserialize_with = "bounded::list::<_, _, { CAMERA_PAGE + 1 }>")]
        cameras: Vec<CameraInfo>,
    },
    /// A request was granted; durable at the gateway.
    Granted {
        /// Number of the receiver's [`ToGateway::Request`].
        id: u64,
        /// The grant statement.
        #[serde(deserialize_with = "bounded::statement")]
        proof: String,
        /// How each camera travels.
        #[serde(deserialize_with = "bounded::map::<_, _, _, CAMERAS_LIMIT>")]
        relays: BTreeMap<CameraId, RelayId>,
    },
    /// A request was refused.
    Refused {
        /// Number of the receiver's [`ToGateway::Request`].
        id: u64,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
        /// Per camera, where the reason is not the same for all.
        #[serde(default, deserialize_with = "bounded::list::<_, _, CAMERAS_LIMIT>")]
        cameras: Vec<RefusedCamera>,
        /// The gateway's head, which covers the refusal if it was journalled.
        #[serde(default, deserialize_with = "bounded::statement_option")]
        head: Option<String>,
    },
    /// A request passed all checks and waits for somebody at the commune. Sent
    /// once that is durable, and again on each new link, so that a centre that
    /// restarted knows of it. A [`ToReceiver::Resume`] or a
    /// [`ToReceiver::WaitEnded`] follows, on whichever link is up then. A receiver
    /// that does not know this message gives its answer up after its own time; a
    /// later `Resume` still brings it the grant.
    Waiting {
        /// The request, verbatim.
        #[serde(deserialize_with = "bounded::statement")]
        request: String,
        /// How long it still waits. Not a time: the peer's clock is not followed.
        seconds: u32,
    },
    /// A request that waited was refused, by a person or by time.
    WaitEnded {
        /// The request's `jti`.
        request: RequestId,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
        /// Per camera, where the reason is not the same for all.
        #[serde(default, deserialize_with = "bounded::list::<_, _, CAMERAS_LIMIT>")]
        cameras: Vec<RefusedCamera>,
        /// The gateway's head, which covers the refusal if it was journalled.
        #[serde(default, deserialize_with = "bounded::statement_option")]
        head: Option<String>,
    },
    /// A live grant goes on: sent after the hello for each, after a restart or a
    /// lost link; and for the first time where the commune approved it.
    Resume {
        /// The request, verbatim.
        #[serde(deserialize_with = "bounded::statement")]
        request: String,
        /// The newest grant statement.
        #[serde(deserialize_with = "bounded::statement")]
        proof: String,
        /// How each camera travels.
        #[serde(deserialize_with = "bounded::map::<_, _, _, CAMERAS_LIMIT>")]
        relays: BTreeMap<CameraId, RelayId>,
    },
    /// Under which agreement a grant is given: sent before [`ToReceiver::Granted`] and
    /// [`ToReceiver::Resume`], and again where a reload changes it. Since 1.3; of a grant
    /// without it VMS accounts see nothing.
    GrantAgreement {
        /// The grant.
        grant: GrantId,
        /// The [`AgreementInfo::reference`].
        #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
        agreement: String,
    },
    /// A live grant of the centre: told to each of its receivers but the one that has its
    /// pictures already, and again at each change. Older receivers do not know it.
    Grant(Box<GrantTold>),
    /// A grant ended at the gateway.
    Ended {
        /// Which.
        grant: GrantId,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
        /// The gateway's head.
        #[serde(default, deserialize_with = "bounded::statement_option")]
        head: Option<String>,
    },
    /// The state of a relay changed.
    Relay {
        /// Which.
        relay: RelayId,
        /// The camera.
        camera: CameraId,
        /// Its state.
        state: RelayState,
        /// Why, where it is not `live`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
        /// Which of the camera's streams.
        profile: Profile,
        /// Why that one; older gateways don't say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        profile_cause: Option<Cause>,
    },
    /// The camera's other stream, as [`ToGateway::Streams`] asked for it.
    Other {
        /// The relay that carries the camera's first stream.
        of: RelayId,
        /// The relay that carries the other one; absent where none does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        relay: Option<RelayId>,
        /// The camera.
        camera: CameraId,
        /// Its state.
        state: RelayState,
        /// Why, where it is not `live`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        refusal: Option<Refusal>,
    },
    /// One camera of a grant is over, though others still hold its relay.
    CameraEnded {
        /// The grant.
        grant: GrantId,
        /// The camera.
        camera: CameraId,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// A part of a list of viewings is in the gateway's journal.
    ViewingsRecorded {
        /// The grant.
        grant: GrantId,
        /// The part's number.
        part: u32,
        /// The gateway's head, which covers it; absent where it had the part already.
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            deserialize_with = "bounded::statement_option"
        )]
        head: Option<String>,
    },
    /// A still is in the gateway's journal.
    SnapshotRecorded {
        /// Which.
        snapshot: SnapshotId,
        /// The gateway's head, which covers it.
        #[serde(deserialize_with = "bounded::statement")]
        head: String,
    },
    /// A still is not to be given.
    SnapshotRefused {
        /// Which.
        snapshot: SnapshotId,
        /// Why.
        #[serde(flatten)]
        refusal: Refusal,
    },
    /// Journal heads and body-less lines since the last acknowledged.
    Heads(Heads),
    /// Answers [`ToGateway::Time`].
    Time {
        /// As sent.
        echo: u64,
        /// The gateway's wall clock, µs since the epoch.
        wall: i64,
    },
    /// Follows the hello: what both sides hold of each other's journals.
    Journals(Journals),
    /// A type this version does not know.
    #[serde(other)]
    Unknown,
}

/// From the receiver to the gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToGateway {
    /// First message of a link.
    Hello(ReceiverHello),
    /// An operator's request.
    Request {
        /// Chosen by the receiver, unique on the link.
        id: u64,
        /// The statement, verbatim.
        #[serde(deserialize_with = "bounded::statement")]
        request: String,
    },
    /// The receiver's entry of the grant is durable.
    Confirm {
        /// Which.
        grant: GrantId,
        /// SHA-256 of the request that it confirms.
        request: Sha256,
        /// A head that covers the entry.
        #[serde(deserialize_with = "bounded::statement")]
        head: String,
    },
    /// The RTSP password of a grant whose pictures come to this receiver, so that the centre's
    /// other receivers take the same. Never journalled, never logged.
    Password {
        /// Which.
        grant: GrantId,
        /// The password.
        #[serde(with = "bounded::secret")]
        password: Secret,
    },
    /// An operator released a grant.
    Release {
        /// Which.
        grant: GrantId,
        /// The operator's number, or the centre's id.
        #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
        by: String,
        /// Why, where it is not an operator's wish. Older receivers don't say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
    },
    /// The operator who signed a request that waits for approval gave it up. From 1.3 on; an older
    /// gateway lets it wait, and the centre gives a grant that comes of it back at once.
    Cancel {
        /// The request's `jti`.
        request: RequestId,
        /// The operator's number.
        #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
        by: String,
    },
    /// Which relays are in focus; all others are not.
    Focus {
        /// In order of importance.
        #[serde(deserialize_with = "bounded::list::<_, _, CAMERAS_LIMIT>")]
        relays: Vec<RelayId>,
    },
    /// Asks for a key frame soon: a viewer joined and nothing is kept.
    KeyFrame {
        /// Which.
        relay: RelayId,
    },
    /// Which of a camera's streams its viewers can decode and need. Without this message
    /// a relay carries its first stream alone.
    Streams {
        /// The relay that carries the camera's first stream.
        relay: RelayId,
        /// Whether anybody needs that one.
        first: bool,
        /// Whether anybody needs the camera's other stream, because its codec is another.
        other: bool,
    },
    /// The signed list of viewings of an ended grant (`fanal-viewings+jwt`).
    Viewings {
        /// The statement.
        #[serde(deserialize_with = "bounded::statement")]
        statement: String,
    },
    /// A still is about to be given: it is once the gateway has recorded it. A
    /// gateway that does not know this message does not answer, and none is given.
    Snapshot(SnapshotAsked),
    /// A newer revocation list of a designation authority.
    Revocation {
        /// PEM.
        list: String,
    },
    /// Journal heads and body-less lines since the last acknowledged.
    Heads(Heads),
    /// Packets of this link that parity made again, in all.
    Recovered {
        /// How many.
        packets: u64,
    },
    /// Measures the clock offset.
    Time {
        /// Comes back as it is.
        echo: u64,
        /// The receiver's wall clock, µs since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wall: Option<i64>,
    },
    /// Follows the hello: what both sides hold of each other's journals.
    Journals(Journals),
    /// A type this version does not know.
    #[serde(other)]
    Unknown,
}

/// A gateway introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatewayHello {
    /// Minor version of the protocol.
    pub minor: u32,
    /// fanal's version.
    #[serde(deserialize_with = "bounded::shown::<_, 32>")]
    pub version: String,
    /// Wall clock, µs since the epoch.
    pub wall: i64,
    /// The commune's name.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub name: String,
    /// Whom to call.
    #[serde(
        default,
        deserialize_with = "bounded::shown_option::<_, { text::TEXT_LIMIT }>"
    )]
    pub contact: Option<String>,
    /// What the operator should know of the agreements with this centre.
    #[serde(default, deserialize_with = "bounded::list::<_, _, AGREEMENTS>")]
    pub agreements: Vec<AgreementInfo>,
    /// Newest head of the own journal.
    #[serde(default, deserialize_with = "bounded::statement_option")]
    pub head: Option<String>,
    /// What the gateway calls this receiver ([`crate::format::ids::ReceiverId`]). Older
    /// gateways don't say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receiver: Option<Sha256>,
}

/// A live grant, as a centre's other receivers are told of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantTold {
    /// The request, verbatim.
    #[serde(deserialize_with = "bounded::statement")]
    pub request: String,
    /// The newest grant statement.
    #[serde(deserialize_with = "bounded::statement")]
    pub proof: String,
    /// How each camera travels to the receiver that has the pictures, or is to have them.
    #[serde(deserialize_with = "bounded::map::<_, _, _, CAMERAS_LIMIT>")]
    pub relays: BTreeMap<CameraId, RelayId>,
    /// The receiver that has its pictures, or is to have them.
    pub receiver: Sha256,
    /// Whether that is the one that is told: it records the grant and confirms it, and then the
    /// pictures come.
    pub here: bool,
    /// When the grant first began, seconds since the epoch.
    pub first_start: i64,
    /// Its RTSP password, once a receiver has told it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "bounded::secret_option"
    )]
    pub password: Option<Secret>,
}

/// A receiver introduces itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiverHello {
    /// Minor version of the protocol.
    pub minor: u32,
    /// fanal's version.
    #[serde(deserialize_with = "bounded::shown::<_, 32>")]
    pub version: String,
    /// Wall clock, µs since the epoch.
    pub wall: i64,
    /// The centre's name.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub name: String,
    /// Newest head of the own journal.
    #[serde(default, deserialize_with = "bounded::statement_option")]
    pub head: Option<String>,
}

/// What the operator should know of an agreement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreementInfo {
    /// The convention's reference.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub reference: String,
    /// First day, `YYYY-MM-DD`.
    #[serde(deserialize_with = "bounded::shown::<_, 10>")]
    pub from: String,
    /// Last day, inclusive.
    #[serde(deserialize_with = "bounded::shown::<_, 10>")]
    pub until: String,
    /// Units that may ask; empty: any.
    #[serde(default, deserialize_with = "bounded::shown_list::<_, NAMES>")]
    pub units: Vec<String>,
    /// Keys of the authorities that designate for it
    /// ([`crate::format::designation::Authority::keys`]): another authority may name a unit
    /// alike. Empty: older gateways don't say.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, FEW>"
    )]
    pub authorities: Vec<Sha256>,
    /// Allowed grounds with their labels.
    #[serde(deserialize_with = "bounded::list::<_, _, NAMES>")]
    pub grounds: Vec<GroundInfo>,
    /// Longest duration, seconds.
    #[serde(deserialize_with = "bounded::seconds")]
    pub max_duration: u64,
    /// Longest life with renewals, seconds.
    #[serde(deserialize_with = "bounded::seconds")]
    pub max_total: u64,
    /// Cameras at once.
    pub max_relays: u32,
    /// Whether stills may be taken.
    #[serde(default)]
    pub snapshots: bool,
    /// Whether the page writes over each picture who watches it. Older gateways don't say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub watermark: bool,
    /// Whether VMS accounts may see.
    #[serde(default)]
    pub vms: bool,
    /// Whether the commune approves each request.
    #[serde(default)]
    pub approval: bool,
    /// Grounds that need none all the same. Older gateways don't say.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::shown_list::<_, NAMES>"
    )]
    pub approval_exempt: Vec<String>,
    /// When it is in force within a week; empty: always. Older gateways don't say.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "bounded::list::<_, _, FEW>"
    )]
    pub hours: Vec<Hours>,
}

/// A weekly window, Europe/Paris. One that ends at or before its start runs into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours {
    /// Days on which it starts, Monday first.
    pub days: [bool; 7],
    /// Start, minutes after midnight.
    #[serde(deserialize_with = "bounded::minutes::<_, 1_439>")]
    pub start: u16,
    /// End, minutes after midnight, exclusive; 1440 is the end of the day.
    #[serde(deserialize_with = "bounded::minutes::<_, 1_440>")]
    pub end: u16,
}

/// Grounds with their labels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroundInfo {
    /// Id.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub id: String,
    /// French label.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub fr: String,
    /// English label.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub en: String,
}

/// What the operator may know of a camera; never its address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// Id.
    pub id: CameraId,
    /// Name.
    #[serde(deserialize_with = "bounded::shown::<_, { text::TEXT_LIMIT }>")]
    pub name: String,
    /// Groups.
    #[serde(default, deserialize_with = "bounded::shown_list::<_, FEW>")]
    pub groups: Vec<String>,
    /// Latitude and longitude.
    #[serde(default, deserialize_with = "bounded::position")]
    pub position: Option<[f64; 2]>,
    /// Degrees from north.
    #[serde(default, deserialize_with = "bounded::degrees")]
    pub bearing: Option<f64>,
    /// Degrees.
    #[serde(default, deserialize_with = "bounded::degrees")]
    pub field_of_view: Option<f64>,
    /// `camera` or `commune/camera`.
    #[serde(default, deserialize_with = "bounded::neighbours::<_, FEW>")]
    pub neighbours: Vec<String>,
    /// Whether it has a smaller stream.
    #[serde(default)]
    pub sub: bool,
    /// Whether an agreement covers it under which VMS accounts may see. Older gateways don't say.
    #[serde(default)]
    pub vms: bool,
    /// Why it can't be relayed, no matter who asks (`camera_invalid`, `mask_not_verified`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<Refusal>,
    /// Why it failed the gateway's newest probe; it may be asked for all the same. Since 1.3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Refusal>,
}

/// The state of a relay, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RelayState {
    /// The camera is being opened.
    Starting,
    /// Pictures come.
    Live,
    /// Pictures come late.
    Late,
    /// The camera failed and is tried again.
    Retrying,
    /// The camera failed for good, until settings change.
    Failed,
    /// It is over.
    Ended,
}

/// The heads that a side holds of both journals when a link comes up, so that one that went back is
/// seen at once. Older peers don't say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Journals {
    /// The sender's newest head.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::statement_option"
    )]
    pub head: Option<String>,
    /// The first line of the sender's journal, where it continues another: some 600 bytes. One
    /// of more than a statement's length is cut, and names nothing any more.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::statement_option"
    )]
    pub continues: Option<String>,
    /// Why the sender's journal does not verify, until its administrator accepted that. Sent
    /// again while the link is up, where that is found then.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::shown_option::<_, { text::TEXT_LIMIT }>"
    )]
    pub damaged: Option<String>,
    /// The newest head that the sender holds of the peer's journal.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "bounded::statement_option"
    )]
    pub held: Option<String>,
}

/// Journal heads on their way to the peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heads {
    /// The sender's newest head statement.
    #[serde(deserialize_with = "bounded::statement")]
    pub head: String,
    /// Its body-less lines after the last one acknowledged, oldest first.
    #[serde(
        default,
        deserialize_with = "bounded::texts::<_, LINES_LIMIT, LINE_BYTES>"
    )]
    pub lines: Vec<String>,
    /// Number of the last line of the peer's that the sender holds.
    #[serde(default)]
    pub acknowledged: u64,
}

/// A still that is about to be taken, as the centre tells the commune.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotAsked {
    /// Its id, chosen by the centre.
    pub snapshot: SnapshotId,
    /// Under which grant.
    pub grant: GrantId,
    /// The camera.
    pub camera: CameraId,
    /// When the picture was captured, by the gateway's clock: µs since the epoch.
    pub captured: i64,
    /// Of the PNG's image data; absent from centres of versions that asked for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
}

#[cfg(test)]
pub(crate) mod inflate;
