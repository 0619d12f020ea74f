//! How the command line looks: help and output as snapshots, colour for terminals alone.

use std::fs::File;
use std::io::Read as _;

use libtest_mimic::Trial;
use regex::Regex;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{LIMIT, ask, file, run};
use crate::harness::node::Node;
use crate::harness::process::Process;
use crate::harness::target::{OK, Target};
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            help_is_as_it_was,
            output_is_as_it_was,
            output_for_pipelines_is_as_it_was,
            progress_is_for_terminals_alone,
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

/// Every command's, those below others too: found by what the help above lists.
async fn help_is_as_it_was() -> TestResult {
    let mut left = vec![Vec::new()];
    let mut shown = 0;
    while let Some(command) = left.pop() {
        let arguments: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
        let done = run(&arguments, &[("COLUMNS", "100")]).await?.expect(0)?;
        assert_eq!(done.stderr, "");
        let name: String = command.iter().map(|part| format!("-{part}")).collect();
        check(&format!("help{name}"), &done.stdout);
        shown += 1;
        for part in commands(&done.stdout) {
            left.push([command.as_slice(), &[part]].concat());
        }
    }
    assert!(shown > 40, "only {shown} commands were found");
    Ok(())
}

/// The commands that a help lists; each stands behind two blanks.
fn commands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, behind)| behind);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    let names = lines.filter_map(|line| {
        let line = line.strip_prefix("  ")?;
        let is_name = line.starts_with(|letter: char| letter.is_ascii_lowercase());
        line.split(' ').next().filter(|name| is_name && *name != "help")
    });
    names.map(str::to_owned).collect()
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
    let commands = [
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
    ];
    check("output", &steady(&transcript(&node, &commands).await?)?);
    Ok(())
}

/// What commands print, say and end with, one after the other.
async fn transcript(node: &Node, commands: &[(&[&str], i32)]) -> TestResult<String> {
    let mut text = String::new();
    for (arguments, code) in commands {
        let done = ask(node, arguments).await?.expect(*code)?;
        let line = arguments.join(" ");
        text += &format!("$ creel {line}\n{}", done.stdout);
        text += &done.stderr.lines().map(|line| format!("! {line}\n")).collect::<String>();
        text += &format!("= {code}\n\n");
    }
    Ok(text)
}

async fn output_for_pipelines_is_as_it_was() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/shop/orders?page=2", r#"{"paid":true,"key":1}"#).await?;
    node.post("/r/shop/orders", r#"{"paid":false,"key":1}"#).await?;
    let rule = "rules:\n  - name: teapot\n    match: {at: method, equals: BREW}\n    reply: {status: 418}\n";
    let (rules, changed) = (file("rules.yaml", rule)?, file("rules.yaml", &rule.replace("418", "429"))?);
    let wrong = file("rules.yaml", &rule.replace("method", "nowhere"))?;
    let commands = [
        (&["wait", "shop", "--since", "earliest", "--at-least", "2"][..], 0),
        (
            &[
                "wait",
                "shop",
                "--since",
                "earliest",
                "--match",
                "method=POST json.$.paid=1",
                "--timeout",
                "0s",
            ],
            1,
        ),
        (&["wait", "else", "--since", "earliest", "--timeout", "0s"], 1),
        (&["wait", "shop"], 2),
        (&["count", "shop", "--since", "earliest", "--match", "json.$.paid=true"], 0),
        (&["find", "shop", "--since", "earliest", "--newest", "--limit", "1"], 0),
        (&["verify", "shop", "--since", "earliest", "--exactly", "2", "--unique-by", "json.$.key"], 1),
        (&["apply", "-f", &rules], 0),
        (&["apply", "-f", &changed, "--dry-run"], 0),
        (&["apply", "-f", &wrong], 1),
        (&["rules", "list"], 0),
        (&["config"], 0),
        (&["tokens", "list"], 0),
        (&["runs", "show"], 2),
    ];
    let text = steady(&transcript(&node, &commands).await?)?;
    let text = Regex::new(r"-f \S+/")?.replace_all(&text, "-f ");
    let text = Regex::new(r"after \d+\.\d s")?.replace_all(&text, "after <n> s");
    check("output-pipelines", &text);
    Ok(())
}

async fn progress_is_for_terminals_alone() -> TestResult {
    let node = Node::builder().start().await?;
    let arguments = "wait --since earliest --timeout 1s";
    let shown = on_a_terminal(&node, arguments, "TERM=xterm").await?;
    assert!(shown.contains("waiting for at least 1") && shown.contains("timeout: "), "{shown:?}");
    let piped = ask(&node, &arguments.split(' ').collect::<Vec<_>>()).await?.expect(1)?;
    assert!(!piped.stderr.contains("waiting for"), "{}", piped.stderr);
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
    let document = file("rules.yaml", "rules: [{name: a, reply: {status: 418}}]\n")?;
    let dry_run = format!("apply --dry-run -f {document}");
    assert!(on_a_terminal(&node, &dry_run, "TERM=xterm").await?.contains("\u{1b}[32m+ rule a (created)"));
    assert!(!on_a_terminal(&node, &dry_run, "NO_COLOR=1 TERM=xterm").await?.contains('\u{1b}'));
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
        "captures list --output json".to_owned(),
        format!("captures show {id} --output json"),
        format!("export {id} --format ndjson"),
        "listen --since earliest --limit 1 --output json".to_owned(),
    ] {
        let printed = on_a_terminal(&node, &arguments, "NO_COLOR=1").await?;
        assert!(!printed.is_empty(), "{arguments}");
        let acts = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t');
        assert!(!printed.contains(acts) && !printed.contains('\u{202e}'), "{arguments}: {printed:?}");
    }
    Ok(())
}
