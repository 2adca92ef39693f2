//! One attempt over HTTPS: Standard Webhooks' three headers, one POST, no redirect, and of the
//! answer nothing but its status.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use url::Url;

use super::queue::{Answer, Attempt};
use crate::config::settings;
use crate::config::values::webhook_key;
use crate::connect;
use crate::pki;
use crate::secret::Secret;

/// Bytes of an answer's head.
const HEAD_LIMIT: usize = 16 * 1024;

/// Where notices go.
pub(super) struct Target {
    url: Url,
    host: String,
    port: u16,
    name: ServerName<'static>,
    tls: TlsConnector,
    key: hmac::Key,
}

impl Target {
    /// Reads the authorities: blocks.
    ///
    /// # Errors
    /// None can be read, or the settings' key is none.
    pub(super) fn new(settings: &settings::Notify) -> Result<Self, String> {
        let url = settings.url.clone();
        let host = url.host().ok_or("the address names no host")?;
        let (host, name) = match host {
            url::Host::Domain(name) => (name.to_owned(), ServerName::try_from(name.to_owned())),
            url::Host::Ipv4(ip) => (ip.to_string(), Ok(std::net::IpAddr::from(ip).into())),
            url::Host::Ipv6(ip) => (ip.to_string(), Ok(std::net::IpAddr::from(ip).into())),
        };
        let name = name.map_err(|error| format!("{host} is no name of a server: {error}"))?;
        let tls = pki::client(settings.authority.as_deref(), &["http/1.1"])?;
        Ok(Self {
            host,
            port: url.port_or_known_default().unwrap_or(443),
            name,
            tls: TlsConnector::from(Arc::new(tls)),
            key: key(&settings.secret)?,
            url,
        })
    }

    /// Sends a notice, within this time.
    pub(super) async fn send(
        &self,
        attempt: &Attempt,
        seconds: i64,
        limit: Duration,
    ) -> (Answer, Option<String>) {
        match tokio::time::timeout(limit, self.post(attempt, seconds)).await {
            Ok(Ok((status, after))) => (judge(status, after), problem(status)),
            Ok(Err(cause)) => (Answer::Failed(None), Some(cause)),
            Err(_) => {
                let cause = format!("no answer within {} ms", limit.as_millis());
                (Answer::Failed(None), Some(cause))
            }
        }
    }

    async fn post(
        &self,
        attempt: &Attempt,
        seconds: i64,
    ) -> Result<(StatusCode, Option<Duration>), String> {
        let (stream, _) = connect::connect(&self.host, self.port)
            .await
            .map_err(|error| format!("can't connect: {error}"))?;
        let stream = self.tls.connect(self.name.clone(), stream).await;
        let stream = stream.map_err(|error| format!("TLS: {error}"))?;
        let request = self.request(attempt, seconds)?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let (mut answer, mut connection) =
            (Box::pin(sender.send_request(request)), Box::pin(connection));
        let answered = tokio::select! {
            biased;
            answered = &mut answer => answered,
            // It carried the answer, or there is none.
            _ = &mut connection => answer.await,
        };
        let answered = answered.map_err(|error| error.to_string())?;
        let after = answered.headers().get(header::RETRY_AFTER);
        let after = after.and_then(|value| value.to_str().ok()?.trim().parse().ok());
        Ok((answered.status(), after.map(Duration::from_secs)))
    }

    fn request(&self, attempt: &Attempt, seconds: i64) -> Result<Request<Full<Bytes>>, String> {
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let host = &self.url[url::Position::BeforeHost..url::Position::AfterPort];
        Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("fanal/", env!("CARGO_PKG_VERSION")),
            )
            .header("webhook-id", &attempt.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", self.sign(attempt, seconds))
            .body(Full::new(Bytes::copy_from_slice(attempt.body.as_bytes())))
            .map_err(|error| error.to_string())
    }

    fn sign(&self, attempt: &Attempt, seconds: i64) -> String {
        signature(&self.key, &attempt.id, seconds, &attempt.body)
    }
}

/// `v1,` and the HMAC-SHA256 of `ID.SECONDS.BODY` in base64.
fn signature(key: &hmac::Key, id: &str, seconds: i64, body: &str) -> String {
    let signed = format!("{id}.{seconds}.{body}");
    let code = hmac::sign(key, signed.as_bytes());
    format!("v1,{}", STANDARD.encode(code.as_ref()))
}

fn key(secret: &Secret) -> Result<hmac::Key, String> {
    let bytes = webhook_key(secret.expose())?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn judge(status: StatusCode, after: Option<Duration>) -> Answer {
    match status.as_u16() {
        200..=299 => Answer::Taken,
        410 => Answer::Gone,
        408 | 425 | 429 => Answer::Failed(after),
        400..=499 => Answer::Refused,
        _ => Answer::Failed(after),
    }
}

fn problem(status: StatusCode) -> Option<String> {
    match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(format!("{status}: redirects are not followed; correct url")),
        _ => Some(status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks' own test suites.
    #[test]
    fn signatures_are_those_of_standard_webhooks() {
        let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", r#"{"test": 2432232314}"#);
        assert_eq!(
            signature(&key(&secret).unwrap(), id, 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn each_status_has_its_answer() {
        let judged = |code| judge(StatusCode::from_u16(code).unwrap(), None);
        for code in [200, 202, 204] {
            assert_eq!(judged(code), Answer::Taken);
        }
        for code in [301, 302, 307, 308, 408, 429, 500, 502, 503] {
            assert_eq!(judged(code), Answer::Failed(None), "{code}");
        }
        for code in [400, 401, 404, 413] {
            assert_eq!(judged(code), Answer::Refused, "{code}");
        }
        assert_eq!(judged(410), Answer::Gone);
    }
}
