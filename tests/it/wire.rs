//! A wire between a gateway and a receiver that can be cut: forwards datagrams.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

pub struct Wire {
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
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
        let mut task = JoinSet::new();
        task.spawn(forward(socket, target, Arc::clone(&cut)));
        Self {
            address,
            cut,
            _task: task,
        }
    }

    /// Loses everything, both ways, until it is whole again.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }
}

async fn forward(near: Arc<UdpSocket>, target: SocketAddr, cut: Arc<AtomicBool>) {
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
        if !cut.load(Ordering::SeqCst) {
            let _ = far[&from].send(&buffer[..length]).await;
        }
    }
}
