//! What a VMS account of the centre may see: pictures of grants that are given under an agreement
//! with `vms = true`. A VMS shows them to everybody at its wall, so the commune must have agreed
//! to that. The gateway says under which of its agreements it gave a grant; of one of which it does
//! not say so, nothing is shown.

use std::sync::Arc;

use super::{Commune, Desk, GRANT_LIMIT, Grant, Viewer};
use crate::clock::Now;
use crate::format::ids::{CommuneId, GrantId, Sha256};
use crate::format::statement::Operator;
use crate::reason::Refusal;

/// Grants whose agreement is remembered, of a commune: those that live, and some on their way.
const AGREEMENTS_LIMIT: usize = 2 * GRANT_LIMIT;

impl Commune {
    /// Whether VMS accounts may see what this grant shows.
    pub fn lets_vms_see(&self, grant: &Grant) -> bool {
        let Some(reference) = &grant.agreement else {
            return false;
        };
        let all = self.agreements.iter().flat_map(|all| all.iter());
        let mut named = all.filter(|one| &one.reference == reference).peekable();
        // Where two have one reference, either may be meant.
        named.peek().is_some() && named.all(|one| one.vms)
    }
}

impl Desk {
    /// A gateway says under which agreement it gives a grant.
    pub(super) fn handle_grant_agreement(
        &mut self,
        commune: &CommuneId,
        grant: GrantId,
        agreement: String,
    ) {
        let Some(peer) = self.communes.get_mut(commune) else {
            return;
        };
        let known = &mut peer.agreements;
        if known.len() >= AGREEMENTS_LIMIT && !known.contains_key(&grant) {
            known.retain(|grant, _| self.grants.contains_key(grant));
        }
        if known.len() < AGREEMENTS_LIMIT || known.contains_key(&grant) {
            known.insert(grant, agreement.clone());
        }
        let held = self.grants.get_mut(&grant);
        let held = held.filter(|held| &held.view.commune == commune);
        if let Some(held) = held.filter(|held| held.view.agreement.as_ref() != Some(&agreement)) {
            Arc::make_mut(&mut held.view).agreement = Some(agreement);
            self.notify_held(grant);
        }
    }

    /// Under which agreement a grant is given.
    pub(super) fn agreement_of(&self, commune: &CommuneId, grant: GrantId) -> Option<&String> {
        self.communes.get(commune)?.agreements.get(&grant)
    }

    /// Whether a VMS account may be shown a picture of a live grant.
    pub(super) fn lets_vms_view(&self, viewer: &Viewer, grant: &Grant) -> bool {
        let home = self.communes.get(&viewer.commune);
        let is_its = grant.commune == viewer.commune && grant.camera(&viewer.camera).is_some();
        is_its && home.is_some_and(|home| home.view.lets_vms_see(grant))
    }

    /// Counts a viewing of a VMS account: no person is designated for it, so it has a pace of its
    /// own, by its name.
    pub(super) fn pace_vms(&mut self, who: &str, now: Now) -> Result<(), Refusal> {
        let account = Operator {
            name: who.to_owned(),
            number: who.to_owned(),
            unit: String::new(),
        };
        self.paces.viewing(&account, Sha256::ZERO, now)
    }
}
