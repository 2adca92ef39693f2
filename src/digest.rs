//! The hashes of HTTP and RTSP Digest (RFC 7616): aws-lc-rs has all but MD5, which is all that most
//! cameras and players know.

use std::fmt::Write;

use aws_lc_rs::digest::{self, SHA256, SHA512_256};
use md5::{Digest, Md5};

/// A hash that Digest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// MD5: what is meant where none is named.
    Md5,
    /// SHA-256.
    Sha256,
    /// SHA-512/256.
    Sha512,
}

impl Hash {
    /// The hash of these parts with colons between, in lower-case hexadecimal.
    pub fn of(self, parts: &[&[u8]]) -> String {
        let colons = |index: usize| if index > 0 { b":".as_slice() } else { b"" };
        let parts = parts
            .iter()
            .enumerate()
            .flat_map(|(index, part)| [colons(index), part]);
        let strong = |algorithm: &'static digest::Algorithm| {
            let mut context = digest::Context::new(algorithm);
            parts.clone().for_each(|part| context.update(part));
            hex(context.finish().as_ref())
        };
        match self {
            Self::Md5 => {
                let mut hasher = Md5::new();
                parts.for_each(|part| hasher.update(part));
                hex(&hasher.finalize())
            }
            Self::Sha256 => strong(&SHA256),
            Self::Sha512 => strong(&SHA512_256),
        }
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hashes_come_out() {
        let parts: [&[u8]; 2] = [b"Mufasa", b"Circle"];
        for (hash, whole) in [
            (Hash::Md5, "900150983cd24fb0d6963f7d28e17f72"),
            (
                Hash::Sha256,
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                Hash::Sha512,
                "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
            ),
        ] {
            assert_eq!(hash.of(&[b"abc"]), whole);
            assert_eq!(hash.of(&parts), hash.of(&[b"Mufasa:Circle"]));
        }
    }
}
