//! Metrics as Prometheus meets them: linted by promtool, served over HTTP.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fanal::format::ids::{CameraId, CentreId, CommuneId};
use fanal::http::{Limits, Listener, serve};
use fanal::metrics::health::{Check, Checks};
use fanal::metrics::{Gateway, Receiver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// promtool with these arguments, or `None` where it is not installed.
fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
    let started = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}");
            eprintln!("skipped: promtool not found");
            return None;
        }
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

/// Both daemons' metrics with every series there is.
fn full() -> [String; 2] {
    let gateway = Gateway::new([&CentreId::new("corg-13").unwrap()], 200).unwrap();
    gateway.camera_up.with_label_values(&["quai-nord"]).set(1);
    for counters in [
        &gateway.relay_bytes_total,
        &gateway.frames_total,
        &gateway.gops_reset_total,
    ] {
        counters.with_label_values(&["quai-nord"]).inc();
    }
    let receiver = Receiver::new([&CommuneId::new("berre-l-etang").unwrap()]).unwrap();
    for counters in [&receiver.relay_bytes_total, &receiver.frames_total] {
        counters
            .with_label_values(&["berre-l-etang", "quai-nord"])
            .inc();
    }
    let labels = ["berre-l-etang", "quai-nord"];
    receiver
        .newest_frame_age_seconds
        .with_label_values(&labels)
        .set(0.04);
    [gateway.encode().unwrap(), receiver.encode().unwrap()]
}

/// What others rely on, as it is fixed; more may be added.
const GATEWAY: &str = "config_last_reload_successful state_free_bytes journal_entries_total \
    journal_errors_total journal_intact certificate_expiry_timestamp_seconds{use} link_up{centre} \
    link_transport{centre,transport} link_rtt_seconds{centre} link_lost_packets_total{centre} \
    link_datagrams_per_send link_clock_offset_seconds{centre} uplink_capacity_bytes_per_second \
    cameras{state} camera_up{camera} camera_starts_total{outcome,reason} camera_start_seconds \
    camera_start_step_seconds{step} request_check_seconds journal_append_seconds \
    requests_total{centre,outcome,reason} grants_active approvals_waiting relays_active \
    relays_opened_total relays_closed_total{reason} relay_bytes_total{camera} frames_total{camera} \
    gops_reset_total{camera} ungranted_bytes_total";
const RECEIVER: &str = "config_last_reload_successful state_free_bytes journal_entries_total \
    journal_errors_total journal_intact certificate_expiry_timestamp_seconds{use} link_up{commune} \
    grants_active requests_total{outcome,reason} relays_active relay_bytes_total{commune,camera} \
    frames_total{commune,camera} first_picture_seconds grant_seconds journal_append_seconds transit_seconds viewers{kind} \
    viewer_skips_total{kind} newest_frame_age_seconds{commune,camera} streams_refused_total{commune,cause}";

/// Every metric's name with its labels, as the scrape has them.
fn names(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let series = line.rsplit_once(' ').unwrap().0;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels: Vec<&str> = labels
                .trim_end_matches('}')
                .split(',')
                .filter_map(|label| Some(label.split_once('=')?.0))
                .filter(|label| *label != "le")
                .collect();
            let name = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .unwrap_or(name);
            if labels.is_empty() {
                name.to_owned()
            } else {
                format!("{name}{{{}}}", labels.join(","))
            }
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[test]
fn the_list_is_that_of_the_interface() {
    let [gateway, receiver] = full();
    for (text, prefix, list) in [
        (gateway, "fanal_gateway_", GATEWAY),
        (receiver, "fanal_receiver_", RECEIVER),
    ] {
        let names = names(&text);
        let sorted = |wanted: &str| {
            let (name, labels) = wanted.split_once('{').unwrap_or((wanted, ""));
            let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
            labels.sort_unstable(); // the text format sorts labels by name
            if labels == [""] {
                format!("{prefix}{name}")
            } else {
                format!("{prefix}{name}{{{}}}", labels.join(","))
            }
        };
        for wanted in list.split_whitespace().map(sorted) {
            assert!(names.contains(&wanted), "{wanted} not in {names:?}");
        }
        assert!(names.contains(&"fanal_build_info{version}".to_owned()));
        assert!(names.contains(&"process_cpu_seconds_total".to_owned()));
    }
}

#[test]
fn promtool_is_silent() {
    for text in full() {
        if let Some((good, said)) = promtool(&["check", "metrics"], &text) {
            assert!(good && said.is_empty(), "{said}");
        }
    }
}

#[test]
fn the_shipped_rules_and_scrapes_are_right() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    for (kind, name) in [("rules", "alerts.yml"), ("config", "prometheus.yml")] {
        let path = deploy.join(name).display().to_string();
        if let Some((good, said)) = promtool(&["check", kind, &path], "") {
            assert!(good, "{said}");
        }
    }
    // Every metric that a rule names exists.
    let [gateway, receiver] = full();
    let rules = std::fs::read_to_string(deploy.join("alerts.yml")).unwrap();
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    for name in words.filter(|word| word.starts_with("fanal_")) {
        assert!(gateway.contains(name) || receiver.contains(name), "{name}");
    }
}

#[test]
fn a_finished_relay_leaves_no_series() {
    let gateway = Gateway::new([&CentreId::new("corg-13").unwrap()], 1).unwrap();
    let before = names(&gateway.encode().unwrap());
    gateway.frames_total.with_label_values(&["quai"]).inc();
    gateway.camera_up.with_label_values(&["quai"]).set(1);
    assert_ne!(names(&gateway.encode().unwrap()), before);
    gateway.forget_camera(&CameraId::new("quai").unwrap());
    assert_eq!(names(&gateway.encode().unwrap()), before);
}

/// A page of a metrics listener, head and all.
pub async fn get(address: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn pages_answer_and_readiness_follows_the_checks() {
    let metrics = Arc::new(Gateway::new([&CentreId::new("corg-13").unwrap()], 1).unwrap());
    let checks = Checks::expecting(&["journal", "link"]);
    let router = fanal::metrics::serve::router(move || metrics.encode(), checks.clone());
    let listener = Listener::bind(([127, 0, 0, 1], 0).into(), None)
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    let token = CancellationToken::new();
    let task = tokio::spawn(serve(listener, router, Limits::default(), token.clone()));

    assert!(get(address, "/health").await.starts_with("HTTP/1.1 200"));
    let page = get(address, "/metrics").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
        "{page}"
    );
    assert!(
        page.contains("\nfanal_gateway_ungranted_bytes_total 0\n"),
        "{page}"
    );
    let page = get(address, "/ready").await;
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("\"ready\":false"),
        "{page}"
    );
    checks.set("journal", Check::ok("writable"));
    checks.set("link", Check::failed("no centre is linked", "see the log"));
    let page = get(address, "/ready").await;
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("\"mend\":\"see the log\""),
        "{page}"
    );
    checks.set("link", Check::ok("corg-13"));
    let page = get(address, "/ready").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("\"ready\":true"),
        "{page}"
    );
    token.cancel();
    task.await.unwrap();
}
