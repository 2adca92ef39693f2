//! Until when somebody may have watched, on disk: a receiver that is killed writes no end of its
//! viewings, and in a quiet centre its journal's last line is long before its last picture.
//!
//! The time is that of the last change of `state_dir/watched`, an empty file, and lies ahead of the pictures
//! that go out. After a loss of power it may be some seconds old, as the file system keeps such times.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::clock::Wall;

/// How far ahead the time lies, while it is set each second: the control thread may be late by the rest.
const AHEAD: Duration = Duration::from_secs(3);

/// The file.
pub(super) struct Watched {
    file: File,
    is_told: bool,
}

impl Watched {
    /// Opens it in the state directory, and gives the time that it had; none where it is new.
    pub(super) fn open(state_dir: &Path) -> Result<(Self, Option<Wall>), String> {
        let path = state_dir.join("watched");
        let before = std::fs::metadata(&path).and_then(|of| of.modified()).ok();
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| format!("{}: {error}", path.display()))?;
        let watched = Self {
            file,
            is_told: false,
        };
        Ok((watched, before.map(wall)))
    }

    /// Pictures go out now.
    pub(super) fn mark(&mut self, now: Wall) {
        let until = now.plus(AHEAD).0;
        let since = Duration::from_micros(u64::try_from(until).unwrap_or(0));
        let marked = self.file.set_modified(SystemTime::UNIX_EPOCH + since);
        if let (Err(error), false) = (&marked, self.is_told) {
            tracing::warn!(
                %error,
                "the time of state_dir/watched could not be set: if this receiver is killed, viewings end in the \
                 journal at its last line; check the file system of state_dir"
            );
        }
        self.is_told = marked.is_err();
    }
}

fn wall(time: SystemTime) -> Wall {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.unwrap_or_default().as_micros();
    Wall(i64::try_from(since).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_there_after_a_restart_and_ahead_of_what_was_seen() {
        let place = std::env::temp_dir().join(format!("fanal-watched-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&place).unwrap();
        let (mut watched, before) = Watched::open(&place).unwrap();
        assert_eq!(before, None);
        let now = Wall::from_seconds(1_900_000_000);
        watched.mark(now);
        drop(watched);
        let (_, before) = Watched::open(&place).unwrap();
        assert_eq!(before, Some(now.plus(AHEAD)));
        std::fs::remove_dir_all(&place).unwrap();
    }
}
