//! The rest of a body that nobody wants: the answer goes out at once, and what still comes is read and
//! thrown away for a while. Closed at once, the connection would be reset, and the sender would find that
//! instead of the answer (RFC 9112, section 9.6).

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::Sleep;

/// What is thrown away at most.
const BYTES_MAX: usize = 256 << 20;
const TIME_MAX: Duration = Duration::from_secs(10);

/// A body that two hold: who may read it, and who drains what is left of it.
#[derive(Clone)]
pub struct Shared(Rc<RefCell<Payload>>);

impl Shared {
    pub fn new(payload: Payload) -> Self {
        Self(Rc::new(RefCell::new(payload)))
    }

    pub fn payload(self) -> Payload {
        Payload::Stream { payload: Box::pin(self) }
    }
}

impl Stream for Shared {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

/// An answer whose connection is of use until the rest of the request has come, or too much of it.
pub fn draining(answer: BoxBody, rest: Payload) -> BoxBody {
    let patience = Box::pin(tokio::time::sleep(TIME_MAX));
    BoxBody::new(Draining { answer, rest, left: BYTES_MAX, patience })
}

struct Draining {
    answer: BoxBody,
    rest: Payload,
    left: usize,
    patience: Pin<Box<Sleep>>,
}

impl MessageBody for Draining {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.answer.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if let Some(piece) = ready!(Pin::new(&mut self.answer).poll_next(context)) {
            return Poll::Ready(Some(piece));
        }
        while self.left > 0 && self.patience.as_mut().poll(context).is_pending() {
            match ready!(Pin::new(&mut self.rest).poll_next(context)) {
                Some(Ok(piece)) => self.left = self.left.saturating_sub(piece.len()),
                Some(Err(_)) | None => break,
            }
        }
        Poll::Ready(None)
    }
}
