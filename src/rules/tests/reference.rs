//! `docs/rules.md`, held against what is: every row, every example, and that nothing is missing.

use super::*;
use crate::rules::Allowance;
use crate::rules::operator;
use crate::rules::place;
use crate::rules::traffcap::{self, ImportOptions};

fn page() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/rules.md");
    std::fs::read_to_string(path).unwrap()
}

/// A request as the page shows it.
fn raw_request(raw: &str) -> Value {
    let (head, body) = raw.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap().split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let fields = lines.map(|line| line.split_once(": ").unwrap());
    let headers: Vec<Value> = fields.map(|(name, value)| json!([name, value])).collect();
    json!({"method": method, "target": target, "headers": headers, "body": body.trim_end_matches('\n'),
        "client": "203.0.113.9"})
}

/// The rows of the page: the request that each is about, the expression, and the verdict.
fn rows() -> Vec<(Value, Value, String)> {
    let page = page();
    let mut rows = Vec::new();
    let mut about = Value::Null;
    // Texts and fenced blocks take turns.
    for (place, piece) in page.split("\n```").enumerate() {
        if place % 2 == 1 {
            match piece.split_once('\n') {
                Some(("http", raw)) => about = raw_request(raw),
                Some(("message", text)) => {
                    about["websocket"] = "text".into();
                    about["body"] = text.into();
                }
                _ => {}
            }
            continue;
        }
        for line in piece.lines().filter(|line| line.starts_with("| `{\"")) {
            let mut cells = line.trim_matches('|').split(" | ").map(str::trim);
            let (expression, verdict) = (cells.next().unwrap(), cells.next().unwrap());
            let expression = serde_json::from_str(expression.trim_matches('`'));
            let expression = expression.unwrap_or_else(|error| panic!("{error}: {line}"));
            rows.push((about.clone(), expression, verdict.trim_end_matches('|').trim().to_owned()));
        }
    }
    rows
}

#[test]
fn every_row_is_true() {
    let rows = rows();
    assert!(rows.len() > 50, "{} rows", rows.len());
    for (about, expression, verdict) in rows {
        match verdict.as_str() {
            "yes" => assert!(matches(&expression, &about), "{expression} does not hold"),
            "no" => assert!(!matches(&expression, &about), "{expression} holds"),
            "refused" => assert!(Expression::parse(&expression, 262_144).is_err(), "{expression} is taken"),
            other => panic!("{expression}: {other} is no verdict"),
        }
    }
}

#[test]
fn every_term_of_the_short_form_stands_for_what_is_said() {
    let page = page();
    let section = page.split("### The short form").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 10, "{} rows", rows.len());
    for row in rows {
        let (term, tree) = row.trim_matches(['|', ' ']).split_once("` | `").unwrap();
        let term = term.trim_matches('`');
        let tree: Value = serde_json::from_str(tree.trim_matches('`')).unwrap();
        assert_eq!(short::parse(term).unwrap(), json!({"all": [tree]}), "{term}");
        Expression::parse_inquiry(&term.into(), &mut Allowance::of_inquiry(65_536)).unwrap();
    }
}

#[test]
fn every_place_of_inquiries_is_told() {
    let page = page();
    let section = page.split("## Inquiries").nth(1).unwrap();
    for name in crate::rules::kept::NAMES.split(", ") {
        assert!(section.contains(&format!("| `{name}` |")), "no row has the place {name}");
    }
}

#[test]
fn every_place_and_every_operator_has_a_row() {
    let rows: Vec<Value> =
        rows().into_iter().filter(|row| row.2 != "refused").map(|(_, expression, _)| expression).collect();
    for name in place::NAMES.split(", ") {
        assert!(rows.iter().any(|leaf| leaf["at"] == name), "no row has the place {name}");
    }
    for name in operator::NAMES {
        assert!(rows.iter().any(|leaf| leaf.get(name).is_some()), "no row has the operator {name}");
    }
}

#[test]
fn every_example_is_a_rule() {
    let page = page();
    let examples = page.split("\n```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let (mut rules, mut imports) = (0, 0);
    for text in examples {
        let example: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let is_rule = example.get("reply").is_some() || example.get("replies").is_some();
        if is_rule && example.get("explanation").is_none() {
            parse(&example).unwrap_or_else(|why| panic!("{why}: {text}"));
            rules += 1;
        }
        if let Some(tried) = example.get("request") {
            capture(tried);
            parse(&example["rule"]).unwrap();
        }
        if example.get("matches").is_some_and(Value::is_array) {
            let options = ImportOptions { prefix: "r", pattern_bytes_max: 262_144 };
            parse_imported(&traffcap::documents(&example, options).unwrap());
            imports += 1;
        }
    }
    assert!(rules > 8 && imports == 1, "{rules} rules, {imports} imports");
}

fn parse_imported(made: &[Value]) {
    for document in made {
        let mut document = document.clone();
        document.as_object_mut().unwrap().remove("name");
        parse(&document).unwrap();
    }
}

/// What is refused as unknown is told with what is known; all of that is on the page.
#[test]
fn every_member_is_on_the_page() {
    let page = page();
    let reply = |reply: Value| json!({"reply": reply});
    for document in [
        json!({"reply": {}, "?": 1}),
        reply(json!({"?": 1})),
        reply(json!({"body": {"?": 1}})),
        reply(json!({"dribble": {"?": 1}})),
        reply(json!({"message": {"?": 1}})),
        reply(json!({"message": {"close": {"?": 1}}})),
        reply(json!({"variants": [{"content_type": "a/b", "?": 1}]})),
        json!({"reply": {}, "scenario": {"name": "a", "?": 1}}),
        json!({"reply": {}, "match": {"at": "query", "equals": "x", "?": 1}}),
        json!({"reply": {}, "match": {"at": "segment", "index": 1, "equals": "x", "?": 1}}),
        json!({"reply": {}, "match": {"at": "json", "json_equals": 1, "?": 1}}),
    ] {
        let why = parse(&document).unwrap_err();
        let (_, known) = why.split_once("there are `").unwrap_or_else(|| panic!("{why}"));
        for name in known.trim_end_matches('`').split("`, `") {
            let is_there = page.contains(&format!("`{name}`")) || page.contains(&format!("\"{name}\":"));
            assert!(is_there, "docs/rules.md lacks {name}");
        }
    }
    for fault in
        ["CONNECTION_RESET_BY_PEER", "EMPTY_RESPONSE", "MALFORMED_RESPONSE_CHUNK", "RANDOM_DATA_THEN_CLOSE"]
    {
        assert!(page.contains(fault) && parse(&reply(json!({"fault": fault}))).is_ok(), "{fault}");
    }
}
