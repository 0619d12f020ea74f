//! `creel count`, `find` and `verify`: what they print, and their exit codes.

use libtest_mimic::Trial;

use super::{ask, file};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            captures_are_counted_and_found,
            what_is_more_than_one_answer_looks_at_is_asked_for_again,
            claims_that_hold_end_with_0_and_others_with_1,
            claims_come_from_a_file_too,
            wrong_usage_of_inquiries_ends_with_2;
    }
}

/// A node that has caught three: the keys are a, b and a again.
async fn node_with_keys() -> TestResult<(Node, Vec<String>)> {
    let node = Node::builder().start().await?;
    let mut ids = Vec::new();
    for (key, step) in [("a", "created"), ("b", "paid"), ("a", "sent")] {
        let request = node.http().post(node.url("/r/shop")).header("Idempotency-Key", key);
        let answer = request.body(format!(r#"{{"step":"{step}"}}"#)).send().await?.error_for_status()?;
        let id = answer.headers().get("x-creel-capture-id").ok_or("no id")?.to_str()?;
        ids.push(id.to_owned());
    }
    Ok((node, ids))
}

async fn captures_are_counted_and_found() -> TestResult {
    let (node, ids) = node_with_keys().await?;
    let since = ["shop", "--since", "earliest"];
    let asked = async |command: &str, arguments: &[&str]| {
        ask(&node, &[&[command], &since[..], arguments].concat()).await
    };
    let counted = asked("count", &[]).await?.expect(0)?;
    assert_eq!((counted.stdout.as_str(), counted.stderr.as_str()), ("3\n", ""));
    assert_eq!(asked("count", &["--match", "header.idempotency-key=a"]).await?.expect(0)?.stdout, "2\n");
    assert_eq!(asked("count", &["--output", "json"]).await?.expect(0)?.values()?[0]["count"], 3);
    asked("count", &["--exactly", "3"]).await?.expect(0)?;
    asked("count", &["--until", "2020-01-01T00:00:00Z", "--exactly", "0"]).await?.expect(0)?;
    let few = asked("count", &["--at-least", "4"]).await?.expect(1)?;
    assert_eq!(few.stdout, "3\n");
    assert!(few.stderr.contains("3 captures matched, and at least 4 wanted"), "{}", few.stderr);

    let found = asked("find", &["--output", "json"]).await?.expect(0)?;
    let found: Vec<_> = found.values()?.iter().map(|capture| capture["id"].clone()).collect();
    assert_eq!(found, ids.as_slice());
    let newest = asked("find", &["--newest", "--limit", "1"]).await?.expect(0)?;
    assert!(newest.stdout.contains(&ids[2]) && !newest.stdout.contains(&ids[1]), "{}", newest.stdout);
    let expression = file("paid.txt", "json.$.step=paid\n")?;
    let from_file =
        asked("find", &["--match", &format!("@{expression}"), "--output", "json"]).await?.expect(0)?;
    assert_eq!(from_file.values()?.len(), 1);
    let none = asked("find", &["--match", r#"{"at":"method","equals":"PUT"}"#]).await?.expect(0)?;
    assert_eq!(none.stdout.lines().count(), 1, "{}", none.stdout);
    Ok(())
}

async fn what_is_more_than_one_answer_looks_at_is_asked_for_again() -> TestResult {
    let node = Node::builder().setting("inquiry.scan_max", 10).start().await?;
    for number in 0..25 {
        node.post(if number == 24 { "/r/b" } else { "/r/a" }, "x").await?;
    }
    let counted = ask(&node, &["count", "--since", "earliest", "--output", "json"]).await?.expect(0)?;
    assert_eq!((&counted.values()?[0]["count"], &counted.values()?[0]["scanned"]), (&25.into(), &25.into()));
    let found =
        ask(&node, &["find", "--since", "earliest", "--match", "endpoint=b", "--output", "json"]).await?;
    assert_eq!(found.expect(0)?.values()?.len(), 1);
    let undecided = ask(&node, &["verify", "--since", "earliest", "--exactly", "25"]).await?.expect(1)?;
    assert!(
        undecided.stderr.contains("incomplete") && undecided.stderr.contains("hint:"),
        "{}",
        undecided.stderr
    );
    Ok(())
}

async fn claims_that_hold_end_with_0_and_others_with_1() -> TestResult {
    let (node, ids) = node_with_keys().await?;
    let asked = async |arguments: &[&str]| {
        ask(&node, &[&["verify", "shop", "--since", "earliest"], arguments].concat()).await
    };
    let order = ["--in-order", "json.$.step=created", "--in-order", "json.$.step=sent"];
    let holds =
        asked(&[&["--exactly", "3", "--spacing-most", "1h"], &order[..]].concat()).await?.expect(0)?;
    assert_eq!(holds.stdout.lines().filter(|line| line.starts_with("yes")).count(), 3, "{}", holds.stdout);
    assert_eq!(holds.stderr, "satisfied: 3 captures looked at\n");

    asked(&[&order[..], &["--no-others"]].concat()).await?.expect(1)?;
    asked(&["--spacing-least", "1h"]).await?.expect(1)?;
    asked(&["--match", "header.idempotency-key=b", "--unique-by", "header.idempotency-key"])
        .await?
        .expect(0)?;
    let broken = asked(&["--unique-by", "header.idempotency-key", "--at-least", "1"]).await?.expect(1)?;
    assert!(broken.stderr.contains("failed: 1 of 2 claims do not hold\n  unique_by: "), "{}", broken.stderr);
    assert!(broken.stderr.contains(&ids[2]), "{}", broken.stderr);
    let json = asked(&["--unique-by", "json.$.step", "--output", "json"]).await?.expect(0)?;
    assert_eq!(json.values()?[0]["claims"][0]["holds"], true);
    Ok(())
}

async fn claims_come_from_a_file_too() -> TestResult {
    let (node, _) = node_with_keys().await?;
    let claims = "
since: earliest
endpoint: shop
expressions:
  paid: json.$.step=paid
claims:
  - name: one is paid
    match: {ref: paid}
    count: {exactly: 1}
";
    let yaml = file("claims.yaml", claims)?;
    let done = ask(&node, &["verify", "-f", &yaml]).await?.expect(0)?;
    assert!(done.stdout.contains("yes    one is paid  1"), "{}", done.stdout);
    // What flags say stands above it, and their claims are added.
    ask(&node, &["verify", "else", "-f", &yaml]).await?.expect(1)?;
    let more = ask(&node, &["verify", "-f", &yaml, "--at-most", "2"]).await?.expect(1)?;
    assert!(more.stderr.contains("1 of 2 claims do not hold"), "{}", more.stderr);
    let json = file("claims.json", r#"{"since":"earliest","claims":[{"count":{"exactly":3}}]}"#)?;
    ask(&node, &["verify", "-f", &json]).await?.expect(0)?;
    Ok(())
}

async fn wrong_usage_of_inquiries_ends_with_2() -> TestResult {
    let node = Node::builder().start().await?;
    let (broken, list) = (file("a.yaml", "claims: [")?, file("b.json", "[]")?);
    for (arguments, told) in [
        (&["count"][..], "--since earliest"),
        (&["find", "--since", "earliest", "--until", "tomorrow"], "until"),
        (&["verify", "--since", "earliest"], "nothing is claimed"),
        (&["verify", "--since", "earliest", "--unique-by", "cookie.a"], "header.idempotency-key"),
        (&["verify", "--since", "earliest", "--no-others", "--exactly", "1"], "--in-order"),
        (&["verify", "-f", &broken], "is no YAML"),
        (&["verify", "-f", &list], "is no object"),
        (&["verify", "-f", "/no/such/file"], "or `-` for stdin"),
    ] {
        let done = ask(&node, arguments).await?.expect(2)?;
        assert_eq!(done.stdout, "", "{arguments:?}");
        assert!(done.stderr.contains(told), "{arguments:?}: {}", done.stderr);
    }
    Ok(())
}
