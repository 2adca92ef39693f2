//! Which revocation lists are in force, and what is to be done about them: for `fanal check`,
//! the log, `/ready` and the metrics.

use std::path::{Path, PathBuf};

use super::{Error, Kept, anchors, text};
use crate::clock::Wall;
use crate::config::settings::{self, Tls};
use crate::format::trust::{Anchors, RevocationList};

/// A list in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// The list.
    pub list: RevocationList,
    /// A file of the settings with an older list of the same authority, and its number.
    pub older: Option<(PathBuf, String)>,
    /// Newer lists come over the link too, so that an older file is no sign of a restore.
    pub is_passed_on: bool,
}

impl InForce {
    /// That the file of the settings is older than a list seen before.
    pub fn older(&self) -> Option<String> {
        let (file, number) = self.older.as_ref()?;
        let (file, list) = (file.display(), &self.list);
        let authority = crate::format::text::shown(&list.authority, 80);
        Some(format!(
            "{file}: list {number} of {authority} is older than list {} that was seen before, which stays in force; give the newest list",
            list.number
        ))
    }

    /// Whether the file must be replaced: nothing else renews it.
    pub const fn is_behind(&self) -> bool {
        self.older.is_some() && !self.is_passed_on
    }

    /// What is to be done at `now`, for people.
    pub fn warnings(&self, now: Wall) -> impl Iterator<Item = String> {
        let older = self.older().filter(|_| self.is_behind());
        self.list.warning(now).into_iter().chain(older)
    }
}

/// One use of an authority.
struct Use<'a> {
    authority: &'a Path,
    revoked: Vec<&'a Path>,
    is_passed_on: bool,
}

impl<'a> Use<'a> {
    fn link(tls: &'a Tls) -> Self {
        Self {
            authority: &tls.authority,
            revoked: tls.revoked.iter().map(PathBuf::as_path).collect(),
            is_passed_on: false,
        }
    }
}

/// The lists in force at a gateway with these settings. Blocks.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn of_gateway(settings: &settings::Gateway) -> Result<Vec<InForce>, Error> {
    let agreements = || settings.agreements.iter();
    let links = std::iter::once(&settings.tls).chain(agreements().map(|one| &one.tls));
    let designations = agreements().map(|agreement| Use {
        authority: &agreement.designation_authority,
        revoked: agreement.revoked.as_deref().into_iter().collect(),
        is_passed_on: true,
    });
    let page = settings.page.as_ref().map(|page| Use {
        authority: &page.authority,
        revoked: page.revoked.as_deref().into_iter().collect(),
        is_passed_on: false,
    });
    in_force(
        links.map(Use::link).chain(designations).chain(page),
        &settings.state_dir,
    )
}

/// The lists in force at a receiver with these settings. Blocks.
///
/// # Errors
/// A file that can't be read or is not what it should be.
pub fn of_receiver(settings: &settings::Receiver) -> Result<Vec<InForce>, Error> {
    let communes = settings.communes.values().map(|commune| &commune.tls);
    let links = std::iter::once(&settings.tls).chain(communes);
    let operators = settings.operators.iter().map(|operators| Use {
        authority: &operators.designation_authority,
        revoked: operators.revoked.as_deref().into_iter().collect(),
        is_passed_on: false,
    });
    in_force(links.map(Use::link).chain(operators), &settings.state_dir)
}

fn in_force<'a>(
    uses: impl Iterator<Item = Use<'a>>,
    state_dir: &Path,
) -> Result<Vec<InForce>, Error> {
    let kept = Kept::reading(state_dir);
    let mut found: Vec<InForce> = Vec::new();
    for one in uses {
        let held = anchors(one.authority, one.revoked.iter().copied(), &kept)?;
        let mut files = Vec::new();
        for file in &one.revoked {
            let mut alone = Anchors::from_pem(&text(one.authority)?, &[])
                .map_err(|cause| Error::new(one.authority, cause))?;
            alone
                .update_own(&text(file)?)
                .map_err(|cause| Error::new(file, cause))?;
            files.extend(alone.lists().map(|list| (*file, list.clone())));
        }
        for list in held.lists() {
            // The highest number is in force, so another one is lower.
            let older = files
                .iter()
                .find(|(_, other)| other.key == list.key && other.number != list.number)
                .map(|(file, other)| (file.to_path_buf(), other.number.clone()));
            let one = InForce {
                list: list.clone(),
                older,
                is_passed_on: one.is_passed_on,
            };
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::trial::Trial;
    use crate::format::trust::LIST_SOON;

    const NOW: Wall = Wall::from_seconds(1_763_864_381);

    #[test]
    fn an_older_file_and_a_list_that_runs_out_are_told() {
        let name = format!("fanal-lists-{}", uuid::Uuid::now_v7());
        let scratch = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&scratch).unwrap();
        let (authority, file) = (scratch.join("ca.pem"), scratch.join("list.pem"));
        let mut trial = Trial::new(NOW).unwrap();
        std::fs::write(&authority, trial.link_authority()).unwrap();
        let due = NOW.plus(2 * LIST_SOON);
        let mut list = || trial.authorities().0.list_until(NOW, due).unwrap();
        let (old, new) = (list(), list());
        let read = |is_passed_on| {
            let one = Use {
                authority: &authority,
                revoked: vec![&file],
                is_passed_on,
            };
            let mut found = in_force([one].into_iter(), &scratch).unwrap();
            assert_eq!(found.len(), 1);
            found.remove(0)
        };
        std::fs::write(&file, &new).unwrap();
        anchors(&authority, [file.as_path()], &Kept::writing(&scratch)).unwrap();
        let found = read(false);
        assert_eq!(found.warnings(NOW).count(), 0);
        let soon: Vec<String> = found.warnings(NOW.plus(LIST_SOON)).collect();
        assert!(
            soon.len() == 1 && soon[0].contains("is to be replaced by"),
            "{soon:?}"
        );

        std::fs::write(&file, &old).unwrap();
        let found = read(false);
        assert!(found.is_behind());
        let told: Vec<String> = found.warnings(NOW).collect();
        assert!(
            told.len() == 1 && told[0].contains("is older than list"),
            "{told:?}"
        );
        // Where newer ones come over the link the file is expected to fall behind.
        let found = read(true);
        assert!(found.older().is_some() && !found.is_behind());
        assert_eq!(found.warnings(NOW).count(), 0);
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
