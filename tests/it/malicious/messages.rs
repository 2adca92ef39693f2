//! What it does to the link itself.

use futures_util::FutureExt;

use fanal::format::control::{ReceiverHello, RelayState, ToGateway, ToReceiver};
use fanal::format::statement::{VIEWINGS_TYPE, ViewingsClaims};
use fanal::gateway::socket;
use fanal::reason::Reason;

use crate::malice::{START, Stage, of_kind};

fn framed(text: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text);
    bytes
}

#[tokio::test]
async fn what_is_no_message_ends_the_link() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let too_long: u32 = 1024 * 1024 + 1;
    let nested = ["[".repeat(100_000), "]".repeat(100_000)].concat();
    let bytes = [
        too_long.to_be_bytes().to_vec(),
        u32::MAX.to_be_bytes().to_vec(),
        framed(b"not json"),
        framed(b"null"),
        framed(b"[]"),
        framed(b"{}"),
        framed(br#"{"type":"request"}"#),
        framed(br#"{"type":"request","id":-1,"request":""}"#),
        framed(br#"{"type":"request","id":1,"request":["a"]}"#),
        framed(br#"{"type":"release","grant":"all","by":"x"}"#),
        framed(br#"{"type":"focus","relays":[4294967296]}"#),
        framed(b"{\"type\":\"release\",\"by\":\"\xff\"}"),
        framed(format!(r#"{{"type":"heads","head":{nested}}}"#).as_bytes()),
        framed(format!(r#"{{"type":"marvel","x":{nested}}}"#).as_bytes()),
    ];
    for (number, bytes) in bytes.iter().enumerate() {
        receiver.write(bytes).await;
        let closed = receiver.closed().await;
        assert_eq!(closed, Some(Reason::ProtocolError), "{number}");
        // A reload dials at once what would else be dialled a little later.
        stage.reload().await;
        receiver.link().await;
    }
    stage.nothing_but_witness(&mut receiver).await;
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "grant").len(), 1);
}

#[tokio::test]
async fn what_the_gateway_does_not_know_it_passes_over() {
    let (mut stage, mut receiver) = Stage::linked().await;
    for text in [
        r#"{"type":"open_camera","camera":"quai-nord"}"#,
        r#"{"type":"start_relay","relay":7,"camera":"quai-nord","profile":"main"}"#,
        r#"{"type":"granted","id":1,"proof":"x","relays":{"quai-nord":7}}"#,
        r#"{"type":"resume","request":"x","proof":"x","relays":{"quai-nord":7}}"#,
        r#"{"type":"settings","agreement":{"cameras":["*"]}}"#,
        r#"{"type":"key_frame","relay":7,"camera":"quai-nord"}"#,
        r#"{"type":"time","echo":1,"grant":"all"}"#,
    ] {
        receiver.say_text(text).await;
    }
    // Empty messages carry nothing.
    receiver.write(&[0; 4_000]).await;
    let refused = r#"{"type":"request","id":900,"request":"x","granted":true,"operator":{"number":"13-1"},"cameras":["quai-nord"]}"#;
    receiver.say_text(refused).await;
    let answer = receiver.answer(900).await;
    assert_eq!(answer.reason(), Some(Reason::MalformedRequest));
    // A message begun and not ended holds nobody up but itself.
    stage.nothing_but_witness(&mut receiver).await;
    receiver.write(&[0, 0, 1, 0, b'{']).await;
    let relay = *receiver.media().groups.keys().next().unwrap();
    receiver.until_more_groups(relay, 2).await;
    let journal = stage.stop().await;
    assert_eq!(of_kind(&journal, "grant").len(), 1);
}

/// Messages that cost the gateway something, without end: everybody else is
/// served all the same.
#[tokio::test]
async fn its_noise_holds_up_nobody() {
    let (mut stage, mut receiver, mut second) = Stage::linked_both().await;
    let viewings = ViewingsClaims {
        iss: "corg-13".parse().unwrap(),
        aud: "berre-l-etang".parse().unwrap(),
        grant: fanal::format::ids::GrantId(uuid::Uuid::from_u128(7)),
        iat: START.seconds(),
        part: None,
        parts: None,
        total: None,
        viewings: Vec::new(),
        received: Vec::new(),
        counted_since: None,
        journal: None,
    };
    let hello = |head: String| ReceiverHello {
        minor: 0,
        version: "1".to_owned(),
        wall: 0,
        name: "CORG 13".to_owned(),
        head: Some(head),
    };
    let _noise = receiver.make_noise(&[
        ToGateway::Viewings {
            statement: receiver.signer.sign(VIEWINGS_TYPE, &viewings),
        },
        ToGateway::Hello(hello(second.next_head(START.seconds()))),
        ToGateway::Revocation {
            list: stage.trial.link_list().to_owned(),
        },
        ToGateway::Request {
            id: 1,
            request: "x".repeat(2_000),
        },
    ]);
    let operator = stage.other_operator("84-1");
    let request = operator.sign(&stage.other_claims(&["plage"]));
    let granted = second.granted(&request).await;
    second.confirm(&granted, &request).await;
    let relay = granted.relay("plage");
    second.until_more_groups(relay, 3).await;
    let live = |message: &ToReceiver| match message {
        ToReceiver::Relay {
            relay: of, state, ..
        } => (of.0 == relay && *state == RelayState::Live).then_some(()),
        _ => None,
    };
    second.hear("that the camera is live", live).await;
    stage.reload().await;
    let cut = socket::Request::Cut {
        scope: "centre:corg-84".to_owned(),
        block: 60,
    };
    stage.local(cut).await;
    let ended = second.ended(granted.id()).await;
    assert_eq!(ended.reason, Reason::GrantCut);
    let looked = stage.metrics().requests_total.with_label_values(&[
        "corg-13",
        "refused",
        "too_many_attempts",
    ]);
    assert!(looked.get() > 0, "there was noise");
    let journal = stage.stop().await;
    assert!(of_kind(&journal, "viewings").is_empty());
}

#[tokio::test]
async fn it_has_the_one_stream_that_the_gateway_opened() {
    let (mut stage, mut receiver) = Stage::linked().await;
    let connection = receiver.connection();
    // How many it may open was settled with the handshake: none.
    assert!(connection.open_uni().now_or_never().is_none());
    assert!(connection.open_bi().now_or_never().is_none());
    // Datagrams are probes of one byte, and nobody reads them.
    assert!(
        connection
            .max_datagram_size()
            .is_some_and(|most| most < 256)
    );
    // Without its control stream a link is none.
    receiver.reset_control();
    assert_eq!(receiver.closed().await, Some(Reason::ProtocolError));
    stage.reload().await;
    receiver.link().await;
    receiver.stop_control().await;
    // Whatever the gateway says next finds the stream stopped: an answer, say.
    receiver
        .say(&ToGateway::Time {
            echo: 1,
            wall: None,
        })
        .await;
    assert_eq!(receiver.closed().await, Some(Reason::ProtocolError));
    stage.reload().await;
    receiver.link().await;
    stage.nothing_but_witness(&mut receiver).await;
    stage.stop().await;
}
