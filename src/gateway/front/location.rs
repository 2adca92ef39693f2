//! Bases, control URLs and redirects, joined as cameras mean them (RFC 2326 C.1.1,
//! and what ffmpeg and live555 make of it: cameras are tried with those).
//!
//! The texts are for requests only: the connection stays with the address that is
//! set, whichever host a camera writes. Digest covers the text, so with a password none
//! that names another host is asked for ([`Uris::stay_at`]): a camera could carry the
//! answer to that host, which takes it where the password is the same.

use std::net::{IpAddr, SocketAddr};

use url::Url;

use super::fix::{Fix, Fixes};

/// Most URIs tried for one request.
const WAYS_LIMIT: usize = 6;
/// Longest URI taken from a camera, bytes.
const URI_LIMIT: usize = 2048;

/// Where a description came from, and what it says of places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places<'a> {
    /// The URL that was described.
    pub(super) asked: &'a Url,
    /// Header of the answer.
    pub(super) content_base: Option<&'a [u8]>,
    /// Header of the answer.
    pub(super) content_location: Option<&'a [u8]>,
    /// `a=control` of the session.
    pub(super) session_control: Option<&'a str>,
    /// `a=control` of the track.
    pub(super) track_control: Option<&'a str>,
}

/// The URIs of a session. Each list begins with the best; the others are for a
/// refusal that may be for the URI (400, 404, 451, 454, 459, 460). No two are alike,
/// none is empty, and there are at most six.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Uris {
    /// For SETUP.
    pub(super) setup: Vec<String>,
    /// For PLAY, keepalives and TEARDOWN: of the whole session.
    pub(super) play: Vec<String>,
}

impl Uris {
    /// Joins what was said.
    pub(super) fn resolve(places: &Places<'_>, fixes: &Fixes) -> Self {
        let asked = request_uri(places.asked);
        let said = [places.content_base, places.content_location];
        let written = said.into_iter().flatten().find_map(|said| {
            let place = Place::read(said, &asked);
            if !matches!(place, Place::Absolute(_)) || is_odd(said) {
                fixes.note(Fix::ContentBase);
            }
            (place != Place::Same).then_some(place)
        });
        let base = written.map_or_else(|| asked.clone(), |place| place.against(&asked));

        let read = |control: Option<&str>| {
            control.map_or(Place::Same, |control| {
                Place::read(control.as_bytes(), &asked)
            })
        };
        let (session, track) = (read(places.session_control), read(places.track_control));
        if matches!(track, Place::Rooted(_))
            || places.track_control.is_some_and(|c| is_odd(c.as_bytes()))
        {
            fixes.note(Fix::ControlUrl);
        }
        let whole = session.below(&base);
        let tracks = track.below(&base);

        let mut setup = Ways::default();
        setup.add(tracks.first());
        if let Place::Absolute(session) = &session {
            setup.add(track.below(session).first());
        }
        let beside = track.below(&asked);
        setup.add(beside.first());
        setup.extend(&tracks);
        setup.extend(&beside);
        let best = setup.0.first().cloned().unwrap_or_default();
        setup.add(Some(&with_origin(&best, &asked)));
        setup.add(Some(&other_slash(&best)));

        let mut play = Ways::default();
        play.add(whole.first());
        play.add(Some(&base));
        play.add(Some(&asked));
        play.add(whole.first().map(|whole| other_slash(whole)).as_ref());
        play.add(setup.0.first());
        Self {
            setup: setup.0,
            play: play.0,
        }
    }

    /// Puts the own host and port (`asked`, or `peer`, where the connection leads) into
    /// each URI that names another. `true`: one did.
    pub(super) fn stay_at(&mut self, asked: &Url, peer: Option<SocketAddr>, fixes: &Fixes) -> bool {
        let asked = request_uri(asked);
        let mut named_other = false;
        for uris in [&mut self.setup, &mut self.play] {
            let mut own = Ways::default();
            for uri in uris.iter() {
                if is_own(uri, &asked, peer) {
                    own.add(Some(uri));
                } else {
                    named_other = true;
                    fixes.note(Fix::ControlUrl);
                    own.add(Some(&with_origin(uri, &asked)));
                }
            }
            *uris = own.0;
        }
        named_other
    }
}

/// Whether a URI names the host and port of `asked`, as written there, or of `peer`.
fn is_own(uri: &str, asked: &str, peer: Option<SocketAddr>) -> bool {
    let named = |uri: &str| {
        let named = authority(uri).to_ascii_lowercase();
        named.strip_suffix(":554").unwrap_or(&named).to_owned()
    };
    let named_by_uri = named(uri);
    let literal = named_by_uri.trim_matches(['[', ']']).parse::<IpAddr>();
    let address = literal.map(|ip| SocketAddr::new(ip, 554));
    let address = address.or_else(|_| named_by_uri.parse::<SocketAddr>());
    named_by_uri == named(asked)
        || peer.is_some_and(|peer| {
            let is_peer = |named: SocketAddr| {
                named.ip().to_canonical() == peer.ip().to_canonical() && named.port() == peer.port()
            };
            address.is_ok_and(is_peer)
        })
}

/// URIs to try, in their order.
#[derive(Default)]
struct Ways(Vec<String>);

impl Ways {
    fn add(&mut self, way: Option<&String>) {
        if let Some(way) = way
            && self.0.len() < WAYS_LIMIT
            && !way.is_empty()
            && !self.0.contains(way)
        {
            self.0.push(way.clone());
        }
    }

    fn extend(&mut self, ways: &[String]) {
        for way in ways {
            self.add(Some(way));
        }
    }
}

/// The text of a URL in a request: without user, password and fragment.
pub(super) fn request_uri(url: &Url) -> String {
    let mut plain = url.clone();
    plain.set_fragment(None);
    let text = plain.to_string();
    strip_user(&text)
}

/// Where a redirect leads: another path of the same host and port, else nowhere.
pub(super) fn redirect(asked: &Url, location: &[u8]) -> Option<Url> {
    let text = clean(location)?;
    let text = strip_user(undoubled(&text));
    let url = Url::parse(&request_uri(asked)).ok()?.join(&text).ok()?;
    let port = |url: &Url| url.port().unwrap_or(554);
    let same = url.scheme() == asked.scheme()
        && url.host_str()?.eq_ignore_ascii_case(asked.host_str()?)
        && port(&url) == port(asked);
    same.then_some(url)
}

/// How a camera names a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing, or `*`.
    Same,
    /// With scheme and host.
    Absolute(String),
    /// From the first slash on.
    Rooted(String),
    /// Below another.
    Relative(String),
}

impl Place {
    fn read(said: &[u8], asked: &str) -> Self {
        let Some(text) = clean(said) else {
            return Self::Same;
        };
        if text == "*" {
            return Self::Same;
        }
        let text = undoubled(&text);
        let scheme = text.split(':').next().unwrap_or_default();
        let is_scheme = text.len() > scheme.len()
            && scheme.len() <= 8
            && ["rtsp", "http"].iter().any(|known| {
                scheme
                    .get(..4)
                    .is_some_and(|start| start.eq_ignore_ascii_case(known))
            });
        if is_scheme {
            let behind = text.get(scheme.len() + 1..).unwrap_or_default();
            let slashes = behind.len() - behind.trim_start_matches('/').len();
            let rest = behind.trim_start_matches('/');
            return match slashes {
                2 if rest.is_empty() => Self::Same,
                2 if scheme.eq_ignore_ascii_case("rtsp") => {
                    Self::Absolute(strip_user(&format!("rtsp://{rest}")))
                }
                // Another scheme: its path is what is meant.
                2 => match rest.split_once('/') {
                    Some((_, path)) => Self::Rooted(format!("/{path}")),
                    None => Self::Same,
                },
                _ => Self::Rooted(format!("/{rest}")),
            };
        }
        if text.starts_with('/') {
            return Self::Rooted(format!("/{}", text.trim_start_matches('/')));
        }
        // A host without its scheme (anjvision).
        let host = text.split('/').next().unwrap_or_default();
        let is_address = host.parse::<SocketAddr>().is_ok() || host.parse::<IpAddr>().is_ok();
        if is_address || host == authority(asked) {
            return Self::Absolute(format!("rtsp://{text}"));
        }
        match text.trim_start_matches("./") {
            "" => Self::Same,
            relative => Self::Relative(relative.to_owned()),
        }
    }

    /// As a base, against the URL that was asked for (RFC 3986 5.2).
    fn against(&self, asked: &str) -> String {
        match self {
            Self::Same => asked.to_owned(),
            Self::Absolute(uri) => uri.clone(),
            Self::Rooted(path) => format!("{}{path}", origin(asked)),
            Self::Relative(path) => format!("{}{path}", directory(asked)),
        }
    }

    /// As a control URL below a base, in the order of likelihood.
    fn below(&self, base: &str) -> Vec<String> {
        let (path, query) = base.split_once('?').unwrap_or((base, ""));
        let plain = base.strip_suffix('/').unwrap_or(base);
        let before_query = |name: &str| {
            let path = path.strip_suffix('/').unwrap_or(path);
            let name = name.trim_start_matches('/');
            if query.is_empty() {
                Vec::new()
            } else if name.contains('?') {
                vec![format!("{path}/{name}")]
            } else {
                vec![
                    format!("{path}/{name}?{}", query.trim_end_matches('/')),
                    format!("{path}/{name}"),
                ]
            }
        };
        match self {
            Self::Same => vec![base.to_owned(), other_slash(base)],
            Self::Absolute(uri) => vec![uri.clone(), other_slash(uri)],
            Self::Rooted(name) => {
                let root = format!("{}{name}", origin(base));
                let below = format!("{plain}{name}");
                // It may repeat the base's own path.
                let own = path_of(path).trim_end_matches('/');
                let repeats = !own.is_empty()
                    && name
                        .strip_prefix(own)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
                let mut ways = if repeats {
                    vec![root, below]
                } else {
                    vec![below, root]
                };
                ways.extend(before_query(name));
                ways
            }
            Self::Relative(name) if name.starts_with('?') && query.is_empty() => {
                vec![
                    format!("{base}{name}"),
                    format!("{plain}/{name}"),
                    format!("{plain}{name}"),
                ]
            }
            Self::Relative(name) => {
                let mut ways = vec![format!("{plain}/{name}")];
                ways.extend(before_query(name));
                ways.push(format!("{}{name}", directory(base)));
                ways
            }
        }
    }
}

/// The bytes as a URI: what is before a control byte or a space, without quotes
/// around it; other bytes escaped (RFC 3986 2.1). `None`: nothing is left.
fn clean(said: &[u8]) -> Option<String> {
    let is_junk = |byte: &u8| byte.is_ascii_whitespace() || b"\"'<>".contains(byte) || *byte == 0;
    let start = said.iter().position(|byte| !is_junk(byte))?;
    let said = said.get(start..)?;
    let mut text = String::with_capacity(said.len());
    for byte in said.iter().take(URI_LIMIT) {
        match byte {
            0..=0x20 | 0x7f | b'"' | b'<' | b'>' => break,
            0x80.. => text.push_str(&format!("%{byte:02X}")),
            _ => text.push(char::from(*byte)),
        }
    }
    Some(text).filter(|text| !text.is_empty())
}

/// Whether it is written oddly, though it can be read.
fn is_odd(said: &[u8]) -> bool {
    let text = String::from_utf8_lossy(said);
    let text = text.trim();
    clean(said).is_none_or(|clean| clean != text || undoubled(&clean) != clean)
        || text.starts_with(['?', '.'])
}

/// Without a scheme that is written twice.
fn undoubled(mut text: &str) -> &str {
    while let Some(rest) = text.get(7..)
        && text
            .get(..7)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsp://"))
        && rest
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtsp:"))
    {
        text = rest;
    }
    text
}

/// Where the path begins, behind scheme and host.
fn path_start(uri: &str) -> usize {
    let host = uri.find("://").map_or(0, |at| at + 3);
    let rest = uri.get(host..).unwrap_or_default();
    rest.find(['/', '?']).map_or(uri.len(), |at| host + at)
}

/// Scheme, host and port.
fn origin(uri: &str) -> &str {
    uri.get(..path_start(uri)).unwrap_or_default()
}

/// Host and port.
fn authority(uri: &str) -> &str {
    let origin = origin(uri);
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

fn path_of(uri: &str) -> &str {
    uri.get(path_start(uri)..).unwrap_or_default()
}

/// Up to the last slash of the path, without query.
fn directory(uri: &str) -> String {
    let path = uri.split('?').next().unwrap_or_default();
    let start = path_start(path);
    match path.get(start..).and_then(|path| path.rfind('/')) {
        Some(at) => path.get(..=start + at).unwrap_or_default().to_owned(),
        None => format!("{path}/"),
    }
}

/// The same path at the host that was asked.
fn with_origin(uri: &str, asked: &str) -> String {
    format!("{}{}", origin(asked), path_of(uri))
}

/// With a slash at the end where there is none, and without where there is one.
fn other_slash(uri: &str) -> String {
    uri.strip_suffix('/')
        .map_or_else(|| format!("{uri}/"), str::to_owned)
}

/// Without user and password.
fn strip_user(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else {
        return uri.to_owned();
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    let start = host.rfind('@').map_or(0, |at| at + 1);
    format!("{scheme}://{}", rest.get(start..).unwrap_or_default())
}

#[cfg(test)]
mod tests;
