//! A client's connection: the camera's side of the dialogue, and its pictures.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout};

use super::answer::message;
use super::auth::{Check, Nonce, Verdict};
use super::request::{Inbox, Incoming, Request, bytes, has_report};
use super::script::{Demand, GUARD, H264, H265, JPEG, Reports, Script};
use super::stream::{Out, SOURCE, Stream};
use super::{Camera, REQUESTS_LIMIT, Shared, lock};
use crate::clock::Clock;
use crate::media::h265;
use crate::media::unit::Codec;

/// A client that takes nothing for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Pictures that a request of the camera's waits for its answer.
const ANSWER_LIMIT: u32 = 40;

/// Between a head and its body, where they come apart.
const SPLIT: Duration = Duration::from_millis(30);

/// The session's id.
const SESSION: &str = "77140CB1";

/// Serves a client until it or the camera hangs up.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let number = u64::from(peer.port());
    let local = stream.local_addr()?;
    let mut connection = Connection {
        shared: Arc::clone(shared),
        stream,
        peer,
        local,
        camera: None,
        nonce: Nonce::default(),
        number,
        inbox: Inbox::default(),
        greeted: false,
        way: None,
        playing: None,
        heard: Instant::now(),
        own_requests: 0,
    };
    connection.run().await
}

/// Where packets go.
#[derive(Debug)]
enum Way {
    Channels(u8, u8),
    Ports {
        rtp: UdpSocket,
        rtcp: UdpSocket,
        to: SocketAddr,
    },
}

#[derive(Debug)]
struct Playing {
    stream: Stream,
    ticks: Interval,
    /// When the newest picture was due.
    due: Option<Instant>,
    /// PLAY or the latest receiver report.
    reported: Instant,
    /// Pictures since a request of the camera's that has no answer yet.
    unanswered: Option<u32>,
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    stream: TcpStream,
    peer: SocketAddr,
    local: SocketAddr,
    camera: Option<Arc<Camera>>,
    /// Where each connection has nonces of its own.
    nonce: Nonce,
    number: u64,
    inbox: Inbox,
    /// OPTIONS was asked for.
    greeted: bool,
    way: Option<Way>,
    playing: Option<Playing>,
    heard: Instant,
    own_requests: u32,
}

/// What to do after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Play,
    HangUp,
}

impl Connection {
    fn script(&self) -> Option<&'static Script> {
        self.camera.as_ref().map(|camera| &camera.fault.script)
    }

    async fn run(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; 16 * 1024];
        let mut datagram = vec![0; 2_048];
        loop {
            let patience = self.patience();
            tokio::select! {
                biased;
                read = self.stream.read(&mut chunk) => {
                    let read = read?;
                    let Some(came) = chunk.get(..read).filter(|came| !came.is_empty()) else {
                        return Ok(());
                    };
                    if !self.inbox.push(came) || !self.take().await? {
                        return Ok(());
                    }
                }
                read = report(self.way.as_ref(), &mut datagram) => {
                    if datagram.get(..read).is_some_and(has_report) {
                        self.reported();
                    }
                }
                () = tick(self.playing.as_mut()) => {
                    if !self.picture().await? {
                        return Ok(());
                    }
                }
                () = sleep_until(patience) => return Ok(()),
            }
        }
    }

    /// When the camera hangs up by itself.
    fn patience(&self) -> Instant {
        let limit = |after: Duration| after.min(self.shared.patience);
        let never = Instant::now() + Duration::from_secs(3_600);
        let Some(script) = self.script() else {
            return never;
        };
        let idle = script.idle_limit.map(|after| self.heard + limit(after));
        let reports = match (script.reports, &self.playing) {
            (Some(Reports::HangsUp(after)), Some(playing)) => Some(playing.reported + limit(after)),
            _ => None,
        };
        idle.into_iter().chain(reports).min().unwrap_or(never)
    }

    fn reported(&mut self) {
        if let Some(playing) = &mut self.playing {
            playing.reported = Instant::now();
        }
        if let Some(camera) = &self.camera {
            self.shared.count(camera, |count| count.reports += 1);
        }
    }

    /// Takes what came. `false`: hang up.
    async fn take(&mut self) -> io::Result<bool> {
        while let Some(incoming) = self.inbox.next() {
            match incoming {
                Incoming::Report => self.reported(),
                Incoming::Packet => {}
                Incoming::Answer => {
                    if let Some(playing) = &mut self.playing {
                        playing.unanswered = None;
                    }
                }
                Incoming::Request(request) => {
                    let kept_by = self.script().map_or(&[][..], |script| script.kept_by);
                    if kept_by.is_empty() || kept_by.contains(&request.method.as_str()) {
                        self.heard = Instant::now();
                    }
                    match self.answer(&request).await? {
                        Then::GoOn => {}
                        Then::HangUp => return Ok(false),
                        Then::Play => self.play(),
                    }
                }
            }
        }
        Ok(true)
    }

    /// The pictures begin to flow.
    fn play(&mut self) {
        if let Some(playing) = &mut self.playing {
            playing.reported = Instant::now();
            playing.ticks = ticks(self.shared.rate);
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match timeout(WRITE_TIMEOUT, self.stream.write_all(bytes)).await {
            Ok(written) => written,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sends the next picture. `false`: the camera hangs up.
    async fn picture(&mut self) -> io::Result<bool> {
        let (Some(playing), Some(camera)) = (&mut self.playing, &self.camera) else {
            return Ok(true);
        };
        if let Some(Reports::Stops(after)) = camera.fault.script.reports
            && playing.reported.elapsed() > after.min(self.shared.patience)
        {
            return Ok(true);
        }
        if let Some(count) = &mut playing.unanswered {
            *count += 1;
            if *count > ANSWER_LIMIT {
                return Ok(false);
            }
        }
        let out = playing.stream.picture();
        self.shared.count(camera, |count| count.pictures += 1);
        self.emit(out).await
    }

    /// Sends what a picture became. `false`: the camera hangs up.
    async fn emit(&mut self, out: Vec<Out>) -> io::Result<bool> {
        let Some(script) = self.script() else {
            return Ok(true);
        };
        let mut stream = Vec::new();
        let mut datagrams: Vec<(bool, Vec<u8>)> = Vec::new();
        let channels = match self.way {
            Some(Way::Channels(rtp, rtcp)) => Some((rtp, rtcp)),
            _ => None,
        };
        let mut open = true;
        for out in out {
            match (out, channels) {
                (Out::Rtp(packet, off), Some((rtp, _))) => frame(&mut stream, rtp, &packet, off),
                (Out::Rtcp(packet), Some((_, rtcp))) => frame(&mut stream, rtcp, &packet, 0),
                (Out::Channel(channel, packet), Some(_)) => {
                    frame(&mut stream, channel, &packet, 0);
                }
                (Out::Rtp(packet, _), None) => datagrams.push((true, packet)),
                (Out::Rtcp(packet), None) => datagrams.push((false, packet)),
                (Out::Channel(..), None) => {}
                (Out::Raw(bytes), _) => stream.extend_from_slice(&bytes),
                (Out::Request(template), _) => {
                    self.own_requests += 1;
                    let text = template
                        .replace("{url}", &self.url())
                        .replace("{session}", SESSION)
                        .replace("{cseq}", &self.own_requests.to_string());
                    stream.extend_from_slice(&bytes(&text));
                    if let Some(playing) = &mut self.playing {
                        playing.unanswered.get_or_insert(0);
                    }
                }
                (Out::HangUp, _) => open = false,
            }
        }
        if !stream.is_empty() {
            self.send(&stream).await?;
        }
        if let Some(Way::Ports { rtp, rtcp, to }) = &self.way {
            let other = match script.other_port {
                true => Some(UdpSocket::bind((self.local.ip(), 0)).await?),
                false => None,
            };
            let second = SocketAddr::new(to.ip(), to.port().wrapping_add(1));
            for (media, packet) in datagrams {
                // Nobody there: as with any camera, the packet is lost.
                let _ = if media {
                    other.as_ref().unwrap_or(rtp).send_to(&packet, to).await
                } else {
                    rtcp.send_to(&packet, second).await
                };
            }
        }
        Ok(open)
    }

    fn origin(&self) -> String {
        format!("rtsp://{}", self.local)
    }

    fn url(&self) -> String {
        let path = self
            .camera
            .as_ref()
            .map_or("", |camera| camera.path.as_str());
        format!("{}{path}", self.origin())
    }

    /// Fills a template in.
    fn fill(&self, template: &str) -> String {
        let script = self.script();
        let track = script.and_then(|script| script.track.first()).copied();
        let control = script.map_or("", |script| script.control);
        let path = self
            .camera
            .as_ref()
            .map_or("", |camera| camera.path.as_str());
        let (number, time) = self.playing.as_ref().map_or((0, 0), |playing| {
            (playing.stream.number(), playing.stream.time())
        });
        template
            .replace("{track}", track.unwrap_or_default())
            .replace("{control}", control)
            .replace("{url}", &self.url())
            .replace("{origin}", &self.origin())
            .replace("{host}", &self.local.to_string())
            .replace("{address}", &self.local.ip().to_string())
            .replace("{path}", path)
            .replace("{session}", SESSION)
            .replace("{seq}", &number.to_string())
            .replace("{time}", &time.to_string())
    }

    /// The description.
    fn description(&self, camera: &Camera) -> String {
        let script = &camera.fault.script;
        let usual = match camera.clip.codec {
            Codec::H264 => H264,
            Codec::H265 => H265,
            Codec::Jpeg => JPEG,
        };
        let engine = base64::engine::general_purpose::STANDARD;
        let sets = camera.clip.sets();
        let all: Vec<String> = sets.iter().map(|set| engine.encode(set)).collect();
        let named = sets.iter().zip(&all).map(|(set, text)| {
            let name = match h265::nal_type(set) {
                h265::kind::VPS => "vps",
                h265::kind::SPS => "sps",
                _ => "pps",
            };
            format!("sprop-{name}={text}")
        });
        let named: Vec<String> = named.collect();
        let text = script
            .sdp
            .replace("{head}", script.head)
            .replace("{video}", script.video.unwrap_or(usual))
            .replace("{sprop}", &all.join(","))
            .replace("{sets}", &named.join("; "));
        self.fill(&text)
    }

    /// Answers a request, and says how to go on.
    async fn answer(&mut self, request: &Request) -> io::Result<Then> {
        if self.camera.is_none() {
            self.camera = self.shared.camera(&request.uri).cloned();
            if let Some(camera) = &self.camera {
                self.shared.count(camera, |count| count.connections += 1);
            }
        }
        let Some(camera) = self.camera.clone() else {
            let cseq = request.header("CSeq").unwrap_or("0").to_owned();
            let text = format!("RTSP/1.0 404 Not Found\r\nCSeq: {cseq}\r\n\r\n");
            self.send(&bytes(&text)).await?;
            return Ok(Then::GoOn);
        };
        let script = &camera.fault.script;
        let method = request.method.as_str();
        let mut then = Then::GoOn;
        let mut lines: Vec<String> = Vec::new();
        let mut body = String::new();
        let status = if script.hangs_up.contains(&method) {
            then = Then::HangUp;
            0
        } else if !script
            .demands
            .iter()
            .all(|demand| self.meets(*demand, request))
        {
            400
        } else if let Some((status, challenges)) = self.refusal(&camera, request) {
            lines.extend(challenges);
            let page = script.guard.map_or("", |guard| guard.body);
            if !page.is_empty() {
                lines.push(format!("Content-Length: {}", page.len()));
                page.clone_into(&mut body);
            }
            if script.guard.is_some_and(|guard| guard.hangs_up) {
                then = Then::HangUp;
            }
            status
        } else if let Some((_, status)) = script.statuses.iter().find(|(name, _)| *name == method) {
            *status
        } else {
            let (status, how) = self.serve(&camera, request, &mut lines, &mut body).await?;
            then = how;
            status
        };
        self.greeted |= method == "OPTIONS";
        if script.closes && status >= 300 {
            then = Then::HangUp;
        }
        self.note(&camera, request, status);
        if status == 0 || script.silent.contains(&method) {
            return Ok(then);
        }
        if then == Then::Play {
            for _ in 0..script.pictures_first {
                if !self.picture().await? {
                    return Ok(Then::HangUp);
                }
            }
        }
        if status == 200 {
            lines.extend(script.every.iter().map(|line| (*line).to_owned()));
        }
        let (head, body) = message(script, request, status, &lines, &body);
        if script.split && !body.is_empty() {
            self.send(&head).await?;
            tokio::time::sleep(SPLIT).await;
            self.send(&body).await?;
        } else {
            self.send(&[head, body].concat()).await?;
        }
        Ok(then)
    }

    fn note(&self, camera: &Camera, request: &Request, status: u16) {
        let signed = request.header("Authorization").is_some();
        self.shared.count(camera, |count| {
            *count.requests.entry(request.method.clone()).or_default() += 1;
            count.refused += u64::from(matches!(status, 401 | 407) && signed);
            count.played += u64::from(status == 200 && request.method == "PLAY");
            if count.latest.len() >= REQUESTS_LIMIT {
                count.latest.pop_front();
            }
            let line = (request.method.clone(), request.uri.clone(), status);
            count.latest.push_back(line);
        });
    }

    /// Status and challenges, where a request is not let in.
    fn refusal(&mut self, camera: &Camera, request: &Request) -> Option<(u16, Vec<String>)> {
        let (user, password) = self.shared.credentials.as_ref()?;
        let guard = camera.fault.script.guard.as_ref().unwrap_or(&GUARD);
        if request.method == "OPTIONS" && !guard.options_too {
            return None;
        }
        let check = Check {
            guard,
            user,
            password: password.expose(),
            salt: if guard.nonce_per_connection {
                self.number
            } else {
                0
            },
        };
        let verdict = if guard.nonce_per_connection {
            check.judge(request, &mut self.nonce)
        } else {
            check.judge(request, &mut lock(&camera.nonce))
        };
        match verdict {
            Verdict::Good => None,
            Verdict::Refused(challenges) => Some((guard.status, challenges)),
        }
    }

    /// Serves a request that nothing speaks against.
    async fn serve(
        &mut self,
        camera: &Arc<Camera>,
        request: &Request,
        lines: &mut Vec<String>,
        body: &mut String,
    ) -> io::Result<(u16, Then)> {
        let script = &camera.fault.script;
        let mut add = |all: &[&str], fill: &dyn Fn(&str) -> String| {
            lines.extend(all.iter().map(|line| fill(line)));
        };
        match request.method.as_str() {
            "OPTIONS" => add(script.options, &|line| self.fill(line)),
            "DESCRIBE" => {
                if let Some(location) = script.redirect
                    && request.uri != self.fill(location)
                {
                    add(&["Location: {at}"], &|line| {
                        line.replace("{at}", &self.fill(location))
                    });
                    return Ok((302, Then::GoOn));
                }
                *body = self.description(camera);
                let length = body.chars().count().to_string();
                add(script.describe, &|line| {
                    self.fill(&line.replace("{length}", &length))
                });
            }
            "SETUP" => {
                let mut tracks = script.track.iter();
                if !tracks.any(|track| request.uri == self.fill(track)) {
                    return Ok((404, Then::GoOn));
                }
                let wish = request.header("Transport").unwrap_or_default();
                let Some(transport) = self.transport(script, wish).await? else {
                    return Ok((461, Then::GoOn));
                };
                let fill = |line: &str| {
                    let usual = line.replace("{transport}", transport.usual);
                    let [first, second, port, port2] = transport.numbers.map(|n| n.to_string());
                    self.fill(
                        &usual
                            .replace("{first}", &first)
                            .replace("{second}", &second)
                            .replace("{port}", &port)
                            .replace("{port2}", &port2)
                            .replace("{ssrc}", &format!("{SOURCE:08X}")),
                    )
                };
                add(script.setup, &fill);
            }
            "PLAY" if self.way.is_some() => {
                let begun = Clock::system().now().wall.0;
                let clip = Arc::clone(&camera.clip);
                self.playing = Some(Playing {
                    stream: Stream::new(script, clip, self.shared.rate, begun),
                    ticks: ticks(self.shared.rate),
                    due: None,
                    reported: Instant::now(),
                    unanswered: None,
                });
                add(script.play, &|line| self.fill(line));
                return Ok((200, Then::Play));
            }
            "GET_PARAMETER" | "SET_PARAMETER" => {
                add(&["Session: {session}"], &|line| self.fill(line));
            }
            "PAUSE" => self.playing = None,
            "TEARDOWN" => {
                self.playing = None;
                self.way = None;
            }
            _ => return Ok((455, Then::GoOn)),
        }
        Ok((200, Then::GoOn))
    }

    /// Agrees on a way for the packets; `None`: not that one.
    async fn transport(&mut self, script: &Script, wish: &str) -> io::Result<Option<Agreed>> {
        let pair = |name: &str| {
            let (_, rest) = wish.split_once(name)?;
            let end = rest.find([';', ',']).unwrap_or(rest.len());
            let mut numbers = rest.get(..end)?.split('-');
            let first: u16 = numbers.next()?.trim().parse().ok()?;
            let second = numbers.next().and_then(|n| n.trim().parse().ok());
            Some((first, second.unwrap_or_else(|| first.wrapping_add(1))))
        };
        if let Some((first, second)) = pair("client_port=") {
            let (rtp, rtcp) = pair_of_sockets(self.local).await?;
            let numbers = [
                first,
                second,
                rtp.local_addr()?.port(),
                rtcp.local_addr()?.port(),
            ];
            self.way = Some(Way::Ports {
                rtp,
                rtcp,
                to: SocketAddr::new(self.peer.ip(), first),
            });
            let usual = "RTP/AVP;unicast;client_port={first}-{second};server_port={port}-{port2};ssrc={ssrc}";
            return Ok(Some(Agreed { usual, numbers }));
        }
        if !wish.contains("RTP/AVP/TCP") || script.udp {
            return Ok(None);
        }
        let asked = pair("interleaved=").unwrap_or((0, 1));
        let asked = (asked.0 as u8, asked.1 as u8);
        let (rtp, rtcp) = script.channels.unwrap_or(asked);
        self.way = Some(Way::Channels(rtp, rtcp));
        Ok(Some(Agreed {
            usual: "RTP/AVP/TCP;unicast;interleaved={first}-{second};ssrc={ssrc}",
            numbers: [rtp.into(), rtcp.into(), 0, 0],
        }))
    }

    fn meets(&self, demand: Demand, request: &Request) -> bool {
        let method = request.method.as_str();
        let header = |name: &str| request.header(name);
        match demand {
            Demand::NumberFirst => request
                .headers
                .first()
                .is_some_and(|(name, _)| name == "CSeq"),
            Demand::Case => request.headers.iter().all(|(name, _)| {
                KNOWN.contains(&name.as_str())
                    || !KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name))
            }),
            Demand::Header(of, name) => of != method || header(name).is_some(),
            Demand::Without(name) => header(name).is_none(),
            Demand::BareSession => header("Session").is_none_or(|session| session == SESSION),
            Demand::OneTransport => header("Transport").is_none_or(|transport| {
                transport.contains("unicast") && !transport.contains([',', ' '])
            }),
            Demand::AcceptAlone => {
                method != "DESCRIBE" || header("Accept") == Some("application/sdp")
            }
            Demand::PlayAtBase => method != "PLAY" || request.uri == format!("{}/", self.url()),
            Demand::PlayAtTrack => method != "PLAY" || request.uri == self.fill("{track}"),
            Demand::Short(limit) => request.size <= limit,
            Demand::OneByOne => self.inbox.is_empty(),
            Demand::OptionsFirst => method == "OPTIONS" || self.greeted,
        }
    }
}

/// What SETUP led to: the usual `Transport`, and its numbers.
struct Agreed {
    usual: &'static str,
    /// Channels or the client's ports, and the camera's.
    numbers: [u16; 4],
}

/// Headers of requests as RFC 2326 writes them.
const KNOWN: &[&str] = &[
    "CSeq",
    "Accept",
    "Authorization",
    "Session",
    "Transport",
    "Range",
    "User-Agent",
    "Content-Length",
];

/// `$`, channel, length and packet (RFC 2326 10.12).
fn frame(out: &mut Vec<u8>, channel: u8, packet: &[u8], off: i16) {
    let length = (packet.len() as u16).wrapping_add_signed(off);
    out.extend_from_slice(&[b'$', channel]);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(packet);
}

/// Two sockets on neighbouring ports, the first even, where they can be had.
async fn pair_of_sockets(local: SocketAddr) -> io::Result<(UdpSocket, UdpSocket)> {
    let any = SocketAddr::new(local.ip(), 0);
    for _ in 0..16 {
        let first = UdpSocket::bind(any).await?;
        let port = first.local_addr()?.port();
        if port.is_multiple_of(2)
            && let Ok(second) = UdpSocket::bind((local.ip(), port + 1)).await
        {
            return Ok((first, second));
        }
    }
    Ok((UdpSocket::bind(any).await?, UdpSocket::bind(any).await?))
}

/// Bytes of a datagram that came for the camera's second port.
async fn report(way: Option<&Way>, buffer: &mut [u8]) -> usize {
    match way {
        Some(Way::Ports { rtcp, .. }) => rtcp.recv(buffer).await.unwrap_or(0),
        _ => std::future::pending().await,
    }
}

fn ticks(rate: u32) -> Interval {
    let mut ticks = interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

/// Waits until a picture is due. Of a time in which the machine was held up, or nobody took
/// the pictures, there are none: a camera does not make up for them.
async fn tick(playing: Option<&mut Playing>) {
    match playing {
        Some(playing) => {
            let due = playing.ticks.tick().await;
            if let Some(before) = playing.due.replace(due) {
                let period = playing.ticks.period().as_nanos().max(1);
                let periods = due.duration_since(before).as_nanos() / period;
                playing.stream.skip((periods as u32).saturating_sub(1));
            }
        }
        None => std::future::pending().await,
    }
}
