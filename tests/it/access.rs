//! Who may use what: tokens, foreign hosts and origins, and listeners of their own.

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::client::{Connection, KEY, Response, VERSION_13, WebSocket, handshake};
use crate::harness::node::{Node, NodeBuilder, creel};
use crate::harness::{Needs, TestResult, check_problem, eventually, ports, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_token_opens_everything_but_capture_and_health,
            an_open_address_wants_a_token_or_a_word,
            without_tokens_foreign_hosts_are_refused,
            without_tokens_foreign_origins_are_refused,
            without_tokens_nothing_comes_through_a_proxy,
            websocket_handshakes_always_check_their_origin,
            the_apis_cors_is_closed_unless_opened,
            the_api_may_have_a_listener_of_its_own,
    }
}

const TOKENS: &str = "first-token-0123456789,second-token-0123456789";
const FIRST: &str = "Authorization: Bearer first-token-0123456789\r\n";

fn with_tokens() -> NodeBuilder {
    Node::builder().setting("auth.tokens", TOKENS)
}

async fn a_token_opens_everything_but_capture_and_health() -> TestResult {
    let node = with_tokens().start().await?;
    assert_eq!(node.get("/r/a").await?.status, 200);
    assert_eq!((node.get("/healthz").await?.status, node.get("/readyz").await?.status), (200, 200));
    let guarded = [
        "/api/captures",
        "/api/endpoints",
        "/api/captures/x/body",
        "/api/stream",
        "/api/nothing",
        "/metrics",
    ];
    let wrong = [
        "",
        "Authorization: Bearer first-token-012345678\r\n",
        "Authorization: Bearer first-token-01234567890\r\n",
        "Authorization: Bearer first-token-0123456789,second-token-0123456789\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Basic first-token-0123456789\r\n",
        "Authorization: first-token-0123456789\r\n",
        "Authorization: Bearer \u{e9}\r\n",
        "X-Token: first-token-0123456789\r\n",
    ];
    for target in guarded {
        for headers in wrong {
            let answer = node.request("GET", target, headers).await?;
            let problem = check_problem(&answer, 401, "unauthorized")?;
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{target}");
            assert_eq!(problem["detail"], "send `Authorization: Bearer <token>`");
        }
    }
    for headers in [FIRST, "authorization: bearer second-token-0123456789\r\n"] {
        assert_eq!(node.request("GET", "/api/captures", headers).await?.status, 200);
        assert_eq!(node.request("GET", "/api/nothing", headers).await?.status, 404);
    }
    let metrics = node.request("GET", "/metrics", FIRST).await?.text();
    let refused = guarded.len() * wrong.len();
    assert!(metrics.contains(&format!("creel_unauthorized_total {refused}\n")), "{metrics}");
    // With tokens any name will do: a page of another host has none.
    let foreign = "GET /api/captures HTTP/1.1\r\nHost: evil.example\r\nOrigin: https://evil.example\r\n";
    assert_eq!(node.exchange(format!("{foreign}{FIRST}\r\n")).await?.status, 200);
    let (_, refused) = handshake(&node.address(), "/api/stream", &format!("{VERSION_13}{KEY}")).await?;
    check_problem(&refused, 401, "unauthorized")?;
    WebSocket::open(&node.address(), "/api/stream", FIRST).await?;
    Ok(())
}

async fn an_open_address_wants_a_token_or_a_word() -> TestResult {
    let port = ports::free_port();
    let check = |settings: &[(&str, &str)]| {
        let mut command = creel();
        command.args(["serve", "--check-config"]).envs(settings.iter().copied());
        command.output()
    };
    for name in ["CREEL_SERVER__LISTEN", "CREEL_SERVER__API_LISTEN"] {
        for address in ["0.0.0.0", "[::]", "192.0.2.1"] {
            let output = check(&[(name, &format!("{address}:{port}"))])?;
            assert_eq!(output.status.code(), Some(2), "{name} {address}");
            let text = String::from_utf8(output.stderr)?;
            for hint in ["CREEL_AUTH__TOKENS", "openssl rand", "CREEL_AUTH__MODE=none"] {
                assert!(text.contains(hint), "{text}");
            }
        }
    }
    let open = [("CREEL_SERVER__LISTEN", "0.0.0.0:1")];
    assert!(check(&[open[0], ("CREEL_AUTH__TOKENS", TOKENS)])?.status.success());
    assert!(check(&[open[0], ("CREEL_AUTH__MODE", "none")])?.status.success());
    assert!(check(&[("CREEL_SERVER__LISTEN", "[::1]:1")])?.status.success());
    assert_eq!(check(&[("CREEL_AUTH__TOKENS", "too-short")])?.status.code(), Some(2));
    for (name, value) in [
        ("CREEL_SERVER__PUBLIC_URL", "https://hooks.example.com"),
        ("CREEL_SERVER__PUBLIC_URL", "http://192.0.2.1:8080"),
        ("CREEL_SERVER__TRUSTED_PROXIES", "127.0.0.1/32"),
    ] {
        let output = check(&[(name, value)])?;
        let text = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(2), "{name} {value}: {text}");
        for hint in ["CREEL_AUTH__TOKENS", "openssl rand", "CREEL_AUTH__MODE=none"] {
            assert!(text.contains(hint), "{text}");
        }
        assert!(check(&[(name, value), ("CREEL_AUTH__TOKENS", TOKENS)])?.status.success());
        assert!(check(&[(name, value), ("CREEL_AUTH__MODE", "none")])?.status.success());
    }
    for here in ["http://localhost:9669", "http://127.0.0.1:80", "http://[::1]:80", "http://creel.localhost"]
    {
        assert!(check(&[("CREEL_SERVER__PUBLIC_URL", here)])?.status.success(), "{here}");
    }

    let nobody = Node::builder().setting("auth.mode", "none").setting("auth.tokens", TOKENS).start().await?;
    assert_eq!(nobody.get("/api/captures").await?.status, 200, "the mode is said, so no token is asked for");
    Ok(())
}

/// A request whose Host header is this.
async fn at_host(node: &Node, target: &str, host: &str) -> TestResult<Response> {
    node.exchange(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await
}

/// A proxy brings requests of whoever reaches it, and Creel could not tell them from those of its own machine.
async fn without_tokens_nothing_comes_through_a_proxy() -> TestResult {
    let node = Node::builder().start().await?;
    let told = [
        "X-Forwarded-For: 192.0.2.1\r\n",
        "X-Forwarded-Proto: https\r\n",
        "Forwarded: for=192.0.2.1\r\n",
        "X-Real-IP: 192.0.2.1\r\n",
        "Via: 1.1 proxy\r\n",
    ];
    for headers in told {
        for target in ["/api/captures", "/metrics", "/api/stream"] {
            let problem = check_problem(&node.request("GET", target, headers).await?, 403, "foreign-host")?;
            assert!(problem["detail"].as_str().is_some_and(|why| why.contains("auth.tokens")), "{problem}");
        }
        assert_eq!(node.request("GET", "/r/a", headers).await?.status, 200, "capture stays open");
        assert_eq!(node.request("GET", "/healthz", headers).await?.status, 200);
    }
    let trusted = Node::builder().setting("auth.mode", "none").start().await?;
    let tokens = with_tokens().start().await?;
    for headers in told {
        assert_eq!(
            trusted.request("GET", "/api/captures", headers).await?.status,
            200,
            "it was said: {headers}"
        );
        let headers = format!("{headers}{FIRST}");
        assert_eq!(tokens.request("GET", "/api/captures", &headers).await?.status, 200, "{headers}");
    }
    Ok(())
}

async fn without_tokens_foreign_hosts_are_refused() -> TestResult {
    let node = Node::builder()
        .setting("auth.mode", "none")
        .setting("server.public_url", "https://hooks.example:8443")
        .start()
        .await?;
    let own = [
        "localhost",
        "localhost:1",
        "LOCALHOST",
        "127.0.0.1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:9669",
        "192.168.1.7",
        "hooks.example",
        "Hooks.Example:99",
    ];
    for host in own {
        assert_eq!(at_host(&node, "/api/captures", host).await?.status, 200, "{host}");
    }
    let foreign = [
        "evil.example",
        "localhost.evil.example",
        "evil.example:127",
        "127.0.0.1.evil.example",
        "hooks.example.evil.example",
        "x@127.0.0.1.example",
        "",
        "a:b:c",
    ];
    for host in foreign {
        let answer = at_host(&node, "/api/captures", host).await?;
        check_problem(&answer, 403, "foreign-host").map_err(|error| format!("{host}: {error}"))?;
        check_problem(&at_host(&node, "/metrics", host).await?, 403, "foreign-host")?;
        assert_eq!(at_host(&node, "/r/a", host).await?.status, 200, "capture stays open: {host}");
        assert_eq!(at_host(&node, "/healthz", host).await?.status, 200);
    }
    let absolute = "GET http://evil.example/api/captures HTTP/1.1\r\nHost: localhost\r\n\r\n";
    check_problem(&node.exchange(absolute).await?, 403, "foreign-host")?;
    let user = "GET http://localhost@evil.example/api/captures HTTP/1.1\r\nHost: localhost\r\n\r\n";
    check_problem(&node.exchange(user).await?, 403, "foreign-host")?;
    assert!(node.metric("creel_unauthorized_total").await? >= 18.0);
    Ok(())
}

async fn without_tokens_foreign_origins_are_refused() -> TestResult {
    let node = Node::builder()
        .setting("auth.mode", "none")
        .setting("server.public_url", "https://hooks.example")
        .start()
        .await?;
    let own = format!("http://{}", node.address());
    for (origin, allowed) in [
        (own.as_str(), true),
        ("https://hooks.example", true),
        ("https://evil.example", false),
        ("null", false),
        ("", false),
        ("http://127.0.0.1:1", false),
        ("https://hooks.example.evil.example", false),
        ("\u{e9}", false),
    ] {
        for (method, target) in [("GET", "/api/captures"), ("DELETE", "/api/endpoints/a/captures")] {
            let answer = node.request(method, target, &format!("Origin: {origin}\r\n")).await?;
            if allowed {
                assert!(answer.status < 300, "{origin}: {}", answer.text());
            } else {
                check_problem(&answer, 403, "foreign-origin")
                    .map_err(|error| format!("{origin}: {error}"))?;
            }
        }
    }
    // What a page asks for and cannot read names no origin.
    let any = Node::builder().setting("cors.api.allow_origins", "*").start().await?;
    for (site, allowed) in
        [("cross-site", false), ("same-site", false), ("same-origin", true), ("none", true)]
    {
        let headers = format!("Sec-Fetch-Site: {site}\r\n");
        let answer = node.request("GET", "/api/captures", &headers).await?;
        if allowed {
            assert_eq!(answer.status, 200, "{site}");
        } else {
            check_problem(&answer, 403, "foreign-origin").map_err(|error| format!("{site}: {error}"))?;
        }
        assert_eq!(any.request("GET", "/api/captures", &headers).await?.status, 200, "{site}");
        let own = format!("{headers}Origin: {own}\r\n");
        assert_eq!(node.request("GET", "/api/captures", &own).await?.status, 200, "{site}");
    }
    Ok(())
}

async fn websocket_handshakes_always_check_their_origin() -> TestResult {
    let plain = Node::builder().start().await?;
    let tokens = with_tokens().setting("cors.api.allow_origins", "https://page.example").start().await?;
    for (node, token) in [(&plain, ""), (&tokens, FIRST)] {
        let foreign = format!("{VERSION_13}{KEY}{token}Origin: https://evil.example\r\n");
        let (_, refused) = handshake(&node.address(), "/api/stream", &foreign).await?;
        check_problem(&refused, 403, "foreign-origin")?;
        let own = format!("{token}Origin: http://{}\r\n", node.address());
        WebSocket::open(&node.address(), "/api/stream", &own).await?;
        WebSocket::open(&node.address(), "/api/stream", token).await?;
        let capture = WebSocket::open(&node.address(), "/r/a", "Origin: https://evil.example\r\n").await;
        assert!(capture.is_ok(), "anybody may send to a capture socket");
    }
    let page = format!("{FIRST}Origin: https://page.example\r\n");
    WebSocket::open(&tokens.address(), "/api/stream", &page).await?;
    Ok(())
}

async fn the_apis_cors_is_closed_unless_opened() -> TestResult {
    let closed = Node::builder().start().await?;
    let preflight = |origin: &str| {
        format!(
            "Origin: {origin}\r\nAccess-Control-Request-Method: DELETE\r\nAccess-Control-Request-Headers: authorization\r\n"
        )
    };
    let answer = closed.request("OPTIONS", "/api/captures", &preflight("https://page.example")).await?;
    assert_eq!(answer.header("access-control-allow-origin"), None);
    assert!(answer.status >= 400, "{}", answer.status);
    check_problem(&answer, answer.status, "bad-request")?;

    let open = with_tokens().setting("cors.api.allow_origins", "https://page.example").start().await?;
    let answer = open.request("OPTIONS", "/api/captures", &preflight("https://page.example")).await?;
    assert_eq!(answer.status, 200, "a preflight has no token: {}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://page.example"));
    assert_eq!(answer.header("access-control-max-age"), Some("600"));
    let get =
        open.request("GET", "/api/captures", &format!("{FIRST}Origin: https://page.example\r\n")).await?;
    assert_eq!((get.status, get.header("access-control-allow-origin")), (200, Some("https://page.example")));
    let refused = open.request("GET", "/api/captures", "Origin: https://page.example\r\n").await?;
    check_problem(&refused, 401, "unauthorized")?;
    assert_eq!(
        refused.header("access-control-allow-origin"),
        Some("https://page.example"),
        "a page can read why"
    );
    let foreign =
        open.request("GET", "/api/captures", &format!("{FIRST}Origin: https://evil.example\r\n")).await?;
    assert_eq!(foreign.header("access-control-allow-origin"), None);
    Ok(())
}

async fn the_api_may_have_a_listener_of_its_own() -> TestResult {
    let api = format!("127.0.0.1:{}", ports::free_port());
    let node = Node::builder().setting("server.api_listen", &api).start().await?;
    let ask = |target: &'static str| {
        let api = api.clone();
        async move {
            let mut connection = Connection::open(&api).await?;
            connection.send(format!("GET {target} HTTP/1.1\r\nHost: {api}\r\n\r\n").as_bytes()).await?;
            connection.response().await
        }
    };
    assert_eq!(node.get("/r/a").await?.status, 200);
    for target in ["/api/captures", "/api/stream", "/metrics"] {
        check_problem(&node.get(target).await?, 404, "not-found")
            .map_err(|error| format!("{target}: {error}"))?;
    }
    check_problem(&ask("/r/a").await?, 404, "not-found")?;
    assert_eq!(ask("/metrics").await?.status, 200);
    eventually(Duration::from_secs(5), "the API shows what was caught", || async {
        ask("/api/captures").await.is_ok_and(|answer| answer.text().contains("\"endpoint\":\"a\""))
    })
    .await;
    for target in ["/healthz", "/readyz"] {
        assert_eq!((node.get(target).await?.status, ask(target).await?.status), (200, 200));
    }
    WebSocket::open(&api, "/api/stream", "").await?;
    Ok(())
}
