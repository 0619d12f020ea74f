//! The net under the API: panics and the framework's own errors are answered as problems, HEAD is answered
//! as GET is, less the content, HTTP/1.0 without chunks, bodies that no handler reads are drained, each answer
//! names its request, and browsers are told to make nothing of it.

use std::panic::AssertUnwindSafe;

use actix_web::body::{self, BodySize, BoxBody, MessageBody};
use actix_web::dev::{Payload, ServiceRequest, ServiceResponse};
use actix_web::http::{ConnectionType, Method, Version, header};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError as _};
use futures_util::FutureExt as _;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::drain::{Shared, draining};
use super::headers::secure_headers;
use super::inflow::PIECE_BYTES;
use super::misread::{goes_over, within_announced};
use super::problem::{Kind, Problem};
use super::request_id::{self, RequestId};
use super::room::in_pieces;

/// Wraps a scope.
pub async fn net(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let rest = match request.take_payload() {
        Payload::None => None,
        body => Some(Shared::new(within_announced(request.head(), body))),
    };
    // A connection that is upgraded has no body, and no end that could be waited for.
    let is_upgrade = goes_over(request.head());
    request.set_payload(rest.clone().map_or(Payload::None, Shared::payload));
    // The pattern, not the path: an endpoint's code may be a secret.
    let route = request.match_pattern().unwrap_or_default();
    let id = RequestId::of(&request);
    let span = tracing::debug_span!(
        "request",
        method = %request.method(),
        route,
        request_id = id.as_str(),
        status = Empty
    );
    let answered = unpanicked(next.call(request)).instrument(span.clone()).await;
    let response = match answered.map_err(|problem| problem.of_request(&id))? {
        Ok(response) => response.map_into_boxed_body(),
        Err(error) => {
            let problem = error.as_error::<Problem>().cloned().unwrap_or_else(|| {
                Problem::of_framework(error.as_response_error().status_code(), &error.to_string())
            });
            return Err(problem.of_request(&id).into());
        }
    };
    let mut response = as_problem(response, &id);
    secure_headers(response.headers_mut());
    response.headers_mut().insert(request_id::HEADER, id.to_header());
    let (request, response) = response.into_parts();
    let response = response.map_body(|_, body| by_pieces(body));
    let response = framed(response, request.method() == Method::HEAD, request.version());
    let response = ServiceResponse::new(request, response);
    span.record("status", response.status().as_u16());
    Ok(match rest.filter(|_| !is_upgrade) {
        Some(rest) => response.map_body(|_, body| draining(body, rest.payload())),
        None => response,
    })
}

/// The framework copies what it is handed at once, and holds that until it is taken.
fn by_pieces(body: BoxBody) -> BoxBody {
    match body.try_into_bytes() {
        Ok(bytes) if bytes.len() > PIECE_BYTES => in_pieces(bytes, None),
        Ok(bytes) => BoxBody::new(bytes),
        Err(body) => body,
    }
}

/// Runs work whose panic is one request's: whoever sent it is told, and the node goes on. The panic itself
/// is logged and counted where it happens, by the process's hook.
pub fn unpanicked<T>(work: impl Future<Output = T>) -> impl Future<Output = Result<T, Problem>> {
    AssertUnwindSafe(work).catch_unwind().map(|done| done.map_err(|_| Problem::new(Kind::Internal)))
}

/// Says in a problem which request's it is. The framework's own errors come as plain text, or without content;
/// ours never do.
fn as_problem(mut response: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    let ours = response.response_mut().extensions_mut().remove::<Problem>();
    if let Some(problem) = ours {
        return response.map_body(|_, _| BoxBody::new(problem.of_request(id).document()));
    }
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let ours = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/"));
    if ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let detail = response.response().error().map(ToString::to_string).unwrap_or_default();
    let (request, theirs) = response.into_parts();
    let mut problem = Problem::of_framework(status, &detail).of_request(id).error_response();
    for (name, value) in theirs.headers().iter().filter(|(name, _)| **name != header::CONTENT_TYPE) {
        problem.headers_mut().append(name.clone(), value.clone());
    }
    ServiceResponse::new(request, problem)
}

/// Frames an answer that has no length. HEAD's has no content, and ends at once (RFC 9110, section 9.3.2); below HTTP/1.1,
/// where nobody knew chunks, it ends with its connection (RFC 9112, section 6.1).
pub fn framed(mut response: HttpResponse, is_head: bool, version: Version) -> HttpResponse {
    if response.body().size() != BodySize::Stream {
        return response;
    } else if is_head {
        return response.set_body(BoxBody::new(body::None::new()));
    } else if version < Version::HTTP_11 {
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    response
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json, try_call_service};
    use actix_web::{App, web};
    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered_with_a_problem() {
        async fn broken() -> HttpResponse {
            panic!("a mistake of ours")
        }
        let app = init_service(
            App::new().service(web::scope("/api").wrap(from_fn(net)).route("/broken", web::get().to(broken))),
        )
        .await;
        let error = try_call_service(&app, TestRequest::get().uri("/api/broken").to_request()).await;
        let response = error.expect_err("an error goes up to the app").error_response();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers().get("content-type").unwrap(), Problem::CONTENT_TYPE);
    }

    #[tokio::test]
    async fn the_frameworks_errors_become_problems() {
        async fn plain() -> HttpResponse {
            HttpResponse::BadRequest().insert_header(("vary", "origin")).body("plain text")
        }
        let app = init_service(
            App::new().service(web::scope("/api").wrap(from_fn(net)).route("/plain", web::get().to(plain))),
        )
        .await;
        let response = call_service(&app, TestRequest::get().uri("/api/plain").to_request()).await;
        assert_eq!(response.headers().get("vary").unwrap(), "origin");
        assert_eq!(response.headers().get("content-type").unwrap(), Problem::CONTENT_TYPE);
        let problem: Value = read_body_json(response).await;
        assert_eq!(problem["type"], "/problems/bad-request");
        assert!(problem["request_id"].is_string());
    }
}
