//! `creel endpoints`, `rules` and `tokens`; and what all commands say that cannot reach a node, or may not.

use libtest_mimic::Trial;
use rustix::process::Signal;

use super::{LIMIT, ask, file, run, start};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::{Needs, TestResult, eventually, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            endpoints_are_declared_saved_shown_and_removed,
            rules_are_saved_shown_listed_and_removed,
            urls_of_a_node_that_listens_everywhere_are_those_it_was_asked_at,
            tokens_are_made_listed_and_revoked,
            a_listener_is_warned_of_what_its_token_is_not_for,
            who_cannot_reach_a_node_or_may_not_ends_with_3_and_a_hint;
    }
}

const TOKEN: &str = "a-token-of-twenty-letters-and-more";

async fn endpoints_are_declared_saved_shown_and_removed() -> TestResult {
    let node = Node::builder().start().await?;
    let made = ask(&node, &["endpoints", "new", "--output", "json"]).await?.expect(0)?.values()?.remove(0);
    assert_eq!(made["code"].as_str().map(str::len), Some(16), "{made}");
    ask(&node, &["endpoints", "new", "shop"]).await?.expect(0)?;
    let twice = ask(&node, &["endpoints", "new", "shop"]).await?.expect(1)?;
    assert!(twice.stderr.contains("it is there already"), "{}", twice.stderr);

    let settings = file("shop.yaml", "name: Shop\nbody_bytes_max: 1000\n")?;
    let saved = ask(&node, &["endpoints", "save", "shop", "-f", &settings]).await?.expect(0)?;
    assert!(saved.stdout.contains("name: Shop\n"), "{}", saved.stdout);
    // What is shown can be saved.
    let shown = ask(&node, &["endpoints", "show", "shop"]).await?.expect(0)?;
    let again = file("again.yaml", &shown.stdout)?;
    assert_eq!(
        ask(&node, &["endpoints", "save", "shop", "-f", &again]).await?.expect(0)?.stdout,
        shown.stdout
    );
    let wrong = file("wrong.yaml", "names: Shop\n")?;
    let refused = ask(&node, &["endpoints", "save", "shop", "-f", &wrong]).await?.expect(1)?;
    assert!(refused.stderr.contains("names"), "{}", refused.stderr);

    node.post("/r/shop", "hello").await?;
    eventually(super::LIMIT, "the total", || async {
        let listed =
            ask(&node, &["endpoints", "list", "--output", "json"]).await.and_then(|done| done.values());
        listed.is_ok_and(|all| all.iter().any(|one| one["code"] == "shop" && one["captures"] == 1))
    })
    .await;
    let table = ask(&node, &["endpoints", "list"]).await?.expect(0)?;
    assert!(table.stdout.starts_with("CODE") && table.stdout.lines().count() == 3, "{}", table.stdout);
    assert_eq!(
        ask(&node, &["endpoints", "list", "--limit", "1"]).await?.expect(0)?.stdout.lines().count(),
        2
    );
    assert_eq!(ask(&node, &["endpoints", "rm", "shop"]).await?.expect(0)?.stderr, "removed shop\n");
    ask(&node, &["endpoints", "rm", "shop"]).await?.expect(1)?;
    ask(&node, &["endpoints", "show", "shop"]).await?.expect(1)?;
    ask(&node, &["endpoints", "save", "shop"]).await?.expect(2)?;
    Ok(())
}

async fn rules_are_saved_shown_listed_and_removed() -> TestResult {
    let node = Node::builder().start().await?;
    let rule = file(
        "teapot.json",
        r#"{"match":{"at":"method","equals":"BREW"},"priority":7,"reply":{"status":418}}"#,
    )?;
    ask(&node, &["rules", "save", "tea/pot", "-f", &rule]).await?.expect(0)?;
    assert_eq!(node.request("BREW", "/r/a", "").await?.status, 418);
    let shown = ask(&node, &["rules", "show", "tea/pot", "--output", "json"]).await?.expect(0)?;
    assert_eq!(shown.values()?[0]["priority"], 7);
    let table = ask(&node, &["rules", "list"]).await?.expect(0)?;
    let row: Vec<&str> = table.stdout.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row, ["tea/pot", "yes", "7", "*", "418"]);
    assert_eq!(ask(&node, &["rules", "list", "--output", "json"]).await?.expect(0)?.values()?.len(), 1);

    let wrong = file("wrong.json", r#"{"match":{"at":"nowhere"},"reply":{}}"#)?;
    let refused = ask(&node, &["rules", "save", "b", "-f", &wrong]).await?.expect(1)?;
    assert!(refused.stderr.contains("/match/at"), "{}", refused.stderr);
    ask(&node, &["rules", "save", "b", "-f", &file("b.json", "{")?]).await?.expect(1)?;
    ask(&node, &["rules", "save", "b", "-f", "/no/such/file"]).await?.expect(2)?;
    // What goes into a file is what was saved.
    let turned = file("c.json", "{\"reply\":{\"body\":\"a\u{202e}b\"}}")?;
    ask(&node, &["rules", "save", "c", "-f", &turned]).await?.expect(0)?;
    let document = file("c.yaml", &ask(&node, &["rules", "show", "c"]).await?.expect(0)?.stdout)?;
    let again = ask(&node, &["rules", "save", "c", "-f", &document, "--output", "json"]).await?.expect(0)?;
    assert_eq!(again.values()?[0]["reply"]["body"], "a\u{202e}b");
    let some = ask(&node, &["rules", "rm", "none", "tea/pot"]).await?.expect(1)?;
    assert!(some.stderr.contains("none: ") && some.stderr.contains("removed tea/pot"), "{}", some.stderr);
    ask(&node, &["rules", "show", "tea/pot"]).await?.expect(1)?;
    Ok(())
}

async fn urls_of_a_node_that_listens_everywhere_are_those_it_was_asked_at() -> TestResult {
    let node = Node::builder().everywhere().setting("auth.mode", "none").start().await?;
    let declared = node.json("/api/endpoints").await?;
    assert_eq!(declared["url_prefix"], node.url("/r/"));
    let made =
        ask(&node, &["endpoints", "new", "shop", "--output", "json"]).await?.expect(0)?.values()?.remove(0);
    assert_eq!(made["url"], node.url("/r/shop"));
    let run = ask(&node, &["runs", "open", "a", "--output", "json"]).await?.expect(0)?.values()?.remove(0);
    let prefix = run["prefix"].as_str().ok_or("no prefix")?;
    assert_eq!(run["url_prefix"], node.url(&format!("/r/{prefix}")));
    ask(&node, &["send", "shop"]).await?.expect(0)?;
    let named = Node::builder()
        .everywhere()
        .setting("auth.mode", "none")
        .setting("server.public_url", "https://creel.example")
        .start()
        .await?;
    assert_eq!(named.json("/api/endpoints").await?["url_prefix"], "https://creel.example/r/");
    Ok(())
}

async fn tokens_are_made_listed_and_revoked() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let url = node.url("");
    let variables = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", TOKEN)];
    let order =
        ["tokens", "create", "--name", "CI", "--scope", "write", "--pattern", "ci-*", "--expires-in", "1h"];
    let made = run(&order, &variables).await?.expect(0)?;
    let secret = made.stdout.trim();
    assert!(secret.starts_with("creel_") && made.stdout.lines().count() == 1, "{}", made.stdout);
    assert!(
        made.stderr.starts_with("CI is not shown again") && !made.stderr.contains(secret),
        "{}",
        made.stderr
    );
    run(&["captures", "list"], &[("CREEL_URL", &url), ("CREEL_TOKEN", secret)]).await?.expect(0)?;

    let listed = run(&["tokens", "list"], &variables).await?.expect(0)?;
    assert!(listed.stdout.contains("ci-*") && !listed.stdout.contains(secret), "{}", listed.stdout);
    let listed = run(&["tokens", "list", "--output", "json"], &variables).await?.expect(0)?;
    let id = listed.values()?[0]["id"].as_str().unwrap_or_default().to_owned();
    run(&["tokens", "revoke", &id], &variables).await?.expect(0)?;
    run(&["tokens", "revoke", &id], &variables).await?.expect(1)?;
    run(&["captures", "list"], &[("CREEL_URL", &url), ("CREEL_TOKEN", secret)]).await?.expect(3)?;
    let json =
        run(&["tokens", "create", "--name", "b", "--scope", "read", "--output", "json"], &variables).await?;
    assert!(json.expect(0)?.values()?[0]["token"].is_string());
    run(&["tokens", "create", "--name", "b", "--scope", "owner"], &variables).await?.expect(2)?;
    Ok(())
}

async fn who_cannot_reach_a_node_or_may_not_ends_with_3_and_a_hint() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let (url, nowhere) = (node.url(""), format!("http://127.0.0.1:{}", free_port()));
    let document = file("empty.yaml", "rules: []\n")?;
    let id = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    for arguments in [
        &["wait", "--since", "now"][..],
        &["wait", "--since", "earliest"],
        &["verify", "--since", "earliest", "--exactly", "0"],
        &["count", "--since", "earliest"],
        &["find", "--since", "earliest"],
        &["runs", "open", "a"],
        &["runs", "close", id],
        &["endpoints", "list"],
        &["rules", "save", "a", "-f", &document],
        &["rules", "rm", "a"],
        &["tokens", "list"],
        &["apply", "-f", &document],
        &["config"],
        &["export", "--format", "curl", id],
    ] {
        let away = run(arguments, &[("CREEL_URL", &nowhere)]).await?.expect(3)?;
        assert!(
            away.stderr.contains("hint:") && away.stderr.contains("CREEL_URL"),
            "{arguments:?}: {}",
            away.stderr
        );
        let wrong = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", "quite-another-token-than-that-one")];
        let refused = run(arguments, &wrong).await?.expect(3)?;
        assert!(refused.stderr.contains("CREEL_TOKEN"), "{arguments:?}: {}", refused.stderr);
        assert!(!refused.stderr.contains(wrong[1].1), "{}", refused.stderr);
        assert_eq!((away.stdout, refused.stdout), (String::new(), String::new()), "{arguments:?}");
    }
    Ok(())
}

async fn a_listener_is_warned_of_what_its_token_is_not_for() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let url = node.url("");
    let ours = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", TOKEN)];
    let create = ["tokens", "create", "--name", "CI", "--scope", "read", "--pattern", "ci-*"];
    let made = run(&create, &ours).await?.expect(0)?;
    let theirs = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", made.stdout.trim())];
    let listener = start(&["listen", "shop", "ci-a", "s*"], &theirs)?;
    eventually(LIMIT, "a warning", || async { listener.talk().contains("the token is not for shop:") }).await;
    assert_eq!(listener.end_with(Signal::INT, LIMIT).await?.code(), Some(0));
    assert_eq!(listener.talk().matches("the token is not for").count(), 1, "{}", listener.talk());
    Ok(())
}
