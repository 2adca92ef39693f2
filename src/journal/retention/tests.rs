use std::sync::Arc;

use super::*;
use crate::certs::trial::Trial;
use crate::clock::ManualClock;
use crate::format::ids::{CentreId, CommuneId, GrantId, Sha256};
use crate::format::jws::Signer;
use crate::format::note::{Kind, NoteSigner};
use crate::journal::log::{Log, Parts, encode};
use crate::journal::recover;
use crate::journal::sim::{Fail, Sim, Then};

/// 2026-11-30.
const START: Wall = Wall::from_seconds(1_795_996_800);
const DAY: Duration = Duration::from_secs(86_400);

/// A simulated disk, a clock and a key.
struct Bench {
    sim: Sim,
    clock: Clock,
    hand: ManualClock,
    signer: Arc<Signer>,
    witnessed: bool,
}

/// The key of any log.
fn log_key(origin: &str) -> Option<NoteSigner> {
    NoteSigner::new(origin, Kind::Log, [7; 32]).ok()
}

impl Bench {
    fn new() -> Self {
        let identity = Trial::new(START).unwrap().machine("berre-l-etang").unwrap();
        let signer = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
        let (clock, hand) = Clock::manual(START);
        Self {
            sim: Sim::default(),
            clock,
            hand,
            signer: Arc::new(signer),
            witnessed: false,
        }
    }

    fn open(&self) -> Log {
        let signer = Arc::clone(&self.signer);
        let opened = Log::open(Parts {
            store: Box::new(self.sim.clone()),
            owner: "berre-l-etang".to_owned(),
            clock: self.clock.clone(),
            random: Box::new(|bytes| getrandom::fill(bytes).map_err(io::Error::other)),
            sign: Box::new(move |head| signer.sign(HEAD_TYPE, head)),
        });
        opened.unwrap().log
    }

    /// Writes these entries now, then a day passes.
    fn day(&self, log: &mut Log, entries: &[Entry]) {
        let bodies: Vec<Vec<u8>> = entries.iter().map(|entry| encode(entry).unwrap()).collect();
        log.commit(&bodies).unwrap();
        self.hand.advance(DAY);
    }

    /// A journal of these entries in November 2026, then one each in the next months.
    fn months(&self, first: &[Entry], months: u64) -> Log {
        let mut log = self.open();
        let begin = [started(), resumed(1)];
        self.day(&mut log, &[&begin[..], first].concat());
        for month in 0..months {
            self.hand.advance(DAY * 30);
            self.day(&mut log, &[resumed(u128::from(month) + 2)]);
        }
        log
    }

    fn prune(&self, log: &mut Log, at_once: bool) -> Result<Outcome, String> {
        let scan = Scan::read(&mut self.sim.clone(), Keep::LEAST, self.clock.now().wall);
        match scan.map_err(|error| error.to_string())? {
            Some(scan) => log.prune(scan, self.rule(at_once), log_key),
            None => Ok(Outcome::Nothing),
        }
    }

    fn rule(&self, at_once: bool) -> Rule {
        Rule {
            keep: Keep::LEAST,
            at_once,
            witnessed: self.witnessed,
        }
    }

    fn files(&self) -> Vec<String> {
        let months = self.sim.clone().months().unwrap();
        months.iter().map(ToString::to_string).collect()
    }

    /// All entries, and that the chain verifies from what is known to be pruned.
    fn entries(&self) -> Vec<Entry> {
        let found = recover::recover(&mut self.sim.clone()).unwrap();
        assert_eq!(found.damage, None);
        let text = self.sim.durable();
        let lines = text
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| {
                reader::entry(Line::parse(line).unwrap().body.unwrap())
                    .unwrap()
                    .unwrap()
            })
            .collect()
    }

    fn anchors(&self) -> usize {
        let entries = self.entries();
        let is_anchor = |entry: &&Entry| matches!(entry, Entry::Pruned { .. });
        entries.iter().filter(is_anchor).count()
    }
}

fn started() -> Entry {
    Entry::Started {
        by: "berre-l-etang".to_owned(),
        version: "test".to_owned(),
        settings: Sha256::ZERO,
        certificate: String::new(),
    }
}

fn resumed(number: u128) -> Entry {
    Entry::Resumed {
        grant: GrantId(uuid::Uuid::from_u128(number)),
    }
}

fn head(text: &str) -> Entry {
    Entry::PeerHead {
        peer: "corg-13".to_owned(),
        head: text.to_owned(),
    }
}

#[test]
fn the_oldest_month_goes_when_its_time_is_over_and_the_rest_goes_on() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 6);
    assert_eq!(bench.files()[0], "2026-11");
    let before = log.lines();
    let newest = log.head().map(str::to_owned);
    assert_eq!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed {
            month: Month::of(START),
            lines: 3,
        })
    );
    assert_eq!(bench.files()[0], "2026-12");
    assert_eq!(log.lines(), before + 1);
    assert_ne!(
        log.head().map(str::to_owned),
        newest,
        "a head covers the anchor"
    );
    assert_eq!(log.pruned(), 3);
    // After a restart the chain, the id and the tree go on.
    drop(log);
    let again = bench.open();
    assert_eq!(again.pruned(), 3);
    assert!(again.is_intact());
    let found = recover::recover(&mut bench.sim.clone()).unwrap();
    assert_eq!(
        (found.damage, found.journal.as_deref()),
        (None, again.journal())
    );
    let mut months = bench.sim.clone().months().unwrap();
    let anchor = anchor(&mut bench.sim.clone(), &months).unwrap().unwrap();
    assert_eq!((anchor.end.seq, anchor.tree.size()), (3, 3));
    assert_eq!(Some(anchor.journal.as_str()), again.journal());
    months.clear();
    assert_eq!(
        super::anchor(&mut bench.sim.clone(), &months).unwrap(),
        None
    );
}

#[test]
fn a_tree_goes_on_from_the_anchor_as_if_nothing_were_gone() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 8);
    let whole = Scan::whole(&mut bench.sim.clone()).unwrap();
    let tree = |scan: &Scan, month: &str| {
        let extents = scan.extents().iter();
        let mut extents = extents.filter(|extent| extent.month.to_string() == month);
        extents.next().unwrap().segments[0].tree.root()
    };
    let expected = tree(&whole, "2027-03");
    for _ in 0..2 {
        assert!(matches!(
            bench.prune(&mut log, true),
            Ok(Outcome::Removed { .. })
        ));
    }
    assert_eq!(bench.files()[0], "2027-01");
    let rest = Scan::whole(&mut bench.sim.clone()).unwrap();
    assert_eq!(tree(&rest, "2027-03"), expected);
    assert_eq!(bench.anchors(), 2);
}

#[test]
fn one_month_a_day_and_never_the_newest() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 9);
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    assert_eq!(bench.prune(&mut log, false), Ok(Outcome::Wait));
    bench.hand.advance(DAY);
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    // Ten years later the newest month stays, for it is written on.
    bench.hand.advance(DAY * 3_650);
    let mut last = Outcome::Wait;
    for _ in 0..20 {
        last = bench.prune(&mut log, true).unwrap();
    }
    assert_eq!(last, Outcome::Nothing);
    assert!(!bench.files().is_empty());
    bench.entries();
}

#[test]
fn at_every_step_that_fails_the_next_run_finishes_and_nothing_is_named_twice() {
    for power in [false, true] {
        for then in [Then::GoOn, Then::Die] {
            for fail in [Fail::Before, Fail::Half, Fail::After] {
                for step in 0.. {
                    let bench = Bench::new();
                    let mut log = bench.months(&[head("h1")], 6);
                    bench.sim.fail_in(step, fail, then);
                    let first = bench.prune(&mut log, false);
                    if !bench.sim.has_failed() {
                        assert!(matches!(first, Ok(Outcome::Removed { .. })));
                        break;
                    }
                    assert!(step < 10, "pruning has few steps");
                    if then == Then::Die || power {
                        drop(log);
                        if power {
                            bench.sim.power_cycle();
                        } else {
                            bench.sim.restart();
                        }
                        log = bench.open();
                    }
                    // Whatever happened, what is there verifies and can be written on.
                    bench.day(&mut log, &[resumed(99)]);
                    bench.entries();
                    let again = bench.prune(&mut log, false).unwrap();
                    let done = !matches!(again, Outcome::Held { .. });
                    assert!(done, "{fail:?} {then:?} at {step}: {again:?}");
                    assert_eq!(bench.files()[0], "2026-12", "{fail:?} {then:?} at {step}");
                    assert_eq!(bench.anchors(), 1, "{fail:?} {then:?} at {step}");
                    assert_eq!(bench.open().pruned(), 3);
                }
            }
        }
    }
}

#[test]
fn what_is_in_force_is_written_again_and_a_list_that_nobody_takes_holds_no_month() {
    let bench = Bench::new();
    let list = Entry::Revocation {
        authority: "CA".to_owned(),
        number: "7".to_owned(),
        list: Sha256::ZERO,
    };
    let accepted = Entry::JournalAccepted {
        journal: "corg-13".to_owned(),
        by: "root".to_owned(),
    };
    let contradiction = Entry::PeerContradiction {
        peer: "corg-13".to_owned(),
        detail: "x".to_owned(),
        head: "h0".to_owned(),
        found: Some("h1".to_owned()),
    };
    let went_back = Entry::JournalWentBack {
        peer: "corg-13".to_owned(),
        detail: "x".to_owned(),
        head: "h".to_owned(),
    };
    let peer_damaged = Entry::PeerDamaged {
        peer: "corg-13".to_owned(),
        detail: Some("x".to_owned()),
    };
    let first = [
        went_back.clone(),
        peer_damaged.clone(),
        contradiction.clone(),
        accepted,
        head("h2"),
        list.clone(),
        Entry::Cut {
            scope: "all".to_owned(),
            until: START.plus(DAY).rfc3339(),
            by: "root".to_owned(),
        },
    ];
    let mut log = bench.months(&first, 6);
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    let entries = bench.entries();
    let at = entries
        .iter()
        .position(|entry| matches!(entry, Entry::Pruned { .. }))
        .unwrap();
    // The peer's journal was accepted, this one was not.
    assert_eq!(entries[at - 3..at], [went_back, head("h2"), list]);
    assert!(!entries.contains(&contradiction), "accepted");
    assert!(!entries.contains(&peer_damaged), "accepted");

    let owed = Entry::ViewingsOwed {
        grant: GrantId(uuid::Uuid::from_u128(5)),
        commune: CommuneId::new("berre-l-etang").unwrap(),
        part: 0,
        parts: 1,
        viewings: Vec::new(),
        received: Vec::new(),
        counted_since: None,
    };
    let bench = Bench::new();
    let mut log = bench.months(std::slice::from_ref(&owed), 6);
    // Nobody takes it any more: it holds no month.
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
}

#[test]
fn a_head_that_a_later_contradiction_replaced_does_not_come_back() {
    let bench = Bench::new();
    let confirmed = Entry::Confirmed {
        grant: GrantId(uuid::Uuid::from_u128(1)),
        centre: CentreId::new("corg-13").unwrap(),
        head: "old".to_owned(),
    };
    let mut log = bench.months(&[confirmed], 5);
    let found = Entry::PeerContradiction {
        peer: "corg-13".to_owned(),
        detail: "x".to_owned(),
        head: "old".to_owned(),
        found: Some("new".to_owned()),
    };
    bench.day(&mut log, &[found]);
    bench.hand.advance(DAY * 30);
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    assert!(!bench.entries().contains(&head("old")));
}

#[test]
fn what_is_written_meanwhile_counts_and_a_journal_that_does_not_verify_stays() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 6);
    let scan = Scan::read(&mut bench.sim.clone(), Keep::LEAST, bench.clock.now().wall);
    let scan = scan.unwrap().unwrap();
    bench.day(&mut log, &[resumed(10), resumed(11)]);
    bench.hand.advance(DAY * 31);
    bench.day(&mut log, &[resumed(12)]);
    let done = log.prune(scan, bench.rule(false), log_key);
    assert!(matches!(done, Ok(Outcome::Removed { .. })), "{done:?}");
    bench.entries();

    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 6);
    let month = Month::of(START.plus(DAY * 40));
    let mut text = bench.sim.content(month);
    text[20] ^= 1;
    bench.sim.replace(month, &text);
    let held = bench.prune(&mut log, false);
    assert!(
        held.is_err() || matches!(held, Ok(Outcome::Held { .. })),
        "{held:?}"
    );
    assert_eq!(bench.files()[0], "2026-11");
}

/// The checkpoint of the only anchor, and the tree that the anchor names.
fn checkpoint(bench: &Bench) -> (String, Frontier) {
    let anchor = bench.entries().into_iter().find_map(|entry| {
        let tree = Anchor::of(&entry)?.tree;
        let Entry::Pruned { checkpoint, .. } = entry else {
            return None;
        };
        Some((checkpoint.unwrap(), tree))
    });
    anchor.unwrap()
}

#[test]
fn an_anchor_holds_a_checkpoint_of_its_lines_by_the_logs_key() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 6);
    bench.prune(&mut log, false).unwrap();
    let (text, tree) = checkpoint(&bench);
    let note = Note::parse(&text).unwrap();
    let told = Checkpoint::parse(note.text).unwrap();
    assert_eq!((told.size, told.root), (3, tree.root()));
    let origin = note::origin("berre-l-etang", log.journal().unwrap());
    assert_eq!(told.origin, origin);
    let key = log_key(&origin).unwrap();
    assert!(key.verifier().signed(&note).is_some());
    // One of another tree or another log makes the anchor none.
    for (size, root, origin) in [
        (3, Sha256::ZERO, origin.clone()),
        (2, tree.root(), origin),
        (3, tree.root(), note::origin("berre-l-etang", "x")),
    ] {
        let text = Checkpoint { origin, size, root }.text();
        let other = format!("{text}\n{}", key.sign(&text, 0));
        let mut entries = bench.entries().into_iter();
        let anchor = entries.find(|entry| matches!(entry, Entry::Pruned { .. }));
        let mut anchor = anchor.unwrap();
        if let Entry::Pruned { checkpoint, .. } = &mut anchor {
            *checkpoint = Some(other);
        }
        assert_eq!(Anchor::of(&anchor), None);
    }
}

#[test]
fn with_witnesses_a_month_goes_once_it_is_cosigned_or_has_waited_long_enough() {
    // Some hours after its time is over: 2027-05-28, two days before it is too old.
    let just_over = || {
        let mut bench = Bench::new();
        bench.witnessed = true;
        let log = bench.months(&[resumed(9)], 5);
        bench.hand.advance(DAY * 23 + DAY / 4);
        (bench, log)
    };
    let write = |log: &mut Log, entry: &Entry| {
        log.commit(&[encode(entry).unwrap()]).unwrap();
    };
    let (bench, mut log) = just_over();
    let held = bench.prune(&mut log, false).unwrap();
    let Outcome::Held { why, .. } = &held else {
        panic!("{held:?}");
    };
    assert!(why.contains("no witness has cosigned"), "{why}");
    // Two lines are too few of three, four cover them.
    let origin = note::origin("berre-l-etang", log.journal().unwrap());
    let witness = NoteSigner::new("w.example/1", Kind::Witness, [9; 32]).unwrap();
    let note = |size: u64| {
        let root = Sha256([u8::try_from(size).unwrap(); 32]);
        let of = origin.clone();
        let text = Checkpoint {
            origin: of,
            size,
            root,
        }
        .text();
        let (log, witness) = (
            log_key(&origin).unwrap().sign(&text, 0),
            witness.sign(&text, 1),
        );
        format!("{text}\n{log}{witness}")
    };
    let cosigned = |size: u64| Entry::Cosigned {
        witness: "w".to_owned(),
        vkey: witness.verifier().to_string(),
        size,
        checkpoint: note(size),
    };
    write(&mut log, &cosigned(2));
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Held { .. })
    ));
    write(&mut log, &cosigned(4));
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    assert_eq!(checkpoint(&bench).0, note(4));

    // A witness that is away holds no month for ever.
    let (bench, mut log) = just_over();
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Held { .. })
    ));
    bench.hand.advance(COSIGNED_WITHIN);
    assert!(matches!(
        bench.prune(&mut log, false),
        Ok(Outcome::Removed { .. })
    ));
    assert_eq!(checkpoint(&bench).1.size(), 3);
}

#[test]
fn damage_goes_with_its_months_and_is_none_at_later_starts() {
    let bench = Bench::new();
    let mut log = bench.open();
    bench.day(&mut log, &[started(), resumed(1), resumed(2), resumed(3)]);
    let first = Month::of(START);
    // The journal goes on for a month and a half before a look finds the line that was changed.
    for month in 0..2 {
        bench.hand.advance(DAY * 25);
        bench.day(&mut log, &[resumed(10 + month)]);
    }
    let text = String::from_utf8(bench.sim.content(first)).unwrap();
    let changed = text.replacen("\"salt\":\"", "\"salt\":\"f", 3);
    let changed = changed.replacen("\"salt\":\"f", "\"salt\":\"", 2);
    assert_ne!(text, changed);
    bench.sim.replace(first, changed.as_bytes());
    let damage = recover::recover(&mut bench.sim.clone()).unwrap().damage;
    let damage = damage.unwrap();
    assert_eq!(damage.line, 3);
    bench.hand.advance(DAY * 25);
    log.condemn(&damage);
    let accepted = Entry::JournalAccepted {
        journal: "berre-l-etang".to_owned(),
        by: "root".to_owned(),
    };
    bench.day(&mut log, &[accepted]);
    assert!(bench.open().is_intact(), "its new journal names the damage");
    for month in 0..9 {
        bench.hand.advance(DAY * 30);
        bench.day(&mut log, &[resumed(20 + month)]);
    }
    let journal = log.journal().map(str::to_owned);
    drop(log);
    let files = bench.files();
    // The damaged month, two wholly behind the damage, and the one in which the new journal begins.
    assert_eq!(files[..4], ["2026-11", "2026-12", "2027-01", "2027-02"]);
    for gone in 1..=4 {
        let mut log = bench.open();
        assert!(log.is_intact(), "{gone}");
        let done = bench.prune(&mut log, false);
        assert!(
            matches!(done, Ok(Outcome::Removed { .. })),
            "{gone}: {done:?}"
        );
        assert_eq!(bench.prune(&mut log, false), Ok(Outcome::Wait), "{gone}");
        bench.day(&mut log, &[resumed(40 + gone)]);
        assert_eq!(bench.files()[0], files[usize::try_from(gone).unwrap()]);
        let again = bench.open();
        assert!(again.is_intact(), "{gone}");
        assert_eq!(again.journal(), journal.as_deref());
    }
    assert_eq!(bench.open().pruned(), 3);
}

#[test]
fn no_anchor_but_a_signed_one_is_valid() {
    let bench = Bench::new();
    let mut log = bench.months(&[resumed(9)], 6);
    bench.prune(&mut log, false).unwrap();
    let entry = bench
        .entries()
        .into_iter()
        .find(|entry| matches!(entry, Entry::Pruned { .. }));
    let entry = entry.unwrap();
    assert!(Anchor::of(&entry).is_some());
    let changed = |change: &dyn Fn(&mut Entry)| {
        let mut changed = entry.clone();
        change(&mut changed);
        assert_ne!(changed, entry);
        assert_eq!(Anchor::of(&changed), None);
    };
    changed(&|entry| {
        if let Entry::Pruned { last, .. } = entry {
            *last += 1;
        }
    });
    changed(&|entry| {
        if let Entry::Pruned { link, .. } = entry {
            *link = Sha256::ZERO;
        }
    });
    changed(&|entry| {
        if let Entry::Pruned { journal, .. } = entry {
            journal.push('x');
        }
    });
    changed(&|entry| {
        if let Entry::Pruned { tree, .. } = entry {
            tree.push(Sha256::ZERO);
        }
    });
    changed(&|entry| {
        if let Entry::Pruned { head, .. } = entry {
            head.pop();
        }
    });
}

#[tokio::test]
async fn the_daily_task_waits_for_a_clock_that_is_steady() {
    let at = |wall: u64, boot: u64| Now {
        wall: START.plus(Duration::from_secs(wall)),
        boot: crate::clock::Boot(Duration::from_secs(boot)),
    };
    assert!(is_steady(at(0, 0), at(3_600, 3_600)));
    assert!(is_steady(at(0, 0), at(3_630, 3_600)));
    assert!(!is_steady(at(0, 0), at(86_400, 3_600)), "set forward");
    assert!(!is_steady(at(86_400, 0), at(3_600, 3_600)), "set back");
}

#[test]
fn a_month_whose_lines_tell_no_time_of_it_goes_no_earlier_than_its_own_time_says() {
    let bench = Bench::new();
    drop(bench.months(&[resumed(9)], 1));
    let month = Month::of(START);
    let text = String::from_utf8(bench.sim.content(month)).unwrap();
    let earlier = text.replacen("2026-11", "2006-11", 1);
    assert_ne!(text, earlier);
    let none = "{}\n".repeat(3);
    for damaged in [earlier, none] {
        bench.sim.replace(month, damaged.as_bytes());
        let scan = Scan::whole(&mut bench.sim.clone()).unwrap();
        let plan = |now| scan.plan(bench.rule(false), now);
        assert_eq!(plan(bench.clock.now().wall), Plan::Nothing);
        let over = month.start().plus(DAY * 400);
        assert!(matches!(plan(over), Plan::Held(of, _) if of == month));
    }
}
