//! The whole table of routes, and what each needs.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, ResponseError as _, Route, guard};

use super::net::net;
use super::problem::{Kind, Problem};
use super::server::Surface;
use super::state::State;
use super::{api, auth, cors_of_api, operations, room, socket};
use crate::model::Scope;
use Needs::{Admin, Nothing, Read, ReadAll, Write, WriteAll};

/// Where the API stands; the paths of its table go on from there.
const API: &str = "/api";

/// What a request must be allowed, to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// For everybody: no token, no scope.
    Nothing,
    Read,
    Write,
    /// For tokens without a pattern only: it concerns the whole cluster.
    ReadAll,
    WriteAll,
    Admin,
}

impl Needs {
    fn name(self) -> &'static str {
        match self {
            Nothing => "none",
            Read => "read",
            Write => "write",
            ReadAll => "read+",
            WriteAll => "write+",
            Admin => "admin",
        }
    }
}

/// One method of the table, for what is held against it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    pub path: String,
    pub method: &'static str,
    /// The least scope that opens it, with a `+` where it is for tokens without a pattern; or `none`.
    pub scope: &'static str,
}

pub fn routes(config: &mut ServiceConfig, state: &State, surface: Surface) {
    let settings = &state.settings;
    for row in for_operators() {
        let is_open = row.methods.iter().all(|(_, needs, _)| *needs == Nothing);
        if is_open {
            config.service(resource(row).wrap(from_fn(net)));
        } else if surface.serves_api() {
            config.service(resource(row).wrap(from_fn(auth::guard)).wrap(from_fn(net)));
        }
    }
    if surface.serves_api() && settings.api.enabled {
        if settings.docs.enabled {
            for row in descriptions() {
                config.service(resource(row).wrap(cors_of_api(settings)).wrap(from_fn(net)));
            }
        }
        let scope = web::scope(API)
            .wrap(from_fn(room::for_answers))
            .wrap(from_fn(auth::guard))
            .wrap(cors_of_api(settings))
            .wrap(from_fn(net))
            .default_service(web::to(nothing_here));
        config.service(the_api().into_iter().fold(scope, |scope, row| scope.service(resource(row))));
    }
    config.default_service(web::to(nothing_here).wrap(from_fn(net)));
}

/// Every method of every route but capture. HEAD goes with GET, and is not listed; what a word of ours under
/// `/rules/` does as a rule's name stands under `/rules/{name}`.
pub fn operations() -> Vec<Operation> {
    let tables = [("", for_operators()), ("", descriptions()), (API, the_api())];
    let rows = tables.into_iter().flat_map(|(prefix, rows)| rows.into_iter().map(move |row| (prefix, row)));
    rows.flat_map(|(prefix, row)| {
        let operation = move |(method, needs, _): (_, Needs, _)| Operation {
            path: format!("{prefix}{}", row.path),
            method,
            scope: needs.name(),
        };
        row.methods.into_iter().map(operation)
    })
    .collect()
}

/// One resource of the table: its path, and each method with what it needs and who answers it.
struct Row {
    path: &'static str,
    methods: Vec<(&'static str, Needs, Route)>,
    /// What it does besides, and is listed elsewhere.
    more: Vec<(&'static str, Needs, Route)>,
}

impl Row {
    /// The path is a word that a rule may have as its name.
    fn and_a_rule(self) -> Self {
        Self { more: a_rule().into(), ..self }
    }
}

fn row<const N: usize>(path: &'static str, methods: [(&'static str, Needs, Route); N]) -> Row {
    Row { path, methods: methods.into(), more: Vec::new() }
}

fn for_operators() -> Vec<Row> {
    vec![
        row("/healthz", [("GET", Nothing, get().to(operations::healthz))]),
        row("/readyz", [("GET", Nothing, get().to(operations::readyz))]),
        row("/metrics", [("GET", Admin, get().to(operations::metrics))]),
    ]
}

fn the_api() -> Vec<Row> {
    vec![
        row("/captures", [("GET", Read, get().to(api::captures::list))]),
        row("/captures/wait", [("POST", Read, web::post().to(api::waits::wait))]),
        row("/captures/find", [("POST", Read, web::post().to(api::inquiries::find))]),
        row("/captures/count", [("POST", Read, web::post().to(api::inquiries::count))]),
        row("/captures/verify", [("POST", Read, web::post().to(api::inquiries::verify))]),
        row(
            "/captures/{id}",
            [
                ("GET", Read, get().to(api::captures::show)),
                ("DELETE", Write, web::delete().to(api::captures::remove)),
            ],
        ),
        row("/captures/{id}/body", [("GET", Read, get().to(api::captures::body))]),
        row("/captures/{id}/explain", [("GET", Read, get().to(api::explanations::explain))]),
        row(
            "/endpoints",
            [
                ("GET", Read, get().to(api::endpoints::list)),
                ("POST", Write, web::post().to(api::endpoints::generate)),
            ],
        ),
        row(
            "/endpoints/{code}",
            [
                ("GET", Read, get().to(api::endpoints::show)),
                ("PUT", Write, web::put().to(api::endpoints::save)),
                ("DELETE", Write, web::delete().to(api::endpoints::remove)),
            ],
        ),
        row("/rules", [("GET", Read, get().to(api::rules::list))]),
        row("/rules/import", [("POST", WriteAll, web::post().to(api::imports::import))]).and_a_rule(),
        row("/rules/try", [("POST", Read, web::post().to(api::tries::attempt))]).and_a_rule(),
        row("/rules/{name}", a_rule()),
        row(
            "/rules/{name}/hits",
            [
                ("GET", Read, get().to(api::rules::hits)),
                ("DELETE", Write, web::delete().to(api::rules::reset_hits)),
            ],
        ),
        row(
            "/config",
            [
                ("GET", ReadAll, get().to(api::config::export)),
                ("PUT", WriteAll, web::put().to(api::config::replace)),
            ],
        ),
        row("/scenarios", [("GET", ReadAll, get().to(api::rules::scenarios))]),
        row("/scenarios/{name}", [("PUT", Write, web::put().to(api::rules::set_scenario))]),
        row(
            "/endpoints/{code}/captures",
            [("DELETE", Write, web::delete().to(api::endpoints::remove_captures))],
        ),
        row("/audit", [("GET", Admin, get().to(api::audit::list))]),
        row("/nodes", [("GET", Admin, get().to(api::nodes::list))]),
        row(
            "/runs",
            [("GET", Read, get().to(api::runs::list)), ("POST", Write, web::post().to(api::runs::open))],
        ),
        row(
            "/runs/{id}",
            [
                ("GET", Read, get().to(api::runs::show)),
                ("DELETE", Write, web::delete().to(api::runs::remove)),
            ],
        ),
        row("/runs/{id}/close", [("POST", Write, web::post().to(api::runs::close))]),
        row("/runs/{id}/summary", [("GET", Read, get().to(api::runs::summary))]),
        row("/settings", [("GET", Admin, get().to(api::settings::show))]),
        row("/reports/captures", [("GET", Admin, get().to(api::reports::captures))]),
        row("/reports/endpoints", [("GET", Admin, get().to(api::reports::endpoints))]),
        row("/stream", [("GET", Read, get().to(socket::stream::stream))]),
        row("/tickets", [("POST", Read, web::post().to(api::tickets::create))]),
        row(
            "/tokens",
            [
                ("GET", Admin, get().to(api::tokens::list)),
                ("POST", Admin, web::post().to(api::tokens::create)),
            ],
        ),
        row("/tokens/{id}", [("DELETE", Admin, web::delete().to(api::tokens::revoke))]),
    ]
}

fn a_rule() -> [(&'static str, Needs, Route); 3] {
    [
        ("GET", Read, get().to(api::rules::show)),
        ("PUT", Write, web::put().to(api::rules::save)),
        ("DELETE", Write, web::delete().to(api::rules::remove)),
    ]
}

/// For everybody, since browsers send no token with a navigation; they say what stands in the repository.
fn descriptions() -> Vec<Row> {
    vec![
        row("/api/openapi.json", [("GET", Nothing, get().to(api::docs::document))]),
        row("/api/docs", [("GET", Nothing, get().to(api::docs::page))]),
        row("/api/docs/{file}", [("GET", Nothing, get().to(api::docs::file))]),
    ]
}

/// A resource that asks what each method needs, answers other methods with a problem, and says which ones it
/// has.
fn resource(row: Row) -> Resource {
    let methods: Vec<_> = row.more.into_iter().chain(row.methods).collect();
    let names = methods.iter().map(|(name, ..)| if *name == "GET" { "GET, HEAD" } else { name });
    let allowed = names.collect::<Vec<_>>().join(", ");
    let resource = methods
        .into_iter()
        .fold(web::resource(row.path), |resource, (_, needs, route)| resource.route(guarded(route, needs)));
    resource.default_service(web::to(move |method: Method| {
        let allowed = allowed.clone();
        async move {
            let problem =
                Problem::because(Kind::MethodNotAllowed, format!("{method} is not one of {allowed}"));
            let mut response = problem.error_response();
            if let Ok(value) = allowed.parse() {
                response.headers_mut().insert(actix_web::http::header::ALLOW, value);
            }
            response
        }
    }))
}

fn guarded(route: Route, needs: Needs) -> Route {
    let (scope, whole) = match needs {
        Nothing => return route,
        Read => (Scope::Read, false),
        Write => (Scope::Write, false),
        ReadAll => (Scope::Read, true),
        WriteAll => (Scope::Write, true),
        Admin => (Scope::Admin, true),
    };
    route.wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| {
        auth::require(scope, whole, request, next)
    }))
}

/// GET, and HEAD with it; what is not to be sent is held back by [`net`].
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn nothing_here() -> HttpResponse {
    Problem::new(Kind::NotFound).error_response()
}
