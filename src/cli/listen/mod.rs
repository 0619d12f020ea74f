//! `creel listen`: what is caught, as it is caught; printed, and sent on where it is to go.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::Value;

use self::catching_up::CatchingUp;
use self::forward::Forwarder;
use self::summary::Summary;
use super::exit::{Exit, Failed, Outcome};
use super::inquiry::{expression, place, prefix_of_run};
use super::session::{self, NodeArgs, Session};
use super::terminal::{plain, plain_line};
use crate::client::api::escaped;
use crate::client::{Ask, Failure, Feed, FeedOrder, Happening, HttpUrl, Message, ShownCapture};

mod catching_up;
mod forward;
mod print;
mod summary;

/// Nothing came for so long: what had to be caught up is there.
const LULL: Duration = Duration::from_secs(1);

/// Codes that are asked about, whether the token is for them.
const CODES_ASKED_MAX: usize = 16;

#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Codes of endpoints, or patterns of them: `*` is any run of characters. None: all. In a run they stand
    /// behind its prefix.
    #[arg(value_name = "ENDPOINT")]
    endpoints: Vec<String>,
    /// The run that this is about: its endpoints. An empty text is none [env: CREEL_RUN].
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Only what matches: `method=POST header.x-github-event=push json.$.action=opened`, or an expression in
    /// JSON; from a file by `@FILE`.
    #[arg(long, visible_alias = "match", value_name = "EXPRESSION")]
    filter: Option<String>,
    /// Where to begin: a cursor, an instant (RFC 3339), a time ago as `10m`, `earliest` or `now`.
    #[arg(long, value_name = "PLACE", default_value = "now")]
    since: String,
    /// How captures are shown.
    #[arg(long, value_enum, default_value_t)]
    output: Format,
    /// How much of bodies JSON shows: full, preview or none.
    #[arg(long, value_name = "HOW", default_value = "full", value_parser = ["full", "preview", "none"])]
    body: String,
    /// Send each capture on to this URL, as it came: to the URL, then what followed the code, then the query.
    #[arg(long, value_name = "URL")]
    forward: Option<String>,
    /// Send the sender's `Host` on, instead of the URL's.
    #[arg(long, requires = "forward")]
    keep_host: bool,
    /// How long an answer to what is sent on is waited for, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    forward_timeout_ms: u64,
    /// End after so many captures.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Write this file when the stream is open; what was there before goes. For scripts.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

/// How captures are shown while they come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A line each.
    #[default]
    Table,
    /// The stream's messages, a line of JSON each; the first is `ready`.
    Json,
    /// The request as HTTP text.
    Raw,
}

pub fn run(args: ListenArgs, before: NodeArgs) -> ExitCode {
    let node = args.node.clone().over(before);
    session::run_to_its_end(node, async |session: &Session| listen(args, session).await)
}

/// A listener at work.
struct Listener<'a> {
    session: &'a Session,
    format: Format,
    forwarder: Option<Forwarder>,
    summary: Summary,
    catching_up: Option<CatchingUp>,
}

async fn listen(args: ListenArgs, session: &Session) -> Outcome {
    let forwarder = args.forward.as_deref().map(|url| forwarder(url, &args)).transpose()?;
    let ready_file = args.ready_file.as_deref();
    if let Some(file) = ready_file {
        clear(file)?;
    }
    let order = tokio::select! {
        order = order(&args, forwarder.is_some(), session) => order?,
        () = session.stop.cancelled() => return Ok(Exit::Done),
    };
    let named = order.endpoints.clone();
    let opened = tokio::select! {
        opened = Feed::open(session.api.clone(), order) => opened,
        () = session.stop.cancelled() => return Ok(Exit::Done),
    };
    let (mut feed, ready) = opened?;
    let summary = Summary::begin(forwarder.is_some());
    let format = args.output;
    let mut listener = Listener { session, format, forwarder, summary, catching_up: None };
    listener.begin(&ready)?;
    if let Some(file) = ready_file {
        std::fs::write(file, format!("{}\n", feed.cursor().unwrap_or_default()))
            .map_err(|error| Failed::not(format!("failed to write {}: {error}", file.display())))?;
    }
    tokio::time::timeout(LULL, warn_of_foreign(&named, session)).await.unwrap_or_default();
    let outcome = listener.follow(&mut feed, args.limit).await;
    // Who has closed the pipe wants to hear nothing more.
    if !matches!(&outcome, Err(failed) if failed.exit == Exit::PipeClosed) {
        listener.end_catching_up();
        session.terminal.say(&listener.summary.text());
    }
    outcome
}

/// What to listen to, as the API takes it.
async fn order(args: &ListenArgs, is_forwarding: bool, session: &Session) -> Outcome<FeedOrder> {
    let mut endpoints = args.endpoints.clone();
    if let Some(prefix) = prefix_of_run(args.run.as_deref(), session).await? {
        match endpoints.is_empty() {
            true => endpoints.push(format!("{prefix}*")),
            false => endpoints.iter_mut().for_each(|code| code.insert_str(0, &prefix)),
        }
    }
    let filter = match &args.filter {
        None => None,
        Some(text) => Some(match expression(text).await? {
            Value::String(short) => short,
            document => document.to_string(),
        }),
    };
    let body = match (args.output, args.body.as_str()) {
        (Format::Json, "full") => "full",
        (Format::Json, "none") => "none",
        (Format::Table, _) if !is_forwarding => "none",
        _ => "preview",
    };
    Ok(FeedOrder { endpoints, filter, body, since: Some(place(&args.since)) })
}

/// Warns of endpoints that the token is not for: of these nothing ever comes. Nothing hangs on it.
async fn warn_of_foreign(named: &[String], session: &Session) {
    let codes = named.iter().filter(|code| !code.contains(['*', '\\'])).take(CODES_ASKED_MAX);
    for code in codes.filter(|_| session.api.has_token()) {
        let asked = session.api.json(Ask::get(format!("/api/endpoints/{}", escaped(code))));
        if let Err(Failure::Refused(refusal)) = asked.await
            && refusal.status == 403
        {
            let code = plain_line(code);
            session.terminal.warn(&format!("the token is not for {code}: nothing of it will be shown"));
        }
    }
}

fn forwarder(url: &str, args: &ListenArgs) -> Outcome<Forwarder> {
    let to = HttpUrl::parse(url).map_err(|error| {
        Failed::usage(format!("--forward is not valid: {error}"))
            .hint("say where to send to, as http://localhost:3000/hooks")
    })?;
    Ok(Forwarder::new(to, args.keep_host, Duration::from_millis(args.forward_timeout_ms)))
}

/// A file of another run must not say that this one is ready.
fn clear(file: &std::path::Path) -> Outcome<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failed::usage(format!("--ready-file {}: {error}", file.display())))
        }
        _ => Ok(()),
    }
}

impl Listener<'_> {
    fn begin(&self, ready: &Message) -> Outcome<()> {
        let terminal = &self.session.terminal;
        if self.format == Format::Json {
            return terminal.json_line(&String::from_utf8_lossy(&ready.line));
        }
        let to = self.forwarder.as_ref().map(|to| format!(", and sending on to {}", to.url()));
        let at = self.session.api.base();
        terminal.say(&format!("listening at {at}{}; Ctrl-C ends", to.unwrap_or_default()));
        Ok(())
    }

    /// Until it is told to end, or so many captures have come.
    async fn follow(&mut self, feed: &mut Feed, limit: Option<u64>) -> Outcome {
        while limit.is_none_or(|limit| self.summary.captures < limit) {
            let happening = tokio::select! {
                biased;
                () = self.session.stop.cancelled() => break,
                happening = feed.next() => happening?,
                () = tokio::time::sleep(LULL), if self.catching_up.is_some() => {
                    self.end_catching_up();
                    continue;
                }
            };
            match happening {
                Happening::Message(message) => {
                    self.take(&message).await?;
                    // Only now: what was not told comes again.
                    feed.advance(&message);
                }
                Happening::Lost { reason, pause } => {
                    self.end_catching_up();
                    let pause = pause.as_secs_f64();
                    let text = format!("{}; trying again in {pause:.1} s", plain(&reason));
                    self.session.terminal.warn(&text);
                }
                Happening::Back { away } => {
                    let text = format!("connected again after {:.1} s", away.as_secs_f64());
                    self.session.terminal.say(&text);
                    self.catching_up = CatchingUp::begin(&self.session.api).await;
                }
            }
        }
        Ok(Exit::Done)
    }

    /// Deals with a message: what it says is out when this is done.
    async fn take(&mut self, message: &Message) -> Outcome<()> {
        let terminal = &self.session.terminal;
        match message.kind.as_str() {
            "capture" => return self.capture(message).await,
            "heartbeat" => self.end_catching_up(),
            "truncated" => terminal.warn(&format!(
                "retention has removed captures of {} that were not seen here",
                names(&message.value["endpoints"])
            )),
            "reset" => terminal.warn(
                "the journal is another one than before (a backup was restored?): going on with what is new; \
                 --since earliest shows what there is",
            ),
            _ => {}
        }
        match (self.format, message.kind.as_str()) {
            (_, "heartbeat" | "ready") => Ok(()),
            (Format::Json, _) => terminal.json_line(&String::from_utf8_lossy(&message.line)),
            (Format::Table, "removal") => terminal.line(&print::removal(&message.value["removal"], terminal)),
            _ => Ok(()),
        }
    }

    async fn capture(&mut self, message: &Message) -> Outcome<()> {
        let (session, terminal) = (self.session, &self.session.terminal);
        let capture = ShownCapture::read(&message.value["capture"])
            .map_err(|error| Failed::not(format!("failed to read a capture: {error}")))?;
        self.summary.captures += 1;
        if self.catching_up.as_mut().is_some_and(|catching_up| catching_up.is_over(&capture)) {
            self.end_catching_up();
        }
        match self.format {
            Format::Json => terminal.json_line(&String::from_utf8_lossy(&message.line))?,
            Format::Raw => match session.api.body_of(&capture).await {
                Ok(body) => terminal.write(&print::raw(&capture, &body, terminal))?,
                Err(failure) => terminal.warn(&plain(&format!("the body of {}: {failure}", capture.id))),
            },
            Format::Table => {}
        }
        let forwarded = match &self.forwarder {
            Some(forwarder) => Some(forwarder.forward(session, &capture).await),
            None => None,
        };
        if let Some(forwarded) = &forwarded {
            self.summary.count(forwarded);
        }
        match self.format {
            Format::Json => match forwarded {
                Some(forwarded) => terminal.json_line(&forwarded.json(&capture).to_string()),
                None => Ok(()),
            },
            Format::Raw => {
                if let Some(forwarded) = forwarded {
                    terminal.say(&plain(&format!("{} {}", capture.id, forwarded.text())));
                }
                Ok(())
            }
            Format::Table => terminal.line(&print::row(&capture, forwarded.as_ref(), terminal)),
        }
    }

    fn end_catching_up(&mut self) {
        if let Some(over) = self.catching_up.take() {
            self.session.terminal.say(&over.text());
        }
    }
}

/// Endpoints, as many as a line takes.
fn names(endpoints: &Value) -> String {
    let all: Vec<&str> = endpoints.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let shown: Vec<String> = all.iter().take(10).map(|name| plain(name)).collect();
    match all.len() {
        0..=10 => shown.join(", "),
        more => format!("{} and {} others", shown.join(", "), more - 10),
    }
}
