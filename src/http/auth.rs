//! Who may use everything but capture: whoever has a token whose scope is enough; and without tokens, whoever
//! is not a web page of another host (DNS rebinding).

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;

use actix_web::body::MessageBody;
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderValue;
use actix_web::http::uri::Authority;
use actix_web::http::{Method, header};
use actix_web::middleware::Next;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, ResponseError, web};

use super::client::{Ends, own_authority, split_port};
use super::problem::{Kind, Problem};
use super::state::State;
use crate::access::{Denied, Holder, Identity};
use crate::config::{AuthMode, Settings};
use crate::model::{EndpointCode, Glob, Scope};

/// Whoever has sent a request, for handlers. A route that nobody guards has none.
pub struct Caller(pub Arc<Identity>, Option<Authority>);

impl FromRequest for Caller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let identity = request.extensions().get::<Arc<Identity>>().cloned();
        let host =
            request.headers().get(header::HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let host = host.filter(|host| !host.as_str().contains('@') && !host.host().is_empty());
        ready(identity.map(|identity| Self(identity, host)).ok_or_else(token_is_needed))
    }
}

impl Caller {
    /// That an endpoint is one of the caller's. It tells nothing of what there is: the pattern is theirs.
    pub fn check_endpoint(&self, code: &EndpointCode) -> Result<(), Problem> {
        match self.0.sees(code) {
            true => Ok(()),
            false => Err(Problem::because(Kind::Forbidden, "the token is for other endpoints")),
        }
    }
}

impl Caller {
    /// Where they have sent their request to, as far as it could stand in a URL.
    pub fn host(&self) -> Option<&Authority> {
        self.1.as_ref()
    }

    /// Who they are, for the record of changes; None where nobody is asked.
    pub fn by(&self) -> Option<&str> {
        match &self.0.holder {
            Holder::Anybody => None,
            holder => Some(holder.name()),
        }
    }

    /// That they would be let in still: time has passed since they were, while they sent a body.
    pub fn check_still(&self, state: &State) -> Result<(), Problem> {
        if state.access.holds(&self.0) {
            return Ok(());
        }
        state.metrics.unauthorized.inc();
        Err(token_is_over())
    }

    /// That a rule is one of the caller's: both its name and the endpoints that it is for lie within the
    /// pattern, so that neither tells of anybody else's.
    pub fn check_rule(&self, name: &str, scope: Option<&Glob>) -> Result<(), Problem> {
        match self.has_rule(name, scope) {
            true => Ok(()),
            false => {
                let why = "with this token, a rule's name and scope lie within the token's pattern";
                Err(Problem::because(Kind::Forbidden, why))
            }
        }
    }

    pub fn has_rule(&self, name: &str, scope: Option<&Glob>) -> bool {
        let Some(pattern) = &self.0.pattern else { return true };
        pattern.matches(name) && scope.is_none_or(|scope| pattern.contains(scope))
    }

    /// A code of the caller's own, made of something random.
    pub fn new_code(&self, random: &str) -> Result<EndpointCode, Problem> {
        let code = self.0.pattern.as_ref().map_or(random.to_owned(), |pattern| pattern.filled(random));
        EndpointCode::parse(&code).map_err(|error| Problem::because(Kind::InvalidEndpointCode, error))
    }
}

/// Guards a scope: finds out who sends a request, and lets nobody else in.
pub async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let state = request.app_data::<web::Data<State>>().expect("every app has a state").clone();
    match identify(request.request(), &state).await {
        Ok(identity) => {
            request.extensions_mut().insert(identity);
            next.call(request).await.map(ServiceResponse::map_into_left_body)
        }
        Err(problem) => {
            state.metrics.unauthorized.inc();
            Ok(request.into_response(problem.error_response().map_into_right_body()))
        }
    }
}

/// Guards a route: it is for those whose scope is enough, `whole` where they must see all endpoints.
pub async fn require(
    scope: Scope,
    whole: bool,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let allowed =
        request.extensions().get::<Arc<Identity>>().is_some_and(|identity| identity.may(scope, whole));
    if allowed {
        return next.call(request).await.map(ServiceResponse::map_into_left_body);
    }
    if let Some(state) = request.app_data::<web::Data<State>>() {
        state.metrics.unauthorized.inc();
    }
    let without = if whole { ", for all endpoints" } else { "" };
    let wanted = format!("the scope `{}`{without} is needed", scope.name());
    let problem = Problem::because(Kind::Forbidden, wanted);
    Ok(request.into_response(problem.error_response().map_into_right_body()))
}

async fn identify(request: &HttpRequest, state: &State) -> Result<Arc<Identity>, Problem> {
    let settings = &state.settings;
    let access = &state.access;
    let is_open = access.is_open();
    if is_open {
        check_host(request, settings)?;
        if settings.auth.mode == AuthMode::Tokens {
            check_direct(request)?;
        }
    }
    let server = &settings.server;
    let client = || Ends::of(request.head(), &server.trusted_proxies, server.proxy_headers).client;
    let identity = match (bearer(request), ticket(request)) {
        (None, Some(ticket)) => access.claim(ticket, client()).await?,
        _ if is_open => Identity::all_mighty(Holder::Anybody),
        (Some(token), _) => access.identify(token, client()).await?,
        (None, None) => return Err(token_is_needed()),
    };
    // A page's script may go elsewhere than its own host only where that is allowed; a WebSocket is not
    // subject to CORS, so its origin is checked always.
    if is_open || request.headers().contains_key(header::UPGRADE) {
        check_origin(request, settings)?;
    }
    Ok(identity)
}

fn bearer(request: &HttpRequest) -> Option<&str> {
    let given = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = given.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A ticket, where one is taken: streams alone, since browsers cannot send them a header.
fn ticket(request: &HttpRequest) -> Option<&str> {
    let takes_tickets = request.method() == Method::GET && request.path() == "/api/stream";
    let mut pairs = request.query_string().split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| takes_tickets && *name == "ticket").map(|(_, ticket)| ticket)
}

fn token_is_needed() -> Problem {
    Problem::because(Kind::Unauthorized, "send `Authorization: Bearer <token>`")
}

/// Whoever had a token, and has it no more.
pub fn token_is_over() -> Problem {
    Problem::because(Kind::Unauthorized, "the token is not good any more")
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => token_is_needed(),
            Denied::TooMany(seconds) => Self::because(Kind::TooManyFailures, denied).retry_after(seconds),
            Denied::Database(error) => error.into(),
        }
    }
}

/// A name that a page could have bound to this address is refused: rebinding needs a name.
fn check_host(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    let authority = own_authority(request.head()).unwrap_or_default();
    let host = split_port(authority).0;
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

/// What a proxy brings comes from who knows where, and only a token can tell. Not every proxy says so.
fn check_direct(request: &HttpRequest) -> Result<(), Problem> {
    let is_of_proxies =
        |name: &str| ["forwarded", "via", "x-real-ip"].contains(&name) || name.starts_with("x-forwarded-");
    match request.headers().keys().find(|name| is_of_proxies(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let why = format!(
                "`{name}` says that a proxy brings this, to a node without tokens: set `auth.tokens`, or \
                 `auth.mode` to `none` where the network is trusted"
            );
            Err(Problem::because(Kind::ForeignHost, why))
        }
    }
}

fn check_origin(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    let allowed = &settings.cors.api.allow_origins;
    let Some(origin) = request.headers().get(header::ORIGIN) else {
        // What a page asks for without reading it (an image) names no origin. Other ports of `localhost` are the same
        // site, and other pages.
        let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
        let is_foreign = matches!(site, Some(b"cross-site" | b"same-site"));
        return match is_foreign && !allowed.iter().any(|a| a == "*") {
            true => Err(foreign_origin()),
            false => Ok(()),
        };
    };
    let origin = origin.to_str().unwrap_or_default();
    if allowed.iter().any(|a| a == "*" || a == origin) {
        return Ok(());
    }
    let own = own_authority(request.head()).unwrap_or_default();
    let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
    let public = settings.server.public_url.split_once("://").map_or("", |(_, authority)| authority);
    let same = |other: &str| !other.is_empty() && other.trim_end_matches('/').eq_ignore_ascii_case(authority);
    if same(own) || same(public) {
        return Ok(());
    }
    Err(foreign_origin())
}

fn foreign_origin() -> Problem {
    Problem::because(Kind::ForeignOrigin, "allow the origin with `cors.api.allow_origins`")
}
