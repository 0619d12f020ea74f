//! A WebSocket to the frame: sends what it is told, right or wrong, and shows frames as they came.

use super::raw::{Connection, Response};
use crate::harness::TestResult;

pub mod opcode {
    pub const CONTINUE: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// The client's side of a connection.
pub struct WebSocket {
    connection: Connection,
    /// The answer to the handshake.
    pub opened: Response,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub last: bool,
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Code and reason of a close frame; nothing where it is empty.
    pub fn closing(&self) -> Option<(u16, String)> {
        let (code, reason) = self.payload.split_first_chunk::<2>()?;
        Some((u16::from_be_bytes(*code), String::from_utf8_lossy(reason).into_owned()))
    }
}

impl WebSocket {
    /// Opens one; headers are like `Origin: https://a\r\n`, or empty.
    pub async fn open(host: &str, target: &str, headers: &str) -> TestResult<Self> {
        let (connection, opened) = handshake(host, target, &format!("{VERSION_13}{KEY}{headers}")).await?;
        if opened.status != 101 {
            return Err(format!("not opened: {} {}", opened.status, opened.text()).into());
        }
        Ok(Self { connection, opened })
    }

    /// Sends a whole message, or a control frame, as a client should.
    pub async fn send(&mut self, opcode: u8, payload: &[u8]) -> TestResult {
        self.send_frame(0x80 | opcode, true, payload).await
    }

    /// Sends a frame whose first byte (FIN, reserved bits, opcode) is this.
    pub async fn send_frame(&mut self, first: u8, masked: bool, payload: &[u8]) -> TestResult {
        self.connection.send(&frame(first, masked, payload)).await
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) -> TestResult {
        self.connection.send(bytes).await
    }

    pub async fn close(&mut self, code: u16, reason: &str) -> TestResult {
        self.send(opcode::CLOSE, &[&code.to_be_bytes(), reason.as_bytes()].concat()).await
    }

    /// The next frame.
    pub async fn next(&mut self) -> TestResult<Frame> {
        let head = self.connection.bytes(2).await?;
        if head[1] & 0x80 != 0 || head[0] & 0x70 != 0 {
            return Err(format!("a server's frame is neither masked nor extended: {head:?}").into());
        }
        let length = match head[1] {
            126 => u16::from_be_bytes(self.connection.bytes(2).await?.as_slice().try_into()?).into(),
            127 => u64::from_be_bytes(self.connection.bytes(8).await?.as_slice().try_into()?),
            short => short.into(),
        };
        let payload = self.connection.bytes(usize::try_from(length)?).await?;
        Ok(Frame { last: head[0] & 0x80 != 0, opcode: head[0] & 0x0f, payload })
    }

    /// The code and reason that the other side closes with, whatever comes before.
    pub async fn closed(&mut self) -> TestResult<Option<(u16, String)>> {
        loop {
            let frame = self.next().await?;
            if frame.opcode == opcode::CLOSE {
                return Ok(frame.closing());
            }
        }
    }

    /// That the other side ends the connection.
    pub async fn ended(&mut self) -> TestResult {
        match self.connection.rest().await?.len() {
            0 => Ok(()),
            more => Err(format!("{more} bytes after the close").into()),
        }
    }
}

pub const VERSION_13: &str = "Sec-WebSocket-Version: 13\r\n";
pub const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Asks for an upgrade, with these headers beside.
pub async fn handshake(host: &str, target: &str, headers: &str) -> TestResult<(Connection, Response)> {
    let mut connection = Connection::open(host).await?;
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}\r\n"
    );
    connection.send(request.as_bytes()).await?;
    let response = connection.response().await?;
    Ok((connection, response))
}

/// A frame as bytes; the mask is a fixed one.
pub fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    let mask_bit = if masked { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => out.push(mask_bit | u8::try_from(short).expect("it is at most 125")),
        medium @ 126..=65_535 => {
            out.push(mask_bit | 126);
            out.extend(u16::try_from(medium).expect("it is at most 65535").to_be_bytes());
        }
        long => {
            out.push(mask_bit | 127);
            out.extend((long as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        out.extend(payload);
    }
    out
}
