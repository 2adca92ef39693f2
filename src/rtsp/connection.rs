//! One connection: carries out what [`session::Machine`](super::session::Machine)
//! decides. One task does it all, so nothing of a viewer outlives its connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, timeout};

use super::message::{self, Incoming, Method, ReadError, Reply, Request};
use super::out_tcp::{Io, Output, drive};
use super::out_udp::Sender;
use super::rtcp::Sent;
use super::sdp::Picture;
use super::server::{Notice, Place, Shared};
use super::session::{Context, Machine, Step};
use super::splice::Splice;
use super::transport::Transport;
use super::{OpenError, OpenRequest};
use crate::media::packets::Packetised;
use crate::media::source::{Event, Sampled, Source, Subscription};
use crate::reason::Reason;

/// How long the last bytes may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the peer may take to close its side after ours.
const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a library may take to open a picture, whatever it promised.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// How long PLAY waits for the first packet, to tell its number in `RTP-Info`.
const FIRST_PACKET_WAIT: Duration = Duration::from_millis(200);

/// Answers that may wait before nothing more is read, in bytes.
const ANSWERS_LIMIT: usize = 64 * 1024;

/// Input held at most: a request, or an interleaved packet.
const INPUT_LIMIT: usize = message::REQUEST_LIMIT + 1_024;

/// How often deadlines are looked at, at most.
const TICK: Duration = Duration::from_secs(1);

/// The most that one picture counts for a silent viewer over UDP.
const UNHEARD_STEP: Duration = Duration::from_secs(2);

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Our address, as the peer sees it.
    pub(super) local: SocketAddr,
    /// Over TLS.
    pub(super) encrypted: bool,
}

pub(super) struct Connection<S> {
    stream: S,
    input: BytesMut,
    output: Output,
    peer: Peer,
    shared: Arc<Shared>,
    place: Place,
    machine: Machine,
    source: Option<Arc<dyn Source>>,
    viewing: Option<Viewing>,
    /// What the session's viewer has had, over all its PLAYs.
    sent: Sent,
    splice: Splice,
    reports: Interval,
    udp: Option<Sender>,
    /// The path of the session the observer knows of.
    session_path: Option<String>,
    /// Last sign of life: a whole message, RTCP, or being taken in.
    heard: Instant,
    /// For how long pictures were sent over UDP since then.
    unheard: Duration,
    /// When the last picture was sent.
    pictured: Option<Instant>,
    /// Since when a message is in parts, or the first one has not begun.
    partial_since: Option<Instant>,
    /// Nothing more is done but to write what waits, until then.
    closing: Option<Instant>,
    /// Since when no picture is open; keep-alives alone hold no place.
    idle_since: Option<Instant>,
}

/// A picture on its way to the viewer.
struct Viewing {
    subscription: Box<dyn Subscription>,
    /// The viewer has had a sender report.
    is_reported: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(
        stream: S,
        peer: Peer,
        shared: Arc<Shared>,
        place: Place,
    ) -> io::Result<Self> {
        let now = Instant::now();
        let boot = shared.clock.now().boot;
        let allows_udp = shared.udp.load(Ordering::Relaxed) && !peer.encrypted;
        let mut reports = interval(shared.limits.report_interval);
        reports.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            stream,
            input: BytesMut::new(),
            output: Output::new(now),
            machine: Machine::new(peer.address, allows_udp, random()?, boot),
            peer,
            shared,
            place,
            source: None,
            viewing: None,
            sent: Sent::default(),
            splice: Splice::default(),
            reports,
            udp: None,
            session_path: None,
            heard: now,
            unheard: Duration::ZERO,
            pictured: None,
            partial_since: Some(now),
            closing: None,
            idle_since: Some(now),
        })
    }

    /// Serves the connection to its end.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let served = self.serve().await;
        self.forget_session(Notice::Gone);
        // The peer may be gone, and then there is nobody to say good-bye to.
        let farewell = async {
            if self.stream.shutdown().await.is_ok() {
                drain(&mut self.stream).await;
            }
        };
        let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
        served
    }

    async fn serve(&mut self) -> io::Result<()> {
        let token = self.shared.token.clone();
        let limits = &self.shared.limits;
        let shortest = limits
            .request_timeout
            .min(limits.session_timeout)
            .min(limits.guest_timeout)
            .min(limits.stall_timeout);
        let mut tick = interval((shortest / 4).clamp(Duration::from_millis(10), TICK));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.closing.is_none() {
                self.take_messages().await?;
            }
            if self.closing.is_some() && self.output.is_empty() {
                return Ok(());
            }
            let closing = self.closing.is_some();
            let limit = if closing || self.output.bytes() >= ANSWERS_LIMIT {
                0
            } else {
                INPUT_LIMIT
            };
            let udp_idle = self.udp.as_ref().is_none_or(Sender::is_empty);
            let ready = self.output.is_empty() && udp_idle && !closing;
            tokio::select! {
                biased;
                () = token.cancelled(), if !closing => self.end(Reason::ShuttingDown),
                done = drive(&mut self.stream, &mut self.input, limit, &mut self.output) => {
                    if done? == Io::Read(0) {
                        return Ok(());
                    }
                }
                event = next(&mut self.viewing), if ready => self.take_event(event),
                heard = exchange(&mut self.udp) => {
                    if heard {
                        self.hear();
                    }
                }
                _ = self.reports.tick(), if self.viewing.is_some() && !closing => self.report(),
                _ = tick.tick() => self.look_at_deadlines()?,
            }
        }
    }

    /// Handles the messages that are there in whole.
    async fn take_messages(&mut self) -> io::Result<()> {
        while self.output.bytes() < ANSWERS_LIMIT && self.closing.is_none() {
            let taken = match message::take(&mut self.input) {
                Ok(taken) => taken,
                Err(error) => {
                    self.refuse(error);
                    return Ok(());
                }
            };
            let Some(incoming) = taken else {
                if !self.input.is_empty() {
                    self.partial_since.get_or_insert_with(Instant::now);
                }
                return Ok(());
            };
            self.hear();
            self.partial_since = None;
            if let Incoming::Request(request) = incoming {
                self.take_request(&request).await?;
            }
        }
        Ok(())
    }

    /// A sign of life.
    fn hear(&mut self) {
        self.heard = Instant::now();
        self.unheard = Duration::ZERO;
    }

    fn refuse(&mut self, error: ReadError) {
        tracing::debug!(peer = %self.peer.address, %error, "RTSP input refused");
        self.shared.refused(error.label());
        if let Some(answer) = error.answer() {
            self.output.push(answer, Instant::now());
        }
        self.close();
    }

    async fn take_request(&mut self, request: &Request) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let now = shared.clock.now().boot;
        let address = self.peer.address.ip().to_canonical();
        let step = self.machine.handle(
            request,
            &Context {
                now,
                random: random()?,
                password: &|user| shared.library.password(user, address),
                open: shared.library.is_open(),
                is_blocked: &|user| shared.attempts().is_blocked(address, user, now),
            },
        );
        if let Some(user) = self.machine.take_wrong_user()
            && shared.attempts().failed(address, &user, now)
        {
            tracing::info!(peer = %address, "wrong credentials for RTSP");
        }
        if let (Some(path), Method::Options | Method::Parameter) =
            (&self.session_path, request.method)
        {
            shared.notice(path, Notice::KeepAlive);
        }
        self.carry_out(step).await?;
        self.note_session();
        Ok(())
    }

    /// Tells the observer of a session that was set up.
    fn note_session(&mut self) {
        if !self.machine.transport().is_some_and(Transport::is_udp) {
            // Set up again over TCP, as players do to which no datagram came.
            self.udp = None;
        }
        if self.machine.has_session() && self.session_path.is_none() {
            self.session_path = self.machine.path().map(str::to_owned);
            if let Some(path) = &self.session_path {
                self.shared.notice(path, Notice::SetUp);
            }
        }
    }

    async fn carry_out(&mut self, first: Step) -> io::Result<()> {
        let mut step = first;
        loop {
            step = match step {
                Step::Reply(reply) => {
                    self.send(&reply);
                    return Ok(());
                }
                Step::Close(reply) => {
                    self.send(&reply);
                    self.close();
                    return Ok(());
                }
                Step::Stop(reply) => {
                    self.stop();
                    self.send(&reply);
                    return Ok(());
                }
                Step::Teardown(reply) => {
                    self.stop();
                    self.udp = None;
                    self.source = None;
                    self.idle_since = Some(Instant::now());
                    self.sent = Sent::default();
                    self.splice = Splice::default();
                    self.send(&reply);
                    self.forget_session(Notice::TearDown);
                    return Ok(());
                }
                Step::Play => return self.play().await,
                Step::Bind(transport) => {
                    let ports = self.bind(transport).await;
                    self.machine.bound(ports)
                }
                Step::Open(request) => {
                    let outcome = self.open(request).await?;
                    self.opened(outcome)
                }
            };
        }
    }

    fn opened(&mut self, outcome: Result<Arc<dyn Source>, OpenError>) -> Step {
        match outcome {
            Ok(source) => {
                self.place.keep();
                self.idle_since = None;
                let configuration = source.configuration();
                let frame_rate = source.frame_rate();
                self.source = Some(source);
                self.machine.opened(Ok(Picture {
                    configuration: &configuration,
                    frame_rate,
                }))
            }
            Err(error) => self.machine.opened(Err(error)),
        }
    }

    /// Waits for the library while still reading, so that a player that goes away
    /// is noticed.
    async fn open(
        &mut self,
        request: OpenRequest,
    ) -> io::Result<Result<Arc<dyn Source>, OpenError>> {
        let library = Arc::clone(&self.shared.library);
        let token = self.shared.token.clone();
        let mut opening = library.open(request);
        let deadline = tokio::time::sleep(OPEN_TIMEOUT);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                () = token.cancelled() => return Ok(Err(OpenError::Refused(Reason::ShuttingDown))),
                outcome = &mut opening => return Ok(outcome),
                () = &mut deadline => return Ok(Err(OpenError::Refused(Reason::Internal))),
                done = drive(&mut self.stream, &mut self.input, INPUT_LIMIT, &mut self.output) => {
                    if done? == Io::Read(0) {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    async fn bind(&mut self, transport: Transport) -> Option<(u16, u16)> {
        let Transport::Udp { rtp, rtcp } = transport else {
            return None;
        };
        let bound = Sender::bind(self.peer.local, self.peer.address, (rtp, rtcp)).await;
        let sender = bound
            .inspect_err(|error| tracing::warn!(%error, "can't bind UDP ports for a viewer"))
            .ok()?;
        let ports = sender.ports().ok()?;
        self.udp = Some(sender);
        Some(ports)
    }

    async fn play(&mut self) -> io::Result<()> {
        let Some(source) = &self.source else {
            self.send(&Reply::new(500, None));
            self.close();
            return Ok(());
        };
        let mut subscription = source.subscribe();
        let newest = subscription.sampled().map(|sampled| sampled.timestamp);
        self.splice.begin(newest);
        let first = timeout(FIRST_PACKET_WAIT, subscription.next()).await.ok();
        if let Some(Event::End(reason)) = &first {
            let reply = self.machine.not_playing(*reason);
            self.send(&reply);
            self.end(*reason);
            return Ok(());
        }
        let known = match &first {
            Some(Event::Unit { packets, kept, .. }) => {
                // A copy: the packets are placed when they are sent.
                let mut splice = self.splice;
                let placed = splice.place(packets, *kept);
                let packets = placed.as_ref().unwrap_or(packets);
                Some((packets.first_sequence, packets.timestamp))
            }
            _ => None,
        };
        let reply = self.machine.playing(known);
        self.send(&reply);
        self.viewing = Some(Viewing {
            subscription,
            is_reported: false,
        });
        self.pictured = None;
        self.note_session();
        if let Some(path) = &self.session_path {
            self.shared.notice(path, Notice::Playing);
        }
        // Before the first packet: a player that ties RTP time to its clock only
        // later (VLC) throws away what it has decoded by then.
        self.report();
        if let Some(event) = first {
            self.take_event(event);
        }
        Ok(())
    }

    fn take_event(&mut self, event: Event) {
        match event {
            Event::Unit { packets, kept, .. } => {
                if self
                    .viewing
                    .as_ref()
                    .is_some_and(|there| !there.is_reported)
                {
                    self.report();
                }
                match self.splice.place(&packets, kept) {
                    Some(placed) => self.send_picture(&placed),
                    None => self.send_picture(&packets),
                }
            }
            // The gap in the sequence numbers tells it.
            Event::Skipped => {}
            Event::End(reason) => self.end(reason),
        }
    }

    fn send_picture(&mut self, packets: &Packetised) {
        if self.viewing.is_none() {
            return;
        }
        let now = Instant::now();
        self.sent.note(packets);
        let size = packets.interleaved.len() as u64;
        self.shared.sent_bytes.fetch_add(size, Ordering::Relaxed);
        match (self.machine.transport(), &mut self.udp) {
            (Some(Transport::Udp { .. }), Some(udp)) => {
                let since = self.pictured.map_or(Duration::ZERO, |at| now - at);
                self.unheard += since.min(UNHEARD_STEP);
                udp.push(packets);
            }
            (Some(Transport::Interleaved { rtp, .. }), _) => {
                self.output.push(packets.for_channel(rtp), now);
            }
            _ => {}
        }
        self.pictured = Some(now);
    }

    /// The camera's clock as this viewer's packets have it.
    fn sampled(&self) -> Option<Sampled> {
        let sampled = self.viewing.as_ref()?.subscription.sampled()?;
        Some(self.splice.clock(sampled))
    }

    /// Sends a sender report, where the camera's clock is known.
    fn report(&mut self) {
        let wall = self.shared.clock.now().wall;
        let report = self
            .sampled()
            .and_then(|sampled| self.sent.report(sampled, wall));
        let Some(report) = report else {
            return;
        };
        self.send_rtcp(&report);
        self.reports.reset();
        if let Some(viewing) = &mut self.viewing {
            viewing.is_reported = true;
        }
    }

    /// The picture is over: BYE, and the connection closes.
    fn end(&mut self, reason: Reason) {
        let wall = self.shared.clock.now().wall;
        let bye = self
            .sampled()
            .and_then(|sampled| self.sent.bye(reason, sampled, wall));
        if let Some(bye) = bye {
            self.send_rtcp(&bye);
        }
        if let Some(path) = self.machine.path()
            && self.viewing.is_some()
        {
            tracing::info!(peer = %self.peer.address, path, %reason, "RTSP picture ended");
        }
        self.stop();
        self.machine.end();
        self.close();
    }

    fn send_rtcp(&mut self, report: &[u8]) {
        match (self.machine.transport(), &self.udp) {
            (Some(Transport::Udp { .. }), Some(udp)) => udp.report(report),
            (Some(Transport::Interleaved { rtcp, .. }), _) => {
                let mut framed = BytesMut::with_capacity(4 + report.len());
                framed.put_u8(b'$');
                framed.put_u8(rtcp);
                framed.put_u16(report.len() as u16);
                framed.put_slice(report);
                self.output.push(framed.freeze(), Instant::now());
            }
            _ => {}
        }
    }

    fn send(&mut self, reply: &Reply) {
        if let Some(why) = reply.refused {
            self.shared.refused(why);
        }
        let bytes: Bytes = reply.to_bytes();
        self.output.push(bytes, Instant::now());
    }

    /// Ends the viewing: its subscription is dropped.
    fn stop(&mut self) {
        self.viewing = None;
        if let Some(udp) = &mut self.udp {
            udp.clear();
        }
    }

    fn close(&mut self) {
        self.viewing = None;
        self.closing
            .get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
    }

    fn forget_session(&mut self, notice: Notice) {
        if let Some(path) = self.session_path.take() {
            self.shared.notice(&path, notice);
        }
    }

    fn look_at_deadlines(&self) -> io::Result<()> {
        let now = Instant::now();
        let late = |what: &str| Err(io::Error::new(io::ErrorKind::TimedOut, what));
        if self.closing.is_some_and(|until| now >= until) {
            return late("the peer did not take the last bytes");
        }
        if self.output.stalled_for(now) >= self.shared.limits.stall_timeout {
            return late("the viewer has stopped taking pictures");
        }
        let idle = self
            .idle_since
            .map(|since| now.saturating_duration_since(since));
        if idle.is_some_and(|idle| idle >= self.shared.limits.guest_timeout) {
            return late("no picture was opened");
        }
        // Over TCP, taking the pictures is sign of life enough: not all players
        // send keep-alives.
        let silence = match (&self.viewing, &self.udp) {
            (None, _) => now.saturating_duration_since(self.heard),
            (Some(_), Some(_)) => self.unheard,
            (Some(_), None) => Duration::ZERO,
        };
        if silence >= self.shared.limits.session_timeout {
            return late("no sign of life");
        }
        let partial = self
            .partial_since
            .map(|since| now.saturating_duration_since(since));
        if partial.is_some_and(|since| since >= self.shared.limits.request_timeout) {
            return late("a request took too long to come in");
        }
        Ok(())
    }
}

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| io::Error::other(format!("the system gives no random bytes: {error}")))?;
    Ok(bytes)
}

async fn next(viewing: &mut Option<Viewing>) -> Event {
    match viewing {
        Some(viewing) => viewing.subscription.next().await,
        None => std::future::pending().await,
    }
}

/// Sends the datagrams that wait or, where none does, waits for a sign of life;
/// whether it was one.
async fn exchange(udp: &mut Option<Sender>) -> bool {
    match udp {
        Some(udp) if udp.is_empty() => {
            udp.heard().await;
            true
        }
        Some(udp) => {
            udp.flush().await;
            false
        }
        None => std::future::pending().await,
    }
}

/// Reads on for a moment after our side is shut: closing a socket with unread
/// bytes resets the connection, and the peer might lose our last ones.
async fn drain<S: AsyncRead + Unpin>(stream: &mut S) {
    let mut space = [0; 1_024];
    for _ in 0..64 {
        if !matches!(stream.read(&mut space).await, Ok(1..)) {
            return;
        }
    }
}
