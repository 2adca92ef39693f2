//! The centres' journal heads: kept from the first day, and compared.

use std::time::Duration;

use super::Gate;
use crate::clock::{Boot, Now};
use crate::format::chain::{End, Line};
use crate::format::control::Heads;
use crate::format::ids::CentreId;
use crate::format::statement::{HEAD_TYPE, HeadClaims};
use crate::journal::entry::Entry;
use crate::reason::{Reason, Refusal};

/// Heads are exchanged this often, besides at each link and each end.
pub(super) const EXCHANGE_EVERY: Duration = Duration::from_secs(24 * 3_600);
/// A centre's heads are written down this often at most; the newest counts.
const WRITE_EVERY: Duration = Duration::from_secs(10);
/// A head with a lower number is a contradiction only if it was signed this much
/// later, in seconds: messages may overtake each other.
const REORDERED_SECONDS: i64 = 10;
/// Contradictions of one centre are written down this often at most.
const CONTRADICTION_EVERY: Duration = Duration::from_secs(60);

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
}

impl super::link::Peer {
    /// Journal and number of the newest head held.
    pub(super) fn head_number(&self) -> Option<(String, u64)> {
        let (claims, _) = self.held.head.as_ref()?;
        Some((claims.journal.clone(), claims.seq))
    }

    /// The newest head held, verbatim.
    pub(super) fn head_text(&self) -> Option<&str> {
        self.held.head.as_ref().map(|(_, text)| text.as_str())
    }
}

impl Gate {
    /// Verifies a centre's head, compares it with the one held and keeps the newer.
    pub(super) fn take_head(
        &mut self,
        centre: &CentreId,
        text: &str,
        now: Now,
    ) -> Result<HeadClaims, Refusal> {
        let known = self.rules.centres.get(centre);
        let known = known.ok_or_else(|| Refusal::from(Reason::NoAgreement))?;
        let claims: HeadClaims =
            known
                .authority
                .verify(text, HEAD_TYPE, centre.as_str(), now.wall)?;
        if claims.iss != centre.as_str() {
            let detail = format!("a head of {} came from {centre}", claims.iss);
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        let held = &mut self.peers.entry(centre.clone()).or_default().held;
        let Some((before, before_text)) = held.head.clone() else {
            held.hold(claims.clone(), text, now);
            return Ok(claims);
        };
        let same_journal = before.journal == claims.journal;
        if same_journal && before.seq == claims.seq && before.link != claims.link {
            let detail = format!("line {} has two links", claims.seq);
            self.contradiction(centre, &detail, before_text, now);
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        if same_journal && claims.seq < before.seq {
            if claims.iat > before.iat.saturating_add(REORDERED_SECONDS) {
                let detail = format!(
                    "a later head ends at line {}, before line {}",
                    claims.seq, before.seq
                );
                self.contradiction(centre, &detail, before_text, now);
                return Err(Refusal::new(Reason::ProtocolError, detail));
            }
            return Ok(claims);
        }
        if !same_journal {
            tracing::warn!(%centre, "the centre began a new journal");
        }
        if !same_journal || claims.seq > before.seq {
            held.hold(claims.clone(), text, now);
        }
        Ok(claims)
    }

    /// Heads and body-less lines from a centre.
    pub(super) fn handle_heads(&mut self, centre: &CentreId, heads: &Heads, now: Now) {
        let peer = self.peers.entry(centre.clone()).or_default();
        if !peer.may_read_statement(now) {
            return;
        }
        let before = peer.held.head.clone();
        let claims = match self.take_head(centre, &heads.head, now) {
            Ok(claims) => claims,
            Err(refusal) => {
                tracing::warn!(%centre, %refusal, "the centre's head is not valid");
                return;
            }
        };
        if let Some((before, text)) = before
            && let Err(detail) = check_lines(&before, &claims, &heads.lines)
        {
            self.contradiction(centre, &detail, text, now);
        }
        let peer = self.peers.entry(centre.clone()).or_default();
        peer.held.acknowledged = Some(heads.acknowledged);
        // The first heads of a link tell what the centre lacks: answered once,
        // never again, so that two sides can't keep each other busy.
        if let Some(up) = self.links.get_mut(centre)
            && !up.lines_sent
        {
            up.lines_sent = true;
            peer.want_heads(now.boot);
        }
    }

    /// Writes the newest head down when it is due.
    pub(super) fn write_head(&mut self, centre: &CentreId, now: Now) {
        let Some(peer) = self.peers.get_mut(centre) else {
            return;
        };
        let held = &mut peer.held;
        if held.write_due.is_none_or(|at| at > now.boot) {
            return;
        }
        held.write_due = None;
        held.written_at = Some(now.boot);
        if let Some((_, head)) = held.head.clone() {
            let peer = centre.to_string();
            self.owe_entry(Entry::PeerHead { peer, head }, None);
        }
    }

    fn contradiction(&mut self, centre: &CentreId, detail: &str, head: String, now: Now) {
        tracing::error!(%centre, detail, "the centre's journal contradicts a head it signed");
        let held = &mut self.peers.entry(centre.clone()).or_default().held;
        let recent = held
            .contradicted_at
            .is_some_and(|at| now.boot.since(at) < CONTRADICTION_EVERY);
        if recent {
            return;
        }
        held.contradicted_at = Some(now.boot);
        self.owe_entry(
            Entry::PeerContradiction {
                peer: centre.to_string(),
                detail: detail.to_owned(),
                head,
            },
            None,
        );
    }
}

/// Whether the lines lead from the head held to the new one, as far as they go.
/// What can't be read proves nothing and is left to the log.
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
            tracing::warn!("a line of the centre's journal can't be read");
            return Ok(());
        };
        let number = line.header.seq;
        if number < before.seq {
            continue;
        }
        if number == before.seq {
            if line.link != before.link {
                return Err(format!("line {number} is not the one its head covers"));
            }
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
