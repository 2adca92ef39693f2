//! No message that decodes makes the centre's journal refuse: all that a gateway can say
//! fits into a line, and into what is kept of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::format::chain::LINE_LIMIT;
use crate::format::control::inflate::{FILLERS, inflate};
use crate::journal::log;

/// Far below a line: what honest messages take, and some details.
const LONGEST: usize = LINE_LIMIT / 8;

/// Every message that has a text, a list or a number.
fn messages(world: &World, id: u64, waits: RequestId, grant: GrantId) -> Vec<Value> {
    let refusal = json!({ "reason": "internal", "detail": "because" });
    let camera = json!({ "camera": "quai-nord", "reason": "internal", "detail": "because" });
    let head = world.gateway.sign(HEAD_TYPE, &head(COMMUNE, 2));
    let mut hello = serde_json::to_value(hello()).unwrap();
    hello["type"] = "hello".into();
    hello["agreements"][0]["hours"] =
        json!([{ "days": [true, true, true, true, true, true, true], "start": 0, "end": 5 }]);
    hello["agreements"][0]["grounds"][0]["id"] = "fire".into();
    hello["agreements"][0]["approval_exempt"] = json!(["fire"]);
    let cameras = json!([{
        "id": "quai-nord", "name": "Quai", "groups": ["a"], "position": [1.0, 2.0], "bearing": 1.0,
        "field_of_view": 1.0, "neighbours": ["quai-sud", "rognac/quai"], "unusable": refusal, "failed": refusal,
    }]);
    vec![
        json!({ "type": "refused", "id": id, "reason": "internal", "detail": "because", "cameras": [camera] }),
        json!({ "type": "wait_ended", "request": waits.0, "reason": "internal", "detail": "because", "cameras": [camera] }),
        json!({ "type": "ended", "grant": grant, "reason": "internal", "detail": "because", "head": head }),
        json!({ "type": "camera_ended", "grant": grant, "camera": "quai-nord", "reason": "internal", "detail": "because" }),
        json!({ "type": "relay", "relay": 1, "camera": "quai-nord", "state": "failed", "refusal": refusal, "profile": "main" }),
        json!({ "type": "heads", "head": head, "lines": ["a"], "acknowledged": 1 }),
        json!({ "type": "cameras", "page": 0, "pages": 1, "cameras": cameras }),
        json!({ "type": "time", "echo": 1, "wall": 1 }),
        json!({ "type": "grant_agreement", "grant": grant, "agreement": "Convention" }),
        json!({
            "type": "grant", "request": "a", "proof": "b", "relays": { "quai-nord": 1 },
            "receiver": Sha256::ZERO, "here": true, "first_start": 1, "password": "abc",
        }),
        hello,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_that_a_gateway_can_say_fits_into_the_journal(
        which in proptest::collection::vec(1u32.., 10..11),
        filler in 0..FILLERS.len(),
        order in 0usize..10,
    ) {
        let mut world = World::linked();
        world.granted(id(1), &["quai-nord"]);
        let waiting = world.claims(&["quai-nord"]);
        let request = world.sign(&waiting);
        world.ask(&request);
        world.tell(1, ToReceiver::Waiting { request, seconds: 60 });
        let claims = world.claims(&["quai-nord"]);
        let request = world.sign(&claims);
        let number = forwarded(&world.ask(&request));
        let mut all = messages(&world, number, waiting.jti, id(1));
        all.rotate_left(order);
        for (message, which) in all.iter().zip(which) {
            let text = inflate(message, which, FILLERS[filler]);
            let Ok(message) = serde_json::from_str::<ToReceiver>(&text) else {
                continue;
            };
            world.tell(1, message);
        }
        // Its words also reach the centre's own refusals.
        let claims = world.claims(&["quai-nord"]);
        let request = world.sign(&claims);
        world.ask(&request);
        world.after(UNVERIFIED_EVERY);
        for (_, _, entry) in &world.entries {
            let bytes = log::encode(entry).unwrap().len();
            prop_assert!(bytes <= LONGEST, "{bytes}: {entry:?}");
        }
        prop_assert_eq!(world.desk.owed(), 0);
        let view = &world.desk.communes[&commune()].view;
        let kept = format!("{view:?}").len();
        prop_assert!(kept <= 4 * crate::format::control::MESSAGE_LIMIT, "{kept}");
    }
}
