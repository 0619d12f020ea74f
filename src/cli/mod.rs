//! The command line: a file a subcommand.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, InvalidSettings, Settings, Source};

mod docs;
mod healthcheck;
mod logging;
mod migrate;
mod serve;
mod token;

/// Catches every HTTP request sent to it, keeps it, answers it, and shows it live.
///
/// Without a subcommand, `creel` serves: one node on 127.0.0.1:9669, SQLite in ./creel-data, nothing else.
#[derive(Debug, Parser)]
#[command(name = "creel", version, max_term_width = 100, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: capture, API and streams.
    Serve(serve::ServeArgs),
    /// Bring the database's schema up to date, and end.
    Migrate(SettingsArgs),
    /// Make, list and revoke tokens, in the database itself.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Ask a node whether it is alive; for container health checks. Exit code 0 means it is.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print the reference of settings as Markdown.
    #[command(hide = true)]
    SettingsReference,
}

/// Where settings come from.
#[derive(Debug, Clone, Args)]
struct SettingsArgs {
    /// A TOML file with settings; the reference is docs/settings.md.
    ///
    /// Every setting can be given as an environment variable too: `capture.prefix` is
    /// CREEL_CAPTURE__PREFIX. Flags win over variables, variables over the file.
    #[arg(long, value_name = "FILE", env = "CREEL_CONFIG")]
    config: Option<PathBuf>,
    /// Where captures are kept: sqlite://PATH or postgres://USER:PASSWORD@HOST/NAME.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

impl SettingsArgs {
    fn source(&self) -> Source {
        Source {
            file: self.config.clone(),
            environment: std::env::vars().collect(),
            flags: self.database.iter().map(|url| ("database.url", url.clone())).collect(),
        }
    }
}

/// Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage or settings.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Migrate(args)) => migrate::run(&args),
        Some(Command::Token(command)) => token::run(&command),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args),
        Some(Command::SettingsReference) => docs::settings(),
    }
}

fn load(source: &Source) -> Result<Settings, ExitCode> {
    config::load(source).map_err(|InvalidSettings(mistakes)| {
        complain(&InvalidSettings(mistakes));
        ExitCode::from(2)
    })
}

/// What a command needs that works on the database and serves nothing.
fn prepare(args: &SettingsArgs) -> Result<(Settings, Runtime), ExitCode> {
    let mut source = args.source();
    // Nothing is served, so nothing needs to be guarded.
    source.flags.push(("auth.mode", "none".to_owned()));
    let settings = load(&source)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        complain(&error);
        ExitCode::FAILURE
    })?;
    Ok((settings, runtime))
}

/// Says on stderr what went wrong, with all its causes.
#[expect(clippy::print_stderr, reason = "this is where the command line talks")]
fn complain(error: &dyn std::error::Error) {
    eprint!("creel: {error}");
    let mut source = error.source();
    while let Some(cause) = source {
        eprint!(": {cause}");
        source = cause.source();
    }
    eprintln!();
}
