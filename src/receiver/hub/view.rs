//! A camera as one viewer's grant opens it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Grant, Hub, lock_of};
use crate::media::source;
use crate::media::unit::Configuration;
use crate::reason::Reason;
use crate::receiver::camera::Camera;
use crate::receiver::viewer::Subscription;
use crate::receiver::viewing::{ViewRequest, Viewing};

/// One camera as one viewer's grant opens it.
#[derive(Debug)]
pub(super) struct View {
    pub(super) hub: Hub,
    pub(super) grant: Arc<Grant>,
    pub(super) camera: Arc<Camera>,
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
                Box::new(Subscription(viewer))
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
