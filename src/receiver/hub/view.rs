//! A camera as one viewer's grant opens it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Grant, Hub, lock_of};
use crate::media::source;
use crate::media::unit::Configuration;
use crate::reason::Reason;
use crate::receiver::camera::Camera;
use crate::receiver::streams::{self, Need};
use crate::receiver::viewer::Subscription;
use crate::receiver::viewing::{ViewRequest, Viewing};

impl Hub {
    /// Opens a camera for a viewer. Waits until pictures come that he can decode, at most
    /// `timeout`. Fails with `grant_unknown` where the grant does not cover it, with
    /// `codec_unsupported` where the camera gives nothing that he can decode; where nothing
    /// comes in time with `link_lost`, `camera_no_key_frame` if none ever came,
    /// `camera_stalled` if they came before.
    pub async fn view(
        &self,
        request: ViewRequest,
        timeout: Duration,
    ) -> Result<Arc<dyn source::Source>, Reason> {
        let (grant, camera) = {
            let state = self.shared.lock();
            if let Some(reason) = state.stopped {
                return Err(reason);
            }
            let grant = state
                .grants
                .get(&request.grant)
                .ok_or(Reason::GrantUnknown)?;
            let place = (request.commune.clone(), request.camera.clone());
            if !grant.cameras().contains(&place) {
                return Err(Reason::GrantUnknown);
            }
            let camera = state
                .communes
                .get(&request.commune)
                .and_then(|place| place.cameras.get(&request.camera))
                .ok_or(Reason::GrantUnknown)?;
            (Arc::clone(grant), Arc::clone(camera))
        };
        match streams::open(&camera, request.decodes, timeout).await {
            Ok(opened) => Ok(Arc::new(View {
                hub: self.clone(),
                grant,
                camera: opened.stream,
                need: opened.need,
                request,
                configuration: opened.configuration,
            })),
            Err(reason) => {
                let ended = grant.ended.get().copied().or(reason);
                Err(ended.unwrap_or_else(|| self.why_silent(&request.commune, &camera)))
            }
        }
    }
}

/// One camera as one viewer's grant opens it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) hub: Hub,
    pub(super) grant: Arc<Grant>,
    pub(super) camera: Arc<Camera>,
    /// Keeps that stream coming.
    pub(super) need: Need,
    pub(super) request: ViewRequest,
    /// What was known when it was opened.
    pub(super) configuration: Arc<Configuration>,
}

impl source::Source for View {
    fn configuration(&self) -> Arc<Configuration> {
        self.camera
            .known_configuration()
            .unwrap_or_else(|| Arc::clone(&self.configuration))
    }

    fn frame_rate(&self) -> Option<f64> {
        self.camera.frame_rate()
    }

    fn subscribe(&self) -> Box<dyn source::Subscription> {
        let request = &self.request;
        let viewing = Viewing {
            number: self.hub.shared.viewings.fetch_add(1, Ordering::Relaxed),
            grant: request.grant,
            commune: request.commune.clone(),
            camera: request.camera.clone(),
            who: request.who.clone(),
            how: request.how,
            from: request.from.clone(),
        };
        match self.camera.join(viewing, request.packets) {
            Some(viewer) => {
                let number = viewer.viewing.number;
                let mut joining = lock_of(&self.hub.shared.joining);
                joining.insert(number, Arc::downgrade(&viewer));
                drop(joining);
                Box::new(Subscription(viewer, self.need.again()))
            }
            None => Box::new(Over(
                self.grant
                    .ended
                    .get()
                    .copied()
                    .unwrap_or(Reason::GrantUnknown),
            )),
        }
    }
}

/// A subscription to what has ended already.
#[derive(Debug)]
struct Over(Reason);

impl source::Subscription for Over {
    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = source::Event> + Send + '_>> {
        Box::pin(std::future::ready(source::Event::End(self.0)))
    }

    fn try_next(&mut self) -> Option<source::Event> {
        Some(source::Event::End(self.0))
    }

    fn sampled(&self) -> Option<source::Sampled> {
        None
    }
}
