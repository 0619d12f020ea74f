//! What Creel keeps, a noun a file: each query stands once, in a `const` beside the function that runs it.

mod answer_pages;
pub mod answers;
pub mod bodies;
pub mod configuration;
pub mod journal;
pub mod leases;
pub mod nodes;
pub mod removals;
pub mod reports;
pub mod retention;
pub mod rollups;
pub mod run_counts;
pub mod runs;
pub mod scans;
pub mod secrets;
pub mod states;
pub mod tickets;
pub mod tokens;
pub mod totals;
pub mod width;
