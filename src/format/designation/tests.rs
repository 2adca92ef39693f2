//! Who passes as an operator, and who does not.

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use serde_json::{Value, json};

use super::*;
use crate::certs::trial::Trial;
use crate::format::jws::Signer;
use crate::format::pem;

mod claims;

const NOW: Wall = Wall::from_seconds(1_763_864_381);
const DAY: Duration = Duration::from_secs(24 * 3600);
const RULES: Rules = Rules {
    max_designation: Some(Duration::from_secs(31 * 24 * 3600)),
    require_fresh_revocation: false,
};
const FRESH: Rules = Rules {
    require_fresh_revocation: true,
    ..RULES
};

fn date(at: Wall) -> time::OffsetDateTime {
    rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(at.seconds().unsigned_abs())
}

/// An authority that makes certificates of any form.
struct Maker {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Maker {
    fn new(name: &str) -> Self {
        Self::with_key(
            name,
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        )
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn with_key(name: &str, key: KeyPair) -> Self {
        let params = Self::params(name);
        let pem = certificate(&params.self_signed(&key).unwrap());
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// An authority below this one.
    fn below(&self, name: &str) -> Self {
        let mut params = Self::params(name);
        params.serial_number = Some(SerialNumber::from(77));
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = certificate(&params.signed_by(&key, &self.issuer).unwrap());
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A designation, changed by `change`.
    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Signer {
        self.chained(&[], change)
    }

    fn chained(&self, above: &[&Self], change: impl FnOnce(&mut CertificateParams)) -> Signer {
        let (key, mut chain) = self.identity(change);
        above.iter().for_each(|maker| chain.push_str(&maker.pem));
        Signer::from_pem(&key, &chain).unwrap()
    }

    /// Key and certificate in PEM.
    fn identity(&self, change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&[
            (DnType::CommonName, "Adjudant Martin"),
            (SERIAL, "13-4567"),
            (DnType::OrganizationalUnitName, "CORG 13"),
        ]);
        params.serial_number = Some(SerialNumber::from(42));
        params.not_before = date(NOW);
        params.not_after = date(NOW.plus(7 * DAY));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let certificate = certificate(&params.signed_by(&key, &self.issuer).unwrap());
        (
            pem::encode("PRIVATE KEY", key.serialized_der()),
            certificate,
        )
    }

    /// A list with these serial numbers.
    fn list(
        &self,
        number: u64,
        revoked: &[u64],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked_certs = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date(NOW),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: date(NOW),
            next_update: date(NOW.plus(30 * DAY)),
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        pem::encode("X509 CRL", params.signed_by(&self.issuer).unwrap().der())
    }

    fn authority(&self, lists: &[&str]) -> Authority {
        Authority::from_pem(&self.pem, lists).unwrap()
    }
}

fn certificate(made: &rcgen::Certificate) -> String {
    pem::encode("CERTIFICATE", made.der())
}

const SERIAL: DnType = DnType::CustomDnType(Vec::new());

fn subject(names: &[(DnType, &str)]) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    for (kind, value) in names {
        let kind = if *kind == SERIAL {
            DnType::CustomDnType(vec![2, 5, 4, 5])
        } else {
            kind.clone()
        };
        subject.push(kind, *value);
    }
    subject
}

fn claims() -> Value {
    json!({
        "jti": "019ab1e0-6c3f-7a51-9d2c-3f0e5a7b9c10",
        "iat": NOW.seconds(),
        "aud": "berre-l-etang",
        "centre": "corg-13",
        "cameras": ["quai-nord", "rond-point"],
        "grounds": "burglary",
        "incident": "COG-13/2026.42",
        "duration": 1800,
        "profile": "auto",
        "present": ["Brigadier Núñez"],
    })
}

fn request(signer: &Signer) -> String {
    signer.sign(REQUEST_TYPE, &claims())
}

fn reason(signer: &Signer, authority: &Authority, rules: Rules, now: Wall) -> Option<Reason> {
    verify_request(&request(signer), authority, rules, now)
        .err()
        .map(|refusal| refusal.reason)
}

#[test]
fn statements_made_by_another_program_open() {
    let authority = include_str!("golden/authority.pem");
    let list = include_str!("golden/list.pem");
    let authority = Authority::from_pem(authority, &[list]).unwrap();
    assert_eq!(authority.list().unwrap().number, "7");
    assert_eq!(authority.list().unwrap().pem, list);
    let signed = Wall::from_seconds(1_794_452_581);
    for (text, name, number) in [
        (
            include_str!("golden/es256.jws"),
            "Adjudant Zoé Ferré",
            "13-4567",
        ),
        (
            include_str!("golden/eddsa.jws"),
            "Major Paul Roux",
            "13-0042",
        ),
    ] {
        let verified = verify_request(text.trim_end(), &authority, FRESH, signed).unwrap();
        let operator = &verified.designation().operator;
        assert_eq!(
            (operator.name.as_str(), operator.number.as_str()),
            (name, number)
        );
        assert_eq!(operator.unit, "CORG 13");
        assert_eq!(verified.claims().incident.as_str(), "COG-13/2026.42");
        assert_eq!(verified.claims().present, ["Brigadier Léa Núñez"]);
        assert_eq!(verified.text(), text.trim_end());
    }
}

#[test]
fn a_designation_has_exactly_the_agreed_form() {
    use DnType::{CommonName, CountryName, OrganizationalUnitName};
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    let subject_is = |names: &[(DnType, &str)]| {
        let subject = subject(names);
        maker.leaf(|params| params.distinguished_name = subject)
    };
    let second = |arc: u64| DnType::CustomDnType(vec![2, 5, 4, arc]);
    let usage = |usage| maker.leaf(|params| params.extended_key_usages = vec![usage]);
    let full = [
        (CommonName, "A"),
        (SERIAL, "1"),
        (OrganizationalUnitName, "U"),
    ];
    let with = |extra: (DnType, &'static str)| {
        let mut names = full.to_vec();
        names.push(extra);
        subject_is(&names)
    };
    let without = |index: usize| {
        let mut names = full.to_vec();
        names.remove(index);
        subject_is(&names)
    };
    let replaced = |index: usize, value: &str| {
        let mut names = full.to_vec();
        names[index].1 = value;
        subject_is(&names)
    };
    for good in [
        maker.leaf(|_| {}),
        subject_is(&full),
        with((CountryName, "FR")),
        usage(ExtendedKeyUsagePurpose::EmailProtection),
        replaced(0, &"é".repeat(128)),
    ] {
        assert_eq!(reason(&good, &authority, RULES, NOW), None);
    }
    let bad = [
        ("no CN", without(0)),
        ("no number", without(1)),
        ("no unit", without(2)),
        ("two CN", with((second(3), "B"))),
        ("two units", with((second(11), "V"))),
        ("empty", replaced(0, " ")),
        ("control", replaced(1, "1\n2")),
        ("bidi", replaced(2, "U\u{202e}")),
        ("long", replaced(0, &"é".repeat(129))),
        (
            "SAN",
            maker.leaf(|params| {
                let name = "berre-l-etang".try_into().unwrap();
                params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            }),
        ),
        ("server", usage(ExtendedKeyUsagePurpose::ServerAuth)),
        ("client", usage(ExtendedKeyUsagePurpose::ClientAuth)),
        ("any", usage(ExtendedKeyUsagePurpose::Any)),
        ("no usage", maker.leaf(|params| params.key_usages.clear())),
        (
            "other usage",
            maker.leaf(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement]),
        ),
        (
            "CA",
            maker.leaf(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        ),
        (
            "too long",
            maker.leaf(|params| {
                params.not_after = date(NOW.plus(31 * DAY + Duration::from_secs(1)))
            }),
        ),
    ];
    for (what, signer) in bad {
        let refused = reason(&signer, &authority, RULES, NOW);
        assert_eq!(refused, Some(Reason::OperatorNotDesignated), "{what}");
    }
    let month = maker.leaf(|params| params.not_after = date(NOW.plus(31 * DAY)));
    assert_eq!(reason(&month, &authority, RULES, NOW), None);
    // What nobody here understands is not passed over.
    let (key, critical) = maker.identity(|params| {
        let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    });
    assert!(Signer::from_pem(&key, &critical).is_err());
    let critical = rustls::pki_types::pem::PemObject::from_pem_slice(critical.as_bytes());
    let refused = designate(&[critical.unwrap()], &authority, RULES, NOW).unwrap_err();
    assert_eq!(refused.reason, Reason::OperatorNotDesignated);
}

#[test]
fn only_the_agreements_authority_designates() {
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    for stranger in [Maker::new("other"), Maker::new("commander")] {
        let signer = stranger.leaf(|_| {});
        assert_eq!(
            reason(&signer, &authority, RULES, NOW),
            Some(Reason::OperatorNotDesignated)
        );
        // Carrying the right authority along helps nobody.
        let signer = stranger.chained(&[&maker], |_| {});
        assert_eq!(
            reason(&signer, &authority, RULES, NOW),
            Some(Reason::OperatorNotDesignated)
        );
        // A stranger's expired certificate is a stranger's.
        let late = NOW.plus(30 * DAY);
        assert_eq!(
            reason(&signer, &authority, RULES, late),
            Some(Reason::OperatorNotDesignated)
        );
    }
    // A machine is no operator, even where one authority signs both.
    let trial = Trial::new(NOW).unwrap();
    let machine = trial.machine("corg-13").unwrap();
    let signer = Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
    let link = Authority::from_pem(trial.link_authority(), &[]).unwrap();
    assert_eq!(
        reason(&signer, &link, RULES, NOW),
        Some(Reason::OperatorNotDesignated)
    );
}

#[test]
fn authorities_are_checked_when_they_are_loaded() {
    let trial = Trial::new(NOW).unwrap();
    let operator = trial.simple_operator("1", "CORG 13", NOW).unwrap();
    let rsa = Maker::with_key(
        "rsa",
        KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
    );
    let foreign = Maker::new("other").list(1, &[], |_| {});
    let part = trial_part_list();
    for (authority, lists, says) in [
        ("", vec![], "no certificate"),
        (
            "-----BEGIN CERTIFICATE-----\nAA\n-----END CERTIFICATE-----\n",
            vec![],
            "can't be read",
        ),
        (operator.certificate.as_str(), vec![], "no authority"),
        (rsa.pem.as_str(), vec![], "neither P-256 nor Ed25519"),
        (
            trial.designation_authority(),
            vec![trial.link_list()],
            "not signed by this authority",
        ),
        (
            trial.designation_authority(),
            vec![foreign.as_str()],
            "not signed by this authority",
        ),
        (trial.designation_authority(), vec![""], "no list"),
        (part.0.as_str(), vec![part.1.as_str()], "only a part"),
    ] {
        let refused = Authority::from_pem(authority, &lists).unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
}

fn trial_part_list() -> (String, String) {
    let maker = Maker::new("part");
    let list = maker.list(1, &[], |params| {
        params.issuing_distribution_point = Some(rcgen::CrlIssuingDistributionPoint {
            distribution_point: rcgen::CrlDistributionPoint {
                uris: vec!["http://example.org/crl".to_owned()],
            },
            scope: Some(rcgen::CrlScope::CaCertsOnly),
        });
    });
    (maker.pem, list)
}

#[test]
fn validity_is_judged_to_the_second() {
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    let signer = maker.leaf(|_| {});
    let end = NOW.plus(7 * DAY);
    let second = Duration::from_secs(1);
    for (now, expected) in [
        (Wall(NOW.0 - 1_000_000), Some(Reason::DesignationExpired)),
        (NOW, None),
        (end, None),
        (end.plus(second), Some(Reason::DesignationExpired)),
    ] {
        assert_eq!(
            reason(&signer, &authority, RULES, now),
            expected,
            "{}",
            now.rfc3339()
        );
    }
    let refused =
        verify_request(&request(&signer), &authority, RULES, end.plus(second)).unwrap_err();
    assert!(
        refused.detail.contains("Adjudant Martin (13-4567)"),
        "{}",
        refused.detail
    );
    let verified = verify_request(&request(&signer), &authority, RULES, NOW).unwrap();
    assert_eq!(verified.designation().not_after, end);
}

#[test]
fn a_revoked_designation_is_refused_and_lists_never_go_back() {
    let maker = Maker::new("commander");
    let (first, second) = (maker.list(1, &[], |_| {}), maker.list(256, &[42], |_| {}));
    let signer = maker.leaf(|_| {});
    let mut authority = maker.authority(&[&first]);
    assert_eq!(reason(&signer, &authority, RULES, NOW), None);
    let again = recheck(&request(&signer), REQUEST_TYPE, &authority, RULES, NOW).unwrap();
    assert_eq!(again.authority, authority.id());
    assert_eq!(authority.update(&first), Ok(None));
    assert_eq!(authority.update(&second).unwrap().unwrap().number, "256");
    assert_eq!(
        reason(&signer, &authority, RULES, NOW),
        Some(Reason::DesignationRevoked)
    );
    let refused = recheck(&request(&signer), REQUEST_TYPE, &authority, RULES, NOW).unwrap_err();
    assert_eq!(refused.reason, Reason::DesignationRevoked);
    // 9 < 256, though not as text or by its first byte.
    let ninth = maker.list(9, &[], |_| {});
    assert_eq!(authority.update(&ninth), Ok(None));
    assert_eq!(
        reason(&signer, &authority, RULES, NOW),
        Some(Reason::DesignationRevoked)
    );
    let foreign = Maker::new("commander").list(999, &[], |_| {});
    assert!(authority.update(&foreign).is_err());
    // Of several files the highest number counts, in any order.
    for lists in [[&first, &second], [&second, &first]] {
        let authority = maker.authority(&lists.map(String::as_str));
        assert_eq!(authority.list().unwrap().number, "256");
    }
    // An expired list still revokes.
    let late = NOW.plus(60 * DAY);
    assert_eq!(
        reason(&signer, &authority, RULES, late),
        Some(Reason::DesignationRevoked)
    );
}

#[test]
fn a_fresh_list_is_required_only_where_the_agreement_says_so() {
    let maker = Maker::new("commander");
    let signer = maker.leaf(|params| params.not_after = date(NOW.plus(31 * DAY)));
    let list = maker.list(1, &[], |params| params.next_update = date(NOW.plus(DAY)));
    let (without, with) = (maker.authority(&[]), maker.authority(&[&list]));
    let late = NOW.plus(2 * DAY);
    for (authority, rules, now, expected) in [
        (&without, RULES, NOW, None),
        (&without, FRESH, NOW, Some(Reason::RevocationUnknown)),
        (&with, FRESH, NOW, None),
        (&with, RULES, late, None),
        (&with, FRESH, late, Some(Reason::RevocationUnknown)),
    ] {
        assert_eq!(reason(&signer, authority, rules, now), expected);
    }
    // A stranger is a stranger whatever the lists.
    let stranger = Maker::new("other").leaf(|_| {});
    assert_eq!(
        reason(&stranger, &without, FRESH, NOW),
        Some(Reason::OperatorNotDesignated)
    );
}

#[test]
fn one_authoritys_list_is_nothing_to_another() {
    // The same name on purpose: webpki finds lists by name.
    let (with, without) = (Maker::new("commander"), Maker::new("commander"));
    let list = with.list(1, &[42], |_| {});
    for pem in [
        format!("{}{}", with.pem, without.pem),
        format!("{}{}", without.pem, with.pem),
    ] {
        let authority = Authority::from_pem(&pem, &[&list]).unwrap();
        assert_eq!(authority.lists().count(), 1);
        let revoked = reason(&with.leaf(|_| {}), &authority, RULES, NOW);
        assert_eq!(revoked, Some(Reason::DesignationRevoked));
        assert_eq!(reason(&without.leaf(|_| {}), &authority, RULES, NOW), None);
        let unknown = reason(&without.leaf(|_| {}), &authority, FRESH, NOW);
        assert_eq!(unknown, Some(Reason::RevocationUnknown));
    }
}

#[test]
fn authorities_between_are_followed_and_can_be_revoked() {
    let root = Maker::new("region");
    let unit = root.below("unit");
    let signer = unit.chained(&[&unit], |_| {});
    let bare = unit.leaf(|_| {});
    let mut authority = root.authority(&[]);
    assert_eq!(reason(&signer, &authority, RULES, NOW), None);
    assert_eq!(
        reason(&bare, &authority, RULES, NOW),
        Some(Reason::OperatorNotDesignated)
    );
    authority.update(&root.list(1, &[], |_| {})).unwrap();
    assert_eq!(reason(&signer, &authority, RULES, NOW), None);
    // The unit's own list is not held: with a fresh one required, that is told.
    assert_eq!(
        reason(&signer, &authority, FRESH, NOW),
        Some(Reason::RevocationUnknown)
    );
    authority.update(&root.list(2, &[77], |_| {})).unwrap();
    assert_eq!(
        reason(&signer, &authority, RULES, NOW),
        Some(Reason::DesignationRevoked)
    );
}

#[test]
fn the_authorities_on_the_way_are_told_and_those_beside_it_are_not() {
    let (root, beside) = (Maker::new("region"), Maker::new("other"));
    let unit = root.below("unit");
    let signer = unit.chained(&[&beside, &unit], |_| {});
    let text = request(&signer);
    let path = |authority: &Authority| {
        let verified = verify_request(&text, authority, RULES, NOW).unwrap();
        verified.designation().path.clone()
    };
    let key = |maker: &Maker| maker.authority(&[]).keys().next().unwrap();
    assert_eq!(path(&root.authority(&[])), [key(&root), key(&unit)]);
    assert_eq!(path(&unit.authority(&[])), [key(&unit)]);
}

#[test]
fn an_authority_between_that_is_named_too_revokes_with_its_own_list() {
    let root = Maker::new("region");
    let unit = root.below("unit");
    let signer = unit.chained(&[&unit], |_| {});
    for pem in [
        format!("{}{}", root.pem, unit.pem),
        format!("{}{}", unit.pem, root.pem),
    ] {
        let mut authority = Authority::from_pem(&pem, &[]).unwrap();
        assert_eq!(reason(&signer, &authority, RULES, NOW), None);
        // The unit's list alone satisfies who requires a fresh one.
        authority.update(&unit.list(1, &[], |_| {})).unwrap();
        assert_eq!(reason(&signer, &authority, FRESH, NOW), None);
        authority.update(&unit.list(2, &[42], |_| {})).unwrap();
        for rules in [RULES, FRESH] {
            let revoked = reason(&signer, &authority, rules, NOW);
            assert_eq!(revoked, Some(Reason::DesignationRevoked));
        }
    }
}

/// The list of an authority below comes with that authority's certificate.
#[test]
fn an_authority_between_that_is_not_named_revokes_with_its_own_list() {
    let root = Maker::new("region");
    let unit = root.below("unit");
    let post = unit.below("post");
    let list = |maker: &Maker, number, revoked: &[u64]| maker.list(number, revoked, |_| {});
    // The same names on purpose, and a key of their own.
    let other = Maker::new("region").below("unit");
    let of_unit = unit.chained(&[&unit], |_| {});
    let of_post = post.chained(&[&post, &unit], |_| {});
    let mut authority = root.authority(&[&list(&root, 1, &[])]);
    let bare = list(&unit, 5, &[42]);
    let told = authority.update(&bare).unwrap_err();
    assert!(told.contains("put the issuer's certificate"), "{told}");
    for foreign in [
        format!("{}{bare}", other.pem),
        format!("{}{}", other.pem, list(&other, 5, &[42])),
        // A post's certificate leads nowhere without its unit's.
        format!("{}{}", post.pem, list(&post, 1, &[42])),
    ] {
        assert!(authority.update(&foreign).is_err());
    }
    for signer in [&of_unit, &of_post] {
        assert_eq!(reason(signer, &authority, RULES, NOW), None);
        let unknown = reason(signer, &authority, FRESH, NOW);
        assert_eq!(unknown, Some(Reason::RevocationUnknown));
    }

    let told =
        |taken: Result<Option<RevocationList>, String>| taken.unwrap().map(|list| list.number);
    let with = |number, revoked: &[u64]| format!("{}{}", unit.pem, list(&unit, number, revoked));
    assert_eq!(told(authority.update(&with(5, &[]))).as_deref(), Some("5"));
    assert_eq!(reason(&of_unit, &authority, FRESH, NOW), None);
    assert_eq!(
        told(authority.update(&with(4, &[42]))),
        None,
        "it goes not back"
    );
    assert_eq!(reason(&of_unit, &authority, FRESH, NOW), None);
    assert_eq!(
        told(authority.update(&with(6, &[42]))).as_deref(),
        Some("6")
    );
    let revoked = Some(Reason::DesignationRevoked);
    assert_eq!(reason(&of_unit, &authority, RULES, NOW), revoked);
    assert_eq!(reason(&of_unit, &authority, FRESH, NOW), revoked);
    // Its list says nothing of leaves of the post, and the root's list stays beside it.
    assert_eq!(reason(&of_post, &authority, RULES, NOW), None);
    let chain = format!("{}{}{}", post.pem, unit.pem, list(&post, 1, &[42]));
    assert!(told(authority.update(&chain)).is_some());
    assert_eq!(reason(&of_post, &authority, RULES, NOW), revoked);
    assert_eq!(authority.lists().count(), 3);

    // Each list by itself is enough for another machine, and for the next start.
    let mut other = root.authority(&[]);
    for list in authority.lists() {
        assert_eq!(told(other.update(&list.pem)), Some(list.number.clone()));
    }
    assert_eq!(reason(&of_post, &other, RULES, NOW), revoked);
}

#[test]
fn lists_are_pointed_out_two_weeks_before_they_run_out() {
    let maker = Maker::new("commander");
    let list = maker.list(7, &[], |params| {
        params.next_update = date(NOW.plus(20 * DAY))
    });
    let authority = maker.authority(&[&list]);
    let told = |now: Wall| authority.list().unwrap().warning(now);
    assert_eq!(told(NOW.plus(5 * DAY)), None);
    let soon = told(NOW.plus(6 * DAY)).unwrap();
    assert!(
        soon.contains("list 7 of CN=commander is to be replaced by"),
        "{soon}"
    );
    let late = told(NOW.plus(21 * DAY)).unwrap();
    assert!(late.contains("should have been replaced by now"), "{late}");
}

#[test]
fn machines_answer_for_their_own_name_while_valid() {
    let mut trial = Trial::new(NOW).unwrap();
    let machine = trial.machine("corg-13").unwrap();
    let operator = trial.simple_operator("1", "CORG 13", NOW).unwrap();
    let sign = |identity: &crate::certs::Identity| {
        let signer = Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap();
        signer.sign("fanal-head+jwt", &json!({"seq": 1}))
    };
    let (text, foreign) = (sign(&machine), sign(&operator));
    let verify = |link: &LinkAuthority, text: &str, typ, at| {
        link.verify::<Value>(text, typ, "corg-13", at)
            .err()
            .map(|refusal| refusal.reason)
    };
    let link = LinkAuthority::from_pem(trial.link_authority(), &[]).unwrap();
    let bad = Some(Reason::BadSignature);
    assert_eq!(verify(&link, &text, "fanal-head+jwt", NOW), None);
    assert_eq!(
        verify(&link, &text, "fanal-grant+jwt", NOW),
        Some(Reason::ProtocolError)
    );
    assert_eq!(
        verify(&link, "x", "fanal-head+jwt", NOW),
        Some(Reason::ProtocolError)
    );
    assert_eq!(verify(&link, &foreign, "fanal-head+jwt", NOW), bad);
    assert_eq!(
        verify(&link, &text, "fanal-head+jwt", NOW.plus(40 * DAY)),
        bad
    );
    trial.revoke_machine(&machine.certificate, NOW).unwrap();
    let link = LinkAuthority::from_pem(trial.link_authority(), &[trial.link_list()]).unwrap();
    assert_eq!(verify(&link, &text, "fanal-head+jwt", NOW), bad);
}

#[test]
fn every_flipped_bit_of_a_designation_is_refused() {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    let maker = Maker::new("commander");
    let authority = maker.authority(&[&maker.list(1, &[], |_| {})]);
    let signer = maker.leaf(|_| {});
    let text = request(&signer);
    let (_, rest) = text.split_once('.').unwrap();
    let leaf = signer.chain()[0].to_vec();
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut der = leaf.clone();
            der[at] ^= 1 << bit;
            // Both checks by themselves: the envelope's is not what saves the chain's.
            let chain = [CertificateDer::from(der.clone())];
            assert!(
                designate(&chain, &authority, RULES, NOW).is_err(),
                "bit {bit} of byte {at}"
            );
            let header =
                json!({"alg": "EdDSA", "typ": REQUEST_TYPE, "x5c": [STANDARD.encode(der)]});
            let altered = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
            assert!(verify_request(&altered, &authority, RULES, NOW).is_err());
        }
    }
}

proptest! {
    #[test]
    fn no_list_panics(der in prop::collection::vec(any::<u8>(), 0..200)) {
        let golden = include_str!("golden/authority.pem");
        let mut authority = Authority::from_pem(golden, &[]).unwrap();
        let pem = pem::encode("X509 CRL", &der);
        prop_assert!(authority.update(&pem).is_err());
    }

    #[test]
    fn no_changed_list_is_taken(at in 0_usize..200, bit in 0_u8..8) {
        let golden = include_str!("golden/authority.pem");
        let mut authority = Authority::from_pem(golden, &[]).unwrap();
        let list = include_str!("golden/list.pem");
        let der: rustls::pki_types::CertificateRevocationListDer<'_> =
            rustls::pki_types::pem::PemObject::from_pem_slice(list.as_bytes()).unwrap();
        let mut der = der.to_vec();
        let at = at % der.len();
        der[at] ^= 1 << bit;
        prop_assert!(authority.update(&pem::encode("X509 CRL", &der)).is_err());
    }
}
