//! What every implementation of a trait must do: one suite a trait, run over each backend.

use libtest_mimic::Trial;

mod broker;
mod database;

pub fn trials() -> Vec<Trial> {
    [broker::trials(), database::trials()].into_iter().flatten().collect()
}
