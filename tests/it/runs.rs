//! Runs: codes, rules and a token of their own, that end when the run does; and what it came to, which stays.

use std::time::Duration;

use creel::database::postgres::{PostgresDatabase, PostgresOptions};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::Response;
use crate::harness::node::Node;
use crate::harness::{TestResult, eventually_some};
use crate::tokens::{ROOT, ask, get_json};

mod asked;
mod bounds;
mod ends;
mod life;
mod parallel;

pub fn trials() -> Vec<Trial> {
    [life::trials(), asked::trials(), ends::trials(), parallel::trials(), bounds::trials()]
        .into_iter()
        .flatten()
        .collect()
}

const LIMIT: Duration = Duration::from_secs(60);

/// A run that was opened, as its opener was told of it.
struct Run {
    id: String,
    prefix: String,
    /// Empty where it has none.
    token: String,
    told: Value,
}

impl Run {
    fn path(&self, rest: &str) -> String {
        format!("/api/runs/{}{rest}", self.id)
    }

    /// The URL's path of a code of its own.
    fn target(&self, code: &str) -> String {
        format!("/r/{}{code}", self.prefix)
    }
}

/// The database of nodes, for what they are not asked.
fn database_of(url: &str) -> TestResult<PostgresDatabase> {
    Ok(PostgresDatabase::open(&PostgresOptions {
        url: url.to_owned(),
        pool_max: 2,
        connect_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(10),
        append_timeout: Duration::from_secs(10),
    })?)
}

/// Opens a run with a token, or with an empty one.
async fn open_by(node: &Node, secret: &str, order: &Value) -> TestResult<Run> {
    let answer = ask(node, secret, "POST", "/api/runs", &order.to_string()).await?;
    if answer.status != 201 {
        return Err(format!("{order}: {} {}", answer.status, answer.text()).into());
    }
    let told = answer.json()?;
    let text = |name: &str| told[name].as_str().unwrap_or_default().to_owned();
    let run = Run { id: text("id"), prefix: text("prefix"), token: text("token"), told: told.clone() };
    if run.id.is_empty() || run.prefix.is_empty() {
        return Err(format!("{told}").into());
    }
    Ok(run)
}

async fn open(node: &Node, order: &Value) -> TestResult<Run> {
    open_by(node, ROOT, order).await
}

/// Closes a run, and returns its summary.
async fn close(node: &Node, run: &Run, order: &Value) -> TestResult<Value> {
    let answer = ask(node, ROOT, "POST", &run.path("/close"), &order.to_string()).await?;
    match answer.status {
        200 => answer.json(),
        status => Err(format!("{status} {}", answer.text()).into()),
    }
}

async fn summary(node: &Node, run: &Run) -> TestResult<Value> {
    get_json(node, ROOT, &run.path("/summary")).await
}

/// Sends a request that is to be caught.
async fn post(node: &Node, target: &str) -> TestResult<Response> {
    node.request("POST", target, "Content-Length: 0\r\n").await
}

/// Waits until a run is closed, and returns its summary.
async fn closed(node: &Node, run: &Run) -> Value {
    eventually_some(LIMIT, "the run is closed", || async {
        let found = summary(node, run).await.ok()?;
        (found["run"]["state"] == "closed").then_some(found)
    })
    .await
}

/// The names of all rules and endpoints that are set.
async fn configured(node: &Node) -> TestResult<Vec<String>> {
    let all = get_json(node, ROOT, "/api/config").await?;
    let names = |list: &str, name: &str| -> Vec<String> {
        let items = all[list].as_array().into_iter().flatten();
        items.map(|item| item[name].as_str().unwrap_or_default().to_owned()).collect()
    };
    Ok([names("endpoints", "code"), names("rules", "name")].concat())
}

/// Rules and an endpoint, by names of their own.
fn config() -> Value {
    json!({
        "endpoints": [{"code": "shop", "reply": {"status": 202, "body": {"text": "shop"}}}],
        "rules": [
            {"name": "pay", "scope": "pay-*", "reply": {"body": {"text": "paid"}}},
            {"name": "cart", "match": {"at": "endpoint", "equals": "cart"},
             "scenario": {"name": "cart", "requires": "Started", "sets": "full"},
             "reply": {"body": {"text": "filled"}}},
            {"name": "never", "scope": "never", "reply": {}},
        ],
    })
}

/// Captures by endpoint, or by rule, of a summary.
fn counted<'a>(list: &'a Value, name: &str) -> Vec<(&'a str, i64)> {
    let items = list.as_array().into_iter().flatten();
    items.map(|of| (of[name].as_str().unwrap_or_default(), of["captures"].as_i64().unwrap_or(-1))).collect()
}
