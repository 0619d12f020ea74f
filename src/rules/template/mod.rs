//! Reply templates: Handlebars texts, compiled once and rendered for each request within firm bounds.
//!
//! The grammar is that of the `handlebars` crate, whose parser reads the source. Rendering is our own, since
//! that crate's knows no bounds and copies the context: here every node, iteration and helper call is a step,
//! and steps, time and bytes are counted in one place. `docs/templates.md` is the reference.

mod budget;
mod compile;
mod escape;
mod evaluate;
mod helpers;
mod parse;
mod path;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use escape::Escape;
pub use helpers::HELPERS;

use super::work::Work;
use compile::Node;

/// What a source must keep to.
#[derive(Debug, Clone)]
pub struct TemplateOptions {
    /// Whether a missing value is an error; otherwise it is empty.
    pub strict: bool,
    pub source_bytes_max: usize,
}

/// What one rendering may take.
#[derive(Debug, Clone)]
pub struct RenderLimits {
    /// Of the whole output, and of any value that a helper makes.
    pub output_bytes_max: usize,
    pub time_max: Duration,
    /// Nodes, iterations and helper calls; what a helper makes counts a step for each KiB.
    pub steps_max: u64,
}

/// A compiled template. Cloning shares it. Its `Debug` does not show the source, in which there may be keys.
#[derive(Clone)]
pub struct Template(Arc<Program>);

/// Why a source is no template. Line and column count from 1, in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", place(.at))]
pub struct TemplateError {
    pub message: String,
    pub at: Option<Place>,
}

/// Why a template gave no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// Says the line and the column of the expression.
    #[error("{0}")]
    Failed(String),
    #[error("the output is too large")]
    OutputTooLarge,
    #[error("it takes too long")]
    TooSlow,
    #[error("it takes too many steps")]
    TooManySteps,
}

/// A place in a source, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

/// What a source was compiled to.
struct Program {
    body: Body,
    escape: Escape,
    strict: bool,
}

enum Body {
    Static(Vec<u8>),
    Nodes(Vec<Node>),
}

impl Template {
    /// Reads a source. Refuses what could not be bounded or would fail in any rendering: partials,
    /// decorators, unknown helpers, wrong numbers of arguments, patterns that do not compile. All templates of a
    /// document share its work.
    pub(super) fn compile(
        source: &str,
        escape: Escape,
        options: &TemplateOptions,
        work: &mut Work,
    ) -> Result<Self, TemplateError> {
        if source.len() > options.source_bytes_max {
            let message = format!("the template has more than {} bytes", options.source_bytes_max);
            return Err(TemplateError { message, at: None });
        }
        let body = match source.contains("{{") {
            true => flatten(parse::parse(source, escape, work)?),
            false => Body::Static(source.as_bytes().to_vec()),
        };
        Ok(Self(Arc::new(Program { body, escape, strict: options.strict })))
    }

    /// Whether the output is the same for every context: there are no expressions.
    pub fn is_static(&self) -> bool {
        matches!(self.0.body, Body::Static(_))
    }

    /// The output for a context.
    pub fn render(&self, context: &Value, limits: &RenderLimits) -> Result<Vec<u8>, RenderError> {
        match &self.0.body {
            Body::Static(bytes) if bytes.len() > limits.output_bytes_max => Err(RenderError::OutputTooLarge),
            Body::Static(bytes) => Ok(bytes.clone()),
            Body::Nodes(nodes) => evaluate::render(nodes, self.0.escape, self.0.strict, context, limits),
        }
    }
}

/// Texts alone, as around comments and escaped braces, are static too.
fn flatten(nodes: Vec<Node>) -> Body {
    let mut bytes = Vec::new();
    for node in &nodes {
        match node {
            Node::Text(text) => bytes.extend_from_slice(text.as_bytes()),
            _ => return Body::Nodes(nodes),
        }
    }
    Body::Static(bytes)
}

fn place(at: &Option<Place>) -> String {
    at.map(|at| format!("{at}: ")).unwrap_or_default()
}

impl std::fmt::Debug for Template {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Program { escape, strict, .. } = self.0.as_ref();
        out.debug_struct("Template").field("escape", escape).field("strict", strict).finish_non_exhaustive()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "line {}, column {}", self.line, self.column)
    }
}

impl RenderError {
    /// Says where, for those errors that do not concern the rendering as a whole.
    fn at(self, place: Option<Place>) -> Self {
        match (self, place) {
            (Self::Failed(message), Some(place)) => Self::Failed(format!("{place}: {message}")),
            (other, _) => other,
        }
    }
}
