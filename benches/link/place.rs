//! A commune and a centre with an emulated link between them.

use std::net::SocketAddr;

use crate::support::wan::Wan;
use anyhow::Context;

use super::case::{Cameras, Case, Strategy};
use super::parts::process::{Directory, Process};
use super::parts::site::{Settings, Site, Urls};

/// Cameras as the simulator prints them: name, main stream, sub-stream.
pub(crate) type Streams = Vec<(String, String, Option<String>)>;

pub(crate) struct Place {
    // In the order in which they end.
    pub(crate) site: Site,
    pub(crate) wan: Wan,
    streams: Streams,
    _simulator: (Process, Directory),
}

/// A simulator; `live`: its sessions begin with whatever comes next.
pub(crate) fn simulator(
    cameras: &Cameras,
    live: bool,
) -> anyhow::Result<((Process, Directory), Streams)> {
    let directory = Directory::new()?;
    let count = cameras.count.to_string();
    let mut args = vec!["simulate", "--listen", "127.0.0.1:0", "--cameras", &count];
    args.extend(["--bitrate", cameras.bitrate]);
    if let Some(sub) = cameras.sub {
        args.extend(["--sub-bitrate", sub]);
    }
    if live {
        args.push("--live");
    }
    let mut process = Process::fanal(&args, &directory.path().join("simulate.log"))?;
    process.line()?;
    let mut streams = Vec::new();
    for _ in 0..cameras.count {
        let line = process.line()?;
        let fields: Vec<&str> = line.split(',').collect();
        let field = |at: usize| fields.get(at).map(|field| (*field).to_owned());
        streams.push((
            field(0).context("no name")?,
            field(2).context("no URL")?,
            cameras.sub.and_then(|_| field(3)),
        ));
    }
    Ok(((process, directory), streams))
}

impl Place {
    /// Everything up and linked over the case's link.
    pub(crate) fn start(case: &Case, strategy: Strategy, seed: u64) -> anyhow::Result<Self> {
        let (simulator, streams) = simulator(&case.cameras, true)?;
        let mut uplink = strategy.settings().to_owned();
        if let Some(rate) = case.max_bitrate {
            uplink += &format!("max_bitrate = \"{rate}\"\n");
        }
        let (site, wan) = linked(&streams, &uplink, false, |target| {
            Wan::to(target, case.up, case.down, seed)
        })?;
        Ok(Self {
            site,
            wan,
            streams,
            _simulator: simulator,
        })
    }

    pub(crate) fn request(&self, _cameras: &Cameras) -> anyhow::Result<Urls> {
        let names = self.streams.iter();
        let urls: Urls = names
            .map(|(name, main, _)| (name.clone(), main.clone()))
            .collect();
        self.site.request(&urls)
    }

    /// What the players open: relayed URL, and the camera's own.
    pub(crate) fn list(&self, relayed: &Urls) -> String {
        let mut list = String::new();
        for (name, url) in relayed {
            if let Some((_, main, sub)) = self.streams.iter().find(|(known, ..)| known == name) {
                list += &format!("{url} {main} {}\n", sub.as_deref().unwrap_or_default());
            }
        }
        list
    }
}

/// A site whose gateway dials through a link; `warm`: its cameras are.
pub(crate) fn linked(
    streams: &Streams,
    uplink: &str,
    warm: bool,
    wan: impl FnOnce(SocketAddr) -> std::io::Result<Wan>,
) -> anyhow::Result<(Site, Wan)> {
    let urls: Urls = streams
        .iter()
        .map(|(name, main, _)| (name.clone(), main.clone()))
        .collect();
    let settings = Settings::write(&urls)?;
    let mut cameras = "id,name,main,sub,mask_verified,close_after,warm\n".to_owned();
    for (name, main, sub) in streams {
        let sub = sub.as_deref().unwrap_or_default();
        cameras += &format!("{name},{name},{main},{sub},true,100ms,{warm}\n");
    }
    std::fs::write(settings.file("cameras.csv"), cameras)?;
    let file = settings.file("gateway.toml");
    let text = std::fs::read_to_string(&file)?;
    let (before, rest) = text.split_once("addresses = [\"").context("no address")?;
    let (target, rest) = rest.split_once('"').context("no address")?;
    let wan = wan(target.parse()?)?;
    let text = format!(
        "{before}addresses = [\"{}\"{rest}\n[uplink]\n{uplink}",
        wan.address()
    );
    std::fs::write(file, text)?;
    Ok((Site::run(settings)?, wan))
}
