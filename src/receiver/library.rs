//! Who may see what over RTSP: grants, each by its own credentials, and VMS accounts.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use super::control::Table;
use super::credentials::Credentials;
use super::hub::Hub;
use super::viewing::ViewRequest;
use super::vms::Vms;
use crate::clock::Clock;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CommuneId, GrantId};
use crate::media::source::Source;
use crate::media::unit::Codecs;
use crate::policy::desk::Grant;
use crate::reason::Reason;
use crate::rtsp::transport::Transport;
use crate::rtsp::{self, OpenError, OpenRequest};
use crate::secret::Secret;

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
    /// VMS accounts.
    pub(super) vms: Vms,
}

/// What a path and user name, if they fit a grant.
struct Place {
    grant: Arc<Grant>,
    commune: CommuneId,
    camera: CameraId,
}

/// The grant whose user this is. Other spellings of a UUID are other users.
fn grant_of(user: &str) -> Option<GrantId> {
    let id: GrantId = user.parse().ok()?;
    (id.to_string() == user).then_some(id)
}

impl Library {
    /// The grant and the camera that this user's path names. Its password was right, so
    /// the grant was given once; ten minutes after its end its credentials are none.
    fn place(&self, user: &str, path: &str) -> Result<Place, OpenError> {
        let id = grant_of(user).ok_or(OpenError::Unauthorized)?;
        let table = self.table.borrow();
        let grant = table.grant(id);
        let grant = grant.filter(|grant| grant.is_told(self.clock.now()));
        let grant = grant.ok_or(OpenError::Unauthorized)?;
        if let Some(end) = &grant.end {
            return Err(OpenError::Ended(end.refusal.reason));
        }
        let names = path.split_once('/').and_then(|(commune, camera)| {
            let commune = CommuneId::new(commune).ok()?;
            Some((commune, CameraId::new(camera).ok()?))
        });
        let named = names.filter(|(commune, camera)| {
            grant.commune == *commune && grant.camera(camera).is_some()
        });
        let (commune, camera) = named.ok_or(OpenError::NotFound)?;
        Ok(Place {
            grant: Arc::clone(grant),
            commune,
            camera,
        })
    }

    async fn open(&self, request: OpenRequest) -> Result<Arc<dyn Source>, OpenError> {
        if grant_of(&request.user).is_none() {
            return self.vms.open(&request).await;
        }
        let place = self.place(&request.user, &request.path)?;
        if let Some(reason) = self.hub.viewers_refused() {
            return Err(OpenError::Refused(reason));
        }
        if place.grant.left(self.clock.now()).is_zero() {
            return Err(OpenError::Ended(Reason::GrantExpired));
        }
        let part = place.grant.camera(&place.camera);
        if let Some(part) = part.filter(|part| !part.is_open()) {
            let refusal = part.refusal.as_ref();
            let reason = refusal.map_or(Reason::GrantCut, |refusal| refusal.reason);
            return Err(OpenError::Ended(reason));
        }
        let view = ViewRequest {
            grant: place.grant.id,
            commune: place.commune,
            camera: place.camera,
            who: place.grant.operator.number.clone(),
            // Before PLAY nobody watches yet.
            how: if request.transport.is_some_and(Transport::is_udp) {
                "rtsp_udp"
            } else {
                "rtsp"
            },
            from: request.peer.to_string(),
            packets: true,
            decodes: Codecs::ALL,
        };
        let opened = self.view(view).await;
        let source = opened.map_err(|reason| self.why_not(&request, reason))?;
        let codec = source.configuration().codec;
        if request
            .described
            .is_some_and(|described| described != codec)
        {
            return Err(OpenError::Refused(Reason::StreamChanged));
        }
        Ok(source)
    }

    /// Waits for the picture; after a restart first for the gateway, which sends
    /// its proof again once it is back.
    async fn view(&self, request: ViewRequest) -> Result<Arc<dyn Source>, Reason> {
        let deadline = Instant::now() + self.hub.waits().open;
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
        let place = match self.place(&request.user, &request.path) {
            Ok(place) => place,
            Err(ended) => return ended,
        };
        let told = place
            .grant
            .camera(&place.camera)
            .filter(|part| part.state != RelayState::Live)
            .and_then(|part| part.refusal.as_ref());
        OpenError::Refused(match (told, reason) {
            (Some(refusal), _) => refusal.reason,
            // The pictures go to another receiver, and did not come here meanwhile.
            (None, Reason::GrantUnknown) if place.grant.elsewhere => Reason::OtherReceiver,
            // Granted, but its gateway has not sent its proof again yet.
            (None, Reason::GrantUnknown) => Reason::LinkLost,
            (None, reason) => reason,
        })
    }
}

impl rtsp::Library for Library {
    /// Of any grant, ended and forgotten ones too: who shows it right held that grant
    /// once and is no guesser, so that a stale URL locks nobody out.
    fn password(&self, user: &str, from: IpAddr) -> Option<Secret> {
        let Some(id) = grant_of(user) else {
            return self.vms.password(user, from);
        };
        let table = self.table.borrow();
        let grant = table.grant(id);
        Some(grant.map_or_else(
            || self.credentials.password(id, 0),
            |grant| self.credentials.of(grant),
        ))
    }

    fn open(
        &self,
        request: OpenRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + '_>> {
        Box::pin(self.open(request))
    }
}
