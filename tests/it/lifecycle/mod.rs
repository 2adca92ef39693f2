//! The gateway's life with a centre that the test plays: what a request opens,
//! what ends it, what a restart keeps. Real sockets, real cameras of the
//! simulator, time moved by hand.

mod process;
mod world;

use std::time::Duration;

use fanal::config;
use fanal::format::control::{RelayState, ToGateway};
use fanal::gateway::socket::{Answer, Request};
use fanal::gateway::{Gateway, Options};
use fanal::reason::{Reason, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::world::{Granted, World, within};

#[tokio::test]
async fn a_signed_request_opens_the_camera_and_a_release_closes_it() {
    let mut world = World::new().await;
    assert_eq!(world.cameras.count("cam-001").set_up, 0, "idle: no session");
    let granted = world.watch("cam-001").await;
    assert_eq!(world.cameras.count("cam-001").open(), 1);
    assert_eq!(world.cameras.count("cam-002").set_up, 0);
    let journalled = world.journal("grant");
    assert!(journalled[0].contains(&granted.grant.to_string()));
    let page = world.get("/metrics").await;
    for line in [
        "fanal_gateway_grants_active 1",
        "fanal_gateway_relays_active 1",
        "fanal_gateway_relays_opened_total 1",
        "fanal_gateway_requests_total{centre=\"corg-13\",outcome=\"granted\",reason=\"\"} 1",
        "fanal_gateway_ungranted_bytes_total 0",
        "fanal_gateway_link_up{centre=\"corg-13\"} 1",
        "fanal_gateway_camera_up{camera=\"cam-001\"} 1",
        "fanal_gateway_request_check_seconds_count 1",
        "fanal_gateway_camera_start_step_seconds_count{step=\"key_frame\"} 1",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line} not in\n{page}"
        );
    }
    let appended = counted(&page, "fanal_gateway_journal_append_seconds_count ");
    let entries = counted(&page, "fanal_gateway_journal_entries_total ");
    assert!(appended >= 2 && appended == entries, "{page}");
    let ready = world.get("/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");

    world.centre.send(&ToGateway::Release {
        grant: granted.grant,
        by: "13-1".to_owned(),
        reason: None,
    });
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantReleased);
    let bytes = &world.running().metrics.relay_bytes_total;
    assert_eq!(
        bytes.with_label_values(&["cam-001"]).get(),
        0,
        "its series is gone"
    );
    world
        .cameras
        .wait("cam-001", "TEARDOWN", |count| count.torn_down == 1)
        .await;
    let page = world.get("/metrics").await;
    assert!(page.contains("fanal_gateway_relays_closed_total{reason=\"grant_released\"} 1"));
    world.stop().await;
    assert_eq!(world.journal("ended").len(), 1);
    assert_eq!(world.journal("stopped").len(), 1);
}

/// The figure behind this beginning of a line.
fn counted(page: &str, series: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|figure| figure.parse().ok()).unwrap()
}

#[tokio::test]
async fn a_cut_over_the_socket_ends_and_holds_until_it_is_allowed() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    let row = &relays.relays[0];
    assert_eq!(
        (row.grant, row.operator.number.as_str()),
        (granted.grant, "13-1")
    );
    assert!((540..=600).contains(&row.seconds_left), "{row:?}");
    assert_eq!(row.state, RelayState::Live);
    let cut = Request::Cut {
        scope: "camera:cam-001".to_owned(),
        block: 900,
    };
    let Answer::Cut { grants: 1, .. } = world.socket(cut).await else {
        panic!("not cut");
    };
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantCut);
    let mut cameras = world.cameras.counters.clone();
    let torn_down = cameras.wait_for(|all| all.camera("cam-001").torn_down == 1);
    within("TEARDOWN", torn_down).await.unwrap();
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(refused.reason, Reason::CommuneRefused);
    world.stop().await;
    world.start().await;
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(
        refused.reason,
        Reason::CommuneRefused,
        "also after a restart"
    );
    let scope = "camera:cam-001".to_owned();
    let Answer::Allowed { lifted: 1, .. } = world.socket(Request::Allow { scope }).await else {
        panic!("not allowed");
    };
    world.watch("cam-001").await;
    let by = format!("\"by\":\"{}\"", fanal::account::own());
    assert!(
        world.journal("cut")[0].contains(&by),
        "who cut is written down"
    );
    assert!(world.journal("allowed")[0].contains(&by));
    world.stop().await;
}

#[tokio::test]
async fn a_grant_ends_at_its_time() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    world.time.advance(Duration::from_secs(599));
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    assert_eq!(relays.relays[0].seconds_left, 1);
    world.time.advance(Duration::from_secs(1));
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantExpired);
    world
        .cameras
        .wait("cam-001", "TEARDOWN", |count| count.torn_down == 1)
        .await;
    world.stop().await;
}

#[tokio::test]
async fn what_the_centre_does_not_confirm_ends() {
    let mut world = World::new().await;
    let granted = world.ask(&["cam-001"]).await.unwrap();
    world.time.advance(Duration::from_secs(5));
    assert_eq!(
        world.centre.ended(&granted).await,
        Reason::CentreUnconfirmed
    );
    world.stop().await;
}

#[tokio::test]
async fn live_grants_resume_after_a_restart_and_ended_ones_do_not() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    let other = world.watch("cam-002").await;
    world.centre.send(&ToGateway::Release {
        grant: other.grant,
        by: "13-1".to_owned(),
        reason: None,
    });
    world.centre.ended(&other).await;
    world.stop().await;
    let count = world.cameras.count("cam-001");
    assert_eq!(
        (count.torn_down, count.open()),
        (1, 0),
        "TEARDOWN before the end"
    );
    world.time.advance(Duration::from_secs(60));
    world.start().await;
    assert_eq!(world.centre.resumed().await, granted.grant);
    world.centre.live("cam-001").await;
    assert_eq!(world.cameras.count("cam-002").open(), 0);
    assert!(world.journal("resumed")[0].contains(&granted.grant.to_string()));
    // Its end stays where it was; the confirmation of before counts.
    world.time.advance(Duration::from_secs(539));
    world.time.advance(Duration::from_secs(1));
    assert_eq!(world.centre.ended(&granted).await, Reason::GrantExpired);
    world.stop().await;
}

#[tokio::test]
async fn a_request_used_before_a_restart_stays_used() {
    let mut world = World::new().await;
    let request = world.sign(&["cam-001"]);
    assert!(world.centre.ask(&request).await.is_ok());
    let reason = |answer: Result<Granted, Refusal>| answer.err().unwrap().reason;
    assert_eq!(
        reason(world.centre.ask(&request).await),
        Reason::ReplayedRequest
    );
    world.stop().await;
    world.start().await;
    assert_eq!(
        reason(world.centre.ask(&request).await),
        Reason::ReplayedRequest
    );
    world.stop().await;
}

#[tokio::test]
async fn a_link_that_comes_back_carries_the_same_grants_on() {
    let mut world = World::new().await;
    let granted = world.watch("cam-001").await;
    world.centre.link.take().unwrap().close(Reason::Internal);
    assert_eq!(world.centre.resumed().await, granted.grant);
    let count = world.cameras.count("cam-001");
    assert_eq!(
        (count.set_up, count.torn_down),
        (1, 0),
        "the camera stayed open"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_reload_ends_what_it_forbids_and_a_bad_file_changes_nothing() {
    let mut world = World::new().await;
    let first = world.watch("cam-001").await;
    let second = world.watch("cam-002").await;
    world.place.write("gateway.toml", "commune = ");
    let handle = world.running().handle.clone();
    assert!(handle.reload().await.is_err());
    let ready = world.get("/ready").await;
    assert!(ready.contains("correct the file"), "{ready}");
    let page = world.get("/metrics").await;
    assert!(page.contains("fanal_gateway_config_last_reload_successful 0"));
    world.configure("\"cam-001\"");
    handle.reload().await.unwrap();
    assert_eq!(world.centre.ended(&first).await, Reason::AgreementChanged);
    let Answer::Relays(relays) = world.socket(Request::Relays {}).await else {
        panic!("no relays");
    };
    assert_eq!(relays.relays.len(), 1);
    assert_eq!(relays.relays[0].grant, second.grant);
    let refused = world.ask(&["cam-001"]).await.err().unwrap();
    assert_eq!(refused.reason, Reason::CameraNotCovered);
    let reloads = world.journal("reloaded");
    assert_eq!(reloads.len(), 2);
    assert!(reloads[0].contains("\"error\":") && !reloads[1].contains("\"error\":"));
    world.stop().await;
}

#[tokio::test]
async fn a_reload_takes_the_address_of_metrics_and_names_what_it_cant_take() {
    let mut world = World::new().await;
    let handle = world.running().handle.clone();
    let toml = std::fs::read_to_string(world.place.path("gateway.toml")).unwrap();
    let other = world.place.path("other");
    let (state, moved) = ("state_dir = \"gateway\"", "state_dir = \"other\"");
    assert!(toml.contains(state), "{state} not in {toml}");
    world
        .place
        .write("gateway.toml", toml.replacen(state, moved, 1));
    let error = handle.reload().await.unwrap_err();
    assert!(
        error.contains("state_dir") && error.contains("restart"),
        "{error}"
    );
    assert!(!other.exists(), "nothing was written for it");

    // The same port on all addresses, from one of them.
    let port = world.running().address.port();
    let all = format!("metrics = \"0.0.0.0:{port}\"\nmetrics_plain = true");
    world.place.write(
        "gateway.toml",
        toml.replacen("metrics = \"127.0.0.1:0\"", &all, 1),
    );
    handle.reload().await.unwrap();
    assert!(world.get("/ready").await.starts_with("HTTP/1.1 "));
    let elsewhere = async {
        while tokio::net::TcpStream::connect(("127.0.0.2", port))
            .await
            .is_err()
        {}
    };
    within("metrics on all addresses", elsewhere).await;
    world.stop().await;
}

#[tokio::test]
async fn the_socket_is_for_its_group_and_bears_nonsense() {
    use std::os::unix::fs::PermissionsExt;
    let mut world = World::new().await;
    let path = world.place.path("gateway.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let long = vec![b'x'; 10_000];
    for (line, reason) in [
        (&b"{\"command\":\"open\"}\n"[..], "malformed_request"),
        (b"not json\n", "malformed_request"),
        (
            b"{\"command\":\"cut\",\"scope\":\"camera:cam-9\",\"block\":1}\n",
            "camera_unknown",
        ),
        (
            b"{\"command\":\"cut\",\"scope\":\"x\",\"block\":1}\n",
            "malformed_request",
        ),
        (&long, "malformed_request"),
    ] {
        stream.write_all(line).await.unwrap();
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') {
            let byte = within("an answer", stream.read_u8()).await.unwrap();
            answer.push(byte);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            answer.contains(&format!("\"reason\":\"{reason}\"")),
            "{answer}"
        );
    }
    // A second gateway on the same state is refused, and takes nothing away.
    let loaded = config::load_gateway(&world.place.path("gateway.toml")).unwrap();
    assert!(Gateway::bind(loaded, Options::default()).await.is_err());
    let relays = world.socket(Request::Relays {}).await;
    assert!(matches!(relays, Answer::Relays(_)));
    world.stop().await;
    assert!(!path.exists(), "its file goes with it");
    // The file of one that was killed is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    world.start().await;
    assert!(matches!(
        world.socket(Request::Relays {}).await,
        Answer::Relays(_)
    ));
    world.stop().await;
}
