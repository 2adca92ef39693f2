//! Every reason for which a commune says no, reached from outside: by what comes
//! over the link of a centre, and with its entry in the journal where the one
//! who asked is known. And what is promised while nothing is granted.

use std::time::Duration;

use fanal::certs::Validity;
use fanal::certs::authority::Person;
use fanal::clock::Wall;
use fanal::format::control::{RelayState, ToGateway, ToReceiver};
use fanal::format::ids::{CommuneId, GrantId};
use fanal::format::statement::{REQUEST_TYPE, RequestClaims};
use fanal::gateway::socket;
use fanal::reason::Reason;
use serde_json::json;

use crate::malice::{
    Answer, Operator, PATIENCE, Receiver, START, Stage, altered, claims_of, of_kind,
};

const SECOND: Duration = Duration::from_secs(1);

fn with(claims: RequestClaims, change: impl FnOnce(&mut RequestClaims)) -> RequestClaims {
    let mut claims = claims;
    change(&mut claims);
    claims
}

/// An operator of corg-13's authority with this unit and validity.
fn person(stage: &Stage, unit: &str, validity: Validity) -> Operator {
    let person = Person {
        number: "13-7".to_owned(),
        name: "Adjudant Petit".to_owned(),
        unit: unit.to_owned(),
    };
    Operator::new(stage.trial.operator(&person, validity).unwrap())
}

/// Reason, request, and whether the one who asked is known, so that it is written.
fn table(stage: &Stage, revoked: &Operator) -> Vec<(Reason, String, bool)> {
    let operator = stage.operator("13-1");
    let hour = Duration::from_secs(3_600);
    let past = Validity::lasting(Wall(START.0 - 3_000_000_000), Duration::from_secs(60));
    let future = Validity::lasting(START.plus(hour), hour);
    let day = Validity::lasting(START, 24 * hour);
    let base = || stage.claims(&["quai-nord"]);
    let sign = |claims: RequestClaims| operator.sign(&claims);
    let raw = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut claims = claims_of(&operator.sign(&base()));
        change(&mut claims);
        operator.sign_any(REQUEST_TYPE, &claims)
    };
    let malformed: [(&str, serde_json::Value); 16] = [
        ("cameras", json!([])),
        ("cameras", json!(["quai-nord", "quai-nord"])),
        ("cameras", json!(["../quai-nord"])),
        ("cameras", json!("quai-nord")),
        ("duration", json!(0)),
        ("duration", json!(-60)),
        ("duration", json!(60.5)),
        ("duration", json!(4_294_967_296u64)),
        ("incident", json!("vol à main armée")),
        ("incident", json!("a".repeat(65))),
        ("jti", json!("6f1c0e9e-0000-4000-8000-000000000001")),
        ("grounds", json!("burglary\u{202e}")),
        ("profile", json!("4k")),
        ("present", json!(vec!["A"; 21])),
        ("present", json!(["a\u{7}"])),
        ("force", json!(true)),
    ];
    let mut rows: Vec<(Reason, String, bool)> = malformed
        .iter()
        .map(|(claim, value)| {
            let text = raw(&|claims| claims[*claim] = value.clone());
            (Reason::MalformedRequest, text, false)
        })
        .collect();
    let duplicate = |text: &str| {
        use base64::Engine;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
        let [header, payload, signature] = crate::malice::parts(text);
        let claims = String::from_utf8(BASE64.decode(payload).unwrap()).unwrap();
        let twice = claims.replacen('{', r#"{"duration":3600,"#, 1);
        format!("{header}.{}.{signature}", BASE64.encode(twice))
    };
    let camera = |id: &str| operator.sign(&stage.claims(&[id]));
    rows.extend([
        (Reason::MalformedRequest, "x".to_owned(), false),
        (Reason::MalformedRequest, "a".repeat(16 * 1024 + 1), false),
        (Reason::BadSignature, duplicate(&sign(base())), false),
        (
            Reason::BadSignature,
            altered(&sign(base()), |claims| claims["duration"] = 60.into()),
            false,
        ),
        (
            Reason::StaleRequest,
            sign(with(base(), |claims| claims.iat -= 61)),
            true,
        ),
        (
            Reason::StaleRequest,
            sign(with(base(), |claims| claims.iat += 1_000)),
            true,
        ),
        (
            Reason::WrongAudience,
            sign(with(base(), |claims| {
                claims.aud = CommuneId::new("rognac").unwrap();
            })),
            true,
        ),
        (
            Reason::WrongAudience,
            sign(with(base(), |claims| {
                claims.centre = "corg-84".parse().unwrap()
            })),
            true,
        ),
        (
            Reason::OperatorNotDesignated,
            stage.other_operator("84-1").sign(&base()),
            false,
        ),
        (
            Reason::DesignationExpired,
            person(stage, "CORG 13", past).sign(&base()),
            false,
        ),
        (
            Reason::DesignationExpired,
            person(stage, "CORG 13", future).sign(&base()),
            false,
        ),
        (Reason::DesignationRevoked, revoked.sign(&base()), false),
        (
            Reason::NoAgreement,
            person(stage, "BTA Istres", day).sign(&base()),
            true,
        ),
        (Reason::CameraUnknown, camera("inconnue"), true),
        (Reason::CameraNotCovered, camera("ecole-a"), true),
        (Reason::CameraInvalid, camera("cassee"), true),
        (Reason::MaskNotVerified, camera("piscine"), true),
        (
            Reason::GroundsNotAllowed,
            sign(with(base(), |claims| claims.grounds = "fire".to_owned())),
            true,
        ),
        (
            Reason::IncidentMissing,
            raw(&|claims| claims["incident"] = "".into()),
            false,
        ),
        (
            Reason::IncidentMissing,
            raw(&|claims| drop(claims.as_object_mut().unwrap().remove("incident"))),
            false,
        ),
        (
            Reason::DurationTooLong,
            sign(with(base(), |claims| claims.duration = 3_601)),
            true,
        ),
        (
            Reason::GrantUnknown,
            sign(with(base(), |claims| {
                claims.renews = Some(GrantId(uuid::Uuid::from_u128(7)));
            })),
            true,
        ),
    ]);
    rows
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_its_entry() {
    let mut stage = Stage::new().await;
    let revoked = stage.operator("13-6");
    let list = stage
        .trial
        .revoke_operator(&revoked.identity.certificate, START);
    let list = list.unwrap().to_owned();
    stage.write("designation.crl.pem", &list);
    let (mut first, mut second) = (stage.receiver("corg-13"), stage.receiver("corg-84"));
    // The second agreement wants a current list, and there is none.
    let strict = stage.other_agreement(&second) + "require_fresh_revocation = true\n";
    stage.write_settings(&(stage.agreement(&first) + &strict));
    stage.start().await;
    first.link().await;
    second.link().await;
    let rows = table(&stage, &revoked);
    let mut written = 0;
    for (number, (reason, request, known)) in rows.iter().enumerate() {
        let answer = first.ask(request).await;
        assert_eq!(answer.reason(), Some(*reason), "row {number}");
        let journal = stage.journal();
        let refused = of_kind(&journal, "refused");
        written += usize::from(*known);
        assert_eq!(refused.len(), written, "{reason}, row {number}");
        if *known {
            let last = refused[written - 1];
            assert_eq!(last["reason"], reason.code());
            assert_eq!(last["request"], *request, "verbatim");
            assert_eq!(last["peer"], "corg-13");
            let number = last["operator"]["number"].as_str().unwrap();
            assert!(number.starts_with("13-"), "{number}");
        }
        let counted = stage.metrics().requests_total.with_label_values(&[
            "corg-13",
            "refused",
            reason.code(),
        ]);
        assert!(counted.get() > 0, "{reason}");
        // Ten that do not verify are looked at in a second; the table must
        // still be fresh at its end.
        if number % 8 == 7 {
            stage.hand.advance(SECOND);
        }
    }
    let theirs = stage.other_operator("84-1");
    let asked = theirs.sign(&stage.other_claims(&["plage"]));
    assert_eq!(second.refused(&asked).await, Reason::RevocationUnknown);
    let request = stage.operator("13-1").sign(&stage.claims(&["temoin"]));
    first.granted(&request).await;
    assert_eq!(first.refused(&request).await, Reason::ReplayedRequest);
    let journal = stage.stop().await;
    let refused = of_kind(&journal, "refused");
    assert_eq!(refused.len(), written + 1);
    assert_eq!(refused[written]["reason"], "replayed_request");
    assert!(stage.counters().by_camera.keys().all(|id| id == "temoin"));
}

#[tokio::test]
async fn a_camera_is_refused_beside_one_that_is_granted() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let wanted = ["temoin", "inconnue", "ecole-a", "cassee", "piscine"];
    let request = operator.sign(&stage.claims(&wanted));
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    let expected = [
        ("inconnue", Reason::CameraUnknown),
        ("ecole-a", Reason::CameraNotCovered),
        ("cassee", Reason::CameraInvalid),
        ("piscine", Reason::MaskNotVerified),
    ];
    let refused = granted.claims.refused.iter();
    let refused = refused.map(|camera| (camera.camera.as_str(), camera.refusal.reason));
    assert_eq!(refused.collect::<Vec<_>>(), expected);
    // Three at once are allowed: two more, and the third is one too many.
    let request = operator.sign(&stage.claims(&["plage", "mairie", "quai-nord"]));
    let more = receiver.granted(&request).await;
    receiver.confirm(&more, &request).await;
    let over = &more.claims.refused;
    assert_eq!(over.len(), 1, "{over:?}");
    assert_eq!(over[0].camera.as_str(), "quai-nord");
    assert_eq!(over[0].refusal.reason, Reason::TooManyRelays);
    let again = operator.sign(&stage.claims(&["quai-sud"]));
    let Answer::Refused(refusal, cameras) = receiver.ask(&again).await else {
        panic!("granted");
    };
    assert_eq!(refusal.reason, Reason::TooManyRelays);
    assert!(cameras.is_empty(), "{cameras:?}");
    // A camera that is shown already costs no other; a release makes room.
    let shared = operator.sign(&stage.claims(&["plage"]));
    let shared = receiver.granted(&shared).await;
    assert_eq!(shared.relay("plage"), more.relay("plage"), "one copy");
    let release = ToGateway::Release {
        grant: granted.id(),
        by: "13-1".to_owned(),
        reason: None,
    };
    receiver.say(&release).await;
    let ended = receiver.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::GrantReleased);
    let request = operator.sign(&stage.claims(&["quai-sud"]));
    receiver.granted(&request).await;
    let journal = stage.stop().await;
    let entry = of_kind(&journal, "grant")[0];
    assert_eq!(entry["refused"].as_array().unwrap().len(), 4);
    assert_eq!(entry["recipients"], json!(["CORG 13", "Capitaine Roux"]));
    assert_eq!(of_kind(&journal, "ended")[0]["by"], "13-1");
}

#[tokio::test]
async fn a_camera_that_fails_says_why() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let request = stage.operator("13-1").sign(&stage.claims(&["perdue"]));
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    let failed = |message: &ToReceiver| match message {
        ToReceiver::Relay {
            camera,
            state: RelayState::Retrying | RelayState::Failed,
            refusal: Some(refusal),
            ..
        } if camera.as_str() == "perdue" => Some(refusal.clone()),
        _ => None,
    };
    let refusal = receiver.hear("the camera's failure", failed).await;
    assert_eq!(refusal.reason, Reason::CameraNotFound);
    assert!(!refusal.detail.contains("rtsp://"), "{}", refusal.detail);
    stage.stop().await;
}

#[tokio::test]
async fn an_agreement_ends_with_its_last_day_and_with_what_it_no_longer_says() {
    let mut stage = Stage::new().await;
    let mut receiver = stage.receiver("corg-13");
    let agreement = stage.agreement(&receiver);
    // Until the day of the start, inclusive.
    let today = agreement.replace("until = 2090-02-12", "until = 2026-11-18");
    stage.write_settings(&today);
    stage.start().await;
    receiver.link().await;
    let mut claims = stage.claims(&["temoin", "quai-nord"]);
    claims.duration = 3_600;
    let operator = stage.operator("13-1");
    let request = operator.sign(&claims);
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    receiver.until_bytes(granted.relay("quai-nord"), 1).await;
    // One camera is taken out, then all.
    let narrower = today.replace(r#"["ecole-*"]"#, r#"["ecole-*", "quai-*"]"#);
    stage.write_settings(&narrower);
    stage.reload().await;
    let out = |message: &ToReceiver| match message {
        ToReceiver::Relay {
            camera,
            state: RelayState::Ended,
            refusal: Some(refusal),
            ..
        } if camera.as_str() == "quai-nord" => Some(refusal.reason),
        _ => None,
    };
    let reason = receiver.hear("the camera's end", out).await;
    assert_eq!(reason, Reason::AgreementChanged);
    stage
        .cameras_until("quai-nord is let go", |counters| {
            counters.camera("quai-nord").open() == 0
        })
        .await;
    receiver.until_more_groups(granted.relay("temoin"), 1).await;
    let none = narrower.replace(r#"cameras = ["*"]"#, r#"cameras = ["plage"]"#);
    stage.write_settings(&none);
    stage.reload().await;
    let ended = receiver.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::AgreementChanged);
    // Its session is over before hours pass.
    let live = stage.metrics().cameras.with_label_values(&["live"]);
    crate::world::until("temoin is let go", || live.get() == 0).await;
    // The day ends at midnight in Paris, 23:00 UTC, and with it the last grant.
    stage.write_settings(&today);
    stage.reload().await;
    let midnight = Wall::from_seconds(1_795_042_800);
    let before = Duration::from_secs(60);
    stage
        .hand
        .advance(midnight.since(stage.hand.now().wall) - before);
    let mut claims = stage.claims(&["temoin"]);
    claims.duration = 3_600;
    let request = operator.sign(&claims);
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    assert_eq!(granted.claims.expires, midnight.seconds());
    stage.hand.advance(before);
    let ended = receiver.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::AgreementNotInForce);
    let request = operator.sign(&stage.claims(&["temoin"]));
    let refused = receiver.refused(&request).await;
    assert_eq!(refused, Reason::AgreementNotInForce);
    let journal = stage.stop().await;
    let reasons: Vec<_> = of_kind(&journal, "ended")
        .iter()
        .map(|body| body["reason"].clone())
        .collect();
    assert_eq!(reasons, ["agreement_changed", "agreement_not_in_force"]);
    assert_eq!(
        of_kind(&journal, "refused")[0]["reason"],
        "agreement_not_in_force"
    );
}

#[tokio::test]
async fn what_the_commune_cuts_is_refused() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    receiver.until_bytes(granted.relay("quai-nord"), 1).await;
    let cut = |scope: &str| socket::Request::Cut {
        scope: scope.to_owned(),
        block: 900,
    };
    let done = stage.local(cut("camera:quai-nord")).await;
    assert!(
        matches!(done, socket::Answer::Cut { grants: 1, .. }),
        "{done:?}"
    );
    assert_eq!(receiver.ended(granted.id()).await.reason, Reason::GrantCut);
    let ask = |stage: &Stage, camera: &str| operator.sign(&stage.claims(&[camera]));
    let refused = receiver.refused(&ask(&stage, "quai-nord")).await;
    assert_eq!(refused, Reason::CommuneRefused);
    // Another camera is not cut, until everything is.
    receiver.granted(&ask(&stage, "temoin")).await;
    stage.local(cut("centre:corg-13")).await;
    let refused = receiver.refused(&ask(&stage, "mairie")).await;
    assert_eq!(refused, Reason::CommuneRefused);
    stage.stop().await;
    stage.start().await;
    receiver.link().await;
    let refused = receiver.refused(&ask(&stage, "mairie")).await;
    assert_eq!(refused, Reason::CommuneRefused, "after a restart");
    stage.hand.advance(Duration::from_secs(900));
    receiver.granted(&ask(&stage, "quai-nord")).await;
    let journal = stage.stop().await;
    let refused = of_kind(&journal, "refused");
    assert_eq!(refused.len(), 3, "{refused:?}");
    assert!(
        refused
            .iter()
            .all(|body| body["reason"] == "commune_refused")
    );
    assert_eq!(of_kind(&journal, "cut").len(), 2);
}

#[tokio::test]
async fn a_clock_behind_the_journal_refuses() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    // The designation is valid at both times.
    stage.hand.advance(Duration::from_secs(60));
    let request = operator.sign(&stage.claims(&["temoin"]));
    receiver.granted(&request).await;
    let now = stage.hand.now().wall;
    stage.hand.set_wall(Wall(now.0 - 8_000_000));
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    let Answer::Refused(refusal, _) = receiver.ask(&request).await else {
        panic!("granted");
    };
    assert_eq!(refusal.reason, Reason::ClockWrong);
    assert!(refusal.detail.contains("8 s"), "{}", refusal.detail);
    stage.hand.set_wall(now);
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    receiver.granted(&request).await;
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "refused")[0]["reason"], "clock_wrong");
}

/// Promise 2 (src/README.md), with a disk that is really full: the new month's file lies on
/// `/dev/full`, where every write fails for want of room.
#[tokio::test]
async fn without_a_journal_no_camera_opens() {
    let ten_seconds_left = Wall::from_seconds(1_796_083_190);
    let mut stage = Stage::at(ten_seconds_left).await;
    let mut receiver = stage.receiver("corg-13");
    stage.write_settings(&stage.agreement(&receiver));
    stage.start().await;
    receiver.link().await;
    let operator = stage.operator("13-1");
    let request = operator.sign(&stage.claims(&["temoin"]));
    let granted = receiver.granted(&request).await;
    let witness = granted.relay("temoin");
    receiver.confirm(&granted, &request).await;
    receiver.until_bytes(witness, 1).await;
    // Looked at, and so confirmed.
    receiver.refused("").await;
    let december = stage.path("gateway/journal/2026-12.jsonl");
    std::os::unix::fs::symlink("/dev/full", &december).unwrap();
    stage.hand.advance(Duration::from_secs(20));
    for _ in 0..3 {
        let request = operator.sign(&stage.claims(&["quai-nord"]));
        let refused = receiver.refused(&request).await;
        assert_eq!(refused, Reason::JournalUnavailable);
    }
    assert!(stage.metrics().journal_errors_total.get() > 0);
    assert_eq!(stage.metrics().relays_opened_total.get(), 1);
    // What runs goes on, and its end needs no journal.
    receiver.until_more_groups(witness, 2).await;
    let release = ToGateway::Release {
        grant: granted.id(),
        by: "13-1".to_owned(),
        reason: None,
    };
    receiver.say(&release).await;
    let ended = receiver.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::GrantReleased);
    stage
        .cameras_until("all cameras are let go", |counters| {
            counters.total.open() == 0
        })
        .await;
    assert_eq!(stage.counters().camera("quai-nord").set_up, 0);
    // With room again, what is owed is written first, and then granted.
    std::fs::remove_file(&december).unwrap();
    let give_up = tokio::time::Instant::now() + PATIENCE;
    let granted = loop {
        assert!(tokio::time::Instant::now() < give_up, "never again");
        stage.hand.advance(SECOND);
        let request = operator.sign(&stage.claims(&["quai-nord"]));
        match receiver.ask(&request).await {
            Answer::Granted(granted) => break granted,
            Answer::Refused(refusal, _) => {
                assert_eq!(refusal.reason, Reason::JournalUnavailable);
            }
        }
    };
    receiver.until_bytes(granted.relay("quai-nord"), 1).await;
    let journal = stage.stop().await;
    let grants = of_kind(&journal, "grant");
    assert_eq!(grants.len(), 2, "{grants:?}");
    assert_eq!(of_kind(&journal, "interrupted").len(), 1);
    let released = of_kind(&journal, "ended");
    assert!(
        released
            .iter()
            .any(|body| body["reason"] == "grant_released")
    );
}

#[tokio::test]
async fn a_gateway_that_stops_says_so() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let request = stage.operator("13-1").sign(&stage.claims(&["temoin"]));
    let granted = receiver.granted(&request).await;
    receiver.until_bytes(granted.relay("temoin"), 1).await;
    let connection = receiver.connection();
    stage.stop().await;
    let reason = connection.closed().await.reason();
    assert_eq!(reason, Some(Reason::ShuttingDown));
    stage
        .cameras_until("the camera has its TEARDOWN", |counters| {
            counters.total.torn_down == 1
        })
        .await;
}

/// Bytes over the link in both directions; over QUIC with IPv6 and UDP headers,
/// over TCP with those of TLS.
fn traffic(receiver: &mut Receiver) -> u64 {
    let stats = receiver.connection().stats();
    let headers = 48 * (stats.received_datagrams + stats.datagrams);
    stats.received_bytes + stats.sent_bytes + headers
}

/// Promise 1: nothing but signs of life while nothing is granted.
#[tokio::test]
async fn an_idle_link_is_silent_and_an_idle_gateway_holds_no_camera() {
    let (mut stage, mut receiver) = Stage::linked().await;
    // The link's beginning is not counted: handshake, list of cameras, search
    // for the path's packet size.
    no_more(&receiver, Duration::from_secs(2)).await;
    let before = traffic(&mut receiver);
    no_more(&receiver, Duration::from_secs(11)).await;
    let bytes = traffic(&mut receiver) - before;
    assert!(bytes > 0, "not even a sign of life");
    assert!(bytes < 11 * 100, "{bytes} bytes in 11 s");
    assert_eq!(stage.counters().total.set_up, 0);
    assert_eq!(stage.metrics().relays_active.get(), 0);
    // After a grant it is so again.
    stage.nothing_but_witness(&mut receiver).await;
    stage.hand.advance(Duration::from_secs(600));
    stage
        .cameras_until("the camera is let go", |counters| {
            counters.total.open() == 0
        })
        .await;
    no_more(&receiver, SECOND).await;
    stage.stop().await;
}

/// For so long, not one byte more on a media stream.
async fn no_more(receiver: &Receiver, time: Duration) {
    let bytes = receiver.media().bytes;
    let more = receiver.until("more", |media| media.bytes > bytes);
    let came = tokio::time::timeout(time, more).await;
    assert!(came.is_err(), "media without a grant");
}
