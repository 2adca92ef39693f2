//! The gateway's metrics.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Registry,
};

use super::Transport;
use super::register::Register;
use super::{Copies, Ends, Lists, STEP_BUCKETS, Witnesses, encode, free_bytes};
use crate::clock::Clock;
use crate::config::settings;
use crate::format::cause::Cause;
use crate::format::ids::{CameraId, CentreId};
use crate::journal::writer::Counters;
use crate::media::relay::Profile;
use crate::pki;
use crate::policy::camera::StartStep;
use crate::reason::{Mark, Reason};

/// The gateway's metrics (`fanal_gateway_…`).
#[derive(Debug)]
pub struct Gateway {
    registry: Registry,
    /// Where `state_free_bytes` looks; set by [`Gateway::apply`].
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
    /// `use`: `link`, `link_authority`, `designation_authority`, `revocation_list`, `agreement`.
    pub certificate_expiry_timestamp_seconds: IntGaugeVec,
    /// Lists in the settings' files that are older than lists seen before.
    pub revocation_lists_older: IntGauge,
    /// `centre`: 1 while the link is up.
    pub link_up: IntGaugeVec,
    /// Receivers of each centre that are linked.
    pub receivers_linked: IntGaugeVec,
    /// How many links each centre has over each transport.
    links: Mutex<BTreeMap<(String, &'static str), i64>>,
    /// `centre`: 0 while its journal lacks lines that it signed, until that is accepted.
    pub centre_journal_intact: IntGaugeVec,
    /// `centre`, `transport` (`udp`, `tcp`): 1 for the one in use.
    pub link_transport: IntGaugeVec,
    /// `centre`: round-trip time.
    pub link_rtt_seconds: GaugeVec,
    /// `centre`: packets lost.
    pub link_lost_packets_total: IntCounterVec,
    /// Bytes of parity sent, beside QUIC's.
    pub link_parity_bytes_total: IntCounterVec,
    /// Bytes sent on the link of `centre`, QUIC's own included.
    pub link_sent_bytes_total: IntCounterVec,
    /// Bytes of control messages sent, by centre.
    pub link_control_bytes_total: IntCounterVec,
    /// Seconds in which a link was up and carried no relay, by centre.
    pub link_idle_seconds_total: IntCounterVec,
    /// UDP datagrams per send call: about 9 with segmentation offload, 1 without.
    pub link_datagrams_per_send: Gauge,
    /// `centre`: its clock minus ours.
    pub link_clock_offset_seconds: GaugeVec,
    /// What the uplink may carry, bytes per second: the setting, or the estimate.
    pub uplink_capacity_bytes_per_second: Gauge,
    /// What the streams take that are relayed now, bytes per second.
    pub uplink_demand_bytes_per_second: Gauge,
    /// `state`: see [`CameraState`].
    pub cameras: IntGaugeVec,
    /// `camera`: 1 while its session gives pictures; only while it is relayed.
    pub camera_up: IntGaugeVec,
    /// `outcome` (`ok`, `failed`), `reason` (empty when `ok`).
    pub camera_starts_total: IntCounterVec,
    /// From the order to open to the first key frame.
    pub camera_start_seconds: Histogram,
    /// `step` ([`StartStep`]): how long each step of a start that succeeded took.
    pub camera_start_step_seconds: HistogramVec,
    /// From a request's arrival at the control task to the decision; the journal comes after.
    pub request_check_seconds: Histogram,
    /// From an entry's arrival at the journal until it is durable.
    pub journal_append_seconds: Histogram,
    /// `centre`, `outcome` (`granted`, `refused`), `reason` (empty when `granted`).
    pub requests_total: IntCounterVec,
    /// Live grants.
    pub grants_active: IntGauge,
    /// Requests that wait for the commune.
    pub approvals_waiting: IntGauge,
    /// `outcome`: what became of a notice.
    pub notices_total: IntCounterVec,
    /// Cameras going to centres.
    pub relays_active: IntGauge,
    /// `profile` (`main`, `sub`): relays on a link by the stream they carry.
    pub relays: IntGaugeVec,
    /// `to` (`main`, `sub`), `cause`: moves of running relays to their camera's other stream.
    pub profile_changes_total: IntCounterVec,
    /// Relays opened.
    pub relays_opened_total: IntCounter,
    /// `reason`: relays closed.
    pub relays_closed_total: IntCounterVec,
    /// `camera`: bytes of pictures handed to links.
    pub relay_bytes_total: IntCounterVec,
    /// `camera`: pictures handed to links.
    pub frames_total: IntCounterVec,
    /// `camera`: groups given up because they were late.
    pub gops_reset_total: IntCounterVec,
    /// Bytes stopped at the last check before a link because no grant covered them: always 0.
    pub ungranted_bytes_total: IntCounter,
}

/// What `fanal_gateway_cameras` counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraState {
    /// Closed; nobody needs it.
    Idle,
    /// Being opened.
    Starting,
    /// Gives pictures.
    Live,
    /// Failed, tried again by itself.
    Retrying,
    /// Failed, held until its settings change.
    Failed,
    /// Its entry in the settings is wrong.
    Invalid,
}

impl CameraState {
    /// In the order of a session's life.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::Starting,
        Self::Live,
        Self::Retrying,
        Self::Failed,
        Self::Invalid,
    ];

    /// The label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Invalid => "invalid",
        }
    }
}

const START_BUCKETS: &[f64] = &[
    0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0,
];

impl Gateway {
    /// A link to a receiver of this centre came (1) or went (-1).
    pub fn count_link(&self, centre: &str, transport: &'static str, change: i64) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let count = links.entry((centre.to_owned(), transport)).or_default();
        *count += change;
        let over = &self.link_transport;
        over.with_label_values(&[centre, transport])
            .set((*count).min(1));
        let of_centre = links.iter().filter(|((of, _), _)| of == centre);
        let count = of_centre.map(|(_, count)| *count).sum::<i64>();
        self.receivers_linked
            .with_label_values(&[centre])
            .set(count);
        self.link_up.with_label_values(&[centre]).set(count.min(1));
    }

    /// All metrics in a registry of their own, the known series at 0. `cameras`
    /// is how many are configured; they count as idle.
    ///
    /// # Errors
    /// Two metrics of one name: a mistake in this file, found by its test.
    pub fn new<'a>(
        centres: impl IntoIterator<Item = &'a CentreId>,
        cameras: usize,
    ) -> Result<Self, prometheus::Error> {
        let made = Self::register()?;
        for centre in centres {
            made.add_centre(centre);
        }
        for outcome in super::NOTICE_OUTCOMES {
            made.notices_total.with_label_values(&[outcome]);
        }
        for state in CameraState::ALL {
            made.cameras.with_label_values(&[state.as_str()]);
        }
        made.cameras
            .with_label_values(&[CameraState::Idle.as_str()])
            .set(i64::try_from(cameras).unwrap_or(i64::MAX));
        made.camera_starts_total.with_label_values(&["ok", ""]);
        for reason in Reason::marked(Mark::CameraStarts) {
            made.camera_starts_total
                .with_label_values(&["failed", reason.code()]);
        }
        for step in StartStep::ALL {
            made.camera_start_step_seconds
                .with_label_values(&[step.as_str()]);
        }
        for reason in Reason::marked(Mark::RelaysClosed) {
            made.relays_closed_total.with_label_values(&[reason.code()]);
        }
        for profile in [Profile::Main, Profile::Sub] {
            let profile = profile.as_str();
            made.relays.with_label_values(&[profile]);
            for cause in Cause::ALL {
                made.profile_changes_total
                    .with_label_values(&[profile, cause.code()]);
            }
        }
        for purpose in [
            "link",
            "link_authority",
            "designation_authority",
            "revocation_list",
            "agreement",
        ] {
            made.certificate_expiry_timestamp_seconds
                .with_label_values(&[purpose]);
        }
        Ok(made)
    }

    #[rustfmt::skip] // a table: one line for each metric
    fn register() -> Result<Self, prometheus::Error> {
        let r = Register::new("fanal_gateway_")?;
        Ok(Self {
            state_dir: Mutex::new(None),
            lists: Lists::default(),
            ends: Ends::default(),
            config_last_reload_successful: r.gauge("config_last_reload_successful", "1 if the settings that run are those of the file.")?,
            state_free_bytes: r.gauge("state_free_bytes", "Free bytes on the file system of state_dir.")?,
            journal_entries_total: r.counter("journal_entries_total", "Journal entries made durable.")?,
            journal_errors_total: r.counter("journal_errors_total", "Journal entries that could not be made durable.")?,
            journal_intact: r.gauge("journal_intact", "1 while the journal verifies.")?,
            witnesses: Witnesses::register(&r)?,
            copies: Copies::register(&r)?,
            certificate_expiry_timestamp_seconds: r.gauges("certificate_expiry_timestamp_seconds", &["use"], "When the first of these certificates ends, since the epoch.")?,
            revocation_lists_older: r.gauge("revocation_lists_older", "Revocation lists in files that are older than lists seen before.")?,
            link_up: r.gauges("link_up", &["centre"], "1 while a link to this centre is up.")?,
            receivers_linked: r.gauges("receivers_linked", &["centre"], "Receivers of this centre that are linked.")?,
            links: Mutex::default(),
            centre_journal_intact: r.gauges("centre_journal_intact", &["centre"], "0 while this centre's journal lacks lines that it signed, until that is accepted.")?,
            link_transport: r.gauges("link_transport", &["centre", "transport"], "1 for the transport that the link uses.")?,
            link_rtt_seconds: r.real_gauges("link_rtt_seconds", &["centre"], "Round-trip time of the link.")?,
            link_parity_bytes_total: r.counters("link_parity_bytes_total", &["centre"], "Bytes of parity sent against loss, beside QUIC's.")?,
            link_lost_packets_total: r.counters("link_lost_packets_total", &["centre"], "Packets lost on the link.")?,
            link_sent_bytes_total: r.counters("link_sent_bytes_total", &["centre"], "Bytes sent on the link, those of QUIC or TLS included.")?,
            link_control_bytes_total: r.counters("link_control_bytes_total", &["centre"], "Bytes of control messages sent on the link.")?,
            link_idle_seconds_total: r.counters("link_idle_seconds_total", &["centre"], "Seconds in which the link was up and carried no picture.")?,
            link_datagrams_per_send: r.real_gauge("link_datagrams_per_send", "Datagrams handed over per send call; about 9 with segmentation offload, 1 without.")?,
            link_clock_offset_seconds: r.real_gauges("link_clock_offset_seconds", &["centre"], "The centre's clock minus this machine's.")?,
            uplink_capacity_bytes_per_second: r.real_gauge("uplink_capacity_bytes_per_second", "What the uplink may carry; 0 where no limit is set.")?,
            uplink_demand_bytes_per_second: r.real_gauge("uplink_demand_bytes_per_second", "What the streams take that are relayed now.")?,
            cameras: r.gauges("cameras", &["state"], "Configured cameras by state.")?,
            camera_up: r.gauges("camera_up", &["camera"], "1 while this relayed camera gives pictures.")?,
            camera_starts_total: r.counters("camera_starts_total", &["outcome", "reason"], "Attempts to open a camera.")?,
            camera_start_seconds: r.histogram("camera_start_seconds", START_BUCKETS, "From the order to open a camera to its first key frame.")?,
            camera_start_step_seconds: r.histograms("camera_start_step_seconds", &["step"], STEP_BUCKETS, "How long each step of opening a camera took.")?,
            request_check_seconds: r.histogram("request_check_seconds", STEP_BUCKETS, "From a request's arrival to the decision, before the journal.")?,
            journal_append_seconds: r.histogram("journal_append_seconds", STEP_BUCKETS, "From an entry's arrival at the journal until it is durable.")?,
            requests_total: r.counters("requests_total", &["centre", "outcome", "reason"], "Requests answered.")?,
            grants_active: r.gauge("grants_active", "Live grants.")?,
            approvals_waiting: r.gauge("approvals_waiting", "Requests that wait for the commune's approval.")?,
            relays_active: r.gauge("relays_active", "Cameras going to centres.")?,
            relays: r.gauges("relays", &["profile"], "Relays on a link by the stream of their camera that they carry.")?,
            profile_changes_total: r.counters("profile_changes_total", &["to", "cause"], "Moves of running relays to their camera's other stream.")?,
            relays_opened_total: r.counter("relays_opened_total", "Relays opened.")?,
            relays_closed_total: r.counters("relays_closed_total", &["reason"], "Relays closed.")?,
            relay_bytes_total: r.counters("relay_bytes_total", &["camera"], "Bytes of pictures handed to links.")?,
            frames_total: r.counters("frames_total", &["camera"], "Pictures handed to links.")?,
            gops_reset_total: r.counters("gops_reset_total", &["camera"], "Groups of pictures given up because they were late.")?,
            notices_total: r.counters("notices_total", &["outcome"], "Notices by what became of them: delivered, retried (an attempt that was not taken), expired, dropped, gone.")?,
            ungranted_bytes_total: r.counter("ungranted_bytes_total", "Bytes at the last look before a link that no live grant covered; always 0.")?,
            registry: r.registry,
        })
    }

    /// The known series of a centre, at 0.
    pub fn add_centre(&self, centre: &CentreId) {
        let centre = centre.as_str();
        self.link_up.with_label_values(&[centre]);
        self.receivers_linked.with_label_values(&[centre]);
        let journal = self.centre_journal_intact.with_label_values(&[centre]);
        journal.set(1);
        self.link_rtt_seconds.with_label_values(&[centre]);
        self.link_lost_packets_total.with_label_values(&[centre]);
        self.link_parity_bytes_total.with_label_values(&[centre]);
        self.link_sent_bytes_total.with_label_values(&[centre]);
        self.link_control_bytes_total.with_label_values(&[centre]);
        self.link_idle_seconds_total.with_label_values(&[centre]);
        self.link_clock_offset_seconds.with_label_values(&[centre]);
        for transport in Transport::ALL {
            self.link_transport
                .with_label_values(&[centre, transport.as_str()]);
        }
        self.requests_total
            .with_label_values(&[centre, "granted", ""]);
        for reason in Reason::marked(Mark::GatewayRequests) {
            self.requests_total
                .with_label_values(&[centre, "refused", reason.code()]);
        }
    }

    /// Follows new settings, at the start and after each reload: centres, where
    /// the free space is measured, when certificates end, the uplink's limit.
    pub fn apply(&self, settings: &settings::Gateway) {
        for agreement in &settings.agreements {
            self.add_centre(&agreement.centre);
        }
        self.witnesses.apply(&settings.witnesses);
        if let Ok(mut directory) = self.state_dir.lock() {
            *directory = Some(settings.state_dir.clone());
        }
        let limit = settings.uplink.max_bitrate.unwrap_or(0);
        #[allow(clippy::cast_precision_loss)] // bit rates are far below 2^53
        self.uplink_capacity_bytes_per_second
            .set(limit as f64 / 8.0);
        let ends = &self.certificate_expiry_timestamp_seconds;
        self.ends.take(pki::ends_of_gateway(settings), ends);
        self.apply_lists(settings);
    }

    /// Follows the revocation lists in force: with new settings, and after a newer list came
    /// over the link. Blocks.
    pub fn apply_lists(&self, settings: &settings::Gateway) {
        let ends = &self.certificate_expiry_timestamp_seconds;
        let older = &self.revocation_lists_older;
        self.lists.take(pki::of_gateway(settings), ends, older);
    }

    /// Counts an answered request; `Err`: why it was refused.
    pub fn count_request(&self, centre: &CentreId, outcome: Result<(), Reason>) {
        let (outcome, reason) = match outcome {
            Ok(()) => ("granted", ""),
            Err(reason) => ("refused", reason.code()),
        };
        self.requests_total
            .with_label_values(&[centre.as_str(), outcome, reason])
            .inc();
    }

    /// Counts an attempt to open a camera; `Err`: why it failed.
    pub fn count_camera_start(&self, outcome: Result<(), Reason>) {
        let (outcome, reason) = match outcome {
            Ok(()) => ("ok", ""),
            Err(reason) => ("failed", reason.code()),
        };
        self.camera_starts_total
            .with_label_values(&[outcome, reason])
            .inc();
    }

    /// Sets how many cameras are in this state.
    pub fn set_cameras(&self, state: CameraState, count: usize) {
        self.cameras
            .with_label_values(&[state.as_str()])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Removes the series of a camera that is no longer relayed to anybody.
    pub fn forget_camera(&self, camera: &CameraId) {
        let labels = [camera.as_str()];
        // An error says that there was no such series: nothing to remove.
        let _ = self.camera_up.remove_label_values(&labels);
        for counters in [
            &self.relay_bytes_total,
            &self.frames_total,
            &self.gops_reset_total,
        ] {
            let _ = counters.remove_label_values(&labels);
        }
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
