//! The API: listing, showing, removing, totals, and what it says to what it does not understand.

use std::time::Duration;

use creel::model::Cursor;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials};
use crate::tokens::ask;

const SOON: Duration = Duration::from_secs(10);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_listing_goes_newest_first_or_oldest_first,
            filters_choose_what_is_listed,
            pages_hold_everything_once,
            a_listing_shows_previews,
            one_capture_is_shown_whole,
            a_body_is_made_safe_to_look_at,
            one_capture_is_removed,
            all_captures_of_an_endpoint_are_removed,
            endpoints_are_listed_with_their_totals,
            every_parameter_is_known_or_refused,
            cursors_that_were_not_given_out_are_refused,
            cursors_of_names_are_good_for_their_own_listing,
            what_is_not_there_is_a_problem,
            methods_that_are_not_served_are_told,
            head_is_answered_like_get,
            who_sends_a_body_that_nobody_reads_finds_the_answer;
    }
}

/// The bodies of a page's captures.
fn contents(page: &Value) -> Vec<&str> {
    let captures = page["captures"].as_array().map(Vec::as_slice).unwrap_or_default();
    captures.iter().filter_map(|capture| capture["body"]["content"].as_str()).collect()
}

async fn a_listing_goes_newest_first_or_oldest_first() -> TestResult {
    let node = Node::builder().start().await?;
    let empty = node.get("/api/captures").await?;
    assert_eq!(empty.header("content-type"), Some("application/json"));
    assert_eq!(empty.text(), "{\"captures\":[],\"next\":null}");
    for body in ["1", "2", "3"] {
        node.post("/r/a", body).await?;
    }
    assert_eq!(contents(&node.json("/api/captures").await?), ["3", "2", "1"]);
    assert_eq!(contents(&node.json("/api/captures?order=newest").await?), ["3", "2", "1"]);
    let oldest = node.json("/api/captures?order=oldest").await?;
    assert_eq!(contents(&oldest), ["1", "2", "3"]);
    assert_eq!(oldest["captures"][2]["seq"], 3, "dense from 1");
    assert_eq!(oldest["next"], Value::Null);
    Ok(())
}

async fn filters_choose_what_is_listed() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "1").await?;
    let second = node.post("/r/%C3%A9*", "2").await?;
    node.post("/r/a", "3").await?;
    node.request("PURGE", "/r/a", "").await?;
    let time = node.json(&format!("/api/captures/{second}")).await?["received"].clone();
    let time = time.as_str().ok_or("no time")?;
    let table: [(&str, &[&str]); 9] = [
        ("endpoint=a&method=POST", &["3", "1"]),
        ("endpoint=%C3%A9*", &["2"]),
        ("endpoint=none", &[]),
        ("method=PURGE", &[""]),
        ("method=purge", &[]),
        (&format!("from={time}&method=POST"), &["3", "2"]),
        (&format!("until={time}"), &["1"]),
        (&format!("from={time}&until={time}"), &[]),
        (
            "from=2000-01-01T00:00:00%2B02:00&until=2100-01-01T00:00:00Z&endpoint=a&order=oldest&limit=1",
            &["1"],
        ),
    ];
    for (query, expected) in table {
        assert_eq!(contents(&node.json(&format!("/api/captures?{query}")).await?), expected, "{query}");
    }
    Ok(())
}

async fn pages_hold_everything_once() -> TestResult {
    let node = Node::builder().start().await?;
    for i in 0..25 {
        node.post(if i % 5 == 0 { "/r/five" } else { "/r/a" }, i.to_string()).await?;
    }
    for (order, endpoint) in
        [("newest", ""), ("oldest", ""), ("oldest", "&endpoint=five"), ("newest", "&endpoint=five")]
    {
        let mut expected: Vec<String> =
            (0..25).filter(|i| endpoint.is_empty() || i % 5 == 0).map(|i| i.to_string()).collect();
        if order == "newest" {
            expected.reverse();
        }
        let mut found = Vec::new();
        let mut cursor = String::new();
        for page_number in 0.. {
            let page = node.json(&format!("/api/captures?limit=3&order={order}{endpoint}{cursor}")).await?;
            found.extend(contents(&page).into_iter().map(str::to_owned));
            // What arrives meanwhile does not move the pages.
            if page_number == 1 && order == "newest" {
                node.post("/r/other", "later").await?;
            }
            let Some(next) = page["next"].as_str() else { break };
            assert_eq!(contents(&page).len(), 3);
            cursor = format!("&cursor={next}");
        }
        found.retain(|content| content != "later");
        assert_eq!(found, expected, "{order}{endpoint}");
    }
    Ok(())
}

async fn a_listing_shows_previews() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "x".repeat(100_000)).await?;
    let page = node.json("/api/captures").await?;
    let body = &page["captures"][0]["body"];
    assert_eq!((&body["bytes"], &body["preview"]), (&json!(100_000), &json!(true)));
    assert_eq!(body["content"].as_str().map(str::len), Some(8192));
    let none = node.json("/api/captures?body=none").await?;
    assert!(none["captures"][0]["body"].get("content").is_none());
    assert!(none["captures"][0].get("answer").is_none());
    Ok(())
}

async fn one_capture_is_shown_whole() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a?x=1", "x".repeat(100_000)).await?;
    let shown = node.get(&format!("/api/captures/{id}")).await?;
    assert_eq!(shown.header("content-type"), Some("application/json"));
    let keys: Vec<String> = shown.json()?.as_object().ok_or("no object")?.keys().cloned().collect();
    let mut expected = [
        "seq",
        "id",
        "endpoint",
        "kind",
        "received",
        "method",
        "target",
        "path",
        "remainder",
        "query",
        "version",
        "scheme",
        "host",
        "port",
        "peer",
        "client",
        "headers",
        "reply",
        "answer",
        "body",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    let preview = node.json(&format!("/api/captures/{id}?body=preview")).await?;
    assert_eq!(preview["body"]["content"].as_str().map(str::len), Some(8192));
    let upper = node.json(&format!("/api/captures/{}", id.to_uppercase())).await?;
    assert_eq!(upper["id"], id);
    Ok(())
}

async fn a_body_is_made_safe_to_look_at() -> TestResult {
    let node = Node::builder().start().await?;
    let page = "<script>alert(document.cookie)</script>";
    let headers = format!("Content-Type: text/html\r\nContent-Length: {}\r\n\r\n{page}", page.len());
    let id = node.request("POST", "/r/a", &headers).await?.json()?["id"].clone();
    let id = id.as_str().ok_or("no id")?;
    let body = node.get(&format!("/api/captures/{id}/body")).await?;
    assert_eq!(body.text(), page);
    let expected = [
        ("content-type", "text/html"),
        ("content-disposition", &format!("attachment; filename=\"{id}\"")),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'; frame-ancestors 'none'"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-store"),
    ];
    for (name, value) in expected {
        assert_eq!(body.header(name), Some(value), "{name}");
    }
    let plain = node.post("/r/a", "x").await?;
    let plain = node.get(&format!("/api/captures/{plain}/body")).await?;
    assert_eq!(plain.header("content-type"), Some("application/octet-stream"));
    Ok(())
}

async fn one_capture_is_removed() -> TestResult {
    let node = Node::builder().start().await?;
    let (gone, stays) = (node.post("/r/a", "x".repeat(100_000)).await?, node.post("/r/a", "y").await?);
    let target = format!("/api/captures/{gone}");
    let removed = node.request("DELETE", &target, "").await?;
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    check_problem(&node.request("DELETE", &target, "").await?, 404, "unknown-capture")?;
    check_problem(&node.get(&target).await?, 404, "unknown-capture")?;
    check_problem(&node.get(&format!("{target}/body")).await?, 404, "unknown-capture")?;
    let page = node.json("/api/captures").await?;
    assert_eq!((contents(&page), &page["captures"][0]["id"]), (vec!["y"], &json!(stays)));
    check_totals(&node, "a", 1).await
}

async fn all_captures_of_an_endpoint_are_removed() -> TestResult {
    let node = Node::builder().start().await?;
    for _ in 0..5 {
        node.post("/r/gone", "xx").await?;
    }
    let kept = node.post("/r/stays", "y").await?;
    check_totals(&node, "gone", 5).await?;
    let target = "/api/endpoints/gone/captures";
    assert_eq!(node.request("DELETE", target, "").await?.status, 204);
    assert_eq!(node.request("DELETE", target, "").await?.status, 204, "and again");
    assert_eq!(node.request("DELETE", "/api/endpoints/never/captures", "").await?.status, 204);
    let page = node.json("/api/captures").await?;
    assert_eq!(page["captures"].as_array().map(Vec::len), Some(1));
    assert_eq!(page["captures"][0]["id"], kept);
    check_totals(&node, "gone", 0).await?;
    node.post("/r/gone", "new").await?;
    check_totals(&node, "gone", 1).await
}

/// Totals follow within a second or so: so many captures, and the bytes of their targets, headers and
/// bodies.
async fn check_totals(node: &Node, code: &str, captures: usize) -> TestResult {
    let all = node.json("/api/captures?body=none").await?["captures"].clone();
    let all = all.as_array().ok_or("no captures")?;
    let bytes: u64 = all.iter().filter(|capture| capture["endpoint"] == *code).map(bytes_of).sum();
    let what = format!("{code} has {captures} captures and {bytes} bytes");
    eventually(Duration::from_secs(5), &what, || async {
        let Ok(page) = node.json("/api/endpoints").await else { return false };
        let found = page["endpoints"].as_array().and_then(|all| all.iter().find(|e| e["code"] == *code));
        found.is_some_and(|endpoint| endpoint["captures"] == captures && endpoint["bytes"] == bytes)
    })
    .await;
    Ok(())
}

fn bytes_of(capture: &Value) -> u64 {
    let length = |value: &Value| value.as_str().map_or(0, str::len) as u64;
    let headers = capture["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let lines = headers.iter().map(|pair| length(&pair[0]) + length(&pair[1]) + ": \r\n".len() as u64);
    lines.sum::<u64>() + length(&capture["target"]) + capture["body"]["bytes"].as_u64().unwrap_or_default()
}

async fn endpoints_are_listed_with_their_totals() -> TestResult {
    let node = Node::builder()
        .setting("auth.mode", "none")
        .setting("server.public_url", "https://hooks.example/")
        .start()
        .await?;
    for (code, times) in [("b", 1), ("a%2Fb", 2), ("c", 3)] {
        for _ in 0..times {
            node.post(&format!("/r/{code}"), "12345").await?;
        }
    }
    node.request("PUT", "/api/endpoints/declared", "").await?;
    check_totals(&node, "c", 3).await?;
    check_totals(&node, "a/b", 2).await?;
    let page = node.json("/api/endpoints").await?;
    let codes: Vec<_> =
        page["endpoints"].as_array().ok_or("no endpoints")?.iter().map(|e| &e["code"]).collect();
    assert_eq!(codes, ["a/b", "b", "c", "declared"]);
    assert_eq!(page["endpoints"][0]["url"], "https://hooks.example/r/a%2Fb");
    let newest = node.json("/api/captures?limit=1").await?["captures"][0]["received"].clone();
    assert_eq!(page["endpoints"][2]["last_capture"], newest);
    assert_eq!(page["endpoints"][3]["last_capture"], Value::Null);

    let first = node.json("/api/endpoints?limit=3").await?;
    let next = first["next"].as_str().ok_or("no next")?;
    let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
    let second = node.json(&format!("/api/endpoints?limit=3&cursor={next}")).await?;
    assert_eq!(second["endpoints"].as_array().map(Vec::len), Some(1));
    assert_eq!((&second["endpoints"][0]["code"], &second["next"]), (&json!("declared"), &Value::Null));
    Ok(())
}

async fn every_parameter_is_known_or_refused() -> TestResult {
    let node = Node::builder().setting("api.page_max", 10).setting("api.page_default", 5).start().await?;
    let id = node.post("/r/a", "x").await?;
    let one = format!("/api/captures/{id}");
    let table = [
        (
            "/api/captures?endpont=a",
            "`endpont` is not known; there are `endpoint`, `method`, `from`, `until`, \
          `cursor`, `order`, `limit`, `body`",
        ),
        ("/api/captures?limit=0", "`limit`: a number from 1 to 10 is expected"),
        ("/api/captures?limit=11", "`limit`: a number from 1 to 10 is expected"),
        ("/api/captures?limit=-1", "`limit`: a number from 1 to 10 is expected"),
        ("/api/captures?limit=1&limit=2", "`limit` stands 2 times, and may at most 1"),
        ("/api/captures?order=random", "`order`: `newest` or `oldest` is expected"),
        ("/api/captures?from=yesterday", "`from`: an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z"),
        (
            "/api/captures?until=2026-01-31",
            "`until`: an RFC 3339 instant is expected, as 2026-01-31T12:00:00Z",
        ),
        ("/api/captures?endpoint=", "`endpoint`: an endpoint code has 1 to 255 bytes"),
        ("/api/captures?endpoint=a%01", "`endpoint`: an endpoint code has no control characters"),
        ("/api/captures?method=%ff", "the query is not UTF-8 without NUL"),
        ("/api/captures?method=a%00", "the query is not UTF-8 without NUL"),
        (
            "/api/captures?body=full",
            "`body`: a listing shows `preview` or `none`; ask for one capture to see all of it",
        ),
        ("/api/endpoints?order=oldest", "`order` is not known; there are `cursor`, `limit`"),
        (&format!("{one}?body=all"), "`body`: `full`, `preview` or `none` is expected"),
        (&format!("{one}?limit=1"), "`limit` is not known; there are `body`, `format`"),
        (&format!("{one}/body?download=1"), "`download` is not known; there are none here"),
    ];
    for (target, detail) in table {
        let problem = check_problem(&node.get(target).await?, 400, "invalid-parameter")?;
        assert_eq!(problem["detail"], detail, "{target}");
    }
    for (method, target) in [
        ("DELETE", one.as_str()),
        ("PUT", "/api/endpoints/a"),
        ("DELETE", "/api/endpoints/a"),
        ("DELETE", "/api/endpoints/a/captures"),
    ] {
        let answer = node.request(method, &format!("{target}?force=1"), "").await?;
        check_problem(&answer, 400, "invalid-parameter")
            .map_err(|error| format!("{method} {target}: {error}"))?;
    }
    assert_eq!(node.json(&one).await?["id"], id, "a misspelt removal removes nothing");
    Ok(())
}

async fn cursors_that_were_not_given_out_are_refused() -> TestResult {
    let (node, other) = (Node::builder().start().await?, Node::builder().start().await?);
    for node in [&node, &other] {
        node.post("/r/a", "x").await?;
        node.post("/r/a", "y").await?;
    }
    let foreign = other.json("/api/captures?limit=1").await?["next"].clone();
    let own = node.json("/api/captures?limit=1").await?["next"].clone();
    let (foreign, own) = (foreign.as_str().ok_or("no cursor")?, own.as_str().ok_or("no cursor")?);
    let longer = format!("{own}A");
    let table = [
        foreign,
        "",
        "x",
        "AAAA",
        "%01",
        "%F0%9F%8E%A3",
        "-1",
        &own[1..],
        &longer,
        "..%2F..%2Fetc%2Fpasswd",
        "//////////////////////////8",
        // Another format's number, and a place below nought.
        "AgAAAAAAAAABAAAAAAAAAAEAAAAB",
        "AQAAAAAAAAABgAAAAAAAAAAAAAAA",
    ];
    for cursor in table {
        let answer = node.get(&format!("/api/captures?cursor={cursor}")).await?;
        check_problem(&answer, 400, "invalid-cursor").map_err(|error| format!("{cursor}: {error}"))?;
    }
    assert_eq!(contents(&node.json(&format!("/api/captures?cursor={own}")).await?), ["x"]);
    let own = Cursor::parse(own)?;
    let beyond = [3, 1_000_000, i64::MAX].map(|seq| Cursor { seq, digest: 0, ..own });
    let forged = [Cursor { digest: own.digest ^ 1, ..own }, Cursor { epoch: own.epoch ^ 1, ..own }];
    for cursor in beyond.iter().chain(&forged) {
        for listing in ["captures", "audit"] {
            let answer = node.get(&format!("/api/{listing}?cursor={cursor}")).await?;
            check_problem(&answer, 400, "invalid-cursor").map_err(|error| format!("{cursor}: {error}"))?;
        }
    }
    Ok(())
}

async fn cursors_of_names_are_good_for_their_own_listing() -> TestResult {
    let (node, other) = (Node::builder().start().await?, Node::builder().start().await?);
    for node in [&node, &other] {
        for name in ["a", "b"] {
            for (method, target, document) in [
                ("PUT", format!("/api/rules/{name}"), r#"{"reply":{}}"#),
                ("PUT", format!("/api/scenarios/{name}"), r#"{"state":"x"}"#),
                ("POST", "/api/runs".to_owned(), r#"{"name":"n"}"#),
            ] {
                let answer = ask(node, "", method, &target, document).await?;
                assert!(matches!(answer.status, 200 | 201), "{target}: {}", answer.text());
            }
            node.post(&format!("/r/{name}"), "x").await?;
        }
        eventually(SOON, "both are counted", || async {
            node.json("/api/endpoints").await.is_ok_and(|page| page["endpoints"][1].is_object())
        })
        .await;
    }
    let listings = ["rules", "scenarios", "runs", "endpoints"];
    for listing in listings {
        let first = format!("/api/{listing}?limit=1");
        let own = node.json(&first).await?["next"].as_str().ok_or("no cursor")?.to_owned();
        let foreign = other.json(&first).await?["next"].as_str().ok_or("no cursor")?.to_owned();
        let second = node.json(&format!("/api/{listing}?cursor={own}")).await?;
        assert_eq!(second[listing].as_array().map(Vec::len), Some(1), "{second}");
        for asked in listings.iter().chain(&["tokens", "captures", "audit"]) {
            let mut wrong = vec!["", "a", "x", "AAAA", "%F0%9F%8E%A3", "..%2F", &foreign, &own[1..]];
            wrong.extend((*asked != listing).then_some(own.as_str()));
            for cursor in wrong {
                let answer = node.get(&format!("/api/{asked}?cursor={cursor}")).await?;
                let checked = check_problem(&answer, 400, "invalid-cursor");
                checked.map_err(|error| format!("{asked} {cursor}: {error}"))?;
            }
        }
    }
    Ok(())
}

async fn what_is_not_there_is_a_problem() -> TestResult {
    let node = Node::builder().start().await?;
    let absent = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    let table = [
        ("/", "not-found"),
        ("/api", "not-found"),
        ("/api/", "not-found"),
        ("/api/nothing", "not-found"),
        ("/api/captures/", "not-found"),
        ("/API/captures", "not-found"),
        ("/favicon.ico", "not-found"),
        ("/healthz/x", "not-found"),
        (&format!("/api/captures/{absent}"), "unknown-capture"),
        (&format!("/api/captures/{absent}/body"), "unknown-capture"),
        ("/api/captures/7", "unknown-capture"),
        ("/api/captures/%ff", "unknown-capture"),
        ("/api/captures/%00/body", "unknown-capture"),
    ];
    for (target, slug) in table {
        check_problem(&node.get(target).await?, 404, slug).map_err(|error| format!("{target}: {error}"))?;
    }
    let whole = node.request("GET", "/api/nothing", "X-Request-Id: 1\r\n").await?;
    assert_eq!(
        whole.text(),
        r#"{"type":"/problems/not-found","title":"There is nothing here","status":404,"request_id":"1"}"#
    );
    for code in ["%ff", "%00", &"x".repeat(256)] {
        let answer = node.request("PUT", &format!("/api/endpoints/{code}"), "").await?;
        check_problem(&answer, 400, "invalid-endpoint-code")?;
    }
    Ok(())
}

async fn methods_that_are_not_served_are_told() -> TestResult {
    let node = Node::builder().start().await?;
    let table = [
        ("/healthz", "GET, HEAD"),
        ("/readyz", "GET, HEAD"),
        ("/metrics", "GET, HEAD"),
        ("/api/captures", "GET, HEAD"),
        ("/api/captures/x", "GET, HEAD, DELETE"),
        ("/api/captures/x/body", "GET, HEAD"),
        ("/api/captures/find", "POST"),
        ("/api/captures/count", "POST"),
        ("/api/captures/verify", "POST"),
        ("/api/captures/x/explain", "GET, HEAD"),
        ("/api/rules/try", "GET, HEAD, PUT, DELETE, POST"),
        ("/api/rules/import", "GET, HEAD, PUT, DELETE, POST"),
        ("/api/endpoints/x", "GET, HEAD, PUT, DELETE"),
        ("/api/rules", "GET, HEAD"),
        ("/api/rules/x", "GET, HEAD, PUT, DELETE"),
        ("/api/rules/x/hits", "GET, HEAD, DELETE"),
        ("/api/audit", "GET, HEAD"),
        ("/api/config", "GET, HEAD, PUT"),
        ("/api/scenarios", "GET, HEAD"),
        ("/api/scenarios/x", "PUT"),
        ("/api/endpoints/x/captures", "DELETE"),
        ("/api/stream", "GET, HEAD"),
    ];
    for (target, allowed) in table {
        let methods = ["POST", "PATCH", "BREW", "OPTIONS", "TRACE"];
        for method in methods.into_iter().filter(|method| !allowed.contains(method)) {
            let answer = node.request(method, target, "").await?;
            let problem = check_problem(&answer, 405, "method-not-allowed")
                .map_err(|error| format!("{method} {target}: {error}"))?;
            assert_eq!(answer.header("allow"), Some(allowed), "{target}");
            assert_eq!(problem["detail"], format!("{method} is not one of {allowed}"));
        }
    }
    Ok(())
}

async fn head_is_answered_like_get() -> TestResult {
    let node = Node::builder().start().await?;
    let (small, large) = (node.post("/r/a", "x").await?, node.post("/r/a", "x".repeat(100_000)).await?);
    let targets = [
        "/healthz".to_owned(),
        "/readyz".to_owned(),
        "/api/captures?body=none".to_owned(),
        "/api/endpoints".to_owned(),
        "/api/nothing".to_owned(),
        format!("/api/captures/{small}"),
        format!("/api/captures/{small}/body"),
        format!("/api/captures/{large}"),
        format!("/api/captures/{large}/body"),
    ];
    // Without content there is nothing to transfer in chunks.
    let of_its_own =
        ["date", "content-length", "access-control-expose-headers", "x-request-id", "transfer-encoding"];
    let same = |name: &str| !of_its_own.contains(&name);
    for target in targets {
        let (head, get) = (node.request("HEAD", &target, "").await?, node.get(&target).await?);
        assert_eq!(head.status, get.status, "{target}");
        let names = |answer: &crate::harness::client::Response| -> Vec<(String, Vec<u8>)> {
            let mut headers: Vec<_> = answer.headers.iter().filter(|(name, _)| same(name)).cloned().collect();
            headers.sort();
            headers
        };
        assert_eq!(names(&head), names(&get), "{target}");
        assert_eq!(
            head.header("content-length").is_some(),
            get.header("content-length").is_some(),
            "{target}"
        );
    }
    Ok(())
}

async fn who_sends_a_body_that_nobody_reads_finds_the_answer() -> TestResult {
    let node = Node::builder().start().await?;
    let body = vec![b'x'; 3 << 20];
    let head = format!("Content-Length: {}\r\n\r\n", body.len());
    for (method, target, status) in [
        ("POST", "/api/captures", 405),
        ("PUT", "/api/endpoints/a", 413),
        ("DELETE", "/api/endpoints/a", 404),
        ("POST", "/api/nothing", 404),
        ("POST", "/r/%00", 400),
    ] {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{head}", node.address());
        let answer = node.exchange([request.as_bytes(), &body].concat()).await;
        let answer = answer.map_err(|error| format!("{method} {target}: {error}"))?;
        assert_eq!(answer.status, status, "{method} {target}");
    }
    Ok(())
}
