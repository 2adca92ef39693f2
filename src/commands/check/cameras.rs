//! `fanal check --cameras`: opens each camera's streams once and prints a table
//! that a technician can act on.
//!
//! Gentle to recorders: a host is asked for at most `max_sessions` of its
//! `[[host]]` at once, [`DEFAULT_SESSIONS`] where it has none, and a host and user
//! that answered 401 are left alone ([`crate::gateway::probe`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CheckArgs, Usage};
use crate::config::settings::{self, Camera};
use crate::proto::ids::{CameraId, Profile};
use crate::reason::{Reason, Refusal};

/// Sessions at once with a host that has no `[[host]]` entry.
const DEFAULT_SESSIONS: u32 = 4;
/// A longer interval is pointed out: a viewer of a camera that is not yet open
/// waits as long for his first picture.
const LONG_KEY_FRAME_INTERVAL: Duration = Duration::from_secs(4);
/// The table's heads.
const HEADS: [&str; 8] = [
    "camera",
    "stream",
    "result",
    "codec",
    "size",
    "fps",
    "key every",
    "first picture",
];

/// What one stream showed.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    codec: String,
    size: Option<(u32, u32)>,
    fps: Option<f64>,
    /// Between two key frames; `None`: only one came.
    key_frame_interval: Option<Duration>,
    first_picture: Duration,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    camera: CameraId,
    profile: Profile,
    outcome: Result<Seen, Refusal>,
    mask_verified: bool,
}

/// A stream to try.
#[derive(Clone, Debug)]
struct Job {
    camera: CameraId,
    profile: Profile,
    mask_verified: bool,
    host: Arc<Semaphore>,
}

/// Tries the cameras and prints the table.
pub(super) fn run(args: &CheckArgs, settings: settings::Gateway) -> anyhow::Result<ExitCode> {
    let chosen = chosen(args, &settings)?;
    let (jobs, mut rows) = plan(&settings, &chosen);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let prober = Prober::new(settings);
    let probe = move |camera, profile| prober.clone().probe(camera, profile);
    rows.extend(runtime.block_on(try_all(jobs, usize::from(args.parallel), probe)));
    rows.sort_by(|a, b| (&a.camera, a.profile).cmp(&(&b.camera, b.profile)));
    let text = if args.json {
        json(&rows)?
    } else {
        table(&rows)
    };
    print!("{text}");
    let failed = rows.iter().any(|row| row.outcome.is_err());
    Ok(ExitCode::from(u8::from(failed)))
}

fn chosen<'s>(args: &CheckArgs, settings: &'s settings::Gateway) -> Result<Vec<&'s Camera>, Usage> {
    if args.only.is_empty() {
        return Ok(settings.cameras.values().collect());
    }
    args.only
        .iter()
        .map(|id| {
            let found = settings.cameras.get(id.as_str());
            found.ok_or_else(|| Usage(format!("the settings have no camera {id:?}")))
        })
        .collect()
}

/// What to try, and rows of entries that can't be tried.
fn plan(settings: &settings::Gateway, cameras: &[&Camera]) -> (Vec<Job>, Vec<Row>) {
    let mut hosts: BTreeMap<String, Arc<Semaphore>> = BTreeMap::new();
    let mut jobs = Vec::new();
    let mut rows = Vec::new();
    for camera in cameras {
        let streams = match &camera.streams {
            Ok(streams) => streams,
            Err(cause) => {
                rows.push(Row {
                    camera: camera.id.clone(),
                    profile: Profile::Main,
                    outcome: Err(Refusal::new(Reason::CameraInvalid, cause.clone())),
                    mask_verified: camera.mask_verified,
                });
                continue;
            }
        };
        let urls = std::iter::once((Profile::Main, &streams.main));
        for (profile, url) in urls.chain(streams.sub.iter().map(|url| (Profile::Sub, url))) {
            let host = url.host_str().unwrap_or_default();
            let rule = settings.hosts.iter().find(|rule| rule.address == host);
            let sessions = rule
                .and_then(|rule| rule.max_sessions)
                .unwrap_or(DEFAULT_SESSIONS);
            let sessions = usize::try_from(sessions).unwrap_or(1);
            let host = hosts
                .entry(host.to_owned())
                .or_insert_with(|| Arc::new(Semaphore::new(sessions)));
            jobs.push(Job {
                camera: camera.id.clone(),
                profile,
                mask_verified: camera.mask_verified,
                host: Arc::clone(host),
            });
        }
    }
    (jobs, rows)
}

/// Tries all, `parallel` at once; progress on stderr.
async fn try_all<P, F>(jobs: Vec<Job>, parallel: usize, probe: P) -> Vec<Row>
where
    P: Fn(CameraId, Profile) -> F,
    F: Future<Output = Result<Seen, Refusal>> + Send + 'static,
{
    let all = jobs.len();
    let places = Arc::new(Semaphore::new(parallel.max(1)));
    let mut running = JoinSet::new();
    for job in jobs {
        let tried = probe(job.camera.clone(), job.profile);
        let places = Arc::clone(&places);
        running.spawn(async move {
            // The host first: a place is not held while a recorder is busy.
            let session = job.host.acquire().await;
            let place = places.acquire().await;
            let outcome = tried.await;
            drop((session, place));
            Row {
                camera: job.camera,
                profile: job.profile,
                outcome,
                mask_verified: job.mask_verified,
            }
        });
    }
    let mut rows = Vec::with_capacity(all);
    while let Some(row) = running.join_next().await {
        match row {
            Ok(row) => {
                progress(rows.len() + 1, all, &row);
                rows.push(row);
            }
            Err(error) => tracing::error!(%error, "a trial broke off; please report it"),
        }
    }
    rows
}

fn progress(done: usize, all: usize, row: &Row) {
    let result = match &row.outcome {
        Ok(_) => "ok",
        Err(refusal) => refusal.reason.code(),
    };
    let profile = row.profile.as_str();
    // Nobody reads it if it can't be written.
    let _ = writeln!(
        std::io::stderr(),
        "{done}/{all} {} {profile}: {result}",
        row.camera
    );
}

/// What to mend though the stream plays.
fn remarks(row: &Row) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Ok(seen) = &row.outcome {
        match seen.key_frame_interval {
            Some(interval) if interval > LONG_KEY_FRAME_INTERVAL => remarks.push(format!(
                "a key frame only every {:.1} s: set its interval to 2 s",
                interval.as_secs_f64()
            )),
            None if !seen.codec.eq_ignore_ascii_case("mjpeg") => remarks.push(
                "one key frame only while it was watched: set its interval to 2 s".to_owned(),
            ),
            Some(_) | None => {}
        }
    }
    if !row.mask_verified && row.profile == Profile::Main {
        remarks.push("not relayed until mask_verified = true".to_owned());
    }
    remarks
}

fn cells(row: &Row) -> [String; 8] {
    let none = || "-".to_owned();
    let head = [row.camera.to_string(), row.profile.as_str().to_owned()];
    let [camera, stream] = head;
    match &row.outcome {
        Ok(seen) => [
            camera,
            stream,
            "ok".to_owned(),
            seen.codec.clone(),
            seen.size
                .map_or_else(none, |(width, height)| format!("{width}x{height}")),
            seen.fps.map_or_else(none, |fps| format!("{fps:.1}")),
            seen.key_frame_interval
                .map_or_else(none, |interval| format!("{:.1} s", interval.as_secs_f64())),
            format!("{:.2} s", seen.first_picture.as_secs_f64()),
        ],
        Err(refusal) => [
            camera,
            stream,
            refusal.reason.code().to_owned(),
            none(),
            none(),
            none(),
            none(),
            none(),
        ],
    }
}

/// The table, and under it the causes and mends.
fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let mut widths = HEADS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let line = |cells: &[&str]| {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&HEADS);
    for row in &cells {
        let row: Vec<&str> = row.iter().map(String::as_str).collect();
        text.push_str(&line(&row));
    }
    let mut notes = String::new();
    for row in rows {
        let name = format!("{} {}", row.camera, row.profile.as_str());
        if let Err(refusal) = &row.outcome {
            notes.push_str(&format!("{name}: {}\n", refusal.reason.english()));
            if !refusal.detail.is_empty() {
                notes.push_str(&format!("    cause: {}\n", refusal.detail));
            }
        }
        for remark in remarks(row) {
            notes.push_str(&format!("{name}: {remark}\n"));
        }
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    let good = rows.iter().filter(|row| row.outcome.is_ok()).count();
    text.push_str(&format!("\n{good} of {} streams play\n", rows.len()));
    text
}

fn json(rows: &[Row]) -> anyhow::Result<String> {
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let mut value = serde_json::json!({
                "camera": row.camera,
                "stream": row.profile,
                "remarks": remarks(row),
            });
            let more = match &row.outcome {
                Ok(seen) => serde_json::json!({
                    "result": "ok",
                    "codec": seen.codec,
                    "width": seen.size.map(|size| size.0),
                    "height": seen.size.map(|size| size.1),
                    "fps": seen.fps,
                    "key_frame_interval_seconds": seen.key_frame_interval.map(|i| i.as_secs_f64()),
                    "first_picture_seconds": seen.first_picture.as_secs_f64(),
                }),
                Err(refusal) => serde_json::json!({
                    "result": refusal.reason,
                    "cause": refusal.detail,
                    "mend": refusal.reason.english(),
                }),
            };
            if let (Some(value), serde_json::Value::Object(more)) = (value.as_object_mut(), more) {
                value.extend(more);
            }
            value
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).context("report not written as JSON")?;
    Ok(text + "\n")
}

/// Tries single streams.
#[derive(Clone)]
struct Prober(Arc<settings::Gateway>);

impl Prober {
    fn new(settings: settings::Gateway) -> Self {
        Self(Arc::new(settings))
    }

    async fn probe(self, _camera: CameraId, _profile: Profile) -> Result<Seen, Refusal> {
        todo!("config: waits for gateway::probe")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn row(id: &str, outcome: Result<Seen, Refusal>) -> Row {
        Row {
            camera: CameraId::new(id).unwrap(),
            profile: Profile::Main,
            outcome,
            mask_verified: true,
        }
    }

    fn seen(seconds: u64) -> Seen {
        Seen {
            codec: "H.264".to_owned(),
            size: Some((1920, 1080)),
            fps: Some(25.0),
            key_frame_interval: Some(Duration::from_secs(seconds)),
            first_picture: Duration::from_millis(420),
        }
    }

    #[test]
    fn the_table_names_causes_and_mends() {
        let unreachable = Refusal::new(Reason::CameraUnreachable, "10.0.0.12:554: no route");
        let rows = [
            row("quai-nord", Ok(seen(2))),
            row("rond-point", Err(unreachable)),
            row("mairie", Ok(seen(10))),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "camera      stream  result              codec  size       fps   key every  first picture"
        );
        assert_eq!(
            lines[1],
            "quai-nord   main    ok                  H.264  1920x1080  25.0  2.0 s      0.42 s"
        );
        assert!(
            lines[2].starts_with("rond-point  main    camera_unreachable  -"),
            "{text}"
        );
        for said in [
            "rond-point main: the camera does not answer on its network",
            "    cause: 10.0.0.12:554: no route",
            "mairie main: a key frame only every 10.0 s: set its interval to 2 s",
            "2 of 3 streams play",
        ] {
            assert!(text.contains(said), "{said} not in\n{text}");
        }
        let report: serde_json::Value = serde_json::from_str(&json(&rows).unwrap()).unwrap();
        assert_eq!(report[0]["fps"], 25.0);
        assert_eq!(report[1]["result"], "camera_unreachable");
    }

    #[tokio::test]
    async fn a_host_is_asked_for_few_sessions_at_once() {
        let host = Arc::new(Semaphore::new(2));
        let jobs: Vec<Job> = (0..20)
            .map(|number| Job {
                camera: CameraId::new(format!("camera-{number}")).unwrap(),
                profile: Profile::Main,
                mask_verified: true,
                host: Arc::clone(&host),
            })
            .collect();
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
        let rows = try_all(jobs, 16, move |_, _| {
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(seen(2))
            }
        })
        .await;
        assert_eq!(rows.len(), 20);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
