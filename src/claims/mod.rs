//! What is claimed of captures, and whether it holds. Pure: captures and times are handed in; nothing is read, and
//! nobody is waited for.

mod count;
mod nearest;
mod waiting;

pub use count::{Bound, Count};
pub use nearest::{Miss, Nearest};
pub use waiting::{Outcome, Terms, Waiting};
