//! The API of the commune's page, by a program that knows its description alone.

use fanal::format::decision::{CutDecision, Decision};
use serde_json::Value;

use super::town::{PAGE, Town};
use crate::api::openapi;
use crate::api::site::Answer;
use crate::workstation::Workstation;
use crate::world::{CENTRE, COMMUNE, until};

fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json["reason"], reason, "{answer:?}");
}

#[tokio::test]
async fn only_the_communes_own_come_in_and_by_a_name_that_is_known() {
    let town = Town::start().await;
    let anne = town.agent("pm-7");
    for path in [
        "/relays",
        "/waiting",
        "/cuts",
        "/health",
        "/journal",
        "/attestation",
    ] {
        let answer = town.get(&anne, path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        refused(&town.raw("GET", path, &[], "").await, 401, "token_invalid");
        // A centre's operator is nobody here, and no token is good for another place.
        let operator = town.get(&town.operator("13-1"), path).await;
        refused(&operator, 401, "token_invalid");
        let other = format!("Bearer {}", anne.token_for(CENTRE));
        let other = town
            .raw("GET", path, &[("authorization", &other)], "")
            .await;
        refused(&other, 401, "token_invalid");
    }
    let bearer = format!("Bearer {}", anne.token_for(COMMUNE));
    let bearer = ("authorization", &*bearer);
    let strange = [bearer, ("host", "evil.example")];
    assert_eq!(town.raw("GET", "/relays", &strange, "").await.status, 421);
    let framed = [bearer, ("sec-fetch-dest", "iframe")];
    assert_eq!(town.raw("GET", "/relays", &framed, "").await.status, 403);
    let cut = anne.cuts("all", CutDecision::Cut);
    let foreign = [
        ("origin", "http://evil.example"),
        ("content-type", "application/jose"),
    ];
    assert_eq!(town.raw("POST", "/cuts", &foreign, &cut).await.status, 403);
    let token = format!("/relays?token={}", anne.token_for(COMMUNE));
    refused(
        &town.raw("GET", &token, &[bearer], "").await,
        401,
        "token_invalid",
    );
    for query in ["month=2026", "day=yesterday", "limit=x", "colour=red"] {
        let answer = town.get(&anne, &format!("/journal?{query}")).await;
        assert_eq!(answer.status, 400, "{query}: {answer:?}");
    }
    // Before anybody signed in: the time and whose page it is.
    let time = town.raw("GET", "/time", &[], "").await;
    assert_eq!(time.json["commune"], COMMUNE);
    let page = crate::api::site::call(town.address(), "GET", "/", &[], "").await;
    assert_eq!(page.status, 200);
    town.world.stop().await;
}

#[tokio::test]
async fn a_path_that_the_pages_description_names_is_there() {
    let town = Town::start().await;
    let anne = town.agent("pm-7");
    openapi::paths_are_there_and_take_their_parameters(
        &openapi::PAGE,
        async |path| town.get(&anne, &path).await,
        async |method, path| town.raw(&method, &path, &[], "").await,
    )
    .await;
    let described = town.raw("GET", "/openapi.json", &[], "").await;
    assert_eq!(described.json["info"]["version"], "1");
    let console = town.raw("GET", "/console", &[], "").await;
    assert_eq!(console.json["lock_after"], 1_800);
    town.world.stop().await;
}

#[tokio::test]
async fn a_person_approves_sees_cuts_and_allows_and_the_journal_tells_it() {
    let town = Town::start().await;
    let anne = town.agent("pm-7");
    let operator = town.world.operator("13-1").await;
    let request = town.ask(&operator, "cam-001").await;
    let waiting = town.get(&anne, "/waiting").await.json;
    assert_eq!(waiting[0]["request"], request.to_string());
    assert_eq!(waiting[0]["operator"]["number"], "13-1");
    let path = format!("/waiting/{request}");
    // Not by the person who asked, under any certificate; not by a centre's operator.
    let own = town.agent("13-1").decides(request, Decision::Approve);
    refused(&town.send("POST", &path, &own).await, 403, "own_request");
    let foreign = town.operator("13-2").decides(request, Decision::Approve);
    let foreign = town.send("POST", &path, &foreign).await;
    refused(&foreign, 403, "operator_not_designated");
    assert_eq!(town.world.gateway_metrics.approvals_waiting.get(), 1);
    let approval = anne.decides(request, Decision::Approve);
    let plain = town.raw("POST", &path, &[("content-type", "application/json")], "{}");
    assert_eq!(plain.await.status, 415);
    let approved = town.send("POST", &path, &approval).await;
    assert_eq!(approved.status, 200, "{approved:?}");
    assert_eq!(approved.json["cameras"][0], "cam-001");
    let again = town.send("POST", &path, &approval).await;
    refused(&again, 403, "replayed_request");
    let late = anne.decides(request, Decision::Refuse);
    refused(&town.send("POST", &path, &late).await, 404, "grant_unknown");

    let metrics = &town.world.gateway_metrics;
    until("the relay runs", || metrics.relays_active.get() == 1).await;
    let relays = town.get(&anne, "/relays").await.json;
    assert_eq!(relays[0]["grant"], approved.json["grant"]);
    assert_eq!(relays[0]["name"], "cam-001");
    assert!(relays[0]["grounds_fr"].is_string() && relays[0]["until"].is_string());
    let health = town.get(&anne, "/health").await.json;
    assert_eq!(health["links"][0]["up"], true, "{health}");
    assert_eq!(health["ungranted_bytes"], 0);

    let cut = anne.cuts("camera:cam-001", CutDecision::Cut);
    let done = town.send("POST", "/cuts", &cut).await;
    assert_eq!(
        (done.status, &done.json["grants"]),
        (201, &1.into()),
        "{done:?}"
    );
    until("the relay ends", || metrics.relays_active.get() == 0).await;
    assert_eq!(
        town.get(&anne, "/cuts").await.json[0]["scope"],
        "camera:cam-001"
    );
    let wrong = town
        .send("DELETE", "/cuts", &anne.cuts("all", CutDecision::Cut))
        .await;
    refused(&wrong, 403, "malformed_request");
    let allow = anne.cuts("camera:cam-001", CutDecision::Allow);
    let done = town.send("DELETE", "/cuts", &allow).await;
    assert_eq!(
        (done.status, &done.json["lifted"]),
        (200, &1.into()),
        "{done:?}"
    );
    assert_eq!(
        town.get(&anne, "/cuts").await.json,
        Value::Array(Vec::new())
    );

    // Verbatim, in the order in which it was done.
    let decisions = town.world.entries("gateway", "decision");
    let statements: Vec<_> = decisions
        .iter()
        .map(|one| one["statement"].clone())
        .collect();
    for text in [&own, &approval, &late, &cut, &allow] {
        assert!(statements.contains(&Value::from(text.as_str())));
    }
    assert_eq!(decisions[0]["refused"]["reason"], "own_request");
    let grant = &town.world.entries("gateway", "grant")[0];
    assert_eq!(grant["approved_by"], "page:pm-7");
    let found = |query: &'static str| {
        let (town, anne) = (&town, &anne);
        async move {
            let answer = town.get(anne, &format!("/journal?{query}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let kinds = answer.json["entries"].as_array().unwrap().iter();
            kinds
                .map(|entry| entry["kind"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        }
    };
    let of_camera = found("camera=cam-001").await;
    for kind in ["waiting", "grant", "cut", "allowed"] {
        assert!(
            of_camera.iter().any(|one| one == kind),
            "{kind} in {of_camera:?}"
        );
    }
    assert!(!of_camera.iter().any(|one| one == "started"));
    assert!(found("camera=cam-002").await.is_empty());
    assert!(found("incident=4711").await.contains(&"grant".to_owned()));
    let by_anne = found("operator=pm-7").await;
    assert!(by_anne.contains(&"decision".to_owned()) && by_anne.contains(&"cut".to_owned()));
    assert_eq!(found("limit=1").await.len(), 1);
    town.world.stop().await;
}

#[tokio::test]
async fn a_reload_shuts_out_whom_the_commune_revoked() {
    let mut town = Town::start().await;
    let (anne, paul) = (town.agent("pm-7"), town.agent("pm-8"));
    assert_eq!(town.get(&anne, "/relays").await.status, 200);
    let now = fanal::clock::Clock::system().now().wall;
    let agents = &mut town.world.agents;
    agents.revoke(&anne.identity.certificate, now).unwrap();
    let list = agents.list(now).unwrap();
    std::fs::write(town.world.directory.path("page.crl.pem"), list).unwrap();
    let more = format!("{PAGE}revoked = \"page.crl.pem\"\n");
    town.world.reload_gateway(&more).await;
    refused(
        &town.get(&anne, "/relays").await,
        403,
        "designation_revoked",
    );
    let cut = anne.cuts("all", CutDecision::Cut);
    let cut = town.send("POST", "/cuts", &cut).await;
    refused(&cut, 403, "designation_revoked");
    assert_eq!(town.get(&paul, "/relays").await.status, 200);
    town.world.stop().await;
}

#[tokio::test]
async fn the_persons_own_machine_signs_and_shows_what_it_signs() {
    let town = Town::start().await;
    let anne = town.agent("pm-7");
    let path = |name: &str| town.world.directory.path(name);
    std::fs::write(path("pm-7.key"), anne.identity.key.expose()).unwrap();
    std::fs::write(path("pm-7.pem"), &anne.identity.certificate).unwrap();
    let (key, cert) = (path("pm-7.key"), path("pm-7.pem"));
    let mut station = Workstation::start_for("--commune", town.address(), &key, &cert, "en").await;
    let token = station.token().await;
    let relays = station.get("/relays", &token).await;
    assert_eq!(relays.status, 200, "{relays:?}");
    let asked = r#"{"scope":"camera:cam-001","block":900,"decision":"cut"}"#;
    let signed = station.local("POST", "/decisions", asked).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    station.told("cuts camera:cam-001, for 15 min").await;
    let statement = signed.json["statement"].as_str().unwrap();
    let kind = [("content-type", "application/jose")];
    let done = station.call("POST", "/api/v1/cuts", &kind, statement).await;
    assert_eq!(done.status, 201, "{done:?}");
    // The other page's statements are none of this one's, and what can't be read is not signed.
    let request = station.local("POST", "/requests", "{}").await;
    assert_eq!(request.status, 404);
    for bad in [
        r#"{"scope":"everything","block":1,"decision":"cut"}"#,
        r#"{"scope":"all","decision":"approve"}"#,
        r#"{"request":"x","decision":"approve"}"#,
        r#"{"scope":"all","decision":"cut","more":1}"#,
    ] {
        let answer = station.local("POST", "/decisions", bad).await;
        refused(&answer, 403, "malformed_request");
    }
    town.world.stop().await;
}
