//! CORS for capture URLs. Their preflights are captured like everything else, so no middleware may
//! swallow them; the API has actix-cors.

use actix_web::http::header::{self, HeaderMap, HeaderValue};

use crate::config::CorsRules;
use crate::model::HeaderBlock;

/// Adds what lets the page that sent a request read its answer, where its origin is allowed. A reply that says by
/// itself which origin may read it is left alone.
pub fn allow(answer: &mut HeaderMap, origin: Option<&HeaderValue>, rules: &CorsRules) {
    if answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    // Where some origins are allowed, a cache must not give one page's answer to another (Fetch standard, "CORS
    // protocol and HTTP caches").
    if !rules.allow_origins.is_empty() && !allows_all(rules) {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
    let Some(origin) = origin.and_then(|origin| allowed(origin, rules)) else { return };
    answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    answer.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("X-Creel-Capture-Id"));
}

/// Adds the answer to a preflight, where its origin is allowed: any method, any header.
pub fn allow_preflight(
    answer: &mut HeaderMap,
    origin: Option<&HeaderValue>,
    fields: &HeaderBlock,
    rules: &CorsRules,
) {
    allow(answer, origin, rules);
    if !answer.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
        return;
    }
    for (asked, allowed) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(Ok(value)) = fields.get(asked.as_str()).map(HeaderValue::from_bytes) {
            answer.insert(allowed, value);
        }
    }
    answer.insert(header::ACCESS_CONTROL_MAX_AGE, rules.max_age_s.into());
}

fn allowed(origin: &HeaderValue, rules: &CorsRules) -> Option<HeaderValue> {
    if allows_all(rules) {
        return Some(HeaderValue::from_static("*"));
    }
    rules.allow_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn allows_all(rules: &CorsRules) -> bool {
    rules.allow_origins.iter().any(|allowed| allowed == "*")
}
