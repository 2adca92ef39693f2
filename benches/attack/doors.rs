//! Where the attacker knocks; a file tells its process.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::NEIGHBOUR;
use crate::parts::site::{Site, Urls};

/// All that the attacker knows.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Doors {
    pub(crate) web: SocketAddr,
    pub(crate) rtsp: SocketAddr,
    pub(crate) link: SocketAddr,
    /// The gateway's UDP ports.
    pub(crate) gateway: Vec<SocketAddr>,
    /// Where the neighbour's certificate and key are, and those of the turned receivers.
    pub(crate) place: PathBuf,
    pub(crate) neighbour: String,
    /// Names of the cameras.
    pub(crate) cameras: Vec<String>,
    pub(crate) rate: u32,
    pub(crate) seed: u64,
    pub(crate) seconds: u64,
}

impl Doors {
    pub(crate) fn of(
        site: &Site,
        granted: &Urls,
        (rate, seed, seconds): (u32, u64, u64),
    ) -> anyhow::Result<Self> {
        let (_, url) = granted.first().context("nothing granted")?;
        let url = url::Url::parse(url)?;
        let rtsp = url.socket_addrs(|| Some(554))?;
        Ok(Self {
            web: site.api(),
            rtsp: *rtsp.first().context("no RTSP address")?,
            link: site.settings().link(),
            gateway: udp_ports(site.gateway.id())?,
            place: site.settings().file(""),
            neighbour: NEIGHBOUR.to_owned(),
            cameras: granted.iter().map(|(name, _)| name.clone()).collect(),
            rate,
            seed,
            seconds,
        })
    }

    pub(crate) fn write(&self, site: &Site) -> anyhow::Result<String> {
        site.write("doors", &serde_json::to_string(self)?)
    }

    pub(crate) fn read(file: &str) -> anyhow::Result<Self> {
        Ok(serde_json::from_str(&std::fs::read_to_string(file)?)?)
    }
}

/// The UDP ports of a process, as the kernel lists them.
fn udp_ports(process: u32) -> anyhow::Result<Vec<SocketAddr>> {
    let descriptors = std::fs::read_dir(format!("/proc/{process}/fd"))?;
    let links = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    let sockets: HashSet<String> = links
        .filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?;
            Some(name.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut ports = Vec::new();
    for table in ["udp", "udp6"] {
        let text = std::fs::read_to_string(format!("/proc/{process}/net/{table}"))?;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(inode)) = (fields.get(1), fields.get(9)) else {
                continue;
            };
            if sockets.contains(*inode)
                && let Some((_, port)) = local.rsplit_once(':')
            {
                let port = u16::from_str_radix(port, 16)?;
                ports.push(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            }
        }
    }
    anyhow::ensure!(!ports.is_empty(), "the gateway has no UDP port");
    Ok(ports)
}
