//! The camera `fanal-test`: pictures that the gateway draws itself, so that a drill shows the whole
//! way from a request to a wall without anybody's camera. To all that follows it is a camera's
//! session like any other: it is opened under a recorded grant alone.

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};
use url::Url;

use super::session::Picture;
use crate::clock::Clock;
use crate::config::settings::Camera;
use crate::media::drawn::{self, Cell, card};
use crate::media::unit::Configuration;

/// Time between two pictures.
const PERIOD: Duration = Duration::from_millis(100);
/// Pictures from one key frame to the next: 2 s.
const GROUP: u64 = 20;
/// RTP ticks in a millisecond.
const TICKS: u128 = 90;

/// A session with the test camera.
#[derive(Debug)]
pub(super) struct Drawing {
    commune: String,
    clock: Clock,
    began: Instant,
    ticks: Interval,
    number: u64,
    before: Vec<Cell>,
    configuration: Arc<Configuration>,
}

impl Drawing {
    /// A session, where the URL is the test camera's.
    pub(super) fn open(url: &Url, clock: &Clock) -> Option<Self> {
        if url.scheme() != Camera::TEST_SCHEME {
            return None;
        }
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Some(Self {
            commune: percent_decode_str(url.path())
                .decode_utf8_lossy()
                .into_owned(),
            clock: clock.clone(),
            began: Instant::now(),
            ticks,
            number: 0,
            before: Vec::new(),
            configuration: Arc::new(drawn::configuration()),
        })
    }

    /// The next picture. Cancel-safe.
    pub(super) async fn next(&mut self) -> Picture {
        self.ticks.tick().await;
        let (number, place) = (self.number, self.number % GROUP);
        self.number += 1;
        let cells = card::test(&self.commune, &time(&self.clock), number);
        let key = place == 0;
        let data = if key {
            drawn::key_picture(&cells, number / GROUP)
        } else {
            // Below GROUP.
            drawn::next_picture(&cells, &self.before, place as u8)
        };
        self.before = cells;
        Picture {
            // RTP time wraps.
            rtp: (self.began.elapsed().as_millis() * TICKS) as u32,
            arrived: std::time::Instant::now(),
            key,
            open_group: false,
            disposable: false,
            loss_before: false,
            data,
            configuration: Some(Arc::clone(&self.configuration)),
        }
    }
}

/// What a clock in the commune shows.
fn time(clock: &Clock) -> String {
    let now = jiff::Timestamp::from_microsecond(clock.now().wall.0).ok();
    let paris = jiff::tz::TimeZone::get("Europe/Paris").ok();
    let shown = now
        .zip(paris)
        .map(|(now, paris)| now.to_zoned(paris).strftime("%H:%M:%S").to_string());
    shown.unwrap_or_else(|| "--:--:--".to_owned())
}
