//! A mosaic plays, and what it costs the browser. Prints it; for the figures of a full one:
//!
//! ```text
//! FANAL_TILES=16 cargo test --release --test it a_mosaic_plays -- --nocapture
//! ```

use std::time::Instant;

use serde_json::{Value, json};

use super::room::{Room, tile};
use crate::browser::Kind;
use crate::world::Plan;

/// Pictures of the first tile over which it is measured: 10 s.
const PICTURES: u64 = 250;

/// Tiles where nobody asks for figures: as many as a busy machine decodes beside other tests.
const TILES: usize = 5;

#[tokio::test]
async fn a_mosaic_plays() {
    let wanted = std::env::var("FANAL_TILES").map(|tiles| tiles.parse().expect("a number"));
    let tiles = wanted.unwrap_or(TILES);
    let plan = Plan {
        cameras: tiles,
        ..Plan::default()
    };
    let Some(mut room) = Room::open(Kind::Chromium, plan).await else {
        return;
    };
    room.browser.set_viewport(1920, 1080, 1.0).await;
    room.sign_in("13-1").await;
    room.open_incident("2026/16").await;
    let cameras = fanal::simulate::names(tiles);
    for camera in &cameras {
        room.ask(camera).await;
    }
    for camera in &cameras {
        room.moves(camera).await;
    }
    room.browser.keep_screenshot("mosaic").await;
    let before = figures(&mut room).await;
    let (from, processor) = (Instant::now(), room.browser.processor_time());
    let frames = format!(
        "Number(document.querySelector({}).dataset.frames)",
        json!(tile(&cameras[0]))
    );
    let now = room.browser.evaluate(&frames).await.as_u64().unwrap();
    let enough = format!("{frames} >= {}", now + PICTURES);
    room.browser.until("10 s of pictures", &enough).await;
    let seconds = from.elapsed().as_secs_f64();
    let processor = (room.browser.processor_time() - processor).as_secs_f64();
    let after = figures(&mut room).await;
    eprintln!(
        "{tiles} tiles of 2 Mbit/s for {seconds:.1} s: the browser took {:.2} processors",
        processor / seconds
    );
    for (name, value) in after.as_object().unwrap() {
        if let (Some(before), Some(after)) = (before[name].as_f64(), value.as_f64()) {
            eprintln!("  {name}: {:.1} per second", (after - before) / seconds);
        }
    }
    room.end().await;
}

/// What the page counts of itself.
async fn figures(room: &mut Room) -> Value {
    room.browser.evaluate("window.fanalFigures()").await
}
