//! The media of one camera over UDP: a pair of ports, and only what comes from it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

/// Tries to get an even port with the odd one behind it (RFC 3550 11).
const TRIES: u32 = 64;

/// Asked for as receive buffer: a key frame arrives in one burst.
const BUFFER: usize = 1024 * 1024;

/// Largest datagram.
const DATAGRAM: usize = 65_536;

/// Datagrams taken before others have their turn.
const BATCH: u32 = 64;

/// RTP on an even port and RTCP on the next.
#[derive(Debug)]
pub(super) struct Pair {
    rtp: UdpSocket,
    rtcp: UdpSocket,
    buffer: Vec<u8>,
    camera: IpAddr,
    source: Option<IpAddr>,
    /// Where reports go: the port named, else that behind the one that pictures come from.
    reports_to: Option<u16>,
}

impl Pair {
    /// Binds both on `own`, the address of the RTSP connection.
    pub(super) fn bind(own: IpAddr, camera: IpAddr) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for _ in 0..TRIES {
            let first = std::net::UdpSocket::bind((own, 0))?;
            let port = first.local_addr()?.port();
            let beside = if port % 2 == 0 {
                port.checked_add(1)
            } else {
                port.checked_sub(1)
            };
            let second = match beside.map(|beside| std::net::UdpSocket::bind((own, beside))) {
                Some(Ok(second)) => second,
                Some(Err(error)) => {
                    last = error;
                    continue;
                }
                None => continue,
            };
            let (rtp, rtcp) = if port % 2 == 0 {
                (first, second)
            } else {
                (second, first)
            };
            // As much as the system gives.
            let _ = socket2::SockRef::from(&rtp).set_recv_buffer_size(BUFFER);
            rtp.set_nonblocking(true)?;
            rtcp.set_nonblocking(true)?;
            return Ok(Self {
                rtp: UdpSocket::from_std(rtp)?,
                rtcp: UdpSocket::from_std(rtcp)?,
                buffer: vec![0; DATAGRAM],
                camera,
                source: None,
                reports_to: None,
            });
        }
        Err(last)
    }

    /// Our ports.
    pub(super) fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((
            self.rtp.local_addr()?.port(),
            self.rtcp.local_addr()?.port(),
        ))
    }

    /// What SETUP's answer names: the camera's ports and another address of its own.
    pub(super) const fn set_peer(&mut self, ports: Option<(u16, u16)>, source: Option<IpAddr>) {
        self.source = source;
        self.reports_to = match ports {
            Some((_, rtcp)) => Some(rtcp),
            None => None,
        };
    }

    /// Opens the way through a packet filter in front of the camera: an empty datagram
    /// to the port that pictures come from.
    pub(super) fn open_way(&self, ports: Option<(u16, u16)>) {
        if let Some((rtp, _)) = ports {
            let _ = self.rtp.try_send_to(&[], (self.camera, rtp).into());
        }
    }

    /// Waits until one of the sockets has something.
    pub(super) async fn readable(&self) -> io::Result<()> {
        tokio::select! {
            biased;
            ready = self.rtp.readable() => ready,
            ready = self.rtcp.readable() => ready,
        }
    }

    /// Takes what has come, RTP first; `true` for RTCP. `false`: more RTP may be there.
    pub(super) fn take(&mut self, mut with: impl FnMut(&[u8], bool)) -> bool {
        let mut is_all = false;
        for is_rtcp in [false, true] {
            for _ in 0..BATCH {
                let socket = if is_rtcp { &self.rtcp } else { &self.rtp };
                let Ok((length, from)) = socket.try_recv_from(&mut self.buffer) else {
                    is_all |= !is_rtcp;
                    break;
                };
                if !self.is_camera(from) {
                    continue;
                }
                if self.reports_to.is_none() {
                    let port = from.port();
                    self.reports_to = if is_rtcp {
                        Some(port)
                    } else {
                        port.checked_add(1)
                    };
                }
                with(self.buffer.get(..length).unwrap_or_default(), is_rtcp);
            }
        }
        is_all
    }

    fn is_camera(&self, from: SocketAddr) -> bool {
        let ip = from.ip().to_canonical();
        ip == self.camera.to_canonical()
            || self
                .source
                .is_some_and(|source| ip == source.to_canonical())
    }

    /// Sends a report; one that is lost is followed by the next.
    pub(super) fn report(&self, report: &[u8]) {
        if let Some(port) = self.reports_to {
            let _ = self.rtcp.try_send_to(report, (self.camera, port).into());
        }
    }
}
