//! Claims about what is kept: each form holds where it should, and is told with what breaks it.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ask, send, with};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => claims_are_verified_on_sqlite, a_claim_that_is_not_decided_leaves_all_open;
        Needs::POSTGRES => claims_are_verified_on_postgres;
    }
}

/// A sender that tries again, ever later.
const PAUSES: [Duration; 2] = [Duration::from_millis(40), Duration::from_millis(160)];

async fn claims_are_verified_on_sqlite() -> TestResult {
    claims_are_verified(Node::builder()).await
}

async fn claims_are_verified_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    claims_are_verified(Node::builder().database(database.url())).await
}

async fn claims_are_verified(builder: NodeBuilder) -> TestResult {
    let node = builder.start().await?;
    let mut sent = Vec::new();
    let event = |action: &str| format!("{{\"action\":\"{action}\"}}");
    sent.push(send(&node, "POST /r/shop", "Idempotency-Key: 1\r\n", event("created").as_bytes()).await?);
    send(&node, "POST /r/other", "Idempotency-Key: 1\r\n", event("paid").as_bytes()).await?;
    for pause in PAUSES {
        tokio::time::sleep(pause).await;
        sent.push(send(&node, "POST /r/shop", "Idempotency-Key: 2\r\n", event("paid").as_bytes()).await?);
    }
    sent.push(send(&node, "POST /r/shop?final", "", event("shipped").as_bytes()).await?);
    let all = json!({"since": "earliest", "endpoint": "shop", "name": "a sale", "expressions": {
        "created": "json.$.action=created",
        "paid": {"at": "json", "path": "$.action", "equals": "paid"},
        "shipped": "json.$.action=shipped",
    }});
    let named = |name: &str| json!({"ref": name});
    let holding = json!([
        {"name": "paid at least once", "count": {"at_least": 1}, "match": named("paid")},
        {"count": {"exactly": 2}, "match": named("paid")},
        {"count": {"at_most": 0}, "match": "method=GET"},
        {"in_order": [named("created"), named("paid"), named("shipped")]},
        {"in_order": [named("paid"), named("paid"), named("shipped")], "others": false},
        {"spacing": {"match": "!query.final", "least_ms": 30, "most_ms": 20_000, "growing": true,
            "gaps": [{}, {"least_ms": 150}]}},
        {"unique_by": {"header": "Idempotency-Key", "match": named("created")}},
        {"unique_by": {"query": "final"}},
    ]);
    let forms = ["count", "count", "count", "in_order", "in_order", "spacing", "unique_by", "unique_by"];
    let answer = ask(&node, "verify", &with(&all, "claims", holding.clone())).await?;
    assert_eq!(
        (&answer["outcome"], &answer["scanned"], &answer["next"]),
        (&json!("satisfied"), &json!(4), &Value::Null)
    );
    for (place, claim) in answer["claims"].as_array().ok_or("no claims")?.iter().enumerate() {
        let told = json!([claim["claim"], claim["name"], claim["holds"], claim["why"], claim["captures"]]);
        assert_eq!(told, json!([forms[place], holding[place]["name"], true, null, []]), "{claim}");
    }
    for (claim, why, captures) in [
        (
            json!({"count": {"at_most": 1}, "match": named("paid")}),
            "2 were found, and at most 1 are claimed",
            vec![2],
        ),
        (json!({"count": 3, "match": named("paid")}), "2 were found, and at least 3 are claimed", vec![]),
        (
            json!({"in_order": [named("paid"), named("created")]}),
            "no capture matches step 2 of 2 behind step 1",
            vec![0],
        ),
        (
            json!({"in_order": [named("created"), named("shipped")], "others": false}),
            "step 2 of 2 never comes at once behind step 1",
            vec![1],
        ),
        (json!({"spacing": {"match": named("paid"), "least_ms": 20_000}}), "a capture came ", vec![2]),
        (
            json!({"unique_by": {"header": "idempotency-key"}}),
            &format!("a capture has a value that {} has", sent[1]),
            vec![2],
        ),
        (json!({"unique_by": {"json": "$.action"}}), "a capture has a value that ", vec![2]),
    ] {
        let claims = json!([claim, {"count": 1}]);
        let answer = ask(&node, "verify", &with(&all, "claims", claims)).await?;
        let told = &answer["claims"][0];
        assert_eq!(
            (&answer["outcome"], &told["holds"]),
            (&json!("failed"), &json!(false)),
            "{claim}: {answer}"
        );
        assert!(told["why"].as_str().is_some_and(|told| told.starts_with(why)), "{claim}: {told}");
        let broken: Vec<&Value> = told["captures"].as_array().into_iter().flatten().collect();
        let expected: Vec<&String> = captures.into_iter().map(|place: usize| &sent[place]).collect();
        assert_eq!(broken.iter().map(|capture| &capture["id"]).collect::<Vec<_>>(), expected, "{told}");
        for capture in broken {
            let shown =
                node.json(&format!("/api/captures/{}", capture["id"].as_str().unwrap_or_default())).await?;
            assert_eq!(
                (&capture["endpoint"], &capture["received"]),
                (&shown["endpoint"], &shown["received"])
            );
            assert!(capture["how"].is_string(), "{capture}");
        }
        assert_eq!(answer["claims"][1]["holds"], true, "each claim is told for itself");
    }
    // What narrows all, narrows every claim.
    let narrowed =
        with(&with(&all, "match", "json.$.action=paid"), "claims", json!([{"count": {"exactly": 2}}]));
    let answer = ask(&node, "verify", &narrowed).await?;
    assert_eq!((&answer["outcome"], &answer["scanned"]), (&json!("satisfied"), &json!(4)), "{answer}");
    Ok(())
}

/// Where the limit of an answer comes first.
async fn a_claim_that_is_not_decided_leaves_all_open() -> TestResult {
    let node = Node::builder().setting("inquiry.scan_max", 3).start().await?;
    for _ in 0..5 {
        node.post("/r/a", "x").await?;
    }
    let verify = |since: Value, claims: Value| {
        let node = &node;
        async move { ask(node, "verify", &json!({"since": since, "claims": claims})).await }
    };
    let open = json!([{"count": {"at_most": 5}}, {"count": 2}]);
    let answer = verify(json!("earliest"), open).await?;
    assert_eq!((&answer["outcome"], &answer["scanned"]), (&json!("incomplete"), &json!(3)));
    let told = &answer["claims"];
    assert_eq!((&told[0]["holds"], &told[1]["holds"]), (&Value::Null, &json!(true)), "{answer}");
    assert_eq!(told[0]["why"], "not all captures were looked at, and the others decide");
    let rest = verify(answer["next"].clone(), json!([{"count": {"exactly": 2}}])).await?;
    assert_eq!((&rest["outcome"], &rest["scanned"]), (&json!("satisfied"), &json!(2)), "{rest}");
    // What is decided is told all the same.
    let decided = verify(json!("earliest"), json!([{"count": 3}])).await?;
    assert_eq!((&decided["outcome"], decided["next"].is_string()), (&json!("satisfied"), true), "{decided}");
    let broken =
        verify(json!("earliest"), json!([{"count": {"exactly": 9}}, {"count": {"at_most": 1}}])).await?;
    assert_eq!(broken["outcome"], "failed", "{broken}");
    Ok(())
}
