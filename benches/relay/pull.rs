//! The pull alone: a gateway that keeps its cameras warm, beside retina over the
//! same cameras, each a process of its own.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use retina::client::{Credentials, Demuxed, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::{CodecItem, FrameFormat};

use super::parts::metrics::Scrape;
use super::parts::process::{Directory, Process};
use super::parts::site::{self, Settings, Start};
use super::{WARM_UP, pipe};

/// How long all cameras have to play.
const LIVE: Duration = Duration::from_secs(30);

/// Prints both and their ratio.
pub(crate) fn compare(cameras: usize, credentials: bool, window: Duration) -> anyhow::Result<()> {
    let simulator = site::simulator(cameras, Start::Live, credentials)?;
    let directory = Directory::new()?;
    let list = simulator.urls.iter();
    let list: String = list.map(|(_, url)| format!("{url}\n")).collect();
    let list = site::write(directory.path(), "cameras", &list)?;
    let retina = Process::role("pull", &[&list])?;
    let settings = Settings::warm(&simulator.urls)?;
    let gateway = settings.daemon("gateway")?;
    let until = std::time::Instant::now() + LIVE;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        let live = Scrape::of(settings.gateway_metrics())
            .map_or(0.0, |scrape| scrape.sum_of("fanal_gateway_cameras", "live"));
        if live as usize >= cameras {
            break;
        }
        anyhow::ensure!(
            std::time::Instant::now() < until,
            "{live} of {cameras} cameras are live: look at the logs in {}",
            settings.file("").display()
        );
    }
    std::thread::sleep(WARM_UP);
    let before = [retina.usage()?, gateway.usage()?];
    std::thread::sleep(window);
    let cores = |process: &Process, before| -> anyhow::Result<f64> {
        Ok(process.usage()?.since(before).cpu / window.as_secs_f64())
    };
    let alone = cores(&retina, before[0])?;
    let pulled = cores(&gateway, before[1])?;
    println!(
        "{cameras} cameras pulled, {}, {} s: retina alone {:.4} core, gateway {:.4} core, ratio {:.2}",
        if credentials { "with a password" } else { "without a password" },
        window.as_secs(),
        alone,
        pulled,
        pulled / alone
    );
    Ok(())
}

/// Pulls all cameras of the list and throws their pictures away.
pub(crate) fn run(list: &Path) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(list)?;
    pipe::block_on(async {
        let mut cameras = tokio::task::JoinSet::new();
        for url in list.lines() {
            let url = url.to_owned();
            cameras.spawn(async move {
                let mut session = open(&url).await?;
                while let Some(item) = session.next().await {
                    if let CodecItem::VideoFrame(frame) = item? {
                        std::hint::black_box(frame.into_data());
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = cameras.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// A camera's pictures through retina alone; user and password stand in the URL.
pub(crate) async fn open(url: &str) -> anyhow::Result<std::pin::Pin<Box<Demuxed>>> {
    let mut url = url::Url::parse(url)?;
    let credentials = url.password().map(|password| Credentials {
        username: url.username().to_owned(),
        password: password.to_owned(),
    });
    let cleared = url.set_password(None).and_then(|()| url.set_username(""));
    anyhow::ensure!(cleared.is_ok(), "the URL has no place for a user");
    let options = SessionOptions::default().creds(credentials);
    let mut session = Session::describe(url, options).await?;
    let format = SetupOptions::default().frame_format(FrameFormat::MP4);
    session.setup(0, format).await?;
    let session = session.play(PlayOptions::default()).await?;
    Ok(Box::pin(session.demuxed()?))
}
