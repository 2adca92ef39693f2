//! The other communes' gateways: real ones, some as processes of their own, the
//! rest together in a few.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fanal::config;
use fanal::gateway::{Gateway, Options};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::parts::process::{self, Directory, Process};
use crate::parts::site::{self, Settings};

/// Gateways that are processes of their own, besides the one that is asked.
const ALONE: usize = 9;
/// Gateways in one process, each with two threads and some ten open files.
const TOGETHER: usize = 500;
/// Cameras that each has in its list; nobody opens them.
const CAMERAS: usize = 20;
/// How often the bytes sent are added up.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Names of so many communes.
pub(crate) fn names(count: usize) -> Vec<String> {
    (1..=count)
        .map(|number| format!("commune-{number:04}"))
        .collect()
}

/// Their settings, and those that run.
pub(crate) struct Crowd {
    directory: Directory,
    settings: Vec<PathBuf>,
    alone: Vec<Process>,
    /// With the file in which each says how many bytes its gateways have sent.
    together: Vec<(Process, PathBuf)>,
    started: usize,
}

impl Crowd {
    /// Certificates and settings of all; nobody runs yet.
    /// They dial the receiver, or what leads to it (`through`).
    pub(crate) fn prepare(
        settings: &Settings,
        communes: Vec<String>,
        through: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let directory = Directory::in_memory()?;
        let cameras =
            (1..=CAMERAS).fold("id,name,main,mask_verified\n".to_owned(), |list, number| {
                list + &format!(
                    "camera-{number},Camera {number},rtsp://192.0.2.{number}/main,true\n"
                )
            });
        site::write(directory.path(), "cameras.csv", &cameras)?;
        let any = "127.0.0.1:0".parse()?;
        let settings = communes
            .iter()
            .map(|commune| {
                let file = settings.write_gateway(commune, directory.path(), commune, any)?;
                if let Some(through) = through {
                    let text = std::fs::read_to_string(&file)?;
                    let direct = settings.link().to_string();
                    std::fs::write(&file, text.replace(&direct, &through.to_string()))?;
                }
                Ok(file)
            })
            .collect::<anyhow::Result<Vec<PathBuf>>>()?;
        Ok(Self {
            directory,
            settings,
            alone: Vec::new(),
            together: Vec::new(),
            started: 0,
        })
    }

    /// Starts more, until so many run.
    pub(crate) fn grow(&mut self, count: usize) -> anyhow::Result<()> {
        while self.started < count && self.alone.len() < ALONE {
            let file = self.settings[self.started].display().to_string();
            let log = self.settings[self.started].with_extension("log");
            self.alone
                .push(Process::fanal(&["gateway", "--config", &file], &log)?);
            self.started += 1;
        }
        while self.started < count {
            let end = count.min(self.started + TOGETHER);
            let list: String = self.settings[self.started..end]
                .iter()
                .map(|file| format!("{}\n", file.display()))
                .collect();
            let name = format!("crowd-{}", self.together.len());
            let list = site::write(self.directory.path(), &name, &list)?;
            let mut process = Process::role("crowd", &[&list])?;
            process.line()?;
            self.together.push((process, sent_file(Path::new(&list))));
            self.started = end;
        }
        Ok(())
    }

    /// Gateways of which [`Crowd::sent_bytes`] tells.
    pub(crate) fn counted(&self) -> usize {
        self.started - self.alone.len()
    }

    /// Bytes that those who share a process have sent so far.
    pub(crate) fn sent_bytes(&self) -> anyhow::Result<f64> {
        let mut sent = 0.0;
        for (_, file) in &self.together {
            sent += std::fs::read_to_string(file)?.trim().parse::<f64>()?;
        }
        Ok(sent)
    }
}

fn sent_file(list: &Path) -> PathBuf {
    list.with_extension("sent")
}

/// Runs the gateways of a list of settings files until this process is killed.
pub(crate) fn run(list: &Path) -> anyhow::Result<()> {
    process::raise_descriptors();
    let files = std::fs::read_to_string(list)?;
    let sent = sent_file(list);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut gateways = JoinSet::new();
        let mut counted = Vec::new();
        for file in files.lines() {
            let loaded = config::load_gateway(Path::new(file))?;
            let gateway = Gateway::bind(loaded, Options::default()).await?;
            counted.push(gateway.metrics());
            gateways.spawn(gateway.run(CancellationToken::new()));
        }
        let mut told = false;
        let mut tick = tokio::time::interval(COUNT_EVERY);
        loop {
            tokio::select! {
                ended = gateways.join_next() => {
                    ended.context("no gateways")???;
                    anyhow::bail!("a gateway ended by itself");
                }
                _ = tick.tick() => {}
            }
            let bytes: u64 = counted.iter().map(sent_by).sum();
            // Whole at any time: it is read while it is written.
            let new = sent.with_extension("new");
            std::fs::write(&new, bytes.to_string())?;
            std::fs::rename(&new, &sent)?;
            if !told {
                println!("started");
                told = true;
            }
        }
    })
}

fn sent_by(metrics: &Arc<fanal::metrics::Gateway>) -> u64 {
    let centre = [site::CENTRE];
    metrics
        .link_sent_bytes_total
        .with_label_values(&centre)
        .get()
}
