//! What a client sends: requests, answers and interleaved packets, in a bounded buffer.
//! Text is held one character for each byte.

/// Most bytes of a message, and so of the buffer.
const LIMIT: usize = 64 * 1024;

/// RTCP packet type of a receiver report (RFC 3550 6.4.2).
const RECEIVER_REPORT: u8 = 201;

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) uri: String,
    /// Names as written, values without spaces around them.
    pub(super) headers: Vec<(String, String)>,
    /// Bytes of its head.
    pub(super) size: usize,
}

impl Request {
    /// The header of this name, whatever its case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// What came from a client.
#[derive(Debug)]
pub(super) enum Incoming {
    Request(Request),
    /// An answer to a request of the camera's.
    Answer,
    /// RTCP with a receiver report in it.
    Report,
    /// Another interleaved packet.
    Packet,
}

/// One character for each byte.
pub(super) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// One byte for each character; those above 255 become `?`.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let byte = |letter: char| u8::try_from(u32::from(letter)).unwrap_or(b'?');
    text.chars().map(byte).collect()
}

/// Bytes that came and were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    /// Takes bytes in. `false`: there would be too many.
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        self.0.extend_from_slice(bytes);
        self.0.len() <= 2 * LIMIT
    }

    /// Nothing is left that has not been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next message or packet, once it is whole.
    pub(super) fn next(&mut self) -> Option<Incoming> {
        if let Some([b'$', _, high, low]) = self.0.first_chunk::<4>() {
            let end = 4 + usize::from(u16::from_be_bytes([*high, *low]));
            let packet = self.0.get(4..end)?;
            let report = has_report(packet);
            self.0.drain(..end);
            return Some(if report {
                Incoming::Report
            } else {
                Incoming::Packet
            });
        }
        let end = self.0.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
        let head = text(self.0.get(..end)?);
        let mut lines = head.split("\r\n");
        let first = lines.next().unwrap_or_default().to_owned();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        let body = headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("Content-Length"))
            .and_then(|(_, value)| value.parse::<usize>().ok())
            .unwrap_or(0)
            .min(LIMIT);
        if self.0.len() < end + body {
            return None;
        }
        self.0.drain(..end + body);
        if first.starts_with("RTSP/") {
            return Some(Incoming::Answer);
        }
        let mut words = first.split(' ');
        Some(Incoming::Request(Request {
            method: words.next().unwrap_or_default().to_owned(),
            uri: words.next().unwrap_or_default().to_owned(),
            headers,
            size: end,
        }))
    }
}

/// Whether a compound packet has a receiver report.
pub(super) fn has_report(packet: &[u8]) -> bool {
    let mut rest = packet;
    while let Some(([_, kind, high, low], _)) = rest.split_first_chunk::<4>() {
        if *kind == RECEIVER_REPORT {
            return true;
        }
        let words = usize::from(u16::from_be_bytes([*high, *low])) + 1;
        rest = rest.get(words * 4..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_answers_and_packets_come_in_turn_at_every_cut() {
        let stream =
            b"$\x01\x00\x08\x80\xc9\x00\x01\x01\x02\x03\x04OPTIONS rtsp://a/b RTSP/1.0\r\n\
            CSeq: 1\r\n\r\nRTSP/1.0 200 OK\r\nCSeq: 9\r\n\r\n";
        for cut in 0..stream.len() {
            let mut inbox = Inbox::default();
            let mut came = Vec::new();
            for part in [&stream[..cut], &stream[cut..]] {
                assert!(inbox.push(part));
                while let Some(next) = inbox.next() {
                    came.push(next);
                }
            }
            let [
                Incoming::Report,
                Incoming::Request(request),
                Incoming::Answer,
            ] = &came[..]
            else {
                panic!("{cut}: {came:?}");
            };
            assert_eq!(request.method, "OPTIONS");
            assert_eq!(request.header("cseq"), Some("1"));
            assert!(inbox.is_empty());
        }
    }
}
