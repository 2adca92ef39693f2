//! Until when `--hold` can renew a grant, and what ends it then. Pure.
//!
//! The gateway decides at each renewal; this is what its rules say now (interfaces.md 2 and 4): a grant
//! ends no later than its signer's designation, its agreement's last day or hours, and `max_total`
//! after its start.

use serde::Serialize;
use serde_json::Value;

use crate::clock::Wall;
use crate::format::control::AgreementInfo;
use crate::format::jws;
use crate::format::statement::{GRANT_TYPE, GrantClaims};
use crate::policy::agreement;

/// What ends a grant that is renewed again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum By {
    /// The operator's certificate.
    Designation,
    /// The agreement's last day or hours.
    Agreement,
    /// The agreement's longest life with renewals.
    MaxTotal,
}

/// The latest end, and the first of what sets one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) until: Wall,
    pub(super) by: By,
    /// Whether the agreement's limits are known; if not, they may end it sooner.
    pub(super) is_whole: bool,
}

impl Bound {
    /// The bound of a grant that began at `start`, whose signer's designation ends at `not_after`.
    pub(super) fn new(
        not_after: Wall,
        agreement: Option<&AgreementInfo>,
        start: Wall,
        now: Wall,
    ) -> Self {
        let mut ends = vec![(not_after, By::Designation)];
        if let Some(agreement) = agreement {
            let total = std::time::Duration::from_secs(agreement.max_total);
            ends.push((start.plus(total), By::MaxTotal));
            let until = agreement::announced_until(agreement, now);
            ends.extend(until.map(|until| (until, By::Agreement)));
        }
        let (until, by) = ends
            .into_iter()
            .min_by_key(|(until, _)| *until)
            .unwrap_or((not_after, By::Designation));
        Self {
            until,
            by,
            is_whole: agreement.is_some(),
        }
    }

    /// For the grant's JSON: `{until, by}`.
    pub(super) fn json(self) -> Value {
        serde_json::json!({ "until": self.until.rfc3339(), "by": self.by })
    }

    /// For people.
    pub(super) fn words(self, now: Wall) -> String {
        let left = self.until.since(now).as_secs();
        let (hours, minutes) = (left / 3_600, left / 60 % 60);
        let why = match self.by {
            By::Designation => "your designation ends then",
            By::Agreement => "the agreement's dates and hours end then",
            By::MaxTotal => "the agreement's max_total, counted from the grant's start",
        };
        let more = if self.is_whole {
            ""
        } else {
            "; the agreement may end it sooner: the receiver did not say"
        };
        let until = self.until.rfc3339();
        format!("it can be renewed until {until}, for {hours} h {minutes:02} min ({why}{more})")
    }
}

/// When the grant began, by its proof's word.
pub(super) fn start(grant: &Value) -> Option<Wall> {
    let proof = jws::open::<GrantClaims>(grant["proof"].as_str()?, GRANT_TYPE).ok()?;
    Some(Wall::from_seconds(proof.claims.start))
}

/// The agreement that the commune has with the operator's unit, among the receiver's communes.
pub(super) fn agreement(communes: &Value, commune: &str) -> Option<AgreementInfo> {
    let mut communes = communes.as_array()?.iter();
    let found = communes.find(|found| found["commune"] == commune)?;
    serde_json::from_value(found["agreement"].clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Wall {
        let time: jiff::Timestamp = text.parse().unwrap();
        Wall(time.as_microsecond())
    }

    fn announced(until: &str, max_total: u64, hours: Value) -> Value {
        serde_json::json!([{"commune": "rognac"}, {"commune": "berre-l-etang", "agreement": {
            "reference": "C", "from": "2026-01-01", "until": until, "grounds": [],
            "max_duration": 3_600, "max_total": max_total, "max_relays": 4, "hours": hours,
        }}])
    }

    #[test]
    fn the_first_end_is_told_with_its_cause() {
        let now = at("2026-11-30T11:00:00Z");
        let nightly = serde_json::json!([{"days": vec![true; 7], "start": 360, "end": 1_200}]);
        let none = serde_json::json!([]);
        for (not_after, until, total, hours, end, by) in [
            (
                "2026-12-07T00:00:00Z",
                "2030-01-01",
                14_400,
                &none,
                "2026-11-30T14:50:00Z",
                By::MaxTotal,
            ),
            (
                "2026-11-30T12:00:00Z",
                "2030-01-01",
                14_400,
                &none,
                "2026-11-30T12:00:00Z",
                By::Designation,
            ),
            (
                "2026-12-07T00:00:00Z",
                "2026-11-30",
                86_400,
                &none,
                "2026-11-30T23:00:00Z",
                By::Agreement,
            ),
            (
                "2026-12-07T00:00:00Z",
                "2030-01-01",
                86_400,
                &nightly,
                "2026-11-30T19:00:00Z",
                By::Agreement,
            ),
        ] {
            let communes = announced(until, total, hours.clone());
            let agreement = agreement(&communes, "berre-l-etang").unwrap();
            let start = at("2026-11-30T10:50:00Z");
            let bound = Bound::new(at(not_after), Some(&agreement), start, now);
            assert_eq!((bound.until, bound.by), (at(end), by));
            assert!(!bound.words(now).contains("sooner"));
        }
        let communes = announced("2030-01-01", 1, none);
        assert_eq!(agreement(&communes, "rognac"), None);
        let bound = Bound::new(at("2026-11-30T12:30:00Z"), None, now, now);
        assert_eq!(bound.by, By::Designation);
        let words = bound.words(now);
        assert!(words.contains("2026-11-30T12:30:00"), "{words}");
        assert!(
            words.contains("1 h 30 min") && words.contains("sooner"),
            "{words}"
        );
    }
}
