//! Replies as their documents describe them: what is answered, how slowly, and how badly.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::accept::Accept;
use super::invalid::Invalid;
use super::object::{Object, base64, is_field_value, is_token, list, text};
use super::template::{Escape, Template, TemplateOptions};
use super::work::Work;

const HEADERS_MAX: usize = 64;
const VARIANTS_MAX: usize = 16;
const CHUNKS_MAX: u64 = 1_000;

/// What documents must keep to.
#[derive(Debug, Clone)]
pub struct RuleOptions {
    /// Of the compiled form of one pattern.
    pub pattern_bytes_max: usize,
    /// The longest delay and dribble.
    pub delay_max: Duration,
    pub template: TemplateOptions,
}

/// One reply.
#[derive(Debug)]
pub struct Reply {
    /// From 200 to 599.
    pub status: u16,
    /// Names in small letters; a name may stand several times.
    pub headers: Vec<(String, Template)>,
    /// At least one; by media type where there are several.
    pub variants: Vec<Variant>,
    pub delay: Option<Delay>,
    pub dribble: Option<Dribble>,
    pub fault: Option<Fault>,
    /// What is sent where the capture is a WebSocket's message.
    pub message: Option<MessageReply>,
}

#[derive(Debug)]
pub struct Variant {
    /// The `Content-Type`; None sends none.
    pub content_type: Option<String>,
    pub body: ReplyBody,
}

#[derive(Debug)]
pub enum ReplyBody {
    Bytes(Bytes),
    Template(Template),
}

/// A pause before the answer, of any length between the two, evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    pub least: Duration,
    pub most: Duration,
}

/// The body in so many chunks, spread over a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dribble {
    pub chunks: u32,
    pub over: Duration,
}

/// Ways to fail, as WireMock names them ("Simulating Faults").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is reset (RST) without an answer.
    ConnectionReset,
    /// The connection is closed without an answer.
    Empty,
    /// A status 200 and a chunked body whose chunk is none, then the end.
    MalformedChunk,
    /// Octets that are no HTTP, then the end.
    RandomData,
}

#[derive(Debug)]
pub enum MessageReply {
    Text(Template),
    Binary(Bytes),
    Echo,
    Close { code: u16, reason: String },
}

impl Fault {
    const ALL: [(Self, &'static str); 4] = [
        (Self::ConnectionReset, "CONNECTION_RESET_BY_PEER"),
        (Self::Empty, "EMPTY_RESPONSE"),
        (Self::MalformedChunk, "MALFORMED_RESPONSE_CHUNK"),
        (Self::RandomData, "RANDOM_DATA_THEN_CLOSE"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(fault, _)| *fault == self).map_or("", |(_, name)| name)
    }

    fn parse(value: &Value) -> Result<Self, Invalid> {
        let name = text(value)?;
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(fault, _)| *fault).ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join("`, `");
            Invalid::here(format!("`{name}` is no fault; there are `{names}`"))
        })
    }
}

impl Reply {
    /// Reads a reply's document. All replies of one document share the work that their templates take.
    ///
    /// # Errors
    /// With the first mistake and its place.
    pub(super) fn parse(value: &Value, options: &RuleOptions, work: &mut Work) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let status = object.within("status", 200, 599)?.unwrap_or(200);
        let headers = object.read("headers", |value| headers(value, options, work))?.unwrap_or_default();
        let variants = match object.read("variants", |value| {
            let variants = list(value, VARIANTS_MAX, |item| Variant::parse(item, options, work))?;
            if variants.is_empty() { Err(Invalid::here("there is none")) } else { Ok(variants) }
        })? {
            Some(_) if object.has("body") => {
                return Err(Invalid::member("body", "a reply has a body or variants, not both"));
            }
            Some(variants) => variants,
            None => vec![Variant::parse_members(&mut object, options, work)?],
        };
        let reply = Self {
            status: u16::try_from(status).expect("it is within bounds"),
            headers,
            variants,
            delay: object.read("delay_ms", |value| Delay::parse(value, options.delay_max))?,
            dribble: object.read("dribble", |value| Dribble::parse(value, options.delay_max))?,
            fault: object.read("fault", Fault::parse)?,
            message: object.read("message", |value| MessageReply::parse(value, options, work))?,
        };
        object.end()?;
        if is_bodiless(reply.status) && reply.variants.iter().any(|variant| !variant.is_empty()) {
            let why = format!("a {} has no body (RFC 9110, section 15)", reply.status);
            return Err(Invalid::member("body", why));
        }
        Ok(reply)
    }

    /// Whether it is the same for every request.
    pub fn is_static(&self) -> bool {
        let body = |variant: &Variant| match &variant.body {
            ReplyBody::Bytes(_) => true,
            ReplyBody::Template(template) => template.is_static(),
        };
        let message = match &self.message {
            Some(MessageReply::Text(template)) => template.is_static(),
            _ => true,
        };
        message && self.headers.iter().all(|(_, value)| value.is_static()) && self.variants.iter().all(body)
    }

    /// The variant whose type the sender prefers; the first where none fits.
    pub fn variant(&self, accept: &Accept<'_>) -> &Variant {
        let offered = self.variants.iter().map(|variant| variant.content_type.as_deref().unwrap_or_default());
        &self.variants[accept.best(offered).unwrap_or(0)]
    }
}

/// Statuses whose answers end with their head: a body would be read as the next answer.
pub fn is_bodiless(status: u16) -> bool {
    matches!(status, 204 | 205 | 304)
}

impl Variant {
    fn is_empty(&self) -> bool {
        matches!(&self.body, ReplyBody::Bytes(bytes) if bytes.is_empty())
    }

    fn parse(value: &Value, options: &RuleOptions, work: &mut Work) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        if !object.has("content_type") {
            return Err(Invalid::member("content_type", "a variant is chosen by it"));
        }
        let variant = Self::parse_members(&mut object, options, work)?;
        object.end()?;
        Ok(variant)
    }

    /// Reads `content_type` and `body`.
    fn parse_members(
        object: &mut Object<'_>,
        options: &RuleOptions,
        work: &mut Work,
    ) -> Result<Self, Invalid> {
        let given = object.read("content_type", |value| header_text(text(value)?).map(str::to_owned))?;
        let body = object.take("body");
        let content_type = given.or_else(|| body.and_then(default_type).map(str::to_owned));
        let escape = content_type.as_deref().map_or(Escape::None, Escape::of_content_type);
        let body =
            body.map(|body| ReplyBody::parse(body, escape, options, work).map_err(|i| i.within("body")));
        Ok(Self { content_type, body: body.transpose()?.unwrap_or(ReplyBody::Bytes(Bytes::new())) })
    }
}

/// The type where none is said: JSON's for JSON, text for text, none for octets.
fn default_type(body: &Value) -> Option<&'static str> {
    match body {
        Value::String(_) => Some("text/plain; charset=utf-8"),
        Value::Object(object) if object.contains_key("json") => Some("application/json"),
        Value::Object(object) if object.contains_key("base64") => Some("application/octet-stream"),
        _ => Some("text/plain; charset=utf-8"),
    }
}

impl ReplyBody {
    /// A template as text, or an object of `template`, `text`, `json` or `base64`.
    fn parse(value: &Value, escape: Escape, options: &RuleOptions, work: &mut Work) -> Result<Self, Invalid> {
        if let Value::String(source) = value {
            return template(source, escape, options, work).map(Self::Template);
        }
        let mut object = Object::of(value)?;
        let bytes = |bytes: Vec<u8>| {
            let most = options.template.source_bytes_max;
            let fits = bytes.len() <= most;
            if fits {
                Ok(Self::Bytes(bytes.into()))
            } else {
                Err(Invalid::here(format!("it has over {most} bytes")))
            }
        };
        let forms = [
            object.read("template", |value| {
                template(text(value)?, escape, options, work).map(Self::Template)
            })?,
            object.read("text", |value| bytes(text(value)?.as_bytes().to_vec()))?,
            object.read("json", |value| bytes(value.to_string().into_bytes()))?,
            object.read("base64", |value| bytes(base64(value)?))?,
        ];
        object.end()?;
        let mut forms = forms.into_iter().flatten();
        match (forms.next(), forms.next()) {
            (Some(body), None) => Ok(body),
            _ => Err(Invalid::here("one of `template`, `text`, `json` and `base64` is expected")),
        }
    }
}

fn template(
    source: &str,
    escape: Escape,
    options: &RuleOptions,
    work: &mut Work,
) -> Result<Template, Invalid> {
    Template::compile(source, escape, &options.template, work).map_err(Invalid::here)
}

/// An object of names with a value or a list of values, or a list of pairs.
fn headers(
    value: &Value,
    options: &RuleOptions,
    work: &mut Work,
) -> Result<Vec<(String, Template)>, Invalid> {
    let mut field = |name: &str, value: &Value| {
        let name = header_name(name)?;
        let value = header_text(text(value)?)?;
        Ok((name, template(value, Escape::None, options, work)?))
    };
    let fields: Vec<(String, Template)> = match value {
        Value::Object(members) => {
            let mut fields = Vec::new();
            for (name, value) in members {
                let values = match value {
                    Value::Array(values) => values.as_slice(),
                    one => std::slice::from_ref(one),
                };
                for value in values {
                    fields.push(field(name, value).map_err(|invalid: Invalid| invalid.within(name))?);
                }
            }
            fields
        }
        pairs => list(pairs, HEADERS_MAX, |pair| match pair.as_array().map(Vec::as_slice) {
            Some([Value::String(name), value]) => field(name, value),
            _ => Err(Invalid::here("a pair of name and value is expected")),
        })?,
    };
    if fields.len() > HEADERS_MAX {
        return Err(Invalid::here(format!("there are over {HEADERS_MAX}")));
    }
    Ok(fields)
}

/// A field's name: a token (RFC 9110, section 5.6.2), and none that frames the message or opens Creel's origin.
fn header_name(name: &str) -> Result<String, Invalid> {
    const FRAMING: [&str; 5] = ["content-length", "transfer-encoding", "connection", "upgrade", "trailer"];
    let name = name.to_ascii_lowercase();
    if !is_token(&name) {
        return Err(Invalid::here(format!("`{name}` is no name of a header field")));
    }
    if FRAMING.contains(&name.as_str()) {
        return Err(Invalid::here(format!("`{name}` is set by Creel itself")));
    }
    if name == "service-worker-allowed" {
        return Err(Invalid::here(
            "nothing of a capture may run in Creel's origin, a service worker neither",
        ));
    }
    Ok(name)
}

fn header_text(value: &str) -> Result<&str, Invalid> {
    if value.len() <= 8_192 && is_field_value(value.as_bytes()) {
        Ok(value)
    } else {
        Err(Invalid::here("a header's value has no control characters and up to 8192 bytes"))
    }
}

impl Delay {
    fn parse(value: &Value, limit: Duration) -> Result<Self, Invalid> {
        let most_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let (least, most) = match value {
            Value::Object(_) => {
                let mut object = Object::of(value)?;
                let bounds = (object.within("min", 0, most_ms)?, object.within("max", 0, most_ms)?);
                object.end()?;
                (bounds.0.unwrap_or(0), bounds.1.ok_or_else(|| Invalid::member("max", "this is missing"))?)
            }
            fixed => match fixed.as_u64() {
                Some(fixed) if fixed <= most_ms => (fixed, fixed),
                _ => {
                    return Err(Invalid::here(format!(
                        "milliseconds up to {most_ms} are expected, or {{\"min\", \"max\"}}"
                    )));
                }
            },
        };
        if least > most {
            return Err(Invalid::here("`min` is over `max`"));
        }
        Ok(Self { least: Duration::from_millis(least), most: Duration::from_millis(most) })
    }

    /// A pause; `share` is from 0 to 1.
    pub fn pick(&self, share: f64) -> Duration {
        self.least + (self.most - self.least).mul_f64(share.clamp(0.0, 1.0))
    }
}

impl Dribble {
    fn parse(value: &Value, limit: Duration) -> Result<Self, Invalid> {
        let most_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let mut object = Object::of(value)?;
        let chunks = object.within("chunks", 1, CHUNKS_MAX)?.unwrap_or(1);
        let over = object.within("over_ms", 0, most_ms)?.unwrap_or(0);
        object.end()?;
        Ok(Self {
            chunks: u32::try_from(chunks).expect("it is within bounds"),
            over: Duration::from_millis(over),
        })
    }
}

impl MessageReply {
    fn parse(value: &Value, options: &RuleOptions, work: &mut Work) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let forms = [
            object
                .read("text", |value| template(text(value)?, Escape::None, options, work).map(Self::Text))?,
            object.read("base64", base64)?.map(|payload| Self::Binary(payload.into())),
            object.flag("echo")?.filter(|echo| *echo).map(|_| Self::Echo),
            object.read("close", Self::parse_close)?,
        ];
        object.end()?;
        let mut forms = forms.into_iter().flatten();
        match (forms.next(), forms.next()) {
            (Some(message), None) => Ok(message),
            _ => Err(Invalid::here("one of `text`, `base64`, `echo` and `close` is expected")),
        }
    }

    /// A code that an endpoint may send (RFC 6455, section 7.4), and a reason of up to 123 bytes.
    fn parse_close(value: &Value) -> Result<Self, Invalid> {
        let mut object = Object::of(value)?;
        let code = object.within("code", 1000, 4999)?.unwrap_or(1000);
        let reason = object.text("reason")?.unwrap_or_default().to_owned();
        object.end()?;
        let code = u16::try_from(code).expect("it is within bounds");
        if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            return Err(Invalid::member("code", format!("{code} is never sent (RFC 6455, section 7.4)")));
        }
        if reason.len() > 123 {
            return Err(Invalid::member("reason", "it has at most 123 bytes"));
        }
        Ok(Self::Close { code, reason })
    }
}
