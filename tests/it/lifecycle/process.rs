//! `fanal gateway` as a process: killed, told to reload, told to stop.

use std::process::{ExitStatus, Stdio};

use fanal::reason::Reason;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::world::{World, within};

fn spawn(world: &World) -> Child {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .arg("gateway")
        .arg("--config")
        .arg(world.place.path("gateway.toml"))
        .env_remove("RUST_LOG")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn signal(child: &Child, signal: Signal) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

async fn terminate(mut child: Child) -> ExitStatus {
    signal(&child, Signal::TERM);
    within("the process's end", child.wait()).await.unwrap()
}

#[tokio::test]
async fn a_killed_gateway_goes_on_under_the_same_grant_and_stops_in_order() {
    let mut world = World::without_gateway().await;
    let mut first = spawn(&world);
    world.centre.linked().await;
    let granted = world.watch("cam-001").await;
    first.kill().await.unwrap();
    let second = spawn(&world);
    assert_eq!(world.centre.resumed().await, granted.grant);
    world.centre.live("cam-001").await;
    assert_eq!(terminate(second).await.code(), Some(0));
    world
        .cameras
        .wait("cam-001", "TEARDOWN", |count| count.torn_down == 1)
        .await;
    assert_eq!(world.journal("started").len(), 2);
    assert_eq!(world.journal("stopped").len(), 1);
    assert_eq!(world.journal("ended").len(), 0);
    let verified = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["journal", "verify"])
        .arg(world.place.path("gateway/journal"))
        .output();
    let verified = within("fanal journal verify", verified).await.unwrap();
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test]
async fn sighup_reads_the_file_again_and_a_bad_one_changes_nothing() {
    let mut world = World::without_gateway().await;
    let gateway = spawn(&world);
    world.centre.linked().await;
    let granted = world.watch("cam-001").await;
    world.place.write("gateway.toml", "commune = ");
    signal(&gateway, Signal::HUP);
    within("the refused reload in the journal", async {
        while world.journal("reloaded").is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(
        world.ask(&["cam-002"]).await.is_ok(),
        "the old settings run"
    );
    world.configure("\"cam-001\"");
    signal(&gateway, Signal::HUP);
    assert_eq!(world.centre.ended(&granted).await, Reason::AgreementChanged);
    assert_eq!(terminate(gateway).await.code(), Some(0));
}
