//! What the finder decides, in the browser that runs it: positions as people paste them,
//! places on the map, sets of cameras out of a file.

use serde_json::{Value, json};

use super::room::Room;
use crate::browser::Kind;
use crate::world::Plan;

/// `/page/NAME.js` as `module` in a function's body.
fn with(name: &str, body: &str) -> String {
    format!("import(`${{location.origin}}/page/{name}.js`).then((module) => {{ {body} }})")
}

#[tokio::test]
async fn positions_are_read_and_sets_are_checked() {
    let Some(mut room) = Room::open(Kind::Chromium, Plan::default()).await else {
        return;
    };
    room.sign_in("13-1").await;
    let here = json!([43.4745, 5.1692]);
    let seconds = json!([43.4744, 5.1692]);
    let table: Vec<(&str, Value)> = vec![
        ("43.4745, 5.1692", here.clone()),
        ("43,4745 5,1692", here.clone()),
        ("43.4745° N, 5.1692° E", here.clone()),
        ("5.1692E 43.4745N", here.clone()),
        ("N 43°28'28\" E 5°10'9\"", seconds.clone()),
        ("43°28'28\"N 5°10'9\"E", seconds.clone()),
        ("43°28.464'N 5°10.152'E", seconds),
        ("5°10'9\"O 43°28'28\"N", json!([43.4744, -5.1692])),
        ("geo:43.4745,5.1692", here.clone()),
        ("https://x.example/?q=43.4745%2C5.1692", here.clone()),
        // The mark, not the middle of the view.
        (
            "https://x.example/@43.4,5.1,15z/data=!3d43.4745!4d5.1692",
            here.clone(),
        ),
        (
            "https://x.example/?mlat=43.4745&mlon=5.1692#map=16/43.0/5.0",
            here,
        ),
        ("12, 4", Value::Null),
        ("12 rue de la Paix", Value::Null),
        ("43°75'28\"N 5°10'9\"E", Value::Null),
        ("43.4745N 5.1692N", Value::Null),
        ("91.00, 5.00", Value::Null),
    ];
    let texts: Vec<&str> = table.iter().map(|(text, _)| *text).collect();
    let body = format!(
        "return {}.map((text) => module.readPosition(text)?.map((one) => Math.round(one * 1e4) / 1e4) ?? null)",
        json!(texts)
    );
    let read = room
        .browser
        .evaluate(&with("core/coordinates", &body))
        .await;
    for ((text, wanted), found) in table.iter().zip(read.as_array().unwrap()) {
        assert_eq!(found, wanted, "{text}");
    }
    // There and back; a kilometre of latitude; inside and outside of a square.
    let geometry = "const back = module.unproject(module.project([43.4745, 5.1692], 15), 15).map((one) => one.toFixed(6));
      const square = [[43, 5], [43, 6], [44, 6], [44, 5]];
      return [back, Math.round(module.distance([43, 5], [43.008993, 5])), Math.round(module.direction([43, 5], [43, 6])),
        module.isInside([43.5, 5.5], square), module.isInside([44.5, 5.5], square), module.roundLength(90)];";
    assert_eq!(
        room.browser
            .evaluate(&with("find/geometry", geometry))
            .await,
        json!([["43.474500", "5.169200"], 1000, 90, true, false, 50])
    );
    let sets = "const good = { name: 'Port', cameras: ['rognac/rn113', 'rognac/rn113'] };
      const bad = [1, { name: '', cameras: ['a/b'] }, { name: 'x', cameras: [] }, { name: 'x', cameras: ['../b'] }, { name: 'x' }];
      return [module.readSelections('x'), module.readSelections('{}'), module.readSelections(JSON.stringify([good, ...bad, good]))];";
    assert_eq!(
        room.browser.evaluate(&with("find/selections", sets)).await,
        json!([[], [], [{ "name": "Port", "cameras": ["rognac/rn113"] }]])
    );
    room.end().await;
}
