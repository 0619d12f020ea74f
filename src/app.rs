//! The composition root: joins the parts to a node.

mod backends;
mod options;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::access::{self, Access, AccessOptions};
use crate::broker::{Broker, BrokerError};
use crate::clock::{Clock, SystemClock};
use crate::config::{self, AuthMode, Settings};
use crate::database::{Database, DatabaseError, Migrate};
use crate::feed::{self, Hub, Publisher};
use crate::http::{self, Listening, State};
use crate::inquiry::Inquiries;
use crate::intake::{AnswerLog, Budget, Configuration, FeedEpoch, Intake, Journal, OnCommit};
use crate::metrics::Metrics;
use crate::model::{Entry, NodeState};
use crate::presence::Presence;
use crate::runs::{self, Runs};
use crate::shutdown::Shutdown;
use crate::tally::Tallies;
use crate::upkeep::Upkeep;

pub use backends::{mistakes, open_broker, open_database};

/// What is written at the end has so long at least, whatever the listeners took; and so long before the end
/// nobody is waited for any more who is still sending.
const LAST_WORK: Duration = Duration::from_secs(2);

/// How often the optional ceilings are looked at.
const CEILINGS_PAUSE: Duration = Duration::from_secs(1);

/// How long a node that starts waits for a database that is away, and between two tries.
const START_PATIENCE: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_millis(500);

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("failed to open the database")]
    Database(#[from] DatabaseError),
    #[error("failed to set up the broker")]
    Broker(#[from] BrokerError),
    /// An address that cannot be listened on, or no room for a thread.
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// A running node.
pub struct Node {
    id: Uuid,
    listening: Listening,
    state: Arc<State>,
    broker: Arc<dyn Broker>,
    shutdown: Shutdown,
}

impl Node {
    /// Opens the database, brings its schema up to date, and starts serving.
    ///
    /// # Errors
    /// Where a setting does not work out: a file that cannot be opened, an address that is taken.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let database = open_database(&settings)?;
        let broker = open_broker(&settings)?;
        Self::start_with(settings, database, broker).await
    }

    /// The same with a database and a broker that are open already.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        settings: Settings,
        database: Arc<dyn Database>,
        broker: Arc<dyn Broker>,
    ) -> Result<Self, StartError> {
        prepare(database.as_ref(), &settings).await?;

        let shutdown = Shutdown::default();
        let metrics = Arc::new(Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let node = Uuid::new_v4();
        let topic = settings.broker.journal_topic();

        let hub =
            Hub::open(database.clone(), options::hub(&settings.feed), node, clock.clone(), metrics.clone())
                .await?;
        let publisher = Arc::new(Publisher::start(
            broker.clone(),
            topic.clone(),
            node,
            settings.feed.publish_queue_max,
            settings.feed.broker_capture_bytes_max,
            metrics.clone(),
            &shutdown,
        ));
        let subscription = broker.subscribe(&topic);
        shutdown.spawn(hub.clone().keep(subscription, shutdown.clone()));
        shutdown.spawn(hub.clone().ring(shutdown.clone()));

        let configuration = Arc::new(Configuration::new(
            database.clone(),
            settings.capture.auto_create,
            settings.rules.options(),
        ));
        configuration.refresh().await?;
        let journal = Journal::start(
            database.clone(),
            configuration.clone(),
            options::journal(&settings),
            feed_epoch(hub.clone()),
            on_commit(hub.clone(), publisher.clone()),
            metrics.clone(),
            &shutdown,
        )?;
        let memory = Budget::new(settings.server.memory_bytes_max, metrics.memory_bytes.clone());
        let intake = Arc::new(Intake::new(
            database.clone(),
            journal,
            configuration,
            AnswerLog::start(database.clone(), &memory, metrics.clone(), &shutdown),
            Budget::within(
                &memory,
                settings.capture.bodies_in_flight_bytes_max,
                metrics.bodies_in_flight_bytes.clone(),
            ),
            options::intake(&settings),
            clock.clone(),
            metrics.clone(),
            shutdown.clone(),
        ));
        look_at_ceilings(intake.clone(), settings.capture.kept_bytes_max, &shutdown);
        let tallies = Arc::new(Tallies::default());
        shutdown.spawn(feed::count(hub.clone(), tallies.clone(), shutdown.clone()));
        let upkeep = Upkeep {
            database: database.clone(),
            tallies,
            options: options::upkeep(&settings),
            clock: clock.clone(),
            metrics: metrics.clone(),
            node,
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(upkeep.run());

        let access = Access::open(database.clone(), access_options(&settings.auth), clock.clone()).await?;
        let access = Arc::new(access);
        shutdown.spawn(access.clone().keep(shutdown.clone()));

        let inquiries = Arc::new(Inquiries::new(
            database.clone(),
            options::inquiry(&settings),
            metrics.clone(),
            shutdown.clone(),
        ));
        let runs = Arc::new(Runs {
            database: database.clone(),
            options: options::runs(&settings),
            clock: clock.clone(),
            metrics: metrics.clone(),
            announce: announce(hub.clone(), publisher.clone()),
            node,
            turns: runs::Turns::default(),
        });
        shutdown.spawn(runs.clone().keep(shutdown.clone()));

        let options = options::server(&settings);
        let state = Arc::new(State::new(
            settings,
            database,
            access,
            runs,
            intake,
            inquiries,
            hub,
            publisher,
            broker.clone(),
            metrics,
            memory,
            clock,
            shutdown.clone(),
        ));
        let listening = http::start(&options, &state)?;
        state.set_bound(listening.capture);
        shutdown.spawn(presence(node, &state, listening.capture, listening.api).run());
        Ok(Self { id: node, listening, state, broker, shutdown })
    }

    /// Made at each start.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The address that captures are taken on.
    pub fn capture_address(&self) -> SocketAddr {
        self.listening.capture
    }

    /// The address of the API; the same, unless it has its own.
    pub fn api_address(&self) -> SocketAddr {
        self.listening.api
    }

    /// Whether nobody is asked for a token.
    pub fn is_open(&self) -> bool {
        self.state.access.is_open()
    }

    pub fn metrics(&self) -> &Metrics {
        &self.state.metrics
    }

    pub fn settings(&self) -> &Settings {
        &self.state.settings
    }

    /// Drains, finishes what was accepted, writes the journal's queue, closes everything. Whether all of
    /// it was done in the time that is set.
    pub async fn stop(self) -> bool {
        let server = &self.state.settings.server;
        let (drain, limit) = (server.drain(), server.shutdown_timeout());
        if !drain.is_zero() {
            self.shutdown.announce();
            tokio::time::sleep(drain).await;
        }
        let end = Instant::now() + limit;
        self.shutdown.drain();
        let mut listening = pin!(self.listening.stop());
        let mut answered = tokio::time::timeout(patience(limit), &mut listening).await.is_ok();
        if !answered {
            self.shutdown.hurry();
            answered = tokio::time::timeout_at(at_least(end), listening).await.is_ok();
        }
        // What was accepted gets into the queue before that is closed, also where its connection was cut.
        let queued = tokio::time::timeout_at(at_least(end), self.shutdown.released()).await.is_ok();
        self.shutdown.stop();
        let closed = tokio::time::timeout_at(at_least(end), async {
            self.shutdown.finish().await;
            self.broker.close().await;
            self.state.database.close().await;
        });
        closed.await.is_ok() && answered && queued
    }
}

/// How long a stopping node waits for who is still sending, of the time that it has.
fn patience(limit: Duration) -> Duration {
    limit - LAST_WORK.min(limit / 2)
}

/// The end of a stopping node's time, or some later where the last work would have less than it takes.
fn at_least(end: Instant) -> Instant {
    end.max(Instant::now() + LAST_WORK)
}

/// Migrates, or checks the schema; waits for a database that is starting too.
async fn prepare(database: &dyn Database, settings: &Settings) -> Result<(), DatabaseError> {
    let mode = match settings.database.migrate {
        config::Migrate::Auto => Migrate::Apply,
        config::Migrate::Off => Migrate::Check,
    };
    let patience = Instant::now() + START_PATIENCE;
    let migrated = loop {
        match database.migrate(mode).await {
            Err(error @ DatabaseError::Unavailable(_)) if Instant::now() < patience => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the database is away; trying again"
                );
                tokio::time::sleep(START_PAUSE).await;
            }
            result => break result?,
        }
    };
    for name in &migrated.applied {
        tracing::info!(migration = %name, "the schema was brought up to date");
    }
    tracing::info!(
        database = %database.dialect(),
        schema = migrated.version,
        durability = %database.durability().await?,
        "the database is ready"
    );
    Ok(())
}

/// Each batch goes to this node's hub and, through the broker, to the others.
fn on_commit(hub: Arc<Hub>, publisher: Arc<Publisher>) -> OnCommit {
    Box::new(move |epoch, entries: Vec<Entry>| {
        publisher.publish(epoch, &entries);
        hub.offer_local(epoch, entries);
    })
}

fn feed_epoch(hub: Arc<Hub>) -> FeedEpoch {
    Box::new(move || hub.epoch())
}

/// One entry that was committed outside of the writer goes the same way.
fn announce(hub: Arc<Hub>, publisher: Arc<Publisher>) -> runs::Announce {
    let on_commit = on_commit(hub.clone(), publisher);
    Box::new(move |entry| on_commit(hub.epoch(), vec![entry]))
}

/// Tells of the node as long as it runs.
fn presence(node: Uuid, state: &Arc<State>, listen: SocketAddr, api_listen: SocketAddr) -> Presence {
    let of = state.clone();
    let number = |gauge: i64| u64::try_from(gauge).unwrap_or_default();
    Presence {
        database: state.database.clone(),
        node,
        since_us: state.clock.now_us(),
        state: Box::new(move || NodeState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            listen: listen.to_string(),
            api_listen: api_listen.to_string(),
            draining: of.shutdown.is_announced(),
            database_up: of.database_is_up(),
            broker_up: of.broker_is_up(),
            subscribers: number(of.metrics.subscribers.get()),
            capture_sockets: number(of.metrics.capture_sockets.get()),
        }),
        shutdown: state.shutdown.clone(),
    }
}

fn look_at_ceilings(intake: Arc<Intake>, kept_bytes_max: u64, shutdown: &Shutdown) {
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            // So that a quiet node has not much to read when a request comes.
            let looked = async {
                intake.configuration().refresh().await?;
                intake.look_at_ceilings(kept_bytes_max).await
            };
            if let Err(error) = looked.await {
                tracing::debug!(error = &error as &dyn std::error::Error, "failed to look at what is kept");
            }
            tokio::select! {
                () = tokio::time::sleep(CEILINGS_PAUSE) => {}
                () = stopping.stopped() => return,
            }
        }
    });
}

fn access_options(auth: &config::Auth) -> AccessOptions {
    AccessOptions {
        asks: auth.mode == AuthMode::Tokens,
        tokens: auth.tokens.iter().map(|token| access::digest(token.expose())).collect(),
        failures_per_minute_max: auth.failures_per_minute_max,
    }
}
