//! One group of pictures on one unidirectional stream: its writer and reader.
//! The bytes are those of [`crate::media::wire`].

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use quinn::{RecvStream, SendStream, WriteError};

use super::meter::Meter;
use crate::media::unit::AccessUnit;
use crate::media::wire::{
    self, ABANDONED, DecodeError, Fixed, GROUP_HEADER, GroupHeader, UNIT_HEADER, UnitHeader,
};

/// Writes a group. Dropped without [`GroupWriter::finish`] it resets the stream:
/// quinn would finish it and go on sending what it has buffered, and a cancelled
/// relay would send pictures that nobody may see any more.
#[derive(Debug)]
pub struct GroupWriter {
    stream: SendStream,
    /// What is not yet handed over: headers, the piece of the unit that is on its way,
    /// and the rest.
    pending: [Bytes; 2],
    rest: Bytes,
    header: Option<Bytes>,
    is_reset: bool,
    /// Bytes handed over, and who counts them.
    sent: u64,
    meter: Arc<Meter>,
}

impl GroupWriter {
    /// A writer on a new stream, with this priority.
    pub fn new(stream: SendStream, header: &GroupHeader, priority: i32) -> Self {
        let writer = Self {
            stream,
            pending: [Bytes::new(), Bytes::new()],
            rest: Bytes::new(),
            header: Some(header.encode()),
            is_reset: false,
            sent: 0,
            meter: Arc::default(),
        };
        writer.set_priority(priority);
        writer
    }

    /// The same, counted by this meter, whatever becomes of the relay meanwhile.
    #[must_use]
    pub fn metered(mut self, meter: Arc<Meter>) -> Self {
        self.meter = meter;
        self
    }

    /// Changes the priority; a raise takes effect when the stream is next served.
    pub fn set_priority(&self, priority: i32) {
        // An error says that the stream is over: nothing to order.
        let _ = self.stream.set_priority(priority);
    }

    /// Takes the next unit. The one before must be written.
    /// `after_gap`: pictures that should stand before it were dropped.
    pub fn take(&mut self, unit: &AccessUnit, after_gap: bool) {
        debug_assert!(self.is_written());
        let unit_header = UnitHeader::encode(unit, after_gap);
        let head = match self.header.take() {
            Some(header) => {
                let mut head = BytesMut::with_capacity(header.len() + UNIT_HEADER);
                head.extend_from_slice(&header);
                head.extend_from_slice(&unit_header);
                head.freeze()
            }
            None => Bytes::copy_from_slice(&unit_header),
        };
        self.pending = [head, Bytes::new()];
        self.rest = unit.data.clone();
    }

    /// Whether all that was taken is handed over to the link.
    pub fn is_written(&self) -> bool {
        self.left() == 0
    }

    /// Bytes of what was taken that are not handed over.
    pub fn left(&self) -> usize {
        self.pending.iter().map(Bytes::len).sum::<usize>() + self.rest.len()
    }

    /// Hands over what was taken, without copying, at most `piece` bytes at a time;
    /// ready once all of it went, in this call or earlier ones.
    ///
    /// # Errors
    ///
    /// The peer stopped the stream, or the link is lost.
    pub fn poll_write(
        &mut self,
        piece: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        while !self.is_written() {
            if self.pending[1].is_empty() {
                self.pending[1] = self.rest.split_to(self.rest.len().min(piece));
            }
            let start = usize::from(self.pending[0].is_empty());
            let pending = &mut self.pending[start..];
            // Made for each poll: quinn documents that as cancel-safe, and remembers the
            // waker by stream.
            let before = pending.iter().map(Bytes::len).sum::<usize>();
            let written = pin!(self.stream.write_chunks(pending)).poll(cx);
            let taken = before - pending.iter().map(Bytes::len).sum::<usize>();
            self.sent += taken as u64;
            self.meter.pass(taken as u64);
            std::task::ready!(written)?;
        }
        Poll::Ready(Ok(()))
    }

    /// The group is complete. The writer must be kept until the grace is over,
    /// for dropping it resets what the peer has not acknowledged.
    pub fn finish(&mut self) {
        // An error says that the peer stopped the stream.
        let _ = self.stream.finish();
    }

    /// Gives the group up at once: nothing of it is sent any more. Says whether
    /// there was something to give up.
    pub fn reset(&mut self, code: u32) -> bool {
        self.is_reset = true;
        let was_open = self.stream.reset(code.into()).is_ok();
        if was_open {
            self.meter.lose(std::mem::take(&mut self.sent));
        }
        was_open
    }
}

impl Drop for GroupWriter {
    fn drop(&mut self) {
        if !self.is_reset {
            self.reset(ABANDONED);
        }
    }
}

/// Why a group's stream can't be read on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not the bytes of a group.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The stream ended within a header or unit.
    #[error("group stream ended half way")]
    Truncated,
    /// The sender begins more units than it ends.
    #[error("too many bytes of unfinished pictures")]
    NoRoom,
    /// Reset by the sender, or the link is gone.
    #[error("group stream: {0}")]
    Stream(#[from] quinn::ReadError),
}

/// Chunks taken from the link at a time.
const CHUNKS: usize = 32;
/// Bytes made room for at a time, so that a header alone costs no memory.
const ROOM: usize = 256 * 1024;

/// Bytes that one gateway may make this machine hold.
#[derive(Debug)]
pub struct Budget {
    held: AtomicUsize,
    limit: AtomicUsize,
}

impl Budget {
    /// A budget of so many bytes.
    pub const fn new(limit: usize) -> Self {
        Self {
            held: AtomicUsize::new(0),
            limit: AtomicUsize::new(limit),
        }
    }

    /// Another limit from now on; what is held stays.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Bytes that are held.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Holds `after` bytes instead of `before`. False where there is no room for more: then
    /// `before` is held still.
    pub fn exchange(&self, before: usize, after: usize) -> bool {
        let limit = self.limit.load(Ordering::Relaxed);
        let exchange = |held: usize| {
            let held = held.saturating_sub(before).saturating_add(after);
            (after <= before || held <= limit).then_some(held)
        };
        let order = Ordering::Relaxed;
        self.held.fetch_update(order, order, exchange).is_ok()
    }
}

/// The bytes of one unit that is not whole yet.
#[derive(Debug)]
struct Share<'a> {
    budget: Option<&'a Budget>,
    bytes: usize,
}

impl Share<'_> {
    fn grow(&mut self, bytes: usize) -> Result<(), ReadError> {
        let after = self.bytes + bytes;
        if self
            .budget
            .is_some_and(|budget| !budget.exchange(self.bytes, after))
        {
            return Err(ReadError::NoRoom);
        }
        self.bytes = after;
        Ok(())
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if let Some(budget) = self.budget {
            budget.exchange(self.bytes, 0);
        }
    }
}

/// How far a group is read, for anyone who looks whether it goes on.
#[derive(Debug, Default)]
pub struct Progress {
    chunks: AtomicU64,
    is_within_unit: AtomicBool,
}

impl Progress {
    /// Grows with every piece that comes.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Relaxed)
    }

    /// Whether a unit has begun and is not whole.
    pub fn is_within_unit(&self) -> bool {
        self.is_within_unit.load(Ordering::Relaxed)
    }
}

/// Reads a group: each unit into one buffer of its exact size. quinn's chunks
/// are slices of receive batches; kept, they would pin other cameras' bytes.
#[derive(Debug)]
pub struct GroupReader {
    stream: RecvStream,
    chunks: [Bytes; CHUNKS],
    /// Chunks filled, and the first of them that is not used up.
    filled: usize,
    at: usize,
    budget: Option<Arc<Budget>>,
    progress: Arc<Progress>,
    /// Bytes taken before there was a meter.
    unmetered: u64,
    meter: Option<Arc<Meter>>,
}

impl GroupReader {
    /// Reads from this stream.
    pub fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            chunks: [const { Bytes::new() }; CHUNKS],
            filled: 0,
            at: 0,
            budget: None,
            progress: Arc::default(),
            unmetered: 0,
            meter: None,
        }
    }

    /// The same within a budget: what has no room in it ends the group.
    pub fn within(stream: RecvStream, budget: Arc<Budget>) -> Self {
        Self {
            budget: Some(budget),
            ..Self::new(stream)
        }
    }

    /// Counts all of its bytes with this meter, those read already too.
    pub fn set_meter(&mut self, meter: Arc<Meter>) {
        meter.pass(std::mem::take(&mut self.unmetered));
        self.meter = Some(meter);
    }

    /// How far it is read.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Reads the group header; what a newer version appends is skipped.
    ///
    /// # Errors
    ///
    /// The stream ended, was reset, or does not begin with a header.
    pub async fn header(&mut self) -> Result<GroupHeader, ReadError> {
        let mut fixed = [0; GROUP_HEADER];
        self.fill(&mut fixed[..2]).await?;
        let length = wire::header_length([fixed[0], fixed[1]])?;
        self.fill(&mut fixed[2..]).await?;
        let mut rest = [0; u8::MAX as usize];
        self.fill(&mut rest[..length - GROUP_HEADER]).await?;
        let fixed = Fixed::decode(&fixed)?;
        let record = self.exact(fixed.configuration).await?;
        Ok(fixed.with_record(record))
    }

    /// The next unit; `None` where the group is complete. Not cancel-safe.
    ///
    /// # Errors
    ///
    /// The stream was reset, or its bytes are no unit within bounds.
    pub async fn unit(&mut self) -> Result<Option<AccessUnit>, ReadError> {
        if self.at == self.filled && !self.more().await? {
            return Ok(None);
        }
        self.progress.is_within_unit.store(true, Ordering::Relaxed);
        let mut header = [0; UNIT_HEADER];
        self.fill(&mut header).await?;
        let header = UnitHeader::decode(&header)?;
        let data = self.exact(header.length).await?;
        self.progress.is_within_unit.store(false, Ordering::Relaxed);
        Ok(Some(header.with_data(data)))
    }

    /// Tells the sender to stop, and why; what is buffered is thrown away.
    pub fn stop(&mut self, code: u32) {
        // An error says that the stream is over already.
        let _ = self.stream.stop(code.into());
    }

    /// Bytes of an exact size in a buffer of that size.
    async fn exact(&mut self, length: usize) -> Result<Bytes, ReadError> {
        let budget = self.budget.clone();
        let mut share = Share {
            budget: budget.as_deref(),
            bytes: 0,
        };
        let mut bytes = Vec::with_capacity(length.min(ROOM));
        while bytes.len() < length {
            if self.at == self.filled && !self.more().await? {
                return Err(ReadError::Truncated);
            }
            let chunk = &mut self.chunks[self.at];
            let piece = chunk.split_to(chunk.len().min(length - bytes.len()));
            share.grow(piece.len())?;
            if bytes.capacity() - bytes.len() < piece.len() {
                let more = bytes.len().max(ROOM).min(length - bytes.len());
                bytes.reserve_exact(more.max(piece.len()));
            }
            bytes.extend_from_slice(&piece);
            if chunk.is_empty() {
                self.at += 1;
            }
        }
        Ok(Bytes::from(bytes))
    }

    async fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), ReadError> {
        while !buffer.is_empty() {
            if self.at == self.filled && !self.more().await? {
                return Err(ReadError::Truncated);
            }
            let chunk = &mut self.chunks[self.at];
            let piece = chunk.split_to(chunk.len().min(buffer.len()));
            let (now, rest) = buffer.split_at_mut(piece.len());
            now.copy_from_slice(&piece);
            buffer = rest;
            if chunk.is_empty() {
                self.at += 1;
            }
        }
        Ok(())
    }

    /// Takes more chunks; false at the end of the stream.
    async fn more(&mut self) -> Result<bool, ReadError> {
        self.at = 0;
        self.filled = 0;
        match self.stream.read_chunks(&mut self.chunks).await? {
            Some(filled) => {
                self.filled = filled;
                let chunks = self.chunks.iter().take(filled);
                let bytes = chunks.map(Bytes::len).sum::<usize>() as u64;
                match &self.meter {
                    Some(meter) => meter.pass(bytes),
                    None => self.unmetered += bytes,
                }
                self.progress.chunks.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            None => Ok(false),
        }
    }
}
