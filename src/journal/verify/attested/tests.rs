use super::*;
use crate::format::ids::{CommuneId, Incident, RequestId, Sha256};
use crate::format::statement::{Operator, Received};
use crate::reason::Reason;

const START: i64 = 1_795_996_800;

fn at(second: i64) -> String {
    Wall::from_seconds(START + second).rfc3339()
}

fn centre() -> CentreId {
    CentreId::new("corg-13").unwrap()
}

fn camera() -> CameraId {
    CameraId::new("quai").unwrap()
}

fn id(number: u128) -> GrantId {
    GrantId(uuid::Uuid::from_u128(number))
}

/// A grant from the 100th to the 700th second.
fn grant(number: u128) -> Entry {
    Entry::Grant(Box::new(GrantEntry {
        grant: id(number),
        request: String::new(),
        jti: RequestId(uuid::Uuid::from_u128(number)),
        proof: None,
        commune: CommuneId::new("berre").unwrap(),
        centre: centre(),
        operator: Operator {
            name: String::new(),
            number: String::new(),
            unit: String::new(),
        },
        grounds: String::new(),
        incident: Incident::new("x").unwrap(),
        recipients: Vec::new(),
        granted: vec![camera()],
        refused: Vec::new(),
        renewal: false,
        first_start: START + 100,
        start: START + 100,
        expires: START + 700,
        approved_by: None,
        agreement: String::new(),
        settings: Sha256::ZERO,
        peer_head: None,
        receiver: None,
    }))
}

fn ended(number: u128, second: i64) -> Entry {
    Entry::Ended {
        grant: id(number),
        reason: Reason::GrantReleased,
        at: at(second),
        by: None,
    }
}

fn list(number: u128, bytes: u64) -> Entry {
    Entry::Viewings {
        grant: id(number),
        part: Some(0),
        parts: Some(1),
        statement: String::new(),
        viewings: Vec::new(),
        received: vec![Received {
            camera: camera(),
            bytes,
        }],
    }
}

fn row(number: u128, sent: u64, received: Option<u64>) -> Media {
    Media {
        grant: id(number),
        camera: camera(),
        sent,
        received,
        lost: 0,
    }
}

fn attestation(from: i64, to: i64, media: Vec<Media>) -> Attestation {
    Attestation {
        from: at(from),
        to: at(to),
        centre: centre(),
        gap: None,
        link_sent: 1_000_000,
        control_sent: 1_000,
        media,
        media_folded: None,
        ungranted: 0,
        idle_seconds: 10,
        camera_sessions: Vec::new(),
        camera_sessions_folded: None,
    }
}

fn told(from: i64, to: i64, media: Vec<Media>) -> Entry {
    Entry::Attestation(Box::new(attestation(from, to, media)))
}

/// What is wrong, and the sentence. The centre counted from the grant's start on.
fn judge(entries: &[Entry]) -> (Vec<String>, String) {
    judge_counting(entries, START + 100)
}

fn judge_counting(entries: &[Entry], since: i64) -> (Vec<String>, String) {
    let mut judge = Judge::default();
    let checked = Checked {
        counted_since: Some(since),
        ..Checked::default()
    };
    let wrong = entries
        .iter()
        .flat_map(|entry| judge.entry(Wall(0), entry, &checked));
    let wrong = wrong.collect();
    let said = judge.finish().first().map(ToString::to_string);
    (wrong, said.unwrap_or_default())
}

#[test]
fn what_agrees_is_said_in_one_sentence() {
    let mut gap = attestation(900, 2_000, Vec::new());
    gap.gap = Some(Gap {
        from: at(900),
        to: at(1_500),
    });
    let entries = [
        told(0, 200, vec![]),
        grant(1),
        told(200, 500, vec![row(1, 600, None)]),
        ended(1, 600),
        list(1, 1_000),
        told(500, 900, vec![row(1, 400, Some(1_000))]),
        Entry::Attestation(Box::new(gap)),
    ];
    let (wrong, said) = judge(&entries);
    assert_eq!(wrong, Vec::<String>::new());
    let expected = format!(
        "nothing left for corg-13 outside a grant from {} to {}, except from {} to {}, when nothing \
         was counted: 1000 bytes of pictures under 1 grants, 1000 of them received as the centre \
         signed; this is what the programs of both sides counted",
        at(0),
        at(2_000),
        at(900),
        at(1_500)
    );
    assert_eq!(said, expected);
}

#[test]
fn each_thing_that_does_not_agree_is_found() {
    let mut outside = attestation(0, 900, vec![]);
    outside.ungranted = 5;
    let mut gap = attestation(0, 900, vec![]);
    gap.gap = Some(Gap {
        from: at(-5),
        to: at(5),
    });
    let session = |from: i64, to: i64, why: Why| {
        let mut told = attestation(0, 9_000, vec![]);
        told.camera_sessions.push(Session {
            camera: camera(),
            from: at(from),
            to: at(to),
            why,
        });
        Entry::Attestation(Box::new(told))
    };
    let outside = Entry::Attestation(Box::new(outside));
    let gap = Entry::Attestation(Box::new(gap));
    let bad: [(&[Entry], &str); 12] = [
        (
            &[told(0, 900, vec![]), told(901, 950, vec![])],
            "it begins at",
        ),
        (&[told(900, 0, vec![])], "before it begins"),
        (&[outside], "5 bytes left outside any grant"),
        (&[gap], "its gap is not within"),
        (&[told(0, 900, vec![row(2, 5, None)])], "no such grant"),
        (
            &[told(800, 900, vec![row(1, 5, None)])],
            "which did not live then",
        ),
        (
            &[told(0, 900, vec![row(1, 5, Some(5))])],
            "the centre signed nothing",
        ),
        (
            &[list(1, 6), told(0, 900, vec![row(1, 5, Some(5))])],
            "the centre signed 6",
        ),
        (
            &[list(1, 6), told(0, 900, vec![row(1, 5, Some(6))])],
            "received 6 bytes of quai",
        ),
        (
            &[list(1, 6), told(0, 900, vec![row(1, 100_000_000, Some(6))])],
            "of 100000000 sent, of which 0 may be lost",
        ),
        (&[session(50, 300, Why::Grant(id(1)))], "did not live then"),
        (
            &[session(300, 5_000, Why::Grant(id(1)))],
            "did not live then",
        ),
    ];
    for (entries, expected) in bad {
        let mut all = vec![grant(1)];
        all.extend_from_slice(entries);
        let (wrong, said) = judge(&all);
        assert_eq!(wrong.len(), 1, "{expected}: {wrong:?}");
        assert!(wrong[0].contains(expected), "{expected}: {wrong:?}");
        assert!(said.contains("what 1 findings say"), "{said}");
    }
    let fine = [
        session(100, 710, Why::Grant(id(1))),
        session(0, 9_000, Why::Warm),
        session(1, 1, Why::Probe),
    ];
    for one in fine {
        assert_eq!(judge(&[grant(1), one]).0, Vec::<String>::new());
    }
}

#[test]
fn nobody_is_accused_where_something_was_not_counted_or_is_counted_elsewhere() {
    let none = Vec::<String>::new();
    // The centre was started again in the middle.
    let less = [
        grant(1),
        list(1, 6),
        told(0, 900, vec![row(1, 100_000_000, Some(6))]),
    ];
    assert_eq!(judge_counting(&less, START + 300).0, none);
    // The gateway was killed in the middle.
    let mut gap = attestation(0, 900, vec![row(1, 5, Some(6))]);
    gap.gap = Some(Gap {
        from: at(0),
        to: at(400),
    });
    let gap = Entry::Attestation(Box::new(gap));
    assert_eq!(judge(&[grant(1), list(1, 6), gap]).0, none);
    // Two grants held the relay.
    let shared = [
        grant(1),
        grant(2),
        list(1, 6),
        told(0, 900, vec![row(1, 5, Some(6))]),
    ];
    assert_eq!(judge(&shared).0, none);
    // A copy without the grant's entry.
    let mut partial = Judge::default();
    partial.misses_lines();
    let entry = told(0, 900, vec![row(1, 5, Some(5))]);
    assert_eq!(partial.entry(Wall(0), &entry, &Checked::default()), none);
    // The clock was set back while the grant lived: its end is told to be before its start.
    let mut set_back = Judge::default();
    let mut period = attestation(0, 900, vec![row(1, 5, None)]);
    period.camera_sessions.push(Session {
        camera: camera(),
        from: at(100),
        to: at(100),
        why: Why::Grant(id(1)),
    });
    let entries = [
        (200, grant(1)),
        (-3_000, ended(1, -3_000)),
        (900, Entry::Attestation(Box::new(period))),
    ];
    for (second, entry) in entries {
        let time = Wall::from_seconds(START + second);
        assert_eq!(set_back.entry(time, &entry, &Checked::default()), none);
    }
    // Groups that were given up on the way.
    let mut lost = row(1, 100_000_000, Some(6));
    lost.lost = 90_000_000;
    assert_eq!(
        judge(&[grant(1), list(1, 6), told(0, 900, vec![lost])]).0,
        none
    );
}

fn signed(signed: &[u64]) -> Figures {
    Figures {
        signed: signed.to_vec(),
        ..Figures::default()
    }
}

/// Each figure of a grant's many lists is looked at once or twice, not once for each pair.
#[test]
fn a_figure_that_nobody_signed_is_found_missing_at_once() {
    let mut figures = signed(&vec![1; 100_000]);
    assert_eq!(figures.take(100_001), Err("1".to_owned()));
    assert_eq!(figures.take(99_999), Ok(99_999));
    assert_eq!(figures.signed, [1]);
    assert_eq!(signed(&[]).take(0), Err("nothing".to_owned()));
}

proptest::proptest! {
    #[test]
    fn a_run_that_ends_first_is_taken_and_of_those_the_longest(
        all in proptest::collection::vec(0_u64..4, 0..8),
        told in 0_u64..12,
    ) {
        let runs = (0..all.len()).flat_map(|to| (0..=to).map(move |from| from..to + 1));
        let run = { runs }.find(|run| all[run.clone()].iter().sum::<u64>() == told);
        let mut figures = signed(&all);
        let taken = figures.take(told);
        proptest::prop_assert_eq!(taken.is_ok(), run.is_some());
        let end = run.map_or(0, |run| run.end);
        proptest::prop_assert_eq!(&figures.signed[..], &all[end..]);
    }
}
