//! From a request to a durable capture: receive its body, decide its reply, journal it.

mod accept;
mod answers;
mod budget;
mod configuration;
mod deciding;
mod journal;
mod judging;
mod receive;
mod telling;
mod verdict;
mod writer;

pub use accept::{Intake, IntakeOptions, Refusal};
pub use answers::AnswerLog;
pub use budget::{Budget, Reserved};
pub use configuration::{Configuration, Snapshot};
pub use journal::{Accepted, FeedEpoch, Journal, JournalOptions, OnCommit};
pub use judging::{Ask, Chosen};
pub use receive::{Ending, Reception};
