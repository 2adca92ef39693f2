//! An operator who asks one commune for one camera, and gives it back.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::Context;
use fanal::commands::client::{self, Client, ReceiverArgs, Refused};
use fanal::format::ids::{CameraId, CommuneId, Incident, ProfileWish};
use fanal::format::statement::{REQUEST_TYPE, RequestClaims};
use fanal::reason::Reason;
use hyper::Method;

use crate::parts::site::{COMMUNE, Site, Urls};

/// Pause after each request: what is measured is an answer, not a flood.
const PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Asker {
    runtime: tokio::runtime::Runtime,
    receiver: ReceiverArgs,
    cameras: Vec<CameraId>,
    /// The one that is kept; the others are asked for and given back.
    held: CameraId,
}

/// How long answers took.
pub(crate) struct Answered(pub(crate) Vec<Duration>);

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |part: f64| {
            let index = (sorted.len() as f64 * part) as usize;
            let time = sorted.get(index.min(sorted.len().saturating_sub(1)));
            time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        write!(f, "{:.1}, {:.1}, {:.1}", at(0.5), at(0.95), at(1.0))
    }
}

/// What came of a request.
pub(crate) enum Outcome {
    /// Granted, after so long.
    Granted(Duration),
    /// Nobody answers, or the commune is not back.
    NotYet,
}

impl Asker {
    pub(crate) fn new(site: &Site, cameras: &Urls) -> anyhow::Result<Self> {
        let mut cameras: Vec<CameraId> = cameras
            .iter()
            .map(|(name, _)| CameraId::new(name.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            held: cameras.pop().context("no camera")?,
            cameras,
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            receiver: site.operator()?,
        })
    }

    /// So many requests, one after the other.
    pub(crate) fn ask(&self, count: usize) -> anyhow::Result<Answered> {
        let mut times = Vec::new();
        for number in 0..count {
            match self.once(number)? {
                Outcome::Granted(time) => times.push(time),
                Outcome::NotYet => anyhow::bail!("the commune is not linked"),
            }
        }
        Ok(Answered(times))
    }

    /// Asks, measures from the POST to its 201, and gives the camera back.
    pub(crate) fn once(&self, number: usize) -> anyhow::Result<Outcome> {
        let camera = self.cameras[number % self.cameras.len()].clone();
        self.runtime.block_on(async {
            let Ok(client) = Client::connect(&self.receiver).await else {
                return Ok(Outcome::NotYet);
            };
            let (grant, took) = match post(&client, camera, 60).await {
                Ok(granted) => granted,
                Err(error) => return not_yet(error),
            };
            tokio::time::sleep(PAUSE).await;
            let path = client::grant_path(grant.parse()?);
            match client.call(Method::DELETE, &path).await {
                Ok(_) => Ok(Outcome::Granted(took)),
                Err(error) => not_yet(error),
            }
        })
    }

    /// The camera of [`Asker::hold`].
    pub(crate) fn held(&self) -> &str {
        self.held.as_str()
    }

    /// Asks for a camera and keeps it for some minutes.
    pub(crate) fn hold(&self) -> anyhow::Result<()> {
        let camera = self.held.clone();
        self.runtime.block_on(async {
            let client = Client::connect(&self.receiver).await?;
            post(&client, camera, 1_800).await?;
            Ok(())
        })
    }
}

/// Posts a request; gives the grant's id, and how long its answer took.
async fn post(
    client: &Client,
    camera: CameraId,
    duration: u32,
) -> anyhow::Result<(String, Duration)> {
    let claims = RequestClaims {
        jti: client::new_id(),
        iat: client.now().seconds(),
        aud: CommuneId::new(COMMUNE)?,
        centre: client.centre().clone(),
        cameras: vec![camera],
        grounds: "drill".to_owned(),
        incident: Incident::new("BENCH-1")?,
        duration,
        profile: ProfileWish::Auto,
        present: Vec::new(),
        renews: None,
    };
    let text = client.sign(REQUEST_TYPE, &claims);
    let since = Instant::now();
    let answer = client.post_request(text).await?;
    let took = since.elapsed();
    let grant = answer.json["grant"].as_str().context("no grant")?;
    Ok((grant.to_owned(), took))
}

/// What is bound to fail while links come back is no failure of the bench.
fn not_yet(error: anyhow::Error) -> anyhow::Result<Outcome> {
    match error.downcast_ref::<Refused>() {
        None => Ok(Outcome::NotYet),
        Some(refused)
            if matches!(
                refused.reason,
                Reason::CommuneOffline | Reason::LinkLost | Reason::ShuttingDown
            ) =>
        {
            Ok(Outcome::NotYet)
        }
        Some(_) => Err(error),
    }
}
