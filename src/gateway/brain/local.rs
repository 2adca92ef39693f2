//! What is asked over the local socket: who sees what, cuts and approvals.

use std::time::Duration;

use super::super::socket::{self, Answer, Asked, Cut, LinkRow, Relays, Request, Row};
use super::Brain;
use crate::format::ids::RequestId;
use crate::policy::gate::Scope;
use crate::reason::{Reason, Refusal};

impl Brain {
    pub(super) fn answer(&mut self, asked: Asked) {
        let answer = match asked.request {
            Request::Relays {} => Answer::Relays(self.rows()),
            Request::Cut { scope, block } => self.cut(&scope, block, &asked.by),
            Request::Allow { scope } => self.allow(&scope, &asked.by),
            Request::Approve { request } => self.approve(request, &asked.by),
            Request::Refuse { request } => self.refuse(request, &asked.by),
        };
        // The one who asked may be gone.
        let _ = asked.reply.send(answer);
    }

    fn cut(&mut self, scope: &str, block: u64, by: &str) -> Answer {
        let now = self.parts.clock.now();
        let scope: Scope = match scope.parse() {
            Ok(scope) => scope,
            Err(cause) => return refused(Reason::MalformedRequest, cause),
        };
        let block = Duration::from_secs(block);
        match self.parts.gate.handle_cut(&scope, block, by, now) {
            Ok(done) => {
                tracing::warn!(%scope, by, grants = done.grants, "cut");
                Answer::Cut {
                    scope: scope.to_string(),
                    grants: done.grants,
                    until: done.until.rfc3339(),
                }
            }
            Err(error) => refused(error.reason(), error.to_string()),
        }
    }

    fn allow(&mut self, scope: &str, by: &str) -> Answer {
        let scope: Scope = match scope.parse() {
            Ok(scope) => scope,
            Err(cause) => return refused(Reason::MalformedRequest, cause),
        };
        match self.parts.gate.handle_allow(&scope, by) {
            Ok(lifted) => {
                tracing::warn!(%scope, by, lifted, "allowed");
                Answer::Allowed {
                    scope: scope.to_string(),
                    lifted,
                }
            }
            Err(error) => refused(error.reason(), error.to_string()),
        }
    }

    fn approve(&mut self, request: RequestId, by: &str) -> Answer {
        let now = self.parts.clock.now();
        match self.parts.gate.handle_approve(request, by, now) {
            Ok(approved) => {
                let grant = approved.grant;
                tracing::warn!(%request, %grant, by, "approved");
                Answer::Approved {
                    request,
                    grant,
                    cameras: approved.cameras,
                    until: approved.until.rfc3339(),
                }
            }
            Err(error) => refused(error.reason(), error.to_string()),
        }
    }

    fn refuse(&mut self, request: RequestId, by: &str) -> Answer {
        let now = self.parts.clock.now();
        match self.parts.gate.handle_refuse(request, by, now) {
            Ok(()) => {
                tracing::warn!(%request, by, "refused by the commune");
                Answer::NotApproved { request }
            }
            Err(error) => refused(error.reason(), error.to_string()),
        }
    }

    /// The requests that wait, with the words of their grounds.
    fn waiting(&self) -> Vec<socket::Waiting> {
        let now = self.parts.clock.now();
        let grounds = &self.parts.loaded.settings.grounds;
        let rows = self.parts.gate.waiting(now).into_iter();
        rows.map(|row| {
            let words = grounds.get(&row.grounds);
            socket::Waiting {
                grounds_fr: words.map(|words| words.fr.clone()).unwrap_or_default(),
                grounds_en: words.map(|words| words.en.clone()).unwrap_or_default(),
                request: row.request,
                centre: row.centre,
                operator: row.operator,
                incident: row.incident,
                grounds: row.grounds,
                present: row.present,
                cameras: row.cameras,
                refused: row.refused,
                duration: row.duration,
                renews: row.renews,
                agreement: row.agreement,
                since: row.since.rfc3339(),
                approve_by: row.approve_by.rfc3339(),
                seconds_left: row.left.as_secs(),
            }
        })
        .collect()
    }

    pub(super) fn rows(&self) -> Relays {
        let now = self.parts.clock.now();
        let bytes = &self.parts.metrics.relay_bytes_total;
        let rows = self.parts.gate.rows(now).into_iter().map(|row| Row {
            bytes: bytes.with_label_values(&[row.camera.as_str()]).get(),
            grant: row.grant,
            camera: row.camera,
            centre: row.centre,
            operator: row.operator,
            incident: row.incident,
            grounds: row.grounds,
            since: row.since.rfc3339(),
            until: row.until.rfc3339(),
            seconds_left: row.left.as_secs(),
            state: row.state,
            reason: row.refusal.map(|refusal| refusal.reason),
            profile: row.profile,
            profile_cause: row.cause,
        });
        let cuts = self
            .parts
            .gate
            .cuts()
            .into_iter()
            .map(|(scope, until)| Cut {
                scope: scope.to_string(),
                until: until.rfc3339(),
            });
        let links = self.links.iter().map(|(receiver, (_, link))| LinkRow {
            centre: receiver.centre.clone(),
            transport: link.transport(),
        });
        Relays {
            links: links.collect(),
            relays: rows.collect(),
            waiting: self.waiting(),
            cuts: cuts.collect(),
        }
    }
}

fn refused(reason: Reason, detail: String) -> Answer {
    Answer::Refused(Refusal::new(reason, detail))
}
