//! Camera entries, of `[[camera]]` and of the `cameras_file`. A bad one disables
//! that camera alone: it stays listed, and says what is wrong with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

use super::problem::{Lines, Reading};
use super::raw;
use super::section::Unreadable;
use super::settings::{Camera, Credential, Streams, Transport};
use super::values;
use crate::format::ids::{CameraId, CommuneId};
use crate::secret::Secret;

/// Longest URL of a camera, in bytes.
const URL_LIMIT: usize = 2048;
/// A start may take from one second to two minutes.
const START_BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// A session may stay up to an hour.
const CLOSE_BOUNDS: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// One entry before it is checked.
pub(super) struct Entry {
    pub(super) raw: raw::Camera,
    pub(super) file: PathBuf,
    pub(super) at: Lines,
    /// What is wrong already: it could not be read as a camera, say.
    pub(super) problems: Vec<(u32, String)>,
    /// Whether a password may stand in the URL, to be split off (`cameras_file`).
    pub(super) splits_passwords: bool,
}

/// What entries refer to, and where passwords are kept.
pub(super) struct Around<'a> {
    pub(super) credentials: &'a BTreeMap<String, Option<Credential>>,
    pub(super) state_dir: Option<&'a Path>,
}

impl Entry {
    /// An entry of the settings file.
    pub(super) fn read(raw: raw::Camera, at: Lines, file: &Path) -> Self {
        Self {
            raw,
            file: file.to_owned(),
            at,
            problems: Vec::new(),
            splits_passwords: false,
        }
    }

    /// An entry that could not even be read.
    pub(super) fn unreadable(error: Unreadable, file: &Path) -> Self {
        let raw = raw::Camera {
            id: error.id,
            name: error.name,
            ..raw::Camera::default()
        };
        Self {
            problems: vec![(error.line, error.text)],
            ..Self::read(raw, Lines::row(error.header), file)
        }
    }
}

/// Checks entries in order; the first of two with the same id keeps it.
pub(super) fn check_all(
    entries: Vec<Entry>,
    around: &Around<'_>,
    reading: &mut Reading<'_>,
) -> BTreeMap<CameraId, Camera> {
    let mut cameras: BTreeMap<CameraId, Camera> = BTreeMap::new();
    let mut places: BTreeMap<CameraId, (PathBuf, u32)> = BTreeMap::new();
    for entry in entries {
        let file = entry.file.clone();
        let line = entry.at.of("id");
        let (mut camera, mut problems) = Checking::new(entry, around, reading).run();
        if let Some((first, at)) = places.get(&camera.id) {
            problems.push((
                line,
                format!(
                    "id {:?} is already used at {}:{at}; give each camera its own",
                    camera.id.as_str(),
                    first.display()
                ),
            ));
            camera.id = numbered(camera.id.as_str(), line);
        }
        if camera.is_test() {
            let text = format!(
                "id {:?} is that of the gateway's own test camera; choose another",
                Camera::TEST
            );
            problems.push((line, text));
            camera.id = numbered(camera.id.as_str(), line);
        }
        if !problems.is_empty() {
            for (line, text) in &problems {
                reading.warn_of(&camera.id, (&file, *line), text, true);
            }
            let all: Vec<String> = problems
                .iter()
                .map(|(line, text)| format!("{}:{line}: {text}", file.display()))
                .collect();
            camera.streams = Err(all.join("; "));
        }
        places.insert(camera.id.clone(), (file, line));
        cameras.insert(camera.id.clone(), camera);
    }
    remark(&cameras, &places, reading);
    cameras
}

/// Warns of what is probably a slip, and disables no camera.
fn remark(
    cameras: &BTreeMap<CameraId, Camera>,
    places: &BTreeMap<CameraId, (PathBuf, u32)>,
    reading: &mut Reading<'_>,
) {
    let mut streams: BTreeMap<&Url, &CameraId> = BTreeMap::new();
    for (id, (file, line)) in places {
        let Some(camera) = cameras.get(id) else {
            continue;
        };
        let mut said = Vec::new();
        for neighbour in &camera.neighbours {
            // One of another commune can't be looked up here.
            let known = CameraId::new(neighbour).is_ok_and(|id| cameras.contains_key(&id));
            if !known && !neighbour.contains('/') {
                said.push(format!(
                    "neighbours: there is no camera {neighbour:?}; correct the id, or write commune/camera"
                ));
            }
        }
        if let Ok(of) = &camera.streams {
            if let Some(other) = streams.insert(&of.main, id) {
                said.push(format!(
                    "main: the same stream as camera {:?}; is one of them another camera?",
                    other.as_str()
                ));
            }
            for (key, url) in [("main", Some(&of.main)), ("sub", of.sub.as_ref())] {
                let secret = url.is_some_and(|url| url.query_pairs().any(|(k, _)| is_secret(&k)));
                if secret {
                    said.push(format!(
                        "{key}: a password is in the address after the question mark, where it stays readable; give the camera a credential instead if it takes one"
                    ));
                }
            }
        }
        for text in said {
            reading.warn_of(id, (file, *line), text, false);
        }
    }
}

/// Whether a parameter of an address names a password, as some makers write it.
fn is_secret(parameter: &str) -> bool {
    let name = parameter.to_ascii_lowercase();
    ["password", "passwd", "pass", "pwd", "psw"].contains(&name.as_str())
}

/// One entry being checked.
struct Checking<'c, 'r, 'f> {
    raw: raw::Camera,
    at: Lines,
    file: PathBuf,
    splits_passwords: bool,
    problems: Vec<(u32, String)>,
    around: &'c Around<'c>,
    reading: &'r mut Reading<'f>,
}

impl<'c, 'r, 'f> Checking<'c, 'r, 'f> {
    fn new(entry: Entry, around: &'c Around<'c>, reading: &'r mut Reading<'f>) -> Self {
        Self {
            raw: entry.raw,
            at: entry.at,
            file: entry.file,
            splits_passwords: entry.splits_passwords,
            problems: entry.problems,
            around,
            reading,
        }
    }

    fn run(mut self) -> (Camera, Vec<(u32, String)>) {
        let unreadable = !self.problems.is_empty();
        let id = self.id();
        let name = self.raw.name.take();
        let name = self
            .value("name", name, |name| values::text(&name))
            .unwrap_or_else(|| id.to_string());
        let groups = self.raw.groups.take().unwrap_or_default();
        let groups = self.texts("groups", groups, values::text);
        let neighbours = self.raw.neighbours.take().unwrap_or_default();
        let neighbours = self.texts("neighbours", neighbours, neighbour);
        let position = self.raw.position.take();
        let position = self.value("position", position, position_of);
        let bearing = self.raw.bearing;
        let bearing = self.value("bearing", bearing, |b| degrees(b, 0.0));
        let field = self.raw.field_of_view;
        let field_of_view = self.value("field_of_view", field, |f| degrees(f, 1.0));
        // Of an entry that can't be read, only that is said.
        let streams = if unreadable { None } else { self.streams(&id) };
        let camera = Camera {
            name,
            groups,
            streams: streams.ok_or_else(String::new),
            position,
            bearing,
            field_of_view,
            neighbours,
            mask_verified: self.raw.mask_verified.unwrap_or(false),
            id,
        };
        (camera, self.problems)
    }

    fn problem(&mut self, key: &str, text: impl AsRef<str>) {
        let text = format!("{key}: {}", text.as_ref());
        self.problems.push((self.at.of(key), text));
    }

    fn value<R, T>(
        &mut self,
        key: &str,
        raw: Option<R>,
        check: impl FnOnce(R) -> Result<T, String>,
    ) -> Option<T> {
        check(raw?).map_err(|text| self.problem(key, text)).ok()
    }

    fn texts(
        &mut self,
        key: &str,
        raw: Vec<String>,
        check: impl Fn(&str) -> Result<String, String>,
    ) -> Vec<String> {
        raw.iter()
            .filter_map(|text| check(text).map_err(|text| self.problem(key, text)).ok())
            .collect()
    }

    /// The id, or one that replaces it in lists while the entry is wrong.
    fn id(&mut self) -> CameraId {
        let written = self.raw.id.take();
        let wrong = match written.as_deref().map(CameraId::new) {
            Some(Ok(id)) => return id,
            Some(Err(error)) => format!("{error}; correct it"),
            None => "is missing; add it".to_owned(),
        };
        if self.problems.is_empty() {
            self.problem("id", wrong);
        }
        let hint = written
            .or_else(|| self.raw.name.clone())
            .unwrap_or_default();
        numbered(&id_of(&hint).unwrap_or_default(), self.at.header)
    }

    fn streams(&mut self, id: &CameraId) -> Option<Streams> {
        let main = self.raw.main.take();
        if main.is_none() {
            self.problem("main", "is missing; give the camera's RTSP URL");
        }
        let main = self.value("main", main, |url| rtsp_url(&url));
        let sub = self.raw.sub.take();
        let sub = self.value("sub", sub, |url| rtsp_url(&url));
        let (main, in_main) = main.map(|url| split("main", url)).unzip();
        let (sub, in_sub) = sub.map(|url| split("sub", url)).unzip();
        let onvif = self.raw.onvif.take();
        let onvif = self.value("onvif", onvif, |url| onvif_url(&url));
        let (onvif, in_onvif) = onvif.map(|url| split("onvif", url)).unzip();
        let in_url = in_main.flatten().or_else(|| in_sub.flatten());
        let in_url = in_url.or_else(|| in_onvif.flatten());
        let named = self.raw.credential.is_some();
        let credential = self.credential(id, main.as_ref(), in_url);
        let host = |url: &Url| url.host_str().map(str::to_owned);
        if let (Some(_), false, Some(main), Some(onvif)) = (&credential, named, &main, &onvif)
            && host(main) != host(onvif)
        {
            self.problem(
                "onvif",
                "is another host than the RTSP URL's, whose password was given in a URL; name a credential that both may be told",
            );
        }
        let transport = self.raw.transport.take();
        let transport = self
            .value("transport", transport, |name| match name.as_str() {
                "tcp" => Ok(Transport::Tcp),
                "udp" => Ok(Transport::Udp),
                _ => Err(format!("{name:?} is neither \"tcp\" nor \"udp\"")),
            })
            .unwrap_or(Transport::Tcp);
        let start = self.raw.start_timeout.take();
        let close = self.raw.close_after.take();
        Some(Streams {
            onvif,
            credential,
            transport,
            start_timeout: self
                .value("start_timeout", start, |t| {
                    values::duration(&t, START_BOUNDS.0, START_BOUNDS.1)
                })
                .unwrap_or(TEN_SECONDS),
            close_after: self
                .value("close_after", close, |t| {
                    values::duration(&t, CLOSE_BOUNDS.0, CLOSE_BOUNDS.1)
                })
                .unwrap_or(TEN_SECONDS),
            warm: self.raw.warm.unwrap_or(false),
            main: main?,
            sub,
        })
    }

    fn credential(
        &mut self,
        id: &CameraId,
        main: Option<&Url>,
        in_url: Option<InUrl>,
    ) -> Option<Credential> {
        if let Some(in_url) = in_url {
            return self.split_off(id, main?, in_url);
        }
        let Some(name) = self.raw.credential.take() else {
            return self.kept(id, main?);
        };
        match self.around.credentials.get(&name) {
            Some(credential) => credential.clone(),
            None => {
                self.problem(
                    "credential",
                    format!(
                        "there is no [[credential]] with id {name:?}; add it or correct the name"
                    ),
                );
                None
            }
        }
    }

    /// A name and password that stood in a URL: kept apart, in a file of state_dir.
    fn split_off(&mut self, id: &CameraId, main: &Url, in_url: InUrl) -> Option<Credential> {
        if !self.splits_passwords {
            self.problem(
                in_url.key,
                "holds a user name or password; move it to a [[credential]] with a password_file, and name it with credential = \"…\"",
            );
            return None;
        }
        if self.raw.credential.is_some() {
            self.problem(
                "credential",
                "the URL holds a user name too; remove one of the two",
            );
            return None;
        }
        let credential = Credential {
            username: in_url.username,
            password: in_url.password,
            basic: false,
        };
        let kept = self.kept_path(id).map(|path| {
            let secret = Kept::of(main, &credential).write();
            let done = self.reading.files.keep_secret(&path, &secret);
            (path, done)
        });
        let said = match kept {
            Some((path, Ok(true))) => format!(
                "the password in the URL is now kept in {}; remove it from this file",
                path.display()
            ),
            Some((path, Err(error))) => format!(
                "a password is in the URL, and can't be kept in {}: {error}; make room there or use credential",
                path.display()
            ),
            Some((_, Ok(false))) | None => {
                "a password is in the URL; once the gateway has read it, it is kept in state_dir: take it out of this file yourself then".to_owned()
            }
        };
        let line = self.at.of(in_url.key);
        self.reading.warn_of(id, (&self.file, line), said, false);
        Some(credential)
    }

    /// What was split off earlier, for the same host only.
    fn kept(&mut self, id: &CameraId, main: &Url) -> Option<Credential> {
        if !self.splits_passwords {
            return None;
        }
        let path = self.kept_path(id)?;
        let bytes = self.reading.files.read(&path, 4096).ok()?;
        let kept: Kept = serde_json::from_slice(&bytes).ok()?;
        (Some(kept.host.as_str()) == main.host_str()).then(|| Credential {
            username: kept.username,
            password: Secret::new(kept.password),
            basic: false,
        })
    }

    fn kept_path(&self, id: &CameraId) -> Option<PathBuf> {
        let directory = self.around.state_dir?.join("camera-credentials");
        Some(directory.join(format!("{id}.json")))
    }
}

/// A camera's credential as kept in `state_dir`, and the host it may be told to.
#[derive(Serialize, Deserialize)]
struct Kept {
    host: String,
    username: String,
    password: String,
}

impl Kept {
    fn of(main: &Url, credential: &Credential) -> Self {
        Self {
            host: main.host_str().unwrap_or_default().to_owned(),
            username: credential.username.clone(),
            password: credential.password.expose().to_owned(),
        }
    }

    fn write(&self) -> Secret {
        // Three texts always serialise.
        Secret::new(serde_json::to_string(self).unwrap_or_default())
    }
}

struct InUrl {
    /// Which URL it stood in.
    key: &'static str,
    username: String,
    password: Secret,
}

/// Takes user name and password out of a URL.
fn split(key: &'static str, mut url: Url) -> (Url, Option<InUrl>) {
    if url.username().is_empty() && url.password().is_none() {
        return (url, None);
    }
    let found = InUrl {
        key,
        username: percent_decoded(url.username()),
        password: Secret::new(percent_decoded(url.password().unwrap_or_default())),
    };
    // They fail only for URLs without a host, which rtsp_url refuses.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    (url, Some(found))
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| *byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) => {
                decoded.push(value);
                at += 3;
            }
            None => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// An RTSP URL.
fn rtsp_url(written: &str) -> Result<Url, String> {
    camera_url(written, "rtsp", "rtsp://10.0.0.11/main")
}

/// An ONVIF device service's URL.
fn onvif_url(written: &str) -> Result<Url, String> {
    if written.starts_with("https:") {
        return Err("is https://, and cameras sign their own certificates, which nobody can verify; write http://: the password does not cross, only a digest of it does".to_owned());
    }
    camera_url(written, "http", "http://10.0.0.11/onvif/device_service")
}

/// A URL of a camera's. Errors don't repeat it where it may hold a password.
fn camera_url(written: &str, scheme: &str, example: &str) -> Result<Url, String> {
    let shown = if written.contains('@') || written.len() > 200 {
        "the URL".to_owned()
    } else {
        format!("{written:?}")
    };
    if written.len() > URL_LIMIT {
        return Err(format!("the URL is longer than {URL_LIMIT} characters"));
    }
    if written.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!(
            "{shown} holds a space or control character; remove it"
        ));
    }
    let wrong = |why: &str| {
        format!(
            "{shown} {why}; write such as \"{example}\" (special characters of a password as %XX)"
        )
    };
    let url = Url::parse(written).map_err(|error| wrong(&format!("is no URL ({error})")))?;
    if url.scheme() != scheme {
        return Err(wrong(&format!("is {}://, not {scheme}://", url.scheme())));
    }
    let host = url.host_str().unwrap_or_default();
    if !values::is_host(host) {
        return Err(wrong("names no host"));
    }
    if url.fragment().is_some() {
        return Err(wrong("has a part after #, which is not sent"));
    }
    Ok(url)
}

fn neighbour(written: &str) -> Result<String, String> {
    let good = match written.split_once('/') {
        Some((commune, camera)) => CommuneId::new(commune).is_ok() && CameraId::new(camera).is_ok(),
        None => CameraId::new(written).is_ok(),
    };
    if good {
        Ok(written.to_owned())
    } else {
        Err(format!(
            "{written:?} is neither a camera's id nor \"commune/camera\"; correct it"
        ))
    }
}

fn position_of(position: Vec<f64>) -> Result<[f64; 2], String> {
    match position.as_slice() {
        [latitude, longitude]
            if (-90.0..=90.0).contains(latitude) && (-180.0..=180.0).contains(longitude) =>
        {
            Ok([*latitude, *longitude])
        }
        _ => Err("must be [latitude, longitude] in degrees, such as [43.4745, 5.1692]".to_owned()),
    }
}

fn degrees(value: f64, least: f64) -> Result<f64, String> {
    if (least..=360.0).contains(&value) {
        Ok(value)
    } else {
        Err(format!(
            "{value} is out of bounds; from {least} to 360 degrees"
        ))
    }
}

/// An id from a name: lower case, accents folded, the rest as `-`; `None` if
/// nothing is left.
pub(super) fn id_of(name: &str) -> Option<String> {
    let mut id = String::new();
    for c in name.chars().flat_map(char::to_lowercase) {
        let folded = fold(c);
        if folded.is_empty() {
            if !id.is_empty() && !id.ends_with('-') {
                id.push('-');
            }
        } else {
            id.push_str(folded.as_str());
        }
        if id.len() >= 63 {
            break;
        }
    }
    id.truncate(63);
    let id = id.trim_end_matches('-');
    (!id.is_empty()).then(|| id.to_owned())
}

/// One lower-case character as ASCII letters or digits, or nothing.
fn fold(c: char) -> String {
    let text = match c {
        'a'..='z' | '0'..='9' => return c.to_string(),
        'à' | 'â' | 'ä' | 'á' | 'ã' | 'å' => "a",
        'ç' => "c",
        'é' | 'è' | 'ê' | 'ë' => "e",
        'î' | 'ï' | 'í' | 'ì' => "i",
        'ñ' => "n",
        'ô' | 'ö' | 'ó' | 'ò' | 'õ' => "o",
        'û' | 'ü' | 'ù' | 'ú' => "u",
        'ÿ' | 'ý' => "y",
        'œ' => "oe",
        'æ' => "ae",
        'ß' => "ss",
        _ => "",
    };
    text.to_owned()
}

/// `ID-line-N`, within the length of ids: replaces that of an entry whose own id can't.
fn numbered(id: &str, line: u32) -> CameraId {
    let number = format!("line-{line}");
    let keep = 62_usize.saturating_sub(number.len());
    let kept: String = id.chars().take(keep).collect();
    CameraId::new(format!("{kept}-{number}"))
        .or_else(|_| CameraId::new(number))
        .unwrap_or_else(|error| unreachable!("line-N is an id: {error}"))
}
