//! `creel tokens`: tokens are made, listed and revoked over the API of a node. Where there is no token yet to ask
//! with, or no node runs, `creel token` does it in the database itself.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::exit::{Exit, Outcome};
use super::listing::ListArgs;
use super::session::{self, ListFormat, NodeArgs, Session};
use super::span::span;
use super::terminal::{plain, plain_line};
use crate::client::Ask;

/// Tokens that are asked for at a time.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token, and print its secret: this once, and never again.
    Create(CreateArgs),
    /// List tokens, those that are over too, without their secrets.
    List(ListArgs),
    /// Revoke tokens, at once and for good.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    /// What people are to know it by.
    #[arg(long)]
    name: String,
    /// What it is good for.
    #[arg(long, value_parser = ["read", "write", "admin"])]
    scope: String,
    /// The endpoints that it is for, where it is not for all; `*` is any run of characters.
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// How long it is good for: a number and `s`, `m`, `h` or `d`, as in `30d`. Left out: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = span)]
    expires_in: Option<Duration>,
    /// How it is shown: a table is the secret alone.
    #[arg(long, value_enum, default_value_t)]
    output: ListFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// Ids, as `list` shows them.
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(command: TokensCommand, before: NodeArgs) -> ExitCode {
    let node = match &command {
        TokensCommand::Create(args) => &args.node,
        TokensCommand::List(args) => &args.node,
        TokensCommand::Revoke(args) => &args.node,
    };
    session::run(node.clone().over(before), async |session: &Session| match &command {
        TokensCommand::Create(args) => create(args, session).await,
        TokensCommand::List(args) => list(args, session).await,
        TokensCommand::Revoke(args) => session.remove_each("/api/tokens", &args.ids).await,
    })
}

/// The secret stands alone on stdout, for scripts; what is told of it beside goes to stderr.
async fn create(args: &CreateArgs, session: &Session) -> Outcome {
    let order = json!({"name": args.name, "scope": args.scope, "pattern": args.pattern,
        "expires_in_s": args.expires_in.map(|time| time.as_secs())});
    let made = session.api.json(Ask::new(Method::POST, "/api/tokens").json(&order)).await?;
    let fact = |name: &str| plain(made[name].as_str().unwrap_or_default());
    match args.output {
        ListFormat::Json => session.terminal.json_line(&made.to_string())?,
        ListFormat::Table => {
            session.terminal.say(&format!("{} is not shown again; its id is {}", fact("name"), fact("id")));
            session.terminal.line(&fact("token"))?;
        }
    }
    Ok(Exit::Done)
}

async fn list(args: &ListArgs, session: &Session) -> Outcome {
    let ask = |cursor: Option<&str>, limit: usize| {
        Ask::get("/api/tokens").with("limit", Some(&limit.min(PAGE).to_string())).with("cursor", cursor)
    };
    let tokens = session.list("tokens", args.limit as usize, ask).await?;
    let row = |token: &Value| {
        let fact = |name: &str, none: &str| plain_line(token[name].as_str().unwrap_or(none));
        let until = match token["revoked"].is_string() {
            true => "revoked".to_owned(),
            false => fact("expires", "revoked by hand"),
        };
        vec![fact("id", "-"), fact("scope", "-"), until, fact("pattern", "all endpoints"), fact("name", "-")]
    };
    session.show_list(args.output, &["ID", "SCOPE", "GOOD UNTIL", "PATTERN", "NAME"], tokens, row)
}
