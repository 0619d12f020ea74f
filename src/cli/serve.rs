//! `creel serve`: a node, until it is told to stop.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Args;
use rand::Rng as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{SettingsArgs, complain, logging};
use crate::app::{self, Node};
use crate::config::{LogFormat, Settings};
use crate::model::EndpointCode;

#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Address and port to listen on [default: 127.0.0.1:9669].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// How nodes tell each other what they caught: local, redis://HOST or amqp://USER:PASSWORD@HOST.
    #[arg(long, value_name = "URL")]
    broker: Option<String>,
    /// Read and check the settings, and end: exit code 0 where they are valid, 2 where not.
    #[arg(long)]
    check_config: bool,
}

pub fn run(args: &ServeArgs) -> ExitCode {
    let mut source = args.settings.source();
    source.flags.extend(args.listen.iter().map(|listen| ("server.listen", listen.clone())));
    source.flags.extend(args.broker.iter().map(|url| ("broker.url", url.clone())));
    let settings = match super::load(&source, app::mistakes) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    if args.check_config {
        return say_valid();
    }
    if let Err(mistake) = logging::start(&settings.log) {
        complain(&std::io::Error::other(mistake));
        return ExitCode::from(2);
    }
    raise_descriptors(settings.server.connections_max);
    // Where the system has huge pages for all, an idle socket takes two thirds more.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::debug!(%error, "failed to do without huge pages");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("creel").build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(serve(settings));
            // What had to be waited for was; a disk, or a name server, that does not answer is not.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Takes as many descriptors as the system lets a process have: a connection takes two.
fn raise_descriptors(connections_max: usize) {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::debug!(%error, "failed to raise the limit of open files");
    }
    let wanted = 2 * connections_max as u64;
    if let Some(limit) = getrlimit(Resource::Nofile).current.filter(|limit| *limit < wanted) {
        tracing::warn!(limit, wanted, "fewer open files are allowed than `server.connections_max` may need");
    }
}

#[expect(clippy::print_stdout, reason = "this is the command's answer")]
fn say_valid() -> ExitCode {
    println!("the settings are valid");
    ExitCode::SUCCESS
}

async fn serve(settings: Settings) -> ExitCode {
    let (mut terminate, mut interrupt) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
            (Err(error), _) | (_, Err(error)) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        };
    let node = tokio::select! {
        started = Node::start(settings) => match started {
            Ok(node) => node,
            Err(error) => {
                complain(&error);
                return ExitCode::FAILURE;
            }
        },
        _ = terminate.recv() => return ExitCode::SUCCESS,
        _ = interrupt.recv() => return ExitCode::SUCCESS,
    };
    logging::watch_panics(node.metrics().panics.clone());
    welcome(&node);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: what was accepted is finished first");
    let stopped = tokio::select! {
        in_time = node.stop() => in_time,
        // Who asks twice does not want to wait.
        _ = interrupt.recv() => false,
    };
    if stopped {
        tracing::info!("stopped");
        ExitCode::SUCCESS
    } else {
        tracing::error!("stopped before everything was finished");
        ExitCode::FAILURE
    }
}

/// Says where the node is, and two lines to try. Nobody has to take it: the node runs all the same.
fn welcome(node: &Node) {
    let settings = node.settings();
    let capture = node.capture_address();
    tracing::info!(node = %node.id(), listen = %capture, api = %node.api_address(), "ready");
    if settings.log.format == LogFormat::Json {
        return;
    }
    let code = example_code();
    let base = settings.public_url(capture);
    let api =
        if capture == node.api_address() { base.clone() } else { format!("http://{}", node.api_address()) };
    let url = format!("{base}/{}/{}", settings.capture.prefix, code.to_segment());
    let stream = format!("{api}/api/stream?endpoint={}", code.to_segment());
    let token = if node.is_open() { "" } else { " -H 'Authorization: Bearer <token>'" };
    let data =
        settings.database.url.expose().strip_prefix("sqlite://").map(|path| format!("  kept in   {path}\n"));
    let data = data.unwrap_or_default();
    let text = if settings.api.enabled {
        let declare = if settings.capture.auto_create {
            String::new()
        } else {
            let endpoint = format!("{api}/api/endpoints/{}", code.to_segment());
            format!(
                "Declare it first, since only declared endpoints catch:\n\n  curl -X PUT{token} '{endpoint}'\n\n"
            )
        };
        format!(
            "\nCreel catches every request to\n\n  {url}\n\n  stream    {stream}\n{data}\n{declare}\
             Watch, in one terminal:\n\n  curl -N{token} '{stream}'\n\n\
             Send, in another:\n\n  curl -d 'hello' '{url}'\n\n"
        )
    } else {
        format!("\nCreel catches every request to\n\n  {url}\n\n{data}\n")
    };
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        drop(stdout);
        tracing::debug!(%error, "nobody takes the welcome");
    }
}

/// A code that nobody guesses.
fn example_code() -> EndpointCode {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    let code: String = (0..12).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    EndpointCode::parse(&code).expect("letters and digits are a code")
}
