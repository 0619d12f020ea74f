//! Open streams and the end of a token: they end with it, on every node.

use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{ROOT, bearer, get, guarded, make, make_by, revoke};
use crate::harness::client::{Framing, Subscriber, WebSocket, opcode};
use crate::harness::servers::{shared_postgres, shared_redis, topic_prefix};
use crate::harness::{Needs, TestResult, trials};

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_stream_ends_when_its_token_expires,
            what_waits_for_a_slow_reader_is_not_sent_any_more;
        Needs::POSTGRES | Needs::REDIS => revocation_ends_open_streams_on_every_node;
    }
}

const LIMIT: Duration = Duration::from_secs(10);

/// What a stream says when its token is over.
fn is_farewell(message: &Value) -> bool {
    *message == json!({"type": "closing", "reason": "unauthorized"})
}

async fn revocation_ends_open_streams_on_every_node() -> TestResult {
    let (database, broker) = (shared_postgres().await?, shared_redis().await?);
    let builder =
        guarded().database(database.url()).broker(&broker).setting("broker.topic_prefix", topic_prefix());
    let (one, other) = tokio::try_join!(builder.start(), builder.start())?;
    for pattern in [None, Some("ci-*")] {
        let token = make(&one, "read", pattern).await?;
        let mut streams = Vec::new();
        for node in [&one, &other] {
            for framing in Framing::ALL {
                let mut stream = Subscriber::open_as(framing, &node.address(), "", &token.secret).await?;
                stream.read_until(LIMIT, |message| message["type"] == "ready").await?;
                streams.push(stream);
            }
        }
        let mut socket = WebSocket::open(&other.address(), "/api/stream", &bearer(&token.secret)).await?;
        let mut stays = Subscriber::open_as(Framing::Ndjson, &other.address(), "", ROOT).await?;
        stays.read_until(LIMIT, |message| message["type"] == "ready").await?;
        let revoked = Instant::now();
        revoke(&one, &token).await?;
        for stream in &mut streams {
            stream.read_until(Duration::from_secs(2), is_farewell).await?;
            assert!(stream.next().await?.is_none(), "nothing comes behind it");
        }
        let (code, _) = socket.closed().await?.ok_or("a close without a code")?;
        assert_eq!(code, 4401);
        socket.ended().await?;
        let took = revoked.elapsed();
        assert!(took < Duration::from_secs(2), "within about a second: {took:?}");
        for node in [&one, &other] {
            assert_eq!(get(node, &token.secret, "/api/captures").await?.status, 401);
        }
        other.post("/r/ci-1", "x").await?;
        stays.read_captures(1, LIMIT).await?;
    }
    Ok(())
}

async fn a_stream_ends_when_its_token_expires() -> TestResult {
    let node = guarded().start().await?;
    let order = json!({"name": "short", "scope": "read", "expires_in_s": 2});
    let token = make_by(&node, ROOT, order).await?;
    let mut streams = Vec::new();
    for framing in Framing::ALL {
        streams.push(Subscriber::open_as(framing, &node.address(), "", &token.secret).await?);
    }
    let begun = Instant::now();
    for stream in &mut streams {
        stream.read_until(LIMIT, is_farewell).await?;
        assert!(stream.next().await?.is_none());
    }
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    Ok(())
}

async fn what_waits_for_a_slow_reader_is_not_sent_any_more() -> TestResult {
    let node = guarded().start().await?;
    let token = make(&node, "read", None).await?;
    // More than the connection's buffers hold, in messages of several pieces.
    let mut socket = WebSocket::open(&node.address(), "/api/stream", &bearer(&token.secret)).await?;
    const SENT: usize = 100;
    for _ in 0..SENT {
        node.post("/r/a", vec![b'x'; 500_000]).await?;
    }
    revoke(&node, &token).await?;
    tokio::time::timeout(LIMIT, async {
        let mut whole = 0;
        while let Ok(frame) = socket.next().await {
            if frame.opcode == opcode::CLOSE {
                break;
            }
            whole += usize::from(frame.last);
        }
        assert!(whole < SENT, "the rest was not sent: {whole}");
    })
    .await?;
    Ok(())
}
