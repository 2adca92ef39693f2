//! The link's congestion control, parity and backlog together, over quinn's own core
//! in virtual time: what happens depends on the seed alone.

mod relays;
mod world;

use std::time::Duration;

use fanal::config::settings::Congestion;
use fanal::simulate::path::{Bursts, Conditions};
use relays::{Site, Source, Summary};
use world::{Strategy, World};

const FANAL: Strategy = Strategy {
    congestion: Congestion::Fanal,
    redundancy: true,
    max_bitrate: None,
};

const TWO: Source = Source {
    bitrate: 2_000_000,
    gop: 50,
};

fn print(name: &str, site: &mut Site, seconds: u64) -> Summary {
    let all = site.all();
    let (lost, recovered, parity) = (
        site.world.lost_packets(),
        site.world.recovered,
        site.world.parity_bytes,
    );
    let path = site.world.paths[0].counts();
    let cap = site.world.capacity().map_or(0, |rate| rate * 8 / 1000);
    let rtt = site.world.gateway().rtt();
    println!(
        "{name:<28} p50 {:>6.0} p95 {:>6.0} p99 {:>6.0} max {:>6.0} shown {:>5.1} % freeze {:>5} ms  media {:>6} kbit/s, lost {lost} rec {recovered} par {} kB ovf {} cap {cap} rtt {rtt:?}",
        all.p50, all.p95, all.p99, all.worst, all.shown * 100.0,
        all.freeze.as_millis(), site.media_bytes * 8 / 1000 / seconds, parity / 1000, path.lost * 1_000_000 + path.overflowed,
    );
    all
}

fn run(name: &str, up: Conditions, sources: &[Source], strategy: Strategy, seed: u64) -> Summary {
    let down = Conditions { rate: None, rate_up_to: None, ..up };
    let world = World::new([up, down], seed, strategy);
    let mut site = Site::new(world, sources, seed);
    site.from = Duration::from_secs(5);
    site.run(Duration::from_secs(35));
    print(name, &mut site, 30)
}

#[test]
fn lab() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let rt = Conditions::round_trip(40);
    let strategies = [
        ("fanal", FANAL),
        ("no parity", Strategy { redundancy: false, ..FANAL }),
        ("cubic", Strategy { redundancy: false, congestion: Congestion::Cubic, ..FANAL }),
    ];
    let cases: Vec<(&str, Conditions, Vec<Source>)> = vec![
        ("40 ms", rt, vec![TWO; 4]),
        ("1 %, one camera", Conditions { loss: 0.01, ..rt }, vec![TWO; 1]),
        ("3 %, one camera", Conditions { loss: 0.03, ..rt }, vec![TWO; 1]),
        ("1 %, four", Conditions { loss: 0.01, ..rt }, vec![TWO; 4]),
        ("3 %, four", Conditions { loss: 0.03, ..rt }, vec![TWO; 4]),
        ("bursts", Conditions { bursts: Some(Bursts { begin: 0.003, end: 0.3 }), ..rt }, vec![TWO; 4]),
        ("16 x 2 on 20", Conditions { rate: Some(20_000_000), ..rt }, vec![TWO; 16]),
        ("8 x 2 on 20", Conditions { rate: Some(20_000_000), ..rt }, vec![TWO; 8]),
        ("3.4 on 2", Conditions { rate: Some(2_000_000), ..rt }, vec![Source { bitrate: 3_400_000, gop: 50 }]),
        ("0.5 on 2", Conditions { rate: Some(2_000_000), ..rt }, vec![Source { bitrate: 500_000, gop: 50 }]),
        ("4G, two", Conditions { delay: Duration::from_millis(15), jitter: Duration::from_millis(30), loss: 0.005, rate: Some(4_000_000), rate_up_to: Some(12_000_000), ..rt }, vec![TWO; 2]),
    ];
    let only = std::env::var("CASE").unwrap_or_default();
    for (name, up, sources) in cases.iter().filter(|(name, ..)| name.contains(&only)) {
        for (strategy, how) in strategies {
            run(&format!("{name}, {strategy}"), *up, sources, how, seed);
        }
    }
}
