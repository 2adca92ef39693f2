use std::sync::Arc;

use super::*;
use crate::certs::trial::Trial;
use crate::clock::ManualClock;
use crate::format::ids::{CentreId, CommuneId, GrantId, Sha256};
use crate::format::jws::Signer;
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
            Some(scan) => log.prune(scan, Keep::LEAST, at_once),
            None => Ok(Outcome::Nothing),
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
    let done = log.prune(scan, Keep::LEAST, false);
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
