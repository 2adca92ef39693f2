//! The hub over a real QUIC connection; here and not in `tests/`, for only the
//! crate itself can make a permit without a journal.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::task::JoinSet;

use super::*;
use crate::certs::trial::Trial;
use crate::media::relay::Profile;
use crate::media::source::{self, Event as Played, Source};
use crate::media::unit::{AccessUnit, Codecs, Configuration, Group, UnitFlags};
use crate::media::wire::{GroupHeader, SUPERSEDED, UnitHeader};
use crate::receiver::viewing::ViewRequest;

const PATIENCE: Duration = Duration::from_secs(20);

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("this must not take 20 s")
}

/// Whose viewings the journal does not take.
const UNRECORDED: &str = "unrecorded";

/// Two ends of a connection, and a hub that takes all streams of one of them.
struct World {
    hub: Hub,
    metrics: Arc<metrics::Receiver>,
    events: mpsc::Receiver<Event>,
    gateway: quinn::Connection,
    _endpoints: [quinn::Endpoint; 2],
    _streams: JoinSet<()>,
}

fn commune() -> CommuneId {
    CommuneId::new("berre-l-etang").unwrap()
}

fn camera() -> CameraId {
    CameraId::new("quai-nord").unwrap()
}

fn grant(number: u128) -> GrantId {
    GrantId(uuid::Uuid::from_u128(number))
}

async fn connect() -> (quinn::Connection, quinn::Connection, [quinn::Endpoint; 2]) {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    let identity = trial.machine("corg-13").unwrap();
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(trial.link_authority().as_bytes()).unwrap())
        .unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = QuicServerConfig::try_from(Arc::new(server)).unwrap();
    let client = QuicClientConfig::try_from(Arc::new(client)).unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let listening =
        quinn::Endpoint::server(quinn::ServerConfig::with_crypto(Arc::new(server)), any).unwrap();
    let dialling = quinn::Endpoint::client(any).unwrap();
    let connecting = dialling
        .connect_with(
            quinn::ClientConfig::new(Arc::new(client)),
            listening.local_addr().unwrap(),
            "corg-13",
        )
        .unwrap();
    let accepting = async { listening.accept().await.unwrap().await.unwrap() };
    let (gateway, receiver) = within(async { tokio::join!(connecting, accepting) }).await;
    (gateway.unwrap(), receiver, [listening, dialling])
}

impl World {
    async fn new() -> Self {
        Self::with_clock(Clock::system()).await
    }

    async fn with_clock(clock: Clock) -> Self {
        Self::with_waits(clock, Waits::default()).await
    }

    async fn with_waits(clock: Clock, waits: Waits) -> Self {
        let (gateway, receiver, endpoints) = connect().await;
        let metrics = Arc::new(metrics::Receiver::new(&[commune()]).unwrap());
        let (sender, mut told) = mpsc::channel(64);
        let hub = Hub::with_waits(clock, Arc::clone(&metrics), sender, waits);
        let taking = hub.clone();
        let mut streams = JoinSet::new();
        // The control plane, whose journal writes at once.
        let (tell, events) = mpsc::channel(64);
        let admitting = hub.clone();
        streams.spawn(async move {
            while let Some(event) = told.recv().await {
                if let Event::ViewingStarted(viewing) = &event
                    && viewing.who != UNRECORDED
                {
                    admitting.admit(viewing.number);
                }
                if tell.send(event).await.is_err() {
                    return;
                }
            }
        });
        streams.spawn(async move {
            let mut groups = JoinSet::new();
            while let Ok(stream) = receiver.accept_uni().await {
                let hub = taking.clone();
                groups.spawn(async move { hub.take(&commune(), stream, 0).await });
            }
        });
        Self {
            hub,
            metrics,
            events,
            gateway,
            _endpoints: endpoints,
            _streams: streams,
        }
    }

    fn allow(&self, number: u128, relay: u32) {
        self.hub.allow(
            &Permit::for_test(grant(number)),
            &commune(),
            &camera(),
            RelayId(relay),
        );
    }

    async fn view(&self, number: u128, how: &'static str) -> Arc<dyn Source> {
        within(self.try_view(number, how)).await.unwrap()
    }

    async fn try_view(&self, number: u128, how: &'static str) -> Result<Arc<dyn Source>, Reason> {
        self.view_within(number, how, PATIENCE).await
    }

    async fn view_within(
        &self,
        number: u128,
        how: &'static str,
        timeout: Duration,
    ) -> Result<Arc<dyn Source>, Reason> {
        let request = ViewRequest {
            grant: grant(number),
            commune: commune(),
            camera: camera(),
            who: "123456".into(),
            how,
            from: "127.0.0.1".into(),
            packets: how != "live",
            decodes: Codecs::ALL,
        };
        self.hub.view(request, timeout).await
    }

    async fn event(&mut self) -> Event {
        loop {
            let event = within(self.events.recv()).await.unwrap();
            if !is_usual(&event) {
                return event;
            }
        }
    }

    async fn first_picture(&mut self) {
        assert!(matches!(self.event().await, Event::FirstPicture { .. }));
    }

    async fn stream(&self, relay: u32, number: u64, codec: Codec) -> Stream {
        let mut stream = within(self.gateway.open_uni()).await.unwrap();
        let header = GroupHeader {
            relay: RelayId(relay),
            group: group(number, codec),
        };
        stream.write_all(&header.encode()).await.unwrap();
        Stream(stream)
    }
}

/// A group on its way, written byte by byte.
struct Stream(quinn::SendStream);

impl Stream {
    async fn send(&mut self, unit: &AccessUnit) {
        self.0
            .write_all(&UnitHeader::encode(unit, false))
            .await
            .unwrap();
        within(self.0.write_all(&unit.data)).await.unwrap();
    }

    /// Begins a picture of so many bytes and sends only some of them.
    async fn begin(&mut self, bytes: usize, sent: usize) {
        let whole = unit(100, bytes);
        let header = UnitHeader::encode(&whole, false);
        self.0.write_all(&header).await.unwrap();
        within(self.0.write_all(&whole.data[..sent])).await.unwrap();
    }

    /// The code with which the hub stopped it.
    async fn stopped(&self) -> u32 {
        let code = within(self.0.stopped()).await.unwrap().expect("stopped");
        u32::try_from(code.into_inner()).unwrap()
    }
}

fn group(number: u64, codec: Codec) -> Arc<Group> {
    Arc::new(Group {
        number,
        epoch: 1,
        first_of_epoch: false,
        open: false,
        kept: false,
        profile: Profile::Main,
        configuration: Arc::new(Configuration {
            codec,
            record: Bytes::new(),
            width: 64,
            height: 48,
        }),
    })
}

/// A picture that can be told by its number; `n` divisible by 100 is a key frame.
fn unit(n: i64, bytes: usize) -> AccessUnit {
    let kind = if n % 100 == 0 { 0x65 } else { 0x41 };
    let mut data = vec![n as u8; bytes + 5];
    data[..4].copy_from_slice(&u32::try_from(bytes + 1).unwrap().to_be_bytes());
    data[4] = kind;
    AccessUnit {
        flags: UnitFlags {
            key: n % 100 == 0,
            ..UnitFlags::default()
        },
        pts: n * 3600,
        captured: Clock::system().now().wall.0,
        data: Bytes::from(data),
    }
}

/// The next picture's number and whether it was kept.
async fn picture(viewer: &mut Box<dyn source::Subscription>) -> (i64, bool) {
    match within(viewer.next()).await {
        Played::Unit { unit, kept, .. } => (unit.pts / 3600, kept),
        other => panic!("not a picture: {other:?}"),
    }
}

async fn end(viewer: &mut Box<dyn source::Subscription>) -> Reason {
    match within(viewer.next()).await {
        Played::End(reason) => reason,
        other => panic!("not the end: {other:?}"),
    }
}

#[tokio::test]
async fn who_joins_late_begins_with_the_kept_group() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    for n in 100..103 {
        stream.send(&unit(n, 2_000)).await;
    }
    world.first_picture().await;
    let source = world.view(1, "rtsp").await;
    let mut first = source.subscribe();
    for n in 100..103 {
        assert_eq!(picture(&mut first).await.0, n);
    }
    let mut late = source.subscribe();
    stream.send(&unit(103, 2_000)).await;
    assert_eq!(picture(&mut first).await, (103, false));
    let mut sequence = None;
    for n in 100..104 {
        let Played::Unit {
            unit,
            packets,
            kept,
        } = within(late.next()).await
        else {
            panic!("not a picture");
        };
        assert_eq!((unit.pts / 3600, kept), (n, n < 103));
        // The kept packets lead up to the shared ones without a gap.
        let expected = sequence.unwrap_or(packets.first_sequence);
        assert_eq!(packets.first_sequence, expected, "{n}");
        sequence = Some(packets.first_sequence.wrapping_add(packets.packets));
    }
}

#[tokio::test]
async fn browsers_share_the_message_of_each_new_picture() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 2_000)).await;
    world.first_picture().await;
    let source = world.view(1, "live").await;
    let mut browsers = [source.subscribe(), source.subscribe()];
    stream.send(&unit(101, 2_000)).await;
    for (n, shares) in [(100, false), (101, true)] {
        let [first, second] = &mut browsers;
        let (first, second) = within(async { tokio::join!(first.next(), second.next()) }).await;
        let message = |event| match event {
            Played::Unit { unit, packets, .. } if unit.pts == n * 3600 => packets,
            other => panic!("not picture {n}: {other:?}"),
        };
        let (first, second) = (message(first), message(second));
        // A kept picture says so, each browser's to itself.
        assert_eq!(Arc::ptr_eq(&first, &second), shares);
        assert!(first.message.get().is_none(), "made by whom it is sent to");
    }
}

#[tokio::test]
async fn no_old_picture_is_given_to_who_comes() {
    const SHORT: Duration = Duration::from_millis(50);
    let (clock, manual) = Clock::manual(Clock::system().now().wall);
    let mut world = World::with_clock(clock).await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let source = world.view(1, "rtsp").await;
    let mut stays = source.subscribe();
    assert_eq!(picture(&mut stays).await, (100, true));
    assert!(matches!(world.event().await, Event::ViewingStarted(_)));
    let sampled = stays.sampled().unwrap();

    manual.advance(Duration::from_secs(3));
    assert_eq!(picture(&mut source.subscribe()).await, (100, true));
    manual.advance(Duration::from_millis(1));
    let mut late = source.subscribe();
    assert!(late.try_next().is_none(), "no longer what there is to see");
    assert_eq!(late.sampled(), Some(sampled), "its clock goes on");
    // A moment of silence is no reason to refuse anybody.
    world.view_within(1, "rtsp", SHORT).await.unwrap();
    manual.advance(Duration::from_secs(2));
    for how in ["rtsp", "live"] {
        let refused = world.view_within(1, how, SHORT).await.unwrap_err();
        assert_eq!(refused, Reason::LinkLost, "there is no link in this test");
    }
    // When pictures come again, who waits is let in, and who stayed goes on.
    let waits = world.view(1, "rtsp");
    let comes = async {
        stream.0.finish().unwrap();
        let mut stream = world.stream(7, 2, Codec::H264).await;
        stream.send(&unit(200, 10)).await;
        stream
    };
    let (_, _stream) = tokio::join!(waits, comes);
    assert_eq!(picture(&mut stays).await, (200, false));
    assert_eq!(picture(&mut late).await, (200, false));
    assert_ne!(stays.sampled(), Some(sampled));
}

#[tokio::test]
async fn a_group_kept_at_the_gateway_is_as_old_as_its_newest_picture() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let header = GroupHeader {
        relay: RelayId(7),
        group: Arc::new(Group {
            kept: true,
            ..Group::clone(&group(1, Codec::H264))
        }),
    };
    let mut stream = Stream(within(world.gateway.open_uni()).await.unwrap());
    stream.0.write_all(&header.encode()).await.unwrap();
    let mut old = unit(100, 10);
    old.captured -= 8_000_000;
    stream.send(&old).await;
    world.first_picture().await;
    let short = Duration::from_millis(50);
    world.view_within(1, "rtsp", short).await.unwrap_err();
    stream.send(&unit(101, 10)).await;
    let mut viewer = world.view(1, "rtsp").await.subscribe();
    for n in [100, 101] {
        assert_eq!(picture(&mut viewer).await, (n, true));
    }
}

#[tokio::test]
async fn a_viewing_is_told_from_its_first_picture_to_its_end() {
    let mut world = World::new().await;
    world.allow(1, 7);
    world.allow(2, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let mut one = world.view(1, "rtsp").await.subscribe();
    let mut two = world.view(2, "live").await.subscribe();
    let viewers = |kind| world.metrics.viewers.with_label_values(&[kind]).get();
    assert_eq!((viewers("rtsp_tcp"), viewers("live")), (1, 1));
    drop(world.view(1, "rtsp_udp").await.subscribe());
    picture(&mut one).await;
    let Event::ViewingStarted(started) = world.event().await else {
        panic!("not started");
    };
    assert_eq!((started.grant, started.how), (grant(1), "rtsp"));
    picture(&mut two).await;
    assert!(matches!(world.event().await, Event::ViewingStarted(v) if v.grant == grant(2)));
    // The end of one grant ends its viewers alone; the other keeps the relay.
    world.hub.end_grant(grant(1), Reason::GrantCut);
    assert_eq!(end(&mut one).await, Reason::GrantCut);
    assert_eq!(
        world.event().await,
        Event::ViewingEnded(started, Some(Reason::GrantCut))
    );
    assert_eq!(
        world.try_view(1, "rtsp").await.unwrap_err(),
        Reason::GrantUnknown
    );
    stream.send(&unit(101, 10)).await;
    assert_eq!(picture(&mut two).await, (101, false));
    drop(two);
    assert!(matches!(world.event().await, Event::ViewingEnded(v, None) if v.grant == grant(2)));
    drop(one);
    let viewers = |kind| world.metrics.viewers.with_label_values(&[kind]).get();
    assert_eq!((viewers("rtsp_tcp"), viewers("live")), (0, 0));
}

#[tokio::test]
async fn no_picture_goes_out_before_the_journal_holds_the_viewing() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let request = ViewRequest {
        grant: grant(1),
        commune: commune(),
        camera: camera(),
        who: UNRECORDED.into(),
        how: "rtsp",
        from: "127.0.0.1".into(),
        packets: true,
        decodes: Codecs::ALL,
    };
    let source = within(world.hub.view(request, PATIENCE)).await.unwrap();
    let mut waits = source.subscribe();
    let mut refused = source.subscribe();
    assert!(waits.try_next().is_none() && refused.try_next().is_none());
    let started = async |world: &mut World| match world.event().await {
        Event::ViewingStarted(viewing) => viewing.number,
        other => panic!("{other:?}"),
    };
    let (first, second) = (started(&mut world).await, started(&mut world).await);
    stream.send(&unit(101, 10)).await;
    // Another viewer has both pictures, so both are in the queue of the one who waits.
    let mut seen = world.view(1, "rtsp").await.subscribe();
    for n in [100, 101] {
        assert_eq!(picture(&mut seen).await.0, n);
    }
    assert!(waits.try_next().is_none(), "asked once, and nothing yet");
    world.hub.admit(first);
    assert_eq!(picture(&mut waits).await, (100, true));
    assert_eq!(picture(&mut waits).await, (101, false));
    world.hub.refuse(second, Reason::JournalUnavailable);
    assert_eq!(end(&mut refused).await, Reason::JournalUnavailable);
    // He who watches goes on while nobody is let in.
    world.hub.refuse_viewers(Some(Reason::JournalUnavailable));
    stream.send(&unit(102, 10)).await;
    assert_eq!(picture(&mut waits).await, (102, false));
}

#[tokio::test]
async fn without_a_live_grant_nothing_is_taken() {
    let mut world = World::new().await;
    // A stream that comes just before its grant is durable waits for it.
    let mut early = world.stream(7, 1, Codec::H264).await;
    early.send(&unit(100, 10)).await;
    world.allow(1, 7);
    world.first_picture().await;
    let source = world.view(1, "rtsp").await;
    world.hub.end_grant(grant(1), Reason::GrantExpired);
    // The source that somebody still holds knows why there is nothing.
    assert_eq!(end(&mut source.subscribe()).await, Reason::GrantExpired);
    early.send(&unit(101, 10)).await;
    assert_eq!(early.stopped().await, SUPERSEDED);
    let late = world.stream(7, 2, Codec::H264).await;
    assert_eq!(late.stopped().await, UNGRANTED);
    let never = world.stream(8, 1, Codec::H264).await;
    assert_eq!(never.stopped().await, UNGRANTED);
    let refused = &world.metrics.streams_refused_total;
    let labels = ["berre-l-etang", "no_grant"];
    assert_eq!(refused.with_label_values(&labels).get(), 2);
    assert_eq!(world.metrics.relays_active.get(), 0);
    // Allowed again it begins with nothing kept.
    world.allow(2, 9);
    while let Ok(event) = world.events.try_recv() {
        assert!(is_usual(&event), "{event:?}");
    }
}

#[tokio::test]
async fn a_group_waits_for_the_tail_of_the_one_before() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut one = world.stream(7, 1, Codec::H264).await;
    one.send(&unit(100, 10)).await;
    world.first_picture().await;
    let mut viewer = world.view(1, "rtsp").await.subscribe();
    let mut two = world.stream(7, 2, Codec::H264).await;
    two.send(&unit(200, 10)).await;
    one.send(&unit(101, 10)).await;
    one.0.finish().unwrap();
    for n in [100, 101, 200] {
        assert_eq!(picture(&mut viewer).await.0, n);
    }
    // A tail that never comes is left behind, and stopped when it does.
    let mut three = world.stream(7, 3, Codec::H264).await;
    three.send(&unit(300, 10)).await;
    assert_eq!(picture(&mut viewer).await.0, 300);
    two.send(&unit(201, 10)).await;
    assert_eq!(two.stopped().await, SUPERSEDED);
    three.send(&unit(301, 10)).await;
    assert_eq!(picture(&mut viewer).await.0, 301);
    // A group that was reset has no tail to wait for.
    three.0.reset(1_u32.into()).unwrap();
    let mut four = world.stream(7, 4, Codec::H264).await;
    four.send(&unit(400, 10)).await;
    assert_eq!(picture(&mut viewer).await.0, 400);
}

#[tokio::test]
async fn a_slow_viewer_jumps_to_a_key_frame_and_harms_no_other() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let source = world.view(1, "rtsp").await;
    let mut slow = source.subscribe();
    let mut quick = source.subscribe();
    assert_eq!(picture(&mut slow).await.0, 100);
    assert_eq!(picture(&mut quick).await.0, 100);
    // More than a viewer's queue holds, in groups of four.
    let mut last = 0;
    for number in 2..12_u64 {
        stream.0.finish().unwrap();
        stream = world.stream(7, number, Codec::H264).await;
        for n in 0..4 {
            last = i64::try_from(number).unwrap() * 100 + n;
            stream.send(&unit(last, 400_000)).await;
            assert_eq!(picture(&mut quick).await, (last, false));
        }
    }
    let skips = |kind| {
        world
            .metrics
            .viewer_skips_total
            .with_label_values(&[kind])
            .get()
    };
    assert!(skips("rtsp_tcp") >= 1);
    assert!(matches!(within(slow.next()).await, Played::Skipped));
    let (mut n, _) = picture(&mut slow).await;
    assert_eq!(n % 100, 0);
    while n != last {
        n = picture(&mut slow).await.0;
    }
    assert!(quick.try_next().is_none());
}

#[tokio::test]
async fn another_codec_ends_players_and_not_pages() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let mut player = world.view(1, "rtsp").await.subscribe();
    let page = world.view(1, "live").await;
    let mut on_page = page.subscribe();
    picture(&mut player).await;
    picture(&mut on_page).await;
    stream.0.finish().unwrap();
    let mut stream = world.stream(7, 2, Codec::H265).await;
    stream.send(&unit(200, 10)).await;
    assert_eq!(end(&mut player).await, Reason::StreamChanged);
    assert_eq!(picture(&mut on_page).await.0, 200);
    assert_eq!(page.configuration().codec, Codec::H265);
}

#[tokio::test]
async fn of_single_pictures_the_newest_wins() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut one = world.stream(7, 1, Codec::Jpeg).await;
    one.send(&unit(100, 10)).await;
    one.0.finish().unwrap();
    world.first_picture().await;
    let mut viewer = world.view(1, "live").await.subscribe();
    assert_eq!(picture(&mut viewer).await.0, 100);
    let mut two = world.stream(7, 2, Codec::Jpeg).await;
    let mut three = world.stream(7, 3, Codec::Jpeg).await;
    three.send(&unit(300, 10)).await;
    assert_eq!(picture(&mut viewer).await.0, 300);
    two.send(&unit(200, 10)).await;
    assert_eq!(two.stopped().await, SUPERSEDED);
    assert!(viewer.try_next().is_none());
}

#[tokio::test]
async fn a_viewer_of_nothing_asks_once_for_a_key_frame() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 1, Codec::H264).await;
    // Three units of the largest size are over what is kept.
    for n in 100..103 {
        stream.send(&unit(n, 8_000_000)).await;
    }
    world.first_picture().await;
    let source = world.view(1, "live").await;
    let mut other = world.view(1, "live").await.subscribe();
    // Delivery of all three is seen by who waits for the next group.
    stream.0.finish().unwrap();
    let mut next = world.stream(7, 2, Codec::H264).await;
    next.send(&unit(200, 10)).await;
    while picture(&mut other).await.0 != 200 {}
    for n in 201..204 {
        next.send(&unit(n, 8_000_000)).await;
        let _ = picture(&mut other).await;
    }
    while world.events.try_recv().is_ok() {}
    let mut one = source.subscribe();
    let _two = source.subscribe();
    assert_eq!(
        world.event().await,
        Event::KeyFrameWanted {
            commune: commune(),
            relay: RelayId(7)
        }
    );
    assert!(world.events.try_recv().is_err());
    next.0.finish().unwrap();
    let mut next = world.stream(7, 3, Codec::H264).await;
    next.send(&unit(300, 10)).await;
    assert_eq!(picture(&mut one).await, (300, false));
}

#[tokio::test]
async fn a_restarted_gateway_counts_anew_and_its_viewers_stay() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut stream = world.stream(7, 50, Codec::H264).await;
    stream.send(&unit(100, 10)).await;
    world.first_picture().await;
    let mut viewer = world.view(1, "rtsp").await.subscribe();
    picture(&mut viewer).await;
    world.allow(1, 8);
    let mut stream = world.stream(8, 1, Codec::H264).await;
    stream.send(&unit(200, 10)).await;
    assert_eq!(picture(&mut viewer).await.0, 200);
    let old = world.stream(7, 51, Codec::H264).await;
    assert_eq!(old.stopped().await, UNGRANTED);
    world.hub.shutdown(Reason::ShuttingDown);
    assert_eq!(end(&mut viewer).await, Reason::ShuttingDown);
}

/// A gateway that does not end its pictures holds no memory with them.
#[tokio::test]
async fn an_unfinished_picture_ends_when_a_newer_group_takes_its_turn() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let mut first = world.stream(7, 1, Codec::H264).await;
    first.send(&unit(100, 100)).await;
    world.first_picture().await;
    first.begin(500_000, 499_000).await;
    let mut second = world.stream(7, 2, Codec::H264).await;
    second.send(&unit(200, 100)).await;
    assert_eq!(first.stopped().await, SUPERSEDED);
    // So do those of single pictures.
    let mut old = world.stream(7, 3, Codec::Jpeg).await;
    old.begin(500_000, 499_000).await;
    let mut new = world.stream(7, 4, Codec::Jpeg).await;
    new.send(&unit(300, 100)).await;
    assert_eq!(old.stopped().await, SUPERSEDED);
    let held = world.hub.unfinished(&commune()).held();
    assert_eq!(held, 0);
}

#[tokio::test]
async fn a_picture_of_which_nothing_comes_is_given_up_and_a_slow_camera_is_not() {
    let waits = Waits {
        idle: Duration::from_millis(50),
        ..Waits::default()
    };
    let mut world = World::with_waits(Clock::system(), waits).await;
    world.allow(1, 7);
    let mut slow = world.stream(7, 1, Codec::H264).await;
    slow.send(&unit(100, 100)).await;
    world.first_picture().await;
    let source = world.view(1, "rtsp").await;
    let mut viewer = source.subscribe();
    assert_eq!(picture(&mut viewer).await.0, 100);
    // The other relay's picture hangs for longer than that, ours has not begun.
    world.hub.allow(
        &Permit::for_test(grant(1)),
        &commune(),
        &CameraId::new("other").unwrap(),
        RelayId(8),
    );
    let mut hangs = world.stream(8, 1, Codec::H264).await;
    hangs.begin(1_000, 10).await;
    assert_eq!(hangs.stopped().await, Reason::ProtocolError.number());
    slow.send(&unit(101, 100)).await;
    assert_eq!(picture(&mut viewer).await, (101, false));
}

#[tokio::test]
async fn unfinished_pictures_stay_within_the_communes_budget() {
    const LIMIT: usize = 1024 * 1024;
    let mut world = World::new().await;
    world.allow(1, 7);
    let budget = world.hub.unfinished(&commune());
    budget.set_limit(LIMIT);
    let mut streams = Vec::new();
    for number in 1..=8 {
        let mut stream = world.stream(7, number, Codec::Jpeg).await;
        if number == 1 {
            // Tells the hub that more streams will come.
            stream.send(&unit(100, 100)).await;
            world.first_picture().await;
            budget.set_limit(LIMIT);
        } else {
            stream.begin(8 * LIMIT - 5, LIMIT / 4).await;
        }
        streams.push(stream);
    }
    let stopped = streams[1..].iter().map(Stream::stopped);
    let (code, ..) = within(futures_util::future::select_all(
        stopped.map(Box::pin).collect::<Vec<_>>(),
    ))
    .await;
    assert_eq!(code, Reason::ProtocolError.number());
    assert!(budget.held() <= LIMIT, "{}", budget.held());
    // All of it comes back.
    world.hub.end_grant(grant(1), Reason::GrantReleased);
    for stream in &streams[1..] {
        stream.stopped().await;
    }
    within(async {
        while budget.held() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_kept_group_for_which_the_commune_has_no_room_is_not_kept() {
    let mut world = World::new().await;
    world.allow(1, 7);
    let kept = {
        let state = world.hub.shared.lock();
        Arc::clone(&state.communes[&commune()].kept)
    };
    kept.set_limit(1_000);
    let mut group = world.stream(7, 1, Codec::H264).await;
    group.send(&unit(100, 600)).await;
    world.first_picture().await;
    let source = world.view(1, "live").await;
    let mut first = source.subscribe();
    assert_eq!(picture(&mut first).await, (100, true));
    group.send(&unit(101, 600)).await;
    assert_eq!(picture(&mut first).await, (101, false));
    let mut late = source.subscribe();
    let mut next = world.stream(7, 2, Codec::H264).await;
    next.send(&unit(200, 100)).await;
    assert_eq!(picture(&mut late).await, (200, false));
    assert_eq!(kept.held(), 100 + 5 + crate::media::queue::OVERHEAD);
    world.hub.end_grant(grant(1), Reason::GrantReleased);
    assert_eq!(kept.held(), 0);
}

/// The first stream alone is asked for: said once of each camera.
fn is_usual(event: &Event) -> bool {
    matches!(
        event,
        Event::StreamsWanted {
            first: true,
            other: false,
            ..
        }
    )
}
