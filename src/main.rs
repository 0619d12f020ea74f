//! Creel's one binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    creel::cli::run()
}
