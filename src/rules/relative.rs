//! A document whose names are relative to a prefix, as a run's are: made absolute, so that it can be kept beside all
//! others. What is no such document is left as it is, for whoever reads it then to say so.

use serde_json::Value;

use crate::model::Glob;

/// Operators by which a rule looks at a code from its beginning.
const FROM_THE_START: [&str; 3] = ["equals", "starts_with", "in"];

/// Puts a prefix before the names of rules, endpoints and scenarios in a document, before the rules' scopes (a rule
/// without one is for all codes behind the prefix), and before the codes that their expressions name.
pub fn absolute(document: &mut Value, prefix: &str) {
    for endpoint in items(document, "endpoints") {
        put_before(endpoint, "code", prefix);
    }
    for rule in items(document, "rules") {
        put_before(rule, "name", prefix);
        put_before(rule, "scenario/name", prefix);
        match rule.get_mut("scope") {
            Some(Value::String(scope)) => scope.insert_str(0, &Glob::escaped(prefix)),
            Some(Value::Null) | None => {
                if let Some(members) = rule.as_object_mut() {
                    members.insert("scope".to_owned(), Glob::starting_with(prefix).to_string().into());
                }
            }
            Some(_) => {}
        }
        if let Some(expression) = rule.get_mut("match") {
            in_expression(expression, prefix);
        }
    }
}

fn items<'a>(document: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    document.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten()
}

fn put_before(item: &mut Value, path: &str, prefix: &str) {
    if let Some(Value::String(name)) = item.pointer_mut(&format!("/{path}")) {
        name.insert_str(0, prefix);
    }
}

/// A document is parsed by then, so its depth has a bound.
fn in_expression(node: &mut Value, prefix: &str) {
    for branch in ["all", "any"] {
        items(node, branch).for_each(|inner| in_expression(inner, prefix));
    }
    if let Some(inner) = node.get_mut("not") {
        in_expression(inner, prefix);
    }
    if node.get("at").and_then(Value::as_str) != Some("endpoint") {
        return;
    }
    for operator in FROM_THE_START {
        match node.get_mut(operator) {
            Some(Value::String(code)) => code.insert_str(0, prefix),
            Some(Value::Array(codes)) => {
                for code in codes {
                    if let Value::String(code) = code {
                        code.insert_str(0, prefix);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_name_of_a_document_stands_behind_the_prefix() {
        let mut document = json!({
            "endpoints": [{"code": "shop", "labels": {"code": "x"}}],
            "rules": [
                {"name": "a", "reply": {"body": "a"}},
                {"name": "b", "scope": "shop-*", "scenario": {"name": "cart", "requires": "full"},
                 "match": {"all": [
                    {"at": "endpoint", "equals": "shop"}, {"not": {"at": "endpoint", "in": ["x", "y"]}},
                    {"any": [{"at": "endpoint", "ends_with": "z"}, {"at": "path", "starts_with": "/a"}]},
                 ]}},
            ],
        });
        absolute(&mut document, r"a*-");
        let expected = json!({
            "endpoints": [{"code": "a*-shop", "labels": {"code": "x"}}],
            "rules": [
                {"name": "a*-a", "scope": r"a\*-*", "reply": {"body": "a"}},
                {"name": "a*-b", "scope": r"a\*-shop-*", "scenario": {"name": "a*-cart", "requires": "full"},
                 "match": {"all": [
                    {"at": "endpoint", "equals": "a*-shop"}, {"not": {"at": "endpoint", "in": ["a*-x", "a*-y"]}},
                    {"any": [{"at": "endpoint", "ends_with": "z"}, {"at": "path", "starts_with": "/a"}]},
                 ]}},
            ],
        });
        assert_eq!(document, expected);
    }

    #[test]
    fn what_is_no_document_is_left_as_it_is() {
        for written in [
            json!(null),
            json!([]),
            json!({"rules": {"a": 1}, "endpoints": 7}),
            json!({"rules": [1, "x", {"name": 1, "scope": 2, "scenario": "s", "match": []}], "endpoints": [null]}),
        ] {
            let mut document = written.clone();
            absolute(&mut document, "run-");
            assert_eq!(document, written);
        }
    }
}
