//! Whether the daemon may read what `fanal check` read as root. The daemon's user is the
//! owner of `state_dir`; files are judged by their modes alone, as the kernel does without
//! capabilities and access control lists.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::config::{Disk, Files};
use crate::secret::Secret;

/// A disk that remembers what was read.
pub(super) struct Recorded {
    disk: Disk,
    read: RefCell<BTreeSet<PathBuf>>,
}

impl Recorded {
    pub(super) fn new(disk: Disk) -> Self {
        Self {
            disk,
            read: RefCell::default(),
        }
    }

    /// Keys of authorities beside what was read, a warning each: who takes this machine would be
    /// every machine or every operator.
    pub(super) fn authority_keys(&self) -> Vec<String> {
        let read = self.read.borrow();
        let directories: BTreeSet<&Path> = read.iter().filter_map(|path| path.parent()).collect();
        let files = directories.into_iter().flat_map(|directory| {
            let files = std::fs::read_dir(directory).into_iter().flatten();
            files.filter_map(|file| Some(file.ok()?.path()))
        });
        let mut keys: Vec<PathBuf> = files.filter(|path| is_authority_key(path)).collect();
        keys.sort();
        let said = keys.iter().map(|key| {
            format!(
                "{}: THE KEY OF AN AUTHORITY IS ON THIS MACHINE; take it away now, it belongs to no daemon: who has it can pose as anybody it signs for",
                key.display()
            )
        });
        said.collect()
    }

    /// What the daemon's user can't read of it, a warning each. Nothing unless this is root
    /// and the directory is there.
    pub(super) fn unreadable(&self, state_dir: &Path) -> Vec<String> {
        let Ok(state) = std::fs::metadata(state_dir) else {
            return Vec::new();
        };
        if !rustix::process::geteuid().is_root() || state.uid() == 0 {
            return Vec::new();
        }
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let user = User::new(
            state.uid(),
            state.gid(),
            &read("/etc/passwd"),
            &read("/etc/group"),
        );
        let read = self.read.borrow();
        let barred = read.iter().filter_map(|path| {
            let at = user.barred(path)?;
            Some(format!(
                "{}: user {} can't read it ({}); give it to the group of that user: chgrp {} and chmod g+{}",
                path.display(),
                user.name,
                at.display(),
                user.group,
                if at == *path { "r" } else { "rx" },
            ))
        });
        barred.collect()
    }
}

fn is_authority_key(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".key") && (name.ends_with("-ca.key") || name.contains("-ca.old-"))
}

impl Files for Recorded {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.disk.read(path, limit)?;
        self.read.borrow_mut().insert(path.to_owned());
        Ok(bytes)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.disk.mode(path)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.disk.variable(name)
    }

    fn keep_secret(&self, path: &Path, secret: &Secret) -> io::Result<bool> {
        self.disk.keep_secret(path, secret)
    }
}

/// A user and the groups that it is in.
#[derive(Debug)]
struct User {
    id: u32,
    groups: Vec<u32>,
    name: String,
    /// The name of its first group.
    group: String,
}

impl User {
    /// From the text of passwd(5) and group(5).
    fn new(id: u32, group: u32, passwd: &str, groups: &str) -> Self {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let number = |text: Option<&String>| text.and_then(|text| text.parse::<u32>().ok());
        let account = passwd
            .lines()
            .map(fields)
            .find(|line| number(line.get(2)) == Some(id));
        let name = account
            .as_ref()
            .map_or_else(|| id.to_string(), |line| line[0].clone());
        let own = account
            .and_then(|line| number(line.get(3)))
            .unwrap_or(group);
        let mut found = Self {
            id,
            groups: vec![own],
            group: own.to_string(),
            name,
        };
        for line in groups.lines().map(fields) {
            let Some(number) = number(line.get(2)) else {
                continue;
            };
            if number == own {
                found.group.clone_from(&line[0]);
            }
            let members = line.get(3).map(String::as_str).unwrap_or_default();
            if members.split(',').any(|member| member == found.name) {
                found.groups.push(number);
            }
        }
        found
    }

    /// Whether the mode's bit for reading (4) or passing (1) is this user's.
    fn may(&self, bit: u32, mode: u32, owner: u32, group: u32) -> bool {
        let shift = if owner == self.id {
            6
        } else if self.groups.contains(&group) {
            3
        } else {
            0
        };
        mode >> shift & bit != 0
    }

    /// The file or the directory on the way to it that bars this user.
    fn barred(&self, path: &Path) -> Option<PathBuf> {
        let path = std::fs::canonicalize(path).ok()?;
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        way.into_iter()
            .find(|at| {
                let bit = if *at == path { 4 } else { 1 };
                std::fs::metadata(at).is_ok_and(|is| !self.may(bit, is.mode(), is.uid(), is.gid()))
            })
            .map(Path::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_keys_are_known_by_their_names() {
        for (name, is_one) in [
            ("/etc/fanal/link-ca.key", true),
            ("designation-ca.old-4a.key", true),
            ("berre.key", false),
            ("link-ca.pem", false),
        ] {
            assert_eq!(is_authority_key(Path::new(name)), is_one, "{name}");
        }
    }

    #[test]
    fn a_user_reads_as_owner_then_group_then_other() {
        let passwd = "root:x:0:0::/root:/bin/sh\nfanal:x:990:980::/var/lib/fanal:/bin/false\n";
        let groups = "root:x:0:\nfanal:x:980:\nkeys:x:970:anna,fanal\nother:x:960:anna\n";
        let user = User::new(990, 0, passwd, groups);
        assert_eq!(
            (user.name.as_str(), user.group.as_str()),
            ("fanal", "fanal")
        );
        assert_eq!(user.groups, [980, 970]);
        for (mode, owner, group, may) in [
            (0o600, 0, 0, false),
            (0o640, 0, 980, true),
            (0o640, 0, 970, true),
            (0o640, 0, 960, false),
            (0o644, 0, 0, true),
            (0o400, 990, 0, true),
            // The owner's bits alone count for the owner.
            (0o044, 990, 0, false),
            (0o604, 0, 980, false),
        ] {
            assert_eq!(
                user.may(4, mode, owner, group),
                may,
                "{mode:o} {owner} {group}"
            );
        }
    }
}
