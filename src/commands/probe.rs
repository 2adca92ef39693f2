//! `fanal probe`: a daemon's `/ready` as a monitoring plugin, for Nagios, Icinga and Centreon.
#![allow(clippy::print_stdout)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

use super::client;
use crate::connect;

/// Largest answer.
const LIMIT: usize = 1024 * 1024;
/// Longest line: what plugins may print at most.
const LINE_LIMIT: usize = 1_024;

/// Arguments of `fanal probe`.
#[derive(Debug, Args)]
#[command(
    after_help = "Example: as a check command of Nagios, Icinga or Centreon
  fanal probe --url http://127.0.0.1:9998/ready

Prints one line with performance data. Exit status as plugins have it: 0 OK,
1 WARNING: something is to be corrected, 2 CRITICAL: the daemon can't do its work,
or does not answer, 3 UNKNOWN: what answers is no fanal."
)]
pub struct ProbeArgs {
    /// The daemon's /ready
    #[arg(long, value_name = "URL")]
    url: String,
    /// How long the answer may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

/// The part of `/ready` that is judged.
#[derive(Debug, Deserialize)]
struct Ready {
    ready: bool,
    checks: Vec<Check>,
}

#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    state: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    remedy: String,
}

/// Why there is no answer to judge.
enum Failed {
    /// Nobody answers.
    Silent(String),
    /// Something else does.
    Foreign(String),
}

/// Runs `fanal probe`.
///
/// # Errors
/// The runtime can't be started.
pub fn run(args: ProbeArgs) -> anyhow::Result<ExitCode> {
    client::block_on(async {
        let limit = Duration::from_secs(args.timeout);
        let since = Instant::now();
        let answer = tokio::time::timeout(limit, ask(&args.url)).await;
        let answer = answer.unwrap_or_else(|_| {
            let text = format!("{} does not answer within {} s", args.url, args.timeout);
            Err(Failed::Silent(text))
        });
        let (line, status) = judge(answer, since.elapsed());
        println!("{line}");
        Ok(ExitCode::from(status))
    })
}

async fn ask(url: &str) -> Result<Ready, Failed> {
    let parsed =
        url::Url::parse(url).map_err(|error| Failed::Foreign(format!("{url}: {error}")))?;
    let host = parsed.host_str().unwrap_or_default();
    if parsed.scheme() != "http" || host.is_empty() {
        let text = format!("{url}: write it like http://127.0.0.1:9998/ready");
        return Err(Failed::Foreign(text));
    }
    let port = parsed.port_or_known_default().unwrap_or(80);
    let silent = |error: anyhow::Error| Failed::Silent(format!("{url}: {error:#}"));
    let got = get(host.trim_matches(['[', ']']), port, &parsed).await;
    let body = got.map_err(silent)?;
    serde_json::from_slice(&body)
        .map_err(|_| Failed::Foreign(format!("{url} is no /ready of fanal")))
}

/// The body of an answer over plain HTTP, up to 1 MiB.
///
/// # Errors
/// Nobody answers, or no HTTP, or with more.
pub(super) async fn get(host: &str, port: u16, url: &url::Url) -> anyhow::Result<Bytes> {
    let (stream, _) = connect::connect(host, port).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = hyper::Request::get(url.path())
        .header(header::HOST, url.authority())
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .context("the request")?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let body = Limited::new(response.into_body(), LIMIT).collect().await;
        let body = body.map_err(|error| anyhow!(error))?;
        anyhow::Ok(body.to_bytes())
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        body = &mut exchange => body,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// The plugin's line and exit status. Pure.
fn judge(answer: Result<Ready, Failed>, took: Duration) -> (String, u8) {
    let ready = match answer {
        Ok(ready) => ready,
        Err(Failed::Silent(text)) => return (plain(&format!("FANAL CRITICAL - {text}")), 2),
        Err(Failed::Foreign(text)) => return (plain(&format!("FANAL UNKNOWN - {text}")), 3),
    };
    let of = |state: &'static str| {
        ready
            .checks
            .iter()
            .filter(move |check| check.state == state)
    };
    let (failed, warnings) = (of("failed").count(), of("warning").count());
    let (word, status) = match (ready.ready, failed, warnings) {
        (true, 0, 0) => ("OK", 0),
        (true, 0, _) => ("WARNING", 1),
        _ => ("CRITICAL", 2),
    };
    let told = of("failed").chain(of("warning")).map(|check| {
        let Check {
            name,
            detail,
            remedy,
            ..
        } = check;
        if remedy.is_empty() {
            format!("{name}: {detail}")
        } else {
            format!("{name}: {detail} ({remedy})")
        }
    });
    let told: Vec<String> = told.collect();
    let told = if told.is_empty() {
        format!("{} checks", ready.checks.len())
    } else {
        told.join("; ")
    };
    let figures = format!(
        "time={:.3}s;;;0 failed={failed};;;0 warnings={warnings};;;0 checks={};;;0",
        took.as_secs_f64(),
        ready.checks.len()
    );
    (
        format!("{} | {figures}", plain(&format!("FANAL {word} - {told}"))),
        status,
    )
}

/// One line, and no `|`, which begins performance data.
fn plain(text: &str) -> String {
    let line = text.replace('|', "/");
    crate::format::text::shown(&line, LINE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(ready: bool, states: &[(&str, &str)]) -> Result<Ready, Failed> {
        let checks = states.iter().map(|(name, state)| Check {
            name: (*name).to_owned(),
            state: (*state).to_owned(),
            detail: "a | b\nc".to_owned(),
            remedy: String::new(),
        });
        Ok(Ready {
            ready,
            checks: checks.collect(),
        })
    }

    #[test]
    fn plugins_have_their_status_and_one_line() {
        let took = Duration::from_millis(12);
        let figures = |failed, warnings, checks| {
            format!(
                " | time=0.012s;;;0 failed={failed};;;0 warnings={warnings};;;0 checks={checks};;;0"
            )
        };
        let (line, status) = judge(ready(true, &[("link", "ok")]), took);
        assert_eq!(
            (line, status),
            (format!("FANAL OK - 1 checks{}", figures(0, 0, 1)), 0)
        );
        let (line, status) = judge(ready(true, &[("link", "warning"), ("x", "ok")]), took);
        assert!(
            line.starts_with("FANAL WARNING - link: a / b") && status == 1,
            "{line}"
        );
        assert!(line.ends_with(&figures(0, 1, 2)) && line.lines().count() == 1);
        let states = [("link", "warning"), ("journal", "failed")];
        let (line, status) = judge(ready(false, &states), took);
        assert!(
            line.starts_with("FANAL CRITICAL - journal:") && status == 2,
            "{line}"
        );
        let (line, status) = judge(Err(Failed::Silent("refused".to_owned())), took);
        assert_eq!((line.as_str(), status), ("FANAL CRITICAL - refused", 2));
        let (line, status) = judge(Err(Failed::Foreign("what".to_owned())), took);
        assert_eq!((line.as_str(), status), ("FANAL UNKNOWN - what", 3));
    }
}
