//! Documents that people give by file or on stdin, in JSON or in YAML.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::exit::{Failed, Outcome};

/// The largest document that is read, in bytes; a node takes `rules.config_bytes_max` (32 MiB) at most.
const BYTES_MAX: u64 = 64 << 20;

/// Reads a file, or stdin where it is named `-`.
///
/// # Errors
/// A file that cannot be read, is too large, or is no text.
pub async fn read_text(file: &Path) -> Outcome<String> {
    let text = read_octets(file, BYTES_MAX).await?;
    String::from_utf8(text).map_err(|_| Failed::usage(format!("{} is no text in UTF-8", named(file))))
}

/// The same for what need not be text, up to so many bytes.
///
/// # Errors
/// A file that cannot be read, or is too large.
pub async fn read_octets(file: &Path, bytes_max: u64) -> Outcome<Vec<u8>> {
    let file = file.to_owned();
    // On a thread of its own, so that a stdin that says nothing holds up no signal.
    let read = tokio::task::spawn_blocking(move || read(file, bytes_max)).await;
    read.map_err(|error| Failed::not(format!("failed to read: {error}")))?
}

fn read(file: PathBuf, bytes_max: u64) -> Outcome<Vec<u8>> {
    let mut octets = Vec::new();
    let bounded = bytes_max + 1;
    let done = match file.as_os_str() == "-" {
        true => std::io::stdin().lock().take(bounded).read_to_end(&mut octets),
        false => std::fs::File::open(&file).and_then(|open| open.take(bounded).read_to_end(&mut octets)),
    };
    let name = named(&file);
    done.map_err(|error| {
        Failed::usage(format!("failed to read {name}: {error}")).hint("a file is expected, or `-` for stdin")
    })?;
    match octets.len() as u64 > bytes_max {
        true => Err(Failed::usage(format!("{name} is over {bytes_max} bytes"))),
        false => Ok(octets),
    }
}

/// What a file is called when something is told of it.
pub fn named(file: &Path) -> String {
    match file.as_os_str() == "-" {
        true => "stdin".to_owned(),
        false => file.display().to_string(),
    }
}

/// Whether a text is meant as JSON: then mistakes are told as those of JSON. YAML never begins so, but where
/// it is JSON too.
pub fn is_json(text: &str) -> bool {
    text.trim_start().starts_with(['{', '['])
}

/// Reads a document.
///
/// # Errors
/// As [`read_text`]; what is neither JSON nor YAML is refused for what it is, as a node would do it.
pub async fn read_document(file: &Path) -> Outcome<Value> {
    let text = read_text(file).await?;
    let wrong = |what: &str, error: &dyn std::fmt::Display| {
        Failed::not(format!("{} is no {what}: {error}", named(file)))
    };
    match is_json(&text) {
        true => serde_json::from_str(&text).map_err(|error| wrong("JSON", &error)),
        false => serde_saphyr::from_str(&text).map_err(|error| wrong("YAML", &error)),
    }
}

/// A document as YAML.
pub fn yaml(document: &Value) -> String {
    // What is JSON can be said in YAML; should it not be, JSON is YAML.
    let mut text = serde_saphyr::to_string(document).unwrap_or_else(|_| document.to_string());
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}
