//! The same verdicts as traffcap's: by tables, and by the tree as it is described, on whatever there is.

use proptest::prelude::*;
use regex::Regex;
use serde_json::{Value, json};

use super::*;
use crate::model::{BodyContent, Capture};
use crate::rules::sample::{self, SampleOptions};
use crate::rules::{Expression, Seen};

const OPTIONS: ImportOptions<'_> = ImportOptions { prefix: "r", pattern_bytes_max: 262_144 };

fn capture(document: &Value) -> Capture {
    let options = SampleOptions { id: uuid::Uuid::nil(), now_us: 0, prefix: "r" };
    sample::capture(document, options).unwrap()
}

fn body(capture: &Capture) -> &[u8] {
    match &capture.body.content {
        BodyContent::Inline(body) => body,
        BodyContent::Parts { .. } => unreachable!("samples have their bodies"),
    }
}

/// Whether the rule that is made of these nodes matches.
fn converted(nodes: &Value, capture: &Capture) -> bool {
    let made = expression(nodes, OPTIONS).unwrap_or_else(|why| panic!("{why}: {nodes}"));
    let made = Expression::parse(&made, OPTIONS.pattern_bytes_max).unwrap();
    made.matches(&Seen::new(capture, body(capture)))
}

fn root() -> Value {
    json!({"id": 1, "parent_id": null, "match_type": "RootRule", "key": null, "pattern": "", "invert": false})
}

fn leaf(kind: &str, key: Value, pattern: &str) -> Value {
    json!({"id": 2, "parent_id": 1, "match_type": kind, "key": key, "pattern": pattern, "invert": false})
}

fn request() -> Value {
    json!({"method": "POST", "target": "/r/shop/a%20b?x=1&x=2&y=&z=3", "scheme": "https",
        "headers": [["host", "Shop.Example:8443"], ["x-id", "first"], ["x-id", "second"], ["accept", "a/b"]],
        "body": "line\nend\n"})
}

fn compiled(pattern: &str) -> Result<operator::Pattern, Invalid> {
    operator::pattern(pattern, false, 1 << 20, operator::Kept::Much, &mut Work::of_rule())
}

#[test]
fn each_kind_searches_its_part() {
    let table = [
        ("Endpoint", json!(null), "shop/a b$", true),
        ("EndpointRule", json!(null), "a b", false),
        ("Endpoint", json!(null), "shop|nothing", true),
        ("Endpoint", json!(null), "?/r/shop", false),
        ("Endpoint", json!(null), "?shop", true),
        ("Method", json!(null), "^POST$", true),
        ("MethodRule", json!(null), "post", false),
        ("Protocol", json!(null), "^https$", true),
        ("DomainNameRule", json!(null), r"^shop\.example$", true),
        ("DomainName", json!(null), "Shop", false),
        ("DomainName", json!(null), "8443", false),
        ("Port", json!(null), "^8443$", true),
        ("Port", json!(null), "None", false),
        ("Body", json!(null), "end$", true),
        ("Body", json!(null), r"end\Z", false),
        ("Body", json!(null), "(?m)line$", true),
        ("Body", json!(null), "line$", false),
        ("HeaderKey", json!(null), "^x-", true),
        ("HeaderKey", json!(null), "^X-", false),
        ("HeaderValue", json!(null), "first", true),
        ("HeaderValue", json!(null), "second", false),
        ("HeaderKeyValue", json!("x-id"), "first", true),
        ("HeaderKeyValue", json!("x-id"), "second", false),
        ("HeaderKeyValue", json!("X-Id"), "first", false),
        ("HeaderKeyValue", json!("X-Id"), "^$", true),
        ("HeaderKeyValue", json!("gone"), "^$", true),
        ("HeaderKeyValue", json!("gone"), ".", false),
        ("HeaderKeyValue", json!(null), "", false),
        ("QueryParamKey", json!(null), "^y$", true),
        ("QueryParamKey", json!(null), "1", false),
        ("QueryParamValue", json!(null), "2", true),
        ("QueryParamValue", json!(null), "1", false),
        ("QueryParamKeyValue", json!("x"), "^2$", true),
        ("QueryParamKeyValue", json!("x"), "1", false),
        ("QueryParamKeyValue", json!("y"), "^$", true),
        ("QueryParamKeyValue", json!("gone"), "^$", true),
        ("QueryParamKeyValueRule", json!(null), "", false),
        ("Root", json!(null), "anything (", true),
    ];
    let capture = capture(&request());
    for (kind, key, pattern, expected) in table {
        let mut leaf = leaf(kind, key, pattern);
        assert_eq!(converted(&json!([root(), leaf]), &capture), expected, "{leaf}");
        leaf["invert"] = true.into();
        assert_eq!(converted(&json!([root(), leaf]), &capture), !expected, "{leaf}");
    }
}

#[test]
fn a_host_without_port_and_a_body_that_is_no_text() {
    let bare = json!({"target": "/r/a", "headers": [["host", "[::1]"]], "body": {"base64": "/w=="}});
    let capture = capture(&bare);
    let table = [
        ("Port", "None", true),
        ("Port", "80", false),
        ("DomainName", "^::1$", true),
        ("Body", "", false),
        ("HeaderValue", "", true),
        ("QueryParamValue", "", false),
        ("QueryParamKey", "", false),
    ];
    for (kind, pattern, expected) in table {
        let nodes = json!([root(), leaf(kind, Value::Null, pattern)]);
        assert_eq!(converted(&nodes, &capture), expected, "{nodes}");
    }
}

#[test]
fn what_makes_no_tree_is_refused_with_its_place() {
    let node = |id: i64, parent: Value| json!({"id": id, "parent_id": parent, "match_type": "Method", "pattern": "x"});
    let table = [
        (json!([]), "there is no root"),
        (json!([root(), node(1, json!(1))]), "/1/id: there is a node 1 already"),
        (json!([root(), node(2, json!(null))]), "/1/parent_id: there is a root already"),
        (json!([root(), node(2, json!(9))]), "/1/parent_id: there is no node 9"),
        (json!([root(), node(2, json!(3)), node(3, json!(2))]), "/1/parent_id: its parents go round"),
        (json!([root(), node(2, json!(2))]), "/1/parent_id: its parents go round"),
        (json!([root(), leaf("Cookie", json!(null), "")]), "/1/match_type: `Cookie` is not known"),
        (json!([root(), {"id": 2, "parent_id": 1, "match_type": "Body"}]), "/1/pattern: this is missing"),
        (
            json!([root(), leaf("Body", json!(null), "a(?=b)")]),
            "/1/pattern: the pattern is wrong at character 2",
        ),
        (
            json!([root(), leaf("Endpoint", json!(null), "(?i)a")]),
            "/1/pattern: the pattern is wrong at character 1",
        ),
        (
            json!([root(), leaf("Endpoint", json!(null), "a(")]),
            "/1/pattern: the pattern is wrong at character 2",
        ),
        (json!([root(), leaf("Body", json!(null), r"(\w{100}){100}")]), "/1/pattern: the pattern takes over"),
    ];
    for (nodes, expected) in table {
        let why = expression(&nodes, OPTIONS).unwrap_err().to_string();
        assert!(why.starts_with(expected), "{nodes}: {why}");
    }
}

#[test]
fn a_rule_becomes_a_document() {
    let rule = json!({"id": 7, "name": "a", "priority": 3, "content_type": "text/html", "template": "{{ x }}",
        "matches": [root(), {"id": 2, "parent_id": 1, "match_type": "MethodRule", "key": null, "pattern": "^P",
                             "invert": true, "rule_id": 7}]});
    let made = documents(&json!([rule]), OPTIONS).unwrap();
    let expected = json!([{"name": "a", "priority": -3, "match": {"not": {"at": "method", "matches": "^P"}},
        "reply": {"status": 200, "content_type": "text/html", "body": {"text": "{{ x }}"}}}]);
    assert_eq!(json!(made), expected);
    let mut template = rule.clone();
    template["template_format"] = "handlebars".into();
    assert_eq!(documents(&template, OPTIONS).unwrap()[0]["reply"]["body"], json!({"template": "{{ x }}"}));
    for (member, wrong) in [
        ("template_format", json!("jinja")),
        ("priority", json!(i64::MIN)),
        ("matches", json!(null)),
        ("other", json!(1)),
    ] {
        let mut rule = rule.clone();
        rule[member] = wrong;
        let why = documents(&json!([rule]), OPTIONS).unwrap_err().to_string();
        assert!(why.starts_with(&format!("/0/{member}: ")), "{why}");
    }
}

#[test]
fn patterns_of_python_are_translated() {
    let same = |text: &str| Ok(text.to_owned());
    let table = [
        ("a+b*?c{2,3}|(x)", same("a+b*?c{2,3}|(x)")),
        (r"\Aa\Z", same(r"\Aa\z")),
        ("a$", same(r"a(?:\n?\z)")),
        ("a$|b$", same(r"a(?:\n?\z)|b(?:\n?\z)")),
        ("(a$)?$", same(r"(a(?:\n?\z))?(?:\n?\z)")),
        ("(?m)a$b", same("(?m)a$b")),
        ("(?m:a$)b$", same(r"(?m:a$)b(?:\n?\z)")),
        ("(?i)(?u)a", same("(?i)a")),
        ("(?u:a)", same("(?:a)")),
        ("a(?#no ( word)b", same("ab")),
        ("a{,3}b{,}c{2}", same("a{0,3}b{0,}c{2}")),
        ("a{}b{x}c{1,2", same(r"a\{\}b\{x\}c\{1,2")),
        (r"\<\>\é\ ", same(r"\x{3C}\x{3E}é\x{20}")),
        (r"\x41\u00e9\0\101", same(r"Aé\x{0}A")),
        (r"[]a\]b-d&&[-]", same(r"[\x{5D}a\x{5D}b-d\x{26}\x{26}\x{5B}\x{2D}]")),
        (r"[^\b\d-]", same(r"[^\x{8}\d\x{2D}]")),
        ("(?P<a>x)", same("(?P<a>x)")),
        ("a(?=b)", Err("character 2: look-around")),
        ("(?<!b)a", Err("character 1: look-around")),
        (r"(a)\1", Err("character 4: back-references")),
        ("(?P<a>x)(?P=a)", Err("character 9: back-references")),
        ("(?>a)", Err("character 1: atomic")),
        ("(a)?(?(1)b|c)", Err("character 5: conditional")),
        ("a++", Err("character 3: possessive")),
        ("a**", Err("character 3: a quantifier")),
        ("a{2}{3}", Err("character 5: a quantifier")),
        ("é$b", Err("character 2: something follows")),
        ("(a$)+", Err("character 3: something follows")),
        ("a(?i)b", Err("character 2: in Python, flags")),
        ("(?x)a", Err("character 3: the verbose mode")),
        ("(?a)a", Err("character 3: patterns are Unicode")),
        (r"\pL", Err(r"character 1: `\p` is no escape")),
        (r"\x4", Err(r"character 1: `\x` is no escape")),
        ("[a", Err("character 1: the bracket")),
        ("[z-a]", Err("character 2: this is no range")),
        (r"[\d-z]", Err("character 2: this is no range")),
        ("a)", Err("character 2: unopened")),
        ("*a", Err("character 1: repetition")),
        ("a\\", Err("character 2: the backslash")),
    ];
    for (python, expected) in table {
        let translated = pattern::translate("", python).map_err(|why| why.to_string());
        match (translated, expected) {
            (Ok(translated), Ok(expected)) => assert_eq!(translated, expected, "{python}"),
            (Err(why), Err(expected)) => assert!(why.contains(expected), "{python}: {why}"),
            (translated, _) => panic!("{python}: {translated:?}"),
        }
    }
}

/// What CPython's `re.search` says of these patterns and texts, one digit a text.
#[test]
fn verdicts_are_those_of_python() {
    let texts =
        ["", "a", "a\n", "a\n\n", "ab", "b", "A\n", "\n", "é\n", "a{}", "<", "&", "]", "\u{8}", "1", "["];
    let table = [
        (r"a$", "0110000000000000"),
        (r"^a$", "0110000000000000"),
        (r"a\Z", "0100000000000000"),
        (r"(?m)^a$", "0111000000000000"),
        (r"$", "1111111111111111"),
        (r"^$", "1000000100000000"),
        (r"\Z", "1111111111111111"),
        (r"(a$)?$", "1111111111111111"),
        (r"a$|b$", "0110110000000000"),
        (r"(?i)A$", "0110001000000000"),
        (r"(?i:A)b", "0000100000000000"),
        (r".", "0111111011111111"),
        (r"(?s).", "0111111111111111"),
        (r"\s", "0011001110000000"),
        (r"\w$", "0110111010000010"),
        (r"\bb", "0000010000000000"),
        (r"a{,2}b", "0000110000000000"),
        (r"a{}", "0000000001000000"),
        (r"a{1", "0000000000000000"),
        (r"[]a]", "0111100001001000"),
        (r"[^]a]", "0011111111110111"),
        (r"[&&]", "0000000000010000"),
        (r"[a[]", "0111100001000001"),
        (r"\<", "0000000000100000"),
        (r"\x61\Z", "0100000000000000"),
        (r"\141", "0111100001000000"),
        (r"[\b]", "0000000000000100"),
        (r"(?#c)b", "0000110000000000"),
        (r"(?P<n>a)b", "0000100000000000"),
        (r"[^\n]$", "0110111011111111"),
        (r"\d", "0000000000000010"),
        (r"a??b", "0000110000000000"),
        (r"é$", "0000000010000000"),
        (r"\u00e9", "0000000010000000"),
    ];
    for (python, verdicts) in table {
        let translated = pattern::translate("", python).unwrap_or_else(|why| panic!("{python}: {why}"));
        let compiled = compiled(&translated).unwrap();
        let found = texts.map(|text| if compiled.is_found(text.as_bytes()) { '1' } else { '0' });
        assert_eq!(found.iter().collect::<String>(), verdicts, "{python}");
    }
}

/// traffcap's verdict, straight from its description.
fn verdict(nodes: &[Value], node: &Value, capture: &Capture) -> bool {
    let own = own_verdict(node, capture) != node["invert"].as_bool().unwrap();
    let mut children = nodes.iter().filter(|child| child["parent_id"] == node["id"]).peekable();
    own && (children.peek().is_none() || children.any(|child| verdict(nodes, child, capture)))
}

fn own_verdict(node: &Value, capture: &Capture) -> bool {
    let written = node["pattern"].as_str().unwrap();
    let key = node["key"].as_str();
    let search = |text: &str| Regex::new(written).unwrap().is_match(text);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<(String, String)> =
        capture.headers.iter().map(|(name, value)| (text(name), text(value))).collect();
    let first = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let query: Vec<(String, String)> = {
        let (_, query) = capture.target.split_once('?').unwrap_or_default();
        url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    };
    let last = |name: &str| query.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let path = capture.target.split('?').next().unwrap();
    let path = percent_encoding::percent_decode_str(path).decode_utf8().unwrap();
    match node["match_type"].as_str().unwrap() {
        "Endpoint" => Regex::new(&format!("^/r/{written}")).unwrap().is_match(&path),
        "Method" => search(&capture.method),
        "Protocol" => search(&capture.scheme),
        "DomainName" => search(&capture.host.to_lowercase()),
        "Port" => match first("host").unwrap_or_default().split_once(':') {
            Some((_, port)) => search(port),
            None => search("None"),
        },
        "Body" => std::str::from_utf8(body(capture)).is_ok_and(search),
        "HeaderKey" => headers.iter().any(|(name, _)| search(name)),
        "HeaderValue" => headers.iter().any(|(name, _)| search(&first(name).unwrap())),
        "HeaderKeyValue" => key.is_some_and(|key| search(&first(key).unwrap_or_default())),
        "QueryParamKey" => query.iter().any(|(name, _)| search(name)),
        "QueryParamValue" => query.iter().any(|(name, _)| search(&last(name).unwrap())),
        "QueryParamKeyValue" => key.is_some_and(|key| search(&last(key).unwrap_or_default())),
        _ => true,
    }
}

fn trees() -> impl Strategy<Value = Vec<Value>> {
    let kind = prop::sample::select(KINDS.map(|(_, name)| name).to_vec());
    let key = prop::sample::select(vec![json!(null), json!("x"), json!("y"), json!("X"), json!("gone")]);
    let pattern =
        prop::sample::select(vec!["", "a", "^a", "b", "A", "^b?a", "^.{0}z", "None", "80", "r", "[xy]"]);
    let node = (kind, key, pattern, any::<bool>(), any::<prop::sample::Index>());
    (any::<bool>(), prop::collection::vec(node, 0..8)).prop_map(|(inverted, nodes)| {
        let mut tree = vec![root()];
        tree[0]["match_type"] = "Root".into();
        tree[0]["invert"] = inverted.into();
        for (id, (kind, key, pattern, inverted, parent)) in (2..).zip(nodes) {
            let parent = tree[parent.index(tree.len())]["id"].clone();
            tree.push(json!({"id": id, "parent_id": parent, "match_type": kind, "key": key,
                "pattern": pattern, "invert": inverted}));
        }
        tree
    })
}

fn requests() -> impl Strategy<Value = Value> {
    let some = |texts: &[&'static str]| prop::sample::select(texts.to_vec());
    let headers = prop::collection::vec((some(&["x", "y", "z"]), some(&["", "a", "b", "ba"])), 0..5);
    (
        some(&["GET", "POST", "a"]),
        some(&["a", "b", "a%20b", "x/a"]),
        prop::collection::vec((some(&["x", "y", "a"]), some(&["", "a", "b", "%41"])), 0..4),
        some(&["http", "https"]),
        some(&["A.example", "b", "a:80", "b:443"]),
        headers,
        prop::sample::select(vec![json!(""), json!("a"), json!("xyz"), json!({"base64": "Yf8="})]),
    )
        .prop_map(|(method, path, query, scheme, host, headers, body)| {
            let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let mut pairs = vec![json!(["host", host])];
            pairs.extend(headers.into_iter().map(|(name, value)| json!([name, value])));
            json!({"method": method, "target": format!("/r/{path}?{}", query.join("&")), "scheme": scheme,
                "headers": pairs, "body": body})
        })
}

proptest! {
    #[test]
    fn a_tree_has_the_same_verdict_here(tree in trees(), requests in prop::collection::vec(requests(), 1..8)) {
        let nodes = json!(tree);
        for request in requests {
            let capture = capture(&request);
            prop_assert_eq!(converted(&nodes, &capture), verdict(&tree, &tree[0], &capture), "{}", request);
        }
    }

    #[test]
    fn whatever_is_translated_is_a_pattern(python in r"([a-c(){}\[\]|*+?^$.,:=!<>#\\PxuiZbd0-9&~-]|\(\?|é){0,20}") {
        if let Ok(translated) = pattern::translate("", &python) {
            prop_assert!(compiled(&translated).is_ok(), "{} {}", python, translated);
        }
    }
}
