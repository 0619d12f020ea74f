//! Rules as a whole: that the reference is true, what places find and operators judge, and that nothing hostile
//! makes them panic.

mod hostile;
mod kept;
mod operators;
mod places;
mod reference;

use std::time::Duration;

use serde_json::{Value, json};

use super::template::TemplateOptions;
use super::*;
use crate::model::{BodyContent, Capture};

fn options() -> RuleOptions {
    RuleOptions {
        pattern_bytes_max: 262_144,
        delay_max: Duration::from_secs(30),
        template: TemplateOptions { strict: false, source_bytes_max: 262_144 },
    }
}

fn capture(request: &Value) -> Capture {
    let options = sample::SampleOptions { id: uuid::Uuid::nil(), now_us: 0, prefix: "r" };
    sample::capture(request, options).unwrap_or_else(|why| panic!("{why}: {request}"))
}

fn body(capture: &Capture) -> &[u8] {
    match &capture.body.content {
        BodyContent::Inline(body) => body,
        BodyContent::Parts { .. } => unreachable!("samples have their bodies"),
    }
}

fn matches(expression: &Value, request: &Value) -> bool {
    let capture = capture(request);
    let parsed = Expression::parse(expression, options().pattern_bytes_max);
    let parsed = parsed.unwrap_or_else(|why| panic!("{why}: {expression}"));
    let seen = Seen::new(&capture, body(&capture));
    let explained = parsed.explain(&seen);
    let verdict = parsed.matches(&seen);
    assert_eq!(explained.holds, verdict, "what is explained is what is so: {expression}");
    assert_eq!(explained.near, parsed.nearness(&seen), "{expression}");
    verdict
}

/// A rule that is parsed, or the mistake in it.
fn parse(document: &Value) -> Result<Rule, String> {
    Rule::parse("a", document, Stamp::default(), &options()).map_err(|why| why.to_string())
}

#[test]
fn the_nearest_have_the_largest_share() {
    let (yes, no) = (json!({"at": "method", "exists": true}), json!({"at": "method", "exists": false}));
    for (expression, held, leaves) in [
        (json!({"all": []}), 0, 0),
        (json!({"all": [yes, no, no]}), 1, 3),
        (json!({"not": {"any": [yes, no, no]}}), 2, 3),
        (json!({"any": [yes, {"not": yes}, {"not": {"not": no}}]}), 1, 3),
    ] {
        let capture = capture(&json!({"endpoint": "a"}));
        let near = Expression::parse(&expression, 1_000).unwrap().nearness(&Seen::new(&capture, b""));
        assert_eq!((near.held, near.leaves), (held, leaves), "{expression}");
    }
    let shares = [(0, 3), (1, 3), (1, 2), (2, 2)].map(|(held, leaves)| expression::Nearness { held, leaves });
    assert!(shares.is_sorted_by_key(|near| near.share()));
}

#[test]
fn rules_in_scope_are_in_the_order_in_which_they_are_tried() {
    let mut set = RuleSet::default();
    for (created_seq, (name, document)) in (1..).zip([
        ("low", json!({"priority": -1, "reply": {}})),
        ("off", json!({"priority": 3, "enabled": false, "scope": "sh*", "reply": {}})),
        ("first", json!({"priority": 2, "scope": "shop", "reply": {}})),
        ("second", json!({"priority": 2, "reply": {}})),
        ("elsewhere", json!({"scope": "other", "reply": {}})),
    ]) {
        let stamp = Stamp { created_seq, ..Stamp::default() };
        set.put(Rule::parse(name, &document, stamp, &options()).unwrap());
    }
    let names = |rules: Vec<&str>| rules.join(" ");
    let all = set.in_scope("shop");
    assert_eq!(names(all.iter().map(|rule| &*rule.name).collect()), "off first second low");
    let enabled: Vec<&str> = set.of_endpoint("shop").map(|rule| &*rule.name).collect();
    assert_eq!(names(enabled), "first second low");
}
