//! The zoo: simulated cameras of several kinds, half of them good.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;

use crate::parts::process::{Directory, Process, descriptors};
use crate::parts::site::{Urls, write};

/// Bits per second of an H.264 camera: what is watched is memory, not bandwidth.
const BITRATE: &str = "400 kbit/s";
/// User and password of those that ask for them.
const CREDENTIALS: (&str, &str) = ("fanal", "bench");
/// One faulty camera in so many is none of the simulator's.
const HOME_MADE: usize = 4;
/// How long a camera that hangs holds a connection.
const HANG: Duration = Duration::from_secs(20);

/// A good kind: its name, and its arguments.
const GOOD: [(&str, &[&str]); 4] = [
    ("h264", &["--bitrate", BITRATE]),
    ("live", &["--bitrate", BITRATE, "--live"]),
    ("mjpeg", &["--codec", "mjpeg", "--bitrate", "3 Mbit/s"]),
    ("digest", &["--bitrate", BITRATE]),
];
/// Of which so few, in tenths of all good ones: each costs many times the others.
const MJPEG_TENTHS: usize = 1;

/// All cameras.
pub(crate) struct Zoo {
    pub(crate) urls: Urls,
    simulators: Vec<(Process, usize)>,
    /// They end with the process.
    _listeners: Vec<JoinHandle<()>>,
    directory: Directory,
}

impl Zoo {
    /// `count` cameras; the faults of the simulator that are shown, where it has any.
    pub(crate) fn start(count: usize, faults: Option<&[String]>) -> anyhow::Result<Self> {
        let mut zoo = Self {
            urls: Urls::new(),
            simulators: Vec::new(),
            _listeners: Vec::new(),
            directory: Directory::new()?,
        };
        let good = count / 2;
        let mjpeg = good * MJPEG_TENTHS / 10;
        let each = (good - mjpeg) / (GOOD.len() - 1);
        for (kind, args) in GOOD {
            let cameras = match kind {
                "mjpeg" => mjpeg,
                "digest" => good - mjpeg - (GOOD.len() - 2) * each,
                _ => each,
            };
            zoo.simulate(kind, cameras, args)?;
        }
        let faults = match faults {
            Some(faults) => faults.to_vec(),
            None => listed(),
        };
        let faulty = count - good;
        let simulated = if faults.is_empty() {
            println!("`fanal simulate` lists no faulty cameras: the bench's own alone");
            0
        } else {
            faulty - faulty / HOME_MADE
        };
        zoo.simulate_faults(simulated, &faults)?;
        zoo.own(faulty - simulated)?;
        Ok(zoo)
    }

    /// Good cameras of a kind.
    fn simulate(&mut self, kind: &str, cameras: usize, args: &[&str]) -> anyhow::Result<()> {
        if cameras == 0 {
            return Ok(());
        }
        let number = cameras.to_string();
        let password = write(self.directory.path(), "password", CREDENTIALS.1)?;
        let mut all = vec!["--cameras", &number];
        all.extend(args);
        let asks = kind == "digest";
        if asks {
            all.extend(["--username", CREDENTIALS.0, "--password-file", &password]);
        }
        for (index, (_, url)) in self.run(kind, &all, cameras)?.into_iter().enumerate() {
            let url = if asks { with_password(&url) } else { url };
            self.urls.push((format!("{kind}-{index:03}"), url));
        }
        Ok(())
    }

    /// One simulator with a camera of each fault, evenly spread over the list where there
    /// are more faults than places, and several times where there are fewer. All want a
    /// password: some have faults of that.
    fn simulate_faults(&mut self, cameras: usize, faults: &[String]) -> anyhow::Result<()> {
        if cameras == 0 {
            return Ok(());
        }
        let step = (faults.len() as f64 / cameras as f64).max(1.0);
        let at = (0..cameras).map(|number| (number as f64 * step) as usize);
        let shown: Vec<&String> = at.map_while(|at| faults.get(at)).collect();
        let password = write(self.directory.path(), "password", CREDENTIALS.1)?;
        let mut args = vec!["--username", CREDENTIALS.0, "--password-file", &password];
        for fault in &shown {
            args.extend(["--fault", fault.as_str()]);
        }
        let urls = self.run("faults", &args, shown.len())?;
        for (index, (name, url)) in urls.iter().cycle().take(cameras).enumerate() {
            let name: String = name.chars().take(50).collect();
            self.urls
                .push((format!("{name}-{index:03}"), with_password(url)));
        }
        Ok(())
    }

    fn run(&mut self, name: &str, args: &[&str], cameras: usize) -> anyhow::Result<Urls> {
        let mut all = vec!["--log", "fanal=info", "simulate", "--listen", "127.0.0.1:0"];
        all.extend(args);
        let log = self.directory.path().join(format!("{name}.log"));
        let mut process = Process::fanal(&all, &log)?;
        process.line()?;
        let mut urls = Urls::new();
        for _ in 0..cameras {
            let line = process.line()?;
            let mut fields = line.split(',');
            let name = fields.next().context("no name")?.to_owned();
            urls.push((name, fields.nth(1).context("no URL")?.to_owned()));
        }
        let idle = descriptors(process.id())?;
        self.simulators.push((process, idle));
        Ok(urls)
    }

    /// Cameras that refuse, hang up, are silent, are not there or want another password.
    fn own(&mut self, cameras: usize) -> anyhow::Result<()> {
        let good = self
            .urls
            .iter()
            .find(|(name, _)| name.starts_with("digest"));
        let good = good.map(|(_, url)| url.clone()).unwrap_or_default();
        let (hangs_up, silent) = (self.listen(false)?, self.listen(true)?);
        // Bound and closed: nobody listens there.
        let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        for index in 0..cameras {
            let (kind, url) = match index % 5 {
                0 => ("closed", format!("rtsp://{closed}/{index}")),
                1 => ("hangs-up", format!("rtsp://{hangs_up}/{index}")),
                2 => ("silent", format!("rtsp://{silent}/{index}")),
                3 => ("not-found", format!("{good}-none")),
                _ => ("password", good.replacen(CREDENTIALS.1, "wrong", 1)),
            };
            self.urls.push((format!("{kind}-{index:03}"), url));
        }
        Ok(())
    }

    /// A listener that says nothing: it closes at once, or after a while.
    fn listen(&mut self, waits: bool) -> anyhow::Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        self._listeners.push(std::thread::spawn(move || {
            let mut held = std::collections::VecDeque::new();
            for stream in listener.incoming().flatten() {
                if waits {
                    let now = std::time::Instant::now();
                    held.retain(|(_, since): &(_, std::time::Instant)| since.elapsed() < HANG);
                    held.push_back((stream, now));
                }
            }
        }));
        Ok(address)
    }

    /// Connections that the simulators hold now.
    pub(crate) fn connections(&self) -> anyhow::Result<usize> {
        let mut open = 0;
        for (process, idle) in &self.simulators {
            open += descriptors(process.id())?.saturating_sub(*idle);
        }
        Ok(open)
    }
}

/// The URL with user and password in it.
fn with_password(url: &str) -> String {
    let (user, password) = CREDENTIALS;
    url.replacen("rtsp://", &format!("rtsp://{user}:{password}@"), 1)
}

/// Names of the simulator's faulty cameras; none where it has no such option.
fn listed() -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanal"));
    command.args(["simulate", "--fault", "list"]);
    let Ok(output) = command.output() else {
        return Vec::new();
    };
    if !output.status.success() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&output.stdout);
    // Two spaces and a name; headings have none, explanations more.
    let names = text.lines().filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty()).then(|| name.to_owned())
    });
    names.collect()
}
