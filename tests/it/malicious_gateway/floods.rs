//! Floods beside the control stream: datagrams, parity, and answers to stills.

use bytes::Bytes;
use fanal::format::control::ToReceiver;
use fanal::link::redundancy;
use fanal::reason::Reason;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::messages::ended;
use super::{COMMUNE, Stage};
use crate::api::site::hello;

#[tokio::test]
async fn its_datagrams_and_parity_harm_nobody() {
    let mut stage = Stage::linked().await;
    let ended = ended(&mut stage).await;
    let connection = stage.bad.current().connection.clone();
    let most = connection.max_datagram_size().unwrap();
    assert!(most < 256, "datagrams are probes of one byte");
    let mut noise = JoinSet::new();
    noise.spawn(async move {
        let datagram = Bytes::from(vec![7; most / 2]);
        while connection
            .send_datagram_wait(datagram.clone())
            .await
            .is_ok()
        {}
    });
    // The same port from outside the link: parity, headers of QUIC, and nothing at all.
    let address = stage.site.addresses.link[0];
    noise.spawn(async move {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let first = [redundancy::KIND, 0xc0, 0x40, 0];
        for n in 0_usize.. {
            let mut bytes = vec![first[n % first.len()]; 1 + n % 1_400];
            bytes.extend_from_slice(&n.to_be_bytes());
            let _ = socket.send_to(&bytes, address).await;
            tokio::task::yield_now().await;
        }
    });
    for _ in 0..3 {
        stage.neighbour_is_served().await;
    }
    assert!(noise.try_join_next().is_none(), "the link ended: no flood");
    // It only filled its own link, on which the centre still hears it.
    drop(noise);
    stage.bad.is_heard((&ended.0, ended.1, &ended.2)).await;
}

#[tokio::test]
async fn a_still_is_answered_once_however_much_it_says_of_stills() {
    let mut stage = Stage::linked().await;
    let mut allows = hello();
    allows.agreements[0].snapshots = true;
    stage.bad.say(&ToReceiver::Hello(allows)).await;
    let claims = stage.site.claims(&["port"]);
    let (grant, request) = stage.granted(&claims).await;
    let bearer = format!("Bearer {}", stage.site.token(&stage.operator));
    let headers = [
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    let captured = stage.site.clock.now().wall.rfc3339();
    let body = json!({ "grant": grant, "camera": format!("{COMMUNE}/port"), "captured": captured,
        "sha256": "0".repeat(64) })
    .to_string();
    let head = stage.bad.head();
    let recorded =
        |id: Uuid| json!({ "type": "snapshot_recorded", "snapshot": id, "head": head.clone() });
    let refused = |id: Uuid| {
        json!({ "type": "snapshot_refused", "snapshot": id,
            "reason": "commune_refused", "detail": "x".repeat(10_000) })
    };
    let bad = &mut stage.bad;
    let answers = async {
        let asked = bad
            .next("a still", |message| match message {
                fanal::format::control::ToGateway::Snapshot(asked) => Some(asked.clone()),
                _ => None,
            })
            .await;
        for _ in 0..2_000 {
            bad.lie(&recorded(Uuid::now_v7())).await;
            bad.lie(&refused(Uuid::now_v7())).await;
        }
        bad.lie(&recorded(asked.snapshot.0)).await;
        for _ in 0..200 {
            bad.lie(&refused(asked.snapshot.0)).await;
            bad.lie(&recorded(asked.snapshot.0)).await;
        }
    };
    let (answer, ()) = tokio::join!(
        stage.site.raw("POST", "/snapshots", &headers, &body),
        answers
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    stage.neighbour_is_served().await;
    assert_eq!(stage.site.entries("snapshot").len(), 1);
    assert!(stage.site.entries("snapshot_refused").is_empty());
    // Without end, while others are served.
    let mut noise = stage.bad.make_noise(&[
        recorded(Uuid::now_v7()),
        refused(Uuid::now_v7()),
        json!({ "type": "ended", "grant": grant, "reason": Reason::GrantCut }),
        json!({ "type": "resume", "request": request, "proof": "a.b.c", "relays": {} }),
    ]);
    for _ in 0..3 {
        stage.neighbour_is_served().await;
    }
    assert!(noise.try_join_next().is_none(), "the link ended: no flood");
    let mut ends = stage.site.entries("ended");
    ends.retain(|entry| entry["grant"] == grant.to_string());
    assert!(ends.len() <= 1, "{ends:?}");
    assert!(stage.site.entries("snapshot_refused").is_empty());
}
