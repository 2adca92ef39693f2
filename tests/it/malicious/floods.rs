//! Floods beside requests: stills of a grant that lives, and datagrams.

use bytes::Bytes;
use fanal::format::control::{SnapshotAsked, ToGateway, ToReceiver};
use fanal::format::ids::{CameraId, SnapshotId};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::malice::{Stage, of_kind};

#[tokio::test]
async fn its_stills_and_datagrams_are_bounded_and_harm_nobody() {
    let mut stage = Stage::new().await;
    let (mut receiver, mut second) = (stage.receiver("corg-13"), stage.receiver("corg-84"));
    let allows = stage.agreement(&receiver) + "snapshots = true\n";
    stage.write_settings(&(allows + &stage.other_agreement(&second)));
    stage.start().await;
    receiver.link().await;
    second.link().await;
    let operator = stage.operator("13-1");
    let request = operator.sign(&stage.claims(&["quai-nord"]));
    let granted = receiver.granted(&request).await;
    receiver.confirm(&granted, &request).await;
    let still = |camera: &str, captured: i64| {
        ToGateway::Snapshot(SnapshotAsked {
            snapshot: SnapshotId(Uuid::now_v7()),
            grant: granted.id(),
            camera: CameraId::new(camera).unwrap(),
            captured,
            sha256: None,
        })
    };
    let now = stage.clock.now().wall.0;
    let connection = receiver.connection();
    let most = connection.max_datagram_size().unwrap();
    let mut noise = JoinSet::new();
    noise.spawn(async move {
        let datagram = Bytes::from(vec![7; most / 2]);
        while connection
            .send_datagram_wait(datagram.clone())
            .await
            .is_ok()
        {}
    });
    for _ in 0..500 {
        for (camera, captured) in [
            ("quai-nord", now),
            ("mairie", now),
            ("quai-nord", i64::MIN),
            ("quai-nord", i64::MAX),
        ] {
            receiver.say(&still(camera, captured)).await;
        }
    }
    // The other centre is served all the while.
    let operator = stage.other_operator("84-1");
    let request = operator.sign(&stage.other_claims(&["plage"]));
    let other = second.granted(&request).await;
    second.confirm(&other, &request).await;
    second.until_more_groups(other.relay("plage"), 3).await;
    let refused = |message: &ToReceiver| match message {
        ToReceiver::SnapshotRefused { refusal, .. } => {
            (refusal.reason == fanal::reason::Reason::TooManyAttempts).then_some(())
        }
        _ => None,
    };
    receiver
        .hear("that there are too many stills", refused)
        .await;
    assert!(noise.try_join_next().is_none(), "the link ended: no flood");
    drop(noise);
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "snapshot").len(), 10, "those of a minute");
}
