//! `creel rules`: what answers captures.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit::Outcome;
use super::listing::{DocumentFormat, ListArgs};
use super::session::{self, NodeArgs, Session};
use super::terminal::plain_line;
use crate::client::Ask;
use crate::client::api::escaped;

/// Rules that are asked for at a time.
const PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub enum RulesCommand {
    /// List rules by their names.
    List(ListArgs),
    /// Show one.
    Show(ShowArgs),
    /// Save one; it is in force for the next request, on every node.
    Save(SaveArgs),
    /// Remove rules.
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its name.
    name: String,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: DocumentFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Its name.
    name: String,
    /// The rule, JSON or YAML; `-` is stdin. What `show` shows can be saved.
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// How it is shown then.
    #[arg(long, value_enum, default_value_t)]
    output: DocumentFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct RmArgs {
    /// Their names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(command: RulesCommand, before: NodeArgs) -> ExitCode {
    let node = match &command {
        RulesCommand::List(args) => &args.node,
        RulesCommand::Show(args) => &args.node,
        RulesCommand::Save(args) => &args.node,
        RulesCommand::Rm(args) => &args.node,
    };
    session::run(node.clone().over(before), async |session: &Session| match &command {
        RulesCommand::List(args) => list(args, session).await,
        RulesCommand::Show(args) => session.show_document(path(&args.name), args.output).await,
        RulesCommand::Save(args) => session.save_document(path(&args.name), &args.file, args.output).await,
        RulesCommand::Rm(args) => session.remove_each("/api/rules", &args.names).await,
    })
}

fn path(name: &str) -> String {
    format!("/api/rules/{}", escaped(name))
}

async fn list(args: &ListArgs, session: &Session) -> Outcome {
    let ask = |cursor: Option<&str>, limit: usize| {
        Ask::get("/api/rules").with("limit", Some(&limit.min(PAGE).to_string())).with("cursor", cursor)
    };
    let rules = session.list("rules", args.limit as usize, ask).await?;
    session.show_list(args.output, &["NAME", "ENABLED", "PRIORITY", "SCOPE", "REPLIES"], rules, row)
}

fn row(rule: &Value) -> Vec<String> {
    let scope = match &rule["scope"] {
        Value::Null => "*".to_owned(),
        Value::String(scope) => plain_line(scope),
        scope => plain_line(&scope.to_string()),
    };
    let enabled = if rule["enabled"] == false { "no" } else { "yes" };
    let priority = rule["priority"].as_i64().unwrap_or_default().to_string();
    vec![
        plain_line(rule["name"].as_str().unwrap_or_default()),
        enabled.to_owned(),
        priority,
        scope,
        replies(rule),
    ]
}

/// The statuses that it answers with, in their order.
fn replies(rule: &Value) -> String {
    let status = |reply: &Value| match &reply["status"] {
        Value::Null => "200".to_owned(),
        status => plain_line(&status.to_string()),
    };
    match (&rule["reply"], rule["replies"].as_array()) {
        (_, Some(replies)) => replies.iter().map(status).collect::<Vec<_>>().join(", "),
        (Value::Null, None) => "-".to_owned(),
        (reply, None) => status(reply),
    }
}
