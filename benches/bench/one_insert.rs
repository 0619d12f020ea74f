//! One INSERT a request, by pgbench: what a service does that journals nothing.

use std::time::Duration;

use crate::harness::TestResult;
use crate::harness::servers::installed;
use crate::load;

pub const TABLE: &str = "CREATE TABLE one_insert (id BIGSERIAL PRIMARY KEY, received TIMESTAMPTZ DEFAULT now(), \
                         endpoint TEXT NOT NULL, headers TEXT NOT NULL, body BYTEA NOT NULL); \
                         CREATE INDEX ON one_insert (endpoint, id)";

/// Statements a second.
pub async fn measure(url: &str, clients: usize, time: Duration) -> TestResult<f64> {
    let folder = tempfile::tempdir()?;
    let script = folder.path().join("one_insert.sql");
    let body: String = load::body(1024).iter().map(|byte| format!("{byte:02x}")).collect();
    let statement = format!(
        "INSERT INTO one_insert (endpoint, headers, body) VALUES ('bench', \
         'content-type: application/json', '\\x{body}');"
    );
    std::fs::write(&script, statement)?;
    let output = tokio::process::Command::new(installed::program("pgbench")?)
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()])
        .args(["-T", &time.as_secs().max(1).to_string(), "-f"])
        .arg(&script)
        .arg(url)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
    let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    figure.ok_or_else(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)).into())
}
