//! `fanal certs` from a shell: what it prints, what it leaves, how it exits.

use std::path::Path;
use std::process::{Command, Output};

use crate::support::site::Place;

fn certs(inside: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .arg("certs")
        .args(args)
        .current_dir(inside)
        .output()
        .unwrap()
}

fn printed(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout)
        .unwrap()
        .lines()
        .collect()
}

const OPERATOR: [&str; 8] = [
    "operator",
    "13-4567",
    "--name",
    "Adjudant Zoé Ferré",
    "--unit",
    "CORG 13",
    "--dir",
    "c",
];

#[test]
fn prints_the_files_it_wrote() {
    let scratch = Place::new();
    for (args, expected) in [
        (
            &["init", "--dir", "c", "--only", "designation"][..],
            &[
                "c/designation-ca.pem",
                "c/designation-ca.key",
                "c/designation.crl.pem",
            ][..],
        ),
        (
            &["init", "--dir", "c", "--only", "link"],
            &["c/link-ca.pem", "c/link-ca.key", "c/link.crl.pem"],
        ),
        (
            &["gateway", "berre-l-etang", "--dir", "c"],
            &["c/berre-l-etang.pem", "c/berre-l-etang.key"],
        ),
        (
            &["receiver", "corg-13", "--dir", "c", "--for", "90d"],
            &["c/corg-13.pem", "c/corg-13.key"],
        ),
        (&OPERATOR, &["c/13-4567.pem", "c/13-4567.key"]),
        (
            &["revoke", "c/13-4567.pem", "--dir", "c"],
            &["c/designation.crl.pem"],
        ),
        (
            &["revoke", "corg-13.pem", "--dir", "c"],
            &["c/link.crl.pem"],
        ),
        (
            &["lists", "--dir", "c"],
            &["c/link.crl.pem", "c/designation.crl.pem"],
        ),
    ] {
        let output = certs(scratch.directory(), args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        assert_eq!(printed(&output), expected, "{args:?}");
        assert!(
            expected.iter().all(|file| scratch.path(file).is_file()),
            "{args:?}"
        );
    }
}

#[test]
fn says_what_is_wrong_and_how_to_mend_it() {
    let scratch = Place::new();
    assert!(
        certs(scratch.directory(), &["init", "--dir", "c"])
            .status
            .success()
    );
    assert!(certs(scratch.directory(), &OPERATOR).status.success());
    std::fs::write(scratch.path("no.csr"), "x").unwrap();
    let mut with_csr = vec!["operator", "1", "--name", "A", "--unit", "B", "--dir", "c"];
    with_csr.extend(["--csr", "no.csr"]);
    let too_short = [&OPERATOR[..], &["--for", "0s"]].concat();
    for (args, status, says) in [
        (
            &["init", "--dir", "c"][..],
            1,
            "exists and is not overwritten",
        ),
        (&OPERATOR, 1, "--replace"),
        (&too_short, 2, "at least 1s"),
        (&["gateway", "Berre", "--dir", "c"], 2, "must match"),
        (
            &[
                "operator", "../x", "--name", "A", "--unit", "B", "--dir", "c",
            ],
            2,
            "must match",
        ),
        (
            &["operator", "1", "--name", "", "--unit", "B", "--dir", "c"],
            2,
            "name \"\" is empty",
        ),
        (
            &["gateway", "berre", "--dir", "nowhere"],
            1,
            "fanal certs init",
        ),
        (&["revoke", "none.pem", "--dir", "c"], 1, "none.pem"),
        (&with_csr, 1, "signing request"),
        (&["nonsense"], 2, "nonsense"),
    ] {
        let output = certs(scratch.directory(), args);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{args:?}: {error}");
        assert!(error.contains(says), "{args:?}: {error}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn years_of_an_authority_from_a_shell() {
    let scratch = Place::new();
    let run = |args: &[&str], status: i32| {
        let output = certs(scratch.directory(), args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["init", "--dir", "link", "--only", "link"], 0);
    run(&["init", "--dir", "page", "--only", "page"], 0);
    run(&["request", "anne.petit", "--dir", "."], 0);
    let agent = [
        "agent",
        "anne.petit",
        "--name",
        "Anne Petit",
        "--csr",
        "anne.petit.csr",
    ];
    let made = run(&[&agent[..], &["--dir", "page"]].concat(), 0);
    assert_eq!(
        made, "page/anne.petit.pem\n",
        "the key stays where it was made"
    );
    let made = run(
        &["console", "corg13.example", "10.13.0.5", "--dir", "console"],
        0,
    );
    assert!(
        made.ends_with("console/corg13.example.pem\nconsole/corg13.example.key\n"),
        "{made}"
    );

    // A spreadsheet: nothing of it before every row is right.
    let roster = "kind;id;name;unit;for\r\ngateway;berre-l-etang;;;\r\nreceiver;Corg;;;\r\n";
    std::fs::write(scratch.path("roster.csv"), roster).unwrap();
    let output = certs(
        scratch.directory(),
        &["roster", "roster.csv", "--dir", "link"],
    );
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && error.contains("roster.csv:3: id"),
        "{error}"
    );
    assert!(!scratch.path("link/berre-l-etang.pem").exists());
    std::fs::write(
        scratch.path("roster.csv"),
        roster.replace("Corg", "corg-13"),
    )
    .unwrap();
    let made = run(&["roster", "roster.csv", "--dir", "link"], 0);
    assert_eq!(made.lines().count(), 4);
    assert_eq!(
        run(&["roster", "roster.csv", "--dir", "link"], 0),
        "",
        "made already"
    );

    assert_eq!(
        run(&["bundle", "corg-13", "--dir", "link"], 0),
        "link/corg-13.tar\n"
    );
    let listed = Command::new("tar")
        .args(["-tf", "link/corg-13.tar"])
        .current_dir(scratch.directory())
        .output()
        .unwrap();
    assert_eq!(
        printed(&listed),
        ["corg-13.pem", "corg-13.key", "link-ca.pem", "link.crl.pem"]
    );
    run(&["init", "--dir", "link", "--only", "link", "--replace"], 0);
    run(
        &["gateway", "berre-l-etang", "--dir", "link", "--replace"],
        0,
    );
    let ends = run(&["ends", "--dir", "link"], 0);
    assert!(
        ends.contains("link.crl.pem") && ends.contains("link-ca.pem"),
        "{ends}"
    );
    run(&["lists", "--dir", "link", "--lists-for", "10d"], 0);
    assert!(run(&["ends", "--dir", "link"], 1).starts_with("soon"));
    run(&["retire", "--only", "link", "--dir", "link"], 0);
    // The old authority's certificates are nobody's now.
    let output = certs(
        scratch.directory(),
        &["revoke", "corg-13.pem", "--dir", "link"],
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
