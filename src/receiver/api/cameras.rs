//! Communes, and the search for cameras.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::auth::Caller;
use super::{Query, Shared};
use crate::http::Problem;
use crate::link::transport::Transport;
use crate::places::fold::fold;
use crate::proto::control::{AgreementInfo, CameraInfo};
use crate::proto::desk::Commune;
use crate::proto::ids::CommuneId;
use crate::receiver::hub::Hub;

/// Cameras in an answer that names no limit.
const DEFAULT_LIMIT: usize = 1_000;
/// Most cameras in an answer.
const MOST: usize = 10_000;
/// Longest search text, in characters.
const TEXT_LIMIT: usize = 128;
/// Most corners of a polygon.
const CORNERS: usize = 256;
/// Mean radius of the Earth in metres.
const EARTH: f64 = 6_371_008.8;

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
    contact: Option<String>,
    /// The one that the caller's unit asks under.
    agreement: Option<AgreementInfo>,
    /// How many cameras it covers.
    cameras: usize,
}

/// A commune as an operator of this unit sees it.
pub(super) fn view(id: &CommuneId, commune: &Commune, unit: &str, hub: &Hub) -> CommuneView {
    let agreement = commune.agreement_for(unit, "").cloned();
    let cameras = commune.cameras.as_ref().map_or(0, |list| list.len());
    CommuneView {
        commune: id.clone(),
        name: commune.name.clone().unwrap_or_else(|| id.to_string()),
        online: commune.online,
        since: commune.since.map(crate::clock::Wall::rfc3339),
        transport: hub.transport(id).filter(|_| commune.online),
        contact: commune.contact.clone(),
        cameras: if agreement.is_some() { cameras } else { 0 },
        agreement,
    }
}

/// `GET communes`.
pub(super) async fn communes(State(api): Shared, caller: Caller) -> Json<Vec<CommuneView>> {
    let table = api.options.control.table();
    let communes = table.communes.iter();
    let unit = &caller.operator.unit;
    Json(
        communes
            .map(|(id, commune)| view(id, commune, unit, &api.options.hub))
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
}

/// A camera as operators see it.
#[derive(Debug, Serialize)]
pub(super) struct CameraView {
    commune: CommuneId,
    commune_name: String,
    /// The same as `id`, as it is called in grants.
    camera: crate::proto::ids::CameraId,
    /// Whether its commune is online.
    online: bool,
    #[serde(flatten)]
    info: CameraInfo,
    /// Metres from `near` or the circle's middle.
    #[serde(skip_serializing_if = "Option::is_none")]
    distance: Option<f64>,
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

/// `GET cameras`: by name, or by distance where a place is given.
pub(super) async fn search(
    State(api): Shared,
    caller: Caller,
    Query(search): Query<Search>,
) -> Result<Json<Vec<CameraView>>, Problem> {
    let filter = Filter::read(search)?;
    let table = api.options.control.table();
    let mut found = Vec::new();
    for (id, commune) in &table.communes {
        if commune.agreement_for(&caller.operator.unit, "").is_none() {
            continue;
        }
        let name = commune.name.clone().unwrap_or_else(|| id.to_string());
        let list = commune.cameras.iter().flat_map(|list| list.iter());
        let near = filter.listed_as_neighbours(&table.communes);
        for info in list {
            if let Some(distance) = filter.matches(id, &name, info, near) {
                found.push(CameraView {
                    commune: id.clone(),
                    commune_name: name.clone(),
                    camera: info.id.clone(),
                    online: commune.online,
                    info: info.clone(),
                    distance,
                });
            }
        }
    }
    // Lists come sorted by commune and id; the sort by distance keeps that order.
    found.sort_by(|one, other| match (one.distance, other.distance) {
        (Some(one), Some(other)) => one.total_cmp(&other),
        (Some(_), None) => std::cmp::Ordering::Less,
        (None, Some(_)) => std::cmp::Ordering::Greater,
        (None, None) => std::cmp::Ordering::Equal,
    });
    found.truncate(filter.limit);
    Ok(Json(found))
}

pub(super) fn bad(name: &str, form: &str) -> Problem {
    Problem::with_status(400, format!("{name} must be {form}"))
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
        let circle = |text: String| match numbers(&text)[..] {
            [latitude, longitude, metres] if is_point([latitude, longitude]) && metres >= 0.0 => {
                Ok(([latitude, longitude], metres))
            }
            _ => Err(bad("circle", "LAT,LON,METRES")),
        };
        let neighbours = |text: String| match text.split_once('/') {
            Some((commune, camera)) => Ok((commune.to_owned(), camera.to_owned())),
            None => Err(bad("neighbours", "COMMUNE/CAMERA")),
        };
        Ok(Self {
            words: fold(&text).split_whitespace().map(str::to_owned).collect(),
            commune: search.commune,
            group: search.group,
            near: search.near.map(|text| point("near", &text)).transpose()?,
            circle: search.circle.map(circle).transpose()?,
            polygon: search.polygon.map(polygon).transpose()?,
            neighbours: search.neighbours.map(neighbours).transpose()?,
            limit,
        })
    }

    /// What the camera whose neighbours are asked for names itself.
    fn listed_as_neighbours<'a>(
        &self,
        communes: &'a std::collections::BTreeMap<CommuneId, std::sync::Arc<Commune>>,
    ) -> &'a [String] {
        let info = self.neighbours.as_ref().and_then(|(commune, camera)| {
            let list = communes.get(commune.as_str())?.cameras.as_ref()?;
            list.iter().find(|info| info.id.as_str() == camera)
        });
        info.map_or(&[], |info| &info.neighbours)
    }

    /// `None`: does not match; else the distance, where a place was given.
    #[allow(clippy::option_option)] // a match without a distance is one too
    fn matches(
        &self,
        commune: &CommuneId,
        name: &str,
        info: &CameraInfo,
        neighbours: &[String],
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
        if let Some(middle) = &self.neighbours
            && !is_neighbour(middle, neighbours, commune, info)
        {
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
        Some(from.and_then(|from| info.position.map(|place| distance(from, place))))
    }
}

/// Either names the other; `camera` alone means the same commune.
fn is_neighbour(
    (commune, camera): &(String, String),
    named: &[String],
    of: &CommuneId,
    info: &CameraInfo,
) -> bool {
    let names = |list: &[String], list_commune: &str, commune: &str, camera: &str| {
        list.iter().any(|entry| match entry.split_once('/') {
            Some((other, id)) => other == commune && id == camera,
            None => list_commune == commune && entry == camera,
        })
    };
    names(named, commune, of.as_str(), info.id.as_str())
        || names(&info.neighbours, of.as_str(), commune, camera)
}

/// Numbers with anything usual between them; empty where one is none.
fn numbers(text: &str) -> Vec<f64> {
    let parts = text.split([',', ';', ' ']).filter(|part| !part.is_empty());
    let read: Result<Vec<f64>, _> = parts.map(str::parse::<f64>).collect();
    let read = read.unwrap_or_default();
    if read.iter().all(|number| number.is_finite()) {
        read
    } else {
        Vec::new()
    }
}

/// A place as it is given in a query.
pub(super) fn point(name: &str, text: &str) -> Result<[f64; 2], Problem> {
    match numbers(text)[..] {
        [latitude, longitude] if is_point([latitude, longitude]) => Ok([latitude, longitude]),
        _ => Err(bad(name, "LAT,LON in degrees")),
    }
}

fn is_point([latitude, longitude]: [f64; 2]) -> bool {
    latitude.abs() <= 90.0 && longitude.abs() <= 180.0
}

/// `LAT,LON;LAT,LON;…`, at least three corners.
fn polygon(text: String) -> Result<Vec<[f64; 2]>, Problem> {
    let form = "LAT,LON;LAT,LON;… with 3 to 256 corners";
    if text.len() > CORNERS * 48 {
        return Err(bad("polygon", form));
    }
    let read = numbers(&text);
    let (corners, rest) = read.as_chunks::<2>();
    let fits = rest.is_empty()
        && (3..=CORNERS).contains(&corners.len())
        && corners.iter().all(|corner| is_point(*corner));
    if fits {
        Ok(corners.to_vec())
    } else {
        Err(bad("polygon", form))
    }
}

/// Metres between two places, along the ground.
fn distance(from: [f64; 2], to: [f64; 2]) -> f64 {
    let [from_latitude, from_longitude] = from.map(f64::to_radians);
    let [to_latitude, to_longitude] = to.map(f64::to_radians);
    let latitude = ((to_latitude - from_latitude) / 2.0).sin();
    let longitude = ((to_longitude - from_longitude) / 2.0).sin();
    let chord =
        latitude * latitude + from_latitude.cos() * to_latitude.cos() * longitude * longitude;
    let metres = 2.0 * EARTH * chord.sqrt().clamp(0.0, 1.0).asin();
    (metres * 10.0).round() / 10.0
}

/// Whether a place is inside a polygon (even-odd rule; flat, which is right for
/// the size of a commune).
fn contains(corners: &[[f64; 2]], [latitude, longitude]: [f64; 2]) -> bool {
    let before = corners.iter().cycle().skip(corners.len().saturating_sub(1));
    let mut is_inside = false;
    for (here, there) in corners.iter().zip(before) {
        let crosses = (here[0] > latitude) != (there[0] > latitude);
        if crosses {
            let at = (there[1] - here[1]) * (latitude - here[0]) / (there[0] - here[0]) + here[1];
            is_inside ^= longitude < at;
        }
    }
    is_inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ids::CameraId;

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
            unusable: None,
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
        filter(search).matches(&commune, "Berre-l'Étang", info, &["quai-nord".to_owned()])
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
    fn neighbours_count_from_either_side() {
        let search = |of: &str| Search {
            neighbours: text(of),
            ..Search::default()
        };
        // Named by the camera in the middle, or naming it.
        assert!(found(search("berre-l-etang/middle"), &camera("quai-nord", None)).is_some());
        assert!(found(search("rognac/rn113"), &camera("x", None)).is_some());
        assert!(found(search("rognac/other"), &camera("x", None)).is_none());
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
