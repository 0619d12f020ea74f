//! `creel count`: how many captures there are, and whether they are as many as they shall be.

use std::process::ExitCode;

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

use super::{AnswerFormat, CountArgs, Members, SelectionArgs, captures, check_place};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::session::{self, NodeArgs, Session};
use crate::client::Ask;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: as many as they shall be, or nothing was said of that; 1: not; 2: wrong usage; 3: no node, or not allowed."
)]
pub struct CountCommandArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    #[command(flatten)]
    count: CountArgs,
    /// How the number is shown.
    #[arg(long, value_enum, default_value_t)]
    output: AnswerFormat,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: CountCommandArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| count(&args, session).await)
}

async fn count(args: &CountCommandArgs, session: &Session) -> Outcome {
    let mut order = args.selection.members().await?;
    check_place(&order)?;
    if let Some(until) = &args.until {
        order.insert("until".to_owned(), until.as_str().into());
    }
    let found = all(session, order).await?;
    match args.output {
        AnswerFormat::Table => session.terminal.line(&found["count"].to_string())?,
        AnswerFormat::Json => session.terminal.json_line(&found.to_string())?,
    }
    let count = found["count"].as_u64().unwrap_or_default();
    match (args.count.allows(count), args.count.text()) {
        (false, Some(wanted)) => {
            Err(Failed::not(format!("{} matched, and {wanted} wanted", captures(count)))
                .hint("`creel find` with the same flags lists them; `creel wait` waits for them"))
        }
        _ => Ok(Exit::Done),
    }
}

/// Asks as often as it takes: an answer looks at so many captures at most.
async fn all(session: &Session, mut order: Members) -> Outcome<Value> {
    let (mut count, mut scanned) = (0, 0);
    loop {
        let ask = Ask::new(Method::POST, "/api/captures/count").json(&Value::Object(order.clone()));
        let answer = session.api.json(ask).await?;
        count += answer["count"].as_u64().unwrap_or_default();
        scanned += answer["scanned"].as_u64().unwrap_or_default();
        match (answer["complete"] == true, &answer["next"]) {
            (false, Value::String(next)) => order.insert("since".to_owned(), next.as_str().into()),
            _ => return Ok(json!({"count": count, "scanned": scanned})),
        };
    }
}
