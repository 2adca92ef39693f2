//! Entries of a month that somebody looks for, in bounded memory: what the commune's page shows.
//!
//! An entry is found by what it says itself, or because it belongs to a grant that was found
//! before it in the same reading: an end or a list of viewings names no camera. Nothing is
//! verified here: `fanal journal verify` does that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::entry::Entry;
use super::reader::{self, Content, Lines};
use super::store::Month;
use crate::clock::Wall;
use crate::format::chain::Line;
use crate::format::jws;
use crate::format::statement::RequestClaims;

/// Most bytes of bodies in an answer; the oldest go.
const BYTES: usize = 8 * 1024 * 1024;
/// Most grants that others may belong to.
const GRANTS: usize = 10_000;
/// Lines between two looks at whether to go on.
const LOOK_EVERY: u64 = 512;

/// What is looked for; nothing set finds everything.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// A camera's id.
    pub camera: Option<String>,
    /// A part of somebody's number or name, in any case.
    pub operator: Option<String>,
    /// A part of an incident's reference, in any case.
    pub incident: Option<String>,
    /// From this time on.
    pub from: Option<Wall>,
    /// Before this time.
    pub to: Option<Wall>,
    /// Most entries in the answer; the newest stay.
    pub limit: usize,
}

/// An entry that was found.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Number of its line.
    pub seq: u64,
    /// When it was written, RFC 3339.
    pub time: String,
    /// Its kind.
    pub kind: String,
    /// The incident that it names, itself or in the request that it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incident: Option<String>,
    /// The cameras that it names.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub cameras: BTreeSet<String>,
    /// The entry's body; null where this copy has none.
    pub body: Value,
    #[serde(skip)]
    bytes: usize,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest entries, oldest first.
    pub rows: VecDeque<Row>,
    /// How many older ones were left out for want of room.
    pub left_out: u64,
    bytes: usize,
    grants: BTreeSet<String>,
}

/// Looks through one month's file. `goes_on` is asked now and then.
///
/// # Errors
/// The file can't be read; `TimedOut` where it was not to go on. No file is no error.
pub fn month(
    directory: &Path,
    month: Month,
    filter: &Filter,
    found: &mut Found,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    each_line(directory, month, goes_on, |line| found.look(line, filter))
}

/// Gives every entry since a time, oldest first, with the number and the time of its line.
///
/// # Errors
/// The directory or a file can't be read.
pub fn entries_since(
    directory: &Path,
    since: Wall,
    mut each: impl FnMut(u64, Wall, &Entry),
) -> io::Result<()> {
    let first = Month::of(since);
    for month in months(directory)?.range(first..) {
        each_line(
            directory,
            *month,
            || true,
            |line| {
                let header = &line.header;
                let body = line.body.filter(|_| header.time >= since);
                // Of a kind that this version does not know, or no line of ours.
                if let Some(Ok(Some(entry))) = body.map(reader::entry) {
                    each(header.seq, header.time, &entry);
                }
            },
        )?;
    }
    Ok(())
}

fn each_line(
    directory: &Path,
    month: Month,
    goes_on: impl Fn() -> bool,
    mut look: impl FnMut(&Line<'_>),
) -> io::Result<()> {
    let file = match File::open(directory.join(month.file_name())) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let mut lines = Lines::new(file);
    while let Some((place, content)) = lines.next_line()? {
        if place.number % LOOK_EVERY == 0 && !goes_on() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        // The writer may be at the last line; what is no line is for `verify` to tell.
        let Content::Line(text) = content else {
            continue;
        };
        if let Ok(line) = Line::parse(text) {
            look(&line);
        }
    }
    Ok(())
}

impl Row {
    fn of(line: &Line<'_>, body: Value, said: Said) -> Self {
        Self {
            seq: line.header.seq,
            time: line.header.time.rfc3339(),
            kind: body["kind"].as_str().unwrap_or_default().to_owned(),
            incident: said.incident,
            cameras: said.cameras,
            body,
            bytes: line.body.map_or(0, <[u8]>::len),
        }
    }
}

impl Found {
    fn look(&mut self, line: &Line<'_>, filter: &Filter) {
        let time = line.header.time;
        let is_early = filter.from.is_some_and(|from| time < from);
        if filter.to.is_some_and(|to| time >= to) {
            return;
        }
        let body = line.body.unwrap_or(b"null");
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let said = Said::of(&body);
        let grant = body["grant"].as_str();
        let belongs = grant.is_some_and(|grant| self.grants.contains(grant));
        if !belongs && !said.fits(filter, &body) {
            return;
        }
        if let Some(grant) = grant
            && self.grants.len() < GRANTS
        {
            self.grants.insert(grant.to_owned());
        }
        // What began before the day may go on in it.
        if is_early {
            return;
        }
        let row = Row::of(line, body, said);
        self.bytes += row.bytes;
        self.rows.push_back(row);
        while self.rows.len() > filter.limit || self.bytes > BYTES {
            let Some(oldest) = self.rows.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes;
            self.left_out += 1;
        }
    }
}

/// What an entry says of incident and cameras.
#[derive(Default)]
struct Said {
    incident: Option<String>,
    cameras: BTreeSet<String>,
}

impl Said {
    fn of(body: &Value) -> Self {
        let mut said = Self {
            incident: body["incident"].as_str().map(str::to_owned),
            ..Self::default()
        };
        for name in ["cameras", "granted"] {
            let listed = body[name].as_array().into_iter().flatten();
            said.cameras
                .extend(listed.filter_map(Value::as_str).map(str::to_owned));
        }
        for name in ["refused", "viewings", "media", "camera_sessions"] {
            let listed = body[name].as_array().into_iter().flatten();
            let named = listed.filter_map(|one| one["camera"].as_str());
            said.cameras.extend(named.map(str::to_owned));
        }
        let scope = body["scope"].as_str();
        let cut = scope.and_then(|scope| scope.strip_prefix("camera:"));
        let named = body["camera"].as_str().into_iter().chain(cut);
        said.cameras.extend(named.map(str::to_owned));
        // A request that waited or was refused tells the rest by itself.
        let request = body["request"].as_str().filter(|_| said.incident.is_none());
        if let Some(claims) =
            request.and_then(|text| jws::read_unverified::<RequestClaims>(text).ok())
        {
            said.incident = Some(claims.incident.to_string());
            let asked = claims.cameras.iter().map(ToString::to_string);
            said.cameras.extend(asked);
        }
        said
    }

    fn fits(&self, filter: &Filter, body: &Value) -> bool {
        let has = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let camera = filter.camera.as_ref();
        let incident = filter.incident.as_ref();
        camera.is_none_or(|camera| self.cameras.contains(camera))
            && incident.is_none_or(|part| {
                let incident = self.incident.as_ref();
                incident.is_some_and(|incident| has(incident, part))
            })
            && filter.operator.as_ref().is_none_or(|part| {
                let people = ["operator", "person"]
                    .into_iter()
                    .flat_map(|name| ["number", "name", "unit"].map(|member| &body[name][member]));
                let acting = ["by", "who", "approved_by"].map(|name| &body[name]);
                let ended = std::iter::once(&body["wait_ended"]["by"]);
                people
                    .chain(acting)
                    .chain(ended)
                    .filter_map(Value::as_str)
                    .any(|text| has(text, part))
            })
    }
}

/// The newest attestation of each centre.
pub type Attestations = BTreeMap<String, Row>;

/// Looks through one month's file for attestations. `goes_on` is asked now and then.
///
/// # Errors
/// As [`month`].
pub fn attestations(
    directory: &Path,
    month: Month,
    newest: &mut Attestations,
    goes_on: impl Fn() -> bool,
) -> io::Result<()> {
    each_line(directory, month, goes_on, |line| {
        // Most lines are none: only those that may be are read.
        let body = line.body.unwrap_or_default();
        let start = &body[..body.len().min(KIND_WITHIN)];
        let mark = ATTESTATION.as_bytes();
        if !start.windows(mark.len()).any(|part| part == mark) {
            return;
        }
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let centre = body["centre"].as_str().unwrap_or_default().to_owned();
        newest.insert(centre, Row::of(line, body, Said::default()));
    })
}

/// How the writer says that a body is an attestation, and within which of its first bytes.
const ATTESTATION: &str = "\"kind\":\"attestation\"";
const KIND_WITHIN: usize = 200;

/// The months that there are, oldest first.
///
/// # Errors
/// The directory can't be read.
pub fn months(directory: &Path) -> io::Result<BTreeSet<Month>> {
    let mut months = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        months.extend(name.to_str().and_then(Month::from_file_name));
    }
    Ok(months)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::chain::Header;
    use crate::format::ids::Sha256;

    fn looked(filter: &Filter, bodies: &[Value]) -> Vec<u64> {
        let mut found = Found::default();
        for (seq, body) in (1..).zip(bodies) {
            let text = body.to_string();
            let line = Line {
                header: Header {
                    seq,
                    prev: Sha256::ZERO,
                    time: Wall::from_seconds(i64::try_from(seq).unwrap() * 100),
                    digest: Sha256::ZERO,
                },
                link: Sha256::ZERO,
                body: Some(text.as_bytes()),
            };
            found.look(&line, filter);
        }
        found.rows.iter().map(|row| row.seq).collect()
    }

    #[test]
    fn entries_are_found_by_what_they_say_and_by_their_grant() {
        let bodies = [
            json!({"kind": "grant", "grant": "a", "incident": "2026/1", "granted": ["quai"],
                "operator": {"number": "13-1", "name": "Anne", "unit": "CORG"}}),
            json!({"kind": "grant", "grant": "b", "incident": "2026/2", "granted": ["port"],
                "operator": {"number": "13-2", "name": "Éric", "unit": "CORG"}}),
            json!({"kind": "ended", "grant": "a", "by": "page:pm-7"}),
            json!({"kind": "cut", "scope": "camera:port", "by": "page:pm-7"}),
            json!({"kind": "ended", "grant": "b"}),
            json!(null),
        ];
        let all = Filter {
            limit: 10,
            ..Filter::default()
        };
        assert_eq!(looked(&all, &bodies), [1, 2, 3, 4, 5, 6]);
        let some = |change: fn(&mut Filter)| {
            let mut filter = all.clone();
            change(&mut filter);
            looked(&filter, &bodies)
        };
        assert_eq!(some(|f| f.camera = Some("quai".to_owned())), [1, 3]);
        assert_eq!(some(|f| f.camera = Some("port".to_owned())), [2, 4, 5]);
        assert_eq!(some(|f| f.operator = Some("éric".to_owned())), [2, 5]);
        assert_eq!(some(|f| f.operator = Some("PM-7".to_owned())), [3, 4]);
        assert_eq!(some(|f| f.incident = Some("/1".to_owned())), [1, 3]);
        assert_eq!(some(|f| f.limit = 2), [5, 6]);
        // A grant of before the day is what its end belongs to.
        assert_eq!(
            some(|f| {
                f.camera = Some("quai".to_owned());
                f.from = Some(Wall::from_seconds(250));
                f.to = Some(Wall::from_seconds(400));
            }),
            [3]
        );
    }
}
