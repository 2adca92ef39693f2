//! The commune's own page and its API, `/api/v1` (interfaces.md 10), described by `openapi.json`
//! beside this file: who watches, what waits, cuts, the journal. Never a picture.
//!
//! People sign in as at the operators' page, with certificates of `[page] authority`. The brain is
//! asked as by the local socket; nothing here decides.
//!
//! | bound | value | over it |
//! |---|---|---|
//! | connections, heads, bodies, times | [`http::Limits`] | 4xx, or closed |
//! | failed authentications of an address | [`crate::http::bearer::ATTEMPTS`] a minute | 429 `too_many_attempts` |
//! | decisions of one person | [`crate::policy::gate::decision::STATEMENTS`] at once, then one a second | 429 `too_many_requests` |
//! | questions to the brain | [`ASK_LIMIT`] | they wait, at most [`ANSWER_TIMEOUT`] |
//! | relays in one view | [`view::ROWS`] | left out, and counted |
//! | events to a client | the newest state | a slow one skips to it |
//! | readings of the journal at once | [`journal::READINGS`] | the others wait |
//! | entries, bytes and time of one reading | [`journal::ROWS`], 8 MiB, [`journal::READ_TIME`] | the oldest go; `internal` |

mod events;
mod journal;
mod orders;
mod publish;
pub(super) mod view;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::settings;
use crate::format::designation::Authority;
use crate::http::bearer::{self, Bearers, Caller, Realm};
use crate::http::site::{check_call, check_file, check_host, check_origin, check_query, seal};
use crate::http::{self, Problem};
use crate::metrics::health::Checks;
use crate::policy::gate::Rulebook;
use crate::policy::gate::decision::{Done, Order};
use crate::reason::{Reason, Refusal};
use publish::Snapshot;
use view::{Health, View};

/// The description that `/api/v1/openapi.json` answers with.
const OPENAPI: &str = include_str!("openapi.json");

/// Questions that wait for the brain.
pub(super) const ASK_LIMIT: usize = 64;
/// How long the brain may take to an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What the brain is asked.
#[derive(Debug)]
pub(super) enum Ask {
    /// What is relayed, waits and is cut.
    View(oneshot::Sender<View>),
    /// How links and cameras are.
    Health(oneshot::Sender<Health>),
    /// What a person signed.
    Order(Order, String, oneshot::Sender<Result<Done, Refusal>>),
}

/// What the page goes by; replaced whole at a reload.
#[derive(Debug)]
pub(super) struct Shared {
    settings: Arc<settings::Gateway>,
    /// Who may sign in; none once a reload took the page away.
    page: Vec<Authority>,
    /// The agreements' designation authorities.
    designation: Vec<Authority>,
    generation: u64,
}

impl Shared {
    /// From the gate's rules.
    pub(super) fn of(rules: &Rulebook, generation: u64) -> Self {
        Self {
            settings: Arc::clone(&rules.settings),
            page: rules.page.clone().into_iter().collect(),
            designation: rules.authorities.clone(),
            generation,
        }
    }

    fn realm(&self) -> Realm<'_> {
        Realm {
            id: self.settings.commune.as_str(),
            kind: "commune",
            authorities: &self.page,
            others: &self.designation,
            generation: self.generation,
        }
    }

    /// The next one.
    pub(super) fn next(&self, rules: &Rulebook) -> Self {
        Self::of(rules, self.generation + 1)
    }
}

/// What the page works with.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) listener: http::Listener,
    pub(super) clock: Clock,
    pub(super) checks: Checks,
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) shared: watch::Receiver<Arc<Shared>>,
    /// Changes when what the page shows may have.
    pub(super) stirred: watch::Receiver<u64>,
    /// Whether a key in the address signs in, as at the demo.
    pub(super) demo: bool,
}

/// What all handlers share.
#[derive(Debug)]
struct Page {
    clock: Clock,
    checks: Checks,
    asks: mpsc::Sender<Ask>,
    shared: watch::Receiver<Arc<Shared>>,
    newest: watch::Receiver<Arc<Snapshot>>,
    bearers: Bearers,
    readings: Arc<Semaphore>,
    tls: bool,
    demo: bool,
    token: CancellationToken,
}

type Handle = State<Arc<Page>>;

/// Serves the page until the token is cancelled.
pub(super) async fn serve(options: Options, token: CancellationToken) {
    let (sender, newest) = watch::channel(Arc::new(Snapshot::default()));
    let page = Arc::new(Page {
        tls: options.listener.is_tls(),
        clock: options.clock,
        checks: options.checks,
        asks: options.asks,
        shared: options.shared,
        newest,
        bearers: Bearers::default(),
        readings: Arc::new(Semaphore::new(journal::READINGS)),
        demo: options.demo,
        token: token.clone(),
    });
    let mut tasks = JoinSet::new();
    let publisher = publish::run(Arc::clone(&page), options.stirred, sender);
    tasks.spawn(publisher);
    let router = router(&page);
    http::serve(options.listener, router, http::Limits::default(), token).await;
    tasks.shutdown().await;
}

fn router(page: &Arc<Page>) -> Router {
    let api = Router::new()
        .route("/time", get(time))
        .route("/console", get(console))
        .route("/relays", get(relays))
        .route("/waiting", get(waiting))
        .route("/waiting/{id}", post(orders::decide))
        .route("/cuts", get(cuts).post(orders::cut).delete(orders::allow))
        .route("/health", get(health))
        .route("/journal", get(journal::month))
        .route("/attestation", get(journal::attestation))
        .route("/events", get(events::listen))
        .route("/openapi.json", get(openapi));
    Router::new()
        .nest("/api/v1", api)
        .merge(crate::console::commune())
        .fallback(not_found)
        .method_not_allowed_fallback(not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            Arc::clone(page),
            guard,
        ))
        .with_state(Arc::clone(page))
}

async fn not_found() -> Problem {
    Problem::with_status(
        404,
        "there is nothing at this path; see /api/v1/openapi.json",
    )
}

async fn not_allowed() -> Problem {
    Problem::with_status(405, "this path has other methods; see /api/v1/openapi.json")
}

async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}

/// What every call must pass first, and what every answer carries.
async fn guard(State(page): Handle, request: Request, next: Next) -> Response {
    let mut response = match page.check(&request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    seal(response.headers_mut(), page.tls);
    response
}

impl Page {
    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        let shared = self.shared();
        let Some(page) = &shared.settings.page else {
            let detail = "the settings have no [page] any more";
            return Err(Refusal::new(Reason::ShuttingDown, detail).into());
        };
        check_host(headers, &page.hosts, page.listen.ip(), "page.hosts")?;
        check_origin(request, if self.tls { "https" } else { "http" })?;
        check_query(request.uri().query().unwrap_or_default())?;
        let path = request.uri().path();
        if path == "/" || path.starts_with("/page/") {
            check_file(headers)
        } else {
            check_call(headers)
        }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared.borrow())
    }

    /// Where the months of the journal are.
    fn months(&self) -> PathBuf {
        self.shared().settings.state_dir.join("journal")
    }

    fn authenticate(&self, token: &str, address: IpAddr) -> Result<Caller, Refusal> {
        let shared = self.shared();
        let now = self.clock.now();
        self.bearers
            .authenticate(token, address, shared.realm(), now)
    }

    fn judge_again(&self, caller: &Caller) -> Result<Caller, Refusal> {
        bearer::judge_again(caller, self.shared().realm(), self.clock.now())
    }

    /// Asks the brain.
    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.asks.send(question(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Reason::ShuttingDown.into()),
            Err(_) => {
                let detail = format!("no answer within {} s", ANSWER_TIMEOUT.as_secs());
                Err(Refusal::new(Reason::Internal, detail))
            }
        }
    }
}

/// A person who has signed in.
struct Person(Caller);

impl FromRequestParts<Arc<Page>> for Person {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, page: &Arc<Page>) -> Result<Self, Problem> {
        let token = bearer::token_of(&parts.headers)?;
        let caller = page.authenticate(token, bearer::address(parts))?;
        Ok(Self(caller))
    }
}

#[derive(Serialize)]
struct Time {
    now: String,
    unix_ms: i64,
    commune: String,
    name: String,
}

/// The commune's time, so that a person's machine knows how far its own is off.
async fn time(State(page): Handle) -> Json<Time> {
    let now = page.clock.now().wall;
    let shared = page.shared();
    Json(Time {
        now: now.rfc3339(),
        unix_ms: now.0.div_euclid(1_000),
        commune: shared.settings.commune.to_string(),
        name: shared.settings.name.clone(),
    })
}

/// What the page needs to know before anybody has signed in.
#[derive(Serialize)]
struct Console {
    /// Who serves it: `receiver` stands for the machine itself; `demo`, where a key may be in the
    /// address; `local` where `fanal console` does.
    mode: &'static str,
    commune: String,
    name: String,
    version: &'static str,
    /// Seconds without a touch after which the page hides what it shows.
    lock_after: u64,
}

async fn console(State(page): Handle) -> Result<Json<Console>, Problem> {
    let settings = &page.shared().settings;
    // A reload may take the page away at any time.
    let Some(own) = &settings.page else {
        return Err(Refusal::from(Reason::ShuttingDown).into());
    };
    Ok(Json(Console {
        lock_after: own.lock_after.as_secs(),
        mode: if page.demo { "demo" } else { "receiver" },
        commune: settings.commune.to_string(),
        name: settings.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
    }))
}

async fn relays(_: Person, State(page): Handle) -> Result<Json<Vec<view::Relay>>, Problem> {
    let mut view = page.ask(Ask::View).await?;
    page.newest.borrow().rate(&mut view);
    Ok(Json(view.relays))
}

async fn waiting(
    _: Person,
    State(page): Handle,
) -> Result<Json<Vec<super::socket::Waiting>>, Problem> {
    Ok(Json(page.ask(Ask::View).await?.waiting))
}

async fn cuts(_: Person, State(page): Handle) -> Result<Json<Vec<super::socket::Cut>>, Problem> {
    Ok(Json(page.ask(Ask::View).await?.cuts))
}

/// The checks of `/ready`, and how links and cameras are.
#[derive(Serialize)]
struct HealthView {
    #[serde(flatten)]
    report: crate::metrics::health::Report,
    #[serde(flatten)]
    health: Health,
}

async fn health(_: Person, State(page): Handle) -> Result<Json<HealthView>, Problem> {
    Ok(Json(HealthView {
        health: page.ask(Ask::Health).await?,
        report: page.checks.report(),
    }))
}
