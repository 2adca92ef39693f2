//! What ends: gauges, the check `ends` of `/ready`, and a line in the log once a day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::IntGaugeVec;

use super::health::Check;
use crate::clock::Wall;
use crate::pki::End;

/// How often the log says again what ends.
const SAY_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Series that are there only while something has this use.
const OPTIONAL: [&str; 4] = ["console", "rtsp", "page", "page_authority"];

/// What of a daemon's settings ends.
#[derive(Debug, Default)]
pub struct Ends(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    ends: Vec<End>,
    said: Option<Wall>,
}

impl Ends {
    /// Takes what the settings name, soonest first.
    pub(super) fn take(&self, ends: Vec<End>, gauges: &IntGaugeVec) {
        for purpose in OPTIONAL {
            // An error says that there was no such series.
            let _ = gauges.remove_label_values(&[purpose]);
        }
        for end in ends.iter().rev() {
            let gauge = gauges.with_label_values(&[end.purpose]);
            gauge.set(end.until.seconds());
        }
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State { ends, said: None };
    }

    /// The check `ends` at `now`. What it says the log says too, once a day.
    pub fn check(&self, now: Wall) -> Check {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let warnings: Vec<String> = state
            .ends
            .iter()
            .filter_map(|end| end.warning(now))
            .collect();
        if warnings.is_empty() {
            return Check::ok("");
        }
        if state.said.is_none_or(|said| said.plus(SAY_EVERY) <= now) {
            state.said = Some(now);
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
        }
        Check::warning(
            warnings.join("; "),
            "certs/README.md says how to renew each",
        )
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;
    use crate::metrics::health::State as Health;

    #[test]
    fn the_first_end_of_a_use_counts_and_an_optional_one_goes() {
        let gauges = IntGaugeVec::new(Opts::new("ends", "Ends."), &["use"]).unwrap();
        let end = |purpose, days: i64| End {
            until: Wall::from_seconds(days * 86_400),
            purpose,
            what: format!("{purpose}-{days}"),
        };
        let ends = Ends::default();
        ends.take(
            vec![end("link", 50), end("console", 60), end("link", 70)],
            &gauges,
        );
        assert_eq!(gauges.with_label_values(&["link"]).get(), 50 * 86_400);
        assert_eq!(ends.check(Wall::from_seconds(0)).state, Health::Ok);
        let check = ends.check(Wall::from_seconds(45 * 86_400));
        assert_eq!(check.state, Health::Warning);
        assert!(check.detail.contains("link-50") && check.detail.contains("console-60"));
        assert!(!check.detail.contains("link-70"), "{check:?}");
        ends.take(vec![end("link", 70)], &gauges);
        assert!(gauges.remove_label_values(&["console"]).is_err(), "gone");
    }
}
