//! A request that nobody sent, from a document: what a rule is tried on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde_json::Value;
use uuid::Uuid;

use super::invalid::Invalid;
use super::object::{Object, base64, is_field_value, is_token, list, text};
use crate::model::header_block::HeaderBlockBuilder;
use crate::model::{
    Body, BodyContent, Capture, CaptureKind, EndpointCode, HeaderBlock, ReplyChoice, ReplySource,
};

const HEADERS_MAX: usize = 1_000;
const TARGET_BYTES_MAX: usize = 65_536;

/// Who a sample is, where its document does not say.
#[derive(Debug, Clone, Copy)]
pub struct SampleOptions<'a> {
    pub id: Uuid,
    /// Microseconds since the Unix epoch.
    pub now_us: i64,
    /// The path segment that captures stand under.
    pub prefix: &'a str,
}

/// The capture that a request would be, without having been one.
///
/// # Errors
/// With the first mistake and its place.
pub fn capture(document: &Value, options: SampleOptions<'_>) -> Result<Capture, Invalid> {
    let mut object = Object::of(document)?;
    let method = object.read("method", |value| token(text(value)?))?.unwrap_or_else(|| "GET".to_owned());
    let endpoint =
        object.read("endpoint", |value| EndpointCode::parse(text(value)?).map_err(Invalid::here))?;
    let target = object.read("target", |value| target(text(value)?))?;
    let (endpoint, target) = match (endpoint, target) {
        (Some(endpoint), Some(target)) => (endpoint, target),
        (None, Some(target)) => (endpoint_of(&target)?, target),
        (Some(endpoint), None) => {
            let target = format!("/{}/{}", options.prefix, endpoint.to_segment());
            (endpoint, target)
        }
        (None, None) => return Err(Invalid::member("target", "the target or the endpoint is needed")),
    };
    let headers = object.read("headers", headers)?.unwrap_or_default();
    let body = object.read("body", octets)?.unwrap_or_default();
    let scheme = match object.text("scheme")? {
        None | Some("http") => "http",
        Some("https") => "https",
        Some(_) => return Err(Invalid::member("scheme", "`http` or `https` is expected")),
    };
    let (named_host, named_port) = authority(&headers);
    let host = object.text("host")?.map_or(named_host, str::to_owned);
    let port = object.within("port", 1, 65_535)?.and_then(|port| u16::try_from(port).ok());
    let usual = if scheme == "https" { 443 } else { 80 };
    let client = object.read("client", |value| text(value)?.parse::<IpAddr>().map_err(Invalid::here))?;
    let client = client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let kind = match object.text("websocket")? {
        None => CaptureKind::Http,
        Some("text") => CaptureKind::WebSocketText,
        Some("binary") => CaptureKind::WebSocketBinary,
        Some(_) => return Err(Invalid::member("websocket", "`text` or `binary` is expected")),
    };
    object.end()?;
    let bytes = body.len() as u64;
    let body = Body { content: BodyContent::Inline(body.into()), bytes, ..Body::default() };
    Ok(Capture {
        id: options.id,
        endpoint,
        kind,
        received_us: options.now_us,
        method: method.into(),
        target,
        version: "HTTP/1.1".into(),
        scheme: scheme.into(),
        host,
        port: port.or(named_port).unwrap_or(usual),
        headers,
        peer: SocketAddr::new(client, 0),
        client,
        body,
        websocket: None,
        reply: ReplyChoice::of(ReplySource::Nothing, 0),
    })
}

fn token(name: &str) -> Result<String, Invalid> {
    if !is_token(name) {
        return Err(Invalid::here(format!("`{name}` is no token (RFC 9110, section 5.6.2)")));
    }
    Ok(name.to_owned())
}

fn target(target: &str) -> Result<String, Invalid> {
    let fits = !target.is_empty() && target.len() <= TARGET_BYTES_MAX;
    if !fits || !target.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
        let why = "a target has printable ASCII characters without blanks; others are percent-encoded";
        return Err(Invalid::here(why));
    }
    Ok(target.to_owned())
}

/// The code of a target: the segment behind the prefix.
fn endpoint_of(target: &str) -> Result<EndpointCode, Invalid> {
    let path = target.split('?').next().unwrap_or(target);
    let segment = path.split('/').nth(2).unwrap_or_default();
    EndpointCode::from_segment(segment).map_err(|error| Invalid::member("target", error))
}

/// Pairs of name and value, as captures show them.
fn headers(value: &Value) -> Result<HeaderBlock, Invalid> {
    let pairs = list(value, HEADERS_MAX, |pair| match pair.as_array().map(Vec::as_slice) {
        Some([name, value]) => {
            let name = text(name).and_then(token).map_err(|why| why.within(0))?;
            let value = octets(value).map_err(|why| why.within(1))?;
            if !is_field_value(&value) {
                return Err(Invalid::here("a header's value has no control characters").within(1));
            }
            Ok((name.to_ascii_lowercase(), value))
        }
        _ => Err(Invalid::here("a pair of name and value is expected")),
    })?;
    let mut block = HeaderBlockBuilder::default();
    for (name, value) in &pairs {
        block.push(name.as_bytes(), value);
    }
    Ok(block.finish())
}

/// Text, or octets as `{"base64": "..."}`.
fn octets(value: &Value) -> Result<Vec<u8>, Invalid> {
    if let Value::String(text) = value {
        return Ok(text.clone().into_bytes());
    }
    let mut object =
        Object::of(value).map_err(|_| Invalid::here("text or {\"base64\":\"...\"} is expected"))?;
    let decoded = object.read("base64", base64)?;
    let decoded = decoded.ok_or_else(|| Invalid::member("base64", "this is missing"))?;
    object.end()?;
    Ok(decoded)
}

/// Host and port as the headers name them.
fn authority(headers: &HeaderBlock) -> (String, Option<u16>) {
    let named = headers.get("host").map(|host| String::from_utf8_lossy(host).into_owned());
    let named = named.unwrap_or_else(|| "localhost".to_owned());
    let split = named.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    match split.and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?))) {
        Some((host, port)) => (host, Some(port)),
        None => (named, None),
    }
}
