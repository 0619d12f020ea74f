//! `creel wait`: until what is waited for was caught, whatever becomes of the node meanwhile.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use hyper::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{AnswerFormat, CountArgs, Members, SelectionArgs, captures, check_place, misses, warn_of_closed};
use crate::cli::exit::{Exit, Failed, Outcome};
use crate::cli::session::{self, NodeArgs, Session};
use crate::cli::show;
use crate::cli::span::{ms, span};
use crate::cli::terminal::table;
use crate::client::{Ask, Failure};

const PATH: &str = "/api/captures/wait";
/// Pauses before asking again, from the first to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long after the timeout an answer is still asked for: a node that was away decides when it is back.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
#[command(
    after_help = "Exit code 0: satisfied; 1: not in time, or too many; 2: wrong usage; 3: no node, or not allowed."
)]
pub struct WaitArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    #[command(flatten)]
    count: CountArgs,
    /// How long to wait: a number and `ms`, `s`, `m` or `h`; ten minutes at most.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = span)]
    timeout: Duration,
    /// How long nothing more may match once there are as many as there shall be.
    #[arg(long, value_name = "TIME", value_parser = span)]
    quiet: Option<Duration>,
    /// So many captures are shown at most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: u32,
    /// What people call this, for the summary of its run.
    #[arg(long)]
    name: Option<String>,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t)]
    output: AnswerFormat,
    #[command(flatten)]
    node: NodeArgs,
}

pub fn run(args: WaitArgs, before: NodeArgs) -> ExitCode {
    session::run(args.node.clone().over(before), async |session: &Session| wait(&args, session).await)
}

async fn wait(args: &WaitArgs, session: &Session) -> Outcome {
    let mut order = args.selection.members().await?;
    check_place(&order)?;
    let quiet = args.quiet.unwrap_or_default();
    if quiet > args.timeout {
        return Err(Failed::usage(
            "--quiet is longer than --timeout, so that it could never be quiet so long",
        ));
    }
    if let Some(count) = args.count.value() {
        order.insert("count".to_owned(), count);
    }
    if let Some(name) = &args.name {
        order.insert("name".to_owned(), name.as_str().into());
    }
    order.insert("limit".to_owned(), args.limit.into());
    order.insert("quiet_ms".to_owned(), ms(quiet).into());
    let wanted = wanted(args);
    let began = Instant::now();
    let progress = progress(&format!("waiting for {wanted}"));
    let run = order.get("run").cloned();
    let answer = ask(session, order, quiet, began + args.timeout, &progress).await;
    let took = began.elapsed();
    progress.finish_and_clear();
    let answer = answer?;
    warn_of_closed(session, run.as_ref()).await;
    tell(args, session, &answer, &wanted, took)
}

/// What is waited for, continuing "waiting for".
fn wanted(args: &WaitArgs) -> String {
    let count = args.count.text().unwrap_or_else(|| "at least 1".to_owned());
    match args.quiet {
        Some(quiet) if !quiet.is_zero() => format!("{count}, then nothing for {:.1} s", quiet.as_secs_f64()),
        _ => count,
    }
}

/// Shown on a terminal alone.
fn progress(text: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(text.to_owned());
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed})");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Asks until it is decided. Who was reached once is asked again when it stops or is lost, with the time that
/// is left; everything from the beginning on is looked at again, so that nothing is missed.
async fn ask(
    session: &Session,
    mut order: Members,
    quiet: Duration,
    ends: Instant,
    progress: &ProgressBar,
) -> Result<Value, Failed> {
    let began = Instant::now();
    // A node that hangs is not waited for longer than one that is away.
    let last = ends + GRACE;
    if order.get("since").is_some_and(|since| since == "now") {
        let now = tokio::time::timeout_at(last.into(), now(session)).await;
        order.insert("since".to_owned(), now.map_err(|_| silent(session, began))??);
    }
    let mut pause = PAUSE;
    loop {
        let left = ends.saturating_duration_since(Instant::now());
        // Never less than it has to be quiet for: what is decided is so, and be it late.
        order.insert("timeout_ms".to_owned(), ms(left.max(quiet)).into());
        let asked = Instant::now();
        let ask = Ask::new(Method::POST, PATH).json(&Value::Object(order.clone()));
        let answer = tokio::time::timeout_at(last.into(), session.api.json(ask)).await;
        let why = match answer.map_err(|_| silent(session, began))? {
            Ok(answer) if answer["outcome"] != "interrupted" || is_in_doubt(&order, &answer) => {
                return Ok(answer);
            }
            Ok(_) => "the node stops".to_owned(),
            Err(failure) if session.api.was_reached() && is_passing(&failure) && Instant::now() < last => {
                failure.to_string()
            }
            Err(failure) => return Err(in_words(failure)),
        };
        progress.set_message(format!("asking again: {why}"));
        // What held for a while is not in trouble.
        pause = if asked.elapsed() > PAUSE_MAX { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
        tokio::time::sleep(pause).await;
    }
}

/// Whether there is a most, and nobody can tell whether it was kept: some captures were not judged, and would not be if
/// asked again.
fn is_in_doubt(order: &Members, answer: &Value) -> bool {
    let has_most = |count: &Value| ["exactly", "at_most"].iter().any(|bound| count.get(bound).is_some());
    order.get("count").is_some_and(has_most)
        && (answer["truncated"] == true || answer["reset"] == true || answer["gave_up"].is_u64())
}

/// That it has not answered until then.
fn silent(session: &Session, began: Instant) -> Failed {
    Failure::Silent { url: session.api.base().to_string(), limit: began.elapsed() }.into()
}

/// A refusal in the words of the command.
fn in_words(failure: Failure) -> Failed {
    let is_timeout = failure.to_string().contains("timeout_ms");
    let failed = Failed::from(failure);
    match is_timeout {
        true => Failed { message: format!("--timeout is not valid: {}", failed.message), ..failed }
            .hint("a node lets one wait for ten minutes, or what its setting `inquiry.wait_max_s` says"),
        false => failed,
    }
}

/// Where the journal ends now, so that the same place is asked about again.
async fn now(session: &Session) -> Outcome<Value> {
    let order = json!({"since": "now", "timeout_ms": 0, "limit": 0});
    let answer = session.api.json(Ask::new(Method::POST, PATH).json(&order)).await?;
    Ok(answer["next"].clone())
}

/// Whether another node, or the same one later, may well answer.
fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Unreachable { .. } | Failure::Silent { .. } => true,
        Failure::Refused(refusal) => matches!(refusal.status, 502..=504),
        Failure::Garbled { .. } | Failure::TooLarge { .. } => false,
    }
}

fn tell(args: &WaitArgs, session: &Session, answer: &Value, wanted: &str, took: Duration) -> Outcome {
    match args.output {
        AnswerFormat::Json => session.terminal.json_line(&answer.to_string())?,
        AnswerFormat::Table => {
            let rows = show::rows(answer)?;
            if !rows.is_empty() {
                session.terminal.write(table(&show::HEAD, &rows).as_bytes())?;
            }
        }
    }
    if answer["truncated"] == true {
        session.terminal.warn("retention had removed captures before they were looked at");
    }
    if answer["reset"] == true {
        session
            .terminal
            .warn("the journal is another than --since is of: only what came since was looked at");
    }
    if let Some(gave_up) = answer["gave_up"].as_u64() {
        let gave_up = captures(gave_up);
        session
            .terminal
            .warn(&format!("it took too long to tell whether {gave_up} matched: simplify --match"));
    }
    let count = answer["count"].as_u64().unwrap_or_default();
    let (matched, took) = (captures(count), took.as_secs_f64());
    let told = format!("{matched} matched after {took:.1} s; waited for {wanted}");
    let outcome = answer["outcome"].as_str().unwrap_or_default();
    if outcome == "satisfied" {
        session.terminal.say(&format!("satisfied: {told}"));
        return Ok(Exit::Done);
    }
    let misses = misses::text(answer);
    let failed = Failed::not(format!("{outcome}: {told}{misses}"));
    Err(match (outcome, misses.is_empty()) {
        ("timeout", true) if count == 0 => {
            failed.hint("nothing else was caught there: does the sender send to this node?")
        }
        _ => failed,
    })
}
