//! Who of this machine's accounts acts, for the journal: the account that a process runs as, and
//! the person who logged in before `sudo`.
//!
//! The kernel knows both. Each process keeps the user id of its login (`/proc/PID/loginuid`), which
//! `sudo` and `su` do not change and, once set, only an administrator can. Where nothing
//! sets it (containers, systems without pam_loginuid), the nearest process above it of another
//! account than root tells who called `sudo`. Last comes `SUDO_USER`, which root may set to anything:
//! it is told as claimed. The text names its source, so that a reader knows how good it is.

use std::path::{Path, PathBuf};

/// Largest file of `/proc` that is read, and largest `/etc/passwd`.
const FILE_LIMIT: u64 = 1024 * 1024;
/// Most processes above one that are looked at.
const ABOVE: usize = 32;
/// Longest name that is told, in bytes; Linux's own limit.
const NAME_LIMIT: usize = 32;
/// The login's user id of a process that nobody logged in for.
const NO_LOGIN: u32 = u32::MAX;
const ROOT: u32 = 0;

/// This process's, as [`of`] says it.
pub fn own() -> String {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    of(Some(pid), rustix::process::geteuid().as_raw())
}

/// Whose process `pid` is, which runs as `uid`: `uid 1000 (anne)`, or
/// `uid 0 (root), login uid 1000 (anne)` behind `sudo`. At most 128 characters.
///
/// The id may be another process's by now if it has ended: what `/proc` says counts only where the
/// account is the same.
pub fn of(pid: Option<i32>, uid: u32) -> String {
    System(PathBuf::from("/")).of(pid, uid)
}

/// The number of a group, by its name or as it is written.
pub fn group(written: &str) -> Option<u32> {
    System(PathBuf::from("/")).group(written)
}

/// A group's name, or its number where it has none.
pub fn group_name(number: u32) -> String {
    System(PathBuf::from("/")).group_name(number)
}

/// The files that know it, below a root.
struct System(PathBuf);

impl System {
    fn of(&self, pid: Option<i32>, uid: u32) -> String {
        let own = self.named(uid);
        let behind = pid.and_then(|pid| self.behind(pid, uid));
        match behind {
            Some(behind) => format!("{own}, {behind}"),
            None if uid == ROOT => format!("{own}, login unknown"),
            None => own,
        }
    }

    /// Who is behind the account, if that is another.
    fn behind(&self, pid: i32, uid: u32) -> Option<String> {
        let login = self.login(pid);
        let parent = self
            .process(pid)
            .filter(|process| process.uid == uid)?
            .parent;
        if let Some(login) = login {
            return (login != uid).then(|| format!("login {}", self.named(login)));
        }
        if let Some(above) = self.above(parent, uid) {
            return Some(format!("started by {}", self.named(above)));
        }
        let claimed = self.claimed(pid).filter(|_| uid == ROOT)?;
        Some(format!("SUDO_USER {claimed} (claimed)"))
    }

    /// `None` where nobody logged in, or the kernel does not tell.
    fn login(&self, pid: i32) -> Option<u32> {
        let text = self.read(&format!("proc/{pid}/loginuid"))?;
        text.trim().parse().ok().filter(|login| *login != NO_LOGIN)
    }

    /// The nearest process of another account, from this one up.
    fn above(&self, mut pid: i32, uid: u32) -> Option<u32> {
        for _ in 0..ABOVE {
            let process = self.process(pid)?;
            if process.uid != uid && process.uid != ROOT {
                return Some(process.uid);
            }
            pid = process.parent;
        }
        None
    }

    fn process(&self, pid: i32) -> Option<Process> {
        let status = self.read(&format!("proc/{pid}/status"))?;
        let field = |name: &str, at: usize| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().nth(at)?.parse::<u32>().ok()
        };
        Some(Process {
            parent: i32::try_from(field("PPid:", 0)?).ok()?,
            // Real, effective, saved, file system.
            uid: field("Uid:", 1)?,
        })
    }

    /// Another account's may be read by root alone.
    fn claimed(&self, pid: i32) -> Option<String> {
        let variables = self.read(&format!("proc/{pid}/environ"))?;
        let mut variables = variables.split('\0');
        let name = variables.find_map(|one| one.strip_prefix("SUDO_USER="))?;
        is_name(name).then(|| name.to_owned())
    }

    fn named(&self, uid: u32) -> String {
        let mut accounts = self.names("etc/passwd").into_iter();
        match accounts.find(|(_, number)| *number == uid) {
            Some((name, _)) => format!("uid {uid} ({name})"),
            None => format!("uid {uid}"),
        }
    }

    fn group(&self, written: &str) -> Option<u32> {
        let mut groups = self.names("etc/group").into_iter();
        let named = groups.find(|(name, _)| name == written);
        named.map_or_else(|| written.parse().ok(), |(_, number)| Some(number))
    }

    fn group_name(&self, number: u32) -> String {
        let mut groups = self.names("etc/group").into_iter();
        let named = groups.find(|(_, known)| *known == number);
        named.map_or_else(|| number.to_string(), |(name, _)| name)
    }

    /// The names and numbers of `/etc/passwd` or `/etc/group`. Other directories of accounts are
    /// not asked: those accounts are told by their number.
    fn names(&self, path: &str) -> Vec<(String, u32)> {
        let text = self.read(path).unwrap_or_default();
        let named = text.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| is_name(name))?;
            Some((name.to_owned(), fields.nth(1)?.parse().ok()?))
        });
        named.collect()
    }

    fn read(&self, path: &str) -> Option<String> {
        use std::io::Read as _;
        let file = std::fs::File::open(self.0.join(Path::new(path))).ok()?;
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// What is known of a process.
struct Process {
    parent: i32,
    /// Effective.
    uid: u32,
}

/// Whether it is fit for the journal unchanged.
fn is_name(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@$".contains(&byte);
    (1..=NAME_LIMIT).contains(&name.len()) && name.bytes().all(is_fit)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Machine(System);

    impl Machine {
        fn new() -> Self {
            let name = format!("fanal-account-{}", uuid::Uuid::now_v7());
            let machine = Self(System(std::env::temp_dir().join(name)));
            let accounts = "root:x:0:0::/root:/bin/sh\nanne:x:1000:1000::/home/anne:/bin/sh\n\
                            fanal:x:990:990::/:/bin/false\nb\u{202e}d:x:1001:1::/:/bin/sh\n";
            machine.put("etc/passwd", accounts);
            machine
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.0.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }

        fn process(&self, pid: i32, parent: i32, uid: u32, login: Option<&str>) {
            let status = format!("Name:\tx\nPPid:\t{parent}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n");
            self.put(&format!("proc/{pid}/status"), &status);
            if let Some(login) = login {
                self.put(&format!("proc/{pid}/loginuid"), login);
            }
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0.0);
        }
    }

    #[test]
    fn the_kernels_login_is_told_behind_sudo() {
        let machine = Machine::new();
        machine.process(7, 6, 0, Some("1000"));
        machine.process(8, 6, 1000, Some("1000\n"));
        machine.process(9, 6, 990, Some("1000"));
        // Whatever is claimed.
        machine.put("proc/7/environ", "SUDO_USER=other\0");
        let of = |pid, uid| machine.0.of(Some(pid), uid);
        assert_eq!(of(7, 0), "uid 0 (root), login uid 1000 (anne)");
        assert_eq!(of(8, 1000), "uid 1000 (anne)");
        assert_eq!(of(9, 990), "uid 990 (fanal), login uid 1000 (anne)");
        // Another process has the number by now.
        assert_eq!(of(7, 1000), "uid 1000 (anne)");
        assert_eq!(of(99, 0), "uid 0 (root), login unknown");
        assert_eq!(machine.0.of(None, 1001), "uid 1001");
    }

    #[test]
    fn without_a_login_the_caller_of_sudo_is_looked_for_above() {
        let machine = Machine::new();
        machine.process(10, 9, 0, Some("4294967295"));
        machine.process(9, 8, 0, None);
        machine.process(8, 1, 1000, None);
        machine.process(1, 0, 0, None);
        let of = |pid, uid| machine.0.of(Some(pid), uid);
        assert_eq!(of(10, 0), "uid 0 (root), started by uid 1000 (anne)");
        // Root is above everybody.
        assert_eq!(of(8, 1000), "uid 1000 (anne)");
        machine.process(9, 9, 0, None);
        assert_eq!(of(10, 0), "uid 0 (root), login unknown", "a circle");
        machine.put("proc/10/environ", "A=b\0SUDO_USER=anne\0");
        assert_eq!(of(10, 0), "uid 0 (root), SUDO_USER anne (claimed)");
        machine.put("proc/10/environ", "SUDO_USER=\u{1b}[2J\0");
        assert_eq!(of(10, 0), "uid 0 (root), login unknown");
        // Only root's claim is sudo's.
        machine.process(11, 1, 1000, None);
        machine.put("proc/11/environ", "SUDO_USER=other\0");
        assert_eq!(of(11, 1000), "uid 1000 (anne)");
    }

    #[test]
    fn a_group_has_a_name_or_a_number() {
        let machine = Machine::new();
        machine.put("etc/group", "root:x:0:\nfanal-desk:x:991:anne\n77:x:78:\n");
        let group = |written| machine.0.group(written);
        assert_eq!(group("fanal-desk"), Some(991));
        assert_eq!(group("992"), Some(992));
        assert_eq!(group("77"), Some(78));
        assert_eq!(group("none"), None);
        assert_eq!(machine.0.group_name(991), "fanal-desk");
        assert_eq!(machine.0.group_name(5), "5");
    }

    #[test]
    fn this_process_is_known_to_the_kernel() {
        let uid = rustix::process::geteuid().as_raw();
        assert!(own().starts_with(&format!("uid {uid}")), "{}", own());
    }
}
