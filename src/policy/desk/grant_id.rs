//! Under which id a gateway may grant a request: nothing takes the place of a grant but a
//! renewal of the same commune, unit and incident.

use super::held::Held;
use super::{Desk, Pending};
use crate::format::designation::Verified;
use crate::format::ids::{CommuneId, GrantId};
use crate::format::statement::RequestClaims;
use crate::reason::{Reason, Refusal};

impl Held {
    /// Whether a request to renew it is of the same commune, unit (of the same authority) and
    /// incident.
    pub(super) fn is_renewed_by(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
    ) -> bool {
        &self.view.commune == commune
            && request.claims().renews == Some(self.view.id)
            && request.claims().incident == self.view.incident
            && request.designation().unit() == self.request.designation().unit()
    }
}

impl Desk {
    /// Whether a request may carry on the grant that it names: one that lives here, of the
    /// same commune, unit and incident.
    pub(super) fn check_renewal(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
    ) -> Result<(), Refusal> {
        let Some(grant) = request.claims().renews else {
            return Ok(());
        };
        let held = self.grants.get(&grant);
        if held.is_some_and(|held| held.is_renewed_by(commune, request)) {
            return Ok(());
        }
        // Not a word of whose it is: another unit need not know.
        let detail = format!("grant {grant} is not live for this commune, unit and incident");
        Err(Refusal::new(Reason::GrantUnknown, detail))
    }

    /// Whether a commune may grant a request under this id: a renewal the grant that it
    /// renews, any other one an id that no grant has, live, ended or on its way to the
    /// journal.
    pub(super) fn check_id(
        &self,
        commune: &CommuneId,
        request: &Verified<RequestClaims>,
        grant: GrantId,
    ) -> Result<(), Refusal> {
        if request.claims().renews.is_some() {
            // One that was granted while its grant ended here is recorded, and then refused.
            let ended = self.ended.operator(grant, commune).is_some();
            return if ended {
                Ok(())
            } else {
                self.check_renewal(commune, request)
            };
        }
        let recordings = self.ledger.pending().filter_map(|pending| match pending {
            Pending::Grant(recording) => Some(&**recording),
            _ => None,
        });
        let mut ids = recordings
            .chain(&self.unrecorded)
            .map(|recording| recording.proof.claims().grant);
        let known = self.grants.contains_key(&grant) || self.ended.contains(grant);
        if known || ids.any(|other| other == grant) {
            let detail = format!("{commune} granted {grant} a second time");
            return Err(Refusal::new(Reason::ProtocolError, detail));
        }
        Ok(())
    }
}
