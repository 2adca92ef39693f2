//! What the commune's page asks, and what people sign there.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::super::page::view::{CameraState, CameraView, Health, LinkView, ROWS, Relay, View};
use super::super::page::{Ask, Shared};
use super::Brain;
use crate::format::ids::CameraId;
use crate::policy::gate::decision::Done;
use crate::reason::Refusal;

/// What the brain holds for the page.
#[derive(Debug)]
pub(in crate::gateway) struct Desk {
    /// What the page goes by.
    pub(in crate::gateway) shared: watch::Sender<Arc<Shared>>,
    /// Raised when what the page shows may have changed.
    pub(in crate::gateway) stirred: watch::Sender<u64>,
    /// Who waits for what a statement did. At most as many as the page's connections.
    pub(in crate::gateway) waiting: BTreeMap<u64, oneshot::Sender<Result<Done, Refusal>>>,
    /// The next one's id.
    pub(in crate::gateway) next: u64,
    /// Since when the daemon counts, RFC 3339.
    pub(in crate::gateway) since: String,
}

impl Brain {
    pub(super) fn page(&mut self, ask: Ask) {
        match ask {
            // The one who asked may be gone.
            Ask::View(reply) => drop(reply.send(self.view())),
            Ask::Health(reply) => drop(reply.send(self.health())),
            Ask::Order(order, text, reply) => {
                let now = self.parts.clock.now();
                let desk = &mut self.parts.desk;
                let id = desk.next;
                desk.next += 1;
                desk.waiting.insert(id, reply);
                self.parts.gate.handle_order(id, order, &text, now);
            }
        }
    }

    pub(super) fn answer_order(&mut self, id: u64, result: Result<Done, Refusal>) {
        match &result {
            Ok(done) => tracing::warn!(?done, "decided on the commune's page"),
            Err(refusal) => {
                tracing::info!(%refusal, "a decision of the commune's page has no effect")
            }
        }
        if let Some(reply) = self.parts.desk.waiting.remove(&id) {
            let _ = reply.send(result);
        }
    }

    /// What the page shows may have changed.
    pub(super) fn stir(&self) {
        self.parts
            .desk
            .stirred
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn view(&self) -> View {
        let settings = &self.parts.loaded.settings;
        let mut asked = self.rows();
        let left_out = asked.relays.len().saturating_sub(ROWS);
        asked.relays.truncate(ROWS);
        let relays = asked.relays.into_iter().map(|row| {
            let words = settings.grounds.get(&row.grounds);
            Relay {
                name: self.name_of(&row.camera),
                grounds_fr: words.map(|words| words.fr.clone()).unwrap_or_default(),
                grounds_en: words.map(|words| words.en.clone()).unwrap_or_default(),
                bitrate: None,
                row,
            }
        });
        View {
            relays: relays.collect(),
            left_out,
            waiting: asked.waiting,
            cuts: asked.cuts,
            links: self.centres(),
            lines: self.parts.writer.stats().entries,
        }
    }

    fn name_of(&self, camera: &CameraId) -> String {
        let camera_of = self.parts.loaded.settings.camera(camera);
        camera_of.map_or_else(|| camera.to_string(), |camera| camera.name.clone())
    }

    fn centres(&self) -> Vec<LinkView> {
        let agreements = self.parts.loaded.settings.agreements.iter();
        let mut centres: Vec<_> = agreements.map(|one| one.centre.clone()).collect();
        centres.sort_unstable();
        centres.dedup();
        let links = centres.into_iter().map(|centre| {
            let links = self.links.iter();
            let mut links = links.filter(|(receiver, _)| receiver.centre == centre);
            // Of several receivers any one will do.
            let link = links.next();
            LinkView {
                up: link.is_some(),
                transport: link.map(|(_, (_, link))| link.transport()),
                centre,
            }
        });
        links.collect()
    }

    fn health(&self) -> Health {
        let now = self.parts.clock.now();
        let relayed: BTreeMap<_, _> = (self.parts.gate.rows(now).into_iter())
            .map(|row| (row.camera.clone(), row))
            .collect();
        let cameras = self.parts.loaded.settings.cameras.values();
        let cameras = cameras.map(|camera| {
            let (state, detail) = match (&camera.streams, relayed.get(&camera.id)) {
                (Err(cause), _) => (CameraState::Other("invalid"), Some(cause.clone())),
                (Ok(_), Some(row)) => {
                    let cause = row.refusal.as_ref().map(ToString::to_string);
                    (CameraState::Relayed(row.state), cause)
                }
                (Ok(_), None) if !camera.mask_verified => (CameraState::Other("masks"), None),
                (Ok(_), None) => match self.parts.health.cause(&camera.id) {
                    Some(refusal) => (CameraState::Other("failed"), Some(refusal.to_string())),
                    None => (CameraState::Other("idle"), None),
                },
            };
            CameraView {
                camera: camera.id.clone(),
                name: camera.name.clone(),
                state,
                detail,
            }
        });
        Health {
            links: self.centres(),
            cameras: cameras.collect(),
            since: self.parts.desk.since.clone(),
            ungranted_bytes: self.parts.metrics.ungranted_bytes_total.get(),
        }
    }
}
