//! Where requests are sent on to: takes them to the octet, and answers each with the same.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use super::TestResult;

/// A server that keeps what it gets.
pub struct Target {
    address: String,
    received: Arc<Mutex<Vec<Received>>>,
    _task: AbortOnDropHandle<()>,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The first line, without its end.
    pub line: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without the framing of chunks.
    pub body: Vec<u8>,
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

impl Target {
    /// Answers every request with these octets. Without any the connection is closed instead.
    pub async fn start(answer: &'static str) -> TestResult<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let kept = received.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer, kept.clone()));
            }
        });
        Ok(Self { address, received, _task: AbortOnDropHandle::new(task) })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What has come so far, in its order.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("nobody panics with what came").clone()
    }

    pub fn count(&self) -> usize {
        self.received.lock().expect("nobody panics with what came").len()
    }
}

impl Received {
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// All values of a name, in their order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice()).collect()
    }

    /// The first value of a name, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().and_then(|value| std::str::from_utf8(value).ok())
    }
}

async fn serve(stream: TcpStream, answer: &'static str, received: Arc<Mutex<Vec<Received>>>) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = read(&mut stream).await {
        received.lock().expect("nobody panics with what came").push(request);
        if answer.is_empty() || stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The next request; None at the connection's end.
async fn read(stream: &mut BufReader<TcpStream>) -> TestResult<Option<Received>> {
    let mut lines = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Ok(None);
        }
        let line = line.strip_suffix(b"\r\n").ok_or("a line does not end as it should")?.to_vec();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let line = lines.next().ok_or("no request line")?;
    let headers = lines.map(|line| field(&line)).collect::<TestResult<Vec<_>>>()?;
    let mut request = Received { line, headers, body: Vec::new() };
    if let Some(length) = request.header("content-length") {
        request.body = vec![0; length.parse()?];
        stream.read_exact(&mut request.body).await?;
    } else if request.header("transfer-encoding").is_some() {
        return Err("a body that was whole is sent in chunks".into());
    }
    Ok(Some(request))
}

fn field(line: &[u8]) -> TestResult<(String, Vec<u8>)> {
    let colon = line.iter().position(|octet| *octet == b':').ok_or("not a header")?;
    Ok((String::from_utf8(line[..colon].to_vec())?, line[colon + 1..].trim_ascii().to_vec()))
}
