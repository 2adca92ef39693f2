//! Real browsers, as an operator uses them: clicks, keys, what is on the screen.
//!
//! Whatever the page writes to its console as an error, an exception of its own and each
//! breach of its Content-Security-Policy fail the test ([`Browser::close`]). Waits are for
//! conditions in the page, bounded by [`PATIENCE`].

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::tools::have;
use crate::world::{Plan, World};

mod bidi;
mod launch;
mod page;

use bidi::Connection;
use launch::{Launched, Process};
pub use page::id;

/// Longest wait for anything that should happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Browsers that run at once, beside all other tests.
static RUNNING: Semaphore = Semaphore::const_new(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chromium,
    Firefox,
}

/// Tells of breaches of the policy as errors of the console. Runs before the page does.
const TELL_BREACHES: &str = "() => document.addEventListener('securitypolicyviolation', (event) =>
    console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI} ${event.sample}`))";

/// A running browser with one page in front.
pub struct Browser {
    connection: Connection,
    process: Process,
    /// The page in front, as the browser names it.
    context: String,
    /// Parts of errors that a test expects.
    expected: Vec<&'static str>,
    _permit: SemaphorePermit<'static>,
}

impl Browser {
    /// Starts one; `None` where it is not installed (and nothing is said against that).
    pub async fn start(kind: Kind) -> Option<Self> {
        let programs: &[&str] = match kind {
            Kind::Chromium => &["chromium", "chromedriver"],
            Kind::Firefox => &["firefox-esr"],
        };
        if !programs.iter().all(|program| have(program)) {
            return None;
        }
        let permit = RUNNING.acquire().await.unwrap();
        let Launched {
            connection,
            process,
        } = launch::start(kind).await;
        let mut browser = Self {
            connection,
            process,
            context: String::new(),
            expected: Vec::new(),
            _permit: permit,
        };
        let events = json!({ "events": ["log.entryAdded"] });
        browser.command("session.subscribe", events).await;
        let breaches = json!({ "functionDeclaration": TELL_BREACHES });
        browser.command("script.addPreloadScript", breaches).await;
        browser.context = browser.windows().await.remove(0);
        browser.set_viewport(1280, 800, 1.0).await;
        Some(browser)
    }

    /// A command that must succeed.
    async fn command(&mut self, method: &str, params: Value) -> Value {
        let answer = self.connection.call(method, params, PATIENCE).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Runs a function before each page from now on, as a setting of the browser would.
    pub async fn run_before_pages(&mut self, function: &str) {
        let script = json!({ "functionDeclaration": function });
        self.command("script.addPreloadScript", script).await;
    }

    /// What all processes of the browser have taken of the processors so far.
    pub fn processor_time(&self) -> Duration {
        self.process.processor_time()
    }

    /// Loads a page and waits for it and its modules. The same page with another fragment
    /// is not loaded again.
    pub async fn goto(&mut self, url: &str) {
        let params = json!({ "context": self.context, "url": url, "wait": "complete" });
        self.command("browsingContext.navigate", params).await;
    }

    /// The same where the browser may refuse to show it.
    pub async fn try_goto(&mut self, url: &str) {
        let params = json!({ "context": self.context, "url": url, "wait": "complete" });
        let shown = self
            .connection
            .call("browsingContext.navigate", params, PATIENCE);
        let _ = shown.await;
    }

    pub async fn reload(&mut self) {
        let params = json!({ "context": self.context, "wait": "complete" });
        self.command("browsingContext.reload", params).await;
    }

    /// Opens a tab as another program does: one of its own, with nothing of the others'. It is in front
    /// from now on; gives the name of the one before.
    pub async fn open_tab(&mut self, url: &str) -> String {
        let made = self
            .command("browsingContext.create", json!({ "type": "tab" }))
            .await;
        let context = made["context"].as_str().unwrap().to_owned();
        let before = std::mem::replace(&mut self.context, context);
        self.goto(url).await;
        before
    }

    /// Goes to one of the tabs.
    pub async fn turn_to(&mut self, context: String) {
        let params = json!({ "context": context });
        self.context = context;
        self.command("browsingContext.activate", params).await;
    }

    /// The page's windows, the oldest first.
    pub async fn windows(&mut self) -> Vec<String> {
        let tree = self.command("browsingContext.getTree", json!({})).await;
        let contexts = tree["contexts"].as_array().unwrap().iter();
        contexts
            .map(|context| context["context"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Sets the size in CSS pixels, and how many of the screen's make one: a page zoomed to
    /// 200 % has half the pixels at a ratio of 2.
    pub async fn set_viewport(&mut self, width: u32, height: u32, ratio: f64) {
        let params = json!({
            "context": self.context,
            "viewport": { "width": width, "height": height },
            "devicePixelRatio": ratio,
        });
        self.command("browsingContext.setViewport", params).await;
    }

    /// What is on the screen, as PNG.
    pub async fn screenshot(&mut self) -> Vec<u8> {
        let params = json!({ "context": self.context });
        let taken = self
            .command("browsingContext.captureScreenshot", params)
            .await;
        STANDARD.decode(taken["data"].as_str().unwrap()).unwrap()
    }

    /// Keeps what is on the screen as `NAME.png` in `FANAL_SCREENSHOTS`, where that is set.
    pub async fn keep_screenshot(&mut self, name: &str) {
        if let Some(directory) = std::env::var_os("FANAL_SCREENSHOTS") {
            let path = Path::new(&directory).join(format!("{name}.png"));
            let picture = self.screenshot().await;
            std::fs::write(path, picture).unwrap();
        }
    }

    /// Keeps what a printer would get as `NAME.pdf` there.
    pub async fn keep_print(&mut self, name: &str) {
        if let Some(directory) = std::env::var_os("FANAL_SCREENSHOTS") {
            let size = json!({ "width": 21.0, "height": 29.7 });
            let params = json!({ "context": self.context, "page": size, "background": true });
            let answer = self.command("browsingContext.print", params).await;
            let pdf = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
            std::fs::write(Path::new(&directory).join(format!("{name}.pdf")), pdf).unwrap();
        }
    }

    /// Lets errors with these words pass: what a browser itself says of a lost connection.
    pub fn expect_error(&mut self, words: &'static str) {
        self.expected.push(words);
    }

    /// The errors told so far, without those expected.
    fn errors(&mut self) -> Vec<String> {
        let events = self.connection.take_events().into_iter();
        let errors = events
            .filter(|event| event.method == "log.entryAdded" && event.params["level"] == "error");
        let texts = errors.map(|event| {
            let place = &event.params["stackTrace"]["callFrames"][0];
            let text = event.params["text"].as_str().unwrap_or_default();
            format!("{text} ({}:{})", place["url"], place["lineNumber"])
        });
        let expected = &self.expected;
        texts
            .filter(|text| !expected.iter().any(|words| text.contains(words)))
            .collect()
    }

    /// Ends the browser. Errors of the page's console fail the test.
    pub async fn close(mut self) {
        // An answer comes after all that was told before it.
        self.windows().await;
        let errors = self.errors();
        assert!(errors.is_empty(), "the page's console: {errors:#?}");
    }
}

/// The tests of pages are only as good as what makes them fail.
async fn errors_of_a_page_are_told(kind: Kind) {
    let Some(mut browser) = Browser::start(kind).await else {
        return;
    };
    let world = World::start(Plan::default()).await;
    let page = format!("http://{}/", world.addresses.console);
    browser.goto(&page).await;
    browser.until("the page", "document.title").await;
    browser.evaluate("console.warn('only a warning')").await;
    browser.windows().await;
    assert_eq!(browser.errors(), Vec::<String>::new());
    let told = "import(`${location.origin}/page/core/dom.js`).then(() => {
        console.error('written by the page');
        setTimeout(() => { throw new Error('thrown by the page'); });
        Promise.reject(new Error('refused by the page'));
        const script = document.createElement('script');
        script.src = 'http://other.example/';
        document.head.append(script);
    })";
    // Trusted Types stop what an element is given as code; the policy what is loaded.
    let _ = browser.try_evaluate(told).await;
    let image = "Object.assign(document.body.appendChild(new Image()), \
        { src: 'http://other.example/picture' }).src";
    browser.evaluate(image).await;
    let frame = "new Promise((done) => setTimeout(() => requestAnimationFrame(done)))";
    browser.evaluate(frame).await;
    let errors = browser.errors().join("\n");
    for words in [
        "written by the page",
        "thrown by the page",
        "refused by the page",
        "policy: ",
    ] {
        assert!(errors.contains(words), "{words} not in {errors}");
    }
    browser.close().await;
    world.stop().await;
}

#[tokio::test]
async fn errors_of_a_page_in_chromium_are_told() {
    errors_of_a_page_are_told(Kind::Chromium).await;
}

#[tokio::test]
async fn errors_of_a_page_in_firefox_are_told() {
    errors_of_a_page_are_told(Kind::Firefox).await;
}
