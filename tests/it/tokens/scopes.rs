//! What each scope opens; how tokens are made, listed and revoked, over the API and on the command line.

use std::time::Duration;

use libtest_mimic::Trial;
use serde_json::json;

use super::{ROOT, ask, bearer, get, get_json, guarded, make, make_by, revoke};
use crate::harness::node::{Node, creel};
use crate::harness::servers::shared_postgres;
use crate::harness::{Needs, TestResult, check_problem, eventually, trials, workplace};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            each_route_wants_its_scope,
            a_secret_is_shown_once_and_kept_nowhere,
            what_cannot_be_a_token_is_refused,
            a_token_ends_when_it_is_revoked_or_expires,
            a_node_without_tokens_is_open_until_there_is_one,
            wrong_tokens_are_limited_and_right_ones_are_not,
            browsers_are_told_to_make_nothing_of_answers,
            what_was_changed_is_on_record_with_who_did_it,
            the_command_line_makes_the_first_token;
        Needs::POSTGRES =>
            the_command_line_makes_lists_and_revokes_beside_a_running_node,
            a_new_token_is_good_on_every_node_at_once;
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// Every route, with the least scope that opens it; with a `+` it is for tokens without a pattern.
const ROUTES: [(&str, &str, &str); 43] = [
    ("GET", "/api/captures", "read"),
    ("HEAD", "/api/captures", "read"),
    ("GET", "/api/captures/x", "read"),
    ("GET", "/api/captures/x/body", "read"),
    ("GET", "/api/captures/x/explain", "read"),
    ("POST", "/api/captures/wait", "read"),
    ("POST", "/api/captures/find", "read"),
    ("POST", "/api/captures/count", "read"),
    ("POST", "/api/captures/verify", "read"),
    ("GET", "/api/endpoints", "read"),
    ("GET", "/api/stream?since=x", "read"),
    ("POST", "/api/tickets", "read"),
    ("DELETE", "/api/captures/x", "write"),
    ("PUT", "/api/endpoints/a", "write"),
    ("DELETE", "/api/endpoints/a", "write"),
    ("DELETE", "/api/endpoints/a/captures", "write"),
    ("GET", "/api/endpoints/a", "read"),
    ("POST", "/api/endpoints", "write"),
    ("GET", "/api/rules", "read"),
    ("GET", "/api/rules/a", "read"),
    ("PUT", "/api/rules/a", "write"),
    ("DELETE", "/api/rules/a", "write"),
    ("POST", "/api/rules/try", "read"),
    ("POST", "/api/rules/import?format=traffcap", "write+"),
    ("GET", "/api/rules/a/hits", "read"),
    ("DELETE", "/api/rules/a/hits", "write"),
    ("GET", "/api/scenarios", "read+"),
    ("PUT", "/api/scenarios/a", "write"),
    ("GET", "/api/config", "read+"),
    ("PUT", "/api/config", "write+"),
    ("GET", "/api/audit", "admin+"),
    ("GET", "/api/nodes", "admin+"),
    ("GET", "/api/settings", "admin+"),
    ("GET", "/api/reports/captures", "admin+"),
    ("GET", "/api/reports/endpoints", "admin+"),
    ("HEAD", "/api/nodes", "admin+"),
    ("HEAD", "/api/config", "read+"),
    ("GET", "/api/tokens", "admin"),
    ("HEAD", "/api/tokens", "admin"),
    ("POST", "/api/tokens", "admin"),
    ("DELETE", "/api/tokens/x", "admin"),
    ("GET", "/metrics", "admin"),
    ("HEAD", "/metrics", "admin"),
];

async fn each_route_wants_its_scope() -> TestResult {
    let node = guarded().start().await?;
    let rank = |scope: &str| ["read", "write", "admin"].iter().position(|known| *known == scope);
    let mut tokens = vec![("", None, false), (ROOT, rank("admin"), false)];
    let made = [
        make(&node, "read", None).await?,
        make(&node, "write", None).await?,
        make(&node, "admin", None).await?,
        make(&node, "read", Some("*")).await?,
        make(&node, "write", Some("*")).await?,
    ];
    let scopes = [("read", false), ("write", false), ("admin", false), ("read", true), ("write", true)];
    let made_for = made.iter().zip(scopes);
    tokens.extend(made_for.map(|(token, (scope, part))| (token.secret.as_str(), rank(scope), part)));
    for (secret, given, part) in tokens {
        for (method, target, least) in ROUTES {
            let (least, whole) = least.strip_suffix('+').map_or((least, false), |least| (least, true));
            let answer = ask(&node, secret, method, target, "").await?;
            let said = format!("{given:?} {method} {target}: {} {}", answer.status, answer.text());
            match given {
                None => assert_eq!(answer.status, 401, "{said}"),
                Some(given) if Some(given) < rank(least) || (part && whole) => {
                    assert_eq!(answer.status, 403, "{said}");
                    if method != "HEAD" {
                        let problem = check_problem(&answer, 403, "forbidden")?;
                        assert!(
                            problem["detail"].as_str().is_some_and(|text| text.contains(least)),
                            "{said}"
                        );
                    }
                }
                Some(_) => assert!(![401, 403].contains(&answer.status), "{said}"),
            }
        }
    }
    // What is for everybody stays so, and what is not there is not there, whoever asks.
    let read = &made[0].secret;
    for target in ["/healthz", "/readyz", "/r/a"] {
        assert_eq!(node.get(target).await?.status, 200, "{target}");
    }
    check_problem(&get(&node, read, "/api/nothing").await?, 404, "not-found")?;
    check_problem(&ask(&node, read, "PATCH", "/api/captures", "").await?, 405, "method-not-allowed")?;
    Ok(())
}

async fn what_was_changed_is_on_record_with_who_did_it() -> TestResult {
    let node = guarded().start().await?;
    let writer = make(&node, "write", None).await?;
    ask(&node, ROOT, "PUT", "/api/endpoints/a", "{}").await?;
    ask(&node, &writer.secret, "PUT", "/api/rules/r", "{\"reply\":{}}").await?;
    let id = node.post("/r/a", "x").await?;
    ask(&node, &writer.secret, "DELETE", &format!("/api/captures/{id}"), "").await?;
    ask(&node, &writer.secret, "DELETE", "/api/endpoints/a/captures", "").await?;
    revoke(&node, &writer).await?;
    let log = get_json(&node, ROOT, "/api/audit").await?;
    let entries: Vec<_> = log["entries"].as_array().ok_or("no entries")?.iter().rev().collect();
    let told: Vec<_> = entries
        .iter()
        .map(|entry| {
            let what = &entry[entry["type"].as_str().unwrap_or_default()];
            json!([entry["type"], what["change"], what["by"]])
        })
        .collect();
    let by = writer.id.as_str();
    assert_eq!(
        json!(told),
        json!([
            ["configuration", "token.created", "settings"],
            ["configuration", "endpoint.created", "settings"],
            ["configuration", "rule.created", by],
            ["removal", null, by],
            ["removal", null, by],
            ["configuration", "token.removed", "settings"],
        ])
    );
    let first = get_json(&node, ROOT, "/api/audit?limit=4").await?;
    let next = first["next"].as_str().ok_or("no next page")?;
    let second = get_json(&node, ROOT, &format!("/api/audit?limit=4&cursor={next}")).await?;
    assert_eq!((second["entries"].as_array().map(Vec::len), &second["next"]), (Some(2), &json!(null)));
    assert!(!log.to_string().contains(&writer.secret));
    Ok(())
}

async fn a_secret_is_shown_once_and_kept_nowhere() -> TestResult {
    let node = guarded().setting("log.level", "debug").start().await?;
    let order = json!({"name": "CI", "scope": "write", "pattern": "ci-*", "expires_in_s": 3600});
    let answer = ask(&node, ROOT, "POST", "/api/tokens", &order.to_string()).await?;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let made = answer.json()?;
    let secret = made["token"].as_str().ok_or("no secret")?;
    assert!(secret.starts_with("creel_") && secret.len() == 49, "{secret}");
    assert_eq!(
        (&made["name"], &made["scope"], &made["pattern"]),
        (&json!("CI"), &json!("write"), &json!("ci-*"))
    );
    assert_eq!(made["revoked"], json!(null));
    assert!(made["expires"].as_str() > made["created"].as_str(), "{made}");

    let listed = get_json(&node, ROOT, "/api/tokens").await?;
    let mut expected = made.clone();
    expected.as_object_mut().ok_or("no object")?.remove("token");
    assert_eq!(listed, json!({"tokens": [expected], "next": null}), "no secret, and no hash");
    make(&node, "read", None).await?;
    let first = get_json(&node, ROOT, "/api/tokens?limit=1").await?;
    let next = first["next"].as_str().ok_or("a full page has a next")?;
    let second = get_json(&node, ROOT, &format!("/api/tokens?limit=1&cursor={next}")).await?;
    assert_eq!((&first["tokens"][0]["name"], &second["tokens"][0]["name"]), (&json!("CI"), &json!("read")));

    assert_eq!(get(&node, secret, "/api/captures").await?.status, 200);
    node.term().await?;
    let folder = node.folder().join("creel-data");
    for file in std::fs::read_dir(folder)? {
        let bytes = std::fs::read(file?.path())?;
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "the secret is kept");
    }
    for word in [secret, ROOT] {
        assert!(!node.log().contains(word), "the secret is logged");
    }
    Ok(())
}

async fn what_cannot_be_a_token_is_refused() -> TestResult {
    let node = guarded().start().await?;
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"name":"a"}"#,
        r#"{"name":"a","scope":"everything"}"#,
        r#"{"name":"","scope":"read"}"#,
        r#"{"name":"a\u0000","scope":"read"}"#,
        r#"{"name":"a","scope":"read","pattern":""}"#,
        r#"{"name":"a","scope":"read","pattern":"\\x"}"#,
        r#"{"name":"a","scope":"read","pattern":"a\u0000*"}"#,
        r#"{"name":"a","scope":"admin","pattern":"*"}"#,
        r#"{"name":"a","scope":"read","expires_in_s":0}"#,
        r#"{"name":"a","scope":"read","expires_in_s":-1}"#,
        r#"{"name":"a","scope":"read","expires_in_s":9999999999999999}"#,
        r#"{"name":"a","scope":"read","expire_in_s":60}"#,
        "{\"name\":\"\u{7}\",\"scope\":\"read\"}",
    ] {
        let answer = ask(&node, ROOT, "POST", "/api/tokens", body).await?;
        check_problem(&answer, 400, "bad-request").map_err(|error| format!("{body}: {error}"))?;
    }
    let long = format!(r#"{{"name":"{}","scope":"read"}}"#, "n".repeat(300_000));
    assert!((400..500).contains(&ask(&node, ROOT, "POST", "/api/tokens", &long).await?.status));
    for id in ["x", "%00", "%2F", "01a1fd89-85b1-7b3e-9c74-ea33a5c7ad33"] {
        let answer = ask(&node, ROOT, "DELETE", &format!("/api/tokens/{id}"), "").await?;
        check_problem(&answer, 404, "unknown-token").map_err(|error| format!("{id}: {error}"))?;
    }
    assert_eq!(get_json(&node, ROOT, "/api/tokens").await?["tokens"], json!([]));
    Ok(())
}

async fn a_token_ends_when_it_is_revoked_or_expires() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", None).await?;
    assert_eq!(get(&node, &token.secret, "/api/captures").await?.status, 200);
    revoke(&node, &token).await?;
    check_problem(&get(&node, &token.secret, "/api/captures").await?, 401, "unauthorized")?;
    let again = ask(&node, ROOT, "DELETE", &format!("/api/tokens/{}", token.id), "").await?;
    check_problem(&again, 404, "unknown-token")?;
    let listed = get_json(&node, ROOT, "/api/tokens").await?;
    assert!(listed["tokens"][0]["revoked"].is_string(), "it is listed still, as revoked: {listed}");

    let short = make_by(&node, ROOT, json!({"name": "short", "scope": "read", "expires_in_s": 1})).await?;
    assert_eq!(get(&node, &short.secret, "/api/captures").await?.status, 200);
    eventually(LIMIT, "it expires", || async {
        get(&node, &short.secret, "/api/captures").await.is_ok_and(|answer| answer.status == 401)
    })
    .await;
    Ok(())
}

async fn a_node_without_tokens_is_open_until_there_is_one() -> TestResult {
    let node = Node::builder().start().await?;
    assert_eq!(node.get("/api/captures").await?.status, 200);
    let foreign = "GET /api/captures HTTP/1.1\r\nHost: evil.example\r\n";
    check_problem(&node.exchange(format!("{foreign}\r\n")).await?, 403, "foreign-host")?;

    let first = make_by(&node, "", json!({"name": "first", "scope": "admin"})).await?;
    check_problem(&node.get("/api/captures").await?, 401, "unauthorized")?;
    check_problem(&node.get("/metrics").await?, 401, "unauthorized")?;
    assert_eq!(get(&node, &first.secret, "/api/tokens").await?.status, 200);
    let named = format!("{foreign}{}\r\n", bearer(&first.secret));
    assert_eq!(node.exchange(named).await?.status, 200, "with a token any name will do");

    let target = format!("/api/tokens/{}", first.id);
    assert_eq!(ask(&node, &first.secret, "DELETE", &target, "").await?.status, 204);
    // There is none any more, and nothing opens by itself.
    check_problem(&node.get("/api/captures").await?, 401, "unauthorized")?;
    node.term().await?;
    node.start_again().await?;
    check_problem(&node.get("/api/captures").await?, 401, "unauthorized")?;
    Ok(())
}

async fn wrong_tokens_are_limited_and_right_ones_are_not() -> TestResult {
    let node = guarded().setting("auth.failures_per_minute_max", 5).start().await?;
    let right = make(&node, "read", None).await?;
    let unknown = format!("creel_{}", "A".repeat(43));
    for wrong in ["a", &unknown, "b", &unknown, "c"] {
        check_problem(&get(&node, wrong, "/api/captures").await?, 401, "unauthorized")?;
    }
    for target in ["/api/captures", "/metrics", "/api/stream"] {
        let answer = get(&node, &unknown, target).await?;
        check_problem(&answer, 429, "too-many-failures")?;
        let wait: u32 = answer.header("retry-after").ok_or("no Retry-After")?.parse()?;
        assert!((1..=13).contains(&wait), "one in twelve seconds: {wait}");
    }
    check_problem(&get(&node, "", "/api/stream?ticket=x").await?, 429, "too-many-failures")?;
    for secret in [ROOT, &right.secret] {
        assert_eq!(get(&node, secret, "/api/captures").await?.status, 200, "a right token is let in");
    }
    check_problem(&get(&node, "", "/api/captures").await?, 401, "unauthorized")?;
    assert_eq!(node.get("/r/a").await?.status, 200);

    let unlimited = guarded().setting("auth.failures_per_minute_max", 0).start().await?;
    for _ in 0..100 {
        check_problem(&get(&unlimited, &unknown, "/api/captures").await?, 401, "unauthorized")?;
    }
    Ok(())
}

async fn browsers_are_told_to_make_nothing_of_answers() -> TestResult {
    let node = guarded().start().await?;
    let id = node.post("/r/a", "x").await?;
    let body = format!("/api/captures/{id}/body");
    let expected = [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
    ];
    for (secret, target) in [
        (ROOT, "/api/captures"),
        (ROOT, "/api/nothing"),
        (ROOT, "/api/captures?x=y"),
        (ROOT, "/metrics"),
        ("", "/api/captures"),
        ("", "/healthz"),
        ("", "/nothing"),
        (ROOT, &body),
    ] {
        let answer = get(&node, secret, target).await?;
        for (name, value) in expected {
            let own = target == body && ["cache-control", "content-security-policy"].contains(&name);
            let found = answer.header(name).ok_or_else(|| format!("{target}: no {name}"))?;
            assert!(
                found == value || (own && found.contains(value.split(';').next().unwrap_or(value))),
                "{target}: {found}"
            );
            assert_eq!(
                answer.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name)).count(),
                1
            );
        }
    }
    Ok(())
}

async fn the_command_line_makes_the_first_token() -> TestResult {
    let folder = workplace::new_folder("token")?;
    let url = format!("sqlite://{}", folder.join("creel.db").display());
    let create = |arguments: &[&str]| {
        creel().args(["token", "create", "--database", &url, "--name", "me"]).args(arguments).output()
    };
    let made = create(&["--scope", "admin", "--expires-in", "30d"])?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = String::from_utf8(made.stdout)?.trim().to_owned();
    assert!(secret.starts_with("creel_") && secret.len() == 49, "the secret stands alone: {secret}");
    for wrong in [
        ["--scope", "all", "--expires-in", "30d"],
        ["--scope", "read", "--expires-in", "30"],
        ["--scope", "admin", "--pattern", "*"],
    ] {
        let refused = create(&wrong)?;
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    }
    let node = Node::builder().database(&url).start().await?;
    check_problem(&node.get("/api/captures").await?, 401, "unauthorized")?;
    assert_eq!(get(&node, &secret, "/api/tokens").await?.status, 200);
    Ok(())
}

async fn the_command_line_makes_lists_and_revokes_beside_a_running_node() -> TestResult {
    let database = shared_postgres().await?;
    let node = guarded().database(database.url()).start().await?;
    let token = |arguments: &[&str]| {
        creel().arg("token").args(arguments).args(["--database", database.url()]).output()
    };
    let made = token(&["create", "--name", "CI job", "--scope", "read", "--pattern", "ci-*"])?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let secret = String::from_utf8(made.stdout)?.trim().to_owned();
    assert_eq!(get(&node, &secret, "/api/captures").await?.status, 200, "it is good at once");

    let list = || -> TestResult<String> { Ok(String::from_utf8(token(&["list"])?.stdout)?) };
    let listed = list()?;
    let line = listed.lines().find(|line| line.ends_with("CI job")).ok_or("it is not listed")?;
    assert!(line.contains("read") && line.contains("ci-*") && !listed.contains(&secret), "{listed}");
    let id = line.split(' ').next().ok_or("no id")?;
    let before = std::time::Instant::now();
    assert!(token(&["revoke", id])?.status.success());
    eventually(Duration::from_millis(1500), "it is refused within a second or so", || async {
        get(&node, &secret, "/api/captures").await.is_ok_and(|answer| answer.status == 401)
    })
    .await;
    assert!(before.elapsed() < Duration::from_secs(3));
    assert!(list()?.contains("revoked"));
    let again = token(&["revoke", id])?;
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8(again.stderr)?.contains("there is no such token"));
    Ok(())
}

async fn a_new_token_is_good_on_every_node_at_once() -> TestResult {
    let database = shared_postgres().await?;
    let builder = guarded().database(database.url());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    for _ in 0..10 {
        let token = make(&one, "read", None).await?;
        assert_eq!(get(&other, &token.secret, "/api/captures").await?.status, 200);
    }
    Ok(())
}
