//! One session with a camera and the loopback session with retina beside it:
//! carries out what [`Dialogue`] decides, and moves pictures from one to the other.
//!
//! Nothing is queued: what comes is written on before more is read, so that a slow
//! reader slows the camera's TCP. Over UDP the kernel drops what is not taken.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::dialogue::{Ask, Dialogue, Lane, Next, Password};
use super::fix::Fix;
use super::loopback::{Ready, Retina, listen, write};
use super::media::Media;
use super::message::{Malformed, Message, Piece, Reader, SILENCE};
use super::pictures::Assembler;
use super::plain::{Notes, Plain};
use super::trace::Way;
use super::udp::Pair;
use super::{Opening, Shared};
use crate::config::settings::Transport;
use crate::connect;
use crate::gateway::cause;
use crate::gateway::host::Turn;
use crate::media::unit::{Codec, UNIT_LIMIT};
use crate::policy::camera::{Failure, Retry, Step};
use crate::reason::Reason;

/// How much is read at a time: some packets, and a large part of a key frame.
const READ_BYTES: usize = 64 * 1024;

/// Reads after PLAY that are acknowledged at once: the first key frame and some.
/// A camera with Nagle's algorithm on holds a picture's last packet back until what
/// went before is acknowledged, which the kernel puts off by 40 ms.
const EAGER_READS: u32 = 64;

/// How long retina may take to connect and to ask.
const RETINA_TIMEOUT: Duration = Duration::from_secs(5);

/// Between two receiver reports (RFC 3550 6.2): there are cameras that stop without.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Pictures that come for so long without an answer to PLAY are the answer.
const PLAY_PATIENCE: Duration = Duration::from_secs(1);

/// The connection to the camera.
struct Connection {
    input: OwnedReadHalf,
    out: OwnedWriteHalf,
    reader: Reader,
    local: SocketAddr,
    peer: SocketAddr,
}

/// One conversation. Ends with the session towards retina, the camera's connection or
/// its cancellation, whichever comes first, and then with TEARDOWN.
pub(super) struct Conversation {
    opening: Opening,
    dialogue: Dialogue,
    shared: Shared,
    turn: Option<Turn>,
    connection: Option<Connection>,
    udp: Option<Pair>,
    media: Option<Media>,
    /// Reads still to be acknowledged at once.
    eager_reads: u32,
    /// A keep-alive is not answered yet.
    awaits_keepalive: bool,
}

impl Conversation {
    pub(super) fn new(mut opening: Opening, shared: Shared) -> Self {
        let turn = opening.turn.take();
        let target = &opening.target;
        let dialogue = Dialogue::new(
            &target.url,
            target.transport,
            target.credential.clone(),
            (
                turn.as_ref().is_some_and(Turn::is_proven),
                turn.as_ref().and_then(Turn::way),
            ),
            opening.limits.busy,
            opening.learned.clone(),
        );
        Self {
            opening,
            dialogue,
            shared,
            turn,
            connection: None,
            udp: None,
            media: None,
            eager_reads: 0,
            awaits_keepalive: false,
        }
    }

    pub(super) async fn run(
        mut self,
        ready: oneshot::Sender<Result<Ready, Failure>>,
        cancel: CancellationToken,
    ) {
        let started = tokio::select! {
            biased;
            () = cancel.cancelled() => None,
            started = self.start() => Some(started),
        };
        match started {
            Some(Ok((listener, made))) => {
                let (url, codec) = (made.url.clone(), made.codec);
                if ready.send(Ok(made)).is_ok() {
                    let ended = self.play(listener, &url, codec, &cancel).await;
                    if let Err(failure) = ended {
                        self.note(&format!("ended: {}", failure.refusal));
                        self.shared.decide(failure);
                    }
                }
            }
            Some(Err(failure)) => {
                self.note(&format!("failed: {}", failure.refusal));
                // Nobody waits for it where the start was given up.
                let _ = ready.send(Err(failure));
            }
            None => {}
        }
        self.teardown().await;
    }

    /// Connects and asks for the description, OPTIONS first, and for nothing more.
    pub(super) async fn look(mut self) -> Result<(), Failure> {
        (self.dialogue.greets, self.dialogue.greeted) = (true, true);
        self.describe().await
    }

    async fn describe(&mut self) -> Result<(), Failure> {
        let limit = self.opening.limits.describe;
        let described = async {
            self.connect().await?;
            self.opening.progress.reach(Step::Describing);
            self.exchange(Ask::Describe).await
        };
        match tokio::time::timeout(limit, described).await {
            Ok(described) => described,
            Err(_) => Err(self.too_slow(limit)),
        }
    }

    /// Connects, asks for the description and sets the track up.
    async fn start(&mut self) -> Result<(TcpListener, Ready), Failure> {
        let limits = self.opening.limits;
        self.describe().await?;
        self.opening.progress.reach(Step::SettingUp);
        match tokio::time::timeout(limits.setup, self.exchange(Ask::Setup)).await {
            Ok(set_up) => set_up?,
            Err(_) => return Err(self.too_slow(limits.setup)),
        }
        let (Some(track), Some(lane)) = (self.dialogue.track().cloned(), self.dialogue.lane())
        else {
            return Err(cause::again(Reason::Internal, "no track was set up"));
        };
        match (lane, &mut self.connection, &mut self.udp) {
            (Lane::Interleaved { rtp, rtcp }, Some(connection), _) => {
                for channel in [0, 1, rtp, rtcp] {
                    connection.reader.expect_channel(channel);
                }
            }
            (Lane::Udp { ports, source }, _, Some(udp)) => {
                udp.set_peer(ports, source);
                udp.open_way(ports);
            }
            _ => {}
        }
        let codec = track.codec;
        let notes = Notes::default();
        let unordered = matches!(lane, Lane::Udp { .. });
        let ssrc = getrandom::u32().unwrap_or(1);
        let learned = &self.opening.learned;
        let (habits, fixes) = (learned.habits(), learned.fixes().clone());
        self.media = Some(Media {
            lane,
            assembler: Assembler::new(track, unordered, ssrc, habits, fixes, Instant::now()),
            plain: Plain::new(codec, notes.clone()),
            has_channel: false,
        });
        let (listener, url) = listen().await.map_err(|error| {
            tracing::error!(%error, "no loopback port for a camera");
            cause::again(Reason::Internal, "no loopback port")
        })?;
        Ok((listener, Ready { url, codec, notes }))
    }

    /// A connection to the first address that answers.
    async fn connect(&mut self) -> Result<(), Failure> {
        let target = &self.opening.target;
        let port = target.url.port().unwrap_or(554);
        // Host names come without the brackets of IPv6 addresses.
        let host = target.host().trim_matches(['[', ']']);
        let failed = |error: std::io::Error| cause::from_io(&error, Step::Connecting);
        let (stream, others_dead) = connect::connect(host, port).await.map_err(failed)?;
        // Requests are small and each waits for its answer.
        stream.set_nodelay(true).map_err(failed)?;
        let fixes = self.opening.learned.fixes();
        if others_dead {
            fixes.note(Fix::DeadAddress);
        }
        let (local, peer) = (
            stream.local_addr().map_err(failed)?,
            stream.peer_addr().map_err(failed)?,
        );
        let (input, out) = stream.into_split();
        self.connection = Some(Connection {
            input,
            out,
            reader: Reader::new(fixes.clone()),
            local,
            peer,
        });
        self.dialogue.handle_connected(peer);
        self.note("connected");
        Ok(())
    }

    /// Asks until the camera has accepted or will not.
    async fn exchange(&mut self, ask: Ask) -> Result<(), Failure> {
        loop {
            let next = match self.send(ask).await {
                Ok(()) => match self.answer(ask).await? {
                    Some(answer) => self.judge(ask, &answer),
                    None => self.dialogue.handle_hang_up(ask),
                },
                Err(error) => {
                    tracing::debug!(%error, "the camera takes no request");
                    self.dialogue.handle_hang_up(ask)
                }
            };
            match next {
                Next::Accepted => return Ok(()),
                Next::Again => {}
                Next::Reconnect => self.connect().await?,
                Next::Failed(failure) => return Err(failure),
            }
        }
    }

    fn judge(&mut self, ask: Ask, answer: &Message) -> Next {
        self.trace(Way::FromCamera, answer);
        let next = self.dialogue.judge(ask, answer);
        match (self.dialogue.take_password(), self.turn.take()) {
            (Some(Password::Accepted(way)), Some(turn)) => turn.accepted(way),
            (Some(Password::Refused(failure)), Some(turn)) => turn.refused(&failure.refusal),
            (_, turn) => self.turn = turn,
        }
        next
    }

    async fn send(&mut self, ask: Ask) -> std::io::Result<()> {
        if ask == Ask::Setup && self.dialogue.transport() == Transport::Udp && self.udp.is_none() {
            let Some(connection) = &self.connection else {
                return Err(std::io::ErrorKind::NotConnected.into());
            };
            let pair = Pair::bind(connection.local.ip(), connection.peer.ip())?;
            self.dialogue.set_client_ports(pair.ports()?);
            self.udp = Some(pair);
        }
        let mut cnonce = [0; 8];
        getrandom::fill(&mut cnonce).map_err(std::io::Error::other)?;
        let request = self.dialogue.request(ask, cnonce);
        self.trace(Way::ToCamera, &request);
        let Some(connection) = &mut self.connection else {
            return Err(std::io::ErrorKind::NotConnected.into());
        };
        if ask == Ask::Describe {
            connection.reader.expect_description();
        }
        write(&mut connection.out, &request.encode()).await?;
        if ask == Ask::Play {
            self.eager_reads = EAGER_READS;
            self.acknowledge_at_once();
        }
        Ok(())
    }

    /// The camera's answer; media that come before it are kept. `None`: it hung up.
    async fn answer(&mut self, ask: Ask) -> Result<Option<Message>, Failure> {
        let mut played: Option<Instant> = None;
        loop {
            let (message, unfinished) = self.hear(true).await?;
            if message.is_some() {
                return Ok(message);
            }
            if let (Ask::Play, Some(media)) = (ask, &mut self.media)
                && !media.plain.written().is_empty()
            {
                let since = *played.get_or_insert_with(Instant::now);
                if since.elapsed() >= PLAY_PATIENCE {
                    self.opening.learned.fixes().note(Fix::AnswerNumber);
                    return Ok(Some(Message::response(200, "OK")));
                }
                if media.plain.written().len() > 2 * UNIT_LIMIT {
                    return Err(cause::again(
                        Reason::CameraRefused,
                        "it sends pictures without end and does not answer PLAY",
                    ));
                }
            }
            let Some(connection) = &mut self.connection else {
                return Ok(None);
            };
            let wait = if unfinished { SILENCE } else { PLAY_PATIENCE };
            let read = connection
                .input
                .read_buf(connection.reader.space(READ_BYTES));
            match tokio::time::timeout(wait, read).await {
                Ok(Ok(0) | Err(_)) => return Ok(connection.reader.settle()),
                Ok(Ok(_)) => {}
                Err(_) if unfinished => {
                    if let Some(message) = connection.reader.settle() {
                        return Ok(Some(message));
                    }
                }
                Err(_) => {}
            }
        }
    }

    /// Takes what was read: packets to the media, requests of the camera's answered.
    /// The first answer, and whether a message has begun. `alone`: any answer is the
    /// one that is waited for.
    async fn hear(&mut self, alone: bool) -> Result<(Option<Message>, bool), Failure> {
        let heard = self.hear_pieces(alone).await;
        // All that was read is used up.
        if let Some(media) = &mut self.media {
            media.put_ready(Instant::now());
        }
        heard
    }

    async fn hear_pieces(&mut self, alone: bool) -> Result<(Option<Message>, bool), Failure> {
        loop {
            let Some(connection) = &mut self.connection else {
                return Ok((None, false));
            };
            let message = match connection.reader.next() {
                Ok(Piece::Packet { channel, payload }) => {
                    if let Some(media) = &mut self.media {
                        let is_rtcp = media.is_rtcp(channel, payload);
                        media.take(payload, is_rtcp, &self.opening.clock);
                    }
                    continue;
                }
                Ok(Piece::Skipped { is_tail, .. }) => {
                    if is_tail && let Some(media) = &mut self.media {
                        media.assembler.doubt_newest();
                    }
                    continue;
                }
                Ok(Piece::Partial) => return Ok((None, false)),
                Ok(Piece::Unfinished) => return Ok((None, true)),
                Ok(Piece::Message(message)) => message,
                Err(malformed) => return Err(not_understood(&malformed)),
            };
            if message.status().is_none() {
                self.opening.learned.fixes().note(Fix::OwnRequests);
                self.trace(Way::FromCamera, &message);
                let answer = answer_camera(&message);
                if let Some(connection) = &mut self.connection {
                    let written = write(&mut connection.out, &answer.encode()).await;
                    written.map_err(|error| cause::from_io(&error, Step::NoPicture))?;
                }
            } else if self.dialogue.is_answer(&message, alone) {
                return Ok((Some(message), false));
            }
        }
    }

    /// Serves retina; plays the camera as retina plays us.
    async fn play(
        &mut self,
        listener: TcpListener,
        url: &Url,
        codec: Codec,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let accept = tokio::time::timeout(RETINA_TIMEOUT, listener.accept());
        let retina = tokio::select! {
            biased;
            () = cancel.cancelled() => return Ok(()),
            accepted = accept => accepted,
        };
        let Ok(Ok((retina, from))) = retina else {
            return Err(cause::again(
                Reason::Internal,
                "its session was not asked for",
            ));
        };
        drop(listener);
        if !from.ip().is_loopback() {
            return Err(cause::again(Reason::Internal, "a stranger connected"));
        }
        let mut retina = Retina::new(retina, url, codec)?;
        loop {
            let asked = tokio::select! {
                biased;
                () = cancel.cancelled() => return Ok(()),
                asked = tokio::time::timeout(RETINA_TIMEOUT, retina.asked()) => asked,
            };
            let Ok(Some(asked)) = asked else {
                return Ok(()); // It gave the start up.
            };
            let plays = asked.plays;
            if plays {
                self.opening.progress.reach(Step::Playing);
                let limit = self.opening.limits.setup;
                let exchange = tokio::select! {
                    biased;
                    () = cancel.cancelled() => return Ok(()),
                    played = tokio::time::timeout(limit, self.exchange(Ask::Play)) => played,
                };
                match exchange {
                    Ok(played) => played?,
                    Err(_) => return Err(self.too_slow(limit)),
                }
            }
            retina.write(&asked.answer).await?;
            if asked.ends {
                return Ok(());
            }
            if plays {
                return self.pump(&mut retina, cancel).await;
            }
        }
    }

    /// Moves pictures until one of the ends is gone.
    async fn pump(
        &mut self,
        retina: &mut Retina,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let mut due = Due::new(Instant::now(), self.dialogue.keepalive_interval());
        let sleep = tokio::time::sleep_until(due.next.into());
        let cancelled = cancel.cancelled();
        tokio::pin!(sleep, cancelled);
        // Pictures may have come in one piece with the answer to PLAY.
        self.hear_playing().await?;
        loop {
            self.write_pictures(retina).await?;
            self.set_alarm(&due, sleep.as_mut());
            let (Some(connection), media) = (&mut self.connection, &self.media) else {
                return Ok(());
            };
            let over_udp = media
                .as_ref()
                .is_some_and(|media| matches!(media.lane, Lane::Udp { .. }));
            let mut all = true;
            tokio::select! {
                biased;
                () = &mut cancelled => return Ok(()),
                count = connection.input.read_buf(connection.reader.space(READ_BYTES)) => {
                    if !matches!(count, Ok(1..)) {
                        return Err(cause::ended());
                    }
                    if self.eager_reads > 0 {
                        self.eager_reads -= 1;
                        self.acknowledge_at_once();
                    }
                    self.hear_playing().await?;
                }
                ready = readable(self.udp.as_ref()), if over_udp => {
                    ready.map_err(|error| cause::from_io(&error, Step::NoPicture))?;
                    if let (Some(udp), Some(media)) = (&mut self.udp, &mut self.media) {
                        let clock = &self.opening.clock;
                        // What a packet waits for may be among the rest.
                        all = udp.take(|packet, is_rtcp| media.take(packet, is_rtcp, clock));
                    }
                }
                asked = retina.asked() => match asked {
                    Some(asked) => {
                        retina.write(&asked.answer).await?;
                        if asked.ends {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                () = sleep.as_mut() => {}
            }
            self.keep_up(&mut due, all).await?;
        }
    }

    /// Messages between the pictures: answers to keep-alives.
    async fn hear_playing(&mut self) -> Result<(), Failure> {
        while let (Some(answer), _) = self.hear(false).await? {
            if !std::mem::take(&mut self.awaits_keepalive) {
                continue;
            }
            match self.judge(Ask::KeepAlive, &answer) {
                // A new nonce: the next is signed with it.
                Next::Again => {
                    self.dialogue.repeat_keepalive();
                    self.keep_alive().await?;
                }
                Next::Accepted | Next::Reconnect => {}
                // It plays on, or the watch over pictures will tell.
                Next::Failed(failure) => {
                    tracing::debug!(refusal = %failure.refusal, "a keep-alive was refused");
                }
            }
        }
        Ok(())
    }

    async fn write_pictures(&mut self, retina: &mut Retina) -> Result<(), Failure> {
        let Some(media) = &mut self.media else {
            return Ok(());
        };
        let written = media.plain.written();
        if !written.is_empty() {
            let done = retina.write(written).await;
            written.clear();
            // A key frame's room is not kept for every camera.
            written.shrink_to(READ_BYTES);
            done?;
        }
        if media.assembler.is_unreadable() {
            self.opening.progress.note_unreadable();
        }
        match media.assembler.complaint() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    fn set_alarm(&self, due: &Due, mut sleep: Pin<&mut Sleep>) {
        let media = self.media.as_ref();
        let picture = media.and_then(|media| media.assembler.deadline());
        let next = picture.map_or(due.next, |picture| picture.min(due.next));
        let next = tokio::time::Instant::from_std(next);
        if sleep.deadline() != next {
            sleep.as_mut().reset(next);
        }
    }

    /// What is due: pictures that nothing follows, if `all` that came was taken; a report, a
    /// keep-alive.
    async fn keep_up(&mut self, due: &mut Due, all: bool) -> Result<(), Failure> {
        let now = Instant::now();
        let Some(media) = &mut self.media else {
            return Ok(());
        };
        if all {
            media.put_ready(now);
        }
        if now < due.next {
            return Ok(());
        }
        if now >= due.report {
            let report = media.assembler.report(now);
            if let Some(offset) = media.assembler.clock_offset() {
                self.shared.set_clock_offset(offset);
            }
            due.report = now + REPORT_INTERVAL;
            match (media.lane, &mut self.connection, &self.udp) {
                (Lane::Interleaved { rtcp, .. }, Some(connection), _) => {
                    let mut framed = vec![b'$', rtcp];
                    framed
                        .extend_from_slice(&u16::try_from(report.len()).unwrap_or(0).to_be_bytes());
                    framed.extend_from_slice(&report);
                    let written = write(&mut connection.out, &framed).await;
                    written.map_err(|_| cause::ended())?;
                }
                (Lane::Udp { .. }, _, Some(udp)) => udp.report(&report),
                _ => {}
            }
        }
        if now >= due.keepalive {
            self.keep_alive().await?;
            due.keepalive = now + self.dialogue.keepalive_interval();
        }
        due.next = due.report.min(due.keepalive);
        Ok(())
    }

    /// One that was not answered is given up: some cameras never do.
    async fn keep_alive(&mut self) -> Result<(), Failure> {
        self.awaits_keepalive = true;
        self.send(Ask::KeepAlive).await.map_err(|_| cause::ended())
    }

    /// Gives the session back, and waits a little for the camera to confirm it.
    async fn teardown(&mut self) {
        if !self.dialogue.has_session() || self.connection.is_none() {
            return;
        }
        if let Some(media) = self.media.take() {
            self.opening.learned.set_habits(media.assembler.habits());
        }
        let limit = self.opening.limits.teardown;
        let teardown = self.exchange(Ask::Teardown);
        match tokio::time::timeout(limit, teardown).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => tracing::debug!(refusal = %failure.refusal, "TEARDOWN failed"),
            Err(_) => tracing::warn!(
                "the camera does not confirm TEARDOWN; it may count the session until its timeout"
            ),
        }
    }

    /// Holds until something is sent, so it is said after each read.
    fn acknowledge_at_once(&self) {
        let Some(connection) = &self.connection else {
            return;
        };
        let socket: &TcpStream = connection.input.as_ref();
        if let Err(error) = rustix::net::sockopt::set_tcp_quickack(socket, true) {
            tracing::debug!(%error, "acknowledgements to the camera are put off");
        }
    }

    fn too_slow(&self, timeout: Duration) -> Failure {
        Failure {
            refusal: self.opening.progress.step().too_slow(timeout),
            retry: Retry::Backoff,
        }
    }

    fn trace(&self, way: Way, message: &Message) {
        if let Some(trace) = &self.opening.trace {
            trace.message(way, message);
        }
    }

    fn note(&self, what: &str) {
        if let Some(trace) = &self.opening.trace {
            trace.note(what);
        }
    }
}

/// When something is to be sent to the camera.
#[derive(Debug)]
struct Due {
    report: Instant,
    keepalive: Instant,
    /// The earlier of both.
    next: Instant,
}

impl Due {
    fn new(now: Instant, keepalive: Duration) -> Self {
        let (report, keepalive) = (now + REPORT_INTERVAL, now + keepalive);
        Self {
            report,
            keepalive,
            next: report.min(keepalive),
        }
    }
}

/// Never, where nothing comes over UDP.
async fn readable(udp: Option<&Pair>) -> std::io::Result<()> {
    match udp {
        Some(udp) => udp.readable().await,
        None => std::future::pending().await,
    }
}

fn not_understood(malformed: &Malformed) -> Failure {
    cause::again(Reason::CameraRefused, format!("it sent {malformed}"))
}

/// The answer to a request of the camera's: we are alive, and can do nothing.
fn answer_camera(request: &Message) -> Message {
    let mut answer = match request.asked() {
        Some(("OPTIONS" | "GET_PARAMETER" | "SET_PARAMETER", _)) => Message::response(200, "OK"),
        _ => Message::response(501, "Not Implemented"),
    };
    for name in ["CSeq", "Session"] {
        if let Some(value) = request.header(name) {
            answer.set(name, value.to_vec());
        }
    }
    answer
}
