//! Which captures a stream's reader wants to see, beyond endpoint and method: those that an expression matches. It is
//! asked when an event's turn comes, on the reader's own time.

use std::sync::Arc;

use serde_json::Value;
use tokio::time::{Duration, Instant};

use crate::database::DatabaseError;
use crate::feed::Event;
use crate::http::api::query::invalid;
use crate::http::problem::Problem;
use crate::http::state::State;
use crate::intake::Reserved;
use crate::model::EntryKind;
use crate::rules::{Expression, Invalid, short};
use crate::storage;

/// Matching that takes longer lets others have their turn.
const STRETCH: Duration = Duration::from_millis(1);

/// Captures that match; everything else is wanted always.
pub struct Wanted {
    state: Arc<State>,
    /// None: all are.
    expression: Option<Expression>,
    /// Room for the expression.
    _held: Option<Reserved>,
}

/// Why an expression is not taken.
pub enum Unwanted {
    Invalid(Invalid),
    NoRoom(Problem),
}

impl From<Unwanted> for Problem {
    fn from(unwanted: Unwanted) -> Self {
        match unwanted {
            Unwanted::Invalid(why) => invalid("match", why),
            Unwanted::NoRoom(problem) => problem,
        }
    }
}

impl Wanted {
    /// Reads an expression as a URL has it: JSON, or the short form.
    ///
    /// # Errors
    /// With what is wrong in it, or where there is no room for it on this node.
    pub async fn parse(text: Option<&str>, state: Arc<State>) -> Result<Self, Unwanted> {
        let value = text.map(short::parse_text).transpose().map_err(Unwanted::Invalid)?;
        Self::all(state).changed(value).await
    }

    /// The same reader, who wants to see something else from now on.
    ///
    /// # Errors
    /// With what is wrong in the expression, or where there is no room for it on this node.
    pub async fn changed(&self, expression: Option<Value>) -> Result<Self, Unwanted> {
        let Some(value) = expression else { return Ok(Self::all(self.state.clone())) };
        let mut allowance = self.state.allowance();
        let compiled = self.state.compile_inquiry(value, &mut allowance).await.map_err(Unwanted::NoRoom)?;
        let expression = Some(compiled.map_err(Unwanted::Invalid)?);
        let held = Some(self.state.hold(&allowance).map_err(Unwanted::NoRoom)?);
        Ok(Self { state: self.state.clone(), expression, _held: held })
    }

    fn all(state: Arc<State>) -> Self {
        Self { state, expression: None, _held: None }
    }

    /// Whether an event is to be sent.
    ///
    /// # Errors
    /// Where a body in parts is to be read, and the database does not answer.
    pub async fn has(&self, event: &Event) -> Result<bool, DatabaseError> {
        let (Some(expression), EntryKind::Capture(capture)) = (&self.expression, &event.entry.what) else {
            return Ok(true);
        };
        let began = Instant::now();
        let most = self.state.settings.rules.body_bytes_max;
        let database = self.state.database.as_ref();
        let matches = storage::bodies::matches(database, expression, capture, most).await?;
        if began.elapsed() > STRETCH {
            tokio::task::yield_now().await;
        }
        Ok(matches)
    }
}
