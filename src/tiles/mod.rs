//! Tiles of the map's background, from files of this machine: a PMTiles archive
//! ([`archive`]) or a directory `z/x/y.png`.
//!
//! Pictures only (PNG, JPEG, WebP): vector tiles would have to be drawn by the page.
//! Nothing is loaded ahead; a tile is one or two reads. All calls block: they belong
//! on a blocking pool.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | a tile | [`TILE`] | not served |
//! | zoom | [`ZOOM`] | there is no such tile |
//! | directories of an archive in memory | [`archive::KEPT`] | the oldest go |

mod archive;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use archive::Archive;

/// Largest tile, in bytes.
pub const TILE: u64 = 1024 * 1024;
/// Closest zoom: a building fills some tiles.
pub const ZOOM: u8 = 22;

/// What the picture of a tile is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
}

impl Kind {
    const ENDINGS: [(&'static str, Self); 4] = [
        ("png", Self::Png),
        ("webp", Self::Webp),
        ("jpg", Self::Jpeg),
        ("jpeg", Self::Jpeg),
    ];

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// A tile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    /// What it is.
    pub kind: Kind,
    /// The picture.
    pub bytes: Vec<u8>,
}

/// Where tiles come from.
#[derive(Debug)]
pub struct Source {
    origin: Origin,
    zooms: (u8, u8),
}

#[derive(Debug)]
enum Origin {
    Archive(Archive),
    Directory(PathBuf),
}

impl Source {
    /// Opens an archive or a directory, and reads what it says of itself.
    ///
    /// # Errors
    /// It can't be read, or holds no pictures; the text says what to do.
    pub fn open(path: &Path) -> Result<Self, String> {
        let named = |error: String| format!("tiles {}: {error}", path.display());
        let found = std::fs::metadata(path).map_err(|error| named(error.to_string()))?;
        if found.is_dir() {
            let zooms = zooms_of(path).map_err(|error| named(error.to_string()))?;
            let text = "no directory 0 to 22 in it; tiles are expected as z/x/y.png, .jpg or .webp";
            return Ok(Self {
                zooms: zooms.ok_or_else(|| named(text.to_owned()))?,
                origin: Origin::Directory(path.to_owned()),
            });
        }
        let file = File::open(path).map_err(|error| named(error.to_string()))?;
        let archive = Archive::open(file).map_err(named)?;
        Ok(Self {
            zooms: archive.zooms(),
            origin: Origin::Archive(archive),
        })
    }

    /// Farthest and closest zoom that there is.
    pub fn zooms(&self) -> (u8, u8) {
        self.zooms
    }

    /// A tile by zoom, column from the west and row from the north; `None`: there is none.
    ///
    /// # Errors
    /// The file can't be read, or is damaged.
    pub fn tile(&self, zoom: u8, column: u32, row: u32) -> io::Result<Option<Tile>> {
        let (least, most) = self.zooms;
        let side = 1_u32 << zoom.min(ZOOM);
        if zoom < least || zoom > most || column >= side || row >= side {
            return Ok(None);
        }
        match &self.origin {
            Origin::Archive(archive) => archive.tile(zoom, column, row),
            Origin::Directory(path) => from_directory(path, zoom, column, row),
        }
    }
}

/// The zooms for which there is a directory.
fn zooms_of(path: &Path) -> io::Result<Option<(u8, u8)>> {
    let mut zooms: Option<(u8, u8)> = None;
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        let zoom = name.to_str().and_then(|name| name.parse().ok());
        if let Some(zoom) = zoom.filter(|zoom| *zoom <= ZOOM) {
            let (least, most) = zooms.unwrap_or((zoom, zoom));
            zooms = Some((least.min(zoom), most.max(zoom)));
        }
    }
    Ok(zooms)
}

fn from_directory(path: &Path, zoom: u8, column: u32, row: u32) -> io::Result<Option<Tile>> {
    for (ending, kind) in Kind::ENDINGS {
        let path = path.join(format!("{zoom}/{column}/{row}.{ending}"));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let bytes = bounded(file, TILE)?;
        return Ok(Some(Tile { kind, bytes }));
    }
    Ok(None)
}

/// All of it, unless it is longer.
fn bounded(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(damaged("longer than it may be"));
    }
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
