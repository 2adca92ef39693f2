//! Clients that behave as certain players do, step by step: where the players
//! themselves are not to be had, or would show a fault only now and then.

use std::time::Duration;

use fanal::rtsp::server::{Limits, Notice};
use tokio::io::AsyncWriteExt;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::client::{Client, PATH, PATIENCE};
use super::limits::{endless, short, udp};
use super::server::{Film, Running, Stage, start, start_on};

/// What a sender report (RFC 3550 6.4.1) says.
#[derive(Clone, Copy, Debug)]
struct Report {
    /// µs since 1900.
    ntp: u128,
    rtp: u32,
    packets: u32,
}

impl Report {
    fn read(packet: &[u8]) -> Self {
        assert_eq!((packet[0] >> 6, packet[1]), (2, 200), "no sender report");
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
        let ntp = u128::from(word(8)) << 32 | u128::from(word(12));
        Self {
            ntp: (ntp * 1_000_000) >> 32,
            rtp: word(16),
            packets: word(20),
        }
    }

    /// How far RTP time has run off the clock since `before`, in µs.
    fn drift(self, before: Self) -> i128 {
        let ticks = i128::from(self.rtp.wrapping_sub(before.rtp).cast_signed());
        let passed = i128::try_from(self.ntp).unwrap() - i128::try_from(before.ntp).unwrap();
        ticks * 100 / 9 - passed
    }
}

fn number(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn time(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]])
}

/// Reports often enough for a test.
fn limits() -> Limits {
    Limits {
        report_interval: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Pictures of 40 ms, ten of them kept, then nothing more.
fn silent() -> Film {
    let film = endless();
    let unit = |number: i64| fanal::media::unit::AccessUnit {
        pts: number * 3_600,
        ..film.units[0].clone()
    };
    Film {
        units: (0..30).map(unit).collect(),
        kept: 10,
        pause: Duration::from_millis(2),
        endless: false,
        silent: true,
        ..endless()
    }
}

/// VLC ties RTP time to its clock at the first report, and throws away what it has
/// decoded by then: it is frozen until the next key frame unless the report
/// comes first. It drops pictures as late when the reports disagree.
#[tokio::test]
async fn for_vlc_a_report_stands_before_the_first_packet_and_all_agree() {
    let server = start(silent(), limits(), None).await;
    let mut vlc = Client::connect(server.address).await;
    assert_eq!(vlc.ask("OPTIONS", PATH, "").await.status, 200);
    vlc.set_up("0-1").await;
    let played = vlc.ask("PLAY", PATH, "Range: npt=0.000-\r\n").await;
    assert_eq!(played.status, 200);
    let mut reports = Vec::new();
    let mut pictures = 0;
    let mut in_silence = 0;
    while in_silence < 5 {
        let (channel, packet) = vlc.packet().await;
        if channel == 1 {
            reports.push(Report::read(&packet));
            in_silence += u32::from(pictures == 30);
        } else {
            assert!(!reports.is_empty(), "a packet before the first report");
            pictures += u32::from(packet[1] >> 7);
        }
    }
    assert_eq!(reports[0].packets, 0);
    for pair in reports.windows(2) {
        assert!(pair[1].drift(pair[0]).abs() < 10_000, "{pair:?}");
    }
    // A report tells what time it is, in silence too.
    let passed = reports[reports.len() - 1].ntp - reports[0].ntp;
    assert!(passed >= 150_000, "{passed} µs");
}

async fn set_up_udp(client: &mut Client, rtp: &UdpSocket, rtcp: &UdpSocket) {
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 401);
    assert_eq!(client.ask("DESCRIBE", PATH, "").await.status, 200);
    let transport = format!(
        "Transport: RTP/AVP;unicast;client_port={}-{}\r\n",
        rtp.local_addr().unwrap().port(),
        rtcp.local_addr().unwrap().port()
    );
    assert_eq!(client.ask("SETUP", PATH, &transport).await.status, 200);
}

/// ffmpeg gives signs of life over UDP only while packets come.
#[tokio::test]
async fn over_udp_a_viewer_stays_while_its_camera_is_silent() {
    let limits = Limits {
        session_timeout: Duration::from_secs(1),
        ..limits()
    };
    let mut server = start(silent(), limits, None).await;
    let mut client = Client::connect(server.address).await;
    let (rtp, rtcp) = (udp().await, udp().await);
    set_up_udp(&mut client, &rtp, &rtcp).await;
    client.ask("PLAY", PATH, "").await;
    server.wait_for(Notice::Playing).await;
    let mut packet = [0; 2_000];
    timeout(PATIENCE, rtp.recv(&mut packet))
        .await
        .unwrap()
        .unwrap();
    timeout(PATIENCE, rtcp.recv(&mut packet))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(Report::read(&packet).packets, 0, "before the first packet");
    // Twice the silence that ends a session.
    for _ in 0..40 {
        timeout(PATIENCE, rtcp.recv(&mut packet))
            .await
            .expect("reports go on")
            .unwrap();
    }
    assert_eq!(client.ask("GET_PARAMETER", PATH, "").await.status, 200);
}

/// Players to which no datagram comes set up again over TCP on the same
/// connection, and say nothing more.
#[tokio::test]
async fn who_goes_from_udp_to_tcp_need_not_give_signs_of_life() {
    let limits = Limits {
        session_timeout: Duration::from_millis(150),
        ..Limits::default()
    };
    let film = Film {
        pause: Duration::from_millis(5),
        ..endless()
    };
    let server = start(film, limits, None).await;
    let mut client = Client::connect(server.address).await;
    let (rtp, rtcp) = (udp().await, udp().await);
    set_up_udp(&mut client, &rtp, &rtcp).await;
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(client.ask("SETUP", PATH, transport).await.status, 200);
    assert_eq!(client.ask("PLAY", PATH, "").await.status, 200);
    let start = tokio::time::Instant::now();
    while start.elapsed() < Duration::from_millis(700) {
        client.packet().await;
    }
}

/// VLC's pause button; live555 drops packets whose numbers it has had.
#[tokio::test]
async fn numbers_and_times_go_on_over_a_pause() {
    let server = start(silent(), limits(), None).await;
    let mut client = Client::connect(server.address).await;
    client.set_up("0-1").await;
    let mut last: Option<(u16, u32)> = None;
    let mut sent = 0;
    for round in 0..3 {
        let played = client.ask("PLAY", PATH, "").await;
        let info = played.header("RTP-Info").to_owned();
        let mut pictures = 0;
        let mut is_first = true;
        // To the end of the film, or into the midst of it.
        while pictures < if round == 1 { 12 } else { 30 } {
            let (channel, packet) = client.packet().await;
            if channel == 1 {
                let report = Report::read(&packet);
                assert!(report.packets >= sent, "counts go on");
                sent = report.packets;
                continue;
            }
            if std::mem::take(&mut is_first) {
                let said = format!("seq={};rtptime={}", number(&packet), time(&packet));
                assert!(info.ends_with(&said), "{info}, not {said}");
            }
            if let Some((before, earlier)) = last {
                assert_eq!(number(&packet), before.wrapping_add(1), "round {round}");
                let step = time(&packet).wrapping_sub(earlier).cast_signed();
                assert!(step >= 0, "round {round}: {step}");
            }
            last = Some((number(&packet), time(&packet)));
            pictures += u32::from(packet[1] >> 7);
        }
        // What is on its way at PAUSE has been given too.
        client
            .stream
            .write_all(pause(&client).as_bytes())
            .await
            .unwrap();
        while !client.input.starts_with(b"RTSP/1.0 200") {
            if let Some((channel, packet)) = client.take_packet() {
                if channel == 0 {
                    last = Some((number(&packet), time(&packet)));
                }
            } else {
                client.read_more().await;
            }
        }
        client.answer().await;
    }
}

fn pause(client: &Client) -> String {
    format!(
        "PAUSE {PATH} RTSP/1.0\r\nCSeq: 77\r\nSession: {}\r\n\r\n",
        client.session
    )
}

#[tokio::test]
async fn play_says_why_there_is_no_picture_and_the_session_stays() {
    let server = start(endless(), Limits::default(), None).await;
    let mut client = Client::connect(server.address).await;
    let ask = async |client: &mut Client, method: &str, more: &str| {
        client.ask_as("leaving", "secret", method, PATH, more).await
    };
    ask(&mut client, "DESCRIBE", "").await;
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    assert_eq!(ask(&mut client, "SETUP", transport).await.status, 200);
    let answer = ask(&mut client, "PLAY", "").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.header("X-Reason"), "camera_stalled");
    assert!(!client.session.is_empty());
    assert_eq!(ask(&mut client, "TEARDOWN", "").await.status, 200);
}

#[tokio::test]
async fn odd_writing_is_read() {
    let server = start(endless(), Limits::default(), None).await;
    let mut client = Client::connect(server.address).await;
    client.ask("DESCRIBE", PATH, "").await;
    for url in [
        "rtsp://127.0.0.1//commune//camera/",
        "rtsp://127.0.0.1/commune/camera/trackID=0",
        "rtsp://127.0.0.1/%63ommune/camera?x=1",
        "/commune/camera",
    ] {
        let described = client
            .ask("DESCRIBE", url, "Accept: Application/SDP\r\n")
            .await;
        assert_eq!(described.status, 200, "{url}");
        let base = described.header("Content-Base");
        assert!(base.ends_with("ommune/camera/"), "{base}");
        assert!(described.body.contains("a=framerate:25\r\n"));
    }
    // Line ends of LF alone, and a name that is no UTF-8.
    let request = b"OPTIONS * RTSP/1.0\nCSeq: 9\nUser-Agent: cam\xe9ra\n\n";
    client.stream.write_all(request).await.unwrap();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("CSeq")), (200, "9"));
}

#[tokio::test]
async fn where_udp_is_off_players_are_told_at_once() {
    let stage = Stage {
        udp: false,
        ..Stage::default()
    };
    let server: Running = start_on(short(), stage).await;
    let mut client = Client::connect(server.address).await;
    client.ask("DESCRIBE", PATH, "").await;
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    assert_eq!(client.ask("SETUP", PATH, udp).await.status, 461);
    client.set_up("0-1").await;
    assert_eq!(*server.refused.lock().unwrap(), ["transport"]);
}
