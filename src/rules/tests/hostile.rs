//! Whatever is sent as a rule is read or refused, and whatever is caught is matched or not: nothing panics.

use proptest::prelude::*;

use super::*;
use crate::model::header_block::HeaderBlockBuilder;
use crate::model::{Body, CaptureKind, EndpointCode};
use crate::rules::operator;
use crate::rules::place;
use crate::rules::traffcap::{self, ImportOptions};

const IMPORT: ImportOptions<'_> = ImportOptions { prefix: "r", pattern_bytes_max: 65_536 };

fn scalars() -> impl Strategy<Value = Value> {
    let texts =
        ["", "a", "*", "$.a", "$..a", "(", "a+$", "{{x", "{{x}}", "10.0.0.0/8", "/w==", "text/html", "stay"];
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1.0e300..1.0e300).prop_map(Value::from),
        (0..700_u64).prop_map(Value::from),
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        prop::sample::select(place::NAMES.split(", ").collect::<Vec<_>>()).prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ]
}

/// JSON whose members are called as those of rules are.
fn documents() -> impl Strategy<Value = Value> {
    let mut names = vec![
        "match",
        "all",
        "any",
        "not",
        "at",
        "name",
        "index",
        "path",
        "pick",
        "default",
        "ignore_case",
        "subset",
        "reply",
        "replies",
        "status",
        "headers",
        "body",
        "variants",
        "content_type",
        "delay_ms",
        "min",
        "max",
        "dribble",
        "chunks",
        "over_ms",
        "fault",
        "message",
        "text",
        "json",
        "base64",
        "template",
        "echo",
        "close",
        "code",
        "reason",
        "scenario",
        "requires",
        "sets",
        "after_last",
        "enabled",
        "priority",
        "scope",
        "x",
        "matches",
        "id",
        "parent_id",
        "match_type",
        "pattern",
        "key",
        "invert",
    ];
    names.extend(operator::NAMES);
    let name = prop::sample::select(names);
    scalars().prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
            }),
        ]
    })
}

/// A leaf that is mostly valid.
fn leaves() -> impl Strategy<Value = Value> {
    let at = prop::sample::select(place::NAMES.split(", ").collect::<Vec<_>>());
    let operand = prop_oneof![
        Just(json!("")),
        Just(json!("a")),
        Just(json!(1)),
        Just(json!(true)),
        Just(json!(["a", 1])),
        Just(json!("10.0.0.0/8")),
        Just(json!({"base64": "/w=="})),
    ];
    (at, prop::sample::select(operator::NAMES.to_vec()), operand, any::<[bool; 3]>(), 0..3_usize).prop_map(
        |(at, operator, operand, [named, has_default, ignores_case], pick)| {
            let mut leaf = json!({"at": at, operator: operand});
            if named && ["query", "header", "cookie", "form"].contains(&at) {
                leaf["name"] = "a".into();
            }
            if ["query", "header"].contains(&at) {
                leaf["pick"] = ["all", "first", "last"][pick].into();
            }
            if has_default {
                leaf["default"] = "a".into();
            }
            if at == "segment" {
                leaf["index"] = pick.into();
            }
            if at == "json" {
                leaf["path"] = ["$", "$..a", "$[0]"][pick].into();
            }
            if ignores_case {
                leaf["ignore_case"] = true.into();
            }
            leaf
        },
    )
}

fn captures() -> impl Strategy<Value = Capture> {
    let kinds = vec![
        CaptureKind::Http,
        CaptureKind::WebSocketOpen,
        CaptureKind::WebSocketText,
        CaptureKind::WebSocketBinary,
        CaptureKind::WebSocketClose,
    ];
    let target = prop_oneof![
        "[/a%?=&;:+.\\[\\]]{0,24}",
        "/r/a/[a-z%0-9A-F/?=&+]{0,24}",
        "[ -~é]{0,16}",
        Just("*".to_owned()),
        Just("http://".to_owned()),
    ];
    let names = vec!["host", "a", "cookie", "content-type", "accept", "x-id"];
    let values = prop_oneof![
        prop::collection::vec(any::<u8>().prop_filter("no line ends", |b| !b"\r\n".contains(b)), 0..24),
        prop::sample::select(vec![
            "multipart/form-data; boundary=b",
            "application/x-www-form-urlencoded",
            "application/json",
            "[::1",
            "]:1",
            "a:99999",
            "a=b;=;c",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    let bodies = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        "(--b\r\n|Content-Disposition: form-data; name=\"a\"\r\n|\r\n|a|--){0,8}"
            .prop_map(String::into_bytes),
        documents().prop_map(|document| document.to_string().into_bytes()),
    ];
    let headers = prop::collection::vec((prop::sample::select(names), values), 0..8);
    (prop::sample::select(kinds), target, "\\PC{0,12}", headers, bodies, any::<u16>()).prop_map(
        |(kind, target, host, headers, content, port)| {
            let mut block = HeaderBlockBuilder::default();
            for (name, value) in &headers {
                block.push(name.as_bytes(), value);
            }
            let mut capture = capture(&json!({"endpoint": "a"}));
            let bytes = content.len() as u64;
            capture.body = Body { content: BodyContent::Inline(content.into()), bytes, ..Body::default() };
            capture.headers = block.finish();
            Capture { kind, target, host, port, endpoint: EndpointCode::parse("a").unwrap(), ..capture }
        },
    )
}

proptest! {
    #[test]
    fn whatever_is_sent_as_a_rule_is_read_or_refused(document in documents()) {
        drop(parse(&document));
        drop(parse(&json!({"reply": {}, "match": document})));
        drop(parse(&json!({"reply": document})));
        drop(Endpoint::parse(&document, &options()));
        drop(traffcap::documents(&document, IMPORT));
        let given = json!({"name": "a", "matches": document});
        drop(traffcap::documents(&given, IMPORT));
        let options = sample::SampleOptions { id: uuid::Uuid::nil(), now_us: 0, prefix: "r" };
        drop(sample::capture(&document, options));
    }

    #[test]
    fn whatever_is_caught_is_matched_or_not(capture in captures(), leaves in prop::collection::vec(leaves(), 1..12)) {
        let seen = Seen::new(&capture, body(&capture));
        for leaf in leaves {
            let Ok(expression) = Expression::parse(&leaf, 65_536) else { continue };
            let explained = expression.explain(&seen);
            prop_assert_eq!(explained.holds, expression.matches(&seen));
            let turned = Expression::parse(&json!({"not": leaf}), 65_536).unwrap();
            prop_assert_eq!(turned.matches(&seen), !explained.holds);
        }
        let told = render::Told { rule: None, hit: None, now_us: 0 };
        prop_assert!(render::context(&seen, told).is_object());
    }
}
