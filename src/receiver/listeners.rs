//! Where operators, players and Prometheus come in: bound at the start, and exchanged by a reload
//! that changes an address or a certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::settings::{self, ServerTls};
use crate::connect::listen::{Change, Listener};
use crate::http;

/// All but those of the links.
#[derive(Clone, Debug)]
pub(super) struct Listeners {
    /// Console and API.
    pub(super) console: Listener,
    /// Metrics and health.
    pub(super) metrics: Listener,
    /// Clear RTSP.
    pub(super) rtsp: Listener,
    /// RTSPS.
    pub(super) rtsps: Listener,
    /// Whether RTP goes over UDP where a player asks for it.
    pub(super) udp: Arc<AtomicBool>,
}

/// What new settings change: see [`Listeners::prepare`].
#[derive(Debug)]
pub(super) struct Changes {
    console: Change,
    metrics: Change,
    rtsp: Change,
    rtsps: Change,
    udp: bool,
}

impl Listeners {
    /// Reads certificates and binds what the settings name.
    ///
    /// # Errors
    /// An address is taken or not of this machine, or a certificate can't be used.
    pub(super) fn bind(settings: &settings::Receiver) -> Result<Self, String> {
        let listeners = Self {
            console: Listener::closed(),
            metrics: Listener::closed(),
            rtsp: Listener::closed(),
            rtsps: Listener::closed(),
            udp: Arc::default(),
        };
        listeners.apply(listeners.prepare(settings)?);
        Ok(listeners)
    }

    /// Reads certificates and binds what is new, and changes nothing. Blocks.
    ///
    /// # Errors
    /// As [`Listeners::bind`].
    pub(super) fn prepare(&self, settings: &settings::Receiver) -> Result<Changes, String> {
        let (console, rtsp) = (&settings.console, &settings.rtsp);
        let rtsps = rtsp.tls_listen.filter(|_| rtsp.tls.is_some());
        let prepare =
            |listener: &Listener, what, address, tls: Option<&ServerTls>, alpn: &[&str]| {
                let tls = tls.map(|tls| http::tls_config(&tls.certificate, &tls.key, alpn));
                let change = listener.prepare(address, tls.transpose()?);
                change.map_err(|error| {
                    let address = address.map(|address: SocketAddr| address.to_string());
                    let address = address.unwrap_or_default();
                    format!("can't listen for {what} on {address}: {error}")
                })
            };
        let web = ["http/1.1"];
        Ok(Changes {
            console: prepare(
                &self.console,
                "the console",
                Some(console.listen),
                console.tls.as_ref(),
                &web,
            )?,
            metrics: prepare(&self.metrics, "metrics", Some(settings.metrics), None, &[])?,
            rtsp: prepare(&self.rtsp, "RTSP", rtsp.listen, None, &[])?,
            rtsps: prepare(&self.rtsps, "RTSPS", rtsps, rtsp.tls.as_ref(), &[])?,
            udp: rtsp.udp,
        })
    }

    /// New connections come in as these changes say; those that are open go on.
    pub(super) fn apply(&self, changes: Changes) {
        self.console.apply(changes.console);
        self.metrics.apply(changes.metrics);
        self.rtsp.apply(changes.rtsp);
        self.rtsps.apply(changes.rtsps);
        self.udp.store(changes.udp, Ordering::Relaxed);
    }
}
