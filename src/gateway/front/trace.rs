//! The dialogue with a camera as text for an issue on the tracker: without
//! passwords, without addresses and without pictures.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::message::Message;

/// Longest trace, bytes: a start is some KiB.
const TRACE_LIMIT: usize = 1024 * 1024;

/// Which way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    ToCamera,
    FromCamera,
}

/// Collects the dialogue of one camera; clones share it.
#[derive(Clone, Debug)]
pub struct Trace {
    begun: Instant,
    /// Text that must not appear: host, user and password.
    secrets: Vec<String>,
    text: Arc<Mutex<String>>,
}

impl Trace {
    /// An empty trace, in which these texts are replaced.
    pub fn new(begun: Instant, mut secrets: Vec<String>) -> Self {
        secrets.retain(|secret| !secret.is_empty());
        // A long one first: it may contain a short one.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self {
            begun,
            secrets,
            text: Arc::default(),
        }
    }

    /// What was written so far.
    pub fn text(&self) -> String {
        self.text
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn message(&self, way: Way, message: &Message) {
        let arrow = match way {
            Way::ToCamera => '>',
            Way::FromCamera => '<',
        };
        for line in message.traced().lines() {
            self.line(arrow, line);
        }
    }

    /// Something that happened.
    pub(super) fn note(&self, what: &str) {
        self.line('-', what);
    }

    fn line(&self, mark: char, line: &str) {
        let at = self.begun.elapsed().as_secs_f64();
        let mut line = line.to_owned();
        for secret in &self.secrets {
            line = line.replace(secret, "***");
        }
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if text.len() + line.len() < TRACE_LIMIT {
            text.push_str(&format!("{at:9.3} {mark} {line}\n"));
        }
    }
}
