//! What must hold of everything that a subscriber was sent.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::load::{self, Acknowledged, Sent};
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

/// Each number up to the last once, in order, none left out; everything acknowledged is there, as it was sent.
pub fn check_stream(messages: &[Value], sent: &Sent, last: i64) -> TestResult {
    check_exactly_once_in_order(messages)?;
    let captures = captures(messages);
    let seqs: Vec<i64> = captures.iter().filter_map(|capture| capture["seq"].as_i64()).collect();
    if seqs != (1..=last).collect::<Vec<_>>() {
        return Err(format!("{} captures up to {last}: there is a hole", seqs.len()).into());
    }
    check_has_all(&captures, &sent.acknowledged)?;
    let by_id = captures.iter().map(|capture| Ok((id(capture)?, *capture)));
    let by_id = by_id.collect::<TestResult<HashMap<_, _>>>()?;
    sent.acknowledged.iter().try_for_each(|one| check_as_sent(by_id[one.capture_id.as_str()], one, sent))
}

fn check_as_sent(capture: &Value, one: &Acknowledged, sent: &Sent) -> TestResult {
    let &Acknowledged { sender, number, .. } = one;
    let body = load::body(sender, number, sent.body_bytes);
    let headers = capture["headers"].as_array().ok_or("a capture without headers")?;
    let expected = [
        ["content-type".to_owned(), "application/json".to_owned()],
        [load::HEADER.to_owned(), format!("{sender}-{number}")],
        ["content-length".to_owned(), body.len().to_string()],
    ];
    let as_sent = capture["method"] == load::method(number)
        && capture["target"] == sent.path
        && capture["body"]["content"] == body.as_str()
        && headers.len() == expected.len() + 1
        && expected.iter().all(|header| headers.iter().any(|kept| *kept == json!(header)));
    if as_sent { Ok(()) } else { Err(format!("{one:?} was kept as {capture}").into()) }
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
