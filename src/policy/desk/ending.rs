//! How grants end at the centre: given back, out of time, or no longer right.

use std::sync::Arc;

use super::grant::RULES;
use super::held::Held;
use super::{Command, Desk};
use crate::clock::{Now, Wall};
use crate::format::designation::{Designation, Verified, recheck};
use crate::format::ids::{CommuneId, GrantId};
use crate::format::jws;
use crate::format::statement::{GRANT_TYPE, GrantClaims, Operator, REQUEST_TYPE, RequestClaims};
use crate::journal::entry::Entry;
use crate::policy::agreement::closed;
use crate::policy::peer::expiry;
use crate::reason::{Reason, Refusal};

/// Former operators of a grant who are remembered. A grant lives some hours and is handed over
/// once or twice.
const FORMER_LIMIT: usize = 32;

impl Desk {
    /// An operator gives a grant of his unit back.
    ///
    /// # Errors
    ///
    /// `grant_unknown`, also for another unit's.
    pub fn handle_release(
        &mut self,
        grant: GrantId,
        who: &Designation,
        now: Now,
    ) -> Result<(), Refusal> {
        let known = self.grant(grant);
        let Some(view) = known.filter(|view| view.is_of_unit(who)) else {
            return Err(Reason::GrantUnknown.into());
        };
        let operator = &who.operator;
        if view.end.is_some() {
            return Ok(());
        }
        let commune = view.commune.clone();
        let by = operator.number.clone();
        self.send_release(&commune, grant, by, Reason::GrantReleased);
        let detail = format!("released by {} ({})", operator.name, operator.number);
        let refusal = Refusal::new(Reason::GrantReleased, detail);
        self.end(grant, refusal, Some(operator), now);
        Ok(())
    }

    /// Ends a grant: acts, tells, journals; `by` is the person who gave it back.
    pub(super) fn end(
        &mut self,
        grant: GrantId,
        refusal: Refusal,
        by: Option<&Operator>,
        now: Now,
    ) {
        let Some(held) = self.let_go(grant) else {
            return;
        };
        let is_recorded = held.recorded.is_some();
        let view = Arc::unwrap_or_clone(held.view);
        self.commands.push_back(Command::EndGrant {
            grant,
            reason: refusal.reason,
        });
        // Of one that never came here this journal has nothing to tell.
        if is_recorded {
            self.close_viewings(grant, &view.commune, None, now);
            let number = by.map(|operator| operator.number.clone());
            self.note_end(grant, &view.commune, refusal.reason, number, now);
            self.send_viewings(now);
        }
        self.notify_grant(&view);
        self.keep_ended(view, refusal, by.cloned(), now);
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
        let agreement = self.communes.get(commune).and_then(|peer| {
            let grounds = &request.claims().grounds;
            peer.view.agreement_for(designation, grounds)
        });
        let in_force = agreement.map(|one| closed(one, span.expires).is_none());
        expiry::cause(request.claims(), &span, in_force)
    }

    /// Ends grants by itself, and tells their gateways why.
    pub(super) fn end_all(&mut self, ends: Vec<(GrantId, Refusal)>, now: Now) {
        for (grant, refusal) in ends {
            let held = self.grants.get(&grant);
            // The receiver that has the pictures judges by itself.
            let held = held.filter(|held| !held.view.elsewhere);
            let commune = held.map(|held| held.view.commune.clone());
            // Before the list of viewings, which the gateway takes only of ended grants.
            if let Some(commune) = commune {
                let by = self.rules.centre.to_string();
                self.send_release(&commune, grant, by, refusal.reason);
            }
            self.end(grant, refusal, None, now);
        }
    }

    /// Looks again at what lives: after a reload, which may revoke.
    pub(super) fn review(&mut self, now: Now) {
        let mut fallen: Vec<(GrantId, Refusal)> = Vec::new();
        let mut standing: Vec<(GrantId, Designation)> = Vec::new();
        for held in self.grants.values() {
            let (grant, commune) = (held.view.id, &held.view.commune);
            if !self.rules.communes.contains_key(commune) {
                let detail = format!("{commune} is no longer in the settings");
                fallen.push((grant, Refusal::new(Reason::CommuneUnknown, detail)));
                continue;
            }
            match self.recheck_any(&held.request, now) {
                Ok(designation) => standing.push((grant, designation)),
                Err(refusal) => fallen.push((grant, refusal)),
            }
        }
        self.end_all(fallen, now);
        for (grant, designation) in standing {
            let is_other = |held: &Held| held.view.authority != designation.authority;
            if self.grants.get(&grant).is_some_and(is_other) {
                self.carry_to_other_keys(grant, now);
            }
            self.review_former(grant, now);
        }
    }

    /// The same authority goes on under another set of keys: the grant's operators are known by
    /// the new one from now on, so that they can renew it.
    fn carry_to_other_keys(&mut self, grant: GrantId, now: Now) {
        let Some(held) = self.grants.get(&grant) else {
            return;
        };
        let Ok(request) = self.verify_any(held.request.text(), now) else {
            return;
        };
        let former: Vec<_> = held
            .former
            .iter()
            .map(|one| {
                self.verify_any(one.text(), now)
                    .unwrap_or_else(|_| one.clone())
            })
            .collect();
        if let Some(held) = self.grants.get_mut(&grant) {
            Arc::make_mut(&mut held.view).authority = request.designation().authority;
            held.request = request;
            held.former = former;
            self.notify_held(grant);
        }
    }

    /// Takes the URL from those who held it and are designated no longer. Theirs can't be told
    /// from that of the operator who carries the grant on, so it ends for all, and he gets
    /// another.
    pub(super) fn review_former(&mut self, grant: GrantId, now: Now) {
        let held = self.grants.get(&grant);
        let Some(held) = held.filter(|held| !held.view.elsewhere) else {
            return;
        };
        let fallen = held.former.iter().filter_map(|request| {
            let refusal = self.recheck_any(request, now).err()?;
            // A designation that ended in time took nothing back.
            let is_taken = refusal.reason != Reason::DesignationExpired;
            is_taken.then(|| (request.designation().operator.clone(), refusal.reason))
        });
        for (operator, reason) in fallen.collect::<Vec<_>>() {
            self.change_credentials(grant, &operator, reason);
        }
    }

    /// A URL that many operators have held is replaced, so that memory stays bounded.
    pub(super) fn bound_former(&mut self, grant: GrantId) {
        let held = self.grants.get(&grant);
        let oldest = held.filter(|held| held.former.len() > FORMER_LIMIT);
        let oldest = oldest.and_then(|held| held.former.first());
        if let Some(operator) = oldest.map(|request| request.designation().operator.clone()) {
            self.change_credentials(grant, &operator, Reason::TooManyRequests);
        }
    }

    /// Another RTSP password; players with the old one end.
    pub(super) fn change_credentials(&mut self, grant: GrantId, holder: &Operator, reason: Reason) {
        let Some(held) = self.grants.get_mut(&grant) else {
            return;
        };
        held.former.retain(|request| {
            let Operator { number, unit, .. } = &request.designation().operator;
            (number, unit) != (&holder.number, &holder.unit)
        });
        let view = Arc::make_mut(&mut held.view);
        view.credentials += 1;
        view.password = None;
        self.commands.push_back(Command::EndViewers {
            grant,
            players: true,
            reason,
        });
        let entry = Entry::CredentialsChanged {
            grant,
            operator: holder.clone(),
            reason,
        };
        self.owe_entry(entry, None);
        self.notify_held(grant);
        if let Some(held) = self.let_go(grant) {
            self.tell_password(&held);
            self.hold(grant, held);
        }
    }

    /// Whether any authority still vouches for a request's signer, and as whom.
    fn recheck_any(
        &self,
        request: &Verified<RequestClaims>,
        now: Now,
    ) -> Result<Designation, Refusal> {
        let mut worst = Refusal::from(Reason::OperatorNotDesignated);
        for authority in &self.rules.authorities {
            match recheck(request.text(), REQUEST_TYPE, authority, RULES, now.wall) {
                Ok(designation) => return Ok(designation),
                Err(refusal) if refusal.reason != Reason::OperatorNotDesignated => worst = refusal,
                Err(_) => {}
            }
        }
        Err(worst)
    }
}
