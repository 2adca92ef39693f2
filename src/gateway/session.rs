//! One RTSP session with a camera, through retina: opened in steps with a
//! timeout each, then pictures, then TEARDOWN.
//!
//! Only the video track is set up, ever: audio is not asked for (code de la
//! sécurité intérieure, R253-1).

use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use retina::client::{
    Demuxed, InitialTimestampPolicy, PlayOptions, SessionGroup, SessionOptions, SetupOptions,
    TcpTransportOptions, Transport, UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame};
use tokio_util::task::TaskTracker;

use super::adapter::Adapter;
use super::cause;
use super::host::{Hosts, Place, Turn};
use crate::config::settings;
use crate::media::h265;
use crate::media::timeline::TICKS_PER_SECOND;
use crate::media::unit::{Codec, Configuration, UNIT_LIMIT};
use crate::proto::camera::{Failure, Retry, Step};
use crate::reason::Reason;

/// The name under which cameras see the gateway.
const USER_AGENT: &str = concat!("fanal/", env!("CARGO_PKG_VERSION"));

/// How long things may take that no setting names. Tests shorten them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connection and DESCRIBE together.
    pub describe: Duration,
    /// SETUP and PLAY together.
    pub setup: Duration,
    /// Longest time between two pictures.
    pub stall: Duration,
    /// How often a session is looked at though nothing came: retina answers
    /// nothing and delivers nothing after a request of the camera's until it is
    /// polled again.
    pub tick: Duration,
    /// How long a TEARDOWN is waited for.
    pub teardown: Duration,
    /// How long a camera without room for a session is left alone: the usual
    /// lifetime of a session that was not torn down.
    pub busy: Duration,
    /// How long a start waits for another camera of a full host to close.
    pub place: Duration,
    /// A key frame that is due sooner than this is waited for.
    pub key_frame_near: Duration,
    /// A session is not opened anew for a key frame more often than this.
    pub key_frame_every: Duration,
    /// First wait before a failed camera is tried again.
    pub retry_floor: Duration,
    /// Longest wait.
    pub retry_cap: Duration,
    /// A session must have lived this long for the wait to begin at the floor again.
    pub retry_stable: Duration,
}

impl Limits {
    /// What is right for cameras on a LAN.
    pub const LAN: Self = Self {
        describe: Duration::from_secs(5),
        setup: Duration::from_secs(5),
        stall: Duration::from_secs(8),
        tick: Duration::from_millis(250),
        teardown: Duration::from_secs(2),
        busy: Duration::from_secs(60),
        place: Duration::from_secs(3),
        key_frame_near: Duration::from_secs(2),
        key_frame_every: Duration::from_secs(5),
        retry_floor: Duration::from_secs(1),
        retry_cap: Duration::from_secs(30),
        retry_stable: Duration::from_secs(30),
    };
}

/// What to open and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: url::Url,
    pub(crate) credential: Option<settings::Credential>,
    pub(crate) transport: settings::Transport,
}

impl Target {
    /// The name or address in the URL: what `[[host]]` goes by.
    pub(crate) fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }
}

/// How far a start has come, seen from outside the future that makes it.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    step: AtomicU8,
    reached: Mutex<Vec<(Step, Instant)>>,
}

impl Progress {
    pub(crate) fn reach(&self, step: Step) {
        self.step.store(step as u8, Ordering::Relaxed);
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.push((step, Instant::now()));
    }

    pub(crate) fn step(&self) -> Step {
        Step::from_number(self.step.load(Ordering::Relaxed))
    }

    /// When each step began, in order.
    pub(crate) fn reached(&self) -> Vec<(Step, Instant)> {
        let reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.clone()
    }
}

/// Everything a start needs.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) target: Arc<Target>,
    pub(crate) hosts: Arc<Hosts>,
    pub(crate) group: Arc<SessionGroup>,
    pub(crate) limits: Limits,
    pub(crate) progress: Arc<Progress>,
    /// The camera is known to need the adapter; set when that turns out.
    pub(crate) adapted: Arc<AtomicBool>,
    /// Owns the adapter's task.
    pub(crate) tasks: TaskTracker,
}

/// A session that plays. Dropping it sends TEARDOWN in the background;
/// [`Session::close`] waits for it.
pub(crate) struct Session {
    demuxed: Pin<Box<Demuxed>>,
    stream: usize,
    codec: Codec,
    configuration: Option<Arc<Configuration>>,
    group: Arc<SessionGroup>,
    teardown: Duration,
    adapted: Arc<AtomicBool>,
    _place: Place,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("codec", &self.codec)
            .field("configuration", &self.configuration)
            .finish_non_exhaustive()
    }
}

/// A picture as it came from the camera.
#[derive(Debug)]
pub(crate) struct Picture {
    /// RTP time, 90 kHz, wrapping.
    pub(crate) rtp: u32,
    /// When its last byte came.
    pub(crate) arrived: Instant,
    pub(crate) key: bool,
    /// Leading pictures may need the group before.
    pub(crate) open_group: bool,
    pub(crate) disposable: bool,
    pub(crate) loss_before: bool,
    pub(crate) data: Bytes,
    /// What a decoder needs for it; known at the latest with the first key frame.
    pub(crate) configuration: Option<Arc<Configuration>>,
}

impl Session {
    /// Opens a session: waits for the host's turn, then DESCRIBE, SETUP of the
    /// video track, PLAY. A camera without a user name is first opened by retina
    /// directly, at no cost for its bytes; one whose answers retina does not bear
    /// through the [`Adapter`], from then on.
    pub(crate) async fn open(opening: Opening) -> Result<Self, Failure> {
        let limits = opening.limits;
        let place = opening
            .hosts
            .enter(opening.target.host(), limits.place, limits.busy)
            .await?;
        let adapted =
            opening.target.credential.is_some() || opening.adapted.load(Ordering::Relaxed);
        let (demuxed, stream, codec) = if adapted {
            opening.open_adapted().await?
        } else {
            opening.progress.reach(Step::Connecting);
            match opening.play(opening.target.url.clone()).await {
                Ok(playing) => playing,
                Err(Unopened::Known(failure)) => return Err(failure),
                Err(Unopened::Retina(error)) => {
                    tracing::debug!(%error, "retina could not open the camera directly");
                    match error.status_code() {
                        Some(status) if status >= 400 => {
                            let step = opening.progress.step();
                            return Err(cause::from_status(status, step, limits.busy));
                        }
                        Some(_) | None => {}
                    }
                    await_teardown(&opening.group, limits.teardown).await;
                    let opened = opening.open_adapted().await?;
                    tracing::info!("the camera needs the adapter; see gateway::adapter");
                    opening.adapted.store(true, Ordering::Relaxed);
                    opened
                }
            }
        };
        opening.progress.reach(Step::NoPicture);
        Ok(Self {
            demuxed: Box::pin(demuxed),
            stream,
            codec,
            configuration: None,
            group: opening.group.clone(),
            teardown: limits.teardown,
            adapted: opening.adapted.clone(),
            _place: place,
        })
    }

    /// The next picture. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Picture, Failure> {
        loop {
            match self.demuxed.next().await {
                Some(Ok(CodecItem::VideoFrame(frame))) => return self.picture(frame),
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    tracing::debug!(%error, "session broke");
                    // Perhaps for something that the adapter bears.
                    self.adapted.store(true, Ordering::Relaxed);
                    return Err(cause::ended());
                }
                None => return Err(cause::ended()),
            }
        }
    }

    /// Ends the session and waits a little for the camera to confirm it.
    pub(crate) async fn close(self) {
        let Self {
            demuxed,
            group,
            teardown,
            _place,
            ..
        } = self;
        drop(demuxed);
        await_teardown(&group, teardown).await;
    }

    fn picture(&mut self, frame: VideoFrame) -> Result<Picture, Failure> {
        if frame.data().len() > UNIT_LIMIT {
            return Err(cause::hold(
                Reason::CodecUnsupported,
                format!("a picture of more than {UNIT_LIMIT} bytes"),
            ));
        }
        if self.configuration.is_none() || frame.has_new_parameters() {
            self.refresh();
        }
        let key = match self.codec {
            Codec::H264 | Codec::Jpeg => frame.is_random_access_point(),
            // retina 0.4.21 takes none but IDR for a random access point; encoders
            // of open groups send CRA from the second group on.
            Codec::H265 => h265::Picture::of(frame.data()).is_key(),
        };
        let (open_group, disposable) = match self.codec {
            Codec::H264 | Codec::Jpeg => (false, frame.is_disposable()),
            Codec::H265 => (
                h265::Picture::of(frame.data()).opens_group(),
                h265::is_disposable(frame.data(), highest_layer(self.configuration.as_deref())),
            ),
        };
        let (ticks, rate) = (
            frame.timestamp().timestamp(),
            frame.timestamp().clock_rate(),
        );
        Ok(Picture {
            rtp: to_video_clock(ticks, rate),
            arrived: frame.end_ctx().received(),
            key,
            open_group: key && open_group,
            disposable: disposable && !key,
            loss_before: frame.loss() > 0,
            data: Bytes::from(frame.into_data()),
            configuration: self.configuration.clone(),
        })
    }

    /// Reads the decoder's parameters again; keeps the old ones where they are equal.
    fn refresh(&mut self) {
        let parameters = self.demuxed.streams().get(self.stream);
        let Some(ParametersRef::Video(video)) = parameters.and_then(|s| s.parameters()) else {
            return;
        };
        let (width, height) = video.pixel_dimensions();
        let record = match self.codec {
            Codec::H264 | Codec::H265 => Bytes::copy_from_slice(video.extra_data()),
            Codec::Jpeg => Bytes::new(),
        };
        let fresh = Configuration {
            codec: self.codec,
            record,
            width: u16::try_from(width).unwrap_or(0),
            height: u16::try_from(height).unwrap_or(0),
        };
        if self.configuration.as_deref() != Some(&fresh) {
            self.configuration = Some(Arc::new(fresh));
        }
    }
}

/// Why a session was not opened.
enum Unopened {
    /// For this.
    Known(Failure),
    /// For what retina says.
    Retina(retina::Error),
}

impl Opening {
    /// Connects by itself and lets retina speak through the adapter.
    async fn open_adapted(&self) -> Result<(Demuxed, usize, Codec), Failure> {
        let target = &self.target;
        let turn = match &target.credential {
            Some(credential) => Some(self.turn(credential).await?),
            None => None,
        };
        self.progress.reach(Step::Connecting);
        let connect = Adapter::connect(target, turn, self.limits.busy, &self.tasks);
        let Ok(adapter) = tokio::time::timeout(self.limits.describe, connect).await else {
            return Err(self.too_slow(self.limits.describe));
        };
        let adapter = adapter?;
        self.progress.reach(Step::Describing);
        match self.play(adapter.url()).await {
            Ok(playing) => Ok(playing),
            Err(unopened) => {
                let known = adapter.verdict();
                Err(known.unwrap_or_else(|| match unopened {
                    Unopened::Known(failure) => failure,
                    Unopened::Retina(error) => {
                        tracing::warn!(%error, "the camera's answers are not understood");
                        cause::from_retina(&error, self.progress.step(), self.limits.busy)
                    }
                }))
            }
        }
    }

    /// Waits for the right to try the password, while other cameras of the host try it.
    async fn turn(&self, credential: &settings::Credential) -> Result<Turn, Failure> {
        let login = self.hosts.login(self.target.host(), &credential.username);
        match tokio::time::timeout(self.limits.describe + self.limits.place, login).await {
            Ok(turn) => turn,
            Err(_) => Err(cause::again(
                Reason::CameraUnreachable,
                "another camera of the same host and user does not answer; passwords are tried one at a time until one was right",
            )),
        }
    }

    /// DESCRIBE, SETUP of the video track, PLAY.
    async fn play(&self, url: url::Url) -> Result<(Demuxed, usize, Codec), Unopened> {
        let limits = &self.limits;
        let options = SessionOptions::default()
            .user_agent(USER_AGENT.to_owned())
            .session_group(self.group.clone());
        let describe = retina::client::Session::describe(url, options);
        let mut described = tokio::time::timeout(limits.describe, describe)
            .await
            .map_err(|_| Unopened::Known(self.too_slow(limits.describe)))?
            .map_err(Unopened::Retina)?;
        let (stream, codec) = choose(described.streams()).map_err(Unopened::Known)?;
        let setup = async {
            self.progress.reach(Step::SettingUp);
            let transport = match self.target.transport {
                settings::Transport::Tcp => Transport::Tcp(TcpTransportOptions::default()),
                settings::Transport::Udp => Transport::Udp(UdpTransportOptions::default()),
            };
            let options = SetupOptions::default()
                .transport(transport)
                .frame_format(FrameFormat::MP4);
            described.setup(stream, options).await?;
            self.progress.reach(Step::Playing);
            let options =
                PlayOptions::default().initial_timestamp(InitialTimestampPolicy::Permissive);
            described.play(options).await
        };
        let playing = tokio::time::timeout(limits.setup, setup)
            .await
            .map_err(|_| Unopened::Known(self.too_slow(limits.setup)))?
            .map_err(Unopened::Retina)?;
        let demuxed = playing.demuxed().map_err(|error| {
            tracing::warn!(%error, "the camera's video is not understood");
            Unopened::Known(cause::hold(
                Reason::CodecUnsupported,
                "its description of the video is not understood; see the gateway's log",
            ))
        })?;
        Ok((demuxed, stream, codec))
    }

    fn too_slow(&self, timeout: Duration) -> Failure {
        Failure {
            refusal: self.progress.step().too_slow(timeout),
            retry: Retry::Backoff,
        }
    }
}

/// Waits for TEARDOWNs under way in the background, for at most `limit`.
pub(crate) async fn await_teardown(group: &SessionGroup, limit: Duration) {
    match tokio::time::timeout(limit, group.await_teardown()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "TEARDOWN failed"),
        Err(_) => tracing::warn!(
            "the camera does not confirm TEARDOWN; it may count the session until its timeout"
        ),
    }
}

/// The video track to set up.
fn choose(streams: &[retina::client::Stream]) -> Result<(usize, Codec), Failure> {
    let video = || {
        streams
            .iter()
            .enumerate()
            .filter(|(_, s)| s.media() == "video")
    };
    let known = video().find_map(|(index, stream)| {
        let codec = match stream.encoding_name() {
            "h264" => Codec::H264,
            "h265" => Codec::H265,
            "jpeg" => Codec::Jpeg,
            _ => return None,
        };
        Some((index, codec))
    });
    known.ok_or_else(|| {
        let names: Vec<String> = video()
            .take(4)
            .map(|(_, stream)| printable(stream.encoding_name()))
            .collect();
        let detail = if names.is_empty() {
            "it describes no video track".to_owned()
        } else {
            format!("it sends {}", names.join(", "))
        };
        cause::hold(Reason::CodecUnsupported, detail)
    })
}

/// A short name from the camera, fit for a sentence.
fn printable(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
        .take(24)
        .collect()
}

/// A track's time in the video clock of 90 kHz, which nearly all have anyway.
fn to_video_clock(ticks: i64, rate: NonZeroU32) -> u32 {
    let rate = i128::from(rate.get());
    let ticks = i128::from(ticks) * i128::from(TICKS_PER_SECOND) / rate;
    (ticks & 0xffff_ffff) as u32
}

/// The highest sub-layer of an H.265 stream: `numTemporalLayers` of its hvcC
/// record (ISO 14496-15 8.3.3.1.2) less one; beyond all where it is not known.
fn highest_layer(configuration: Option<&Configuration>) -> u8 {
    let layers = configuration
        .and_then(|configuration| configuration.record.get(21))
        .map_or(0, |byte| (byte >> 3) & 7);
    layers.checked_sub(1).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sub_layers_make_nothing_disposable() {
        let with = |layers: u8| Configuration {
            codec: Codec::H265,
            record: [vec![0; 21], vec![layers << 3 | 3]].concat().into(),
            width: 0,
            height: 0,
        };
        let picture = [0, 0, 0, 3, 0, 1, 0];
        let disposable =
            |known: Option<&Configuration>| h265::is_disposable(&picture, highest_layer(known));
        assert!(disposable(Some(&with(1))));
        assert!(!disposable(Some(&with(2))), "the layer above may need it");
        assert!(!disposable(Some(&with(0))));
        assert!(!disposable(None));
    }

    #[test]
    fn odd_clock_rates_are_brought_to_the_video_clock() {
        let rate = |rate| NonZeroU32::new(rate).unwrap_or(NonZeroU32::MIN);
        assert_eq!(to_video_clock(90_000, rate(90_000)), 90_000);
        assert_eq!(to_video_clock(1_000, rate(1_000)), 90_000);
        assert_eq!(to_video_clock(1 << 32, rate(90_000)), 0);
    }
}
