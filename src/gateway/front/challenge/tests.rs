use proptest::prelude::*;

use super::*;
use crate::secret::Secret;

fn credential(user: &str, password: &str) -> Credential {
    Credential {
        username: user.to_owned(),
        password: Secret::new(password),
        basic: false,
    }
}

fn signer(headers: &[&[u8]]) -> (Signer, Next) {
    let mut signer = Signer::new(None, refusals(false), false);
    let next = signer.challenged(headers.iter().copied(), false, &Fixes::default());
    (signer, next)
}

/// Signs an `OPTIONS`, gives the answer as text.
fn answer(signer: &mut Signer) -> String {
    let bytes = signer
        .respond(&credential("u", "p"), "OPTIONS", "rtsp://a/b", b"", [7; 8])
        .unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parameter<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let mut parts = answer.strip_prefix("Digest ").unwrap().split(", ");
    parts.find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn texts_with_backslashes_are_hashed_in_both_ways() {
    // Escaped as they must be, those are taken away first; a domain's is part of the name.
    for (realm, plain, is_first) in [
        (r#"a \\ \"b\""#, r#"a \ "b""#, true),
        (r"DOMAIN\cam", "DOMAINcam", false),
    ] {
        let challenge = format!(r#"Digest realm="{realm}", nonce="n""#);
        let (mut signer, next) = signer(&[challenge.as_bytes()]);
        assert_eq!(next, Next::Sign);
        let response = |realm: &str| {
            let md5 = |parts: &[&[u8]]| Hash::Md5.of(parts);
            let first = md5(&[b"u", realm.as_bytes(), b"p"]);
            let second = md5(&[b"OPTIONS", b"rtsp://a/b"]);
            format!("\"{}\"", md5(&[first.as_bytes(), b"n", second.as_bytes()]))
        };
        let mut expected = [response(realm), response(plain)];
        if is_first {
            expected.reverse();
        }
        for (at, expected) in expected.iter().enumerate() {
            let answer = answer(&mut signer);
            assert!(
                answer.contains(&format!(r#"realm="{realm}""#)),
                "as sent: {answer}"
            );
            assert_eq!(
                parameter(&answer, "response"),
                Some(expected.as_str()),
                "{realm} {at}"
            );
            let again =
                signer.challenged([challenge.as_bytes()].into_iter(), true, &Fixes::default());
            assert_eq!(again, if at == 0 { Next::Sign } else { Next::Refused });
        }
        assert!(
            signer.sentence().ends_with("tried Digest MD5"),
            "{}",
            signer.sentence()
        );
    }
}

#[test]
fn another_realm_after_a_right_answer_is_no_refusal() {
    let (mut signer, _) = signer(&[b"Digest realm=\"DESCRIBE\", nonce=\"n\""]);
    answer(&mut signer);
    signer.accepted();
    let headers: [&[u8]; 1] = [b"Digest realm=\"SETUP\", nonce=\"n\""];
    let again =
        |signer: &mut Signer| signer.challenged(headers.into_iter(), true, &Fixes::default());
    assert_eq!(again(&mut signer), Next::Sign);
    assert_eq!(parameter(&answer(&mut signer), "realm"), Some("\"SETUP\""));
    assert_eq!(again(&mut signer), Next::Refused);
}

#[test]
fn examples_of_the_standards_come_out() {
    struct Case {
        challenge: &'static str,
        user: &'static str,
        password: &'static str,
        uri: &'static str,
        cnonce: &'static str,
        response: &'static str,
        username: &'static str,
    }
    const REALM: &str = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
    const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
    let (sha256, md5) = (
        format!("Digest {REALM}, algorithm=SHA-256"),
        format!("Digest {REALM}, algorithm=MD5"),
    );
    let rfc7616 = |challenge: String, response| Case {
        challenge: Box::leak(challenge.into_boxed_str()),
        user: "Mufasa",
        password: "Circle of Life",
        uri: "/dir/index.html",
        cnonce: CNONCE,
        response,
        username: "Mufasa",
    };
    for case in [
        // RFC 7616 3.9.1.
        rfc7616(
            sha256,
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        rfc7616(md5, "8ca523f5e9506fed4657c9700eebdbec"),
        // RFC 2617 3.5.
        Case {
            challenge: r#"Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#,
            user: "Mufasa",
            password: "Circle Of Life",
            uri: "/dir/index.html",
            cnonce: "0a4f113b",
            response: "6629fae49393a05397450978507c4ef1",
            username: "Mufasa",
        },
        // RFC 7616 3.9.2, with its erratum 4897.
        Case {
            challenge: r#"Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true"#,
            user: "Jäsøn Doe",
            password: "Secret, or not?",
            uri: "/doe.json",
            cnonce: "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
            response: "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
            username: "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b",
        },
    ] {
        let (mut signer, next) = signer(&[case.challenge.as_bytes()]);
        assert_eq!(next, Next::Sign, "{}", case.challenge);
        signer.offers[0].cnonce = Some(case.cnonce.to_owned());
        let credential = credential(case.user, case.password);
        let bytes = signer.respond(&credential, "GET", case.uri, b"", [0; 8]);
        let answer = String::from_utf8(bytes.unwrap()).unwrap();
        let quoted = |text: &str| format!("\"{text}\"");
        assert_eq!(
            parameter(&answer, "response"),
            Some(&*quoted(case.response)),
            "{answer}"
        );
        assert_eq!(
            parameter(&answer, "username"),
            Some(&*quoted(case.username))
        );
        assert_eq!(parameter(&answer, "qop"), Some("auth"));
        assert_eq!(parameter(&answer, "nc"), Some("00000001"));
    }
}

/// A challenge, and the parameters of its answer beside user, response and `uri`.
#[test]
fn the_answer_follows_the_challenge() {
    const NONE: Option<&str> = None;
    type Parameters = &'static [(&'static str, Option<&'static str>)];
    let cases: &[(&str, &str, &str, Parameters)] = &[
        // 1a.
        (
            r#"Digest realm="IP Camera(GH455)", nonce="a1b2c3d4e5f60718", algorithm="SHA-256", stale="FALSE""#,
            "Digest SHA-256",
            "IP Camera(GH455)",
            &[
                ("algorithm", Some("\"SHA-256\"")),
                ("qop", NONE),
                ("cnonce", NONE),
                ("nc", NONE),
            ],
        ),
        // 11a.
        (
            r#"Digest realm="r", nonce="n", qop="auth,auth-int", algorithm=SHA-256, opaque="o""#,
            "Digest SHA-256",
            "r",
            &[
                ("algorithm", Some("SHA-256")),
                ("qop", Some("auth")),
                ("opaque", Some("\"o\"")),
                ("cnonce", Some("\"0707070707070707\"")),
            ],
        ),
        // 11b, and other spellings.
        (
            r#"Digest realm="r", nonce="n", algorithm=md5"#,
            "Digest MD5",
            "r",
            &[("algorithm", Some("md5"))],
        ),
        (
            r#"DIGEST REALM="r",NONCE="n",ALGORITHM="Sha256""#,
            "Digest SHA-256",
            "r",
            &[("algorithm", Some("\"Sha256\""))],
        ),
        (
            r#"digest  realm = "r" , nonce	=	"n", algorithm=SHA-512/256-sess"#,
            "Digest SHA-512-256-sess",
            "r",
            &[
                ("algorithm", Some("SHA-512/256-sess")),
                ("cnonce", Some("\"0707070707070707\"")),
                ("nc", NONE),
            ],
        ),
        // 11d.
        (
            r#"Digest realm="Caméra", nonce="n""#,
            "Digest MD5",
            "Cam\u{e9}ra",
            &[("algorithm", NONE), ("realm", Some("\"Caméra\""))],
        ),
        // 11e.
        (
            r#"Digest realm="r" nonce="n""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        // 11f.
        (
            r#"Digest realm="r", nonce="n", qop="""#,
            "Digest MD5",
            "r",
            &[("qop", NONE), ("cnonce", NONE)],
        ),
        (
            r#"Digest realm="r", nonce="n", qop=auth-int,auth, opaque="""#,
            "Digest MD5",
            "r",
            &[("qop", Some("auth")), ("opaque", Some("\"\""))],
        ),
        (
            r#"Digest realm="r", nonce="n", qop=" auth-int ""#,
            "Digest MD5",
            "r",
            &[("qop", Some("auth-int"))],
        ),
        (
            r#"Digest realm="r", nonce="n", qop="other", algorithm="""#,
            "Digest MD5",
            "r",
            &[("qop", NONE), ("algorithm", NONE)],
        ),
        // Quotes.
        (
            "Digest realm='r', nonce='n'",
            "Digest MD5",
            "r",
            &[("realm", Some("\"r\""))],
        ),
        (
            "Digest realm=IP Camera, nonce=n1",
            "Digest MD5",
            "IP Camera",
            &[("nonce", Some("\"n1\""))],
        ),
        (
            "Digest realm=r nonce=n1 qop=auth",
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n1\"")), ("qop", Some("auth"))],
        ),
        (
            r#"Digest realm="C:\", nonce="n""#,
            "Digest MD5",
            r"C:\",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="a \"b\" c", nonce="n""#,
            "Digest MD5",
            r#"a \"b\" c"#,
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="a "b" c", nonce="n""#,
            "Digest MD5",
            r#"a "b" c"#,
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="r"nonce="n""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="r", nonce="n"#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest,realm="r";nonce="n";domain="rtsp://x, y""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\"")), ("domain", NONE)],
        ),
        // Without its scheme.
        (
            r#"realm="r", nonce="n""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        // Beside others.
        (
            r#"Basic realm="x", Digest realm="r", nonce="n""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="r", nonce="n", Basic realm="x""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="r", nonce="n", Other realm="x", nonce="y""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Negotiate, NTLM TlRMTVNTUAAB==, Digest realm="r", nonce="n""#,
            "Digest MD5",
            "r",
            &[("nonce", Some("\"n\""))],
        ),
        (
            r#"Digest realm="r", nonce="n", algorithm="MD5,SHA-256""#,
            "Digest SHA-256",
            "r",
            &[("algorithm", Some("\"SHA-256\""))],
        ),
    ];
    for (challenge, way, realm, parameters) in cases {
        let (mut signer, next) = signer(&[challenge.as_bytes()]);
        assert_eq!(next, Next::Sign, "{challenge}");
        let offer = signer.offers[signer.current.unwrap()].clone();
        assert_eq!(offer.way.to_string(), *way, "{challenge}");
        assert_eq!(offer.realm, realm.as_bytes(), "{challenge}");
        let answer = answer(&mut signer);
        for (name, value) in *parameters {
            assert_eq!(
                parameter(&answer, name),
                *value,
                "{challenge}: {name} in {answer}"
            );
        }
    }
}

#[test]
fn a_realm_is_hashed_over_the_bytes_sent() {
    let (mut signer, _) = signer(&[b"Digest realm=\"Cam\xe9ra\", nonce=\"n\""]);
    let bytes = signer
        .respond(&credential("u", "p"), "OPTIONS", "rtsp://a/b", b"", [0; 8])
        .unwrap();
    let md5 = Algorithm::Md5;
    let first = md5.hash(&[b"u", b"Cam\xe9ra", b"p"]);
    let second = md5.hash(&[b"OPTIONS", b"rtsp://a/b"]);
    let response = md5.hash(&[first.as_bytes(), b"n", second.as_bytes()]);
    let holds = |wanted: &[u8]| bytes.windows(wanted.len()).any(|bytes| bytes == wanted);
    assert!(holds(response.as_bytes()));
    assert!(holds(b"realm=\"Cam\xe9ra\""));
}

#[test]
fn auth_int_covers_the_body_and_sess_its_nonces() {
    let (mut signer, _) =
        signer(&[br#"Digest realm="r", nonce="n", qop="auth-int", algorithm=MD5-sess"#]);
    let bytes = signer
        .respond(&credential("u", "p"), "SET_PARAMETER", "*", b"x: y", [0; 8])
        .unwrap();
    let answer = String::from_utf8(bytes).unwrap();
    let md5 = Algorithm::Md5;
    let (cnonce, key) = ("0000000000000000", md5.hash(&[b"u", b"r", b"p"]));
    let first = md5.hash(&[key.as_bytes(), b"n", cnonce.as_bytes()]);
    let body = md5.hash(&[b"x: y"]);
    let second = md5.hash(&[b"SET_PARAMETER", b"*", body.as_bytes()]);
    let response = md5.hash(&[
        first.as_bytes(),
        b"n",
        b"00000001",
        cnonce.as_bytes(),
        b"auth-int",
        second.as_bytes(),
    ]);
    assert_eq!(
        parameter(&answer, "response"),
        Some(&*format!("\"{response}\""))
    );
}

#[test]
fn requests_with_one_nonce_are_counted_and_a_new_one_begins_again() {
    let fixes = Fixes::default();
    let (mut signer, _) = signer(&[br#"Digest realm="r", nonce="n", qop="auth""#]);
    assert_eq!(parameter(&answer(&mut signer), "nc"), Some("00000001"));
    assert_eq!(parameter(&answer(&mut signer), "nc"), Some("00000002"));
    assert_eq!(signer.accepted(), Some(Way::Digest(Algorithm::Md5)));
    // Mid-session, with and without `stale`.
    let fresh: &[u8] = br#"Digest realm="r", nonce="m", qop="auth""#;
    assert_eq!(
        signer.challenged([fresh].into_iter(), true, &fixes),
        Next::Sign
    );
    let signed = answer(&mut signer);
    assert_eq!(parameter(&signed, "nc"), Some("00000001"));
    assert_eq!(parameter(&signed, "nonce"), Some("\"m\""));
}

#[test]
fn a_refused_way_is_stepped_down_from_once() {
    let fixes = Fixes::default();
    let sha: &[u8] = br#"Digest realm="r", nonce="n", algorithm=SHA-256, qop="auth""#;
    let md5: &[u8] = br#"Digest realm="r", nonce="n""#;
    let sess: &[u8] = br#"Digest realm="r", nonce="n", algorithm=MD5-sess"#;
    let all = || [md5, sess, sha].into_iter();
    let (mut unproven, next) = signer(&[md5, sess, sha]);
    assert_eq!(next, Next::Sign);
    assert!(answer(&mut unproven).contains("SHA-256"));
    assert_eq!(unproven.challenged(all(), true, &fixes), Next::Sign);
    assert_eq!(fixes.needed(), [Fix::DigestStepDown]);
    assert!(!answer(&mut unproven).contains("algorithm"));
    // What proved right is used first from then on.
    let way = unproven.clone().accepted();
    let mut next_start = Signer::new(way, refusals(true), false);
    assert_eq!(next_start.challenged(all(), false, &fixes), Next::Sign);
    assert!(!answer(&mut next_start).contains("algorithm"));
    // A second refusal is the end, though a third way is offered.
    assert_eq!(unproven.challenged(all(), true, &fixes), Next::Refused);
    assert!(!unproven.is_ready());
    assert_eq!(
        unproven.sentence(),
        "it offered Digest MD5, Digest MD5-sess and Digest SHA-256; tried Digest SHA-256 and Digest MD5"
    );
    // Beside other starts there is no step down.
    assert_eq!(next_start.challenged(all(), true, &fixes), Next::Refused);
    let most = refusals(false).max(3 * refusals(true));
    assert!(most < 5, "recorders lock an account after five refusals");
}

#[test]
fn only_a_nonce_that_is_too_old_is_no_refusal() {
    let fixes = Fixes::default();
    for (stale, right) in [
        ("stale=true", true),
        ("stale=\"TRUE\"", true),
        ("Stale = True", true),
        ("stale=false", false),
        ("stale", false),
    ] {
        let (mut signer, _) = signer(&[br#"Digest realm="r", nonce="n""#]);
        let again = format!(r#"Digest realm="r", nonce="m", {stale}"#);
        let next = signer.challenged([again.as_bytes()].into_iter(), true, &fixes);
        assert_eq!(next == Next::Sign, right, "{stale}");
    }
    // For ever stale is refused in the end.
    let stale: &[u8] = br#"Digest realm="r", nonce="m", stale=true"#;
    let (mut signer, _) = signer(&[stale]);
    let mut tries = 0;
    while signer.challenged([stale].into_iter(), true, &fixes) == Next::Sign {
        tries += 1;
        assert!(tries < 10);
    }
    assert_eq!(tries, NONCES_LIMIT);
}

#[test]
fn a_connection_after_a_hang_up_is_signed_from_its_first_request() {
    let fixes = Fixes::default();
    let (signer, _) = signer(&[br#"Digest realm="r", nonce="n""#]);
    let mut signer = signer.carried();
    assert!(signer.is_ready());
    assert!(answer(&mut signer).contains("nonce=\"n\""));
    // Its nonce was the old connection's: not a refusal, once.
    let other: &[u8] = br#"Digest realm="r", nonce="m""#;
    assert_eq!(
        signer.challenged([other].into_iter(), true, &fixes),
        Next::Sign
    );
    let third: &[u8] = br#"Digest realm="r", nonce="o""#;
    assert_eq!(
        signer.challenged([third].into_iter(), true, &fixes),
        Next::Refused
    );
}

#[test]
fn basic_is_answered_only_where_allowed() {
    let basic: &[u8] = b"Basic realm=\"r\"";
    let (mut refused, next) = signer(&[basic]);
    assert_eq!(next, Next::BasicOnly);
    assert_eq!(
        refused.respond(&credential("u", "p"), "OPTIONS", "*", b"", [0; 8]),
        None
    );
    assert_eq!(refused.sentence(), "it offered Basic");
    let mut allowed = Signer::new(None, refusals(false), true);
    let next = allowed.challenged([basic].into_iter(), false, &Fixes::default());
    assert_eq!(next, Next::Sign);
    let value = allowed.respond(&credential("u", "p"), "OPTIONS", "*", b"", [0; 8]);
    assert_eq!(value.as_deref(), Some(&b"Basic dTpw"[..]));
    for unknown in [&b"Bearer x=\"y\""[..], b"", b"Digest algorithm=AKAv1-MD5"] {
        assert_eq!(signer(&[unknown]).1, Next::Unknown);
    }
    assert_eq!(
        signer(&[b"Digest algorithm=AKAv1-MD5"]).0.sentence(),
        "it offered Digest AKAv1-MD5"
    );
}

#[test]
fn well_written_challenges_count_as_such_and_others_as_odd() {
    for (challenge, odd) in [
        (
            &br#"Digest realm="IP Camera(12345)", nonce="n", stale="FALSE""#[..],
            false,
        ),
        (
            br#"Digest realm="r", qop="auth", nonce="n", algorithm=MD5, Basic realm="r""#,
            false,
        ),
        (br#"Digest realm="r" nonce="n""#, true),
        (b"Digest realm='r', nonce='n'", true),
    ] {
        let fixes = Fixes::default();
        parse::all([challenge].into_iter(), &fixes);
        assert_eq!(!fixes.needed().is_empty(), odd);
    }
}

proptest! {
    #[test]
    fn any_header_is_survived(header in proptest::collection::vec(any::<u8>(), 0..400)) {
        let fixes = Fixes::default();
        let mut signer = Signer::new(None, 2, true);
        signer.challenged([&header[..]].into_iter(), false, &fixes);
        prop_assert!(signer.sentence().len() < 2_000);
        let _ = signer.respond(&credential("u", "p"), "PLAY", "*", b"", [0; 8]);
    }

    #[test]
    fn any_likely_header_is_survived(
        parts in proptest::collection::vec(
            prop::sample::select(vec![
                "Digest", "Basic", " ", ",", "=", "\"", "'", "\\", "realm", "nonce", "qop",
                "auth", "algorithm", "MD5", "SHA-256", ";", "\t", "x y",
            ]),
            0..60,
        ),
    ) {
        let header = parts.concat();
        let (mut signer, next) = signer(&[header.as_bytes()]);
        if next == Next::Sign {
            let answer = answer(&mut signer);
            prop_assert!(answer.starts_with("Digest "));
            prop_assert!(answer.len() < 4_000);
        }
    }
}
