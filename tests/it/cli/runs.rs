//! `creel runs`: from opening to closing, as a job in a pipeline does it.

use libtest_mimic::Trial;

use super::{Done, ask, file, run};
use crate::harness::node::Node;
use crate::harness::ports::free_port;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_run_is_opened_asked_and_closed,
            a_run_with_a_token_of_its_own_is_closed_by_it,
            a_run_that_cannot_be_opened_leaves_a_shell_without_one,
            what_cannot_be_done_to_a_run_is_told;
    }
}

const TOKEN: &str = "a-token-of-twenty-letters-and-more";

/// The variables that a shell would take over.
fn exported(done: &Done) -> TestResult<Vec<(String, String)>> {
    let line = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
    };
    let lines = done.stdout.lines().map(|text| line(text).ok_or_else(|| format!("no export: {text}").into()));
    lines.collect()
}

async fn a_run_is_opened_asked_and_closed() -> TestResult {
    let node = Node::builder().start().await?;
    let rules = file(
        "rules.yaml",
        "rules:\n  - name: teapot\n    match: {at: method, equals: BREW}\n    reply: {status: 418}\n",
    )?;
    let open = ["runs", "open", "nightly", "--label", "branch=main", "--rules", &rules, "--output", "json"];
    let opened = ask(&node, &open).await?.expect(0)?.values()?.remove(0);
    let (id, prefix) = (opened["id"].as_str().ok_or("no id")?, opened["prefix"].as_str().ok_or("no prefix")?);
    assert_eq!((opened["labels"]["branch"].as_str(), opened["token"].as_str()), (Some("main"), None));
    assert_eq!(node.request("BREW", &format!("/r/{prefix}hook"), "").await?.status, 418);
    node.post("/r/hook", "of nobody").await?;
    let caught = node.post(&format!("/r/{prefix}hook"), "paid").await?;

    let waited = ask(&node, &["wait", "hook", "--run", id, "--match", "body=paid", "--name", "is paid"])
        .await?
        .expect(0)?;
    assert!(waited.stdout.contains(&caught), "{}", waited.stdout);
    let url = node.url("");
    let variables = [("CREEL_URL", url.as_str()), ("CREEL_RUN", id)];
    run(&["verify", "--exactly", "2", "--name", "two"], &variables).await?.expect(0)?;
    assert_eq!(run(&["count", "hook"], &variables).await?.expect(0)?.stdout, "2\n");
    // All that name endpoints know the run.
    for arguments in [
        &["captures", "list", "--method", "POST", "--endpoint", "hook", "--output", "json"][..],
        &["listen", "hook", "--since", "10m", "--match", "method=POST", "--limit", "1", "--output", "json"],
        &[
            "replay",
            "--endpoint",
            "hook",
            "--filter",
            "method=POST",
            "--to",
            &url,
            "--dry-run",
            "--output",
            "json",
        ],
    ] {
        let done = run(arguments, &variables).await?.expect(0)?;
        assert!(
            done.stdout.contains(&caught) && !done.stdout.contains("BREW"),
            "{arguments:?}: {}",
            done.stdout
        );
    }
    let elsewhere =
        run(&["captures", "list", "--endpoint", "hook", "--run", ""], &variables).await?.expect(0)?;
    assert_eq!(elsewhere.stdout.lines().count(), 2, "{}", elsewhere.stdout);
    let listed = run(&["captures", "list"], &variables).await?.expect(0)?;
    assert!(listed.stdout.contains("BREW") && listed.stdout.lines().count() == 3, "{}", listed.stdout);
    let shown = run(&["runs", "show"], &variables).await?.expect(0)?;
    assert!(shown.stdout.contains("nightly") && shown.stdout.contains("branch=main"), "{}", shown.stdout);
    let listed = ask(&node, &["runs", "list", "--state", "open"]).await?.expect(0)?;
    assert!(listed.stdout.contains(id) && listed.stdout.starts_with("ID"), "{}", listed.stdout);
    let summary = run(&["runs", "summary"], &variables).await?.expect(0)?;
    assert!(summary.stdout.contains("verifications: 2 made, 2 passed, 0 failed"), "{}", summary.stdout);

    run(&["verify", "--exactly", "3", "--name", "three"], &variables).await?.expect(1)?;
    // A report that cannot be written leaves the run open.
    let nowhere = run(&["runs", "close", "--junit", "/no/such/folder/a.xml"], &variables).await?.expect(1)?;
    assert!(nowhere.stderr.contains("failed to write"), "{}", nowhere.stderr);
    let open = run(&["runs", "show", "--output", "json"], &variables).await?.expect(0)?.values()?;
    assert_eq!(open[0]["state"], "open");
    let report = format!("{}.xml", file("report", "")?);
    let closed = run(&["runs", "close", "--junit", &report], &variables).await?.expect(1)?;
    assert!(closed.stderr.contains("1 of 3 verifications in the run failed"), "{}", closed.stderr);
    assert!(
        closed.stdout.contains("2 captures") && closed.stdout.contains("failed  verify  three"),
        "{}",
        closed.stdout
    );
    let xml = std::fs::read_to_string(&report)?;
    let document = roxmltree::Document::parse(&xml)?;
    let cases: Vec<_> = document
        .descendants()
        .filter(|it| it.has_tag_name("testcase"))
        .map(|it| it.attribute("name"))
        .collect();
    assert_eq!(cases, [Some("is paid"), Some("two"), Some("three")]);
    // What is asked now is not recorded, and that is told.
    let late = run(&["verify", "--exactly", "2"], &variables).await?;
    assert!(late.stderr.contains("the run nightly is closed"), "{}", late.stderr);
    let late = run(&["wait", "--timeout", "0s"], &variables).await?;
    assert!(late.stderr.contains("the run nightly is closed"), "{}", late.stderr);
    // Again, it is as it was.
    let again = ask(&node, &["runs", "close", id, "--output", "json"]).await?.expect(1)?;
    assert_eq!(again.values()?[0]["captures"]["total"], 2);
    assert!(
        ask(&node, &["runs", "summary", id, "--output", "junit"])
            .await?
            .expect(0)?
            .stdout
            .starts_with("<?xml")
    );

    assert_eq!(ask(&node, &["runs", "rm", id]).await?.expect(0)?.stderr, format!("removed {id}\n"));
    let gone = ask(&node, &["runs", "show", id]).await?.expect(1)?;
    assert_eq!(gone.stdout, "");
    Ok(())
}

async fn a_run_with_a_token_of_its_own_is_closed_by_it() -> TestResult {
    let node = Node::builder().setting("auth.tokens", TOKEN).start().await?;
    let url = node.url("");
    let ours = [("CREEL_URL", url.as_str()), ("CREEL_TOKEN", TOKEN)];
    let open =
        ["runs", "open", "it's", "--ttl", "10m", "--with-token", "--remove-captures", "--output", "env"];
    let opened = run(&open, &ours).await?.expect(0)?;
    let exported = exported(&opened)?;
    let assigned = run(&["runs", "open", "b", "--output", "dotenv"], &ours).await?.expect(0)?.stdout;
    let assigned: Vec<&str> = assigned.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    assert_eq!(assigned, ["CREEL_RUN", "CREEL_RUN_PREFIX", "CREEL_RUN_URL"]);
    let names: Vec<&str> = exported.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["CREEL_RUN", "CREEL_TOKEN", "CREEL_RUN_PREFIX", "CREEL_RUN_URL"]);
    assert_eq!(opened.stderr, "");
    let mut variables: Vec<_> =
        exported.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    variables.push(("CREEL_URL", &url));

    node.http().post(format!("{}hook", variables[3].1)).body("paid").send().await?.error_for_status()?;
    run(&["wait", "hook", "--timeout", "10s"], &variables).await?.expect(0)?;
    run(&["captures", "list"], &variables).await?.expect(0)?;
    let report = format!("{}.xml", file("report", "")?);
    let closed = run(&["runs", "close", "--junit", &report], &variables).await?.expect(0)?;
    assert!(closed.stdout.contains("1 made, 1 passed, 0 failed"), "{}", closed.stdout);
    assert!(std::fs::read_to_string(&report)?.contains("tests=\"1\" failures=\"0\""));
    // What it was opened with is over.
    let over = run(&["captures", "list"], &variables).await?.expect(3)?;
    assert!(over.stderr.contains("The token is not good there") && over.stderr.contains("ends with its run"));
    let left = run(&["captures", "list", "--output", "json"], &ours).await?.expect(0)?;
    assert_eq!(left.stdout, "");
    Ok(())
}

async fn a_run_that_cannot_be_opened_leaves_a_shell_without_one() -> TestResult {
    let unset = "unset CREEL_RUN CREEL_RUN_PREFIX CREEL_RUN_URL; false\n";
    let nobody = format!("http://127.0.0.1:{}", free_port());
    for (arguments, code) in [
        (&["runs", "open", "a", "--url", &nobody, "--output", "env"][..], 3),
        (&["runs", "open", "a", "--url", "ftp://a", "--output", "env"], 2),
        (&["runs", "open", "--output=env"], 2),
    ] {
        let done = run(arguments, &[]).await?.expect(code)?;
        assert_eq!(done.stdout, unset, "{arguments:?}");
        assert!(!done.stderr.is_empty(), "{arguments:?}");
    }
    let script = format!("CREEL_RUN=old; eval \"{unset}\"; echo \"$? ${{CREEL_RUN-none}}\"");
    let shell = std::process::Command::new("sh").args(["-c", &script]).output()?;
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "1 none\n");
    assert_eq!(run(&["runs", "open", "--output", "dotenv"], &[]).await?.expect(2)?.stdout, "");
    let node = Node::builder().start().await?;
    let url = node.url("");
    let opened = run(&["runs", "open", "a", "--output", "env", "--url", &url], &[]).await?.expect(0)?;
    assert_eq!(exported(&opened)?[0], ("CREEL_URL".to_owned(), url));
    Ok(())
}

async fn what_cannot_be_done_to_a_run_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let unknown = "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33";
    let wrong = file("rules.json", r#"{"rules":[{"name":"a","match":{"at":"nowhere"},"reply":{}}]}"#)?;
    for (arguments, code, told) in [
        (&["runs", "show"][..], 2, "CREEL_RUN"),
        (&["runs", "open"], 2, "<NAME>"),
        (&["runs", "open", "a", "--label", "b"], 2, "NAME=VALUE"),
        (&["runs", "open", "a", "--ttl", "8d"], 2, "1s to 7d is allowed"),
        (&["runs", "open", "a", "--with-token"], 2, "lock out"),
        (&["runs", "open", "a", "--rules", &wrong], 1, "config/rules/0"),
        (&["runs", "close", unknown], 1, "There is no such run"),
        (&["runs", "summary", unknown, "--output", "junit"], 1, "There is no such run"),
        (&["runs", "rm", unknown], 1, unknown),
    ] {
        let done = ask(&node, arguments).await?.expect(code)?;
        assert_eq!(done.stdout, "", "{arguments:?}");
        assert!(done.stderr.contains(told), "{arguments:?}: {}", done.stderr);
    }
    Ok(())
}
