//! What is set for one endpoint: its reply, its limits, who may send to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{api, kept, save, send};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            an_endpoint_is_made_shown_changed_and_removed,
            a_code_is_generated_where_none_is_given,
            an_endpoint_answers_where_no_rule_does,
            an_endpoint_has_a_body_limit_of_its_own,
            an_endpoint_may_want_a_secret,
            a_preflight_need_not_say_the_secret,
            secrets_are_never_shown,
            an_endpoint_may_name_the_addresses_that_send,
            an_endpoint_has_cors_of_its_own,
            what_is_wrong_with_an_endpoint_is_said_with_its_place;
        Needs::POSTGRES => a_change_through_one_node_is_in_force_on_the_other;
    }
}

async fn put(node: &Node, code: &str, settings: Value) -> TestResult<Value> {
    let answer = api(node, "PUT", &format!("/api/endpoints/{code}"), &settings).await?;
    match answer.status {
        200 | 201 => answer.json(),
        other => Err(format!("{code}: {other} {}", answer.text()).into()),
    }
}

async fn an_endpoint_is_made_shown_changed_and_removed() -> TestResult {
    let node = Node::builder().start().await?;
    let settings = json!({"name": "Shop", "description": "orders", "labels": {"team": "a"}});
    let made = api(&node, "PUT", "/api/endpoints/shop", &settings).await?;
    assert_eq!(made.status, 201);
    let shown = node.get("/api/endpoints/shop").await?;
    assert_eq!((shown.json()?, shown.header("etag")), (made.json()?, made.header("etag")));
    let shown = shown.json()?;
    assert_eq!((&shown["code"], &shown["version"]), (&json!("shop"), &json!(1)));
    assert_eq!((&shown["labels"], &shown["url"]), (&json!({"team": "a"}), &json!(node.url("/r/shop"))));
    assert_eq!(put(&node, "shop", shown.clone()).await?, shown, "what was read can be written back");
    assert_eq!(put(&node, "shop", json!({})).await?["version"], 2);
    assert_eq!(node.request("DELETE", "/api/endpoints/shop", "").await?.status, 204);
    check_problem(&node.get("/api/endpoints/shop").await?, 404, "unknown-endpoint")?;
    check_problem(&node.request("DELETE", "/api/endpoints/shop", "").await?, 404, "unknown-endpoint")?;
    Ok(())
}

async fn a_code_is_generated_where_none_is_given() -> TestResult {
    let node = Node::builder().setting("capture.auto_create", false).start().await?;
    let made = api(&node, "POST", "/api/endpoints", &json!({"name": "any"})).await?;
    assert_eq!(made.status, 201);
    let code = made.json()?["code"].as_str().ok_or("no code")?.to_owned();
    assert!(code.len() == 16 && code.chars().all(|c| c.is_ascii_alphanumeric()), "{code}");
    node.post(&format!("/r/{code}"), "x").await?;
    assert_eq!(api(&node, "POST", "/api/endpoints", &json!({"code": "mine"})).await?.status, 201);
    let again = api(&node, "POST", "/api/endpoints", &json!({"code": "mine"})).await?;
    check_problem(&again, 412, "precondition-failed")?;
    Ok(())
}

async fn an_endpoint_answers_where_no_rule_does() -> TestResult {
    let node = Node::builder().start().await?;
    put(&node, "a", json!({"reply": {"status": 202, "body": "{{endpoint}} {{request.method}}"}})).await?;
    let rule = json!({"match": {"at": "method", "equals": "PUT"}, "reply": {"status": 204}});
    save(&node, "r", rule).await?;
    let own = send(&node, "POST", "/r/a", "", "").await?;
    assert_eq!((own.status, own.text().as_str()), (202, "a POST"));
    assert_eq!(kept(&node, &own).await?["reply"], json!({"source": "endpoint", "status": 202}));
    assert_eq!(send(&node, "PUT", "/r/a", "", "").await?.status, 204);
    assert_eq!(send(&node, "POST", "/r/b", "", "").await?.status, 200);
    Ok(())
}

async fn an_endpoint_has_a_body_limit_of_its_own() -> TestResult {
    let node = Node::builder().setting("capture.body_bytes_max", 1000).start().await?;
    put(&node, "small", json!({"body_bytes_max": 10})).await?;
    put(&node, "large", json!({"body_bytes_max": 100_000})).await?;
    assert_eq!(send(&node, "POST", "/r/small", "", &"x".repeat(10)).await?.status, 200);
    let cut = send(&node, "POST", "/r/small", "", &"x".repeat(11)).await?;
    check_problem(&cut, 413, "body-too-large")?;
    assert_eq!(kept(&node, &cut).await?["body"]["bytes"], 10);
    assert_eq!(
        send(&node, "POST", "/r/large", "", &"x".repeat(1001)).await?.status,
        413,
        "the node's holds for all"
    );
    Ok(())
}

async fn an_endpoint_may_want_a_secret() -> TestResult {
    let node = Node::builder().start().await?;
    put(&node, "header", json!({"access": {"header": {"name": "X-Key", "secret": "s3cret"}}})).await?;
    put(&node, "query", json!({"access": {"query": {"name": "key", "secret": "s3 cret"}}})).await?;
    put(&node, "basic", json!({"access": {"basic": {"user": "ann", "password": "p:w"}}})).await?;
    let basic = |user: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(user));
    let table = [
        ("/r/header", "x-key: s3cret\r\n".to_owned(), 200),
        ("/r/header", "x-key: s3crets\r\n".to_owned(), 401),
        ("/r/header", String::new(), 401),
        ("/r/query?key=s3+cret", String::new(), 200),
        ("/r/query/x?a=1&key=s3%20cret", String::new(), 200),
        ("/r/query?key=", String::new(), 401),
        ("/r/basic", basic("ann:p:w"), 200),
        ("/r/basic", basic("ann:p"), 401),
        ("/r/basic", "Authorization: Basic *\r\n".to_owned(), 401),
        ("/r/open", String::new(), 200),
    ];
    let mut refused = 0.0;
    for (target, headers, status) in table {
        let answer = send(&node, "POST", target, &headers, "x").await?;
        if status == 401 {
            refused += 1.0;
            check_problem(&answer, 401, "secret-needed")?;
            let challenge = answer.header("www-authenticate");
            assert_eq!(challenge.is_some_and(|c| c.starts_with("Basic ")), target == "/r/basic");
        } else {
            assert_eq!(answer.status, status, "{target} {headers}");
        }
    }
    assert_eq!(node.outcomes("access_denied").await, refused);
    let listed = node.json("/api/captures?limit=100").await?;
    assert_eq!(listed["captures"].as_array().map(Vec::len), Some(5), "what is refused is not kept");
    Ok(())
}

async fn a_preflight_need_not_say_the_secret() -> TestResult {
    let node = Node::builder().start().await?;
    let access = json!({"header": {"name": "X-Key", "secret": "s3cret"}});
    put(&node, "a", json!({"access": access})).await?;
    put(&node, "b", json!({"access": access, "allowed_sources": ["192.0.2.0/24"]})).await?;
    let preflight = "Origin: https://page.example\r\nAccess-Control-Request-Method: POST\r\n\
                     Access-Control-Request-Headers: x-key\r\n";
    let allowed = node.request("OPTIONS", "/r/a", preflight).await?;
    assert_eq!((allowed.status, allowed.header("access-control-allow-headers")), (204, Some("x-key")));
    assert_eq!(kept(&node, &allowed).await?["reply"]["source"], "preflight");
    check_problem(&node.request("OPTIONS", "/r/b", preflight).await?, 403, "address-denied")?;
    for (method, headers, body) in [
        ("OPTIONS", "Origin: https://page.example\r\n", ""),
        ("OPTIONS", preflight, "x"),
        ("POST", preflight, ""),
    ] {
        let refused = send(&node, method, "/r/a", headers, body).await?;
        check_problem(&refused, 401, "secret-needed").map_err(|error| format!("{headers}: {error}"))?;
    }
    let headers = "Origin: https://page.example\r\nX-Key: s3cret\r\n";
    assert_eq!(send(&node, "POST", "/r/a", headers, "x").await?.status, 200);
    Ok(())
}

async fn secrets_are_never_shown() -> TestResult {
    let node = Node::builder().setting("log.level", "trace").start().await?;
    let shown =
        put(&node, "a", json!({"access": {"basic": {"user": "ann", "password": "my-password"}}})).await?;
    assert_eq!(shown["access"]["basic"]["user"], "ann");
    assert_eq!(put(&node, "a", shown.clone()).await?, shown, "the digest stands for the secret");
    let basic = format!("Authorization: Basic {}\r\n", STANDARD.encode("ann:my-password"));
    assert_eq!(send(&node, "POST", "/r/a", &basic, "").await?.status, 200);
    for text in [shown.to_string(), node.get("/api/endpoints/a").await?.text(), node.log()] {
        assert!(!text.contains("my-password"), "{text}");
    }
    Ok(())
}

async fn an_endpoint_may_name_the_addresses_that_send() -> TestResult {
    let node = Node::builder()
        .setting("auth.mode", "none")
        .setting("server.trusted_proxies", "127.0.0.1")
        .start()
        .await?;
    put(&node, "a", json!({"allowed_sources": ["192.0.2.0/24", "2001:db8::1"]})).await?;
    for (address, status) in
        [("192.0.2.7", 200), ("2001:db8::1", 200), ("192.0.3.7", 403), ("127.0.0.1", 403)]
    {
        let headers = format!("X-Forwarded-For: {address}\r\nForwarded: for=192.0.2.7\r\n");
        let answer = send(&node, "POST", "/r/a", &headers, "").await?;
        assert_eq!(answer.status, status, "{address}");
        if status == 403 {
            check_problem(&answer, 403, "address-denied")?;
        }
    }
    Ok(())
}

async fn an_endpoint_has_cors_of_its_own() -> TestResult {
    let node = Node::builder().start().await?;
    let cors = json!({"allow_origins": ["https://one.example"], "max_age_s": 7});
    put(&node, "a", json!({"cors": cors})).await?;
    let access = json!({"header": {"name": "X-Key", "secret": "s3cret"}});
    put(&node, "closed", json!({"cors": cors, "access": access})).await?;
    let preflight = "Origin: ORIGIN\r\nAccess-Control-Request-Method: PUT\r\n";
    for (origin, allowed) in [("https://one.example", true), ("https://two.example", false)] {
        let asked = node.request("OPTIONS", "/r/a", &preflight.replace("ORIGIN", origin)).await?;
        assert_eq!(asked.header("access-control-allow-origin"), allowed.then_some(origin));
        assert_eq!(asked.header("access-control-max-age"), allowed.then_some("7"));
        let sent = send(&node, "POST", "/r/a", &format!("Origin: {origin}\r\n"), "").await?;
        assert_eq!(
            (sent.status, sent.header("access-control-allow-origin")),
            (200, allowed.then_some(origin))
        );
        let refused = send(&node, "POST", "/r/closed", &format!("Origin: {origin}\r\n"), "").await?;
        assert_eq!(
            (refused.status, refused.header("access-control-allow-origin")),
            (401, allowed.then_some(origin)),
            "refusals too"
        );
    }
    Ok(())
}

async fn what_is_wrong_with_an_endpoint_is_said_with_its_place() -> TestResult {
    let node = Node::builder().start().await?;
    for (settings, why) in [
        (json!([]), "an object is expected"),
        (json!({"nam": "x"}), "/nam: this is not known here"),
        (json!({"reply": {"status": 1}}), "/reply/status: "),
        (json!({"labels": {"a": 1}}), "/labels/a: "),
        (json!({"allowed_sources": ["10.0.0.0/8", "x"]}), "/allowed_sources/1: "),
        (json!({"access": {}}), "/access: "),
        (json!({"access": {"header": {"name": "a"}}}), "/access/header/secret: "),
        (json!({"access": {"header": {"name": "a", "sha256": "00"}}}), "/access/header/sha256: "),
        (json!({"retention": {"age_s_max": -1}}), "/retention/age_s_max: "),
    ] {
        let answer = api(&node, "PUT", "/api/endpoints/a", &settings).await?;
        let problem = check_problem(&answer, 400, "invalid-endpoint")?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(why), "{settings}: {detail}");
    }
    Ok(())
}

async fn a_change_through_one_node_is_in_force_on_the_other() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url()).setting("capture.body_bytes_max", 100);
    let (one, other) = (builder.start().await?, builder.start().await?);
    for round in 0..40 {
        let secret = format!("secret-{round}");
        put(
            &one,
            "a",
            json!({"access": {"header": {"name": "k", "secret": secret}}, "body_bytes_max": 10 + round}),
        )
        .await?;
        let headers = format!("k: {secret}\r\n");
        let fits = "x".repeat(10 + round);
        assert_eq!(send(&other, "POST", "/r/a", &headers, &fits).await?.status, 200, "{round}");
        let old = send(&other, "POST", "/r/a", "k: secret-0\r\n", "").await?;
        assert_eq!(old.status, if round == 0 { 200 } else { 401 });
        assert_eq!(send(&other, "POST", "/r/a", &headers, &(fits + "x")).await?.status, 413, "{round}");
        // Lowered, it holds for the next body too.
        let lower = json!({"access": {"header": {"name": "k", "secret": secret}}, "body_bytes_max": 5});
        put(&one, "a", lower).await?;
        let cut = send(&other, "POST", "/r/a", &headers, "0123456789").await?;
        check_problem(&cut, 413, "body-too-large")?;
        let body = &kept(&other, &cut).await?["body"];
        assert_eq!((&body["content"], &body["truncated"]), (&json!("01234"), &json!(true)));
    }
    Ok(())
}
