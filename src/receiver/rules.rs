//! From settings to what the desk judges by: reads certificates, keys and lists.

use std::collections::BTreeMap;

use crate::config::settings;
use crate::format::designation::Authority;
use crate::pki::{self, Error, Kept};
use crate::policy::desk::Rulebook;

/// Reads all that the settings name, and keeps the newest revocation lists. Blocks.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn read(settings: &settings::Receiver) -> Result<Rulebook, Error> {
    let own = pki::signer(&settings.tls)?;
    let mut communes = BTreeMap::new();
    for (id, commune) in &settings.communes {
        let rules = pki::peer(&commune.tls, &settings.tls, &own)?;
        communes.insert(id.clone(), rules);
    }
    let kept = Kept::writing(&settings.state_dir);
    let mut authorities = Vec::new();
    for operators in &settings.operators {
        let file = &operators.designation_authority;
        let anchors = pki::anchors(file, operators.revoked.as_deref(), &kept)?;
        authorities.push(Authority::from(anchors).limited_to(operators.units.clone()));
    }
    Ok(Rulebook {
        centre: settings.centre.clone(),
        name: settings.name.clone(),
        communes,
        authorities,
        relay_after_loss: settings.relay_after_loss,
    })
}
