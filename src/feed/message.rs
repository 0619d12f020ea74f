//! What nodes tell each other through the broker: the entries of a commit, large ones by number alone.
//!
//! The format has a number of its own. A node that does not know it, or cannot read a message, reads the
//! journal instead: nodes of two versions work side by side.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::MESSAGE_BYTES_MAX;
use crate::model::Entry;

const FORMAT: u8 = 2;

/// The format's number and the sender's id stand before what is encoded.
const HEAD_BYTES: usize = 1 + 16;

/// Room that a message keeps free for what stands around its entries.
const ENTRIES_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;

#[derive(Debug, Serialize, Deserialize)]
pub struct Message {
    pub epoch: i64,
    pub items: Vec<Announced>,
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Announced {
    Entry(Entry),
    /// Too large to be sent along.
    Seq(i64),
}

impl Announced {
    pub fn seq(&self) -> i64 {
        match self {
            Self::Entry(entry) => entry.seq,
            Self::Seq(seq) => *seq,
        }
    }

    /// How many bytes it holds, about.
    pub fn weight(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.weight(),
            Self::Seq(_) => size_of::<Self>(),
        }
    }
}

/// What is told of entries; they are shared, and those over so many bytes are not held.
pub fn announce(entries: &[Entry], entry_bytes_max: usize) -> Vec<Announced> {
    let announced = |entry: &Entry| match entry.weight() > entry_bytes_max {
        true => Announced::Seq(entry.seq),
        false => Announced::Entry(entry.clone()),
    };
    entries.iter().map(announced).collect()
}

/// Encodes what is announced into as many messages as it needs.
pub fn encode(node: Uuid, epoch: i64, announced: Vec<Announced>) -> Vec<Bytes> {
    let mut messages = Vec::new();
    let mut items = Vec::with_capacity(announced.len());
    let mut bytes = 0;
    for item in announced {
        let weight = item.weight();
        if bytes + weight > ENTRIES_BYTES_MAX && !items.is_empty() {
            messages.push(encoded(node, bytes, &Message { epoch, items: std::mem::take(&mut items) }));
            bytes = 0;
        }
        bytes += weight;
        items.push(item);
    }
    messages.push(encoded(node, bytes, &Message { epoch, items }));
    messages
}

fn encoded(node: Uuid, bytes: usize, message: &Message) -> Bytes {
    let mut head = Vec::with_capacity(HEAD_BYTES + bytes);
    head.push(FORMAT);
    head.extend_from_slice(node.as_bytes());
    let buffer = postcard::to_extend(message, head).expect("plain types, and a Vec takes them");
    Bytes::from(buffer)
}

/// Whether a message is a node's own, which is told without decoding it.
pub fn is_of(node: Uuid, message: &[u8]) -> bool {
    message.get(1..HEAD_BYTES) == Some(node.as_bytes().as_slice())
}

/// Decodes a message; None where this node cannot read it.
pub fn decode(message: &[u8]) -> Option<Message> {
    match message.split_at_checked(HEAD_BYTES) {
        Some(([FORMAT, ..], rest)) => postcard::from_bytes(rest).ok(),
        _ => None,
    }
}
