//! How long the reading of one document may take, reckoned from what is in it: a pattern or a template of few bytes can
//! take long to be compiled, and nothing can interrupt that.

use super::invalid::Invalid;

/// A piece of work takes some ten nanoseconds at most.
const OF_INQUIRY: u64 = 32 << 20;
const OF_RULE: u64 = 64 << 20;
const OF_REQUEST: u64 = 2 << 20;

/// What is left of it while a document is read.
#[derive(Debug, Clone)]
pub struct Work(u64);

impl Work {
    /// For all expressions of an inquiry together: some three tenths of a second.
    pub fn of_inquiry() -> Self {
        Self(OF_INQUIRY)
    }

    /// For the expression of a rule, or for the templates of a rule or an endpoint.
    pub fn of_rule() -> Self {
        Self(OF_RULE)
    }

    /// For what is compiled only when a request is answered.
    pub fn of_request() -> Self {
        Self(OF_REQUEST)
    }

    /// Takes some of it.
    pub fn take(&mut self, pieces: u64) -> Result<(), Invalid> {
        match self.0.checked_sub(pieces) {
            Some(left) => {
                self.0 = left;
                Ok(())
            }
            None => Err(Invalid::here(
                "all patterns and templates of the document together take too long to be compiled: it must have \
                 fewer, or smaller ones",
            )),
        }
    }
}
