//! What is asked of a camera and what its answers lead to (RFC 2326): pure.
//!
//! The order is DESCRIBE, SETUP of the one video track, PLAY, a keep-alive now and
//! then, TEARDOWN. An answer is looked at for what is needed of it; what is missing
//! or odd is made up for and noted.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use url::Url;

use super::challenge::{self, Signer, Way};
use super::description::Description;
use super::fix::{Fix, Fixes};
use super::keepalive::Keepalive;
use super::location::{self, Places, Uris};
use super::message::Message;
use super::pictures::{Habits, Track};
use super::transport::Parsed;
use crate::config::settings::{Credential, Transport};
use crate::gateway::cause;
use crate::policy::camera::{Failure, Step};
use crate::reason::Reason;

/// The name under which cameras see the gateway.
const USER_AGENT: &str = concat!("fanal/", env!("CARGO_PKG_VERSION"));

/// Further tries that a camera is given for one request: a redirect, other control
/// URLs, a new nonce, the other transport.
const TRIES_LIMIT: u32 = 10;

/// Ticks of RTP time in a second.
const CLOCK_RATE: u32 = 90_000;

/// Longest session id that is sent back.
const SESSION_LIMIT: usize = 256;

/// What is asked of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Describe,
    Setup,
    Play,
    KeepAlive,
    Teardown,
}

impl Ask {
    /// As causes name it.
    pub(super) const fn step(self) -> Step {
        match self {
            Self::Describe => Step::Describing,
            Self::Setup => Step::SettingUp,
            Self::Play | Self::KeepAlive | Self::Teardown => Step::Playing,
        }
    }
}

/// What an answer leads to.
#[derive(Debug)]
pub(super) enum Next {
    /// It is done.
    Accepted,
    /// Ask again on this connection.
    Again,
    /// Ask again on a new connection.
    Reconnect,
    /// It can't be done.
    Failed(Failure),
}

/// How the media come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// Between the messages, on these channels.
    Interleaved { rtp: u8, rtcp: u8 },
    /// From these ports, where the camera tells, of this address.
    Udp {
        ports: Option<(u16, u16)>,
        source: Option<IpAddr>,
    },
}

/// What one session learned of a camera for the next: kept until its settings change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Learned {
    knowledge: Arc<Mutex<Knowledge>>,
    fixes: Fixes,
}

#[derive(Debug, Default)]
struct Knowledge {
    /// The camera hangs up behind its challenge: the next connection is signed with this
    /// from its first request.
    signer: Option<Signer>,
    /// It serves the other transport only.
    other_transport: bool,
    /// It wants OPTIONS first.
    wants_options: bool,
    /// Keep-alive requests that it refuses.
    refused: Vec<&'static str>,
    /// Of its markers and slices.
    habits: Habits,
}

impl Learned {
    /// What the front had to make up for so far.
    pub(crate) const fn fixes(&self) -> &Fixes {
        &self.fixes
    }

    /// What its sessions showed of its markers and slices.
    pub(super) fn habits(&self) -> Habits {
        self.lock().habits
    }

    pub(super) fn set_habits(&self, habits: Habits) {
        self.lock().habits = habits;
    }

    /// Forgets how the camera is spoken to: its settings changed.
    pub(crate) fn forget(&self) {
        *self.lock() = Knowledge::default();
    }

    fn lock(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the password was accepted or refused, once that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Password {
    /// Sent in this way.
    Accepted(Option<Way>),
    Refused(Failure),
}

/// The camera's side of one session.
#[derive(Debug)]
pub(super) struct Dialogue {
    /// What is described; after a redirect what that led to.
    asked: Url,
    credential: Option<Credential>,
    signer: Signer,
    learned: Learned,
    busy_wait: Duration,
    transport: Transport,
    /// Our ports for RTP and RTCP, where UDP is asked for.
    client_ports: Option<(u16, u16)>,
    sequence: u32,
    /// The request on its way was signed.
    signed: bool,
    /// Tries of the request on its way, after the first.
    tries: u32,
    /// A challenge came on this connection.
    challenged: bool,
    redirected: bool,
    other_transport: bool,
    /// Lines that some cameras refuse.
    accept: bool,
    range: bool,
    /// The next request for a description is OPTIONS before it, which some cameras want.
    pub(super) greets: bool,
    pub(super) greeted: bool,
    /// An answer came on this connection that was not the end of the matter.
    answered: bool,
    /// How the first of several tries was refused.
    refused: Option<u16>,
    password: Option<Password>,
    uris: Uris,
    /// Where the connection leads.
    peer: Option<SocketAddr>,
    /// The camera's own URIs name another host, which is not asked for with a password.
    names_other_host: bool,
    setup: usize,
    play: usize,
    session: Option<String>,
    keepalive: Keepalive,
    track: Option<Track>,
    lane: Option<Lane>,
}

impl Dialogue {
    /// A dialogue with the camera at `url`. `proven`: the password was right before, at
    /// this host, sent in that way.
    pub(super) fn new(
        url: &Url,
        transport: Transport,
        credential: Option<Credential>,
        (proven, way): (bool, Option<Way>),
        busy_wait: Duration,
        learned: Learned,
    ) -> Self {
        let basic = credential.as_ref().is_some_and(|known| known.basic);
        let (signer, other, greets) = {
            let knowledge = learned.lock();
            let kept = knowledge.signer.clone().map(Signer::carried);
            let fresh = || Signer::new(way, challenge::refusals(proven), basic);
            let signer = kept.unwrap_or_else(fresh);
            (signer, knowledge.other_transport, knowledge.wants_options)
        };
        let uri = location::request_uri(url);
        Self {
            asked: url.clone(),
            credential,
            signer,
            busy_wait,
            transport: if other { flip(transport) } else { transport },
            client_ports: None,
            sequence: 0,
            signed: false,
            tries: 0,
            challenged: false,
            redirected: false,
            other_transport: other,
            accept: true,
            range: true,
            greets,
            greeted: greets,
            answered: false,
            refused: None,
            password: None,
            uris: Uris {
                setup: vec![uri.clone()],
                play: vec![uri],
            },
            peer: None,
            names_other_host: false,
            setup: 0,
            play: 0,
            session: None,
            keepalive: Keepalive::new(),
            track: None,
            lane: None,
            learned,
        }
    }

    /// What SETUP asks for next.
    pub(super) const fn transport(&self) -> Transport {
        self.transport
    }

    /// Our ports, once they are bound.
    pub(super) const fn set_client_ports(&mut self, ports: (u16, u16)) {
        self.client_ports = Some(ports);
    }

    /// What became of the password, said once.
    pub(super) const fn take_password(&mut self) -> Option<Password> {
        self.password.take()
    }

    /// The track, once described.
    pub(super) const fn track(&self) -> Option<&Track> {
        self.track.as_ref()
    }

    /// How the media come, once set up.
    pub(super) const fn lane(&self) -> Option<Lane> {
        self.lane
    }

    /// Whether the camera may count a session.
    pub(super) const fn has_session(&self) -> bool {
        self.lane.is_some()
    }

    /// How often the session is kept alive.
    pub(super) fn keepalive_interval(&self) -> Duration {
        self.keepalive.interval()
    }

    /// A new connection, to this address: nothing was asked on it.
    pub(super) const fn handle_connected(&mut self, peer: SocketAddr) {
        self.peer = Some(peer);
        self.challenged = false;
        self.answered = false;
        // Said on each connection.
        self.greets = self.greeted;
    }

    /// The keep-alive that goes out next is the last one, signed for a new challenge.
    pub(super) const fn repeat_keepalive(&mut self) {
        self.keepalive.repeat();
    }

    /// The next request, with its number. `cnonce` is random.
    pub(super) fn request(&mut self, ask: Ask, cnonce: [u8; 8]) -> Message {
        self.sequence = self.sequence.wrapping_add(1);
        let at = |uris: &[String], at: usize| uris.get(at).cloned().unwrap_or_default();
        let (method, uri) = match ask {
            Ask::Describe if self.greets => ("OPTIONS", location::request_uri(&self.asked)),
            Ask::Describe => ("DESCRIBE", location::request_uri(&self.asked)),
            Ask::Setup => ("SETUP", at(&self.uris.setup, self.setup)),
            Ask::Play => ("PLAY", at(&self.uris.play, self.play)),
            Ask::KeepAlive => {
                let method = self.keepalive.next(&self.learned.lock().refused);
                (method, at(&self.uris.play, self.play))
            }
            Ask::Teardown => ("TEARDOWN", at(&self.uris.play, self.play)),
        };
        let mut request = Message::request(method, &uri);
        request.set("CSeq", self.sequence.to_string());
        request.set("User-Agent", USER_AGENT);
        if let (Some(session), true) = (&self.session, ask != Ask::Describe) {
            request.set("Session", session.clone());
        }
        match ask {
            Ask::Describe if self.accept && !self.greets => {
                request.set("Accept", "application/sdp");
            }
            Ask::Setup => request.set("Transport", self.asked_transport()),
            Ask::Play if self.range => request.set("Range", "npt=0.000-"),
            _ => {}
        }
        self.signed = false;
        if let Some(credential) = &self.credential
            && let Some(answer) = self.signer.respond(credential, method, &uri, &[], cnonce)
        {
            request.sign(answer, self.signer.is_proxied());
            self.signed = true;
        }
        request
    }

    fn asked_transport(&self) -> String {
        match (self.transport, self.client_ports) {
            (Transport::Udp, Some((rtp, rtcp))) => {
                format!("RTP/AVP;unicast;client_port={rtp}-{rtcp}")
            }
            _ => "RTP/AVP/TCP;unicast;interleaved=0-1".to_owned(),
        }
    }

    /// Whether this answer belongs to the request on its way: by its number, and where
    /// it has none or a strange one because nothing else is on its way.
    pub(super) fn is_answer(&self, answer: &Message, alone: bool) -> bool {
        // Provisional (RFC 2326 7.1.1): the answer is still to come.
        if matches!(answer.status(), Some(100..=199)) {
            return false;
        }
        let number = answer
            .text("CSeq")
            .and_then(|text| text.trim().parse::<u32>().ok());
        if number == Some(self.sequence) {
            return true;
        }
        if alone {
            self.learned.fixes.note(Fix::AnswerNumber);
        }
        alone
    }

    /// What an answer leads to.
    pub(super) fn judge(&mut self, ask: Ask, answer: &Message) -> Next {
        let status = answer.status().unwrap_or(0);
        let greeted = ask == Ask::Describe && self.greets;
        if !matches!(status, 401 | 407) && self.signed && !greeted {
            let way = self.signer.accepted();
            if self.password.is_none() && status < 400 {
                self.password = Some(Password::Accepted(way));
            }
        }
        self.tries += 1;
        let next = match status {
            401 | 407 => self.handle_challenge(answer),
            // Whatever it says of OPTIONS, it was asked.
            _ if greeted => {
                self.greets = false;
                Next::Again
            }
            300..=399 if ask == Ask::Describe => self.redirect(status, answer),
            200..=299 => self.accept(ask, answer),
            status => self.refuse(ask, status),
        };
        match next {
            Next::Again if self.tries > TRIES_LIMIT => {
                Next::Failed(cause::from_status(status, ask.step(), self.busy_wait))
            }
            Next::Again => {
                self.answered = true;
                Next::Again
            }
            ended => {
                self.answered = false;
                self.tries = 0;
                self.refused = None;
                ended
            }
        }
    }

    /// The camera hung up instead of answering.
    pub(super) fn handle_hang_up(&mut self, ask: Ask) -> Next {
        if std::mem::replace(&mut self.challenged, false) && self.signer.is_ready() {
            self.learned.fixes.note(Fix::ClosesAfterChallenge);
            self.learned.lock().signer = Some(self.signer.clone());
            self.signer = self.signer.clone().carried();
            self.answered = true;
        }
        // What was set up goes with the connection: the two that need nothing before them
        // are asked again on another.
        if std::mem::take(&mut self.answered) && matches!(ask, Ask::Describe | Ask::Setup) {
            return Next::Reconnect;
        }
        let closed = std::io::ErrorKind::UnexpectedEof.into();
        Next::Failed(cause::from_io(&closed, ask.step()))
    }

    fn handle_challenge(&mut self, answer: &Message) -> Next {
        let Some(credential) = &self.credential else {
            return Next::Failed(cause::hold(
                Reason::CameraUnauthorized,
                "it asks for a user name and password, and none is set",
            ));
        };
        self.challenged = true;
        self.signer
            .note_proxied(answer.is_proxys(), &self.learned.fixes);
        let headers = answer.challenges();
        let chosen = self
            .signer
            .challenged(headers, self.signed, &self.learned.fixes);
        let basic = credential.basic;
        match chosen {
            challenge::Next::Sign => Next::Again,
            challenge::Next::Refused => {
                let failure = cause::hold(
                    Reason::CameraUnauthorized,
                    format!(
                        "it refuses the user name or password ({})",
                        self.signer.sentence()
                    ),
                );
                self.password = Some(Password::Refused(failure.clone()));
                self.learned.lock().signer = None;
                Next::Failed(failure)
            }
            challenge::Next::BasicOnly if !basic => Next::Failed(cause::hold(
                Reason::CameraUnauthorized,
                "it offers only Basic, which gives the password to anything that answers at its address; allow it with auth = \"basic\" on a network you trust, or set the camera to Digest",
            )),
            challenge::Next::BasicOnly | challenge::Next::Unknown => Next::Failed(cause::hold(
                Reason::CameraUnauthorized,
                format!(
                    "it asks for a password in a way that is not known here: {}; set it to Digest with MD5 or SHA-256, and report this with fanal check --trace",
                    self.signer.sentence()
                ),
            )),
        }
    }

    /// Followed once, to another path of the same host and port.
    fn redirect(&mut self, status: u16, answer: &Message) -> Next {
        let location = answer
            .header("Location")
            .and_then(|location| location::redirect(&self.asked, location));
        match location {
            Some(location) if !self.redirected => {
                self.redirected = true;
                self.learned.fixes.note(Fix::Redirect);
                self.asked = location;
                Next::Again
            }
            _ => Next::Failed(cause::from_status(status, Step::Describing, self.busy_wait)),
        }
    }

    fn refuse(&mut self, ask: Ask, status: u16) -> Next {
        let first = *self.refused.get_or_insert(status);
        let fixes = &self.learned.fixes;
        match ask {
            Ask::Describe if status == 406 && self.accept => {
                self.accept = false;
                return Next::Again;
            }
            Ask::Describe if wants_options(status) && !self.greeted => {
                (self.greets, self.greeted) = (true, true);
                return Next::Again;
            }
            Ask::Setup if status == 461 && !self.other_transport => {
                self.other_transport = true;
                self.transport = flip(self.transport);
                fixes.note(Fix::OtherTransport);
                return Next::Again;
            }
            Ask::Setup if is_about_uri(status) && self.setup + 1 < self.uris.setup.len() => {
                self.setup += 1;
                fixes.note(Fix::ControlUrl);
                return Next::Again;
            }
            Ask::Play if matches!(status, 400 | 406 | 457 | 501) && self.range => {
                self.range = false;
                return Next::Again;
            }
            Ask::Play if is_about_uri(status) && self.play + 1 < self.uris.play.len() => {
                self.play += 1;
                fixes.note(Fix::ControlUrl);
                return Next::Again;
            }
            Ask::KeepAlive => {
                let method = self.keepalive.method();
                fixes.note(Fix::Keepalive);
                let mut knowledge = self.learned.lock();
                if !knowledge.refused.contains(&method) {
                    knowledge.refused.push(method);
                }
                return Next::Accepted;
            }
            Ask::Teardown => return Next::Accepted,
            Ask::Setup | Ask::Play if is_about_uri(first) && self.names_other_host => {
                return Next::Failed(cause::names_other_host(first, ask.step()));
            }
            Ask::Describe | Ask::Setup | Ask::Play => {}
        }
        Next::Failed(cause::from_status(first, ask.step(), self.busy_wait))
    }

    fn accept(&mut self, ask: Ask, answer: &Message) -> Next {
        match ask {
            Ask::Describe => self.described(answer),
            Ask::Setup => {
                self.note_session(answer);
                self.note_transport(answer);
                if self.other_transport {
                    self.learned.lock().other_transport = true;
                }
                Next::Accepted
            }
            Ask::Play => {
                self.note_session(answer);
                if self.session.is_none() {
                    self.learned.fixes.note(Fix::SessionForm);
                }
                Next::Accepted
            }
            Ask::KeepAlive => {
                if let Some(public) = answer.text("Public") {
                    self.keepalive.note_public(&public);
                }
                Next::Accepted
            }
            Ask::Teardown => Next::Accepted,
        }
    }

    fn described(&mut self, answer: &Message) -> Next {
        let fixes = &self.learned.fixes;
        if self.greeted {
            fixes.note(Fix::WantsOptions);
            self.learned.lock().wants_options = true;
        }
        let kind = answer.text("Content-Type").unwrap_or_default();
        if kind.trim() != "application/sdp" {
            fixes.note(Fix::ContentType);
        }
        let description = Description::read(&answer.body, fixes);
        let video = match description.video(fixes) {
            Ok(video) => video,
            Err(failure) => return Next::Failed(failure),
        };
        let pixels = |size: (u32, u32)| Some((size.0.try_into().ok()?, size.1.try_into().ok()?));
        self.track = Some(Track {
            codec: video.codec,
            payload_type: video.format.payload_type,
            // All video has this one (RFC 6184 8.2.1, RFC 7798 7.2.1, RFC 3551 5.2): a
            // description that names another is wrong, not the packets.
            clock_rate: CLOCK_RATE,
            sets: video
                .format
                .parameter_sets(video.codec, fixes)
                .into_iter()
                .map(Into::into)
                .collect(),
            dimensions: video.track.size.and_then(pixels),
            order_numbers: video
                .format
                .param("sprop-max-don-diff")
                .is_some_and(|most| most.trim() != "0"),
        });
        self.uris = Uris::resolve(
            &Places {
                asked: &self.asked,
                content_base: answer.header("Content-Base"),
                content_location: answer.header("Content-Location"),
                session_control: description.control.as_deref(),
                track_control: video.track.control.as_deref(),
            },
            fixes,
        );
        self.names_other_host =
            self.credential.is_some() && self.uris.stay_at(&self.asked, self.peer, fixes);
        (self.setup, self.play) = (0, 0);
        Next::Accepted
    }

    /// The id and the timeout (RFC 2326 12.37); an answer may leave both out.
    fn note_session(&mut self, answer: &Message) {
        let Some(text) = answer.text("Session") else {
            self.learned.fixes.note(Fix::SessionForm);
            return;
        };
        let mut parts = text.split(';').map(str::trim);
        let id: String = parts
            .next()
            .unwrap_or_default()
            .chars()
            .filter(char::is_ascii_graphic)
            .take(SESSION_LIMIT)
            .collect();
        if id.is_empty() {
            self.learned.fixes.note(Fix::SessionForm);
        } else {
            self.session = Some(id);
        }
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let seconds = value.trim().trim_matches('"').parse::<u64>();
            if name.trim().eq_ignore_ascii_case("timeout")
                && let Ok(seconds @ 1..=86_400) = seconds
            {
                self.keepalive.note_timeout(Duration::from_secs(seconds));
            }
        }
    }

    /// How the media come (RFC 2326 12.39): as asked wherever the answer leaves it open.
    fn note_transport(&mut self, answer: &Message) {
        let text = answer.text("Transport").unwrap_or_default();
        let parsed = Parsed::read(&text);
        let fixes = &self.learned.fixes;
        let interleaved = match self.transport {
            Transport::Tcp => true,
            Transport::Udp => parsed.interleaved.is_some(),
        };
        self.lane = Some(if interleaved {
            let (rtp, rtcp) = parsed.interleaved.unwrap_or_else(|| {
                fixes.note(Fix::TransportForm);
                (0, 1)
            });
            if (rtp, rtcp) != (0, 1) {
                fixes.note(Fix::OtherChannels);
            }
            Lane::Interleaved { rtp, rtcp }
        } else {
            if parsed.server_ports.is_none() {
                fixes.note(Fix::TransportForm);
            }
            Lane::Udp {
                ports: parsed.server_ports,
                source: parsed.source,
            }
        });
    }
}

/// Statuses with which cameras refuse a URI that is not spelled as they mean it.
const fn is_about_uri(status: u16) -> bool {
    matches!(status, 400 | 404 | 451 | 454 | 455 | 459 | 460 | 500)
}

/// Statuses with which cameras refuse DESCRIBE that want OPTIONS before it.
const fn wants_options(status: u16) -> bool {
    matches!(status, 400 | 405 | 451 | 454 | 455 | 459 | 500 | 501 | 551)
}

const fn flip(transport: Transport) -> Transport {
    match transport {
        Transport::Tcp => Transport::Udp,
        Transport::Udp => Transport::Tcp,
    }
}

#[cfg(test)]
mod tests;
