//! An emulated wide-area link between two ends that speak UDP: carries datagrams over
//! two [`Path`]s, in user space, so that anybody can have the same link again.
//!
//! What it does to packets comes from its seed; when they come is the machine's.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::path::{Conditions, Counts, Fate, Path};

/// Most clients of one link.
const CLIENTS_LIMIT: usize = 64;
/// Most datagrams under way.
const UNDER_WAY_LIMIT: usize = 100_000;
/// How often orders are looked at when no packet comes.
const LOOK: Duration = Duration::from_millis(20);
/// IPv4 and UDP headers, which take their time on the wire too.
const HEADERS: usize = 28;
/// Asked of the kernel: a burst must not be lost where nobody meant it to be.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// Largest datagram.
const DATAGRAM_LIMIT: usize = 65_536;

/// A link that runs, until it is dropped.
#[derive(Debug)]
pub struct Wan {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    /// Towards the target, and back.
    paths: [Path; 2],
    /// The clients' addresses as the target sees them change.
    moves: bool,
    stops: bool,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wan {
    /// A link to `target`, on an address of its own ([`Wan::address`]).
    ///
    /// # Errors
    /// No socket, or no thread.
    pub fn to(target: SocketAddr, up: Conditions, down: Conditions, seed: u64) -> io::Result<Self> {
        let near = socket()?;
        let address = near.local_addr()?;
        let state = Arc::new(Mutex::new(State {
            paths: [Path::new(up, seed), Path::new(down, !seed)],
            moves: false,
            stops: false,
        }));
        let carrier = Carrier {
            origin: Instant::now(),
            state: Arc::clone(&state),
            near,
            target,
            clients: Vec::new(),
            under_way: BTreeMap::new(),
            number: 0,
        };
        let thread = std::thread::Builder::new()
            .name("wan".to_owned())
            .spawn(move || carrier.run())?;
        Ok(Self {
            address,
            state,
            thread: Some(thread),
        })
    }

    /// Where clients find it.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the link: towards the target, and back.
    pub fn set(&self, up: Conditions, down: Conditions) {
        let mut state = lock(&self.state);
        state.paths[0].set(up);
        state.paths[1].set(down);
    }

    /// The clients come from other addresses from now on, as after a new address of
    /// their line.
    pub fn move_clients(&self) {
        lock(&self.state).moves = true;
    }

    /// What became of the packets: towards the target, and back.
    pub fn counts(&self) -> [Counts; 2] {
        let state = lock(&self.state);
        [state.paths[0].counts(), state.paths[1].counts()]
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        lock(&self.state).stops = true;
        if let Some(thread) = self.thread.take() {
            // A panic in it was printed already.
            let _ = thread.join();
        }
    }
}

struct Client {
    address: SocketAddr,
    far: UdpSocket,
}

/// A datagram under way: of which client, to the target or not, and its bytes.
type UnderWay = BTreeMap<(Duration, u64), (usize, bool, Vec<u8>)>;

struct Carrier {
    origin: Instant,
    state: Arc<Mutex<State>>,
    near: UdpSocket,
    target: SocketAddr,
    clients: Vec<Client>,
    under_way: UnderWay,
    number: u64,
}

impl Carrier {
    fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_LIMIT];
        loop {
            {
                let mut state = lock(&self.state);
                if state.stops {
                    return;
                }
                if std::mem::take(&mut state.moves) {
                    drop(state);
                    self.move_clients();
                }
            }
            self.deliver();
            self.wait();
            self.take(&mut buffer);
        }
    }

    fn move_clients(&mut self) {
        for client in &mut self.clients {
            // Where there is no socket to be had the address stays.
            if let Ok(far) = socket() {
                client.far = far;
            }
        }
    }

    /// Sends what has arrived.
    fn deliver(&mut self) {
        let now = self.origin.elapsed();
        while let Some(entry) = self.under_way.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let (client, to_target, bytes) = entry.remove();
            let client = &self.clients[client];
            // A full buffer, or nobody there: the network loses packets.
            let _ = if to_target {
                client.far.send_to(&bytes, self.target)
            } else {
                self.near.send_to(&bytes, client.address)
            };
        }
    }

    /// Until a packet comes or one has arrived.
    fn wait(&self) {
        let now = self.origin.elapsed();
        let next = self.under_way.keys().next();
        let wait = next.map_or(LOOK, |(at, _)| at.saturating_sub(now).min(LOOK));
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(wait.subsec_nanos()),
        };
        let mut sockets: Vec<PollFd<'_>> = std::iter::once(&self.near)
            .chain(self.clients.iter().map(|client| &client.far))
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        // Interrupted or not: the round goes on.
        let _ = poll(&mut sockets, Some(&timeout));
    }

    /// Takes what came in.
    fn take(&mut self, buffer: &mut [u8]) {
        while let Ok((length, from)) = self.near.recv_from(buffer) {
            let known = self.clients.iter().position(|c| c.address == from);
            let client = match known {
                Some(client) => client,
                None if self.clients.len() < CLIENTS_LIMIT => {
                    let Ok(far) = socket() else { continue };
                    self.clients.push(Client { address: from, far });
                    self.clients.len() - 1
                }
                None => continue,
            };
            self.put(client, true, &buffer[..length]);
        }
        for client in 0..self.clients.len() {
            while let Ok((length, from)) = self.clients[client].far.recv_from(buffer) {
                if from == self.target {
                    self.put(client, false, &buffer[..length]);
                }
            }
        }
    }

    fn put(&mut self, client: usize, to_target: bool, bytes: &[u8]) {
        let now = self.origin.elapsed();
        let mut state = lock(&self.state);
        let path = &mut state.paths[usize::from(!to_target)];
        if let Fate::Arrives(at) = path.send(now, bytes.len() + HEADERS)
            && self.under_way.len() < UNDER_WAY_LIMIT
        {
            self.number += 1;
            let datagram = (client, to_target, bytes.to_vec());
            self.under_way.insert((at, self.number), datagram);
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    let options = socket2::SockRef::from(&socket);
    // What is granted will have to do.
    let _ = options.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = options.set_send_buffer_size(SOCKET_BUFFER);
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket
    }

    fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..length].to_vec(), from)
    }

    #[test]
    fn carries_both_ways_and_moves_clients() {
        let (client, target) = (end(), end());
        let far = Conditions::round_trip(2);
        let wan = Wan::to(target.local_addr().unwrap(), far, far, 1).unwrap();
        client.send_to(b"there", wan.address()).unwrap();
        let (bytes, first) = receive(&target);
        assert_eq!(bytes, b"there");
        target.send_to(b"back", first).unwrap();
        assert_eq!(receive(&client), (b"back".to_vec(), wan.address()));
        wan.move_clients();
        // Until the order is carried out packets come from the old address.
        let second = loop {
            client.send_to(b"again", wan.address()).unwrap();
            let (_, from) = receive(&target);
            if from != first {
                break from;
            }
        };
        target.send_to(b"found", second).unwrap();
        assert_eq!(receive(&client).0, b"found");
        assert_eq!(wan.counts()[1].carried, 2);
        assert_eq!(wan.counts()[0].lost, 0);
    }
}
