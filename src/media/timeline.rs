//! Places a camera's RTP times on the relay's own 90 kHz time line.
//!
//! Cameras restart, let their RTP time begin at 0 again, jump when NTP sets
//! their clock. Viewers must see none of it: the line goes on by the time that
//! passed between the arrivals, and the epoch tells that something happened.

use std::time::Duration;

/// Ticks of the relay's time line in a second.
pub const TICKS_PER_SECOND: i64 = 90_000;

/// How far a picture's time may leave its arrival before it counts as a jump.
pub const JUMP: Duration = Duration::from_secs(3);

/// What is added where two pictures would otherwise stand at the same time after a break: 1/25 s.
const LEAST_STEP: i64 = TICKS_PER_SECOND / 25;

/// A slow drift between the camera's clock and ours is followed by this fraction
/// of the difference with each picture, so that only a jump counts as one: two
/// ordinary quartz clocks part by 3 s within a few hours.
const DRIFT_SHARE: i64 = 256;

/// Where a picture stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Presentation time, 90 kHz.
    pub pts: i64,
    /// The line was broken since the picture before: the next group of pictures
    /// starts a new epoch.
    pub broken: bool,
}

/// One stream's time line. Lives as long as the stream is known, across sessions.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    running: Option<Running>,
    /// The newest time given out and when its picture arrived.
    newest: Option<(i64, Duration)>,
}

/// A session's RTP time in relation to the line.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// RTP time and place of the picture before, in decode order.
    rtp: u32,
    pts: i64,
    /// Expected arrival minus place, in ticks; follows the drift.
    lag: i64,
    /// Place of the last key frame.
    key: Option<i64>,
}

impl Timeline {
    /// A line on which nothing stands.
    pub fn new() -> Self {
        Self::default()
    }

    /// The camera's session is a new one: its RTP times have nothing to do with those before.
    pub fn restart(&mut self) {
        self.running = None;
    }

    /// Places the next picture in decode order.
    ///
    /// `rtp` is its RTP time (90 kHz, wrapping), `arrival` the time of its last
    /// byte since some fixed moment. B-frames may lie before the picture placed
    /// last; a key frame that does not lie after the key frame before it is a
    /// camera whose RTP time started again.
    pub fn place(&mut self, rtp: u32, arrival: Duration, key: bool) -> Placed {
        let arrived = ticks(arrival);
        let limit = ticks(JUMP);
        if let Some(running) = &mut self.running {
            let delta = i64::from(rtp.wrapping_sub(running.rtp).cast_signed());
            let pts = running.pts + delta;
            let error = arrived - pts - running.lag;
            let backwards = key && running.key.is_some_and(|last| pts <= last);
            if error.abs() <= limit && !backwards {
                running.rtp = rtp;
                running.pts = pts;
                running.lag += error / DRIFT_SHARE;
                if key {
                    running.key = Some(pts);
                }
                self.note(pts, arrival);
                return Placed { pts, broken: false };
            }
        }
        let pts = self.resume(arrival);
        self.running = Some(Running {
            rtp,
            pts,
            lag: arrived - pts,
            key: key.then_some(pts),
        });
        self.note(pts, arrival);
        Placed { pts, broken: true }
    }

    /// Where the line goes on after a break: as much later as the arrivals are apart.
    fn resume(&self, arrival: Duration) -> i64 {
        match self.newest {
            None => ticks(arrival),
            Some((pts, at)) => pts + ticks(arrival.saturating_sub(at)).max(LEAST_STEP),
        }
    }

    fn note(&mut self, pts: i64, arrival: Duration) {
        if self.newest.is_none_or(|(newest, _)| pts > newest) {
            self.newest = Some((pts, arrival));
        }
    }
}

/// A duration in ticks, saturating.
fn ticks(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros().saturating_mul(9) / 100).unwrap_or(i64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u32 = 3_600;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A line on which `count` pictures stand, 40 ms apart from `rtp`, the first a key frame.
    fn running(rtp: u32, count: u32) -> (Timeline, i64) {
        let mut line = Timeline::new();
        let mut last = 0;
        for i in 0..count {
            let placed = line.place(rtp.wrapping_add(i * FRAME), ms(u64::from(i) * 40), i == 0);
            assert_eq!(placed.broken, i == 0);
            last = placed.pts;
        }
        (line, last)
    }

    #[test]
    fn follows_rtp_time_through_its_wrap() {
        let (_, last) = running(u32::MAX - 5 * FRAME, 20);
        assert_eq!(last, 19 * i64::from(FRAME));
    }

    #[test]
    fn a_restart_goes_on_by_the_time_between_arrivals() {
        let (mut line, last) = running(1_000_000, 10);
        line.restart();
        let placed = line.place(77, ms(9 * 40 + 2_500), true);
        assert!(placed.broken);
        assert_eq!(placed.pts, last + 225_000);
    }

    #[test]
    fn a_restart_at_once_still_moves_forward() {
        let (mut line, last) = running(5, 3);
        line.restart();
        assert!(line.place(5, ms(80), true).pts > last);
    }

    #[test]
    fn rtp_time_that_begins_at_zero_again_is_a_break_and_not_a_jump_for_viewers() {
        let (mut line, last) = running(400_000_000, 50);
        let placed = line.place(0, ms(2_000), true);
        assert_eq!(
            placed,
            Placed {
                pts: last + i64::from(FRAME),
                broken: true
            }
        );
        let next = line.place(FRAME, ms(2_040), false);
        assert_eq!(
            next,
            Placed {
                pts: last + 2 * i64::from(FRAME),
                broken: false
            }
        );
    }

    #[test]
    fn rtp_time_that_begins_again_soon_is_told_by_the_key_frame() {
        let (mut line, last) = running(0, 50);
        let placed = line.place(0, ms(2_000), true);
        assert!(placed.broken);
        assert_eq!(placed.pts, last + i64::from(FRAME));
    }

    #[test]
    fn a_jump_forward_of_the_cameras_clock_is_a_break() {
        let (mut line, last) = running(0, 10);
        let placed = line.place(10 * FRAME + 4 * 90_000, ms(400), false);
        assert!(placed.broken);
        assert_eq!(placed.pts, last + i64::from(FRAME));
    }

    #[test]
    fn b_frames_keep_their_order_of_presentation() {
        let mut line = Timeline::new();
        // Decode order I P B B P B B, presentation 0 3 1 2 6 4 5.
        let order = [0_u32, 3, 1, 2, 6, 4, 5];
        let pts: Vec<i64> = order
            .iter()
            .enumerate()
            .map(|(i, position)| {
                let placed = line.place(position * FRAME, ms(40 * i as u64), i == 0);
                assert_eq!(placed.broken, i == 0);
                placed.pts
            })
            .collect();
        let expected: Vec<i64> = order
            .iter()
            .map(|p| i64::from(*p) * i64::from(FRAME))
            .collect();
        assert_eq!(pts, expected);
    }

    #[test]
    fn late_arrivals_within_bounds_do_not_move_times() {
        let mut line = Timeline::new();
        let first = line.place(0, ms(0), true).pts;
        let late = line.place(FRAME, ms(2_900), false);
        assert_eq!(
            late,
            Placed {
                pts: first + i64::from(FRAME),
                broken: false
            }
        );
    }

    #[test]
    fn a_clock_that_drifts_for_days_never_breaks_the_line() {
        let mut line = Timeline::new();
        // 500 ppm fast for 12 hours, ten pictures a second: 21 s of drift.
        for i in 0..432_000_u64 {
            let rtp = (i * 9_000 + i * 9_000 / 2_000) as u32;
            assert_eq!(line.place(rtp, ms(i * 100), i % 20 == 0).broken, i == 0);
        }
    }
}
