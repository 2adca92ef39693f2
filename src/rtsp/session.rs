//! The protocol of one connection, pure: requests in, steps out.
//!
//! [`Machine::handle`] answers most requests by itself. Where it needs the world
//! it returns a [`Step`] to be done, whose outcome goes back in by
//! [`Machine::opened`], [`Machine::bound`] or [`Machine::playing`]; nothing else
//! is handled in between. A session belongs to its connection and ends with it.

use std::net::SocketAddr;

use rtsp_types::{Method, Request, Version, headers};

use super::auth::{Covered, Nonce, Verdict};
use super::message::Reply;
use super::sdp;
use super::{OpenError, OpenRequest};
use crate::clock::Boot;
use crate::media::unit::Configuration;
use crate::reason::Reason;
use crate::secret::Secret;

/// Seconds a session lives without a sign of life, as told in `Session`.
pub const TIMEOUT_SECONDS: u64 = 60;

/// Longest path and longest `User-Agent`, in bytes.
const TEXT_LIMIT: usize = 256;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

/// How packets go to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In the RTSP connection; channels of RTP and RTCP.
    Interleaved {
        /// Channel of RTP.
        rtp: u8,
        /// Channel of RTCP.
        rtcp: u8,
    },
    /// In datagrams to the TCP peer's address; the client's ports.
    Udp {
        /// Port of RTP.
        rtp: u16,
        /// Port of RTCP.
        rtcp: u16,
    },
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Reply(Reply),
    /// Open the picture, then [`Machine::opened`].
    Open(OpenRequest),
    /// Bind a pair of UDP ports for this client, then [`Machine::bound`].
    Bind(Transport),
    /// Subscribe to the picture last opened, then [`Machine::playing`].
    Play,
    /// Stop sending, then send this.
    Stop(Reply),
    /// Stop sending and forget the picture: TEARDOWN. Then send this.
    Teardown(Reply),
    /// Send this and close the connection.
    Close(Reply),
}

/// What a request is judged by, besides itself.
#[allow(missing_debug_implementations)] // a closure over secrets
pub struct Context<'a> {
    /// The time.
    pub now: Boot,
    /// Fresh random bytes.
    pub random: [u8; 16],
    /// A user's password for a path.
    pub password: &'a dyn Fn(&str, &str) -> Option<Secret>,
    /// Nobody needs credentials.
    pub open: bool,
    /// The peer has sent too many wrong credentials.
    pub blocked: bool,
}

/// The protocol of one connection.
#[derive(Debug)]
pub struct Machine {
    peer: SocketAddr,
    /// TLS: pictures must not leave it as clear datagrams.
    encrypted: bool,
    nonce: Nonce,
    /// The path and user of the picture last opened.
    open: Option<(String, String)>,
    session: Option<Session>,
    waiting: Option<Waiting>,
    descriptions: u64,
    wrong_credentials: bool,
}

#[derive(Debug)]
struct Session {
    id: String,
    transport: Transport,
    playing: bool,
    /// The URL of the track as SETUP had it, for RTP-Info.
    url: String,
}

/// A request whose answer waits for a step.
#[derive(Debug)]
struct Waiting {
    sequence: Option<u32>,
    url: String,
    path: String,
    user: String,
    /// SETUP: the transport chosen and the session's id.
    setup: Option<(Transport, String)>,
}

impl Machine {
    /// A connection from `peer`.
    pub fn new(peer: SocketAddr, encrypted: bool, random: [u8; 16], now: Boot) -> Self {
        Self {
            peer,
            encrypted,
            nonce: Nonce::new(random, now),
            open: None,
            session: None,
            waiting: None,
            descriptions: 0,
            wrong_credentials: false,
        }
    }

    /// Whether pictures are being sent.
    pub fn is_playing(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.playing)
    }

    /// Whether there is a session, playing or not.
    pub const fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// How packets go to the client, once set up.
    pub fn transport(&self) -> Option<Transport> {
        self.session.as_ref().map(|session| session.transport)
    }

    /// The path of the picture last opened.
    pub fn path(&self) -> Option<&str> {
        self.open.as_ref().map(|(path, _)| path.as_str())
    }

    /// Whether the request just handled carried wrong credentials.
    pub fn take_wrong_credentials(&mut self) -> bool {
        std::mem::take(&mut self.wrong_credentials)
    }

    /// Handles a request.
    pub fn handle(&mut self, request: &Request<Vec<u8>>, context: &Context<'_>) -> Step {
        let sequence = header(request, &headers::CSEQ).and_then(|text| text.trim().parse().ok());
        let reply = |status| Reply::new(status, sequence);
        if request.version() != Version::V1_0 {
            return Step::Reply(reply(505));
        }
        if sequence.is_none() {
            return Step::Close(reply(400));
        }
        if let Some(required) = header(request, &headers::REQUIRE) {
            return Step::Reply(reply(551).with("Unsupported", bounded(required)));
        }
        if let Some(refusal) = self.check_session(request, sequence) {
            return Step::Reply(refusal);
        }
        match request.method() {
            Method::Options => Step::Reply(self.with_session(reply(200).with("Public", METHODS))),
            Method::GetParameter | Method::SetParameter => {
                Step::Reply(self.with_session(reply(200)))
            }
            Method::Describe => self.describe(request, sequence, context),
            Method::Setup => self.setup(request, sequence, context),
            Method::Play => self.play(request, sequence),
            Method::Pause => match &mut self.session {
                Some(session) => {
                    session.playing = false;
                    Step::Stop(self.with_session(reply(200)))
                }
                None => Step::Reply(reply(455).with("Allow", METHODS)),
            },
            Method::Teardown => {
                let reply = self.with_session(reply(200));
                self.session = None;
                Step::Teardown(reply)
            }
            Method::Announce
            | Method::Record
            | Method::Redirect
            | Method::PlayNotify
            | Method::Extension(_) => Step::Reply(reply(501).with("Public", METHODS)),
        }
    }

    /// The outcome of [`Step::Open`].
    pub fn opened(&mut self, outcome: Result<&Configuration, OpenError>) -> Step {
        let Some(waiting) = self.waiting.take() else {
            return Step::Close(Reply::new(500, None));
        };
        let configuration = match outcome {
            Ok(configuration) => configuration,
            Err(error) => {
                let reply = Reply::new(error.status, waiting.sequence);
                return Step::Reply(match error.reason {
                    Some(reason) => refusal(reply, reason),
                    None => reply,
                });
            }
        };
        self.open = Some((waiting.path.clone(), waiting.user.clone()));
        if waiting.setup.is_some() {
            return self.set_up(waiting);
        }
        self.descriptions += 1;
        let mut base = waiting.url;
        if !base.ends_with('/') {
            base.push('/');
        }
        let mut reply = Reply::new(200, waiting.sequence)
            .with("Content-Base", base)
            .with("Content-Type", "application/sdp");
        reply.body = sdp::describe(&waiting.path, configuration, self.descriptions);
        Step::Reply(reply)
    }

    /// The outcome of [`Step::Bind`]: the server's ports of RTP and RTCP.
    pub fn bound(&mut self, ports: Option<(u16, u16)>) -> Step {
        let Some(waiting) = self.waiting.take() else {
            return Step::Close(Reply::new(500, None));
        };
        let (Some((ours, ours_rtcp)), Some((transport, id))) = (ports, waiting.setup) else {
            return Step::Reply(refusal(Reply::new(503, waiting.sequence), Reason::Internal));
        };
        let Transport::Udp { rtp, rtcp } = transport else {
            return Step::Close(Reply::new(500, waiting.sequence));
        };
        self.session = Some(Session {
            id,
            transport,
            playing: false,
            url: waiting.url,
        });
        let transport =
            format!("RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={ours}-{ours_rtcp}");
        let reply = Reply::new(200, waiting.sequence).with("Transport", transport);
        Step::Reply(self.with_session(reply))
    }

    /// The outcome of [`Step::Play`]: sequence number and time stamp of the first
    /// packet, where it is known already.
    pub fn playing(&mut self, first: Option<(u16, u32)>) -> Reply {
        let sequence = self.waiting.take().and_then(|waiting| waiting.sequence);
        let Some(session) = &mut self.session else {
            return Reply::new(500, sequence);
        };
        session.playing = true;
        let mut info = format!("url={}", session.url);
        if let Some((number, timestamp)) = first {
            info.push_str(&format!(";seq={number};rtptime={timestamp}"));
        }
        let reply = Reply::new(200, sequence)
            .with("Range", "npt=now-")
            .with("RTP-Info", info);
        self.with_session(reply)
    }

    /// The picture is over: the session is too.
    pub fn end(&mut self) {
        self.session = None;
    }

    /// A session that is named must be this connection's.
    fn check_session(&self, request: &Request<Vec<u8>>, sequence: Option<u32>) -> Option<Reply> {
        let named = header(request, &headers::SESSION);
        let named = named.map(|text| text.split(';').next().unwrap_or_default().trim());
        let needed = matches!(
            request.method(),
            Method::Play | Method::Pause | Method::Teardown
        );
        let ours = self.session.as_ref().map(|session| session.id.as_str());
        match (named, ours) {
            (Some(named), ours) if ours != Some(named) => Some(Reply::new(454, sequence)),
            (None, _) if needed => Some(if ours.is_some() {
                Reply::new(454, sequence)
            } else {
                Reply::new(455, sequence).with("Allow", METHODS)
            }),
            _ => None,
        }
    }

    fn describe(
        &mut self,
        request: &Request<Vec<u8>>,
        sequence: Option<u32>,
        context: &Context<'_>,
    ) -> Step {
        if let Some(accepted) = header(request, &headers::ACCEPT)
            && !accepted.contains("application/sdp")
            && !accepted.contains("*/*")
        {
            return Step::Reply(Reply::new(406, sequence));
        }
        let Some((url, path)) = target(request) else {
            return Step::Reply(Reply::new(404, sequence));
        };
        match self.authenticate(request, &path, sequence, context) {
            Err(step) => step,
            Ok(user) => self.open_step(
                request,
                Waiting {
                    sequence,
                    url,
                    path,
                    user,
                    setup: None,
                },
            ),
        }
    }

    fn setup(
        &mut self,
        request: &Request<Vec<u8>>,
        sequence: Option<u32>,
        context: &Context<'_>,
    ) -> Step {
        let Some((url, path)) = target(request) else {
            return Step::Reply(Reply::new(404, sequence));
        };
        if self.is_playing() {
            return Step::Reply(Reply::new(455, sequence).with("Allow", METHODS));
        }
        // One track: another camera in the same session can't be joined to it.
        if self.session.is_some() && self.path() != Some(path.as_str()) {
            return Step::Reply(Reply::new(459, sequence));
        }
        let user = match self.authenticate(request, &path, sequence, context) {
            Ok(user) => user,
            Err(step) => return step,
        };
        let offered = header(request, &headers::TRANSPORT).unwrap_or_default();
        let Some(transport) = choose_transport(offered, self.peer, self.encrypted) else {
            return Step::Reply(Reply::new(461, sequence));
        };
        let id = match &self.session {
            Some(session) => session.id.clone(),
            None => context
                .random
                .iter()
                .map(|byte| format!("{byte:02X}"))
                .collect(),
        };
        let known = self
            .open
            .as_ref()
            .is_some_and(|open| (&open.0, &open.1) == (&path, &user));
        let waiting = Waiting {
            sequence,
            url,
            path,
            user,
            setup: Some((transport, id)),
        };
        if known {
            self.set_up(waiting)
        } else {
            self.open_step(request, waiting)
        }
    }

    fn set_up(&mut self, mut waiting: Waiting) -> Step {
        match waiting.setup.take() {
            Some((transport @ Transport::Udp { .. }, id)) => {
                waiting.setup = Some((transport, id));
                self.waiting = Some(waiting);
                Step::Bind(transport)
            }
            Some((transport @ Transport::Interleaved { rtp, rtcp }, id)) => {
                self.session = Some(Session {
                    id,
                    transport,
                    playing: false,
                    url: waiting.url,
                });
                let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
                let reply = Reply::new(200, waiting.sequence).with("Transport", transport);
                Step::Reply(self.with_session(reply))
            }
            None => Step::Close(Reply::new(500, waiting.sequence)),
        }
    }

    fn play(&mut self, request: &Request<Vec<u8>>, sequence: Option<u32>) -> Step {
        let Some(session) = &self.session else {
            return Step::Reply(Reply::new(455, sequence).with("Allow", METHODS));
        };
        // Some players ask for each track, others for the whole.
        if target(request).is_none_or(|(_, path)| self.path() != Some(path.as_str())) {
            return Step::Reply(Reply::new(404, sequence));
        }
        if session.playing {
            // Played already: a keep-alive to some players.
            return Step::Reply(self.with_session(Reply::new(200, sequence)));
        }
        self.waiting = Some(Waiting {
            sequence,
            url: String::new(),
            path: String::new(),
            user: String::new(),
            setup: None,
        });
        Step::Play
    }

    fn open_step(&mut self, request: &Request<Vec<u8>>, waiting: Waiting) -> Step {
        let agent = header(request, &headers::USER_AGENT).unwrap_or_default();
        let open = OpenRequest {
            user: waiting.user.clone(),
            path: waiting.path.clone(),
            peer: self.peer,
            user_agent: bounded(agent),
        };
        self.waiting = Some(waiting);
        Step::Open(open)
    }

    /// The user, or what to answer.
    fn authenticate(
        &mut self,
        request: &Request<Vec<u8>>,
        path: &str,
        sequence: Option<u32>,
        context: &Context<'_>,
    ) -> Result<String, Step> {
        if context.open {
            return Ok(String::new());
        }
        if context.blocked {
            let reply = refusal(Reply::new(403, sequence), Reason::TooManyAttempts);
            return Err(Step::Close(reply.with("Retry-After", "60")));
        }
        let method: &str = request.method().into();
        let covered = Covered {
            method,
            path,
            header: header(request, &headers::AUTHORIZATION),
        };
        let stale = match self.nonce.check(covered, context.now, context.password) {
            Verdict::Accepted(user) => return Ok(user),
            Verdict::Missing => false,
            Verdict::Stale => true,
            Verdict::Wrong => {
                self.wrong_credentials = true;
                false
            }
        };
        if self.nonce.is_over(context.now) {
            self.nonce = Nonce::new(context.random, context.now);
        }
        let mut reply = Reply::new(401, sequence);
        for challenge in self.nonce.challenges(stale) {
            reply = reply.with("WWW-Authenticate", challenge);
        }
        Err(Step::Reply(reply))
    }

    fn with_session(&self, reply: Reply) -> Reply {
        match &self.session {
            Some(session) => reply.with(
                "Session",
                format!("{};timeout={TIMEOUT_SECONDS}", session.id),
            ),
            None => reply,
        }
    }
}

/// The camera's path in a URL or a part of one: without scheme, host, query,
/// track and slashes at the ends.
pub fn camera_path(url: &str) -> &str {
    let path = match url.split_once("://") {
        Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        None => url,
    };
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_matches('/');
    path.strip_suffix(sdp::TRACK)
        .map_or(path, |path| path.trim_end_matches('/'))
}

/// The request's URL, without credentials and bounded, and the camera's path in it.
fn target(request: &Request<Vec<u8>>) -> Option<(String, String)> {
    let mut url = request.request_uri()?.clone();
    // Fails only where a URL can hold none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let url = url.as_str();
    let path = camera_path(url);
    (!path.is_empty() && path.len() <= TEXT_LIMIT && url.len() <= 4 * TEXT_LIMIT)
        .then(|| (url.to_owned(), path.to_owned()))
}

fn header<'a>(request: &'a Request<Vec<u8>>, name: &rtsp_types::HeaderName) -> Option<&'a str> {
    request.header(name).map(|value| value.as_str())
}

fn bounded(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_LIMIT)
        .collect()
}

/// An answer with the reason and its sentence.
fn refusal(reply: Reply, reason: Reason) -> Reply {
    reply
        .with("X-Reason", reason.code())
        .with("X-Reason-Text", reason.english())
}

/// The first of the offered transports that can be had. UDP only in the clear and
/// only to the TCP peer's own address, or anybody could aim pictures at others.
fn choose_transport(offered: &str, peer: SocketAddr, encrypted: bool) -> Option<Transport> {
    offered.split(',').find_map(|offer| {
        let mut parts = offer.trim().split(';').map(str::trim);
        let protocol = parts.next()?.to_ascii_uppercase();
        let mut unicast = true;
        let mut ports = None;
        let mut channels = Some((0, 1));
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.to_ascii_lowercase().as_str() {
                "multicast" => unicast = false,
                "destination" if !value.is_empty() => {
                    unicast &= value.parse() == Ok(peer.ip());
                }
                "mode" => unicast &= value.trim_matches('"').eq_ignore_ascii_case("play"),
                "interleaved" => channels = pair::<u8>(value),
                "client_port" => ports = pair::<u16>(value),
                _ => {}
            }
        }
        match protocol.as_str() {
            "RTP/AVP/TCP" if unicast => {
                channels.map(|(rtp, rtcp)| Transport::Interleaved { rtp, rtcp })
            }
            "RTP/AVP" | "RTP/AVP/UDP" if unicast && !encrypted => ports
                .filter(|(rtp, rtcp)| *rtp >= 1024 && *rtcp >= 1024)
                .map(|(rtp, rtcp)| Transport::Udp { rtp, rtcp }),
            _ => None,
        }
    })
}

/// `a-b`, or `a` for `a` and the one after.
fn pair<T>(text: &str) -> Option<(T, T)>
where
    T: std::str::FromStr + Copy + PartialEq + TryFrom<u32> + Into<u32>,
{
    let (first, second) = match text.split_once('-') {
        Some((first, second)) => (first.trim().parse().ok()?, second.trim().parse().ok()?),
        None => {
            let first: T = text.trim().parse().ok()?;
            (first, T::try_from(first.into() + 1).ok()?)
        }
    };
    (first != second).then_some((first, second))
}

#[cfg(test)]
mod tests;
