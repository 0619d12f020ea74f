//! WebSockets and event streams.

pub mod capture;
mod cut;
mod frames;
mod messages;
mod notice;
pub mod stream;
mod stream_body;
mod wanted;

use actix_http::ws::{HandshakeError, handshake_response, verify_handshake};
use actix_web::dev::RequestHead;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};

pub use cut::Cut;

use super::problem::{Kind, Problem};

/// The answer that opens a WebSocket (RFC 6455, section 4.2.2).
pub fn handshake(request: &RequestHead) -> Result<HttpResponseBuilder, Problem> {
    let mut head = RequestHead::default();
    head.method = request.method.clone();
    head.headers = request.headers.clone();
    // The framework looks at the first line only.
    head.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    verify_handshake(&head).map_err(|error| match error {
        HandshakeError::UnsupportedVersion | HandshakeError::NoVersionHeader => {
            Problem::because(Kind::WebSocketVersion, error)
        }
        other => Problem::because(Kind::InvalidWebSocketHandshake, other),
    })?;
    let theirs = handshake_response(&head).finish();
    let mut response = HttpResponse::build(theirs.status());
    response.upgrade("websocket");
    if let Some(accept) = theirs.headers().get(header::SEC_WEBSOCKET_ACCEPT) {
        response.insert_header((header::SEC_WEBSOCKET_ACCEPT, accept.clone()));
    }
    Ok(response)
}
