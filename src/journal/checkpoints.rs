//! The checkpoints that witnesses cosigned, out of journals and copies, to hold journals against.
//!
//! A checkpoint counts where a witness that was named (`--witness`) cosigned it. It also
//! convicts the journal's owner where it carries the signature of a log key that his link key
//! signed: both are in the journal, so that any copy of it with its bodies is enough.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::entry::Entry;
use super::reader::{self, Content, Lines};
use super::store::{Disk, Store};
use super::verify::statements::Authorities;
use crate::clock::Wall;
use crate::format::chain::Line;
use crate::format::ids::Sha256;
use crate::format::jws;
use crate::format::note::{self, Checkpoint, Note, VerifierKey};
use crate::format::statement::{LOG_KEY_TYPE, LogKeyClaims};

/// Most checkpoints that are held: some 700 bytes each.
const LIMIT: usize = 100_000;

/// A checkpoint that a witness cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many lines.
    pub size: u64,
    /// The root of their tree.
    pub root: Sha256,
    /// The journal's owner, as its origin says.
    pub owner: String,
    /// For people: which witness, when, and where it is held.
    pub told: String,
    /// Whether the owner signed it, by a log key that his link key signed.
    pub is_owners: bool,
}

/// All of them, by journal and in the order of their size.
#[derive(Debug, Default)]
pub struct Checkpoints {
    journals: BTreeMap<String, Vec<Seen>>,
    /// How many there are beyond [`LIMIT`].
    pub more: u64,
}

/// A checkpoint whose log's signature is not looked at yet.
struct Held {
    seen: Seen,
    journal: String,
    note: String,
}

impl Checkpoints {
    /// Reads the checkpoints of any journal out of these directories. `authorities` prove whose
    /// link keys signed log keys, where they are given.
    ///
    /// # Errors
    /// A directory or file that can't be read.
    pub fn gather(
        directories: &[PathBuf],
        witnesses: &[VerifierKey],
        authorities: Option<&Authorities>,
    ) -> Result<Self, String> {
        let mut gathered = Self::default();
        let mut held: Vec<Held> = Vec::new();
        let mut known = BTreeSet::new();
        let mut log_keys: BTreeSet<(String, VerifierKey)> = BTreeSet::new();
        if witnesses.is_empty() {
            return Ok(gathered);
        }
        for directory in directories {
            let name = directory.display();
            let fail = |error: std::io::Error| format!("{name}: {error}");
            let mut store = Disk::existing(directory).map_err(fail)?;
            for month in store.months().map_err(fail)? {
                let mut lines = Lines::new(store.read(month).map_err(fail)?);
                while let Some((place, content)) = lines.next_line().map_err(fail)? {
                    let Content::Line(bytes) = content else {
                        continue;
                    };
                    match entry(bytes) {
                        Some(Entry::LogKey { vkey, statement }) => {
                            log_keys.extend(log_key(&vkey, &statement, authorities));
                        }
                        Some(
                            Entry::Cosigned { checkpoint, .. }
                            | Entry::Pruned {
                                checkpoint: Some(checkpoint),
                                ..
                            },
                        ) => {
                            let at = format!("{name}, {month}.jsonl line {}", place.number);
                            if known.contains(&Sha256::of(checkpoint.as_bytes())) {
                                continue;
                            }
                            known.insert(Sha256::of(checkpoint.as_bytes()));
                            let Some(one) = cosigned(checkpoint, witnesses, &at) else {
                                continue;
                            };
                            if held.len() < LIMIT {
                                held.push(one);
                            } else {
                                gathered.more += 1;
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        for Held {
            mut seen,
            journal,
            note,
        } in held
        {
            let note = Note::parse(&note);
            let by = |key: &VerifierKey| note.as_ref().is_ok_and(|note| key.signed(note).is_some());
            let mut keys = log_keys.iter();
            seen.is_owners = keys.any(|(owner, key)| *owner == seen.owner && by(key));
            gathered.journals.entry(journal).or_default().push(seen);
        }
        for seen in gathered.journals.values_mut() {
            seen.sort_by_key(|one| one.size);
        }
        Ok(gathered)
    }

    /// Those of one journal, the smallest first.
    pub fn of(&self, journal: &str) -> &[Seen] {
        self.journals.get(journal).map_or(&[], Vec::as_slice)
    }
}

/// The entry of a line, if it is of the kinds that matter here; others are not taken apart.
fn entry(line: &[u8]) -> Option<Entry> {
    let body = Line::parse(line).ok()?.body?;
    let start = &body[..body.len().min(200)];
    let has = |text: &'static [u8]| start.windows(text.len()).any(|part| part == text);
    let kinds: [&[u8]; 3] = [
        br#""kind":"log_key""#,
        br#""kind":"cosigned""#,
        br#""kind":"pruned""#,
    ];
    kinds
        .into_iter()
        .any(has)
        .then(|| reader::entry(body).ok()?)
        .flatten()
}

/// Owner and key, where the owner's link key signed that it is the journal's.
fn log_key(
    vkey: &str,
    statement: &str,
    authorities: Option<&Authorities>,
) -> Option<(String, VerifierKey)> {
    let claims = jws::open::<LogKeyClaims>(statement, LOG_KEY_TYPE)
        .ok()?
        .claims;
    let key: VerifierKey = vkey.parse().ok()?;
    let is_same = claims.vkey == vkey && key.name() == note::origin(&claims.iss, &claims.journal);
    let at = Wall::from_seconds(claims.iat);
    let is_proven = authorities.is_none_or(|all| {
        all.machine(statement, LOG_KEY_TYPE, &claims.iss, at)
            .is_ok()
    });
    (is_same && is_proven).then_some((claims.iss, key))
}

fn cosigned(note: String, witnesses: &[VerifierKey], at: &str) -> Option<Held> {
    let parsed = Note::parse(&note).ok()?;
    let checkpoint = Checkpoint::parse(parsed.text)?;
    let (owner, journal) = note::parse_origin(&checkpoint.origin)?;
    // Names in checkpoints are ids; anything else would only spoil the report.
    crate::format::ids::CommuneId::new(owner).ok()?;
    let signed = |key: &VerifierKey| Some((key.name().to_owned(), key.signed(&parsed)?.time));
    let (witness, time) = witnesses.iter().find_map(signed)?;
    let time = Wall::from_seconds(time).rfc3339();
    let seen = Seen {
        size: checkpoint.size,
        root: checkpoint.root,
        owner: owner.to_owned(),
        told: format!(
            "the tree of {} lines that the witness {witness} cosigned at {time} ({at})",
            checkpoint.size
        ),
        is_owners: false,
    };
    let journal = journal.to_owned();
    Some(Held {
        seen,
        journal,
        note,
    })
}
