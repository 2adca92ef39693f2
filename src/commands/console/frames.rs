//! The receiver's half of a WebSocket on its way to the browser: its frames' heads are read
//! (RFC 6455 5.2), so that no message is longer than a picture. The browser would gather it whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::media::unit::UNIT_LIMIT;

/// Longest message, in bytes: the largest picture and what comes before it.
pub(super) const MESSAGE_LIMIT: u64 = UNIT_LIMIT as u64 + 64 * 1024;
/// Longest payload of a ping, pong or close.
const CONTROL_LIMIT: u64 = 125;
/// Longest head of a frame without a mask.
const HEAD: usize = 10;

/// Where a stream of frames is.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: [u8; HEAD],
    /// Bytes of the head so far.
    have: usize,
    /// Bytes of the payload to come.
    left: u64,
    /// Bytes of the message that its frames have announced.
    message: u64,
}

impl Frames {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// They are no frames of a server without extensions, or a message is too long.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), &'static str> {
        while let [next, rest @ ..] = bytes {
            if self.left > 0 {
                let step = usize::try_from(self.left).map_or(bytes.len(), |l| l.min(bytes.len()));
                self.left -= step as u64;
                bytes = &bytes[step..];
                continue;
            }
            self.head[self.have] = *next;
            self.have += 1;
            bytes = rest;
            if let Some(length) = length(&self.head[..self.have])? {
                self.have = 0;
                self.begin(self.head[0], length)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, first: u8, length: u64) -> Result<(), &'static str> {
        let is_last = first & 0x80 != 0;
        match first & 0x0f {
            0 => self.message = self.message.saturating_add(length),
            1 | 2 => self.message = length,
            8..=10 if is_last && length <= CONTROL_LIMIT => {}
            _ => return Err("a frame of an unknown kind"),
        }
        if self.message > MESSAGE_LIMIT {
            return Err("a message longer than any picture");
        }
        self.left = length;
        Ok(())
    }
}

/// The payload's length, once the head is whole.
fn length(head: &[u8]) -> Result<Option<u64>, &'static str> {
    let [first, second, more @ ..] = head else {
        return Ok(None);
    };
    if first & 0x70 != 0 {
        return Err("an extension that was not agreed on");
    }
    let length = match second {
        128.. => return Err("a mask, which is for clients"),
        127 => <[u8; 8]>::try_from(more).ok().map(u64::from_be_bytes),
        126 => <[u8; 2]>::try_from(more)
            .ok()
            .map(|short| u16::from_be_bytes(short).into()),
        short => Some(u64::from(*short)),
    };
    Ok(length)
}

/// A stream of which what is read are frames within bounds; anything else is an error.
#[derive(Debug)]
pub(super) struct Bounded<S> {
    stream: S,
    frames: Frames,
}

impl<S> Bounded<S> {
    pub(super) fn new(stream: S) -> Self {
        let frames = Frames::default();
        Self { stream, frames }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let passed = this.frames.pass(&buffer.filled()[before..]);
        Poll::Ready(passed.map_err(std::io::Error::other))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same in one piece and byte by byte.
    fn passes(bytes: &[u8]) -> bool {
        let whole = Frames::default().pass(bytes);
        let mut frames = Frames::default();
        let single = bytes.iter().try_for_each(|byte| frames.pass(&[*byte]));
        assert_eq!(whole, single);
        whole.is_ok()
    }

    fn head(first: u8, length: u64) -> Vec<u8> {
        let mut head = vec![first];
        match length {
            0..=125 => head.push(u8::try_from(length).unwrap()),
            126..=0xffff => {
                head.push(126);
                head.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                head.push(127);
                head.extend(length.to_be_bytes());
            }
        }
        head
    }

    fn frame(first: u8, length: u64) -> Vec<u8> {
        let mut frame = head(first, length);
        frame.resize(frame.len() + usize::try_from(length).unwrap(), 0xff);
        frame
    }

    #[test]
    fn frames_of_every_length_pass_one_after_the_other() {
        let lengths = [0, 1, 125, 126, 70_000];
        let mut all: Vec<u8> = lengths.map(|length| frame(0x82, length)).concat();
        // A ping between the parts of a message.
        for part in [frame(0x01, 10), frame(0x89, 125), frame(0x80, 10)] {
            all.extend(part);
        }
        all.extend(frame(0x88, 2));
        assert!(passes(&all));
    }

    #[test]
    fn a_message_is_at_most_a_picture() {
        assert!(passes(&head(0x82, MESSAGE_LIMIT)));
        for long in [MESSAGE_LIMIT + 1, 1 << 40, u64::MAX] {
            assert!(!passes(&head(0x82, long)));
        }
        // Nor by its parts, at once or after another message.
        let mut parts = frame(0x82, 3);
        parts.extend(frame(0x02, MESSAGE_LIMIT - 1));
        parts.extend(frame(0x00, 1));
        let mut frames = Frames::default();
        frames.pass(&parts).unwrap();
        assert!(frames.pass(&head(0x80, 1)).is_err());
    }

    #[test]
    fn what_no_server_sends_is_told_apart() {
        for odd in [
            &[0xc2, 0][..],
            &[0x82, 0x80],
            &[0x83, 0],
            &[0x8b, 0],
            &[0x09, 0],
            &[0x89, 126, 0, 126],
        ] {
            assert!(!passes(odd), "{odd:x?}");
        }
    }
}
