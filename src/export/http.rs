//! A request as HTTP/1.1 text, which can be sent as it stands.

use super::{Body, Encoder, Export, Request};

/// The request line, the fields and the body. Chunks are put together, and the field that tells of them becomes the
/// body's length (RFC 9112, section 7.1.3). A `Content-Length` stays as it was sent: where the body was cut, the
/// message is short of it, and so is told as what it is (section 8).
pub fn export(request: &Request<'_>) -> Export {
    let mut text = Vec::with_capacity(1024);
    for part in [request.method, " ", &request.target, " ", request.version, "\r\n"] {
        text.extend_from_slice(part.as_bytes());
    }
    let bytes = request.body.bytes();
    let mut told = request.has("content-length") || (bytes == 0 && !request.is_chunked());
    if !request.has("host") && request.version != "HTTP/1.0" {
        let authority = request.origin.split_once("://").map_or(request.origin, |(_, authority)| authority);
        field(&mut text, b"host", authority.as_bytes());
    }
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case(b"transfer-encoding") {
            field(&mut text, name, value);
        } else if !told {
            field(&mut text, b"content-length", bytes.to_string().as_bytes());
            told = true;
        }
    }
    if !told {
        field(&mut text, b"content-length", bytes.to_string().as_bytes());
    }
    text.extend_from_slice(b"\r\n");
    let later = match request.body {
        Body::Whole(content) => {
            text.extend_from_slice(content);
            None
        }
        Body::Later { .. } => Some(Encoder::Octets),
    };
    Export { before: text, later, after: b"" }
}

fn field(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, b": ", value, b"\r\n"] {
        text.extend_from_slice(part);
    }
}
