//! The API: a file a resource. Handlers extract, call one function, respond.

pub mod captures;
pub mod endpoints;
pub mod query;
pub mod tickets;
pub mod tokens;
