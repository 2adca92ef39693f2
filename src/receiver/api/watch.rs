//! One camera on its way to a live connection: opened, described, and each picture as a message.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Message;
use base64::Engine;
use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Api;
use super::live::{ToClient, VIEW_TIMEOUT};
use crate::media::source::{self, Event};
use crate::media::unit::{AccessUnit, Configuration};
use crate::reason::Reason;
use crate::receiver::control::Table;
use crate::receiver::viewing::ViewRequest;

/// How often is looked at what keeps a camera's first picture.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long pictures that go to another receiver are waited for.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

/// The codec that the client does not decode, and why nothing else comes.
type Undecodable = (String, Option<Reason>);

/// One camera's way to the socket.
pub(super) struct Watch {
    pub(super) api: Arc<Api>,
    pub(super) number: u64,
    pub(super) tag: u32,
    pub(super) name: String,
    pub(super) request: ViewRequest,
    pub(super) outgoing: mpsc::Sender<(u64, Message)>,
}

impl Watch {
    pub(super) async fn run(self) {
        debug_assert_eq!(std::thread::current().name(), Some("frames"));
        let reason = loop {
            match self.pictures().await {
                // Another codec: the client is told and the pictures go on.
                Ok(Reason::StreamChanged) => {}
                Ok(reason) => break reason,
                Err(()) => return,
            }
        };
        let end = ToClient::End {
            tag: self.tag,
            camera: &self.name,
            reason,
        };
        // The session may be over, and then nobody needs to know.
        let _ = self.put(end.message()).await;
    }

    async fn put(&self, message: Message) -> Result<(), ()> {
        let message = (self.number, message);
        self.outgoing.send(message).await.map_err(|_| ())
    }

    /// Sends pictures until they end; `Err`: the session is over.
    async fn pictures(&self) -> Result<Reason, ()> {
        let source = match self.open().await? {
            Ok(source) => source,
            Err(reason) => return Ok(reason),
        };
        let mut subscription = source.subscribe();
        let mut known: Option<Arc<Configuration>> = None;
        loop {
            match subscription.next().await {
                Event::Unit {
                    unit,
                    packets,
                    kept,
                } => {
                    let now = source.configuration();
                    if unit.flags.key && known.as_ref() != Some(&now) {
                        if !self.request.decodes.contains(now.codec) {
                            // The camera's other stream may do.
                            return Ok(Reason::StreamChanged);
                        }
                        self.put(self.configuration(&now)).await?;
                        known = Some(now);
                    }
                    let shared = packets
                        .message
                        .get_or_init(|| encode(self.tag, &unit, kept));
                    self.put(Message::Binary(shared.clone())).await?;
                }
                Event::Skipped => {
                    let skipped = ToClient::Skipped {
                        tag: self.tag,
                        camera: &self.name,
                    };
                    self.put(skipped.message()).await?;
                }
                Event::End(reason) => return Ok(reason),
            }
        }
    }

    /// Waits for the camera as long as its grant lives.
    /// `Err`: the session is over.
    async fn open(&self) -> Result<Result<Arc<dyn source::Source>, Reason>, ()> {
        let hub = &self.api.options.hub;
        let mut table = self.api.options.control.table.clone();
        let mut told = None;
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let moved_by = Instant::now() + MOVED_WITHIN;
        loop {
            table.borrow_and_update();
            let opening = hub.view(self.request.clone(), VIEW_TIMEOUT);
            tokio::pin!(opening);
            let opened = loop {
                tokio::select! {
                    biased;
                    opened = &mut opening => break opened,
                    _ = looks.tick() => {
                        let news = self.undecodable();
                        if news != told {
                            self.tell_undecodable(news.as_ref(), true).await?;
                            told = news;
                        }
                    }
                }
            };
            let reason = match opened {
                Ok(source) => return Ok(Ok(source)),
                Err(reason) => reason,
            };
            if let Some(end) = self.is_over(&table.borrow()) {
                return Ok(Err(end));
            }
            let grant = self.request.grant;
            let is_elsewhere = table.borrow().grant(grant).is_some_and(|one| one.elsewhere);
            match reason {
                // Granted, but its gateway has not sent its proof again yet, or its pictures go to
                // another receiver: where that is lost they come here in a moment.
                Reason::GrantUnknown => {
                    let changed = if is_elsewhere {
                        timeout_at(moved_by, table.changed()).await.ok()
                    } else {
                        Some(table.changed().await)
                    };
                    match changed {
                        Some(Ok(())) => {}
                        Some(Err(_)) => return Ok(Err(Reason::ShuttingDown)),
                        None => return Ok(Err(Reason::OtherReceiver)),
                    }
                }
                Reason::ShuttingDown => return Ok(Err(reason)),
                Reason::CodecUnsupported => {
                    self.tell_undecodable(self.undecodable().as_ref(), false)
                        .await?;
                    return Ok(Err(reason));
                }
                _ => {}
            }
        }
    }

    /// Why the camera can't be watched any more under this grant.
    fn is_over(&self, table: &Table) -> Option<Reason> {
        let Some(grant) = table.grant(self.request.grant) else {
            return Some(Reason::GrantUnknown);
        };
        if let Some(end) = &grant.end {
            return Some(end.refusal.reason);
        }
        let Some(part) = grant.camera(&self.request.camera) else {
            return Some(Reason::GrantUnknown);
        };
        let refusal = part.refusal.as_ref();
        (!part.is_open()).then(|| refusal.map_or(Reason::GrantCut, |refusal| refusal.reason))
    }

    /// What the camera gives, where the client does not decode that, and why nothing else comes.
    fn undecodable(&self) -> Option<Undecodable> {
        let ViewRequest {
            commune, camera, ..
        } = &self.request;
        let (configuration, reason) = self.api.options.hub.first(commune, camera)?;
        let decodes = self.request.decodes.contains(configuration.codec);
        (!decodes).then(|| (configuration.codec_string(), reason))
    }

    async fn tell_undecodable(&self, told: Option<&Undecodable>, waits: bool) -> Result<(), ()> {
        let Some((codec, reason)) = told else {
            return Ok(());
        };
        let message = ToClient::Undecodable {
            tag: self.tag,
            camera: &self.name,
            codec,
            reason: *reason,
            waits,
        };
        self.put(message.message()).await
    }

    fn configuration(&self, configuration: &Configuration) -> Message {
        let engine = base64::engine::general_purpose::STANDARD;
        let message = ToClient::Configuration {
            tag: self.tag,
            camera: &self.name,
            codec: configuration.codec_string(),
            description: engine.encode(&configuration.record),
            width: configuration.width,
            height: configuration.height,
        };
        message.message()
    }
}

/// Bytes before a picture's data.
const UNIT_HEADER: usize = 4 + 1 + 8 + 8;

fn encode(tag: u32, unit: &AccessUnit, kept: bool) -> Bytes {
    let mut bytes = BytesMut::with_capacity(UNIT_HEADER + unit.data.len());
    let flags = u8::from(unit.flags.key)
        | u8::from(unit.flags.disposable) << 1
        | u8::from(unit.flags.loss_before) << 2
        | u8::from(kept) << 3;
    bytes.put_u32(tag);
    bytes.put_u8(flags);
    bytes.put_i64(unit.pts);
    bytes.put_i64(unit.captured);
    bytes.put_slice(&unit.data);
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::unit::UnitFlags;

    #[test]
    fn a_unit_as_it_stands_on_the_wire() {
        let unit = AccessUnit {
            flags: UnitFlags {
                key: true,
                disposable: false,
                loss_before: true,
            },
            pts: 90_000,
            captured: -1,
            data: Bytes::from_static(b"\x00\x00\x00\x01\x65"),
        };
        let golden = [
            0, 0, 0, 7, 0b1101, 0, 0, 0, 0, 0, 1, 0x5f, 0x90, 255, 255, 255, 255, 255, 255, 255,
            255, 0, 0, 0, 1, 0x65,
        ];
        assert_eq!(&encode(7, &unit, true)[..], golden);
    }
}
