//! A capture: one caught request, or one event of a caught WebSocket.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EndpointCode, HeaderBlock};

/// Everything that is recorded of a request when it is received. What was answered is an
/// [`Answer`](super::Answer), kept beside it afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// A UUIDv7 (RFC 9562) of the time received.
    pub id: Uuid,
    pub endpoint: EndpointCode,
    pub kind: CaptureKind,
    /// Microseconds since the Unix epoch.
    pub received_us: i64,
    /// Any token (RFC 9110, section 9.1).
    pub method: Cow<'static, str>,
    /// The request target as sent, not normalised (RFC 9112, section 3.2).
    pub target: String,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub version: Cow<'static, str>,
    /// `http` or `https`, as the sender used it: a trusted proxy may tell.
    pub scheme: Cow<'static, str>,
    pub host: String,
    pub port: u16,
    pub headers: HeaderBlock,
    /// Whom the connection came from.
    pub peer: SocketAddr,
    /// The sender's address: the peer's, or what trusted proxies told.
    pub client: IpAddr,
    pub body: Body,
    /// For the events of a WebSocket.
    pub websocket: Option<WebSocketDetail>,
    pub reply: ReplyChoice,
}

/// What was caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaptureKind {
    Http,
    WebSocketOpen,
    WebSocketText,
    WebSocketBinary,
    WebSocketClose,
}

/// What ties the events of one WebSocket together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebSocketDetail {
    pub connection: Uuid,
    /// Close code (RFC 6455, section 7.4); 1005 and 1006 where none was sent, or none could be.
    pub close_code: Option<u16>,
    pub close_reason: Option<String>,
}

/// A body, or a message's payload, as it was sent: not decompressed, not decoded from any charset.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Body {
    pub content: BodyContent,
    /// Bytes that are kept of it.
    pub bytes: u64,
    /// The body was over the limit; the rest was not read.
    pub truncated: bool,
    /// The sender went away, or fell silent, before the body's end.
    pub incomplete: bool,
}

/// Where a body's bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BodyContent {
    Inline(Bytes),
    /// Kept in parts beside the journal, because it is large; its first
    /// [`PREVIEW_BYTES`](super::limits::PREVIEW_BYTES) stand here.
    Parts {
        start: Bytes,
    },
}

impl Default for BodyContent {
    fn default() -> Self {
        Self::Inline(Bytes::new())
    }
}

/// How a capture is answered, as it was decided when it was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyChoice {
    pub source: ReplySource,
    /// Status code; 0 where nothing is answered.
    pub status: u16,
    /// Where a rule has chosen.
    pub rule: Option<RuleChoice>,
}

/// The rule that has chosen a reply, in the version that was in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleChoice {
    pub name: Arc<str>,
    /// Counts the changes of the rule, from 1.
    pub version: i64,
    /// The how many-th match this is, from 1, where the rule counts them.
    pub hit: Option<i64>,
}

/// What chose the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplySource {
    /// No rule applied: the small document.
    Default,
    /// A rule.
    Rule,
    /// No rule applied, and the endpoint has a reply of its own.
    Endpoint,
    /// A CORS preflight, answered from the settings.
    Preflight,
    /// A limit: too large, too slow.
    Limit,
    /// A WebSocket was accepted or refused, or a message echoed.
    WebSocket,
    /// Nothing is answered: a message, a close, or a sender that is gone.
    Nothing,
}

impl ReplyChoice {
    /// A choice in which no rule had a part.
    pub fn of(source: ReplySource, status: u16) -> Self {
        Self { source, status, rule: None }
    }
}

impl CaptureKind {
    /// Name in the API and on the stream.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::WebSocketOpen => "websocket_open",
            Self::WebSocketText => "websocket_text",
            Self::WebSocketBinary => "websocket_binary",
            Self::WebSocketClose => "websocket_close",
        }
    }
}

impl ReplySource {
    const ALL: [Self; 7] = [
        Self::Default,
        Self::Rule,
        Self::Endpoint,
        Self::Preflight,
        Self::Limit,
        Self::WebSocket,
        Self::Nothing,
    ];

    /// Name in the API, on the stream, and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Rule => "rule",
            Self::Endpoint => "endpoint",
            Self::Preflight => "preflight",
            Self::Limit => "limit",
            Self::WebSocket => "websocket",
            Self::Nothing => "nothing",
        }
    }

    /// The source of a name; [`Self::Nothing`] where there is none such.
    pub fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|source| source.name() == name).unwrap_or(Self::Nothing)
    }
}

impl Capture {
    /// Whether it is a preflight (Fetch standard, "CORS-preflight request").
    pub fn is_preflight(&self) -> bool {
        self.method == "OPTIONS"
            && self.kind == CaptureKind::Http
            && ["origin", "access-control-request-method"].iter().all(|name| self.headers.get(name).is_some())
    }

    /// Whether its head says that content follows.
    pub fn announces_content(&self) -> bool {
        self.headers.get("transfer-encoding").is_some()
            || self.headers.get("content-length").is_some_and(|length| length != b"0")
    }

    /// What the capture counts for where what is kept is counted, in bytes: target, headers and body.
    pub fn kept_bytes(&self) -> i64 {
        let head_bytes = (self.target.len() + self.headers.as_bytes().len()) as u64;
        i64::try_from(head_bytes + self.body.bytes).unwrap_or(i64::MAX)
    }

    /// What the capture takes in queues, batches and rings, in bytes: its content and a flat sum for
    /// the rest.
    pub fn weight(&self) -> usize {
        let (BodyContent::Inline(body) | BodyContent::Parts { start: body }) = &self.body.content;
        512 + body.len() + self.headers.as_bytes().len() + self.target.len()
    }
}
