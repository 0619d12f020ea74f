//! What is told, to the letter; that it works is tried with a shell and curl in `tests/it/exports.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::shell::word;
use super::{Body, Encoder, Export, Format, Request};

fn text(export: Export) -> String {
    assert_eq!((export.later, export.after), (None, &b""[..]), "all of it stands in the text");
    String::from_utf8(export.before).unwrap()
}

fn to_url<'a>(method: &'a str, headers: &[(&'a str, &'a str)], body: &'a [u8]) -> Request<'a> {
    let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    Request::to_url(method, "http://hooks.example:9669/r/a?b=c", headers, body)
}

#[test]
fn a_command_says_what_curl_would_not_and_takes_away_what_it_would() {
    let headers = [
        ("host", "hooks.example:9669"),
        ("user-agent", "sender/1"),
        ("accept", "*/*"),
        ("content-type", "application/json"),
        ("content-length", "16"),
        ("x-empty", ""),
    ];
    let request = to_url("POST", &headers, b"{\"it's\": \"\xe2\x82\xac\"}");
    let expected = r#"curl --request POST \
  --header 'user-agent: sender/1' \
  --header 'accept: */*' \
  --header 'content-type: application/json' \
  --header 'x-empty;' \
  'http://hooks.example:9669/r/a?b=c' \
  --data-raw '{"it'\''s": "€"}'
"#;
    assert_eq!(text(request.export(Format::Curl)), expected);
    let bare = to_url("GET", &[("host", "HOOKS.example:9669")], b"");
    let expected = "curl --header 'host: HOOKS.example:9669' \\\n  --header 'User-Agent:' \\\n  --header 'Accept:' \
                    \\\n  'http://hooks.example:9669/r/a?b=c'\n";
    assert_eq!(text(bare.export(Format::Curl)), expected);
}

#[test]
fn what_is_no_text_goes_as_base64_behind_the_command() {
    let request = to_url("PUT", &[("content-length", "60")], &[0; 60]);
    let expected = format!(
        "base64 -d <<'END-OF-BODY' | curl --request PUT \\\n  --header 'User-Agent:' \\\n  --header 'Accept:' \\\n  \
         --header 'Content-Type:' \\\n  'http://hooks.example:9669/r/a?b=c' \\\n  --data-binary @-\n{}\nAAAA\n\
         END-OF-BODY\n",
        "A".repeat(76)
    );
    assert_eq!(text(request.export(Format::Curl)), expected);
    let later = Request { body: Body::Later { bytes: 100_000 }, cut: true, ..request };
    let export = later.export(Format::Curl);
    let before = String::from_utf8(export.before).unwrap();
    assert!(
        before.starts_with("# Of the body 100000 bytes were kept; there was more of it.\nbase64 -d <<'END")
    );
    assert!(before.contains("--header 'Expect:' \\\n") && before.ends_with("--data-binary @-\n"), "{before}");
    assert_eq!((export.later, export.after), (Some(Encoder::Lines(Vec::new())), &b"END-OF-BODY\n"[..]));
}

#[test]
fn what_steers_a_terminal_is_written_out() {
    for (octets, expected) in [
        (&b"x: a b"[..], "'x: a b'"),
        (b"", "''"),
        (b"POST", "POST"),
        (b"it's $HOME `id` \"!!\"", r#"'it'\''s $HOME `id` "!!"'"#),
        (b"a\tb%\\'", r#""$(printf 'a\011b%%\\'\''')""#),
        (b"-x: \x1b[2J", r#""$(printf '\055x: \033[2J')""#),
        (b"\xff7", r#""$(printf '\3777')""#),
        ("a\u{202e}b".as_bytes(), r#""$(printf 'a\342\200\256b')""#),
        ("żółw".as_bytes(), "'żółw'"),
    ] {
        assert_eq!(word(octets), expected);
    }
}

#[test]
fn a_target_that_curl_would_change_is_told_beside_the_url() {
    let curl = |target: &str| {
        text(Request { target: target.into(), ..to_url("GET", &[], b"") }.export(Format::Curl))
    };
    for (target, expected) in [
        ("/r/a?x[]={1}", "  --globoff \\\n  'http://hooks.example:9669/r/a?x[]={1}'\n"),
        ("/r/a/%2E%2e/b", "  --path-as-is \\\n  'http://hooks.example:9669/r/a/%2E%2e/b'\n"),
        ("http://x/r/a", "  --request-target 'http://x/r/a' \\\n  'http://hooks.example:9669/'\n"),
        ("/r/a#b", "  --request-target '/r/a#b' \\\n  'http://hooks.example:9669/'\n"),
    ] {
        assert!(curl(target).ends_with(expected), "{target}: {}", curl(target));
    }
}

#[test]
fn http_text_has_the_bodys_length_in_place_of_chunks() {
    let http = |request: &Request<'_>| text(request.export(Format::Http));
    let chunked = to_url("POST", &[("host", "a"), ("transfer-encoding", "chunked"), ("b", "")], b"body");
    assert_eq!(http(&chunked), "POST /r/a?b=c HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\nb: \r\n\r\nbody");
    let bare = to_url("GET", &[], b"");
    assert_eq!(http(&bare), "GET /r/a?b=c HTTP/1.1\r\nhost: hooks.example:9669\r\n\r\n");
    let cut = to_url("PUT", &[("host", "a"), ("content-length", "9")], b"body");
    assert_eq!(
        http(&cut),
        "PUT /r/a?b=c HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nbody",
        "short of it"
    );
    let untold = to_url("PUT", &[("host", "a")], b"body");
    assert_eq!(http(&untold), "PUT /r/a?b=c HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
    let later = Request { body: Body::Later { bytes: 7 }, ..chunked };
    let export = later.export(Format::Http);
    assert!(export.before.ends_with(b"content-length: 7\r\nb: \r\n\r\n"));
    assert_eq!((export.later, export.after), (Some(Encoder::Octets), &b""[..]));
}

#[test]
fn a_url_is_taken_apart() {
    for (url, origin, target) in [
        ("https://a", "https://a", "/"),
        ("https://a/b/c?d#e", "https://a", "/b/c?d"),
        ("http://[::1]:80?x", "http://[::1]:80", "/?x"),
        ("a/b", "a", "/b"),
        ("", "", "/"),
    ] {
        let request = Request::to_url("GET", url, Vec::new(), b"");
        assert_eq!((request.origin, request.target.as_ref()), (origin, target), "{url}");
    }
}

proptest! {
    /// However the body is cut into pieces.
    #[test]
    fn lines_of_base64_are_the_body(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 0..8)) {
        let mut encoder = Encoder::Lines(Vec::new());
        let mut text: Vec<u8> = pieces.iter().flat_map(|piece| encoder.push(piece)).collect();
        text.extend(encoder.push(b""));
        let lines: Vec<&[u8]> = text.split(|b| *b == b'\n').collect();
        prop_assert!(lines.iter().all(|line| line.len() <= 76));
        prop_assert_eq!(STANDARD.decode(lines.concat()).unwrap(), pieces.concat());
    }

    #[test]
    fn any_request_is_told(method in ".{0,5}", url in ".{0,30}", value: Vec<u8>, body: Vec<u8>) {
        let request = Request::to_url(&method, &url, vec![(b"a", &value)], &body);
        for format in [Format::Curl, Format::Http] {
            prop_assert!(!request.export(format).before.is_empty());
        }
    }
}
