//! What places find at the edges; `docs/rules.md` has each of them in its ordinary use.

use super::*;

#[test]
fn paths_and_segments() {
    let of = |target: &str| json!({"target": target});
    let table = [
        ("path", json!("/r/a"), of("http://h.example/r/a?x"), true),
        ("path", json!("/r/a/é"), of("/r/a/%C3%A9"), true),
        ("path", json!("/r/a/%FF"), of("/r/a/%FF"), true),
        ("path", json!("/r/a//b"), of("/r/a//b"), true),
        ("target", json!("/r/a?"), of("/r/a?"), true),
        ("endpoint", json!("a b"), of("/r/a%20b"), true),
        ("query", json!("b?c"), of("/r/a?x=b?c"), true),
        ("query", json!("a b"), of("/r/a?x=a+b"), true),
        ("query_name", json!("x"), of("/r/a?x"), true),
        ("query_name", json!(""), of("/r/a?&&"), false),
        ("query_count", json!(0), of("/r/a"), true),
    ];
    for (at, value, request, expected) in table {
        assert_eq!(matches(&json!({"at": at, "equals": value}), &request), expected, "{at} {request}");
    }
    for (index, equals, expected) in [(0, "", true), (1, "b/c", true), (2, "", true), (3, "", false)] {
        let leaf = json!({"at": "segment", "index": index, "equals": equals});
        assert_eq!(matches(&leaf, &of("/r/a//b%2Fc/")), expected, "{leaf}");
    }
    let none = json!({"at": "segment", "index": 0, "exists": true});
    assert!(!matches(&none, &of("/r/a")) && !matches(&none, &of("/r/a/")));
}

#[test]
fn hosts_and_ports() {
    let table = [
        ("Host", "hostname", json!("a.example"), "A.Example", true),
        ("Host", "hostname", json!("::1"), "[::1]:80", true),
        ("Host", "host", json!("[::1]"), "[::1]:80", true),
        ("Host", "host_port", json!(80), "[::1]:80", true),
        ("Host", "host_port", json!(80), "[::1]", false),
        ("Host", "host_port", json!(80), "a", false),
        ("Host", "host_port", json!(80), "a:", false),
        ("Host", "host_port", json!(80), "a:0080", true),
        ("Host", "host_port", json!(80), "a:+80", false),
        ("Host", "host_port", json!(99_999), "a:99999", false),
        ("X-Other", "host_port", json!(80), "a:80", false),
    ];
    for (name, at, value, given, expected) in table {
        let request = json!({"endpoint": "a", "headers": [[name, given]]});
        assert_eq!(matches(&json!({"at": at, "equals": value}), &request), expected, "{at} of {given}");
    }
}

#[test]
fn of_repeated_names_all_the_first_or_the_last() {
    let request = json!({"target": "/r/a?x=1&y=2&x=3", "headers": [["a", "1"], ["b", "2"], ["a", "3"]]});
    for (at, named) in [("query", "x"), ("header", "a")] {
        for (pick, one, three) in [("all", true, true), ("first", true, false), ("last", false, true)] {
            for (value, expected) in [("1", one), ("3", three)] {
                let leaf = json!({"at": at, "name": named, "pick": pick, "equals": value});
                assert_eq!(matches(&leaf, &request), expected, "{leaf}");
                let any = json!({"at": at, "pick": pick, "equals": value});
                assert_eq!(matches(&any, &request), expected, "{any}");
            }
            assert!(matches(&json!({"at": at, "pick": pick, "equals": "2"}), &request), "{at} {pick}");
        }
    }
}

#[test]
fn a_default_counts_where_nothing_is_found() {
    let request = json!({"target": "/r/a?empty=", "headers": [["X", ""]]});
    for (leaf, expected) in [
        (json!({"at": "query", "name": "gone", "default": "d", "equals": "d"}), true),
        (json!({"at": "query", "name": "empty", "default": "d", "equals": "d"}), false),
        (json!({"at": "header", "name": "x", "default": "d", "equals": ""}), true),
        (json!({"at": "json", "path": "$.x", "default": "1", "gte": 1}), true),
        (json!({"at": "query", "name": "gone", "default": "", "exists": false}), false),
    ] {
        assert_eq!(matches(&leaf, &request), expected, "{leaf}");
    }
}

#[test]
fn bodies_are_read_as_what_they_are() {
    let form = "application/x-www-form-urlencoded";
    let multipart = "multipart/form-data; boundary=b";
    let parts = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\nfile\r\n--b--\r\n";
    let table = [
        (form, json!("a=1&b=%C3%A9"), json!({"at": "form", "name": "b", "equals": "é"}), true),
        ("text/plain", json!("a=1"), json!({"at": "form", "exists": true}), false),
        (multipart, json!(parts), json!({"at": "form", "name": "f", "equals": "file"}), true),
        (multipart, json!("no parts"), json!({"at": "form", "exists": true}), false),
        ("multipart/form-data", json!(parts), json!({"at": "form", "exists": true}), false),
        ("text/plain", json!("[1]"), json!({"at": "json", "equals": "[1]"}), true),
        ("application/json", json!("[1"), json!({"at": "json", "exists": true}), false),
        ("a/b", json!({"base64": "/w=="}), json!({"at": "body_text", "exists": true}), false),
        ("a/b", json!({"base64": "/w=="}), json!({"at": "body", "matches": "(?-u)^\\xFF$"}), true),
        ("A/B ; c=d", json!(""), json!({"at": "content_type", "equals": "a/b"}), true),
        ("", json!(""), json!({"at": "content_type", "exists": true}), false),
    ];
    for (content_type, body, leaf, expected) in table {
        let request = json!({"endpoint": "a", "headers": [["Content-Type", content_type]], "body": body});
        assert_eq!(matches(&leaf, &request), expected, "{leaf} on {request}");
    }
}

#[test]
fn cookies_and_messages() {
    let request = json!({"endpoint": "a", "headers": [["Cookie", "a=1; b=x=y;c"], ["Cookie", "a = 2"]]});
    for (leaf, expected) in [
        (json!({"at": "cookie", "name": "a", "equals": "2"}), true),
        (json!({"at": "cookie", "name": "b", "equals": "x=y"}), true),
        (json!({"at": "cookie", "name": "c", "exists": true}), false),
        (json!({"at": "cookie", "equals": "1"}), true),
    ] {
        assert_eq!(matches(&leaf, &request), expected, "{leaf}");
    }
    let message = json!({"at": "message", "equals": {"base64": "/w=="}});
    for (websocket, expected) in [(json!("binary"), true), (json!(null), false)] {
        let request = json!({"endpoint": "a", "websocket": websocket, "body": {"base64": "/w=="}});
        assert_eq!(matches(&message, &request), expected);
    }
}
