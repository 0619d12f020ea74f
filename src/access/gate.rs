//! The gate: who is let in, by what they show.
//!
//! Every node holds all tokens that are in force, and looks every so often whether they have changed: so a
//! token that was revoked is of no use anywhere within a second, and no request waits for the database. A
//! token that is not known is looked for once more before it is refused, so that a new one works everywhere at
//! once.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ring::hmac;
use subtle::ConstantTimeEq as _;
use tokio::sync::watch;

use super::behind;
use super::identity::{Holder, Identity};
use super::leave::Leave;
use super::places::Places;
use super::secret::{Digest, digest, fresh_ticket, is_ticket, is_token, random};
use crate::clock::Clock;
use crate::database::{Database, DatabaseError};
use crate::model::cursor::InvalidCursor;
use crate::shutdown::Shutdown;
use crate::sites::Sites;
use crate::storage;
use crate::storage::tickets::Ticket;

/// Pause between two looks at whether tokens have changed.
const LOOK_PAUSE: Duration = Duration::from_millis(400);

/// How long a ticket is good for.
const TICKET_US: i64 = 30_000_000;

#[derive(Debug, Clone)]
pub struct AccessOptions {
    /// Whether anybody is asked at all.
    pub asks: bool,
    /// Digests of the tokens that the settings name; they may do everything.
    pub tokens: Vec<Digest>,
    /// 0: no limit.
    pub failures_per_minute_max: u32,
}

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    #[error("the token or ticket is not known, or not any more")]
    Unknown,
    /// With the seconds until it may be tried again.
    #[error("too many wrong tokens came from this address")]
    TooMany(u32),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

pub struct Access {
    database: Arc<dyn Database>,
    clock: Arc<dyn Clock>,
    options: AccessOptions,
    /// Who is right is never counted.
    failures: Sites,
    known: RwLock<Arc<Known>>,
    changed: watch::Sender<()>,
    /// One look at a time serves all that wait for it.
    looking: tokio::sync::Mutex<()>,
    cluster_key: hmac::Key,
}

/// The tokens of the database that are in force.
#[derive(Default)]
struct Known {
    version: i64,
    /// By the digest of the secret. How long a look takes tells of digests at most, which are of no use.
    by_digest: HashMap<Digest, Arc<Identity>>,
    by_id: HashMap<String, Arc<Identity>>,
}

impl Access {
    /// Reads the tokens, and the cluster's key, which the first node makes.
    pub async fn open(
        database: Arc<dyn Database>,
        options: AccessOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, DatabaseError> {
        let key = storage::secrets::find_or_keep(database.as_ref(), "cluster", &random::<32>()).await?;
        let access = Self {
            database,
            clock,
            failures: Sites::per_minute(options.failures_per_minute_max),
            options,
            known: RwLock::default(),
            changed: watch::Sender::new(()),
            looking: tokio::sync::Mutex::default(),
            cluster_key: hmac::Key::new(hmac::HMAC_SHA256, &key),
        };
        access.look().await?;
        Ok(access)
    }

    /// Keeps the tokens up to date until the node stops.
    pub async fn keep(self: Arc<Self>, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_PAUSE) => {}
                () = shutdown.stopped() => return,
            }
            self.failures.forget();
            if let Err(error) = self.look().await {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to look at tokens");
            }
        }
    }

    /// Makes sure that all changes that were made before this call are known here.
    pub async fn look(&self) -> Result<(), DatabaseError> {
        let _alone = self.looking.lock().await;
        let version = storage::tokens::version(self.database.as_ref()).await?;
        if version == self.known().version {
            return Ok(());
        }
        let mut known = Known { version, ..Known::default() };
        for token in storage::tokens::list_live(self.database.as_ref(), self.now_us()).await? {
            let identity = Arc::new(Identity {
                holder: Holder::Token(token.id.clone()),
                scope: token.scope,
                pattern: token.pattern,
                expires_us: token.expires_us,
            });
            if let Ok(digest) = Digest::try_from(token.hash) {
                known.by_digest.insert(digest, identity.clone());
                known.by_id.insert(token.id, identity);
            }
        }
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        self.changed.send_replace(());
        Ok(())
    }

    /// Whether nobody is asked for a token: by the settings, or because there was never one. Once there was, the
    /// last one's end opens nothing.
    pub fn is_open(&self) -> bool {
        !self.options.asks || (self.options.tokens.is_empty() && self.known().version == 0)
    }

    /// Who has this token.
    pub async fn identify(&self, secret: &str, client: IpAddr) -> Result<Arc<Identity>, Denied> {
        let digest = digest(secret);
        // Every token is compared, whole, so that time tells nothing.
        let matches = |sum, own: &Digest| sum | own.ct_eq(&digest).unwrap_u8();
        if self.options.tokens.iter().fold(0, matches) == 1 {
            return Ok(Identity::all_mighty(Holder::Settings));
        }
        if let Some(identity) = self.find(|known| known.by_digest.get(&digest)) {
            return Ok(identity);
        }
        self.failures.count(client).map_err(Denied::TooMany)?;
        if !is_token(secret) {
            return Err(Denied::Unknown);
        }
        self.look().await?;
        self.find(|known| known.by_digest.get(&digest)).ok_or(Denied::Unknown)
    }

    /// A ticket that stands for somebody, and when it is over; None where too many are out.
    pub async fn give_ticket(&self, identity: &Identity) -> Result<Option<(String, i64)>, DatabaseError> {
        let secret = fresh_ticket(&self.cluster_key);
        let digest = digest(&secret);
        let ticket = Ticket {
            holder: identity.holder.name().to_owned(),
            scope: identity.scope,
            pattern: identity.pattern.clone(),
        };
        let now_us = self.now_us();
        let expires_us = now_us + TICKET_US;
        let given = storage::tickets::create(self.database.as_ref(), &ticket, &digest, now_us, expires_us);
        Ok(given.await?.then_some((secret, expires_us)))
    }

    /// Whom a ticket stands for, if they may come in still. It is good once.
    pub async fn claim(&self, secret: &str, client: IpAddr) -> Result<Arc<Identity>, Denied> {
        let ticket = match is_ticket(&self.cluster_key, secret) {
            true => storage::tickets::claim(self.database.as_ref(), &digest(secret), self.now_us()).await?,
            false => None,
        };
        let Some(ticket) = ticket else {
            self.failures.count(client).map_err(Denied::TooMany)?;
            return Err(Denied::Unknown);
        };
        let mut identity = Identity {
            holder: Holder::named(&ticket.holder),
            scope: ticket.scope,
            pattern: ticket.pattern,
            expires_us: None,
        };
        if let Holder::Token(id) = &identity.holder {
            // A ticket may come here before the news of its maker's token.
            if self.find(|known| known.by_id.get(id)).is_none() {
                self.look().await?;
            }
            let maker = self.find(|known| known.by_id.get(id)).ok_or(Denied::Unknown)?;
            identity.expires_us = maker.expires_us;
        }
        if self.holds(&identity) { Ok(Arc::new(identity)) } else { Err(Denied::Unknown) }
    }

    /// Whether somebody who was let in would be let in now.
    pub fn holds(&self, identity: &Identity) -> bool {
        match &identity.holder {
            Holder::Anybody => self.is_open(),
            Holder::Settings => true,
            Holder::Token(id) => !self.options.asks || self.find(|known| known.by_id.get(id)).is_some(),
        }
    }

    /// The leave to go on, for as long as somebody is let in.
    pub fn leave(self: &Arc<Self>, identity: Arc<Identity>) -> Leave {
        Leave::new(self.clone(), identity, self.changed.subscribe())
    }

    /// How somebody is shown places in the journal.
    pub fn places(&self, identity: &Identity) -> Places {
        match identity.pattern {
            None => Places::Plain,
            Some(_) => Places::sealed(&self.cluster_key, identity.holder.name()),
        }
    }

    /// The cursor of a listing that goes by name, behind a name.
    pub fn behind(&self, listing: &str, name: &str) -> String {
        behind::write(&self.cluster_key, listing, name)
    }

    /// The name behind which a listing is to go on.
    ///
    /// # Errors
    /// Where this cluster has not given the cursor out for this listing.
    pub fn read_behind(&self, listing: &str, cursor: &str) -> Result<String, InvalidCursor> {
        behind::read(&self.cluster_key, listing, cursor)
    }

    pub(super) fn now_us(&self) -> i64 {
        self.clock.now_us()
    }

    fn known(&self) -> Arc<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is found among the known, unless it is over.
    fn find(&self, find: impl Fn(&Known) -> Option<&Arc<Identity>>) -> Option<Arc<Identity>> {
        find(&self.known()).cloned().filter(|identity| !identity.is_over(self.now_us()))
    }
}
