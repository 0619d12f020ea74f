//! Runs: open, list, show, close, sum up, forget.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::changes::wrong;
use super::changes::{self, read_document, read_json};
use super::query::{Query, invalid};
use super::tokens::tell;
use crate::access::Holder;
use crate::config::AuthMode;
use crate::http::auth::{Caller, token_is_over};
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::run::{RunState, Verification};
use crate::model::time::rfc3339;
use crate::model::{EndpointCode, Run};
use crate::rules::Invalid;
use crate::rules::object::Object;
use crate::runs::{Opener, Order, Refused, Summary, Unsummed, at_closing, junit};
use crate::storage;

/// The first token that is made is asked of everybody.
const LOCKS_OUT: &str = "this node asks nobody for a token, and would from then on: a run's token would lock out all \
                         others. Leave it out, or make a token for yourself first (`creel token create`)";

/// Opens a run: 201 when all of it is in force, with the secret of its token, which is shown here alone.
pub async fn open(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let most = state.settings.runs.config_bytes_max;
    let document = read_document(&mut payload, &caller, &state, most).await?;
    let turn = state.runs.turns.opening().await;
    let order = Order::parse(changes::json(&document)?).map_err(wrong)?;
    let asks_nobody_yet = caller.0.holder == Holder::Anybody && state.settings.auth.mode == AuthMode::Tokens;
    if order.token && asks_nobody_yet {
        return Err(wrong(Invalid::member("token", LOCKS_OUT)));
    }
    let opener = Opener {
        by: caller.by().map(str::to_owned),
        token: caller.0.holder.token().map(str::to_owned),
        pattern: caller.0.pattern.clone(),
        expires_us: caller.0.expires_us,
    };
    let opened = state.runs.open(order, opener, turn, &state.shutdown).await?;
    if opened.secret.is_some() {
        tell(&state).await;
    }
    let mut shown = shown(&opened.run, &caller, &state)?;
    shown["token"] = opened.secret.into();
    Ok(HttpResponse::Created().json(shown))
}

/// What cursors of the listing are for.
const LISTING: &str = "runs";

/// A page of runs, the newest first: `{"runs":[...],"next":"<cursor>"}`.
pub async fn list(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit", "state"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let of_state = query
        .parsed("state", |name| RunState::named(name).ok_or("`open`, `closing` or `closed` is expected"))?;
    let within = caller.0.pattern.as_ref();
    let behind = query.behind(LISTING, &state.access)?;
    let runs =
        storage::runs::list(state.database.as_ref(), within, of_state, behind.as_deref(), limit).await?;
    let last = runs.last().filter(|_| runs.len() == limit as usize);
    let next = last.map(|run| state.access.behind(LISTING, &run.id));
    let runs = runs.iter().map(|run| shown(run, &caller, &state)).collect::<Result<Vec<_>, _>>()?;
    Ok(HttpResponse::Ok().json(json!({"runs": runs, "next": next})))
}

/// One run.
pub async fn show(
    request: HttpRequest,
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let run = find(&id, &caller, &state).await?;
    Ok(HttpResponse::Ok().json(shown(&run, &caller, &state)?))
}

/// Closes a run, and answers with its summary when all is done; closing it again answers with the same.
pub async fn close(
    request: HttpRequest,
    caller: Caller,
    id: web::Path<String>,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let document =
        read_json(&mut payload, &caller, &state, state.settings.rules.document_bytes_max, true).await?;
    let mut members = Object::of(&document).map_err(wrong)?;
    let captures = members.read("captures", at_closing).map_err(wrong)?;
    members.end().map_err(wrong)?;
    let run = find(&id, &caller, &state).await?;
    let run = state.runs.close(&run, captures, caller.by()).await?;
    tell(&state).await;
    let summary = state.runs.summary(run).await?;
    Ok(HttpResponse::Ok().json(summed_up(&summary, &caller, &state)?))
}

/// What a run comes to, as JSON or as JUnit XML: as it was when it was closed, or as it stands now.
pub async fn summary(
    request: HttpRequest,
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["format"], &[])?;
    let is_junit = match query.one("format") {
        None | Some("json") => false,
        Some("junit") => true,
        Some(_) => return Err(invalid("format", "`json` or `junit` is expected")),
    };
    let run = find(&id, &caller, &state).await?;
    let summary = state.runs.summary(run).await?;
    if is_junit {
        return Ok(HttpResponse::Ok().content_type("application/xml").body(junit::document(&summary)));
    }
    Ok(HttpResponse::Ok().json(summed_up(&summary, &caller, &state)?))
}

/// Forgets a run; one that is open is closed first.
pub async fn remove(
    request: HttpRequest,
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let run = find(&id, &caller, &state).await?;
    state.runs.remove(&run, caller.by()).await?;
    tell(&state).await;
    Ok(HttpResponse::NoContent().finish())
}

/// A run that is there for the caller: of one that lies outside of their pattern they get the same answer as of none.
pub async fn find(id: &str, caller: &Caller, state: &State) -> Result<Run, Problem> {
    let found = state.runs.find(id, caller.0.pattern.as_ref()).await?;
    found.ok_or_else(|| Problem::new(Kind::UnknownRun))
}

fn shown(run: &Run, caller: &Caller, state: &State) -> Result<Value, Problem> {
    let prefix = EndpointCode::parse(&run.prefix).map_err(|error| {
        tracing::error!(%error, run = run.id, "a run has a prefix that is no code");
        Problem::new(Kind::Internal)
    })?;
    Ok(json!({
        "id": run.id,
        "name": run.name,
        "labels": run.labels,
        "prefix": run.prefix,
        "url_prefix": state.capture_url(&prefix, caller.host()),
        "state": run.state.name(),
        "captures": run.captures.name(),
        "opened": rfc3339(run.opened_us),
        "expires": rfc3339(run.expires_us),
        "closed": run.closed_us.map(rfc3339),
        "since": state.access.places(&caller.0).write(run.start),
    }))
}

fn summed_up(summary: &Summary, caller: &Caller, state: &State) -> Result<Value, Problem> {
    let Summary { run, counts, verifications } = summary;
    Ok(json!({
        "run": shown(run, caller, state)?,
        "captures": counts.captures,
        "rules": counts.rules,
        "unmatched": counts.unmatched,
        "verifications": {
            "made": run.made,
            "passed": run.passed,
            "failed": run.made - run.passed,
            "list": verifications.iter().map(asked).collect::<Vec<_>>(),
        },
    }))
}

fn asked(verification: &Verification) -> Value {
    json!({
        "name": verification.name,
        "kind": verification.kind.name(),
        "outcome": if verification.passed { "passed" } else { "failed" },
        "at": rfc3339(verification.at_us),
        "took_ms": verification.took_us / 1_000,
        "why": verification.why,
    })
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Configuration(invalid) => Self::because(Kind::InvalidConfiguration, invalid),
            Refused::Pattern => Self::because(Kind::Forbidden, refused),
            Refused::Full(why) => Self::because(Kind::StorageFull, why),
            Refused::OpenerIsOver => token_is_over(),
            Refused::Over => Self::because(Kind::Overloaded, refused).retry_after(1),
            Refused::Database(error) => error.into(),
        }
    }
}

impl From<Unsummed> for Problem {
    fn from(unsummed: Unsummed) -> Self {
        match unsummed {
            Unsummed::Uncounted(why) => Self::because(Kind::Overloaded, why).retry_after(1),
            Unsummed::Database(error) => error.into(),
        }
    }
}
