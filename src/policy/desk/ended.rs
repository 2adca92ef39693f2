//! Ended grants: what may still be asked of them, within a bound.
//!
//! | kept | of which | how long | bound |
//! |---|---|---|---|
//! | the grant as it is shown, with its end | all | [`ENDED_KEPT`] | [`TOLD_LIMIT`], [`TOLD_BYTES`]; the oldest ends go first |
//! | the gateway's proof in it | the newest | as above | [`PROOFS_LIMIT`], each at most a statement's 16 KiB; the journal has them all |
//! | a [`Mark`]: that it ended, why, and who is named for it | all | as above, and to the grant's own time | [`MARKS_LIMIT`] of some 200 bytes |
//!
//! So all ended grants together cost at most some 14 MiB, and one of a few cameras
//! about 1 KB. The API shares what it shows, and never copies it. The
//! statements behind a grant (request, certificates, heads) go at its end.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::shown::{End, Grant};
use super::{Desk, ENDED_KEPT};
use crate::clock::{Boot, Now};
use crate::format::control::RelayState;
use crate::format::ids::{CommuneId, GrantId};
use crate::format::statement::Operator;
use crate::reason::Refusal;

/// Ended grants that are shown.
const TOLD_LIMIT: usize = 4_096;
/// Their bytes, by [`Grant::bytes`], proofs left out.
const TOLD_BYTES: usize = 8 * 1024 * 1024;
/// Ended grants that are shown with their proof.
const PROOFS_LIMIT: usize = 128;
/// Ended grants that must stay ended, should their gateway send them again.
const MARKS_LIMIT: usize = 16_384;

/// Ended grants by id, as they are shown.
pub type Told = BTreeMap<GrantId, Arc<Grant>>;

/// What is known of an ended grant to the end of its time: until then its proof
/// is valid, and its gateway could send it as live.
#[derive(Debug)]
struct Mark {
    /// When its own time is over.
    deadline: Boot,
    /// When it ended.
    at: Boot,
    /// Why.
    refusal: Refusal,
    /// Whose grant it was.
    commune: CommuneId,
    /// The operator's number.
    operator: Box<str>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Ended {
    told: Arc<Told>,
    /// Those that are told, the oldest end first.
    order: VecDeque<GrantId>,
    /// Bytes of those that are told.
    bytes: usize,
    marks: BTreeMap<GrantId, Mark>,
}

impl Ended {
    /// Those that ended less than [`ENDED_KEPT`] ago.
    pub(super) fn told(&self) -> &Arc<Told> {
        &self.told
    }

    /// Whether this grant ended, as far as is known.
    pub(super) fn contains(&self, grant: GrantId) -> bool {
        self.marks.contains_key(&grant)
    }

    /// Why it ended.
    pub(super) fn refusal(&self, grant: GrantId) -> Option<&Refusal> {
        self.marks.get(&grant).map(|mark| &mark.refusal)
    }

    /// The operator's number, for the grant's own commune.
    pub(super) fn operator(&self, grant: GrantId, commune: &CommuneId) -> Option<&str> {
        let mark = self.marks.get(&grant);
        let mark = mark.filter(|mark| &mark.commune == commune);
        mark.map(|mark| &*mark.operator)
    }

    /// Takes a grant whose `end` is set.
    pub(super) fn insert(&mut self, view: Grant) {
        let grant = view.id;
        let Some(end) = &view.end else {
            return;
        };
        self.mark(grant, &view, end.clone());
        self.bytes += view.bytes();
        let told = Arc::make_mut(&mut self.told);
        if let Some(before) = told.insert(grant, Arc::new(view)) {
            self.bytes -= before.bytes();
            self.order.retain(|other| *other != grant);
        }
        self.order.push_back(grant);
        let without_proof = self.order.len().checked_sub(PROOFS_LIMIT + 1);
        if let Some(old) = without_proof.and_then(|at| self.order.get(at))
            && let Some(view) = told.get_mut(old)
        {
            let bare = Grant {
                proof: Arc::default(),
                ..Grant::clone(view)
            };
            *view = Arc::new(bare);
        }
        while self.order.len() > TOLD_LIMIT || self.bytes > TOLD_BYTES {
            self.forget_oldest();
        }
    }

    fn mark(&mut self, grant: GrantId, view: &Grant, end: End) {
        if self.marks.len() >= MARKS_LIMIT && !self.marks.contains_key(&grant) {
            let first = self.marks.iter().min_by_key(|(_, mark)| mark.deadline);
            if let Some(first) = first.map(|(id, _)| *id) {
                self.marks.remove(&first);
            }
        }
        let mark = Mark {
            deadline: view.deadline,
            at: end.at.boot,
            refusal: end.refusal,
            commune: view.commune.clone(),
            operator: view.operator.number.as_str().into(),
        };
        self.marks.insert(grant, mark);
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front()
            && let Some(view) = Arc::make_mut(&mut self.told).remove(&oldest)
        {
            self.bytes -= view.bytes();
        }
    }

    /// Forgets what can matter no more; whether what is shown changed.
    pub(super) fn forget(&mut self, now: Now) -> bool {
        let before = self.order.len();
        while let Some(view) = self.order.front().and_then(|id| self.told.get(id))
            && !view.is_told(now)
        {
            self.forget_oldest();
        }
        self.marks
            .retain(|_, mark| mark.deadline > now.boot || now.boot.since(mark.at) < ENDED_KEPT);
        self.order.len() != before
    }
}

impl Grant {
    /// What it costs in memory, roughly, its proof left out: that one is shared
    /// while the grant lives, and counted by number afterwards.
    fn bytes(&self) -> usize {
        let refusal = |refusal: &Refusal| size_of::<Refusal>() + refusal.detail.len();
        let cameras = self.cameras.iter().map(|camera| {
            let detail = camera
                .refusal
                .as_ref()
                .map_or(0, |refusal| refusal.detail.len());
            size_of_val(camera) + camera.camera.as_str().len() + detail
        });
        let refused = self.refused.iter().map(|refused| {
            size_of_val(refused) + refused.camera.as_str().len() + refusal(&refused.refusal)
        });
        let operator = &self.operator;
        let texts = [
            self.commune.as_str(),
            self.incident.as_str(),
            &self.grounds,
            &operator.name,
            &operator.number,
            &operator.unit,
        ];
        let end = self.end.as_ref().map_or(0, |end| {
            let by = end.by.as_ref();
            let by = by.map_or(0, |by| by.name.len() + by.number.len() + by.unit.len());
            refusal(&end.refusal) + by
        });
        let present = self.present.iter();
        let present = present.map(|name| size_of::<String>() + name.len());
        let own = size_of::<Self>()
            + texts.iter().map(|text| text.len()).sum::<usize>()
            + present.sum::<usize>();
        own + end + cameras.sum::<usize>() + refused.sum::<usize>()
    }
}

impl Desk {
    /// A grant that was live, or that the journal tells of, is over: its cameras
    /// end with it, and it is shown a while yet.
    pub(super) fn keep_ended(
        &mut self,
        mut view: Grant,
        refusal: Refusal,
        by: Option<Operator>,
        at: Now,
    ) {
        for camera in &mut view.cameras {
            if camera.is_open() {
                camera.state = RelayState::Ended;
                camera.refusal = None;
            }
        }
        view.end = Some(End { refusal, by, at });
        self.ended.insert(view);
    }

    /// Who is named when an end that the gateway missed is told again.
    pub(super) fn ended_by(&self, grant: GrantId, commune: &CommuneId) -> String {
        let operator = self.ended.operator(grant, commune);
        operator.map_or_else(|| self.rules.centre.to_string(), str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::GrantCamera;
    use super::*;
    use crate::clock::Wall;
    use crate::format::ids::{CameraId, Incident};
    use crate::media::relay::Profile;
    use crate::reason::Reason;

    fn at(seconds: u64) -> Now {
        Now {
            boot: Boot(Duration::from_secs(seconds)),
            wall: Wall::from_seconds(1_795_400_000 + i64::try_from(seconds).unwrap()),
        }
    }

    /// A grant of an hour with a proof of 5 kB, as a gateway with a chain of two signs it.
    fn grant(number: usize, cameras: usize, end: Now) -> Grant {
        let camera = |number| GrantCamera {
            camera: CameraId::new(format!("camera-{number}")).unwrap(),
            state: RelayState::Ended,
            refusal: None,
            profile: Profile::Main,
            profile_cause: None,
            relay: None,
            asked: end.boot,
            pictured: true,
        };
        Grant {
            id: GrantId(uuid::Uuid::from_u128(number as u128)),
            commune: CommuneId::new("berre-l-etang").unwrap(),
            incident: Incident::new("2026-42").unwrap(),
            grounds: "assault".to_owned(),
            agreement: None,
            operator: Operator {
                name: "A. Martin".to_owned(),
                number: "4711".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            present: Vec::new(),
            start: end.wall,
            authority: crate::format::ids::Sha256::ZERO,
            credentials: 0,
            expires: end.wall,
            until: end.wall,
            deadline: end.boot.plus(Duration::from_secs(3_600)),
            cameras: (0..cameras).map(camera).collect(),
            refused: Vec::new(),
            proof: "x".repeat(5_000).into(),
            receiver: None,
            elsewhere: false,
            password: None,
            end: Some(End {
                refusal: Refusal::new(Reason::GrantReleased, "released by A. Martin (4711)"),
                by: None,
                at: end,
            }),
        }
    }

    /// Bytes of what is shown, proofs included.
    fn bytes(ended: &Ended) -> usize {
        let proofs = ended.told.values().map(|view| view.proof.len());
        ended.bytes + proofs.sum::<usize>()
    }

    #[test]
    fn an_ended_grant_costs_a_kilobyte_once_some_more_have_ended() {
        let mut ended = Ended::default();
        for number in 0..PROOFS_LIMIT {
            ended.insert(grant(number, 1, at(1)));
        }
        let before = bytes(&ended);
        for number in 0..1_000 {
            ended.insert(grant(PROOFS_LIMIT + number, 1, at(2)));
        }
        let each = (bytes(&ended) - before) / 1_000;
        assert!(each < 1_024, "{each}");
        let proofs = ended.told.values().filter(|view| !view.proof.is_empty());
        assert_eq!(proofs.count(), PROOFS_LIMIT);
        let counted: usize = ended.told.values().map(|view| view.bytes()).sum();
        assert_eq!(counted, ended.bytes);
    }

    #[test]
    fn all_that_is_shown_of_ended_grants_is_bounded_and_they_stay_ended() {
        let mut ended = Ended::default();
        for number in 0..1_000 {
            ended.insert(grant(number, 200, at(1)));
            assert!(ended.bytes <= TOLD_BYTES);
        }
        assert!(ended.told.len() < 1_000);
        let first = GrantId(uuid::Uuid::from_u128(0));
        assert!(!ended.told.contains_key(&first) && ended.contains(first));
        let commune = CommuneId::new("berre-l-etang").unwrap();
        assert_eq!(ended.operator(first, &commune), Some("4711"));
        let other = CommuneId::new("rognac").unwrap();
        assert_eq!(ended.operator(first, &other), None);
        for number in 0..MARKS_LIMIT + 10 {
            ended.insert(grant(number, 1, at(2)));
        }
        assert_eq!(ended.told.len(), TOLD_LIMIT);
        assert_eq!(ended.marks.len(), MARKS_LIMIT);
        assert_eq!(ended.order.len(), TOLD_LIMIT);
    }

    #[test]
    fn what_is_shown_goes_after_its_time_and_the_mark_with_the_grants_own() {
        let mut ended = Ended::default();
        ended.insert(grant(1, 1, at(100)));
        let shown = Arc::clone(ended.told());
        let id = GrantId(uuid::Uuid::from_u128(1));
        assert!(!ended.forget(at(699)) && ended.told().contains_key(&id));
        assert!(
            Arc::ptr_eq(&shown, ended.told()),
            "nothing changed, nothing is copied"
        );
        assert!(ended.forget(at(700)));
        assert!(ended.told().is_empty() && ended.bytes == 0);
        assert_eq!(ended.refusal(id).unwrap().reason, Reason::GrantReleased);
        assert!(!ended.forget(at(3_699)) && ended.contains(id));
        ended.forget(at(3_700));
        assert!(!ended.contains(id));
    }
}
