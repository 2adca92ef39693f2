//! What crosses a link that has nothing to say.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use fanal::clock::Clock;
use fanal::config;
use fanal::link::{Event, accept, dial};
use fanal::metrics;
use fanal::receiver::hub::Hub;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::parts::site::Settings;

/// Prints the bytes per second of an idle link, headers of UDP and IP included.
pub(crate) fn link(time: Duration) -> anyhow::Result<()> {
    let settings = Settings::write(&Vec::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let clock = Clock::system();
        let receiver = config::load_receiver(&settings.file("receiver.toml"))?.settings;
        let gateway = config::load_gateway(&settings.file("gateway.toml"))?.settings;
        let metrics = Arc::new(metrics::Receiver::new(receiver.communes.keys())?);
        let (events, _received) = mpsc::channel(64);
        let (hub_events, _seen) = mpsc::channel(64);
        let acceptor = accept::Acceptor::bind(
            &receiver,
            accept::Parts {
                clock: clock.clone(),
                metrics: Arc::clone(&metrics),
                events,
                taker: Arc::new(Hub::new(clock.clone(), metrics, hub_events)),
            },
        )?;
        let (events, mut received) = mpsc::channel(64);
        let dialer = dial::Dialer::new(
            &gateway,
            dial::Parts {
                clock,
                metrics: Arc::new(metrics::Gateway::new([], 0)?),
                events,
                pace: dial::Pace::default(),
            },
        )?;
        let token = CancellationToken::new();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(acceptor.run(token.clone()));
        let dialling = dialer.run(token.clone());
        tasks.spawn(async move {
            if let Err(error) = dialling.await {
                eprintln!("{error}");
            }
        });
        let Some(Event::Up { link, .. }) = received.recv().await else {
            anyhow::bail!("no link");
        };
        // The path's discovery and the first comparisons of clocks are over by then.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = link.stats();
        tokio::time::sleep(time).await;
        let after = link.stats();
        let bytes = after.sent_bytes + after.received_bytes - before.sent_bytes - before.received_bytes;
        let datagrams = after.datagrams + after.received_datagrams
            - before.datagrams
            - before.received_datagrams;
        println!(
            "idle link: {:.0} bytes/s, {:.0} with UDP and IPv4 headers ({datagrams} datagrams in {} s)",
            bytes as f64 / time.as_secs_f64(),
            (bytes + 28 * datagrams) as f64 / time.as_secs_f64(),
            time.as_secs()
        );
        token.cancel();
        while tasks.join_next().await.is_some() {}
        Ok(())
    })
    .context("the idle link")
}
