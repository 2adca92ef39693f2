//! A reload: all is read and bound beside the brain's work, then taken whole or not at all.

use std::path::Path;
use std::sync::Arc;

use super::{Brain, ReloadReply};
use crate::config::{self, Disk, Loaded, settings};
use crate::connect::listen::{Change, Listener};
use crate::format::ids::Sha256;
use crate::format::jws::Signer;
use crate::gateway::frames::Order;
use crate::gateway::rules;
use crate::http;
use crate::journal::entry::Entry;
use crate::link::dial::{self, Dialer};
use crate::pki;
use crate::policy::gate::Rulebook;

/// New settings that were read and checked.
pub(super) struct Fetched {
    loaded: Loaded<Arc<settings::Gateway>>,
    rules: Rulebook,
    link: dial::Read,
    metrics: Change,
    page: Option<Change>,
    signer: Arc<Signer>,
}

/// New settings, or why the file is refused, and its hash.
pub(super) type Reread = Result<Box<Fetched>, (String, Sha256)>;

impl Brain {
    /// Reads the settings again, beside the brain's work.
    pub(super) fn reload(&mut self, reply: ReloadReply) {
        let file = self.parts.loaded.file.clone();
        let old = Arc::clone(&self.parts.loaded.settings);
        let (dialer, listener) = (self.parts.dialer.clone(), self.parts.listener.clone());
        let page = self.parts.page_listener.clone();
        self.reading.spawn_blocking(move || {
            let read = fetch(&file, &old, &dialer, &listener, page.as_ref());
            // The hash of a file that is refused is written down.
            let read = read.map_err(|cause| {
                let bytes = std::fs::read(&file);
                let hash = bytes.map_or(Sha256::ZERO, |bytes| Sha256::of(&bytes));
                (cause, hash)
            });
            (read, reply)
        });
    }

    pub(super) async fn reloaded(&mut self, read: Reread, reply: ReloadReply) {
        let (result, hash) = match read {
            Ok(fetched) => {
                let hash = fetched.loaded.hash;
                self.apply(*fetched).await;
                (Ok(()), hash)
            }
            Err((cause, hash)) => (Err(cause), hash),
        };
        let metrics = &self.parts.metrics;
        let ok = i64::from(result.is_ok());
        metrics.config_last_reload_successful.set(ok);
        self.reload_error = result.as_ref().err().cloned();
        match &result {
            Ok(()) => tracing::info!("settings reloaded"),
            Err(cause) => {
                tracing::error!(%cause, "settings not reloaded; the old ones stay whole");
                let error: String = cause.chars().take(4_000).collect();
                self.parts.gate.handle_note(Entry::Reloaded {
                    settings: hash,
                    error: Some(error),
                });
            }
        }
        // Nobody may wait for it (SIGHUP).
        let _ = reply.send(result);
    }

    pub(super) async fn apply(&mut self, fetched: Fetched) {
        let Fetched {
            loaded,
            rules,
            link,
            metrics,
            page,
            signer,
        } = fetched;
        self.parts.writer.sign_with(signer);
        self.parts.listener.apply(metrics);
        if let (Some(listener), Some(page)) = (&self.parts.page_listener, page) {
            listener.apply(page);
        }
        let new = &loaded.settings;
        self.parts.metrics.apply(new);
        let centres = new.agreements.iter().map(|one| &one.centre);
        self.parts
            .attest
            .set_centres(centres, self.parts.clock.now());
        let witnessed = !new.witnesses.is_empty();
        self.parts.writer.set_keep(new.keep, witnessed);
        self.parts.gate.handle_note(Entry::Reloaded {
            settings: loaded.hash,
            error: None,
        });
        let now = self.parts.clock.now();
        let shared = self.parts.desk.shared.borrow().next(&rules);
        self.parts.desk.shared.send_replace(Arc::new(shared));
        self.parts.gate.handle_settings(rules, now);
        // Ends act before cameras change, and are told before links end.
        self.carry_out().await;
        self.parts.dialer.apply(link);
        self.parts.witnesses.apply(&loaded.settings.witnesses);
        self.parts.copies.apply(loaded.settings.copies.as_ref());
        self.order(Order::Settings(Arc::clone(&loaded.settings)))
            .await;
        self.parts.notify.apply(loaded.settings.notify.clone());
        self.parts.loaded = loaded;
    }
}

/// Refuses what no reload can take.
fn unchanged(old: &settings::Gateway, new: &settings::Gateway) -> Result<(), String> {
    let fixed = [
        ("commune", old.commune != new.commune),
        ("state_dir", old.state_dir != new.state_dir),
        ("socket", old.socket != new.socket),
        ("socket_group", old.socket_group != new.socket_group),
        ("page", old.page.is_some() != new.page.is_some()),
    ];
    config::unchanged(&fixed, "gateway")
}

/// Reads the file and all that it names, and binds a new address. Where it fails, nothing is
/// changed: what no reload can take is refused before anything is written for it.
fn fetch(
    file: &Path,
    old: &settings::Gateway,
    dialer: &Dialer,
    listener: &Listener,
    page_listener: Option<&Listener>,
) -> Result<Box<Fetched>, String> {
    let said = |errors: config::Errors| errors.to_string();
    let read = config::load_gateway_from(file, &Disk::reading()).map_err(said)?;
    unchanged(old, &read.settings)?;
    // Again, to keep the passwords of URLs.
    let loaded = shared(config::load_gateway(file).map_err(said)?);
    let settings = &loaded.settings;
    unchanged(old, settings)?;
    let link = dialer.read(settings).map_err(|error| error.to_string())?;
    let metrics = listener.prepare(Some(settings.metrics), None);
    let metrics = metrics.map_err(|error| format!("metrics on {}: {error}", settings.metrics))?;
    let page = page_listener.zip(settings.page.as_ref());
    let page = page.map(|(listener, page)| prepare_page(listener, page));
    let page = page.transpose()?;
    let signer = pki::signer(&settings.tls).map_err(|error| error.to_string())?;
    // Last, for it keeps the newest revocation lists.
    let rules = rules::read_all(settings).map_err(|error| error.to_string())?;
    Ok(Box::new(Fetched {
        rules,
        link,
        metrics,
        page,
        signer,
        loaded,
    }))
}

fn prepare_page(listener: &Listener, page: &settings::Page) -> Result<Change, String> {
    let tls = page.tls.as_ref();
    let tls = tls.map(|tls| http::tls_config(&tls.certificate, &tls.key, &["http/1.1"]));
    let change = listener.prepare(Some(page.listen), tls.transpose()?);
    change.map_err(|error| format!("the page on {}: {error}", page.listen))
}

/// Settings behind an `Arc`: everybody reads them.
pub(in crate::gateway) fn shared(
    loaded: Loaded<settings::Gateway>,
) -> Loaded<Arc<settings::Gateway>> {
    Loaded {
        settings: Arc::new(loaded.settings),
        file: loaded.file,
        hash: loaded.hash,
    }
}
