//! Records of incidents, of the caller's unit alone: `GET incidents`, `GET|PUT incidents/{reference}`,
//! `PUT|DELETE incidents/{reference}/notes/{id}` and `…/bookmarks/{id}`.
//!
//! A reference may hold `/`: it is one part of the path, percent-encoded. The writer chooses the
//! ids, so that a page may send again what may have been lost.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Shared;
use super::auth::Caller;
use crate::clock::Wall;
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, MarkId};
use crate::format::statement::Operator;
use crate::http::{self, Problem, Query};
use crate::journal::entry::Span;
use crate::policy::record::line::Line;
use crate::policy::record::{Denied, Mark, Marked, Record};

type Body = Result<Bytes, BytesRejection>;

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::with_status(404, "your unit has no such record"),
            Denied::Wrong(cause) => Self::with_status(400, cause),
            Denied::Conflict(cause) => Self::with_status(409, cause),
            Denied::Refused(refusal) => refusal.into(),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    incident: Incident,
    /// `open` or `closed`.
    state: &'static str,
    opened: String,
    closed: Option<String>,
    closed_by: Option<Operator>,
    /// Until when it is kept; none while a grant lives.
    until: Option<String>,
    grounds: Vec<String>,
    /// Its grants that live.
    live: usize,
}

/// One in the list.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    summary: Summary,
    notes: usize,
    bookmarks: usize,
}

impl Row {
    fn of(record: &Record, now: Wall) -> Self {
        let marks = record.marks();
        let written = marks.iter().filter(|mark| !mark.withdrawn);
        let bookmarks = written.clone().filter(|mark| mark.span.is_some()).count();
        Self {
            summary: Summary::of(record, now),
            notes: written.count() - bookmarks,
            bookmarks,
        }
    }
}

impl Summary {
    fn of(record: &Record, now: Wall) -> Self {
        let closed = record.closed.as_ref();
        Self {
            incident: record.incident.clone(),
            state: if closed.is_some() { "closed" } else { "open" },
            opened: record.opened.rfc3339(),
            closed: closed.map(|(at, _)| at.rfc3339()),
            closed_by: closed.map(|(_, by)| by.clone()),
            until: record.until(now).map(Wall::rfc3339),
            grounds: record.grounds.clone(),
            live: record.live(now),
        }
    }
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    /// The centre's journal's id, whose lines these are.
    journal: Option<String>,
    notes: Vec<Value>,
    bookmarks: Vec<Value>,
    history: Vec<Line>,
    /// Older lines that are in the journal alone.
    left_out: u64,
}

/// A note or a bookmark. `text_lost`: the journal has its digest, this machine no text.
fn view(mark: &Mark) -> Value {
    let text = mark.text.as_ref();
    let mut view = json!({
        "id": mark.id,
        "operator": mark.by,
        "at": mark.at,
        "changed_by": mark.changed_by,
        "text": text.map(|text| &text.text),
        "salt": text.map(|text| hex(&text.salt)),
        "digest": mark.digest,
        "text_lost": mark.digest.is_some() && text.is_none(),
        "withdrawn": mark.withdrawn,
    });
    if let (Some(span), Some(members)) = (&mark.span, view.as_object_mut()) {
        let camera = format!("{}/{}", span.commune, span.camera);
        members.insert("grant".to_owned(), json!(span.grant));
        members.insert("camera".to_owned(), json!(camera));
        members.insert("from".to_owned(), json!(span.from));
        members.insert("to".to_owned(), json!(span.to));
        members.insert("clock_offset".to_owned(), json!(span.clock_offset));
    }
    view
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `GET incidents`: the unit's records.
pub(super) async fn list(State(api): Shared, caller: Caller) -> Json<Value> {
    let now = api.options.clock.now().wall;
    let records = api.options.incidents.records();
    let list = records.list(&caller.designation.unit(), now);
    let list: Vec<Row> = list.iter().map(|record| Row::of(record, now)).collect();
    Json(json!(list))
}

/// Which lines.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Those after this one alone.
    #[serde(default)]
    after: u64,
}

/// `GET incidents/{reference}`: all of one.
pub(super) async fn one(
    State(api): Shared,
    caller: Caller,
    Path(reference): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let incident = reference_of(reference)?;
    show(&api, &caller, &incident, wanted.after)
}

fn show(
    api: &super::Api,
    caller: &Caller,
    incident: &Incident,
    after: u64,
) -> Result<Json<Value>, Problem> {
    let now = api.options.clock.now().wall;
    let journal = api.options.journal.journal();
    let records = api.options.incidents.records();
    let record = records.get(&caller.designation.unit(), incident, now);
    let record = record.ok_or(Denied::Unknown)?;
    let marks = record.marks();
    let (bookmarks, notes): (Vec<&Mark>, Vec<&Mark>) =
        marks.into_iter().partition(|mark| mark.span.is_some());
    let lines = record.lines.iter().filter(|line| line.seq > after);
    let whole = Whole {
        summary: Summary::of(record, now),
        journal,
        notes: notes.into_iter().map(view).collect(),
        bookmarks: bookmarks.into_iter().map(view).collect(),
        history: lines.map(|line| (**line).clone()).collect(),
        left_out: record.left_out,
    };
    drop(records);
    Ok(Json(json!(whole)))
}

fn reference_of(text: String) -> Result<Incident, Problem> {
    Incident::new(text).map_err(|_| Denied::Unknown.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Turned {
    state: Turn,
    grounds: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Turn {
    Open,
    Closed,
}

/// `PUT incidents/{reference}`: opens it or closes it.
pub(super) async fn turn(
    State(api): Shared,
    caller: Caller,
    Path(reference): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let wrong = |cause: String| Problem::with_status(400, cause);
    let incident = Incident::new(reference).map_err(|error| wrong(error.to_string()))?;
    let Turned { state, grounds } = http::json(&headers, body, "the state of a record")?;
    if let Some(grounds) = &grounds {
        let checked = crate::format::text::check(grounds);
        checked.map_err(|cause| wrong(format!("grounds: {cause}")))?;
    }
    let (who, open) = (&caller.designation, matches!(state, Turn::Open));
    let incidents = &api.options.incidents;
    let table = api.options.control.table();
    let is_live = |id| table.live().any(|grant| grant.id == id);
    incidents
        .turn(who, &incident, (open, grounds), is_live)
        .await?;
    show(&api, &caller, &incident, u64::MAX)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NoteBody {
    text: String,
    /// When it was written; now, where it is missing.
    at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BookmarkBody {
    grant: GrantId,
    /// `COMMUNE/CAMERA`.
    camera: String,
    from: String,
    to: Option<String>,
    clock_offset: Option<f64>,
    #[serde(default)]
    text: String,
    at: Option<String>,
}

/// `PUT incidents/{reference}/notes/{id}`.
pub(super) async fn note(
    State(api): Shared,
    caller: Caller,
    Path((reference, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let NoteBody { text, at } = http::json(&headers, body, "a note")?;
    let now = api.options.clock.now().wall;
    let marked = Marked {
        id: id_of(&id)?,
        incident: reference_of(reference)?,
        at: time_of("at", at.as_deref(), now)?,
        span: None,
        text,
    };
    write(&api, &caller, marked).await
}

/// `PUT incidents/{reference}/bookmarks/{id}`.
pub(super) async fn bookmark(
    State(api): Shared,
    caller: Caller,
    Path((reference, id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Problem> {
    let body: BookmarkBody = http::json(&headers, body, "a bookmark")?;
    let now = api.options.clock.now().wall;
    let bad = |cause: String| Problem::with_status(400, cause);
    let parts = body.camera.split_once('/');
    let (commune, camera) = parts.ok_or_else(|| bad("camera: write COMMUNE/CAMERA".to_owned()))?;
    let span = Span {
        grant: body.grant,
        commune: CommuneId::new(commune).map_err(|error| bad(error.to_string()))?,
        camera: CameraId::new(camera).map_err(|error| bad(error.to_string()))?,
        from: time_of("from", Some(&body.from), now)?.rfc3339(),
        to: body
            .to
            .map(|to| time_of("to", Some(&to), now).map(Wall::rfc3339))
            .transpose()?,
        clock_offset: body.clock_offset,
    };
    let marked = Marked {
        id: id_of(&id)?,
        incident: reference_of(reference)?,
        at: time_of("at", body.at.as_deref(), now)?,
        span: Some(span),
        text: body.text,
    };
    write(&api, &caller, marked).await
}

async fn write(api: &super::Api, caller: &Caller, marked: Marked) -> Result<Json<Value>, Problem> {
    let incident = marked.incident.clone();
    let incidents = &api.options.incidents;
    incidents.write(&caller.designation, marked).await?;
    show(api, caller, &incident, u64::MAX)
}

/// `DELETE incidents/{reference}/notes/{id}`.
pub(super) async fn withdraw_note(
    State(api): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    withdraw(&api, &caller, path, true).await
}

/// `DELETE incidents/{reference}/bookmarks/{id}`.
pub(super) async fn withdraw_bookmark(
    State(api): Shared,
    caller: Caller,
    Path(path): Path<(String, String)>,
) -> Result<Json<Value>, Problem> {
    withdraw(&api, &caller, path, false).await
}

async fn withdraw(
    api: &super::Api,
    caller: &Caller,
    (reference, id): (String, String),
    is_note: bool,
) -> Result<Json<Value>, Problem> {
    let (incident, id) = (reference_of(reference)?, id_of(&id)?);
    let incidents = &api.options.incidents;
    incidents
        .withdraw(&caller.designation, &incident, id, is_note)
        .await?;
    show(api, caller, &incident, u64::MAX)
}

fn id_of(text: &str) -> Result<MarkId, Problem> {
    let id = uuid::Uuid::parse_str(text).map(MarkId);
    id.map_err(|_| Problem::with_status(404, "the id is a UUID that its writer chooses"))
}

fn time_of(member: &str, text: Option<&str>, now: Wall) -> Result<Wall, Problem> {
    let Some(text) = text else {
        return Ok(now);
    };
    let time: Result<jiff::Timestamp, _> = text.parse();
    let time = time.map_err(|error| Problem::with_status(400, format!("{member}: {error}")))?;
    Ok(Wall(time.as_microsecond()))
}
