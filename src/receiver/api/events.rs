//! `GET events`: what changes, as server-sent events, read by fetch.
//!
//! `ready` comes first; then `grant`, `commune` and `request` with the newest
//! view of each (`request` gives the state of one that waits for approval: `waiting`,
//! `granted`, `refused`); `incident` with the reference of one whose record changed; `resync` where some were left out because the client was slow:
//! it should load its lists again; `end` with the reason before the stream ends
//! (the token's end, the designation's, or the daemon's). New settings may revoke: the
//! designation behind the token is judged again then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::auth::Caller;
use super::{Api, Shared, cameras, grants};
use crate::clock::Boot;
use crate::http::Peer;
use crate::policy::desk::{Notice, Progress};
use crate::reason::Reason;
use crate::receiver::control;

/// A comment goes out this often, so that a dead connection is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One client.
struct Listener {
    api: Arc<Api>,
    caller: Caller,
    host: String,
    notices: broadcast::Receiver<Notice>,
    settings: watch::Receiver<Arc<control::Shared>>,
    deadline: Boot,
    /// The designation counts no more: what was told before goes out, then it ends.
    fallen: Option<Reason>,
    phase: Phase,
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
    State(api): Shared,
    caller: Caller,
    axum::Extension(peer): axum::Extension<Peer>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let now = api.options.clock.now();
    let listener = Listener {
        notices: api.options.control.listen(),
        settings: api.options.control.shared.clone(),
        host: grants::host(&headers),
        deadline: now.boot.plus(caller.expires.since(now.wall)),
        fallen: None,
        phase: Phase::Starting,
        _peer: peer,
        api,
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
                return Some(event("ready", &json!({})));
            }
            Phase::Running => {}
            Phase::Over => return None,
        }
        let (clock, token) = (
            self.api.options.clock.clone(),
            self.api.options.token.clone(),
        );
        loop {
            if let Some(reason) = self.fallen {
                let Ok(notice) = self.notices.try_recv() else {
                    return self.end(reason);
                };
                match self.tell(&notice) {
                    Some(event) => return Some(event),
                    None => continue,
                }
            }
            let received = tokio::select! {
                biased;
                () = token.cancelled() => return self.end(Reason::ShuttingDown),
                () = clock.sleep_until(self.deadline) => return self.end(self.caller.end()),
                Ok(()) = self.settings.changed() => {
                    match self.api.judge_again(&self.caller) {
                        Ok(caller) => self.caller = caller,
                        Err(refusal) => self.fallen = Some(refusal.reason),
                    }
                    continue;
                }
                received = self.notices.recv() => received,
            };
            match received {
                Ok(notice) => {
                    if let Some(event) = self.tell(&notice) {
                        return Some(event);
                    }
                }
                Err(RecvError::Lagged(missed)) => {
                    return Some(event("resync", &json!({ "missed": missed })));
                }
                Err(RecvError::Closed) => return self.end(Reason::ShuttingDown),
            }
        }
    }

    fn end(&mut self, reason: Reason) -> Option<Event> {
        self.phase = Phase::Over;
        Some(event("end", &json!({ "reason": reason })))
    }

    /// What this client may know of a change.
    fn tell(&self, notice: &Notice) -> Option<Event> {
        let (own, unit_of) = (&self.caller.designation, self.caller.designation.unit());
        let table = self.api.options.control.table();
        match notice {
            Notice::Grant { grant, unit } if *unit == unit_of => {
                let grant = table.grant(*grant)?;
                let view = self.api.view(grant, grant.is_of(own), &self.host);
                Some(event("grant", &view))
            }
            Notice::Request {
                request,
                unit,
                commune,
                progress,
            } if *unit == unit_of => {
                let mut view = json!({ "request": request, "commune": commune });
                let more = match progress {
                    Progress::Waiting(by) => {
                        json!({ "state": "waiting", "approve_by": by.rfc3339() })
                    }
                    Progress::Granted(grant) => json!({ "state": "granted", "grant": grant }),
                    Progress::Refused(refusal) => json!({
                        "state": "refused",
                        "reason": refusal.reason,
                        "detail": grants::said(refusal),
                    }),
                };
                if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
                    view.extend(more);
                }
                Some(event("request", &view))
            }
            Notice::Commune(commune) => {
                let known = table.communes.get(commune)?;
                let hub = &self.api.options.hub;
                let view = cameras::view(commune, known, own, hub);
                Some(event("commune", &view))
            }
            Notice::Incident(incident, unit) if *unit == unit_of => {
                Some(event("incident", &json!({ "incident": incident })))
            }
            Notice::Grant { .. } | Notice::Request { .. } | Notice::Incident(..) => None,
        }
    }
}

/// JSON holds no line break, so that one `data` line carries it.
fn event<T: serde::Serialize>(name: &str, data: &T) -> Event {
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(data)
}
