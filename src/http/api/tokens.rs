//! Tokens: list, make, revoke.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::changes::read_document;
use super::query::Query;
use crate::http::auth::{Caller, token_is_over};
use crate::http::problem::{Kind, Problem};
use crate::http::state::State;
use crate::model::Change;
use crate::model::limits::TOKENS_MAX;
use crate::model::time::rfc3339;
use crate::model::token::TokenOrder;
use crate::storage;
use crate::storage::tokens::{NotMade, Token};

/// The largest document that a token is made from.
const ORDER_BYTES_MAX: usize = 16 << 10;

#[derive(Serialize)]
struct Page {
    tokens: Vec<Listed>,
    next: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    id: String,
    name: String,
    scope: &'static str,
    pattern: Option<String>,
    created: String,
    expires: Option<String>,
    revoked: Option<String>,
}

#[derive(Serialize)]
struct Made {
    #[serde(flatten)]
    listed: Listed,
    /// The secret, which is shown here alone.
    token: String,
}

/// What cursors of the listing are for.
const LISTING: &str = "tokens";

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    name: String,
    scope: String,
    pattern: Option<String>,
    expires_in_s: Option<u64>,
}

/// A page of tokens, the oldest first, without their secrets.
pub async fn list(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let query = Query::parse(request.query_string(), &["cursor", "limit"], &[])?;
    let limit = query.limit(state.settings.api.page_default, state.settings.api.page_max)?;
    let behind = query.behind(LISTING, &state.access)?;
    let tokens = storage::tokens::list(state.database.as_ref(), behind.as_deref(), limit).await?;
    let last = tokens.last().filter(|_| tokens.len() == limit as usize);
    let next = last.map(|token| state.access.behind(LISTING, &token.id));
    Ok(HttpResponse::Ok().json(Page { tokens: tokens.iter().map(Listed::of).collect(), next }))
}

/// Makes a token: 201 with its secret, which is never shown again.
pub async fn create(
    request: HttpRequest,
    caller: Caller,
    mut payload: web::Payload,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    let body = read_document(&mut payload, &caller, &state, ORDER_BYTES_MAX).await?;
    let wrong = |error: &dyn std::fmt::Display| Problem::because(Kind::BadRequest, error);
    let order: Order = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
    let order = TokenOrder::parse(order.name, &order.scope, order.pattern.as_deref(), order.expires_in_s)
        .map_err(|error| wrong(&error))?;
    let now_us = state.clock.now_us();
    let token = Token::of(order, now_us);
    let made = storage::tokens::make(state.database.as_ref(), &token, caller.0.holder.token()).await?;
    let secret = made.map_err(|why| match why {
        NotMade::Full => Problem::because(Kind::StorageFull, no_more_tokens()),
        NotMade::MakerIsOver => token_is_over(),
    })?;
    tell(&state).await;
    note(&state, &caller, &token.id, Change::Created).await?;
    Ok(HttpResponse::Created().json(Made { listed: Listed::of(&token), token: secret }))
}

/// Revokes a token, and those of the runs that were opened with it: 204, or 404 where there is none such, or not any
/// more. Streams that they have opened end.
pub async fn revoke(
    request: HttpRequest,
    caller: Caller,
    id: web::Path<String>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    Query::refuse(request.query_string())?;
    // Postgres has no text with NUL, and no token such an id.
    if id.contains('\0') {
        return Err(Problem::new(Kind::UnknownToken));
    }
    let revoked = storage::tokens::revoke(state.database.as_ref(), &id, state.clock.now_us()).await?;
    if revoked.is_empty() {
        return Err(Problem::new(Kind::UnknownToken));
    }
    tell(&state).await;
    for id in &revoked {
        note(&state, &caller, id, Change::Removed).await?;
    }
    Ok(HttpResponse::NoContent().finish())
}

/// Has the journal tell of a token by its id. The change is made by then: where this fails, whoever made it is
/// told of an error, and sees what there is in the list.
async fn note(state: &State, caller: &Caller, id: &str, change: Change) -> Result<(), Problem> {
    let (database, now_us) = (state.database.as_ref(), state.clock.now_us());
    state.announce(storage::tokens::note(database, id, change, caller.by(), now_us).await?);
    Ok(())
}

/// Why there is no further token.
pub fn no_more_tokens() -> String {
    format!("{TOKENS_MAX} tokens are in force; revoke some")
}

/// Has this node know of a change before it is answered. It is made, whatever becomes of this: where it fails
/// the node learns of it a little later, as the others do.
pub async fn tell(state: &State) {
    if let Err(error) = state.access.look().await {
        tracing::debug!(error = &error as &dyn std::error::Error, "failed to look at tokens");
    }
}

impl Listed {
    fn of(token: &Token) -> Self {
        Self {
            id: token.id.clone(),
            name: token.name.clone(),
            scope: token.scope.name(),
            pattern: token.pattern.as_ref().map(ToString::to_string),
            created: rfc3339(token.created_us),
            expires: token.expires_us.map(rfc3339),
            revoked: token.revoked_us.map(rfc3339),
        }
    }
}
