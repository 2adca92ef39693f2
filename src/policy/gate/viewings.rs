//! The centre's lists of who watched, as the commune takes them: every part of every list that
//! a centre announces, each once, and confirmed once it is durable.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Command, Gate, Pending};
use crate::clock::Now;
use crate::format::control::ToReceiver;
use crate::format::ids::{GrantId, ReceiverId};
use crate::format::statement::{VIEWINGS_TYPE, ViewingsClaims};
use crate::journal::Receipt;
use crate::journal::entry::Entry;
use crate::journal::recover::VIEWINGS_LATE;

/// How long past its time, by the wall clock, the end of a grant is remembered: its
/// centre may send the list of viewings that late. A centre that was away is told of
/// the end only while the grant's time runs.
pub(super) const VIEWINGS_DELAY: Duration = VIEWINGS_LATE;
/// Parts taken of the lists of one grant, of at most 16 KiB each: a centre folds what is more
/// than some 200 of them, and a list that it makes again may have other parts.
const PARTS_LIMIT: usize = 512;
/// Longest id of a journal, in bytes; a longer one names none.
const JOURNAL_BYTES: usize = 64;
/// Statements without a number that are taken for one grant: centres before protocol 1.1 send so many.
const UNNUMBERED_LIMIT: u8 = 32;

/// The centre's journal whose list it is a part of, the part and the number of parts: each
/// receiver that had the grant's pictures has a list of its own.
pub(super) type Number = (Option<String>, u32, u32);

/// What was taken of one grant's lists.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// Those on their way to the journal or in it.
    parts: BTreeSet<Number>,
    unnumbered: u8,
}

/// What becomes of a part.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// It is new.
    Record,
    /// It was taken before.
    Known,
    /// It is one too many, or none at all.
    Drop,
}

impl Taken {
    /// Notes a statement that is recorded.
    pub(super) fn note(&mut self, numbers: Option<Number>) {
        match numbers {
            Some(part) => drop(self.parts.insert(part)),
            None => self.unnumbered = self.unnumbered.saturating_add(1),
        }
    }

    fn judge(&self, numbers: Option<&Number>) -> Verdict {
        match numbers {
            Some(part) if self.parts.contains(part) => Verdict::Known,
            Some((_, part, parts)) if part < parts && self.parts.len() < PARTS_LIMIT => {
                Verdict::Record
            }
            None if self.unnumbered < UNNUMBERED_LIMIT => Verdict::Record,
            Some(_) | None => Verdict::Drop,
        }
    }
}

/// A statement on its way to the journal.
#[derive(Debug)]
pub(super) struct Recording {
    from: ReceiverId,
    grant: GrantId,
    numbers: Option<Number>,
    entry: Box<Entry>,
}

impl Gate {
    /// A part of the centre's signed list of who watched.
    pub(super) fn handle_viewings(&mut self, from: &ReceiverId, statement: &str, now: Now) {
        let centre = &from.centre;
        let Some(held) = self.rules.centres.get(centre) else {
            return;
        };
        if !self.witnesses.may_look(from, now) {
            return;
        }
        let looked = held.authority.verify::<ViewingsClaims>(
            statement,
            VIEWINGS_TYPE,
            centre.as_str(),
            now.wall,
        );
        let claims = match looked {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(%centre, %refusal, "a list of viewings is not valid");
                return;
            }
        };
        let ours = &claims.iss == centre && claims.aud == self.rules.settings.commune;
        let Some(ended) = self.ended.get_mut(&claims.grant) else {
            // Live here yet, or over too long ago: the centre sends it again.
            return;
        };
        if !ours || &ended.centre != centre {
            return;
        }
        let journal = claims
            .journal
            .filter(|journal| journal.len() <= JOURNAL_BYTES);
        let numbers = claims.part.zip(claims.parts);
        let numbers = numbers.map(|(part, parts)| (journal, part, parts));
        match ended.viewings.judge(numbers.as_ref()) {
            Verdict::Record => {}
            Verdict::Known => {
                // Of one that is being recorded the confirmation follows.
                if !self.is_recording(claims.grant, numbers.as_ref()) {
                    self.confirm_viewings(from, claims.grant, numbers.as_ref(), None);
                }
                return;
            }
            Verdict::Drop => {
                tracing::warn!(%centre, grant = %claims.grant, "one list of viewings too many");
                return;
            }
        }
        ended.viewings.note(numbers.clone());
        let entry = Box::new(Entry::Viewings {
            grant: claims.grant,
            part: claims.part,
            parts: claims.parts,
            statement: statement.to_owned(),
            viewings: claims.viewings,
            received: claims.received,
        });
        let recording = Recording {
            from: from.clone(),
            grant: claims.grant,
            numbers,
            entry: entry.clone(),
        };
        self.record(entry, Pending::Viewings(Box::new(recording)));
    }

    fn is_recording(&self, grant: GrantId, numbers: Option<&Number>) -> bool {
        self.ledger.pending().any(|pending| match pending {
            Pending::Viewings(other) => other.grant == grant && other.numbers.as_ref() == numbers,
            _ => false,
        })
    }

    /// The journal's answer to a part.
    pub(super) fn viewings_recorded(
        &mut self,
        recording: Recording,
        result: Result<Receipt, String>,
        now: Now,
    ) {
        let Recording {
            from,
            grant,
            numbers,
            entry,
        } = recording;
        match result {
            Ok(receipt) => {
                if let Entry::Viewings { received, .. } = &*entry
                    && !received.is_empty()
                {
                    self.commands.push_back(Command::Received {
                        centre: from.centre.clone(),
                        grant,
                        received: received.clone(),
                    });
                }
                let head = self.head_for(&from.centre, receipt.head());
                self.confirm_viewings(&from, grant, numbers.as_ref(), Some(head));
            }
            Err(cause) => {
                tracing::error!(%cause, %grant, "a list of viewings could not be recorded");
                match (numbers, self.ended.get_mut(&grant)) {
                    // The centre owes it until it is confirmed, and sends it again.
                    (Some(part), Some(ended)) => drop(ended.viewings.parts.remove(&part)),
                    // It comes once only.
                    _ => self.ledger.owe(entry, None, now),
                }
            }
        }
    }

    fn confirm_viewings(
        &mut self,
        from: &ReceiverId,
        grant: GrantId,
        numbers: Option<&Number>,
        head: Option<String>,
    ) {
        if let Some((_, part, _)) = numbers {
            let part = *part;
            let message = ToReceiver::ViewingsRecorded { grant, part, head };
            self.send(from, message);
        }
    }
}
