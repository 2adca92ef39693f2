//! The hub's events on their way to the control plane: in order, none lost, and
//! the frame path never waits for them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use super::viewing::Event;

/// Events that wait here beyond what the channel holds, before somebody looks.
const ALARM: usize = 1024;

/// Keeps what the channel has no room for. Its length is bounded by what can
/// happen at once: two events a viewer, two a camera.
#[derive(Debug)]
pub(super) struct Outbox {
    channel: mpsc::Sender<Event>,
    waiting: Mutex<VecDeque<Event>>,
}

impl Outbox {
    /// Events go to `channel`.
    pub(super) fn new(channel: mpsc::Sender<Event>) -> Self {
        Self {
            channel,
            waiting: Mutex::default(),
        }
    }

    /// Puts an event behind those that wait, and sends what can be sent.
    pub(super) fn put(&self, event: Event) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.push_back(event);
        if waiting.len() == ALARM {
            tracing::error!("the control plane does not take the hub's events");
        }
        self.flush(&mut waiting);
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn retry(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.flush(&mut waiting);
    }

    fn flush(&self, waiting: &mut VecDeque<Event>) {
        while let Some(event) = waiting.pop_front() {
            match self.channel.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    waiting.push_front(event);
                    return;
                }
                // The daemon stops: nobody is left to tell.
                Err(mpsc::error::TrySendError::Closed(_)) => waiting.clear(),
            }
        }
    }
}
