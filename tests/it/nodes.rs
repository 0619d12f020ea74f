//! What a cluster tells of itself: which nodes run, and with which settings, never with a secret.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::harness::client::{Framing, Subscriber};
use crate::harness::node::Node;
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, check_problem, eventually_some, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => a_node_alone_is_listed;
        Needs::POSTGRES => nodes_are_listed_while_they_run;
        Needs::POSTGRES | Needs::REDIS => settings_are_shown_without_secrets;
    }
}

const LIMIT: Duration = Duration::from_secs(20);

/// The nodes that are listed, once the list is as it should be.
async fn nodes(asked: &Node, what: &str, is_right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    eventually_some(LIMIT, what, || async {
        let nodes = asked.json("/api/nodes").await.ok()?["nodes"].as_array()?.clone();
        is_right(&nodes).then_some(nodes)
    })
    .await
}

async fn a_node_alone_is_listed() -> TestResult {
    let node = Node::builder().start().await?;
    let _subscriber = Subscriber::open(Framing::Sse, &node.address(), "").await?;
    let listed = nodes(&node, "its subscriber", |nodes| nodes.iter().any(|n| n["subscribers"] == 1)).await;
    let [one] = listed.as_slice() else { return Err(format!("{listed:?}").into()) };
    let expected = [
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("listen", json!(node.address())),
        ("api_listen", json!(node.address())),
        ("status", json!("ready")),
        ("database", json!("up")),
        ("broker", json!("up")),
        ("capture_sockets", json!(0)),
    ];
    for (name, value) in expected {
        assert_eq!(one[name], value, "{name}");
    }
    let id = one["id"].as_str().ok_or("no id")?;
    assert!(node.log().contains(id), "its log says who it is");
    for name in ["since", "last_seen"] {
        let at_us = one[name].as_str().and_then(creel::model::time::parse_rfc3339).ok_or("no time")?;
        let now_us = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?;
        assert!((now_us - at_us).abs() < 60_000_000, "{name}");
    }
    node.kill9();
    node.start_again().await?;
    nodes(&node, "the one that was killed has gone", |nodes| nodes.len() == 1 && nodes[0]["id"] != id).await;
    Ok(())
}

async fn nodes_are_listed_while_they_run() -> TestResult {
    let database = shared_postgres().await?;
    let builder = Node::builder().database(database.url());
    let (first, second, third) = (builder.start().await?, builder.start().await?, builder.start().await?);
    let listed = nodes(&first, "all three", |nodes| nodes.len() == 3).await;
    let mut addresses: Vec<_> = listed.iter().filter_map(|node| node["listen"].as_str()).collect();
    let mut expected = [first.address(), second.address(), third.address()];
    addresses.sort_unstable();
    expected.sort_unstable();
    assert_eq!(addresses, expected);
    second.term().await?;
    let left = first.json("/api/nodes").await?;
    let left: Vec<_> =
        left["nodes"].as_array().ok_or("no nodes")?.iter().map(|n| n["listen"].clone()).collect();
    assert!(!left.contains(&json!(second.address())), "who stops in order takes leave");
    third.kill9();
    let left = nodes(&first, "the one that was killed has gone", |nodes| nodes.len() == 1).await;
    assert_eq!(left[0]["listen"], json!(first.address()));
    Ok(())
}

async fn settings_are_shown_without_secrets() -> TestResult {
    const TOKENS: [&str; 2] = ["token-0123456789-a", "http://token:0123456789@b"];
    let (database, redis) = (shared_postgres().await?, shared_redis().await?);
    let password_of = |url: &str| -> TestResult<String> {
        let url = url::Url::parse(url)?;
        Ok(url.password().filter(|password| password.len() >= 8).ok_or("a URL without password")?.to_owned())
    };
    let secrets = [password_of(database.url())?, password_of(&redis)?]
        .into_iter()
        .chain(TOKENS.map(str::to_owned))
        .collect::<Vec<_>>();
    let node = Node::builder()
        .database(database.url())
        .broker(&redis)
        .setting("broker.topic_prefix", topic_prefix())
        .setting("auth.tokens", TOKENS.join(","))
        .setting("server.public_url", "https://me:0123456789@hooks.example")
        .setting("log.level", "debug")
        .start()
        .await?;
    check_problem(&node.get("/api/settings").await?, 401, "unauthorized")?;
    let header = format!("Authorization: Bearer {}\r\n", TOKENS[0]);
    let answer = node.request("GET", "/api/settings", &header).await?;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    for secret in &secrets {
        assert!(!text.contains(secret), "{text}");
        assert!(!node.log().contains(secret), "{}", node.log());
    }
    assert!(!text.contains("0123456789"), "nor what stands where no secret should: {text}");
    let settings = &answer.json()?["settings"];
    let reference = include_str!("../../docs/settings.md");
    let keys = reference.lines().filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'));
    let mut count = 0;
    for key in keys {
        let (section, name) = key.rsplit_once('.').ok_or("a key without section")?;
        let setting = &settings[section][name];
        assert!(!setting["value"].is_null() && setting["source"].is_string(), "{key}: {setting}");
        count += 1;
    }
    assert!(count > 60, "{count}");
    let sections = settings.as_object().ok_or("no sections")?;
    let shown: usize = sections.values().filter_map(Value::as_object).map(serde_json::Map::len).sum();
    assert_eq!(shown, count);

    assert_eq!(settings["auth"]["tokens"]["value"], json!(["***", "***"]));
    assert_eq!(settings["auth"]["tokens"]["source"], "environment variable CREEL_AUTH__TOKENS");
    let url = settings["database"]["url"]["value"].as_str().ok_or("no url")?;
    assert!(url.starts_with("postgres") && url.contains(":***@127.0.0.1"), "{url}");
    assert_eq!(settings["server"]["public_url"]["value"], "https://me:***@hooks.example");
    assert_eq!(settings["reports"]["enabled"], json!({"value": true, "source": "default"}));
    Ok(())
}
