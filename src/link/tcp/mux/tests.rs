use super::super::record::{BATCH, DATA_LIMIT, HEADER, put_data_header};
use super::*;
use crate::link::priority;
use crate::media::relay::Class;
use proptest::prelude::*;

/// Two ends and the time; bytes cross when a test says so.
struct Pair {
    gateway: Mux,
    receiver: Mux,
    now: Instant,
}

fn pair() -> Pair {
    let now = Instant::now();
    let mut pair = Pair {
        gateway: Mux::new(Role::Gateway, now),
        receiver: Mux::new(Role::Receiver, now),
        now,
    };
    // The first pings and their answers.
    pair.settle();
    pair
}

fn batch(mux: &mut Mux, now: Instant) -> Vec<u8> {
    let mut out = Vec::new();
    mux.transmit(&mut out, now);
    assert!(out.len() <= BATCH);
    out
}

impl Pair {
    /// Carries all that both have to say.
    fn settle(&mut self) {
        loop {
            let up = batch(&mut self.gateway, self.now);
            self.receiver.handle_bytes(&up, self.now);
            let down = batch(&mut self.receiver, self.now);
            self.gateway.handle_bytes(&down, self.now);
            if up.is_empty() && down.is_empty() {
                return;
            }
        }
    }

    /// Writes all of this, carrying what it takes; whoever reads does so at once.
    fn write(&mut self, id: u64, bytes: &[u8]) -> Vec<u8> {
        let mut chunks = [Bytes::copy_from_slice(bytes)];
        let mut read = Vec::new();
        while !chunks[0].is_empty() {
            self.gateway.write(id, &mut chunks).unwrap();
            self.settle();
            while let Read::Bytes(bytes) = self.receiver.read(id) {
                read.extend_from_slice(&bytes);
            }
        }
        read
    }
}

/// The streams that a batch has data of, in order, with how much.
fn data(bytes: &[u8]) -> Vec<(u64, usize)> {
    let mut decoder = Decoder::new();
    let mut input = bytes;
    let mut found = Vec::new();
    while let Some(item) = decoder.next(&mut input).unwrap() {
        if let Item::Data(id, piece) = item {
            found.push((id, piece.len()));
        }
    }
    found
}

fn records(bytes: &[u8]) -> Vec<Record> {
    let mut decoder = Decoder::new();
    let mut input = bytes;
    let mut found = Vec::new();
    while let Some(item) = decoder.next(&mut input).unwrap() {
        if let Item::Record(record) = item {
            found.push(record);
        }
    }
    found
}

fn fill(mux: &mut Mux, id: u64) {
    let mut chunks = [Bytes::from(vec![0; 1_000_000])];
    assert_eq!(mux.write(id, &mut chunks), Ok(2 * DATA_LIMIT));
}

#[test]
fn streams_arrive_whole_and_in_order() {
    let mut pair = pair();
    let one = pair.gateway.open().unwrap();
    let two = pair.gateway.open().unwrap();
    assert_eq!((one, two), (2, 3));
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
    assert_eq!(pair.write(two, &sent), sent);
    assert_eq!(pair.write(one, b"short"), b"short");
    pair.gateway.finish(two);
    pair.settle();
    assert_eq!(pair.receiver.accept(), Some(2));
    assert_eq!(pair.receiver.accept(), Some(3));
    assert_eq!(pair.receiver.accept(), None);
    assert_eq!(pair.receiver.read(two), Read::End);
    assert_eq!(pair.receiver.read(two), Read::Over);
    assert_eq!(pair.receiver.read(one), Read::Blocked);
    // Both directions of control.
    let mut hello = [Bytes::from_static(b"hello")];
    pair.receiver.write(CONTROL, &mut hello).unwrap();
    pair.settle();
    assert_eq!(pair.gateway.read(CONTROL), Read::Bytes("hello".into()));
}

#[test]
fn control_overtakes_and_equals_take_turns() {
    let mut pair = pair();
    let ids: Vec<u64> = (0..4).map(|_| pair.gateway.open().unwrap()).collect();
    for id in &ids {
        pair.gateway.set_priority(*id, Class::Rest.number());
        fill(&mut pair.gateway, *id);
    }
    pair.gateway.set_priority(ids[0], priority::SUPERSEDED);
    pair.gateway.set_priority(ids[3], Class::Focus.number());
    let now = pair.now;
    let mut served = Vec::new();
    let mut next = || {
        let bytes = batch(&mut pair.gateway, now);
        let found = data(&bytes);
        served.extend(found.iter().map(|(id, _)| *id));
        pair.receiver.handle_bytes(&bytes, now);
        let answer = batch(&mut pair.receiver, now);
        pair.gateway.handle_bytes(&answer, now);
    };
    for _ in 0..3 {
        next();
    }
    let mut message = [Bytes::from_static(b"message")];
    pair.gateway.write(CONTROL, &mut message).unwrap();
    let bytes = batch(&mut pair.gateway, now);
    assert_eq!(data(&bytes)[0], (CONTROL, 7));
    served.extend(data(&bytes)[1..].iter().map(|(id, _)| *id));
    while pair.gateway.has_something() {
        let bytes = batch(&mut pair.gateway, now);
        served.extend(data(&bytes).iter().map(|(id, _)| *id));
        pair.receiver.handle_bytes(&bytes, now);
        let answer = batch(&mut pair.receiver, now);
        pair.gateway.handle_bytes(&answer, now);
    }
    served.dedup();
    assert_eq!(served[0], ids[3]);
    // The two of the class in turn, then what a newer group has replaced.
    assert_eq!(served[1..5], [ids[1], ids[2], ids[1], ids[2]]);
    assert_eq!(served.last(), Some(&ids[0]));
}

#[test]
fn a_reset_drops_what_has_not_left() {
    let mut pair = pair();
    let id = pair.gateway.open().unwrap();
    fill(&mut pair.gateway, id);
    let first = batch(&mut pair.gateway, pair.now);
    assert_eq!(data(&first), [(id, DATA_LIMIT)]);
    assert!(pair.gateway.reset(id, 77));
    assert!(!pair.gateway.reset(id, 78));
    let second = batch(&mut pair.gateway, pair.now);
    assert_eq!(data(&second), []);
    assert_eq!(records(&second), [Record::Reset(id, 77)]);
    assert!(batch(&mut pair.gateway, pair.now).is_empty());
    pair.receiver.handle_bytes(&first, pair.now);
    pair.receiver.handle_bytes(&second, pair.now);
    // What was given up is not read, though it had come.
    assert_eq!(pair.receiver.read(id), Read::Reset(77));
    assert_eq!(pair.receiver.read(id), Read::Over);
}

#[test]
fn what_is_finished_and_gone_is_not_given_up() {
    let mut pair = pair();
    let id = pair.gateway.open().unwrap();
    pair.write(id, b"picture");
    pair.gateway.finish(id);
    pair.settle();
    assert!(!pair.gateway.reset(id, 1));
    let other = pair.gateway.open().unwrap();
    fill(&mut pair.gateway, other);
    pair.gateway.finish(other);
    // Nobody holds it any more: its end is sent all the same.
    pair.gateway.abandon(other, 5);
    pair.settle();
    assert!(matches!(pair.receiver.read(other), Read::Bytes(_)));
    assert_eq!(pair.receiver.read(other), Read::End);
    let third = pair.gateway.open().unwrap();
    fill(&mut pair.gateway, third);
    pair.gateway.abandon(third, 5);
    pair.settle();
    assert_eq!(pair.receiver.read(third), Read::Reset(5));
}

#[test]
fn a_stopped_stream_is_answered_by_its_reset_and_makes_room() {
    let mut pair = pair();
    for _ in 0..100 {
        let id = pair.gateway.open().expect("the last one is over");
        fill(&mut pair.gateway, id);
        let some = batch(&mut pair.gateway, pair.now);
        pair.receiver.handle_bytes(&some, pair.now);
        pair.receiver.stop(id, 9);
        assert_eq!(pair.receiver.read(id), Read::Over);
        pair.settle();
        let mut more = [Bytes::from_static(b"more")];
        assert_eq!(pair.gateway.write(id, &mut more), Err(Refused::Stopped(9)));
        pair.gateway.abandon(id, 1);
        assert_eq!(pair.gateway.write(id, &mut more), Err(Refused::Over));
        pair.settle();
    }
    assert_eq!(pair.receiver.receiving.buffered(), 0);
}

#[test]
fn streams_are_limited_and_more_are_granted() {
    let mut pair = pair();
    let first: Vec<u64> = std::iter::from_fn(|| pair.gateway.open()).collect();
    assert_eq!(first.len(), FIRST_UNI_STREAMS as usize);
    pair.receiver.set_concurrent(64);
    pair.settle();
    assert!(pair.gateway.take_events().contains(&Event::Openable));
    let more = std::iter::from_fn(|| pair.gateway.open()).count();
    assert_eq!(first.len() + more, 64);
    // Fewer from now on; what was granted stands, ends make no room until then.
    pair.receiver.set_concurrent(8);
    for id in &first {
        pair.gateway.reset(*id, 1);
    }
    pair.settle();
    for id in &first {
        assert_eq!(pair.receiver.read(*id), Read::Reset(1));
    }
    pair.settle();
    assert_eq!(pair.gateway.open(), None);
}

#[test]
fn windows_hold_a_sender_back_and_reading_lets_it_go_on() {
    let mut pair = pair();
    let id = pair.gateway.open().unwrap();
    // Nobody reads: it stops at the stream's window.
    let mut sent = 0;
    loop {
        let mut chunks = [Bytes::from(vec![0; 1 << 20])];
        match pair.gateway.write(id, &mut chunks).unwrap() {
            0 => break,
            taken => sent += taken as u64,
        }
        pair.settle();
    }
    assert_eq!(sent, STREAM_WINDOW + 2 * DATA_LIMIT as u64);
    assert_eq!(pair.receiver.receiving.buffered() as u64, STREAM_WINDOW);
    // Control is not held up by it.
    let mut message = [Bytes::from_static(b"message")];
    pair.gateway.write(CONTROL, &mut message).unwrap();
    pair.settle();
    assert_eq!(pair.receiver.read(CONTROL), Read::Bytes("message".into()));
    assert!(matches!(pair.receiver.read(id), Read::Bytes(_)));
    pair.settle();
    assert!(matches!(pair.receiver.read(id), Read::Bytes(_)));
    // In all, more than any window.
    let much = vec![1; 1 << 20];
    for _ in 0..80 {
        assert_eq!(pair.write(id, &much).len(), much.len());
    }
    assert_eq!(pair.receiver.closed(), None);
}

#[test]
fn with_no_room_for_pictures_messages_and_ends_still_go() {
    let mut pair = pair();
    pair.receiver.set_concurrent(64);
    pair.settle();
    let mut ids = Vec::new();
    loop {
        let id = pair.gateway.open().unwrap();
        ids.push(id);
        let before = pair.receiver.receiving.buffered();
        for _ in 0..11 {
            let mut chunks = [Bytes::from(vec![0; 1 << 20])];
            while !chunks[0].is_empty() && pair.gateway.write(id, &mut chunks).unwrap() > 0 {
                pair.settle();
            }
        }
        if pair.receiver.receiving.buffered() == before {
            break;
        }
    }
    assert_eq!(pair.receiver.receiving.buffered() as u64, WINDOW);
    let mut message = [Bytes::from_static(b"message")];
    pair.gateway.write(CONTROL, &mut message).unwrap();
    let empty = pair.gateway.open().unwrap();
    pair.gateway.finish(empty);
    pair.settle();
    assert_eq!(pair.receiver.read(CONTROL), Read::Bytes("message".into()));
    assert_eq!(pair.receiver.read(empty), Read::End);
    // A group that was given up makes room without being read.
    pair.gateway.reset(ids[0], 1);
    pair.gateway.reset(ids[1], 1);
    pair.settle();
    let last = *ids.last().unwrap();
    assert!(matches!(pair.receiver.read(last), Read::Bytes(_)));
}

/// What a receiver says to these bytes of a gateway.
fn verdict(mux: &mut Mux, bytes: &[u8]) -> String {
    mux.handle_bytes(bytes, mux.heard);
    let closed = mux.closed().expect("it goes on").to_string();
    let mut out = Vec::new();
    mux.transmit(&mut out, mux.heard);
    let Some(Record::Close(code, text)) = records(&out).pop() else {
        panic!("it does not say why");
    };
    assert_eq!(code, Reason::ProtocolError.number());
    let text = String::from_utf8(text).unwrap();
    assert!(text.starts_with("protocol_error: "), "{text}");
    closed
}

fn data_record(id: u64, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_data_header(&mut bytes, id, length);
    bytes.resize(HEADER + length, 0);
    bytes
}

fn encoded(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_and_lost() {
    let receiver = || pair().receiver;
    let gateway = || pair().gateway;
    let last = FIRST_UNI + u64::from(FIRST_UNI_STREAMS) - 1;
    for (mut mux, bytes, cause) in [
        (receiver(), vec![99; HEADER], "unknown kind"),
        (receiver(), data_record(last + 1, 1), "more than allowed"),
        (receiver(), data_record(u64::MAX, 1), "more than allowed"),
        (
            receiver(),
            [encoded(&Record::Fin(2)), data_record(2, 1)].concat(),
            "after its end",
        ),
        (
            receiver(),
            [encoded(&Record::Reset(2, 1)), encoded(&Record::Fin(2))].concat(),
            "after its end",
        ),
        (receiver(), encoded(&Record::Stop(2, 1)), "not open"),
        (receiver(), encoded(&Record::Window(7, 1)), "not open"),
        (gateway(), encoded(&Record::Ack(1)), "more than was sent"),
        // Pictures go one way only.
        (gateway(), data_record(2, 1), "more than allowed"),
        (gateway(), encoded(&Record::Fin(3)), "more than allowed"),
        (gateway(), encoded(&Record::Stop(2, 1)), "not open"),
    ] {
        let closed = verdict(&mut mux, &bytes);
        assert!(closed.contains(cause), "{closed}: {cause}");
    }
}

#[test]
fn data_over_a_window_loses_the_link_and_is_not_kept() {
    let record = data_record(2, DATA_LIMIT);
    let mut mux = pair().receiver;
    for _ in 0..STREAM_WINDOW / DATA_LIMIT as u64 {
        mux.handle_bytes(&record, mux.heard);
    }
    assert_eq!(mux.closed(), None);
    let closed = verdict(&mut mux, &record);
    assert!(closed.contains("more bytes"), "{closed}");
    assert_eq!(mux.receiving.buffered(), 0);

    // Stopped streams count too: a peer that sends on is not read for ever.
    let mut mux = pair().receiver;
    mux.handle_bytes(&data_record(2, 1), mux.heard);
    mux.stop(2, 1);
    for _ in 0..STREAM_WINDOW / DATA_LIMIT as u64 {
        mux.handle_bytes(&record, mux.heard);
    }
    assert_eq!(mux.receiving.buffered(), 0);
    assert_eq!(mux.closed(), None);

    let mut mux = pair().receiver;
    let record = data_record(CONTROL, DATA_LIMIT);
    for _ in 0..CONTROL_WINDOW / DATA_LIMIT as u64 {
        mux.handle_bytes(&record, mux.heard);
    }
    assert_eq!(mux.closed(), None);
    assert!(verdict(&mut mux, &record).contains("more bytes"));
}

#[test]
fn a_flood_of_questions_gets_one_answer() {
    let mut mux = pair().receiver;
    for number in 0..10_000 {
        mux.handle_bytes(&encoded(&Record::Ping(number)), mux.heard);
    }
    let now = mux.heard;
    let bytes = batch(&mut mux, now);
    assert_eq!(records(&bytes), [Record::Pong(9_999)]);
    // An answer that nobody asked for says nothing.
    mux.handle_bytes(&encoded(&Record::Pong(12_345)), mux.heard);
    assert_eq!(mux.rtt(), Duration::ZERO);
}

#[test]
fn the_round_trip_is_measured_and_an_idle_link_kept_alive() {
    let now = Instant::now();
    let mut gateway = Mux::new(Role::Gateway, now);
    let mut receiver = Mux::new(Role::Receiver, now);
    let ping = batch(&mut gateway, now);
    assert_eq!(records(&ping), [Record::Ping(1)]);
    let later = now + Duration::from_millis(40);
    receiver.handle_bytes(&ping, now);
    let answer = batch(&mut receiver, now);
    gateway.handle_bytes(&answer, later);
    assert_eq!(gateway.rtt(), Duration::from_millis(40));
    // The receiver's own ping was answered meanwhile.
    let answer = batch(&mut gateway, later);
    receiver.handle_bytes(&answer, later);
    assert!(batch(&mut gateway, later).is_empty());
    assert_eq!(gateway.deadline(), Some(later + KEEP_ALIVE));
    let due = later + KEEP_ALIVE;
    assert_eq!(records(&batch(&mut gateway, due)), [Record::Ping(2)]);
    // With something to send it is measured each second.
    let mut receiver_answers = |gateway: &mut Mux, bytes: &[u8], at: Instant| {
        receiver.handle_bytes(bytes, at);
        let answer = batch(&mut receiver, at);
        gateway.handle_bytes(&answer, at);
    };
    receiver_answers(&mut gateway, &encoded(&Record::Ping(2)), due);
    let id = gateway.open().unwrap();
    gateway.write(id, &mut [Bytes::from_static(b"x")]).unwrap();
    batch(&mut gateway, due);
    assert_eq!(gateway.deadline(), Some(due + MEASURE));
    // Nothing heard for long: over.
    let silent = gateway.heard + IDLE_TIMEOUT;
    gateway.handle_time(silent - Duration::from_millis(1));
    assert_eq!(gateway.closed(), None);
    gateway.handle_time(silent);
    assert_eq!(gateway.closed(), Some(&Closed::Silent));
    assert!(batch(&mut gateway, silent).is_empty());
}

#[test]
fn a_close_is_the_last_word_and_nothing_of_a_camera_follows() {
    let mut pair = pair();
    let id = pair.gateway.open().unwrap();
    fill(&mut pair.gateway, id);
    let text = "é".repeat(200);
    pair.gateway.close(Reason::GrantCut.number(), &text);
    assert_eq!(pair.gateway.closed(), Some(&Closed::Here));
    let last = batch(&mut pair.gateway, pair.now);
    assert_eq!(data(&last), []);
    assert!(batch(&mut pair.gateway, pair.now).is_empty());
    assert_eq!(
        pair.gateway.write(id, &mut [Bytes::from_static(b"x")]),
        Err(Refused::Over)
    );
    pair.receiver.handle_bytes(&last, pair.now);
    let Some(Closed::ByPeer { code, text }) = pair.receiver.closed() else {
        panic!("not told");
    };
    assert_eq!(*code, u64::from(Reason::GrantCut.number()));
    assert_eq!(*text, "é".repeat(126));
    assert!(pair.receiver.take_events().contains(&Event::Closed));
}

proptest! {
    #[test]
    fn no_bytes_do_harm(pieces in prop::collection::vec(
        (1_u8..12, 0_u64..8, prop::collection::vec(any::<u8>(), 0..32)), 0..40,
    )) {
        for role in [Role::Gateway, Role::Receiver] {
            let now = Instant::now();
            let mut mux = Mux::new(role, now);
            for (kind, stream, body) in &pieces {
                let mut bytes = vec![*kind];
                bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
                bytes.extend_from_slice(&stream.to_be_bytes());
                bytes.extend_from_slice(body);
                mux.handle_bytes(&bytes, now);
                mux.read(*stream);
                let mut out = Vec::new();
                mux.transmit(&mut out, now);
                prop_assert!(out.len() <= BATCH);
            }
        }
    }

    /// Whatever is written, reset and read in whatever order: what arrives is
    /// a beginning of what was sent, and the whole of it where it was finished.
    #[test]
    fn what_arrives_was_sent(steps in prop::collection::vec((0_u8..5, 0_u64..4, 1_usize..40_000), 1..60)) {
        let mut pair = pair();
        let mut sent: Vec<Vec<u8>> = vec![Vec::new(); 4];
        let mut read: Vec<Vec<u8>> = vec![Vec::new(); 4];
        let mut finished = [false; 4];
        for _ in 0..4 {
            pair.gateway.open().unwrap();
        }
        for (step, index, size) in steps {
            let (id, at) = (FIRST_UNI + index, index as usize);
            match step {
                0 | 1 => {
                    let bytes: Vec<u8> = (0..size).map(|n| (n + sent[at].len()) as u8).collect();
                    let mut chunks = [Bytes::from(bytes.clone())];
                    if let Ok(taken) = pair.gateway.write(id, &mut chunks) {
                        sent[at].extend_from_slice(&bytes[..taken]);
                    }
                }
                2 => {
                    let out = batch(&mut pair.gateway, pair.now);
                    pair.receiver.handle_bytes(&out, pair.now);
                }
                3 => if let Read::Bytes(bytes) = pair.receiver.read(id) {
                    read[at].extend_from_slice(&bytes);
                },
                _ if size < 20_000 => {
                    pair.gateway.finish(id);
                    finished[at] = true;
                }
                _ => { pair.gateway.reset(id, 1); }
            }
            prop_assert_eq!(pair.receiver.closed(), None);
        }
        pair.settle();
        for (at, finished) in finished.iter().enumerate() {
            let id = FIRST_UNI + at as u64;
            while let Read::Bytes(bytes) = pair.receiver.read(id) {
                read[at].extend_from_slice(&bytes);
            }
            prop_assert!(sent[at].starts_with(&read[at]));
            if *finished && pair.receiver.read(id) == Read::End {
                prop_assert_eq!(&read[at], &sent[at]);
            }
        }
    }
}

#[test]
fn without_news_of_what_came_little_is_under_way_and_messages_still_go() {
    let mut pair = pair();
    let ids: Vec<u64> = std::iter::from_fn(|| pair.gateway.open()).collect();
    let mut sent = Vec::new();
    for _ in 0..10 {
        for id in &ids {
            let mut chunks = [Bytes::from(vec![0; 1_000_000])];
            pair.gateway.write(*id, &mut chunks).unwrap();
        }
        sent.push(batch(&mut pair.gateway, pair.now));
    }
    let bytes: usize = sent.iter().flat_map(|out| data(out)).map(|(_, n)| n).sum();
    assert_eq!(bytes, 64 * 1024);
    let mut message = [Bytes::from_static(b"message")];
    pair.gateway.write(CONTROL, &mut message).unwrap();
    assert!(pair.gateway.has_something());
    let last = batch(&mut pair.gateway, pair.now);
    assert_eq!(data(&last), [(CONTROL, 7)]);
    assert!(!pair.gateway.has_something());
    // What came makes room again.
    for out in &sent {
        pair.receiver.handle_bytes(out, pair.now);
    }
    let answer = batch(&mut pair.receiver, pair.now);
    assert_eq!(records(&answer), [Record::Ack(64 * 1024)]);
    pair.gateway.handle_bytes(&answer, pair.now);
    assert!(pair.gateway.has_something());
}
