//! `fanal journal still`: which grant a still belongs to, and whether it is unaltered.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;

use super::super::Usage;
use crate::format::chain::Line;
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256, SnapshotId};
use crate::format::png::{self, Png};
use crate::format::statement::Operator;
use crate::journal::entry::Entry;
use crate::journal::reader::{self, Content, Lines};
use crate::journal::store::{Disk, Store};

/// Largest file that is read.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// Arguments of `fanal journal still`.
#[derive(Debug, Args)]
pub(super) struct StillArgs {
    /// The still, as the console saved it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Directories with month files: journals or copies of either side, better of both
    #[arg(value_name = "DIR", num_args = 1.., required = true)]
    directories: Vec<PathBuf>,
    /// Print verdict and records as JSON
    #[arg(long)]
    json: bool,
}

/// What is found of a still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Picture and text are those that were recorded.
    Unaltered,
    /// The picture is one that was recorded; the text that named it is gone.
    TextRemoved,
    /// The picture is one that was recorded; the text says something else.
    TextChanged,
    /// The text names a recorded still; the picture is another.
    Altered,
    /// The text names a still that was recorded without a hash.
    NotProvable,
    /// It was recorded, but never given.
    NotGiven,
    /// The journals disagree on it.
    Contradiction,
    /// No journal here knows it.
    Foreign,
}

impl Verdict {
    /// The picture is the one that was recorded.
    const fn is_unaltered(self) -> bool {
        matches!(self, Self::Unaltered | Self::TextRemoved)
    }
}

/// A still in a journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Record {
    directory: PathBuf,
    seq: u64,
    time: String,
    snapshot: SnapshotId,
    grant: GrantId,
    commune: CommuneId,
    camera: CameraId,
    captured: String,
    operator: Operator,
    sha256: Option<Sha256>,
}

/// All stills of some journals.
#[derive(Debug, Default)]
struct Known {
    records: Vec<Record>,
    /// Recorded at the centre, but not given.
    refused: Vec<SnapshotId>,
}

/// What the file says of itself.
#[derive(Debug, Default)]
struct Claim {
    snapshot: Option<SnapshotId>,
    grant: Option<String>,
    camera: Option<String>,
    captured: Option<String>,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Answer {
    verdict: Verdict,
    sentence: String,
    /// Of the file's image data; none where it is no whole PNG.
    sha256: Option<Sha256>,
    records: Vec<Record>,
}

/// Runs `fanal journal still`.
pub(super) fn run(args: &StillArgs) -> anyhow::Result<ExitCode> {
    let file = read_file(&args.file)?;
    let mut known = Known::default();
    for directory in &args.directories {
        known.read(directory)?;
    }
    let answer = judge(&file, &known);
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &answer)?;
        writeln!(out)?;
    } else {
        out.write_all(told(&answer).as_bytes())?;
    }
    Ok(if answer.verdict.is_unaltered() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let usage = |cause: String| Usage(format!("{shown}: {cause}"));
    let size = std::fs::metadata(path).map_err(|error| usage(error.to_string()))?;
    if !size.is_file() || size.len() > FILE_LIMIT {
        return Err(usage("name a file of 64 MiB at most".to_owned()).into());
    }
    Ok(std::fs::read(path).map_err(|error| usage(error.to_string()))?)
}

impl Known {
    /// Adds the stills of a journal or a copy of one.
    fn read(&mut self, directory: &Path) -> anyhow::Result<()> {
        let name = directory.display().to_string();
        let mut store =
            Disk::existing(directory).map_err(|error| Usage(format!("{name}: {error}")))?;
        let months = store.months().with_context(|| name.clone())?;
        if months.is_empty() {
            let cause =
                "holds no month file (YYYY-MM.jsonl); name state_dir/journal or a copy of it";
            return Err(Usage(format!("{name} {cause}")).into());
        }
        for month in months {
            let file = month.file_name();
            let mut lines = Lines::new(store.read(month).with_context(|| file.clone())?);
            while let Some((_, content)) = lines.next_line().with_context(|| file.clone())? {
                let Content::Line(bytes) = content else {
                    continue;
                };
                let line = Line::parse(bytes)
                    .map_err(|error| anyhow!("{name}: {file}: no line of a journal: {error}"))?;
                let entry = line.body.and_then(|body| reader::entry(body).ok()?);
                self.note(directory, &line, entry);
            }
        }
        Ok(())
    }

    fn note(&mut self, directory: &Path, line: &Line<'_>, entry: Option<Entry>) {
        match entry {
            Some(Entry::Snapshot {
                snapshot,
                grant,
                commune,
                camera,
                captured,
                operator,
                sha256,
            }) => self.records.push(Record {
                directory: directory.to_owned(),
                seq: line.header.seq,
                time: line.header.time.rfc3339(),
                snapshot,
                grant,
                commune,
                camera,
                captured,
                operator,
                sha256,
            }),
            Some(Entry::SnapshotRefused { snapshot, .. }) => self.refused.push(snapshot),
            _ => {}
        }
    }

    fn of(&self, which: impl Fn(&Record) -> bool) -> Vec<Record> {
        self.records
            .iter()
            .filter(|record| which(record))
            .cloned()
            .collect()
    }
}

impl Claim {
    /// From a PNG's texts, as the console writes them.
    fn read(png: &Png) -> Self {
        let text = |keyword: &str| png.text(keyword).map(str::to_owned);
        let mut claim = Self {
            camera: text("Source"),
            captured: text("Creation Time"),
            ..Self::default()
        };
        for part in text("Comment").unwrap_or_default().split(';') {
            let part = part.trim();
            if let Some(id) = part.strip_prefix("fanal snapshot ") {
                claim.snapshot = id.trim().parse().ok().map(SnapshotId);
            } else if let Some(grant) = part.strip_prefix("grant ") {
                claim.grant = Some(grant.trim().to_owned());
            }
        }
        claim
    }

    /// The first thing in which it differs from the record.
    fn difference(&self, record: &Record) -> Option<String> {
        let camera = format!("{}/{}", record.commune, record.camera);
        let grant = record.grant.to_string();
        for (name, said, is) in [
            ("camera", &self.camera, &camera),
            ("moment", &self.captured, &record.captured),
            ("grant", &self.grant, &grant),
        ] {
            match said {
                Some(said) if said != is => {
                    return Some(format!("the text names {name} {said:?}, the journal {is}"));
                }
                None => return Some(format!("the text lacks the {name}, which is {is}")),
                Some(_) => {}
            }
        }
        None
    }
}

fn judge(file: &[u8], known: &Known) -> Answer {
    let png = match png::read(file) {
        Ok(png) => png,
        Err(cause) => {
            let sentence = format!(
                "no still of these journals: {cause}. A picture that was saved in another format or photographed from a screen can't be matched"
            );
            return answer(Verdict::Foreign, sentence, None, Vec::new());
        }
    };
    let claim = Claim::read(&png);
    let sha256 = Some(png.image);
    let named = known.of(|record| Some(record.snapshot) == claim.snapshot);
    let alike = known.of(|record| record.sha256 == sha256);
    let (verdict, sentence, records) = if let Some(named_id) = named.first().map(|it| it.snapshot) {
        let (verdict, sentence) = judge_named(&claim, &named, &alike, sha256);
        let is_refused = known.refused.contains(&named_id);
        if is_refused && verdict == Verdict::Unaltered {
            let sentence =
                format!("still {named_id} was recorded but not given, so nobody should hold it");
            (Verdict::NotGiven, sentence, named)
        } else {
            (verdict, sentence, named)
        }
    } else if let Some(record) = alike.first() {
        let snapshot = record.snapshot;
        match claim.snapshot {
            None => (
                Verdict::TextRemoved,
                format!(
                    "unaltered picture of still {snapshot}, found by its hash: its text was removed"
                ),
                alike,
            ),
            Some(id) => (
                Verdict::TextChanged,
                format!(
                    "unaltered picture of still {snapshot}, but its text was changed: it names still {id}, which is in none of these journals"
                ),
                alike,
            ),
        }
    } else {
        let sentence = match claim.snapshot {
            Some(id) => format!(
                "foreign: its text names still {id}, which is in none of these journals, and neither is its picture"
            ),
            None => {
                "foreign: it has no text of fanal's, and none of these journals holds its picture"
                    .to_owned()
            }
        };
        (Verdict::Foreign, sentence, Vec::new())
    };
    answer(verdict, sentence, sha256, records)
}

/// The text names a still that is recorded.
fn judge_named(
    claim: &Claim,
    named: &[Record],
    alike: &[Record],
    sha256: Option<Sha256>,
) -> (Verdict, String) {
    let Some(first) = named.first() else {
        return (Verdict::Foreign, String::new());
    };
    let snapshot = first.snapshot;
    let same = |record: &Record| {
        let says = |of: &Record| {
            (
                of.grant,
                of.commune.clone(),
                of.camera.clone(),
                of.captured.clone(),
            )
        };
        let hashes = record.sha256.zip(first.sha256);
        says(record) == says(first) && hashes.is_none_or(|(this, that)| this == that)
    };
    if let Some(other) = named.iter().find(|record| !same(record)) {
        let sentence = format!(
            "the journals disagree on still {snapshot}: line {} of {} and line {} of {}",
            first.seq,
            first.directory.display(),
            other.seq,
            other.directory.display()
        );
        return (Verdict::Contradiction, sentence);
    }
    let Some(recorded) = named.iter().find_map(|record| record.sha256) else {
        let sentence = format!(
            "still {snapshot} is recorded, but without the hash of its picture, by a version that kept none: whether it is unaltered can't be told"
        );
        return (Verdict::NotProvable, sentence);
    };
    if sha256 != Some(recorded) {
        let other = alike.first().map(|other| other.snapshot);
        let sentence = match other {
            Some(other) => {
                format!("altered: the picture of still {other} with the text of still {snapshot}")
            }
            None => format!(
                "altered: its text names still {snapshot}, but its picture is not the one recorded: it was edited, cropped or saved again"
            ),
        };
        return (Verdict::Altered, sentence);
    }
    match claim.difference(first) {
        Some(difference) => (
            Verdict::TextChanged,
            format!(
                "unaltered picture of still {snapshot}, but its text was changed: {difference}"
            ),
        ),
        None => (
            Verdict::Unaltered,
            format!("unaltered: picture and text of still {snapshot} are as recorded"),
        ),
    }
}

fn answer(
    verdict: Verdict,
    sentence: String,
    sha256: Option<Sha256>,
    records: Vec<Record>,
) -> Answer {
    Answer {
        verdict,
        sentence,
        sha256,
        records,
    }
}

/// For a person.
fn told(answer: &Answer) -> String {
    let mut lines = vec![answer.sentence.clone()];
    if let Some(record) = answer.records.first() {
        let Operator { name, number, unit } = &record.operator;
        lines.push(format!("camera    {}/{}", record.commune, record.camera));
        lines.push(format!("moment    {}", record.captured));
        lines.push(format!("person    {name} ({number}, {unit})"));
        lines.push(format!("grant     {}", record.grant));
    }
    for record in &answer.records {
        let hash = record
            .sha256
            .map_or_else(|| "none".to_owned(), |hash| hash.to_string());
        lines.push(format!(
            "recorded  line {} of {} at {}, sha256 {hash}",
            record.seq,
            record.directory.display(),
            record.time
        ));
    }
    if let Some(hash) = answer.sha256 {
        lines.push(format!("picture   sha256 {hash}"));
    }
    if !answer.records.is_empty() {
        lines.push(
            "whether the journals are intact: fanal journal verify, fanal journal compare"
                .to_owned(),
        );
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Wall;
    use crate::journal::sim::{Scratch, lines};

    const ID: u128 = 7;

    fn entry(id: u128, hash: Option<Sha256>) -> Entry {
        Entry::Snapshot {
            snapshot: SnapshotId(uuid::Uuid::from_u128(id)),
            grant: GrantId(uuid::Uuid::from_u128(1)),
            commune: CommuneId::new("berre").unwrap(),
            camera: CameraId::new("quai").unwrap(),
            captured: "2026-11-30T00:00:01.000Z".to_owned(),
            operator: Operator {
                name: "Adjudant Martin".to_owned(),
                number: "13-1".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            sha256: hash,
        }
    }

    fn known(entries: &[Entry]) -> Known {
        let directory = Scratch::new("still");
        let at = |(_, entry): (usize, &Entry)| (Wall::from_seconds(1_795_996_800), entry.clone());
        let written = lines(&entries.iter().enumerate().map(at).collect::<Vec<_>>());
        std::fs::write(directory.0.join("2026-11.jsonl"), written.concat()).unwrap();
        let mut known = Known::default();
        known.read(&directory.0).unwrap();
        known
    }

    fn texts(id: u128, camera: &str) -> Vec<(String, String)> {
        let comment = format!(
            "fanal snapshot {}; grant {}; incident 2026-1",
            uuid::Uuid::from_u128(id),
            uuid::Uuid::from_u128(1)
        );
        let own = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        vec![
            own("Source", camera),
            own("Creation Time", "2026-11-30T00:00:01.000Z"),
            own("Comment", &comment),
        ]
    }

    fn file(image: &[u8], texts: &[(String, String)]) -> Vec<u8> {
        png::tests::write(
            &[&image[..image.len() / 2], &image[image.len() / 2..]],
            texts,
        )
    }

    #[test]
    fn files_of_every_kind_are_told_apart() {
        let (image, other) = (
            b"a picture's data".as_slice(),
            b"of another picture".as_slice(),
        );
        let hash = |image: &[u8]| Some(Sha256::of(image));
        let both = known(&[entry(ID, hash(image)), entry(8, hash(other))]);
        let own = texts(ID, "berre/quai");
        for (name, file, known, verdict, words) in [
            (
                "as saved",
                file(image, &own),
                &both,
                Verdict::Unaltered,
                "picture and text",
            ),
            (
                "text gone",
                file(image, &[]),
                &both,
                Verdict::TextRemoved,
                "found by its hash",
            ),
            (
                "other camera",
                file(image, &texts(ID, "berre/port")),
                &both,
                Verdict::TextChanged,
                "berre/port",
            ),
            (
                "other id",
                file(image, &texts(99, "berre/quai")),
                &both,
                Verdict::TextChanged,
                "in none of these",
            ),
            (
                "edited",
                file(b"edited", &own),
                &both,
                Verdict::Altered,
                "edited, cropped or saved again",
            ),
            (
                "swapped",
                file(other, &own),
                &both,
                Verdict::Altered,
                "with the text of still",
            ),
            (
                "foreign",
                file(b"foreign", &[]),
                &both,
                Verdict::Foreign,
                "no text of fanal's",
            ),
            (
                "elsewhere",
                file(b"foreign", &texts(99, "a/b")),
                &both,
                Verdict::Foreign,
                "in none of these",
            ),
            (
                "jpeg",
                b"\xff\xd8\xff\xe0 a JPEG".to_vec(),
                &both,
                Verdict::Foreign,
                "no PNG",
            ),
            (
                "cut short",
                file(image, &own)[..120].to_vec(),
                &both,
                Verdict::Foreign,
                "ends in the middle",
            ),
            (
                "old",
                file(image, &own),
                &known(&[entry(ID, None)]),
                Verdict::NotProvable,
                "without the hash",
            ),
            (
                "two sides",
                file(image, &own),
                &known(&[entry(ID, hash(image)), entry(ID, hash(other))]),
                Verdict::Contradiction,
                "disagree",
            ),
            (
                "one side is old",
                file(image, &own),
                &known(&[entry(ID, None), entry(ID, hash(image))]),
                Verdict::Unaltered,
                "as recorded",
            ),
            (
                "not given",
                file(image, &own),
                &known(&[
                    entry(ID, hash(image)),
                    Entry::SnapshotRefused {
                        snapshot: SnapshotId(uuid::Uuid::from_u128(ID)),
                        grant: GrantId(uuid::Uuid::from_u128(1)),
                        refusal: crate::reason::Reason::LinkLost.into(),
                    },
                ]),
                Verdict::NotGiven,
                "not given",
            ),
        ] {
            let answer = judge(&file, known);
            assert_eq!(answer.verdict, verdict, "{name}: {}", answer.sentence);
            assert!(
                answer.sentence.contains(words),
                "{name}: {}",
                answer.sentence
            );
            let unaltered = ["as saved", "text gone", "one side is old"].contains(&name);
            assert_eq!(verdict.is_unaltered(), unaltered, "{name}");
            let told = told(&answer);
            let names_person = told.contains("Adjudant Martin (13-1, CORG 13)");
            assert_eq!(names_person, verdict != Verdict::Foreign, "{told}");
        }
    }
}
