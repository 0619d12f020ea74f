//! What comes in on a connection before anybody has taken it. The framework by itself reads 128 KiB ahead of what it can
//! use, of every connection, and makes requests of it, by the hundred, that wait for the answer to the first. Here it is
//! handed one request at a time, and of its body no more than whoever reads it asks for. What heads take is counted.

mod chunks;
mod connection;
mod framing;
mod serve;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::future::OptionFuture;
use prometheus_client::metrics::counter::Counter;
use tokio::task::JoinHandle;

pub use connection::Connection;
pub use serve::serve;

use crate::intake::{Budget, Reserved};
use chunks::Chunks;
use framing::Head;

/// What a connection takes that does nothing, and one that has sent a small request.
const CONNECTION_BYTES: usize = 24 * 1024;

/// What is handed on at a time before it is seen what becomes of it. The framework's buffers have as much from the start.
pub const PIECE_BYTES: usize = 8 * 1024;

/// Of an answer: what the framework is handed at a time, and how much it gathers before it writes. Together they are
/// within its buffer once that has doubled.
pub const SLICE_BYTES: usize = 4 * 1024;
pub const WRITE_BYTES: usize = 12_000;

/// A head of no more than this is within what its connection takes.
pub const SMALL_HEAD_BYTES: usize = 4 * 1024;

/// A field takes about so much beside its octets.
const FIELD_BYTES: usize = 400;

/// What connections take of the node's memory.
#[derive(Debug, Clone)]
pub struct Inflows {
    pub memory: Arc<Budget>,
    /// Of it, heads that are not small.
    pub heads: Arc<Budget>,
    /// Connections that found no room.
    pub refused: Counter,
}

/// How far a connection is.
pub struct Inflow {
    inflows: Inflows,
    stage: Cell<Stage>,
    /// Which request it is.
    number: Cell<u64>,
    head: RefCell<Head>,
    /// Room for the head that is coming, or was taken and is not answered.
    room: RefCell<Option<Reserved>>,
    /// What was handed on since the framework was last to look at it.
    unseen: Cell<usize>,
    /// What was handed on of a body since whoever reads it had all of that.
    unread: Cell<usize>,
    /// Of the body that goes along with its head: so much was.
    gone_along: Cell<usize>,
    /// How far a body in chunks is.
    chunks: Cell<Option<Chunks>>,
    /// A request waits for the body that goes along with it.
    is_unfed: Cell<bool>,
    /// Wants to hand on more.
    waker: RefCell<Option<Waker>>,
    /// Has something to keep still when the connection is over.
    lasting: RefCell<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The head of a request comes.
    Head,
    /// It has come, and the framework is to take it.
    Headed,
    /// The body comes: so much of it is still to be handed on, at most.
    Body {
        left: u64,
    },
    /// It has come, and is not answered.
    Whole,
    /// Nobody reads the rest of the body: after the answer the connection is over.
    Left,
    Over,
}

impl Inflow {
    fn new(inflows: Inflows) -> Self {
        Self {
            inflows,
            stage: Cell::new(Stage::Head),
            number: Cell::new(0),
            head: RefCell::default(),
            room: RefCell::new(None),
            unseen: Cell::new(0),
            unread: Cell::new(0),
            gone_along: Cell::new(0),
            chunks: Cell::new(None),
            is_unfed: Cell::new(false),
            waker: RefCell::new(None),
            lasting: RefCell::new(None),
        }
    }

    /// The connection counts as served until a task of its own has ended too: a node that stops ends its threads, and
    /// what runs there, when all are served.
    pub fn lasts(&self, task: JoinHandle<()>) {
        self.lasting.replace(Some(task));
    }

    /// Waits for the task, where there is one.
    pub async fn lasted(&self) {
        let task = self.lasting.take();
        if let Some(Err(error)) = OptionFuture::from(task).await {
            tracing::debug!(%error, "a connection's task ended early");
        }
    }

    /// How much may be handed on now.
    fn room(&self) -> usize {
        let unseen = PIECE_BYTES.saturating_sub(self.unseen.get());
        match self.stage.get() {
            Stage::Head => unseen,
            Stage::Body { left } => {
                let unread = PIECE_BYTES.saturating_sub(self.unread.get());
                unseen.min(unread).min(usize::try_from(left).unwrap_or(usize::MAX))
            }
            Stage::Headed | Stage::Whole | Stage::Left | Stage::Over => 0,
        }
    }

    /// Lets the framework see what was handed on; it goes on at once, or when something has been taken.
    fn rest(&self, context: &Context<'_>) {
        self.unseen.set(0);
        if self.room() > 0 {
            context.waker().wake_by_ref();
        } else {
            *self.waker.borrow_mut() = Some(context.waker().clone());
        }
    }

    /// How much of what has come is handed on, at most [`Self::room`]; None where there is no room for the head.
    fn take(&self, bytes: &[u8]) -> Option<usize> {
        let bytes = &bytes[..bytes.len().min(self.room())];
        let taken = match self.stage.get() {
            Stage::Head => {
                let mut head = self.head.borrow_mut();
                let ended = head.look(bytes);
                // The parser's buffer grows by doubling.
                if head.bytes > SMALL_HEAD_BYTES && !self.reserve(2 * (head.bytes - SMALL_HEAD_BYTES)) {
                    return None;
                }
                if let Some((_, of_body)) = ended {
                    self.gone_along.set(of_body);
                    self.stage.set(Stage::Headed);
                }
                ended.map_or(bytes.len(), |(of_head, of_body)| of_head + of_body)
            }
            Stage::Body { left } => {
                let (taken, left) = match self.chunks.take() {
                    Some(mut chunks) => {
                        let taken = chunks.look(bytes);
                        self.chunks.set(Some(chunks));
                        (taken, if chunks == Chunks::End { 0 } else { left })
                    }
                    None => (bytes.len(), left - bytes.len() as u64),
                };
                self.stage.set(Stage::Body { left });
                // What is held back of it waits until the rest is read.
                self.unread.set(if taken < bytes.len() { PIECE_BYTES } else { self.unread.get() + taken });
                taken
            }
            Stage::Headed | Stage::Whole | Stage::Left | Stage::Over => 0,
        };
        self.unseen.set(self.unseen.get() + taken);
        Some(taken)
    }

    fn reserve(&self, bytes: usize) -> bool {
        let mut room = self.room.borrow_mut();
        match room.as_mut() {
            Some(room) => room.grow_to(bytes),
            None => {
                *room = self.inflows.heads.reserve(bytes);
                room.is_some()
            }
        }
    }

    /// The framework has taken a head. Its request's number.
    fn begin(&self, body: Option<Coming>) -> u64 {
        self.number.set(self.number.get() + 1);
        let gone_along = self.gone_along.take();
        self.unread.set(gone_along);
        self.is_unfed.set(body.is_some() && gone_along > 0);
        let (stage, chunks) = match body {
            None => (Stage::Whole, None),
            Some(Coming::Chunks) => (Stage::Body { left: u64::MAX }, Some(Chunks::BEGIN)),
            Some(Coming::Bytes(bytes)) => {
                (Stage::Body { left: bytes.saturating_sub(gone_along as u64) }, None)
            }
            Some(Coming::Anything) => (Stage::Body { left: u64::MAX }, None),
        };
        self.stage.set(stage);
        self.chunks.set(chunks);
        self.number.get()
    }

    /// Waits until the framework has looked at the body, where that goes along with its head. It does so within the same
    /// turn, and then asks again, so nothing wakes it: a request that waited for its body would have it take a turn more.
    /// Where it has not asked by the end of the turn, [`Connection`] wakes it, or what is still to be written does.
    async fn fed(&self) {
        let mut is_asked_again = !self.is_unfed.get();
        poll_fn(|_| {
            if std::mem::replace(&mut is_asked_again, true) {
                self.is_unfed.set(false);
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }

    /// Counts a head by what it takes once it is parsed; false where there is no room.
    fn weigh(&self, bytes: usize, fields: usize) -> bool {
        *self.room.borrow_mut() = None;
        // In the framework's form and in ours.
        let weight = 2 * bytes + FIELD_BYTES * fields;
        weight <= 2 * SMALL_HEAD_BYTES || self.reserve(weight - 2 * SMALL_HEAD_BYTES)
    }

    /// Whether the head has made the framework's buffer larger, which stays so.
    fn is_large(&self) -> bool {
        self.head.borrow().bytes > PIECE_BYTES
    }

    /// Whoever reads the body has had all there is.
    fn want_more(&self, number: u64) {
        let Stage::Body { left } = self.stage.get() else { return };
        if self.number.get() != number {
            return;
        }
        // All was handed on, looked at, and is not enough: the framework sees another end than is seen here.
        if left == 0 && self.unread.get() == 0 {
            self.chunks.set(None);
            self.stage.set(Stage::Body { left: u64::MAX });
        }
        self.unread.set(0);
        self.wake();
    }

    /// The body is over, for whoever reads it.
    fn end_body(&self, number: u64, is_whole: bool) {
        let Stage::Body { left } = self.stage.get() else { return };
        if self.number.get() == number {
            self.stage.set(if is_whole || left == 0 { Stage::Whole } else { Stage::Left });
        }
    }

    /// The answer was handed on whole.
    fn end(&self, number: u64) {
        if self.number.get() != number {
            return;
        }
        self.end_body(number, false);
        let is_last = self.stage.get() == Stage::Left || self.is_large();
        self.stage.set(if is_last { Stage::Over } else { Stage::Head });
        self.head.take();
        *self.room.borrow_mut() = None;
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A body that is to come.
enum Coming {
    /// So long.
    Bytes(u64),
    Chunks,
    /// All that follows.
    Anything,
}
