//! `fanal console` in a process of its own, as on an operator's machine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::api::site::{Answer, call, within};

pub struct Workstation {
    pub address: SocketAddr,
    pub secret: String,
    terminal: Lines<BufReader<ChildStdout>>,
    process: Child,
}

impl Workstation {
    /// Starts it for a receiver on this machine, and reads the address that it prints.
    pub async fn start(receiver: SocketAddr, key: &Path, cert: &Path, lang: &str) -> Self {
        Self::start_for("--receiver", receiver, key, cert, lang).await
    }

    /// The same for what this option names.
    pub async fn start_for(
        option: &str,
        server: SocketAddr,
        key: &Path,
        cert: &Path,
        lang: &str,
    ) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::start_at(any, option, server, (key, cert), lang).await
    }

    /// The same at this address.
    pub async fn start_at(
        listen: SocketAddr,
        option: &str,
        server: SocketAddr,
        (key, cert): (&Path, &Path),
        lang: &str,
    ) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_fanal"))
            .arg("console")
            .arg(option)
            .arg(format!("http://{server}"))
            .arg("--key")
            .arg(key)
            .arg("--cert")
            .arg(cert)
            .arg("--listen")
            .arg(listen.to_string())
            .args(["--lang", lang])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut terminal = BufReader::new(stdout).lines();
        let url = loop {
            let line = within("the address", terminal.next_line()).await.unwrap();
            let line = line.expect("fanal console ended").trim().to_owned();
            if line.starts_with("http://") {
                break line;
            }
        };
        let (address, secret) = url.split_once("/#session=").unwrap();
        Self {
            address: address.trim_start_matches("http://").parse().unwrap(),
            secret: secret.to_owned(),
            terminal,
            process,
        }
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }

    /// As it is printed.
    pub fn url(&self) -> String {
        format!("http://{}/#session={}", self.address, self.secret)
    }

    /// The header that carries the secret.
    pub fn session(&self) -> (&'static str, &str) {
        ("x-fanal-session", &self.secret)
    }

    /// The subprotocols with which the page opens its WebSocket.
    pub fn protocols(&self) -> String {
        format!("fanal.v1, fanal.session.{}", self.secret)
    }

    /// Lines of the terminal up to one that holds this.
    pub async fn told(&mut self, wanted: &str) -> String {
        let mut told = String::new();
        loop {
            let line = within(wanted, self.terminal.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("no {wanted:?} in {told}"));
            told.push_str(&line);
            told.push('\n');
            if line.contains(wanted) {
                return told;
            }
        }
    }

    /// A call with the secret and these headers besides.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let headers: Vec<_> = std::iter::once(self.session())
            .chain(more.iter().copied())
            .collect();
        call(self.address, method, path, &headers, body).await
    }

    pub async fn local(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(method, &format!("/local/v1{path}"), &[], body)
            .await
    }

    pub async fn token(&self) -> String {
        let answer = self.local("POST", "/token", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["token"].as_str().unwrap().to_owned()
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        let bearer = [("authorization", &*format!("Bearer {token}"))];
        self.call("GET", &format!("/api/v1{path}"), &bearer, "")
            .await
    }
}
