//! Tests of the harness itself: a fault that does nothing would let every fault test pass.

use libtest_mimic::Trial;

mod client;
pub mod guard;
mod metrics;
mod node;
mod proxy;
mod servers;
mod tiny;

pub fn trials() -> Vec<Trial> {
    [client::trials(), guard::trials(), metrics::trials(), node::trials(), proxy::trials(), servers::trials()]
        .into_iter()
        .flatten()
        .collect()
}
