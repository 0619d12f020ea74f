//! The words of Creel as plain types: no I/O, no clock, no settings.

pub mod answer;
pub mod capture;
pub mod cursor;
pub mod endpoint_code;
pub mod entry;
pub mod filter;
pub mod glob;
pub mod header_block;
pub mod json;
pub mod limits;
pub mod network;
pub mod node;
pub mod report;
pub mod run;
pub mod scope;
pub mod secret;
pub mod time;
pub mod token;
pub mod wire;

pub use answer::Answer;
pub use capture::{
    Body, BodyContent, Capture, CaptureKind, ReplyChoice, ReplySource, RuleChoice, WebSocketDetail,
};
pub use cursor::{Cursor, Since};
pub use endpoint_code::EndpointCode;
pub use entry::{Change, ConfigurationChange, ConfigurationKind, Entry, EntryKind, Removal, Removed};
pub use filter::Filter;
pub use glob::Glob;
pub use header_block::HeaderBlock;
pub use node::{Node, NodeState};
pub use run::Run;
pub use scope::Scope;
