//! `creel settings-reference`: docs/settings.md, on stdout.

use std::process::ExitCode;

use crate::config::reference;

#[expect(clippy::print_stdout, reason = "the reference is this command's output")]
pub fn settings() -> ExitCode {
    print!("{}", reference::markdown());
    ExitCode::SUCCESS
}
