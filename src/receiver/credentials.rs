//! RTSP credentials of grants: user = grant id, password = 128 bits derived
//! from it under a key of this receiver, so that they survive a restart without
//! standing anywhere.

use std::io::Read;
use std::path::Path;

use aws_lc_rs::hmac;

use crate::durable;
use crate::format::ids::GrantId;
use crate::policy::desk::Grant;
use crate::secret::Secret;

/// Bytes of the key.
const KEY_BYTES: usize = 32;
/// Bytes of a password, written as twice as many hexadecimal digits.
const PASSWORD_BYTES: usize = 16;
/// The key's file in `state_dir`.
const FILE: &str = "rtsp.key";

/// Derives the passwords.
#[derive(Clone)]
pub struct Credentials(hmac::Key);

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Reads the key from `state_dir/rtsp.key`, or makes one (mode 0600).
    ///
    /// # Errors
    /// The file can't be read or made, or is no such key; the text names it.
    pub fn open(state_dir: &Path) -> Result<Self, String> {
        let path = state_dir.join(FILE);
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        match std::fs::File::open(&path) {
            Ok(file) => {
                let mut key = Vec::with_capacity(KEY_BYTES + 1);
                file.take(KEY_BYTES as u64 + 1)
                    .read_to_end(&mut key)
                    .map_err(|error| wrong(&error))?;
                if key.len() != KEY_BYTES {
                    return Err(wrong(
                        &"is no key of 32 bytes; remove it, and a new one is made (players must then be given new URLs)",
                    ));
                }
                Ok(Self::from_key(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Self::make(&path).map_err(|error| wrong(&error))
            }
            Err(error) => Err(wrong(&error)),
        }
    }

    fn make(path: &Path) -> std::io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        durable::replace(path, &key, 0o600)?;
        Ok(Self::from_key(&key))
    }

    fn from_key(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The password of a grant that is shown: the one that another receiver of the centre gave
    /// it, else this one's own.
    pub fn of(&self, grant: &Grant) -> Secret {
        let told = grant.password.clone();
        told.unwrap_or_else(|| self.password(grant.id, grant.credentials))
    }

    /// The password of a grant's user; `change`: how often it changed
    /// ([`crate::policy::desk::Grant::credentials`]).
    pub fn password(&self, grant: GrantId, change: u32) -> Secret {
        let text = match change {
            0 => grant.to_string(),
            _ => format!("{grant} {change}"),
        };
        let tag = hmac::sign(&self.0, text.as_bytes());
        let digits = tag.as_ref().iter().take(PASSWORD_BYTES);
        Secret::new(digits.map(|byte| format!("{byte:02x}")).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn passwords_survive_a_restart_and_differ_between_grants_and_receivers() {
        let directory =
            std::env::temp_dir().join(format!("fanal-credentials-{}", std::process::id()));
        let other = directory.join("other");
        std::fs::create_dir_all(&other).unwrap();
        let grant = GrantId(uuid::Uuid::from_u128(1));
        let first = Credentials::open(&directory).unwrap().password(grant, 0);
        let again = Credentials::open(&directory).unwrap().password(grant, 0);
        assert_eq!(first, again);
        assert_eq!(first.expose().len(), 32);
        let mode = std::fs::metadata(directory.join(FILE))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = GrantId(uuid::Uuid::from_u128(2));
        assert_ne!(
            first,
            Credentials::open(&directory).unwrap().password(second, 0)
        );
        let other = Credentials::open(&other).unwrap();
        assert_ne!(first, other.password(grant, 0));
        assert_ne!(other.password(grant, 1), other.password(grant, 0));
        assert_ne!(other.password(grant, 1), other.password(grant, 2));
        std::fs::write(directory.join(FILE), "short").unwrap();
        assert!(Credentials::open(&directory).unwrap_err().contains(FILE));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
