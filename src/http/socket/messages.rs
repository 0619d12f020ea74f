//! Messages that are received: frames put together, checked as RFC 6455 asks, and bounded.

use std::time::{Duration, Instant};

use actix_http::ws::{OpCode, Parser, ProtocolError};
use actix_web::dev::Payload;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

/// Close codes (RFC 6455, section 7.4.1; IANA, "WebSocket Close Code Number Registry").
pub mod close_code {
    pub const GOING_AWAY: u16 = 1001;
    pub const PROTOCOL: u16 = 1002;
    pub const UNSUPPORTED: u16 = 1003;
    pub const NONE_RECEIVED: u16 = 1005;
    pub const ABNORMAL: u16 = 1006;
    pub const INVALID_DATA: u16 = 1007;
    pub const POLICY: u16 = 1008;
    pub const TOO_BIG: u16 = 1009;
    pub const INTERNAL: u16 = 1011;
    pub const SERVICE_RESTART: u16 = 1012;
    pub const TRY_AGAIN: u16 = 1013;
    /// Of ours (4000 to 4999 are for private use): the token is not good any more.
    pub const UNAUTHORIZED: u16 = 4401;
}

/// Longest payload of a control frame (RFC 6455, section 5.5).
const CONTROL_BYTES_MAX: u64 = 125;

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Text(Bytes),
    Binary(Bytes),
    Ping(Bytes),
    Pong,
    Close(Option<(u16, String)>),
}

/// Why nothing more can be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke a rule, or a limit: the code to close with, and why.
    Broken(u16, &'static str),
    /// The connection ended without a close.
    Gone,
}

/// The receiving side of a WebSocket.
pub struct Messages {
    payload: Payload,
    buffer: BytesMut,
    /// A message of which fragments have come: its first opcode and its payload so far.
    open: Option<(OpCode, BytesMut)>,
    message_bytes_max: usize,
    ended: bool,
    /// When the peer was last heard of.
    heard: Instant,
}

impl Messages {
    pub fn new(payload: Payload, message_bytes_max: usize) -> Self {
        Self {
            payload,
            buffer: BytesMut::new(),
            open: None,
            message_bytes_max,
            ended: false,
            heard: Instant::now(),
        }
    }

    /// How long the peer has been silent.
    pub fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }

    /// The next message or control frame. Safe to cancel.
    pub async fn next(&mut self) -> Result<Incoming, Fault> {
        loop {
            if let Some(incoming) = self.take()? {
                return Ok(incoming);
            }
            if self.ended {
                return Err(Fault::Gone);
            }
            match self.payload.next().await {
                Some(Ok(bytes)) => {
                    self.heard = Instant::now();
                    self.buffer.extend_from_slice(&bytes);
                }
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }

    /// What is complete in the buffer, if anything is.
    fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        loop {
            let Some(frame) = FrameHead::of(&self.buffer) else { return Ok(None) };
            let so_far = self.open.as_ref().map_or(0, |(_, payload)| payload.len());
            frame.check(so_far, self.message_bytes_max)?;
            let parsed =
                Parser::parse(&mut self.buffer, true, self.message_bytes_max).map_err(
                    |error| match error {
                        ProtocolError::Overflow => {
                            Fault::Broken(close_code::TOO_BIG, "the message is too big")
                        }
                        _ => Fault::Broken(close_code::PROTOCOL, "the frame is not valid"),
                    },
                )?;
            let Some((last, opcode, payload)) = parsed else { return Ok(None) };
            // The payload is copied out, so that it does not hold on to the whole of what was read.
            let payload = payload.map_or_else(Bytes::new, |payload| Bytes::copy_from_slice(&payload));
            match opcode {
                OpCode::Ping => return Ok(Some(Incoming::Ping(payload))),
                OpCode::Pong => return Ok(Some(Incoming::Pong)),
                OpCode::Close => return closing(&payload).map(Some),
                OpCode::Text | OpCode::Binary if self.open.is_some() => {
                    return Err(Fault::Broken(close_code::PROTOCOL, "a message began within another"));
                }
                OpCode::Text | OpCode::Binary if last => return message(opcode, payload).map(Some),
                OpCode::Text | OpCode::Binary => self.open = Some((opcode, BytesMut::from(payload.as_ref()))),
                OpCode::Continue => {
                    let Some((first, mut whole)) = self.open.take() else {
                        return Err(Fault::Broken(close_code::PROTOCOL, "nothing is there to be continued"));
                    };
                    whole.extend_from_slice(&payload);
                    if last {
                        return message(first, whole.freeze()).map(Some);
                    }
                    self.open = Some((first, whole));
                }
                OpCode::Bad => return Err(Fault::Broken(close_code::PROTOCOL, "the opcode is not known")),
            }
        }
    }
}

/// What the first bytes of a frame tell, so that a limit holds before the payload is there.
struct FrameHead {
    last: bool,
    control: bool,
    length: u64,
}

impl FrameHead {
    fn of(buffer: &[u8]) -> Option<Self> {
        let (&first, &second) = (buffer.first()?, buffer.get(1)?);
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?)),
            127 => u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?),
            short => u64::from(short),
        };
        Some(Self { last: first & 0x80 != 0, control: first & 0x08 != 0, length })
    }

    fn check(&self, so_far: usize, message_bytes_max: usize) -> Result<(), Fault> {
        if self.control {
            return if self.last && self.length <= CONTROL_BYTES_MAX {
                Ok(())
            } else {
                Err(Fault::Broken(close_code::PROTOCOL, "the control frame is not valid"))
            };
        }
        if self.length.saturating_add(so_far as u64) > message_bytes_max as u64 {
            return Err(Fault::Broken(close_code::TOO_BIG, "the message is too big"));
        }
        Ok(())
    }
}

fn message(opcode: OpCode, payload: Bytes) -> Result<Incoming, Fault> {
    if opcode == OpCode::Binary {
        return Ok(Incoming::Binary(payload));
    }
    match std::str::from_utf8(&payload) {
        Ok(_) => Ok(Incoming::Text(payload)),
        Err(_) => Err(Fault::Broken(close_code::INVALID_DATA, "the text is not UTF-8")),
    }
}

/// A close frame's code and reason (RFC 6455, sections 5.5.1 and 7.4).
fn closing(payload: &[u8]) -> Result<Incoming, Fault> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() {
            Ok(Incoming::Close(None))
        } else {
            Err(Fault::Broken(close_code::PROTOCOL, "the close frame is not valid"))
        };
    };
    let code = u16::from_be_bytes(*code);
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    match std::str::from_utf8(reason) {
        _ if !may_be_sent => Err(Fault::Broken(close_code::PROTOCOL, "the close code is not valid")),
        Ok(reason) => Ok(Incoming::Close(Some((code, reason.to_owned())))),
        Err(_) => Err(Fault::Broken(close_code::INVALID_DATA, "the close reason is not UTF-8")),
    }
}
