//! `fanal reload` with real daemons: its exit status and its words are the daemon's own.

use std::fmt::Display;
use std::process::{Output, Stdio};
use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::site::{CENTRE, COMMUNE, GatewayFile, Place, ReceiverFile};

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// The binary, without what a service manager sets.
fn fanal() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanal"));
    command
        .env_remove("RUST_LOG")
        .env_remove("CREDENTIALS_DIRECTORY")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// A running daemon, its metrics at the port that it chose, which its file names by now.
struct Running {
    child: Child,
    file: String,
    name: &'static str,
}

impl Running {
    async fn start(place: &Place, name: &'static str, text: impl Display) -> Self {
        let text = text.to_string();
        let file = place.write(&format!("{name}.toml"), &text);
        let mut child = fanal()
            .arg(name)
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let metrics = async {
            loop {
                let line = log.next_line().await.unwrap();
                let line = line.unwrap_or_else(|| panic!("{name} ended"));
                let found = line.split("metrics=").nth(1);
                if let Some(address) = found.and_then(|rest| rest.split(' ').next()) {
                    return address.to_owned();
                }
            }
        };
        let metrics = tokio::time::timeout(PATIENCE, metrics).await.unwrap();
        // It stops when nobody reads its log.
        tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let wanted = "metrics = \"127.0.0.1:0\"";
        assert!(text.contains(wanted), "{text}");
        let text = text.replace(wanted, &format!("metrics = \"{metrics}\""));
        place.write(&format!("{name}.toml"), text);
        Self {
            child,
            file: file.display().to_string(),
            name,
        }
    }

    fn pid(&self) -> String {
        self.child.id().unwrap().to_string()
    }

    fn change(&self, from: &str, to: &str) {
        let text = std::fs::read_to_string(&self.file).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(&self.file, text.replace(from, to)).unwrap();
    }

    async fn reload(&self, more: &[&str]) -> (i32, String) {
        let asked = fanal()
            .args(["reload", "--config", &self.file])
            .args(more)
            .output();
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap()
            .unwrap();
        let said = String::from_utf8([stdout, stderr].concat()).unwrap();
        (status.code().unwrap(), said)
    }

    /// What the daemon takes, what it alone can refuse, and what it is not even shown.
    async fn tells_taken_from_refused(&self, id: &str, state: &str) {
        let (name, pid) = (self.name, self.pid());
        let (status, said) = self.reload(&[]).await;
        let taken = format!("the {name} (process {pid}) took the settings of ");
        assert!(status == 0 && said.starts_with(&taken), "{status} {said}");

        let moved = format!("state_dir = \"{state}-2\"");
        let stays = format!("state_dir = \"{state}\"");
        self.change(&stays, &moved);
        let (status, said) = self.reload(&["--pid", &pid]).await;
        let refused = format!("the {name} (process {pid}) did not take the settings");
        assert!(status == 1 && said.contains(&refused), "{status} {said}");
        assert!(said.contains("state_dir"), "{said}");
        self.change(&moved, &stays);

        self.change(&format!("\"{id}\""), "\"Not An Id\"");
        let (status, said) = self.reload(&["--pid", &pid]).await;
        assert!(
            status == 2 && said.contains("the old settings go on"),
            "{status} {said}"
        );
        assert!(said.contains(":1:"), "{said}");
        self.change("\"Not An Id\"", &format!("\"{id}\""));

        let (status, said) = self.reload(&["--pid", &pid]).await;
        assert!(status == 0 && said.starts_with(&taken), "{status} {said}");

        // A process that is no fanal's is not signalled.
        let own = std::process::id().to_string();
        let (status, said) = self.reload(&["--pid", &own]).await;
        assert!(
            status == 1 && said.contains("is no fanal on this machine"),
            "{said}"
        );
    }
}

fn place() -> Place {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    Place::of_trial(&trial, &[COMMUNE, CENTRE])
}

#[tokio::test]
async fn a_gateway_says_whether_it_took_its_settings() {
    let place = place();
    let mut file = GatewayFile::new(([127, 0, 0, 1], 9).into());
    file.camera("quai", "rtsp://127.0.0.1/quai");
    let gateway = Running::start(&place, "gateway", file).await;
    gateway.tells_taken_from_refused(COMMUNE, "gateway").await;

    // Metrics move with the reload: asked at the new address, of the same process.
    gateway.change("metrics = \"127.0.0.1:", "metrics = \"127.0.0.2:");
    let (status, said) = gateway.reload(&[]).await;
    assert!(
        status == 1 && said.contains("give --pid"),
        "{status} {said}"
    );
    let (status, said) = gateway.reload(&["--pid", &gateway.pid()]).await;
    assert_eq!(status, 0, "{said}");
}

#[tokio::test]
async fn a_receiver_says_whether_it_took_its_settings() {
    let place = place();
    let receiver = Running::start(&place, "receiver", ReceiverFile::new()).await;
    receiver.tells_taken_from_refused(CENTRE, "receiver").await;
}
