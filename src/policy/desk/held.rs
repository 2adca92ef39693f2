//! Live grants, and which of them name a camera.

use std::sync::Arc;

use super::shown::Grant;
use super::{Desk, Permit};
use crate::format::designation::{Designation, Verified};
use crate::format::ids::{CameraId, CommuneId, GrantId, Sha256};
use crate::format::statement::RequestClaims;
use crate::media::relay::RelayId;

/// A live grant.
#[derive(Debug)]
pub(super) struct Held {
    /// Shared with the API: what did not change is never copied.
    pub(super) view: Arc<Grant>,
    pub(super) request: Verified<RequestClaims>,
    /// When it first began, seconds by the gateway's clock.
    pub(super) first_start: i64,
    /// Earlier requests of other operators, the newest of each: they were given the same URLs.
    pub(super) former: Vec<Verified<RequestClaims>>,
    /// `None` after a restart, until the gateway sent its proof again.
    pub(super) permit: Option<Permit>,
    /// Own head that covers the newest entry.
    pub(super) head: Option<String>,
    /// The newest of its requests that this journal holds: its pictures came here under that
    /// one, now or before. `None`: the journal has nothing of it.
    pub(super) recorded: Option<Sha256>,
}

impl Held {
    /// Whether this journal holds the grant under this request: only then do pictures come.
    pub(super) fn is_recorded_under(&self, request: Sha256) -> bool {
        self.recorded == Some(request)
    }

    /// Numbers of the operators who were given its RTSP URL under earlier requests.
    pub(super) fn holders(&self) -> Vec<String> {
        let former = self.former.iter();
        former
            .map(|request| request.designation().operator.number.clone())
            .collect()
    }

    /// Its former operators once `next` carries it on.
    pub(super) fn former_of(&self, next: &Designation) -> Vec<Verified<RequestClaims>> {
        let is_other =
            |request: &&Verified<RequestClaims>| !request.designation().is_same_operator(next);
        let before = self.former.iter().filter(|request| {
            let designation = request.designation();
            !designation.is_same_operator(self.request.designation())
        });
        let all = before.chain(std::iter::once(&self.request));
        all.filter(is_other).cloned().collect()
    }
}

impl Desk {
    /// A grant lives, or lives on.
    pub(super) fn hold(&mut self, grant: GrantId, held: Held) {
        let commune = &held.view.commune;
        for part in &held.view.cameras {
            let camera = (commune.clone(), part.camera.clone());
            self.of_camera.entry(camera).or_default().insert(grant);
        }
        self.grants.insert(grant, held);
    }

    /// A grant ends, or is about to be held otherwise.
    pub(super) fn let_go(&mut self, grant: GrantId) -> Option<Held> {
        let held = self.grants.remove(&grant)?;
        for part in &held.view.cameras {
            let camera = (held.view.commune.clone(), part.camera.clone());
            if let Some(grants) = self.of_camera.get_mut(&camera) {
                grants.remove(&grant);
                if grants.is_empty() {
                    self.of_camera.remove(&camera);
                }
            }
        }
        Some(held)
    }

    /// The live grants that name a camera.
    pub(super) fn grants_of(&self, commune: &CommuneId, camera: &CameraId) -> Vec<GrantId> {
        let grants = self.of_camera.get(&(commune.clone(), camera.clone()));
        grants.into_iter().flatten().copied().collect()
    }

    /// The relay that brings a camera's pictures, if a live grant has one.
    pub fn relay_of(&self, commune: &CommuneId, camera: &CameraId) -> Option<RelayId> {
        let grants = self.of_camera.get(&(commune.clone(), camera.clone()))?;
        let held = grants.iter().filter_map(|grant| self.grants.get(grant));
        held.filter_map(|held| held.view.camera(camera)?.relay)
            .next()
    }
}
