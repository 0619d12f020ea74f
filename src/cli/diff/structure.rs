//! Two JSON documents, member by member: in what order members stand does not count.

use serde_json::Value;

use super::compare::Difference;

/// More differences than that are not looked for: who sees so many sees that these are two documents.
const DIFFERENCES_MAX: usize = 1_000;

/// Adds what differs, each by its JSONPath. Documents are as deep as their parser allows (128).
pub fn compare(differences: &mut Vec<Difference>, left: &Value, right: &Value) {
    walk(differences, &mut "$".to_owned(), Some(left), Some(right));
}

fn walk(differences: &mut Vec<Difference>, path: &mut String, left: Option<&Value>, right: Option<&Value>) {
    if left == right || differences.len() >= DIFFERENCES_MAX {
        return;
    }
    let length = path.len();
    match (left, right) {
        (Some(Value::Object(ours)), Some(Value::Object(theirs))) => {
            let more = theirs.keys().filter(|name| !ours.contains_key(*name));
            for name in ours.keys().chain(more) {
                step(path, name);
                walk(differences, path, ours.get(name), theirs.get(name));
                path.truncate(length);
            }
        }
        (Some(Value::Array(ours)), Some(Value::Array(theirs))) => {
            for at in 0..ours.len().max(theirs.len()) {
                path.push_str(&format!("[{at}]"));
                walk(differences, path, ours.get(at), theirs.get(at));
                path.truncate(length);
            }
        }
        _ => {
            let shown = |side: Option<&Value>| side.map(ToString::to_string).into_iter().collect();
            let at = format!("body {path}");
            differences.push(Difference::Values { at, left: shown(left), right: shown(right) });
        }
    }
}

/// A member's name as it stands in a path (RFC 9535).
fn step(path: &mut String, name: &str) {
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|letter| letter.is_alphabetic() || letter == '_');
    if begins && letters.all(|letter| letter.is_alphanumeric() || letter == '_') {
        path.push('.');
        path.push_str(name);
    } else {
        path.push_str(&format!("[{}]", Value::from(name)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_difference_has_its_path() {
        let left = json!({ "a": [1, { "b": null }], "c d": 1, "same": {} });
        let right = json!({ "same": {}, "a": [1, { "b": 0 }, 3], "e": "x" });
        let mut differences = Vec::new();
        compare(&mut differences, &left, &right);
        let found: Vec<_> = differences.iter().map(Difference::json).collect();
        assert_eq!(
            found,
            [
                json!({ "at": "body $.a[1].b", "left": ["null"], "right": ["0"] }),
                json!({ "at": "body $.a[2]", "left": [], "right": ["3"] }),
                json!({ "at": "body $[\"c d\"]", "left": ["1"], "right": [] }),
                json!({ "at": "body $.e", "left": [], "right": ["\"x\""] }),
            ]
        );
    }
}
