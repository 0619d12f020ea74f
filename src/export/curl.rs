//! A request as a command for a POSIX shell: what curl would add is taken away, and what it would change is told to
//! it, so that the same request arrives.

use super::shell::{is_plain, word};
use super::{Body, Encoder, Export, Request};

/// A body up to this size is waited with by no curl (RFC 9110, section 10.1.1).
const WAITED_WITH_BYTES: u64 = 1024;

/// What ends the lines of a body in base64; no such line has a blank or a dash.
const END: &[u8] = b"END-OF-BODY\n";

/// The command. A body that is text stands in it as it is, another one in base64 behind it.
pub fn export(request: &Request<'_>) -> Export {
    let content = Content::of(request);
    let mut notes = String::new();
    if request.cut {
        notes = format!("# Of the body {} bytes were kept; there was more of it.\n", request.body.bytes());
    }
    let is_head = request.method == "HEAD";
    if is_head && content != Content::Nothing {
        notes.push_str("# curl waits for an answer's body here, which has none: so it is given 5 s.\n");
    }
    let mut options = Vec::new();
    match (&content, request.method) {
        (Content::Nothing, "GET") => {}
        (Content::Nothing, "HEAD") => options.push("--head".to_owned()),
        (_, method) => options.push(format!("--request {}", word(method.as_bytes()))),
    }
    if is_head && content != Content::Nothing {
        options.push("--max-time 5".to_owned());
    }
    match request.version {
        "HTTP/1.0" => options.push("--http1.0".to_owned()),
        // Otherwise the two ends could agree on HTTP/2.
        _ if request.origin.starts_with("https:") => options.push("--http1.1".to_owned()),
        _ => {}
    }
    options.extend(headers(request, &content));
    options.extend(url(request));
    let (later, before) = match content {
        Content::Nothing => (None, ""),
        Content::Text(text) => {
            options.push(format!("--data-raw {}", word(text.as_bytes())));
            (None, "")
        }
        Content::Base64 => {
            options.push("--data-binary @-".to_owned());
            (Some(Encoder::Lines(Vec::new())), "base64 -d <<'END-OF-BODY' | ")
        }
    };
    let mut text = format!("{notes}{before}curl {}\n", options.join(" \\\n  ")).into_bytes();
    match (later, request.body) {
        (None, _) => Export { before: text, later: None, after: b"" },
        (Some(encoder), Body::Later { .. }) => Export { before: text, later: Some(encoder), after: END },
        (Some(mut encoder), Body::Whole(octets)) => {
            for part in [&encoder.push(octets), &encoder.push(b""), END] {
                text.extend_from_slice(part);
            }
            Export { before: text, later: None, after: b"" }
        }
    }
}

/// How the body stands in the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content<'a> {
    /// The request has none, not even an empty one.
    Nothing,
    Text(&'a str),
    Base64,
}

impl<'a> Content<'a> {
    fn of(request: &Request<'a>) -> Self {
        match request.body {
            // A length of nothing is told all the same.
            Body::Whole(b"") if request.has("content-length") || request.is_chunked() => Self::Text(""),
            Body::Whole(b"") => Self::Nothing,
            Body::Whole(octets) => match std::str::from_utf8(octets) {
                Ok(text) if is_plain(text) => Self::Text(text),
                _ => Self::Base64,
            },
            Body::Later { .. } => Self::Base64,
        }
    }
}

/// The fields as they were sent, and those that curl is not to send by itself.
fn headers(request: &Request<'_>, content: &Content<'_>) -> Vec<String> {
    let mut options = Vec::new();
    for (name, value) in &request.headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        // A length is curl's own to tell, and so is a host that the URL names.
        let is_left_out = is("content-length")
            || (is("transfer-encoding") && !request.is_chunked())
            || (is("host") && is_told_by(request.origin, value));
        if is_left_out {
            continue;
        }
        let colon: &[u8] = if value.is_empty() { b";" } else { b": " };
        let field = [name, colon, value].concat();
        options.push(format!("--header {}", word(&field)));
    }
    let has_body = *content != Content::Nothing;
    let unasked = [
        ("User-Agent", true),
        ("Accept", true),
        // It takes this one back where it is written so, and not in small letters.
        ("Host", request.version == "HTTP/1.0"),
        ("Content-Type", has_body),
        ("Expect", request.body.bytes() > WAITED_WITH_BYTES),
    ];
    for (name, _) in unasked.into_iter().filter(|(name, would_be_sent)| *would_be_sent && !request.has(name))
    {
        options.push(format!("--header '{name}:'"));
    }
    options
}

/// Whether curl makes this `Host` of the URL.
fn is_told_by(origin: &str, host: &[u8]) -> bool {
    let authority = origin.split_once("://").map_or(origin, |(_, authority)| authority);
    authority.as_bytes() == host && !host.iter().any(u8::is_ascii_uppercase)
}

/// The URL, and how curl lets it be.
fn url(request: &Request<'_>) -> Vec<String> {
    let target = request.target.as_ref();
    let kept = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]{}@!$&'()*+,;=%|".contains(&b);
    if !target.starts_with('/') || !target.bytes().all(kept) {
        return vec![
            format!("--request-target {}", word(target.as_bytes())),
            word(format!("{}/", request.origin).as_bytes()),
        ];
    }
    let mut options = Vec::new();
    let path = target.split('?').next().unwrap_or(target).to_ascii_lowercase().replace("%2e", ".");
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        options.push("--path-as-is".to_owned());
    }
    if target.contains(['[', ']', '{', '}']) || request.origin.contains('[') {
        options.push("--globoff".to_owned());
    }
    options.push(word(format!("{}{target}", request.origin).as_bytes()));
    options
}
