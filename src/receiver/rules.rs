//! From settings to what the desk judges by: reads certificates, keys and lists.

use std::path::Path;
use std::sync::Arc;

use crate::config::settings;
use crate::format::designation::{Authority, LinkAuthority};
use crate::format::jws::Signer;
use crate::policy::desk::Rulebook;
use crate::policy::peer::identity::Identity;
use crate::secret::Secret;

/// Largest certificate, key or list that is read.
const FILE_LIMIT: u64 = 8 * 1024 * 1024;

/// Reads all that the settings name.
///
/// # Errors
/// A file that can't be read or is not what it should be; the text names it.
pub fn read(settings: &settings::Receiver) -> Result<Rulebook, String> {
    let own = identity(&settings.tls)?;
    let mut communes = std::collections::BTreeMap::new();
    for (id, commune) in &settings.communes {
        let tls = &commune.tls;
        let own_identity =
            tls.certificate != settings.tls.certificate || tls.key != settings.tls.key;
        let signer = if own_identity {
            identity(tls)?
        } else {
            Arc::clone(&own)
        };
        let text = text(&tls.authority)?;
        let authority = LinkAuthority::from_pem(&text, &[])
            .map_err(|error| format!("{}: {error}", tls.authority.display()))?;
        communes.insert(
            id.clone(),
            Identity {
                authority,
                signer,
                own_identity,
            },
        );
    }
    let authorities = settings.operators.iter().map(authority);
    Ok(Rulebook {
        centre: settings.centre.clone(),
        name: settings.name.clone(),
        communes,
        authorities: authorities.collect::<Result<_, _>>()?,
    })
}

/// Who signs statements and journal heads of this machine.
///
/// # Errors
/// As [`read`].
pub fn identity(tls: &settings::Tls) -> Result<Arc<Signer>, String> {
    let key = Secret::new(text(&tls.key)?);
    let signer = Signer::from_pem(key.expose(), &text(&tls.certificate)?);
    signer.map(Arc::new).map_err(|error| {
        format!(
            "{} with {}: {error}",
            tls.certificate.display(),
            tls.key.display()
        )
    })
}

fn authority(operators: &settings::Operators) -> Result<Authority, String> {
    let path = &operators.designation_authority;
    let certificate = text(path)?;
    let list = operators.revoked.as_deref().map(text).transpose()?;
    let lists: Vec<&str> = list.as_deref().into_iter().collect();
    Authority::from_pem(&certificate, &lists).map_err(|error| {
        let list = operators.revoked.as_ref();
        let list = list.map_or_else(String::new, |list| format!(" with {}", list.display()));
        format!("{}{list}: {error}", path.display())
    })
}

/// A file's text, bounded.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let length = std::fs::metadata(path)
        .map_err(|error| wrong(&error))?
        .len();
    if length > FILE_LIMIT {
        return Err(wrong(&"is larger than 8 MiB"));
    }
    std::fs::read_to_string(path).map_err(|error| wrong(&error))
}
