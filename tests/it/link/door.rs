//! A way between gateway and centre that may be shut to UDP, or stop carrying.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a carrier holds at most of what it read and could not yet pass on.
const PIECE: usize = 4 * 1024;
/// Asked of the kernel for each direction of a carried connection.
const SOCKET_BUFFER: u32 = 16 * 1024;

/// What gets through.
#[derive(Clone, Copy, Debug)]
struct Way {
    udp: bool,
    /// TCP: whether what the gateway sends is carried on.
    up: bool,
}

/// An address that leads to a centre.
pub(super) struct Door {
    pub(super) address: SocketAddr,
    way: watch::Sender<Way>,
    _tasks: JoinSet<()>,
}

impl Door {
    /// Shut to UDP; TCP is carried.
    pub(super) async fn new(centre: SocketAddr) -> Self {
        let (listener, socket) = both().await;
        let address = listener.local_addr().unwrap();
        let way = watch::Sender::new(Way {
            udp: false,
            up: true,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(carry_tcp(listener, centre, way.clone()));
        tasks.spawn(carry_udp(Arc::new(socket), centre, way.clone()));
        Self {
            address,
            way,
            _tasks: tasks,
        }
    }

    /// Lets UDP through, or no more.
    pub(super) fn let_udp(&self, through: bool) {
        self.way.send_modify(|way| way.udp = through);
    }

    /// Carries what the gateway sends over TCP, or stops reading it.
    pub(super) fn carry_up(&self, carry: bool) {
        self.way.send_modify(|way| way.up = carry);
    }
}

/// A port that is free for both.
async fn both() -> (TcpListener, UdpSocket) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that little is under way when it stops carrying.
        socket.set_recv_buffer_size(SOCKET_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        if let Ok(socket) = UdpSocket::bind(address).await {
            return (listener, socket);
        }
    }
}

async fn carry_tcp(listener: TcpListener, centre: SocketAddr, way: watch::Sender<Way>) {
    let mut carried = JoinSet::new();
    while let Ok((gateway, _)) = listener.accept().await {
        // A centre that is away hangs up at once.
        let Ok(centre) = TcpStream::connect(centre).await else {
            continue;
        };
        gateway.set_nodelay(true).unwrap();
        centre.set_nodelay(true).unwrap();
        let (from_gateway, to_gateway) = gateway.into_split();
        let (from_centre, to_centre) = centre.into_split();
        carried.spawn(carry(from_gateway, to_centre, Some(way.subscribe())));
        carried.spawn(carry(from_centre, to_gateway, None));
    }
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: Option<watch::Receiver<Way>>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        if let Some(way) = &mut way
            && way.wait_for(|way| way.up).await.is_err()
        {
            return;
        }
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

/// One socket towards the centre for each gateway's.
async fn carry_udp(socket: Arc<UdpSocket>, centre: SocketAddr, way: watch::Sender<Way>) {
    let mut towards: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
    let mut back = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        // Errors are those of one packet: a port that nobody listens on.
        let Ok((length, gateway)) = socket.recv_from(&mut packet).await else {
            continue;
        };
        if !way.borrow().udp {
            continue;
        }
        if !towards.contains_key(&gateway) {
            let own = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            own.connect(centre).await.unwrap();
            towards.insert(gateway, Arc::clone(&own));
            let (socket, way) = (Arc::clone(&socket), way.subscribe());
            back.spawn(async move {
                let mut packet = vec![0; 65_536];
                loop {
                    if let Ok(length) = own.recv(&mut packet).await
                        && way.borrow().udp
                    {
                        let _ = socket.send_to(&packet[..length], gateway).await;
                    }
                }
            });
        }
        let _ = towards[&gateway].send(&packet[..length]).await;
    }
}
