//! A token for some endpoints: inquiries find, count and verify what is its own, and tell it nothing of others.

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::patterns::{FOREIGN, check_no_numbers};
use super::{ROOT, ask, guarded, make};
use crate::harness::node::{Node, NodeBuilder};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => inquiries_find_count_and_verify_its_own_on_sqlite;
        Needs::POSTGRES => inquiries_find_count_and_verify_its_own_on_postgres;
    }
}

async fn inquiries_find_count_and_verify_its_own_on_sqlite() -> TestResult {
    inquiries_find_count_and_verify_its_own(guarded()).await
}

async fn inquiries_find_count_and_verify_its_own_on_postgres() -> TestResult {
    let database = shared_postgres().await?;
    inquiries_find_count_and_verify_its_own(guarded().database(database.url())).await
}

/// Whatever others send, and whatever is asked for, the answers are those of a journal that has nothing else.
async fn inquiries_find_count_and_verify_its_own(builder: NodeBuilder) -> TestResult {
    let builder = builder.setting("inquiry.scan_max", 5);
    let node = builder.start().await?;
    let token = make(&node, "read", Some("ci-*")).await?.secret;
    let rule = json!({"scope": "*", "reply": {}}).to_string();
    assert_eq!(ask(&node, ROOT, "PUT", "/api/rules/secret", &rule).await?.status, 201);
    let questions = [
        ("find", json!({})),
        ("find", json!({"order": "newest", "limit": 3})),
        ("count", json!({})),
        ("count", json!({"endpoint": "*1"})),
        ("count", json!({"endpoint": ["ci-1", "prod", "c*"]})),
        ("count", json!({"endpoint": "prod"})),
        ("count", json!({"endpoint": "nothing"})),
        ("count", json!({"match": "rule=secret"})),
        (
            "verify",
            json!({"claims": [{"count": {"exactly": 8}}, {"unique_by": {"header": "host"}}, {"in_order": ["body=own", "body=own"], "others": false}]}),
        ),
    ];
    let mut answers = Vec::new();
    for (path, question) in &questions {
        answers.push((path, question, Vec::new()));
    }
    for round in 0..3 {
        // Before, between and behind its own, and then still more of them.
        if round > 0 {
            foreign(&node, round * 4).await?;
        }
        if round == 0 {
            for number in 0..8 {
                node.post(&format!("/r/ci-{}", number % 3), "own").await?;
                if number % 2 == 1 {
                    foreign(&node, 1).await?;
                }
            }
        }
        for (path, question, answers) in &mut answers {
            answers.push(to_the_end(&node, &token, path, question).await?);
        }
    }
    for (path, question, answers) in answers {
        assert!(answers.windows(2).all(|two| two[0] == two[1]), "{path} {question}: {answers:#?}");
    }
    let count = |endpoint: &'static str| {
        let (node, token) = (&node, &token);
        async move {
            let all = to_the_end(node, token, "count", &json!({"endpoint": endpoint})).await?;
            TestResult::Ok(all.iter().map(|answer| answer["count"].as_u64().unwrap_or(99)).sum::<u64>())
        }
    };
    assert_eq!((count("*").await?, count("prod").await?, count("ci-1").await?), (8, 0, 3));
    let all = to_the_end(&node, &token, "count", &json!({})).await?;
    let scanned: Vec<&Value> = all.iter().map(|answer| &answer["scanned"]).collect();
    assert_eq!(scanned, [5, 3], "as many as an answer looks at, all of them its own");
    a_place_is_for_its_token_alone(&node, &token).await
}

async fn a_place_is_for_its_token_alone(node: &Node, token: &str) -> TestResult {
    let order = json!({"since": "earliest"});
    let own =
        ask(node, token, "POST", "/api/captures/count", &order.to_string()).await?.json()?["next"].clone();
    let plain =
        ask(node, ROOT, "POST", "/api/captures/count", &order.to_string()).await?.json()?["next"].clone();
    assert!(
        own.is_string() && plain.is_string() && own.as_str().map(str::len) > plain.as_str().map(str::len)
    );
    for (secret, place) in [(ROOT, &own), (token, &plain)] {
        for order in [json!({"since": place}), json!({"since": "earliest", "cursor": place})] {
            let refused = ask(node, secret, "POST", "/api/captures/find", &order.to_string()).await?;
            check_problem(&refused, 400, "invalid-cursor")?;
        }
    }
    Ok(())
}

async fn foreign(node: &Node, rounds: usize) -> TestResult {
    for _ in 0..rounds {
        for code in FOREIGN {
            node.post(&format!("/r/{code}"), "own").await?;
        }
    }
    Ok(())
}

/// Every answer until the last, each gone on with, without what is different each time: the text of a cursor.
async fn to_the_end(node: &Node, token: &str, path: &str, question: &Value) -> TestResult<Vec<Value>> {
    let mut question = question.clone();
    question["since"] = json!("earliest");
    let mut all = Vec::new();
    loop {
        let answer =
            ask(node, token, "POST", &format!("/api/captures/{path}"), &question.to_string()).await?;
        if answer.status != 200 {
            return Err(format!("{path} {question}: {} {}", answer.status, answer.text()).into());
        }
        let mut answer = answer.json()?;
        check_no_numbers(&answer)?;
        let next = answer["next"].take();
        answer["next"] = json!(next.as_str().map(str::len));
        all.push(answer);
        match next {
            Value::Null => return Ok(all),
            next if path == "find" => question["cursor"] = next,
            next => question["since"] = next,
        }
    }
}
