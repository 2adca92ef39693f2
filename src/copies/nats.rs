//! One connection to a NATS server, and what its answers mean.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, HeaderMap, RequestErrorKind};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;
use url::Url;

use crate::config::settings;
use crate::format::chain::Line;
use crate::format::ids::Sha256;
use crate::format::text::shown;
use crate::pki;

/// How long a connection and one answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Characters of what a server says that are shown.
const SAID_LIMIT: usize = 300;

/// What came of a line, or of the attempt to copy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in the stream.
    Copied,
    /// No server, or none in time.
    Unreachable,
    /// The servers let this machine not do it.
    Refused,
    /// There is no such stream, or it takes not this subject.
    NoStream,
    /// The stream or the servers' disk is full.
    Full,
    /// The line is longer than the servers take.
    TooLong,
    /// Another line came between.
    Raced,
    /// The stream holds other lines of this journal than the disk.
    Contradicts,
    /// The journal's files can't be read.
    Unreadable,
}

impl Outcome {
    /// All of them.
    pub(super) const ALL: [Self; 9] = [
        Self::Copied,
        Self::Unreachable,
        Self::Refused,
        Self::NoStream,
        Self::Full,
        Self::TooLong,
        Self::Raced,
        Self::Contradicts,
        Self::Unreadable,
    ];

    /// For metrics and the log.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Copied => "copied",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::NoStream => "no_stream",
            Self::Full => "full",
            Self::TooLong => "too_long",
            Self::Raced => "raced",
            Self::Contradicts => "contradicts",
            Self::Unreadable => "unreadable",
        }
    }

    /// What to do about it.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Copied => "",
            Self::Unreachable => {
                "check [copies] nats and authority, the network and the servers; all that waits is copied then"
            }
            Self::Refused => {
                "let these credentials publish fanal.journal.ID.* and $JS.API.DIRECT.GET.STREAM.fanal.journal.ID.*, and subscribe to _INBOX.> (guide/copies.md)"
            }
            Self::NoStream => {
                "make the stream with subjects fanal.journal.> and direct access (guide/copies.md), or correct [copies] stream"
            }
            Self::Full => {
                "give the stream and the servers' disk more room, or a shorter --max-age; all that waits is copied then"
            }
            Self::TooLong => {
                "set max_payload: 2MB in the servers' configuration, and max-msg-size of the stream to no less"
            }
            Self::Raced => {
                "see that no second daemon runs on a copy of this state_dir; it is tried again by itself"
            }
            Self::Contradicts => {
                "keep state_dir and stream as they are and compare them: the journal was restored from an older copy, or one of them was changed (guide/copies.md)"
            }
            Self::Unreadable => "check the disk of state_dir",
        }
    }
}

/// Why a line is not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) outcome: Outcome,
    /// For people.
    pub(super) detail: String,
}

impl Trouble {
    pub(super) fn new(outcome: Outcome, detail: impl Into<String>) -> Self {
        Self {
            outcome,
            detail: detail.into(),
        }
    }
}

/// The newest line of a journal that the stream has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stored {
    /// Its number in the journal; 0: there is none.
    pub(super) seq: u64,
    /// Its number in the stream.
    pub(super) stream: u64,
    /// The hash of its bytes.
    pub(super) hash: Option<Sha256>,
}

/// A connection.
pub(super) struct Nats {
    client: Client,
    server: String,
    stream: String,
    /// Told when the connection is lost.
    lost: watch::Receiver<bool>,
    /// What the server said last that it did not answer.
    said: Arc<Mutex<Option<String>>>,
}

impl Nats {
    /// Connects to one of the settings' servers.
    pub(super) async fn connect(settings: &settings::Copies, at: usize) -> Result<Self, Trouble> {
        let Some(url) = settings.servers.get(at % settings.servers.len().max(1)) else {
            return Err(Trouble::new(Outcome::Unreachable, "no server is named"));
        };
        let fail = |outcome, cause: String| Trouble::new(outcome, format!("{url}: {cause}"));
        let options = options(settings, url).await;
        let options = options.map_err(|cause| fail(Outcome::Unreachable, cause))?;
        let (lose, lost) = watch::channel(false);
        let said = Arc::default();
        let hears = Arc::clone(&said);
        let options = options.event_callback(move |event| {
            match event {
                Event::Connected | Event::SlowConsumer(_) | Event::LameDuckMode => {}
                Event::ServerError(error) => *lock(&hears) = Some(error.to_string()),
                _ => _ = lose.send(true),
            }
            std::future::ready(())
        });
        // Another attempt is another connection, as is another server.
        let options = options.max_reconnects(1);
        let connected = tokio::time::timeout(2 * TIMEOUT, options.connect(url.as_str())).await;
        let connected =
            connected.map_err(|_| fail(Outcome::Unreachable, "no answer".to_owned()))?;
        let client = connected.map_err(|error| {
            let outcome = match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                    Outcome::Refused
                }
                _ => Outcome::Unreachable,
            };
            fail(outcome, chain(&error))
        })?;
        Ok(Self {
            client,
            server: url.to_string(),
            stream: settings.stream.clone(),
            lost,
            said,
        })
    }

    /// The newest line that the stream has under a subject.
    pub(super) async fn stored(&self, subject: &str) -> Result<Stored, Trouble> {
        let asked = format!("$JS.API.DIRECT.GET.{}.{subject}", self.stream);
        let answer = self.ask(asked, HeaderMap::new(), Bytes::new()).await?;
        match answer.status.map(|status| status.as_u16()) {
            None => {}
            Some(404) => return Ok(Stored::default()),
            Some(status) => {
                let said = answer.description.unwrap_or_default();
                let said = format!("{status} {}", shown(&said, SAID_LIMIT));
                return Err(self.trouble(Outcome::NoStream, said));
            }
        }
        let header = |name| answer.headers.as_ref()?.get(name)?.as_str().parse().ok();
        let stream: Option<u64> = header("Nats-Sequence");
        let line = Line::parse(&answer.payload);
        match (stream, line) {
            (Some(stream), Ok(line)) => Ok(Stored {
                seq: line.header.seq,
                stream,
                hash: Some(Sha256::of(&answer.payload)),
            }),
            _ => {
                let said = format!("what is last in {subject} is no line of a journal");
                Err(self.trouble(Outcome::Contradicts, said))
            }
        }
    }

    /// Adds a line after the stream's line `after` of this subject, and says its number in the
    /// stream.
    pub(super) async fn publish(
        &self,
        subject: &str,
        id: &str,
        after: u64,
        line: Bytes,
    ) -> Result<u64, Trouble> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        headers.insert("Nats-Expected-Stream", self.stream.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", after.to_string());
        let answer = self.ask(subject.to_owned(), headers, line).await?;
        match read(&answer.payload) {
            Ok(seq) => Ok(seq),
            Err((outcome, said)) => Err(self.trouble(outcome, said)),
        }
    }

    async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<async_nats::Message, Trouble> {
        *lock(&self.said) = None;
        let (client, mut lost) = (self.client.clone(), self.lost.clone());
        let asking = client.request_with_headers(subject, headers, payload);
        let answer = tokio::select! {
            biased;
            answer = tokio::time::timeout(TIMEOUT, asking) => answer,
            _ = lost.wait_for(|lost| *lost) => {
                return Err(self.trouble(Outcome::Unreachable, "the connection ended"));
            }
        };
        // A refusal is no answer: the server says it beside.
        let refused = lock(&self.said).take();
        let cause = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    let said = format!("no stream {} answers", self.stream);
                    return Err(self.trouble(Outcome::NoStream, said));
                }
                RequestErrorKind::MaxPayloadExceeded => {
                    let said = "the line is longer than the server's max_payload";
                    return Err(self.trouble(Outcome::TooLong, said));
                }
                _ => chain(&error),
            },
            Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
        };
        Err(match refused {
            Some(said) => self.trouble(Outcome::Refused, said),
            None => self.trouble(Outcome::Unreachable, cause),
        })
    }

    fn trouble(&self, outcome: Outcome, said: impl AsRef<str>) -> Trouble {
        let said = shown(said.as_ref(), SAID_LIMIT);
        Trouble::new(outcome, format!("{}: {said}", self.server))
    }
}

async fn options(settings: &settings::Copies, url: &Url) -> Result<ConnectOptions, String> {
    let mut options = match &settings.credentials {
        Some(secret) => ConnectOptions::with_credentials(secret.expose())
            // The error may show a part of the file.
            .map_err(|_| "the credentials_file is none".to_owned())?,
        None => ConnectOptions::new(),
    };
    if url.scheme() == "tls" {
        let authority = settings.authority.clone();
        let tls = tokio::task::spawn_blocking(move || pki::client(authority.as_deref(), &[]));
        let tls = tls.await.map_err(|error| error.to_string())??;
        options = options.require_tls(true).tls_client_config(tls);
    }
    Ok(options
        .name("fanal")
        .ignore_discovered_servers()
        .connection_timeout(TIMEOUT)
        .request_timeout(None))
}

/// The number in the stream, or why the line is not there.
fn read(answer: &[u8]) -> Result<u64, (Outcome, String)> {
    #[derive(Deserialize)]
    struct Answer {
        seq: Option<u64>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        #[serde(default)]
        err_code: u32,
        #[serde(default)]
        description: String,
    }
    let unreadable = || {
        let said = "an answer that is none of JetStream's".to_owned();
        (Outcome::NoStream, said)
    };
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| unreadable())?;
    if let Some(Refusal {
        err_code,
        description,
    }) = answer.error
    {
        return Err((judge(err_code), format!("{description} ({err_code})")));
    }
    answer.seq.filter(|seq| *seq > 0).ok_or_else(unreadable)
}

/// JetStream's error codes (nats-server's errors.json).
fn judge(code: u32) -> Outcome {
    match code {
        // Wrong last sequence, wrong last sequence of the subject, a duplicate under way.
        10070 | 10071 | 10158 | 10164 => Outcome::Raced,
        // The message is larger than the stream takes.
        10054 | 10097 => Outcome::TooLong,
        // Limits of the stream and of the account, and the servers' disk.
        10002 | 10023 | 10028 | 10047 | 10077 | 10122 => Outcome::Full,
        // Another stream has the subject, the stream is sealed or a mirror.
        10059 | 10060 | 10076 | 10109 => Outcome::NoStream,
        // The cluster has no leader for now, and whatever else goes by.
        _ => Outcome::Unreachable,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let said = inner.to_string();
        if !text.contains(&said) {
            let _ = write!(text, ": {said}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_of_jetstream_has_its_meaning() {
        let seq = br#"{"stream":"FANAL","seq":12,"duplicate":true}"#;
        assert_eq!(read(seq), Ok(12));
        for (code, expected) in [
            (10071, Outcome::Raced),
            (10077, Outcome::Full),
            (10054, Outcome::TooLong),
            (10060, Outcome::NoStream),
            (10008, Outcome::Unreachable),
        ] {
            let text = format!(
                r#"{{"error":{{"code":400,"err_code":{code},"description":"so"}},"stream":"FANAL","seq":0}}"#
            );
            let told = Err((expected, format!("so ({code})")));
            assert_eq!(read(text.as_bytes()), told);
        }
        for noise in [&b""[..], b"+OK", b"{}", br#"{"stream":"FANAL","seq":0}"#] {
            assert!(read(noise).is_err(), "{noise:?}");
        }
    }

    #[test]
    fn each_outcome_has_its_remedy() {
        for outcome in Outcome::ALL {
            let is_trouble = outcome != Outcome::Copied;
            assert_eq!(!outcome.remedy().is_empty(), is_trouble, "{outcome:?}");
        }
    }
}
