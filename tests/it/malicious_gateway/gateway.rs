//! The gateway that may do anything: a raw link with its commune's certificate.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use fanal::config::settings;
use fanal::format::control::{ToGateway, ToReceiver};
use fanal::format::ids::{CameraId, CentreId, CommuneId, GrantId, Sha256};
use fanal::format::jws::Signer;
use fanal::format::statement::{GRANT_TYPE, GrantClaims, HEAD_TYPE, HeadClaims, RequestClaims};
use fanal::link::tls;
use fanal::link::transport::Transport;
use fanal::media::relay::{Profile, RelayId};
use fanal::media::unit::{AccessUnit, Configuration, Group};
use fanal::media::wire::{GroupHeader, UnitHeader};
use fanal::pki::Kept;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::api::site::{CENTRE, Site, configuration, hello, info, within};
use crate::link::world::{RawClient, RawLink, write_all};

pub(super) struct Gateway {
    pub(super) commune: CommuneId,
    pub(super) signer: Signer,
    client: RawClient,
    link: Option<RawLink>,
    next_relay: u32,
    relays: BTreeMap<CameraId, RelayId>,
    seconds: i64,
}

impl Gateway {
    pub(super) fn new(site: &Site, commune: &str) -> Self {
        let file = |end: &str| site.path(&format!("{commune}.{end}"));
        let read = |end: &str| std::fs::read_to_string(file(end)).unwrap();
        let own = settings::Tls {
            certificate: file("pem"),
            key: file("key"),
            authority: site.path("link-ca.pem"),
            revoked: Vec::new(),
        };
        let kept = Kept::writing(&site.path("gateway"));
        let end = tls::client(&own, CENTRE, &kept, site.source()).unwrap();
        Self {
            commune: CommuneId::new(commune).unwrap(),
            signer: Signer::from_pem(&read("key"), &read("pem")).unwrap(),
            client: RawClient::new(&end),
            link: None,
            next_relay: 1,
            relays: BTreeMap::new(),
            seconds: site.clock.now().wall.seconds(),
        }
    }

    /// Links, and introduces itself as an honest one does.
    pub(super) async fn link(&mut self, site: &Site) {
        self.link = None;
        let address = site.addresses.link[0];
        let link = within("a link", self.client.link(Transport::Quic, address)).await;
        self.link = Some(link);
        self.say(&ToReceiver::Hello(hello())).await;
        let cameras = vec![info("port", [43.47, 5.17]), info("quai", [43.48, 5.18])];
        self.say(&ToReceiver::Cameras {
            page: 0,
            pages: 1,
            cameras,
        })
        .await;
    }

    pub(super) fn current(&mut self) -> &mut RawLink {
        self.link.as_mut().expect("a link")
    }

    pub(super) async fn say(&mut self, message: &ToReceiver) {
        let message = serde_json::to_value(message).unwrap();
        self.lie(&message).await;
    }

    /// Says this, whatever it is.
    pub(super) async fn lie(&mut self, message: &Value) {
        self.current().say(&message.to_string()).await;
    }

    /// Says these again and again, as fast as they are taken, for as long as what is given
    /// back lives.
    pub(super) fn make_noise(&mut self, messages: &[Value]) -> JoinSet<()> {
        let mut bytes = Vec::new();
        for message in messages {
            let text = message.to_string();
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        let RawLink {
            connection,
            mut send,
            receive,
        } = self.link.take().expect("a link");
        let mut noise = JoinSet::new();
        noise.spawn(async move {
            let _link = (connection, receive);
            while write_all(&mut send, &bytes).await.is_ok() {}
        });
        noise
    }

    /// The next message that fits.
    pub(super) async fn next<T>(
        &mut self,
        what: &str,
        fits: impl Fn(&ToGateway) -> Option<T>,
    ) -> T {
        within(what, async {
            loop {
                let text = self.current().hear().await;
                if let Some(found) = fits(&serde_json::from_str(&text).unwrap()) {
                    return found;
                }
            }
        })
        .await
    }

    /// The next request, and its number.
    pub(super) async fn request(&mut self) -> (u64, String) {
        self.next("a request", |message| match message {
            ToGateway::Request { id, request } => Some((*id, request.clone())),
            _ => None,
        })
        .await
    }

    /// Waits until the centre gives this grant back.
    pub(super) async fn released(&mut self, wanted: GrantId) {
        self.next("a release", |message| match message {
            ToGateway::Release { grant, .. } if *grant == wanted => Some(()),
            _ => None,
        })
        .await;
    }

    /// Waits until the centre says that this grant is recorded.
    pub(super) async fn confirmed(&mut self, wanted: GrantId) {
        self.next("a confirmation", |message| match message {
            ToGateway::Confirm { grant, .. } if *grant == wanted => Some(()),
            _ => None,
        })
        .await;
    }

    pub(super) fn head(&self) -> String {
        let claims = HeadClaims {
            iss: self.commune.to_string(),
            journal: "0".repeat(32),
            seq: 1,
            link: Sha256::ZERO,
            iat: self.seconds,
        };
        self.signer.sign(HEAD_TYPE, &claims)
    }

    pub(super) fn proof(&self, grant: GrantId, request: &str, claims: &RequestClaims) -> String {
        let claims = GrantClaims {
            iss: self.commune.clone(),
            aud: CentreId::new(CENTRE).unwrap(),
            grant,
            request: Sha256::of(request.as_bytes()),
            granted: claims.cameras.clone(),
            refused: Vec::new(),
            start: self.seconds,
            expires: self.seconds + i64::from(claims.duration),
            head: self.head(),
        };
        self.signer.sign(GRANT_TYPE, &claims)
    }

    /// A number for each camera.
    fn numbered(&mut self, cameras: &[CameraId]) -> BTreeMap<CameraId, RelayId> {
        for camera in cameras {
            self.next_relay += 1;
            self.relays.insert(camera.clone(), RelayId(self.next_relay));
        }
        self.relays.clone()
    }

    /// The number under which a camera travels.
    pub(super) fn relay(&self, camera: &str) -> RelayId {
        self.relays[&CameraId::new(camera).unwrap()]
    }

    /// The answer to a request: it is granted.
    pub(super) async fn say_granted(
        &mut self,
        (id, request): (u64, &str),
        grant: GrantId,
        claims: &RequestClaims,
    ) {
        let relays = self.numbered(&claims.cameras);
        let proof = self.proof(grant, request, claims);
        self.say(&ToReceiver::Granted { id, proof, relays }).await;
    }

    /// Grants the next request.
    pub(super) async fn grant(&mut self, grant: GrantId, claims: &RequestClaims) {
        let (id, request) = self.request().await;
        self.say_granted((id, &request), grant, claims).await;
    }

    /// Says that a grant goes on.
    pub(super) async fn resume(&mut self, request: &str, grant: GrantId, claims: &RequestClaims) {
        let relays = self.numbered(&claims.cameras);
        let proof = self.proof(grant, request, claims);
        let request = request.to_owned();
        self.say(&ToReceiver::Resume {
            request,
            proof,
            relays,
        })
        .await;
    }

    /// Waits until the centre has taken all that was said before: it answers nothing out of
    /// order, and a grant that ended is given back.
    pub(super) async fn is_heard(&mut self, ended: (&str, GrantId, &RequestClaims)) {
        let (request, grant, claims) = ended;
        self.resume(request, grant, claims).await;
        self.released(grant).await;
    }

    /// A group of pictures on a stream of its own.
    pub(super) async fn group(&mut self, relay: RelayId, number: u64) -> Stream {
        self.group_of(relay, number, configuration(640)).await
    }

    /// The same with this configuration.
    pub(super) async fn group_of(
        &mut self,
        relay: RelayId,
        number: u64,
        configuration: Arc<Configuration>,
    ) -> Stream {
        let group = Group {
            number,
            epoch: 1,
            first_of_epoch: false,
            open: false,
            kept: false,
            profile: Profile::Main,
            configuration,
        };
        let group = Arc::new(group);
        let mut stream = self.stream().await;
        stream.write(&GroupHeader { relay, group }.encode()).await;
        stream
    }

    /// A stream without a byte.
    pub(super) async fn stream(&mut self) -> Stream {
        let opened = self.current().connection.open_uni();
        Stream(within("a stream", opened).await.unwrap())
    }
}

/// A stream of pictures, written byte by byte.
pub(super) struct Stream(quinn::SendStream);

impl Stream {
    /// Writes as much as is taken; the centre may stop it.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let _ = within("a write", self.0.write_chunk(bytes)).await;
    }

    pub(super) async fn send(&mut self, unit: &AccessUnit) {
        self.write(&UnitHeader::encode(unit, false)).await;
        self.write(&unit.data).await;
    }

    /// The code with which the centre stopped it.
    pub(super) async fn stopped(&self) -> u64 {
        let code = within("a stop", self.0.stopped()).await.unwrap();
        code.expect("stopped").into_inner()
    }
}

/// A refusal of a request with this detail.
pub(super) fn refused(id: u64, detail: &str) -> Value {
    json!({ "type": "refused", "id": id, "reason": "commune_refused", "detail": detail })
}
