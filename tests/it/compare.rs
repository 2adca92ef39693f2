//! `fanal journal compare` on what real daemons wrote.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use hyper::Method;
use serde_json::Value;

use crate::world::{CENTRE, COMMUNE, Plan, Player, World, rtsp, until};

fn compare(world: &World, directories: &[&Path], more: &[&str]) -> (Option<i32>, String) {
    let mut arguments = vec!["journal", "compare"];
    arguments.extend(directories.iter().map(|path| path.to_str().unwrap()));
    let (link, designation) = authorities(world);
    arguments.extend(["--authority", &link, "--authority", &designation]);
    arguments.extend(more);
    let output = fanal(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), text + &errors)
}

fn fanal(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn authorities(world: &World) -> (String, String) {
    let write = |name: &str, text: &str| {
        let path = world.directory.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    (
        write("compare-link.pem", world.trial.link_authority()),
        write(
            "compare-designation.pem",
            world.trial.designation_authority(),
        ),
    )
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// The newest month's file and its lines.
fn lines(directory: &Path) -> (PathBuf, Vec<String>) {
    let files = std::fs::read_dir(directory).unwrap();
    let file = files.map(|file| file.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    (file, text.lines().map(|line| format!("{line}\n")).collect())
}

#[tokio::test]
async fn what_both_daemons_wrote_agrees_and_what_is_changed_afterwards_does_not() {
    let mut world = World::start(Plan {
        agreement: "snapshots = true\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let operator = world.operator("13-1").await;
    let first = operator.granted(&["cam-001"]).await;
    let mut player = Player::start(rtsp(&first, "cam-001"));
    player.pictures(5).await;
    // A restart of either side goes on under the same grant.
    world.stop_gateway().await;
    world.start_gateway().await;
    world.linked().await;
    let second = operator.granted(&["cam-002"]).await;
    let mut watching = Player::start(rtsp(&second, "cam-002"));
    watching.pictures(5).await;
    for grant in [&first, &second] {
        let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
        operator.call(Method::DELETE, &path).await.unwrap();
    }
    until("the lists of viewings are with the commune", || {
        world.entries("gateway", "viewings").len() == 2
    })
    .await;
    let live = operator.granted(&["cam-001"]).await;
    let ends = world.entries("receiver", "ended").len();
    assert_eq!(ends, 2, "{live}");
    // A stop may come before the confirmation of the last grant is read.
    until("all are confirmed", || {
        world.entries("gateway", "confirmed").len() == 3
    })
    .await;

    let gateway = world.directory.path("gateway").join("journal");
    let receiver = world.directory.path("receiver").join("journal");
    let (status, text) = compare(&world, &[&receiver, &gateway], &[]);
    assert_eq!(status, Some(0), "while they run: {text}");
    world.stop_gateway().await;
    world.stop_receiver().await;

    let (status, text) = compare(&world, &[&gateway, &receiver], &[]);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.ends_with("consistent\n"), "{text}");
    assert!(
        text.contains("with both sides: 3 grants and renewals, 2 viewings"),
        "{text}"
    );
    let unchecked = fanal(&[
        "journal",
        "compare",
        gateway.to_str().unwrap(),
        receiver.to_str().unwrap(),
    ]);
    let text = String::from_utf8(unchecked.stdout).unwrap();
    assert!(text.ends_with("consistent, keys not checked\n"), "{text}");
    assert_eq!(unchecked.status.code(), Some(0));

    // Either side's end is cut, its copy with it.
    for (owner, from, other) in [
        (COMMUNE, &gateway, &receiver),
        (CENTRE, &receiver, &gateway),
    ] {
        let cut = world.directory.path(&format!("cut-{owner}"));
        copy(from, &cut);
        let (file, mut left) = lines(&cut);
        left.truncate(left.len() / 2);
        std::fs::write(file, left.concat()).unwrap();
        let (status, text) = compare(&world, &[other, &cut], &["--json"]);
        assert_eq!(status, Some(1), "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["verdict"], "contradiction");
        assert_eq!(report["findings"][0]["convicts"], owner, "{text}");
        assert!(report["findings"][0]["seq"].is_u64(), "{text}");
        assert!(report["checked"]["lines"].is_u64(), "{text}");
        // Beside the whole journal it is an earlier copy, which is no fault.
        let (status, text) = compare(&world, &[other, &cut, from], &["--json"]);
        assert_eq!(status, Some(0), "{text}");
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["verdict"], "consistent");
        assert_eq!(report["findings"], serde_json::json!([]));
    }
}

#[test]
fn wrong_use_of_compare_is_told() {
    assert_eq!(fanal(&["journal", "compare"]).status.code(), Some(2));
    assert_eq!(
        fanal(&["journal", "compare", "/nowhere"]).status.code(),
        Some(2)
    );
    let output = fanal(&["journal", "compare", "/nowhere/a", "/nowhere/b"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/nowhere/a"), "{text}");
}
