//! A centre that is killed says nothing; its successor does.

use std::sync::Arc;

use fanal::format::control::ToReceiver;
use fanal::link::transport::Transport;
use tokio::sync::oneshot;

use super::world::{World, down, up, within};

#[tokio::test]
async fn a_killed_centre_is_noticed_with_the_next_packet_to_its_successor() {
    let world = Arc::new(World::new());
    let (started, address) = oneshot::channel();
    let (kill, killed) = oneshot::channel::<()>();
    let doomed = {
        let world = Arc::clone(&world);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = world.server(Transport::Quic);
                started.send(server.local_addr()).unwrap();
                tokio::spawn(async move {
                    let _link = server.serve().await;
                    std::future::pending::<()>().await;
                });
                killed.await.unwrap();
            });
            // The runtime goes, and its tasks and sockets with it without a
            // word, as a killed process does.
        })
    };
    let address = within(address).await.unwrap();
    let mut commune = world.dial(Transport::Quic, address);
    let (_, _, link) = up(&mut commune.events).await;
    kill.send(()).unwrap();
    let gone = tokio::task::spawn_blocking(move || doomed.join().unwrap());
    within(gone).await.unwrap();

    let _successor = world.server_at(address);
    link.send(&ToReceiver::Unknown);
    // Not the idle timeout: the successor's stateless reset.
    let (_, cause) = down(&mut commune.events).await;
    assert!(cause.contains("reset"), "{cause}");
}
