//! A node of Creel: the real binary as a process of its own.

use std::ops::Deref;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::Signal;

use super::process::Process;
use super::{TestResult, ports, workplace};

const READY_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// A running node. It can be killed, frozen and started again; it ends with the value.
pub struct Node {
    process: Process,
    port: u16,
    http: reqwest::Client,
}

/// What a node is started with; unset, everything is as by default (SQLite in the node's own folder).
#[derive(Clone, Default)]
pub struct NodeBuilder {
    settings: Vec<(String, String)>,
    everywhere: bool,
}

impl NodeBuilder {
    /// It listens on all addresses, not on the machine's own alone.
    pub fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    pub fn database(self, url: &str) -> Self {
        self.setting("database.url", url)
    }

    pub fn broker(self, url: &str) -> Self {
        self.setting("broker.url", url)
    }

    /// A setting by its name in `config.default.toml`: `feed.gap_wait_ms`.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((variable(name), value.to_string()));
        self
    }

    /// Starts the node and waits until it says that it is ready.
    pub async fn start(&self) -> TestResult<Node> {
        ports::start_on_free_ports(|| self.start_on(ports::free_port())).await
    }

    async fn start_on(&self, port: u16) -> TestResult<Node> {
        let settings = self.settings.clone();
        let host = if self.everywhere { "0.0.0.0" } else { "127.0.0.1" };
        let process = Process::new("node", workplace::new_folder("node")?, move || {
            let mut command = creel();
            command.envs(settings.iter().map(|(name, value)| (name, value)));
            command.env(variable("server.listen"), format!("{host}:{port}"));
            command
        });
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
        let node = Node { process, port, http };
        node.start_again().await?;
        Ok(node)
    }
}

impl Node {
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// On its port and its settings, after [`kill9`](Process::kill9) or [`term`](Self::term).
    pub async fn start_again(&self) -> TestResult {
        self.process.launch()?;
        let deadline = tokio::time::Instant::now() + READY_LIMIT;
        while !self.is_ready().await {
            self.process.check_running()?;
            if tokio::time::Instant::now() > deadline {
                return Err(format!("not ready within {READY_LIMIT:?}\n{}", self.process.log()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.process.check_running()
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a path on this node.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A client for this node, which gives up on an answer after ten seconds.
    pub fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// Whether `/readyz` says so.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(self.url("/readyz")).timeout(Duration::from_secs(2)).send().await;
        answer.is_ok_and(|answer| answer.status() == 200)
    }

    /// Asks it to stop (`SIGTERM`), and waits for its end.
    pub async fn term(&self) -> TestResult<ExitStatus> {
        self.process.end_with(Signal::TERM, STOP_LIMIT).await
    }

    /// A metric's value, all its labels added up.
    pub async fn metric(&self, name: &str) -> TestResult<f64> {
        self.metric_with(name, &[]).await
    }

    /// A metric's value, all samples added up that have these labels.
    pub async fn metric_with(&self, name: &str, labels: &[(&str, &str)]) -> TestResult<f64> {
        let answer = self.http.get(self.url("/metrics")).send().await?.error_for_status()?;
        sum_samples(&answer.text().await?, name, labels)
    }
}

/// `kill9`, `freeze`, `thaw`, `log` and the like.
impl Deref for Node {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

/// The binary, without settings from the surroundings.
pub fn creel() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_creel")));
    let inherited = std::env::vars_os().map(|(name, _)| name);
    inherited.filter(|name| name.to_string_lossy().starts_with("CREEL_")).for_each(|name| {
        command.env_remove(name);
    });
    command
}

/// `feed.gap_wait_ms` as an environment variable.
fn variable(setting: &str) -> String {
    format!("CREEL_{}", setting.replace('.', "__").to_uppercase())
}

/// Adds up samples in Prometheus' text format. A metric without any is an error: a misspelt name must
/// not pass for a zero.
pub fn sum_samples(text: &str, name: &str, labels: &[(&str, &str)]) -> TestResult<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let (labelled, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.rsplit_once('}').ok_or_else(|| format!("not a sample: {line}"))?,
            None if rest.starts_with(' ') => ("", rest),
            None => continue,
        };
        let has = |label: &(&str, &str)| labelled.contains(&format!("{}=\"{}\"", label.0, label.1));
        if labels.iter().all(has) {
            let value = value.split_whitespace().next().ok_or_else(|| format!("not a sample: {line}"))?;
            sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>()?);
        }
    }
    sum.ok_or_else(|| format!("no metric {name} with {labels:?}").into())
}
