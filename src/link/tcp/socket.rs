//! TCP sockets of links: listening, dialling, the TLS handshake.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::task::TaskTracker;

use super::mux::Role;
use super::{Connection, Peer};
use crate::link::endpoint::Error;
use crate::link::tls::{self, ALPN_TCP};

/// Bytes that the kernel may hold unsent. What waits there can't be taken back;
/// at 2 Mbit/s this is an eighth of a second.
const UNSENT_LIMIT: u32 = 32 * 1024;
/// Connections that the kernel keeps for us to take.
const BACKLOG: i32 = 128;

/// Server settings: those of QUIC with this protocol's name.
pub fn server_config(end: &tls::End<rustls::ServerConfig>) -> Arc<rustls::ServerConfig> {
    let mut config = rustls::ServerConfig::clone(&end.config);
    config.alpn_protocols = vec![ALPN_TCP.to_vec()];
    Arc::new(config)
}

/// Client settings: those of QUIC with this protocol's name.
pub fn client_config(end: &tls::End<rustls::ClientConfig>) -> Arc<rustls::ClientConfig> {
    let mut config = rustls::ClientConfig::clone(&end.config);
    config.alpn_protocols = vec![ALPN_TCP.to_vec()];
    Arc::new(config)
}

/// A listening socket. Must be called on the frames runtime.
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

/// The receiver's handshake on a connection that was taken. The task that serves
/// it is spawned on `drivers`.
pub async fn accept(
    stream: TcpStream,
    config: Arc<rustls::ServerConfig>,
    drivers: &TaskTracker,
) -> std::io::Result<Connection> {
    prepare(&stream)?;
    let address = stream.peer_addr()?;
    let stream = TlsAcceptor::from(config).accept(stream).await?;
    let (_, session) = stream.get_ref();
    let peer = peer(address, session)?;
    let (connection, driver) = Connection::new(Role::Receiver, peer, stream);
    drivers.spawn(driver);
    Ok(connection)
}

/// Connects to a receiver, up to the end of the handshake. The task that serves
/// the connection is spawned on `drivers`.
pub async fn dial(
    address: SocketAddr,
    name: ServerName<'static>,
    config: Arc<rustls::ClientConfig>,
    drivers: &TaskTracker,
) -> std::io::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    prepare(&stream)?;
    let stream = TlsConnector::from(config).connect(name, stream).await?;
    let (_, session) = stream.get_ref();
    let peer = peer(address, session)?;
    let (connection, driver) = Connection::new(Role::Gateway, peer, stream);
    drivers.spawn(driver);
    Ok(connection)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_LIMIT)
}

/// What the handshake says of the peer.
fn peer<Data>(
    address: SocketAddr,
    session: &rustls::ConnectionCommon<Data>,
) -> std::io::Result<Peer> {
    if session.alpn_protocol() != Some(ALPN_TCP) {
        // rustls lets a peer that names no protocol at all pass.
        return Err(std::io::Error::other("the peer does not speak fanal/1-tcp"));
    }
    let group = session.negotiated_key_exchange_group();
    Ok(Peer {
        address,
        certificates: session
            .peer_certificates()
            .unwrap_or_default()
            .iter()
            .map(|certificate| certificate.clone().into_owned())
            .collect(),
        key_exchange: group.map_or_else(String::new, |group| format!("{:?}", group.name())),
    })
}
