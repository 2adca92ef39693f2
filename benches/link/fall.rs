//! How long a gateway takes to come over TCP where UDP gets no answer, and back.

use std::time::{Duration, Instant};

use crate::support::path::Conditions;
use anyhow::bail;

use super::case::{Cameras, Case};
use super::parts::metrics::Scrape;
use super::place::{prepare, simulator};

/// How long either may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn all(seed: u64) -> anyhow::Result<()> {
    let cameras = Cameras {
        count: 1,
        bitrate: "2 Mbit/s",
        sub: None,
    };
    let (_simulator, streams) = simulator(&cameras, true)?;
    let case = Case {
        udp: false,
        tcp: true,
        ..Case::plain(Conditions::round_trip(40), cameras)
    };
    let (settings, way) = prepare(&streams, "", false, &case, seed)?;
    let _receiver = settings.daemon("receiver")?;
    // Its link is listened on from before its first word.
    while Scrape::of(settings.receiver_metrics()).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let started = Instant::now();
    let _gateway = settings.daemon("gateway")?;
    let wait_for = |transport: &str| {
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            // It may not listen yet.
            if let Ok(scrape) = Scrape::of(settings.gateway_metrics())
                && scrape.sum_of("fanal_gateway_link_transport", transport) > 0.0
            {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        bail!("no link over {transport}")
    };
    wait_for("tcp")?;
    let up = started.elapsed();
    let through = Instant::now();
    way.carry(&case, true, true);
    wait_for("quic")?;
    println!(
        "\nfall back, 40 ms: without UDP the link is up {:.2} s after the gateway's start, over QUIC {:.1} s after UDP passes",
        up.as_secs_f64(),
        through.elapsed().as_secs_f64()
    );
    Ok(())
}
