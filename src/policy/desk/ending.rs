//! How grants end at the centre: given back, out of time, or no longer right.

use std::sync::Arc;

use super::grant::RULES;
use super::{Command, Desk};
use crate::clock::{Now, Wall};
use crate::format::designation::{Verified, recheck};
use crate::format::ids::{CommuneId, GrantId};
use crate::format::jws;
use crate::format::statement::{GRANT_TYPE, GrantClaims, Operator, RequestClaims};
use crate::journal::entry::Entry;
use crate::policy::agreement::closed;
use crate::policy::peer::expiry;
use crate::reason::{Reason, Refusal};

impl Desk {
    /// An operator gives a grant of his unit back.
    pub fn handle_release(
        &mut self,
        grant: GrantId,
        operator: &Operator,
        now: Now,
    ) -> Result<(), Refusal> {
        let known = self.grant(grant);
        let Some(view) = known.filter(|view| view.operator.unit == operator.unit) else {
            return Err(Reason::GrantUnknown.into());
        };
        if view.end.is_some() {
            return Ok(());
        }
        let commune = view.commune.clone();
        let by = operator.number.clone();
        self.send_release(&commune, grant, by, Reason::GrantReleased);
        let detail = format!("released by {} ({})", operator.name, operator.number);
        let refusal = Refusal::new(Reason::GrantReleased, detail);
        self.end(grant, refusal, Some(operator.number.clone()), now);
        Ok(())
    }

    /// Ends a grant: acts, tells, journals.
    pub(super) fn end(&mut self, grant: GrantId, refusal: Refusal, by: Option<String>, now: Now) {
        let Some(held) = self.grants.remove(&grant) else {
            return;
        };
        let view = Arc::unwrap_or_clone(held.view);
        self.commands.push_back(Command::EndGrant {
            grant,
            reason: refusal.reason,
        });
        self.close_viewings(grant, &view.commune, now);
        self.note_end(grant, &view.commune, refusal.reason, by, now);
        self.send_viewings(now);
        self.notify_grant(&view);
        self.keep_ended(view, refusal, now);
    }

    pub(super) fn note_end(
        &mut self,
        grant: GrantId,
        commune: &CommuneId,
        reason: Reason,
        by: Option<String>,
        now: Now,
    ) {
        let at = now.wall.rfc3339();
        let entry = Entry::Ended {
            grant,
            reason,
            at,
            by,
        };
        self.owe_entry(entry, Some(commune.clone()));
    }

    /// Ends what has no time left.
    pub(super) fn end_expired(&mut self, now: Now) {
        let over: Vec<(GrantId, Refusal)> = self
            .grants
            .values()
            .filter(|held| held.view.left(now).is_zero())
            .map(|held| {
                let view = &held.view;
                // By the centre's clock, should the gateway's be behind.
                let refusal = if held.request.designation().not_after <= view.until {
                    Reason::DesignationExpired.into()
                } else {
                    self.expired(&view.commune, &held.request, &view.proof)
                };
                (view.id, refusal)
            })
            .collect();
        self.end_all(over, now);
    }

    /// Why a grant's time is up.
    pub(super) fn expired(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
        proof: &str,
    ) -> Refusal {
        let Ok(proof) = jws::open::<GrantClaims>(proof, GRANT_TYPE) else {
            return Reason::GrantExpired.into();
        };
        let designation = request.designation();
        let span = expiry::Span {
            start: Wall::from_seconds(proof.claims.start),
            expires: Wall::from_seconds(proof.claims.expires),
            not_after: designation.not_after,
        };
        let (unit, grounds) = (&designation.operator.unit, &request.claims().grounds);
        let agreement = self
            .communes
            .get(commune)
            .and_then(|peer| peer.view.agreement_for(unit, grounds));
        let in_force = agreement.map(|one| closed(one, span.expires).is_none());
        expiry::cause(request.claims(), &span, in_force)
    }

    /// Ends grants by itself, and tells their gateways why.
    pub(super) fn end_all(&mut self, ends: Vec<(GrantId, Refusal)>, now: Now) {
        for (grant, refusal) in ends {
            let held = self.grants.get(&grant);
            let commune = held.map(|held| held.view.commune.clone());
            let reason = refusal.reason;
            self.end(grant, refusal, None, now);
            if let Some(commune) = commune {
                self.send_release(&commune, grant, self.rules.centre.to_string(), reason);
            }
        }
    }

    /// Looks again at what lives: after a reload, which may revoke.
    pub(super) fn review(&mut self, now: Now) {
        let fallen: Vec<(GrantId, Refusal)> = self
            .grants
            .values()
            .filter_map(|held| {
                let commune = &held.view.commune;
                if !self.rules.communes.contains_key(commune) {
                    let detail = format!("{commune} is no longer in the settings");
                    return Some((held.view.id, Refusal::new(Reason::CommuneUnknown, detail)));
                }
                let refusal = self.recheck_any(held.request.text(), now).err()?;
                Some((held.view.id, refusal))
            })
            .collect();
        self.end_all(fallen, now);
    }

    /// Whether any authority still vouches for a statement's signer.
    fn recheck_any(&self, text: &str, now: Now) -> Result<(), Refusal> {
        let mut worst = Refusal::from(Reason::OperatorNotDesignated);
        for authority in &self.rules.authorities {
            match recheck(text, authority, RULES, now.wall) {
                Ok(()) => return Ok(()),
                Err(refusal) if refusal.reason != Reason::OperatorNotDesignated => worst = refusal,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}
