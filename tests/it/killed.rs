//! Both daemons as processes under load, killed (`kill -9`) at random moments: nothing that was
//! acknowledged is lost, and journals, witness and attestation agree after each kill.
//!
//! A test of some kills; the same over many, with figures:
//!
//!     FANAL_KILLS=200 FANAL_SEED=7 cargo test --test it killed -- --nocapture

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanal::gateway::socket::{self, Answer};
use fanal::journal::compare::{self, Verdict};
use fanal::journal::verify::statements::Authorities;
use fanal::journal::verify::{self, What};
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::metrics::try_get;
use crate::snapshots::{still, try_take};
use crate::support::chance::Chance;
use crate::waiting::within;
use crate::witness::{Witness, copy};
use crate::world::{CENTRE, Operator, PATIENCE, Plan, Player, World, rtsp, until};

/// Kills of the short form.
const KILLS: u64 = 5;
/// Kills of one site: each verifies all that was written, and a site's journals grow.
const KILLS_A_SITE: u64 = 40;
const CAMERAS: usize = 4;
/// Operators at work at once.
const OPERATORS: usize = 3;
/// Most grants that one of them asks for between two kills.
const GRANTS: u64 = 2;
/// Longest time from the link to the kill, in milliseconds.
const LONGEST: u64 = 1_500;
/// Most bytes that a journal grows by before its daemon is killed.
const GROWTH: u64 = 30_000;
/// Between two attempts while a daemon is away.
const PAUSE: Duration = Duration::from_millis(50);

/// What was answered, so that it must be in the journals.
#[derive(Clone, Default)]
struct Acknowledged {
    /// Grants: their id.
    grants: Vec<Value>,
    /// Viewings: grant and camera.
    viewings: Vec<(Value, String)>,
    /// Stills: their id.
    stills: Vec<Value>,
    /// How many cuts.
    cuts: usize,
}

impl Acknowledged {
    /// Everything is in these journals.
    fn is_in(&self, gateway: &[Value], receiver: &[Value]) {
        let has = |journal: &[Value], kind: &str, member: &str, value: &Value| {
            let is_it = |body: &Value| body["kind"] == kind && body[member] == *value;
            journal.iter().any(is_it)
        };
        for grant in &self.grants {
            assert!(has(gateway, "grant", "grant", grant), "grant {grant}");
            assert!(has(receiver, "grant", "grant", grant), "grant {grant}");
        }
        for still in &self.stills {
            assert!(has(gateway, "snapshot", "snapshot", still), "still {still}");
            assert!(
                has(receiver, "snapshot", "snapshot", still),
                "still {still}"
            );
        }
        for (grant, camera) in &self.viewings {
            let is_it = |body: &Value| {
                body["kind"] == "viewing_started"
                    && body["grant"] == *grant
                    && body["camera"] == camera.as_str()
            };
            assert!(receiver.iter().any(is_it), "a viewing of {grant}");
        }
        let cuts = gateway.iter().filter(|body| body["kind"] == "cut").count();
        assert!(cuts >= self.cuts, "{cuts} cuts of {}", self.cuts);
    }
}

/// An operator who works, with what his players and the commune's hand do beside.
struct Worker {
    operator: Operator,
    chance: Chance,
    socket: PathBuf,
    console: std::net::SocketAddr,
    done: Arc<Mutex<Acknowledged>>,
    starts: watch::Receiver<u64>,
}

impl Worker {
    /// Works until the test ends.
    async fn run(mut self) {
        loop {
            let mut left = self.chance.between(1, GRANTS);
            while left > 0 && !self.starts.has_changed().unwrap_or(true) {
                if self.step().await.is_some() {
                    left -= 1;
                } else {
                    // A daemon is away, or what this one wants is cut.
                    let _ = tokio::time::timeout(PAUSE, self.starts.changed()).await;
                }
            }
            if self.starts.changed().await.is_err() {
                return;
            }
        }
    }

    fn note(&self, note: impl FnOnce(&mut Acknowledged)) {
        note(&mut self.done.lock().unwrap());
    }

    /// A grant, and what is done with it; none as soon as something is not answered.
    async fn step(&mut self) -> Option<()> {
        let camera = format!("cam-{:03}", self.chance.between(1, CAMERAS as u64));
        let seconds = u32::try_from(self.chance.between(3, 30)).unwrap();
        let claims = self.operator.claims(&[&camera], seconds);
        let text = self
            .operator
            .client
            .sign(fanal::format::statement::REQUEST_TYPE, &claims);
        let asked = tokio::time::timeout(PATIENCE, self.operator.client.post_request(text));
        let grant = asked.await.ok()?.ok()?.json;
        self.note(|done| done.grants.push(grant["grant"].clone()));
        if self.chance.percent(70) {
            let mut player = Player::start(rtsp(&grant, &camera));
            let first = player.seen.wait_for(|seen| seen.pictures > 0);
            within("a picture or a refusal", first).await.ok()?;
            self.note(|done| done.viewings.push((grant["grant"].clone(), camera.clone())));
        }
        if self.chance.percent(40) {
            let body = still(&self.operator, &grant, &camera);
            let (status, still) = try_take(self.console, &self.operator, &body).await?;
            (status == 201).then_some(())?;
            self.note(|done| done.stills.push(still["snapshot"].clone()));
        }
        if self.chance.percent(20) {
            let path = self.socket.clone();
            let cut = socket::Request::Cut {
                scope: format!("camera:{camera}"),
                block: 1,
            };
            let cut = tokio::task::spawn_blocking(move || socket::ask(&path, &cut));
            let Ok(Answer::Cut { .. }) = cut.await.unwrap() else {
                return None;
            };
            self.note(|done| done.cuts += 1);
        } else if self.chance.percent(50) {
            let path = format!("/api/v1/grants/{}", grant["grant"].as_str()?);
            let released = self.operator.client.call(Method::DELETE, &path);
            within("an answer", released).await.ok()?;
        }
        Some(())
    }
}

/// One of the two daemons, as a process.
struct Daemon {
    name: &'static str,
    child: Option<Child>,
}

impl Daemon {
    fn start(&mut self, world: &World) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(world.directory.path(&format!("{}.log", self.name)))
            .unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fanal"))
            .arg(self.name)
            .arg("--config")
            .arg(world.directory.path(&format!("{}.toml", self.name)))
            .env_remove("RUST_LOG")
            .env_remove("CREDENTIALS_DIRECTORY")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn();
        self.child = Some(child.unwrap());
    }

    fn id(&self) -> Pid {
        let id = self.child.as_ref().unwrap().id().unwrap();
        Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        within("the kill", child.kill()).await.unwrap();
    }

    async fn stop(&mut self) {
        kill_process(self.id(), Signal::TERM).unwrap();
        let mut child = self.child.take().unwrap();
        let status = within("its end", child.wait()).await.unwrap();
        assert!(status.success(), "{} ends in order: {status}", self.name);
    }

    /// None of its threads runs any more.
    fn stands_still(&self) -> bool {
        let id = self.id().as_raw_nonzero();
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        let mut states =
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
        states.all(|stat| stat.is_ok_and(|stat| stat.contains(") T ")))
    }
}

/// Both daemons, what is asked of them, and what was answered.
struct Site {
    world: World,
    gateway: Daemon,
    receiver: Daemon,
    witness: Option<Witness>,
    workers: JoinSet<()>,
    starts: watch::Sender<u64>,
    done: Arc<Mutex<Acknowledged>>,
    kills: u64,
}

impl Site {
    async fn start(chance: &mut Chance, witness: Option<Witness>) -> Self {
        let settings = witness.as_ref().map(Witness::settings).unwrap_or_default();
        let mut world = World::start(Plan {
            cameras: CAMERAS,
            agreement: "snapshots = true\n".to_owned(),
            gateway: settings.clone(),
            receiver: settings,
            ..Plan::default()
        })
        .await;
        if let Some(witness) = &witness {
            for daemon in ["gateway", "receiver"] {
                until("the journal has its key", || {
                    !world.entries(daemon, "log_key").is_empty()
                })
                .await;
                let key = world.entries(daemon, "log_key").remove(0);
                witness.take(key["vkey"].as_str().unwrap()).await;
            }
        }
        let (starts, started) = watch::channel(0);
        let done = Arc::default();
        let mut workers = JoinSet::new();
        for number in 0..OPERATORS {
            let worker = Worker {
                operator: world.operator(&format!("13-{number}")).await,
                chance: Chance::new(chance.between(0, u64::MAX - 1)),
                socket: world.directory.path("gateway.sock"),
                console: world.addresses.console,
                done: Arc::clone(&done),
                starts: started.clone(),
            };
            workers.spawn(worker.run());
        }
        world.stop_gateway().await;
        world.stop_receiver().await;
        // Its page stays where it is, as the receiver's listeners do.
        let file = world.directory.path("gateway.toml");
        let toml = std::fs::read_to_string(&file).unwrap();
        let page = format!("metrics = \"{}\"", world.gateway_page);
        let fixed = toml.replacen("metrics = \"127.0.0.1:0\"", &page, 1);
        assert_ne!(fixed, toml);
        world.directory.write("gateway.toml", fixed);
        let mut site = Self {
            world,
            gateway: Daemon {
                name: "gateway",
                child: None,
            },
            receiver: Daemon {
                name: "receiver",
                child: None,
            },
            witness,
            workers,
            starts,
            done,
            kills: 0,
        };
        site.restart().await;
        site
    }

    /// Starts what is away, and waits for the link.
    async fn restart(&mut self) {
        for daemon in [&mut self.receiver, &mut self.gateway] {
            if daemon.child.is_none() {
                daemon.start(&self.world);
            }
        }
        let up = format!("fanal_gateway_link_up{{centre=\"{CENTRE}\"}} 1");
        let linked = async {
            let mut look = tokio::time::interval(PAUSE);
            loop {
                look.tick().await;
                let page = try_get(self.world.gateway_page, "/metrics").await;
                if page.is_ok_and(|page| page.lines().any(|line| line == up)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, linked).await.is_err() {
            let logs = ["receiver", "gateway"].map(|name| self.log_end(name));
            panic!(
                "no link within {} s:\n{}",
                PATIENCE.as_secs(),
                logs.concat()
            );
        }
        // A worker goes on whatever is not answered: one that is over failed.
        if let Some(ended) = self.workers.try_join_next() {
            panic!("a worker ended: {ended:?}");
        }
        self.starts.send_modify(|starts| *starts += 1);
    }

    /// The last lines of a daemon's log.
    fn log_end(&self, name: &str) -> String {
        let path = self.world.directory.path(&format!("{name}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let end = &lines[lines.len().saturating_sub(40)..];
        format!("{name}:\n{}\n", end.join("\n"))
    }

    fn journal(&self, name: &str) -> PathBuf {
        self.world.directory.path(name).join("journal")
    }

    /// Kills one or both in the middle of their work, or lets the gateway stop in order.
    async fn strike(&mut self, chance: &mut Chance) {
        let who = chance.between(0, 9);
        let watched = self.journal(if who < 5 { "gateway" } else { "receiver" });
        let wanted = size(&watched) + chance.between(0, GROWTH);
        let limit = Duration::from_millis(chance.between(0, LONGEST));
        // Whichever comes first: some bytes, or some time.
        let _ = fanal::demo::wait_until("growth", limit, || size(&watched) >= wanted).await;
        if who == 9 {
            // So that there are attestations between which to tile.
            return self.gateway.stop().await;
        }
        self.kills += 1;
        if who < 5 || who == 8 {
            self.gateway.kill().await;
        }
        if (5..=8).contains(&who) {
            self.receiver.kill().await;
        }
    }

    /// Holds both daemons for the time of a copy, and judges what they wrote. Gives the numbers
    /// of lines.
    async fn judge(&mut self) -> [u64; 2] {
        let daemons = [&self.gateway, &self.receiver];
        let done = self.done.lock().unwrap().clone();
        let running = daemons.map(|daemon| daemon.child.is_some());
        for (daemon, _) in daemons.iter().zip(running).filter(|(_, runs)| *runs) {
            kill_process(daemon.id(), Signal::STOP).unwrap();
            until("it is held", || daemon.stands_still()).await;
        }
        let names = ["gateway", "receiver"];
        let copies = names.map(|name| format!("copy-{name}"));
        for (name, to) in names.iter().zip(&copies) {
            let to = self.world.directory.path(to).join("journal");
            copy(&self.journal(name), &to);
        }
        for (daemon, _) in daemons.iter().zip(running).filter(|(_, runs)| *runs) {
            kill_process(daemon.id(), Signal::CONT).unwrap();
        }
        let read = copies
            .clone()
            .map(|copy| self.world.directory.journal(&copy));
        done.is_in(&read[0], &read[1]);
        let at = copies.map(|copy| self.world.directory.path(&copy).join("journal"));
        let trial = &self.world.trial;
        let texts = [trial.link_authority(), trial.designation_authority()];
        let authorities = Authorities::from_pem(texts).unwrap();
        let witnesses: Vec<_> = self
            .witness
            .iter()
            .map(|one| one.vkey.parse().unwrap())
            .collect();
        let judged = tokio::task::spawn_blocking(move || verified(&at, &authorities, witnesses));
        judged.await.unwrap()
    }

    /// Both stop in order; then all agrees, and attestations tile the time.
    async fn end(mut self) -> (Acknowledged, [u64; 2]) {
        self.workers.shutdown().await;
        self.gateway.stop().await;
        self.receiver.stop().await;
        let lines = self.judge().await;
        let report = verify::verify(&verify::Options {
            directory: self.journal("gateway"),
            ..verify::Options::default()
        });
        let attested = report.unwrap().attested;
        let [attested] = &attested[..] else {
            panic!("{attested:?}")
        };
        assert_eq!((attested.faults, attested.ungranted), (0, 0), "{attested}");
        assert!(!attested.gaps.is_empty(), "{attested}");
        let done = self.done.lock().unwrap().clone();
        self.world.stop().await;
        (done, lines)
    }
}

/// How many bytes a journal has.
fn size(journal: &Path) -> u64 {
    let files = std::fs::read_dir(journal).unwrap();
    files
        .map(|file| file.unwrap().metadata().map_or(0, |of| of.len()))
        .sum()
}

/// Both verify, attestation and witness included, and neither contradicts the other.
fn verified(
    at: &[PathBuf; 2],
    authorities: &Authorities,
    witnesses: Vec<fanal::format::note::VerifierKey>,
) -> [u64; 2] {
    let lines = at.clone().map(|directory| {
        let report = verify::verify(&verify::Options {
            directory: directory.clone(),
            with: at
                .iter()
                .filter(|other| **other != directory)
                .cloned()
                .collect(),
            authorities: Some(authorities.clone()),
            witnesses: witnesses.clone(),
        })
        .unwrap();
        // Where it was held in the middle of a write.
        let counts = |finding: &&verify::Finding| !matches!(finding.what, What::Torn(_));
        let findings: Vec<_> = report.findings.iter().filter(counts).collect();
        assert!(
            findings.is_empty(),
            "{}: {findings:#?}",
            directory.display()
        );
        report.lines
    });
    let options = compare::Options {
        directories: at.to_vec(),
        authorities: Some(authorities.clone()),
        witnesses,
        memory: compare::MEMORY_LIMIT,
    };
    let report = compare::compare(&options, &Default::default()).unwrap();
    assert_ne!(
        report.verdict,
        Verdict::Contradiction,
        "{:#?}",
        report.findings
    );
    lines
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{variable} is no number")),
    )
}

#[tokio::test]
async fn killed_at_any_moment_they_lose_nothing_that_was_acknowledged() {
    let kills = number("FANAL_KILLS").unwrap_or(KILLS);
    let seed = number("FANAL_SEED").unwrap_or(1);
    let mut chance = Chance::new(seed);
    let began = Instant::now();
    let with_witness = Witness::is_installed();
    let mut killed = 0;
    while killed < kills {
        let witness = if with_witness {
            Some(Witness::start().await)
        } else {
            None
        };
        let mut site = Site::start(&mut chance, witness).await;
        while site.kills < KILLS_A_SITE.min(kills - killed) {
            site.strike(&mut chance).await;
            site.restart().await;
            site.judge().await;
        }
        killed += site.kills;
        let (done, [gateway, receiver]) = site.end().await;
        eprintln!(
            "{killed} kills (seed {seed}) in {:.0} s; of this site's {} grants, {} viewings, {} stills and {} cuts none is lost; {gateway} and {receiver} lines agree",
            began.elapsed().as_secs_f64(),
            done.grants.len(),
            done.viewings.len(),
            done.stills.len(),
            done.cuts,
        );
    }
}
