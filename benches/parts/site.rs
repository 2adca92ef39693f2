//! A commune and a centre: certificates, settings, the two daemons.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use fanal::certs::Identity;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use fanal::commands::client::ReceiverArgs;
use fanal::format::designation::CAMERAS_LIMIT;

pub(crate) use super::files::{CENTRE, COMMUNE};
use super::files::{GatewayFile, ReceiverFile, agreement};
use super::metrics::{self, Scrape};
use super::process::{Directory, Process};

/// How long all cameras have to be live.
const LIVE: Duration = Duration::from_secs(60);
/// How long a daemon has to be ready.
const READY: Duration = Duration::from_secs(20);

/// Names and URLs of cameras.
pub(crate) type Urls = Vec<(String, String)>;

pub(crate) struct Simulator {
    pub(crate) process: Process,
    pub(crate) urls: Urls,
    directory: Directory,
}

impl Simulator {
    /// Ends it; gives the most sessions that were set up within 100 ms.
    pub(crate) fn most_starts(&mut self) -> anyhow::Result<u64> {
        self.process.stop()?;
        let log = std::fs::read_to_string(self.directory.path().join("simulate.log"))?;
        let most = log
            .lines()
            .find_map(|line| line.split_once("most_in_100_ms="));
        let most = most.and_then(|(_, rest)| rest.split_whitespace().next());
        Ok(most.context("the simulator does not say")?.parse()?)
    }
}

/// With what a session at a simulated camera begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// With a key frame of its own.
    KeyFrame,
    /// With whatever comes next, the same for all sessions, so that two can be compared.
    Live,
}

/// User and password of cameras that ask for them.
const CREDENTIALS: (&str, &str) = ("fanal", "bench");

/// Cameras; with `credentials`, they ask for a password (Digest), and their URLs carry it.
pub(crate) fn simulator(
    cameras: usize,
    start: Start,
    credentials: bool,
) -> anyhow::Result<Simulator> {
    let directory = Directory::new()?;
    let cameras_wanted = cameras.to_string();
    let mut args = vec![
        "--log",
        "fanal=info",
        "simulate",
        "--cameras",
        &cameras_wanted,
        "--listen",
        "127.0.0.1:0",
    ];
    let password = write(directory.path(), "password", CREDENTIALS.1)?;
    if credentials {
        args.extend(["--username", CREDENTIALS.0, "--password-file", &password]);
    }
    if start == Start::Live {
        args.push("--live");
    }
    let mut process = Process::fanal(&args, &directory.path().join("simulate.log"))?;
    process.line()?;
    let mut urls = Vec::new();
    for _ in 0..cameras {
        let line = process.line()?;
        let mut fields = line.split(',');
        let name = fields.next().context("no name")?.to_owned();
        let mut url = fields.nth(1).context("no URL")?.to_owned();
        if credentials {
            let (user, password) = CREDENTIALS;
            url = url.replacen("rtsp://", &format!("rtsp://{user}:{password}@"), 1);
        }
        urls.push((name, url));
    }
    Ok(Simulator {
        process,
        urls,
        directory,
    })
}

/// Certificates and both daemons' settings, in a directory.
pub(crate) struct Settings {
    directory: Directory,
    trial: Trial,
    link: SocketAddr,
    metrics: [SocketAddr; 2],
    api: SocketAddr,
}

pub(crate) struct Site {
    pub(crate) gateway: Process,
    pub(crate) receiver: Process,
    settings: Settings,
}

/// A port that nobody uses now.
fn tcp_port() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Settings {
    /// Of one commune with these cameras, and its centre.
    pub(crate) fn write(urls: &Urls) -> anyhow::Result<Self> {
        Self::with_others(urls, &[])
    }

    /// The same, the centre knowing further communes.
    pub(crate) fn with_others(urls: &Urls, others: &[String]) -> anyhow::Result<Self> {
        Self::with(urls, others, false)
    }

    /// A commune that pulls all its cameras though nobody watches.
    pub(crate) fn warm(urls: &Urls) -> anyhow::Result<Self> {
        Self::with(urls, &[], true)
    }

    fn with(urls: &Urls, others: &[String], warm: bool) -> anyhow::Result<Self> {
        let directory = Directory::new()?;
        let settings = Self {
            trial: certificates(directory.path())?,
            link: UdpSocket::bind("127.0.0.1:0")?.local_addr()?,
            metrics: [tcp_port()?, tcp_port()?],
            api: tcp_port()?,
            directory,
        };
        let cameras = urls.iter().fold(
            "id,name,main,mask_verified,warm\n".to_owned(),
            |list, (name, url)| list + &format!("{name},{name},{url},true,{warm}\n"),
        );
        write(settings.directory.path(), "cameras.csv", &cameras)?;
        std::fs::create_dir_all(settings.file("receiver"))?;
        settings.write_receiver(others)?;
        let place = settings.directory.path();
        settings.write_gateway(COMMUNE, place, "gateway", settings.metrics[0])?;
        Ok(settings)
    }

    fn write_receiver(&self, others: &[String]) -> anyhow::Result<()> {
        let mut file = ReceiverFile::new();
        file.top
            .text("state_dir", self.file("receiver").display())
            .text("metrics", self.metrics[1]);
        file.listening(self.link, self.api, tcp_port()?);
        file.communes.extend_from_slice(others);
        write(self.directory.path(), "receiver.toml", &file.to_string())?;
        Ok(())
    }

    /// A commune's certificate and settings, NAME.toml and its state in `place`,
    /// over the cameras in `place`'s `cameras.csv`.
    pub(crate) fn write_gateway(
        &self,
        commune: &str,
        place: &Path,
        name: &str,
        metrics: SocketAddr,
    ) -> anyhow::Result<PathBuf> {
        std::fs::create_dir_all(place.join(name))?;
        identity(place, commune, &self.trial.machine(commune)?)?;
        let state = place.join(name).display().to_string();
        let mut settings = GatewayFile::of(commune);
        settings
            .top
            .text("state_dir", &state)
            .text("metrics", metrics)
            .text("socket", format!("{state}.sock"))
            .text("cameras_file", "cameras.csv");
        settings
            .tls
            .text("authority", self.file("link-ca.pem").display());
        let mut agreement = agreement(CENTRE, self.link);
        agreement
            .text(
                "designation_authority",
                self.file("designation-ca.pem").display(),
            )
            .set("grounds", r#"["drill"]"#)
            .set("max_relays", 2000);
        settings.agreements.push(agreement);
        let file = format!("{name}.toml");
        write(place, &file, &settings.to_string())?;
        Ok(place.join(file))
    }

    /// A further centre that the commune's gateway has an agreement with: its certificate, and
    /// its settings, CENTRE.toml, for a receiver of the bench's own.
    pub(crate) fn further_centre(&self, centre: &str) -> anyhow::Result<()> {
        let place = self.directory.path();
        identity(place, centre, &self.trial.machine(centre)?)?;
        let link = UdpSocket::bind("127.0.0.1:0")?.local_addr()?;
        let mut file = ReceiverFile::of(centre);
        std::fs::create_dir_all(self.file(centre))?;
        file.top.text("state_dir", self.file(centre).display());
        file.listening(link, tcp_port()?, tcp_port()?);
        write(place, &format!("{centre}.toml"), &file.to_string())?;
        let mut agreement = agreement(centre, link);
        agreement
            .text("reference", format!("Convention {centre}"))
            .set("grounds", r#"["drill"]"#)
            .set("snapshots", true)
            .set("max_relays", 2000);
        let gateway = std::fs::read_to_string(self.file("gateway.toml"))?;
        write(place, "gateway.toml", &(gateway + &agreement.to_string()))?;
        Ok(())
    }

    /// An operator besides the one who requests, `NAME.pem` and `NAME.key`.
    pub(crate) fn further_operator(&self, name: &str, number: &str) -> anyhow::Result<()> {
        let now = Clock::system().now().wall;
        let operator = self.trial.simple_operator(number, "CORG 90", now)?;
        identity(self.directory.path(), name, &operator)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the receiver listens for links.
    pub(crate) const fn link(&self) -> SocketAddr {
        self.link
    }

    /// Where the gateway's metrics are.
    pub(crate) const fn gateway_metrics(&self) -> SocketAddr {
        self.metrics[0]
    }

    /// Where the receiver's metrics are.
    pub(crate) const fn receiver_metrics(&self) -> SocketAddr {
        self.metrics[1]
    }

    /// Starts `fanal NAME` over NAME.toml, its log in NAME.log.
    pub(crate) fn daemon(&self, name: &str) -> anyhow::Result<Process> {
        let file = self.file(&format!("{name}.toml")).display().to_string();
        Process::fanal(
            &[name, "--config", &file],
            &self.file(&format!("{name}.log")),
        )
    }
}

impl Site {
    /// Both daemons, linked, over these cameras.
    pub(crate) fn start(urls: &Urls) -> anyhow::Result<Self> {
        Self::run(Settings::write(urls)?)
    }

    /// Both daemons, linked, with these settings.
    pub(crate) fn run(settings: Settings) -> anyhow::Result<Self> {
        let receiver = settings.daemon("receiver")?;
        let gateway = settings.daemon("gateway")?;
        let site = Self {
            gateway,
            receiver,
            settings,
        };
        site.wait_ready()?;
        Ok(site)
    }

    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Starts the receiver again; the one before must have ended.
    pub(crate) fn start_receiver(&mut self) -> anyhow::Result<()> {
        self.receiver = self.settings.daemon("receiver")?;
        Ok(())
    }

    /// The operator's way to the receiver.
    pub(crate) fn operator(&self) -> anyhow::Result<ReceiverArgs> {
        let url = format!("http://{}", self.settings.api).parse()?;
        let (key, certificate) = (
            self.settings.file("operator.key"),
            self.settings.file("operator.pem"),
        );
        Ok(ReceiverArgs::new(url, key, certificate))
    }

    fn wait_ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY;
        for address in self.settings.metrics {
            while !matches!(metrics::get(address, "/ready"), Ok((200, _))) {
                if Instant::now() > until {
                    bail!(
                        "not ready: look at the logs in {}",
                        self.directory().display()
                    );
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// Where requests go.
    pub(crate) const fn api(&self) -> SocketAddr {
        self.settings.api
    }

    pub(crate) fn directory(&self) -> &Path {
        self.settings.directory.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> anyhow::Result<String> {
        write(self.directory(), name, text)
    }

    /// The operator's requests for all these cameras, as few as their limit allows;
    /// gives names and RTSP URLs.
    pub(crate) fn request(&self, urls: &[(String, String)]) -> anyhow::Result<Urls> {
        let mut granted = Urls::new();
        for part in urls.chunks(CAMERAS_LIMIT) {
            granted.extend(self.request_some(part)?);
        }
        Ok(granted)
    }

    fn request_some(&self, urls: &[(String, String)]) -> anyhow::Result<Urls> {
        let at = |name: &str| self.directory().join(name).display().to_string();
        let receiver = format!("http://{}", self.settings.api);
        let (key, cert) = (at("operator.key"), at("operator.pem"));
        let mut args = vec![
            "request",
            "--receiver",
            &receiver,
            "--key",
            &key,
            "--cert",
            &cert,
        ];
        args.extend([
            "--commune",
            COMMUNE,
            "--incident",
            "BENCH-1",
            "--grounds",
            "drill",
        ]);
        args.extend(["--for", "30m"]);
        for (name, _) in urls {
            args.extend(["--camera", name]);
        }
        let answer = Process::fanal(&args, &self.directory().join("request.log"))?.end()?;
        let grant: serde_json::Value = serde_json::from_str(&answer)?;
        let granted = grant["granted"].as_array().context("nothing granted")?;
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(granted
            .iter()
            .map(|camera| (text(&camera["camera"]), text(&camera["rtsp"])))
            .collect())
    }

    /// Waits until so many cameras have given a picture to the receiver; says how long.
    pub(crate) fn wait_live(&self, cameras: usize) -> anyhow::Result<Duration> {
        let since = Instant::now();
        loop {
            let [_, receiver] = self.scrape()?;
            if receiver.count("fanal_receiver_frames_total") >= cameras {
                return Ok(since.elapsed());
            }
            if since.elapsed() > LIVE {
                bail!(
                    "cameras not live: look at the logs in {}",
                    self.directory().display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Both daemons' metrics: gateway, receiver.
    pub(crate) fn scrape(&self) -> anyhow::Result<[Scrape; 2]> {
        Ok([
            Scrape::of(self.settings.metrics[0])?,
            Scrape::of(self.settings.metrics[1])?,
        ])
    }
}

pub(crate) fn write(directory: &Path, name: &str, text: &str) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    std::fs::write(&path, text)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(path.display().to_string())
}

/// `NAME.pem` and `NAME.key`.
fn identity(directory: &Path, name: &str, identity: &Identity) -> anyhow::Result<()> {
    write(directory, &format!("{name}.pem"), &identity.certificate)?;
    write(directory, &format!("{name}.key"), identity.key.expose())?;
    Ok(())
}

/// Authorities, the centre and an operator.
fn certificates(directory: &Path) -> anyhow::Result<Trial> {
    let now = Clock::system().now().wall;
    let trial = Trial::new(now)?;
    write(directory, "link-ca.pem", trial.link_authority())?;
    write(
        directory,
        "designation-ca.pem",
        trial.designation_authority(),
    )?;
    let operator = trial.simple_operator("123456", "CORG 13", now)?;
    identity(directory, CENTRE, &trial.machine(CENTRE)?)?;
    identity(directory, "operator", &operator)?;
    Ok(trial)
}
