//! The camera that each gateway draws, probes of cameras that nobody watches, and what the centre's
//! metrics tell of its communes.

use std::collections::BTreeSet;

use fanal::reason::Reason;
use hyper::Method;
use serde_json::Value;

use crate::metrics::get;
use crate::scripted::{Auth, Camera, DIGEST_MD5, Script};
use crate::world::{COMMUNE, PATIENCE, Plan, Player, World, rtsp, until};

const DRILLS: &str = r#"["burglary", "drill"]"#;

#[tokio::test]
async fn a_drill_shows_that_the_whole_way_works() {
    let world = World::start(Plan {
        grounds: DRILLS,
        ..Plan::default()
    })
    .await;
    let martin = world.operator("13-1").await;
    let mut claims = martin.claims(&["fanal-test"], 600);
    assert_eq!(martin.refused(&claims).await, Reason::GroundsNotAllowed);
    claims = martin.claims(&["fanal-test"], 600);
    claims.grounds = "drill".to_owned();
    let grant = martin.ask(&claims).await.unwrap();
    let mut player = Player::start(rtsp(&grant, "fanal-test"));
    let seen = player.pictures(45).await;
    assert!(seen.key_frames >= 2 && seen.losses == 0, "{seen:?}");
    // No other camera was opened for it, and it is in no count of them.
    for camera in ["cam-001", "cam-002"] {
        assert_eq!(world.counters.borrow().camera(camera).set_up, 0);
    }
    let counted = |state| {
        let gauge = &world.gateway_metrics.cameras;
        gauge.with_label_values(&[state]).get()
    };
    assert_eq!((counted("idle"), counted("live")), (2, 0));
    let up = &world.gateway_metrics.camera_up;
    assert_eq!(up.with_label_values(&["fanal-test"]).get(), 1);

    // The list has it last, where drills are allowed.
    let cameras = martin.call(Method::GET, "/api/v1/cameras").await.unwrap();
    let ids: Vec<&str> = cameras
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["cam-001", "cam-002", "fanal-test"]);

    let id = grant["grant"].as_str().unwrap();
    let path = format!("/api/v1/grants/{id}");
    martin.call(Method::DELETE, &path).await.unwrap();
    player.ended().await;
    for daemon in ["gateway", "receiver"] {
        let grants = world.entries(daemon, "grant");
        assert_eq!(grants[0]["grounds"], "drill", "{daemon}");
    }
    assert_eq!(world.gateway_metrics.ungranted_bytes_total.get(), 0);
    world.stop().await;
}

/// The script of the guide asks for each commune's test camera, and fails where none comes.
#[tokio::test]
async fn the_daily_drill_of_the_guide_is_right() {
    let guide = |name: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/guide/");
        let text = std::fs::read_to_string(format!("{path}{name}")).unwrap();
        let script = text.split_once("    #!/bin/sh\n").unwrap().1;
        let lines = script.lines().map_while(|line| line.strip_prefix("    "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let script = guide("drill.md");
    assert_eq!(script, guide("drill.fr.md"));
    let world = World::start(Plan {
        grounds: DRILLS,
        ..Plan::default()
    })
    .await;
    world.operator("drill").await;
    let console = world.addresses.console;
    let script = script
        .replace(
            "/etc/fanal/drill",
            &world.directory.path("").display().to_string(),
        )
        .replace(
            "https://corg13.example:8889 --authority console-ca.pem",
            &format!("http://{console}"),
        );
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_fanal"));
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let run = async |communes: &str| {
        world.directory.write("communes.txt", communes);
        let mut shell = tokio::process::Command::new("sh");
        shell.arg("-c").arg(&script).env("PATH", &path);
        let output = tokio::time::timeout(PATIENCE, shell.output());
        let output = output.await.unwrap().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let (good, said) = run(&format!("{COMMUNE}\n")).await;
    assert!(good, "{said}");
    let (good, said) = run(&format!("{COMMUNE}\nrognac\n")).await;
    assert!(!good && said.contains("commune_unknown"), "{said}");
    let grants = world.entries("gateway", "grant");
    assert!(grants.iter().all(|grant| grant["grounds"] == "drill"));
    assert_eq!(grants.len(), 2);
    world.stop().await;
}

#[tokio::test]
async fn where_drills_are_not_agreed_the_test_camera_is_not_given() {
    let world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let mut claims = martin.claims(&["fanal-test"], 600);
    claims.grounds = "drill".to_owned();
    assert_eq!(martin.refused(&claims).await, Reason::GroundsNotAllowed);
    world.stop().await;
}

#[tokio::test]
async fn a_camera_that_is_gone_is_found_before_it_is_needed() {
    let mut world = World::start(Plan {
        gateway: "[health]\nprobe = \"1s\"\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let up = |world: &World, value| {
        let gauge = &world.gateway_metrics.camera_up;
        ["cam-001", "cam-002"]
            .iter()
            .all(|camera| gauge.with_label_values(&[camera]).get() == value)
    };
    let ready = async |world: &World, says: &str| {
        let said = async { while !get(world.gateway_page, "/ready").await.contains(says) {} };
        let said = tokio::time::timeout(PATIENCE, said).await;
        assert!(said.is_ok(), "/ready does not say {says}");
    };
    until("both answer", || up(&world, 1)).await;
    world.stop_cameras().await;
    until("neither answers", || up(&world, 0)).await;
    let failed = world.gateway_metrics.cameras.with_label_values(&["failed"]);
    until("both count as failed", || failed.get() == 2).await;
    ready(&world, "2 do not answer: cam-001 (camera_refused), cam-002").await;
    // The centre hears it, and may ask for them all the same.
    let there = &world.receiver_metrics.commune_cameras;
    let there = there.with_label_values(&[COMMUNE, "failed"]);
    until("the centre hears it", || there.get() > 0).await;
    let martin = world.operator("13-1").await;
    let listed = martin.call(Method::GET, "/api/v1/cameras").await.unwrap();
    let listed = listed.as_array().unwrap();
    let reason = |camera: &Value| camera["failed"]["reason"] == "camera_refused";
    assert!(listed.iter().any(reason), "{listed:?}");
    assert!(listed.iter().all(|camera| camera["unusable"].is_null()));
    world.start_cameras().await;
    until("both answer again", || up(&world, 1)).await;
    until("none counts as failed", || failed.get() == 0).await;
    // Nothing was ever set up.
    assert_eq!(world.counters.borrow().total.set_up, 0);
    // Without probes nothing is known of them.
    let text = |world: &World| world.gateway_metrics.encode().unwrap();
    world.reload_gateway("").await;
    until("no series is left", || {
        !text(&world).contains("fanal_gateway_camera_up{")
    })
    .await;
    world.stop_gateway().await;
    let told = world.entries("gateway", "attestation");
    let sessions = told[0]["camera_sessions"].as_array().unwrap();
    assert!(
        !sessions.is_empty() && sessions.iter().all(|one| one["why"] == "probe"),
        "{told:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_probe_asks_for_no_picture_and_tries_a_wrong_password_once() {
    let script = |password| Script {
        auth: Some(Auth {
            password,
            ..Auth::digest(DIGEST_MD5)
        }),
        ..Script::default()
    };
    let (right, wrong) = (
        Camera::start(script("s3cret")).await,
        Camera::start(script("other")).await,
    );
    let probed = |every: &str| {
        let cameras = [("right", &right), ("one", &wrong), ("two", &wrong)];
        let cameras = cameras.map(|(id, camera)| {
            let url = camera.url();
            format!(
                "[[camera]]\nid = \"{id}\"\nmain = \"{url}\"\ncredential = \"{}\"\n",
                if id == "right" { "a" } else { "b" }
            )
        });
        let credential = |id: &str, user: &str| {
            format!(
                "[[credential]]\nid = \"{id}\"\nusername = \"{user}\"\npassword_file = \"camera.txt\"\n"
            )
        };
        format!(
            "[health]\nprobe = \"{every}\"\n{}{}{}",
            credential("a", "fanal"),
            credential("b", "other"),
            cameras.concat()
        )
    };
    let mut world = World::start(Plan {
        cameras: 1,
        ..Plan::default()
    })
    .await;
    world.directory.write("camera.txt", "s3cret");
    world.reload_gateway(&probed("1s")).await;
    let failed = world.gateway_metrics.cameras.with_label_values(&["failed"]);
    until("two failed", || failed.get() == 2).await;
    // Several rounds.
    right.until_method("DESCRIBE", 6).await;
    // A reload that changes neither address nor password asks nobody sooner.
    world.reload_gateway(&probed("7d")).await;
    let tried = |camera: &Camera| {
        let seen = camera.seen();
        let signed = seen
            .iter()
            .filter(|one| one.headers.contains_key("authorization"));
        signed.filter(|one| one.status == 401).count()
    };
    assert_eq!(tried(&wrong), 1, "{:?}", wrong.seen());
    assert_eq!(tried(&right), 0);
    for camera in [&right, &wrong] {
        let methods: BTreeSet<String> = camera.seen().into_iter().map(|one| one.method).collect();
        let methods: Vec<&str> = methods.iter().map(String::as_str).collect();
        // This camera wants the password for OPTIONS already.
        let expected: &[&str] = match camera.address == right.address {
            true => &["DESCRIBE", "OPTIONS"],
            false => &["OPTIONS"],
        };
        assert_eq!(methods, expected);
    }
    assert_eq!(right.seen()[0].method, "OPTIONS");
    world.stop().await;
}

#[tokio::test]
async fn the_centre_tells_its_communes_apart() {
    let mut world = World::start(Plan {
        camera: "close_after = \"200ms\"\n".to_owned(),
        gateway: "[[camera]]\nid = \"masks\"\nmain = \"rtsp://127.0.0.1:1/\"\n".to_owned(),
        ..Plan::default()
    })
    .await;
    let scrape = |world: &World| world.receiver_metrics.encode().unwrap();
    let has = |world: &World, line: &str| scrape(world).lines().any(|one| one == line);
    let version = env!("CARGO_PKG_VERSION");
    let info = |transport: &str, value: u8| {
        format!(
            "fanal_receiver_commune_info{{commune=\"{COMMUNE}\",transport=\"{transport}\",version=\"{version}\"}} {value}"
        )
    };
    let cameras = |state: &str, count: u8| {
        format!("fanal_receiver_commune_cameras{{commune=\"{COMMUNE}\",state=\"{state}\"}} {count}")
    };
    until("it is introduced", || has(&world, &info("quic", 1))).await;
    until("its cameras", || has(&world, &cameras("usable", 2))).await;
    assert!(
        has(&world, &cameras("mask_not_verified", 1)),
        "{}",
        scrape(&world)
    );
    assert!(has(&world, &cameras("camera_invalid", 0)));
    let ends = &world
        .receiver_metrics
        .commune_certificate_expiry_timestamp_seconds;
    let ends = ends.with_label_values(&[COMMUNE, "link"]).get();
    let now = fanal::clock::Clock::system().now().wall.seconds();
    assert!(ends > now, "{ends}");
    let intact = &world.receiver_metrics.commune_journal_intact;
    assert_eq!(intact.with_label_values(&[COMMUNE]).get(), 1);
    world.stop_gateway().await;
    until("it is gone", || has(&world, &info("", 0))).await;
    assert!(!has(&world, &info("quic", 1)), "one series for a commune");
    assert!(
        has(&world, &cameras("usable", 2)),
        "the list outlives its link"
    );
    world.stop().await;
}
