//! Journals that went back, with both daemons: restored from a copy, and damaged.

use std::path::PathBuf;

use fanal::reason::Reason;
use hyper::Method;
use serde_json::Value;

use crate::metrics::get;
use crate::world::{CENTRE, COMMUNE, Operator, Plan, Player, World, rtsp, until};

impl World {
    /// The newest month file of a daemon's journal.
    fn journal_file(&self, daemon: &str) -> PathBuf {
        let files = std::fs::read_dir(self.directory.path(daemon).join("journal")).unwrap();
        files.map(|file| file.unwrap().path()).max().unwrap()
    }

    /// Starts both daemons again with this journal accepted.
    async fn accept(&mut self, id: &str) {
        self.stop_gateway().await;
        self.stop_receiver().await;
        self.accepts(id);
        self.start_receiver().await;
        self.start_gateway().await;
        self.linked().await;
    }

    async fn until_entry(&self, daemon: &str, kind: &str) {
        until(kind, || !self.entries(daemon, kind).is_empty()).await;
    }
}

async fn end(operator: &Operator, grant: &Value) -> Value {
    let path = format!("/api/v1/grants/{}", grant["grant"].as_str().unwrap());
    let now = operator.call(Method::GET, &path).await.unwrap();
    now["granted"][0]["reason"].clone()
}

#[tokio::test]
async fn a_gateway_that_was_restored_from_a_copy_is_seen_at_the_link_and_its_grants_end() {
    let mut world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    let copy = std::fs::read(world.journal_file("gateway")).unwrap();
    let grant = martin.granted(&["cam-001"]).await;
    let url = rtsp(&grant, "cam-001");
    let mut watches = Player::start(url.clone());
    watches.pictures(5).await;
    // The receiver holds a head that covers the grant.
    world.until_entry("gateway", "confirmed").await;
    world.stop_gateway().await;
    std::fs::write(world.journal_file("gateway"), &copy).unwrap();
    world.start_gateway().await;

    world.until_entry("receiver", "peer_contradiction").await;
    world.until_entry("gateway", "journal_went_back").await;
    watches.ended().await;
    assert_eq!(
        end(&martin, &grant).await,
        "journal_went_back",
        "in the API"
    );
    let told = Player::start(url).refused().await;
    assert!(told.contains("403"), "{told}");
    let ended = world.entries("receiver", "ended");
    assert_eq!(ended[0]["reason"], "journal_went_back");
    let evidence = &world.entries("receiver", "peer_contradiction")[0];
    assert!(evidence["head"].is_string() && evidence["found"].is_string());

    let (gateway, receiver) = (&world.gateway_metrics, &world.receiver_metrics);
    let commune = receiver
        .commune_journal_intact
        .with_label_values(&[COMMUNE]);
    let centre = gateway.centre_journal_intact.with_label_values(&[CENTRE]);
    until("the metrics tell", || {
        commune.get() == 0 && gateway.journal_intact.get() == 0
    })
    .await;
    assert_eq!((receiver.journal_intact.get(), centre.get()), (1, 1));
    let ready = get(world.gateway_page, "/ready").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(ready.contains("--accept-journal berre-l-etang"), "{ready}");
    let claims = martin.claims(&["cam-001"], 60);
    assert_eq!(martin.refused(&claims).await, Reason::JournalWentBack);

    world.accept(COMMUNE).await;
    for daemon in ["gateway", "receiver"] {
        let accepted = world.entries(daemon, "journal_accepted");
        assert_eq!(accepted[0]["journal"], COMMUNE, "{daemon}");
    }
    let martin = world.operator("13-1").await;
    let grant = martin.granted(&["cam-001"]).await;
    let mut watches = Player::start(rtsp(&grant, "cam-001"));
    watches.pictures(5).await;
    let (gateway, receiver) = (&world.gateway_metrics, &world.receiver_metrics);
    let commune = receiver
        .commune_journal_intact
        .with_label_values(&[COMMUNE]);
    assert_eq!((commune.get(), gateway.journal_intact.get()), (1, 1));
    world.stop().await;
}

#[tokio::test]
async fn a_journal_that_does_not_verify_at_the_start_is_told_at_both_ends() {
    let mut world = World::start(Plan::default()).await;
    let martin = world.operator("13-1").await;
    martin.granted(&["cam-001"]).await;
    world.until_entry("gateway", "confirmed").await;
    world.stop_receiver().await;
    let file = world.journal_file("receiver");
    let whole = std::fs::read_to_string(&file).unwrap();
    let changed = whole.replacen(r#""kind":"started""#, r#""kind":"stopped""#, 1);
    assert_ne!(changed, whole);
    std::fs::write(&file, &changed).unwrap();
    world.start_receiver().await;
    world.linked().await;
    world.until_entry("receiver", "journal_damaged").await;
    world.until_entry("gateway", "peer_contradiction").await;
    let now = std::fs::read_to_string(&file).unwrap();
    assert!(now.starts_with(&changed), "the evidence stays as it is");
    let martin = world.operator("13-1").await;
    let claims = martin.claims(&["cam-001"], 60);
    assert_eq!(martin.refused(&claims).await, Reason::JournalWentBack);
    until("the gateway's grants end", || {
        let ends = world.entries("gateway", "ended");
        ends.iter().any(|end| end["reason"] == "journal_went_back")
    })
    .await;

    world.accept(CENTRE).await;
    let martin = world.operator("13-1").await;
    martin.granted(&["cam-001"]).await;
    world.stop().await;
}
