//! `GET journal`, `GET attestation`: entries for people, read beside everything else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::{Handle, Page, Person};
use crate::clock::Wall;
use crate::http::{Problem, Query};
use crate::journal::search::{self, Filter, Found, Row};
use crate::journal::store::Month;
use crate::reason::{Reason, Refusal};

/// Readings at once.
pub(super) const READINGS: usize = 2;
/// Most entries in an answer, and how many where nobody says.
pub(super) const ROWS: usize = 2_000;
const USUAL_ROWS: usize = 500;
/// How long a reading may take.
pub(super) const READ_TIME: Duration = Duration::from_secs(20);
/// Longest text that is looked for, in characters.
const TEXT_LIMIT: usize = 128;
/// Months that are looked through for the newest attestation: one is written each day.
const ATTESTED_WITHIN: usize = 2;

/// What is looked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// `YYYY-MM`, UTC as the journal's files; the newest where neither it nor a day is given.
    month: Option<String>,
    /// `YYYY-MM-DD`, in the communes' time zone.
    day: Option<String>,
    camera: Option<String>,
    operator: Option<String>,
    incident: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Table {
    /// The months that there are, oldest first.
    months: Vec<String>,
    /// The newest entries that were found, oldest first.
    entries: Vec<Row>,
    /// How many older ones were found besides.
    left_out: u64,
}

/// `GET journal`.
pub(super) async fn month(
    _: Person,
    State(page): Handle,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Table>, Problem> {
    let bad = |detail: String| Problem::with_status(400, detail);
    for text in [&wanted.camera, &wanted.operator, &wanted.incident] {
        let length = text.as_ref().map_or(0, |text| text.chars().count());
        if length > TEXT_LIMIT {
            return Err(bad(format!(
                "a text is longer than {TEXT_LIMIT} characters"
            )));
        }
    }
    let month = wanted.month.as_deref();
    let month = month
        .map(|month| {
            Month::from_file_name(&format!("{month}.jsonl"))
                .ok_or_else(|| bad(format!("{month:?} is no month; write such as 2026-11")))
        })
        .transpose()?;
    let day = wanted.day.as_deref();
    let day = day
        .map(|day| {
            span(day).ok_or_else(|| bad(format!("{day:?} is no day; write such as 2026-11-30")))
        })
        .transpose()?;
    let filled = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
    let filter = Filter {
        camera: filled(wanted.camera),
        operator: filled(wanted.operator),
        incident: filled(wanted.incident),
        from: day.map(|(from, _)| from),
        to: day.map(|(_, to)| to),
        limit: wanted.limit.unwrap_or(USUAL_ROWS).min(ROWS),
    };
    let directory = page.months();
    page.read(move |goes_on| {
        let months = search::months(&directory)?;
        let looked: Vec<Month> = match (day, month) {
            // A day of the time zone may lie in two of the files.
            (Some((from, to)), _) => {
                let mut of_day = vec![Month::of(from), Month::of(to)];
                of_day.dedup();
                of_day
            }
            (None, Some(month)) => vec![month],
            (None, None) => months.last().copied().into_iter().collect(),
        };
        let mut found = Found::default();
        for month in looked {
            search::month(&directory, month, &filter, &mut found, goes_on)?;
        }
        Ok(Table {
            months: months.iter().map(ToString::to_string).collect(),
            entries: found.rows.into(),
            left_out: found.left_out,
        })
    })
    .await
    .map(Json)
}

/// The first moment of a day, and that of the next.
fn span(day: &str) -> Option<(Wall, Wall)> {
    let day: Date = day.parse().ok()?;
    let zone = TimeZone::get("Europe/Paris").ok()?;
    let begins = |day: Date| {
        let zoned = day.to_zoned(zone.clone()).ok()?;
        Some(Wall(zoned.timestamp().as_microsecond()))
    };
    Some((begins(day)?, begins(day.tomorrow().ok()?)?))
}

#[derive(Serialize)]
pub(super) struct Attested {
    /// The newest attestation of each centre.
    attestations: Vec<Row>,
}

/// `GET attestation`: what the gateway attested last.
pub(super) async fn attestation(_: Person, State(page): Handle) -> Result<Json<Attested>, Problem> {
    let directory = page.months();
    page.read(move |goes_on| {
        let months = search::months(&directory)?;
        for month in months.iter().rev().take(ATTESTED_WITHIN) {
            let mut newest = search::Attestations::default();
            search::attestations(&directory, *month, &mut newest, goes_on)?;
            if !newest.is_empty() {
                return Ok(newest);
            }
        }
        Ok(search::Attestations::default())
    })
    .await
    .map(|newest| {
        Json(Attested {
            attestations: newest.into_values().collect(),
        })
    })
}

impl Page {
    /// Reads on a thread that may block, [`READINGS`] at a time, for [`READ_TIME`] at most.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn Fn() -> bool) -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Problem> {
        let gone = |_| Problem::from(Reason::ShuttingDown);
        let permit = Arc::clone(&self.readings).acquire_owned().await;
        let permit = permit.map_err(|_| Problem::from(Reason::ShuttingDown))?;
        let token = self.token.clone();
        let reading = tokio::task::spawn_blocking(move || {
            // Given back when the reading is over, also where nobody waits for it any more.
            let _permit = permit;
            let begun = Instant::now();
            read(&|| begun.elapsed() < READ_TIME && !token.is_cancelled())
        });
        reading.await.map_err(gone)?.map_err(|error| {
            let detail = if error.kind() == std::io::ErrorKind::TimedOut {
                format!(
                    "reading took longer than {} s: `fanal journal show` reads it all",
                    READ_TIME.as_secs()
                )
            } else {
                format!("the journal can't be read: {error}")
            };
            Problem::from(Refusal::new(Reason::Internal, detail))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_one_of_the_communes_time_zone() {
        let (from, to) = span("2026-11-30").unwrap();
        assert_eq!(from.rfc3339(), "2026-11-29T23:00:00.000Z");
        assert_eq!(to.rfc3339(), "2026-11-30T23:00:00.000Z");
        // One with 25 hours.
        let (from, to) = span("2026-10-25").unwrap();
        assert_eq!(to.since(from), Duration::from_secs(25 * 3_600));
        for bad in ["", "2026-13-01", "2026-02-30", "today"] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }
}
