//! How a listener shows what comes.

use serde_json::Value;

use super::forward::Forwarded;
use crate::cli::show;
use crate::cli::terminal::{Ink, Terminal, plain, plain_line};
use crate::client::ShownCapture;

/// A capture in a line: when, where, how large, how it was answered, what it was, and what became of it.
pub fn row(capture: &ShownCapture, forwarded: Option<&Forwarded>, terminal: &Terminal) -> String {
    let time = capture.received.get(11..19).unwrap_or_default();
    let reply = capture.reply.status.map_or_else(|| "  -".to_owned(), |status| status.to_string());
    let reply = terminal.ink(capture.reply.status.map_or(Ink::Faint, Ink::of_status), &reply);
    let mut row = format!(
        "{}  {:<16}  {:>9}  {reply}  {}",
        terminal.ink(Ink::Faint, time),
        plain_line(&capture.endpoint),
        size(capture.body.bytes),
        show::what(capture),
    );
    if let Some(forwarded) = forwarded {
        let ink = match forwarded {
            Forwarded::Answered { status, .. } => Ink::of_status(*status),
            Forwarded::Failed(_) => Ink::Bad,
            Forwarded::Skipped => Ink::Faint,
        };
        row += &format!("  {}", terminal.ink(ink, &plain_line(&forwarded.text())));
    }
    row
}

/// A removal in a line.
pub fn removal(removal: &Value, terminal: &Terminal) -> String {
    let text = |name: &str| plain_line(removal[name].as_str().unwrap_or_default());
    let what = if removal["all"] == true { "all that it caught".to_owned() } else { text("capture") };
    let line = format!("{}  {:<16}  removed: {what}", text("at").get(11..19).unwrap_or(""), text("endpoint"));
    terminal.ink(Ink::Faint, &line)
}

/// The request as HTTP text, with an empty line behind it.
pub fn raw(capture: &ShownCapture, body: &[u8], terminal: &Terminal) -> Vec<u8> {
    let mut text = show::http_text(capture, body);
    if terminal.is_terminal {
        text = plain(&String::from_utf8_lossy(&text).replace("\r\n", "\n")).into_bytes();
    }
    text.extend_from_slice(if text.ends_with(b"\n") { b"\n" } else { b"\n\n" });
    text
}

/// Bytes as people say them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}
