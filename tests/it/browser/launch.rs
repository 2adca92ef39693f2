//! Browsers as processes: started on a profile of their own, killed when dropped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use super::bidi::Connection;
use super::{Kind, PATIENCE};
use crate::support::site::Place;

/// A started browser, before anything is asked of it.
pub struct Launched {
    pub connection: Connection,
    pub process: Process,
}

/// The browser's processes.
pub struct Process {
    child: Child,
    /// What it writes must be read, or it stops.
    readers: JoinSet<()>,
    /// Its profile, cache and home.
    home: Place,
}

impl Process {
    fn spawn(command: &mut Command, home: Place) -> Self {
        Self {
            child: command.spawn().unwrap(),
            readers: JoinSet::new(),
            home,
        }
    }

    /// What all processes of the browser have taken of the processors so far.
    pub fn processor_time(&self) -> Duration {
        let group = self.child.id().expect("the browser runs").to_string();
        let processes = std::fs::read_dir("/proc").unwrap();
        let ticks = processes.filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            // Behind the name, which may hold anything: state, parent, group, …
            let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
            let own = fields[2] == group;
            let ticks = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
            own.then_some(ticks)
        });
        // A tick of /proc is 10 ms on every architecture of Linux.
        Duration::from_millis(10 * ticks.sum::<u64>())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A group of its own: a driver's browser and all helpers go with it.
        if let Some(id) = self.child.id() {
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
            let _ = kill_process_group(pid.expect("a process id"), Signal::KILL);
        }
    }
}

/// Starts a browser on an empty profile.
pub async fn start(kind: Kind) -> Launched {
    match kind {
        Kind::Chromium => chromium().await,
        Kind::Firefox => firefox().await,
    }
}

/// Wants nothing of the machine but what is named.
fn command(program: &str, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("HOME", home)
        .env("TMPDIR", home)
        .env_remove("XDG_CONFIG_HOME")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("DISPLAY")
        .env("LANG", "fr_FR.UTF-8")
        .stdin(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    command
}

/// A driver, and the port that it listens on.
async fn chromedriver() -> (Process, u16) {
    // It takes a free port of IPv6 and then wants the same one of IPv4, which another program may
    // have got: it says so and ends.
    const TAKEN: &str = "IPv4 port not available";
    for _ in 0..8 {
        let home = Place::new();
        let mut command = command("chromedriver", &home.path(""));
        command
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = Process::spawn(&mut command, home);
        let output = process.child.stdout.take().unwrap();
        match said(output, "successfully on port ", &mut process.readers).await {
            Ok(said) => return (process, said.trim_end_matches('.').parse().unwrap()),
            Err(ended) => assert!(ended.contains(TAKEN), "{ended}"),
        }
    }
    panic!("chromedriver finds no port that both families have free");
}

async fn chromium() -> Launched {
    let (process, port) = chromedriver().await;
    let profile = process.home.path("profile");
    let profile = format!("--user-data-dir={}", profile.display());
    let mut arguments = vec![
        "--headless=new",
        profile.as_str(),
        "--lang=fr-FR",
        "--accept-lang=fr-FR,fr",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-breakpad",
        "--disable-dev-shm-usage",
        "--mute-audio",
    ];
    // Chromium's own rule: its sandbox does not start as root.
    if rustix::process::geteuid().is_root() {
        arguments.push("--no-sandbox");
    }
    let wanted = json!({ "capabilities": { "alwaysMatch": {
        "webSocketUrl": true,
        "unhandledPromptBehavior": { "default": "ignore" },
        "goog:chromeOptions": { "args": arguments },
    } } });
    let answer = tokio::time::timeout(PATIENCE, post(port, "/session", &wanted)).await;
    let answer = answer.expect("chromedriver starts chromium");
    let capabilities = &answer["value"]["capabilities"];
    let url = capabilities["webSocketUrl"]
        .as_str()
        .unwrap_or_else(|| panic!("chromedriver: {answer}"));
    Launched {
        connection: Connection::open(url).await,
        process,
    }
}

/// Settings of Firefox: French, nothing but the page, no request of its own.
const PREFERENCES: &str = r#"
user_pref("intl.accept_languages", "fr-FR, fr");
user_pref("app.update.disabledForTesting", true);
user_pref("browser.aboutwelcome.enabled", false);
user_pref("browser.newtabpage.enabled", false);
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("browser.safebrowsing.malware.enabled", false);
user_pref("browser.safebrowsing.phishing.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.startup.homepage_override.mstone", "ignore");
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("extensions.update.enabled", false);
user_pref("media.autoplay.default", 0);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("network.prefetch-next", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"#;

async fn firefox() -> Launched {
    let home = Place::new();
    let profile = home.path("profile");
    std::fs::create_dir(&profile).unwrap();
    std::fs::write(profile.join("user.js"), PREFERENCES).unwrap();
    let mut command = command("firefox-esr", &home.path(""));
    command
        .args(["--headless", "--no-remote", "--remote-debugging-port", "0"])
        .arg("--profile")
        .arg(&profile)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut process = Process::spawn(&mut command, home);
    let output = process.child.stderr.take().unwrap();
    let words = "WebDriver BiDi listening on ";
    let address = said(output, words, &mut process.readers).await;
    let address = address.unwrap_or_else(|ended| panic!("{ended}"));
    let mut connection = Connection::open(&format!("{address}/session")).await;
    let wanted = json!({ "capabilities": { "alwaysMatch": {
        "unhandledPromptBehavior": { "default": "ignore" },
    } } });
    let begun = connection.call("session.new", wanted, PATIENCE).await;
    begun.expect("Firefox begins a session");
    Launched {
        connection,
        process,
    }
}

/// Waits for a line with `words`; gives what is behind them, or what was said where it ended without
/// them. The rest is read and thrown away until the end.
async fn said(
    output: impl AsyncRead + Unpin + Send + 'static,
    words: &str,
    readers: &mut JoinSet<()>,
) -> Result<String, String> {
    let mut lines = BufReader::new(output).lines();
    let found = async {
        let mut before = String::new();
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, behind)) = line.split_once(words) {
                return Ok(behind.trim().to_owned());
            }
            before.push_str(&line);
            before.push('\n');
        }
        Err(format!("the browser ended without “{words}”: {before}"))
    };
    let found = tokio::time::timeout(PATIENCE, found).await;
    let found = found.unwrap_or_else(|_| panic!("the browser does not say “{words}”"));
    readers.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    found
}

/// Posts JSON to the driver.
async fn post(port: u16, path: &str, body: &Value) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let body = body.to_string();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    // The driver keeps the connection open whatever it is asked.
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).await.unwrap();
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).await.unwrap();
    serde_json::from_slice(&body).unwrap()
}
