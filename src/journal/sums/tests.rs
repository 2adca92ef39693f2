use super::*;
use crate::clock::Wall;
use crate::journal::sim::Sim;

const OLD: Wall = Wall::from_seconds(1_793_000_000);
const NEW: Wall = Wall::from_seconds(1_796_000_000);

fn of(sim: &mut Sim, month: Month) -> (Month, Sum) {
    (month, summed(sim, month, u64::MAX).unwrap().unwrap().0)
}

/// Two months, summed up.
fn two() -> (Sim, Sums, Month, Month) {
    let (old, new) = (Month::of(OLD), Month::of(NEW));
    let mut sim = Sim::default();
    sim.replace(old, b"one\ntwo\n");
    sim.replace(new, b"three\n");
    let sums = [of(&mut sim, old), of(&mut sim, new)];
    (sim.clone(), Sums::new(sums.into()), old, new)
}

fn look(sums: &Sums, sim: &Sim) -> Option<String> {
    let fault = sums.look(&mut sim.clone()).unwrap();
    fault.map(|fault| format!("{}: {}", fault.month, fault.what))
}

#[test]
fn what_nobody_touched_is_not_read_again() {
    let (mut sim, sums, _, new) = two();
    let before = sim.reads();
    assert_eq!(look(&sums, &sim), None);
    // The writer's own lines are no news.
    assert!(!sums.before_write(&mut sim, new));
    sim.write_at(new, 6, b"four\n").unwrap();
    sums.wrote(&mut sim, new, b"four\n");
    assert_eq!(look(&sums, &sim), None);
    assert_eq!(sim.reads(), before);
    // Touched and the same: read once.
    sim.replace(new, b"three\nfour\n");
    assert_eq!(look(&sums, &sim), None);
    let once = sim.reads();
    assert!(once > before);
    assert_eq!(look(&sums, &sim), None);
    assert_eq!(sim.reads(), once);
}

#[test]
fn every_change_is_found_and_told_once() {
    type Change = fn(&Sim, Month, Month);
    let changes: [(Change, &str); 6] = [
        (
            |sim, old, _| sim.replace(old, b"one\ntwO\n"),
            "2026-10: its bytes are not",
        ),
        (
            |sim, old, _| sim.replace(old, b"one\n"),
            "2026-10: 4 bytes of 8 are left",
        ),
        (
            |sim, old, _| sim.replace(old, b"one\ntwo\nx\n"),
            "2026-10: it has more than its 8 bytes",
        ),
        (|sim, old, _| sim.remove(old), "2026-10: the file is gone"),
        (
            |sim, _, new| sim.replace(new, b""),
            "2026-11: 0 bytes of 6 are left",
        ),
        (
            |sim, _, _| sim.replace(Month::of(Wall(0)), b"one\n"),
            "1970-01: the journal did not write this file",
        ),
    ];
    for (change, expected) in changes {
        let (sim, sums, old, new) = two();
        change(&sim, old, new);
        let told = look(&sums, &sim).unwrap_or_default();
        assert!(told.starts_with(expected), "{expected}: {told}");
        assert_eq!(look(&sums, &sim), None, "{expected}: told once");
    }
}

#[test]
fn a_change_between_two_writes_is_found_though_the_writer_went_on() {
    let (mut sim, sums, _, new) = two();
    sim.replace(new, b"thrEe\n");
    assert!(sums.before_write(&mut sim, new));
    sim.write_at(new, 6, b"four\n").unwrap();
    sums.wrote(&mut sim, new, b"four\n");
    assert!(look(&sums, &sim).unwrap().contains("its bytes are not"));
}

#[test]
fn a_month_that_ends_while_it_is_looked_at_is_no_fault() {
    let (mut sim, sums, _, new) = two();
    let known = sums.lock().clone();
    sim.write_at(new, 6, b"four\n").unwrap();
    sums.wrote(&mut sim, new, b"four\n");
    let next = Month::of(NEW.plus(Duration::from_secs(40 * 86_400)));
    sums.begins(next);
    sim.replace(next, b"five\n");
    sums.wrote(&mut sim, next, b"five\n");
    assert_eq!(sums.compare(known, &mut sim).unwrap(), None);
    assert_eq!(look(&sums, &sim), None);
}
