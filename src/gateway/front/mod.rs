//! The camera front: the one place that makes any camera plain for retina.
//!
//! All cameras go through it. An RTSP client of ours, as lenient as the field demands,
//! ends the camera's dialogue ([`message`], [`challenge`], [`description`],
//! [`location`], [`dialogue`], [`keepalive`]), its RTP and its RTCP ([`pictures`]); retina opens a
//! session with us over the loopback ([`plain`]) that is as the RFCs have it, for it
//! has no way to be handed a socket. [`fix`] lists what is made up for, each row with
//! a scripted camera in the tests and in `fanal simulate --fault`.
//!
//! | of the camera | here | to retina |
//! |---|---|---|
//! | RTSP of any form, redirects, challenges, hang-ups | [`dialogue`] decides, [`conversation`] carries out | ours: no password, one track |
//! | packets with any numbers, SSRC, markers, padding, in any order | [`pictures`] makes whole pictures | one SSRC, continuous numbers, a marker a picture |
//! | RTCP, or none; wants reports or hangs up | read where well-formed; a report every 5 s | none |
//! | several parameter sets, changing, in band or not | [`pictures`] makes configurations | beside retina, in a note |
//!
//! The password never reaches retina, and it answers for the host and port of the
//! camera's URL alone. Bounds: a head of 16 KiB, a description of 256 KiB, a picture of
//! 8 MiB, two pictures on their way to retina, parameter sets of 4 KiB, some channels
//! beside those that the camera was given.

pub mod fix;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod trace;

pub(super) mod challenge;
mod conversation;
mod description;
mod dialogue;
mod keepalive;
mod location;
mod loopback;
mod media;
mod message;
mod pictures;
mod plain;
mod transport;
mod udp;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use url::Url;

use super::cause;
use super::host::Turn;
use super::session::{Limits, Progress, Target};
use crate::clock::Clock;
use crate::media::unit::Codec;
use crate::policy::camera::Failure;
use crate::reason::Reason;
use conversation::Conversation;
use loopback::Ready;
use trace::Trace;

pub(crate) use dialogue::Learned;
pub(super) use plain::{Note, Notes};

/// What a session with a camera needs.
#[derive(Debug)]
pub(super) struct Opening {
    pub(super) target: Arc<Target>,
    /// The right to try the password.
    pub(super) turn: Option<Turn>,
    pub(super) limits: Limits,
    pub(super) progress: Arc<Progress>,
    pub(super) learned: Learned,
    pub(super) trace: Option<Trace>,
    pub(super) clock: Clock,
}

/// The sessions of one camera that are not over, TEARDOWN included; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions(TaskTracker);

impl Sessions {
    /// Waits until all are over, for at most `limit`.
    pub(crate) async fn wait_over(&self, limit: Duration) {
        self.0.close();
        // What goes on is logged by the session itself.
        let _ = tokio::time::timeout(limit, self.0.wait()).await;
        self.0.reopen();
    }
}

/// What a session leaves for its owner.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Left>);

#[derive(Debug, Default)]
struct Left {
    verdict: Mutex<Option<Failure>>,
    /// µs.
    clock_offset: Mutex<Option<i64>>,
}

impl Shared {
    /// Notes why it ended; the first cause is kept.
    fn decide(&self, failure: Failure) {
        let mut verdict = self
            .0
            .verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        verdict.get_or_insert(failure);
    }

    fn set_clock_offset(&self, offset: i64) {
        let mut known = self
            .0
            .clock_offset
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *known = Some(offset);
    }
}

/// Asks a camera for its description, OPTIONS first, and sets nothing up.
///
/// # Errors
/// Why it can't be described, for the operator.
pub(super) async fn look(opening: Opening) -> Result<(), Failure> {
    Conversation::new(opening, Shared::default()).look().await
}

/// A session with a camera that is set up. Dropped, it sends TEARDOWN in the background.
#[derive(Debug)]
pub(super) struct Front {
    url: Url,
    codec: Codec,
    notes: Notes,
    shared: Shared,
    _cancel: DropGuard,
}

impl Front {
    /// Opens a session as far as SETUP; retina's PLAY plays it.
    ///
    /// # Errors
    /// Why the camera can't be played, for the operator.
    pub(super) async fn open(
        opening: Opening,
        sessions: &Sessions,
        tasks: &TaskTracker,
    ) -> Result<Self, Failure> {
        let (cancel, shared) = (CancellationToken::new(), Shared::default());
        let guard = cancel.clone().drop_guard();
        let (ready, opened) = oneshot::channel();
        let conversation = Conversation::new(opening, shared.clone());
        let running = sessions.0.track_future(conversation.run(ready, cancel));
        tasks.spawn(running);
        let Ok(opened) = opened.await else {
            return Err(cause::again(Reason::Internal, "its session ended at once"));
        };
        let Ready { url, codec, notes } = opened?;
        Ok(Self {
            url,
            codec,
            notes,
            shared,
            _cancel: guard,
        })
    }

    /// What retina is to open.
    pub(super) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(super) const fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Why the session ended, once it has.
    pub(super) fn verdict(&self) -> Option<Failure> {
        let verdict = &self.shared.0.verdict;
        verdict
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The camera's clock less ours in µs, by its last sender report.
    pub(super) fn clock_offset(&self) -> Option<i64> {
        let known = &self.shared.0.clock_offset;
        *known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
