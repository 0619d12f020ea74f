//! The configuration as this node knows it: a version, and what was true at it.
//!
//! It may be behind, and that does no harm: a batch commits only under the version that it was matched
//! with, and a refusal is confirmed by a read that began after the request came.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;
use tokio::time::Instant;

use crate::database::{Database, DatabaseError};
use crate::model::{ConfigurationKind, EndpointCode};
use crate::rules::{Endpoint, Rule, RuleOptions, RuleSet, Stamp};
use crate::storage;
use crate::storage::configuration::Item;

/// One version of the configuration. Cheap to make from the one before: what did not change is shared.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    pub config_seq: i64,
    /// The journal that the version is of.
    pub epoch: i64,
    /// Whether endpoints that were not declared catch requests too.
    auto_create: bool,
    endpoints: HashMap<EndpointCode, Arc<Endpoint>>,
    pub rules: RuleSet,
}

impl Snapshot {
    /// Whether there is such an endpoint, as far as requests are concerned.
    pub fn knows(&self, code: &EndpointCode) -> bool {
        self.auto_create || self.endpoints.contains_key(code)
    }

    /// What is set for an endpoint, where anything is.
    pub fn endpoint(&self, code: &EndpointCode) -> Option<&Arc<Endpoint>> {
        self.endpoints.get(code)
    }

    /// Whether rules for an endpoint, or what they answer, look into bodies.
    pub fn looks_into_bodies(&self, code: &EndpointCode) -> bool {
        self.rules.looks_into_bodies(code.as_str())
            || self.endpoint(code).is_some_and(|endpoint| endpoint.reply.is_some())
    }

    fn take(&mut self, item: &Item, options: &RuleOptions) {
        let taken = match item.kind {
            ConfigurationKind::Endpoint => self.take_endpoint(item, options),
            _ => self.take_rule(item, options),
        };
        // Only a version of Creel with other limits can have written it.
        if let Err(why) = taken {
            let kind = item.kind.name();
            tracing::error!(kind, name = item.name, %why, "configuration that this node cannot use");
        }
    }

    fn take_endpoint(&mut self, item: &Item, options: &RuleOptions) -> Result<(), String> {
        let code = EndpointCode::parse(&item.name).map_err(|error| error.to_string())?;
        self.endpoints.remove(&code);
        if let Some(document) = &item.document {
            // Until it can be read it takes nothing: what it asks of senders is not known.
            self.endpoints.insert(code.clone(), Arc::new(Endpoint::closed()));
            let document: Value = serde_json::from_str(document).map_err(|error| error.to_string())?;
            let endpoint = Endpoint::parse(&document, options).map_err(|error| error.to_string())?;
            self.endpoints.insert(code, Arc::new(endpoint));
        }
        Ok(())
    }

    fn take_rule(&mut self, item: &Item, options: &RuleOptions) -> Result<(), String> {
        self.rules.remove(&item.name);
        if let Some(document) = &item.document {
            let document: Value = serde_json::from_str(document).map_err(|error| error.to_string())?;
            let stamp =
                Stamp { version: item.version, created_seq: item.created_seq, changed_seq: item.changed_seq };
            let rule =
                Rule::parse(&item.name, &document, stamp, options).map_err(|error| error.to_string())?;
            self.rules.put(rule);
        }
        Ok(())
    }
}

pub struct Configuration {
    database: Arc<dyn Database>,
    options: RuleOptions,
    current: RwLock<Arc<Snapshot>>,
    /// One load at a time serves all that wait for it, failed or not.
    newest: tokio::sync::Mutex<Option<Load>>,
}

/// The load that was begun last.
struct Load {
    began: Instant,
    failed: bool,
}

impl Configuration {
    /// An empty configuration; the first batch finds out.
    pub fn new(database: Arc<dyn Database>, auto_create: bool, options: RuleOptions) -> Self {
        let empty = Self::empty(auto_create);
        let current = RwLock::new(Arc::new(empty));
        Self { database, options, current, newest: tokio::sync::Mutex::default() }
    }

    fn empty(auto_create: bool) -> Snapshot {
        Snapshot { config_seq: i64::MIN, auto_create, ..Snapshot::default() }
    }

    pub fn current(&self) -> Arc<Snapshot> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn options(&self) -> &RuleOptions {
        &self.options
    }

    /// Makes sure that the configuration is at least as new as this call, and returns it. Nobody waits for more than
    /// the load that is under way and one more.
    pub async fn refresh(&self) -> Result<Arc<Snapshot>, DatabaseError> {
        let asked = Instant::now();
        let mut newest = self.newest.lock().await;
        if let Some(load) = newest.as_ref().filter(|load| load.began >= asked) {
            return match load.failed {
                true => {
                    Err(DatabaseError::Unavailable("the configuration could not be read just now".into()))
                }
                false => Ok(self.current()),
            };
        }
        let began = Instant::now();
        let loaded = self.load().await;
        *newest = Some(Load { began, failed: loaded.is_err() });
        loaded
    }

    async fn load(&self) -> Result<Arc<Snapshot>, DatabaseError> {
        let known = self.current();
        let first = storage::configuration::changed_after(self.database.as_ref(), known.config_seq).await?;
        let is_new = known.config_seq == i64::MIN;
        let same_journal = is_new || first.epoch == known.epoch;
        if first.config_seq == known.config_seq && same_journal {
            return Ok(known);
        }
        tracing::debug!(from = known.config_seq, to = first.config_seq, "the configuration has changed");
        // Removals that are forgotten, or another journal: everything is read again.
        let anew = known.config_seq < first.forgotten_seq || first.config_seq < known.config_seq;
        let (mut snapshot, mut page) = if (anew || !same_journal) && !is_new {
            let empty = Self::empty(known.auto_create);
            let all = storage::configuration::changed_after(self.database.as_ref(), i64::MIN).await?;
            (empty, all)
        } else {
            ((*known).clone(), first)
        };
        loop {
            page.items.iter().for_each(|item| snapshot.take(item, &self.options));
            if page.complete {
                break;
            }
            let place = page.items.last().map_or(i64::MAX, |item| item.changed_seq);
            page = storage::configuration::changed_after(self.database.as_ref(), place).await?;
        }
        (snapshot.config_seq, snapshot.epoch) = (page.config_seq, page.epoch);
        let snapshot = Arc::new(snapshot);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        Ok(snapshot)
    }
}
