//! `[[agreement]]`: who may see what, when and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;

use super::pem::{self, RawTls};
use super::problem::{Lines, Reading};
use super::raw;
use super::section::Section;
use super::settings::{Agreement, Approval, Camera, Ground, Hours, Tls};
use super::values;
use crate::config::settings::DURATION_LIMIT;
use crate::format::ids::{CentreId, Sha256};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// What agreements refer to.
pub(super) struct Around<'a> {
    pub(super) commune: Option<&'a str>,
    pub(super) tls: Option<&'a Tls>,
    pub(super) grounds: &'a BTreeMap<String, Ground>,
    pub(super) cameras: &'a BTreeMap<crate::format::ids::CameraId, Camera>,
}

/// All agreements, in the file's order.
pub(super) fn check_all(
    entries: Vec<Section<raw::Agreement>>,
    around: &Around<'_>,
    reading: &mut Reading<'_>,
) -> Vec<Agreement> {
    let mut agreements: Vec<Agreement> = Vec::new();
    for entry in entries {
        let at = entry.at.clone();
        if let Some(agreement) = check(entry, around, reading) {
            let same = |other: &&Agreement| other.centre == agreement.centre;
            if let Some(other) = agreements.iter().find(same) {
                compare(other, &agreement, &at, reading);
            }
            agreements.push(agreement);
        }
    }
    agreements
}

/// There is one link for each centre: its agreements must name the same one.
fn compare(other: &Agreement, agreement: &Agreement, at: &Lines, reading: &mut Reading<'_>) {
    let identity = |a: &Agreement| {
        let tls = &a.tls;
        (
            tls.certificate.clone(),
            tls.key.clone(),
            tls.authority.clone(),
        )
    };
    let centre = &agreement.centre;
    if other.addresses != agreement.addresses || identity(other) != identity(agreement) {
        reading.error(
            at.of("addresses"),
            format!("two agreements with {centre} name different addresses or certificates; there is one link for each centre: make them the same"),
        );
    }
    if other.reference == agreement.reference {
        reading.error(
            at.of("reference"),
            format!("two agreements with {centre} have the same reference; the journal must tell them apart"),
        );
    }
}

fn check(
    entry: Section<raw::Agreement>,
    around: &Around<'_>,
    reading: &mut Reading<'_>,
) -> Option<Agreement> {
    let Section { raw, at } = entry;
    let text = |written: &str| values::text(written);
    let reference = reading.required(&at, "reference", raw.reference, |r| values::text(&r));
    let centre = reading.required(&at, "centre", raw.centre, |id| {
        CentreId::new(id).map_err(|error| format!("{error}; correct it"))
    });
    let addresses = reading.list(&at, "addresses", raw.addresses, values::host_port);
    if addresses.is_empty() {
        reading.error(
            at.of("addresses"),
            "addresses: none; name where the centre listens, such as [\"corg13.example:4433\"]",
        );
    }
    let from = reading.required(&at, "from", raw.from, |date| values::date(&date));
    let until = reading.required(&at, "until", raw.until, |date| values::date(&date));
    if let (Some(from), Some(until)) = (from, until)
        && until < from
    {
        reading.error(
            at.of("until"),
            format!("until: {until} is before from ({from}); correct the dates"),
        );
    }
    let authority = reading.required_path(&at, "designation_authority", raw.designation_authority);
    let authority_hash = authority.as_ref().and_then(|path| {
        let key = "designation_authority";
        pem::authority_hash(path, at.of(key), key, reading)
    });
    let revoked = reading.optional_path(&at, "revoked", raw.revoked);
    if let Some(revoked) = &revoked {
        let line = at.of("revoked");
        let own = raw.authority.clone();
        let own = own.and_then(|own| reading.optional_path(&at, "authority", Some(own)));
        pem::check_crl(revoked, authority.iter().chain(&own), line, reading);
    }
    let limits = limits(
        &at,
        [
            raw.max_duration,
            raw.max_total,
            raw.max_designation,
            raw.approval_timeout,
        ],
        raw.max_relays,
        reading,
    );
    let own = RawTls {
        certificate: raw.certificate.as_ref(),
        key: raw.key.as_ref(),
        authority: raw.authority.as_ref(),
        revoked: revoked.clone().filter(|_| raw.authority.is_some()),
    };
    let tls = around
        .tls
        .map(|base| pem::overridden(base, &own, &at, around.commune, reading));
    if raw.cameras.is_none() {
        reading.error(
            at.of("cameras"),
            "the key `cameras` is missing; name ids and groups, or [\"*\"] for all",
        );
    }
    if raw.grounds.is_none() {
        reading.error(
            at.of("grounds"),
            "the key `grounds` is missing; name those that the agreement allows",
        );
    }
    let ground = |written: &str| known_ground(written, around.grounds);
    let cameras = reading.list(&at, "cameras", raw.cameras, text);
    let except = reading.list(&at, "except", raw.except, text);
    warn_idle_patterns(&at, "cameras", &cameras, around.cameras, reading);
    warn_idle_patterns(&at, "except", &except, around.cameras, reading);
    let mut agreement = Agreement {
        units: reading.list(&at, "units", raw.units, text),
        cameras,
        except,
        hours: reading
            .optional(&at, "hours", raw.hours, |hours| values::hours(&hours))
            .unwrap_or_default(),
        grounds: reading.list(&at, "grounds", raw.grounds, ground),
        approval: reading
            .optional(&at, "approval", raw.approval, |who| approval(&who))
            .unwrap_or(Approval::Automatic),
        approval_exempt: reading.list(&at, "approval_exempt", raw.approval_exempt, ground),
        reference: reference?,
        centre: centre?,
        addresses,
        from: from?,
        until: until?,
        designation_authority: authority?,
        revoked,
        require_fresh_revocation: raw.require_fresh_revocation.unwrap_or(false),
        max_duration: limits.duration,
        max_total: limits.total,
        max_relays: limits.relays,
        max_designation: limits.designation,
        snapshots: raw.snapshots.unwrap_or(false),
        watermark: raw.watermark.unwrap_or(false),
        vms: raw.vms.unwrap_or(false),
        approval_timeout: limits.approval,
        tls: tls?,
        settings_hash: Sha256::ZERO,
    };
    agreement.settings_hash = hash(&agreement, authority_hash);
    Some(agreement)
}

struct Limits {
    duration: Duration,
    total: Duration,
    designation: Duration,
    approval: Duration,
    relays: u32,
}

fn limits(
    at: &Lines,
    [duration, total, designation, approval]: [Option<String>; 4],
    relays: Option<i64>,
    reading: &mut Reading<'_>,
) -> Limits {
    let second = Duration::from_secs(1);
    let to_limit = (second, DURATION_LIMIT);
    let given = total.is_some();
    let duration = reading.duration(at, "max_duration", duration, HOUR, to_limit);
    let mut total = reading.duration(at, "max_total", total, 4 * HOUR, to_limit);
    if total < duration {
        if given {
            reading.error(
                at.of("max_total"),
                "max_total: is shorter than max_duration; one request may not exceed it: raise it",
            );
        }
        total = duration;
    }
    let year = (second, 366 * DAY);
    Limits {
        duration,
        total,
        designation: reading.duration(at, "max_designation", designation, 31 * DAY, year),
        approval: reading.duration(
            at,
            "approval_timeout",
            approval,
            2 * HOUR / 60,
            (second, HOUR),
        ),
        relays: reading
            .optional(at, "max_relays", relays, |count| {
                match u32::try_from(count) {
                    Ok(count @ 1..=10_000) => Ok(count),
                    _ => Err(format!("{count} is out of bounds; from 1 to 10000")),
                }
            })
            .unwrap_or(16),
    }
}

fn approval(written: &str) -> Result<Approval, String> {
    match written {
        "automatic" => Ok(Approval::Automatic),
        "commune" => Ok(Approval::Commune),
        _ => Err(format!(
            "{written:?} is neither \"automatic\" nor \"commune\""
        )),
    }
}

fn known_ground(written: &str, grounds: &BTreeMap<String, Ground>) -> Result<String, String> {
    if grounds.contains_key(written) {
        return Ok(written.to_owned());
    }
    let known: Vec<&str> = grounds.keys().map(String::as_str).collect();
    Err(format!(
        "{written:?} is not known; one of {}, or add it with [[ground]]",
        known.join(", ")
    ))
}

/// A pattern that matches nothing is a slip, and in `except` a dangerous one.
fn warn_idle_patterns(
    at: &Lines,
    key: &str,
    patterns: &[String],
    cameras: &BTreeMap<crate::format::ids::CameraId, Camera>,
    reading: &mut Reading<'_>,
) {
    if cameras.is_empty() {
        return;
    }
    let mut said = BTreeSet::new();
    for pattern in patterns {
        let alone = std::slice::from_ref(pattern);
        let idle = !cameras
            .values()
            .any(|camera| Agreement::matches(alone, camera));
        if idle && said.insert(pattern) {
            reading.warn(
                at.of(key),
                format!("{key}: {pattern:?} matches no camera and no group; correct or remove it"),
            );
        }
    }
}

/// Canonical form: JSON with sorted keys and every default written out; the
/// authority by its bytes, not by where its file lies.
fn hash(agreement: &Agreement, authority: Option<Sha256>) -> Sha256 {
    let hours: Vec<_> = agreement
        .hours
        .iter()
        .map(|Hours { days, start, end }| json!([days, start, end]))
        .collect();
    let mut canonical = json!({
        "v": 1,
        "reference": agreement.reference,
        "centre": agreement.centre,
        "addresses": agreement.addresses,
        "from": agreement.from.to_string(),
        "until": agreement.until.to_string(),
        "designation_authority": authority,
        "require_fresh_revocation": agreement.require_fresh_revocation,
        "units": agreement.units,
        "cameras": agreement.cameras,
        "except": agreement.except,
        "hours": hours,
        "grounds": agreement.grounds,
        "max_duration": agreement.max_duration.as_secs(),
        "max_total": agreement.max_total.as_secs(),
        "max_relays": agreement.max_relays,
        "max_designation": agreement.max_designation.as_secs(),
        "snapshots": agreement.snapshots,
        "vms": agreement.vms,
        "approval": match agreement.approval {
            Approval::Automatic => "automatic",
            Approval::Commune => "commune",
        },
        "approval_timeout": agreement.approval_timeout.as_secs(),
        "approval_exempt": agreement.approval_exempt,
    });
    // Only where it is set: agreements of before it keep their hash.
    if agreement.watermark {
        canonical["watermark"] = json!(true);
    }
    // A dependency may switch serde_json's maps to the order of insertion.
    let sorted: BTreeMap<&String, &serde_json::Value> =
        canonical.as_object().into_iter().flatten().collect();
    let bytes = serde_json::to_vec(&sorted).unwrap_or_default();
    Sha256::of(&bytes)
}
