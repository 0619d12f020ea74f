//! All integration tests, in one binary: `cargo test --test it`.
//!
//! A capability's tests stand in a file of its own, which lists them in `trials()`; `harness` is what
//! they are made of, and `CONTRIBUTING.md` tells how to add one. A test whose servers are not installed
//! is shown as ignored, with `[needs ...]` before its name; under `make test` it fails instead.

#![expect(clippy::print_stdout, reason = "the guard's test talks to its parent over standard output")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod access;
mod api;
mod autobahn;
mod capture;
mod cli;
mod cluster;
mod conformance;
mod e2e;
mod exports;
mod faults;
mod harness;
mod hostile;
mod inquiry;
mod intake;
mod memory;
mod nodes;
mod openapi;
mod operations;
mod reports;
mod resuming;
mod retention;
mod rules;
mod runs;
mod selftest;
mod settings;
mod shim;
mod sockets;
mod sqlite;
mod stopping;
mod stream;
mod tidy;
mod tls;
mod tokens;
mod wait;

fn main() -> ExitCode {
    if selftest::guard::is_to_hold() {
        return selftest::guard::hold();
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials());
    harness::workplace::close();
    conclusion.exit_code()
}

fn trials() -> Vec<Trial> {
    [
        tidy::trials(),
        selftest::trials(),
        conformance::trials(),
        tls::trials(),
        cluster::trials(),
        faults::trials(),
        sqlite::trials(),
        intake::trials(),
        resuming::trials(),
        shim::trials(),
        capture::trials(),
        sockets::trials(),
        stream::trials(),
        api::trials(),
        exports::trials(),
        inquiry::trials(),
        rules::trials(),
        cli::trials(),
        runs::trials(),
        access::trials(),
        tokens::trials(),
        wait::trials(),
        settings::trials(),
        openapi::trials(),
        operations::trials(),
        stopping::trials(),
        retention::trials(),
        reports::trials(),
        nodes::trials(),
        hostile::trials(),
        memory::trials(),
        e2e::trials(),
        autobahn::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
