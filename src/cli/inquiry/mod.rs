//! Inquiries: `creel wait`, `verify`, `count` and `find` ask about captures. What they share stands here: which
//! captures are meant, and how many of them there shall be.

use std::path::Path;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::document;
use super::exit::{Failed, Outcome};
use super::session::{Session, variable};
use super::span::{ms, span};
use super::terminal::plain_line;
use crate::client::Ask;
use crate::client::api::escaped;
use crate::clock::{Clock as _, SystemClock};
use crate::model::time::rfc3339;

pub mod count;
pub mod find;
mod misses;
pub mod verify;
pub mod wait;

/// How long the state of a run is waited for, about which there may be a warning.
const STATE_LIMIT: Duration = Duration::from_secs(2);

/// The members of an inquiry's document.
pub type Members = Map<String, Value>;

/// Which captures are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectionArgs {
    /// Codes of endpoints, or patterns of them: `*` is any run of characters. None: all. In a run they stand
    /// behind its prefix.
    #[arg(value_name = "ENDPOINT")]
    pub endpoints: Vec<String>,
    #[command(flatten)]
    pub rest: WhichArgs,
}

/// Which captures are meant, less the endpoints.
#[derive(Debug, Clone, Default, Args)]
pub struct WhichArgs {
    /// The run that this is about: its endpoints, from its beginning on. An empty text is none [env: CREEL_RUN].
    #[arg(long, value_name = "ID")]
    pub run: Option<String>,
    /// From where on: a cursor, an instant (RFC 3339), a time ago as `10m`, `earliest` or `now`. Needed where
    /// there is no run.
    #[arg(long, value_name = "PLACE")]
    pub since: Option<String>,
    /// Only what matches: `method=POST header.x-github-event=push json.$.action=opened`, or an expression in
    /// JSON; from a file by `@FILE`.
    #[arg(long = "match", visible_alias = "filter", value_name = "EXPRESSION")]
    pub matching: Option<String>,
}

/// How many captures there shall be.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
pub struct CountArgs {
    /// So many or more.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    at_least: Option<u32>,
    /// So many, and no more; 0 is none.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    exactly: Option<u32>,
    /// So many or fewer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    at_most: Option<u32>,
}

/// How an answer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum AnswerFormat {
    /// Columns for people.
    #[default]
    Table,
    /// The node's answer, in a line of JSON.
    Json,
}

impl SelectionArgs {
    /// What was said, as the members of a document.
    ///
    /// # Errors
    /// An expression that is no JSON, or in a file that cannot be read.
    pub async fn members(&self) -> Outcome<Members> {
        self.rest.members(&self.endpoints).await
    }
}

impl WhichArgs {
    /// As [`SelectionArgs::members`].
    ///
    /// # Errors
    /// As there.
    pub async fn members(&self, endpoints: &[String]) -> Outcome<Members> {
        let mut members = Members::new();
        if !endpoints.is_empty() {
            members.insert("endpoint".to_owned(), endpoints.into());
        }
        if let Some(run) = run_of(self.run.as_deref()) {
            members.insert("run".to_owned(), run.into());
        }
        if let Some(since) = &self.since {
            members.insert("since".to_owned(), place(since).into());
        }
        if let Some(text) = &self.matching {
            members.insert("match".to_owned(), expression(text).await?);
        }
        Ok(members)
    }
}

/// The run that is named by the flag, or by the variable.
pub fn run_of(flag: Option<&str>) -> Option<String> {
    let named = flag.map(str::to_owned).or_else(|| variable("CREEL_RUN"));
    named.filter(|run| !run.is_empty())
}

/// What the codes of a run's endpoints begin with, for what the node knows no runs for; None outside of runs.
///
/// # Errors
/// As the API's: one that is not there.
pub async fn prefix_of_run(flag: Option<&str>, session: &Session) -> Outcome<Option<String>> {
    let Some(id) = run_of(flag) else { return Ok(None) };
    let run = session.api.json(Ask::get(format!("/api/runs/{}", escaped(&id)))).await?;
    match run["prefix"].as_str() {
        Some(prefix) => Ok(Some(prefix.to_owned())),
        None => Err(Failed::not(format!("the node does not tell the prefix of the run {id}"))),
    }
}

/// That an inquiry says from where on it is about, which outside of runs it must.
///
/// # Errors
/// Where it does not.
pub fn check_place(members: &Members) -> Outcome<()> {
    match members.contains_key("since") || members.contains_key("run") {
        true => Ok(()),
        false => Err(Failed::usage("there is neither --since nor --run (or CREEL_RUN)").hint(
            "say from where on: --since 10m for the last ten minutes, --since earliest for all that is kept",
        )),
    }
}

/// Says that what was asked in a run that is closed is not recorded with it. Nothing hangs on it: where that
/// cannot be known, nothing is said.
async fn warn_of_closed(session: &Session, run: Option<&Value>) {
    let Some(id) = run.and_then(Value::as_str) else { return };
    let shown = session.api.json(Ask::get(format!("/api/runs/{}", escaped(id))));
    if let Ok(Ok(run)) = tokio::time::timeout(STATE_LIMIT, shown).await
        && run["state"] == "closed"
    {
        session.terminal.warn(&format!(
            "the run {} is closed: nothing is recorded with it any more",
            plain_line(run["name"].as_str().unwrap_or(id))
        ));
    }
}

/// A place as the API takes it: a time ago becomes an instant.
pub fn place(text: &str) -> String {
    let Ok(ago) = span(text) else { return text.to_owned() };
    let us = i64::try_from(ms(ago)).ok().and_then(|ms| ms.checked_mul(1_000)).unwrap_or(i64::MAX);
    rfc3339(SystemClock.now_us().saturating_sub(us).max(0))
}

/// An expression as it was given: JSON where it begins with a brace, else the short form, which the node reads.
///
/// # Errors
/// What is meant as JSON and is none; a file that cannot be read.
pub async fn expression(text: &str) -> Outcome<Value> {
    let text = match text.strip_prefix('@') {
        Some(file) => document::read_text(Path::new(file)).await?.trim().to_owned(),
        None => text.to_owned(),
    };
    if !document::is_json(&text) {
        return Ok(text.into());
    }
    serde_json::from_str(&text).map_err(|error| Failed::usage(format!("the expression is no JSON: {error}")))
}

impl CountArgs {
    /// As the API takes it.
    pub fn value(&self) -> Option<Value> {
        let given = [("at_least", self.at_least), ("exactly", self.exactly), ("at_most", self.at_most)];
        given.into_iter().find_map(|(bound, n)| n.map(|n| json!({ bound: n })))
    }

    /// Whether so many are as they shall be.
    pub fn allows(&self, found: u64) -> bool {
        self.at_least.is_none_or(|n| found >= u64::from(n))
            && self.exactly.is_none_or(|n| found == u64::from(n))
            && self.at_most.is_none_or(|n| found <= u64::from(n))
    }

    /// For people; None where nothing was said.
    pub fn text(&self) -> Option<String> {
        let given = [("at least", self.at_least), ("exactly", self.exactly), ("at most", self.at_most)];
        given.into_iter().find_map(|(bound, n)| n.map(|n| format!("{bound} {n}")))
    }
}

/// How many there are, in words.
fn captures(count: u64) -> String {
    if count == 1 { "1 capture".to_owned() } else { format!("{count} captures") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_ago_becomes_an_instant_and_other_places_stay() {
        for text in ["earliest", "now", "2026-11-21T10:00:00Z", "AQAPWWwTM3kvAAAAAAAAANjpC-20"] {
            assert_eq!(place(text), text);
        }
        assert!(place("10m").ends_with('Z') && place("10m") < rfc3339(SystemClock.now_us()));
        assert_eq!(place("99999999999d"), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn a_count_is_held_against_what_was_found() {
        let none = CountArgs::default();
        assert!(none.allows(0) && none.value().is_none() && none.text().is_none());
        let exactly = CountArgs { exactly: Some(2), ..none };
        assert!(exactly.allows(2) && !exactly.allows(1) && !exactly.allows(3));
        assert_eq!(exactly.value(), Some(json!({"exactly": 2})));
        assert_eq!(exactly.text().as_deref(), Some("exactly 2"));
    }
}
