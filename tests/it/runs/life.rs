//! The life of a run, from its opening to where it is forgotten.

use creel::model::run::{Verification, VerificationKind};
use creel::storage;
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{close, config, configured, counted, database_of, open, open_by, post, summary};
use crate::harness::node::Node;
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};
use crate::tokens::{ROOT, ask, get, get_json, guarded, make, revoke};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_run_lives_on_sqlite,
            captures_are_kept_or_removed_as_it_was_said,
            a_run_of_a_caller_with_a_pattern_lies_within_it,
            runs_within_a_run_end_with_it,
            tokens_of_runs_end_with_the_token_that_opened_them;
        Needs::POSTGRES =>
            a_run_lives_on_two_nodes,
            what_a_run_was_asked_is_told_as_json_and_as_junit;
    }
}

async fn a_run_lives_on_sqlite() -> TestResult {
    let node = guarded().start().await?;
    it_lives(&node, &node).await
}

async fn a_run_lives_on_two_nodes() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    it_lives(&one, &other).await
}

/// What is opened on one node is in force on the other, and ends there too.
async fn it_lives(one: &Node, other: &Node) -> TestResult {
    one.post("/r/shop", "before").await?;
    let order = json!({"name": "job 7", "labels": {"branch": "main"}, "ttl_s": 60, "token": true,
        "config": config()});
    let run = open(one, &order).await?;
    let prefix = run.prefix.as_str();
    for (name, expected) in [
        ("name", json!("job 7")),
        ("labels", json!({"branch": "main"})),
        ("state", json!("open")),
        ("captures", json!("keep")),
        ("closed", json!(null)),
        ("url_prefix", json!(format!("http://{}/r/{prefix}", one.address()))),
    ] {
        assert_eq!(run.told[name], expected, "{}", run.told);
    }
    assert!(run.token.starts_with("creel_") && run.told["since"].is_string(), "{}", run.told);

    // The very next requests, on the other node.
    assert_eq!(post(other, &run.target("shop")).await?.status, 202);
    assert_eq!(post(other, &run.target("pay-1")).await?.text(), "paid");
    assert_eq!(post(other, &run.target("cart")).await?.text(), "filled");
    assert_ne!(post(other, &run.target("cart")).await?.text(), "filled", "the scenario is its own");
    post(one, "/r/pay-1").await?;
    its_token_is_for_it_alone(other, &run).await?;

    let shown = get_json(other, &run.token, &run.path("")).await?;
    assert_eq!((&shown["id"], &shown["prefix"]), (&json!(run.id), &json!(prefix)));
    assert!(shown.get("token").is_none(), "the secret is told once");
    let of_state = async |state: &str| get_json(other, ROOT, &format!("/api/runs?state={state}")).await;
    assert_eq!(of_state("open").await?["runs"][0]["id"], run.id.as_str());
    assert_eq!(of_state("closed").await?["runs"], json!([]));
    let standing = summary(other, &run).await?;
    check_counts(&standing, prefix);

    let closed = close(other, &run, &json!({})).await?;
    check_counts(&closed, prefix);
    assert_eq!(closed["run"]["state"], "closed");
    assert!(closed["run"]["closed"].is_string());
    assert_eq!(configured(one).await?, [] as [String; 0], "its rules and endpoints went with it");
    assert_eq!(get_json(one, ROOT, "/api/scenarios").await?["scenarios"], json!([]));
    for node in [one, other] {
        super::eventually_some(super::LIMIT, "its token is revoked", || async {
            (get(node, &run.token, "/api/captures").await.ok()?.status == 401).then_some(())
        })
        .await;
        assert_eq!(close(node, &run, &json!({"captures": "remove"})).await?["captures"], closed["captures"]);
        assert_eq!(summary(node, &run).await?["rules"], closed["rules"]);
    }
    let kept = get_json(one, ROOT, "/api/captures?limit=500").await?;
    assert_eq!(kept["captures"].as_array().map(Vec::len), Some(6), "what it caught is kept");

    let gone = ask(one, ROOT, "DELETE", &run.path(""), "").await?;
    assert_eq!(gone.status, 204, "{}", gone.text());
    for (method, rest) in [("GET", ""), ("GET", "/summary"), ("POST", "/close"), ("DELETE", "")] {
        check_problem(&ask(other, ROOT, method, &run.path(rest), "").await?, 404, "unknown-run")?;
    }
    Ok(())
}

async fn its_token_is_for_it_alone(node: &Node, run: &super::Run) -> TestResult {
    let all = get_json(node, &run.token, "/api/captures?body=none").await?;
    let endpoints: Vec<&str> =
        all["captures"].as_array().into_iter().flatten().filter_map(|c| c["endpoint"].as_str()).collect();
    assert_eq!(endpoints.len(), 4, "{all}");
    assert!(endpoints.iter().all(|endpoint| endpoint.starts_with(&run.prefix)), "{endpoints:?}");
    let own = get_json(node, &run.token, "/api/runs").await?;
    assert_eq!(own["runs"].as_array().map(Vec::len), Some(1));
    let foreign = ask(node, &run.token, "PUT", "/api/rules/mine", "{\"reply\":{}}").await?;
    check_problem(&foreign, 403, "forbidden")?;
    check_problem(&get(node, &run.token, "/api/tokens").await?, 403, "forbidden")?;
    // What it adds belongs to the run, and ends with it.
    let rule = json!({"scope": format!("{}late", run.prefix), "reply": {}}).to_string();
    let saved = ask(node, &run.token, "PUT", &format!("/api/rules/{}late", run.prefix), &rule).await?;
    assert_eq!(saved.status, 201, "{}", saved.text());
    Ok(())
}

fn check_counts(summary: &Value, prefix: &str) {
    let name = |name: &str| format!("{prefix}{name}");
    let names = ["cart", "pay-1", "shop"].map(name);
    let expected: Vec<(&str, i64)> = names.iter().map(String::as_str).zip([2, 1, 1]).collect();
    assert_eq!(counted(&summary["captures"]["by_endpoint"], "endpoint"), expected, "{summary}");
    assert_eq!(summary["captures"]["total"], 4);
    assert!(summary["captures"]["bytes"].as_i64() > Some(0), "{summary}");
    let names = ["cart", "late", "never", "pay"].map(name);
    let expected: Vec<(&str, i64)> = names.iter().map(String::as_str).zip([1, 0, 0, 1]).collect();
    assert_eq!(counted(&summary["rules"], "rule"), expected, "{summary}");
    assert_eq!(summary["unmatched"], 2);
}

async fn captures_are_kept_or_removed_as_it_was_said() -> TestResult {
    let node = guarded().start().await?;
    let order = |captures: &str| json!({"name": "a", "captures": captures});
    for (at_opening, at_closing, stay) in [
        ("keep", json!({}), true),
        ("remove", json!({}), false),
        ("keep", json!({"captures": "remove"}), false),
        ("remove", json!({"captures": "keep"}), true),
    ] {
        let run = open(&node, &order(at_opening)).await?;
        for code in ["a", "a", "b%20c", "%F0%9F%A6%80"] {
            post(&node, &run.target(code)).await?;
        }
        let closed = close(&node, &run, &at_closing).await?;
        assert_eq!(closed["captures"]["total"], 4, "{closed}");
        let left = get_json(&node, ROOT, &format!("/api/captures?endpoint={}a", run.prefix)).await?;
        assert_eq!(left["captures"].as_array().map(Vec::len), Some(if stay { 2 } else { 0 }), "{left}");
        assert_eq!(summary(&node, &run).await?["captures"], closed["captures"], "it outlives its captures");
        let log = get_json(&node, ROOT, "/api/audit?limit=500").await?;
        let entries = log["entries"].as_array().ok_or("no entries")?;
        let removals = entries.iter().filter(|entry| {
            entry["type"] == "removal"
                && entry["removal"]["endpoint"].as_str().is_some_and(|code| code.starts_with(&run.prefix))
                && entry["removal"]["by"] == "settings"
        });
        assert_eq!(removals.count(), if stay { 0 } else { 3 }, "{log}");
    }
    Ok(())
}

async fn a_run_of_a_caller_with_a_pattern_lies_within_it() -> TestResult {
    let node = guarded().start().await?;
    let ours = make(&node, "write", Some("ci-*")).await?;
    let theirs = make(&node, "write", Some("qa-*")).await?;
    let run = open_by(&node, &ours.secret, &json!({"name": "a", "token": true, "config": config()})).await?;
    assert!(run.prefix.starts_with("ci-run-"), "{}", run.prefix);
    assert_eq!(post(&node, &run.target("pay-1")).await?.text(), "paid");
    for secret in [&ours.secret, &run.token, ROOT] {
        let found = get_json(&node, secret, "/api/runs").await?;
        assert_eq!(found["runs"][0]["id"], run.id.as_str());
        assert_eq!(get(&node, secret, &run.path("/summary")).await?.status, 200);
    }
    assert_eq!(get_json(&node, &theirs.secret, "/api/runs").await?["runs"], json!([]));
    for (method, rest) in [("GET", ""), ("GET", "/summary"), ("POST", "/close"), ("DELETE", "")] {
        let there = ask(&node, &theirs.secret, method, &run.path(rest), "").await?;
        let nowhere = ask(&node, &theirs.secret, method, &format!("/api/runs/nothing{rest}"), "").await?;
        check_problem(&there, 404, "unknown-run")?;
        check_problem(&nowhere, 404, "unknown-run")?;
    }
    // Its place in the journal is told in the caller's own cursors.
    let since = run.told["since"].as_str().ok_or("no cursor")?;
    let target = format!("/api/captures?order=oldest&cursor={since}");
    assert_eq!(get_json(&node, &ours.secret, &target).await?["captures"].as_array().map(Vec::len), Some(1));
    check_problem(&get(&node, ROOT, &target).await?, 400, "invalid-cursor")?;
    // A prefix needs room behind it.
    for pattern in ["ci-7", "*-end"] {
        let narrow = make(&node, "write", Some(pattern)).await?;
        let refused = ask(&node, &narrow.secret, "POST", "/api/runs", "{\"name\":\"a\"}").await?;
        check_problem(&refused, 403, "forbidden")?;
    }
    Ok(())
}

async fn runs_within_a_run_end_with_it() -> TestResult {
    let node = guarded().start().await?;
    let outer =
        open(&node, &json!({"name": "outer", "token": true, "ttl_s": 60, "captures": "remove"})).await?;
    let order = json!({"name": "inner", "token": true, "ttl_s": 3600, "config": config()});
    let inner = open_by(&node, &outer.token, &order).await?;
    assert!(inner.prefix.starts_with(&outer.prefix), "{}", inner.prefix);
    assert_eq!(inner.told["expires"], outer.told["expires"], "it ends with the token that opened it");
    assert_eq!(post(&node, &inner.target("pay-1")).await?.text(), "paid");
    close(&node, &outer, &json!({})).await?;
    let found = summary(&node, &inner).await?;
    assert_eq!((&found["run"]["state"], &found["captures"]["total"]), (&json!("closed"), &json!(1)));
    assert_eq!(get(&node, &inner.token, "/api/captures").await?.status, 401);
    assert_eq!(configured(&node).await?, [] as [String; 0]);
    Ok(())
}

async fn tokens_of_runs_end_with_the_token_that_opened_them() -> TestResult {
    let node = guarded().start().await?;
    let opener = make(&node, "write", None).await?;
    let run = open_by(&node, &opener.secret, &json!({"name": "a", "token": true})).await?;
    let inner = open_by(&node, &run.token, &json!({"name": "b", "token": true})).await?;
    let other = open(&node, &json!({"name": "c", "token": true})).await?;
    revoke(&node, &opener).await?;
    let log = get_json(&node, ROOT, "/api/audit?limit=500").await?;
    let entries = log["entries"].as_array().ok_or("no entries")?;
    let told = |token: &Value| {
        entries.iter().any(|entry| {
            let change = &entry["configuration"];
            (&change["change"], &change["token"]) == (&json!("token.removed"), token)
        })
    };
    let listed = get_json(&node, ROOT, "/api/tokens").await?;
    let tokens = listed["tokens"].as_array().ok_or("no tokens")?;
    let ended = tokens.iter().filter(|token| token["revoked"].is_string());
    assert_eq!(ended.filter(|token| told(&token["id"])).count(), 3, "each is on record: {log}");
    for (secret, status) in
        [(&opener.secret, 401), (&run.token, 401), (&inner.token, 401), (&other.token, 200)]
    {
        assert_eq!(get(&node, secret, "/api/captures").await?.status, status);
    }
    Ok(())
}

const HOSTILE: &str = "]]><&\"'\u{1}\u{fffe}\r\n\tΩ <script>";

async fn what_a_run_was_asked_is_told_as_json_and_as_junit() -> TestResult {
    let server = shared_postgres().await?;
    let node = guarded().database(server.url()).start().await?;
    let run = open(&node, &json!({"name": "<a> & \"b\"", "labels": {"k<\"": "v&\n]]>"}})).await?;
    let database = database_of(server.url())?;
    let asked = |name: &str, kind, why: Option<&str>| Verification {
        name: name.to_owned(),
        kind,
        passed: why.is_none(),
        why: why.map(str::to_owned),
        at_us: 1_795_262_400_000_000,
        took_us: 1_234_567,
    };
    for verification in [
        asked("paid", VerificationKind::Wait, None),
        asked("", VerificationKind::Verify, None),
        asked(HOSTILE, VerificationKind::Verify, Some(HOSTILE)),
    ] {
        assert!(storage::runs::record_verification(&database, &run.id, &verification).await?);
    }
    let closed = close(&node, &run, &json!({})).await?;
    let made = &closed["verifications"];
    assert_eq!((&made["made"], &made["passed"], &made["failed"]), (&json!(3), &json!(2), &json!(1)));
    let first = &made["list"][0];
    assert_eq!(
        (&first["name"], &first["kind"], &first["outcome"]),
        (&json!("paid"), &json!("wait"), &json!("passed"))
    );
    assert_eq!((&first["took_ms"], &first["why"]), (&json!(1234), &json!(null)));
    assert_eq!(made["list"][2]["why"], HOSTILE);
    let late = asked("late", VerificationKind::Wait, None);
    assert!(!storage::runs::record_verification(&database, &run.id, &late).await?, "it is closed");

    let answer = get(&node, ROOT, &run.path("/summary?format=junit")).await?;
    assert_eq!(answer.header("content-type"), Some("application/xml"));
    let text = answer.text();
    let document = roxmltree::Document::parse(&text)?;
    let root = document.root_element();
    let suite = root.first_element_child().ok_or("no suite")?;
    assert_eq!((root.tag_name().name(), suite.tag_name().name()), ("testsuites", "testsuite"));
    for (name, expected) in [("name", "<a> & \"b\""), ("tests", "3"), ("failures", "1"), ("time", "3.703")] {
        assert_eq!((root.attribute(name), suite.attribute(name)), (Some(expected), Some(expected)), "{name}");
    }
    let property = suite.descendants().find(|node| node.attribute("name") == Some("k<\""));
    assert_eq!(property.and_then(|node| node.attribute("value")), Some("v&\n]]>"));
    let cases: Vec<_> = suite.children().filter(|node| node.has_tag_name("testcase")).collect();
    let names: Vec<_> = cases.iter().filter_map(|case| case.attribute("name")).collect();
    let shown = HOSTILE.replace(['\u{1}', '\u{fffe}'], "\u{fffd}");
    assert_eq!(names, ["paid", "verify 2", &shown]);
    assert_eq!(cases[0].attribute("time"), Some("1.234"));
    let failure = cases[2].first_element_child().ok_or("no failure")?;
    assert_eq!((failure.tag_name().name(), failure.text()), ("failure", Some(&*shown)));
    assert!(cases[0].first_element_child().is_none() && cases[1].first_element_child().is_none());
    Ok(())
}
