//! JPEG (ITU-T T.81): what RTP needs of a whole picture (RFC 2435), and putting
//! one together from its parts.

/// What is in the way of relaying a JPEG over RTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It ends before its segments do, or a segment makes no sense.
    #[error("JPEG is cut short or broken")]
    Broken,
    /// Progressive, lossless or arithmetic coding, which RFC 2435 can't carry.
    #[error("JPEG is not baseline; set the camera to baseline JPEG")]
    NotBaseline,
    /// Neither 4:2:0 nor 4:2:2 in three components.
    #[error("JPEG is neither 4:2:0 nor 4:2:2")]
    Sampling,
    /// Other than the usual Huffman tables (T.81 annex K), which RFC 2435 supposes.
    #[error("JPEG has Huffman tables of its own, which RTP can't carry")]
    HuffmanTables,
    /// A quantisation table is missing.
    #[error("JPEG lacks a quantisation table")]
    MissingTable,
}

/// A baseline JPEG, taken apart. Borrows the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jpeg<'a> {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// How chroma is sampled.
    pub sampling: Sampling,
    /// Macroblocks between restart markers; 0: none.
    pub restart_interval: u16,
    /// Quantisation tables of luma and chroma, in zigzag order.
    pub tables: [&'a [u8]; 2],
    /// Entropy-coded data: after the scan's header, without the end marker.
    pub scan: &'a [u8],
}

/// How chroma is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// Half as wide (RFC 2435 type 0).
    Yuv422,
    /// Half as wide and half as high (RFC 2435 type 1).
    Yuv420,
}

impl<'a> Jpeg<'a> {
    /// Takes a whole JPEG apart.
    ///
    /// # Errors
    ///
    /// The picture is cut short, or RFC 2435 can't carry it; says which.
    pub fn parse(data: &'a [u8]) -> Result<Self, Error> {
        let mut tables = [None; 4];
        let mut frame = None;
        let mut restart_interval = 0;
        let mut rest = data.strip_prefix(&[0xff, 0xd8]).ok_or(Error::Broken)?;
        loop {
            let (marker, segment, after) = segment(rest)?;
            rest = after;
            match marker {
                0xdb => read_tables(segment, &mut tables)?,
                0xc0 => frame = Some(Frame::parse(segment)?),
                0xc4 => check_huffman(segment)?,
                0xc1..=0xcf => return Err(Error::NotBaseline),
                0xdd => {
                    let value = segment.first_chunk().ok_or(Error::Broken)?;
                    restart_interval = u16::from_be_bytes(*value);
                }
                0xda => break,
                _ => {}
            }
        }
        let frame = frame.ok_or(Error::Broken)?;
        let table = |index: usize| tables[index].ok_or(Error::MissingTable);
        Ok(Self {
            width: frame.width,
            height: frame.height,
            sampling: frame.sampling,
            restart_interval,
            tables: [table(frame.tables[0])?, table(frame.tables[1])?],
            scan: rest.strip_suffix(&[0xff, 0xd9]).unwrap_or(rest),
        })
    }
}

/// The next segment: its marker, its content, and what follows.
fn segment(data: &[u8]) -> Result<(u8, &[u8], &[u8]), Error> {
    // Any number of fill bytes may stand before a marker (T.81 B.1.1.2).
    let start = data
        .iter()
        .position(|byte| *byte != 0xff)
        .ok_or(Error::Broken)?;
    if start == 0 {
        return Err(Error::Broken);
    }
    let marker = data[start];
    let body = &data[start + 1..];
    let length = usize::from(u16::from_be_bytes(
        *body.first_chunk().ok_or(Error::Broken)?,
    ));
    let content = body.get(2..length).ok_or(Error::Broken)?;
    Ok((marker, content, &body[length..]))
}

fn read_tables<'a>(mut segment: &'a [u8], tables: &mut [Option<&'a [u8]>; 4]) -> Result<(), Error> {
    while let Some((head, rest)) = segment.split_first() {
        // 16-bit tables belong to 12-bit samples, which baseline has not.
        if head >> 4 != 0 {
            return Err(Error::NotBaseline);
        }
        let table = rest.get(..64).ok_or(Error::Broken)?;
        *tables.get_mut(usize::from(*head)).ok_or(Error::Broken)? = Some(table);
        segment = &rest[64..];
    }
    Ok(())
}

struct Frame {
    width: u16,
    height: u16,
    sampling: Sampling,
    /// Indices of the luma and chroma quantisation tables.
    tables: [usize; 2],
}

impl Frame {
    fn parse(segment: &[u8]) -> Result<Self, Error> {
        let head = segment.first_chunk::<6>().ok_or(Error::Broken)?;
        if head[0] != 8 {
            return Err(Error::NotBaseline);
        }
        let height = u16::from_be_bytes([head[1], head[2]]);
        let width = u16::from_be_bytes([head[3], head[4]]);
        if width == 0 || height == 0 {
            return Err(Error::Broken);
        }
        if head[5] != 3 {
            return Err(Error::Sampling);
        }
        let parts = segment.get(6..15).ok_or(Error::Broken)?;
        let sampling = match (parts[1], parts[4], parts[7]) {
            (0x21, 0x11, 0x11) => Sampling::Yuv422,
            (0x22, 0x11, 0x11) => Sampling::Yuv420,
            _ => return Err(Error::Sampling),
        };
        let tables = [usize::from(parts[2]), usize::from(parts[5])];
        if parts[5] != parts[8] || tables.iter().any(|index| *index > 3) {
            return Err(Error::Sampling);
        }
        Ok(Self {
            width,
            height,
            sampling,
            tables,
        })
    }
}

/// A Huffman table's class and id, its counts by length, its symbols.
type HuffmanTable = (u8, [u8; 16], &'static [u8]);

/// The tables of T.81 annex K.3, which RFC 2435 supposes: luma DC and AC, chroma DC and AC.
pub const HUFFMAN_TABLES: [HuffmanTable; 4] = [
    (
        0x00,
        [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
    (
        0x10,
        [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
        &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51,
            0x61, 0x07, 0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1,
            0x15, 0x52, 0xd1, 0xf0, 0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18,
            0x19, 0x1a, 0x25, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39,
            0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57,
            0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74, 0x75,
            0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x92,
            0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
            0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
            0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8,
            0xd9, 0xda, 0xe1, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2,
            0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
        ],
    ),
    (
        0x01,
        [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
        &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    ),
    (
        0x11,
        [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07,
            0x61, 0x71, 0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09,
            0x23, 0x33, 0x52, 0xf0, 0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25,
            0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26, 0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38,
            0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x53, 0x54, 0x55, 0x56,
            0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x73, 0x74,
            0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
            0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
            0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba,
            0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6,
            0xd7, 0xd8, 0xd9, 0xda, 0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2,
            0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa,
        ],
    ),
];

fn check_huffman(mut segment: &[u8]) -> Result<(), Error> {
    while let Some((id, rest)) = segment.split_first() {
        let counts = rest.first_chunk::<16>().ok_or(Error::Broken)?;
        let length = counts.iter().map(|count| usize::from(*count)).sum();
        let symbols = rest[16..].get(..length).ok_or(Error::Broken)?;
        let usual = HUFFMAN_TABLES
            .iter()
            .any(|table| table.0 == *id && table.1 == *counts && table.2 == symbols);
        if !usual {
            return Err(Error::HuffmanTables);
        }
        segment = &rest[16 + length..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture's headers with `scan` as its data.
    fn picture(sof: u8, sampling: u8, scan: &[u8]) -> Vec<u8> {
        let mut data = vec![0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xdb, 0, 132];
        data.push(0);
        data.extend_from_slice(&[7; 64]);
        data.push(1);
        data.extend_from_slice(&[9; 64]);
        data.extend_from_slice(&[0xff, sof, 0, 17, 8, 1, 0, 2, 0, 3]);
        data.extend_from_slice(&[1, sampling, 0, 2, 0x11, 1, 3, 0x11, 1]);
        for (id, counts, symbols) in HUFFMAN_TABLES {
            data.extend_from_slice(&[0xff, 0xc4, 0, 19 + symbols.len() as u8, id]);
            data.extend_from_slice(&counts);
            data.extend_from_slice(symbols);
        }
        data.extend_from_slice(&[0xff, 0xdd, 0, 4, 0, 32]);
        data.extend_from_slice(&[0xff, 0xda, 0, 12, 3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
        data.extend_from_slice(scan);
        data.extend_from_slice(&[0xff, 0xd9]);
        data
    }

    #[test]
    fn takes_a_picture_apart() {
        let data = picture(0xc0, 0x22, &[1, 2, 3]);
        let jpeg = Jpeg::parse(&data).unwrap();
        assert_eq!((jpeg.width, jpeg.height), (512, 256));
        assert_eq!(jpeg.sampling, Sampling::Yuv420);
        assert_eq!(jpeg.restart_interval, 32);
        assert_eq!(jpeg.tables, [&[7; 64][..], &[9; 64]]);
        assert_eq!(jpeg.scan, [1, 2, 3]);
    }

    #[test]
    fn refuses_what_rtp_cannot_carry() {
        let parse = |sof, sampling| Jpeg::parse(&picture(sof, sampling, &[])).map(|_| ()).err();
        assert_eq!(parse(0xc2, 0x22), Some(Error::NotBaseline));
        assert_eq!(parse(0xc0, 0x11), Some(Error::Sampling));
        assert_eq!(parse(0xc0, 0x21), None);
        let mut other = picture(0xc0, 0x22, &[]);
        let table = other.windows(2).position(|at| at == [0xff, 0xc4]).unwrap();
        other[table + 21] ^= 1;
        assert_eq!(Jpeg::parse(&other).err(), Some(Error::HuffmanTables));
    }

    #[test]
    fn no_truncation_or_flipped_bit_panics() {
        let data = picture(0xc0, 0x22, &[1, 2, 3]);
        for end in 0..data.len() {
            let _ = Jpeg::parse(&data[..end]);
        }
        for bit in 0..data.len() * 8 {
            let mut broken = data.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let _ = Jpeg::parse(&broken);
        }
    }
}
