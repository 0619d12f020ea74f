//! What operators and orchestrators ask: alive, ready, metrics.

use actix_web::http::header;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::state::State;

#[derive(Serialize)]
struct Health {
    status: &'static str,
}

#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    database: &'static str,
    broker: &'static str,
}

/// The process answers.
pub async fn healthz() -> HttpResponse {
    HttpResponse::Ok().json(Health { status: "ok" })
}

/// Whether a load balancer should send requests here. A broker that is away degrades, no more: captures
/// are kept, and subscribers get them from the database.
pub async fn readyz(state: web::Data<State>) -> HttpResponse {
    let draining = state.shutdown.is_announced();
    let database = state.database_is_up();
    let broker = state.broker_is_up();
    let status = match (draining, database, broker) {
        (true, _, _) => "draining",
        (_, false, _) => "unavailable",
        (_, _, false) => "degraded",
        _ => "ready",
    };
    let up = |up: bool| if up { "up" } else { "away" };
    let mut response =
        if draining || !database { HttpResponse::ServiceUnavailable() } else { HttpResponse::Ok() };
    response.json(Readiness { status, database: up(database), broker: up(broker) })
}

/// OpenMetrics text.
pub async fn metrics(state: web::Data<State>) -> HttpResponse {
    let pool = state.database.pool();
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    state.metrics.pool_in_use.set(gauge(pool.in_use));
    state.metrics.pool_open.set(gauge(pool.open));
    state.metrics.broker_up.set(state.broker_is_up().into());
    state.metrics.broker_dropped.set(i64::try_from(state.broker.dropped()).unwrap_or(i64::MAX));
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8"))
        .body(state.metrics.text())
}
