//! VMS accounts: a card at each camera's lasting URL, and in the same session its picture while a
//! grant shows it.

use std::process::Stdio;
use std::sync::Arc;

use fanal::media::unit::Codec;
use fanal::reason::Reason;
use fanal::simulate;
use hyper::Method;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::rtsp::client::Client;
use crate::tools::have;
use crate::world::{COMMUNE, PATIENCE, Plan, Player, VMS_PASSWORD, World, until};

const USER: &str = "vms";
const SIZE: usize = 1280 * 720;

fn account(more: &str) -> String {
    format!(
        "[[rtsp.account]]\nname = \"mur\"\nusername = \"{USER}\"\npassword_file = \"vms.txt\"\n{more}\n"
    )
}

fn plan(vms: bool, more: &str) -> Plan {
    Plan {
        agreement: format!("vms = {vms}\n"),
        receiver: account(more),
        ..Plan::default()
    }
}

const HERE: &str = "from = [\"127.0.0.0/8\"]";

fn url(world: &World, camera: &str) -> String {
    let address = world.addresses.rtsp.unwrap();
    format!("rtsp://{USER}:{VMS_PASSWORD}@{address}/{COMMUNE}/{camera}")
}

/// Waits until the centre knows the commune's cameras.
async fn announced(operator: &crate::world::Operator) {
    let told = async {
        loop {
            let cameras = operator.call(Method::GET, "/api/v1/cameras").await.unwrap();
            if !cameras.as_array().unwrap().is_empty() {
                return;
            }
        }
    };
    timeout(PATIENCE, told)
        .await
        .expect("cameras are announced");
}

/// A player that decodes and writes each picture's luma.
struct Decoder {
    pictures: ChildStdout,
    child: Child,
    picture: Vec<u8>,
}

impl Decoder {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            pictures: child.stdout.take().unwrap(),
            child,
            picture: vec![0; SIZE],
        }
    }

    async fn picture(&mut self) -> &[u8] {
        let read = self.pictures.read_exact(&mut self.picture);
        let read = timeout(PATIENCE, read).await.expect("a picture comes");
        if let Err(error) = read {
            let mut told = String::new();
            let mut stderr = self.child.stderr.take().unwrap();
            stderr.read_to_string(&mut told).await.unwrap();
            panic!("{error}: {told}");
        }
        &self.picture
    }

    /// Reads on until so many pictures in a row are the card, or are not.
    async fn sees(&mut self, card: &[u8], is_card: bool, count: usize) {
        let looking = async {
            let mut seen = 0;
            while seen < count {
                let is = self.picture().await == card;
                seen = if is == is_card { seen + 1 } else { 0 };
            }
        };
        let seen = timeout(PATIENCE, looking).await;
        assert!(seen.is_ok(), "not {count} pictures; card: {is_card}");
    }

    /// What it complained of.
    async fn stop(mut self) -> String {
        self.child.start_kill().unwrap();
        let mut told = String::new();
        let mut stderr = self.child.stderr.take().unwrap();
        stderr.read_to_string(&mut told).await.unwrap();
        told
    }
}

async fn card_and_picture_take_turns(program: &str, arguments: impl Fn(&str) -> Vec<String>) {
    if !have(program) {
        return;
    }
    let world = World::start(plan(true, HERE)).await;
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    let arguments = arguments(&url(&world, "cam-001"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut player = Decoder::start(program, &arguments);
    // Nothing is granted: it can only be the card.
    let card = player.picture().await.to_vec();
    let letters = card.iter().filter(|luma| **luma > 200).count();
    assert!(
        (SIZE / 20..SIZE / 2).contains(&letters),
        "{letters} white of {SIZE}"
    );
    player.sees(&card, true, 2).await;
    let viewers = |kind| {
        let gauge = &world.receiver_metrics.viewers;
        gauge.with_label_values(&[kind]).get()
    };
    assert_eq!((viewers("vms"), viewers("rtsp_tcp")), (1, 0));
    // No camera was opened for the card, and nobody watched anything.
    assert_eq!(world.counters.borrow().camera("cam-001").set_up, 0);
    assert!(world.entries("receiver", "viewing_started").is_empty());

    for round in 1..=2 {
        let grant = martin.granted(&["cam-001"]).await;
        let id = grant["grant"].as_str().unwrap();
        player.sees(&card, false, 30).await;
        let path = format!("/api/v1/grants/{id}");
        martin.call(Method::DELETE, &path).await.unwrap();
        player.sees(&card, true, 2).await;
        let started = world.entries("receiver", "viewing_started");
        assert_eq!(started.len(), round);
        let last = &started[round - 1];
        assert_eq!(last["grant"], id);
        assert_eq!(
            (&last["who"], &last["how"]),
            (&"vms:mur".into(), &"vms".into())
        );
        until("the commune has the list of who watched", || {
            world.entries("gateway", "viewings").len() == round
        })
        .await;
        let list = &world.entries("gateway", "viewings")[round - 1];
        let text = list.to_string();
        assert!(text.contains("vms:mur"), "{text}");
        assert_eq!(viewers("vms"), 1);
    }
    assert_eq!(world.gateway_metrics.ungranted_bytes_total.get(), 0);
    let told = player.stop().await;
    assert!(told.is_empty(), "{told}");
    until("its session is gone", || viewers("vms") == 0).await;
    world.stop().await;
}

#[tokio::test]
async fn ffmpeg_sees_card_picture_and_card_in_one_session() {
    card_and_picture_take_turns("ffmpeg", |url| {
        let text = format!(
            "-v error -rtsp_transport tcp -probesize 100000 -analyzeduration 100000 -i {url} \
             -fps_mode passthrough -enc_time_base 1/90000 -pix_fmt gray -f rawvideo -"
        );
        text.split_whitespace().map(str::to_owned).collect()
    })
    .await;
}

#[tokio::test]
async fn gstreamer_sees_card_picture_and_card_in_one_session() {
    card_and_picture_take_turns("gst-launch-1.0", |url| {
        let text = format!(
            "-q rtspsrc location={url} protocols=tcp latency=50 ! rtph264depay ! avdec_h264 \
             ! video/x-raw,format=I420,width=1280,height=720 ! videoconvert ! video/x-raw,format=GRAY8 \
             ! fdsink sync=false"
        );
        text.split_whitespace().map(str::to_owned).collect()
    })
    .await;
}

/// A client that asks to see a camera with these credentials.
async fn describe(world: &World, password: &str, camera: &str) -> (Client, String, u16) {
    let address = world.addresses.rtsp.unwrap();
    let mut client = Client::connect(address).await;
    let url = format!("rtsp://{address}/{COMMUNE}/{camera}");
    let first = client.ask_as(USER, password, "DESCRIBE", &url, "").await;
    assert_eq!(first.status, 401);
    let answer = client.ask_as(USER, password, "DESCRIBE", &url, "").await;
    (client, url, answer.status)
}

#[tokio::test]
async fn without_vms_true_there_is_nothing_to_see() {
    let world = World::start(plan(false, HERE)).await;
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    martin.granted(&["cam-001"]).await;
    for camera in ["cam-001", "cam-002", "other", "trop/loin"] {
        let (_, _, status) = describe(&world, VMS_PASSWORD, camera).await;
        assert_eq!(status, 404, "{camera}");
    }
    let listed = martin
        .client
        .text("/api/v1/cameras?format=csv")
        .await
        .unwrap();
    assert_eq!(listed.lines().count(), 1, "{listed}");
    world.stop().await;
}

#[tokio::test]
async fn an_account_is_of_its_addresses_and_its_communes() {
    let mut world = World::start(plan(true, "from = [\"10.13.0.0/16\"]")).await;
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    let (_, _, status) = describe(&world, VMS_PASSWORD, "cam-001").await;
    assert_eq!(status, 401, "another address, the right password");
    // Wrong passwords are counted by address and user.
    let address = world.addresses.rtsp.unwrap();
    let url = format!("rtsp://{address}/{COMMUNE}/cam-001");
    let blocked = async {
        loop {
            let mut client = Client::connect(address).await;
            client.ask_as(USER, "guess", "DESCRIBE", &url, "").await;
            let answer = client.ask_as(USER, "guess", "DESCRIBE", &url, "").await;
            if answer.status == 403 {
                return answer.head;
            }
        }
    };
    let told = timeout(PATIENCE, blocked).await.unwrap();
    assert!(told.contains("too_many_attempts"), "{told}");
    // Right ones are served all the same, once the address is right.
    world.reload_receiver(&account(HERE)).await;
    let (_, _, status) = describe(&world, VMS_PASSWORD, "cam-001").await;
    assert_eq!(status, 200);
    let named = account(&format!("{HERE}\ncommunes = [\"{COMMUNE}\"]"));
    world.reload_receiver(&named).await;
    let (_, _, status) = describe(&world, VMS_PASSWORD, "cam-001").await;
    assert_eq!(status, 200);
    let rows = martin
        .client
        .text("/api/v1/cameras?format=csv&account=mur")
        .await
        .unwrap();
    let expected = format!(
        "commune,camera,name,url,groups,latitude,longitude\n\
         {COMMUNE},cam-001,cam-001,rtsp://{address}/{COMMUNE}/cam-001,,,\n\
         {COMMUNE},cam-002,cam-002,rtsp://{address}/{COMMUNE}/cam-002,,,\n"
    );
    assert_eq!(rows, expected);
    assert!(
        martin
            .client
            .text("/api/v1/cameras?account=other")
            .await
            .is_err()
    );
    assert!(
        martin
            .client
            .text("/api/v1/cameras?format=xml")
            .await
            .is_err()
    );
    world.stop().await;
}

/// Plays a camera as [`USER`] until the first packet.
async fn watch(world: &World, camera: &str) -> (Client, String) {
    let (mut client, url, status) = describe(world, VMS_PASSWORD, camera).await;
    assert_eq!(status, 200);
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let track = format!("{url}/trackID=0");
    let ask = async |client: &mut Client, method, url: &str, more| {
        let answer = client.ask_as(USER, VMS_PASSWORD, method, url, more).await;
        assert_eq!(answer.status, 200, "{}", answer.head);
    };
    ask(&mut client, "SETUP", &track, transport).await;
    ask(&mut client, "PLAY", &url, "").await;
    client.packet().await;
    (client, url)
}

#[tokio::test]
async fn the_end_of_an_account_ends_its_sessions() {
    let mut world = World::start(plan(true, HERE)).await;
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    let (mut client, _) = watch(&world, "cam-001").await;
    // Settings that keep the account keep its session.
    world.reload_receiver(&account(HERE)).await;
    for _ in 0..4 {
        client.packet().await;
    }
    world.reload_receiver("").await;
    let closed = timeout(PATIENCE, client.closed()).await;
    assert!(closed.is_ok(), "the session goes on");
    let told = String::from_utf8_lossy(&client.input);
    let reason = Reason::AccountChanged.code();
    assert!(told.contains(reason), "{told}");
    world.stop().await;
}

#[tokio::test]
async fn a_camera_of_another_codec_is_opened_again() {
    let jpeg = |options: &mut simulate::Options| options.codec = Codec::Jpeg;
    let world = World::start(Plan {
        options: jpeg,
        ..plan(true, HERE)
    })
    .await;
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    let (mut client, _) = watch(&world, "cam-001").await;
    let grant = martin.granted(&["cam-001"]).await;
    let closed = timeout(PATIENCE, client.closed()).await;
    assert!(closed.is_ok(), "H.264 can't go on");
    let told = String::from_utf8_lossy(&client.input);
    assert!(told.contains("stream_changed"), "{told}");
    let mut player = Player::start(url(&world, "cam-001"));
    player.pictures(20).await;
    let id = grant["grant"].as_str().unwrap();
    let path = format!("/api/v1/grants/{id}");
    martin.call(Method::DELETE, &path).await.unwrap();
    player.ended().await;
    let who = &world.entries("receiver", "viewing_started")[0]["who"];
    assert_eq!(who, "vms:mur");
    world.stop().await;
}

/// User and system time of this process so far.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn resident_kib() -> i64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn two_hundred_are_open_at_once() {
    let world = Arc::new(World::start(plan(true, HERE)).await);
    let martin = world.operator("13-1").await;
    announced(&martin).await;
    let before = resident_kib();
    let open = Arc::new(Mutex::new(Vec::new()));
    let mut opening = tokio::task::JoinSet::new();
    for number in 0..200 {
        let (world, open) = (Arc::clone(&world), Arc::clone(&open));
        opening.spawn(async move {
            let camera = format!("cam-00{}", 1 + number % 2);
            let session = watch(&world, &camera).await;
            open.lock().await.push(session);
        });
    }
    while let Some(opened) = opening.join_next().await {
        opened.unwrap();
    }
    let mut open = Arc::into_inner(open).unwrap().into_inner();
    let viewers = world.receiver_metrics.viewers.with_label_values(&["vms"]);
    assert_eq!((open.len(), viewers.get()), (200, 200));
    let from = (std::time::Instant::now(), cpu_seconds());
    for _ in 0..16 {
        for (client, _) in &mut open {
            client.packet().await;
        }
    }
    let (took, cpu) = (from.0.elapsed().as_secs_f64(), cpu_seconds() - from.1);
    let memory = resident_kib() - before;
    eprintln!(
        "200 sessions that see the card, clients and all: {:.1} % of a core, {memory} KiB",
        cpu / took * 100.0
    );
    // A picture for some of them disturbs the others as little as them all.
    martin.granted(&["cam-001"]).await;
    until("a hundred watch", || {
        world.entries("receiver", "viewing_started").len() == 100
    })
    .await;
    for (client, url) in &mut open {
        let answer = client.ask_as(USER, VMS_PASSWORD, "OPTIONS", url, "").await;
        assert_eq!(answer.status, 200);
    }
    drop(open);
    until("they are gone", || viewers.get() == 0).await;
    Arc::into_inner(world).unwrap().stop().await;
}
