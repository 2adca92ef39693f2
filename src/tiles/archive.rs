//! A PMTiles archive, version 3
//! (<https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md>): a header, directories
//! of tiles in the order of a Hilbert curve, and the tiles.
//!
//! A small strict reader: the crates for it bring HTTP clients, memory maps and asynchronous readers.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Kind, TILE, Tile, ZOOM, bounded, damaged};

/// Bytes of directories that are kept in memory besides the root.
pub const KEPT: usize = 8 * 1024 * 1024;
/// The header's length.
const HEADER: usize = 127;
/// Header and root directory lie in the first 16 KiB.
const ROOT_END: u64 = 16_384;
/// Longest directory in the file, and once decompressed.
const DIRECTORY: u64 = 1024 * 1024;
/// Directories below directories; writers make one level of leaves, the specification allows more.
const DEPTH: usize = 4;

/// How something is compressed (4.1 of the specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
}

impl Compression {
    fn of(code: u8, what: &str) -> Result<Self, String> {
        match code {
            // Unknown: pictures are compressed by themselves.
            0 | 1 => Ok(Self::None),
            2 => Ok(Self::Gzip),
            _ => Err(format!(
                "its {what} are compressed with brotli or zstd; write it again with gzip or none"
            )),
        }
    }

    fn open(self, bytes: Vec<u8>, limit: u64) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(bytes),
            Self::Gzip => bounded(flate2::read::GzDecoder::new(&bytes[..]), limit),
        }
    }
}

/// Tiles that follow one another and share a picture; or, with no run, a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    tile: u64,
    offset: u64,
    length: u32,
    run: u32,
}

/// Where something lies in the file.
#[derive(Clone, Copy, Debug)]
struct Section {
    offset: u64,
    length: u64,
}

impl Section {
    /// Where a part of it lies; an error if it reaches out of it.
    fn part(self, offset: u64, length: u32) -> io::Result<(u64, u64)> {
        let length = u64::from(length);
        let end = offset.checked_add(length).filter(|end| *end <= self.length);
        let from = self.offset.checked_add(offset);
        match (from, end) {
            (Some(from), Some(_)) => Ok((from, length)),
            _ => Err(damaged("the archive's directory points out of the archive")),
        }
    }
}

/// An archive that is open.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    kind: Kind,
    directories: Compression,
    tiles: Compression,
    leaves: Section,
    data: Section,
    zooms: (u8, u8),
    root: Arc<[Entry]>,
    kept: Mutex<VecDeque<(u64, Arc<[Entry]>)>>,
}

impl Archive {
    /// Reads header and root directory.
    pub(super) fn open(file: File) -> Result<Self, String> {
        let text = |error: io::Error| error.to_string();
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)
            .map_err(|_| "this is no PMTiles archive".to_owned())?;
        if !header.starts_with(b"PMTiles") {
            return Err("this is no PMTiles archive".to_owned());
        }
        if header[7] != 3 {
            return Err(format!(
                "PMTiles version {}; write it again with version 3",
                header[7]
            ));
        }
        let kind = match header[99] {
            2 => Kind::Png,
            3 => Kind::Jpeg,
            4 => Kind::Webp,
            1 => {
                return Err(
                    "it holds vector tiles; an archive of pictures (PNG, JPEG or WebP) is needed"
                        .to_owned(),
                );
            }
            _ => {
                return Err(
                    "what its tiles are is not known here; PNG, JPEG or WebP is needed".to_owned(),
                );
            }
        };
        let directories = Compression::of(header[97], "directories")?;
        let tiles = Compression::of(header[98], "tiles")?;
        let section = |at: usize| Section {
            offset: u64_at(&header, at),
            length: u64_at(&header, at + 8),
        };
        let root = section(8);
        let end = root.offset.checked_add(root.length);
        if end.is_none_or(|end| end > ROOT_END) {
            return Err("its root directory is not in the first 16 KiB; it is damaged".to_owned());
        }
        let bytes = read_at(&file, root.offset, root.length).map_err(text)?;
        let bytes = directories.open(bytes, DIRECTORY).map_err(text)?;
        Ok(Self {
            root: entries(&bytes).map_err(text)?.into(),
            file,
            kind,
            directories,
            tiles,
            leaves: section(40),
            data: section(56),
            zooms: (header[100].min(ZOOM), header[101].min(ZOOM)),
            kept: Mutex::default(),
        })
    }

    pub(super) fn zooms(&self) -> (u8, u8) {
        self.zooms
    }

    pub(super) fn tile(&self, zoom: u8, column: u32, row: u32) -> io::Result<Option<Tile>> {
        let number = number_of(zoom, column, row);
        let mut directory = Arc::clone(&self.root);
        for _ in 0..DEPTH {
            let Some(entry) = find(&directory, number) else {
                return Ok(None);
            };
            if entry.run > 0 {
                let (from, length) = self.data.part(entry.offset, entry.length)?;
                if length > TILE {
                    return Err(damaged("a tile is longer than 1 MiB"));
                }
                let bytes = read_at(&self.file, from, length)?;
                let bytes = self.tiles.open(bytes, TILE)?;
                let kind = self.kind;
                return Ok(Some(Tile { kind, bytes }));
            }
            directory = self.leaf(entry)?;
        }
        Err(damaged("the archive's directories are nested too deep"))
    }

    fn leaf(&self, entry: Entry) -> io::Result<Arc<[Entry]>> {
        let kept = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept()
            .iter()
            .find(|(offset, _)| *offset == entry.offset)
            .cloned();
        if let Some((_, known)) = known {
            return Ok(known);
        }
        let (from, length) = self.leaves.part(entry.offset, entry.length)?;
        if length > DIRECTORY {
            return Err(damaged("a directory is longer than 1 MiB"));
        }
        let bytes = read_at(&self.file, from, length)?;
        let bytes = self.directories.open(bytes, DIRECTORY)?;
        let read: Arc<[Entry]> = entries(&bytes)?.into();
        let mut kept = kept();
        // Somebody else may have read it meanwhile.
        kept.retain(|(offset, _)| *offset != entry.offset);
        kept.push_back((entry.offset, Arc::clone(&read)));
        let size = |list: &VecDeque<(u64, Arc<[Entry]>)>| -> usize {
            list.iter().map(|(_, one)| size_of_val(&**one)).sum()
        };
        while size(&kept) > KEPT && kept.len() > 1 {
            kept.pop_front();
        }
        Ok(read)
    }
}

/// The entry that holds a tile, or leads to it.
fn find(directory: &[Entry], tile: u64) -> Option<Entry> {
    let after = directory.partition_point(|entry| entry.tile <= tile);
    let entry = directory[..after].last()?;
    let holds = entry.run == 0 || tile - entry.tile < u64::from(entry.run);
    holds.then_some(*entry)
}

/// A tile's number: all those of farther zooms come first, then along the Hilbert curve.
fn number_of(zoom: u8, mut column: u32, mut row: u32) -> u64 {
    let before = ((1_u64 << (2 * u32::from(zoom))) - 1) / 3;
    let mut along = 0;
    for level in (0..u32::from(zoom)).rev() {
        let side = 1_u32 << level;
        let is_east = u64::from(column & side > 0);
        let is_south = u64::from(row & side > 0);
        along += (u64::from(side) * u64::from(side)) * ((3 * is_east) ^ is_south);
        // The part of the curve inside this quarter is turned.
        (column, row) = (column & (side - 1), row & (side - 1));
        if is_south == 0 {
            if is_east == 1 {
                (column, row) = (side - 1 - column, side - 1 - row);
            }
            (column, row) = (row, column);
        }
    }
    before + along
}

/// A directory: numbers of the tiles, runs, lengths and offsets, each as a column of variable-length
/// integers.
fn entries(bytes: &[u8]) -> io::Result<Vec<Entry>> {
    let mut bytes = bytes;
    let count = varint(&mut bytes)?;
    // An entry takes at least four bytes.
    let count = usize::try_from(count)
        .ok()
        .filter(|count| *count <= bytes.len() / 4);
    let count = count.ok_or_else(|| damaged("a directory is shorter than it says"))?;
    let mut entries = Vec::with_capacity(count);
    let mut tile = 0_u64;
    for index in 0..count {
        let step = varint(&mut bytes)?;
        if index > 0 && step == 0 {
            return Err(damaged("a directory names a tile twice"));
        }
        tile = tile
            .checked_add(step)
            .ok_or_else(|| damaged("a directory's numbers are too large"))?;
        entries.push(Entry {
            tile,
            offset: 0,
            length: 0,
            run: 0,
        });
    }
    for entry in &mut entries {
        entry.run = small(varint(&mut bytes)?)?;
    }
    for entry in &mut entries {
        entry.length = small(varint(&mut bytes)?)?;
    }
    let mut next = None;
    for entry in &mut entries {
        let written = varint(&mut bytes)?;
        let offset = match written {
            0 => next,
            at => Some(at - 1),
        };
        entry.offset = offset.ok_or_else(|| damaged("a directory's first entry lies nowhere"))?;
        next = entry.offset.checked_add(u64::from(entry.length));
    }
    Ok(entries)
}

fn small(number: u64) -> io::Result<u32> {
    u32::try_from(number).map_err(|_| damaged("a directory's numbers are too large"))
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn varint(bytes: &mut &[u8]) -> io::Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes
            .split_first()
            .ok_or_else(|| damaged("a directory ends early"))?;
        *bytes = rest;
        let part = u64::from(first & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        number |= part << shift;
        if first & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(damaged("a directory's numbers are too large"))
}

fn read_at(file: &File, from: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged("too long"))?];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}

fn u64_at(bytes: &[u8; HEADER], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_curve_of_the_specification() {
        // The example table of the specification.
        for (zoom, column, row, number) in [
            (0, 0, 0, 0),
            (1, 0, 0, 1),
            (1, 0, 1, 2),
            (1, 1, 1, 3),
            (1, 1, 0, 4),
            (2, 0, 0, 5),
            (12, 3423, 1763, 19_078_479),
        ] {
            assert_eq!(
                number_of(zoom, column, row),
                number,
                "{zoom}/{column}/{row}"
            );
        }
        // Neighbours along the curve are neighbours on the map, and none is missing.
        let mut by_number = vec![None; 256];
        for (column, row) in (0..16).flat_map(|column| (0..16).map(move |row| (column, row))) {
            by_number[usize::try_from(number_of(4, column, row) - 85).unwrap()] =
                Some((column, row));
        }
        for pair in by_number.windows(2) {
            let ((a, b), (c, d)) = (pair[0].unwrap(), pair[1].unwrap());
            assert_eq!(u32::abs_diff(a, c) + u32::abs_diff(b, d), 1);
        }
    }

    #[test]
    fn damaged_directories_are_errors() {
        for bytes in [
            &[][..],
            &[1],
            &[0x80],
            &[255; 12],
            // More entries than bytes.
            &[200, 1, 1, 1, 1],
            // A first entry that follows none.
            &[1, 0, 1, 1, 0],
            // The same tile twice.
            &[2, 0, 0, 1, 1, 1, 1, 1, 0],
        ] {
            assert!(entries(bytes).is_err(), "{bytes:?}");
        }
        let one = entries(&[1, 5, 2, 3, 1]).unwrap();
        assert_eq!(
            one,
            [Entry {
                tile: 5,
                offset: 0,
                length: 3,
                run: 2
            }]
        );
        assert_eq!(find(&one, 4), None);
        assert!(find(&one, 6).is_some());
        assert_eq!(find(&one, 7), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_a_directory(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = entries(&bytes);
        }
    }
}
