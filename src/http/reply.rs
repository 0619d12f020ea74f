//! The answer when no rule applies: a small document in the type that `Accept` prefers.

use actix_web::http::header::{self, HeaderMap, HeaderValue};
use uuid::Uuid;

use crate::model::{EndpointCode, json};
use crate::rules::Accept;

/// The types that are offered, the first where the sender does not mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    Json,
    Xml,
    TextXml,
    Html,
    Csv,
    Tsv,
    Text,
}

const OFFERED: [(MediaType, &str); 7] = [
    (MediaType::Json, "application/json"),
    (MediaType::Xml, "application/xml"),
    (MediaType::TextXml, "text/xml"),
    (MediaType::Html, "text/html"),
    (MediaType::Csv, "text/csv"),
    (MediaType::Tsv, "text/tab-separated-values"),
    (MediaType::Text, "text/plain"),
];

impl MediaType {
    /// The best of those offered (RFC 9110, section 12.5.1); JSON where none is acceptable.
    pub fn preferred(headers: &HeaderMap) -> Self {
        let values = || headers.get_all(header::ACCEPT).map(HeaderValue::as_bytes);
        // Most senders take anything.
        if values().all(|value| value == b"*/*") {
            return Self::Json;
        }
        let accept = Accept::parse(values());
        let best = accept.best(OFFERED.iter().map(|(_, name)| *name));
        best.map_or(Self::Json, |place| OFFERED[place].0)
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml; charset=utf-8",
            Self::TextXml => "text/xml; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Tsv => "text/tab-separated-values; charset=utf-8",
            Self::Text => "text/plain; charset=utf-8",
        }
    }
}

/// The document: capture id, endpoint and method.
pub fn document(media_type: MediaType, id: Uuid, endpoint: &EndpointCode, method: &str) -> String {
    match media_type {
        MediaType::Json => {
            let mut out = Vec::with_capacity(128);
            out.extend_from_slice(b"{\"id\":\"");
            out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
            out.extend_from_slice(b"\",\"endpoint\":");
            json::text(&mut out, endpoint.as_str());
            out.extend_from_slice(b",\"method\":");
            json::text(&mut out, method);
            out.extend_from_slice(b"}\n");
            String::from_utf8(out).expect("JSON strings are UTF-8")
        }
        MediaType::Xml | MediaType::TextXml => {
            let (endpoint, method) = (markup(endpoint.as_str()), markup(method));
            format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<capture><id>{id}</id>\
                 <endpoint>{endpoint}</endpoint><method>{method}</method></capture>\n"
            )
        }
        MediaType::Html => {
            let (endpoint, method) = (markup(endpoint.as_str()), markup(method));
            format!(
                "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Captured</title></head>\
                 <body><h1>Captured</h1><dl><dt>id</dt><dd>{id}</dd><dt>endpoint</dt><dd>{endpoint}</dd>\
                 <dt>method</dt><dd>{method}</dd></dl></body></html>\n"
            )
        }
        MediaType::Csv => {
            let (endpoint, method) = (csv_field(endpoint.as_str()), csv_field(method));
            format!("id,endpoint,method\r\n{id},{endpoint},{method}\r\n")
        }
        // A code has no control characters, so no tab, and a method is a token.
        MediaType::Tsv => format!("id\tendpoint\tmethod\n{id}\t{endpoint}\t{method}\n"),
        MediaType::Text => format!("id: {id}\nendpoint: {endpoint}\nmethod: {method}\n"),
    }
}

/// Text within XML or HTML.
fn markup(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A field of CSV (RFC 4180, section 2).
fn csv_field(text: &str) -> String {
    if text.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn accept_chooses_the_type() {
        let table = [
            ("*/*", MediaType::Json),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", MediaType::Html),
            ("text/csv", MediaType::Csv),
            ("text/*;q=0.5, text/tab-separated-values", MediaType::Tsv),
            ("application/json;q=0.1, text/plain;q=0.2", MediaType::Text),
            ("text/plain;q=0, */*;q=0.1", MediaType::Json),
            ("image/png", MediaType::Json),
            ("TEXT/XML", MediaType::TextXml),
            ("text/*, application/xml;q=0", MediaType::TextXml),
            ("", MediaType::Json),
        ];
        for (accept, expected) in table {
            let request = TestRequest::default().insert_header(("accept", accept)).to_http_request();
            assert_eq!(MediaType::preferred(request.headers()), expected, "{accept}");
        }
    }

    #[test]
    fn what_a_sender_chose_is_escaped() {
        let code = EndpointCode::parse("<b>\"x\",y</b>").unwrap();
        let html = document(MediaType::Html, Uuid::nil(), &code, "GET");
        assert!(html.contains("&lt;b&gt;&quot;x&quot;,y&lt;/b&gt;") && !html.contains("<b>"));
        let csv = document(MediaType::Csv, Uuid::nil(), &code, "GET");
        assert!(csv.contains("\"<b>\"\"x\"\",y</b>\""), "{csv}");
    }
}
