//! Rules: what 10,000 of them, scoped over 1,000 endpoints, cost captures; and how long 1,000 patterns that are
//! for every endpoint take to be held against one request.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use creel::model::{
    Body, BodyContent, Capture, CaptureKind, EndpointCode, HeaderBlock, ReplyChoice, ReplySource,
};
use creel::rules::template::TemplateOptions;
use creel::rules::{Rule, RuleOptions, RuleSet, Seen, Stamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::capture::send;
use crate::harness::TestResult;
use crate::harness::node::Node;
use crate::report::{Report, RulesRow};
use crate::watch;

const RULES: usize = 10_000;
const ENDPOINTS: usize = 1_000;
const CONNECTIONS: usize = 64;

/// Each is measured so many times, in turns, and the best counts: what else the machine does makes no run quicker.
const ROUNDS: usize = 3;

const PATTERNS: usize = 1_000;
const REQUESTS: u32 = 2_000;

pub async fn measure(report: &mut Report, time: Duration) -> TestResult {
    let (without, with) = (start().await?, start().await?);
    save_rules(&with).await?;
    let (mut none, mut many): (f64, f64) = (0.0, 0.0);
    for _ in 0..ROUNDS {
        none = none.max(per_second(&without, time / 2).await?);
        many = many.max(per_second(&with, time / 2).await?);
    }
    let (path_us, body_us) = (match_us("path")?, match_us("body")?);
    report.rules(RulesRow { none_per_second: none, many_per_second: many, path_us, body_us });
    Ok(())
}

async fn start() -> TestResult<Node> {
    Node::builder().setting("log.level", "warn").start().await
}

async fn per_second(node: &Node, time: Duration) -> TestResult<f64> {
    let address = node.address();
    let watcher = watch::Watcher::start(1, "body=none", &[&address]).await?;
    let result = send(&address, CONNECTIONS, CONNECTIONS, time).await?;
    drop(watcher);
    Ok(result["per_second"].as_f64().unwrap_or_default())
}

/// Ten rules for each endpoint: nine look at this and that and do not match, the last one answers.
async fn save_rules(node: &Node) -> TestResult {
    let rules: Vec<Value> = (0..RULES)
        .map(|i| {
            let nth = i / ENDPOINTS;
            let matches = match nth {
                9 => json!({"at": "method", "equals": "POST"}),
                0 | 3 | 6 => json!({"at": "path", "matches": format!("^/r/[^/]+/orders/{nth}/[0-9]+$")}),
                1 | 4 | 7 => json!({"at": "header", "name": "x-kind", "in": ["a", "b"]}),
                _ => json!({"at": "json", "path": "$.kind", "equals": nth}),
            };
            let scope = format!("bench-{}", i % ENDPOINTS);
            json!({"name": format!("rule-{i}"), "scope": scope, "match": matches, "reply": {"body": {"text": "ok"}}})
        })
        .collect();
    let document = json!({"rules": rules});
    let saved = node.http().put(node.url("/api/config")).timeout(Duration::from_secs(60)).json(&document);
    match saved.send().await?.status().as_u16() {
        200 => Ok(()),
        other => Err(format!("the rules were not taken: {other}").into()),
    }
}

/// Microseconds that a request takes to be held against all the patterns, none of which match.
fn match_us(at: &str) -> TestResult<f64> {
    let options = RuleOptions {
        pattern_bytes_max: 262_144,
        delay_max: Duration::ZERO,
        template: TemplateOptions { strict: false, source_bytes_max: 1_024 },
    };
    let mut rules = RuleSet::default();
    for i in 0..PATTERNS {
        let document = json!({
            "match": {"at": at, "matches": format!("(order|invoice)-{i}/[a-z]+\\d{{3}}$")},
            "reply": {},
        });
        rules.put(Rule::parse(&format!("rule-{i}"), &document, Stamp::default(), &options)?);
    }
    let capture = request()?;
    let begin = Instant::now();
    for _ in 0..REQUESTS {
        let seen = Seen::of_kept(&capture);
        if !std::hint::black_box(rules.candidates(std::hint::black_box(&seen))).is_empty() {
            return Err("nothing should match".into());
        }
    }
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS))
}

fn request() -> TestResult<Capture> {
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let body = format!("{{\"kind\":\"none\",\"text\":\"{}\"}}", "order of the day ".repeat(58));
    Ok(Capture {
        id: Uuid::now_v7(),
        endpoint: EndpointCode::parse("bench")?,
        kind: CaptureKind::Http,
        received_us: 0,
        method: "POST".into(),
        target: "/r/bench/orders/2026/11/order-none".to_owned(),
        version: "HTTP/1.1".into(),
        scheme: "http".into(),
        host: "localhost".to_owned(),
        port: 80,
        headers: HeaderBlock::default(),
        peer: (address, 1).into(),
        client: address,
        body: Body { bytes: body.len() as u64, content: BodyContent::Inline(body.into()), ..Body::default() },
        websocket: None,
        reply: ReplyChoice::of(ReplySource::Default, 200),
    })
}
