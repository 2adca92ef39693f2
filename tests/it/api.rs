//! The receiver's API from outside, with a gateway that the test plays.

mod console;
mod events;
mod incidents;
pub(crate) mod live;
mod local;
pub mod openapi;
mod places;
mod reloaded;
pub(crate) mod site;

use std::time::Duration;

use fanal::format::cause::Cause;
use fanal::format::control::{RelayState, ToGateway, ToReceiver};
use fanal::format::ids::{CentreId, GrantId, RequestId, Sha256};
use fanal::format::statement::{GRANT_TYPE, REQUEST_TYPE, TOKEN_TYPE, TokenClaims, ViewingsClaims};
use fanal::media::relay::Profile;
use fanal::reason::{Reason, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use uuid::Uuid;

use site::{CENTRE, COMMUNE, Events, Gateway, Operator, Site, camera, within};

fn grant() -> GrantId {
    GrantId(Uuid::now_v7())
}

/// A site, its gateway, an operator, and his grant of one camera.
struct Granted {
    site: Site,
    gateway: Gateway,
    operator: Operator,
    id: GrantId,
    request: String,
    proof: String,
    answer: serde_json::Value,
}

async fn granted() -> Granted {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let claims = site.claims(&["port"]);
    let (id, request) = (grant(), operator.sign(&claims));
    let (answer, (proof, _)) = tokio::join!(site.post(&request), gateway.grant(id, &claims));
    assert_eq!(answer.status, 201, "{answer:?}");
    Granted {
        site,
        gateway,
        operator,
        id,
        request,
        proof,
        answer: answer.json,
    }
}

/// What a player's DESCRIBE with these credentials is answered: the status of
/// the second try, after the challenge.
async fn describe(url: &str) -> (u16, String) {
    let url = url::Url::parse(url).unwrap();
    let address = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
    let bare = format!("rtsp://{address}{}", url.path());
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut credentials = String::new();
    for sequence in 1..3 {
        let request = format!("DESCRIBE {bare} RTSP/1.0\r\nCSeq: {sequence}\r\n{credentials}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        while !text.contains("\r\n\r\n") {
            let mut bytes = [0; 2048];
            let read = within("an answer", stream.read(&mut bytes)).await.unwrap();
            assert!(read > 0, "{text}");
            text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
        }
        let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
        if status != 401 || sequence == 2 {
            return (status, text);
        }
        let challenge = text
            .lines()
            .find_map(|line| line.strip_prefix("WWW-Authenticate: "))
            .unwrap();
        let mut client = http_auth::PasswordClient::try_from(challenge).unwrap();
        let answer = client
            .respond(&http_auth::PasswordParams {
                username: url.username(),
                password: url.password().unwrap_or_default(),
                uri: &bare,
                method: "DESCRIBE",
                body: Some(&[]),
            })
            .unwrap();
        credentials = format!("Authorization: {answer}\r\n");
    }
    unreachable!()
}

#[tokio::test]
async fn a_grant_is_recorded_confirmed_and_shown_with_credentials_to_its_requester_alone() {
    let mut granted = granted().await;
    let (site, id) = (&granted.site, granted.id);
    let answer = &granted.answer;
    assert_eq!(answer["grant"], id.to_string());
    assert_eq!(answer["commune"], COMMUNE);
    assert_eq!(answer["incident"], "2026/42");
    assert_eq!(answer["proof"], granted.proof.as_str());
    assert_eq!(answer["seconds_left"], 600);
    let part = &answer["granted"][0];
    assert_eq!(part["camera"], "port");
    assert_eq!(part["state"], "starting");
    assert_eq!(part["profile"], "main");
    assert_eq!(part["reason"], serde_json::Value::Null);
    let url = url::Url::parse(part["rtsp"].as_str().unwrap()).unwrap();
    assert_eq!(url.username(), id.to_string());
    assert_eq!(url.password().unwrap().len(), 32);
    assert_eq!(url.path(), "/berre-l-etang/port");
    // Recorded here before anybody was told, and confirmed with a head that covers it.
    let entries = site.entries("grant");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["request"], granted.request.as_str());
    assert_eq!(entries[0]["proof"], granted.proof.as_str());
    let confirmed = granted
        .gateway
        .next("a confirmation", |message| match message {
            ToGateway::Confirm { grant, request, .. } => Some((*grant, *request)),
            _ => None,
        })
        .await;
    assert_eq!(confirmed, (id, Sha256::of(granted.request.as_bytes())));
    // A colleague sees it without credentials, another unit not at all.
    let colleague = site.operator("4712", "CORG 13");
    let seen = site.get(&colleague, "/grants").await.json;
    assert_eq!(seen[0]["grant"], id.to_string());
    assert_eq!(seen[0]["granted"][0]["rtsp"], serde_json::Value::Null);
    let stranger = site.operator("99", "COB Istres");
    assert_eq!(
        site.get(&stranger, "/grants").await.json,
        serde_json::json!([])
    );
    let one = format!("/grants/{id}");
    assert_eq!(
        site.get(&stranger, &one).await.problem(),
        (404, "grant_unknown")
    );
    assert_eq!(
        site.delete(&stranger, &one).await.problem(),
        (404, "grant_unknown")
    );
    let own = site.get(&granted.operator, &one).await;
    assert_eq!(own.json["granted"][0]["rtsp"], part["rtsp"]);
    assert!(own.head.contains("cache-control: no-store"));
}

#[tokio::test]
async fn refusals_carry_their_reason_and_request_ids_tell_again() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let claims = site.claims(&["port"]);
    let answer = site.post(&operator.sign(&claims)).await;
    assert_eq!(answer.problem(), (503, "commune_offline"));
    let mut gateway = site.gateway().await;
    let claims = site.claims(&["ecole-1"]);
    let request = operator.sign(&claims);
    let refusal = Refusal::new(Reason::CameraNotCovered, "ecole-1 is excepted");
    let (answer, ()) = tokio::join!(site.post(&request), gateway.refuse(refusal));
    assert_eq!(answer.problem(), (403, "camera_not_covered"));
    assert_eq!(answer.json["detail"], "ecole-1 is excepted");
    assert_eq!(answer.json["title_fr"], Reason::CameraNotCovered.french());
    let again = site
        .get(&operator, &format!("/requests/{}", claims.jti))
        .await;
    assert_eq!(again.problem(), (403, "camera_not_covered"));
    let other = site.operator("99", "COB Istres");
    let path = format!("/requests/{}", claims.jti);
    assert_eq!(site.get(&other, &path).await.status, 404);
    assert_eq!(
        site.post(&request).await.problem(),
        (403, "replayed_request")
    );
    let mut stale = site.claims(&["port"]);
    stale.iat -= 61;
    assert_eq!(
        site.post(&operator.sign(&stale)).await.problem(),
        (403, "stale_request")
    );
    let mut astray = site.claims(&["port"]);
    astray.centre = CentreId::new("corg-30").unwrap();
    assert_eq!(
        site.post(&operator.sign(&astray)).await.problem(),
        (403, "wrong_audience")
    );
    assert_eq!(
        site.post("x.y.z").await.problem(),
        (403, "malformed_request")
    );
    let wrong = operator.signer.sign(TOKEN_TYPE, &site.claims(&["port"]));
    assert_eq!(
        site.post(&wrong).await.problem(),
        (403, "malformed_request")
    );
    let kind = [("content-type", "application/json")];
    assert_eq!(site.raw("POST", "/requests", &kind, "{}").await.status, 415);
    let large = "x".repeat(70_000);
    assert_eq!(
        site.post(&large).await.problem(),
        (413, "malformed_request")
    );
    // All that verified is in the journal, what did not does not.
    let reasons: Vec<String> = site
        .entries("refused")
        .iter()
        .map(|entry| entry["reason"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        reasons,
        [
            "commune_offline",
            "camera_not_covered",
            "stale_request",
            "wrong_audience"
        ]
    );
}

#[tokio::test]
async fn a_request_while_it_waits_is_202_by_its_id() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let claims = site.claims(&["port"]);
    let request = operator.sign(&claims);
    let path = format!("/requests/{}", claims.jti);
    let id = grant();
    let play = async {
        let (number, request) = gateway.request().await;
        let waiting = site.get(&operator, &path).await;
        assert_eq!(waiting.status, 202, "{waiting:?}");
        assert_eq!(waiting.json["request"], claims.jti.to_string());
        let proof = gateway.proof(id, &request, &claims);
        let relays = gateway.relays(&claims.cameras);
        gateway.send(&ToReceiver::Granted {
            id: number,
            proof: gateway.signer.sign(GRANT_TYPE, &proof),
            relays,
        });
    };
    let (answer, ()) = tokio::join!(site.post(&request), play);
    assert_eq!(answer.status, 201);
    let done = site.get(&operator, &path).await;
    assert_eq!(
        (done.status, &done.json["grant"]),
        (200, &answer.json["grant"])
    );
}

#[tokio::test]
async fn a_lying_gateway_is_not_believed() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let claims = site.claims(&["port"]);
    let request = operator.sign(&claims);
    let play = async {
        let (number, request) = gateway.request().await;
        let mut proof = gateway.proof(grant(), &request, &claims);
        proof.granted.push(camera("quai-nord"));
        let relays = gateway.relays(&proof.granted);
        gateway.send(&ToReceiver::Granted {
            id: number,
            proof: gateway.signer.sign(GRANT_TYPE, &proof),
            relays,
        });
    };
    let (answer, ()) = tokio::join!(site.post(&request), play);
    assert_eq!(answer.problem(), (502, "protocol_error"));
    assert!(site.entries("grant").is_empty());
}

#[tokio::test]
async fn only_good_tokens_open_the_api() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let now = site.clock.now().wall.seconds();
    let good = TokenClaims {
        jti: RequestId(Uuid::now_v7()),
        iat: now,
        exp: now + 300,
        aud: CentreId::new(CENTRE).unwrap(),
    };
    let sign = |claims: &TokenClaims| operator.signer.sign(TOKEN_TYPE, claims);
    let get = async |token: String| {
        let header = format!("Bearer {token}");
        site.raw("GET", "/grants", &[("authorization", &header)], "")
            .await
    };
    assert_eq!(get(sign(&good)).await.status, 200);
    let long = TokenClaims {
        exp: now + 301,
        ..good.clone()
    };
    let old = TokenClaims {
        iat: now - 300,
        exp: now - 1,
        ..good.clone()
    };
    let astray = TokenClaims {
        aud: CentreId::new("corg-30").unwrap(),
        ..good.clone()
    };
    assert_eq!(get(sign(&long)).await.problem(), (401, "token_invalid"));
    assert_eq!(get(sign(&old)).await.problem(), (401, "token_expired"));
    assert_eq!(get(sign(&astray)).await.problem(), (401, "token_invalid"));
    assert_eq!(get("x".to_owned()).await.problem(), (401, "token_invalid"));
    // A request is no token, and a machine no operator.
    let request = operator.sign(&site.claims(&["port"]));
    assert_eq!(get(request).await.problem(), (401, "token_invalid"));
    let machine = site.trial.machine("corg-30").unwrap();
    let machine =
        fanal::format::jws::Signer::from_pem(machine.key.expose(), &machine.certificate).unwrap();
    assert_eq!(
        get(machine.sign(TOKEN_TYPE, &good)).await.problem(),
        (401, "token_invalid")
    );
    let none = site.raw("GET", "/communes", &[], "").await;
    assert_eq!(none.problem(), (401, "token_invalid"));
    assert!(
        none.head.contains("www-authenticate: bearer"),
        "{}",
        none.head
    );
    // In the URL it is refused, however good, and with a good one beside it.
    let token = sign(&good);
    let header = format!("Bearer {token}");
    for path in [
        format!("/grants?token={token}"),
        format!("/grants?x={token}"),
    ] {
        let answer = site
            .raw("GET", &path, &[("authorization", &header)], "")
            .await;
        assert_eq!(answer.problem(), (401, "token_invalid"));
    }
    // It is remembered no longer than it lives.
    assert_eq!(get(token.clone()).await.status, 200);
    site.clock.advance(Duration::from_secs(301));
    assert_eq!(get(token).await.problem(), (401, "token_expired"));
    for path in ["/time", "/openapi.json"] {
        assert_eq!(site.raw("GET", path, &[], "").await.status, 200, "{path}");
    }
    assert_eq!(
        site.raw("GET", "/time", &[], "").await.json["centre"],
        CENTRE
    );
}

#[tokio::test]
async fn strange_names_pages_paths_and_methods_are_turned_away() {
    let site = Site::start().await;
    let own = format!("http://{}", site.addresses.console);
    let turned = async |method: &str, path: &str, headers: &[(&str, &str)]| {
        site.raw(method, path, headers, "").await.problem().0
    };
    assert_eq!(
        turned("GET", "/time", &[("host", "evil.example")]).await,
        421
    );
    assert_eq!(
        turned("GET", "/time", &[("host", "127.0.0.1.evil.example:80")]).await,
        421
    );
    let here = [("host", "localhost:1")];
    assert_eq!(site.raw("GET", "/time", &here, "").await.status, 200);
    assert_eq!(
        turned("POST", "/requests", &[("origin", "http://evil.example")]).await,
        403
    );
    assert_eq!(
        turned("DELETE", "/grants/x", &[("origin", "null")]).await,
        403
    );
    // Its own page gets further: to the missing token.
    assert_eq!(
        turned("DELETE", "/grants/x", &[("origin", &own)]).await,
        401
    );
    assert_eq!(turned("GET", "/nothing", &[]).await, 404);
    assert_eq!(turned("PUT", "/time", &[]).await, 405);
    let cors = site
        .raw(
            "OPTIONS",
            "/grants",
            &[("origin", "http://evil.example")],
            "",
        )
        .await;
    assert!(!cors.head.contains("access-control"), "{}", cors.head);
}

#[tokio::test]
async fn guessing_is_cut_off() {
    let site = Site::start().await;
    let mut statuses = Vec::new();
    for number in 0..140 {
        let header = format!("Bearer guess{number}");
        let answer = site
            .raw("GET", "/grants", &[("authorization", &header)], "")
            .await;
        statuses.push(answer.problem().0);
    }
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[139], 429);
    // Behind a tunnel or proxy all have one address: who is right is served.
    let operator = site.operator("4711", "CORG 13");
    assert_eq!(site.get(&operator, "/grants").await.status, 200);
}

#[tokio::test]
async fn communes_and_cameras_are_shown_to_units_of_the_agreement_and_outlive_the_link() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let mut events = Events::listen(&site, &site.token(&operator)).await;
    let gateway = site.gateway().await;
    while events.next("commune").await["cameras"] != 2 {}
    let communes = site.get(&operator, "/communes").await.json;
    assert_eq!(communes[0]["commune"], COMMUNE);
    assert_eq!(communes[0]["online"], true);
    assert_eq!(communes[0]["contact"], "04 42 00 00 00");
    assert_eq!(communes[0]["agreement"]["reference"], "Convention");
    let ids = async |query: &str| -> Vec<String> {
        let list = site.get(&operator, &format!("/cameras{query}")).await;
        assert_eq!(list.status, 200, "{list:?}");
        let list = list.json.as_array().unwrap().clone();
        list.iter()
            .map(|camera| camera["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(ids("").await, ["port", "quai-nord"]);
    assert_eq!(ids("?q=CAMERA%20etang%20nord").await, ["quai-nord"]);
    assert_eq!(ids("?near=43.49,5.19").await, ["quai-nord", "port"]);
    assert_eq!(ids("?near=43.49,5.19&limit=1").await, ["quai-nord"]);
    assert_eq!(ids("?circle=43.47,5.17,100").await, ["port"]);
    assert_eq!(ids("?commune=rognac").await, [""; 0]);
    assert_eq!(
        site.get(&operator, "/cameras?near=x").await.problem(),
        (400, "malformed_request")
    );
    assert_eq!(
        site.get(&operator, "/cameras?nera=1").await.problem(),
        (400, "malformed_request")
    );
    let stranger = site.operator("99", "COB Istres");
    assert_eq!(
        site.get(&stranger, "/cameras").await.json,
        serde_json::json!([])
    );
    drop(gateway);
    while events.next("commune").await["online"] == true {}
    assert_eq!(ids("").await, ["port", "quai-nord"]);
}

#[tokio::test]
async fn events_tell_states_ends_and_nothing_of_other_units() {
    let granted = granted().await;
    let site = &granted.site;
    let mut events = Events::listen(site, &site.token(&granted.operator)).await;
    let other = site.operator("99", "COB Istres");
    let mut elsewhere = Events::listen(site, &site.token(&other)).await;
    granted.gateway.send(&ToReceiver::Relay {
        relay: fanal::media::relay::RelayId(2),
        camera: camera("port"),
        state: RelayState::Retrying,
        refusal: Some(Refusal::new(Reason::CameraUnreachable, "no answer")),
        profile: Profile::Sub,
        profile_cause: Some(Cause::Uplink),
    });
    let told = events.next("grant").await;
    assert_eq!(told["granted"][0]["state"], "retrying");
    assert_eq!(told["granted"][0]["profile"], "sub");
    assert_eq!(told["granted"][0]["profile_cause"], "uplink");
    assert_eq!(told["granted"][0]["reason"], "camera_unreachable");
    granted.gateway.send(&ToReceiver::Ended {
        grant: granted.id,
        refusal: Refusal::new(Reason::GrantCut, "the commune cut all"),
        head: None,
    });
    let told = events.next("grant").await;
    assert_eq!(told["ended"]["reason"], "grant_cut");
    assert_eq!(told["granted"][0]["state"], "ended");
    assert_eq!(told["granted"][0]["rtsp"], serde_json::Value::Null);
    // The token's end is the stream's; the other unit heard of no grant.
    site.clock.advance(Duration::from_secs(301));
    assert_eq!(events.next("end").await["reason"], "token_expired");
    assert_eq!(elsewhere.next("end").await["reason"], "token_expired");
    assert!(!elsewhere.text().contains("event: grant"));
}

#[tokio::test]
async fn a_grant_ends_by_itself_and_its_credentials_say_so_for_ten_minutes() {
    let granted = granted().await;
    let site = &granted.site;
    let url = granted.answer["granted"][0]["rtsp"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut events = Events::listen(site, &site.token(&granted.operator)).await;
    // Right credentials, for another camera than the grant's.
    let (status, _) = describe(&url.replace("/port", "/quai-nord")).await;
    assert_eq!(status, 404);
    // Two steps, so that the stream's token still lives at the end.
    site.clock.advance(Duration::from_secs(590));
    assert_eq!(events.next("end").await["reason"], "token_expired");
    let mut events = Events::listen(site, &site.token(&granted.operator)).await;
    site.clock.advance(Duration::from_secs(10));
    while events.next("grant").await["ended"]["reason"] != "grant_expired" {}
    let (status, text) = describe(&url).await;
    assert_eq!(status, 403, "{text}");
    assert!(text.contains("grant_expired"), "{text}");
    let ended = site
        .get(&granted.operator, &format!("/grants/{}", granted.id))
        .await;
    assert_eq!(ended.json["seconds_left"], 0);
    assert_eq!(site.entries("ended")[0]["reason"], "grant_expired");
    site.clock.advance(Duration::from_secs(601));
    // Forgotten, and yet no guess at a password: it is not counted, however often it comes.
    for _ in 0..12 {
        let (status, _) = describe(&url).await;
        assert_eq!(status, 401);
    }
}

#[tokio::test]
async fn a_release_tells_the_gateway_who_and_sends_the_viewings() {
    let mut granted = granted().await;
    let site = &granted.site;
    let colleague = site.operator("4712", "CORG 13");
    let answer = site
        .delete(&colleague, &format!("/grants/{}", granted.id))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json["ended"]["reason"], "grant_released");
    let by = granted
        .gateway
        .next("a release", |message| match message {
            ToGateway::Release { by, .. } => Some(by.clone()),
            _ => None,
        })
        .await;
    assert_eq!(by, "4712");
    let statement = granted
        .gateway
        .next("the viewings", |message| match message {
            ToGateway::Viewings { statement } => Some(statement.clone()),
            _ => None,
        })
        .await;
    let signed = fanal::format::jws::open::<ViewingsClaims>(
        &statement,
        fanal::format::statement::VIEWINGS_TYPE,
    );
    let claims = signed.unwrap().claims;
    assert_eq!((claims.grant, claims.viewings.len()), (granted.id, 0));
    assert_eq!(
        site.get(&colleague, "/grants").await.json,
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_restart_keeps_id_url_and_credentials_and_waits_for_the_proof() {
    let mut granted = granted().await;
    let id = granted.id;
    granted.site.stop().await;
    assert_eq!(granted.site.entries("stopped").len(), 1);
    granted.site.start_again().await;
    let site = &granted.site;
    let seen = site.get(&granted.operator, "/grants").await.json;
    assert_eq!(seen[0]["grant"], id.to_string());
    assert_eq!(
        seen[0]["granted"][0]["rtsp"],
        granted.answer["granted"][0]["rtsp"]
    );
    assert_eq!(seen[0]["granted"][0]["state"], "retrying");
    assert_eq!(seen[0]["granted"][0]["reason"], "link_lost");
    // Used before, used after.
    assert_eq!(
        site.post(&granted.request).await.problem(),
        (403, "replayed_request")
    );
    let mut events = Events::listen(site, &site.token(&granted.operator)).await;
    granted.gateway.up().await;
    let relays = granted.gateway.relays(&[camera("port")]);
    granted.gateway.send(&ToReceiver::Resume {
        request: granted.request.clone(),
        proof: granted.proof.clone(),
        relays,
    });
    while events.next("grant").await["granted"][0]["state"] != "starting" {}
    assert_eq!(site.entries("resumed").len(), 1);
    assert_eq!(site.entries("grant").len(), 1);
}

#[tokio::test]
async fn a_revoked_operator_loses_grants_and_tokens_at_the_reload() {
    let mut granted = granted().await;
    let certificate = granted.operator.certificate.clone();
    let token = granted.site.token(&granted.operator);
    let mut events = Events::listen(&granted.site, &token).await;
    granted.site.revoke(&certificate);
    let site = &granted.site;
    site.reload().await;
    assert_eq!(
        events.next("grant").await["ended"]["reason"],
        "designation_revoked"
    );
    let header = format!("Bearer {token}");
    let answer = site
        .raw("GET", "/grants", &[("authorization", &header)], "")
        .await;
    assert_eq!(answer.problem(), (403, "designation_revoked"));
    let request = granted
        .operator
        .signer
        .sign(REQUEST_TYPE, &site.claims(&["port"]));
    assert_eq!(
        site.post(&request).await.problem(),
        (403, "designation_revoked")
    );
    // The gateway gets the newer list.
    let list = |message: &ToGateway| match message {
        ToGateway::Revocation { list } => Some(list.clone()),
        _ => None,
    };
    let list = granted.gateway.next("a list", list).await;
    assert_eq!(list.trim(), granted.site.trial.designation_list().trim());
}

#[tokio::test]
async fn an_operator_who_asks_too_often_is_told_to_wait_and_others_are_served() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let ask = async |operator: &Operator| {
        let answer = site.post(&operator.sign(&site.claims(&["port"]))).await;
        let (status, reason) = answer.problem();
        (status, reason.to_owned())
    };
    let offline = (503, "commune_offline".to_owned());
    for _ in 0..fanal::policy::peer::pace::REQUESTS {
        assert_eq!(ask(&operator).await, offline);
    }
    for _ in 0..3 {
        assert_eq!(ask(&operator).await, (429, "too_many_requests".to_owned()));
    }
    assert_eq!(ask(&site.operator("4712", "CORG 13")).await, offline);
    assert_eq!(site.entries("excess").len(), 1, "counted, not stored");
    site.clock.advance(fanal::policy::peer::pace::REQUEST_EVERY);
    assert_eq!(ask(&operator).await, offline);
}
