//! What the receiver serves besides its API: the page, its settings, designations for it.

use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::format::pem;

use super::site::{Site, call};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn the_page_comes_with_its_policy_and_is_not_sent_twice() {
    let site = Site::start().await;
    let address = site.addresses.console;
    for path in ["/", "/page/app.js", "/page/style/base.css"] {
        let answer = call(address, "GET", path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer
                .head
                .contains("content-security-policy: default-src 'none'; script-src 'self'")
        );
        assert!(
            answer
                .head
                .contains("cross-origin-opener-policy: same-origin")
        );
        assert!(
            !answer.head.contains("strict-transport-security"),
            "there is no TLS here"
        );
        let tag = answer.tag.unwrap();
        let known = [("if-none-match", tag.as_str())];
        let again = call(address, "GET", path, &known, "").await;
        assert_eq!((again.status, again.body.as_str()), (304, ""), "{path}");
        let other = [("if-none-match", "\"other\"")];
        assert_eq!(call(address, "GET", path, &other, "").await.status, 200);
    }
    let page = call(address, "GET", "/", &[], "").await;
    assert!(page.body.contains("/page/app.js"));
    for inline in ["<script>", "onclick=", "style=", "http://", "https://"] {
        assert!(!page.body.contains(inline), "{inline} in the page");
    }
    let foreign = [("host", "fanal.evil.example")];
    assert_eq!(call(address, "GET", "/", &foreign, "").await.status, 421);
    assert_eq!(
        call(address, "GET", "/page/..%2fmod.rs", &[], "")
            .await
            .status,
        404
    );
    let settings = site.raw("GET", "/console", &[], "").await.json;
    assert_eq!(settings["mode"], "receiver");
    assert_eq!(settings["centre"], "corg-13");
    assert_eq!(settings["lock_after"], 1_800);
    assert_eq!(settings["designations"], true);
}

#[tokio::test]
async fn the_newest_designation_for_a_key_is_found_unless_it_is_revoked_or_over() {
    let mut site = Site::start().await;
    let now = site.clock.now().wall;
    let key = rcgen::KeyPair::generate().unwrap();
    let request = rcgen::CertificateParams::default()
        .serialize_request(&key)
        .unwrap();
    let request = pem::encode("CERTIFICATE REQUEST", request.der());
    let person = Person {
        number: "13-4567".to_owned(),
        name: "Gendarme A".to_owned(),
        unit: "CORG 13".to_owned(),
    };
    let designate = |site: &mut Site, days: u32| {
        let validity = Validity::lasting(now, DAY * days);
        let authority = site.trial.authorities().1;
        authority
            .operator_from_request(&person, validity, &request)
            .unwrap()
    };
    let (short, long) = (designate(&mut site, 1), designate(&mut site, 7));
    let key_info = rcgen::PublicKeyData::subject_public_key_info(&key);
    let path = format!(
        "/designations/{}",
        fanal::format::ids::Sha256::of(&key_info)
    );

    assert_eq!(site.raw("GET", &path, &[], "").await.status, 404);
    assert_eq!(
        site.raw("GET", "/designations/AB", &[], "").await.status,
        400
    );

    // Found once it is there; what is no designation, or a key beside it, is not given out.
    site.clock.advance(fanal::receiver::designations::FRESH);
    let private = pem::encode("PRIVATE KEY", key.serialized_der());
    let with_key = format!("{short}{private}");
    site.put("designations/short.pem", with_key.as_bytes());
    site.put(
        "designations/notes.txt",
        b"-----BEGIN CERTIFICATE-----\nx\n",
    );
    site.put("designations/large.pem", &vec![b'x'; 70_000]);
    let answer = site.raw("GET", &path, &[], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.head.contains("application/pem-certificate-chain"));
    assert_eq!(answer.body.replace('\r', ""), short.replace('\r', ""));

    site.clock.advance(fanal::receiver::designations::FRESH);
    site.put("designations/long.pem", long.as_bytes());
    let answer = site.raw("GET", &path, &[], "").await;
    assert_eq!(answer.body.replace('\r', ""), long.replace('\r', ""));

    // Revoked: the older one counts. Over: none does.
    site.revoke(&long);
    site.reload().await;
    let answer = site.raw("GET", &path, &[], "").await;
    assert_eq!(answer.body.replace('\r', ""), short.replace('\r', ""));
    site.clock.advance(DAY * 2);
    assert_eq!(site.raw("GET", &path, &[], "").await.status, 404);
}

#[tokio::test]
async fn a_stranger_who_guesses_keys_is_stopped() {
    let site = Site::start().await;
    let path = format!("/designations/{}", "0".repeat(64));
    for _ in 0..fanal::http::bearer::ATTEMPTS {
        assert_eq!(site.raw("GET", &path, &[], "").await.status, 404);
    }
    let answer = site.raw("GET", &path, &[], "").await;
    assert_eq!(answer.problem(), (429, "too_many_attempts"));
    // Who has one is served, at the same address too.
    let operator = site.operator("4711", "CORG 13");
    assert_eq!(site.get(&operator, "/grants").await.status, 200);
}

#[tokio::test]
async fn a_designation_of_another_authority_is_none() {
    let site = Site::start().await;
    let other = Site::start().await;
    let operator = other.operator("1", "CORG 13");
    site.put("designations/other.pem", operator.certificate.as_bytes());
    let leaf = operator.signer.chain().first().unwrap();
    let key = fanal::format::designation::key_thumbprint(leaf).unwrap();
    let path = format!("/designations/{key}");
    assert_eq!(site.raw("GET", &path, &[], "").await.status, 404);
    other.put("designations/own.pem", operator.certificate.as_bytes());
    assert_eq!(other.raw("GET", &path, &[], "").await.status, 200);
}
