//! Everything that can go wrong at the API, in one table: kind, status, title. Answered as
//! `application/problem+json` (RFC 9457); `docs/problems.md` explains each.

use std::fmt;

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;

use super::headers::secure;
use super::request_id::{self, RequestId};
use crate::database::DatabaseError;
use crate::inquiry::InquiryError;
use crate::intake::Refusal;

macro_rules! kinds {
    ($($name:ident = $slug:literal, $status:literal, $title:literal;)+) => {
        /// The kinds of problem.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($name),+ }

        impl Kind {
            #[cfg(test)]
            pub const ALL: &'static [Kind] = &[$(Kind::$name),+];

            pub fn slug(self) -> &'static str {
                match self { $(Kind::$name => $slug),+ }
            }

            pub fn status(self) -> u16 {
                match self { $(Kind::$name => $status),+ }
            }

            pub fn title(self) -> &'static str {
                match self { $(Kind::$name => $title),+ }
            }
        }
    };
}

kinds! {
    BadRequest = "bad-request", 400, "The request is not valid";
    InvalidParameter = "invalid-parameter", 400, "A parameter is not valid";
    InvalidCursor = "invalid-cursor", 400, "The cursor is not valid";
    InvalidRule = "invalid-rule", 400, "The rule is not valid";
    InvalidConfiguration = "invalid-configuration", 400, "The configuration is not valid";
    InvalidEndpoint = "invalid-endpoint", 400, "The endpoint's settings are not valid";
    InvalidEndpointCode = "invalid-endpoint-code", 400, "The endpoint code is not valid";
    InvalidWebSocketHandshake = "invalid-websocket-handshake", 400, "The WebSocket handshake is not valid";
    BodyIncomplete = "body-incomplete", 400, "The body ended before its end";
    Unauthorized = "unauthorized", 401, "A token is needed";
    SecretNeeded = "secret-needed", 401, "This endpoint wants a secret";
    AddressDenied = "address-denied", 403, "This endpoint takes nothing from this address";
    ForeignHost = "foreign-host", 403, "The request names another host";
    ForeignOrigin = "foreign-origin", 403, "The request comes from a page of another origin";
    Forbidden = "forbidden", 403, "The token is not enough";
    NotFound = "not-found", 404, "There is nothing here";
    UnknownCapture = "unknown-capture", 404, "There is no such capture";
    UnknownEndpoint = "unknown-endpoint", 404, "There is no such endpoint";
    UnknownRule = "unknown-rule", 404, "There is no such rule";
    UnknownRun = "unknown-run", 404, "There is no such run";
    UnknownToken = "unknown-token", 404, "There is no such token";
    MethodNotAllowed = "method-not-allowed", 405, "The method is not for this resource";
    BodyTimeout = "body-timeout", 408, "The body did not arrive in time";
    PreconditionFailed = "precondition-failed", 412, "It is not in the state that was asked for";
    BodyTooLarge = "body-too-large", 413, "The body is over the limit";
    WebSocketVersion = "websocket-version", 426, "WebSocket version 13 is needed";
    RateLimited = "rate-limited", 429, "This address sends too much";
    TemplateFailed = "template-failed", 500, "The reply's template failed";
    TooManyFailures = "too-many-failures", 429, "This address has been wrong too often";
    DataRefused = "data-refused", 500, "The database refused the data";
    Internal = "internal", 500, "Creel made a mistake";
    Overloaded = "overloaded", 503, "There is no room at the moment";
    DatabaseAway = "database-away", 503, "The database is away";
    NotConfirmed = "not-confirmed", 503, "The database did not confirm in time";
    Stopping = "stopping", 503, "This node is stopping";
    StorageFull = "storage-full", 507, "What may be kept is kept";
}

/// A problem with what is particular about it.
#[derive(Debug, Clone)]
pub struct Problem {
    pub kind: Kind,
    detail: Option<String>,
    retry_after_s: Option<u32>,
    /// Whether the secret is asked for by the Basic scheme (RFC 7617).
    asks_for_basic: bool,
    request_id: Option<RequestId>,
}

impl Problem {
    pub const CONTENT_TYPE: &'static str = "application/problem+json";

    pub fn new(kind: Kind) -> Self {
        Self { kind, detail: None, retry_after_s: None, asks_for_basic: false, request_id: None }
    }

    pub fn because(kind: Kind, detail: impl fmt::Display) -> Self {
        Self { detail: Some(detail.to_string()), ..Self::new(kind) }
    }

    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }

    /// The problem of one request; [`super::net`] knows which.
    pub fn of_request(mut self, id: &RequestId) -> Self {
        self.request_id = Some(id.clone());
        self
    }

    /// What the framework says where it answers in our place.
    pub fn of_framework(status: StatusCode, detail: &str) -> Self {
        let kind = match status.as_u16() {
            404 => Kind::NotFound,
            405 => Kind::MethodNotAllowed,
            413 => Kind::BodyTooLarge,
            400..=499 => Kind::BadRequest,
            _ => Kind::Internal,
        };
        Self { detail: (!detail.is_empty()).then(|| detail.to_owned()), ..Self::new(kind) }
    }

    pub fn document(&self) -> String {
        let document = Document {
            r#type: format!("/problems/{}", self.kind.slug()),
            title: self.kind.title(),
            status: self.kind.status(),
            detail: self.detail.as_deref(),
            request_id: self.request_id.as_ref().map(RequestId::as_str),
        };
        serde_json::to_string(&document).expect("plain texts and a number are JSON")
    }
}

/// The document as it is sent (RFC 9457, section 3.1).
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{}: {detail}", self.kind.title()),
            None => f.write_str(self.kind.title()),
        }
    }
}

impl std::error::Error for Problem {}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header((header::CONTENT_TYPE, HeaderValue::from_static(Self::CONTENT_TYPE)));
        if let Some(seconds) = self.retry_after_s {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        match self.kind {
            Kind::Unauthorized => drop(response.insert_header((header::WWW_AUTHENTICATE, "Bearer"))),
            Kind::SecretNeeded if self.asks_for_basic => {
                response
                    .insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"capture\", charset=\"UTF-8\""));
            }
            // RFC 6455, section 4.2.2.
            Kind::WebSocketVersion => {
                response.insert_header((header::SEC_WEBSOCKET_VERSION, "13"));
                response.insert_header((header::UPGRADE, "websocket"));
            }
            _ => {}
        }
        if let Some(id) = &self.request_id {
            response.insert_header((request_id::HEADER, id.to_header()));
        }
        // Kept beside the answer, for the net to say which request's it is.
        response.extensions_mut().insert(self.clone());
        secure(response.body(self.document()))
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Unavailable(_) | DatabaseError::Full(_) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "a request failed");
                Self::new(Kind::DatabaseAway).retry_after(1)
            }
            DatabaseError::Busy => Self::because(Kind::Overloaded, error).retry_after(1),
            _ => {
                tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
                Self::new(Kind::Internal)
            }
        }
    }
}

impl From<InquiryError> for Problem {
    fn from(error: InquiryError) -> Self {
        match error {
            InquiryError::Busy => Self::because(Kind::Overloaded, error).retry_after(1),
            InquiryError::ForeignCursor => Self::because(Kind::InvalidCursor, "it is of another journal"),
            InquiryError::Database(error) => error.into(),
        }
    }
}

/// How a refusal is answered; `retry_after_s` where trying again may help.
pub fn of_refusal(refusal: Refusal, retry_after_s: u32) -> Problem {
    let kind = match refusal {
        Refusal::UnknownEndpoint => Kind::UnknownEndpoint,
        Refusal::TooManyEndpoints | Refusal::StorageFull => Kind::StorageFull,
        Refusal::RateLimited => Kind::RateLimited,
        Refusal::BodiesFull | Refusal::QueueFull => Kind::Overloaded,
        Refusal::DatabaseAway => Kind::DatabaseAway,
        Refusal::DeadlinePassed => Kind::NotConfirmed,
        Refusal::DataRefused => Kind::DataRefused,
        Refusal::AccessDenied { basic } => {
            return Problem { asks_for_basic: basic, ..Problem::new(Kind::SecretNeeded) };
        }
        Refusal::SourceDenied => return Problem::new(Kind::AddressDenied),
    };
    let problem = Problem::because(kind, refusal);
    match kind.status() {
        429 | 503 => problem.retry_after(retry_after_s),
        _ => problem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_documented() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/problems.md");
        let page = std::fs::read_to_string(page).unwrap();
        for kind in Kind::ALL {
            let heading = format!("## `{}` ({})", kind.slug(), kind.status());
            assert!(page.contains(&heading), "docs/problems.md lacks {heading}");
        }
    }

    #[test]
    fn the_api_document_knows_every_kind() {
        let document: serde_json::Value = serde_json::from_str(crate::http::api::docs::DOCUMENT).unwrap();
        let listed = &document["components"]["schemas"]["Problem"]["properties"]["type"]["enum"];
        let kinds: Vec<String> = Kind::ALL.iter().map(|kind| format!("/problems/{}", kind.slug())).collect();
        assert_eq!(*listed, serde_json::json!(kinds));
    }
}
