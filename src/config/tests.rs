//! The settings over files in memory.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::{Approval, Transport};
use super::*;
use crate::certs::trial::Trial;
use crate::clock::Wall;
use crate::format::ids::CameraId;
use crate::secret::Secret;

/// Files in memory; everything under `/etc/fanal`.
struct Memory {
    files: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
    modes: BTreeMap<PathBuf, u32>,
}

impl Memory {
    fn new() -> Self {
        let trial = Trial::new(Wall::from_seconds(1_790_000_000)).unwrap();
        let memory = Self {
            files: RefCell::default(),
            modes: BTreeMap::from([("/etc/fanal/loose.txt".into(), 0o644)]),
        };
        for id in ["berre-l-etang", "corg-13"] {
            let identity = trial.machine(id).unwrap();
            memory.put(&format!("{id}.pem"), &identity.certificate);
            memory.put(&format!("{id}.key"), identity.key.expose());
        }
        memory.put("link-ca.pem", trial.link_authority());
        memory.put("designation-ca.pem", trial.designation_authority());
        memory.put("link.crl.pem", trial.link_list());
        memory.put("hik.txt", "s3cret\n");
        memory.put("loose.txt", "s3cret\r\n");
        memory
    }

    fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = Path::new("/etc/fanal").join(name);
        self.files.borrow_mut().insert(path, text.as_ref().to_vec());
    }

    fn gateway(&self, text: &str) -> Result<settings::Gateway, Errors> {
        self.put("gateway.toml", text);
        load_gateway_from(Path::new("/etc/fanal/gateway.toml"), self).map(|loaded| loaded.settings)
    }

    fn receiver(&self, text: &str) -> Result<settings::Receiver, Errors> {
        self.put("receiver.toml", text);
        load_receiver_from(Path::new("/etc/fanal/receiver.toml"), self)
            .map(|loaded| loaded.settings)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let files = self.files.borrow();
        let bytes = files
            .get(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        assert!(bytes.len() as u64 <= limit);
        Ok(bytes.clone())
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.files.borrow().get(path)?;
        Some(self.modes.get(path).copied().unwrap_or(0o600))
    }

    fn variable(&self, name: &str) -> Option<String> {
        match name {
            "CREDENTIALS_DIRECTORY" => Some("/etc/fanal".to_owned()),
            "HIK_PASSWORD" => Some("from-env".to_owned()),
            _ => None,
        }
    }

    fn keep_secret(&self, path: &Path, secret: &Secret) -> io::Result<bool> {
        self.files
            .borrow_mut()
            .insert(path.to_owned(), secret.expose().as_bytes().to_vec());
        Ok(true)
    }
}

const GATEWAY: &str = r#"
commune = "berre-l-etang"
name = "Berre-l'Étang"
[tls]
certificate = "berre-l-etang.pem"
key = "berre-l-etang.key"
authority = "./link-ca.pem"
[[agreement]]
reference = "Convention du 13 février 2025"
centre = "corg-13"
addresses = ["corg13.example:4433"]
from = 2025-02-13
until = "2030-02-12"
designation_authority = "designation-ca.pem"
cameras = ["*"]
grounds = ["burglary", "fuite"]
[[ground]]
id = "fuite"
fr = "fuite de gaz"
en = "gas leak"
[[credential]]
id = "hik"
username = "admin"
password_file = "${CREDENTIALS_DIRECTORY}/hik.txt"
[[camera]]
id = "quai-nord"
groups = ["port"]
main = "rtsp://10.0.0.11/main"
credential = "hik"
mask_verified = true
"#;

const RECEIVER: &str = r#"
centre = "corg-13"
[tls]
certificate = "corg-13.pem"
key = "corg-13.key"
authority = "link-ca.pem"
[[commune]]
id = "berre-l-etang"
[[operators]]
designation_authority = "designation-ca.pem"
"#;

fn camera<'s>(settings: &'s settings::Gateway, id: &str) -> &'s settings::Camera {
    &settings.cameras[&CameraId::new(id).unwrap()]
}

fn told(warnings: &[Problem]) -> String {
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.join("\n")
}

#[test]
fn defaults_are_those_of_the_interface() {
    let settings = Memory::new().gateway(GATEWAY).unwrap();
    assert_eq!(settings.state_dir, Path::new("/var/lib/fanal"));
    assert_eq!(settings.metrics.to_string(), "127.0.0.1:9998");
    assert_eq!(settings.socket, Path::new("/run/fanal/gateway.sock"));
    assert_eq!(settings.uplink.max_bitrate, None);
    assert_eq!(settings.uplink.min_per_relay, 300_000);
    assert_eq!(settings.tls.authority, Path::new("/etc/fanal/link-ca.pem"));
    let agreement = &settings.agreements[0];
    assert_eq!(agreement.until.to_string(), "2030-02-12");
    assert_eq!(agreement.max_duration, Duration::from_secs(3600));
    assert_eq!(agreement.max_total, Duration::from_secs(4 * 3600));
    assert_eq!(agreement.max_designation, Duration::from_secs(31 * 86_400));
    assert_eq!(
        (agreement.max_relays, agreement.snapshots, agreement.vms),
        (16, false, false)
    );
    assert!(!agreement.watermark);
    assert_eq!(agreement.approval, Approval::Automatic);
    assert_eq!(agreement.approval_timeout, Duration::from_secs(120));
    assert!(agreement.hours.is_empty() && agreement.units.is_empty());
    let camera = camera(&settings, "quai-nord");
    let streams = camera.streams.as_ref().unwrap();
    assert_eq!(camera.name, "quai-nord");
    assert_eq!(streams.transport, Transport::Tcp);
    assert_eq!(streams.start_timeout, Duration::from_secs(10));
    assert_eq!(streams.close_after, Duration::from_secs(10));
    let credential = streams.credential.as_ref().unwrap();
    assert_eq!(credential.password, Secret::new("s3cret"));
    assert!(!credential.basic);
    assert_eq!(settings.warnings, Vec::new());
    assert_eq!(settings.grounds["burglary"].fr, "cambriolage");

    let settings = Memory::new().receiver(RECEIVER).unwrap();
    assert_eq!(settings.link_listen[0].to_string(), "0.0.0.0:4433");
    assert_eq!(settings.console.listen.to_string(), "127.0.0.1:8889");
    assert_eq!(settings.rtsp.listen.unwrap().to_string(), "127.0.0.1:8554");
    assert!(settings.rtsp.udp);
    assert_eq!(settings.metrics.to_string(), "127.0.0.1:9999");
    assert_eq!(settings.warnings, Vec::new());
}

/// Each mistake, put in the place of `was`, and what must be said: line and words.
#[test]
fn mistakes_refuse_the_file_with_line_and_mend() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "name = \"Berre-l'Étang\"",
            "nome = \"x\"",
            ":3: unknown key `nome`",
        ),
        ("name = \"Berre-l'Étang\"", "name = ", ":3: not TOML"),
        (
            "commune = \"berre-l-etang\"",
            "commune = \"Berre\"",
            ":2: commune: commune id \"Berre\" must match",
        ),
        (
            "commune = \"berre-l-etang\"",
            "commune = \"rognac\"",
            ":5: certificate: /etc/fanal/berre-l-etang.pem is for \"berre-l-etang\", not for \"rognac\"",
        ),
        (
            "key = \"berre-l-etang.key\"",
            "key = \"corg-13.key\"",
            ":6: key: /etc/fanal/corg-13.key does not fit",
        ),
        (
            "key = \"berre-l-etang.key\"",
            "",
            ":4: the key `key` is missing",
        ),
        (
            "\"./link-ca.pem\"",
            "\"hik.txt\"",
            ":7: authority: /etc/fanal/hik.txt holds no certificate",
        ),
        (
            "\"./link-ca.pem\"",
            "\"corg-13.pem\"",
            "is not the certificate of an authority",
        ),
        (
            "\"./link-ca.pem\"",
            "\"${NOPE}/x.pem\"",
            ":7: authority: the environment has no NOPE",
        ),
        (
            "from = 2025-02-13",
            "from = 2031-02-13",
            ":13: until: 2030-02-12 is before from",
        ),
        (
            "from = 2025-02-13",
            "from = \"13/02/2025\"",
            ":12: from: \"13/02/2025\" is no date",
        ),
        (
            "\"designation-ca.pem\"",
            "\"designation-ca.pem\"\nrevoked = \"link.crl.pem\"",
            "revoked: /etc/fanal/link.crl.pem: none of its lists is signed by /etc/fanal/designation-ca.pem",
        ),
        ("[\"corg13.example:4433\"]", "[]", ":11: addresses: none"),
        (
            "[\"corg13.example:4433\"]",
            "[\"corg13\"]",
            ":11: addresses: \"corg13\" is not host:port",
        ),
        (
            "\"fuite\"]",
            "\"fete\"]",
            ":16: grounds: \"fete\" is not known; one of accident",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nmax_duration = \"25h\"",
            ":14: max_duration: 25h is out of bounds",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nmax_total = \"10m\"",
            "is shorter than max_duration",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nhours = \"always\"",
            ":14: hours: \"always\" is no day",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nmax_relays = 0",
            "0 is out of bounds",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nsnapshots = \"yes\"",
            ":14: [[agreement]] invalid type",
        ),
        (
            "until = \"2030-02-12\"",
            "until = 2030-02-12\nrevoked = \"link-ca.pem\"",
            "holds no revocation list",
        ),
        (
            "id = \"fuite\"",
            "id = \"fire\"",
            "ground \"fire\" is already known",
        ),
        (
            "password_file = \"${CREDENTIALS_DIRECTORY}/hik.txt\"",
            "password = \"s3cret\"",
            "the settings hold no secret",
        ),
        (
            "password_file = \"${CREDENTIALS_DIRECTORY}/hik.txt\"",
            "",
            ":21: give either password_file or password_env",
        ),
        (
            "[tls]",
            "metrics = \"0.0.0.0:9998\"\n[tls]",
            ":4: metrics: plain HTTP off loopback",
        ),
        (
            "[tls]",
            "[uplink]\nmax_bitrate = \"40\"\n[tls]",
            ":5: max_bitrate: \"40\" is no bit rate",
        ),
        (
            "[tls]",
            "[[host]]\naddress = \"10.0.0.9:554\"\n[tls]",
            ":5: address: \"10.0.0.9:554\" is no host",
        ),
    ];
    let memory = Memory::new();
    for (was, now, said) in cases {
        assert!(GATEWAY.contains(was), "{was}");
        let errors = memory.gateway(&GATEWAY.replacen(was, now, 1)).unwrap_err();
        let text = errors.to_string();
        assert!(text.starts_with("/etc/fanal/gateway.toml:"), "{text}");
        assert!(
            text.contains(said),
            "{now:?} should say {said:?}, said:\n{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[test]
fn mistakes_of_a_receiver() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "[[operators]]\ndesignation_authority = \"designation-ca.pem\"",
            "",
            "there is no [[operators]]",
        ),
        (
            "[[operators]]",
            "[console]\nlisten = \"0.0.0.0:8889\"\n[[operators]]",
            "plain HTTP off loopback",
        ),
        (
            "[[operators]]",
            "[console]\ntiles = \"fond.pmtiles\"\n[[operators]]",
            "there is no /etc/fanal/fond.pmtiles",
        ),
        (
            "[[operators]]",
            "[rtsp]\nlisten = \"0.0.0.0:8554\"\n[[operators]]",
            "clear RTSP off loopback",
        ),
        (
            "[[operators]]",
            "[rtsp]\ntls_listen = \"0.0.0.0:8322\"\n[[operators]]",
            "go together",
        ),
        (
            "[[operators]]",
            "[[commune]]\nid = \"berre-l-etang\"\n[[operators]]",
            "two [[commune]]",
        ),
        (
            "[[operators]]",
            "[[rtsp.account]]\nname=\"m\"\nusername=\"vms\"\npassword_env=\"HIK_PASSWORD\"\ncommunes=[\"rognac\"]\n[[operators]]",
            ":13: communes: there is no [[commune]] \"rognac\"",
        ),
        (
            "[[operators]]",
            "[link]\nlisten = []\n[[operators]]",
            "listen: none",
        ),
    ];
    let memory = Memory::new();
    for (was, now, said) in cases {
        let text = memory
            .receiver(&RECEIVER.replacen(was, now, 1))
            .unwrap_err()
            .to_string();
        assert!(
            text.contains(said),
            "{now:?} should say {said:?}, said:\n{text}"
        );
    }
    let with = |more: &str| memory.receiver(&format!("{RECEIVER}{more}"));
    assert!(
        with("[console]\nlisten = \"0.0.0.0:1\"\nplain = true")
            .unwrap()
            .console
            .plain
    );
    assert_eq!(with("[rtsp]\nlisten = \"\"\ntls_listen = \"0.0.0.0:8322\"\ncertificate = \"corg-13.pem\"\nkey = \"corg-13.key\"").unwrap().rtsp.listen, None);
    assert!(!with("[rtsp]\nudp = false").unwrap().rtsp.udp);
    let tls = "tls_listen = \"0.0.0.0:8322\"\ncertificate = \"corg-13.pem\"\nkey = \"corg-13.key\"";
    for (address, warned) in [
        ("corg13.example:8322", None),
        ("corg13.example:8554", Some("write that port")),
        ("corg13.example:443", Some("which something must forward")),
    ] {
        let written = format!("[rtsp]\naddress = \"{address}\"\n{tls}");
        let warnings = with(&written).unwrap().warnings;
        let found = warnings
            .iter()
            .find(|warning| warning.text.contains("[rtsp] address"));
        let found = found.map(|warning| warned.is_some_and(|words| warning.text.contains(words)));
        assert_eq!(found, warned.map(|_| true), "{warnings:?}");
    }
    let accounts = with("[[rtsp.account]]\nname=\"m\"\nusername=\"vms\"\npassword_env=\"HIK_PASSWORD\"\nfrom=[\"10.0.0.0/8\"]").unwrap().accounts;
    assert_eq!(accounts[0].password, Secret::new("from-env"));
}

#[test]
fn all_mistakes_are_told_at_once() {
    let text = GATEWAY
        .replacen("key = \"berre-l-etang.key\"", "", 1)
        .replacen("centre = \"corg-13\"", "centre = \"CORG\"", 1)
        .replacen("username = \"admin\"", "user = \"admin\"", 1);
    let errors = Memory::new().gateway(&text).unwrap_err();
    assert_eq!(errors.0.len(), 3, "{errors}");
}

#[test]
fn a_bad_camera_disables_itself_alone() {
    let cases = [
        ("main = \"http://10.0.0.11/\"", "is http://, not rtsp://"),
        (
            "main = \"rtsp://root:hunter2@10.0.0.11/\"",
            "holds a user name or password",
        ),
        ("main = \"rtsp:///x\"", "names no host"),
        (
            "main = \"rtsp://10.0.0.1/\"\nposition = [95.0, 5.0]",
            "position: must be",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\nzoom = 3",
            "unknown key `zoom`",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\nwarm = \"yes\"",
            "invalid type",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\ntransport = \"quic\"",
            "neither \"tcp\" nor \"udp\"",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\ncredential = \"axis\"",
            "no [[credential]] with id \"axis\"",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\nstart_timeout = \"1h\"",
            "out of bounds",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\nneighbours = [\"A/b/c\"]",
            "commune/camera",
        ),
        ("sub = \"rtsp://10.0.0.1/\"", "main: is missing"),
        (
            "main = \"rtsp://10.0.0.1/\"\nonvif = \"https://10.0.0.1/onvif/device_service\"",
            "write http://",
        ),
        (
            "main = \"rtsp://10.0.0.1/\"\nonvif = \"http://root:hunter2@10.0.0.1/\"",
            "onvif: holds a user name or password",
        ),
    ];
    let memory = Memory::new();
    for (keys, said) in cases {
        let text = format!("{GATEWAY}[[camera]]\nid = \"mairie\"\nmask_verified = true\n{keys}\n");
        let settings = memory.gateway(&text).unwrap();
        assert!(camera(&settings, "quai-nord").streams.is_ok());
        let bad = settings
            .cameras
            .values()
            .find(|camera| camera.streams.is_err())
            .unwrap();
        let cause = bad.streams.as_ref().unwrap_err();
        assert!(cause.contains(said), "{keys}: {cause}");
        assert!(cause.starts_with("/etc/fanal/gateway.toml:3"), "{cause}");
        assert!(!cause.contains("hunter2"), "{cause}");
        assert!(
            settings
                .warnings
                .iter()
                .any(|warning| warning.disables && warning.text.contains(said))
        );
    }
}

#[test]
fn cameras_with_wrong_or_repeated_ids_stay_visible() {
    let more = "[[camera]]\nid = \"Place Étoile\"\nmain = \"rtsp://10.0.0.2/\"\n\
                [[camera]]\nid = \"quai-nord\"\nmain = \"rtsp://10.0.0.3/\"\n";
    let settings = Memory::new().gateway(&format!("{GATEWAY}{more}")).unwrap();
    let ids: Vec<&str> = settings.cameras.keys().map(CameraId::as_str).collect();
    assert_eq!(
        ids,
        ["place-etoile-line-31", "quai-nord", "quai-nord-line-35"]
    );
    assert!(camera(&settings, "quai-nord").streams.is_ok());
    let second = camera(&settings, "quai-nord-line-35")
        .streams
        .clone()
        .unwrap_err();
    assert!(
        second.contains("already used at /etc/fanal/gateway.toml:26"),
        "{second}"
    );
}

#[test]
fn patterns_that_match_nothing_and_loose_secrets_warn() {
    let text = GATEWAY
        .replacen(
            "cameras = [\"*\"]",
            "cameras = [\"port\"]\nexcept = [\"ecole-*\"]",
            1,
        )
        .replacen("${CREDENTIALS_DIRECTORY}/hik.txt", "loose.txt", 1);
    let settings = Memory::new().gateway(&text).unwrap();
    let warnings = told(&settings.warnings);
    assert!(
        warnings.contains("except: \"ecole-*\" matches no camera"),
        "{warnings}"
    );
    assert!(warnings.contains("loose.txt has mode 0644"), "{warnings}");
    assert_eq!(settings.warnings.len(), 2);
}

#[test]
fn an_agreement_may_have_its_own_identity() {
    let memory = Memory::new();
    let trial = Trial::new(Wall::from_seconds(1_790_000_000)).unwrap();
    let identity = trial.machine("berre-l-etang").unwrap();
    memory.put("other.pem", &identity.certificate);
    memory.put("other.key", identity.key.expose());
    memory.put("other-ca.pem", trial.link_authority());
    let own = "until = 2030-02-12\ncertificate = \"other.pem\"\nkey = \"other.key\"\nauthority = \"other-ca.pem\"";
    let settings = memory
        .gateway(&GATEWAY.replacen("until = \"2030-02-12\"", own, 1))
        .unwrap();
    let tls = &settings.agreements[0].tls;
    assert_eq!(tls.certificate, Path::new("/etc/fanal/other.pem"));
    assert_eq!(tls.authority, Path::new("/etc/fanal/other-ca.pem"));
    // Its own authority's list may be in the agreement's file, beside the operators' or alone.
    memory.put("other.crl.pem", trial.link_list());
    let listed = format!("{own}\nrevoked = \"other.crl.pem\"");
    let settings = memory
        .gateway(&GATEWAY.replacen("until = \"2030-02-12\"", &listed, 1))
        .unwrap();
    let other = Path::new("/etc/fanal/other.crl.pem");
    assert_eq!(settings.agreements[0].tls.revoked, [other]);
    assert!(settings.tls.revoked.is_empty());
    let commune = "id = \"berre-l-etang\"";
    let listed = format!("{commune}\nauthority = \"other-ca.pem\"\nrevoked = \"other.crl.pem\"");
    let settings = memory
        .receiver(&RECEIVER.replacen(commune, &listed, 1))
        .unwrap();
    let communes: Vec<_> = settings.communes.values().collect();
    assert_eq!(communes[0].tls.revoked, [other]);
    let foreign = format!("{commune}\nrevoked = \"other.crl.pem\"");
    let text = memory
        .receiver(&RECEIVER.replacen(commune, &foreign, 1))
        .unwrap_err()
        .to_string();
    assert!(text.contains("none of its lists is signed by"), "{text}");
    let half = GATEWAY.replacen(
        "until = \"2030-02-12\"",
        "until = 2030-02-12\nkey = \"other.key\"",
        1,
    );
    let text = memory.gateway(&half).unwrap_err().to_string();
    assert!(text.contains("go together"), "{text}");
}

#[test]
fn the_hash_follows_the_meaning_alone() {
    let memory = Memory::new();
    let hash = |text: &str| memory.gateway(text).unwrap().agreements[0].settings_hash;
    let plain = hash(GATEWAY);
    let written_out = GATEWAY.replacen(
        "until = \"2030-02-12\"",
        "max_duration = \"60m\"\nuntil = 2030-02-12",
        1,
    );
    assert_eq!(hash(&written_out), plain);
    let changed = GATEWAY.replacen(
        "until = \"2030-02-12\"",
        "max_duration = \"59m\"\nuntil = 2030-02-12",
        1,
    );
    assert_ne!(hash(&changed), plain);
}

fn with_table(memory: &Memory, table: impl AsRef<[u8]>) -> Result<settings::Gateway, Errors> {
    memory.put("cameras.csv", table);
    memory.gateway(&GATEWAY.replacen("[tls]", "cameras_file = \"cameras.csv\"\n[tls]", 1))
}

#[test]
fn a_table_as_french_excel_writes_it() {
    let table = "id;name;groups;main;credential;latitude;longitude;bearing;mask_verified;;\r\n\
        ;Place de l'Étoile;centre|marché nord;rtsp://10.0.1.1/main;hik;43,4745;5,1692;140,5;oui;;\r\n\
        ;;;;;;;;;;\r\n\
        gare;\"Gare; quai 1\";gare centre;rtsp://10.0.1.2/main;hik;;;;NON;;\r\n";
    let memory = Memory::new();
    let utf8 = with_table(&memory, table).unwrap();
    let bom = with_table(&memory, [b"\xef\xbb\xbf", table.as_bytes()].concat()).unwrap();
    let (windows, _, lost) = encoding_rs::WINDOWS_1252.encode(table);
    assert!(!lost);
    let windows = with_table(&memory, windows).unwrap();
    for settings in [utf8, bom, windows] {
        assert_eq!(settings.warnings, Vec::new());
        let place = camera(&settings, "place-de-l-etoile");
        assert_eq!(place.name, "Place de l'Étoile");
        assert_eq!(place.groups, ["centre", "marché nord"]);
        assert_eq!(place.position, Some([43.4745, 5.1692]));
        assert_eq!(place.bearing, Some(140.5));
        assert!(place.mask_verified && place.streams.is_ok());
        let gare = camera(&settings, "gare");
        assert_eq!(gare.name, "Gare; quai 1");
        assert_eq!(gare.groups, ["gare", "centre"]);
        assert!(!gare.mask_verified);
    }
    let commas = "Name,Main,Mask_Verified\nMairie,rtsp://10.0.1.3/,1\n";
    assert!(camera(&with_table(&memory, commas).unwrap(), "mairie").mask_verified);
}

#[test]
fn bad_rows_are_explained_and_disable_themselves_alone() {
    let table = "name;main;latitude;longitude;mask_verified\n\
        Bonne;rtsp://10.0.1.1/;;;oui\n\
        Nombre;rtsp://10.0.1.2/;43,4;x;oui\n\
        Masque;rtsp://10.0.1.3/;;;peut-être\n\
        Bonne;rtsp://10.0.1.4/;;;oui\n\
        Sans adresse;;;;oui\n\
        De trop;rtsp://10.0.1.5/;;;oui;x;y\n";
    let settings = with_table(&Memory::new(), table).unwrap();
    let warnings = told(&settings.warnings);
    for said in [
        "cameras.csv:3: camera \"nombre\": longitude: \"x\" is no number",
        "cameras.csv:4: camera \"masque\": mask_verified: \"peut-être\" is neither oui nor non",
        "cameras.csv:5: camera \"bonne-line-5\": id \"bonne\" is already used at /etc/fanal/cameras.csv:2",
        "cameras.csv:6: camera \"sans-adresse\": main: is missing",
        "cameras.csv:7: camera \"de-trop\": has values in columns without a name",
    ] {
        assert!(warnings.contains(said), "{said} not in\n{warnings}");
    }
    let good: Vec<&str> = settings
        .cameras
        .values()
        .filter(|camera| camera.streams.is_ok())
        .map(|camera| camera.id.as_str())
        .collect();
    assert_eq!(good, ["bonne", "quai-nord"]);
    for (table, said) in [
        ("titre;main\n", "no column name (unknown: \"titre\")"),
        ("", "is empty"),
        ("id;main\n", "no column name"),
        ("name;main;name\n", "is there twice"),
        ("\u{0}name", "UTF-16"),
    ] {
        let text = with_table(&Memory::new(), table).unwrap_err().to_string();
        assert!(
            text.contains("cameras.csv:1:") && text.contains(said),
            "{text}"
        );
    }
}

#[test]
fn a_row_has_the_spreadsheets_number_whatever_ends_its_lines() {
    let rows = [
        "name;main;mask_verified;Remarque;prix",
        "Une;rtsp://10.0.1.1/;oui;\"deux\nlignes, et\nencore\";3",
        "",
        ";;;;",
        "Deux;rtsp://10.0.1.2/;X;;",
        "Trois;rtsp://10.0.1.3/;Y;;",
    ];
    for end in ["\n", "\r\n", "\r"] {
        let table = rows.join("\n").replace('\n', end);
        let settings = with_table(&Memory::new(), table).unwrap();
        let warnings = told(&settings.warnings);
        for said in [
            "cameras.csv:5: camera \"deux\": mask_verified: \"X\"",
            "cameras.csv:6: camera \"trois\": mask_verified: \"Y\"",
            "cameras.csv:1: not read: the columns \"Remarque\", \"prix\"",
        ] {
            assert!(warnings.contains(said), "{said} not in\n{warnings}");
        }
        assert!(camera(&settings, "une").streams.is_ok());
    }
}

#[test]
fn a_table_may_have_french_names_and_tabs() {
    let table = "Nom\tGroupes\tFlux principal\tMasque vérifié\tlatitude\tlongitude\n\
        Mairie\tcentre\trtsp://10.0.1.1/\toui\t43,4\t5,1\n\
        Port\tcentre\trtsp://10.0.1.2/\toui\t4,35E+01\t5,1\n";
    let settings = with_table(&Memory::new(), table).unwrap();
    let mairie = camera(&settings, "mairie");
    assert!(mairie.mask_verified && mairie.streams.is_ok());
    assert_eq!(mairie.groups, ["centre"]);
    let warnings = told(&settings.warnings);
    assert!(
        warnings.contains(
            "cameras.csv:3: camera \"port\": latitude: \"4,35E+01\" is how a spreadsheet"
        )
    );
}

#[test]
fn probable_slips_are_told_and_disable_nothing() {
    let table = "name;main;neighbours;mask_verified\n\
        Mairie;rtsp://10.0.1.1/;port prot rognac/gare;oui\n\
        Port;rtsp://10.0.1.1/;;oui\n\
        Stade;rtsp://10.0.1.3/live?user=admin&Password=s3cret;;oui\n";
    let settings = with_table(&Memory::new(), table).unwrap();
    let warnings = told(&settings.warnings);
    for said in [
        "cameras.csv:2: camera \"mairie\": neighbours: there is no camera \"prot\"",
        "cameras.csv:3: camera \"port\": main: the same stream as camera \"mairie\"",
        "cameras.csv:4: camera \"stade\": main: a password is in the address",
    ] {
        assert!(warnings.contains(said), "{said} not in\n{warnings}");
    }
    assert!(!warnings.contains("rognac") && !warnings.contains("s3cret"));
    for id in ["mairie", "port", "stade"] {
        assert!(camera(&settings, id).streams.is_ok(), "{id}");
    }
}

#[test]
fn a_password_in_a_table_is_split_off() {
    let memory = Memory::new();
    let settings = with_table(
        &memory,
        "name;main\nMairie;rtsp://root:p%40ss@10.0.1.1/main\n",
    )
    .unwrap();
    let found = |settings: &settings::Gateway| camera(settings, "mairie").streams.clone().unwrap();
    let streams = found(&settings);
    assert_eq!(streams.main.as_str(), "rtsp://10.0.1.1/main");
    assert_eq!(streams.credential.unwrap().password, Secret::new("p@ss"));
    let warning = told(&settings.warnings);
    assert!(
        warning.contains("/var/lib/fanal/camera-credentials/mairie.json")
            && !warning.contains("p@ss")
    );
    // As in the URL of ONVIF.
    let table = "name;main;onvif\nMairie;rtsp://10.0.1.1/main;http://root:p%40ss@10.0.1.1/onvif\n";
    let streams = found(&with_table(&Memory::new(), table).unwrap());
    assert_eq!(streams.onvif.unwrap().as_str(), "http://10.0.1.1/onvif");
    assert_eq!(streams.credential.unwrap().password, Secret::new("p@ss"));
    let other = table.replace("http://root:p%40ss@10.0.1.1", "http://root:p%40ss@10.0.1.2");
    let settings = with_table(&Memory::new(), &other).unwrap();
    let said = camera(&settings, "mairie").streams.clone().unwrap_err();
    assert!(
        said.contains("onvif: is another host") && !said.contains("p@ss"),
        "{said}"
    );
    // Once removed from the table it is still known, but only for that host.
    let settings = with_table(&memory, "name;main\nMairie;rtsp://10.0.1.1/main\n").unwrap();
    assert_eq!(found(&settings).credential.unwrap().username, "root");
    let settings = with_table(&memory, "name;main\nMairie;rtsp://10.0.1.9/main\n").unwrap();
    assert_eq!(found(&settings).credential, None);
}

#[test]
fn whose_file_it_is() {
    let memory = Memory::new();
    memory.put("a.toml", GATEWAY);
    memory.put("b.toml", RECEIVER);
    memory.put("c.toml", "name = \"x\"");
    let detect = |name: &str| detect(&Path::new("/etc/fanal").join(name), &memory);
    assert_eq!(detect("a.toml"), Ok(Daemon::Gateway));
    assert_eq!(detect("b.toml"), Ok(Daemon::Receiver));
    assert!(
        detect("c.toml")
            .unwrap_err()
            .to_string()
            .contains("commune = ")
    );
    let latin1 = [GATEWAY.as_bytes(), b"\n# \xe9"].concat();
    memory.put("d.toml", latin1);
    assert!(
        detect("d.toml")
            .unwrap_err()
            .to_string()
            .contains("not UTF-8")
    );
}

#[test]
fn probes_are_set_and_the_test_camera_is_there_without_settings() {
    let memory = Memory::new();
    let settings = memory.gateway(GATEWAY).unwrap();
    assert_eq!(settings.probe, None);
    let id = CameraId::new(settings::Camera::TEST).unwrap();
    assert!(!settings.cameras.contains_key(&id));
    let test = settings.camera(&id).unwrap();
    assert!(test.mask_verified && test.streams.is_ok());
    let with =
        |health: &str| memory.gateway(&GATEWAY.replacen("[tls]", &format!("{health}\n[tls]"), 1));
    let probed = with("[health]\nprobe = \"6h\"").unwrap();
    assert_eq!(probed.probe, Some(Duration::from_secs(6 * 3600)));
    for wrong in ["500ms", "8d", "often"] {
        let errors = with(&format!("[health]\nprobe = \"{wrong}\"")).unwrap_err();
        assert!(errors.to_string().contains(":5: probe: "), "{errors}");
    }
    // Nobody's own camera passes for it.
    let settings = memory
        .gateway(&GATEWAY.replacen("id = \"quai-nord\"", "id = \"fanal-test\"", 1))
        .unwrap();
    let warnings = told(&settings.warnings);
    assert!(
        warnings.contains("id \"fanal-test\" is that of the gateway's own test camera"),
        "{warnings}"
    );
    assert!(
        settings
            .cameras
            .values()
            .all(|camera| camera.streams.is_err() && !camera.is_test())
    );
}
