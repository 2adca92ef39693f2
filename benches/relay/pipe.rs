//! The yardstick: retina → quinn → a reader that throws everything away. No
//! grants, no journal, no queues, no players: what the libraries cost alone.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use futures_util::StreamExt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls;
use quinn::rustls::pki_types::pem::PemObject;
use quinn::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use retina::codec::CodecItem;

use super::pull;

const NAME: &str = "corg-13";

pub(crate) fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

fn transport() -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    transport
        .max_concurrent_uni_streams(4096_u32.into())
        .stream_receive_window((12_u32 * 1024 * 1024).into());
    Arc::new(transport)
}

fn socket() -> anyhow::Result<std::net::UdpSocket> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(4 * 1024 * 1024)?;
    options.set_send_buffer_size(4 * 1024 * 1024)?;
    Ok(socket)
}

/// Reads everything, and writes the count of bytes into `bytes`.
pub(crate) fn receive(directory: &Path) -> anyhow::Result<()> {
    block_on(async {
        let trial = Trial::new(Clock::system().now().wall)?;
        let identity = trial.machine(NAME)?;
        std::fs::write(directory.join("authority.pem"), trial.link_authority())?;
        let chain = vec![CertificateDer::from_pem_slice(
            identity.certificate.as_bytes(),
        )?];
        let key = PrivateKeyDer::from_pem_slice(identity.key.expose().as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let crypto = QuicServerConfig::try_from(Arc::new(tls))?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport());
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            Some(config),
            socket()?,
            Arc::new(quinn::TokioRuntime),
        )?;
        println!(
            "{} {}",
            endpoint.local_addr()?,
            directory.join("authority.pem").display()
        );
        let connection = endpoint.accept().await.context("no endpoint")?.await?;
        let bytes = Arc::new(AtomicU64::new(0));
        let mut streams = tokio::task::JoinSet::new();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                stream = connection.accept_uni() => {
                    let (mut stream, bytes) = (stream?, Arc::clone(&bytes));
                    streams.spawn(async move {
                        let mut chunks = [const { Bytes::new() }; 32];
                        while let Ok(Some(count)) = stream.read_chunks(&mut chunks).await {
                            let read: usize = chunks[..count].iter().map(Bytes::len).sum();
                            bytes.fetch_add(read as u64, Ordering::Relaxed);
                        }
                    });
                }
                Some(_) = streams.join_next() => {}
                _ = tick.tick() => {
                    let now = bytes.load(Ordering::Relaxed).to_string();
                    std::fs::write(directory.join("new"), now)?;
                    std::fs::rename(directory.join("new"), directory.join("bytes"))?;
                }
            }
        }
    })
}

/// Sends all cameras of the list to `address`, whose authority is behind it.
pub(crate) fn send(list: &Path, address: &str) -> anyhow::Result<()> {
    let list = std::fs::read_to_string(list)?;
    let (address, authority) = address.split_once(' ').context("address and authority")?;
    let address = address.parse()?;
    block_on(async {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(authority)?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut config =
            quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(Arc::new(tls))?));
        config.transport_config(transport());
        let endpoint = quinn::Endpoint::new(
            quinn::EndpointConfig::default(),
            None,
            socket()?,
            Arc::new(quinn::TokioRuntime),
        )?;
        let connection = endpoint.connect_with(config, address, NAME)?.await?;
        let mut cameras = tokio::task::JoinSet::new();
        for url in list.lines() {
            cameras.spawn(camera(url.to_owned(), connection.clone()));
        }
        while let Some(ended) = cameras.join_next().await {
            ended??;
        }
        Ok(())
    })
}

async fn camera(url: String, connection: quinn::Connection) -> anyhow::Result<()> {
    let mut session = pull::open(&url).await?;
    let mut stream: Option<quinn::SendStream> = None;
    while let Some(item) = session.next().await {
        let CodecItem::VideoFrame(frame) = item? else {
            continue;
        };
        if frame.is_random_access_point() {
            stream = Some(connection.open_uni().await?);
        }
        let Some(stream) = &mut stream else {
            continue;
        };
        let data = Bytes::from(frame.into_data());
        let length = Bytes::copy_from_slice(&(data.len() as u32).to_be_bytes());
        stream.write_all_chunks(&mut [length, data]).await?;
    }
    Ok(())
}
