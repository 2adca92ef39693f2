//! The files under the journal: a small trait, so that tests can fail or cut
//! off any single step, and the real thing.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::clock::Wall;

/// A UTC month, as in the files' names: `2026-11`. Ordered as time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// The month this time is in.
    pub fn of(time: Wall) -> Self {
        let Ok(time) = jiff::Timestamp::from_microsecond(time.0) else {
            return Self { year: 0, month: 0 };
        };
        let time = jiff::tz::TimeZone::UTC.to_datetime(time);
        Self {
            year: u16::try_from(time.year()).unwrap_or(0),
            month: time.month().unsigned_abs(),
        }
    }

    /// When it begins.
    pub fn start(self) -> Wall {
        let (year, month) = (i16::try_from(self.year), i8::try_from(self.month));
        let day = year.ok().zip(month.ok());
        let day = day.and_then(|(year, month)| jiff::civil::Date::new(year, month, 1).ok());
        let start = day.and_then(|day| day.to_zoned(jiff::tz::TimeZone::UTC).ok());
        Wall(start.map_or(0, |start| start.timestamp().as_microsecond()))
    }

    /// The month of a file of this name, `2026-11.jsonl`; none for any other name.
    pub fn from_file_name(name: &str) -> Option<Self> {
        let (year, month) = name.strip_suffix(".jsonl")?.split_once('-')?;
        let month = Self {
            year: year.parse().ok()?,
            month: month
                .parse()
                .ok()
                .filter(|month| (1..=12).contains(month))?,
        };
        (month.file_name() == name).then_some(month)
    }

    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("{self}.jsonl")
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

/// Changes with every write to a file, by this process or another: no content, but a sign that it may be
/// another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(pub Vec<u64>);

/// What the journal asks of its files.
pub trait Store: Send {
    /// The months that have a file, oldest first.
    fn months(&mut self) -> io::Result<Vec<Month>>;
    /// A file's length in bytes.
    fn len(&mut self, month: Month) -> io::Result<u64>;
    /// A file's stamp now.
    fn stamp(&mut self, month: Month) -> io::Result<Stamp>;
    /// A file from its start.
    fn read(&mut self, month: Month) -> io::Result<Box<dyn Read>>;
    /// Exactly so many bytes of a file.
    fn read_at(&mut self, month: Month, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Makes an empty file; durable after [`Store::sync_directory`].
    fn create(&mut self, month: Month) -> io::Result<()>;
    /// Writes at `offset`; durable after [`Store::sync`].
    fn write_at(&mut self, month: Month, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to this length; durable after [`Store::sync`].
    fn truncate(&mut self, month: Month, length: u64) -> io::Result<()>;
    /// Makes a file's content and length durable.
    fn sync(&mut self, month: Month) -> io::Result<()>;
    /// Makes the directory's names durable.
    fn sync_directory(&mut self) -> io::Result<()>;
    /// Removes a file; durable after [`Store::sync_directory`]. None there: nothing to do.
    fn remove(&mut self, month: Month) -> io::Result<()>;
    /// Drops what the system remembers of a file, so that it is read from the disk.
    fn forget(&mut self, month: Month) -> io::Result<()>;
}

/// Real files in a directory.
#[derive(Debug)]
pub struct Disk {
    directory: PathBuf,
    /// The file that is being written, kept open.
    open: Option<(Month, File)>,
}

impl Disk {
    /// Files in `directory`, which is made if it is not there (mode 0750, durably).
    ///
    /// # Errors
    ///
    /// The directory can't be made or opened.
    pub fn create(directory: &Path) -> io::Result<Self> {
        let made = DirBuilder::new().mode(0o750).create(directory);
        match made {
            Ok(()) => {
                if let Some(parent) = directory.parent() {
                    File::open(parent)?.sync_all()?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Self::existing(directory)
    }

    /// Files in a directory that is there: a journal or a copy of one.
    ///
    /// # Errors
    ///
    /// The directory can't be opened.
    pub fn existing(directory: &Path) -> io::Result<Self> {
        if !std::fs::metadata(directory)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Self {
            directory: directory.to_owned(),
            open: None,
        })
    }

    fn path(&self, month: Month) -> PathBuf {
        self.directory.join(month.file_name())
    }

    fn file(&mut self, month: Month) -> io::Result<&File> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != month) {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.path(month))?;
            self.open = Some((month, file));
        }
        match &self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Store for Disk {
    fn months(&mut self) -> io::Result<Vec<Month>> {
        let mut months = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let name = entry?.file_name();
            months.extend(name.to_str().and_then(Month::from_file_name));
        }
        months.sort_unstable();
        Ok(months)
    }

    fn len(&mut self, month: Month) -> io::Result<u64> {
        Ok(std::fs::metadata(self.path(month))?.len())
    }

    fn stamp(&mut self, month: Month) -> io::Result<Stamp> {
        let found = std::fs::metadata(self.path(month))?;
        let times = [
            found.mtime(),
            found.mtime_nsec(),
            found.ctime(),
            found.ctime_nsec(),
        ];
        let times = times.map(i64::cast_unsigned);
        Ok(Stamp(
            [&[found.dev(), found.ino(), found.len()], &times[..]].concat(),
        ))
    }

    fn read(&mut self, month: Month) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(File::open(self.path(month))?))
    }

    fn read_at(&mut self, month: Month, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.path(month))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn create(&mut self, month: Month) -> io::Result<()> {
        self.open = None;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(self.path(month))?;
        self.open = Some((month, file));
        Ok(())
    }

    fn write_at(&mut self, month: Month, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(month)?.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, month: Month, length: u64) -> io::Result<()> {
        self.file(month)?.set_len(length)
    }

    fn sync(&mut self, month: Month) -> io::Result<()> {
        let file = self.file(month)?;
        file.sync_data()?;
        // Bytes in a file that was removed or moved over are durable nowhere.
        if file.metadata()?.nlink() == 0 {
            self.open = None;
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the file was removed while it was written",
            ));
        }
        Ok(())
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn remove(&mut self, month: Month) -> io::Result<()> {
        self.open = None;
        match std::fs::remove_file(self.path(month)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn forget(&mut self, month: Month) -> io::Result<()> {
        self.open = None;
        let file = File::open(self.path(month))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_month_files_count() {
        let month = Month::of(Wall::from_seconds(1_795_400_000));
        assert_eq!(month.to_string(), "2026-11");
        assert_eq!(Month::from_file_name("2026-11.jsonl"), Some(month));
        for other in [
            "2026-11",
            "2026-13.jsonl",
            "2026-1.jsonl",
            "+026-01.jsonl",
            "2026-11.jsonl~",
            "x.jsonl",
        ] {
            assert_eq!(Month::from_file_name(other), None, "{other}");
        }
    }
}
