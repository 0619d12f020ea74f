//! Whether one JSON value is part of another.

use serde_json::Value;

/// Every member of a wanted object is in the found one, and every item of a wanted list in the found one, in
/// the same order, others between. Takes time linear in what was found.
pub fn is_subset(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => {
            wanted.iter().all(|(name, value)| found.get(name).is_some_and(|found| is_subset(value, found)))
        }
        (Value::Array(wanted), Value::Array(found)) => {
            let mut found = found.iter();
            wanted.iter().all(|item| found.any(|found| is_subset(item, found)))
        }
        _ => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_part_is_a_subset() {
        let found = json!({"a": 1, "b": {"c": [1, {"d": 2, "e": 3}, 4]}, "n": null});
        for wanted in [
            json!({}),
            json!({"a": 1}),
            json!({"b": {"c": [{"e": 3}, 4]}}),
            json!({"b": {"c": []}}),
            json!({"n": null}),
        ] {
            assert!(is_subset(&wanted, &found), "{wanted}");
        }
        for wanted in
            [json!({"a": "1"}), json!({"b": {"c": [4, 1]}}), json!({"x": null}), json!([]), json!(1)]
        {
            assert!(!is_subset(&wanted, &found), "{wanted}");
        }
    }
}
