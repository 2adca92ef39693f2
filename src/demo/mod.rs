//! The whole thing on one machine: cameras, a gateway, a receiver, an operator.
//! Assembly only; each part is the one that the daemons run.
//!
//! [`site`] writes the files a commune and a centre would have, [`player`] is a
//! viewer of the receiver's RTSP output, [`Demo`] starts it all and asks.

pub mod links;
pub mod player;
pub mod site;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config;
use crate::gateway::{self, Gateway};
use crate::metrics;
use crate::receiver::{self, Receiver};
use crate::simulate;
use site::{CameraEntry, Site};

/// How long the link may take to come up.
const LINK_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a daemon may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the demo looks whether something has happened.
const LOOK: Duration = Duration::from_millis(10);

/// Bits per second of a simulated camera's sub-stream.
const SUB_BITRATE: u64 = 500_000;

/// Where the cameras of a demo come from.
#[derive(Clone, Debug)]
pub enum Cameras {
    /// This many simulated ones.
    Simulated(usize),
    /// The visitor's own.
    Own(Vec<url::Url>),
}

/// A running demo. Dropping it aborts everything; [`Demo::stop`] ends in order.
#[derive(Debug)]
pub struct Demo {
    /// The files.
    pub site: Site,
    /// Where the receiver's API is.
    pub console: SocketAddr,
    /// Where the commune's page is.
    pub page: SocketAddr,
    /// Where the gateway's metrics are.
    pub gateway_metrics: SocketAddr,
    /// Where the receiver's metrics are.
    pub receiver_metrics: SocketAddr,
    /// The gateway's figures.
    pub gateway: Arc<metrics::Gateway>,
    /// The receiver's figures.
    pub receiver: Arc<metrics::Receiver>,
    /// What the simulated cameras see; `None` with the visitor's own.
    pub counters: Option<tokio::sync::watch::Receiver<simulate::Counters>>,
    token: CancellationToken,
    cameras_token: CancellationToken,
    daemons: JoinSet<anyhow::Result<()>>,
    cameras: JoinSet<()>,
}

impl Demo {
    /// Starts cameras, receiver and gateway, and waits for the link.
    ///
    /// # Errors
    /// What could not be started, and why.
    pub async fn start(cameras: Cameras) -> anyhow::Result<Self> {
        let clock = Clock::system();
        let cameras_token = CancellationToken::new();
        let mut camera_tasks = JoinSet::new();
        let mut counters = None;
        let (entries, next_door) = match cameras {
            Cameras::Own(urls) => (CameraEntry::own(&urls)?, Vec::new()),
            Cameras::Simulated(count) => {
                let names = simulate::names(count + site::NEIGHBOUR_CAMERAS);
                let mut options = simulate::Options::new(names);
                options.sub_bitrate = Some(SUB_BITRATE);
                let server = simulate::Server::bind(options)
                    .await
                    .context("simulated cameras")?;
                counters = Some(server.counters());
                let (urls, subs) = (server.urls(), server.sub_urls());
                let (own, others) = urls.split_at(count.min(urls.len()));
                let (own_subs, other_subs) = subs.split_at(count.min(subs.len()));
                let entries = CameraEntry::simulated(own, own_subs)?;
                let others = CameraEntry::simulated_next_door(others, other_subs)?;
                camera_tasks.spawn(server.run(cameras_token.clone()));
                (entries, others)
            }
        };
        let site = Site::make(clock.now().wall).context("files of the demo")?;
        let token = CancellationToken::new();
        let mut daemons = JoinSet::new();

        let file = site.write_receiver(!next_door.is_empty())?;
        let loaded = config::load_receiver(&file).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let receiver_options = receiver::Options {
            clock: clock.clone(),
            accept_clock: None,
            accept_journals: std::collections::BTreeMap::new(),
            waits: receiver::viewing::Waits::default(),
            demo_page: true,
            ..receiver::Options::default()
        };
        let receiver = Receiver::bind(loaded, receiver_options)
            .await
            .context("receiver")?;
        let addresses = receiver.local_addrs().clone();
        let receiver_figures = receiver.metrics();
        let run = receiver.run(token.clone());
        daemons.spawn(async { run.await.context("receiver") });
        let link = addresses
            .link
            .first()
            .context("the receiver has no link address")?;

        let file = site.write_gateway(*link, &entries)?;
        let loaded = config::load_gateway(&file).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let options = gateway::Options {
            demo_page: true,
            ..gateway::Options::default()
        };
        let gateway = Gateway::bind(loaded, options).await.context("gateway")?;
        let page = gateway.local_addrs().page;
        let gateway_metrics = gateway.local_addrs().metrics;
        let gateway_figures = gateway.metrics();
        let run = gateway.run(token.clone());
        daemons.spawn(async { run.await.context("gateway") });
        let mut communes = vec![site::COMMUNE];
        if !next_door.is_empty() {
            let file = site.write_neighbour(*link, &next_door)?;
            let loaded =
                config::load_gateway(&file).map_err(|errors| anyhow::anyhow!("{errors}"))?;
            let neighbour = Gateway::bind(loaded, gateway::Options::default())
                .await
                .context("the neighbour's gateway")?;
            let run = neighbour.run(token.clone());
            daemons.spawn(async { run.await.context("the neighbour's gateway") });
            communes.push(site::NEIGHBOUR);
        }

        let mut demo = Self {
            site,
            console: addresses.console,
            page: page.context("the gateway serves no page")?,
            gateway_metrics,
            receiver_metrics: addresses.metrics,
            gateway: gateway_figures,
            receiver: receiver_figures,
            counters,
            token,
            cameras_token,
            daemons,
            cameras: camera_tasks,
        };
        demo.wait_for_links(&communes).await?;
        Ok(demo)
    }

    async fn wait_for_links(&mut self, communes: &[&str]) -> anyhow::Result<()> {
        let up = async {
            for commune in communes {
                let up = self.receiver.link_up.with_label_values(&[*commune]);
                while up.get() == 0 {
                    tokio::time::sleep(LOOK).await;
                }
            }
        };
        tokio::select! {
            done = tokio::time::timeout(LINK_TIMEOUT, up) => {
                done.context("the gateway and the receiver did not link; see the log above")
            }
            failed = self.daemons.join_next() => Err(ended(failed)),
        }
    }

    /// Returns, with the cause, if a daemon ends by itself. Cancel-safe.
    pub async fn failed(&mut self) -> anyhow::Error {
        ended(self.daemons.join_next().await)
    }

    /// Stops the daemons, then the cameras, so that those see their TEARDOWN.
    ///
    /// # Errors
    /// A daemon failed or did not stop in time.
    pub async fn stop(mut self) -> anyhow::Result<Site> {
        self.token.cancel();
        let daemons = async {
            while let Some(ended) = self.daemons.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(STOP_TIMEOUT, daemons)
            .await
            .context("the daemons did not stop in time")??;
        self.cameras_token.cancel();
        while self.cameras.join_next().await.is_some() {}
        Ok(self.site)
    }
}

fn ended(result: Option<Result<anyhow::Result<()>, tokio::task::JoinError>>) -> anyhow::Error {
    match result {
        Some(Ok(Ok(()))) | None => anyhow::anyhow!("a daemon ended by itself; see the log above"),
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => error.into(),
    }
}

/// Waits until `condition` holds, looking every 10 ms.
///
/// # Errors
/// It does not hold within `limit`; names `what`.
pub async fn wait_until(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> bool,
) -> anyhow::Result<()> {
    let held = async {
        while !condition() {
            tokio::time::sleep(LOOK).await;
        }
    };
    if tokio::time::timeout(limit, held).await.is_err() {
        bail!("{what}: not within {} s", limit.as_secs());
    }
    Ok(())
}
