//! The operator's commands from a shell, against an API that answers as it is told to.

use std::process::Stdio;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fanal::certs::trial::Trial;
use fanal::clock::{Clock, Wall};
use fanal::format::designation::{Authority, Rules, verify_request, verify_token};
use fanal::format::statement::RequestClaims;
use fanal::http::{Limits, Listener, Problem, serve, tls_config};
use fanal::reason::{Reason, Refusal};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const GRANT: &str = "2f0c9a4e-6a51-4a57-9d0c-5b1f0f3c7d10";
/// Where a request of this id is asked about.
const WAITING: &str = "/api/v1/requests/2f0c9a4e-6a51-4a57-9d0c-5b1f0f3c7d10";
const RULES: Rules = Rules {
    max_designation: None,
    require_fresh_revocation: false,
};

use crate::support::site::Place;
use crate::waiting::within;

/// A call as it came: method, path, content type, verified claims of a request.
#[derive(Debug)]
struct Call {
    method: Method,
    path: String,
    kind: String,
    request: Option<RequestClaims>,
}

#[derive(Clone)]
struct Api {
    authority: Authority,
    calls: mpsc::Sender<Call>,
    /// How far the centre's clock is ahead, in seconds.
    ahead: i64,
    seconds_left: f64,
    refuse: bool,
    /// The commune must approve, and never does.
    waits: bool,
}

struct Centre {
    place: Place,
    url: String,
    calls: mpsc::Receiver<Call>,
    _stop: tokio_util::sync::DropGuard,
    _task: tokio::task::JoinHandle<()>,
}

impl Centre {
    async fn start(tls: bool, change: impl FnOnce(&mut Api)) -> Self {
        let now = Clock::system().now().wall;
        let trial = Trial::new(now).unwrap();
        let place = Place::new();
        let operator = trial.simple_operator("13-4567", "CORG 13", now).unwrap();
        place.identity("operator", &operator);
        place.identity("server", &trial.machine("localhost").unwrap());
        place.write("ca.pem", trial.link_authority());
        let (calls, received) = mpsc::channel(64);
        let mut api = Api {
            authority: Authority::from_pem(trial.designation_authority(), &[]).unwrap(),
            calls,
            ahead: 0,
            seconds_left: 600.0,
            refuse: false,
            waits: false,
        };
        change(&mut api);
        let config = tls.then(|| {
            let (pem, key) = (place.path("server.pem"), place.path("server.key"));
            tls_config(&pem, &key, &["http/1.1"]).unwrap()
        });
        let address = ([127, 0, 0, 1], 0).into();
        let listener = Listener::bind(address, config).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state(api);
        let token = CancellationToken::new();
        let task = tokio::spawn(serve(listener, router, Limits::default(), token.clone()));
        let url = if tls {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        };
        Self {
            place,
            url,
            calls: received,
            _stop: token.drop_guard(),
            _task: task,
        }
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let file = |name: &str| self.place.path(name);
        Command::new(env!("CARGO_BIN_EXE_fanal"))
            .args(args)
            .args(["--receiver", &self.url])
            .arg("--key")
            .arg(file("operator.key"))
            .arg("--cert")
            .arg(file("operator.pem"))
            .arg("--authority")
            .arg(file("ca.pem"))
            .env_remove("RUST_LOG")
            .env("LC_ALL", "fr_FR.UTF-8")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    async fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let ended = self.spawn(args).wait_with_output();
        let output = within("the command's end", ended).await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }

    async fn next(&mut self) -> Call {
        within("a call", self.calls.recv()).await.unwrap()
    }
}

async fn answer(State(api): State<Api>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let header = |name| {
        parts
            .headers
            .get(name)
            .map(|v| v.to_str().unwrap().to_owned())
    };
    let now = Clock::system().now().wall;
    if path == "/api/v1/time" {
        let unix_ms = now.0 / 1000 + api.ahead * 1000;
        let time = Wall(unix_ms * 1000).rfc3339();
        let time = json!({"now": time, "unix_ms": unix_ms, "centre": "corg-13", "name": "CORG 13"});
        return axum::Json(time).into_response();
    }
    let body = to_bytes(body, 64 * 1024).await.unwrap();
    let mut request = None;
    if path == "/api/v1/requests" {
        let text = String::from_utf8(body.to_vec()).unwrap();
        match verify_request(&text, &api.authority, RULES, now) {
            Ok(verified) => request = Some(verified.claims().clone()),
            Err(refusal) => return Problem::from(refusal).into(),
        }
    } else {
        let bearer = header(header::AUTHORIZATION).unwrap();
        let token = bearer.strip_prefix("Bearer ").unwrap();
        let verified = verify_token(token, &api.authority, RULES, now).unwrap();
        assert_eq!(verified.claims().aud.as_str(), "corg-13");
        assert!(verified.claims().exp - verified.claims().iat <= 300);
    }
    let call = Call {
        method: parts.method.clone(),
        path: path.clone(),
        kind: header(header::CONTENT_TYPE).unwrap_or_default(),
        request,
    };
    api.calls.send(call).await.unwrap();
    if api.refuse {
        return Problem::from(Refusal::new(Reason::DurationTooLong, "1 h at most")).into();
    }
    let waiting = json!({ "request": GRANT, "approve_by": "2026-11-23T02:13:01.123Z" });
    match (parts.method.as_str(), path.as_str()) {
        ("POST", "/api/v1/requests") | ("GET", WAITING) if api.waits => {
            (StatusCode::ACCEPTED, axum::Json(waiting)).into_response()
        }
        ("POST", "/api/v1/requests") => (StatusCode::CREATED, grant(&api)).into_response(),
        ("GET", "/api/v1/communes") => axum::Json(json!([
            {
                "commune": "berre-l-etang", "online": true, "contact": "04 42 00 00 00",
                "agreement": {
                    "reference": "C", "from": "2020-01-01", "until": "2099-12-31", "grounds": [],
                    "max_duration": 3_600, "max_total": 7_200, "max_relays": 4,
                },
            }
        ]))
        .into_response(),
        ("GET", "/api/v1/grants") => axum::Json(json!([grant(&api).0])).into_response(),
        ("GET", _) => grant(&api).into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    }
}

fn grant(api: &Api) -> axum::Json<Value> {
    axum::Json(json!({
        "grant": GRANT, "commune": "berre-l-etang", "incident": "COG-13/42", "grounds": "pursuit",
        "expires": "2026-11-23T02:13:01.123Z", "seconds_left": api.seconds_left,
        "granted": [{"camera": "quai-nord", "state": "starting", "rtsp": "rtsp://x/"}],
        "refused": [{"camera": "mairie", "reason": "camera_not_covered", "detail": ""}],
        "proof": "x",
    }))
}

const ASK: &[&str] = &[
    "request",
    "--commune",
    "berre-l-etang",
    "--camera",
    "quai-nord",
    "mairie",
    "--incident",
    "COG-13/42",
    "--grounds",
    "pursuit",
    "--for",
    "20m",
    "--present",
    "Maire",
];

#[tokio::test]
async fn a_request_is_signed_here_and_the_grant_printed() {
    for tls in [false, true] {
        let mut centre = Centre::start(tls, |_| {}).await;
        let (status, out, err) = centre.run(ASK).await;
        assert_eq!(status, Some(0), "{err}");
        let printed: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(printed["grant"], GRANT);
        assert!(err.contains("mairie: camera_not_covered"), "{err}");
        let call = centre.next().await;
        assert_eq!(call.kind, "application/jose");
        let claims = call.request.unwrap();
        assert_eq!(claims.centre.as_str(), "corg-13");
        assert_eq!(claims.aud.as_str(), "berre-l-etang");
        assert_eq!((claims.cameras.len(), claims.duration), (2, 1200));
        assert_eq!(claims.present, ["Maire"]);
        assert_eq!(claims.renews, None);
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_french_and_fails() {
    let centre = Centre::start(false, |api| api.refuse = true).await;
    let (status, out, err) = centre.run(ASK).await;
    assert_eq!((status, out.as_str()), (Some(1), ""));
    assert!(err.contains("duration_too_long"), "{err}");
    assert!(err.contains(Reason::DurationTooLong.french()), "{err}");
    assert!(err.contains("1 h at most"), "{err}");
}

/// The centre's clock is compared, never followed: it could have requests
/// signed for another day.
#[tokio::test]
async fn a_clock_apart_is_warned_about_and_not_followed() {
    let mut centre = Centre::start(false, |api| api.ahead = 3600).await;
    let before = Clock::system().now().wall.seconds();
    let (status, _, err) = centre.run(ASK).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(err.contains("s behind the centre's"), "{err}");
    let iat = centre.next().await.request.unwrap().iat;
    assert!((before..before + 60).contains(&iat));
}

#[tokio::test]
async fn hold_renews_before_the_end_and_releases_when_stopped() {
    let mut centre = Centre::start(false, |api| api.seconds_left = 0.3).await;
    let args: Vec<&str> = ASK.iter().copied().chain(["--hold"]).collect();
    let child = centre.spawn(&args);
    let first = centre.next().await.request.unwrap();
    assert_eq!(first.renews, None);
    assert_eq!(centre.next().await.path, "/api/v1/communes");
    for _ in 0..2 {
        let renewal = centre.next().await.request.unwrap();
        assert_eq!(renewal.renews.unwrap().to_string(), GRANT);
        assert_ne!(renewal.jti, first.jti);
        assert_eq!(renewal.cameras, first.cameras);
    }
    let id = i32::try_from(child.id().unwrap()).unwrap();
    let process = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    loop {
        let call = centre.next().await;
        if call.method == Method::DELETE {
            assert_eq!(call.path, format!("/api/v1/grants/{GRANT}"));
            break;
        }
    }
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    // Said beforehand: until when, and what ends it then.
    let grant: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(grant["renewable"]["by"], "max_total", "{grant}");
    let until = grant["renewable"]["until"].as_str().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    let told = told.lines().find(|line| line.contains("holding")).unwrap();
    assert!(told.contains(until) && told.contains("max_total"), "{told}");
    assert!(
        told.contains("1 h 59 min") || told.contains("2 h 00 min"),
        "{told}"
    );
}

#[tokio::test]
async fn hold_cancels_a_request_that_waits_when_stopped() {
    let mut centre = Centre::start(false, |api| api.waits = true).await;
    let args: Vec<&str> = ASK.iter().copied().chain(["--hold"]).collect();
    let child = centre.spawn(&args);
    assert!(centre.next().await.request.is_some());
    assert_eq!(centre.next().await.path, WAITING);
    let id = i32::try_from(child.id().unwrap()).unwrap();
    let process = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    loop {
        let call = centre.next().await;
        if call.method == Method::DELETE {
            assert_eq!(call.path, WAITING);
            break;
        }
    }
    let output = child.wait_with_output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "nothing was granted");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("Ctrl-C cancels the request"), "{told}");
    assert!(told.contains("cancelled; nothing was granted"), "{told}");
}

#[tokio::test]
async fn renew_release_and_status() {
    let mut centre = Centre::start(false, |_| {}).await;
    let (status, _, err) = centre.run(&["renew", GRANT, "--for", "10m"]).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(err.contains("signing: quai-nord of berre-l-etang"), "{err}");
    let call = centre.next().await;
    assert_eq!(call.path, format!("/api/v1/grants/{GRANT}"));
    let claims = centre.next().await.request.unwrap();
    assert_eq!(claims.renews.unwrap().to_string(), GRANT);
    assert_eq!((claims.grounds.as_str(), claims.duration), ("pursuit", 600));
    assert_eq!(claims.incident.as_str(), "COG-13/42");

    let (status, _, err) = centre.run(&["release", GRANT]).await;
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(centre.next().await.method, Method::DELETE);

    let (status, out, err) = centre.run(&["status"]).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(
        out.contains("berre-l-etang") && out.contains("online"),
        "{out}"
    );
    assert!(
        out.contains("quai-nord") && out.contains("COG-13/42"),
        "{out}"
    );
    let (_, out, _) = centre.run(&["status", "--json"]).await;
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["centre"], "corg-13");
}

#[tokio::test]
async fn wrong_use_is_told_before_anything_is_signed() {
    let mut centre = Centre::start(false, |_| {}).await;
    let twice: Vec<&str> = ASK.iter().copied().chain(["--camera", "mairie"]).collect();
    let (status, _, err) = centre.run(&twice).await;
    assert_eq!(status, Some(2), "{err}");
    assert!(err.contains("mairie is named twice"), "{err}");
    let (status, ..) = centre.run(&["release", "not-a-grant"]).await;
    assert_eq!(status, Some(2));
    centre.place.write("operator.key", "no key");
    let (status, _, err) = centre.run(ASK).await;
    assert_eq!(status, Some(2), "{err}");
    assert!(centre.calls.try_recv().is_err());
}
