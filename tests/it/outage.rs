//! A camera or a link that is away: nobody is shown what it saw before.

use std::time::Duration;

use fanal::receiver::viewing::Waits;
use hyper::Method;
use serde_json::Value;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::rtsp::client::{Answer, Client};
use crate::world::{Operator, Plan, Player, World, rtsp, until};

/// Short ones, so that an outage in a test is long.
const WAITS: Waits = Waits {
    open: Duration::from_millis(700),
    silence: Duration::from_millis(600),
    kept: Duration::from_millis(500),
    idle: Duration::from_secs(5),
};

/// A scripted client of one grant.
struct Viewer {
    client: Client,
    user: String,
    password: String,
    url: String,
}

impl Viewer {
    async fn connect(world: &World, url: &str) -> Self {
        let url = url::Url::parse(url).unwrap();
        Self {
            client: Client::connect(world.addresses.rtsp.unwrap()).await,
            user: url.username().to_owned(),
            password: url.password().unwrap().to_owned(),
            url: format!("rtsp://127.0.0.1{}", url.path()),
        }
    }

    async fn ask(&mut self, method: &str, more: &str) -> Answer {
        let (user, password, url) = (&self.user, &self.password, &self.url);
        self.client.ask_as(user, password, method, url, more).await
    }

    async fn set_up(&mut self, transport: &str) {
        assert_eq!(self.ask("DESCRIBE", "").await.status, 401);
        assert_eq!(self.ask("DESCRIBE", "").await.status, 200);
        let transport = format!("Transport: {transport}\r\n");
        assert_eq!(self.ask("SETUP", &transport).await.status, 200);
    }

    /// The next picture's first packet: its number.
    async fn number(&mut self) -> u16 {
        loop {
            let (channel, packet) = self.client.packet().await;
            if channel == 0 {
                return u16::from_be_bytes([packet[2], packet[3]]);
            }
        }
    }
}

async fn state(operator: &Operator, grant: &Value) -> Value {
    let id = grant["grant"].as_str().unwrap();
    let path = format!("/api/v1/grants/{id}");
    let now = operator.call(Method::GET, &path).await.unwrap();
    now["granted"][0].clone()
}

async fn until_state(operator: &Operator, grant: &Value, wanted: &str, reason: Value) {
    let waiting = async {
        loop {
            let now = state(operator, grant).await;
            if now["state"] == wanted && now["reason"] == reason {
                return;
            }
        }
    };
    let reached = tokio::time::timeout(crate::world::PATIENCE, waiting).await;
    reached.unwrap_or_else(|_| panic!("the camera is never {wanted}"));
}

#[tokio::test]
async fn while_the_camera_is_away_players_are_told_why_and_those_who_stay_go_on() {
    let plan = Plan {
        waits: WAITS,
        ..Plan::default()
    };
    let mut world = World::start(plan).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");
    let mut stays = Player::start(url.clone());
    stays.pictures(20).await;
    let mut paused = Viewer::connect(&world, &url).await;
    paused.set_up("RTP/AVP/TCP;unicast;interleaved=0-1").await;
    assert_eq!(paused.ask("PLAY", "").await.status, 200);
    paused.number().await;
    assert_eq!(paused.ask("PAUSE", "").await.status, 200);

    world.stop_cameras().await;
    // First it has stalled; then the next attempt is refused, and so are those after.
    until_state(&martin, &grant, "retrying", "camera_refused".into()).await;
    let mut asks = Viewer::connect(&world, &url).await;
    assert_eq!(asks.ask("DESCRIBE", "").await.status, 401);
    // Until the newest picture is old enough to be none.
    let start = Instant::now();
    let (status, reason) = loop {
        let asked = Instant::now();
        let answer = asks.ask("DESCRIBE", "").await;
        assert!(asked.elapsed() < Duration::from_secs(5));
        if answer.status != 200 || start.elapsed() > Duration::from_secs(10) {
            break (answer.status, answer.header("X-Reason").to_owned());
        }
    };
    assert_eq!(status, 503);
    assert_eq!(reason, "camera_refused", "the API and RTSP say the same");
    assert_eq!(asks.ask("DESCRIBE", "").await.status, 503);
    let answer = paused.ask("PLAY", "").await;
    assert_eq!(
        (answer.status, answer.header("X-Reason")),
        (503, reason.as_str())
    );
    assert!(Player::start(url.clone()).refused().await.contains("503"));
    let refused = &world.receiver_metrics.rtsp_refused_total;
    assert!(refused.with_label_values(&[&reason]).get() >= 4);

    let before = stays.seen.borrow().pictures;
    world.start_cameras().await;
    let seen = stays.pictures(before + 10).await;
    assert_eq!(seen.losses, 0, "numbers go on");
    until_state(&martin, &grant, "live", Value::Null).await;
    assert_eq!(asks.ask("DESCRIBE", "").await.status, 200);
    assert_eq!(paused.ask("PLAY", "").await.status, 200);
    let first = paused.number().await;
    assert_eq!(paused.number().await, first.wrapping_add(1));
    world.stop().await;
}

#[tokio::test]
async fn while_the_link_is_cut_players_are_told_why() {
    let plan = Plan {
        waits: WAITS,
        through_wire: true,
        ..Plan::default()
    };
    let world = World::start(plan).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");
    let mut stays = Player::start(url.clone());
    stays.pictures(20).await;
    let wire = world.wire.as_ref().unwrap();
    wire.cut(true);
    let mut asks = Viewer::connect(&world, &url).await;
    assert_eq!(asks.ask("DESCRIBE", "").await.status, 401);
    // While the newest picture is fresh it is answered; then the answer is the link's.
    let answer = loop {
        let answer = asks.ask("DESCRIBE", "").await;
        if answer.status != 200 {
            break answer;
        }
    };
    assert_eq!(
        (answer.status, answer.header("X-Reason")),
        (503, "link_lost")
    );
    wire.cut(false);
    let before = stays.seen.borrow().pictures;
    assert_eq!(stays.pictures(before + 10).await.losses, 0);
    assert_eq!(asks.ask("DESCRIBE", "").await.status, 200);
}

#[tokio::test]
async fn viewers_are_counted_and_journalled_by_their_transport() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut viewer = Viewer::connect(&world, &rtsp(&grant, "cam-001")).await;
    let (rtp, rtcp) = (udp().await, udp().await);
    let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
    let ports = format!("client_port={}-{}", port(&rtp), port(&rtcp));
    viewer.set_up(&format!("RTP/AVP;unicast;{ports}")).await;
    assert_eq!(viewer.ask("PLAY", "").await.status, 200);
    let viewers = &world.receiver_metrics.viewers;
    let count = |kind| viewers.with_label_values(&[kind]).get();
    until("the viewer is counted", || count("rtsp_udp") == 1).await;
    assert_eq!(count("rtsp_tcp"), 0);
    until("the viewing is recorded", || {
        world.entries("receiver", "viewing_started").len() == 1
    })
    .await;
    assert_eq!(
        world.entries("receiver", "viewing_started")[0]["how"],
        "rtsp_udp"
    );
    world.stop().await;
}

async fn udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").await.unwrap()
}
