//! The API of a node: JSON in and out, and answers that come line by line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::connection::{HttpClient, http_client, root_cause};
use super::failure::Refusal;
use super::{Failure, HttpUrl, Lines, ShownCapture};

/// The head of an answer comes within that; the server takes at most 10 s for a query by itself.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Three missed heartbeats (15 s) mean that a connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(46);
/// The largest document that is taken, in bytes.
const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The largest line of a stream: a body of 190 MiB in base64.
const LINE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The largest body of a capture that is taken into memory.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// All but unreserved characters (RFC 3986, section 2.3).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A text as it stands in a segment of a path, or in a value of a query.
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A bearer token; it is never shown.
#[derive(Clone)]
pub struct Token(HeaderValue);

impl Token {
    /// None for a text that can stand in no header.
    pub fn parse(text: &str) -> Option<Self> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", text.trim())).ok()?;
        value.set_sensitive(true);
        Some(Self(value))
    }
}

/// What a node is asked.
#[derive(Debug, Clone)]
pub struct Ask {
    method: Method,
    target: String,
    accept: &'static str,
    body: Option<(&'static str, Bytes)>,
}

impl Ask {
    /// With the path and query as they are to be sent: `/api/captures?limit=5`.
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self { method, target: target.into(), accept: "application/json", body: None }
    }

    pub fn get(target: impl Into<String>) -> Self {
        Self::new(Method::GET, target)
    }

    /// Adds a parameter to the query, escaped; one that is None is left out.
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        if let Some(value) = value {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(name);
            self.target.push('=');
            self.target.push_str(&escaped(value));
        }
        self
    }

    /// Sends a document.
    pub fn json(self, document: &Value) -> Self {
        self.body("application/json", document.to_string())
    }

    /// Sends a body of this media type.
    pub fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.body = Some((media_type, body.into()));
        self
    }

    pub fn accept(mut self, media_type: &'static str) -> Self {
        self.accept = media_type;
        self
    }
}

/// A node, or a cluster behind one URL.
#[derive(Clone)]
pub struct Api {
    base: HttpUrl,
    token: Option<Token>,
    client: HttpClient,
    /// Whether anything has ever answered.
    reached: Arc<AtomicBool>,
}

impl Api {
    pub fn new(base: HttpUrl, token: Option<Token>) -> Self {
        let client = http_client(base.is_https());
        Self { base, token, client, reached: Arc::default() }
    }

    /// Where the node is.
    pub fn base(&self) -> &HttpUrl {
        &self.base
    }

    /// Whether a token is given with what is asked.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether anything has ever answered there, so that to be away is but to be away.
    pub fn was_reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Asks, and reads the answer's document; null where there is none (204). Blanks in front of it, by which
    /// a node keeps a connection open, are no part of it.
    ///
    /// # Errors
    /// Every [`Failure`].
    pub async fn json(&self, ask: Ask) -> Result<Value, Failure> {
        let body = self.bytes(ask, DOCUMENT_BYTES_MAX).await?;
        if body.trim_ascii().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|error| self.garbled(&error))
    }

    /// Asks, and reads the answer as it is, up to a bound.
    ///
    /// # Errors
    /// Every [`Failure`].
    pub async fn bytes(&self, ask: Ask, bytes_max: usize) -> Result<Bytes, Failure> {
        let answer = self.ask(ask).await?;
        self.read(answer.into_body(), bytes_max).await
    }

    /// Asks for an answer that comes line by line.
    ///
    /// # Errors
    /// Every [`Failure`].
    pub async fn lines(&self, ask: Ask) -> Result<Lines, Failure> {
        let body = self.ask(ask.accept("application/x-ndjson")).await?.into_body();
        Ok(Lines::new(self.base.to_string(), body, LINE_BYTES_MAX, SILENCE_MAX))
    }

    /// A capture with the beginning of its body.
    ///
    /// # Errors
    /// Every [`Failure`].
    pub async fn capture(&self, id: &str) -> Result<ShownCapture, Failure> {
        let ask = Ask::get(format!("/api/captures/{}?body=preview", escaped(id)));
        ShownCapture::read(&self.json(ask).await?).map_err(|error| self.garbled(&error))
    }

    /// A capture's whole body: what was shown with it, where that is all, else as the node hands it out.
    ///
    /// # Errors
    /// Every [`Failure`]; one that is removed meanwhile too.
    pub async fn body_of(&self, capture: &ShownCapture) -> Result<Bytes, Failure> {
        if let Some(whole) = capture.whole_body() {
            return Ok(whole);
        }
        let ask = Ask::get(format!("/api/captures/{}/body", escaped(&capture.id))).accept("*/*");
        let body = self.bytes(ask, BODY_BYTES_MAX).await?;
        match body.len() as u64 == capture.body.bytes {
            true => Ok(body),
            false => Err(self.garbled(&format!(
                "{} bytes of a body came, and not {}",
                body.len(),
                capture.body.bytes
            ))),
        }
    }

    /// Asks; an answer that is no success is a [`Refusal`].
    async fn ask(&self, ask: Ask) -> Result<Response<Incoming>, Failure> {
        let request = self.request(ask)?;
        let answer = tokio::time::timeout(HEAD_LIMIT, self.client.request(request)).await;
        let answer =
            answer.map_err(|_| self.silent(HEAD_LIMIT))?.map_err(|error| self.unreachable(&error))?;
        self.reached.store(true, Ordering::Relaxed);
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
        let request_id = header("x-request-id");
        let retry_after_s = header(RETRY_AFTER.as_str()).and_then(|seconds| seconds.parse().ok());
        let body = self.read(answer.into_body(), DOCUMENT_BYTES_MAX).await.unwrap_or_default();
        let mut refusal = Refusal::read(status.as_u16(), &body);
        if refusal.status == 401 && self.token.is_some() {
            // One was given, so that to say that one is needed would mislead.
            refusal.title = "The token is not good there, or not any more".to_owned();
        }
        let request_id = refusal.request_id.clone().or(request_id);
        Err(Refusal { request_id, retry_after_s, ..refusal }.into())
    }

    fn request(&self, ask: Ask) -> Result<Request<Full<Bytes>>, Failure> {
        let uri = match ask.target.split_once('?') {
            Some((path, query)) => self.base.uri(path, Some(query)),
            None => self.base.uri(&ask.target, None),
        };
        let uri = uri.map_err(|error| self.garbled(&error))?;
        let (media_type, body) = ask.body.map_or((None, Bytes::new()), |(kind, body)| (Some(kind), body));
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = ask.method;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(ask.accept));
        if let Some(media_type) = media_type {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        }
        if let Some(Token(value)) = &self.token {
            headers.insert(AUTHORIZATION, value.clone());
        }
        Ok(request)
    }

    async fn read(&self, mut body: Incoming, bytes_max: usize) -> Result<Bytes, Failure> {
        let mut whole = BytesMut::new();
        loop {
            let frame = tokio::time::timeout(SILENCE_MAX, body.frame()).await;
            let Some(frame) = frame.map_err(|_| self.silent(SILENCE_MAX))? else { return Ok(whole.freeze()) };
            let Ok(data) = frame.map_err(|error| self.unreachable(&error))?.into_data() else { continue };
            if whole.len() + data.len() > bytes_max {
                return Err(Failure::TooLarge { url: self.base.to_string(), bytes_max });
            }
            whole.extend_from_slice(&data);
        }
    }

    fn silent(&self, limit: Duration) -> Failure {
        Failure::Silent { url: self.base.to_string(), limit }
    }

    fn unreachable(&self, error: &dyn std::error::Error) -> Failure {
        Failure::Unreachable { url: self.base.to_string(), reason: root_cause(error) }
    }

    fn garbled(&self, reason: &dyn std::fmt::Display) -> Failure {
        Failure::Garbled { url: self.base.to_string(), reason: reason.to_string() }
    }
}
