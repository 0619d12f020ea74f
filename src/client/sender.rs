//! Sends requests to the octet: what was caught goes out again as it came in.
//!
//! What stays: the method, the target, every header with every value and octet, the body. What goes: headers
//! that are between two neighbours alone (RFC 9110, section 7.6.1, and those that `Connection` names), and the
//! framing, which the new connection has its own of. Names are in lower case, as they are kept.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Uri};

use super::connection::{HttpClient, http_client, root_cause};
use super::url::InvalidUrl;
use super::{HttpUrl, ShownCapture};

/// What is shown of an answer's body, in bytes; the rest is read and thrown away, up to [`ANSWER_BYTES_MAX`].
const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// An answer that goes on is cut off here.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Headers between neighbours (RFC 9110, section 7.6.1), and those of a body's framing.
const NOT_SENT_ON: [&str; 8] = [
    "connection",
    "proxy-connection",
    "keep-alive",
    "te",
    "transfer-encoding",
    "upgrade",
    "trailer",
    "content-length",
];

/// A request that is to be sent.
#[derive(Debug, Clone)]
pub struct Outgoing {
    pub method: String,
    /// Where to, with the target as it is to be sent.
    pub uri: Uri,
    /// As they are to be sent, `Host` too; without framing.
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    /// Whether an empty body is said to be one (`Content-Length: 0`).
    pub says_empty: bool,
}

/// An answer to it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub status: u16,
    /// From the first octet sent to the last received.
    pub took: Duration,
    pub headers: HeaderMap,
    /// Its beginning.
    pub body: Bytes,
    /// Bytes of the whole body.
    pub body_bytes: usize,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SendFailure {
    #[error("the request cannot be sent: {0}")]
    Unsendable(String),
    #[error("{0}")]
    Broken(String),
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl From<InvalidUrl> for SendFailure {
    fn from(error: InvalidUrl) -> Self {
        Self::Unsendable(error.to_string())
    }
}

impl Outgoing {
    /// A capture as it is sent on: to the URL, then what followed the code in the path, then the query.
    /// `Host` is the URL's, unless it is to be kept.
    ///
    /// # Errors
    /// A target that no URL can have.
    pub fn of_capture(
        capture: &ShownCapture,
        body: Bytes,
        to: &HttpUrl,
        keep_host: bool,
    ) -> Result<Self, SendFailure> {
        let uri = to.uri(&capture.remainder, capture.query.as_deref())?;
        let all = capture.headers();
        let says_empty = all.iter().any(|(name, _)| name == "content-length" || name == "transfer-encoding");
        let mut headers = end_to_end(all);
        if !keep_host {
            set_host(&mut headers, to.authority());
        }
        Ok(Self { method: capture.method.clone(), uri, headers, body, says_empty })
    }
}

/// Puts `Host` where it stood, or in front.
pub fn set_host(headers: &mut Vec<(String, Vec<u8>)>, host: &str) {
    let at = headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host")).unwrap_or(0);
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
    headers.insert(at.min(headers.len()), ("host".to_owned(), host.as_bytes().to_vec()));
}

/// Headers less those that are not sent on.
pub fn end_to_end(headers: Vec<(String, Vec<u8>)>) -> Vec<(String, Vec<u8>)> {
    let named: Vec<String> = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("connection"))
        .flat_map(|(_, value)| {
            let names = String::from_utf8_lossy(value).into_owned();
            names.split(',').map(|name| name.trim().to_ascii_lowercase()).collect::<Vec<_>>()
        })
        .collect();
    let goes = |name: &str| {
        let name = name.to_ascii_lowercase();
        // `Host` is not one that a sender may take away.
        name == "host" || !(NOT_SENT_ON.contains(&name.as_str()) || named.contains(&name))
    };
    headers.into_iter().filter(|(name, _)| goes(name)).collect()
}

/// Sends one request after the other.
pub struct Sender {
    client: HttpClient,
    limit: Duration,
}

impl Sender {
    /// An answer has to be there, to its end, within the limit.
    pub fn new(tls: bool, limit: Duration) -> Self {
        Self { client: http_client(tls), limit }
    }

    /// Sends it once, and never again by itself; follows no redirect.
    ///
    /// # Errors
    /// A connection that is refused or lost, an answer that is late or is none, a request that cannot be sent.
    pub async fn send(&self, outgoing: Outgoing) -> Result<Sent, SendFailure> {
        let request = request(outgoing)?;
        let began = Instant::now();
        let exchange = async {
            let answer = self.client.request(request).await.map_err(broken)?;
            let (head, body) = answer.into_parts();
            let (body, body_bytes) = read(body).await?;
            Ok(Sent {
                status: head.status.as_u16(),
                took: began.elapsed(),
                headers: head.headers,
                body,
                body_bytes,
            })
        };
        tokio::time::timeout(self.limit, exchange).await.unwrap_or(Err(SendFailure::Late(self.limit)))
    }
}

fn broken(error: impl std::error::Error) -> SendFailure {
    SendFailure::Broken(root_cause(&error))
}

fn request(outgoing: Outgoing) -> Result<Request<Full<Bytes>>, SendFailure> {
    let unsendable = |what: String| SendFailure::Unsendable(what);
    let method = Method::from_bytes(outgoing.method.as_bytes())
        .map_err(|_| unsendable(format!("{:?} is no method", outgoing.method)))?;
    if method == Method::CONNECT {
        return Err(unsendable("CONNECT asks for a tunnel, and none is made".to_owned()));
    }
    let is_empty = outgoing.body.is_empty();
    let mut request = Request::new(Full::new(outgoing.body));
    *request.method_mut() = method;
    *request.uri_mut() = outgoing.uri;
    let headers = request.headers_mut();
    for (name, value) in outgoing.headers {
        let value = HeaderValue::from_bytes(&value)
            .map_err(|_| unsendable(format!("the value of the header {name} cannot be sent")))?;
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| unsendable(format!("{name:?} is no header's name")))?;
        headers.append(name, value);
    }
    if !headers.contains_key(HOST) {
        return Err(unsendable("it has no Host".to_owned()));
    }
    if is_empty && outgoing.says_empty {
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    }
    Ok(request)
}

/// The beginning of a body, and how long the whole is.
async fn read(mut body: Incoming) -> Result<(Bytes, usize), SendFailure> {
    let (mut shown, mut bytes) = (BytesMut::new(), 0_usize);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        bytes += data.len();
        if bytes > ANSWER_BYTES_MAX {
            return Err(SendFailure::Broken(format!("the answer is over {ANSWER_BYTES_MAX} bytes")));
        }
        let room = SHOWN_BYTES_MAX - shown.len();
        shown.extend_from_slice(&data[..data.len().min(room)]);
    }
    Ok((shown.freeze(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(text: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
        text.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn what_is_between_neighbours_stays_behind() {
        let headers = fields(&[
            ("host", "a"),
            ("x", "1"),
            ("connection", "close, X-Secret ,host"),
            ("x-secret", "2"),
            ("te", "trailers"),
            ("x", "3"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
        ]);
        let mut left = end_to_end(headers);
        assert_eq!(left, fields(&[("host", "a"), ("x", "1"), ("x", "3")]));
        set_host(&mut left, "b:1");
        assert_eq!(left, fields(&[("host", "b:1"), ("x", "1"), ("x", "3")]));
    }
}
