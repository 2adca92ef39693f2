//! Heads of messages: start line and headers, however they are ended.

use super::text::{Message, StartLine};
use super::{BODY_LIMIT, HEAD_LIMIT};

/// A head, and how it differs from RFC 2326.
pub(super) struct Head {
    pub(super) message: Message,
    /// The body's length, as told.
    pub(super) length: Option<usize>,
    /// Its content type is a description's.
    pub(super) is_description: bool,
    pub(super) odd_status: bool,
    pub(super) odd_lines: bool,
    pub(super) odd_length: bool,
}

/// Splits a head into its lines.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Lines end with CR alone.
    carriage: bool,
    odd: bool,
}

impl<'a> Lines<'a> {
    /// `None`: too little has come to tell how lines end.
    fn new(bytes: &'a [u8]) -> Option<Self> {
        let first = bytes.iter().position(|byte| b"\r\n".contains(byte))?;
        let mut behind = bytes.get(first..)?.iter();
        let next = behind.find(|byte| **byte != b'\r');
        // Two at the end of what came may be the head's end, or the line's of `\r\r\n`.
        let carriage = *next? != b'\n';
        Some(Self {
            bytes,
            at: 0,
            carriage,
            odd: carriage,
        })
    }

    /// The next line without its end.
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let end = if self.carriage { b'\r' } else { b'\n' };
        let length = rest.iter().position(|byte| *byte == end)?;
        self.at += length + 1;
        let line = rest.get(..length)?;
        if self.carriage {
            return Some(line);
        }
        let mut plain = line;
        while let [rest @ .., b'\r'] = plain {
            plain = rest;
        }
        self.odd |= line.len() != plain.len() + 1;
        Some(plain)
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }
}

/// Reads a head; gives the bytes it takes. `None`: it is not whole. `settle`: takes it
/// as it is, if its start line at least is whole.
pub(super) fn read(bytes: &[u8], settle: bool) -> Option<(Head, usize)> {
    let window = bytes.get(..bytes.len().min(HEAD_LIMIT))?;
    let mut lines = match Lines::new(window) {
        Some(lines) => lines,
        None if settle => Lines {
            bytes: window,
            at: 0,
            carriage: window.contains(&b'\r'),
            odd: true,
        },
        None => return None,
    };
    let first = match lines.next() {
        Some(first) => first,
        None if settle => {
            lines.at = window.len();
            window
        }
        None => return None,
    };
    let (start, odd_status) = StartLine::read(first);
    let mut headers: Vec<(String, Vec<u8>)> = Vec::new();
    loop {
        let rest = lines.rest();
        if !headers.is_empty() && (rest.starts_with(b"$") || rest.starts_with(b"RTSP/")) {
            // The empty line is missing.
            lines.odd = true;
            break;
        }
        match lines.next() {
            Some(line) if trim(line).is_empty() => break,
            Some(line) => lines.odd |= add(&mut headers, line),
            None if settle => {
                lines.odd = true;
                lines.odd |= add(&mut headers, lines.rest());
                lines.at = window.len();
                break;
            }
            None => return None,
        }
    }
    let message = Message {
        start,
        headers,
        body: Vec::new(),
    };
    let (length, odd_length) = body_length(&message);
    let kind = message.header("Content-Type").unwrap_or_default();
    let is_description = kind
        .windows(3)
        .any(|letters| letters.eq_ignore_ascii_case(b"sdp"));
    let head = Head {
        message,
        length,
        is_description,
        odd_status,
        odd_lines: lines.odd,
        odd_length,
    };
    Some((head, lines.at))
}

/// White space and NUL at the ends.
fn trim(mut bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    while let Some((first, rest)) = bytes.split_first()
        && is_space(first)
    {
        bytes = rest;
    }
    while let Some((last, rest)) = bytes.split_last()
        && is_space(last)
    {
        bytes = rest;
    }
    bytes
}

/// Adds a header line; whether it is odd.
fn add(headers: &mut Vec<(String, Vec<u8>)>, line: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    let indented = line.first().is_some_and(u8::is_ascii_whitespace);
    let split = line.iter().position(|byte| *byte == b':');
    let split = split.and_then(|at| Some((trim(line.get(..at)?), line.get(at + 1..)?)));
    let named = split.filter(|(name, _)| !name.is_empty() && name.iter().all(is_name));
    if indented && let Some((_, folded)) = headers.last_mut() {
        // Folded (RFC 2326 15, RFC 2616 2.2), unless it is a header of its own.
        let goes_on = matches!(folded.last(), None | Some(b',' | b';' | b'='));
        if goes_on || named.is_none() {
            if !folded.is_empty() {
                folded.push(b' ');
            }
            folded.extend_from_slice(trim(line));
            return true;
        }
    }
    let Some((name, value)) = split.filter(|(name, _)| !name.is_empty()) else {
        return !trim(line).is_empty();
    };
    let value = trim(value);
    let odd = indented || value.is_empty() || named.is_none() || value.contains(&0);
    let name = String::from_utf8_lossy(name).into_owned();
    headers.push((name, value.to_vec()));
    odd
}

/// The body's length, and whether it is told in an odd way: of several the shortest.
fn body_length(message: &Message) -> (Option<usize>, bool) {
    let mut told = None;
    let mut odd = false;
    for value in message.all("Content-Length") {
        let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
        let count = digits.count();
        odd |= count != value.len() || told.is_some();
        if count == 0 {
            continue;
        }
        let digits = value.get(..count).unwrap_or_default();
        let length = std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse().ok());
        // More digits than a number has is too long all the same.
        let length: usize = length.unwrap_or(BODY_LIMIT + 1);
        told = Some(told.map_or(length, |told: usize| told.min(length)));
    }
    (told, odd)
}
