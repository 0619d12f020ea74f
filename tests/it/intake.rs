//! The intake, over a database to which something happens at the worst moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use creel::app;
use creel::clock::SystemClock;
use creel::config::{self, Settings, Source};
use creel::database::{Database, Migrate};
use creel::intake::{
    AnswerLog, Ask, Budget, Configuration, Intake, IntakeOptions, Journal, JournalOptions, OnCommit, Refusal,
};
use creel::metrics::Metrics;
use creel::model::Capture;
use creel::rules::sample::{self, SampleOptions};
use creel::shutdown::Shutdown;
use libtest_mimic::Trial;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Needs, TestResult, eventually, trials, workplace};

const SOON: Duration = Duration::from_secs(30);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            a_sender_that_gives_up_after_the_commit_stops_nobody,
    }
}

fn settings(flags: &[(&'static str, &str)]) -> TestResult<Settings> {
    let url = format!("sqlite://{}", workplace::new_folder("intake")?.join("creel.db").display());
    let mut all = vec![("server.listen", "127.0.0.1:0".to_owned()), ("database.url", url)];
    all.extend(flags.iter().map(|(name, value)| (*name, (*value).to_owned())));
    Ok(config::load(&Source { flags: all, ..Source::default() })?)
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
    let answers = AnswerLog::start(database.clone(), metrics.clone(), shutdown);
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
    let on_commit: OnCommit = Box::new(move |_| {
        while telling.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let shutdown = Shutdown::default();
    let intake = intake(sqlite().await?, Duration::from_millis(500), on_commit, &shutdown).await?;
    let accept =
        || async { intake.accept(sample()?, Ask::Nobody, Bytes::new(), true).await.map_err(Into::into) };
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
