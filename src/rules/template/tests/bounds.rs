//! Hostile templates, and data that is: they end in time, with an error that says why, and never in a panic.

use proptest::prelude::*;

use super::*;

#[test]
fn nesting_has_a_limit_and_what_is_within_it_works() {
    let nested = |depth: usize| "{{#if 1}}".repeat(depth) + "x" + &"{{/if}}".repeat(depth);
    assert_eq!(render(&nested(32), Escape::None, &Value::Null).unwrap(), "x");
    assert_eq!(refusal(&nested(33)), "line 1, column 289: nested deeper than 32");
    let calls = |depth: usize| format!("{{{{{}1{}}}}}", "trim (".repeat(depth) + "trim ", ")".repeat(depth));
    assert_eq!(render(&calls(30), Escape::None, &Value::Null).unwrap(), "1");
    assert!(refusal(&calls(40)).contains("nested deeper"));
}

#[test]
fn loops_end_by_steps_bytes_or_time() {
    let many: Value = (0..1000).collect();
    let context = json!({ "many": many, "long": "x".repeat(60_000), "text": "1,".repeat(5000) });
    let nested = |inner: &str| "{{#each @root.many}}".repeat(5) + inner + &"{{/each}}".repeat(5);
    let started = Instant::now();
    assert_eq!(failure(&nested(""), &context), RenderError::TooManySteps);
    assert_eq!(failure(&nested("{{upper \"a\"}}"), &context), RenderError::TooManySteps);
    assert_eq!(failure(&nested("12345678901234567890"), &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{#each many}}{{{@root.long}}}{{/each}}", &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{randomString length=1000000000}}", &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{replace long \"x\" long}}", &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{join many long}}", &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{#each (split text \",\")}}{{/each}}", &context), RenderError::OutputTooLarge);
    assert_eq!(failure("{{json @root}}", &context), RenderError::OutputTooLarge);
    let endless = RenderLimits { steps_max: u64::MAX, ..LIMITS };
    for call in ["trim 1", "regex @root.long \"(x*)*y\"", "upper @root.long", "hash \"sha512\" @root.long"] {
        let source = nested(&format!("{{{{#if ({call})}}}}{{{{/if}}}}"));
        let template = Template::compile(&source, Escape::None, &OPTIONS, &mut Work::of_rule()).unwrap();
        assert_eq!(template.render(&context, &endless), Err(RenderError::TooSlow), "{call}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// What cannot be interrupted must be short by itself.
#[test]
fn a_single_call_takes_no_longer_than_a_moment() {
    let long = "a".repeat(16 * 1024);
    let mixed: String = (0..16 * 1024_u32)
        .map(|n| if n.wrapping_mul(2_654_435_761) >> 31 == 0 { 'a' } else { 'b' })
        .collect();
    let deep = "[".repeat(127) + &"]".repeat(127);
    let wide = format!("[{}1]", "[1,2,3],".repeat(15_000));
    let context = json!({ "long": long, "mixed": mixed, "more": mixed.repeat(4), "most": mixed.repeat(16), "wide": wide, "deep": deep, "deeper": "[".repeat(100_000) });
    let limits = RenderLimits { output_bytes_max: 1 << 20, ..LIMITS };
    for source in [
        "{{regex long \"(a|aa)+$\"}}",
        "{{regex long \"(?:a?){200}a{200}b\"}}",
        "{{regex long \"[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*1\"}}",
        "{{regex long \"(.*)(.*)(.*)(.*)(.*)(.*)(.*)[^a]\"}}",
        "{{regex long \"\\\\w{0,2}\\\\w{0,2}\\\\b1\"}}",
        "{{regex mixed \"[ab]*a[ab]{1000}c?[ab]$\"}}",
        "{{regex mixed \"a[ab]{900}[^ab]\"}}",
        "{{regex mixed \"a[ab]{1,1000}?[^ab]\"}}",
        "{{regex more \"a[ab]{1,200}?[^ab]\"}}",
        "{{regex most \"a[ab]{1,40}?[^ab]\"}}",
        "{{regex mixed \"(a[ab]{1,500})(b[ab]{1,500}?)[^ab]\"}}",
        "{{jsonPath deep \"$..*..*\"}}",
        "{{jsonPath deep \"$..*\"}}",
        "{{jsonPath wide \"$..*\"}}",
        "{{jsonPath wide \"$..[?@..*]\"}}",
        "{{jsonPath wide \"$[0,1:,2:,3:,4:,5:,6:,7:,8:,9:,10:][0,1,2,0,1,2]\"}}",
        "{{jsonPath wide \"$..[?@[?@ > 1] || @[?@ < 1]]\"}}",
        "{{jsonPath deeper \"$..*\"}}",
        "{{jsonPointer deeper \"/0/0\"}}",
    ] {
        let started = Instant::now();
        let template = Template::compile(source, Escape::None, &OPTIONS, &mut Work::of_rule()).unwrap();
        let outcome = template.render(&context, &limits);
        assert!(
            started.elapsed() < Duration::from_secs(3),
            "{source} took {:?}: {outcome:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_large_source_is_read_in_time() {
    let started = Instant::now();
    let source = |tags: usize| "{{a}}\n          ".repeat(tags);
    assert!(Template::compile(&source(1000), Escape::None, &OPTIONS, &mut Work::of_rule()).is_ok());
    let refused = Template::compile(&source(1100), Escape::None, &OPTIONS, &mut Work::of_rule()).map(drop);
    assert!(refused.is_err_and(|error| error.message.contains("tags")));
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

/// Pieces that templates are made of, so that the parser gets further than with letters at random.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{{",
        "}}",
        "{{{",
        "}}}",
        "{{{{",
        "}}}}",
        "{{#",
        "{{/",
        "{{^",
        "{{else",
        "{{!",
        "--",
        "~",
        "#if",
        "if",
        "each",
        "raw",
        "with",
        "a",
        "b.c",
        "this",
        "../",
        "@root",
        "@index",
        "[0]",
        "[",
        "]",
        "(",
        ")",
        "\"x\"",
        "'",
        "\"",
        "\\",
        "=",
        "|",
        "as",
        " ",
        "\n",
        "\r\n",
        ">",
        "*",
        "&",
        "é",
        "1",
        "-2.5",
        "upper",
        "json",
        "now",
        "{{#if a}}",
        "{{/if}}",
        "{{#each b}}",
        "{{/each}}",
        "{{else}}",
        "{{else if b}}",
        "{{~",
        "~}}",
        "{{upper a}}",
        "{{> a}}",
        "true",
        "null",
        "{\"a\":1}",
        "as |v k|",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in prop_oneof![pieces(), any::<String>()]) {
        let context = json!({ "a": "é", "b": [1, { "c": null }] });
        for options in [&OPTIONS, &STRICT] {
            match Template::compile(&source, Escape::Json, options, &mut Work::of_rule()) {
                Ok(template) => drop(template.render(&context, &LIMITS)),
                Err(error) => prop_assert!(!error.message.contains("the template cannot be read"), "the parser panics"),
            }
        }
    }

    #[test]
    fn no_argument_makes_a_helper_panic(
        helper in prop::sample::select(HELPERS).prop_map(|(name, _)| name),
        arguments in prop::collection::vec(arguments(), 0..4),
    ) {
        let list: Vec<String> = (0..arguments.len()).map(|index| format!("a.[{index}]")).collect();
        let source = format!("{{{{{helper} {}}}}}", list.join(" "));
        if let Ok(template) = Template::compile(&source, Escape::Html, &OPTIONS, &mut Work::of_rule()) {
            drop(template.render(&json!({ "a": arguments }), &LIMITS));
        }
    }
}

fn arguments() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(
            &["", "sha256", "$..*", "/0", "(a", "-3 days", "[1]", "%Y", "999999999999999999999"][..]
        )
        .prop_map(Value::from),
        Just(json!([1, [2], { "a": 3 }])),
        Just(json!({ "a": [true, null] })),
    ]
}
