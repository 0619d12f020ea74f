//! How a command ends: its exit code, and what it says when it does not do what was asked.

use std::process::ExitCode;

use crate::client::Failure;
use crate::client::url::InvalidUrl;

/// The exit codes of commands that ask a node (`docs/cli.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; what was asked holds.
    Done = 0,
    /// Not: it does not hold, is not there, or was refused for what it is.
    Not = 1,
    /// Wrong usage.
    Usage = 2,
    /// The node could not be reached, or does not let one in.
    Unreachable = 3,
    /// Ended by Ctrl-C, as shells say it.
    Interrupted = 130,
    /// Nobody reads the output any more, as shells say it.
    PipeClosed = 141,
    /// Ended by SIGTERM, as shells say it.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed, and what to do next.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
}

/// How a command ends.
pub type Outcome<T = Exit> = Result<T, Failed>;

impl Failed {
    /// It is not as asked.
    pub fn not(message: impl Into<String>) -> Self {
        Self { exit: Exit::Not, message: message.into(), hint: None }
    }

    /// The command was used wrongly.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, message: message.into(), hint: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<std::io::Error> for Failed {
    /// A failure to write what the command says.
    fn from(error: std::io::Error) -> Self {
        let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        let exit = if closed { Exit::PipeClosed } else { Exit::Not };
        Self { exit, message: format!("failed to write: {error}"), hint: None }
    }
}

impl From<InvalidUrl> for Failed {
    fn from(error: InvalidUrl) -> Self {
        Self::usage(format!("the URL is not valid: {error}"))
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        let (exit, hint) = match &failure {
            Failure::Unreachable { reason, .. } if reason.contains("certificate") => {
                (Exit::Unreachable, Some("trust its certificate by SSL_CERT_FILE=<file of certificates>"))
            }
            Failure::Unreachable { .. } | Failure::Silent { .. } => (
                Exit::Unreachable,
                Some("does a node run there? `creel` starts one; --url or CREEL_URL names another"),
            ),
            Failure::Garbled { .. } => {
                (Exit::Unreachable, Some("is this the URL of a node? --url or CREEL_URL names another"))
            }
            Failure::TooLarge { .. } => (Exit::Not, Some("ask for less: --limit")),
            Failure::Refused(refusal) => of_status(refusal.status, &refusal.kind),
        };
        Self { exit, message: failure.to_string(), hint: hint.map(str::to_owned) }
    }
}

/// What a refusal means for whoever asked.
fn of_status(status: u16, kind: &str) -> (Exit, Option<&'static str>) {
    match status {
        300..=399 => (
            Exit::Unreachable,
            Some(
                "this leads elsewhere, and redirects are not followed: name that place by --url or CREEL_URL",
            ),
        ),
        401 => (
            Exit::Unreachable,
            Some("give a token that is good there: --token or CREEL_TOKEN; a run's own ends with its run"),
        ),
        403 if kind == "foreign-host" => {
            (Exit::Unreachable, Some("name the node by its IP address, or set `server.public_url` there"))
        }
        403 => (
            Exit::Unreachable,
            Some("the token's scope or pattern is not enough: give another by --token or CREEL_TOKEN"),
        ),
        404 if kind == "not-found" => {
            (Exit::Not, Some("does the node have its API on this URL, and is it as new as this command?"))
        }
        400 => (Exit::Usage, None),
        429 => (Exit::Unreachable, Some("too many wrong tokens came from here; wait a minute")),
        500.. if status != 507 => (Exit::Unreachable, Some("the node is in trouble; its log says more")),
        _ => (Exit::Not, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::failure::Refusal;

    #[test]
    fn a_refusal_ends_as_what_it_means() {
        for (status, exit) in [
            (301, Exit::Unreachable),
            (400, Exit::Usage),
            (401, Exit::Unreachable),
            (403, Exit::Unreachable),
            (404, Exit::Not),
            (412, Exit::Not),
            (429, Exit::Unreachable),
            (503, Exit::Unreachable),
            (507, Exit::Not),
        ] {
            let failed = Failed::from(Failure::from(Refusal::read(status, b"{}")));
            assert_eq!(failed.exit, exit, "{status}");
        }
    }
}
