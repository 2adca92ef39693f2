//! Players: one for each relayed camera, and for some cameras a second one
//! straight at the camera, whose pictures are the measure of the relayed ones.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt;
use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::{CodecItem, FrameFormat};

use super::process::Process;
use super::site::Urls;

/// Cameras that are also watched directly.
const COMPARED: usize = 10;
/// Nothing is compared before both ways run.
const SETTLE: Duration = Duration::from_secs(3);

/// What all players saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) pictures: u64,
    pub(crate) lost: u64,
    /// Relayed pictures of compared cameras that the camera itself never showed.
    pub(crate) altered: u64,
    pub(crate) compared: u64,
    pub(crate) compared_cameras: u64,
    /// p50, p99, max in ms.
    pub(crate) transit: [f64; 3],
    /// Connection to first picture: median and longest, ms.
    pub(crate) first: [f64; 2],
    /// Of the compared cameras' pictures, the part that was shown.
    pub(crate) share: f64,
}

impl Seen {
    /// Waits for the players' end.
    pub(crate) fn of(players: Process) -> anyhow::Result<Self> {
        let text = players.end()?;
        let values: Vec<f64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("players said {text}"))?;
        let [
            pictures,
            lost,
            altered,
            compared,
            cameras,
            p50,
            p99,
            max,
            median,
            slowest,
            share,
        ] = values[..]
        else {
            anyhow::bail!("players said {text}");
        };
        Ok(Self {
            pictures: pictures as u64,
            lost: lost as u64,
            altered: altered as u64,
            compared: compared as u64,
            compared_cameras: cameras as u64,
            transit: [p50, p99, max],
            first: [median, slowest],
            share,
        })
    }
}

/// So many of these, evenly spread over them.
pub(crate) fn some(relayed: &Urls, count: usize) -> Urls {
    let step = relayed.len().div_ceil(count.max(1)).max(1);
    relayed.iter().step_by(step).take(count).cloned().collect()
}

/// The file that tells the players what to open: relayed URL, and the camera's
/// own where it is compared.
pub(crate) fn list(relayed: &Urls, cameras: &Urls) -> String {
    let direct: HashMap<_, _> = cameras.iter().map(|(name, url)| (name, url)).collect();
    let step = relayed.len().div_ceil(COMPARED).max(1);
    let mut list = String::new();
    for (at, (name, url)) in relayed.iter().enumerate() {
        let own = if at % step == 0 {
            direct.get(name)
        } else {
            None
        };
        list += &format!("{url} {}\n", own.map_or("", |url| url.as_str()));
    }
    list
}

/// When each picture came, by its hash.
pub(crate) type Arrivals = Arc<Mutex<HashMap<u64, Instant>>>;

#[derive(Default)]
pub(crate) struct Player {
    pub(crate) pictures: u64,
    pub(crate) lost: u64,
    pub(crate) first: Option<Duration>,
    pub(crate) arrivals: Option<Arrivals>,
}

pub(crate) fn run(list: &str, seconds: &str) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(list)?;
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut players = tokio::task::JoinSet::new();
        let mut compared = Vec::new();
        for line in list.lines() {
            let mut urls = line.split(' ');
            let url = urls.next().unwrap_or_default().to_owned();
            let own = urls.next().filter(|url| !url.is_empty()).map(str::to_owned);
            let mut relayed = Player::default();
            if let Some(own) = own {
                let pair: [Arrivals; 2] = Default::default();
                relayed.arrivals = Some(Arc::clone(&pair[0]));
                let direct = Player {
                    arrivals: Some(Arc::clone(&pair[1])),
                    ..Player::default()
                };
                players.spawn(async move { (play(&own, direct, end).await, false) });
                compared.push(pair);
            }
            players.spawn(async move { (play(&url, relayed, end).await, true) });
        }
        let mut all = Vec::new();
        while let Some(ended) = players.join_next().await {
            let (player, is_relayed) = ended?;
            let player = player?;
            if is_relayed {
                all.push(player);
            }
        }
        tell(&all, &compared, end);
        Ok(())
    })
}

pub(crate) async fn play(url: &str, mut player: Player, end: Instant) -> anyhow::Result<Player> {
    let since = Instant::now();
    let mut url = url::Url::parse(url)?;
    let mut options = SessionOptions::default();
    if !url.username().is_empty() {
        options = options.creds(Some(Credentials {
            username: url.username().to_owned(),
            password: url.password().unwrap_or_default().to_owned(),
        }));
        url.set_username("").ok().context("URL")?;
        url.set_password(None).ok().context("URL")?;
    }
    let mut session = Session::describe(url, options).await?;
    let format = SetupOptions::default().frame_format(FrameFormat::MP4);
    session.setup(0, format).await?;
    let mut session = session.play(PlayOptions::default()).await?.demuxed()?;
    loop {
        let item = match tokio::time::timeout_at(end.into(), session.next()).await {
            Err(_) => return Ok(player),
            Ok(None) => anyhow::bail!("a player's session ended"),
            Ok(Some(item)) => item?,
        };
        let CodecItem::VideoFrame(frame) = item else {
            continue;
        };
        player.first.get_or_insert_with(|| since.elapsed());
        player.pictures += 1;
        player.lost += u64::from(frame.loss());
        if let Some(arrivals) = &player.arrivals {
            let hash = hash(frame.data());
            if let Ok(mut arrivals) = arrivals.lock() {
                arrivals.insert(hash, Instant::now());
            }
        }
    }
}

/// Of the slices alone: what stands around them is each server's own.
fn hash(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((unit, behind)) = behind.split_at_checked(length) else {
            break;
        };
        if unit
            .first()
            .is_some_and(|byte| matches!(byte & 0x1f, 1..=5))
        {
            unit.hash(&mut hasher);
        }
        rest = behind;
    }
    hasher.finish()
}

fn tell(players: &[Player], compared: &[[Arrivals; 2]], end: Instant) {
    let mut transit = Vec::new();
    let (mut altered, mut shown, mut all) = (0, 0_u64, 0_u64);
    for [relayed, direct] in compared {
        let (Ok(relayed), Ok(direct)) = (relayed.lock(), direct.lock()) else {
            continue;
        };
        let Some(settled) = direct.values().min().map(|first| *first + SETTLE) else {
            continue;
        };
        // The very last may be on their way.
        let counts = |own: &Instant| *own > settled && *own + Duration::from_secs(1) < end;
        for (hash, _) in direct.iter().filter(|(_, own)| counts(own)) {
            all += 1;
            shown += u64::from(relayed.contains_key(hash));
        }
        for (hash, arrival) in relayed.iter() {
            match direct.get(hash) {
                Some(own) if *own > settled => {
                    transit.push(arrival.saturating_duration_since(*own).as_secs_f64() * 1e3);
                }
                Some(_) => {}
                // The very last may have no counterpart yet.
                None if *arrival > settled && *arrival + Duration::from_millis(200) < end => {
                    altered += 1;
                }
                None => {}
            }
        }
    }
    transit.sort_by(f64::total_cmp);
    let mut first: Vec<f64> = players
        .iter()
        .filter_map(|player| player.first)
        .map(|first| first.as_secs_f64() * 1e3)
        .collect();
    first.sort_by(f64::total_cmp);
    let at = |values: &[f64], part: f64| {
        let index = (values.len() as f64 * part) as usize;
        values
            .get(index.min(values.len().saturating_sub(1)))
            .copied()
            .unwrap_or(f64::NAN)
    };
    println!(
        "{} {} {altered} {} {} {} {} {} {} {} {}",
        players.iter().map(|player| player.pictures).sum::<u64>(),
        players.iter().map(|player| player.lost).sum::<u64>(),
        transit.len(),
        compared.len(),
        at(&transit, 0.5),
        at(&transit, 0.99),
        at(&transit, 1.0),
        at(&first, 0.5),
        at(&first, 1.0),
        shown as f64 / all.max(1) as f64,
    );
}
