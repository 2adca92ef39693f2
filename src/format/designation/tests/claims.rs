//! Claims and times of requests and tokens.

use super::*;

#[test]
fn requests_are_well_formed() {
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    let signer = maker.leaf(|_| {});
    let judge = |claims: &Value| {
        verify_request(&signer.sign(REQUEST_TYPE, claims), &authority, RULES, NOW)
            .err()
            .map(|refusal| refusal.reason)
    };
    let many = |n: usize| (0..n).map(|i| format!("cam-{i}")).collect::<Vec<_>>();
    let malformed = Some(Reason::MalformedRequest);
    let missing = Some(Reason::IncidentMissing);
    for (member, value, expected) in [
        (
            "renews",
            json!("6fa459ea-ee8a-4ca4-894e-db77e160355e"),
            None,
        ),
        ("renews", json!(null), None),
        ("renews", json!("x"), malformed),
        ("cameras", json!(many(200)), None),
        ("cameras", json!(many(201)), malformed),
        ("cameras", json!([]), malformed),
        ("cameras", json!(["a", "b", "a"]), malformed),
        ("cameras", json!(["A"]), malformed),
        ("cameras", json!("a"), malformed),
        ("present", json!([]), None),
        ("present", json!(vec!["é".repeat(128); 20]), None),
        ("present", json!(vec!["a"; 21]), malformed),
        ("present", json!(["é".repeat(129)]), malformed),
        ("present", json!([""]), malformed),
        ("present", json!(["a\u{202e}b"]), malformed),
        ("present", json!(["a\tb"]), malformed),
        ("present", json!("a"), malformed),
        ("grounds", json!(""), malformed),
        ("grounds", json!("x".repeat(129)), malformed),
        ("grounds", json!("a\u{0}"), malformed),
        ("duration", json!(1), None),
        ("duration", json!(0), malformed),
        ("duration", json!(-1), malformed),
        ("duration", json!(1.5), malformed),
        ("duration", json!("60"), malformed),
        ("duration", json!(4_294_967_296_u64), malformed),
        (
            "jti",
            json!("6fa459ea-ee8a-4ca4-894e-db77e160355e"),
            malformed,
        ),
        (
            "jti",
            json!("00000000-0000-0000-0000-000000000000"),
            malformed,
        ),
        ("jti", json!("x"), malformed),
        ("incident", json!(""), missing),
        ("incident", json!("  "), missing),
        ("incident", json!(null), missing),
        ("incident", json!("a b"), malformed),
        ("incident", json!("x".repeat(65)), malformed),
        ("incident", json!(1), malformed),
        ("profile", json!("main"), None),
        ("profile", json!("Main"), malformed),
        ("iat", json!("now"), malformed),
        ("iat", json!(1.5), malformed),
        ("aud", json!("Berre"), malformed),
        ("centre", json!(""), malformed),
        ("exp", json!(1), malformed),
        ("x", json!(null), malformed),
    ] {
        let mut claims = claims();
        claims[member] = value.clone();
        assert_eq!(judge(&claims), expected, "{member} {value:.60}");
    }
    for member in [
        "jti", "iat", "aud", "centre", "cameras", "grounds", "incident", "duration", "profile",
        "present",
    ] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(member);
        let expected = if member == "incident" {
            missing
        } else {
            malformed
        };
        assert_eq!(judge(&claims), expected, "{member}");
    }
}

#[test]
fn statements_of_one_kind_are_not_taken_for_another() {
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    let signer = maker.leaf(|_| {});
    let token = json!({"jti": "019ab1e0-6c3f-7a51-9d2c-3f0e5a7b9c10", "iat": NOW.seconds(), "exp": NOW.seconds() + 60, "aud": "corg-13"});
    let refused = verify_request(&signer.sign(TOKEN_TYPE, &claims()), &authority, RULES, NOW);
    assert_eq!(refused.unwrap_err().reason, Reason::MalformedRequest);
    let refused = verify_token(&signer.sign(REQUEST_TYPE, &token), &authority, RULES, NOW);
    assert_eq!(refused.unwrap_err().reason, Reason::TokenInvalid);
    assert!(verify_token(&signer.sign(TOKEN_TYPE, &token), &authority, RULES, NOW).is_ok());
    let stranger = Maker::new("other").leaf(|_| {});
    let refused = verify_token(&stranger.sign(TOKEN_TYPE, &token), &authority, RULES, NOW);
    assert_eq!(refused.unwrap_err().reason, Reason::OperatorNotDesignated);
}

#[test]
fn tokens_are_short_lived() {
    let maker = Maker::new("commander");
    let authority = maker.authority(&[]);
    let signer = maker.leaf(|_| {});
    let now = NOW.seconds();
    for (iat, exp, expected) in [
        (0, 300, None),
        (0, 301, Some(Reason::TokenInvalid)),
        (0, 0, Some(Reason::TokenInvalid)),
        (0, -1, Some(Reason::TokenInvalid)),
        (60, 360, None),
        (61, 200, Some(Reason::TokenInvalid)),
        (-299, 1, None),
        (-300, 0, Some(Reason::TokenExpired)),
        (-500, -200, Some(Reason::TokenExpired)),
        (i64::MIN, i64::MAX, Some(Reason::TokenInvalid)),
    ] {
        let token = json!({
            "jti": "019ab1e0-6c3f-7a51-9d2c-3f0e5a7b9c10",
            "iat": now.saturating_add(iat),
            "exp": now.saturating_add(exp),
            "aud": "corg-13",
        });
        let verdict = verify_token(&signer.sign(TOKEN_TYPE, &token), &authority, RULES, NOW);
        assert_eq!(
            verdict.err().map(|refusal| refusal.reason),
            expected,
            "{iat} {exp}"
        );
    }
}

proptest! {
    #[test]
    fn no_claims_panic(json in ".{0,120}") {
        prop_assert!(request_claims(json.as_bytes()).is_err());
    }
}
