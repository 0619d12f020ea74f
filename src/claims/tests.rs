//! Claims against evaluators that hold all captures at once, and what is said of broken ones.

use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Count;
use super::evidence::{EVIDENCE_MAX, UNDECIDED, Verdict};
use super::number::Number;
use super::order::{InOrder, Others};
use super::spacing::{Bounds, Spacing, Terms};
use super::unique::Unique;
use super::verify::Verification;
use crate::model::{BodyContent, Capture};
use crate::rules::object::Object;
use crate::rules::{Allowance, Seen, sample};

/// A capture by its number, at a time in milliseconds.
fn capture(number: usize, at_ms: i64, request: &Value) -> Capture {
    let id = Uuid::from_u128(number as u128);
    let options = sample::SampleOptions { id, now_us: at_ms * 1000, prefix: "r" };
    let mut whole = json!({"endpoint": "a"});
    for (name, value) in request.as_object().unwrap() {
        whole[name] = value.clone();
    }
    sample::capture(&whole, options).unwrap()
}

fn numbers(verdict: &Verdict) -> Vec<usize> {
    verdict.captures.iter().map(|evidence| usize::try_from(evidence.capture.as_u128()).unwrap()).collect()
}

fn verification(document: &Value) -> Result<Verification, String> {
    let mut object = Object::of(document).unwrap();
    let parsed = Verification::parse(&mut object, &mut Allowance::of_inquiry(65_536))
        .and_then(|claims| object.end().map(|()| claims));
    parsed.map_err(|invalid| invalid.to_string())
}

/// Name, form, verdict, what was found, why and the numbers of the captures, of each claim.
fn verify(document: &Value, captures: &[Capture], all: bool) -> Vec<Value> {
    let mut claims = verification(document).unwrap();
    for capture in captures {
        let (BodyContent::Inline(body) | BodyContent::Parts { start: body }) = &capture.body.content;
        claims.take(&Seen::new(capture, body));
    }
    let told = claims.told(all, 0);
    told.iter()
        .map(|told| {
            let verdict = &told.verdict;
            json!([told.name, told.claim, verdict.holds, verdict.found, verdict.why, numbers(verdict)])
        })
        .collect()
}

fn sent(what: &[(&str, i64)]) -> Vec<Capture> {
    let numbered = what.iter().enumerate();
    numbered.map(|(number, (method, at))| capture(number, *at, &json!({"method": method}))).collect()
}

#[test]
fn a_count_is_told_with_those_past_it() {
    let captures = sent(&[("POST", 0), ("GET", 1), ("POST", 2), ("POST", 3)]);
    let claims = json!({"claims": [
        {"name": "few", "count": {"at_most": 1}, "match": "method=POST"},
        {"count": 3, "match": "method=POST"},
        {"count": {"exactly": 5}},
    ]});
    let past = "3 were found, and at most 1 are claimed";
    let short = "4 were found, and exactly 5 are claimed";
    assert_eq!(
        verify(&claims, &captures, true),
        [
            json!(["few", "count", false, 3, past, [2, 3]]),
            json!([null, "count", true, 3, null, []]),
            json!([null, "count", false, 4, short, []]),
        ]
    );
    let undecided: Vec<Value> =
        verify(&claims, &captures, false).iter().map(|told| told[2].clone()).collect();
    assert_eq!(undecided, [json!(false), json!(true), json!(null)]);
    assert_eq!(verify(&claims, &captures, false)[2][4], UNDECIDED);
}

#[test]
fn an_order_is_told_with_what_came_too_early_or_between() {
    let order = |steps: &str, others: bool| {
        let steps: Vec<String> = steps.chars().map(|method| format!("method={method}")).collect();
        json!({"claims": [{"in_order": steps, "others": others}]})
    };
    for (steps, others, came, expected) in [
        ("ABC", true, "XAXBXCX", json!([true, 3, null, []])),
        ("ABC", true, "BCA", json!([false, 1, "no capture matches step 2 of 3 behind step 1", [0]])),
        ("ABC", true, "XX", json!([false, 0, "no capture matches step 1", []])),
        ("AAA", true, "AA", json!([false, 2, "no capture matches step 3 of 3 behind step 2", []])),
        ("AB", false, "XABX", json!([true, 2, null, []])),
        ("AAB", false, "AAAB", json!([true, 3, null, []])),
        ("ABC", false, "AXBC", json!([false, 1, "step 2 of 3 never comes at once behind step 1", [1]])),
        ("ABC", false, "AABXC", json!([false, 2, "step 3 of 3 never comes at once behind step 2", [3]])),
        ("ABC", false, "CAB", json!([false, 2, "step 3 of 3 never comes at once behind step 2", []])),
        ("A", false, "", json!([false, 0, "no capture matches step 1", []])),
    ] {
        let came: Vec<Capture> =
            came.chars().enumerate().map(|(i, c)| capture(i, 0, &json!({"method": c.to_string()}))).collect();
        let told = &verify(&order(steps, others), &came, true)[0];
        assert_eq!(json!([told[2], told[3], told[4], told[5]]), expected, "{steps} {others}");
        let part = &verify(&order(steps, others), &came, false)[0];
        let expected = if expected[0] == true { json!(true) } else { json!(null) };
        assert_eq!(part[2], expected, "{steps} {others}: in part");
    }
}

#[test]
fn a_spacing_is_told_with_the_gaps_that_are_wrong() {
    let captures =
        sent(&[("POST", 0), ("GET", 5), ("POST", 1000), ("POST", 3000), ("POST", 2999), ("POST", 9000)]);
    let told = |spacing: Value| {
        let told = verify(&json!({"claims": [{"spacing": spacing}]}), &captures, true).remove(0);
        json!([told[2], told[3], told[4], told[5]])
    };
    let post = "method=POST";
    assert_eq!(told(json!({"match": post, "most_ms": 6000})), json!([true, 5, null, []]));
    let why = "a capture came 0ns behind the one before (gap 3): at least 1 ms are claimed";
    assert_eq!(told(json!({"match": post, "least_ms": 1})), json!([false, 5, why, [4]]));
    let why = "2 gaps of 4 are wrong; the first capture came 2s behind the one before (gap 2): at most 1500 ms are \
               claimed";
    assert_eq!(told(json!({"match": post, "most_ms": 1500})), json!([false, 5, why, [3, 5]]));
    let why = "a capture came 0ns behind the one before (gap 3): growing gaps are claimed, and the one before is 2s";
    assert_eq!(told(json!({"match": post, "growing": true})), json!([false, 5, why, [4]]));
    let gaps = json!([{"least_ms": 900, "most_ms": 1100}, {"least_ms": 2000}, {}, {"most_ms": 5999}]);
    let why = "a capture came 6s behind the one before (gap 4): at most 5999 ms are claimed";
    assert_eq!(told(json!({"match": post, "gaps": gaps})), json!([false, 5, why, [5]]));
    let why = "there are 0 gaps, and 1 are claimed";
    assert_eq!(told(json!({"match": "method=GET", "gaps": [{"least_ms": 1}]})), json!([false, 1, why, []]));
    assert_eq!(told(json!({"match": "method=PUT", "least_ms": 1})), json!([true, 0, null, []]));
}

#[test]
fn a_value_that_comes_again_is_told_with_who_had_it_first() {
    let keys = [json!(["k1"]), json!(["k2", "k2"]), json!([]), json!(["k3", "k1"]), json!(["k3"])];
    let captures: Vec<Capture> = (keys.iter().enumerate())
        .map(|(number, keys)| {
            let keys = keys.as_array().unwrap();
            let headers: Vec<Value> = keys.iter().map(|key| json!(["Idempotency-Key", key])).collect();
            let body = json!({"id": number % 4, "n": {"b": 1, "a": null}}).to_string();
            let target = format!("/r/a?q={number}");
            capture(number, 0, &json!({"headers": headers, "body": body, "target": target}))
        })
        .collect();
    let claims = json!({"claims": [
        {"unique_by": {"header": "idempotency-key"}},
        {"unique_by": {"query": "q"}},
        {"unique_by": {"json": "$.id"}},
        {"unique_by": {"json": "$.n"}, "name": "objects"},
        {"unique_by": {"json": "$.n.a"}},
        {"unique_by": {"match": "query.q=3", "json": "$.n"}},
    ]});
    let first = Uuid::from_u128(0);
    let why = format!("2 captures repeat a value; the first has a value that {first} has");
    let told = verify(&claims, &captures, true);
    assert_eq!(told[0], json!([null, "unique_by", false, 4, why, [3, 4]]));
    assert_eq!(told[1], json!([null, "unique_by", true, 5, null, []]));
    let why = format!("a capture has a value that {first} has");
    assert_eq!(told[2], json!([null, "unique_by", false, 5, why, [4]]));
    assert_eq!(
        (&told[3][0], &told[3][2], &told[3][5]),
        (&json!("objects"), &json!(false), &json!([1, 2, 3, 4]))
    );
    assert_eq!(told[4], json!([null, "unique_by", true, 0, null, []]), "null is no value");
    assert_eq!(told[5][2], true);
}

#[test]
fn what_can_not_be_remembered_is_not_decided() {
    let (mut unique, mut room) = (Unique::default(), 2);
    for (number, value) in [[1; 16], [2; 16], [3; 16]].into_iter().enumerate() {
        unique.take(&capture(number, 0, &json!({})), Some(&[value]), &mut room);
    }
    let verdict = unique.verdict(true);
    assert_eq!((verdict.holds, room), (None, 0));
    assert!(verdict.why.unwrap().starts_with("there are more values than can be remembered"));
    unique.take(&capture(9, 0, &json!({})), Some(&[[1; 16]]), &mut room);
    assert_eq!(unique.verdict(true).holds, Some(false), "what is known to come again, does");
    let mut unique = Unique::default();
    unique.take(&capture(0, 0, &json!({})), None, &mut room);
    assert_eq!(unique.verdict(true).holds, None, "what it has is not known");
}

#[test]
fn an_expression_with_a_name_is_meant_wherever_it_stands() {
    let captures = sent(&[("POST", 0), ("GET", 1), ("POST", 2)]);
    let claims = json!({
        "expressions": {"post": {"at": "method", "equals": "POST"}, "get": "method=GET"},
        "claims": [
            {"count": {"exactly": 2}, "match": {"ref": "post"}},
            {"in_order": [{"ref": "post"}, {"ref": "get"}, {"ref": "post"}], "others": false},
            {"spacing": {"match": {"ref": "post"}, "least_ms": 2, "most_ms": 2}},
        ],
    });
    let holds: Vec<Value> =
        verify(&claims, &captures, true).into_iter().map(|told| told[2].clone()).collect();
    assert_eq!(holds, [true, true, true]);
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let long = "x".repeat(256);
    let many: Vec<Value> = vec![json!({"count": 1}); 51];
    for (document, why) in [
        (json!({}), "/claims: this says what is verified"),
        (json!({"claims": []}), "/claims: one claim at least is expected"),
        (json!({"claims": many}), "/claims: there are 51 of them, and may be at most 50"),
        (
            json!({"claims": [{}]}),
            "/claims/0: one of `count`, `in_order`, `spacing` and `unique_by` is expected",
        ),
        (
            json!({"claims": [{"count": 1, "in_order": []}]}),
            "/claims/0: one of `count`, `in_order`, `spacing` and `unique_by` is expected",
        ),
        (json!({"claims": [{"count": 1, "others": true}]}), "/claims/0/others: this is not known here"),
        (
            json!({"claims": [{"count": 1, "name": long}]}),
            "/claims/0/name: a text of 1 to 255 bytes is expected",
        ),
        (
            json!({"claims": [{"count": {"at_least": 0}}]}),
            "/claims/0/count/at_least: a whole number from 1 to",
        ),
        (json!({"claims": [{"in_order": []}]}), "/claims/0/in_order: one step at least is expected"),
        (json!({"claims": [{"in_order": ["a=b"]}]}), "/claims/0/in_order/0: "),
        (
            json!({"claims": [{"count": 1, "match": {"ref": "paid"}}]}),
            "/claims/0/match/ref: `expressions` has no `paid`",
        ),
        (
            json!({"claims": [{"count": 1, "match": {"ref": "a", "x": 1}}]}),
            "/claims/0/match/x: this is not known here",
        ),
        (
            json!({"expressions": {"a/b": {"at": "x"}}, "claims": []}),
            "/expressions/a~1b/at: `x` is no part of",
        ),
        (
            json!({"claims": [{"spacing": {}}]}),
            "/claims/0/spacing: one of `least_ms`, `most_ms`, `gaps` and `growing` is expected",
        ),
        (
            json!({"claims": [{"spacing": {"least_ms": 2, "most_ms": 1}}]}),
            "/claims/0/spacing/least_ms: this is over `most_ms`",
        ),
        (
            json!({"claims": [{"spacing": {"gaps": [{"ms": 1}]}}]}),
            "/claims/0/spacing/gaps/0/ms: this is not known",
        ),
        (
            json!({"claims": [{"unique_by": {"header": "a", "query": "b"}}]}),
            "/claims/0/unique_by: one of `header`, `query` and `json` is expected",
        ),
        (
            json!({"claims": [{"unique_by": {"json": "a"}}]}),
            "/claims/0/unique_by/json: the JSONPath cannot be read",
        ),
    ] {
        let found = verification(&document).unwrap_err();
        assert!(found.starts_with(why), "{document}: {found}");
    }
}

#[test]
fn evidence_is_bounded() {
    let captures = sent(&[("POST", 0); 100]);
    let claims = json!({"claims": [{"count": {"exactly": 1}}, {"spacing": {"least_ms": 1}}, {"unique_by": {"query": "x"}}]});
    let told = verify(&claims, &captures, true);
    for told in &told[..2] {
        assert_eq!(told[5].as_array().map(Vec::len), Some(EVIDENCE_MAX));
    }
}

/// Whether the steps were found: by trying every place.
fn naive_order(steps: &[char], came: &[char], others: Others) -> bool {
    match (others, steps) {
        (_, []) => true,
        (Others::Refused, _) => came.windows(steps.len()).any(|window| window == steps),
        (Others::Allowed, [first, rest @ ..]) => {
            (0..came.len()).any(|at| came[at] == *first && naive_order(rest, &came[at + 1..], others))
        }
    }
}

fn letters(most: usize) -> impl Strategy<Value = Vec<char>> {
    prop::collection::vec(prop_oneof![Just('A'), Just('B'), Just('C')], 0..most)
}

proptest! {
    #[test]
    fn an_order_is_found_where_there_is_one(
        steps in letters(5).prop_filter("a step", |steps| !steps.is_empty()),
        came in letters(12),
        others in prop_oneof![Just(Others::Allowed), Just(Others::Refused)],
    ) {
        let mut order = InOrder::new(steps.len(), others);
        for (number, method) in came.iter().enumerate() {
            order.take(&capture(number, 0, &json!({})), |step| steps[step] == *method);
            let so_far = naive_order(&steps, &came[..=number], others);
            prop_assert_eq!(order.verdict(false).holds, so_far.then_some(true));
        }
        let verdict = order.verdict(true);
        prop_assert_eq!(verdict.holds, Some(naive_order(&steps, &came, others)));
        // The longest beginning is told, and what breaks it is there.
        let longest = (0..=steps.len()).rev().find(|n| naive_order(&steps[..*n], &came, others)).unwrap();
        prop_assert_eq!(verdict.found, longest as u64);
        for number in numbers(&verdict) {
            let breaks = match others {
                Others::Allowed => came[number] == steps[longest],
                Others::Refused => came[number] != steps[longest] && came[..number].ends_with(&steps[..longest]),
            };
            prop_assert!(breaks, "{number} of {came:?}");
        }
    }

    #[test]
    fn a_spacing_is_that_of_all_times(
        mut times in prop::collection::vec(0i64..100, 0..10),
        (least, most) in (prop::option::of(0u64..30), prop::option::of(30u64..60)),
        gaps in prop::collection::vec((0u64..20, 20u64..60), 0..4),
        (growing, sorted) in (any::<bool>(), any::<bool>()),
    ) {
        if sorted { times.sort_unstable(); }
        let each = Bounds { least_ms: least, most_ms: most };
        let bounds: Vec<Bounds> =
            gaps.iter().map(|(least, most)| Bounds { least_ms: Some(*least), most_ms: Some(*most) }).collect();
        let mut spacing = Spacing::new(Terms { each, gaps: bounds.clone(), growing });
        for (number, at) in times.iter().enumerate() {
            spacing.take(&capture(number, *at, &json!({})));
        }
        // Each as late as the latest before it.
        let late: Vec<i64> = times.iter().scan(0, |late, at| { *late = at.max(late).to_owned(); Some(*late) }).collect();
        let found: Vec<u64> = late.windows(2).map(|pair| (pair[1] - pair[0]).unsigned_abs()).collect();
        let fits = |bounds: &Bounds, gap: u64| {
            bounds.least_ms.is_none_or(|least| gap >= least) && bounds.most_ms.is_none_or(|most| gap <= most)
        };
        let wrong: Vec<usize> = (0..found.len())
            .filter(|i| {
                !fits(&each, found[*i])
                    || bounds.get(*i).is_some_and(|bounds| !fits(bounds, found[*i]))
                    || (growing && *i > 0 && found[*i] < found[*i - 1])
            })
            .map(|i| i + 1)
            .collect();
        let verdict = spacing.verdict(true);
        prop_assert_eq!(verdict.holds, Some(wrong.is_empty() && found.len() >= bounds.len()));
        prop_assert_eq!(&numbers(&verdict), &wrong);
        prop_assert_eq!(spacing.verdict(false).holds, (!wrong.is_empty()).then_some(false));
    }

    #[test]
    fn a_value_is_unique_where_no_earlier_capture_has_it(
        values in prop::collection::vec(prop::collection::vec(0u8..12, 0..3), 0..12),
    ) {
        let (mut unique, mut room) = (Unique::default(), 1000);
        for (number, values) in values.iter().enumerate() {
            let values: Vec<[u8; 16]> = values.iter().map(|value| [*value; 16]).collect();
            unique.take(&capture(number, 0, &json!({})), Some(&values), &mut room);
        }
        let repeats = |number: &usize| {
            values[*number].iter().any(|value| values[..*number].iter().flatten().any(|earlier| earlier == value))
        };
        let expected: Vec<usize> = (0..values.len()).filter(repeats).collect();
        let verdict = unique.verdict(true);
        prop_assert_eq!(verdict.holds, Some(expected.is_empty()));
        prop_assert_eq!(numbers(&verdict), expected);
        prop_assert_eq!(verdict.found, values.iter().filter(|values| !values.is_empty()).count() as u64);
    }

    #[test]
    fn a_count_is_that_of_all(found in 0u64..8, n in 0u64..8, bound in 0usize..3) {
        let form = ["at_least", "exactly", "at_most"][bound];
        let n = if bound == 0 { n.max(1) } else { n };
        let mut counted = Number::new(Count::parse(&json!({form: n})).unwrap());
        for number in 0..found {
            counted.take(&capture(usize::try_from(number).unwrap(), 0, &json!({})));
        }
        let holds = match bound { 0 => found >= n, 1 => found == n, _ => found <= n };
        let verdict = counted.verdict(true);
        prop_assert_eq!(verdict.holds, Some(holds));
        let past = if bound == 0 { 0 } else { found.saturating_sub(n) };
        prop_assert_eq!(verdict.captures.len() as u64, past);
        // What is decided in part stays so.
        if let Some(early) = counted.verdict(false).holds {
            prop_assert_eq!(early, holds);
        }
    }
}
