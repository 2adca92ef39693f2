//! `fanal probe` against real daemons: what a monitoring plugin prints and how it exits.

use std::net::SocketAddr;

use crate::world::{Plan, World};

async fn probe(url: &str) -> (i32, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["probe", "--url", url])
        .output()
        .await
        .unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert_eq!(line.lines().count(), 1, "{line:?}");
    (output.status.code().unwrap(), line)
}

fn ready(address: SocketAddr) -> String {
    format!("http://{address}/ready")
}

#[tokio::test]
async fn a_plugin_tells_well_from_ill_from_dead_from_foreign() {
    let mut world = World::start(Plan::default()).await;
    let (status, line) = probe(&ready(world.addresses.metrics)).await;
    assert!(
        status < 2 && line.starts_with("FANAL ") && line.contains(" | time=0."),
        "{status} {line}"
    );
    // The centre's console is no /ready.
    let (status, line) = probe(&ready(world.addresses.console)).await;
    assert!(
        status == 3 && line.starts_with("FANAL UNKNOWN - "),
        "{line}"
    );
    let (status, line) = probe("ftp://nowhere").await;
    assert!(status == 3 && line.contains("write it like"), "{line}");

    // A commune without its centre can't do its work.
    let gateway = ready(world.gateway_page);
    let dead = ready(world.addresses.metrics);
    world.stop_receiver().await;
    let (status, line) = probe(&dead).await;
    assert!(
        status == 2 && line.starts_with("FANAL CRITICAL - http"),
        "{line}"
    );
    let unlinked = async {
        loop {
            let (status, line) = probe(&gateway).await;
            if status == 2 {
                return line;
            }
        }
    };
    let line = tokio::time::timeout(crate::world::PATIENCE, unlinked)
        .await
        .unwrap();
    assert!(line.contains("link: no centre is linked"), "{line}");
    world.stop().await;
}
