//! A run, and what it came to, for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::terminal::{Ink, Terminal, plain_line};

/// Endpoints, and rules, that are shown; JSON has them all.
const ROWS_MAX: usize = 50;

/// A run's facts, a line each.
pub fn run(run: &Value, terminal: &Terminal) -> String {
    let facts = [
        ("name", "name"),
        ("id", "id"),
        ("state", "state"),
        ("prefix", "prefix"),
        ("url", "url_prefix"),
        ("opened", "opened"),
        ("expires", "expires"),
        ("closed", "closed"),
        ("token", "token"),
    ];
    let mut text = String::new();
    for (name, member) in facts {
        if let Some(value) = run[member].as_str() {
            fact(&mut text, terminal, name, &plain_line(value));
        }
    }
    for (name, value) in run["labels"].as_object().into_iter().flatten() {
        let label = format!("{name}={}", value.as_str().unwrap_or_default());
        fact(&mut text, terminal, "label", &plain_line(&label));
    }
    text
}

fn fact(text: &mut String, terminal: &Terminal, name: &str, value: &str) {
    writeln!(text, "{}  {value}", terminal.ink(Ink::Faint, &format!("{name:>8}"))).unwrap_or_default();
}

/// What a run came to.
pub fn text(summary: &Value, terminal: &Terminal) -> String {
    let mut text = run(&summary["run"], terminal);
    let captures = &summary["captures"];
    let all = format!("{} captures, {} bytes", captures["total"], captures["bytes"]);
    writeln!(text, "\n{}", terminal.ink(Ink::Strong, &all)).unwrap_or_default();
    counts(&mut text, &captures["by_endpoint"], "endpoint");
    writeln!(text, "{} that no rule answered", summary["unmatched"]).unwrap_or_default();
    counts(&mut text, &summary["rules"], "rule");
    let verifications = &summary["verifications"];
    let facts = ["made", "passed", "failed"].map(|name| format!("{} {name}", verifications[name]));
    let all = format!("verifications: {}", facts.join(", "));
    writeln!(text, "\n{}", terminal.ink(Ink::Strong, &all)).unwrap_or_default();
    for verification in verifications["list"].as_array().into_iter().flatten() {
        let (ink, word) = match verification["outcome"] == "passed" {
            true => (Ink::Good, "passed"),
            false => (Ink::Bad, "failed"),
        };
        let said = |member: &str| plain_line(verification[member].as_str().unwrap_or_default());
        let facts = [said("kind"), said("name"), said("why")];
        let facts: Vec<String> = facts.into_iter().filter(|fact| !fact.is_empty()).collect();
        writeln!(text, "  {}  {}", terminal.ink(ink, word), facts.join("  ")).unwrap_or_default();
    }
    text
}

/// How many captures each of these has.
fn counts(text: &mut String, list: &Value, member: &str) {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    for one in list.iter().take(ROWS_MAX) {
        let name = one[member].as_str().map_or_else(|| "(others)".to_owned(), plain_line);
        writeln!(text, "{:>8}  {name}", one["captures"]).unwrap_or_default();
    }
    if list.len() > ROWS_MAX {
        writeln!(text, "          and {} more", list.len() - ROWS_MAX).unwrap_or_default();
    }
}
