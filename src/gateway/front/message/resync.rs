//! Where packets and messages begin, in step and out of it.

/// Whether something begins at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Yes,
    No,
    /// More bytes tell.
    Unknown,
}

/// Whether the next packet begins inside one that was told too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// So far from the packet's own start.
    At(usize),
    No,
    /// More bytes tell.
    Perhaps,
}

/// What begins a message in mid-stream: an answer, or a request that servers send.
const STARTS: &[&[u8]] = &[
    b"RTSP/",
    b"RTSP ",
    b"OPTIONS ",
    b"GET_PARAMETER ",
    b"SET_PARAMETER ",
    b"ANNOUNCE ",
    b"REDIRECT ",
    b"PLAY_NOTIFY ",
    b"DESCRIBE ",
    b"SETUP ",
    b"PLAY ",
    b"PAUSE ",
    b"RECORD ",
    b"TEARDOWN ",
];

/// A length is taken for wrong only beyond this many bytes, and twice the longest so far.
const FAR_BYTES: usize = 4096;

/// Channels that a camera may use beside those that it was given: of three more tracks,
/// which some send unasked.
const STRANGERS_LIMIT: u8 = 6;
/// Packets after which a stranger is forgotten: stray bytes look like one now and then.
const STRANGERS_KEPT: u16 = 4096;

/// Bytes that may stand before a message.
pub(super) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | b' ' | b'\t')
}

/// Whether the bytes begin with these letters, in any case.
pub(super) fn begins_with(bytes: &[u8], letters: &[u8]) -> Start {
    let length = bytes.len().min(letters.len());
    match (bytes.get(..length), letters.get(..length)) {
        (Some(have), Some(want)) if have.eq_ignore_ascii_case(want) => {
            if length == letters.len() {
                Start::Yes
            } else {
                Start::Unknown
            }
        }
        _ => Start::No,
    }
}

/// Whether a message begins here.
pub(super) fn message_start(bytes: &[u8]) -> Start {
    let mut best = Start::No;
    for letters in STARTS {
        match begins_with(bytes, letters) {
            Start::Yes => return Start::Yes,
            Start::Unknown => best = Start::Unknown,
            Start::No => {}
        }
    }
    best
}

/// Whether bytes behind a packet may be its end: a frame of its own, zeros, with which no
/// picture's data end, and a line of text are not.
pub(super) fn may_end_packet(bytes: &[u8]) -> bool {
    let is_text = bytes.len() >= 8 && bytes.is_ascii();
    bytes.first() != Some(&b'$') && bytes.iter().any(|byte| *byte != 0) && !is_text
}

/// Where an answer begins in text that is none.
pub(super) fn find_message(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(5)
        .position(|letters| letters.eq_ignore_ascii_case(b"RTSP/"))
        .filter(|at| bytes.get(..*at).is_some_and(|b| !b.ends_with(b" ")))
}

/// The channels in use and what their packets look like.
pub(super) struct Channels {
    known: [u64; 4],
    /// The last packet's second byte without its highest bit, which is set here where
    /// there was one: payload type, or 72 and more for RTCP (RFC 5761 4).
    kinds: [u8; 256],
    /// Longest packet so far, with its framing.
    longest: usize,
    /// Channels that came into use without being given, of the newest packets.
    strangers: u8,
    packets: u16,
}

impl Default for Channels {
    fn default() -> Self {
        Self {
            known: [0; 4],
            kinds: [0; 256],
            longest: 0,
            strangers: 0,
            packets: 0,
        }
    }
}

impl Channels {
    /// Whether packets came on more channels than the camera was given or may add.
    pub(super) const fn has_strangers(&self) -> bool {
        self.strangers > STRANGERS_LIMIT
    }

    pub(super) fn expect(&mut self, channel: u8) {
        if let Some(word) = self.known.get_mut(usize::from(channel / 64)) {
            *word |= 1 << (channel % 64);
        }
    }

    fn knows(&self, channel: u8) -> bool {
        let word = self.known.get(usize::from(channel / 64));
        word.is_some_and(|word| word & (1 << (channel % 64)) != 0)
    }

    /// Whether packets may come at all.
    pub(super) fn play(&self) -> bool {
        self.known.iter().any(|word| *word != 0)
    }

    fn kind(&self, channel: u8) -> u8 {
        let kind = self.kinds.get(usize::from(channel));
        kind.copied().unwrap_or_default()
    }

    /// Remembers what a packet looked like.
    pub(super) fn learn(&mut self, packet: &[u8], length: usize) {
        self.longest = self.longest.max(length);
        if let &[_, channel, _, _, version, kind, ..] = packet
            && length >= 6
            && version >> 6 == 2
        {
            self.packets = (self.packets + 1) % STRANGERS_KEPT;
            if self.packets == 0 {
                self.strangers = 0;
            }
            if !self.knows(channel) {
                self.strangers = self.strangers.saturating_add(1);
                self.expect(channel);
            }
            if let Some(known) = self.kinds.get_mut(usize::from(channel)) {
                *known = kind | 0x80;
            }
        }
    }

    /// Whether a packet begins at this `$`. In step its channel is enough; `strict`
    /// looks at its version, kind and length, and at the byte behind it.
    pub(super) fn start(&self, bytes: &[u8], strict: bool) -> Start {
        let Some(&channel) = bytes.get(1) else {
            return Start::Unknown;
        };
        if !strict && (self.knows(channel) || !self.play()) {
            return Start::Yes;
        }
        if strict && !self.knows(channel) {
            return Start::No;
        }
        let &[_, _, high, low, version, kind, ..] = bytes else {
            return match bytes.get(4) {
                Some(version) if version >> 6 != 2 => Start::No,
                _ => Start::Unknown,
            };
        };
        if version >> 6 != 2 {
            return Start::No;
        }
        if !strict {
            return Start::Yes;
        }
        let is_control = |kind: u8| (72..=95).contains(&(kind & 0x7f));
        let length = usize::from(u16::from_be_bytes([high, low]));
        let known = self.kind(channel);
        let alike = known == 0 || known == kind | 0x80 || (is_control(known) && is_control(kind));
        let least = if is_control(kind) { 4 } else { 12 };
        if !alike || length < least {
            return Start::No;
        }
        match self.begins(bytes, 4 + length) {
            Start::No => Start::No,
            Start::Yes | Start::Unknown => Start::Yes,
        }
    }

    /// Whether a packet, a message or an empty line begins at `at`.
    pub(super) fn begins(&self, bytes: &[u8], at: usize) -> Start {
        let bytes = bytes.get(at..).unwrap_or_default();
        match bytes.first() {
            None => Start::Unknown,
            Some(b'$') => self.start(bytes, false),
            Some(b'\r' | b'\n') => Start::Yes,
            Some(_) => message_start(bytes),
        }
    }

    /// Looks for the next packet inside one that was told `told` bytes long and behind
    /// which nothing begins.
    pub(super) fn inside(&self, bytes: &[u8], told: usize) -> Inside {
        for at in dollars(bytes.get(..told).unwrap_or(bytes)) {
            match self.start(bytes.get(at..).unwrap_or_default(), true) {
                Start::Yes => return Inside::At(at),
                Start::Unknown => return Inside::Perhaps,
                Start::No => {}
            }
        }
        Inside::No
    }

    /// Looks for two whole packets, one behind the other, inside one that was told far
    /// longer than all before and has not come whole.
    pub(super) fn chain(&self, bytes: &[u8], told: usize) -> Option<usize> {
        if told < FAR_BYTES.max(2 * self.longest) || self.longest == 0 {
            return None;
        }
        let whole = |at: usize| {
            let rest = bytes.get(at..)?;
            if self.start(rest, true) != Start::Yes {
                return None;
            }
            let &[_, _, high, low, ..] = rest else {
                return None;
            };
            let end = at + 4 + usize::from(u16::from_be_bytes([high, low]));
            (end < bytes.len() && bytes.get(end) == Some(&b'$')).then_some(end)
        };
        dollars(bytes).find(|at| whole(*at).and_then(whole).is_some())
    }

    /// How far the next packet or message is, or what may become one; the whole length
    /// where there is none.
    pub(super) fn next_start(&self, bytes: &[u8]) -> usize {
        let may_start = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            match rest.first() {
                Some(b'$') => self.start(rest, true) != Start::No,
                Some(byte) if byte.is_ascii_alphabetic() => message_start(rest) != Start::No,
                _ => false,
            }
        };
        (0..bytes.len()).find(may_start).unwrap_or(bytes.len())
    }

    /// Whether a packet begins here beyond doubt: where a body should begin.
    pub(super) fn takes_packet(&self, bytes: &[u8]) -> bool {
        matches!(bytes, [b'$', channel, _, _, version, ..]
            if version >> 6 == 2 && self.knows(*channel))
    }

    /// Whether these bytes go on with a text: no message, packet or empty line.
    pub(super) fn is_text(&self, bytes: &[u8]) -> bool {
        let is_text = |byte: &u8| *byte != b'$' && !is_blank(*byte);
        bytes.first().is_some_and(is_text) && message_start(bytes) == Start::No
    }

    /// Where a text without a told length ends: a message or a packet begins a line.
    pub(super) fn end_of_text(&self, bytes: &[u8]) -> Option<usize> {
        let ends = |at: &usize| {
            let rest = bytes.get(*at..).unwrap_or_default();
            begins_with(rest, b"RTSP/") == Start::Yes || self.takes_packet(rest)
        };
        let begins_line = |at: &usize| {
            *at == 0
                || bytes
                    .get(at - 1)
                    .is_some_and(|byte| matches!(byte, b'\r' | b'\n'))
        };
        (0..bytes.len()).filter(begins_line).find(ends)
    }
}

/// Where `$` is, but for the first byte.
fn dollars(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let found = bytes.iter().enumerate().skip(1);
    found.filter_map(|(at, byte)| (*byte == b'$').then_some(at))
}
