//! The same in real browsers: a stolen receiver's answers are opened, framed, fetched, run and
//! registered in every way that a page or a link has, and the operator's page works.

use serde_json::{Value, json};

use super::stranger::{Answers, Between, Stranger, answer};
use crate::browser::{Browser, Kind, id};
use crate::console::room::{Room, demo_fragment};
use crate::workstation::Workstation;
use crate::world::Plan;

/// Run anywhere on the operator's origin, this leaves its mark.
const PAYLOAD: &str = "localStorage.setItem('owned', location.href); document.cookie = 'owned=1'; \
    try { parent.postMessage('owned', '*') } catch {}";

/// The ways in which an answer could run or leave something, by name.
fn attacks() -> Vec<(&'static str, Vec<u8>)> {
    let page = format!("<!doctype html><title>owned</title><script>{PAYLOAD}</script>");
    let typed = |kind: &str| format!("content-type: {kind}");
    let good = |kind: &str, body: &str| answer("200 OK", &[&typed(kind)], body);
    let with = |headers: &[&str]| {
        let mut all = vec!["content-type: application/json"];
        all.extend(headers);
        answer("200 OK", &all, &page)
    };
    let svg = format!("<svg xmlns='http://www.w3.org/2000/svg'><script>{PAYLOAD}</script></svg>");
    let xhtml = format!(
        "<html xmlns='http://www.w3.org/1999/xhtml'><body><script>{PAYLOAD}</script></body></html>"
    );
    let xsl = format!(
        "<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>\
         <xsl:template match='/'><html><body><script>{PAYLOAD}</script></body></html>\
         </xsl:template></xsl:stylesheet>"
    );
    let styled = "<?xml version='1.0'?><?xml-stylesheet type='text/xsl' href='/api/v1/xsl'?><x/>";
    let parts = format!("--b\r\ncontent-type: text/html\r\n\r\n{page}\r\n--b--\r\n");
    vec![
        ("html", good("text/html", &page)),
        (
            "html-404",
            answer("404 Not Found", &["content-type: text/html"], &page),
        ),
        ("svg", good("image/svg+xml", &svg)),
        ("xhtml", good("application/xhtml+xml", &xhtml)),
        ("xml", good("application/xml", styled)),
        ("xsl", good("text/xsl", &xsl)),
        ("script", good("text/javascript", PAYLOAD)),
        (
            "worker",
            answer(
                "200 OK",
                &["content-type: text/javascript", "service-worker-allowed: /"],
                "addEventListener('fetch', (e) => e.respondWith(new Response('owned')))",
            ),
        ),
        (
            "style",
            good("text/css", "body { background: url(/api/v1/beacon) }"),
        ),
        (
            "mixed",
            good("multipart/x-mixed-replace; boundary=b", &parts),
        ),
        ("untyped", answer("200 OK", &[], &page)),
        ("plain", good("text/plain", &page)),
        ("json", with(&[])),
        (
            "moved",
            answer("302 Found", &["location: /api/v1/html"], &page),
        ),
        (
            "away",
            answer("302 Found", &["location: javascript:alert(1)"], &page),
        ),
        ("refresh", with(&["refresh: 0; url=/api/v1/html"])),
        (
            "cookie",
            with(&["set-cookie: owned=1; Path=/; Max-Age=9999"]),
        ),
        ("clear", with(&["clear-site-data: \"*\""])),
        (
            "link",
            with(&["link: </api/v1/script>; rel=preload; as=script"]),
        ),
        (
            "saved",
            with(&["content-disposition: attachment; filename=owned.html"]),
        ),
        (
            "kept",
            with(&[
                "cache-control: public, max-age=99999, immutable",
                "etag: \"x\"",
            ]),
        ),
    ]
}

/// A page of the stranger's own, on another site, that frames and loads all it can.
fn evil_page(origin: &str) -> Vec<u8> {
    let mut body = String::from(
        "<!doctype html><title>evil</title><script>onmessage = () => document.title = 'owned'</script>",
    );
    let framed = [
        "",
        "page/watch/wall.html",
        "api/v1/html",
        "api/v1/json",
        "local/v1/operator",
    ];
    for path in framed {
        body.push_str(&format!("<iframe src='{origin}/{path}'></iframe>"));
    }
    for path in ["api/v1/script", "page/core/api.js", "api/v1/json"] {
        body.push_str(&format!("<script src='{origin}/{path}'></script>"));
    }
    body.push_str(&format!(
        "<img src='{origin}/api/v1/svg'><object data='{origin}/api/v1/html'></object>"
    ));
    body.push_str(&format!(
        "<link rel=stylesheet href='{origin}/api/v1/style'>"
    ));
    answer("200 OK", &["content-type: text/html"], &body)
}

fn answers() -> Answers {
    let named = attacks().into_iter();
    named
        .map(|(name, answer)| (format!("/api/v1/{name}"), answer))
        .collect()
}

/// What an attack would have left on the operator's origin.
const LEFT: &str = "(async () => ({
  title: document.title,
  owned: localStorage.getItem('owned'),
  mine: localStorage.getItem('mine'),
  session: sessionStorage.getItem('fanal-session'),
  cookies: document.cookie,
  workers: (await navigator.serviceWorker.getRegistrations()).length,
  caches: (await caches.keys()).length,
}))()";

async fn is_untouched(browser: &mut Browser, secret: &str) {
    let wanted = json!({
        "title": "fanal", "owned": null, "mine": "1", "session": secret, "cookies": "", "workers": 0,
        "caches": 0,
    });
    assert_eq!(browser.evaluate(LEFT).await, wanted);
}

/// Signs in through the printed address, or through a proxy in front of it.
async fn open(browser: &mut Browser, origin: &str, station: &Workstation) {
    browser
        .goto(&format!("{origin}/#session={}", station.secret))
        .await;
    browser.says(&id("sign-in-name"), "Adjudant 13-1").await;
    browser.evaluate("localStorage.setItem('mine', '1')").await;
}

/// Everything that code on the origin could try with an answer, which none is there to do: how each
/// ends.
const TRIES: &str = "async (names, secret) => {
  const settled = (make) => new Promise((resolve) => {
    const done = (how) => resolve(how);
    setTimeout(done, 4000, 'late');
    try { make(done); } catch (error) { done(`threw ${error.name}`); }
  });
  const element = (tag, key, url, more = {}) => settled((done) => {
    const made = Object.assign(document.createElement(tag), more);
    made.onload = () => done('loaded');
    made.onerror = () => done('failed');
    made[key] = url;
    document.body.append(made);
  });
  const found = {};
  for (const name of names) {
    const url = `/api/v1/${name}`;
    const fetched = await fetch(url, { headers: { 'x-fanal-session': secret }, redirect: 'manual' });
    found[name] = {
      fetch: `${fetched.status} ${fetched.type} ${fetched.headers.get('content-type')}`,
      image: await element('img', 'src', url),
      script: await element('script', 'src', url),
      module: await element('script', 'src', url, { type: 'module' }),
      style: await element('link', 'href', url, { rel: 'stylesheet' }),
      import: await import(url).then(() => 'loaded', () => 'failed'),
      worker: await settled((done) => {
        const worker = new Worker(url);
        worker.onerror = () => done('failed');
        worker.onmessage = () => done('loaded');
      }),
      service: await navigator.serviceWorker.register(url, { scope: '/' }).then(() => 'loaded', () => 'failed'),
    };
  }
  return found;
}";

async fn nothing_runs(kind: Kind) {
    let Some(mut browser) = Browser::start(kind).await else {
        return;
    };
    let stranger = Stranger::start(answers()).await;
    let (station, _files) = stranger.workstation().await;
    let origin = format!("http://{}", station.address);
    open(&mut browser, &origin, &station).await;
    // Opened by a link: not even asked of the receiver.
    for (name, _) in attacks() {
        browser.try_goto(&format!("{origin}/api/v1/{name}")).await;
    }
    for (name, _) in attacks() {
        assert!(stranger.asked(&format!("/api/v1/{name} ")).is_empty());
    }
    browser.goto(&format!("{origin}/")).await;
    is_untouched(&mut browser, &station.secret).await;
    // By code on the origin, with the secret, past the page's own policy.
    let names: Vec<&str> = attacks().iter().map(|(name, _)| *name).collect();
    let tried = format!("({TRIES})({}, {})", json!(names), json!(station.secret));
    let tried = browser.evaluate_beside(&tried).await;
    for (name, found) in tried.as_object().unwrap() {
        let fetched = found["fetch"].as_str().unwrap();
        let is_made = fetched == "200 basic application/json"
            || fetched == "502 basic application/problem+json";
        assert!(is_made, "{name}: {fetched}");
        for (way, how) in found.as_object().unwrap() {
            let runs = way != "fetch" && how.as_str().unwrap().starts_with("loaded");
            assert!(!runs, "{name} as {way}: {how}");
        }
    }
    browser.goto(&format!("{origin}/")).await;
    is_untouched(&mut browser, &station.secret).await;
}

/// The answers alone, without what a browser says of itself: links lead to them with the secret.
async fn answers_do_nothing_by_themselves(kind: Kind) {
    let Some(mut browser) = Browser::start(kind).await else {
        return;
    };
    let stranger = Stranger::start(answers()).await;
    let (station, _files) = stranger.workstation().await;
    let between = Between::silencing(&station).await;
    let origin = format!("http://{}", between.address);
    open(&mut browser, &origin, &station).await;
    for (name, _) in attacks() {
        browser.try_goto(&format!("{origin}/api/v1/{name}")).await;
        let shown = browser.evaluate_beside("document.title").await;
        assert_ne!(shown, "owned", "{name}");
    }
    for (name, _) in attacks() {
        let asked = stranger.asked(&format!("/api/v1/{name}"));
        assert!(!asked.is_empty(), "{name} was never asked for");
    }
    assert!(stranger.asked("/api/v1/beacon").is_empty());
    browser.goto(&format!("{origin}/")).await;
    browser.says(&id("sign-in-name"), "Adjudant 13-1").await;
    is_untouched(&mut browser, &station.secret).await;
}

/// From a page of another site: no frame shows a page of this origin, and nothing is given to it.
async fn nothing_is_framed(kind: Kind) {
    let Some(mut browser) = Browser::start(kind).await else {
        return;
    };
    let stranger = Stranger::start(answers()).await;
    let (station, _files) = stranger.workstation().await;
    for between in [
        Between::listening(&station).await,
        Between::silencing(&station).await,
    ] {
        let origin = format!("http://{}", between.address);
        let evil = Stranger::start(vec![("/evil".to_owned(), evil_page(&origin))]).await;
        // Another site than the workstation's 127.0.0.1. It is loaded once its frames are.
        let page = format!("http://localhost:{}/evil", evil.address.port());
        // (Firefox tells of a refused frame as if the page had failed.)
        browser.try_goto(&page).await;
        let loaded = "location.pathname === '/evil' && document.readyState === 'complete'";
        browser.until("the page with its frames", loaded).await;
        for framed in ["/", "/page/watch/wall.html", "/api/v1/html"] {
            assert!(between.was_asked(framed), "{framed}");
        }
        // A page that is shown loads its parts.
        for part in [
            "/page/app.js",
            "/page/watch/wall.js",
            "/page/style/base.css",
        ] {
            assert!(!between.was_asked(part), "{part}: the page was framed");
        }
        let run = "[document.title, localStorage.getItem('owned'), document.cookie, \
            getComputedStyle(document.body).backgroundImage]";
        assert_eq!(
            browser.evaluate(run).await,
            json!(["evil", null, "", "none"])
        );
        // (Here too: of the frames of the page that goes.)
        browser.try_goto(&format!("{origin}/")).await;
        let loaded = "document.title === 'fanal' && document.readyState === 'complete'";
        browser.until("the operator's page", loaded).await;
        assert!(between.was_asked("/page/app.js"));
        assert_eq!(
            browser.evaluate("localStorage.getItem('owned')").await,
            json!(null)
        );
    }
}

/// Pictures through the operator's own machine, the WebSocket included, and the wall's window.
async fn pictures_come(kind: Kind) {
    let Some(mut room) = Room::open(kind, Plan::default()).await else {
        return;
    };
    let now = fanal::clock::Clock::system().now().wall;
    let operator = room
        .world
        .trial
        .simple_operator("13-1", "CORG 13", now)
        .unwrap();
    let (key, cert) = (
        room.world.directory.path("13-1.key"),
        room.world.directory.path("13-1.pem"),
    );
    std::fs::write(&key, operator.key.expose()).unwrap();
    std::fs::write(&cert, &operator.certificate).unwrap();
    let receiver = room.world.addresses.console;
    let mut station = Workstation::start(receiver, &key, &cert, "fr").await;
    room.browser.goto(&station.url()).await;
    room.signed_in("13-1").await;
    assert_eq!(room.browser.evaluate("location.hash").await, "");
    room.open_incident("2026/4711").await;
    room.ask("cam-001").await;
    station.told("demande à berre-l-etang").await;
    room.moves("cam-001").await;
    // The same page without the secret says where to find it.
    room.browser
        .evaluate("sessionStorage.removeItem('fanal-session')")
        .await;
    room.browser.expect_error("401");
    room.browser.expect_error("NetworkError");
    room.browser.goto("about:blank").await;
    let bare = format!("http://{}/", station.address);
    room.browser.goto(&bare).await;
    room.browser.says("#lock", "fanal console").await;
    room.browser.close().await;
    room.world.stop().await;
}

/// A link with somebody's key signs nobody in but at the demo.
async fn a_link_signs_nobody_in(kind: Kind) {
    let plan = Plan {
        demo_page: false,
        ..Plan::default()
    };
    let Some(mut room) = Room::open(kind, plan).await else {
        return;
    };
    let now = fanal::clock::Clock::system().now().wall;
    let other = room
        .world
        .trial
        .simple_operator("13-9", "CORG 13", now)
        .unwrap();
    let url = room.url(&demo_fragment(&other));
    room.browser.goto(&url).await;
    room.browser.shown(&id("person-add")).await;
    let named: Value = room
        .browser
        .evaluate(&format!("document.querySelector('{}')", id("sign-in-name")))
        .await;
    assert!(named.is_null());
    room.browser.close().await;
    room.world.stop().await;
}

#[tokio::test]
async fn nothing_of_a_receiver_runs_in_chromium() {
    nothing_runs(Kind::Chromium).await;
}

#[tokio::test]
async fn nothing_of_a_receiver_runs_in_firefox() {
    nothing_runs(Kind::Firefox).await;
}

#[tokio::test]
async fn answers_do_nothing_by_themselves_in_chromium() {
    answers_do_nothing_by_themselves(Kind::Chromium).await;
}

#[tokio::test]
async fn answers_do_nothing_by_themselves_in_firefox() {
    answers_do_nothing_by_themselves(Kind::Firefox).await;
}

#[tokio::test]
async fn nothing_is_framed_in_chromium() {
    nothing_is_framed(Kind::Chromium).await;
}

#[tokio::test]
async fn nothing_is_framed_in_firefox() {
    nothing_is_framed(Kind::Firefox).await;
}

#[tokio::test]
async fn pictures_come_by_the_operators_machine_in_chromium() {
    pictures_come(Kind::Chromium).await;
}

#[tokio::test]
async fn pictures_come_by_the_operators_machine_in_firefox() {
    pictures_come(Kind::Firefox).await;
}

#[tokio::test]
async fn a_link_signs_nobody_in_in_chromium() {
    a_link_signs_nobody_in(Kind::Chromium).await;
}

#[tokio::test]
async fn a_link_signs_nobody_in_in_firefox() {
    a_link_signs_nobody_in(Kind::Firefox).await;
}
