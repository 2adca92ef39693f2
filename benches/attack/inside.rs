//! Attacks of a gateway that was turned: it has its commune's certificate, and a link.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fanal::clock::Clock;
use fanal::config::settings;
use fanal::link::endpoint::{self, Carrier};
use fanal::link::tls;
use fanal::media::relay::RelayId;
use fanal::media::unit::{Codec, Configuration, Group};
use fanal::media::wire::GroupHeader;
use fanal::pki::Kept;
use serde_json::json;

use crate::chance::Chance;
use crate::doors::Doors;
use crate::parts::site::CENTRE;
use crate::tried::{Count, Pace, bytes, mutate};

/// The kinds, as they are printed.
pub(crate) const KINDS: [&str; 3] = [
    "links of a neighbour",
    "its messages and datagrams",
    "its streams",
];

/// Messages or streams on one link before it links again.
const ON_A_LINK: usize = 2_000;

/// One kind until its time is over. Kinds take the one link of the commune from each other.
pub(crate) async fn attack(
    kind: usize,
    doors: &Doors,
    mut pace: Pace,
    mut chance: Chance,
    count: &Count,
) {
    while pace.turn().await {
        let Ok((endpoint, connection)) = link(doors).await else {
            count.note(false);
            continue;
        };
        let done = match kind {
            0 => {
                count.note(true);
                Ok(())
            }
            1 => messages(&connection, &mut pace, &mut chance, count).await,
            _ => streams(&connection, &mut pace, &mut chance, count).await,
        };
        if done.is_err() {
            count.note(false);
        }
        connection.close(0_u32.into(), b"");
        // What is closed is told, within a moment.
        let _ = tokio::time::timeout(Duration::from_millis(100), endpoint.wait_idle()).await;
    }
}

async fn link(doors: &Doors) -> anyhow::Result<(quinn::Endpoint, quinn::Connection)> {
    let file = |end: &str| doors.place.join(format!("{}.{end}", doors.neighbour));
    let own = settings::Tls {
        certificate: file("pem"),
        key: file("key"),
        authority: doors.place.join("link-ca.pem"),
        revoked: Vec::new(),
    };
    let kept = Kept::reading(&doors.place.join(&doors.neighbour));
    let end = tls::client(&own, CENTRE, &kept, &Clock::system())?;
    let uplink = settings::Uplink::default();
    let config = endpoint::client_config(&end, &uplink, &Arc::default(), Carrier::Udp)?;
    // A socket without parity: this one needs none.
    let endpoint = quinn::Endpoint::client("127.0.0.1:0".parse()?)?;
    let connecting = endpoint.connect_with(config, doors.link, CENTRE)?;
    let connection = tokio::time::timeout(Duration::from_secs(2), connecting).await??;
    Ok((endpoint, connection))
}

/// Mutated control messages, and datagrams between them.
async fn messages(
    connection: &quinn::Connection,
    pace: &mut Pace,
    chance: &mut Chance,
    count: &Count,
) -> anyhow::Result<()> {
    let (mut send, _receive) = connection.open_bi().await?;
    send.write_all(&[0; 4]).await?;
    let id = uuid::Uuid::now_v7();
    let texts = [
        json!({ "type": "hello", "minor": 1, "version": "1", "wall": 0, "name": "v", "agreements": [] }),
        json!({ "type": "cameras", "page": 0, "pages": 1, "cameras": [{ "id": "a", "name": "a" }] }),
        json!({ "type": "granted", "id": 1, "proof": "a.b.c", "relays": {} }),
        json!({ "type": "refused", "id": 1, "reason": "internal", "detail": "x".repeat(5_000) }),
        json!({ "type": "resume", "request": "a.b.c", "proof": "a.b.c", "relays": { "a": 1 } }),
        json!({ "type": "ended", "grant": id, "reason": "grant_cut", "detail": "" }),
        json!({ "type": "relay", "relay": 1, "camera": "a", "state": "live", "profile": "main" }),
        json!({ "type": "heads", "head": "a.b.c", "lines": vec!["x"; 500], "acknowledged": 0 }),
        json!({ "type": "viewings_recorded", "grant": id, "part": 0 }),
        json!({ "type": "snapshot_recorded", "snapshot": id, "head": "a.b.c" }),
    ]
    .map(|text| text.to_string());
    for _ in 0..ON_A_LINK {
        if !pace.turn().await {
            break;
        }
        let text = &texts[chance.index(texts.len())];
        // JSON that can't be read ends the link, so most of it is whole.
        let said = if chance.index(200) == 0 {
            mutate(chance, text.as_bytes())
        } else {
            text.as_bytes().to_vec()
        };
        let length = u32::try_from(said.len()).context("a long message")?;
        send.write_all(&length.to_be_bytes()).await?;
        send.write_all(&said).await?;
        let datagram = Bytes::from(bytes(chance, 100));
        let _ = connection.send_datagram(datagram);
        count.note(true);
    }
    Ok(())
}

/// Groups of relays that nobody granted, whole, torn and endless.
async fn streams(
    connection: &quinn::Connection,
    pace: &mut Pace,
    chance: &mut Chance,
    count: &Count,
) -> anyhow::Result<()> {
    let (mut send, _receive) = connection.open_bi().await?;
    send.write_all(&[0; 4]).await?;
    let configuration = Arc::new(Configuration {
        codec: Codec::H264,
        record: Bytes::from(bytes(chance, 64)),
        width: 640,
        height: 360,
    });
    for number in 1..=ON_A_LINK as u64 {
        if !pace.turn().await {
            break;
        }
        let mut stream = connection.open_uni().await?;
        let group = Arc::new(Group {
            number,
            epoch: 1,
            first_of_epoch: false,
            open: false,
            kept: false,
            profile: fanal::media::relay::Profile::Main,
            configuration: Arc::clone(&configuration),
        });
        let relay = RelayId(u32::try_from(chance.index(64))?);
        let header = GroupHeader { relay, group }.encode();
        let said = match chance.index(3) {
            0 => mutate(chance, &header),
            1 => bytes(chance, 2_000),
            _ => [header.to_vec(), bytes(chance, 4_000)].concat(),
        };
        count.note(stream.write_all(&said).await.is_ok());
    }
    Ok(())
}
