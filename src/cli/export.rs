//! `creel export`: captures as commands, as HTTP text or as lines of JSON.

use std::process::ExitCode;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::exit::{Exit, Failed, Outcome};
use super::inquiry::find::Finder;
use super::inquiry::{WhichArgs, check_place};
use super::session::{self, NodeArgs, Session};
use super::terminal::plain;
use crate::client::Ask;
use crate::client::api::escaped;

/// The largest capture that is exported, in bytes of its text.
const TEXT_BYTES_MAX: usize = 512 << 20;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: done; 1: some could not be exported; 2: wrong usage; 3: no node, or not allowed."
)]
pub struct ExportArgs {
    /// Ids of captures; or say which by the flags.
    #[arg(value_name = "ID", conflicts_with_all = ["endpoint", "run", "since", "matching", "until", "limit"])]
    ids: Vec<String>,
    /// Captures of this endpoint, or of all whose codes match: `*` is any run of characters. May be said several
    /// times.
    #[arg(long, value_name = "CODE")]
    endpoint: Vec<String>,
    #[command(flatten)]
    which: WhichArgs,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// So many at most, the oldest first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// As what.
    #[arg(long, value_enum)]
    format: Format,
    #[command(flatten)]
    node: NodeArgs,
}

/// What captures are exported as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A command of curl each, for a POSIX shell.
    Curl,
    /// HTTP/1.1, one request behind the other.
    Http,
    /// A line of JSON each, with the whole body.
    Ndjson,
}

pub fn run(args: ExportArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| export(&args, session).await)
}

async fn export(args: &ExportArgs, session: &Session) -> Outcome {
    let mut exit = Exit::Done;
    if !args.ids.is_empty() {
        for id in &args.ids {
            one(id, args.format, session, &mut exit).await?;
        }
        return Ok(exit);
    }
    let mut order = args.which.members(&args.endpoint).await?;
    if order.is_empty() {
        return Err(Failed::usage("nothing says which captures")
            .hint("name ids, or say --endpoint, --run, --since or --match"));
    }
    // Endpoints alone mean all of theirs.
    if check_place(&order).is_err() {
        order.insert("since".to_owned(), "earliest".into());
    }
    if let Some(until) = &args.until {
        order.insert("until".to_owned(), until.as_str().into());
    }
    order.insert("body".to_owned(), "none".into());
    let mut finder = Finder::new(order, args.limit.map_or(usize::MAX, |limit| limit as usize));
    while let Some(page) = finder.next(session).await? {
        for capture in page["captures"].as_array().map(Vec::as_slice).unwrap_or_default() {
            // Messages of WebSockets are no requests.
            let is_request = matches!(capture["kind"].as_str(), Some("http" | "websocket_open"));
            if is_request || args.format == Format::Ndjson {
                one(capture["id"].as_str().unwrap_or_default(), args.format, session, &mut exit).await?;
            }
        }
    }
    Ok(exit)
}

/// Exports one. One that is not there any more, or is no request, does not keep the others.
async fn one(id: &str, format: Format, session: &Session, exit: &mut Exit) -> Outcome<()> {
    let text = match text(id, format, session).await {
        Err(failed) if matches!(failed.exit, Exit::Not | Exit::Usage) => {
            let message = format!("{id}: {}", failed.message);
            session.terminal.complain(&Failed { message, ..failed });
            *exit = Exit::Not;
            return Ok(());
        }
        text => text?,
    };
    if session.terminal.is_terminal && format == Format::Ndjson {
        return session.terminal.json_line(String::from_utf8_lossy(&text).trim_end());
    }
    if session.terminal.is_terminal {
        // Somebody else's octets do nothing to the terminal.
        return session
            .terminal
            .line(plain(&String::from_utf8_lossy(&text).replace("\r\n", "\n")).trim_end());
    }
    session.terminal.write(&text)?;
    match format {
        // A body ends as it ends.
        Format::Http => Ok(()),
        _ if text.ends_with(b"\n") => Ok(()),
        _ => session.terminal.write(b"\n"),
    }
}

async fn text(id: &str, format: Format, session: &Session) -> Outcome<Bytes> {
    let ask = Ask::get(format!("/api/captures/{}", escaped(id)));
    let ask = match format {
        Format::Curl => ask.with("format", Some("curl")).accept("*/*"),
        Format::Http => ask.with("format", Some("http")).accept("*/*"),
        Format::Ndjson => ask,
    };
    let text = session.api.bytes(ask, TEXT_BYTES_MAX).await?;
    match format {
        // A line is one, however the node has written it.
        Format::Ndjson if text.trim_ascii().contains(&b'\n') => {
            let capture: Value = serde_json::from_slice(&text)
                .map_err(|error| Failed::not(format!("failed to read a capture: {error}")))?;
            Ok(capture.to_string().into())
        }
        _ => Ok(text),
    }
}
