//! What operators and orchestrators see of a node.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Framing, Subscriber};
use crate::harness::node::{Node, creel};
use crate::harness::process::Process;
use crate::harness::servers::{Postgres, Redis, shared_postgres, topic_prefix};
use crate::harness::{Needs, TestResult, check_problem, eventually, ports, trials, workplace};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_node_is_healthy_and_ready,
            a_draining_node_is_not_ready_and_still_serves,
            metrics_are_openmetrics,
            the_documented_metrics_are_those_there_are,
            healthcheck_tells_by_its_exit_code,
            migrate_brings_the_schema_up_to_date,
            a_second_process_on_the_same_sqlite_is_refused,
            an_address_that_is_taken_is_told,
            logs_are_text_or_json,
            a_node_whose_log_nobody_takes_goes_on,
            a_newcomer_is_shown_what_to_try;
        Needs::POSTGRES => spans_tell_their_times_and_no_secrets;
        Needs::OWN_REDIS => a_node_without_its_broker_is_degraded_and_ready;
        Needs::OWN_POSTGRES => a_node_without_its_database_is_not_ready_and_says_so_quickly;
    }
}

const LIMIT: Duration = Duration::from_secs(20);

async fn a_node_is_healthy_and_ready() -> TestResult {
    let node = Node::builder().start().await?;
    assert_eq!(node.get("/healthz").await?.text(), r#"{"status":"ok"}"#);
    assert_eq!(node.get("/readyz").await?.text(), r#"{"status":"ready","database":"up","broker":"up"}"#);
    Ok(())
}

async fn a_draining_node_is_not_ready_and_still_serves() -> TestResult {
    let node = Node::builder().setting("server.drain_ms", 1000).start().await?;
    let watch = async {
        eventually(LIMIT, "it says that it drains", || async {
            node.get("/readyz").await.is_ok_and(|answer| {
                answer.status == 503 && answer.json().is_ok_and(|state| state["status"] == "draining")
            })
        })
        .await;
        assert_eq!(node.get("/healthz").await?.status, 200);
        let kept = node.get("/r/a").await?;
        check_problem(&node.get("/api/stream").await?, 503, "stopping")?;
        TestResult::Ok(kept.status)
    };
    let (status, kept) = tokio::join!(node.term(), watch);
    assert_eq!((kept?, status?.code()), (200, Some(0)));
    Ok(())
}

async fn a_node_without_its_broker_is_degraded_and_ready() -> TestResult {
    let redis = Redis::start().await?;
    let node =
        Node::builder().broker(redis.url()).setting("broker.topic_prefix", topic_prefix()).start().await?;
    let state = |status: &'static str, broker: &'static str| {
        let node = &node;
        eventually(LIMIT, status, move || async move {
            let Ok(answer) = node.get("/readyz").await else { return false };
            let expected = json!({"status": status, "database": "up", "broker": broker});
            answer.status == 200 && answer.json().is_ok_and(|state| state == expected)
        })
    };
    state("ready", "up").await;
    redis.kill9();
    state("degraded", "away").await;
    assert_eq!(node.metric("creel_broker_up").await?, 0.0);
    node.post("/r/a", "kept all the same").await?;
    redis.start_again().await?;
    state("ready", "up").await;
    assert_eq!(node.metric("creel_broker_up").await?, 1.0);
    Ok(())
}

async fn a_node_without_its_database_is_not_ready_and_says_so_quickly() -> TestResult {
    let postgres = Postgres::start().await?;
    let node = Node::builder().database(postgres.url()).start().await?;
    node.post("/r/a", "before").await?;
    postgres.kill9();
    eventually(LIMIT, "it is not ready", || async {
        node.get("/readyz").await.is_ok_and(|answer| {
            answer.status == 503
                && answer
                    .json()
                    .is_ok_and(|state| state["status"] == "unavailable" && state["database"] == "away")
        })
    })
    .await;
    assert_eq!(node.get("/healthz").await?.status, 200, "the process is well");
    let begun = Instant::now();
    for _ in 0..5 {
        let refused = node.get("/r/a").await?;
        let slug = refused.json()?["type"].as_str().unwrap_or_default().replace("/problems/", "");
        assert!(["database-away", "not-confirmed"].contains(&slug.as_str()), "{slug}");
        check_problem(&refused, 503, &slug)?;
    }
    check_problem(&node.get("/api/captures").await?, 503, "database-away")?;
    check_problem(&node.get("/api/endpoints").await?, 503, "database-away")?;
    assert!(begun.elapsed() < Duration::from_secs(12), "nobody hangs: {:?}", begun.elapsed());
    postgres.start_again().await?;
    eventually(LIMIT, "it is ready again", || async { node.is_ready().await }).await;
    eventually(LIMIT, "it catches again", || async { node.post("/r/a", "after").await.is_ok() }).await;
    node.check_unharmed().await
}

/// A family: its type, and its samples by name with labels.
type Families = BTreeMap<String, (String, BTreeMap<String, f64>)>;

/// OpenMetrics text, read strictly (OpenMetrics 1.0, section "Text format").
fn parse_openmetrics(text: &str) -> TestResult<Families> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with # EOF")?;
    let mut families = Families::new();
    let mut current = String::new();
    for line in body.lines() {
        let wrong = || format!("not OpenMetrics: {line}");
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (keyword, name) = (words.next().ok_or_else(wrong)?, words.next().ok_or_else(wrong)?);
            match keyword {
                "HELP" | "UNIT" => {}
                "TYPE" => {
                    let kind = words.next().ok_or_else(wrong)?.to_owned();
                    if families.insert(name.to_owned(), (kind, BTreeMap::new())).is_some() {
                        return Err(format!("{name} has two types").into());
                    }
                }
                _ => return Err(wrong().into()),
            }
            current = name.to_owned();
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
        let name = sample.split('{').next().ok_or_else(wrong)?;
        let (kind, samples) = families.get_mut(&current).ok_or_else(wrong)?;
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => return Err(wrong().into()),
        };
        if !suffixes.iter().any(|suffix| name == format!("{current}{suffix}")) {
            return Err(wrong().into());
        }
        if samples.insert(sample.to_owned(), value.parse()?).is_some() {
            return Err(format!("{sample} stands twice").into());
        }
    }
    Ok(families)
}

async fn metrics_are_openmetrics() -> TestResult {
    let node = Node::builder().start().await?;
    for _ in 0..3 {
        node.post("/r/a", "hello").await?;
    }
    node.get("/r/%00").await?;
    let answer = node.get("/metrics").await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), Some(kind));
    let families = parse_openmetrics(&answer.text())?;
    let value =
        |family: &str, sample: &str| families.get(family).and_then(|(_, samples)| samples.get(sample));
    assert_eq!(value("creel_captures", "creel_captures_total{outcome=\"kept\"}"), Some(&3.0));
    assert_eq!(value("creel_captures", "creel_captures_total{outcome=\"invalid_code\"}"), Some(&1.0));
    assert_eq!(value("creel_capture_body_bytes", "creel_capture_body_bytes_total"), Some(&15.0));
    assert_eq!(value("creel_feed_events", "creel_feed_events_total{way=\"local\"}"), Some(&3.0));
    assert_eq!(value("creel_database_up", "creel_database_up"), Some(&1.0));
    assert!(
        value("creel_journal_commit_seconds", "creel_journal_commit_seconds_count")
            .is_some_and(|n| *n >= 1.0)
    );
    assert!(
        !answer.text().contains("/r/") && !answer.text().contains("endpoint=\""),
        "no labels without a bound"
    );
    Ok(())
}

async fn the_documented_metrics_are_those_there_are() -> TestResult {
    let node = Node::builder().start().await?;
    node.get("/r/a").await?;
    let families = parse_openmetrics(&node.get("/metrics").await?.text())?;
    let there: BTreeSet<String> = families
        .iter()
        .map(|(name, (kind, _))| if kind == "counter" { format!("{name}_total") } else { name.clone() })
        .collect();
    let table = include_str!("../../docs/api.md").lines().filter(|line| line.starts_with("| `creel_"));
    let documented: BTreeSet<String> = table
        .flat_map(|line| line.split(" | ").next().unwrap_or_default().split('`'))
        .filter(|&word| word.starts_with("creel_"))
        .map(|word| word.split('{').next().unwrap_or(word).to_owned())
        .collect();
    assert_eq!(there, documented);
    Ok(())
}

async fn healthcheck_tells_by_its_exit_code() -> TestResult {
    let node = Node::builder().start().await?;
    let check = |url: &str, timeout_ms: &str| {
        creel().args(["healthcheck", "--url", url, "--timeout-ms", timeout_ms]).output()
    };
    assert!(check(&node.url("/healthz"), "3000")?.status.success());
    assert!(check(&node.url(""), "3000")?.status.success());
    assert!(check(&node.url("/readyz"), "3000")?.status.success());
    let absent = check(&node.url("/nothing"), "3000")?;
    assert_eq!(absent.status.code(), Some(1));
    assert!(String::from_utf8(absent.stderr)?.contains("answered 404"));
    node.freeze();
    let begun = Instant::now();
    assert_eq!(check(&node.url("/healthz"), "300")?.status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(3), "it does not hang");
    node.thaw();
    node.kill9();
    assert_eq!(check(&node.url("/healthz"), "3000")?.status.code(), Some(1));
    assert_eq!(check("https://127.0.0.1:9/healthz", "3000")?.status.code(), Some(2));
    assert_eq!(check("nonsense", "3000")?.status.code(), Some(2));
    Ok(())
}

async fn migrate_brings_the_schema_up_to_date() -> TestResult {
    let folder = workplace::new_folder("migrate")?;
    let url = format!("sqlite://{}", folder.join("deep/creel.db").display());
    let off = Node::builder().database(&url).setting("database.migrate", "off");
    let refused = off.start().await.err().ok_or("an empty database, and migrate = off")?.to_string();
    assert!(refused.contains("creel migrate"), "it says how to go on: {refused}");
    let migrate = || creel().args(["migrate", "--database", &url]).output();
    let first = String::from_utf8(migrate()?.stdout)?;
    assert!(first.contains("applied V1__journal") && first.contains("the schema is at version "), "{first}");
    let second = String::from_utf8(migrate()?.stdout)?;
    assert!(!second.contains("applied") && second.contains("the schema is at version "), "{second}");
    let node = off.start().await?;
    node.post("/r/a", "x").await?;
    Ok(())
}

async fn a_second_process_on_the_same_sqlite_is_refused() -> TestResult {
    let node = Node::builder().start().await?;
    let path = node.folder().join("creel-data/creel.db");
    let url = format!("sqlite://{}", path.display());
    for arguments in [["serve", "--database", url.as_str()], ["migrate", "--database", &url]] {
        let output = creel().args(arguments).args([] as [&str; 0]).output()?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = String::from_utf8([output.stdout, output.stderr].concat())?;
        assert!(text.contains("creel.db is in use by another Creel") && text.contains("Postgres"), "{text}");
    }
    node.post("/r/a", "x").await?;
    Ok(())
}

async fn an_address_that_is_taken_is_told() -> TestResult {
    let node = Node::builder().start().await?;
    let folder = workplace::new_folder("taken")?;
    let output = creel().args(["serve", "--listen", &node.address()]).current_dir(folder).output()?;
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr)?;
    assert!(text.contains(&format!("failed to listen on {}", node.address())), "{text}");
    Ok(())
}

async fn logs_are_text_or_json() -> TestResult {
    let json = Node::builder().setting("log.format", "json").start().await?;
    json.post("/r/a", "x").await?;
    json.term().await?;
    let lines: Vec<Value> =
        json.log().lines().map(serde_json::from_str).collect::<Result<_, _>>().map_err(|_| json.log())?;
    let messages: Vec<&str> = lines.iter().filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert!(messages.contains(&"ready") && messages.contains(&"stopped"), "{messages:?}");
    assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
    let ready = lines.iter().find(|line| line["fields"]["message"] == "ready").ok_or("not ready")?;
    assert_eq!(ready["fields"]["listen"], json.address());

    let text = Node::builder().start().await?;
    assert!(
        text.log().contains(" INFO ") && !text.log().contains('\u{1b}'),
        "no colours in a file: {}",
        text.log()
    );
    let quiet = Node::builder().setting("log.level", "error").start().await?;
    assert!(!quiet.log().contains(" INFO "), "{}", quiet.log());
    Ok(())
}

/// As on a disk that is full, and beside a log shipper that has died.
async fn a_node_whose_log_nobody_takes_goes_on() -> TestResult {
    for log in [">/dev/full 2>&1", "2>&1 | head -n 1"] {
        let listen = format!("127.0.0.1:{}", ports::free_port());
        let address = listen.clone();
        let node = Process::new("a node", workplace::new_folder("unheard")?, move || {
            let mut shell = Command::new("sh");
            shell.arg("-c").arg(format!("\"$0\" serve --listen \"$1\" {log}"));
            shell.arg(creel().get_program()).arg(&address).env("CREEL_LOG__LEVEL", "debug");
            shell
        });
        node.launch()?;
        let url = format!("http://{listen}/r/a");
        let is_caught = || async { reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200) };
        eventually(LIMIT, log, is_caught).await;
        for _ in 0..20 {
            assert!(is_caught().await, "it has ended: {log}");
        }
    }
    Ok(())
}

async fn spans_tell_their_times_and_no_secrets() -> TestResult {
    const COUNT: usize = 20;
    let database = shared_postgres().await?;
    // Two nodes without a broker between them: what one commits, the other has to read.
    let builder = Node::builder()
        .database(database.url())
        .setting("log.format", "json")
        .setting("log.level", "debug")
        .setting("feed.ring_events_max", 4);
    let (sender, watcher) = (builder.start().await?, builder.start().await?);
    let mut live = Subscriber::open(Framing::WebSocket, &watcher.address(), "").await?;
    for _ in 0..COUNT {
        sender
            .exchange(
                "POST /r/my-code HTTP/1.1\r\nHost: a\r\nX-Key: my-header\r\nContent-Length: 7\r\n\r\nmy-body",
            )
            .await?;
    }
    live.read_captures(COUNT, LIMIT).await?;
    let mut late = Subscriber::open(Framing::Ndjson, &sender.address(), "since=earliest").await?;
    late.read_captures(COUNT, LIMIT).await?;
    sender.request("GET", "/api/captures?endpoint=my-code", "Authorization: Bearer my-token\r\n").await?;
    eventually(LIMIT, "upkeep and answers", || async {
        let logs = sender.log() + &watcher.log();
        ["fold", "retain", "answers"].iter().all(|name| logs.contains(&format!("\"name\":\"{name}\"")))
    })
    .await;
    drop((live, late));
    sender.term().await?;
    watcher.term().await?;
    let logs = sender.log() + &watcher.log();
    let mut closed = BTreeSet::new();
    for line in logs.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["fields"]["message"] == "close" {
            assert!(line["fields"]["time.busy"].is_string(), "{line}");
            closed.insert(line["span"]["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    for name in ["request", "capture", "commit", "repair", "catch_up", "fold", "retain", "answers"] {
        assert!(closed.contains(name), "no time of {name} in {closed:?}");
    }
    assert!(logs.contains("\"route\":\"/api/captures\"") && logs.contains("\"status\":200"));
    for secret in ["my-code", "my-header", "my-body", "my-token"] {
        assert!(!logs.contains(secret), "{secret} is in the logs");
    }
    Ok(())
}

async fn a_newcomer_is_shown_what_to_try() -> TestResult {
    let node = Node::builder().start().await?;
    eventually(LIMIT, "the welcome", || async { node.log().contains("Send, in another:") }).await;
    let log = node.log();
    let quoted = |command: &str| -> TestResult<String> {
        let line = log.lines().find(|line| line.trim().starts_with(command)).ok_or_else(|| log.clone())?;
        Ok(line.split('\'').rev().nth(1).ok_or("no quoted URL")?.to_owned())
    };
    let (stream, capture) = (quoted("curl -N")?, quoted("curl -d")?);
    let http = node.http();
    let mut watching = http.get(&stream).send().await?;
    assert_eq!(http.post(&capture).body("hello").send().await?.status(), 200);
    let mut shown = String::new();
    while !shown.contains("\"content\":\"hello\"") {
        let chunk = tokio::time::timeout(LIMIT, watching.chunk()).await??.ok_or("the stream ended")?;
        shown += std::str::from_utf8(&chunk)?;
    }
    assert!(log.contains("creel-data/creel.db"), "it names its data folder: {log}");
    Ok(())
}
