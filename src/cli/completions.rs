//! `creel completions`: what a shell needs to complete commands and flags.

use std::process::ExitCode;

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{Shell as Generator, generate};

use super::exit::Exit;
use super::terminal::Terminal;

/// How it is used.
pub const HELP: &str = "bash: source <(creel completions bash)
zsh:  creel completions zsh > \"${fpath[1]}/_creel\"
fish: creel completions fish > ~/.config/fish/completions/creel.fish";

/// Shells that completions are made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

pub fn run(shell: Shell) -> ExitCode {
    let generator = match shell {
        Shell::Bash => Generator::Bash,
        Shell::Zsh => Generator::Zsh,
        Shell::Fish => Generator::Fish,
    };
    let mut script = Vec::new();
    generate(generator, &mut super::Cli::command(), "creel", &mut script);
    let terminal = Terminal::find();
    match terminal.write(&script) {
        Ok(()) => Exit::Done.into(),
        Err(failed) if failed.exit == Exit::PipeClosed => failed.exit.into(),
        Err(failed) => {
            terminal.complain(&failed);
            failed.exit.into()
        }
    }
}
