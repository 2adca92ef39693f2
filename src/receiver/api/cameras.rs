//! Communes, and the search for cameras.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Shared;
use super::auth::Caller;
use super::geometry::{bad, circle, contains, distance, point, polygon};
use super::neighbours::Middle;
use super::sheet;
use crate::clock::Wall;
use crate::config::settings::Camera;
use crate::format::control::{AgreementInfo, CameraInfo};
use crate::format::designation::Designation;
use crate::format::ids::CommuneId;
use crate::http::Problem;
use crate::http::Query;
use crate::link::transport::Transport;
use crate::places::fold::fold;
use crate::policy::agreement::Closed;
use crate::policy::desk::Commune;
use crate::reason::Refusal;
use crate::receiver::hub::Hub;

/// Cameras in an answer that names no limit.
const DEFAULT_LIMIT: usize = 1_000;
/// Most cameras in an answer.
const MOST: usize = 10_000;
/// Longest search text, in characters.
const TEXT_LIMIT: usize = 128;

/// A commune as operators see it.
#[derive(Debug, Serialize)]
pub(super) struct CommuneView {
    commune: CommuneId,
    name: String,
    online: bool,
    /// Since when it is online, or is not; RFC 3339.
    since: Option<String>,
    /// What carries its link, while it is online.
    transport: Option<Transport>,
    /// Seconds that its clock is ahead of the centre's, while it is online.
    clock_offset: Option<f64>,
    contact: Option<String>,
    /// The first that the caller's unit may ask under.
    agreement: Option<AgreementInfo>,
    /// All that it may ask under: another one may allow other grounds.
    agreements: Vec<AgreementInfo>,
    /// How many cameras it covers.
    cameras: usize,
}

/// Seconds to the millisecond.
#[allow(clippy::cast_precision_loss)] // some thousands
fn seconds(micros: i64) -> f64 {
    (micros / 1_000) as f64 / 1_000.0
}

/// A commune as this operator sees it.
pub(super) fn view(id: &CommuneId, commune: &Commune, who: &Designation, hub: &Hub) -> CommuneView {
    let agreements: Vec<AgreementInfo> = commune.agreements_of(who).cloned().collect();
    let agreement = agreements.first().cloned();
    let cameras = commune.cameras.as_ref().map_or(0, |list| list.len());
    CommuneView {
        commune: id.clone(),
        name: commune.name.clone().unwrap_or_else(|| id.to_string()),
        online: commune.online,
        since: commune.since.map(Wall::rfc3339),
        transport: hub.transport(id).filter(|_| commune.online),
        clock_offset: hub
            .clock_offset_us(id)
            .filter(|_| commune.online)
            .map(seconds),
        contact: commune.contact.clone(),
        cameras: if agreement.is_some() { cameras } else { 0 },
        agreement,
        agreements,
    }
}

/// `GET communes`.
pub(super) async fn communes(State(api): Shared, caller: Caller) -> Json<Vec<CommuneView>> {
    let table = api.options.control.table();
    let communes = table.communes.iter();
    let who = &caller.designation;
    Json(
        communes
            .map(|(id, commune)| view(id, commune, who, &api.options.hub))
            .collect(),
    )
}

/// What is searched for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Search {
    q: Option<String>,
    commune: Option<String>,
    group: Option<String>,
    near: Option<String>,
    limit: Option<usize>,
    circle: Option<String>,
    polygon: Option<String>,
    neighbours: Option<String>,
    /// `json` or `csv`; without it as `Accept` says.
    format: Option<String>,
    /// Only cameras of this VMS account's communes.
    account: Option<String>,
}

/// Why a camera can't be asked for, as operators see it.
#[derive(Debug, Serialize)]
struct UnusableView {
    #[serde(flatten)]
    refusal: Refusal,
    /// Since when, where that is known; RFC 3339.
    since: Option<String>,
    /// When it is over by itself, where that is known; RFC 3339.
    until: Option<String>,
}

/// A camera as operators see it.
#[derive(Debug, Serialize)]
pub(super) struct CameraView {
    commune: CommuneId,
    commune_name: String,
    /// The same as `id`, as it is called in grants.
    camera: crate::format::ids::CameraId,
    /// Whether its commune is online.
    online: bool,
    /// Since when it is, or is not; RFC 3339.
    online_since: Option<String>,
    /// What its commune announced, but for `unusable`.
    #[serde(flatten)]
    info: CameraInfo,
    #[serde(skip_serializing_if = "Option::is_none")]
    unusable: Option<UnusableView>,
    /// Metres from `near`, the circle's middle, or the camera whose neighbours are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f64>,
    /// Degrees from north, from the camera whose neighbours are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<f64>,
}

impl CameraView {
    pub(super) const fn commune(&self) -> &CommuneId {
        &self.commune
    }

    pub(super) const fn info(&self) -> &CameraInfo {
        &self.info
    }
}

/// What all cameras of a commune have in common for a caller.
struct Home<'a> {
    id: &'a CommuneId,
    name: String,
    commune: &'a Commune,
    closed: Option<Closed>,
}

impl Home<'_> {
    fn view(&self, info: &CameraInfo, distance: Option<f64>, direction: Option<f64>) -> CameraView {
        let unusable = self.commune.unusable(info, self.closed);
        CameraView {
            commune: self.id.clone(),
            commune_name: self.name.clone(),
            camera: info.id.clone(),
            online: self.commune.online,
            online_since: self.commune.since.map(Wall::rfc3339),
            info: CameraInfo {
                unusable: None,
                ..info.clone()
            },
            unusable: unusable.map(|unusable| UnusableView {
                refusal: unusable.refusal,
                since: unusable.since.map(Wall::rfc3339),
                until: unusable.until.map(Wall::rfc3339),
            }),
            distance,
            direction,
        }
    }
}

/// A search whose values have been read.
#[derive(Debug)]
struct Filter {
    words: Vec<String>,
    commune: Option<String>,
    group: Option<String>,
    near: Option<[f64; 2]>,
    circle: Option<([f64; 2], f64)>,
    polygon: Option<Vec<[f64; 2]>>,
    neighbours: Option<(String, String)>,
    limit: usize,
}

/// `GET cameras`: by name, or by distance where a place is given; as CSV those that VMS accounts may
/// see, with their URLs.
pub(super) async fn search(
    State(api): Shared,
    caller: Caller,
    headers: HeaderMap,
    Query(search): Query<Search>,
) -> Result<Response, Problem> {
    let is_sheet = match search.format.as_deref() {
        None => sheet::is_wanted(&headers),
        Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(bad("format", "json or csv")),
    };
    let account = search.account.as_ref().map(|name| {
        let shared = api.options.control.shared();
        let mut accounts = shared.settings.accounts.iter();
        let account = accounts.find(|account| &account.name == name).cloned();
        account.ok_or_else(|| bad("account", "the name of a [[rtsp.account]] of this centre"))
    });
    let account = account.transpose()?;
    let is_for_vms = is_sheet || account.is_some();
    let filter = Filter::read(search)?;
    let table = api.options.control.table();
    let who = &caller.designation;
    let now = api.options.clock.now().wall;
    let middle = filter.neighbours.as_ref();
    let middle = middle.map(|wanted| Middle::find(wanted, &table.communes, who));
    let mut found = Vec::new();
    for (id, commune) in table.communes.iter() {
        let is_its = account.as_ref().is_none_or(|account| account.may_see(id));
        if commune.agreement_for(who, "").is_none() || !is_its {
            continue;
        }
        let home = Home {
            id,
            name: commune.name.clone().unwrap_or_else(|| id.to_string()),
            commune,
            closed: commune.closed_for(who, now),
        };
        let cameras = commune.cameras.iter().flat_map(|list| list.iter());
        for info in cameras.filter(|info| info.vms || !is_for_vms) {
            if let Some(distance) = filter.matches(id, &home.name, info, middle.as_ref()) {
                let direction = middle
                    .as_ref()
                    .and_then(|middle| middle.direction_to(info.position));
                found.push(home.view(info, distance, direction));
            }
        }
    }
    // Lists come sorted by commune and id; the sort by distance keeps that order. Cameras of
    // drills come last: nobody looks for them.
    let by_distance = |one: &CameraView, other: &CameraView| match (one.distance, other.distance) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    };
    let is_test = |camera: &CameraView| camera.info.id.as_str() == Camera::TEST;
    found.sort_by(|one, other| {
        let tests = is_test(one).cmp(&is_test(other));
        tests.then_with(|| by_distance(one, other))
    });
    found.truncate(filter.limit);
    if is_sheet {
        return sheet::answer(&api, &found, &headers);
    }
    Ok(Json(found).into_response())
}

impl Filter {
    fn read(search: Search) -> Result<Self, Problem> {
        let limit = search.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MOST {
            return Err(bad("limit", "from 1 to 10000"));
        }
        let text = search.q.unwrap_or_default();
        if text.chars().count() > TEXT_LIMIT {
            return Err(bad("q", "of at most 128 characters"));
        }
        let neighbours = |text: String| match text.split_once('/') {
            Some((commune, camera)) => Ok((commune.to_owned(), camera.to_owned())),
            None => Err(bad("neighbours", "COMMUNE/CAMERA")),
        };
        Ok(Self {
            words: fold(&text).split_whitespace().map(str::to_owned).collect(),
            commune: search.commune,
            group: search.group,
            near: search.near.map(|text| point("near", &text)).transpose()?,
            circle: search.circle.map(|text| circle(&text)).transpose()?,
            polygon: search.polygon.map(|text| polygon(&text)).transpose()?,
            neighbours: search.neighbours.map(neighbours).transpose()?,
            limit,
        })
    }

    /// `None`: does not match; else the distance, where a place was given.
    #[allow(clippy::option_option)] // a match without a distance is one too
    fn matches(
        &self,
        commune: &CommuneId,
        name: &str,
        info: &CameraInfo,
        middle: Option<&Middle<'_>>,
    ) -> Option<Option<f64>> {
        if self
            .commune
            .as_ref()
            .is_some_and(|wanted| wanted != commune.as_str())
        {
            return None;
        }
        if self
            .group
            .as_ref()
            .is_some_and(|wanted| !info.groups.contains(wanted))
        {
            return None;
        }
        if middle.is_some_and(|middle| !middle.is_next_to(commune, info)) {
            return None;
        }
        if !self.words.is_empty() {
            let text = fold(&format!(
                "{} {} {} {commune} {name}",
                info.id,
                info.name,
                info.groups.join(" ")
            ));
            if !self.words.iter().all(|word| text.contains(word.as_str())) {
                return None;
            }
        }
        if let Some(corners) = &self.polygon
            && !info.position.is_some_and(|place| contains(corners, place))
        {
            return None;
        }
        let mut from = self.near;
        if let Some((middle, metres)) = self.circle {
            let away = info.position.map(|place| distance(middle, place));
            if away.is_none_or(|away| away > metres) {
                return None;
            }
            from = from.or(Some(middle));
        }
        from = from.or_else(|| middle.and_then(|middle| middle.position));
        Some(from.and_then(|from| info.position.map(|place| distance(from, place))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ids::CameraId;

    fn camera(id: &str, position: Option<[f64; 2]>) -> CameraInfo {
        CameraInfo {
            id: CameraId::new(id).unwrap(),
            name: "Quai Séverine".to_owned(),
            groups: vec!["port".to_owned()],
            position,
            bearing: None,
            field_of_view: None,
            neighbours: vec!["rond-point".to_owned(), "rognac/rn113".to_owned()],
            sub: false,
            vms: false,
            unusable: None,
            failed: None,
        }
    }

    fn filter(search: Search) -> Filter {
        Filter::read(search).unwrap()
    }

    fn text(value: &str) -> Option<String> {
        Some(value.to_owned())
    }

    fn found(search: Search, info: &CameraInfo) -> Option<Option<f64>> {
        let commune = CommuneId::new("berre-l-etang").unwrap();
        filter(search).matches(&commune, "Berre-l'Étang", info, None)
    }

    #[test]
    fn words_groups_and_communes() {
        let info = camera("quai-nord", None);
        for q in ["severine", "SÉVERINE quai", "etang", "port nord", ""] {
            assert!(
                found(
                    Search {
                        q: text(q),
                        ..Search::default()
                    },
                    &info
                )
                .is_some(),
                "{q}"
            );
        }
        assert!(
            found(
                Search {
                    q: text("marseille"),
                    ..Search::default()
                },
                &info
            )
            .is_none()
        );
        assert!(
            found(
                Search {
                    group: text("port"),
                    ..Search::default()
                },
                &info
            )
            .is_some()
        );
        assert!(
            found(
                Search {
                    group: text("por"),
                    ..Search::default()
                },
                &info
            )
            .is_none()
        );
        assert!(
            found(
                Search {
                    commune: text("rognac"),
                    ..Search::default()
                },
                &info
            )
            .is_none()
        );
    }

    #[test]
    fn places() {
        let berre = [43.4745, 5.1692];
        let info = camera("a", Some(berre));
        let away = found(
            Search {
                near: text("43.4745,5.1792"),
                ..Search::default()
            },
            &info,
        );
        // One hundredth of a degree of longitude at that latitude.
        assert!(
            away.unwrap()
                .is_some_and(|metres| (metres - 807.0).abs() < 2.0),
            "{away:?}"
        );
        for (circle, inside) in [
            ("43.4745,5.1692,1", true),
            ("43.4745,5.1792,800", false),
            ("43.4745,5.1792,810", true),
        ] {
            let search = Search {
                circle: text(circle),
                ..Search::default()
            };
            assert_eq!(found(search, &info).is_some(), inside, "{circle}");
        }
        for (polygon, inside) in [
            ("43.4,5.1;43.5,5.1;43.5,5.2;43.4,5.2", true),
            ("43.4,5.1,43.5,5.1,43.5,5.15,43.4,5.15", false),
        ] {
            let search = Search {
                polygon: text(polygon),
                ..Search::default()
            };
            assert_eq!(found(search, &info).is_some(), inside, "{polygon}");
        }
        let nowhere = camera("a", None);
        assert!(
            found(
                Search {
                    circle: text("43,5,1000000"),
                    ..Search::default()
                },
                &nowhere
            )
            .is_none()
        );
        assert_eq!(
            found(
                Search {
                    near: text("43,5"),
                    ..Search::default()
                },
                &nowhere
            ),
            Some(None)
        );
    }

    #[test]
    fn bad_values_are_refused() {
        for search in [
            Search {
                near: text("43"),
                ..Search::default()
            },
            Search {
                near: text("91,0"),
                ..Search::default()
            },
            Search {
                near: text("NaN,0"),
                ..Search::default()
            },
            Search {
                circle: text("1,2"),
                ..Search::default()
            },
            Search {
                circle: text("1,2,-3"),
                ..Search::default()
            },
            Search {
                polygon: text("1,2;3,4"),
                ..Search::default()
            },
            Search {
                polygon: text("1,2;3,4;5"),
                ..Search::default()
            },
            Search {
                neighbours: text("x"),
                ..Search::default()
            },
            Search {
                limit: Some(0),
                ..Search::default()
            },
            Search {
                q: Some("x".repeat(129)),
                ..Search::default()
            },
        ] {
            assert!(Filter::read(search).is_err());
        }
    }
}
