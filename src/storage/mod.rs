//! What Creel keeps, a noun a file: each query stands once, in a `const` beside the function that runs it.

pub mod answers;
pub mod bodies;
pub mod endpoints;
pub mod journal;
pub mod leases;
pub mod removals;
pub mod retention;
pub mod secrets;
pub mod tickets;
pub mod tokens;
pub mod totals;
