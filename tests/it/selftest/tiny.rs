//! A tiny server on loopback that answers as it is told, to test clients against.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::TestResult;

pub struct TinyServer {
    pub address: String,
    task: JoinHandle<()>,
}

impl TinyServer {
    /// Hands every connection to a function.
    pub async fn start<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> TestResult<Self>
    where
        F: Future<Output = TestResult> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
        Ok(Self { address, task })
    }

    /// Sends back whatever it gets.
    pub async fn echo() -> TestResult<Self> {
        Self::start(|mut stream| async move {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            Ok(())
        })
        .await
    }

    /// Answers every request (whose body, if any, has a `Content-Length`) by a function of its text.
    pub async fn http(answer: impl Fn(&str) -> String + Clone + Send + Sync + 'static) -> TestResult<Self> {
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await? {
                    stream.write_all(answer(&request).as_bytes()).await?;
                }
                Ok(())
            }
        })
        .await
    }
}

impl Drop for TinyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nothing once the client has ended the connection.
pub async fn read_request(stream: &mut TcpStream) -> TestResult<Option<String>> {
    let mut request = String::new();
    loop {
        if let Some((head, body)) = request.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            if body.len() >= length.unwrap_or("0").parse::<usize>()? {
                return Ok(Some(request));
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(None);
        }
        request += std::str::from_utf8(&buffer[..read])?;
    }
}
