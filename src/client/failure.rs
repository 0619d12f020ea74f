//! Why a node did not give what it was asked for.

use std::time::Duration;

use serde_json::Value;

/// A failure to get an answer, or an answer that refuses.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// No connection, or it was lost.
    #[error("failed to reach {url}: {reason}")]
    Unreachable { url: String, reason: String },
    #[error("{url} was silent for {} s", limit.as_secs())]
    Silent { url: String, limit: Duration },
    /// The node said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// What came is not what a node says.
    #[error("{url} does not answer like a node of Creel: {reason}")]
    Garbled { url: String, reason: String },
    #[error("the answer of {url} is over {bytes_max} bytes")]
    TooLarge { url: String, bytes_max: usize },
}

/// A problem (RFC 9457) as a node tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The last segment of `type`: `unknown-capture`. Empty where the answer was no problem.
    pub kind: String,
    pub title: String,
    pub detail: Option<String>,
    /// By which the node's log knows the request.
    pub request_id: Option<String>,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
}

impl Refusal {
    /// Reads a problem; an answer that is none is told by its status alone.
    pub fn read(status: u16, body: &[u8]) -> Self {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().map(str::to_owned);
        let kind = text("type").unwrap_or_default();
        Self {
            status,
            kind: kind.rsplit('/').next().unwrap_or_default().to_owned(),
            title: text("title").unwrap_or_else(|| "The node refused".to_owned()),
            detail: text("detail"),
            request_id: text("request_id"),
            retry_after_s: None,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.title.trim_end_matches('.'))?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        write!(f, " (status {}", self.status)?;
        if let Some(id) = &self.request_id {
            write!(f, ", request {id}")?;
        }
        f.write_str(")")
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_its_request() {
        let body = br#"{"type":"/problems/unknown-rule","title":"There is no such rule","status":404,
                        "detail":"a","request_id":"r-1"}"#;
        let refusal = Refusal::read(404, body);
        assert_eq!(refusal.kind, "unknown-rule");
        assert_eq!(refusal.to_string(), "There is no such rule: a (status 404, request r-1)");
        assert_eq!(Refusal::read(502, b"<html>").to_string(), "The node refused (status 502)");
    }
}
