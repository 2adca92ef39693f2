//! The key that signs the checkpoints of a journal: `state_dir/log.key`, made with the journal and
//! of that journal alone (interfaces.md 10). Blocking.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::durable;
use crate::format::note::{Kind, NoteSigner};

/// Its file in `state_dir`.
const FILE: &str = "log.key";
/// Largest file of a key.
const FILE_LIMIT: u64 = 1024;

/// The key of the journal with this origin; none where there is no file, or another journal's key
/// in it.
///
/// # Errors
/// The file can't be read or holds no key; the text names it.
pub fn kept(state_dir: &Path, origin: &str) -> Result<Option<NoteSigner>, String> {
    let path = state_dir.join(FILE);
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let Some(text) = read(&path).map_err(|error| wrong(&error))? else {
        return Ok(None);
    };
    let signer = NoteSigner::from_secret(text.trim_end()).map_err(|error| {
        wrong(&format!(
            "{error}; remove it, and a new one is made (witnesses must then be given the new verifier key)"
        ))
    })?;
    Ok(Some(signer).filter(|signer| signer.verifier().name() == origin))
}

/// Makes a new key (mode 0600).
///
/// # Errors
/// The file can't be made; the text names it.
pub fn make(state_dir: &Path, origin: &str) -> Result<NoteSigner, String> {
    let path = state_dir.join(FILE);
    let made = || {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(io::Error::other)?;
        let signer = NoteSigner::new(origin, Kind::Log, seed).map_err(io::Error::other)?;
        let text = Zeroizing::new(format!("{}\n", *signer.secret()));
        durable::replace(&path, text.as_bytes(), 0o600)?;
        io::Result::Ok(signer)
    };
    made().map_err(|error| format!("{}: {error}", path.display()))
}

fn read(path: &Path) -> io::Result<Option<Zeroizing<String>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(Some(text))
}
