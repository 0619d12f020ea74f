//! Runs: a test opens one, has the codes behind its prefix to itself, and closes it, or it expires. What it has caught
//! and what it was asked is its summary, which stays when its rules and captures are gone.
//!
//! A run's row comes first and goes last: whatever a node that is killed leaves behind belongs to a run, and whichever
//! node holds the lease closes it when its time is over, or goes on where closing has stopped.

mod closing;
mod counting;
pub mod junit;
mod keeper;
mod order;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use uuid::Uuid;

use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::metrics::Metrics;
use crate::model::limits::TOKENS_MAX;
use crate::model::run::{RUN_PREFIX_BYTES_MAX, RunState, Verification};
use crate::model::time::id_at;
use crate::model::{Change, ConfigurationKind, Cursor, Entry, Glob, Run, Scope};
use crate::rules::document::Wish;
use crate::rules::{Invalid, RuleOptions};
use crate::storage;
use crate::storage::configuration::Wanted;
use crate::storage::tokens::Token;
pub use counting::{Counting, Uncounted};
pub use order::{Order, at_closing};
pub use summary::{Counts, OfEndpoint, OfRule, Summary, Unsummed};

/// Random letters in a prefix. Nobody meets another's by chance, nor finds it by trying.
const PREFIX_LETTERS: usize = 10;

/// Times that a prefix is drawn anew because another run has it.
const PREFIX_TRIES: u32 = 5;

#[derive(Debug, Clone)]
pub struct RunOptions {
    /// Runs that may be open at a time, in the whole cluster.
    pub open_max: u64,
    /// How long a closed run is known.
    pub kept: Duration,
    /// Items of a kind that there may be in all.
    pub rules_max: u64,
    pub endpoints_max: u64,
    /// What documents must keep to.
    pub rules: RuleOptions,
}

/// Passes on an entry that was committed.
pub type Announce = Box<dyn Fn(Entry) + Send + Sync>;

pub struct Runs {
    pub database: Arc<dyn Database>,
    pub options: RunOptions,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub announce: Announce,
    /// Turns to count.
    pub counting: Counting,
    /// Who holds the lease.
    pub node: Uuid,
}

/// Who opens a run.
#[derive(Debug, Clone, Default)]
pub struct Opener {
    /// As changes are recorded; None where nobody is asked.
    pub by: Option<String>,
    /// The endpoints that there are for them; None means all.
    pub pattern: Option<Glob>,
    /// When they are not let in any more, in microseconds. What they open is over by then.
    pub expires_us: Option<i64>,
}

/// A run that was opened, with the secret of its token, which is not told again.
#[derive(Debug)]
pub struct Opened {
    pub run: Run,
    pub secret: Option<String>,
}

/// Why a run is not opened. Nothing of it is there then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error("{0}")]
    Configuration(Invalid),
    #[error(
        "a run takes the codes behind its prefix, so the token's pattern ends with `*`, and is short enough that the \
         prefix has at most {RUN_PREFIX_BYTES_MAX} bytes"
    )]
    Pattern,
    #[error("{0}")]
    Full(String),
    #[error("the run was over before all of it was there")]
    Over,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Runs {
    /// Opens a run. When it returns, its rules and its token are in force on every node.
    ///
    /// # Errors
    /// With the reason; what was done by then is undone, by the keeper where that fails too.
    pub async fn open(&self, order: &Order, opener: &Opener) -> Result<Opened, Refused> {
        for _ in 0..PREFIX_TRIES {
            let prefix = fresh_prefix(opener.pattern.as_ref())?;
            let wishes = order.wishes(&prefix, &self.options.rules).map_err(Refused::Configuration)?;
            self.has_room(&wishes).await?;
            let run = self.drawn(order, opener, prefix);
            match storage::runs::open(self.database.as_ref(), run, self.options.open_max).await {
                Ok(Some(run)) => return self.equip(run, wishes).await,
                Ok(None) => {
                    let most = self.options.open_max;
                    return Err(Refused::Full(format!("{most} runs are open; close some")));
                }
                Err(DatabaseError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refused::Over)
    }

    fn drawn(&self, order: &Order, opener: &Opener, prefix: String) -> Run {
        let now_us = self.clock.now_us();
        let expires_us = now_us.saturating_add(order.ttl_us);
        Run {
            id: id_at(now_us).to_string(),
            name: order.name.clone(),
            labels: order.labels.clone(),
            prefix,
            state: RunState::Open,
            captures: order.captures,
            opened_us: now_us,
            expires_us: opener.expires_us.map_or(expires_us, |most| most.min(expires_us)),
            closed_us: None,
            start: Cursor::default(),
            end_seq: None,
            token: order.token.then(|| id_at(now_us).to_string()),
            opened_by: opener.by.clone(),
            made: 0,
            passed: 0,
            counts: None,
        }
    }

    async fn has_room(&self, wishes: &[Wish]) -> Result<(), Refused> {
        let kinds = [
            (ConfigurationKind::Endpoint, "endpoints", self.options.endpoints_max),
            (ConfigurationKind::Rule, "rules", self.options.rules_max),
        ];
        for (kind, list, most) in kinds {
            let wished = wishes.iter().filter(|((of, _), _)| *of == kind).count() as u64;
            if wished > 0
                && storage::configuration::count(self.database.as_ref(), kind).await? + wished > most
            {
                return Err(Refused::Full(format!("there may be {most} {list}")));
            }
        }
        Ok(())
    }

    async fn equip(&self, run: Run, wishes: Vec<Wish>) -> Result<Opened, Refused> {
        match self.put_in_force(&run, wishes).await {
            Ok(secret) => Ok(Opened { run, secret }),
            Err(refused) => {
                if let Err(error) = self.abandon(&run).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, run = run.id, "failed to undo a run; it is closed when it expires");
                }
                Err(refused)
            }
        }
    }

    /// The configuration in one commit, then the token; its secret, where there is one.
    async fn put_in_force(&self, run: &Run, wishes: Vec<Wish>) -> Result<Option<String>, Refused> {
        let (database, by) = (self.database.as_ref(), run.opened_by.as_deref());
        let wanted: Vec<Wanted> = wishes
            .into_iter()
            .map(|((kind, name), document)| Wanted { kind, name, document: Some(document), seen: None })
            .collect();
        let now_us = self.clock.now_us();
        let applied = storage::configuration::apply(database, &wanted, by, now_us, || id_at(now_us)).await?;
        applied.ok_or(Refused::Over)?.into_iter().for_each(&self.announce);
        let Some(id) = &run.token else { return Ok(None) };
        let token = Token {
            id: id.clone(),
            name: format!("run {}", run.id),
            scope: Scope::Write,
            pattern: Some(run.codes()),
            created_us: now_us,
            expires_us: Some(run.expires_us),
            revoked_us: None,
        };
        let secret = storage::tokens::make(database, &token).await?;
        let secret = secret.ok_or_else(|| Refused::Full(format!("{TOKENS_MAX} tokens are in force")))?;
        (self.announce)(storage::tokens::note(database, id, Change::Created, by, now_us).await?);
        // Whoever has closed it meanwhile may have looked before the token was there.
        let found = storage::runs::find(database, &run.id).await?;
        found.filter(|run| run.state == RunState::Open).map(|_| Some(secret)).ok_or(Refused::Over)
    }

    /// One run, where it is there for whoever sees the codes of a pattern alone.
    pub async fn find(&self, id: &str, pattern: Option<&Glob>) -> Result<Option<Run>, DatabaseError> {
        // Postgres has no text with NUL, and no run such an id.
        if id.contains('\0') {
            return Ok(None);
        }
        let found = storage::runs::find(self.database.as_ref(), id).await?;
        Ok(found.filter(|run| run.is_within(pattern)))
    }

    /// Records what a run was asked. Past so many it is counted alone; where the run is not open it is not recorded.
    pub async fn record(&self, id: &str, verification: &Verification) -> Result<bool, DatabaseError> {
        storage::runs::record_verification(self.database.as_ref(), id, verification).await
    }
}

/// A prefix that no other run has: within a pattern it takes the place of the wildcards.
fn fresh_prefix(pattern: Option<&Glob>) -> Result<String, Refused> {
    let mut rng = rand::rng();
    let letters = (0..PREFIX_LETTERS).map(|_| char::from(rng.random_range(b'a'..=b'z')));
    let own = format!("run-{}-", letters.collect::<String>());
    match pattern {
        None => Ok(own),
        Some(pattern) if pattern.has_open_end() => {
            Some(pattern.filled(&own)).filter(|it| it.len() <= RUN_PREFIX_BYTES_MAX).ok_or(Refused::Pattern)
        }
        Some(_) => Err(Refused::Pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_lies_within_the_pattern_of_whoever_opens_the_run() {
        for text in ["*", "ci-*", r"a\*b-*-c*", "x**"] {
            let pattern = Glob::parse(text).unwrap();
            let prefix = fresh_prefix(Some(&pattern)).unwrap();
            assert!(pattern.contains(&Glob::starting_with(&prefix)), "{text}: {prefix}");
            assert!(prefix.ends_with('-') && prefix.contains("run-"), "{prefix}");
        }
        for text in ["ci", "*-end", "ci-*x", &format!("{}*", "a".repeat(120))] {
            let refused = fresh_prefix(Some(&Glob::parse(text).unwrap()));
            assert!(matches!(refused, Err(Refused::Pattern)), "{text}");
        }
        let one = fresh_prefix(None).unwrap();
        assert_eq!(one.len(), 15);
        assert_ne!(one, fresh_prefix(None).unwrap());
    }
}
