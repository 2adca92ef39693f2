//! Pulling cameras: the pool against scripted cameras, one test for each thing
//! that real cameras do.

mod flood;
mod onvif;
mod traps;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanal::clock::{Clock, Wall};
use fanal::config::settings;
use fanal::format::ids::CameraId;
use fanal::gateway::camera::{Attachment, Limits, Pool};
use fanal::gateway::sessions::SessionLog;
use fanal::media::relay::Profile;
use fanal::media::sink::{Sink, State};
use fanal::media::unit::{AccessUnit, Codec, Frame, Group};
use fanal::metrics;
use fanal::reason::Reason;
use fanal::secret::Secret;
use tokio::sync::watch;

use crate::scripted::{
    Auth, BASIC, Camera, DIGEST_MD5, DIGEST_OLD, DIGEST_SHA256, Order, PATIENCE, Picture, Script,
    media_audio, media_h264,
};

/// Everything a sink got.
#[derive(Clone, Debug, Default)]
pub struct Got {
    pub groups: Vec<Arc<Group>>,
    pub units: Vec<(u64, Arc<AccessUnit>)>,
    pub states: Vec<State>,
}

/// A relay's place: remembers all, and can be waited for.
#[derive(Debug)]
pub struct Recorder(watch::Sender<Got>);

impl Recorder {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(Got::default())))
    }

    pub fn got(&self) -> Got {
        self.0.borrow().clone()
    }

    /// Waits until what was got is as wished; `false`: it took longer than `limit`.
    pub async fn reached(&self, limit: Duration, wish: impl Fn(&Got) -> bool) -> bool {
        let mut got = self.0.subscribe();
        let waited = tokio::time::timeout(limit, got.wait_for(|got| wish(got))).await;
        matches!(waited, Ok(Ok(_)))
    }

    pub async fn until(&self, what: &str, wish: impl Fn(&Got) -> bool) -> Got {
        let mut got = self.0.subscribe();
        let waited = tokio::time::timeout(PATIENCE, got.wait_for(|got| wish(got))).await;
        match waited {
            Ok(Ok(got)) => got.clone(),
            _ => panic!("{what}: got {:#?}", self.got().states),
        }
    }

    pub async fn until_units(&self, count: usize) -> Got {
        self.until(&format!("{count} units"), |got| got.units.len() >= count)
            .await
    }

    pub async fn until_live(&self) -> Got {
        self.until("live", |got| got.states.last() == Some(&State::Live))
            .await
    }

    /// Waits for a failure of this reason and gives its detail.
    pub async fn until_failed(&self, reason: Reason) -> (State, String) {
        let got = self
            .until(reason.code(), |got| {
                got.states
                    .iter()
                    .any(|state| failure(state) == Some(reason))
            })
            .await;
        let state = got.states.iter().find(|s| failure(s) == Some(reason));
        let state = state.unwrap().clone();
        let detail = match &state {
            State::Retrying(refusal) | State::Failed(refusal) => refusal.detail.clone(),
            State::Starting | State::Live => unreachable!(),
        };
        (state, detail)
    }
}

fn failure(state: &State) -> Option<Reason> {
    match state {
        State::Retrying(refusal) | State::Failed(refusal) => Some(refusal.reason),
        State::Starting | State::Live => None,
    }
}

impl Sink for Recorder {
    fn push(&self, frame: &Frame) {
        self.0.send_modify(|got| match frame {
            Frame::Group(group) => got.groups.push(group.clone()),
            Frame::Unit(unit) => {
                let number = got.groups.last().expect("a group comes first").number;
                got.units.push((number, unit.clone()));
            }
        });
    }

    fn state(&self, state: &State) {
        self.0.send_modify(|got| got.states.push(state.clone()));
    }
}

/// Limits short enough for tests; what must not pass by itself is long.
pub const LIMITS: Limits = Limits {
    describe: Duration::from_secs(2),
    setup: Duration::from_secs(2),
    stall: Duration::from_secs(10),
    tick: Duration::from_millis(10),
    teardown: Duration::from_secs(2),
    busy: Duration::from_secs(60),
    place: Duration::from_millis(200),
    retry_floor: Duration::from_millis(20),
    retry_cap: Duration::from_millis(100),
    retry_stable: Duration::from_secs(60),
    ..Limits::LAN
};

pub fn streams(url: &str) -> settings::Streams {
    settings::Streams {
        main: url.parse().unwrap(),
        sub: None,
        onvif: None,
        credential: None,
        transport: settings::Transport::Tcp,
        start_timeout: Duration::from_secs(5),
        close_after: Duration::ZERO,
        warm: false,
    }
}

pub fn credential(password: &str, basic: bool) -> Option<settings::Credential> {
    Some(settings::Credential {
        username: "fanal".to_owned(),
        password: Secret::new(password),
        basic,
    })
}

pub fn id(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

pub fn gateway(cameras: Vec<(&str, settings::Streams)>) -> settings::Gateway {
    let cameras = cameras.into_iter().map(|(name, streams)| {
        let camera = settings::Camera {
            id: id(name),
            name: name.to_owned(),
            groups: Vec::new(),
            streams: Ok(streams),
            position: None,
            bearing: None,
            field_of_view: None,
            neighbours: Vec::new(),
            mask_verified: true,
        };
        (id(name), camera)
    });
    settings::Gateway {
        cameras_file: None,
        commune: "berre".parse().unwrap(),
        name: "Berre".to_owned(),
        contact: None,
        state_dir: "/nonexistent".into(),
        metrics: "127.0.0.1:0".parse().unwrap(),
        socket: "/nonexistent".into(),
        socket_group: None,
        page: None,
        tls: settings::Tls {
            certificate: "x".into(),
            key: "x".into(),
            authority: "x".into(),
            revoked: Vec::new(),
        },
        agreements: Vec::new(),
        relay_after_loss: false,
        witnesses: Vec::new(),
        keep: fanal::format::keep::Keep::MOST,
        notify: None,
        copies: None,
        uplink: settings::Uplink {
            max_bitrate: None,
            min_per_relay: 0,
            congestion: settings::Congestion::Fanal,
            redundancy: true,
        },
        hosts: Vec::new(),
        cameras: cameras.collect::<BTreeMap<_, _>>(),
        test_camera: settings::Camera::test("Berre").unwrap(),
        probe: None,
        grounds: BTreeMap::new(),
        warnings: Vec::new(),
    }
}

pub struct World {
    pub pool: Pool,
    pub metrics: Arc<metrics::Gateway>,
}

pub fn world(settings: settings::Gateway, limits: Limits) -> World {
    let metrics = Arc::new(metrics::Gateway::new([], settings.cameras.len()).unwrap());
    World {
        pool: Pool::with_limits(
            Arc::new(settings),
            Clock::system(),
            metrics.clone(),
            limits,
            SessionLog::default(),
        ),
        metrics,
    }
}

impl World {
    pub fn attach(&self, camera: &str, sink: &Arc<Recorder>) -> Attachment {
        self.pool
            .new_dangerous_attachment(&id(camera), Profile::Main, sink.clone())
            .unwrap()
    }

    /// Waits until nobody is attached to the only camera.
    async fn until_forgotten(&self) {
        let forgotten = async {
            while self.metrics.encode().unwrap().contains("camera_up{") {
                tokio::task::yield_now().await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, forgotten).await.is_ok());
    }

    /// Waits until the metrics have this line.
    async fn until_metric(&self, line: &str) {
        let there = async {
            while !self.metric(line) {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, there).await;
        assert!(waited.is_ok(), "{line} did not come");
    }

    fn metric(&self, line: &str) -> bool {
        self.metrics.encode().unwrap().lines().any(|l| l == line)
    }
}

/// A camera, a pool with it as `cam`, and a recorder that is attached.
struct Simple {
    camera: Camera,
    world: World,
    sink: Arc<Recorder>,
    attachment: Option<Attachment>,
}

async fn simple_with(
    script: Script,
    limits: Limits,
    change: impl FnOnce(&mut settings::Streams),
) -> Simple {
    let camera = Camera::start(script).await;
    let mut streams = streams(&camera.url());
    change(&mut streams);
    let world = world(gateway(vec![("cam", streams)]), limits);
    let sink = Recorder::new();
    let attachment = Some(world.attach("cam", &sink));
    Simple {
        camera,
        world,
        sink,
        attachment,
    }
}

async fn simple(script: Script) -> Simple {
    simple_with(script, LIMITS, |_| {}).await
}

#[tokio::test]
async fn pictures_come_whole_numbered_and_timed() {
    let before = Clock::system().now().wall;
    let test = simple(Script::default()).await;
    for i in 1..4 {
        test.camera.picture(1, Picture::delta(i * 3_600)).await;
    }
    test.camera.picture(1, Picture::key(4 * 3_600)).await;
    let got = test.sink.until_units(5).await;
    assert_eq!(got.states, [State::Starting, State::Live]);
    let groups: Vec<_> = got
        .groups
        .iter()
        .map(|g| (g.number, g.epoch, g.first_of_epoch, g.kept, g.open))
        .collect();
    assert_eq!(
        groups,
        [(1, 1, true, false, false), (2, 1, false, false, false)]
    );
    let configuration = &got.groups[0].configuration;
    assert_eq!(configuration.codec, Codec::H264);
    assert_eq!((configuration.width, configuration.height), (240, 160));
    assert_eq!(configuration.record[0], 1, "an avcC record");
    let numbers: Vec<u64> = got.units.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [1, 1, 1, 1, 2]);
    let first = &got.units[0].1;
    assert!(first.flags.key && !got.units[1].1.flags.key);
    assert_eq!(
        first.data.len(),
        404,
        "the length in four bytes, no parameter sets"
    );
    assert_eq!(first.data[..5], [0, 0, 1, 0x90, 0x65]);
    for (i, (_, unit)) in got.units.iter().enumerate() {
        assert_eq!(unit.pts - first.pts, 3_600 * i as i64);
        let captured = Wall(unit.captured);
        assert!(captured >= before && captured <= Clock::system().now().wall);
    }
    assert!(
        test.world
            .metric(r#"fanal_gateway_camera_up{camera="cam"} 1"#)
    );
    assert!(
        test.world
            .metric(r#"fanal_gateway_cameras{state="live"} 1"#)
    );
    assert!(
        test.world
            .metric(r#"fanal_gateway_cameras{state="idle"} 0"#)
    );
    assert!(
        test.world
            .metric(r#"fanal_gateway_camera_starts_total{outcome="ok",reason=""} 1"#)
    );
    for (step, count) in [
        ("queue", 1),
        ("connect", 1),
        ("describe", 1),
        ("setup", 1),
        ("play", 1),
        ("first_picture", 1),
        ("key_frame", 1),
    ] {
        let line =
            format!("fanal_gateway_camera_start_step_seconds_count{{step=\"{step}\"}} {count}");
        assert!(test.world.metric(&line), "{line}");
    }
}

#[tokio::test]
async fn the_last_to_go_closes_with_teardown_and_nothing_stays() {
    let mut test = simple(Script::default()).await;
    test.sink.until_live().await;
    test.attachment = None;
    test.camera.until_method("TEARDOWN", 1).await;
    test.camera.until_alone().await;
    test.world.pool.shutdown().await;
    assert!(
        test.world
            .metric(r#"fanal_gateway_cameras{state="idle"} 1"#)
    );
    assert!(!test.world.metrics.encode().unwrap().contains("camera_up{"));
}

#[tokio::test]
async fn many_who_ask_share_one_session_and_each_gets_all() {
    let test = simple(Script {
        on_play: Vec::new(),
        ..Script::default()
    })
    .await;
    let sinks: Vec<_> = (0..20).map(|_| Recorder::new()).collect();
    let attached: Vec<_> = sinks.iter().map(|s| test.world.attach("cam", s)).collect();
    test.camera.picture(1, Picture::key(0)).await;
    test.camera.picture(1, Picture::delta(3_600)).await;
    for sink in &sinks {
        let got = sink.until_units(2).await;
        assert_eq!(got.states.last(), Some(&State::Live));
    }
    assert_eq!(test.camera.connections(), 1);
    assert_eq!(test.camera.count("PLAY"), 1);
    drop(attached);
    test.camera.picture(1, Picture::delta(7_200)).await;
    test.sink.until_units(3).await;
    assert_eq!(test.camera.count("TEARDOWN"), 0);
    assert_eq!(sinks[0].got().units.len(), 2, "nothing after leaving");
}

#[tokio::test]
async fn all_who_wait_are_told_that_the_start_failed() {
    let mut script = Script::default();
    script.status.insert("DESCRIBE", 404);
    let test = simple(script).await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    for sink in [&test.sink, &second] {
        let (state, detail) = sink.until_failed(Reason::CameraNotFound).await;
        assert!(matches!(state, State::Retrying(_)));
        assert!(detail.contains("404"), "{detail}");
    }
}

#[tokio::test]
async fn one_who_comes_while_it_lingers_keeps_the_session() {
    let mut test = simple_with(Script::default(), LIMITS, |streams| {
        streams.close_after = Duration::from_secs(60);
    })
    .await;
    test.sink.until_live().await;
    test.attachment = None;
    test.world.until_forgotten().await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    test.camera.picture(1, Picture::key(3_600)).await;
    second.until_units(1).await;
    assert!(
        !second.got().groups[0].kept,
        "pictures from before the relay are not shown"
    );
    assert_eq!(
        (test.camera.count("PLAY"), test.camera.count("TEARDOWN")),
        (1, 0)
    );
}

#[tokio::test]
async fn a_joiner_gets_the_kept_group_and_then_what_comes() {
    let test = simple(Script::default()).await;
    test.camera.picture(1, Picture::delta(3_600)).await;
    test.sink.until_units(2).await;
    let second = Recorder::new();
    let _second = test.world.attach("cam", &second);
    second.until_units(2).await;
    test.camera.picture(1, Picture::delta(7_200)).await;
    let got = second.until_units(3).await;
    assert_eq!(got.states, [State::Live]);
    assert!(got.groups.len() == 1 && got.groups[0].kept);
    assert_eq!(got.units, test.sink.until_units(3).await.units);
}

#[tokio::test]
async fn audio_is_never_set_up() {
    let script = Script {
        media: media_audio() + &media_h264(),
        ..Script::default()
    };
    let test = simple(script).await;
    test.sink.until_units(1).await;
    let setups: Vec<_> = test
        .camera
        .seen()
        .into_iter()
        .filter(|seen| seen.method == "SETUP")
        .map(|seen| seen.uri)
        .collect();
    assert_eq!(setups.len(), 1);
    assert!(setups[0].ends_with("/video"), "{setups:?}");
}
