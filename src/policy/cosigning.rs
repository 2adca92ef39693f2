//! When which witness gets a checkpoint of the journal, and what its answer means. Pure.
//!
//! A witness gets one when a grant ended, and every hour in which anything else was written; one
//! at a time, so that what comes meanwhile goes with the next. One that does not answer is tried
//! again with a backoff, for as long as it takes: its next cosignature covers all that it missed.
//! Nothing waits for a witness.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::{Boot, Now};
use crate::format::backoff::Backoff;
use crate::format::note::VerifierKey;

/// How often a witness gets a checkpoint while only other things than ends are written.
pub const EVERY: Duration = Duration::from_secs(3_600);
/// From one checkpoint to the next for one witness, at least.
pub const SPACING: Duration = Duration::from_secs(5);
/// First and longest wait after a failure.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// What came of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The witness cosigned.
    Cosigned,
    /// It holds another tree than was known here, no larger than the journal: asked again from
    /// that one at once.
    Behind,
    /// It holds a larger tree than the journal: lines that it saw are not here.
    Ahead,
    /// It holds a tree that the journal does not begin with.
    Inconsistent,
    /// It does not know this journal, or another key for it.
    UnknownLog,
    /// No answer, or one that says that it can't.
    Unreachable,
    /// An answer that is none of the protocol, or a cosignature that does not verify.
    Invalid,
    /// Lines that the proof takes are not here any more.
    Unprovable,
}

impl Outcome {
    /// All, in the order of the metric's table.
    pub const ALL: [Self; 8] = [
        Self::Cosigned,
        Self::Behind,
        Self::Ahead,
        Self::Inconsistent,
        Self::UnknownLog,
        Self::Unreachable,
        Self::Invalid,
        Self::Unprovable,
    ];

    /// The metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cosigned => "cosigned",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
            Self::Inconsistent => "inconsistent",
            Self::UnknownLog => "unknown_log",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
            Self::Unprovable => "unprovable",
        }
    }

    /// Whether the journal is not what the witness saw.
    pub const fn is_alarm(self) -> bool {
        matches!(self, Self::Ahead | Self::Inconsistent)
    }

    /// What somebody must do about it; none where nothing is to be done.
    pub const fn remedy(self) -> Option<&'static str> {
        match self {
            Self::Cosigned | Self::Behind => None,
            Self::Ahead | Self::Inconsistent => Some(
                "the journal was rewritten, cut or restored from an older copy: keep this state_dir as it is, \
                 find the lines that the witness saw, and compare (fanal journal verify --witness)",
            ),
            Self::UnknownLog => Some(
                "give the witness's operator this journal's verifier key: fanal journal show DIR --kind log_key",
            ),
            Self::Unreachable => {
                Some("look at the witness, its url in [[witness]], and the way there")
            }
            Self::Invalid => {
                Some("compare url and key of [[witness]] with what the witness's operator gave")
            }
            Self::Unprovable => Some(
                "the witness was away for longer than the journal is kept: its operator has to take the log again",
            ),
        }
    }
}

/// What a witness answered (tlog-witness).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200, and the cosignature verifies.
    Cosigned,
    /// 409: it holds a tree of so many lines.
    Holds(u64),
    /// Anything else.
    Failed(Outcome),
}

impl Answer {
    /// From the status of a response that carries neither a cosignature nor a size.
    pub const fn of_status(status: u16) -> Self {
        Self::Failed(match status {
            403 | 404 => Outcome::UnknownLog,
            422 => Outcome::Inconsistent,
            429 | 500..=599 => Outcome::Unreachable,
            _ => Outcome::Invalid,
        })
    }
}

/// A checkpoint that is to go to a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The witness.
    pub witness: VerifierKey,
    /// The size of the tree that it holds.
    pub old: u64,
}

/// What was written so far, as counters that only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Lines of the journal.
    pub size: u64,
    /// Commits with anything but cosignatures.
    pub changes: u64,
    /// Ends of grants.
    pub ends: u64,
}

/// All witnesses of one journal.
#[derive(Debug, Default)]
pub struct Cosigning {
    witnesses: BTreeMap<VerifierKey, Witness>,
    /// Trees that witnesses were known to hold before they were set.
    held: BTreeMap<VerifierKey, u64>,
    written: Written,
}

#[derive(Debug)]
struct Witness {
    /// Size of the tree that it holds, as far as is known.
    holds: u64,
    /// What was written when the checkpoint was made that is with it.
    asked: Option<Written>,
    /// What was written when the last checkpoint was made that it cosigned.
    saw: Option<Written>,
    /// Nothing goes to it before.
    not_before: Boot,
    /// When it cosigned last.
    cosigned_at: Boot,
    /// Whether it was asked again from the tree that it named.
    is_corrected: bool,
    backoff: Backoff,
}

impl Cosigning {
    /// Another journal begins: no witness holds anything of it.
    pub fn begin(&mut self) {
        self.held.clear();
        let now = Boot(Duration::ZERO);
        for witness in self.witnesses.values_mut() {
            *witness = Witness::new(0, now);
        }
    }

    /// A witness cosigned this many lines of the journal, as that says.
    pub fn holds(&mut self, witness: &VerifierKey, size: u64) {
        self.held.insert(witness.clone(), size);
        if let Some(witness) = self.witnesses.get_mut(witness) {
            witness.holds = size;
        }
    }

    /// The witnesses of the settings; those that stay go on.
    pub fn set<'a>(&mut self, keys: impl IntoIterator<Item = &'a VerifierKey>, now: Now) {
        let mut old = std::mem::take(&mut self.witnesses);
        for (key, witness) in &old {
            self.held.insert(key.clone(), witness.holds);
        }
        for key in keys {
            let held = self.held.get(key).copied().unwrap_or(0);
            let new = || Witness::new(held, now.boot);
            let witness = old.remove(key).unwrap_or_else(new);
            self.witnesses.insert(key.clone(), witness);
        }
    }

    /// What is written by now.
    pub fn written(&mut self, written: Written) {
        self.written = written;
    }

    /// Whom the next checkpoint goes to. Each is counted as asked.
    pub fn poll(&mut self, now: Now) -> Vec<Due> {
        let written = self.written;
        let mut due = Vec::new();
        for (key, witness) in &mut self.witnesses {
            if witness.due(written).is_some_and(|at| at <= now.boot) {
                witness.asked = Some(written);
                due.push(Due {
                    witness: key.clone(),
                    old: witness.holds,
                });
            }
        }
        due
    }

    /// No checkpoint could be made for these: they are due again.
    pub fn not_sent(&mut self, due: &[Due]) {
        for Due { witness, .. } in due {
            if let Some(witness) = self.witnesses.get_mut(witness) {
                witness.asked = None;
            }
        }
    }

    /// When [`Cosigning::poll`] has something next, if nothing comes before.
    pub fn poll_timeout(&self) -> Option<Boot> {
        let due = |witness: &Witness| witness.due(self.written);
        self.witnesses.values().filter_map(due).min()
    }

    /// An answer to a checkpoint of `size` lines; `random` in 0..1 is for the wait after a
    /// failure. None where the witness is none of the settings' any more.
    pub fn answered(
        &mut self,
        witness: &VerifierKey,
        size: u64,
        answer: Answer,
        now: Now,
        random: f64,
    ) -> Option<Outcome> {
        let witness = self.witnesses.get_mut(witness)?;
        let asked = witness.asked.take()?;
        let outcome = match answer {
            Answer::Cosigned => Outcome::Cosigned,
            Answer::Holds(holds) if holds > size => Outcome::Ahead,
            // Asked from the whole tree, it refuses only another root.
            Answer::Holds(holds) if holds == size && holds == witness.holds => {
                Outcome::Inconsistent
            }
            Answer::Holds(holds) if holds != witness.holds && !witness.is_corrected => {
                witness.holds = holds;
                Outcome::Behind
            }
            Answer::Holds(_) => Outcome::Invalid,
            Answer::Failed(outcome) => outcome,
        };
        match outcome {
            Outcome::Cosigned => {
                witness.holds = size;
                witness.saw = Some(asked);
                witness.cosigned_at = now.boot;
                witness.not_before = now.boot.plus(SPACING);
                witness.backoff = Witness::backoff();
            }
            Outcome::Behind => witness.not_before = now.boot,
            _ => {
                let wait = witness.backoff.failed(Duration::ZERO, random);
                witness.not_before = now.boot.plus(wait);
            }
        }
        witness.is_corrected = outcome == Outcome::Behind;
        Some(outcome)
    }
}

impl Witness {
    fn new(holds: u64, now: Boot) -> Self {
        Self {
            holds,
            asked: None,
            saw: None,
            not_before: now,
            cosigned_at: now,
            is_corrected: false,
            backoff: Self::backoff(),
        }
    }

    fn backoff() -> Backoff {
        Backoff::new(RETRY.0, RETRY.1, Duration::MAX)
    }

    /// When it gets the next checkpoint, by what is written.
    fn due(&self, written: Written) -> Option<Boot> {
        if self.asked.is_some() || written.size == 0 {
            return None;
        }
        let Some(saw) = self.saw else {
            return Some(self.not_before);
        };
        if written.ends > saw.ends {
            Some(self.not_before)
        } else if written.changes > saw.changes {
            Some(self.cosigned_at.plus(EVERY).max(self.not_before))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::format::note::{Kind, NoteSigner};

    fn key(seed: u8) -> VerifierKey {
        let signer = NoteSigner::new("example.com/w", Kind::Witness, [seed; 32]).unwrap();
        signer.verifier().clone()
    }

    fn at(seconds: u64) -> Now {
        Now {
            wall: Wall::from_seconds(0),
            boot: Boot(Duration::from_secs(seconds)),
        }
    }

    fn written(size: u64, changes: u64, ends: u64) -> Written {
        Written {
            size,
            changes,
            ends,
        }
    }

    fn one(old: u64) -> Vec<Due> {
        let witness = key(1);
        vec![Due { witness, old }]
    }

    fn begun() -> Cosigning {
        let mut all = Cosigning::default();
        all.set([&key(1)], at(0));
        all
    }

    #[test]
    fn an_end_goes_at_once_and_other_lines_within_the_hour() {
        let mut all = begun();
        assert_eq!(all.poll(at(0)), [], "an empty journal has no checkpoint");
        all.written(written(3, 1, 0));
        assert_eq!(all.poll(at(0)), one(0));
        assert_eq!(all.poll(at(9_999)), [], "one at a time");
        let took = all.answered(&key(1), 3, Answer::Cosigned, at(1), 0.5);
        assert_eq!(took, Some(Outcome::Cosigned));
        // The cosignature's own line is no reason for another.
        all.written(written(4, 1, 0));
        assert_eq!((all.poll(at(99_999)), all.poll_timeout()), (vec![], None));
        all.written(written(5, 2, 0));
        assert_eq!(all.poll_timeout(), Some(at(3_601).boot));
        assert_eq!(all.poll(at(3_600)), []);
        all.written(written(6, 3, 1));
        assert_eq!(all.poll_timeout(), Some(at(6).boot));
        assert_eq!(all.poll(at(5)), [], "ends within some seconds go together");
        assert_eq!(all.poll(at(6)), one(3));
    }

    #[test]
    fn what_comes_while_it_is_asked_goes_with_the_next() {
        let mut all = begun();
        all.written(written(3, 1, 1));
        assert_eq!(all.poll(at(0)), one(0));
        all.written(written(9, 2, 2));
        all.answered(&key(1), 3, Answer::Cosigned, at(1), 0.5);
        assert_eq!(all.poll(at(6)), one(3));
    }

    #[test]
    fn one_that_is_away_for_a_day_is_tried_and_gets_all_at_once() {
        let mut all = begun();
        all.holds(&key(1), 3);
        all.written(written(5, 1, 0));
        let (mut now, mut tries) = (at(0), 0);
        while now.boot < at(86_400).boot {
            assert_eq!(all.poll(now), one(3));
            let away = Answer::Failed(Outcome::Unreachable);
            all.answered(&key(1), 5, away, now, 1.0);
            let next = all.poll_timeout().unwrap();
            let wait = next.since(now.boot);
            assert!(wait <= RETRY.1, "{wait:?}");
            (now.boot, tries) = (next, tries + 1);
            all.written(written(5 + tries, 1 + tries, tries));
        }
        assert!((140..160).contains(&tries), "{tries}");
        assert_eq!(all.poll(now), one(3));
        all.answered(&key(1), 5 + tries, Answer::Cosigned, now, 1.0);
        assert_eq!(all.poll_timeout(), None);
    }

    #[test]
    fn one_that_holds_less_is_asked_again_at_once_and_only_once() {
        let mut all = begun();
        all.holds(&key(1), 8);
        all.written(written(9, 1, 0));
        assert_eq!(all.poll(at(0)), one(8));
        let behind = all.answered(&key(1), 9, Answer::Holds(4), at(0), 0.5);
        assert_eq!(behind, Some(Outcome::Behind));
        assert_eq!(all.poll(at(0)), one(4));
        let again = all.answered(&key(1), 9, Answer::Holds(5), at(0), 1.0);
        assert_eq!(again, Some(Outcome::Invalid), "it changes its word");
        assert_eq!(all.poll_timeout(), Some(at(5).boot));
    }

    #[test]
    fn an_answer_that_got_lost_is_fetched() {
        let mut all = begun();
        all.written(written(9, 1, 0));
        assert_eq!(all.poll(at(0)), one(0));
        let lost = Answer::Failed(Outcome::Unreachable);
        all.answered(&key(1), 9, lost, at(0), 1.0);
        assert_eq!(all.poll(at(5)), one(0));
        let holds = all.answered(&key(1), 9, Answer::Holds(9), at(5), 1.0);
        assert_eq!(holds, Some(Outcome::Behind));
        assert_eq!(all.poll(at(5)), one(9), "from the whole, without a proof");
        let took = all.answered(&key(1), 9, Answer::Cosigned, at(5), 1.0);
        assert_eq!(took, Some(Outcome::Cosigned));
    }

    #[test]
    fn a_larger_or_another_tree_is_an_alarm() {
        for (holds, answer, outcome) in [
            (8, Answer::Holds(10), Outcome::Ahead),
            (9, Answer::Holds(9), Outcome::Inconsistent),
            (8, Answer::of_status(422), Outcome::Inconsistent),
        ] {
            let mut all = begun();
            all.holds(&key(1), holds);
            all.written(written(9, 1, 0));
            assert_eq!(all.poll(at(0)), one(holds));
            let took = all.answered(&key(1), 9, answer, at(0), 1.0);
            assert_eq!(took, Some(outcome), "{answer:?}");
            assert!(outcome.is_alarm() && outcome.remedy().is_some());
            assert_eq!(all.poll_timeout(), Some(at(5).boot), "it is tried again");
        }
    }

    #[test]
    fn statuses_say_what_they_mean() {
        let outcome = |status| match Answer::of_status(status) {
            Answer::Failed(outcome) => outcome.as_str(),
            other => panic!("{other:?}"),
        };
        let all = [404, 403, 422, 429, 503, 400, 302].map(outcome);
        let expected = [
            "unknown_log",
            "unknown_log",
            "inconsistent",
            "unreachable",
            "unreachable",
            "invalid",
            "invalid",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_reload_keeps_what_is_known_of_each() {
        let mut all = begun();
        all.holds(&key(2), 7);
        all.written(written(9, 1, 0));
        assert_eq!(all.poll(at(0)), one(0));
        all.set([&key(2)], at(1));
        let gone = all.answered(&key(1), 9, Answer::Cosigned, at(1), 0.5);
        assert_eq!(gone, None, "nobody asks for it any more");
        let witness = key(2);
        assert_eq!(all.poll(at(1)), [Due { witness, old: 7 }]);
    }

    #[test]
    fn what_could_not_be_made_is_due_again() {
        let mut all = begun();
        all.written(written(9, 1, 0));
        let due = all.poll(at(0));
        all.not_sent(&due);
        assert_eq!(all.poll(at(0)), due);
    }

    #[test]
    fn a_new_journal_begins_at_nothing() {
        let mut all = begun();
        all.holds(&key(1), 8);
        all.begin();
        all.written(written(1, 1, 0));
        assert_eq!(all.poll(at(0)), one(0));
    }
}
