//! Everything that the front makes plain, by name: what `fanal check` reports,
//! what `fanal simulate --fault` plays and what the tests walk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes [`Fix`] with its names and sentences from one list.
macro_rules! fixes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $sentence:literal;)*) => {
        /// A way in which a camera differs from the standards that the front makes up for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fix {
            $($(#[$doc])* $variant,)*
        }

        impl Fix {
            /// All, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Stable name, in lower case with hyphens.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What is odd about the camera: a part of a sentence that begins with "its" or "it".
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

fixes! {
    // Dialogue.
    /// RFC 2326 7.1: the phrase may be empty, its space may not; the version is RTSP/1.0.
    StatusLine "status-line" "its status lines lack a phrase or name an odd version";
    /// RFC 2326 15: empty, folded, without a colon, or with LF alone at the end.
    HeaderForm "header-form" "its header lines are empty, folded or badly ended";
    /// RFC 2326 12.14, C.1.1.
    ContentBase "content-base" "its Content-Base is empty or broken";
    /// RFC 2326 C.1.1.
    ControlUrl "control-url" "its control URL does not join its base as written";
    /// RFC 2326 12.16: application/sdp.
    ContentType "content-type" "its description has no or an odd content type";
    /// RFC 2326 12.37.
    SessionForm "session-form" "its Session header comes late or is odd";
    /// RFC 2326 12.39.
    TransportForm "transport-form" "its answer to SETUP lacks parts of Transport";
    /// RFC 2326 12.39: the channels asked for are not those used.
    OtherChannels "other-channels" "it uses other channels than were asked for";
    /// RFC 2326 10.12: what is between packets is a message or a packet.
    StrayBytes "stray-bytes" "it sends stray bytes between packets";
    /// RFC 2326 12.17: the answer's number is the request's.
    AnswerNumber "answer-number" "its answers carry the wrong CSeq or none";
    /// RFC 7235 does not forbid it; the next connection is signed from its first request.
    ClosesAfterChallenge "closes-after-challenge" "it hangs up after asking for a password";
    /// RFC 2326 10.1: `Public` names what is served.
    Keepalive "keepalive" "it names a keep-alive request that it refuses";
    /// RFC 2326 10: servers may ask, and expect an answer.
    OwnRequests "own-requests" "it sends requests of its own";
    /// RFC 2326 10.1: OPTIONS may be asked at any time, and need not be.
    WantsOptions "wants-options" "it answers only after it was asked for its OPTIONS";
    /// RFC 8305: an address that does not answer among those of its name.
    DeadAddress "dead-address" "one of its addresses does not answer";
    /// RFC 2326 11.3.34 (461): only the transport that was not asked for.
    OtherTransport "other-transport" "it serves only the transport that the settings do not name";
    /// RFC 2326 11.3: Location of another path.
    Redirect "redirect" "it redirects to another path of its own";

    /// RFC 2326 12.14: the body is as long as told, or lacks.
    BodyLength "body-length" "its Content-Length is missing or wrong";

    // Digest.
    /// RFC 7235 2.1: quotes, commas, spaces.
    ChallengeForm "challenge-form" "it writes its request for a password in an odd way";
    /// RFC 7235 3.2: 407 is a proxy's.
    ProxyChallenge "proxy-challenge" "it asks for a password as a proxy does";
    /// RFC 7616 3.7: a server offers only what it takes.
    DigestStepDown "digest-step-down" "it refuses the strongest way to sign in that it offers";

    // Description.
    /// RFC 8866 5: v, o, s, t, c and b, each once, in order and whole.
    DescriptionLines "description-lines" "its description lacks lines or has broken ones";
    /// RFC 8866 5: UTF-8, CRLF, no spaces around `=`.
    DescriptionText "description-text" "its description is not UTF-8 or its lines are badly ended";
    /// RFC 8866 5.14: port, protocol and at least one format.
    MediaLine "media-line" "its description has a media line without port or format";
    /// RFC 8866 6.6: `rtpmap:96 H264/90000`.
    CodecName "codec-name" "it names its codec in an odd way or not at all";
    /// RFC 8866 5.14: the first format is the one to be used.
    OtherFormats "other-formats" "it lists formats that are not sent before the one that is";
    /// RFC 6184 8.2.1, RFC 7798 7.2.1, RFC 2435 3.1: 90000.
    ClockRate "clock-rate" "it names another clock rate than 90000";
    /// RFC 6184 8.1, RFC 7798 7.1: base64 of one unit each.
    ParameterSets "parameter-sets" "the parameter sets in its description are broken";

    // RTCP.
    /// RFC 3550 6.1, A.2: lengths, types and padding of compound packets.
    RtcpForm "rtcp-form" "it sends RTCP that cannot be read";
    /// RFC 3550 8: reports and pictures of one source carry one SSRC.
    RtcpSource "rtcp-source" "its sender reports name another source than its pictures";
    /// RFC 3550 6.6: BYE ends a source, yet pictures go on.
    RtcpBye "rtcp-bye" "it says BYE and goes on";

    // RTP and pictures.
    /// RFC 3550 5.1: padding or a header extension that is longer than its packet.
    RtpForm "rtp-form" "its RTP headers name padding or an extension beyond the packet";
    /// RFC 3550 5.1: the version is 2.
    RtpVersion "rtp-version" "its RTP packets name another version than 2";
    /// RFC 2326 10.12: TCP keeps the order in which packets are made.
    PacketOrder "packet-order" "it sends RTP packets out of order over TCP";
    /// RFC 3550 5.1: numbers rise by one with each packet.
    SequenceNumbers "sequence-numbers" "its RTP sequence numbers stand still, jump or begin again";
    /// RFC 3550 8: the SSRC of a source stays.
    SourceChange "source-change" "its RTP source changes while it plays";
    /// RFC 3550 5.1: a packet is sent once.
    DuplicatePackets "duplicate-packets" "it sends RTP packets twice";
    /// RFC 6184 5.1, RFC 7798 4.1, RFC 2435 3: the packets of a picture have one time.
    PacketTimes "packet-times" "its packets of one picture name different times";
    /// RFC 8866 5.14: packets carry an announced type.
    PayloadType "payload-type" "it sends another RTP payload type than it announces";
    /// RFC 6184 5.6: a payload has content.
    EmptyPayload "empty-payload" "it sends RTP packets without content";
    /// RFC 6184 5.1, RFC 7798 4.2: the marker is set in a picture's last packet only.
    Markers "markers" "its RTP markers do not show where pictures end";
    /// RFC 6184 5.8, RFC 7798 4.4.3: one start, one end, one type.
    FragmentFlags "fragment-flags" "its fragments lack their start or end";
    /// RFC 6184 5.7, RFC 7798 4.4.2: lengths of aggregated units.
    AggregateForm "aggregate-form" "it aggregates units with wrong lengths or filler";
    /// Types that RFC 6184 and RFC 7798 do not use; NAL headers with the forbidden bit.
    UnknownPayload "unknown-payload" "it sends payloads that are no part of a picture";
    /// RFC 6184 5.6: payloads are NAL units without start codes.
    StartCodes "start-codes" "it puts start codes inside RTP payloads";
    /// RFC 6184 5.6: payloads are NAL units without the lengths of files.
    LengthPrefixes "length-prefixes" "it puts lengths in front of units inside RTP payloads";
    /// H.264 7.4.1, H.265 7.4.2: no start code inside a unit.
    EmulationPrevention "emulation-prevention" "it leaves out emulation prevention bytes";
    /// H.264 7.4.1.2.1: sets change only at a key picture.
    LateSets "late-sets" "its parameter sets change inside a group of pictures";
    /// RFC 6184 8.1: the description's sets are those of the stream, and readable.
    DescribedSets "described-sets" "the parameter sets of its description are broken or not those it uses";
    /// It never sends an instantaneous decoding refresh.
    NoKeyPictures "no-key-pictures" "it never sends a full key picture, only recovery points";
    /// ITU-T H.264 C.4.4, H.265 C.4.2: decoding starts at a key picture or a recovery point.
    NoStart "no-start" "it sends no key picture and no recovery point: its picture is begun anywhere, and becomes whole as it refreshes";
    /// RFC 2435 3.1.2: fragments follow one another without holes.
    JpegFragments "jpeg-fragments" "its JPEG fragments leave holes";
    /// RFC 2435 3.1.2: each fragment names its place.
    JpegOffsets "jpeg-offsets" "all its JPEG fragments name offset 0";
    /// RFC 2435 3.1.5: width and height in units of 8 pixels.
    JpegSize "jpeg-size" "its JPEG packets do not name the size";
    /// RFC 2435 3: headers are left out of the payload.
    JpegHeaders "jpeg-headers" "it sends whole JPEG files as payload";
}

/// Which of them one camera needed, noted from wherever they are applied.
#[derive(Clone, Debug, Default)]
pub struct Fixes(Arc<[AtomicU64; 2]>);

impl Fixes {
    /// Notes that it was needed. `true`: for the first time.
    pub fn note(&self, fix: Fix) -> bool {
        let number = fix as usize;
        let bit = 1 << (number % 64);
        self.0[number / 64 % 2].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// What was needed so far.
    pub fn needed(&self) -> Vec<Fix> {
        let has = |fix: &Fix| {
            let number = *fix as usize;
            self.0[number / 64 % 2].load(Ordering::Relaxed) & (1 << (number % 64)) != 0
        };
        Fix::ALL.iter().copied().filter(has).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_noted_for_itself() {
        assert!(Fix::ALL.len() <= 128, "two words of bits");
        let fixes = Fixes::default();
        for fix in Fix::ALL {
            assert!(fixes.note(*fix));
            assert!(!fixes.note(*fix));
        }
        assert_eq!(fixes.needed(), Fix::ALL);
    }
}
