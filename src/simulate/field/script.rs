//! What can differ from a well-behaved camera.
//!
//! Texts are templates: `{name}` stands for a value, see [`PLAIN`] for the common
//! ones. They are sent one byte for each character, so that text in UTF-8 and other
//! encodings can be written as bytes (`\u{c3}\u{a9}`).

use std::time::Duration;

use crate::media::unit::Codec;

/// How a camera differs from [`PLAIN`].
#[derive(Clone, Copy, Debug)]
pub struct Script {
    /// Where the fault belongs to one codec.
    pub codec: Option<Codec>,
    /// Meant to be asked for over UDP.
    pub udp: bool,
    /// Behind the name in the URL's path, with its `/`.
    pub suffix: &'static str,

    /// `{status}`, `{phrase}`.
    pub status_line: &'static str,
    /// Behind each line of a head.
    pub line_end: &'static str,
    /// How header lines are written.
    pub style: Style,
    /// The line with the request's number, `{cseq}`; empty: left out.
    pub cseq: &'static str,
    /// Header lines of every answer of 200.
    pub every: &'static [&'static str],
    /// Header lines of the answer to OPTIONS.
    pub options: &'static [&'static str],
    /// Header lines of the answer to DESCRIBE: `{url}`, `{origin}`, `{path}`, `{length}`.
    pub describe: &'static [&'static str],
    /// Header lines of the answer to SETUP: `{session}`, `{transport}` or its parts
    /// `{first}`, `{second}` (channels or the client's ports), `{port}`, `{port2}`, `{ssrc}`.
    pub setup: &'static [&'static str],
    /// Header lines of the answer to PLAY: `{session}`, `{track}`, `{seq}`, `{time}`.
    pub play: &'static [&'static str],
    /// Sent before each answer.
    pub before_answer: &'static str,
    /// Sent behind each answer.
    pub after_answer: &'static str,
    /// The body comes a moment after its head.
    pub split: bool,
    /// What must be so in a request, or it is answered with 400.
    pub demands: &'static [Demand],
    /// Methods that get this status instead of being served.
    pub statuses: &'static [(&'static str, u16)],
    /// Methods that are not answered.
    pub silent: &'static [&'static str],
    /// Methods at which it hangs up instead of answering.
    pub hangs_up: &'static [&'static str],
    /// DESCRIBE of any other URL is redirected to this one.
    pub redirect: Option<&'static str>,
    /// Hangs up behind every answer that is no success.
    pub closes: bool,
    /// Hangs up when nothing was asked for this long.
    pub idle_limit: Option<Duration>,
    /// Only these requests count as asking; empty: all do.
    pub kept_by: &'static [&'static str],
    /// Pictures that come before PLAY is answered.
    pub pictures_first: u32,

    /// The whole description: `{head}`, `{video}` and all that is in them.
    pub sdp: &'static str,
    /// Its session part: `{address}`.
    pub head: &'static str,
    /// Its video part, where it is not the codec's usual one: `{control}`, `{sprop}`,
    /// `{sets}` (the values of `sprop-vps` and so on for H.265).
    pub video: Option<&'static str>,
    /// The track's control URL, as in the description.
    pub control: &'static str,
    /// The URLs at which SETUP is served, each whole; no others are.
    pub track: &'static [&'static str],

    /// How it asks for a password; `None`: MD5 with qop, where there is a password.
    pub guard: Option<Guard>,

    /// What it does without receiver reports.
    pub reports: Option<Reports>,
    /// Whether it sends a sender report now and then.
    pub sender_reports: bool,

    /// Uses these channels, whatever was asked for.
    pub channels: Option<(u8, u8)>,
    /// Sends from another port than it named.
    pub other_port: bool,
    /// RTP payload type, where it is not 96 (26 for JPEG).
    pub payload_type: Option<u8>,
    /// Its pictures.
    pub material: Material,
    /// Where parameter sets are sent in band.
    pub in_band: InBand,
    /// Largest payload of a packet, in bytes.
    pub packet: usize,
    /// Small NAL units are gathered (STAP-A, AP).
    pub gathers: bool,
    /// Before each NAL unit inside its packets.
    pub start_code: &'static [u8],
    /// Where the marker bit is set.
    pub marker: Marker,
    /// Ticks from one picture to the next; `None`: as the rate says.
    pub time_step: Option<u32>,
    /// The first picture's time.
    pub time_start: u32,
    /// The first packet's number.
    pub first_number: u16,
    /// How packets are numbered from there.
    pub numbers: Numbers,
    /// What happens when.
    pub laws: &'static [(When, Law)],
    /// How JPEG is sent.
    pub jpeg: Jpeg,
}

/// A well-behaved camera.
pub const PLAIN: Script = Script {
    codec: None,
    udp: false,
    suffix: "",
    status_line: "RTSP/1.0 {status} {phrase}",
    line_end: "\r\n",
    style: Style::Usual,
    cseq: "CSeq: {cseq}",
    every: &[],
    options: &["Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"],
    describe: &[
        "Content-Base: {url}/",
        "Content-Type: application/sdp",
        "Content-Length: {length}",
    ],
    setup: &["Session: {session};timeout=60", "Transport: {transport}"],
    play: &[
        "Session: {session}",
        "Range: npt=0.000-",
        "RTP-Info: url={track};seq={seq};rtptime={time}",
    ],
    before_answer: "",
    after_answer: "",
    split: false,
    demands: &[],
    statuses: &[],
    silent: &[],
    hangs_up: &[],
    redirect: None,
    closes: false,
    idle_limit: None,
    kept_by: &[],
    pictures_first: 0,
    sdp: "{head}{video}",
    head: "v=0\r\no=- 1001 1 IN IP4 {address}\r\ns=Session\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\na=range:npt=0-\r\n",
    video: None,
    control: "trackID=1",
    track: &["{url}/{control}"],
    guard: None,
    reports: None,
    sender_reports: true,
    channels: None,
    other_port: false,
    payload_type: None,
    material: Material::OneSlice,
    in_band: InBand::Packets,
    packet: 1_000,
    gathers: false,
    start_code: &[],
    marker: Marker::Right,
    time_step: None,
    time_start: 3_000_000,
    first_number: 7,
    numbers: Numbers::Right,
    laws: &[],
    jpeg: Jpeg {
        width: 1280,
        height: 720,
        grain: 40,
        size_in_header: true,
        extension: Extension::None,
        restarts: true,
        quality: 255,
        tables: Tables::EachPicture,
        end: false,
    },
};

/// The usual video part of H.264.
pub const H264: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n\
    a=fmtp:96 packetization-mode=1;profile-level-id=42C01F;sprop-parameter-sets={sprop}\r\n\
    a=control:{control}\r\n";
/// The usual video part of H.265.
pub const H265: &str = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n\
    a=fmtp:96 {sets}\r\na=control:{control}\r\n";
/// The usual video part of Motion JPEG.
pub const JPEG: &str = "m=video 0 RTP/AVP 26\r\na=control:{control}\r\n";

/// How header lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `Name: value`.
    Usual,
    /// `name: value`.
    LowerCase,
    /// `NAME: value`.
    UpperCase,
    /// `Name:value`.
    NoSpace,
    /// `Name:   value  `.
    ManySpaces,
    /// `Name:` tab `value`.
    Tab,
    /// `Name : value`.
    SpaceBefore,
    /// The lines in the opposite order.
    Backwards,
}

/// What a picky camera wants of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// `CSeq` is the first header.
    NumberFirst,
    /// Header names are written as in RFC 2326.
    Case,
    /// This header is there in requests of this method.
    Header(&'static str, &'static str),
    /// This header is not there.
    Without(&'static str),
    /// `Session` is the id alone, as it was given.
    BareSession,
    /// `Transport` names one way, unicast, without spaces.
    OneTransport,
    /// `Accept` of DESCRIBE is `application/sdp` alone.
    AcceptAlone,
    /// PLAY is for the base URL as it was named, with its `/`.
    PlayAtBase,
    /// PLAY is for the track.
    PlayAtTrack,
    /// The head has at most this many bytes.
    Short(usize),
    /// A request comes only once the one before was answered.
    OneByOne,
    /// OPTIONS was asked for before, on this connection.
    OptionsFirst,
}

/// How packets are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// One more for each.
    Right,
    /// Two more for each.
    Twos,
    /// No order is in them.
    Random,
    /// The low byte comes first.
    Swapped,
    /// Right, but each packet has a source of its own.
    Sources,
}

/// How a password is asked for and checked.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// `WWW-Authenticate` lines of a 401, whole: `{nonce}`, `{stale}`.
    pub challenges: &'static [&'static str],
    /// Answers with these algorithms are refused.
    pub refuses: &'static [&'static str],
    /// Any right answer is taken even where it echoes too much or too little.
    pub lenient: bool,
    /// Requests that a nonce serves for.
    pub uses: u32,
    /// Each connection has nonces of its own.
    pub nonce_per_connection: bool,
    /// Hangs up behind its 401.
    pub hangs_up: bool,
    /// OPTIONS is asked for a password too.
    pub options_too: bool,
    /// Refuses every password.
    pub refuses_all: bool,
    /// Status of its refusal.
    pub status: u16,
    /// Body of its refusal.
    pub body: &'static str,
    /// Also a wrong `nc` is refused: it must count from 1 for each nonce.
    pub counts: bool,
}

/// MD5 with qop, as most cameras ask.
pub const GUARD: Guard = Guard {
    challenges: &[
        r#"WWW-Authenticate: Digest realm="cam", nonce="{nonce}", algorithm=MD5, qop="auth""#,
    ],
    refuses: &[],
    lenient: false,
    uses: u32::MAX,
    nonce_per_connection: false,
    hangs_up: false,
    options_too: false,
    refuses_all: false,
    status: 401,
    body: "",
    counts: false,
};

/// What a camera does this long after PLAY or the last receiver report.
#[derive(Clone, Copy, Debug)]
pub enum Reports {
    /// Sends nothing until a report comes.
    Stops(Duration),
    /// Hangs up.
    HangsUp(Duration),
}

/// The pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Material {
    /// One slice a picture.
    OneSlice,
    /// Four slices a picture (H.265: three).
    Slices,
    /// Other pictures than key pictures refer to a second picture parameter set (H.264).
    TwoSets,
    /// Every other group has another size (H.264).
    TwoSizes,
    /// 100 KB a picture (H.264).
    Large,
    /// The first slice of each group alone is of a key picture's type, all other
    /// pictures refresh part by part: there is no key picture (H.264).
    NoKey,
}

/// Where parameter sets are sent in band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InBand {
    /// Each in a packet, before each key picture and with its time.
    Packets,
    /// Nowhere.
    Never,
    /// Once, before the first key picture.
    Once,
    /// Before every picture.
    Always,
    /// Gathered in one packet (STAP-A, AP).
    Gathered,
    /// Gathered, and a last unit of length 0.
    GatheredAndEnd,
    /// The key picture is one NAL unit with start codes inside: the sets, then the slices.
    Run,
    /// Each in a packet with the marker bit.
    Marked,
    /// With the time of the picture before.
    Early,
    /// Behind the key picture, with the marker bit only there.
    Behind,
}

/// Where the marker bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// At the end of each picture.
    Right,
    /// Nowhere.
    Never,
    /// On every packet.
    Always,
    /// At the end of each NAL unit.
    EachUnit,
    /// On the first packet of each picture.
    First,
}

/// When a law holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// For every picture.
    Each,
    /// For key pictures.
    Key,
    /// For pictures other than key pictures.
    Other,
    /// For every nth picture but the first; never for a key picture.
    Every(u32),
    /// For this picture; 0 is the first behind PLAY.
    At(u32),
}

/// What happens to a picture or beside it.
#[derive(Clone, Copy, Debug)]
pub enum Law {
    /// A packet with this payload and the picture's time before it; with marker bit or not.
    Before(&'static [u8], bool),
    /// The same behind it.
    After(&'static [u8], bool),
    /// A packet with this payload and a time of its own, before the picture.
    Between(&'static [u8], bool),
    /// A NAL unit at the beginning of the picture.
    Lead(&'static [u8]),
    /// A NAL unit at the end of the picture.
    Trail(&'static [u8]),
    /// The last packet's marker bit is not set.
    Unmarked,
    /// The picture's last NAL unit is fragmented badly.
    Fragments(Flaw),
    /// Every packet is sent twice.
    Twice,
    /// The picture's first two packets change places.
    Swapped,
    /// All packets in the opposite order.
    Backwards,
    /// The picture is not sent, its packets' numbers are used.
    Lost,
    /// The picture is not sent, its packets' numbers are not used.
    LeftOut,
    /// This much is added to the numbers from here on.
    Number(u16),
    /// The numbers go on with this one.
    NumberFrom(u16),
    /// The synchronisation source changes to this one.
    Source(u32),
    /// This much is added to the times from here on.
    Time(i32),
    /// Each packet's time is this much more than that of the packet before.
    Slope(i32),
    /// Bytes between two packets, in front of the picture's last packet.
    Stray(&'static [u8]),
    /// The length in front of the picture's last packet is wrong by this much.
    Length(i16),
    /// An RTCP packet before the picture.
    Rtcp(&'static [u8]),
    /// A packet on another channel.
    Channel(u8, &'static [u8]),
    /// Packets end with this many bytes of padding (RFC 3550 5.1).
    Padding(u8),
    /// Packets have a header extension of this profile and these words.
    HeaderExtension(u16, &'static [u8]),
    /// Packets name this RTP version.
    Version(u8),
    /// Packets have the start of a header extension that says more words than there are.
    LongExtension,
    /// Each NAL unit stands behind its length, as in files.
    Lengths,
    /// The first two packets of the picture change places, the next two too, and so on.
    SwappedInPairs,
    /// Packets name this many contributing sources.
    Sources(u8),
    /// A packet of another payload type before the picture.
    OtherType(u8, &'static [u8]),
    /// The same in the middle of the picture.
    OtherTypeInside(u8, &'static [u8]),
    /// The same before the picture, with the number of the packet behind it, the marker bit
    /// and the time of the picture before.
    OtherTypeUncounted(u8, &'static [u8]),
    /// An RTP packet that is these bytes.
    Packet(&'static [u8]),
    /// A request of the camera's own; it wants an answer. `{url}`, `{session}`.
    Request(&'static str),
    /// Hangs up.
    HangUp,
}

/// How a NAL unit is fragmented badly. For JPEG only those that say so matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// No start bit.
    NoStart,
    /// No end bit; the marker is there.
    NoEnd,
    /// The first fragment comes, then the whole picture from its start.
    Restarted,
    /// One fragment with start and end bit.
    Single,
    /// A middle fragment is missing, its number was not used (JPEG too).
    Hole,
    /// A middle fragment is missing (JPEG too).
    Lost,
    /// The last fragment is missing (JPEG too).
    NoLast,
    /// A fragment without a byte of the unit.
    Empty,
    /// Fragments but the first name another NAL unit type.
    OtherType,
    /// Fragments but the first name another importance (H.265: another layer in time).
    OtherPriority,
    /// The last fragment has the end bit and so has the one before.
    TwoEnds,
    /// All fragments have the start bit.
    AllStart,
    /// All fragments have the end bit.
    AllEnd,
    /// No fragment of any NAL unit has the start bit.
    NoneStart,
    /// No fragment of any NAL unit has the end bit.
    NoneEnd,
    /// All fragments name offset 0 (JPEG alone).
    AllAtZero,
}

/// How JPEG is sent (RFC 2435).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Jpeg {
    /// Width in pixels, a multiple of 16.
    pub width: u16,
    /// Height in pixels, a multiple of 16.
    pub height: u16,
    /// Macroblocks of grain, some 236 bytes each.
    pub grain: u32,
    /// The size is in the payload header; otherwise that says 0 times 0.
    pub size_in_header: bool,
    /// What the RTP header extension says.
    pub extension: Extension,
    /// Restart markers (types 64 to 127).
    pub restarts: bool,
    /// Q of the payload header: 255 and 128 to 254 have tables in band.
    pub quality: u8,
    /// When they have them.
    pub tables: Tables,
    /// The data ends with the end marker FFD9.
    pub end: bool,
}

/// The RTP header extension of ONVIF's JPEG (ONVIF streaming 5.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// None.
    None,
    /// FFD8 with the frame header that holds the size.
    FrameHeader,
    /// FFD8 with quantisation tables and frame header.
    TablesAndFrameHeader,
}

/// When quantisation tables are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tables {
    /// With each picture.
    EachPicture,
    /// With every tenth picture: their length is 0 otherwise.
    EveryTenth,
    /// Never: Q says them (1 to 99).
    Never,
    /// One with each picture, for luma and chroma.
    One,
    /// Three with each picture, of which two are used.
    Three,
}
