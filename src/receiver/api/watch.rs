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
use crate::media::source::Event;
use crate::media::unit::{AccessUnit, Configuration};
use crate::reason::Reason;
use crate::receiver::viewing::ViewRequest;

/// How long pictures that go to another receiver are waited for.
const MOVED_WITHIN: Duration = Duration::from_secs(5);

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
        let source = match self.open().await {
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
    async fn open(&self) -> Result<Arc<dyn crate::media::source::Source>, Reason> {
        let mut table = self.api.options.control.table.clone();
        let moved_by = Instant::now() + MOVED_WITHIN;
        loop {
            table.borrow_and_update();
            let opened = self
                .api
                .options
                .hub
                .view(self.request.clone(), VIEW_TIMEOUT)
                .await;
            let reason = match opened {
                Ok(source) => return Ok(source),
                Err(reason) => reason,
            };
            let is_elsewhere = {
                let table = table.borrow();
                let grant = table.grant(self.request.grant);
                let grant = grant.ok_or(Reason::GrantUnknown)?;
                if let Some(end) = &grant.end {
                    return Err(end.refusal.reason);
                }
                let part = grant.camera(&self.request.camera);
                let part = part.ok_or(Reason::GrantUnknown)?;
                if !part.is_open() {
                    let refusal = part.refusal.as_ref();
                    return Err(refusal.map_or(Reason::GrantCut, |refusal| refusal.reason));
                }
                grant.elsewhere
            };
            // Granted, but its gateway has not sent its proof again yet, or its pictures go to
            // another receiver: where that is lost they come here in a moment.
            if reason == Reason::GrantUnknown {
                let changed = async {
                    if is_elsewhere {
                        timeout_at(moved_by, table.changed()).await.ok()
                    } else {
                        Some(table.changed().await)
                    }
                };
                match changed.await {
                    Some(Ok(())) => {}
                    Some(Err(_)) => return Err(Reason::ShuttingDown),
                    None => return Err(Reason::OtherReceiver),
                }
            }
            if reason == Reason::ShuttingDown {
                return Err(reason);
            }
        }
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
