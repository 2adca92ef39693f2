//! What is made of a journal, and what goes of it: prune, report, export, dossier.

use std::path::PathBuf;

use super::*;
use crate::old_journal::{self, months};

/// The commune's journal, of this many months before today.
fn journal(place: &Place, months: u32) -> PathBuf {
    let state = place.path("state");
    std::fs::create_dir(&state).unwrap();
    old_journal::write(&state, "berre-l-etang", place.directory(), months)
}

/// Runs it, with this exit status.
#[track_caller]
fn status(status: i32, args: &[&str]) -> String {
    let output = fanal(args);
    let said = format!("{}{}", out(&output), err(&output));
    assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
    said
}

#[test]
fn a_journal_is_pruned_a_month_a_day_and_its_copy_without_a_key() {
    let place = machines();
    let settings = format!("state_dir = \"state\"\n{GATEWAY}\n[journal]\nkeep = \"6 months\"\n");
    let file = put(&place, "gateway.toml", &settings);
    let directory = journal(&place, 9);
    let path = directory.to_str().unwrap();
    let before = months(&directory);
    let copy = place.path("copy").join("journal");
    std::fs::create_dir_all(&copy).unwrap();
    for name in &before {
        std::fs::copy(directory.join(name), copy.join(name)).unwrap();
    }

    // Nothing goes without the owner's key, or by another's.
    let said = status(1, &["journal", "prune", path, "--keep", "6 months"]);
    assert!(said.contains("give --config"), "{said}");
    let (key, chain) = (place.path("corg-13.key"), place.path("corg-13.pem"));
    let (key, chain) = (key.to_str().unwrap(), chain.to_str().unwrap());
    let said = status(
        1,
        &[
            "journal",
            "prune",
            path,
            "--keep",
            "6 months",
            "--key",
            key,
            "--certificate",
            chain,
        ],
    );
    assert!(said.contains("the journal is berre-l-etang's"), "{said}");
    let said = status(2, &["journal", "prune", path, "--keep", "5 months"]);
    assert!(said.contains("from 6 months to 36 months"), "{said}");
    assert_eq!(months(&directory), before);
    let said = status(0, &["journal", "prune", path]);
    assert!(said.contains("younger than 36 months"), "{said}");

    let said = status(0, &["journal", "prune", path, "--config", &file]);
    assert!(said.contains("removed: "), "{said}");
    assert_eq!(months(&directory), before[1..]);
    let said = status(0, &["journal", "prune", path, "--config", &file]);
    assert!(said.contains("tomorrow"), "{said}");
    status(0, &["journal", "prune", path, "--config", &file, "--all"]);
    let left = months(&directory);
    assert!(left.len() < before.len() - 1 && left.len() >= 6, "{left:?}");

    let authority = place.path("link-ca.pem");
    let authority = authority.to_str().unwrap();
    let said = status(0, &["journal", "verify", path, "--authority", authority]);
    assert!(
        said.contains("intact") && said.contains("removed since their time was over"),
        "{said}"
    );
    // The anchor is what makes it so.
    std::fs::remove_file(directory.join(&left[0])).unwrap();
    let said = status(1, &["journal", "verify", path]);
    assert!(said.contains("removed: seq"), "{said}");
    std::fs::copy(copy.join(&left[0]), directory.join(&left[0])).unwrap();

    // A copy takes the newest month, and then goes without a key what that names.
    let newest = left.last().unwrap();
    std::fs::copy(directory.join(newest), copy.join(newest)).unwrap();
    let path = copy.to_str().unwrap();
    status(0, &["journal", "verify", path]);
    let said = status(
        0,
        &["journal", "prune", path, "--keep", "6 months", "--all"],
    );
    assert!(said.contains("removed: "), "{said}");
    assert_eq!(months(&copy), left);
    status(0, &["journal", "verify", path]);
}

#[test]
fn a_daemon_that_runs_prunes_by_itself() {
    let place = machines();
    let directory = journal(&place, 8);
    let state = std::fs::File::open(directory.parent().unwrap()).unwrap();
    let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    rustix::fs::flock(&state, lock).unwrap();
    let said = status(
        1,
        &[
            "journal",
            "prune",
            directory.to_str().unwrap(),
            "--keep",
            "6 months",
        ],
    );
    assert!(said.contains("in use by another fanal"), "{said}");
}

#[test]
fn a_report_and_a_transcript_are_signed_and_a_change_is_found() {
    let place = machines();
    let directory = journal(&place, 3);
    let path = directory.to_str().unwrap();
    let names = months(&directory);
    let month = names[1].strip_suffix(".jsonl").unwrap();
    let file = |name: &str| place.at(name);
    let (key, chain) = (file("berre-l-etang.key"), file("berre-l-etang.pem"));
    let sign = ["--sign", &key, "--certificate", &chain];
    let report = [
        "journal", "report", path, "--month", month, "--format", "html",
    ];
    status(2, &[&report[..], &sign].concat());
    let out_file = file("report.html");
    let written = [&report[..], &sign, &["--out", &out_file]].concat();
    status(0, &written);
    let (link, designation) = (file("link-ca.pem"), file("designation-ca.pem"));
    let said = status(0, &["journal", "verify-report", &out_file]);
    assert!(
        said.contains("by berre-l-etang; whose key it is was not checked"),
        "{said}"
    );
    status(
        0,
        &["journal", "verify-report", &out_file, "--authority", &link],
    );
    status(
        1,
        &[
            "journal",
            "verify-report",
            &out_file,
            "--authority",
            &designation,
        ],
    );
    let text = std::fs::read_to_string(&out_file).unwrap();
    std::fs::write(&out_file, text.replacen("<h1>", "<h1>x", 1)).unwrap();
    let said = status(1, &["journal", "verify-report", &out_file]);
    assert!(said.contains("NOT as it was signed"), "{said}");

    let out_directory = file("inspection");
    let export = [
        "journal",
        "export",
        path,
        "--out",
        &out_directory,
        "--from",
        month,
        "--until",
        month,
        "--authority",
        &link,
    ];
    status(0, &[&export[..], &sign].concat());
    let inside = |name: &str| format!("{out_directory}/{name}");
    status(
        0,
        &[
            "journal",
            "verify",
            &inside("journal"),
            "--authority",
            &inside("authority-1.pem"),
        ],
    );
    status(
        0,
        &[
            "journal",
            "verify-report",
            &inside("transcript.html"),
            "--authority",
            &link,
        ],
    );
    let transcript = std::fs::read_to_string(inside("transcript.html")).unwrap();
    let rows = transcript.matches("Reprise après redémarrage").count();
    assert!((2..=5).contains(&rows), "{rows}: only that month");
    let read_me = std::fs::read_to_string(inside("LISEZ-MOI.txt")).unwrap();
    assert!(
        read_me.contains("fanal journal verify journal --authority authority-1.pem"),
        "{read_me}"
    );
    assert!(
        std::fs::read_to_string(inside("certificates.pem"))
            .unwrap()
            .contains("BEGIN")
    );
    let said = status(1, &export);
    assert!(said.contains("not there yet"), "{said}");
}

#[test]
fn the_annexes_say_what_the_settings_say_and_no_secret() {
    let place = machines();
    let settings = format!(
        "name = \"Berre <b>\"\ncontact = \"Mairie, 04 00 00 00 00\"\n{}",
        GATEWAY.replace(
            "grounds = [\"fire\"]",
            "grounds = [\"fire\", \"pursuit\"]\nhours = \"mon-fri 08:00-20:00\"\napproval = \"commune\"\napproval_timeout = \"3m\"\napproval_exempt = [\"fire\"]",
        )
    );
    let file = put(
        &place,
        "gateway.toml",
        &format!("{settings}\n[journal]\nkeep = \"12 months\"\n"),
    );
    for lang in ["fr", "en"] {
        let html = status(0, &["dossier", "--config", &file, "--lang", lang]);
        let body = html.split("</style>").nth(1).unwrap();
        assert!(html.starts_with(&format!("<!doctype html><html lang=\"{lang}\">")));
        for said in [
            "Berre &lt;b&gt;",
            "corg-13",
            "quai-nord",
            "Convention",
            "08:00–20:00",
            "12 mo",
            "Mairie, 04",
        ] {
            assert!(body.contains(said), "{lang}: {said}");
        }
        for not in ["{", "<b>", "rtsp://", "127.0.0.1", ".pem", "<script"] {
            assert!(!body.contains(not), "{lang}: {not}");
        }
    }
    let french = status(0, &["dossier", "--config", &file]);
    for said in [
        "R. 252-3, 5°",
        "R. 252-3, 6°",
        "R. 253-5",
        "R. 253-6",
        "L. 252-3",
        "article 30",
        "article 35",
        "dans un délai de 3 minutes",
        "poursuite d&#39;un fuyard",
        "Projet à l&#39;attention",
        "lun. mar. mer. jeu. ven. 08:00–20:00",
        "leurs masques ayant été vérifiés\u{a0}: 1",
    ] {
        assert!(french.contains(said), "{said}");
    }
    let receiver = put(&place, "receiver.toml", "centre = \"corg-13\"\n");
    let said = status(2, &["dossier", "--config", &receiver]);
    assert!(said.contains("gateway.toml"), "{said}");
}
