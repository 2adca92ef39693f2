//! The operator, his players and the commune's own hand: what is done at random.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use fanal::commands::client::{self, Client, ReceiverArgs, Refused};
use fanal::format::ids::{CameraId, CommuneId, GrantId, Incident, ProfileWish};
use fanal::format::statement::{REQUEST_TYPE, RequestClaims};
use fanal::gateway::socket::{self, Request};
use hyper::Method;
use tokio::task::JoinSet;

use crate::chance::Chance;
use crate::parts::site::{COMMUNE, Site, Urls};
use crate::parts::viewers::{self, Player};

/// Most cameras of a request.
const CAMERAS: u64 = 16;
/// Shortest and longest grant, seconds.
const SECONDS: (u64, u64) = (15, 90);
/// Most live grants: the machine's two cores are to be watched, not filled.
const LIVE: usize = 12;
/// Most players at a time.
const PLAYERS: usize = 40;
/// Pause between two things, milliseconds.
const PAUSE: (u64, u64) = (200, 2_500);
/// How long a cut holds, seconds.
const CUT: u64 = 10;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) grants: u64,
    pub(crate) cameras: u64,
    pub(crate) refused: u64,
    pub(crate) released: u64,
    pub(crate) renewed: u64,
    pub(crate) cut: u64,
    pub(crate) players: u64,
    /// Pictures that the players got.
    pub(crate) pictures: u64,
}

struct Live {
    grant: GrantId,
    cameras: Vec<CameraId>,
    until: Instant,
}

pub(crate) struct Operator {
    chance: Chance,
    receiver: ReceiverArgs,
    socket: PathBuf,
    cameras: Vec<CameraId>,
    live: Vec<Live>,
    players: JoinSet<u64>,
    pub(crate) done: Done,
}

impl Operator {
    pub(crate) fn new(site: &Site, urls: &Urls, seed: u64) -> anyhow::Result<Self> {
        let names = urls.iter().map(|(name, _)| CameraId::new(name.clone()));
        Ok(Self {
            chance: Chance::new(seed),
            receiver: site.operator()?,
            socket: site.settings().file("gateway.sock"),
            cameras: names.collect::<Result<_, _>>()?,
            live: Vec::new(),
            players: JoinSet::new(),
            done: Done::default(),
        })
    }

    /// Does things at random until `end`.
    pub(crate) async fn run(&mut self, end: Instant) -> anyhow::Result<()> {
        while Instant::now() < end {
            self.forget_ended();
            self.step().await?;
            let pause = Duration::from_millis(self.chance.between(PAUSE.0, PAUSE.1));
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    fn forget_ended(&mut self) {
        let now = Instant::now();
        self.live.retain(|live| live.until > now);
        while let Some(ended) = self.players.try_join_next() {
            self.done.pictures += ended.unwrap_or(0);
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let dice = self.chance.between(1, 100);
        match dice {
            _ if self.live.is_empty() => self.request(None).await,
            1..=50 if self.live.len() < LIVE => self.request(None).await,
            51..=60 => {
                let at = self.chance.index(self.live.len());
                self.request(Some(at)).await
            }
            61..=63 => self.cut(),
            _ => {
                let at = self.chance.index(self.live.len());
                self.release(at).await
            }
        }
    }

    /// Asks for some cameras, or renews a grant.
    async fn request(&mut self, renewed: Option<usize>) -> anyhow::Result<()> {
        let client = Client::connect(&self.receiver).await?;
        let duration = self.chance.between(SECONDS.0, SECONDS.1);
        let renewed = renewed.map(|at| self.live.swap_remove(at));
        let cameras = match &renewed {
            Some(live) => live.cameras.clone(),
            None => self.some_cameras(),
        };
        let claims = RequestClaims {
            jti: client::new_id(),
            iat: client.now().seconds(),
            aud: CommuneId::new(COMMUNE)?,
            centre: client.centre().clone(),
            cameras,
            grounds: "drill".to_owned(),
            incident: Incident::new("BENCH-1")?,
            duration: u32::try_from(duration)?,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: renewed.as_ref().map(|live| live.grant),
        };
        let until = Instant::now() + Duration::from_secs(duration);
        let text = client.sign(REQUEST_TYPE, &claims);
        let answer = match client.post_request(text).await {
            Ok(answer) => answer.json,
            // Cut, or ended in the moment of its renewal.
            Err(error) if error.is::<Refused>() => {
                self.done.refused += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let grant: GrantId = answer["grant"].as_str().context("no grant")?.parse()?;
        if renewed.is_some() {
            self.done.renewed += 1;
        } else {
            self.done.grants += 1;
            self.done.cameras += claims.cameras.len() as u64;
        }
        let granted = answer["granted"].as_array().context("nothing granted")?;
        for camera in granted {
            let url = camera["rtsp"].as_str().unwrap_or_default().to_owned();
            if self.players.len() < PLAYERS && self.chance.percent(50) {
                let seconds = self.chance.between(3, SECONDS.1);
                self.play(url, Duration::from_secs(seconds));
            }
        }
        self.live.push(Live {
            grant,
            cameras: claims.cameras,
            until,
        });
        Ok(())
    }

    fn some_cameras(&mut self) -> Vec<CameraId> {
        let count = self.chance.between(1, CAMERAS);
        let mut cameras = Vec::new();
        for _ in 0..count {
            let camera = &self.cameras[self.chance.index(self.cameras.len())];
            if !cameras.contains(camera) {
                cameras.push(camera.clone());
            }
        }
        cameras
    }

    /// A player that leaves after a while, or with its picture's end.
    fn play(&mut self, url: String, time: Duration) {
        self.done.players += 1;
        let end = Instant::now() + time;
        self.players.spawn(async move {
            // Where the camera is faulty or the grant ends it is told so; the bench looks
            // at what the daemons do then, not at what this player says of it.
            let played = viewers::play(&url, Player::default(), end).await;
            played.map_or(0, |player| player.pictures)
        });
    }

    async fn release(&mut self, at: usize) -> anyhow::Result<()> {
        let live = self.live.swap_remove(at);
        let client = Client::connect(&self.receiver).await?;
        let path = client::grant_path(live.grant);
        match client.call(Method::DELETE, &path).await {
            Ok(_) => self.done.released += 1,
            Err(error) if error.is::<Refused>() => self.done.refused += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The commune cuts a camera for a moment.
    fn cut(&mut self) -> anyhow::Result<()> {
        let live = &self.live[self.chance.index(self.live.len())];
        let camera = &live.cameras[self.chance.index(live.cameras.len())];
        let request = Request::Cut {
            scope: format!("camera:{camera}"),
            block: CUT,
        };
        socket::ask(&self.socket, &request)?;
        self.done.cut += 1;
        Ok(())
    }

    /// Gives all back and waits for the players' end.
    pub(crate) async fn release_all(&mut self) -> anyhow::Result<()> {
        while !self.live.is_empty() {
            self.release(0).await?;
        }
        self.players.shutdown().await;
        Ok(())
    }
}
