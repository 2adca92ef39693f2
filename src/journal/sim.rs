//! Simulated files for tests: what the system remembers and what the disk
//! holds are two things, any step can fail before, in the middle of or after
//! its effect, and the power can go.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::entry::Entry;
use super::log::encode;
use super::store::{Month, Stamp, Store};
use crate::clock::Wall;
use crate::format::chain::End;

/// The lines of a journal with these entries.
pub(crate) fn lines(entries: &[(Wall, Entry)]) -> Vec<Vec<u8>> {
    let mut end = End::START;
    let mut lines = Vec::new();
    for (time, entry) in entries {
        let text = encode(entry).unwrap();
        let id = if end.seq == 0 {
            r#""journal_id":"00ff","#
        } else {
            ""
        };
        let mut body = format!(r#"{{"v":1,{id}"salt":"00","#).into_bytes();
        body.extend_from_slice(&text[1..]);
        let header = end.next(*time, &body);
        end = End {
            seq: header.seq,
            link: header.link(),
        };
        let mut line = header.with_body(&body);
        line.push(b'\n');
        lines.push(line);
    }
    lines
}

/// A directory for a test, gone when it ends.
#[derive(Debug)]
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("fanal-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fail {
    /// Without effect.
    Before,
    /// A write: half of it is done. Anything else: without effect.
    Half,
    /// The effect is there, the error is told all the same.
    After,
}

/// What comes after the step that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The next steps work.
    GoOn,
    /// No step works any more: the process is as good as killed.
    Die,
}

#[derive(Clone, Debug, Default)]
struct File {
    cached: Vec<u8>,
    /// Which of the cached bytes the disk has to get.
    dirty: Vec<bool>,
    durable: Vec<u8>,
    /// Whether its name is durable.
    named: bool,
    /// Grows with each change.
    version: u64,
    /// Removed, and perhaps not yet on the disk.
    is_removed: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<Month, File>,
    steps: u64,
    syncs: u64,
    reads: u64,
    fault: Option<(u64, Fail, Then)>,
    dead: bool,
    capacity: Option<usize>,
}

/// The simulated disk; clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sim(Arc<Mutex<State>>);

impl Sim {
    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.0.lock().unwrap())
    }

    /// Lets the step after `steps` more fail.
    pub(crate) fn fail_in(&self, steps: u64, fail: Fail, then: Then) {
        self.with(|state| state.fault = Some((state.steps + steps, fail, then)));
    }

    /// Whether the fault that was set has come.
    pub(crate) fn has_failed(&self) -> bool {
        self.with(|state| state.fault.is_none())
    }

    /// How many fsyncs of files there were.
    pub(crate) fn syncs(&self) -> u64 {
        self.with(|state| state.syncs)
    }

    /// How often a file was opened to be read.
    pub(crate) fn reads(&self) -> u64 {
        self.with(|state| state.reads)
    }

    /// Room for so many bytes in all.
    pub(crate) fn set_capacity(&self, bytes: Option<usize>) {
        self.with(|state| state.capacity = bytes);
    }

    /// The process was killed and begins again; the system lives on.
    pub(crate) fn restart(&self) {
        self.with(|state| {
            state.dead = false;
            state.fault = None;
        });
    }

    /// The power went: only what is durable is left.
    pub(crate) fn power_cycle(&self) {
        self.restart();
        self.with(|state| {
            state.files.retain(|_, file| file.named);
            for file in state.files.values_mut() {
                file.is_removed = false;
                file.cached = file.durable.clone();
                file.dirty = vec![false; file.cached.len()];
            }
        });
    }

    /// A file as the system shows it.
    pub(crate) fn content(&self, month: Month) -> Vec<u8> {
        self.with(|state| state.files[&month].cached.clone())
    }

    /// All files as the disk holds them, one after the other.
    pub(crate) fn durable(&self) -> Vec<u8> {
        self.with(|state| {
            let named = state.files.values().filter(|file| file.named);
            named.flat_map(|file| file.durable.clone()).collect()
        })
    }

    /// Somebody replaces a file's content.
    pub(crate) fn replace(&self, month: Month, content: &[u8]) {
        self.with(|state| {
            let file = File {
                cached: content.to_vec(),
                dirty: vec![false; content.len()],
                durable: content.to_vec(),
                named: true,
                version: state.files.get(&month).map_or(0, |file| file.version) + 1,
                is_removed: false,
            };
            state.files.insert(month, file);
        });
    }

    /// Somebody removes a file.
    pub(crate) fn remove(&self, month: Month) {
        self.with(|state| state.files.remove(&month));
    }

    /// One step: fails if it is its turn, in the way that was set.
    fn step<T>(
        &self,
        half: impl FnOnce(&mut State),
        whole: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        self.with(|state| {
            let failed = || io::Error::other("simulated fault");
            if state.dead {
                return Err(failed());
            }
            state.steps += 1;
            let fault = state.fault.filter(|(at, ..)| *at < state.steps);
            let Some((_, fail, then)) = fault else {
                return whole(state);
            };
            state.fault = None;
            state.dead = then == Then::Die;
            match fail {
                Fail::Before => {}
                Fail::Half => half(state),
                Fail::After => drop(whole(state)),
            }
            Err(failed())
        })
    }
}

fn file(state: &mut State, month: Month) -> io::Result<&mut File> {
    let found = state.files.get_mut(&month);
    let found = found.filter(|file| !file.is_removed);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn write(state: &mut State, month: Month, offset: usize, bytes: &[u8]) -> io::Result<()> {
    let capacity = state.capacity;
    let used: usize = state.files.values().map(|file| file.cached.len()).sum();
    let file = file(state, month)?;
    let length = file.cached.len();
    let end = offset + bytes.len();
    let room = capacity.map_or(usize::MAX, |capacity| capacity.saturating_sub(used));
    let fits = end.min(length.saturating_add(room)).max(offset);
    let bytes = &bytes[..fits - offset];
    file.version += 1;
    file.cached.resize(length.max(fits), 0);
    file.dirty.resize(length.max(fits), true);
    file.cached[offset..fits].copy_from_slice(bytes);
    file.dirty[offset..fits].fill(true);
    if fits < end {
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

impl Store for Sim {
    fn months(&mut self) -> io::Result<Vec<Month>> {
        let there = |(month, file): (&Month, &File)| (!file.is_removed).then_some(*month);
        Ok(self.with(|state| state.files.iter().filter_map(there).collect()))
    }

    fn len(&mut self, month: Month) -> io::Result<u64> {
        self.with(|state| Ok(file(state, month)?.cached.len() as u64))
    }

    fn stamp(&mut self, month: Month) -> io::Result<Stamp> {
        self.with(|state| {
            let file = file(state, month)?;
            Ok(Stamp(vec![file.version, file.cached.len() as u64]))
        })
    }

    fn read(&mut self, month: Month) -> io::Result<Box<dyn Read>> {
        self.with(|state| state.reads += 1);
        self.with(|state| {
            let cached = file(state, month)?.cached.clone();
            Ok(Box::new(Cursor::new(cached)) as Box<dyn Read>)
        })
    }

    fn read_at(&mut self, month: Month, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let offset = usize::try_from(offset).unwrap();
        self.with(|state| {
            let bytes = file(state, month)?.cached.get(offset..offset + length);
            let bytes = bytes.map(<[u8]>::to_vec);
            bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        })
    }

    fn create(&mut self, month: Month) -> io::Result<()> {
        self.step(
            |_| {},
            |state| {
                if state.files.contains_key(&month) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                state.files.insert(month, File::default());
                Ok(())
            },
        )
    }

    fn write_at(&mut self, month: Month, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let half = &bytes[..bytes.len() / 2];
        self.step(
            |state| drop(write(state, month, offset, half)),
            |state| write(state, month, offset, bytes),
        )
    }

    fn truncate(&mut self, month: Month, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap();
        self.step(
            |_| {},
            |state| {
                let file = file(state, month)?;
                file.cached.truncate(length);
                file.version += 1;
                file.dirty.truncate(length);
                Ok(())
            },
        )
    }

    fn sync(&mut self, month: Month) -> io::Result<()> {
        // As Linux does it: after a failed fsync the pages count as written,
        // and a second fsync does not write them either.
        let forget = |state: &mut State| {
            if let Ok(file) = file(state, month) {
                file.dirty.fill(false);
            }
        };
        self.with(|state| state.syncs += 1);
        let synced = self.step(forget, |state| {
            let file = file(state, month)?;
            file.durable.resize(file.cached.len(), 0);
            for (at, dirty) in file.dirty.iter_mut().enumerate() {
                if std::mem::take(dirty) {
                    file.durable[at] = file.cached[at];
                }
            }
            Ok(())
        });
        if synced.is_err() {
            self.with(forget);
        }
        synced
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.step(
            |_| {},
            |state| {
                state.files.retain(|_, file| !file.is_removed);
                state.files.values_mut().for_each(|file| file.named = true);
                Ok(())
            },
        )
    }

    fn remove(&mut self, month: Month) -> io::Result<()> {
        self.step(
            |_| {},
            |state| {
                if let Ok(file) = file(state, month) {
                    file.is_removed = true;
                }
                Ok(())
            },
        )
    }

    fn forget(&mut self, month: Month) -> io::Result<()> {
        self.with(|state| {
            let file = file(state, month)?;
            for (at, dirty) in file.dirty.iter().enumerate() {
                if !dirty {
                    file.cached[at] = file.durable.get(at).copied().unwrap_or(0);
                }
            }
            Ok(())
        })
    }
}
