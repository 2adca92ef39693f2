//! Writes the headers of a JPEG (ITU-T T.81 B.2) around data that came without them
//! (RFC 2435 3.1, appendices A and B).

use super::jpeg::{HUFFMAN_TABLES, Sampling};

/// Quantisation of luma and chroma at quality 50, in zigzag order (T.81 tables K.1, K.2).
const BASE: [[u8; 64]; 2] = [
    [
        16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35,
        37, 29, 40, 58, 51, 61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80,
        109, 81, 87, 95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
    ],
    [
        17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    ],
];

/// Quantisation tables, in zigzag order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables(Vec<[u16; 64]>);

impl Tables {
    /// The tables of a Q value (RFC 2435 4.2); 1 to 99, others count as the nearest.
    pub fn of_quality(q: u8) -> Self {
        let q = u32::from(q.clamp(1, 99));
        let factor = if q < 50 { 5_000 / q } else { 200 - 2 * q };
        let scale = |value: u8| ((u32::from(value) * factor + 50) / 100).clamp(1, 255) as u16;
        Self(BASE.iter().map(|table| table.map(scale)).collect())
    }

    /// Tables in band (RFC 2435 3.1.8): bit n of `precision` says that table n has 16-bit
    /// coefficients. `None`: they end before they are whole, or there is none.
    pub fn parse(mut data: &[u8], precision: u8) -> Option<Self> {
        let mut tables = Vec::new();
        while !data.is_empty() && tables.len() < 4 {
            let mut table = [0; 64];
            if precision >> tables.len() & 1 == 0 {
                let (bytes, rest) = data.split_first_chunk::<64>()?;
                table = bytes.map(u16::from);
                data = rest;
            } else {
                let (bytes, rest) = data.split_first_chunk::<128>()?;
                for (value, pair) in table.iter_mut().zip(bytes.chunks_exact(2)) {
                    *value = u16::from_be_bytes([pair[0], pair[1]]);
                }
                data = rest;
            }
            tables.push(table);
        }
        (!tables.is_empty()).then_some(Self(tables))
    }
}

/// The headers that stand before the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Width in pixels.
    pub width: u16,
    /// Height in pixels.
    pub height: u16,
    /// How chroma is sampled.
    pub sampling: Sampling,
    /// Macroblocks between restart markers; 0: none.
    pub restart_interval: u16,
    /// Quantisation tables; one serves for luma and chroma.
    pub tables: &'a Tables,
}

impl Header<'_> {
    /// Appends all segments from the start of the image to the scan's header.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xff, 0xd8]);
        for (id, table) in (0_u8..).zip(self.tables.0.iter().take(2)) {
            let is_wide = table.iter().any(|value| *value > 255);
            segment(out, 0xdb, 1 + 64 * (1 + usize::from(is_wide)));
            out.push(u8::from(is_wide) << 4 | id);
            for value in table {
                if is_wide {
                    out.extend_from_slice(&value.to_be_bytes());
                } else {
                    out.push(*value as u8);
                }
            }
        }
        let chroma = u8::from(self.tables.0.len() > 1);
        let luma = match self.sampling {
            Sampling::Yuv422 => 0x21,
            Sampling::Yuv420 => 0x22,
        };
        segment(out, 0xc0, 15);
        out.push(8);
        out.extend_from_slice(&self.height.to_be_bytes());
        out.extend_from_slice(&self.width.to_be_bytes());
        out.extend_from_slice(&[3, 1, luma, 0, 2, 0x11, chroma, 3, 0x11, chroma]);
        huffman_tables(out);
        if self.restart_interval > 0 {
            segment(out, 0xdd, 2);
            out.extend_from_slice(&self.restart_interval.to_be_bytes());
        }
        scan_header(out, &[1, 2, 3]);
    }
}

/// Appends the Huffman tables that RFC 2435 supposes.
pub fn huffman_tables(out: &mut Vec<u8>) {
    for (id, counts, symbols) in HUFFMAN_TABLES {
        segment(out, 0xc4, 17 + symbols.len());
        out.push(id);
        out.extend_from_slice(&counts);
        out.extend_from_slice(symbols);
    }
}

/// Appends the header of a scan of all `components`, the first with the tables of luma.
pub fn scan_header(out: &mut Vec<u8>, components: &[u8]) {
    segment(out, 0xda, 4 + 2 * components.len());
    out.push(components.len() as u8);
    for (number, id) in components.iter().enumerate() {
        out.extend_from_slice(&[*id, if number == 0 { 0 } else { 0x11 }]);
    }
    out.extend_from_slice(&[0, 63, 0]);
}

fn segment(out: &mut Vec<u8>, marker: u8, content: usize) {
    let length = (content + 2) as u16;
    out.extend_from_slice(&[0xff, marker]);
    out.extend_from_slice(&length.to_be_bytes());
}

/// Ends a JPEG: what a camera pads it with goes, an end marker that is missing comes.
pub fn end(data: &mut Vec<u8>) {
    let used = data
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    if data
        .get(..used)
        .is_some_and(|used| used.ends_with(&[0xff, 0xd9]))
    {
        data.truncate(used);
    } else if !data.ends_with(&[0xff, 0xd9]) {
        data.extend_from_slice(&[0xff, 0xd9]);
    }
}

/// The frame as a JPEG, or segments of one, describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Width in pixels; not 0.
    pub width: u16,
    /// Height in pixels; not 0.
    pub height: u16,
    /// The components' identifiers.
    pub components: Vec<u8>,
}

/// The segments at the start of `data`, behind a start of image or without: marker and
/// the whole segment with its marker. Ends at the scan's data, or where no segment stands.
pub fn segments(data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = data.strip_prefix(&[0xff, 0xd8]).unwrap_or(data);
    std::iter::from_fn(move || {
        let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
        rest = rest.get(fill.checked_sub(1)?..)?;
        let [_, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = 2 + usize::from(u16::from_be_bytes([high, low]));
        let (segment, after) = rest.split_at_checked(length)?;
        // Nothing but the scan's data follows its header.
        rest = if marker == 0xda { &[] } else { after };
        Some((marker, segment))
    })
}

/// Reads a start of frame segment (any SOF but the differential ones) with its marker.
pub fn frame(segment: &[u8]) -> Option<Frame> {
    if !matches!(segment.get(1)?, 0xc0..=0xc3) {
        return None;
    }
    let head = segment.get(4..10)?;
    let (height, width) = (
        u16::from_be_bytes([head[1], head[2]]),
        u16::from_be_bytes([head[3], head[4]]),
    );
    let parts = segment.get(10..)?.chunks_exact(3);
    let components: Vec<u8> = parts.take(head[5].into()).map(|part| part[0]).collect();
    (width > 0 && height > 0 && !components.is_empty()).then_some(Frame {
        width,
        height,
        components,
    })
}

#[cfg(test)]
mod tests {
    use super::super::jpeg::Jpeg;
    use super::*;

    #[test]
    fn what_is_written_reads_as_meant() {
        let tables = Tables::of_quality(50);
        for (sampling, restart_interval) in [(Sampling::Yuv420, 0), (Sampling::Yuv422, 16)] {
            let header = Header {
                width: 1600,
                height: 1200,
                sampling,
                restart_interval,
                tables: &tables,
            };
            let mut out = Vec::new();
            header.write(&mut out);
            out.extend_from_slice(&[1, 2, 3, 0, 0]);
            end(&mut out);
            let read = Jpeg::parse(&out).unwrap();
            assert_eq!((read.width, read.height), (1600, 1200));
            assert_eq!(
                (read.sampling, read.restart_interval),
                (sampling, restart_interval)
            );
            assert_eq!(read.tables, [&BASE[0][..], &BASE[1]]);
            let sof = segments(&out)
                .find_map(|(_, segment)| frame(segment))
                .unwrap();
            assert_eq!(
                (sof.width, sof.height, sof.components),
                (1600, 1200, vec![1, 2, 3])
            );
        }
    }

    #[test]
    fn qualities_and_tables_in_band() {
        assert_eq!(Tables::of_quality(99).0[0][0], 1);
        assert_eq!(Tables::of_quality(1).0[0][0], 255);
        assert_eq!(Tables::of_quality(0), Tables::of_quality(1));
        let wide = [[1_u8; 64].as_slice(), &[1, 2].repeat(64)].concat();
        let tables = Tables::parse(&wide, 0b10).unwrap();
        assert_eq!((tables.0[0][0], tables.0[1][63]), (1, 258));
        assert_eq!(Tables::parse(&wide[..100], 0), None);
        assert_eq!(Tables::parse(&[], 0), None);
    }

    #[test]
    fn ends_are_made_right() {
        for (data, expected) in [
            (&[1, 0xff, 0xd9][..], &[1, 0xff, 0xd9][..]),
            (&[1, 0xff, 0xd9, 0, 0], &[1, 0xff, 0xd9]),
            (&[1, 2], &[1, 2, 0xff, 0xd9]),
            (&[], &[0xff, 0xd9]),
        ] {
            let mut data = data.to_vec();
            end(&mut data);
            assert_eq!(data, expected);
        }
    }
}
