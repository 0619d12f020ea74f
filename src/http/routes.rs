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
use super::{api, auth, capture, cors_of_api, operations, socket};
use crate::model::Scope;

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

pub fn routes(config: &mut ServiceConfig, state: &State, surface: Surface) {
    use Needs::{Admin, Nothing, Read, ReadAll, Write, WriteAll};

    config
        .service(resource("/healthz", [("GET", Nothing, get().to(operations::healthz))]).wrap(from_fn(net)));
    config.service(resource("/readyz", [("GET", Nothing, get().to(operations::readyz))]).wrap(from_fn(net)));
    if surface.captures() {
        let prefix = &state.settings.capture.prefix;
        config.service(web::scope(&format!("/{prefix}")).default_service(web::to(capture::capture)));
    }
    if surface.serves_api() {
        config.service(
            web::scope("/api")
                .wrap(from_fn(auth::guard))
                .wrap(cors_of_api(&state.settings))
                .wrap(from_fn(net))
                .service(resource("/captures", [("GET", Read, get().to(api::captures::list))]))
                .service(resource(
                    "/captures/{id}",
                    [
                        ("GET", Read, get().to(api::captures::show)),
                        ("DELETE", Write, web::delete().to(api::captures::remove)),
                    ],
                ))
                .service(resource("/captures/{id}/body", [("GET", Read, get().to(api::captures::body))]))
                .service(resource(
                    "/captures/{id}/explain",
                    [("GET", Read, get().to(api::explanations::explain))],
                ))
                .service(resource(
                    "/endpoints",
                    [
                        ("GET", Read, get().to(api::endpoints::list)),
                        ("POST", Write, web::post().to(api::endpoints::generate)),
                    ],
                ))
                .service(resource(
                    "/endpoints/{code}",
                    [
                        ("GET", Read, get().to(api::endpoints::show)),
                        ("PUT", Write, web::put().to(api::endpoints::save)),
                        ("DELETE", Write, web::delete().to(api::endpoints::remove)),
                    ],
                ))
                .service(resource("/rules", [("GET", Read, get().to(api::rules::list))]))
                .service(rule("/rules/import", [("POST", WriteAll, web::post().to(api::imports::import))]))
                .service(rule("/rules/try", [("POST", Read, web::post().to(api::tries::attempt))]))
                .service(rule("/rules/{name}", []))
                .service(resource(
                    "/rules/{name}/hits",
                    [
                        ("GET", Read, get().to(api::rules::hits)),
                        ("DELETE", Write, web::delete().to(api::rules::reset_hits)),
                    ],
                ))
                .service(resource(
                    "/config",
                    [
                        ("GET", ReadAll, get().to(api::config::export)),
                        ("PUT", WriteAll, web::put().to(api::config::replace)),
                    ],
                ))
                .service(resource("/scenarios", [("GET", ReadAll, get().to(api::rules::scenarios))]))
                .service(resource(
                    "/scenarios/{name}",
                    [("PUT", Write, web::put().to(api::rules::set_scenario))],
                ))
                .service(resource(
                    "/endpoints/{code}/captures",
                    [("DELETE", Write, web::delete().to(api::endpoints::remove_captures))],
                ))
                .service(resource("/audit", [("GET", Admin, get().to(api::audit::list))]))
                .service(resource("/nodes", [("GET", Admin, get().to(api::nodes::list))]))
                .service(resource("/settings", [("GET", Admin, get().to(api::settings::show))]))
                .service(resource("/reports/captures", [("GET", Admin, get().to(api::reports::captures))]))
                .service(resource("/reports/endpoints", [("GET", Admin, get().to(api::reports::endpoints))]))
                .service(resource("/stream", [("GET", Read, get().to(socket::stream::stream))]))
                .service(resource("/tickets", [("POST", Read, web::post().to(api::tickets::create))]))
                .service(resource(
                    "/tokens",
                    [
                        ("GET", Admin, get().to(api::tokens::list)),
                        ("POST", Admin, web::post().to(api::tokens::create)),
                    ],
                ))
                .service(resource("/tokens/{id}", [("DELETE", Admin, web::delete().to(api::tokens::revoke))]))
                .default_service(web::to(nothing_here)),
        );
        let metrics = resource("/metrics", [("GET", Admin, get().to(operations::metrics))]);
        config.service(metrics.wrap(from_fn(auth::guard)).wrap(from_fn(net)));
    }
    config.default_service(web::to(nothing_here));
}

/// A rule by its name, which may be a word that more than rules are found under.
fn rule<const N: usize>(path: &str, more: [(&'static str, Needs, Route); N]) -> Resource {
    let own = [
        ("GET", Needs::Read, get().to(api::rules::show)),
        ("PUT", Needs::Write, web::put().to(api::rules::save)),
        ("DELETE", Needs::Write, web::delete().to(api::rules::remove)),
    ];
    resource(path, own.into_iter().chain(more))
}

/// A resource that asks what each method needs, answers other methods with a problem, and says which ones it
/// has.
fn resource(path: &str, methods: impl IntoIterator<Item = (&'static str, Needs, Route)>) -> Resource {
    let methods: Vec<_> = methods.into_iter().collect();
    let names = methods.iter().map(|(name, ..)| if *name == "GET" { "GET, HEAD" } else { name });
    let allowed = names.collect::<Vec<_>>().join(", ");
    let resource = web::resource(path);
    let resource = methods
        .into_iter()
        .fold(resource, |resource, (_, needs, route)| resource.route(guarded(route, needs)));
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
        Needs::Nothing => return route,
        Needs::Read => (Scope::Read, false),
        Needs::Write => (Scope::Write, false),
        Needs::ReadAll => (Scope::Read, true),
        Needs::WriteAll => (Scope::Write, true),
        Needs::Admin => (Scope::Admin, true),
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
