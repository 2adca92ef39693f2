//! `fanal check --discover`: ONVIF cameras of the network, as rows for the `cameras_file`.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use url::Url;

use super::{CheckArgs, Usage};
use crate::clock::Clock;
use crate::config::settings::{self, Credential, Streams};
use crate::gateway::onvif::discover::{self, Found, GROUP};

/// How long answers are waited for.
const WAIT: Duration = Duration::from_secs(4);

/// A row for the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    name: String,
    main: String,
    sub: String,
    onvif: String,
}

/// Searches, and prints rows of what the settings do not have yet; what can't be told on stderr.
pub(super) fn run(args: &CheckArgs, settings: &settings::Gateway) -> anyhow::Result<ExitCode> {
    let places = match args.at.as_slice() {
        [] => vec![GROUP],
        at => at.iter().map(|at| place(at)).collect::<Result<_, _>>()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime can't be started")?;
    let mut say = std::io::stderr();
    let rows = runtime.block_on(async {
        let mut found: Vec<Found> = Vec::new();
        for place in places {
            let more = discover::search(place, WAIT).await;
            let more = more.with_context(|| format!("asking at {place}"))?;
            found.extend(
                more.into_iter()
                    .filter(|one| !found.contains(one))
                    .collect::<Vec<_>>(),
            );
        }
        let mut rows = Vec::new();
        for (at, one) in found.iter().enumerate() {
            let credential = credential(settings, one);
            let sources = discover::sources(one, credential, &Clock::system()).await;
            let told = match &sources {
                Ok(sources) => format!("{} video sources", sources.len()),
                Err(error) => error.to_string(),
            };
            // Nobody reads it if it can't be written.
            let _ = writeln!(
                say,
                "{}/{} {} {}: {}",
                at + 1,
                found.len(),
                one.service,
                one.name,
                args.french().say(&told)
            );
            rows.extend(proposed(one, sources.ok().unwrap_or_default()));
        }
        anyhow::Ok(rows)
    })?;
    let known = known(settings);
    let all = rows.len();
    let new: Vec<Row> = rows
        .into_iter()
        .filter(|row| !known.contains(&row.main))
        .collect();
    print!("{}", table(&new)?);
    let end = format!(
        "{} of {all} are not in the settings yet; verify the masks in each camera, then write mask_verified",
        new.len()
    );
    let _ = writeln!(say, "{}", args.french().say(&end));
    Ok(ExitCode::from(u8::from(all == 0)))
}

fn place(written: &str) -> Result<SocketAddr, Usage> {
    let alone = written.parse::<IpAddr>();
    let place = alone.map(|address| SocketAddr::new(address, GROUP.port()));
    place.or_else(|_| written.parse()).map_err(|_| {
        Usage(format!(
            "--at {written}: write an address, such as 10.0.0.11"
        ))
    })
}

fn streams(settings: &settings::Gateway) -> impl Iterator<Item = &Streams> {
    let cameras = settings.cameras.values();
    cameras.filter_map(|camera| camera.streams.as_ref().ok())
}

/// The only one that is tried there: that of the device's cameras, or the one that all cameras
/// have; so that no device locks an account.
fn credential<'s>(settings: &'s settings::Gateway, found: &Found) -> Option<&'s Credential> {
    let of_host = |streams: &&Streams| streams.main.host_str() == found.service.host_str();
    let mut here = streams(settings).filter(of_host);
    if let Some(streams) = here.next() {
        return streams.credential.as_ref();
    }
    let mut all = streams(settings).map(|streams| &streams.credential);
    let first = all.next()?;
    all.all(|other| other == first).then_some(first.as_ref())?
}

/// Addresses of the streams that the settings have.
fn known(settings: &settings::Gateway) -> BTreeSet<String> {
    let urls =
        streams(settings).flat_map(|streams| std::iter::once(&streams.main).chain(&streams.sub));
    urls.map(Url::to_string).collect()
}

fn proposed(found: &Found, sources: Vec<Vec<Url>>) -> Vec<Row> {
    let host = found.service.host_str().unwrap_or_default();
    let name = if found.name.is_empty() {
        format!("Camera {host}")
    } else {
        format!("{} {host}", found.name)
    };
    let many = sources.len() > 1;
    let rows = sources.into_iter().enumerate().map(|(at, streams)| {
        let mut urls = streams.iter().map(Url::to_string);
        Row {
            name: if many {
                format!("{name} {}", at + 1)
            } else {
                name.clone()
            },
            main: urls.next().unwrap_or_default(),
            sub: urls.next().unwrap_or_default(),
            onvif: found.service.to_string(),
        }
    });
    rows.collect()
}

/// The rows as a `cameras_file`; masks are never taken for verified.
fn table(rows: &[Row]) -> anyhow::Result<String> {
    let mut writer = ::csv::WriterBuilder::new()
        .delimiter(b';')
        .from_writer(Vec::new());
    writer.write_record(["name", "main", "sub", "onvif", "mask_verified"])?;
    for row in rows {
        // A spreadsheet runs a cell that begins so.
        let name = row.name.trim_start_matches(['=', '+', '-', '@']);
        writer.write_record([name, &row.main, &row.sub, &row.onvif, "non"])?;
    }
    let bytes = writer.into_inner().map_err(|error| error.into_error())?;
    Ok(String::from_utf8(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_a_table_that_the_settings_read() {
        let found = Found {
            service: Url::parse("http://10.0.0.11/onvif").unwrap(),
            name: "=cmd".to_owned(),
        };
        let url = |text: &str| Url::parse(text).unwrap();
        let sources = vec![
            vec![url("rtsp://10.0.0.11/1"), url("rtsp://10.0.0.11/2")],
            vec![url("rtsp://10.0.0.11/3")],
        ];
        let text = table(&proposed(&found, sources)).unwrap();
        assert_eq!(
            text,
            "name;main;sub;onvif;mask_verified\n\
             cmd 10.0.0.11 1;rtsp://10.0.0.11/1;rtsp://10.0.0.11/2;http://10.0.0.11/onvif;non\n\
             cmd 10.0.0.11 2;rtsp://10.0.0.11/3;;http://10.0.0.11/onvif;non\n"
        );
        assert_eq!(place("10.0.0.1").unwrap().port(), 3702);
        assert!(place("10.0.0.1:99").is_ok() && place("camera").is_err());
    }
}
