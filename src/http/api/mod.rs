//! The API: a file a resource. Handlers extract, call one function, respond.

pub mod captures;
pub mod changes;
pub mod config;
pub mod docs;
pub mod endpoints;
pub mod nodes;
pub mod query;
pub mod reports;
pub mod rules;
pub mod settings;
pub mod tickets;
pub mod tokens;
