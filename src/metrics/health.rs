//! What a daemon knows of its own health: a short list of named checks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;

use crate::policy::peer::losses::Losses;

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its state.
    pub state: State,
    /// What was found, in English, without secrets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// What to do about it; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// The state of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All is well.
    Ok,
    /// Something is to be corrected, but the daemon does its work.
    Warning,
    /// The daemon can't do its work.
    Failed,
}

impl Check {
    /// All is well.
    pub fn ok(detail: impl Into<String>) -> Self {
        Self {
            state: State::Ok,
            detail: detail.into(),
            remedy: String::new(),
        }
    }

    /// Something is to be corrected, but the daemon does its work.
    pub fn warning(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Warning,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    /// The daemon can't do its work.
    pub fn failed(detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            state: State::Failed,
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }
}

impl Check {
    /// The own journal: `health` says why it can't be written, `owed` how many entries wait for that.
    pub fn of_journal(health: Result<(), String>, is_intact: bool, owed: usize) -> Self {
        match health {
            Err(cause) => Self::failed(
                cause,
                "make room, or repair the disk or its rights; requests are refused meanwhile, and it is tried again by itself",
            ),
            // Whether that stops relays is told by `journals`.
            Ok(()) if !is_intact => Self::warning(
                "lines that were written are gone or changed",
                "keep the disk as it is and run fanal journal verify",
            ),
            Ok(()) if owed > 0 => Self::warning(
                format!("{owed} entries wait to be written"),
                "they are tried again by themselves",
            ),
            Ok(()) => Self::ok("writable"),
        }
    }

    /// The clock, where it is so far `behind` the journal's newest entry.
    pub fn of_clock(behind: Option<Duration>) -> Self {
        let Some(behind) = behind else {
            return Self::ok("");
        };
        Self::warning(
            format!(
                "{} s behind the journal; requests are refused",
                behind.as_secs()
            ),
            "set the clock; if it is right and the journal's time was wrong, start once with --accept-clock",
        )
    }

    /// Journals that lost lines and that nobody accepted; `goes_on`: relays go on all the same.
    pub fn of_losses(losses: &Losses, goes_on: bool) -> Self {
        let remedy = |id: &str| {
            format!(
                "find out why: a restore, a disk, or somebody's hand (fanal journal verify); then start once with --accept-journal {id}"
            )
        };
        let stopped = if goes_on { "" } else { "nothing is relayed: " };
        if let Some(own) = losses.own() {
            let detail = format!("{stopped}this machine's journal went back: {own}");
            let remedy = remedy(losses.own_id());
            return if goes_on {
                Self::warning(detail, remedy)
            } else {
                Self::failed(detail, remedy)
            };
        }
        let mut theirs = losses.all_theirs();
        let Some((peer, what)) = theirs.next() else {
            return Self::ok("");
        };
        let more = match theirs.count() {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let detail = format!("{stopped}the journal of {peer} went back: {what}{more}");
        Self::warning(detail, remedy(peer))
    }
}

/// The list, shared between those who know and `/ready`. A daemon is ready while
/// no check has failed. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<Mutex<BTreeMap<&'static str, Check>>>);

impl Checks {
    /// A list on which these checks have failed until somebody says otherwise.
    pub fn expecting(names: &[&'static str]) -> Self {
        let checks = Self::default();
        for name in names {
            checks.set(
                name,
                Check::failed("not known yet", "wait for the start to end"),
            );
        }
        checks
    }

    /// Sets the outcome of a check.
    pub fn set(&self, name: &'static str, check: Check) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.insert(name, check);
    }

    /// Takes a check off the list.
    pub fn remove(&self, name: &'static str) {
        let mut checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        checks.remove(name);
    }

    /// Whether no check has failed, and the list as it is now.
    pub fn report(&self) -> Report {
        let checks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Report {
            ready: checks.values().all(|check| check.state != State::Failed),
            checks: checks
                .iter()
                .map(|(name, check)| Named {
                    name,
                    check: check.clone(),
                })
                .collect(),
        }
    }
}

/// The body of `/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether the daemon does its work.
    pub ready: bool,
    /// Each check, by name.
    pub checks: Vec<Named>,
}

/// One check in the body of `/ready`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Which.
    pub name: &'static str,
    /// Its outcome.
    #[serde(flatten)]
    pub check: Check,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_nothing_has_failed() {
        let checks = Checks::expecting(&["journal", "link"]);
        assert!(!checks.report().ready);
        checks.set("journal", Check::ok("writable"));
        assert!(!checks.report().ready);
        checks.set("link", Check::ok("corg-13"));
        checks.set("cameras", Check::warning("1 invalid", "see the log"));
        let report = checks.report();
        assert!(report.ready);
        assert_eq!(
            serde_json::to_value(report).unwrap()["checks"][0],
            serde_json::json!({"name": "cameras", "state": "warning", "detail": "1 invalid", "remedy": "see the log"})
        );
    }
}
