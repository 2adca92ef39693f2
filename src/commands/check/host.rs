//! The hosts of the cameras that are tried, and what they say of their limits.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Semaphore;
use url::Url;

use crate::config::settings;

/// Sessions at once with a host that has no `[[host]]` entry.
const DEFAULT_SESSIONS: u32 = 4;
/// Streams of one host from which its limit of sessions is worth a look at its manual.
const MANY_STREAMS: usize = 8;
/// A camera or recorder by its address.
#[derive(Debug)]
pub(super) struct Host {
    address: String,
    /// Sessions that may be open at once.
    pub(super) sessions: Semaphore,
    /// Of `[[host]]`.
    has_limit: bool,
    /// Its streams in the settings.
    streams: AtomicUsize,
    /// Sessions open now: of this trial and of the running gateway.
    open: AtomicUsize,
    /// The fewest that were open when it refused one more.
    refused_at: Mutex<Option<usize>>,
}

impl Host {
    /// As the settings have it, by a URL of its cameras.
    pub(super) fn of(settings: &settings::Gateway, url: &Url) -> Self {
        let address = url.host_str().unwrap_or_default().to_owned();
        let rule = settings.hosts.iter().find(|rule| rule.address == address);
        let limit = rule.and_then(|rule| rule.max_sessions);
        let sessions = usize::try_from(limit.unwrap_or(DEFAULT_SESSIONS)).unwrap_or(1);
        Self {
            has_limit: limit.is_some(),
            ..Self::with(&address, sessions)
        }
    }

    /// One without `[[host]]`, with so many sessions at once.
    pub(super) fn with(address: &str, sessions: usize) -> Self {
        Self {
            address: address.to_owned(),
            sessions: Semaphore::new(sessions),
            has_limit: false,
            streams: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            refused_at: Mutex::default(),
        }
    }

    /// One more of its streams is in the settings.
    pub(super) fn add_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// A session begins to be tried.
    pub(super) fn begin(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// It is over; how many others are open.
    pub(super) fn end(&self) -> usize {
        self.open.fetch_sub(1, Ordering::Relaxed).saturating_sub(1)
    }

    /// The running gateway has a session there.
    pub(super) fn hold(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
        // One place always stays, or nothing of this host could be tried.
        if self.sessions.available_permits() > 1 {
            self.sessions.forget_permits(1);
        }
    }

    /// It refused a session while so many others were open.
    pub(super) fn busy(&self, others: usize) {
        let mut refused = self
            .refused_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *refused = Some(refused.map_or(others, |least| least.min(others)));
    }

    /// What to write about its sessions.
    pub(super) fn advice(&self) -> Option<String> {
        let address = &self.address;
        let refused = *self
            .refused_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let streams = self.streams.load(Ordering::Relaxed);
        match refused {
            Some(0) => Some(format!(
                "{address}: it refused a session though fanal had none open there: other viewers take them; see which, or how many it allows"
            )),
            Some(open) => Some(format!(
                "{address}: it refused a session while {open} were open there: write [[host]] address = \"{address}\", max_sessions = {open}"
            )),
            None if !self.has_limit && streams >= MANY_STREAMS => Some(format!(
                "{address}: {streams} streams are on this host, and no [[host]] says how many sessions it allows; see its manual and set max_sessions, or requests will find it busy"
            )),
            None => None,
        }
    }
}
