//! A viewer of the receiver's RTSP output, as any player is one: counts pictures.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures_util::StreamExt as _;
use retina::client::{Credentials, PlayOptions, Session, SessionOptions, SetupOptions};
use retina::codec::CodecItem;
use tokio::sync::watch;
use url::Url;

/// How long a player waits for an answer or a picture: longer than a link that
/// is lost without a word takes to be noticed (30 s) and to come back.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a player has seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// When its first picture was there.
    pub first: Option<Instant>,
    /// Pictures.
    pub pictures: u64,
    /// Key frames among them.
    pub key_frames: u64,
    /// Bytes of pictures.
    pub bytes: u64,
    /// Pictures that came with something missing.
    pub losses: u64,
}

/// Plays a grant's RTSP URL (with its credentials) until the stream ends; tells
/// what it sees in `seen`.
///
/// # Errors
/// The receiver refuses, or pictures stop for 60 s.
pub async fn play(url: &str, seen: &watch::Sender<Seen>) -> anyhow::Result<()> {
    let mut url: Url = url.parse().context("the grant's RTSP URL")?;
    let credentials = Credentials {
        username: url.username().to_owned(),
        password: url.password().unwrap_or("").to_owned(),
    };
    let no_user = |()| anyhow::anyhow!("the grant's URL is no RTSP URL");
    url.set_username("").map_err(no_user)?;
    url.set_password(None).map_err(no_user)?;
    let options = SessionOptions::default()
        .creds(Some(credentials))
        .user_agent("fanal demo".to_owned());
    let opened = async {
        let mut session = Session::describe(url, options).await?;
        session.setup(0, SetupOptions::default()).await?;
        session.play(PlayOptions::default()).await?.demuxed()
    };
    let session = tokio::time::timeout(PATIENCE, opened)
        .await
        .context("the receiver does not answer")??;
    let mut session = std::pin::pin!(session);
    loop {
        let item = tokio::time::timeout(PATIENCE, session.next())
            .await
            .context("no picture for 60 s")?;
        let Some(item) = item else { return Ok(()) };
        if let CodecItem::VideoFrame(frame) = item? {
            seen.send_modify(|seen| {
                seen.first.get_or_insert_with(Instant::now);
                seen.pictures += 1;
                seen.key_frames += u64::from(frame.is_random_access_point());
                seen.bytes += frame.data().len() as u64;
                seen.losses += u64::from(frame.loss());
            });
        }
    }
}
