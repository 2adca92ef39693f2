//! Asks cameras for a key frame over ONVIF (`SetSynchronizationPoint`), for RTSP
//! has no way to ask.
//!
//! A [`Device`] is what answers at one `onvif` URL: a camera, or a recorder for all
//! its cameras. What has to be found out first (its media service, which profile
//! serves which RTSP path) is found once and kept until settings are read again;
//! [`Device::prepare`] does it while the camera's session is being opened. One
//! request at a time goes to a device, each with a timeout.
//!
//! The password goes as a digest only: in the message (WS-UsernameToken), or in
//! HTTP where the device asks for that. A refused one is not tried again until
//! settings are read again, for cameras lock accounts.
//!
//! | what waits | bound | when full |
//! |---|---|---|
//! | those who ask a device | one per stream, [`PATIENCE`] | the error is told |
//! | an answer | 256 KiB, 2 s | the error is told |

pub mod discover;
mod http;
mod message;
mod xml;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use url::{Position, Url};

use super::front::challenge::{self, Signer};
use super::front::fix::Fixes;
use crate::clock::{Clock, Wall};
use crate::config::settings::Credential;
use crate::format::ids::CameraId;
use http::Post;
use message::{Ask, Media, Unanswered};
use xml::Element;

/// The longest that asking takes, other streams of the device included.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often one request is answered again for a new challenge.
const CHALLENGES_LIMIT: u32 = 2;
/// Paths that are named to a person who has to choose among them.
const PATHS_SHOWN: usize = 6;

/// Why no key frame could be asked for: the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no answer.
    #[error(
        "its ONVIF address does not answer ({0}); see that ONVIF is switched on in the camera and that onvif names its address and port"
    )]
    Unreachable(String),
    /// The answer is no SOAP.
    #[error(
        "its ONVIF address answers {operation} with HTTP status {status} and no ONVIF message ({cause}); see that onvif names the device service, mostly /onvif/device_service"
    )]
    NotOnvif {
        /// What was asked.
        operation: &'static str,
        /// The answer's status.
        status: u16,
        /// What is wrong with it.
        cause: String,
    },
    /// It sends elsewhere.
    #[error(
        "its ONVIF address answers with a redirect, which is not followed; set onvif to the address it leads to"
    )]
    Redirect,
    /// The user name or password is refused.
    #[error(
        "its ONVIF service refuses the user name or password; many cameras keep ONVIF users of their own: add this one there, then reload"
    )]
    Refused,
    /// It asks for a password and none is set.
    #[error("its ONVIF service asks for a user name and password; name a credential")]
    NoCredential,
    /// It asks for a password in a way that is not answered.
    #[error(
        "its ONVIF service offers no Digest, without which the password would cross the network in clear; set the camera's web authentication to Digest"
    )]
    NoDigest,
    /// It has no media service.
    #[error("its ONVIF service names no media service; leave onvif out")]
    NoMedia,
    /// No profile serves the stream.
    #[error(
        "none of its ONVIF profiles serves this stream's path; set the RTSP URL to one that it serves: {0}"
    )]
    NoProfile(String),
    /// It says that it can't.
    #[error("its ONVIF service answers {operation}: {reason}")]
    Fault {
        /// What was asked.
        operation: &'static str,
        /// In its own words.
        reason: String,
    },
    /// The gateway stops, or the device was busy for too long.
    #[error("its ONVIF service is busy; it is asked again by itself")]
    Busy,
}

/// All devices that were asked. Cheap to ask for one: nothing is sent.
#[derive(Debug)]
pub(super) struct Devices {
    clock: Clock,
    stop: CancellationToken,
    known: Mutex<HashMap<Url, Arc<Device>>>,
}

/// What answers at one `onvif` URL.
#[derive(Debug)]
pub(super) struct Device {
    url: Url,
    credential: Option<Credential>,
    clock: Clock,
    stop: CancellationToken,
    /// Held while a request is under way.
    known: tokio::sync::Mutex<Known>,
    /// The error last told of each camera.
    told: Mutex<HashMap<CameraId, Error>>,
}

/// What was found out of a device.
#[derive(Debug, Default)]
struct Known {
    /// Version and address of its media service.
    media: Option<(Media, Url)>,
    /// Its profiles whose stream is not known yet; `None`: not asked.
    unseen: Option<VecDeque<String>>,
    /// Where the stream of which profile is.
    streams: Vec<(Url, String)>,
    /// The device's clock less this machine's, µs.
    offset: i64,
    /// What it asks for in HTTP.
    signer: Option<Signer>,
    /// It refused the password.
    refused: Option<Error>,
}

impl Devices {
    pub(super) fn new(clock: Clock, stop: CancellationToken) -> Self {
        Self {
            clock,
            stop,
            known: Mutex::default(),
        }
    }

    /// The device at this URL. One whose credential changed is a new one.
    pub(super) fn at(&self, url: &Url, credential: Option<&Credential>) -> Arc<Device> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.get(url);
        if let Some(device) = found.filter(|device| device.credential.as_ref() == credential) {
            return device.clone();
        }
        let device = Arc::new(Device {
            url: url.clone(),
            credential: credential.cloned(),
            clock: self.clock.clone(),
            stop: self.stop.clone(),
            known: tokio::sync::Mutex::default(),
            told: Mutex::default(),
        });
        known.insert(url.clone(), device.clone());
        device
    }

    /// Settings were read again: all is found out again, passwords are tried again.
    pub(super) fn forget(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

impl Device {
    /// Finds out which profile serves the stream, so that [`Device::ask`] takes
    /// one request. What goes wrong is told by that one.
    pub(super) async fn prepare(self: Arc<Self>, stream: Arc<Url>) {
        let found = self.bounded(async {
            let mut known = self.known.lock().await;
            self.profile(&mut known, &stream).await.map(drop)
        });
        if let Err(error) = found.await {
            tracing::debug!(%error, "ONVIF not prepared");
        }
    }

    /// Asks for a key frame on the stream that RTSP serves at this URL.
    ///
    /// # Errors
    /// Why none comes, with the remedy; it names no address and no secret.
    pub(super) async fn ask(&self, stream: &Url) -> Result<(), Error> {
        self.bounded(async {
            let mut known = self.known.lock().await;
            let (media, service, token) = self.profile(&mut known, stream).await?;
            let ask = Ask::SynchronizationPoint(media, &token);
            match self.call(&mut known, &service, ask).await {
                Err(Refused::ProfileGone) => {
                    // Somebody set the camera up again.
                    known.unseen = None;
                    known.streams.clear();
                    let (media, service, token) = self.profile(&mut known, stream).await?;
                    let ask = Ask::SynchronizationPoint(media, &token);
                    self.call(&mut known, &service, ask).await?;
                    Ok(())
                }
                answered => Ok(answered.map(drop)?),
            }
        })
        .await
    }

    /// Tells what came of asking, unless it is what was told before.
    pub(super) fn tell(&self, camera: &CameraId, asked: &Result<(), Error>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok(()) if told.remove(camera).is_some() => {
                tracing::info!(%camera, "a key frame can be asked for over ONVIF again");
            }
            Ok(()) => tracing::debug!(%camera, "a key frame was asked for over ONVIF"),
            Err(error) if told.get(camera) == Some(error) => {}
            Err(error) => {
                tracing::warn!(%camera, %error, "no key frame over ONVIF");
                told.insert(camera.clone(), error.clone());
            }
        }
    }

    async fn bounded<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Error::Busy),
            done = tokio::time::timeout(PATIENCE, work) => done.unwrap_or(Err(Error::Busy)),
        }
    }

    /// The media service and the profile that serves a stream.
    async fn profile(
        &self,
        known: &mut Known,
        stream: &Url,
    ) -> Result<(Media, Url, String), Error> {
        let (media, service) = match &known.media {
            Some(found) => found.clone(),
            None => self.find_media(known).await?,
        };
        if known.unseen.is_none() {
            let answer = self.call(known, &service, Ask::Profiles(media)).await?;
            known.unseen = Some(message::profiles(&answer).into());
        }
        loop {
            let found = known.streams.iter();
            let mut found = found.filter(|(uri, _)| message::serves(uri, stream));
            if let Some((_, token)) = found.next() {
                return Ok((media, service, token.clone()));
            }
            let next = known.unseen.as_ref().and_then(VecDeque::front).cloned();
            let Some(token) = next else {
                return Err(Error::NoProfile(known.paths()));
            };
            match self
                .call(known, &service, Ask::StreamUri(media, &token))
                .await
            {
                Ok(answer) => {
                    let uri = message::stream_uri(&answer);
                    known.streams.extend(uri.map(|uri| (uri, token)));
                }
                // Some profiles have no stream; the next may be the one.
                Err(Refused::ProfileGone | Refused::Error(Error::Fault { .. })) => {}
                Err(Refused::Error(error)) => return Err(error),
            }
            if let Some(unseen) = &mut known.unseen {
                unseen.pop_front();
            }
        }
    }

    /// Where the media service is: version 1, or version 2 where there is no other.
    async fn find_media(&self, known: &mut Known) -> Result<(Media, Url), Error> {
        let url = &self.url;
        let first = self.call(known, url, Ask::Capabilities).await;
        let path = match first {
            Ok(answer) => message::media_path(&answer, Media::Ver10),
            Err(Refused::ProfileGone | Refused::Error(Error::Fault { .. })) => None,
            Err(Refused::Error(error)) => return Err(error),
        };
        let (media, path) = match path {
            Some(path) => (Media::Ver10, path),
            None => {
                let answer = self.call(known, url, Ask::Services).await?;
                [Media::Ver10, Media::Ver20]
                    .into_iter()
                    .find_map(|media| Some((media, message::media_path(&answer, media)?)))
                    .ok_or(Error::NoMedia)?
            }
        };
        let service = url.join(&path).map_err(|_| Error::NoMedia)?;
        if service.origin() != url.origin() {
            return Err(Error::NoMedia); // `//host/` is a path to some, and an address to others.
        }
        known.media = Some((media, service.clone()));
        Ok((media, service))
    }

    /// One operation, with the password in the way that the device takes it.
    async fn call(
        &self,
        known: &mut Known,
        service: &Url,
        ask: Ask<'_>,
    ) -> Result<Element, Refused> {
        if let Some(refused) = &known.refused {
            return Err(refused.clone().into());
        }
        let mut challenged = 0;
        let mut clock_read = false;
        loop {
            let answer = self.post(known, service, ask).await?;
            match answer.status {
                300..=399 => return Err(Error::Redirect.into()),
                401 if !answer.challenges.is_empty() => {
                    self.challenged(known, &answer.challenges, &mut challenged)?;
                    continue;
                }
                _ => {}
            }
            let unanswered = match message::answer(&answer.body) {
                Ok(element) => return Ok(element),
                Err(unanswered) => unanswered,
            };
            let operation = ask.name();
            let not_authorized = match &unanswered {
                Unanswered::Fault(fault) => fault.is_not_authorized(),
                Unanswered::Malformed(_) | Unanswered::NotSoap => {
                    matches!(answer.status, 401 | 403)
                }
            };
            if not_authorized {
                if self.credential.is_none() {
                    return Err(Error::NoCredential.into());
                }
                if std::mem::replace(&mut clock_read, true) || !self.read_clock(known).await? {
                    return Err(known.refuse().into());
                }
                continue;
            }
            return Err(match unanswered {
                Unanswered::Fault(fault) if fault.is_profile_gone() => Refused::ProfileGone,
                Unanswered::Fault(fault) => Refused::Error(Error::Fault {
                    operation,
                    reason: fault.reason,
                }),
                Unanswered::Malformed(_) | Unanswered::NotSoap => Refused::Error(Error::NotOnvif {
                    operation,
                    status: answer.status,
                    cause: unanswered.to_string(),
                }),
            });
        }
    }

    /// A 401: answered with the password, once for each challenge that is new.
    fn challenged(
        &self,
        known: &mut Known,
        challenges: &[Vec<u8>],
        challenged: &mut u32,
    ) -> Result<(), Error> {
        let Some(credential) = &self.credential else {
            return Err(Error::NoCredential);
        };
        let headers = challenges.iter().map(Vec::as_slice);
        // A nonce of an earlier request has had its time; one of this request has not.
        let signed = *challenged > 0;
        let fresh = || Signer::new(None, challenge::refusals(false), credential.basic);
        let signer = known.signer.get_or_insert_with(fresh);
        match signer.challenged(headers, signed, &Fixes::default()) {
            challenge::Next::Sign if *challenged < CHALLENGES_LIMIT => {
                *challenged += 1;
                Ok(())
            }
            challenge::Next::Sign | challenge::Next::Refused => Err(known.refuse()),
            challenge::Next::BasicOnly | challenge::Next::Unknown => Err(Error::NoDigest),
        }
    }

    async fn post(
        &self,
        known: &mut Known,
        service: &Url,
        ask: Ask<'_>,
    ) -> Result<http::Answer, Error> {
        let mut security = String::new();
        let mut authorization = None;
        let signs = self.credential.as_ref().filter(|_| ask != Ask::Time);
        if let (Some(credential), None) = (signs, &known.signer) {
            let mut nonce = [0; 16];
            getrandom::fill(&mut nonce).map_err(|error| Error::Unreachable(error.to_string()))?;
            let created = Wall(self.clock.now().wall.0.saturating_add(known.offset));
            security = message::username_token(credential, &nonce, created);
        }
        let body = ask.message(&security);
        if let (Some(credential), Some(signer)) = (signs, &mut known.signer) {
            let path = &service[Position::BeforePath..Position::AfterQuery];
            let mut cnonce = [0; 8];
            getrandom::fill(&mut cnonce).map_err(|error| Error::Unreachable(error.to_string()))?;
            authorization = signer.respond(credential, "POST", path, body.as_bytes(), cnonce);
        }
        let post = Post {
            url: service,
            content_type: ask.content_type(),
            authorization,
            body,
        };
        post.send().await.map_err(Error::Unreachable)
    }

    /// Reads the device's clock. `true`: it differs from what was taken for it, so
    /// that the time in a message, not its password, may be what was refused.
    async fn read_clock(&self, known: &mut Known) -> Result<bool, Error> {
        let asked = self.clock.now().wall;
        let answer = self.post(known, &self.url, Ask::Time).await?;
        let answered = self.clock.now().wall;
        let Ok(answer) = message::answer(&answer.body) else {
            return Ok(false);
        };
        let Some(theirs) = message::time(&answer) else {
            return Ok(false);
        };
        let offset = message::clock_offset(theirs, asked, answered);
        let differs = !offset.contains(&known.offset);
        if differs {
            known.offset = offset.start().midpoint(*offset.end());
        }
        Ok(differs)
    }
}

impl Known {
    /// The password is refused from now on.
    fn refuse(&mut self) -> Error {
        self.refused.insert(Error::Refused).clone()
    }

    /// Some of the paths that profiles serve, for a person to choose from.
    fn paths(&self) -> String {
        let paths =
            self.streams.iter().take(PATHS_SHOWN).map(|(uri, _)| {
                message::printable(&uri[Position::BeforePath..Position::AfterQuery])
            });
        let paths: Vec<String> = paths.collect();
        if paths.is_empty() {
            "it names none".to_owned()
        } else {
            paths.join(", ")
        }
    }
}

/// Why an operation gave nothing.
enum Refused {
    /// The profile that it named is not there any more.
    ProfileGone,
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ProfileGone => Self::Fault {
                operation: "SetSynchronizationPoint",
                reason: "no such profile".to_owned(),
            },
            Refused::Error(error) => error,
        }
    }
}
/// What fuzzing feeds: a device's answer.
#[cfg(fuzzing)]
pub(super) fn fuzz(document: &[u8]) {
    if let Ok(answer) = message::answer(document) {
        message::media_path(&answer, Media::Ver20);
        message::profiles(&answer);
        message::stream_uri(&answer);
        message::time(&answer);
    }
}
