//! `gateway.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::agreement;
use super::camera::{self, Entry};
use super::notify::notify;
use super::problem::{Lines, Reading};
use super::section::{Root, Section};
use super::settings::{Camera, Congestion, Credential, Gateway, Host, Uplink};
use super::{copies, csv, grounds, page, pem, raw, values, witness};
use crate::format::ids::CommuneId;
use crate::format::keep::Keep;
use crate::secret::Secret;

/// Largest file of one password.
const PASSWORD_LIMIT: u64 = 1024;
/// Times between probes: the cameras of a recorder are asked one after the other.
const PROBES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));
const DEFAULT_START_INTERVAL: Duration = Duration::from_millis(200);

/// Checks the whole file.
pub(super) fn check(mut root: Root<'_>, reading: &mut Reading<'_>) -> Option<Gateway> {
    let tls = root.section::<raw::Tls>("tls", reading);
    let (relay_after_loss, keep) = journal(root.section("journal", reading), reading);
    let page = root
        .has("page", false)
        .then(|| root.section::<raw::Page>("page", reading));
    let witnesses = witness::read(&mut root, reading);
    let notify = notify(root.section("notify", reading), reading);
    let copies = copies::read(root.section("copies", reading), reading);
    let uplink = uplink(root.section("uplink", reading), reading);
    let probe = probe(root.section("health", reading), reading);
    let credentials = credentials(root.strict_entries("credential", reading), reading);
    let hosts = hosts(root.strict_entries("host", reading), reading);
    let grounds = grounds::read(&mut root, reading);
    let agreements = root.strict_entries::<raw::Agreement>("agreement", reading);
    let cameras = root.entries::<raw::Camera>("camera", reading);
    let Section { raw, at } = root.rest::<raw::Gateway>("gateway.toml", reading)?;

    let commune = reading.required(&at, "commune", raw.commune, |id| {
        CommuneId::new(id).map_err(|error| format!("{error}; correct it"))
    });
    let name = reading.optional(&at, "name", raw.name, |name| values::text(&name));
    let contact = reading.optional(&at, "contact", raw.contact, |text| values::text(&text));
    let state_dir = state_dir(&at, raw.state_dir, reading);
    let metrics = metrics(
        &at,
        raw.metrics,
        raw.metrics_plain,
        "127.0.0.1:9998",
        reading,
    );
    let socket = raw
        .socket
        .unwrap_or_else(|| "/run/fanal/gateway.sock".to_owned());
    let socket = reading.required_path(&at, "socket", Some(socket));
    let socket_group = reading.optional(&at, "socket_group", raw.socket_group, |name| {
        values::group(&name)
    });
    let own_id = commune.as_ref().map(CommuneId::as_str);
    let tls = pem::tls(tls.raw, &tls.at, own_id, reading);

    let mut entries: Vec<Entry> = cameras
        .into_iter()
        .map(|entry| match entry {
            Ok(section) => Entry::read(section.raw, section.at, reading.file),
            Err(error) => Entry::unreadable(error, reading.file),
        })
        .collect();
    let cameras_file = reading.optional_path(&at, "cameras_file", raw.cameras_file);
    if let Some(path) = &cameras_file {
        entries.extend(csv::read(path, at.of("cameras_file"), reading));
    }
    let around = camera::Around {
        credentials: &credentials,
        state_dir: state_dir.as_deref(),
    };
    let cameras = camera::check_all(entries, &around, reading);
    let around = agreement::Around {
        commune: own_id,
        tls: tls.as_ref(),
        grounds: &grounds,
        cameras: &cameras,
    };
    if agreements.is_empty() {
        reading.warn(
            1,
            "there is no [[agreement]]: nobody may ask for anything; add one",
        );
    }
    if cameras.is_empty() {
        reading.warn(1, "there is no camera; add [[camera]] or a cameras_file");
    }
    let agreements = agreement::check_all(agreements, &around, reading);
    let page = page.and_then(|page| page::check(page, &agreements, reading));
    let commune = commune?;
    let name = name.unwrap_or_else(|| commune.to_string());
    Some(Gateway {
        cameras_file,
        contact,
        state_dir: state_dir?,
        metrics: metrics?,
        socket: socket?,
        socket_group,
        page,
        tls: tls?,
        agreements,
        relay_after_loss,
        witnesses,
        keep,
        notify,
        copies,
        uplink,
        hosts,
        cameras,
        test_camera: Camera::test(&name)?,
        name,
        probe,
        grounds,
        warnings: reading.take_warnings(),
        commune,
    })
}

/// Where the state lives; both daemons.
pub(super) fn state_dir(
    at: &Lines,
    raw: Option<String>,
    reading: &mut Reading<'_>,
) -> Option<PathBuf> {
    let written = raw.unwrap_or_else(|| "/var/lib/fanal".to_owned());
    reading.required_path(at, "state_dir", Some(written))
}

/// Whether relays go on although a journal lost lines, and how long it is kept; both daemons.
pub(super) fn journal(section: Section<raw::Journal>, reading: &mut Reading<'_>) -> (bool, Keep) {
    let Section { raw, at } = section;
    let keep = reading.optional(&at, "keep", raw.keep, |keep| keep.parse::<Keep>());
    let relay_after_loss = raw.relay_after_loss.unwrap_or(false);
    (relay_after_loss, keep.unwrap_or_default())
}

/// Where metrics are served; both daemons.
pub(super) fn metrics(
    at: &Lines,
    raw: Option<String>,
    plain: Option<bool>,
    default: &str,
    reading: &mut Reading<'_>,
) -> Option<std::net::SocketAddr> {
    let written = raw.unwrap_or_else(|| default.to_owned());
    let address = reading.checked(at.of("metrics"), "metrics", values::listen(&written))?;
    if !address.ip().is_loopback() && plain != Some(true) {
        reading.error(
            at.of("metrics"),
            "metrics: plain HTTP off loopback; listen on 127.0.0.1, or set metrics_plain = true where the network is trusted",
        );
    }
    Some(address)
}

/// How often cameras are probed.
fn probe(section: Section<raw::Health>, reading: &mut Reading<'_>) -> Option<Duration> {
    let Section { raw, at } = section;
    let (least, most) = PROBES;
    reading.optional(&at, "probe", raw.probe, |every| {
        values::duration(&every, least, most)
    })
}

fn uplink(section: Section<raw::Uplink>, reading: &mut Reading<'_>) -> Uplink {
    let Section { raw, at } = section;
    let max_bitrate = reading.optional(&at, "max_bitrate", raw.max_bitrate, |rate| {
        values::bitrate(&rate)
    });
    let min_per_relay = reading
        .optional(&at, "min_per_relay", raw.min_per_relay, |rate| {
            values::bitrate(&rate)
        })
        .unwrap_or_else(|| Uplink::default().min_per_relay);
    if max_bitrate.is_some_and(|most| most < min_per_relay) {
        reading.error(
            at.of("max_bitrate"),
            "max_bitrate: is below min_per_relay, so no relay could start; raise it",
        );
    }
    let congestion = reading.optional(&at, "congestion", raw.congestion, |name| {
        match name.as_str() {
            "fanal" => Ok(Congestion::Fanal),
            "cubic" => Ok(Congestion::Cubic),
            _ => Err("write \"fanal\" or \"cubic\"".to_owned()),
        }
    });
    Uplink {
        max_bitrate,
        min_per_relay,
        congestion: congestion.unwrap_or_default(),
        redundancy: raw.redundancy.unwrap_or(true),
    }
}

/// By id; `None` where the entry is wrong, which refuses the file.
fn credentials(
    entries: Vec<Section<raw::Credential>>,
    reading: &mut Reading<'_>,
) -> BTreeMap<String, Option<Credential>> {
    let mut credentials = BTreeMap::new();
    for Section { raw, at } in entries {
        let Some(id) = reading.required(&at, "id", raw.id, |id| values::text(&id)) else {
            continue;
        };
        let username = reading.required(&at, "username", raw.username, |name| values::text(&name));
        let secret = Password {
            file: raw.password_file,
            variable: raw.password_env,
            inline: raw.password.is_some(),
        };
        let password = password(secret, &at, reading);
        let basic = reading.optional(&at, "auth", raw.auth, |auth| match auth.as_str() {
            "digest" => Ok(false),
            "basic" => Ok(true),
            _ => Err(format!("{auth:?} is neither \"digest\" nor \"basic\"")),
        });
        let credential = username
            .zip(password)
            .map(|(username, password)| Credential {
                username,
                password,
                basic: basic.unwrap_or(false),
            });
        if credentials.insert(id.clone(), credential).is_some() {
            reading.error(
                at.of("id"),
                format!("two credentials have the id {id:?}; rename one"),
            );
        }
    }
    credentials
}

/// Where a password is.
pub(super) struct Password {
    pub(super) file: Option<String>,
    pub(super) variable: Option<String>,
    pub(super) inline: bool,
}

/// Reads a password from its file or the environment.
pub(super) fn password(source: Password, at: &Lines, reading: &mut Reading<'_>) -> Option<Secret> {
    if source.inline {
        reading.error(
            at.of("password"),
            "password: the settings hold no secret; use password_file, or password_env for a variable of the environment",
        );
        return None;
    }
    let (key, value) = match (source.file, source.variable) {
        (Some(file), None) => {
            let path = reading.path(&file);
            let path = reading.checked(at.of("password_file"), "password_file", path)?;
            pem::warn_if_loose(&path, at.of("password_file"), "password_file", reading);
            ("password_file", read_password(&path, reading))
        }
        (None, Some(name)) => {
            let value = reading.files.variable(&name).map(Secret::new);
            let missing = || format!("the environment has no {name}; set it for the daemon");
            ("password_env", value.ok_or_else(missing))
        }
        (Some(_), Some(_)) | (None, None) => {
            reading.error(at.header, "give either password_file or password_env");
            return None;
        }
    };
    reading.checked(at.of(key), key, value)
}

/// The one line of a file.
pub(super) fn read_password(path: &Path, reading: &Reading<'_>) -> Result<Secret, String> {
    let shown = path.display();
    let bytes = reading.files.read(path, PASSWORD_LIMIT).map_err(|error| {
        format!("{shown} can't be read: {error}; check the path and who may read it")
    })?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8; save it as UTF-8"))?;
    let text = zeroize::Zeroizing::new(text);
    // Editors end a file with a line end, which is no part of the password.
    let word = text.trim_end_matches(['\r', '\n']);
    if word.is_empty() || word.contains(char::is_control) {
        return Err(format!("{shown} must hold the password alone, on one line"));
    }
    Ok(Secret::new(word))
}

fn hosts(entries: Vec<Section<raw::Host>>, reading: &mut Reading<'_>) -> Vec<Host> {
    let mut hosts: Vec<Host> = Vec::new();
    for Section { raw, at } in entries {
        let address = reading.required(&at, "address", raw.address, |address| {
            if values::is_host(&address) {
                Ok(address)
            } else {
                Err(format!(
                    "{address:?} is no host; write it as in the cameras' URLs, without port"
                ))
            }
        });
        let max_sessions =
            reading.optional(
                &at,
                "max_sessions",
                raw.max_sessions,
                |count| match u32::try_from(count) {
                    Ok(count @ 1..=10_000) => Ok(count),
                    _ => Err(format!("{count} is out of bounds; from 1 to 10000")),
                },
            );
        let bounds = (Duration::ZERO, Duration::from_secs(60));
        let start_interval = reading.duration(
            &at,
            "start_interval",
            raw.start_interval,
            DEFAULT_START_INTERVAL,
            bounds,
        );
        let Some(address) = address else { continue };
        if hosts.iter().any(|host| host.address == address) {
            reading.error(
                at.of("address"),
                format!("two [[host]] have the address {address}; keep one"),
            );
        }
        hosts.push(Host {
            address,
            max_sessions,
            start_interval,
        });
    }
    hosts
}
