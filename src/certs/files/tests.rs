//! What `fanal certs` leaves behind in a directory.

use std::os::unix::fs::PermissionsExt;

use x509_parser::prelude::FromDer;

use super::*;
use crate::certs::authority::{LIST_LIFE, Person};
use crate::format::designation;
use crate::format::jws::Signer;
use crate::format::pem;
use crate::format::trust::Anchors;

const NOW: Wall = Wall::from_seconds(1_763_864_381);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// A directory that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let name = format!("fanal-certs-{}", uuid::Uuid::now_v7());
        Self(std::env::temp_dir().join(name))
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    fn mode(&self, name: &str) -> u32 {
        let metadata = std::fs::metadata(self.0.join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn machine(
    dir: &Directory,
    id: &str,
    lasting: Duration,
    replace: bool,
    now: Wall,
) -> Result<Vec<PathBuf>, Error> {
    let subject = Subject::Machine(id.to_owned());
    let request = None;
    let wanted = Wanted {
        subject,
        lasting,
        request,
        replace,
    };
    dir.issue(&wanted, now).map(|made| made.files)
}

fn operator(
    dir: &Directory,
    person: &Person,
    lasting: Duration,
    request: Option<&str>,
    replace: bool,
    now: Wall,
) -> Result<Vec<PathBuf>, Error> {
    let subject = Subject::Operator(person.clone());
    let request = request.map(str::to_owned);
    let wanted = Wanted {
        subject,
        lasting,
        request,
        replace,
    };
    dir.issue(&wanted, now).map(|made| made.files)
}

fn person() -> Person {
    Person {
        number: "13-4567".to_owned(),
        name: "Adjudant Martin".to_owned(),
        unit: "CORG 13".to_owned(),
    }
}

#[test]
fn a_directory_holds_what_the_interface_names() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(None, false, LIST_LIFE, NOW).unwrap();
    machine(&dir, "berre-l-etang", MACHINE_LIFE, false, NOW).unwrap();
    operator(&dir, &person(), WEEK, None, false, NOW).unwrap();
    for (name, mode) in [
        ("link-ca.pem", 0o644),
        ("link-ca.key", 0o600),
        ("designation-ca.pem", 0o644),
        ("designation-ca.key", 0o600),
        ("link.crl.pem", 0o644),
        ("designation.crl.pem", 0o644),
        ("berre-l-etang.pem", 0o644),
        ("berre-l-etang.key", 0o600),
        ("13-4567.pem", 0o644),
        ("13-4567.key", 0o600),
    ] {
        assert_eq!(scratch.mode(name), mode, "{name}");
    }
    let signer = |name: &str| {
        let file = |end: &str| scratch.text(&format!("{name}.{end}"));
        Signer::from_pem(&file("key"), &file("pem")).unwrap()
    };
    let link = Anchors::from_pem(
        &scratch.text("link-ca.pem"),
        &[&scratch.text("link.crl.pem")],
    );
    let server = webpki::KeyUsage::required(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
    let chain = signer("berre-l-etang");
    link.unwrap()
        .verify(chain.chain(), NOW, server, true)
        .unwrap();
    // A designation lasts exactly as long as was asked for.
    let leaf = signer("13-4567").chain()[0].clone();
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&leaf).unwrap();
    let (from, until) = (parsed.validity().not_before, parsed.validity().not_after);
    assert_eq!(until.timestamp() - from.timestamp(), 7 * 24 * 3600);
    assert_eq!(from.timestamp(), NOW.seconds() - 60);
}

#[test]
fn nothing_is_overwritten_silently() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(Some(Kind::Designation), false, LIST_LIFE, NOW)
        .unwrap();
    assert!(!scratch.0.join("link-ca.pem").exists());
    assert!(matches!(
        dir.init(None, false, LIST_LIFE, NOW),
        Err(Error::Exists(_))
    ));
    assert!(
        !scratch.0.join("link-ca.pem").exists(),
        "checked before anything is written"
    );
    dir.init(Some(Kind::Link), false, LIST_LIFE, NOW).unwrap();

    operator(&dir, &person(), WEEK, None, false, NOW).unwrap();
    let first = scratch.text("13-4567.pem");
    let again = operator(&dir, &person(), WEEK, None, false, NOW);
    assert!(matches!(again, Err(Error::Exists(_))));
    assert_eq!(scratch.text("13-4567.pem"), first);
    operator(&dir, &person(), WEEK, None, true, NOW).unwrap();
    let kept = format!(
        "13-4567.replaced-{}.pem",
        authority::serial(&first).unwrap()
    );
    assert_eq!(scratch.text(&kept), first);
    assert_eq!(scratch.mode("13-4567.key"), 0o600);
    dir.revoke(&scratch.0.join(kept), LIST_LIFE, NOW).unwrap();
}

/// The number of a list that is signed so many seconds or lists after the first.
fn numbered(after: i64) -> String {
    (NOW.seconds() + after).to_string()
}

#[test]
fn revoking_adds_to_the_list_and_counts_up() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(None, false, LIST_LIFE, NOW).unwrap();
    let mut authority = designation::Authority::from_pem(
        &scratch.text("designation-ca.pem"),
        &[&scratch.text("designation.crl.pem")],
    )
    .unwrap();
    assert_eq!(authority.list().unwrap().number, numbered(0));
    let backup = scratch.text("designation.crl.pem");
    for (number, expected) in [("a", numbered(1)), ("b", numbered(2))] {
        let person = Person {
            number: number.to_owned(),
            ..person()
        };
        operator(&dir, &person, WEEK, None, false, NOW).unwrap();
        let list = dir
            .revoke(Path::new(&format!("{number}.pem")), LIST_LIFE, NOW)
            .unwrap();
        assert_eq!(list, scratch.0.join("designation.crl.pem"));
        let taken = authority
            .update(&scratch.text("designation.crl.pem"))
            .unwrap()
            .unwrap();
        assert_eq!(taken.number, expected);
    }
    let der = rustls::pki_types::pem::PemObject::from_pem_slice(
        scratch.text("designation.crl.pem").as_bytes(),
    );
    let der: rustls::pki_types::CertificateRevocationListDer<'_> = der.unwrap();
    let (_, list) =
        x509_parser::revocation_list::CertificateRevocationList::from_der(&der).unwrap();
    assert_eq!(list.iter_revoked_certificates().count(), 2);
    let month = Duration::from_secs(30 * 24 * 3600);
    dir.renew_lists(Some(Kind::Designation), month, NOW)
        .unwrap();
    let taken = authority
        .update(&scratch.text("designation.crl.pem"))
        .unwrap()
        .unwrap();
    assert_eq!(taken.number, numbered(3));
    assert_eq!(taken.next_update, Some(NOW.plus(month)));
    // After a restore the next number is still above all that were given out.
    std::fs::write(scratch.0.join("designation.crl.pem"), &backup).unwrap();
    let later = NOW.plus(Duration::from_secs(60));
    dir.renew_lists(Some(Kind::Designation), month, later)
        .unwrap();
    let taken = authority.update(&scratch.text("designation.crl.pem"));
    assert_eq!(taken.unwrap().unwrap().number, numbered(60));
    // A lost list would lose revocations.
    std::fs::remove_file(scratch.0.join("designation.crl.pem")).unwrap();
    assert!(
        dir.renew_lists(Some(Kind::Designation), LIST_LIFE, NOW)
            .is_err()
    );
    let foreign = dir.revoke(Path::new("link-ca.pem"), LIST_LIFE, NOW);
    assert!(foreign.is_err());
}

#[test]
fn a_request_gives_its_public_key_and_nothing_else() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(None, false, LIST_LIFE, NOW).unwrap();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut wish = rcgen::CertificateParams::new(vec!["berre-l-etang".to_owned()]).unwrap();
    wish.distinguished_name
        .push(rcgen::DnType::CommonName, "General");
    let csr = pem::encode(
        "CERTIFICATE REQUEST",
        wish.serialize_request(&key).unwrap().der(),
    );
    let written = operator(&dir, &person(), WEEK, Some(&csr), false, NOW).unwrap();
    assert_eq!(written, [scratch.0.join("13-4567.pem")]);
    assert!(!scratch.0.join("13-4567.key").exists());
    let signer = Signer::from_pem(
        &pem::encode("PRIVATE KEY", key.serialized_der()),
        &scratch.text("13-4567.pem"),
    )
    .unwrap();
    let (_, leaf) =
        x509_parser::certificate::X509Certificate::from_der(&signer.chain()[0]).unwrap();
    assert!(leaf.subject_alternative_name().unwrap().is_none());
    let names: Vec<_> = leaf
        .subject()
        .iter_common_name()
        .map(|cn| cn.as_str().unwrap())
        .collect();
    assert_eq!(names, ["Adjudant Martin"]);

    // Any change breaks its signature; other keys are refused.
    let changed = csr.replacen("MI", "MJ", 1);
    let other = Person {
        number: "x".to_owned(),
        ..person()
    };
    assert!(operator(&dir, &other, WEEK, Some(&changed), false, NOW).is_err());
    let p384 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let csr = pem::encode(
        "CERTIFICATE REQUEST",
        wish.serialize_request(&p384).unwrap().der(),
    );
    let refused = operator(&dir, &other, WEEK, Some(&csr), false, NOW).unwrap_err();
    assert!(
        refused.to_string().contains("P-256 or Ed25519"),
        "{refused}"
    );
}

#[test]
fn names_are_safe_as_file_names() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(None, false, LIST_LIFE, NOW).unwrap();
    for number in [
        "",
        "..",
        "../x",
        "a/b",
        ".hidden",
        "-a",
        "é",
        "link-ca",
        "designation.crl",
        "Link.CRL",
    ] {
        let person = Person {
            number: number.to_owned(),
            ..person()
        };
        let refused = operator(&dir, &person, WEEK, None, true, NOW);
        assert!(matches!(refused, Err(Error::Name { .. })), "{number}");
    }
    for id in ["", "Berre", "a.b", "../a", "a-", "link-ca"] {
        let refused = machine(&dir, id, MACHINE_LIFE, true, NOW);
        assert!(matches!(refused, Err(Error::Name { .. })), "{id}");
    }
    for (name, unit) in [("", "CORG 13"), ("a\u{202e}b", "CORG 13"), ("a", "b\n")] {
        let person = Person {
            name: name.to_owned(),
            unit: unit.to_owned(),
            ..person()
        };
        assert!(operator(&dir, &person, WEEK, None, false, NOW).is_err());
    }
}

fn server(names: &[&str]) -> Wanted {
    Wanted {
        subject: Subject::Server(names.iter().map(|&name| name.to_owned()).collect()),
        lasting: MACHINE_LIFE,
        request: None,
        replace: false,
    }
}

#[test]
fn a_console_has_its_own_authority_and_all_its_names() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    let made = dir
        .issue(&server(&["corg13.example", "10.13.0.5", "::1"]), NOW)
        .unwrap();
    let names: Vec<_> = made
        .files
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "console-ca.pem",
            "console-ca.key",
            "console.crl.pem",
            "corg13.example.pem",
            "corg13.example.key"
        ]
    );
    let anchors = Anchors::from_pem(&scratch.text("console-ca.pem"), &[]).unwrap();
    let leaf = pem::certificates(scratch.text("corg13.example.pem").as_bytes()).unwrap();
    let usage = |code: u8| {
        webpki::KeyUsage::required(match code {
            1 => &[0x2b, 6, 1, 5, 5, 7, 3, 1],
            _ => &[0x2b, 6, 1, 5, 5, 7, 3, 2],
        })
    };
    anchors.verify(&leaf, NOW, usage(1), false).unwrap();
    assert!(
        anchors.verify(&leaf, NOW, usage(2), false).is_err(),
        "no client"
    );
    let leaf = webpki::EndEntityCert::try_from(&leaf[0]).unwrap();
    for name in ["corg13.example", "10.13.0.5", "::1"] {
        let name = rustls::pki_types::ServerName::try_from(name).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).unwrap();
    }
    for wrong in ["", "Corg13", "*.example", "a..b", "a/b", "-a", "console-ca"] {
        let refused = dir.issue(&server(&[wrong]), NOW);
        assert!(matches!(refused, Err(Error::Name { .. })), "{wrong}");
    }
}

#[test]
fn two_authorities_at_once_then_the_new_one_alone() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    let (only, month) = (Some(Kind::Link), Duration::from_secs(30 * 24 * 3600));
    dir.init(only, false, LIST_LIFE, NOW).unwrap();
    for id in ["berre-l-etang", "rognac"] {
        machine(&dir, id, MACHINE_LIFE, false, NOW).unwrap();
    }
    dir.revoke(Path::new("rognac.pem"), LIST_LIFE, NOW).unwrap();
    let old = scratch.text("berre-l-etang.pem");
    let revoked = scratch.text("rognac.pem");
    dir.init(only, true, LIST_LIFE, NOW).unwrap();
    machine(&dir, "berre-l-etang", MACHINE_LIFE, true, NOW).unwrap();
    let server = webpki::KeyUsage::required(&[0x2b, 6, 1, 5, 5, 7, 3, 1]);
    let judge = |certificate: &str| {
        let (authority, lists) = (scratch.text("link-ca.pem"), scratch.text("link.crl.pem"));
        let mut anchors = Anchors::from_pem(&authority, &[]).unwrap();
        anchors.update_own(&lists).unwrap();
        let chain = pem::certificates(certificate.as_bytes()).unwrap();
        anchors.verify(&chain, NOW, server, true)
    };
    let new = scratch.text("berre-l-etang.pem");
    judge(&old).unwrap();
    judge(&new).unwrap();
    assert!(judge(&revoked).is_err(), "still revoked");
    // The one before still revokes, and its lists go on.
    dir.renew_lists(None, month, NOW).unwrap();
    dir.revoke(
        &scratch.0.join(format!(
            "berre-l-etang.replaced-{}.pem",
            authority::serial(&old).unwrap()
        )),
        month,
        NOW,
    )
    .unwrap();
    assert!(judge(&old).is_err());
    judge(&new).unwrap();

    dir.retire(Kind::Link, LIST_LIFE, NOW).unwrap();
    judge(&new).unwrap();
    assert!(matches!(
        judge(&old),
        Err(crate::format::trust::Untrusted::Foreign)
    ));
    let keys = std::fs::read_dir(&scratch.0).unwrap();
    let keys = keys.filter(|file| {
        file.as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .contains("old-")
    });
    assert_eq!(keys.count(), 0);
    // A key that is another authority's is refused before anything is signed.
    std::fs::write(
        scratch.0.join("link-ca.key"),
        scratch.text("berre-l-etang.key"),
    )
    .unwrap();
    let refused = machine(&dir, "fos", MACHINE_LIFE, false, NOW).unwrap_err();
    assert!(refused.to_string().contains("from one backup"), "{refused}");
}

#[test]
fn nothing_outlives_its_authority_and_what_ends_is_listed() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    dir.init(Some(Kind::Link), false, LIST_LIFE, NOW).unwrap();
    let late = NOW.plus(AUTHORITY_LIFE - Duration::from_secs(5 * 24 * 3600));
    let subject = Subject::Machine("berre-l-etang".to_owned());
    let wanted = Wanted {
        subject,
        lasting: MACHINE_LIFE,
        request: None,
        replace: false,
    };
    let made = dir.issue(&wanted, late).unwrap();
    let (kind, end) = made.cut_short.unwrap();
    assert_eq!(kind, Kind::Link);
    let ends = dir.ends().unwrap();
    let files: Vec<_> = ends
        .iter()
        .map(|end| end.path.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(files, ["link.crl.pem", "berre-l-etang.pem", "link-ca.pem"]);
    assert_eq!(
        (ends[1].until, ends[1].whose.as_str()),
        (end, "berre-l-etang")
    );
}

#[test]
fn a_bundle_holds_what_one_machine_needs_and_no_authority_s_key() {
    let scratch = Scratch::new();
    let dir = Directory::new(&scratch.0);
    let other = Directory::new(scratch.0.join("other"));
    dir.init(Some(Kind::Link), false, LIST_LIFE, NOW).unwrap();
    other
        .init(Some(Kind::Designation), false, LIST_LIFE, NOW)
        .unwrap();
    machine(&dir, "berre-l-etang", MACHINE_LIFE, false, NOW).unwrap();
    machine(&dir, "rognac", MACHINE_LIFE, false, NOW).unwrap();
    let path = dir
        .bundle("berre-l-etang", &[scratch.0.join("other")], NOW)
        .unwrap();
    assert_eq!(scratch.mode("berre-l-etang.tar"), 0o600);
    let tar = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    for name in [
        "berre-l-etang.pem",
        "berre-l-etang.key",
        "link-ca.pem",
        "link.crl.pem",
        "designation-ca.pem",
        "designation.crl.pem",
    ] {
        assert!(tar.contains(&format!("{name}\0")), "{name}");
    }
    for secret in ["link-ca.key", "rognac.key"] {
        let secret = scratch.text(secret);
        assert!(!tar.contains(secret.lines().nth(1).unwrap()));
    }
    // A person's: no machine's papers.
    operator(&other, &person(), WEEK, None, false, NOW).unwrap();
    let path = other
        .bundle("13-4567", std::slice::from_ref(&scratch.0), NOW)
        .unwrap();
    let tar = String::from_utf8(std::fs::read(path).unwrap()).unwrap();
    assert!(
        tar.contains("13-4567.key\0") && !tar.contains("link-ca"),
        "{tar}"
    );
    for id in ["nobody", "link-ca", "../x"] {
        assert!(dir.bundle(id, &[], NOW).is_err(), "{id}");
    }
}

#[test]
fn a_key_made_for_a_request_stays_where_it_was_made() {
    let scratch = Scratch::new();
    let dir = Directory::new(scratch.0.join("authority"));
    dir.init(Some(Kind::Page), false, LIST_LIFE, NOW).unwrap();
    let own = Directory::new(&scratch.0);
    let files = own.request("anne").unwrap();
    assert_eq!(
        files,
        [scratch.0.join("anne.key"), scratch.0.join("anne.csr")]
    );
    assert_eq!(scratch.mode("anne.key"), 0o600);
    assert!(matches!(own.request("anne"), Err(Error::Exists(_))));
    let agent = Wanted {
        subject: Subject::Agent(Person {
            number: "anne".to_owned(),
            ..person()
        }),
        lasting: WEEK,
        request: Some(scratch.text("anne.csr")),
        replace: false,
    };
    let made = dir.issue(&agent, NOW).unwrap();
    assert_eq!(made.files, [scratch.0.join("authority/anne.pem")]);
    Signer::from_pem(
        &scratch.text("anne.key"),
        &scratch.text("authority/anne.pem"),
    )
    .unwrap();
}
