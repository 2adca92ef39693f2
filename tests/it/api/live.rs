//! Pictures over the WebSocket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal::format::control::{RelayState, ToGateway, ToReceiver};
use fanal::format::ids::GrantId;
use fanal::media::relay::RelayId;
use fanal::media::unit::{Codec, Configuration};
use fanal::reason::Reason;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use crate::world::until;

use super::site::{Gateway, Operator, Site, camera, configuration, unit, within};

pub struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(site: &Site, protocol: Option<&str>, origin: Option<&str>) -> Result<Self, u16> {
        Self::open_at(site.addresses.console, protocol, origin).await
    }

    pub async fn open_at(
        address: SocketAddr,
        protocol: Option<&str>,
        origin: Option<&str>,
    ) -> Result<Self, u16> {
        let mut request = format!("ws://{address}/api/v1/live")
            .into_client_request()
            .unwrap();
        let headers = request.headers_mut();
        if let Some(protocol) = protocol {
            headers.insert(
                "sec-websocket-protocol",
                HeaderValue::from_str(protocol).unwrap(),
            );
        }
        if let Some(origin) = origin {
            headers.insert("origin", HeaderValue::from_str(origin).unwrap());
        }
        let stream = TcpStream::connect(address).await.unwrap();
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    pub async fn authenticated(site: &Site, operator: &Operator) -> Self {
        let mut socket = Self::open(site, Some("fanal.v1"), None).await.unwrap();
        let token = site.token(operator);
        socket.say(serde_json::json!({ "token": token })).await;
        assert_eq!(socket.json("ready").await["type"], "ready");
        socket
    }

    pub async fn say(&mut self, message: serde_json::Value) {
        self.0
            .send(Message::text(message.to_string()))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Message {
        within("a message", self.0.next()).await.unwrap().unwrap()
    }

    /// The next JSON message of this type; others are passed over.
    pub async fn json(&mut self, kind: &str) -> serde_json::Value {
        loop {
            if let Message::Text(text) = self.next().await {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                if json["type"] == kind {
                    return json;
                }
            }
        }
    }

    /// The next picture: tag, flags, pts, data.
    pub async fn picture(&mut self) -> (u32, u8, i64, Bytes) {
        loop {
            if let Message::Binary(mut bytes) = self.next().await {
                let tag = u32::from_be_bytes(bytes[..4].try_into().unwrap());
                let pts = i64::from_be_bytes(bytes[5..13].try_into().unwrap());
                return (tag, bytes[4], pts, bytes.split_off(21));
            }
        }
    }
}

async fn granted(site: &Site, gateway: &mut Gateway, operator: &Operator) -> (GrantId, RelayId) {
    let claims = site.claims(&["port"]);
    let id = GrantId(uuid::Uuid::now_v7());
    let request = operator.sign(&claims);
    let (answer, (_, relays)) = tokio::join!(site.post(&request), gateway.grant(id, &claims));
    assert_eq!(answer.status, 201, "{answer:?}");
    (id, relays[&camera("port")])
}

/// Why the connection is closed, by its last message and by its close frame.
async fn closed(socket: &mut Socket) -> String {
    let error = socket.json("error").await;
    assert!(error["camera"].is_null(), "{error}");
    loop {
        if let Message::Close(Some(close)) = socket.next().await {
            let reason = close.reason.to_string();
            assert_eq!(error["reason"], reason);
            let number = Reason::from_code(&reason).unwrap().number();
            assert_eq!(u32::from(u16::from(close.code)), 4_000 + number);
            return reason;
        }
    }
}

/// Why a camera is not shown.
async fn not_shown(socket: &mut Socket) -> String {
    loop {
        match socket.next().await {
            Message::Text(text) => {
                let json: serde_json::Value = serde_json::from_str(&text).unwrap();
                if json["type"] == "end" || json["type"] == "error" {
                    return json["reason"].as_str().unwrap().to_owned();
                }
            }
            Message::Binary(_) => panic!("a picture"),
            _ => {}
        }
    }
}

pub fn subscribe(camera: &str) -> serde_json::Value {
    serde_json::json!({ "type": "subscribe", "camera": camera })
}

#[tokio::test]
async fn strangers_do_not_get_in() {
    let site = Site::start().await;
    assert_eq!(Socket::open(&site, None, None).await.err(), Some(400));
    assert_eq!(
        Socket::open(&site, Some("other"), None).await.err(),
        Some(400)
    );
    let origin = Some("http://evil.example");
    assert_eq!(
        Socket::open(&site, Some("fanal.v1"), origin).await.err(),
        Some(403)
    );
    let own = format!("http://{}", site.addresses.console);
    for first in ["{\"token\":\"x\"}", "{}", "[", "{\"type\":\"subscribe\"}"] {
        let mut socket = Socket::open(&site, Some("fanal.v1"), Some(&own))
            .await
            .unwrap();
        socket.0.send(Message::text(first)).await.unwrap();
        assert_eq!(socket.json("error").await["reason"], "token_invalid");
        let Message::Close(Some(close)) = socket.next().await else {
            panic!("not closed");
        };
        assert_eq!(u16::from(close.code), 4_044);
    }
}

#[tokio::test]
async fn pictures_come_whole_under_the_own_grant_and_end_with_it() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (id, relay) = granted(&site, &mut gateway, &operator).await;
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));

    let mut socket = Socket::authenticated(&site, &operator).await;
    socket.say(subscribe("berre-l-etang/port")).await;
    let subscribed = socket.json("subscribed").await;
    assert_eq!(subscribed["grant"], id.to_string());
    let tag = subscribed["tag"].as_u64().unwrap();
    let told = socket.json("configuration").await;
    assert_eq!(told["codec"], "avc1.42c01e");
    assert_eq!(
        (&told["width"], &told["height"]),
        (&640.into(), &480.into())
    );
    for n in 0..3 {
        let (of, flags, _, data) = socket.picture().await;
        assert_eq!((u64::from(of), data), (tag, unit(1, n).data));
        assert_eq!(flags & 1, u8::from(n == 0));
    }
    // Another size: told before the first picture that needs it.
    gateway.push(&sender, 2, &configuration(320));
    assert_eq!(socket.json("configuration").await["width"], 320);
    assert_eq!(socket.picture().await.3, unit(2, 0).data);
    // Who watches is in the journal.
    until("the viewing is journalled", || {
        !site.entries("viewing_started").is_empty()
    })
    .await;
    let viewing = &site.entries("viewing_started")[0];
    assert_eq!(
        (&viewing["who"], &viewing["how"]),
        (&"4711".into(), &"live".into())
    );

    gateway.send(&ToReceiver::Ended {
        grant: id,
        refusal: Reason::GrantCut.into(),
        head: None,
    });
    let end = socket.json("end").await;
    assert_eq!(
        (&end["reason"], &end["tag"]),
        (&"grant_cut".into(), &tag.into())
    );
    socket.say(subscribe("berre-l-etang/port")).await;
    let error = socket.json("error").await;
    assert_eq!(error["reason"], "grant_unknown");
    let statement = gateway
        .next("the viewings", |message| match message {
            ToGateway::Viewings { statement } => Some(statement.clone()),
            _ => None,
        })
        .await;
    let claims = fanal::format::jws::open::<fanal::format::statement::ViewingsClaims>(
        &statement,
        fanal::format::statement::VIEWINGS_TYPE,
    );
    assert_eq!(claims.unwrap().claims.viewings[0].who, "4711");
}

#[tokio::test]
async fn a_colleague_needs_a_grant_of_his_own() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (id, relay) = granted(&site, &mut gateway, &operator).await;
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let colleague = site.operator("4712", "CORG 13");
    let mut socket = Socket::authenticated(&site, &colleague).await;
    for message in [
        subscribe("berre-l-etang/port"),
        serde_json::json!({ "type": "subscribe", "camera": "berre-l-etang/port", "grant": id.to_string() }),
        subscribe("berre-l-etang/other"),
    ] {
        socket.say(message).await;
        assert_eq!(socket.json("error").await["reason"], "grant_unknown");
    }
    // His own request for the same camera, on the same relay: one copy on the link.
    let claims = site.claims(&["port"]);
    let own = GrantId(uuid::Uuid::now_v7());
    let request = colleague.sign(&claims);
    let play = async {
        let (number, request) = gateway.request().await;
        let proof = gateway.proof(own, &request, &claims);
        gateway.send(&ToReceiver::Granted {
            id: number,
            proof: gateway
                .signer
                .sign(fanal::format::statement::GRANT_TYPE, &proof),
            relays: [(camera("port"), relay)].into(),
        });
    };
    let (answer, ()) = tokio::join!(site.post(&request), play);
    assert_eq!(answer.status, 201);
    socket.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(socket.picture().await.3, unit(1, 0).data);
    // The first one's end leaves him alone; his own ends him.
    let path = format!("/grants/{id}");
    assert_eq!(site.delete(&operator, &path).await.status, 200);
    gateway.push(&sender, 2, &configuration(640));
    while socket.picture().await.3 != unit(2, 2).data {}
    let path = format!("/grants/{own}");
    assert_eq!(site.delete(&operator, &path).await.status, 200);
    assert_eq!(socket.json("end").await["reason"], "grant_released");
}

#[tokio::test]
async fn a_focus_reaches_the_gateway_and_goes_with_the_client() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (_, relay) = granted(&site, &mut gateway, &operator).await;
    let mut socket = Socket::authenticated(&site, &operator).await;
    let focus = serde_json::json!({ "type": "focus", "cameras": ["berre-l-etang/port"] });
    socket.say(focus).await;
    let focused = |message: &ToGateway| match message {
        ToGateway::Focus { relays } => Some(relays.clone()),
        _ => None,
    };
    assert_eq!(gateway.next("a focus", focused).await, [relay]);
    drop(socket);
    assert_eq!(gateway.next("no focus", focused).await, [RelayId(0); 0]);
}

#[tokio::test]
async fn a_camera_that_comes_late_comes_and_the_state_is_told_meanwhile() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (_, relay) = granted(&site, &mut gateway, &operator).await;
    let mut socket = Socket::authenticated(&site, &operator).await;
    socket.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(socket.json("state").await["state"], "starting");
    gateway.send(&ToReceiver::Relay {
        relay,
        camera: camera("port"),
        state: RelayState::Retrying,
        refusal: Some(Reason::CameraUnreachable.into()),
        profile: fanal::media::relay::Profile::Sub,
        profile_cause: Some(fanal::format::cause::Cause::Focus),
    });
    let state = socket.json("state").await;
    assert_eq!(state["profile_cause"], "focus");
    assert_eq!(state["reason"], "camera_unreachable");
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    assert_eq!(socket.picture().await.3, unit(1, 0).data);
    // Unsubscribed, nothing more of it comes; a ping is the proof.
    let unsubscribe = serde_json::json!({ "type": "unsubscribe", "camera": "berre-l-etang/port" });
    socket.say(unsubscribe).await;
    socket.say(subscribe("berre-l-etang/none")).await;
    assert_eq!(socket.json("error").await["reason"], "grant_unknown");
    gateway.push(&sender, 2, &configuration(640));
    site.clock.advance(Duration::from_secs(1));
    socket
        .0
        .send(Message::Ping(Bytes::from_static(b"x")))
        .await
        .unwrap();
    loop {
        match socket.next().await {
            Message::Pong(_) => break,
            Message::Binary(bytes) => {
                assert_ne!(bytes[25], 2, "a picture after the unsubscription")
            }
            _ => {}
        }
    }
}

/// Clients say what they decode: another codec than the relay's comes as a relay of its own.
#[tokio::test]
async fn a_client_that_does_not_decode_the_first_stream_gets_the_other() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (_, relay) = granted(&site, &mut gateway, &operator).await;
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let mut player = Socket::authenticated(&site, &operator).await;
    player.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(player.picture().await.3, unit(1, 0).data);
    let mut socket = Socket::authenticated(&site, &operator).await;
    let subscribe = serde_json::json!({ "type": "subscribe", "camera": "berre-l-etang/port", "codecs": ["jpeg"] });
    socket.say(subscribe.clone()).await;
    let streams = |message: &ToGateway| match message {
        ToGateway::Streams {
            relay,
            first,
            other,
        } => Some((*relay, *first, *other)),
        _ => None,
    };
    // A gateway may know another wish of before: the first one is said once.
    let wanted = gateway.next("the first stream", streams).await;
    assert_eq!(wanted, (relay, true, false));
    let wanted = gateway.next("the other stream", streams).await;
    assert_eq!(wanted, (relay, true, true));
    let told = socket.json("undecodable").await;
    assert_eq!(
        (&told["codec"], &told["waits"]),
        (&"avc1.42c01e".into(), &true.into())
    );
    let beside = RelayId(relay.0 + 1_000);
    let other = |relay: Option<RelayId>, state, refusal: Option<Reason>| ToReceiver::Other {
        of: RelayId(beside.0 - 1_000),
        relay,
        camera: camera("port"),
        state,
        refusal: refusal.map(Into::into),
    };
    let busy = other(None, RelayState::Failed, Some(Reason::UplinkFull));
    gateway.send(&busy);
    while socket.json("undecodable").await["reason"] != "uplink_full" {}
    gateway.send(&other(Some(beside), RelayState::Live, None));
    let second = gateway.relay(&camera("port"), beside);
    let jpeg = Configuration {
        codec: Codec::Jpeg,
        ..Configuration::clone(&configuration(320))
    };
    gateway.push(&second, 2, &Arc::new(jpeg));
    assert_eq!(socket.json("configuration").await["codec"], "jpeg");
    assert_eq!(socket.picture().await.3, unit(2, 0).data);
    // The one who decodes the first goes on with it.
    gateway.push(&sender, 3, &configuration(640));
    while player.picture().await.3 != unit(3, 2).data {}
    // A camera whose other stream is no better: that is said, and all.
    gateway.send(&other(
        None,
        RelayState::Failed,
        Some(Reason::CodecUnsupported),
    ));
    let told = socket.json("undecodable").await;
    assert_eq!(told["waits"], false);
    assert_eq!(socket.json("end").await["reason"], "codec_unsupported");
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_a_new_one_comes_in_time() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (_, relay) = granted(&site, &mut gateway, &operator).await;
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let mut renewed = Socket::authenticated(&site, &operator).await;
    let mut left = Socket::authenticated(&site, &operator).await;
    for socket in [&mut renewed, &mut left] {
        socket.say(subscribe("berre-l-etang/port")).await;
        assert_eq!(socket.picture().await.3, unit(1, 0).data);
    }
    site.clock.advance(Duration::from_secs(250));
    let say = |token: String| serde_json::json!({ "type": "token", "token": token });
    // Another's changes nothing.
    let stranger = site.operator("4712", "CORG 13");
    renewed.say(say(site.token(&stranger))).await;
    assert_eq!(renewed.json("error").await["reason"], "token_invalid");
    renewed.say(say("nonsense".to_owned())).await;
    assert_eq!(renewed.json("error").await["reason"], "token_invalid");
    renewed.say(say(site.token(&operator))).await;
    let left_now = renewed.json("token").await["seconds_left"].as_u64();
    assert!(left_now.is_some_and(|left| (299..=300).contains(&left)));
    site.clock.advance(Duration::from_secs(51));
    assert_eq!(closed(&mut left).await, "token_expired");
    // The pictures of the other one never stopped.
    gateway.push(&sender, 2, &configuration(640));
    while renewed.picture().await.3 != unit(2, 2).data {}
    assert_eq!(site.entries("viewing_started").len(), 2);
    site.clock.advance(Duration::from_secs(250));
    assert_eq!(closed(&mut renewed).await, "token_expired");
}

#[tokio::test]
async fn a_connection_ends_when_the_designation_behind_its_token_is_revoked() {
    let mut site = Site::start().await;
    let mut gateway = site.gateway().await;
    let stolen = site.operator("4711", "CORG 13");
    let mut thief = Socket::authenticated(&site, &stolen).await;
    let mut events = super::site::Events::listen(&site, &site.token(&stolen)).await;
    // The operator works on with a new key under the same number.
    let operator = site.operator("4711", "CORG 13");
    site.revoke(&stolen.certificate);
    site.reload().await;
    assert_eq!(closed(&mut thief).await, "designation_revoked");
    assert_eq!(events.next("end").await["reason"], "designation_revoked");
    let (_, relay) = granted(&site, &mut gateway, &operator).await;
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let mut socket = Socket::authenticated(&site, &operator).await;
    socket.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(socket.picture().await.3, unit(1, 0).data);
}

/// Promises 2 and 10, with a disk that is really full: the new month's file lies on `/dev/full`.
#[tokio::test]
async fn nobody_joins_while_the_journal_cannot_be_written_and_those_who_watch_go_on() {
    // The last seconds of November.
    let site = Site::start_at(fanal::clock::Wall::from_seconds(1_796_083_190), &[]).await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let (id, relay) = granted(&site, &mut gateway, &operator).await;
    let url = site.get(&operator, &format!("/grants/{id}")).await.json["granted"][0]["rtsp"]
        .as_str()
        .unwrap()
        .to_owned();
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let mut watches = Socket::authenticated(&site, &operator).await;
    watches.say(subscribe("berre-l-etang/port")).await;
    while watches.picture().await.3 != unit(1, 2).data {}

    let december = site.path("receiver/journal/2026-12.jsonl");
    std::os::unix::fs::symlink("/dev/full", &december).unwrap();
    site.clock.advance(Duration::from_secs(20));
    gateway.push(&sender, 2, &configuration(640));
    while watches.picture().await.3 != unit(2, 2).data {}
    let mut comes = Socket::authenticated(&site, &operator).await;
    for _ in 0..3 {
        comes.say(subscribe("berre-l-etang/port")).await;
        assert_eq!(not_shown(&mut comes).await, "journal_unavailable");
    }
    let (status, answer) = super::describe(&url).await;
    assert!(
        status == 503 && answer.contains("journal_unavailable"),
        "{answer}"
    );
    gateway.push(&sender, 3, &configuration(640));
    while watches.picture().await.3 != unit(3, 2).data {}

    while site.ready().await.contains("writable") {}
    std::fs::remove_file(&december).unwrap();
    // The journal finds by itself that there is room again.
    let give_up = tokio::time::Instant::now() + crate::world::PATIENCE;
    while !site.ready().await.contains("writable") {
        assert!(tokio::time::Instant::now() < give_up, "never again");
        site.clock.advance(Duration::from_millis(10));
    }
    gateway.push(&sender, 4, &configuration(640));
    comes.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(comes.picture().await.3, unit(4, 0).data);
    assert_eq!(site.entries("viewing_started").len(), 2);
}
