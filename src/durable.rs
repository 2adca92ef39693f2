//! Files that are replaced whole or not at all: after a crash, a power cut or a full disk the old
//! content is there, or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What replacing a file takes, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// What an earlier try left behind goes.
    Clear,
    /// The file beside is made.
    Create,
    /// It gets its content.
    Write,
    /// That is durable.
    Sync,
    /// It takes the place of the old one.
    Rename,
    /// Its name is durable.
    SyncDirectory,
}

/// Replaces a file's content, or makes the file, with these permissions. What is written first is
/// beside it, with the ending `new`.
///
/// # Errors
/// The disk refuses; the old content is there, or already the new one. The next try clears up.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    in_steps(path, content, mode, |_| Ok(()))
}

/// Where the content is written first.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// `before` each step may fail it.
fn in_steps(
    path: &Path,
    content: &[u8],
    mode: u32,
    mut before: impl FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let new = beside(path);
    before(Step::Clear)?;
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    before(Step::Create)?;
    // Never through a link that somebody else put there.
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
    before(Step::Write)?;
    file.write_all(content)?;
    before(Step::Sync)?;
    file.sync_all()?;
    before(Step::Rename)?;
    std::fs::rename(&new, path)?;
    before(Step::SyncDirectory)?;
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => File::open(directory)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const STEPS: [Step; 6] = [
        Step::Clear,
        Step::Create,
        Step::Write,
        Step::Sync,
        Step::Rename,
        Step::SyncDirectory,
    ];

    /// A directory of this test's own.
    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("fanal-durable-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn whatever_step_fails_one_content_is_whole_and_the_next_try_succeeds() {
        let directory = scratch("steps");
        let path = directory.join("some.key");
        for at in STEPS {
            // Torn: the disk filled up in the middle of the write.
            for torn in [false, true] {
                replace(&path, b"old", 0o600).unwrap();
                let failed = in_steps(&path, b"the new one", 0o600, |step| {
                    if step != at {
                        return Ok(());
                    }
                    if torn && step == Step::Write {
                        std::fs::write(beside(&path), b"the n").unwrap();
                    }
                    Err(io::ErrorKind::StorageFull.into())
                });
                let error = failed.unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{at:?}");
                let is_there = at == Step::SyncDirectory;
                let expected: &[u8] = if is_there { b"the new one" } else { b"old" };
                assert_eq!(std::fs::read(&path).unwrap(), expected, "{at:?}");
                replace(&path, b"next", 0o600).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), b"next", "{at:?}");
                assert!(!beside(&path).exists(), "{at:?}");
            }
        }
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_steps_come_in_their_order_and_permissions_are_the_new_files() {
        let directory = scratch("order");
        let path = directory.join("list.crl.pem");
        let mut steps = Vec::new();
        let done = in_steps(&path, b"x", 0o640, |step| {
            steps.push(step);
            Ok(())
        });
        done.unwrap();
        assert_eq!(steps, STEPS);
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // A link in the place of the file beside is removed and not followed.
        let victim = directory.join("victim");
        std::fs::write(&victim, "v").unwrap();
        std::os::unix::fs::symlink(&victim, beside(&path)).unwrap();
        replace(&path, b"y", 0o600).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"v");
        assert_eq!(std::fs::read(&path).unwrap(), b"y");
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
