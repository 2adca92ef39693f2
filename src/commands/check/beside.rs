//! What the gateway that runs with the same file tells: a camera that it relays now is not opened a
//! second time, for it may allow one session only.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use crate::commands::probe;
use crate::config::settings;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CentreId};
use crate::gateway::socket::{self, Answer, Request};
use crate::media::relay::Profile;
use crate::reason::{Reason, Refusal};

/// How long its metrics may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stream that the running gateway holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) centre: CentreId,
    /// Why no picture comes, where none does.
    pub(super) reason: Option<Reason>,
}

impl Held {
    /// What to say of the stream, which is not tried.
    pub(super) fn told(&self) -> (Option<Refusal>, String) {
        let centre = &self.centre;
        match self.reason {
            None => (
                None,
                format!(
                    "the running gateway relays it to {centre} now; it is not opened a second time"
                ),
            ),
            Some(reason) => (
                Some(Refusal::from(reason)),
                format!(
                    "the running gateway tries it for {centre} now; it is not opened a second time"
                ),
            ),
        }
    }
}

/// The streams that the running gateway holds; none where none runs.
///
/// # Errors
/// One runs and gives no answer: why.
pub(super) fn held(
    settings: &settings::Gateway,
) -> Result<BTreeMap<(CameraId, Profile), Held>, String> {
    let answer = match socket::ask(&settings.socket, &Request::Relays {}) {
        Ok(answer) => answer,
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error.to_string()),
    };
    let Answer::Relays(relays) = answer else {
        return Err("it does not know what it was asked".to_owned());
    };
    let rows = relays.relays.into_iter();
    let rows = rows.filter(|row| row.state != RelayState::Ended);
    Ok(rows
        .map(|row| {
            let held = Held {
                centre: row.centre,
                reason: row.reason,
            };
            ((row.camera, row.profile), held)
        })
        .collect())
}

/// The value of a series `name{centre="…"}` among the running gateway's metrics; `None`: it has
/// none, or its metrics can't be read.
pub(super) async fn of_centre(
    settings: &settings::Gateway,
    name: &str,
    centre: &str,
) -> Option<f64> {
    let address = settings.metrics;
    let url = url::Url::parse(&format!("http://{address}/metrics")).ok()?;
    let host = address.ip().to_string();
    let read = probe::get(&host, address.port(), &url);
    let text = tokio::time::timeout(PATIENCE, read).await.ok()?.ok()?;
    value(std::str::from_utf8(&text).ok()?, name, centre)
}

fn value(text: &str, name: &str, centre: &str) -> Option<f64> {
    let series = format!("{name}{{centre=\"{centre}\"}} ");
    let mut found = text.lines().filter_map(|line| line.strip_prefix(&series));
    found.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_found_by_its_centre() {
        let text = "# HELP x y\nx{centre=\"corg-1\"} 2\nx{centre=\"corg-13\"} -0.25\n";
        assert_eq!(value(text, "x", "corg-13"), Some(-0.25));
        assert_eq!(value(text, "x", "corg-2"), None);
    }
}
