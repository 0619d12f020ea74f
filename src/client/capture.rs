//! A capture as the API and the stream show it (`docs/protocol.md`, "A capture").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

/// Members that are not named here are passed over, as the protocol asks.
#[derive(Debug, Clone, Deserialize)]
pub struct ShownCapture {
    pub id: String,
    pub endpoint: String,
    /// `http`, or one of a WebSocket's events.
    pub kind: String,
    /// RFC 3339, in UTC.
    pub received: String,
    pub method: String,
    /// As sent, raw.
    pub target: String,
    pub path: String,
    /// What follows the code in the path, with its slash, or nothing.
    pub remainder: String,
    pub query: Option<String>,
    pub version: String,
    /// Where the sender meant to send it.
    #[serde(default)]
    pub scheme: String,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub port: u16,
    /// The sender's address.
    #[serde(default)]
    pub client: String,
    headers: Vec<(String, ShownValue)>,
    #[serde(default)]
    pub reply: ShownReply,
    pub body: ShownBody,
}

/// What was chosen as the answer.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ShownReply {
    pub source: String,
    pub status: Option<u16>,
    pub rule: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ShownBody {
    /// Bytes that are kept.
    pub bytes: u64,
    pub truncated: bool,
    pub incomplete: bool,
    /// Whether `content` is no more than the beginning.
    #[serde(default)]
    preview: bool,
    encoding: Option<String>,
    content: Option<String>,
}

/// A header's value: text, or octets that are none.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum ShownValue {
    Text(String),
    Octets { base64: String },
}

impl ShownCapture {
    /// Reads the object that the API shows.
    ///
    /// # Errors
    /// A member that is missing, or is not what it should be.
    pub fn read(shown: &Value) -> Result<Self, serde_json::Error> {
        Self::deserialize(shown)
    }

    /// Names and values in their order, octet for octet.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        let octets = |value: &ShownValue| match value {
            ShownValue::Text(text) => text.clone().into_bytes(),
            ShownValue::Octets { base64 } => STANDARD.decode(base64).unwrap_or_default(),
        };
        self.headers.iter().map(|(name, value)| (name.clone(), octets(value))).collect()
    }

    /// The body, where all of it is shown.
    pub fn whole_body(&self) -> Option<Bytes> {
        if self.body.bytes == 0 {
            return Some(Bytes::new());
        }
        self.shown_body().filter(|content| content.len() as u64 == self.body.bytes)
    }

    /// As much of the body as is shown: None where nothing of it is.
    pub fn shown_body(&self) -> Option<Bytes> {
        let content = self.body.content.as_ref()?;
        match self.body.encoding.as_deref() {
            Some("base64") => STANDARD.decode(content).ok().map(Bytes::from),
            _ => Some(content.clone().into()),
        }
    }

    /// Whether it is a request with a body, and no event of a WebSocket.
    pub fn is_request(&self) -> bool {
        matches!(self.kind.as_str(), "http" | "websocket_open")
    }
}

impl ShownBody {
    /// Whether there is more of it than is shown.
    pub fn is_cut(&self) -> bool {
        self.preview || (self.content.is_none() && self.bytes > 0)
    }
}
