//! An item of a document whose names are relative to a prefix, as a run's are: made absolute, so that it can be kept
//! beside all others. What is no such item is left as it is, for whoever reads it then to say so.

use serde_json::Value;

use crate::model::{ConfigurationKind, Glob};

/// Operators by which a rule looks at a code from its beginning.
const FROM_THE_START: [&str; 3] = ["equals", "starts_with", "in"];

/// Puts a prefix before the name of an endpoint or a rule, and of a rule's scenario, before a rule's scope (one without is
/// for all codes behind the prefix), and before the codes that its expression names.
pub fn absolute(kind: ConfigurationKind, item: &mut Value, prefix: &str) {
    if kind == ConfigurationKind::Endpoint {
        return put_before(item, "code", prefix);
    }
    put_before(item, "name", prefix);
    put_before(item, "scenario/name", prefix);
    match item.get_mut("scope") {
        Some(Value::String(scope)) => scope.insert_str(0, &Glob::escaped(prefix)),
        Some(Value::Null) | None => {
            if let Some(members) = item.as_object_mut() {
                members.insert("scope".to_owned(), Glob::starting_with(prefix).to_string().into());
            }
        }
        Some(_) => {}
    }
    if let Some(expression) = item.get_mut("match") {
        in_expression(expression, prefix);
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
        for (kind, mut item, expected) in [
            (
                ConfigurationKind::Endpoint,
                json!({"code": "shop", "labels": {"code": "x"}}),
                json!({"code": "a*-shop", "labels": {"code": "x"}}),
            ),
            (
                ConfigurationKind::Rule,
                json!({"name": "a", "reply": {"body": "a"}}),
                json!({"name": "a*-a", "scope": r"a\*-*", "reply": {"body": "a"}}),
            ),
            (
                ConfigurationKind::Rule,
                json!({"name": "b", "scope": "shop-*", "scenario": {"name": "cart", "requires": "full"},
                "match": {"all": [
                    {"at": "endpoint", "equals": "shop"}, {"not": {"at": "endpoint", "in": ["x", "y"]}},
                    {"any": [{"at": "endpoint", "ends_with": "z"}, {"at": "path", "starts_with": "/a"}]},
                ]}}),
                json!({"name": "a*-b", "scope": r"a\*-shop-*", "scenario": {"name": "a*-cart", "requires": "full"},
                "match": {"all": [
                    {"at": "endpoint", "equals": "a*-shop"}, {"not": {"at": "endpoint", "in": ["a*-x", "a*-y"]}},
                    {"any": [{"at": "endpoint", "ends_with": "z"}, {"at": "path", "starts_with": "/a"}]},
                ]}}),
            ),
        ] {
            absolute(kind, &mut item, r"a*-");
            assert_eq!(item, expected);
        }
    }

    #[test]
    fn what_is_no_item_is_left_as_it_is() {
        for written in [
            json!(null),
            json!([]),
            json!(1),
            json!("x"),
            json!({"code": 1, "name": 1, "scope": 2, "scenario": "s", "match": []}),
        ] {
            for kind in [ConfigurationKind::Endpoint, ConfigurationKind::Rule] {
                let mut item = written.clone();
                absolute(kind, &mut item, "run-");
                assert_eq!(item, written);
            }
        }
    }
}
