//! QUIC's datagrams over one TCP connection, for networks that let no UDP out.
//!
//! A datagram is its length in two bytes, big-endian, and its bytes. TLS around them only
//! looks like TLS to firewalls: the gateway takes any certificate there and shows none. Who
//! the peer is QUIC finds out inside, as over UDP, also behind a firewall that opens TLS.
//! One tunnel carries one connection, from an endpoint of its own, so that a full socket
//! holds up nothing else.
//!
//! One lost segment holds up every stream, which is why this is the fall-back. TCP loses
//! and reorders nothing, so QUIC's congestion control sees only the round trip grow as its
//! queue does, and keeps it short: little waits in the kernel unsent, and a stream that is
//! reset or late is not sent.
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | a datagram that has come in part | [`DATAGRAM`] bytes | a longer one ends the tunnel |
//! | what the socket did not take | [`BATCH`] datagrams, as TLS records | QUIC waits |
//! | unsent in the kernel | [`UNSENT_LIMIT`] | the socket takes nothing |

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Connecting, Endpoint, EndpointConfig, TokioRuntime, UdpPoller};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::congestion::Known;
use super::endpoint::{self, Carrier, Error};
use super::tls;
use super::transport::{Closed, Connection};
use crate::config::settings::Uplink;

/// Bytes of a datagram at most: what UDP has at best. Larger ones would save little, and
/// quinn has room for 32 of them at each endpoint.
pub const DATAGRAM: u16 = 1_452;
/// Datagrams that QUIC hands over at once: one TLS record, which can't be taken back.
const BATCH: usize = 4;
/// Bytes that the kernel may hold unsent, which can't be taken back either.
const UNSENT_LIMIT: u32 = 16 * 1024;
/// Connections that the kernel keeps for us to take.
const BACKLOG: i32 = 128;
/// What a web browser offers and most servers choose.
const ORDINARY: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Settings of the dialling end.
#[derive(Clone, Debug)]
pub struct Client {
    outer: Arc<rustls::ClientConfig>,
    inner: quinn::ClientConfig,
    /// What is asked for outside: the name that was dialled, or an address, which TLS
    /// doesn't say.
    host: ServerName<'static>,
}

impl Client {
    /// Towards the centre of `end`. `address`: its name and port. What congestion control
    /// learns of the way goes to `known`.
    ///
    /// # Errors
    /// quinn or rustls would not have the TLS settings.
    pub fn new(
        end: &tls::End<rustls::ClientConfig>,
        address: &str,
        uplink: &Uplink,
        known: &Arc<Known>,
    ) -> Result<Self, Error> {
        let provider = Arc::clone(end.config.crypto_provider());
        let anybody = Arc::new(Anybody(provider.signature_verification_algorithms));
        let mut outer = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls::Error::from)?
            .dangerous()
            .with_custom_certificate_verifier(anybody)
            .with_no_client_auth();
        outer.alpn_protocols = ORDINARY.map(<[u8]>::to_vec).to_vec();
        outer.resumption = rustls::client::Resumption::disabled();
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            outer: Arc::new(outer),
            inner: endpoint::client_config(end, uplink, known, Carrier::Tunnel)?,
            host: ServerName::try_from(host)
                .unwrap_or_else(|_| std::net::Ipv4Addr::UNSPECIFIED.into()),
        })
    }

    /// The certificate that is shown outside, by the one that answers there: a receiver, or what
    /// opens TLS on the way.
    ///
    /// # Errors
    /// As [`Client::dial`].
    pub async fn shown(&self, address: SocketAddr) -> io::Result<Option<CertificateDer<'static>>> {
        let stream = TcpStream::connect(address).await?;
        let connector = TlsConnector::from(Arc::clone(&self.outer));
        let stream = connector.connect(self.host.clone(), stream).await?;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(<[_]>::first);
        Ok(shown.map(|certificate| certificate.clone().into_owned()))
    }

    /// Connects to a receiver: TCP, and the TLS outside. Nothing is said of who we are.
    ///
    /// # Errors
    /// The system's, or TLS's. It has no limit in time of its own: the caller has.
    pub async fn dial(&self, address: SocketAddr) -> io::Result<Dialled> {
        let stream = TcpStream::connect(address).await?;
        prepare(&stream)?;
        let connector = TlsConnector::from(Arc::clone(&self.outer));
        let (tcp, session) = connector
            .connect(self.host.clone(), stream)
            .await?
            .into_inner();
        Ok(Dialled {
            tunnel: Tunnel::new(tcp, session.into())?,
            inner: self.inner.clone(),
        })
    }
}

/// A tunnel to a receiver through which nothing was said yet.
#[derive(Debug)]
pub struct Dialled {
    tunnel: Arc<Tunnel>,
    inner: quinn::ClientConfig,
}

impl Dialled {
    /// A QUIC handshake through it, with a receiver of this name. The task that ends the
    /// tunnel is spawned on `carriers`. Must be called on the frames runtime.
    ///
    /// # Errors
    /// What QUIC says of the handshake. It has no limit in time of its own.
    pub async fn connect(self, name: &str, carriers: &TaskTracker) -> Result<Connection, String> {
        let Self { tunnel, inner } = self;
        let endpoint = tunnel.endpoint(None).map_err(|error| error.to_string())?;
        let connecting = endpoint
            .connect_with(inner, tunnel.remote, name)
            .map_err(|error| error.to_string())?;
        carriers.spawn(carry(Arc::clone(&tunnel), endpoint));
        tunnel.connected(connecting).await
    }
}

/// Settings of the listening end.
#[derive(Clone, Debug)]
pub struct Server {
    outer: Arc<rustls::ServerConfig>,
    inner: quinn::ServerConfig,
}

impl Server {
    /// Those of the receiver's links, whose certificate is shown outside too.
    ///
    /// # Errors
    /// quinn would not have the TLS settings.
    pub fn new(end: &tls::End<rustls::ServerConfig>) -> Result<Self, Error> {
        let provider = Arc::clone(end.config.crypto_provider());
        let mut outer = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls::Error::from)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&end.config.cert_resolver));
        outer.alpn_protocols = ORDINARY.map(<[u8]>::to_vec).to_vec();
        outer.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        outer.send_tls13_tickets = 0;
        Ok(Self {
            outer: Arc::new(outer),
            inner: endpoint::server_config(end, Carrier::Tunnel)?,
        })
    }

    /// The receiver's handshakes on a connection that was taken: TLS's and QUIC's. The
    /// task that ends the tunnel is spawned on `carriers`. Must be called on the frames
    /// runtime.
    ///
    /// # Errors
    /// What ended either handshake. It has no limit in time of its own: the caller has.
    pub async fn accept(
        self,
        stream: TcpStream,
        carriers: &TaskTracker,
    ) -> Result<Connection, String> {
        let outside = async {
            prepare(&stream)?;
            let acceptor = TlsAcceptor::from(self.outer);
            let (tcp, session) = acceptor.accept(stream).await?.into_inner();
            Tunnel::new(tcp, session.into())
        };
        let tunnel = outside.await.map_err(|error| format!("TCP: {error}"))?;
        let endpoint = tunnel
            .endpoint(Some(self.inner))
            .map_err(|error| error.to_string())?;
        let incoming = tokio::select! {
            Some(incoming) = endpoint.accept() => incoming,
            cause = tunnel.over() => return Err(cause),
        };
        // One connection a tunnel.
        endpoint.set_server_config(None);
        let connecting = incoming
            .accept()
            .map_err(|error| Closed::from(error).to_string())?;
        carriers.spawn(carry(Arc::clone(&tunnel), endpoint));
        tunnel.connected(connecting).await
    }
}

/// A listening socket. Must be called on the frames runtime.
///
/// # Errors
///
/// The address is taken or not of this machine.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            // Both families where nothing narrower was asked for.
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        // Connections of the process before linger; they must not keep us out.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|cause| Error::Socket {
        transport: "TCP",
        address,
        cause,
    })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_LIMIT)
}

/// Ends the tunnel once its connection is over and has said so.
async fn carry(tunnel: Arc<Tunnel>, endpoint: Endpoint) {
    endpoint.wait_idle().await;
    tunnel.shut();
}

/// A TCP connection as QUIC's socket.
#[derive(Debug)]
pub(super) struct Tunnel {
    tcp: TcpStream,
    local: SocketAddr,
    remote: SocketAddr,
    inner: Mutex<Inner>,
    /// The TCP connection is of no use any more.
    over: CancellationToken,
    sent_bytes: AtomicU64,
}

#[derive(Debug)]
struct Inner {
    session: rustls::Connection,
    frame: Frame,
    /// quinn's endpoint: it alone waits for the socket.
    driver: Option<Waker>,
    /// quinn's connection, which waits until TLS has nothing left for the socket.
    writer: Option<Waker>,
    /// Why it is over.
    cause: Option<String>,
}

impl Tunnel {
    fn new(tcp: TcpStream, session: rustls::Connection) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            local: tcp.local_addr()?,
            remote: tcp.peer_addr()?,
            tcp,
            inner: Mutex::new(Inner {
                session,
                frame: Frame::default(),
                driver: None,
                writer: None,
                cause: None,
            }),
            over: CancellationToken::new(),
            sent_bytes: AtomicU64::new(0),
        }))
    }

    fn endpoint(self: &Arc<Self>, config: Option<quinn::ServerConfig>) -> io::Result<Endpoint> {
        let mut own = endpoint::own_config(EndpointConfig::default());
        own.max_udp_payload_size(DATAGRAM)
            .map_err(io::Error::other)?;
        let socket: Arc<dyn AsyncUdpSocket> = Arc::clone(self) as _;
        Endpoint::new_with_abstract_socket(own, config, socket, Arc::new(TokioRuntime))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes handed to the kernel, TLS's included.
    pub(super) fn sent_bytes(&self) -> u64 {
        self.sent_bytes.load(Ordering::Relaxed)
    }

    /// Waits until the TCP connection is of no use any more; says why.
    pub(super) async fn over(&self) -> String {
        self.over.cancelled().await;
        self.lock().cause.clone().unwrap_or_default()
    }

    async fn connected(self: Arc<Self>, connecting: Connecting) -> Result<Connection, String> {
        let connected = tokio::select! {
            biased;
            connected = connecting => connected,
            cause = self.over() => return Err(cause),
        };
        match connected {
            Ok(connection) => Ok(Connection::tunnelled(connection, self)),
            Err(error) => Err(Closed::from(error).to_string()),
        }
    }

    /// Tells the peer, and waits for nothing.
    fn shut(&self) {
        let mut inner = self.lock();
        inner.session.send_close_notify();
        // The kernel takes it or it doesn't.
        let _ = self.flush(&mut inner);
        let _ = SockRef::from(&self.tcp).shutdown(std::net::Shutdown::Both);
    }

    /// Notes that the TCP connection is of no use any more.
    fn fail(&self, inner: &mut Inner, cause: impl std::fmt::Display) {
        inner.cause.get_or_insert_with(|| format!("TCP: {cause}"));
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        self.over.cancel();
    }

    /// Hands the kernel what TLS has; says whether it took all.
    fn flush(&self, inner: &mut Inner) -> io::Result<bool> {
        while inner.session.wants_write() {
            match inner.session.write_tls(&mut Io(&self.tcp)) {
                Ok(count) => drop(self.sent_bytes.fetch_add(count as u64, Ordering::Relaxed)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// The same, and waits for the kernel.
    fn poll_flush(&self, inner: &mut Inner, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.flush(inner)? {
            match self.tcp.poll_write_ready(cx) {
                Poll::Ready(ready) => ready?,
                Poll::Pending => return Ok(()),
            }
        }
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        Ok(())
    }

    /// Takes datagrams until the buffers are full or nothing more has come; how many.
    fn receive(
        &self,
        inner: &mut Inner,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> io::Result<usize> {
        let mut count = 0;
        loop {
            for (buffer, meta) in bufs.iter_mut().zip(meta.iter_mut()).skip(count) {
                let Some(datagram) = inner.frame.next(&mut inner.session.reader())? else {
                    break;
                };
                let length = datagram.len();
                let Some(place) = buffer.get_mut(..length) else {
                    return Err(io::Error::other("a datagram longer than QUIC's buffer"));
                };
                place.copy_from_slice(datagram);
                *meta = RecvMeta {
                    addr: self.remote,
                    len: length,
                    stride: length,
                    ecn: None,
                    dst_ip: None,
                };
                count += 1;
            }
            // More is read once TLS has nothing left of what was.
            if count > 0 || self.tcp.poll_read_ready(cx)?.is_pending() {
                return Ok(count);
            }
            match inner.session.read_tls(&mut Io(&self.tcp)) {
                Ok(0) => return Err(io::Error::other("the peer hung up")),
                Ok(_) => {
                    inner
                        .session
                        .process_new_packets()
                        .map_err(io::Error::other)?;
                    self.poll_flush(inner, cx)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsyncUdpSocket for Tunnel {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller(self))
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut inner = self.lock();
        // A packet for nobody gets lost, as with UDP; the tunnel's end is told otherwise.
        if inner.cause.is_some() {
            return Ok(());
        }
        if inner.session.wants_write() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = transmit.segment_size.unwrap_or(transmit.contents.len());
        let datagrams: Vec<&[u8]> = transmit.contents.chunks(size.max(1)).collect();
        let lengths: Vec<[u8; 2]> = datagrams
            .iter()
            .map(|datagram| (datagram.len() as u16).to_be_bytes())
            .collect();
        let pieces: Vec<IoSlice<'_>> = lengths
            .iter()
            .zip(&datagrams)
            .flat_map(|(length, datagram)| [IoSlice::new(length), IoSlice::new(datagram)])
            .collect();
        let total = transmit.contents.len() + 2 * datagrams.len();
        let written = inner.session.writer().write_vectored(&pieces);
        let flushed = match written {
            Ok(taken) if taken == total => self.flush(&mut inner),
            Ok(_) => Err(io::Error::other("TLS takes no more")),
            Err(error) => Err(error),
        };
        match flushed {
            Ok(true) => {}
            // The driver waits for the socket.
            Ok(false) => {
                if let Some(driver) = inner.driver.take() {
                    driver.wake();
                }
            }
            Err(error) => self.fail(&mut inner, error),
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock();
        if inner.cause.is_some() {
            return Poll::Pending;
        }
        inner.driver = Some(cx.waker().clone());
        let came = match self.poll_flush(&mut inner, cx) {
            Ok(()) => self.receive(&mut inner, cx, bufs, meta),
            Err(error) => Err(error),
        };
        match came {
            Ok(0) => Poll::Pending,
            Ok(count) => Poll::Ready(Ok(count)),
            Err(error) => {
                self.fail(&mut inner, error);
                Poll::Pending
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.local)
    }

    fn max_transmit_segments(&self) -> usize {
        BATCH
    }
}

/// Waits until TLS has handed all to the socket. A tunnel has one connection, so one waits.
#[derive(Debug)]
struct Poller(Arc<Tunnel>);

impl UdpPoller for Poller {
    fn poll_writable(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.cause.is_some() || !inner.session.wants_write() {
            return Poll::Ready(Ok(()));
        }
        inner.writer = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// A socket's bytes, without waiting.
struct Io<'a>(&'a TcpStream);

impl Read for Io<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Io<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A datagram as it comes, in pieces of any size.
#[derive(Debug, Default)]
struct Frame {
    head: [u8; 2],
    body: Vec<u8>,
    /// Bytes of both that have come.
    come: usize,
}

impl Frame {
    /// The next datagram, once all of it has come.
    fn next(&mut self, from: &mut impl Read) -> io::Result<Option<&[u8]>> {
        loop {
            let at = self.come.saturating_sub(2);
            let rest = match self.head.get_mut(self.come..) {
                Some(rest) if !rest.is_empty() => rest,
                _ => &mut self.body[at..],
            };
            match from.read(rest) {
                Ok(0) => return Err(io::Error::other("the peer hung up")),
                Ok(count) => self.come += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
            if self.come == 2 {
                let length = u16::from_be_bytes(self.head);
                if length == 0 || length > DATAGRAM {
                    let cause =
                        format!("the peer broke the protocol: a datagram of {length} bytes");
                    return Err(io::Error::other(cause));
                }
                self.body.resize(usize::from(length), 0);
            } else if self.come == 2 + self.body.len() {
                self.come = 0;
                return Ok(Some(&self.body));
            }
        }
    }
}

/// Takes any certificate: what is around QUIC proves nothing, and need not. Who reads
/// along here sees what he would see of UDP.
#[derive(Debug)]
struct Anybody(rustls::crypto::WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What has come so far, then nothing for now.
    struct Come<'a>(&'a [u8]);

    impl Read for Come<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.0.is_empty() {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.0.read(buffer)
        }
    }

    fn take(frame: &mut Frame, bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        let mut come = Come(bytes);
        let mut datagrams = Vec::new();
        while let Some(datagram) = frame.next(&mut come)? {
            datagrams.push(datagram.to_vec());
        }
        Ok(datagrams)
    }

    fn sample() -> (Vec<u8>, Vec<Vec<u8>>) {
        let datagrams = vec![vec![1; 1], vec![2; usize::from(DATAGRAM)], vec![3; 300]];
        let mut bytes = Vec::new();
        for datagram in &datagrams {
            bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
            bytes.extend_from_slice(datagram);
        }
        (bytes, datagrams)
    }

    #[test]
    fn datagrams_come_back_whatever_pieces_they_came_in() {
        let (bytes, datagrams) = sample();
        assert_eq!(take(&mut Frame::default(), &bytes).unwrap(), datagrams);
        for size in [1, 2, 3, 1_000] {
            let mut frame = Frame::default();
            let come: Vec<Vec<u8>> = bytes
                .chunks(size)
                .flat_map(|piece| take(&mut frame, piece).unwrap())
                .collect();
            assert_eq!(come, datagrams, "pieces of {size}");
        }
        for end in 0..bytes.len() {
            let mut frame = Frame::default();
            let mut come = take(&mut frame, &bytes[..end]).unwrap();
            come.extend(take(&mut frame, &bytes[end..]).unwrap());
            assert_eq!(come, datagrams, "split at {end}");
        }
    }

    #[test]
    fn no_more_than_a_datagram_is_kept_of_what_a_peer_sends() {
        for length in [0, DATAGRAM + 1, u16::MAX] {
            let error = take(&mut Frame::default(), &length.to_be_bytes()).unwrap_err();
            assert!(error.to_string().contains("broke the protocol"), "{error}");
        }
        let mut frame = Frame::default();
        take(&mut frame, &DATAGRAM.to_be_bytes()).unwrap();
        assert_eq!(frame.body.capacity(), usize::from(DATAGRAM));
    }
}
