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
    /// RFC 2326 10.12: what stands between packets is a message or a packet.
    StrayBytes "stray-bytes" "it sends stray bytes between packets";
    /// RFC 2326 12.17: the answer's number is the request's.
    AnswerNumber "answer-number" "its answers carry the wrong CSeq or none";
    /// RFC 7235 does not forbid it; the next connection is signed from its first request.
    ClosesAfterChallenge "closes-after-challenge" "it hangs up after asking for a password";
    /// RFC 2326 10.1: `Public` names what is served.
    Keepalive "keepalive" "it names a keep-alive request that it refuses";
    /// RFC 2326 10: servers may ask, and expect an answer.
    OwnRequests "own-requests" "it sends requests of its own";
    /// RFC 8305: an address that does not answer among those of its name.
    DeadAddress "dead-address" "one of its addresses does not answer";
    /// RFC 2326 11.3: Location of another path.
    Redirect "redirect" "it redirects to another path of its own";

    /// RFC 2326 12.14: the body is as long as told, or lacks.
    BodyLength "body-length" "its Content-Length is missing or wrong";

    // Digest.
    /// RFC 7235 2.1: quotes, commas, spaces.
    ChallengeForm "challenge-form" "it writes its request for a password in an odd way";
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

    // RTP and pictures.
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
