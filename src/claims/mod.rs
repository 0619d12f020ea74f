//! What is claimed of captures, and whether it holds. Pure: captures and times are handed in; nothing is read, and
//! nobody is waited for.

mod count;
pub mod evidence;
mod nearest;
pub mod order;
pub mod spacing;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod unique;
pub mod verify;
mod waiting;

pub use count::{Bound, Count};
pub use evidence::{Evidence, Verdict};
pub use nearest::{Miss, Nearest};
pub use verify::Verification;
pub use waiting::{Outcome, Terms, Waiting};
