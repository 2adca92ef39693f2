//! The few ONVIF messages that a key frame takes, as SOAP 1.2. Pure.
//!
//! Of ONVIF's media service version 1 (`ver10`, ONVIF Media Service Specification)
//! is what nearly all cameras have; version 2 (`ver20`) is spoken to those that
//! have it alone. Passwords go as WS-UsernameToken digests (OASIS WSS Username
//! Token Profile 1.0: SHA-1 over nonce, time and password), never in clear.

use std::ops::RangeInclusive;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::civil;
use quick_xml::escape::escape;
use url::Url;

use super::xml::{self, Element, Malformed};
use crate::clock::Wall;
use crate::config::settings::Credential;

const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";
const SCHEMA: &str = "http://www.onvif.org/ver10/schema";
const WSSE: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const PASSWORD_DIGEST: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// Most profiles of one device that are looked at: a recorder of 64 cameras has
/// two or three for each.
const PROFILES_LIMIT: usize = 256;
/// Longest address of a stream that is kept, bytes.
const URI_LIMIT: usize = 2048;
/// Longest text of a camera's that is repeated to a person.
const TEXT_LIMIT: usize = 160;

/// Devices tell their time in whole seconds, µs.
const SECOND: i64 = 1_000_000;
/// A device's clock that is off by less is not the cause of a refusal, µs.
const CLOCK_NEAR: i64 = 1_000_000;

/// The version of the media service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Ver10,
    Ver20,
}

impl Media {
    const fn namespace(self) -> &'static str {
        match self {
            Self::Ver10 => "http://www.onvif.org/ver10/media/wsdl",
            Self::Ver20 => "http://www.onvif.org/ver20/media/wsdl",
        }
    }
}

/// What is asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask<'a> {
    /// Its services, the old way, which version 1 of media is found by.
    Capabilities,
    /// Its services with their versions.
    Services,
    /// Its clock; answered without a password.
    Time,
    /// The profiles: each is a stream.
    Profiles(Media),
    /// Where this profile's stream is.
    StreamUri(Media, &'a str),
    /// A key frame on this profile's stream, at once.
    SynchronizationPoint(Media, &'a str),
}

impl Ask<'_> {
    const fn namespace(self) -> &'static str {
        match self {
            Self::Capabilities | Self::Services | Self::Time => DEVICE,
            Self::Profiles(media)
            | Self::StreamUri(media, _)
            | Self::SynchronizationPoint(media, _) => media.namespace(),
        }
    }

    /// The operation's name in ONVIF.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Capabilities => "GetCapabilities",
            Self::Services => "GetServices",
            Self::Time => "GetSystemDateAndTime",
            Self::Profiles(_) => "GetProfiles",
            Self::StreamUri(..) => "GetStreamUri",
            Self::SynchronizationPoint(..) => "SetSynchronizationPoint",
        }
    }

    /// The `Content-Type` of its message, which in SOAP 1.2 names the action.
    pub(super) fn content_type(self) -> String {
        let (namespace, name) = (self.namespace(), self.name());
        format!("application/soap+xml; charset=utf-8; action=\"{namespace}/{name}\"")
    }

    fn content(self) -> String {
        match self {
            Self::Capabilities => "<o:Category>Media</o:Category>".to_owned(),
            Self::Services => "<o:IncludeCapability>false</o:IncludeCapability>".to_owned(),
            Self::Time | Self::Profiles(_) => String::new(),
            Self::StreamUri(Media::Ver10, token) => format!(
                "<o:StreamSetup><t:Stream>RTP-Unicast</t:Stream><t:Transport><t:Protocol>RTSP</t:Protocol></t:Transport></o:StreamSetup><o:ProfileToken>{}</o:ProfileToken>",
                escape(token)
            ),
            Self::StreamUri(Media::Ver20, token) => format!(
                "<o:Protocol>RTSP</o:Protocol><o:ProfileToken>{}</o:ProfileToken>",
                escape(token)
            ),
            Self::SynchronizationPoint(_, token) => {
                format!("<o:ProfileToken>{}</o:ProfileToken>", escape(token))
            }
        }
    }

    /// The whole message; `security` is the header that [`username_token`] makes.
    pub(super) fn message(self, security: &str) -> String {
        let (namespace, name, content) = (self.namespace(), self.name(), self.content());
        format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:o=\"{namespace}\" xmlns:t=\"{SCHEMA}\"><s:Header>{security}</s:Header><s:Body><o:{name}>{content}</o:{name}></s:Body></s:Envelope>"
        )
    }
}

/// The header that proves to know the password, for one message. `created` is by
/// the camera's clock: it refuses what is some seconds from it.
pub(super) fn username_token(credential: &Credential, nonce: &[u8; 16], created: Wall) -> String {
    let created = created.rfc3339();
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(nonce);
    hash.update(created.as_bytes());
    hash.update(credential.password.expose().as_bytes());
    let password = STANDARD.encode(hash.finish());
    let nonce = STANDARD.encode(nonce);
    let username = escape(credential.username.as_str());
    format!(
        "<w:Security s:mustUnderstand=\"1\" xmlns:w=\"{WSSE}\" xmlns:u=\"{WSU}\"><w:UsernameToken><w:Username>{username}</w:Username><w:Password Type=\"{PASSWORD_DIGEST}\">{password}</w:Password><w:Nonce EncodingType=\"{BASE64}\">{nonce}</w:Nonce><u:Created>{created}</u:Created></w:UsernameToken></w:Security>"
    )
}

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unanswered {
    /// The device says that it can't, or may not.
    #[error("{}", .0.reason)]
    Fault(Fault),
    /// It is not understood.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// It is XML, and not this.
    #[error("it is no SOAP message")]
    NotSoap,
}

/// A SOAP fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Its codes from general to particular, without prefixes.
    codes: Vec<String>,
    /// In the device's words, fit to be repeated.
    pub(super) reason: String,
}

impl Fault {
    /// The password, or the time beside it, is not accepted.
    pub(super) fn is_not_authorized(&self) -> bool {
        let known = |code: &str| {
            ["NotAuthorized", "FailedAuthentication", "InvalidSecurity"]
                .iter()
                .any(|name| code.eq_ignore_ascii_case(name))
        };
        self.codes.iter().any(|code| known(code))
            || self.reason.to_ascii_lowercase().contains("not authorized")
    }

    /// The profile is not there any more.
    pub(super) fn is_profile_gone(&self) -> bool {
        self.codes.iter().any(|code| code == "NoProfile")
    }
}

/// Reads an answer: what is in the body of its envelope.
pub(super) fn answer(document: &[u8]) -> Result<Element, Unanswered> {
    let envelope = xml::read(document)?;
    let body = envelope
        .child("Body")
        .filter(|_| envelope.name == "Envelope");
    let answer = body.and_then(|body| body.children.first());
    let answer = answer.ok_or(Unanswered::NotSoap)?;
    if answer.name == "Fault" {
        return Err(Unanswered::Fault(fault(answer)));
    }
    Ok(answer.clone())
}

/// A fault of SOAP 1.2, or of 1.1, with which some cameras answer.
fn fault(fault: &Element) -> Fault {
    let local = |value: &str| value.rsplit(':').next().unwrap_or_default().to_owned();
    let mut codes: Vec<String> = fault
        .child("faultcode")
        .map(|c| local(&c.text))
        .into_iter()
        .collect();
    let mut level = fault.child("Code");
    while let Some(code) = level {
        codes.extend(code.child("Value").map(|value| local(&value.text)));
        level = code.child("Subcode");
    }
    let said = fault
        .at(&["Reason", "Text"])
        .or_else(|| fault.child("faultstring"));
    let said = said
        .map(|text| printable(&text.text))
        .filter(|said| !said.is_empty());
    let reason = said.unwrap_or_else(|| printable(&codes.join(" ")));
    Fault { codes, reason }
}

/// A camera's words as they may stand in a sentence or a log.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .take(TEXT_LIMIT)
        .collect()
}

/// The media service's path, with its query if it has one. What else its address
/// says is not looked at: a camera behind address translation names one that
/// nobody reaches, and nobody else is to be told the password.
pub(super) fn media_path(answer: &Element, media: Media) -> Option<String> {
    let address = match media {
        Media::Ver10 if answer.name == "GetCapabilitiesResponse" => {
            answer.at(&["Capabilities", "Media", "XAddr"])
        }
        Media::Ver10 | Media::Ver20 => answer
            .children
            .iter()
            .find(|service| {
                let namespace = service.child("Namespace");
                namespace.is_some_and(|name| name.text == media.namespace())
            })
            .and_then(|service| service.child("XAddr")),
    };
    let url = Url::parse(&address?.text).ok()?;
    Some(url[url::Position::BeforePath..url::Position::AfterQuery].to_owned())
}

/// The tokens of the profiles.
pub(super) fn profiles(answer: &Element) -> Vec<String> {
    answer
        .children
        .iter()
        .filter(|child| child.name == "Profiles")
        .filter_map(|profile| profile.token.clone())
        .take(PROFILES_LIMIT)
        .collect()
}

/// Where a profile's stream is, by the device's own account.
pub(super) fn stream_uri(answer: &Element) -> Option<Url> {
    let uri = &answer.find("Uri")?.text;
    (uri.len() <= URI_LIMIT).then(|| Url::parse(uri).ok())?
}

/// The device's clock (UTC).
pub(super) fn time(answer: &Element) -> Option<Wall> {
    let utc = answer.find("UTCDateTime")?;
    let number = |path: [&str; 2]| utc.at(&path)?.text.parse::<i16>().ok();
    let small = |path| number(path).and_then(|n| i8::try_from(n).ok());
    // Leap seconds and the like: what is a second more, here.
    let second = small(["Time", "Second"])?.min(59);
    let time = civil::DateTime::new(
        number(["Date", "Year"])?,
        small(["Date", "Month"])?,
        small(["Date", "Day"])?,
        small(["Time", "Hour"])?,
        small(["Time", "Minute"])?,
        second,
        0,
    );
    let zoned = time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Wall(zoned.timestamp().as_microsecond()))
}

/// Between which offsets, in µs, a device's clock is from ours: it told its time in whole seconds,
/// at some moment from `asked` to `answered`. A machine that is held up between these two sees no
/// difference in it.
pub(super) fn clock_offset(theirs: Wall, asked: Wall, answered: Wall) -> RangeInclusive<i64> {
    let least = theirs.0.saturating_sub(answered.0);
    let most = theirs.0.saturating_sub(asked.0).saturating_add(SECOND);
    least.saturating_sub(CLOCK_NEAR)..=most.saturating_add(CLOCK_NEAR)
}

/// Whether what a device calls `uri` is the stream that the settings call `wanted`:
/// the same path, and every part of the wanted query. Devices add parts of their
/// own (`&unicast=true&proto=Onvif`), and name an address that may not be ours.
pub(super) fn serves(uri: &Url, wanted: &Url) -> bool {
    let path = |url: &Url| url.path().trim_end_matches('/').to_ascii_lowercase();
    let parts: Vec<_> = uri.query_pairs().collect();
    path(uri) == path(wanted) && wanted.query_pairs().all(|part| parts.contains(&part))
}

#[cfg(test)]
mod tests;
