//! A connection's socket beside the framework, for replies that fail below HTTP, and for peers that take nothing.

use std::io::{self, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use rand::Rng as _;

use crate::rules::Fault;

/// Octets of a fault that sends what is no HTTP.
const GARBAGE_BYTES: usize = 256;

/// A second handle of the connection's socket.
pub struct Wire(OwnedFd);

impl Wire {
    /// # Errors
    /// Where the process has no room for another descriptor.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        socket.as_fd().try_clone_to_owned().map(Self)
    }

    /// Ends the connection, whatever waits to be sent on it.
    ///
    /// # Errors
    /// Where the connection is gone already.
    pub fn cut(&self) -> io::Result<()> {
        rustix::net::shutdown(&self.0, rustix::net::Shutdown::Both).map_err(io::Error::from)
    }

    /// Fails as WireMock does ("Simulating Faults").
    ///
    /// # Errors
    /// Where the connection is gone already.
    pub fn fail(&self, fault: Fault) -> io::Result<()> {
        if fault == Fault::ConnectionReset {
            // A socket that is connected to nothing anew is reset at once (connect(2), AF_UNSPEC).
            return rustix::net::connect_unspec(&self.0).map_err(io::Error::from);
        }
        // The socket does not block: a few hundred octets fit into any send buffer that was empty.
        let mut stream = TcpStream::from(self.0.try_clone()?);
        let mut garbage = [0; GARBAGE_BYTES];
        rand::rng().fill(&mut garbage[..]);
        match fault {
            Fault::MalformedChunk => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
                // No hexadecimal digit, so that it is no chunk's size by chance.
                garbage[0] = b'!';
                stream.write_all(&garbage)?;
            }
            Fault::RandomData => {
                garbage[0] = b'!';
                stream.write_all(&garbage)?;
            }
            Fault::Empty | Fault::ConnectionReset => {}
        }
        stream.shutdown(Shutdown::Both)
    }
}
