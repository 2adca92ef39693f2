//! The command line as a person meets it: arguments in, stdout, stderr and
//! status out, with the built binary.

mod papers;

use std::process::{Command, Output};

use fanal::certs::trial::Trial;
use fanal::clock::Clock;

use crate::support::site::Place;

fn fanal(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(args)
        .env_remove("RUST_LOG")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env("LC_ALL", "C.UTF-8")
        .output()
        .unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A directory with a gateway's and a receiver's certificates.
fn machines() -> Place {
    let trial = Trial::new(Clock::system().now().wall).unwrap();
    Place::of_trial(&trial, &["berre-l-etang", "corg-13"])
}

/// Writes a file there; its path for the command line.
fn put(place: &Place, name: &str, text: &str) -> String {
    place.write(name, text);
    place.at(name)
}

const GATEWAY: &str = r#"
commune = "berre-l-etang"
[tls]
certificate = "berre-l-etang.pem"
key = "berre-l-etang.key"
authority = "link-ca.pem"
[[agreement]]
reference = "Convention"
centre = "corg-13"
addresses = ["127.0.0.1:4433"]
from = 2025-02-13
until = 2030-02-12
designation_authority = "designation-ca.pem"
cameras = ["*"]
grounds = ["fire"]
[[camera]]
id = "quai-nord"
main = "rtsp://127.0.0.1/main"
mask_verified = true
[[camera]]
id = "mairie"
main = "http://127.0.0.1/"
"#;

#[test]
fn help_version_and_wrong_usage() {
    let help = fanal(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(out(&help).contains("Usage: fanal"), "{}", out(&help));
    assert!(out(&help).contains("Example"), "{}", out(&help));
    assert!(err(&help).is_empty());
    for command in [
        "demo", "gateway", "receiver", "request", "renew", "release", "status", "relays", "cut",
        "allow", "approve", "refuse", "check", "certs", "dossier", "journal", "simulate",
    ] {
        let named = |line: &str| line.split_whitespace().next() == Some(command);
        assert!(
            out(&help).lines().any(named),
            "{command} not in {}",
            out(&help)
        );
    }
    let version = fanal(&["--version"]);
    assert_eq!(
        out(&version),
        concat!("fanal ", env!("CARGO_PKG_VERSION"), "\n")
    );
    for wrong in [&[][..], &["nothing"], &["check"], &["check", "--nothing"]] {
        let output = fanal(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(out(&output).is_empty(), "{wrong:?}");
        assert!(!err(&output).is_empty(), "{wrong:?}");
    }
}

#[test]
fn check_says_what_is_right() {
    let place = machines();
    let file = put(&place, "gateway.toml", GATEWAY);
    let output = fanal(&["check", "--config", &file]);
    let text = out(&output);
    // One of the cameras can't be relayed.
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    for said in [
        "wrong: ",
        "gateway.toml:22: camera \"mairie\": main: \"http://127.0.0.1/\" is http://, not rtsp://",
        "1 may be relayed, 0 wait for mask_verified, 1 wrong entries",
        "Convention with corg-13, 2025-02-13 to 2030-02-12, covers 1 of them",
        "the gateway would run with these settings, without 1 camera whose entry is wrong",
    ] {
        assert!(text.contains(said), "{said} not in\n{text}");
    }
    let output = fanal(&["check", "--config", &file, "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["daemon"], "gateway");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["warnings"].as_array().unwrap().len(), 1);
    let finding = &report["findings"][0];
    assert_eq!(
        (&finding["wrong"], &finding["line"], &finding["camera"]),
        (&true.into(), &22.into(), &"mairie".into()),
        "{report}"
    );
    let right = GATEWAY.replace("http://127.0.0.1/", "rtsp://127.0.0.1/2");
    let file = put(&place, "gateway.toml", &right.replace("mairie", "ecole-1"));
    let output = fanal(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", out(&output));
    assert!(out(&output).contains("the gateway's settings are right\n"));

    let receiver = "centre = \"corg-13\"\n[tls]\ncertificate = \"corg-13.pem\"\nkey = \"corg-13.key\"\n\
        authority = \"link-ca.pem\"\n[[commune]]\nid = \"berre-l-etang\"\n\
        [[operators]]\ndesignation_authority = \"designation-ca.pem\"\n";
    let file = put(&place, "receiver.toml", receiver);
    let output = fanal(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert!(
        out(&output).contains("the receiver's settings are right\n"),
        "{}",
        out(&output)
    );
    // What the console reads from files is read too.
    let addresses = "numero;nom_voie;code_postal;nom_commune;lon;lat\n\
        1;Rue A;13130;Berre;5;43\nx;Rue A;13130;Berre;5;43\n";
    put(&place, "adresses.csv", addresses);
    let console = "[console]\naddresses = \"adresses.csv\"\n";
    let file = put(&place, "receiver.toml", &format!("{receiver}{console}"));
    let output = fanal(&["check", "--config", &file]);
    let said = "1 in 1 streets, 1 rows are wrong: line 3: numero is no number";
    assert!(out(&output).contains(said), "{}", out(&output));
    put(&place, "fond.pmtiles", "none");
    let tiles = format!("{receiver}{console}tiles = \"fond.pmtiles\"\n");
    let file = put(&place, "receiver.toml", &tiles);
    let output = fanal(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("no PMTiles archive"),
        "{}",
        err(&output)
    );
    let output = fanal(&["check", "--config", &file, "--cameras"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        err(&output).contains("cameras are the commune's"),
        "{}",
        err(&output)
    );
}

#[test]
fn check_speaks_french() {
    let place = machines();
    let settings = GATEWAY.replace(
        "cameras = [\"*\"]",
        "cameras = [\"*\"]\nexcept = [\"ecole-*\"]",
    );
    let school =
        "[[camera]]\nid = \"ecole-1\"\nmain = \"rtsp://127.0.0.1/3\"\nmask_verified = true\n";
    let file = put(&place, "gateway.toml", &format!("{settings}{school}"));
    let french = fanal(&["check", "--lang", "fr", "--config", &file]);
    let text = out(&french);
    assert_eq!(french.status.code(), Some(1), "{text}");
    for said in [
        "faux : ",
        "gateway.toml:23: caméra \"mairie\" : main: \"http://127.0.0.1/\" est en http://, et non en rtsp://",
        "caméras      2 peuvent être relayées, 0 attendent mask_verified, 1 lignes fausses",
        "convention   Convention avec corg-13, du 2025-02-13 au 2030-02-12, en couvre 1",
        "sans         ecole-1, que except nomme par \"ecole-*\"",
        "la passerelle fonctionnerait avec ces réglages, sans 1 caméra dont la ligne est fausse",
    ] {
        assert!(text.contains(said), "{said} not in\n{text}");
    }
    // The shell's language unless another is asked for.
    let by = |variable: &str, args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fanal"));
        command.args(["check", "--config", &file]).args(args);
        for name in ["LC_ALL", "LC_MESSAGES", "LANG"] {
            command.env_remove(name);
        }
        out(&command.env(variable, "fr_FR.UTF-8").output().unwrap())
    };
    for variable in ["LC_ALL", "LC_MESSAGES", "LANG"] {
        assert_eq!(by(variable, &[]), text, "{variable}");
        assert!(by(variable, &["--lang", "en"]).starts_with("wrong: "));
    }
    let file = put(
        &place,
        "gateway.toml",
        &GATEWAY.replace("link-ca.pem", "none.pem"),
    );
    let wrong = fanal(&["check", "--lang", "fr", "--config", &file]);
    assert_eq!(wrong.status.code(), Some(2));
    for said in [
        "les réglages sont faux, 1 erreur",
        "ne peut être lu : fichier ou répertoire absent",
    ] {
        assert!(err(&wrong).contains(said), "{}", err(&wrong));
    }
    let receiver = fanal(&["check", "--lang", "fr", "--config", "/nonexistent.toml"]);
    assert_eq!(receiver.status.code(), Some(2));
}

#[test]
fn check_says_what_is_wrong_with_line_and_mend() {
    let place = machines();
    let wrong = GATEWAY.replacen("until = 2030", "untill = 2030", 1);
    let file = put(&place, "gateway.toml", &wrong);
    let output = fanal(&["check", "--config", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(out(&output).is_empty());
    let said = format!("{file}:12: [[agreement]] unknown key `untill`");
    assert!(err(&output).contains(&said), "{}", err(&output));
    let output = fanal(&["check", "--config", &file, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors"][0]["line"], 12, "{report}");
    let missing = place.at("none.toml");
    let output = fanal(&["check", "--config", &missing]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("can't be read"), "{}", err(&output));
}

#[test]
fn check_gives_the_table_back_with_what_to_correct() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let place = machines();
    let table = format!(
        "nom;flux principal;masque vérifié;notes\r\nPort;rtsp://127.0.0.1:{port}/;oui;\r\n\
         Gare;http://127.0.0.1/;oui;à voir\r\nÉcole;rtsp://127.0.0.1:{port}/2;non;\r\n"
    );
    put(&place, "cameras.csv", &table);
    let file = put(
        &place,
        "gateway.toml",
        &format!("cameras_file = \"cameras.csv\"\n{GATEWAY}"),
    );
    let out_file = place.at("back.csv");
    let sheet = [
        "check", "--config", &file, "--csv", &out_file, "--lang", "fr",
    ];
    let output = fanal(&sheet);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let back = std::fs::read_to_string(&out_file).unwrap();
    let rows: Vec<&str> = back.lines().collect();
    assert_eq!(
        rows[0],
        "\u{feff}nom;flux principal;masque vérifié;notes;à corriger"
    );
    assert!(rows[1].ends_with(";oui;;"), "{back}");
    assert!(
        rows[2].contains(";à voir;") && rows[2].contains("et non en rtsp://"),
        "{back}"
    );
    assert!(
        rows[3].contains("masques dans la caméra elle-même"),
        "{back}"
    );
    let output = fanal(&[&sheet[..], &["--cameras"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let back = std::fs::read_to_string(&out_file).unwrap();
    let refused = fanal::reason::Reason::CameraRefused.french();
    let row = back.lines().nth(1).unwrap();
    assert!(row.contains("main: ") && row.contains(refused), "{back}");

    put(&place, "link-ca.key", "not here");
    let output = fanal(&["check", "--config", &file, "--quiet"]);
    assert!(
        out(&output).contains("THE KEY OF AN AUTHORITY"),
        "{}",
        out(&output)
    );
}

#[test]
fn check_cameras_says_who_does_not_answer() {
    // A bound port on which nobody listens refuses connections.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();
    let place = machines();
    let address = format!("rtsp://127.0.0.1:{port}/main");
    let file = put(
        &place,
        "gateway.toml",
        &GATEWAY.replacen("rtsp://127.0.0.1/main", &address, 1),
    );
    let output = fanal(&["check", "--config", &file, "--cameras"]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(1), "{text}{}", err(&output));
    let row = |id: &str| text.lines().find(|line| line.starts_with(id)).unwrap();
    assert!(row("mairie").contains(" camera_invalid "), "{text}");
    assert!(row("quai-nord").contains(" camera_refused "), "{text}");
    assert!(text.contains("0 of 2 streams play"), "{text}");
    assert!(err(&output).contains("1/1 quai-nord main: camera_refused"));

    let only = fanal(&[
        "check",
        "--config",
        &file,
        "--cameras",
        "--camera",
        "mairie",
        "--json",
    ]);
    let report: serde_json::Value = serde_json::from_slice(&only.stdout).unwrap();
    assert_eq!(report.as_array().unwrap().len(), 1);
    assert_eq!(report[0]["result"], "camera_invalid");
    let unknown = fanal(&["check", "--config", &file, "--cameras", "--camera", "gare"]);
    assert_eq!(unknown.status.code(), Some(2));
}

/// A program that is stopped with the test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn simulated_cameras_pass_the_check_and_end_in_order() {
    use std::io::BufRead;
    let child = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["simulate", "--cameras", "3", "--listen", "127.0.0.1:0"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut simulate = Running(child);
    let list = std::io::BufReader::new(simulate.0.stdout.take().unwrap());
    let table: Vec<String> = list.lines().take(4).map(Result::unwrap).collect();
    let place = machines();
    put(&place, "cameras.csv", &table.join("\n"));
    let (settings, _) = GATEWAY.split_once("[[camera]]").unwrap();
    let settings = settings.replacen("[tls]", "cameras_file = \"cameras.csv\"\n[tls]", 1);
    let file = put(&place, "gateway.toml", &settings);
    let output = fanal(&["check", "--config", &file, "--cameras"]);
    let text = out(&output);
    assert_eq!(output.status.code(), Some(0), "{text}{}", err(&output));
    assert!(text.contains("3 of 3 streams play"), "{text}");
    for row in text.lines().skip(1).take(3) {
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(&cells[1..4], ["main", "ok", "H.264"], "{text}");
        let rate: f64 = cells[5].parse().unwrap();
        assert!((24.0..=26.0).contains(&rate), "{text}");
    }
    let pid = rustix::process::Pid::from_child(&simulate.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(simulate.0.wait().unwrap().code(), Some(0));
}

#[test]
fn faults_are_listed_and_unknown_ones_refused() {
    let listed = fanal(&["simulate", "--fault", "list"]);
    assert!(listed.status.success());
    let text = out(&listed);
    for fault in fanal::simulate::field::all().skip(1) {
        assert!(
            text.contains(fault.name) && text.contains(fault.about),
            "{}",
            fault.name
        );
    }
    let unknown = fanal(&["simulate", "--fault", "no-such"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(err(&unknown).contains("--fault list"), "{}", err(&unknown));
    let open = fanal(&["simulate", "--fault", "digest-md5-sess"]);
    assert!(err(&open).contains("--username"), "{}", err(&open));
}

#[test]
fn check_says_which_url_players_get() {
    let place = machines();
    let base = r#"centre = "corg-13"
state_dir = "."
[tls]
certificate = "corg-13.pem"
key = "corg-13.key"
authority = "link-ca.pem"
[[commune]]
id = "berre-l-etang"
[[operators]]
designation_authority = "designation-ca.pem"
[rtsp]
"#;
    let tls =
        "tls_listen = \"0.0.0.0:8322\"\ncertificate = \"corg-13.pem\"\nkey = \"corg-13.key\"\n";
    for (more, said) in [
        (
            "",
            "rtsp://GRANT:PASSWORD@127.0.0.1:8554/COMMUNE/CAMERA, from this machine only",
        ),
        (
            tls,
            "rtsps://GRANT:PASSWORD@HOST:8322/COMMUNE/CAMERA, HOST by which the console",
        ),
        (
            &format!("{tls}address = \"corg13.example:8322\"\n"),
            "rtsps://GRANT:PASSWORD@corg13.example:8322/COMMUNE/CAMERA\n",
        ),
    ] {
        let file = put(&place, "receiver.toml", &format!("{base}{more}"));
        let output = fanal(&["check", "--config", &file]);
        assert!(output.status.success(), "{}", err(&output));
        let text = out(&output);
        assert!(text.contains(&format!("players      {said}")), "{text}");
    }
}

#[test]
fn a_package_gets_a_page_for_every_command_and_completions() {
    let place = machines();
    let dir = place.path("package");
    let done = fanal(&["generate", "--dir", &dir.display().to_string()]);
    assert!(done.status.success(), "{}", err(&done));
    let page = std::fs::read_to_string(dir.join("man/fanal-journal-verify.1")).unwrap();
    assert!(
        page.contains(".TH FANAL") && page.contains("Example"),
        "{page}"
    );
    for (shell, names) in [
        ("fanal.bash", "journal"),
        ("_fanal", "journal"),
        ("fanal.fish", "journal"),
    ] {
        let text = std::fs::read_to_string(dir.join("completions").join(shell)).unwrap();
        assert!(text.contains(names), "{shell}");
    }
    // Each command that the help lists has its page.
    let help = out(&fanal(&["--help"]));
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let mut seen = 0;
    for line in listed.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        seen += 1;
        let page = dir.join(format!("man/fanal-{name}.1"));
        assert!(name == "help" || page.exists(), "{name}");
    }
    assert!(seen > 10);
}

#[test]
fn a_quiet_check_says_only_what_is_wrong() {
    let place = machines();
    let file = put(&place, "gateway.toml", GATEWAY);
    let right = fanal(&["check", "--quiet", "--config", &file]);
    assert_eq!(right.status.code(), Some(1));
    assert!(out(&right).contains("wrong: "), "{}", out(&right));
    assert!(!out(&right).contains("commune"), "{}", out(&right));
    let file = put(
        &place,
        "gateway.toml",
        &GATEWAY.replace("grounds =", "grouns ="),
    );
    let wrong = fanal(&["check", "--quiet", "--config", &file]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(err(&wrong).contains("grouns"), "{}", err(&wrong));
}

#[test]
fn a_message_to_systemds_journal_has_its_priority() {
    use std::os::unix::fs::MetadataExt;
    let place = machines();
    let file = std::fs::File::create(place.path("stderr")).unwrap();
    let is = file.metadata().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["gateway", "--config", "/nonexistent/gateway.toml"])
        .env("JOURNAL_STREAM", format!("{}:{}", is.dev(), is.ino()))
        .stderr(file)
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(2));
    let text = std::fs::read_to_string(place.path("stderr")).unwrap();
    assert!(text.starts_with("<3>fanal: "), "{text}");
    // Another stream than the variable names is for people.
    let other = fanal(&["gateway", "--config", "/nonexistent/gateway.toml"]);
    assert!(err(&other).starts_with("fanal: "), "{}", err(&other));
}

#[test]
fn a_daemon_tells_the_service_manager_that_it_serves_and_lives() {
    let place = machines();
    let socket = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    socket
        .set_read_timeout(Some(std::time::Duration::from_secs(60)))
        .unwrap();
    let text = format!(
        "metrics = \"127.0.0.1:0\"\nstate_dir = \"state\"\nsocket = \"gateway.sock\"\n{}",
        GATEWAY.trim_start()
    );
    let file = put(&place, "gateway.toml", &text);
    let daemon = Command::new(env!("CARGO_BIN_EXE_fanal"))
        .args(["gateway", "--config", &file])
        .env("NOTIFY_SOCKET", place.path("notify"))
        .env("WATCHDOG_USEC", "300000")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _daemon = Killed(daemon);
    let mut told = Vec::new();
    // Ready first, then a sign of life again and again.
    while told.iter().filter(|told| **told == "WATCHDOG=1").count() < 3 {
        let mut message = [0; 4096];
        let length = socket.recv(&mut message).expect("a message in time");
        let message = std::str::from_utf8(&message[..length]).unwrap();
        told.push(message.trim().lines().next().unwrap().to_owned());
    }
    assert_eq!(told[0], "READY=1");
}

/// A program that ends with the test, whatever its outcome.
struct Killed(std::process::Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_camera_that_answers_becomes_a_row_and_one_that_is_known_does_not() {
    let device = crate::onvif::Device::start(crate::onvif::Plan {
        login: Some(crate::onvif::Login::Token { clock_off: 0 }),
        ..crate::onvif::Plan::default()
    })
    .await;
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap().to_string();
    // It names an address that is not its own.
    let service = device.url().replace("127.0.0.1", "192.0.2.1");
    let answering = tokio::spawn(async move {
        let mut question = [0; 4096];
        loop {
            let (length, from) = socket.recv_from(&mut question).await.unwrap();
            let text = String::from_utf8_lossy(&question[..length]);
            assert!(text.contains("NetworkVideoTransmitter"), "{text}");
            let answer = format!(
                "<e:Envelope xmlns:e=\"http://www.w3.org/2003/05/soap-envelope\"><e:Body><d:ProbeMatches xmlns:d=\"http://schemas.xmlsoap.org/ws/2005/04/discovery\"><d:ProbeMatch><d:Scopes>onvif://www.onvif.org/name/Quai%20Nord</d:Scopes><d:XAddrs>{service}</d:XAddrs></d:ProbeMatch></d:ProbeMatches></e:Body></e:Envelope>"
            );
            socket.send_to(answer.as_bytes(), from).await.unwrap();
        }
    });
    let place = machines();
    put(&place, "password.txt", "s3cret");
    let discover = async |camera: &str| {
        let credential = "[[credential]]\nid = \"hik\"\nusername = \"fanal\"\npassword_file = \"password.txt\"\n";
        let camera = format!("{camera}\"\ncredential = \"hik");
        let text = GATEWAY.replacen("rtsp://127.0.0.1/main", &camera, 1);
        let file = put(&place, "gateway.toml", &format!("{text}{credential}"));
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_fanal"))
            .args(["check", "--discover", "--at", &at, "--config"])
            .arg(&file)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{errors}");
        (text, errors)
    };
    let (text, errors) = discover("rtsp://127.0.0.1/other").await;
    let row = text
        .lines()
        .nth(1)
        .unwrap_or_else(|| panic!("{text}{errors}"));
    assert!(
        row.starts_with("Quai Nord 127.0.0.1;rtsp://127.0.0.1/"),
        "{row}"
    );
    assert!(
        row.ends_with(";non") && row.contains("main?unicast=true"),
        "{row}"
    );
    let main = row.split(';').nth(1).unwrap();
    let (text, errors) = discover(main).await;
    assert_eq!(text.lines().count(), 1, "{text}{errors}");
    assert!(!device.heard().contains("s3cret"));
    answering.abort();
}
