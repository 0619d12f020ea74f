//! What inquiries may look at beside the request: the answer, the rule, the kind and the time.

use super::*;
use crate::model::time::parse_rfc3339;
use crate::model::{Glob, ReplyChoice, ReplySource, RuleChoice};

fn kept(status: u16, rule: Option<&str>) -> Capture {
    let rule = rule.map(|name| RuleChoice { name: name.into(), version: 1, hit: None });
    Capture {
        reply: ReplyChoice { source: ReplySource::Rule, status, rule },
        received_us: parse_rfc3339("2026-01-31T12:00:00.000001Z").unwrap(),
        ..capture(&json!({"endpoint": "a", "body": "x=1"}))
    }
}

fn inquiry(expression: &Value) -> Expression {
    Expression::parse_inquiry(expression, 65_536).unwrap_or_else(|why| panic!("{why}: {expression}"))
}

#[test]
fn an_inquiry_sees_what_was_answered_and_when() {
    let (answered, nothing) = (kept(404, Some("shop-x")), kept(0, None));
    for (expression, expected, of_nothing) in [
        (json!({"at": "reply_status", "equals": 404}), true, false),
        (json!({"at": "reply_status", "lt": 500}), true, false),
        (json!({"at": "reply_status", "exists": false}), false, true),
        (json!({"at": "reply_source", "equals": "rule"}), true, true),
        (json!({"at": "rule", "starts_with": "shop-"}), true, false),
        (json!({"at": "kind", "in": ["http", "websocket_open"]}), true, true),
        (json!({"at": "received", "gt": "2026-01-31T12:00:00Z"}), true, true),
        (json!({"at": "received", "gt": "2026-01-31T13:00:00.000001+01:00"}), false, false),
        (json!({"at": "received", "gte": "2026-01-31T13:00:00.000001+01:00"}), true, true),
        (json!({"at": "received", "lt": "2026-01-31T07:00:01-05:00"}), true, true),
        (json!({"at": "received", "lte": "2026-01-31T11:59:59Z"}), false, false),
        (json!("status=404 rule*=x received<2027-01-01T00:00:00Z"), true, false),
    ] {
        let parsed = inquiry(&expression);
        assert_eq!(parsed.matches(&Seen::of_kept(&answered)), expected, "{expression}");
        assert_eq!(parsed.matches(&Seen::of_kept(&nothing)), of_nothing, "{expression}");
    }
}

#[test]
fn rules_may_not_look_at_what_comes_after_them() {
    for name in super::super::kept::NAMES.split(", ") {
        let leaf = json!({"at": name, "equals": "a", "gt": "2026-01-31T12:00:00Z"});
        let why = parse(&json!({"match": {"all": [leaf]}, "reply": {}})).unwrap_err();
        let expected =
            format!("/match/all/0/at: `{name}` is for inquiries about kept captures, and not for rules");
        assert_eq!(why, expected);
    }
    assert!(Expression::parse(&json!("method=POST"), 65_536).is_err(), "rules are JSON");
}

#[test]
fn an_instant_is_compared_and_nothing_else() {
    for (leaf, expected) in [
        (json!({"at": "received", "equals": "2026-01-31T12:00:00Z"}), "an instant is compared"),
        (json!({"at": "received", "gt": 5}), "/gt: an RFC 3339 instant is expected"),
        (json!({"at": "received", "gt": "2026-01-31"}), "/gt: an RFC 3339 instant is expected"),
        (
            json!({"at": "received", "gt": "2026-01-31T12:00:00Z", "lt": "2026-01-31T12:00:00Z"}),
            "/gt: a leaf has one",
        ),
    ] {
        let why = Expression::parse_inquiry(&leaf, 65_536).unwrap_err().to_string();
        assert!(why.starts_with(expected), "{leaf}: {why}");
    }
}

#[test]
fn the_rule_that_a_capture_shows_is_found() {
    let capture = kept(200, Some("shop-x"));
    let named = inquiry(&json!({"at": "rule", "exists": true}));
    let others = Glob::parse("ci-*").unwrap();
    assert!(named.matches(&Seen::of_kept(&capture).within(Some(&others))));
    assert!(!named.matches(&Seen::of_kept(&kept(200, None))));
}

#[test]
fn a_body_is_looked_into_only_where_the_rest_does_not_decide() {
    let capture = kept(200, None);
    let (yes, no) = (json!({"at": "method", "exists": true}), json!({"at": "method", "exists": false}));
    let body = json!({"at": "body", "contains": "x"});
    for (expression, expected) in [
        (json!({"all": [yes]}), Some(true)),
        (json!({"all": [body, no]}), Some(false)),
        (json!({"all": [body, yes]}), None),
        (json!({"any": [body, yes]}), Some(true)),
        (json!({"any": [body, no]}), None),
        (json!({"not": {"all": [body, no]}}), Some(true)),
        (json!({"not": body}), None),
        (json!({"any": [{"all": [no, body]}, {"not": {"any": [yes, body]}}]}), Some(false)),
        (json!({"at": "body_size", "equals": 3}), Some(true)),
    ] {
        let parsed = inquiry(&expression);
        let decided = parsed.decided_without_body(&Seen::of_kept(&capture));
        assert_eq!(decided, expected, "{expression}");
        if let Some(verdict) = decided {
            assert_eq!(parsed.matches(&Seen::of_kept(&capture)), verdict, "{expression}");
        }
    }
}
