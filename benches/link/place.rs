//! A commune and a centre with an emulated link between them.

use std::net::IpAddr;

use crate::support::path::{Conditions, Counts};
use crate::support::wan::Wan;
use anyhow::Context;

use super::case::{Cameras, Case, Strategy};
use super::parts::process::{Directory, Process};
use super::parts::site::{Settings, Site, Urls};
use super::stream::Streams;

/// Cameras as the simulator prints them: name, main stream, sub-stream.
pub(crate) type Names = Vec<(String, String, Option<String>)>;

pub(crate) struct Place {
    // In the order in which they end.
    pub(crate) site: Site,
    pub(crate) way: Way,
    streams: Names,
    _simulator: (Process, Directory),
}

/// A simulator; `live`: its sessions begin with whatever comes next.
pub(crate) fn simulator(
    cameras: &Cameras,
    live: bool,
) -> anyhow::Result<((Process, Directory), Names)> {
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

/// The emulated way from the gateway to the receiver.
pub(crate) struct Way {
    pub(crate) wan: Wan,
    /// Over TCP, where it gets through.
    streams: Option<Streams>,
}

impl Way {
    /// Lets through what may pass.
    pub(crate) fn carry(&self, case: &Case, udp: bool, tcp: bool) {
        let passes = |way, passes: bool| Conditions {
            cut: !passes,
            ..way
        };
        self.wan.set(passes(case.up, udp), passes(case.down, udp));
        if let Some(streams) = &self.streams {
            streams.set(passes(case.up, tcp), passes(case.down, tcp));
        }
    }

    /// What became of packets and segments towards the receiver.
    pub(crate) fn counts(&self) -> Counts {
        let udp = self.wan.counts()[0];
        let tcp = self
            .streams
            .as_ref()
            .map_or_else(Counts::default, Streams::counts);
        Counts {
            carried: udp.carried + tcp.carried,
            bytes: udp.bytes + tcp.bytes,
            lost: if tcp.carried > 0 { tcp.lost } else { udp.lost },
            overflowed: udp.overflowed,
        }
    }
}

impl Place {
    /// Everything up and linked over the case's link; or, where `path` is the receiver's
    /// address on a path that the system emulates, over that.
    pub(crate) fn start(
        case: &Case,
        strategy: Strategy,
        seed: u64,
        path: Option<IpAddr>,
    ) -> anyhow::Result<Self> {
        let (simulator, streams) = simulator(&case.cameras, true)?;
        let mut uplink = strategy.settings().to_owned();
        if let Some(rate) = case.max_bitrate {
            uplink += &format!("max_bitrate = \"{rate}\"\n");
        }
        let (settings, way) = prepare(&streams, &uplink, false, case, seed)?;
        if let Some(path) = path {
            lead_over(&settings, path)?;
        }
        Ok(Self {
            site: Site::run(settings)?,
            way,
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

/// Settings of a site whose gateway dials through a link; `warm`: its cameras are.
pub(crate) fn prepare(
    streams: &Names,
    uplink: &str,
    warm: bool,
    case: &Case,
    seed: u64,
) -> anyhow::Result<(Settings, Way)> {
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
    let target = target.parse()?;
    let wan = Wan::to(target, case.up, case.down, seed)?;
    let streams = case
        .tcp
        .then(|| Streams::to(target, wan.address(), [case.up, case.down], seed))
        .transpose()?;
    let way = Way { wan, streams };
    way.carry(case, case.udp, true);
    let text = format!(
        "{before}addresses = [\"{}\"{rest}\n[uplink]\n{uplink}",
        way.wan.address()
    );
    std::fs::write(file, text)?;
    Ok((settings, way))
}

/// Puts another address of the receiver into both files.
fn lead_over(settings: &Settings, path: IpAddr) -> anyhow::Result<()> {
    for (name, key) in [("receiver.toml", "listen"), ("gateway.toml", "addresses")] {
        let file = settings.file(name);
        let text = std::fs::read_to_string(&file)?;
        let (before, rest) = text
            .split_once(&format!("{key} = [\""))
            .context("no address")?;
        let (_, rest) = rest.split_once('"').context("no address")?;
        let address = std::net::SocketAddr::new(path, settings.link().port());
        std::fs::write(file, format!("{before}{key} = [\"{address}\"{rest}"))?;
    }
    Ok(())
}
