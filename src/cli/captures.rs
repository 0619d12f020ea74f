//! `creel captures`: list, show and remove what was caught.

use std::process::ExitCode;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use hyper::Method;
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::inquiry::find::Finder;
use super::inquiry::{Members, run_of};
use super::session::{self, ListFormat, NodeArgs, Session};
use super::show;
use super::terminal::{plain, table};
use crate::client::Ask;
use crate::client::api::escaped;

/// Captures that are asked for at a time.
const PAGE: usize = 100;
/// The largest document of one capture, in bytes.
const DOCUMENT_BYTES_MAX: usize = 512 * 1024 * 1024;

#[derive(Debug, Subcommand)]
pub enum CapturesCommand {
    /// List captures, the newest first.
    List(ListArgs),
    /// Show one, with its headers and its body.
    Show(ShowArgs),
    /// Remove captures, for good.
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of this endpoint only. In a run it stands behind its prefix.
    #[arg(long, value_name = "CODE")]
    endpoint: Option<String>,
    /// Of this run only. An empty text is none [env: CREEL_RUN].
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// With this method only, in its exact letters.
    #[arg(long)]
    method: Option<String>,
    /// Received at this instant or later (RFC 3339).
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The oldest first.
    #[arg(long)]
    oldest: bool,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How they are shown.
    #[arg(long, value_enum, default_value_t)]
    output: ListFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The capture's id, as `list` shows it.
    id: String,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: ShowFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How one capture is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum ShowFormat {
    /// For people.
    #[default]
    Text,
    /// As the API shows it, with the whole body.
    Json,
    /// The request as HTTP text, with the whole body.
    Raw,
    /// The body alone, as it came.
    Body,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["ids", "endpoint"])))]
pub struct RmArgs {
    /// Ids, as `list` shows them.
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// All that this endpoint has caught, by its whole code.
    #[arg(long, value_name = "CODE")]
    endpoint: Option<String>,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(command: CapturesCommand, before: NodeArgs) -> ExitCode {
    match command {
        CapturesCommand::List(args) => {
            session::run(args.node.clone().over(before), async |session: &Session| list(&args, session).await)
        }
        CapturesCommand::Show(args) => {
            session::run(args.node.clone().over(before), async |session: &Session| show(&args, session).await)
        }
        CapturesCommand::Rm(args) => {
            session::run(args.node.clone().over(before), async |session: &Session| {
                remove(&args, session).await
            })
        }
    }
}

async fn list(args: &ListArgs, session: &Session) -> Outcome {
    if let Some(run) = run_of(args.run.as_deref()) {
        return list_of_run(args, run, session).await;
    }
    let mut left = args.limit as usize;
    let mut cursor: Option<String> = None;
    let mut rows = Vec::new();
    loop {
        let ask = Ask::get("/api/captures")
            .with("endpoint", args.endpoint.as_deref())
            .with("method", args.method.as_deref())
            .with("from", args.from.as_deref())
            .with("until", args.until.as_deref())
            .with("order", args.oldest.then_some("oldest"))
            .with("limit", Some(&left.min(PAGE).to_string()))
            .with("cursor", cursor.as_deref());
        let page = session.api.json(ask).await?;
        let captures = page["captures"].as_array().map(Vec::as_slice).unwrap_or_default();
        for capture in captures {
            match args.output {
                ListFormat::Json => session.terminal.json_line(&capture.to_string())?,
                ListFormat::Table => rows.push(show::row(&show::read(capture)?)),
            }
        }
        left = left.saturating_sub(captures.len());
        cursor = page["next"].as_str().map(str::to_owned);
        if cursor.is_none() || left == 0 {
            break;
        }
    }
    if args.output == ListFormat::Table {
        session.terminal.write(table(&show::HEAD, &rows).as_bytes())?;
    }
    Ok(Exit::Done)
}

/// The same within a run, which the listing of the API does not know.
async fn list_of_run(args: &ListArgs, run: String, session: &Session) -> Outcome {
    let order = if args.oldest { "oldest" } else { "newest" };
    let mut members =
        Members::from_iter([("run".to_owned(), run.into()), ("order".to_owned(), order.into())]);
    for (name, value) in [("endpoint", &args.endpoint), ("since", &args.from), ("until", &args.until)] {
        members.extend(value.as_deref().map(|value| (name.to_owned(), value.into())));
    }
    let method = args.method.as_ref().map(|method| json!({"at": "method", "equals": method}));
    members.extend(method.map(|method| ("match".to_owned(), method)));
    Finder::new(members, args.limit as usize).show_all(args.output, session).await
}

async fn show(args: &ShowArgs, session: &Session) -> Outcome {
    if args.output == ShowFormat::Json {
        let ask = Ask::get(format!("/api/captures/{}", escaped(&args.id)));
        let document = session.api.bytes(ask, DOCUMENT_BYTES_MAX).await?;
        session.terminal.json_line(&String::from_utf8_lossy(&document))?;
        return Ok(Exit::Done);
    }
    let capture = session.api.capture(&args.id).await?;
    let data = match args.output {
        ShowFormat::Raw => show::http_text(&capture, &session.api.body_of(&capture).await?),
        ShowFormat::Body => session.api.body_of(&capture).await?.to_vec(),
        _ => show::page(&capture, &session.terminal).into_bytes(),
    };
    if session.terminal.is_terminal && args.output != ShowFormat::Text {
        // Somebody else's octets do nothing to the terminal.
        session.terminal.line(&plain(&String::from_utf8_lossy(&data).replace("\r\n", "\n")))?;
    } else {
        session.terminal.write(&data)?;
    }
    Ok(Exit::Done)
}

async fn remove(args: &RmArgs, session: &Session) -> Outcome {
    if let Some(code) = &args.endpoint {
        let target = format!("/api/endpoints/{}/captures", escaped(code));
        session.api.json(Ask::new(Method::DELETE, target)).await?;
        session.terminal.say(&format!("removed all that {} has caught", plain(code)));
        return Ok(Exit::Done);
    }
    session.remove_each("/api/captures", &args.ids).await
}
