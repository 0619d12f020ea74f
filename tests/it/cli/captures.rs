//! `creel captures`: what was caught is listed, shown and removed; failures say what to do next.

use libtest_mimic::Trial;

use super::{ask, run};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::{Needs, TestResult, trials};

const TOKEN: &str = "a-token-of-twenty-letters-and-more";

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            captures_are_listed_shown_and_removed,
            a_node_that_is_not_there_ends_with_3_and_a_hint,
            a_wrong_token_ends_with_3_and_is_never_shown,
            wrong_usage_ends_with_2,
            flags_stand_where_they_belong;
    }
}

async fn captures_are_listed_shown_and_removed() -> TestResult {
    let node = Node::builder().start().await?;
    let first = node.post("/r/a/one?x=1", "hello").await?;
    let second = node.post("/r/a/two", [0xff, 0x00, 0x80]).await?;
    node.captures_of("a", 2).await;

    let listed = ask(&node, &["captures", "list", "--oldest", "--output", "json"]).await?.expect(0)?;
    let ids: Vec<_> = listed.values()?.iter().map(|capture| capture["id"].clone()).collect();
    assert_eq!(ids, [first.as_str(), second.as_str()]);
    let table = ask(&node, &["captures", "list", "--limit", "1"]).await?.expect(0)?;
    assert!(table.stdout.starts_with("RECEIVED"), "{}", table.stdout);
    assert!(table.stdout.contains(&second) && !table.stdout.contains(&first), "{}", table.stdout);
    assert_eq!(table.stderr, "");

    let shown = ask(&node, &["captures", "show", &first]).await?.expect(0)?;
    assert!(shown.stdout.contains("POST /r/a/one?x=1") && shown.stdout.contains("hello"), "{}", shown.stdout);
    assert!(!shown.stdout.contains('\u{1b}'), "colour where there is no terminal: {}", shown.stdout);
    let body = ask(&node, &["captures", "show", &second, "--output", "body"]).await?.expect(0)?;
    assert_eq!(body.data, [0xff, 0x00, 0x80]);
    let raw = ask(&node, &["captures", "show", &first, "--output", "raw"]).await?.expect(0)?;
    assert!(raw.stdout.starts_with("POST /r/a/one?x=1 HTTP/1.1\r\n"), "{}", raw.stdout);
    assert!(raw.stdout.ends_with("\r\n\r\nhello"), "{}", raw.stdout);

    let gone = ask(&node, &["captures", "rm", &first]).await?.expect(0)?;
    assert_eq!((gone.stdout.as_str(), gone.stderr), ("", format!("removed {first}\n")));
    let missing = ask(&node, &["captures", "rm", &first, &second]).await?.expect(1)?;
    assert!(missing.stderr.contains("There is no such capture"), "{}", missing.stderr);
    assert!(missing.stderr.contains(&format!("removed {second}")), "{}", missing.stderr);
    ask(&node, &["captures", "show", &first]).await?.expect(1)?;
    Ok(())
}

async fn a_node_that_is_not_there_ends_with_3_and_a_hint() -> TestResult {
    let url = format!("http://127.0.0.1:{}", free_port());
    let done = run(&["captures", "list", "--url", &url], &[]).await?.expect(3)?;
    assert_eq!(done.stdout, "");
    assert!(done.stderr.contains(&url) && done.stderr.contains("Connection refused"), "{}", done.stderr);
    assert!(done.stderr.contains("CREEL_URL"), "{}", done.stderr);
    Ok(())
}

async fn a_wrong_token_ends_with_3_and_is_never_shown() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let wrong = "quite-another-token-than-that-one";
    for arguments in [
        &["captures", "list"][..],
        &["captures", "list", "--token", wrong],
        &["--token", wrong, "captures", "list"],
        &["captures", "list", "--token", "with\nline"],
    ] {
        let done = ask(&node, arguments).await?;
        let code = if arguments.contains(&"with\nline") { 2 } else { 3 };
        let done = done.expect(code)?;
        assert!(done.stderr.contains("CREEL_TOKEN"), "{}", done.stderr);
        assert!(!done.stderr.contains(wrong) && !done.stderr.contains("line\n"), "{}", done.stderr);
    }
    let url = node.url("");
    let variables = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", TOKEN)];
    run(&["captures", "list"], &variables).await?.expect(0)?;
    run(&["captures", "list"], &[("CREEL_URL", &url), ("CREEL_TOKEN", "")]).await?.expect(3)?;
    let help = run(&["captures", "list", "--help"], &variables).await?.expect(0)?;
    assert!(!help.stdout.contains(TOKEN), "{}", help.stdout);
    assert!(!node.log().contains(wrong));
    Ok(())
}

async fn wrong_usage_ends_with_2() -> TestResult {
    let node = Node::builder().start().await?;
    let nothing = ask(&node, &["captures", "rm"]).await?.expect(2)?;
    assert!(nothing.stderr.contains("--endpoint <CODE>"), "{}", nothing.stderr);
    for arguments in [
        &["captures"][..],
        &["captures", "rm"],
        &["captures", "list", "--limit", "0"],
        &["captures", "list", "--url", "localhost:9669"],
        &["captures", "list", "--from", "yesterday"],
        &["captures", "list", "--output", "xml"],
    ] {
        let done = ask(&node, arguments).await?.expect(2)?;
        assert_eq!(done.stdout, "", "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
    Ok(())
}

/// The node is named in front of the subcommand or behind it; a node's own flags are not taken in silence.
async fn flags_stand_where_they_belong() -> TestResult {
    let node = Node::builder().start().await?;
    let (url, nowhere) = (node.url(""), format!("http://127.0.0.1:{}", free_port()));
    run(&["--url", &url, "captures", "list"], &[("CREEL_URL", &nowhere)]).await?.expect(0)?;
    run(&["--url", &nowhere, "captures", "list", "--url", &url], &[]).await?.expect(0)?;
    for arguments in [
        &["--listen", "127.0.0.1:0", "captures", "list"][..],
        &["--url", &url, "migrate"],
        &["--url", &url],
        &["--database", "sqlite://a", "migrate"],
    ] {
        let done = run(arguments, &[]).await?.expect(2)?;
        assert!(done.stderr.contains("--"), "{}", done.stderr);
    }
    Ok(())
}
