use std::io::Write;

use super::*;

struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fanal-tiles-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An archive with a root directory, a leaf that holds tile 1/0/0 alone, and 0/0/0 in the root.
fn archive(compression: u8, kind: u8) -> Vec<u8> {
    let pack = |bytes: &[u8]| match compression {
        2 => {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    };
    // Two tiles share one picture (a run), the third has its own; lengths 5 and 3.
    let leaf = pack(&[2, 1, 2, 2, 1, 5, 3, 1, 0]);
    let leaf_length = u8::try_from(leaf.len()).unwrap();
    // Tile 0 lies in the data at 8, from 1 on a leaf at 0.
    let root = pack(&[2, 0, 1, 1, 0, 4, leaf_length, 9, 1]);
    let data = b"twinsonezero";
    let mut bytes = b"PMTiles\x03".to_vec();
    let (root_at, root_length) = (127_u64, root.len() as u64);
    let (leaf_at, data_at) = (
        root_at + root_length,
        root_at + root_length + leaf.len() as u64,
    );
    for number in [
        root_at,
        root_length,
        0,
        0,
        leaf_at,
        leaf.len() as u64,
        data_at,
        data.len() as u64,
        4,
        3,
        3,
    ] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend([1, compression, 1, kind, 0, 1]);
    bytes.resize(127, 0);
    bytes.extend(root);
    bytes.extend(leaf);
    bytes.extend(data);
    bytes
}

fn opened(bytes: &[u8]) -> Result<Source, String> {
    let directory = Directory::new();
    let path = directory.0.join("fond.pmtiles");
    std::fs::write(&path, bytes).unwrap();
    Source::open(&path)
}

#[test]
fn tiles_of_an_archive() {
    for compression in [1, 2] {
        let source = opened(&archive(compression, 2)).unwrap();
        assert_eq!(source.zooms(), (0, 1));
        // Twice: the second time from the directories kept.
        for _ in 0..2 {
            for (zoom, column, row, bytes) in [
                (0, 0, 0, Some("zero")),
                (1, 0, 0, Some("twins")),
                (1, 0, 1, Some("twins")),
                (1, 1, 1, Some("one")),
                (1, 1, 0, None),
                (1, 2, 0, None),
                (2, 0, 0, None),
            ] {
                let tile = source.tile(zoom, column, row).unwrap();
                let bytes = bytes.map(|bytes| Tile {
                    kind: Kind::Png,
                    bytes: bytes.into(),
                });
                assert_eq!(tile, bytes, "{zoom}/{column}/{row}");
            }
        }
    }
}

#[test]
fn what_is_no_archive_of_pictures_is_refused_and_says_why() {
    let mut old = archive(1, 2);
    old[7] = 2;
    let mut far = archive(1, 2);
    far[8..16].copy_from_slice(&20_000_u64.to_le_bytes());
    for (bytes, why) in [
        (archive(1, 1), "vector"),
        (archive(1, 0), "PNG, JPEG or WebP"),
        (archive(4, 2), "zstd"),
        (old, "version 2"),
        (far, "16 KiB"),
        (b"PMTiles".to_vec(), "no PMTiles"),
        (vec![b'x'; 200], "no PMTiles"),
    ] {
        let error = opened(&bytes).unwrap_err();
        assert!(
            error.contains(why) && error.contains("fond.pmtiles"),
            "{error}"
        );
    }
    assert!(Source::open(Path::new("/nowhere.pmtiles")).is_err());
}

#[test]
fn a_damaged_archive_gives_errors_and_no_other_bytes() {
    let whole = archive(1, 2);
    let cut = opened(&whole[..whole.len() - 2]).unwrap();
    assert!(cut.tile(0, 0, 0).is_err());
    assert!(cut.tile(1, 0, 0).is_ok());
    // A directory that points out of the data.
    let mut out = whole.clone();
    out[64..72].copy_from_slice(&4_u64.to_le_bytes());
    assert!(opened(&out).unwrap().tile(1, 0, 0).is_err());
    // A tile that is longer than it may be.
    let mut long = whole;
    long[64..72].copy_from_slice(&u64::MAX.to_le_bytes());
    let source = opened(&long).unwrap();
    assert!(source.tile(0, 0, 0).is_ok());
}

#[test]
fn tiles_of_a_directory() {
    let directory = Directory::new();
    assert!(Source::open(&directory.0).unwrap_err().contains("z/x/y"));
    let put = |name: &str, bytes: &[u8]| {
        let path = directory.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    put("9/263/186.webp", b"w");
    put("11/1053/746.jpg", b"j");
    put(
        "11/1053/747.png",
        &vec![0; usize::try_from(TILE).unwrap() + 1],
    );
    put("readme/x", b"");
    let source = Source::open(&directory.0).unwrap();
    assert_eq!(source.zooms(), (9, 11));
    let kind = |zoom, column, row| {
        source
            .tile(zoom, column, row)
            .unwrap()
            .map(|tile| tile.kind)
    };
    assert_eq!(kind(9, 263, 186), Some(Kind::Webp));
    assert_eq!(kind(11, 1053, 746), Some(Kind::Jpeg));
    assert_eq!(kind(10, 0, 0), None);
    assert_eq!(kind(8, 0, 0), None);
    assert!(source.tile(11, 1053, 747).is_err());
}
