//! From a request to the first key frame at a viewer, and where the time goes.

use std::time::{Duration, Instant};

use crate::support::path::Conditions;
use anyhow::Context;
use fanal::commands::client::{self, Client, ReceiverArgs, block_on};
use fanal::format::ids::ProfileWish;
use fanal::format::statement::{REQUEST_TYPE, RequestClaims};
use hyper::Method;

use super::case::{Cameras, Case};
use super::parts::metrics::Scrape;
use super::parts::site::Site;
use super::parts::viewers::{Player, play};
use super::place::{prepare, simulator};

/// Requests of which the median counts.
const REQUESTS: usize = 8;
/// Until a camera that nobody wants is closed, and until a warm one has begun another
/// group: what was kept went with the grant.
const CLOSED: (Duration, Duration) = (Duration::from_millis(700), Duration::from_millis(2_500));

const CAMERA: Cameras = Cameras {
    count: 1,
    bitrate: "2 Mbit/s",
    sub: None,
};

pub(crate) fn all(seed: u64) -> anyhow::Result<()> {
    println!(
        "\nfirst picture: from the POST of a request to the first whole key frame (106 KB) at an RTSP player, ms (median of {REQUESTS}, fastest, slowest)"
    );
    let far = Conditions::round_trip(40);
    let narrow = Conditions {
        rate: Some(20_000_000),
        ..far
    };
    for (name, link, warm) in [
        ("LAN", Conditions::CLEAR, false),
        ("40 ms", far, false),
        ("40 ms, camera warm", far, true),
        ("40 ms, 20 Mbit/s", narrow, false),
    ] {
        one(name, link, warm, seed)?;
    }
    Ok(())
}

fn one(name: &str, link: Conditions, warm: bool, seed: u64) -> anyhow::Result<()> {
    let (_simulator, streams) = simulator(&CAMERA, false)?;
    let case = Case::plain(link, CAMERA);
    let (settings, way) = prepare(&streams, "", warm, &case, seed)?;
    let site = Site::run(settings)?;
    let camera = streams.first().context("no camera")?.0.clone();
    let mut times = block_on(request(
        &site,
        &camera,
        if warm { CLOSED.1 } else { CLOSED.0 },
    ))?;
    times.sort_by(f64::total_cmp);
    println!(
        "  {name:<22} {:>6.0}  {:>6.0}  {:>6.0}",
        times[times.len() / 2],
        times[0],
        times[times.len() - 1]
    );
    steps(&site.scrape()?);
    drop((site, way));
    Ok(())
}

async fn request(site: &Site, camera: &str, pause: Duration) -> anyhow::Result<Vec<f64>> {
    let url = url::Url::parse(&format!("http://{}", site.api()))?;
    let file = |name: &str| site.directory().join(name);
    let args = ReceiverArgs::new(url, file("operator.key"), file("operator.pem"));
    let client = Client::connect(&args).await?;
    let mut times = Vec::new();
    for _ in 0..REQUESTS {
        let claims = RequestClaims {
            jti: client::new_id(),
            iat: client.now().seconds(),
            aud: "berre-l-etang".parse().map_err(anyhow::Error::msg)?,
            centre: client.centre().clone(),
            cameras: vec![camera.parse().map_err(anyhow::Error::msg)?],
            grounds: "drill".to_owned(),
            incident: "BENCH-1".parse().map_err(anyhow::Error::msg)?,
            duration: 300,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        };
        let signed = client.sign(REQUEST_TYPE, &claims);
        let asked = Instant::now();
        let answer = client.post_request(signed).await?;
        let rtsp = answer.json["granted"][0]["rtsp"].as_str();
        let rtsp = rtsp.context("nothing granted")?.to_owned();
        let answered = asked.elapsed();
        let until = Instant::now() + CLOSED.0;
        let player = play(&rtsp, Player::default(), until).await?;
        let first = player.first.context("no picture")?;
        times.push((answered + first).as_secs_f64() * 1e3);
        let grant = answer.json["grant"].as_str().context("no grant")?;
        client
            .call(Method::DELETE, &format!("/api/v1/grants/{grant}"))
            .await?;
        tokio::time::sleep(pause).await;
    }
    Ok(times)
}

/// The steps, as the daemons' own metrics have them: means.
fn steps([gateway, receiver]: &[Scrape; 2]) {
    let g = |name: &str| gateway.all_mean(&format!("fanal_gateway_{name}")) * 1e3;
    let r = |name: &str| receiver.all_mean(&format!("fanal_receiver_{name}")) * 1e3;
    let step = |step: &str| {
        let value = |part: &str| {
            gateway.sum(&format!(
                "fanal_gateway_camera_start_step_seconds_{part}{{step=\"{step}\"}}"
            ))
        };
        value("sum") / value("count").max(1.0) * 1e3
    };
    println!(
        "    request to grant {:.1}: checks {:.2}, journal {:.1} (commune) {:.1} (centre); camera {:.1}: queue {:.1}, describe {:.1}, setup {:.1}, play {:.1}, first picture {:.1}, key frame {:.1}; request to first picture at the receiver {:.1}",
        r("grant_seconds"),
        g("request_check_seconds"),
        g("journal_append_seconds"),
        r("journal_append_seconds"),
        g("camera_start_seconds"),
        step("queue"),
        step("describe") + step("connect"),
        step("setup"),
        step("play"),
        step("first_picture"),
        step("key_frame"),
        r("first_picture_seconds"),
    );
}
