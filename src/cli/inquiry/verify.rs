//! `creel verify`: whether what was caught is as it is claimed to be.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{AnswerFormat, CountArgs, Members, SelectionArgs, check_place, expression, warn_of_closed};
use crate::cli::document::{named, read_document};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::session::{self, NodeArgs, Session};
use crate::cli::span::{ms, span};
use crate::cli::terminal::{plain_line, table};
use crate::client::Ask;

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: every claim holds; 1: one does not, or is not decided; 2: wrong usage; 3: no node, or not allowed."
)]
pub struct VerifyArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// A document of claims as the API takes it, JSON or YAML; `-` is stdin. What flags say stands above it, and
    /// their claims are added.
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// What people call this, for the summary of its run.
    #[arg(long)]
    name: Option<String>,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t)]
    output: AnswerFormat,
    #[command(flatten)]
    claims: ClaimArgs,
    #[command(flatten)]
    node: NodeArgs,
}

/// The claims that can be made by flags; all are about what `--match` leaves.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Claims")]
struct ClaimArgs {
    #[command(flatten)]
    count: CountArgs,
    /// Said several times: captures that match these come in this order.
    #[arg(long, value_name = "EXPRESSION")]
    in_order: Vec<String>,
    /// No others come between those in order.
    #[arg(long, requires = "in_order")]
    no_others: bool,
    /// What never repeats: `header.NAME`, `query.NAME` or `json.PATH`, as `json.$.id`.
    #[arg(long, value_name = "KEY", value_parser = key)]
    unique_by: Vec<Value>,
    /// The shortest time between two.
    #[arg(long, value_name = "TIME", value_parser = span)]
    spacing_least: Option<Duration>,
    /// The longest time between two.
    #[arg(long, value_name = "TIME", value_parser = span)]
    spacing_most: Option<Duration>,
    /// Each time between two is longer than the one before.
    #[arg(long)]
    spacing_growing: bool,
}

pub fn run(args: VerifyArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| verify(&args, session).await)
}

async fn verify(args: &VerifyArgs, session: &Session) -> Outcome {
    let order = order(args).await?;
    let run = order.get("run").cloned();
    let ask = Ask::new(Method::POST, "/api/captures/verify").json(&Value::Object(order));
    let answer = session.api.json(ask).await?;
    warn_of_closed(session, run.as_ref()).await;
    tell(args, session, &answer)
}

async fn order(args: &VerifyArgs) -> Outcome<Members> {
    let mut order = match &args.file {
        None => Members::new(),
        // 1 would say that a claim does not hold.
        Some(file) => {
            match read_document(file).await.map_err(|failed| Failed { exit: Exit::Usage, ..failed })? {
                Value::Object(members) => members,
                _ => return Err(Failed::usage(format!("{} is no object with `claims`", named(file)))),
            }
        }
    };
    order.append(&mut args.selection.members().await?);
    for (name, text) in [("until", &args.until), ("name", &args.name)] {
        if let Some(text) = text {
            order.insert(name.to_owned(), text.as_str().into());
        }
    }
    check_place(&order)?;
    let made = args.claims.claims().await?;
    match order.entry("claims").or_insert_with(|| json!([])) {
        Value::Array(claims) => claims.extend(made),
        // What is no list is for the node to refuse.
        _ if made.is_empty() => {}
        _ => return Err(Failed::usage("`claims` in the file is no list, so that none can be added")),
    }
    match order["claims"].as_array().is_some_and(Vec::is_empty) {
        true => Err(Failed::usage("nothing is claimed").hint(
            "claim something, as --exactly 3, --in-order A --in-order B, --unique-by header.x; or give -f FILE",
        )),
        false => Ok(order),
    }
}

impl ClaimArgs {
    async fn claims(&self) -> Outcome<Vec<Value>> {
        let mut claims: Vec<Value> =
            self.count.value().map(|count| json!({ "count": count })).into_iter().collect();
        if !self.in_order.is_empty() {
            let mut steps = Vec::new();
            for step in &self.in_order {
                steps.push(expression(step).await?);
            }
            claims.push(json!({"in_order": steps, "others": !self.no_others}));
        }
        claims.extend(self.unique_by.iter().map(|key| json!({ "unique_by": key })));
        let mut spacing = Map::new();
        for (name, span) in [("least_ms", self.spacing_least), ("most_ms", self.spacing_most)] {
            spacing.extend(span.map(|span| (name.to_owned(), ms(span).into())));
        }
        if self.spacing_growing {
            spacing.insert("growing".to_owned(), true.into());
        }
        if !spacing.is_empty() {
            claims.push(json!({ "spacing": spacing }));
        }
        Ok(claims)
    }
}

/// `header.idempotency-key` as the API takes it.
fn key(text: &str) -> Result<Value, String> {
    match text.split_once('.') {
        Some((place @ ("header" | "query" | "json"), name)) if !name.is_empty() => Ok(json!({ place: name })),
        _ => {
            Err("`header.NAME`, `query.NAME` or `json.PATH` is expected, as header.idempotency-key"
                .to_owned())
        }
    }
}

fn tell(args: &VerifyArgs, session: &Session, answer: &Value) -> Outcome {
    let claims = answer["claims"].as_array().map(Vec::as_slice).unwrap_or_default();
    match args.output {
        AnswerFormat::Json => session.terminal.json_line(&answer.to_string())?,
        AnswerFormat::Table => {
            let rows: Vec<_> = claims.iter().map(row).collect();
            session.terminal.write(table(&["HOLDS", "CLAIM", "FOUND", "WHY"], &rows).as_bytes())?;
        }
    }
    let scanned = answer["scanned"].as_u64().unwrap_or_default();
    let broken: Vec<&Value> = claims.iter().filter(|claim| claim["holds"] != true).collect();
    match answer["outcome"].as_str().unwrap_or_default() {
        "satisfied" => {
            session.terminal.say(&format!("satisfied: {} looked at", super::captures(scanned)));
            Ok(Exit::Done)
        }
        outcome => {
            let mut text = format!("{outcome}: {} of {} claims do not hold", broken.len(), claims.len());
            broken.iter().for_each(|claim| text.push_str(&why(claim)));
            let failed = Failed::not(text);
            Err(match outcome {
                "incomplete" if answer["gave_up"].is_u64() => {
                    failed.hint("it took too long to tell whether some captures match: simplify the expressions")
                }
                "incomplete" => failed.hint(
                    "more were caught than a node looks at for one answer: name endpoints, or a later --since",
                ),
                _ => failed,
            })
        }
    }
}

/// What a claim is called: its name, or its form.
fn title(claim: &Value) -> String {
    let form = claim["claim"].as_str().unwrap_or_default();
    plain_line(claim["name"].as_str().unwrap_or(form))
}

fn row(claim: &Value) -> Vec<String> {
    let holds = match claim["holds"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let why = plain_line(claim["why"].as_str().unwrap_or_default());
    vec![holds.to_owned(), title(claim), claim["found"].to_string(), why]
}

/// Why it does not hold, with the captures that break it.
fn why(claim: &Value) -> String {
    let mut text =
        format!("\n  {}: {}", title(claim), plain_line(claim["why"].as_str().unwrap_or("undecided")));
    for capture in claim["captures"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let fact = |name: &str| plain_line(capture[name].as_str().unwrap_or_default());
        let facts = [fact("id"), fact("endpoint"), fact("received"), fact("how")];
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        write!(text, "\n    {}", facts.join("  ")).unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_where_its_value_stands() {
        assert_eq!(key("header.idempotency-key"), Ok(json!({"header": "idempotency-key"})));
        assert_eq!(key("json.$.order.id"), Ok(json!({"json": "$.order.id"})));
        for text in ["", "header", "header.", "cookie.a", "$.id"] {
            assert!(key(text).is_err(), "{text}");
        }
    }
}
