//! What was really answered to a capture.

use bytes::Bytes;

use super::{EndpointCode, HeaderBlock};

/// The answer as it left this node. Kept beside its capture, in batches and afterwards; one that is
/// missing shows as "not recorded".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The capture's place in the journal.
    pub seq: i64,
    /// What has caught it.
    pub endpoint: EndpointCode,
    pub status: u16,
    pub headers: HeaderBlock,
    /// The body up to [`ANSWER_BODY_BYTES_MAX`](super::limits::ANSWER_BODY_BYTES_MAX).
    pub body: Bytes,
    /// The body's whole size.
    pub body_bytes: u64,
    /// What went wrong: a template that failed, or the name of a fault that a rule asked for.
    pub failure: Option<String>,
    /// From the request's head to the answer handed to the connection, in microseconds.
    pub took_us: i64,
}

impl Answer {
    /// What the answer takes in a queue, in bytes.
    pub fn weight(&self) -> usize {
        256 + self.headers.as_bytes().len() + self.body.len()
    }
}
