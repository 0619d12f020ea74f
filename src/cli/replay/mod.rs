//! `creel replay`: sends what was caught again, to the octet, somewhere else.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::time::Instant;

use self::pace::Pace;
use self::results::{Replayed, Results};
use super::exit::{Failed, Outcome};
use super::inquiry::WhichArgs;
use super::session::{self, ListFormat, NodeArgs, Session};
use crate::client::{HttpUrl, Outgoing, Sender, ShownCapture};

mod pace;
mod results;
mod select;

/// Says of which capture a request is the replay.
const MARK: &str = "creel-replay";

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Ids of captures, sent in this order.
    #[arg(value_name = "ID", conflicts_with_all = ["endpoints", "run", "since", "matching", "until"])]
    ids: Vec<String>,
    /// Captures of these endpoints, the oldest first: codes, or patterns in which `*` is any run of characters.
    #[arg(long = "endpoint", value_name = "PATTERN")]
    endpoints: Vec<String>,
    #[command(flatten)]
    which: WhichArgs,
    /// Received before this instant (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Where to: this URL, then what followed the code in the path, then the query.
    #[arg(long, value_name = "URL")]
    to: String,
    /// How fast: `none` (one after the other), `original` (with the gaps in which they came, up to 10 minutes
    /// each), so many a second (`5/s`), or a pause (`250ms`, `2s`).
    #[arg(long, default_value = "none", value_parser = Pace::parse)]
    pace: Pace,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    dry_run: bool,
    /// Leave out the header `Creel-Replay`, which names the capture.
    #[arg(long)]
    no_mark: bool,
    /// Send the sender's `Host`, instead of the URL's.
    #[arg(long)]
    keep_host: bool,
    /// How long an answer is waited for, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
    /// How results are shown.
    #[arg(long, value_enum, default_value_t)]
    output: ListFormat,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: ReplayArgs, before: NodeArgs) -> ExitCode {
    let node = args.node.clone().over(before);
    session::run_to_its_end(node, async |session: &Session| replay(&args, session).await)
}

async fn replay(args: &ReplayArgs, session: &Session) -> Outcome {
    let to = HttpUrl::parse(&args.to).map_err(|error| {
        Failed::usage(format!("--to is not valid: {error}"))
            .hint("say where to send to, as http://localhost:3000/hooks")
    })?;
    let captures = tokio::select! {
        captures = select::select(args, session) => captures?,
        () = session.stop.cancelled() => return Ok(session.interrupted()),
    };
    let (requests, others): (Vec<_>, Vec<_>) =
        captures.into_iter().partition(|capture| capture.kind == "http");
    if !others.is_empty() {
        session
            .terminal
            .warn(&format!("{} events of WebSockets are no requests, and left out", others.len()));
    }
    if requests.is_empty() {
        return Err(Failed::not("nothing was caught that is so; nothing was sent"));
    }
    let mut results = Results::new(args.output, args.dry_run);
    if args.dry_run {
        for capture in &requests {
            let uri = to.target(&capture.remainder, capture.query.as_deref());
            results.add(&session.terminal, capture, Replayed::Planned(uri))?;
        }
        return results.end(&session.terminal, &to);
    }
    let sent_all = send_all(args, session, &to, &requests, &mut results).await?;
    let exit = results.end(&session.terminal, &to)?;
    Ok(if sent_all { exit } else { session.interrupted() })
}

/// False where it was told to end before.
async fn send_all(
    args: &ReplayArgs,
    session: &Session,
    to: &HttpUrl,
    captures: &[ShownCapture],
    results: &mut Results,
) -> Outcome<bool> {
    let sender = Sender::new(to.is_https(), Duration::from_millis(args.timeout_ms));
    let progress = progress(session, captures.len());
    let mut at = Instant::now();
    let mut before: Option<&ShownCapture> = None;
    for capture in captures {
        if let Some(before) = before {
            at = args.pace.next(at, Instant::now(), before, capture);
        }
        before = Some(capture);
        tokio::select! {
            biased;
            () = session.stop.cancelled() => {
                progress.finish_and_clear();
                return Ok(false);
            }
            () = tokio::time::sleep_until(at) => {}
        }
        let replayed = tokio::select! {
            replayed = send(args, session, &sender, to, capture) => replayed,
            () = session.stop.cancelled() => {
                progress.finish_and_clear();
                let given_up = Replayed::Failed("given up, to end; it may have been sent".to_owned());
                results.add(&session.terminal, capture, given_up)?;
                return Ok(false);
            }
        };
        progress.inc(1);
        results.add(&session.terminal, capture, replayed)?;
    }
    progress.finish_and_clear();
    Ok(true)
}

async fn send(
    args: &ReplayArgs,
    session: &Session,
    sender: &Sender,
    to: &HttpUrl,
    capture: &ShownCapture,
) -> Replayed {
    let body = match session.api.body_of(capture).await {
        Ok(body) => body,
        Err(failure) => return Replayed::Failed(failure.to_string()),
    };
    let outgoing = Outgoing::of_capture(capture, body, to, args.keep_host).map(|mut outgoing| {
        if !args.no_mark {
            outgoing.headers.push((MARK.to_owned(), capture.id.clone().into_bytes()));
        }
        outgoing
    });
    let sent = match outgoing {
        Ok(outgoing) => sender.send(outgoing).await,
        Err(failure) => Err(failure),
    };
    match sent {
        Ok(sent) => Replayed::Answered { status: sent.status, took: sent.took, bytes: sent.body_bytes },
        Err(failure) => Replayed::Failed(failure.to_string()),
    }
}

/// On a terminal alone.
fn progress(session: &Session, count: usize) -> ProgressBar {
    let target = match session.terminal.talks_to_terminal {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {eta} left");
    let bar = ProgressBar::with_draw_target(Some(count as u64), target);
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

impl ReplayArgs {
    /// Whether captures are to be looked for.
    fn looks_for(&self) -> bool {
        let which = &self.which;
        let in_run = which.run.as_deref().is_some_and(|run| !run.is_empty());
        in_run
            || which.matching.is_some()
            || which.since.is_some()
            || !self.endpoints.is_empty()
            || self.until.is_some()
    }
}
