//! What the gate judges by, read from the files that the settings name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::settings;
use crate::format::designation::Authority;
use crate::pki::{self, Error, Kept};
use crate::policy::gate::Rulebook;

/// Reads everything, and keeps the newest revocation lists. Blocks: for the start and for a thread
/// that may.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub(super) fn read_all(settings: &Arc<settings::Gateway>) -> Result<Rulebook, Error> {
    let kept = Kept::writing(&settings.state_dir);
    let mut authorities = Vec::new();
    for agreement in &settings.agreements {
        let file = &agreement.designation_authority;
        let anchors = pki::anchors(file, agreement.revoked.as_deref(), &kept)?;
        authorities.push(anchors.into());
    }
    let page = settings.page.as_ref();
    let page = page
        .map(|page| pki::anchors(&page.authority, page.revoked.as_deref(), &kept))
        .transpose()?
        .map(|anchors| Authority::from(anchors).of_agents());
    let own = pki::signer(&settings.tls)?;
    let mut centres = BTreeMap::new();
    for agreement in &settings.agreements {
        if centres.contains_key(&agreement.centre) {
            continue;
        }
        let centre = pki::peer(&agreement.tls, &settings.tls, &own)?;
        centres.insert(agreement.centre.clone(), centre);
    }
    Ok(Rulebook {
        settings: Arc::clone(settings),
        authorities,
        page,
        centres,
    })
}
