//! Packets with wrong bits, wrong numbers, wrong lengths: what can be shown comes whole,
//! the rest is dropped.

use super::*;

/// Both codecs, with pictures of one slice: of H.265 the key pictures alone are fragmented.
fn codecs() -> [(Codec, Vec<Source>); 2] {
    [(Codec::H264, h264(1)), (Codec::H265, h265(1))]
}

/// Where the bits of a fragment stand; `None`: the packet holds none.
fn bits_at(codec: Codec, packet: &[u8]) -> Option<usize> {
    match codec {
        Codec::H264 => (packet[12] & 31 == 28).then_some(13),
        _ => (packet[12] >> 1 & 63 == 49).then_some(14),
    }
}

/// The packets of all pictures, those of each picture changed.
fn camera(
    codec: Codec,
    sources: &[Source],
    change: impl Fn(usize, &mut [(Vec<u8>, u64)]),
) -> Vec<(Vec<u8>, u64)> {
    let mut camera = Camera::new(codec);
    for (number, source) in sources.iter().enumerate() {
        let from = camera.out.len();
        plain(&mut camera, number, source);
        change(number, &mut camera.out[from..]);
        camera.advance();
    }
    camera.out
}

fn fragments<'a>(
    codec: Codec,
    packets: &'a mut [(Vec<u8>, u64)],
) -> impl DoubleEndedIterator<Item = &'a mut u8> {
    let bits = move |(packet, _): &'a mut (Vec<u8>, u64)| {
        let at = bits_at(codec, packet)?;
        packet.get_mut(at)
    };
    packets.iter_mut().filter_map(bits)
}

/// Nothing but pictures that were sent, whole, in order; so many at least.
fn assert_none_harmed(name: &str, codec: Codec, sources: &[Source], run: &Run, least: usize) {
    let mut at = 0;
    for picture in &run.pictures {
        let slices = slices_of(codec, picture);
        let found = sources[at..].iter().position(|it| it.slices == slices);
        let found = found.unwrap_or_else(|| panic!("{name}: harmed, behind picture {at}"));
        at += found + 1;
    }
    assert!(
        run.pictures.len() >= least,
        "{name}: {}",
        run.pictures.len()
    );
}

#[test]
fn markers_in_the_middle_of_a_unit_end_nothing() {
    for (codec, sources) in codecs() {
        for all in [true, false] {
            let out = camera(codec, &sources, |_, packets| {
                for (at, (packet, _)) in packets.iter_mut().enumerate() {
                    packet[1] = packet[1] & 0x7f | u8::from(all || at == 0) << 7;
                }
            });
            let run = play(track(codec), false, &out);
            assert_all("markers", codec, &sources, &run, &[]);
        }
    }
}

#[test]
fn a_marker_without_an_end_bit_ends_the_picture_soon() {
    for (codec, sources) in codecs() {
        for every in [1, 4] {
            let out = camera(codec, &sources, |number, packets| {
                if number % every == 0
                    && let Some(bits) = fragments(codec, packets).next_back()
                {
                    *bits &= 0xbf;
                }
            });
            let run = play(track(codec), false, &out);
            assert_all("no end", codec, &sources, &run, &[]);
            for (number, at) in run.given.iter().enumerate() {
                let late = at - number as u64 * PAUSE;
                let limit = if number >= 14 { 20 } else { 100 };
                assert!(late <= limit, "{codec:?} {every}: {number} {late} ms late");
            }
        }
    }
}

#[test]
fn the_rest_of_the_first_picture_may_come_late() {
    for (codec, sources) in [(Codec::H264, h264(4)), (Codec::H265, h265(4))] {
        let mut out = camera(codec, &sources, |_, _| {});
        // Its last slice, and all that follows, 300 ms later.
        let first = out.iter().filter(|(_, at)| *at == 0).count();
        for (_, at) in &mut out[first - 1..] {
            *at += 300;
        }
        let run = play(track(codec), false, &out);
        assert_all("late", codec, &sources, &run, &[]);
    }
}

#[test]
fn an_end_bit_too_early_costs_the_picture_at_most() {
    for (codec, sources) in codecs() {
        let out = camera(codec, &sources, |number, packets| {
            if number % 5 == 0 || number % 5 == 2 {
                for bits in fragments(codec, packets).rev().skip(1).take(1) {
                    *bits |= 0x40;
                }
            }
        });
        let run = play(track(codec), false, &out);
        let least = if codec == Codec::H264 { 40 } else { 32 };
        assert_none_harmed("two ends", codec, &sources, &run, least);
    }
}

#[test]
fn start_bits_on_all_fragments_cost_the_picture_at_most() {
    for (codec, sources) in codecs() {
        let out = camera(codec, &sources, |number, packets| {
            if number % 5 == 0 && number > 0 || number % 7 == 2 {
                fragments(codec, packets).for_each(|bits| *bits |= 0x80);
            }
        });
        let run = play(track(codec), false, &out);
        assert_none_harmed("all start", codec, &sources, &run, 30);
    }
}

#[test]
fn messages_behind_a_picture_hold_nothing_up_and_are_dropped() {
    for (codec, message) in [
        (Codec::H264, &[6, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80][..]),
        (Codec::H265, &[0x4e, 1, 5, 4, 0xaa, 0xaa, 0xaa, 0xaa, 0x80]),
    ] {
        let sources = if codec == Codec::H264 {
            h264(4)
        } else {
            h265(4)
        };
        let mut camera = Camera::new(codec);
        for (number, source) in sources.iter().enumerate() {
            no_marker(&mut camera, number, source);
            camera.send(message, true);
            camera.advance();
        }
        let run = play(track(codec), false, &camera.out);
        assert_all("behind", codec, &sources, &run, &[]);
        for (number, picture) in run.pictures.iter().enumerate() {
            assert_eq!(
                length_prefixed(&picture.data).count(),
                4,
                "{codec:?} {number}"
            );
            let late = run.given[number] - number as u64 * PAUSE;
            assert!(
                late <= if number >= 14 { 0 } else { 20 },
                "{codec:?} {late}"
            );
        }
    }
}

#[test]
fn a_packet_from_nowhere_harms_nothing() {
    for (codec, sources) in codecs() {
        for sequence in [65_500, 1_000] {
            let mut camera = Camera::new(codec);
            camera.sequence = sequence;
            for (number, source) in sources.iter().enumerate() {
                if number % 5 == 2 {
                    // More padding than it has, and a number and time of its own.
                    let head = [0xa0, 96, 0, 1, 2, 3, 4, 5, 0, 0, 0, 7];
                    let unit: &[u8] = match codec {
                        Codec::H264 => &[0x41, 200],
                        _ => &[2, 1, 200],
                    };
                    camera.out.push(([&head, unit].concat(), camera.clock));
                }
                plain(&mut camera, number, source);
                camera.advance();
            }
            let run = play(track(codec), false, &camera.out);
            assert_all("from nowhere", codec, &sources, &run, &[]);
        }
    }
}

#[test]
fn numbers_that_begin_again_over_udp_lose_nothing() {
    for (codec, sources) in codecs() {
        for from in [0, 30_000] {
            let mut camera = Camera::new(codec);
            camera.sequence = 40;
            for (number, source) in sources.iter().enumerate() {
                if number == 12 {
                    camera.sequence = from;
                }
                plain(&mut camera, number, source);
                camera.advance();
            }
            let run = play(track(codec), true, &camera.out);
            assert_all("again", codec, &sources, &run, &[]);
        }
    }
}

#[test]
fn the_first_packets_may_change_places() {
    for (codec, sources) in codecs() {
        let out = camera(codec, &sources, |_, packets| {
            if packets.len() > 1 {
                packets.reverse();
            }
        });
        let run = play(track(codec), true, &out);
        assert_all("backwards", codec, &sources, &run, &[]);
    }
}

/// Plays packets, bytes that belong to nothing behind the last packet of some pictures.
fn play_with_strays(
    codec: Codec,
    out: &[(Vec<u8>, u64)],
    is_stray: impl Fn(usize) -> bool,
) -> Vec<Picture> {
    let start = Instant::now();
    let mut assembler = Assembler::new(
        track(codec),
        false,
        9,
        Habits::default(),
        Fixes::default(),
        start,
    );
    let mut pictures = Vec::new();
    for (at, (packet, ms)) in out.iter().enumerate() {
        let now = start + Duration::from_millis(*ms);
        pictures.extend(std::iter::from_fn(|| assembler.pop(now)));
        assembler.push(packet, now);
        let is_last = out.get(at + 1).is_none_or(|(_, next)| next != ms);
        if is_last && is_stray((*ms / PAUSE) as usize) {
            assembler.doubt_newest();
        }
        if is_last {
            pictures.extend(std::iter::from_fn(|| assembler.pop(now)));
        }
    }
    let end = start + Duration::from_secs(60);
    pictures.extend(std::iter::from_fn(|| assembler.pop(end)));
    pictures
}

#[test]
fn a_machine_that_was_held_up_loses_nothing() {
    // Nothing was read for two seconds in the middle of a picture, and all that came
    // meanwhile is read at once; over UDP a packet was overtaken by two.
    for (codec, mut sources) in [(Codec::H264, h264(3)), (Codec::H265, h265(3))] {
        sources.truncate(8);
        let sent: Vec<Units> = sources.iter().map(|it| it.slices.clone()).collect();
        let usual = camera(codec, &sources, |_, _| {});
        for (unordered, held_up) in [(false, 0), (false, 5), (true, 0), (true, 5)] {
            let first = usual.partition_point(|(_, ms)| *ms < held_up * PAUSE);
            let behind = usual.partition_point(|(_, ms)| *ms <= held_up * PAUSE);
            for middle in first + 1..behind - 1 {
                let mut out = usual.clone();
                if unordered {
                    out[middle - 1..middle + 2].rotate_left(1);
                }
                let shown = play_held_up(codec, unordered, &out, middle);
                let shown: Vec<Units> = shown.iter().map(|it| slices_of(codec, it)).collect();
                assert_eq!(shown, sent, "{codec:?} {unordered} {held_up} {middle}");
            }
        }
    }
}

/// Plays packets; before that at `middle` the machine was held up.
fn play_held_up(
    codec: Codec,
    unordered: bool,
    out: &[(Vec<u8>, u64)],
    middle: usize,
) -> Vec<Picture> {
    let start = Instant::now();
    let (habits, fixes) = (Habits::default(), Fixes::default());
    let mut assembler = Assembler::new(track(codec), unordered, 9, habits, fixes, start);
    let mut pictures = Vec::new();
    for (at, (packet, ms)) in out.iter().enumerate() {
        let late = if at >= middle { 2_000 } else { 0 };
        let now = start + Duration::from_millis(ms + late);
        pictures.extend(std::iter::from_fn(|| assembler.pop_made()));
        assembler.push(packet, now);
        if at + 1 == middle || out.get(at + 1).is_none_or(|(_, next)| next != ms) {
            pictures.extend(std::iter::from_fn(|| assembler.pop(now)));
        }
    }
    let end = start + Duration::from_secs(60);
    pictures.extend(std::iter::from_fn(|| assembler.pop(end)));
    pictures
}

#[test]
fn a_packet_told_too_short_costs_its_picture() {
    for (codec, sources) in codecs() {
        let out = camera(codec, &sources, |_, _| {});
        let pictures = play_with_strays(codec, &out, |number| number % 7 == 3);
        let shown: Vec<Units> = pictures.iter().map(|it| slices_of(codec, it)).collect();
        let whole = (0..COUNT).filter(|number| number % 7 != 3);
        let whole: Vec<Units> = whole.map(|number| sources[number].slices.clone()).collect();
        assert_eq!(shown, whole);
        for picture in &pictures {
            let number = picture.time.wrapping_sub(u32::MAX - 50_000) / (PAUSE as u32 * 90);
            assert_eq!(picture.loss_before, number % 7 == 4, "{codec:?} {number}");
        }
    }
}

#[test]
fn stray_bytes_behind_every_picture_are_a_habit() {
    for (codec, sources) in codecs() {
        let out = camera(codec, &sources, |_, _| {});
        let pictures = play_with_strays(codec, &out, |_| true);
        assert_eq!(pictures.len(), COUNT - usize::from(STRAY_PICTURES));
    }
}
