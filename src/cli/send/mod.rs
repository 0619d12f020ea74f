//! `creel send`: composes a request, sends it to an endpoint or anywhere, and shows the answer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::compose::Composed;
use super::document::read_octets;
use super::exit::{Exit, Failed, Outcome};
use super::inquiry::prefix_of_run;
use super::session::{self, NodeArgs, Session};
use super::terminal::{plain, plain_line};
use crate::client::sender::{SendFailure, set_host};
use crate::client::{Ask, Failure, HttpUrl, Outgoing, Sender, Sent};
use crate::model::EndpointCode;

mod compose;

/// The largest request that is read from a file or from stdin, in bytes.
const REQUEST_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// How long a node is waited for that is asked for its capture prefix alone.
const BASE_LIMIT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub struct SendArgs {
    /// An endpoint's code, or a URL. In a run a code stands behind its prefix.
    #[arg(value_name = "ENDPOINT|URL")]
    to: String,
    /// The run that an endpoint is of. An empty text is none [env: CREEL_RUN].
    #[arg(long, value_name = "ID")]
    run: Option<String>,
    /// Begin with a request as HTTP text, as `--output raw` prints it: from a file, or `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "capture")]
    file: Option<PathBuf>,
    /// Begin with what was caught.
    #[arg(long, value_name = "ID")]
    capture: Option<String>,
    /// The method; else the one of what it begins with, or POST where there is a body, or GET.
    #[arg(long, short = 'X', value_name = "METHOD")]
    method: Option<String>,
    /// What follows the endpoint or the URL, as it is to be sent: `/orders/42`.
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// A parameter of the query, `name=value`; it is escaped.
    #[arg(long = "query", short = 'q', value_name = "NAME=VALUE")]
    queries: Vec<String>,
    /// A header, `Name: value`, instead of those of the name.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body: a text, `@FILE`, or `@-` for stdin. Sent as it is.
    #[arg(long, short = 'd', value_name = "TEXT", conflicts_with = "json")]
    data: Option<String>,
    /// A body of JSON, with its Content-Type.
    #[arg(long, value_name = "JSON")]
    json: Option<String>,
    /// Send the `Host` of what it begins with, instead of the URL's.
    #[arg(long)]
    keep_host: bool,
    /// How long the answer is waited for, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    timeout_ms: u64,
    /// How the answer is shown.
    #[arg(long, value_enum, default_value_t)]
    output: AnswerFormat,
    #[command(flatten)]
    node: NodeArgs,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AnswerFormat {
    /// Its body on stdout, its status on stderr.
    #[default]
    Text,
    /// All of it in a line of JSON.
    Json,
}

pub fn run(args: SendArgs, before: NodeArgs) -> ExitCode {
    let node = args.node.clone().over(before);
    session::run(node, async |session: &Session| send(&args, session).await)
}

async fn send(args: &SendArgs, session: &Session) -> Outcome {
    let is_url = is_url(&args.to)?;
    let base = match is_url {
        false => capture_base(session).await?,
        // Who sends elsewhere need have no node.
        true if args.file.is_some() => {
            let base = tokio::time::timeout(BASE_LIMIT, capture_base(session)).await;
            base.ok().and_then(Result::ok).unwrap_or_else(|| usual_base(session))
        }
        true => usual_base(session),
    };
    let prefix = format!("{}/", HttpUrl::parse(&base)?.target("", None).trim_end_matches('/'));
    let composed = compose(args, &prefix, session).await?;
    let to = match is_url {
        true => HttpUrl::parse(&args.to)?,
        false => endpoint(args, &base, session).await?,
    };
    let path = match composed.remainder.as_str() {
        "" => String::new(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let uri = to.uri(&path, composed.query.as_deref())?;
    let mut headers = composed.headers;
    if !args.keep_host || !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        set_host(&mut headers, to.authority());
    }
    let line = format!("{} {uri}", composed.method);
    let says_empty = composed.says_empty;
    let outgoing = Outgoing { method: composed.method, uri, headers, body: composed.body, says_empty };
    let sender = Sender::new(to.is_https(), Duration::from_millis(args.timeout_ms));
    let sent = sender.send(outgoing).await.map_err(|failure| match failure {
        SendFailure::Unsendable(_) => Failed::usage(failure.to_string()),
        _ => Failed { exit: Exit::Unreachable, ..Failed::not(format!("failed to send to {to}: {failure}")) },
    })?;
    let is_caught = show(args.output, session, &line, &sent)?;
    match is_url || is_caught {
        true => Ok(Exit::Done),
        false => Err(Failed::not("it was not caught: the answer names no capture")
            .hint("does the endpoint take it (creel endpoints show), and does the node catch at this URL?")),
    }
}

/// What it begins with, and over that what is said.
async fn compose(args: &SendArgs, prefix: &str, session: &Session) -> Outcome<Composed> {
    let mut composed = match (&args.file, &args.capture) {
        (Some(file), _) => Composed::read(&read_octets(file, REQUEST_BYTES_MAX).await?, prefix)?,
        (_, Some(id)) => {
            let capture = session.api.capture(id).await?;
            let body = session.api.body_of(&capture).await?;
            Composed::of_capture(&capture, body)
        }
        _ => Composed::default(),
    };
    let body = match (&args.data, &args.json) {
        (Some(data), _) => match data.strip_prefix('@') {
            Some(file) => Some(read_octets(Path::new(file), REQUEST_BYTES_MAX).await?),
            None => Some(data.clone().into_bytes()),
        },
        (_, Some(text)) => {
            serde_json::from_str::<serde::de::IgnoredAny>(text)
                .map_err(|error| Failed::usage(format!("--json is no JSON: {error}")))?;
            composed.set_header("content-type", b"application/json".to_vec());
            Some(text.clone().into_bytes())
        }
        _ => None,
    };
    composed.set_body(body);
    if let Some(method) = &args.method {
        composed.method.clone_from(method);
    }
    if let Some(path) = &args.path {
        composed.remainder.clone_from(path);
    }
    composed.add_queries(&args.queries)?;
    composed.set_headers(&args.headers)?;
    Ok(composed)
}

/// Whether it is sent to a URL, and not to an endpoint.
fn is_url(to: &str) -> Outcome<bool> {
    if to.starts_with("http://") || to.starts_with("https://") {
        return Ok(true);
    }
    match to.contains("://") {
        true => Err(Failed::usage(format!("{} is no URL that can be sent to", plain_line(to)))
            .hint("it begins with http:// or https://")),
        false => Ok(false),
    }
}

/// What the URLs of endpoints begin with, as the node says it; with a slash at its end.
async fn capture_base(session: &Session) -> Outcome<String> {
    match session.api.json(Ask::get("/api/endpoints?limit=1")).await {
        Ok(page) => Ok(page["url_prefix"].as_str().map_or_else(|| usual_base(session), str::to_owned)),
        // Whoever may send need not be one who may look.
        Err(Failure::Refused(_)) => Ok(usual_base(session)),
        Err(failure) => Err(failure.into()),
    }
}

/// The same where nothing else was set.
fn usual_base(session: &Session) -> String {
    format!("{}/r/", session.api.base().to_string().trim_end_matches('/'))
}

async fn endpoint(args: &SendArgs, base: &str, session: &Session) -> Outcome<HttpUrl> {
    let prefix = prefix_of_run(args.run.as_deref(), session).await?.unwrap_or_default();
    let code = EndpointCode::parse(&format!("{prefix}{}", args.to)).map_err(|error| {
        Failed::usage(format!("{} is neither a URL nor an endpoint's code: {error}", plain_line(&args.to)))
    })?;
    Ok(HttpUrl::parse(&format!("{base}{}", code.to_segment()))?)
}

/// Shows the answer; true where it names a capture.
fn show(format: AnswerFormat, session: &Session, line: &str, sent: &Sent) -> Outcome<bool> {
    let terminal = &session.terminal;
    let took_ms = u64::try_from(sent.took.as_millis()).unwrap_or(u64::MAX);
    let capture = sent.headers.get("x-creel-capture-id").and_then(|id| id.to_str().ok());
    if format == AnswerFormat::Json {
        let headers: Vec<Value> = sent
            .headers
            .iter()
            .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
            .collect();
        let answer = json!({
            "status": sent.status,
            "took_ms": took_ms,
            "capture": capture,
            "headers": headers,
            "body": {
                "bytes": sent.body_bytes,
                "truncated": sent.body.len() < sent.body_bytes,
                "content": String::from_utf8_lossy(&sent.body),
            },
        });
        terminal.json_line(&answer.to_string())?;
        return Ok(capture.is_some());
    }
    let caught = capture.map(|id| format!(", caught as {id}")).unwrap_or_default();
    terminal.say(&plain(&format!("{line} -> {} in {took_ms} ms{caught}", sent.status)));
    if terminal.is_terminal {
        terminal.line(&plain(&String::from_utf8_lossy(&sent.body)))?;
    } else {
        terminal.write(&sent.body)?;
    }
    if sent.body.len() < sent.body_bytes {
        terminal.warn(&format!("the answer has {} bytes; this is its beginning", sent.body_bytes));
    }
    Ok(capture.is_some())
}
