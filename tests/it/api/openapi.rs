//! The APIs' descriptions against their answers: every answer that a test gets of `/api/v1`, at
//! the receiver or at the commune's page, is compared with `openapi.json`, and its routes with the
//! router's.

use serde_json::Value;

use super::site::{Answer, Site};

/// An API's description, and the text of the module that has its routes.
pub struct Api {
    text: &'static str,
    router: &'static str,
}

pub const RECEIVER: Api = Api {
    text: include_str!("../../../src/receiver/api/openapi.json"),
    router: include_str!("../../../src/receiver/api/mod.rs"),
};
/// The commune's page.
pub const PAGE: Api = Api {
    text: include_str!("../../../src/gateway/page/openapi.json"),
    router: include_str!("../../../src/gateway/page/mod.rs"),
};
const PREFIX: &str = "/api/v1";
const METHODS: [&str; 2] = ["get", "delete"];

/// The words of JSON Schema that [`compare`] knows. Another one in the description fails,
/// so that nothing there goes unchecked.
const WORDS: [&str; 14] = [
    "$ref",
    "type",
    "enum",
    "required",
    "properties",
    "items",
    "anyOf",
    "minimum",
    "minItems",
    "maxItems",
    "format",
    "pattern",
    "description",
    "title",
];

impl Api {
    fn description(&self) -> Value {
        serde_json::from_str(self.text).unwrap()
    }
}

/// The operation that answers this, if the description has one.
fn operation<'a>(described: &'a Value, method: &str, path: &str) -> Option<&'a Value> {
    let paths = described["paths"].as_object().unwrap();
    let given: Vec<&str> = path.split('/').collect();
    let found = paths.iter().find(|(template, _)| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == given.len()
            && parts
                .iter()
                .zip(&given)
                .all(|(part, given)| part.starts_with('{') || part == given)
    });
    found?.1.get(method.to_ascii_lowercase())
}

/// Panics where an answer is not as the description says. Paths and methods that the
/// description lacks may only be refused.
pub fn check(api: &Api, method: &str, path: &str, answer: &Answer) {
    let Some(path) = path.strip_prefix(PREFIX) else {
        return;
    };
    let path = path.split('?').next().unwrap();
    let described = api.description();
    let Some(operation) = operation(&described, method, path) else {
        assert!(answer.status >= 400, "{method} {path} is not described");
        return;
    };
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let response = match responses.get(&status) {
        Some(response) => response,
        // A resource that has not changed has no body.
        None if answer.status == 304 => return,
        None => {
            assert!(answer.status >= 400, "{method} {path}: {status}");
            &responses["default"]
        }
    };
    let Some(content) = response.get("content").and_then(Value::as_object) else {
        return;
    };
    let is_said = |kind: &str| answer.head.contains(&format!("content-type: {kind}"));
    let said = content.iter().find(|(kind, _)| is_said(kind));
    let (kind, content) = said.unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    if kind.ends_with("json") {
        let place = format!("{method} {path} {status}");
        compare(&described, &content["schema"], &answer.json, &place);
    }
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        kind => panic!("type {kind}"),
    }
}

/// Panics where a value is not as its schema says, or has a member that the schema lacks.
fn compare(described: &Value, schema: &Value, value: &Value, place: &str) {
    let Some(words) = schema.as_object() else {
        panic!("{place}: no schema for {value}");
    };
    for word in words.keys() {
        assert!(WORDS.contains(&word.as_str()), "{place}: the word {word}");
    }
    if let Some(name) = words.get("$ref").and_then(Value::as_str) {
        let schema = described.pointer(name.trim_start_matches('#')).unwrap();
        return compare(described, schema, value, place);
    }
    if let Some(any) = words.get("anyOf").and_then(Value::as_array) {
        let null = any.iter().any(|schema| schema["type"] == "null");
        let other = any.iter().find(|schema| schema["type"] != "null").unwrap();
        if !(null && value.is_null()) {
            compare(described, other, value, place);
        }
        return;
    }
    match words.get("type") {
        Some(Value::String(kind)) => assert!(is_of(value, kind), "{place}: {value}"),
        Some(Value::Array(kinds)) => {
            let mut kinds = kinds.iter().map(|kind| kind.as_str().unwrap());
            assert!(kinds.any(|kind| is_of(value, kind)), "{place}: {value}");
        }
        _ => {}
    }
    if let Some(values) = words.get("enum").and_then(Value::as_array) {
        assert!(values.contains(value), "{place}: {value}");
    }
    if let (Some(least), Some(value)) =
        (words.get("minimum").and_then(Value::as_f64), value.as_f64())
    {
        assert!(value >= least, "{place}: {value}");
    }
    if let Some(text) = value.as_str() {
        match words.get("format").and_then(Value::as_str) {
            Some("uuid") => assert!(uuid::Uuid::parse_str(text).is_ok(), "{place}: {text}"),
            Some("date-time") => {
                assert!(text.parse::<jiff::Timestamp>().is_ok(), "{place}: {text}");
            }
            Some("date") => {
                assert!(text.parse::<jiff::civil::Date>().is_ok(), "{place}: {text}");
            }
            Some(format) => panic!("{place}: the format {format}"),
            None => {}
        }
        match words.get("pattern").and_then(Value::as_str) {
            Some("^[0-9a-f]{64}$") => {
                let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
                assert!(
                    text.len() == 64 && text.bytes().all(is_hex),
                    "{place}: {text}"
                );
            }
            Some(pattern) => panic!("{place}: the pattern {pattern}"),
            None => {}
        }
    }
    if let Some(members) = value.as_object() {
        for name in words
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = name.as_str().unwrap();
            assert!(members.contains_key(name), "{place}: no {name}");
        }
        if let Some(properties) = words.get("properties").and_then(Value::as_object) {
            for (name, value) in members {
                let schema = properties.get(name);
                let schema = schema.unwrap_or_else(|| panic!("{place}: {name} is not described"));
                compare(described, schema, value, &format!("{place}.{name}"));
            }
        }
    }
    if let Some(items) = value.as_array() {
        let count = items.len() as u64;
        let bound = |word: &str| words.get(word).and_then(Value::as_u64);
        assert!(
            bound("minItems").is_none_or(|least| count >= least),
            "{place}"
        );
        assert!(
            bound("maxItems").is_none_or(|most| count <= most),
            "{place}"
        );
        if let Some(schema) = words.get("items") {
            for (at, item) in items.iter().enumerate() {
                compare(described, schema, item, &format!("{place}[{at}]"));
            }
        }
    }
}

#[test]
fn the_descriptions_have_their_routers_routes_and_no_other() {
    for api in [RECEIVER, PAGE] {
        let mut routes = Vec::new();
        let router: String = api.router.split_whitespace().collect();
        for rest in router.split(".route(\"").skip(1) {
            let (path, handlers) = rest.split_once("\",").unwrap();
            let handlers = handlers.split(';').next().unwrap();
            for method in ["get", "post", "delete", "put"] {
                if handlers.contains(&format!("{method}(")) {
                    routes.push(format!("{method} {path}"));
                }
            }
        }
        let described = api.description();
        let mut told: Vec<String> = Vec::new();
        for (path, methods) in described["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys();
            let methods = methods.filter(|method| *method != "parameters");
            told.extend(methods.map(|method| format!("{method} {path}")));
        }
        routes.sort();
        told.sort();
        assert_eq!(routes, told);
    }
}

/// `get` asks as somebody who has signed in, `raw` (method and path) as nobody.
pub async fn paths_are_there_and_take_their_parameters(
    api: &Api,
    get: impl AsyncFn(String) -> Answer,
    raw: impl AsyncFn(String, String) -> Answer,
) {
    let described = api.description();
    for (path, methods) in described["paths"].as_object().unwrap() {
        for method in METHODS {
            let Some(operation) = methods.get(method) else {
                continue;
            };
            let query = operation["parameters"].as_array().into_iter().flatten();
            let query = query.filter(|parameter| parameter["in"] == "query");
            for name in query.map(|parameter| parameter["name"].as_str().unwrap()) {
                // A wrong value is refused by its name; an unknown parameter is unknown.
                let answer = get(format!("{path}?{name}=%00")).await;
                let text = answer.json["detail"].as_str().unwrap_or_default();
                assert!(!text.contains("unknown field"), "{path}: {text}");
            }
            // Each without a token: what needs one says so, what needs none answers.
            let answer = raw(method.to_ascii_uppercase(), path.clone()).await;
            assert!(![404, 405].contains(&answer.status), "{method} {path}");
            let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(
                answer.status == 401,
                !is_open,
                "{method} {path}: {answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_path_that_the_receivers_description_names_is_there() {
    let site = Site::start().await;
    let operator = site.operator("4711", "CORG 13");
    paths_are_there_and_take_their_parameters(
        &RECEIVER,
        async |path| site.get(&operator, &path).await,
        async |method, path| site.raw(&method, &path, &[], "").await,
    )
    .await;
}
