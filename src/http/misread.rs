//! Requests that the framework takes for upgrades and that are none: it hands on all that follows `Upgrade: websocket`,
//! or a CONNECT, as the body, without an end. Where `Connection` does not name `upgrade`, as behind a proxy that takes that away, the
//! field means nothing (RFC 9110, section 7.8), and the body is what `Content-Length` tells.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::dev::{Payload, RequestHead};
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::http::{Method, Version};
use bytes::Bytes;
use futures_util::Stream;

/// How many bytes the body has, as its sender has told.
pub fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Whether a request asks to go over to a WebSocket. Below HTTP/1.1 nobody can (RFC 9110, section 7.8).
pub fn goes_over(head: &RequestHead) -> bool {
    head.upgrade() && head.version >= Version::HTTP_11 && names_websocket(&head.headers)
}

/// Whether a line names WebSocket, and nothing else: what the framework goes by, wherever else it is asked for. It takes
/// what follows a list of several protocols for further requests.
fn names_websocket(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::UPGRADE).map(|line| line.as_bytes().trim_ascii());
    lines.any(|line| line.eq_ignore_ascii_case(b"websocket"))
}

/// The body of a request; of one that may go over, all that follows.
pub fn within_announced(head: &RequestHead, payload: Payload) -> Payload {
    if goes_over(head) { payload } else { body_of(head, payload) }
}

/// The body of a request that goes over to nothing, to its end. Where the framework knew none, the connection is of no
/// use afterwards: what came behind the body went with it, so the framework closes it.
pub fn body_of(head: &RequestHead, payload: Payload) -> Payload {
    if matches!(payload, Payload::None) || has_end(head) {
        return payload;
    }
    let left = announced(&head.headers).unwrap_or(0);
    Payload::Stream { payload: Box::pin(Cut { payload, left }) }
}

/// Whether the framework heeds the end of a body.
pub fn has_end(head: &RequestHead) -> bool {
    !(head.method == Method::CONNECT || names_websocket(&head.headers))
        // Chunks tell their end.
        || head.headers.contains_key(header::TRANSFER_ENCODING)
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
