//! An operations room: a world, and a browser on its receiver's page.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fanal::certs::Identity;
use fanal::clock::{Clock, ManualClock};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::browser::{Browser, Kind, id};
use crate::world::{COMMUNE, Plan, World};

/// What the page shows of a camera: its tile's pixels as one number, and its frame counter.
/// The picture is drawn small onto a canvas, so it matters not how the page draws.
const SEEN: &str = "(key) => {
  const tile = document.querySelector(`[data-testid=tile][data-camera='${key}']`);
  const shown = tile?.querySelector('canvas, video');
  if (!shown?.checkVisibility() || !(shown.videoWidth ?? shown.width)) return null;
  const copy = new OffscreenCanvas(64, 36).getContext('2d', { willReadFrequently: true });
  copy.drawImage(shown, 0, 0, 64, 36);
  const bytes = copy.getImageData(0, 0, 64, 36).data;
  let sum = 0, lit = 0;
  for (let at = 0; at < bytes.length; at += 4) {
    const light = bytes[at] + bytes[at + 1] + bytes[at + 2];
    sum = (sum * 31 + light) >>> 0;
    if (bytes[at + 3] > 0 && light > 60) lit += 1;
  }
  return { sum, lit, frames: Number(tile.dataset.frames ?? 0), state: tile.dataset.state };
}";

/// How finely an adjustable clock goes.
const TICK: Duration = Duration::from_millis(20);

/// One demo at a time: it takes the ports of a real machine where they are free.
pub static DEMO: Mutex<()> = Mutex::const_new(());

pub struct Room {
    pub world: World,
    pub browser: Browser,
}

/// A camera's key in the page.
pub fn key(camera: &str) -> String {
    format!("{COMMUNE}/{camera}")
}

/// The selector of a camera's tile, and what is in it.
pub fn tile(camera: &str) -> String {
    format!("[data-testid=\"tile\"][data-camera=\"{}\"]", key(camera))
}

/// The selector of a camera among what was found; a press asks for it.
pub fn result(camera: &str) -> String {
    format!("{}[data-camera=\"{}\"]", id("camera-result"), key(camera))
}

/// What the fragment of the demo's URL carries: an operator's key and designation.
pub fn demo_fragment(identity: &Identity) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(identity.key.expose().as_bytes()).unwrap();
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let chain: Vec<String> = chain
        .map(|certificate| STANDARD.encode(certificate.unwrap()))
        .collect();
    let operator = json!({ "key": STANDARD.encode(key.secret_pkcs8_der()), "chain": chain });
    format!("demo={}", URL_SAFE_NO_PAD.encode(operator.to_string()))
}

/// A clock that goes as fast as the system's, and ahead when it is told to. It stops
/// once the task is dropped.
pub fn adjustable_clock() -> (Clock, ManualClock, JoinSet<()>) {
    let (clock, manual) = Clock::manual(Clock::system().now().wall);
    let mut task = JoinSet::new();
    let hand = manual.clone();
    task.spawn(async move {
        let mut ticks = tokio::time::interval(TICK);
        loop {
            ticks.tick().await;
            hand.advance(TICK);
        }
    });
    (clock, manual, task)
}

/// Opens an intervention about a burglary.
pub async fn open_incident(browser: &mut Browser, reference: &str) {
    browser.click(&id("new-incident")).await;
    browser.fill(&id("incident-ref"), reference).await;
    browser.choose(&id("incident-grounds"), "burglary").await;
    browser.click(&id("incident-open")).await;
    browser.gone(&id("incident-open")).await;
    browser.says("#incident h2", reference).await;
}

/// Finds a camera by its name and asks for it.
pub async fn ask(browser: &mut Browser, camera: &str) {
    browser.fill(&id("search"), camera).await;
    // The list is that of these words, and moves no more.
    browser
        .shown(&format!("#find-results[data-query=\"{camera}\"]"))
        .await;
    browser.click(&result(camera)).await;
}

impl Room {
    /// A room with nobody signed in; `None` without that browser.
    pub async fn open(kind: Kind, plan: Plan) -> Option<Self> {
        let browser = Browser::start(kind).await?;
        let world = World::start(plan).await;
        Some(Self { world, browser })
    }

    /// The same, an operator at the desk, with an intervention and these cameras asked for.
    pub async fn watching(kind: Kind, plan: Plan, cameras: &[&str]) -> Option<Self> {
        let mut room = Self::open(kind, plan).await?;
        room.sign_in("13-1").await;
        room.open_incident("2026/4711").await;
        for camera in cameras {
            room.ask(camera).await;
        }
        Some(room)
    }

    pub fn url(&self, fragment: &str) -> String {
        format!("http://{}/#{fragment}", self.world.addresses.console)
    }

    /// Signs in as the demo's page does.
    pub async fn sign_in(&mut self, number: &str) {
        self.sign_in_with(number, "").await;
    }

    /// The same, with more in the fragment.
    pub async fn sign_in_with(&mut self, number: &str, more: &str) {
        let now = Clock::system().now().wall;
        let identity = self.world.trial.simple_operator(number, "CORG 13", now);
        let fragment = demo_fragment(&identity.unwrap());
        self.browser
            .goto(&self.url(&format!("{fragment}{more}")))
            .await;
        self.signed_in(number).await;
    }

    /// Waits until the name is shown and the receiver's events are followed.
    pub async fn signed_in(&mut self, number: &str) {
        let name = format!("Adjudant {number}");
        self.browser.says(&id("sign-in-name"), &name).await;
        self.browser
            .shown(&id("online[data-online=\"online\"]"))
            .await;
    }

    /// Opens an intervention about a burglary.
    pub async fn open_incident(&mut self, reference: &str) {
        open_incident(&mut self.browser, reference).await;
    }

    /// Finds a camera by its name and asks for it.
    pub async fn ask(&mut self, camera: &str) {
        self.ask_here(camera).await;
        self.browser.shown(&tile(camera)).await;
    }

    /// The same where the tiles are on another panel.
    pub async fn ask_here(&mut self, camera: &str) {
        ask(&mut self.browser, camera).await;
    }

    /// Waits until the picture moves: pixels change and frames are counted.
    pub async fn moves(&mut self, camera: &str) {
        let key = json!(key(camera));
        let condition = format!(
            "(() => {{
  const seen = ({SEEN})({key});
  if (!seen || seen.lit === 0) return false;
  const first = (window.fanalTestSeen ??= new Map());
  if (!first.has({key})) first.set({key}, seen);
  const before = first.get({key});
  return seen.sum !== before.sum && seen.frames >= before.frames + 10;
}})()"
        );
        self.browser
            .evaluate("window.fanalTestSeen = undefined")
            .await;
        self.browser
            .until(&format!("a moving picture of {camera}"), &condition)
            .await;
    }

    /// Waits until the picture is gone from the tile, and something is said in its place.
    pub async fn shows_no_picture(&mut self, camera: &str) {
        let condition = format!(
            "!({SEEN})({key})?.lit && document.querySelector({tile})?.innerText.trim().length > 10",
            key = json!(key(camera)),
            tile = json!(tile(camera)),
        );
        self.browser
            .until(&format!("no picture of {camera}"), &condition)
            .await;
    }

    /// Ends browser and daemons: all must have gone well.
    pub async fn end(self) {
        self.browser.close().await;
        self.world.stop().await;
    }
}
