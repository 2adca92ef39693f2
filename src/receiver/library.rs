//! Who may see what over RTSP: only grants, each by its own credentials.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::control::Table;
use super::credentials::Credentials;
use super::hub::{Hub, ViewRequest};
use crate::clock::Clock;
use crate::proto::control::RelayState;
use crate::proto::desk::Grant;
use crate::proto::ids::{CameraId, CommuneId, GrantId};
use crate::reason::Reason;
use crate::rtsp::{self, OpenError, OpenRequest, Source};
use crate::secret::Secret;

/// How long a DESCRIBE waits for the first configuration: players give up after 5 s.
const OPEN_TIMEOUT: Duration = Duration::from_millis(4_500);

/// The receiver's library.
#[derive(Debug)]
pub struct Library {
    /// What is granted.
    pub table: watch::Receiver<Arc<Table>>,
    /// The passwords.
    pub credentials: Credentials,
    /// The pictures.
    pub hub: Hub,
    /// The time.
    pub clock: Clock,
}

/// What a path and user name, if they fit a grant.
struct Place {
    grant: Arc<Grant>,
    commune: CommuneId,
    camera: CameraId,
}

impl Library {
    /// The grant, live or ended a short while ago, that covers this path.
    fn place(&self, user: &str, path: &str) -> Option<Place> {
        let id: GrantId = user.parse().ok()?;
        // Other spellings of a UUID are other users.
        if id.to_string() != user {
            return None;
        }
        let (commune, camera) = path.split_once('/')?;
        let (commune, camera) = (CommuneId::new(commune).ok()?, CameraId::new(camera).ok()?);
        let table = self.table.borrow();
        let grant = table.grant(id)?;
        let covers = grant.commune == commune
            && grant.camera(&camera).is_some()
            && grant.is_told(self.clock.now());
        covers.then(|| Place {
            grant: Arc::clone(grant),
            commune,
            camera,
        })
    }

    async fn open(&self, request: OpenRequest) -> Result<Arc<dyn Source>, OpenError> {
        let place = self.place(&request.user, &request.path);
        let place = place.ok_or_else(|| error(401, Reason::GrantUnknown))?;
        if let Some(end) = &place.grant.end {
            return Err(error(403, end.refusal.reason));
        }
        if place.grant.left(self.clock.now()).is_zero() {
            return Err(error(403, Reason::GrantExpired));
        }
        let part = place.grant.camera(&place.camera);
        if let Some(part) = part.filter(|part| !part.is_open()) {
            let refusal = part.refusal.as_ref();
            let reason = refusal.map_or(Reason::GrantCut, |refusal| refusal.reason);
            return Err(error(403, reason));
        }
        let view = ViewRequest {
            grant: place.grant.id,
            commune: place.commune,
            camera: place.camera,
            who: place.grant.operator.number.clone(),
            how: "rtsp",
            from: request.peer.to_string(),
            packets: true,
        };
        let opened = self.view(view).await;
        opened.map_err(|reason| self.why_not(&request, reason))
    }

    /// Waits for the picture; after a restart first for the gateway, which sends
    /// its proof again once it is back.
    async fn view(&self, request: ViewRequest) -> Result<Arc<dyn Source>, Reason> {
        let deadline = Instant::now() + OPEN_TIMEOUT;
        let mut table = self.table.clone();
        loop {
            table.borrow_and_update();
            let left = deadline.saturating_duration_since(Instant::now());
            let opened = self.hub.view(request.clone(), left).await;
            let is_live = |table: &Table| {
                let grant = table.grant(request.grant);
                grant.is_some_and(|grant| grant.end.is_none())
            };
            match opened {
                Err(Reason::GrantUnknown) if is_live(&self.table.borrow()) => {}
                opened => return opened,
            }
            match tokio::time::timeout_at(deadline, table.changed()).await {
                Ok(Ok(())) => {}
                // Too late, or the daemon stops.
                Ok(Err(_)) | Err(_) => return Err(Reason::GrantUnknown),
            }
        }
    }

    /// The true cause of a picture that did not come: what the gateway said of
    /// the camera rather than that nothing came.
    fn why_not(&self, request: &OpenRequest, reason: Reason) -> OpenError {
        let Some(place) = self.place(&request.user, &request.path) else {
            return error(401, Reason::GrantUnknown);
        };
        if let Some(end) = &place.grant.end {
            return error(403, end.refusal.reason);
        }
        let told = place
            .grant
            .camera(&place.camera)
            .filter(|part| part.state != RelayState::Live)
            .and_then(|part| part.refusal.as_ref());
        match (told, reason) {
            (Some(refusal), _) => error(503, refusal.reason),
            // Granted, but its gateway has not sent its proof again yet.
            (None, Reason::GrantUnknown) => error(503, Reason::LinkLost),
            (None, reason) => error(503, reason),
        }
    }
}

impl rtsp::Library for Library {
    fn password(&self, user: &str, path: &str) -> Option<Secret> {
        let place = self.place(user, path)?;
        Some(self.credentials.password(place.grant.id))
    }

    fn open(
        &self,
        request: OpenRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + '_>> {
        Box::pin(self.open(request))
    }
}

fn error(status: u16, reason: Reason) -> OpenError {
    OpenError {
        status,
        reason: Some(reason),
    }
}
