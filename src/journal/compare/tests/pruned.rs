//! Journals whose oldest month was removed.

use super::*;
use crate::format::merkle::{Frontier, leaf};
use crate::journal::verify;

/// What the anchor says, where it lies.
type Lie = fn(&mut HeadClaims);

fn honest(_: &mut HeadClaims) {}

fn month_of(line: &[u8]) -> Month {
    Month::of(Line::parse(&line[..line.len() - 1]).unwrap().header.time)
}

impl Pair {
    /// Removes November from a side's journal, as `key` signs it.
    fn prune_as(&mut self, side: Side, key: Side, lie: Lie) {
        let gone = self.cut(side);
        let mut tree = Frontier::default();
        let mut end = End::START;
        for line in &gone {
            end = End::follow(end, &Line::parse(&line[..line.len() - 1]).unwrap()).unwrap();
            tree.push(leaf(&end.link.0));
        }
        let mut head = HeadClaims {
            iss: id(key).to_owned(),
            journal: self.book(side).id.clone(),
            seq: end.seq,
            link: end.link,
            iat: self.now.seconds(),
        };
        lie(&mut head);
        let signer = match key {
            Side::Commune => &self.commune,
            Side::Centre => &self.centre,
        };
        let entry = Entry::Pruned {
            months: vec!["2026-11".to_owned()],
            journal: head.journal.clone(),
            first: 1,
            last: head.seq,
            link: head.link,
            tree: tree.nodes().to_vec(),
            head: signer.sign(HEAD_TYPE, &head),
            checkpoint: None,
        };
        let now = self.now;
        self.book(side).add(now, &entry);
    }

    /// Takes November's lines away.
    fn cut(&mut self, side: Side) -> Vec<Vec<u8>> {
        let book = self.book(side);
        let november = book
            .lines
            .iter()
            .filter(|line| month_of(line) == month_of(&book.lines[0]));
        let november = november.count();
        assert!(november > 1 && november < book.lines.len());
        book.lines.drain(..november).collect()
    }

    fn prune(&mut self, side: Side) {
        self.prune_as(side, side, honest);
    }

    fn verify(&self, book: &Book) -> verify::Report {
        let scratch = Scratch::new(&format!("verify-{}", uuid::Uuid::now_v7()));
        for (month, text) in book.write() {
            std::fs::write(scratch.0.join(month.file_name()), text).unwrap();
        }
        let options = verify::Options {
            directory: scratch.0.clone(),
            authorities: Some(self.authorities()),
            ..verify::Options::default()
        };
        verify::verify(&options).unwrap()
    }
}

#[test]
fn journals_that_were_pruned_on_one_side_or_both_are_consistent() {
    for sides in [&BOTH[..1], &BOTH[1..], &BOTH[..]] {
        let mut pair = Pair::new();
        for side in sides {
            pair.prune(*side);
        }
        pair.exchange();
        pair.later(3_600);
        pair.grant();
        let report = pair.compare();
        assert_eq!(
            report.verdict,
            Verdict::Consistent,
            "{sides:?}: {report:#?}"
        );
        assert!(report.checked.machines_proven && report.checked.grants >= 4);
        for journal in &report.checked.journals {
            let is_pruned = sides.contains(&journal.side.unwrap());
            assert_eq!(journal.first > 1, is_pruned, "{sides:?}: {journal:?}");
            assert!(journal.id.is_some() && journal.owner.is_some());
        }
        for side in sides {
            let book = pair.book(*side).clone();
            let found = pair.verify(&book);
            assert!(found.is_intact(), "{:#?}", found.findings);
            assert!(found.journals[0].pruned > 1);
        }
    }
}

#[test]
fn a_grant_that_spans_the_month_is_no_contradiction() {
    for side in BOTH {
        for before in [30, 61, 89, 95] {
            let mut pair = Pair::empty();
            pair.later(86_400 - before);
            pair.grant();
            pair.later(3_600);
            pair.grant();
            pair.prune(side);
            pair.exchange();
            let report = pair.compare();
            let case = format!("{side:?} {before} s: {report:#?}");
            assert_eq!(report.verdict, Verdict::Consistent, "{case}");
        }
    }
}

#[test]
fn a_journal_without_its_first_month_and_without_an_anchor_convicts() {
    for side in BOTH {
        let mut pair = Pair::new();
        pair.cut(side);
        assert_convicts(&pair.compare(), side, "removed", "no anchor");
        // A link or a number that is not the line's.
        let lies: [Lie; 2] = [
            |head| head.link = Sha256::ZERO,
            |head| head.journal = "cc".to_owned(),
        ];
        for lie in lies {
            let mut pair = Pair::new();
            pair.prune_as(side, side, lie);
            pair.exchange();
            let report = pair.compare();
            assert_eq!(report.verdict, Verdict::Contradiction, "{report:#?}");
            let said = report
                .findings
                .iter()
                .any(|found| found.owner.as_deref() == Some(id(side)));
            assert!(said, "{report:#?}");
        }
    }
}

#[test]
fn an_anchor_that_is_changed_later_convicts() {
    for side in BOTH {
        let mut pair = Pair::new();
        pair.prune(side);
        pair.exchange();
        let anchor = pair.book(side).of_kind("pruned")[0];
        pair.book(side).edit(anchor, "2026-11", "2026-10");
        assert_convicts(&pair.compare(), side, "changed", "the anchor");
    }
}

#[test]
fn an_anchor_of_another_hand_is_told() {
    for side in BOTH {
        let other = if side == Side::Commune {
            Side::Centre
        } else {
            Side::Commune
        };
        // In the other's name, and in the owner's with the other's key.
        let lies: [Lie; 2] = [honest, |head| {
            head.iss = if head.iss == COMMUNE { CENTRE } else { COMMUNE }.to_owned();
        }];
        for lie in lies {
            let mut pair = Pair::new();
            pair.prune_as(side, other, lie);
            pair.exchange();
            let report = run_books(&pair);
            assert_eq!(report.verdict, Verdict::Contradiction, "{report:#?}");
            let book = pair.book(side).clone();
            assert!(!pair.verify(&book).is_intact());
        }
    }
}

/// Compares with the authorities given: who signed an anchor is only known then.
fn run_books(pair: &Pair) -> Report {
    let scratch = Scratch::new(&format!("pruned-{}", uuid::Uuid::now_v7()));
    let mut paths = Vec::new();
    for (name, book) in [("a", &pair.gateway), ("b", &pair.receiver)] {
        let path = scratch.0.join(name);
        std::fs::create_dir(&path).unwrap();
        for (month, text) in book.write() {
            std::fs::write(path.join(month.file_name()), text).unwrap();
        }
        paths.push(path);
    }
    run_all(&paths, pair.authorities())
}

#[test]
fn lines_removed_behind_the_anchor_are_missing() {
    let mut pair = Pair::new();
    pair.prune(Side::Commune);
    pair.exchange();
    pair.gateway.lines.drain(..2);
    let found = pair.verify(&pair.gateway.clone());
    let expected = verify::What::Removed {
        from: found.journals[0].pruned + 1,
        to: found.journals[0].pruned + 2,
    };
    assert!(
        found.findings.iter().any(|one| one.what == expected),
        "{:#?}",
        found.findings
    );
    assert_convicts(
        &pair.compare(),
        Side::Commune,
        "removed",
        "behind the anchor",
    );
}
