//! `fanal console`: the page on the operator's own machine, against a real receiver.

use fanal::format::control::ToGateway;
use fanal::format::ids::GrantId;

use super::live::{Socket, subscribe};
use super::site::{Events, Operator, Site, call, camera, configuration, unit};
use crate::workstation::Workstation;

async fn start(site: &Site, operator: &Operator, lang: &str) -> Workstation {
    site.put("operator.pem", operator.certificate.as_bytes());
    site.put("operator.key", operator.key.expose().as_bytes());
    let (key, cert) = (site.path("operator.key"), site.path("operator.pem"));
    Workstation::start(site.addresses.console, &key, &cert, lang).await
}

fn asked() -> serde_json::Value {
    serde_json::json!({
        "aud": "berre-l-etang", "cameras": ["port"], "grounds": "assault", "incident": "2026/42",
        "duration": 1200, "profile": "auto", "present": ["Maire"],
    })
}

#[tokio::test]
async fn from_the_page_to_pictures_by_the_operators_own_machine() {
    let site = Site::start().await;
    let mut gateway = site.gateway().await;
    let operator = site.operator("13-4567", "CORG 13");
    let mut local = start(&site, &operator, "fr").await;

    let page = call(local.address, "GET", "/", &[], "").await;
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'")
    );
    let settings = local.call("GET", "/api/v1/console", &[], "").await.json;
    assert_eq!(
        (&settings["mode"], &settings["centre"]),
        (&"local".into(), &"corg-13".into())
    );
    assert_eq!(settings["designations"], true);

    let me = local.local("GET", "/operator", "").await.json;
    assert_eq!(me["number"], "13-4567");
    assert_eq!(me["unit"], "CORG 13");
    assert!(me["not_after"].as_str().unwrap().ends_with('Z'));
    let token = local.token().await;
    let cameras = local.get("/cameras?q=port", &token).await;
    assert_eq!(cameras.status, 200, "{cameras:?}");
    assert_eq!(cameras.json[0]["camera"], "port");

    // Events come as they happen, not once the stream ends.
    let mut events = Events::listen_at(local.address, &token, &[local.session()]).await;
    let signed = local.local("POST", "/requests", &asked().to_string()).await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let told = local.told("présents : Maire").await;
    for words in [
        "demande à berre-l-etang",
        "port",
        "2026/42",
        "agression",
        "20 min",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }
    let request = signed.json["request"].as_str().unwrap().to_owned();
    let origin = format!("http://{}", local.address);
    let headers = [
        ("content-type", "application/jose"),
        ("origin", origin.as_str()),
    ];
    let id = GrantId(uuid::Uuid::now_v7());
    let claims = site.claims(&["port"]);
    let (answer, (_, relays)) = tokio::join!(
        local.call("POST", "/api/v1/requests", &headers, &request),
        gateway.grant(id, &claims)
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(events.next("grant").await["grant"], id.to_string());

    let relay = relays[&camera("port")];
    let sender = gateway.relay(&camera("port"), relay);
    gateway.push(&sender, 1, &configuration(640));
    let mut socket = Socket::open_at(local.address, Some(&local.protocols()), Some(&origin))
        .await
        .unwrap();
    socket.say(serde_json::json!({ "token": token })).await;
    socket.say(subscribe("berre-l-etang/port")).await;
    assert_eq!(socket.json("configuration").await["width"], 640);
    assert_eq!(socket.picture().await.3, unit(1, 0).data);
    // What the page says goes the other way too, and its end ends the receiver's side.
    socket
        .say(serde_json::json!({ "type": "focus", "cameras": ["berre-l-etang/port"] }))
        .await;
    let focused = |message: &ToGateway| match message {
        ToGateway::Focus { relays } => Some(relays.clone()),
        _ => None,
    };
    assert_eq!(gateway.next("a focus", focused).await, [relay]);
    drop(socket);
    assert!(gateway.next("no focus", focused).await.is_empty());
}

#[tokio::test]
async fn nobody_else_makes_the_key_sign() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let local = start(&site, &operator, "en").await;
    let body = asked().to_string();
    let wrong = "x".repeat(local.secret.len());
    for (method, path) in [
        ("GET", "/operator"),
        ("POST", "/token"),
        ("POST", "/requests"),
    ] {
        let path = format!("/local/v1{path}");
        for headers in [
            &[][..],
            &[("x-fanal-session", wrong.as_str())],
            &[("x-fanal-session", "")],
        ] {
            let answer = call(local.address, method, &path, headers, &body).await;
            assert_eq!(answer.problem(), (401, "token_invalid"), "{path}");
        }
        // The secret does not help a page of another site, nor a name that leads here.
        let own = ("x-fanal-session", local.secret.as_str());
        let headers = [own, ("host", "evil.example")];
        assert_eq!(
            call(local.address, method, &path, &headers, &body)
                .await
                .status,
            421
        );
        if method == "POST" {
            let headers = [own, ("origin", "http://evil.example")];
            assert_eq!(
                call(local.address, method, &path, &headers, &body)
                    .await
                    .status,
                403
            );
        }
    }
    let other = Some("http://evil.example");
    let refused = Socket::open_at(local.address, Some(&local.protocols()), other).await;
    assert_eq!(refused.err(), Some(403));
    // With the secret and without a token a call gets what the receiver gives strangers.
    let answer = local.call("GET", "/api/v1/cameras", &[], "").await;
    assert_eq!(answer.problem(), (401, "token_invalid"));
    let answer = local.call("GET", "/api/v1/cameras?token=x", &[], "").await;
    assert_eq!(answer.problem(), (401, "token_invalid"));
}

#[tokio::test]
async fn what_is_not_a_request_is_not_signed() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let local = start(&site, &operator, "en").await;
    let with = |name: &str, value: serde_json::Value| {
        let mut asked = asked();
        asked[name] = value;
        asked.to_string()
    };
    for body in [
        String::new(),
        "[]".to_owned(),
        with("cameras", serde_json::json!([])),
        with("cameras", serde_json::json!(["port", "port"])),
        with("duration", 0.into()),
        with("present", serde_json::json!(["\u{202e}x"])),
        with("grounds", "\u{1b}[2J".into()),
        // Those are this machine's to say.
        with("iat", 1.into()),
        with("centre", "corg-33".into()),
        with("jti", "x".into()),
        with("present", serde_json::json!(["x".repeat(20_000)])),
    ] {
        let answer = local.local("POST", "/requests", &body).await;
        assert_eq!(answer.problem(), (403, "malformed_request"), "{body:.100}");
    }
}

#[tokio::test]
async fn a_receiver_that_goes_is_told_and_found_again() {
    let mut site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let mut local = start(&site, &operator, "fr").await;
    let token = local.token().await;
    assert_eq!(local.get("/communes", &token).await.status, 200);
    site.stop().await;
    for path in ["/communes", "/console"] {
        let answer = local.get(path, &token).await;
        assert_eq!(answer.problem(), (502, "centre_unreachable"));
        assert!(answer.json["title_fr"].as_str().unwrap().contains("réseau"));
        let receiver = site.addresses.console.to_string();
        assert!(answer.json["detail"].as_str().unwrap().contains(&receiver));
    }
    local.told("Le récepteur ne répond pas").await;
    site.start_again().await;
    assert_eq!(local.get("/communes", &token).await.status, 200);
    local.told("Le récepteur répond de nouveau").await;
}

/// Followed where it is a little off, as the page's own clock is; never to another day.
#[tokio::test]
async fn the_centres_clock_counts_unless_it_is_far_off() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    site.clock.advance(std::time::Duration::from_secs(120));
    let local = start(&site, &operator, "en").await;
    let token = local.token().await;
    assert_eq!(local.get("/communes", &token).await.status, 200);
    site.clock.advance(std::time::Duration::from_secs(600));
    let local = start(&site, &operator, "en").await;
    for path in ["/token", "/requests"] {
        let answer = local.local("POST", path, &asked().to_string()).await;
        assert_eq!(answer.problem(), (503, "clock_wrong"));
        assert!(
            answer.json["detail"]
                .as_str()
                .unwrap()
                .contains("behind the centre's")
        );
    }
}
