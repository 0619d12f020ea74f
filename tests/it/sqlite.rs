//! What only SQLite has: a log that is copied beside the writer, a file that another program may lock, and
//! a disk that may not answer.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use creel::app;
use creel::broker::LocalBroker;
use creel::config::{self, Settings, Source};
use creel::database::sqlite::{SqliteDatabase, SqliteOptions};
use creel::database::{Database, DatabaseError, Sql};
use futures_util::future::join_all;
use libtest_mimic::Trial;

use crate::harness::client::Load;
use crate::harness::meddled::{Meddled, Meddling};
use crate::harness::node::Node;
use crate::harness::{Needs, TestResult, eventually, trials, workplace};

const SOON: Duration = Duration::from_secs(60);

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::NOTHING =>
            the_log_is_copied_beside_the_writer_and_stays_small,
            files_are_their_owners_alone,
            a_file_that_is_locked_is_told_and_waited_for,
            a_disk_that_does_not_answer_is_told_and_waited_for,
            those_who_look_at_much_leave_readers_to_others,
            a_disk_that_is_full_is_told_at_once_until_there_is_room,
    }
}

async fn the_log_is_copied_beside_the_writer_and_stays_small() -> TestResult {
    const MIB: u64 = 1 << 20;
    let node = Node::builder().setting("log.level", "warn").start().await?;
    let length = |name: &str| {
        let file = node.folder().join("creel-data").join(name);
        TestResult::Ok(std::fs::metadata(file)?.len())
    };
    let load = Load::start_large(8, &[node.address()], "/r/a", 48 * 1024);
    eventually(SOON, "200 MiB", || async { load.acknowledged() >= 200 * 1024 / 48 }).await;
    let sent = load.stop().await;
    assert_eq!((sent.broken, sent.refused.len()), (0, 0), "{:?}", sent.refused);
    let (log, file) = (length("creel.db-wal")?, length("creel.db")?);
    assert!(log < 64 * MIB, "the log has {} MiB", log / MIB);
    assert!(file > 100 * MIB, "the file has {} MiB", file / MIB);
    node.kill9();
    node.start_again().await?;
    let least = sent.acknowledged.len() as u64;
    eventually(SOON, "all that was acknowledged is there", || async {
        let kept =
            async { TestResult::Ok(node.json("/api/endpoints").await?["endpoints"][0]["captures"].as_u64()) };
        kept.await.is_ok_and(|kept| kept >= Some(least))
    })
    .await;
    Ok(())
}

async fn files_are_their_owners_alone() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "secret").await?;
    let folder = node.folder().join("creel-data");
    let mut files = vec![folder.clone()];
    for file in std::fs::read_dir(folder)? {
        files.push(file?.path());
    }
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let mode = std::fs::metadata(&file)?.permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", file.display());
    }
    Ok(())
}

/// As by a program that looks into the database, or copies it.
async fn a_file_that_is_locked_is_told_and_waited_for() -> TestResult {
    let node = Node::builder().start().await?;
    node.post("/r/a", "before").await?;
    let other = rusqlite::Connection::open(node.folder().join("creel-data/creel.db"))?;
    other.execute_batch("BEGIN IMMEDIATE")?;
    let begun = Instant::now();
    let refused = node.request("POST", "/r/a", "Content-Length: 0\r\n").await?;
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.header("retry-after").is_some());
    assert!(begun.elapsed() < Duration::from_secs(10), "nobody hangs: {:?}", begun.elapsed());
    other.execute_batch("ROLLBACK")?;
    eventually(SOON, "it catches again", || async { node.post("/r/a", "after").await.is_ok() }).await;
    node.check_unharmed().await
}

fn settings(folder: &str) -> TestResult<Settings> {
    let url = format!("sqlite://{}", workplace::new_folder(folder)?.join("creel.db").display());
    let flags = vec![("server.listen", "127.0.0.1:0".into()), ("database.url", url)];
    Ok(config::load(&Source { flags, ..Source::default() })?)
}

/// The next commit takes as long as it is told to.
struct Stuck(Arc<AtomicBool>);

#[async_trait::async_trait]
impl Meddling for Stuck {
    async fn append(&self) {
        while self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The commit blocks the journal's thread; its senders, and those that come after, are told all the same.
async fn a_disk_that_does_not_answer_is_told_and_waited_for() -> TestResult {
    let settings = settings("stuck")?;
    let is_stuck = Arc::new(AtomicBool::new(false));
    let stuck = Meddled { inner: app::open_database(&settings)?, before: Stuck(is_stuck.clone()) };
    let node = app::Node::start_with(settings, Arc::new(stuck), Arc::new(LocalBroker::new())).await?;
    let (http, url) = (reqwest::Client::new(), format!("http://{}/r/a", node.capture_address()));
    let post = || async { TestResult::Ok(http.post(&url).body("x").send().await?) };
    assert_eq!(post().await?.status(), 200);
    is_stuck.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    let doubtful = post().await?;
    assert_eq!(doubtful.status(), 503);
    assert!(doubtful.text().await?.contains("/problems/not-confirmed"));
    let told = Instant::now();
    assert!(told - begun < Duration::from_secs(12), "it hung: {:?}", told - begun);
    let refused = post().await?;
    assert_eq!(refused.status(), 503);
    assert!(refused.text().await?.contains("/problems/database-away"));
    assert!(told.elapsed() < Duration::from_secs(3), "nobody waits for nothing: {:?}", told.elapsed());
    is_stuck.store(false, Ordering::SeqCst);
    eventually(SOON, "it catches again", || async { post().await.is_ok_and(|a| a.status() == 200) }).await;
    node.stop().await;
    Ok(())
}

async fn those_who_look_at_much_leave_readers_to_others() -> TestResult {
    const ENDLESS: Sql =
        Sql::same("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n");
    const ONE: Sql = Sql::same("SELECT 1");
    let path = workplace::new_folder("scans")?.join("creel.db");
    let options = SqliteOptions { path, readers_max: 4, statement_timeout: Duration::from_secs(2) };
    let database = Arc::new(SqliteDatabase::open(options)?);
    let scans = (0..8).map(|_| {
        let database = database.clone();
        tokio::spawn(async move { database.scan(&ENDLESS, &[]).await })
    });
    let scans: Vec<_> = scans.collect();
    eventually(SOON, "some of them look", || async { database.pool().in_use >= 2 }).await;
    for _ in 0..20 {
        assert_eq!(database.query(&ONE, &[]).await?.len(), 1, "others do not wait for them");
        assert!(database.pool().in_use <= 2);
    }
    let mut busy = 0;
    for ended in join_all(scans).await {
        match ended? {
            Err(DatabaseError::Busy) => busy += 1,
            Err(DatabaseError::Unavailable(_)) => {}
            other => return Err(format!("it has no end: {other:?}").into()),
        }
    }
    assert!(busy > 0, "somebody had no turn in time");
    database.close().await;
    Ok(())
}

/// Full by its own limit, which is to SQLite as a disk that is.
async fn a_disk_that_is_full_is_told_at_once_until_there_is_room() -> TestResult {
    const NO_FURTHER_PAGE: Sql = Sql::same("PRAGMA max_page_count = 1");
    const ROOM: Sql = Sql::same("PRAGMA max_page_count = 1000000");
    let settings = settings("full")?;
    let database = app::open_database(&settings)?;
    let node = app::Node::start_with(settings, database.clone(), Arc::new(LocalBroker::new())).await?;
    let (http, url) = (reqwest::Client::new(), format!("http://{}", node.capture_address()));
    let post =
        || async { TestResult::Ok(http.post(format!("{url}/r/a")).body("x".repeat(60_000)).send().await?) };
    assert_eq!(post().await?.status(), 200);
    database.batch(&[(&NO_FURTHER_PAGE, Vec::new())]).await?;
    let begun = Instant::now();
    // For as long as it takes to look for room several times.
    while begun.elapsed() < Duration::from_millis(1500) {
        let refused = post().await?;
        assert_eq!(refused.status(), 503);
        assert!(refused.headers().contains_key("retry-after"));
        let text = refused.text().await?;
        assert!(text.contains("/problems/database-away"), "nothing was kept, and that is sure: {text}");
        assert_eq!(http.get(format!("{url}/readyz")).send().await?.status(), 503);
    }
    database.batch(&[(&ROOM, Vec::new())]).await?;
    eventually(SOON, "it catches again", || async { post().await.is_ok_and(|a| a.status() == 200) }).await;
    let kept =
        http.get(format!("{url}/api/captures?body=none")).send().await?.json::<serde_json::Value>().await?;
    let seqs: Vec<_> = kept["captures"].as_array().into_iter().flatten().map(|c| c["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(2), Some(1)]);
    let parts = database.query(&Sql::same("SELECT COUNT(*) FROM body_parts"), &[]).await?;
    assert_eq!(parts[0].int(0)?, 0, "what was tried leaves nothing");
    node.stop().await;
    Ok(())
}
