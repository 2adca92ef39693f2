//! Which key exchange a QUIC handshake agreed on. rustls knows; quinn keeps it to itself but for a
//! private feature. Each group notes that it was completed, and the session that just read a
//! message takes the note: key exchange and reading are one call on one thread.

use std::any::Any;
use std::cell::Cell;
use std::sync::{Arc, LazyLock};

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::crypto::{
    self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion,
};
use quinn::{ConnectError, ConnectionId, Side};
use quinn_proto::TransportError;
use quinn_proto::transport_parameters::TransportParameters;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::ffdhe_groups::FfdheGroup;
use rustls::{Error, NamedGroup, ProtocolVersion};

thread_local! {
    /// The group of the key exchange that this thread completed last, until a session takes it.
    static AGREED: Cell<Option<NamedGroup>> = const { Cell::new(None) };
}

/// The groups of aws-lc-rs, the hybrid post-quantum one first.
pub(super) fn groups() -> Vec<&'static dyn SupportedKxGroup> {
    static GROUPS: LazyLock<Vec<Group>> = LazyLock::new(|| {
        let groups = rustls::crypto::aws_lc_rs::default_provider().kx_groups;
        groups.into_iter().map(Group).collect()
    });
    let groups = GROUPS.iter();
    groups.map(|group| group as &dyn SupportedKxGroup).collect()
}

/// A group that notes its use.
#[derive(Debug)]
struct Group(&'static dyn SupportedKxGroup);

impl SupportedKxGroup for Group {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        Ok(Box::new(Exchange(self.0.start()?)))
    }

    fn start_and_complete(&self, peer_pub_key: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let completed = self.0.start_and_complete(peer_pub_key)?;
        AGREED.set(Some(completed.group));
        Ok(completed)
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn name(&self) -> NamedGroup {
        self.0.name()
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        self.0.usable_for_version(version)
    }
}

/// A client's half of an exchange.
struct Exchange(Box<dyn ActiveKeyExchange>);

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer_pub_key: &[u8]) -> Result<SharedSecret, Error> {
        let group = self.0.group();
        let secret = self.0.complete(peer_pub_key)?;
        AGREED.set(Some(group));
        Ok(secret)
    }

    fn hybrid_component(&self) -> Option<(NamedGroup, &[u8])> {
        self.0.hybrid_component()
    }

    fn complete_hybrid_component(
        self: Box<Self>,
        peer_pub_key: &[u8],
    ) -> Result<SharedSecret, Error> {
        let group = self.0.hybrid_component().map(|(group, _)| group);
        let secret = self.0.complete_hybrid_component(peer_pub_key)?;
        AGREED.set(group);
        Ok(secret)
    }

    fn pub_key(&self) -> &[u8] {
        self.0.pub_key()
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        self.0.ffdhe_group()
    }

    fn group(&self) -> NamedGroup {
        self.0.group()
    }
}

/// A handshake's key exchange: the handshake data of links' connections in quinn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Agreed(pub(super) NamedGroup);

/// quinn's TLS session, which remembers its key exchange.
struct Session {
    inner: Box<dyn crypto::Session>,
    agreed: Option<NamedGroup>,
}

impl Session {
    fn over(inner: Box<dyn crypto::Session>) -> Box<dyn crypto::Session> {
        let agreed = None;
        Box::new(Self { inner, agreed })
    }
}

impl crypto::Session for Session {
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        let agreed = self.agreed.map(Agreed);
        agreed.map(|agreed| Box::new(agreed) as Box<dyn Any>)
    }

    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        AGREED.set(None);
        let result = self.inner.read_handshake(buf);
        self.agreed = AGREED.take().or(self.agreed);
        result
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.inner.initial_keys(dst_cid, side)
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.inner.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.inner.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.inner.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.inner.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.inner.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.inner.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.inner.next_1rtt_keys()
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.inner.is_valid_retry(orig_dst_cid, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.inner.export_keying_material(output, label, context)
    }
}

/// quinn's client with sessions that remember their key exchange.
pub(super) struct Client(Arc<QuicClientConfig>);

impl Client {
    pub(super) fn new(config: &Arc<rustls::ClientConfig>) -> Result<Self, NoInitialCipherSuite> {
        QuicClientConfig::try_from(Arc::clone(config)).map(|config| Self(Arc::new(config)))
    }
}

impl crypto::ClientConfig for Client {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        let inner = Arc::clone(&self.0);
        inner
            .start_session(version, server_name, params)
            .map(Session::over)
    }
}

/// quinn's server with sessions that remember their key exchange.
pub(super) struct Server(Arc<QuicServerConfig>);

impl Server {
    pub(super) fn new(config: &Arc<rustls::ServerConfig>) -> Result<Self, NoInitialCipherSuite> {
        QuicServerConfig::try_from(Arc::clone(config)).map(|config| Self(Arc::new(config)))
    }
}

impl crypto::ServerConfig for Server {
    fn initial_keys(
        &self,
        version: u32,
        dst_cid: &ConnectionId,
    ) -> Result<Keys, UnsupportedVersion> {
        self.0.initial_keys(version, dst_cid)
    }

    fn retry_tag(&self, version: u32, orig_dst_cid: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.0.retry_tag(version, orig_dst_cid, packet)
    }

    fn start_session(
        self: Arc<Self>,
        version: u32,
        params: &TransportParameters,
    ) -> Box<dyn crypto::Session> {
        Session::over(Arc::clone(&self.0).start_session(version, params))
    }
}
