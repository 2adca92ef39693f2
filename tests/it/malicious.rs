//! A receiver that was stolen or turned: it has the centre's link key, sees all
//! that the centre sees, and says whatever it likes. It must get no picture that
//! no operator signed for, not one longer than granted, and leave its trace.

mod floods;
mod grants;
mod messages;

use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::format::control::ToReceiver;
use fanal::format::ids::{CameraId, CentreId, CommuneId};
use fanal::format::statement::{REQUEST_TYPE, TOKEN_TYPE};
use fanal::reason::Reason;
use serde_json::{Value, json};

use crate::malice::{Answer, Operator, START, Stage, altered, claims_of, of_kind, parts, unsigned};

const SECOND: Duration = Duration::from_secs(1);

/// The operator whom an authority of the receiver's own making designates.
fn forger(number: &str) -> (Operator, Operator) {
    let trial = Trial::new(START).unwrap();
    let mut identity = trial.simple_operator(number, "CORG 13", START).unwrap();
    let bare = Operator::new(identity.clone());
    identity.certificate += trial.designation_authority();
    (bare, Operator::new(identity))
}

#[tokio::test]
async fn it_can_invent_no_request() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let stranger = stage.other_operator("13-1");
    let (forger, forger_with_authority) = forger("13-1");
    let claims = stage.claims(&["quai-nord"]);
    let honest = operator.sign(&claims);
    let forged = forger.sign(&claims);
    let [header, payload, signature] = parts(&honest);
    let [forged_header, _, forged_signature] = parts(&forged);
    let token = json!({
        "jti": claims.jti, "iat": claims.iat, "exp": claims.iat + 300, "aud": "corg-13",
    });
    let mut nobody = claims.clone();
    nobody.present.clear();
    let head = receiver.next_head(claims.iat);
    let inventions = [
        (forged, Reason::OperatorNotDesignated),
        (
            forger_with_authority.sign(&claims),
            Reason::OperatorNotDesignated,
        ),
        (stranger.sign(&claims), Reason::OperatorNotDesignated),
        // Signed with the link key, which is the only real key it has.
        (
            receiver.signer.sign(REQUEST_TYPE, &claims),
            Reason::OperatorNotDesignated,
        ),
        (
            format!("{header}.{payload}.{forged_signature}"),
            Reason::BadSignature,
        ),
        (
            format!("{forged_header}.{payload}.{signature}"),
            Reason::BadSignature,
        ),
        (format!("{header}.{payload}."), Reason::BadSignature),
        (unsigned(&honest), Reason::MalformedRequest),
        // What the operator did sign, for something else.
        (
            operator.sign_any(TOKEN_TYPE, &token),
            Reason::MalformedRequest,
        ),
        (
            operator.sign_any(TOKEN_TYPE, &nobody),
            Reason::MalformedRequest,
        ),
        (head, Reason::MalformedRequest),
        (String::new(), Reason::MalformedRequest),
        ("..".to_owned(), Reason::MalformedRequest),
        (claims_of(&honest).to_string(), Reason::MalformedRequest),
        ("A".repeat(900_000), Reason::MalformedRequest),
    ];
    let count = inventions.len() as u64;
    for (number, (invention, reason)) in inventions.into_iter().enumerate() {
        assert_eq!(receiver.refused(&invention).await, reason, "{number}");
        stage.hand.advance(SECOND);
    }
    assert_eq!(stage.metrics().relays_opened_total.get(), 0);
    stage.nothing_but_witness(&mut receiver).await;
    // Who does not verify is counted, once a minute, and never stored.
    stage.hand.advance(Duration::from_secs(60));
    receiver.refused("").await;
    let journal = stage.stop().await;
    let counted = of_kind(&journal, "unverified");
    let counts: Vec<&Value> = counted.iter().map(|body| &body["count"]).collect();
    assert_eq!(counts, [&json!(count)], "{counted:?}");
    assert_eq!(counted[0]["peer"], "corg-13");
    assert!(of_kind(&journal, "refused").is_empty());
    assert_eq!(of_kind(&journal, "grant").len(), 1);
}

#[tokio::test]
async fn it_can_change_nothing_in_a_request() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let honest = operator.sign(&stage.claims(&["temoin"]));
    let with = |claim: &'static str, value: Value| {
        altered(&honest, move |claims| claims[claim] = value.clone())
    };
    let alterations = [
        with("jti", json!("01900000-0000-7000-8000-ffffffffffff")),
        with("iat", json!(START.seconds() + 1)),
        with("aud", json!("rognac")),
        with("centre", json!("corg-84")),
        with("cameras", json!(["temoin", "quai-nord"])),
        with("cameras", json!(["quai-nord"])),
        with("cameras", json!([])),
        with("grounds", json!("assault")),
        with("incident", json!("2026/11-43")),
        with("duration", json!(3_600)),
        with("duration", json!(599)),
        with("profile", json!("main")),
        with("present", json!([])),
        with("renews", json!("01900000-0000-4000-8000-ffffffffffff")),
        with("exp", json!(START.seconds() + 86_400)),
        altered(&honest, |claims| {
            claims.as_object_mut().unwrap().remove("incident");
        }),
    ];
    // Every claim of the statement is among them.
    let claims = claims_of(&honest);
    for claim in claims.as_object().unwrap().keys() {
        let changed = |text: &&String| claims_of(text)[claim] != claims[claim];
        assert!(alterations.iter().any(|text| changed(&text)), "{claim}");
    }
    for alteration in &alterations {
        let refused = receiver.refused(alteration).await;
        assert_eq!(refused, Reason::BadSignature, "{}", claims_of(alteration));
        stage.hand.advance(SECOND);
    }
    // None of them used the honest one up, and only its camera opens.
    let granted = receiver.granted(&honest).await;
    assert_eq!(granted.claims.granted, [CameraId::new("temoin").unwrap()]);
    receiver.confirm(&granted, &honest).await;
    receiver.until_bytes(granted.relay("temoin"), 1).await;
    assert_eq!(stage.counters().by_camera.len(), 1);
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "grant").len(), 1);
    assert!(of_kind(&journal, "refused").is_empty());
}

#[tokio::test]
async fn it_can_use_a_request_only_once() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let claims = stage.claims(&["quai-nord"]);
    let request = operator.sign(&claims);
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    receiver.until_bytes(granted.relay("quai-nord"), 1).await;
    let release = fanal::format::control::ToGateway::Release {
        grant: granted.id(),
        by: "13-1".to_owned(),
        reason: None,
    };
    receiver.say(&release).await;
    let ended = receiver.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::GrantReleased);
    // The same characters, the same claims signed again, the same id for more.
    let mut more = claims.clone();
    more.cameras = vec![CameraId::new("quai-sud").unwrap()];
    let colleague = stage.operator("13-2");
    let again = [
        request.clone(),
        operator.sign(&claims),
        operator.sign(&more),
        colleague.sign(&more),
    ];
    for request in &again {
        let refused = receiver.refused(request).await;
        assert_eq!(refused, Reason::ReplayedRequest);
    }
    receiver.drop_link();
    receiver.link().await;
    for request in &again {
        let refused = receiver.refused(request).await;
        assert_eq!(refused, Reason::ReplayedRequest, "after a new link");
    }
    stage.hand.advance(SECOND);
    stage.stop().await;
    stage.start().await;
    receiver.link().await;
    assert!(!receiver.has_heard(|message| matches!(message, ToReceiver::Resume { .. })));
    for request in &again {
        let refused = receiver.refused(request).await;
        assert_eq!(refused, Reason::ReplayedRequest, "after a restart");
    }
    // Long after, it is not remembered any more, and stale.
    stage.hand.advance(Duration::from_secs(300));
    for request in &again {
        let refused = receiver.refused(request).await;
        assert_eq!(refused, Reason::StaleRequest, "long after");
    }
    let counters = stage.counters();
    assert_eq!(counters.camera("quai-nord").set_up, 1);
    assert_eq!(counters.total.set_up, 1);
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "grant").len(), 1);
    assert!(of_kind(&journal, "resumed").is_empty());
    // Once in the journal is enough: a replay must not fill the disk.
    let refused = of_kind(&journal, "refused");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert_eq!(refused[0]["reason"], "replayed_request");
    assert_eq!(refused[0]["operator"]["number"], "13-1");
}

#[tokio::test]
async fn it_can_redirect_no_request() {
    let (mut stage, mut receiver, mut second) = Stage::linked_both().await;
    let operator = stage.operator("13-1");
    let neighbour = stage.other_operator("84-1");
    let mut for_rognac = stage.claims(&["quai-nord"]);
    for_rognac.aud = CommuneId::new("rognac").unwrap();
    let mut through_84 = stage.claims(&["quai-nord"]);
    through_84.centre = CentreId::new("corg-84").unwrap();
    let theirs = neighbour.sign(&stage.other_claims(&["plage"]));
    let ours = operator.sign(&stage.claims(&["mairie"]));
    for (request, reason) in [
        (operator.sign(&for_rognac), Reason::WrongAudience),
        (operator.sign(&through_84), Reason::WrongAudience),
        // What the neighbour's operator signed for the neighbour.
        (theirs.clone(), Reason::OperatorNotDesignated),
    ] {
        assert_eq!(receiver.refused(&request).await, reason);
    }
    // And the neighbour with ours: its agreement has another authority.
    let refused = second.refused(&ours).await;
    assert_eq!(refused, Reason::OperatorNotDesignated);
    assert_eq!(stage.metrics().relays_opened_total.get(), 0);
    // Each is granted where it belongs, and travels there alone.
    let granted = second.granted(&theirs).await;
    second.confirm(&granted, &theirs).await;
    let plage = granted.relay("plage");
    second.until_bytes(plage, 1).await;
    let granted = receiver.granted(&ours).await;
    receiver.confirm(&granted, &ours).await;
    let mairie = granted.relay("mairie");
    receiver.until_more_groups(mairie, 2).await;
    assert_eq!(
        receiver.media().groups.keys().collect::<Vec<_>>(),
        [&mairie]
    );
    assert_eq!(second.media().groups.keys().collect::<Vec<_>>(), [&plage]);
    let counters = stage.counters();
    assert_eq!(counters.by_camera.len(), 2, "{counters:?}");
    let journal = stage.stop().await;
    let refused = of_kind(&journal, "refused");
    let told: Vec<_> = refused
        .iter()
        .map(|body| (body["reason"].as_str(), body["peer"].as_str()))
        .collect();
    let wrong = (Some("wrong_audience"), Some("corg-13"));
    assert_eq!(told, [wrong, wrong]);
}

#[tokio::test]
async fn its_flood_is_bounded_and_harms_nobody_else() {
    let (mut stage, mut receiver, mut second) = Stage::linked_both().await;
    let (forger, _) = forger("13-1");
    let mut asked = Vec::new();
    for _ in 0..400 {
        let forged = forger.sign(&stage.claims(&["quai-nord"]));
        asked.push(receiver.request(&forged).await);
    }
    let mut looked = 0;
    for id in asked {
        match receiver.answer(id).await.reason() {
            Some(Reason::OperatorNotDesignated) => looked += 1,
            other => assert_eq!(other, Some(Reason::TooManyAttempts)),
        }
    }
    assert_eq!(looked, 10, "ten are looked at in one second");
    // In the same second: its own operators must wait, another centre's need not.
    let ours = stage.operator("13-1").sign(&stage.claims(&["mairie"]));
    let refused = receiver.refused(&ours).await;
    assert_eq!(refused, Reason::TooManyAttempts);
    let theirs = stage
        .other_operator("84-1")
        .sign(&stage.other_claims(&["plage"]));
    let granted = second.granted(&theirs).await;
    second.confirm(&granted, &theirs).await;
    second.until_bytes(granted.relay("plage"), 1).await;
    // A second later the request is as good as new: nobody had looked at it.
    stage.hand.advance(SECOND);
    let granted = receiver.granted(&ours).await;
    receiver.confirm(&granted, &ours).await;
    receiver.until_bytes(granted.relay("mairie"), 1).await;
    let attempts = stage.metrics().requests_total.with_label_values(&[
        "corg-13",
        "refused",
        "too_many_attempts",
    ]);
    assert_eq!(attempts.get(), 391);
    stage.hand.advance(Duration::from_secs(60));
    // Answered after the minute's line was ordered.
    assert!(matches!(receiver.ask("").await, Answer::Refused(..)));
    let opened: Vec<String> = stage.counters().by_camera.into_keys().collect();
    assert_eq!(opened, ["mairie", "plage"]);
    let journal = stage.stop().await;
    let counted = of_kind(&journal, "unverified");
    let counts: Vec<_> = counted
        .iter()
        .map(|body| (body["peer"].as_str(), body["count"].as_u64()))
        .collect();
    assert_eq!(counts, [(Some("corg-13"), Some(401))]);
    assert!(of_kind(&journal, "refused").is_empty());
}
