//! Requests as text that somebody else can do something with: a curl command, HTTP/1.1. Pure, and from plain
//! parts, so that the API and the command line make the same of them.

mod curl;
mod http;
mod shell;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A request that is to be told again.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Where it goes, without a path: `https://hooks.example:8443`.
    pub origin: &'a str,
    /// The request target as it was sent (RFC 9112, section 3.2).
    pub target: Cow<'a, str>,
    /// `HTTP/1.0` or `HTTP/1.1`.
    pub version: &'a str,
    /// In their order, names as they came.
    pub headers: Vec<(&'a [u8], &'a [u8])>,
    pub body: Body<'a>,
    /// Whether the body goes on where what is kept of it ends.
    pub cut: bool,
}

/// A request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    Whole(&'a [u8]),
    /// So many bytes, which are handed over afterwards, piece by piece.
    Later {
        bytes: u64,
    },
}

/// What a request is told as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A command for a POSIX shell that sends it with curl, 7.55 or later.
    Curl,
    /// The request as HTTP/1.1 text (`message/http`, RFC 9112, section 10.1).
    Http,
}

/// A request's text: what stands before the body that is handed over later, how that is written, and what stands
/// behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    pub before: Vec<u8>,
    /// None where the body is in the text already, or there is none.
    pub later: Option<Encoder>,
    pub after: &'static [u8],
}

/// Writes pieces of a body as the text has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoder {
    /// As they are.
    Octets,
    /// As lines of base64 (RFC 2045, section 6.8); here is what does not fill a line yet.
    Lines(Vec<u8>),
}

/// Octets in a line of base64, which has 76 characters then.
const LINE_OCTETS: usize = 57;

impl Format {
    /// The format of a name in the API and on the command line.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "curl" => Some(Self::Curl),
            "http" => Some(Self::Http),
            _ => None,
        }
    }

    /// The media type of its texts.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Curl => "text/plain; charset=utf-8",
            Self::Http => "message/http",
        }
    }
}

impl<'a> Request<'a> {
    /// A request to a URL, without version or cut: as HTTP/1.1, and whole. A fragment is left out, as it is when
    /// such a request is sent.
    pub fn to_url(method: &'a str, url: &'a str, headers: Vec<(&'a [u8], &'a [u8])>, body: &'a [u8]) -> Self {
        let url = url.split('#').next().unwrap_or(url);
        let authority = url.find("://").map_or(0, |at| at + 3);
        let path = url[authority..].find(['/', '?']).map_or(url.len(), |at| authority + at);
        let (origin, target) = url.split_at(path);
        let target = if target.starts_with('/') { target.into() } else { format!("/{target}").into() };
        Self { method, origin, target, version: "HTTP/1.1", headers, body: Body::Whole(body), cut: false }
    }

    /// The request as text.
    pub fn export(&self, format: Format) -> Export {
        match format {
            Format::Curl => curl::export(self),
            Format::Http => http::export(self),
        }
    }

    /// The values of a header field, whose name is compared without regard to case.
    fn values(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        let fields = self.headers.iter();
        fields.filter(move |(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| *value)
    }

    fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    fn is_chunked(&self) -> bool {
        self.values("transfer-encoding").any(|value| value.eq_ignore_ascii_case(b"chunked"))
    }
}

impl Body<'_> {
    fn bytes(&self) -> u64 {
        match self {
            Self::Whole(content) => content.len() as u64,
            Self::Later { bytes } => *bytes,
        }
    }
}

impl Encoder {
    /// The text of the body's next piece; the piece of no bytes ends the body.
    pub fn push(&mut self, piece: &[u8]) -> Vec<u8> {
        let Self::Lines(left) = self else { return piece.to_vec() };
        left.extend_from_slice(piece);
        let whole = if piece.is_empty() { left.len() } else { left.len() / LINE_OCTETS * LINE_OCTETS };
        let mut text = String::with_capacity(whole / LINE_OCTETS * 77 + 77);
        for line in left[..whole].chunks(LINE_OCTETS) {
            STANDARD.encode_string(line, &mut text);
            text.push('\n');
        }
        left.drain(..whole);
        text.into_bytes()
    }
}
