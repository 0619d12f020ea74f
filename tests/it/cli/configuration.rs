//! `creel apply`, `config`, `export` and `completions`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

use super::{ask, file, run};
use crate::harness::node::{Node, creel};
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_document_is_applied_and_what_changes_is_told,
            a_document_that_is_refused_ends_with_1_and_changes_nothing,
            a_document_comes_by_stdin_too,
            captures_are_exported_so_that_they_can_be_sent_again,
            exports_say_which_captures,
            completions_are_what_their_shell_reads;
    }
}

const DOCUMENT: &str = "
endpoints:
  - code: shop
    name: Shop
rules:
  - name: teapot
    match: {at: method, equals: BREW}
    reply: {status: 418}
";

async fn a_document_is_applied_and_what_changes_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let document = file("creel.yaml", DOCUMENT)?;
    let dry = ask(&node, &["apply", "-f", &document, "--dry-run"]).await?.expect(0)?;
    assert!(dry.stdout.contains("+ endpoint shop (created)\n    + name: Shop\n"), "{}", dry.stdout);
    assert!(dry.stderr.contains("would change 2"), "{}", dry.stderr);
    assert_eq!(ask(&node, &["rules", "list"]).await?.expect(0)?.stdout.lines().count(), 1, "nothing is done");

    let applied = ask(&node, &["apply", "-f", &document]).await?.expect(0)?;
    assert_eq!(applied.stdout, "+ endpoint shop (created)\n+ rule teapot (created)\n");
    assert_eq!(applied.stderr, "changed 2, and left 0 as they are\n");
    let again = ask(&node, &["apply", "-f", &document]).await?.expect(0)?;
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", "changed 0, and left 2 as they are\n"));
    assert_eq!(node.request("BREW", "/r/a", "").await?.status, 418);

    let changed = file("changed.yaml", &DOCUMENT.replace("418", "429").replace("name: Shop", "name: Store"))?;
    let dry = ask(&node, &["apply", "-f", &changed, "--dry-run"]).await?.expect(0)?;
    for text in
        ["~ rule teapot (changed)\n", "    -   status: 418\n    +   status: 429\n", "    - name: Shop\n"]
    {
        assert!(dry.stdout.contains(text), "{text}: {}", dry.stdout);
    }
    let json = ask(&node, &["apply", "-f", &changed, "--dry-run", "--output", "json"]).await?.expect(0)?;
    assert_eq!(json.values()?[0]["changes"][0]["before"]["name"], "Shop");

    let fewer = file("fewer.json", r#"{"endpoints":[{"code":"shop","name":"Shop"}]}"#)?;
    let kept = ask(&node, &["apply", "-f", &fewer]).await?.expect(0)?;
    assert_eq!(kept.stdout, "");
    let pruned = ask(&node, &["apply", "-f", &fewer, "--prune"]).await?.expect(0)?;
    assert_eq!(pruned.stdout, "- rule teapot (removed)\n");

    // What is printed can be applied.
    for output in ["yaml", "json"] {
        let config = ask(&node, &["config", "--output", output]).await?.expect(0)?;
        let printed = file("printed", &config.stdout)?;
        assert_eq!(ask(&node, &["apply", "-f", &printed, "--prune"]).await?.expect(0)?.stdout, "");
    }
    Ok(())
}

async fn a_document_that_is_refused_ends_with_1_and_changes_nothing() -> TestResult {
    let node = Node::builder().start().await?;
    for (text, told) in [
        (DOCUMENT.replace("method", "nowhere"), "rules/0/match/at"),
        (DOCUMENT.replace("endpoints:", "endpoint:"), "there are `endpoints` and `rules`"),
        ("rules: [".to_owned(), "YAML"),
        ("{".to_owned(), "status 400"),
    ] {
        let document = file("creel.yaml", &text)?;
        let done = ask(&node, &["apply", "-f", &document]).await?.expect(1)?;
        assert_eq!(done.stdout, "");
        assert!(done.stderr.contains(told), "{told}: {}", done.stderr);
    }
    assert_eq!(
        ask(&node, &["config", "--output", "json"]).await?.expect(0)?.stdout,
        "{\"endpoints\":[],\"rules\":[]}\n"
    );
    ask(&node, &["apply", "-f", "/no/such/file"]).await?.expect(2)?;
    ask(&node, &["apply"]).await?.expect(2)?;
    Ok(())
}

async fn a_document_comes_by_stdin_too() -> TestResult {
    let node = Node::builder().start().await?;
    let mut command = creel();
    command.args(["apply", "-f", "-", "--url", &node.url("")]);
    let done = with_input(command, DOCUMENT.as_bytes())?;
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(ask(&node, &["rules", "list"]).await?.expect(0)?.stdout.lines().count(), 2);
    Ok(())
}

/// Runs a command to its end with this on stdin.
fn with_input(mut command: Command, input: &[u8]) -> TestResult<std::process::Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().ok_or("no stdin")?.write_all(input)?;
    Ok(child.wait_with_output()?)
}

async fn captures_are_exported_so_that_they_can_be_sent_again() -> TestResult {
    let node = Node::builder().start().await?;
    let first = node.post("/r/a/one?x='1'", "it's").await?;
    let second = node.post("/r/b", [0xff, 0x00, 0x80]).await?;
    let curl = ask(&node, &["export", "--format", "curl", &first, &second]).await?.expect(0)?;
    assert!(curl.stdout.contains("/r/a/one?x="), "{}", curl.stdout);
    let mut shell = Command::new("sh");
    shell.arg("-n");
    assert!(with_input(shell, &curl.data)?.status.success(), "{}", curl.stdout);

    let http = ask(&node, &["export", "--format", "http", &first]).await?.expect(0)?;
    assert!(http.stdout.starts_with("POST /r/a/one?x='1' HTTP/1.1\r\n"), "{}", http.stdout);
    assert!(http.stdout.ends_with("\r\n\r\nit's"), "{}", http.stdout);
    let lines = ask(&node, &["export", "--format", "ndjson", &second, &first]).await?.expect(0)?;
    let lines: Vec<_> = lines.values()?.iter().map(|capture| capture["id"].clone()).collect();
    assert_eq!(lines, [second.as_str(), first.as_str()]);
    let some =
        ask(&node, &["export", "--format", "curl", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33", &first]).await?;
    assert!(some.expect(1)?.stdout.contains("/r/a/one"), "the others are exported all the same");
    Ok(())
}

async fn exports_say_which_captures() -> TestResult {
    let node = Node::builder().start().await?;
    let ids = [node.post("/r/a", "1").await?, node.post("/r/a-b", "2").await?, node.post("/r/c", "3").await?];
    for (arguments, expected) in [
        (&["--endpoint", "a"][..], &ids[..1]),
        (&["--endpoint", "a*"], &ids[..2]),
        (&["--endpoint", "a", "--endpoint", "a-b", "--limit", "1"], &ids[..1]),
        (&["--since", "1h"], &ids[..]),
        (&["--match", "body=2"], &ids[1..2]),
    ] {
        let done = ask(&node, &[&["export", "--format", "ndjson"], arguments].concat()).await?.expect(0)?;
        let found: Vec<_> = done.values()?.iter().map(|capture| capture["id"].clone()).collect();
        assert_eq!(found, expected, "{arguments:?}");
    }
    for arguments in [
        &["export"][..],
        &["export", "--format", "curl"],
        &["export", "--format", "curl", "--endpoint", "a", &ids[0]],
        &["export", "--format", "xml", &ids[0]],
    ] {
        ask(&node, arguments).await?.expect(2)?;
    }
    Ok(())
}

async fn completions_are_what_their_shell_reads() -> TestResult {
    for shell in ["bash", "zsh", "fish"] {
        let done = run(&["completions", shell], &[]).await?.expect(0)?;
        assert!(done.stdout.contains("runs") && done.stdout.contains("junit"), "{shell}");
        assert_eq!(done.stderr, "");
        let mut check = Command::new(shell);
        check.arg("-n");
        match with_input(check, &done.data) {
            Ok(read) => assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr)),
            // Bash is everywhere where tests run; the others are tried where they are.
            Err(error) => assert_ne!(shell, "bash", "{error}"),
        }
    }
    run(&["completions", "tcsh"], &[]).await?.expect(2)?;
    run(&["completions"], &[]).await?.expect(2)?;
    Ok(())
}
