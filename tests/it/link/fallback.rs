//! Where UDP does not get through: the tunnel over TCP, what it drops, and the way back.

use std::sync::Arc;
use std::time::Duration;

use fanal::clock::Clock;
use fanal::format::control::{Heads, ToReceiver};
use fanal::gateway::relay::{Notice, RelaySender};
use fanal::link::group::{GroupReader, ReadError};
use fanal::link::transport::Transport;
use fanal::link::tunnel::{self, DATAGRAM};
use fanal::link::{Link, dial, tls};
use fanal::media::relay::RelayId;
use fanal::media::sink::Sink;
use fanal::media::unit::Frame;
use fanal::media::wire::LATE;
use fanal::reason::Reason;
use quinn::rustls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::any;
use super::media::{group, parts, unit};
use super::world::{CENTRE, COMMUNE, World, down, up, within};
use crate::wire::Wire;

fn carried_by(commune: &super::world::Commune) -> (i64, i64) {
    let gauge = |transport: Transport| {
        let labels = [CENTRE, transport.as_str()];
        commune.metrics.link_transport.with_label_values(&labels)
    };
    (gauge(Transport::Quic).get(), gauge(Transport::Tcp).get())
}

#[tokio::test]
async fn a_link_returns_to_quic_when_udp_gets_through_again() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let wire = centre.wire(Transport::Tcp).await;
    let mut commune = world.dial(Transport::Tcp, wire.address);
    let (_, one, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Tcp);
    assert_eq!(carried_by(&commune), (0, 1));
    let (_, first, _) = up(&mut centre.events).await;

    wire.let_udp(true);
    // One at a time: the old one is gone before the new one is told of.
    let (gone, _) = down(&mut commune.events).await;
    assert_eq!(gone, one);
    let (_, two, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Quic);
    assert!(two > one);
    let (gone, _) = down(&mut centre.events).await;
    assert_eq!(gone, first);
    let (_, second, link) = up(&mut centre.events).await;
    assert_eq!(link.transport(), Transport::Quic);
    assert!(second > first);
    assert_eq!(carried_by(&commune), (1, 0));
    assert_eq!(
        commune.metrics.link_up.with_label_values(&[CENTRE]).get(),
        1
    );
    // It carries messages.
    link.send(&fanal::format::control::ToGateway::KeyFrame { relay: RelayId(7) });
    assert!(matches!(
        super::next(&mut commune.events).await,
        super::Event::Message { session, .. } if session == two
    ));
    commune.stop().await;
    centre.stop().await;
}

/// A relay on this link of the commune that has something to send.
fn relay(link: &Link, commune: &super::world::Commune) -> RelaySender {
    let clock = Clock::system();
    // Nobody listens to what it tells.
    let (notices, _) = mpsc::channel(16);
    let until = clock.now().boot.plus(Duration::from_secs(3600));
    let frames = tokio::runtime::Handle::current();
    let sender = RelaySender::start(&frames, parts(link, commune, until, clock, notices));
    sender.push(&Frame::Group(group(1)));
    sender.push(&Frame::Unit(unit(1, true, 1_000)));
    sender
}

/// Soon beside a link that is silent, and soon back.
const BESIDE: dial::Pace = dial::Pace {
    tcp_after: Duration::from_secs(20),
    tcp_beside: Duration::from_millis(300),
    quic_again: Duration::from_millis(200),
};

#[tokio::test]
async fn a_link_whose_udp_is_dropped_goes_on_over_tcp_and_returns() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let wire = centre.wire(Transport::Quic).await;
    let mut commune = world.dial_with(wire.address, BESIDE);
    let (_, one, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Quic);
    let (_, first, _) = up(&mut centre.events).await;
    let relay = relay(&link, &commune);
    wire.let_udp(false);
    assert_eq!(down(&mut commune.events).await.0, one);
    let (_, _, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Tcp);
    assert_eq!(down(&mut centre.events).await.0, first);
    let (_, _, link) = up(&mut centre.events).await;
    assert_eq!(link.transport(), Transport::Tcp);
    drop(relay);
    wire.let_udp(true);
    down(&mut commune.events).await;
    let (_, _, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Quic);
    commune.stop().await;
    centre.stop().await;
}

#[tokio::test]
async fn a_cut_of_both_leaves_the_link_over_udp() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let wire = centre.wire(Transport::Quic).await;
    let mut commune = world.dial_with(wire.address, BESIDE);
    let (_, _, link) = up(&mut commune.events).await;
    up(&mut centre.events).await;
    let relay = relay(&link, &commune);
    wire.cut(true);
    // Connected, and nothing more.
    wire.until_connections(1).await;
    wire.cut(false);
    within(async {
        while link.is_silent() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // It carries messages, and no other took its place.
    link.send(&ToReceiver::Unknown);
    let event = super::next(&mut centre.events).await;
    assert!(matches!(event, super::Event::Message { .. }), "{event:?}");
    assert!(commune.events.try_recv().is_err());
    assert_eq!(link.transport(), Transport::Quic);
    drop(relay);
    commune.stop().await;
    centre.stop().await;
}

#[tokio::test]
async fn a_silent_tcp_link_that_carries_relays_gives_way_to_a_new_one() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let wire = centre.wire(Transport::Tcp).await;
    let mut commune = world.dial(Transport::Tcp, wire.address);
    let (_, one, link) = up(&mut commune.events).await;
    let (_, first, _) = up(&mut centre.events).await;
    wire.strand();
    let relay = relay(&link, &commune);
    assert_eq!(down(&mut commune.events).await.0, one);
    let (_, two, link) = up(&mut commune.events).await;
    assert_eq!(link.transport(), Transport::Tcp);
    assert!(two > one);
    assert_eq!(down(&mut centre.events).await.0, first);
    assert!(up(&mut centre.events).await.1 > first);
    drop(relay);
    commune.stop().await;
    centre.stop().await;
}

#[tokio::test]
async fn the_newest_wins_over_the_other_transport_too() {
    for (older, newer) in [
        (Transport::Tcp, Transport::Quic),
        (Transport::Quic, Transport::Tcp),
    ] {
        let world = World::new();
        let mut centre = world.accept(any(), &Clock::system());
        let client = world.client(COMMUNE);
        let first = client.link(older, centre.address).await;
        let (_, one, _) = up(&mut centre.events).await;
        let _second = client.link(newer, centre.address).await;
        assert_eq!(down(&mut centre.events).await.0, one);
        let (_, _, link) = up(&mut centre.events).await;
        assert_eq!(link.transport(), newer);
        let closed = within(first.connection.closed()).await;
        assert_eq!(closed.reason(), Some(Reason::LinkLost));
        assert!(closed.to_string().contains("newer link"), "{closed}");
        centre.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_over_quic_is_an_answer_and_tcp_is_not_tried() {
    let mut world = World::new();
    let server = world.server(Transport::Quic);
    let address = server.local_addr();
    // Whether another process has this port does not matter then.
    let Ok(listener) = tunnel::listen(address) else {
        return;
    };
    // The gateway finds another authority's certificate at the centre.
    let stranger = fanal::certs::trial::Trial::new(world.now).unwrap();
    world.write("link-ca.pem", stranger.link_authority());
    world.write("link.crl.pem", stranger.link_list());
    world.trial = stranger;
    let commune = world.dial_with(address, dial::Pace::default());
    for _ in 0..2 {
        assert!(within(server.take()).await.is_err());
    }
    let taken = listener.accept();
    tokio::pin!(taken);
    assert!(futures_util::poll!(taken).is_pending());
    commune.stop().await;
}

#[tokio::test]
async fn late_groups_are_dropped_on_a_stalled_path_and_messages_go_first() {
    let world = World::new();
    let server = world.server(Transport::Tcp);
    let wire = Wire::to(server.local_addr()).await;
    let mut commune = world.dial(Transport::Tcp, wire.address);
    let mut centre = server.serve().await;
    let (_, _, link) = up(&mut commune.events).await;
    let (clock, hand) = Clock::manual(world.now);
    let (notices, mut told) = mpsc::channel(16);
    let until = clock.now().boot.plus(Duration::from_secs(3600));
    let sender = RelaySender::start(
        &tokio::runtime::Handle::current(),
        parts(&link, &commune, until, clock, notices),
    );
    let sink: &dyn Sink = &sender;

    sink.push(&Frame::Group(group(1)));
    sink.push(&Frame::Unit(unit(1, true, 1_000)));
    let first = within(centre.connection.accept_uni()).await.unwrap();
    let mut reader = GroupReader::new(first);
    within(reader.header()).await.unwrap();
    within(reader.unit()).await.unwrap();
    wire.carry_up(false);
    // More than every buffer on the way holds.
    for n in 2..100 {
        sink.push(&Frame::Unit(unit(n, false, 100_000)));
    }
    while sender.waiting_bytes() == 0 {
        tokio::task::yield_now().await;
    }
    hand.advance(Duration::from_secs(1));
    assert_eq!(within(told.recv()).await, Some((RelayId(9), Notice::Late)));
    sink.push(&Frame::Group(group(2)));
    sink.push(&Frame::Unit(unit(200, true, 50_000)));
    hand.advance(Duration::from_secs(1));
    link.send(&ToReceiver::Heads(Heads {
        head: "meanwhile".into(),
        lines: Vec::new(),
        acknowledged: 0,
    }));

    wire.carry_up(true);
    assert!(centre.hear().await.contains("meanwhile"));
    // It ends with the picture that was on its way, or half way through it.
    loop {
        match within(reader.unit()).await {
            Ok(Some(_)) => {}
            Ok(None) => break,
            Err(ReadError::Stream(quinn::ReadError::Reset(code))) => {
                assert_eq!(code.into_inner(), u64::from(LATE));
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    // Of ten megabytes what was on its way when it stalled, and nothing more.
    let received = centre.connection.stats().received_bytes;
    assert!(received < 2_000_000, "{received} bytes came all the same");
    let second = within(centre.connection.accept_uni()).await.unwrap();
    let mut reader = GroupReader::new(second);
    assert_eq!(within(reader.header()).await.unwrap().group.number, 2);
    let key = within(reader.unit()).await.unwrap().unwrap();
    assert!(key.flags.loss_before, "what is missing is told");
    assert_eq!(key.data, unit(200, true, 50_000).data);
    let labels = ["quai-nord"];
    assert!(
        commune
            .metrics
            .gops_reset_total
            .with_label_values(&labels)
            .get()
            >= 1
    );
}

/// TCP and the TLS around a tunnel, and nothing said inside; like a browser's.
async fn outside(
    address: std::net::SocketAddr,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(super::AnyServer))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "corg13.example".try_into().unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[tokio::test]
async fn who_speaks_something_else_gets_nowhere() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    // No TLS at all.
    let mut plain = TcpStream::connect(centre.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // It may be hung up on with or without an alert; nothing else is said.
    let _ = within(plain.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    // TLS, and no datagrams in it: nothing, which is waited for as long as for any
    // handshake; a length of none; one beyond what is allowed.
    for bytes in [&b""[..], &[0, 0], &(DATAGRAM + 1).to_be_bytes()] {
        let mut stream = within(outside(centre.address)).await.unwrap();
        // It looks like any web server's.
        let (_, session) = stream.get_ref();
        assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ = within(stream.read_to_end(&mut answer)).await;
        assert!(answer.is_empty(), "{answer:?}");
    }
    assert!(centre.events.try_recv().is_err());
    // The good one still gets in.
    let client = world.client(COMMUNE);
    let _link = client.link(Transport::Tcp, centre.address).await;
    up(&mut centre.events).await;
    centre.stop().await;
}

#[tokio::test]
async fn a_gateway_shows_no_certificate_outside_of_quic() {
    let world = World::new();
    let settings = world.receiver(any());
    let listener = tunnel::listen(any()).unwrap();
    let end = tls::server(&settings, &Clock::system()).unwrap();
    let client = world.client(COMMUNE);
    let address = listener.local_addr().unwrap();
    let mut config = rustls::ServerConfig::clone(&end.config);
    config.alpn_protocols = Vec::new();
    let accepting = async {
        let (stream, _) = within(listener.accept()).await.unwrap();
        // Asks for a certificate, which the gateway does not show out here.
        tokio_rustls::TlsAcceptor::from(Arc::new(config))
            .accept(stream)
            .await
    };
    let (refused, accepted) = tokio::join!(client.connect(Transport::Tcp, address), accepting);
    let error = accepted.map(drop).unwrap_err().to_string();
    assert!(error.contains("no certificates"), "{error}");
    assert!(refused.is_err());
}

#[tokio::test]
async fn silent_connections_of_one_place_keep_nobody_else_out() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let mut silent = Vec::new();
    for _ in 0..200 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(within(socket.connect(centre.address)).await.unwrap());
    }
    // Of those beyond its share each is hung up on.
    let mut byte = [0];
    for beyond in &mut silent[16..] {
        let _ = within(beyond.read(&mut byte)).await;
    }
    let client = world.client(COMMUNE);
    let _link = client.link(Transport::Tcp, centre.address).await;
    up(&mut centre.events).await;
    // Those within it are still waited for.
    let reading = silent[0].read(&mut byte);
    tokio::pin!(reading);
    assert!(futures_util::poll!(reading).is_pending());
    centre.stop().await;
}
