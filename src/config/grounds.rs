//! The grounds that fanal knows, with their labels.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::problem::Reading;
use super::raw;
use super::section::Root;
use super::settings::Ground;
use super::values;
use crate::format::ids::CameraId;

/// Ids of the closed list with French and English labels. A commune may add its
/// own with `[[ground]]`; it can't change the meaning of these.
pub const GROUNDS: &[(&str, &str, &str)] = &[
    ("burglary", "cambriolage", "burglary"),
    ("theft", "vol", "theft"),
    ("assault", "agression", "assault"),
    ("pursuit", "poursuite d'un fuyard", "pursuit of a fugitive"),
    ("missing_person", "personne disparue", "missing person"),
    ("fire", "incendie", "fire"),
    ("accident", "accident", "accident"),
    (
        "public_order",
        "trouble à l'ordre public",
        "public disorder",
    ),
    ("terrorism", "terrorisme", "terrorism"),
    ("drill", "exercice", "drill"),
];

/// fanal's list and the file's own.
pub(super) fn read(root: &mut Root<'_>, reading: &mut Reading<'_>) -> BTreeMap<String, Ground> {
    let mut grounds: BTreeMap<String, Ground> = GROUNDS
        .iter()
        .map(|(id, fr, en)| {
            let ground = Ground {
                fr: (*fr).to_owned(),
                en: (*en).to_owned(),
            };
            ((*id).to_owned(), ground)
        })
        .collect();
    for entry in root.strict_entries::<raw::Ground>("ground", reading) {
        let id = reading.required(&entry.at, "id", entry.raw.id, |id| ground_id(&id));
        let fr = reading.required(&entry.at, "fr", entry.raw.fr, |label| values::text(&label));
        let en = reading.required(&entry.at, "en", entry.raw.en, |label| values::text(&label));
        let (Some(id), Some(fr), Some(en)) = (id, fr, en) else {
            continue;
        };
        match grounds.entry(id) {
            Entry::Vacant(place) => {
                place.insert(Ground { fr, en });
            }
            Entry::Occupied(known) => reading.error(
                entry.at.of("id"),
                format!("ground {:?} is already known; use another id", known.key()),
            ),
        }
    }
    grounds
}

/// The form of ids, with `_` allowed as in fanal's own list.
fn ground_id(written: &str) -> Result<String, String> {
    match CameraId::new(written.replace('_', "-")) {
        Ok(_) => Ok(written.to_owned()),
        Err(_) => Err(format!(
            "{written:?} is no id; use a-z, 0-9, - and _, beginning with a letter or digit"
        )),
    }
}
