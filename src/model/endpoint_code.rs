//! Endpoint codes: the one path segment that names an endpoint.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use super::limits::ENDPOINT_CODE_BYTES_MAX;

/// What stays as it is in a code's URL: RFC 3986's unreserved characters.
const URL_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A valid endpoint code: UTF-8 of 1 to 255 bytes without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct EndpointCode(Arc<str>);

/// Why a text is not an endpoint code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpointCode {
    #[error("an endpoint code has 1 to {ENDPOINT_CODE_BYTES_MAX} bytes")]
    Length,
    #[error("an endpoint code is valid UTF-8")]
    Encoding,
    #[error("an endpoint code has no control characters")]
    Control,
}

impl EndpointCode {
    /// Reads a code from a path segment as it stands in a URL (RFC 3986, percent-encoded).
    pub fn from_segment(segment: &str) -> Result<Self, InvalidEndpointCode> {
        if segment.len() > 3 * ENDPOINT_CODE_BYTES_MAX {
            return Err(InvalidEndpointCode::Length);
        }
        let decoded = percent_decode_str(segment).decode_utf8().map_err(|_| InvalidEndpointCode::Encoding)?;
        Self::parse(&decoded)
    }

    /// Reads a code as it is, without percent-decoding.
    pub fn parse(code: &str) -> Result<Self, InvalidEndpointCode> {
        if code.is_empty() || code.len() > ENDPOINT_CODE_BYTES_MAX {
            return Err(InvalidEndpointCode::Length);
        }
        if code.chars().any(char::is_control) {
            return Err(InvalidEndpointCode::Control);
        }
        Ok(Self(code.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The code as a path segment of a URL.
    pub fn to_segment(&self) -> String {
        utf8_percent_encode(&self.0, URL_SEGMENT).to_string()
    }
}

impl TryFrom<String> for EndpointCode {
    type Error = InvalidEndpointCode;
    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::parse(&code)
    }
}

impl Borrow<str> for EndpointCode {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EndpointCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EndpointCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_encode;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_code_comes_back_from_its_url(code in "\\PC{1,60}") {
            let code = EndpointCode::parse(&code).unwrap();
            let segment = code.to_segment();
            prop_assert!(segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            prop_assert_eq!(EndpointCode::from_segment(&segment), Ok(code));
        }

        #[test]
        fn octets_are_a_code_just_where_they_may(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let segment = percent_encode(&octets, NON_ALPHANUMERIC).to_string();
            let text = std::str::from_utf8(&octets).ok();
            let expected = text.filter(|text| (1..=255).contains(&text.len()) && !text.chars().any(char::is_control));
            let found = EndpointCode::from_segment(&segment).ok();
            prop_assert_eq!(found.as_ref().map(EndpointCode::as_str), expected);
        }

        #[test]
        fn any_segment_is_a_code_or_refused(segment in ".{0,800}") {
            if let Ok(code) = EndpointCode::from_segment(&segment) {
                let again = EndpointCode::parse(code.as_str());
                prop_assert_eq!(again, Ok(code));
            }
        }
    }
}
