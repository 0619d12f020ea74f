//! Rules: which request is answered how. Pure: they read neither database nor clock, and wait for nobody.

pub mod accept;
pub mod allowance;
mod classes;
pub mod document;
pub mod endpoint;
pub mod expression;
pub mod invalid;
mod json_path;
mod kept;
mod key;
mod missed;
pub mod object;
mod operator;
mod pattern;
mod place;
pub mod relative;
pub mod render;
pub mod reply;
pub mod rule;
pub mod sample;
pub mod seen;
pub mod set;
pub mod short;
pub mod states;
mod subset;
pub mod template;
#[cfg(test)]
mod tests;
pub mod traffcap;
mod work;

pub use accept::Accept;
pub use allowance::Allowance;
pub use endpoint::Endpoint;
pub use expression::Expression;
pub use invalid::Invalid;
pub use key::{Digest, Key};
pub use missed::{Failed, Missed};
pub use reply::{Fault, Reply, RuleOptions};
pub use rule::{Rule, Stamp};
pub use seen::Seen;
pub use set::RuleSet;
pub use states::{Claim, Decision, States};
