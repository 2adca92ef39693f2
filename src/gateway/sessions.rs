//! Which cameras were open, from when to when and why, for the attestation.
//!
//! The frames thread notes, the control thread takes. A camera that stays open while another
//! grant takes its place makes a new row.
//!
//! | what | bound | when full |
//! |---|---|---|
//! | rows that nobody took | [`ROWS`] | further ones are counted |
//! | cameras that are open | as many as the settings name | – |

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Wall;
use crate::format::ids::{CameraId, GrantId};
use crate::journal::attestation::{Session, Why};

/// See the table above.
pub const ROWS: usize = 2_000;

/// Notes camera sessions. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct SessionLog(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<CameraId, (Wall, Why)>,
    /// Under which grant a camera was attached last.
    wanted: HashMap<CameraId, GrantId>,
    over: Vec<Session>,
    more: u64,
}

/// What was open in a period.
#[derive(Debug, Default)]
pub struct Taken {
    /// Each session, or its part in this period.
    pub sessions: Vec<Session>,
    /// How many more there were.
    pub more: u64,
}

impl SessionLog {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many rows wait to be taken.
    pub fn len(&self) -> usize {
        self.lock().over.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A relay of this grant holds the camera from now on.
    pub fn held_by(&self, camera: &CameraId, grant: GrantId, now: Wall) {
        let mut state = self.lock();
        state.wanted.insert(camera.clone(), grant);
        let Some((from, why)) = state.open.get_mut(camera) else {
            return;
        };
        if matches!(why, Why::Grant(of) if *of != grant) {
            let before = (*from, std::mem::replace(why, Why::Grant(grant)));
            *from = now;
            state.close(camera, before, now);
        }
    }

    /// A session of the camera begins; one that is set `warm` is open also while nobody looks at it.
    pub fn opened(&self, camera: &CameraId, is_warm: bool, now: Wall) {
        let mut state = self.lock();
        let grant = state.wanted.get(camera).copied().filter(|_| !is_warm);
        let why = grant.map_or(Why::Warm, Why::Grant);
        state.open.entry(camera.clone()).or_insert((now, why));
    }

    /// Its last session is over.
    pub fn closed(&self, camera: &CameraId, now: Wall) {
        let mut state = self.lock();
        if let Some(session) = state.open.remove(camera) {
            state.close(camera, session, now);
        }
    }

    /// A camera was looked at and not opened.
    pub fn probed(&self, camera: &CameraId, from: Wall, to: Wall) {
        self.lock().close(camera, (from, Why::Probe), to);
    }

    /// All that was open since the last call; what is open yet goes on from `now`.
    pub fn take(&self, now: Wall) -> Taken {
        let mut state = self.lock();
        let mut open: Vec<(CameraId, (Wall, Why))> = Vec::new();
        for (camera, session) in &mut state.open {
            open.push((camera.clone(), *session));
            session.0 = now;
        }
        for (camera, session) in open {
            state.close(&camera, session, now);
        }
        Taken {
            sessions: std::mem::take(&mut state.over),
            more: std::mem::take(&mut state.more),
        }
    }
}

impl State {
    fn close(&mut self, camera: &CameraId, (from, why): (Wall, Why), to: Wall) {
        if self.over.len() >= ROWS {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.over.push(Session {
            camera: camera.clone(),
            from: from.rfc3339(),
            to: to.max(from).rfc3339(),
            why,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn camera() -> CameraId {
        CameraId::new("quai").unwrap()
    }

    fn grant(number: u128) -> GrantId {
        GrantId(uuid::Uuid::from_u128(number))
    }

    fn rows(log: &SessionLog, at: i64) -> Vec<(Why, String)> {
        let taken = log.take(Wall::from_seconds(at)).sessions;
        let short = |text: &str| text[14..19].to_owned();
        let row = |one: Session| (one.why, format!("{} {}", short(&one.from), short(&one.to)));
        taken.into_iter().map(row).collect()
    }

    #[test]
    fn a_session_is_cut_where_a_period_ends_and_where_another_grant_takes_over() {
        let log = SessionLog::default();
        let at = Wall::from_seconds;
        log.held_by(&camera(), grant(1), at(0));
        assert_eq!(rows(&log, 10), [], "nothing is open yet");
        log.opened(&camera(), false, at(20));
        assert_eq!(
            rows(&log, 30),
            [(Why::Grant(grant(1)), "00:20 00:30".to_owned())]
        );
        log.held_by(&camera(), grant(2), at(40));
        log.closed(&camera(), at(50));
        let expected = [
            (Why::Grant(grant(1)), "00:30 00:40".to_owned()),
            (Why::Grant(grant(2)), "00:40 00:50".to_owned()),
        ];
        assert_eq!(rows(&log, 60), expected);
        // A warm one stays so while a grant looks at it.
        log.opened(&camera(), true, at(70));
        log.held_by(&camera(), grant(3), at(80));
        log.closed(&camera(), at(90));
        assert_eq!(rows(&log, 95), [(Why::Warm, "01:10 01:30".to_owned())]);
    }

    #[test]
    fn looks_are_told_too() {
        let log = SessionLog::default();
        let at = Wall::from_seconds;
        log.probed(&camera(), at(5), at(6));
        assert_eq!(rows(&log, 10), [(Why::Probe, "00:05 00:06".to_owned())]);
    }

    #[test]
    fn more_sessions_than_fit_are_counted() {
        let log = SessionLog::default();
        for second in 0..ROWS + 7 {
            let at = Wall::from_seconds(i64::try_from(second).unwrap());
            log.opened(&camera(), true, at);
            log.closed(&camera(), at);
        }
        let taken = log.take(Wall(0));
        assert_eq!((taken.sessions.len(), taken.more), (ROWS, 7));
    }
}
