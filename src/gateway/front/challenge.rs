//! Digest and Basic challenges (RFC 7616, RFC 2617) of the field, and their answers.

use super::fix::Fixes;
use crate::config::settings::Credential;

/// Refusals a start may cause: alone at its host 2 (one step down), beside others of a
/// password that has proven right 1 (LOGINS = 3): always below the five after which recorders lock.
pub(super) const fn refusals(proven: bool) -> u32 { if proven { 1 } else { 2 } }

/// A way to sign, without anything secret: what worked is worth remembering for host and user
/// (hosts: so that the next camera there does not step down again).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way { Digest(Algorithm), Basic }

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm { Md5, Md5Sess, Sha256, Sha256Sess, Sha512_256, Sha512_256Sess }

/// What to do with a 401.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send the request again, signed.
    Sign,
    /// The password was refused: hold the account.
    Refused,
    /// Only Basic is offered, and the settings do not allow it: no password was tried.
    BasicOnly,
    /// Nothing known is offered: no password was tried (on this 401).
    Unknown,
}

/// Signs the requests of one connection; kept by the caller for the next one
/// (`carried`) where the camera hangs up after its challenge.
#[derive(Clone, Debug)]
pub(super) struct Signer {}

impl Signer {
    pub(super) fn new(remembered: Option<Way>, refusals: u32, basic_allowed: bool) -> Self;
    /// For the next connection: signs from its first request on.
    pub(super) fn carried(self) -> Self;
    /// Whether `respond` gives something.
    pub(super) fn is_ready(&self) -> bool;
    /// A 401: its WWW-Authenticate headers, and whether the request was signed.
    pub(super) fn challenged<'a>(&mut self, headers: impl Iterator<Item = &'a [u8]>, signed: bool, fixes: &Fixes) -> Next;
    /// A signed request was answered with anything but 401: the way that proved right.
    pub(super) fn accepted(&mut self) -> Option<Way>;
    /// The `Authorization` value; `cnonce` is random.
    pub(super) fn respond(&mut self, credential: &Credential, method: &str, uri: &str, body: &[u8], cnonce: [u8; 8]) -> Option<Vec<u8>>;
    /// "it offered Digest MD5 and Basic; Digest SHA-256 was tried".
    pub(super) fn sentence(&self) -> String;
}
