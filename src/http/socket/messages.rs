//! Messages that are received: frames put together, checked as RFC 6455 asks, and bounded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_http::ws::OpCode;
use actix_web::dev::Payload;
use bytes::{Buf as _, Bytes};
use futures_util::StreamExt as _;

use crate::intake::{Budget, Reserved};

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
#[derive(Debug)]
pub enum Incoming {
    /// Text or binary.
    Message(OpCode, Held),
    Ping(Bytes),
    Pong,
    Close(Option<(u16, String)>),
}

/// A message's payload, and the memory that it takes.
#[derive(Debug)]
pub struct Held {
    pub bytes: Bytes,
    pub room: Reserved,
}

/// Why nothing more can be received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The peer broke a rule, or a limit: the code to close with, and why.
    Broken(u16, &'static str),
    /// There is no memory for the message.
    NoRoom,
    /// The connection ended without a close.
    Gone,
}

/// The receiving side of a WebSocket.
pub struct Messages {
    payload: Payload,
    /// What came and was not looked at yet.
    came: Bytes,
    /// The head of the next frame, as far as it came.
    head: Vec<u8>,
    /// The frame of which the payload comes now.
    frame: Option<Frame>,
    /// The payload of a control frame, as far as it came.
    control: Vec<u8>,
    /// The message that has begun, as far as it came.
    message: Option<Unfinished>,
    /// What messages take their memory from.
    budget: Arc<Budget>,
    message_bytes_max: usize,
    ended: bool,
    /// When the peer was last heard of.
    heard: Instant,
}

impl Messages {
    pub fn new(payload: Payload, message_bytes_max: usize, budget: Arc<Budget>) -> Self {
        Self {
            payload,
            came: Bytes::new(),
            head: Vec::new(),
            frame: None,
            control: Vec::new(),
            message: None,
            budget,
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
            // All of it was taken: it does not hold on to what the connection has read.
            self.came = Bytes::new();
            match self.payload.next().await {
                Some(Ok(bytes)) => {
                    self.heard = Instant::now();
                    self.came = bytes;
                }
                Some(Err(_)) | None => self.ended = true,
            }
        }
    }

    /// The message that has begun and will not end any more, as far as it came.
    pub fn unfinished(&mut self) -> Option<(OpCode, Held)> {
        let Unfinished { opcode, payload, room } = self.message.take()?;
        Some((opcode, Held { bytes: payload.into(), room }))
    }

    /// What is complete of what came, if anything is; all that came is taken before it says that nothing is.
    fn take(&mut self) -> Result<Option<Incoming>, Fault> {
        loop {
            let mut frame = match self.frame.take() {
                Some(frame) => frame,
                None => match self.begin()? {
                    Some(frame) => frame,
                    None => return Ok(None),
                },
            };
            let piece = self.came.split_to(frame.left.min(self.came.len()));
            frame.left -= piece.len();
            match &mut self.message {
                Some(message) if !frame.is_control() => {
                    message.make_room(piece.len(), &frame, self.message_bytes_max)?;
                    frame.unmask(&piece, &mut message.payload);
                }
                _ => frame.unmask(&piece, &mut self.control),
            }
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(None);
            }
            match frame.opcode {
                OpCode::Ping => return Ok(Some(Incoming::Ping(std::mem::take(&mut self.control).into()))),
                OpCode::Pong => {
                    self.control.clear();
                    return Ok(Some(Incoming::Pong));
                }
                OpCode::Close => return closing(&self.control).map(Some),
                _ if !frame.last => {}
                _ => {
                    // Text that is none stays, as a message that did not end.
                    if self.message.as_ref().is_some_and(Unfinished::is_garbled) {
                        return Err(Fault::Broken(close_code::INVALID_DATA, "the text is not UTF-8"));
                    }
                    return Ok(self.unfinished().map(|(opcode, held)| Incoming::Message(opcode, held)));
                }
            }
        }
    }

    /// The next frame, once its head is there.
    fn begin(&mut self) -> Result<Option<Frame>, Fault> {
        while !self.came.is_empty() {
            self.head.push(self.came.get_u8());
            let Some(head) = FrameHead::of(&self.head) else { continue };
            head.check(self.message.as_ref(), self.message_bytes_max)?;
            let Some(mask) = self.head[head.bytes..].first_chunk().copied() else { continue };
            self.head.clear();
            let left = usize::try_from(head.length)
                .map_err(|_| Fault::Broken(close_code::TOO_BIG, "the message is too big"))?;
            let frame = Frame { last: head.last, opcode: head.opcode, left, mask };
            if matches!(frame.opcode, OpCode::Text | OpCode::Binary) {
                let room = self.budget.reserve(0).ok_or(Fault::NoRoom)?;
                self.message = Some(Unfinished { opcode: frame.opcode, payload: Vec::new(), room });
            }
            return Ok(Some(frame));
        }
        Ok(None)
    }
}

/// A message of which some has come.
struct Unfinished {
    opcode: OpCode,
    payload: Vec<u8>,
    room: Reserved,
}

impl Unfinished {
    /// Makes room for so many bytes more. It doubles, up to what the message can still come to: what was announced
    /// is not believed before it comes.
    fn make_room(&mut self, more: usize, frame: &Frame, message_bytes_max: usize) -> Result<(), Fault> {
        let wanted = self.payload.len() + more;
        if wanted > self.payload.capacity() {
            let most = if frame.last { wanted + frame.left } else { message_bytes_max };
            let capacity = (self.payload.capacity() * 2).min(most).max(wanted);
            if !self.room.grow_to(capacity) {
                return Err(Fault::NoRoom);
            }
            self.payload.reserve_exact(capacity - self.payload.len());
        }
        Ok(())
    }

    fn is_garbled(&self) -> bool {
        self.opcode == OpCode::Text && std::str::from_utf8(&self.payload).is_err()
    }
}

/// A frame of which the head has come.
struct Frame {
    last: bool,
    opcode: OpCode,
    /// Bytes of its payload that are still to come.
    left: usize,
    /// The mask, as it is for the next of them.
    mask: [u8; 4],
}

impl Frame {
    fn is_control(&self) -> bool {
        matches!(self.opcode, OpCode::Ping | OpCode::Pong | OpCode::Close)
    }

    /// Appends a piece of the payload as it was before it was masked (RFC 6455, section 5.3).
    fn unmask(&mut self, piece: &[u8], to: &mut Vec<u8>) {
        let begin = to.len();
        to.extend_from_slice(piece);
        for word in to[begin..].chunks_mut(4) {
            word.iter_mut().zip(self.mask).for_each(|(byte, mask)| *byte ^= mask);
        }
        self.mask.rotate_left(piece.len() % 4);
    }
}

/// What the first bytes of a frame tell, so that a limit holds before the payload is there.
struct FrameHead {
    last: bool,
    reserved: bool,
    opcode: OpCode,
    masked: bool,
    length: u64,
    /// Bytes before the mask.
    bytes: usize,
}

impl FrameHead {
    fn of(bytes: &[u8]) -> Option<Self> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (length, bytes) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        Some(Self {
            last: first & 0x80 != 0,
            reserved: first & 0x70 != 0,
            opcode: OpCode::from(first & 0x0f),
            masked: second & 0x80 != 0,
            length,
            bytes,
        })
    }

    /// Whether such a frame may come now.
    fn check(&self, message: Option<&Unfinished>, message_bytes_max: usize) -> Result<(), Fault> {
        let broken = |why| Err(Fault::Broken(close_code::PROTOCOL, why));
        if self.reserved || !self.masked {
            return broken("the frame is not valid");
        }
        match (self.opcode, message) {
            (OpCode::Bad, _) => return broken("the opcode is not known"),
            (OpCode::Ping | OpCode::Pong | OpCode::Close, _) => {
                let is_valid = self.last && self.length <= CONTROL_BYTES_MAX;
                return if is_valid { Ok(()) } else { broken("the control frame is not valid") };
            }
            (OpCode::Text | OpCode::Binary, Some(_)) => return broken("a message began within another"),
            (OpCode::Continue, None) => return broken("nothing is there to be continued"),
            (OpCode::Text | OpCode::Binary, None) | (OpCode::Continue, Some(_)) => {}
        }
        let so_far = message.map_or(0, |message| message.payload.len());
        if self.length.saturating_add(so_far as u64) > message_bytes_max as u64 {
            return Err(Fault::Broken(close_code::TOO_BIG, "the message is too big"));
        }
        Ok(())
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
