//! `creel endpoints`: those that have caught something or were declared, and their settings.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};

use super::exit::{Exit, Outcome};
use super::listing::{DocumentFormat, ListArgs};
use super::session::{self, NodeArgs, Session};
use super::terminal::plain_line;
use crate::client::Ask;
use crate::client::api::escaped;

/// Endpoints that are asked for at a time.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub enum EndpointsCommand {
    /// List endpoints by their codes, with what they have caught.
    List(ListArgs),
    /// Show the settings of one.
    Show(ShowArgs),
    /// Declare one that is not there yet, without settings: under its code, or under one that nobody has.
    New(NewArgs),
    /// Save the settings of one.
    Save(SaveArgs),
    /// Remove the settings of some; what they caught stays.
    Rm(RmArgs),
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Its code.
    code: String,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: DocumentFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct NewArgs {
    /// Its code; a random one where none is said.
    code: Option<String>,
    /// How it is shown.
    #[arg(long, value_enum, default_value_t)]
    output: DocumentFormat,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
pub struct SaveArgs {
    /// Its code.
    code: String,
    /// Its settings, JSON or YAML; `-` is stdin. What `show` shows can be saved.
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
    /// Their codes.
    #[arg(required = true, value_name = "CODE")]
    codes: Vec<String>,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(command: EndpointsCommand, before: NodeArgs) -> ExitCode {
    let node = match &command {
        EndpointsCommand::List(args) => &args.node,
        EndpointsCommand::Show(args) => &args.node,
        EndpointsCommand::New(args) => &args.node,
        EndpointsCommand::Save(args) => &args.node,
        EndpointsCommand::Rm(args) => &args.node,
    };
    session::run(node.clone().over(before), async |session: &Session| match &command {
        EndpointsCommand::List(args) => list(args, session).await,
        EndpointsCommand::Show(args) => session.show_document(path(&args.code), args.output).await,
        EndpointsCommand::New(args) => new(args, session).await,
        EndpointsCommand::Save(args) => {
            session.save_document(path(&args.code), &args.file, args.output).await
        }
        EndpointsCommand::Rm(args) => session.remove_each("/api/endpoints", &args.codes).await,
    })
}

fn path(code: &str) -> String {
    format!("/api/endpoints/{}", escaped(code))
}

async fn list(args: &ListArgs, session: &Session) -> Outcome {
    let ask = |cursor: Option<&str>, limit: usize| {
        Ask::get("/api/endpoints").with("limit", Some(&limit.min(PAGE).to_string())).with("cursor", cursor)
    };
    let endpoints = session.list("endpoints", args.limit as usize, ask).await?;
    let row = |endpoint: &Value| {
        let fact = |name: &str| plain_line(endpoint[name].as_str().unwrap_or("-"));
        let number = |name: &str| endpoint[name].to_string();
        vec![fact("code"), number("captures"), number("bytes"), fact("last_capture"), fact("url")]
    };
    session.show_list(args.output, &["CODE", "CAPTURES", "BYTES", "LAST CAPTURE", "URL"], endpoints, row)
}

async fn new(args: &NewArgs, session: &Session) -> Outcome {
    let order = args.code.as_ref().map_or_else(|| json!({}), |code| json!({ "code": code }));
    let made = session.api.json(Ask::new(Method::POST, "/api/endpoints").json(&order)).await?;
    session.show_as(args.output, &made)?;
    Ok(Exit::Done)
}
