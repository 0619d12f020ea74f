//! What a leaf of an expression looks at.

use std::borrow::Cow;

use serde_json::Value;

use super::invalid::Invalid;
use super::json_path::Query;
use super::kept::{self, Kept};
use super::object::Object;
use super::seen::Seen;
use crate::model::CaptureKind;

/// A part of a request.
#[derive(Debug)]
pub enum Place {
    Endpoint,
    Method,
    Scheme,
    Host,
    /// The host in small letters, an IPv6 address without its brackets.
    Hostname,
    Port,
    /// The port, where the `Host` field names one.
    HostPort,
    Path,
    /// The n-th behind the code, from 0.
    Segment(usize),
    Target,
    /// Of one name, or of any.
    Query(Option<String>, Pick),
    QueryName,
    Header(Option<String>, Pick),
    HeaderName,
    Cookie(Option<String>),
    BodyText,
    Body,
    Json(Box<Query>),
    Form(Option<String>),
    BodySize,
    HeaderCount,
    QueryCount,
    ContentType,
    Client,
    Version,
    /// A message's text or bytes; nothing where the capture is no WebSocket message.
    Message,
    /// What only a kept capture has.
    Kept(Kept),
}

/// What an expression is about, which decides what its leaves may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// A request that is to be answered: rules.
    Request,
    /// A capture that is kept: inquiries.
    Kept,
}

/// Which values of a repeated name count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    All,
    First,
    Last,
}

/// One value that was found there.
#[derive(Debug, Clone, Copy)]
pub enum Found<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(i64),
    Json(&'a Value),
    /// Microseconds since the Unix epoch.
    Instant(i64),
}

/// The places of a leaf by name, with what else such a leaf must or may name.
pub const NAMES: &str = "endpoint, method, scheme, host, hostname, port, host_port, path, segment, target, query, \
                         query_name, header, header_name, cookie, body, body_text, json, form, body_size, \
                         header_count, query_count, content_type, client, version, message";

impl Place {
    /// Reads `at`, and `name`, `path` or `index` where the place has such.
    pub fn parse(leaf: &mut Object<'_>, about: About) -> Result<Self, Invalid> {
        let at = leaf.text("at")?.ok_or_else(|| Invalid::member("at", "this says what is looked at"))?;
        let mut name = || leaf.text("name").map(|name| name.map(str::to_owned));
        Ok(match at {
            "endpoint" => Self::Endpoint,
            "method" => Self::Method,
            "scheme" => Self::Scheme,
            "host" => Self::Host,
            "hostname" => Self::Hostname,
            "port" => Self::Port,
            "host_port" => Self::HostPort,
            "path" => Self::Path,
            "segment" => {
                let index = leaf.within("index", 0, 255)?;
                let index = index.ok_or_else(|| Invalid::member("index", "which segment, from 0?"))?;
                Self::Segment(usize::try_from(index).unwrap_or(usize::MAX))
            }
            "target" => Self::Target,
            "query" => Self::Query(name()?, pick(leaf)?),
            "query_name" => Self::QueryName,
            "header" => Self::Header(name()?.map(|name| name.to_ascii_lowercase()), pick(leaf)?),
            "header_name" => Self::HeaderName,
            "cookie" => Self::Cookie(name()?),
            "body" => Self::Body,
            "body_text" => Self::BodyText,
            "json" => {
                let path = leaf.text("path")?.unwrap_or("$");
                Self::Json(Box::new(Query::parse(path).map_err(|why| Invalid::member("path", why))?))
            }
            "form" => Self::Form(name()?),
            "body_size" => Self::BodySize,
            "header_count" => Self::HeaderCount,
            "query_count" => Self::QueryCount,
            "content_type" => Self::ContentType,
            "client" => Self::Client,
            "version" => Self::Version,
            "message" => Self::Message,
            other => match (Kept::named(other), about) {
                (Some(kept), About::Kept) => Self::Kept(kept),
                (Some(_), About::Request) => {
                    let why = format!("`{other}` is for inquiries about kept captures, and not for rules");
                    return Err(Invalid::member("at", why));
                }
                (None, about) => return Err(Invalid::member("at", unknown(other, about))),
            },
        })
    }

    /// Whether what is found is an instant, which has operators of its own.
    pub fn is_instant(&self) -> bool {
        matches!(self, Self::Kept(Kept::Received))
    }

    /// Whether the place is part of the body, which a rule may see less of than was kept.
    pub fn is_in_body(&self) -> bool {
        matches!(self, Self::Body | Self::BodyText | Self::Json(_) | Self::Form(_) | Self::Message)
    }

    /// Hands over the values that are there, one by one, until one is enough. Whether one was.
    pub fn any(&self, seen: &Seen<'_>, mut enough: impl FnMut(Found<'_>) -> bool) -> bool {
        let capture = seen.capture;
        let count = |n: usize| Found::Number(i64::try_from(n).unwrap_or(i64::MAX));
        match self {
            Self::Endpoint => enough(Found::Text(capture.endpoint.as_str())),
            Self::Method => enough(Found::Text(&capture.method)),
            Self::Scheme => enough(Found::Text(&capture.scheme)),
            Self::Host => enough(Found::Text(&capture.host)),
            Self::Hostname => enough(Found::Text(&seen.hostname())),
            Self::Port => enough(Found::Number(capture.port.into())),
            Self::HostPort => seen.host_port().is_some_and(|port| enough(Found::Number(port.into()))),
            Self::Path => enough(Found::Text(seen.path())),
            Self::Segment(index) => seen.segments().get(*index).is_some_and(|s| enough(Found::Text(s))),
            Self::Target => enough(Found::Text(&capture.target)),
            Self::Query(name, pick) => {
                let named = seen.query().iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
                picked(named, name.as_deref(), *pick).into_iter().any(|value| enough(Found::Text(value)))
            }
            Self::QueryName => seen.query().iter().any(|(name, _)| enough(Found::Text(name))),
            Self::Header(Some(name), Pick::All) => {
                seen.header(name).any(|value| enough(text_or_bytes(value)))
            }
            Self::Header(name, pick) => {
                let named = seen.headers().iter().copied();
                picked(named, name.as_deref(), *pick).into_iter().any(|value| enough(text_or_bytes(value)))
            }
            Self::HeaderName => seen.headers().iter().any(|(name, _)| enough(Found::Text(name))),
            Self::Cookie(name) => any_pair(seen.cookies(), name.as_deref(), enough),
            Self::BodyText => seen.body_text().is_some_and(|text| enough(Found::Text(text))),
            Self::Body => enough(Found::Bytes(seen.body)),
            Self::Json(path) => seen.json().is_some_and(|json| {
                // One that would look at too many values finds nothing.
                path.visits(seen.json_size()).is_ok()
                    && path.find(json).into_iter().any(|node| enough(Found::Json(node)))
            }),
            Self::Form(name) => seen
                .form()
                .iter()
                .filter(|(n, _)| name.as_deref().is_none_or(|name| name == n))
                .any(|(_, value)| enough(text_or_bytes(value))),
            Self::BodySize => enough(Found::Number(i64::try_from(capture.body.bytes).unwrap_or(i64::MAX))),
            Self::HeaderCount => enough(count(seen.headers().len())),
            Self::QueryCount => enough(count(seen.query().len())),
            Self::ContentType => {
                let content_type = seen.content_type();
                !content_type.is_empty() && enough(Found::Text(&content_type))
            }
            Self::Client => enough(Found::Text(&capture.client.to_string())),
            Self::Version => enough(Found::Text(&capture.version)),
            Self::Message => match capture.kind {
                CaptureKind::WebSocketText | CaptureKind::WebSocketBinary => enough(text_or_bytes(seen.body)),
                _ => false,
            },
            Self::Kept(kept) => kept.any(seen, enough),
        }
    }
}

fn unknown(name: &str, about: About) -> String {
    match about {
        About::Request => format!("`{name}` is no part of a request; there are {NAMES}"),
        About::Kept => format!("`{name}` is no part of a capture; there are {NAMES}, {}", kept::NAMES),
    }
}

fn pick(leaf: &mut Object<'_>) -> Result<Pick, Invalid> {
    match leaf.text("pick")? {
        None | Some("all") => Ok(Pick::All),
        Some("first") => Ok(Pick::First),
        Some("last") => Ok(Pick::Last),
        Some(_) => Err(Invalid::member("pick", "`all`, `first` or `last` is expected")),
    }
}

/// The values of a name, or of all names, of each name all, the first, or the last.
fn picked<'a, V: ?Sized>(
    pairs: impl Iterator<Item = (&'a str, &'a V)>,
    name: Option<&str>,
    pick: Pick,
) -> Vec<&'a V> {
    let mut found: Vec<(&str, &V)> = Vec::new();
    for (n, value) in pairs.filter(|(n, _)| name.is_none_or(|name| name == *n)) {
        match (pick, found.iter_mut().find(|(earlier, _)| pick != Pick::All && *earlier == n)) {
            (Pick::All, _) | (_, None) => found.push((n, value)),
            (Pick::First, Some(_)) => {}
            (Pick::Last, Some(earlier)) => earlier.1 = value,
        }
    }
    found.into_iter().map(|(_, value)| value).collect()
}

fn any_pair(
    pairs: &[(Cow<'_, str>, Cow<'_, str>)],
    name: Option<&str>,
    mut enough: impl FnMut(Found<'_>) -> bool,
) -> bool {
    let wanted = pairs.iter().filter(|(n, _)| name.is_none_or(|name| name == n));
    wanted.map(|(_, value)| value).any(|value| enough(Found::Text(value)))
}

pub fn text_or_bytes(value: &[u8]) -> Found<'_> {
    std::str::from_utf8(value).map_or(Found::Bytes(value), Found::Text)
}
