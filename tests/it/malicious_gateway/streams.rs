//! Streams that are no pictures, or never end.

use std::sync::Arc;

use bytes::Bytes;
use fanal::media::relay::RelayId;
use fanal::media::unit::{Codec, Configuration, UNIT_LIMIT};
use fanal::media::wire::{SUPERSEDED, UNGRANTED, UNKNOWN_KIND};
use fanal::reason::Reason;

use super::{COMMUNE, Stage};
use crate::api::live::{Socket, subscribe};
use crate::api::site::{configuration, unit};

#[tokio::test]
async fn streams_that_are_none_of_its_relays_are_stopped_and_harm_nobody() {
    let mut stage = Stage::linked().await;
    let neighbours = stage.neighbours();
    stage.granted(&neighbours).await;
    let theirs = stage.good.relay("port");
    // Without a grant of its own, also under the number of the neighbour's relay.
    for relay in [theirs, RelayId(77)] {
        let mut group = stage.bad.group(relay, 1).await;
        group.send(&unit(1, 0)).await;
        assert_eq!(group.stopped().await, u64::from(UNGRANTED));
    }
    let claims = stage.site.claims(&["port"]);
    stage.granted(&claims).await;
    let relay = stage.bad.relay("port");
    let mut unknown = stage.bad.stream().await;
    unknown.write(&[9; 200]).await;
    assert_eq!(unknown.stopped().await, u64::from(UNKNOWN_KIND));
    let mut endless = stage.bad.group(relay, 1).await;
    endless.write(&[0xff; 64]).await;
    let protocol_error = u64::from(Reason::ProtocolError.number());
    assert_eq!(endless.stopped().await, protocol_error);
    stage.neighbour_is_served().await;
}

#[tokio::test]
async fn pictures_that_never_end_and_configurations_that_always_change_harm_nobody() {
    let mut stage = Stage::linked().await;
    let claims = stage.site.claims(&["port"]);
    stage.granted(&claims).await;
    let relay = stage.bad.relay("port");
    // Its own viewer, which stays and is told.
    let mut socket = Socket::authenticated(&stage.site, &stage.operator).await;
    socket.say(subscribe(&format!("{COMMUNE}/port"))).await;
    let mut streams = Vec::new();
    for number in 1..=20_u64 {
        let record = vec![u8::try_from(number).unwrap(); 64 * 1024];
        let huge = Arc::new(Configuration {
            record: Bytes::from(record),
            ..Configuration::clone(&configuration(640))
        });
        let mut group = stage.bad.group_of(relay, number, huge).await;
        group.send(&unit(number, 0)).await;
        // The next one claims 8 MiB and lacks most of them.
        let length = u32::try_from(UNIT_LIMIT).unwrap();
        group.write(&length.to_be_bytes()).await;
        group.write(&[0; 17]).await;
        group.write(&[0; 100_000]).await;
        streams.push(group);
        socket.picture().await;
    }
    for group in &streams[..19] {
        assert_eq!(group.stopped().await, u64::from(SUPERSEDED));
    }
    // Pictures of one byte, and of no time at all.
    let mut group = stage.bad.group(relay, 30).await;
    for n in 0..500 {
        let mut tiny = unit(30, i64::from(n != 0));
        tiny.data = Bytes::from_static(&[0]);
        tiny.captured = i64::MIN;
        tiny.pts = i64::MAX;
        group.send(&tiny).await;
    }
    // Single pictures, all at once, none of them whole.
    let jpeg = Arc::new(Configuration {
        codec: Codec::Jpeg,
        record: Bytes::new(),
        width: 0,
        height: 0,
    });
    for number in 40..140 {
        let mut picture = stage.bad.group_of(relay, number, Arc::clone(&jpeg)).await;
        picture.write(&[0, 1, 0, 0]).await;
        streams.push(picture);
    }
    stage.neighbour_is_served().await;
    drop(streams);
}
