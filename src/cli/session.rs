//! What every command that asks a node has: where the node is, the token, the terminal, and an end.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Failed, Outcome};
use super::terminal::Terminal;
use crate::client::{Api, HttpUrl, Token};

const URL_DEFAULT: &str = "http://127.0.0.1:9669";
/// A command that was told to end has so long for it.
const FAREWELL: Duration = Duration::from_secs(3);

/// Which node is asked, and as whom.
///
/// The variables are not clap's to read: it would show the token's value in its help.
#[derive(Debug, Clone, Default, Args)]
pub struct NodeArgs {
    /// The node to ask [env: CREEL_URL] [default: http://127.0.0.1:9669].
    #[arg(long, value_name = "URL", help_heading = "Node", display_order = 900)]
    pub url: Option<String>,
    /// The token to ask with. Better in the variable: others can see what a command was started with
    /// [env: CREEL_TOKEN].
    #[arg(long, value_name = "TOKEN", help_heading = "Node", display_order = 901)]
    pub token: Option<String>,
}

/// How lists are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum ListFormat {
    /// Columns for people.
    #[default]
    Table,
    /// A line of JSON an item.
    Json,
}

impl NodeArgs {
    /// What was said behind the subcommand stands above what was said before it.
    pub fn over(self, before: Self) -> Self {
        Self { url: self.url.or(before.url), token: self.token.or(before.token) }
    }

    pub fn is_given(&self) -> bool {
        self.url.is_some() || self.token.is_some()
    }

    /// Flags stand above variables; a variable that is empty is none.
    fn api(self) -> Outcome<Api> {
        let url = self.url.or_else(|| variable("CREEL_URL")).unwrap_or_else(|| URL_DEFAULT.to_owned());
        let url = HttpUrl::parse(&url).map_err(|error| {
            Failed::usage(format!("--url (or CREEL_URL) is not valid: {error}"))
                .hint("the URL of a node looks like http://127.0.0.1:9669")
        })?;
        let token =
            match self.token.or_else(|| variable("CREEL_TOKEN")) {
                // Not shown, not even here.
                Some(text) => Some(Token::parse(&text).ok_or_else(|| {
                    Failed::usage("--token (or CREEL_TOKEN) has characters that no token has")
                })?),
                None => None,
            };
        Ok(Api::new(url, token))
    }
}

/// A variable of the surroundings; one that is empty is none.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What a command works with.
pub struct Session {
    pub api: Api,
    pub terminal: Terminal,
    /// Ctrl-C, or SIGTERM.
    pub stop: CancellationToken,
    /// Which of the two it was.
    ended_by: Arc<OnceLock<Exit>>,
}

impl Session {
    /// How a command ends that was told to end before it was done.
    pub fn interrupted(&self) -> Exit {
        self.ended_by.get().copied().unwrap_or(Exit::Interrupted)
    }
}

/// Runs a command that just ends when it is told to.
pub fn run(node: NodeArgs, command: impl AsyncFnOnce(&Session) -> Outcome) -> ExitCode {
    run_to_its_end(node, async |session: &Session| {
        tokio::select! {
            outcome = command(session) => outcome,
            () = session.stop.cancelled() => Ok(session.interrupted()),
        }
    })
}

/// Runs a command that ends by itself when `stop` says so, and has something left to say then.
pub fn run_to_its_end(node: NodeArgs, command: impl AsyncFnOnce(&Session) -> Outcome) -> ExitCode {
    let terminal = Terminal::find();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let outcome = runtime.map_err(Failed::from).and_then(|runtime| {
        let outcome = runtime.block_on(async {
            let (stop, ended_by) = (CancellationToken::new(), Arc::default());
            let session = Session { api: node.api()?, terminal, stop, ended_by };
            watch_signals(&session)?;
            command(&session).await
        });
        // A look-up of a name that hangs does not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(exit) => exit.into(),
        // Who closed the pipe knows why.
        Err(failed) if failed.exit == Exit::PipeClosed => failed.exit.into(),
        Err(failed) => {
            terminal.complain(&failed);
            failed.exit.into()
        }
    }
}

/// The first signal asks the command to end; the second, or time, ends it.
fn watch_signals(session: &Session) -> Outcome<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (stop, ended_by) = (session.stop.clone(), session.ended_by.clone());
    tokio::spawn(async move {
        let exit = next(&mut interrupt, &mut terminate).await;
        ended_by.get_or_init(|| exit);
        stop.cancel();
        tokio::time::timeout(FAREWELL, next(&mut interrupt, &mut terminate)).await.ok();
        std::process::exit(exit as i32);
    });
    Ok(())
}

/// The next signal, as the exit code that goes with it.
async fn next(interrupt: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}
