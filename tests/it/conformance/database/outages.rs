//! What a server can go through: Postgres killed, frozen, cut off, and back again.

use std::time::Instant;

use creel::database::Dialect;

use super::*;
use crate::harness::proxy::Proxy;
use crate::harness::servers::Postgres;
use crate::harness::{eventually, trials};

/// For statements here.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// Until a call has to have failed: connecting, the statement, and a busy machine.
const AT_ONCE: Duration = Duration::from_secs(6);
const SOON: Duration = Duration::from_secs(30);

const ONE: Sql = Sql::same("SELECT CAST(1 AS BIGINT)");

pub fn trials() -> Vec<Trial> {
    trials! {
        Needs::OWN_POSTGRES =>
            a_killed_postgres_is_unavailable_and_comes_back,
            a_frozen_postgres_is_unavailable_and_comes_back,
            a_postgres_that_is_away_from_the_start_is_waited_for;
        Needs::POSTGRES =>
            a_batch_cut_off_anywhere_is_there_once_or_not_at_all,
            a_statement_that_takes_too_long_is_given_up,
            a_statement_that_nobody_waits_for_is_stopped_and_its_connection_closed,
            a_connection_outlives_the_thread_that_needed_it_first,
            nobody_holds_the_head_by_falling_silent;
    }
}

/// Every way to use the database fails as one that is away, and none of them hangs.
async fn check_unavailable(database: &dyn Database) -> TestResult {
    let began = Instant::now();
    let captures = [capture("a", 0)];
    let batch = JournalBatch { captures: &captures, config_seq: 0, states: None };
    let outcomes = tokio::join!(
        async { database.append(&batch).await.map(drop) },
        async { database.execute(&ONE, &[]).await.map(drop) },
        async { database.query(&ONE, &[]).await.map(drop) },
        async { database.batch(&[(&ONE, vec![]), (&ONE, vec![])]).await.map(drop) },
    );
    let took = began.elapsed();
    assert!(took < AT_ONCE, "it took {took:?}");
    for outcome in [outcomes.0, outcomes.1, outcomes.2, outcomes.3] {
        assert!(matches!(outcome, Err(DatabaseError::Unavailable(_))), "{outcome:?}");
    }
    Ok(())
}

async fn works_again(database: &dyn Database) {
    eventually(SOON, "the database works again", || async {
        append(database, &[capture("a", 0)]).await.is_ok()
            && database.batch(&[(&ONE, vec![]), (&ONE, vec![])]).await.is_ok()
            && database.execute(&ONE, &[]).await.is_ok()
    })
    .await;
}

/// Numbers are dense, and everything that was told to be kept is there.
async fn check_kept(database: &dyn Database, told: &[(i64, Uuid)]) -> TestResult {
    let entries = storage::journal::list_after(database, 0, i64::MAX, 1_000_000).await?;
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=head_seq(database).await?));
    for (seq, id) in told {
        assert_eq!(storage::journal::find_seq(database, *id).await?, Some(*seq));
    }
    Ok(())
}

async fn append_some(database: &dyn Database, told: &mut Vec<(i64, Uuid)>) -> TestResult {
    for _ in 0..20 {
        let capture = capture("a", 0);
        told.push((appended(database, std::slice::from_ref(&capture)).await?, capture.id));
    }
    Ok(())
}

async fn a_killed_postgres_is_unavailable_and_comes_back() -> TestResult {
    let server = Postgres::start().await?;
    let database = open_postgres(server.url(), TIMEOUT);
    database.migrate(Migrate::Apply).await?;
    let mut told = Vec::new();
    for way in ["kill -9", "immediate"] {
        append_some(&*database, &mut told).await?;
        match way {
            "kill -9" => server.kill9(),
            _ => drop(server.stop_immediate().await?),
        }
        check_unavailable(&*database).await?;
        server.start_again().await?;
        works_again(&*database).await;
        check_kept(&*database, &told).await?;
        assert_eq!(database.durability().await?, "fsync=on synchronous_commit=on");
    }
    Ok(())
}

async fn a_frozen_postgres_is_unavailable_and_comes_back() -> TestResult {
    let server = Postgres::start().await?;
    let database = open_postgres(server.url(), TIMEOUT);
    database.migrate(Migrate::Apply).await?;
    let mut told = Vec::new();
    append_some(&*database, &mut told).await?;
    server.freeze();
    // More often than there are connections, so that none is used up by it.
    for _ in 0..3 {
        check_unavailable(&*database).await?;
    }
    server.thaw();
    works_again(&*database).await;
    append_some(&*database, &mut told).await?;
    check_kept(&*database, &told).await
}

async fn a_postgres_that_is_away_from_the_start_is_waited_for() -> TestResult {
    let server = Postgres::start().await?;
    server.stop().await?;
    let database = open_postgres(server.url(), TIMEOUT);
    let migrated = database.migrate(Migrate::Apply).await;
    assert!(matches!(migrated, Err(DatabaseError::Unavailable(_))), "{migrated:?}");
    check_unavailable(&*database).await?;
    server.start_again().await?;
    database.migrate(Migrate::Apply).await?;
    works_again(&*database).await;
    Ok(())
}

/// The connection ends after each number of bytes in turn, of the request or of its answer.
async fn a_batch_cut_off_anywhere_is_there_once_or_not_at_all() -> TestResult {
    let server = shared_postgres().await?;
    let proxy = Proxy::start(address_of(server.url())?).await?;
    let database = open_postgres(&proxy.through(server.url())?, TIMEOUT);
    database.migrate(Migrate::Apply).await?;
    let direct = open_postgres(server.url(), TIMEOUT);
    let mut told = Vec::new();
    append_some(&*database, &mut told).await?;
    let (mut committed, mut lost) = (0, 0);
    for step in 0..60 {
        let batch: Vec<_> = (0..5).map(|i| capture("a", i)).collect();
        let before = head_seq(&*direct).await?;
        proxy.cut_after(step * 97);
        let first = database.append(&JournalBatch { captures: &batch, config_seq: 0, states: None }).await;
        if let Err(error) = &first {
            assert!(matches!(error, DatabaseError::Unavailable(_)), "{error:?}");
        }
        // The next tries of the same batch go through, whatever has become of the first.
        proxy.cut();
        let again = append_again(&*database, &batch).await;
        match (&first, &again) {
            (Ok(_), Err(DatabaseError::Conflict(_))) => {}
            (Err(_), Err(DatabaseError::Conflict(_))) => committed += 1,
            (Err(_), Ok(_)) => lost += 1,
            _ => return Err(format!("at {step}: {first:?}, then {again:?}").into()),
        }
        assert_eq!(head_seq(&*direct).await?, before + 5, "at {step}: once");
        for (seq, capture) in (before + 1..).zip(&batch) {
            told.push((seq, capture.id));
        }
    }
    assert!(lost > 0, "some were cut off before they had arrived");
    proxy.hold_replies();
    let batch = [capture("a", 0)];
    let held = append(&*direct, &batch).await;
    assert!(held.is_ok(), "{held:?}");
    let in_doubt = [capture("a", 0)];
    let answerless =
        database.append(&JournalBatch { captures: &in_doubt, config_seq: 0, states: None }).await;
    assert!(matches!(answerless, Err(DatabaseError::Unavailable(_))), "{answerless:?}");
    proxy.resume();
    proxy.cut();
    let again = append_again(&*database, &in_doubt).await;
    assert!(matches!(again, Err(DatabaseError::Conflict(_))), "it was kept unanswered: {again:?}");
    committed += 1;
    assert!(committed > 0);
    check_kept(&*direct, &told).await
}

/// Until the database answers.
async fn append_again(database: &dyn Database, batch: &[Arc<Capture>]) -> Result<Appended, DatabaseError> {
    let deadline = Instant::now() + SOON;
    loop {
        match append(database, batch).await {
            Err(DatabaseError::Unavailable(_)) if Instant::now() < deadline => {}
            outcome => return outcome,
        }
    }
}

async fn a_statement_that_takes_too_long_is_given_up() -> TestResult {
    const SLEEP: Sql = Sql::same("SELECT CAST(1 AS BIGINT) FROM pg_sleep(30)");
    let server = shared_postgres().await?;
    let database = open_postgres(server.url(), TIMEOUT);
    database.migrate(Migrate::Apply).await?;
    let began = Instant::now();
    let statements = [(&ONE, vec![]), (&SLEEP, vec![])];
    let slow = tokio::join!(database.query(&SLEEP, &[]), database.batch(&statements));
    assert!(matches!(slow.0, Err(DatabaseError::Unavailable(_))), "{:?}", slow.0);
    assert!(matches!(slow.1, Err(DatabaseError::Unavailable(_))), "{:?}", slow.1);
    assert!(began.elapsed() < AT_ONCE);
    assert_eq!(int(&*database, &ONE, &[]).await?, 1, "the next one is not kept waiting");
    Ok(())
}

const PID: Sql = Sql::same("SELECT CAST(pg_backend_pid() AS BIGINT)");

async fn a_statement_that_nobody_waits_for_is_stopped_and_its_connection_closed() -> TestResult {
    const SLEEP: Sql = Sql::same("SELECT CAST(1 AS BIGINT) FROM pg_sleep(90)");
    const ASLEEP: Sql = Sql::same(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()",
    );
    let server = shared_postgres().await?;
    let database = open_postgres(server.url(), Duration::from_secs(120));
    let direct = open_postgres(server.url(), TIMEOUT);
    for ways in ["query", "batch"] {
        let first = int(&*database, &PID, &[]).await?;
        let its = database.clone();
        let caller = tokio::spawn(async move {
            match ways {
                "query" => its.query(&SLEEP, &[]).await.map(drop),
                _ => its.batch(&[(&ONE, vec![]), (&SLEEP, vec![])]).await.map(drop),
            }
        });
        let asleep = async |count| {
            eventually(SOON, "it sleeps, or does not any more", || async {
                int(&*direct, &ASLEEP, &[]).await.is_ok_and(|asleep| asleep == count)
            })
            .await;
        };
        asleep(1).await;
        caller.abort();
        assert!(caller.await.is_err_and(|error| error.is_cancelled()));
        asleep(0).await;
        assert_ne!(int(&*database, &PID, &[]).await?, first, "{ways}: the connection is used no more");
    }
    eventually(SOON, "nothing is lent any more", || async { database.pool().in_use == 0 }).await;
    Ok(())
}

async fn a_connection_outlives_the_thread_that_needed_it_first() -> TestResult {
    let server = shared_postgres().await?;
    let database = open_postgres(server.url(), TIMEOUT);
    let its = database.clone();
    let first = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { int(&*its, &PID, &[]).await.expect("an answer") })
    });
    let first = first.await?;
    assert_eq!(int(&*database, &PID, &[]).await?, first, "the connection works still");
    Ok(())
}

/// A node may freeze between any two statements. Captures of the others do not wait for it, even when
/// somebody removes something meanwhile.
async fn nobody_holds_the_head_by_falling_silent() -> TestResult {
    let server = shared_postgres().await?;
    let database = open_postgres(server.url(), Duration::from_secs(10));
    database.migrate(Migrate::Apply).await?;
    assert_eq!(database.dialect(), Dialect::Postgres);
    let captures: Vec<_> = (0..4).map(|i| capture("a", i)).collect();
    appended(&*database, &captures).await?;

    // As a node does that folds: it has taken the mark, and then says nothing for a while.
    let (silent, connection) = tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    silent.batch_execute("BEGIN; SELECT seq FROM marks WHERE name = 'folded' FOR UPDATE").await?;

    let (a, ids) = (code("a"), [(); 2].map(|()| id_at(NOON_US)));
    let removing = storage::removals::remove_one(&*database, &a, captures[0].id, ids[0], NOON_US, None);
    let clearing = storage::removals::remove_all(&*database, &a, ids[1], NOON_US, None);
    let sending = async {
        // When they all wait, or have done what they were to do.
        let waiting = Sql::same(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                                 AND datname = current_database()",
        );
        eventually(SOON, "both removals wait", || async {
            int(&*database, &waiting, &[]).await.is_ok_and(|count| count >= 2)
        })
        .await;
        let began = Instant::now();
        appended(&*database, &[capture("a", 5)]).await?;
        let took = began.elapsed();
        silent.batch_execute("COMMIT").await?;
        TestResult::Ok(took)
    };
    let (removed, cleared, took) = tokio::join!(removing, clearing, sending);
    let took = took?;
    assert!(took < Duration::from_secs(2), "a capture waited for {took:?}");
    removed?;
    cleared?;
    fold(&*database).await
}

fn address_of(url: &str) -> TestResult<String> {
    let url = url::Url::parse(url)?;
    let (host, port) = (url.host_str().ok_or("a host")?, url.port().unwrap_or(5432));
    Ok(format!("{host}:{port}"))
}
