//! Codec configurations: avcC and hvcC records (ISO 14496-15), codec strings (RFC 6381).

use bytes::{BufMut, Bytes};

use super::nal::{PARAMETER_SETS_LIMIT, take_units};
use super::unit::{Codec, Configuration};
use super::{h264, h265};

/// Largest avcC or hvcC record that is taken, in bytes.
pub const RECORD_LIMIT: usize = 64 * 1024;

/// Why a record or parameter sets can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Larger than [`RECORD_LIMIT`].
    #[error("configuration record is larger than 64 KiB")]
    TooLarge,
    /// It ends before its parts do.
    #[error("configuration record is cut short")]
    Truncated,
    /// Not version 1.
    #[error("configuration record has an unknown version")]
    Version,
    /// NAL units stand behind lengths of other than four bytes.
    #[error("configuration record announces NAL lengths of other than four bytes")]
    LengthSize,
    /// A parameter set that a decoder needs is not there.
    #[error("configuration lacks a parameter set")]
    MissingSet,
    /// The sequence parameter set can't be read.
    #[error("sequence parameter set can't be read")]
    BrokenSet,
}

/// An H.264 decoder configuration (ISO 14496-15 5.3.3.1), read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Avc {
    /// Sequence parameter sets with their NAL headers; at least one.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets with their NAL headers; at least one.
    pub pps: Vec<Bytes>,
}

impl Avc {
    /// Reads an avcC record; slices share its bytes. What follows the sets is ignored.
    ///
    /// # Errors
    ///
    /// The record is cut short, too large, of another version, without four-byte lengths, or lacks a set.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let head = header::<6>(record)?;
        if head[4] & 3 != 3 {
            return Err(Error::LengthSize);
        }
        let mut at = 6;
        let sps = take_units(record, &mut at, usize::from(head[5] & 31)).ok_or(Error::Truncated)?;
        let count = *record.get(at).ok_or(Error::Truncated)?;
        at += 1;
        let pps = take_units(record, &mut at, usize::from(count)).ok_or(Error::Truncated)?;
        if sps.is_empty() || pps.is_empty() {
            return Err(Error::MissingSet);
        }
        Ok(Self { sps, pps })
    }

    /// What the first sequence parameter set says.
    ///
    /// # Errors
    ///
    /// There is none, or it can't be read.
    pub fn first_sps(&self) -> Result<h264::Sps, Error> {
        let set = self.sps.first().ok_or(Error::MissingSet)?;
        h264::Sps::parse(set).ok_or(Error::BrokenSet)
    }

    /// Writes the avcC record.
    ///
    /// # Errors
    ///
    /// There are more sets than a record holds, or one is too long.
    pub fn build(&self) -> Result<Bytes, Error> {
        let sps = self.first_sps()?;
        if self.pps.is_empty() {
            return Err(Error::MissingSet);
        }
        if self.sps.len() > 31 || self.pps.len() > PARAMETER_SETS_LIMIT {
            return Err(Error::TooLarge);
        }
        let mut out = vec![1, sps.profile, sps.constraints, sps.level, 0xff];
        out.push(0xe0 | self.sps.len() as u8);
        put_units(&mut out, &self.sps)?;
        out.push(self.pps.len() as u8);
        put_units(&mut out, &self.pps)?;
        if h264::has_chroma_format(sps.profile) {
            out.extend_from_slice(&[
                0xfc | sps.chroma_format,
                0xf8 | sps.luma_bits.saturating_sub(8),
                0xf8 | sps.chroma_bits.saturating_sub(8),
                0,
            ]);
        }
        bounded(out)
    }
}

/// An H.265 decoder configuration (ISO 14496-15 8.3.3.1), read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hevc {
    /// Video parameter sets with their NAL headers; at least one.
    pub vps: Vec<Bytes>,
    /// Sequence parameter sets with their NAL headers; at least one.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets with their NAL headers; at least one.
    pub pps: Vec<Bytes>,
}

impl Hevc {
    /// Reads an hvcC record; slices share its bytes. Arrays of other units are ignored.
    ///
    /// # Errors
    ///
    /// The record is cut short, too large, of another version, without four-byte lengths, or lacks a set.
    pub fn parse(record: &Bytes) -> Result<Self, Error> {
        let head = header::<23>(record)?;
        if head[21] & 3 != 3 {
            return Err(Error::LengthSize);
        }
        let mut read = Self {
            vps: Vec::new(),
            sps: Vec::new(),
            pps: Vec::new(),
        };
        let mut at = 23;
        for _ in 0..head[22] {
            let array = record.get(at..at + 3).ok_or(Error::Truncated)?;
            let kind = array[0] & 0x3f;
            let count = u16::from_be_bytes([array[1], array[2]]);
            at += 3;
            let units = take_units(record, &mut at, usize::from(count)).ok_or(Error::Truncated)?;
            let kept = match kind {
                h265::kind::VPS => &mut read.vps,
                h265::kind::SPS => &mut read.sps,
                h265::kind::PPS => &mut read.pps,
                _ => continue,
            };
            kept.extend(units);
            kept.truncate(PARAMETER_SETS_LIMIT);
        }
        if read.vps.is_empty() || read.sps.is_empty() || read.pps.is_empty() {
            return Err(Error::MissingSet);
        }
        Ok(read)
    }

    /// What the first sequence parameter set says.
    ///
    /// # Errors
    ///
    /// There is none, or it can't be read.
    pub fn first_sps(&self) -> Result<h265::Sps, Error> {
        let set = self.sps.first().ok_or(Error::MissingSet)?;
        h265::Sps::parse(set).ok_or(Error::BrokenSet)
    }

    /// Writes the hvcC record.
    ///
    /// # Errors
    ///
    /// There are more sets than a record holds, or one is too long.
    pub fn build(&self) -> Result<Bytes, Error> {
        let sps = self.first_sps()?;
        if self.vps.is_empty() || self.pps.is_empty() {
            return Err(Error::MissingSet);
        }
        let mut out = vec![1, sps.profile];
        out.put_u32(sps.compatibility);
        out.extend_from_slice(&sps.constraints);
        out.push(sps.level);
        // No minimum spatial segmentation, parallelism unknown.
        out.extend_from_slice(&[0xf0, 0, 0xfc]);
        out.extend_from_slice(&[
            0xfc | sps.chroma_format,
            0xf8 | sps.luma_bits.saturating_sub(8),
            0xf8 | sps.chroma_bits.saturating_sub(8),
            0,
            0,
            sps.max_sub_layers << 3 | u8::from(sps.temporal_nesting) << 2 | 3,
            3,
        ]);
        for (kind, units) in [
            (h265::kind::VPS, &self.vps),
            (h265::kind::SPS, &self.sps),
            (h265::kind::PPS, &self.pps),
        ] {
            out.push(0x80 | kind);
            out.put_u16(u16::try_from(units.len()).map_err(|_| Error::TooLarge)?);
            put_units(&mut out, units)?;
        }
        bounded(out)
    }
}

impl Configuration {
    /// A configuration from a record as it came over the link or from a camera:
    /// checked, and its size read from the parameter set.
    ///
    /// MJPEG has no record; its size is read from a picture ([`super::jpeg::Jpeg`]).
    ///
    /// # Errors
    ///
    /// The record or its first sequence parameter set can't be read, or the codec has none.
    pub fn from_record(codec: Codec, record: Bytes) -> Result<Self, Error> {
        let (width, height) = match codec {
            Codec::H264 => {
                let sps = Avc::parse(&record)?.first_sps()?;
                (sps.width, sps.height)
            }
            Codec::H265 => {
                let sps = Hevc::parse(&record)?.first_sps()?;
                (sps.width, sps.height)
            }
            Codec::Jpeg => (0, 0),
        };
        Ok(Self {
            codec,
            record,
            width,
            height,
        })
    }

    /// The codec's string (RFC 6381 3.3, ISO 14496-15 annex E) for MSE and
    /// WebCodecs: `avc1.64001f`, `hvc1.1.6.L93.90`; `jpeg` for MJPEG.
    pub fn codec_string(&self) -> String {
        match self.codec {
            Codec::H264 => match self.record.get(1..4) {
                Some(&[profile, constraints, level]) => {
                    format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
                }
                _ => "avc1".to_owned(),
            },
            Codec::H265 => self
                .record
                .get(..13)
                .map_or_else(|| "hvc1".to_owned(), hevc_string),
            Codec::Jpeg => "jpeg".to_owned(),
        }
    }
}

/// `hvc1.` profile `.` compatibility, bits reversed `.` tier and level `.` constraints.
fn hevc_string(record: &[u8]) -> String {
    let space = ["", "A", "B", "C"][usize::from(record[1] >> 6)];
    let tier = if record[1] & 0x20 == 0 { 'L' } else { 'H' };
    let profile = record[1] & 0x1f;
    let compatibility =
        u32::from_be_bytes([record[2], record[3], record[4], record[5]]).reverse_bits();
    let mut text = format!(
        "hvc1.{space}{profile}.{compatibility:X}.{tier}{}",
        record[12]
    );
    let constraints = &record[6..12];
    let used = constraints
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    for byte in &constraints[..used] {
        text.push_str(&format!(".{byte:X}"));
    }
    text
}

fn header<const LENGTH: usize>(record: &Bytes) -> Result<[u8; LENGTH], Error> {
    if record.len() > RECORD_LIMIT {
        return Err(Error::TooLarge);
    }
    let head = *record.first_chunk::<LENGTH>().ok_or(Error::Truncated)?;
    if head[0] == 1 {
        Ok(head)
    } else {
        Err(Error::Version)
    }
}

fn put_units(out: &mut Vec<u8>, units: &[Bytes]) -> Result<(), Error> {
    for unit in units {
        out.put_u16(u16::try_from(unit.len()).map_err(|_| Error::TooLarge)?);
        out.extend_from_slice(unit);
    }
    Ok(())
}

fn bounded(record: Vec<u8>) -> Result<Bytes, Error> {
    if record.len() > RECORD_LIMIT {
        return Err(Error::TooLarge);
    }
    Ok(record.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Bytes {
        (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
            .collect()
    }

    fn avc() -> Avc {
        Avc {
            sps: vec![hex(
                "67640028acd940780227e5c044000003000400000300c83c60c658",
            )],
            pps: vec![hex("68ebe3cb22c0")],
        }
    }

    fn hevc() -> Hevc {
        Hevc {
            vps: vec![hex("40010c01ffff016000000300900000030000030078959809")],
            sps: vec![hex(
                "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84",
            )],
            pps: vec![hex("4401c172b46240")],
        }
    }

    #[test]
    fn records_come_back_as_they_went() {
        let record = avc().build().unwrap();
        assert_eq!(Avc::parse(&record), Ok(avc()));
        let configuration = Configuration::from_record(Codec::H264, record).unwrap();
        assert_eq!((configuration.width, configuration.height), (1920, 1080));
        assert_eq!(configuration.codec_string(), "avc1.640028");

        let record = hevc().build().unwrap();
        assert_eq!(Hevc::parse(&record), Ok(hevc()));
        let configuration = Configuration::from_record(Codec::H265, record).unwrap();
        assert_eq!((configuration.width, configuration.height), (1920, 1080));
        assert_eq!(configuration.codec_string(), "hvc1.1.6.L120.90");
    }

    #[test]
    fn bad_records_are_refused() {
        let good = avc().build().unwrap();
        let with = |at: usize, byte: u8| {
            let mut record = good.to_vec();
            record[at] = byte;
            Avc::parse(&record.into())
        };
        assert_eq!(with(0, 2), Err(Error::Version));
        assert_eq!(with(4, 0xfd), Err(Error::LengthSize));
        assert_eq!(with(5, 0xe0), Err(Error::MissingSet));
        assert_eq!(with(5, 0xe2), Err(Error::Truncated));
        let large = Bytes::from(vec![1; RECORD_LIMIT + 1]);
        assert_eq!(Avc::parse(&large), Err(Error::TooLarge));
        assert_eq!(Hevc::parse(&large), Err(Error::TooLarge));
        let empty = Configuration::from_record(Codec::H265, Bytes::new());
        assert_eq!(empty, Err(Error::Truncated));
    }

    #[test]
    fn no_truncation_or_flipped_bit_panics() {
        for record in [avc().build().unwrap(), hevc().build().unwrap()] {
            for end in 0..record.len() {
                let _ = Avc::parse(&record.slice(..end));
                let _ = Hevc::parse(&record.slice(..end));
            }
            for bit in 0..record.len() * 8 {
                let mut broken = record.to_vec();
                broken[bit / 8] ^= 1 << (bit % 8);
                let broken = Bytes::from(broken);
                for codec in [Codec::H264, Codec::H265] {
                    if let Ok(read) = Configuration::from_record(codec, broken.clone()) {
                        let _ = read.codec_string();
                    }
                }
            }
        }
    }
}
