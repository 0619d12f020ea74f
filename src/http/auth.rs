//! Who may use everything but capture: whoever has a token; and without tokens, whoever is not a web page
//! of another host (DNS rebinding).

use std::net::IpAddr;

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header;
use actix_web::middleware::Next;
use actix_web::{HttpRequest, ResponseError, web};

use super::client::{own_authority, split_port};
use super::problem::{Kind, Problem};
use super::state::State;
use crate::config::{AuthMode, Settings};

/// Guards a scope.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let state = request.app_data::<web::Data<State>>().expect("every app has a state").clone();
    match check(request.request(), &state.settings) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Err(problem) => {
            state.metrics.unauthorized.inc();
            Ok(request.into_response(problem.error_response().map_into_right_body()))
        }
    }
}

fn check(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    let by_token = settings.auth.mode == AuthMode::Tokens && !settings.auth.tokens.is_empty();
    if by_token {
        let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = given.and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let known = token.is_some_and(|token| {
            // Every token is compared, whole, so that time tells nothing.
            settings.auth.tokens.iter().fold(false, |known, own| same(own.expose(), token) | known)
        });
        if !known {
            return Err(Problem::because(Kind::Unauthorized, "send `Authorization: Bearer <token>`"));
        }
    } else {
        check_host(request, settings)?;
    }
    // A page's script may go elsewhere than its own host only where that is allowed; a WebSocket is not
    // subject to CORS, so its origin is checked always.
    if !by_token || request.headers().contains_key(header::UPGRADE) {
        check_origin(request, settings)?;
    }
    Ok(())
}

fn same(own: &str, given: &str) -> bool {
    own.len() == given.len()
        && own.bytes().zip(given.bytes()).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

/// A name that a page could have bound to this address is refused: rebinding needs a name.
fn check_host(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    let authority = own_authority(request).unwrap_or_default();
    let host = split_port(&authority).0;
    let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    let is_own = host.eq_ignore_ascii_case("localhost")
        || url::Url::parse(&settings.server.public_url)
            .is_ok_and(|url| url.host_str().is_some_and(|own| own.eq_ignore_ascii_case(host)));
    if is_address || is_own {
        return Ok(());
    }
    Err(Problem::because(
        Kind::ForeignHost,
        "without tokens this node answers to its address, `localhost` and the host of `server.public_url`",
    ))
}

fn check_origin(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let allowed = &settings.cors.api.allow_origins;
    if allowed.iter().any(|a| a == "*" || a == origin) {
        return Ok(());
    }
    let own = own_authority(request).unwrap_or_default();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let public = settings.server.public_url.split_once("://").map_or("", |(_, authority)| authority);
    let same = |other: &str| !other.is_empty() && other.trim_end_matches('/').eq_ignore_ascii_case(authority);
    if same(&own) || same(public) {
        return Ok(());
    }
    Err(Problem::because(Kind::ForeignOrigin, "allow the origin with `cors.api.allow_origins`"))
}
