//! Requests and answers, their headers by name, and how ours are written.

use std::borrow::Cow;

/// Headers of our requests in the order in which they are written, as live555 and
/// ffmpeg do: some cameras refuse a request that does not begin with its CSeq.
const ORDER: &[&str] = &[
    "CSeq",
    "Authorization",
    "User-Agent",
    "Require",
    "Transport",
    "Session",
    "Range",
    "Accept",
];

/// Parameters of a URI that hold a password (Xiongmai and others).
const SECRETS: &[&str] = &["password", "passwd", "pass", "pwd", "psw"];

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StartLine {
    Request { method: String, uri: String },
    Response { status: u16, phrase: String },
}

impl StartLine {
    /// Reads it; whether it is odd. A status that can't be read is 0.
    pub(super) fn read(line: &[u8]) -> (Self, bool) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        let is_answer = text
            .get(..4)
            .is_some_and(|start| start.eq_ignore_ascii_case("RTSP"));
        if !is_answer {
            let mut words = text.split_ascii_whitespace();
            let mut word = || words.next().unwrap_or_default().to_owned();
            let (method, uri, version) = (word(), word(), word());
            let method = method.to_ascii_uppercase();
            return (Self::Request { method, uri }, version != "RTSP/1.0");
        }
        let status = |word: &str| -> Option<u16> {
            let digits = word.get(..3)?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse().ok().filter(|_| is_number)
        };
        let mut rest = text.split_ascii_whitespace().skip(1);
        // `RTSP/1.0200 OK`, without the space.
        let glued = || status(text.get(8..)?);
        let status = rest.by_ref().take(2).find_map(status).or_else(glued);
        let status = status.unwrap_or(0);
        let phrase = rest.collect::<Vec<_>>().join(" ");
        let plain = line.starts_with(format!("RTSP/1.0 {status:03} ").as_bytes());
        (Self::Response { status, phrase }, !plain)
    }
}

/// A request or an answer. Values are kept as the bytes that were sent.
#[derive(Clone, PartialEq, Eq)]
pub(in crate::gateway::front) struct Message {
    pub(super) start: StartLine,
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// What follows the head.
    pub(in crate::gateway::front) body: Vec<u8>,
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.traced())
    }
}

impl Message {
    /// A request without headers.
    pub(in crate::gateway::front) fn request(method: &str, uri: &str) -> Self {
        Self::new(StartLine::Request {
            method: method.to_owned(),
            uri: uri.to_owned(),
        })
    }

    /// An answer without headers.
    pub(in crate::gateway::front) fn response(status: u16, phrase: &str) -> Self {
        Self::new(StartLine::Response {
            status,
            phrase: phrase.to_owned(),
        })
    }

    const fn new(start: StartLine) -> Self {
        Self {
            start,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// The status of an answer; 0: it can't be read.
    pub(in crate::gateway::front) const fn status(&self) -> Option<u16> {
        match &self.start {
            StartLine::Response { status, .. } => Some(*status),
            StartLine::Request { .. } => None,
        }
    }

    /// Method, in capitals, and URI of a request.
    pub(in crate::gateway::front) fn asked(&self) -> Option<(&str, &str)> {
        match &self.start {
            StartLine::Request { method, uri } => Some((method, uri)),
            StartLine::Response { .. } => None,
        }
    }

    /// The first header of this name that is not empty, or an empty one: its bytes
    /// without white space around them.
    pub(in crate::gateway::front) fn header(&self, name: &str) -> Option<&[u8]> {
        let full = self.all(name).find(|value| !value.is_empty());
        full.or_else(|| self.all(name).next())
    }

    /// The same as text: UTF-8, or else Latin-1.
    pub(in crate::gateway::front) fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let value = self.header(name)?;
        Some(match std::str::from_utf8(value) {
            Ok(text) => Cow::Borrowed(text),
            Err(_) => Cow::Owned(value.iter().map(|byte| char::from(*byte)).collect()),
        })
    }

    /// All headers of this name.
    pub(in crate::gateway::front) fn all<'a, 'n>(
        &'a self,
        name: &'n str,
    ) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let same = move |(known, _): &&(String, Vec<u8>)| known.eq_ignore_ascii_case(name);
        let found = self.headers.iter().filter(same);
        found.map(|(_, value)| value.as_slice())
    }

    /// What asks for a password: also as a proxy does.
    pub(in crate::gateway::front) fn challenges(&self) -> impl Iterator<Item = &[u8]> {
        let own = self.all("WWW-Authenticate");
        own.chain(self.all("Proxy-Authenticate"))
    }

    /// Whether the password is asked for as a proxy does.
    pub(in crate::gateway::front) fn is_proxys(&self) -> bool {
        self.status() == Some(407) || self.header("Proxy-Authenticate").is_some()
    }

    /// Signs a request; `is_proxied`: so that a proxy sees it too.
    pub(in crate::gateway::front) fn sign(&mut self, answer: Vec<u8>, is_proxied: bool) {
        if is_proxied {
            self.set("Proxy-Authorization", answer.clone());
        }
        self.set("Authorization", answer);
    }

    /// Sets a header, in place of all of that name.
    pub(in crate::gateway::front) fn set(&mut self, name: &str, value: impl Into<Vec<u8>>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// Removes all headers of this name.
    pub(in crate::gateway::front) fn remove(&mut self, name: &str) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// The bytes on the wire: CSeq first, then a fixed order. The length of a body is
    /// told. Line breaks in values are left out.
    pub(in crate::gateway::front) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(512 + self.body.len());
        let mut write = |line: &[&[u8]]| {
            let all = line.iter().flat_map(|part| part.iter());
            bytes.extend(all.filter(|byte| !b"\r\n".contains(byte)));
            bytes.extend_from_slice(b"\r\n");
        };
        match &self.start {
            StartLine::Request { method, uri } => {
                write(&[method.as_bytes(), b" ", uri.as_bytes(), b" RTSP/1.0"]);
            }
            StartLine::Response { status, phrase } => {
                let status = format!("RTSP/1.0 {status:03} ");
                write(&[status.as_bytes(), phrase.as_bytes()]);
            }
        }
        for wanted in ORDER {
            for value in self.all(wanted) {
                write(&[wanted.as_bytes(), b": ", value]);
            }
        }
        let is_other = |name: &str| {
            let mut others = ORDER.iter().chain(&["Content-Length"]);
            !others.any(|known| known.eq_ignore_ascii_case(name))
        };
        for (name, value) in &self.headers {
            if is_other(name) {
                write(&[name.as_bytes(), b": ", value]);
            }
        }
        if !self.body.is_empty() {
            let length = self.body.len().to_string();
            write(&[b"Content-Length: ", length.as_bytes()]);
        }
        write(&[]);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The message for a trace: without what signs it, without passwords and users in
    /// URIs.
    pub(in crate::gateway::front) fn traced(&self) -> String {
        let mut hidden = self.clone();
        for (name, value) in &mut hidden.headers {
            if name.to_ascii_lowercase().contains("authorization") {
                let scheme = value.split(|byte| *byte == b' ').next();
                let scheme = scheme.unwrap_or_default().to_vec();
                *value = [&scheme[..], b" (hidden)"].concat();
            }
        }
        without_secrets(&String::from_utf8_lossy(&hidden.encode()))
    }
}

/// Hides users in URIs, and values of parameters that hold a password.
fn without_secrets(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let ends = |c: char| c.is_whitespace() || "&?;/\"<>,@".contains(c);
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| "&?/=_".contains(c)) {
        let (before, after) = rest.split_at(at);
        shown.push_str(before);
        let mut after = after.chars();
        let sign = after.next().unwrap_or_default();
        shown.push(sign);
        rest = after.as_str();
        let name = shown.trim_end_matches(['=', '_']);
        let name = name.rsplit(ends).next().unwrap_or_default();
        let name = name.rsplit('_').next().unwrap_or_default();
        if matches!(sign, '=' | '_') && SECRETS.iter().any(|s| name.eq_ignore_ascii_case(s)) {
            shown.push('…');
            rest = rest
                .find(ends)
                .and_then(|end| rest.get(end..))
                .unwrap_or("");
        } else if sign == '/' && shown.ends_with("://") {
            let authority = rest.find(|c: char| c.is_whitespace() || "/\"<>,".contains(c));
            let authority = rest.get(..authority.unwrap_or(rest.len()));
            if let Some(user) = authority.and_then(|authority| authority.rfind('@')) {
                shown.push('…');
                rest = rest.get(user..).unwrap_or_default();
            }
        }
    }
    shown.push_str(rest);
    shown
}
