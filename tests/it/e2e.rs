//! The pipeline of `examples/e2e`, run for real: a sender of webhooks that retries passes, one that does not fails.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use libtest_mimic::Trial;

use crate::harness::node::{Node, creel};
use crate::harness::workplace::new_folder;
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_sender_that_retries_passes_the_pipeline,
            a_sender_that_does_not_wait_fails_the_pipeline,
    }
}

/// What the pipeline printed, and the JUnit document that it left.
struct Ran {
    output: Output,
    junit: String,
}

async fn a_sender_that_retries_passes_the_pipeline() -> TestResult {
    let ran = run(&built_sender()?).await?;
    let talk = String::from_utf8_lossy(&ran.output.stderr);
    assert_eq!(ran.output.status.code(), Some(0), "{talk}");
    assert!(String::from_utf8_lossy(&ran.output.stdout).contains("taken at try 3 (202)"));
    assert!(ran.junit.contains(r#"tests="2""#) && ran.junit.contains(r#"failures="0""#), "{}", ran.junit);
    Ok(())
}

async fn a_sender_that_does_not_wait_fails_the_pipeline() -> TestResult {
    let sender = new_folder("sender")?.join("impatient");
    std::fs::write(&sender, "#!/bin/sh\nfor i in 1 2 3; do curl -s -o /dev/null -d '{}' \"$1\"; done\n")?;
    std::fs::set_permissions(&sender, std::fs::Permissions::from_mode(0o755))?;
    let ran = run(&sender).await?;
    assert_eq!(ran.output.status.code(), Some(1));
    assert!(ran.junit.contains(r#"tests="2""#) && ran.junit.contains(r#"failures="1""#), "{}", ran.junit);
    assert!(ran.junit.contains("each pause is longer than the one before"), "{}", ran.junit);
    assert!(ran.junit.contains("every try says that it is signed"), "{}", ran.junit);
    Ok(())
}

/// Runs the script against a node of its own, in a folder of its own.
async fn run(sender: &Path) -> TestResult<Ran> {
    let node = Node::builder().start().await?;
    let folder = new_folder("pipeline")?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/e2e/run.sh");
    let programs = Path::new(env!("CARGO_BIN_EXE_creel")).parent().ok_or("it stands in a folder")?;
    let path = std::env::join_paths(
        [programs.to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    )?;
    let mut command = Command::new("sh");
    for (name, _) in creel().get_envs().filter(|(_, value)| value.is_none()) {
        command.env_remove(name);
    }
    command.arg(script).arg(sender).env("PATH", path).env("CREEL_URL", node.url("")).current_dir(&folder);
    let output = tokio::task::spawn_blocking(move || command.output()).await??;
    let junit = std::fs::read_to_string(folder.join("junit.xml"))
        .map_err(|error| format!("no junit.xml ({error}): {}", String::from_utf8_lossy(&output.stderr)))?;
    Ok(Ran { output, junit })
}

/// `examples/webhook-sender.rs`, built where it is not yet.
fn built_sender() -> TestResult<PathBuf> {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--example", "webhook-sender", "--message-format=json"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message["executable"].as_str()?))
    });
    executables.next_back().ok_or_else(|| "cargo names no executable".into())
}
