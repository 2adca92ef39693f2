//! What `/ready` says of the links and the cameras.

use std::collections::BTreeMap;

use super::Brain;
use crate::format::ids::{CameraId, CentreId};
use crate::link::transport::Transport;
use crate::metrics::health::Check;
use crate::reason::Refusal;

impl Brain {
    pub(super) fn link_check(&self) -> Check {
        let settings = &self.parts.loaded.settings;
        let mut away: Vec<&str> = settings
            .agreements
            .iter()
            .map(|agreement| &agreement.centre)
            .filter(|centre| !self.is_linked(centre))
            .map(CentreId::as_str)
            .collect();
        away.dedup();
        let remedy = "see the log for the cause; fanal check --link tries each step";
        if self.links.is_empty() {
            return Check::failed("no centre is linked", remedy);
        }
        if !away.is_empty() {
            return Check::warning(format!("not linked: {}", away.join(", ")), remedy);
        }
        let alone = self.parts.dialer.alone();
        if !alone.is_empty() {
            return Check::warning(
                format!(
                    "a centre's other receivers serve, but not those at: {}",
                    alone.join(", ")
                ),
                remedy,
            );
        }
        let over_tcp = self
            .links
            .iter()
            .find(|(_, (_, link))| link.transport() == Transport::Tcp);
        match over_tcp {
            Some((receiver, (_, link))) => Check::warning(
                format!(
                    "UDP to {receiver} gets no answer, using TCP: one lost packet holds up every camera"
                ),
                format!("open outbound UDP {}", link.peer_address().port()),
            ),
            None => Check::ok(""),
        }
    }

    /// Whether any receiver of a centre is linked.
    pub(super) fn is_linked(&self, centre: &CentreId) -> bool {
        self.links.keys().any(|receiver| &receiver.centre == centre)
    }

    pub(super) fn camera_check(&self, failed: &BTreeMap<CameraId, Refusal>) -> Check {
        let cameras = self.parts.loaded.settings.cameras.values();
        let invalid: Vec<&str> = cameras
            .filter(|camera| camera.streams.is_err())
            .map(|camera| camera.id.as_str())
            .collect();
        let named: Vec<String> = failed
            .iter()
            .take(20)
            .map(|(camera, refusal)| format!("{camera} ({})", refusal.reason))
            .collect();
        let silent = format!("{} do not answer: {}", failed.len(), named.join(", "));
        if invalid.is_empty() && failed.is_empty() {
            Check::ok("")
        } else if invalid.is_empty() {
            let remedy = "fanal check --config FILE --cameras tries each and says what to do";
            Check::warning(silent, remedy)
        } else {
            let named: Vec<&str> = invalid.iter().take(20).copied().collect();
            let mut detail = format!("{} entries are wrong: {}", invalid.len(), named.join(", "));
            if !failed.is_empty() {
                detail = format!("{detail}; {silent}");
            }
            Check::warning(detail, "fanal check --config FILE --cameras explains each")
        }
    }
}
