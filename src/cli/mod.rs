//! The command line: a file a subcommand. Some run or mend a node and read its settings; the others ask a
//! node, as [`session`] tells.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::Runtime;

use crate::config::{self, Settings, Source};

mod captures;
mod completions;
mod configuration;
mod diff;
mod docs;
mod document;
mod endpoints;
mod exit;
mod export;
mod healthcheck;
mod inquiry;
mod listen;
mod listing;
mod logging;
mod migrate;
mod replay;
mod rules;
mod runs;
mod send;
mod serve;
mod session;
mod show;
mod span;
mod summary;
mod terminal;
mod token;
mod tokens;

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
    /// Make, list and revoke tokens in the database itself, where no token or no node is there yet to ask (see
    /// `tokens`).
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
    /// Wait until captures arrive that match.
    Wait(Box<inquiry::wait::WaitArgs>),
    /// Verify that what was caught is as it is claimed to be.
    Verify(Box<inquiry::verify::VerifyArgs>),
    /// Count captures that match.
    Count(Box<inquiry::count::CountCommandArgs>),
    /// Find captures that match.
    Find(Box<inquiry::find::FindArgs>),
    /// Open, list, show, close and sum up runs: stretches of testing that have endpoints of their own.
    #[command(subcommand)]
    Runs(runs::RunsCommand),
    /// List, show and remove what was caught.
    #[command(subcommand)]
    Captures(captures::CapturesCommand),
    /// List endpoints; show, save and remove their settings.
    #[command(subcommand)]
    Endpoints(endpoints::EndpointsCommand),
    /// List, show, save and remove rules.
    #[command(subcommand)]
    Rules(rules::RulesCommand),
    /// Make, list and revoke tokens over the API of a node, with a token of the scope `admin` (see `token`).
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Make endpoints and rules as a document says, all or nothing.
    Apply(configuration::ApplyArgs),
    /// Print all endpoints and rules as one document, which `apply` takes.
    Config(configuration::ConfigArgs),
    /// Print captures as curl commands, HTTP text or lines of JSON.
    Export(Box<export::ExportArgs>),
    /// Print what a shell needs to complete commands and flags.
    #[command(after_help = completions::HELP)]
    Completions {
        /// For which shell.
        #[arg(value_enum)]
        shell: completions::Shell,
    },
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
    let matches = Cli::command().try_get_matches().unwrap_or_else(|error| {
        if error.use_stderr() && opens_for_a_shell(std::env::args_os()) {
            runs::unset();
        }
        error.exit()
    });
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
        Some(Command::Wait(args)) => inquiry::wait::run(*args, node),
        Some(Command::Verify(args)) => inquiry::verify::run(*args, node),
        Some(Command::Count(args)) => inquiry::count::run(*args, node),
        Some(Command::Find(args)) => inquiry::find::run(*args, node),
        Some(Command::Runs(command)) => runs::run(command, node),
        Some(Command::Captures(command)) => captures::run(command, node),
        Some(Command::Endpoints(command)) => endpoints::run(command, node),
        Some(Command::Rules(command)) => rules::run(command, node),
        Some(Command::Tokens(command)) => tokens::run(command, node),
        Some(Command::Apply(args)) => configuration::run(args, node),
        Some(Command::Config(args)) => configuration::show(args, node),
        Some(Command::Export(args)) => export::run(*args, node),
        Some(Command::Completions { shell }) => completions::run(shell),
    }
}

/// Whether this is meant as `eval "$(creel runs open ... --output env)"`, whatever else is wrong with it.
fn opens_for_a_shell(arguments: impl Iterator<Item = OsString>) -> bool {
    let arguments: Vec<OsString> = arguments.collect();
    let has = |first: &str, then: &str| arguments.windows(2).any(|pair| pair[0] == first && pair[1] == then);
    has("runs", "open") && (has("--output", "env") || arguments.iter().any(|it| it == "--output=env"))
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
            | Self::Completions { .. }
            | Self::SettingsReference => false,
            Self::Listen(_)
            | Self::Replay(_)
            | Self::Send(_)
            | Self::Diff(_)
            | Self::Wait(_)
            | Self::Verify(_)
            | Self::Count(_)
            | Self::Find(_)
            | Self::Runs(_)
            | Self::Captures(_)
            | Self::Endpoints(_)
            | Self::Rules(_)
            | Self::Tokens(_)
            | Self::Apply(_)
            | Self::Config(_)
            | Self::Export(_) => true,
        }
    }
}

/// The settings, when they are valid by themselves and by `mistakes_beside`.
fn load(
    source: &Source,
    mistakes_beside: impl FnOnce(&Settings) -> Vec<String>,
) -> Result<Settings, ExitCode> {
    for (variable, setting) in config::misnamed(&source.environment) {
        say(&format!(
            "the variable {variable} is passed over; the setting is {setting}, with two underscores"
        ));
    }
    config::load_checked(source, mistakes_beside).map_err(|invalid| {
        complain(&invalid);
        ExitCode::from(2)
    })
}

/// What a command needs that works on the database and serves nothing.
fn prepare(args: &SettingsArgs) -> Result<(Settings, Runtime), ExitCode> {
    let mut source = args.source();
    // Nothing is served, so nothing needs to be guarded.
    source.flags.push(("auth.mode", "none".to_owned()));
    let settings = load(&source, |_| Vec::new())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        complain(&error);
        ExitCode::FAILURE
    })?;
    Ok((settings, runtime))
}

/// Says on stderr what went wrong, with all its causes. The exit code tells too, where nobody takes it.
fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    say(&text);
}

fn say(text: &str) {
    drop(writeln!(std::io::stderr(), "creel: {text}"));
}
