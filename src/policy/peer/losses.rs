//! Journals that lack lines they held before: this machine's and the peers'. Pure.
//!
//! A journal *goes back* when it is restored from a backup, cut at its end, or replaced. It
//! is seen where a signed head is left of what is gone: at the peer, which keeps heads
//! ([`super::witness`]), at the owner, whom the peer shows the head it keeps, and at the
//! owner's start where the files do not verify. Each is an entry; the entry alone makes
//! the state here, live as at a start, so a restart forgets nothing. Until an
//! administrator accepts the journal as it is (`--accept-journal ID`, at each side for
//! itself), nothing is relayed that rests on it, unless the settings say otherwise.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// Journals with losses that nobody has accepted.
#[derive(Debug, Default)]
pub struct Losses {
    /// Whose machine this is.
    own: String,
    /// Why the own journal did not verify at a start.
    damaged: Option<String>,
    peers: BTreeMap<String, Lost>,
    /// Whose journals an administrator accepts at this start, and who that is.
    accepts: BTreeMap<String, String>,
    /// Peers whose heads were compared since the start: what comes later is not accepted.
    compared: BTreeSet<String>,
}

/// Losses that one peer's heads showed.
#[derive(Debug, Default)]
struct Lost {
    /// The peer's journal contradicts a head that it signed.
    theirs: Option<String>,
    /// The own journal lacks a line whose signed head the peer holds.
    ours: Option<String>,
    /// The peer says that its journal does not verify. It stops relaying by itself.
    told: Option<String>,
}

impl Lost {
    fn theirs(&self) -> Option<&str> {
        self.theirs.as_deref().or(self.told.as_deref())
    }
}

impl Losses {
    /// No losses; `own` is this machine's id.
    pub fn new(own: impl Into<String>) -> Self {
        Self {
            own: own.into(),
            ..Self::default()
        }
    }

    /// Takes an entry as the journal tells it at a start; most say nothing of losses.
    pub fn recover(&mut self, entry: &Entry) {
        match entry {
            Entry::PeerContradiction { peer, detail, .. } => {
                let lost = self.peers.entry(peer.clone()).or_default();
                lost.theirs = Some(detail.clone());
            }
            Entry::JournalWentBack { peer, detail, .. } => {
                let lost = self.peers.entry(peer.clone()).or_default();
                lost.ours = Some(detail.clone());
            }
            Entry::JournalDamaged { file, line, cause } => {
                self.damaged = Some(format!("{file} line {line}: {cause}"));
            }
            Entry::PeerDamaged { peer, detail } => {
                self.peers.entry(peer.clone()).or_default().told = detail.clone();
            }
            Entry::JournalAccepted { journal, .. } => self.forget(journal),
            _ => {}
        }
    }

    fn forget(&mut self, journal: &str) {
        if journal == self.own {
            self.damaged = None;
            for lost in self.peers.values_mut() {
                lost.ours = None;
            }
        } else if let Some(lost) = self.peers.get_mut(journal) {
            lost.theirs = None;
            lost.told = None;
        }
    }

    /// An administrator accepts a journal as it is, by its owner's id: what is known of its
    /// losses, and what is found yet: of the own journal until the next start, of a peer's
    /// in the first comparison. The entry that says so, where there is something to accept now.
    pub fn accept(&mut self, journal: String, by: String) -> Option<Entry> {
        let is_lost = if journal == self.own {
            self.own().is_some()
        } else {
            self.theirs(&journal).is_some()
        };
        self.accepts.insert(journal.clone(), by.clone());
        is_lost.then(|| {
            self.forget(&journal);
            Entry::JournalAccepted { journal, by }
        })
    }

    /// Takes an entry that tells of a loss, found now with a peer; the entry that follows it
    /// where an administrator accepted that at this start.
    pub fn found(&mut self, peer: &str, evidence: &Entry) -> Option<Entry> {
        self.recover(evidence);
        let journal = match evidence {
            Entry::PeerContradiction { .. } if !self.compared.contains(peer) => peer.to_owned(),
            Entry::JournalWentBack { .. } => self.own.clone(),
            _ => return None,
        };
        let by = self.accepts.get(&journal)?.clone();
        self.forget(&journal);
        Some(Entry::JournalAccepted { journal, by })
    }

    /// The first lines of a peer were compared: what an administrator accepted at the start
    /// was that, and nothing later.
    pub fn compared(&mut self, peer: &str) {
        if !self.accepts.is_empty() {
            self.compared.insert(peer.to_owned());
        }
    }

    /// Why nothing that rests on both journals may be relayed with a peer, if so.
    pub fn refusal(&self, peer: &str) -> Option<Refusal> {
        let lost = self.peers.get(peer);
        let theirs = lost.and_then(|lost| lost.theirs.as_ref());
        let detail = if let Some(theirs) = theirs {
            format!("the journal of {peer}: {theirs}")
        } else {
            let ours = lost.and_then(|lost| lost.ours.as_ref());
            let own = &self.own;
            format!("the journal of {own}: {}", ours.or(self.damaged.as_ref())?)
        };
        Some(Refusal::new(Reason::JournalWentBack, detail))
    }

    /// Why the own journal does not verify, for peers.
    pub fn damaged(&self) -> Option<String> {
        self.damaged.clone()
    }

    /// A peer says whether its journal verifies; the entry where that is news.
    pub fn told(&mut self, peer: &str, damaged: Option<&str>) -> Option<Entry> {
        let known = self.peers.get(peer).and_then(|lost| lost.told.as_ref());
        if known.is_some() == damaged.is_some() {
            return None;
        }
        let entry = Entry::PeerDamaged {
            peer: peer.to_owned(),
            detail: damaged.map(str::to_owned),
        };
        self.recover(&entry);
        Some(entry)
    }

    /// This machine's id.
    pub fn own_id(&self) -> &str {
        &self.own
    }

    /// The own journal's loss, as far as it is known and not accepted.
    pub fn own(&self) -> Option<&str> {
        let ours = self.peers.values().find_map(|lost| lost.ours.as_deref());
        self.damaged.as_deref().or(ours)
    }

    /// The loss of a peer's journal.
    pub fn theirs(&self, peer: &str) -> Option<&str> {
        self.peers.get(peer)?.theirs()
    }

    /// The peers whose journals lost lines, and what.
    pub fn all_theirs(&self) -> impl Iterator<Item = (&str, &str)> {
        let peers = self.peers.iter();
        peers.filter_map(|(peer, lost)| Some((peer.as_str(), lost.theirs()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(peer: &str) -> Entry {
        Entry::PeerContradiction {
            peer: peer.to_owned(),
            detail: "line 4".to_owned(),
            head: String::new(),
            found: None,
        }
    }

    fn ours(peer: &str) -> Entry {
        Entry::JournalWentBack {
            peer: peer.to_owned(),
            detail: "line 9".to_owned(),
            head: String::new(),
        }
    }

    #[test]
    fn a_loss_refuses_until_that_journal_is_accepted_by_its_owners_id() {
        let mut losses = Losses::new("berre");
        let refuses = |losses: &Losses, peer| losses.refusal(peer).map(|refusal| refusal.detail);
        losses.recover(&theirs("corg-13"));
        losses.recover(&ours("corg-84"));
        let text = "the journal of corg-13: line 4".to_owned();
        assert_eq!(refuses(&losses, "corg-13"), Some(text));
        let text = "the journal of berre: line 9".to_owned();
        assert_eq!(refuses(&losses, "corg-84"), Some(text));
        assert_eq!(refuses(&losses, "corg-83"), None, "only between the two");
        assert_eq!(losses.all_theirs().count(), 1);
        let by = || "root".to_owned();
        assert!(losses.accept("berre".to_owned(), by()).is_some());
        assert_eq!((losses.own(), refuses(&losses, "corg-84")), (None, None));
        assert!(refuses(&losses, "corg-13").is_some(), "that is another's");
        let accepted = losses.accept("corg-13".to_owned(), by()).unwrap();
        assert_eq!(refuses(&losses, "corg-13"), None);
        // The same from the journal at the next start.
        let mut losses = Losses::new("berre");
        losses.recover(&theirs("corg-13"));
        losses.recover(&accepted);
        assert_eq!(refuses(&losses, "corg-13"), None);
    }

    #[test]
    fn damage_refuses_all_and_an_acceptance_counts_for_the_first_comparison_alone() {
        let mut losses = Losses::new("berre");
        losses.recover(&Entry::JournalDamaged {
            file: "2026-11.jsonl".to_owned(),
            line: 3,
            cause: "seq".to_owned(),
        });
        assert!(losses.refusal("corg-13").is_some() && losses.refusal("corg-83").is_some());
        assert_eq!(losses.own(), Some("2026-11.jsonl line 3: seq"));
        let by = || "root".to_owned();
        assert!(losses.accept("berre".to_owned(), by()).is_some());
        assert!(losses.accept("corg-13".to_owned(), by()).is_none());
        let accepted = |journal: &str| Entry::JournalAccepted {
            journal: journal.to_owned(),
            by: by(),
        };
        let found = losses.found("corg-13", &ours("corg-13"));
        assert_eq!(found, Some(accepted("berre")));
        let found = losses.found("corg-13", &theirs("corg-13"));
        assert_eq!(found, Some(accepted("corg-13")));
        losses.compared("corg-13");
        assert_eq!(losses.refusal("corg-13"), None);
        assert_eq!(losses.found("corg-13", &theirs("corg-13")), None);
        assert!(losses.refusal("corg-13").is_some());
        let found = losses.found("corg-83", &ours("corg-83"));
        assert_eq!(found, Some(accepted("berre")), "its first");
    }
}
