//! What tests are made of: servers to run against, nodes of the real binary, clients, faults, waiting.

mod asking;
pub mod client;
pub mod meddled;
mod needs;
pub mod node;
pub mod pages;
pub mod ports;
pub mod process;
pub mod proxy;
pub mod servers;
pub mod target;
mod trial;
mod wait;
pub mod workplace;

pub use asking::{body_of, capture_id, check_problem};
pub use needs::Needs;
pub(crate) use trial::{trial, trials};
pub use wait::{eventually, eventually_some};

/// How a test ends; any error will do, a text too: `Err("...".into())`.
pub type TestResult<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
