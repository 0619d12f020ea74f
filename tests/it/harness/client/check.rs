//! What must hold of everything that a subscriber was sent.

use std::collections::HashSet;

use serde_json::Value;

use super::load::Acknowledged;
use crate::harness::TestResult;

/// The captures among messages.
pub fn captures(messages: &[Value]) -> Vec<&Value> {
    messages
        .iter()
        .filter(|message| message["type"] == "capture")
        .map(|message| &message["capture"])
        .collect()
}

/// No capture twice, none before an earlier one, and no gap that the stream itself told of.
pub fn check_exactly_once_in_order(messages: &[Value]) -> TestResult {
    let gap = messages.iter().find(|message| message["type"] == "truncated" || message["type"] == "reset");
    if let Some(gap) = gap {
        return Err(format!("the stream tells of a gap: {gap}").into());
    }
    let mut ids = HashSet::new();
    let mut last = i64::MIN;
    for capture in captures(messages) {
        let seq = capture["seq"].as_i64().ok_or_else(|| format!("a capture without seq: {capture}"))?;
        if seq <= last {
            return Err(format!("capture {seq} came after {last}").into());
        }
        if !ids.insert(id(capture)?) {
            return Err(format!("a capture came twice: {capture}").into());
        }
        last = seq;
    }
    Ok(())
}

/// Everything that was acknowledged is among the captures (of a stream or a listing).
pub fn check_has_all(captures: &[&Value], acknowledged: &[Acknowledged]) -> TestResult {
    let ids = captures.iter().map(|capture| id(capture)).collect::<TestResult<HashSet<_>>>()?;
    let missing: Vec<_> =
        acknowledged.iter().filter(|sent| !ids.contains(sent.capture_id.as_str())).collect();
    match missing.first() {
        None => Ok(()),
        Some(first) => {
            let (missing, all) = (missing.len(), acknowledged.len());
            Err(format!("{missing} of {all} acknowledged captures are missing, the first: {first:?}").into())
        }
    }
}

fn id(capture: &Value) -> TestResult<&str> {
    capture["id"].as_str().ok_or_else(|| format!("a capture without id: {capture}").into())
}
