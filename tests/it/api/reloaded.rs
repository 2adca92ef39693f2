//! A reload takes addresses and certificates, or says that it can't and keeps all as it was.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use fanal::certs::trial::Trial;
use fanal::clock::Clock;
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::site::{Site, call, within};

/// Servers' certificates of one authority, by file name.
struct Servers {
    roots: RootCertStore,
}

impl Servers {
    /// Writes `NAME.pem` and `NAME.key` beside the settings for each name.
    fn put(site: &Site, names: &[&str]) -> Self {
        let trial = Trial::new(Clock::system().now().wall).unwrap();
        for name in names {
            let identity = trial.machine("localhost").unwrap();
            site.put(&format!("{name}.pem"), identity.certificate.as_bytes());
            site.put(&format!("{name}.key"), identity.key.expose().as_bytes());
        }
        let mut roots = RootCertStore::empty();
        let authority = trial.link_authority().as_bytes();
        for certificate in fanal::format::pem::certificates(authority).unwrap() {
            roots.add(certificate).unwrap();
        }
        Self { roots }
    }

    /// A verified connection, and the certificate that the server showed.
    async fn connect(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<(
        tokio_rustls::client::TlsStream<TcpStream>,
        CertificateDer<'static>,
    )> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
        Ok((stream, shown.into_owned()))
    }

    async fn shown(&self, address: SocketAddr) -> CertificateDer<'static> {
        self.connect(address).await.unwrap().1
    }
}

fn certificate(site: &Site, name: &str) -> CertificateDer<'static> {
    let text = std::fs::read(site.path(&format!("{name}.pem"))).unwrap();
    fanal::format::pem::certificates(&text).unwrap().remove(0)
}

/// Replaces lines of receiver.toml.
fn change(site: &Site, changes: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(site.path("receiver.toml")).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from} not in\n{text}");
        text = text.replacen(from, to, 1);
    }
    site.put("receiver.toml", text.as_bytes());
}

/// What the receiver calls itself, so which settings are in force.
async fn name(address: SocketAddr) -> String {
    let answer = call(address, "GET", "/api/v1/time", &[], "").await;
    answer.json["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn certificates_of_console_and_rtsps_are_taken_at_the_next_handshake() {
    let mut site = Site::start().await;
    let servers = Servers::put(&site, &["old", "new", "rtsp"]);
    let console = site.addresses.console;
    // From plain HTTP to TLS on the same address.
    site.set_console("certificate = \"old.pem\"\nkey = \"old.key\"");
    let rtsps = "tls_listen = \"127.0.0.1:0\"\ncertificate = \"old.pem\"\nkey = \"old.key\"";
    change(&site, &[("[rtsp]", &format!("[rtsp]\n{rtsps}"))]);
    site.reload().await;
    let rtsps = site.control.shared().addresses.rtsps.unwrap();
    let old = certificate(&site, "old");
    assert_eq!(servers.shown(console).await, old);
    assert_eq!(servers.shown(rtsps).await, old);

    // The files are replaced, as at a renewal; a connection that is open goes on.
    let (mut open, _) = servers.connect(rtsps).await.unwrap();
    for end in ["pem", "key"] {
        std::fs::rename(
            site.path(&format!("new.{end}")),
            site.path(&format!("old.{end}")),
        )
        .unwrap();
    }
    let new = certificate(&site, "old");
    assert_ne!(new, old);
    assert_eq!(servers.shown(console).await, old, "not before the reload");
    site.reload().await;
    assert_eq!(servers.shown(console).await, new);
    assert_eq!(servers.shown(rtsps).await, new);
    open.write_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 12];
    open.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"RTSP/1.0 200");

    // A third certificate, and an address that is taken: neither is.
    for end in ["pem", "key"] {
        let (from, to) = (format!("rtsp.{end}"), format!("old.{end}"));
        std::fs::rename(site.path(&from), site.path(&to)).unwrap();
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    change(
        &site,
        &[(
            "tls_listen = \"127.0.0.1:0\"",
            &format!("tls_listen = \"{address}\""),
        )],
    );
    let error = site.try_reload().await.unwrap_err();
    assert!(
        error.contains("RTSPS") && error.contains(&address),
        "{error}"
    );
    assert_eq!(servers.shown(console).await, new);
    assert_eq!(servers.shown(rtsps).await, new);
    let ready = site.ready().await;
    assert!(
        ready.contains(&address) && ready.contains("\"warning\""),
        "{ready}"
    );
    // A key of another certificate is refused before that.
    site.put("old.key", b"none");
    let errors = fanal::config::load_receiver(&site.path("receiver.toml")).unwrap_err();
    assert!(errors.to_string().contains("old.key"), "{errors}");
    site.stop().await;
}

/// Waits until nobody takes connections there.
async fn closed(address: SocketAddr) {
    let closed = async { while TcpStream::connect(address).await.is_ok() {} };
    within(&format!("{address} closed"), closed).await;
}

#[tokio::test]
async fn every_address_moves_where_the_new_one_can_be_bound() {
    let mut site = Site::start().await;
    let gateway = site.gateway().await;
    let old = site.addresses.clone();
    let taken = TcpListener::bind("127.0.0.2:0").unwrap();
    let rtsp = taken.local_addr().unwrap();
    let text = |address: SocketAddr| format!("\"{address}\"");
    let any = "\"127.0.0.2:0\"";
    site.set_console("");
    change(
        &site,
        &[
            (&text(old.console), any),
            (&text(old.rtsp.unwrap()), &text(rtsp)),
            (&text(old.metrics), any),
            (&text(old.link[0]), any),
            ("name = \"CORG 13\"", "name = \"Moved\""),
        ],
    );
    // One of them is taken: none moves.
    let error = site.try_reload().await.unwrap_err();
    assert!(
        error.contains("RTSP") && error.contains(&rtsp.to_string()),
        "{error}"
    );
    assert_eq!(name(old.console).await, "CORG 13");
    assert_eq!(site.control.shared().addresses, old);
    drop(taken);

    site.reload().await;
    let new = site.control.shared().addresses.clone();
    let (console, metrics, link) = (new.console, new.metrics, new.link[0]);
    assert_eq!(new.rtsp, Some(rtsp));
    assert_eq!(name(console).await, "Moved");
    for address in [old.console, old.rtsp.unwrap(), old.metrics, old.link[0]] {
        closed(address).await;
    }
    for open in [console, rtsp, metrics, link] {
        TcpStream::connect(open).await.unwrap();
    }
    // The link that was there goes on; a new one comes in by the new address.
    site.addresses.console = console;
    site.addresses.metrics = metrics;
    let operator = site.operator("4711", "CORG 13");
    let communes = site.get(&operator, "/communes").await;
    assert_eq!(communes.json[0]["online"], true);
    drop(gateway);
    site.addresses.link = vec![link];
    drop(site.gateway().await);
    site.stop().await;
}

#[tokio::test]
async fn behind_a_proxy_with_tls_the_page_s_origin_has_its_scheme() {
    let mut site = Site::start().await;
    let own = format!("https://{}", site.addresses.console);
    let write = async |site: &Site, origin: &str| {
        let headers = [("origin", origin)];
        site.raw("DELETE", "/grants/x", &headers, "").await.status
    };
    assert_eq!(write(&site, &own).await, 403);
    site.set_console("plain = true");
    site.reload().await;
    assert_ne!(write(&site, &own).await, 403);
    assert_eq!(write(&site, "https://evil.example").await, 403);
    site.stop().await;
}

#[tokio::test]
async fn what_no_reload_can_take_is_named_and_leaves_no_trace() {
    let mut site = Site::start().await;
    site.set_console("");
    change(
        &site,
        &[
            ("state_dir = \"receiver\"", "state_dir = \"other\""),
            ("name = \"CORG 13\"", "name = \"Other\""),
        ],
    );
    let error = site.try_reload().await.unwrap_err();
    assert!(
        error.contains("state_dir") && error.contains("restart"),
        "{error}"
    );
    assert!(!site.path("other").exists());
    assert_eq!(name(site.addresses.console).await, "CORG 13");
    site.stop().await;
    let reloaded = site.entries("reloaded");
    assert!(reloaded[0]["error"].as_str().unwrap().contains("state_dir"));
}
