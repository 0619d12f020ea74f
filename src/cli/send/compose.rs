//! A request that is put together: from HTTP text, from a capture, from flags.

use bytes::Bytes;

use crate::cli::exit::{Failed, Outcome};
use crate::client::ShownCapture;
use crate::client::api::escaped;
use crate::client::sender::end_to_end;

/// All of a request but where it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composed {
    pub method: String,
    /// What is appended to the path.
    pub remainder: String,
    pub query: Option<String>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Bytes,
    /// Whether an empty body is said to be one.
    pub says_empty: bool,
}

impl Default for Composed {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            remainder: String::new(),
            query: None,
            headers: Vec::new(),
            body: Bytes::new(),
            says_empty: false,
        }
    }
}

impl Composed {
    pub fn of_capture(capture: &ShownCapture, body: Bytes) -> Self {
        Self {
            method: capture.method.clone(),
            remainder: capture.remainder.clone(),
            query: capture.query.clone(),
            headers: end_to_end(capture.headers()),
            says_empty: capture.headers().iter().any(|(name, _)| name == "content-length"),
            body,
        }
    }

    /// Reads HTTP text: a request line, headers, an empty line, the body as it is. Lines of the head may end
    /// with LF alone. Of a target under the capture prefix (`/r/`) what follows the code counts.
    ///
    /// # Errors
    /// Text that is no request.
    pub fn read(text: &[u8], prefix: &str) -> Outcome<Self> {
        let wrong = |what: &str| {
            Failed::usage(format!("this is no request as HTTP text: {what}"))
                .hint("it looks like `POST /path HTTP/1.1`, lines of `Name: value`, an empty line, the body")
        };
        let (mut lines, mut rest) = (Vec::new(), text);
        loop {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                // A request without a body need not end with an empty line.
                lines.extend(Some(rest).filter(|line| !line.is_empty()));
                rest = b"";
                break;
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            rest = &rest[end + 1..];
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let first = lines.next().and_then(|line| std::str::from_utf8(line).ok());
        let first = first.ok_or_else(|| wrong("it has no first line"))?;
        let mut words = first.split(' ');
        let (Some(method), Some(target), version, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(wrong(&format!("its first line is {first:?}")));
        };
        if version.is_some_and(|version| !version.starts_with("HTTP/1")) {
            return Err(wrong(&format!("its first line ends with {version:?}")));
        }
        let headers = lines.map(|line| field(line).ok_or_else(|| wrong("a header has no colon")));
        let headers = headers.collect::<Outcome<Vec<_>>>()?;
        let says_empty = headers.iter().any(|(name, _)| name == "content-length");
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        Ok(Self {
            method: method.to_owned(),
            remainder: behind_code(path, prefix).to_owned(),
            query,
            headers: end_to_end(headers),
            body: Bytes::copy_from_slice(rest),
            says_empty,
        })
    }

    /// Another body. Without one it stays as it is.
    pub fn set_body(&mut self, body: Option<Vec<u8>>) {
        let Some(body) = body else { return };
        if self.method == "GET" {
            self.method = "POST".to_owned();
        }
        self.says_empty = true;
        self.body = body.into();
    }

    pub fn set_header(&mut self, name: &str, value: Vec<u8>) {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_ascii_lowercase(), value));
    }

    /// Headers as `Name: value`; a name that is given twice has both values.
    ///
    /// # Errors
    /// A text without a colon; a header that is not sent on.
    pub fn set_headers(&mut self, headers: &[String]) -> Outcome<()> {
        let mut fields = Vec::new();
        for header in headers {
            let field = field(header.as_bytes())
                .ok_or_else(|| Failed::usage(format!("--header {header:?} is not `Name: value`")))?;
            fields.push(field);
        }
        let sent = end_to_end(fields.clone());
        if let Some((name, _)) = fields.iter().find(|field| !sent.contains(field)) {
            return Err(Failed::usage(format!("--header {name} cannot be set"))
                .hint("it is between two neighbours alone, or follows from the body"));
        }
        self.headers.retain(|(known, _)| !fields.iter().any(|(name, _)| name == known));
        self.headers.extend(sent);
        Ok(())
    }

    /// Adds parameters, `name=value` each.
    ///
    /// # Errors
    /// A text without `=`.
    pub fn add_queries(&mut self, queries: &[String]) -> Outcome<()> {
        for text in queries {
            let (name, value) = text
                .split_once('=')
                .ok_or_else(|| Failed::usage(format!("--query {text:?} is not `name=value`")))?;
            let query = self.query.get_or_insert_default();
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(&format!("{}={}", escaped(name), escaped(value)));
        }
        Ok(())
    }
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = memchr::memchr(b':', line)?;
    let name = std::str::from_utf8(&line[..colon]).ok()?.trim();
    Some((name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()))
}

/// `/r/code/orders` is `/orders`; another path is what it is.
fn behind_code<'a>(path: &'a str, prefix: &str) -> &'a str {
    let Some(behind) = path.strip_prefix(prefix) else { return path };
    behind.find('/').map_or("", |slash| &behind[slash..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn http_text_is_read_as_it_is_printed() {
        let text = b"PUT /r/a/x%2F?q= HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: \xff\r\nContent-Length: 9\r\n\r\na\r\n\r\nb\n";
        let composed = Composed::read(text, "/r/").unwrap();
        let headers = [("host", &b"h"[..]), ("x-a", b"1"), ("x-a", b"\xff")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_vec())).to_vec();
        let (method, remainder, query) = ("PUT".to_owned(), "/x%2F".to_owned(), Some("q=".to_owned()));
        let body = Bytes::from_static(b"a\r\n\r\nb\n");
        assert_eq!(composed, Composed { method, remainder, query, headers, body, says_empty: true });
        let short = Composed::read(b"GET /hooks/in/a/b", "/hooks/in/").unwrap();
        assert_eq!((short.method.as_str(), short.remainder.as_str()), ("GET", "/b"));
    }

    #[test]
    fn what_is_no_request_is_told() {
        for text in
            [&b""[..], b"\n", b"GET", b"GET /a b HTTP/1.1", b"GET /a SPDY/1", b"GET /a HTTP/1.1\nx\n\n"]
        {
            assert!(Composed::read(text, "/r/").is_err(), "{}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn flags_stand_above_what_it_begins_with() {
        let mut composed = Composed::read(b"GET /a?x=1 HTTP/1.1\nX-A: 1\nX-B: 2\n\n", "/r/").unwrap();
        composed.set_headers(&["x-a: 3".to_owned(), "X-A:4".to_owned()]).unwrap();
        assert!(composed.set_headers(&["Content-Length: 5".to_owned()]).is_err());
        composed.add_queries(&["y=a b&".to_owned()]).unwrap();
        composed.set_body(Some(b"body".to_vec()));
        let headers: Vec<_> =
            composed.headers.iter().map(|(name, value)| (name.as_str(), &value[..])).collect();
        assert_eq!(headers, [("x-b", &b"2"[..]), ("x-a", b"3"), ("x-a", b"4")]);
        assert_eq!(composed.query.as_deref(), Some("x=1&y=a%20b%26"));
        assert_eq!(composed.method, "POST");
    }
}
