//! `creel runs`: a stretch of testing that has endpoints of its own is opened, looked at and closed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::{Map, Value, json};

use super::document::read_document;
use super::exit::{Exit, Failed, Outcome};
use super::inquiry::run_of;
use super::session::{self, ListFormat, NodeArgs, Session};
use super::span::span;
use super::summary;
use super::terminal::plain_line;
use crate::client::api::escaped;
use crate::client::{Ask, Failure};

/// Runs that are asked for at a time.
const PAGE: usize = 100;
/// The largest JUnit document, in bytes: a thousand verifications that failed, with four KiB each, and as many others.
const JUNIT_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// Open a run: a prefix of endpoint codes of its own, so that parallel jobs never meet.
    Open(OpenArgs),
    /// List runs, the newest first.
    List(ListArgs),
    /// Show one.
    Show(ShowArgs),
    /// Close one, and show what it came to. Exit code 1: a verification in it failed.
    Close(CloseArgs),
    /// Show what one came to, or as it stands now.
    Summary(SummaryArgs),
    /// Forget runs; one that is open is closed first.
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub struct OpenArgs {
    /// What people are to know it by.
    name: String,
    /// A label, for people and programs; may be said several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,
    /// After that time it is closed by itself: a number and `s`, `m`, `h` or `d`, up to 7d.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = span)]
    ttl: Duration,
    /// Remove what it caught when it is closed.
    #[arg(long)]
    remove_captures: bool,
    /// Make a token that sees this run alone, until it is closed.
    #[arg(long)]
    with_token: bool,
    /// A document of `rules` and `endpoints`, JSON or YAML, whose names stand behind the run's prefix; `-` is
    /// stdin.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// How it is shown; the token is shown this once.
    #[arg(long, value_enum, default_value_t)]
    output: OpenFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How a run is shown that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum OpenFormat {
    /// For people.
    #[default]
    Text,
    /// As the API shows it.
    Json,
    /// Lines for a shell: `eval "$(creel runs open ci --output env)"` sets CREEL_RUN, CREEL_TOKEN (where one was
    /// made), CREEL_RUN_PREFIX and CREEL_RUN_URL.
    Env,
    /// The same as NAME=value, for files of variables: `>>"$GITHUB_ENV"`.
    Dotenv,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Those in this state only.
    #[arg(long, value_parser = ["open", "closing", "closed"])]
    state: Option<String>,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How they are shown.
    #[arg(long, value_enum, default_value_t)]
    output: ListFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How one thing is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// As the API shows it.
    Json,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Which run [env: CREEL_RUN].
    id: Option<String>,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Which run [env: CREEL_RUN].
    id: Option<String>,
    /// Whether what it caught is kept, other than was said when it was opened.
    #[arg(long, value_name = "WHAT", value_parser = ["keep", "remove"])]
    captures: Option<String>,
    /// Write what was verified to this file, as JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// How its summary is shown.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct SummaryArgs {
    /// Which run [env: CREEL_RUN].
    id: Option<String>,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: SummaryFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How a summary is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum SummaryFormat {
    /// For people.
    #[default]
    Text,
    /// As the API shows it.
    Json,
    /// As JUnit XML.
    Junit,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// Ids, as `list` shows them.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(command: RunsCommand, before: NodeArgs) -> ExitCode {
    let node = match &command {
        RunsCommand::Open(args) => &args.node,
        RunsCommand::List(args) => &args.node,
        RunsCommand::Show(args) => &args.node,
        RunsCommand::Close(args) => &args.node,
        RunsCommand::Summary(args) => &args.node,
        RunsCommand::Rm(args) => &args.node,
    };
    session::run(node.clone().over(before), async |session: &Session| match &command {
        RunsCommand::Open(args) => open(args, session).await,
        RunsCommand::List(args) => list(args, session).await,
        RunsCommand::Show(args) => show(args, session).await,
        RunsCommand::Close(args) => close(args, session).await,
        RunsCommand::Summary(args) => sum_up(args, session).await,
        RunsCommand::Rm(args) => session.remove_each("/api/runs", &args.ids).await,
    })
}

async fn open(args: &OpenArgs, session: &Session) -> Outcome {
    let labels: Map<String, Value> =
        args.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let captures = if args.remove_captures { "remove" } else { "keep" };
    let mut order = json!({"name": args.name, "labels": labels, "ttl_s": args.ttl.as_secs(), "captures": captures,
        "token": args.with_token});
    if let Some(file) = &args.rules {
        order["config"] = read_document(file).await?;
    }
    let ask = Ask::new(Method::POST, "/api/runs").json(&order);
    let run = session.api.json(ask).await.map_err(|failure| match &failure {
        Failure::Refused(refusal) if refusal.kind == "invalid-configuration" => {
            Failed { exit: Exit::Not, ..failure.into() }
        }
        _ => failure.into(),
    })?;
    match args.output {
        OpenFormat::Json => session.terminal.line(&run.to_string())?,
        OpenFormat::Env => session.terminal.write(exports(&run).as_bytes())?,
        OpenFormat::Dotenv => session.terminal.write(assignments(&run).as_bytes())?,
        OpenFormat::Text => session.terminal.write(summary::run(&run, &session.terminal).as_bytes())?,
    }
    Ok(Exit::Done)
}

/// What a shell is to take over.
fn exports(run: &Value) -> String {
    variables(run)
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', "'\\''")))
        .collect()
}

/// The same for a file. None of the values has a line's end in it.
fn assignments(run: &Value) -> String {
    variables(run).map(|(name, value)| format!("{name}={value}\n")).collect()
}

fn variables(run: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    let variables = [
        ("CREEL_RUN", "id"),
        ("CREEL_TOKEN", "token"),
        ("CREEL_RUN_PREFIX", "prefix"),
        ("CREEL_RUN_URL", "url_prefix"),
    ];
    variables.into_iter().filter_map(|(name, member)| Some((name, run[member].as_str()?)))
}

async fn list(args: &ListArgs, session: &Session) -> Outcome {
    let ask = |cursor: Option<&str>, limit: usize| {
        Ask::get("/api/runs")
            .with("state", args.state.as_deref())
            .with("limit", Some(&limit.min(PAGE).to_string()))
            .with("cursor", cursor)
    };
    let runs = session.list("runs", args.limit as usize, ask);
    let row = |run: &Value| {
        let fact = |name: &str| plain_line(run[name].as_str().unwrap_or_default());
        vec![fact("id"), fact("state"), fact("opened"), fact("prefix"), fact("name")]
    };
    session.show_list(args.output, &["ID", "STATE", "OPENED", "PREFIX", "NAME"], runs.await?, row)
}

async fn show(args: &ShowArgs, session: &Session) -> Outcome {
    let run = session.api.json(Ask::get(path(args.id.as_deref(), "")?)).await?;
    match args.output {
        Format::Json => session.terminal.line(&run.to_string())?,
        Format::Text => session.terminal.write(summary::run(&run, &session.terminal).as_bytes())?,
    }
    Ok(Exit::Done)
}

async fn close(args: &CloseArgs, session: &Session) -> Outcome {
    let id = args.id.as_deref();
    // Asked for before as well: a run's own token is good for nothing once it is closed. It is closed in any case: one that
    // has caught too much to be summed up while it is open, too.
    let before = match &args.junit {
        Some(_) => Some(junit(id, session).await),
        None => None,
    };
    let order = args.captures.as_ref().map_or_else(|| json!({}), |what| json!({ "captures": what }));
    let closed = session.api.json(Ask::new(Method::POST, path(id, "/close")?).json(&order)).await?;
    if let (Some(file), Some(before)) = (&args.junit, before) {
        let document = match junit(id, session).await {
            Err(failed) if failed.exit == Exit::Unreachable => before?,
            document => document?,
        };
        save(file, &document)?;
    }
    match args.output {
        Format::Json => session.terminal.line(&closed.to_string())?,
        Format::Text => session.terminal.write(summary::text(&closed, &session.terminal).as_bytes())?,
    }
    match closed["verifications"]["failed"].as_u64() {
        Some(0) | None => Ok(Exit::Done),
        Some(failed) => {
            let made = &closed["verifications"]["made"];
            Err(Failed::not(format!("{failed} of {made} verifications in the run failed")))
        }
    }
}

async fn sum_up(args: &SummaryArgs, session: &Session) -> Outcome {
    let id = args.id.as_deref();
    if args.output == SummaryFormat::Junit {
        session.terminal.write(&junit(id, session).await?)?;
        return Ok(Exit::Done);
    }
    let found = session.api.json(Ask::get(path(id, "/summary")?)).await?;
    match args.output {
        SummaryFormat::Json => session.terminal.line(&found.to_string())?,
        _ => session.terminal.write(summary::text(&found, &session.terminal).as_bytes())?,
    }
    Ok(Exit::Done)
}

async fn junit(id: Option<&str>, session: &Session) -> Outcome<Vec<u8>> {
    let ask = Ask::get(path(id, "/summary")?).with("format", Some("junit")).accept("application/xml");
    Ok(session.api.bytes(ask, JUNIT_BYTES_MAX).await?.to_vec())
}

fn save(file: &Path, document: &[u8]) -> Outcome<()> {
    std::fs::write(file, document)
        .map_err(|error| Failed::not(format!("failed to write {}: {error}", file.display())))
}

/// The path of the run that is named, by the command or by the variable.
fn path(id: Option<&str>, behind: &str) -> Outcome<String> {
    let id = run_of(id).ok_or_else(|| {
        Failed::usage("no run is named")
            .hint("name one by its id, or by CREEL_RUN; `creel runs list` shows them")
    })?;
    Ok(format!("/api/runs/{}{behind}", escaped(&id)))
}

/// `NAME=VALUE`
fn label(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(name, _)| !name.is_empty());
    parts
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "NAME=VALUE is expected, as branch=main".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shell_takes_over_cannot_run_in_it() {
        let run = json!({"id": "r", "token": null, "prefix": "run-a-", "url_prefix": "http://h/'; rm -rf $HOME; '"});
        let expected = "export CREEL_RUN='r'\nexport CREEL_RUN_PREFIX='run-a-'\n\
                        export CREEL_RUN_URL='http://h/'\\''; rm -rf $HOME; '\\'''\n";
        assert_eq!(exports(&run), expected);
    }

    #[test]
    fn a_label_has_a_name() {
        assert_eq!(label("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(label("a").is_err() && label("=b").is_err());
    }
}
