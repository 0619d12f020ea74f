//! `creel find`: the captures that match.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::Value;

use super::{Members, SelectionArgs, check_place};
use crate::cli::exit::{Exit, Outcome};
use crate::cli::session::{self, ListFormat, NodeArgs, Session};
use crate::cli::show;
use crate::cli::terminal::table;
use crate::client::Ask;

/// Captures that are asked for at a time.
const PAGE: usize = 100;

#[derive(Debug, Args)]
#[command(after_help = "Exit code 0: done, be there any or not; 2: wrong usage; 3: no node, or not allowed.")]
pub struct FindArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The newest first.
    #[arg(long)]
    newest: bool,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// How they are shown.
    #[arg(long, value_enum, default_value_t)]
    output: ListFormat,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: FindArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| find(&args, session).await)
}

async fn find(args: &FindArgs, session: &Session) -> Outcome {
    let mut order = args.selection.members().await?;
    check_place(&order)?;
    if let Some(until) = &args.until {
        order.insert("until".to_owned(), until.as_str().into());
    }
    if args.newest {
        order.insert("order".to_owned(), "newest".into());
    }
    Finder::new(order, args.limit as usize).show_all(args.output, session).await
}

/// Finds page by page: an answer looks at so many captures at most, and shows so many.
pub struct Finder {
    order: Option<Members>,
    left: usize,
}

impl Finder {
    /// That finds so many at most.
    pub fn new(order: Members, limit: usize) -> Self {
        Self { order: Some(order), left: limit }
    }

    /// Shows all of them.
    pub async fn show_all(mut self, format: ListFormat, session: &Session) -> Outcome {
        let mut rows = Vec::new();
        while let Some(page) = self.next(session).await? {
            match format {
                ListFormat::Table => rows.extend(show::rows(&page)?),
                ListFormat::Json => {
                    for capture in page["captures"].as_array().map(Vec::as_slice).unwrap_or_default() {
                        session.terminal.json_line(&capture.to_string())?;
                    }
                }
            }
        }
        if format == ListFormat::Table {
            session.terminal.write(table(&show::HEAD, &rows).as_bytes())?;
        }
        Ok(Exit::Done)
    }

    /// The next page, which may hold nothing; None behind the last.
    pub async fn next(&mut self, session: &Session) -> Outcome<Option<Value>> {
        let Some(mut order) = self.order.take().filter(|_| self.left > 0) else { return Ok(None) };
        order.insert("limit".to_owned(), self.left.min(PAGE).into());
        let ask = Ask::new(Method::POST, "/api/captures/find").json(&Value::Object(order.clone()));
        let page = session.api.json(ask).await?;
        self.left = self.left.saturating_sub(page["captures"].as_array().map_or(0, Vec::len));
        if let Value::String(next) = &page["next"] {
            order.insert("cursor".to_owned(), next.as_str().into());
            self.order = Some(order);
        }
        Ok(Some(page))
    }
}
