//! All that the API lists.

use serde_json::Value;

use crate::harness::TestResult;

/// All captures, the oldest first, page by page; the query is like `endpoint=orders`, or empty.
pub async fn list_captures(http: &reqwest::Client, host: &str, query: &str) -> TestResult<Vec<Value>> {
    let mut captures = Vec::new();
    let mut cursor = String::new();
    loop {
        let url = format!("http://{host}/api/captures?order=oldest&limit=500{cursor}&{query}");
        let page: Value = http.get(url).send().await?.error_for_status()?.json().await?;
        captures.extend(page["captures"].as_array().ok_or("a page without captures")?.iter().cloned());
        match page["next"].as_str() {
            Some(next) => {
                let next: String = url::form_urlencoded::byte_serialize(next.as_bytes()).collect();
                cursor = format!("&cursor={next}");
            }
            None => return Ok(captures),
        }
    }
}
