//! Grants, renewals and ends that are not its own to give.

use fanal::format::control::ToReceiver;
use fanal::format::ids::{GrantId, Incident};
use fanal::format::statement::RequestClaims;
use serde_json::json;
use uuid::Uuid;

use super::gateway::refused;
use super::{COMMUNE, NEIGHBOUR, Stage};

fn fresh() -> GrantId {
    GrantId(Uuid::now_v7())
}

#[tokio::test]
async fn it_grants_nothing_that_the_centre_did_not_forward_and_nothing_twice() {
    let mut stage = Stage::linked().await;
    // Granted once, and still live.
    let granted = stage.site.claims(&["port"]);
    let (grant, request) = stage.granted(&granted).await;
    // Refused by the gateway itself.
    let refusal = stage.site.claims(&["port"]);
    let refused_request = stage.operator.sign(&refusal);
    let answer = stage
        .asked(&refusal, async |bad, id, _| {
            bad.lie(&refused(id, "no")).await
        })
        .await;
    assert_eq!(answer.problem(), (403, "commune_refused"));
    // Never sent through this centre, an old one, and one for another commune.
    let unseen = stage.site.claims(&["port"]);
    let old = RequestClaims {
        iat: unseen.iat - 86_400,
        ..stage.site.claims(&["port"])
    };
    let neighbours = stage.neighbours();
    let (theirs, for_neighbour) = stage.granted(&neighbours).await;
    let lies = [
        (request.clone(), granted.clone()),
        (refused_request, refusal),
        (stage.operator.sign(&unseen), unseen),
        (stage.operator.sign(&old), old),
        (for_neighbour, neighbours),
    ];
    let over = super::messages::ended(&mut stage).await;
    for round in 0..2 {
        for (request, claims) in &lies {
            for _ in 0..3 {
                let id = fresh();
                stage.bad.resume(request, id, claims).await;
                stage
                    .bad
                    .lie(&json!({ "type": "waiting", "request": request, "seconds": 1 }))
                    .await;
            }
        }
        stage.bad.is_heard((&over.0, over.1, &over.2)).await;
        let mut live = stage.live().await;
        live.sort();
        let mut wanted = vec![grant.to_string(), theirs.to_string()];
        wanted.sort();
        assert_eq!(live, wanted, "{round}");
        stage.neighbour_is_served().await;
        for (_, claims) in &lies {
            let known = [granted.jti, lies[4].1.jti].contains(&claims.jti);
            assert_eq!(stage.journalled(claims.jti).len(), usize::from(known));
        }
        stage.restart().await;
        stage.bad.resume(&request, grant, &granted).await;
        stage.good.resume(&lies[4].0, theirs, &lies[4].1).await;
        stage.good.confirmed(theirs).await;
    }
    // No refusal was written for a wait that it invented.
    assert_eq!(stage.site.entries("refused").len(), 1);
}

#[tokio::test]
async fn a_grant_whose_answer_was_lost_is_taken_once_also_after_a_restart() {
    let mut stage = Stage::linked().await;
    for is_restarted in [false, true] {
        let claims = stage.site.claims(&["port"]);
        let request = stage.operator.sign(&claims);
        let (answer, ()) = tokio::join!(stage.site.post(&request), async {
            stage.bad.request().await;
            // The link is replaced before the answer.
            stage.bad.link(&stage.site).await;
        });
        assert_eq!(answer.problem(), (503, "link_lost"));
        if is_restarted {
            stage.restart().await;
        }
        let (first, second) = (fresh(), fresh());
        stage.bad.resume(&request, first, &claims).await;
        stage.bad.resume(&request, second, &claims).await;
        stage.bad.confirmed(first).await;
        stage.bad.resume(&request, second, &claims).await;
        stage.bad.released(second).await;
        assert_eq!(stage.journalled(claims.jti).len(), 1);
        assert!(stage.live().await.contains(&first.to_string()));
    }
}

#[tokio::test]
async fn it_renews_and_takes_over_no_grant_of_another() {
    let mut stage = Stage::linked().await;
    let neighbours = stage.neighbours();
    let (theirs, _) = stage.granted(&neighbours).await;
    let own = stage.site.claims(&["port"]);
    let (ours, _) = stage.granted(&own).await;
    // Renewals that the centre does not even forward.
    let other_incident = RequestClaims {
        incident: Incident::new("2026/43").unwrap(),
        renews: Some(ours),
        ..stage.site.claims(&["port"])
    };
    let of_neighbour = RequestClaims {
        renews: Some(theirs),
        ..stage.site.claims(&["port"])
    };
    let of_nobody = RequestClaims {
        renews: Some(fresh()),
        ..stage.site.claims(&["port"])
    };
    for claims in [other_incident, of_neighbour, of_nobody] {
        let request = stage.operator.sign(&claims);
        let answer = stage.site.post(&request).await;
        assert_eq!(answer.problem(), (403, "grant_unknown"));
        // And its word that it is renewed counts no more.
        stage
            .bad
            .resume(&request, claims.renews.unwrap(), &claims)
            .await;
    }
    // Ids that are taken: by the neighbour, by itself.
    for taken in [theirs, ours] {
        let claims = stage.site.claims(&["quai"]);
        let answer = stage
            .asked(&claims, async |bad, id, request| {
                bad.say_granted((id, &request), taken, &claims).await;
            })
            .await;
        assert_eq!(answer.problem(), (502, "protocol_error"));
    }
    // The same new id twice, while the first is on its way to the journal.
    let (one, two) = (stage.site.claims(&["port"]), stage.site.claims(&["quai"]));
    let (first, second) = (stage.operator.sign(&one), stage.operator.sign(&two));
    let same = fresh();
    let bad = &mut stage.bad;
    let (a, b, ()) = tokio::join!(stage.site.post(&first), stage.site.post(&second), async {
        let asked = [bad.request().await, bad.request().await];
        for (id, request) in &asked {
            let claims = if request == &first { &one } else { &two };
            bad.say_granted((*id, request), same, claims).await;
        }
    });
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 502], "{a:?} {b:?}");
    // Ends of what is not its own.
    for said in [
        json!({ "type": "ended", "grant": theirs, "reason": "grant_cut" }),
        json!({ "type": "camera_ended", "grant": theirs, "camera": "port", "reason": "grant_cut" }),
        json!({ "type": "relay", "relay": stage.good.relay("port"), "camera": "port",
            "state": "ended", "profile": "main" }),
    ] {
        stage.bad.lie(&said).await;
    }
    let gone = stage.site.claims(&["port"]);
    let (over, request) = stage.granted(&gone).await;
    stage
        .bad
        .say(&ToReceiver::Ended {
            grant: over,
            refusal: fanal::reason::Reason::GrantCut.into(),
            head: None,
        })
        .await;
    stage.bad.is_heard((&request, over, &gone)).await;
    let path = format!("/grants/{theirs}");
    let shown = stage.site.get(&stage.operator, &path).await;
    assert_eq!(shown.json["commune"], NEIGHBOUR, "{shown:?}");
    assert_eq!(shown.json["granted"][0]["state"], "starting", "{shown:?}");
    let shown = stage
        .site
        .get(&stage.operator, &format!("/grants/{ours}"))
        .await;
    assert_eq!(shown.json["commune"], COMMUNE, "{shown:?}");
    // An honest renewal goes through.
    let renewal = RequestClaims {
        renews: Some(theirs),
        ..stage.neighbours()
    };
    let request = stage.operator.sign(&renewal);
    let (answer, ()) = tokio::join!(
        stage.site.post(&request),
        stage.good.grant(theirs, &renewal)
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    stage.neighbour_is_served().await;
}
