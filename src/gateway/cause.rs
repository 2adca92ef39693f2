//! Why a camera failed: statuses, I/O errors and retina's errors to reasons.
//!
//! A detail travels to the operator at the centre, who may not know where a
//! camera is: it names no address, no URL and no user. The technical text goes
//! to the gateway's own log.

use std::time::Duration;

use crate::policy::camera::{Failure, Retry, Step};
use crate::reason::{Reason, Refusal};

/// A failure that is tried again after the ordinary wait.
pub(crate) fn again(reason: Reason, detail: impl Into<String>) -> Failure {
    Failure {
        refusal: Refusal::new(reason, detail),
        retry: Retry::Backoff,
    }
}

/// A failure that trying again would not help.
pub(crate) fn hold(reason: Reason, detail: impl Into<String>) -> Failure {
    Failure {
        refusal: Refusal::new(reason, detail),
        retry: Retry::Hold,
    }
}

/// A camera or recorder without room for another session: it is left alone until
/// it has forgotten the sessions it may still count.
pub(crate) fn busy(detail: impl Into<String>, wait: Duration) -> Failure {
    Failure {
        refusal: Refusal::new(Reason::CameraBusy, detail),
        retry: Retry::After(wait),
    }
}

/// An RTSP status that is no success. `busy_wait` is how long a camera
/// without room is left alone.
pub(crate) fn from_status(status: u16, step: Step, busy_wait: Duration) -> Failure {
    let request = request_of(step);
    match status {
        300..=399 => again(
            Reason::CameraRefused,
            format!(
                "answered {request} with {status}, a redirect that is not followed: only one, to the same host and port; set the URL it leads to"
            ),
        ),
        401 => hold(
            Reason::CameraUnauthorized,
            format!("answered {request} with 401 Unauthorized"),
        ),
        403 => hold(
            Reason::CameraUnauthorized,
            format!("answered {request} with 403 Forbidden: this user may not see the stream"),
        ),
        404 => again(
            Reason::CameraNotFound,
            format!("answered {request} with 404 Not Found"),
        ),
        453 | 503 => busy(format!("answered {request} with {status}"), busy_wait),
        461 => hold(
            Reason::CameraRefused,
            "answered SETUP with 461 Unsupported Transport, over TCP and over UDP: see whether it sends multicast only, and set unicast",
        ),
        _ => again(
            Reason::CameraRefused,
            format!("answered {request} with status {status}"),
        ),
    }
}

/// A status that refuses the URIs at the host and port that are set, of a camera whose
/// own URIs name another host: what is signed for that host would serve there.
pub(crate) fn names_other_host(status: u16, step: Step) -> Failure {
    again(
        Reason::CameraRefused,
        format!(
            "answered {} with {status}; its own URLs name another host or port than its settings, and the password is used only for those: set its URL to the host and port that it names",
            request_of(step)
        ),
    )
}

/// An I/O error on the way to the camera.
pub(crate) fn from_io(error: &std::io::Error, step: Step) -> Failure {
    use std::io::ErrorKind as Kind;
    #[allow(clippy::wildcard_enum_match_arm)] // non-exhaustive, and the rest is one case
    match (step, error.kind()) {
        (Step::Waiting | Step::Connecting, Kind::ConnectionRefused) => again(
            Reason::CameraRefused,
            "refused the connection: nothing listens at its address and port",
        ),
        (Step::Waiting | Step::Connecting, kind) => {
            again(Reason::CameraUnreachable, format!("no connection: {kind}"))
        }
        (Step::NoPicture | Step::Unreadable | Step::NoKeyFrame, _) => ended(),
        (step, _) => again(
            Reason::CameraRefused,
            format!(
                "closed the connection instead of answering {}",
                request_of(step)
            ),
        ),
    }
}

/// The camera ended the session in mid-play.
pub(crate) fn ended() -> Failure {
    again(
        Reason::CameraStalled,
        "the camera ended the session or its connection broke",
    )
}

const fn request_of(step: Step) -> &'static str {
    match step {
        Step::Waiting | Step::Connecting | Step::Describing => "DESCRIBE",
        Step::SettingUp => "SETUP",
        Step::Playing | Step::NoPicture | Step::Unreadable | Step::NoKeyFrame => "PLAY",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_have_their_reason_and_their_retry() {
        let wait = Duration::from_secs(60);
        for (status, reason, retry) in [
            (302, Reason::CameraRefused, Retry::Backoff),
            (401, Reason::CameraUnauthorized, Retry::Hold),
            (403, Reason::CameraUnauthorized, Retry::Hold),
            (404, Reason::CameraNotFound, Retry::Backoff),
            (453, Reason::CameraBusy, Retry::After(wait)),
            (461, Reason::CameraRefused, Retry::Hold),
            (503, Reason::CameraBusy, Retry::After(wait)),
            (500, Reason::CameraRefused, Retry::Backoff),
        ] {
            let failure = from_status(status, Step::SettingUp, wait);
            assert_eq!((failure.refusal.reason, failure.retry), (reason, retry));
            assert!(failure.refusal.detail.contains(&status.to_string()));
        }
    }

    #[test]
    fn a_closed_port_and_a_dead_host_are_told_apart() {
        let error = |kind| std::io::Error::from(kind);
        let refused = from_io(
            &error(std::io::ErrorKind::ConnectionRefused),
            Step::Connecting,
        );
        assert_eq!(refused.refusal.reason, Reason::CameraRefused);
        let dead = from_io(
            &error(std::io::ErrorKind::HostUnreachable),
            Step::Connecting,
        );
        assert_eq!(dead.refusal.reason, Reason::CameraUnreachable);
        let cut = from_io(
            &error(std::io::ErrorKind::ConnectionReset),
            Step::NoKeyFrame,
        );
        assert_eq!(cut.refusal.reason, Reason::CameraStalled);
    }
}
