//! Endpoints: list with totals, declare, withdraw, remove all captures.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Query;
use crate::http::auth::Caller;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::EndpointCode;
use crate::model::time::rfc3339;
use crate::storage;
use crate::storage::endpoints::Wanted;

#[derive(Serialize)]
struct Page {
    endpoints: Vec<Listed>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    code: String,
    url: String,
    captures: i64,
    bytes: i64,
    last_capture: Option<String>,
}

#[derive(Serialize)]
struct Declared<'a> {
    code: &'a str,
    url: String,
}

/// A page of endpoints by code: `{"endpoints":[...],"next":"<code>"}`. Totals follow captures within a
/// second or so.
pub async fn list(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let within = caller.0.pattern.as_ref();
    let totals = storage::totals::list(state.database.as_ref(), within, query.one("cursor"), limit).await?;
    let next = totals.last().filter(|_| totals.len() == limit as usize).map(|t| t.endpoint.to_string());
    let endpoints = totals
        .iter()
        .map(|totals| Listed {
            code: totals.endpoint.to_string(),
            url: state.capture_url(&totals.endpoint),
            captures: totals.captures,
            bytes: totals.bytes,
            last_capture: totals.last_us.map(rfc3339),
        })
        .collect();
    Ok(HttpResponse::Ok().json(Page { endpoints, next }))
}

/// Declares an endpoint, so that it catches requests where `capture.auto_create` is off. Idempotent.
pub async fn declare(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    let changed = change(&state, &code, Wanted::Declared).await?;
    let mut response = if changed { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(Declared { code: code.as_str(), url: state.capture_url(&code) }))
}

/// Withdraws a declared endpoint. What it caught stays.
pub async fn withdraw(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = code_of(&request)?;
    caller.check_endpoint(&code)?;
    Query::refuse(request.query_string())?;
    if change(&state, &code, Wanted::Withdrawn).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::because(Kind::UnknownEndpoint, "it was not declared"))
    }
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
    let entry = storage::removals::remove_all(state.database.as_ref(), &code, id_at(now_us), now_us).await?;
    state.announce(entry);
    Ok(HttpResponse::NoContent().finish())
}

async fn change(state: &State, code: &EndpointCode, wanted: Wanted) -> Result<bool, Problem> {
    let now_us = state.clock.now_us();
    let entry =
        storage::endpoints::change(state.database.as_ref(), code, wanted, id_at(now_us), now_us).await?;
    let changed = entry.is_some();
    if let Some(entry) = entry {
        state.announce(entry);
    }
    Ok(changed)
}

/// The code in `/api/endpoints/{code}`, from the raw path: actix would replace what is not UTF-8.
fn code_of(request: &HttpRequest) -> Result<EndpointCode, Problem> {
    let segment = request.uri().path().split('/').nth(3).unwrap_or_default();
    EndpointCode::from_segment(segment).map_err(|error| Problem::because(Kind::InvalidEndpointCode, error))
}
