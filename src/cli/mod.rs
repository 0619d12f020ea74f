//! The command line: a file a subcommand. Some run or mend a node and read its settings; the others ask a
//! node, as [`session`] tells.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, InvalidSettings, Settings, Source};

mod captures;
mod diff;
mod docs;
mod exit;
mod healthcheck;
mod listen;
mod logging;
mod migrate;
mod replay;
mod send;
mod serve;
mod session;
mod show;
mod terminal;
mod token;

use session::NodeArgs;

/// Catches every HTTP request sent to it, keeps it, answers it, and shows it live.
///
/// Without a subcommand, `creel` serves: one node on 127.0.0.1:9669, SQLite in ./creel-data, nothing else.
#[derive(Debug, Parser)]
#[command(name = "creel", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::ServeArgs,
    #[command(flatten)]
    node: NodeArgs,
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
    /// Watch what is caught, as it is caught, and send it on.
    Listen(Box<listen::ListenArgs>),
    /// Send what was caught again, somewhere else.
    Replay(Box<replay::ReplayArgs>),
    /// Compose a request, and send it to an endpoint or anywhere.
    Send(Box<send::SendArgs>),
    /// Show in what two captures differ. Exit code 0: in nothing, 1: they differ.
    Diff(diff::DiffArgs),
    /// List, show and remove what was caught.
    #[command(subcommand)]
    Captures(captures::CapturesCommand),
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

/// The flags of `creel` without a subcommand.
const SERVE_FLAGS: [&str; 5] = ["config", "database", "listen", "broker", "check_config"];

/// Runs the command line and returns the exit code: 0 done, 1 failed, 2 wrong usage or settings; commands that
/// ask a node have those of [`exit::Exit`].
pub fn run() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    check_place(&matches, cli.command.as_ref(), &cli.node);
    let node = cli.node;
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Migrate(args)) => migrate::run(&args),
        Some(Command::Token(command)) => token::run(&command),
        Some(Command::Healthcheck(args)) => healthcheck::run(&args),
        Some(Command::SettingsReference) => docs::settings(),
        Some(Command::Listen(args)) => listen::run(*args, node),
        Some(Command::Replay(args)) => replay::run(*args, node),
        Some(Command::Send(args)) => send::run(*args, node),
        Some(Command::Diff(args)) => diff::run(args, node),
        Some(Command::Captures(command)) => captures::run(command, node),
    }
}

/// Ends the process where a flag stands in front of a subcommand that it is not for.
fn check_place(matches: &ArgMatches, command: Option<&Command>, node: &NodeArgs) {
    let said = |flag: &&str| matches.value_source(flag) == Some(ValueSource::CommandLine);
    let refuse = |text: String| Cli::command().error(ErrorKind::ArgumentConflict, text).exit();
    if let Some(flag) = SERVE_FLAGS.iter().find(|flag| command.is_some() && said(flag)) {
        let flag = flag.replace('_', "-");
        refuse(format!(
            "--{flag} cannot stand before a subcommand; say it behind, where the subcommand has it"
        ));
    }
    if node.is_given() && !command.is_some_and(Command::asks_a_node) {
        refuse("--url and --token are for the commands that ask a node, as `creel captures list`".to_owned());
    }
}

impl Command {
    /// Whether it works through the API of a node, and not on a database or on nothing.
    fn asks_a_node(&self) -> bool {
        match self {
            Self::Serve(_)
            | Self::Migrate(_)
            | Self::Token(_)
            | Self::Healthcheck(_)
            | Self::SettingsReference => false,
            Self::Listen(_) | Self::Replay(_) | Self::Send(_) | Self::Diff(_) | Self::Captures(_) => true,
        }
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
