//! Clients read what a server sends, and checks fail on what is wrong.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::tiny::{TinyServer, read_request};
use crate::harness::client::{
    Acknowledged, Connection, Framing, Load, Subscriber, captures, check_exactly_once_in_order,
    check_has_all, exchange, list_captures,
};
use crate::harness::{Needs, TestResult, eventually, trials};

const SOON: Duration = Duration::from_secs(10);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => exact_bytes_go_out_and_come_in, chunks_are_put_together, load_remembers_ids,
            subscribers_read_every_framing, a_stream_ends_with_its_connection, disorder_is_found,
            all_pages_are_listed;
    }
}

async fn exact_bytes_go_out_and_come_in() -> TestResult {
    let server = TinyServer::http(|request| {
        assert_eq!(request, "PUT /x HTTP/1.1\r\nhOSt:a\r\nContent-Length: 2\r\n\r\nhi");
        "HTTP/1.1 200 Fine\r\nX-One:  a\r\nx-one: b\r\nContent-Length: 3\r\n\r\nyes".to_owned()
    })
    .await?;
    let mut connection = Connection::open(&server.address).await?;
    for _ in 0..2 {
        connection.send(b"PUT /x HTTP/1.1\r\nhOSt:a\r\nContent-Length: 2\r\n\r\nhi").await?;
        let response = connection.response().await?;
        assert_eq!((response.status, response.text().as_str()), (200, "yes"));
        assert_eq!(response.head, b"HTTP/1.1 200 Fine\r\nX-One:  a\r\nx-one: b\r\nContent-Length: 3");
        assert_eq!(response.headers[1], ("x-one".to_owned(), b"b".to_vec()));
        assert_eq!(response.header("X-ONE"), Some("a"));
    }
    connection.end_sending().await?;
    assert_eq!(connection.rest().await?, b"");
    Ok(())
}

async fn chunks_are_put_together() -> TestResult {
    let server = TinyServer::http(|_| {
        "HTTP/1.1 100 Continue\r\n\r\n\
         HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
            .to_owned()
    })
    .await?;
    let mut connection = Connection::open(&server.address).await?;
    connection.send(b"GET / HTTP/1.1\r\n\r\n").await?;
    assert_eq!(connection.response().await?.status, 100);
    assert_eq!(connection.response().await?.json()?, json!({}));
    assert_eq!(connection.response_to("HEAD").await?.body, b"");
    Ok(())
}

async fn load_remembers_ids() -> TestResult {
    let server = TinyServer::http(|request| match request.split_once("\"number\":") {
        Some((_, "1}")) => "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n".to_owned(),
        Some((head, number)) if head.contains(" /r/a HTTP/1.1\r\n") => {
            format!("HTTP/1.1 200 OK\r\nX-Creel-Capture-Id: id-{number}\r\nContent-Length: 0\r\n\r\n")
        }
        _ => "HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n".to_owned(),
    })
    .await?;
    let dead = "127.0.0.1:1".to_owned();
    let load = Load::start(2, &[server.address.clone(), dead], "/r/a");
    eventually(SOON, "twenty are acknowledged", || async { load.acknowledged() >= 20 }).await;
    let sent = load.stop().await;
    assert!(sent.acknowledged.len() >= 20);
    assert!(sent.acknowledged.iter().all(|one| one.capture_id == format!("id-{}}}", one.number)));
    assert_eq!(sent.refused.keys().collect::<Vec<_>>(), [&503]);
    assert_eq!(sent.broken, 1, "the second sender went on to the node that lives");
    let answer = exchange(&server.address, b"GET / HTTP/1.1\r\n\r\n").await?;
    assert_eq!(answer.status, 400);
    Ok(())
}

fn messages() -> [Value; 4] {
    [
        json!({"type": "ready", "cursor": "c0"}),
        json!({"type": "capture", "cursor": "c1", "capture": {"seq": 1, "id": "a"}}),
        json!({"type": "heartbeat", "cursor": "c2"}),
        json!({"type": "capture", "cursor": "c3", "capture": {"seq": 3, "id": "b"}}),
    ]
}

/// Sends the messages in the framing, in pieces that fit neither lines nor chunks, and ends.
async fn streaming(framing: Framing) -> TestResult<TinyServer> {
    TinyServer::start(move |mut stream| async move {
        if framing == Framing::WebSocket {
            let mut socket = tokio_tungstenite::accept_async(stream).await?;
            for message in messages() {
                socket.send(Message::Ping("x".into())).await?;
                socket.send(Message::text(message.to_string())).await?;
            }
            socket.close(None).await?;
            // Until the client has closed as well.
            while socket.next().await.is_some() {}
            return Ok(());
        }
        read_request(&mut stream).await?;
        let (kind, text) = match framing {
            Framing::Sse => (
                "text/event-stream",
                messages().map(|one| format!(": x\n\nid: {}\ndata: {one}\n\n", one["cursor"])).concat(),
            ),
            _ => ("application/x-ndjson", messages().map(|one| format!("{one}\n\n")).concat()),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        for piece in text.as_bytes().chunks(7) {
            let piece = std::str::from_utf8(piece)?;
            stream.write_all(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await?;
            stream.flush().await?;
        }
        Ok(stream.write_all(b"0\r\n\r\n").await?)
    })
    .await
}

async fn subscribers_read_every_framing() -> TestResult {
    for framing in Framing::ALL {
        let server = streaming(framing).await?;
        let mut subscriber = Subscriber::open(framing, &server.address, "endpoint=a").await?;
        let read = subscriber.read_captures(2, SOON).await?;
        assert_eq!(read, messages(), "{framing:?}");
        assert_eq!(subscriber.cursor(), Some("c3"));
        check_exactly_once_in_order(&read)?;
        let sent = |id: &str| Acknowledged { capture_id: id.to_owned(), sender: 0, number: 0 };
        check_has_all(&captures(&read), &[sent("b"), sent("a")])?;
        assert!(check_has_all(&captures(&read), &[sent("c")]).is_err());
    }
    Ok(())
}

async fn a_stream_ends_with_its_connection() -> TestResult {
    for framing in Framing::ALL {
        let server = streaming(framing).await?;
        let mut subscriber = Subscriber::open(framing, &server.address, "").await?;
        subscriber.read_captures(2, SOON).await?;
        assert_eq!(subscriber.next().await?, None, "{framing:?}");
    }
    Ok(())
}

async fn disorder_is_found() -> TestResult {
    let capture = |seq: i64, id: &str| json!({"type": "capture", "capture": {"seq": seq, "id": id}});
    let wrong = [
        vec![capture(1, "a"), capture(1, "b")],
        vec![capture(2, "a"), capture(1, "b")],
        vec![capture(1, "a"), capture(2, "a")],
        vec![capture(1, "a"), json!({"type": "truncated"}), capture(9, "b")],
        vec![capture(1, "a"), json!({"type": "reset"})],
    ];
    for messages in wrong {
        assert!(check_exactly_once_in_order(&messages).is_err(), "{messages:?}");
    }
    Ok(())
}

async fn all_pages_are_listed() -> TestResult {
    let server = TinyServer::http(|request| {
        let page = match request.contains("&cursor=a%2B%2F&endpoint=x ") {
            true => json!({"captures": [{"id": "b"}], "next": null}),
            false => json!({"captures": [{"id": "a"}], "next": "a+/"}),
        };
        let page = page.to_string();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len())
    })
    .await?;
    let listed = list_captures(&reqwest::Client::new(), &server.address, "endpoint=x").await?;
    assert_eq!(listed, [json!({"id": "a"}), json!({"id": "b"})]);
    Ok(())
}
