//! An event: a journal entry, encoded at most once for each form of its body, and shared by all who may see
//! its place.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::model::wire::{self, BodyForm, Written};
use crate::model::{Cursor, Entry};

/// An entry as subscribers are sent it.
#[derive(Debug)]
pub struct Event {
    pub entry: Entry,
    /// The place behind the entry.
    pub cursor: Cursor,
    full: OnceLock<Encoded>,
    preview: OnceLock<Encoded>,
    none: OnceLock<Encoded>,
}

/// One buffer serves every framing: a WebSocket frame is its front, a line of NDJSON its back, and an SSE
/// event is made around its middle.
#[derive(Debug, Clone)]
pub struct Encoded {
    buffer: Bytes,
    json_at: usize,
    written: Written,
}

impl Event {
    pub fn new(epoch: i64, entry: Entry) -> Self {
        Self {
            cursor: Cursor::behind(epoch, entry.seq, entry.id()),
            entry,
            full: OnceLock::new(),
            preview: OnceLock::new(),
            none: OnceLock::new(),
        }
    }

    pub fn encoded(&self, form: BodyForm) -> &Encoded {
        let slot = match form {
            BodyForm::Full => &self.full,
            BodyForm::Preview => &self.preview,
            BodyForm::None => &self.none,
        };
        slot.get_or_init(|| self.encode(form, &self.cursor.to_string(), Some(self.entry.seq)))
    }

    /// The event for one subscriber alone, who is shown another cursor and no number.
    pub fn encoded_apart(&self, form: BodyForm, cursor: &str) -> Encoded {
        self.encode(form, cursor, None)
    }

    fn encode(&self, form: BodyForm, cursor: &str, seq: Option<i64>) -> Encoded {
        const HEADER_ROOM: usize = 10;
        let body = if form == BodyForm::None { 0 } else { self.entry.weight() };
        let mut buffer = Vec::with_capacity(2048 + body);
        buffer.resize(HEADER_ROOM, 0);
        let written = wire::write_event(&mut buffer, cursor, seq, &self.entry, form);
        let (header, header_bytes) = text_frame_header(buffer.len() - HEADER_ROOM);
        let start = HEADER_ROOM - header_bytes;
        buffer[start..HEADER_ROOM].copy_from_slice(&header[..header_bytes]);
        buffer.push(b'\n');
        Encoded { buffer: of_its_size(buffer, start), json_at: header_bytes, written }
    }
}

impl Encoded {
    /// False where the content of a large body is to follow.
    pub fn is_whole(&self) -> bool {
        self.written == Written::Whole
    }

    /// What it takes.
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The event as an object, or its beginning.
    pub fn json(&self) -> Bytes {
        self.buffer.slice(self.json_at..self.buffer.len() - 1)
    }

    /// An unmasked text frame (RFC 6455, section 5.2).
    pub fn websocket_frame(&self) -> Bytes {
        self.buffer.slice(..self.buffer.len() - 1)
    }

    /// The event and a line feed.
    pub fn line(&self) -> Bytes {
        self.buffer.slice(self.json_at..)
    }
}

/// What stands behind a place, without much room that nobody uses: it stays in memory for a while.
fn of_its_size(buffer: Vec<u8>, start: usize) -> Bytes {
    let used = buffer.len() - start;
    if buffer.capacity() > used + used / 4 {
        Bytes::copy_from_slice(&buffer[start..])
    } else {
        Bytes::from(buffer).slice(start..)
    }
}

/// FIN and opcode 1, no mask, and the length in as few bytes as it takes.
fn text_frame_header(length: usize) -> ([u8; 10], usize) {
    let mut header = [0; 10];
    header[0] = 0x81;
    let used = match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => {
            header[1] = short;
            2
        }
        (_, Ok(medium)) => {
            header[1] = 126;
            header[2..4].copy_from_slice(&medium.to_be_bytes());
            4
        }
        _ => {
            header[1] = 127;
            header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
            10
        }
    };
    (header, used)
}
