//! How rules answer: templates, media types, delays and faults.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{kept, save, send};
use crate::harness::client::{Connection, Response};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, check_problem, eventually_some, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            the_readmes_example_does_what_it_says,
            templates_see_the_request,
            values_are_escaped_as_the_type_asks,
            the_preferred_type_is_chosen,
            bodies_that_are_no_templates_are_sent_as_they_are,
            what_has_no_body_is_sent_none,
            a_failing_template_is_a_500_and_marks_the_capture,
            a_hostile_template_ends_soon,
            a_delay_holds_nobody_else_up,
            a_stopping_node_does_not_wait_out_delays,
            a_body_may_dribble,
            a_reply_may_have_cors_of_its_own,
            replies_may_fail_below_http;
    }
}

/// One rule for everything, and one request to it.
async fn answer_of(node: &Node, reply: Value, headers: &str, body: &str) -> TestResult<Response> {
    save(node, "a", json!({"reply": reply})).await?;
    send(node, "POST", "/r/a/b%20c/d?x=1&x=2&y=%26", headers, body).await
}

/// All values of a header that is answered.
fn values<'a>(answer: &'a Response, name: &str) -> Vec<std::borrow::Cow<'a, str>> {
    let fields = answer.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    fields.map(|(_, value)| String::from_utf8_lossy(value)).collect()
}

async fn the_readmes_example_does_what_it_says() -> TestResult {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"))?;
    let commands = page.split("```sh").find(|block| block.contains("/api/rules/")).ok_or("no example")?;
    let quoted: Vec<&str> = commands.split('\'').skip(1).step_by(2).collect();
    let [rule, body] = quoted.as_slice() else { return Err(format!("not two documents: {quoted:?}").into()) };
    let expected = commands.split("# ").nth(1).and_then(|rest| rest.lines().next()).ok_or("no answer")?;
    let node = Node::builder().start().await?;
    save(&node, "orders", serde_json::from_str(rule)?).await?;
    let answer = send(&node, "POST", "/r/shop", "", body).await?;
    assert_eq!((answer.status, answer.text().trim()), (201, expected.trim()));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    Ok(())
}

async fn templates_see_the_request() -> TestResult {
    let node = Node::builder().start().await?;
    let template = "{{request.method}} {{request.path}} {{request.segments.[0]}} {{request.query.x.[1]}} \
                    {{query \"y\"}} {{header \"X-Id\"}} {{cookie \"s\"}} {{jsonPath request.json \"$.a[1]\"}} \
                    {{request.body}} {{endpoint}} {{rule}} {{capture.id}} {{substr now 0 2}} {{request.client}}";
    let answer =
        answer_of(&node, json!({"body": template}), "X-Id: 7\r\nCookie: r=1; s=2\r\n", "{\"a\":[1,2]}")
            .await?;
    let id = answer.header("x-creel-capture-id").ok_or("no id")?;
    let expected = format!("POST /r/a/b c/d b c 2 & 7 2 2 {{\"a\":[1,2]}} a a {id} 20 127.0.0.1");
    assert_eq!((answer.status, answer.text()), (200, expected));
    let form = answer_of(
        &node,
        json!({"body": "{{form \"q\"}}"}),
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "p=1&q=a+b",
    );
    assert_eq!(form.await?.text(), "a b");
    let parts = "--B\r\nContent-Disposition: form-data; name=\"q\"\r\n\r\nfrom parts\r\n--B--\r\n";
    let multipart = answer_of(
        &node,
        json!({"body": "{{form \"q\"}}"}),
        "Content-Type: multipart/form-data; boundary=B\r\n",
        parts,
    );
    assert_eq!(multipart.await?.text(), "from parts");
    Ok(())
}

async fn values_are_escaped_as_the_type_asks() -> TestResult {
    let node = Node::builder().start().await?;
    let hostile = "a\"b<c>,&\n";
    for (content_type, expected) in [
        ("application/json", "[a\\\"b<c>,&\\n]"),
        ("application/problem+json", "[a\\\"b<c>,&\\n]"),
        ("text/html; charset=utf-8", "[a&quot;b&lt;c&gt;,&amp;\n]"),
        ("image/svg+xml", "[a&quot;b&lt;c&gt;,&amp;\n]"),
        ("text/csv", "[\"a\"\"b<c>,&\n\"]"),
        ("text/plain", "[a\"b<c>,&\n]"),
    ] {
        let reply = json!({"content_type": content_type, "body": "[{{request.body}}]"});
        let answer = answer_of(&node, reply, "", hostile).await?;
        assert_eq!((answer.header("content-type"), answer.text().as_str()), (Some(content_type), expected));
        let raw = json!({"content_type": content_type, "body": "[{{{request.body}}}]"});
        assert_eq!(
            answer_of(&node, raw, "", hostile).await?.text(),
            format!("[{hostile}]"),
            "{content_type}"
        );
    }
    Ok(())
}

async fn the_preferred_type_is_chosen() -> TestResult {
    let node = Node::builder().start().await?;
    let variants = json!([
        {"content_type": "application/json", "body": {"json": {"a": 1}}},
        {"content_type": "text/xml", "body": "<a>1</a>"},
        {"content_type": "text/csv; charset=utf-8", "body": "a\n1"},
    ]);
    for (accept, expected) in [
        ("", "{\"a\":1}"),
        ("Accept: text/csv\r\n", "a\n1"),
        ("Accept: text/*;q=0.5, application/json;q=0.4\r\n", "<a>1</a>"),
        ("Accept: image/png\r\n", "{\"a\":1}"),
        ("Accept: application/json;q=0\r\nAccept: text/csv;q=0.1\r\n", "a\n1"),
    ] {
        let answer = answer_of(&node, json!({"variants": variants}), accept, "").await?;
        assert_eq!(answer.text(), expected, "{accept}");
    }
    Ok(())
}

async fn bodies_that_are_no_templates_are_sent_as_they_are() -> TestResult {
    let node = Node::builder().start().await?;
    let text = answer_of(&node, json!({"body": {"text": "{{now}}"}}), "", "").await?;
    assert_eq!(
        (text.text().as_str(), text.header("content-type")),
        ("{{now}}", Some("text/plain; charset=utf-8"))
    );
    let bytes = json!({"status": 299, "content_type": "image/x", "body": {"base64": "AP8Q"}, "headers": {"X-A": ["1", "2"], "set-cookie": "a=b"}});
    let bytes = answer_of(&node, bytes, "", "").await?;
    assert_eq!((bytes.status, bytes.body.as_slice()), (299, &[0, 255, 16][..]));
    let values: Vec<&[u8]> =
        bytes.headers.iter().filter(|(name, _)| name == "x-a").map(|(_, v)| v.as_slice()).collect();
    assert_eq!((values, bytes.header("set-cookie")), (vec![&b"1"[..], &b"2"[..]], Some("a=b")));
    let nothing = answer_of(&node, json!({"status": 204}), "", "").await?;
    assert_eq!((nothing.status, nothing.text().as_str(), nothing.header("content-type")), (204, "", None));
    Ok(())
}

async fn what_has_no_body_is_sent_none() -> TestResult {
    let node = Node::builder().start().await?;
    for status in [204, 205, 304] {
        let refused = json!({"reply": {"status": status, "body": "{{{request.body}}}"}});
        let answer = super::api(&node, "PUT", "/api/rules/a", &refused).await?;
        check_problem(&answer, 400, "invalid-rule")?;
        let nothing =
            answer_of(&node, json!({"status": status, "content_type": "text/html"}), "", "x").await?;
        assert_eq!((nothing.status, nothing.body.len()), (status, 0));
    }
    // What a rule answers runs in no origin of ours, whatever the rule says.
    let page = json!({"content_type": "text/html", "body": "{{{request.body}}}"});
    let page = answer_of(&node, page, "", "<script>1</script>").await?;
    assert_eq!(policies(&page), [SANDBOX]);
    let own = json!({"headers": {"Content-Security-Policy": "default-src 'self'"}, "body": "x"});
    assert_eq!(policies(&answer_of(&node, own, "", "").await?), ["default-src 'self'", SANDBOX]);
    let worker = json!({"reply": {"headers": {"Service-Worker-Allowed": "/"}}});
    let refused =
        check_problem(&super::api(&node, "PUT", "/api/rules/a", &worker).await?, 400, "invalid-rule")?;
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("service worker")), "{refused}");
    Ok(())
}

const SANDBOX: &str = "sandbox allow-scripts allow-forms";

fn policies(answer: &Response) -> Vec<&str> {
    let fields =
        answer.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-security-policy"));
    fields.filter_map(|(_, value)| std::str::from_utf8(value).ok()).collect()
}

async fn answer_kept(node: &Node, answer: &Response) -> Value {
    eventually_some(Duration::from_secs(10), "the answer is recorded", || async {
        let capture = kept(node, answer).await.ok()?;
        (!capture["answer"].is_null()).then(|| capture["answer"].clone())
    })
    .await
}

async fn a_failing_template_is_a_500_and_marks_the_capture() -> TestResult {
    let node = Node::builder().setting("rules.templates_strict", true).start().await?;
    let answer = answer_of(&node, json!({"status": 201, "body": "{{request.nothing}}"}), "", "").await?;
    let problem = check_problem(&answer, 500, "template-failed")?;
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("line 1")), "{problem}");
    let kept = kept(&node, &answer).await?;
    assert_eq!((&kept["reply"]["status"], &kept["reply"]["rule"]), (&json!(201), &json!("a")));
    let recorded = answer_kept(&node, &answer).await;
    assert_eq!(recorded["status"], 500);
    assert!(recorded["failure"].as_str().is_some_and(|why| why.contains("the body")), "{recorded}");
    assert_eq!(node.metric("creel_template_failures_total").await?, 1.0);
    // A value that would end the head does not.
    let header = json!({"headers": {"x-a": "{{request.body}}"}});
    check_problem(&answer_of(&node, header, "", "a\r\nb: c").await?, 500, "template-failed")?;
    Ok(())
}

async fn a_hostile_template_ends_soon() -> TestResult {
    let node = Node::builder().start().await?;
    let items = format!("[{}1]", "1,".repeat(3_000));
    let nested = "{{#each request.json}}".repeat(3) + "x" + &"{{/each}}".repeat(3);
    let nested = nested.replace("{{#each request.json}}", "{{#each @root.request.json}}");
    let started = Instant::now();
    let answer = answer_of(&node, json!({"body": nested}), "", &items).await?;
    check_problem(&answer, 500, "template-failed")?;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    node.check_unharmed().await
}

async fn a_delay_holds_nobody_else_up() -> TestResult {
    let node = Node::builder().setting("server.workers", 1).start().await?;
    save(&node, "slow", json!({"scope": "slow", "reply": {"delay_ms": {"min": 1500, "max": 1600}}})).await?;
    let started = Instant::now();
    let slow = futures_util::future::join_all((0..20).map(|_| send(&node, "POST", "/r/slow", "", "")));
    let quick = async {
        let answer = send(&node, "POST", "/r/quick", "", "").await?;
        TestResult::Ok((answer.status, started.elapsed()))
    };
    let (slow, quick) = tokio::join!(slow, quick);
    let took = started.elapsed();
    for answer in slow {
        assert_eq!(answer?.status, 200);
    }
    let (status, quick) = quick?;
    assert_eq!(status, 200);
    assert!(took >= Duration::from_millis(1500), "{took:?}");
    assert!(quick < took, "{quick:?} {took:?}");
    Ok(())
}

async fn a_stopping_node_does_not_wait_out_delays() -> TestResult {
    let node = Node::builder().start().await?;
    save(&node, "slow", json!({"reply": {"delay_ms": 30_000, "body": "at last"}})).await?;
    let asked = send(&node, "POST", "/r/a", "", "");
    let stop = async {
        eventually_some(Duration::from_secs(10), "it is kept", || async {
            node.json("/api/captures").await.ok()?["captures"].as_array()?.first().cloned()
        })
        .await;
        node.term().await
    };
    let (answer, stopped) = tokio::join!(asked, stop);
    assert_eq!((answer?.text().as_str(), stopped?.code()), ("at last", Some(0)));
    Ok(())
}

async fn a_body_may_dribble() -> TestResult {
    let node = Node::builder().start().await?;
    let started = Instant::now();
    let reply = json!({"body": "0123456789", "dribble": {"chunks": 5, "over_ms": 500}});
    let answer = answer_of(&node, reply, "", "").await?;
    assert_eq!(answer.text(), "0123456789");
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    assert_eq!(answer_kept(&node, &answer).await["body"]["content"], "0123456789");
    Ok(())
}

async fn a_reply_may_have_cors_of_its_own() -> TestResult {
    let node = Node::builder().start().await?;
    let own = json!({"Access-Control-Allow-Origin": "https://one.example", "Access-Control-Allow-Credentials": "true"});
    let answer = answer_of(&node, json!({"headers": own}), "Origin: https://one.example\r\n", "").await?;
    assert_eq!(values(&answer, "access-control-allow-origin"), ["https://one.example"]);
    assert_eq!(values(&answer, "access-control-allow-credentials"), ["true"]);
    assert_eq!(answer.header("access-control-expose-headers"), None);
    let exposed = json!({"headers": {"Access-Control-Expose-Headers": "X-Own"}});
    let answer = answer_of(&node, exposed, "Origin: https://one.example\r\n", "").await?;
    assert_eq!(values(&answer, "access-control-allow-origin"), ["*"]);
    assert_eq!(values(&answer, "access-control-expose-headers"), ["X-Own", "X-Creel-Capture-Id"]);
    Ok(())
}

async fn replies_may_fail_below_http() -> TestResult {
    let node = Node::builder().start().await?;
    for fault in
        ["CONNECTION_RESET_BY_PEER", "EMPTY_RESPONSE", "MALFORMED_RESPONSE_CHUNK", "RANDOM_DATA_THEN_CLOSE"]
    {
        save(&node, "a", json!({"reply": {"fault": fault}})).await?;
        let mut connection = Connection::open(node.address()).await?;
        connection.send(b"POST /r/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await?;
        let rest = connection.rest().await;
        let seen = match &rest {
            Err(error) if error.to_string().to_lowercase().contains("reset") => "reset",
            Ok(bytes) if bytes.is_empty() => "nothing",
            Ok(bytes) if bytes.starts_with(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n!") => {
                "half"
            }
            Ok(bytes) if bytes.starts_with(b"!") && bytes.len() == 256 => "garbage",
            _ => return Err(format!("{fault}: {rest:?}").into()),
        };
        let expected = match fault {
            "CONNECTION_RESET_BY_PEER" => "reset",
            "EMPTY_RESPONSE" => "nothing",
            "MALFORMED_RESPONSE_CHUNK" => "half",
            _ => "garbage",
        };
        assert_eq!(seen, expected, "{fault}");
        let recorded = eventually_some(Duration::from_secs(10), "the fault is recorded", || async {
            let page = node.json("/api/captures?limit=1").await.ok()?;
            let id = page["captures"][0]["id"].as_str()?.to_owned();
            let capture = node.json(&format!("/api/captures/{id}")).await.ok()?;
            capture["answer"]["failure"].as_str().map(str::to_owned)
        })
        .await;
        assert_eq!(recorded, fault);
    }
    node.check_unharmed().await
}
