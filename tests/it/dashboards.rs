//! The shipped dashboards: a real Prometheus that scrapes both daemons answers each query of theirs,
//! while a camera is relayed and watched.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use crate::metrics::{full, names};
use crate::prometheus::{Counted, PATIENCE, prometheus, query, start_prometheus};
use crate::world::{Plan, Player, World, rtsp};

/// Panels that may be empty say so (`noValue`); these of them are not while a camera is relayed
/// and after a refusal.
const FILLED: [&str; 7] = [
    "requests_total",
    "relay_bytes_total",
    "frames_total",
    "camera_start_seconds_bucket",
    "camera_start_step_seconds_bucket",
    "first_picture_seconds_bucket",
    "transit_seconds_bucket",
];

/// A query of a panel.
struct Query {
    /// Dashboard and panel.
    place: String,
    /// With every variable set to "all".
    text: String,
    must_be_filled: bool,
}

fn dashboards() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana");
    let read = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        (name.to_owned(), serde_json::from_str(&text).unwrap())
    };
    ["commune.json", "centre.json"].map(read).to_vec()
}

fn array<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let found = value.pointer(pointer).and_then(Value::as_array);
    found.unwrap_or_else(|| panic!("no {pointer}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    let found = value.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

/// Every query of the panels and variables.
fn queries(name: &str, dashboard: &Value) -> Vec<Query> {
    let mut found = Vec::new();
    let variables = array(dashboard, "/templating/list");
    let own: Vec<&str> = variables.iter().map(|one| text(one, "/name")).collect();
    for variable in variables.iter().filter(|one| text(one, "/type") == "query") {
        let asked = text(variable, "/query/query");
        let inside = asked.strip_prefix("label_values(").unwrap();
        let (metric, label) = inside.trim_end_matches(')').split_once(", ").unwrap();
        found.push(Query {
            place: format!("{name}: ${}", text(variable, "/name")),
            text: format!("count by ({label}) ({metric})"),
            must_be_filled: true,
        });
    }
    for panel in array(dashboard, "/panels") {
        if text(panel, "/type") == "row" {
            continue;
        }
        assert_eq!(text(panel, "/datasource/uid"), "${datasource}", "{name}");
        let may_be_empty = panel.pointer("/fieldConfig/defaults/noValue").is_some();
        for target in array(panel, "/targets") {
            let mut query = text(target, "/expr").replace("$__rate_interval", "30s");
            for variable in &own {
                query = query.replace(&format!("\"${variable}\""), "\".*\"");
            }
            let place = format!("{name}: {}", text(panel, "/title"));
            assert!(!query.contains('$'), "{place}: {query}");
            let filled = FILLED.iter().any(|metric| query.contains(metric))
                // Counted by reasons that nobody has given.
                && !query.contains("outcome=\"failed\"");
            found.push(Query {
                place,
                text: query,
                must_be_filled: !may_be_empty || filled,
            });
        }
    }
    assert!(found.len() > 20, "{name}");
    found
}

/// Names that begin as ours do.
fn metrics(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("fanal_") || word.starts_with("process_"))
}

#[test]
fn each_query_names_metrics_that_exist() {
    let [gateway, receiver] = full();
    let known = [names(&gateway), names(&receiver)].concat();
    let known: BTreeSet<&str> = known
        .iter()
        .filter_map(|name| name.split('{').next())
        .collect();
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        for panel in array(&dashboard, "/panels") {
            assert!(
                ids.insert(panel["id"].as_u64().unwrap()),
                "{name}: an id twice"
            );
        }
        for query in queries(&name, &dashboard) {
            for metric in metrics(&query.text) {
                let whole = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| metric.strip_suffix(end));
                let is_known = known.contains(metric) || whole.is_some_and(|m| known.contains(m));
                assert!(is_known, "{}: {metric} is no metric", query.place);
            }
        }
    }
}

/// How many series a query has now.
async fn series(prometheus: SocketAddr, asked: &Query) -> u64 {
    let counted = format!("count({}) or vector(0)", asked.text);
    let answer = query(prometheus, &counted).await;
    let value = answer
        .split("\"value\":[")
        .nth(1)
        .and_then(|rest| rest.split('"').nth(1));
    let value = value.and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("{}: {answer}", asked.place))
}

async fn fill(world: &World, gateway: SocketAddr, receiver: SocketAddr) {
    let mut gateway = Counted::before(gateway).await;
    let mut receiver = Counted::before(receiver).await;
    let settings = prometheus(&world.directory, gateway.address, receiver.address);
    let Some((_child, prometheus)) = start_prometheus(&world.directory, settings).await else {
        return;
    };
    gateway.scraped().await;
    receiver.scraped().await;
    // What is counted from here on is an increase.
    let operator = world.operator("13-1").await;
    let grant = operator.granted(&["cam-001"]).await;
    let mut unlisted = operator.claims(&["cam-001"], 600);
    unlisted.grounds = "fire".to_owned();
    operator.refused(&unlisted).await;
    let mut player = Player::start(rtsp(&grant, "cam-001"));
    player.pictures(10).await;
    let mut waiting = Vec::new();
    for (name, dashboard) in dashboards() {
        for query in queries(&name, &dashboard) {
            // An error in it fails here.
            let found = series(prometheus, &query).await;
            if query.must_be_filled && found == 0 {
                waiting.push(query);
            }
        }
    }
    while let Some(query) = waiting.pop() {
        gateway.scraped().await;
        receiver.scraped().await;
        let more = player.seen.borrow().pictures + 1;
        player.pictures(more).await;
        if series(prometheus, &query).await == 0 {
            eprintln!("{} is empty: {}", query.place, query.text);
            waiting.push(query);
        }
    }
}

#[tokio::test]
async fn each_panel_is_filled_by_real_daemons() {
    let world = World::start(Plan::default()).await;
    let (gateway, receiver) = (world.gateway_page, world.addresses.metrics);
    let filled = tokio::time::timeout(PATIENCE, fill(&world, gateway, receiver)).await;
    filled.expect("each panel that must have data has some in time");
    world.stop().await;
}
