//! `creel config` and `creel apply`: all that is configured as one document, out and in.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::document::{is_json, read_text, yaml};
use super::exit::{Exit, Outcome};
use super::inquiry::AnswerFormat;
use super::listing::{DocumentFormat, refused};
use super::session::{self, NodeArgs, Session};
use super::terminal::{Ink, Terminal, plain, plain_line};
use crate::client::Ask;

const PATH: &str = "/api/config";
/// The largest configuration that is read, in bytes.
const BYTES_MAX: usize = 256 << 20;
/// Lines that are shown around one that changes.
const CONTEXT_LINES: usize = 2;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: DocumentFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: it is so now (or would be, with --dry-run), be it changed or not; 1: the document is refused, and nothing is done; 2: wrong usage; 3: no node, or not allowed."
)]
pub struct ApplyArgs {
    /// A document of `endpoints` and `rules`, JSON or YAML; `-` is stdin.
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// Do nothing, and show what would change.
    #[arg(long)]
    dry_run: bool,
    /// Remove what the document does not name.
    #[arg(long)]
    prune: bool,
    /// How what changes is shown.
    #[arg(long, value_enum, default_value_t)]
    output: AnswerFormat,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn show(args: ConfigArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| config(&args, session).await)
}

pub fn run(args: ApplyArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| apply(&args, session).await)
}

async fn config(args: &ConfigArgs, session: &Session) -> Outcome {
    let format = match args.output {
        DocumentFormat::Yaml => "yaml",
        DocumentFormat::Json => "json",
    };
    let ask = Ask::get(PATH).with("format", Some(format)).accept("*/*");
    let document = session.api.bytes(ask, BYTES_MAX).await?;
    let text = String::from_utf8_lossy(&document);
    let text = text.trim_end_matches('\n');
    match args.output {
        DocumentFormat::Json => session.terminal.json_line(text)?,
        DocumentFormat::Yaml if session.terminal.is_terminal => session.terminal.line(&plain(text))?,
        DocumentFormat::Yaml => session.terminal.line(text)?,
    }
    Ok(Exit::Done)
}

async fn apply(args: &ApplyArgs, session: &Session) -> Outcome {
    let text = read_text(&args.file).await?;
    let media_type = if is_json(&text) { "application/json" } else { "application/yaml" };
    let flag = |is_so: bool| is_so.then_some("true");
    let ask = Ask::new(Method::PUT, PATH)
        .with("dry_run", flag(args.dry_run))
        .with("prune", flag(args.prune))
        .body(media_type, text);
    let answer = session.api.json(ask).await.map_err(|failure| refused(failure.into()))?;
    if args.output == AnswerFormat::Json {
        session.terminal.json_line(&answer.to_string())?;
        return Ok(Exit::Done);
    }
    let changes = answer["changes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let told: String = changes.iter().map(|change| difference(change, &session.terminal)).collect();
    session.terminal.write(told.as_bytes())?;
    let (changed, unchanged) = (changes.len(), &answer["unchanged"]);
    session.terminal.say(&match args.dry_run {
        true => {
            format!("would change {changed}, and leave {unchanged} as they are; nothing is done (--dry-run)")
        }
        false => format!("changed {changed}, and left {unchanged} as they are"),
    });
    Ok(Exit::Done)
}

/// What changes of one item: that it does, and line by line where its documents are told.
fn difference(change: &Value, terminal: &Terminal) -> String {
    let fact = |name: &str| plain_line(change[name].as_str().unwrap_or_default());
    let (sign, ink) = match change["change"].as_str() {
        Some("created") => ("+", Ink::Good),
        Some("removed") => ("-", Ink::Bad),
        _ => ("~", Ink::Warn),
    };
    let head = format!("{sign} {} {} ({})", fact("kind"), fact("name"), fact("change"));
    let mut text = format!("{}\n", terminal.ink(ink, &head));
    let document = |name: &str| match &change[name] {
        Value::Null => String::new(),
        document => plain(&yaml(document)),
    };
    let (before, after) = (document("before"), document("after"));
    let lines = TextDiff::from_lines(&before, &after);
    for group in lines.grouped_ops(CONTEXT_LINES) {
        for line in group.iter().flat_map(|op| lines.iter_changes(op)) {
            let (sign, ink) = match line.tag() {
                ChangeTag::Insert => ("+", Ink::Good),
                ChangeTag::Delete => ("-", Ink::Bad),
                ChangeTag::Equal => (" ", Ink::Plain),
            };
            let line = format!("    {sign} {}", line.value().trim_end_matches('\n'));
            text.push_str(&terminal.ink(ink, &line));
            text.push('\n');
        }
    }
    text
}
