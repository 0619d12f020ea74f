//! What operators judge at the edges; `docs/rules.md` has each of them in its ordinary use.

use super::*;

/// Whether an operator holds for the value of a header.
fn on_header(value: &str, operator: &Value) -> bool {
    let mut leaf = operator.clone();
    leaf["at"] = "header".into();
    leaf["name"] = "x".into();
    matches(&leaf, &json!({"endpoint": "a", "headers": [["X", value]]}))
}

/// Whether an operator holds for the whole body as JSON.
fn on_json(body: &Value, operator: &Value) -> bool {
    let mut leaf = operator.clone();
    leaf["at"] = "json".into();
    matches(&leaf, &json!({"endpoint": "a", "body": body.to_string()}))
}

#[test]
fn texts_are_compared() {
    let table = [
        ("abc", json!({"equals": "ABC"}), false),
        ("abc", json!({"equals": "ABC", "ignore_case": true}), true),
        ("ÄÖ", json!({"equals": "äö", "ignore_case": true}), true),
        ("abc", json!({"contains": ""}), true),
        ("", json!({"contains": "a"}), false),
        ("abc", json!({"contains": "B", "ignore_case": true}), true),
        ("abc", json!({"starts_with": "ab"}), true),
        ("abc", json!({"ends_with": "ab"}), false),
        ("abc", json!({"ends_with": "BC", "ignore_case": true}), true),
        ("abc", json!({"in": []}), false),
        ("abc", json!({"in": ["x", "ABC"], "ignore_case": true}), true),
        ("abc", json!({"exists": true}), true),
        ("abc", json!({"exists": false}), false),
        ("abc", json!({"matches": "^A", "ignore_case": true}), true),
        ("abc", json!({"matches": ""}), true),
        ("true", json!({"equals": true}), true),
        ("abc", json!({"lt": "abd"}), true),
        ("B", json!({"lt": "a"}), true),
    ];
    for (value, operator, expected) in table {
        assert_eq!(on_header(value, &operator), expected, "{value} {operator}");
    }
}

#[test]
fn numbers_are_compared_as_numbers() {
    let table = [
        ("1.0", json!({"equals": 1}), true),
        (" 1 ", json!({"equals": 1}), true),
        ("1.0", json!({"equals": "1"}), false),
        ("1e3", json!({"gte": 1000}), true),
        ("-0", json!({"equals": 0}), true),
        ("10", json!({"gt": 9}), true),
        ("10", json!({"gt": "9"}), false),
        ("x", json!({"gt": 0}), false),
        ("x", json!({"lte": 0}), false),
        ("NaN", json!({"lte": 0}), false),
        ("NaN", json!({"gte": 0}), false),
        ("inf", json!({"gt": 1e308}), true),
        ("9", json!({"in": [8, 9.0]}), true),
    ];
    for (value, operator, expected) in table {
        assert_eq!(on_header(value, &operator), expected, "{value} {operator}");
    }
}

#[test]
fn json_is_compared_by_its_values() {
    let table = [
        (json!({"a": 1, "b": [1, 2]}), json!({"json_equals": {"b": [1, 2], "a": 1}}), true),
        (json!({"a": 1, "b": [1, 2]}), json!({"json_equals": {"a": 1}}), false),
        (json!({"a": 1, "b": [1, 2]}), json!({"json_equals": {"b": [2]}, "subset": true}), true),
        (json!({"a": 1, "b": [1, 2]}), json!({"json_equals": {"b": [2, 1]}, "subset": true}), false),
        (json!(null), json!({"json_equals": 0}), false),
        (json!(null), json!({"exists": true}), true),
        (json!("1"), json!({"equals": 1}), true),
        (json!(false), json!({"equals": false}), true),
        (json!("false"), json!({"equals": false}), true),
        (json!(1), json!({"equals": true}), false),
        (json!([1, 2]), json!({"contains": "1,2"}), true),
    ];
    for (body, operator, expected) in table {
        assert_eq!(on_json(&body, &operator), expected, "{body} {operator}");
    }
    let text = json!({"endpoint": "a", "headers": [["X", "{\"a\":1}"], ["X", "{"]]});
    let leaf = json!({"at": "header", "name": "x", "json_equals": {"a": 1}});
    assert!(matches(&leaf, &text), "a text that is JSON");
}

#[test]
fn addresses_lie_in_ranges() {
    let table = [
        ("10.1.2.3", json!({"cidr": "10.0.0.0/8"}), true),
        ("11.1.2.3", json!({"cidr": "10.0.0.0/8"}), false),
        ("10.1.2.3", json!({"cidr": "10.1.2.3"}), true),
        ("::1", json!({"cidr": ["10.0.0.0/8", "::/16"]}), true),
        ("10.1.2.3", json!({"cidr": "::/0"}), false),
        ("no address", json!({"cidr": "0.0.0.0/0"}), false),
    ];
    for (value, operator, expected) in table {
        assert_eq!(on_header(value, &operator), expected, "{value} {operator}");
    }
}

#[test]
fn what_is_no_leaf_is_refused_with_its_place() {
    let table = [
        (json!({"at": "path", "equals": []}), "/equals: text, a number"),
        (json!({"at": "path", "in": "x"}), "/in: a list"),
        (json!({"at": "path", "in": [{}, []]}), "/in/1: text, a number"),
        (json!({"at": "path", "exists": 1}), "/exists: `true`"),
        (json!({"at": "path", "cidr": ["x"]}), "/cidr/0: `x` is no address"),
        (json!({"at": "path", "equals": {"base64": "?"}}), "/equals/base64: this is no base64"),
        (json!({"at": "path", "matches": 1}), "/matches: text"),
        (json!({"at": "query", "pick": "any", "equals": ""}), "/pick: `all`"),
        (json!({"at": "path", "name": "x", "equals": ""}), "/name: this is not known here"),
        (json!({"any": [], "at": "path"}), "/at: this is not known here"),
        (json!({"at": "segment", "index": 256, "equals": ""}), "/index: a whole number"),
        (json!("x"), "an object is expected"),
    ];
    for (leaf, expected) in table {
        let why = Expression::parse(&leaf, 262_144).unwrap_err().to_string();
        assert!(why.starts_with(expected), "{leaf}: {why}");
    }
}
