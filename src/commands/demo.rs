//! `fanal demo`: the whole thing on this machine.
#![allow(clippy::print_stdout)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use base64::Engine;
use clap::Args;
use hyper::Method;
use prometheus::Histogram;
use prometheus::core::Metric as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::client::{self, Client, ReceiverArgs};
use super::french::French;
use super::request;
use crate::demo::links;
use crate::demo::player::{self, Seen};
use crate::demo::site::{AGENT, CENTRE, COMMUNE, NEIGHBOUR, OPERATOR};
use crate::demo::{Cameras, Demo, wait_until};
use crate::format::ids::{CameraId, CommuneId, GrantId, Incident, ProfileWish};
use crate::format::statement::RequestClaims;
use crate::journal::verify;
use crate::pki;
use crate::shutdown::Signals;

/// Longest demo: the agreement's longest request.
const LONGEST: u32 = 4 * 3600;
/// Largest file of cameras, in bytes.
const LIST_LIMIT: u64 = 64 * 1024;
/// The idle link is watched this long before anything is asked.
const IDLE_WATCH: Duration = Duration::from_secs(3);
/// How long the first picture may take: a camera's `start_timeout` and a margin.
const FIRST_PICTURE_TIMEOUT: Duration = Duration::from_secs(15);
/// How long cameras may take to see their TEARDOWN: `close_after` and a margin.
const TEARDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// Arguments of `fanal demo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  fanal demo                                   until Ctrl-C
  fanal demo --for 20s                         ends by itself, with a summary
  fanal demo --camera rtsp://10.0.0.11/main
  fanal demo --camera-file cameras.txt         a URL on each line, rtsp://user:password@10.0.0.11/main
  fanal demo --camera-file - < cameras.txt     the same from standard input

Other users of this machine see a program's arguments: a password belongs into a file.
Everything is on this machine and is removed at the end: certificates, journals, settings.")]
pub struct DemoArgs {
    /// How many simulated cameras
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000), conflicts_with = "camera")]
    cameras: u16,
    /// A camera of your own instead; may be given several times
    #[arg(long, value_name = "URL")]
    camera: Vec<Url>,
    /// Cameras of your own, a URL on each line: where passwords belong; - is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "cameras")]
    camera_file: Option<PathBuf>,
    /// End by itself after this long, with a summary; otherwise Ctrl-C ends it
    #[arg(long = "for", value_name = "DURATION", value_parser = seconds)]
    lasting: Option<Duration>,
}

/// Runs `fanal demo`.
///
/// # Errors
/// A part could not start, no picture came, or a promise was seen broken.
pub fn run(mut args: DemoArgs) -> anyhow::Result<ExitCode> {
    if args
        .lasting
        .is_some_and(|time| time > Duration::from_secs(u64::from(LONGEST)))
    {
        bail!(super::Usage("--for: at most 4h".to_owned()));
    }
    if args.camera.iter().any(|url| url.password().is_some()) {
        tracing::warn!(
            "--camera: other users of this machine see the password among the arguments; use --camera-file"
        );
    }
    if let Some(file) = &args.camera_file {
        let listed = listed(file).map_err(super::Usage)?;
        args.camera.extend(listed);
    }
    if let Some(url) = args.camera.iter().find(|url| url.scheme() != "rtsp") {
        bail!(super::Usage(format!(
            "--camera: {}:// is not rtsp://",
            url.scheme()
        )));
    }
    client::block_on(async {
        let token = CancellationToken::new();
        let _signals = Signals::listen(token.clone())?;
        say("fanal demo: a commune, a centre and an operator on this machine")?;
        let own = !args.camera.is_empty();
        let cameras = if own {
            Cameras::Own(args.camera.clone())
        } else {
            Cameras::Simulated(usize::from(args.cameras))
        };
        let mut demo = Demo::start(cameras).await?;
        let parts = demo_parts(&demo)?;
        let shown = tokio::select! {
            shown = show(&args, &parts, &token) => shown,
            error = demo.failed() => Err(error),
        };
        let verdict = finish(demo, shown).await?;
        Ok(if verdict {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    })
}

/// The cameras' URLs of a file. An error names the line and shows nothing of it.
fn listed(file: &Path) -> Result<Vec<Url>, String> {
    use std::io::Read as _;
    let shown = file.display();
    let wrong = |cause: &dyn std::fmt::Display| format!("--camera-file {shown}: {cause}");
    let mut text = String::new();
    let from: Box<dyn std::io::Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| wrong(&error))?)
    };
    let read = from.take(LIST_LIMIT + 1).read_to_string(&mut text);
    read.map_err(|error| wrong(&error))?;
    if text.len() as u64 > LIST_LIMIT {
        return Err(wrong(&format!("longer than {LIST_LIMIT} bytes")));
    }
    let lines = text.lines().enumerate();
    let lines = lines.map(|(index, line)| (index + 1, line.trim()));
    let urls = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let urls = urls.map(|(number, line)| {
        line.parse()
            .map_err(|error| wrong(&format!("line {number} is no URL: {error}")))
    });
    let urls = urls.collect::<Result<Vec<Url>, String>>()?;
    if urls.is_empty() {
        return Err(wrong(&"no camera in it; write a URL on each line"));
    }
    Ok(urls)
}

fn seconds(written: &str) -> Result<Duration, String> {
    client::parse_seconds(written).map(|seconds| Duration::from_secs(u64::from(seconds)))
}

/// What showing needs of the running demo.
struct Parts {
    receiver: ReceiverArgs,
    key: PathBuf,
    cert: PathBuf,
    console: std::net::SocketAddr,
    page: std::net::SocketAddr,
    gateway_metrics: std::net::SocketAddr,
    receiver_metrics: std::net::SocketAddr,
    gateway: std::sync::Arc<crate::metrics::Gateway>,
    figures: std::sync::Arc<crate::metrics::Receiver>,
    counters: Option<watch::Receiver<crate::simulate::Counters>>,
    directory: PathBuf,
}

fn demo_parts(demo: &Demo) -> anyhow::Result<Parts> {
    let key = demo.site.path(&format!("{OPERATOR}.key"));
    let cert = demo.site.path(&format!("{OPERATOR}.pem"));
    Ok(Parts {
        receiver: ReceiverArgs::new(
            format!("http://{}", demo.console).parse()?,
            key.clone(),
            cert.clone(),
        ),
        key,
        cert,
        console: demo.console,
        page: demo.page,
        gateway_metrics: demo.gateway_metrics,
        receiver_metrics: demo.receiver_metrics,
        gateway: demo.gateway.clone(),
        figures: demo.receiver.clone(),
        counters: demo.counters.clone(),
        directory: demo.site.directory().to_owned(),
    })
}

/// What a demo has shown.
struct Shown {
    first_picture: Duration,
    granted_after: Duration,
    idle: f64,
    during: f64,
    /// `None`: it was ended before that was looked at.
    after: Option<f64>,
    seen: Seen,
    teardown: Option<Duration>,
}

/// Asks, watches, releases.
async fn show(args: &DemoArgs, parts: &Parts, token: &CancellationToken) -> anyhow::Result<Shown> {
    let (mut links, begun) = tokio::select! {
        biased;
        () = token.cancelled() => bail!("ended before the first picture"),
        begun = begin(args, parts) => begun?,
    };
    let Begun {
        client,
        id,
        mut players,
        seen,
        idle,
        granted_after,
        first_picture,
    } = begun;
    let during = watch_for(args.lasting, parts, &seen, &mut players, token).await?;
    client
        .call(Method::DELETE, &client::grant_path(id))
        .await
        .context("releasing the grant")?;
    let released = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(5), players.join_next()).await;
    ended.context("the player did not end with its grant")?;
    links.abort_all();
    let seen = *seen.borrow();
    say(&format!(
        "  grant released; the player was ended {} later",
        milliseconds(released.elapsed())
    ))?;
    // First the journals exchange the end, the list of viewings and their heads; idle is what
    // comes after the camera's TEARDOWN. A visitor who ends the demo does not wait for it.
    let after = async {
        let teardown = teardown(parts, released).await?;
        anyhow::Ok((teardown, Some(rate(parts, IDLE_WATCH).await)))
    };
    let (teardown, after) = tokio::select! {
        biased;
        () = token.cancelled() => (None, None),
        after = after => after?,
    };
    Ok(Shown {
        first_picture,
        granted_after,
        idle,
        during,
        after,
        seen,
        teardown,
    })
}

/// A demo whose first picture came.
struct Begun {
    client: Client,
    id: GrantId,
    players: JoinSet<anyhow::Result<()>>,
    seen: watch::Receiver<Seen>,
    idle: f64,
    granted_after: Duration,
    first_picture: Duration,
}

/// Up to the first picture, with the links to click.
async fn begin(args: &DemoArgs, parts: &Parts) -> anyhow::Result<(JoinSet<()>, Begun)> {
    say(&format!(
        "  link up ({COMMUNE} → {CENTRE}, QUIC, both sides authenticated); nothing is asked yet, so only control messages cross:"
    ))?;
    let idle = rate(parts, IDLE_WATCH).await;
    say(&format!("    {} on the idle link", bitrate(idle)))?;

    let client = Client::connect(&parts.receiver).await?;
    let lasting = args.lasting.unwrap_or(Duration::from_secs(3600));
    let claims = claims(&client, args, lasting)?;
    let asked = Instant::now();
    let grant = request::ask(&client, &claims).await?;
    let granted_after = asked.elapsed();
    let id = request::grant_id(&grant)?;
    let camera = granted_camera(&grant)?;
    let url = camera["rtsp"]
        .as_str()
        .context("the grant names no RTSP URL")?;
    say(&format!(
        "  request signed by operator {OPERATOR}, checked, journalled on both sides and granted in {}",
        milliseconds(granted_after)
    ))?;

    let (sender, mut seen) = watch::channel(Seen::default());
    let mut players = JoinSet::new();
    let played = url.to_owned();
    players.spawn(async move { player::play(&played, &sender).await });
    let first = match first_picture(&mut players, &mut seen).await {
        Ok(first) => first,
        Err(error) => return Err(no_picture(&client, id, error).await),
    };
    let first_picture = first.duration_since(asked);
    say(&format!(
        "  first picture at a player {} after the request",
        milliseconds(first_picture)
    ))?;
    let links = invite(parts, url, &id.to_string()).await?;
    let begun = Begun {
        client,
        id,
        players,
        seen,
        idle,
        granted_after,
        first_picture,
    };
    Ok((links, begun))
}

fn claims(client: &Client, args: &DemoArgs, lasting: Duration) -> anyhow::Result<RequestClaims> {
    let camera = if args.camera.is_empty() {
        "cam-001"
    } else {
        "camera-1"
    };
    // Long enough that the summary is shown before the grant ends by itself.
    let duration = u32::try_from(lasting.as_secs())
        .unwrap_or(LONGEST)
        .saturating_add(60)
        .min(LONGEST);
    Ok(RequestClaims {
        jti: client::new_id(),
        iat: client.now().seconds(),
        aud: CommuneId::new(COMMUNE)?,
        centre: client.centre().clone(),
        cameras: vec![CameraId::new(camera)?],
        grounds: "drill".to_owned(),
        incident: Incident::new("DEMO-1")?,
        duration,
        profile: ProfileWish::Auto,
        present: Vec::new(),
        renews: None,
    })
}

fn granted_camera(grant: &Value) -> anyhow::Result<&Value> {
    grant["granted"]
        .as_array()
        .and_then(|granted| granted.first())
        .with_context(|| format!("nothing was granted: {}", grant["refused"]))
}

/// Why no picture came: the camera's own reason where the commune told one, for what the player
/// saw of it is no cause.
async fn no_picture(client: &Client, grant: GrantId, seen: anyhow::Error) -> anyhow::Error {
    let told = client.call(Method::GET, &client::grant_path(grant)).await;
    match told.ok().and_then(|answer| said_of_camera(&answer.json)) {
        Some(said) => anyhow::anyhow!(said),
        None => seen,
    }
}

/// The reason's sentence of a grant's first camera that has one.
fn said_of_camera(grant: &Value) -> Option<String> {
    let mut cameras = grant["granted"].as_array()?.iter();
    let failed = cameras.find(|camera| camera["reason"].is_string())?;
    Some(client::refused_camera(failed, French::of_environment()))
}

async fn first_picture(
    players: &mut JoinSet<anyhow::Result<()>>,
    seen: &mut watch::Receiver<Seen>,
) -> anyhow::Result<Instant> {
    tokio::select! {
        first = tokio::time::timeout(FIRST_PICTURE_TIMEOUT, seen.wait_for(|seen| seen.first.is_some())) => {
            let seen = first.context("no picture came; see the log above")??;
            seen.first.context("no picture")
        }
        ended = players.join_next() => match ended {
            Some(Ok(Err(error))) => Err(error.context("the player")),
            _ => bail!("the player ended before its first picture"),
        },
    }
}

/// A person's key and certificates, as a page reads them in its address's fragment, which never
/// leaves the browser.
fn page_fragment(key: &Path, certificate: &Path) -> anyhow::Result<String> {
    let engine = base64::engine::general_purpose::STANDARD;
    let key = pki::private_key(key)?;
    let chain = pki::certificates(certificate)?;
    let chain: Vec<String> = chain.iter().map(|one| engine.encode(one)).collect();
    let text = json!({ "key": engine.encode(key.secret_der()), "chain": chain }).to_string();
    Ok(base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text))
}

/// What to click. The pages' links are short: the pages' server of those is the set that is returned.
async fn invite(parts: &Parts, url: &str, grant: &str) -> anyhow::Result<JoinSet<()>> {
    let socket = parts.directory.join("gateway.sock");
    let neighbour = parts.directory.join("rognac.sock");
    // The program itself is seldom on a visitor's PATH.
    let fanal = std::env::current_exe()
        .map_or_else(|_| "fanal".to_owned(), |path| path.display().to_string());
    let approve = if parts.counters.is_some() {
        format!(
            "\n  As the neighbour {NEIGHBOUR}, whose agreement has other grounds and whose agents approve:
    {fanal} relays --socket {socket}
    {fanal} approve REQUEST --socket {socket}",
            socket = neighbour.display()
        )
    } else {
        String::new()
    };
    let operator = page_fragment(&parts.key, &parts.cert)?;
    let of_agent = |end| parts.directory.join(format!("{AGENT}.{end}"));
    let agent = page_fragment(&of_agent("key"), &of_agent("pem"))?;
    let (console, page) = (parts.console, parts.page);
    let (links, server) = links::serve([
        format!("http://{console}/#demo={operator}"),
        format!("http://{page}/#demo={agent}"),
    ])
    .await?;
    let [operator, agent] = links;
    say(&format!(
        "
  The operator's page, signed in as the demo's operator:
    {operator}
  The commune's page, which cuts and approves:
    {agent}

  Open the picture in VLC (Media, Open Network Stream) or with
    ffplay -rtsp_transport tcp '{url}'

  As the operator, from another terminal:
    {fanal} status --receiver http://{console} --key {key} --cert {cert}
  As the commune:
    {fanal} relays --socket {socket}
    {fanal} cut --grant {grant} --socket {socket}{approve}
  API http://{console}/api/v1/openapi.json
  Metrics http://{gateway}/metrics (gateway), http://{receiver}/metrics (receiver)
",
        key = parts.key.display(),
        cert = parts.cert.display(),
        socket = socket.display(),
        gateway = parts.gateway_metrics,
        receiver = parts.receiver_metrics,
    ))?;
    Ok(server)
}

/// Shows a line of figures every few seconds until the time is up, Ctrl-C, or
/// the player's end. Gives the link's bits per second.
async fn watch_for(
    lasting: Option<Duration>,
    parts: &Parts,
    seen: &watch::Receiver<Seen>,
    players: &mut JoinSet<anyhow::Result<()>>,
    token: &CancellationToken,
) -> anyhow::Result<f64> {
    if lasting.is_none() {
        say("  Ctrl-C ends the demo.")?;
    }
    let started = Instant::now();
    let end = started + lasting.unwrap_or_else(|| Duration::from_secs(u64::from(LONGEST)));
    let step = lasting.map_or(Duration::from_secs(5), |all| {
        (all / 4).max(Duration::from_secs(1))
    });
    let mut before = (started, sent_bytes(parts), seen.borrow().pictures);
    let first = before;
    loop {
        let next = (Instant::now() + step).min(end);
        tokio::select! {
            () = tokio::time::sleep_until(next.into()) => {}
            () = token.cancelled() => break,
            ended = players.join_next() => {
                match ended {
                    Some(Ok(Err(error))) => return Err(error.context("the player")),
                    _ => bail!("the picture ended before the demo did: was it cut?"),
                }
            }
        }
        let now = (Instant::now(), sent_bytes(parts), seen.borrow().pictures);
        let time = (now.0 - before.0).as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss)] // some millions
        let (bytes, pictures) = ((now.1 - before.1) as f64, (now.2 - before.2) as f64);
        say(&format!(
            "  {:4} s   {:5.1} pictures/s   {:>12} on the link   transit p50 {}, p99 {}",
            (now.0 - started).as_secs(),
            pictures / time,
            bitrate(bytes * 8.0 / time),
            quantile(&parts.figures.transit_seconds, 0.5),
            quantile(&parts.figures.transit_seconds, 0.99),
        ))?;
        before = now;
        if now.0 >= end {
            break;
        }
    }
    let time = (before.0 - first.0).as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss)] // some millions
    let bytes = (before.1 - first.1) as f64;
    Ok(bytes * 8.0 / time)
}

/// Waits until the simulated cameras have seen as many TEARDOWNs as sessions.
async fn teardown(parts: &Parts, released: Instant) -> anyhow::Result<Option<Duration>> {
    let Some(counters) = &parts.counters else {
        return Ok(None);
    };
    say("  the camera stays open for close_after (10 s), then gets its TEARDOWN …")?;
    wait_until("TEARDOWN at the camera", TEARDOWN_TIMEOUT, || {
        let count = counters.borrow().total;
        count.set_up > 0 && count.torn_down == count.set_up
    })
    .await?;
    Ok(Some(released.elapsed()))
}

/// Stops everything, verifies both journals and sums up.
async fn finish(demo: Demo, shown: anyhow::Result<Shown>) -> anyhow::Result<bool> {
    let ungranted = demo.gateway.ungranted_bytes_total.get();
    let transit = demo.receiver.transit_seconds.clone();
    let stopped = demo.stop().await;
    let shown = shown?;
    let site = stopped?;
    let mut intact = true;
    let mut journals = Vec::new();
    let sides = ["gateway", NEIGHBOUR, "receiver"];
    for side in sides.iter().filter(|side| site.path(side).is_dir()) {
        let options = verify::Options {
            directory: site.path(side).join("journal"),
            ..verify::Options::default()
        };
        let report = verify::verify(&options).map_err(anyhow::Error::msg)?;
        intact &= report.is_intact();
        let word = if report.is_intact() {
            "intact"
        } else {
            "NOT INTACT"
        };
        journals.push(format!("{side} {} entries, {word}", report.lines));
    }
    let teardown = shown.teardown.map_or_else(String::new, |time| {
        format!(
            "\n  camera's TEARDOWN     {:.1} s after the release",
            time.as_secs_f64()
        )
    });
    say(&format!(
        "
Summary
  granted after         {granted}
  first picture after   {first}
  transit               p50 {p50}, p99 {p99}
  pictures              {pictures} ({losses} with losses)
  link before           {before}
  link during           {during}
  link after            {after}{teardown}
  bytes without a grant {ungranted}
  journals              {journals}",
        granted = milliseconds(shown.granted_after),
        first = milliseconds(shown.first_picture),
        p50 = quantile(&transit, 0.5),
        p99 = quantile(&transit, 0.99),
        pictures = shown.seen.pictures,
        losses = shown.seen.losses,
        before = bitrate(shown.idle),
        during = bitrate(shown.during),
        after = shown
            .after
            .map_or_else(|| "not looked at".to_owned(), bitrate),
        journals = journals.join("; "),
    ))?;
    Ok(intact && ungranted == 0)
}

fn sent_bytes(parts: &Parts) -> u64 {
    parts
        .gateway
        .link_sent_bytes_total
        .with_label_values(&[CENTRE])
        .get()
}

/// Bits per second on the link over this time.
async fn rate(parts: &Parts, time: Duration) -> f64 {
    // The figure is kept once a second: the first one may hold what was before.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (bytes, started) = (sent_bytes(parts), Instant::now());
    tokio::time::sleep(time).await;
    #[allow(clippy::cast_precision_loss)] // some thousands
    let sent = (sent_bytes(parts) - bytes) as f64;
    sent * 8.0 / started.elapsed().as_secs_f64()
}

fn bitrate(bits: f64) -> String {
    if bits >= 1e6 {
        format!("{:.2} Mbit/s", bits / 1e6)
    } else if bits >= 1e4 {
        format!("{:.0} kbit/s", bits / 1e3)
    } else {
        format!("{:.0} bytes/s", bits / 8.0)
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1e3)
}

/// An upper bound of a quantile, as the histogram's buckets tell it.
fn quantile(histogram: &Histogram, quantile: f64) -> String {
    let metric = histogram.metric();
    let histogram = metric.get_histogram();
    #[allow(clippy::cast_precision_loss)] // some millions
    let rank = histogram.get_sample_count() as f64 * quantile;
    #[allow(clippy::cast_precision_loss)]
    let bucket = histogram
        .get_bucket()
        .iter()
        .find(|bucket| bucket.cumulative_count() as f64 >= rank);
    match bucket {
        _ if histogram.get_sample_count() == 0 => "–".to_owned(),
        Some(bucket) => format!("≤ {:.0} ms", bucket.upper_bound() * 1e3),
        None => "over the last bucket".to_owned(),
    }
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_camera_s_own_reason_is_told_and_no_library_s() {
        let grant = json!({"granted": [
            {"camera": "a", "state": "live", "reason": null},
            {"camera": "camera-1", "reason": "camera_unauthorized", "detail": "401 to DESCRIBE"},
        ]});
        let said = said_of_camera(&grant).unwrap();
        let sentence = crate::reason::Reason::CameraUnauthorized;
        let own = [sentence.english(), sentence.french()];
        assert!(own.iter().any(|own| said.contains(own)), "{said}");
        assert!(
            said.starts_with("camera-1: camera_unauthorized") && said.ends_with("401 to DESCRIBE")
        );
        assert_eq!(said_of_camera(&json!({"granted": []})), None);
    }

    #[test]
    fn cameras_are_read_from_a_file_that_no_error_quotes() {
        let file = std::env::temp_dir().join(format!("fanal-list-{}", uuid::Uuid::now_v7()));
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            listed(&file)
        };
        let urls = read("# the port\n\n rtsp://u:p@10.0.0.1/a \nrtsp://10.0.0.2/b\n").unwrap();
        assert_eq!(urls.len(), 2);
        assert_eq!(urls[0].password(), Some("p"));
        let wrong = read("rtsp://10.0.0.2/b\nuser:s3cret 10.0.0.1\n:s3cret").unwrap_err();
        assert!(wrong.contains("line 3"), "{wrong}");
        assert!(!wrong.contains("s3cret"), "{wrong}");
        assert!(read("# none\n").is_err());
        assert!(read(&"#\n".repeat(40_000)).is_err());
        std::fs::remove_file(&file).unwrap();
        assert!(listed(&file).is_err());
    }
}
