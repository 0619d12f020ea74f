//! Endpoints: list with totals, declare, withdraw, remove all captures.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::query::Query;
use crate::http::capture::id_at;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::EndpointCode;
use crate::model::time::rfc3339;
use crate::storage;
use crate::storage::endpoints::Wanted;

/// A page of endpoints by code: `{"endpoints":[...],"next":"<code>"}`. Totals follow captures within a
/// second or so.
pub async fn list(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let totals = storage::totals::list(state.database.as_ref(), query.one("cursor"), limit).await?;
    let next = totals.last().filter(|_| totals.len() == limit as usize).map(|t| t.endpoint.to_string());
    let endpoints: Vec<_> = totals
        .iter()
        .map(|totals| {
            json!({
                "code": totals.endpoint.as_str(),
                "captures": totals.captures,
                "bytes": totals.bytes,
                "last_capture": totals.last_us.map(rfc3339),
                "url": capture_url(&state, &totals.endpoint),
            })
        })
        .collect();
    Ok(HttpResponse::Ok().json(json!({"endpoints": endpoints, "next": next})))
}

/// Declares an endpoint, so that it catches requests where `capture.auto_create` is off. Idempotent.
pub async fn declare(code: web::Path<String>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let code = parse(&code)?;
    let changed = change(&state, &code, Wanted::Declared).await?;
    let mut response = if changed { HttpResponse::Created() } else { HttpResponse::Ok() };
    Ok(response.json(json!({"code": code.as_str(), "url": capture_url(&state, &code)})))
}

/// Withdraws a declared endpoint. What it caught stays.
pub async fn withdraw(code: web::Path<String>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    if change(&state, &parse(&code)?, Wanted::Withdrawn).await? {
        Ok(HttpResponse::NoContent().finish())
    } else {
        Err(Problem::because(Kind::UnknownEndpoint, "it was not declared"))
    }
}

/// Removes every capture of an endpoint that was kept before.
pub async fn remove_captures(
    code: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let code = parse(&code)?;
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

/// actix has decoded the segment already.
fn parse(code: &str) -> Result<EndpointCode, Problem> {
    EndpointCode::parse(code).map_err(|error| Problem::because(Kind::InvalidEndpointCode, error))
}

fn capture_url(state: &State, code: &EndpointCode) -> String {
    let base = state.settings.public_url(state.settings.server.listen);
    format!("{base}/{}/{}", state.settings.capture.prefix, code.to_segment())
}
