//! `[copies]` of both files.

use url::Url;

use super::problem::Reading;
use super::section::Section;
use super::settings::Copies;
use super::{notify, pem, raw};
use crate::connect::is_loopback;
use crate::secret::Secret;

/// The stream, where none is named.
const STREAM: &str = "FANAL";
/// Most servers of a cluster.
const SERVERS_LIMIT: usize = 16;
/// Largest credentials file, in bytes: a token of some hundred and a key.
const CREDENTIALS_LIMIT: u64 = 16 * 1024;
/// What a server's address looks like.
const FORM: &str =
    "write \"tls://nats.example:4222\", and all servers of a cluster with commas between them";

/// Where copies go; `None` without the section.
pub(super) fn read(section: Section<raw::Copies>, reading: &mut Reading<'_>) -> Option<Copies> {
    let Section { raw, at } = section;
    if raw == raw::Copies::default() {
        return None;
    }
    let servers = reading.required(&at, "nats", raw.nats, |written| servers(&written));
    // Of a scheme that is not the web's, an address is a name, with its brackets.
    let host = |url: &Url| {
        url.host_str()
            .unwrap_or_default()
            .trim_matches(['[', ']'])
            .to_owned()
    };
    let is_clear = |url: &Url| url.scheme() == "nats" && !is_loopback(&host(url));
    let clear = servers.iter().flatten().find(|url| is_clear(url));
    if let Some(url) = clear
        && !raw.plain.unwrap_or(false)
    {
        reading.error(
            at.of("nats"),
            format!("nats: {url} is in clear and not on this machine; write tls://, or set plain = true where something else protects it"),
        );
    }
    let file = reading.optional_path(&at, "credentials_file", raw.credentials_file);
    let credentials = file.and_then(|path| {
        let line = at.of("credentials_file");
        pem::warn_if_loose(&path, line, "credentials_file", reading);
        let shown = path.display().to_string();
        let bytes = reading.files.read(&path, CREDENTIALS_LIMIT);
        let bytes = bytes.map_err(|error| {
            format!("{shown} can't be read: {error}; check the path and who may read it")
        });
        let secret = bytes.and_then(|bytes| {
            let wrong = || format!("{shown} is no NATS credentials file; give the .creds file that `nsc` or the servers' administrator made");
            let text = String::from_utf8(bytes).map_err(|_| wrong())?;
            let secret = Secret::new(text);
            let has = |part| secret.expose().contains(part);
            let is_whole = has("BEGIN NATS USER JWT") && has("BEGIN USER NKEY SEED");
            is_whole.then_some(secret).ok_or_else(wrong)
        });
        reading.checked(line, "credentials_file", secret)
    });
    let authority = notify::authority(&at, raw.authority, reading);
    let stream = raw.stream.unwrap_or_else(|| STREAM.to_owned());
    let stream = reading.checked(at.of("stream"), "stream", name(stream));
    Some(Copies {
        servers: servers?,
        credentials,
        authority,
        stream: stream?,
    })
}

fn servers(written: &str) -> Result<Vec<Url>, String> {
    let servers: Vec<Url> = written
        .split(',')
        .map(|one| server(one.trim()))
        .collect::<Result<_, _>>()?;
    if servers.len() > SERVERS_LIMIT {
        return Err(format!(
            "more than {SERVERS_LIMIT} servers; name some of them"
        ));
    }
    Ok(servers)
}

fn server(written: &str) -> Result<Url, String> {
    let url = Url::parse(written).map_err(|error| format!("{written:?}: {error}; {FORM}"))?;
    if !matches!(url.scheme(), "tls" | "nats") || url.host_str().is_none_or(str::is_empty) {
        return Err(format!("{written:?} is not of tls or nats; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or password; give a credentials_file".to_owned());
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{written:?} has more than a host and a port; {FORM}"
        ));
    }
    Ok(url)
}

/// As servers want it, and safe in a subject.
fn name(written: String) -> Result<String, String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if written.is_empty() || written.len() > 64 || !written.chars().all(is_fit) {
        return Err(format!(
            "{written:?} is no name of a stream; use up to 64 letters, digits, - and _"
        ));
    }
    Ok(written)
}
