//! HTTP/1.1 to the byte: sends what it is given, and keeps what it gets as it came.

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, ToSocketAddrs};

use crate::harness::TestResult;

/// A connection that is kept open from one exchange to the next.
pub struct Connection(BufReader<TcpStream>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    /// Status line and header lines as they came, without the empty line.
    pub head: Vec<u8>,
    /// In their order, names as they came.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Without the framing of chunks.
    pub body: Vec<u8>,
}

/// How a body ends.
enum BodyEnd {
    Length(usize),
    LastChunk,
    Close,
}

/// Sends bytes over a connection of their own, and reads one response.
pub async fn exchange(server: impl ToSocketAddrs, request: &[u8]) -> TestResult<Response> {
    let mut connection = Connection::open(server).await?;
    connection.send(request).await?;
    connection.response().await
}

impl Connection {
    pub async fn open(server: impl ToSocketAddrs) -> TestResult<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// This side's address.
    pub fn local_address(&self) -> TestResult<std::net::SocketAddr> {
        Ok(self.0.get_ref().local_addr()?)
    }

    pub async fn send(&mut self, bytes: &[u8]) -> TestResult {
        Ok(self.0.write_all(bytes).await?)
    }

    /// Ends the sending side; the other goes on.
    pub async fn end_sending(&mut self) -> TestResult {
        Ok(self.0.shutdown().await?)
    }

    /// The next response. An interim one (`100 Continue`) is a response of its own.
    pub async fn response(&mut self) -> TestResult<Response> {
        self.response_to("GET").await
    }

    /// The next response to a method; the one to `HEAD` has no body whatever its head says.
    pub async fn response_to(&mut self, method: &str) -> TestResult<Response> {
        let mut response = self.head_only().await?;
        let bodiless = method == "HEAD" || matches!(response.status, 100..=199 | 204 | 304);
        if !bodiless {
            response.body = self.body(response.body_end()?).await?;
        }
        Ok(response)
    }

    /// The next response without its body, which is still to come.
    pub async fn head_only(&mut self) -> TestResult<Response> {
        let head = self.head().await?;
        let (status, headers) = parse_head(&head)?;
        Ok(Response { status, head, headers, body: Vec::new() })
    }

    /// The next chunk of a body.
    pub async fn next_chunk(&mut self) -> TestResult<Vec<u8>> {
        let mut chunk = Vec::new();
        self.chunk(&mut chunk).await?;
        Ok(chunk)
    }

    /// Everything until the other side ends the connection.
    pub async fn rest(&mut self) -> TestResult<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await?;
        Ok(bytes)
    }

    /// Exactly so many bytes of whatever comes.
    pub async fn bytes(&mut self, count: usize) -> TestResult<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.0.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    async fn head(&mut self) -> TestResult<Vec<u8>> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if self.0.read_until(b'\n', &mut head).await? == 0 {
                let head = String::from_utf8_lossy(&head);
                return Err(format!("the connection ended within a response's head: {head:?}").into());
            }
        }
        head.truncate(head.len() - b"\r\n\r\n".len());
        Ok(head)
    }

    async fn body(&mut self, end: BodyEnd) -> TestResult<Vec<u8>> {
        let mut body = Vec::new();
        match end {
            BodyEnd::Close => return self.rest().await,
            BodyEnd::Length(bytes) => {
                body.resize(bytes, 0);
                self.0.read_exact(&mut body).await?;
            }
            BodyEnd::LastChunk => while self.chunk(&mut body).await? {},
        }
        Ok(body)
    }

    /// Whether there may be more.
    async fn chunk(&mut self, body: &mut Vec<u8>) -> TestResult<bool> {
        let mut line = String::new();
        self.0.read_line(&mut line).await?;
        let size = line.split(';').next().map(str::trim).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("not a chunk's size: {line:?}"))?;
        let begin = body.len();
        body.resize(begin + size, 0);
        self.0.read_exact(&mut body[begin..]).await?;
        let mut end = [0; 2];
        self.0.read_exact(&mut end).await?;
        if &end != b"\r\n" {
            return Err(format!("a chunk ends with {end:?}").into());
        }
        Ok(size > 0)
    }
}

impl Response {
    /// A header's first value, its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(value).ok()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> TestResult<serde_json::Value> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    fn body_end(&self) -> TestResult<BodyEnd> {
        if self.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Ok(BodyEnd::LastChunk);
        }
        match self.header("content-length") {
            Some(length) => Ok(BodyEnd::Length(length.parse()?)),
            None => Ok(BodyEnd::Close),
        }
    }
}

type Headers = Vec<(String, Vec<u8>)>;

fn parse_head(head: &[u8]) -> TestResult<(u16, Headers)> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let status_line = String::from_utf8_lossy(lines.next().unwrap_or_default()).into_owned();
    let status = status_line.strip_prefix("HTTP/1.1 ").or_else(|| status_line.strip_prefix("HTTP/1.0 "));
    let status = status.and_then(|rest| rest.get(..3));
    let status = status.ok_or_else(|| format!("not a status line: {status_line:?}"))?.parse()?;
    let headers = lines.map(parse_header).collect::<TestResult<_>>()?;
    Ok((status, headers))
}

fn parse_header(line: &[u8]) -> TestResult<(String, Vec<u8>)> {
    let not_a_header = || format!("not a header line: {:?}", String::from_utf8_lossy(line));
    let colon = line.iter().position(|byte| *byte == b':').ok_or_else(not_a_header)?;
    let name = std::str::from_utf8(&line[..colon])?.to_owned();
    Ok((name, line[colon + 1..].trim_ascii().to_vec()))
}
