//! A wire between a gateway and a receiver: carries UDP and TCP, and may be cut,
//! made narrow, shut to UDP, or stop carrying what a gateway sends over TCP.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What of a TCP connection is held at most between reading and writing it.
const PIECE: usize = 4 * 1024;
/// Asked of the kernel for what waits to be read: little is under way when the
/// wire stops carrying.
const SOCKET_BUFFER: u32 = 16 * 1024;

/// What gets through.
#[derive(Clone, Copy, Debug)]
struct Way {
    udp: bool,
    tcp_up: bool,
    tcp_down: bool,
    /// TCP connections of a lower number carry nothing any more.
    stranded: u64,
}

pub struct Wire {
    pub address: SocketAddr,
    /// Bytes per second of UDP towards the target; 0: all there are.
    rate: Arc<AtomicU64>,
    /// TCP connections so far.
    connections: Arc<watch::Sender<usize>>,
    way: Arc<watch::Sender<Way>>,
    _tasks: JoinSet<()>,
}

impl Wire {
    /// Forwards what comes to its own address to `target`, and back.
    pub async fn to(target: SocketAddr) -> Self {
        let (listener, socket) = sockets().await;
        let way = Arc::new(watch::Sender::new(Way {
            udp: true,
            tcp_up: true,
            tcp_down: true,
            stranded: 0,
        }));
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let connections = Arc::new(watch::Sender::new(0));
        let counted = Arc::clone(&connections);
        tasks.spawn(forward_tcp(listener, target, Arc::clone(&way), counted));
        let rate = Arc::new(AtomicU64::new(0));
        let narrow = (Arc::clone(&way), Arc::clone(&rate));
        tasks.spawn(forward_udp(Arc::new(socket), target, narrow));
        Self {
            address,
            way,
            rate,
            connections,
            _tasks: tasks,
        }
    }

    /// Lets through no more than this towards the target, in bytes per second, and
    /// loses the rest.
    pub fn narrow(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    /// Loses everything, both ways, until it is whole again.
    pub fn cut(&self, cut: bool) {
        self.way.send_modify(|way| {
            way.udp = !cut;
            way.tcp_up = !cut;
            way.tcp_down = !cut;
        });
    }

    /// Lets UDP through, or loses all of it.
    pub fn let_udp(&self, through: bool) {
        self.way.send_modify(|way| way.udp = through);
    }

    /// Carries nothing more over the TCP connections that there are, as if the kernel waited
    /// long before it sends again.
    pub fn strand(&self) {
        self.way.send_modify(|way| way.stranded += 1);
    }

    /// Waits until so many TCP connections have come.
    pub async fn until_connections(&self, count: usize) {
        let mut connections = self.connections.subscribe();
        connections.wait_for(|come| *come >= count).await.unwrap();
    }

    /// Carries what the gateway sends over TCP, or stops reading it.
    pub fn carry_up(&self, carry: bool) {
        self.way.send_modify(|way| way.tcp_up = carry);
    }
}

/// Bytes that may come at once on a narrow wire.
const BURST: f64 = 16_000.0;

/// A port that is free for both.
async fn sockets() -> (TcpListener, UdpSocket) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        if let Ok(socket) = UdpSocket::bind(address).await {
            return (listener, socket);
        }
    }
}

async fn forward_tcp(
    listener: TcpListener,
    target: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    connections: Arc<watch::Sender<usize>>,
) {
    let mut carried = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.send_modify(|come| *come += 1);
        // Where nobody listens the near side is hung up on.
        let Ok(far) = TcpStream::connect(target).await else {
            continue;
        };
        near.set_nodelay(true).unwrap();
        far.set_nodelay(true).unwrap();
        let (from_near, to_near) = near.into_split();
        let (from_far, to_far) = far.into_split();
        let number = way.borrow().stranded;
        carried.spawn(carry(from_near, to_far, way.subscribe(), move |way| {
            way.tcp_up && way.stranded == number
        }));
        carried.spawn(carry(from_far, to_near, way.subscribe(), move |way| {
            way.tcp_down && way.stranded == number
        }));
    }
}

/// One direction of a connection, for as long as both ends have it.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    is_open: impl Fn(&Way) -> bool,
) {
    let mut piece = vec![0; PIECE];
    while way.wait_for(&is_open).await.is_ok() {
        match from.read(&mut piece).await {
            Ok(length) if length > 0 => {
                if to.write_all(&piece[..length]).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn forward_udp(
    near: Arc<UdpSocket>,
    target: SocketAddr,
    (way, rate): (Arc<watch::Sender<Way>>, Arc<AtomicU64>),
) {
    let (mut room, mut looked) = (BURST, Instant::now());
    let mut far: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut ways_back = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, from)) = near.recv_from(&mut buffer).await else {
            continue;
        };
        if let Entry::Vacant(place) = far.entry(from) {
            let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            socket.connect(target).await.unwrap();
            place.insert(Arc::clone(&socket));
            let (near, way) = (Arc::clone(&near), Arc::clone(&way));
            ways_back.spawn(async move {
                let mut buffer = vec![0; 65_536];
                loop {
                    let Ok(length) = socket.recv(&mut buffer).await else {
                        continue;
                    };
                    if way.borrow().udp {
                        let _ = near.send_to(&buffer[..length], from).await;
                    }
                }
            });
        }
        let rate = rate.load(Ordering::SeqCst);
        room = (room + looked.elapsed().as_secs_f64() * rate as f64).min(BURST);
        looked = Instant::now();
        let fits = rate == 0 || room >= length as f64;
        if rate > 0 && fits {
            room -= length as f64;
        }
        if way.borrow().udp && fits {
            let _ = far[&from].send(&buffer[..length]).await;
        }
    }
}
