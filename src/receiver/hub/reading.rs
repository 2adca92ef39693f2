//! How the groups of an allowed relay are read: no longer than they are of use, and as
//! far as the commune's budget goes.

use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::Hub;
use crate::link::group::{GroupReader, ReadError};
use crate::media::unit::AccessUnit;
use crate::media::wire::{GroupHeader, SUPERSEDED};
use crate::reason::Reason;
use crate::receiver::camera::Camera;

/// Why a group is read no further.
enum Stop {
    /// A newer one's turn came, or nobody wants it any more.
    Passed,
    /// Nothing came for too long.
    Idle,
    /// The stream.
    Read(ReadError),
}

impl Hub {
    /// Reads a group whose every picture may need the one before.
    pub(super) async fn read_group(
        &self,
        camera: &Camera,
        header: &GroupHeader,
        reader: &mut GroupReader,
        (grace, offset): (Duration, i64),
    ) {
        let group = &header.group;
        if !camera.take_turn(group.number, grace).await {
            reader.stop(SUPERSEDED);
            return;
        }
        let mut passed = pin!(camera.passed(group.number));
        let mut idle = pin!(tokio::time::sleep(self.shared.waits.idle));
        let mut is_first = true;
        let is_complete = loop {
            let wait = camera.pace();
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
            let next = self.next(camera, reader, (passed.as_mut(), idle.as_mut()));
            match next.await {
                Ok(Some(unit)) => {
                    if !camera.take_unit(group, unit, is_first, offset) {
                        reader.stop(SUPERSEDED);
                        break false;
                    }
                    is_first = false;
                }
                Ok(None) => break true,
                Err(stop) => {
                    end_short(camera, reader, &stop);
                    break false;
                }
            }
        };
        camera.end_turn(group.number, is_complete);
    }

    /// Reads a group of one picture: the newest that is whole wins.
    pub(super) async fn read_picture(
        &self,
        camera: &Camera,
        header: &GroupHeader,
        reader: &mut GroupReader,
        offset: i64,
    ) {
        let group = &header.group;
        let passed = pin!(camera.passed(group.number));
        let idle = pin!(tokio::time::sleep(self.shared.waits.idle));
        match self.next(camera, reader, (passed, idle)).await {
            Ok(Some(unit)) => {
                if !camera.take_picture(group, unit, offset) {
                    reader.stop(SUPERSEDED);
                }
            }
            Ok(None) => {}
            Err(stop) => end_short(camera, reader, &stop),
        }
    }

    /// The next picture of a group; after an error the group can't be read on.
    async fn next(
        &self,
        camera: &Camera,
        reader: &mut GroupReader,
        (mut passed, mut idle): (Pin<&mut impl Future<Output = ()>>, Pin<&mut Sleep>),
    ) -> Result<Option<AccessUnit>, Stop> {
        let progress = reader.progress();
        let mut seen = progress.chunks();
        let mut unit = pin!(reader.unit());
        let patience = self.shared.waits.idle;
        idle.as_mut().reset(Instant::now() + patience);
        loop {
            tokio::select! {
                biased;
                unit = &mut unit => return unit.map_err(Stop::Read),
                () = &mut passed => return Err(Stop::Passed),
                () = &mut idle => {
                    let chunks = progress.chunks();
                    let stalls = progress.is_within_unit() && chunks == seen;
                    if stalls && !self.is_silent(&camera.commune) {
                        return Err(Stop::Idle);
                    }
                    seen = chunks;
                    idle.as_mut().reset(Instant::now() + patience);
                }
            }
        }
    }
}

fn end_short(camera: &Camera, reader: &mut GroupReader, stop: &Stop) {
    let (commune, camera) = (&camera.commune, &camera.id);
    match stop {
        Stop::Passed => reader.stop(SUPERSEDED),
        Stop::Idle => {
            reader.stop(Reason::ProtocolError.number());
            tracing::warn!(%commune, %camera, "a picture that does not go on is given up");
        }
        Stop::Read(error @ (ReadError::Decode(_) | ReadError::NoRoom)) => {
            reader.stop(Reason::ProtocolError.number());
            tracing::warn!(%commune, %camera, %error, "group refused");
        }
        Stop::Read(error) => {
            tracing::debug!(%commune, %camera, %error, "group ended short");
        }
    }
}
