//! Clients: one that sends exact bytes, many that send load, and subscribers of the live stream.

mod check;
mod listing;
pub mod load;
mod raw;
mod reader;
mod subscriber;
mod websocket;

pub use check::{captures, check_exactly_once_in_order, check_has_all, check_stream};
pub use listing::list_captures;
pub use load::{Acknowledged, Load, Sent};
pub use raw::{Connection, Response, exchange};
pub use reader::Reader;
pub use subscriber::{Framing, Subscriber};
pub use websocket::{KEY, VERSION_13, WebSocket, frame, handshake, opcode};
