//! What a run comes to: what it has caught, by endpoint and rule, and what it was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Runs, Uncounted};
use crate::database::DatabaseError;
use crate::model::run::Verification;
use crate::model::{ConfigurationKind, Run};
use crate::storage;
use crate::storage::run_counts::{Count, Place};

/// Endpoints, and rules, that a summary names; the others are counted together.
const NAMED_MAX: usize = 1_000;

/// A run with all that is known of it.
#[derive(Debug, Clone)]
pub struct Summary {
    pub run: Run,
    pub counts: Counts,
    /// The first of them, in their order; the run knows how many were made.
    pub verifications: Vec<Verification>,
}

/// What a run has caught, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub captures: Caught,
    /// Rules that have answered, and those of the run that have not.
    pub rules: Vec<OfRule>,
    /// Captures that no rule has answered.
    pub unmatched: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Caught {
    pub total: i64,
    /// Of targets, headers and bodies.
    pub bytes: i64,
    pub by_endpoint: Vec<OfEndpoint>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfEndpoint {
    /// None: all that are not named, together.
    pub endpoint: Option<String>,
    pub captures: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfRule {
    /// None: all that are not named, together.
    pub rule: Option<String>,
    pub captures: i64,
}

/// Why a run is not summed up.
#[derive(Debug, thiserror::Error)]
pub enum Unsummed {
    #[error(transparent)]
    Uncounted(#[from] Uncounted),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Runs {
    /// What a run comes to: as it was kept when the run was closed, or as it stands now.
    ///
    /// # Errors
    /// Where it is open, and cannot be counted in time.
    pub async fn summary(&self, run: Run) -> Result<Summary, Unsummed> {
        let counts = match &run.counts {
            Some(kept) => serde_json::from_str(kept).map_err(|error| DatabaseError::Other(error.into()))?,
            None => self.counting.count(self.count(&run)).await??,
        };
        let verifications = storage::runs::verifications(self.database.as_ref(), &run.id).await?;
        Ok(Summary { run, counts, verifications })
    }

    /// Counts what a run has caught and is kept still, up to where its closing began.
    pub(super) async fn count(&self, run: &Run) -> Result<Counts, DatabaseError> {
        let database = self.database.as_ref();
        let upto = match run.end_seq {
            Some(seq) => seq,
            None => storage::journal::head(database).await?.seq,
        };
        let mut tally = Tally::default();
        let most = u32::try_from(NAMED_MAX).unwrap_or(u32::MAX);
        for item in storage::configuration::list_behind(database, &run.prefix, most).await? {
            if item.kind == ConfigurationKind::Rule {
                tally.rules.add(&item.name, 0);
            }
        }
        let mut next = Some(Place::start(&run.prefix));
        while let Some(place) = next {
            let step = storage::run_counts::step(database, &run.prefix, upto, &place).await?;
            step.counts.iter().for_each(|count| tally.add(count));
            next = step.next;
        }
        Ok(tally.counts())
    }
}

/// Counts while they are added up.
#[derive(Debug, Default)]
struct Tally {
    total: i64,
    bytes: i64,
    unmatched: i64,
    endpoints: Named,
    rules: Named,
}

/// Sums by name; of names past so many together.
#[derive(Debug, Default)]
struct Named {
    by_name: BTreeMap<String, i64>,
    others: i64,
}

impl Tally {
    fn add(&mut self, count: &Count) {
        self.total += count.captures;
        self.bytes += count.bytes;
        self.endpoints.add(&count.endpoint, count.captures);
        match count.rule.as_str() {
            "" => self.unmatched += count.captures,
            rule => self.rules.add(rule, count.captures),
        }
    }

    fn counts(self) -> Counts {
        let by_endpoint = self.endpoints.list(|endpoint, captures| OfEndpoint { endpoint, captures });
        Counts {
            captures: Caught { total: self.total, bytes: self.bytes, by_endpoint },
            rules: self.rules.list(|rule, captures| OfRule { rule, captures }),
            unmatched: self.unmatched,
        }
    }
}

impl Named {
    fn add(&mut self, name: &str, captures: i64) {
        if let Some(sum) = self.by_name.get_mut(name) {
            *sum += captures;
        } else if self.by_name.len() < NAMED_MAX {
            self.by_name.insert(name.to_owned(), captures);
        } else {
            self.others += captures;
        }
    }

    fn list<T>(self, item: impl Fn(Option<String>, i64) -> T) -> Vec<T> {
        let others = (self.others > 0).then_some((None, self.others));
        let named = self.by_name.into_iter().map(|(name, sum)| (Some(name), sum));
        named.chain(others).map(|(name, sum)| item(name, sum)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capture_is_counted_however_many_names_there_are() {
        let mut tally = Tally::default();
        let count = |endpoint: &str, rule: &str| Count {
            endpoint: endpoint.to_owned(),
            rule: rule.to_owned(),
            captures: 2,
            bytes: 3,
        };
        for number in 0..NAMED_MAX + 5 {
            tally.add(&count(&format!("e{number}"), if number % 2 == 0 { "" } else { "r" }));
        }
        tally.add(&count("e0", "r"));
        let counts = tally.counts();
        let total = 2 * i64::try_from(NAMED_MAX + 6).unwrap();
        assert_eq!((counts.captures.total, counts.captures.bytes), (total, total / 2 * 3));
        assert_eq!(counts.captures.by_endpoint.len(), NAMED_MAX + 1);
        assert_eq!(counts.captures.by_endpoint.iter().map(|of| of.captures).sum::<i64>(), total);
        assert_eq!(counts.captures.by_endpoint.last().unwrap(), &OfEndpoint { endpoint: None, captures: 10 });
        assert_eq!(counts.unmatched + counts.rules[0].captures, total);
    }
}
