use super::*;
use crate::format::chain::LINE_LIMIT;
use crate::format::ids::CentreId;
use crate::journal::log::encode;
use crate::journal::sim::{Sim, lines};
use crate::reason::Reason;

const START: Wall = Wall::from_seconds(1_795_996_800);

fn grant(number: u128) -> GrantId {
    GrantId(uuid::Uuid::from_u128(number))
}

fn after(hours: u64) -> Wall {
    START.plus(Duration::from_secs(hours * 3600))
}

/// A disk with these lines, each in the file of its month.
fn disk(lines: &[Vec<u8>]) -> Sim {
    let mut months: BTreeMap<Month, Vec<u8>> = BTreeMap::new();
    for line in lines {
        let time = Line::parse(&line[..line.len() - 1]).unwrap().header.time;
        months.entry(Month::of(time)).or_default().extend(line);
    }
    let sim = Sim::default();
    for (month, content) in months {
        sim.replace(month, &content);
    }
    sim
}

fn ended(number: u128) -> Entry {
    Entry::Ended {
        grant: grant(number),
        reason: Reason::GrantExpired,
        at: START.rfc3339(),
        by: None,
    }
}

fn cut(scope: &str) -> Entry {
    Entry::Cut {
        scope: scope.to_owned(),
        until: after(99_999).rfc3339(),
        by: "root".to_owned(),
    }
}

fn allowed(scope: &str) -> Entry {
    Entry::Allowed {
        scope: scope.to_owned(),
        by: "root".to_owned(),
    }
}

fn head(peer: &str, head: &str) -> Entry {
    Entry::PeerHead {
        peer: peer.to_owned(),
        head: head.to_owned(),
    }
}

#[test]
fn young_entries_are_kept_and_of_old_ones_only_what_is_in_force() {
    let confirmed = Entry::Confirmed {
        grant: grant(1),
        centre: CentreId::new("corg-83").unwrap(),
        head: "c1".to_owned(),
    };
    let list = Entry::Revocation {
        authority: "CA".to_owned(),
        number: "7".to_owned(),
        list: Sha256::ZERO,
    };
    let entries = [
        (after(0), head("corg-13", "h1")),
        (after(0), Entry::Resumed { grant: grant(1) }),
        (after(1), cut("camera:a")),
        (after(1), cut("camera:b")),
        (after(2), allowed("camera:a")),
        (after(3), list.clone()),
        (after(4), head("corg-13", "h2")),
        (after(4), confirmed.clone()),
        (after(5), ended(1)),
        (after(900), Entry::Resumed { grant: grant(2) }),
        (after(940), ended(2)),
    ];
    let found = recover(&mut disk(&lines(&entries))).unwrap();
    let kept: Vec<Entry> = found.entries.into_iter().map(|(_, _, e)| e).collect();
    let expected = [
        cut("camera:b"),
        list,
        head("corg-13", "h2"),
        confirmed,
        Entry::Resumed { grant: grant(2) },
        ended(2),
    ];
    assert_eq!(kept, expected);
    assert_eq!(found.end.seq, 11);
    assert_eq!(found.lines, 11);
    assert_eq!(found.journal.as_deref(), Some("00ff"));
    assert_eq!(found.newest, Some(after(940)));
    assert_eq!(found.recent.len(), 11);
}

#[test]
fn of_grants_that_are_over_their_trace_stays_at_the_gateway_for_a_month() {
    let of = |number: u128, proof: Option<&str>| {
        let entry = serde_json::json!({
            "kind": "grant", "grant": grant(number), "request": "a.b.c", "jti": grant(number),
            "proof": proof, "commune": "berre", "centre": "corg-13",
            "operator": { "name": "A", "number": "1", "unit": "U" },
            "grounds": "assault", "incident": "1", "recipients": ["U"],
            "granted": ["quai"], "refused": [], "renewal": false,
            "first_start": 1, "start": 1, "expires": 2,
            "agreement": "A", "settings": Sha256::ZERO,
        });
        serde_json::from_value::<Entry>(entry).unwrap()
    };
    let part = |number: u128| Entry::Viewings {
        grant: grant(number),
        part: Some(0),
        parts: Some(1),
        statement: "a.b.c".to_owned(),
        viewings: Vec::new(),
        received: Vec::new(),
    };
    let kept = |proof: Option<&str>| {
        let entries = [
            (after(0), of(1, proof)),
            (after(1), ended(1)),
            (after(700), of(2, proof)),
            (after(701), part(2)),
            (after(702), ended(2)),
            (after(703), part(2)),
            (after(704), of(3, proof)),
            (after(894), of(4, proof)),
            (after(900), ended(4)),
            (after(947), Entry::Stopped {}),
        ];
        let found = recover(&mut disk(&lines(&entries))).unwrap();
        found.entries
    };
    let told = kept(None);
    let places: Vec<u64> = told.iter().map(|(seq, ..)| *seq).collect();
    // The first is older than a month, the third has no end.
    assert_eq!(places, [3, 4, 5, 6, 8, 9, 10]);
    let Entry::Grant(trace) = &told[0].2 else {
        panic!("{told:?}");
    };
    assert_eq!((trace.request.as_str(), trace.granted.len()), ("", 1));
    assert!(matches!(&told[1].2, Entry::Viewings { statement, .. } if statement.is_empty()));
    // A centre's journal says by other entries what it owes.
    let places: Vec<u64> = kept(Some("p")).iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(places, [9, 10]);
}

#[test]
fn lifting_everything_lifts_each_cut() {
    let entries = [
        (after(0), cut("camera:a")),
        (after(0), cut("centre:corg-13")),
        (after(0), allowed("all")),
        (after(900), Entry::Stopped {}),
    ];
    let found = recover(&mut disk(&lines(&entries))).unwrap();
    assert_eq!(found.entries.len(), 1);
}

#[test]
fn an_accepted_clock_sets_the_newest_time() {
    let accepted = Entry::ClockAccepted {
        newest: after(50).rfc3339(),
        by: "root".to_owned(),
    };
    let entries = [
        (after(50), Entry::Stopped {}),
        (after(1), accepted),
        (after(2), Entry::Stopped {}),
    ];
    // A clock gone back stays in the newer file.
    let mut sim = Sim::default();
    sim.replace(Month::of(after(50)), &lines(&entries).concat());
    let found = recover(&mut sim).unwrap();
    assert_eq!(found.newest, Some(after(2)));
}

#[test]
fn many_ended_grants_are_let_go_and_live_ones_are_not() {
    let long = |number: u128| Entry::Viewings {
        part: None,
        parts: None,
        grant: grant(number),
        statement: "x".repeat(900_000),
        viewings: Vec::new(),
        received: Vec::new(),
    };
    let mut entries = Vec::new();
    for number in 0..80 {
        let time = START.plus(Duration::from_secs(1200) * u32::try_from(number).unwrap());
        entries.push((time, long(number)));
        if number != 3 {
            entries.push((time, ended(number)));
        }
    }
    let found = recover(&mut disk(&lines(&entries))).unwrap();
    let bytes: usize = found
        .entries
        .iter()
        .map(|(_, _, entry)| encode(entry).unwrap().len())
        .sum();
    assert!(bytes < KEPT_BYTES, "{bytes}");
    let kept = |number| {
        let of = |(_, _, entry): &(u64, Wall, Entry)| grant_of(entry) == Some(grant(number));
        found.entries.iter().any(of)
    };
    assert!(kept(3) && kept(79) && !kept(0));
}

/// Every way a journal can be wrong is damage, with file and line.
#[test]
fn what_is_wrong_is_named_as_damage() {
    let good = lines(&[
        (after(0), Entry::Stopped {}),
        (after(1), ended(1)),
        (after(2), ended(2)),
        (after(900), ended(3)),
        (after(901), ended(4)),
    ]);
    type Change = fn(&mut Vec<Vec<u8>>);
    let changes: [(&str, &str, Change); 9] = [
        ("2026-11.jsonl line 2 (seq 2", "digest", |lines| {
            let at = lines[1].len() - 10;
            lines[1][at] ^= 1;
        }),
        ("2026-11.jsonl line 2 (seq 2", "seq is 3", |lines| {
            lines.remove(1);
        }),
        ("2026-11.jsonl line 3 (seq 3", "seq is 2", |lines| {
            let again = lines[1].clone();
            lines.insert(2, again);
        }),
        ("2026-11.jsonl line 2 (seq 2", "seq is 3", |lines| {
            lines.swap(1, 2);
        }),
        ("2027-01.jsonl line 1 (seq 4", "prev", |lines| {
            let text = String::from_utf8(lines[2].clone()).unwrap();
            lines[2] = text.replacen(".000Z", ".001Z", 1).into_bytes();
        }),
        ("2026-11.jsonl line 1 (seq 1", "member seq", |lines| {
            lines[0].insert(0, b' ');
        }),
        ("2026-11.jsonl line 1 (seq 1", "left out", |lines| {
            let line = lines[0].clone();
            let line = Line::parse(&line[..line.len() - 1]).unwrap();
            lines[0] = format!("{}\n", line.header.without_body()).into_bytes();
        }),
        ("2026-11.jsonl line 3 (seq 3", "no end", |lines| {
            lines[2].pop();
        }),
        ("2026-11.jsonl line 3 (seq 3", "longer", |lines| {
            lines[2].splice(0..0, vec![b'x'; LINE_LIMIT + 1]);
        }),
    ];
    assert_eq!(recover(&mut disk(&good)).unwrap().damage, None);
    for (place, cause, change) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        let sim = Sim::default();
        // By the original's months: the first three lines are of November.
        let of_january = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("\"2027-01");
        let (january, november): (Vec<_>, Vec<_>) = changed.into_iter().partition(of_january);
        sim.replace(Month::of(after(0)), &november.concat());
        sim.replace(Month::of(after(900)), &january.concat());
        let found = recover(&mut sim.clone()).unwrap();
        let Damage { file, line, what } = found.damage.unwrap();
        let (there, seq) = place.split_once(" (seq ").unwrap();
        assert_eq!(format!("{file} line {line}"), there);
        assert!(what.contains(cause), "{cause}: {what}");
        assert!(
            what.ends_with(&format!("(seq {seq} belongs there)")),
            "{what}"
        );
    }
}

/// Behind a line that does not verify nothing is taken that allows anything.
#[test]
fn of_lines_behind_damage_only_what_narrows_is_taken() {
    let mut all = lines(&[
        (after(0), cut("camera:a")),
        (after(1), Entry::Resumed { grant: grant(1) }),
        (after(2), allowed("camera:a")),
        (after(3), cut("camera:b")),
        (after(4), Entry::Resumed { grant: grant(2) }),
        (after(5), ended(3)),
        (after(6), head("corg-13", "h1")),
    ]);
    let at = all[1].len() - 10;
    all[1][at] ^= 1;
    let found = recover(&mut disk(&all)).unwrap();
    let kept: Vec<Entry> = found.entries.into_iter().map(|(_, _, e)| e).collect();
    assert_eq!(kept, [cut("camera:a"), cut("camera:b"), ended(3)]);
    assert_eq!((found.end.seq, found.lines), (1, 7));
    assert_eq!(found.newest, Some(after(6)), "the clock is not behind it");
}

#[test]
fn losses_are_kept_whatever_their_age_and_so_is_what_was_accepted() {
    let accepted = Entry::JournalAccepted {
        journal: "corg-13".to_owned(),
        by: "root".to_owned(),
    };
    let contradiction = Entry::PeerContradiction {
        peer: "corg-13".to_owned(),
        detail: "d".to_owned(),
        head: "h".to_owned(),
        found: None,
    };
    let back = Entry::JournalWentBack {
        peer: "corg-13".to_owned(),
        detail: "d".to_owned(),
        head: "h".to_owned(),
    };
    let damaged = Entry::JournalDamaged {
        file: "f".to_owned(),
        line: 1,
        cause: "c".to_owned(),
    };
    let old = [contradiction, back, damaged, accepted];
    let mut entries: Vec<(Wall, Entry)> = Vec::new();
    entries.extend(old.iter().map(|entry| (after(0), entry.clone())));
    entries.push((after(900), Entry::Stopped {}));
    let found = recover(&mut disk(&lines(&entries))).unwrap();
    let kept: Vec<Entry> = found.entries.into_iter().map(|(_, _, e)| e).collect();
    assert_eq!(kept[..4], old);
}

#[test]
fn a_copy_of_the_lines_at_hand_follows_them() {
    let lines = |range: std::ops::RangeInclusive<u64>| -> Recent {
        range.map(|seq| (seq, format!("{seq}").into())).collect()
    };
    let mut copy = Recent::new();
    for recent in [
        lines(1..=3),
        lines(1..=3),
        lines(2..=5),
        lines(9..=12),
        Recent::new(),
    ] {
        follow(&mut copy, &recent);
        assert_eq!(copy, recent);
    }
}
