//! `creel wait`: its exit codes, what it prints and says, and nodes that go away meanwhile.

use std::time::Duration;

use libtest_mimic::Trial;

use super::{LIMIT, ask, run, start};
use crate::harness::node::Node;
use crate::harness::process::Process;
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            what_arrives_while_it_waits_ends_it_with_0,
            what_was_caught_before_is_found_and_shown,
            what_does_not_come_ends_it_with_1_and_tells_the_nearest,
            a_wait_spans_restarts_of_its_node,
            a_node_that_stays_away_ends_a_wait_with_3,
            a_node_that_hangs_ends_a_wait_soon_after_its_timeout,
            wrong_usage_of_wait_ends_with_2;
    }
}

/// A wait that has begun.
async fn waiting(node: &Node, arguments: &[&str]) -> TestResult<Process> {
    let process = start(arguments, &[("CREEL_URL", &node.url(""))])?;
    waits(node, &process).await?;
    Ok(process)
}

async fn waits(node: &Node, process: &Process) -> TestResult {
    process.check_running()?;
    eventually(LIMIT, "a wait on the node", || async {
        node.metric("creel_waiters").await.is_ok_and(|n| n > 0.0)
    })
    .await;
    Ok(())
}

async fn what_arrives_while_it_waits_ends_it_with_0() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/shop", "before").await?;
    let wait =
        waiting(&node, &["wait", "shop", "--since", "now", "--match", "body=paid", "--output", "json"])
            .await?;
    node.post("/r/shop", "other").await?;
    let id = node.post("/r/shop/orders", "paid").await?;
    assert_eq!(wait.end(LIMIT).await.code(), Some(0), "{}", wait.talk());
    let answer: serde_json::Value = serde_json::from_str(&wait.log())?;
    assert_eq!((answer["outcome"].as_str(), answer["count"].as_u64()), (Some("satisfied"), Some(1)));
    assert_eq!(answer["captures"][0]["id"], id);
    assert!(answer["next"].is_string(), "{answer}");
    assert!(wait.talk().starts_with("satisfied: 1 capture matched after "), "{}", wait.talk());
    Ok(())
}

async fn what_was_caught_before_is_found_and_shown() -> TestResult {
    let node = Node::builder().start().await?;
    let first = node.post("/r/shop/one", "1").await?;
    let second = node.post("/r/shop-2/two", "2").await?;
    for arguments in [
        &["wait", "shop*", "--since", "earliest", "--at-least", "2"][..],
        &["wait", "shop", "shop-2", "--since", "1h", "--exactly", "2", "--quiet", "50ms"],
        &["wait", "--since", "2020-01-01T00:00:00Z", "--at-most", "2", "--timeout", "0s"],
    ] {
        let done = ask(&node, arguments).await?.expect(0)?;
        assert!(done.stdout.starts_with("RECEIVED"), "{}", done.stdout);
        assert!(done.stdout.contains(&first) && done.stdout.contains(&second), "{}", done.stdout);
        assert!(done.stderr.starts_with("satisfied: 2 captures matched"), "{}", done.stderr);
        assert_eq!(done.stderr.lines().count(), 1, "no progress where there is no terminal: {}", done.stderr);
    }
    let none =
        ask(&node, &["wait", "else", "--since", "earliest", "--exactly", "0", "--quiet", "50ms"]).await?;
    assert_eq!(none.expect(0)?.stdout, "");
    Ok(())
}

async fn what_does_not_come_ends_it_with_1_and_tells_the_nearest() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/shop", r#"{"n":"a\u0007"}"#).await?;
    let since = ["--since", "earliest", "--timeout", "200ms"];
    let ask_for =
        async |arguments: &[&str]| ask(&node, &[&["wait", "shop"], arguments, &since].concat()).await;

    let late = ask_for(&["--match", "method=POST json.$.n=push header.x-none"]).await?.expect(1)?;
    assert_eq!(late.stdout, "");
    for text in [
        "s; waited for at least 1\n",
        &format!("{id} to shop at "),
        ": 1 of 3 hold",
        r#"json $.n equals "push": it is "a\u0007""#,
        "header x-none exists true: it is not there",
    ] {
        assert!(late.stderr.contains(text), "{text}: {}", late.stderr);
    }
    let json = ask_for(&["--match", "method=PUT", "--output", "json"]).await?.expect(1)?;
    assert_eq!(json.values()?[0]["misses"][0]["capture"], id);
    assert!(json.stderr.contains(r#"method equals "PUT": it is "POST""#), "{}", json.stderr);

    let many = ask_for(&["--at-most", "0"]).await?.expect(1)?;
    assert!(many.stdout.contains(&id), "{}", many.stdout);
    assert!(
        many.stderr.contains("exceeded: 1 capture matched after 0.0 s; waited for at most 0"),
        "{}",
        many.stderr
    );
    let loud = ask_for(&["--quiet", "200ms"]).await?;
    assert!(loud.stderr.contains("waited for at least 1, then nothing for 0.2 s"), "{}", loud.stderr);
    let nothing = ask(&node, &[&["wait", "else"], &since[..]].concat()).await?.expect(1)?;
    assert!(nothing.stderr.contains("hint: nothing else was caught there"), "{}", nothing.stderr);
    Ok(())
}

/// Killed, and stopped in order: the wait goes on on the node that comes after it, and misses nothing.
async fn a_wait_spans_restarts_of_its_node() -> TestResult {
    let node = Node::builder().start().await?;
    let arguments =
        ["wait", "shop", "--since", "now", "--at-least", "3", "--timeout", "60s", "--output", "json"];
    let wait = waiting(&node, &arguments).await?;
    node.post("/r/shop", "1").await?;
    node.kill9();
    node.start_again().await?;
    node.post("/r/shop", "2").await?;
    waits(&node, &wait).await?;
    node.term().await?;
    node.start_again().await?;
    wait.check_running()?;
    node.post("/r/shop", "3").await?;
    assert_eq!(wait.end(LIMIT).await.code(), Some(0), "{}", wait.talk());
    let answer: serde_json::Value = serde_json::from_str(&wait.log())?;
    assert_eq!((answer["outcome"].as_str(), answer["count"].as_u64()), (Some("satisfied"), Some(3)));
    assert_eq!(wait.talk().lines().count(), 1, "{}", wait.talk());
    Ok(())
}

async fn a_node_that_stays_away_ends_a_wait_with_3() -> TestResult {
    let node = Node::builder().start().await?;
    let wait = waiting(&node, &["wait", "--since", "now", "--timeout", "1s"]).await?;
    node.kill9();
    let began = std::time::Instant::now();
    assert_eq!(wait.end(LIMIT).await.code(), Some(3), "{}", wait.talk());
    assert!(began.elapsed() < Duration::from_secs(30));
    assert!(wait.talk().contains("CREEL_URL"), "{}", wait.talk());
    Ok(())
}

async fn a_node_that_hangs_ends_a_wait_soon_after_its_timeout() -> TestResult {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", silent.local_addr()?);
    let began = std::time::Instant::now();
    let done =
        run(&["wait", "--since", "earliest", "--timeout", "500ms", "--url", &url], &[]).await?.expect(3)?;
    assert!(done.stderr.contains("was silent for 10 s"), "{}", done.stderr);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    Ok(())
}

async fn wrong_usage_of_wait_ends_with_2() -> TestResult {
    let node = Node::builder().start().await?;
    for (arguments, told) in [
        (&["wait", "shop"][..], "--since earliest"),
        (&["wait", "--since", "yesterday"], "RFC 3339"),
        (&["wait", "--since", "now", "--match", "{"], "the expression is no JSON"),
        (&["wait", "--since", "now", "--match", "nowhere=1"], "nowhere"),
        (&["wait", "--since", "now", "--match", "@/no/such/file"], "failed to read"),
        (&["wait", "--since", "now", "--timeout", "5"], "as in `30s`"),
        (&["wait", "--since", "now", "--timeout", "1s", "--quiet", "2s"], "--quiet is longer"),
        (&["wait", "--since", "now", "--timeout", "11m"], "--timeout is not valid"),
        (&["wait", "--since", "now", "--at-least", "1", "--exactly", "2"], "cannot be used with"),
        (&["wait", "--since", "now", "--at-least", "0"], "1..=1000000"),
    ] {
        let done = ask(&node, arguments).await?.expect(2)?;
        assert_eq!(done.stdout, "", "{arguments:?}");
        assert!(done.stderr.contains(told), "{arguments:?}: {}", done.stderr);
    }
    ask(&node, &["wait", "--run", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33"]).await?.expect(1)?;
    // Of a run that is named by the variable, an empty flag is none.
    let url = node.url("");
    let variables = [("CREEL_URL", url.as_str()), ("CREEL_RUN", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33")];
    run(&["wait", "--timeout", "0s"], &variables).await?.expect(1)?;
    run(&["wait", "--timeout", "0s", "--run", ""], &variables).await?.expect(2)?;
    Ok(())
}
