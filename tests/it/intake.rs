//! The intake, over a database to which something happens at the worst moment.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use creel::app;
use creel::broker::LocalBroker;
use creel::clock::SystemClock;
use creel::config::{self, Settings, Source};
use creel::database::{Appended, Database, DatabaseError, JournalBatch, Migrate, Sql};
use creel::intake::{
    AnswerLog, Ask, Budget, Configuration, Intake, IntakeOptions, Journal, JournalOptions, OnCommit,
    Reception, Refusal,
};
use creel::metrics::Metrics;
use creel::model::Capture;
use creel::rules::sample::{self, SampleOptions};
use creel::shutdown::Shutdown;
use creel::storage;
use futures_util::future::{join_all, try_join_all};
use libtest_mimic::Trial;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use uuid::Uuid;

use crate::harness::client::{Framing, Subscriber, captures, list_captures};
use crate::harness::meddled::{Meddled, Meddling};
use crate::harness::{Needs, TestResult, eventually, trials, workplace};

const SOON: Duration = Duration::from_secs(30);
const MANY: usize = 64;

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_sender_that_gives_up_after_the_commit_stops_nobody,
            all_who_ask_for_the_configuration_at_once_share_a_read,
            the_refusals_of_a_batch_are_confirmed_together,
            a_configuration_that_is_not_told_holds_up_no_batch,
            a_batch_that_came_through_unseen_is_kept_once_whatever_was_removed,
            a_batch_that_is_late_has_time_to_be_committed,
            a_reception_that_outlives_its_runtime_is_let_go,
    }
}

fn settings(flags: &[(&'static str, &str)]) -> TestResult<Settings> {
    let url = format!("sqlite://{}", workplace::new_folder("intake")?.join("creel.db").display());
    let mut all = vec![("server.listen", "127.0.0.1:0".to_owned()), ("database.url", url)];
    all.extend(flags.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Ok(config::load(&Source { flags: all, ..Source::default() })?)
}

/// A node, and the database that is meddled with.
struct Site<M> {
    node: app::Node,
    database: Arc<Meddled<M>>,
    http: reqwest::Client,
}

impl<M: Meddling + 'static> Site<M> {
    async fn start(before: M, flags: &[(&'static str, &str)]) -> TestResult<Self> {
        let settings = settings(flags)?;
        let database = Arc::new(Meddled { inner: app::open_database(&settings)?, before });
        let node = app::Node::start_with(settings, database.clone(), Arc::new(LocalBroker::new())).await?;
        Ok(Self { node, database, http: reqwest::Client::new() })
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.node.capture_address())
    }

    async fn post(&self) -> TestResult<reqwest::Response> {
        Ok(self.http.post(self.url("/r/a")).body("x").send().await?)
    }

    async fn eventually_queued(&self, count: usize) {
        let queued = || async { usize::try_from(self.node.metrics().queue_captures.get()) == Ok(count) };
        eventually(SOON, "captures are queued", queued).await;
    }
}

/// An intake without a node.
async fn intake(
    database: Arc<dyn Database>,
    deadline: Duration,
    on_commit: OnCommit,
    shutdown: &Shutdown,
) -> TestResult<Arc<Intake>> {
    let settings = settings(&[])?;
    let metrics = Arc::new(Metrics::new());
    let configuration = Arc::new(Configuration::new(database.clone(), true, settings.rules.options()));
    configuration.refresh().await?;
    let options = JournalOptions {
        queue_bytes_max: 1 << 20,
        queue_captures_max: 100,
        batch_bytes_max: 1 << 20,
        batch_captures_max: 100,
        commit_deadline: deadline,
        rules_body_bytes_max: 1 << 20,
    };
    let journal = Journal::start(
        database.clone(),
        configuration.clone(),
        options,
        Box::new(|| 1),
        on_commit,
        metrics.clone(),
        shutdown,
    )?;
    let options = IntakeOptions {
        body_bytes_max: 1 << 20,
        body_inline_bytes_max: 1 << 16,
        body_part_bytes: 1 << 18,
        client_rate_max: 0,
        endpoints_max: 0,
        rules_body_bytes_max: 1 << 20,
    };
    let memory = Budget::new(1 << 20, Gauge::default());
    let answers = AnswerLog::start(database.clone(), &memory, metrics.clone(), shutdown);
    let bodies = Budget::new(1 << 20, Gauge::default());
    let clock = Arc::new(SystemClock);
    Ok(Arc::new(Intake::new(
        database,
        journal,
        configuration,
        answers,
        bodies,
        options,
        clock,
        metrics,
        shutdown.clone(),
    )))
}

async fn sqlite() -> TestResult<Arc<dyn Database>> {
    let database = app::open_database(&settings(&[])?)?;
    database.migrate(Migrate::Apply).await?;
    Ok(database)
}

fn sample() -> TestResult<Arc<Capture>> {
    let options = SampleOptions { id: Uuid::now_v7(), now_us: 0, prefix: "r" };
    Ok(Arc::new(sample::capture(&json!({"endpoint": "a"}), options)?))
}

/// The writer is at rest by then, and has to be told that nobody can come any more.
async fn a_sender_that_gives_up_after_the_commit_stops_nobody() -> TestResult {
    let is_stuck = Arc::new(AtomicBool::new(true));
    let telling = is_stuck.clone();
    let on_commit: OnCommit = Box::new(move |_, _| {
        while telling.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let shutdown = Shutdown::default();
    let intake = intake(sqlite().await?, Duration::from_millis(500), on_commit, &shutdown).await?;
    let accept = || async { intake.accept(sample()?, Ask::Nobody, None, true).await.map_err(Into::into) };
    let told: TestResult<_> = accept().await;
    assert_eq!(told.map(drop).map_err(|e| e.to_string()), Err(Refusal::DeadlinePassed.to_string()));
    is_stuck.store(false, Ordering::SeqCst);
    eventually(SOON, "captures are taken again", || async {
        let accepted: TestResult<_> = accept().await;
        accepted.is_ok()
    })
    .await;
    assert!(intake.is_available());
    shutdown.stop();
    shutdown.finish().await;
    Ok(())
}

/// Counts what is read, and may refuse it.
#[derive(Default)]
struct Counted {
    queries: AtomicUsize,
    is_away: AtomicBool,
}

#[async_trait::async_trait]
impl Meddling for Counted {
    async fn statement(&self, _sql: &Sql) -> Result<(), DatabaseError> {
        self.queries.fetch_add(1, Ordering::SeqCst);
        // Others come meanwhile.
        tokio::task::yield_now().await;
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(DatabaseError::Unavailable("it is away".into())),
            false => Ok(()),
        }
    }
}

async fn all_who_ask_for_the_configuration_at_once_share_a_read() -> TestResult {
    let database = Arc::new(Meddled { inner: sqlite().await?, before: Counted::default() });
    let options = settings(&[])?.rules.options();
    let configuration = Configuration::new(database.clone(), true, options);
    let counted = &database.before;
    for is_away in [false, true, false] {
        counted.is_away.store(is_away, Ordering::SeqCst);
        counted.queries.store(0, Ordering::SeqCst);
        let asked = join_all((0..MANY).map(|_| configuration.refresh())).await;
        assert!(asked.iter().all(|read| read.is_err() == is_away), "away: {is_away}");
        // One had begun when most of them asked; the next was for all of these.
        assert_eq!(counted.queries.load(Ordering::SeqCst), 2, "away: {is_away}");
    }
    Ok(())
}

/// Commits wait while it is closed, and reads of the configuration while it says so; counts these.
#[derive(Default)]
struct Gate {
    is_closed: AtomicBool,
    is_silent: AtomicBool,
    reads: AtomicUsize,
}

#[async_trait::async_trait]
impl Meddling for Gate {
    async fn append(&self) {
        while self.is_closed.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn statement(&self, sql: &Sql) -> Result<(), DatabaseError> {
        if sql.sqlite.contains("configuration_forgotten") {
            self.reads.fetch_add(1, Ordering::SeqCst);
            while self.is_silent.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }
}

async fn the_refusals_of_a_batch_are_confirmed_together() -> TestResult {
    let flags = [("capture.auto_create", "false"), ("journal.commit_deadline_ms", "60000")];
    let site = Site::start(Gate::default(), &flags).await?;
    let endpoint = site.url("/api/endpoints/a");
    assert!(site.http.put(&endpoint).json(&json!({})).send().await?.status().is_success());
    assert_eq!(site.post().await?.status(), 200);
    let gate = &site.database.before;
    gate.is_closed.store(true, Ordering::SeqCst);
    let withdrawn = async {
        site.eventually_queued(MANY).await;
        assert!(site.http.delete(&endpoint).send().await?.status().is_success());
        let before = gate.reads.load(Ordering::SeqCst);
        gate.is_closed.store(false, Ordering::SeqCst);
        TestResult::Ok(before)
    };
    let (answers, before) = tokio::join!(try_join_all((0..MANY).map(|_| site.post())), withdrawn);
    let reads = gate.reads.load(Ordering::SeqCst) - before?;
    assert!(answers?.iter().all(|answer| answer.status() == 404));
    // The node reads it every second besides.
    assert!(reads < MANY / 4, "{reads} reads for {MANY} refusals");
    site.node.stop().await;
    Ok(())
}

async fn a_configuration_that_is_not_told_holds_up_no_batch() -> TestResult {
    let site = Site::start(Gate::default(), &[]).await?;
    let gate = &site.database.before;
    gate.is_closed.store(true, Ordering::SeqCst);
    let changed = async {
        site.eventually_queued(1).await;
        let endpoint = site.url("/api/endpoints/a");
        assert!(site.http.put(&endpoint).json(&json!({})).send().await?.status().is_success());
        gate.is_silent.store(true, Ordering::SeqCst);
        gate.is_closed.store(false, Ordering::SeqCst);
        TestResult::Ok(())
    };
    let (answer, changed) = tokio::join!(site.post(), changed);
    changed?;
    // By the writer itself, which knows that it was not kept; not by a sender that has lost its patience.
    let text = answer?.text().await?;
    assert!(text.contains("/problems/database-away"), "{text}");
    gate.is_silent.store(false, Ordering::SeqCst);
    assert_eq!(site.post().await?.status(), 200);
    site.node.stop().await;
    Ok(())
}

/// Commits wait while it is closed. The first of several captures comes through, and is not heard of; meanwhile two of
/// them are removed.
#[derive(Default)]
struct Unseen {
    is_closed: AtomicBool,
    removed: Mutex<Vec<Uuid>>,
}

#[async_trait::async_trait]
impl Meddling for Unseen {
    async fn append(&self) {
        while self.is_closed.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn appended(
        &self,
        inner: &dyn Database,
        batch: &JournalBatch<'_>,
        outcome: Result<Appended, DatabaseError>,
    ) -> Result<Appended, DatabaseError> {
        let is_first = self.removed.lock().is_ok_and(|removed| removed.is_empty());
        if batch.captures.len() < 4 || !is_first {
            return outcome;
        }
        outcome?;
        for capture in [&batch.captures[0], &batch.captures[2]] {
            let removal = Uuid::now_v7();
            storage::removals::remove_one(inner, &capture.endpoint, capture.id, removal, 0, None).await?;
            self.removed.lock().expect("nobody panics with it").push(capture.id);
        }
        Err(DatabaseError::Unavailable("its answer was lost".into()))
    }
}

async fn a_batch_that_came_through_unseen_is_kept_once_whatever_was_removed() -> TestResult {
    const BATCH: usize = 8;
    let site = Site::start(Unseen::default(), &[("journal.commit_deadline_ms", "60000")]).await?;
    let address = site.node.capture_address().to_string();
    let mut seen = Subscriber::open(Framing::Ndjson, &address, "endpoint=a").await?;
    let unseen = &site.database.before;
    unseen.is_closed.store(true, Ordering::SeqCst);
    let opened = async {
        site.eventually_queued(1 + BATCH).await;
        unseen.is_closed.store(false, Ordering::SeqCst);
    };
    let alone = async {
        let answer = site.post().await?;
        assert_eq!(answer.status(), 200);
        TestResult::Ok(())
    };
    let together = async {
        site.eventually_queued(1).await;
        let answers = try_join_all((0..BATCH).map(|_| site.post())).await?;
        assert!(answers.iter().all(|answer| answer.status() == 200), "all of them came through");
        TestResult::Ok(())
    };
    let (alone, together, ()) = tokio::join!(alone, together, opened);
    alone?;
    together?;
    let removed = unseen.removed.lock().expect("nobody panics with it").clone();
    assert_eq!(removed.len(), 2);
    // One capture, eight, and what tells of two removals; none came again.
    assert_eq!(storage::journal::head(&*site.database).await?.seq, 11);
    let kept = list_captures(&site.http, &address, "endpoint=a").await?;
    assert_eq!(kept.len(), 1 + BATCH - removed.len());
    // Those who watch were told the places that they have.
    let last = site.post().await?.headers()["x-creel-capture-id"].to_str()?.to_owned();
    let messages = seen.read_until(SOON, |message| message["capture"]["id"] == *last).await?;
    let told = captures(&messages);
    for capture in &kept {
        let seqs: Vec<_> =
            told.iter().filter(|told| told["id"] == capture["id"]).map(|told| &told["seq"]).collect();
        assert_eq!(seqs, [&capture["seq"]]);
    }
    site.node.stop().await;
    Ok(())
}

/// The first commit blocks until the next batch is nearly late; that takes a moment.
struct Late {
    until: Mutex<Option<Instant>>,
    is_first: AtomicBool,
}

#[async_trait::async_trait]
impl Meddling for Late {
    async fn append(&self) {
        if !self.is_first.swap(false, Ordering::SeqCst) {
            return tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let goes_on =
            || self.until.lock().is_ok_and(|until| until.is_some_and(|until| Instant::now() >= until));
        while !goes_on() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn a_batch_that_is_late_has_time_to_be_committed() -> TestResult {
    const DEADLINE: Duration = Duration::from_secs(2);
    const LEFT: Duration = Duration::from_millis(100);
    // On a busy machine it may be too late altogether, which is another answer.
    for _ in 0..5 {
        let late = Late { until: Mutex::new(None), is_first: AtomicBool::new(true) };
        let site = Site::start(late, &[("journal.commit_deadline_ms", "2000")]).await?;
        let next = async {
            site.eventually_queued(1).await;
            *site.database.before.until.lock().expect("nobody panics with it") =
                Some(Instant::now() + DEADLINE - LEFT);
            site.post().await
        };
        let (first, next) = tokio::join!(site.post(), next);
        assert_eq!(first?.status(), 200);
        let next = next?;
        let (status, text) = (next.status(), next.text().await?);
        let is_available = site.node.metrics().database_up.get() == 1;
        site.node.stop().await;
        if text.contains("/problems/database-away") {
            continue;
        }
        assert_eq!((status.as_u16(), is_available), (200, true), "{text}");
        return Ok(());
    }
    Err("it was always too late".into())
}

async fn a_reception_that_outlives_its_runtime_is_let_go() -> TestResult {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Runtime::new().expect("there is room for threads");
        let reception = runtime.block_on(async {
            let on_commit: OnCommit = Box::new(|_, _| {});
            let intake = intake(sqlite().await?, SOON, on_commit, &Shutdown::default()).await?;
            let mut reception = Reception::begin(intake, sample()?, None).await?;
            reception.push(b"some of it").await?;
            TestResult::Ok(reception)
        });
        drop(runtime);
        reception.map(drop).map_err(|error| error.to_string())
    });
    let ended = tokio::task::spawn_blocking(|| thread.join()).await?;
    Ok(ended.map_err(|_| "it panicked")??)
}
