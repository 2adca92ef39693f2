//! The control stream: length-prefixed JSON messages (LINK).

/// Queues control messages.
#[derive(Clone, Debug)]
pub struct Sender {}

impl Sender {
    /// Queues a message.
    pub fn send<M: serde::Serialize>(&self, _message: &M) {
        todo!("LINK")
    }
}
