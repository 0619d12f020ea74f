//! How a journal entry stands in its row: the one place that knows the columns, both ways.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{DatabaseError, Row};
use crate::model::{
    Body, BodyContent, Capture, CaptureKind, ConfigurationChange, EndpointCode, Entry, EntryKind,
    HeaderBlock, Removal, Removed, ReplyChoice, ReplySource, WebSocketDetail,
};

/// The columns behind `seq`, in the order of [`CaptureColumns`] and of [`entry`].
macro_rules! columns {
    () => {
        "kind, id, received_us, endpoint, method, target, version, scheme, host, port, headers, peer, client, \
         body, body_bytes, body_flags, detail, reply_source, reply_status"
    };
}
/// The same with no more of a body than a preview shows. (SQLite's `substr` of no bytes is NULL.)
macro_rules! preview_columns {
    () => {
        "kind, id, received_us, endpoint, method, target, version, scheme, host, port, headers, peer, client, \
         COALESCE(substr(body, 1, 8192), body), body_bytes, body_flags, detail, reply_source, reply_status"
    };
}
pub(crate) use columns;
pub(crate) use preview_columns;

/// Kinds from here on are no captures.
pub const KIND_REMOVAL: i64 = 20;
pub const KIND_CONFIGURATION: i64 = 30;

const FLAG_TRUNCATED: i64 = 1;
const FLAG_INCOMPLETE: i64 = 2;
const FLAG_PARTS: i64 = 4;

/// A capture's values that are not fields of it as they stand.
pub struct CaptureColumns<'a> {
    pub kind: i64,
    pub peer: String,
    /// None where it is the peer's.
    pub client: Option<String>,
    /// The whole, or the start of one that is kept in parts.
    pub body: &'a [u8],
    pub body_flags: i64,
    pub detail: Option<String>,
    pub reply_source: i64,
}

impl<'a> CaptureColumns<'a> {
    pub fn of(capture: &'a Capture) -> Self {
        let (body, parts) = match &capture.body.content {
            BodyContent::Inline(bytes) => (bytes.as_ref(), 0),
            BodyContent::Parts { start } => (start.as_ref(), FLAG_PARTS),
        };
        let flag = |set: bool, flag: i64| if set { flag } else { 0 };
        Self {
            kind: match capture.kind {
                CaptureKind::Http => 1,
                CaptureKind::WebSocketOpen => 2,
                CaptureKind::WebSocketText => 3,
                CaptureKind::WebSocketBinary => 4,
                CaptureKind::WebSocketClose => 5,
            },
            peer: capture.peer.to_string(),
            client: (capture.client != capture.peer.ip()).then(|| capture.client.to_string()),
            body,
            body_flags: parts
                | flag(capture.body.truncated, FLAG_TRUNCATED)
                | flag(capture.body.incomplete, FLAG_INCOMPLETE),
            detail: capture.websocket.as_ref().map(detail_text),
            reply_source: match capture.reply.source {
                ReplySource::Default => 1,
                ReplySource::Preflight => 2,
                ReplySource::Limit => 3,
                ReplySource::WebSocket => 4,
                ReplySource::Nothing => 5,
            },
        }
    }
}

/// What the column `detail` holds for entries that are no captures.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryDetail {
    One(Uuid),
    All,
    Change(String),
}

/// The text of the column `detail`.
pub fn detail_text<T: Serialize>(detail: &T) -> String {
    serde_json::to_string(detail).expect("plain types with string keys are JSON")
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
    let peer: SocketAddr = parsed(row.text(12)?)?;
    let client: Option<IpAddr> = row.text_or_null(13)?.map(parsed).transpose()?;
    let flags = row.int(16)?;
    let stored = row.bytes(14)?.clone();
    let content = if flags & FLAG_PARTS == 0 {
        BodyContent::Inline(stored)
    } else {
        BodyContent::Parts { start: stored }
    };
    let websocket: Option<WebSocketDetail> = row.text_or_null(17)?.map(parsed_detail).transpose()?;
    let capture = Capture {
        id: id(row.bytes(2)?)?,
        endpoint: endpoint(row.text(4)?)?,
        kind,
        received_us: row.int(3)?,
        method: known(row.text(5)?, &["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
        target: utf8(row.bytes(6)?)?,
        version: known(row.text(7)?, &["HTTP/1.1", "HTTP/1.0"]),
        scheme: known(row.text(8)?, &["http", "https"]),
        host: utf8(row.bytes(9)?)?,
        port: u16::try_from(row.int(10)?).map_err(broken)?,
        headers: HeaderBlock::from_kept(row.bytes(11)?.clone()),
        peer,
        client: client.unwrap_or(peer.ip()),
        body: Body {
            content,
            bytes: u64::try_from(row.int(15)?).map_err(broken)?,
            truncated: flags & FLAG_TRUNCATED != 0,
            incomplete: flags & FLAG_INCOMPLETE != 0,
        },
        websocket,
        reply: ReplyChoice {
            source: match row.int(18)? {
                1 => ReplySource::Default,
                2 => ReplySource::Preflight,
                3 => ReplySource::Limit,
                4 => ReplySource::WebSocket,
                _ => ReplySource::Nothing,
            },
            status: u16::try_from(row.int(19)?).map_err(broken)?,
        },
    };
    Ok(Entry { seq: row.int(0)?, what: EntryKind::Capture(Arc::new(capture)) })
}

fn other_entry(row: &Row) -> Result<Entry, DatabaseError> {
    let id = id(row.bytes(2)?)?;
    let at_us = row.int(3)?;
    let endpoint = endpoint(row.text(4)?)?;
    let removal = |removed| EntryKind::Removal(Removal { id, at_us, endpoint: endpoint.clone(), removed });
    let what = match parsed_detail::<EntryDetail>(row.text(17)?)? {
        EntryDetail::One(capture) => removal(Removed::One(capture)),
        EntryDetail::All => removal(Removed::All),
        EntryDetail::Change(change) => {
            EntryKind::Configuration(ConfigurationChange { id, at_us, endpoint: endpoint.clone(), change })
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

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    text: &str,
) -> Result<T, DatabaseError> {
    text.parse().map_err(broken)
}

fn parsed_detail<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, DatabaseError> {
    serde_json::from_str(text).map_err(broken)
}

fn broken(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DatabaseError {
    DatabaseError::Other(source.into())
}
