//! How many places of the journal a query may look at, so that it takes a fraction of the time that a statement has: more
//! where the last was quick, fewer where it was slow.

use std::time::Duration;

pub const WIDTH_MIN: i64 = 256;
pub const WIDTH_MAX: i64 = 65_536;

const QUICK: Duration = Duration::from_millis(50);
const SLOW: Duration = Duration::from_millis(250);

/// How wide the next query is, by how long the last one took, and how far its page reached where that was full: a
/// database that does not know its tables yet may read all of a window for a page.
pub fn next_width(width: i64, took: Duration, full_page: Option<i64>, most: i64) -> i64 {
    let next = match full_page {
        Some(reached) => reached.saturating_mul(2),
        None if took < QUICK => width.saturating_mul(4),
        None if took > SLOW => width / 2,
        None => width,
    };
    next.clamp(WIDTH_MIN, most)
}
