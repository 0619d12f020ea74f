//! Which captures an inquiry is about: the members that waiting, finding, counting and verifying share.

use std::sync::Arc;

use actix_web::web;
use serde_json::Value;

use super::changes::{read_json, wrong};
use crate::http::auth::Caller;
use crate::http::problem::Problem;
use crate::http::socket::stream::parse_since;
use crate::http::state::State;
use crate::model::limits::FILTER_TERMS_MAX;
use crate::model::run::{self, VerificationKind};
use crate::model::time::parse_rfc3339;
use crate::model::{Filter, Glob, Since};
use crate::rules::object::{Object, list, text};
use crate::rules::{Allowance, Expression, Invalid};

/// `{"endpoint":"shop"|["a","b-*"],"run":"...","since":"...","match":{...}|"method=POST"}`, all of it within what the
/// caller may see.
pub struct Selection {
    /// Endpoints, within the caller's pattern.
    pub filter: Filter,
    pub since: Since,
    /// What captures must match; all do where nothing was said.
    pub expression: Arc<Expression>,
    /// The run that the inquiry is in.
    pub run: Option<OfRun>,
}

/// What an inquiry needs of its run.
pub struct OfRun {
    pub id: String,
    /// What all its endpoint codes begin with.
    pub prefix: String,
    /// The place at which it was opened.
    pub since: Since,
    /// When the inquiry began, in microseconds.
    begun_us: i64,
}

/// A run that is there for the caller: of one that lies outside of their pattern they get the same answer as of none.
pub async fn of_run(id: &str, caller: &Caller, state: &State) -> Result<OfRun, Problem> {
    let begun_us = state.clock.now_us();
    let run = super::runs::find(id, caller, state).await?;
    Ok(OfRun { id: run.id, prefix: run.prefix, since: Since::Cursor(run.start), begun_us })
}

/// What a wait or a verification came to, for the summary of its run.
#[derive(Debug)]
pub struct Verification<'a> {
    /// `wait` or `verify`.
    pub kind: &'static str,
    /// What people call it.
    pub name: Option<&'a str>,
    pub passed: bool,
    /// What failed, where something did.
    pub why: Option<String>,
}

/// Keeps what an inquiry in a run came to.
pub async fn record_in_run(run: &OfRun, made: &Verification<'_>, state: &State) -> Result<(), Problem> {
    let at_us = state.clock.now_us();
    let verification = run::Verification {
        name: made.name.unwrap_or_default().to_owned(),
        kind: VerificationKind::named(made.kind).unwrap_or(VerificationKind::Verify),
        passed: made.passed,
        why: made.why.clone(),
        at_us,
        took_us: at_us.saturating_sub(run.begun_us).max(0),
    };
    // A run that was closed meanwhile comes to what it came to by then.
    state.runs.record(&run.id, &verification).await?;
    Ok(())
}

/// The document of an inquiry, within the limit of documents.
pub async fn read_inquiry(
    payload: &mut web::Payload,
    caller: &Caller,
    state: &State,
) -> Result<Value, Problem> {
    read_json(payload, caller, state, state.settings.rules.document_bytes_max, false).await
}

impl Selection {
    /// Takes the selection's members out of a document; what else there is stays for the caller of this.
    ///
    /// # Errors
    /// With what is wrong, or missing, and where.
    pub async fn read(
        document: &mut Object<'_>,
        caller: &Caller,
        state: &State,
        allowance: &mut Allowance,
    ) -> Result<Self, Problem> {
        let run = match document.text("run").map_err(wrong)? {
            Some(id) => Some(of_run(id, caller, state).await?),
            None => None,
        };
        let endpoints = document.read("endpoint", globs).map_err(wrong)?.unwrap_or_default();
        let endpoints = match &run {
            Some(run) => in_run(endpoints, &run.prefix).map_err(wrong)?,
            None => endpoints,
        };
        let places = state.access.places(&caller.0);
        let since = match (document.text("since").map_err(wrong)?, &run) {
            (Some(text), _) => parse_since(text, &places)?,
            (None, Some(run)) => run.since,
            (None, None) => {
                let why =
                    "a cursor, an RFC 3339 instant, `earliest` or `now` is needed where there is no `run`";
                return Err(wrong(Invalid::member("since", why)));
            }
        };
        let expression = match document.take("match") {
            Some(value) => {
                let compiled = state.compile_inquiry(value.clone(), allowance).await?;
                compiled.map_err(|invalid| wrong(invalid.within("match")))?
            }
            None => Expression::all(),
        };
        Ok(Self {
            filter: Filter::new(endpoints, Vec::new()).within(caller.0.pattern.clone()),
            since,
            expression: Arc::new(expression),
            run,
        })
    }
}

/// The time before which captures were received, for inquiries that have an end; in microseconds.
pub fn until(document: &mut Object<'_>) -> Result<Option<i64>, Problem> {
    let instant = |value| {
        let instant = text(value).map(parse_rfc3339)?;
        instant.ok_or_else(|| Invalid::here("an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z"))
    };
    document.read("until", instant).map_err(wrong)
}

/// One pattern, or a list of them.
fn globs(value: &Value) -> Result<Vec<Glob>, Invalid> {
    let glob = |value| Glob::parse(text(value)?).map_err(Invalid::here);
    match value {
        Value::String(_) => Ok(vec![glob(value)?]),
        several => list(several, FILTER_TERMS_MAX, glob),
    }
}

/// Patterns as they are meant in a run: behind its prefix. None means all of it.
fn in_run(endpoints: Vec<Glob>, prefix: &str) -> Result<Vec<Glob>, Invalid> {
    let all = || vec![Glob::parse("*").expect("it is one")];
    let endpoints = if endpoints.is_empty() { all() } else { endpoints };
    let behind = |glob: &Glob| glob.behind(prefix).map_err(|error| Invalid::member("endpoint", error));
    endpoints.iter().map(behind).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_of_a_run_stand_behind_its_prefix() {
        let named = |patterns: &[&str]| {
            let globs = patterns.iter().map(|pattern| Glob::parse(pattern).unwrap()).collect();
            in_run(globs, "run-x-").unwrap().iter().map(Glob::to_string).collect::<Vec<_>>()
        };
        assert_eq!(named(&[]), ["run-x-*"]);
        assert_eq!(named(&["a", "*-b"]), ["run-x-a", "run-x-*-b"]);
    }
}
