//! Templates as a whole: what they give, what does not fit, and that the reference is true.

mod bounds;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

const OPTIONS: TemplateOptions = TemplateOptions { strict: false, source_bytes_max: 65_536 };
const STRICT: TemplateOptions = TemplateOptions { strict: true, source_bytes_max: 65_536 };
const LIMITS: RenderLimits =
    RenderLimits { output_bytes_max: 65_536, time_max: Duration::from_millis(500), steps_max: 100_000 };

fn render(source: &str, escape: Escape, context: &Value) -> Result<String, String> {
    let template = Template::compile(source, escape, &OPTIONS, &mut Work::of_rule())
        .map_err(|error| error.to_string())?;
    let output = template.render(context, &LIMITS).map_err(|error| error.to_string())?;
    Ok(String::from_utf8(output).unwrap())
}

fn refusal(source: &str) -> String {
    Template::compile(source, Escape::None, &OPTIONS, &mut Work::of_rule()).unwrap_err().to_string()
}

fn failure(source: &str, context: &Value) -> RenderError {
    Template::compile(source, Escape::None, &OPTIONS, &mut Work::of_rule())
        .unwrap()
        .render(context, &LIMITS)
        .unwrap_err()
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
    let within =
        |mark: &str| cell.strip_prefix(mark)?.strip_suffix(mark.chars().rev().collect::<String>().as_str());
    within("`` ").or_else(|| within("`"))
}

#[test]
fn every_row_of_the_reference_is_true() {
    let (context, rows) = reference();
    assert!(rows.len() >= HELPERS.len(), "{} rows", rows.len());
    for (escape, template, gives) in &rows {
        let output =
            render(template, *escape, &context).unwrap_or_else(|error| panic!("{template}: {error}"));
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
        assert!(
            rows.iter().any(|(_, template, _)| call.is_match(template)),
            "{name} is not in docs/templates.md"
        );
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
        let template = Template::compile(source, Escape::Html, &OPTIONS, &mut Work::of_rule()).unwrap();
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
        ("{{upper x y}}", "line 1, column 1: `upper` takes one argument, not 2"),
        ("{{add 1}}", "line 1, column 1: `add` takes 2 to 64 arguments, not 1"),
        ("{{#each}}{{/each}}", "line 1, column 1: `each` takes one argument"),
        ("{{now zone=\"x\"}}", "line 1, column 1: `now` has no option `zone`"),
        ("{{#each x sorted=true}}{{/each}}", "line 1, column 1: `each` has no option `sorted`"),
        ("{{@partial}}", "line 1, column 1: of variables there are @index, @key, @first, @last and @root"),
    ];
    for (source, message) in table {
        let refusal = refusal(source);
        assert!(refusal.starts_with(message), "{source}: {refusal}");
    }
    assert!(refusal("{{regex x \"(\"}}").contains("unclosed group"));
    assert!(refusal("{{regex x \"(a{1000}){1000}\"}}").contains("too large"));
    assert!(refusal("{{jsonPath x \"a..\"}}").contains("the JSONPath cannot be read"));
    assert!(refusal(&"x".repeat(65_537)).contains("more than 65536 bytes"));
    assert!(refusal(&format!("{{{{add {}}}}}", "1 ".repeat(65))).contains("not 65"));
}

#[test]
fn missing_values_are_empty_or_errors() {
    let context = json!({ "list": [1], "text": "x", "none": null });
    for source in
        ["{{gone}}", "{{gone.further}}", "{{list.name}}", "{{list.[7]}}", "{{../x}}", "{{upper gone}}"]
    {
        assert_eq!(render(source, Escape::None, &context).unwrap(), "", "{source}");
    }
    let strict = |source: &str| {
        let template = Template::compile(source, Escape::None, &STRICT, &mut Work::of_rule()).unwrap();
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
    for source in
        ["{{none}}", "{{default gone \"\"}}", "{{#if gone}}{{/if}}", "{{#each gone}}{{else}}{{/each}}"]
    {
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
        ("{{now format=\"%1000000000Y\"}}", Err("the format cannot be used")),
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

/// Rendering is our own; where nothing is escaped or missing, it does as the crate does whose grammar it has.
#[test]
fn blocks_and_paths_do_as_handlebars_does() {
    let context = json!({
        "list": [1, [2, 3], { "a": "x" }, "", null, false],
        "map": { "b": 1, "c": { "d": [0, false] } },
        "zero": 0, "text": "t", "empty": [],
    });
    for source in [
        "{{#each list}}{{@index}}{{@first}}{{@last}} {{/each}}",
        "{{#each map}}{{@key}}:{{@index}} {{/each}}",
        "{{#each list}}{{#each this}}{{@../index}}.{{@index}}{{@key}}={{this}} {{/each}}{{/each}}",
        "{{#each map as |v k|}}{{k}} {{#if v.d}}{{v.d.[0]}}{{v/d/[1]}}{{/if}}{{/each}}",
        "{{#each list as |v|}}{{#with v}}{{@index}}{{@first}}{{/with}}{{/each}}",
        "{{#with map.c}}{{#with d}}{{this.[0]}}{{../../text}}{{@root.text}}{{/with}}{{/with}}",
        "{{#with map as |m|}}{{m.b}}{{b}}{{this.b}}{{./b}}{{../text}}{{/with}}",
        "{{#if zero}}a{{else if empty}}b{{else if text}}c{{else}}d{{/if}}",
        "{{#if zero includeZero=true}}a{{/if}}{{#unless zero includeZero=true}}b{{/unless}}",
        "{{#each empty}}a{{else}}b{{/each}}{{#each empty}}c{{/each}}{{#with empty}}d{{else}}e{{/with}}",
        "{{#each map}}{{#if (eq @key 'b')}}{{this}}{{else}}{{lookup this 'd'}}{{/if}}{{/each}}",
        "a\n{{#if text}}\n  b\n{{else}}\n  c\n{{/if}}\nd {{~text~}} \n e {{{text}}} {{&text}}",
        "{{#if (and text (or zero (not empty)))}}{{#unless (ne text 't')}}x{{/unless}}{{/if}}",
        "{{{{raw}}}}{{text}}{{{{/raw}}}} \\{{text}} \\\\{{text}} {{!-- {{text}} --}}",
        "{{#with map.c as |m|}}{{#each m.d as |v i|}}{{i}}{{v}}{{m.d.[0]}}{{/each}}{{/with}}",
    ] {
        let ours = render(source, Escape::None, &context).unwrap();
        let mut theirs = handlebars::Handlebars::new();
        theirs.register_escape_fn(handlebars::no_escape);
        let theirs = theirs.render_template(source, &context).unwrap();
        assert_eq!(ours, theirs.replace("[0, false]", "[0,false]"), "{source}");
    }
}

#[test]
fn an_error_tells_where_it_stands() {
    let error = failure("a\n{{#if 1}}\n  {{hash \"crc\" \"x\"}}{{/if}}", &Value::Null);
    assert_eq!(
        error.to_string(),
        "line 3, column 3: hash: the digest is one of md5, sha1, sha256 and sha512"
    );
}
