//! RTP and RTCP in datagrams, to the TCP peer's address only.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::out_tcp::SEND_BUFFER;
use crate::media::packets::Packetised;

/// Packets sent at once; a key frame in one burst overruns players' socket buffers.
const BURST: usize = 4;

/// Pause after [`BURST`] packets: some 20 to 45 Mbit/s, so that a player that looks
/// every 20 ms finds less than Linux's default buffer holds.
const PAUSE: Duration = Duration::from_millis(1);

/// How often a pair of neighbouring ports is tried.
const PAIR_ATTEMPTS: usize = 16;

/// A viewer's pair of sockets, and the packets of the picture on its way.
#[derive(Debug)]
pub(super) struct Sender {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    pending: VecDeque<Bytes>,
    resume_at: Instant,
}

impl Sender {
    /// Binds an even port and the next (RFC 3550 11) on the address of `local`, for
    /// the client's ports at that of `peer`. Datagrams of others are not even seen.
    pub(super) async fn bind(
        local: SocketAddr,
        peer: SocketAddr,
        (rtp_port, rtcp_port): (u16, u16),
    ) -> io::Result<Self> {
        let (rtp, rtcp) = bind_pair(local).await?;
        rtp.connect(with_port(peer, rtp_port)).await?;
        rtcp.connect(with_port(peer, rtcp_port)).await?;
        // A smaller buffer only costs packets in bursts.
        let _ = SockRef::from(&rtp).set_send_buffer_size(SEND_BUFFER);
        Ok(Self {
            rtp,
            rtcp,
            pending: VecDeque::new(),
            resume_at: Instant::now(),
        })
    }

    /// Our ports of RTP and RTCP.
    pub(super) fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((
            self.rtp.local_addr()?.port(),
            self.rtcp.local_addr()?.port(),
        ))
    }

    /// Queues a picture's packets.
    pub(super) fn push(&mut self, packets: &Packetised) {
        self.pending.extend(packets.iter());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Forgets what was not sent yet.
    pub(super) fn clear(&mut self) {
        self.pending.clear();
    }

    /// Sends a report; lost where the socket is full, another follows.
    pub(super) fn report(&self, report: &[u8]) {
        let _ = self.rtcp.try_send(report);
    }

    /// Sends what is queued, in paced bursts. Cancel-safe.
    pub(super) async fn flush(&mut self) {
        while !self.pending.is_empty() {
            sleep_until(self.resume_at).await;
            for _ in 0..BURST {
                let Some(packet) = self.pending.front() else {
                    return;
                };
                match self.rtp.try_send(packet) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        // An error shows again at the next packet.
                        let _ = self.rtp.writable().await;
                        break;
                    }
                    // The answer to an earlier packet (nobody listens there any
                    // more): who is gone is told by the signs of life.
                    Err(_) => {}
                }
                self.pending.pop_front();
            }
            self.resume_at = Instant::now() + PAUSE;
        }
    }

    /// Returns when the viewer gave a sign of life. Cancel-safe.
    pub(super) async fn heard(&self) {
        let mut space = [0; 64];
        let mut other = [0; 64];
        loop {
            // Longer datagrams are cut short, which is no error here.
            let heard = tokio::select! {
                heard = self.rtcp.recv(&mut space) => heard,
                heard = self.rtp.recv(&mut other) => heard,
            };
            if heard.is_ok() {
                return;
            }
        }
    }
}

/// The same address, a link-local one's zone included.
const fn with_port(mut address: SocketAddr, port: u16) -> SocketAddr {
    address.set_port(port);
    address
}

async fn bind_pair(local: SocketAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..PAIR_ATTEMPTS {
        let one = UdpSocket::bind(with_port(local, 0)).await?;
        let port = one.local_addr()?.port();
        match UdpSocket::bind(with_port(local, port ^ 1)).await {
            Ok(other) if port % 2 == 0 => return Ok((one, other)),
            Ok(other) => return Ok((other, one)),
            Err(error) => last = error,
        }
    }
    Err(last)
}
