//! A place in the network that lets TCP through and no UDP.

use std::net::SocketAddr;

use anyhow::Context;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Carries TCP connections to `target` until this process ends; gives its address, where
/// UDP gets no answer.
pub(crate) fn start(target: SocketAddr) -> anyhow::Result<SocketAddr> {
    let (told, address) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            // Takes what comes and says nothing.
            let _udp = tokio::net::UdpSocket::bind(listener.local_addr()?).await?;
            told.send(listener.local_addr()?)?;
            let mut carried = JoinSet::new();
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        let (mut near, _) = taken?;
                        carried.spawn(async move {
                            let mut far = TcpStream::connect(target).await?;
                            near.set_nodelay(true)?;
                            far.set_nodelay(true)?;
                            tokio::io::copy_bidirectional(&mut near, &mut far).await
                        });
                    }
                    Some(_) = carried.join_next() => {}
                }
            }
        })
    });
    address.recv().context("no socket")
}
