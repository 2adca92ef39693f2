//! PNG files (W3C PNG 1.2, third edition): their image data and texts; no pixel is decoded.

use crate::format::ids::Sha256;

/// What every file begins with.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// Texts that are kept, and the longest of them in bytes.
const TEXTS_LIMIT: usize = 64;
const TEXT_BYTES: usize = 4 * 1024;

/// What a PNG holds beside its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Png {
    /// Of the contents of its IDAT chunks, in order.
    pub image: Sha256,
    /// Keywords and texts, of `tEXt` and uncompressed `iTXt`.
    texts: Vec<(String, String)>,
}

impl Png {
    /// The first text of this keyword.
    pub fn text(&self, keyword: &str) -> Option<&str> {
        let mut texts = self.texts.iter();
        let found = texts.find(|(known, _)| known == keyword);
        found.map(|(_, text)| text.as_str())
    }
}

/// Reads a whole PNG.
///
/// # Errors
///
/// It is none, or not whole.
pub fn read(file: &[u8]) -> Result<Png, &'static str> {
    let mut rest = file.strip_prefix(SIGNATURE).ok_or("it is no PNG")?;
    let mut image = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let (mut has_image, mut texts) = (false, Vec::new());
    loop {
        let cut = "it is a PNG that ends in the middle";
        let (head, after) = rest.split_first_chunk::<8>().ok_or(cut)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let (content, after) = after.split_at_checked(length).ok_or(cut)?;
        // Its checksum tells of errors on the way, which the hash tells too.
        rest = after.get(4..).ok_or(cut)?;
        match &head[4..] {
            b"IDAT" => {
                has_image = true;
                image.update(content);
            }
            b"tEXt" | b"iTXt" if texts.len() < TEXTS_LIMIT && content.len() <= TEXT_BYTES => {
                texts.extend(text(&head[4..], content));
            }
            b"IEND" if has_image => break,
            b"IEND" => return Err("it is a PNG without a picture"),
            _ => {}
        }
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(image.finish().as_ref());
    Ok(Png {
        image: Sha256(hash),
        texts,
    })
}

/// Keyword and text of a chunk (11.3.3); none where it is compressed or broken.
fn text(kind: &[u8], content: &[u8]) -> Option<(String, String)> {
    let mut parts = content.splitn(2, |byte| *byte == 0);
    let (keyword, rest) = (parts.next()?, parts.next()?);
    let keyword = String::from_utf8(keyword.to_vec()).ok()?;
    if kind == b"tEXt" {
        return Some((keyword, rest.iter().map(|byte| char::from(*byte)).collect()));
    }
    let rest = rest.strip_prefix(&[0, 0])?;
    // Language and translated keyword.
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    Some((keyword, String::from_utf8(text.to_vec()).ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn chunk(kind: &[u8], content: &[u8]) -> Vec<u8> {
        let length = (content.len() as u32).to_be_bytes();
        [&length[..], kind, content, &[0; 4]].concat()
    }

    /// A file with these IDAT chunks and texts.
    pub(crate) fn write(image: &[&[u8]], texts: &[(String, String)]) -> Vec<u8> {
        let mut out = [SIGNATURE, &chunk(b"IHDR", &[0; 13])].concat();
        for (keyword, text) in texts {
            let content = [keyword.as_bytes(), &[0; 5], text.as_bytes()].concat();
            out.extend(chunk(b"iTXt", &content));
        }
        for part in image {
            out.extend(chunk(b"IDAT", part));
        }
        out.extend(chunk(b"IEND", &[]));
        out
    }

    #[test]
    fn image_data_are_hashed_in_order_and_texts_are_found() {
        let texts = [("Source".to_owned(), "berre/quai; é".to_owned())];
        let file = write(&[b"one", b"", b"two"], &texts);
        let png = read(&file).unwrap();
        assert_eq!(png.image, Sha256::of(b"onetwo"));
        assert_eq!(png.text("Source"), Some("berre/quai; é"));
        assert_eq!(png.text("Comment"), None);
        let plain = [
            SIGNATURE,
            &chunk(b"tEXt", b"Source\0a\xe9"),
            &chunk(b"IDAT", b"x"),
        ]
        .concat();
        let plain = [plain, chunk(b"IEND", &[])].concat();
        assert_eq!(read(&plain).unwrap().text("Source"), Some("aé"));
        // Behind the end may be anything.
        assert_eq!(read(&[&file[..], b"more"].concat()), read(&file));
        for end in 0..file.len() {
            assert!(read(&file[..end]).is_err(), "{end}");
        }
        assert!(read(&write(&[], &texts)).is_err());
        for at in 8..file.len() {
            let mut bad = file.clone();
            bad[at] ^= 0x80;
            let _ = read(&bad);
        }
    }
}
