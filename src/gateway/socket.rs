//! The local socket of `fanal relays`, `cut`, `allow`, `approve` and `refuse`.
//!
//! A Unix socket, mode 0660, of the daemon's group or of the setting `socket_group`: anyone who may
//! open it may cut and approve, and the journal says who did ([`account`]). One JSON object a
//! line, one answer a request, in order:
//!
//! ```text
//! {"command":"relays"}
//! {"command":"cut","scope":"camera:quai-nord","block":900}
//! {"command":"allow","scope":"all"}
//! {"command":"approve","request":"0190a1b2-…"}
//! ```
//!
//! | what | bound |
//! |---|---|
//! | connections | [`CONNECTION_LIMIT`]; more wait in the kernel |
//! | a line | [`LINE_LIMIT`] |
//! | a silent connection | [`IDLE_TIMEOUT`] |
//! | requests at the brain | one a connection |

use std::io::{BufRead, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::format::cause::Cause;
use crate::format::control::RelayState;
use crate::format::ids::{CameraId, CentreId, GrantId, Incident, RequestId};
use crate::format::statement::Operator;
use crate::format::statement::RefusedCamera;
use crate::link::transport::Transport;
use crate::media::relay::Profile;
use crate::reason::{Reason, Refusal};

/// Connections served at once.
pub const CONNECTION_LIMIT: usize = 16;
/// Longest request, in bytes. Answers are bounded by what lives.
pub const LINE_LIMIT: u64 = 4 * 1024;
/// Largest answer that [`ask`] reads.
pub const ANSWER_LIMIT: u64 = 16 * 1024 * 1024;
/// How long a connection may say nothing, and an answer may take.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What is relayed now, and what is cut.
    Relays {},
    /// End a scope at once and refuse it for a time.
    Cut {
        /// `grant:ID`, `camera:ID`, `centre:ID` or `all`.
        scope: String,
        /// For how long the same is refused, in seconds.
        block: u64,
    },
    /// Lift a cut.
    Allow {
        /// As for a cut; `all` lifts every cut.
        scope: String,
    },
    /// Grant a request that waits.
    Approve {
        /// Its `jti`.
        request: RequestId,
    },
    /// Refuse a request that waits.
    Refuse {
        /// Its `jti`.
        request: RequestId,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// To `relays`.
    Relays(Relays),
    /// To `cut`.
    Cut {
        /// What was cut.
        scope: String,
        /// How many live grants it touched.
        grants: usize,
        /// Until when the same is refused, RFC 3339.
        until: String,
    },
    /// To `allow`.
    Allowed {
        /// What was asked for.
        scope: String,
        /// How many cuts it lifted.
        lifted: usize,
    },
    /// To `approve`: the grant is being recorded.
    Approved {
        /// What was asked for.
        request: RequestId,
        /// The grant.
        grant: GrantId,
        /// Its cameras.
        cameras: Vec<CameraId>,
        /// Until when, RFC 3339.
        until: String,
    },
    /// To `refuse`.
    NotApproved {
        /// What was asked for.
        request: RequestId,
    },
    /// It was not done.
    Refused(Refusal),
}

/// What is relayed now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Relays {
    /// The links that stand.
    #[serde(default)]
    pub links: Vec<LinkRow>,
    /// One row for each camera of each live grant.
    pub relays: Vec<Row>,
    /// Requests that wait for the commune's approval, the soonest to end first.
    pub waiting: Vec<Waiting>,
    /// Cuts that hold.
    pub cuts: Vec<Cut>,
}

/// A request that waits for the commune's approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its id, for `fanal approve` and `fanal refuse`.
    pub request: RequestId,
    /// Through whom it came.
    pub centre: CentreId,
    /// Who signed.
    pub operator: Operator,
    /// The intervention.
    pub incident: Incident,
    /// Why.
    pub grounds: String,
    /// The grounds in words, French.
    #[serde(default)]
    pub grounds_fr: String,
    /// The grounds in words, English.
    #[serde(default)]
    pub grounds_en: String,
    /// Who else is said to be present.
    #[serde(default)]
    pub present: Vec<String>,
    /// What would be granted.
    pub cameras: Vec<CameraId>,
    /// What would not, and why.
    #[serde(default)]
    pub refused: Vec<RefusedCamera>,
    /// For how long, in seconds from the approval.
    pub duration: u32,
    /// The live grant that it carries on, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<GrantId>,
    /// The agreement's reference.
    pub agreement: String,
    /// Since when it waits, RFC 3339.
    pub since: String,
    /// Until when it waits, RFC 3339.
    pub approve_by: String,
    /// Whole seconds of that left.
    pub seconds_left: u64,
}

/// A link that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    /// The centre.
    pub centre: CentreId,
    /// What carries it.
    pub transport: Transport,
}

/// One camera of one grant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The grant.
    pub grant: GrantId,
    /// The camera.
    pub camera: CameraId,
    /// Who gets it.
    pub centre: CentreId,
    /// Who signed.
    pub operator: Operator,
    /// The intervention.
    pub incident: Incident,
    /// Why.
    pub grounds: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when, RFC 3339.
    pub until: String,
    /// Whole seconds left.
    pub seconds_left: u64,
    /// How the camera is.
    pub state: RelayState,
    /// Why it is not live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Which of the camera's streams goes out.
    #[serde(default)]
    pub profile: Profile,
    /// Why that one; missing until it was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_cause: Option<Cause>,
    /// Bytes of the camera's pictures handed to links since its relay began.
    pub bytes: u64,
}

/// A cut that holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// What.
    pub scope: String,
    /// Until when, RFC 3339.
    pub until: String,
}

/// A request on its way to the brain.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) request: Request,
    /// Who: the peer's account, and who logged in behind it ([`account::of`]).
    pub(super) by: String,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Binds the socket, of this group where one is named. A file left by a gateway that was
    /// killed is replaced, one that a living gateway answers on is not.
    ///
    /// # Errors
    /// The directory is missing, another gateway listens, something else is there, or there is no
    /// such group of which this process is.
    pub fn bind(path: &Path, group: Option<&str>) -> std::io::Result<Self> {
        if let Ok(found) = std::fs::symlink_metadata(path) {
            let other = |cause: &str| Err(std::io::Error::other(cause.to_owned()));
            if !found.file_type().is_socket() {
                return other("there is another file; move it away, or set another path as socket");
            }
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return other("another gateway listens there; stop it first");
            }
        }
        // Bound beside its place and moved there once the mode is right: it is
        // never open to everybody, and never half made.
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        if let Some(group) = group {
            give(&fresh, group)?;
        }
        std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o660))?;
        std::fs::rename(&fresh, path)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Answers until the token is cancelled.
    pub(super) async fn serve(self, brain: mpsc::Sender<Asked>, token: CancellationToken) {
        let room = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        let mut connections = JoinSet::new();
        loop {
            let accepted = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.listener.accept().await)
            };
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(_) = connections.join_next() => {}
                (permit, accepted) = accepted => match accepted {
                    Ok((stream, _)) => {
                        let brain = brain.clone();
                        connections.spawn(async move {
                            let _permit = permit;
                            if let Err(error) = converse(stream, brain).await {
                                tracing::debug!(%error, "socket connection ended");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "socket");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        connections.shutdown().await;
    }
}

/// Makes it the group's.
fn give(path: &Path, name: &str) -> std::io::Result<()> {
    let other = |cause: String| std::io::Error::other(format!("socket_group {name:?}: {cause}"));
    let group = account::group(name)
        .ok_or_else(|| other(format!("there is no such group; groupadd --system {name}")))?;
    std::os::unix::fs::chown(path, None, Some(group)).map_err(|error| {
        let add = format!("usermod -aG {name} and the daemon's user, then start it again");
        other(format!("{error}; the daemon must be of that group: {add}"))
    })
}

/// Whether members of the group can read the file.
fn reads(group: u32, file: &Path) -> bool {
    let found = std::fs::metadata(file);
    found.is_ok_and(|found| found.gid() == group && found.mode() & 0o040 != 0)
}

/// Says in the log which of these files the socket's group can read: who cuts needs none of them.
pub(super) fn warn_of_readers<'a>(name: &str, files: impl Iterator<Item = &'a Path>) {
    let Some(group) = account::group(name) else {
        return;
    };
    for file in files.filter(|file| reads(group, file)) {
        tracing::warn!(
            file = %file.display(),
            "socket_group: members of {name} can read it; give the socket a group of its own"
        );
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn converse(mut stream: UnixStream, brain: mpsc::Sender<Asked>) -> std::io::Result<()> {
    let peer = stream.peer_cred()?;
    let by = account::of(peer.pid(), peer.uid());
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut read).take(LINE_LIMIT + 1);
        let got =
            tokio::time::timeout(IDLE_TIMEOUT, limited.read_until(b'\n', &mut line)).await??;
        if got == 0 {
            return Ok(());
        }
        let too_long = line.len() as u64 > LINE_LIMIT;
        let answer = match serde_json::from_slice(&line) {
            _ if too_long => malformed(format!("a request is longer than {LINE_LIMIT} bytes")),
            Err(error) => malformed(error.to_string()),
            Ok(request) => ask_brain(&brain, request, by.clone()).await,
        };
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        tokio::time::timeout(IDLE_TIMEOUT, write.write_all(&text)).await??;
        if too_long {
            return Ok(());
        }
    }
}

fn malformed(detail: String) -> Answer {
    Answer::Refused(Refusal::new(Reason::MalformedRequest, detail))
}

async fn ask_brain(brain: &mpsc::Sender<Asked>, request: Request, by: String) -> Answer {
    let (reply, answer) = oneshot::channel();
    let asked = Asked { request, by, reply };
    let answered = async {
        brain.send(asked).await.ok()?;
        answer.await.ok()
    };
    match tokio::time::timeout(IDLE_TIMEOUT, answered).await {
        Ok(Some(answer)) => answer,
        Ok(None) | Err(_) => Answer::Refused(Reason::ShuttingDown.into()),
    }
}

/// Asks a gateway over its socket. Blocks, at most [`IDLE_TIMEOUT`] for each step.
///
/// # Errors
/// Nobody listens there, one may not, or the answer is not one.
pub fn ask(path: &Path, request: &Request) -> std::io::Result<Answer> {
    let mut stream = std::os::unix::net::UnixStream::connect(path)?;
    stream.set_read_timeout(Some(IDLE_TIMEOUT))?;
    stream.set_write_timeout(Some(IDLE_TIMEOUT))?;
    let mut text = serde_json::to_vec(request)?;
    text.push(b'\n');
    stream.write_all(&text)?;
    let mut line = Vec::new();
    let mut read = std::io::BufReader::new(stream.take(ANSWER_LIMIT));
    read.read_until(b'\n', &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_its_groups_which_reads_nothing_else() {
        let directory = std::env::temp_dir().join(format!("fanal-socket-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let path = directory.join("gateway.sock");
        let own = rustix::process::getegid().as_raw();
        // Another group, where this user may give files away; else the one it has.
        let other = if rustix::process::geteuid().is_root() {
            own + 1
        } else {
            own
        };
        for (group, wanted) in [(None, own), (Some(other.to_string()), other)] {
            let socket = Socket::bind(&path, group.as_deref()).unwrap();
            let found = std::fs::metadata(&path).unwrap();
            assert_eq!((found.gid(), found.mode() & 0o777), (wanted, 0o660));
            drop(socket);
        }
        let refused = Socket::bind(&path, Some("fanal-no-such-group")).unwrap_err();
        assert!(refused.to_string().contains("groupadd"), "{refused}");
        let key = directory.join("key");
        std::fs::write(&key, "").unwrap();
        for (mode, readable) in [(0o640, true), (0o600, false)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(reads(own, &key), readable);
            assert!(!reads(own + 1, &key));
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
