//! What a leaf looks at that a request does not have, but a kept capture does: how it was answered, and when it
//! came. For inquiries alone; rules are asked before there is any of it.

use super::place::Found;
use super::seen::Seen;

/// A part of a kept capture that is no part of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Nothing where nothing was answered.
    ReplyStatus,
    ReplySource,
    /// The name of the rule that has answered, where one has: the capture shows it too.
    Rule,
    /// An instant; leaves about it compare it, and do nothing else.
    Received,
    Kind,
}

/// The places by name.
pub const NAMES: &str = "reply_status, reply_source, rule, received, kind";

impl Kept {
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "reply_status" => Self::ReplyStatus,
            "reply_source" => Self::ReplySource,
            "rule" => Self::Rule,
            "received" => Self::Received,
            "kind" => Self::Kind,
            _ => return None,
        })
    }

    /// Hands over the value, where there is one. Whether it was enough.
    pub fn any(self, seen: &Seen<'_>, mut enough: impl FnMut(Found<'_>) -> bool) -> bool {
        let capture = seen.capture;
        match self {
            Self::ReplyStatus => match capture.reply.status {
                0 => false,
                status => enough(Found::Number(status.into())),
            },
            Self::ReplySource => enough(Found::Text(capture.reply.source.name())),
            Self::Rule => seen.rule_name().is_some_and(|name| enough(Found::Text(name))),
            Self::Received => enough(Found::Instant(capture.received_us)),
            Self::Kind => enough(Found::Text(capture.kind.name())),
        }
    }
}
