//! A real witness (litewitness) cosigns what both daemons write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::support::site::Place;
use crate::tools::{have, run};
use crate::world::{Operator, PATIENCE, Plan, World, until};

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("{what} does not come"))
}

const NAME: &str = "prefecture-13.example/fanal";

/// An address that stays while the witness behind it comes and goes.
struct Door {
    address: SocketAddr,
    target: watch::Sender<Option<SocketAddr>>,
    _task: JoinSet<()>,
}

impl Door {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, to) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut passing = JoinSet::new();
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                let to: Option<SocketAddr> = *to.borrow();
                passing.spawn(async move {
                    // A witness that is away: the connection is closed at once.
                    let Some(to) = to else { return };
                    let mut there = TcpStream::connect(to).await.unwrap();
                    let _ = copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        Self {
            address,
            target,
            _task: task,
        }
    }
}

/// litewitness with its key in an agent of its own, and its database.
pub struct Witness {
    place: Place,
    fingerprint: String,
    _agent: Child,
    running: Option<(Child, JoinSet<()>)>,
    pub vkey: String,
    door: Door,
}

impl Witness {
    /// Whether all that it needs is installed.
    pub fn is_installed() -> bool {
        let tools = [
            "litewitness",
            "witnessctl",
            "ssh-agent",
            "ssh-add",
            "ssh-keygen",
        ];
        tools.into_iter().all(have)
    }

    pub async fn start() -> Self {
        let place = Place::new();
        let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
        let (key, socket) = (path("key"), path("agent"));
        let made = run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", &key]).await;
        assert!(made.success, "{}", made.stderr);
        let shown = run("ssh-keygen", &["-lf", &key]).await;
        let shown = String::from_utf8(shown.stdout).unwrap();
        let fingerprint = shown.split(' ').nth(1).unwrap().to_owned();
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a", &socket])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the agent listens", || Path::new(&socket).exists()).await;
        let added = Command::new("ssh-add")
            .args(["-q", &key])
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(added.await.unwrap().success());
        let mut witness = Self {
            place,
            fingerprint,
            _agent: agent,
            running: None,
            vkey: String::new(),
            door: Door::new().await,
        };
        witness.run().await;
        witness
    }

    fn path(&self, name: &str) -> String {
        self.place.path(name).to_str().unwrap().to_owned()
    }

    async fn run(&mut self) {
        let mut child = Command::new("litewitness")
            .args(["-name", NAME, "-listen", "127.0.0.1:0"])
            .args(["-db", &self.path("db")])
            .args(["-ssh-agent", &self.path("agent")])
            .args(["-key", &self.fingerprint])
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        self.vkey = within("the witness's key", async {
            loop {
                let line = said.next_line().await.unwrap().expect("litewitness runs");
                if let Some((_, vkey)) = line.split_once(" vkey=") {
                    return vkey.trim_matches('"').to_owned();
                }
            }
        })
        .await;
        // It writes on, and must not wait for a reader.
        let mut reading = JoinSet::new();
        reading.spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
        let pid = child.id().unwrap();
        let mut address = None;
        until("the witness listens", || {
            address = listening(pid);
            address.is_some()
        })
        .await;
        self.door.target.send_replace(address);
        self.running = Some((child, reading));
    }

    async fn stop(&mut self) {
        self.door.target.send_replace(None);
        let (mut child, _reading) = self.running.take().unwrap();
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::INT).unwrap();
        within("the witness's end", child.wait()).await.unwrap();
    }

    /// Takes a log, as its operator does.
    pub async fn take(&self, vkey: &str) {
        let (origin, _) = vkey.split_once('+').unwrap();
        let database = self.path("db");
        let log = run(
            "witnessctl",
            &["add-log", "-db", &database, "-origin", origin],
        )
        .await;
        assert!(log.success, "{}", log.stderr);
        let arguments = ["add-key", "-db", &database, "-origin", origin, "-key", vkey];
        let key = run("witnessctl", &arguments).await;
        assert!(key.success, "{}", key.stderr);
    }

    /// The database's files, copied from one name to another while nobody writes.
    fn copy(&self, from: &str, to: &str) {
        for end in ["", "-wal", "-shm"] {
            let (from, to) = (format!("{from}{end}"), format!("{to}{end}"));
            let _ = std::fs::remove_file(self.place.path(&to));
            let _ = std::fs::copy(self.place.path(&from), self.place.path(&to));
        }
    }

    pub fn settings(&self) -> String {
        format!(
            "[[witness]]\nname = \"Préfecture\"\nurl = \"http://{}/\"\nkey = \"{}\"\n",
            self.door.address, self.vkey
        )
    }
}

/// Where a process listens, by its sockets.
fn listening(pid: u32) -> Option<SocketAddr> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| {
            let name = link.to_str()?.strip_prefix("socket:[")?;
            Some(name.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_listening = fields.get(3) == Some(&"0A");
        if !is_listening
            || !sockets
                .iter()
                .any(|socket| fields.get(9) == Some(&socket.as_str()))
        {
            return None;
        }
        let port = u16::from_str_radix(fields[1].rsplit_once(':')?.1, 16).ok()?;
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    })
}

/// How many lines the newest cosignature in a daemon's journal covers.
fn cosigned(world: &World, daemon: &str) -> u64 {
    let entries = world.entries(daemon, "cosigned");
    entries
        .last()
        .map_or(0, |body| body["size"].as_u64().unwrap())
}

/// What came of checkpoints at the gateway.
fn answers(world: &World, outcome: &str) -> u64 {
    let text = world.gateway_metrics.encode().unwrap();
    let series = format!("witness_answers_total{{outcome=\"{outcome}\",witness=\"Préfecture\"}} ");
    let line = text.lines().find_map(|line| line.split_once(&series));
    line.map_or(0, |(_, count)| count.parse().unwrap())
}

/// A grant that ends; then the witness has seen its end at both sides.
async fn grant_and_end(operator: &Operator) {
    let grant = operator.granted(&["cam-001"]).await;
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    operator.call(Method::DELETE, &path).await.unwrap();
}

async fn seen(world: &World, daemon: &str, ends: usize) {
    until("the witness has seen the end", || {
        let journal = world.directory.journal(daemon);
        let is_end = |body: &&serde_json::Value| body["kind"] == "ended";
        if journal.iter().filter(is_end).count() < ends {
            return false;
        }
        let last = journal.iter().rposition(|body| body["kind"] == "ended");
        cosigned(world, daemon) > last.unwrap() as u64
    })
    .await;
}

pub fn copy(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

async fn verified(directory: &Path, more: &[&str]) -> (bool, String) {
    let mut arguments = vec!["journal", "verify", directory.to_str().unwrap()];
    arguments.extend(more);
    let ran = run(env!("CARGO_BIN_EXE_fanal"), &arguments).await;
    (
        ran.success,
        String::from_utf8(ran.stdout).unwrap() + &ran.stderr,
    )
}

#[tokio::test]
async fn a_real_witness_cosigns_restarts_falls_behind_and_finds_what_is_gone() {
    if !Witness::is_installed() {
        return;
    }
    let mut witness = Witness::start().await;
    let mut world = World::start(Plan {
        receiver: witness.settings(),
        ..Plan::default()
    })
    .await;
    // The journals have their keys from the start; the witness does not know them yet.
    for daemon in ["gateway", "receiver"] {
        until("the journal has its key", || {
            !world.entries(daemon, "log_key").is_empty()
        })
        .await;
        let key = world.entries(daemon, "log_key").remove(0);
        witness.take(key["vkey"].as_str().unwrap()).await;
    }
    let journal: PathBuf = world.directory.path("gateway").join("journal");
    let old = world.directory.path("old");
    world.reload_gateway(&witness.settings()).await;
    let operator = world.operator("13-1").await;
    grant_and_end(&operator).await;
    seen(&world, "gateway", 1).await;
    seen(&world, "receiver", 1).await;
    copy(&journal, &old);

    // It restarts and goes on where it was.
    witness.stop().await;
    witness.copy("db", "backup");
    witness.run().await;
    grant_and_end(&operator).await;
    seen(&world, "gateway", 2).await;

    // While it is away all goes on, and it gets what it missed.
    witness.stop().await;
    grant_and_end(&operator).await;
    until("it is missed", || answers(&world, "unreachable") > 0).await;
    let before = cosigned(&world, "gateway");
    grant_and_end(&operator).await;
    assert_eq!(cosigned(&world, "gateway"), before);
    witness.run().await;
    seen(&world, "gateway", 4).await;
    assert_eq!(answers(&world, "behind"), 0);

    // Its operator restored a backup: it holds less than it cosigned.
    witness.stop().await;
    witness.copy("backup", "db");
    witness.run().await;
    grant_and_end(&operator).await;
    seen(&world, "gateway", 5).await;
    assert!(answers(&world, "behind") > 0);

    // Anyone who has the journal shows what was seen.
    let whole = world.directory.path("whole");
    copy(&journal, &whole);
    let vkey = witness.vkey.clone();
    let (intact, told) = verified(&whole, &["--witness", &vkey]).await;
    assert!(intact && told.contains("checkpoints compared"), "{told}");
    assert!(!told.contains("no witness that was named"), "{told}");

    // The commune goes back to an older journal: the witness has seen more.
    world.stop_gateway().await;
    copy(&old, &journal);
    world.start_gateway().await;
    until("the witness says so", || {
        answers(&world, "ahead") + answers(&world, "inconsistent") > 0
    })
    .await;
    let with = ["--with", whole.to_str().unwrap(), "--witness", &vkey];
    let (intact, told) = verified(&journal, &with).await;
    assert!(!intact, "{told}");
    assert!(
        told.contains("prefecture-13.example/fanal cosigned"),
        "{told}"
    );
    world.stop().await;
}
