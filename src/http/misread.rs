//! Requests that the framework takes for upgrades and that are none: it hands on all that follows `Upgrade: websocket`
//! as the body, without an end. Where `Connection` does not name `upgrade`, as behind a proxy that takes that away, the
//! field means nothing (RFC 9110, section 7.8), and the body is what `Content-Length` tells.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::dev::{Payload, RequestHead};
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use bytes::Bytes;
use futures_util::Stream;

/// How many bytes the body has, as its sender has told.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether the framework goes by an upgrade to a WebSocket, wherever else it is asked for.
pub fn names_websocket(headers: &HeaderMap) -> bool {
    let mut upgrades = headers.get_all(header::UPGRADE).filter_map(|value| value.to_str().ok());
    upgrades.any(|value| value.trim().eq_ignore_ascii_case("websocket"))
}

/// The body of a request to its end. The connection is of no use afterwards: what came behind the body went with it,
/// so the framework closes it.
pub fn within_announced(head: &RequestHead, payload: Payload) -> Payload {
    let has_end = matches!(payload, Payload::None) || !names_websocket(&head.headers);
    // Chunks tell their end, and the framework heeds it. What follows an upgrade has none.
    if has_end || head.upgrade() || head.headers.contains_key(header::TRANSFER_ENCODING) {
        return payload;
    }
    let left = announced(&head.headers).unwrap_or(0);
    Payload::Stream { payload: Box::pin(Cut { payload, left }) }
}

struct Cut {
    payload: Payload,
    left: u64,
}

impl Stream for Cut {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.left == 0 {
            drop(self.payload.take());
            return Poll::Ready(None);
        }
        let Some(piece) = ready!(Pin::new(&mut self.payload).poll_next(context)) else {
            return Poll::Ready(Some(Err(PayloadError::Incomplete(None))));
        };
        Poll::Ready(Some(piece.map(|mut piece| {
            piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= piece.len() as u64;
            piece
        })))
    }
}
