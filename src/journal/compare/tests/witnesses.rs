//! What a third saw, against what both sides give.

use super::*;
use crate::format::merkle::{Frontier, leaf};
use crate::format::note::{self, Checkpoint, Kind, NoteSigner};
use crate::format::statement::{LOG_KEY_TYPE, LogKeyClaims};
use crate::journal::verify::{self, What};

fn witness(seed: u8) -> NoteSigner {
    NoteSigner::new("prefecture.example", Kind::Witness, [seed; 32]).unwrap()
}

/// The commune's log.
fn log(seed: u8) -> NoteSigner {
    NoteSigner::new(&note::origin(COMMUNE, "aa"), Kind::Log, [seed; 32]).unwrap()
}

impl Pair {
    /// A pair whose gateway's journal has a key for witnesses.
    fn with_log() -> Self {
        let mut pair = Self::empty();
        pair.add_log_key();
        pair
    }

    fn add_log_key(&mut self) {
        let vkey = log(1).verifier().to_string();
        let claims = LogKeyClaims {
            iss: COMMUNE.to_owned(),
            journal: "aa".to_owned(),
            vkey: vkey.clone(),
            iat: self.now.seconds(),
        };
        let statement = self.commune.sign(LOG_KEY_TYPE, &claims);
        let entry = Entry::LogKey { vkey, statement };
        self.gateway.add(self.now, &entry);
    }

    /// Both write their journals again from the start, with all their keys and the same ids.
    fn rewrite(&mut self) {
        self.gateway = Book::new(COMMUNE, "aa");
        self.receiver = Book::new(CENTRE, "bb");
        (self.now, self.grants) = (START, 0);
        self.add_log_key();
    }

    fn grants(&mut self, count: usize) {
        for _ in 0..count {
            self.grant();
            self.later(3_600);
        }
    }

    /// The gateway's checkpoint, signed by `log` and cosigned.
    fn cosigned(&self, log: &NoteSigner) -> Entry {
        let mut tree = Frontier::default();
        for line in &self.gateway.lines {
            let line = Line::parse(&line[..line.len() - 1]).unwrap();
            tree.push(leaf(&line.link.0));
        }
        let checkpoint = Checkpoint {
            origin: note::origin(COMMUNE, "aa"),
            size: tree.size(),
            root: tree.root(),
        };
        let text = checkpoint.text();
        let time = u64::try_from(self.now.seconds()).unwrap();
        let lines = log.sign(&text, 0) + &witness(5).sign(&text, time);
        Entry::Cosigned {
            witness: "Préfecture".to_owned(),
            vkey: witness(5).verifier().to_string(),
            size: checkpoint.size,
            checkpoint: format!("{text}\n{lines}"),
        }
    }

    fn keep(&mut self, cosigned: &Entry) {
        self.gateway.add(self.now, cosigned);
    }

    fn written(&self) -> Written {
        Written::of(&[&self.gateway, &self.receiver])
    }

    fn compared(&self, seed: u8) -> Report {
        self.written().compared(Some(self.authorities()), seed)
    }
}

/// Journals in directories of their own.
struct Written {
    _scratch: Scratch,
    paths: Vec<PathBuf>,
}

impl Written {
    fn of(books: &[&Book]) -> Self {
        let scratch = Scratch::new(&format!("witnessed-{}", uuid::Uuid::now_v7()));
        let mut paths = Vec::new();
        for (index, book) in books.iter().enumerate() {
            let path = scratch.0.join(index.to_string());
            std::fs::create_dir(&path).unwrap();
            for (month, text) in book.write() {
                std::fs::write(path.join(month.file_name()), text).unwrap();
            }
            paths.push(path);
        }
        Self {
            _scratch: scratch,
            paths,
        }
    }

    fn compared(&self, authorities: Option<Authorities>, seed: u8) -> Report {
        let options = Options {
            directories: self.paths.clone(),
            authorities,
            witnesses: vec![witness(seed).verifier().clone()],
            memory: MEMORY_LIMIT,
        };
        compare(&options, &AtomicU64::new(0)).unwrap()
    }

    fn verified(&self, seed: u8) -> verify::Report {
        verify::verify(&verify::Options {
            directory: self.paths[0].clone(),
            with: self.paths[1..].to_vec(),
            authorities: None,
            witnesses: vec![witness(seed).verifier().clone()],
        })
        .unwrap()
    }
}

#[test]
fn what_a_witness_saw_agrees_and_the_rest_is_unwitnessed() {
    let mut pair = Pair::with_log();
    pair.grants(2);
    let size = pair.gateway.end.seq;
    let cosigned = pair.cosigned(&log(1));
    pair.keep(&cosigned);
    let report = pair.compared(5);
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
    assert_eq!(report.checked.checkpoints, 1);
    assert_eq!(report.checked.journals[0].cosigned, size);
    let whole = "journal aa: witnesses cosigned all of it".to_owned();
    let verified = pair.written().verified(5);
    assert!(
        verified.is_intact() && verified.notes.contains(&whole),
        "{verified:#?}"
    );

    pair.grants(1);
    let report = pair.compared(5);
    assert_eq!(report.verdict, Verdict::UnwitnessedTail, "{report:#?}");
    let tail = &report.findings[0];
    assert_eq!((tail.seq, tail.convicts.clone()), (Some(size + 1), None));
    let verified = pair.written().verified(5);
    let tail = format!("unwitnessed: lines {} to", size + 1);
    assert!(verified.is_intact(), "{verified:#?}");
    assert!(
        verified.notes.iter().any(|note| note.contains(&tail)),
        "{verified:#?}"
    );
    // Another witness saw nothing of it.
    let other = pair.compared(6);
    assert_eq!(
        (other.verdict, other.checked.checkpoints),
        (Verdict::Consistent, 0)
    );
    let verified = pair.written().verified(6);
    assert!(
        verified
            .notes
            .iter()
            .any(|note| note.contains("no witness that was named"))
    );
}

#[test]
fn a_rewrite_by_both_sides_together_is_found_by_what_a_witness_saw() {
    let mut pair = Pair::with_log();
    pair.grants(3);
    let seen = pair.cosigned(&log(1));
    // One grant never was; every signature, head and list is right again.
    pair.rewrite();
    pair.grants(2);
    pair.later(3_600);
    pair.keep(&seen);
    pair.grants(2);
    let without = pair.compared(6);
    assert_eq!(without.verdict, Verdict::Consistent, "{without:#?}");
    let report = pair.compared(5);
    assert_convicts(
        &report,
        Side::Commune,
        "the witness prefecture.example cosigned",
        "rewritten",
    );
    // Without authorities the result is the same, by the keys in the journals.
    let unchecked = pair.written().compared(None, 5);
    assert_eq!(whom(&unchecked), whom(&report));
    let verified = pair.written().verified(5);
    let found: Vec<&str> = verified
        .findings
        .iter()
        .map(|one| one.what.kind())
        .collect();
    assert_eq!(found, ["contradicts"], "{verified:#?}");
}

#[test]
fn lines_that_a_witness_saw_and_both_sides_cut_off_are_missing() {
    let mut pair = Pair::with_log();
    pair.grants(1);
    let (gateway, receiver) = (pair.gateway.clone(), pair.receiver.clone());
    pair.grants(2);
    let seen = pair.cosigned(&log(1));
    (pair.gateway, pair.receiver) = (gateway, receiver);
    pair.keep(&seen);
    let without = pair.compared(6);
    assert_eq!(without.verdict, Verdict::Consistent, "{without:#?}");
    let report = pair.compared(5);
    assert_convicts(&report, Side::Commune, "missing", "cut");
    let verified = pair.written().verified(5);
    let removed = |one: &verify::Finding| {
        matches!(
            one.what,
            What::Witnessed {
                missing: true,
                by_owner: true,
                ..
            }
        )
    };
    assert!(verified.findings.iter().any(removed), "{verified:#?}");
}

#[test]
fn an_old_copy_is_no_contradiction_where_the_whole_is_there_too() {
    let mut pair = Pair::with_log();
    pair.grants(1);
    let old = pair.gateway.clone();
    pair.grants(1);
    let seen = pair.cosigned(&log(1));
    pair.keep(&seen);
    let written = Written::of(&[&pair.gateway, &pair.receiver, &old]);
    let report = written.compared(Some(pair.authorities()), 5);
    assert_eq!(report.verdict, Verdict::Consistent, "{report:#?}");
}

#[test]
fn a_witness_alone_convicts_nobody() {
    let mut pair = Pair::with_log();
    pair.grants(1);
    // Signed by a key that the commune never signed: the witness took anything.
    let mut other = pair.gateway.clone();
    std::mem::swap(&mut pair.gateway, &mut other);
    pair.gateway.add(pair.now, &Entry::Stopped {});
    let invented = pair.cosigned(&log(2));
    pair.gateway = other;
    pair.grants(1);
    pair.keep(&invented);
    let report = pair.compared(5);
    assert_eq!(report.verdict, Verdict::Contradiction, "{report:#?}");
    assert!(
        report.findings.iter().all(|one| one.convicts.is_none()),
        "{report:#?}"
    );
}

#[test]
fn a_log_key_that_another_machine_signed_is_told() {
    let mut pair = Pair::empty();
    std::mem::swap(&mut pair.commune, &mut pair.centre);
    pair.add_log_key();
    std::mem::swap(&mut pair.commune, &mut pair.centre);
    pair.grants(1);
    let report = pair.compared(5);
    let found = report
        .findings
        .iter()
        .any(|one| one.what.contains(LOG_KEY_TYPE));
    assert!(found, "{report:#?}");
}
