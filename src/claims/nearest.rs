//! The captures that came nearest without matching: what a wait in vain is told.

use crate::model::{Capture, EndpointCode};
use crate::rules::expression::Nearness;
use crate::rules::{Expression, Failed, Seen};
use uuid::Uuid;

/// Captures that are told of, and leaves of each.
const MISSES_MAX: usize = 5;
const FAILED_MAX: usize = 20;

/// A capture that does not match, and why.
#[derive(Debug, Clone)]
pub struct Miss {
    pub capture: Uuid,
    pub endpoint: EndpointCode,
    pub received_us: i64,
    pub near: Nearness,
    pub failed: Vec<Failed>,
}

/// The nearest of all that were looked at; of those that are as near, the latest.
#[derive(Debug, Clone, Default)]
pub struct Nearest(Vec<Miss>);

impl Nearest {
    /// Looks at a capture that does not match; the body was read, or none of it was needed to tell. One with which that
    /// takes too long is none.
    pub fn look(&mut self, expression: &Expression, seen: &Seen<'_>, body_is_read: bool) {
        seen.look_again();
        let missed = expression.missed(seen, body_is_read, FAILED_MAX);
        if seen.gave_up() {
            return;
        }
        let place = self.0.partition_point(|miss| miss.near.held > missed.near.held);
        if place >= MISSES_MAX {
            return;
        }
        self.0.truncate(MISSES_MAX - 1);
        let Capture { id, endpoint, received_us, .. } = seen.capture;
        let miss = Miss {
            capture: *id,
            endpoint: endpoint.clone(),
            received_us: *received_us,
            near: missed.near,
            failed: missed.failed,
        };
        self.0.insert(place, miss);
    }

    /// Forgets those that are not to be told any more.
    pub fn retain(&mut self, stays: impl Fn(&Miss) -> bool) {
        self.0.retain(stays);
    }

    /// The nearest first.
    pub fn misses(&self) -> &[Miss] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use crate::rules::Allowance;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::BodyContent;
    use crate::rules::sample;

    fn look(nearest: &mut Nearest, expression: &Value, request: &Value, body_is_read: bool) {
        let options = sample::SampleOptions { id: Uuid::nil(), now_us: 0, prefix: "r" };
        let capture = sample::capture(request, options).unwrap();
        let (BodyContent::Inline(body) | BodyContent::Parts { start: body }) = &capture.body.content;
        let expression = Expression::parse_inquiry(expression, &mut Allowance::of_inquiry(65_536)).unwrap();
        nearest.look(&expression, &Seen::new(&capture, body), body_is_read);
    }

    fn told(nearest: &Nearest) -> Vec<Value> {
        let failed = |failed: &Failed| json!([*failed.leaf, failed.saw, failed.holds]);
        let miss = |miss: &Miss| {
            let failed: Vec<Value> = miss.failed.iter().map(failed).collect();
            json!([miss.endpoint.as_str(), miss.near.held, miss.near.leaves, failed])
        };
        nearest.misses().iter().map(miss).collect()
    }

    #[test]
    fn the_nearest_are_kept_and_of_equals_the_latest() {
        let mut nearest = Nearest::default();
        let expression = json!("method=POST header.a=1 header.b=2");
        for (endpoint, method, headers) in [
            ("none", "GET", json!([])),
            ("one", "POST", json!([])),
            ("two", "POST", json!([["A", "1"]])),
            ("one-more", "GET", json!([["a", "1"]])),
            ("two-more", "POST", json!([["b", "2"]])),
            ("none-more", "GET", json!([])),
            ("last", "GET", json!([])),
        ] {
            let request = json!({"endpoint": endpoint, "method": method, "headers": headers});
            look(&mut nearest, &expression, &request, true);
        }
        let names: Vec<Value> = told(&nearest).into_iter().map(|miss| miss[0].clone()).collect();
        assert_eq!(names, ["two-more", "two", "one-more", "one", "last"]);
        let leaf = json!({"at": "header", "name": "a", "equals": "1"});
        assert_eq!(told(&nearest)[0], json!(["two-more", 2, 3, [[leaf, [], false]]]));
    }

    #[test]
    fn what_stands_against_a_capture_is_told_with_what_it_saw() {
        let (get, post) =
            (json!({"at": "method", "equals": "GET"}), json!({"at": "method", "equals": "POST"}));
        let body = json!({"at": "json", "path": "$.n", "gt": 5});
        for (expression, expected) in [
            (json!({"all": [get, body]}), json!(["a", 0, 2, [[get, ["POST"], false], [body, [3], false]]])),
            (json!({"any": [get, body]}), json!(["a", 0, 2, [[get, ["POST"], false], [body, [3], false]]])),
            (json!({"not": post}), json!(["a", 0, 1, [[post, ["POST"], true]]])),
            // What holds stands against nothing, though a leaf of it does not.
            (json!({"all": [{"any": [get, post]}, body]}), json!(["a", 1, 3, [[body, [3], false]]])),
            (json!({"not": {"any": [get, post]}}), json!(["a", 1, 2, [[post, ["POST"], true]]])),
        ] {
            let mut nearest = Nearest::default();
            let request = json!({"endpoint": "a", "method": "POST", "body": "{\"n\":3}"});
            look(&mut nearest, &expression, &request, true);
            assert_eq!(told(&nearest), [expected], "{expression}");
        }
    }

    #[test]
    fn a_body_that_was_not_read_stands_against_nothing() {
        let mut nearest = Nearest::default();
        let expression = json!("method=GET json.$.n>5 !json.$.x");
        look(
            &mut nearest,
            &expression,
            &json!({"endpoint": "a", "method": "POST", "body": "{\"n\":7}"}),
            false,
        );
        let leaf = json!({"at": "method", "equals": "GET"});
        assert_eq!(told(&nearest), [json!(["a", 0, 3, [[leaf, ["POST"], false]]])]);
    }
}
