//! `make bench`: capture throughput and fan-out, as ratios in one run on whatever machine it is.
//!
//! The parts are processes of their own: this program (which runs itself as the bare server, the load
//! and the subscribers), the node, the database, the broker. `docs/performance.md` says what is measured.

#![expect(clippy::print_stdout, reason = "the table is what this program is for")]
#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a bench that fails is to stop")]
#![expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "figures for people")]

use std::process::ExitCode;
use std::time::Duration;

mod bare;
mod capture;
mod fanout;
#[path = "../../tests/it/harness/mod.rs"]
#[expect(dead_code, unused_imports, unused_macros, reason = "tests use more of it")]
mod harness;
mod load;
mod one_insert;
mod report;
mod role;
mod rules;
mod sketch;
mod waits;
mod watch;

/// As the node's own, so that what is held against it has the same.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use harness::TestResult;
use report::Report;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = match words.as_slice() {
        ["bare", port] => bare::serve(port.parse().unwrap()),
        ["sketch", port, url] => sketch::serve(port.parse().unwrap(), url),
        ["load", rest @ ..] => runtime.block_on(load::run(rest)),
        ["waiting", rest @ ..] => runtime.block_on(waits::run(rest)),
        ["watch", rest @ ..] => runtime.block_on(watch::run(rest)),
        only => {
            let result = runtime.block_on(measure(only));
            harness::workplace::close();
            result
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the benches whose names are given, or all of them.
async fn measure(only: &[&str]) -> TestResult {
    let wanted = |name: &str| only.is_empty() || only.contains(&name);
    let seconds = std::env::var("CREEL_BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(8);
    let time = Duration::from_secs(seconds);
    let mut report = Report::new();
    if wanted("capture") {
        capture::measure(&mut report, time).await?;
    }
    if wanted("fanout") {
        fanout::measure(&mut report, time).await?;
    }
    if wanted("waits") {
        waits::measure(&mut report, time).await?;
    }
    if wanted("rules") {
        rules::measure(&mut report, time).await?;
    }
    report.print();
    report.save()
}
