//! Time, passed in: wall clock for expiries, boot clock for deadlines.
//!
//! Decisions take a [`Now`]; daemons hold a [`Clock`], which is the system's or,
//! in tests, one that is moved by hand.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// A wall-clock time: microseconds since 1970-01-01T00:00:00Z.
#[derive(
    Default, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Wall {
    /// Whole seconds since the epoch, as in JWS claims (rounded down).
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// A time from whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1_000_000))
    }

    /// This time and `duration`, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// How long from `earlier` to this time; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with milliseconds, as in the journal: `2026-11-23T02:13:01.123Z`.
    pub fn rfc3339(self) -> String {
        let Ok(time) = jiff::Timestamp::from_microsecond(self.0) else {
            return "0000-00-00T00:00:00.000Z".to_owned();
        };
        let time = jiff::tz::TimeZone::UTC.to_datetime(time);
        let Some(year) = u32::try_from(time.year()).ok() else {
            return time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        };
        // By hand: journals of millions of lines are read and written with it.
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let part = |number: i8| u32::from(number.unsigned_abs());
        let parts = [
            (0, 4, year),
            (5, 2, part(time.month())),
            (8, 2, part(time.day())),
            (11, 2, part(time.hour())),
            (14, 2, part(time.minute())),
            (17, 2, part(time.second())),
            (20, 3, u32::from(time.millisecond().unsigned_abs())),
        ];
        for (at, length, mut number) in parts {
            for digit in text[at..at + length].iter_mut().rev() {
                *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
                number /= 10;
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// From exactly the form of [`Wall::rfc3339`]; none for any other.
    pub fn from_line(text: &[u8]) -> Option<Self> {
        let text: &[u8; 24] = text.try_into().ok()?;
        let number = |at: usize, length: usize| {
            text[at..at + length]
                .iter()
                .try_fold(0i16, |number, digit| {
                    let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
                    Some(number * 10 + i16::from(digit))
                })
        };
        let part = |at| i8::try_from(number(at, 2)?).ok();
        let between = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (23, b'Z'),
        ];
        let fits = between.iter().all(|(at, byte)| text[*at] == *byte);
        let (date, clock) = (
            (number(0, 4)?, part(5)?, part(8)?),
            (part(11)?, part(14)?, part(17)?),
        );
        let time = jiff::civil::DateTime::new(
            date.0,
            date.1,
            date.2,
            clock.0,
            clock.1,
            clock.2,
            i32::from(number(20, 3)?) * 1_000_000,
        );
        let time = jiff::tz::TimeZone::UTC.to_timestamp(time.ok()?).ok()?;
        fits.then(|| Self(time.as_microsecond()))
    }

    /// The time that an RFC 3339 text names; none where it is no such text.
    pub fn from_rfc3339(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        Some(Self(time.as_microsecond()))
    }
}

/// A time since the machine started, which goes on in suspend and never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boot(pub Duration);

impl Boot {
    /// This time and `duration`, saturating.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }

    /// How long from `earlier` to this time; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock.
    pub wall: Wall,
    /// Boot clock.
    pub boot: Boot,
}

/// Where the time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(watch::Receiver<Now>),
}

/// Moves a manual [`Clock`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Now>>);

impl Clock {
    /// The system's clocks (`CLOCK_REALTIME`, `CLOCK_BOOTTIME`).
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stops until its handle moves it.
    pub fn manual(start: Wall) -> (Self, ManualClock) {
        let now = Now {
            wall: start,
            boot: Boot(Duration::from_secs(1_000)),
        };
        let (sender, receiver) = watch::channel(now);
        (
            Self(Source::Manual(receiver)),
            ManualClock(Arc::new(sender)),
        )
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::System => Now {
                wall: read_wall(),
                boot: read_boot(),
            },
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Returns once the boot clock reaches `deadline`.
    ///
    /// The system's timers stand still in suspend, the boot clock does not: the
    /// wait is cut in pieces of half a second so that a deadline which passed in
    /// suspend is noticed at once.
    pub async fn sleep_until(&self, deadline: Boot) {
        match &self.0 {
            Source::System => loop {
                let left = deadline.since(read_boot());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(Duration::from_millis(500))).await;
            },
            Source::Manual(now) => {
                let mut now = now.clone();
                // An error means that the handle is gone: time stops for good.
                if now.wait_for(|now| now.boot >= deadline).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

impl ManualClock {
    /// Moves both clocks on.
    pub fn advance(&self, duration: Duration) {
        self.0.send_modify(|now| {
            now.wall = now.wall.plus(duration);
            now.boot = now.boot.plus(duration);
        });
    }

    /// Sets the wall clock alone, back or forth, as an administrator or NTP would.
    pub fn set_wall(&self, wall: Wall) {
        self.0.send_modify(|now| now.wall = wall);
    }

    /// The time it shows.
    pub fn now(&self) -> Now {
        *self.0.borrow()
    }
}

fn read_wall() -> Wall {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    Wall(
        time.tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(time.tv_nsec / 1_000),
    )
}

fn read_boot() -> Boot {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or(0);
    Boot(Duration::new(seconds, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_time_as_the_journal_wants_it() {
        assert_eq!(
            Wall(1_763_864_381_123_456).rfc3339(),
            "2025-11-23T02:19:41.123Z"
        );
    }

    #[test]
    fn reads_that_form_and_no_other_as_jiff_does() {
        let day = 86_400_000_000;
        for number in -20_000i64..40_000 {
            // Days of all seasons, and all parts of a day.
            let time = Wall(number * day + number.rem_euclid(86_400) * 1_000_000 + 123_000);
            let text = time.rfc3339();
            let jiff: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(jiff.as_microsecond(), time.0, "{text}");
            assert_eq!(Wall::from_line(text.as_bytes()), Some(time), "{text}");
        }
        for wrong in [
            "",
            "2025-11-23T02:19:41Z",
            "2025-11-23T02:19:41.1234Z",
            "2025-11-23t02:19:41.123Z",
            "2025-11-31T02:19:41.123Z",
            "2025-13-01T02:19:41.123Z",
            "2025-11-23T24:00:00.000Z",
            "2025-11-23T02:19:60.000Z",
            "+025-11-23T02:19:41.123Z",
            "2025-11-23T02:19:41.123+",
            "2025-11-23 02:19:41.123Z",
            "2025-02-29T02:19:41.123Z",
        ] {
            assert_eq!(Wall::from_line(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
