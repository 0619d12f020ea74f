//! JSONPath within a rendering's budget.

use serde_json::Value;

use crate::rules::json_path::{Query, measure};
use crate::rules::template::RenderError;
use crate::rules::template::budget::Budget;

const VISITS_A_STEP: u64 = 64;

/// What a path finds; its cost is charged before it runs.
pub fn find<'v>(
    query: &Query,
    document: &'v Value,
    budget: &mut Budget,
) -> Result<Vec<&'v Value>, RenderError> {
    let size = measure(document);
    budget.charge(size.0 / VISITS_A_STEP)?;
    let visits = query.visits(size).map_err(|_| RenderError::TooManySteps)?;
    budget.charge(visits / VISITS_A_STEP)?;
    budget.look()?;
    Ok(query.find(document))
}
