//! Two QUIC ends in one thread and in virtual time, joined by two emulated paths.
//!
//! quinn's own core with our transport settings, congestion control and parity, and
//! the relay's backlog before it. What a run gives depends on its seed alone.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::path::{Conditions, Fate, Path};
use bytes::{Bytes, BytesMut};
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::config::settings::Congestion;
use fanal::link::congestion::Known;
use fanal::link::endpoint::Carrier;
use fanal::link::redundancy::{Decoder, Encoder, Meter};
use fanal::link::silence::{LOOK_EVERY, Silence};
use fanal::link::stats::{self, Snapshot};
use fanal::link::{endpoint, priority, window};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls;
use quinn::rustls::pki_types::pem::PemObject;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use quinn_proto::{
    Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint, EndpointConfig,
    Event, StreamId, VarInt,
};

const NAME: &str = "corg-13";
/// How long a block of parity stays open after its last packet.
const BLOCK_OPEN: Duration = Duration::from_millis(2);

/// How the link is run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strategy {
    pub(super) congestion: Congestion,
    pub(super) redundancy: bool,
    pub(super) max_bitrate: Option<u64>,
}

/// One end.
struct End {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, Connection)>,
    address: SocketAddr,
    silence: Silence,
}

/// What is under way: to the receiver or not, and its bytes; by arrival.
type UnderWay = BTreeMap<(Duration, u64), (bool, Vec<u8>)>;

pub(super) struct World {
    origin: Instant,
    pub(super) now: Duration,
    gateway: End,
    receiver: End,
    /// Gateway to receiver, and back.
    pub(super) paths: [Path; 2],
    under_way: UnderWay,
    number: u64,
    strategy: Strategy,
    encoder: Encoder,
    flush_at: Option<Duration>,
    block: Option<usize>,
    decoder: Decoder,
    meter: Meter,
    pub(super) known: Arc<Known>,
    metered: (Duration, u64, u64),
    /// Pictures wait for the link, or did lately.
    pub(super) waits: bool,
    pub(super) recovered: u64,
    pub(super) parity_bytes: u64,
    look_at: Duration,
    /// An answer of the receiver is overdue.
    pub(super) is_silent: bool,
}

impl World {
    /// Two ends whose handshake is done.
    pub(super) fn new(conditions: [Conditions; 2], seed: u64, strategy: Strategy) -> Self {
        let origin = Instant::now();
        let wall = Clock::system().now().wall;
        let trial = Trial::new(wall).unwrap();
        let known: Arc<Known> = Arc::default();
        let (client, server) = configurations(&trial, strategy, &known);
        let end = |port, server| End {
            endpoint: Endpoint::new(
                Arc::new(endpoint::own_config(EndpointConfig::default())),
                server,
                true,
                Some([seed as u8; 32]),
            ),
            connection: None,
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            silence: Silence::new(origin),
        };
        let mut world = Self {
            origin,
            now: Duration::ZERO,
            gateway: end(1, None),
            receiver: end(2, Some(Arc::new(server))),
            paths: [
                Path::new(conditions[0], seed),
                Path::new(conditions[1], seed ^ 0xffff),
            ],
            under_way: UnderWay::new(),
            number: 0,
            strategy,
            encoder: Encoder::new(),
            flush_at: None,
            block: None,
            decoder: Decoder::new(),
            meter: Meter::new(),
            known: Arc::clone(&known),
            metered: (Duration::ZERO, 0, 0),
            waits: false,
            recovered: 0,
            parity_bytes: 0,
            look_at: Duration::ZERO,
            is_silent: false,
        };
        let to = world.receiver.address;
        let connected = world.gateway.endpoint.connect(origin, client, to, NAME);
        world.gateway.connection = Some(connected.unwrap());
        world
    }

    fn instant(&self) -> Instant {
        self.origin + self.now
    }

    pub(super) fn gateway(&mut self) -> &mut Connection {
        &mut self.gateway.connection.as_mut().unwrap().1
    }

    pub(super) fn receiver(&mut self) -> Option<&mut Connection> {
        self.receiver
            .connection
            .as_mut()
            .map(|(_, connection)| connection)
    }

    /// When something happens next by itself.
    pub(super) fn next(&mut self) -> Option<Duration> {
        let arrival = self.under_way.keys().next().map(|(at, _)| *at);
        let origin = self.origin;
        let timers = [&mut self.gateway, &mut self.receiver]
            .into_iter()
            .filter_map(|end| end.connection.as_mut()?.1.poll_timeout())
            .map(|at| at.saturating_duration_since(origin));
        let others = [self.look_at].into_iter().chain(arrival);
        timers.chain(others).chain(self.flush_at).min()
    }

    /// Goes to this time and does what is due then.
    pub(super) fn advance(&mut self, to: Duration) {
        self.now = self.now.max(to);
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to_receiver, bytes) = entry.remove();
            self.arrives(to_receiver, bytes);
        }
        if self.flush_at.is_some_and(|at| at <= self.now) {
            self.flush_at = None;
            let sums = self.encoder.flush();
            self.send_sums(sums);
        }
        self.drive();
    }

    fn arrives(&mut self, to_receiver: bool, bytes: Vec<u8>) {
        if !to_receiver {
            return self.handle(false, &bytes);
        }
        let made = if Decoder::is_piece(&bytes) {
            self.decoder.received_piece(&bytes)
        } else {
            self.handle(true, &bytes);
            self.decoder.received(&bytes)
        };
        self.recovered += made.len() as u64;
        for packet in made {
            self.handle(true, &packet);
        }
    }

    fn handle(&mut self, to_receiver: bool, bytes: &[u8]) {
        let now = self.instant();
        let (end, from) = if to_receiver {
            (&mut self.receiver, self.gateway.address)
        } else {
            (&mut self.gateway, self.receiver.address)
        };
        let mut out = Vec::new();
        let event = end
            .endpoint
            .handle(now, from, None, None, BytesMut::from(bytes), &mut out);
        match event {
            Some(DatagramEvent::ConnectionEvent(_, event)) => {
                if let Some((_, connection)) = &mut end.connection {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                let accepted = end.endpoint.accept(incoming, now, &mut out, None);
                end.connection = Some(accepted.map_err(|error| error.cause).unwrap());
            }
            Some(DatagramEvent::Response(_)) | None => {}
        }
    }

    /// Timers, endpoint events, and all that may be sent now.
    pub(super) fn drive(&mut self) {
        self.meter();
        self.look();
        let now = self.instant();
        for to_receiver in [true, false] {
            let end = if to_receiver {
                &mut self.gateway
            } else {
                &mut self.receiver
            };
            let Some((handle, connection)) = &mut end.connection else {
                continue;
            };
            if connection.poll_timeout().is_some_and(|at| at <= now) {
                connection.handle_timeout(now);
            }
            while let Some(event) = connection.poll_endpoint_events() {
                if let Some(event) = end.endpoint.handle_event(*handle, event) {
                    connection.handle_event(event);
                }
            }
            let mut buffer = Vec::new();
            let mut datagrams = Vec::new();
            while let Some(transmit) = connection.poll_transmit(now, 10, &mut buffer) {
                let size = transmit.segment_size.unwrap_or(transmit.size);
                datagrams.extend(buffer[..transmit.size].chunks(size).map(<[u8]>::to_vec));
                buffer.clear();
            }
            for datagram in datagrams {
                self.send(to_receiver, datagram);
            }
        }
    }

    fn send(&mut self, to_receiver: bool, datagram: Vec<u8>) {
        if let (true, Some(block)) = (to_receiver, self.block) {
            let sums = self.encoder.sent(&datagram, block);
            self.put(true, datagram);
            self.send_sums(sums);
            self.flush_at = self.encoder.is_open().then(|| self.now + BLOCK_OPEN);
        } else {
            self.put(to_receiver, datagram);
        }
    }

    fn send_sums(&mut self, sums: Vec<Vec<u8>>) {
        for sum in sums {
            self.parity_bytes += sum.len() as u64;
            self.put(true, sum);
        }
    }

    fn put(&mut self, to_receiver: bool, datagram: Vec<u8>) {
        // IPv4 and UDP headers.
        let path = &mut self.paths[usize::from(!to_receiver)];
        if let Fate::Arrives(at) = path.send(self.now, datagram.len() + 28) {
            self.number += 1;
            self.under_way
                .insert((at, self.number), (to_receiver, datagram));
        }
    }

    /// Both ends look whether they hear each other, and probe.
    fn look(&mut self) {
        if self.now < self.look_at {
            return;
        }
        self.look_at = self.now + LOOK_EVERY;
        let now = self.instant();
        for (at, end) in [&mut self.gateway, &mut self.receiver]
            .into_iter()
            .enumerate()
        {
            let Some((_, connection)) = &mut end.connection else {
                continue;
            };
            let stats = connection.stats();
            let figures = Snapshot {
                rtt: connection.rtt(),
                asked: stats::asked(&stats.frame_tx),
                answered: window::answered(connection.congestion_state().clone_box()),
                received_bytes: stats.udp_rx.bytes,
                ..Snapshot::default()
            };
            let look = end.silence.look(now, figures, true);
            if look.probe {
                window::open_for_probe(connection.congestion_state().clone_box(), now);
                // Before the handshake is over there is nothing to be sent in.
                let _ = connection
                    .datagrams()
                    .send(Bytes::from_static(endpoint::PROBE), true);
            }
            if at == 0 {
                self.is_silent = look.is_silent;
            }
        }
    }

    /// Four times a second, as the link does.
    fn meter(&mut self) {
        let (at, sent, lost) = self.metered;
        if self.now < at + Duration::from_millis(250) {
            return;
        }
        let recovered = self.recovered;
        let stats = self.gateway().stats();
        let lost_now = stats.path.lost_packets.max(recovered);
        let sent_now = stats.udp_tx.datagrams;
        self.metered = (self.now, sent_now, lost_now);
        let block = self.meter.note(self.now, sent_now - sent, lost_now - lost);
        let has_room = !self.known.queues() && !self.waits;
        self.block = block.filter(|_| self.strategy.redundancy && has_room);
    }

    pub(super) fn open(&mut self, priority: i32) -> Option<StreamId> {
        let connection = self.gateway();
        let id = connection.streams().open(Dir::Uni)?;
        connection.send_stream(id).set_priority(priority).unwrap();
        Some(id)
    }

    /// Opens a stream that both ends write on.
    pub(super) fn open_both_ways(&mut self) -> Option<StreamId> {
        let connection = self.gateway();
        let id = connection.streams().open(Dir::Bi)?;
        let mut stream = connection.send_stream(id);
        stream.set_priority(priority::CONTROL).unwrap();
        stream.write(&[0]).unwrap();
        Some(id)
    }

    /// Writes at the receiver; what is left stays.
    pub(super) fn write_back(&mut self, id: StreamId, bytes: &mut Bytes) {
        let Some(connection) = self.receiver() else {
            return;
        };
        connection.streams().accept(Dir::Bi);
        if bytes.is_empty() {
            // An empty write would be sent as an empty frame.
            return;
        }
        let taken = connection.send_stream(id).write(bytes);
        // An error says that the stream is not known there yet, or is full.
        *bytes = bytes.split_off(taken.unwrap_or(0));
    }

    /// What that stream has to read at the gateway.
    pub(super) fn read_back(&mut self, id: StreamId) -> Vec<u8> {
        read_all(self.gateway(), id).0
    }

    /// Hands over what the link takes; what is left of it stays.
    pub(super) fn write(&mut self, id: StreamId, bytes: &mut Bytes) {
        let window = self.gateway().stats().path.cwnd;
        self.gateway()
            .set_send_window(endpoint::send_window(window));
        while !bytes.is_empty() {
            let mut piece = bytes.split_to(bytes.len().min(endpoint::piece(window)));
            let mut stream = self.gateway.connection.as_mut().unwrap().1.send_stream(id);
            let taken = stream.write_chunks(std::slice::from_mut(&mut piece));
            if !piece.is_empty() {
                let left = BytesMut::from(&piece[..]);
                *bytes = [&left[..], &bytes[..]].concat().into();
            }
            if taken.is_err() || !piece.is_empty() {
                return;
            }
        }
    }

    pub(super) fn finish(&mut self, id: StreamId) {
        let mut stream = self.gateway.connection.as_mut().unwrap().1.send_stream(id);
        stream.finish().unwrap();
        stream.set_priority(priority::SUPERSEDED).unwrap();
    }

    pub(super) fn reset(&mut self, id: StreamId) {
        // An error says that all of it was acknowledged.
        let _ = self.gateway().send_stream(id).reset(VarInt::from_u32(1));
    }

    /// Closes the link at the gateway.
    pub(super) fn close(&mut self, code: u32) {
        let now = self.instant();
        let connection = self.gateway();
        window::open_for_close(connection.congestion_state().clone_box());
        connection.close(now, VarInt::from_u32(code), Bytes::new());
        self.drive();
    }

    /// The code that the receiver was told with the link's end.
    pub(super) fn told(&mut self) -> Option<u64> {
        while let Some(event) = self.receiver()?.poll() {
            if let Event::ConnectionLost { reason } = event {
                let ConnectionError::ApplicationClosed(close) = reason else {
                    panic!("{reason}");
                };
                return Some(close.error_code.into_inner());
            }
        }
        None
    }

    pub(super) fn lower(&mut self, id: StreamId) {
        let _ = self
            .gateway()
            .send_stream(id)
            .set_priority(priority::SUPERSEDED);
    }

    /// All that can be read at the receiver: bytes, and whether the stream is over
    /// (`Some(true)`: complete).
    pub(super) fn read(&mut self) -> VecDeque<(StreamId, Vec<u8>, Option<bool>)> {
        let mut read = VecDeque::new();
        let Some(connection) = self.receiver() else {
            return read;
        };
        while let Some(event) = connection.poll() {
            assert!(!matches!(event, Event::ConnectionLost { .. }), "{event:?}");
        }
        while let Some(id) = connection.streams().accept(Dir::Uni) {
            read.push_back((id, Vec::new(), None));
        }
        read
    }

    /// What one stream has to read.
    pub(super) fn read_stream(&mut self, id: StreamId) -> (Vec<u8>, Option<bool>) {
        match self.receiver() {
            Some(connection) => read_all(connection, id),
            None => (Vec::new(), None),
        }
    }
}

fn read_all(connection: &mut Connection, id: StreamId) -> (Vec<u8>, Option<bool>) {
    let mut bytes = Vec::new();
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else {
        return (bytes, Some(false));
    };
    let over = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => bytes.extend_from_slice(&chunk.bytes),
            Ok(None) => break Some(true),
            Err(quinn_proto::ReadError::Blocked) => break None,
            Err(quinn_proto::ReadError::Reset(_)) => break Some(false),
        }
    };
    let _ = chunks.finalize();
    (bytes, over)
}

fn configurations(
    trial: &Trial,
    strategy: Strategy,
    known: &Arc<Known>,
) -> (quinn_proto::ClientConfig, quinn_proto::ServerConfig) {
    let identity = trial.machine(NAME).unwrap();
    let certificate = CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(trial.link_authority().as_bytes());
    roots.add(authority.unwrap()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let window = endpoint::initial_window(strategy.max_bitrate);
    let client = QuicClientConfig::try_from(Arc::new(client)).unwrap();
    let mut client = quinn_proto::ClientConfig::new(Arc::new(client));
    let transport = endpoint::transport(window, 0, strategy.congestion, known, Carrier::Udp);
    client.transport_config(Arc::new(transport));
    let server = QuicServerConfig::try_from(Arc::new(server)).unwrap();
    let mut server = quinn_proto::ServerConfig::with_crypto(Arc::new(server));
    let transport = endpoint::transport(
        window,
        4_096,
        Congestion::Cubic,
        &Arc::default(),
        Carrier::Udp,
    );
    server.transport_config(Arc::new(transport));
    (client, server)
}
