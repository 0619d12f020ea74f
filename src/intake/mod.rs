//! From a request to a durable capture: receive its body, decide its reply, journal it.

mod accept;
mod answers;
mod budget;
mod configuration;
mod journal;
mod receive;

pub use accept::{Accepted, Intake, IntakeOptions, Refusal};
pub use answers::AnswerLog;
pub use budget::{Budget, Reserved};
pub use configuration::Configuration;
pub use journal::{Journal, JournalOptions, OnCommit};
pub use receive::{Ending, Reception, RequestHead};
