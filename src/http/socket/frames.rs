//! Frames that are sent (RFC 6455, section 5).

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::{Bytes, BytesMut};

/// A whole message, or a control frame.
pub fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    fragment(opcode, payload, true)
}

/// A piece of a message; pieces behind the first are continuations.
pub fn fragment(opcode: OpCode, payload: &[u8], last: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + 10);
    Parser::write_message(&mut out, payload, opcode, last, false);
    out.freeze()
}

/// A close frame with code and reason; without either, an empty one.
pub fn close(reason: Option<(u16, &str)>) -> Bytes {
    let mut out = BytesMut::new();
    let reason =
        reason.map(|(code, text)| CloseReason { code: code.into(), description: Some(text.to_owned()) });
    Parser::write_close(&mut out, reason, false);
    out.freeze()
}
