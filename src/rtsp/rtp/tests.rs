use super::*;
use crate::media::config::{Avc, Hevc};
use crate::media::nal::push_length_prefixed;
use crate::media::unit::UnitFlags;
use bytes::Bytes;
use proptest::prelude::*;

fn hex(text: &str) -> Bytes {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).unwrap())
        .collect()
}

fn h264() -> Configuration {
    let avc = Avc {
        sps: vec![hex(
            "67640028acd940780227e5c044000003000400000300c83c60c658",
        )],
        pps: vec![hex("68ebe3cb22c0")],
    };
    Configuration::from_record(Codec::H264, avc.build().unwrap()).unwrap()
}

fn h265() -> Configuration {
    let hevc = Hevc {
        vps: vec![hex("40010c01ffff016000000300900000030000030078959809")],
        sps: vec![hex(
            "420101016000000300900000030000030078a003c08010e596566924caf0168080000003008000000c84",
        )],
        pps: vec![hex("4401c172b46240")],
    };
    Configuration::from_record(Codec::H265, hevc.build().unwrap()).unwrap()
}

fn unit(key: bool, pts: i64, nals: &[Vec<u8>]) -> AccessUnit {
    let mut data = Vec::new();
    for nal in nals {
        push_length_prefixed(&mut data, nal);
    }
    AccessUnit {
        flags: UnitFlags {
            key,
            ..UnitFlags::default()
        },
        pts,
        captured: 0,
        data: data.into(),
    }
}

/// Puts NAL units together again as a plain reading of the RFCs has it.
fn depacketise(packets: &Packetised, codec: Codec) -> Vec<Vec<u8>> {
    let (head, aggregate, fragment) = match codec {
        Codec::H264 => (1, 24, 28),
        _ => (2, 48, 49),
    };
    let mut units: Vec<Vec<u8>> = Vec::new();
    for packet in packets.iter() {
        let payload = &packet[12..];
        let kind = match codec {
            Codec::H264 => payload[0] & 31,
            _ => payload[0] >> 1 & 63,
        };
        if kind == aggregate {
            let mut rest = &payload[head..];
            while let Some((length, after)) = rest.split_first_chunk::<2>() {
                let (nal, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
                units.push(nal.to_vec());
                rest = after;
            }
        } else if kind == fragment {
            let fu = payload[head];
            if fu & 0x80 != 0 {
                units.push(match codec {
                    Codec::H264 => vec![payload[0] & 0xe0 | fu & 31],
                    _ => vec![payload[0] & 0x81 | (fu & 63) << 1, payload[1]],
                });
            }
            units
                .last_mut()
                .unwrap()
                .extend_from_slice(&payload[head + 1..]);
        } else {
            units.push(payload.to_vec());
        }
    }
    units
}

fn nals(codec: Codec) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let header = match codec {
        Codec::H264 => vec![0x41],
        _ => vec![0x02, 0x01],
    };
    let nal = (0_usize..6_000, any::<u8>()).prop_map(move |(length, byte)| {
        let mut nal = header.clone();
        nal.extend((0..length).map(|at| (at as u8).wrapping_mul(31) ^ byte));
        nal
    });
    prop::collection::vec(nal, 1..6)
}

proptest! {
    #[test]
    fn h264_units_come_back(nals in nals(Codec::H264), key: bool, first: u16) {
        let configuration = h264();
        check(&nals, key, first, &configuration)?;
    }

    #[test]
    fn h265_units_come_back(nals in nals(Codec::H265), key: bool, first: u16) {
        let configuration = h265();
        check(&nals, key, first, &configuration)?;
    }
}

fn check(
    nals: &[Vec<u8>],
    key: bool,
    first: u16,
    configuration: &Configuration,
) -> Result<(), TestCaseError> {
    let mut packetiser = Packetiser::new(0x0102_0304, first, 1_000);
    let made = packetiser.packetise(&unit(key, 90, nals), configuration);
    let mut back = depacketise(&made, configuration.codec);
    if key {
        let sets = back.drain(..back.len() - nals.len()).count();
        prop_assert_eq!(
            sets,
            if configuration.codec == Codec::H264 {
                2
            } else {
                3
            }
        );
    }
    prop_assert_eq!(back, nals);
    let packets: Vec<Bytes> = made.iter().collect();
    prop_assert_eq!(packets.len(), usize::from(made.packets));
    for (number, packet) in packets.iter().enumerate() {
        prop_assert!(packet.len() <= PACKET_LIMIT);
        prop_assert_eq!(packet[0], 0x80);
        prop_assert_eq!(
            packet[1],
            if number + 1 == packets.len() {
                0x80 | 96
            } else {
                96
            }
        );
        let sequence = u16::from_be_bytes([packet[2], packet[3]]);
        prop_assert_eq!(sequence, first.wrapping_add(number as u16));
        prop_assert_eq!(&packet[4..12], [0, 0, 4, 66, 1, 2, 3, 4]);
    }
    prop_assert_eq!(packetiser.next_sequence(), first.wrapping_add(made.packets));
    let payload: usize = packets.iter().map(|packet| packet.len() - 12).sum();
    prop_assert_eq!(made.payload_bytes(), payload);
    Ok(())
}

#[test]
fn parameter_sets_share_one_packet() {
    let mut packetiser = Packetiser::new(1, 0, 0);
    let made = packetiser.packetise(&unit(true, 0, &[vec![0x65; 5_000]]), &h264());
    let first = made.iter().next().unwrap();
    assert_eq!(first[12], 0x60 | 24, "STAP-A with the sets' importance");
    assert_eq!(made.packets, 1 + 4);
}

#[test]
fn another_channel_is_patched_in_every_frame() {
    let mut packetiser = Packetiser::new(1, 0, 0);
    let made = packetiser.packetise(&unit(true, 0, &[vec![0x65; 5_000]]), &h264());
    let patched = made.for_channel(4);
    let other = Packetised {
        interleaved: patched.clone(),
        ..made.clone()
    };
    assert_eq!(
        other.iter().collect::<Vec<_>>(),
        made.iter().collect::<Vec<_>>()
    );
    let mut at = 0;
    for packet in other.iter() {
        assert_eq!(patched[at..at + 2], [b'$', 4]);
        at += 4 + packet.len();
    }
    assert_eq!(at, patched.len());
}

#[test]
fn a_kept_group_ends_where_the_shared_packets_begin() {
    let configuration = h264();
    let mut packetiser = Packetiser::new(1, 3, u32::MAX - 100);
    // Decode order with a B-frame: presentation 0, 3, 1, 2 … over two seconds.
    let order = [0, 3, 1, 2, 6, 4, 5, 49];
    let units: Vec<AccessUnit> = order
        .iter()
        .map(|number| unit(*number == 0, number * 3_600, &[vec![0x41; 2_000]]))
        .collect();
    let burst = packetiser.kept_burst(&units, &configuration);
    let shared = packetiser.packetise(&unit(false, 50 * 3_600, &[vec![0x41; 9]]), &configuration);

    let mut sequence = burst[0].first_sequence;
    for packetised in burst.iter().chain([&shared]) {
        assert_eq!(packetised.first_sequence, sequence);
        for packet in packetised.iter() {
            assert_eq!(u16::from_be_bytes([packet[2], packet[3]]), sequence);
            sequence = sequence.wrapping_add(1);
        }
    }
    assert_eq!(shared.first_sequence, 3);
    let ages: Vec<u32> = burst
        .iter()
        .map(|packetised| shared.timestamp.wrapping_sub(packetised.timestamp))
        .collect();
    assert_eq!(ages[0], 3_600 + 18_000);
    assert_eq!(ages[7], 3_600, "the newest has its own time");
    assert!(ages[1] < ages[3] && ages[3] < ages[2] && ages[2] < ages[0]);
}

#[test]
fn a_short_kept_group_keeps_its_times() {
    let packetiser = Packetiser::new(1, 0, 0);
    let units = [
        unit(true, 0, &[vec![0x65; 9]]),
        unit(false, 3_600, &[vec![0x41; 9]]),
    ];
    let burst = packetiser.kept_burst(&units, &h264());
    assert_eq!(burst[1].timestamp.wrapping_sub(burst[0].timestamp), 3_600);
    assert!(packetiser.kept_burst(&[], &h264()).is_empty());
}

#[test]
fn a_picture_that_rtp_cannot_carry_gives_no_packets() {
    let configuration = Configuration {
        codec: Codec::Jpeg,
        record: Bytes::new(),
        width: 0,
        height: 0,
    };
    let mut packetiser = Packetiser::new(1, 7, 0);
    let broken = AccessUnit {
        data: Bytes::from_static(b"no picture"),
        ..unit(true, 0, &[])
    };
    let made = packetiser.packetise(&broken, &configuration);
    assert_eq!((made.packets, made.interleaved.len()), (0, 0));
    assert_eq!(packetiser.next_sequence(), 7);
}

#[test]
fn a_jpeg_that_is_larger_than_rfc_2435_has_room_for_names_no_size() {
    use crate::media::jfif::{Header, Tables, end};
    use crate::media::jpeg::Sampling;
    for (width, height, named) in [(640, 360, [80, 45]), (2592, 1944, [0, 0])] {
        let header = Header {
            width,
            height,
            sampling: Sampling::Yuv420,
            restart_interval: 0,
            tables: &Tables::of_quality(50),
        };
        let mut data = Vec::new();
        header.write(&mut data);
        data.extend_from_slice(&[7; 3_000]);
        end(&mut data);
        let configuration = Configuration {
            codec: Codec::Jpeg,
            record: Bytes::new(),
            width,
            height,
        };
        let unit = AccessUnit {
            data: data.into(),
            ..unit(true, 0, &[])
        };
        let made = Packetiser::new(1, 7, 0).packetise(&unit, &configuration);
        assert_eq!(made.packets, 3);
        for packet in made.iter() {
            assert_eq!(packet[18..20], named, "{width}x{height}");
        }
    }
}
