//! What comes in on a connection before anybody has taken it. The framework by itself reads 128 KiB ahead of what it can
//! use, of every connection, and makes requests of it, by the hundred, that wait for the answer to the first. Here it is
//! handed one request at a time, and of its body no more than whoever reads it asks for. What heads take is counted.

mod connection;
mod framing;
mod serve;

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::task::{Context, Waker};

use prometheus_client::metrics::counter::Counter;

pub use connection::Connection;
pub use serve::serve;

use crate::intake::{Budget, Reserved};
use framing::Head;

/// What a connection takes that does nothing, and one that has sent a small request.
const CONNECTION_BYTES: usize = 24 * 1024;

/// What is handed on at a time, in and out, before it is seen what becomes of it. The framework's buffers have as much
/// from the start.
pub const PIECE_BYTES: usize = 8 * 1024;

/// The same of a body in chunks, each of which takes as much again as its shortest; what follows its end is not known to
/// do so.
const CHUNKS_BYTES: usize = 256;

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
    /// Wants to hand on more.
    waker: RefCell<Option<Waker>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The head of a request comes.
    Head,
    /// It has come, and the framework is to take it.
    Headed,
    /// The body comes: so much of it is still to be handed on, in pieces of so many bytes.
    Body {
        left: u64,
        piece: usize,
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
            waker: RefCell::new(None),
        }
    }

    /// How much may be handed on now.
    fn room(&self) -> usize {
        let unseen = PIECE_BYTES.saturating_sub(self.unseen.get());
        match self.stage.get() {
            Stage::Head => unseen,
            Stage::Body { left, piece } => {
                let unread = piece.saturating_sub(self.unread.get());
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
            Stage::Body { left, piece } => {
                self.stage.set(Stage::Body { left: left - bytes.len() as u64, piece });
                self.unread.set(self.unread.get() + bytes.len());
                bytes.len()
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
        self.stage.set(match body {
            None => Stage::Whole,
            Some(Coming { bytes, piece }) => Stage::Body {
                left: bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(gone_along as u64)),
                piece,
            },
        });
        self.number.get()
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
        let Stage::Body { left, piece } = self.stage.get() else { return };
        if self.number.get() == number {
            // Where nothing was to be left, it is told in another way than was thought.
            self.stage.set(Stage::Body { left: if left == 0 { u64::MAX } else { left }, piece });
            self.unread.set(0);
            self.wake();
        }
    }

    /// The body is over, for whoever reads it.
    fn end_body(&self, number: u64, is_whole: bool) {
        let Stage::Body { left, .. } = self.stage.get() else { return };
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
        self.stage.set(if self.stage.get() == Stage::Left { Stage::Over } else { Stage::Head });
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

/// A body that is to come: how long it is, where that was told, and in what pieces it is handed on.
struct Coming {
    bytes: Option<u64>,
    piece: usize,
}
