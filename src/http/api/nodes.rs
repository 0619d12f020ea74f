//! Nodes: who is in the cluster, and how they are.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Query;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::model::time::rfc3339;
use crate::storage;

#[derive(Serialize)]
struct Nodes {
    nodes: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    id: String,
    version: String,
    since: String,
    last_seen: String,
    listen: String,
    api_listen: String,
    status: &'static str,
    database: &'static str,
    broker: &'static str,
    subscribers: u64,
    capture_sockets: u64,
}

/// Every node that was heard of in the last ten seconds, the longest running first.
pub async fn list(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let nodes = storage::nodes::list(state.database.as_ref()).await?.into_iter().map(shown).collect();
    Ok(HttpResponse::Ok().json(Nodes { nodes }))
}

fn shown(node: crate::model::Node) -> Shown {
    let state = node.state;
    let up = |up: bool| if up { "up" } else { "away" };
    Shown {
        id: node.id.to_string(),
        since: rfc3339(node.since_us),
        last_seen: rfc3339(node.seen_us),
        // As `/readyz` says it.
        status: match (state.draining, state.database_up, state.broker_up) {
            (true, _, _) => "draining",
            (_, false, _) => "unavailable",
            (_, _, false) => "degraded",
            _ => "ready",
        },
        database: up(state.database_up),
        broker: up(state.broker_up),
        version: state.version,
        listen: state.listen,
        api_listen: state.api_listen,
        subscribers: state.subscribers,
        capture_sockets: state.capture_sockets,
    }
}
