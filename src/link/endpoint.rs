//! UDP sockets and transport settings. Each number is measured or argued for
//! beside it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::congestion::CubicConfig;
use quinn::{
    AckFrequencyConfig, Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TokioRuntime,
    TransportConfig, VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::congestion::{self, Known};
use super::socket::{Parity, ParitySocket};
use super::{exchange, tls, tunnel, window};
use crate::config::settings::{Congestion, Uplink};

/// Asked of the kernel for each direction: the usual default of 208 KB loses 1
/// to 2 % of the packets when some cameras' key frames coincide.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// A quiet link says something this often, which also keeps NATs open.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// A link that carries no relays and hears nothing for this long is over.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// One that carries relays is kept for this long: what it has to say first when the path
/// is back takes a round trip, a new link several and the peers' decisions besides.
pub const LONGEST_CUT: Duration = Duration::from_secs(65);
/// The round trip that is assumed before one was measured: a first packet that gets lost is
/// sent again after three of these, where the 333 ms of RFC 9002 make it a second.
const FIRST_RTT: Duration = Duration::from_millis(100);
/// What a probe of a link that hears nothing says: nothing.
pub const PROBE: &[u8] = &[0];
/// Bytes of probes that are kept; nobody reads them.
const PROBES_KEPT: usize = 256;
/// Bytes of all media a receiver takes from one gateway before it has read them.
pub(super) const RECEIVE_WINDOW: u32 = 64 * 1024 * 1024;
/// The same for one stream: a whole access unit and the group around it.
pub(super) const STREAM_RECEIVE_WINDOW: u32 = 12 * 1024 * 1024;
/// Bytes that quinn has beyond what may be under way, at least and at most.
const LEAST_AHEAD: u64 = 4 * 1024;
const MOST_AHEAD: u64 = 256 * 1024;
/// Bytes handed to quinn at a time, at least and at most.
const LEAST_PIECE: usize = 2 * 1024;
const MOST_PIECE: usize = 64 * 1024;
/// Streams that a gateway may open before its first message was read.
pub(super) const FIRST_UNI_STREAMS: u32 = 4;
/// No larger datagrams are tried: beyond, quinn 0.11 swallows EMSGSIZE.
const MTU_LIMIT: u16 = 1452;
/// The acknowledgement delay asked of the peer: a group's tail that is lost is
/// sent again the sooner.
const ACK_DELAY: Duration = Duration::from_millis(5);
/// Pause between two stateless resets. After a kill that is all that gateways learn of
/// it by, with their next keep-alive, of which a thousand send 200 a second: with quinn's
/// 20 ms the last heard of it after half a minute. A reset is smaller than the packet that
/// it answers, so it amplifies nothing, and resets that answer resets soon end.
const RESET_PAUSE: Duration = Duration::from_millis(2);
/// Handshakes whose first packet waits for us to look at it.
const INCOMING_LIMIT: usize = 64;
/// Bytes buffered for one such handshake, and for all.
const INCOMING_BYTES: (u64, u64) = (64 * 1024, 1024 * 1024);

/// Why an endpoint can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error(
        "link socket on {address} ({transport}): {cause}; is the port taken, or the address not of this machine?"
    )]
    Socket {
        /// UDP or TCP.
        transport: &'static str,
        /// Where it should be.
        address: SocketAddr,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Certificates, keys, authorities.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// quinn would not have the TLS settings.
    #[error("link cryptography: {0}")]
    Suite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// The window a link starts with: what the uplink carries in 100 ms, so that a
/// first key frame pays no slow start; 256 KiB where the uplink is not known.
pub fn initial_window(max_bitrate: Option<u64>) -> u64 {
    max_bitrate.map_or(256 * 1024, |bits| {
        (bits / 8 / 10).clamp(64 * 1024, 512 * 1024)
    })
}

/// Bytes that streams may hand to quinn, for this congestion window: a little more, so
/// that it never lacks any, and no more, so that lateness shows in the relays' queues,
/// where something can be done about it.
pub fn send_window(window: u64) -> u64 {
    window + (window / 4).clamp(LEAST_AHEAD, MOST_AHEAD)
}

/// Bytes handed to quinn at a time, for this congestion window: quinn counts such a
/// piece against its send window until the last byte of it is acknowledged.
pub fn piece(window: u64) -> usize {
    usize::try_from(window / 8)
        .unwrap_or(usize::MAX)
        .clamp(LEAST_PIECE, MOST_PIECE)
}

/// What carries QUIC's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// UDP: their size is found out.
    Udp,
    /// A tunnel: all are as large as it takes.
    Tunnel,
}

/// Transport settings of either end.
pub fn transport(
    initial_window: u64,
    uni_streams: u32,
    congestion: Congestion,
    known: &Arc<Known>,
    carrier: Carrier,
) -> TransportConfig {
    let mut acks = AckFrequencyConfig::default();
    acks.max_ack_delay(Some(ACK_DELAY));
    let mut transport = TransportConfig::default();
    match carrier {
        Carrier::Udp => {
            let mut discovery = MtuDiscoveryConfig::default();
            discovery.upper_bound(MTU_LIMIT);
            transport.mtu_discovery_config(Some(discovery));
        }
        Carrier::Tunnel => drop(
            transport
                .mtu_discovery_config(None)
                .initial_mtu(tunnel::DATAGRAM),
        ),
    }
    transport
        .initial_rtt(FIRST_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(
            LONGEST_CUT.as_millis() as u32,
        ))))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(uni_streams))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        // Follows the congestion window later on.
        .send_window(send_window(initial_window))
        .ack_frequency_config(Some(acks))
        .datagram_receive_buffer_size(Some(PROBES_KEPT));
    match congestion {
        Congestion::Fanal => {
            let known = Arc::clone(known);
            let ours = congestion::Config {
                initial_window,
                is_tunnel: carrier == Carrier::Tunnel,
                known,
            };
            transport.congestion_controller_factory(Arc::new(window::Config::new(ours)));
        }
        Congestion::Cubic => {
            let mut cubic = CubicConfig::default();
            cubic.initial_window(initial_window);
            transport.congestion_controller_factory(Arc::new(window::Config::new(cubic)));
        }
    }
    transport
}

/// Client settings towards one centre.
///
/// # Errors
///
/// The TLS settings can't carry QUIC.
pub fn client_config(
    end: &tls::End<rustls::ClientConfig>,
    uplink: &Uplink,
    known: &Arc<Known>,
    carrier: Carrier,
) -> Result<quinn::ClientConfig, Error> {
    let crypto = exchange::Client::new(&end.config)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    // The gateway takes no unidirectional streams at all, and opens the one
    // bidirectional stream itself.
    let mut transport = transport(
        initial_window(uplink.max_bitrate),
        0,
        uplink.congestion,
        known,
        carrier,
    );
    transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Server settings.
///
/// # Errors
///
/// The TLS settings can't carry QUIC.
pub fn server_config(
    end: &tls::End<rustls::ServerConfig>,
    carrier: Carrier,
) -> Result<quinn::ServerConfig, Error> {
    let crypto = exchange::Server::new(&end.config)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(transport(
            initial_window(None),
            FIRST_UNI_STREAMS,
            Congestion::Fanal,
            // It sends control messages only: nobody asks what it knows.
            &Arc::default(),
            carrier,
        )))
        .max_incoming(INCOMING_LIMIT)
        .incoming_buffer_size(INCOMING_BYTES.0)
        .incoming_buffer_size_total(INCOMING_BYTES.1);
    Ok(config)
}

/// What both ends do alike, whatever they are.
pub fn own_config(mut own: EndpointConfig) -> EndpointConfig {
    // The bit that greasing would clear (RFC 9287) tells packets from parity.
    own.grease_quic_bit(false);
    own
}

/// A listening endpoint, and what steers its parity. Must be called on the frames runtime.
///
/// `lasting` ([`tls::lasting_secret`]) makes the stateless reset tokens (RFC 9000
/// 10.3), by which a peer learns with its next packet that this process is a new
/// one, not only when its link has been silent for too long.
pub fn listen(
    address: SocketAddr,
    config: quinn::ServerConfig,
    lasting: [u8; 32],
) -> Result<(Endpoint, Parity), Error> {
    let reset = ResetKey(hmac::Key::new(hmac::HMAC_SHA256, &lasting));
    let mut own = EndpointConfig::new(Arc::new(reset));
    own.cid_generator(|| Box::new(RandomIds))
        .min_reset_interval(RESET_PAUSE);
    socket(address)
        .and_then(|socket| endpoint(socket, own, Some(config)))
        .map_err(|cause| Error::Socket {
            transport: "UDP",
            address,
            cause,
        })
}

/// Makes stateless reset tokens. quinn's own keys are ring's or aws-lc's,
/// whichever its features happen to choose.
struct ResetKey(hmac::Key);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(hmac::sign(&self.0, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        hmac::HMAC_SHA256.digest_algorithm().output_len()
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        hmac::verify(&self.0, data, signature).map_err(|_| quinn::crypto::CryptoError)
    }
}

/// Random connection ids. quinn's own are hashed with a key of the process, so
/// that those of the process before look forged and get no reset.
#[derive(Debug)]
struct RandomIds;

/// Bytes of a connection id: enough that nobody guesses one.
const ID_BYTES: usize = 8;

impl quinn::ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> quinn::ConnectionId {
        let mut id = [0; ID_BYTES];
        // Without the system's randomness there is no TLS either; the ids only
        // have to differ then, and quinn asks again for one that is in use.
        let _ = getrandom::fill(&mut id);
        quinn::ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A dialling endpoint, and what steers its parity, for IPv4 and, where the machine has it, IPv6. Must be
/// called on the frames runtime.
///
/// # Errors
///
/// No UDP socket can be opened.
pub fn dial() -> Result<(Endpoint, Parity), Error> {
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    let (address, socket) = match socket(any) {
        Ok(socket) => (any, Ok(socket)),
        Err(_) => {
            let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
            (any, socket(any))
        }
    };
    socket
        .and_then(|socket| endpoint(socket, EndpointConfig::default(), None))
        .map_err(|cause| Error::Socket {
            transport: "UDP",
            address,
            cause,
        })
}

fn endpoint(
    socket: UdpSocket,
    own: EndpointConfig,
    config: Option<quinn::ServerConfig>,
) -> std::io::Result<(Endpoint, Parity)> {
    let (socket, parity) = ParitySocket::wrap(socket)?;
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new_with_abstract_socket(own_config(own), config, socket, runtime)?;
    Ok((endpoint, parity))
}

fn socket(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        // Both families where nothing narrower was asked for.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_nonblocking(true)?;
    grow(&socket);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Asks for large buffers and says what was granted. The kernel doubles what it
/// grants and caps it at `net.core.rmem_max` and `wmem_max`.
fn grow(socket: &Socket) {
    for (direction, result, granted) in [
        (
            "receive",
            socket.set_recv_buffer_size(SOCKET_BUFFER),
            socket.recv_buffer_size(),
        ),
        (
            "send",
            socket.set_send_buffer_size(SOCKET_BUFFER),
            socket.send_buffer_size(),
        ),
    ] {
        let granted = granted.unwrap_or(0);
        match result {
            Ok(()) if granted >= SOCKET_BUFFER => {
                tracing::debug!(direction, granted, "link socket buffer");
            }
            _ => tracing::warn!(
                direction,
                granted,
                wanted = SOCKET_BUFFER,
                "link socket buffer is small, bursts will be lost; \
                 raise net.core.rmem_max and net.core.wmem_max to 4194304"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::initial_window;

    #[test]
    fn the_first_window_fits_the_uplink() {
        assert_eq!(initial_window(None), 262_144);
        assert_eq!(initial_window(Some(1_000_000)), 65_536);
        assert_eq!(initial_window(Some(20_000_000)), 250_000);
        assert_eq!(initial_window(Some(1_000_000_000)), 524_288);
    }
}
