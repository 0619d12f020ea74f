//! What one request is called: in its answer, in problems and in logs alike, so that who was told of a problem
//! can ask about it.

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web;

use super::state::State;
use crate::model::time::id_at;

pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

const BYTES_MAX: usize = 64;

/// An id of 1 to 64 visible characters of ASCII, so that it can stand in any header, document and log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(String);

impl RequestId {
    /// The request's own where it has sent one that is sane, else a fresh one (UUIDv7).
    pub fn of(request: &ServiceRequest) -> Self {
        // Without a state there is no clock; that is so in tests of single handlers.
        let now_us = || request.app_data::<web::Data<State>>().map_or(0, |state| state.clock.now_us());
        Self::given(request.headers()).unwrap_or_else(|| Self(id_at(now_us()).to_string()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("visible ASCII is a header's value")
    }

    fn given(headers: &HeaderMap) -> Option<Self> {
        let given = headers.get(HEADER)?.to_str().ok()?;
        let is_sane = (1..=BYTES_MAX).contains(&given.len()) && given.bytes().all(|b| b.is_ascii_graphic());
        is_sane.then(|| Self(given.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn a_sane_id_is_taken_and_another_is_replaced() {
        let of = |given: &[u8]| {
            let value = HeaderValue::from_bytes(given).unwrap();
            RequestId::of(&TestRequest::default().insert_header((HEADER, value)).to_srv_request()).0
        };
        for sane in ["a", "01a1fd89-862a-751f-bec5-68b316cc53df", "{\"~!", &"x".repeat(64)] {
            assert_eq!(of(sane.as_bytes()), sane);
        }
        for other in ["", "a b", "a\tb", "\u{e9}", &"x".repeat(65)] {
            assert!(uuid::Uuid::parse_str(&of(other.as_bytes())).is_ok(), "{other:?}");
        }
    }
}
