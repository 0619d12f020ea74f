//! Frames that are sent (RFC 6455, section 5).

use actix_http::ws::{CloseReason, OpCode, Parser};
use bytes::{BufMut as _, Bytes, BytesMut};

use crate::http::inflow::SLICE_BYTES;
use crate::intake::Reserved;

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

/// A frame on its way to a peer, with the memory that its payload takes until it is there.
pub struct Outgoing {
    head: Bytes,
    payload: Bytes,
    _room: Option<Reserved>,
}

impl Outgoing {
    /// A whole message, whose payload is not copied.
    pub fn message(opcode: OpCode, payload: Bytes, room: Option<Reserved>) -> Self {
        let mut head = BytesMut::with_capacity(10);
        head.put_u8(0x80 | u8::from(opcode));
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(short @ ..=125), _) => head.put_u8(short),
            (_, Ok(medium)) => {
                head.put_u8(126);
                head.put_u16(medium);
            }
            _ => {
                head.put_u8(127);
                head.put_u64(payload.len() as u64);
            }
        }
        Self { head: head.freeze(), payload, _room: room }
    }

    /// What a connection is handed next.
    pub fn piece(&mut self) -> Bytes {
        match std::mem::take(&mut self.head) {
            head if head.is_empty() => self.payload.split_to(self.payload.len().min(SLICE_BYTES)),
            head => head,
        }
    }

    pub fn is_sent(&self) -> bool {
        self.head.is_empty() && self.payload.is_empty()
    }
}

/// A frame that is short.
impl From<Bytes> for Outgoing {
    fn from(frame: Bytes) -> Self {
        Self { head: frame, payload: Bytes::new(), _room: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_framed_as_by_the_parser() {
        for length in [0, 1, 125, 126, 65_535, 65_536, 200_000] {
            let payload = Bytes::from(vec![7; length]);
            let mut outgoing = Outgoing::message(OpCode::Binary, payload.clone(), None);
            let mut sent = BytesMut::new();
            while !outgoing.is_sent() {
                let piece = outgoing.piece();
                assert!(!piece.is_empty() && piece.len() <= SLICE_BYTES);
                sent.extend_from_slice(&piece);
            }
            assert!(sent == frame(OpCode::Binary, &payload), "{length}");
        }
    }
}
