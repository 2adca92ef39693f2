//! Texts, lists and floods.

use fanal::format::ids::GrantId;
use serde_json::{Value, json};
use uuid::Uuid;

use super::gateway::refused;
use super::{COMMUNE, Stage};
use crate::api::site::{camera, hello};

/// As long as a message may be.
fn long() -> String {
    "x".repeat(1_040_000)
}

/// No line of the journal is longer than this, whatever a gateway says.
const LINE: usize = 64 * 1024;

fn longest_line(stage: &Stage) -> usize {
    let files = std::fs::read_dir(stage.site.path("receiver/journal")).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let longest = texts.flat_map(|text| text.lines().map(str::len).max());
    longest.max().unwrap()
}

#[tokio::test]
async fn no_text_of_its_stops_the_centre_or_fills_its_journal() {
    let mut stage = Stage::linked().await;
    for detail in [
        long(),
        "\u{1}".repeat(170_000),
        "\u{202e}é\n".repeat(100_000),
    ] {
        let claims = stage.site.claims(&["port"]);
        let said = refused(0, &detail);
        let answer = stage
            .asked(&claims, async |bad, id, _| {
                let mut said = said.clone();
                said["id"] = id.into();
                bad.lie(&said).await;
            })
            .await;
        assert_eq!(answer.problem(), (403, "commune_refused"));
        let told = answer.json["detail"].as_str().unwrap();
        assert!(told.chars().count() <= 600, "{}", told.len());
        assert!(!told.contains('\u{202e}') && !told.contains('\u{1}'));
        stage.neighbour_is_served().await;
    }
    // A wait that ends so.
    let claims = stage.site.claims(&["port"]);
    let answer = stage
        .asked(&claims, async |bad, _, request| {
            bad.lie(&json!({ "type": "waiting", "request": request, "seconds": 60 }))
                .await;
        })
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    stage
        .bad
        .lie(&json!({
            "type": "wait_ended", "request": claims.jti.0, "reason": "commune_refused", "detail": long(),
        }))
        .await;
    // Ends and states of a grant.
    let claims = stage.site.claims(&["port", "quai"]);
    let (grant, request) = stage.granted(&claims).await;
    let relay = stage.bad.relay("port");
    for said in [
        json!({ "type": "relay", "relay": relay, "camera": "port", "state": "failed",
            "refusal": { "reason": "camera_refused", "detail": long() }, "profile": "main" }),
        json!({ "type": "camera_ended", "grant": grant, "camera": "port",
            "reason": "grant_cut", "detail": long() }),
        json!({ "type": "ended", "grant": grant, "reason": "grant_cut", "detail": long() }),
    ] {
        stage.bad.lie(&said).await;
    }
    stage.bad.is_heard((&request, grant, &claims)).await;
    let shown = stage
        .site
        .get(&stage.operator, &format!("/grants/{grant}"))
        .await;
    assert!(shown.body.len() < LINE, "{}", shown.body.len());
    stage.neighbour_is_served().await;
    assert_eq!(stage.site.entries("refused").len(), 4);
    assert!(longest_line(&stage) < LINE, "{}", longest_line(&stage));
}

#[tokio::test]
async fn what_it_says_of_itself_is_bounded_and_shown_as_text() {
    let mut stage = Stage::linked().await;
    let ended = ended(&mut stage).await;
    let mut said = serde_json::to_value(hello()).unwrap();
    said["type"] = "hello".into();
    said["name"] = format!("Berre\n\u{202e}{}", "x".repeat(100_000)).into();
    said["version"] = "9\u{7}".repeat(10_000).into();
    said["contact"] = "y".repeat(100_000).into();
    let agreement = &mut said["agreements"][0];
    agreement["reference"] = "z".repeat(100_000).into();
    agreement["grounds"][0]["id"] = "fire".into();
    agreement["units"] = vec!["CORG 13"; 20_000].into();
    agreement["max_duration"] = u64::MAX.into();
    agreement["hours"] = vec![
        json!({ "days": [true, true, true, true, true, true, true],
        "start": 0, "end": 65_535 });
        500
    ]
    .into();
    stage.bad.lie(&said).await;
    stage.bad.is_heard((&ended.0, ended.1, &ended.2)).await;
    // Its own words are in the centre's refusal, and in the journal, only so far.
    let claims = stage.site.claims(&["port"]);
    let request = stage.operator.sign(&claims);
    let answer = stage.site.post(&request).await;
    assert_eq!(answer.problem(), (403, "grounds_not_allowed"));
    let communes = stage.site.get(&stage.operator, "/communes").await;
    assert!(communes.body.len() < LINE, "{}", communes.body.len());
    assert!(!communes.body.contains('\u{202e}') && !communes.body.contains('\u{7}'));
    assert!(longest_line(&stage) < LINE, "{}", longest_line(&stage));
    stage.neighbour_is_served().await;
}

#[tokio::test]
async fn its_camera_list_is_checked() {
    let mut stage = Stage::linked().await;
    let wild = json!({
        "id": "port", "name": format!("\u{202e}{}", "n".repeat(10_000)),
        "groups": vec!["g".repeat(1_000); 200],
        "position": [1e308, -1e308], "bearing": -1.0, "field_of_view": 1e300,
        "neighbours": ["quai", "rognac/port", "../..", "<script>", "a/b/c", "n".repeat(5_000)],
    });
    let list = |cameras: Vec<Value>| json!({ "type": "cameras", "page": 0, "pages": 1, "cameras": cameras });
    stage.bad.lie(&list(vec![wild])).await;
    let ended = ended(&mut stage).await;
    stage.bad.is_heard((&ended.0, ended.1, &ended.2)).await;
    let query = format!("/cameras?commune={COMMUNE}");
    let shown = stage.site.get(&stage.operator, &query).await;
    let info = &shown.json[0];
    assert_eq!(info["id"], "port", "{shown:?}");
    assert_eq!(info["name"].as_str().unwrap().chars().count(), 128);
    assert!(!info["name"].as_str().unwrap().contains('\u{202e}'));
    assert!(info["groups"].as_array().unwrap().len() <= 64);
    for member in ["position", "bearing", "field_of_view"] {
        assert_eq!(info[member], Value::Null, "{member}");
    }
    assert!(!shown.body.contains("script") && !shown.body.contains(".."));
    // A name that is none, and one page too large: neither replaces what is known.
    let many = (0..=200).map(|n| json!({ "id": format!("c-{n}"), "name": "c" }));
    stage.bad.lie(&list(many.collect())).await;
    stage.bad.is_heard((&ended.0, ended.1, &ended.2)).await;
    let again = stage.site.get(&stage.operator, &query).await;
    assert_eq!(again.json.as_array().unwrap().len(), 1);
    stage.neighbour_is_served().await;
}

/// A grant of the malicious commune that is over, with which it can see that it is heard.
pub(super) async fn ended(
    stage: &mut Stage,
) -> (String, GrantId, fanal::format::statement::RequestClaims) {
    let claims = stage.site.claims(&["port"]);
    let (grant, request) = stage.granted(&claims).await;
    let path = format!("/grants/{grant}");
    assert_eq!(stage.site.delete(&stage.operator, &path).await.status, 200);
    stage.bad.released(grant).await;
    (request, grant, claims)
}

#[tokio::test]
async fn its_flood_waits_on_the_wire() {
    let mut stage = Stage::linked().await;
    let claims = stage.site.claims(&["port"]);
    let (grant, request) = stage.granted(&claims).await;
    let relay = stage.bad.relay("port");
    let head = stage.bad.head();
    let proof = stage.bad.proof(grant, &request, &claims);
    let state = |state: &str| {
        json!({ "type": "relay", "relay": relay, "camera": camera("port"),
        "state": state, "profile": "main" })
    };
    let mut said = serde_json::to_value(hello()).unwrap();
    said["type"] = "hello".into();
    said["contact"] = Uuid::now_v7().to_string().into();
    let lines: Vec<String> = (0..2_000).map(|n| format!("{{\"seq\":{n}")).collect();
    let mut noise = stage.bad.make_noise(&[
        said,
        serde_json::to_value(hello()).map(|mut hello| { hello["type"] = "hello".into(); hello }).unwrap(),
        state("live"),
        state("late"),
        json!({ "type": "heads", "head": head, "lines": lines, "acknowledged": 0 }),
        json!({ "type": "resume", "request": request, "proof": proof, "relays": { "port": relay } }),
        json!({ "type": "time", "echo": u64::MAX, "wall": i64::MIN }),
        json!({ "type": "snapshot_recorded", "snapshot": Uuid::now_v7(), "head": head }),
        json!({ "type": "marvel", "of": lines }),
    ]);
    for _ in 0..3 {
        stage.neighbour_is_served().await;
    }
    assert!(noise.try_join_next().is_none(), "the link ended: no flood");
    drop(noise);
}
