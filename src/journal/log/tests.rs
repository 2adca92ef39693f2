use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::format::chain::Line;
use crate::format::ids::GrantId;
use crate::journal::reader;
use crate::journal::sim::{Fail, Sim, Then};

/// A day before a month ends.
const START: Wall = Wall::from_seconds(1_795_996_800);

/// A simulated disk with all that a log needs, and every head it signed.
struct Bench {
    sim: Sim,
    clock: Clock,
    hand: ManualClock,
    heads: Arc<Mutex<Vec<HeadClaims>>>,
    /// What was acknowledged: the mark of each entry.
    acknowledged: Vec<u64>,
    /// What was refused.
    refused: Vec<u64>,
    next: u64,
}

/// An entry that can be told from all others.
fn marked(mark: u64) -> Vec<u8> {
    let grant = GrantId(uuid::Uuid::from_u128(u128::from(mark)));
    encode(&Entry::Resumed { grant }).unwrap()
}

impl Bench {
    fn new() -> Self {
        let (clock, hand) = Clock::manual(START);
        Self {
            sim: Sim::default(),
            clock,
            hand,
            heads: Arc::default(),
            acknowledged: Vec::new(),
            refused: Vec::new(),
            next: 0,
        }
    }

    fn parts(&self) -> Parts {
        let sim = self.sim.clone();
        let heads = Arc::clone(&self.heads);
        Parts {
            store: Box::new(self.sim.clone()),
            owner: "berre-l-etang".to_owned(),
            clock: self.clock.clone(),
            random: Box::new(|bytes| getrandom::fill(bytes).map_err(io::Error::other)),
            sign: Box::new(move |head| {
                // No head precedes the fsync of what it covers.
                let durable = sim.durable();
                let covered = durable.split(|byte| *byte == b'\n').any(|line| {
                    Line::parse(line)
                        .is_ok_and(|line| line.link == head.link && line.header.seq == head.seq)
                });
                assert!(covered, "the head of line {} is early", head.seq);
                heads.lock().unwrap().push(head.clone());
                format!("{}-{}", head.seq, head.link)
            }),
        }
    }

    fn open(&self) -> Result<Log, recover::Error> {
        Log::open(self.parts()).map(|opened| opened.log)
    }

    fn commit(&mut self, log: &mut Log, entries: u64) {
        let marks: Vec<u64> = (self.next..self.next + entries).collect();
        self.next += entries;
        let bodies: Vec<Vec<u8>> = marks.iter().copied().map(marked).collect();
        match log.commit(&bodies) {
            Ok(committed) => {
                assert_eq!(committed.lines.len(), bodies.len());
                let (seq, link) = *committed.lines.last().unwrap();
                assert_eq!(committed.head, format!("{seq}-{link}"));
                self.acknowledged.extend(marks);
                assert_eq!(log.health(), Ok(()));
            }
            Err(_) => {
                self.refused.extend(marks);
                assert!(log.health().is_err());
            }
        }
    }

    /// The marks in the journal, and its own entries; recovery accepts it all.
    fn contents(&self) -> (Vec<u64>, Vec<Entry>) {
        let mut sim = self.sim.clone();
        assert_eq!(recover::recover(&mut sim).unwrap().damage, None);
        let months = sim.months().unwrap();
        let text: Vec<u8> = months.iter().flat_map(|m| self.sim.content(*m)).collect();
        Self::contents_of(&text)
    }

    /// The same of some lines.
    fn contents_of(text: &[u8]) -> (Vec<u64>, Vec<Entry>) {
        let mut marks = Vec::new();
        let mut own = Vec::new();
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.filter_map(|line| Line::parse(line).ok()) {
            match reader::entry(line.body.unwrap()).unwrap().unwrap() {
                Entry::Resumed { grant } => marks.push(u64::try_from(grant.0.as_u128()).unwrap()),
                entry => own.push(entry),
            }
        }
        (marks, own)
    }

    /// All that holds whatever happened: acknowledged entries are there once
    /// and in order, heads name lines that are there, and no lines were lost.
    fn check(&self) {
        let (marks, own) = self.contents();
        assert!(marks.is_sorted_by(|a, b| a < b), "{marks:?}");
        for mark in &self.acknowledged {
            assert!(marks.contains(mark), "{mark} is not in {marks:?}");
        }
        let lost = |entry: &Entry| matches!(entry, Entry::Continues { .. });
        assert!(!own.iter().any(lost), "{own:?}");
        let durable = self.sim.durable();
        let lines: Vec<_> = durable
            .split(|byte| *byte == b'\n')
            .filter_map(|line| Line::parse(line).ok())
            .map(|line| (line.header.seq, line.link))
            .collect();
        for head in self.heads.lock().unwrap().iter() {
            assert!(lines.contains(&(head.seq, head.link)), "{head:?}");
        }
    }
}

/// A life with batches of several sizes and a new month in the middle.
fn live(bench: &mut Bench) {
    let Ok(mut log) = bench.open() else { return };
    for round in 0..6 {
        bench.commit(&mut log, 1 + round % 3);
        bench.hand.advance(Duration::from_secs(12 * 3600));
    }
}

const FAILS: [Fail; 3] = [Fail::Before, Fail::Half, Fail::After];

/// Runs a life with a fault at each step, until there is no such step.
fn at_every_step(then: Then, mut check: impl FnMut(&mut Bench, u64, Fail)) {
    for fail in FAILS {
        for step in 0.. {
            let mut bench = Bench::new();
            bench.sim.fail_in(step, fail, then);
            live(&mut bench);
            let over = !bench.sim.has_failed();
            check(&mut bench, step, fail);
            if over {
                assert!(step > 15, "the life has steps");
                break;
            }
        }
    }
}

#[test]
fn killed_between_any_two_steps_nothing_acknowledged_is_lost() {
    at_every_step(Then::Die, |bench, _, _| {
        bench.sim.restart();
        let mut log = bench.open().unwrap();
        bench.check();
        bench.commit(&mut log, 2);
        assert_eq!(bench.acknowledged.last(), Some(&(bench.next - 1)));
        bench.check();
    });
}

#[test]
fn without_power_after_any_step_nothing_acknowledged_is_lost() {
    at_every_step(Then::Die, |bench, _, _| {
        bench.sim.power_cycle();
        let mut log = bench.open().unwrap();
        bench.check();
        bench.commit(&mut log, 2);
        bench.sim.power_cycle();
        bench.check();
    });
}

#[test]
fn a_failed_step_refuses_its_entries_and_the_next_ones_go_through() {
    at_every_step(Then::GoOn, |bench, step, fail| {
        let mut log = bench.open().unwrap();
        bench.commit(&mut log, 1);
        bench.check();
        let (marks, own) = bench.contents();
        // Persisted or not: what was refused is not in the journal.
        assert_eq!(marks, bench.acknowledged, "step {step} {fail:?}");
        let told = own.iter().filter_map(|entry| match entry {
            Entry::Interrupted { refused, .. } => Some(*refused),
            _ => None,
        });
        // A life whose last commit failed ended before it could tell.
        let told: u64 = told.sum();
        let last_failed = bench.refused.last() == Some(&(bench.next - 2));
        let refused = bench.refused.len() as u64;
        assert!(told == refused || last_failed, "step {step} {fail:?}");
        bench.sim.power_cycle();
        bench.check();
    });
}

#[test]
fn a_line_torn_at_any_byte_is_cut_and_its_hash_recorded() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 2);
    let month = Month::of(START);
    let whole = bench.sim.content(month);
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    for length in 1..whole.len() {
        bench.sim.replace(month, &whole[..length]);
        bench.heads.lock().unwrap().clear();
        drop(bench.open().unwrap());
        let (marks, own) = bench.contents();
        let begins = if length < first { 0 } else { first };
        if length == first {
            assert!(own.is_empty());
            continue;
        }
        let torn = &whole[begins..length];
        assert_eq!(marks.len(), usize::from(begins > 0));
        let (hash, bytes) = (Sha256::of(torn), torn.len() as u64);
        assert_eq!(own, [Entry::TornLine { hash, bytes }], "at {length}");
    }
}

#[test]
fn a_torn_line_is_recorded_even_if_its_mending_is_interrupted_anywhere() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 2);
    let month = Month::of(START);
    let mut torn = bench.sim.content(month);
    torn.extend(vec![b'x'; 2000]);
    for fail in FAILS {
        for step in 0.. {
            bench.sim.replace(month, &torn);
            bench.heads.lock().unwrap().clear();
            bench.sim.fail_in(step, fail, Then::Die);
            drop(bench.open());
            let over = !bench.sim.has_failed();
            bench.sim.restart();
            drop(bench.open().unwrap());
            bench.check();
            let (marks, own) = bench.contents();
            assert_eq!(marks, [0, 1]);
            let torn_lines = own.iter().filter(|e| matches!(e, Entry::TornLine { .. }));
            assert!(torn_lines.count() >= 1, "{step} {fail:?}: {own:?}");
            if over {
                assert!(step > 2);
                break;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself_when_there_is_room() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 3);
    let month = Month::of(START);
    let before = bench.sim.content(month);
    // Every amount of room up to that of a whole line.
    for room in [0, 1, 100, before.len() / 3 - 1] {
        bench.sim.set_capacity(Some(before.len() + room));
        bench.commit(&mut log, 1);
        log.retry();
        assert!(log.health().unwrap_err().contains("make room"));
        assert_eq!(bench.sim.content(month), before);
    }
    bench.sim.set_capacity(None);
    log.retry();
    assert_eq!(log.health(), Ok(()));
    bench.commit(&mut log, 1);
    bench.check();
    let (marks, own) = bench.contents();
    assert_eq!(marks, bench.acknowledged);
    let [
        Entry::Interrupted {
            refused: 4, error, ..
        },
    ] = &own[..]
    else {
        panic!("{own:?}");
    };
    assert!(error.contains("make room"), "{error}");
}

#[test]
fn opens_on_a_full_disk_and_says_so() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 1);
    let month = Month::of(START);
    let mut torn = bench.sim.content(month);
    torn.extend(b"{\"seq\":");
    bench.sim.replace(month, &torn);
    bench.sim.set_capacity(Some(torn.len()));
    let mut log = bench.open().unwrap();
    assert!(log.health().is_err());
    assert!(log.head().is_some(), "what is durable can still be shown");
    bench.sim.set_capacity(None);
    bench.commit(&mut log, 1);
    let (marks, own) = bench.contents();
    assert_eq!(marks, [0, 1]);
    assert!(matches!(
        own[..],
        [
            Entry::TornLine { bytes: 7, .. },
            Entry::Interrupted { refused: 0, .. }
        ]
    ));
}

#[test]
fn lost_durable_lines_begin_a_new_journal_that_names_the_old_head() {
    type Loss = fn(&Sim, Month, &[u8]);
    let losses: [(&str, Loss); 4] = [
        ("file gone", |sim, month, _| sim.remove(month)),
        ("last line cut", |sim, month, whole| {
            sim.replace(month, &whole[..whole.len() - 40]);
        }),
        ("emptied", |sim, month, _| sim.replace(month, b"")),
        ("last line another", |sim, month, whole| {
            let mut changed = whole.to_vec();
            let at = changed.len() - 20;
            changed[at] ^= 1;
            sim.replace(month, &changed);
        }),
    ];
    for (what, lose) in losses {
        let mut bench = Bench::new();
        let mut log = bench.open().unwrap();
        bench.commit(&mut log, 3);
        let old = bench.heads.lock().unwrap().last().unwrap().clone();
        let month = Month::of(START);
        let whole = bench.sim.content(month);
        bench.sim.fail_in(0, Fail::Before, Then::GoOn);
        // The fault and the loss come together, as a failing disk brings them.
        lose(&bench.sim, month, &whole);
        bench.commit(&mut log, 1);
        bench.commit(&mut log, 1);
        assert_eq!(log.health(), Ok(()), "{what}");
        assert!(!log.is_intact());
        let new = bench.heads.lock().unwrap().last().unwrap().clone();
        assert_ne!(new.journal, old.journal);
        assert_eq!(new.seq, 4, "continues, damaged, interrupted, the entry");
        let content = bench.sim.content(month);
        let text = String::from_utf8(content).unwrap();
        let continues = format!(
            r#""kind":"continues","journal":"{}","seq":{},"link":"{}""#,
            old.journal, old.seq, old.link
        );
        assert!(text.contains(&continues), "{what}: {text}");
        assert!(log.take_found().is_some(), "{what}");
        let opened = Log::open(bench.parts()).unwrap();
        assert!(opened.entries.iter().any(is_damage), "{what}");
        assert_eq!(opened.log.journal(), Some(new.journal.as_str()), "{what}");
    }
}

#[test]
fn a_file_that_somebody_cut_or_changed_is_not_written_on() {
    type Change = fn(&[u8]) -> Vec<u8>;
    let changes: [(&str, Change); 4] = [
        ("an earlier copy", |whole| {
            let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let ends: Vec<usize> = ends.map(|(at, _)| at).collect();
            whole[..=ends[0]].to_vec()
        }),
        ("a tail cut in the middle", |whole| {
            whole[..whole.len() - 5].to_vec()
        }),
        ("another last line", |whole| {
            let mut changed = whole.to_vec();
            changed[whole.len() - 10] ^= 1;
            changed
        }),
        ("a line added", |whole| [whole, b"{}\n"].concat()),
    ];
    for (what, change) in changes {
        let mut bench = Bench::new();
        let mut log = bench.open().unwrap();
        bench.commit(&mut log, 3);
        let old = log.journal().unwrap().to_owned();
        let month = Month::of(START);
        let changed = change(&bench.sim.content(month));
        bench.sim.replace(month, &changed);
        bench.commit(&mut log, 1);
        assert_eq!(log.health(), Ok(()), "{what}");
        assert_ne!(log.journal(), Some(old.as_str()), "{what}");
        assert!(!log.is_intact(), "{what}");
        let Some(Entry::JournalDamaged { cause, .. }) = log.take_found() else {
            panic!("{what}");
        };
        assert!(cause.contains("2026-"), "{what}: {cause}");
        let origin = Origin::read(log.first().unwrap().as_bytes()).unwrap();
        assert_eq!((origin.old, origin.seq), (old, 3), "{what}");
        let new = log.journal().unwrap().to_owned();
        // Both a start and a reader see it; a start goes on with the new one.
        let opened = Log::open(bench.parts()).unwrap();
        assert!(opened.entries.iter().any(is_damage), "{what}");
        assert_eq!(opened.log.journal(), Some(new.as_str()), "{what}");
    }
}

#[test]
fn damage_in_an_old_line_is_told_by_a_new_journal_that_names_the_head() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 5);
    let head = bench.heads.lock().unwrap().last().unwrap().clone();
    let month = Month::of(START);
    let mut changed = bench.sim.content(month);
    let ends: Vec<usize> = (0..changed.len())
        .filter(|at| changed[*at] == b'\n')
        .collect();
    changed[ends[1] - 10] ^= 1;
    bench.sim.replace(month, &changed);
    let found = recover::recover(&mut bench.sim.clone()).unwrap();
    log.condemn(&found.damage.unwrap());
    assert!(log.take_found().is_some());
    assert_eq!(log.health(), Ok(()));
    let origin = Origin::read(log.first().unwrap().as_bytes()).unwrap();
    assert_eq!(
        (&origin.old, origin.seq, origin.link),
        (&head.journal, 5, head.link)
    );
    assert_ne!(log.journal(), Some(head.journal.as_str()));
    bench.commit(&mut log, 2);
    // A start knows the damage by the line that tells of it, and goes on with the same journal.
    let opened = Log::open(bench.parts()).unwrap();
    assert_eq!(opened.log.journal(), log.journal());
    assert_eq!(
        opened
            .entries
            .iter()
            .filter(|entry| is_damage(entry))
            .count(),
        1
    );
    assert_eq!(opened.log.lines(), log.lines());
    // Another line is another damage.
    let mut again = bench.sim.content(month);
    again[ends[0] - 10] ^= 1;
    bench.sim.replace(month, &again);
    let opened = Log::open(bench.parts()).unwrap();
    assert_ne!(opened.log.journal(), log.journal());
}

fn is_damage((.., entry): &(u64, Wall, Entry)) -> bool {
    matches!(entry, Entry::JournalDamaged { .. })
}

#[test]
fn a_journal_that_does_not_verify_is_continued_by_a_new_one_that_says_so() {
    let month = Month::of(START);
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 5);
    let old = log.journal().unwrap().to_owned();
    let whole = bench.sim.content(month);
    let mut changed = whole.clone();
    // In the body of line 3, and a tail without an end.
    let ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(at, _)| at).collect();
    changed[ends[2] - 10] ^= 1;
    changed.extend(b"{\"seq\":");
    bench.sim.replace(month, &changed);
    let opened = Log::open(bench.parts()).unwrap();
    let mut log = opened.log;
    assert!(opened.entries.iter().any(is_damage));
    let new = log.journal().unwrap().to_owned();
    assert_ne!(new, old);
    let origin = Origin::read(log.first().unwrap().as_bytes()).unwrap();
    let line = whole.split(|byte| *byte == b'\n').nth(1).unwrap();
    let second = Line::parse(line).unwrap();
    assert_eq!((origin.old, origin.seq, origin.link), (old, 2, second.link));
    let head = bench.heads.lock().unwrap().last().unwrap().clone();
    assert_eq!(
        (head.journal, head.seq),
        (new.clone(), 3),
        "durable at once"
    );
    let content = bench.sim.content(month);
    let kept = changed.len() - 7;
    assert_eq!(
        content[..kept],
        changed[..kept],
        "the evidence stays as it is"
    );
    let (_, own) = Bench::contents_of(&content[kept..]);
    assert!(matches!(
        own[..],
        [
            Entry::Continues { seq: 2, .. },
            Entry::JournalDamaged { line: 3, .. },
            Entry::TornLine { bytes: 7, .. }
        ]
    ));
    bench.commit(&mut log, 1);
    // The damage is known now: the new journal goes on, and still says so.
    let opened = Log::open(bench.parts()).unwrap();
    assert_eq!(opened.log.journal(), Some(new.as_str()));
    assert_eq!(opened.log.first(), log.first());
    assert_eq!(
        opened
            .entries
            .iter()
            .filter(|entry| is_damage(entry))
            .count(),
        1
    );
    // Another line changed: that is told too.
    let mut again = bench.sim.content(month);
    again[ends[1] - 10] ^= 1;
    bench.sim.replace(month, &again);
    let opened = Log::open(bench.parts()).unwrap();
    assert_ne!(opened.log.journal(), Some(new.as_str()));
    assert!(opened.entries.iter().any(is_damage));
}

#[test]
fn a_journal_whose_first_line_does_not_verify_is_continued_without_a_name() {
    let month = Month::of(START);
    let bench = Bench::new();
    bench.sim.replace(month, b"nonsense\n");
    let log = bench.open().unwrap();
    let origin = Origin::read(log.first().unwrap().as_bytes()).unwrap();
    assert_eq!((origin.old.as_str(), origin.seq), ("", 0));
    let opened = Log::open(bench.parts()).unwrap();
    assert_eq!(opened.log.journal(), log.journal());
    assert_eq!(
        opened
            .entries
            .iter()
            .filter(|entry| is_damage(entry))
            .count(),
        1
    );
}

#[test]
fn a_new_month_has_a_new_file_and_a_clock_gone_back_does_not_reopen_the_old() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 1);
    bench.hand.advance(Duration::from_secs(3 * 86_400));
    bench.commit(&mut log, 1);
    bench.hand.set_wall(START);
    bench.commit(&mut log, 1);
    let lines = |month| {
        let content = bench.sim.content(month);
        content.iter().filter(|byte| **byte == b'\n').count()
    };
    let months = bench.sim.clone().months().unwrap();
    assert_eq!(months.len(), 2);
    assert_eq!((lines(months[0]), lines(months[1])), (1, 2));
    drop(bench.open().unwrap());
    bench.check();
}

#[test]
fn a_batch_is_one_write_and_one_fsync() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 1);
    let before = bench.sim.syncs();
    bench.commit(&mut log, 500);
    assert_eq!(bench.sim.syncs(), before + 1);
    assert_eq!(bench.heads.lock().unwrap().len(), 2, "and one signature");
}

#[test]
fn salts_differ_and_the_first_line_alone_names_the_journal() {
    let mut bench = Bench::new();
    let mut log = bench.open().unwrap();
    bench.commit(&mut log, 2);
    let content = bench.sim.content(Month::of(START));
    let bodies: Vec<serde_json::Value> = content
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(Line::parse(line).unwrap().body.unwrap()).unwrap())
        .collect();
    let salt = |index: usize| bodies[index]["salt"].as_str().unwrap();
    assert_eq!(salt(0).len(), 32);
    assert_ne!(salt(0), salt(1));
    let head = bench.heads.lock().unwrap()[0].clone();
    assert_eq!(bodies[0]["journal_id"], head.journal);
    assert_eq!(head.journal.len(), 32);
    assert!(bodies[1].get("journal_id").is_none());
    assert_eq!(bodies[1]["v"], 1);
    assert_eq!(bodies[1]["kind"], "resumed");
}

#[derive(Clone, Debug)]
enum Step {
    Commit(u64),
    Wait(u64),
    Retry,
    Fault(u64, Fail, Then),
    Kill,
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    let fail = prop::sample::select(FAILS.to_vec());
    let then = prop::sample::select(vec![Then::GoOn, Then::Die]);
    prop_oneof![
        6 => (1..5u64).prop_map(Step::Commit),
        2 => (0..200u64).prop_map(Step::Wait),
        1 => Just(Step::Retry),
        3 => (0..8u64, fail, then).prop_map(|(at, fail, then)| Step::Fault(at, fail, then)),
        1 => Just(Step::Kill),
        1 => Just(Step::PowerLoss),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_faults_loses_what_was_acknowledged(
        steps in proptest::collection::vec(step(), 1..40)
    ) {
        let mut bench = Bench::new();
        let mut log = bench.open().ok();
        for step in steps {
            match (step, &mut log) {
                (Step::Commit(entries), Some(log)) => bench.commit(log, entries),
                (Step::Retry, Some(log)) => log.retry(),
                (Step::Wait(hours), _) => bench.hand.advance(Duration::from_secs(hours * 3600)),
                (Step::Fault(at, fail, then), _) => bench.sim.fail_in(at, fail, then),
                (Step::Kill, _) => {
                    bench.sim.restart();
                    log = bench.open().ok();
                }
                (Step::PowerLoss, _) => {
                    bench.sim.power_cycle();
                    log = bench.open().ok();
                }
                (_, None) => {}
            }
        }
        bench.sim.power_cycle();
        drop(bench.open().unwrap());
        bench.check();
    }
}
