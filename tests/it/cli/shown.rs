//! How the command line looks: help and output as snapshots, colour for terminals alone.

use std::fs::File;
use std::io::Read as _;

use libtest_mimic::Trial;
use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{LIMIT, ask, run};
use crate::harness::node::Node;
use crate::harness::process::Process;
use crate::harness::target::{OK, Target};
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            help_is_as_it_was,
            output_is_as_it_was,
            colour_is_for_terminals_that_want_it,
            progress_is_shown_on_a_terminal,
            nothing_that_was_caught_acts_on_the_terminal;
    }
}

/// Holds a text against its snapshot in `snapshots/`. What is meant to change is taken over by
/// `INSTA_UPDATE=always cargo test --test it cli::shown`, and looked at in the diff.
fn check(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

async fn help_is_as_it_was() -> TestResult {
    for (name, arguments) in [
        ("help", &["--help"][..]),
        ("help-listen", &["listen", "--help"]),
        ("help-replay", &["replay", "--help"]),
        ("help-send", &["send", "--help"]),
        ("help-diff", &["diff", "--help"]),
        ("help-captures", &["captures", "--help"]),
        ("help-captures-list", &["captures", "list", "--help"]),
    ] {
        let done = run(arguments, &[("COLUMNS", "100")]).await?.expect(0)?;
        assert_eq!(done.stderr, "");
        check(name, &done.stdout);
    }
    Ok(())
}

/// Without what is another on each run.
fn steady(text: &str) -> TestResult<String> {
    let mut text = text.to_owned();
    for (pattern, name) in [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?", "<time>"),
        (r"(?m)^\d\d:\d\d:\d\d", "<clock>"),
        (r"127\.0\.0\.1:\d+", "<address>"),
        (r"\b\d+ ms", "<n> ms"),
        (r"\d+ s;", "<n> s;"),
        (r"(?m)200 +\d+ +0$", "200  <n>  0"),
        (r"MS +ANSWER", "MS  ANSWER"),
        (r"request <id>", "request <request>"),
    ] {
        text = Regex::new(pattern)?.replace_all(&text, name).into_owned();
    }
    Ok(text)
}

async fn output_is_as_it_was() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let first = node.post("/r/shop/orders?page=2", r#"{"paid":true,"sum":[1,2]}"#).await?;
    let second = node.post("/r/shop/orders", r#"{"paid":false,"sum":[1]}"#).await?;
    let url = target.url("/hooks");
    let mut text = String::new();
    for (arguments, code) in [
        (&["captures", "list"][..], 0),
        (&["captures", "show", &first], 0),
        (&["captures", "rm", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33"], 1),
        (&["listen", "--since", "earliest", "--limit", "2", "--forward", &url], 0),
        (&["replay", &first, &second, "--to", &url, "--dry-run"], 0),
        (&["replay", &first, &second, "--to", &url], 0),
        (&["diff", &first, &second], 1),
        (&["send", "shop", "-d", "x"], 0),
        (&["listen", "--since", "yesterday"], 2),
        (&["captures", "list", "--url", "http://127.0.0.1:9"], 3),
    ] {
        let done = ask(&node, arguments).await?.expect(code)?;
        let line = arguments.join(" ");
        text += &format!("$ creel {line}\n{}", done.stdout);
        text += &done.stderr.lines().map(|line| format!("! {line}\n")).collect::<String>();
        text += &format!("= {code}\n\n");
    }
    check("output", &steady(&text)?);
    Ok(())
}

/// What a command prints where stdout and stderr are a terminal.
async fn on_a_terminal(node: &Node, arguments: &str, variables: &'static str) -> TestResult<String> {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    rustix::io::ioctl_fionbio(&terminal, true)?;
    grantpt(&terminal)?;
    unlockpt(&terminal)?;
    let name = ptsname(&terminal, Vec::new())?.into_string()?;
    // Held open, so that what was printed stays there to be read.
    let _held = File::options().read(true).write(true).open(&name)?;
    let script = format!("{variables} \"$0\" {arguments} >\"$1\" 2>&1");
    let url = node.url("");
    let process = Process::new("terminal", crate::harness::workplace::new_folder("terminal")?, move || {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_creel"), &name]);
        command.env("CREEL_URL", &url).env_remove("NO_COLOR");
        command
    });
    process.launch()?;
    process.end(LIMIT).await;
    let mut printed = Vec::new();
    let mut piece = [0; 4096];
    let mut terminal = File::from(terminal);
    while let Ok(bytes) = terminal.read(&mut piece) {
        printed.extend_from_slice(&piece[..bytes]);
    }
    Ok(String::from_utf8(printed)?)
}

async fn colour_is_for_terminals_that_want_it() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a", "hello").await?;
    let arguments = format!("captures show {id}");
    assert!(on_a_terminal(&node, &arguments, "TERM=xterm").await?.contains("\u{1b}["));
    for variables in ["NO_COLOR=1 TERM=xterm", "TERM=dumb"] {
        let printed = on_a_terminal(&node, &arguments, variables).await?;
        assert!(printed.contains("hello") && !printed.contains('\u{1b}'), "{variables}: {printed:?}");
    }
    let failed = on_a_terminal(&node, "captures show nothing", "TERM=xterm").await?;
    assert!(failed.contains("\u{1b}[31mcreel:\u{1b}[0m"), "{failed:?}");
    Ok(())
}

async fn progress_is_shown_on_a_terminal() -> TestResult {
    let node = Node::builder().start().await?;
    let target = Target::start(OK).await?;
    let id = node.post("/r/a", "hello").await?;
    let arguments = format!("replay {id} {id} {id} --pace 200ms --to {}", target.url("/"));
    let printed = on_a_terminal(&node, &arguments, "TERM=xterm").await?;
    assert!(printed.contains("2/3") && printed.contains("3 answered 200"), "{printed:?}");
    Ok(())
}

async fn nothing_that_was_caught_acts_on_the_terminal() -> TestResult {
    let node = Node::builder().start().await?;
    let id = node.post("/r/a/%1b%5b2J", "\u{1b}]0;title\u{7}\u{9b}2J\u{202e}").await?;
    for arguments in [
        format!("captures show {id}"),
        format!("captures show {id} --output raw"),
        format!("captures show {id} --output body"),
        "listen --since earliest --limit 1 --output raw".to_owned(),
        "captures list".to_owned(),
    ] {
        let printed = on_a_terminal(&node, &arguments, "NO_COLOR=1").await?;
        assert!(!printed.is_empty(), "{arguments}");
        let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
        assert!(!printed.contains(acts) && !printed.contains('\u{202e}'), "{arguments}: {printed:?}");
    }
    Ok(())
}
