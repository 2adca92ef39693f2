//! JPEG packetisation (RFC 2435): types 0 and 1, 64 and 65 with restart markers,
//! quantisation tables in band (Q 255) in the first packet of each picture.

use super::writer::{PAYLOAD, Writer};
use crate::media::jpeg::{Jpeg, Sampling};
use crate::media::unit::AccessUnit;

/// Q value for tables that may change with each picture (RFC 2435 3.1.8).
const TABLES_IN_BAND: u8 = 255;

/// Largest width and height that 8 bits name in units of 8 pixels (RFC 2435 3.1.5).
const SIZE_LIMIT: u16 = 2_040;

pub(super) fn packetise(writer: &mut Writer, unit: &AccessUnit) {
    let Ok(jpeg) = Jpeg::parse(&unit.data) else {
        return;
    };
    let sampling = match jpeg.sampling {
        Sampling::Yuv422 => 0,
        Sampling::Yuv420 => 1,
    };
    let restarts = jpeg.restart_interval > 0;
    let interval = jpeg.restart_interval.to_be_bytes();
    // First and last of their restart interval, count 0x3fff: packets end anywhere.
    let restart_header: &[u8] = if restarts {
        &[interval[0], interval[1], 0xff, 0xff]
    } else {
        &[]
    };
    // Larger than there is room for: the session description says it (x-dimensions).
    let fits = jpeg.width <= SIZE_LIMIT && jpeg.height <= SIZE_LIMIT;
    let eighths = |pixels: u16| if fits { pixels.div_ceil(8) as u8 } else { 0 };
    let tables_header = [0, 0, 0, 128];
    let mut rest = jpeg.scan;
    let mut offset = 0_usize;
    loop {
        let place = (offset as u32).to_be_bytes();
        let head = [
            0,
            place[1],
            place[2],
            place[3],
            if restarts { sampling + 64 } else { sampling },
            TABLES_IN_BAND,
            eighths(jpeg.width),
            eighths(jpeg.height),
        ];
        let tables: [&[u8]; 3] = if offset == 0 {
            [&tables_header, jpeg.tables[0], jpeg.tables[1]]
        } else {
            [&[], &[], &[]]
        };
        let used =
            head.len() + restart_header.len() + tables.iter().map(|part| part.len()).sum::<usize>();
        let (part, after) = rest.split_at(rest.len().min(PAYLOAD - used));
        writer.packet(&[&head, restart_header, tables[0], tables[1], tables[2], part]);
        offset += part.len();
        rest = after;
        if rest.is_empty() {
            return;
        }
    }
}
