//! The whole table of routes.

use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, ResponseError as _, Route, guard};

use super::net::net;
use super::problem::{Kind, Problem};
use super::server::Surface;
use super::state::State;
use super::{api, auth, capture, cors_of_api, operations, socket};

pub fn routes(config: &mut ServiceConfig, state: &State, surface: Surface) {
    config.service(resource("/healthz", [("GET", get().to(operations::healthz))]).wrap(from_fn(net)));
    config.service(resource("/readyz", [("GET", get().to(operations::readyz))]).wrap(from_fn(net)));
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
                .service(resource("/captures", [("GET", get().to(api::captures::list))]))
                .service(resource(
                    "/captures/{id}",
                    [
                        ("GET", get().to(api::captures::show)),
                        ("DELETE", web::delete().to(api::captures::remove)),
                    ],
                ))
                .service(resource("/captures/{id}/body", [("GET", get().to(api::captures::body))]))
                .service(resource(
                    "/endpoints",
                    [
                        ("GET", get().to(api::endpoints::list)),
                        ("POST", web::post().to(api::endpoints::generate)),
                    ],
                ))
                .service(resource(
                    "/endpoints/{code}",
                    [
                        ("GET", get().to(api::endpoints::show)),
                        ("PUT", web::put().to(api::endpoints::save)),
                        ("DELETE", web::delete().to(api::endpoints::remove)),
                    ],
                ))
                .service(resource("/rules", [("GET", get().to(api::rules::list))]))
                .service(resource(
                    "/rules/{name}",
                    [
                        ("GET", get().to(api::rules::show)),
                        ("PUT", web::put().to(api::rules::save)),
                        ("DELETE", web::delete().to(api::rules::remove)),
                    ],
                ))
                .service(resource(
                    "/rules/{name}/hits",
                    [
                        ("GET", get().to(api::rules::hits)),
                        ("DELETE", web::delete().to(api::rules::reset_hits)),
                    ],
                ))
                .service(resource(
                    "/config",
                    [("GET", get().to(api::config::export)), ("PUT", web::put().to(api::config::replace))],
                ))
                .service(resource("/scenarios", [("GET", get().to(api::rules::scenarios))]))
                .service(resource("/scenarios/{name}", [("PUT", web::put().to(api::rules::set_scenario))]))
                .service(resource(
                    "/endpoints/{code}/captures",
                    [("DELETE", web::delete().to(api::endpoints::remove_captures))],
                ))
                .service(resource("/nodes", [("GET", get().to(api::nodes::list))]))
                .service(resource("/settings", [("GET", get().to(api::settings::show))]))
                .service(resource("/reports/captures", [("GET", get().to(api::reports::captures))]))
                .service(resource("/reports/endpoints", [("GET", get().to(api::reports::endpoints))]))
                .service(resource("/stream", [("GET", get().to(socket::stream::stream))]))
                .default_service(web::to(nothing_here)),
        );
        let metrics = resource("/metrics", [("GET", get().to(operations::metrics))]);
        config.service(metrics.wrap(from_fn(auth::guard)).wrap(from_fn(net)));
    }
    config.default_service(web::to(nothing_here));
}

/// A resource that answers other methods with a problem, and says which ones it has.
fn resource<const N: usize>(path: &str, methods: [(&'static str, Route); N]) -> Resource {
    let names = methods.iter().map(|(name, _)| if *name == "GET" { "GET, HEAD" } else { name });
    let allowed = names.collect::<Vec<_>>().join(", ");
    let resource = web::resource(path);
    let resource = methods.into_iter().fold(resource, |resource, (_, route)| resource.route(route));
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

/// GET, and HEAD with it; what is not to be sent is held back by [`net`].
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

async fn nothing_here() -> HttpResponse {
    Problem::new(Kind::NotFound).error_response()
}
