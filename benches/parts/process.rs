//! Processes, and what they use, as the kernel tells it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Context;
use rustix::process::{Pid, Resource, Signal, getrlimit, setrlimit};

/// Ticks of `/proc` in a second: Linux's USER_HZ, 100 on all its platforms.
const TICKS: f64 = 100.0;

/// A child that is killed when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

/// CPU seconds since the start, and resident megabytes now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    pub(crate) cpu: f64,
    pub(crate) memory: f64,
    /// The most that ever were.
    pub(crate) peak: f64,
    /// Of the former its own, and not the program's pages.
    pub(crate) own_memory: f64,
}

impl Usage {
    /// The CPU between two looks, the memory of this one.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu - before.cpu,
            ..self
        }
    }
}

impl Process {
    /// `fanal` with these arguments; its log goes to this file.
    pub(crate) fn fanal(args: &[&str], log: &Path) -> anyhow::Result<Self> {
        let log = std::fs::File::create(log)?;
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanal"));
        command.args(args).stderr(log);
        Self::start(command)
    }

    /// This program in another role.
    pub(crate) fn role(role: &str, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(role).args(args);
        Self::start(command)
    }

    /// Another program; its log goes where ours goes.
    pub(crate) fn other(program: &str, args: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(args);
        Self::start(command)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {:?}", command.get_program()))?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Self {
            child,
            stdout: BufReader::new(stdout),
        })
    }

    /// The next line that it says.
    pub(crate) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            anyhow::bail!("the process ended early");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Asks it to stop, as a service manager does, and waits for its end.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        let id = Pid::from_raw(i32::try_from(self.child.id())?).context("no process id")?;
        rustix::process::kill_process(id, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends it without a word to anybody.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> anyhow::Result<String> {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut text)?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "{status}: {text}");
        Ok(text)
    }

    pub(crate) fn usage(&self) -> anyhow::Result<Usage> {
        let id = self.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
        // The name is in brackets and may hold anything.
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
        let megabytes = |name: &str| -> anyhow::Result<f64> {
            let value = status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.split_whitespace().next())
                .with_context(|| format!("no {name}"))?;
            Ok(value.parse::<f64>()? / 1024.0)
        };
        Ok(Usage {
            cpu: ticks / TICKS,
            memory: megabytes("VmRSS:")?,
            peak: megabytes("VmHWM:")?,
            own_memory: megabytes("RssAnon:")?,
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Open descriptors of a process.
pub(crate) fn descriptors(id: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{id}/fd"))?.count())
}

/// Threads of a process.
pub(crate) fn threads(id: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{id}/task"))?.count())
}

/// A directory that is removed at the end.
pub(crate) struct Directory(PathBuf);

/// Raises the limit of open files to what this process may have; its children inherit it.
pub(crate) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What is over the limit then fails with a message of its own.
    let _ = setrlimit(Resource::Nofile, limit);
}

impl Directory {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Self::below(std::env::temp_dir())
    }

    /// In memory where the system has such a place: for the files of a thousand
    /// machines, each of which has a disk of its own.
    pub(crate) fn in_memory() -> anyhow::Result<Self> {
        let memory = PathBuf::from("/dev/shm");
        if memory.is_dir() {
            Self::below(memory)
        } else {
            Self::new()
        }
    }

    fn below(parent: PathBuf) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "fanal-bench-{}-{}",
            std::process::id(),
            NUMBER.fetch_add(1, Ordering::Relaxed)
        );
        let path = parent.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Kept where somebody wants to read the logs.
        if std::env::var_os("FANAL_BENCH_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
