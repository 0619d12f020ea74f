//! Entries as JSON, as the API answers them and the stream sends them (`docs/protocol.md`).
//!
//! Written by hand into one buffer: this is the path of every event. The body stands last, so that a
//! large one can be sent in pieces.

use uuid::Uuid;

use super::json::{self, base64, put, raw, text};
use super::limits::PREVIEW_BYTES;
use super::time::{put_rfc3339, rfc3339};
use super::{Answer, BodyContent, Capture, Entry, EntryKind, HeaderBlock, Removed};

/// How much of a body is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    Full,
    Preview,
    None,
}

impl BodyForm {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "full" => Some(Self::Full),
            "preview" => Some(Self::Preview),
            "none" => Some(Self::None),
            _ => None,
        }
    }
}

/// Whether a capture's JSON was written to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Whole,
    /// Up to the content of a body that is kept in parts: base64 of the parts is to follow, and then
    /// [`AFTER_CONTENT`].
    UpToContent,
}

/// What ends a capture's JSON behind its content.
pub const AFTER_CONTENT: &[u8] = b"\"}}";

/// Writes the event of an entry: `{"type":...,"cursor":...,"capture":{...}}`. With
/// [`Written::UpToContent`] the event ends with one more brace. Without a `seq` it is not told.
pub fn write_event(
    out: &mut Vec<u8>,
    cursor: &str,
    seq: Option<i64>,
    entry: &Entry,
    form: BodyForm,
) -> Written {
    let (kind, key) = match &entry.what {
        EntryKind::Capture(_) => ("capture", "capture"),
        EntryKind::Removal(_) => ("removal", "removal"),
        EntryKind::Configuration(_) => ("configuration", "configuration"),
    };
    raw(out, ["{\"type\":\"", kind, "\",\"cursor\":\"", cursor, "\",\"", key, "\":"]);
    let written = match &entry.what {
        EntryKind::Capture(capture) => write_capture(out, seq, capture, form, None),
        EntryKind::Removal(removal) => {
            write_number(out, seq);
            put(out, format_args!("\"id\":\"{}\",\"endpoint\":", removal.id));
            text(out, removal.endpoint.as_str());
            put(out, format_args!(",\"at\":\"{}\",\"by\":", rfc3339(removal.at_us)));
            write_by(out, removal.by.as_deref());
            out.push(b',');
            match removal.removed {
                Removed::One(capture) => put(out, format_args!("\"capture\":\"{capture}\"}}")),
                Removed::All => put(out, format_args!("\"all\":true}}")),
            }
            Written::Whole
        }
        EntryKind::Configuration(change) => {
            let (kind, what) = (change.kind.name(), change.change.name());
            write_number(out, seq);
            put(out, format_args!("\"id\":\"{}\",\"change\":\"{kind}.{what}\",\"{kind}\":", change.id));
            text(out, &change.name);
            put(out, format_args!(",\"at\":\"{}\",\"by\":", rfc3339(change.at_us)));
            write_by(out, change.by.as_deref());
            out.push(b'}');
            Written::Whole
        }
    };
    if written == Written::Whole {
        out.push(b'}');
    }
    written
}

fn write_by(out: &mut Vec<u8>, by: Option<&str>) {
    match by {
        Some(by) => text(out, by),
        None => out.extend_from_slice(b"null"),
    }
}

/// How an answer shows: the outer None leaves it out, the inner one says "not recorded".
pub type ShownAnswer<'a> = Option<Option<&'a Answer>>;

/// Writes a capture as an object; its place only where it is given.
pub fn write_capture(
    out: &mut Vec<u8>,
    seq: impl Into<Option<i64>>,
    capture: &Capture,
    form: BodyForm,
    answer: ShownAnswer<'_>,
) -> Written {
    let seq = seq.into();
    write_number(out, seq);
    let id = &mut Uuid::encode_buffer();
    raw(out, ["\"id\":\"", capture.id.hyphenated().encode_lower(id), "\",\"endpoint\":"]);
    text(out, capture.endpoint.as_str());
    raw(out, [",\"kind\":\"", capture.kind.name(), "\",\"received\":\""]);
    put_rfc3339(&mut *out, capture.received_us);
    raw(out, ["\",\"method\":"]);
    text(out, &capture.method);
    write_target(out, &capture.target);
    for (key, value) in [
        (",\"version\":", capture.version.as_ref()),
        (",\"scheme\":", capture.scheme.as_ref()),
        (",\"host\":", &capture.host),
    ] {
        raw(out, [key]);
        text(out, value);
    }
    raw(out, [",\"port\":", itoa::Buffer::new().format(capture.port)]);
    raw(out, [",\"peer\":\""]);
    json::peer(out, capture.peer);
    raw(out, ["\",\"client\":\""]);
    json::address(out, capture.client);
    raw(out, ["\",\"headers\":"]);
    write_headers(out, &capture.headers);
    if let Some(websocket) = &capture.websocket {
        out.extend_from_slice(b",\"websocket\":");
        put(out, format_args!("{{\"connection\":\"{}\"", websocket.connection));
        if let Some(code) = websocket.close_code {
            put(out, format_args!(",\"close_code\":{code},\"close_reason\":"));
            text(out, websocket.close_reason.as_deref().unwrap_or_default());
        }
        out.push(b'}');
    }
    raw(out, [",\"reply\":{\"source\":\"", capture.reply.source.name(), "\""]);
    if capture.reply.status != 0 {
        raw(out, [",\"status\":", itoa::Buffer::new().format(capture.reply.status)]);
    }
    if let Some(rule) = &capture.reply.rule {
        out.extend_from_slice(b",\"rule\":");
        text(out, &rule.name);
        put(out, format_args!(",\"rule_version\":{}", rule.version));
        // A rule may count what matches elsewhere too: who may not know places, may not know that.
        if let Some(hit) = rule.hit.filter(|_| seq.is_some()) {
            put(out, format_args!(",\"hit\":{hit}"));
        }
    }
    out.push(b'}');
    if let Some(answer) = answer {
        out.extend_from_slice(b",\"answer\":");
        write_answer(out, answer);
    }
    write_body(out, capture, form)
}

/// Begins an object with an entry's place.
fn write_number(out: &mut Vec<u8>, seq: Option<i64>) {
    out.push(b'{');
    if let Some(seq) = seq {
        raw(out, ["\"seq\":", itoa::Buffer::new().format(seq), ","]);
    }
}

fn write_body(out: &mut Vec<u8>, capture: &Capture, form: BodyForm) -> Written {
    let body = &capture.body;
    let truth = |is_so| if is_so { "true" } else { "false" };
    raw(out, [",\"body\":{\"bytes\":", itoa::Buffer::new().format(body.bytes)]);
    raw(out, [",\"truncated\":", truth(body.truncated), ",\"incomplete\":", truth(body.incomplete)]);
    match (form, &body.content) {
        (BodyForm::None, _) => out.extend_from_slice(b"}}"),
        (BodyForm::Full, BodyContent::Parts { .. }) => {
            out.extend_from_slice(b",\"encoding\":\"base64\",\"content\":\"");
            return Written::UpToContent;
        }
        (BodyForm::Full, BodyContent::Inline(content)) => {
            write_content(out, content);
            out.extend_from_slice(b"}}");
        }
        (BodyForm::Preview, BodyContent::Inline(content) | BodyContent::Parts { start: content }) => {
            let shown = &content[..content.len().min(PREVIEW_BYTES)];
            let cut = (shown.len() as u64) < body.bytes;
            put(out, format_args!(",\"preview\":{cut}"));
            write_content(out, if cut { up_to_whole_character(shown) } else { shown });
            out.extend_from_slice(b"}}");
        }
    }
    Written::Whole
}

fn write_content(out: &mut Vec<u8>, content: &[u8]) {
    match std::str::from_utf8(content) {
        Ok(content) => {
            out.extend_from_slice(b",\"encoding\":\"utf8\",\"content\":");
            text(out, content);
        }
        Err(_) => {
            out.extend_from_slice(b",\"encoding\":\"base64\",\"content\":\"");
            base64(out, content);
            out.push(b'"');
        }
    }
}

/// Without the first bytes of a UTF-8 character at the end that the cut has left.
fn up_to_whole_character(cut: &[u8]) -> &[u8] {
    match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    }
}

/// The target, and what it is made of: path, what of the path follows the code, and query.
fn write_target(out: &mut Vec<u8>, target: &str) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    // A target that does not begin with a slash is in absolute form (RFC 9112, section 3.2.2).
    let authority = if path.starts_with('/') { None } else { path.find("://") };
    let origin_form = authority.map_or(path, |at| {
        let rest = &path[at + 3..];
        rest.find('/').map_or("", |slash| &rest[slash..])
    });
    let remainder = origin_form.splitn(4, '/').nth(3);
    out.extend_from_slice(b",\"target\":");
    text(out, target);
    out.extend_from_slice(b",\"path\":");
    text(out, origin_form);
    out.extend_from_slice(b",\"remainder\":");
    text(out, remainder.map_or("", |rest| &origin_form[origin_form.len() - rest.len() - 1..]));
    out.extend_from_slice(b",\"query\":");
    match query {
        Some(query) => text(out, query),
        None => out.extend_from_slice(b"null"),
    }
}

/// Pairs of name and value; a value that is not UTF-8 is `{"base64":"..."}`.
fn write_headers(out: &mut Vec<u8>, headers: &HeaderBlock) {
    let are_plain = are_plain(headers.as_bytes());
    out.push(b'[');
    for (i, (name, value)) in headers.iter().enumerate() {
        out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
        if are_plain {
            json::quoted(out, name);
            out.push(b',');
            json::quoted(out, value);
        } else {
            text(out, &String::from_utf8_lossy(name));
            out.push(b',');
            write_value(out, value);
        }
        out.push(b']');
    }
    out.push(b']');
}

fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(value) => text(out, value),
        Err(_) => {
            out.extend_from_slice(b"{\"base64\":\"");
            base64(out, value);
            out.extend_from_slice(b"\"}");
        }
    }
}

/// Whether all names and values are US-ASCII that JSON has as it is. Looked at together, fields are written in half the
/// time. CR and LF are nowhere but side by side, where lines end.
fn are_plain(block: &[u8]) -> bool {
    let is_plain = |b: u8| b.is_ascii() & (json::is_plain(b) | (b == b'\r') | (b == b'\n'));
    let pairs = block.iter().zip(block.get(1..).unwrap_or_default());
    block.iter().fold(true, |plain, &b| plain & is_plain(b))
        && pairs.fold(true, |paired, (&a, &b)| paired & ((a == b'\r') == (b == b'\n')))
        && block.first() != Some(&b'\n')
        && block.last() != Some(&b'\r')
}

fn write_answer(out: &mut Vec<u8>, answer: Option<&Answer>) {
    let Some(answer) = answer else {
        out.extend_from_slice(b"null");
        return;
    };
    put(out, format_args!("{{\"status\":{},\"took_us\":{},", answer.status, answer.took_us));
    if let Some(failure) = &answer.failure {
        out.extend_from_slice(b"\"failure\":");
        text(out, failure);
        out.push(b',');
    }
    out.extend_from_slice(b"\"headers\":");
    write_headers(out, &answer.headers);
    put(out, format_args!(",\"body\":{{\"bytes\":{}", answer.body_bytes));
    put(out, format_args!(",\"truncated\":{}", (answer.body.len() as u64) < answer.body_bytes));
    write_content(out, &answer.body);
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever a block has in it, what is written is JSON, and says the same.
        #[test]
        fn fields_are_written_as_they_are(
            block in prop::collection::vec(prop::sample::select(b"a: \r\n\"\\\x00\x7f\xc3\xa9z".to_vec()), 0..60),
        ) {
            let headers = HeaderBlock::from_kept(block.into());
            let mut out = Vec::new();
            write_headers(&mut out, &headers);
            let written: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let value = |value: &[u8]| match std::str::from_utf8(value) {
                Ok(value) => serde_json::json!(value),
                Err(_) => serde_json::json!({"base64": STANDARD.encode(value)}),
            };
            let fields = headers.iter().map(|(n, v)| serde_json::json!([String::from_utf8_lossy(n), value(v)]));
            prop_assert_eq!(written, serde_json::Value::Array(fields.collect()));
        }
    }
}
