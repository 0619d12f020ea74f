//! Removals, and totals that are right whatever was folded when.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use creel::model::{EntryKind, Removal, Removed};
use creel::storage::totals::Totals;
use futures_util::future::try_join_all;

use super::*;

/// Counts from the rows themselves, as a reader would be shown them.
async fn counted(database: &dyn Database) -> TestResult<BTreeMap<String, (i64, i64)>> {
    const SQL: Sql = Sql::same(
        "SELECT j.endpoint, count(*), \
           CAST(sum(length(j.body) + length(j.headers) + length(j.target)) AS BIGINT) \
         FROM journal j LEFT JOIN endpoint_totals t USING (endpoint) \
         WHERE j.kind < 20 AND j.seq > COALESCE(t.floor_seq, 0) GROUP BY j.endpoint",
    );
    let rows = database.query(&SQL, &[]).await?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), (row.int(1)?, row.int(2)?)))).collect()
}

async fn totals(database: &dyn Database) -> TestResult<BTreeMap<String, (i64, i64)>> {
    let listed = storage::totals::list(database, None, None, 1000).await?;
    Ok(listed.into_iter().map(|t| (t.endpoint.to_string(), (t.captures, t.bytes))).collect())
}

/// Totals hold what the rows say; an endpoint without any may be listed with zeros.
pub async fn check_totals(database: &dyn Database, when: &str) -> TestResult {
    let mut listed = totals(database).await?;
    let counted = counted(database).await?;
    for endpoint in counted.keys() {
        assert!(listed.contains_key(endpoint), "{when}: {endpoint} is not listed");
    }
    listed.retain(|endpoint, sums| *sums != (0, 0) || counted.contains_key(endpoint));
    assert_eq!(listed, counted, "{when}");
    let bytes: i64 = counted.values().map(|(_, bytes)| bytes).sum();
    assert_eq!(storage::totals::bytes(database).await?, u64::try_from(bytes)?, "{when}");
    Ok(())
}

async fn remove(database: &dyn Database, capture: &Capture) -> TestResult<bool> {
    let id = id_at(NOON_US);
    let removed =
        storage::removals::remove_one(database, &capture.endpoint, capture.id, id, NOON_US, None).await?;
    Ok(removed.is_some())
}

async fn clear(database: &dyn Database, endpoint: &str) -> TestResult<i64> {
    Ok(storage::removals::remove_all(database, &code(endpoint), id_at(NOON_US), NOON_US, None).await?.seq)
}

pub async fn a_removal_is_an_entry_and_takes_the_capture_away(site: &Site) -> TestResult {
    const LEFT: Sql = Sql::same(
        "SELECT (SELECT count(*) FROM body_parts) + (SELECT count(*) FROM answer_pages) + count(*) \
         FROM journal WHERE id = $1",
    );
    let database = site.open();
    let (kept, gone) = (capture("a", 0), capture("a", 1));
    appended(&*database, &[gone.clone(), kept.clone()]).await?;
    storage::bodies::record_part(&*database, gone.id, 0, Bytes::from_static(b"part")).await?;
    let answer = super::answers::answer("a", 1, "");
    storage::answers::record(&*database, &[answer]).await?;
    let id = id_at(NOON_US);
    let entry = storage::removals::remove_one(&*database, &code("a"), gone.id, id, NOON_US + 7, None).await?;
    let entry = entry.ok_or("it was there")?;
    assert_eq!(entry.seq, 3);
    let removal =
        Removal { id, at_us: NOON_US + 7, endpoint: code("a"), removed: Removed::One(gone.id), by: None };
    assert_eq!(entry.what, EntryKind::Removal(removal));
    let left = storage::journal::list_after(&*database, 0, i64::MAX, 10).await?;
    assert_eq!(left.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3], "a hole means `removed`");
    assert_eq!(left[1], entry);
    let gone_id = [Value::Bytes(gone.id.as_bytes().to_vec().into())];
    assert_eq!(int(&*database, &LEFT, &gone_id).await?, 0, "its body and its answer went with it");

    assert!(!remove(&*database, &gone).await?, "what is gone is not removed again");
    assert!(!remove(&*database, &plain_capture("a", NOON_US)).await?, "nor what never was");
    let notice = Capture { id: entry.id(), ..plain_capture("a", NOON_US) };
    assert!(!remove(&*database, &notice).await?, "nor what is no capture");
    assert_eq!(head_seq(&*database).await?, 3, "and no number is used");

    let cleared =
        storage::removals::remove_all(&*database, &code("a"), id_at(NOON_US), NOON_US, None).await?;
    let left = storage::journal::list_after(&*database, 0, i64::MAX, 10).await?;
    assert_eq!(left, [entry, cleared]);
    Ok(())
}

pub async fn of_all_that_remove_a_capture_one_has_removed_it(site: &Site) -> TestResult {
    let database = site.open();
    for round in 1..=10 {
        let capture = capture("a", 0);
        appended(&*database, std::slice::from_ref(&capture)).await?;
        let tries = (0..3).map(|_| {
            let (database, capture) = (site.open(), &capture);
            async move { remove(&*database, capture).await }
        });
        let removed = try_join_all(tries).await?;
        assert_eq!(removed.iter().filter(|removed| **removed).count(), 1);
        assert_eq!(head_seq(&*database).await?, 2 * round, "one notice for each");
    }
    Ok(())
}

pub async fn totals_are_right_whenever_a_capture_is_removed(site: &Site) -> TestResult {
    let database = site.open();
    let captures: Vec<_> = (0..8).map(|i| capture(if i < 6 { "a" } else { "b" }, i)).collect();
    appended(&*database, &captures).await?;
    remove(&*database, &captures[0]).await?;
    storage::totals::fold(&*database, 4).await?;
    assert_eq!(storage::totals::folded(&*database).await?, 4);
    assert_eq!(totals(&*database).await?["a"].0, 3, "a removed one is not counted");
    remove(&*database, &captures[1]).await?;
    assert_eq!(totals(&*database).await?["a"].0, 2, "folded and then removed");
    remove(&*database, &captures[5]).await?;
    assert_eq!(totals(&*database).await?["a"].0, 2, "removed before it was folded");
    for _ in 0..2 {
        fold(&*database).await?;
        check_totals(&*database, "folded, and folded again").await?;
    }
    storage::totals::fold(&*database, 2).await?;
    assert_eq!(storage::totals::folded(&*database).await?, 11, "it does not go back");
    for capture in &captures {
        remove(&*database, capture).await?;
        check_totals(&*database, "after each removal").await?;
    }
    let listed = storage::totals::list(&*database, None, None, 10).await?;
    let expected = |endpoint, last_us| Totals {
        endpoint: code(endpoint),
        captures: 0,
        bytes: 0,
        last_us: Some(NOON_US + last_us),
    };
    assert_eq!(listed, [expected("a", 4), expected("b", 7)], "when the last one came is not forgotten");
    Ok(())
}

pub async fn totals_are_right_whenever_an_endpoint_is_cleared(site: &Site) -> TestResult {
    let database = site.open();
    let first: Vec<_> = (0..6).map(|i| capture("a", i)).collect();
    appended(&*database, &first).await?;
    assert_eq!(clear(&*database, "a").await?, 7, "before anything was folded");
    fold(&*database).await?;
    check_totals(&*database, "cleared, then folded").await?;
    assert_eq!(totals(&*database).await?["a"], (0, 0), "it has caught something, though that is gone");

    let second: Vec<_> = (0..6).map(|i| capture("a", i)).collect();
    appended(&*database, &second).await?;
    storage::totals::fold(&*database, 10).await?;
    assert_eq!(totals(&*database).await?["a"].0, 3);
    clear(&*database, "a").await?;
    assert_eq!(totals(&*database).await?["a"], (0, 0), "with a part of them folded");
    assert!(storage::journal::find_capture(&*database, second[5].id).await?.is_none());
    remove(&*database, &second[0]).await?;
    remove(&*database, &second[5]).await?;
    assert_eq!(totals(&*database).await?["a"], (0, 0), "what is under the floor is not taken off again");
    fold(&*database).await?;
    appended(&*database, &[capture("a", 0)]).await?;
    fold(&*database).await?;
    assert_eq!(totals(&*database).await?["a"].0, 1);
    check_totals(&*database, "and on").await?;
    clear(&*database, "never-used").await?;
    fold(&*database).await?;
    assert!(!totals(&*database).await?.contains_key("never-used"));
    check_totals(&*database, "an endpoint that has caught nothing").await
}

pub async fn what_came_after_a_clearing_stays(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &[capture("a", 0), capture("b", 0)]).await?;
    let notice = clear(&*database, "a").await?;
    let later = capture("a", 1);
    let seq = appended(&*database, std::slice::from_ref(&later)).await?;
    assert_eq!((notice, seq), (3, 4));
    let floor = storage::retention::unpurged(&*database).await?;
    assert_eq!(floor, [(code("a"), 3)]);
    assert_eq!(storage::retention::purge(&*database, &floor[0], 100).await?, 1);
    assert_eq!(storage::retention::unpurged(&*database).await?, []);
    let left = storage::journal::list_after(&*database, 0, i64::MAX, 10).await?;
    assert_eq!(left.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(storage::totals::trimmed_behind(&*database, 0, 0, 10).await?, [], "a removal is no trim");
    assert!(storage::journal::find_capture(&*database, later.id).await?.is_some());
    Ok(())
}

/// Writers, removers, folders and retention, all at once and at random; in the end every total must be
/// what the rows say, and the numbers dense but for what was removed.
pub async fn totals_are_exact_whatever_runs_at_once(site: &Site) -> TestResult {
    const ENDPOINTS: [&str; 3] = ["a", "b", "c"];
    let done = AtomicBool::new(false);
    let sent: Mutex<Vec<Arc<Capture>>> = Mutex::default();
    let some_sent = || -> Option<Arc<Capture>> {
        let sent = sent.lock().expect("nobody panics with it");
        (!sent.is_empty()).then(|| sent[rand::random_range(0..sent.len())].clone())
    };
    let writers = (0..4).map(|writer| {
        let (database, sent) = (site.open(), &sent);
        async move {
            for round in 0..60 {
                let batch: Vec<_> = (0..rand::random_range(1..8))
                    .map(|_| capture(ENDPOINTS[rand::random_range(0..3)], writer * 1000 + round))
                    .collect();
                appended(&*database, &batch).await?;
                sent.lock().expect("nobody panics with it").extend(batch);
            }
            TestResult::Ok(())
        }
    });
    let writing = async {
        let written = try_join_all(writers).await;
        done.store(true, Ordering::SeqCst);
        written
    };
    let until_done = async |step: &dyn Fn() -> futures_util::future::BoxFuture<'static, TestResult>| {
        while !done.load(Ordering::SeqCst) {
            step().await?;
            tokio::task::yield_now().await;
        }
        TestResult::Ok(())
    };
    let removers = try_join_all((0..2).map(|_| async {
        let database = site.open();
        until_done(&|| {
            let (database, capture) = (database.clone(), some_sent());
            Box::pin(async move {
                if let Some(capture) = capture {
                    remove(&*database, &capture).await?;
                }
                Ok(())
            })
        })
        .await
    }));
    let clearer = async {
        let database = site.open();
        until_done(&|| {
            let database = database.clone();
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(rand::random_range(5..30))).await;
                clear(&*database, ENDPOINTS[rand::random_range(0..3)]).await.map(drop)
            })
        })
        .await
    };
    let folders = try_join_all((0..2).map(|_| async {
        let database = site.open();
        until_done(&|| {
            let database = database.clone();
            Box::pin(async move {
                let upto = head_seq(&*database).await? - rand::random_range(0..5);
                Ok(storage::totals::fold(&*database, upto.max(0)).await?)
            })
        })
        .await
    }));
    let keeper = async {
        let database = site.open();
        until_done(&|| {
            let database = database.clone();
            Box::pin(async move {
                let floors = storage::retention::past_count(&*database, 20, 7).await?;
                storage::retention::raise(&*database, &floors).await?;
                for floor in storage::retention::unpurged(&*database).await? {
                    storage::retention::purge(&*database, &floor, 10).await?;
                }
                Ok(())
            })
        })
        .await
    };
    let counter = async {
        let database = site.open();
        until_done(&|| {
            let database = database.clone();
            Box::pin(async move { super::tallies::fold_counted(&*database).await.map(drop) })
        })
        .await
    };
    let (written, removed, cleared, folded, kept, counted) =
        tokio::join!(writing, removers, clearer, folders, keeper, counter);
    written?;
    removed?;
    cleared?;
    folded?;
    kept?;
    counted?;

    let database = site.open();
    fold(&*database).await?;
    check_totals(&*database, "after all that").await?;
    let sent = sent.lock().expect("nobody panics with it").clone();
    let head = head_seq(&*database).await?;
    assert!(head > i64::try_from(sent.len())?, "removals have numbers, too");
    let places = int(&*database, &Sql::same("SELECT count(DISTINCT seq) FROM journal"), &[]).await?;
    assert!(places < head, "something was removed");
    Ok(())
}

pub async fn endpoints_are_listed_by_page(site: &Site) -> TestResult {
    let database = site.open();
    let endpoints: Vec<String> = (0..25).map(|i| format!("e{i:02}")).collect();
    for (i, endpoint) in (0..).zip(&endpoints) {
        if i % 2 == 0 {
            appended(&*database, &[capture(endpoint, i), capture(endpoint, i)]).await?;
        }
        if i % 5 == 0 || i % 2 == 1 {
            super::journal::change(&*database, endpoint, super::journal::Wanted::Declared).await?;
        }
    }
    fold(&*database).await?;
    let mut listed: Vec<Totals> = Vec::new();
    loop {
        let behind = listed.last().map(|totals| totals.endpoint.to_string());
        let page = storage::totals::list(&*database, None, behind.as_deref(), 7).await?;
        if page.is_empty() {
            break;
        }
        listed.extend(page);
    }
    assert!(listed.iter().map(|totals| totals.endpoint.as_str()).eq(&endpoints));
    for (i, totals) in (0..).zip(&listed) {
        let (captures, last_us) = if i % 2 == 0 { (2, Some(NOON_US + i)) } else { (0, None) };
        assert_eq!((totals.captures, totals.last_us), (captures, last_us), "{}", totals.endpoint);
    }
    assert_eq!(storage::totals::codes(&*database, 3).await?, [code("e00"), code("e02"), code("e04")]);
    Ok(())
}
