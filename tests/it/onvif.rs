//! An ONVIF device on a real socket: the few services that a key frame takes, good
//! and bad, and what it was asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::scripted::{Auth, DIGEST_MD5, PATIENCE, Seen, check_digest};

/// Who may ask; the user is `fanal`, the password `s3cret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// WS-UsernameToken, by a clock that is off by so many seconds.
    Token { clock_off: i64 },
    /// HTTP Digest.
    Digest,
}

/// What it does instead of serving an operation.
#[derive(Clone, Debug)]
pub enum Answer {
    Silence,
    /// Any bytes, then the connection closes.
    Raw(String),
    /// This body with status 200.
    Body(String),
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub login: Option<Login>,
    /// Where it says that its media service is.
    pub media: &'static str,
    /// It has version 2 of the media service alone.
    pub second: bool,
    /// Token and stream of each profile.
    pub profiles: Vec<(&'static str, &'static str)>,
    pub odd: HashMap<&'static str, Answer>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            login: None,
            media: "http://192.0.2.64/onvif/media",
            second: false,
            profiles: vec![
                ("sub", "rtsp://192.0.2.64/sub"),
                ("main<1>", "rtsp://192.0.2.64:554/main?unicast=true"),
            ],
            odd: HashMap::new(),
        }
    }
}

#[derive(Debug)]
struct State {
    plan: Mutex<Plan>,
    /// Operation and message of each request that was served.
    seen: watch::Sender<Vec<(String, String)>>,
}

/// The device. Stops when dropped.
#[derive(Debug)]
pub struct Device {
    address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

impl Device {
    pub async fn start(plan: Plan) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            plan: Mutex::new(plan),
            seen: watch::Sender::new(Vec::new()),
        });
        let mut tasks = JoinSet::new();
        let serving = state.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = serving.clone();
                connections.spawn(async move {
                    let _ = state.serve(stream).await;
                });
            }
        });
        Self {
            address,
            state,
            _tasks: tasks,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/onvif/device_service", self.address)
    }

    pub fn set(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.state.plan.lock().unwrap());
    }

    /// How often an operation was asked, refused questions included.
    pub fn count(&self, operation: &str) -> usize {
        let seen = self.state.seen.borrow();
        seen.iter().filter(|(asked, _)| asked == operation).count()
    }

    /// All that was asked, as it came.
    pub fn heard(&self) -> String {
        let seen = self.state.seen.borrow();
        seen.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The profiles that an operation named.
    pub fn tokens(&self, operation: &str) -> Vec<String> {
        let seen = self.state.seen.borrow();
        let of = seen.iter().filter(|(asked, _)| asked == operation);
        of.filter_map(|(_, text)| between(text, "ProfileToken>", "<"))
            .map(|token| token.replace("&lt;", "<").replace("&gt;", ">"))
            .collect()
    }

    pub async fn until(&self, operation: &str, count: usize) {
        self.until_wish(&format!("{count} {operation}"), |seen| {
            seen.iter().filter(|(asked, _)| asked == operation).count() >= count
        })
        .await;
    }

    pub async fn until_wish(&self, what: &str, wish: impl Fn(&[(String, String)]) -> bool) {
        let mut seen = self.state.seen.subscribe();
        let wait = async {
            loop {
                let now = seen.borrow_and_update().clone();
                if wish(&now) {
                    return;
                }
                seen.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        let asked: Vec<String> = self
            .state
            .seen
            .borrow()
            .iter()
            .map(|s| s.0.clone())
            .collect();
        assert!(waited.is_ok(), "{what}: asked {asked:?}");
    }
}

impl State {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let (head, body) = loop {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await?;
            if count == 0 {
                return Ok(());
            }
            bytes.extend(&chunk[..count]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = header(head, "content-length").unwrap_or_default();
            if body.len() >= length.parse().unwrap_or(0) {
                break (head.to_owned(), body.to_owned());
            }
        };
        let operation = between(&body, "<o:", ">").unwrap_or_default();
        let operation = operation.trim_end_matches('/').to_owned();
        let plan = self.plan.lock().unwrap().clone();
        let answer = plan.answer(&operation, &head, &body);
        self.seen
            .send_modify(|seen| seen.push((operation, format!("{head}\r\n\r\n{body}"))));
        match answer {
            Answer::Silence => std::future::pending().await,
            Answer::Raw(raw) => stream.write_all(raw.as_bytes()).await,
            Answer::Body(body) => {
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all((head + &body).as_bytes()).await
            }
        }
    }
}

impl Plan {
    fn answer(&self, operation: &str, head: &str, body: &str) -> Answer {
        if let Some(odd) = self.odd.get(operation) {
            return odd.clone();
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        match self.login {
            Some(Login::Digest) if operation != "GetSystemDateAndTime" => {
                let challenge = DIGEST_MD5.replace("NONCE", "n1");
                let request = Seen {
                    connection: 0,
                    method: "POST".to_owned(),
                    uri: path.to_owned(),
                    headers: HashMap::new(),
                    status: 0,
                };
                let given = header(head, "authorization").unwrap_or_default();
                if !check_digest(&given, &challenge, &Auth::digest(DIGEST_MD5), &request) {
                    return Answer::Raw(format!(
                        "HTTP/1.1 401 X\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0\r\n\r\n"
                    ));
                }
            }
            Some(Login::Token { clock_off })
                if operation != "GetSystemDateAndTime" && !is_signed(body, clock_off) =>
            {
                return fault("NotAuthorized");
            }
            _ => {}
        }
        let expected = match operation {
            "GetCapabilities" | "GetServices" | "GetSystemDateAndTime" => "/onvif/device_service",
            _ => "/onvif/media",
        };
        if path != expected {
            return fault("ActionNotSupported");
        }
        self.serve(operation, body)
    }

    fn serve(&self, operation: &str, body: &str) -> Answer {
        let token = between(body, "ProfileToken>", "<").unwrap_or_default();
        let token = token.replace("&lt;", "<").replace("&gt;", ">");
        let profile = self.profiles.iter().find(|(name, _)| *name == token);
        let media = self.media;
        let inner = match (operation, profile) {
            ("GetCapabilities", _) if self.second => "<t:Capabilities/>".to_owned(),
            ("GetCapabilities", _) => format!(
                "<t:Capabilities><t:Media><t:XAddr>{media}</t:XAddr></t:Media></t:Capabilities>"
            ),
            ("GetServices", _) => format!(
                "<t:Service><t:Namespace>http://www.onvif.org/ver20/media/wsdl</t:Namespace><t:XAddr>{media}</t:XAddr></t:Service>"
            ),
            ("GetSystemDateAndTime", _) => self.time(),
            ("GetProfiles", _) => self
                .profiles
                .iter()
                .map(|(token, _)| {
                    let token = token.replace('<', "&lt;").replace('>', "&gt;");
                    format!("<t:Profiles token=\"{token}\" fixed=\"true\"><t:Name>p</t:Name></t:Profiles>")
                })
                .collect(),
            (_, None) => return fault("NoProfile"),
            ("GetStreamUri", Some((_, uri))) => {
                format!("<t:MediaUri><t:Uri>{}</t:Uri></t:MediaUri>", uri.replace('&', "&amp;"))
            }
            _ => String::new(),
        };
        Answer::Body(envelope(&format!(
            "<x:{operation}Response>{inner}</x:{operation}Response>"
        )))
    }

    fn time(&self) -> String {
        let off = match self.login {
            Some(Login::Token { clock_off }) => clock_off,
            _ => 0,
        };
        let seconds = fanal::clock::Clock::system().now().wall.seconds() + off;
        let text = fanal::clock::Wall::from_seconds(seconds).rfc3339();
        let part = |from: usize, to: usize| text[from..to].trim_start_matches('0').to_owned();
        let number = |from, to| match part(from, to) {
            empty if empty.is_empty() => "0".to_owned(),
            number => number,
        };
        format!(
            "<t:SystemDateAndTime><t:UTCDateTime><t:Time><t:Hour>{}</t:Hour><t:Minute>{}</t:Minute><t:Second>{}</t:Second></t:Time><t:Date><t:Year>{}</t:Year><t:Month>{}</t:Month><t:Day>{}</t:Day></t:Date></t:UTCDateTime></t:SystemDateAndTime>",
            number(11, 13),
            number(14, 16),
            number(17, 19),
            number(0, 4),
            number(5, 7),
            number(8, 10)
        )
    }
}

/// Whether the message proves to know the password, at the device's time ± 5 s.
fn is_signed(body: &str, clock_off: i64) -> bool {
    let check = || {
        let created = between(body, "Created>", "<")?;
        let nonce = STANDARD
            .decode(between(body, "Base64Binary\">", "<")?)
            .ok()?;
        let given = between(body, "#PasswordDigest\">", "<")?;
        let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        hash.update(&nonce);
        hash.update(created.as_bytes());
        hash.update(b"s3cret");
        let now = fanal::clock::Clock::system().now().wall.seconds() + clock_off;
        let near = (-5..=5).any(|off| {
            let second = fanal::clock::Wall::from_seconds(now + off).rfc3339();
            second[..19] == created[..19]
        });
        let user = body.contains("<w:Username>fanal</w:Username>");
        Some(user && near && given == STANDARD.encode(hash.finish()))
    };
    check().unwrap_or(false)
}

fn fault(subcode: &str) -> Answer {
    let body = envelope(&format!(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>ter:{subcode}</s:Value></s:Subcode></s:Code><s:Reason><s:Text>no</s:Text></s:Reason></s:Fault>"
    ));
    let length = body.len();
    Answer::Raw(format!(
        "HTTP/1.1 400 X\r\nContent-Length: {length}\r\n\r\n{body}"
    ))
}

fn envelope(body: &str) -> String {
    format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\"><s:Body>{body}</s:Body></s:Envelope>"
    )
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}

fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let rest = &text[text.find(from)? + from.len()..];
    Some(rest[..rest.find(to)?].to_owned())
}
