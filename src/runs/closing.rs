//! Closing runs. Each step can be done again, by whichever node: what is done is passed over, and two that close one run
//! at once do no harm.

use std::time::Instant;

use super::Runs;
use crate::database::DatabaseError;
use crate::model::run::{AtClosing, RunState};
use crate::model::time::id_at;
use crate::model::{Change, EndpointCode, Run};
use crate::storage;
use crate::storage::configuration::{Seen, Wanted};

/// Items of configuration that are removed in one commit.
const ITEMS: u32 = 500;

/// Times that a commit of removals is tried again because somebody has changed an item meanwhile.
const TRIES: u32 = 50;

impl Runs {
    /// Closes a run, and those that were opened within it: revokes its token, counts what it has caught, removes its
    /// configuration, and its captures where it says so, or `captures` does. Returns it as it is then.
    pub async fn close(
        &self,
        run: &Run,
        captures: Option<AtClosing>,
        by: Option<&str>,
    ) -> Result<Run, DatabaseError> {
        let database = self.database.as_ref();
        storage::runs::begin_closing(database, run, captures, self.clock.now_us()).await?;
        for closing in storage::runs::closing(database, &run.prefix).await? {
            self.finish(&closing, by).await?;
        }
        Ok(storage::runs::find(database, &run.id).await?.unwrap_or_else(|| run.clone()))
    }

    /// Closes a run that is not closed, and forgets it. Its captures stay where it keeps them.
    pub async fn remove(&self, run: &Run, by: Option<&str>) -> Result<(), DatabaseError> {
        let closed = match run.state {
            RunState::Closed => run.clone(),
            _ => self.close(run, None, by).await?,
        };
        self.forget(&closed).await
    }

    /// Closes a run of which nothing is to be left.
    pub(super) async fn abandon(&self, run: &Run) -> Result<(), DatabaseError> {
        let by = run.opened_by.as_deref();
        let closed = self.close(run, Some(AtClosing::Remove), by).await?;
        // It may have been closed before all of it was there.
        self.revoke(&closed, by).await?;
        self.forget(&closed).await
    }

    async fn finish(&self, run: &Run, by: Option<&str>) -> Result<(), DatabaseError> {
        self.revoke(run, by).await?;
        self.settle(run, by).await?;
        self.clear(run, by, None, None).await.map(drop)
    }

    /// Keeps what a run has caught, and removes its configuration.
    pub(super) async fn settle(&self, run: &Run, by: Option<&str>) -> Result<(), DatabaseError> {
        if run.counts.is_none() {
            self.keep_counts(run).await?;
        }
        self.remove_configuration(run, by).await
    }

    async fn keep_counts(&self, run: &Run) -> Result<(), DatabaseError> {
        let database = self.database.as_ref();
        let _turn = self.counting.closing().await;
        // Somebody else who closes it may have been quicker.
        let known = storage::runs::find(database, &run.id).await?;
        if known.is_some_and(|run| run.counts.is_some()) {
            return Ok(());
        }
        let counts = serde_json::to_string(&self.count(run).await?).expect("texts and numbers are JSON");
        storage::runs::keep_counts(database, &run.id, &counts).await
    }

    /// The last of closing: removes captures, where they are not to stay, behind a code, and says that the run is
    /// closed. Where that takes longer than until an instant it returns the code to go on behind.
    pub(super) async fn clear(
        &self,
        run: &Run,
        by: Option<&str>,
        behind: Option<EndpointCode>,
        until: Option<Instant>,
    ) -> Result<Option<EndpointCode>, DatabaseError> {
        if run.captures == AtClosing::Remove
            && let Some(last) = self.remove_captures(run, by, behind, until).await?
        {
            return Ok(Some(last));
        }
        storage::runs::finish(self.database.as_ref(), &run.id, self.clock.now_us()).await.map(|()| None)
    }

    pub(super) async fn revoke(&self, run: &Run, by: Option<&str>) -> Result<(), DatabaseError> {
        let Some(token) = &run.token else { return Ok(()) };
        let (database, now_us) = (self.database.as_ref(), self.clock.now_us());
        if storage::tokens::revoke(database, token, now_us).await? {
            (self.announce)(storage::tokens::note(database, token, Change::Removed, by, now_us).await?);
        }
        Ok(())
    }

    /// Removes rules and endpoints of the prefix, also those that came while it was open, and states of scenarios.
    async fn remove_configuration(&self, run: &Run, by: Option<&str>) -> Result<(), DatabaseError> {
        let database = self.database.as_ref();
        let mut tries = 0;
        while tries < TRIES {
            let items = storage::configuration::list_behind(database, &run.prefix, ITEMS).await?;
            if items.is_empty() {
                return storage::states::forget_behind(database, &run.prefix).await;
            }
            let removed = |item: &storage::configuration::Item| Wanted {
                kind: item.kind,
                name: item.name.clone(),
                document: None,
                seen: Some(Seen::from(item)),
            };
            let wanted: Vec<Wanted> = items.iter().map(removed).collect();
            let now_us = self.clock.now_us();
            match storage::configuration::apply(database, &wanted, by, now_us, || id_at(now_us)).await? {
                Some(entries) => entries.into_iter().for_each(&self.announce),
                None => tries += 1,
            }
        }
        Err(DatabaseError::Unavailable("too many others change the run's configuration".into()))
    }

    async fn remove_captures(
        &self,
        run: &Run,
        by: Option<&str>,
        mut behind: Option<EndpointCode>,
        until: Option<Instant>,
    ) -> Result<Option<EndpointCode>, DatabaseError> {
        let database = self.database.as_ref();
        loop {
            let last = behind.as_ref().map_or("", EndpointCode::as_str);
            let next = storage::run_counts::endpoint_behind(database, &run.prefix, last).await?;
            let Some((endpoint, is_shown)) = next else { return Ok(None) };
            if is_shown {
                let now_us = self.clock.now_us();
                let id = id_at(now_us);
                let entry = storage::removals::remove_all(database, &endpoint, id, now_us, by).await?;
                (self.announce)(entry);
            }
            behind = Some(endpoint);
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(behind);
            }
        }
    }

    /// Forgets a run that is closed, and once more what stands behind its prefix: a node may have taken its token
    /// for a moment after it was revoked.
    pub(super) async fn forget(&self, run: &Run) -> Result<(), DatabaseError> {
        self.remove_configuration(run, None).await?;
        storage::runs::forget(self.database.as_ref(), run).await
    }
}
