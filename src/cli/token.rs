//! `creel token`: tokens are made, listed and revoked in the database itself, so that a first one can be made
//! without any. Nodes that run learn of it within a second.

use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::SettingsArgs;
use crate::app;
use crate::clock::{Clock as _, SystemClock};
use crate::config::{self, Settings};
use crate::database::{Database, DatabaseError, Migrate};
use crate::model::limits::TOKENS_MAX;
use crate::model::time::rfc3339;
use crate::model::token::{InvalidTokenOrder, TokenOrder};
use crate::storage;
use crate::storage::tokens::Token;

/// Tokens that are read at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token, and print its secret: this once, and never again.
    Create(CreateArgs),
    /// List tokens, those that are over too, without their secrets.
    List(SettingsArgs),
    /// Revoke a token, at once and for good.
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// What people are to know it by.
    #[arg(long)]
    name: String,
    /// What it is good for: `read`, `write` or `admin`.
    #[arg(long)]
    scope: String,
    /// The endpoints that it is for, where it is not for all; `*` is any run of characters.
    #[arg(long, value_name = "PATTERN")]
    pattern: Option<String>,
    /// How long it is good for: a number and `s`, `m`, `h` or `d`, as in `30d`. Left out: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expires_in: Option<u64>,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// The id, as `list` shows it.
    id: String,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum TokenError {
    #[error("the token cannot be made")]
    Order(#[from] InvalidTokenOrder),
    #[error("{TOKENS_MAX} tokens are in force; revoke some")]
    TooMany,
    #[error("there is no such token, or it is revoked already")]
    Unknown,
    #[error("failed to use the database")]
    Database(#[from] DatabaseError),
}

pub fn run(command: &TokenCommand) -> ExitCode {
    let (settings, runtime) = match super::prepare(command.settings()) {
        Ok(prepared) => prepared,
        Err(code) => return code,
    };
    let done = runtime.block_on(async {
        let database = open(&settings).await?;
        let done = act(database.as_ref(), command).await;
        database.close().await;
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            super::complain(&error);
            match error {
                TokenError::Order(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

impl TokenCommand {
    fn settings(&self) -> &SettingsArgs {
        match self {
            Self::Create(args) => &args.settings,
            Self::List(settings) => settings,
            Self::Revoke(args) => &args.settings,
        }
    }
}

/// The database, with the schema that tokens need.
async fn open(settings: &Settings) -> Result<Arc<dyn Database>, DatabaseError> {
    let database = app::open_database(settings)?;
    let mode = match settings.database.migrate {
        config::Migrate::Auto => Migrate::Apply,
        config::Migrate::Off => Migrate::Check,
    };
    database.migrate(mode).await?;
    Ok(database)
}

async fn act(database: &dyn Database, command: &TokenCommand) -> Result<(), TokenError> {
    let now_us = SystemClock.now_us();
    match command {
        TokenCommand::Create(args) => {
            let pattern = args.pattern.as_deref();
            let order = TokenOrder::parse(args.name.clone(), &args.scope, pattern, args.expires_in)?;
            create(database, Token::of(order, now_us)).await
        }
        TokenCommand::List(_) => list(database, now_us).await,
        TokenCommand::Revoke(args) => {
            match storage::tokens::revoke(database, &args.id, now_us).await?.as_slice() {
                [] => Err(TokenError::Unknown),
                _ => Ok(()),
            }
        }
    }
}

/// The secret stands alone on stdout, for scripts; what is told of it beside goes to stderr.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the secret is this command's output")]
async fn create(database: &dyn Database, token: Token) -> Result<(), TokenError> {
    let secret = storage::tokens::make(database, &token, None).await?.map_err(|_| TokenError::TooMany)?;
    eprintln!("{} is not shown again; its id is {}", token.name, token.id);
    println!("{secret}");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the list is this command's output")]
async fn list(database: &dyn Database, now_us: i64) -> Result<(), TokenError> {
    println!("{:36}  {:5}  {:27}  {:20}  NAME", "ID", "SCOPE", "GOOD UNTIL", "PATTERN");
    let mut behind: Option<String> = None;
    loop {
        let page = storage::tokens::list(database, behind.as_deref(), PAGE).await?;
        for token in &page {
            let until = match (token.revoked_us, token.expires_us) {
                (Some(_), _) => "revoked".to_owned(),
                (_, Some(expires_us)) if expires_us <= now_us => "expired".to_owned(),
                (_, Some(expires_us)) => rfc3339(expires_us),
                (None, None) => "revoked by hand".to_owned(),
            };
            let pattern =
                token.pattern.as_ref().map_or_else(|| "all endpoints".to_owned(), ToString::to_string);
            println!("{:36}  {:5}  {until:27}  {pattern:20}  {}", token.id, token.scope.name(), token.name);
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => behind = Some(last.id.clone()),
            _ => return Ok(()),
        }
    }
}

/// A time as people write it, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let unit = |unit| match unit {
        's' => Some(1),
        'm' => Some(60),
        'h' => Some(3_600),
        'd' => Some(86_400),
        _ => None,
    };
    let last = text.chars().last();
    let seconds = last.and_then(|last| {
        let count: u64 = text.strip_suffix(last)?.parse().ok()?;
        count.checked_mul(unit(last)?)
    });
    seconds.ok_or_else(|| "a number and `s`, `m`, `h` or `d` are expected, as in `30d`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_and_its_unit() {
        for (text, expected) in [("45s", 45), ("5m", 300), ("2h", 7_200), ("30d", 2_592_000)] {
            assert_eq!(seconds(text), Ok(expected));
        }
        for text in
            ["", "d", "30", "-1d", "1.5h", "30 d", "3w", "99999999999999999999d", "18446744073709551615d"]
        {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
