//! Cameras of others: GStreamer's RTSP server through the pool. Each picture is
//! decoded and compared with what ffmpeg gets from the camera directly.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use fanal::config::settings::Transport;
use fanal::gateway::camera::Limits;
use fanal::media::config::{Avc, Hevc};
use fanal::media::nal::length_prefixed;
use fanal::media::relay::Profile;
use fanal::media::sink::State;
use fanal::media::unit::{AccessUnit, Codec, Configuration};
use fanal::reason::Reason;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::camera::{Got, LIMITS, Recorder, credential, gateway, id, streams, world};
use crate::onvif::{Device, Plan};
use crate::scripted::PATIENCE;

/// Pictures looked at; the camera has more, so that its end plays no part.
const PICTURES: usize = 60;
/// Of which so many are compared: B-frames of the last may be missing.
const COMPARED: usize = 50;

/// Whether these programs are here. Where they are not, the test is skipped with
/// a line, but not under CI, which installs them.
fn installed(needs: &[(&str, &[&str])]) -> bool {
    for (program, arguments) in needs {
        let mut command = std::process::Command::new(program);
        command
            .args(*arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if !command.status().is_ok_and(|status| status.success()) {
            assert!(
                std::env::var_os("CI").is_none(),
                "{program} is required under CI"
            );
            crate::tools::skipped(format_args!("{program} {arguments:?} not found"));
            return false;
        }
    }
    true
}

const BINDINGS: &str = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer";

/// The Python that knows GStreamer: the system's, where another comes first in the path.
fn python() -> Option<&'static str> {
    let knows = |python: &&str| {
        let mut command = std::process::Command::new(python);
        command
            .args(["-c", BINDINGS])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    ["python3", "/usr/bin/python3"].into_iter().find(knows)
}

/// Everything here, or a line.
fn ready(encoder: &str) -> Option<&'static str> {
    let needs: [(&str, &[&str]); 2] = [
        ("ffmpeg", &["-version"]),
        ("gst-inspect-1.0", &["--exists", encoder]),
    ];
    let python = python();
    if python.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "GStreamer's Python bindings are required under CI"
        );
        crate::tools::skipped(format_args!("GStreamer's RTSP server for Python not found"));
    }
    python.filter(|_| installed(&needs))
}

/// A running camera; it is killed when dropped.
struct Gstreamer {
    url: String,
    stdin: ChildStdin,
    _child: Child,
}

impl Gstreamer {
    async fn start(python: &str, encoder: &str, protocol: &str, login: &[&str]) -> Self {
        let pipeline = format!(
            "( videotestsrc pattern=ball \
             ! video/x-raw,format=I420,width=320,height=240,framerate=50/1 ! {encoder} name=pay0 )"
        );
        let script = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/data/gstreamer_camera.py"
        );
        let mut child = Command::new(python)
            .args([script, &pipeline, protocol])
            .args(login)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let port: u16 = line.unwrap().unwrap().unwrap().parse().unwrap();
        Self {
            url: format!("rtsp://127.0.0.1:{port}/main"),
            stdin: child.stdin.take().unwrap(),
            _child: child,
        }
    }
}

// A constant quantiser and one thread: the same pictures at each run, so that two
// clients can be compared.
const H264: &str =
    "x264enc tune=zerolatency pass=quant quantizer=26 threads=1 key-int-max=20 ! rtph264pay";
const H264_B: &str = "x264enc bframes=2 b-adapt=false pass=quant quantizer=26 threads=1 key-int-max=20 \
     ! video/x-h264,profile=main ! rtph264pay";
const H265: &str = "x265enc tune=zerolatency speed-preset=ultrafast qp=28 key-int-max=20 \
     option-string=pools=none:frame-threads=1 ! rtph265pay";
const JPEG: &str = "jpegenc ! rtpjpegpay";

/// The first pictures through the pool.
async fn pictures(camera: &Gstreamer, transport: Transport, password: Option<&str>) -> Got {
    let mut streams = streams(&camera.url);
    streams.transport = transport;
    streams.credential = password.and_then(|password| credential(password, false));
    streams.start_timeout = Duration::from_secs(15);
    let world = world(gateway(vec![("cam", streams)]), LIMITS);
    let sink = Recorder::new();
    let attached = world.attach("cam", &sink);
    let mut got = sink.until_units(PICTURES).await;
    drop(attached);
    world.pool.shutdown().await;
    got.units.truncate(PICTURES);
    let last = got.units[PICTURES - 1].0;
    got.groups.retain(|group| group.number <= last);
    got
}

/// The hash of each picture that ffmpeg makes of this input; any complaint of its fails.
fn decode(input: &[&str], bytes: Vec<u8>) -> Vec<String> {
    let mut ffmpeg = std::process::Command::new("ffmpeg")
        .args(["-v", "error"])
        .args(input)
        .args(["-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = ffmpeg.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = ffmpeg.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(complaints.is_empty(), "{complaints}");
    let text = String::from_utf8(output.stdout).unwrap();
    let hash = |line: &str| line.rsplit(", ").next().unwrap().trim().to_owned();
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(hash)
        .collect()
}

/// The units as ffmpeg reads them from a file.
fn elementary(configuration: &Configuration, units: &[(u64, Arc<AccessUnit>)]) -> Vec<u8> {
    const START: &[u8] = &[0, 0, 0, 1];
    let sets = match configuration.codec {
        Codec::H264 => {
            let avc = Avc::parse(&configuration.record).unwrap();
            [avc.sps, avc.pps].concat()
        }
        Codec::H265 => {
            let hevc = Hevc::parse(&configuration.record).unwrap();
            [hevc.vps, hevc.sps, hevc.pps].concat()
        }
        Codec::Jpeg => {
            return units
                .iter()
                .flat_map(|(_, unit)| unit.data.to_vec())
                .collect();
        }
    };
    let units = units
        .iter()
        .flat_map(|(_, unit)| length_prefixed(&unit.data));
    let nals = sets.iter().map(AsRef::as_ref).chain(units);
    nals.flat_map(|nal: &[u8]| [START, nal].concat()).collect()
}

async fn check(camera: &Gstreamer, got: &Got, codec: Codec, login: &str) {
    let configuration = &got.groups[0].configuration;
    assert_eq!(configuration.codec, codec);
    assert_eq!((configuration.width, configuration.height), (320, 240));
    assert!(got.units.iter().all(|(_, unit)| !unit.flags.loss_before));
    let keys = got.units.iter().filter(|(_, unit)| unit.flags.key).count();
    assert_eq!(keys, got.groups.len());
    assert!(got.groups.iter().all(|group| group.epoch == 1));
    let format = match codec {
        Codec::H264 => "h264",
        Codec::H265 => "hevc",
        Codec::Jpeg => "mjpeg",
    };
    let ours = decode(
        &["-f", format, "-i", "-"],
        elementary(configuration, &got.units),
    );
    assert_eq!(ours.len(), PICTURES);
    let url = camera.url.replace("rtsp://", &format!("rtsp://{login}"));
    let count = COMPARED.to_string();
    let direct = tokio::task::spawn_blocking(move || {
        let input = ["-rtsp_transport", "tcp", "-i", &url, "-frames:v", &count];
        decode(&input, Vec::new())
    });
    let direct = direct.await.unwrap();
    assert_eq!(direct.len(), COMPARED);
    assert_eq!(
        ours[..COMPARED],
        direct[..],
        "the same pictures as without fanal"
    );
}

#[tokio::test]
async fn h264_comes_whole() {
    let Some(python) = ready("x264enc") else {
        return;
    };
    let camera = Gstreamer::start(python, H264, "tcp", &[]).await;
    let got = pictures(&camera, Transport::Tcp, None).await;
    check(&camera, &got, Codec::H264, "").await;
    assert_eq!(got.groups.len(), 3);
    let steps: Vec<i64> = got
        .units
        .windows(2)
        .map(|w| w[1].1.pts - w[0].1.pts)
        .collect();
    assert!(
        steps.iter().all(|step| (step - 1_800).abs() <= 1),
        "{steps:?}"
    );
}

#[tokio::test]
async fn h264_with_b_frames_keeps_decode_order_and_times() {
    let Some(python) = ready("x264enc") else {
        return;
    };
    let camera = Gstreamer::start(python, H264_B, "tcp", &[]).await;
    let got = pictures(&camera, Transport::Tcp, None).await;
    check(&camera, &got, Codec::H264, "").await;
    let mut pts: Vec<i64> = got.units.iter().map(|(_, unit)| unit.pts).collect();
    assert!(pts.windows(2).any(|w| w[0] > w[1]), "no B-frame came");
    assert!(got.units.iter().any(|(_, unit)| unit.flags.disposable));
    pts.sort_unstable();
    assert!(pts.windows(2).all(|w| (w[1] - w[0] - 1_800).abs() <= 1));
}

#[tokio::test]
async fn h265_comes_whole() {
    let Some(python) = ready("x265enc") else {
        return;
    };
    let camera = Gstreamer::start(python, H265, "tcp", &[]).await;
    let got = pictures(&camera, Transport::Tcp, None).await;
    check(&camera, &got, Codec::H265, "").await;
}

#[tokio::test]
async fn jpeg_comes_whole_and_each_picture_is_a_group() {
    let Some(python) = ready("jpegenc") else {
        return;
    };
    let camera = Gstreamer::start(python, JPEG, "tcp", &[]).await;
    let got = pictures(&camera, Transport::Tcp, None).await;
    check(&camera, &got, Codec::Jpeg, "").await;
    assert_eq!(got.groups.len(), PICTURES);
    assert!(
        got.units
            .iter()
            .all(|(_, unit)| unit.data.starts_with(&[0xff, 0xd8]))
    );
}

#[tokio::test]
async fn an_encoder_in_a_long_group_gives_a_key_frame_when_it_is_asked() {
    let Some(python) = ready("x264enc") else {
        return;
    };
    // The next by itself is minutes away.
    let encoder = H264.replace("key-int-max=20", "key-int-max=30000");
    let mut camera = Gstreamer::start(python, &encoder, "tcp", &[]).await;
    let device = Device::start(Plan::default()).await;
    let mut asks = streams(&camera.url);
    asks.onvif = Some(device.url().parse().unwrap());
    let limits = Limits {
        key_frame_near: Duration::ZERO,
        ..LIMITS
    };
    let world = world(gateway(vec![("cam", asks)]), limits);
    let sink = Recorder::new();
    let _attached = world.attach("cam", &sink);
    sink.until_units(40).await;
    assert_eq!(sink.got().groups.len(), 1, "a long group");
    world.pool.want_key_frame(&id("cam"), Profile::Main);
    device.until("SetSynchronizationPoint", 1).await;
    camera.stdin.write_all(b"key\n").await.unwrap();
    let got = sink
        .until("the key frame", |got| {
            got.units.iter().any(|(number, _)| *number == 2)
        })
        .await;
    let unit = got.units.iter().find(|(number, _)| *number == 2).unwrap();
    assert!(unit.1.flags.key);
    assert_eq!(got.groups[1].epoch, 1, "in the same session");
}

#[tokio::test]
async fn digest_over_tcp_and_udp() {
    let Some(python) = ready("x264enc") else {
        return;
    };
    for (protocol, transport) in [("tcp", Transport::Tcp), ("udp", Transport::Udp)] {
        let camera = Gstreamer::start(python, H264, protocol, &["fanal", "s3cret"]).await;
        let got = pictures(&camera, transport, Some("s3cret")).await;
        if transport == Transport::Tcp {
            check(&camera, &got, Codec::H264, "fanal:s3cret@").await;
        }
        // A busy machine may lose datagrams in the socket's buffer, which is not what is tried here.
        let lost = got.units.iter().any(|(_, unit)| unit.flags.loss_before);
        assert!(!lost || transport == Transport::Udp);
    }
}

#[tokio::test]
async fn a_refused_password_is_told() {
    let Some(python) = ready("x264enc") else {
        return;
    };
    let camera = Gstreamer::start(python, H264, "tcp", &["fanal", "s3cret"]).await;
    let mut streams = streams(&camera.url);
    streams.credential = credential("wrong", false);
    let world = world(gateway(vec![("cam", streams)]), LIMITS);
    let sink = Recorder::new();
    let _attached = world.attach("cam", &sink);
    let (state, _) = sink.until_failed(Reason::CameraUnauthorized).await;
    assert!(matches!(state, State::Failed(_)));
}
