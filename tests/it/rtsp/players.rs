//! What comes out is what went in: ffmpeg, GStreamer and retina as players.

use std::sync::Arc;
use std::time::Duration;

use fanal::rtsp::server::{Limits, Notice};
use futures_util::StreamExt;
use retina::client::{
    Credentials, PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions,
    Transport, UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat};

use super::clip::{Clip, Size, hashes};
use super::server::{Film, Running, Stage, start, start_on};
use crate::tools::{have, run};

/// Units a player may still be reading when the rest has come: some pause, or
/// datagrams are lost in the player's socket.
const PAUSE: Duration = Duration::from_millis(5);

fn film(clip: &Clip, kept: usize) -> Film {
    Film {
        configuration: Arc::clone(&clip.configuration),
        units: clip.units.clone(),
        kept,
        pause: PAUSE,
        endless: false,
        silent: false,
    }
}

async fn ffmpeg_sees_all(kind: &str, transport: &str) {
    let Some(clip) = Clip::make(kind, Size::Large).await else {
        return;
    };
    let mut server = start(film(&clip, 30), Limits::default(), None).await;
    let url = server.url();
    let seen = hashes(&["-rtsp_transport", transport, "-i", &url]).await;
    assert_eq!(seen, clip.frames, "{kind} over {transport}");
    server.wait_for(Notice::Playing).await;
}

#[tokio::test]
async fn ffmpeg_decodes_h264_over_tcp_as_it_was() {
    ffmpeg_sees_all("h264", "tcp").await;
}

#[tokio::test]
async fn ffmpeg_decodes_h265_over_tcp_as_it_was() {
    ffmpeg_sees_all("h265", "tcp").await;
}

#[tokio::test]
async fn ffmpeg_decodes_mjpeg_over_tcp_as_it_was() {
    ffmpeg_sees_all("mjpeg", "tcp").await;
}

/// Over UDP nothing tells ffmpeg at once that the picture ended: what it shows is
/// compared as far as it was asked for.
async fn ffmpeg_sees_over_udp(kind: &str) {
    let Some(clip) = Clip::make(kind, Size::Small).await else {
        return;
    };
    // At a camera's pace, and with a large socket buffer: a busy machine lets ffmpeg read late.
    let film = Film {
        pause: Duration::from_millis(40),
        ..film(&clip, 10)
    };
    let server = start(film, Limits::default(), None).await;
    let url = server.url();
    let mut input = vec!["-rtsp_transport", "udp", "-buffer_size", "4194304"];
    input.extend(["-i", &url, "-frames:v", "20"]);
    let seen = hashes(&input).await;
    assert_eq!(seen, clip.frames[..20], "{kind} over UDP");
}

#[tokio::test]
async fn ffmpeg_decodes_h264_over_udp_as_it_was() {
    ffmpeg_sees_over_udp("h264").await;
}

#[tokio::test]
async fn ffmpeg_decodes_h265_over_udp_as_it_was() {
    ffmpeg_sees_over_udp("h265").await;
}

#[tokio::test]
async fn ffmpeg_decodes_mjpeg_over_udp_as_it_was() {
    ffmpeg_sees_over_udp("mjpeg").await;
}

#[tokio::test]
async fn ffmpeg_plays_rtsps() {
    let Some(clip) = Clip::make("h264", Size::Large).await else {
        return;
    };
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![key.cert.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.signing_key.serialize_der().into()),
        )
        .unwrap();
    let server = start(film(&clip, 30), Limits::default(), Some(Arc::new(tls))).await;
    let url = server.url().replace("rtsp://", "rtsps://");
    assert_eq!(hashes(&["-i", &url]).await, clip.frames);
}

async fn gstreamer_plays(kind: &str, depayload: &str, decode: &str) {
    if !have("gst-launch-1.0") {
        return;
    }
    let Some(clip) = Clip::make(kind, Size::Large).await else {
        return;
    };
    for protocols in ["tcp", "udp"] {
        let playing = Film {
            endless: true,
            pause: Duration::from_millis(20),
            ..film(&clip, 30)
        };
        let mut server = start(playing, Limits::default(), None).await;
        let location = format!("location={}", server.url());
        let protocols = format!("protocols={protocols}");
        let seen = clip.path("seen.gray");
        let out = format!("location={}", seen.display());
        let mut pipeline = vec!["-q", "rtspsrc", &location, &protocols, "latency=50", "!"];
        pipeline.extend([depayload, "!", decode, "!", "identity", "eos-after=60", "!"]);
        pipeline.extend(["videoconvert", "!", "video/x-raw,format=GRAY8", "!"]);
        pipeline.extend(["filesink", &out]);
        let ran = run("gst-launch-1.0", &pipeline).await;
        // GStreamer 1.22 now and then finds its connection gone when it pauses after the
        // last picture, and says so; it has seen them all by then.
        let is_farewell = ran.stderr.contains("gst_rtspsrc_pause");
        assert!(ran.success || is_farewell, "{kind}: {}", ran.stderr);
        let size = usize::from(clip.configuration.width) * usize::from(clip.configuration.height);
        // Some may be on their way when it ends, and UDP may lose one.
        let pictures = std::fs::metadata(&seen).unwrap().len() / size as u64;
        assert!(
            (55..=61).contains(&pictures),
            "{kind}: {pictures} pictures; {}",
            ran.stderr
        );
        // The server sees it go. (Whether GStreamer gets to its TEARDOWN does not follow from
        // how it ends: the thread that closes and the one that still reads race in it.)
        server.wait_for_any(&[Notice::TearDown, Notice::Gone]).await;
    }
}

#[tokio::test]
async fn gstreamer_plays_h264() {
    gstreamer_plays("h264", "rtph264depay", "avdec_h264").await;
}

#[tokio::test]
async fn gstreamer_plays_h265() {
    gstreamer_plays("h265", "rtph265depay", "avdec_h265").await;
}

#[tokio::test]
async fn gstreamer_plays_mjpeg() {
    gstreamer_plays("mjpeg", "rtpjpegdepay", "jpegdec").await;
}

/// GStreamer opens its sockets of the family that the description names.
#[tokio::test]
async fn gstreamer_plays_over_udp_of_ipv6() {
    if !have("gst-launch-1.0") {
        return;
    }
    let address = std::net::SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 0));
    if std::net::TcpListener::bind(address).is_err() {
        assert!(std::env::var_os("CI").is_none(), "no IPv6 here");
        crate::tools::skipped(format_args!("no IPv6 here"));
        return;
    }
    let Some(clip) = Clip::make("h264", Size::Small).await else {
        return;
    };
    let playing = Film {
        endless: true,
        pause: Duration::from_millis(20),
        ..film(&clip, 10)
    };
    let stage = Stage {
        address,
        ..Stage::default()
    };
    let server = start_on(playing, stage).await;
    let location = format!("location={}", server.url());
    let mut pipeline = vec![
        "-q",
        "rtspsrc",
        &location,
        "protocols=udp",
        "latency=50",
        "!",
    ];
    pipeline.extend([
        "rtph264depay",
        "!",
        "identity",
        "eos-after=20",
        "!",
        "fakesink",
    ]);
    let ran = run("gst-launch-1.0", &pipeline).await;
    assert!(
        ran.success || ran.stderr.contains("gst_rtspsrc_pause"),
        "{}",
        ran.stderr
    );
}

/// Units as retina makes them of the packets, without parameter sets.
async fn retina_units(server: &Running, transport: Transport, count: usize) -> Vec<Vec<u8>> {
    let url = format!("rtsp://{}/commune/camera", server.address);
    let credentials = Credentials {
        username: "grant".into(),
        password: "secret".into(),
    };
    let options = SessionOptions::default().creds(Some(credentials));
    let mut session = Session::describe(url.parse().unwrap(), options)
        .await
        .unwrap();
    let setup = SetupOptions::default()
        .transport(transport)
        .frame_format(FrameFormat::MP4);
    session.setup(0, setup).await.unwrap();
    let playing = session.play(PlayOptions::default()).await.unwrap();
    let mut playing = playing.demuxed().unwrap();
    let mut units = Vec::new();
    while units.len() < count {
        match playing.next().await {
            Some(Ok(CodecItem::VideoFrame(frame))) => {
                assert_eq!(frame.loss(), 0);
                units.push(frame.into_data());
            }
            Some(Ok(_)) => {}
            other => panic!("after {} units: {other:?}", units.len()),
        }
    }
    units
}

async fn retina_sees_all(kind: &str, size: Size, transport: Transport) {
    let Some(clip) = Clip::make(kind, size).await else {
        return;
    };
    let server = start(film(&clip, 10), Limits::default(), None).await;
    // The last unit has no successor that tells retina of its end.
    let count = clip.units.len() - 1;
    let seen = retina_units(&server, transport, count).await;
    for (number, (seen, unit)) in seen.iter().zip(&clip.units).enumerate() {
        assert!(seen == &unit.data, "{kind} unit {number}");
    }
}

#[tokio::test]
async fn retina_gets_the_same_h264_units() {
    let transport = Transport::Tcp(TcpTransportOptions::default());
    retina_sees_all("h264", Size::Large, transport).await;
    let transport = Transport::Udp(UdpTransportOptions::default());
    retina_sees_all("h264", Size::Small, transport).await;
}

#[tokio::test]
async fn retina_gets_the_same_h265_units() {
    let transport = Transport::Tcp(TcpTransportOptions::default());
    retina_sees_all("h265", Size::Large, transport).await;
    let transport = Transport::Udp(UdpTransportOptions::default());
    retina_sees_all("h265", Size::Small, transport).await;
}
