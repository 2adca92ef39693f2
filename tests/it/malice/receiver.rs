//! The receiver that may do anything: a raw link with the centre's certificate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use fanal::config;
use fanal::format::control::{ToGateway, ToReceiver};
use fanal::format::ids::{CameraId, GrantId, Sha256};
use fanal::format::jws::{self, Signer};
use fanal::format::statement::{GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, RefusedCamera};
use fanal::link::transport::{Closed, Connection, Transport};
use fanal::media::relay::RelayId;
use fanal::reason::{Reason, Refusal};
use quinn::{ReadError, RecvStream, SendStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Stage, within};
use crate::link::world::{RawServer, write_all};
use crate::support::site::ReceiverFile;

/// Messages that wait to be looked at.
const HEARD_LIMIT: usize = 4_096;

/// What came on unidirectional streams, over all links.
#[derive(Clone, Debug, Default)]
pub(crate) struct Media {
    /// Every byte of every stream, whatever it is.
    pub(crate) bytes: u64,
    /// The same by the relay that the stream's header names.
    pub(crate) by_relay: BTreeMap<u32, u64>,
    /// Streams begun, by relay.
    pub(crate) groups: BTreeMap<u32, u64>,
    /// Streams that were reset, by relay, and with what code.
    pub(crate) resets: Vec<(u32, u64)>,
}

/// A grant, as it was told.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) proof: String,
    pub(crate) claims: GrantClaims,
    relays: BTreeMap<String, RelayId>,
}

impl Granted {
    pub(crate) fn id(&self) -> GrantId {
        self.claims.grant
    }

    pub(crate) fn relay(&self, camera: &str) -> u32 {
        self.relays[camera].0
    }
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Granted(Granted),
    Refused(Refusal, Vec<RefusedCamera>),
}

impl Answer {
    pub(crate) fn reason(&self) -> Option<Reason> {
        match self {
            Self::Granted(_) => None,
            Self::Refused(refusal, _) => Some(refusal.reason),
        }
    }
}

pub(crate) struct Receiver {
    id: String,
    server: RawServer,
    pub(crate) signer: Signer,
    media: Arc<watch::Sender<Media>>,
    link: Option<Link>,
    next_request: u64,
    /// Number of the last line of its journal.
    seq: u64,
}

struct Link {
    connection: Connection,
    /// Gone to anyone who makes noise.
    send: Option<SendStream>,
    heard: mpsc::Receiver<ToReceiver>,
    /// Heard while something else was waited for.
    kept: Vec<ToReceiver>,
    /// Stops the gateway's side of the control stream.
    stop: CancellationToken,
    _tasks: JoinSet<()>,
}

impl Receiver {
    pub(super) fn listen(stage: &Stage, id: &str) -> Self {
        let settings = ReceiverFile::of(id).to_string();
        let file = stage.place.write(&format!("{id}.toml"), settings);
        let settings = config::load_receiver(&file).unwrap().settings;
        Self {
            id: id.to_owned(),
            server: RawServer::listen(&settings, &stage.clock, Transport::Quic),
            signer: stage.place.signer(id),
            media: Arc::new(watch::Sender::new(Media::default())),
            link: None,
            next_request: 0,
            seq: 0,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Waits for the gateway's next link and takes all that it may send.
    pub(crate) async fn link(&mut self) {
        self.link = None;
        let accepted = within("a link", async {
            // A dial that was given up half way is followed by another.
            loop {
                if let Ok(connection) = self.server.take().await
                    && let Ok(streams) = connection.accept_bi().await
                {
                    return (connection, streams);
                }
            }
        });
        let (connection, (mut send, mut receive)) = accepted.await;
        connection.set_max_concurrent_uni_streams(1_024_u32.into());
        receive.read_exact(&mut [0; 4]).await.unwrap();
        write_all(&mut send, &[0; 4]).await.unwrap();
        let (heard, receiver) = mpsc::channel(HEARD_LIMIT);
        let mut tasks = JoinSet::new();
        let stop = CancellationToken::new();
        tasks.spawn(listen_to(receive, heard, stop.clone()));
        tasks.spawn(take_all(connection.clone(), Arc::clone(&self.media)));
        self.link = Some(Link {
            connection,
            send: Some(send),
            heard: receiver,
            kept: Vec::new(),
            stop,
            _tasks: tasks,
        });
        let hello = |message: &ToReceiver| matches!(message, ToReceiver::Hello(_)).then_some(());
        self.hear("hello", hello).await;
    }

    fn current(&mut self) -> &mut Link {
        self.link.as_mut().expect("a link")
    }

    pub(crate) fn connection(&mut self) -> Connection {
        self.current().connection.clone()
    }

    /// Resets the own side of the control stream.
    pub(crate) fn reset_control(&mut self) {
        let send = self.current().send.as_mut().expect("its own stream");
        send.reset(0_u32.into()).unwrap();
    }

    /// Says these again and again, as fast as the gateway takes them, for as
    /// long as what is given back lives.
    pub(crate) fn make_noise(&mut self, messages: &[ToGateway]) -> JoinSet<()> {
        let mut send = self.current().send.take().expect("its own stream");
        let mut bytes = Vec::new();
        for message in messages {
            let text = serde_json::to_vec(message).unwrap();
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&text);
        }
        let mut noise = JoinSet::new();
        noise.spawn(async move { while write_all(&mut send, &bytes).await.is_ok() {} });
        noise
    }

    /// Asks the gateway to stop its side of the control stream. What is said next
    /// leaves after that.
    pub(crate) async fn stop_control(&mut self) {
        let link = self.current();
        link.stop.cancel();
        within("the last that is heard", async {
            while link.heard.recv().await.is_some() {}
        })
        .await;
    }

    /// Closes the link; the gateway dials again.
    pub(crate) fn drop_link(&mut self) {
        if let Some(link) = self.link.take() {
            link.connection.close(Reason::ShuttingDown, "");
        }
    }

    /// Writes these bytes on the control stream.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        let send = self.current().send.as_mut().expect("its own stream");
        within("write", write_all(send, bytes)).await.unwrap();
    }

    /// Says this text as one message.
    pub(crate) async fn say_text(&mut self, text: &str) {
        let length = u32::try_from(text.len()).unwrap();
        self.write(&length.to_be_bytes()).await;
        self.write(text.as_bytes()).await;
    }

    pub(crate) async fn say(&mut self, message: &ToGateway) {
        self.say_text(&serde_json::to_string(message).unwrap())
            .await;
    }

    /// Waits for a message; others are kept for later.
    pub(crate) async fn hear<T>(
        &mut self,
        what: &str,
        wish: impl Fn(&ToReceiver) -> Option<T>,
    ) -> T {
        let link = self.current();
        let found = link.kept.iter().enumerate();
        let found = found.filter_map(|(at, message)| Some((at, wish(message)?)));
        if let Some((at, found)) = { found }.next() {
            link.kept.remove(at);
            return found;
        }
        within(what, async {
            loop {
                let Some(message) = link.heard.recv().await else {
                    panic!("{what}: the link ended, heard {:?}", link.kept);
                };
                if let Some(found) = wish(&message) {
                    return found;
                }
                link.kept.push(message);
            }
        })
        .await
    }

    /// Whether a message like this has come by now, without waiting.
    pub(crate) fn has_heard(&mut self, wish: impl Fn(&ToReceiver) -> bool) -> bool {
        let link = self.current();
        while let Ok(message) = link.heard.try_recv() {
            link.kept.push(message);
        }
        link.kept.iter().any(wish)
    }

    /// Sends a request without waiting for its answer; gives its number.
    pub(crate) async fn request(&mut self, request: &str) -> u64 {
        self.next_request += 1;
        let id = self.next_request;
        let request = request.to_owned();
        self.say(&ToGateway::Request { id, request }).await;
        id
    }

    pub(crate) async fn answer(&mut self, wanted: u64) -> Answer {
        self.hear("an answer", |message| match message {
            ToReceiver::Granted { id, proof, relays } if *id == wanted => {
                let proven = jws::open::<GrantClaims>(proof, GRANT_TYPE).unwrap();
                let relays = relays.iter().map(|(id, relay)| (id.to_string(), *relay));
                Some(Answer::Granted(Granted {
                    proof: proof.clone(),
                    claims: proven.claims,
                    relays: relays.collect(),
                }))
            }
            ToReceiver::Refused {
                id,
                refusal,
                cameras,
                ..
            } if *id == wanted => Some(Answer::Refused(refusal.clone(), cameras.clone())),
            _ => None,
        })
        .await
    }

    pub(crate) async fn ask(&mut self, request: &str) -> Answer {
        let id = self.request(request).await;
        self.answer(id).await
    }

    pub(crate) async fn granted(&mut self, request: &str) -> Granted {
        match self.ask(request).await {
            Answer::Granted(granted) => granted,
            Answer::Refused(refusal, _) => panic!("refused: {refusal}"),
        }
    }

    pub(crate) async fn refused(&mut self, request: &str) -> Reason {
        match self.ask(request).await {
            Answer::Refused(refusal, _) => refusal.reason,
            Answer::Granted(granted) => panic!("granted: {granted:?}"),
        }
    }

    /// A head of its journal that covers one line more than the last.
    pub(crate) fn next_head(&mut self, iat: i64) -> String {
        self.seq += 1;
        let claims = self.head_claims(self.seq, iat);
        self.signer.sign(HEAD_TYPE, &claims)
    }

    pub(crate) fn head_claims(&self, seq: u64, iat: i64) -> HeadClaims {
        HeadClaims {
            iss: self.id.clone(),
            journal: "00112233445566778899aabbccddeeff".to_owned(),
            seq,
            link: Sha256::of(&seq.to_be_bytes()),
            iat,
        }
    }

    /// Says, as an honest receiver would, that it has recorded the grant.
    pub(crate) async fn confirm(&mut self, granted: &Granted, request: &str) {
        let head = self.next_head(granted.claims.start);
        self.say(&ToGateway::Confirm {
            grant: granted.id(),
            request: Sha256::of(request.as_bytes()),
            head,
        })
        .await;
    }

    /// Why this grant ended.
    pub(crate) async fn ended(&mut self, wanted: GrantId) -> Refusal {
        self.hear("the grant's end", |message| match message {
            ToReceiver::Ended { grant, refusal, .. } if *grant == wanted => Some(refusal.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) fn has_ended(&mut self, wanted: GrantId) -> bool {
        self.has_heard(
            |message| matches!(message, ToReceiver::Ended { grant, .. } if *grant == wanted),
        )
    }

    /// The newest proof of a grant that goes on.
    pub(crate) async fn resumed(&mut self, wanted: GrantId) -> GrantClaims {
        self.resume(wanted).await.0
    }

    /// The number under which a camera of a grant that goes on travels now.
    pub(crate) async fn resumed_relay(&mut self, wanted: GrantId, camera: &str) -> u32 {
        let (_, relays) = self.resume(wanted).await;
        relays[&CameraId::new(camera).unwrap()].0
    }

    async fn resume(&mut self, wanted: GrantId) -> (GrantClaims, BTreeMap<CameraId, RelayId>) {
        self.hear("that a grant goes on", |message| {
            let ToReceiver::Resume { proof, relays, .. } = message else {
                return None;
            };
            let proven = jws::open::<GrantClaims>(proof, GRANT_TYPE).unwrap();
            (proven.claims.grant == wanted).then(|| (proven.claims, relays.clone()))
        })
        .await
    }

    /// How the gateway closed the link.
    pub(crate) async fn closed(&mut self) -> Option<Reason> {
        let connection = self.connection();
        let closed = within("the link's end", connection.closed()).await;
        assert!(matches!(closed, Closed::ByPeer { .. }), "{closed}");
        closed.reason()
    }

    pub(crate) fn media(&self) -> Media {
        self.media.borrow().clone()
    }

    /// Waits until so many bytes of a relay came.
    pub(crate) async fn until_bytes(&self, relay: u32, bytes: u64) {
        self.until("bytes", |media| {
            media.by_relay.get(&relay).is_some_and(|got| *got >= bytes)
        })
        .await;
    }

    /// Waits until so many more groups of a relay begin: half a second each.
    pub(crate) async fn until_more_groups(&self, relay: u32, more: u64) {
        let count = |media: &Media| media.groups.get(&relay).copied().unwrap_or(0);
        let wanted = count(&self.media()) + more;
        self.until("groups", |media| count(media) >= wanted).await;
    }

    pub(crate) async fn until(&self, what: &str, wish: impl Fn(&Media) -> bool) {
        let mut media = self.media.subscribe();
        let waited = media.wait_for(|media| wish(media));
        within(what, waited).await.unwrap();
    }
}

/// Reads control messages for as long as the link lives, or until told to stop.
async fn listen_to(
    mut stream: RecvStream,
    heard: mpsc::Sender<ToReceiver>,
    stop: CancellationToken,
) {
    loop {
        let mut length = [0; 4];
        tokio::select! {
            () = stop.cancelled() => return drop(stream.stop(0_u32.into())),
            read = stream.read_exact(&mut length) => if read.is_err() {
                return;
            }
        }
        let mut text = vec![0; u32::from_be_bytes(length) as usize];
        if stream.read_exact(&mut text).await.is_err() {
            return;
        }
        let message: ToReceiver = serde_json::from_slice(&text).unwrap();
        heard.try_send(message).expect("few messages");
    }
}

/// Counts every byte that comes on unidirectional streams, whatever it is and
/// whatever was said on the control stream.
async fn take_all(connection: Connection, media: Arc<watch::Sender<Media>>) {
    let mut streams = JoinSet::new();
    loop {
        tokio::select! {
            stream = connection.accept_uni() => match stream {
                Ok(stream) => drop(streams.spawn(take_one(stream, Arc::clone(&media)))),
                Err(_) => break,
            },
            Some(_) = streams.join_next() => {}
        }
    }
    while streams.join_next().await.is_some() {}
}

async fn take_one(mut stream: RecvStream, media: Arc<watch::Sender<Media>>) {
    let mut start = Vec::new();
    let mut relay = None;
    loop {
        let mut chunk = [Bytes::new()];
        match stream.read_chunks(&mut chunk).await {
            Ok(Some(_)) => {
                let bytes = chunk[0].len() as u64;
                let known = relay.is_some();
                if !known {
                    start.extend_from_slice(&chunk[0]);
                    relay = start
                        .get(4..8)
                        .map(|relay| u32::from_be_bytes(relay.try_into().unwrap()));
                }
                media.send_modify(|media| {
                    media.bytes += bytes;
                    if let Some(relay) = relay {
                        // What came before the relay was known is its too.
                        let bytes = if known { bytes } else { start.len() as u64 };
                        *media.by_relay.entry(relay).or_default() += bytes;
                        *media.groups.entry(relay).or_default() += u64::from(!known);
                    }
                });
            }
            Ok(None) => return,
            Err(error) => {
                if let (ReadError::Reset(code), Some(relay)) = (error, relay) {
                    media.send_modify(|media| media.resets.push((relay, code.into_inner())));
                }
                return;
            }
        }
    }
}
