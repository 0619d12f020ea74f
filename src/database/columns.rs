//! How a journal entry stands in its row: the one place that knows the columns, both ways.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use uuid::Uuid;

use super::{DatabaseError, Row};
use crate::model::limits::PREVIEW_BYTES;
use crate::model::{
    Body, BodyContent, Capture, CaptureKind, Change, ConfigurationChange, ConfigurationKind, EndpointCode,
    Entry, EntryKind, HeaderBlock, Removal, Removed, ReplyChoice, ReplySource, RuleChoice, WebSocketDetail,
    json,
};

/// The columns behind `seq`, in the order of [`CaptureColumns`] and of [`entry`]. What nothing is looked
/// up by stands together in `detail`: a column costs the database more than its bytes.
macro_rules! columns {
    () => {
        "kind, id, received_us, endpoint, method, target, headers, body, kept_bytes, detail"
    };
}
/// The same with no more of a body than a preview shows. (SQLite's `substr` of no bytes is NULL.)
macro_rules! preview_columns {
    () => {
        "kind, id, received_us, endpoint, method, target, headers, COALESCE(substr(body, 1, 8192), body), \
         kept_bytes, detail"
    };
}
pub(crate) use columns;
pub(crate) use preview_columns;

/// Kinds from here on are no captures.
pub const KIND_REMOVAL: i64 = 20;
pub const KIND_CONFIGURATION: i64 = 30;

/// What a capture's detail has where it says nothing else. Reports count on the status (`storage/rollups.rs`).
const VERSION: &str = "HTTP/1.1";
const SCHEME: &str = "http";
const STATUS: u16 = 200;

/// A capture's values that are not fields of it as they stand.
pub struct CaptureColumns<'a> {
    pub kind: i64,
    /// The whole, or the start of one that is kept in parts.
    pub body: &'a [u8],
    /// What it counts for in totals and limits: target, headers and body.
    pub kept_bytes: i64,
    pub detail: String,
}

/// What the column `detail` holds for captures, as JSON. Names stay as they are, and what is added later
/// has a default: nodes of two versions read each other's rows. What is as usual is not there, since rows of
/// a kilobyte share pages of 4 or 8 KiB: every byte counts.
#[derive(Serialize, Deserialize)]
struct CaptureDetail<'a> {
    /// None where it is [`VERSION`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<Cow<'a, str>>,
    /// None where it is [`SCHEME`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scheme: Option<Cow<'a, str>>,
    host: Cow<'a, str>,
    port: u16,
    #[serde(serialize_with = "as_text")]
    peer: SocketAddr,
    /// None where it is the peer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    /// None where they are as many as the row's own, also where no more than a preview is read of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
    /// Whether the body is kept in parts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    parts: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    websocket: Option<Cow<'a, WebSocketDetail>>,
    /// [`ReplySource::name`], None where it is the default; what this version does not know counts as nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reply: Option<Cow<'a, str>>,
    /// None where it is [`STATUS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rule: Option<Cow<'a, RuleChoice>>,
}

impl<'a> CaptureColumns<'a> {
    pub fn of(capture: &'a Capture) -> Self {
        let (body, parts) = match &capture.body.content {
            BodyContent::Inline(bytes) => (bytes.as_ref(), false),
            BodyContent::Parts { start } => (start.as_ref(), true),
        };
        Self {
            kind: match capture.kind {
                CaptureKind::Http => 1,
                CaptureKind::WebSocketOpen => 2,
                CaptureKind::WebSocketText => 3,
                CaptureKind::WebSocketBinary => 4,
                CaptureKind::WebSocketClose => 5,
            },
            body,
            kept_bytes: capture.kept_bytes(),
            detail: detail_text(&CaptureDetail {
                version: unless(VERSION, capture.version.as_ref()).map(Cow::Borrowed),
                scheme: unless(SCHEME, capture.scheme.as_ref()).map(Cow::Borrowed),
                host: capture.host.as_str().into(),
                port: capture.port,
                peer: capture.peer,
                client: (capture.client != capture.peer.ip()).then_some(capture.client),
                body_bytes: (body.len() > PREVIEW_BYTES || body.len() as u64 != capture.body.bytes)
                    .then_some(capture.body.bytes),
                truncated: capture.body.truncated,
                incomplete: capture.body.incomplete,
                parts,
                websocket: capture.websocket.as_ref().map(Cow::Borrowed),
                reply: unless(ReplySource::Default, capture.reply.source).map(|source| source.name().into()),
                status: unless(STATUS, capture.reply.status),
                rule: capture.reply.rule.as_ref().map(Cow::Borrowed),
            }),
        }
    }
}

/// What the column `detail` holds for entries that are no captures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryDetail {
    One {
        capture: Uuid,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    All {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
    Change {
        kind: ConfigurationKind,
        name: String,
        change: Change,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<String>,
    },
}

/// The value, unless it is the usual one.
fn unless<T: PartialEq>(usual: T, value: T) -> Option<T> {
    (value != usual).then_some(value)
}

/// As serde does it, without the formatter: every row has one.
fn as_text<S: Serializer>(peer: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::with_capacity(48);
    json::peer(&mut text, *peer);
    serializer.serialize_str(std::str::from_utf8(&text).map_err(S::Error::custom)?)
}

/// The text of the column `detail`.
pub fn detail_text<T: Serialize>(detail: &T) -> String {
    let mut text = Vec::with_capacity(256);
    serde_json::to_writer(&mut text, detail).expect("plain types with string keys are JSON");
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// Reads an entry from a row of `seq` and the columns.
pub fn entry(row: &Row) -> Result<Entry, DatabaseError> {
    let kind = match row.int(1)? {
        1 => CaptureKind::Http,
        2 => CaptureKind::WebSocketOpen,
        3 => CaptureKind::WebSocketText,
        4 => CaptureKind::WebSocketBinary,
        5 => CaptureKind::WebSocketClose,
        KIND_REMOVAL | KIND_CONFIGURATION => return other_entry(row),
        unknown => return Err(broken(format!("entry {:?} is of the unknown kind {unknown}", row.int(0)))),
    };
    let detail: CaptureDetail<'_> = parsed_detail(row.text(10)?)?;
    let stored = row.bytes(8)?.clone();
    let stored_bytes = stored.len() as u64;
    let capture = Capture {
        id: id(row.bytes(2)?)?,
        endpoint: endpoint(row.text(4)?)?,
        kind,
        received_us: row.int(3)?,
        method: known(row.text(5)?, &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
        target: utf8(row.bytes(6)?)?,
        version: detail.version.map_or(VERSION.into(), |version| known(&version, &["HTTP/1.0"])),
        scheme: detail.scheme.map_or(SCHEME.into(), |scheme| known(&scheme, &["https"])),
        host: detail.host.into_owned(),
        port: detail.port,
        headers: HeaderBlock::from_kept(row.bytes(7)?.clone()),
        peer: detail.peer,
        client: detail.client.unwrap_or(detail.peer.ip()),
        body: Body {
            content: if detail.parts {
                BodyContent::Parts { start: stored }
            } else {
                BodyContent::Inline(stored)
            },
            bytes: detail.body_bytes.unwrap_or(stored_bytes),
            truncated: detail.truncated,
            incomplete: detail.incomplete,
        },
        websocket: detail.websocket.map(Cow::into_owned),
        reply: ReplyChoice {
            source: detail.reply.map_or(ReplySource::Default, |name| ReplySource::named(&name)),
            status: detail.status.unwrap_or(STATUS),
            rule: detail.rule.map(Cow::into_owned),
        },
    };
    Ok(Entry { seq: row.int(0)?, what: EntryKind::Capture(Arc::new(capture)) })
}

fn other_entry(row: &Row) -> Result<Entry, DatabaseError> {
    let id = id(row.bytes(2)?)?;
    let at_us = row.int(3)?;
    let removal = |removed, by| {
        let endpoint = endpoint(row.text(4)?)?;
        Ok::<_, DatabaseError>(EntryKind::Removal(Removal { id, at_us, endpoint, removed, by }))
    };
    let what = match parsed_detail::<EntryDetail>(row.text(10)?)? {
        EntryDetail::One { capture, by } => removal(Removed::One(capture), by)?,
        EntryDetail::All { by } => removal(Removed::All, by)?,
        EntryDetail::Change { kind, name, change, by } => {
            EntryKind::Configuration(ConfigurationChange { id, at_us, kind, name, change, by })
        }
    };
    Ok(Entry { seq: row.int(0)?, what })
}

/// The text as one of the usual ones, without a copy, or as itself.
fn known(text: &str, usual: &[&'static str]) -> Cow<'static, str> {
    match usual.iter().find(|u| **u == text) {
        Some(usual) => Cow::Borrowed(usual),
        None => Cow::Owned(text.to_owned()),
    }
}

pub fn id(bytes: &Bytes) -> Result<Uuid, DatabaseError> {
    Uuid::from_slice(bytes).map_err(broken)
}

pub fn endpoint(text: &str) -> Result<EndpointCode, DatabaseError> {
    EndpointCode::parse(text).map_err(broken)
}

fn utf8(bytes: &Bytes) -> Result<String, DatabaseError> {
    String::from_utf8(bytes.to_vec()).map_err(broken)
}

fn parsed_detail<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(broken)
}

fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DatabaseError {
    DatabaseError::Other(source.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::database::Value;
    use crate::rules::sample::{self, SampleOptions};

    fn read(capture: &Capture, detail: String, body: &[u8]) -> Arc<Capture> {
        let row = Row(vec![
            Value::Int(1),
            Value::Int(1),
            Value::Bytes(Bytes::copy_from_slice(capture.id.as_bytes())),
            Value::Int(capture.received_us),
            Value::Text(capture.endpoint.to_string()),
            Value::Text(capture.method.to_string()),
            Value::Bytes(capture.target.clone().into()),
            Value::Bytes(Bytes::copy_from_slice(capture.headers.as_bytes().as_ref())),
            Value::Bytes(Bytes::copy_from_slice(body)),
            Value::Int(0),
            Value::Text(detail),
        ]);
        match entry(&row).unwrap().what {
            EntryKind::Capture(capture) => capture,
            other => panic!("{other:?}"),
        }
    }

    fn capture(body: &str) -> Capture {
        let options = SampleOptions { id: Uuid::nil(), now_us: 0, prefix: "r" };
        let mut capture = sample::capture(&json!({"endpoint": "a", "body": body}), options).unwrap();
        capture.reply = ReplyChoice::of(ReplySource::Default, STATUS);
        capture
    }

    #[test]
    fn what_is_usual_is_left_out_and_read_as_if_it_stood_there() {
        let usual = capture("abc");
        let detail = CaptureColumns::of(&usual).detail;
        for name in ["version", "scheme", "body_bytes", "reply", "status"] {
            assert!(!detail.contains(name), "{detail}");
        }
        let spelled = json!({
            "version": "HTTP/1.1", "scheme": "http", "host": usual.host, "port": usual.port, "peer": usual.peer,
            "body_bytes": 3, "reply": "default", "status": 200,
        });
        assert_eq!(*read(&usual, detail, b"abc"), usual);
        assert_eq!(*read(&usual, spelled.to_string(), b"abc"), usual);
    }

    #[test]
    fn what_is_not_usual_is_kept() {
        let mut other = capture("abc");
        (other.version, other.scheme) = ("HTTP/1.0".into(), "https".into());
        other.reply = ReplyChoice::of(ReplySource::Limit, 413);
        (other.body.bytes, other.body.truncated) = (4, true);
        assert_eq!(*read(&other, CaptureColumns::of(&other).detail, b"abc"), other);
    }

    #[test]
    fn a_body_is_as_long_as_it_is_though_a_preview_of_it_is_read() {
        assert!(preview_columns!().contains(&format!("substr(body, 1, {PREVIEW_BYTES})")));
        for bytes in [PREVIEW_BYTES, PREVIEW_BYTES + 1] {
            let long = capture(&"x".repeat(bytes));
            let preview = vec![b'x'; PREVIEW_BYTES];
            let read = read(&long, CaptureColumns::of(&long).detail, &preview);
            assert_eq!(read.body.bytes, bytes as u64);
        }
    }
}
