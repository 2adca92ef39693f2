//! The communes' journal heads: kept from the first day, and compared.

use std::time::Duration;

use super::Desk;
use crate::clock::{Boot, Now};
use crate::format::chain::{End, Line};
use crate::format::control::Heads;
use crate::format::ids::CommuneId;
use crate::format::statement::{HEAD_TYPE, HeadClaims};
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// Heads are exchanged this often, besides at each link and each end.
pub(super) const EXCHANGE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// A commune's heads are written down this often at most; the newest counts.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A head with a lower number is a contradiction only if it was signed this much
/// later, in seconds: messages may overtake each other.
const REORDERED_SECONDS: i64 = 10;
/// Contradictions of one commune are written down this often at most.
const CONTRADICTION_EVERY: Duration = Duration::from_secs(60);
/// Heads of one commune are looked at this often at most, beyond a burst.
const HEADS_PER_SECOND: u32 = 20;

/// Links that come up at once get their heads so far apart, beyond a burst. A head
/// goes with all lines that its commune lacks, some hundred kilobytes where the centre
/// serves a thousand: all at the same moment would fill memory and the centre's line.
const EXCHANGE_PACE: Duration = Duration::from_millis(50);
/// What may go without that pause, after a time of quiet: 20 exchanges.
const EXCHANGE_BURST: Duration = Duration::from_secs(1);

/// When heads may be sent to those whose links came up.
#[derive(Debug)]
pub(super) struct Exchange {
    next: Boot,
}

impl Exchange {
    /// Nobody has come yet.
    pub(super) const fn new() -> Self {
        Self {
            next: Boot(Duration::ZERO),
        }
    }

    /// Takes the next moment; at once unless many others have come before.
    pub(super) fn slot(&mut self, now: Now) -> Boot {
        let earliest = Boot(now.boot.0.saturating_sub(EXCHANGE_BURST));
        let slot = self.next.max(earliest);
        self.next = slot.plus(EXCHANGE_PACE);
        slot.max(now.boot)
    }
}

/// The newest head held of a peer.
#[derive(Debug, Default)]
pub(super) struct Held {
    head: Option<(HeadClaims, String)>,
    /// When it is to be written down, if it is not.
    write_due: Option<Boot>,
    written_at: Option<Boot>,
    contradicted_at: Option<Boot>,
    /// Number of the own last line that the peer says it holds.
    acknowledged: Option<u64>,
    /// The second that runs, and what was looked at in it.
    looked: Option<(Boot, u32)>,
}

impl Held {
    pub(super) fn due(&self) -> Option<Boot> {
        self.write_due
    }

    pub(super) fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    /// Number of the peer's last line that is held; 0: none.
    pub(super) fn number(&self) -> u64 {
        self.head.as_ref().map_or(0, |(claims, _)| claims.seq)
    }

    /// Takes a head of before the restart, which stands in the journal.
    pub(super) fn recover(&mut self, claims: HeadClaims, text: String) {
        let newer = self
            .head
            .as_ref()
            .is_none_or(|(held, _)| held.journal != claims.journal || held.seq < claims.seq);
        if newer {
            self.head = Some((claims, text));
        }
    }

    fn hold(&mut self, claims: HeadClaims, text: &str, now: Now) {
        self.head = Some((claims, text.to_owned()));
        let soonest = self
            .written_at
            .map_or(now.boot, |at| at.plus(WRITE_EVERY).max(now.boot));
        self.write_due.get_or_insert(soonest);
    }

    /// Whether another head is looked at in this second: each costs two
    /// signature checks.
    fn may_look(&mut self, now: Now) -> bool {
        let (start, count) = match self.looked {
            Some((start, count)) if now.boot.since(start) < Duration::from_secs(1) => {
                (start, count)
            }
            _ => (now.boot, 0),
        };
        self.looked = Some((start, count + 1));
        count < HEADS_PER_SECOND
    }

    /// What a valid head says against the one held: `Err` is a contradiction.
    fn compare(&self, claims: &HeadClaims) -> Result<bool, String> {
        let Some((before, _)) = &self.head else {
            return Ok(true);
        };
        if before.journal != claims.journal {
            return Ok(true);
        }
        if before.seq == claims.seq && before.link != claims.link {
            return Err(format!("line {} has two links", claims.seq));
        }
        if claims.seq < before.seq && claims.iat > before.iat.saturating_add(REORDERED_SECONDS) {
            return Err(format!(
                "a later head ends at line {}, before line {}",
                claims.seq, before.seq
            ));
        }
        Ok(claims.seq > before.seq)
    }
}

impl Desk {
    /// A commune's head, beside another message.
    pub(super) fn handle_head(&mut self, commune: &CommuneId, text: &str, now: Now) {
        if let Err(refusal) = self.take_head(commune, text, now) {
            tracing::warn!(%commune, %refusal, "the commune's head is not valid");
        }
    }

    /// Verifies a commune's head, compares it with the one held, keeps the newer.
    fn take_head(
        &mut self,
        commune: &CommuneId,
        text: &str,
        now: Now,
    ) -> Result<HeadClaims, Refusal> {
        let rules = self.rules.communes.get(commune);
        let rules = rules.ok_or_else(|| Refusal::from(Reason::CommuneUnknown))?;
        let peer = self.communes.entry(commune.clone()).or_default();
        if !peer.held.may_look(now) {
            return Err(Reason::TooManyAttempts.into());
        }
        let claims: HeadClaims =
            rules
                .authority
                .verify(text, HEAD_TYPE, commune.as_str(), now.wall)?;
        if claims.iss != commune.as_str() {
            let detail = format!("a head of {} came from {commune}", claims.iss);
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        match peer.held.compare(&claims) {
            Ok(true) => peer.held.hold(claims.clone(), text, now),
            Ok(false) => {}
            Err(detail) => {
                self.contradiction(commune, &detail, now);
                return Err(Refusal::new(Reason::ProtocolError, detail));
            }
        }
        Ok(claims)
    }

    /// Heads and body-less lines from a commune.
    pub(super) fn handle_heads(&mut self, commune: &CommuneId, heads: &Heads, now: Now) {
        let before = self
            .communes
            .get(commune)
            .and_then(|peer| peer.held.head.clone());
        let claims = match self.take_head(commune, &heads.head, now) {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(%commune, %refusal, "the commune's head is not valid");
                return;
            }
        };
        if let Some((before, _)) = before
            && let Err(detail) = check_lines(&before, &claims, &heads.lines)
        {
            self.contradiction(commune, &detail, now);
        }
        if let Some(peer) = self.communes.get_mut(commune) {
            peer.held.acknowledged = Some(heads.acknowledged);
            // The first heads of a link tell what the commune lacks: answered
            // once, so that two sides can't keep each other busy.
            if !peer.lines_sent {
                peer.lines_sent = true;
                peer.want_heads(self.exchange.slot(now));
            }
        }
    }

    /// Writes the newest head down when it is due.
    pub(super) fn write_head(&mut self, commune: &CommuneId, now: Now) {
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        let held = &mut peer.held;
        if held.write_due.is_none_or(|at| at > now.boot) {
            return;
        }
        held.write_due = None;
        held.written_at = Some(now.boot);
        if let Some((_, head)) = held.head.clone() {
            let peer = commune.to_string();
            self.owe_entry(Entry::PeerHead { peer, head }, None);
        }
    }

    fn contradiction(&mut self, commune: &CommuneId, detail: &str, now: Now) {
        tracing::error!(%commune, detail, "the commune's journal contradicts a head it signed");
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        let held = &mut peer.held;
        let recent = held
            .contradicted_at
            .is_some_and(|at| now.boot.since(at) < CONTRADICTION_EVERY);
        if recent {
            return;
        }
        held.contradicted_at = Some(now.boot);
        let head = held.head.as_ref().map(|(_, text)| text.clone());
        self.owe_entry(
            Entry::PeerContradiction {
                peer: commune.to_string(),
                detail: detail.to_owned(),
                head: head.unwrap_or_default(),
            },
            None,
        );
    }
}

/// Whether the lines lead from the head held to the new one, as far as they go.
/// What is not sent or can't be read convicts nobody.
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
            return Ok(());
        };
        let number = line.header.seq;
        if number == before.seq && line.link != before.link {
            return Err(format!("line {number} is not the one its head covers"));
        }
        if number <= before.seq {
            continue;
        }
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
    use crate::clock::Wall;

    #[test]
    fn a_few_links_get_their_heads_at_once_and_a_thousand_one_after_the_other() {
        let at = |milliseconds| Now {
            boot: Boot(Duration::from_millis(milliseconds)),
            wall: Wall(0),
        };
        let mut exchange = Exchange::new();
        let slots: Vec<u128> = (0..1_000)
            .map(|_| exchange.slot(at(60_000)).0.as_millis() - 60_000)
            .collect();
        assert_eq!(slots[..21], [0; 21]);
        assert_eq!(slots[21], 50);
        assert_eq!(slots[999], 50 * (999 - 20));
        // Once that is over the next one need not wait.
        assert_eq!(exchange.slot(at(120_000)), at(120_000).boot);
    }
}
