//! What a reply says to one request: its templates, rendered.

use std::time::Instant;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::accept::Accept;
use super::object::is_field_value;
use super::reply::{Reply, ReplyBody};
use super::seen::Seen;
use super::template::{RenderError, RenderLimits, Template};
use crate::model::time::rfc3339;

/// The longest value of a header that a template writes.
const HEADER_BYTES_MAX: usize = 8_192;

/// What templates are told beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub rule: Option<&'a str>,
    pub hit: Option<i64>,
    /// Microseconds since the Unix epoch.
    pub now_us: i64,
}

/// A reply, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    pub status: u16,
    pub content_type: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
}

/// Why a reply could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the template of {part} failed: {error}")]
pub struct RenderFailure {
    /// `the body`, or the header.
    pub part: String,
    pub error: RenderError,
}

/// Renders a reply to a request.
///
/// # Errors
/// Where a template fails, or passes one of its limits.
pub fn render(
    reply: &Reply,
    seen: &Seen<'_>,
    told: Told<'_>,
    limits: &RenderLimits,
) -> Result<Rendered, RenderFailure> {
    let context = if reply.is_static() { Value::Null } else { context(seen, told) };
    let variant = reply.variant(&Accept::parse(seen.header("accept")));
    let failed = |part: &str, error| RenderFailure { part: part.to_owned(), error };
    let began = Instant::now();
    let mut headers = Vec::with_capacity(reply.headers.len());
    for (name, value) in &reply.headers {
        // All templates of a reply have one time together.
        let left = limits.time_max.saturating_sub(began.elapsed());
        let bytes_max = limits.output_bytes_max.min(HEADER_BYTES_MAX);
        let limits = RenderLimits { output_bytes_max: bytes_max, time_max: left, ..limits.clone() };
        let value = value.render(&context, &limits).map_err(|error| failed(name, error))?;
        if !is_field_value(&value) {
            let error = RenderError::Failed("a header's value has no control characters".to_owned());
            return Err(failed(name, error));
        }
        headers.push((name.clone(), value));
    }
    let body = match &variant.body {
        ReplyBody::Bytes(bytes) => bytes.clone(),
        ReplyBody::Template(template) => {
            let left = limits.time_max.saturating_sub(began.elapsed());
            let limits = RenderLimits { time_max: left, ..limits.clone() };
            template.render(&context, &limits).map_err(|error| failed("the body", error))?.into()
        }
    };
    Ok(Rendered { status: reply.status, content_type: variant.content_type.clone(), headers, body })
}

/// Renders a message's text.
///
/// # Errors
/// As [`render`].
pub fn render_message(
    template: &Template,
    seen: &Seen<'_>,
    told: Told<'_>,
    limits: &RenderLimits,
) -> Result<Bytes, RenderFailure> {
    let context = if template.is_static() { Value::Null } else { context(seen, told) };
    let rendered = template.render(&context, limits);
    rendered.map(Bytes::from).map_err(|error| RenderFailure { part: "the message".to_owned(), error })
}

/// What templates see: `docs/templates.md` has it with an example.
pub fn context(seen: &Seen<'_>, told: Told<'_>) -> Value {
    let capture = seen.capture;
    let text = |bytes: &[u8]| Value::String(String::from_utf8_lossy(bytes).into_owned());
    let headers = seen.headers().iter().map(|(name, value)| (*name, text(value)));
    let query = seen.query().iter().map(|(name, value)| (name.as_ref(), Value::from(value.as_ref())));
    let form = seen.form().iter().map(|(name, value)| (name.as_ref(), text(value)));
    let cookies = seen.cookies().iter().map(|(name, value)| (name.to_string(), Value::from(value.as_ref())));
    json!({
        "request": {
            "method": capture.method,
            "scheme": capture.scheme,
            "host": capture.host,
            "port": capture.port,
            "target": capture.target,
            "path": seen.path(),
            "segments": seen.segments(),
            "query": lists(query),
            "headers": lists(headers),
            "cookies": cookies.collect::<Map<_, _>>(),
            "body": text(seen.body),
            "json": seen.json(),
            "form": lists(form),
            "client": capture.client.to_string(),
        },
        "endpoint": capture.endpoint.as_str(),
        "rule": told.rule,
        "hit": told.hit,
        "capture": {"id": capture.id.to_string(), "received": rfc3339(capture.received_us)},
        "now": rfc3339(told.now_us),
    })
}

/// The values of each name, in their order.
fn lists<'a>(pairs: impl Iterator<Item = (&'a str, Value)>) -> Map<String, Value> {
    let mut lists: Map<String, Value> = Map::new();
    for (name, value) in pairs {
        match lists.entry(name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(values) => values.push(value),
            _ => unreachable!("only lists are put in"),
        }
    }
    lists
}
