use std::time::Duration;

use super::*;
use crate::certs::trial::Trial;
use crate::format::decision::DECISION_TYPE;
use crate::format::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, ProfileWish, RequestId,
};
use crate::format::jws::Signer;
use crate::format::statement::Operator;
use crate::format::statement::{HEAD_TYPE, HeadClaims, REQUEST_TYPE, RequestClaims};
use crate::journal::entry::GrantEntry;
use crate::journal::sim::{Scratch, lines};

const START: Wall = Wall::from_seconds(1_795_996_800);

/// Twelve lines, eight in November, four in December.
fn twelve() -> Vec<Vec<u8>> {
    let entries: Vec<(Wall, Entry)> = (0..12u64)
        .map(|number| {
            let hours = if number < 8 { number } else { 100 + number };
            let grant = GrantId(uuid::Uuid::from_u128(u128::from(number)));
            let time = START.plus(Duration::from_secs(hours * 3600));
            (time, Entry::Resumed { grant })
        })
        .collect();
    lines(&entries)
}

/// Writes lines, the first so many of them in the first file.
fn write(directory: &Scratch, lines: &[Vec<u8>], november: usize) {
    let (first, second) = lines.split_at(november.min(lines.len()));
    std::fs::write(directory.0.join("2026-11.jsonl"), first.concat()).unwrap();
    std::fs::write(directory.0.join("2026-12.jsonl"), second.concat()).unwrap();
}

fn run(directory: &Scratch) -> Report {
    verify(&Options {
        directory: directory.0.clone(),
        ..Options::default()
    })
    .unwrap()
}

fn findings(report: &Report) -> Vec<String> {
    report.findings.iter().map(ToString::to_string).collect()
}

#[test]
fn an_intact_journal_has_no_findings() {
    let directory = Scratch::new("verify-intact");
    write(&directory, &twelve(), 8);
    std::fs::write(directory.0.join("notes.txt"), "not of the journal").unwrap();
    let report = run(&directory);
    assert_eq!(findings(&report), Vec::<String>::new());
    assert_eq!((report.files, report.lines), (2, 12));
    let [journal] = &report.journals[..] else {
        panic!("{report:?}");
    };
    assert_eq!((journal.id.as_deref(), journal.seq), (Some("00ff"), 12));
}

#[test]
fn a_copy_without_bodies_verifies_too() {
    let directory = Scratch::new("verify-copy");
    let mut copy = twelve();
    for index in [0, 3, 9] {
        let line = copy[index].clone();
        let line = Line::parse(&line[..line.len() - 1]).unwrap();
        copy[index] = format!("{}\n", line.header.without_body()).into_bytes();
    }
    write(&directory, &copy, 8);
    let report = run(&directory);
    assert_eq!(findings(&report), Vec::<String>::new());
    assert_eq!(report.without_body, 3);
}

/// Replaces text in a line.
fn edit(lines: &mut [Vec<u8>], index: usize, from: &str, to: &str) {
    let text = String::from_utf8(lines[index].clone()).unwrap();
    let changed = text.replacen(from, to, 1);
    assert_ne!(text, changed);
    lines[index] = changed.into_bytes();
}

/// A line that fits after `lines[index]` and was never written.
fn forge(lines: &[Vec<u8>], index: usize) -> Vec<u8> {
    let before = &lines[index];
    let before = Line::parse(&before[..before.len() - 1]).unwrap();
    let end = End {
        seq: before.header.seq,
        link: before.link,
    };
    let body = br#"{"v":1,"salt":"00","kind":"stopped"}"#;
    let mut line = end.next(before.header.time, body).with_body(body);
    line.push(b'\n');
    line
}

type Change = fn(&mut Vec<Vec<u8>>);

/// What is done, how many lines stay in the first file, and what is found.
const TABLE: &[(&str, usize, Change, &[&str])] = &[
    (
        "a body changed",
        8,
        |l| edit(l, 4, "resumed", "resumes"),
        &["2026-11.jsonl line 5 (seq 5): changed: its body"],
    ),
    (
        "a time changed",
        8,
        |l| edit(l, 4, ".000Z", ".001Z"),
        &["2026-11.jsonl line 5 (seq 5): changed: its seq, prev, time or digest"],
    ),
    (
        "a prev changed",
        8,
        |l| edit(l, 4, "\"prev\":\"", "\"prev\":\"0"),
        &["2026-11.jsonl line 5 (seq 5): changed: it is no line"],
    ),
    (
        "a prev changed in form",
        8,
        |l| {
            let other = String::from_utf8(l[6].clone()).unwrap();
            let prev = &other[16..80];
            let own = String::from_utf8(l[4].clone()).unwrap();
            let own = own[16..80].to_owned();
            edit(l, 4, &own, prev);
        },
        &["2026-11.jsonl line 5 (seq 5): changed: neither"],
    ),
    (
        "a digest changed with its body",
        8,
        |l| {
            let forged = forge(l, 3);
            l[4] = forged;
        },
        &["2026-11.jsonl line 5 (seq 5): changed: its seq, prev, time or digest"],
    ),
    (
        "a seq changed",
        8,
        |l| edit(l, 4, "\"seq\":5", "\"seq\":77"),
        &["2026-11.jsonl line 5 (seq 5): changed: its seq says 77"],
    ),
    (
        "garbage in a line",
        8,
        |l| l[4] = b"garbage\n".to_vec(),
        &["2026-11.jsonl line 5 (seq 5): changed: it is no line"],
    ),
    (
        "the first line changed",
        8,
        |l| edit(l, 0, ".000Z", ".001Z"),
        &["2026-11.jsonl line 1 (seq 1): changed"],
    ),
    (
        "a line removed",
        7,
        |l| drop(l.remove(4)),
        &["2026-11.jsonl line 5 (seq 6): removed: seq 5 is missing"],
    ),
    (
        "the first line removed",
        7,
        |l| drop(l.remove(0)),
        &["2026-11.jsonl line 1 (seq 2): removed: seq 1 is missing"],
    ),
    (
        "lines removed over the months' border",
        6,
        |l| drop(l.drain(6..10)),
        &["2026-12.jsonl line 1 (seq 11): removed: seq 7 to 10 are missing"],
    ),
    (
        "a line repeated behind itself",
        9,
        |l| l.insert(5, l[4].clone()),
        &["2026-11.jsonl line 6 (seq 5): repeated: it is at 2026-11.jsonl line 5"],
    ),
    (
        "a line repeated far away",
        8,
        |l| l.push(l[4].clone()),
        &["2026-12.jsonl line 5 (seq 5): repeated: it is at 2026-11.jsonl line 5"],
    ),
    (
        "the first line repeated",
        9,
        |l| l.insert(5, l[0].clone()),
        &["2026-11.jsonl line 6 (seq 1): repeated: it is at 2026-11.jsonl line 1"],
    ),
    (
        "a fitting line added",
        9,
        |l| l.insert(5, forge(l, 4)),
        &["2026-11.jsonl line 6 (seq 6): added"],
    ),
    (
        "garbage added",
        9,
        |l| l.insert(5, b"\n".to_vec()),
        &["2026-11.jsonl line 6: added: it is no line"],
    ),
    (
        "neighbours swapped",
        8,
        |l| l.swap(4, 5),
        &["(seq 5): reordered: it belongs after 2026-11.jsonl line 4"],
    ),
    (
        "a line moved away",
        8,
        |l| {
            let line = l.remove(2);
            l.insert(6, line);
        },
        &["2026-11.jsonl line 7 (seq 3): reordered: it belongs after 2026-11.jsonl line 2"],
    ),
    (
        "the first line moved back",
        8,
        |l| l.swap(0, 1),
        &["reordered"],
    ),
    (
        "a December line in November's file",
        9,
        |_| {},
        &["2026-11.jsonl line 9 (seq 9): reordered: its time is of a later month"],
    ),
    (
        "the last line torn",
        8,
        |l| l[11].truncate(50),
        &["2026-12.jsonl line 4: changed: the last line has no end (50 bytes)"],
    ),
    (
        "two things at once",
        7,
        |l| {
            edit(l, 9, "resumed", "resumes");
            l.remove(1);
        },
        &[
            "2026-11.jsonl line 2 (seq 3): removed: seq 2",
            "2026-12.jsonl line 2 (seq 10): changed: its body",
        ],
    ),
];

#[test]
fn each_kind_of_tampering_is_found_and_named() {
    let directory = Scratch::new("verify-table");
    for (what, november, change, expected) in TABLE {
        let mut lines = twelve();
        change(&mut lines);
        write(&directory, &lines, *november);
        let found = findings(&run(&directory));
        assert_eq!(found.len(), expected.len(), "{what}: {found:#?}");
        for (found, expected) in found.iter().zip(*expected) {
            assert!(found.contains(expected), "{what}: {found}");
        }
    }
}

#[test]
fn a_whole_month_removed_or_files_exchanged_is_found() {
    let directory = Scratch::new("verify-files");
    write(&directory, &twelve(), 8);
    std::fs::remove_file(directory.0.join("2026-11.jsonl")).unwrap();
    let found = findings(&run(&directory));
    assert!(found[0].contains("removed: seq 1 to 8"), "{found:?}");
    write(&directory, &twelve(), 8);
    let november = std::fs::read(directory.0.join("2026-11.jsonl")).unwrap();
    let december = std::fs::read(directory.0.join("2026-12.jsonl")).unwrap();
    std::fs::write(directory.0.join("2026-11.jsonl"), december).unwrap();
    std::fs::write(directory.0.join("2026-12.jsonl"), november).unwrap();
    let found = findings(&run(&directory));
    assert!(found.iter().any(|f| f.contains("reordered")), "{found:?}");
}

fn signer(trial: &Trial, id: &str) -> Signer {
    let machine = trial.machine(id).unwrap();
    Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap()
}

fn head(signer: &Signer, line: &[u8]) -> String {
    let line = Line::parse(&line[..line.len() - 1]).unwrap();
    signer.sign(
        HEAD_TYPE,
        &HeadClaims {
            iss: "berre-l-etang".to_owned(),
            journal: "00ff".to_owned(),
            seq: line.header.seq,
            link: line.link,
            iat: START.seconds(),
        },
    )
}

/// What the chain alone can't show: lines cut off at the end, a chain rewritten.
#[test]
fn heads_in_another_copy_show_a_cut_end_and_a_rewritten_chain() {
    let own = Scratch::new("verify-own");
    let other = Scratch::new("verify-other");
    let trial = Trial::new(START).unwrap();
    let signer = signer(&trial, "berre-l-etang");
    let good = twelve();
    let heads: Vec<(Wall, Entry)> = [4, 10]
        .into_iter()
        .map(|index| {
            let peer = "berre-l-etang".to_owned();
            let head = head(&signer, &good[index]);
            (START, Entry::PeerHead { peer, head })
        })
        .collect();
    write(&other, &lines(&heads), 8);
    let check = || {
        verify(&Options {
            directory: own.0.clone(),
            with: vec![other.0.clone()],
            ..Options::default()
        })
        .unwrap()
    };

    write(&own, &good, 8);
    let report = check();
    assert_eq!(findings(&report), Vec::<String>::new());
    assert_eq!(report.heads, 2);

    write(&own, &good[..9], 8);
    assert!(run(&own).is_intact(), "the chain alone does not show it");
    let found = findings(&check());
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = "2026-12.jsonl line 1 (seq 9): removed: seq 10 to 11 are missing";
    assert!(found[0].contains(expected), "{found:?}");

    let mut rewritten = good[..4].to_vec();
    for index in 3..11 {
        rewritten.push(forge(&rewritten, index));
    }
    write(&own, &rewritten, 12);
    assert!(run(&own).is_intact());
    let found = findings(&check());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("line 5 (seq 5): changed: it contradicts the head of line 5"));
    assert!(found[0].contains("verify-other/2026-11.jsonl line 1"));
}

fn grant_entry(request: String, claims: &RequestClaims) -> GrantEntry {
    GrantEntry {
        grant: GrantId(uuid::Uuid::from_u128(1)),
        request,
        jti: claims.jti,
        proof: None,
        commune: claims.aud.clone(),
        centre: claims.centre.clone(),
        operator: Operator {
            name: "Adjudant 13-1".to_owned(),
            number: "13-1".to_owned(),
            unit: "CORG 13".to_owned(),
        },
        grounds: claims.grounds.clone(),
        incident: claims.incident.clone(),
        recipients: Vec::new(),
        granted: claims.cameras.clone(),
        refused: Vec::new(),
        renewal: false,
        first_start: START.seconds(),
        start: START.seconds(),
        expires: START.seconds() + 600,
        approved_by: None,
        agreement: "x".to_owned(),
        settings: Sha256::ZERO,
        peer_head: None,
        receiver: None,
    }
}

#[test]
fn statements_must_say_what_their_entry_says_and_be_of_the_authoritys_keys() {
    let directory = Scratch::new("verify-statements");
    let trial = Trial::new(START).unwrap();
    let stranger = Trial::new(START).unwrap();
    let machine = signer(&trial, "corg-13");
    let identity = trial.simple_operator("13-1", "CORG 13", START).unwrap();
    let operator = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
    let claims = RequestClaims {
        jti: RequestId(uuid::Uuid::from_u128(
            0x019a_0000_0000_7000_8000_0000_0000_0001,
        )),
        iat: START.seconds(),
        aud: CommuneId::new("berre-l-etang").unwrap(),
        centre: CentreId::new("corg-13").unwrap(),
        cameras: vec![CameraId::new("quai-nord").unwrap()],
        grounds: "pursuit".to_owned(),
        incident: Incident::new("COG-13/42").unwrap(),
        duration: 600,
        profile: ProfileWish::Auto,
        present: Vec::new(),
        renews: None,
    };
    let good = grant_entry(operator.sign(REQUEST_TYPE, &claims), &claims);
    let peer_head = machine.sign(
        HEAD_TYPE,
        &HeadClaims {
            iss: "corg-13".to_owned(),
            journal: "aa".to_owned(),
            seq: 4,
            link: Sha256::ZERO,
            iat: START.seconds(),
        },
    );
    let check = |entry: &GrantEntry, authorities: &[&str]| {
        let entries = [
            (START, Entry::Grant(Box::new(entry.clone()))),
            (
                START,
                Entry::PeerHead {
                    peer: "corg-13".to_owned(),
                    head: peer_head.clone(),
                },
            ),
        ];
        write(&directory, &lines(&entries), 2);
        let authorities = (!authorities.is_empty())
            .then(|| Authorities::from_pem(authorities.iter().copied()).unwrap());
        let report = verify(&Options {
            directory: directory.0.clone(),
            authorities,
            ..Options::default()
        });
        let report = report.unwrap();
        (findings(&report), report.notes)
    };
    let none: Vec<String> = Vec::new();
    let designation = trial.designation_authority();
    let link = trial.link_authority();

    assert_eq!(check(&good, &[]).0, none);
    let (found, notes) = check(&good, &[designation, link]);
    assert_eq!(found, none);
    assert_eq!(notes.len(), 2, "{notes:?}");
    // One authority alone checks its own kind and says that it does not the other.
    for one in [designation, link] {
        let (found, notes) = check(&good, &[one]);
        assert_eq!(found, none);
        assert!(
            notes.iter().any(|note| note.contains("not checked")),
            "{notes:?}"
        );
    }
    let (found, _) = check(
        &good,
        &[stranger.designation_authority(), stranger.link_authority()],
    );
    assert_eq!(found.len(), 2, "{found:?}");

    let mut forged = good.clone();
    forged.granted.push(CameraId::new("mairie").unwrap());
    let (found, _) = check(&forged, &[]);
    assert!(found[0].contains("camera mairie is granted and was not asked for"));
    let mut forged = good.clone();
    forged.incident = Incident::new("other").unwrap();
    assert_eq!(check(&forged, &[]).0.len(), 1);
    let mut forged = good.clone();
    forged.operator.number = "13-2".to_owned();
    assert_eq!(check(&forged, &[]).0, none);
    assert!(check(&forged, &[designation]).0[0].contains("operator"));
    let mut forged = good;
    forged
        .request
        .replace_range(forged.request.len() - 4.., "AAAA");
    assert!(check(&forged, &[]).0[0].contains("fanal-request+jwt"));
}

#[test]
fn decisions_are_signed_by_whom_their_entry_names() {
    let trial = Trial::new(START).unwrap();
    let identity = trial.simple_operator("pm-7", "Mairie", START).unwrap();
    let anne = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
    let jti = RequestId(uuid::Uuid::from_u128(7));
    let cut = serde_json::json!({"jti": jti, "iat": 1, "aud": "berre", "scope": "all", "block": 9});
    let statement = anne.sign(DECISION_TYPE, &cut);
    let checked = |statement: &str, jti, number: &str| {
        let entry = Entry::Decision {
            statement: statement.to_owned(),
            jti,
            person: Operator {
                name: "Adjudant pm-7".to_owned(),
                number: number.to_owned(),
                unit: "Mairie".to_owned(),
            },
            refused: None,
        };
        statements::check(&entry, None, Depth::Full).wrong
    };
    assert_eq!(checked(&statement, jti, "pm-7"), Vec::<String>::new());
    let other = RequestId(uuid::Uuid::from_u128(8));
    assert!(checked(&statement, other, "pm-7")[0].contains("jti"));
    assert!(checked(&statement, jti, "pm-8")[0].contains("person"));
    let (text, _) = statement.rsplit_once('.').unwrap();
    assert!(checked(&format!("{text}.AAAA"), jti, "pm-7")[0].contains("signature"));
}

#[test]
fn a_directory_without_month_files_is_an_error() {
    let directory = Scratch::new("verify-empty");
    let error = verify(&Options {
        directory: directory.0.clone(),
        ..Options::default()
    });
    assert!(error.unwrap_err().contains("no month file"));
}

#[test]
fn many_findings_are_counted_and_bounded() {
    let directory = Scratch::new("verify-many");
    let lines: Vec<Vec<u8>> = (0..1000).map(|_| b"x\n".to_vec()).collect();
    write(&directory, &lines, 1000);
    let report = run(&directory);
    assert_eq!(report.findings.len(), FINDINGS_LIMIT);
    assert_eq!(report.more, 800);
}
