//! Templates as a whole: their bounds, what does not fit, and that the reference is true.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const OPTIONS: TemplateOptions = TemplateOptions { strict: false, source_bytes_max: 65_536 };
const STRICT: TemplateOptions = TemplateOptions { strict: true, source_bytes_max: 65_536 };
const LIMITS: RenderLimits =
    RenderLimits { output_bytes_max: 65_536, time_max: Duration::from_millis(500), steps_max: 100_000 };

fn render(source: &str, escape: Escape, context: &Value) -> Result<String, String> {
    let template = Template::compile(source, escape, &OPTIONS).map_err(|error| error.to_string())?;
    let output = template.render(context, &LIMITS).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output).unwrap())
}

fn refusal(source: &str) -> String {
    Template::compile(source, Escape::None, &OPTIONS).unwrap_err().to_string()
}

fn failure(source: &str, context: &Value) -> RenderError {
    Template::compile(source, Escape::None, &OPTIONS).unwrap().render(context, &LIMITS).unwrap_err()
}

/// The reference's example context, and its rows: the escape, the template, and what it gives.
fn reference() -> (Value, Vec<(Escape, String, String)>) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/templates.md");
    let text = std::fs::read_to_string(path).unwrap();
    let context = text.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let mut rows = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<String> =
            line.replace("\\|", "\u{0}").split('|').map(|cell| cell.trim().replace('\u{0}', "|")).collect();
        let escape = match cells[1].as_str() {
            "HTML" => Escape::Html,
            "JSON" => Escape::Json,
            "CSV" => Escape::Csv,
            "TSV" => Escape::Tsv,
            _ => Escape::None,
        };
        if let [.., template, gives, _] = cells.as_slice()
            && let (Some(template), Some(gives)) = (code(template), code(gives))
        {
            rows.push((escape, template.to_owned(), gives.to_owned()));
        }
    }
    (serde_json::from_str(context).unwrap(), rows)
}

/// What stands in a cell as code. Doubled backticks have a blank inside, which is no part of it.
fn code(cell: &str) -> Option<&str> {
    let within = |mark: &str| cell.strip_prefix(mark)?.strip_suffix(mark.chars().rev().collect::<String>().as_str());
    within("`` ").or_else(|| within("`"))
}

#[test]
fn every_row_of_the_reference_is_true() {
    let (context, rows) = reference();
    assert!(rows.len() >= HELPERS.len(), "{} rows", rows.len());
    for (escape, template, gives) in &rows {
        let output = render(template, *escape, &context).unwrap_or_else(|error| panic!("{template}: {error}"));
        match gives.strip_prefix('/').and_then(|gives| gives.strip_suffix('/')) {
            Some(pattern) => {
                let pattern = regex::Regex::new(&format!("^(?:{pattern})$")).unwrap();
                assert!(pattern.is_match(&output), "{template} gives {output}");
            }
            None => assert_eq!(&output, gives, "{template}"),
        }
    }
}

#[test]
fn every_helper_has_a_row_in_the_reference() {
    let (_, rows) = reference();
    for (name, _) in HELPERS {
        let call = regex::Regex::new(&format!(r"[{{(#]{name}[\s}})]")).unwrap();
        assert!(rows.iter().any(|(_, template, _)| call.is_match(template)), "{name} is not in docs/templates.md");
    }
}

#[test]
fn texts_without_expressions_are_static() {
    let table = [
        ("", true, ""),
        ("plain } text {", true, "plain } text {"),
        ("a {{! comment }}b", true, "a b"),
        (r"\{{not}} read", true, "{{not}} read"),
        ("{{{{raw}}}}{{not read}}{{{{/raw}}}}", true, "{{not read}}"),
        ("a{{b}}", false, "a"),
    ];
    for (source, is_static, output) in table {
        let template = Template::compile(source, Escape::Html, &OPTIONS).unwrap();
        assert_eq!(template.is_static(), is_static, "{source}");
        assert_eq!(template.render(&Value::Null, &LIMITS).unwrap(), output.as_bytes(), "{source}");
    }
}

#[test]
fn templates_that_cannot_be_bounded_or_cannot_work_are_refused() {
    let table = [
        ("{{> self}}", "line 1, column 1: there are no partials (`>`)"),
        ("{{#> layout}}x{{/layout}}", "line 1, column 1: there are no partials (`>`)"),
        ("a\n {{* inline}}", "line 2, column 2: there are no decorators (`*`)"),
        ("{{#*inline \"x\"}}x{{/inline}}", "line 1, column 1: there are no decorators (`*`)"),
        ("{{uper x}}", "line 1, column 1: there is no helper `uper`; is `upper` meant?"),
        ("a {{trim (lowr x)}}", "line 1, column 3: there is no helper `lowr`; is `lower` meant?"),
        ("{{log x}}", "line 1, column 1: there is no helper `log`"),
        ("{{#loop x}}{{/loop}}", "line 1, column 1: there is no helper `loop`"),
        ("{{#eq 1 2}}{{/eq}}", "line 1, column 1: `eq` is no block: write {{#if (eq ...)}}"),
        ("{{upper x y}}", "line 1, column 1: `upper` takes 1 arguments, not 2"),
        ("{{add 1}}", "line 1, column 1: `add` takes 2 or more arguments, not 1"),
        ("{{#each}}{{/each}}", "line 1, column 1: `each` takes one argument"),
        ("{{now zone=\"x\"}}", "line 1, column 1: `now` has no option `zone`"),
        ("{{#each x sorted=true}}{{/each}}", "line 1, column 1: `each` has no option `sorted`"),
        ("{{@partial}}", "line 1, column 1: of variables there are @index, @key, @first, @last and @root"),
    ];
    for (source, message) in table {
        let refusal = refusal(source);
        assert!(refusal.starts_with(message), "{source}: {refusal}");
    }
    assert!(refusal("{{regex x \"(\"}}").contains("regex parse error"));
    assert!(refusal("{{regex x \"(a{1000}){1000}\"}}").contains("too large"));
    assert!(refusal("{{jsonPath x \"a..\"}}").contains("the JSONPath cannot be read"));
    assert!(refusal(&"x".repeat(65_537)).contains("more than 65536 bytes"));
    assert!(refusal(&format!("{{{{add {}}}}}", "1 ".repeat(65))).contains("not 65"));
}

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
        let template = Template::compile(&source, Escape::None, &OPTIONS).unwrap();
        assert_eq!(template.render(&context, &endless), Err(RenderError::TooSlow), "{call}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}

/// What cannot be interrupted must be short by itself.
#[test]
fn a_single_call_takes_no_longer_than_a_moment() {
    let long = "a".repeat(16 * 1024);
    let mixed: String = (0..16 * 1024_u32).map(|n| if n.wrapping_mul(2_654_435_761) >> 31 == 0 { 'a' } else { 'b' }).collect();
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
        "{{regex mixed \"(a[ab]{1000,3000})[^ab]\"}}",
        "{{regex mixed \"(a[ab]{1000,6000})[^ab]\"}}",
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
        let Ok(template) = Template::compile(source, Escape::None, &OPTIONS) else { eprintln!("too big {source}"); continue };
        let outcome = template.render(&context, &limits);
        eprintln!("{source} {:?} {}", started.elapsed(), outcome.is_ok());
        assert!(started.elapsed() < Duration::from_secs(3), "{source} took {:?}: {outcome:?}", started.elapsed());
    }
}

#[test]
fn a_large_source_is_read_in_time() {
    let started = Instant::now();
    let source = "{{a}}\n          ".repeat(4096);
    assert!(Template::compile(&source, Escape::None, &OPTIONS).is_ok());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn missing_values_are_empty_or_errors() {
    let context = json!({ "list": [1], "text": "x", "none": null });
    for source in ["{{gone}}", "{{gone.further}}", "{{list.name}}", "{{list.[7]}}", "{{../x}}", "{{upper gone}}"] {
        assert_eq!(render(source, Escape::None, &context).unwrap(), "", "{source}");
    }
    let strict = |source: &str| {
        let template = Template::compile(source, Escape::None, &STRICT).unwrap();
        template.render(&context, &LIMITS).map_err(|error| error.to_string())
    };
    let missing = |message: &str| Err(format!("line 1, column 1: {message}"));
    assert_eq!(strict("{{gone}}"), missing("`gone` is missing"));
    assert_eq!(strict("{{list.name}}"), missing("`list.name` is missing"));
    assert_eq!(strict("{{upper gone}}"), missing("`gone` is missing"));
    assert_eq!(strict("{{#each gone}}{{/each}}"), missing("`gone` is missing"));
    assert_eq!(strict("{{regex text \"y\"}}"), missing("`regex` finds nothing"));
    assert_eq!(strict("{{base64Decode \"?\"}}"), missing("base64Decode: the text is no base64"));
    assert_eq!(strict("{{divide 1 0}}"), missing("divide: the result is no number"));
    for source in ["{{none}}", "{{default gone \"\"}}", "{{#if gone}}{{/if}}", "{{#each gone}}{{else}}{{/each}}"] {
        assert_eq!(strict(source), Ok(vec![]), "{source}");
    }
}

#[test]
fn odd_arguments_give_nothing_or_an_error_and_never_a_panic() {
    let context = json!({ "text": "äöü€", "now": "2026-11-21T08:30:00Z" });
    let table = [
        ("{{substr text 1 2}}", Ok("öü")),
        ("{{substr text -1}}", Ok("€")),
        ("{{substr text -9 2}}", Ok("äö")),
        ("{{substr text 9}}", Ok("")),
        ("{{substr text 1 -1}}", Ok("")),
        ("{{substr text -9223372036854775808 9223372036854775807}}", Ok("äöü€")),
        ("{{substr text \"x\"}}", Ok("")),
        ("{{add 9223372036854775807 1}}", Ok("9.223372036854776e+18")),
        ("{{multiply 1E300 1E300}}", Ok("")),
        ("{{divide -9223372036854775808 -1}}", Ok("9.223372036854776e+18")),
        ("{{divide 1 0}}", Ok("")),
        ("{{add \"NaN\" 1}}", Ok("")),
        ("{{gt \"inf\" 1}}", Ok("false")),
        ("{{randomInt 5 1}}", Ok("")),
        ("{{randomInt -9223372036854775808 -9223372036854775808}}", Ok("-9223372036854775808")),
        ("{{randomPick []}}", Ok("")),
        ("{{randomString length=0}}", Ok("")),
        ("{{randomString length=-1}}", Err("the length is no whole number from 0")),
        ("{{date 9223372036854775807}}", Ok("")),
        ("{{date 1E300}}", Ok("")),
        ("{{date \"yesterday\"}}", Ok("")),
        ("{{now offset=\"9000 years\"}}", Ok("")),
        ("{{now offset=\"soon\"}}", Err("the offset is like `-3 days` or `2h 30m`")),
        ("{{now format=\"%Q%\"}}", Err("the format cannot be used")),
        ("{{now tz=\"+2\"}}", Err("tz is an offset such as `+02:00`, or `UTC`")),
        ("{{now tz=\"+99:00\"}}", Err("tz is an offset such as `+02:00`, or `UTC`")),
        ("{{now tz=\"é\"}}", Err("tz is an offset such as `+02:00`, or `UTC`")),
        ("{{regex text \"(ö)\" group=9}}", Ok("")),
        ("{{regex text \"(ö)\" group=-1}}", Ok("")),
        ("{{urlDecode \"%ff\"}}", Ok("")),
        ("{{base64Decode \"/w==\"}}", Ok("")),
        ("{{jsonPointer \"{\" \"/a\"}}", Ok("")),
        ("{{jsonPointer \"{}\" \"a\"}}", Err("a JSON Pointer is empty or begins with `/`")),
        ("{{hash \"crc\" text}}", Err("the digest is one of md5, sha1, sha256 and sha512")),
    ];
    for (source, expected) in table {
        match (render(source, Escape::None, &context), expected) {
            (Ok(output), Ok(expected)) => assert_eq!(output, expected, "{source}"),
            (Err(error), Err(expected)) => assert!(error.contains(expected), "{source}: {error}"),
            (outcome, _) => panic!("{source}: {outcome:?}"),
        }
    }
}

#[test]
fn an_error_tells_where_it_stands() {
    let error = failure("a\n{{#if 1}}\n  {{hash \"crc\" \"x\"}}{{/if}}", &Value::Null);
    assert_eq!(error.to_string(), "line 3, column 3: hash: the digest is one of md5, sha1, sha256 and sha512");
}

/// Pieces that templates are made of, so that the parser gets further than with letters at random.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "{{", "}}", "{{{", "}}}", "{{{{", "}}}}", "{{#", "{{/", "{{^", "{{else", "{{!", "--", "~", "#if", "if", "each", "raw",
        "with", "a", "b.c", "this", "../", "@root", "@index", "[0]", "[", "]", "(", ")", "\"x\"", "'", "\"", "\\", "=", "|", "as",
        " ", "\n", "\r\n", ">", "*", "&", "é", "1", "-2.5", "upper", "json", "now", "{{#if a}}", "{{/if}}", "{{#each b}}",
        "{{/each}}", "{{else}}", "{{else if b}}", "{{~", "~}}", "{{upper a}}", "{{> a}}", "true", "null", "{\"a\":1}", "as |v k|",
    ];
    prop::collection::vec(prop::sample::select(PIECES), 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in prop_oneof![pieces(), any::<String>()]) {
        let context = json!({ "a": "é", "b": [1, { "c": null }] });
        for options in [&OPTIONS, &STRICT] {
            match Template::compile(&source, Escape::Json, options) {
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
        if let Ok(template) = Template::compile(&source, Escape::Html, &OPTIONS) {
            drop(template.render(&json!({ "a": arguments }), &LIMITS));
        }
    }
}

fn arguments() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::sample::select(&["", "sha256", "$..*", "/0", "(a", "-3 days", "[1]", "%Y", "999999999999999999999"][..])
            .prop_map(Value::from),
        Just(json!([1, [2], { "a": 3 }])),
        Just(json!({ "a": [true, null] })),
    ]
}
