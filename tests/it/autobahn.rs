//! Autobahn's client cases (RFC 6455) against a capture socket in echo mode.
//!
//! Its runner is a program for Python 2.7, `wstest` of `autobahntestsuite`; `CREEL_TEST_WSTEST` names it,
//! where it is not in the path. Without it the trial is shown as ignored, and `sockets.rs` stands alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::node::Node;
use crate::harness::process::Process;
use crate::harness::{Needs, TestResult, trial, workplace};

/// All but those of round trips (9.7, 9.8), which check nothing, and of compression (12, 13), which is not offered. Most
/// cases wait for something that must not happen, so each lot has a runner of its own.
const LOTS: [&[&str]; 16] = [
    &["1.*"],
    &["2.*", "10.*"],
    &["3.*", "4.*"],
    &["5.1", "5.2", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.9", "5.10"],
    &["5.11", "5.12", "5.13", "5.14", "5.15", "5.16", "5.17", "5.18", "5.19", "5.20"],
    &["6.(1|2|3|4).*"],
    &["6.(5|6|7).*"],
    &["6.(8|9|10|11|12).*"],
    &["6.(13|14|15|16).*"],
    &["6.(17|18|19|20).*"],
    &["6.22.(1|2)*"],
    &["6.(21|23).*", "6.22.(3|4|5|6|7|8|9)*"],
    &["7.1.*", "7.3.*"],
    &["7.5.*", "7.7.1", "7.7.2", "7.7.3", "7.7.4", "7.7.5", "7.7.6"],
    &["7.7.7", "7.7.8", "7.7.9", "7.7.10", "7.7.11", "7.7.12", "7.7.13"],
    &["7.9.*", "7.13.*"],
];
/// Large messages. They take what there is of a machine, and the others wait for half a second at most.
const LARGE: [&[&str]; 3] = [&["9.1.*", "9.2.*"], &["9.3.*", "9.4.*"], &["9.5.*", "9.6.*"]];
const CASES: usize = 289;
const LIMIT: Duration = Duration::from_secs(150);

pub fn trials() -> Vec<Trial> {
    let path = concat!(module_path!(), "::autobahns_client_cases_pass");
    match wstest() {
        Some(program) => vec![trial(path, Needs::NOTHING, || autobahns_client_cases_pass(program))],
        None => {
            let name = path.split_once("::").map_or(path, |(_, name)| name);
            let absent = || Err("wstest is not installed (autobahntestsuite, Python 2.7)".into());
            vec![Trial::test(name, absent).with_kind("needs wstest").with_ignored_flag(true)]
        }
    }
}

fn wstest() -> Option<PathBuf> {
    let named = std::env::var_os("CREEL_TEST_WSTEST").map(PathBuf::from);
    let own = std::env::home_dir().map(|home| home.join(".cache/creel/tools/autobahn/bin/wstest"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("wstest"));
    named.into_iter().chain(own).chain(in_path).find(|program| program.is_file())
}

async fn autobahns_client_cases_pass(program: PathBuf) -> TestResult {
    let node = Node::builder()
        .setting("capture.websocket.echo", true)
        .setting("capture.websocket.message_bytes_max", 16 << 20)
        .start()
        .await?;
    let url = format!("ws://{}/r/autobahn", node.address());
    let mut results = BTreeMap::new();
    for lots in [LOTS.as_slice(), &LARGE] {
        let runners = lots.iter().map(|cases| run(&program, &url, cases)).collect::<TestResult<Vec<_>>>()?;
        for runner in &runners {
            runner.ended(LIMIT).await?;
            let index = std::fs::read(runner.folder().join("reports/index.json"))?;
            let mut index: BTreeMap<String, BTreeMap<String, Value>> = serde_json::from_slice(&index)?;
            results.append(index.get_mut("creel").ok_or("no results")?);
        }
    }
    assert_eq!(results.len(), CASES, "cases that were run");
    let good = ["OK", "NON-STRICT", "INFORMATIONAL"];
    let is_good = |result: &Value, key: &str| good.iter().any(|good| result[key] == **good);
    // The runner closes the connection itself after half a second, which a busy machine may need.
    let slow = |result: &Value| result["behaviorClose"] == "FAILED BY CLIENT";
    let slow_closes = results.values().filter(|result| slow(result)).count();
    assert!(slow_closes <= CASES / 20, "{slow_closes} were not closed in time");
    results.retain(|_, result| {
        !is_good(result, "behavior") || !(is_good(result, "behaviorClose") || slow(result))
    });
    assert_eq!(results, BTreeMap::new());
    node.check_unharmed().await
}

/// Starts a runner of these cases.
fn run(program: &Path, url: &str, cases: &[&str]) -> TestResult<Process> {
    let folder = workplace::new_folder("autobahn")?;
    let servers = json!([{"agent": "creel", "url": url}]);
    let spec = json!({"outdir": "reports", "servers": servers, "cases": cases});
    std::fs::write(folder.join("spec.json"), spec.to_string())?;
    let program = program.to_owned();
    let runner = Process::new("wstest", folder, move || {
        let mut command = Command::new(&program);
        command.args(["-m", "fuzzingclient", "-s", "spec.json"]);
        command
    });
    runner.launch()?;
    Ok(runner)
}
