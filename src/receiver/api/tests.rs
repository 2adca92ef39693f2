//! The description is well-formed; `tests/it/api/openapi.rs` compares it with the routes.

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
