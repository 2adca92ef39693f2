//! The revocation lists in force, as far as somebody must do something about them.

use std::sync::{Mutex, PoisonError};

use prometheus::{IntGauge, IntGaugeVec};

use super::health::Check;
use crate::clock::Wall;
use crate::pki::{Error, InForce};

/// The lists in force, for `/ready`, the log and `certificate_expiry_timestamp_seconds`.
#[derive(Debug, Default)]
pub struct Lists(Mutex<Vec<InForce>>);

impl Lists {
    /// Takes what was read; where that failed, its users say so, and what was known
    /// stays. Says in the log which files are older than lists seen before.
    pub(super) fn take(
        &self,
        read: Result<Vec<InForce>, Error>,
        ends: &IntGaugeVec,
        older: &IntGauge,
    ) {
        let Ok(read) = read else { return };
        let due = read.iter().filter_map(|one| one.list.next_update).min();
        if let Some(due) = due {
            let gauge = ends.with_label_values(&["revocation_list"]);
            gauge.set(due.seconds());
        }
        let count = read.iter().filter(|one| one.is_behind()).count();
        older.set(i64::try_from(count).unwrap_or(i64::MAX));
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for one in read.iter().filter(|one| !held.contains(one)) {
            if let Some(older) = one.older() {
                tracing::warn!("{older}");
            }
        }
        *held = read;
    }

    /// What is to be done at `now`, for people.
    pub fn warnings(&self, now: Wall) -> Vec<String> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut warnings: Vec<String> = held.iter().flat_map(|one| one.warnings(now)).collect();
        warnings.sort();
        warnings.dedup();
        warnings
    }
}

/// The check `revocation` of `/ready`.
pub fn revocation_check(mut warnings: Vec<String>) -> Check {
    warnings.sort();
    warnings.dedup();
    if warnings.is_empty() {
        return Check::ok("");
    }
    let remedy = "ask the authority for its newest list (fanal certs lists) and reload";
    Check::warning(warnings.join("; "), remedy)
}
