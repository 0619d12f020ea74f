//! What a subscriber is told beside events (`docs/protocol.md` describes each).

use serde::Serialize;

use crate::model::Cursor;

/// A message with its type first, and then the cursor where it has one.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Notice {
    /// The first message.
    Ready {
        cursor: Cursor,
    },
    Heartbeat {
        cursor: Cursor,
    },
    /// Retention has removed captures of these endpoints that the subscriber has not seen.
    Truncated {
        cursor: Cursor,
        endpoints: Vec<String>,
    },
    /// The journal is another one than the subscriber's cursor was of.
    Reset {
        cursor: Cursor,
    },
    /// The subscription was changed as the client asked.
    Subscribed {
        cursor: Cursor,
    },
    /// The client said what is not understood.
    Error {
        detail: String,
    },
    /// The node stops; a client should come back after that time.
    Closing {
        cursor: Cursor,
        reconnect_ms: u64,
    },
}

impl Notice {
    /// The cursor, where the client's place is behind what it was sent before.
    pub fn cursor(&self) -> Option<Cursor> {
        match *self {
            Self::Ready { cursor }
            | Self::Heartbeat { cursor }
            | Self::Truncated { cursor, .. }
            | Self::Reset { cursor }
            | Self::Subscribed { cursor }
            | Self::Closing { cursor, .. } => Some(cursor),
            Self::Error { .. } => None,
        }
    }

    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers are JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_stands_first_and_then_the_cursor() {
        let closing = Notice::Closing { cursor: Cursor::default(), reconnect_ms: 5 };
        let cursor = Cursor::default();
        assert_eq!(
            closing.json(),
            format!("{{\"type\":\"closing\",\"cursor\":\"{cursor}\",\"reconnect_ms\":5}}")
        );
    }
}
