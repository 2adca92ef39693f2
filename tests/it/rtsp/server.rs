//! A server over pictures that a test gives it.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanal::clock::{Clock, Wall};
use fanal::connect::listen::Listener;
use fanal::media::source::{Event, Sampled, Source, Subscription};
use fanal::media::unit::{AccessUnit, Configuration};
use fanal::reason::Reason;
use fanal::rtsp::rtp::Packetiser;
use fanal::rtsp::server::{Limits, Notice, Observer, Options, Server};
use fanal::rtsp::{Library, OpenError, OpenRequest};
use fanal::secret::Secret;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::waiting::within;

/// What the server at hand plays, to whom.
#[derive(Debug)]
pub struct Film {
    pub configuration: Arc<Configuration>,
    pub units: Vec<AccessUnit>,
    /// How many of them stand for the kept group.
    pub kept: usize,
    /// Pause between units after the kept ones.
    pub pause: Duration,
    /// Whether it begins again at its end, without end.
    pub endless: bool,
    /// Whether it falls silent at its end instead of ending.
    pub silent: bool,
}

/// Where and how it is played; start from [`Stage::default`].
pub struct Stage {
    pub limits: Limits,
    pub tls: Option<Arc<rustls::ServerConfig>>,
    pub udp: bool,
    pub address: SocketAddr,
}

impl Default for Stage {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            tls: None,
            udp: true,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        }
    }
}

/// A running server: ends when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub notices: mpsc::Receiver<Notice>,
    pub refused: Arc<Mutex<Vec<&'static str>>>,
    pub token: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    /// Waits for a notice, over others.
    pub async fn wait_for(&mut self, wanted: Notice) {
        self.wait_for_any(&[wanted]).await;
    }

    /// Waits for one of these notices, over others.
    pub async fn wait_for_any(&mut self, wanted: &[Notice]) {
        within(&format!("{wanted:?}"), async {
            while !wanted.contains(&self.notices.recv().await.expect("server ended")) {}
        })
        .await;
    }

    /// The URL of the picture, with credentials.
    pub fn url(&self) -> String {
        format!("rtsp://grant:secret@{}/commune/camera", self.address)
    }
}

pub async fn start(film: Film, limits: Limits, tls: Option<Arc<rustls::ServerConfig>>) -> Running {
    let stage = Stage {
        limits,
        tls,
        ..Stage::default()
    };
    start_on(film, stage).await
}

pub async fn start_on(film: Film, stage: Stage) -> Running {
    let (sender, notices) = mpsc::channel(1_000);
    let refused = Arc::new(Mutex::new(Vec::new()));
    let listener = Listener::bind(stage.address, stage.tls).await.unwrap();
    let address = listener.address().unwrap();
    let options = Options {
        listeners: vec![listener],
        limits: stage.limits,
        udp: Arc::new(stage.udp.into()),
        clock: Clock::system(),
        observer: Some(Arc::new(Notices(sender, Arc::clone(&refused)))),
    };
    let server = Server::new(options, Arc::new(Cinema(Arc::new(film))));
    let token = CancellationToken::new();
    let task = tokio::spawn(server.run(token.clone()));
    Running {
        address,
        notices,
        refused,
        token,
        task,
    }
}

#[derive(Debug)]
struct Notices(mpsc::Sender<Notice>, Arc<Mutex<Vec<&'static str>>>);

impl Observer for Notices {
    fn notice(&self, path: &str, notice: Notice) {
        assert_eq!(path, "commune/camera");
        // A test that waits for none lets the channel fill.
        let _ = self.0.try_send(notice);
    }

    fn refused(&self, why: &'static str) {
        self.1.lock().unwrap().push(why);
    }
}

struct Cinema(Arc<Film>);

impl Library for Cinema {
    fn password(&self, user: &str, _from: IpAddr) -> Option<Secret> {
        matches!(user, "grant" | "ended" | "leaving").then(|| Secret::new("secret"))
    }

    fn open(
        &self,
        request: OpenRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn Source>, OpenError>> + Send + '_>> {
        let film = Arc::clone(&self.0);
        Box::pin(async move {
            if request.user == "ended" {
                return Err(OpenError::Ended(Reason::GrantExpired));
            }
            if request.path != "commune/camera" {
                return Err(OpenError::NotFound);
            }
            // The camera goes between SETUP and PLAY.
            if request.user == "leaving" && request.transport.is_some() {
                return Err(OpenError::Refused(Reason::CameraStalled));
            }
            Ok(Arc::new(Screen(film)) as Arc<dyn Source>)
        })
    }
}

#[derive(Debug)]
struct Screen(Arc<Film>);

impl Source for Screen {
    fn configuration(&self) -> Arc<Configuration> {
        Arc::clone(&self.0.configuration)
    }

    fn frame_rate(&self) -> Option<f64> {
        Some(25.0)
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        let film = Arc::clone(&self.0);
        let (kept, rest) = film.units.split_at(film.kept);
        // Numbers that wrap on the way.
        let packetiser = Packetiser::new(0xfeed, 9, u32::MAX - 1_000);
        let burst = packetiser.kept_burst(kept, &film.configuration);
        let events = kept.iter().zip(burst).map(|(unit, packets)| Event::Unit {
            unit: Arc::new(unit.clone()),
            packets: Arc::new(packets),
            kept: true,
        });
        let newest = kept.iter().map(|unit| unit.pts).max();
        Box::new(Projector {
            newest,
            began: Clock::system().now().wall,
            events: Mutex::new(events.collect()),
            rest: rest.to_vec().into(),
            packetiser,
            film: Arc::clone(&film),
        })
    }
}

#[derive(Debug)]
struct Projector {
    /// Presentation time of the newest picture.
    newest: Option<i64>,
    /// When the picture of time 0 was taken.
    began: Wall,
    events: Mutex<VecDeque<Event>>,
    rest: VecDeque<AccessUnit>,
    packetiser: Packetiser,
    film: Arc<Film>,
}

impl Subscription for Projector {
    fn next(&mut self) -> Pin<Box<dyn Future<Output = Event> + Send + '_>> {
        Box::pin(async {
            if let Some(event) = self.events.lock().unwrap().pop_front() {
                return event;
            }
            if !self.film.pause.is_zero() {
                tokio::time::sleep(self.film.pause).await;
            }
            if self.rest.is_empty() && self.film.endless {
                self.rest = self.film.units.clone().into();
            }
            let Some(unit) = self.rest.pop_front() else {
                if self.film.silent {
                    std::future::pending::<()>().await;
                }
                return Event::End(Reason::GrantReleased);
            };
            self.newest = self.newest.max(Some(unit.pts));
            let packets = self.packetiser.packetise(&unit, &self.film.configuration);
            Event::Unit {
                unit: Arc::new(unit),
                packets: Arc::new(packets),
                kept: false,
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        self.events.lock().unwrap().pop_front()
    }

    fn sampled(&self) -> Option<Sampled> {
        let pts = self.newest?;
        Some(Sampled {
            ssrc: self.packetiser.ssrc(),
            timestamp: self.packetiser.timestamp(pts),
            at: Wall(self.began.0 + pts * 100 / 9),
        })
    }
}
