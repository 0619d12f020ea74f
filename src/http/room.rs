//! Room for what the API takes in and gives out: one budget of bytes a node, of documents that are being sent to it and
//! of answers that are being read. Who finds none is told to come back.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::{Error, web};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _, stream};

use super::inflow::SLICE_BYTES;
use super::problem::{Kind, Problem};
use super::state::State;
use crate::intake::{Budget, Reserved};

/// What takes no more than this is let in always: a connection holds as much by itself.
pub const SMALL_BYTES: usize = 16 * 1024;

/// The node's room.
pub struct Room {
    budget: Arc<Budget>,
    bytes_max: usize,
    /// What a part of a body takes.
    part_bytes: usize,
    retry_after_s: u32,
}

impl Room {
    pub fn new(budget: Arc<Budget>, bytes_max: usize, part_bytes: usize, retry_after_s: u32) -> Self {
        Self { budget, bytes_max, part_bytes, retry_after_s }
    }

    /// Makes room for so many bytes in all, beside what is held already. What is larger than all room there is takes all
    /// of it.
    ///
    /// # Errors
    /// Where there is none.
    pub fn make(&self, bytes: usize, held: &mut Option<Reserved>) -> Result<(), Problem> {
        let bytes = bytes.min(self.bytes_max);
        let is_made = match held {
            _ if bytes <= SMALL_BYTES => true,
            Some(held) => held.grow_to(bytes),
            None => {
                *held = self.budget.reserve(bytes);
                held.is_some()
            }
        };
        if is_made {
            return Ok(());
        }
        let why = "too much is on its way to and from the API of this node";
        Err(Problem::because(Kind::Overloaded, why).retry_after(self.retry_after_s))
    }

    /// An answer that is made piece by piece of a body's parts, with room for two of them until it is sent.
    ///
    /// # Errors
    /// Where there is none.
    pub fn of_parts<E, S>(
        &self,
        pieces: S,
    ) -> Result<impl Stream<Item = Result<Bytes, E>> + use<E, S>, Problem>
    where
        S: Stream<Item = Result<Bytes, E>>,
    {
        let mut held = None;
        self.make(2 * self.part_bytes, &mut held)?;
        let sliced = pieces.map_ok(move |piece| {
            let _held = &held;
            stream::iter(slices(piece).map(Ok))
        });
        Ok(sliced.try_flatten())
    }
}

/// Wraps the API: holds room for each answer until it is sent. Those that are made piece by piece hold nothing.
pub async fn for_answers(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let state = request.app_data::<web::Data<State>>().cloned();
    let (request, response) = next.call(request).await?.into_parts();
    let (response, body) = response.into_parts();
    let body = match (body.try_into_bytes(), state) {
        (Ok(rest), Some(state)) if rest.len() > SMALL_BYTES => {
            let mut held = None;
            if let Err(problem) = state.room.make(rest.len(), &mut held) {
                return Ok(ServiceResponse::from_err(problem, request));
            }
            in_pieces(rest, held)
        }
        (Ok(bytes), _) => BoxBody::new(bytes),
        (Err(body), _) => body,
    };
    Ok(ServiceResponse::new(request, response.set_body(body)))
}

/// A body that holds room until it was handed on.
pub fn in_pieces(rest: Bytes, held: Option<Reserved>) -> BoxBody {
    BoxBody::new(Held { rest, _held: held })
}

/// Bytes as a connection is handed them, so that what is not taken stays here, where it is counted.
pub fn slices(mut bytes: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!bytes.is_empty()).then(|| bytes.split_to(bytes.len().min(SLICE_BYTES))))
}

struct Held {
    rest: Bytes,
    _held: Option<Reserved>,
}

impl MessageBody for Held {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = self.rest.len().min(SLICE_BYTES);
        Poll::Ready((piece > 0).then(|| Ok(self.rest.split_to(piece))))
    }
}
