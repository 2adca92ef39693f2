//! Prunes a journal whose daemon does not run, or a copy.

use std::path::PathBuf;

use super::{Log, Parts};
use crate::clock::{Clock, Wall};
use crate::format::jws::Signer;
use crate::format::keep::Keep;
use crate::format::statement::HEAD_TYPE;
use crate::format::trust::dns_names;
use crate::journal::LockedDirectory;
use crate::journal::log_key;
use crate::journal::retention::{Outcome, Plan, Rule, Scan};
use crate::journal::store::{Disk, Store as _};

/// What to prune.
#[derive(Debug)]
pub struct Offline {
    /// The directory with the month files.
    pub directory: PathBuf,
    /// How old an entry may become.
    pub keep: Keep,
    /// Also where a month went today.
    pub at_once: bool,
    /// The journal has witnesses: a month goes once one of them has cosigned its lines.
    pub witnessed: bool,
    /// Key and certificate of the journal's owner; needed unless an anchor in the journal names
    /// the month already, as in a copy of one that was pruned.
    pub signer: Option<Signer>,
    /// The time.
    pub clock: Clock,
}

impl Offline {
    /// Removes the oldest month, as the daemon does. `is_plausible` judges the clock by the
    /// journal's newest time.
    ///
    /// # Errors
    /// The daemon runs, the clock is wrong, the key is missing or another's, or a file can't be
    /// read, written or removed.
    pub fn prune(self, is_plausible: impl FnOnce(Option<Wall>) -> bool) -> Result<Outcome, String> {
        let shown = self.directory.display().to_string();
        let directory = self.directory.canonicalize();
        let directory = directory.map_err(|error| format!("{shown}: {error}"))?;
        let above = directory.parent().unwrap_or(&directory);
        let _lock = LockedDirectory::lock(above).map_err(|error| {
            format!("{error}; while a daemon runs it prunes its journal by itself")
        })?;
        let failed = |error: &dyn std::fmt::Display| format!("{shown}: {error}");
        let mut store = Disk::existing(&directory).map_err(|error| failed(&error))?;
        let now = self.clock.now().wall;
        let scan = Scan::read(&mut store, self.keep, now).map_err(|error| failed(&error))?;
        let Some(scan) = scan else {
            return Ok(Outcome::Nothing);
        };
        if !is_plausible(scan.found().newest) {
            return Err(format!(
                "{shown}: the clock is behind the journal's newest time; set it right, nothing was removed"
            ));
        }
        let rule = Rule {
            keep: self.keep,
            at_once: self.at_once,
            witnessed: self.witnessed,
        };
        match scan.plan(rule, now) {
            Plan::Nothing => return Ok(Outcome::Nothing),
            Plan::Wait => return Ok(Outcome::Wait),
            Plan::Held(month, why) => return Ok(Outcome::Held { month, why }),
            Plan::Remove {
                month, segments, ..
            } if segments.is_empty() => {
                let extents = scan.extents().iter();
                let lines = extents
                    .filter(|extent| extent.month == month)
                    .map(|e| e.lines)
                    .sum();
                store.remove(month).map_err(|error| failed(&error))?;
                store.sync_directory().map_err(|error| failed(&error))?;
                return Ok(Outcome::Removed { month, lines });
            }
            Plan::Remove { .. } => {}
        }
        let owner = scan.owner().map(str::to_owned);
        let owner = owner.ok_or_else(|| format!("{shown}: no entry says whose journal it is"))?;
        let signer = self.signer.ok_or_else(|| {
            format!(
                "{shown}: what is removed must be named by a line that {owner} signs; give --config with its settings, or --key and --certificate. A copy is pruned by copying the newer months of the pruned journal first"
            )
        })?;
        let names = signer.chain().first().map(dns_names).unwrap_or_default();
        if !names.contains(&owner) {
            return Err(format!(
                "the certificate is for {}, and the journal is {owner}'s",
                names.join(", ")
            ));
        }
        let opened = Log::open(Parts {
            store: Box::new(store),
            owner,
            clock: self.clock,
            random: Box::new(|bytes| getrandom::fill(bytes).map_err(std::io::Error::other)),
            sign: Box::new(move |claims| signer.sign(HEAD_TYPE, claims)),
        });
        let mut log = opened.map_err(|error| failed(&error))?.log;
        log.health().map_err(|error| failed(&error))?;
        let key = |origin: &str| log_key::kept(above, origin).ok()?;
        log.prune(scan, rule, key).map_err(|error| failed(&error))
    }
}
