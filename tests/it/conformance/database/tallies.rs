//! What was counted in memory is folded as if the journal had been read, or not at all.

use std::collections::BTreeSet;

use creel::model::{Entry, RuleChoice, WebSocketDetail};
use creel::tally::{Tallied, Tallies};

use super::*;

const ROWS_MAX: u32 = 100;

/// What the feed counts of the entries behind a place.
async fn counted(database: &dyn Database, from: i64) -> TestResult<Tallied> {
    let entries: Vec<Entry> = storage::journal::list_after(database, from, i64::MAX, 10_000).await?;
    let tallies = Tallies::default();
    tallies.begin(from);
    let middle = entries.len() / 2;
    tallies.count(from, &entries[..middle]);
    tallies.count(tallies.wanted().await, &entries[middle..]);
    tallies.count(from - 1, &entries);
    tallies.take(from).ok_or_else(|| "the run began there".into())
}

pub async fn fold_counted(database: &dyn Database) -> TestResult<bool> {
    let from = storage::totals::folded(database).await?;
    let tallied = counted(database, from).await?;
    Ok(storage::rollups::fold_tally(database, from, &tallied, Some(ROWS_MAX)).await?)
}

/// Captures of every kind that is counted apart.
fn captures_of(place: &str) -> Vec<Arc<Capture>> {
    let mut captures = Vec::new();
    for (i, method) in (0..).zip(["GET", "POST", "BREW", "get", "PATCH"]) {
        for (endpoint, status) in [("a", 200), ("b", 0), ("it's \"\\", 503)] {
            let mut one = plain_capture(&format!("{place}{endpoint}"), NOON_US + i * 45_000_000);
            one.method = method.into();
            one.reply.status = status;
            if status == 200 {
                let name = ["plain", "it's \"quoted\"", "ümlaut"][captures.len() % 3];
                one.reply.rule = Some(RuleChoice { name: name.into(), version: 3, hit: None });
            }
            captures.push(Arc::new(one));
        }
    }
    let mut close = plain_capture(&format!("{place}ws"), NOON_US);
    close.kind = CaptureKind::WebSocketClose;
    let reason = Some("a \0 and \"status\":418".to_owned());
    close.websocket =
        Some(WebSocketDetail { connection: id_at(NOON_US), close_code: Some(1000), close_reason: reason });
    captures.push(Arc::new(close));
    captures
}

/// Every row that was folded for the endpoints of a place, without its name.
async fn folded_rows(database: &dyn Database, place: &str) -> TestResult<BTreeSet<String>> {
    const ROLLUPS: Sql = Sql::same(
        "SELECT at_us, endpoint, method, status, rule, captures, bytes FROM rollups WHERE endpoint LIKE $1",
    );
    const TOTALS: Sql =
        Sql::same("SELECT endpoint, captures, bytes, last_us FROM endpoint_totals WHERE endpoint LIKE $1");
    let mut rows = BTreeSet::new();
    for sql in [&ROLLUPS, &TOTALS] {
        let found = database.query(sql, &[Value::Text(format!("{place}%"))]).await?;
        rows.extend(found.iter().map(|row| format!("{row:?}").replace(place, "")));
    }
    Ok(rows)
}

pub async fn what_was_counted_is_folded_as_if_it_had_been_read(site: &Site) -> TestResult {
    let database = site.open();
    for round in 0..2 {
        appended(&*database, &captures_of("x1-")).await?;
        assert!(fold_counted(&*database).await?, "round {round}");
        appended(&*database, &captures_of("x2-")).await?;
        storage::rollups::fold(&*database, head_seq(&*database).await?, ROWS_MAX).await?;
    }
    let (counted, read) = (folded_rows(&*database, "x1-").await?, folded_rows(&*database, "x2-").await?);
    assert!(counted.len() > 15, "{counted:?}");
    assert_eq!(counted, read);
    assert_eq!(storage::totals::folded(&*database).await?, head_seq(&*database).await?);

    appended(&*database, &captures_of("x3-")).await?;
    let from = storage::totals::folded(&*database).await?;
    let tallied = counted_without_reports(&*database, from).await?;
    assert!(tallied, "reports are off");
    const ROLLUPS: Sql = Sql::same("SELECT count(*) FROM rollups WHERE endpoint LIKE 'x3-%'");
    assert_eq!(int(&*database, &ROLLUPS, &[]).await?, 0);
    assert_eq!(folded_rows(&*database, "x3-").await?.len(), 4, "totals go on");
    Ok(())
}

async fn counted_without_reports(database: &dyn Database, from: i64) -> TestResult<bool> {
    let tallied = counted(database, from).await?;
    Ok(storage::rollups::fold_tally(database, from, &tallied, None).await?)
}

pub async fn what_was_counted_is_dropped_where_some_of_it_was_removed(site: &Site) -> TestResult {
    let database = site.open();
    let removals: [&dyn Fn(Arc<Capture>) -> futures_util::future::BoxFuture<'static, TestResult>; 2] = [
        &|capture| {
            let database = site.open();
            Box::pin(async move {
                let (id, endpoint) = (id_at(NOON_US), &capture.endpoint);
                storage::removals::remove_one(&*database, endpoint, capture.id, id, NOON_US, None).await?;
                Ok(())
            })
        },
        &|capture| {
            let database = site.open();
            Box::pin(async move {
                let (id, endpoint) = (id_at(NOON_US), &capture.endpoint);
                storage::removals::remove_all(&*database, endpoint, id, NOON_US, None).await?;
                Ok(())
            })
        },
    ];
    for remove in removals {
        let captures = captures_of("x-");
        appended(&*database, &captures).await?;
        let from = storage::totals::folded(&*database).await?;
        let tallied = counted(&*database, from).await?;
        remove(captures[0].clone()).await?;
        let before = folded_rows(&*database, "x-").await?;
        assert!(!storage::rollups::fold_tally(&*database, from, &tallied, Some(ROWS_MAX)).await?);
        assert_eq!(folded_rows(&*database, "x-").await?, before, "nothing is written");
        assert_eq!(storage::totals::folded(&*database).await?, from);
        storage::rollups::fold(&*database, head_seq(&*database).await?, ROWS_MAX).await?;
        super::totals::check_totals(&*database, "read instead").await?;
    }
    appended(&*database, &captures_of("x-")).await?;
    assert!(fold_counted(&*database).await?, "what was removed before spoils nothing");
    super::totals::check_totals(&*database, "counted again").await
}

pub async fn what_was_counted_is_dropped_where_somebody_else_has_folded(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &captures_of("x-")).await?;
    let tallied = counted(&*database, 0).await?;
    fold(&*database).await?;
    assert!(!storage::rollups::fold_tally(&*database, 0, &tallied, Some(ROWS_MAX)).await?);
    super::totals::check_totals(&*database, "folded once").await
}

pub async fn what_was_counted_past_the_end_of_the_journal_is_dropped(site: &Site) -> TestResult {
    const PUT_BACK: Sql = Sql::same("UPDATE journal_head SET seq = seq - 1 WHERE id = 1");
    const GONE: Sql = Sql::same("DELETE FROM journal WHERE seq = $1");
    let database = site.open();
    appended(&*database, &captures_of("x-")).await?;
    let tallied = counted(&*database, 0).await?;
    database.execute(&GONE, &[Value::Int(head_seq(&*database).await?)]).await?;
    database.execute(&PUT_BACK, &[]).await?;
    assert!(!storage::rollups::fold_tally(&*database, 0, &tallied, Some(ROWS_MAX)).await?);
    assert!(folded_rows(&*database, "x-").await?.is_empty(), "nothing is written");
    assert_eq!(storage::totals::folded(&*database).await?, 0);
    fold(&*database).await?;
    super::totals::check_totals(&*database, "what is there is read instead").await
}
