//! `fanal console`: the operators' page, or a commune's, on the person's own machine, which holds the
//! key.
//!
//! The page comes from this program, not from the receiver, so that a stolen receiver can't make
//! it sign anything. What it signs is written on the terminal, in words, before it is sent.
//!
//! | path | what |
//! |---|---|
//! | `/`, `/page/` | the page ([`crate::console`]) |
//! | `/local/v1/` | [`sign`]: who signs, tokens, requests or decisions; needs the session's secret |
//! | `/api/v1/` | [`forward`]: asked of the receiver, and answered again; needs the secret too |
//!
//! **This origin is the operator's.** Three things keep others out. Everything is called by a
//! loopback name alone, and writes and WebSockets come from this page alone (DNS rebinding,
//! other sites). The secret in the printed address, 128 random bits ([`session`]), is needed for all
//! but the page's own files: another user of this machine has none, and no link leads past it. And
//! of what the receiver answers nothing runs, is kept or is framed here: a browser that would show
//! or run it (a navigation, a frame, a script, a worker) is refused by its own word
//! ([`check_call`]), and each answer is made again from what is allowed ([`answer`]) and
//! sealed ([`SEAL`]).
//!
//! Bounded: connections, heads, bodies and times by [`http::Limits`]; towards the receiver by
//! [`client`]'s limits and [`forward`]'s. Nothing is kept but the offset of the centre's clock.

mod answer;
mod forward;
mod frames;
mod session;
mod sign;
mod words;

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgGroup, Args, ValueEnum};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use super::Usage;
use super::client::{self, Client, ReceiverArgs, Server};
use super::french::French;
use crate::connect::is_loopback;
use crate::http::site::{check_call, check_file, check_origin, check_query, host_name, single};
use crate::http::{self, Problem};
use crate::policy::seldom::Seldom;
use crate::secret::Secret;
use crate::shutdown::Signals;

/// Where it listens unless told otherwise: the same address each time, so that the browser finds
/// the page's settings again. Another port where this one is taken.
const USUAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8890);
/// Random bytes of the session's secret.
const SECRET_BYTES: usize = 16;
/// How often the log says that the receiver answers oddly.
const ODD_EVERY: Duration = Duration::from_secs(60);

/// What each answer carries unless it says otherwise, as the page's own files do: a browser shows
/// it as nothing that runs, submits, loads or is framed, guesses no type, keeps no copy and
/// gives it to no other site.
const SEAL: [(&str, &str); 7] = [
    ("cache-control", "no-store"),
    (
        "content-security-policy",
        "sandbox; default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
];

/// Arguments of `fanal console`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("server").required(true).args(["receiver", "commune"]))]
#[command(after_help = "Example: the page in the browser, the key stays here:
  fanal console --receiver https://corg13.example:8889 --authority console-ca.pem \\
    --key 13-4567.key --cert 13-4567.pem --open

The commune's page, which cuts and approves, comes the same way:
  fanal console --commune https://berre.example:8891 --authority page-tls-ca.pem \\
    --key pm-7.key --cert pm-7.pem --open

The address that it prints holds the session's secret: it is for this machine's browser alone.
Each statement that is signed is written on the terminal, in words, before it is sent.")]
pub struct ConsoleArgs {
    /// The receiver's API, for the operators' page
    #[arg(long, value_name = "URL")]
    receiver: Option<Url>,
    /// The page of a commune's gateway
    #[arg(long, value_name = "URL")]
    commune: Option<Url>,
    /// Your private key (PEM); it never leaves this machine
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Your designation, or your certificate of the commune, then any intermediate ones (PEM)
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The authority that signed the server's TLS certificate (PEM); needed for https
    #[arg(long, value_name = "FILE")]
    authority: Option<PathBuf>,
    /// Where to serve the page, on loopback alone [default: 127.0.0.1:8890, or a free port]
    #[arg(long, value_name = "ADDR:PORT", value_parser = loopback)]
    listen: Option<SocketAddr>,
    /// Open the page in the browser
    #[arg(long)]
    open: bool,
    /// The terminal's language [default: the environment's]
    #[arg(long, value_name = "LANG", value_enum)]
    lang: Option<Language>,
}

/// A language of the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// French
    Fr,
    /// English
    En,
}

/// An address of this machine that no other reaches.
fn loopback(written: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = written
        .parse()
        .map_err(|_| "write it like 127.0.0.1:8890".to_owned())?;
    if address.ip().is_loopback() {
        Ok(address)
    } else {
        Err("the page holds the operator's key: loopback alone, such as 127.0.0.1:8890".to_owned())
    }
}

/// What all handlers share.
struct Console {
    client: Client,
    secret: Secret,
    french: French,
    /// The centre's clock.
    clock: sign::CentreClock,
    /// Whether the receiver did not answer last time.
    is_away: AtomicBool,
    /// Its odd answers that the log has told.
    odd: Mutex<Seldom<()>>,
    /// Connections that were taken over (WebSocket).
    tasks: TaskTracker,
    /// Ends them.
    token: CancellationToken,
}

type Shared = State<Arc<Console>>;

/// Runs `fanal console` until SIGTERM or SIGINT.
pub fn run(args: ConsoleArgs) -> anyhow::Result<ExitCode> {
    let french = args
        .lang
        .map_or_else(French::of_environment, |lang| French(lang == Language::Fr));
    client::block_on(async {
        let client = connect(&args).await?;
        let me = sign::holder(&client)?;
        let listener = listen(args.listen).await?;
        let address = listener.local_addr()?;
        let token = CancellationToken::new();
        let _signals = Signals::listen(token.clone())?;
        let secret = random_secret()?;
        let url = Secret::new(format!("http://{address}/#session={}", secret.expose()));
        let console = Arc::new(Console {
            client,
            secret,
            french,
            clock: sign::CentreClock::default(),
            is_away: AtomicBool::new(false),
            odd: Mutex::new(Seldom::new(1, ODD_EVERY)),
            tasks: TaskTracker::new(),
            token: token.clone(),
        });
        words::say(&words::greeting(
            french,
            &me,
            (console.client.server(), console.client.centre()),
            (url.expose(), console.client.now()),
        ))?;
        // Kept until the end, then removed.
        let _page = args.open.then(|| open(&url)).transpose()?;
        let limits = http::Limits::default();
        http::serve(listener, router(&console), limits, token).await;
        console.tasks.close();
        console.tasks.wait().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Speaks with the server that is named, if it is what it was said to be.
async fn connect(args: &ConsoleArgs) -> anyhow::Result<Client> {
    let (url, wanted, other) = match (&args.receiver, &args.commune) {
        (Some(url), None) => (
            url,
            Server::Centre,
            "a commune's gateway: name it with --commune",
        ),
        (None, Some(url)) => (
            url,
            Server::Commune,
            "a centre's receiver: name it with --receiver",
        ),
        (Some(_), Some(_)) | (None, None) => {
            return Err(Usage("give either --receiver or --commune".to_owned()).into());
        }
    };
    let (key, cert) = (args.key.clone(), args.cert.clone());
    let server = ReceiverArgs::with(url.clone(), key, cert, args.authority.clone());
    let client = Client::connect_following(&server).await?;
    if client.server() != wanted {
        return Err(Usage(format!("{url} is {other}")).into());
    }
    Ok(client)
}

async fn listen(wanted: Option<SocketAddr>) -> anyhow::Result<http::Listener> {
    if let Some(address) = wanted {
        return http::Listener::bind(address, None)
            .await
            .map_err(|error| Usage(format!("--listen {address}: {error}")).into());
    }
    match http::Listener::bind(USUAL, None).await {
        Ok(listener) => Ok(listener),
        Err(_) => http::Listener::bind(SocketAddr::new(USUAL.ip(), 0), None)
            .await
            .context("no port of this machine is free"),
    }
}

fn random_secret() -> anyhow::Result<Secret> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).context("the system's random numbers")?;
    Ok(Secret::new(URL_SAFE_NO_PAD.encode(bytes)))
}

fn router(console: &Arc<Console>) -> Router {
    // One page, and one kind of statement: the other is never signed.
    let (page, signed) = match console.client.server() {
        Server::Centre => (
            crate::console::router(),
            Router::new().route("/local/v1/requests", post(sign::request)),
        ),
        Server::Commune => (
            crate::console::commune(),
            Router::new().route("/local/v1/decisions", post(sign::decision)),
        ),
    };
    Router::new()
        .route("/local/v1/operator", get(sign::operator))
        .route("/local/v1/token", post(sign::token))
        .merge(signed)
        .route("/api/v1/console", get(forward::console))
        .route("/api/v1/{*path}", any(forward::pass_on))
        .merge(page)
        .fallback(not_found)
        .layer(axum::middleware::from_fn(guard))
        .with_state(Arc::clone(console))
}

async fn not_found() -> Problem {
    Problem::with_status(404, "there is nothing at this path")
}

/// What every call must pass first, and what every answer carries.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = match check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    for (name, value) in SEAL {
        headers
            .entry(HeaderName::from_static(name))
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

fn check(request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    let host = single(headers, header::HOST).and_then(host_name);
    if !host.is_some_and(|host| is_loopback(&host)) {
        let detail = "this page is called by a loopback name alone";
        return Err(Problem::with_status(421, detail));
    }
    check_origin(request, "http")?;
    check_query(request.uri().query().unwrap_or_default())?;
    let path = request.uri().path();
    if path == "/" || path.starts_with("/page/") {
        check_file(headers)
    } else {
        check_call(headers)
    }
}

/// A file for the browser, gone when dropped.
struct Page(PathBuf);

impl Drop for Page {
    fn drop(&mut self) {
        // A browser that was slow has it; a file that stays is for this user alone.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Opens the browser.
fn open(url: &Secret) -> anyhow::Result<Page> {
    let page = leading_page(url)?;
    let opened = tokio::process::Command::new("xdg-open")
        .arg(&page.0)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn();
    if let Err(error) = opened {
        tracing::warn!(%error, "--open: xdg-open does not start; open the printed address yourself");
    }
    Ok(page)
}

/// Other users see a program's arguments, and the address holds the secret: the browser gets a
/// file that this user alone may read, and that leads on.
fn leading_page(url: &Secret) -> anyhow::Result<Page> {
    use std::os::unix::fs::OpenOptionsExt;
    let directory =
        std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let name = format!("fanal-console-{}.html", client::new_id());
    let page = Page(directory.join(name));
    let shown = page.0.display().to_string();
    let text = format!(
        "<!doctype html><meta charset=\"utf-8\"><meta name=\"referrer\" content=\"no-referrer\">\
         <meta http-equiv=\"refresh\" content=\"0;url={0}\"><a href=\"{0}\">fanal</a>\n",
        url.expose()
    );
    std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&page.0)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("--open: {shown}"))?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_served_on_loopback_alone() {
        for good in ["127.0.0.1:0", "[::1]:8890", "127.8.0.1:1"] {
            assert!(loopback(good).is_ok(), "{good}");
        }
        for bad in ["0.0.0.0:8890", "10.0.0.1:1", "[::]:1", "localhost", ""] {
            assert!(loopback(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_browsers_file_is_for_this_user_alone_and_goes() {
        use std::os::unix::fs::PermissionsExt;
        let secret = random_secret().unwrap();
        assert_eq!(secret.expose().len(), 22);
        assert!(secret != random_secret().unwrap());
        let page = leading_page(&secret).unwrap();
        let mode = std::fs::metadata(&page.0).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let path = page.0.clone();
        drop(page);
        assert!(!path.exists());
    }
}
