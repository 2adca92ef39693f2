//! The cameras around one: those that its commune or theirs named as neighbours, else those
//! that lie near.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::geometry::{direction, distance};
use crate::format::control::CameraInfo;
use crate::format::designation::Designation;
use crate::format::ids::CommuneId;
use crate::policy::desk::Commune;

/// How far a neighbour may be where none is named, in metres: a car is there in two minutes.
const REACH: f64 = 2_000.0;

/// The camera whose neighbours are asked for.
#[derive(Debug)]
pub(super) struct Middle<'a> {
    commune: &'a str,
    camera: &'a str,
    /// Where it is, if that is known to the caller.
    pub(super) position: Option<[f64; 2]>,
    named: &'a [String],
    /// Neither names it one, nor any other names it.
    is_alone: bool,
}

impl<'a> Middle<'a> {
    /// Looks it up among the cameras that an operator may ask for. One that is not there
    /// still is the neighbour of those that name it.
    pub(super) fn find(
        (commune, camera): &'a (String, String),
        communes: &'a BTreeMap<CommuneId, Arc<Commune>>,
        who: &Designation,
    ) -> Self {
        let visible = || {
            let visible = communes.iter();
            let visible = visible.filter(|(_, one)| one.agreement_for(who, "").is_some());
            visible.flat_map(|(id, one)| {
                let list = one.cameras.iter().flat_map(|list| list.iter());
                list.map(move |info| (id, info))
            })
        };
        let own = visible().find(|(id, info)| id.as_str() == commune && info.id.as_str() == camera);
        let own = own.map(|(_, info)| info);
        let mut middle = Self {
            commune,
            camera,
            position: own.and_then(|info| info.position),
            named: own.map_or(&[], |info| &info.neighbours),
            is_alone: false,
        };
        middle.is_alone = !visible().any(|(id, info)| middle.is_next_to(id, info));
        middle
    }

    /// Whether this camera is a neighbour of it.
    pub(super) fn is_next_to(&self, commune: &CommuneId, info: &CameraInfo) -> bool {
        let itself = self.commune == commune.as_str() && self.camera == info.id.as_str();
        if self.is_alone {
            let away = self.position.zip(info.position);
            return !itself && away.is_some_and(|(from, to)| distance(from, to) <= REACH);
        }
        !itself
            && (names(self.named, self.commune, commune.as_str(), info.id.as_str())
                || names(
                    &info.neighbours,
                    commune.as_str(),
                    self.commune,
                    self.camera,
                ))
    }

    /// Degrees from north at which a place lies from it.
    pub(super) fn direction_to(&self, place: Option<[f64; 2]>) -> Option<f64> {
        let (from, to) = self.position.zip(place)?;
        Some(direction(from, to))
    }
}

/// Whether a list of neighbours names a camera; `camera` alone means the list's own commune.
fn names(list: &[String], of_commune: &str, commune: &str, camera: &str) -> bool {
    list.iter().any(|entry| match entry.split_once('/') {
        Some((other, id)) => other == commune && id == camera,
        None => of_commune == commune && entry == camera,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::format::control::AgreementInfo;
    use crate::format::ids::{CameraId, Sha256};
    use crate::format::statement::Operator;

    fn camera(id: &str, position: [f64; 2], neighbours: &[&str]) -> CameraInfo {
        CameraInfo {
            id: CameraId::new(id).unwrap(),
            name: id.to_owned(),
            groups: Vec::new(),
            position: Some(position),
            bearing: None,
            field_of_view: None,
            neighbours: neighbours.iter().map(|id| (*id).to_owned()).collect(),
            sub: false,
            vms: false,
            unusable: None,
            failed: None,
        }
    }

    fn communes(all: &[(&str, &str, Vec<CameraInfo>)]) -> BTreeMap<CommuneId, Arc<Commune>> {
        let commune = |unit: &str, cameras: &Vec<CameraInfo>| Commune {
            agreements: Some(Arc::new([AgreementInfo {
                reference: String::new(),
                from: String::new(),
                until: String::new(),
                units: vec![unit.to_owned()],
                authorities: Vec::new(),
                grounds: Vec::new(),
                max_duration: 0,
                max_total: 0,
                max_relays: 0,
                snapshots: false,
                watermark: false,
                vms: false,
                approval: false,
                approval_exempt: Vec::new(),
                hours: Vec::new(),
            }])),
            cameras: Some(cameras.clone().into()),
            ..Commune::default()
        };
        let each = all.iter().map(|(id, unit, cameras)| {
            let id = CommuneId::new(*id).unwrap();
            (id, Arc::new(commune(unit, cameras)))
        });
        each.collect()
    }

    /// Neighbours of a camera, as `commune/camera`.
    fn around(communes: &BTreeMap<CommuneId, Arc<Commune>>, commune: &str, id: &str) -> String {
        let wanted = (commune.to_owned(), id.to_owned());
        let who = Designation {
            operator: Operator {
                name: "A".to_owned(),
                number: "1".to_owned(),
                unit: "U".to_owned(),
            },
            not_after: Wall(0),
            fingerprint: Sha256::ZERO,
            authority: Sha256::ZERO,
            path: Vec::new(),
        };
        let middle = Middle::find(&wanted, communes, &who);
        let visible = communes
            .iter()
            .filter(|(_, one)| one.agreement_for(&who, "").is_some());
        let all = visible.flat_map(|(id, commune)| {
            let list = commune.cameras.iter().flat_map(|list| list.iter());
            list.map(move |info| (id, info))
        });
        let found = all.filter(|(id, info)| middle.is_next_to(id, info));
        let found: Vec<String> = found
            .map(|(id, info)| format!("{id}/{}", info.id))
            .collect();
        found.join(" ")
    }

    #[test]
    fn named_from_either_side_across_communes() {
        let all = communes(&[
            (
                "berre",
                "U",
                vec![
                    camera("quai", [43.0, 5.0], &["rond-point", "rognac/rn113"]),
                    camera("rond-point", [44.0, 5.0], &[]),
                    camera("far", [45.0, 5.0], &[]),
                ],
            ),
            (
                "rognac",
                "U",
                vec![
                    camera("gare", [43.0, 5.0], &["berre/far"]),
                    camera("rn113", [46.0, 5.0], &[]),
                ],
            ),
        ]);
        assert_eq!(
            around(&all, "berre", "quai"),
            "berre/rond-point rognac/rn113"
        );
        // Named by the other.
        assert_eq!(around(&all, "berre", "rond-point"), "berre/quai");
        assert_eq!(around(&all, "berre", "far"), "rognac/gare");
        // Not there, and yet named.
        assert_eq!(around(&all, "berre", "nowhere"), "");
    }

    #[test]
    fn where_none_is_named_those_that_lie_near() {
        let all = communes(&[
            (
                "berre",
                "U",
                vec![
                    camera("a", [43.0, 5.0], &[]),
                    camera("b", [43.01, 5.0], &[]),
                    camera("c", [43.02, 5.0], &[]),
                ],
            ),
            ("rognac", "U", vec![camera("d", [43.0, 5.01], &[])]),
            ("other", "V", vec![camera("e", [43.0, 5.0], &[])]),
        ]);
        assert_eq!(around(&all, "berre", "a"), "berre/b rognac/d");
        // Where a camera is that the unit may not ask for is not told.
        assert_eq!(around(&all, "other", "e"), "");
    }
}
