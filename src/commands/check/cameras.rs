//! `fanal check --cameras`: opens each camera's streams once and prints a table
//! that a technician can act on.
//!
//! Gentle to recorders: a host is asked for at most `max_sessions` of its
//! `[[host]]` at once, [`DEFAULT_SESSIONS`] where it has none, and a host and user
//! that answered 401 are left alone ([`crate::gateway::probe`]).

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{CheckArgs, Usage, sheet};
use crate::config::settings::{self, Camera, Streams};
use crate::format::ids::CameraId;
use crate::gateway::camera::Limits;
use crate::gateway::front::trace::Trace;
use crate::gateway::probe::{Asked, Prober, Report, Steps};
use crate::media::relay::Profile;
use crate::media::unit::Codec;
use crate::reason::{Reason, Refusal};

/// Sessions at once with a host that has no `[[host]]` entry.
const DEFAULT_SESSIONS: u32 = 4;
/// A camera's clock that is off by more is told.
const CLOCK_TOLERANCE: jiff::SignedDuration = jiff::SignedDuration::from_secs(2);
/// How long a stream is watched for its second key frame.
const WATCH: Duration = Duration::from_secs(12);
/// The table's heads.
const HEADS: [&str; 9] = [
    "camera",
    "stream",
    "result",
    "codec",
    "size",
    "fps",
    "bit rate",
    "key every",
    "first picture",
];

/// One row of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    camera: CameraId,
    profile: Profile,
    report: Report,
    mask_verified: bool,
}

/// A stream to try.
#[derive(Clone, Debug)]
struct Job {
    camera: CameraId,
    profile: Profile,
    streams: Streams,
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
    let prober = Prober::new(&settings, Limits::LAN);
    let traces = args.trace.as_ref().map(|_| Arc::<Traces>::default());
    let tracing = traces.clone();
    let probe = move |job: &Job| {
        let (prober, streams, profile) = (prober.clone(), job.streams.clone(), job.profile);
        let trace = tracing.as_ref().map(|traces| traces.begin(job));
        async move { prober.probe(&streams, profile, WATCH, trace.as_ref()).await }
    };
    rows.extend(runtime.block_on(try_all(jobs, usize::from(args.parallel), probe)));
    if let (Some(file), Some(traces)) = (&args.trace, traces) {
        traces
            .write(file)
            .with_context(|| format!("the trace can't be written to {}", file.display()))?;
    }
    rows.sort_by(|a, b| (&a.camera, a.profile).cmp(&(&b.camera, b.profile)));
    if let Some(out) = &args.csv {
        sheet::write(
            out,
            &settings,
            &notes(&rows, args.is_french()),
            args.is_french(),
        )?;
    }
    let text = if args.json {
        json(&rows)?
    } else {
        table(&rows)
    };
    print!("{text}");
    let failed = rows.iter().any(|row| row.report.cause.is_some());
    Ok(ExitCode::from(u8::from(failed)))
}

/// What the trial found, for the table.
fn notes(rows: &[Row], is_french: bool) -> sheet::Notes {
    let mut notes = sheet::Notes::new();
    for row in rows {
        let stream = row.profile.as_str();
        let texts = notes.entry(row.camera.to_string()).or_default();
        if let Some(refusal) = &row.report.cause {
            let sentence = if is_french {
                refusal.reason.french()
            } else {
                refusal.reason.english()
            };
            // What is wrong with the entry the settings say themselves.
            if refusal.reason != Reason::CameraInvalid {
                texts.push(format!("{stream}: {sentence} ({})", refusal.detail));
            }
        }
        texts.extend(
            remarks(row, is_french)
                .into_iter()
                .map(|text| format!("{stream}: {text}")),
        );
    }
    notes
}

/// What was said with each stream's camera.
#[derive(Debug, Default)]
struct Traces(Mutex<Vec<(String, Trace)>>);

impl Traces {
    /// A trace of this stream: host, path's secrets, user and password are left out.
    fn begin(&self, job: &Job) -> Trace {
        let (streams, profile) = (&job.streams, job.profile);
        let url = match (profile, &streams.sub) {
            (Profile::Sub, Some(url)) => url,
            _ => &streams.main,
        };
        let mut secrets = vec![url.host_str().unwrap_or_default().to_owned()];
        secrets.extend(url.query().map(str::to_owned));
        if let Some(credential) = &streams.credential {
            secrets.push(credential.username.clone());
            secrets.push(credential.password.expose().to_owned());
        }
        let trace = Trace::new(std::time::Instant::now(), secrets);
        let name = format!("{} {}", job.camera, profile.as_str());
        let mut traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        traces.push((name, trace.clone()));
        trace
    }

    fn write(&self, file: &Path) -> std::io::Result<()> {
        let traces = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = format!(
            "fanal {}: the dialogue with each camera, seconds since its start; > to the camera, < from it\n",
            env!("CARGO_PKG_VERSION")
        );
        for (name, trace) in traces.iter() {
            text.push_str(&format!("\n== {name}\n{}", trace.text()));
        }
        std::fs::write(file, text)
    }
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
                    report: Report {
                        cause: Some(Refusal::new(Reason::CameraInvalid, cause.clone())),
                        steps: Steps::default(),
                        picture: None,
                        asked: None,
                        fixes: Vec::new(),
                        clock_offset: None,
                        remarks: Vec::new(),
                    },
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
                streams: streams.clone(),
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
    P: Fn(&Job) -> F,
    F: Future<Output = Option<Report>> + Send + 'static,
{
    let all = jobs.len();
    let places = Arc::new(Semaphore::new(parallel.max(1)));
    let mut running = JoinSet::new();
    for job in jobs {
        let tried = probe(&job);
        let places = Arc::clone(&places);
        running.spawn(async move {
            // The host first: a place is not held while a recorder is busy.
            let session = job.host.acquire().await;
            let place = places.acquire().await;
            let report = tried.await;
            drop((session, place));
            report.map(|report| Row {
                camera: job.camera,
                profile: job.profile,
                report,
                mask_verified: job.mask_verified,
            })
        });
    }
    let mut rows = Vec::with_capacity(all);
    while let Some(row) = running.join_next().await {
        match row {
            Ok(None) => {}
            Ok(Some(row)) => {
                progress(rows.len() + 1, all, &row);
                rows.push(row);
            }
            Err(error) => tracing::error!(%error, "a trial broke off; please report it"),
        }
    }
    rows
}

fn progress(done: usize, all: usize, row: &Row) {
    let result = result(row);
    let profile = row.profile.as_str();
    // Nobody reads it if it can't be written.
    let _ = writeln!(
        std::io::stderr(),
        "{done}/{all} {} {profile}: {result}",
        row.camera
    );
}

fn result(row: &Row) -> &'static str {
    let cause = row.report.cause.as_ref();
    cause.map_or("ok", |refusal| refusal.reason.code())
}

/// What to correct though the stream plays.
fn remarks(row: &Row, is_french: bool) -> Vec<String> {
    let mut remarks = row.report.remarks.clone();
    if !row.report.fixes.is_empty() {
        let odd: Vec<&str> = row.report.fixes.iter().map(|fix| fix.sentence()).collect();
        let so_far = if row.report.cause.is_none() {
            "works; "
        } else {
            ""
        };
        remarks.push(format!("{so_far}{}", odd.join("; ")));
    }
    if let Some(offset) = row.report.clock_offset
        && offset.abs() > CLOCK_TOLERANCE
    {
        let seconds = offset.abs().as_secs();
        remarks.push(match (is_french, offset.is_negative()) {
            (true, true) => format!("son horloge retarde de {seconds} s : réglez NTP, l'heure de l'image est fausse aussi"),
            (true, false) => format!("son horloge avance de {seconds} s : réglez NTP, l'heure de l'image est fausse aussi"),
            (false, true) => format!("its clock is {seconds} s behind: set NTP, for the time in its picture is wrong too"),
            (false, false) => format!("its clock is {seconds} s ahead: set NTP, for the time in its picture is wrong too"),
        });
    }
    if !row.mask_verified && row.profile == Profile::Main {
        remarks.push(super::mask(is_french).to_owned());
    }
    remarks
}

fn cells(row: &Row) -> [String; 9] {
    let picture = row.report.picture.as_ref();
    let or_dash = |cell: Option<String>| cell.unwrap_or_else(|| "-".to_owned());
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let size = picture.filter(|picture| picture.width > 0 && picture.height > 0);
    [
        row.camera.to_string(),
        row.profile.as_str().to_owned(),
        result(row).to_owned(),
        or_dash(picture.map(|picture| codec(picture.codec).to_owned())),
        or_dash(size.map(|picture| format!("{}x{}", picture.width, picture.height))),
        or_dash(
            picture
                .and_then(|p| p.rate)
                .map(|rate| format!("{rate:.1}")),
        ),
        or_dash(
            picture
                .and_then(|p| p.bitrate)
                .map(|rate| format!("{:.2} Mbit/s", rate / 1e6)),
        ),
        or_dash(picture.and_then(|p| p.key_frame_interval).map(seconds)),
        or_dash(row.report.steps.first_key_frame.map(seconds)),
    ]
}

const fn codec(codec: Codec) -> &'static str {
    match codec {
        Codec::H264 => "H.264",
        Codec::H265 => "H.265",
        Codec::Jpeg => "MJPEG",
    }
}

/// The table, and under it the causes and repairs.
fn table(rows: &[Row]) -> String {
    let cells: Vec<[String; 9]> = rows.iter().map(cells).collect();
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
        if let Some(refusal) = &row.report.cause {
            notes.push_str(&format!("{name}: {}\n", refusal.reason.english()));
            if !refusal.detail.is_empty() {
                notes.push_str(&format!("    cause: {}\n", refusal.detail));
            }
        }
        for remark in remarks(row, false) {
            notes.push_str(&format!("{name}: {remark}\n"));
        }
    }
    if !notes.is_empty() {
        text.push('\n');
        text.push_str(&notes);
    }
    let good = rows.iter().filter(|row| row.report.cause.is_none()).count();
    text.push_str(&format!("\n{good} of {} streams play\n", rows.len()));
    text
}

fn json(rows: &[Row]) -> anyhow::Result<String> {
    let seconds = |time: Option<Duration>| time.map(|time| time.as_secs_f64());
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let Report { cause, steps, .. } = &row.report;
            let picture = row.report.picture.as_ref();
            serde_json::json!({
                "camera": row.camera,
                "stream": row.profile,
                "result": result(row),
                "cause": cause.as_ref().map(|cause| &cause.detail),
                "remedy": cause.as_ref().map(|cause| cause.reason.english()),
                "remarks": remarks(row, false),
                "fixed": row.report.fixes.iter().map(|fix| fix.as_str()).collect::<Vec<_>>(),
                "clock_offset_seconds": row.report.clock_offset.map(|offset| offset.as_secs_f64()),
                "codec": picture.map(|picture| codec(picture.codec)),
                "width": picture.map(|picture| picture.width),
                "height": picture.map(|picture| picture.height),
                "fps": picture.and_then(|picture| picture.rate),
                "bits_per_second": picture.and_then(|picture| picture.bitrate),
                "key_frame_interval_seconds":
                    seconds(picture.and_then(|picture| picture.key_frame_interval)),
                "onvif": row.report.asked.as_ref().map(Asked::as_str),
                "onvif_key_frame_seconds": seconds(match &row.report.asked {
                    Some(Asked::KeyFrame(after)) => Some(*after),
                    Some(Asked::Nothing | Asked::Failed(_)) | None => None,
                }),
                "connect_seconds": seconds(steps.connect),
                "describe_seconds": seconds(steps.describe),
                "setup_seconds": seconds(steps.setup),
                "play_seconds": seconds(steps.play),
                "first_picture_seconds": seconds(steps.first_key_frame),
            })
        })
        .collect();
    let text = serde_json::to_string_pretty(&rows).context("report not written as JSON")?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::gateway::probe::PictureReport;

    fn row(id: &str, report: Report) -> Row {
        Row {
            camera: CameraId::new(id).unwrap(),
            profile: Profile::Main,
            report,
            mask_verified: true,
        }
    }

    fn seen() -> Report {
        Report {
            cause: None,
            steps: Steps {
                first_key_frame: Some(Duration::from_millis(420)),
                ..Steps::default()
            },
            picture: Some(PictureReport {
                codec: Codec::H264,
                width: 1920,
                height: 1080,
                rate: Some(25.0),
                bitrate: Some(2_000_000.0),
                key_frame_interval: Some(Duration::from_secs(2)),
            }),
            asked: None,
            fixes: Vec::new(),
            clock_offset: None,
            remarks: Vec::new(),
        }
    }

    fn failed(cause: Refusal) -> Report {
        Report {
            cause: Some(cause),
            steps: Steps::default(),
            picture: None,
            asked: None,
            fixes: Vec::new(),
            clock_offset: None,
            remarks: Vec::new(),
        }
    }

    #[test]
    fn the_table_names_causes_and_mends() {
        let unreachable = Refusal::new(Reason::CameraUnreachable, "10.0.0.12:554: no route");
        let mut slow = seen();
        slow.remarks
            .push("a key frame only every 10 s: set 2 s".to_owned());
        let rows = [
            row("quai-nord", seen()),
            row("rond-point", failed(unreachable)),
            row("mairie", slow),
        ];
        let text = table(&rows);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[0],
            "camera      stream  result              codec  size       fps   bit rate     key every  first picture"
        );
        assert_eq!(
            lines[1],
            "quai-nord   main    ok                  H.264  1920x1080  25.0  2.00 Mbit/s  2.00 s     0.42 s"
        );
        assert!(
            lines[2].starts_with("rond-point  main    camera_unreachable  -"),
            "{text}"
        );
        for said in [
            "rond-point main: the camera does not answer on its network",
            "    cause: 10.0.0.12:554: no route",
            "mairie main: a key frame only every 10 s: set 2 s",
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
        let streams = Streams {
            main: url::Url::parse("rtsp://10.0.0.9/1").unwrap(),
            sub: None,
            onvif: None,
            credential: None,
            transport: settings::Transport::Tcp,
            start_timeout: Duration::from_secs(10),
            close_after: Duration::from_secs(10),
            warm: false,
        };
        let jobs: Vec<Job> = (0..20)
            .map(|number| Job {
                camera: CameraId::new(format!("camera-{number}")).unwrap(),
                profile: Profile::Main,
                streams: streams.clone(),
                mask_verified: true,
                host: Arc::clone(&host),
            })
            .collect();
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
        let rows = try_all(jobs, 16, move |_| {
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Some(seen())
            }
        })
        .await;
        assert_eq!(rows.len(), 20);
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
