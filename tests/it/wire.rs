//! A wire between a gateway and a receiver that can be cut or made narrow:
//! forwards datagrams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

pub struct Wire {
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
    /// Bytes per second towards the target; 0: all there are.
    rate: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

impl Wire {
    /// Forwards what comes to its own address to `target`, and back.
    pub async fn to(target: SocketAddr) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let (address, cut) = (
            socket.local_addr().unwrap(),
            Arc::new(AtomicBool::new(false)),
        );
        let rate = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(forward(socket, target, Arc::clone(&cut), Arc::clone(&rate)));
        Self {
            address,
            cut,
            rate,
            _task: task,
        }
    }

    /// Lets through no more than this towards the target, in bytes per second, and
    /// loses the rest.
    pub fn narrow(&self, rate: u64) {
        self.rate.store(rate, Ordering::SeqCst);
    }

    /// Loses everything, both ways, until it is whole again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

/// Bytes that may come at once on a narrow wire.
const BURST: f64 = 16_000.0;

async fn forward(
    near: Arc<UdpSocket>,
    target: SocketAddr,
    cut: Arc<AtomicBool>,
    rate: Arc<AtomicU64>,
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
            let (near, cut) = (Arc::clone(&near), Arc::clone(&cut));
            ways_back.spawn(async move {
                let mut buffer = vec![0; 65_536];
                loop {
                    let Ok(length) = socket.recv(&mut buffer).await else {
                        continue;
                    };
                    if !cut.load(Ordering::SeqCst) {
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
        if !cut.load(Ordering::SeqCst) && fits {
            let _ = far[&from].send(&buffer[..length]).await;
        }
    }
}
