//! Records of incidents, over the API: in the journal, shared in the unit, kept across a restart and for
//! two days.

use std::time::Duration;

use fanal::format::ids::Sha256;
use fanal::journal::verify;
use fanal::policy::record::{KEPT, WRITES};
use serde_json::{Value, json};
use uuid::Uuid;

use super::site::{Events, within};
use super::{Granted, granted};

fn path(granted: &Granted, more: &str) -> String {
    let incident = granted.answer["incident"].as_str().unwrap();
    format!("/incidents/{}{more}", incident.replace('/', "%2F"))
}

fn bookmark(granted: &Granted) -> Value {
    json!({
        "grant": granted.id,
        "camera": "berre-l-etang/port",
        "from": granted.site.clock.now().wall.rfc3339(),
        "clock_offset": -0.5,
        "text": "voiture blanche",
    })
}

fn kinds(record: &Value) -> Vec<&str> {
    let history = record["history"].as_array().unwrap();
    history
        .iter()
        .map(|line| line["kind"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn what_a_unit_notes_is_shared_and_outlives_the_receiver() {
    let mut granted = granted().await;
    let site = &granted.site;
    let colleague = site.operator("4712", "CORG 13");
    let stranger = site.operator("4711", "CORG 84");
    let mut events = Events::listen(site, &site.token(&colleague)).await;
    let note = path(&granted, &format!("/notes/{}", Uuid::from_u128(1)));
    let text = "deux personnes\nporte arrière";
    let written = site
        .put_json(&granted.operator, &note, &json!({ "text": text }))
        .await;
    assert_eq!(written.status, 200, "{written:?}");
    let told = events.next("incident").await;
    assert_eq!(told["incident"], granted.answer["incident"]);
    let mark = path(&granted, &format!("/bookmarks/{}", Uuid::from_u128(2)));
    let mut body = bookmark(&granted);
    let begun = site.put_json(&granted.operator, &mark, &body).await;
    assert_eq!(begun.json["bookmarks"][0]["to"], Value::Null, "{begun:?}");
    // A colleague ends it; sent again, it is the same.
    body["to"] = body["from"].clone();
    for _ in 0..2 {
        let ended = site.put_json(&colleague, &mark, &body).await;
        assert_eq!(ended.json["bookmarks"][0]["to"], body["to"], "{ended:?}");
    }
    let record = site.get(&colleague, &path(&granted, "")).await.json;
    assert_eq!(
        kinds(&record),
        ["granted", "mark", "mark", "mark"],
        "{record}"
    );
    let first = &record["history"][0];
    assert_eq!(
        (&first["proof"], &first["grounds"]),
        (&json!(granted.proof), &json!("assault"))
    );
    assert_eq!(record["bookmarks"][0]["changed_by"]["number"], "4712");
    assert_eq!(record["notes"][0]["text"], text);
    // The journal has its digest, which the salt proves, and not the text.
    let entries = site.entries("mark");
    assert_eq!(entries.len(), 3);
    assert!(!json!(entries).to_string().contains("porte"));
    let salt = record["notes"][0]["salt"].as_str().unwrap();
    let salt: Vec<u8> = (0..16)
        .map(|at| u8::from_str_radix(&salt[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let digest = Sha256::of(&[&salt[..], text.as_bytes()].concat());
    assert_eq!(entries[0]["text"], json!(digest));
    // Nobody else of another unit.
    let hidden = site.get(&stranger, &path(&granted, "")).await;
    assert_eq!(hidden.status, 404);
    assert_eq!(site.get(&stranger, "/incidents").await.json, json!([]));
    // A file whose text was torn is told as lost; the other one is there again.
    drop(events);
    granted.site.stop().await;
    let files = std::fs::read_dir(granted.site.path("receiver/notes")).unwrap();
    let files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 2, "a text that counts no more is removed");
    let torn = granted.site.path(&format!("receiver/notes/{digest}"));
    std::fs::write(torn, b"torn").unwrap();
    granted.site.start_again().await;
    let again = granted.site.get(&colleague, &path(&granted, "")).await.json;
    assert_eq!(again["history"], record["history"]);
    assert_eq!(again["bookmarks"], record["bookmarks"]);
    assert_eq!(again["notes"][0]["text_lost"], true);
    // A withdrawn one leaves its line.
    let withdrawn = granted.site.delete(&colleague, &mark).await;
    assert_eq!(
        withdrawn.json["bookmarks"][0]["text"],
        Value::Null,
        "{withdrawn:?}"
    );
    assert_eq!(withdrawn.json["bookmarks"][0]["withdrawn"], true);
    granted.site.stop().await;
    let report = verify::verify(&verify::Options {
        directory: granted.site.path("receiver/journal"),
        ..verify::Options::default()
    });
    assert!(report.unwrap().is_intact());
}

#[tokio::test]
async fn a_record_is_closed_listed_and_forgotten() {
    let mut granted = granted().await;
    let site = &granted.site;
    let state = |state: &str| json!({ "state": state });
    let reference = path(&granted, "");
    let note = path(&granted, &format!("/notes/{}", Uuid::from_u128(1)));
    site.put_json(&granted.operator, &note, &json!({ "text": "vu" }))
        .await;
    // Not while a grant lives.
    let refused = site
        .put_json(&granted.operator, &reference, &state("closed"))
        .await;
    assert_eq!(refused.status, 409, "{refused:?}");
    site.delete(&granted.operator, &format!("/grants/{}", granted.id))
        .await;
    let closed = site
        .put_json(&granted.operator, &reference, &state("closed"))
        .await;
    assert_eq!(closed.json["state"], "closed", "{closed:?}");
    assert_eq!(closed.json["closed_by"]["number"], "4711");
    let list = site.get(&granted.operator, "/incidents").await.json;
    assert_eq!(
        (&list[0]["state"], &list[0]["notes"]),
        (&json!("closed"), &json!(1))
    );
    let record = site.get(&granted.operator, &reference).await.json;
    assert_eq!(kinds(&record), ["granted", "mark", "ended", "closed"]);
    // Lines after one alone.
    let after = format!("{reference}?after={}", record["history"][2]["seq"]);
    let newest = site.get(&granted.operator, &after).await.json;
    assert_eq!(kinds(&newest), ["closed"]);
    // Opened without a grant: on purpose, and in the journal.
    let other = "/incidents/2026-9";
    let missing = site
        .put_json(&granted.operator, other, &state("closed"))
        .await;
    assert_eq!(missing.status, 404);
    let opened = json!({ "state": "open", "grounds": "pursuit" });
    let opened = site.put_json(&granted.operator, other, &opened).await;
    assert_eq!(opened.json["grounds"], json!(["pursuit"]), "{opened:?}");
    assert_eq!(site.entries("incident").len(), 2);
    // Two days later there is neither record nor text; the journal stays.
    granted.site.clock.advance(KEPT + Duration::from_secs(2));
    let operator = granted.site.operator("4711", "CORG 13");
    assert_eq!(
        granted.site.get(&operator, "/incidents").await.json,
        json!([])
    );
    let directory = granted.site.path("receiver/notes");
    within("the text's end", async {
        while std::fs::read_dir(&directory).unwrap().count() > 0 {
            granted.site.clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(granted.site.entries("mark").len(), 1);
    granted.site.stop().await;
}

#[tokio::test]
async fn what_is_not_well_formed_or_too_much_is_refused() {
    let mut granted = granted().await;
    let site = &granted.site;
    let operator = &granted.operator;
    let note = |number| path(&granted, &format!("/notes/{}", Uuid::from_u128(number)));
    for (path, body, status) in [
        (note(1), json!({}), 400),
        (note(1), json!({ "text": "" }), 400),
        (note(1), json!({ "text": "a\u{7}" }), 400),
        (note(1), json!({ "text": "a", "more": 1 }), 400),
        (note(1), json!({ "text": "a", "at": "yesterday" }), 400),
        (
            note(1),
            json!({ "text": "a", "at": "2999-01-01T00:00:00Z" }),
            400,
        ),
        (path(&granted, "/notes/x"), json!({ "text": "a" }), 404),
        (
            "/incidents/none/notes/".to_owned() + &Uuid::nil().to_string(),
            json!({ "text": "a" }),
            404,
        ),
        (
            "/incidents/a%20b".to_owned(),
            json!({ "state": "open" }),
            400,
        ),
        ("/incidents/a".to_owned(), json!({ "state": "gone" }), 400),
    ] {
        let answer = site.put_json(operator, &path, &body).await;
        assert_eq!(answer.status, status, "{path} {body}: {answer:?}");
    }
    assert!(site.entries("mark").is_empty());
    for number in 0..u128::from(WRITES) {
        let answer = site
            .put_json(operator, &note(number), &json!({ "text": "a" }))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let more = site
        .put_json(operator, &note(1_000), &json!({ "text": "a" }))
        .await;
    assert_eq!(more.problem(), (429, "too_many_requests"));
    assert!(more.head.contains("retry-after: 2"), "{more:?}");
    granted.site.stop().await;
}
