//! What is wrong with a document that somebody has written, and where in it.

use std::fmt;

/// A mistake in a rule, an endpoint or another document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// A JSON pointer (RFC 6901) into the document.
    pub at: String,
    pub why: String,
}

impl Invalid {
    /// A mistake at the very place; whoever reads the surroundings puts its own step before it.
    pub fn here(why: impl fmt::Display) -> Self {
        Self { at: String::new(), why: why.to_string() }
    }

    /// A mistake in a member of what is being read.
    pub fn member(name: &str, why: impl fmt::Display) -> Self {
        Self::here(why).within(name)
    }

    /// The same mistake, seen from one step further out.
    #[must_use]
    pub fn within(self, step: impl fmt::Display) -> Self {
        let step = step.to_string().replace('~', "~0").replace('/', "~1");
        Self { at: format!("/{step}{}", self.at), why: self.why }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.why) } else { write!(f, "{}: {}", self.at, self.why) }
    }
}
