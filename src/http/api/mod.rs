//! The API: a file a resource. Handlers extract, call one function, respond.

pub mod audit;
pub mod captures;
pub mod changes;
pub mod config;
pub mod docs;
pub mod endpoints;
pub mod explanations;
pub mod exports;
pub mod imports;
pub mod inquiries;
pub mod nodes;
pub mod query;
pub mod reports;
pub mod rules;
pub mod selection;
pub mod settings;
pub mod tickets;
pub mod tokens;
pub mod tries;
pub mod waits;
