//! Endpoint codes: which are taken, and which are known.

use libtest_mimic::Trial;

use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_code_is_one_segment_of_decoded_utf8,
            what_is_no_code_gets_a_problem_and_is_counted,
            the_prefix_is_a_setting,
            without_auto_create_unknown_codes_are_refused;
        Needs::POSTGRES => an_endpoint_is_in_force_on_every_node_for_the_next_request,
    }
}

async fn a_code_is_one_segment_of_decoded_utf8() -> TestResult {
    let node = Node::builder().start().await?;
    let long = "x".repeat(255);
    let long_encoded = "%C3%A9".repeat(127);
    let table = [
        ("abc", "abc".to_owned()),
        ("A-b._~", "A-b._~".to_owned()),
        ("%C3%A9t%c3%a9", "été".to_owned()),
        ("%F0%9F%8E%A3", "🎣".to_owned()),
        ("a%2Fb", "a/b".to_owned()),
        ("a%20b+c", "a b+c".to_owned()),
        ("%25", "%".to_owned()),
        ("a%", "a%".to_owned()),
        ("%2A", "*".to_owned()),
        (&long, long.clone()),
        (&long_encoded, "é".repeat(127)),
    ];
    for (segment, code) in table {
        let answer = node.get(&format!("/r/{segment}/below")).await?;
        assert_eq!(answer.status, 200, "{segment}");
        assert_eq!(answer.json()?["endpoint"], code);
        assert_eq!(node.kept(&answer).await?["endpoint"], code);
    }
    Ok(())
}

async fn what_is_no_code_gets_a_problem_and_is_counted() -> TestResult {
    let node = Node::builder().start().await?;
    let (too_long, too_long_encoded) = ("x".repeat(256), "%C3%A9".repeat(128));
    let length = "an endpoint code has 1 to 255 bytes";
    let table = [
        ("/r/%ff", "an endpoint code is valid UTF-8"),
        ("/r/a%C3/b", "an endpoint code is valid UTF-8"),
        ("/r/%00", "an endpoint code has no control characters"),
        ("/r/a%0Ab", "an endpoint code has no control characters"),
        ("/r/%C2%85", "an endpoint code has no control characters"),
        ("/r/", length),
        ("/r", length),
        ("/r//x", length),
        (&format!("/r/{too_long}"), length),
        (&format!("/r/{too_long_encoded}"), length),
    ];
    for (target, detail) in table {
        let problem = check_problem(&node.get(target).await?, 400, "invalid-endpoint-code")?;
        assert_eq!(problem["detail"], detail, "{target}");
    }
    assert_eq!(node.outcomes("invalid_code").await, table.len() as f64);
    assert_eq!(node.json("/api/captures").await?["captures"].as_array().map(Vec::len), Some(0));
    for elsewhere in ["/rr/abc", "/R/abc", "//r/abc", "/r%2Fabc", "/%2572/abc"] {
        check_problem(&node.get(elsewhere).await?, 404, "not-found")?;
    }
    Ok(())
}

async fn the_prefix_is_a_setting() -> TestResult {
    let node = Node::builder().setting("capture.prefix", "hooks").start().await?;
    assert_eq!(node.get("/hooks/abc/r/x").await?.status, 200);
    check_problem(&node.get("/r/abc").await?, 404, "not-found")?;
    let listed = node.captures_of("abc", 1).await;
    assert_eq!(listed[0]["remainder"], "/r/x");
    Ok(())
}

async fn without_auto_create_unknown_codes_are_refused() -> TestResult {
    let node = Node::builder().setting("capture.auto_create", false).start().await?;
    check_problem(&node.get("/r/abc").await?, 404, "unknown-endpoint")?;
    assert_eq!(node.outcomes("unknown_endpoint").await, 1.0);
    let declared = node.request("PUT", "/api/endpoints/abc", "").await?;
    assert_eq!(declared.status, 201);
    assert_eq!(declared.json()?["url"], node.url("/r/abc"));
    assert_eq!(node.get("/r/abc").await?.status, 200);
    assert_eq!(node.request("PUT", "/api/endpoints/abc", "").await?.status, 200, "it is idempotent");
    assert_eq!(node.request("DELETE", "/api/endpoints/abc", "").await?.status, 204);
    check_problem(&node.get("/r/abc").await?, 404, "unknown-endpoint")?;
    check_problem(&node.request("DELETE", "/api/endpoints/abc", "").await?, 404, "unknown-endpoint")?;
    assert_eq!(node.captures_of("abc", 1).await.len(), 1, "what it caught stays");
    let odd = node.request("PUT", "/api/endpoints/a%2Fb%20%C3%A9", "").await?;
    assert_eq!((odd.status, &odd.json()?["code"]), (201, &"a/b é".into()));
    assert_eq!(node.get("/r/a%2fb%20%c3%a9").await?.status, 200);
    Ok(())
}

/// No broker tells the nodes of each other: the journal's head does.
async fn an_endpoint_is_in_force_on_every_node_for_the_next_request() -> TestResult {
    let database = shared_postgres().await?;
    let nodes = Node::builder().database(database.url()).setting("capture.auto_create", false);
    let (first, second) = (nodes.start().await?, nodes.start().await?);
    for round in 0..5 {
        let target = format!("/api/endpoints/abc{round}");
        let capture = format!("/r/abc{round}");
        check_problem(&second.get(&capture).await?, 404, "unknown-endpoint")?;
        assert_eq!(first.request("PUT", &target, "").await?.status, 201);
        assert_eq!(second.get(&capture).await?.status, 200, "declared through the other node");
        assert_eq!(first.get(&capture).await?.status, 200);
        assert_eq!(first.request("DELETE", &target, "").await?.status, 204);
        check_problem(&second.get(&capture).await?, 404, "unknown-endpoint")?;
        check_problem(&first.get(&capture).await?, 404, "unknown-endpoint")?;
    }
    Ok(())
}
