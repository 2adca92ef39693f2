//! Bases, control URLs and redirects, joined as cameras mean them.

use url::Url;
use super::fix::Fixes;

/// The URIs of a session: each list begins with the best, the others are for a refusal
/// (404, 400, 454, 455, 459, 460); at most [`WAYS`] each, no two alike, never empty.
pub(super) struct Uris { pub(super) setup: Vec<String>, pub(super) play: Vec<String> }

/// Where a description came from and what it says of URLs.
pub(super) struct Places<'a> {
    /// The URL that was described.
    pub(super) asked: &'a Url,
    pub(super) content_base: Option<&'a [u8]>,
    pub(super) content_location: Option<&'a [u8]>,
    /// a=control of session and track.
    pub(super) session_control: Option<&'a str>,
    pub(super) track_control: Option<&'a str>,
}

pub(super) fn request_uri(url: &Url) -> String; // without user, password, fragment
impl Uris { pub(super) fn resolve(places: &Places<'_>, fixes: &Fixes) -> Self; }
/// Location of a 3xx: only to the same host and port.
pub(super) fn redirect(asked: &Url, location: &[u8]) -> Option<Url>;
