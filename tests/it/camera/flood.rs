//! Cameras that were taken over and send as fast as the loopback carries, far above
//! 1 Gbit/s: whatever it is, the process that opens them holds a bounded amount of it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::scripted::media_h264;
use crate::support::site::{COMMUNE, GatewayFile, Place};

/// Memory of the process that opens them one after the other: what it needs by itself as a
/// debug build, an unfinished picture of 8 MiB as it grows, the one before it on its way
/// through retina, and what sockets and readers hold (`gateway/front/mod.rs`).
const MEMORY: u64 = 72 << 20;
/// Bytes that each camera sends before it hangs up: far more than what is left of that.
const FLOOD: u64 = 64 << 20;
/// Bytes between two looks at the process.
const LOOK: u64 = 4 << 20;

/// Bytes without end, each call the next of them.
type Flood = Box<dyn FnMut() -> Vec<u8> + Send>;

/// When a flood begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Instead of the description.
    Describe,
    /// Behind the answer to PLAY.
    Play,
}

/// A packet of a camera, with its framing.
struct Packets {
    sequence: u16,
}

impl Packets {
    fn packet(&mut self, channel: u8, kind: u8, time: u32, payload: &[u8]) -> Vec<u8> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u16::try_from(12 + payload.len()).unwrap();
        let mut packet = vec![b'$', channel];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[0x80, kind]);
        packet.extend_from_slice(&self.sequence.to_be_bytes());
        packet.extend_from_slice(&time.to_be_bytes());
        packet.extend_from_slice(&[0, 0, 0, 1]);
        packet.extend_from_slice(payload);
        packet
    }

    /// A whole unit of so many bytes in fragments (RFC 6184 5.8).
    fn unit(&mut self, kind: u8, time: u32, bytes: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let count = bytes.div_ceil(60_000);
        for at in 0..count {
            let ends = u8::from(at == 0) << 7 | u8::from(at + 1 == count) << 6;
            let fragment = [&[0x7c, ends | kind][..], &[0x88; 60_000]].concat();
            out.extend(self.packet(0, 96, time, &fragment));
        }
        out
    }
}

/// A slice of a key picture, as far as it is looked at.
fn slice() -> Vec<u8> {
    [&[0x65][..], &[0x88; 400]].concat()
}

/// What each camera floods with, by the name of its case.
fn floods() -> Vec<(&'static str, From, String, Flood)> {
    let h264 = media_h264;
    let mut cases: Vec<(&'static str, From, String, Flood)> = Vec::new();
    let mut add = |name, from, media: String, flood: Flood| cases.push((name, from, media, flood));
    let unit = |marked: bool| -> Flood {
        let (mut packets, mut started) = (Packets { sequence: 0 }, false);
        Box::new(move || {
            let first = !std::mem::replace(&mut started, true);
            let fragment = [&[0x7c, u8::from(first) << 7 | 5][..], &[0x88; 60_000]].concat();
            let mut out = packets.packet(0, 96, 9_000, &fragment);
            if marked {
                // On a channel that nobody asked for.
                out.extend(packets.packet(2, 96 | 0x80, 9_000, &[]));
            }
            out
        })
    };
    add("unit", From::Play, h264(), unit(false));
    add("markers", From::Play, h264(), unit(true));
    add(
        "slices",
        From::Play,
        h264(),
        Box::new({
            let mut packets = Packets { sequence: 0 };
            move || {
                (0..50)
                    .flat_map(|_| packets.packet(0, 96, 9_000, &slice()))
                    .collect()
            }
        }),
    );
    add(
        "sets",
        From::Play,
        h264(),
        Box::new({
            let (mut packets, mut started) = (Packets { sequence: 0 }, false);
            move || {
                let first = !std::mem::replace(&mut started, true);
                let mut out = Vec::new();
                if first {
                    out.extend(packets.packet(0, 96, 9_000, &slice()));
                }
                out.extend(packets.unit(7, 9_000, 7 << 20));
                out
            }
        }),
    );
    add(
        "reports",
        From::Play,
        h264(),
        Box::new({
            let report = [&[b'$', 1, 0, 28, 0x80, 200, 0, 6][..], &[7; 24]].concat();
            move || report.repeat(1_000)
        }),
    );
    add(
        "foreign",
        From::Play,
        h264(),
        Box::new({
            let mut packets = Packets { sequence: 0 };
            move || {
                (0..1_000)
                    .flat_map(|n| packets.packet(0, 100 + (n / 400) as u8, n, &[]))
                    .collect()
            }
        }),
    );
    add(
        "channels",
        From::Play,
        h264(),
        Box::new({
            let mut packets = Packets { sequence: 0 };
            let mut channel = 0;
            move || {
                channel = (channel + 2) % 250;
                packets.packet(channel, 96, 9_000, &[0x88; 30_000])
            }
        }),
    );
    add(
        "requests",
        From::Play,
        h264(),
        Box::new(|| b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n".repeat(100)),
    );
    add(
        "blanks",
        From::Play,
        h264(),
        Box::new(|| b"\r\n".repeat(30_000)),
    );
    add(
        "jpeg",
        From::Play,
        "m=video 0 RTP/AVP 26\r\na=control:video\r\n".to_owned(),
        Box::new({
            let (mut packets, mut started) = (Packets { sequence: 0 }, false);
            move || {
                let first = !std::mem::replace(&mut started, true);
                let head: &[u8] = if first { &[0xff, 0xd8, 0xff] } else { &[0x11] };
                packets.packet(0, 26, 9_000, &[head, &[0x22; 60_000]].concat())
            }
        }),
    );
    add(
        "head",
        From::Describe,
        h264(),
        Box::new({
            let mut started = false;
            move || match std::mem::replace(&mut started, true) {
                false => b"RTSP/1.0 200 OK\r\nX: ".to_vec(),
                true => vec![b'x'; 60_000],
            }
        }),
    );
    add(
        "body",
        From::Describe,
        h264(),
        Box::new({
            let mut started = false;
            move || match std::mem::replace(&mut started, true) {
                false => {
                    b"RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n"
                        .to_vec()
                }
                true => b"m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n".repeat(1_000),
            }
        }),
    );
    let many = "m=video 0 RTP/AVP 96 97 98 99\r\na=rtpmap:96 H264/90000\r\n".repeat(4_000);
    add("tracks", From::Play, many, Box::new(|| vec![b'\n'; 60_000]));
    let set = STANDARD.encode([&[0x67][..], &[0x42; 3_000]].concat());
    let sets = vec![set; 50].join(",");
    let many = format!(
        "m=video 0 RTP/AVP 96\r\na=control:video\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 sprop-parameter-sets={sets}\r\n"
    );
    add(
        "described",
        From::Play,
        many,
        Box::new(|| vec![b'\n'; 60_000]),
    );
    cases
}

/// What all cameras share.
#[derive(Default)]
struct Seen {
    process: AtomicU32,
    /// Most memory that the process ever had, in bytes.
    peak: AtomicU64,
    sent: AtomicU64,
}

impl Seen {
    fn look(&self) {
        let process = self.process.load(Ordering::Relaxed);
        let status = std::fs::read_to_string(format!("/proc/{process}/status"));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().split(' ').next()?.parse::<u64>().ok());
        self.peak
            .fetch_max(kib.unwrap_or(0) << 10, Ordering::Relaxed);
    }
}

/// Serves one connection until it breaks.
async fn serve(
    mut stream: TcpStream,
    (from, media): (From, &str),
    mut flood: Flood,
    seen: &Seen,
) -> Option<()> {
    let mut input = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = input.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut input).await.ok()? == 0 {
                return None;
            }
        };
        let request = String::from_utf8(input.drain(..end).collect()).ok()?;
        let number = request
            .lines()
            .find_map(|line| line.strip_prefix("CSeq:"))?;
        let begin = format!("RTSP/1.0 200 OK\r\nCSeq:{number}\r\nSession: 1\r\n");
        let plays = request.starts_with("PLAY");
        let describes = request.starts_with("DESCRIBE");
        let answer = if describes {
            let body = format!("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\n{media}");
            let length = body.len();
            format!(
                "{begin}Content-Type: application/sdp\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        } else {
            format!("{begin}Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n")
        };
        let begins = (describes && from == From::Describe) || (plays && from == From::Play);
        if !begins || from == From::Play {
            stream.write_all(answer.as_bytes()).await.ok()?;
        }
        if begins {
            break;
        }
    }
    let (mut input, mut out) = stream.into_split();
    let send = async {
        let (mut sent, mut looked) = (0, 0);
        while sent < FLOOD {
            let bytes = flood();
            if out.write_all(&bytes).await.is_err() {
                break;
            }
            sent += bytes.len() as u64;
            if sent >= looked + LOOK {
                looked = sent;
                seen.look();
            }
        }
        seen.look();
        seen.sent.fetch_add(sent, Ordering::Relaxed);
        // A gateway that waits for the end of something has it now.
        let _ = out.shutdown().await;
    };
    let mut ignored = [0; 4096];
    let hear = async { while let Ok(1..) = input.read(&mut ignored).await {} };
    tokio::join!(send, hear);
    Some(())
}

fn settings(cameras: &[(&'static str, u16)]) -> (Place, PathBuf) {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    let place = Place::of_trial(&trial, &[COMMUNE]);
    let mut file = GatewayFile::of(COMMUNE);
    for (name, port) in cameras {
        file.camera(name, format!("rtsp://127.0.0.1:{port}/main"));
    }
    let file = place.write("gateway.toml", file.to_string());
    (place, file)
}

#[tokio::test]
async fn a_camera_that_floods_costs_bounded_memory() {
    let seen = Arc::new(Seen::default());
    let (mut tasks, mut cameras) = (JoinSet::new(), Vec::new());
    for (name, from, media, flood) in floods() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        cameras.push((name, listener.local_addr().unwrap().port()));
        let seen = Arc::clone(&seen);
        tasks.spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            serve(stream, (from, &media), flood, &seen).await;
            // It is not tried again within a check.
            drop(listener);
        });
    }
    let (_place, file) = settings(&cameras);
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args([
            "check",
            "--cameras",
            "--parallel",
            "1",
            "--json",
            "--config",
        ])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    seen.process.store(child.id().unwrap(), Ordering::Relaxed);
    let mut said = String::new();
    let mut errors = String::new();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (out, err) = tokio::join!(
        out.read_to_string(&mut said),
        err.read_to_string(&mut errors)
    );
    out.and(err).unwrap();
    let status = child.wait().await.unwrap();
    tasks.shutdown().await;

    assert_eq!(status.code(), Some(1), "{said}{errors}");
    for (name, _) in &cameras {
        assert!(said.contains(name), "{name}: {said}");
    }
    assert!(said.contains("channels that were not asked for"), "{said}");
    let (peak, sent) = (
        seen.peak.load(Ordering::Relaxed),
        seen.sent.load(Ordering::Relaxed),
    );
    let told = format!("sent {} MB, peak {} MB", sent >> 20, peak >> 20);
    assert!(peak > 0 && sent > 5 * FLOOD, "no flood: {told}");
    assert!(peak < MEMORY, "{told}");
}
