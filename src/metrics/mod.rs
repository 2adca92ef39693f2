//! Prometheus metrics of both daemons, as interfaces.md 8 lists them.
//!
//! Fields are named as the metrics without their `fanal_gateway_` or
//! `fanal_receiver_`; labels stand in the interface's order. Each daemon has its
//! own registry, so that both can live in one process (`fanal demo`, tests).
//!
//! Series whose labels are known stand at 0 from the start, so that a first
//! event is an increase. Series of single cameras come with a relay and go with
//! it: [`Gateway::forget_camera`], [`Receiver::forget_camera`]. On the frame
//! path keep the handle that `with_label_values` returns instead of looking it
//! up for every frame.

mod copies;
mod ends;
mod gateway;
pub mod health;
mod lists;
mod receiver;
mod register;
pub mod serve;
mod transport;
mod witnesses;

pub use copies::Copies;
pub use ends::Ends;
pub use gateway::{CameraState, Gateway};
pub use lists::{Lists, revocation_check};
pub use receiver::{COMMUNE_CAMERAS, RTSP_REFUSALS, Receiver, STREAM_REFUSALS, ViewerKind};
pub use transport::Transport;
pub use witnesses::Witnesses;

use std::path::Path;

use prometheus::{Encoder, Registry, TextEncoder};

/// What became of a notice, or of an attempt to send it (`retried`).
const NOTICE_OUTCOMES: [&str; 5] = ["delivered", "retried", "expired", "dropped", "gone"];

/// Of steps between a fraction of a millisecond and a timeout.
const STEP_BUCKETS: &[f64] = &[
    0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// What a scrape answers with, text format 0.0.4.
fn encode(registry: &Registry) -> Result<String, prometheus::Error> {
    let mut text = Vec::with_capacity(32 * 1024);
    TextEncoder::new().encode(&registry.gather(), &mut text)?;
    String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
}

/// Bytes an unprivileged process may still write on this directory's file system.
fn free_bytes(directory: &Path) -> Option<i64> {
    let stat = rustix::fs::statvfs(directory).ok()?;
    i64::try_from(stat.f_bavail.saturating_mul(stat.f_frsize)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::{CameraId, CentreId, CommuneId};
    use crate::reason::Reason;

    #[test]
    fn known_series_stand_at_zero_and_cameras_come_and_go() {
        let centre = CentreId::new("corg-13").unwrap();
        let gateway = Gateway::new([&centre], 3).unwrap();
        let text = gateway.encode().unwrap();
        for line in [
            "fanal_build_info{version=\"0.1.0\"} 1",
            "fanal_gateway_link_up{centre=\"corg-13\"} 0",
            "fanal_gateway_link_transport{centre=\"corg-13\",transport=\"tcp\"} 0",
            "fanal_gateway_requests_total{centre=\"corg-13\",outcome=\"refused\",reason=\"bad_signature\"} 0",
            "fanal_gateway_ungranted_bytes_total 0",
            "fanal_gateway_cameras{state=\"idle\"} 3",
            "fanal_gateway_cameras{state=\"invalid\"} 0",
            "fanal_gateway_relays_closed_total{reason=\"grant_cut\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes"));
        let camera = CameraId::new("quai-nord").unwrap();
        gateway
            .relay_bytes_total
            .with_label_values(&["quai-nord"])
            .inc_by(5);
        gateway.count_request(&centre, Err(Reason::StaleRequest));
        assert!(
            gateway
                .encode()
                .unwrap()
                .contains("{camera=\"quai-nord\"} 5")
        );
        gateway.forget_camera(&camera);
        let text = gateway.encode().unwrap();
        assert!(!text.contains("quai-nord"));
        assert!(text.contains("reason=\"stale_request\"} 1"));
    }

    #[test]
    fn receiver_series() {
        let commune = CommuneId::new("berre-l-etang").unwrap();
        let receiver = Receiver::new([&commune]).unwrap();
        receiver.transit_seconds.observe(0.004);
        let text = receiver.encode().unwrap();
        for line in [
            "fanal_receiver_link_up{commune=\"berre-l-etang\"} 0",
            "fanal_receiver_requests_total{outcome=\"granted\",reason=\"\"} 0",
            "fanal_receiver_viewers{kind=\"live\"} 0",
            "fanal_receiver_transit_seconds_bucket{le=\"0.005\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn free_space_is_measured() {
        assert!(free_bytes(Path::new("/")).is_some_and(|free| free > 0));
        assert_eq!(free_bytes(Path::new("/does/not/exist")), None);
    }
}
