//! Asking a node from outside, and sending requests to the octet: what the command line is made of.
//!
//! Knows the API as it stands in `docs/api.md` and `docs/protocol.md`, and nothing of how a node is made.

pub mod api;
pub mod capture;
mod connection;
pub mod failure;
pub mod feed;
pub mod lines;
pub mod sender;
pub mod url;

pub use api::{Api, Ask, Token};
pub use capture::ShownCapture;
pub use failure::Failure;
pub use feed::{Feed, FeedOrder, Happening, Message};
pub use lines::Lines;
pub use sender::{Outgoing, Sender, Sent};
pub use url::HttpUrl;
