//! Simulated cameras: what they show is what decoders see.

use std::sync::Arc;
use std::time::Duration;

use fanal::clock::Wall;
use fanal::media::drawn::encoder::{Rows, key_slice, parameter_sets, predicted_slice};
use fanal::media::drawn::{COLUMNS, Cell, ROWS, tile};
use fanal::media::nal::length_prefixed;
use fanal::media::unit::Codec;
use fanal::secret::Secret;
use fanal::simulate::scene::{Grain, Scene};
use fanal::simulate::{Count, Options, Server, Start, names};
use futures_util::StreamExt;
use retina::client::{
    Credentials, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions,
};
use retina::codec::CodecItem;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::site::Place;
use crate::tools::{have, run};

const PATIENCE: Duration = Duration::from_secs(20);

/// The picture as a decoder should show it: planar 4:2:0.
fn render(cells: &[Cell]) -> Vec<u8> {
    let (width, height) = (COLUMNS * 16, ROWS * 16);
    let mut luma = vec![0; width * height];
    let mut chroma = [vec![0; width * height / 4], vec![0; width * height / 4]];
    for (at, cell) in cells.iter().enumerate() {
        let (left, top) = (at % COLUMNS * 16, at / COLUMNS * 16);
        let grain = tile(cell.luma);
        for y in 0..16 {
            for x in 0..16 {
                let sample = if cell.grain {
                    grain[y * 16 + x]
                } else {
                    cell.luma
                };
                luma[(top + y) * width + left + x] = sample;
            }
        }
        for y in 0..8 {
            for x in 0..8 {
                let place = (top / 2 + y) * width / 2 + left / 2 + x;
                chroma[0][place] = cell.cb;
                chroma[1][place] = cell.cr;
            }
        }
    }
    [luma, chroma.concat()].concat()
}

#[tokio::test]
async fn decoders_show_exactly_the_scene() {
    if !have("ffmpeg") {
        return;
    }
    let grain = Grain {
        cells: 400,
        changing: 30,
    };
    let mut scene = Scene::new(ROWS, grain);
    let slices = [0..9, 9..30, 30..ROWS];
    let part = |cells: &[Cell], rows: &std::ops::Range<usize>| {
        cells[rows.start * COLUMNS..rows.end * COLUMNS].to_vec()
    };
    let mut stream: Vec<u8> = Vec::new();
    let start = [0, 0, 0, 1];
    let sets = parameter_sets(ROWS);
    for set in sets.sps.iter().chain(&sets.pps) {
        stream.extend_from_slice(&start);
        stream.extend_from_slice(set);
    }
    let mut expected = Vec::new();
    let mut before = Vec::new();
    for number in 0..30_u8 {
        scene.advance(
            number.into(),
            Wall(1_700_000_000_000_000 + i64::from(number) * 40_000),
        );
        let cells = scene.cells().to_vec();
        for rows in &slices {
            let now = part(&cells, rows);
            let rows_now = Rows {
                first: rows.start,
                cells: &now,
            };
            // A second key frame on the way.
            if number.is_multiple_of(20) {
                stream.extend_from_slice(&start);
                stream.extend_from_slice(&key_slice(rows_now, u64::from(number / 20)));
            } else {
                let mut unit = Vec::new();
                predicted_slice(rows_now, &part(&before, rows)).push(&mut unit, number % 20);
                for nal in length_prefixed(&unit) {
                    stream.extend_from_slice(&start);
                    stream.extend_from_slice(nal);
                }
            }
        }
        expected.push(render(&cells));
        before = cells;
    }
    let place = Place::new();
    let file = place.write("scene.264", stream);
    let path = file.to_str().unwrap();
    let arguments = [
        "-v",
        "warning",
        "-i",
        path,
        "-fps_mode",
        "passthrough",
        "-f",
        "rawvideo",
        "-",
    ];
    let ran = run("ffmpeg", &arguments).await;
    assert_eq!(ran.stderr, "", "ffmpeg warns");
    let shown: Vec<&[u8]> = ran.stdout.chunks(COLUMNS * ROWS * 384).collect();
    assert_eq!(shown.len(), expected.len());
    for (number, (shown, expected)) in shown.iter().zip(&expected).enumerate() {
        assert!(shown == expected, "picture {number}");
    }
}

struct Running {
    urls: Vec<(String, String)>,
    subs: Vec<(String, String)>,
    counters: tokio::sync::watch::Receiver<fanal::simulate::Counters>,
    token: CancellationToken,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn cameras(options: Options) -> Running {
    let server = Server::bind(options).await.unwrap();
    let token = CancellationToken::new();
    Running {
        urls: server.urls(),
        subs: server.sub_urls(),
        counters: server.counters(),
        task: tokio::spawn(server.run(token.clone())),
        token,
    }
}

type Playing = retina::client::Demuxed;

async fn open(url: &str, options: SessionOptions) -> Playing {
    let mut session = Session::describe(url.parse().unwrap(), options)
        .await
        .unwrap();
    session.setup(0, SetupOptions::default()).await.unwrap();
    session
        .play(PlayOptions::default())
        .await
        .unwrap()
        .demuxed()
        .unwrap()
}

async fn frame(playing: &mut Playing) -> retina::codec::VideoFrame {
    loop {
        match timeout(PATIENCE, playing.next()).await.unwrap() {
            Some(Ok(CodecItem::VideoFrame(frame))) => return frame,
            Some(Ok(_)) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn sessions_begin_with_a_key_frame_and_are_counted() {
    let mut options = Options::new(names(2));
    options.credentials = Some(("adm".into(), Secret::new("secret")));
    let running = cameras(options).await;
    let (name, url) = &running.urls[1];
    assert_eq!(name, "cam-002");
    let credentials = Credentials {
        username: "adm".into(),
        password: "secret".into(),
    };
    let group = Arc::new(SessionGroup::default());
    let options = SessionOptions::default()
        .creds(Some(credentials))
        .session_group(Arc::clone(&group));
    let mut playing = open(url, options).await;
    let first = frame(&mut playing).await;
    assert!(first.is_random_access_point());
    let second = frame(&mut playing).await;
    assert!(!second.is_random_access_point());
    assert_eq!(
        second.timestamp().timestamp() - first.timestamp().timestamp(),
        3_600
    );
    drop(playing);
    group.await_teardown().await.unwrap();
    let mut counters = running.counters.clone();
    let ended = counters.wait_for(|counters| counters.total.torn_down == 1);
    let ended = timeout(PATIENCE, ended).await.unwrap().unwrap().clone();
    let expected = Count {
        set_up: 1,
        played: 1,
        torn_down: 1,
        ..Count::default()
    };
    assert_eq!(ended.camera("cam-002"), expected);
    assert_eq!(ended.camera("cam-001"), Count::default());
}

#[tokio::test]
async fn live_cameras_begin_anywhere_and_have_key_frames_in_their_turn() {
    let mut options = Options::new(names(1));
    options.start = Start::Live;
    options.gop = 10;
    let running = cameras(options).await;
    let mut playing = open(&running.urls[0].1, SessionOptions::default()).await;
    let mut keys = Vec::new();
    for number in 0..30 {
        if frame(&mut playing).await.is_random_access_point() {
            keys.push(number);
        }
    }
    assert!(keys.len() >= 2, "{keys:?}");
    assert!(
        keys.windows(2).all(|pair| pair[1] - pair[0] == 10),
        "{keys:?}"
    );
}

#[tokio::test]
async fn mjpeg_is_taken_apart_by_retina() {
    let mut options = Options::new(names(1));
    options.codec = Codec::Jpeg;
    options.bitrate = 6_000_000;
    let running = cameras(options).await;
    let mut playing = open(&running.urls[0].1, SessionOptions::default()).await;
    let first = frame(&mut playing).await;
    assert!(first.is_random_access_point());
    assert!(first.data().starts_with(&[0xff, 0xd8]) && first.data().ends_with(&[0xff, 0xd9]));
}

#[tokio::test]
async fn a_sub_stream_is_a_smaller_picture_and_counted_apart() {
    let mut options = Options::new(names(2));
    options.codec = Codec::Jpeg;
    options.bitrate = 6_000_000;
    assert!(cameras(options.clone()).await.subs.is_empty());
    options.sub_bitrate = Some(500_000);
    let running = cameras(options).await;
    let (name, url) = &running.subs[1];
    assert_eq!(name, "cam-002");
    assert!(url.ends_with("/cam-002/sub"), "{url}");
    let mut playing = open(url, SessionOptions::default()).await;
    assert!(frame(&mut playing).await.is_random_access_point());
    let Some(retina::codec::ParametersRef::Video(parameters)) = playing.streams()[0].parameters()
    else {
        panic!("no parameters");
    };
    assert_eq!(parameters.pixel_dimensions(), (1280, 512));
    let counters = running.counters.borrow().clone();
    assert_eq!(counters.camera("cam-002/sub").played, 1);
    assert_eq!(counters.camera("cam-002"), Count::default());
}

#[tokio::test]
async fn an_unknown_camera_is_not_found_and_a_stop_is_an_end() {
    let mut running = cameras(Options::new(names(1))).await;
    let url = running.urls[0].1.replace("cam-001", "cam-009");
    let session = Session::describe(url.parse().unwrap(), SessionOptions::default()).await;
    assert_eq!(session.err().unwrap().status_code(), Some(404));
    let mut playing = open(&running.urls[0].1, SessionOptions::default()).await;
    frame(&mut playing).await;
    running.token.cancel();
    timeout(PATIENCE, &mut running.task).await.unwrap().unwrap();
    let mut counters = running.counters.clone();
    timeout(
        PATIENCE,
        counters.wait_for(|counters| counters.total.gone == 1),
    )
    .await
    .unwrap()
    .unwrap();
}
