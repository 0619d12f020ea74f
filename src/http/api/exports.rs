//! A capture's request as text: a curl command, HTTP/1.1.

use std::io;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::stream::{self, Stream, TryStreamExt as _};
use uuid::Uuid;

use super::query::{Query, invalid};
use crate::database::Database;
use crate::export::{Body, Encoder, Export, Format, Request};
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::model::{BodyContent, Capture, CaptureKind};
use crate::storage;

/// The format that was asked for; None for JSON.
pub fn format(query: &Query) -> Result<Option<Format>, Problem> {
    let format = query.parsed("format", |name| match name {
        "json" => Ok(None),
        _ => Format::parse(name).map(Some).ok_or("`json`, `curl` or `http` is expected"),
    })?;
    let format = format.flatten();
    if format.is_some() && query.one("body").is_some() {
        return Err(invalid("body", "a command and HTTP text have all of it; this is for JSON"));
    }
    Ok(format)
}

/// The request of a capture; a large body is sent part by part.
///
/// # Errors
/// Where the capture is a message of a WebSocket, which is no request.
pub fn export(state: &web::Data<State>, capture: &Capture, format: Format) -> Result<HttpResponse, Problem> {
    if !matches!(capture.kind, CaptureKind::Http | CaptureKind::WebSocketOpen) {
        return Err(invalid("format", "a message of a WebSocket is no request; it is shown as `json` alone"));
    }
    let origin = origin(state, capture);
    let body = match &capture.body.content {
        BodyContent::Inline(content) => Body::Whole(content),
        BodyContent::Parts { .. } => Body::Later { bytes: capture.body.bytes },
    };
    let request = Request {
        method: &capture.method,
        origin: &origin,
        target: capture.target.as_str().into(),
        version: &capture.version,
        headers: capture.headers.iter().collect(),
        body,
        cut: capture.body.truncated || capture.body.incomplete,
    };
    let export = request.export(format);
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, format.media_type()));
    if format == Format::Http {
        let name = format!("attachment; filename=\"{}.http\"", capture.id);
        response.insert_header((header::CONTENT_DISPOSITION, name));
    }
    Ok(match export {
        Export { before, later: None, .. } => response.body(before),
        Export { before, later: Some(encoder), after } => {
            let before = stream::once(async move { Ok(Bytes::from(before)) });
            let parts = Parts {
                database: state.database.clone(),
                capture: capture.id,
                next: 0,
                left: capture.body.bytes,
                encoder,
                after,
            };
            let pieces = futures_util::StreamExt::chain(before, parts.stream());
            response.streaming(state.room.of_parts(pieces)?)
        }
    })
}

/// Where the sender sent it to; where its host is none that a URL could have, where this node catches.
fn origin(state: &State, capture: &Capture) -> String {
    let Capture { scheme, host, port, .. } = capture;
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)),
    };
    match (scheme.as_ref(), port) {
        _ if !is_host => state.public_url(None),
        ("http", 80) | ("https", 443) => format!("{scheme}://{host}"),
        _ => format!("{scheme}://{host}:{port}"),
    }
}

/// The parts of a body on their way into a text.
struct Parts {
    database: Arc<dyn Database>,
    capture: Uuid,
    next: i64,
    /// Bytes that are still to come.
    left: u64,
    encoder: Encoder,
    after: &'static [u8],
}

impl Parts {
    /// A body that is removed meanwhile ends the stream with an error, so that nobody takes what came for a
    /// request.
    fn stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> {
        let pieces = stream::try_unfold(Some(self), |parts| async move {
            let Some(mut parts) = parts else { return Ok::<_, io::Error>(None) };
            let found = storage::bodies::find_part(parts.database.as_ref(), parts.capture, parts.next).await;
            match found.map_err(io::Error::other)? {
                Some(content) => {
                    parts.next += 1;
                    parts.left = parts.left.saturating_sub(content.len() as u64);
                    let text = parts.encoder.push(&content);
                    Ok(Some((text, Some(parts))))
                }
                None if parts.left > 0 => Err(io::Error::other("the body is not there any more")),
                None => Ok(Some(([&parts.encoder.push(b""), parts.after].concat(), None))),
            }
        });
        pieces.map_ok(Bytes::from)
    }
}
