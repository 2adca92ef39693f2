//! `receiver.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;

use super::gateway::{Password, journal, metrics, password, state_dir};
use super::notify::notify;
use super::pem::{self, RawTls};
use super::problem::{Lines, Reading};
use super::section::{Root, Section};
use super::settings::{Account, Commune, Console, Operators, Receiver, Rtsp, Tls};
use super::{copies, page, raw, values, witness};
use crate::format::ids::{CentreId, CommuneId};

/// Checks the whole file.
pub(super) fn check(mut root: Root<'_>, reading: &mut Reading<'_>) -> Option<Receiver> {
    let tls = root.section::<raw::Tls>("tls", reading);
    let (relay_after_loss, keep) = journal(root.section("journal", reading), reading);
    let witnesses = witness::read(&mut root, reading);
    let notify = notify(root.section("notify", reading), reading);
    let copies = copies::read(root.section("copies", reading), reading);
    let link = root.section::<raw::Link>("link", reading);
    let console = root.section::<raw::Console>("console", reading);
    let accounts = root.nested_entries::<raw::Account>("rtsp", "account", reading);
    let rtsp = root.section::<raw::Rtsp>("rtsp", reading);
    let communes = root.strict_entries::<raw::Commune>("commune", reading);
    let operators = root.strict_entries::<raw::Operators>("operators", reading);
    let Section { raw, at } = root.rest::<raw::Receiver>("receiver.toml", reading)?;

    let centre = reading.required(&at, "centre", raw.centre, |id| {
        CentreId::new(id).map_err(|error| format!("{error}; correct it"))
    });
    let name = reading.optional(&at, "name", raw.name, |name| values::text(&name));
    let state_dir = state_dir(&at, raw.state_dir, reading);
    let metrics = metrics(
        &at,
        raw.metrics,
        raw.metrics_plain,
        "127.0.0.1:9999",
        reading,
    );
    let own_id = centre.as_ref().map(CentreId::as_str);
    let tls = pem::tls(tls.raw, &tls.at, own_id, reading);
    let link_listen = link_listen(link, reading);
    let console = console_of(console, reading);
    let rtsp = rtsp_of(rtsp, reading);
    let communes = communes_of(communes, tls.as_ref(), own_id, reading);
    let operators = operators_of(operators, reading);
    let accounts = accounts_of(accounts, &communes, reading);
    let centre = centre?;
    Some(Receiver {
        name: name.unwrap_or_else(|| centre.to_string()),
        state_dir: state_dir?,
        metrics: metrics?,
        tls: tls?,
        relay_after_loss,
        witnesses,
        keep,
        notify,
        copies,
        link_listen,
        communes,
        console: console?,
        rtsp: rtsp?,
        operators,
        accounts,
        warnings: reading.take_warnings(),
        centre,
    })
}

fn link_listen(section: Section<raw::Link>, reading: &mut Reading<'_>) -> Vec<SocketAddr> {
    let Section { raw, at } = section;
    let written = raw
        .listen
        .unwrap_or_else(|| vec!["0.0.0.0:4433".to_owned()]);
    if written.is_empty() {
        reading.error(
            at.of("listen"),
            "listen: none; name where gateways come in, such as [\"0.0.0.0:4433\"]",
        );
    }
    reading.list(&at, "listen", Some(written), values::listen)
}

/// Longest name of a VMS account, in characters.
const ACCOUNT_NAME: usize = 64;

fn console_of(section: Section<raw::Console>, reading: &mut Reading<'_>) -> Option<Console> {
    let Section { raw, at } = section;
    let listen = raw.listen.unwrap_or_else(|| "127.0.0.1:8889".to_owned());
    let listen = reading.checked(at.of("listen"), "listen", values::listen(&listen));
    let tls = pem::server(raw.certificate, raw.key, &at, reading);
    let plain = raw.plain.unwrap_or(false);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && tls.is_none() && !plain {
        reading.error(
            at.of("listen"),
            "[console] listen: plain HTTP off loopback; give certificate and key, or set plain = true where something else protects it",
        );
    }
    let lock_after = page::lock_after(&at, raw.lock_after, reading);
    let addresses = existing(&at, "addresses", raw.addresses, reading);
    let tiles = existing(&at, "tiles", raw.tiles, reading);
    let tiles_attribution = reading.optional(
        &at,
        "tiles_attribution",
        raw.tiles_attribution,
        |attribution| values::text(&attribution),
    );
    let hosts = page::hosts(&at, raw.hosts, reading);
    Some(Console {
        listen: listen?,
        tls,
        plain,
        hosts,
        lock_after,
        addresses,
        tiles,
        tiles_attribution,
    })
}

/// A path at which there must be something.
fn existing(
    at: &Lines,
    key: &str,
    written: Option<String>,
    reading: &mut Reading<'_>,
) -> Option<PathBuf> {
    let path = reading.optional_path(at, key, written)?;
    if reading.files.mode(&path).is_none() {
        let shown = path.display();
        reading.error(
            at.of(key),
            format!("{key}: there is no {shown}; correct the path or remove the key"),
        );
    }
    Some(path)
}

fn rtsp_of(section: Section<raw::Rtsp>, reading: &mut Reading<'_>) -> Option<Rtsp> {
    let Section { raw, at } = section;
    let listen = raw.listen.unwrap_or_else(|| "127.0.0.1:8554".to_owned());
    // An empty text switches clear RTSP off.
    let listen = if listen.is_empty() {
        None
    } else {
        Some(reading.checked(at.of("listen"), "listen", values::listen(&listen))?)
    };
    let tls_listen = reading.optional(&at, "tls_listen", raw.tls_listen, |address| {
        values::listen(&address)
    });
    let tls = pem::server(raw.certificate, raw.key, &at, reading);
    let plain = raw.plain.unwrap_or(false);
    if listen.is_some_and(|listen| !listen.ip().is_loopback()) && !plain {
        reading.error(
            at.of("listen"),
            "[rtsp] listen: clear RTSP off loopback; use tls_listen with certificate and key, or set plain = true where the network is trusted",
        );
    }
    if tls_listen.is_some() != tls.is_some() {
        let line = at.of("tls_listen").max(at.of("certificate"));
        reading.error(
            line,
            "[rtsp] tls_listen, certificate and key go together; give all three or none",
        );
    }
    if listen.is_none() && tls_listen.is_none() {
        reading.error(
            at.of("listen"),
            "[rtsp] neither listen nor tls_listen; players could not connect: give one",
        );
    }
    let address = reading.optional(&at, "address", raw.address, |address| {
        values::host_port(&address)
    });
    let rtsp = Rtsp {
        listen,
        tls_listen,
        tls,
        address,
        plain,
        udp: raw.udp.unwrap_or(true),
    };
    warn_of_address(&rtsp, &at, reading);
    Some(rtsp)
}

/// Says where `address` does not lead to what it names.
fn warn_of_address(rtsp: &Rtsp, at: &Lines, reading: &mut Reading<'_>) {
    let written = rtsp.address.as_deref();
    let players = rtsp.players(rtsp.listen, rtsp.tls_listen);
    let (Some(written), Some(players)) = (written, players) else {
        return;
    };
    let led = players.authority("");
    let ports = [rtsp.listen, rtsp.tls_listen].map(|bound| bound.map(|bound| bound.port()));
    let named = written
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse().ok());
    let scheme = players.scheme;
    if led != written {
        let text = format!(
            "[rtsp] address: {written} is clear RTSP, which only this machine reaches; players get {scheme}://{led}: write that port"
        );
        reading.warn(at.of("address"), text);
    } else if !ports.contains(&named) {
        let text = format!(
            "[rtsp] address: {written} has neither listen's nor tls_listen's port; players get {scheme}://{led}, which something must forward"
        );
        reading.warn(at.of("address"), text);
    }
}

fn communes_of(
    entries: Vec<Section<raw::Commune>>,
    tls: Option<&Tls>,
    own_id: Option<&str>,
    reading: &mut Reading<'_>,
) -> BTreeMap<CommuneId, Commune> {
    let mut communes = BTreeMap::new();
    if entries.is_empty() {
        reading.warn(
            1,
            "there is no [[commune]]: no gateway may connect; add one",
        );
    }
    for Section { raw, at } in entries {
        let id = reading.required(&at, "id", raw.id, |id| {
            CommuneId::new(id).map_err(|error| format!("{error}; correct it"))
        });
        let revoked = reading.optional_path(&at, "revoked", raw.revoked);
        let own = RawTls {
            certificate: raw.certificate.as_ref(),
            key: raw.key.as_ref(),
            authority: raw.authority.as_ref(),
            revoked: revoked.clone(),
        };
        let tls = tls.map(|base| pem::overridden(base, &own, &at, own_id, reading));
        if let (Some(revoked), Some(tls)) = (&revoked, &tls) {
            let authority = std::iter::once(&tls.authority);
            pem::check_crl(revoked, authority, at.of("revoked"), reading);
        }
        let (Some(id), Some(tls)) = (id, tls) else {
            continue;
        };
        let commune = Commune {
            id: id.clone(),
            tls,
        };
        if communes.insert(id.clone(), commune).is_some() {
            reading.error(
                at.of("id"),
                format!("two [[commune]] have the id {id}; keep one"),
            );
        }
    }
    communes
}

fn operators_of(
    entries: Vec<Section<raw::Operators>>,
    reading: &mut Reading<'_>,
) -> Vec<Operators> {
    if entries.is_empty() {
        reading.error(1, "there is no [[operators]]: no operator could be known; add one with its designation_authority");
    }
    let mut operators = Vec::new();
    for Section { raw, at } in entries {
        let key = "designation_authority";
        let authority = reading.required_path(&at, key, raw.designation_authority);
        if let Some(path) = &authority {
            pem::authority_hash(path, at.of(key), key, reading);
        }
        let revoked = reading.optional_path(&at, "revoked", raw.revoked);
        if let Some(path) = &revoked {
            pem::check_crl(path, authority.iter(), at.of("revoked"), reading);
        }
        let designations = reading.optional_path(&at, "designations", raw.designations);
        if let Some(path) = designations
            .as_ref()
            .filter(|path| reading.files.mode(path).is_none())
        {
            let path = path.display();
            reading.error(
                at.of("designations"),
                format!("designations: there is no directory {path}; make it or remove the key"),
            );
        }
        let units = reading.list(&at, "units", raw.units, values::text);
        if let Some(designation_authority) = authority {
            operators.push(Operators {
                designation_authority,
                revoked,
                designations,
                units,
            });
        }
    }
    operators
}

fn accounts_of(
    entries: Vec<Section<raw::Account>>,
    communes: &BTreeMap<CommuneId, Commune>,
    reading: &mut Reading<'_>,
) -> Vec<Account> {
    let mut accounts = Vec::new();
    let (mut users, mut names) = (BTreeSet::new(), BTreeSet::new());
    for Section { raw, at } in entries {
        let name = reading.required(&at, "name", raw.name, |name| account_name(&name));
        let username = reading.required(&at, "username", raw.username, |user| user_name(&user));
        if let Some(user) = &username
            && !users.insert(user.clone())
        {
            reading.error(
                at.of("username"),
                format!("two accounts have the username {user:?}; rename one"),
            );
        }
        let secret = Password {
            file: raw.password_file,
            variable: raw.password_env,
            inline: raw.password.is_some(),
        };
        let password = password(secret, &at, reading);
        let from = reading.list(&at, "from", raw.from, values::network);
        let communes = reading.list(&at, "communes", raw.communes, |id| {
            let known = communes.keys().find(|commune| commune.as_str() == id);
            known.cloned().ok_or_else(|| {
                format!("there is no [[commune]] {id:?}; add it or correct the name")
            })
        });
        if let Some(name) = &name {
            if !names.insert(name.clone()) {
                reading.error(
                    at.of("name"),
                    format!(
                        "two accounts have the name {name:?}, which the journals show; rename one"
                    ),
                );
            }
            if from.is_empty() {
                let text = format!(
                    "[[rtsp.account]] {name:?} has no from: its password works from any address; name the VMS's"
                );
                reading.warn(at.header, text);
            }
        }
        if let (Some(name), Some(username), Some(password)) = (name, username, password) {
            accounts.push(Account {
                name,
                username,
                password,
                from,
                communes,
            });
        }
    }
    accounts
}

/// The journals' `vms:NAME` and metrics show it, so it is short.
fn account_name(written: &str) -> Result<String, String> {
    if written.chars().count() > ACCOUNT_NAME {
        return Err(format!(
            "{written:?} is longer than {ACCOUNT_NAME} characters; shorten it"
        ));
    }
    values::text(written)
}

/// RTSP user names: no colon (Basic and Digest forbid it), and no grant's id.
fn user_name(written: &str) -> Result<String, String> {
    if written.contains([':', '"', '\\']) || written.parse::<uuid::Uuid>().is_ok() {
        return Err(format!(
            "{written:?} is no user name; use letters and digits, and not the form of a grant's id"
        ));
    }
    values::text(written)
}
