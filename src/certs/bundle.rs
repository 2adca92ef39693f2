//! A tar (POSIX ustar) of small files: what one machine or person takes away.

use crate::secret::Secret;

/// A block of a tar.
const BLOCK: usize = 512;

/// A file to go into a tar.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its name, at most 100 bytes.
    pub name: String,
    /// Its permission bits.
    pub mode: u32,
    /// What is in it.
    pub text: Secret,
}

/// The tar of these files, owned by root, modified at `seconds` since the epoch. Holds keys: its
/// file must be as private as they are.
pub fn tar(entries: &[Entry], seconds: i64) -> Vec<u8> {
    let mut tar = Vec::new();
    for entry in entries {
        let text = entry.text.expose().as_bytes();
        tar.extend(header(&entry.name, entry.mode, text.len(), seconds));
        tar.extend(text);
        tar.resize(tar.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end it.
    tar.resize(tar.len() + 2 * BLOCK, 0);
    tar
}

fn header(name: &str, mode: u32, size: usize, seconds: i64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &name.as_bytes()[..name.len().min(100)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000\x000000000\x00");
    put(124, format!("{size:011o}").as_bytes());
    put(136, format!("{:011o}", seconds.max(0)).as_bytes());
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000root");
    put(297, b"root");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn any_tar_reads_it() {
        let entry = |name: &str, mode, text: &str| Entry {
            name: name.to_owned(),
            mode,
            text: Secret::new(text.to_owned()),
        };
        let long = "x".repeat(BLOCK + 1);
        let entries = [entry("a.pem", 0o644, &long), entry("a.key", 0o640, "k")];
        let bytes = tar(&entries, 1_763_864_381);
        assert_eq!(bytes.len(), BLOCK * (1 + 2 + 1 + 1 + 2));
        let mut listing = Command::new("tar")
            .args(["-tvf", "-"])
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        listing.stdin.take().unwrap().write_all(&bytes).unwrap();
        let output = listing.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[0],
            [
                "-rw-r--r--",
                "root/root",
                "513",
                "2025-11-23",
                "02:19",
                "a.pem"
            ]
        );
        assert_eq!(lines[1][0], "-rw-r-----");
        assert_eq!(lines[1][5], "a.key");
    }
}
