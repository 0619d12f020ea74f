//! The command line: the real binary against real nodes, its output, its talk and its exit codes.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::TestResult;
use crate::harness::node::{Node, creel};
use crate::harness::process::Process;
use crate::harness::workplace::new_folder;

mod captures;
mod configuration;
mod inquiries;
mod listen;
mod replay;
mod runs;
mod send;
mod shown;
mod things;
mod waiting;

const LIMIT: Duration = Duration::from_secs(60);

pub fn trials() -> Vec<Trial> {
    [
        captures::trials(),
        listen::trials(),
        replay::trials(),
        send::trials(),
        waiting::trials(),
        inquiries::trials(),
        runs::trials(),
        things::trials(),
        configuration::trials(),
        shown::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    /// None where a signal has ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    /// stdout to the octet.
    pub data: Vec<u8>,
}

impl Done {
    /// That it ended so.
    pub fn expect(self, code: i32) -> TestResult<Self> {
        match self.code == Some(code) {
            true => Ok(self),
            false => Err(format!("expected exit code {code}: {self:?}").into()),
        }
    }

    /// The lines of stdout, each a JSON value.
    pub fn values(&self) -> TestResult<Vec<serde_json::Value>> {
        self.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}

/// Runs `creel` with these arguments and variables to its end.
pub async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> TestResult<Done> {
    let process = start(arguments, variables)?;
    let status = process.end(LIMIT).await;
    Ok(Done { code: status.code(), stdout: process.log(), stderr: process.talk(), data: process.output() })
}

/// Runs it to its end against a node.
pub async fn ask(node: &Node, arguments: &[&str]) -> TestResult<Done> {
    run(arguments, &[("CREEL_URL", &node.url(""))]).await
}

/// A document in a file of its own, by its path.
pub fn file(name: &str, text: &str) -> TestResult<String> {
    let file = new_folder("document")?.join(name);
    std::fs::write(&file, text)?;
    Ok(file.to_string_lossy().into_owned())
}

/// Starts `creel`; what it prints is its log, what it says its talk.
pub fn start(arguments: &[&str], variables: &[(&str, &str)]) -> TestResult<Process> {
    let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
    let variables: Vec<(String, String)> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let process = Process::new("command", new_folder("command")?, move || {
        let mut command = creel();
        command.args(&arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        command
    });
    let process = process.with_talk_apart();
    process.launch()?;
    Ok(process)
}
