//! Receiving a body: within a budget, in parts beside the journal where it is large, and kept as far as
//! it came whatever happens to its sender.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::accept::{Intake, Refusal};
use super::budget::Reserved;
use super::journal::Accepted;
use super::judging::Ask;
use crate::model::limits::PREVIEW_BYTES;
use crate::model::{Body, BodyContent, Capture, ReplyChoice, ReplySource};
use crate::storage;

/// How a body ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Complete,
    /// It is over the limit; the rest was not read.
    TooLarge,
    /// The sender fell silent, or the node stops and cannot wait for it.
    TimedOut,
    /// The sender went away.
    SenderGone,
}

/// A request that is being received. Dropped before its end, it is kept as far as it came.
pub struct Reception {
    intake: Arc<Intake>,
    state: Option<State>,
}

struct State {
    /// The request, still without its body.
    head: Arc<Capture>,
    body_bytes_max: u64,
    /// The beginning of a body in parts, as far as rules see it; empty where no rule would look.
    seen: BytesMut,
    /// How much of the body that may be; known once there are parts.
    seen_bytes_max: usize,
    buffer: BytesMut,
    /// Bytes that are in parts already, and the number of parts.
    in_parts: u64,
    parts: i64,
    /// The first bytes of a body in parts.
    start: Bytes,
    memory: Reserved,
    held: TaskTrackerToken,
}

/// A request as it was received.
struct Received {
    capture: Arc<Capture>,
    /// What rules see of the body where that is not the capture's own, and whether there is no more that they might.
    seen: Option<Bytes>,
    whole: bool,
    memory: Reserved,
    /// A node that stops waits until it is queued.
    held: TaskTrackerToken,
}

impl Reception {
    /// Begins to receive. The head is the capture without its body; `announced` is the body's size where
    /// the sender has told it.
    pub async fn begin(
        intake: Arc<Intake>,
        head: Arc<Capture>,
        announced: Option<u64>,
    ) -> Result<Self, Refusal> {
        // A sender's announcement is believed up to one inline body; more memory comes with the bytes.
        let believed = usize::try_from(announced.unwrap_or(0)).unwrap_or(usize::MAX);
        let capacity = believed.min(intake.options.body_inline_bytes_max);
        let memory = intake.bodies.reserve(capacity).ok_or(Refusal::BodiesFull)?;
        let body_bytes_max = intake.body_bytes_max(&head.endpoint, false).await?;
        let state = State {
            head,
            body_bytes_max,
            seen: BytesMut::new(),
            seen_bytes_max: 0,
            buffer: BytesMut::with_capacity(capacity),
            in_parts: 0,
            parts: 0,
            start: Bytes::new(),
            memory,
            held: intake.shutdown.hold(),
        };
        Ok(Self { intake, state: Some(state) })
    }

    /// Takes a piece of the body. `Some(Ending::TooLarge)` when the limit is reached: what fits was taken.
    pub async fn push(&mut self, mut piece: &[u8]) -> Result<Option<Ending>, Refusal> {
        let part_bytes = self.intake.options.body_part_bytes;
        while !piece.is_empty() {
            let state = self.state.as_mut().expect("the state is there until the end");
            let left = state.body_bytes_max.saturating_sub(state.received());
            if left == 0 {
                let confirmed = self.intake.body_bytes_max(&state.head.endpoint, true).await;
                state.body_bytes_max = match confirmed {
                    Ok(most) if most > state.received() => most,
                    Ok(_) => return Ok(Some(Ending::TooLarge)),
                    Err(refusal) => return Err(self.give_up(refusal)),
                };
                continue;
            }
            let room = part_bytes - state.buffer.len();
            let taken = piece.len().min(room).min(usize::try_from(left).unwrap_or(usize::MAX));
            if let Err(refusal) = state.extend(&piece[..taken], part_bytes) {
                return Err(self.give_up(refusal));
            }
            piece = &piece[taken..];
            if state.buffer.len() == part_bytes
                && let Err(refusal) = self.write_part().await
            {
                return Err(self.give_up(refusal));
            }
        }
        Ok(None)
    }

    /// Journals what was received, and waits until it is durable.
    /// The reply is the one that is given where nobody who is asked has another.
    pub async fn finish(mut self, ending: Ending, reply: ReplyChoice, ask: Ask) -> Result<Accepted, Refusal> {
        let large = self.state.as_ref().is_some_and(|state| {
            state.parts > 0 || state.buffer.len() > self.intake.options.body_inline_bytes_max
        });
        if large && let Err(refusal) = self.write_part().await {
            return Err(self.give_up(refusal));
        }
        let state = self.state.take().expect("the state is there until the end");
        let Received { capture, seen, whole, memory: _memory, held: _held } =
            state.end(ending, reply, self.intake.options.rules_body_bytes_max);
        let id = capture.id;
        let accepted = self.intake.accept(capture, ask, seen, whole).await;
        match accepted {
            // After the deadline the capture may be kept, and its parts with it; the sweep will tell.
            Err(refusal) if large && refusal != Refusal::DeadlinePassed => self.discard(id),
            _ => {}
        }
        accepted
    }

    async fn write_part(&mut self) -> Result<(), Refusal> {
        let state = self.state.as_mut().expect("the state is there until the end");
        if state.buffer.is_empty() {
            return Ok(());
        }
        if state.parts == 0 {
            let configuration = self.intake.configuration().current();
            if configuration.looks_into_bodies(&state.head.endpoint) {
                state.seen_bytes_max = self.intake.options.rules_body_bytes_max;
            }
            state.start = Bytes::copy_from_slice(&state.buffer[..state.buffer.len().min(PREVIEW_BYTES)]);
        }
        state.keep_for_rules()?;
        let content = Bytes::copy_from_slice(&state.buffer);
        let database = self.intake.database.as_ref();
        let written = storage::bodies::record_part(database, state.head.id, state.parts, content).await;
        if let Err(error) = written {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to write a part of a body");
            return Err(Refusal::DatabaseAway);
        }
        state.in_parts += state.buffer.len() as u64;
        state.parts += 1;
        state.buffer.clear();
        Ok(())
    }

    /// The request cannot be kept: its parts go, and the sender is told.
    fn give_up(&mut self, refusal: Refusal) -> Refusal {
        if let Some(state) = self.state.take().filter(|state| state.parts > 0) {
            self.discard(state.head.id);
        }
        refusal
    }

    fn discard(&self, id: Uuid) {
        let intake = self.intake.clone();
        let _in_runtime = self.intake.runtime.enter();
        self.intake.shutdown.spawn(async move {
            if let Err(error) = storage::bodies::remove(intake.database.as_ref(), id).await {
                tracing::debug!(error = &error as &dyn std::error::Error, "parts are left to the sweep");
            }
        });
    }
}

/// A sender that goes away takes its connection's handler with it, not what it has sent.
impl Drop for Reception {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else { return };
        let intake = self.intake.clone();
        let _in_runtime = self.intake.runtime.enter();
        self.intake.shutdown.spawn(async move {
            // Made in here: a runtime that is over drops the task unbegun, and that must not come back to this place.
            let reception = Self { intake, state: Some(state) };
            let nothing = ReplyChoice::of(ReplySource::Nothing, 0);
            let metrics = reception.intake.metrics.clone();
            if let Err(refusal) = reception.finish(Ending::SenderGone, nothing, Ask::Nobody).await {
                metrics.count(refusal.outcome());
            }
        });
    }
}

impl State {
    fn received(&self) -> u64 {
        self.in_parts + self.buffer.len() as u64
    }

    /// Appends to the buffer, whose memory doubles up to a part's size.
    fn extend(&mut self, piece: &[u8], part_bytes: usize) -> Result<(), Refusal> {
        let wanted = self.buffer.len() + piece.len();
        if wanted > self.buffer.capacity() {
            let capacity = wanted.max(self.buffer.capacity() * 2).max(1024).min(part_bytes.max(wanted));
            if !self.memory.grow_to(capacity) {
                return Err(Refusal::BodiesFull);
            }
            self.buffer.reserve(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(piece);
        Ok(())
    }

    /// Keeps what rules may see of the part that is about to be written.
    fn keep_for_rules(&mut self) -> Result<(), Refusal> {
        let room = self.seen_bytes_max.saturating_sub(self.seen.len()).min(self.buffer.len());
        if room > 0 {
            if !self.memory.grow_to(self.buffer.capacity() + self.seen.len() + room) {
                return Err(Refusal::BodiesFull);
            }
            self.seen.extend_from_slice(&self.buffer[..room]);
        }
        Ok(())
    }

    fn end(mut self, ending: Ending, reply: ReplyChoice, seen_bytes_max: usize) -> Received {
        let bytes = self.received();
        let content = if self.parts > 0 {
            BodyContent::Parts { start: self.start }
        } else if self.buffer.capacity() > self.buffer.len() + self.buffer.len() / 4 {
            // What stays in memory for a while, stays in memory of its size.
            BodyContent::Inline(Bytes::copy_from_slice(&self.buffer))
        } else {
            BodyContent::Inline(self.buffer.freeze())
        };
        let (seen, whole) = match &content {
            BodyContent::Inline(_) => (None, true),
            BodyContent::Parts { .. } => {
                let seen = self.seen.freeze();
                let whole = seen.len() as u64 >= bytes.min(seen_bytes_max as u64);
                (Some(seen), whole)
            }
        };
        let capture = Arc::make_mut(&mut self.head);
        capture.reply = reply;
        capture.body = Body {
            content,
            bytes,
            truncated: ending == Ending::TooLarge,
            incomplete: matches!(ending, Ending::TimedOut | Ending::SenderGone),
        };
        Received { capture: self.head, seen, whole, memory: self.memory, held: self.held }
    }
}
