//! What the centre's metrics tell of each commune.

use super::brain::Brain;
use crate::config::settings::Camera;
use crate::format::control::CameraInfo;
use crate::format::ids::CommuneId;
use crate::link::transport::Transport;
use crate::metrics::COMMUNE_CAMERAS;
use crate::policy::desk::Commune;

impl Brain {
    /// Brings the communes' series up to date; cameras are counted only when a list changed.
    pub(super) fn show_communes(&mut self) {
        let version = Some(self.desk.communes_version());
        let is_new = std::mem::replace(&mut self.state.counted, version) != version;
        for (id, commune) in self.desk.communes() {
            let version = commune.version.as_deref().unwrap_or_default();
            let transport = self.hub.transport(id).filter(|_| commune.online);
            let transport = transport.map(Transport::as_str);
            self.metrics.show_commune(id, Some((version, transport)));
            if is_new {
                self.count_cameras(id, commune);
            }
        }
    }

    fn count_cameras(&self, id: &CommuneId, commune: &Commune) {
        // The test camera is none of the commune's.
        let cameras = commune.cameras.iter().flat_map(|list| list.iter());
        let cameras = cameras.filter(|info| info.id.as_str() != Camera::TEST);
        let states: Vec<&str> = cameras.map(state).collect();
        for state in COMMUNE_CAMERAS {
            let count = states.iter().filter(|one| **one == state).count();
            let gauge = &self.metrics.commune_cameras;
            let gauge = gauge.with_label_values(&[id.as_str(), state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// One of [`COMMUNE_CAMERAS`].
fn state(info: &CameraInfo) -> &'static str {
    match (&info.unusable, &info.failed) {
        (None, None) => "usable",
        (None, Some(_)) => "failed",
        (Some(refusal), _) => {
            let mut known = COMMUNE_CAMERAS.into_iter();
            let same = known.find(|state| *state == refusal.reason.code());
            same.unwrap_or("unusable")
        }
    }
}
