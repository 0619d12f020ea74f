//! CORS for capture URLs. Their preflights are captured like everything else, so no middleware may
//! swallow them; the API has actix-cors.

use actix_web::HttpResponseBuilder;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::config::CorsRules;

/// Adds what lets the page that sent a request read its answer, where its origin is allowed.
pub fn allow(response: &mut HttpResponseBuilder, request: &HeaderMap, rules: &CorsRules) {
    let Some(origin) = allowed_origin(request, rules) else { return };
    response.insert_header((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin));
    response.append_header((header::VARY, "Origin"));
    response.insert_header((header::ACCESS_CONTROL_EXPOSE_HEADERS, "X-Creel-Capture-Id"));
}

/// Adds the answer to a preflight, where its origin is allowed: any method, any header.
pub fn allow_preflight(response: &mut HttpResponseBuilder, request: &HeaderMap, rules: &CorsRules) {
    if allowed_origin(request, rules).is_none() {
        return;
    }
    allow(response, request, rules);
    for (asked, allowed) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = request.get(asked) {
            response.insert_header((allowed, value.clone()));
        }
    }
    response.insert_header((header::ACCESS_CONTROL_MAX_AGE, rules.max_age_s));
}

fn allowed_origin(request: &HeaderMap, rules: &CorsRules) -> Option<HeaderValue> {
    let origin = request.get(header::ORIGIN)?;
    if rules.allow_origins.iter().any(|allowed| allowed == "*") {
        return Some(HeaderValue::from_static("*"));
    }
    rules.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}
