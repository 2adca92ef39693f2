//! A camera as the RTSP server sees it: the clip with its own name and phase.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::Start;
use super::clip::{Clip, Moment, Name};
use crate::clock::Wall;
use crate::media::source::{Event, Sampled, Source, Subscription};
use crate::media::unit::{AccessUnit, Codec, Configuration, UnitFlags};
use crate::reason::Reason;
use crate::rtsp::rtp::Packetiser;
use crate::rtsp::{Library, OpenError, OpenRequest};
use crate::secret::Secret;

/// The streams of all cameras, by path.
#[derive(Debug)]
pub(super) struct Cameras {
    pub(super) by_path: BTreeMap<String, Arc<Camera>>,
    pub(super) credentials: Option<(String, Secret)>,
}

/// One stream of a camera, main or sub.
#[derive(Debug)]
pub(super) struct Camera {
    pub(super) index: usize,
    pub(super) name: Arc<Name>,
    pub(super) start: Start,
    pub(super) clip: Arc<Clip>,
}

impl Library for Cameras {
    fn password(&self, user: &str, _from: std::net::IpAddr) -> Option<Secret> {
        let (name, password) = self.credentials.as_ref()?;
        (name == user).then(|| password.clone())
    }

    fn is_open(&self) -> bool {
        self.credentials.is_none()
    }

    fn open(
        &self,
        request: OpenRequest,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + '_>>
    {
        let camera = self.by_path.get(&request.path).cloned();
        Box::pin(std::future::ready(match camera {
            Some(camera) => Ok(Arc::new(Handle(camera)) as Arc<dyn Source>),
            None => Err(OpenError::NotFound),
        }))
    }
}

#[derive(Debug)]
struct Handle(Arc<Camera>);

impl Source for Handle {
    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.0.clip.configuration)
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Viewer::new(Arc::clone(&self.0)))
    }
}

/// A session's view of the clip. Each has its own RTP numbering, as cameras have
/// a stream for each session.
#[derive(Debug)]
struct Viewer {
    camera: Arc<Camera>,
    moments: broadcast::Receiver<Arc<Moment>>,
    /// The moment to begin with, where a key frame is wanted at once.
    first: Option<Arc<Moment>>,
    /// Moments up to this number are over.
    after: u64,
    /// Number of the key frame that later pictures hang on.
    key: u64,
    /// Lost pictures: nothing can be decoded before the next key frame.
    waits: bool,
    packetiser: Packetiser,
    /// Presentation and wall time of the newest moment.
    sampled: (i64, Wall),
}

impl Viewer {
    fn new(camera: Arc<Camera>) -> Self {
        let (latest, moments) = camera.clip.join(camera.index);
        let sampled = (latest.pts, latest.wall);
        let gop = camera.clip.gop;
        // Own phase: cameras' key frames don't come all at once.
        let phase = camera.index as u64 * 7 % gop;
        let number = latest.number;
        let (first, key) = match camera.start {
            Start::KeyFrame => (Some(latest), number),
            // Wraps in the clip's first group, whose key frame came before its start.
            Start::Live => (None, number.wrapping_sub((number + gop - phase) % gop)),
        };
        let mut random = [0; 10];
        // Without random bytes the numbering starts at 0, which harms no trial.
        let _ = getrandom::fill(&mut random);
        Self {
            after: number,
            first,
            key,
            waits: false,
            packetiser: Packetiser::from_random(random),
            sampled,
            moments,
            camera,
        }
    }

    /// The event of a moment; `None` where there is nothing to send.
    fn event(&mut self, moment: &Moment, first: bool) -> Option<Event> {
        if moment.number <= self.after && !first {
            return None;
        }
        self.after = moment.number;
        self.sampled = (moment.pts, moment.wall);
        let clip = &self.camera.clip;
        let since = moment.number.wrapping_sub(self.key);
        let key = first || since >= clip.gop || clip.configuration.codec == Codec::Jpeg;
        if self.waits && !key {
            return None;
        }
        let data = match clip.configuration.codec {
            Codec::Jpeg => moment.jpeg(&self.camera.name),
            _ if key => moment.key_unit(&self.camera.name),
            // Wraps as the field of eight bits does.
            _ => moment.predicted_unit(since as u8),
        };
        if key {
            self.key = moment.number;
            self.waits = false;
        }
        let unit = AccessUnit {
            flags: UnitFlags {
                key,
                disposable: false,
                loss_before: false,
            },
            pts: moment.pts,
            captured: moment.wall.0,
            data,
        };
        let packets = self.packetiser.packetise(&unit, &clip.configuration);
        Some(Event::Unit {
            unit: Arc::new(unit),
            packets: Arc::new(packets),
            kept: false,
        })
    }

    fn begin(&mut self) -> Option<Event> {
        let first = self.first.take()?;
        self.event(&first, true)
    }
}

impl Subscription for Viewer {
    fn sampled(&self) -> Option<Sampled> {
        let (pts, at) = self.sampled;
        Some(Sampled {
            ssrc: self.packetiser.ssrc(),
            timestamp: self.packetiser.timestamp(pts),
            at,
        })
    }

    fn next(&mut self) -> std::pin::Pin<Box<dyn Future<Output = Event> + Send + '_>> {
        Box::pin(async {
            if let Some(event) = self.begin() {
                return event;
            }
            loop {
                match self.moments.recv().await {
                    Ok(moment) => {
                        if let Some(event) = self.event(&moment, false) {
                            return event;
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        self.waits = true;
                        return Event::Skipped;
                    }
                    Err(RecvError::Closed) => return Event::End(Reason::ShuttingDown),
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        if let Some(event) = self.begin() {
            return Some(event);
        }
        loop {
            match self.moments.try_recv() {
                Ok(moment) => {
                    if let Some(event) = self.event(&moment, false) {
                        return Some(event);
                    }
                }
                Err(TryRecvError::Lagged(_)) => {
                    self.waits = true;
                    return Some(Event::Skipped);
                }
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Closed) => return Some(Event::End(Reason::ShuttingDown)),
            }
        }
    }
}
