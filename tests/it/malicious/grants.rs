//! What it does with grants that are real: prolongs, confirms falsely, meddles
//! with those of others.

use std::time::Duration;

use fanal::certs::trial::Trial;
use fanal::format::control::{ReceiverHello, ToGateway, ToReceiver};
use fanal::format::ids::{CameraId, Sha256};
use fanal::format::jws::Signer;
use fanal::format::statement::{GRANT_TYPE, HEAD_TYPE, HeadClaims, VIEWINGS_TYPE, ViewingsClaims};
use fanal::media::relay::RelayId;
use fanal::reason::Reason;

use super::SECOND;
use crate::malice::{START, Stage, altered, of_kind};

/// As long as a centre may take to confirm.
const CONFIRM: Duration = Duration::from_secs(5);

#[tokio::test]
async fn it_can_prolong_nothing() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    // The witness shows that the way stays open all the time.
    let mut claims = stage.claims(&["temoin"]);
    claims.duration = 3_600;
    let request = operator.sign(&claims);
    let witness = receiver.granted(&request).await;
    receiver.confirm(&witness, &request).await;
    let (witness_grant, witness) = (witness.id(), witness.relay("temoin"));
    let short = operator.sign(&stage.claims(&["quai-nord"]));
    let granted = receiver.granted(&short).await;
    receiver.confirm(&granted, &short).await;
    let relay = granted.relay("quai-nord");
    receiver.until_bytes(relay, 1).await;
    // A renewal, made longer on its way.
    let mut renewal = stage.claims(&["quai-nord"]);
    renewal.renews = Some(granted.id());
    renewal.duration = 60;
    let renewal = operator.sign(&renewal);
    let longer = altered(&renewal, |claims| claims["duration"] = 3_600.into());
    assert_eq!(receiver.refused(&longer).await, Reason::BadSignature);
    // It never releases, never reads what it is told, and reads on.
    stage.hand.advance(Duration::from_secs(599));
    receiver.until_more_groups(relay, 2).await;
    stage.hand.advance(SECOND);
    receiver.until_more_groups(witness, 2).await;
    let at_end = receiver.media();
    let refusal = receiver.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::GrantExpired);
    let head = receiver.next_head(START.seconds());
    let confirm = ToGateway::Confirm {
        grant: granted.id(),
        request: Sha256::of(short.as_bytes()),
        head,
    };
    let keep = [
        confirm,
        ToGateway::KeyFrame {
            relay: RelayId(relay),
        },
        ToGateway::Focus {
            relays: vec![RelayId(relay)],
        },
    ];
    for message in &keep {
        receiver.say(message).await;
    }
    assert_eq!(receiver.refused(&short).await, Reason::StaleRequest);
    // What the operator signed in time came too late, ...
    assert_eq!(receiver.refused(&renewal).await, Reason::StaleRequest);
    // ... and what he signs now has nothing to renew.
    let mut late = stage.claims(&["quai-nord"]);
    late.renews = Some(granted.id());
    let late = operator.sign(&late);
    assert_eq!(receiver.refused(&late).await, Reason::GrantUnknown);
    receiver.drop_link();
    receiver.link().await;
    // The witness goes on over the new link, and it alone.
    receiver.resumed(witness_grant).await;
    assert!(!receiver.has_heard(|message| matches!(message, ToReceiver::Resume { .. })));
    for message in &keep {
        receiver.say(message).await;
    }
    receiver.until_more_groups(witness, 2).await;
    let later = receiver.media();
    assert_eq!(later.by_relay[&relay], at_end.by_relay[&relay]);
    assert_eq!(later.groups.len(), 2, "{later:?}");
    let codes = later.resets.iter().filter(|(of, _)| *of == relay);
    let expired = u64::from(Reason::GrantExpired.number());
    assert!(codes.clone().any(|(_, code)| *code == expired), "{codes:?}");
    stage
        .cameras_until("the camera is let go", |counters| {
            counters.camera("quai-nord").open() == 0
        })
        .await;
    assert_eq!(stage.counters().camera("quai-nord").set_up, 1);
    let journal = stage.stop().await;
    let ended = of_kind(&journal, "ended");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["reason"], "grant_expired");
    assert_eq!(
        ended[0]["at"],
        START.plus(Duration::from_secs(600)).rfc3339()
    );
}

#[tokio::test]
async fn no_clock_prolongs_a_grant() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    for (camera, wall_moves) in [("quai-nord", -3_600i64), ("quai-sud", 3_600)] {
        let request = operator.sign(&stage.claims(&[camera]));
        let granted = receiver.granted(&request).await;
        receiver.confirm(&granted, &request).await;
        receiver.until_bytes(granted.relay(camera), 1).await;
        // It claims another time as well.
        let wall = stage.hand.now().wall;
        let moved = fanal::clock::Wall(wall.0 + wall_moves * 1_000_000);
        receiver
            .say(&ToGateway::Time {
                echo: 1,
                wall: Some(moved.0 - 1_000_000_000),
            })
            .await;
        stage.hand.set_wall(moved);
        if wall_moves < 0 {
            // The deadline of the boot clock holds.
            stage.hand.advance(Duration::from_secs(599));
            receiver.until_more_groups(granted.relay(camera), 1).await;
        }
        stage.hand.advance(SECOND);
        let refusal = receiver.ended(granted.id()).await;
        assert_eq!(refusal.reason, Reason::GrantExpired, "{camera}");
        // For the next: a clock behind the journal refuses everything.
        stage.hand.set_wall(wall.plus(Duration::from_secs(600)));
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_grant_that_is_never_confirmed_ends() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    let granted = receiver.granted(&request).await;
    let relay = granted.relay("quai-nord");
    receiver.until_bytes(relay, 1).await;
    stage.hand.advance(CONFIRM - Duration::from_millis(100));
    receiver.until_more_groups(relay, 1).await;
    assert!(!receiver.has_ended(granted.id()));
    stage.hand.advance(Duration::from_millis(100));
    let refusal = receiver.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::CentreUnconfirmed);
    assert!(refusal.detail.contains("corg-13"), "{}", refusal.detail);
    // The time adds up over links: hanging up and coming back gains none.
    let request = operator.sign(&stage.claims(&["quai-sud"]));
    let granted = receiver.granted(&request).await;
    stage.hand.advance(Duration::from_secs(3));
    receiver.drop_link();
    receiver.link().await;
    let resumed = |message: &ToReceiver| matches!(message, ToReceiver::Resume { .. }).then_some(());
    receiver.hear("the grant goes on", resumed).await;
    assert!(!receiver.has_ended(granted.id()));
    stage.hand.advance(Duration::from_secs(2));
    let refusal = receiver.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::CentreUnconfirmed);
    let journal = stage.stop().await;
    let ended = of_kind(&journal, "ended");
    assert_eq!(ended.len(), 2, "{ended:?}");
    assert!(
        ended
            .iter()
            .all(|body| body["reason"] == "centre_unconfirmed")
    );
    assert!(of_kind(&journal, "confirmed").is_empty());
}

#[tokio::test]
async fn only_a_new_head_of_its_own_confirms() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let now = START.seconds();
    let signer = |trial: &Trial, id: &str| {
        let identity = trial.machine(id).unwrap();
        Signer::from_pem(identity.key.expose(), &identity.certificate).unwrap()
    };
    let request = operator.sign(&stage.claims(&["temoin"]));
    let honest = receiver.granted(&request).await;
    let old_head = receiver.next_head(now);
    let confirm = |head: &str| ToGateway::Confirm {
        grant: honest.id(),
        request: Sha256::of(request.as_bytes()),
        head: head.to_owned(),
    };
    receiver.say(&confirm(&old_head)).await;
    let claims = receiver.head_claims(2, now);
    let other_line = HeadClaims {
        link: Sha256::ZERO,
        ..receiver.head_claims(1, now)
    };
    let other_name = HeadClaims {
        iss: "corg-84".to_owned(),
        ..claims.clone()
    };
    let good = receiver.signer.sign(HEAD_TYPE, &claims);
    let forged = signer(&Trial::new(START).unwrap(), "corg-13");
    let forgeries = [
        old_head.clone(),
        forged.sign(HEAD_TYPE, &claims),
        signer(&stage.trial, "corg-84").sign(HEAD_TYPE, &claims),
        signer(&stage.trial, "corg-84").sign(HEAD_TYPE, &other_name),
        receiver.signer.sign(HEAD_TYPE, &other_name),
        receiver.signer.sign(GRANT_TYPE, &claims),
        operator.sign_any(HEAD_TYPE, &claims),
        altered(&old_head, |claims| claims["seq"] = 9.into()),
        honest.claims.head.clone(),
        honest.proof.clone(),
        String::new(),
        "x".repeat(100_000),
    ];
    for (number, forgery) in forgeries.iter().enumerate() {
        let request = operator.sign(&stage.claims(&["quai-nord"]));
        let granted = receiver.granted(&request).await;
        let confirm = |request: &str, head: &str| ToGateway::Confirm {
            grant: granted.id(),
            request: Sha256::of(request.as_bytes()),
            head: head.to_owned(),
        };
        receiver.say(&confirm(&request, forgery)).await;
        // The right head for another request is none.
        receiver.say(&confirm("another", &good)).await;
        // Once this is answered, the others were looked at.
        receiver.refused("").await;
        stage.hand.advance(CONFIRM);
        let refusal = receiver.ended(granted.id()).await;
        assert_eq!(refusal.reason, Reason::CentreUnconfirmed, "{number}");
    }
    assert!(!receiver.has_ended(honest.id()));
    // Two links for one line convict it for good: it gets nothing any more.
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    let granted = receiver.granted(&request).await;
    let confirm = ToGateway::Confirm {
        grant: granted.id(),
        request: Sha256::of(request.as_bytes()),
        head: receiver.signer.sign(HEAD_TYPE, &other_line),
    };
    receiver.say(&confirm).await;
    for grant in [granted.id(), honest.id()] {
        let refusal = receiver.ended(grant).await;
        assert_eq!(refusal.reason, Reason::JournalWentBack);
    }
    let journal = stage.stop().await;
    let confirmed = of_kind(&journal, "confirmed");
    assert_eq!(confirmed.len(), 1);
    assert_eq!(confirmed[0]["head"], old_head);
    let convicted = of_kind(&journal, "peer_contradiction");
    assert_eq!(convicted.len(), 1, "{convicted:?}");
    assert_eq!(convicted[0]["head"], old_head);
    assert_eq!(of_kind(&journal, "ended").len(), forgeries.len() + 2);
}

#[tokio::test]
async fn it_can_touch_nothing_of_others() {
    let (mut stage, mut receiver, mut second) = Stage::linked_both().await;
    let theirs = stage
        .other_operator("84-1")
        .sign(&stage.other_claims(&["plage"]));
    let granted = second.granted(&theirs).await;
    let relay = granted.relay("plage");
    second.until_bytes(relay, 1).await;
    let now = START.seconds();
    let head = receiver.next_head(now);
    let viewings = ViewingsClaims {
        iss: "corg-84".parse().unwrap(),
        aud: "berre-l-etang".parse().unwrap(),
        grant: granted.id(),
        iat: now,
        part: None,
        parts: None,
        total: None,
        viewings: Vec::new(),
        received: Vec::new(),
        counted_since: None,
        journal: None,
    };
    let meddling = [
        ToGateway::Release {
            grant: granted.id(),
            by: "84-1".to_owned(),
            reason: None,
        },
        ToGateway::Confirm {
            grant: granted.id(),
            request: Sha256::of(theirs.as_bytes()),
            head,
        },
        ToGateway::KeyFrame {
            relay: RelayId(relay),
        },
        ToGateway::KeyFrame {
            relay: RelayId(relay.wrapping_add(1)),
        },
        ToGateway::Focus {
            relays: (0..20_000).map(RelayId).chain([RelayId(relay)]).collect(),
        },
        ToGateway::Viewings {
            statement: receiver.signer.sign(VIEWINGS_TYPE, &viewings),
        },
        ToGateway::Hello(ReceiverHello {
            minor: 0,
            version: "9".to_owned(),
            wall: 0,
            name: "corg-84".to_owned(),
            head: Some(second.next_head(now)),
        }),
    ];
    for message in &meddling {
        receiver.say(message).await;
    }
    let mut renewal = stage.claims(&["plage"]);
    renewal.renews = Some(granted.id());
    let renewal = stage.operator("13-1").sign(&renewal);
    assert_eq!(receiver.refused(&renewal).await, Reason::GrantUnknown);
    // Theirs goes on, once over the link, and still waits for their own head.
    second.until_more_groups(relay, 2).await;
    assert!(!second.has_ended(granted.id()));
    assert_eq!(receiver.media().bytes, 0);
    assert_eq!(stage.counters().total.set_up, 1);
    stage.hand.advance(CONFIRM);
    let refusal = second.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::CentreUnconfirmed);
    stage.nothing_but(&mut receiver, &["plage"]).await;
    let journal = stage.stop().await;
    assert!(of_kind(&journal, "viewings").is_empty());
    let confirmed = of_kind(&journal, "confirmed");
    assert!(confirmed.iter().all(|body| body["centre"] == "corg-13"));
}

#[tokio::test]
async fn it_can_revoke_nobody_and_bring_nobody_back() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let (first, second) = (stage.operator("13-1"), stage.operator("13-2"));
    let mut grants = Vec::new();
    for (operator, camera) in [(&first, "quai-nord"), (&second, "quai-sud")] {
        let request = operator.sign(&stage.claims(&[camera]));
        let granted = receiver.granted(&request).await;
        receiver.confirm(&granted, &request).await;
        receiver.until_bytes(granted.relay(camera), 1).await;
        grants.push(granted);
    }
    let mut own = Trial::new(START).unwrap();
    let certificate = own.simple_operator("13-2", "CORG 13", START).unwrap();
    let forged = own.revoke_operator(&certificate.certificate, START);
    let forged = forged.unwrap().to_owned();
    let link_list = stage.trial.link_list().to_owned();
    let old = stage.trial.designation_list().to_owned();
    let newer = stage
        .trial
        .revoke_operator(&first.identity.certificate, START)
        .unwrap()
        .to_owned();
    let send = |list: &str| ToGateway::Revocation {
        list: list.to_owned(),
    };
    for list in [forged.as_str(), &link_list, &old, "", &"x".repeat(500_000)] {
        receiver.say(&send(list)).await;
    }
    receiver.refused("").await;
    assert!(!grants.iter().any(|grant| receiver.has_ended(grant.id())));
    // The authority's own word counts, anyone who brings it.
    receiver.say(&send(&newer)).await;
    let refusal = receiver.ended(grants[0].id()).await;
    assert_eq!(refusal.reason, Reason::DesignationRevoked);
    // And no older one takes it back, also after a restart.
    receiver.say(&send(&old)).await;
    let again = |stage: &Stage| first.sign(&stage.claims(&["mairie"]));
    let refused = receiver.refused(&again(&stage)).await;
    assert_eq!(refused, Reason::DesignationRevoked);
    stage.stop().await;
    stage.start().await;
    receiver.link().await;
    receiver.say(&send(&old)).await;
    let refused = receiver.refused(&again(&stage)).await;
    assert_eq!(refused, Reason::DesignationRevoked);
    assert!(!receiver.has_ended(grants[1].id()));
    let relay = receiver.resumed_relay(grants[1].id(), "quai-sud").await;
    receiver.until_bytes(relay, 1).await;
    assert!(!stage.counters().by_camera.contains_key("mairie"));
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "revocation").len(), 1);
    let ended = of_kind(&journal, "ended");
    assert_eq!(ended.len(), 1, "{ended:?}");
    assert_eq!(ended[0]["reason"], "designation_revoked");
}

/// The renewal narrowed the grant; its replay must not undo that.
#[tokio::test]
async fn a_replayed_renewal_brings_nothing_back() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let operator = stage.operator("13-1");
    let request = operator.sign(&stage.claims(&["quai-nord", "quai-sud"]));
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    let mut renewal = stage.claims(&["quai-nord"]);
    renewal.renews = Some(granted.id());
    renewal.duration = 120;
    let renewal = operator.sign(&renewal);
    let renewed = receiver.granted(&renewal).await;
    receiver.confirm(&renewed, &renewal).await;
    assert_eq!(renewed.id(), granted.id());
    assert_eq!(receiver.refused(&renewal).await, Reason::ReplayedRequest);
    stage.stop().await;
    stage.start().await;
    receiver.link().await;
    let resumed = receiver.resumed(granted.id()).await;
    assert_eq!(resumed.granted, [CameraId::new("quai-nord").unwrap()]);
    assert_eq!(resumed.expires, renewed.claims.expires);
    stage.hand.advance(Duration::from_secs(120));
    let refusal = receiver.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::GrantExpired);
    stage.stop().await;
}

/// What it says is written down as it says it, and harms no log or screen.
#[tokio::test]
async fn its_words_are_made_fit_to_be_read() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let request = stage.operator("13-1").sign(&stage.claims(&["temoin"]));
    let granted = receiver.granted(&request).await;
    let by = format!("13-1\n\u{1b}[2J\u{202e}{}", "x".repeat(500_000));
    let release = ToGateway::Release {
        grant: granted.id(),
        by,
        reason: None,
    };
    receiver.say(&release).await;
    let refusal = receiver.ended(granted.id()).await;
    assert_eq!(refusal.reason, Reason::GrantReleased);
    let expected = format!("13-1\u{fffd}\u{fffd}[2J\u{fffd}{}", "x".repeat(118));
    assert_eq!(refusal.detail, format!("released by {expected}"));
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "ended")[0]["by"], expected);
}
