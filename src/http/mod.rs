//! The actix skin: nothing of actix is known below, and nothing of Creel is decided here.

mod answer;
mod api;
mod asked;
mod auth;
mod capture;
mod client;
mod cors;
mod door;
mod drain;
mod forwarded;
mod headers;
mod inflow;
mod misread;
mod net;
mod operations;
mod problem;
mod reply;
mod request_id;
mod room;
mod routes;
mod server;
mod socket;
mod state;
mod wire;

use actix_web::http::header;

pub use routes::{Operation, operations as route_table};
pub use server::{Listening, ServerOptions, start};
pub use state::State;

/// CORS of the API; `actix-cors` answers its preflights.
fn cors_of_api(settings: &crate::config::Settings) -> actix_cors::Cors {
    let rules = &settings.cors.api;
    let max_age = usize::try_from(rules.max_age_s).ok();
    let cors = actix_cors::Cors::default()
        .allowed_methods(["GET", "PUT", "POST", "DELETE"])
        .allow_any_header()
        .expose_headers([
            header::RETRY_AFTER,
            header::ALLOW,
            header::CONTENT_DISPOSITION,
            header::ETAG,
            request_id::HEADER,
        ])
        .max_age(max_age);
    if rules.allow_origins.iter().any(|origin| origin == "*") {
        return cors.allow_any_origin();
    }
    // Whom no rule allows gets no CORS headers; the guard decides whether the request is answered at all.
    rules
        .allow_origins
        .iter()
        .fold(cors.block_on_origin_mismatch(false), |cors, origin| cors.allowed_origin(origin))
}
