//! The proxy does to connections what it says.

use std::time::Duration;

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tiny::TinyServer;
use crate::harness::proxy::Proxy;
use crate::harness::{Needs, TestResult, eventually, trials};

/// Long enough for what must not come to have come.
const A_WHILE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING => bytes_pass, a_cut_ends_connections_and_not_the_proxy, a_cut_comes_after_so_many_bytes,
            nothing_comes_behind_a_cut,
            a_pause_holds_both_ways, held_replies_come_later, refusal_is_for_new_connections,
            a_url_leads_through_it;
    }
}

async fn between() -> TestResult<(TinyServer, Proxy)> {
    let server = TinyServer::echo().await?;
    let proxy = Proxy::start(server.address.clone()).await?;
    Ok((server, proxy))
}

async fn echoes(stream: &mut TcpStream, text: &str) -> TestResult<bool> {
    stream.write_all(text.as_bytes()).await?;
    let mut answer = vec![0; text.len()];
    Ok(match tokio::time::timeout(A_WHILE, stream.read_exact(&mut answer)).await {
        Ok(read) => read.is_ok() && answer == text.as_bytes(),
        Err(_) => false,
    })
}

async fn is_ended(stream: &mut TcpStream) -> bool {
    matches!(tokio::time::timeout(SOON, stream.read(&mut [0])).await, Ok(Ok(0) | Err(_)))
}

async fn bytes_pass() -> TestResult {
    let (_server, proxy) = between().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "one").await?);
    stream.shutdown().await?;
    assert!(is_ended(&mut stream).await, "the end of one side reaches the other");
    Ok(())
}

async fn a_cut_ends_connections_and_not_the_proxy() -> TestResult {
    let (_server, proxy) = between().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "one").await?);
    proxy.cut();
    assert!(is_ended(&mut stream).await);
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "two").await?);
    Ok(())
}

async fn a_cut_comes_after_so_many_bytes() -> TestResult {
    let (_server, proxy) = between().await?;
    proxy.cut_after(9);
    let mut stream = TcpStream::connect(proxy.address()).await?;
    stream.write_all(b"123456").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok();
    assert_eq!(answer, b"123", "six bytes there and three back");
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "all of a longer text").await?, "it cuts once");
    Ok(())
}

/// Also where the server goes on sending, as fast as it can.
async fn nothing_comes_behind_a_cut() -> TestResult {
    let pattern: Vec<u8> = (0..1 << 16).map(|place: u32| (place % 251) as u8).collect();
    let sent = pattern.clone();
    let server = TinyServer::start(move |mut stream| {
        let sent = sent.clone();
        async move {
            while stream.write_all(&sent).await.is_ok() {}
            Ok(())
        }
    })
    .await?;
    let proxy = Proxy::start(server.address.clone()).await?;
    for round in 1..60u32 {
        let bytes = round * 9_973;
        proxy.cut_after(bytes);
        let mut read = Vec::new();
        TcpStream::connect(proxy.address()).await?.read_to_end(&mut read).await.ok();
        assert!(read.iter().zip(pattern.iter().cycle()).all(|(read, sent)| read == sent), "a hole");
        let passed = read.len();
        assert!(passed <= bytes as usize, "{passed} of {bytes} bytes have passed");
    }
    Ok(())
}

async fn a_pause_holds_both_ways() -> TestResult {
    let (_server, proxy) = between().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "one").await?);
    proxy.pause();
    assert!(!echoes(&mut stream, "two").await?);
    proxy.resume();
    let mut answer = [0; 3];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await??;
    assert_eq!(&answer, b"two", "nothing is lost");
    Ok(())
}

async fn held_replies_come_later() -> TestResult {
    let server = TinyServer::http(|_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await?;
    let proxy = Proxy::start(server.address.clone()).await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    proxy.hold_replies();
    assert!(!echoes(&mut stream, "GET / HTTP/1.1\r\n\r\n").await?);
    proxy.resume();
    let mut answer = [0; 12];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer)).await??;
    assert_eq!(&answer, b"HTTP/1.1 204");
    Ok(())
}

async fn refusal_is_for_new_connections() -> TestResult {
    let (_server, proxy) = between().await?;
    let mut stream = TcpStream::connect(proxy.address()).await?;
    assert!(echoes(&mut stream, "one").await?);
    proxy.refuse();
    eventually(SOON, "connections are refused", || async {
        TcpStream::connect(proxy.address()).await.is_err()
    })
    .await;
    assert!(echoes(&mut stream, "two").await?);
    proxy.resume();
    eventually(SOON, "connections are taken", || async { TcpStream::connect(proxy.address()).await.is_ok() })
        .await;
    Ok(())
}

async fn a_url_leads_through_it() -> TestResult {
    let (_server, proxy) = between().await?;
    let port = proxy.address().port();
    let url = proxy.through("postgres://creel:secret@127.0.0.1:5432/name?sslmode=require")?;
    assert_eq!(url, format!("postgres://creel:secret@127.0.0.1:{port}/name?sslmode=require"));
    Ok(())
}
