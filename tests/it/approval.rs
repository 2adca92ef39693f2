//! The commune approves each request: over real sockets, from the operator's
//! signature to the picture, and every way in which there is none.

use std::time::Duration;

use fanal::format::control::ToReceiver;
use fanal::format::ids::RequestId;
use fanal::format::statement::REQUEST_TYPE;
use fanal::gateway::socket::{self, Answer, Request, Waiting};
use fanal::reason::{Reason, Refusal};
use hyper::{Method, StatusCode};
use serde_json::Value;

use crate::malice::{Receiver, Stage, of_kind, within};
use crate::world::{Operator, Plan, Player, World, rtsp, until};

/// What somebody at the commune asks over the socket.
pub async fn local(world: &World, request: Request) -> Answer {
    let path = world.directory.path("gateway.sock");
    let asked = tokio::task::spawn_blocking(move || socket::ask(&path, &request));
    asked.await.unwrap().unwrap()
}

pub async fn waiting(world: &World) -> Vec<Waiting> {
    match local(world, Request::Relays {}).await {
        Answer::Relays(relays) => relays.waiting,
        other => panic!("{other:?}"),
    }
}

async fn approving() -> (World, Operator) {
    let world = World::start(Plan {
        agreement: "approval = \"commune\"\napproval_exempt = [\"pursuit\"]\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let operator = world.operator("13-1").await;
    (world, operator)
}

/// Asks for a camera; the request waits.
async fn ask(world: &World, operator: &Operator) -> RequestId {
    let claims = operator.claims(&["cam-001"], 600);
    let text = operator.client.sign(REQUEST_TYPE, &claims);
    let answer = operator.client.post_request(text).await.unwrap();
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.json);
    assert_eq!(answer.json["request"], claims.jti.to_string());
    assert_eq!(answer.json["commune"], "berre-l-etang");
    assert!(answer.json["approve_by"].is_string(), "{}", answer.json);
    let asked = operator.client.call(Method::GET, &path(claims.jti)).await;
    assert_eq!(asked.unwrap().status, StatusCode::ACCEPTED);
    // A wait is never a picture.
    assert!(world.entries("gateway", "grant").is_empty());
    assert_eq!(world.counters.borrow().camera("cam-001").set_up, 0);
    assert_eq!(world.gateway_metrics.relays_active.get(), 0);
    claims.jti
}

fn path(request: RequestId) -> String {
    format!("/api/v1/requests/{request}")
}

/// Waits until the request is answered: the grant, or the reason.
async fn outcome(operator: &Operator, request: RequestId) -> Result<Value, Reason> {
    let answered = async {
        loop {
            match operator.client.call(Method::GET, &path(request)).await {
                Ok(answer) if answer.status == StatusCode::ACCEPTED => {
                    tokio::task::yield_now().await;
                }
                Ok(answer) => return Ok(answer.json),
                Err(error) => {
                    let refused = error.downcast::<fanal::commands::client::Refused>();
                    return Err(refused.unwrap().reason);
                }
            }
        }
    };
    within("an answer", answered).await
}

#[tokio::test]
async fn somebody_approves_and_the_picture_comes() {
    let (world, operator) = approving().await;
    let request = ask(&world, &operator).await;
    let rows = waiting(&world).await;
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.request, row.duration), (request, 600));
    assert_eq!(row.operator.number, "13-1");
    assert_eq!(row.operator.unit, "CORG 13");
    assert_eq!(row.grounds, "burglary");
    assert!(!row.grounds_fr.is_empty() && !row.grounds_en.is_empty());
    assert_eq!(row.cameras[0].as_str(), "cam-001");
    assert_eq!(world.gateway_metrics.approvals_waiting.get(), 1);
    let Answer::Approved { grant, .. } = local(&world, Request::Approve { request }).await else {
        panic!("not approved");
    };
    let view = outcome(&operator, request).await.unwrap();
    assert_eq!(view["grant"], grant.to_string());
    Player::start(rtsp(&view, "cam-001")).pictures(2).await;
    assert_eq!(world.gateway_metrics.approvals_waiting.get(), 0);
    let by = fanal::account::own();
    assert_eq!(world.entries("gateway", "waiting").len(), 1);
    let entry = &world.entries("gateway", "grant")[0];
    assert_eq!(entry["approved_by"], by);
    assert_eq!(entry["jti"], request.to_string());
    assert_eq!(world.entries("receiver", "grant").len(), 1);
    // Exempt grounds are granted at once.
    let mut claims = operator.claims(&["cam-002"], 600);
    claims.grounds = "pursuit".to_owned();
    operator.ask(&claims).await.unwrap();
    world.stop().await;
}

#[tokio::test]
async fn somebody_refuses_and_nothing_was_ever_opened() {
    let (world, operator) = approving().await;
    let request = ask(&world, &operator).await;
    let refused = local(&world, Request::Refuse { request }).await;
    assert_eq!(refused, Answer::NotApproved { request });
    let reason = outcome(&operator, request).await.unwrap_err();
    assert_eq!(reason, Reason::CommuneRefused);
    for command in [Request::Approve { request }, Request::Refuse { request }] {
        let again = local(&world, command).await;
        assert!(
            matches!(&again, Answer::Refused(refusal)
                if refusal.reason == Reason::GrantUnknown && refusal.detail.contains("fanal relays")),
            "{again:?}"
        );
    }
    let counted = |reason: &str| {
        let labels = ["corg-13", "refused", reason];
        let counted = &world.gateway_metrics.requests_total;
        counted.with_label_values(&labels).get()
    };
    assert_eq!(counted("commune_refused"), 1);
    assert_eq!(world.counters.borrow().camera("cam-001").set_up, 0);
    let by = fanal::account::own();
    let entry = &world.entries("gateway", "refused")[0];
    assert_eq!(entry["wait_ended"]["by"], by);
    assert_eq!(world.entries("receiver", "refused").len(), 1);
    world.stop().await;
}

#[tokio::test]
async fn a_wait_survives_the_receivers_restart_and_not_the_gateways() {
    let (mut world, operator) = approving().await;
    let (first, second) = (ask(&world, &operator).await, ask(&world, &operator).await);
    world.stop_receiver().await;
    world.start_receiver().await;
    world.linked().await;
    let again = world.operator("13-1").await;
    // The gateway tells what waits right behind its hello.
    within("the waits on the new link", async {
        for request in [first, second] {
            while again.call(Method::GET, &path(request)).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    })
    .await;
    local(&world, Request::Approve { request: first }).await;
    let view = outcome(&again, first).await.unwrap();
    Player::start(rtsp(&view, "cam-001")).pictures(1).await;
    world.stop_gateway().await;
    world.start_gateway().await;
    world.linked().await;
    assert!(waiting(&world).await.is_empty());
    let reason = outcome(&again, second).await.unwrap_err();
    assert_eq!(reason, Reason::ShuttingDown);
    assert_eq!(world.entries("gateway", "waiting").len(), 2);
    assert_eq!(world.entries("gateway", "grant").len(), 1);
    until("the grant goes on", || {
        world.gateway_metrics.grants_active.get() == 1
    })
    .await;
    world.stop().await;
}

/// How the gateway says that a wait ended.
async fn wait_ended(receiver: &mut Receiver, request: RequestId) -> Refusal {
    receiver
        .hear("the wait's end", |message| match message {
            ToReceiver::WaitEnded {
                request: of,
                refusal,
                ..
            } if *of == request => Some(refusal.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn nobody_approves_in_time() {
    let mut stage = Stage::new().await;
    let mut receiver = stage.receiver("corg-13");
    let agreement = stage.agreement(&receiver);
    let more = "approval = \"commune\"\napproval_timeout = \"90s\"\n";
    stage.write_settings(&(agreement + more));
    stage.start().await;
    receiver.link().await;
    let operator = stage.operator("13-1");
    let mut asked = Vec::new();
    for _ in 0..8 {
        let claims = stage.claims(&["quai-nord"]);
        receiver.request(&operator.sign(&claims)).await;
        let told = |message: &ToReceiver| match message {
            ToReceiver::Waiting { seconds, .. } => Some(*seconds),
            _ => None,
        };
        assert_eq!(receiver.hear("that it waits", told).await, 90);
        asked.push(claims.jti);
    }
    // A unit that has eight waiting must wait itself.
    let one_more = operator.sign(&stage.claims(&["quai-nord"]));
    assert_eq!(receiver.refused(&one_more).await, Reason::ApprovalPending);
    assert_eq!(stage.metrics().approvals_waiting.get(), 8);
    stage.hand.advance(Duration::from_secs(90));
    for request in &asked {
        let refusal = wait_ended(&mut receiver, *request).await;
        assert_eq!(refusal.reason, Reason::ApprovalTimedOut);
    }
    let request = asked[0];
    let late = stage.local(Request::Approve { request }).await;
    assert!(matches!(late, Answer::Refused(_)), "{late:?}");
    assert_eq!(stage.counters().total.set_up, 0);
    assert_eq!(receiver.media().bytes, 0);
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "waiting").len(), 8);
    let refused = of_kind(&journal, "refused");
    let timed_out = refused
        .iter()
        .filter(|body| body["reason"] == "approval_timed_out");
    assert_eq!(timed_out.count(), 8);
    assert!(of_kind(&journal, "grant").is_empty());
}

#[tokio::test]
async fn who_asked_may_cancel_while_it_waits() {
    let (world, operator) = approving().await;
    let request = ask(&world, &operator).await;
    let colleague = world.operator("13-2").await;
    let foreign = colleague.client.call(Method::DELETE, &path(request)).await;
    assert!(foreign.is_err());
    let cancelled = operator.client.call(Method::DELETE, &path(request)).await;
    assert_eq!(cancelled.unwrap().json["state"], "cancelled");
    let reason = outcome(&operator, request).await.unwrap_err();
    assert_eq!(reason, Reason::RequestCancelled);
    until("the commune sees it no more", || {
        world.gateway_metrics.approvals_waiting.get() == 0
    })
    .await;
    assert!(waiting(&world).await.is_empty());
    let late = local(&world, Request::Approve { request }).await;
    let Answer::Refused(refusal) = &late else {
        panic!("{late:?}");
    };
    assert!(refusal.detail.contains("cancelled by 13-1"), "{refusal}");
    for daemon in ["gateway", "receiver"] {
        let refused = world.entries(daemon, "refused");
        assert_eq!(refused.len(), 1, "{daemon}");
        assert_eq!(refused[0]["reason"], "request_cancelled", "{daemon}");
    }
    assert!(world.entries("gateway", "grant").is_empty());
    // What is granted is not cancelled.
    let request = ask(&world, &operator).await;
    local(&world, Request::Approve { request }).await;
    outcome(&operator, request).await.unwrap();
    assert!(
        operator
            .client
            .call(Method::DELETE, &path(request))
            .await
            .is_err()
    );
    assert_eq!(world.receiver_metrics.grants_active.get(), 1);
    world.stop().await;
}
