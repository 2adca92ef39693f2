//! What the month files must hold, byte for byte, and the look whether they do.
//!
//! The start reads and verifies every line and sums each file up; the writer adds what it writes.
//! A look compares: a file whose stamp ([`Stamp`]) is that of the last look, or of the writer's last
//! write, has not been touched since and is not read; any other is read and hashed, slowly, in
//! bounded memory. So the hash is evidence and the stamp only saves work: who sets the machine's
//! clock back and writes past the file system is found at the next start.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest;

use super::store::{Month, Stamp, Store};

/// Bytes that are read at a time.
const PIECE: usize = 256 * 1024;
/// After each piece the look rests so many times as long as it took: writers come first.
const REST: u32 = 3;
/// The longest rest: a disk that stalls is no reason to wait for it twice.
const LONGEST_REST: Duration = Duration::from_millis(200);

/// The content of a file.
#[derive(Clone)]
pub(super) struct Sum {
    /// Its bytes, up to the last newline.
    pub(super) bytes: u64,
    hash: digest::Context,
    /// The file as it was when it held these bytes; none: it is to be read.
    stamp: Option<Stamp>,
}

impl std::fmt::Debug for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Sum");
        shown
            .field("bytes", &self.bytes)
            .field("stamp", &self.stamp);
        shown.finish_non_exhaustive()
    }
}

impl Sum {
    /// An empty file, as it is now.
    pub(super) fn new(stamp: Option<Stamp>) -> Self {
        Self {
            bytes: 0,
            hash: digest::Context::new(&digest::SHA256),
            stamp,
        }
    }

    /// These bytes follow.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

/// The sums of all files; the writer's and the look's.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums(Arc<Mutex<BTreeMap<Month, Sum>>>);

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) month: Month,
    pub(super) what: String,
}

impl Sums {
    pub(super) fn new(sums: BTreeMap<Month, Sum>) -> Self {
        Self(Arc::new(Mutex::new(sums)))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Month, Sum>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Before a write: a file that somebody else has touched since the last one is to be read at
    /// the next look. Says whether it was.
    pub(super) fn before_write(&self, store: &mut dyn Store, month: Month) -> bool {
        let now = store.stamp(month).ok();
        let mut sums = self.lock();
        let Some(sum) = sums.get_mut(&month) else {
            return false;
        };
        let is_touched = sum.stamp.is_some() && sum.stamp != now;
        if is_touched {
            sum.stamp = None;
        }
        is_touched
    }

    /// A file is about to be made.
    pub(super) fn begins(&self, month: Month) {
        self.lock().entry(month).or_insert_with(|| Sum::new(None));
    }

    /// A write is durable.
    pub(super) fn wrote(&self, store: &mut dyn Store, month: Month, bytes: &[u8]) {
        let stamp = store.stamp(month).ok();
        let mut sums = self.lock();
        let sum = sums.entry(month).or_insert_with(|| Sum::new(None));
        // One that was touched stays so until it was read.
        if sum.stamp.is_some() || sum.bytes == 0 {
            sum.stamp = stamp;
        }
        sum.add(bytes);
    }

    /// A file is taken as it is from now on.
    pub(super) fn take_as_it_is(&self, month: Month, sum: Option<Sum>) {
        let mut sums = self.lock();
        match sum {
            Some(sum) => drop(sums.insert(month, sum)),
            None => drop(sums.remove(&month)),
        }
    }

    /// Removes a file whose time is over: no look finds it gone, or there and unknown.
    pub(super) fn remove(&self, store: &mut dyn Store, month: Month) -> io::Result<()> {
        let mut sums = self.lock();
        store.remove(month)?;
        sums.remove(&month);
        Ok(())
    }

    /// The first file that is not what it must be; it is taken as it is from then on, so that
    /// each fault is told once.
    pub(super) fn look(&self, store: &mut dyn Store) -> io::Result<Option<Fault>> {
        let known = self.lock().clone();
        self.compare(known, store)
    }

    fn compare(
        &self,
        known: BTreeMap<Month, Sum>,
        store: &mut dyn Store,
    ) -> io::Result<Option<Fault>> {
        for month in store.months()? {
            if !known.contains_key(&month) && !self.lock().contains_key(&month) {
                self.take_as_it_is(month, summed(store, month, u64::MAX)?.map(|(sum, _)| sum));
                let what = "the journal did not write this file".to_owned();
                return Ok(Some(Fault { month, what }));
            }
        }
        for (month, sum) in known {
            let stamp = match store.stamp(month) {
                Ok(stamp) => Some(stamp),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if stamp.is_some() && stamp == sum.stamp {
                continue;
            }
            let found = summed(store, month, sum.bytes)?;
            let mut sums = self.lock();
            let is_newest = sums.last_key_value().map(|(newest, _)| *newest) == Some(month);
            let Some(now) = sums.get_mut(&month) else {
                continue;
            };
            // The writer went on meanwhile, or took the file as it is.
            let is_same = now.bytes == sum.bytes && hashed(now) == hashed(&sum);
            if !is_same && now.bytes <= sum.bytes {
                continue;
            }
            let what = match &found {
                // A file that is about to be made.
                None if sum.bytes == 0 => continue,
                None => "the file is gone".to_owned(),
                Some((read, _)) if read.bytes < sum.bytes => {
                    format!("{} bytes of {} are left", read.bytes, sum.bytes)
                }
                Some((read, _)) if hashed(read) != hashed(&sum) => {
                    "its bytes are not those that were written".to_owned()
                }
                // To the newest the writer may just add a line; it looks at the end itself.
                // Of one that the writer ended meanwhile the next look sees the end.
                Some((_, true)) if is_same && !is_newest => {
                    format!("it has more than its {} bytes", sum.bytes)
                }
                Some(_) => {
                    if is_same {
                        now.stamp = stamp;
                    }
                    continue;
                }
            };
            drop(sums);
            let all = summed(store, month, u64::MAX)?;
            self.take_as_it_is(month, all.map(|(sum, _)| sum));
            return Ok(Some(Fault { month, what }));
        }
        Ok(None)
    }
}

fn hashed(sum: &Sum) -> Vec<u8> {
    sum.hash.clone().finish().as_ref().to_vec()
}

/// Reads at most so many bytes of a file, at leisure; whether there are more. None: it is gone.
pub(super) fn summed(
    store: &mut dyn Store,
    month: Month,
    most: u64,
) -> io::Result<Option<(Sum, bool)>> {
    let stamp = store.stamp(month).ok();
    let mut file = match store.read(month) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut sum = Sum::new(stamp);
    let mut piece = vec![0; PIECE];
    loop {
        let began = Instant::now();
        let read = match file.read(&mut piece) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let room = usize::try_from(most - sum.bytes).unwrap_or(usize::MAX);
        sum.add(&piece[..read.min(room)]);
        if read == 0 || read > room {
            return Ok(Some((sum, read > room)));
        }
        std::thread::sleep((began.elapsed() * REST).min(LONGEST_REST));
    }
}

#[cfg(test)]
mod tests;
