//! The attacker's process: every kind of attack at its pace, and what was tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::chance::Chance;
use crate::doors::Doors;
use crate::{inside, outside, turned};

/// Attempts of a kind, and those that came as far as they could.
#[derive(Debug, Default)]
pub(crate) struct Count {
    tried: AtomicU64,
    done: AtomicU64,
}

impl Count {
    pub(crate) fn note(&self, is_done: bool) {
        self.tried.fetch_add(1, Ordering::Relaxed);
        self.done.fetch_add(u64::from(is_done), Ordering::Relaxed);
    }
}

/// How fast, until when.
pub(crate) struct Pace {
    ticks: Option<Interval>,
    end: Instant,
}

impl Pace {
    fn new(rate: u32, end: Instant) -> Self {
        let ticks = (rate > 0).then(|| {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        Self { ticks, end }
    }

    /// Waits for the next attempt's turn; `false`: it is over.
    pub(crate) async fn turn(&mut self) -> bool {
        match &mut self.ticks {
            Some(ticks) => drop(ticks.tick().await),
            None => tokio::task::yield_now().await,
        }
        Instant::now() < self.end
    }
}

/// So many bytes.
pub(crate) fn bytes(chance: &mut Chance, length: usize) -> Vec<u8> {
    let byte = |_| u8::try_from(chance.between(0, 255)).unwrap_or_default();
    (0..length).map(byte).collect()
}

/// The text with some bytes other than they were.
pub(crate) fn mutate(chance: &mut Chance, text: &[u8]) -> Vec<u8> {
    let mut changed = text.to_vec();
    for _ in 0..=chance.index(4) {
        let at = chance.index(changed.len() + 1);
        let new = bytes(chance, 1);
        match chance.index(3) {
            0 if at < changed.len() => changed[at] = new[0],
            1 => changed.truncate(at),
            _ => changed.insert(at, new[0]),
        }
    }
    changed
}

/// Attacks until the end, then prints what was tried of each kind.
pub(crate) fn run(doors: &Doors) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let end = Instant::now() + Duration::from_secs(doors.seconds);
        let mut tasks = JoinSet::new();
        let mut counts: Vec<(&str, Arc<Count>)> = Vec::new();
        let names = [&outside::KINDS[..], &inside::KINDS, &turned::KINDS].concat();
        for (number, name) in names.into_iter().enumerate() {
            let count = Arc::new(Count::default());
            counts.push((name, Arc::clone(&count)));
            let pace = Pace::new(doors.rate, end);
            let chance = Chance::new(doors.seed.wrapping_add(number as u64));
            let doors = doors.clone();
            tasks.spawn(async move {
                let inside = number.checked_sub(outside::KINDS.len());
                let turned = inside.and_then(|number| number.checked_sub(inside::KINDS.len()));
                match (inside, turned) {
                    (_, Some(kind)) => {
                        return turned::attack(kind, &doors, pace, chance, &count).await;
                    }
                    (Some(kind), _) => inside::attack(kind, &doors, pace, chance, &count).await,
                    _ => outside::attack(number, &doors, pace, chance, &count).await,
                }
                Ok(())
            });
        }
        // Those that hold connections open end with the time, whatever they wait for.
        let all = async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        if let Ok(ended) = tokio::time::timeout_at(end + Duration::from_secs(2), all).await {
            ended?;
        }
        let all = counts.iter().map(|(name, count)| {
            let (tried, done) = (&count.tried, &count.done);
            let (tried, done) = (tried.load(Ordering::Relaxed), done.load(Ordering::Relaxed));
            format!("{name} {tried} ({done} got in)")
        });
        println!("{}", all.collect::<Vec<_>>().join(", "));
        Ok(())
    })
}
