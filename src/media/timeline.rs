//! Places a camera's RTP times on the relay's own 90 kHz time line.
//!
//! Cameras restart, let their RTP time begin at 0 again, jump when NTP sets
//! their clock. Viewers must see none of it: the line goes on by the time that
//! passed between the arrivals, and the epoch tells that something happened.
//!
//! RTP times that stand still or run at another rate than pictures arrive are no times:
//! then pictures are placed evenly by their arrivals, until RTP times agree with them again.

use std::collections::VecDeque;
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

/// RTP times are judged over at least so much time and so many pictures; over twice the
/// time, fewer pictures are enough.
const WINDOW: i64 = TICKS_PER_SECOND;
const WINDOW_PICTURES: usize = 8;
const WINDOW_FEW: usize = 3;
/// Pictures of a window that are looked at.
const WINDOW_LIMIT: usize = 256;

/// RTP ticks for 100 ticks between arrivals, within which RTP times are believed.
const BELIEVED: std::ops::RangeInclusive<i64> = 80..=125;

/// Windows in a row that must show too fast a clock: one alone may be a burst after a
/// stall. As many must show a right one before it is believed again.
const AGREEING: u8 = 2;

/// RTP times that are wrong beyond this, of the newest pictures over at least so much time
/// and so many of them, are told before a window is whole. Of a burst at the start, or
/// after a stall, some are at the same time: either the time or the usual step is right.
const FAR_OFF: std::ops::RangeInclusive<i64> = 40..=250;
const GLANCE: i64 = TICKS_PER_SECOND * 3 / 10;
const GLANCE_PICTURES: usize = 6;
/// Pictures that are looked at for it.
const GLANCE_LIMIT: usize = 32;

/// Arrivals that the distance of pictures is taken from.
const ARRIVALS: usize = 48;

/// By this fraction of its distance from its arrival a picture is moved to it.
const ARRIVAL_SHARE: i64 = 24;

/// A picture's place.
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
    judge: Judge,
    /// RTP times are not believed.
    even: Option<Even>,
    /// The newest time given out and when its picture arrived.
    newest: Option<(i64, Duration)>,
}

/// A session's RTP time in relation to the line.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// RTP time and place of the picture before, in decode order.
    rtp: u32,
    pts: i64,
    /// When that picture arrived.
    arrived: i64,
    /// Expected arrival minus place, in ticks; follows the drift.
    lag: i64,
    /// Place of the last key frame.
    key: Option<i64>,
}

impl Timeline {
    /// A line without a picture.
    pub fn new() -> Self {
        Self::default()
    }

    /// The camera's session is a new one: its RTP times have nothing to do with those before.
    pub fn restart(&mut self) {
        self.running = None;
        self.even = None;
        self.judge = Judge::default();
    }

    /// Places the next picture in decode order.
    ///
    /// `rtp` is its RTP time (90 kHz, wrapping), `arrival` the time of its last
    /// byte since some fixed moment. B-frames may lie before the picture placed
    /// last; a key frame that does not lie after the key frame before it is a
    /// camera whose RTP time started again. Pictures with the time of the one before
    /// are placed by their arrivals.
    pub fn place(&mut self, rtp: u32, arrival: Duration, key: bool) -> Placed {
        let arrived = ticks(arrival);
        let verdict = self.judge.note(rtp, arrived);
        if let Some(mut even) = self.even.take() {
            let pts = even.place(arrived);
            if verdict == Verdict::Believed {
                self.running = Some(Running::at(rtp, pts, arrived, key));
            } else {
                self.even = Some(even);
            }
            self.note(pts, arrival);
            return Placed { pts, broken: false };
        }
        if verdict == Verdict::Disbelieved
            && let Some((newest, _)) = self.newest
            && let Some(mut even) = Even::after(newest, arrived, self.judge.step)
        {
            let pts = even.place(arrived);
            self.even = Some(even);
            self.running = None;
            self.note(pts, arrival);
            return Placed { pts, broken: false };
        }
        let limit = ticks(JUMP);
        if let Some(running) = &mut self.running {
            let delta = i64::from(rtp.wrapping_sub(running.rtp).cast_signed());
            if delta == 0 {
                let pts = running.pts + (arrived - running.arrived).max(1);
                if key {
                    running.key = Some(running.pts);
                }
                self.note(pts, arrival);
                return Placed { pts, broken: false };
            }
            let pts = running.pts + delta;
            let error = arrived - pts - running.lag;
            let backwards = key && running.key.is_some_and(|last| pts <= last);
            if error.abs() <= limit && !backwards {
                running.rtp = rtp;
                running.pts = pts;
                running.arrived = arrived;
                running.lag += error / DRIFT_SHARE;
                if key {
                    running.key = Some(pts);
                }
                self.note(pts, arrival);
                return Placed { pts, broken: false };
            }
        }
        let pts = self.resume(arrival);
        self.running = Some(Running::at(rtp, pts, arrived, key));
        self.judge.pass_over();
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

impl Running {
    fn at(rtp: u32, pts: i64, arrived: i64, key: bool) -> Self {
        Self {
            rtp,
            pts,
            arrived,
            lag: arrived - pts,
            key: key.then_some(pts),
        }
    }
}

/// The verdict of a window of pictures on RTP times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing new.
    None,
    Believed,
    Disbelieved,
}

/// Compares the pace of RTP times with that of arrivals.
#[derive(Clone, Debug, Default)]
struct Judge {
    /// RTP time and arrival of the newest picture.
    before: Option<(u32, i64)>,
    /// RTP time and time between the window's pictures.
    steps: Vec<(i64, i64)>,
    /// The same of the newest pictures, breaks and all.
    newest: VecDeque<(i64, i64)>,
    right: u8,
    fast: u8,
    /// Mean distance between the arrivals of the newest whole window.
    step: i64,
}

impl Judge {
    /// The newest step is a break and says nothing of the pace.
    fn pass_over(&mut self) {
        self.steps.pop();
    }

    /// Whether RTP times are believed, as far as the picture that arrives tells.
    fn note(&mut self, rtp: u32, arrived: i64) -> Verdict {
        let Some((rtp_before, arrived_before)) = self.before.replace((rtp, arrived)) else {
            return Verdict::None;
        };
        let advance = i64::from(rtp.wrapping_sub(rtp_before).cast_signed());
        let step = (advance, arrived - arrived_before);
        self.steps.push(step);
        self.newest.push_back(step);
        if self.newest.len() > GLANCE_LIMIT {
            self.newest.pop_front();
        }
        match self.window() {
            Verdict::None if self.is_far_off() => Verdict::Disbelieved,
            verdict => verdict,
        }
    }

    /// Whether the newest pictures show a clock that is far too slow or fast.
    fn is_far_off(&mut self) -> bool {
        let (mut whole, mut count) = ((0, 0), 0);
        for step in self.newest.iter().rev() {
            whole = sum(whole, step);
            count += 1;
            if whole.1 >= GLANCE && count >= GLANCE_PICTURES {
                break;
            }
        }
        if whole.1 < GLANCE || count < GLANCE_PICTURES {
            return false;
        }
        let usual = usual(self.newest.iter().rev().take(count));
        let (whole_pace, usual) = (pace(whole), pace(usual));
        let is_far_off = whole_pace < *FAR_OFF.start() && usual < *FAR_OFF.start()
            || whole_pace > *FAR_OFF.end() && usual > *FAR_OFF.end();
        if is_far_off {
            self.step = whole.1 / count as i64;
        }
        is_far_off
    }

    /// A window is wrong where both its whole length and its usual step are: a stall makes
    /// only the length wrong, B-frames only the steps.
    fn window(&mut self) -> Verdict {
        let (count, whole) = (self.steps.len(), self.steps.iter().fold((0, 0), sum));
        let is_whole = whole.1 >= WINDOW && count >= WINDOW_PICTURES
            || whole.1 >= 2 * WINDOW && count >= WINDOW_FEW
            || count >= WINDOW_LIMIT;
        if !is_whole {
            return Verdict::None;
        }
        let steps = std::mem::take(&mut self.steps);
        let usual = usual(steps.iter());
        self.step = whole.1 / count.max(1) as i64;
        let (whole, usual) = (pace(whole), pace(usual));
        if whole < *BELIEVED.start() && usual < *BELIEVED.start() {
            (self.right, self.fast) = (0, 0);
            return Verdict::Disbelieved;
        }
        if whole > *BELIEVED.end() && usual > *BELIEVED.end() {
            self.right = 0;
            self.fast = self.fast.saturating_add(1);
            return if self.fast >= AGREEING {
                Verdict::Disbelieved
            } else {
                Verdict::None
            };
        }
        self.fast = 0;
        self.right = self.right.saturating_add(1);
        if self.right >= AGREEING {
            Verdict::Believed
        } else {
            Verdict::None
        }
    }
}

fn sum(sum: (i64, i64), step: &(i64, i64)) -> (i64, i64) {
    (sum.0 + step.0, sum.1 + step.1)
}

/// The steps that most are near.
fn usual<'a>(steps: impl Iterator<Item = &'a (i64, i64)> + Clone) -> (i64, i64) {
    (
        median(steps.clone().map(|step| step.0)),
        median(steps.map(|step| step.1)),
    )
}

/// RTP ticks for 100 ticks between arrivals.
fn pace((rtp, arrived): (i64, i64)) -> i64 {
    rtp.saturating_mul(100) / arrived.max(1)
}

fn median(values: impl Iterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// Places pictures evenly by their arrivals.
#[derive(Clone, Debug)]
struct Even {
    arrivals: VecDeque<i64>,
    pts: i64,
    /// Arrival minus place.
    lag: i64,
    step: i64,
}

impl Even {
    /// Goes on after `newest`, one step before `arrived`. `None`: the step is not known.
    fn after(newest: i64, arrived: i64, step: i64) -> Option<Self> {
        (step > 0).then(|| Self {
            arrivals: VecDeque::from([arrived - step]),
            pts: newest,
            lag: arrived - step - newest,
            step,
        })
    }

    fn place(&mut self, arrived: i64) -> i64 {
        let before = self.arrivals.back().copied().unwrap_or(arrived);
        let waited = arrived - before;
        if waited > 4 * self.step && waited > TICKS_PER_SECOND / 2 {
            // A stall, or another pace: the line goes on by what passed.
            self.arrivals.clear();
            self.pts += waited.max(1);
            self.lag = arrived - self.pts;
        } else {
            let error = arrived - self.lag - (self.pts + self.step);
            // Far away, it must come nearer sooner.
            let share = if error.abs() > TICKS_PER_SECOND / 4 {
                4
            } else {
                ARRIVAL_SHARE
            };
            self.pts = (self.pts + self.step + error / share).max(self.pts + 1);
        }
        self.arrivals.push_back(arrived);
        if self.arrivals.len() > ARRIVALS {
            self.arrivals.pop_front();
        }
        if let (Some(first), 8..) = (self.arrivals.front(), self.arrivals.len()) {
            self.step = (arrived - first) / (self.arrivals.len() - 1) as i64;
        }
        self.pts
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

    /// A name, ms between arrivals, and the RTP time of each picture.
    type Pace = (&'static str, u64, fn(u32) -> u32);

    /// Plays regular pictures `step` ms apart whose arrivals are up to `noise` ms late;
    /// gives their places.
    fn noisy(step: u64, noise: u64, count: u32, rtp: impl Fn(u32) -> u32) -> Vec<i64> {
        let mut line = Timeline::new();
        let mut seed = 1_u64;
        (0..count)
            .map(|i| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let late = (seed >> 33) % (noise + 1);
                let arrival = ms(1_000 + u64::from(i) * step + late);
                let placed = line.place(rtp(i), arrival, i.is_multiple_of(20));
                let may_break = i == 0 || u64::from(i) * step < 1_500;
                assert!(!placed.broken || may_break, "picture {i}");
                placed.pts
            })
            .collect()
    }

    #[test]
    fn times_that_stand_still_or_run_wrong_are_made_even() {
        let cases: [Pace; 6] = [
            ("100 ticks a picture", 100, |i| i * 100),
            ("all 0", 100, |_| 0),
            ("all 0, 25 a second", 40, |_| 0),
            ("at 8 kHz", 40, |i| i * 320),
            ("twice too fast", 40, |i| i * 7_200),
            ("backwards", 40, |i| (1_000_000_u32).wrapping_sub(i * 3_600)),
        ];
        for (name, step, rtp) in cases {
            let places = noisy(step, 30, 1_000, rtp);
            let settled = (2_500 / step) as usize;
            let mut steps: Vec<i64> = places
                .windows(2)
                .skip(settled)
                .map(|pair| pair[1] - pair[0])
                .collect();
            steps.sort_unstable();
            let right = step as i64 * 90;
            let (least, most) = (steps[0], steps[steps.len() - 1]);
            assert!(
                right - least < 5 * 90 && most - right < 5 * 90,
                "{name}: {least} to {most}"
            );
            let whole = places[999] - places[settled];
            let passed = (999 - settled as i64) * right;
            assert!(
                (whole - passed).abs() < 60 * 90,
                "{name}: {whole} in {passed}"
            );
        }
    }

    #[test]
    fn times_far_off_are_made_even_after_some_pictures() {
        let cases: [Pace; 5] = [
            ("100 ticks a picture", 100, |i| i * 100),
            ("100 ticks a picture, 25 a second", 40, |i| i * 100),
            ("in milliseconds", 40, |i| i * 40),
            ("10 s a picture", 25, |i| i.wrapping_mul(900_000)),
            ("three times too fast", 40, |i| i * 10_800),
        ];
        for (name, step, rtp) in cases {
            let mut line = Timeline::new();
            let mut places = Vec::new();
            for i in 0..60_u32 {
                let arrival = ms(1_000 + u64::from(i) * step);
                places.push(line.place(rtp(i), arrival, i == 0).pts);
            }
            let glance = (300 / step).max(6) as usize + 1;
            for pair in places[glance..].windows(2) {
                let off = (pair[1] - pair[0] - step as i64 * 90).abs();
                assert!(off < 5 * 90, "{name}: {places:?}");
            }
            let (shown, passed) = (places[59] - places[0], 59 * step as i64 * 90);
            assert!(
                (shown - passed).abs() < 110_000,
                "{name}: {shown}, {passed}"
            );
        }
    }

    #[test]
    fn a_burst_at_the_start_leaves_right_times_alone() {
        for burst in [1_u32, 3, 8, 50] {
            let mut line = Timeline::new();
            let mut before = None;
            for i in 0..300_u32 {
                let due = u64::from(i.saturating_sub(burst)) * 40;
                let placed = line.place(i * FRAME, ms(due), i.is_multiple_of(25));
                if let Some(before) = before {
                    assert_eq!(
                        placed.pts - before,
                        i64::from(FRAME),
                        "{burst}: picture {i}"
                    );
                }
                before = Some(placed.pts);
            }
        }
    }

    #[test]
    fn right_times_are_followed_whatever_the_noise() {
        let places = noisy(40, 200, 1_000, |i| i * FRAME);
        for pair in places.windows(2) {
            assert_eq!(pair[1] - pair[0], i64::from(FRAME));
        }
    }

    #[test]
    fn times_that_become_right_are_believed_again() {
        let mut line = Timeline::new();
        let mut rtp = 0_u32;
        let mut before = 0;
        for i in 0..400_u32 {
            rtp = rtp.wrapping_add(if i < 100 { 90 } else { FRAME });
            // Late by turns, which even places would show.
            let arrival = ms(u64::from(i) * 40 + u64::from(i % 3) * 10);
            let placed = line.place(rtp, arrival, i.is_multiple_of(25));
            assert_eq!(placed.broken, i == 0, "picture {i}");
            if i > 200 {
                assert_eq!(placed.pts - before, i64::from(FRAME), "picture {i}");
            }
            before = placed.pts;
        }
    }

    #[test]
    fn a_stall_and_the_burst_after_it_leave_right_times_alone() {
        let mut line = Timeline::new();
        let mut before = None;
        for i in 0..500_u32 {
            // Nothing comes from 4 s to 6.5 s; then all at once.
            let due = u64::from(i) * 40;
            let arrival = if (4_000..6_500).contains(&due) {
                6_500
            } else {
                due
            };
            let placed = line.place(i * FRAME, ms(arrival), i.is_multiple_of(25));
            if let Some(before) = before {
                assert_eq!(placed.pts - before, i64::from(FRAME), "picture {i}");
            }
            before = Some(placed.pts);
        }
    }
}
