//! The peers' journals, witnessed: each peer's newest signed head is kept from the first
//! day on, compared with the one before, and written down. Pure.
//!
//! Heads go to and fro at each link, after each end and once a day, each with the
//! body-less lines that the other side lacks. A head or line that contradicts the head
//! held is a *contradiction*: it is journalled with both heads, as evidence, and the new one
//! is held from then on. A gap, a message that was overtaken and a line that can't be read
//! convict nobody.
//!
//! When a link comes up each side tells its newest head and the one that it holds of the
//! other ([`Journals`]). No message overtakes there, so a head behind the one held is a
//! journal that went back, and so is a new journal whose first line does not name all that
//! is held of the old one. The owner compares the head that the peer holds with its own
//! lines, so that both sides know. [`super::losses`] takes it from there.

use std::collections::BTreeMap;
use std::time::Duration;

use super::identity::Identity;
use super::rates::{PerSecond, STATEMENTS_PER_SECOND};
use crate::clock::{Boot, Now, Wall};
use crate::format::chain::{End, Line};
use crate::format::control::{Heads, Journals};
use crate::format::ids::{CommuneId, ReceiverId};
use crate::format::jws;
use crate::format::statement::{HEAD_TYPE, HeadClaims};
use crate::journal::entry::Entry;
use crate::journal::reader::{Origin, OwnLine};
use crate::reason::{Reason, Refusal};

/// Heads are exchanged this often, besides at each link and each end.
const EXCHANGE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// Heads after an end wait this long, so that many ends cost one exchange.
const HEADS_DELAY: Duration = Duration::from_secs(1);
/// A peer's heads are written down this often at most; the newest counts.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A head with a lower number is a contradiction only if it was signed this much
/// later, in seconds: messages may overtake each other.
const REORDERED_SECONDS: i64 = 10;
/// Contradictions of one peer are written down this often at most.
const CONTRADICTION_EVERY: Duration = Duration::from_secs(60);
/// Links that come up at once get their heads so far apart, beyond a burst. A head
/// goes with all lines that its peer lacks, some hundred kilobytes where a centre
/// serves a thousand: all at the same moment would fill memory and the centre's line.
const EXCHANGE_PACE: Duration = Duration::from_millis(50);
/// What may go without that pause, after a time of quiet: 20 exchanges.
const EXCHANGE_BURST: Duration = Duration::from_secs(1);

/// What a head, or heads with lines, led to.
#[derive(Debug)]
pub struct Taken {
    /// The head, if it is valid and contradicts nothing.
    pub head: Result<HeadClaims, Refusal>,
    /// An entry that must be journalled: a contradiction, or that a new journal continues the old.
    pub evidence: Option<Entry>,
}

/// What is due.
#[derive(Debug, PartialEq)]
pub enum Due<P> {
    /// Send the own newest head with the body-less lines after a number.
    Send {
        /// To whom.
        peer: P,
        /// Number of the last line that the peer is known to hold; `None` where that is
        /// not known: the head alone.
        after: Option<u64>,
        /// Number of the peer's last line that is held here; 0: none.
        acknowledged: u64,
    },
    /// Journal a peer's newest head.
    Write(Entry),
}

/// All peers' heads.
#[derive(Debug)]
pub struct Witnesses<P> {
    peers: BTreeMap<P, Witness>,
    /// The next moment at which heads may go to a peer whose link came up.
    next_exchange: Boot,
}

/// What is held of one peer, over all its links.
#[derive(Debug, Default)]
struct Witness {
    head: Option<(HeadClaims, String)>,
    /// The head held when the link came up, until the peer told its own.
    at_link: Option<(HeadClaims, String)>,
    /// A head of the own journal that the peer holds, while its line is looked up.
    held_of_ours: Option<(HeadClaims, String)>,
    /// Whether that was looked up on this link.
    is_own_asked: bool,
    /// When it is to be written down, if it is not.
    write_due: Option<Boot>,
    written_at: Option<Boot>,
    contradicted_at: Option<Boot>,
    /// Number of the own last line that the peer says it holds.
    acknowledged: Option<u64>,
    looked: PerSecond,
    is_linked: bool,
    /// Whether the lines that the peer lacks were sent on this link.
    are_lines_sent: bool,
    /// When own heads are to be sent; only while linked.
    send_due: Option<Boot>,
}

impl<P> Default for Witnesses<P> {
    fn default() -> Self {
        Self {
            peers: BTreeMap::new(),
            next_exchange: Boot(Duration::ZERO),
        }
    }
}

/// Whose journal it is.
pub trait Peer: Ord + Clone {
    /// The owner's id, which its statements name.
    fn id(&self) -> String;
}

impl Peer for CommuneId {
    fn id(&self) -> String {
        self.to_string()
    }
}

impl Peer for ReceiverId {
    fn id(&self) -> String {
        self.centre.to_string()
    }
}

impl<P: Peer> Witnesses<P> {
    /// A peer's link is up: heads go as soon as its turn comes.
    pub fn link_up(&mut self, peer: &P, now: Now) {
        let send_due = Some(self.slot(now));
        let witness = self.peers.entry(peer.clone()).or_default();
        witness.is_linked = true;
        witness.are_lines_sent = false;
        witness.send_due = send_due;
        witness.at_link.clone_from(&witness.head);
        witness.held_of_ours = None;
        witness.is_own_asked = false;
    }

    /// The message that tells a peer of both journals when its link comes up.
    pub fn journals(&self, peer: &P, head: Option<String>, continues: Option<&str>) -> Journals {
        Journals {
            head,
            continues: continues.map(str::to_owned),
            damaged: None,
            held: self.head(peer).map(|(_, text)| text.clone()),
        }
    }

    /// Compares a peer's newest head with the one held when its link came up, once a link.
    pub fn compare(
        &mut self,
        peer: &P,
        identity: &Identity,
        told: &Journals,
        now: Now,
    ) -> Option<Entry> {
        let name = peer.id();
        let witness = self.peers.get_mut(peer)?;
        let (before, text) = witness.at_link.take()?;
        let head = told.head.as_deref()?;
        let claims = match identity.read_head(&name, head, now.wall) {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(peer = name, %refusal, "a head of a peer's journal is not valid");
                return None;
            }
        };
        let first = told.continues.as_deref();
        match follows(&before, &claims, first) {
            Ok(None) => None,
            Ok(Some(line)) => {
                // Written down as seldom as a contradiction.
                let before = witness.contradicted_at.replace(now.boot);
                if before.is_some_and(|at| now.boot.since(at) < CONTRADICTION_EVERY) {
                    return None;
                }
                tracing::warn!(
                    peer = name,
                    "a peer began a new journal that names the old one"
                );
                let peer = name;
                Some(Entry::PeerContinues { peer, line })
            }
            Err(detail) => witness.convict(&name, &detail, text, (claims, head.to_owned()), now),
        }
    }

    /// A head of the own journal that a peer holds, as it told when its link came up: the
    /// line to look up, for [`Witnesses::own_line`]. None where this machine did not sign it.
    pub fn held_of_ours(
        &mut self,
        peer: &P,
        identity: &Identity,
        own: &str,
        text: &str,
    ) -> Option<u64> {
        let witness = self.peers.get_mut(peer)?;
        // Once a link: a peer may hold many heads of ours, and each look-up reads a file.
        if std::mem::replace(&mut witness.is_own_asked, true) {
            return None;
        }
        let claims = identity.read_own(own, text)?;
        let seq = claims.seq;
        witness.held_of_ours = Some((claims, text.to_owned()));
        Some(seq)
    }

    /// The own line that a peer holds a head of was looked up: the entry that tells that it
    /// is not there.
    pub fn own_line(&mut self, peer: &P, own: &OwnLine) -> Option<Entry> {
        let witness = self.peers.get_mut(peer)?;
        let (claims, head) = witness.held_of_ours.take()?;
        let is_there = own.journal.as_ref() == Some(&claims.journal)
            && own.link.as_ref() == Some(&claims.link);
        let is_named = own.origin.as_ref().is_some_and(|origin| {
            own.journal.as_ref() == Some(&origin.journal) && origin.names(&claims)
        });
        // A line whose time is over can't be held against anything any more.
        let is_pruned = own.journal.as_ref() == Some(&claims.journal) && claims.seq <= own.pruned;
        if is_there || is_named || is_pruned {
            return None;
        }
        let detail = format!(
            "line {} of journal {}, whose head it signed at {}, is not in it",
            claims.seq,
            claims.journal,
            Wall::from_seconds(claims.iat).rfc3339()
        );
        let peer = peer.id();
        tracing::error!(peer, detail, "this machine's journal went back");
        Some(Entry::JournalWentBack { peer, detail, head })
    }

    /// A peer's newest link is down.
    pub fn link_down(&mut self, peer: &P) {
        if let Some(witness) = self.peers.get_mut(peer) {
            witness.is_linked = false;
            witness.send_due = None;
        }
    }

    /// An entry was written that a peer must hear of: heads go to it after a pause.
    pub fn tell(&mut self, peer: &P, now: Now) {
        if let Some(witness) = self.peers.get_mut(peer) {
            witness.want_heads(now.boot.plus(HEADS_DELAY));
        }
    }

    /// Whether one more statement of a peer is looked at in this second.
    pub fn may_look(&mut self, peer: &P, now: Now) -> bool {
        let witness = self.peers.entry(peer.clone()).or_default();
        witness.looked.take(STATEMENTS_PER_SECOND, now)
    }

    /// Verifies a peer's head, compares it with the one held and keeps the newer.
    pub fn take(&mut self, peer: &P, identity: &Identity, text: &str, now: Now) -> Taken {
        let name = peer.id();
        let claims = match identity.read_head(&name, text, now.wall) {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(peer = name, %refusal, "a head of a peer's journal is not valid");
                let (head, evidence) = (Err(refusal), None);
                return Taken { head, evidence };
            }
        };
        let witness = self.peers.entry(peer.clone()).or_default();
        match witness.compare(&claims) {
            Ok(is_newer) => {
                if is_newer {
                    witness.hold(&name, claims.clone(), text, now);
                }
                let (head, evidence) = (Ok(claims), None);
                Taken { head, evidence }
            }
            Err((detail, before)) => {
                let found = (claims, text.to_owned());
                let evidence = witness.convict(&name, &detail, before, found, now);
                let head = Err(Refusal::new(Reason::ProtocolError, detail));
                Taken { head, evidence }
            }
        }
    }

    /// The same with the body-less lines that lead to the head, and what the peer holds of
    /// the own journal.
    pub fn take_heads(&mut self, peer: &P, identity: &Identity, heads: &Heads, now: Now) -> Taken {
        let before = self.peers.get(peer).and_then(|held| held.head.clone());
        let mut taken = self.take(peer, identity, &heads.head, now);
        let Ok(claims) = &taken.head else {
            return taken;
        };
        // The first heads of a link tell what the peer lacks: answered once, never again,
        // so that two sides can't keep each other busy.
        let is_first = |held: &Witness| !held.are_lines_sent;
        let slot = self
            .peers
            .get(peer)
            .is_some_and(is_first)
            .then(|| self.slot(now));
        if let Some(witness) = self.peers.get_mut(peer) {
            if let Some((before, text)) = before
                && let Err(detail) = check_lines(&before, claims, &heads.lines)
            {
                let found = (claims.clone(), heads.head.clone());
                let name = peer.id();
                taken.evidence = witness.convict(&name, &detail, text, found, now);
            }
            witness.acknowledged = Some(heads.acknowledged);
            if let Some(slot) = slot {
                witness.are_lines_sent = true;
                witness.want_heads(slot);
            }
        }
        taken
    }

    /// Takes a head of before the restart, which is in the own journal.
    pub fn recover(&mut self, peer: &P, text: &str) {
        let Ok(signed) = jws::open::<HeadClaims>(text, HEAD_TYPE) else {
            return;
        };
        let witness = self.peers.entry(peer.clone()).or_default();
        let claims = signed.claims;
        let newer = witness
            .head
            .as_ref()
            .is_none_or(|(held, _)| held.journal != claims.journal || held.seq < claims.seq);
        if newer {
            witness.head = Some((claims, text.to_owned()));
        }
    }

    /// Takes a contradiction of before the restart: the head that was found is held since.
    pub fn recover_contradiction(&mut self, peer: &P, found: &str) {
        if let Ok(signed) = jws::open::<HeadClaims>(found, HEAD_TYPE) {
            let witness = self.peers.entry(peer.clone()).or_default();
            witness.head = Some((signed.claims, found.to_owned()));
        }
    }

    /// What is held of one peer counts for another from now on: it is the same machine, under
    /// another key. Nothing where something is held of the other already.
    pub fn rename(&mut self, from: &P, to: &P) {
        if self.head(to).is_none()
            && let Some(held) = self.peers.get_mut(from).map(std::mem::take)
        {
            let linked = self.peers.remove(to).unwrap_or_default();
            let at_link = linked.is_linked.then(|| held.head.clone()).flatten();
            let witness = Witness {
                is_linked: linked.is_linked,
                send_due: linked.send_due,
                looked: linked.looked,
                at_link,
                ..held
            };
            self.peers.insert(to.clone(), witness);
            self.peers.remove(from);
        }
    }

    /// The peers of which a head is held, each with its journal.
    pub fn held(&self) -> impl Iterator<Item = (&P, &HeadClaims)> {
        let held = self.peers.iter();
        held.filter_map(|(peer, witness)| Some((peer, &witness.head.as_ref()?.0)))
    }

    /// The newest head held of a peer, and its text.
    pub fn head(&self, peer: &P) -> Option<&(HeadClaims, String)> {
        self.peers.get(peer)?.head.as_ref()
    }

    /// When [`Witnesses::poll`] is due.
    pub fn due(&self) -> Option<Boot> {
        self.peers.values().filter_map(Witness::due).min()
    }

    /// All that is due now.
    pub fn poll(&mut self, now: Now) -> Vec<Due<P>> {
        let mut all = Vec::new();
        for (peer, witness) in &mut self.peers {
            if witness.send_due.is_some_and(|at| at <= now.boot) {
                witness.send_due = Some(now.boot.plus(EXCHANGE_EVERY));
                let held = witness.head.as_ref();
                all.push(Due::Send {
                    peer: peer.clone(),
                    after: witness.acknowledged,
                    acknowledged: held.map_or(0, |(claims, _)| claims.seq),
                });
            }
            if witness.write_due.take_if(|at| *at <= now.boot).is_some() {
                witness.written_at = Some(now.boot);
                if let Some((_, head)) = &witness.head {
                    all.push(Due::Write(Entry::PeerHead {
                        peer: peer.id(),
                        head: head.clone(),
                    }));
                }
            }
        }
        all
    }

    /// Takes the next moment for an exchange; at once unless many others have come before.
    fn slot(&mut self, now: Now) -> Boot {
        let earliest = Boot(now.boot.0.saturating_sub(EXCHANGE_BURST));
        let slot = self.next_exchange.max(earliest);
        self.next_exchange = slot.plus(EXCHANGE_PACE);
        slot.max(now.boot)
    }
}

impl Witness {
    fn due(&self) -> Option<Boot> {
        [self.send_due, self.write_due].into_iter().flatten().min()
    }

    /// Sends heads no later than `at`.
    fn want_heads(&mut self, at: Boot) {
        if self.is_linked {
            self.send_due = Some(self.send_due.map_or(at, |due| due.min(at)));
        }
    }

    /// Whether a valid head is newer than the one held; `Err`: it contradicts that one,
    /// which comes with the cause.
    fn compare(&self, claims: &HeadClaims) -> Result<bool, (String, String)> {
        let Some((before, text)) = &self.head else {
            return Ok(true);
        };
        let contradiction = |detail: String| Err((detail, text.clone()));
        if before.journal != claims.journal {
            return Ok(true);
        }
        if before.seq == claims.seq && before.link != claims.link {
            return contradiction(format!("line {} has two links", claims.seq));
        }
        if claims.seq < before.seq && claims.iat > before.iat.saturating_add(REORDERED_SECONDS) {
            return contradiction(format!(
                "a later head ends at line {}, before line {}",
                claims.seq, before.seq
            ));
        }
        Ok(claims.seq > before.seq)
    }

    fn hold(&mut self, name: &str, claims: HeadClaims, text: &str, now: Now) {
        let before = self.head.as_ref();
        if before.is_some_and(|(before, _)| before.journal != claims.journal) {
            tracing::warn!(peer = name, "a peer began a new journal");
        }
        self.head = Some((claims, text.to_owned()));
        let soonest = self
            .written_at
            .map_or(now.boot, |at| at.plus(WRITE_EVERY).max(now.boot));
        self.write_due.get_or_insert(soonest);
    }

    /// The entry that tells of a contradiction, unless one was written just now. The head
    /// that was found is held from then on: what follows it contradicts nothing.
    fn convict(
        &mut self,
        name: &str,
        detail: &str,
        head: String,
        found: (HeadClaims, String),
        now: Now,
    ) -> Option<Entry> {
        tracing::error!(
            peer = name,
            detail,
            "a peer's journal contradicts a head it signed"
        );
        let recent = self
            .contradicted_at
            .is_some_and(|at| now.boot.since(at) < CONTRADICTION_EVERY);
        if recent {
            return None;
        }
        self.contradicted_at = Some(now.boot);
        Some(Entry::PeerContradiction {
            peer: name.to_owned(),
            detail: detail.to_owned(),
            head,
            found: Some(self.head.insert(found).1.clone()),
        })
    }
}

/// Whether a peer's newest head follows the one held when its link came up: with the first
/// line of the new journal, where it began one that names the old.
fn follows(
    before: &HeadClaims,
    now: &HeadClaims,
    first: Option<&str>,
) -> Result<Option<String>, String> {
    if before.journal == now.journal {
        if now.seq < before.seq {
            return Err(format!(
                "it ends at line {}, before line {} that it signed",
                now.seq, before.seq
            ));
        }
        if now.seq == before.seq && now.link != before.link {
            return Err(format!("line {} has two links", now.seq));
        }
        return Ok(None);
    }
    let named = first.filter(|line| {
        let origin = Origin::read(line.as_bytes());
        origin.is_some_and(|origin| origin.journal == now.journal && origin.names(before))
    });
    match named {
        Some(line) => Ok(Some(line.to_owned())),
        None => Err(format!(
            "a new one began that does not name line {} of the old one",
            before.seq
        )),
    }
}

/// Whether the lines lead from the head held to the new one, as far as they go.
/// A line that can't be read proves nothing and is left to the log.
fn check_lines(before: &HeadClaims, after: &HeadClaims, lines: &[String]) -> Result<(), String> {
    if before.journal != after.journal {
        return Ok(());
    }
    let mut end = End {
        seq: before.seq,
        link: before.link,
    };
    for text in lines {
        let Ok(line) = Line::parse(text.as_bytes()) else {
            tracing::warn!("a line of a peer's journal can't be read");
            return Ok(());
        };
        let number = line.header.seq;
        if number == before.seq && line.link != before.link {
            return Err(format!("line {number} is not the one its head covers"));
        }
        if number <= before.seq {
            continue;
        }
        // A gap leaves the chain unproven, which convicts nobody.
        if number != end.seq.saturating_add(1) {
            return Ok(());
        }
        end = end
            .follow(&line)
            .map_err(|cause| format!("line {number} does not follow line {}: {cause}", end.seq))?;
        if number == after.seq && line.link != after.link {
            return Err(format!("line {number} is not the one the new head covers"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Peer for usize {
        fn id(&self) -> String {
            self.to_string()
        }
    }

    fn at(milliseconds: u64) -> Now {
        Now {
            boot: Boot(Duration::from_millis(milliseconds)),
            wall: Wall(0),
        }
    }

    #[test]
    fn a_few_links_get_their_heads_at_once_and_a_thousand_one_after_the_other() {
        let mut witnesses: Witnesses<usize> = Witnesses::default();
        let slots: Vec<u128> = (0..1_000)
            .map(|_| witnesses.slot(at(60_000)).0.as_millis() - 60_000)
            .collect();
        assert_eq!(slots[..21], [0; 21]);
        assert_eq!(slots[21], 50);
        assert_eq!(slots[999], 50 * (999 - 20));
        // Once that is over the next one need not wait.
        assert_eq!(witnesses.slot(at(120_000)), at(120_000).boot);
    }

    #[test]
    fn heads_go_at_a_link_after_an_end_and_once_a_day_and_to_nobody_who_is_away() {
        let mut witnesses: Witnesses<usize> = Witnesses::default();
        let send = || {
            vec![Due::Send {
                peer: 1,
                after: None,
                acknowledged: 0,
            }]
        };
        witnesses.tell(&1, at(0));
        assert_eq!(witnesses.due(), None, "never seen");
        witnesses.link_up(&1, at(5_000));
        assert_eq!(witnesses.due(), Some(at(5_000).boot));
        assert_eq!(witnesses.poll(at(5_000)), send());
        assert_eq!(witnesses.due(), Some(at(86_405_000).boot));
        witnesses.tell(&1, at(6_000));
        witnesses.tell(&1, at(6_500));
        assert_eq!(witnesses.poll(at(6_999)), vec![]);
        assert_eq!(witnesses.poll(at(7_000)), send());
        witnesses.tell(&1, at(8_000));
        witnesses.link_down(&1);
        witnesses.tell(&1, at(8_500));
        assert_eq!(witnesses.due(), None);
    }

    #[test]
    fn statements_beyond_the_rate_are_not_looked_at() {
        let mut witnesses: Witnesses<usize> = Witnesses::default();
        let looked = |witnesses: &mut Witnesses<usize>, now| {
            (0..200).filter(|_| witnesses.may_look(&1, now)).count()
        };
        let limit = usize::try_from(STATEMENTS_PER_SECOND).unwrap();
        assert_eq!(looked(&mut witnesses, at(0)), limit);
        assert_eq!(looked(&mut witnesses, at(999)), 0);
        assert_eq!(looked(&mut witnesses, at(1_000)), limit);
        assert!(witnesses.may_look(&2, at(1_000)), "each peer by itself");
    }
}
