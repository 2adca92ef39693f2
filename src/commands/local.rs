//! What `fanal relays`, `cut`, `allow`, `approve` and `refuse` share: finding the gateway's local
//! socket and asking over it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use super::Usage;
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
    pub fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        let path = self.path()?;
        let answer = socket::ask(&path, request).with_context(|| {
            let path = path.display();
            format!("asking the gateway on {path} (does it run, and may this user open it?)")
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

/// Only the socket is read: anyone who may cut need not read keys and passwords.
fn from_settings(file: &Path) -> anyhow::Result<PathBuf> {
    let wrong = |cause: String| Usage(format!("{}: {cause}", file.display()));
    let length = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
    if length.len() > FILE_LIMIT {
        return Err(wrong(format!("larger than {FILE_LIMIT} bytes")).into());
    }
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
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
