//! Stills over real sockets: given once both journals hold them.

use std::net::SocketAddr;

use fanal::format::ids::Sha256;
use fanal::format::statement::{TOKEN_TYPE, TokenClaims};
use fanal::journal::verify;
use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::malice::within;
use crate::world::{COMMUNE, Operator, Plan, World};

/// `POST /api/v1/snapshots`: status and body.
async fn take(world: &World, operator: &Operator, body: &str) -> (u16, Value) {
    let taken = try_take(world.addresses.console, operator, body);
    taken.await.unwrap()
}

/// The same at a receiver that may be away: none where it does not answer whole.
pub async fn try_take(
    address: SocketAddr,
    operator: &Operator,
    body: &str,
) -> Option<(u16, Value)> {
    let client = &operator.client;
    let iat = client.now().seconds();
    let token = TokenClaims {
        jti: fanal::commands::client::new_id(),
        iat,
        exp: iat + 60,
        aud: client.centre().clone(),
    };
    let token = client.sign(TOKEN_TYPE, &token);
    let request = format!(
        "POST /api/v1/snapshots HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         authorization: Bearer {token}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let read = within("an answer", stream.read_to_string(&mut answer)).await;
    read.ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some((status, serde_json::from_str(body).ok()?))
}

async fn world(snapshots: bool) -> (World, Operator, Value) {
    let world = World::start(Plan {
        agreement: format!("snapshots = {snapshots}\n"),
        ..Plan::default()
    })
    .await;
    let operator = world.operator("13-1").await;
    let grant = operator.granted(&["cam-001"]).await;
    (world, operator, grant)
}

/// What asks for a still of this camera, now.
pub fn still(operator: &Operator, grant: &Value, camera: &str) -> String {
    json!({
        "grant": grant["grant"],
        "camera": format!("{COMMUNE}/{camera}"),
        "captured": operator.client.now().rfc3339(),
        "sha256": Sha256::of(b"picture"),
    })
    .to_string()
}

#[tokio::test]
async fn a_still_stands_in_both_journals_before_it_is_given() {
    let (world, operator, grant) = world(true).await;
    let body = still(&operator, &grant, "cam-001");
    let (status, given) = take(&world, &operator, &body).await;
    assert_eq!(status, 201, "{given}");
    assert_eq!(given["grant"], grant["grant"]);
    assert_eq!(given["camera"], format!("{COMMUNE}/cam-001"));
    assert!(given["at"].is_string(), "{given}");
    for daemon in ["gateway", "receiver"] {
        let entries = world.entries(daemon, "snapshot");
        assert_eq!(entries.len(), 1, "{daemon}");
        let entry = &entries[0];
        assert_eq!(entry["snapshot"], given["snapshot"], "{daemon}");
        assert_eq!(entry["captured"], given["captured"], "{daemon}");
        assert_eq!(entry["camera"], "cam-001");
        assert_eq!(entry["sha256"], json!(Sha256::of(b"picture")));
        assert_eq!(entry["operator"]["number"], "13-1");
    }
    assert!(world.entries("receiver", "snapshot_refused").is_empty());
    // Not a camera of the grant; not his own; not well formed.
    let body = still(&operator, &grant, "cam-002");
    let (status, problem) = take(&world, &operator, &body).await;
    assert_eq!(
        (status, &problem["reason"]),
        (403, &json!("snapshot_not_allowed"))
    );
    assert!(problem["title_fr"].is_string(), "{problem}");
    let colleague = world.operator("13-2").await;
    let body = still(&operator, &grant, "cam-001");
    let (status, problem) = take(&world, &colleague, &body).await;
    assert_eq!(
        (status, &problem["reason"]),
        (403, &json!("snapshot_not_allowed"))
    );
    for body in [
        "",
        "{}",
        &body.replace("cam-001", "CAM 1"),
        &body.replace("\"20", "\"x"),
        &body.replace("sha256", "sha512"),
        &body.replace(&Sha256::of(b"picture").to_string(), "abc"),
    ] {
        assert_eq!(take(&world, &operator, body).await.0, 400, "{body}");
    }
    // An ended grant gives none.
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    operator.call(Method::DELETE, &path).await.unwrap();
    let (status, problem) = take(&world, &operator, &body).await;
    assert_eq!(
        (status, &problem["reason"]),
        (403, &json!("grant_released"))
    );
    let gateway = world.directory.path("gateway").join("journal");
    let receiver = world.directory.path("receiver").join("journal");
    for directory in [gateway, receiver] {
        let report = verify::verify(&verify::Options {
            directory,
            ..verify::Options::default()
        });
        assert!(report.unwrap().is_intact());
    }
    world.stop().await;
}

#[tokio::test]
async fn without_the_agreements_leave_or_the_commune_none_is_given() {
    let (world, operator, grant) = world(false).await;
    let body = still(&operator, &grant, "cam-001");
    let (status, problem) = take(&world, &operator, &body).await;
    assert_eq!(
        (status, &problem["reason"]),
        (403, &json!("snapshot_not_allowed"))
    );
    assert!(world.entries("receiver", "snapshot").is_empty());
    assert!(world.entries("gateway", "snapshot").is_empty());
    world.stop().await;

    let (mut world, operator, grant) = self::world(true).await;
    world.stop_gateway().await;
    let up = world.receiver_metrics.link_up.with_label_values(&[COMMUNE]);
    crate::world::until("the link is down", || up.get() == 0).await;
    let body = still(&operator, &grant, "cam-001");
    let (status, problem) = take(&world, &operator, &body).await;
    assert_eq!((status, &problem["reason"]), (503, &json!("link_lost")));
    world.stop().await;
}
