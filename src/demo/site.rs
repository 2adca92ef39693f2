//! The files of a commune and a centre for a trial, in a directory of their own
//! that goes with [`Site`]: certificates thrown away after use, settings, state.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use url::Url;

use crate::certs::authority::{Authority, Kind, Person};
use crate::certs::trial::Trial;
use crate::certs::{Identity, Validity};
use crate::clock::Wall;
use crate::format::ids::CameraId;

/// The commune of the trial.
pub const COMMUNE: &str = "berre-l-etang";
/// The commune across the border, of simulated cameras: other grounds, and a person approves.
pub const NEIGHBOUR: &str = "rognac";
/// Its simulated cameras.
pub const NEIGHBOUR_CAMERAS: usize = PLACES_NEXT_DOOR.len();
/// The centre of the trial.
pub const CENTRE: &str = "corg-13";
/// The operator's service number, also the name of his files.
pub const OPERATOR: &str = "demo-1";
/// The number of the person at the commune's page, also the name of the files.
pub const AGENT: &str = "pm-1";

/// Ports that are used if they are free, as on a real machine.
const CONSOLE_PORT: u16 = 8889;
const RTSP_PORT: u16 = 8554;
const PAGE_PORT: u16 = 8891;
const GATEWAY_METRICS_PORT: u16 = 9998;
const RECEIVER_METRICS_PORT: u16 = 9999;

/// How long the certificates of the commune's page are valid: as long as the demo's others.
const PAGE_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// A camera of the trial.
#[derive(Clone, Debug)]
pub struct CameraEntry {
    /// Its id.
    pub id: CameraId,
    /// Its name.
    name: String,
    /// Its URL, without credentials.
    url: Url,
    /// The sub-stream, of a simulated one.
    sub: Option<Url>,
    /// Where a simulated one is.
    place: Option<Place>,
    /// User name and password, taken out of the URL.
    credential: Option<(String, String)>,
}

/// Where a camera is, and where it looks.
#[derive(Clone, Debug)]
struct Place {
    position: (f64, f64),
    bearing: u32,
    field_of_view: u32,
    group: &'static str,
}

/// The streets and squares of the trial's cameras, roughly those of Berre-l'Étang.
const PLACES: [(&str, &str, f64, f64); 8] = [
    ("Place Jean-Moulin", "centre", 43.4757, 5.1685),
    ("Port Albert-Samson", "port", 43.4735, 5.1640),
    ("Boulevard Victor-Hugo", "centre", 43.4772, 5.1702),
    ("Rond-point de la gare", "entrees", 43.4893, 5.1779),
    ("Avenue Roger-Salengro", "entrees", 43.4811, 5.1741),
    ("Quai Romain-Rolland", "port", 43.4728, 5.1668),
    ("Stade Roger-Martin", "sports", 43.4790, 5.1655),
    ("Route de Rognac", "entrees", 43.4786, 5.1893),
];

/// The neighbour's, roughly those of Rognac.
const PLACES_NEXT_DOOR: [(&str, &str, f64, f64); 4] = [
    ("RN 113, entrée ouest", "entrees", 43.4795, 5.2085),
    ("Boulevard Jean-Jaurès", "centre", 43.4877, 5.2322),
    ("Gare de Rognac", "centre", 43.4868, 5.2268),
    ("Avenue de la République", "entrees", 43.4921, 5.2391),
];

/// Streets that can be searched: name, commune, post code, where number 1 is. Twenty numbers each.
const STREETS: [(&str, &str, u32, f64, f64); 8] = [
    (
        "Avenue Roger Salengro",
        "Berre-l'Étang",
        13_130,
        43.4811,
        5.1741,
    ),
    (
        "Boulevard Victor Hugo",
        "Berre-l'Étang",
        13_130,
        43.4772,
        5.1702,
    ),
    (
        "Quai Romain Rolland",
        "Berre-l'Étang",
        13_130,
        43.4728,
        5.1668,
    ),
    (
        "Place Jean Moulin",
        "Berre-l'Étang",
        13_130,
        43.4757,
        5.1685,
    ),
    ("Route de Rognac", "Berre-l'Étang", 13_130, 43.4786, 5.1893),
    ("Boulevard Jean Jaurès", "Rognac", 13_340, 43.4877, 5.2322),
    ("Avenue de la République", "Rognac", 13_340, 43.4921, 5.2391),
    ("Avenue de la Gare", "Rognac", 13_340, 43.4868, 5.2268),
];

/// A commune's settings that differ.
#[derive(Clone, Copy, Debug)]
struct Terms {
    commune: &'static str,
    name: &'static str,
    state: &'static str,
    socket: &'static str,
    contact: &'static str,
    grounds: &'static str,
    max_duration: &'static str,
    approval: &'static str,
    metrics: u16,
    page: u16,
}

const HOME: Terms = Terms {
    commune: COMMUNE,
    name: "Berre-l'Étang (demo)",
    state: "gateway",
    socket: "gateway.sock",
    contact: "CSU de Berre-l'Étang, 04 00 00 00 01",
    grounds: r#"["burglary", "pursuit", "assault", "drill"]"#,
    max_duration: "4h",
    approval: "automatic",
    metrics: GATEWAY_METRICS_PORT,
    page: PAGE_PORT,
};

const NEXT_DOOR: Terms = Terms {
    commune: NEIGHBOUR,
    name: "Rognac (demo)",
    state: "rognac",
    socket: "rognac.sock",
    contact: "CSU de Rognac, 04 00 00 00 02",
    grounds: r#"["pursuit", "accident", "drill"]"#,
    max_duration: "20min",
    approval: "commune",
    metrics: 0,
    page: 0,
};

impl CameraEntry {
    /// The visitor's own cameras, by their URLs.
    ///
    /// # Errors
    /// A URL that is not `rtsp://`.
    pub fn own(urls: &[Url]) -> anyhow::Result<Vec<Self>> {
        let entry = |(index, url): (usize, &Url)| {
            let mut bare = url.clone();
            let no_user = |()| anyhow::anyhow!("{} is no RTSP URL", url.scheme());
            bare.set_username("").map_err(no_user)?;
            bare.set_password(None).map_err(no_user)?;
            let plain = |text: &str| {
                percent_decoded(text).context("user name or password of a camera is not UTF-8")
            };
            let credential = match (url.username(), url.password()) {
                ("", _) => None,
                (user, password) => Some((plain(user)?, plain(password.unwrap_or(""))?)),
            };
            Ok(Self {
                id: CameraId::new(format!("camera-{}", index + 1))?,
                name: format!("Caméra {}", index + 1),
                url: bare,
                sub: None,
                place: None,
                credential,
            })
        };
        urls.iter().enumerate().map(entry).collect()
    }

    /// Simulated cameras, by name and URL.
    ///
    /// # Errors
    /// A name that is no id.
    pub fn simulated(
        urls: &[(String, String)],
        subs: &[(String, String)],
    ) -> anyhow::Result<Vec<Self>> {
        Self::placed(urls, subs, Place::of)
    }

    /// Simulated cameras of the neighbour, by name and URL.
    ///
    /// # Errors
    /// A name that is no id.
    pub fn simulated_next_door(
        urls: &[(String, String)],
        subs: &[(String, String)],
    ) -> anyhow::Result<Vec<Self>> {
        Self::placed(urls, subs, |index| Place::among(&PLACES_NEXT_DOOR, index))
    }

    fn placed(
        urls: &[(String, String)],
        subs: &[(String, String)],
        place: impl Fn(usize) -> (Place, String),
    ) -> anyhow::Result<Vec<Self>> {
        let entry = |(index, (name, url)): (usize, &(String, String))| {
            let (place, street) = place(index);
            let sub = subs.get(index).map(|(_, url)| url.parse()).transpose()?;
            Ok(Self {
                id: CameraId::new(name.clone())?,
                name: street,
                url: url.parse()?,
                sub,
                place: Some(place),
                credential: None,
            })
        };
        urls.iter().enumerate().map(entry).collect()
    }
}

impl Place {
    /// Of the camera with this number, and its name: eight streets, then a second and
    /// further cameras in each, a little way off.
    fn of(index: usize) -> (Self, String) {
        Self::among(&PLACES, index)
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)] // some hundreds
    fn among(places: &[(&'static str, &'static str, f64, f64)], index: usize) -> (Self, String) {
        let (street, group, latitude, longitude) = places[index % places.len()];
        let round = index / places.len();
        let name = match round {
            0 => street.to_owned(),
            _ => format!("{street} {}", round + 1),
        };
        // A spiral by the golden angle: no two in one place.
        let angle = (index as f64) * 2.399_963;
        let away = 0.0004 * (round as f64).sqrt();
        let place = Self {
            position: (
                latitude + away * angle.sin(),
                longitude + 1.4 * away * angle.cos(),
            ),
            bearing: (index * 137 % 360) as u32,
            field_of_view: [70, 90, 45][index % 3],
            group,
        };
        (place, name)
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    Some(decoded.ok()?.into_owned())
}

/// The directory with all files. Removed when dropped.
#[derive(Debug)]
pub struct Site {
    directory: PathBuf,
}

impl Site {
    /// Makes the directory (for its owner alone) and all certificates, and an
    /// operator's designation.
    ///
    /// # Errors
    /// The directory or a file can't be written.
    pub fn make(now: Wall) -> anyhow::Result<Self> {
        let name = format!("fanal-demo-{:016x}", getrandom::u64()?);
        let directory = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("directory {}", directory.display()))?;
        let site = Self { directory };
        let trial = Trial::new(now)?;
        site.write("link-ca.pem", trial.link_authority())?;
        site.write("link.crl.pem", trial.link_list())?;
        site.write("designation-ca.pem", trial.designation_authority())?;
        site.write("designation.crl.pem", trial.designation_list())?;
        for id in [COMMUNE, NEIGHBOUR, CENTRE] {
            site.write_identity(id, &trial.machine(id)?)?;
        }
        site.write("adresses.csv", &addresses())?;
        site.write_identity(OPERATOR, &trial.simple_operator(OPERATOR, "CORG 13", now)?)?;
        let validity = Validity::lasting(now, PAGE_LIFE);
        let page = Authority::make(Kind::Designation, validity)?;
        site.write("page-ca.pem", page.certificate())?;
        let agent = Person {
            number: AGENT.to_owned(),
            name: "Brigadier de la démonstration".to_owned(),
            unit: "Police municipale".to_owned(),
        };
        site.write_identity(AGENT, &page.operator(&agent, validity)?)?;
        Ok(site)
    }

    /// Path of a file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.path(name);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("file {}", path.display()))?;
        file.write_all(text.as_bytes())
            .with_context(|| format!("file {}", path.display()))?;
        Ok(path)
    }

    fn write_identity(&self, name: &str, identity: &Identity) -> anyhow::Result<()> {
        self.write(&format!("{name}.pem"), &identity.certificate)?;
        self.write(&format!("{name}.key"), identity.key.expose())?;
        Ok(())
    }

    /// Writes `receiver.toml`, with the neighbour or without; gives its path.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_receiver(&self, has_neighbour: bool) -> anyhow::Result<PathBuf> {
        let neighbour = if has_neighbour {
            format!("\n[[commune]]\nid = \"{NEIGHBOUR}\"\n")
        } else {
            String::new()
        };
        let text = format!(
            r#"centre = "{CENTRE}"
name = "CORG 13 (demo)"
state_dir = "receiver"
metrics = "{metrics}"

[tls]
certificate = "{CENTRE}.pem"
key = "{CENTRE}.key"
authority = "link-ca.pem"
revoked = "link.crl.pem"

[link]
listen = ["127.0.0.1:0"]

[[commune]]
id = "{COMMUNE}"
{neighbour}
[console]
listen = "{console}"
addresses = "adresses.csv"

[rtsp]
listen = "{rtsp}"

[[operators]]
designation_authority = "designation-ca.pem"
revoked = "designation.crl.pem"
"#,
            metrics = free(RECEIVER_METRICS_PORT),
            console = free(CONSOLE_PORT),
            rtsp = free(RTSP_PORT),
        );
        self.write("receiver.toml", &text)
    }

    /// Writes `gateway.toml` for a centre at `link`; gives its path.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_gateway(
        &self,
        link: SocketAddr,
        cameras: &[CameraEntry],
    ) -> anyhow::Result<PathBuf> {
        self.write_commune("gateway.toml", &HOME, link, cameras)
    }

    /// Writes `rognac.toml`, the neighbour's settings; gives its path.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn write_neighbour(
        &self,
        link: SocketAddr,
        cameras: &[CameraEntry],
    ) -> anyhow::Result<PathBuf> {
        self.write_commune("rognac.toml", &NEXT_DOOR, link, cameras)
    }

    fn write_commune(
        &self,
        file: &str,
        terms: &Terms,
        link: SocketAddr,
        cameras: &[CameraEntry],
    ) -> anyhow::Result<PathBuf> {
        let Terms {
            commune,
            name,
            state,
            socket,
            contact,
            grounds,
            max_duration,
            approval,
            ..
        } = terms;
        let mut text = format!(
            r#"commune = "{commune}"
name = "{name}"
contact = "{contact}"
state_dir = "{state}"
metrics = "{metrics}"
socket = "{socket}"

[tls]
certificate = "{commune}.pem"
key = "{commune}.key"
authority = "link-ca.pem"
revoked = "link.crl.pem"

[page]
listen = "{page}"
authority = "page-ca.pem"

[[agreement]]
reference = "Convention de démonstration"
centre = "{CENTRE}"
addresses = ["{link}"]
from = 2020-01-01
until = 2099-12-31
designation_authority = "designation-ca.pem"
revoked = "designation.crl.pem"
units = ["CORG 13"]
cameras = ["*"]
grounds = {grounds}
max_duration = "{max_duration}"
approval = "{approval}"
max_total = "12h"
max_relays = 1000
max_designation = "31d"
snapshots = true
watermark = true
"#,
            metrics = free(terms.metrics),
            page = free(terms.page),
        );
        for camera in cameras {
            let CameraEntry { id, name, url, .. } = camera;
            let url = toml_text(url.as_str());
            write!(
                text,
                "\n[[camera]]\nid = \"{id}\"\nname = {name}\nmain = {url}\nmask_verified = true\n",
                name = toml_text(name),
            )?;
            if let Some(sub) = &camera.sub {
                writeln!(text, "sub = {}", toml_text(sub.as_str()))?;
            }
            if let Some(place) = &camera.place {
                let (latitude, longitude) = place.position;
                write!(
                    text,
                    "position = [{latitude:.5}, {longitude:.5}]\nbearing = {}\nfield_of_view = {}\ngroups = [\"{}\"]\n",
                    place.bearing, place.field_of_view, place.group
                )?;
            }
            if camera.credential.is_some() {
                writeln!(text, "credential = \"{id}\"")?;
            }
        }
        for camera in cameras {
            let Some((user, password)) = &camera.credential else {
                continue;
            };
            let id = &camera.id;
            self.write(&format!("{id}.password"), password)?;
            write!(
                text,
                "\n[[credential]]\nid = \"{id}\"\nusername = {user}\npassword_file = \"{id}.password\"\n",
                user = toml_text(user),
            )?;
        }
        self.write(file, &text)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, directory = %self.directory.display(), "files of the demo stay behind");
        }
    }
}

/// The addresses of [`STREETS`], as a file of the Base Adresse Nationale has them.
fn addresses() -> String {
    let mut text = "numero;nom_voie;code_postal;nom_commune;lon;lat\n".to_owned();
    for (street, commune, code, latitude, longitude) in STREETS {
        for number in 1..=20 {
            let away = 0.00012 * f64::from(number - 1);
            let _ = writeln!(
                text,
                "{number};{street};{code};{commune};{:.5};{:.5}",
                longitude + away,
                latitude + away / 3.0
            );
        }
    }
    text
}

/// A basic string of TOML.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(character);
            }
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// This port of 127.0.0.1 if it is free, else any.
fn free(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_leave_the_url_and_stand_in_a_file_of_their_own() {
        let url = "rtsp://admin:p%40ss%22@10.0.0.1/main".parse().unwrap();
        let cameras = CameraEntry::own(&[url]).unwrap();
        let site = Site::make(crate::clock::Clock::system().now().wall).unwrap();
        let file = site
            .write_gateway("127.0.0.1:4433".parse().unwrap(), &cameras)
            .unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
        let loaded = crate::config::load_gateway(&file).unwrap();
        let camera = loaded.settings.cameras.values().next().unwrap();
        let credential = camera.streams.as_ref().unwrap().credential.clone().unwrap();
        assert_eq!(credential.username, "admin");
        assert_eq!(credential.password.expose(), "p@ss\"");
    }
}
