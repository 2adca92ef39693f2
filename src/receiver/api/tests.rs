//! The description fits the routes.

use std::collections::BTreeSet;

/// Method and path of all routes, as `mod.rs` names them.
fn routes() -> BTreeSet<(String, String)> {
    let mut routes = BTreeSet::new();
    for line in include_str!("mod.rs").lines() {
        let Some(route) = line.trim().strip_prefix(".route(\"") else {
            continue;
        };
        let (path, methods) = route.split_once("\", ").unwrap();
        for method in ["get", "post", "delete"] {
            if methods.contains(&format!("{method}(")) {
                routes.insert((method.to_owned(), path.to_owned()));
            }
        }
    }
    routes
}

#[test]
fn the_description_names_every_route_and_no_other() {
    let document: serde_json::Value = serde_json::from_str(super::OPENAPI).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            described.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(described, routes());
    assert!(described.len() > 10);
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &serde_json::Value, document: &serde_json::Value) {
        match value {
            serde_json::Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(|text| text.as_str()) {
                    let pointer = reference.trim_start_matches('#');
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                }
                members.values().for_each(|value| walk(value, document));
            }
            serde_json::Value::Array(values) => {
                values.iter().for_each(|value| walk(value, document));
            }
            _ => {}
        }
    }
    let document: serde_json::Value = serde_json::from_str(super::OPENAPI).unwrap();
    walk(&document, &document);
}
