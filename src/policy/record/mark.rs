//! Notes and bookmarks: what may be written, what counts, which texts are held.

use std::sync::Arc;

use super::{AHEAD, Denied, MARKS, Record, Records, TEXT, TEXTS, key, line};
use crate::clock::Wall;
use crate::format::designation::Designation;
use crate::format::ids::{Incident, MarkId, Sha256};
use crate::format::statement::Operator;
use crate::journal::entry::{MarkEntry, Span};

/// A note or a bookmark as it is now.
#[derive(Clone, Debug)]
pub struct Mark {
    /// Its id.
    pub id: MarkId,
    /// Who wrote it first.
    pub by: Operator,
    /// When, by his page's clock; RFC 3339.
    pub at: String,
    /// Who changed it last, where that was somebody else.
    pub changed_by: Option<Operator>,
    /// The pictures that a bookmark marks.
    pub span: Option<Span>,
    /// The digest of its text.
    pub digest: Option<Sha256>,
    /// Its text, with the salt of its digest; none where there is none, or it is lost.
    pub text: Option<Arc<Text>>,
    /// Whether it was withdrawn.
    pub withdrawn: bool,
    /// Number of its first line and of its newest one.
    pub(super) first: u64,
    newest: u64,
}

/// A text and the salt of its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// 16 random bytes.
    pub salt: [u8; 16],
    /// What somebody wrote.
    pub text: String,
}

impl Text {
    /// Its digest, as the journal holds it.
    pub fn digest(&self) -> Sha256 {
        Sha256::of(&[&self.salt[..], self.text.as_bytes()].concat())
    }
}

/// What an operator writes.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// Its id.
    pub id: MarkId,
    /// The incident.
    pub incident: Incident,
    /// When he wrote it.
    pub at: Wall,
    /// What a bookmark marks.
    pub span: Option<Span>,
    /// Its text; empty: none.
    pub text: String,
}

impl Records {
    /// An operator writes a note or a bookmark, or changes a bookmark: the entry to write, without the
    /// text's digest; none where all is so already (a page sends again what may have been lost).
    ///
    /// # Errors
    /// There is no such record, it is full, or what is marked is none of its grants' pictures.
    pub fn write(
        &self,
        who: &Designation,
        marked: &Marked,
        now: Wall,
    ) -> Result<Option<MarkEntry>, Denied> {
        let record = self.get(&who.unit(), &marked.incident, now);
        let record = record.ok_or(Denied::Unknown)?;
        check_text(&marked.text, marked.span.is_none())?;
        if marked.at > now.plus(AHEAD) {
            return Err(Denied::Wrong("at: is in the future".to_owned()));
        }
        if let Some(span) = &marked.span {
            record.check_span(span, now)?;
        }
        if let Some(known) = record.marks.get(&marked.id) {
            if known.withdrawn {
                return Err(Denied::Conflict("it was withdrawn".to_owned()));
            }
            if known.span.is_some() != marked.span.is_some() {
                let detail = "a note is no bookmark: choose another id";
                return Err(Denied::Conflict(detail.to_owned()));
            }
            let text = known.text.as_ref().map_or("", |text| &text.text);
            if known.span == marked.span && text == marked.text {
                return Ok(None);
            }
            if marked.span.is_none() {
                let detail = "a note is not changed: withdraw it and write another";
                return Err(Denied::Conflict(detail.to_owned()));
            }
        } else if record.marks.len() >= MARKS {
            let detail = format!("{MARKS} notes and bookmarks of {}", marked.incident);
            return Err(full(detail));
        }
        let texts = self
            .of_unit(&who.unit())
            .flat_map(|record| record.marks.values());
        let held = texts
            .filter_map(|mark| mark.text.as_ref())
            .map(|text| text.text.len());
        if held.sum::<usize>() + marked.text.len() > TEXTS {
            return Err(full(format!(
                "{TEXTS} bytes of notes of {}",
                who.operator.unit
            )));
        }
        Ok(Some(MarkEntry {
            mark: marked.id,
            incident: marked.incident.clone(),
            operator: who.operator.clone(),
            authority: who.authority,
            at: marked.at.rfc3339(),
            span: marked.span.clone(),
            text: None,
            withdrawn: false,
        }))
    }

    /// An operator withdraws a note or a bookmark: the entry to write; none where it is withdrawn.
    ///
    /// # Errors
    /// There is none.
    pub fn withdraw(
        &self,
        who: &Designation,
        incident: &Incident,
        id: MarkId,
        is_note: bool,
        now: Wall,
    ) -> Result<Option<MarkEntry>, Denied> {
        let record = self.get(&who.unit(), incident, now);
        let mark = record.and_then(|record| record.marks.get(&id));
        let mark = mark.filter(|mark| mark.span.is_none() == is_note);
        let mark = mark.ok_or(Denied::Unknown)?;
        Ok((!mark.withdrawn).then(|| MarkEntry {
            mark: id,
            incident: incident.clone(),
            operator: who.operator.clone(),
            authority: who.authority,
            at: now.rfc3339(),
            span: mark.span.clone(),
            text: None,
            withdrawn: true,
        }))
    }

    /// The digest of a mark's text as it is now.
    pub fn digest(&self, who: &Designation, incident: &Incident, id: MarkId) -> Option<Sha256> {
        let record = self.records.get(&key(&who.unit(), incident))?;
        record.marks.get(&id)?.digest
    }

    /// Whose texts are in no memory: all that the journal knows of, after a start.
    pub fn digests(&self) -> impl Iterator<Item = Sha256> {
        let records = self.records.values();
        records.flat_map(|record| record.marks.values().filter_map(|mark| mark.digest))
    }

    /// Here are texts; those that no mark has are left.
    pub fn set_texts(&mut self, texts: impl IntoIterator<Item = Text>) {
        let texts = texts
            .into_iter()
            .map(|text| (text.digest(), Arc::new(text)));
        let texts: std::collections::BTreeMap<Sha256, Arc<Text>> = texts.collect();
        for record in self.records.values_mut() {
            for mark in record.marks.values_mut() {
                let text = mark.digest.and_then(|digest| texts.get(&digest));
                if let Some(text) = text {
                    mark.text = Some(Arc::clone(text));
                }
            }
        }
    }
}

/// No pace: it stays so, and who asks is not to try again.
fn full(detail: String) -> Denied {
    Denied::Conflict(format!("full: {detail}"))
}

fn check_text(text: &str, is_needed: bool) -> Result<(), Denied> {
    let wrong = |cause: &str| Err(Denied::Wrong(format!("text: {cause}")));
    if text.trim().is_empty() && (is_needed || !text.is_empty()) {
        return wrong("is empty");
    }
    if text.chars().nth(TEXT).is_some() {
        return wrong(&format!("is longer than {TEXT} characters"));
    }
    // Lines of a note are its own; what steers a screen is not.
    if text
        .split('\n')
        .any(|part| !crate::format::text::is_plain(part))
    {
        return wrong("holds a control or bidirectional character");
    }
    Ok(())
}

impl Record {
    fn check_span(&self, span: &Span, now: Wall) -> Result<(), Denied> {
        let wrong = |cause: &str| Err(Denied::Wrong(cause.to_owned()));
        let Some(held) = self.grants.get(&span.grant) else {
            let grant = span.grant;
            return Err(Denied::Conflict(format!(
                "{grant} is no grant of {}",
                self.incident
            )));
        };
        if held.commune != span.commune || !held.cameras.contains(&span.camera) {
            let (commune, camera) = (&span.commune, &span.camera);
            let detail = format!("{commune}/{camera} is no camera of that grant");
            return Err(Denied::Conflict(detail));
        }
        let Some(from) = line::moment(&span.from) else {
            return wrong("from: is no time");
        };
        let to = match span.to.as_deref().map(line::moment) {
            Some(None) => return wrong("to: is no time"),
            to => to.flatten(),
        };
        if from > now.plus(AHEAD) || to.is_some_and(|to| to < from || to > now.plus(AHEAD)) {
            return wrong("from, to: end before they begin, or in the future");
        }
        if span
            .clock_offset
            .is_some_and(|seconds| !seconds.is_finite() || seconds.abs() > 1e9)
        {
            return wrong("clock_offset: is no time");
        }
        Ok(())
    }

    /// The newest entry of an id counts.
    pub(super) fn mark(&mut self, seq: u64, entry: &MarkEntry) {
        if !self.marks.contains_key(&entry.mark) && self.marks.len() >= MARKS {
            return;
        }
        let mark = self.marks.entry(entry.mark).or_insert_with(|| Mark {
            id: entry.mark,
            by: entry.operator.clone(),
            at: entry.at.clone(),
            changed_by: None,
            span: None,
            digest: None,
            text: None,
            withdrawn: false,
            first: seq,
            newest: seq,
        });
        if seq < mark.newest {
            return;
        }
        mark.newest = seq;
        mark.changed_by = (mark.by != entry.operator).then(|| entry.operator.clone());
        mark.span.clone_from(&entry.span);
        mark.withdrawn = entry.withdrawn;
        if mark.digest != entry.text {
            mark.text = None;
        }
        mark.digest = entry.text;
    }
}
