//! Checked settings. Plain data: cheap to share behind an `Arc`, replaced whole
//! at a reload.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde::Serialize;

use super::Problem;
use super::network::Network;
pub use crate::format::control::Hours;
use crate::format::ids::{CameraId, CentreId, CommuneId, Sha256};
use crate::format::keep::Keep;
use crate::format::note::VerifierKey;
use crate::reason::Reason;
use crate::secret::Secret;

/// Longest duration that an agreement may name.
pub const DURATION_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// A gateway's settings (`gateway.toml`).
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The commune's id, also in its certificate.
    pub commune: CommuneId,
    /// Its name for people.
    pub name: String,
    /// Whom to call, for people; shown when the commune is offline or refuses.
    pub contact: Option<String>,
    /// Where the journal and the rest of the state live.
    pub state_dir: PathBuf,
    /// Where metrics and health are served.
    pub metrics: SocketAddr,
    /// The local socket of `fanal relays`, `cut`, `allow`.
    pub socket: PathBuf,
    /// The group that may open it, by name or number; `None`: the daemon's own.
    pub socket_group: Option<String>,
    /// The commune's own page; `None`: there is none.
    pub page: Option<Page>,
    /// Certificate, key and authority of the link.
    pub tls: Tls,
    /// The agreements, in the file's order.
    pub agreements: Vec<Agreement>,
    /// Whether relays go on although a journal, this machine's or a centre's, lost lines that
    /// nobody accepted.
    pub relay_after_loss: bool,
    /// Who cosigns the journal's checkpoints, in the file's order.
    pub witnesses: Vec<Witness>,
    /// How long the journal is kept.
    pub keep: Keep,
    /// Where notices go, besides the log.
    pub notify: Option<Notify>,
    /// Where copies of the journal go.
    pub copies: Option<Copies>,
    /// The commune's uplink.
    pub uplink: Uplink,
    /// Cameras and recorders that allow few sessions.
    pub hosts: Vec<Host>,
    /// The table of cameras.
    pub cameras_file: Option<PathBuf>,
    /// The cameras, invalid ones too, by id.
    pub cameras: BTreeMap<CameraId, Camera>,
    /// The camera [`Camera::TEST`], which no file names.
    pub test_camera: Camera,
    /// How often cameras that nobody watches are probed; `None`: never.
    pub probe: Option<Duration>,
    /// The grounds known here: fanal's list and `[[ground]]`.
    pub grounds: BTreeMap<String, Ground>,
    /// What is odd but no error, for the log, `fanal check` and `/ready`.
    pub warnings: Vec<Problem>,
}

/// The commune's own page: who watches, cuts, approvals, the journal.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where it is served.
    pub listen: SocketAddr,
    /// TLS; `None` on loopback alone.
    pub tls: Option<ServerTls>,
    /// Who signs the certificates of those who may sign in (PEM); no agreement's authority.
    pub authority: PathBuf,
    /// Revocation lists of that authority (PEM).
    pub revoked: Option<PathBuf>,
    /// Names under which the page is called, besides loopback and the address it listens on.
    pub hosts: Vec<String>,
    /// Without a touch for this long the page hides what it shows.
    pub lock_after: Duration,
}

/// A third who cosigns the journal's checkpoints: sees how many lines it has, and that it only grew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its name for people, in the journal and in metrics.
    pub name: String,
    /// The submission prefix (C2SP tlog-witness), without a slash at its end.
    pub url: url::Url,
    /// The key that it cosigns with.
    pub key: VerifierKey,
}

/// Where notices go: one HTTPS address.
#[derive(Clone, Debug)]
pub struct Notify {
    /// The address.
    pub url: url::Url,
    /// `whsec_` and the key of the signatures in base64.
    pub secret: Secret,
    /// Who signs the server's certificate (PEM); `None`: those whom the system trusts.
    pub authority: Option<PathBuf>,
    /// What is told.
    pub events: BTreeSet<NoticeKind>,
    /// Whether operator and intervention are told too.
    pub details: bool,
}

/// Where copies of the journal go: NATS JetStream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// The servers, all of one cluster, `tls://` or `nats://`; others that they name are not asked.
    pub servers: Vec<url::Url>,
    /// The content of the NATS credentials file; `None`: the servers ask for none.
    pub credentials: Option<Secret>,
    /// Who signs the servers' certificates (PEM); `None`: those whom the system trusts.
    pub authority: Option<PathBuf>,
    /// The stream, which the servers' administrator makes.
    pub stream: String,
}

/// What a notice may tell of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NoticeKind {
    /// A grant or its renewal.
    Grant,
    /// A grant's end.
    End,
    /// A request was refused.
    Refused,
    /// A request waits for the commune.
    Waiting,
    /// A journal lost lines, or could not be written.
    Alarm,
}

impl NoticeKind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Grant,
        Self::End,
        Self::Refused,
        Self::Waiting,
        Self::Alarm,
    ];

    /// As it is written in settings and notices.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::End => "end",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
            Self::Alarm => "alarm",
        }
    }
}

/// Certificate, key and authority of one end of a link.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Own certificate chain (PEM), leaf first.
    pub certificate: PathBuf,
    /// Own private key (PEM).
    pub key: PathBuf,
    /// Who signs the peers' certificates (PEM).
    pub authority: PathBuf,
    /// Files with revocation lists of that authority, and of others that are passed over (PEM).
    pub revoked: Vec<PathBuf>,
}

/// A convention with a centre: who may see what, when and why.
#[derive(Clone, Debug)]
pub struct Agreement {
    /// The convention's reference, for the journal.
    pub reference: String,
    /// The centre.
    pub centre: CentreId,
    /// Where the centre's receiver listens: `host:port`, tried in turn.
    pub addresses: Vec<String>,
    /// First day in force, Europe/Paris.
    pub from: Date,
    /// Last day in force, Europe/Paris, inclusive.
    pub until: Date,
    /// Who signs the operators' designations (PEM), and its text.
    pub designation_authority: PathBuf,
    /// Revocation lists of that authority, and of the link's own one (PEM).
    pub revoked: Option<PathBuf>,
    /// Whether a missing or outdated revocation list refuses.
    pub require_fresh_revocation: bool,
    /// Units that may ask; empty: any.
    pub units: Vec<String>,
    /// Covered cameras: ids and groups, `*` as a wildcard.
    pub cameras: Vec<String>,
    /// Not covered all the same.
    pub except: Vec<String>,
    /// When, Europe/Paris; empty: always. Checked text such as `mon-fri 08:00-20:00`.
    pub hours: Vec<Hours>,
    /// Allowed grounds.
    pub grounds: Vec<String>,
    /// Longest duration of one request.
    pub max_duration: Duration,
    /// Longest life of a grant with all its renewals.
    pub max_total: Duration,
    /// How many cameras at once.
    pub max_relays: u32,
    /// Longest validity of a designation.
    pub max_designation: Duration,
    /// Whether stills may be taken.
    pub snapshots: bool,
    /// Whether the page writes over each picture who watches it.
    pub watermark: bool,
    /// Whether VMS accounts of the centre may see the pictures.
    pub vms: bool,
    /// Who approves.
    pub approval: Approval,
    /// How long a request waits for approval.
    pub approval_timeout: Duration,
    /// Grounds that need no approval.
    pub approval_exempt: Vec<String>,
    /// Own identity towards this centre, where it differs.
    pub tls: Tls,
    /// SHA-256 of this agreement's settings in a canonical form, for the journal.
    pub settings_hash: Sha256,
}

/// Who approves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// The agreement's rules alone.
    Automatic,
    /// Somebody at the commune, each time.
    Commune,
}

/// The commune's uplink.
#[derive(Clone, Debug)]
pub struct Uplink {
    /// Bits per second fanal may use; `None`: as much as there is.
    pub max_bitrate: Option<u64>,
    /// Bits per second below which a relay is not worth starting.
    pub min_per_relay: u64,
    /// How much may be under way.
    pub congestion: Congestion,
    /// Whether parity is sent where packets get lost and there is room for it.
    pub redundancy: bool,
}

impl Default for Uplink {
    /// As a file without `[uplink]` has it.
    fn default() -> Self {
        Self {
            max_bitrate: None,
            min_per_relay: 300_000,
            congestion: Congestion::default(),
            redundancy: true,
        }
    }
}

/// What decides how much may be under way on a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// [`crate::link::congestion`]: for live pictures.
    #[default]
    Fanal,
    /// RFC 9438, for comparison.
    Cubic,
}

/// An address that allows few sessions.
#[derive(Clone, Debug)]
pub struct Host {
    /// Host name or address as in the cameras' URLs.
    pub address: String,
    /// Sessions at once; `None`: no limit.
    pub max_sessions: Option<u32>,
    /// Pause between two starts.
    pub start_interval: Duration,
}

/// A camera, or an entry that should have been one.
#[derive(Clone, Debug)]
pub struct Camera {
    /// Its id.
    pub id: CameraId,
    /// Its name for people.
    pub name: String,
    /// Its groups.
    pub groups: Vec<String>,
    /// How to open it; `Err` says what is wrong with the entry (`camera_invalid`).
    pub streams: Result<Streams, String>,
    /// Latitude and longitude in degrees.
    pub position: Option<[f64; 2]>,
    /// Where it looks, degrees from north.
    pub bearing: Option<f64>,
    /// Its horizontal angle, degrees.
    pub field_of_view: Option<f64>,
    /// Cameras nearby: `camera` or `commune/camera`.
    pub neighbours: Vec<String>,
    /// Whether somebody has verified the privacy masks in the camera itself.
    pub mask_verified: bool,
}

/// How to open a camera.
#[derive(Clone, Debug)]
pub struct Streams {
    /// RTSP URL of the full picture, without credentials.
    pub main: url::Url,
    /// RTSP URL of the smaller picture, without credentials.
    pub sub: Option<url::Url>,
    /// Its ONVIF device service (`http`), by which a key frame can be asked for;
    /// without credentials.
    pub onvif: Option<url::Url>,
    /// User name and password, for RTSP and ONVIF.
    pub credential: Option<Credential>,
    /// TCP (interleaved) or UDP.
    pub transport: Transport,
    /// How long a start may take, to the first key frame.
    pub start_timeout: Duration,
    /// How long the session stays after the last viewer.
    pub close_after: Duration,
    /// Kept open, and its newest group of pictures in memory, for a picture at once;
    /// nothing leaves the LAN.
    pub warm: bool,
}

/// A camera's user name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Whether Basic may be used; otherwise only Digest answers.
    pub basic: bool,
}

/// How RTP comes from a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Interleaved in the RTSP connection.
    Tcp,
    /// Its own datagrams, on the LAN.
    Udp,
}

/// Grounds with their labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ground {
    /// French label.
    pub fr: String,
    /// English label.
    pub en: String,
}

/// A receiver's settings (`receiver.toml`).
#[derive(Clone, Debug)]
pub struct Receiver {
    /// The centre's id, also in its certificate.
    pub centre: CentreId,
    /// Its name for people.
    pub name: String,
    /// Where the journal and the rest of the state live.
    pub state_dir: PathBuf,
    /// Where metrics and health are served.
    pub metrics: SocketAddr,
    /// Certificate, key and authority of the links.
    pub tls: Tls,
    /// Whether relays go on although a journal, this machine's or a commune's, lost lines that
    /// nobody accepted.
    pub relay_after_loss: bool,
    /// Who cosigns the journal's checkpoints, in the file's order.
    pub witnesses: Vec<Witness>,
    /// How long the journal is kept.
    pub keep: Keep,
    /// Where notices go, besides the log.
    pub notify: Option<Notify>,
    /// Where copies of the journal go.
    pub copies: Option<Copies>,
    /// Where gateways come in.
    pub link_listen: Vec<SocketAddr>,
    /// The communes that may connect.
    pub communes: BTreeMap<CommuneId, Commune>,
    /// The console and API.
    pub console: Console,
    /// RTSP for players.
    pub rtsp: Rtsp,
    /// Who signs operators' designations; several authorities in turn.
    pub operators: Vec<Operators>,
    /// VMS accounts.
    pub accounts: Vec<Account>,
    /// What is odd but no error.
    pub warnings: Vec<Problem>,
}

/// A commune that may connect.
#[derive(Clone, Debug)]
pub struct Commune {
    /// Its id.
    pub id: CommuneId,
    /// Own identity and the authority towards this commune, where it differs.
    pub tls: Tls,
}

/// The console and API.
#[derive(Clone, Debug)]
pub struct Console {
    /// Where.
    pub listen: SocketAddr,
    /// Certificate and key; needed off loopback unless `plain`.
    pub tls: Option<ServerTls>,
    /// Plain HTTP off loopback, on purpose.
    pub plain: bool,
    /// Host names and addresses by which it may be called, besides loopback.
    pub hosts: Vec<String>,
    /// Without a touch for this long the page hides its pictures.
    pub lock_after: Duration,
    /// Addresses for the search (Base Adresse Nationale).
    pub addresses: Option<PathBuf>,
    /// Pictures for the map's background: a PMTiles archive, or a directory `z/x/y.png`.
    pub tiles: Option<PathBuf>,
    /// Whom the map must name for them.
    pub tiles_attribution: Option<String>,
}

/// A server's own certificate and key, without client authentication.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Certificate chain (PEM), leaf first.
    pub certificate: PathBuf,
    /// Private key (PEM).
    pub key: PathBuf,
}

/// RTSP for players.
#[derive(Clone, Debug)]
pub struct Rtsp {
    /// Clear RTSP.
    pub listen: Option<SocketAddr>,
    /// RTSPS.
    pub tls_listen: Option<SocketAddr>,
    /// Certificate and key of RTSPS.
    pub tls: Option<ServerTls>,
    /// `host:port` in URLs; `None`: the address it listens on.
    pub address: Option<String>,
    /// Clear RTSP off loopback, on purpose.
    pub plain: bool,
    /// RTP goes over UDP where a player asks for it.
    pub udp: bool,
}

/// A designation authority, as the centre knows it.
#[derive(Clone, Debug)]
pub struct Operators {
    /// Certificate (PEM).
    pub designation_authority: PathBuf,
    /// Revocation list (PEM); newer ones are passed to the gateways.
    pub revoked: Option<PathBuf>,
    /// A directory of designations (PEM), where the page finds the newest for its key.
    pub designations: Option<PathBuf>,
    /// The units that it may designate for; empty: any.
    pub units: Vec<String>,
}

/// A VMS account.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// Name in the journal: `vms:NAME`.
    pub name: String,
    /// RTSP user.
    pub username: String,
    /// RTSP password.
    pub password: Secret,
    /// Networks it may come from; empty: any.
    pub from: Vec<Network>,
    /// Communes it may see; empty: all.
    pub communes: Vec<CommuneId>,
}

impl Account {
    /// Whether it may come from this address.
    pub fn lets_in(&self, from: std::net::IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(from))
    }

    /// Whether it may see this commune's cameras.
    pub fn may_see(&self, commune: &CommuneId) -> bool {
        self.communes.is_empty() || self.communes.contains(commune)
    }
}

impl Agreement {
    /// Whether these patterns (ids and groups, `*` as a wildcard) cover the camera.
    pub fn matches(patterns: &[String], camera: &Camera) -> bool {
        patterns.iter().any(|pattern| fits(pattern, camera))
    }

    /// Whether the agreement covers the camera at all, whatever the hour and the grounds. Each
    /// covers the test camera, unless it excepts it.
    pub fn covers(&self, camera: &Camera) -> bool {
        self.leaves_out(camera).is_none()
    }

    /// Why the agreement does not cover the camera, whatever the hour; `None`: it does.
    pub fn leaves_out(&self, camera: &Camera) -> Option<LeftOut<'_>> {
        let except = self.except.iter();
        let mut except = except.filter(|pattern| fits(pattern, camera));
        if let Some(pattern) = except.next() {
            return Some(LeftOut::Except(pattern));
        }
        let is_named = camera.is_test() || self.cameras.iter().any(|pattern| fits(pattern, camera));
        (!is_named).then_some(LeftOut::NotNamed)
    }
}

impl Gateway {
    /// A camera of the settings, or the test camera.
    pub fn camera(&self, id: &CameraId) -> Option<&Camera> {
        let test = Some(&self.test_camera).filter(|test| &test.id == id);
        test.or_else(|| self.cameras.get(id))
    }
}

impl Camera {
    /// The id of the camera that each gateway draws itself, for drills.
    pub const TEST: &str = "fanal-test";
    /// The only grounds under which it is given.
    pub const TEST_GROUNDS: &str = "drill";
    /// Scheme of its URL, whose path is the commune's name. No file may have such a URL.
    pub const TEST_SCHEME: &str = "fanal-test";

    /// The test camera of a commune of this name. `None` cannot be: a test looks.
    pub fn test(commune: &str) -> Option<Self> {
        let mut main = url::Url::parse("fanal-test:x").ok()?;
        main.set_path(&percent_encode(commune.as_bytes(), NON_ALPHANUMERIC).to_string());
        Some(Self {
            id: CameraId::new(Self::TEST).ok()?,
            name: "Caméra d'essai fanal".to_owned(),
            groups: Vec::new(),
            streams: Ok(Streams {
                main,
                sub: None,
                onvif: None,
                credential: None,
                transport: Transport::Tcp,
                start_timeout: Duration::from_secs(10),
                close_after: Duration::from_secs(1),
                warm: false,
            }),
            position: None,
            bearing: None,
            field_of_view: None,
            neighbours: Vec::new(),
            mask_verified: true,
        })
    }

    /// Whether it is that one.
    pub fn is_test(&self) -> bool {
        self.id.as_str() == Self::TEST
    }

    /// Why this camera can't be relayed under any agreement, if so.
    pub fn unusable(&self) -> Option<Reason> {
        if self.streams.is_err() {
            Some(Reason::CameraInvalid)
        } else if !self.mask_verified {
            Some(Reason::MaskNotVerified)
        } else {
            None
        }
    }
}

/// Why an agreement does not cover a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut<'a> {
    /// Its `except` has this pattern.
    Except(&'a str),
    /// Its `cameras` do not name it.
    NotNamed,
}

/// Whether the camera's id, or one of its groups, fits.
fn fits(pattern: &str, camera: &Camera) -> bool {
    wildcard(pattern, camera.id.as_str())
        || camera.groups.iter().any(|group| wildcard(pattern, group))
}

/// Matches `*` against any run of characters, the rest literally.
fn wildcard(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::wildcard;

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "a"),
            ("ecole-*", "ecole-1"),
            ("*-nord", "quai-nord"),
            ("a*b*c", "a-b-b-c"),
            ("ab", "ab"),
        ] {
            assert!(wildcard(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "ab"),
            ("ecole-*", "ecole"),
            ("a*b*c", "ac"),
            ("ab*ba", "aba"),
        ] {
            assert!(!wildcard(pattern, text), "{pattern} {text}");
        }
    }
}
