//! What the demo's page looks like, for the papers: only where `FANAL_SCREENSHOTS` is set.

use fanal::certs::Identity;
use fanal::demo::site::OPERATOR;
use fanal::demo::{Cameras, Demo};
use fanal::secret::Secret;
use serde_json::json;

use super::room::{DEMO, ask, demo_fragment, open_incident, tile};
use crate::browser::{Browser, Kind, id};
use crate::world::until;

#[tokio::test]
async fn screens_of_the_demo_are_kept() {
    if std::env::var_os("FANAL_SCREENSHOTS").is_none() {
        return;
    }
    let Some(mut browser) = Browser::start(Kind::Chromium).await else {
        return;
    };
    let _alone = DEMO.lock().await;
    let demo = Demo::start(Cameras::Simulated(12)).await.unwrap();
    let read = |end: &str| {
        let path = demo.site.path(&format!("{OPERATOR}.{end}"));
        std::fs::read_to_string(path).unwrap()
    };
    let operator = demo_fragment(&Identity {
        certificate: read("pem"),
        key: Secret::new(read("key")),
    });
    browser.set_viewport(1440, 900, 1.0).await;
    browser.goto(&format!("http://{}/", demo.console)).await;
    browser.shown(&id("person-add")).await;
    browser.keep_screenshot("sign-in").await;
    browser.goto("about:blank").await;
    browser
        .goto(&format!("http://{}/#{operator}", demo.console))
        .await;
    browser.shown(&id("online[data-online=\"online\"]")).await;
    open_incident(&mut browser, "2026/4711").await;
    let cameras = ["cam-001", "cam-002", "cam-003", "cam-004"];
    for camera in cameras {
        ask(&mut browser, camera).await;
    }
    for camera in cameras {
        let live = format!(
            "Number(document.querySelector({}).dataset.frames) > 50",
            json!(tile(camera))
        );
        browser.until(camera, &live).await;
    }
    // What was last typed is no part of the picture.
    browser.press("Escape").await;
    browser.gone(&id("toast")).await;
    browser.keep_screenshot("desk").await;
    browser.click(&id("theme")).await;
    browser.click(&id("lang")).await;
    browser
        .until("English", "document.documentElement.lang === 'en'")
        .await;
    browser.keep_screenshot("light").await;
    browser.click(&id("close-incident")).await;
    browser.click(&id("confirm")).await;
    let figures = demo.receiver.clone();
    until("all is released", || figures.grants_active.get() == 0).await;
    browser.close().await;
    demo.stop().await.unwrap();
}
