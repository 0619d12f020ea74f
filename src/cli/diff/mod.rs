//! `creel diff`: in what two captures differ.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use self::compare::{Difference, compare};
use super::exit::{Exit, Failed, Outcome};
use super::session::{self, NodeArgs, Session};
use super::terminal::{Ink, Terminal, plain, plain_line};
use crate::client::ShownCapture;

mod compare;
mod exact;
mod structure;

#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The one capture's id.
    #[arg(value_name = "ID")]
    left: String,
    /// The other's.
    #[arg(value_name = "ID")]
    right: String,
    /// A header that may differ, in any case of its letters.
    #[arg(long, value_name = "HEADER")]
    ignore: Vec<String>,
    /// How differences are shown.
    #[arg(long, value_enum, default_value_t)]
    output: DiffFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How differences are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum DiffFormat {
    /// What is on one side alone, behind `-` and `+`.
    #[default]
    Text,
    /// A document.
    Json,
}

pub fn run(args: DiffArgs, before: NodeArgs) -> ExitCode {
    let node = args.node.clone().over(before);
    session::run(node, async |session: &Session| diff(&args, session).await)
}

async fn diff(args: &DiffArgs, session: &Session) -> Outcome {
    let (left, left_body) = load(&args.left, session).await?;
    let (right, right_body) = load(&args.right, session).await?;
    let differences = compare((&left, &left_body), (&right, &right_body), &args.ignore);
    let terminal = &session.terminal;
    let same = differences.is_empty();
    match args.output {
        DiffFormat::Json => {
            let shown: Vec<_> = differences.iter().map(Difference::json).collect();
            let document = json!({ "same": same, "left": left.id, "right": right.id, "differences": shown });
            terminal.json_line(&document.to_string())?;
        }
        DiffFormat::Text if same => {}
        DiffFormat::Text => terminal.write(text(&left, &right, &differences, terminal).as_bytes())?,
    }
    Ok(if same { Exit::Done } else { Exit::Not })
}

/// One that is not there is no difference, but a wrong argument.
async fn load(id: &str, session: &Session) -> Outcome<(ShownCapture, bytes::Bytes)> {
    let missing = |failed: Failed| match failed.exit {
        Exit::Not => Failed { exit: Exit::Usage, message: format!("{id}: {}", failed.message), ..failed },
        _ => failed,
    };
    let capture = session.api.capture(id).await.map_err(|failure| missing(failure.into()))?;
    let body = session.api.body_of(&capture).await.map_err(|failure| missing(failure.into()))?;
    Ok((capture, body))
}

fn text(
    left: &ShownCapture,
    right: &ShownCapture,
    differences: &[Difference],
    terminal: &Terminal,
) -> String {
    let line = |mark: char, text: &str| {
        let ink = match mark {
            '-' => Ink::Bad,
            '+' => Ink::Good,
            _ => Ink::Plain,
        };
        format!("{}\n", terminal.ink(ink, &plain_line(text)))
    };
    let mut text = line('-', &format!("--- {} of {}, {}", left.id, left.endpoint, left.received));
    text += &line('+', &format!("+++ {} of {}, {}", right.id, right.endpoint, right.received));
    for difference in differences {
        text += &format!("{}\n", terminal.ink(Ink::Strong, &plain(difference.at())));
        match difference {
            Difference::Values { left, right, .. } => {
                left.iter().for_each(|value| text += &line('-', &format!("- {value}")));
                right.iter().for_each(|value| text += &line('+', &format!("+ {value}")));
            }
            Difference::Lines { lines } => {
                for (mark, content) in lines {
                    text += &line(*mark, &format!("{mark} {content}"));
                }
            }
        }
    }
    text
}
