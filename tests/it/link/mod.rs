//! The link on real sockets: who gets in, what ends it, what crosses it.

mod authorities;
mod fallback;
mod killed;
mod media;
pub(crate) mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::format::control::{Heads, MESSAGE_LIMIT, ToGateway, ToReceiver};
use fanal::link::transport::Transport;
use fanal::link::{Event, tls};
use fanal::reason::Reason;
use quinn::rustls;
use world::{CENTRE, COMMUNE, World, down, next, reason, up, within, write_all};

/// Each of these tests over both transports: who gets in, and what crosses.
macro_rules! over_both {
    ($($name:ident),* $(,)?) => {
        mod quic {
            $(#[tokio::test]
            async fn $name() {
                super::$name(fanal::link::transport::Transport::Quic).await;
            })*
        }
        mod tcp {
            $(#[tokio::test]
            async fn $name() {
                super::$name(fanal::link::transport::Transport::Tcp).await;
            })*
        }
    };
}
use over_both;

over_both![
    both_ends_learn_who_the_other_is_and_messages_cross,
    only_configured_communes_with_a_good_certificate_get_in,
    without_a_certificate_nobody_gets_in,
    a_gateway_refuses_a_server_of_another_name_or_authority,
    a_revocation_ends_a_live_link_at_the_reload,
];

fn any() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

async fn both_ends_learn_who_the_other_is_and_messages_cross(over: Transport) {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let wire = centre.wire(over).await;
    let mut commune = world.dial(over, wire.address);
    let (peer, _, to_gateway) = up(&mut centre.events).await;
    assert_eq!(peer, COMMUNE);
    let (peer, _, to_receiver) = up(&mut commune.events).await;
    assert_eq!(peer, CENTRE);
    assert_eq!(
        (to_gateway.transport(), to_receiver.transport()),
        (over, over)
    );
    assert_eq!(to_receiver.key_exchange(), "X25519MLKEM768");
    assert_eq!(to_gateway.key_exchange(), "X25519MLKEM768");
    to_gateway.send(&ToGateway::KeyFrame {
        relay: fanal::media::relay::RelayId(7),
    });
    let Event::Message { message, .. } = next(&mut commune.events).await else {
        panic!("not a message");
    };
    assert!(matches!(message, ToGateway::KeyFrame { relay } if relay.0 == 7));
    let heads = ToReceiver::Heads(Heads {
        head: "x".repeat(16_000),
        lines: vec!["x".repeat(300); 1_000],
        acknowledged: 3,
    });
    to_receiver.send(&heads);
    let Event::Message { message, .. } = next(&mut centre.events).await else {
        panic!("not a message");
    };
    assert_eq!(message, heads);
    to_receiver.close(Reason::ShuttingDown);
    let (_, cause) = down(&mut centre.events).await;
    assert!(cause.contains("shutting_down"), "{cause}");
    commune.stop().await;
    centre.stop().await;
}

/// Tries to get in with this identity; says why it failed.
async fn refused(
    over: Transport,
    world: &World,
    centre: &mut world::Centre,
    identity: &str,
) -> String {
    let error = world.client(identity).refused(over, centre.address).await;
    assert!(centre.events.try_recv().is_err(), "{identity} got in");
    error
}

async fn only_configured_communes_with_a_good_certificate_get_in(over: Transport) {
    let mut world = World::new();
    let day = Duration::from_secs(24 * 3600);
    world.write_identity("another", &world.trial, "another-commune");
    let stranger = Trial::new(world.now).unwrap();
    world.write_identity("forged", &stranger, COMMUNE);
    let week_ago = fanal::clock::Wall(world.now.0 - 7 * 86_400_000_000);
    world.write_valid("expired", COMMUNE, Validity::lasting(week_ago, day));
    let revoked = world.trial.machine(COMMUNE).unwrap();
    world.write("revoked.pem", &revoked.certificate);
    world.write("revoked.key", revoked.key.expose());
    let now = world.now;
    let list = world
        .trial
        .revoke_machine(&revoked.certificate, now)
        .unwrap()
        .to_owned();
    world.write("link.crl.pem", &list);
    let mut centre = world.accept(any(), &Clock::system());
    for (identity, cause) in [
        ("another", "bad certificate"),
        ("forged", "unknown"),
        ("expired", "expired"),
        ("revoked", "revoked"),
    ] {
        let error = refused(over, &world, &mut centre, identity)
            .await
            .to_lowercase();
        assert!(
            error.contains(cause) || error.contains("cert"),
            "{identity}: {error}"
        );
    }
    // The good one still gets in.
    let _link = world.client(COMMUNE).link(over, centre.address).await;
    assert_eq!(up(&mut centre.events).await.0, COMMUNE);
    centre.stop().await;
}

async fn without_a_certificate_nobody_gets_in(over: Transport) {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let roots = rustls::RootCertStore::empty();
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .with_root_certificates(roots)
    .with_no_client_auth();
    let pinned = tls::client(&world.tls(COMMUNE), CENTRE, &world.kept(), &Clock::system()).unwrap();
    config
        .dangerous()
        .set_certificate_verifier(verifier_of(&pinned));
    config.alpn_protocols = vec![tls::ALPN.to_vec()];
    let end = tls::End {
        config: Arc::new(config),
        peers: pinned.peers,
    };
    let client = world::RawClient::new(&end);
    let error = client.refused(over, centre.address).await;
    assert!(error.to_lowercase().contains("cert"), "{error}");
    assert!(centre.events.try_recv().is_err());
    centre.stop().await;
}

/// Accepts any server: the one that is tried is the client's side of nothing.
#[derive(Debug)]
struct AnyServer;

fn verifier_of(
    _pinned: &tls::End<rustls::ClientConfig>,
) -> Arc<dyn rustls::client::danger::ServerCertVerifier> {
    Arc::new(AnyServer)
}

impl rustls::client::danger::ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

async fn a_gateway_refuses_a_server_of_another_name_or_authority(over: Transport) {
    let world = World::new();
    let server = world.server(over);
    let address = server.local_addr();
    let accepting = tokio::spawn(async move {
        loop {
            // An error is the refusal that is looked for.
            let _ = server.take().await;
        }
    });
    let another = world.client_of(&world.tls(COMMUNE), "corg-06");
    let error = within(another.connect(over, address)).await.unwrap_err();
    assert!(error.contains("NotValidForName"), "{error}");
    let stranger = Trial::new(world.now).unwrap();
    world.write("link-ca.pem", stranger.link_authority());
    let mut tls = world.tls(COMMUNE);
    tls.revoked = Vec::new();
    let client = world.client_of(&tls, CENTRE);
    let error = within(client.connect(over, address)).await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
    accepting.abort();
}

/// Counts what a server would let a client resume with.
#[derive(Debug, Default)]
struct Tickets(std::sync::atomic::AtomicUsize);

impl rustls::client::ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: rustls::pki_types::ServerName<'static>, _: rustls::NamedGroup) {}
    fn kx_hint(&self, _: &rustls::pki_types::ServerName<'_>) -> Option<rustls::NamedGroup> {
        None
    }
    fn set_tls12_session(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls12ClientSessionValue,
    ) {
    }
    fn tls12_session(
        &self,
        _: &rustls::pki_types::ServerName<'_>,
    ) -> Option<rustls::client::Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &rustls::pki_types::ServerName<'static>) {}
    fn insert_tls13_ticket(
        &self,
        _: rustls::pki_types::ServerName<'static>,
        _: rustls::client::Tls13ClientSessionValue,
    ) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    fn take_tls13_ticket(
        &self,
        _: &rustls::pki_types::ServerName<'static>,
    ) -> Option<rustls::client::Tls13ClientSessionValue> {
        None
    }
}

#[tokio::test]
async fn the_server_gives_nothing_to_resume_with() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let end = tls::client(&world.tls(COMMUNE), CENTRE, &world.kept(), &Clock::system()).unwrap();
    let tickets = Arc::new(Tickets::default());
    let mut config = rustls::ClientConfig::clone(&end.config);
    config.resumption = rustls::client::Resumption::store(tickets.clone());
    config.enable_early_data = true;
    let end = tls::End {
        config: Arc::new(config),
        peers: end.peers,
    };
    let client = world::RawClient::new(&end);
    // What the server says after the handshake comes before its answer here.
    let mut link = client.link(Transport::Quic, centre.address).await;
    let (_, _, to_gateway) = up(&mut centre.events).await;
    to_gateway.send(&ToGateway::KeyFrame {
        relay: fanal::media::relay::RelayId(1),
    });
    link.hear().await;
    assert_eq!(tickets.0.load(std::sync::atomic::Ordering::SeqCst), 0);
    centre.stop().await;
}

async fn a_revocation_ends_a_live_link_at_the_reload(over: Transport) {
    let mut world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let link = world.client(COMMUNE).link(over, centre.address).await;
    up(&mut centre.events).await;
    let certificate = std::fs::read_to_string(world.path(&format!("{COMMUNE}.pem"))).unwrap();
    let now = world.now;
    let list = world
        .trial
        .revoke_machine(&certificate, now)
        .unwrap()
        .to_owned();
    world.write("link.crl.pem", &list);
    centre.reload(&world.receiver(any()));
    let (_, cause) = down(&mut centre.events).await;
    assert!(cause.contains("Revoked"), "{cause}");
    within(link.connection.closed()).await;
    centre.stop().await;
}

#[tokio::test]
async fn the_end_of_a_certificate_ends_the_link() {
    let world = World::new();
    let (clock, hand) = Clock::manual(world.now);
    let mut centre = world.accept(any(), &clock);
    let link = world
        .client(COMMUNE)
        .link(Transport::Quic, centre.address)
        .await;
    up(&mut centre.events).await;
    hand.advance(Duration::from_secs(31 * 24 * 3600));
    let (_, cause) = down(&mut centre.events).await;
    assert!(cause.contains("certificate ended"), "{cause}");
    within(link.connection.closed()).await;
    centre.stop().await;
}

#[tokio::test]
async fn of_two_links_of_a_commune_the_newest_wins() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let client = world.client(COMMUNE);
    let first = client.link(Transport::Quic, centre.address).await;
    let (_, one, _) = up(&mut centre.events).await;
    let _second = client.link(Transport::Quic, centre.address).await;
    let (gone, _) = down(&mut centre.events).await;
    assert_eq!(gone, one);
    let (_, two, _) = up(&mut centre.events).await;
    assert!(two > one);
    let error = within(first.connection.closed()).await;
    assert!(error.to_string().contains("newer link"), "{error}");
    centre.stop().await;
}

#[tokio::test]
async fn a_newer_minor_version_is_understood_as_far_as_it_goes() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let mut link = world
        .client(COMMUNE)
        .link(Transport::Quic, centre.address)
        .await;
    up(&mut centre.events).await;
    link.say(r#"{"type":"weather","wind":[1,2]}"#).await;
    link.say(
        r#"{"type":"hello","minor":7,"version":"9.1","wall":5,"name":"B","moon":{"phase":1}}"#,
    )
    .await;
    let Event::Message { message, .. } = next(&mut centre.events).await else {
        panic!("not a message");
    };
    assert_eq!(message, ToReceiver::Unknown);
    let Event::Message { message, .. } = next(&mut centre.events).await else {
        panic!("not a message");
    };
    assert!(matches!(message, ToReceiver::Hello(hello) if hello.minor == 7));
    centre.stop().await;
}

#[tokio::test]
async fn control_messages_have_their_limits() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let client = world.client(COMMUNE);
    for bytes in [
        u32::try_from(MESSAGE_LIMIT + 1)
            .unwrap()
            .to_be_bytes()
            .to_vec(),
        b"\0\0\0\x02{]".to_vec(),
        b"\0\0\0\x10{\"type\":\"hello\"}".to_vec(),
    ] {
        let mut link = client.link(Transport::Quic, centre.address).await;
        up(&mut centre.events).await;
        write_all(&mut link.send, &bytes).await.unwrap();
        let (_, cause) = down(&mut centre.events).await;
        assert!(cause.contains("control message"), "{cause}");
        let closed = within(link.connection.closed()).await;
        assert_eq!(reason(&closed), Reason::ProtocolError);
    }
    centre.stop().await;
}

#[tokio::test]
async fn a_peer_that_takes_no_messages_loses_its_link() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let link = world
        .client(COMMUNE)
        .link(Transport::Quic, centre.address)
        .await;
    let (_, _, to_gateway) = up(&mut centre.events).await;
    let big = ToGateway::Viewings {
        statement: "x".repeat(MESSAGE_LIMIT / 2),
    };
    // More than the queue and the stream's window together hold.
    for _ in 0..64 {
        to_gateway.send(&big);
    }
    let error = within(link.connection.closed()).await;
    assert!(error.to_string().contains("not taken"), "{error}");
    down(&mut centre.events).await;
    centre.stop().await;
}

#[tokio::test]
async fn a_gateway_comes_back_by_itself() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let address = centre.address;
    let wire = centre.wire(Transport::Quic).await;
    let mut commune = world.dial(Transport::Quic, wire.address);
    let (_, one, _) = up(&mut commune.events).await;
    up(&mut centre.events).await;
    centre.stop().await;
    let (gone, _) = down(&mut commune.events).await;
    assert_eq!(gone, one);
    assert_eq!(
        commune.metrics.link_up.with_label_values(&[CENTRE]).get(),
        0
    );
    let mut centre = world.accept_again(address).await;
    let (_, two, _) = up(&mut commune.events).await;
    assert!(two > one);
    up(&mut centre.events).await;
    // A centre that the settings no longer name is left.
    let mut settings = world.gateway(wire.address);
    settings.agreements.clear();
    let read = commune.dialer.read(&settings).unwrap();
    commune.dialer.apply(read);
    let (_, cause) = down(&mut commune.events).await;
    assert!(cause.contains("no longer name"), "{cause}");
    commune.stop().await;
    centre.stop().await;
}

/// First packets of so many handshakes, as a client sends them.
async fn first_packets(world: &World, count: usize) -> Vec<Vec<u8>> {
    let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = sink.local_addr().unwrap();
    let client = world.client(COMMUNE);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let mut buffer = vec![0; 2000];
    while packets.len() < count {
        let connecting = client.begin_quic(address);
        tokio::pin!(connecting);
        loop {
            let length = tokio::select! {
                _ = &mut connecting => panic!("nobody answers there"),
                received = sink.recv(&mut buffer) => received.unwrap(),
            };
            let packet = &buffer[..length];
            // Only a first Initial begins a handshake; others of the same one follow.
            let is_first = |known: &Vec<u8>| source_id(known) != source_id(packet);
            if packets.iter().all(is_first) {
                packets.push(packet.to_vec());
                break;
            }
        }
    }
    packets
}

#[tokio::test]
async fn under_pressure_a_client_must_prove_its_address() {
    let world = World::new();
    let mut centre = world.accept(any(), &Clock::system());
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(centre.address).await.unwrap();
    let mut buffer = vec![0; 2000];
    let mut retries = 0;
    for packet in first_packets(&world, 48).await {
        socket.send(&packet).await.unwrap();
        // Each gets an answer: an Initial with an acknowledgement, or a Retry.
        loop {
            let length = within(socket.recv(&mut buffer)).await.unwrap();
            let kind = buffer[0] >> 4 & 3;
            let is_mine = buffer[6..6 + usize::from(buffer[5])] == *source_id(&packet);
            if length > 0 && buffer[0] & 0x80 != 0 && is_mine {
                retries += usize::from(kind == 3);
                break;
            }
        }
    }
    // All of this place but its first few.
    assert!((40..48).contains(&retries), "{retries} of 48");
    // Another place is let in at once.
    let other = tokio::net::UdpSocket::bind("127.0.0.3:0").await.unwrap();
    other.connect(centre.address).await.unwrap();
    let packets = first_packets(&world, 1).await;
    other.send(&packets[0]).await.unwrap();
    within(other.recv(&mut buffer)).await.unwrap();
    assert_ne!(buffer[0] >> 4 & 3, 3, "a Retry");
    // Who answers is let in all the same.
    let client = world.client(COMMUNE);
    let _link = client.link(Transport::Quic, centre.address).await;
    up(&mut centre.events).await;
    centre.stop().await;
}

/// The source connection id of a long header packet.
fn source_id(packet: &[u8]) -> &[u8] {
    let at = 6 + usize::from(packet[5]);
    &packet[at + 1..at + 1 + usize::from(packet[at])]
}
