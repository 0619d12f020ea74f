//! What came nearest, for people: which captures, and what stood against each.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::terminal::plain_line;

/// Longest text of a value that is shown, in characters.
const VALUE_CHARS_MAX: usize = 120;

/// The nearest misses of a wait's answer; empty where there are none.
pub fn text(answer: &Value) -> String {
    let misses = answer["misses"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut text = String::new();
    for miss in misses {
        let fact = |name: &str| plain_line(miss[name].as_str().unwrap_or_default());
        let (id, endpoint, received) = (fact("capture"), fact("endpoint"), fact("received"));
        let (held, leaves) = (&miss["held"], &miss["leaves"]);
        write!(text, "\n  {id} to {endpoint} at {received}: {held} of {leaves} hold").unwrap_or_default();
        for failed in miss["failed"].as_array().map(Vec::as_slice).unwrap_or_default() {
            write!(text, "\n    {}", plain_line(&line(failed))).unwrap_or_default();
        }
    }
    match text.is_empty() {
        true => text,
        false => format!("\nwhat came nearest:{text}"),
    }
}

/// `header x-github-event equals "push": it is "ping"`
fn line(failed: &Value) -> String {
    let leaf = leaf(&failed["leaf"]);
    let saw: Vec<String> =
        failed["saw"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(value).collect();
    let saw = match saw.as_slice() {
        [] => "it is not there".to_owned(),
        saw => format!("it is {}", saw.join(", ")),
    };
    match failed["holds"] == true {
        true => format!("not ({leaf}): {saw}"),
        false => format!("{leaf}: {saw}"),
    }
}

/// A leaf in the order in which one says it: the place, what of it, and what must be so.
fn leaf(leaf: &Value) -> String {
    let Some(members) = leaf.as_object() else { return value(leaf) };
    let place = ["at", "name", "path", "format"];
    let mut words: Vec<String> =
        place.iter().filter_map(|name| members.get(*name)?.as_str()).map(str::to_owned).collect();
    for (name, given) in members.iter().filter(|(name, _)| !place.contains(&name.as_str())) {
        words.push(name.replace('_', " "));
        words.push(value(given));
    }
    words.join(" ")
}

fn value(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_miss_says_what_was_wanted_and_what_was_there() {
        let answer = json!({"misses": [{"capture": "c", "endpoint": "shop", "received": "r", "held": 1, "leaves": 4,
        "failed": [
            {"leaf": {"at": "header", "equals": "push", "name": "x-event"}, "saw": ["ping", "p\u{1b}"]},
            {"leaf": {"at": "json", "gt": 5, "path": "$.n"}, "saw": []},
            {"leaf": {"at": "body", "starts_with": "x".repeat(200)}, "saw": ["x"], "holds": true},
        ]}]});
        let long = format!("\"{}...", "x".repeat(VALUE_CHARS_MAX - 1));
        let expected = format!(
            "\nwhat came nearest:\n  c to shop at r: 1 of 4 hold\n    \
             header x-event equals \"push\": it is \"ping\", \"p\\u001b\"\n    \
             json $.n gt 5: it is not there\n    not (body starts with {long}): it is \"x\""
        );
        assert_eq!(text(&answer), expected);
        assert_eq!(text(&json!({"misses": []})), "");
    }
}
