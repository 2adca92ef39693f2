//! Gets the key frames that somebody needs: carries out what
//! [`crate::policy::key_frames`] decides.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use super::Task;
use crate::clock::Boot;
use crate::gateway::onvif::{self, Device};
use crate::gateway::session::Target;
use crate::media::unit::Codec;
use crate::policy::camera::Phase;
use crate::policy::key_frames::{Rules, Way};

/// A key frame being asked for.
pub(super) type Asking = Pin<Box<dyn Future<Output = Result<(), onvif::Error>> + Send>>;

impl Task {
    /// Somebody needs a key frame; [`Task::seek_key_frame`] gets one in its time.
    pub(super) fn want_key_frame(&mut self) {
        let motion = self
            .configuration
            .as_ref()
            .is_some_and(|configuration| configuration.codec != Codec::Jpeg);
        if !motion || self.life.phase() != Phase::Live {
            return; // A start brings one, and of MJPEG every picture is one.
        }
        let onvif = self.stream.lock().target.onvif.is_some();
        if self.keys.has_way(self.now(), onvif) {
            self.keys.handle_wish();
        } else {
            tracing::info!(camera = %self.stream.camera, "a key frame is wanted, and the camera does not begin its sessions with one; set onvif, or shorten its key frame interval");
        }
    }

    /// Asks for a key frame, or opens the session again, if one is needed and it is time.
    pub(super) fn seek_key_frame(&mut self, now: Boot) {
        let playing = matches!(self.life.phase(), Phase::Starting | Phase::Live);
        if !playing || self.session.is_none() || self.asking.is_some() {
            return;
        }
        let target = self.stream.lock().target.clone();
        let limits = &self.pool.limits;
        let rules = Rules {
            near: limits.key_frame_near,
            every: limits.key_frame_every,
        };
        match self.keys.poll_way(now, &rules, target.onvif.is_some()) {
            Some(Way::Ask) => {
                let Some(device) = self.device(&target) else {
                    return;
                };
                let camera = self.stream.camera.clone();
                self.asking = Some(Box::pin(async move {
                    let asked = device.ask(&target.url).await;
                    device.tell(&camera, &asked);
                    asked
                }));
            }
            Some(Way::Reopen) => {
                tracing::info!(camera = %self.stream.camera, "opened again for a key frame");
                self.life.handle_reopen();
            }
            None => {}
        }
    }

    /// What a key frame can be asked of, where the settings name it.
    pub(super) fn device(&self, target: &Target) -> Option<Arc<Device>> {
        let url = target.onvif.as_ref()?;
        Some(self.pool.devices.at(url, target.credential.as_ref()))
    }
}

/// What came of asking for a key frame; never, where nothing is asked.
pub(super) async fn asked(asking: Option<&mut Asking>) -> Result<(), onvif::Error> {
    match asking {
        Some(asking) => asking.await,
        None => poll_fn(|_| Poll::Pending).await,
    }
}
