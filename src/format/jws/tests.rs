//! The envelope: what opens, and that nothing else does.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::certs::trial::Trial;
use crate::clock::Wall;

const NOW: Wall = Wall::from_seconds(1_763_864_381);
const TYP: &str = "fanal-head+jwt";

/// Claims as strict as those of real statements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    n: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    m: Option<u32>,
}

fn p256() -> Signer {
    let operator = Trial::new(NOW)
        .unwrap()
        .simple_operator("1", "CORG 13", NOW)
        .unwrap();
    Signer::from_pem(operator.key.expose(), &operator.certificate).unwrap()
}

fn self_signed(algorithm: &'static rcgen::SignatureAlgorithm) -> (String, String) {
    let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let certificate = rcgen::CertificateParams::default()
        .self_signed(&key)
        .unwrap();
    (key.serialize_pem(), certificate.pem())
}

fn ed25519() -> Signer {
    let (key, certificate) = self_signed(&rcgen::PKCS_ED25519);
    Signer::from_pem(&key, &certificate).unwrap()
}

/// A statement of any header and payload, rightly signed over them.
fn forge(signer: &Signer, header: &str, payload: &str) -> String {
    let mut text = URL_SAFE_NO_PAD.encode(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut text);
    let signature = signer.key.sign(text.as_bytes());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn x5c(signer: &Signer) -> Vec<String> {
    signer
        .chain
        .iter()
        .map(|der| STANDARD.encode(der))
        .collect()
}

fn header(signer: &Signer) -> Value {
    json!({"alg": signer.key.algorithm().name(), "typ": TYP, "x5c": x5c(signer)})
}

fn refusal(text: &str) -> Reason {
    open::<Claims>(text, TYP).unwrap_err().reason
}

#[test]
fn what_is_signed_opens() {
    for signer in [p256(), ed25519()] {
        let claims = Claims { n: 7, m: None };
        let text = signer.sign(TYP, &claims);
        let opened = open::<Claims>(&text, TYP).unwrap();
        assert_eq!(opened.claims, claims);
        assert_eq!(opened.chain, signer.chain());
        // Exactly three members, whatever their order and spacing.
        let mut members = header(&signer);
        let text = forge(
            &signer,
            &serde_json::to_string_pretty(&members).unwrap(),
            r#" {"n":7} "#,
        );
        assert_eq!(open::<Claims>(&text, TYP).unwrap().claims.n, 7);
        members["kid"] = json!("1");
        assert_eq!(
            refusal(&forge(&signer, &members.to_string(), r#"{"n":7}"#)),
            Reason::MalformedRequest
        );
    }
}

#[test]
fn the_header_has_exactly_three_members() {
    let signer = p256();
    let good = header(&signer);
    let chain = good["x5c"].to_string();
    let alter = |member: &str, value: Value| {
        let mut header = good.clone();
        header[member] = value;
        header.to_string()
    };
    let without = |member: &str| {
        let mut header = good.clone();
        header.as_object_mut().unwrap().remove(member);
        header.to_string()
    };
    let five = vec![x5c(&signer)[0].clone(); 5];
    let url_safe: Vec<_> = signer
        .chain
        .iter()
        .map(|der| URL_SAFE_NO_PAD.encode(der))
        .collect();
    let headers = [
        without("alg"),
        without("typ"),
        without("x5c"),
        alter("crit", json!(["exp"])),
        alter("kid", json!("1")),
        alter("jwk", json!({})),
        alter("b64", json!(false)),
        alter("alg", json!("none")),
        alter("alg", json!("HS256")),
        alter("alg", json!("RS256")),
        alter("alg", json!("ES384")),
        alter("alg", json!("EdDSA")),
        alter("alg", json!("es256")),
        alter("alg", json!(null)),
        alter("alg", json!(["ES256"])),
        alter("typ", json!("JWT")),
        alter("typ", json!("fanal-token+jwt")),
        alter("typ", json!("FANAL-HEAD+JWT")),
        alter("x5c", json!([])),
        alter("x5c", json!(five)),
        alter("x5c", json!(x5c(&signer)[0])),
        alter("x5c", json!(["AAAA"])),
        alter("x5c", json!(["%"])),
        alter("x5c", json!(url_safe)),
        format!(r#"{{"alg":"none","alg":"ES256","typ":"{TYP}","x5c":{chain}}}"#),
        format!(r#"{{"alg":"ES256","al\u0067":"ES256","typ":"{TYP}","x5c":{chain}}}"#),
        format!(r#"{{"alg":"ES256","typ":"{TYP}","x5c":{chain},"x5c":{chain}}}"#),
        format!(r#"["ES256","{TYP}",{chain}]"#),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("\u{feff}{good}"),
        "{}".to_owned(),
        "null".to_owned(),
        String::new(),
    ];
    for header in headers {
        let text = forge(&signer, &header, r#"{"n":1}"#);
        assert_eq!(refusal(&text), Reason::MalformedRequest, "{header:.120}");
    }
}

#[test]
fn claims_are_one_object_without_surprises() {
    let signer = p256();
    let header = header(&signer).to_string();
    for payload in [
        r#"{"n":1,"n":1}"#,
        r#"{"n":1,"n":2}"#,
        r#"{"n":1,"\u006e":2}"#,
        r#"{"n":1,"m":1,"m":null}"#,
        r#"{"n":1,"o":1}"#,
        r#"{"n":"1"}"#,
        r#"{"n":1.0}"#,
        r#"{"n":-1}"#,
        r#"{"n":4294967296}"#,
        r#"{"n":1}{"n":1}"#,
        r#"{"n":1},"#,
        r#"{"n":1"#,
        r#"[1]"#,
        r#"[1,null]"#,
        "{}",
        "1",
        "",
    ] {
        let text = forge(&signer, &header, payload);
        assert_eq!(refusal(&text), Reason::MalformedRequest, "{payload}");
    }
}

#[test]
fn the_parts_are_canonical_base64url() {
    let signer = p256();
    let text = signer.sign(TYP, &Claims { n: 1, m: None });
    let parts: Vec<&str> = text.split('.').collect();
    let [header, payload, signature] = parts[..] else {
        panic!("three parts")
    };
    for broken in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{text}."),
        format!("{text}.{signature}"),
        format!("{text}="),
        format!("{header}=.{payload}.{signature}"),
        format!(" {text}"),
        format!("{text}\n"),
        format!("{header}.{payload}.{}", &signature[..signature.len() - 2]),
        format!("{header}.{payload}.{signature}AA"),
        String::new(),
        "..".to_owned(),
    ] {
        let reason = refusal(&broken);
        assert!(
            matches!(reason, Reason::MalformedRequest | Reason::BadSignature),
            "{broken:.60}: {reason}"
        );
    }
    // Stray bits in the last character: the same bytes, another text.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let next = alphabet
        .chars()
        .nth(alphabet.find(last).unwrap() + 1)
        .unwrap();
    let stray = format!("{}{next}", &text[..text.len() - 1]);
    assert_eq!(refusal(&stray), Reason::MalformedRequest);
}

#[test]
fn only_the_leafs_own_key_signs() {
    let (mine, other, edwards) = (p256(), p256(), ed25519());
    let claims = r#"{"n":1}"#;
    // Another chain of the same kind of key, and of the other.
    let stolen = forge(&mine, &header(&other).to_string(), claims);
    assert_eq!(refusal(&stolen), Reason::BadSignature);
    let stolen = forge(&mine, &header(&edwards).to_string(), claims);
    assert_eq!(refusal(&stolen), Reason::BadSignature);
    // The signature of one statement under another's claims.
    let text = mine.sign(TYP, &Claims { n: 1, m: None });
    let (message, signature) = text.rsplit_once('.').unwrap();
    let (header, _) = message.split_once('.').unwrap();
    let altered = URL_SAFE_NO_PAD.encode(r#"{"n":2}"#);
    assert_eq!(
        refusal(&format!("{header}.{altered}.{signature}")),
        Reason::BadSignature
    );
    // An ECDSA signature in ASN.1, as TLS has it, is not the fixed form of JWS.
    let asn1 = {
        let raw = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut der = vec![0x30, 0x46];
        for half in raw.chunks(32) {
            der.extend([0x02, 0x21, 0x00]);
            der.extend(half);
        }
        URL_SAFE_NO_PAD.encode(der)
    };
    assert_eq!(refusal(&format!("{message}.{asn1}")), Reason::BadSignature);
    let zero = URL_SAFE_NO_PAD.encode([0; 64]);
    assert_eq!(refusal(&format!("{message}.{zero}")), Reason::BadSignature);
}

#[test]
fn rsa_and_other_curves_are_refused() {
    let signer = p256();
    for algorithm in [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
        let (key, certificate) = self_signed(algorithm);
        let refused = Signer::from_pem(&key, &certificate).unwrap_err();
        assert!(refused.contains("neither P-256 nor Ed25519"), "{refused}");
        let der = pem::certificates(certificate.as_bytes()).unwrap().remove(0);
        for alg in ["RS256", "ES384", "ES256"] {
            let header = json!({"alg": alg, "typ": TYP, "x5c": [STANDARD.encode(&der)]});
            let text = forge(&signer, &header.to_string(), r#"{"n":1}"#);
            assert_eq!(refusal(&text), Reason::MalformedRequest);
        }
    }
}

#[test]
fn a_signer_is_a_key_with_its_own_certificate() {
    let (key, certificate) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (other, _) = self_signed(&rcgen::PKCS_ECDSA_P256_SHA256);
    let (edwards, _) = self_signed(&rcgen::PKCS_ED25519);
    assert!(Signer::from_pem(&key, &certificate.repeat(4)).is_ok());
    for (key, chain, says) in [
        (&other, &certificate, "is not the certificate's"),
        (&edwards, &certificate, "no ES256 key"),
        (&key, &key, "no certificate"),
        (&certificate, &certificate, "private key can't be read"),
        (&key, &String::new(), "no certificate"),
        (&key, &certificate.repeat(5), "more than 4"),
    ] {
        let refused = Signer::from_pem(key, chain).unwrap_err();
        assert!(refused.contains(says), "{refused}");
        assert!(!refused.contains("BEGIN"), "no key in an error");
    }
    let signer = Signer::from_pem(&key, &certificate).unwrap();
    assert_eq!(format!("{signer:?}"), "Signer(…)");
}

#[test]
fn statements_are_bounded() {
    let signer = p256();
    let header = header(&signer).to_string();
    let text = forge(
        &signer,
        &header,
        &format!(r#"{{"n":1,{}"m":1}}"#, " ".repeat(10_000)),
    );
    assert!(text.len() <= STATEMENT_LIMIT);
    assert!(open::<Claims>(&text, TYP).is_ok());
    let text = forge(
        &signer,
        &header,
        &format!(r#"{{"n":1,{}"m":1}}"#, " ".repeat(STATEMENT_LIMIT)),
    );
    assert_eq!(refusal(&text), Reason::MalformedRequest);
}

#[test]
fn what_a_refusal_repeats_is_short_and_readable() {
    let signer = p256();
    let long = format!("\u{202e}{}", "x".repeat(5_000));
    let header = json!({"alg": "ES256", "typ": long, "x5c": x5c(&signer)});
    let refused = open::<Claims>(&forge(&signer, &header.to_string(), "{}"), TYP).unwrap_err();
    assert!(refused.detail.chars().count() <= 512 && !refused.detail.contains('\u{202e}'));
    let payload = json!({ (long): 1 }).to_string();
    let text = forge(&signer, &self::header(&signer).to_string(), &payload);
    let refused = open::<Claims>(&text, TYP).unwrap_err();
    assert!(refused.detail.chars().count() <= 512 && !refused.detail.contains('\u{202e}'));
}

#[test]
fn every_truncation_and_every_flipped_bit_is_refused() {
    for signer in [p256(), ed25519()] {
        let text = signer.sign(TYP, &Claims { n: 7, m: Some(1) });
        assert!(open::<Claims>(&text, TYP).is_ok());
        for end in 0..text.len() {
            assert!(open::<Claims>(&text[..end], TYP).is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut bytes = text.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                // What is no text never gets here.
                let Ok(flipped) = String::from_utf8(bytes) else {
                    continue;
                };
                assert!(
                    open::<Claims>(&flipped, TYP).is_err(),
                    "bit {bit} of byte {at}"
                );
            }
        }
    }
}

proptest! {
    #[test]
    fn nothing_made_up_opens(text in "[A-Za-z0-9_=.-]{0,200}") {
        prop_assert!(open::<Claims>(&text, TYP).is_err());
    }

    #[test]
    fn no_header_or_certificate_panics(header in ".{0,80}", der in prop::collection::vec(any::<u8>(), 0..200)) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let text = format!("{}.e30.AAAA", part(header.as_bytes()));
        prop_assert!(open::<Claims>(&text, TYP).is_err());
        let header = json!({"alg": "ES256", "typ": TYP, "x5c": [STANDARD.encode(der)]});
        let text = format!("{}.e30.AAAA", part(header.to_string().as_bytes()));
        prop_assert!(open::<Claims>(&text, TYP).is_err());
    }
}
