//! Capture: what is sent to an endpoint is kept as it was sent, and answered.

use libtest_mimic::Trial;

mod bodies;
mod ceilings;
mod codes;
mod replies;
mod requests;

pub fn trials() -> Vec<Trial> {
    [requests::trials(), bodies::trials(), codes::trials(), replies::trials(), ceilings::trials()]
        .into_iter()
        .flatten()
        .collect()
}
