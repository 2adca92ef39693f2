//! What `fanal relays`, `cut`, `allow`, `approve` and `refuse` share: finding the gateway's local
//! socket and asking over it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Usage;
use crate::account;
use crate::gateway::socket::{self, Answer, Request};

/// Where the socket is when nobody says.
const DEFAULT_SOCKET: &str = "/run/fanal/gateway.sock";
/// Largest settings file.
const FILE_LIMIT: u64 = 1024 * 1024;

/// Where the gateway is.
#[derive(Debug, Args)]
pub struct LocalArgs {
    /// The gateway's local socket [default: /run/fanal/gateway.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// Read the socket's path in this settings file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What a cut or its lifting covers.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct ScopeArgs {
    /// One grant, by its id
    #[arg(long, value_name = "ID")]
    grant: Option<String>,
    /// One camera, for every centre
    #[arg(long, value_name = "ID")]
    camera: Option<String>,
    /// One centre
    #[arg(long, value_name = "ID")]
    centre: Option<String>,
    /// Everything
    #[arg(long)]
    all: bool,
}

impl ScopeArgs {
    /// As the socket wants it.
    pub fn scope(&self) -> String {
        let named = [
            ("grant", &self.grant),
            ("camera", &self.camera),
            ("centre", &self.centre),
        ];
        named
            .iter()
            .find_map(|(kind, id)| id.as_ref().map(|id| format!("{kind}:{id}")))
            .unwrap_or_else(|| "all".to_owned())
    }
}

impl LocalArgs {
    /// Asks the gateway.
    ///
    /// # Errors
    ///
    /// No gateway runs there, this account may not ask, or no answer comes in time.
    pub fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        let path = self.path()?;
        let answer = socket::ask(&path, request).map_err(|error| {
            let next = advice(&path, error.kind());
            anyhow::Error::from(error).context(format!("{}: {next}", path.display()))
        })?;
        match answer {
            Answer::Refused(refusal) => Err(anyhow::anyhow!("{refusal}")),
            answer => Ok(answer),
        }
    }

    fn path(&self) -> anyhow::Result<PathBuf> {
        match (&self.socket, &self.config) {
            (Some(path), _) => Ok(path.clone()),
            (None, Some(file)) => from_settings(file),
            (None, None) => Ok(PathBuf::from(DEFAULT_SOCKET)),
        }
    }
}

/// What to do where the gateway can't be asked.
fn advice(path: &Path, kind: ErrorKind) -> String {
    use std::os::unix::fs::MetadataExt as _;
    match kind {
        ErrorKind::PermissionDenied => {
            // Where even its directory is closed, the group is not known.
            let group = std::fs::metadata(path).map_or_else(
                |_| "that of the setting socket_group".to_owned(),
                |found| {
                    format!(
                        "{}, see the setting socket_group",
                        account::group_name(found.gid())
                    )
                },
            );
            format!(
                "{} may not open the gateway's socket; run the same with sudo, or have the \
                 administrator add you to the socket's group ({group}) and log in again",
                account::own()
            )
        }
        ErrorKind::NotFound => "there is no socket; start the gateway, or name its socket \
             (--socket, or --config gateway.toml)"
            .to_owned(),
        ErrorKind::ConnectionRefused => "the gateway does not run; start it".to_owned(),
        _ => "the gateway gave no answer; look at its log".to_owned(),
    }
}

/// Only the socket is read: anyone who may cut need not read keys and passwords.
fn from_settings(file: &Path) -> anyhow::Result<PathBuf> {
    let wrong = |cause: String| Usage(format!("{}: {cause}", file.display()));
    let unread = |error: std::io::Error| match error.kind() {
        ErrorKind::PermissionDenied => {
            wrong(format!("{error}; name the socket itself: --socket PATH"))
        }
        _ => wrong(error.to_string()),
    };
    let length = std::fs::metadata(file).map_err(unread)?;
    if length.len() > FILE_LIMIT {
        return Err(wrong(format!("larger than {FILE_LIMIT} bytes")).into());
    }
    let text = std::fs::read_to_string(file).map_err(unread)?;
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| wrong(error.to_string()))?;
    match table.get("socket") {
        None => Ok(PathBuf::from(DEFAULT_SOCKET)),
        Some(toml::Value::String(path)) => {
            let directory = file.parent().unwrap_or_else(|| Path::new(""));
            Ok(directory.join(path))
        }
        Some(_) => Err(wrong("socket must be a path in quotes".to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_open_the_socket_is_told_what_to_do() {
        let file = std::env::temp_dir().join(format!("fanal-local-{}", uuid::Uuid::now_v7()));
        std::fs::write(&file, "").unwrap();
        let group = account::group_name(rustix::process::getegid().as_raw());
        let advised = advice(&file, ErrorKind::PermissionDenied);
        for words in [
            &account::own(),
            "sudo",
            &group,
            "socket_group",
            "log in again",
        ] {
            assert!(advised.contains(words), "{words} in {advised}");
        }
        std::fs::remove_file(&file).unwrap();
        // Its directory is closed: the group is not seen.
        let advised = advice(&file, ErrorKind::PermissionDenied);
        assert!(advised.contains("socket_group"), "{advised}");
        assert!(advice(&file, ErrorKind::NotFound).contains("--socket"));
        assert!(advice(&file, ErrorKind::ConnectionRefused).contains("start it"));
    }
}
