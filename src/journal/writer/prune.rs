//! Months whose time is over, as the handles and the thread see them.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{APPEND_TIMEOUT, Error, Job, LEAST_CHARGE, Shared, Writer};
use crate::clock::{Clock, Wall};
use crate::format::keep::Keep;
use crate::journal::log::Log;
use crate::journal::log_key;
use crate::journal::retention::{self, Anchor, Outcome, Rule, Scan};
use crate::journal::store::{Disk, Store};

pub(super) struct Prune {
    pub(super) scan: Box<Scan>,
    pub(super) rule: Rule,
    pub(super) reply: oneshot::Sender<Result<Outcome, Error>>,
}

impl Writer {
    /// What names the lines that were pruned; none where the journal has its first line. Reads
    /// files, so it is not for a runtime's thread.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn anchor(&self) -> std::io::Result<Option<Anchor>> {
        let mut store = Disk::existing(&self.shared.directory)?;
        let months = store.months()?;
        retention::anchor(&mut store, &months)
    }

    /// How long months are kept from now on, [`Keep::MOST`] before that, and whether the journal has
    /// witnesses who cosign a month before it goes.
    pub fn set_keep(&self, keep: Keep, witnessed: bool) {
        let mut state = self.shared.state();
        state.rule = Rule {
            keep,
            witnessed,
            ..state.rule
        };
    }

    /// Removes the oldest month, if it is older than it may be ([`Writer::set_keep`]), nothing needs it and none was
    /// removed within the last day (see [`crate::journal::retention`]). The whole journal is read first
    /// where a month is to go. `is_plausible` judges the clock by the journal's newest time; in
    /// doubt nothing goes.
    ///
    /// # Errors
    /// What could not be read, written or removed; the next try goes on from there.
    pub async fn prune(
        &self,
        clock: Clock,
        is_plausible: impl FnOnce(Option<Wall>) -> bool + Send + 'static,
    ) -> Result<Outcome, Error> {
        let (directory, rule) = (self.shared.directory.clone(), self.shared.state().rule);
        let scan = tokio::task::spawn_blocking(move || {
            let fail = |error: &dyn std::fmt::Display| Error(format!("reading it: {error}"));
            let mut store = Disk::existing(&directory).map_err(|error| fail(&error))?;
            let scan = Scan::read(&mut store, rule.keep, clock.now().wall);
            let scan = scan.map_err(|error| fail(&error))?;
            Ok(scan.filter(|scan| is_plausible(scan.found().newest)))
        });
        let scan = scan.await.map_err(|error| Error(error.to_string()))?;
        let Some(scan) = scan?.map(Box::new) else {
            return Ok(Outcome::Nothing);
        };
        let ended = || Error("the journal is closed".to_owned());
        let least = u32::try_from(LEAST_CHARGE).map_err(|_| ended())?;
        // As an entry: the room bounds the number of jobs to what the queue holds.
        let room = Arc::clone(&self.room).acquire_many_owned(least).await;
        let _room = room.map_err(|_| ended())?;
        let (reply, done) = oneshot::channel();
        let job = Job::Prune(Prune { scan, rule, reply });
        self.jobs.try_send(job).map_err(|_| ended())?;
        let done = tokio::time::timeout(APPEND_TIMEOUT, done).await;
        let late = |_| Error("the disk did not answer".to_owned());
        done.map_err(late)?.unwrap_or_else(|_| Err(ended()))
    }
}

pub(super) fn prune(log: &mut Log, job: Prune, shared: &Shared) {
    // The journal's directory is below `state_dir`.
    let state_dir = shared.directory.parent();
    let key = |origin: &str| {
        let kept = log_key::kept(state_dir?, origin);
        // The month goes all the same: it is named by a head.
        kept.inspect_err(|error| tracing::error!(error, "an anchor has no checkpoint"))
            .ok()?
    };
    let done = log.prune(*job.scan, job.rule, key).map_err(Error);
    shared.publish(log);
    shared.follow(log, &[]);
    let _ = job.reply.send(done);
}
