//! A commune and a centre on disk: a directory that goes with its test, the certificates of
//! a trial, both daemons' settings. One builder for tests and benches, which change what
//! they are about.

#![allow(clippy::unwrap_used)] // Where a trial can't be set up, its test or bench fails.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fanal::certs::Identity;
use fanal::certs::trial::Trial;
use fanal::clock::Wall;
use fanal::format::ids::{CameraId, CentreId, CommuneId, Incident, ProfileWish, RequestId};
use fanal::format::jws::Signer;
use fanal::format::statement::RequestClaims;
use serde_json::Value;

/// The commune of most sites.
pub(crate) const COMMUNE: &str = "berre-l-etang";
/// Their centre.
pub(crate) const CENTRE: &str = "corg-13";

/// A directory of its own, removed at the end.
pub(crate) struct Place(PathBuf);

impl Place {
    /// Below the system's directory for temporary files.
    pub(crate) fn new() -> Self {
        Self::below(&std::env::temp_dir())
    }

    /// Below this one.
    pub(crate) fn below(parent: &Path) -> Self {
        let path = parent.join(format!("fanal-test-{}", uuid::Uuid::now_v7().simple()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// A trial's authorities and lists, and the identities of these machines.
    pub(crate) fn of_trial(trial: &Trial, machines: &[&str]) -> Self {
        let place = Self::new();
        place.write("link-ca.pem", trial.link_authority());
        place.write("link.crl.pem", trial.link_list());
        place.write("designation-ca.pem", trial.designation_authority());
        place.write("designation.crl.pem", trial.designation_list());
        for id in machines {
            place.identity(id, &trial.machine(id).unwrap());
        }
        place
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The same as text, for a command line.
    pub(crate) fn at(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A file for its owner alone, as keys must be; its path.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// `NAME.pem` and `NAME.key`.
    pub(crate) fn identity(&self, name: &str, identity: &Identity) {
        self.write(&format!("{name}.pem"), &identity.certificate);
        self.write(&format!("{name}.key"), identity.key.expose());
    }

    /// Who signs with `NAME.key`.
    pub(crate) fn signer(&self, name: &str) -> Signer {
        let read = |end: &str| std::fs::read_to_string(self.path(&format!("{name}.{end}")));
        Signer::from_pem(&read("key").unwrap(), &read("pem").unwrap()).unwrap()
    }

    /// Bodies of the journal below this state directory, oldest first. The last line may be
    /// on its way.
    pub(crate) fn journal(&self, state: &str) -> Vec<Value> {
        let files = std::fs::read_dir(self.path(state).join("journal")).unwrap();
        let mut files: Vec<PathBuf> = files
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|end| end == "jsonl"))
            .collect();
        files.sort();
        let texts = files
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        let text: String = texts.collect();
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let bodies = text[..whole].lines().map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            line["body"].take()
        });
        bodies.collect()
    }

    /// Those of this kind.
    pub(crate) fn entries(&self, state: &str, kind: &str) -> Vec<Value> {
        let mut entries = self.journal(state);
        entries.retain(|body| body["kind"] == kind);
        entries
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a request says that asks [`CENTRE`]'s commune for these cameras, now, for ten minutes.
pub(crate) fn claims(now: Wall, cameras: &[&str]) -> RequestClaims {
    let cameras = cameras.iter().map(|id| CameraId::new(*id).unwrap());
    RequestClaims {
        jti: RequestId(uuid::Uuid::now_v7()),
        iat: now.seconds(),
        aud: CommuneId::new(COMMUNE).unwrap(),
        centre: CentreId::new(CENTRE).unwrap(),
        cameras: cameras.collect(),
        grounds: "assault".to_owned(),
        incident: Incident::new("2026/42").unwrap(),
        duration: 600,
        profile: ProfileWish::Auto,
        present: Vec::new(),
        renews: None,
    }
}

/// One table of a settings file: each key once, as TOML wants it.
#[derive(Clone, Default)]
pub(crate) struct Table {
    header: String,
    keys: Vec<(String, String)>,
    /// Lines that are no key and value of this table, behind it.
    more: String,
}

impl Table {
    fn new(header: &str) -> Self {
        Self {
            header: header.to_owned(),
            ..Self::default()
        }
    }

    /// Sets a key to a value as TOML writes it.
    pub(crate) fn set(&mut self, key: &str, value: impl Display) -> &mut Self {
        let value = value.to_string();
        match self.keys.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => *known = value,
            None => self.keys.push((key.to_owned(), value)),
        }
        self
    }

    /// Sets a key to a text.
    pub(crate) fn text(&mut self, key: &str, text: impl Display) -> &mut Self {
        // A TOML basic string has JSON's escapes.
        self.set(key, Value::from(text.to_string()))
    }

    /// Leaves a key out.
    pub(crate) fn unset(&mut self, key: &str) -> &mut Self {
        self.keys.retain(|(known, _)| known != key);
        self
    }

    /// Writes these lines behind the keys.
    pub(crate) fn lines(&mut self, lines: &str) -> &mut Self {
        lines.clone_into(&mut self.more);
        self
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.header.is_empty() {
            writeln!(f, "{}", self.header)?;
        }
        for (key, value) in &self.keys {
            writeln!(f, "{key} = {value}")?;
        }
        f.write_str(&self.more)?;
        if !self.more.is_empty() && !self.more.ends_with('\n') {
            writeln!(f)?;
        }
        Ok(())
    }
}

fn tls(id: &str) -> Table {
    let mut table = Table::new("[tls]");
    table
        .text("certificate", format!("{id}.pem"))
        .text("key", format!("{id}.key"))
        .text("authority", "link-ca.pem");
    table
}

/// A `gateway.toml`.
#[derive(Clone)]
pub(crate) struct GatewayFile {
    pub(crate) top: Table,
    pub(crate) tls: Table,
    pub(crate) agreements: Vec<Table>,
    pub(crate) cameras: Vec<Table>,
    /// More tables, at its end.
    pub(crate) more: String,
}

impl GatewayFile {
    /// Of [`COMMUNE`], with its agreement with [`CENTRE`] at this address; its state is in
    /// `gateway/`.
    pub(crate) fn new(centre: SocketAddr) -> Self {
        let mut file = Self::of(COMMUNE);
        file.agreements = vec![agreement(CENTRE, centre)];
        file
    }

    /// Of this commune, without agreement.
    pub(crate) fn of(commune: &str) -> Self {
        let mut top = Table::default();
        top.text("commune", commune)
            .text("name", "Berre-l'Étang")
            .text("state_dir", "gateway")
            .text("metrics", "127.0.0.1:0")
            .text("socket", "gateway.sock");
        Self {
            top,
            tls: tls(commune),
            agreements: Vec::new(),
            cameras: Vec::new(),
            more: String::new(),
        }
    }

    /// The first agreement.
    pub(crate) fn agreement(&mut self) -> &mut Table {
        &mut self.agreements[0]
    }

    /// One camera more, its mask verified.
    pub(crate) fn camera(&mut self, id: &str, main: impl Display) -> &mut Table {
        let mut camera = Table::new("[[camera]]");
        camera
            .text("id", id)
            .text("name", id)
            .text("main", main)
            .set("mask_verified", true);
        self.cameras.push(camera);
        self.cameras.last_mut().unwrap()
    }
}

impl Display for GatewayFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.top, self.tls)?;
        for table in self.agreements.iter().chain(&self.cameras) {
            write!(f, "{table}")?;
        }
        f.write_str(&self.more)
    }
}

/// An agreement about all cameras, as wide as most tests want it.
pub(crate) fn agreement(centre: &str, address: SocketAddr) -> Table {
    let mut table = Table::new("[[agreement]]");
    table
        .text("reference", "Convention")
        .text("centre", centre)
        .set("addresses", format!("[\"{address}\"]"))
        .set("from", "2025-02-13")
        .set("until", "2090-02-12")
        .text("designation_authority", "designation-ca.pem")
        .set("cameras", r#"["*"]"#)
        .set("grounds", r#"["assault"]"#)
        .text("max_duration", "1h")
        .text("max_total", "4h")
        .set("max_relays", 16)
        .text("max_designation", "31d");
    table
}

/// A `receiver.toml`.
#[derive(Clone)]
pub(crate) struct ReceiverFile {
    pub(crate) top: Table,
    pub(crate) tls: Table,
    pub(crate) link: Table,
    pub(crate) communes: Vec<String>,
    pub(crate) console: Table,
    pub(crate) rtsp: Table,
    pub(crate) operators: Table,
    /// More tables, at its end.
    pub(crate) more: String,
}

impl ReceiverFile {
    /// Of [`CENTRE`], which knows [`COMMUNE`], on ports of the system's choice; its state is
    /// in `receiver/`.
    pub(crate) fn new() -> Self {
        Self::of(CENTRE)
    }

    /// Of this centre.
    pub(crate) fn of(centre: &str) -> Self {
        let any = "127.0.0.1:0";
        let mut top = Table::default();
        top.text("centre", centre)
            .text("name", "CORG 13")
            .text("state_dir", "receiver")
            .text("metrics", any);
        let mut operators = Table::new("[[operators]]");
        operators.text("designation_authority", "designation-ca.pem");
        let listening = |header| {
            let mut table = Table::new(header);
            table.text("listen", any);
            table
        };
        let mut link = Table::new("[link]");
        link.set("listen", format!("[\"{any}\"]"));
        Self {
            top,
            tls: tls(centre),
            link,
            communes: vec![COMMUNE.to_owned()],
            console: listening("[console]"),
            rtsp: listening("[rtsp]"),
            operators,
            more: String::new(),
        }
    }

    /// The same on these ports.
    pub(crate) fn listening(
        &mut self,
        link: SocketAddr,
        console: SocketAddr,
        rtsp: SocketAddr,
    ) -> &mut Self {
        self.link.set("listen", format!("[\"{link}\"]"));
        self.console.text("listen", console);
        self.rtsp.text("listen", rtsp);
        self
    }
}

impl Display for ReceiverFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.top, self.tls, self.link)?;
        for id in &self.communes {
            writeln!(f, "[[commune]]\nid = \"{id}\"")?;
        }
        write!(
            f,
            "{}{}{}{}",
            self.console, self.rtsp, self.operators, self.more
        )
    }
}
