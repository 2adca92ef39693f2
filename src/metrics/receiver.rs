//! The receiver's metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use prometheus::{GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::register::Register;
use super::{Copies, Ends, Lists, STEP_BUCKETS, Witnesses, encode, free_bytes};
use crate::clock::Clock;
use crate::config::settings;
use crate::format::ids::{CameraId, CommuneId};
use crate::journal::writer::Counters;
use crate::pki;
use crate::reason::{Mark, Reason};

/// The receiver's metrics (`fanal_receiver_…`).
#[derive(Debug)]
pub struct Receiver {
    registry: Registry,
    /// Where `state_free_bytes` looks; set by [`Receiver::apply`].
    state_dir: Mutex<Option<PathBuf>>,
    /// The revocation lists in force; read by `apply`.
    pub lists: Lists,
    /// What ends of what the settings name; read by `apply`.
    pub ends: Ends,
    /// 1 if the running settings are those of the file; 0 after a reload that was refused.
    pub config_last_reload_successful: IntGauge,
    /// Free bytes on the file system of `state_dir`; read at each scrape.
    pub state_free_bytes: IntGauge,
    /// Journal entries made durable.
    pub journal_entries_total: IntCounter,
    /// Journal entries that could not be made durable.
    pub journal_errors_total: IntCounter,
    /// 1 while the journal verifies.
    pub journal_intact: IntGauge,
    /// What witnesses answered.
    pub witnesses: Witnesses,
    /// How the journal's copies follow.
    pub copies: Copies,
    /// `use`: `link`, `link_authority`, `designation_authority`, `revocation_list`, `console`,
    /// `rtsp`.
    pub certificate_expiry_timestamp_seconds: IntGaugeVec,
    /// Lists in the settings' files that are older than lists seen before.
    pub revocation_lists_older: IntGauge,
    /// `commune`: 1 while its gateway is linked.
    pub link_up: IntGaugeVec,
    /// `commune`: 0 while its journal lacks lines that it signed, until that is accepted.
    pub commune_journal_intact: IntGaugeVec,
    /// `commune`, `version`, `transport`: 1 while it is linked.
    commune_info: IntGaugeVec,
    /// `commune`, `state`: see [`COMMUNE_CAMERAS`].
    pub commune_cameras: IntGaugeVec,
    /// `commune`, `use`: of its gateway's newest link.
    pub commune_certificate_expiry_timestamp_seconds: IntGaugeVec,
    /// The labels under which each commune's `commune_info` is.
    introduced: Mutex<BTreeMap<CommuneId, [String; 2]>>,
    /// Live grants.
    pub grants_active: IntGauge,
    /// `outcome` (`granted`, `refused`), `reason` (empty when `granted`).
    pub requests_total: IntCounterVec,
    /// Cameras coming in.
    pub relays_active: IntGauge,
    /// `outcome`: what became of a notice.
    pub notices_total: IntCounterVec,
    /// `commune`, `camera`: bytes of pictures received.
    pub relay_bytes_total: IntCounterVec,
    /// `commune`, `camera`: pictures received.
    pub frames_total: IntCounterVec,
    /// From a request's arrival to its grant's way out, both journals written.
    pub grant_seconds: Histogram,
    /// From an entry's arrival at the journal until it is durable.
    pub journal_append_seconds: Histogram,
    /// From a request's arrival to the first complete key frame.
    pub first_picture_seconds: Histogram,
    /// From a picture's arrival at the gateway to its arrival here, clock offset taken out.
    pub transit_seconds: Histogram,
    /// `kind`: see [`ViewerKind`].
    pub viewers: IntGaugeVec,
    /// `kind`: jumps of slow viewers to the next key frame.
    pub viewer_skips_total: IntCounterVec,
    /// `reason`: a reason's code, or one of [`RTSP_REFUSALS`].
    pub rtsp_refused_total: IntCounterVec,
    /// `commune`, `camera`: how old the newest picture is.
    pub newest_frame_age_seconds: GaugeVec,
    /// `commune`, `cause` ([`STREAM_REFUSALS`]): media streams that were stopped unread.
    pub streams_refused_total: IntCounterVec,
}

/// Labels of refused requests and connections besides the reasons' codes: what
/// they mean is told in deploy/reference/metrics.md.
pub const RTSP_REFUSALS: [&str; 11] = [
    "http",
    "malformed",
    "not_found",
    "out_of_place",
    "tls",
    "too_large",
    "too_many_connections",
    "transport",
    "unreadable_credentials",
    "unsupported",
    "wrong_credentials",
];

/// Why a media stream is stopped: no live grant allows its relay; its kind or
/// codec is not known here; its bytes break the protocol.
pub const STREAM_REFUSALS: [&str; 3] = ["no_grant", "unknown_kind", "malformed"];

/// The states of a commune's cameras at the centre: nothing is known against it, it failed its
/// newest probe, or why nobody can have it; `unusable` for what only other versions say.
pub const COMMUNE_CAMERAS: [&str; 5] = [
    "usable",
    "failed",
    "camera_invalid",
    "mask_not_verified",
    "unusable",
];

/// How somebody watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewerKind {
    /// RTSP or RTSPS, interleaved in the TCP connection.
    RtspTcp,
    /// RTSP with RTP over UDP.
    RtspUdp,
    /// The API's WebSocket.
    Live,
    /// A VMS account, whether it sees a picture or the card.
    Vms,
}

impl ViewerKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::RtspTcp, Self::RtspUdp, Self::Live, Self::Vms];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RtspTcp => "rtsp_tcp",
            Self::RtspUdp => "rtsp_udp",
            Self::Live => "live",
            Self::Vms => "vms",
        }
    }
}

const FIRST_PICTURE_BUCKETS: &[f64] = &[
    0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0,
];

const TRANSIT_BUCKETS: &[f64] = &[
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
];

impl Receiver {
    /// All metrics in a registry of their own, the known series at 0.
    ///
    /// # Errors
    /// Two metrics of one name: a mistake in this file, found by its test.
    pub fn new<'a>(
        communes: impl IntoIterator<Item = &'a CommuneId>,
    ) -> Result<Self, prometheus::Error> {
        let made = Self::register()?;
        for commune in communes {
            made.add_commune(commune);
        }
        for outcome in super::NOTICE_OUTCOMES {
            made.notices_total.with_label_values(&[outcome]);
        }
        made.requests_total.with_label_values(&["granted", ""]);
        for reason in Reason::marked(Mark::ReceiverRequests) {
            made.requests_total
                .with_label_values(&["refused", reason.code()]);
        }
        for kind in ViewerKind::ALL {
            made.viewers.with_label_values(&[kind.as_str()]);
            made.viewer_skips_total.with_label_values(&[kind.as_str()]);
        }
        for reason in RTSP_REFUSALS {
            made.rtsp_refused_total.with_label_values(&[reason]);
        }
        for purpose in [
            "link",
            "link_authority",
            "designation_authority",
            "revocation_list",
        ] {
            made.certificate_expiry_timestamp_seconds
                .with_label_values(&[purpose]);
        }
        Ok(made)
    }

    #[rustfmt::skip] // a table: one line for each metric
    fn register() -> Result<Self, prometheus::Error> {
        let r = Register::new("fanal_receiver_")?;
        Ok(Self {
            state_dir: Mutex::new(None),
            lists: Lists::default(),
            ends: Ends::default(),
            introduced: Mutex::default(),
            config_last_reload_successful: r.gauge("config_last_reload_successful", "1 if the settings that run are those of the file.")?,
            state_free_bytes: r.gauge("state_free_bytes", "Free bytes on the file system of state_dir.")?,
            journal_entries_total: r.counter("journal_entries_total", "Journal entries made durable.")?,
            journal_errors_total: r.counter("journal_errors_total", "Journal entries that could not be made durable.")?,
            journal_intact: r.gauge("journal_intact", "1 while the journal verifies.")?,
            witnesses: Witnesses::register(&r)?,
            copies: Copies::register(&r)?,
            certificate_expiry_timestamp_seconds: r.gauges("certificate_expiry_timestamp_seconds", &["use"], "When the first of these certificates ends, since the epoch.")?,
            revocation_lists_older: r.gauge("revocation_lists_older", "Revocation lists in files that are older than lists seen before.")?,
            link_up: r.gauges("link_up", &["commune"], "1 while this commune's gateway is linked.")?,
            commune_journal_intact: r.gauges("commune_journal_intact", &["commune"], "0 while this commune's journal lacks lines that it signed, until that is accepted.")?,
            commune_info: r.gauges("commune_info", &["commune", "version", "transport"], "1 while this commune's gateway is linked; fanal's version there, and what carries the link.")?,
            commune_cameras: r.gauges("commune_cameras", &["commune", "state"], "Cameras that this commune announced, by whether they can be asked for.")?,
            commune_certificate_expiry_timestamp_seconds: r.gauges("commune_certificate_expiry_timestamp_seconds", &["commune", "use"], "When this certificate of the commune ends, since the epoch; 0 before it has linked.")?,
            grants_active: r.gauge("grants_active", "Live grants.")?,
            requests_total: r.counters("requests_total", &["outcome", "reason"], "Requests answered.")?,
            relays_active: r.gauge("relays_active", "Cameras coming in.")?,
            relay_bytes_total: r.counters("relay_bytes_total", &["commune", "camera"], "Bytes of pictures received.")?,
            frames_total: r.counters("frames_total", &["commune", "camera"], "Pictures received.")?,
            grant_seconds: r.histogram("grant_seconds", STEP_BUCKETS, "From a request's arrival to its grant's way out, both journals written.")?,
            journal_append_seconds: r.histogram("journal_append_seconds", STEP_BUCKETS, "From an entry's arrival at the journal until it is durable.")?,
            first_picture_seconds: r.histogram("first_picture_seconds", FIRST_PICTURE_BUCKETS, "From a request to its first complete key frame.")?,
            transit_seconds: r.histogram("transit_seconds", TRANSIT_BUCKETS, "From a picture's arrival at the gateway to its arrival here, clock offset taken out.")?,
            viewers: r.gauges("viewers", &["kind"], "Viewers connected; those of VMS accounts also while they see the card.")?,
            viewer_skips_total: r.counters("viewer_skips_total", &["kind"], "Jumps of slow viewers to the next key frame.")?,
            rtsp_refused_total: r.counters("rtsp_refused_total", &["reason"], "RTSP requests and connections refused.")?,
            newest_frame_age_seconds: r.real_gauges("newest_frame_age_seconds", &["commune", "camera"], "How long ago the newest picture came.")?,
            notices_total: r.counters("notices_total", &["outcome"], "Notices by what became of them: delivered, retried (an attempt that was not taken), expired, dropped, gone.")?,
            streams_refused_total: r.counters("streams_refused_total", &["commune", "cause"], "Media streams stopped unread.")?,
            registry: r.registry,
        })
    }

    /// The known series of a commune, at 0.
    fn add_commune(&self, commune: &CommuneId) {
        self.link_up.with_label_values(&[commune.as_str()]);
        let journal = self
            .commune_journal_intact
            .with_label_values(&[commune.as_str()]);
        journal.set(1);
        self.show_commune(commune, None);
        for state in COMMUNE_CAMERAS {
            self.commune_cameras
                .with_label_values(&[commune.as_str(), state]);
        }
        self.commune_certificate_expiry_timestamp_seconds
            .with_label_values(&[commune.as_str(), "link"]);
        for cause in STREAM_REFUSALS {
            self.streams_refused_total
                .with_label_values(&[commune.as_str(), cause]);
        }
    }

    /// Follows new settings, at the start and after each reload: communes, where
    /// the free space is measured, when certificates end.
    pub fn apply(&self, settings: &settings::Receiver) {
        for commune in settings.communes.keys() {
            self.add_commune(commune);
        }
        self.witnesses.apply(&settings.witnesses);
        if let Ok(mut directory) = self.state_dir.lock() {
            *directory = Some(settings.state_dir.clone());
        }
        let ends = &self.certificate_expiry_timestamp_seconds;
        self.ends.take(pki::ends_of_receiver(settings), ends);
        let older = &self.revocation_lists_older;
        self.lists.take(pki::of_receiver(settings), ends, older);
    }

    /// What is known of a commune: its gateway's version, and what carries its link while it has
    /// one. `None`: what was known stays.
    pub fn show_commune(&self, commune: &CommuneId, told: Option<(&str, Option<&str>)>) {
        let introduced = self.introduced.lock();
        let mut introduced = introduced.unwrap_or_else(PoisonError::into_inner);
        let known = introduced.get(commune);
        let (version, transport) = match (told, known) {
            (Some((version, transport)), _) => (version, transport),
            (None, Some(_)) => return,
            (None, None) => ("", None),
        };
        let labels = [version.to_owned(), transport.unwrap_or_default().to_owned()];
        if known != Some(&labels) {
            if let Some([version, transport]) = known {
                let old = [commune.as_str(), version, transport];
                // An error says that there was no such series: nothing to remove.
                let _ = self.commune_info.remove_label_values(&old);
            }
            let gauge = [commune.as_str(), &labels[0], &labels[1]];
            let gauge = self.commune_info.with_label_values(&gauge);
            gauge.set(i64::from(transport.is_some()));
            introduced.insert(commune.clone(), labels);
        }
    }

    /// Counts an answered request; `Err`: why it was refused.
    pub fn count_request(&self, outcome: Result<(), Reason>) {
        let (outcome, reason) = match outcome {
            Ok(()) => ("granted", ""),
            Err(reason) => ("refused", reason.code()),
        };
        self.requests_total
            .with_label_values(&[outcome, reason])
            .inc();
    }

    /// Removes the series of a camera that is no longer relayed.
    pub fn forget_camera(&self, commune: &CommuneId, camera: &CameraId) {
        let labels = [commune.as_str(), camera.as_str()];
        // An error says that there was no such series: nothing to remove.
        let _ = self.relay_bytes_total.remove_label_values(&labels);
        let _ = self.frames_total.remove_label_values(&labels);
        let _ = self.newest_frame_age_seconds.remove_label_values(&labels);
    }

    /// What counts the journal's entries.
    pub fn counters(&self, clock: &Clock) -> Counters {
        Counters {
            clock: clock.clone(),
            entries: self.journal_entries_total.clone(),
            errors: self.journal_errors_total.clone(),
            seconds: self.journal_append_seconds.clone(),
        }
    }

    /// All series in the text format.
    ///
    /// # Errors
    /// The encoder found a metric it can't write.
    pub fn encode(&self) -> Result<String, prometheus::Error> {
        let directory = self.state_dir.lock().ok().and_then(|dir| dir.clone());
        if let Some(free) = directory.as_deref().and_then(free_bytes) {
            self.state_free_bytes.set(free);
        }
        encode(&self.registry)
    }
}
