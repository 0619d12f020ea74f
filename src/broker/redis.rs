//! The redis broker.
