//! The protocol of one connection, pure: requests in, steps out.
//!
//! [`Machine::handle`] answers most requests by itself. Where it needs the world
//! it returns a [`Step`] to be done, whose outcome goes back in by
//! [`Machine::opened`], [`Machine::bound`] or [`Machine::playing`]; nothing else
//! is handled in between. A session belongs to its connection and ends with it.

use std::net::SocketAddr;

use percent_encoding::percent_decode_str;

use super::auth::{Covered, Nonce, Verdict};
use super::message::{Method, Reply, Request};
use super::sdp::{self, Picture, Reader};
use super::transport::Transport;
use super::{OpenError, OpenRequest};
use crate::clock::Boot;
use crate::media::unit::Codec;
use crate::reason::Reason;
use crate::secret::Secret;

/// Seconds a session lives without a sign of life, as told in `Session`.
pub const TIMEOUT_SECONDS: u64 = 60;

/// Longest path and longest `User-Agent`, in bytes.
const TEXT_LIMIT: usize = 256;

const METHODS: &str =
    "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER";

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
    /// A user's password.
    pub password: &'a dyn Fn(&str) -> Option<Secret>,
    /// Nobody needs credentials.
    pub open: bool,
    /// Whether this user has sent too many wrong credentials from the peer's address.
    pub is_blocked: &'a dyn Fn(&str) -> bool,
}

/// The protocol of one connection.
#[derive(Debug)]
pub struct Machine {
    peer: SocketAddr,
    /// Packets may go in datagrams: never beside TLS, which they would bypass.
    allows_udp: bool,
    nonce: Nonce,
    /// The picture last opened.
    open: Option<Opened>,
    session: Option<Session>,
    waiting: Option<Waiting>,
    descriptions: u64,
    wrong_user: Option<String>,
}

#[derive(Debug)]
struct Opened {
    path: String,
    user: String,
    /// The content base of its description.
    base: String,
    codec: Codec,
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
    target: Target,
    user: String,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Describe,
    /// The transport chosen and the session's id.
    SetUp(Transport, String),
    Play,
}

impl Machine {
    /// A connection from `peer`; `allows_udp`: packets may go in datagrams.
    pub fn new(peer: SocketAddr, allows_udp: bool, random: [u8; 16], now: Boot) -> Self {
        Self {
            peer,
            allows_udp,
            nonce: Nonce::new(random, now),
            open: None,
            session: None,
            waiting: None,
            descriptions: 0,
            wrong_user: None,
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
        self.open.as_ref().map(|open| open.path.as_str())
    }

    /// The user whose wrong credentials the request just handled carried.
    pub const fn take_wrong_user(&mut self) -> Option<String> {
        self.wrong_user.take()
    }

    /// Handles a request.
    pub fn handle(&mut self, request: &Request, context: &Context<'_>) -> Step {
        let sequence = request.header("CSeq").and_then(|text| text.parse().ok());
        let reply = |status| Reply::new(status, sequence);
        if !request.is_version_1 {
            return Step::Reply(reply(505));
        }
        if sequence.is_none() {
            return Step::Close(reply(400));
        }
        if let Some(required) = request.header("Require") {
            return Step::Reply(reply(551).with("Unsupported", bounded(required)));
        }
        if let Some(refusal) = self.check_session(request, sequence) {
            return Step::Reply(refusal);
        }
        match request.method {
            Method::Options => Step::Reply(self.with_session(reply(200).with("Public", METHODS))),
            Method::Parameter => Step::Reply(self.with_session(reply(200))),
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
            Method::Other => Step::Reply(reply(501).with("Public", METHODS)),
        }
    }

    /// The outcome of [`Step::Open`].
    pub fn opened(&mut self, outcome: Result<Picture<'_>, OpenError>) -> Step {
        let Some(waiting) = self.waiting.take() else {
            return Step::Close(Reply::new(500, None));
        };
        let picture = match outcome {
            Ok(picture) => picture,
            Err(error) => {
                let sequence = waiting.sequence;
                let reply = match error {
                    OpenError::Unauthorized => {
                        return Step::Reply(self.unauthorized(sequence, false));
                    }
                    OpenError::NotFound => Reply::new(404, sequence),
                    OpenError::Ended(reason) => Reply::new(403, sequence).because(reason),
                    OpenError::Refused(reason) => Reply::refused(reason, sequence),
                };
                return Step::Reply(self.with_session(reply));
            }
        };
        if matches!(waiting.wanted, Wanted::Play) {
            self.waiting = Some(waiting);
            return Step::Play;
        }
        self.open = Some(Opened {
            path: waiting.target.path.clone(),
            user: waiting.user.clone(),
            base: waiting.target.base.clone(),
            codec: picture.configuration.codec,
        });
        if matches!(waiting.wanted, Wanted::SetUp(..)) {
            return self.set_up(waiting);
        }
        self.descriptions += 1;
        let reader = Reader {
            number: self.descriptions,
            is_ipv6: self.peer.ip().to_canonical().is_ipv6(),
        };
        let mut reply = Reply::new(200, waiting.sequence)
            .with("Content-Base", waiting.target.base)
            .with("Content-Type", "application/sdp");
        reply.body = sdp::describe(&waiting.target.path, picture, reader);
        Step::Reply(reply)
    }

    /// The outcome of [`Step::Bind`]: the server's ports of RTP and RTCP.
    pub fn bound(&mut self, ports: Option<(u16, u16)>) -> Step {
        let Some(waiting) = self.waiting.take() else {
            return Step::Close(Reply::new(500, None));
        };
        let (Some((ours, ours_rtcp)), Wanted::SetUp(transport, id)) = (ports, waiting.wanted)
        else {
            let reply = Reply::refused(Reason::Internal, waiting.sequence);
            return Step::Reply(reply);
        };
        let Transport::Udp { rtp, rtcp } = transport else {
            return Step::Close(Reply::new(500, waiting.sequence));
        };
        self.session = Some(Session {
            id,
            transport,
            playing: false,
            url: waiting.target.url,
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

    /// The outcome of [`Step::Play`] where the picture is over before its first packet.
    pub fn not_playing(&mut self, reason: Reason) -> Reply {
        let sequence = self.waiting.take().and_then(|waiting| waiting.sequence);
        self.with_session(Reply::refused(reason, sequence))
    }

    /// The picture is over: the session is too.
    pub fn end(&mut self) {
        self.session = None;
    }

    /// A session that is named must be this connection's.
    fn check_session(&self, request: &Request, sequence: Option<u32>) -> Option<Reply> {
        let named = request.header("Session");
        let named = named.map(|text| text.split(';').next().unwrap_or_default().trim());
        let needed = matches!(
            request.method,
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
        request: &Request,
        sequence: Option<u32>,
        context: &Context<'_>,
    ) -> Step {
        if request.header("Accept").is_some() && !request.headers("Accept").any(accepts_sdp) {
            return Step::Reply(Reply::new(406, sequence));
        }
        let Some(target) = self.target(request) else {
            return Step::Reply(Reply::new(404, sequence));
        };
        match self.authenticate(request, sequence, context) {
            Err(step) => step,
            Ok(user) => self.open_step(
                request,
                Waiting {
                    sequence,
                    target,
                    user,
                    wanted: Wanted::Describe,
                },
            ),
        }
    }

    fn setup(&mut self, request: &Request, sequence: Option<u32>, context: &Context<'_>) -> Step {
        let Some(target) = self.target(request) else {
            return Step::Reply(Reply::new(404, sequence));
        };
        if self.is_playing() {
            return Step::Reply(Reply::new(455, sequence).with("Allow", METHODS));
        }
        // One track: another camera in the same session can't be joined to it, and
        // what lies below this one is no track of it.
        if let (Some(_), Some(path)) = (&self.session, self.path())
            && target.path != path
        {
            let below = target.path.strip_prefix(path);
            let is_below = below.is_some_and(|rest| rest.starts_with('/'));
            return Step::Reply(Reply::new(if is_below { 404 } else { 459 }, sequence));
        }
        let user = match self.authenticate(request, sequence, context) {
            Ok(user) => user,
            Err(step) => return step,
        };
        let mut offers = request.headers("Transport");
        let chosen =
            offers.find_map(|offered| Transport::choose(offered, self.peer, self.allows_udp));
        let Some(transport) = chosen else {
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
            .is_some_and(|open| (&open.path, &open.user) == (&target.path, &user));
        let waiting = Waiting {
            sequence,
            target,
            user,
            wanted: Wanted::SetUp(transport, id),
        };
        if known {
            self.set_up(waiting)
        } else {
            self.open_step(request, waiting)
        }
    }

    fn set_up(&mut self, waiting: Waiting) -> Step {
        let (transport, id) = match &waiting.wanted {
            Wanted::SetUp(transport, id) => (*transport, id.clone()),
            Wanted::Describe | Wanted::Play => {
                return Step::Close(Reply::new(500, waiting.sequence));
            }
        };
        match transport {
            Transport::Udp { .. } => {
                self.waiting = Some(waiting);
                Step::Bind(transport)
            }
            Transport::Interleaved { rtp, rtcp } => {
                self.session = Some(Session {
                    id,
                    transport,
                    playing: false,
                    url: waiting.target.url,
                });
                let transport = format!("RTP/AVP/TCP;unicast;interleaved={rtp}-{rtcp}");
                let reply = Reply::new(200, waiting.sequence).with("Transport", transport);
                Step::Reply(self.with_session(reply))
            }
        }
    }

    /// The picture is opened once more: since DESCRIBE the camera may have gone, or
    /// the grant ended, and how the packets travel is known only now.
    fn play(&mut self, request: &Request, sequence: Option<u32>) -> Step {
        let (Some(session), Some(open)) = (&self.session, &self.open) else {
            return Step::Reply(Reply::new(455, sequence).with("Allow", METHODS));
        };
        // Some players ask for each track, others for the whole.
        let target = self.target(request);
        let is_ours = target.as_ref().is_some_and(|there| there.path == open.path);
        if !is_ours && request.uri != "*" {
            return Step::Reply(Reply::new(404, sequence));
        }
        if session.playing {
            // Played already: a keep-alive to some players.
            return Step::Reply(self.with_session(Reply::new(200, sequence)));
        }
        let waiting = Waiting {
            sequence,
            target: Target {
                url: session.url.clone(),
                base: open.base.clone(),
                path: open.path.clone(),
            },
            user: open.user.clone(),
            wanted: Wanted::Play,
        };
        self.open_step(request, waiting)
    }

    fn open_step(&mut self, request: &Request, waiting: Waiting) -> Step {
        let transport = match waiting.wanted {
            Wanted::Play => self.transport(),
            Wanted::Describe | Wanted::SetUp(..) => None,
        };
        let open = OpenRequest {
            user: waiting.user.clone(),
            path: waiting.target.path.clone(),
            peer: self.peer,
            user_agent: bounded(request.header("User-Agent").unwrap_or_default()),
            transport,
            described: transport.and(self.open.as_ref()).map(|open| open.codec),
        };
        self.waiting = Some(waiting);
        Step::Open(open)
    }

    /// The user, or what to answer. Right credentials are served whatever wrong
    /// ones came before.
    fn authenticate(
        &mut self,
        request: &Request,
        sequence: Option<u32>,
        context: &Context<'_>,
    ) -> Result<String, Step> {
        if context.open {
            return Ok(String::new());
        }
        let covered = Covered {
            method: &request.name,
            uri: &request.uri,
        };
        let given = request.headers("Authorization");
        let verdict = self
            .nonce
            .check(covered, given, context.now, context.password);
        let (stale, refused) = match verdict {
            Verdict::Accepted(user) => return Ok(user),
            Verdict::Missing => (false, None),
            Verdict::Stale => (true, None),
            Verdict::Unreadable => (false, Some("unreadable_credentials")),
            Verdict::Wrong(user) if (context.is_blocked)(&user) => {
                let reply = Reply::refused(Reason::TooManyAttempts, sequence);
                return Err(Step::Close(reply.with("Retry-After", "60")));
            }
            Verdict::Wrong(user) => {
                self.wrong_user = Some(user);
                (false, Some("wrong_credentials"))
            }
        };
        if self.nonce.is_over(context.now) {
            self.nonce = Nonce::new(context.random, context.now);
        }
        let mut reply = self.unauthorized(sequence, stale);
        reply.refused = refused;
        Err(Step::Reply(reply))
    }

    /// 401 with the challenges.
    fn unauthorized(&self, sequence: Option<u32>, stale: bool) -> Reply {
        let mut reply = Reply::new(401, sequence);
        for challenge in self.nonce.challenges(stale) {
            reply = reply.with("WWW-Authenticate", challenge);
        }
        reply
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

    /// What the request's URL names; the track alone is that of the picture last opened.
    fn target(&self, request: &Request) -> Option<Target> {
        match &self.open {
            Some(open) if request.uri == sdp::TRACK => Some(Target {
                url: format!("{}{}", open.base, sdp::TRACK),
                base: open.base.clone(),
                path: open.path.clone(),
            }),
            _ => Target::read(&request.uri),
        }
    }
}

/// What a request's URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    /// The URL without credentials.
    url: String,
    /// The camera's URL: without track and query, and with a `/` at its end.
    base: String,
    /// The camera's path, decoded: no `/` at its ends, none twice.
    path: String,
}

impl Target {
    /// `None` where the URL names nothing, or is too long. Players write the host as
    /// they like, and know it better than we do.
    fn read(uri: &str) -> Option<Self> {
        if uri.len() > 4 * TEXT_LIMIT {
            return None;
        }
        let (start, rest) = match uri.split_once("://") {
            Some((scheme, rest)) => {
                let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
                let (authority, rest) = rest.split_at(end);
                let host = authority
                    .rsplit_once('@')
                    .map_or(authority, |(_, host)| host);
                (format!("{scheme}://{host}"), rest)
            }
            None => (String::new(), uri),
        };
        let url = format!("{start}{rest}");
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let decode = |part: &&str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        if parts
            .last()
            .map(decode)
            .is_some_and(|last| last == sdp::TRACK)
        {
            parts.pop();
        }
        let decoded: Vec<String> = parts.iter().map(decode).collect();
        let path = decoded.join("/");
        let base = format!("{start}/{}/", parts.join("/"));
        let names = !path.is_empty() && path != "*" && path.len() <= TEXT_LIMIT;
        names.then_some(Self { url, base, path })
    }
}

/// Whether a list of media ranges (RFC 2326 12.1, by RFC 2068 14.1) takes a
/// description as we write it.
fn accepts_sdp(accepted: &str) -> bool {
    accepted.split(',').any(|range| {
        let range = range.split(';').next().unwrap_or_default().trim();
        let range = range.to_ascii_lowercase();
        matches!(
            range.as_str(),
            "" | "*" | "*/*" | "application/*" | "application/sdp"
        )
    })
}

fn bounded(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(TEXT_LIMIT)
        .collect()
}

#[cfg(test)]
mod tests;
