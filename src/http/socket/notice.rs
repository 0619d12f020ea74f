//! What a subscriber is told beside events (`docs/protocol.md` describes each).

use serde::Serialize;

/// A message with its type first, and then the cursor where it has one.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Notice {
    /// The first message.
    Ready {
        cursor: String,
    },
    Heartbeat {
        cursor: String,
    },
    /// Retention has removed captures of these endpoints that the subscriber has not seen.
    Truncated {
        cursor: String,
        endpoints: Vec<String>,
    },
    /// The journal is another one than the subscriber's cursor was of.
    Reset {
        cursor: String,
    },
    /// The subscription was changed as the client asked.
    Subscribed {
        cursor: String,
    },
    /// The client said what is not understood.
    Error {
        detail: String,
    },
    /// The stream ends. Where the node stops, a client should come back after that time; where its leave is
    /// over, it should not.
    Closing {
        #[serde(skip_serializing_if = "Option::is_none")]
        cursor: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reconnect_ms: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'static str>,
    },
}

impl Notice {
    /// The cursor, where the client's place is behind what it was sent before.
    pub fn cursor(&self) -> Option<&str> {
        match self {
            Self::Ready { cursor }
            | Self::Heartbeat { cursor }
            | Self::Truncated { cursor, .. }
            | Self::Reset { cursor }
            | Self::Subscribed { cursor } => Some(cursor),
            Self::Closing { cursor, .. } => cursor.as_deref(),
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
        let cursor = Some("AQAP".to_owned());
        let stopping = Notice::Closing { cursor, reconnect_ms: Some(5), reason: None };
        assert_eq!(stopping.json(), r#"{"type":"closing","cursor":"AQAP","reconnect_ms":5}"#);
        let expelled = Notice::Closing { cursor: None, reconnect_ms: None, reason: Some("unauthorized") };
        assert_eq!(expelled.json(), r#"{"type":"closing","reason":"unauthorized"}"#);
    }
}
