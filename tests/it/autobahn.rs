//! Autobahn's client cases (RFC 6455) against a capture socket in echo mode.
//!
//! Its runner is a program for Python 2.7, `wstest` of `autobahntestsuite`; `CREEL_TEST_WSTEST` names it,
//! where it is not in the path. Without it the trial is shown as ignored, and `sockets.rs` stands alone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, eventually_some, trial, workplace};

/// All but the long ones (9, throughput) and those of compression (12, 13), which is not offered.
const CASES: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];
const LIMIT: Duration = Duration::from_secs(170);

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
    let folder = workplace::new_folder("autobahn")?;
    let spec = json!({
        "outdir": folder.join("reports"),
        "servers": [{"agent": "creel", "url": format!("ws://{}/r/autobahn", node.address())}],
        "cases": CASES,
    });
    std::fs::write(folder.join("spec.json"), spec.to_string())?;
    let mut runner = Command::new(program)
        .args(["-m", "fuzzingclient", "-s", "spec.json"])
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let status = eventually_some(LIMIT, "Autobahn is done", || {
        let done = runner.try_wait();
        async { done.ok().flatten() }
    })
    .await;
    if !status.success() {
        return Err(format!("wstest ended: {status}").into());
    }
    let index: Value = serde_json::from_slice(&std::fs::read(folder.join("reports/index.json"))?)?;
    let results: BTreeMap<String, Value> = serde_json::from_value(index["creel"].clone())?;
    let good = |result: &Value, key: &str| {
        matches!(result[key].as_str(), Some("OK" | "NON-STRICT" | "INFORMATIONAL"))
    };
    let failed: Vec<&String> = results
        .iter()
        .filter(|(_, result)| !good(result, "behavior") || !good(result, "behaviorClose"))
        .map(|(case, _)| case)
        .collect();
    assert!(results.len() > 200, "only {} cases were run", results.len());
    assert_eq!(failed, Vec::<&String>::new());
    node.check_unharmed().await
}
