//! How long a journal is kept: whole months (interfaces.md 10, "Retention"). Pure.

use std::fmt;
use std::str::FromStr;

use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use crate::clock::Wall;

/// A month goes this many days before its first entry reaches its age: the daily look may
/// come late by a day, and the law's three years are a maximum (CSI R253-5).
const AHEAD_DAYS: i64 = 2;

/// How old an entry of a journal may become, in months: [`Keep::LEAST`] to [`Keep::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Keep(u8);

impl Keep {
    /// Six months: what the CNIL recommends at least for logs.
    pub const LEAST: Self = Self(6);
    /// Three years: the most that CSI R253-5 allows. Also the default.
    pub const MOST: Self = Self(36);

    /// Whether a month whose first entry is of this time must go now.
    pub fn is_over(self, first: Wall, now: Wall) -> bool {
        let age = || {
            let first = Timestamp::from_microsecond(first.0).ok()?;
            let first = first.to_zoned(TimeZone::UTC);
            let over = first.checked_add(i64::from(self.0).months()).ok()?;
            Some(over.checked_sub(AHEAD_DAYS.days()).ok()?.timestamp())
        };
        age().is_some_and(|over| over.as_microsecond() <= now.0)
    }
}

impl Default for Keep {
    fn default() -> Self {
        Self::MOST
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(written: &str) -> Result<Self, String> {
        let months = written
            .trim()
            .strip_suffix("months")
            .and_then(|number| number.trim().parse().ok())
            .map(Self);
        let keep = months.ok_or_else(|| format!("{written:?}: write such as \"36 months\""))?;
        if keep < Self::LEAST || keep > Self::MOST {
            return Err(format!(
                "{written} is out of bounds; from {} to {}, the most that the law allows (CSI R253-5)",
                Self::LEAST,
                Self::MOST
            ));
        }
        Ok(keep)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} months", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Wall {
        Wall(text.parse::<Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn months_within_the_law() {
        assert_eq!("36 months".parse(), Ok(Keep::MOST));
        assert_eq!(" 6months ".parse(), Ok(Keep::LEAST));
        assert_eq!(Keep::default().to_string().parse(), Ok(Keep::default()));
        for wrong in [
            "",
            "36",
            "5 months",
            "37 months",
            "-6 months",
            "3 years",
            "300 months",
        ] {
            assert!(wrong.parse::<Keep>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_month_is_over_before_its_first_entry_is_too_old() {
        let first = time("2023-11-01T00:00:00Z");
        for (now, is_over) in [
            ("2026-10-29T23:59:59Z", false),
            ("2026-10-30T00:00:00Z", true),
            ("2026-11-01T00:00:00Z", true),
            ("2023-11-01T00:00:00Z", false),
        ] {
            assert_eq!(Keep::MOST.is_over(first, time(now)), is_over, "{now}");
        }
        assert!(Keep::LEAST.is_over(time("2026-05-31T12:00:00Z"), time("2026-11-30T12:00:00Z")));
        assert!(!Keep::LEAST.is_over(Wall(i64::MAX), time("2026-11-30T12:00:00Z")));
    }
}
