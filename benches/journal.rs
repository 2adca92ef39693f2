//! How fast a journal is written, each entry durable, and how long it takes to compare those of both
//! sides: `cargo bench --bench journal`.
//!
//!     cargo bench --bench journal -- --lines 1000000
//!
//! First entries are appended by 1, 8 and 64 at once, each of whom waits for his receipt: what is
//! queued while the disk is busy shares one fsync. Below `TMPDIR`: name a directory on the disk that
//! is to be measured.
//!
//! Then it writes two journals of about so many lines each, as a gateway and its receiver write them: a
//! grant of one camera that three people watch, its confirmation, its end, its signed list of
//! viewings and both sides' heads, all signed (P-256), over two months. Then it compares them with
//! the authorities given, so that every request, grant and list is verified. Nothing here asserts a time.
#![allow(missing_docs, clippy::print_stdout)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::certs::trial::Trial;
use fanal::clock::{Clock, Wall};
use fanal::format::chain::End;
use fanal::format::ids::{
    CameraId, CentreId, CommuneId, GrantId, Incident, ProfileWish, RequestId, Sha256,
};
use fanal::format::jws::Signer;
use fanal::format::statement::{
    GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, Operator, REQUEST_TYPE, RequestClaims,
    VIEWINGS_TYPE, Viewing, ViewingsClaims,
};
use fanal::journal::compare::{MEMORY_LIMIT, Options, compare};
use fanal::journal::entry::{Entry, GrantEntry};
use fanal::journal::store::Month;
use fanal::journal::verify::statements::Authorities;
use fanal::journal::writer::{self, Writer};
use fanal::reason::Reason;

const COMMUNE: &str = "berre-l-etang";
const CENTRE: &str = "corg-13";
const START: Wall = Wall::from_seconds(1_795_996_800);
/// How long everything is valid, and what the journals span.
const SPAN: Duration = Duration::from_secs(25 * 86_400);
/// Lines of one grant in the longer of the two journals.
const LINES_A_GRANT: u64 = 9;

fn main() -> anyhow::Result<()> {
    // Cargo gives `--bench` to every bench.
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let lines: u64 = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => 100_000,
        ["--lines", lines] => lines.parse().context("--lines wants a number")?,
        _ => bail!("--lines N is all that can be said"),
    };
    let directory =
        std::env::temp_dir().join(format!("fanal-bench-journal-{}", std::process::id()));
    let done = run(&directory, lines);
    let _ = std::fs::remove_dir_all(&directory);
    done
}

fn run(directory: &Path, lines: u64) -> anyhow::Result<()> {
    let trial = Trial::new(START)?;
    append(&trial, directory)?;
    let began = Instant::now();
    let written = Site::new(&trial, directory)?.write(lines / LINES_A_GRANT)?;
    println!(
        "written: {} and {} lines, {:.0} MB, in {:.1} s",
        written.0,
        written.1,
        written.2 as f64 / 1e6,
        began.elapsed().as_secs_f64()
    );
    let texts = [trial.link_authority(), trial.designation_authority()];
    for (name, authorities) in [
        (
            "with authorities",
            Some(Authorities::from_pem(texts).map_err(|cause| anyhow!(cause))?),
        ),
        ("without", None),
    ] {
        let options = Options {
            directories: vec![directory.join(COMMUNE), directory.join(CENTRE)],
            authorities,
            witnesses: Vec::new(),
            memory: MEMORY_LIMIT,
        };
        let (began, before) = (Instant::now(), cpu_seconds());
        let report = compare(&options, &AtomicU64::new(0)).map_err(|cause| anyhow!(cause))?;
        println!(
            "{name}: {:?} in {:.1} s, {:.1} s of them computing: {} statements, {} heads, {} grants, {} viewings; most memory so far {} MB",
            report.verdict,
            began.elapsed().as_secs_f64(),
            cpu_seconds() - before,
            report.checked.statements,
            report.checked.heads,
            report.checked.grants,
            report.checked.viewings,
            peak_memory() / 1_000_000,
        );
    }
    Ok(())
}

/// How long entries of the size of a head are appended.
const APPENDING: Duration = Duration::from_secs(3);

/// Entries per second, so many asked for at once.
fn append(trial: &Trial, directory: &Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for at_once in [1, 8, 64] {
        let state_dir = directory.join(format!("appended-{at_once}"));
        std::fs::create_dir_all(&state_dir)?;
        let signer = Arc::new(signer(&trial.machine(COMMUNE)?)?);
        let (writer, _) = Writer::open(writer::Options {
            state_dir,
            owner: COMMUNE.to_owned(),
            signer: Arc::clone(&signer),
            clock: Clock::system(),
        })?;
        let head = signer.sign(HEAD_TYPE, &"as long as a head's claims, about".repeat(6));
        let peer = CENTRE.to_owned();
        let entry = Entry::PeerHead { peer, head };
        let (mut took, seconds) = runtime.block_on(async {
            let began = Instant::now();
            let appending = (0..at_once).map(|_| async {
                let mut took = Vec::new();
                while began.elapsed() < APPENDING {
                    let asked = Instant::now();
                    writer.append(entry.clone()).await?;
                    took.push(asked.elapsed());
                }
                anyhow::Ok(took)
            });
            let took = futures_util::future::try_join_all(appending).await?;
            anyhow::Ok((took.concat(), began.elapsed().as_secs_f64()))
        })?;
        let commits = writer.progress().borrow().changes;
        runtime.block_on(writer.close());
        took.sort_unstable();
        let at =
            |part: usize| took[(took.len() * part / 100).min(took.len() - 1)].as_secs_f64() * 1e3;
        println!(
            "appended by {at_once} at once: {:.0} entries/s, {:.0} fsyncs/s; durable after {:.2} ms (99 of 100: {:.2} ms)",
            took.len() as f64 / seconds,
            commits as f64 / seconds,
            at(50),
            at(99),
        );
        if at_once == 1 {
            println!(
                "between a request and its answer lie 2 commits, one of each side: {:.2} ms; its first picture waits for one more: {:.2} ms",
                2.0 * at(50),
                3.0 * at(50),
            );
        }
    }
    Ok(())
}

fn signer(identity: &fanal::certs::Identity) -> anyhow::Result<Signer> {
    let made = Signer::from_pem(identity.key.expose(), &identity.certificate);
    made.map_err(|cause| anyhow!(cause))
}

/// What all threads of this process have computed, in user seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    let ticks = rest.split_whitespace().nth(11);
    // Linux counts hundredths on all its platforms.
    ticks
        .and_then(|ticks| ticks.parse::<f64>().ok())
        .unwrap_or(0.0)
        / 100.0
}

/// The most memory that this process had, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1_000
}

/// A journal that is being written.
struct Book {
    owner: &'static str,
    directory: PathBuf,
    file: Option<(Month, BufWriter<File>)>,
    end: End,
    bytes: u64,
}

impl Book {
    fn new(owner: &'static str, directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join(owner);
        std::fs::create_dir_all(&directory)?;
        Ok(Self {
            owner,
            directory,
            file: None,
            end: End::START,
            bytes: 0,
        })
    }

    fn add(&mut self, time: Wall, entry: &Entry) -> anyhow::Result<()> {
        let id = match self.end.seq {
            0 => format!(r#""journal_id":"{}","#, self.owner),
            _ => String::new(),
        };
        let text = serde_json::to_string(entry)?;
        let body = format!(
            r#"{{"v":1,{id}"salt":"{:032x}",{}"#,
            self.end.seq,
            &text[1..]
        );
        let header = self.end.next(time, body.as_bytes());
        let (seq, link) = (header.seq, header.link());
        self.end = End { seq, link };
        let month = Month::of(time);
        if self.file.as_ref().is_none_or(|(open, _)| *open < month) {
            let file = File::create(self.directory.join(month.file_name()))?;
            self.file = Some((month, BufWriter::new(file)));
        }
        let Some((_, file)) = &mut self.file else {
            bail!("no file")
        };
        let line = header.with_body(body.as_bytes());
        self.bytes += line.len() as u64 + 1;
        file.write_all(&line)?;
        Ok(file.write_all(b"\n")?)
    }

    fn head(&self, signer: &Signer, now: Wall) -> String {
        let claims = HeadClaims {
            iss: self.owner.to_owned(),
            journal: self.owner.to_owned(),
            seq: self.end.seq,
            link: self.end.link,
            iat: now.seconds(),
        };
        signer.sign(HEAD_TYPE, &claims)
    }
}

struct Site {
    commune: Signer,
    centre: Signer,
    operator: Signer,
    gateway: Book,
    receiver: Book,
}

impl Site {
    fn new(trial: &Trial, directory: &Path) -> anyhow::Result<Self> {
        let person = Person {
            number: "13-1".to_owned(),
            name: "Adjudant 13-1".to_owned(),
            unit: "CORG 13".to_owned(),
        };
        Ok(Self {
            commune: signer(&trial.machine(COMMUNE)?)?,
            centre: signer(&trial.machine(CENTRE)?)?,
            operator: signer(&trial.operator(&person, Validity::lasting(START, SPAN))?)?,
            gateway: Book::new(COMMUNE, directory)?,
            receiver: Book::new(CENTRE, directory)?,
        })
    }

    fn write(mut self, grants: u64) -> anyhow::Result<(u64, u64, u64)> {
        for side in [&mut self.gateway, &mut self.receiver] {
            let started = Entry::Started {
                by: side.owner.to_owned(),
                version: "bench".to_owned(),
                settings: Sha256::ZERO,
                certificate: String::new(),
            };
            side.add(START, &started)?;
        }
        let step = SPAN / u32::try_from(grants.max(1))?;
        for number in 0..grants {
            let at = START.plus(step * u32::try_from(number)?);
            self.grant(number, at).context("writing a grant")?;
        }
        Ok((
            self.gateway.end.seq,
            self.receiver.end.seq,
            self.gateway.bytes + self.receiver.bytes,
        ))
    }

    fn grant(&mut self, number: u64, now: Wall) -> anyhow::Result<()> {
        let uuid = |high: u128| uuid::Uuid::from_u128(high << 64 | u128::from(number));
        let (commune, centre) = (CommuneId::new(COMMUNE)?, CentreId::new(CENTRE)?);
        let camera = CameraId::new("quai-nord")?;
        let claims = RequestClaims {
            jti: RequestId(uuid(0x019a_0000_0000_7000)),
            iat: now.seconds(),
            aud: commune.clone(),
            centre: centre.clone(),
            cameras: vec![camera.clone()],
            grounds: "pursuit".to_owned(),
            incident: Incident::new(format!("COG-13/{number}"))?,
            duration: 600,
            profile: ProfileWish::Auto,
            present: Vec::new(),
            renews: None,
        };
        let grant = GrantId(uuid(1));
        let here = GrantEntry {
            grant,
            request: self.operator.sign(REQUEST_TYPE, &claims),
            jti: claims.jti,
            proof: None,
            commune: commune.clone(),
            centre: centre.clone(),
            operator: Operator {
                name: "Adjudant 13-1".to_owned(),
                number: "13-1".to_owned(),
                unit: "CORG 13".to_owned(),
            },
            grounds: claims.grounds,
            incident: claims.incident,
            recipients: vec!["CORG 13".to_owned()],
            granted: claims.cameras,
            refused: Vec::new(),
            renewal: false,
            first_start: now.seconds(),
            start: now.seconds(),
            expires: now.seconds() + 600,
            approved_by: None,
            agreement: "Convention".to_owned(),
            settings: Sha256::ZERO,
            peer_head: Some(self.receiver.head(&self.centre, now)),
            receiver: None,
        };
        self.gateway
            .add(now, &Entry::Grant(Box::new(here.clone())))?;
        let head = self.gateway.head(&self.commune, now);
        let proof = GrantClaims {
            iss: commune.clone(),
            aud: centre.clone(),
            grant,
            request: Sha256::of(here.request.as_bytes()),
            granted: here.granted.clone(),
            refused: Vec::new(),
            start: here.start,
            expires: here.expires,
            head: head.clone(),
        };
        let there = GrantEntry {
            proof: Some(self.commune.sign(GRANT_TYPE, &proof)),
            peer_head: Some(head),
            receiver: None,
            ..here
        };
        self.receiver.add(now, &Entry::Grant(Box::new(there)))?;
        let head = self.receiver.head(&self.centre, now);
        let confirmed = Entry::Confirmed {
            grant,
            centre: centre.clone(),
            head,
        };
        self.gateway.add(now, &confirmed)?;
        let end = now.plus(Duration::from_secs(60));
        let mut viewings = Vec::new();
        for who in ["13-1", "13-2", "13-3"] {
            let started = Entry::ViewingStarted {
                grant,
                commune: commune.clone(),
                camera: camera.clone(),
                who: who.to_owned(),
                how: "live".to_owned(),
                from: "127.0.0.1".to_owned(),
                holders: Vec::new(),
            };
            self.receiver.add(now, &started)?;
            let ended = Entry::ViewingEnded {
                start: self.receiver.end.seq,
                grant,
                reason: None,
                at: end.rfc3339(),
                taken_over_by: None,
            };
            self.receiver.add(end, &ended)?;
            viewings.push(Viewing {
                camera: camera.clone(),
                who: who.to_owned(),
                kind: "live".to_owned(),
                from: now.rfc3339(),
                to: end.rfc3339(),
                holders: Vec::new(),
                count: None,
                seconds: None,
            });
        }
        let ended = Entry::Ended {
            grant,
            reason: Reason::GrantReleased,
            at: end.rfc3339(),
            by: Some("13-1".to_owned()),
        };
        self.receiver.add(end, &ended)?;
        self.gateway.add(end, &ended)?;
        let list = ViewingsClaims {
            iss: centre,
            aud: commune,
            grant,
            iat: end.seconds(),
            journal: None,
            part: Some(0),
            parts: Some(1),
            total: Some(viewings.len() as u64),
            viewings: viewings.clone(),
            received: Vec::new(),
            counted_since: None,
        };
        let statement = self.centre.sign(VIEWINGS_TYPE, &list);
        let list = Entry::Viewings {
            grant,
            part: Some(0),
            parts: Some(1),
            statement,
            viewings,
            received: Vec::new(),
        };
        self.gateway.add(end, &list)?;
        let theirs = Entry::PeerHead {
            peer: CENTRE.to_owned(),
            head: self.receiver.head(&self.centre, end),
        };
        let ours = Entry::PeerHead {
            peer: COMMUNE.to_owned(),
            head: self.gateway.head(&self.commune, end),
        };
        self.gateway.add(end, &theirs)?;
        self.receiver.add(end, &ours)
    }
}
