//! `fanal check --cameras`: opens each camera's streams once and prints a table
//! that a technician can act on.
//!
//! Gentle to recorders: a host is asked for at most `max_sessions` of its
//! `[[host]]` at once, 4 where it has none, and a host and user
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
use tokio_util::sync::CancellationToken;

use super::beside::{self, Held};
use super::host::Host;
use super::rows::{Row, codec, json, notes, result, table};
use super::{CheckArgs, Usage, sheet};
use crate::commands::french::French;
use crate::config::settings::{self, Camera, Streams};
use crate::format::ids::CameraId;
use crate::gateway::camera::Limits;
use crate::gateway::front::trace::Trace;
use crate::gateway::probe::{Prober, Report};
use crate::media::relay::Profile;
use crate::reason::{Reason, Refusal};
use crate::shutdown::Signals;

/// How long a stream is watched for its second key frame.
const WATCH: Duration = Duration::from_secs(12);
/// A stream to try.
#[derive(Clone, Debug)]
struct Job {
    camera: CameraId,
    profile: Profile,
    streams: Streams,
    host: Arc<Host>,
}

/// Tries the cameras and prints the table.
pub(super) fn run(args: &CheckArgs, settings: settings::Gateway) -> anyhow::Result<ExitCode> {
    let french = args.french();
    let chosen = chosen(args, &settings)?;
    let held = beside::held(&settings).unwrap_or_else(|cause| {
        say(french, &format!("a gateway runs, and can't be asked ({cause}): a camera that allows one session may look busy"));
        BTreeMap::new()
    });
    if !held.is_empty() {
        let count = held.len();
        say(
            french,
            &format!("a gateway runs: {count} streams that it relays now are left to it"),
        );
    }
    let Plan {
        jobs,
        mut rows,
        hosts,
    } = plan(&settings, &chosen, &held);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let stop = CancellationToken::new();
    let prober = Prober::new(&settings, Limits::LAN).until(stop.clone());
    let traces = args.trace.as_ref().map(|_| Arc::<Traces>::default());
    let tracing = traces.clone();
    let probe = move |job: &Job| {
        let (prober, streams, profile) = (prober.clone(), job.streams.clone(), job.profile);
        let trace = tracing.as_ref().map(|traces| traces.begin(job));
        async move { prober.probe(&streams, profile, WATCH, trace.as_ref()).await }
    };
    let all = jobs.len();
    let tried = runtime.block_on(async {
        let _signals = Signals::listen(stop.clone())?;
        anyhow::Ok(try_all(jobs, usize::from(args.parallel), probe, &stop).await)
    })?;
    if stop.is_cancelled() {
        let count = tried.len();
        say(
            french,
            &format!("stopped: {count} of {all} streams were tried"),
        );
    }
    rows.extend(tried);
    if let (Some(file), Some(traces)) = (&args.trace, traces) {
        traces
            .write(file)
            .with_context(|| format!("the trace can't be written to {}", file.display()))?;
    }
    rows.sort_by(|a, b| (&a.camera, a.profile).cmp(&(&b.camera, b.profile)));
    compare_codecs(&mut rows);
    for row in rows.iter_mut().filter(|row| row.profile == Profile::Main) {
        let Some(camera) = settings.cameras.get(&row.camera) else {
            continue;
        };
        if camera.streams.is_ok() {
            let mask = (!camera.mask_verified).then(|| super::MASK.to_owned());
            row.report.remarks.extend(mask);
            row.report
                .remarks
                .extend(super::uncovered(&settings, camera));
        }
    }
    if let Some(out) = &args.csv {
        sheet::write(out, &settings, &notes(&rows, french), french)?;
    }
    let text = if args.json {
        json(&rows, french)?
    } else {
        let advice: Vec<String> = hosts.iter().filter_map(|host| host.advice()).collect();
        table(&rows, &advice, french)
    };
    print!("{text}");
    let failed = rows.iter().any(|row| row.report.cause.is_some());
    Ok(ExitCode::from(u8::from(failed || stop.is_cancelled())))
}

/// A line on stderr, which nobody reads if it can't be written.
fn say(french: French, text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", french.say(text));
}

/// A sub-stream of another codec than its main stream.
fn compare_codecs(rows: &mut [Row]) {
    let of = |row: &Row| row.report.picture.as_ref().map(|picture| picture.codec);
    for at in 1..rows.len() {
        let (before, from) = rows.split_at_mut(at);
        let (Some(main), Some(sub)) = (before.last(), from.first_mut()) else {
            continue;
        };
        let streams = (main.profile, sub.profile);
        if main.camera != sub.camera || streams != (Profile::Main, Profile::Sub) {
            continue;
        }
        if let (Some(main), Some(other)) = (of(main), of(sub))
            && main != other
        {
            let (main, other) = (codec(main), codec(other));
            sub.report.remarks.push(format!(
                "main sends {main} and sub {other}: set both to the same codec, so that a player can follow from one to the other"
            ));
        }
    }
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

/// What is to be done.
struct Plan {
    jobs: Vec<Job>,
    /// Of entries that can't be tried, and of streams that the running gateway holds.
    rows: Vec<Row>,
    hosts: Vec<Arc<Host>>,
}

fn plan(
    settings: &settings::Gateway,
    cameras: &[&Camera],
    held: &BTreeMap<(CameraId, Profile), Held>,
) -> Plan {
    let mut hosts: BTreeMap<String, Arc<Host>> = BTreeMap::new();
    let (mut jobs, mut rows) = (Vec::new(), Vec::new());
    for camera in cameras {
        let mut row = |profile, report| {
            rows.push(Row {
                camera: camera.id.clone(),
                profile,
                report,
            });
        };
        let streams = match &camera.streams {
            Ok(streams) => streams,
            Err(cause) => {
                let cause = Refusal::new(Reason::CameraInvalid, cause.clone());
                row(Profile::Main, Report::untried(Some(cause)));
                continue;
            }
        };
        let urls = std::iter::once((Profile::Main, &streams.main));
        for (profile, url) in urls.chain(streams.sub.iter().map(|url| (Profile::Sub, url))) {
            let address = url.host_str().unwrap_or_default().to_owned();
            let host = hosts.entry(address);
            let host = host.or_insert_with(|| Arc::new(Host::of(settings, url)));
            host.add_stream();
            if let Some(held) = held.get(&(camera.id.clone(), profile)) {
                host.hold();
                let (cause, told) = held.told();
                let mut report = Report::untried(cause);
                report.remarks.push(told);
                row(profile, report);
                continue;
            }
            jobs.push(Job {
                camera: camera.id.clone(),
                profile,
                streams: streams.clone(),
                host: Arc::clone(host),
            });
        }
    }
    Plan {
        jobs,
        rows,
        hosts: hosts.into_values().collect(),
    }
}

/// Tries all, `parallel` at once, until `stop`; those for which their host had no session left once
/// more, one at a time. Progress on stderr.
async fn try_all<P, F>(
    jobs: Vec<Job>,
    parallel: usize,
    probe: P,
    stop: &CancellationToken,
) -> Vec<Row>
where
    P: Fn(&Job) -> F,
    F: Future<Output = Option<Report>> + Send + 'static,
{
    let all = jobs.len();
    let places = Arc::new(Semaphore::new(parallel.max(1)));
    let mut running = JoinSet::new();
    for job in jobs {
        let tried = probe(&job);
        let (places, stop) = (Arc::clone(&places), stop.clone());
        running.spawn(async move {
            let both = async {
                // The host first: a place is not held while a recorder is busy.
                (job.host.sessions.acquire().await, places.acquire().await)
            };
            let permits = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                permits = both => permits,
            };
            job.host.begin();
            let report = tried.await;
            let others = job.host.end();
            drop(permits);
            Some((job, report?, others))
        });
    }
    let mut rows = Vec::with_capacity(all);
    let mut busy = Vec::new();
    while let Some(tried) = running.join_next().await {
        match tried {
            Ok(None) => {}
            Ok(Some((job, report, others))) => {
                let is_busy = report.cause.as_ref();
                let is_busy = is_busy.is_some_and(|cause| cause.reason == Reason::CameraBusy);
                if is_busy {
                    job.host.busy(others);
                }
                if is_busy && others > 0 {
                    busy.push((job, report));
                    continue;
                }
                done(&mut rows, all, &job, report);
            }
            Err(error) => tracing::error!(%error, "a trial broke off; please report it"),
        }
    }
    for (job, refused) in busy {
        let report = probe(&job).await.unwrap_or(refused);
        done(&mut rows, all, &job, report);
    }
    rows
}

fn done(rows: &mut Vec<Row>, all: usize, job: &Job, report: Report) {
    let row = Row {
        camera: job.camera.clone(),
        profile: job.profile,
        report,
    };
    progress(rows.len() + 1, all, &row);
    rows.push(row);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::gateway::probe::{PictureReport, Steps};
    use crate::media::unit::Codec;

    fn row(id: &str, report: Report) -> Row {
        Row {
            camera: CameraId::new(id).unwrap(),
            profile: Profile::Main,
            report,
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
        Report::untried(Some(cause))
    }

    fn streams() -> Streams {
        Streams {
            main: url::Url::parse("rtsp://10.0.0.9/1").unwrap(),
            sub: None,
            onvif: None,
            credential: None,
            transport: settings::Transport::Tcp,
            start_timeout: Duration::from_secs(10),
            close_after: Duration::from_secs(10),
            warm: false,
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
        let text = table(&rows, &["10.0.0.9: no answer".to_owned()], French(false));
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
            "10.0.0.9: no answer",
            "2 of 3 streams play",
        ] {
            assert!(text.contains(said), "{said} not in\n{text}");
        }
        let report: serde_json::Value =
            serde_json::from_str(&json(&rows, French(false)).unwrap()).unwrap();
        assert_eq!(report[0]["fps"], 25.0);
        assert_eq!(report[1]["result"], "camera_unreachable");
    }

    fn job(number: usize, host: &Arc<Host>) -> Job {
        Job {
            camera: CameraId::new(format!("camera-{number}")).unwrap(),
            profile: Profile::Main,
            streams: streams(),
            host: Arc::clone(host),
        }
    }

    #[tokio::test]
    async fn a_host_is_asked_for_few_sessions_at_once() {
        let host = Arc::new(Host::with("10.0.0.9", 2));
        let jobs: Vec<Job> = (0..20).map(|number| job(number, &host)).collect();
        let now = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let (running, peak) = (Arc::clone(&now), Arc::clone(&most));
        let probe = move |_: &Job| {
            let (running, peak) = (Arc::clone(&running), Arc::clone(&peak));
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Some(seen())
            }
        };
        let stop = CancellationToken::new();
        let rows = try_all(jobs.clone(), 16, probe.clone(), &stop).await;
        assert_eq!(rows.len(), 20);
        assert_eq!(most.load(Ordering::SeqCst), 2);
        stop.cancel();
        assert_eq!(try_all(jobs, 16, probe, &stop).await, []);
    }

    #[tokio::test]
    async fn a_recorder_with_few_sessions_is_told_and_its_cameras_are_tried_one_by_one() {
        let host = Arc::new(Host::with("10.0.0.9", 4));
        let jobs = (0..6).map(|number| job(number, &host)).collect();
        let open = Arc::new(AtomicUsize::new(0));
        let probe = move |_: &Job| {
            let open = Arc::clone(&open);
            async move {
                let others = open.fetch_add(1, Ordering::SeqCst);
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                open.fetch_sub(1, Ordering::SeqCst);
                Some(if others >= 2 {
                    failed(Reason::CameraBusy.into())
                } else {
                    seen()
                })
            }
        };
        let rows = try_all(jobs, 16, probe, &CancellationToken::new()).await;
        assert_eq!(rows.len(), 6);
        assert!(
            rows.iter().all(|row| row.report.cause.is_none()),
            "{rows:?}"
        );
        let advice = host.advice().unwrap();
        assert!(advice.contains("it refused a session while "), "{advice}");
        assert!(French(true).say(&advice).contains("max_sessions = "));
    }

    #[test]
    fn a_sub_stream_of_another_codec_is_told() {
        let mut sub = row("quai-nord", seen());
        sub.profile = Profile::Sub;
        sub.report.picture.as_mut().unwrap().codec = Codec::H265;
        let mut rows = [row("mairie", seen()), row("quai-nord", seen()), sub];
        compare_codecs(&mut rows);
        assert_eq!(rows[1].report.remarks, Vec::<String>::new());
        let said = &rows[2].report.remarks[0];
        assert!(
            said.starts_with("main sends H.264 and sub H.265: "),
            "{said}"
        );
        let french = table(&rows, &[], French(true));
        assert!(
            french.contains("quai-nord sub: main envoie du H.264 et sub du H.265"),
            "{french}"
        );
        assert!(french.starts_with("caméra "), "{french}");
    }
}
