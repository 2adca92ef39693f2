use super::*;

fn bytes(sequence: u16, ssrc: u8, content: u8) -> Vec<u8> {
    let number = sequence.to_be_bytes();
    vec![
        0x80, 96, number[0], number[1], 0, 0, 0, 0, 0, 0, 0, ssrc, content,
    ]
}

/// The numbers given out, with what lies before each, of numbers that came so many ms
/// after the start.
fn run(unordered: bool, came: &[(u16, u64)]) -> Vec<(u16, Gap)> {
    let start = Instant::now();
    let mut order = Order::new(unordered, Fixes::default());
    let mut out = Vec::new();
    let drain = |order: &mut Order, now: Instant, out: &mut Vec<(u16, Gap)>| {
        while let Some((held, gap)) = order.release(Some(now)) {
            out.push((held.sequence, gap));
        }
    };
    for (sequence, ms) in came {
        let now = start + Duration::from_millis(*ms);
        drain(&mut order, now, &mut out);
        let bytes = bytes(*sequence, 1, 7);
        let packet = Packet::parse(&bytes).unwrap();
        if let Verdict::Take(gap) = order.accept(&packet, &bytes, now) {
            out.push((*sequence, gap));
        }
        drain(&mut order, now, &mut out);
    }
    if !unordered {
        drain(&mut order, start + Duration::from_secs(1), &mut out);
    }
    out
}

#[test]
fn tcp_tells_gaps_restarts_and_duplicates_apart() {
    use Gap::{Lost, None, Restart};
    for (came, expected) in [
        (&[5, 6, 7][..], &[(5, None), (6, None), (7, None)][..]),
        (&[65535, 0], &[(65535, None), (0, None)]),
        (&[5, 7], &[(5, None), (7, Lost)]),
        // Overtaken by one, by two, by too many.
        (&[5, 7, 6, 8], &[(5, None), (6, None), (7, None), (8, None)]),
        (
            &[5, 8, 7, 6, 9],
            &[(5, None), (6, None), (7, None), (8, None), (9, None)],
        ),
        (
            &[5, 7, 8, 9, 10, 11, 6],
            &[
                (5, None),
                (7, Lost),
                (8, None),
                (9, None),
                (10, None),
                (11, None),
                (6, Restart),
            ],
        ),
        (&[5, 6, 6, 5, 7], &[(5, None), (6, None), (7, None)]),
        (
            &[5, 1005, 1006],
            &[(5, None), (1005, Restart), (1006, None)],
        ),
        // One that fits nothing is no part of the track.
        (&[5, 1005, 6, 7], &[(5, None), (6, None), (7, None)]),
        (&[500, 1, 501], &[(500, None), (501, None)]),
        // Numbers at random.
        (
            &[5, 9_000, 700, 30_000],
            &[
                (5, None),
                (9_000, Restart),
                (700, Restart),
                (30_000, Restart),
            ],
        ),
        (
            &[500, 501, 0, 1],
            &[(500, None), (501, None), (0, Restart), (1, None)],
        ),
    ] {
        let came: Vec<_> = came.iter().map(|number| (*number, 0)).collect();
        assert_eq!(run(false, &came), expected);
    }
}

#[test]
fn a_packet_astray_over_tcp_is_given_up_soon() {
    let start = Instant::now();
    let mut order = Order::new(false, Fixes::default());
    for (sequence, ssrc) in [(5, 1), (2_000, 1)] {
        let bytes = bytes(sequence, ssrc, 7);
        order.accept(&Packet::parse(&bytes).unwrap(), &bytes, start);
    }
    assert_eq!(order.deadline(), Some(start + ASTRAY));
    assert!(order.release(Some(start)).is_none());
    let (held, gap) = order.release(Some(start + ASTRAY)).unwrap();
    assert_eq!((held.sequence, gap), (2_000, Gap::Restart));
    assert_eq!(order.deadline(), None);
    // Another source: as much astray where its numbers do not go on.
    for (sequence, ssrc, expected) in [
        (2_001, 2, Verdict::Take(Gap::Restart)),
        (9, 3, Verdict::Held),
        (2_002, 2, Verdict::Take(Gap::None)),
    ] {
        let bytes = bytes(sequence, ssrc, 7);
        let verdict = order.accept(&Packet::parse(&bytes).unwrap(), &bytes, start);
        assert_eq!(verdict, expected, "{sequence} of {ssrc}");
    }
    assert!(order.release(Some(start)).is_none());
}

#[test]
fn numbers_that_stand_still_over_tcp_are_followed() {
    let mut order = Order::new(false, Fixes::default());
    for content in 0..5 {
        let bytes = bytes(0, 1, content);
        let packet = Packet::parse(&bytes).unwrap();
        let verdict = order.accept(&packet, &bytes, Instant::now());
        assert_eq!(verdict, Verdict::Take(Gap::None), "{content}");
    }
}

#[test]
fn udp_is_put_in_order() {
    use Gap::{Lost, None, Restart};
    for (came, expected) in [
        // In order: at once.
        (&[(5, 0), (6, 1)][..], &[(5, None), (6, None)][..]),
        // Swapped, and a duplicate.
        (
            &[(5, 0), (7, 1), (7, 1), (6, 2), (6, 2), (8, 3)],
            &[(5, None), (6, None), (7, None), (8, None)],
        ),
        // Lost: given up after the wait; what comes later still is dropped.
        (
            &[(5, 0), (7, 1), (8, 100), (6, 101), (9, 102)],
            &[(5, None), (7, Lost), (8, None), (9, None)],
        ),
        // Not yet given up.
        (&[(5, 0), (7, 1), (8, 40)], &[(5, None)]),
        // Overtaken at the very start; alone, the first one waits for that a little.
        (
            &[(6, 0), (5, 0), (7, 0), (8, 1)],
            &[(5, None), (6, None), (7, None), (8, None)],
        ),
        (
            &[(8, 0), (7, 0), (6, 0), (9, 1)],
            &[(6, None), (7, None), (8, None), (9, None)],
        ),
        (&[(5, 0), (5, 1), (5, 9)], &[]),
        (&[(5, 0), (5, 11)], &[(5, None)]),
        // Numbers that begin again a little lower, each packet twice.
        (
            &[
                (40, 0),
                (41, 0),
                (0, 1),
                (0, 1),
                (1, 2),
                (1, 2),
                (2, 3),
                (2, 3),
                (3, 4),
            ],
            &[
                (40, None),
                (41, None),
                (0, Restart),
                (1, None),
                (2, None),
                (3, None),
            ],
        ),
        // Packets twice, the second ones late.
        (
            &[
                (1, 0),
                (2, 0),
                (3, 0),
                (4, 0),
                (1, 1),
                (2, 1),
                (3, 1),
                (5, 2),
            ],
            &[(1, None), (2, None), (3, None), (4, None), (5, None)],
        ),
        // One packet far off is nothing; two are a restart.
        (
            &[
                (5, 0),
                (40_000, 1),
                (6, 2),
                (0x9000, 3),
                (0x9001, 4),
                (0x9002, 5),
            ],
            &[
                (5, None),
                (6, None),
                (0x9000, Restart),
                (0x9001, None),
                (0x9002, None),
            ],
        ),
    ] {
        assert_eq!(run(true, came), expected, "{came:?}");
    }
}

#[test]
fn a_wait_grows_where_packets_come_late() {
    let start = Instant::now();
    let mut order = Order::new(true, Fixes::default());
    let push = |order: &mut Order, sequence: u16, ms: u64| {
        let now = start + Duration::from_millis(ms);
        let bytes = bytes(sequence, 1, 0);
        order.accept(&Packet::parse(&bytes).unwrap(), &bytes, now);
        while order.release(Some(now)).is_some() {}
    };
    push(&mut order, 1, 0);
    push(&mut order, 3, 0);
    push(&mut order, 4, 70);
    assert_eq!(order.next, 5);
    push(&mut order, 2, 75);
    push(&mut order, 6, 100);
    push(&mut order, 7, 170);
    assert_eq!(order.next, 5, "waits for 90 ms now");
    push(&mut order, 5, 180);
    assert_eq!(order.next, 8);
}

#[test]
fn what_waits_is_bounded() {
    let mut order = Order::new(true, Fixes::default());
    let now = Instant::now();
    for number in (1..10_000_u16).map(|n| n.wrapping_mul(2)) {
        let mut bytes = bytes(number, 1, 0);
        bytes.resize(60_000, 0);
        order.accept(&Packet::parse(&bytes).unwrap(), &bytes, now);
        while order.release(Some(now)).is_some() {}
        assert!(order.bytes <= HELD_BYTES + bytes.len());
    }
}

/// Numbers that came, those of other kinds of packets among them, at once.
fn run_with_others(unordered: bool, came: &[(u16, bool)]) -> Vec<(u16, Gap)> {
    let now = Instant::now();
    let mut order = Order::new(unordered, Fixes::default());
    let mut out = Vec::new();
    for (sequence, is_other) in came {
        let bytes = bytes(*sequence, 1, u8::from(*is_other));
        let packet = Packet::parse(&bytes).unwrap();
        if *is_other {
            order.note_other(&packet);
        } else if let Verdict::Take(gap) = order.accept(&packet, &bytes, now) {
            out.push((*sequence, gap));
        }
        while let Some((held, gap)) = order.release(None) {
            out.push((held.sequence, gap));
        }
    }
    out
}

#[test]
fn packets_of_other_kinds_leave_no_gaps_and_take_no_numbers() {
    // The first over UDP waits for one that it overtook.
    let start = [(1, false), (2, false), (3, false)];
    let (is_other, own) = (true, false);
    for unordered in [false, true] {
        let order = |came: &[(u16, bool)]| {
            let came = [&start, came].concat();
            let out = run_with_others(unordered, &came);
            assert!(out.iter().all(|(_, gap)| *gap == Gap::None), "{out:?}");
            let numbers = out.iter().map(|(number, _)| *number);
            numbers.filter(|number| *number > 3).collect::<Vec<_>>()
        };
        // Counted: one, two, and behind those that wait for it.
        assert_eq!(order(&[(4, is_other), (5, own), (6, own)]), [5, 6]);
        assert_eq!(order(&[(4, is_other), (5, is_other), (6, own)]), [6]);
        assert_eq!(
            order(&[(5, own), (6, own), (4, is_other), (7, own)]),
            [5, 6, 7]
        );
        // Uncounted: the next one has that number too.
        assert_eq!(order(&[(4, is_other), (4, own), (5, own)]), [4, 5]);
        // A number of its own that stands still.
        assert_eq!(
            order(&[(900, is_other), (4, own), (900, is_other), (5, own)]),
            [4, 5]
        );
    }
}
