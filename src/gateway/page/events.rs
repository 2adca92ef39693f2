//! `GET events`: what changes, as server-sent events, read by fetch.
//!
//! `ready` comes first; then `state`, all that the page shows, whenever something of it changed,
//! `rates`, the cameras' bit rates, and `journal`, how many lines it has. A slow client skips to the newest. `end` with the reason comes
//! before the stream ends (the token's end, the certificate's, or the daemon's). New settings may
//! revoke: the certificate behind the token is judged again then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::json;
use tokio::sync::watch;

use super::publish::Snapshot;
use super::{Handle, Page, Person, Shared};
use crate::clock::Boot;
use crate::http::Peer;
use crate::http::bearer::Caller;
use crate::reason::Reason;

/// A comment goes out this often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One client.
struct Listener {
    page: Arc<Page>,
    caller: Caller,
    newest: watch::Receiver<Arc<Snapshot>>,
    settings: watch::Receiver<Arc<Shared>>,
    deadline: Boot,
    phase: Phase,
    state: Arc<str>,
    rates: Arc<str>,
    journal: Arc<str>,
    /// Its place among the connections.
    _peer: Peer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Over,
}

pub(super) async fn listen(
    State(page): Handle,
    Person(caller): Person,
    axum::Extension(peer): axum::Extension<Peer>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let now = page.clock.now();
    let mut newest = page.newest.clone();
    newest.mark_changed();
    let listener = Listener {
        newest,
        settings: page.shared.clone(),
        deadline: now.boot.plus(caller.expires.since(now.wall)),
        phase: Phase::Starting,
        state: Arc::default(),
        rates: Arc::default(),
        journal: Arc::default(),
        _peer: peer,
        page,
        caller,
    };
    let events = unfold(listener, |mut listener| async move {
        let event = listener.next().await?;
        Some((Ok(event), listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

impl Listener {
    async fn next(&mut self) -> Option<Event> {
        match self.phase {
            Phase::Starting => {
                self.phase = Phase::Running;
                return Some(Event::default().event("ready").data("{}"));
            }
            Phase::Running => {}
            Phase::Over => return None,
        }
        let (clock, token) = (self.page.clock.clone(), self.page.token.clone());
        loop {
            if let Some(event) = self.news() {
                return Some(event);
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return self.end(Reason::ShuttingDown),
                () = clock.sleep_until(self.deadline) => return self.end(self.caller.end()),
                Ok(()) = self.settings.changed() => {
                    match self.page.judge_again(&self.caller) {
                        Ok(caller) => self.caller = caller,
                        Err(refusal) => return self.end(refusal.reason),
                    }
                }
                changed = self.newest.changed() => if changed.is_err() {
                    return self.end(Reason::ShuttingDown);
                },
            }
        }
    }

    /// What this client has not been told.
    fn news(&mut self) -> Option<Event> {
        let newest = Arc::clone(&self.newest.borrow_and_update());
        for (name, told, now) in [
            ("state", &mut self.state, &newest.state),
            ("rates", &mut self.rates, &newest.rates_text),
            ("journal", &mut self.journal, &newest.journal),
        ] {
            if told != now {
                *told = Arc::clone(now);
                // JSON holds no line break, so that one `data` line carries it.
                return Some(Event::default().event(name).data(&**now));
            }
        }
        None
    }

    fn end(&mut self, reason: Reason) -> Option<Event> {
        self.phase = Phase::Over;
        let said = json!({ "reason": reason }).to_string();
        Some(Event::default().event("end").data(said))
    }
}
