//! The operators' page in real browsers, against real daemons and simulated cameras.

use crate::browser::{Browser, Kind};
use crate::world::{Plan, World};

async fn page_is_served(kind: Kind) {
    let Some(mut browser) = Browser::start(kind).await else {
        return;
    };
    let world = World::start(Plan::default()).await;
    browser
        .goto(&format!("http://{}/", world.addresses.console))
        .await;
    browser.until("the page", "document.title").await;
    browser.keep_screenshot("page").await;
    browser.close().await;
    world.stop().await;
}

#[tokio::test]
async fn browser_chromium() {
    page_is_served(Kind::Chromium).await;
}

#[tokio::test]
async fn browser_firefox() {
    page_is_served(Kind::Firefox).await;
}
