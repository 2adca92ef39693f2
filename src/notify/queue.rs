//! Which notice goes out when: bounded in bytes and in time, pure.
//!
//! | what | bound | beyond |
//! |---|---|---|
//! | notices that wait | [`LIMIT`] bytes | the oldest is dropped, and counted |
//! | how long one is tried | [`TRIED_FOR`] | it is given up, and counted |
//!
//! A server that can't be reached, fails or redirects is left alone for a pause, whichever notice
//! it was: nobody is helped by trying all of them. One that it refuses waits by itself, and the
//! others go on. Pauses grow with the failures in a row: [`PAUSES`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Boot;

/// Bytes of notices that wait.
pub const LIMIT: usize = 1024 * 1024;
/// What one takes beside its text, roughly.
const EACH: usize = 256;
/// How long a notice is tried.
pub const TRIED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// The pause after so many failures in a row, in seconds; the last one then stays.
pub const PAUSES: [u64; 6] = [5, 30, 120, 600, 1_800, 3_600];
/// The longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_secs(3_600);

#[derive(Clone, Debug)]
struct Waiting {
    number: u64,
    id: String,
    body: Arc<str>,
    since: Boot,
    tries: usize,
    due: Boot,
}

impl Waiting {
    fn bytes(&self) -> usize {
        EACH + self.id.len() + self.body.len()
    }
}

/// A notice whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// For [`Queue::answered`].
    pub number: u64,
    /// The notice's id, the same at each attempt.
    pub id: String,
    /// Its text.
    pub body: Arc<str>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this one.
    Send(Attempt),
    /// Nothing before then.
    At(Boot),
    /// Nothing.
    Idle,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server has it.
    Taken,
    /// The server wants no more notices, ever (410).
    Gone,
    /// The server refuses this one.
    Refused,
    /// No answer, or one that says nothing of the notice; the server may say when to come back.
    Failed(Option<Duration>),
}

/// The notices that wait.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    next: u64,
    /// Failures of the server in a row.
    failures: usize,
    closed_until: Option<Boot>,
    is_gone: bool,
}

impl Queue {
    /// A new notice, or one of before a restart. How many were dropped for it.
    pub fn push(&mut self, id: String, body: Arc<str>, since: Boot, now: Boot) -> usize {
        if self.is_gone {
            return 1;
        }
        self.next += 1;
        let waiting = Waiting {
            number: self.next,
            id,
            body,
            since,
            tries: 0,
            due: now,
        };
        self.bytes += waiting.bytes();
        self.waiting.push_back(waiting);
        let mut dropped = 0;
        while self.bytes > LIMIT
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.bytes();
            dropped += 1;
        }
        dropped
    }

    /// Gives up what was tried for too long; how many.
    pub fn expire(&mut self, now: Boot) -> usize {
        let before = self.waiting.len();
        self.waiting.retain(|one| now.since(one.since) < TRIED_FOR);
        self.bytes = self.waiting.iter().map(Waiting::bytes).sum();
        before - self.waiting.len()
    }

    /// What is to be done now.
    pub fn next(&self, now: Boot) -> Next {
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return if self.waiting.is_empty() {
                Next::Idle
            } else {
                Next::At(until)
            };
        }
        let due = self.waiting.iter().find(|one| one.due <= now);
        if let Some(one) = due {
            return Next::Send(Attempt {
                number: one.number,
                id: one.id.clone(),
                body: Arc::clone(&one.body),
            });
        }
        let first = self.waiting.iter().map(|one| one.due).min();
        first.map_or(Next::Idle, Next::At)
    }

    /// What became of an attempt. `jitter`, from 0 to 1, keeps many machines apart. How many
    /// notices were dropped by it.
    pub fn answered(&mut self, number: u64, answer: Answer, now: Boot, jitter: f64) -> usize {
        let place = self.waiting.iter().position(|one| one.number == number);
        match answer {
            Answer::Taken => {
                (self.failures, self.closed_until) = (0, None);
                if let Some(one) = place.and_then(|at| self.waiting.remove(at)) {
                    self.bytes -= one.bytes();
                }
            }
            Answer::Gone => {
                let dropped = self.clear();
                self.is_gone = true;
                return dropped;
            }
            Answer::Refused => {
                (self.failures, self.closed_until) = (0, None);
                if let Some(one) = place.and_then(|at| self.waiting.get_mut(at)) {
                    one.due = now.plus(pause(one.tries, jitter));
                    one.tries += 1;
                }
            }
            Answer::Failed(after) => {
                let own = pause(self.failures, jitter);
                let asked = after.unwrap_or_default().min(LONGEST);
                self.closed_until = Some(now.plus(own.max(asked)));
                self.failures += 1;
            }
        }
        0
    }

    /// Other settings: what failed before says nothing of them.
    pub fn reset(&mut self, now: Boot) {
        (self.failures, self.closed_until, self.is_gone) = (0, None, false);
        for one in &mut self.waiting {
            (one.tries, one.due) = (0, now);
        }
    }

    /// Drops all; how many.
    pub fn clear(&mut self) -> usize {
        self.bytes = 0;
        std::mem::take(&mut self.waiting).len()
    }

    /// What waits, oldest first: id, text, since when.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, &str, Boot)> {
        let all = self.waiting.iter();
        all.map(|one| (one.id.as_str(), &*one.body, one.since))
    }
}

/// The pause after so many failures: between three and five quarters of the table's.
fn pause(failures: usize, jitter: f64) -> Duration {
    let seconds = PAUSES.get(failures).or(PAUSES.last());
    let seconds = seconds.copied().unwrap_or_default();
    Duration::from_secs(seconds).mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Boot {
        Boot(Duration::from_secs(1_000 + seconds))
    }

    fn push(queue: &mut Queue, id: &str, now: Boot) {
        assert_eq!(queue.push(id.to_owned(), "{}".into(), now, now), 0);
    }

    fn sent(queue: &Queue, now: Boot) -> Attempt {
        match queue.next(now) {
            Next::Send(attempt) => attempt,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_that_fails_is_left_alone_for_growing_pauses_and_then_gets_all_in_order() {
        let mut queue = Queue::default();
        push(&mut queue, "a", at(0));
        push(&mut queue, "b", at(0));
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let attempt = sent(&queue, now);
            assert_eq!(attempt.id, "a", "the same id at each attempt");
            queue.answered(attempt.number, Answer::Failed(None), now, 0.5);
            let Next::At(until) = queue.next(now) else {
                panic!("no pause");
            };
            pauses.push(until.since(now).as_secs());
            now = until;
        }
        assert_eq!(pauses, [5, 30, 120, 600, 1_800, 3_600, 3_600, 3_600]);
        for id in ["a", "b"] {
            let attempt = sent(&queue, now);
            assert_eq!(attempt.id, id);
            queue.answered(attempt.number, Answer::Taken, now, 0.5);
        }
        assert_eq!(queue.next(now), Next::Idle);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn one_that_is_refused_holds_up_no_other_and_is_given_up_after_a_day() {
        let mut queue = Queue::default();
        push(&mut queue, "a", at(0));
        push(&mut queue, "b", at(0));
        let first = sent(&queue, at(0));
        queue.answered(first.number, Answer::Refused, at(0), 0.0);
        let second = sent(&queue, at(0));
        assert_eq!(second.id, "b");
        queue.answered(second.number, Answer::Taken, at(0), 0.0);
        let mut now = at(0);
        while let Next::At(until) = queue.next(now) {
            now = until;
            let attempt = sent(&queue, now);
            queue.answered(attempt.number, Answer::Refused, now, 1.0);
            assert!(now < at(2 * 86_400));
            if queue.expire(now) == 1 {
                break;
            }
        }
        assert!(now >= at(86_400) && now < at(86_400 + 4_600), "{now:?}");
        assert_eq!(queue.next(now), Next::Idle);
    }

    #[test]
    fn a_server_says_when_to_come_back_within_an_hour() {
        let mut queue = Queue::default();
        push(&mut queue, "a", at(0));
        let mut fails = |after: u64| {
            let attempt = sent(&queue, at(0));
            let answer = Answer::Failed(Some(Duration::from_secs(after)));
            queue.answered(attempt.number, answer, at(0), 0.5);
            let next = queue.next(at(0));
            queue.reset(at(0));
            next
        };
        assert_eq!(fails(60), Next::At(at(60)));
        assert_eq!(fails(1), Next::At(at(5)));
        assert_eq!(fails(1_000_000), Next::At(at(3_600)));
    }

    #[test]
    fn a_server_that_is_gone_gets_no_more_until_the_settings_change() {
        let mut queue = Queue::default();
        push(&mut queue, "a", at(0));
        push(&mut queue, "b", at(0));
        let attempt = sent(&queue, at(0));
        assert_eq!(queue.answered(attempt.number, Answer::Gone, at(0), 0.5), 2);
        assert_eq!(queue.push("c".to_owned(), "{}".into(), at(1), at(1)), 1);
        assert_eq!(queue.next(at(100_000)), Next::Idle);
        queue.reset(at(2));
        push(&mut queue, "d", at(2));
        assert_eq!(sent(&queue, at(2)).id, "d");
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_the_oldest_go() {
        let mut queue = Queue::default();
        let body: Arc<str> = "x".repeat(10_000).into();
        let mut dropped = 0;
        for number in 0..1_000 {
            dropped += queue.push(number.to_string(), Arc::clone(&body), at(0), at(0));
            assert!(queue.bytes <= LIMIT);
        }
        let kept: Vec<&str> = queue.waiting().map(|(id, ..)| id).collect();
        assert_eq!(
            (kept.len() + dropped, *kept.last().unwrap()),
            (1_000, "999")
        );
        // One that is larger than all is none.
        let huge = "x".repeat(LIMIT).into();
        assert_eq!(
            queue.push("h".to_owned(), huge, at(0), at(0)),
            kept_len(dropped) + 1
        );
        assert_eq!(queue.next(at(0)), Next::Idle);
    }

    fn kept_len(dropped: usize) -> usize {
        1_000 - dropped
    }
}
