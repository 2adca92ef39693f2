//! One POST to a camera, over a connection of its own: cameras keep few open.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header;
use hyper_util::rt::TokioIo;
use url::{Position, Url};

use crate::connect;

/// Connection and answer together.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Largest answer: the profiles of a recorder with 64 cameras.
const BODY_LIMIT: usize = 256 * 1024;
/// Largest head of an answer.
const HEAD_LIMIT: usize = 16 * 1024;

/// What is sent.
#[derive(Debug)]
pub(super) struct Post<'a> {
    pub(super) url: &'a Url,
    pub(super) content_type: String,
    pub(super) authorization: Option<Vec<u8>>,
    pub(super) body: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The `WWW-Authenticate` headers, in whatever encoding.
    pub(super) challenges: Vec<Vec<u8>>,
    pub(super) body: Bytes,
}

impl Post<'_> {
    /// Sends it; the error says why there is no answer, and names no address.
    pub(super) async fn send(self) -> Result<Answer, String> {
        match tokio::time::timeout(TIMEOUT, self.exchange()).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn exchange(self) -> Result<Answer, String> {
        let port = self.url.port_or_known_default().unwrap_or(80);
        // Host names come without the brackets of IPv6 addresses.
        let host = self.url.host_str().unwrap_or_default();
        let connected = connect::connect(host.trim_matches(['[', ']']), port).await;
        let (stream, _) = connected.map_err(|error| error.kind().to_string())?;
        stream
            .set_nodelay(true)
            .map_err(|error| error.kind().to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let answer = async move {
            let request = self.request()?;
            let response = sender.send_request(request).await;
            read(response.map_err(|error| error.to_string())?).await
        };
        tokio::pin!(answer, connection);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // The whole answer is in by then, or never will be.
            _ = &mut connection => answer.await,
        }
    }

    fn request(self) -> Result<hyper::Request<Full<Bytes>>, String> {
        let url = self.url;
        let mut request = hyper::Request::post(&url[Position::BeforePath..Position::AfterQuery])
            .header(
                header::HOST,
                &url[Position::BeforeHost..Position::AfterPort],
            )
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::CONNECTION, "close");
        if let Some(authorization) = self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(Bytes::from(self.body));
        request.body(body).map_err(|error| error.to_string())
    }
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> Result<Answer, String> {
    let (head, body) = response.into_parts();
    let challenges = head.headers.get_all(header::WWW_AUTHENTICATE).iter();
    let challenges = challenges
        .map(|challenge| challenge.as_bytes().to_vec())
        .collect();
    let body = Limited::new(body, BODY_LIMIT).collect().await;
    Ok(Answer {
        status: head.status.as_u16(),
        challenges,
        body: body.map_err(|error| error.to_string())?.to_bytes(),
    })
}
