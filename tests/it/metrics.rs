//! Metrics as Prometheus meets them: linted by promtool, served over HTTP.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use fanal::config::settings::Witness;
use fanal::format::ids::{CameraId, CentreId, CommuneId};
use fanal::format::note::{Kind, NoteSigner};
use fanal::http::{Limits, Listener, serve};
use fanal::metrics::health::{Check, Checks};
use fanal::metrics::{Gateway, Receiver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// promtool with these arguments, or `None` where it is not installed.
pub fn promtool(args: &[&str], input: &str) -> Option<(bool, String)> {
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
            crate::tools::skipped(format_args!("promtool not found"));
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
pub fn full() -> [String; 2] {
    let gateway = Gateway::new([&CentreId::new("corg-13").unwrap()], 200).unwrap();
    gateway.camera_up.with_label_values(&["quai-nord"]).set(1);
    let key = NoteSigner::new("temoin.example", Kind::Witness, [1; 32]).unwrap();
    let witness = Witness {
        name: "Préfecture".to_owned(),
        url: "https://temoin.example".parse().unwrap(),
        key: key.verifier().clone(),
    };
    gateway.witnesses.apply(std::slice::from_ref(&witness));
    gateway.copies.expect(["copied"]);
    for counters in [
        &gateway.relay_bytes_total,
        &gateway.frames_total,
        &gateway.gops_reset_total,
    ] {
        counters.with_label_values(&["quai-nord"]).inc();
    }
    let receiver = Receiver::new([&CommuneId::new("berre-l-etang").unwrap()]).unwrap();
    receiver.witnesses.apply(&[witness]);
    receiver.copies.expect(["copied"]);
    for counters in [&receiver.relay_bytes_total, &receiver.frames_total] {
        counters
            .with_label_values(&["berre-l-etang", "quai-nord"])
            .inc();
    }
    let berre = CommuneId::new("berre-l-etang").unwrap();
    receiver.show_commune(&berre, Some(("1.2.3", Some("quic"))));
    let labels = ["berre-l-etang", "quai-nord"];
    receiver
        .newest_frame_age_seconds
        .with_label_values(&labels)
        .set(0.04);
    [gateway.encode().unwrap(), receiver.encode().unwrap()]
}

/// Every metric's name with its labels, as the scrape has them.
pub fn names(text: &str) -> Vec<String> {
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

fn paper(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/reference");
    std::fs::read_to_string(path.join(name)).unwrap()
}

/// The part of a text between two others.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let begin = text.find(from).expect(from) + from.len();
    let rest = &text[begin..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
}

/// What is written between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// `name{b,a}` with its labels in the order of the text format, which sorts them.
fn sorted(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else {
        return name.to_owned();
    };
    let mut labels: Vec<&str> = labels.trim_end_matches('}').split(',').collect();
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// Names and labels of a table's rows; names that begin with `_` get the prefix.
fn rows(table: &str, prefix: &str) -> Vec<String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split('|');
        let name = cells.next()?.trim().trim_end_matches('`').to_owned();
        let labels: Vec<&str> = quoted(cells.next()?).collect();
        let name = match name.strip_prefix('_') {
            Some(name) => format!("{prefix}{name}"),
            None => name,
        };
        Some(match labels.is_empty() {
            true => name,
            false => sorted(&format!("{name}{{{}}}", labels.join(","))),
        })
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn the_reference_lists_every_metric_and_no_other() {
    let text = paper("metrics.md");
    let tables = |daemon: &str| {
        let own = between(&text, &format!("\n## {daemon}\n"), "\n## ");
        // What follows the table are values of one label.
        let own = own.split("\n\n`_").next().unwrap();
        let both = between(&text, "\n## Process\n", "\n## Gateway\n");
        format!("{both}{own}")
    };
    let [gateway, receiver] = full();
    for (scrape, daemon, prefix) in [
        (gateway, "Gateway", "fanal_gateway_"),
        (receiver, "Receiver", "fanal_receiver_"),
    ] {
        let (written, known) = (rows(&tables(daemon), prefix), names(&scrape));
        for name in &known {
            assert!(written.contains(name), "{name} is not in metrics.md");
        }
        for name in &written {
            assert!(known.contains(name), "{name} is in metrics.md alone");
        }
        assert_eq!(written.len(), known.len(), "metrics.md, {daemon}: twice");
        // A metric without a series would be missed: `full` has one of each in the code.
        let file = format!("src/metrics/{}.rs", daemon.to_lowercase());
        let code = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let code = code.unwrap();
        let made = code.lines().filter_map(|line| {
            let (_, call) = line.trim().split_once(": r.")?;
            call.split('"').nth(1)
        });
        let made: Vec<String> = made.map(|name| format!("{prefix}{name}")).collect();
        assert!(made.len() > 10, "{made:?}");
        for name in made {
            let exact = |known: &String| known.split('{').next() == Some(name.as_str());
            assert!(written.iter().any(exact), "{name} is not in metrics.md");
        }
    }
}

/// Names that others rely on are there, with their labels; more may be added.
#[test]
fn the_list_is_that_of_the_interface() {
    let text = paper("interfaces.md");
    let section = between(&text, "\n## 8. Metrics", "\n## 9");
    let both = between(section, "\nBoth: ", "\nGateway: ");
    let [gateway, receiver] = full();
    for (scrape, begin, end, prefix) in [
        (gateway, "\nGateway: ", "\nReceiver: ", "fanal_gateway_"),
        (receiver, "\nReceiver: ", " (Prefix ", "fanal_receiver_"),
    ] {
        let known = names(&scrape);
        let own = between(section, begin, end);
        let mut seen = 0;
        for name in quoted(both)
            .chain(quoted(own))
            .filter(|name| *name != "process_*")
        {
            let whole = match name.strip_prefix('_') {
                Some(name) => sorted(&format!("{prefix}{name}")),
                None => sorted(name),
            };
            let whole = match whole.as_str() {
                "fanal_build_info" => "fanal_build_info{version}".to_owned(),
                _ => whole,
            };
            assert!(known.contains(&whole), "{whole} not in {known:?}");
            seen += 1;
        }
        assert!(seen > 15, "{begin}: {seen}");
        assert!(known.contains(&"process_cpu_seconds_total".to_owned()));
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
    try_get(address, path).await.unwrap()
}

/// The same of a daemon that may be away.
pub async fn try_get(address: std::net::SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
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
        page.starts_with("HTTP/1.1 503") && page.contains("\"remedy\":\"see the log\""),
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
