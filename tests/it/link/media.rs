//! What crosses a link besides messages.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fanal::clock::{Boot, Clock};
use fanal::format::control::{Heads, ToReceiver};
use fanal::format::ids::CameraId;
use fanal::gateway::relay::{Notice, Parts, RelaySender};
use fanal::gateway::turns::SharedLink;
use fanal::link::Link;
use fanal::link::group::{GroupReader, GroupWriter, ReadError};
use fanal::link::transport::Transport;
use fanal::media::relay::Class;
use fanal::media::relay::{Profile, RelayId};
use fanal::media::sink::{Sink, State};
use fanal::media::unit::{AccessUnit, Codec, Configuration, Frame, Group, UnitFlags};
use fanal::media::wire::{ABANDONED, GroupHeader, UNGRANTED, UNKNOWN_KIND};
use fanal::reason::{Reason, Refusal};
use tokio::sync::mpsc;

use super::world::{COMMUNE, Commune, RawLink, RawServer, World, up, within, write_all};
use super::{any, over_both};

over_both![
    groups_arrive_as_they_were_pushed,
    after_stop_no_byte_of_the_camera_crosses,
];

pub(super) fn group(number: u64) -> Arc<Group> {
    Arc::new(Group {
        number,
        epoch: 1,
        first_of_epoch: number == 1,
        open: false,
        kept: false,
        profile: Profile::Main,
        configuration: Arc::new(Configuration {
            codec: Codec::H264,
            record: Bytes::from_static(b"record"),
            width: 64,
            height: 48,
        }),
    })
}

pub(super) fn unit(n: i64, key: bool, bytes: usize) -> Arc<AccessUnit> {
    Arc::new(AccessUnit {
        flags: UnitFlags {
            key,
            ..UnitFlags::default()
        },
        pts: n * 3600,
        captured: n,
        data: Bytes::from(vec![n as u8; bytes]),
    })
}

/// A relay on this link of the commune.
pub(super) fn parts(
    link: &Link,
    commune: &Commune,
    until: Boot,
    clock: Clock,
    notices: mpsc::Sender<(RelayId, Notice)>,
) -> Parts {
    Parts {
        link: SharedLink::new(link.clone()),
        relay: RelayId(9),
        camera: CameraId::new("quai-nord").unwrap(),
        class: Class::Rest,
        until,
        clock,
        meter: Arc::default(),
        metrics: Arc::clone(&commune.metrics),
        notices,
    }
}

/// A gateway linked to a raw server, and a relay on that link.
struct Relayed {
    commune: Commune,
    centre: RawLink,
    link: Link,
    sender: RelaySender,
    notices: mpsc::Receiver<(RelayId, Notice)>,
    _server: RawServer,
    _world: World,
}

async fn relayed(over: Transport, until: Boot, clock: Clock) -> Relayed {
    let world = World::new();
    let server = world.server(over);
    let mut commune = world.dial(over, server.local_addr());
    let centre = server.serve().await;
    let (_, _, link) = up(&mut commune.events).await;
    let (notices, receiver) = mpsc::channel(16);
    let sender = RelaySender::start(
        &tokio::runtime::Handle::current(),
        parts(&link, &commune, until, clock, notices),
    );
    Relayed {
        commune,
        centre,
        link,
        sender,
        notices: receiver,
        _server: server,
        _world: world,
    }
}

fn far() -> Boot {
    Clock::system().now().boot.plus(Duration::from_secs(3600))
}

/// The code a reading ends with when the sender resets.
fn reset_code(error: &ReadError) -> u64 {
    match error {
        ReadError::Stream(quinn::ReadError::Reset(code)) => code.into_inner(),
        other => panic!("not a reset: {other}"),
    }
}

async fn groups_arrive_as_they_were_pushed(over: Transport) {
    let relayed = relayed(over, far(), Clock::system()).await;
    let sink: &dyn Sink = &relayed.sender;
    for number in 1..=3_u64 {
        sink.push(&Frame::Group(group(number)));
        sink.push(&Frame::Unit(unit(1, true, 100_000)));
        let stream = within(relayed.centre.connection.accept_uni())
            .await
            .unwrap();
        let mut reader = GroupReader::new(stream);
        let header = within(reader.header()).await.unwrap();
        assert_eq!(header.relay, RelayId(9));
        assert_eq!(header.group, group(number));
        assert_eq!(
            within(reader.unit()).await.unwrap(),
            Some(unit(1, true, 100_000)).map(|u| AccessUnit::clone(&u))
        );
        for n in 2..20 {
            sink.push(&Frame::Unit(unit(n, false, 5_000 + n as usize)));
            let got = within(reader.unit()).await.unwrap().unwrap();
            assert_eq!(got, *unit(n, false, 5_000 + n as usize));
        }
        // The next key frame ends the group, and it looks complete.
        sink.push(&Frame::Group(group(number + 100)));
        assert_eq!(within(reader.unit()).await.unwrap(), None);
    }
    let labels = ["quai-nord"];
    let metrics = &relayed.commune.metrics;
    assert_eq!(metrics.frames_total.with_label_values(&labels).get(), 57);
    assert_eq!(metrics.gops_reset_total.with_label_values(&labels).get(), 0);
    assert_eq!(metrics.ungranted_bytes_total.get(), 0);
}

async fn after_stop_no_byte_of_the_camera_crosses(over: Transport) {
    let mut relayed = relayed(over, far(), Clock::system()).await;
    let sink: &dyn Sink = &relayed.sender;
    sink.push(&Frame::Group(group(1)));
    sink.push(&Frame::Unit(unit(1, true, 1_000)));
    let stream = within(relayed.centre.connection.accept_uni())
        .await
        .unwrap();
    let mut reader = GroupReader::new(stream);
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    relayed.sender.stop(Reason::GrantCut);
    sink.push(&Frame::Unit(unit(2, false, 1_000)));
    sink.push(&Frame::Group(group(2)));
    sink.push(&Frame::Unit(unit(3, true, 1_000)));
    let error = within(reader.unit()).await.unwrap_err();
    assert_eq!(reset_code(&error), u64::from(Reason::GrantCut.number()));
    // What was sent later has arrived, and no stream came before it.
    relayed.link.send(&ToReceiver::Heads(Heads {
        head: "later".into(),
        lines: Vec::new(),
        acknowledged: 0,
    }));
    assert!(relayed.centre.hear().await.contains("later"));
    let more = relayed.centre.connection.accept_uni();
    tokio::pin!(more);
    assert!(futures_util::poll!(more).is_pending());
    assert_eq!(
        relayed
            .commune
            .metrics
            .frames_total
            .with_label_values(&["quai-nord"])
            .get(),
        1
    );
}

#[tokio::test]
async fn a_relay_ends_itself_when_its_time_is_up() {
    let (clock, hand) = Clock::manual(Clock::system().now().wall);
    let until = clock.now().boot.plus(Duration::from_secs(60));
    let mut relayed = relayed(Transport::Quic, until, clock).await;
    let sink: &dyn Sink = &relayed.sender;
    sink.push(&Frame::Group(group(1)));
    sink.push(&Frame::Unit(unit(1, true, 1_000)));
    let stream = within(relayed.centre.connection.accept_uni())
        .await
        .unwrap();
    let mut reader = GroupReader::new(stream);
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    hand.advance(Duration::from_secs(60));
    sink.push(&Frame::Unit(unit(2, false, 1_000)));
    let error = within(reader.unit()).await.unwrap_err();
    assert_eq!(reset_code(&error), u64::from(Reason::GrantExpired.number()));
    assert_eq!(
        within(relayed.notices.recv()).await,
        Some((RelayId(9), Notice::Expired))
    );
}

#[tokio::test]
async fn a_lost_camera_resets_its_group_with_the_cause() {
    let mut relayed = relayed(Transport::Quic, far(), Clock::system()).await;
    let sink: &dyn Sink = &relayed.sender;
    sink.push(&Frame::Group(group(1)));
    sink.push(&Frame::Unit(unit(1, true, 1_000)));
    let stream = within(relayed.centre.connection.accept_uni())
        .await
        .unwrap();
    let mut reader = GroupReader::new(stream);
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    let lost = State::Retrying(Refusal::from(Reason::CameraStalled));
    sink.state(&lost);
    let error = within(reader.unit()).await.unwrap_err();
    assert_eq!(
        reset_code(&error),
        u64::from(Reason::CameraStalled.number())
    );
    assert_eq!(
        within(relayed.notices.recv()).await,
        Some((RelayId(9), Notice::Camera(lost)))
    );
    // And it goes on with the next key frame.
    sink.push(&Frame::Group(group(2)));
    sink.push(&Frame::Unit(unit(2, true, 1_000)));
    let stream = within(relayed.centre.connection.accept_uni())
        .await
        .unwrap();
    let mut reader = GroupReader::new(stream);
    assert_eq!(within(reader.header()).await.unwrap().group.number, 2);
}

#[tokio::test]
async fn a_dropped_relay_and_a_dropped_writer_reset_their_streams() {
    let relayed = relayed(Transport::Quic, far(), Clock::system()).await;
    {
        let sink: &dyn Sink = &relayed.sender;
        sink.push(&Frame::Group(group(1)));
        sink.push(&Frame::Unit(unit(1, true, 1_000)));
    }
    let stream = within(relayed.centre.connection.accept_uni())
        .await
        .unwrap();
    let mut reader = GroupReader::new(stream);
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    drop(relayed.sender);
    let error = within(reader.unit()).await.unwrap_err();
    assert_eq!(reset_code(&error), u64::from(Reason::ShuttingDown.number()));

    // A raw link, for a writer alone.
    let world = World::new();
    let server = world.server(Transport::Quic);
    let client = world.client(COMMUNE);
    let address = server.local_addr();
    let (link, other) = tokio::join!(client.link(Transport::Quic, address), server.serve());
    let stream = within(link.connection.open_uni()).await.unwrap();
    let header = GroupHeader {
        relay: RelayId(1),
        group: group(1),
    };
    let mut writer = GroupWriter::new(stream, &header, 0);
    writer.take(&unit(1, true, 500), false);
    within(std::future::poll_fn(|cx| writer.poll_write(usize::MAX, cx)))
        .await
        .unwrap();
    let mut reader = GroupReader::new(within(other.connection.accept_uni()).await.unwrap());
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    drop(writer);
    let error = within(reader.unit()).await.unwrap_err();
    assert_eq!(reset_code(&error), u64::from(ABANDONED));
}

/// Opens a stream with these first bytes; gives the code it is stopped with.
async fn stopped(link: &RawLink, bytes: &[u8]) -> u64 {
    let mut stream = within(link.connection.open_uni()).await.unwrap();
    write_all(&mut stream, bytes).await.unwrap();
    // Written on until the other side wants no more.
    within(async {
        loop {
            match write_all(&mut stream, &[0]).await {
                Ok(()) => tokio::task::yield_now().await,
                Err(quinn::WriteError::Stopped(code)) => return code.into_inner(),
                Err(error) => panic!("{error}"),
            }
        }
    })
    .await
}

#[tokio::test]
async fn unknown_kinds_and_relays_without_a_grant_are_stopped_and_the_link_stays() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let mut link = world
        .client(COMMUNE)
        .link(Transport::Quic, centre.address)
        .await;
    up(&mut centre.events).await;
    assert_eq!(stopped(&link, &[9, 30]).await, u64::from(UNKNOWN_KIND));
    assert_eq!(
        stopped(&link, &[1, 3]).await,
        u64::from(Reason::ProtocolError.number())
    );
    let header = GroupHeader {
        relay: RelayId(5),
        group: group(1),
    };
    assert_eq!(stopped(&link, &header.encode()).await, u64::from(UNGRANTED));
    link.say(r#"{"type":"still_here"}"#).await;
    assert!(matches!(
        super::next(&mut centre.events).await,
        super::Event::Message { .. }
    ));
    centre.stop().await;
}
