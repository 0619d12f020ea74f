//! What tests ask of a node most often, over connections of their own.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::client::{Response, exchange};
use super::node::Node;
use super::{TestResult, eventually_some};

impl Node {
    /// Sends these bytes, and reads one response.
    pub async fn exchange(&self, request: impl AsRef<[u8]>) -> TestResult<Response> {
        exchange(self.address(), request.as_ref()).await
    }

    /// A request without body; headers are like `Accept: text/csv\r\n`, or empty.
    pub async fn request(&self, method: &str, target: &str, headers: &str) -> TestResult<Response> {
        let host = self.address();
        let request = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n");
        let mut connection = super::client::Connection::open(host).await?;
        connection.send(request.as_bytes()).await?;
        connection.response_to(method).await
    }

    pub async fn get(&self, target: &str) -> TestResult<Response> {
        self.request("GET", target, "").await
    }

    /// The JSON of a GET that must be answered 200.
    pub async fn json(&self, target: &str) -> TestResult<Value> {
        let response = self.get(target).await?;
        if response.status != 200 {
            return Err(format!("{target}: {} {}", response.status, response.text()).into());
        }
        response.json()
    }

    /// Posts a body that must be answered 200; returns the capture's id.
    pub async fn post(&self, target: &str, body: impl AsRef<[u8]>) -> TestResult<String> {
        let body = body.as_ref();
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        let response = self.exchange([head.as_bytes(), body].concat()).await?;
        if response.status != 200 {
            return Err(format!("{target}: {} {}", response.status, response.text()).into());
        }
        Ok(capture_id(&response)?.to_owned())
    }

    /// What was kept of the request that was answered so.
    pub async fn kept(&self, answer: &Response) -> TestResult<Value> {
        self.json(&format!("/api/captures/{}", capture_id(answer)?)).await
    }

    /// All captures of an endpoint, the oldest first, once there are so many.
    pub async fn captures_of(&self, endpoint: &str, count: usize) -> Vec<Value> {
        let target = format!("/api/captures?order=oldest&limit=500&endpoint={endpoint}");
        let what = format!("{count} captures of {endpoint}");
        eventually_some(Duration::from_secs(10), &what, || async {
            let page = self.json(&target).await.ok()?;
            let captures = page["captures"].as_array()?;
            (captures.len() >= count).then(|| captures.clone())
        })
        .await
    }

    /// How often a request to a capture URL had this outcome.
    pub async fn outcomes(&self, outcome: &str) -> f64 {
        self.metric_with("creel_captures_total", &[("outcome", outcome)]).await.unwrap_or(0.0)
    }

    /// Neither a panic nor a word of one.
    pub async fn check_unharmed(&self) -> TestResult {
        self.check_running()?;
        if self.metric("creel_panics_total").await? > 0.0 || self.log().contains("panic") {
            return Err(format!("something panicked\n{}", self.log()).into());
        }
        Ok(())
    }

    /// Memory that it has resident, in bytes.
    pub fn resident_bytes(&self) -> TestResult<u64> {
        self.memory("VmRSS:")
    }

    /// The most memory that it has had resident, in bytes.
    pub fn resident_bytes_max(&self) -> TestResult<u64> {
        self.memory("VmHWM:")
    }

    /// Processor time that it has taken since it was started, of all its threads.
    pub fn cpu_time(&self) -> TestResult<Duration> {
        let pid = self.pid().ok_or("the node is not running")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name in parentheses: user and system time are the 12th and 13th, in hundredths (proc(5)).
        let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
        let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
        Ok(Duration::from_millis(10 * ticks.sum::<Result<u64, _>>()?))
    }

    fn memory(&self, name: &str) -> TestResult<u64> {
        let pid = self.pid().ok_or("the node is not running")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such line")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }
}

pub fn capture_id(answer: &Response) -> TestResult<&str> {
    answer
        .header("x-creel-capture-id")
        .ok_or_else(|| format!("no capture id: {} {}", answer.status, answer.text()).into())
}

/// The bytes of a capture's body as the API or the stream shows it.
pub fn body_of(capture: &Value) -> TestResult<Vec<u8>> {
    let content = capture["body"]["content"].as_str().ok_or_else(|| format!("no content: {capture}"))?;
    match capture["body"]["encoding"].as_str() {
        Some("utf8") => Ok(content.as_bytes().to_vec()),
        Some("base64") => Ok(STANDARD.decode(content)?),
        other => Err(format!("an encoding {other:?}").into()),
    }
}

/// That a response is a problem of this kind, as `docs/problems.md` describes them.
pub fn check_problem(response: &Response, status: u16, slug: &str) -> TestResult<Value> {
    let wrong = || format!("expected {status} {slug}, got {} {}", response.status, response.text());
    if response.status != status || response.header("content-type") != Some("application/problem+json") {
        return Err(wrong().into());
    }
    let problem = response.json()?;
    let kind = format!("/problems/{slug}");
    if problem["type"] != *kind || problem["status"] != status || !problem["title"].is_string() {
        return Err(wrong().into());
    }
    if matches!(status, 429 | 503) && response.header("retry-after").is_none_or(|s| s.parse::<u32>().is_err())
    {
        return Err(format!("{slug} without Retry-After").into());
    }
    Ok(problem)
}
