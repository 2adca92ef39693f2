//! The pages: their files, in the binary, and how they are answered with.
//!
//! The receiver serves the operators' page at its console address, the gateway the commune's page at
//! `[page]`; `fanal console` serves either on a person's own machine. No build step: plain ES modules and CSS, as they stand in `page/`
//! (debug builds read them from there for each call). `types.d.ts` beside it has the types of
//! the page's data, which `deploy/dev/page/check.sh` checks.
//!
//! The page's folders, from the lowest up (`tests/it/conventions.rs` checks them):
//!
//! | folder | what | uses |
//! |---|---|---|
//! | `text` | all words, French and English | – |
//! | `core` | elements, API, events, time, store, shortcuts | text |
//! | `state` | pure rules of grants and interventions; names, records and sentences from the store | core |
//! | `widget` | dialogs, messages, redrawing | core state |
//! | `sign` | keys, designations, signing in, the lock | core state widget |
//! | `record` | the record of an intervention: to read, print, export | core state widget |
//! | `incident` | the desk, and the panel of the intervention | core state widget record |
//! | `find` | the panel that finds cameras: list, map, saved sets | core state widget |
//! | `watch` | the panel of the pictures: mosaic, worker, the wall's window | core state widget |
//! | `frame` | the header, and what connects the panels | all above |
//! | `commune` | the commune's page, which begins at `start.js` | core state widget sign frame |
//! | `app.js` | the start of the operators' page | all above |

use std::borrow::Cow;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::http::Problem;

/// Nothing but the page's own files, no inline code, no form target, no frame; and
/// no text becomes code or markup (Trusted Types, where the browser knows them; the one
/// policy names the page's own worker).
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; \
    style-src 'self'; img-src 'self' blob:; connect-src 'self'; worker-src 'self'; \
    manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types fanal";

#[derive(rust_embed::Embed)]
#[folder = "src/console/page"]
struct Page;

/// The routes of the operators' page: `/`, and each of its files by name.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes("index.html")
}

/// The routes of the commune's page.
pub fn commune<S: Clone + Send + Sync + 'static>() -> Router<S> {
    routes("commune/index.html")
}

fn routes<S: Clone + Send + Sync + 'static>(index: &'static str) -> Router<S> {
    Router::new()
        .route(
            "/",
            get(async move |headers: HeaderMap| answer(index, &headers)),
        )
        .route("/page/{*path}", get(file))
}

async fn file(Path(path): Path<String>, headers: HeaderMap) -> Response {
    answer(&path, &headers)
}

fn answer(path: &str, headers: &HeaderMap) -> Response {
    let Some(file) = Page::get(path) else {
        return Problem::with_status(404, "the page has no such file").into_response();
    };
    let tag = tag(&file.metadata.sha256_hash());
    let known = headers.get(header::IF_NONE_MATCH);
    let mut response = if known == Some(&tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match file.data {
            Cow::Borrowed(bytes) => bytes.into_response(),
            Cow::Owned(bytes) => bytes.into_response(),
        }
    };
    let answered = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, content_type(path)),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // A new binary is a new page at once.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in fixed {
        answered.insert(name, HeaderValue::from_static(value));
    }
    let isolated = HeaderValue::from_static("same-origin");
    answered.insert("cross-origin-opener-policy", isolated.clone());
    answered.insert("cross-origin-resource-policy", isolated);
    answered.insert(header::ETAG, tag);
    response
}

fn tag(hash: &[u8; 32]) -> HeaderValue {
    use base64::Engine;
    let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(&hash[..12]);
    HeaderValue::from_str(&format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// By the endings that the page has.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "webmanifest" => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_a_type() {
        let mut count = 0;
        for path in Page::iter() {
            assert_ne!(content_type(&path), "application/octet-stream", "{path}");
            count += 1;
        }
        assert!(count > 3);
    }
}
