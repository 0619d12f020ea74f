//! Endpoints: list with totals, show, save, remove, and remove all captures.

use actix_web::{HttpRequest, HttpResponse, web};
use rand::Rng as _;
use serde::Serialize;
use serde_json::Value;

use super::changes::{
    self, Done, Precondition, answer_to_get, answer_to_put, change, read_json, without_marks,
};
use super::query::Query;
use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::time::rfc3339;
use crate::model::{ConfigurationKind, EndpointCode, Scope};
use crate::rules::Endpoint;
use crate::storage;
use crate::storage::configuration::Item;

const KIND: ConfigurationKind = ConfigurationKind::Endpoint;

/// What cursors of the listing are for.
const LISTING: &str = "endpoints";

#[derive(Serialize)]
struct Page {
    endpoints: Vec<Listed>,
    next: Option<String>,
    /// What the URLs of all endpoints begin with: a code follows.
    url_prefix: String,
}

#[derive(Serialize)]
struct Listed {
    code: String,
    url: String,
    captures: i64,
    bytes: i64,
    last_capture: Option<String>,
}

/// A page of endpoints by code: `{"endpoints":[...],"next":"<cursor>"}`. Totals follow captures within a
/// second or so.
pub async fn list(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let within = caller.0.pattern.as_ref();
    let behind = query.behind(LISTING, &state.access)?;
    let totals = storage::totals::list(state.database.as_ref(), within, behind.as_deref(), limit).await?;
    let last = totals.last().filter(|_| totals.len() == limit as usize);
    let next = last.map(|totals| state.access.behind(LISTING, totals.endpoint.as_str()));
    let endpoints = totals
        .iter()
        .map(|totals| Listed {
            code: totals.endpoint.to_string(),
            url: state.capture_url(&totals.endpoint, caller.host()),
            captures: totals.captures,
            bytes: totals.bytes,
            last_capture: totals.last_us.map(rfc3339),
        })
        .collect();
    let url_prefix = state.capture_base(caller.host());
    Ok(HttpResponse::Ok().json(Page { endpoints, next, url_prefix }))
}

/// One endpoint's settings, with its `ETag`.
pub async fn show(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    let found = storage::configuration::find(state.database.as_ref(), KIND, code.as_str()).await?;
    match found.filter(|item| item.document.is_some()) {
        Some(item) => Ok(answer_to_get(&request, &item, shown(&state, &caller, &code, &item))),
        None => Err(Problem::because(Kind::UnknownEndpoint, "nothing is set for it")),
    }
}

/// Makes an endpoint with a code that nobody else has.
pub async fn generate(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let mut document =
        read_json(&mut payload, &caller, &state, state.settings.rules.document_bytes_max, true).await?;
    let given = document.as_object_mut().and_then(|members| members.remove("code"));
    let code = match given.as_ref().map(|code| code.as_str().map(EndpointCode::parse)) {
        None => caller.new_code(&random_code())?,
        Some(Some(Ok(code))) => code,
        Some(Some(Err(error))) => return Err(Problem::because(Kind::InvalidEndpointCode, error)),
        Some(None) => return Err(Problem::because(Kind::InvalidEndpoint, "/code: text is expected")),
    };
    caller.check_endpoint(&code)?;
    put(&state, &caller, &code, document, &Precondition::absent()).await
}

/// Saves an endpoint's settings; without any it is declared all the same, so that it catches requests where
/// `capture.auto_create` is off. Idempotent.
pub async fn save(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    let document =
        read_json(&mut payload, &caller, &state, state.settings.rules.document_bytes_max, true).await?;
    put(&state, &caller, &code, document, &Precondition::of(request.headers())).await
}

async fn put(
    state: &State,
    caller: &Caller,
    code: &EndpointCode,
    mut document: Value,
    precondition: &Precondition,
) -> Result<HttpResponse, Problem> {
    without_marks(&mut document, "code");
    without_marks(&mut document, "url");
    let options = state.intake.configuration().options().clone();
    let parsed = state.compile(move || Endpoint::parse(&document, &options).map(|_| document)).await?;
    let document = parsed.map_err(|invalid| Problem::because(Kind::InvalidEndpoint, invalid))?;
    let document = Endpoint::without_secrets(document).to_string();
    let done =
        change(state, KIND, code.as_str(), Some(&document), precondition, caller.by(), |_| Ok(())).await?;
    Ok(answer_to_put(done, |item| shown(state, caller, code, item)))
}

/// Removes an endpoint's settings. What it caught stays.
pub async fn remove(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    let precondition = Precondition::of(request.headers());
    match change(&state, KIND, code.as_str(), None, &precondition, caller.by(), |_| Ok(())).await? {
        Done::Absent => Err(Problem::because(Kind::UnknownEndpoint, "nothing is set for it")),
        _ => Ok(HttpResponse::NoContent().finish()),
    }
}

fn shown(state: &State, caller: &Caller, code: &EndpointCode, item: &Item) -> Value {
    let mut shown = changes::shown(item, "code");
    // Who may not change it gets nothing that a secret could be guessed from.
    if caller.0.scope < Scope::Write {
        shown = Endpoint::without_digests(shown);
    }
    if let Some(members) = shown.as_object_mut() {
        members.insert("url".to_owned(), state.capture_url(code, caller.host()).into());
    }
    shown
}

/// 96 random bits in letters and digits.
fn random_code() -> String {
    rand::rng().sample_iter(rand::distr::Alphanumeric).take(16).map(char::from).collect()
}

/// Removes every capture of an endpoint that was kept before.
pub async fn remove_captures(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    let now_us = state.clock.now_us();
    let entry =
        storage::removals::remove_all(state.database.as_ref(), &code, id_at(now_us), now_us, caller.by())
            .await?;
    state.announce(entry);
    Ok(HttpResponse::NoContent().finish())
}

/// The code in `/api/endpoints/{code}`, from the raw path: actix would replace what is not UTF-8.
fn code_of(request: &HttpRequest) -> Result<EndpointCode, Problem> {
    let segment = request.uri().path().split('/').nth(3).unwrap_or_default();
    EndpointCode::from_segment(segment).map_err(|error| Problem::because(Kind::InvalidEndpointCode, error))
}
