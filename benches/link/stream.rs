//! An emulated path for TCP connections, beside that of UDP on the same port number.
//!
//! A segment that is lost comes after it was sent again, a round trip later or, if that
//! is lost too, after timeouts that double; all behind it wait. TCP's own congestion
//! control is not emulated: a sender never overflows the queue, and has at most
//! [`WINDOW`] segments under way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::path::{Conditions, Counts, Fate, Path};

/// Bytes of a segment.
const SEGMENT: usize = 1_448;
/// Segments under way at most.
const WINDOW: usize = 128;
/// IPv4 and TCP headers.
const HEADERS: usize = 52;
/// Asked of the kernel for what waits to be read: what waits here the sender can't take back.
const SOCKET_BUFFER: usize = 16 * 1024;
/// The first timeout after which a segment is sent a third time; each is twice the one before.
const TIMEOUT: Duration = Duration::from_millis(200);
/// How long a full queue is left alone.
const FULL: Duration = Duration::from_millis(1);

/// The connections of one address, until it is dropped.
pub(crate) struct Streams {
    shared: Arc<Shared>,
    address: SocketAddr,
}

struct Shared {
    origin: Instant,
    state: Mutex<State>,
}

struct State {
    /// Towards the target, and back.
    paths: [Path; 2],
    sockets: Vec<TcpStream>,
    stops: bool,
}

/// A segment, when it was sent, and what became of it then.
type Segment = (Vec<u8>, Duration, Fate);

impl Streams {
    /// Carries connections that come to `address` to `target`.
    pub(crate) fn to(
        target: SocketAddr,
        address: SocketAddr,
        [up, down]: [Conditions; 2],
        seed: u64,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        socket2::SockRef::from(&listener).set_recv_buffer_size(SOCKET_BUFFER)?;
        let shared = Arc::new(Shared {
            origin: Instant::now(),
            state: Mutex::new(State {
                paths: [Path::new(up, seed), Path::new(down, !seed)],
                sockets: Vec::new(),
                stops: false,
            }),
        });
        let taking = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if taking.lock().stops {
                    return;
                }
                // Where nobody listens the near side is hung up on.
                if let Ok(far) = TcpStream::connect(target) {
                    // An error means that a side is gone already.
                    let _ = taking.carry(&near, &far);
                }
            }
        });
        Ok(Self { shared, address })
    }

    /// Changes the path, there and back.
    pub(crate) fn set(&self, up: Conditions, down: Conditions) {
        let mut state = self.shared.lock();
        state.paths[0].set(up);
        state.paths[1].set(down);
    }

    /// What became of the segments towards the target.
    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().paths[0].counts()
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stops = true;
        for socket in state.sockets.drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
        drop(state);
        // Ends the thread that waits for connections.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn carry(self: &Arc<Self>, near: &TcpStream, far: &TcpStream) -> io::Result<()> {
        for (way, from, to) in [(0, near, far), (1, far, near)] {
            from.set_nodelay(true)?;
            self.lock().sockets.push(from.try_clone()?);
            let (segments, arriving) = sync_channel(WINDOW);
            let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
            let (reading, writing) = (Arc::clone(self), Arc::clone(self));
            thread::spawn(move || {
                // The end of one side is told to the other.
                let _ = reading.read(way, &mut from, &segments);
            });
            thread::spawn(move || {
                let _ = writing.write(way, &mut to, &arriving);
                let _ = to.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    }

    fn read(
        &self,
        way: usize,
        from: &mut TcpStream,
        segments: &SyncSender<Segment>,
    ) -> io::Result<()> {
        let mut buffer = [0; SEGMENT];
        loop {
            let length = from.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let (at, fate) = self.send(way, length);
            if segments
                .send((buffer[..length].to_vec(), at, fate))
                .is_err()
            {
                return Ok(());
            }
        }
    }

    /// Sends a segment once the queue has room for it.
    fn send(&self, way: usize, length: usize) -> (Duration, Fate) {
        loop {
            let mut state = self.lock();
            let now = self.origin.elapsed();
            match state.paths[way].send(now, length + HEADERS) {
                Fate::Overflows => {}
                fate => return (now, fate),
            }
            drop(state);
            thread::sleep(FULL);
        }
    }

    fn write(
        &self,
        way: usize,
        to: &mut TcpStream,
        arriving: &Receiver<Segment>,
    ) -> io::Result<()> {
        for (bytes, mut sent, mut fate) in arriving {
            let round_trip = self.lock().paths[way].conditions().delay * 2;
            let mut wait = round_trip.max(FULL);
            let arrives = loop {
                match fate {
                    Fate::Arrives(at) => break at,
                    Fate::Lost | Fate::Overflows => {
                        self.sleep_until(sent + wait);
                        (sent, fate) = self.send(way, bytes.len());
                        wait = (wait * 2).max(TIMEOUT);
                    }
                }
            };
            self.sleep_until(arrives);
            to.write_all(&bytes)?;
        }
        Ok(())
    }

    fn sleep_until(&self, at: Duration) {
        thread::sleep(at.saturating_sub(self.origin.elapsed()));
    }
}
