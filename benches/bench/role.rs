//! This program once more, as a process of its own.

use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::harness::TestResult;

/// Starts a role; its standard input and output are piped.
pub fn start(words: &[&str]) -> TestResult<Child> {
    let child = Command::new(std::env::current_exe()?)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

/// Runs a role to its end; the last line that it prints is JSON.
pub async fn result(child: Child) -> TestResult<serde_json::Value> {
    let output = child.wait_with_output().await?;
    let text = String::from_utf8(output.stdout)?;
    let last = text.lines().last().ok_or("a role has printed nothing")?;
    serde_json::from_str(last).map_err(|error| format!("{error}: {last}").into())
}

/// Resident memory of a process, in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}
