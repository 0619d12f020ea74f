//! Tickets: how a browser opens a stream, which it can send no header with.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Query;
use crate::http::auth::Caller;
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::time::rfc3339;

#[derive(Serialize)]
struct Given {
    ticket: String,
    expires: String,
}

/// Gives out a ticket that stands for whoever asks: good for one stream, soon.
pub async fn create(
    request: HttpRequest,
    caller: Caller,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    match state.access.give_ticket(&caller.0).await? {
        Some((ticket, expires_us)) => {
            Ok(HttpResponse::Created().json(Given { ticket, expires: rfc3339(expires_us) }))
        }
        None => Err(Problem::because(Kind::Overloaded, "too many tickets are out").retry_after(1)),
    }
}
