//! Places, tiles, and the cameras around one.

use std::time::Duration;

use fanal::clock::Wall;
use fanal::format::control::{CameraInfo, Hours, ToReceiver};
use fanal::reason::{Reason, Refusal};
use serde_json::json;

use super::site::{self, Operator, Site, within};

const ADDRESSES: &str = "numero;rep;nom_voie;code_postal;nom_commune;lon;lat
12;;Rue de la République;13130;Berre-l'Étang;5.1611;43.4711
12;bis;Rue de la République;13130;Berre-l'Étang;5.1612;43.4712
x;;Rue de nulle part;13130;Berre-l'Étang;5;43
12;;Rue de la République;13340;Rognac;5.23;43.48
";

/// A first answer that is not `still being read`.
async fn places(site: &Site, operator: &Operator, query: &str) -> site::Answer {
    let path = format!("/places?{query}");
    within("the addresses", async {
        loop {
            let answer = site.get(operator, &path).await;
            if answer.status != 503 {
                return answer;
            }
        }
    })
    .await
}

/// The labels of the places found.
fn labels(answer: &site::Answer) -> Vec<&str> {
    let places = answer.json["places"].as_array().unwrap().iter();
    places
        .map(|place| place["label"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn addresses_are_found_as_they_are_typed() {
    let mut site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let answer = site.get(&operator, "/places?q=rue").await;
    assert_eq!(answer.problem(), (404, "malformed_request"));
    site.put("adresses.csv", ADDRESSES.as_bytes());
    site.set_console("addresses = \"adresses.csv\"");
    site.reload().await;
    let found = places(
        &site,
        &operator,
        "q=12%20bis%20r%20de%20la%20r%C3%A9p%20berre",
    )
    .await;
    let place = json!({
        "label": "12 bis Rue de la République, 13130 Berre-l'Étang",
        "position": [43.4712, 5.1612],
        "city": "Berre-l'Étang",
        "postcode": "13130",
    });
    assert_eq!(found.json, json!({ "places": [place] }));
    // The nearest first; no more than asked for.
    let near = places(
        &site,
        &operator,
        "q=12+rue+republique&near=43.48,5.23&limit=1",
    )
    .await;
    assert_eq!(labels(&near), ["12 Rue de la République, 13340 Rognac"]);
    for bad in [
        "q=rue&limit=0",
        "q=rue&limit=21",
        "limit=1",
        "q=rue&near=91,0",
        "q=rue&x=1",
    ] {
        let answer = site.get(&operator, &format!("/places?{bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
    }
    let console = site.raw("GET", "/console", &[], "").await.json;
    assert_eq!(
        (&console["places"], &console["tiles"]),
        (&json!(true), &json!(null))
    );
    let nobody = site.raw("GET", "/places?q=rue", &[], "").await;
    assert_eq!(nobody.problem(), (401, "token_invalid"));
}

#[tokio::test]
async fn addresses_outlive_a_bad_file_and_a_new_start_reads_them() {
    let mut site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    site.put("adresses.csv", ADDRESSES.as_bytes());
    site.set_console("addresses = \"adresses.csv\"");
    site.stop().await;
    site.start_again().await;
    assert_eq!(
        labels(&places(&site, &operator, "q=rognac").await)[0],
        "13340 Rognac"
    );
    // The file is wrong now: the receiver says so where it is looked for, and goes on.
    site.put("adresses.csv", b"a;b\n1;2\n");
    site.reload().await;
    let complaint = within("a complaint", async {
        loop {
            let page = site.ready().await;
            if page.contains("no column numero") {
                return page;
            }
        }
    })
    .await;
    assert!(complaint.contains("the old ones stay"), "{complaint}");
    assert_eq!(
        labels(&places(&site, &operator, "q=rognac").await)[0],
        "13340 Rognac"
    );
    // And without the key they are gone.
    site.set_console("");
    site.reload().await;
    assert_eq!(site.get(&operator, "/places?q=rognac").await.status, 404);
}

#[tokio::test]
async fn tiles_are_served_from_a_directory_and_a_wrong_archive_is_refused() {
    let mut site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    let answer = site.get(&operator, "/tiles/9/263/186").await;
    assert_eq!(answer.problem(), (404, "malformed_request"));
    site.put_directory("fond/9/263");
    site.put("fond/9/263/186.png", b"a picture");
    site.set_console("tiles = \"fond\"\ntiles_attribution = \"© IGN\"");
    site.reload().await;
    let console = site.raw("GET", "/console", &[], "").await.json;
    assert_eq!(console["places"], false);
    let tiles = json!({ "min_zoom": 9, "max_zoom": 9, "attribution": "© IGN" });
    assert_eq!(console["tiles"], tiles);
    let tile = site.get(&operator, "/tiles/9/263/186").await;
    assert_eq!((tile.status, &*tile.body), (200, "a picture"));
    assert!(
        tile.head.contains("content-type: image/png"),
        "{}",
        tile.head
    );
    assert!(tile.head.contains("cache-control: private, max-age=86400"));
    assert!(tile.head.contains("x-content-type-options: nosniff"));
    for none in [
        "9/263/187",
        "10/0/0",
        "9/4294967295/0",
        "255/0/0",
        "256/0/0",
        "9/263/186.png",
        "9/-1/0",
        "9/..%2f..%2f9/0",
    ] {
        let answer = site.get(&operator, &format!("/tiles/{none}")).await;
        assert_eq!(answer.problem().0, 404, "{none}");
    }
    let nobody = site.raw("GET", "/tiles/9/263/186", &[], "").await;
    assert_eq!(nobody.problem(), (401, "token_invalid"));
    // Vector tiles refuse the settings; the old ones stay.
    let mut vector = b"PMTiles\x03".to_vec();
    vector.resize(127, 0);
    vector[99] = 1;
    site.put("vector.pmtiles", &vector);
    site.set_console("tiles = \"vector.pmtiles\"");
    let error = site.try_reload().await.unwrap_err();
    assert!(
        error.contains("vector.pmtiles") && error.contains("pictures"),
        "{error}"
    );
    assert_eq!(site.get(&operator, "/tiles/9/263/186").await.status, 200);
}

#[tokio::test]
async fn cameras_say_since_when_they_cant_be_used() {
    let site = Site::start().await;
    let gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let mut events = site::Events::listen(&site, &site.token(&operator)).await;
    let invalid = |id: &str, reason: Reason| CameraInfo {
        unusable: Some(Refusal::from(reason)),
        failed: None,
        ..site::info(id, [43.47, 5.17])
    };
    let send = |gateway: &site::Gateway, cameras: Vec<CameraInfo>| {
        gateway.send(&ToReceiver::Cameras {
            page: 0,
            pages: 1,
            cameras,
        });
    };
    let list = || {
        vec![
            invalid("a", Reason::CameraInvalid),
            invalid("b", Reason::MaskNotVerified),
            site::info("c", [43.47, 5.17]),
        ]
    };
    let began = site.clock.now().wall;
    send(&gateway, list());
    // The list shows once the commune's last event of it is there.
    let cameras = async |site: &Site, wanted: &str| {
        within(wanted, async {
            loop {
                let answer = site.get(&operator, "/cameras").await.json;
                if answer.to_string().contains(wanted) {
                    return answer;
                }
            }
        })
        .await
    };
    let answer = cameras(&site, "camera_invalid").await;
    let unusable = |answer: &serde_json::Value, at: usize| answer[at]["unusable"].clone();
    assert_eq!(unusable(&answer, 0)["since"], began.rfc3339());
    assert_eq!(unusable(&answer, 0)["reason"], "camera_invalid");
    assert_eq!(unusable(&answer, 0)["until"], json!(null));
    assert_eq!(unusable(&answer, 1)["reason"], "mask_not_verified");
    assert_eq!(unusable(&answer, 1)["since"], json!(null));
    assert_eq!(unusable(&answer, 2), json!(null));
    assert_eq!(answer[2]["online"], true);
    // The same again later, one more with it: what is known since then stays so.
    site.clock.advance(Duration::from_secs(60));
    let mut longer = list();
    longer.push(invalid("d", Reason::CameraInvalid));
    send(&gateway, longer);
    let answer = cameras(&site, "\"camera\":\"d\"").await;
    assert_eq!(unusable(&answer, 0)["since"], began.rfc3339());
    assert_eq!(
        unusable(&answer, 3)["since"],
        site.clock.now().wall.rfc3339()
    );
    // Out of its hours: all of them, since the end of the last window.
    let mut hello = site::hello();
    hello.agreements[0].hours = vec![closed_at(site.clock.now().wall)];
    gateway.send(&ToReceiver::Hello(hello));
    let answer = cameras(&site, "agreement_not_in_force").await;
    let (since, until) = (
        &unusable(&answer, 2)["since"],
        &unusable(&answer, 2)["until"],
    );
    let now = site.clock.now().wall.rfc3339();
    assert!(since.as_str().unwrap() < now.as_str(), "{since}");
    assert!(until.as_str().unwrap() > now.as_str(), "{until}");
    // What its commune says of a camera goes before.
    assert_eq!(unusable(&answer, 0)["reason"], "camera_invalid");
    drop(gateway);
    let gone = within("the end of the link", async {
        loop {
            let told = events.next("commune").await;
            if told["online"] == false {
                return told;
            }
        }
    })
    .await;
    let answer = cameras(&site, "\"online\":false").await;
    assert_eq!(answer[2]["online_since"], gone["since"]);
}

/// A window of one hour, twelve hours from now.
fn closed_at(now: Wall) -> Hours {
    let paris = now.seconds() / 60 + 60;
    let start = u16::try_from((paris + 720).rem_euclid(1_440)).unwrap();
    Hours {
        days: [true; 7],
        start,
        end: (start + 60) % 1_440,
    }
}

#[tokio::test]
async fn neighbours_that_nobody_named_are_found_by_where_they_lie() {
    let site = Site::start().await;
    let _gateway = site.gateway().await;
    let operator = site.operator("4711", "CORG 13");
    let path = "/cameras?neighbours=berre-l-etang/port";
    let answer = within("the cameras", async {
        loop {
            let answer = site.get(&operator, path).await.json;
            if answer != json!([]) {
                return answer;
            }
        }
    })
    .await;
    assert_eq!(answer.as_array().unwrap().len(), 1);
    assert_eq!(answer[0]["camera"], "quai-nord");
    // 0.01° to the north and as much to the east.
    let (distance, direction) = (&answer[0]["distance"], &answer[0]["direction"]);
    assert!(
        (distance.as_f64().unwrap() - 1_374.0).abs() < 5.0,
        "{distance}"
    );
    assert!(
        (direction.as_f64().unwrap() - 36.0).abs() < 0.5,
        "{direction}"
    );
}
