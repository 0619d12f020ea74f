//! A request as rules and templates see it: every part of it is read at most once, when it is asked for.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::json_path::measure;
use crate::model::{BodyContent, Capture, CaptureKind, Glob};

/// Fields of a form, parameters of a query, cookies: more than so many are not looked at.
pub const PAIRS_MAX: usize = 1_000;

/// How long all rules together may take with one request. One look takes some tenths of a second at most
/// ([`super::operator`]); a request whose rules need longer is answered by none.
const MATCH_TIME_MAX: Duration = Duration::from_millis(500);

type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// What a rule looks at. The body is as much of it as was kept in memory for the rules.
pub struct Seen<'a> {
    pub capture: &'a Capture,
    pub body: &'a [u8],
    path: OnceCell<Cow<'a, str>>,
    segments: OnceCell<Vec<Cow<'a, str>>>,
    query: OnceCell<Vec<Pair<'a>>>,
    headers: OnceCell<Vec<(&'a str, &'a [u8])>>,
    cookies: OnceCell<Vec<Pair<'a>>>,
    json: OnceCell<Option<Value>>,
    json_size: OnceCell<(u64, u64)>,
    form: OnceCell<Vec<Field<'a>>>,
    began: OnceCell<Instant>,
    gave_up: Cell<bool>,
}

/// A field of a form: the value of one that was uploaded as a file need not be text.
pub type Field<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

impl<'a> Seen<'a> {
    pub fn new(capture: &'a Capture, body: &'a [u8]) -> Self {
        Self {
            capture,
            body,
            path: OnceCell::new(),
            segments: OnceCell::new(),
            query: OnceCell::new(),
            headers: OnceCell::new(),
            cookies: OnceCell::new(),
            json: OnceCell::new(),
            json_size: OnceCell::new(),
            form: OnceCell::new(),
            began: OnceCell::new(),
            gave_up: Cell::new(false),
        }
    }

    /// A kept capture, with as much of its body as stands in its entry.
    pub fn of_kept(capture: &'a Capture) -> Self {
        let (BodyContent::Inline(body) | BodyContent::Parts { start: body }) = &capture.body.content;
        Self::new(capture, body)
    }

    /// The same as somebody sees it who may know of no rules but those whose names lie within a pattern.
    /// What a capture shows them, expressions find: nothing is hidden.
    #[must_use]
    pub fn within(self, _pattern: Option<&'a Glob>) -> Self {
        self
    }

    /// The rule that has answered a kept capture, as the capture shows it too.
    pub fn rule_name(&self) -> Option<&'a str> {
        Some(&*self.capture.reply.rule.as_ref()?.name)
    }

    /// The target in origin form (RFC 9112, section 3.2.1), as it was sent.
    pub fn raw_path(&self) -> &'a str {
        let target = self.capture.target.as_str();
        let target = match target.find("://") {
            Some(at) if !target.starts_with('/') => {
                let rest = &target[at + 3..];
                rest.find('/').map_or("", |slash| &rest[slash..])
            }
            _ => target,
        };
        target.split('?').next().unwrap_or(target)
    }

    /// The path, percent-decoded where that gives UTF-8, else as it was sent.
    pub fn path(&self) -> &str {
        self.path.get_or_init(|| decoded(self.raw_path()))
    }

    /// The segments behind the endpoint's code, each decoded.
    pub fn segments(&self) -> &[Cow<'a, str>] {
        self.segments.get_or_init(|| match self.raw_path().splitn(4, '/').nth(3) {
            Some(rest) if !rest.is_empty() => rest.split('/').map(decoded).collect(),
            _ => Vec::new(),
        })
    }

    pub fn raw_query(&self) -> &'a str {
        self.capture.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The query's parameters as HTML forms encode them; what is not UTF-8 is replaced.
    pub fn query(&self) -> &[Pair<'a>] {
        self.query.get_or_init(|| {
            url::form_urlencoded::parse(self.raw_query().as_bytes()).take(PAIRS_MAX).collect()
        })
    }

    /// The host in small letters, an IPv6 address without its brackets.
    pub fn hostname(&self) -> String {
        let host = self.capture.host.as_str();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        bare.to_lowercase()
    }

    /// The port that the `Host` field itself names (RFC 9110, section 7.2).
    pub fn host_port(&self) -> Option<u16> {
        let authority = std::str::from_utf8(self.header("host").next()?).ok()?;
        let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
        let (_, port) = behind.split_once(':')?;
        port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse().ok())?
    }

    /// The header fields, names in small letters.
    pub fn headers(&self) -> &[(&'a str, &'a [u8])] {
        self.headers.get_or_init(|| {
            let fields = self.capture.headers.iter();
            fields.filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, value))).collect()
        })
    }

    /// The values of a header field, whose name is given in small letters.
    pub fn header(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers().iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// The media type without parameters, in small letters; empty where there is none.
    pub fn content_type(&self) -> String {
        let value = self.header("content-type").next().unwrap_or_default();
        let value = String::from_utf8_lossy(value);
        value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Cookies by RFC 6265, section 4.2.1, without further decoding.
    pub fn cookies(&self) -> &[Pair<'a>] {
        self.cookies.get_or_init(|| {
            let values = self.header("cookie").filter_map(|value| std::str::from_utf8(value).ok());
            let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.split_once('='));
            pairs.map(|(name, value)| (name.trim().into(), value.trim().into())).take(PAIRS_MAX).collect()
        })
    }

    /// The body as text, where it is UTF-8.
    pub fn body_text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.body).ok()
    }

    /// The body as JSON (RFC 8259), where it is, whatever its type says.
    pub fn json(&self) -> Option<&Value> {
        self.json.get_or_init(|| serde_json::from_slice(self.body).ok()).as_ref()
    }

    /// How many values the body's JSON has, and how deep they are nested.
    pub fn json_size(&self) -> (u64, u64) {
        *self.json_size.get_or_init(|| self.json().map_or((0, 0), measure))
    }

    /// Whether matching has taken as long as it may; asked for before each look.
    pub fn is_out_of_time(&self) -> bool {
        let began = *self.began.get_or_init(Instant::now);
        if began.elapsed() > MATCH_TIME_MAX {
            self.gave_up.set(true);
        }
        self.gave_up.get()
    }

    /// Whether [`Self::is_out_of_time`] was so: no verdict of this request is worth anything.
    pub fn gave_up(&self) -> bool {
        self.gave_up.get()
    }

    /// The fields of a form, urlencoded or multipart (RFC 7578), in their order.
    pub fn form(&self) -> &[Field<'a>] {
        self.form.get_or_init(|| match self.content_type().as_str() {
            "application/x-www-form-urlencoded" => {
                let pairs = url::form_urlencoded::parse(self.body).take(PAIRS_MAX);
                pairs.map(|(name, value)| (name, bytes_of(value))).collect()
            }
            "multipart/form-data" => self.multipart().unwrap_or_default(),
            _ => Vec::new(),
        })
    }

    fn multipart(&self) -> Option<Vec<Field<'a>>> {
        let value = self.header("content-type").next()?;
        let boundary = multer::parse_boundary(std::str::from_utf8(value).ok()?).ok()?;
        let body = Bytes::copy_from_slice(self.body);
        let whole = futures_util::stream::iter([Ok::<_, std::convert::Infallible>(body)]);
        let mut parts = multer::Multipart::new(whole, boundary);
        let mut fields = Vec::new();
        let read = async {
            while let Ok(Some(part)) = parts.next_field().await {
                let name = part.name().unwrap_or_default().to_owned();
                let Ok(value) = part.bytes().await else { break };
                fields.push((Cow::Owned(name), Cow::Owned(value.to_vec())));
                if fields.len() == PAIRS_MAX {
                    break;
                }
            }
        };
        // All of it is there, so nothing is waited for.
        read.now_or_never()?;
        Some(fields)
    }

    pub fn is_websocket_message(&self) -> bool {
        matches!(self.capture.kind, CaptureKind::WebSocketText | CaptureKind::WebSocketBinary)
    }
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8().unwrap_or(Cow::Borrowed(text))
}

fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}
