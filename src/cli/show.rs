//! How a capture is shown: as a row, as a page for people, as HTTP text.

use serde_json::Value;

use super::exit::{Exit, Failed, Outcome};
use super::terminal::{Ink, Terminal, plain, plain_line};
use crate::client::ShownCapture;
use crate::export::{Body, Format, Request};

/// The columns of [`row`].
pub const HEAD: [&str; 6] = ["RECEIVED", "ENDPOINT", "REQUEST", "REPLY", "BYTES", "ID"];

/// A capture's row in a table.
pub fn row(capture: &ShownCapture) -> Vec<String> {
    vec![
        seconds(&capture.received),
        plain_line(&capture.endpoint),
        what(capture),
        capture.reply.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        capture.body.bytes.to_string(),
        capture.id.clone(),
    ]
}

/// The rows of an answer's `captures`.
pub fn rows(answer: &Value) -> Outcome<Vec<Vec<String>>> {
    let captures = answer["captures"].as_array().map(Vec::as_slice).unwrap_or_default();
    captures.iter().map(|capture| Ok(row(&read(capture)?))).collect()
}

/// A capture of a listing.
pub fn read(shown: &Value) -> Outcome<ShownCapture> {
    ShownCapture::read(shown).map_err(|error| {
        Failed { exit: Exit::Unreachable, ..Failed::not(format!("failed to read a capture: {error}")) }
            .hint("is the node of another version than this command?")
    })
}

/// The request in a line: method, and what of the target is the sender's own; or the WebSocket's event.
pub fn what(capture: &ShownCapture) -> String {
    if !capture.is_request() {
        return capture.kind.replace('_', " ");
    }
    let query = capture.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
    let place = match capture.remainder.as_str() {
        "" => "/",
        remainder => remainder,
    };
    plain_line(&format!("{} {place}{query}", capture.method))
}

/// `2026-11-21T09:56:50.737595Z` to the second, in columns' form.
fn seconds(received: &str) -> String {
    plain_line(&received.get(..19).unwrap_or(received).replace('T', " "))
}

/// A capture with its headers and the beginning of its body, for people.
pub fn page(capture: &ShownCapture, terminal: &Terminal) -> String {
    let strong = |text: &str| terminal.ink(Ink::Strong, text);
    let mut text = format!("{}\n", strong(&plain_line(&format!("{} {}", capture.method, capture.target))));
    let facts = [
        ("id", capture.id.clone()),
        ("endpoint", capture.endpoint.clone()),
        ("kind", capture.kind.replace('_', " ")),
        ("received", capture.received.clone()),
        ("from", capture.client.clone()),
        ("reply", reply(capture)),
    ];
    for (name, value) in facts {
        text += &format!("{}  {}\n", terminal.ink(Ink::Faint, &format!("{name:>8}")), plain_line(&value));
    }
    text.push('\n');
    let mut headers = capture.headers();
    // By name, since that is how people look for one; values of one name stay in their order.
    headers.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in headers {
        let value = plain_line(&String::from_utf8_lossy(&value));
        text += &format!("{}: {value}\n", terminal.ink(Ink::Faint, &name));
    }
    let body = &capture.body;
    if body.bytes == 0 {
        return text;
    }
    text.push('\n');
    match capture.shown_body().as_deref().map(std::str::from_utf8) {
        Some(Ok(content)) => {
            text += &plain(content);
            text.push('\n');
            if body.is_cut() {
                text += &format!("... (the beginning of {} bytes; all of it: --output raw)\n", body.bytes);
            }
        }
        _ => text += &format!("({} bytes that are no text; as they are: --output raw)\n", body.bytes),
    }
    for (holds, what) in
        [(body.truncated, "was over the limit, and was cut"), (body.incomplete, "ended before its end")]
    {
        if holds {
            text += &format!("(the body {what})\n");
        }
    }
    text
}

fn reply(capture: &ShownCapture) -> String {
    let reply = &capture.reply;
    let status = reply.status.map(|status| format!("{status}, ")).unwrap_or_default();
    let rule = reply.rule.as_ref().map(|rule| format!(" {rule}")).unwrap_or_default();
    format!("{status}by {}{rule}", reply.source)
}

/// The request as HTTP/1.1 text, as the API exports it; of a WebSocket's message, the message.
pub fn http_text(capture: &ShownCapture, body: &[u8]) -> Vec<u8> {
    if !capture.is_request() {
        return body.to_vec();
    }
    let headers = capture.headers();
    let origin = format!("{}://{}:{}", capture.scheme, capture.host, capture.port);
    let request = Request {
        method: &capture.method,
        origin: &origin,
        target: capture.target.as_str().into(),
        version: &capture.version,
        headers: headers.iter().map(|(name, value)| (name.as_bytes(), value.as_slice())).collect(),
        body: Body::Whole(body),
        cut: capture.body.truncated || capture.body.incomplete,
    };
    request.export(Format::Http).before
}
