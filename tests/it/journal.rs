//! The journal on real files: killed processes, full disks, and `fanal journal`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::format::jws::Signer;
use fanal::journal::entry::Entry;
use fanal::journal::writer::{Options, Recovered, Writer};

use crate::support::site::Place;

/// The only month file. A test that runs over a month's end has two: the older one.
fn month(state: &Place) -> PathBuf {
    let files = std::fs::read_dir(state.path("journal")).unwrap();
    files.map(|file| file.unwrap().path()).min().unwrap()
}

fn open(state_dir: &Path) -> (Writer, Recovered) {
    let clock = Clock::system();
    let trial = Trial::new(clock.now().wall).unwrap();
    let machine = trial.machine("berre-l-etang").unwrap();
    let signer = Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
    Writer::open(Options {
        state_dir: state_dir.to_owned(),
        owner: "berre-l-etang".to_owned(),
        signer: Arc::new(signer),
        clock,
    })
    .unwrap()
}

fn note(by: u64) -> Entry {
    Entry::Allowed {
        scope: "all".to_owned(),
        by: by.to_string(),
    }
}

fn fanal(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(args)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn verify(directory: &Path) -> (Option<i32>, String) {
    let output = fanal(&["journal", "verify", directory.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

const CHILD: &str = "FANAL_TEST_JOURNAL";

/// Writes until it is killed, telling each line once it is durable. Does
/// nothing but as the child of the test below.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Some(directory) = std::env::var_os(CHILD) else {
        return;
    };
    let (writer, _) = open(Path::new(&directory));
    for number in 0.. {
        let receipt = writer.append(note(number)).await.unwrap();
        eprintln!("durable {}", receipt.seq());
    }
}

/// Kills a writing process at moments of its own choosing, again and again, on one journal.
#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let scratch = Place::new();
    for round in 1..=8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["journal::child_writes_until_it_is_killed", "--exact"])
            .arg("--nocapture")
            .env(CHILD, scratch.directory())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut durable = 0;
        for _ in 0..round * 7 {
            let line = lines.next().unwrap().unwrap();
            if let Some(seq) = line.strip_prefix("durable ") {
                durable = seq.parse::<u64>().unwrap();
            }
        }
        child.kill().unwrap();
        // What it told between our last look and its end counts as well.
        for line in lines {
            if let Some(seq) = line.unwrap().strip_prefix("durable ") {
                durable = seq.parse().unwrap_or(durable);
            }
        }
        child.wait().unwrap();
        assert!(durable > 0);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (writer, recovered) = open(scratch.directory());
            let last = recovered.entries.last().unwrap().0;
            assert!(last >= durable, "{last} of {durable}");
            writer.close().await;
        });
    }
    let (status, text) = verify(&scratch.path("journal"));
    assert_eq!(status, Some(0), "{text}");
}

/// A real full disk: a tmpfs of 256 KiB, where we may mount one.
#[tokio::test]
async fn a_full_file_system_refuses_and_recovers_when_there_is_room() {
    let scratch = Place::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "fanal-test"])
        .arg(scratch.directory())
        .stderr(Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        crate::tools::skipped(format_args!("a tmpfs can't be mounted here (root only)"));
        return;
    }
    let unmount = Unmount(scratch.directory().to_owned());
    let (writer, _) = open(scratch.directory());
    let ballast = scratch.directory().join("ballast");
    writer.append(note(0)).await.unwrap();
    std::fs::write(&ballast, vec![0; 200 * 1024]).unwrap();
    let mut written = 1;
    let error = loop {
        match writer.append(note(written)).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("make room"), "{error}");
    assert!(writer.health().is_err());
    assert_eq!(
        verify(&scratch.path("journal")).0,
        Some(0),
        "nothing half written"
    );
    std::fs::remove_file(&ballast).unwrap();
    let receipt = writer.append(note(written)).await.unwrap();
    assert_eq!(
        receipt.seq(),
        written + 2,
        "after a line about the interruption"
    );
    assert_eq!(writer.health(), Ok(()));
    writer.close().await;
    let (status, text) = verify(&scratch.path("journal"));
    assert_eq!(status, Some(0), "{text}");
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

async fn written(scratch: &Place) {
    let (writer, _) = open(scratch.directory());
    for number in 0..5 {
        writer.append(note(number)).await.unwrap();
    }
    writer.close().await;
}

#[tokio::test]
async fn show_and_verify_work_on_a_copy_with_nothing_beside() {
    let scratch = Place::new();
    written(&scratch).await;
    let copy = Place::new();
    let file = month(&scratch);
    let name = file.file_name().unwrap();
    std::fs::copy(&file, copy.directory().join(name)).unwrap();
    let directory = copy.directory().to_str().unwrap();

    let (status, text) = verify(copy.directory());
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("1 files, 5 lines"), "{text}");

    let shown = fanal(&["journal", "show", directory]);
    assert_eq!(shown.status.code(), Some(0));
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.contains("all by 3"), "{shown}");
    let raw = fanal(&["journal", "show", "--json", directory]);
    assert_eq!(raw.stdout, std::fs::read(&file).unwrap());

    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replacen("\"by\":\"3\"", "\"by\":\"4\"", 1);
    std::fs::write(copy.directory().join(name), changed).unwrap();
    let (status, text) = verify(copy.directory());
    assert_eq!(status, Some(1));
    let named = format!("{} line 4 (seq 4): changed", name.to_str().unwrap());
    assert!(text.contains(&named), "{text}");
    let json = fanal(&["journal", "verify", "--json", directory]);
    let finding: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&finding["line"], &finding["seq"]), (&4.into(), &4.into()));
    assert_eq!(finding["kind"], "changed");
}

#[test]
fn wrong_use_of_the_journal_command_is_told() {
    let scratch = Place::new();
    let directory = scratch.directory().to_str().unwrap();
    for command in ["show", "verify"] {
        let output = fanal(&["journal", command, directory]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains("no month file"), "{text}");
        assert_eq!(fanal(&["journal", command]).status.code(), Some(2));
    }
    let missing = scratch.path("missing.pem");
    let authority = missing.to_str().unwrap();
    let output = fanal(&["journal", "verify", directory, "--authority", authority]);
    assert_eq!(output.status.code(), Some(2));
}
