//! An entry that does not fit into a line is written all the same, with its texts and
//! lists cut: a line that can never be written would be tried again for ever, and its
//! journal refuse everything meanwhile.

use serde_json::Value;

use super::log::OVERHEAD;
use crate::format::chain::LINE_LIMIT;
use crate::format::statement::STATEMENT_LIMIT;

/// Members that hold signed statements or certificates, which a cut would make worthless.
const SIGNED: [&str; 7] = [
    "request",
    "proof",
    "head",
    "peer_head",
    "statement",
    "certificate",
    "checkpoint",
];
/// Longest texts, in characters, and lists: the first that fit count.
const CUTS: [(usize, usize); 3] = [(512, usize::MAX), (512, 512), (128, 64)];

/// The body as it is where it fits into a line; else a shorter one, whose member `cut` says
/// how many bytes it had.
pub(super) fn fit(body: Vec<u8>) -> Vec<u8> {
    if fits(&body) {
        return body;
    }
    tracing::error!(
        bytes = body.len(),
        "journal: an entry is too long for a line; its texts and lists are cut"
    );
    let whole: Value = serde_json::from_slice(&body).unwrap_or_default();
    for (text, list) in CUTS {
        let mut entry = whole.clone();
        shorten(&mut entry, text, list);
        entry["cut"] = body.len().into();
        let shorter = entry.to_string().into_bytes();
        if fits(&shorter) {
            return shorter;
        }
    }
    // No entry of ours: its kind is what can be told.
    let bare = serde_json::json!({ "kind": whole["kind"].as_str(), "cut": body.len() });
    bare.to_string().into_bytes()
}

fn fits(body: &[u8]) -> bool {
    body.len() + OVERHEAD <= LINE_LIMIT
}

fn shorten(value: &mut Value, text: usize, list: usize) {
    match value {
        Value::String(long) => cut(long, text),
        Value::Array(items) => {
            items.truncate(list);
            items.iter_mut().for_each(|item| shorten(item, text, list));
        }
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(long) if SIGNED.contains(&name.as_str()) => {
                        cut(long, STATEMENT_LIMIT);
                    }
                    _ => shorten(member, text, list),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn cut(text: &mut String, characters: usize) {
    if let Some((at, _)) = text.char_indices().nth(characters) {
        text.truncate(at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::ids::{GrantId, RequestId};
    use crate::format::statement::{Operator, Viewing};
    use crate::journal::entry::Entry;
    use crate::journal::log::encode;
    use crate::reason::{Reason, Refusal};

    fn refused(detail: String, request: String) -> Entry {
        Entry::Refused {
            request,
            jti: RequestId(uuid::Uuid::from_u128(1)),
            peer: "berre-l-etang".to_owned(),
            operator: Operator {
                name: "A".to_owned(),
                number: "1".to_owned(),
                unit: "U".to_owned(),
            },
            refusal: Refusal {
                reason: Reason::Internal,
                detail,
                wait: None,
            },
            voids: None,
            wait_ended: None,
        }
    }

    #[test]
    fn an_entry_that_fits_is_written_as_it_is() {
        let body = encode(&refused("why".to_owned(), "a.b.c".to_owned())).unwrap();
        assert_eq!(fit(body.clone()), body);
    }

    #[test]
    fn one_that_does_not_keeps_its_statements_and_its_meaning() {
        let request = "r".repeat(STATEMENT_LIMIT);
        let body = encode(&refused("x".repeat(2 * LINE_LIMIT), request.clone())).unwrap();
        let cut = fit(body.clone());
        assert!(fits(&cut));
        assert_eq!(
            serde_json::from_slice::<Value>(&cut).unwrap()["cut"],
            body.len()
        );
        let Entry::Refused {
            refusal,
            request: kept,
            ..
        } = serde_json::from_slice(&cut).unwrap()
        else {
            panic!("another kind");
        };
        assert_eq!(refusal.detail, "x".repeat(512));
        assert_eq!(kept, request);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_long_fits_and_reads_back(
            text in "\\PC{1,8}|\u{1}{1,8}",
            length in 1usize..300_000,
            lists in 0usize..20_000,
        ) {
            let long = text.repeat(length);
            let camera = crate::format::ids::CameraId::new("quai").unwrap();
            let viewing = |_| Viewing {
                camera: camera.clone(),
                who: text.repeat(16),
                kind: "live".to_owned(),
                from: text.clone(),
                to: String::new(),
                holders: vec![text.repeat(16)],
                count: None,
                seconds: None,
            };
            let viewings = Entry::Viewings {
                grant: GrantId(uuid::Uuid::from_u128(1)),
                part: Some(0),
                parts: Some(1),
                statement: long.clone(),
                viewings: (0..lists).map(viewing).collect(),
                received: Vec::new(),
            };
            for entry in [viewings, refused(long.clone(), long)] {
                let body = fit(encode(&entry).unwrap());
                prop_assert!(fits(&body));
                prop_assert!(serde_json::from_slice::<Entry>(&body).is_ok());
            }
        }
    }
}
