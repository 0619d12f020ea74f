//! Rollups that count each capture once, whatever is removed, merged or made up by senders; and nodes.

use creel::model::report::{BusiestBy, GroupBy, Span};
use creel::model::{Glob, NodeState, WebSocketDetail};
use creel::storage::reports::{Busy, Counted, Report};
use futures_util::future::try_join_all;

use super::*;

const ROWS_MAX: u32 = 100;
const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;

/// Everything, in days.
fn all(by: Option<GroupBy>) -> Report {
    Report {
        from_us: 0,
        until_us: NOON_US + 1000 * DAY_US,
        bucket: Span::Day,
        by,
        endpoint: None,
        top: 100,
        rows_max: 1000,
    }
}

async fn counted(database: &dyn Database, report: &Report) -> TestResult<Vec<Counted>> {
    Ok(storage::reports::captures(database, report).await?)
}

/// Groups with their captures, whenever they were.
async fn groups(database: &dyn Database, report: &Report) -> TestResult<Vec<(Option<String>, i64)>> {
    Ok(counted(database, report).await?.into_iter().map(|row| (row.group, row.captures)).collect())
}

fn group(name: &str, captures: i64) -> (Option<String>, i64) {
    (Some(name.to_owned()), captures)
}

async fn fold_all(database: &dyn Database, rows_max: u32) -> TestResult {
    Ok(storage::rollups::fold(database, head_seq(database).await?, rows_max).await?)
}

async fn merge_all(database: &dyn Database, into: Span, before_us: i64, rows_max: u32) -> TestResult {
    while storage::rollups::merge(database, into, before_us, rows_max).await? {}
    Ok(())
}

/// What a capture counts for.
fn kept_bytes(capture: &Capture) -> i64 {
    let head = capture.target.len() + capture.headers.as_bytes().len();
    i64::try_from(head as u64 + capture.body.bytes).expect("a capture is small")
}

async fn rows(database: &dyn Database) -> TestResult<i64> {
    int(database, &Sql::same("SELECT count(*) FROM rollups"), &[]).await
}

pub async fn reports_count_what_was_caught_be_it_removed_or_not(site: &Site) -> TestResult {
    let database = site.open();
    let captures: Vec<_> = [("a", 0), ("a", 1), ("b", 2), ("a", MINUTE_US), ("b", HOUR_US), ("a", DAY_US)]
        .map(|(endpoint, after_us)| capture(endpoint, after_us))
        .to_vec();
    appended(&*database, &captures).await?;
    storage::rollups::fold(&*database, 2, ROWS_MAX).await?;
    fold_all(&*database, ROWS_MAX).await?;
    fold_all(&*database, ROWS_MAX).await?;
    storage::rollups::fold(&*database, 3, ROWS_MAX).await?;
    let id = captures[0].id;
    storage::removals::remove_one(&*database, &code("a"), id, id_at(NOON_US), NOON_US, None).await?;
    storage::removals::remove_all(&*database, &code("b"), id_at(NOON_US), NOON_US, None).await?;
    fold_all(&*database, ROWS_MAX).await?;
    let listed = storage::totals::list(&*database, None, None, 10).await?;
    assert_eq!(listed.iter().map(|t| t.captures).collect::<Vec<_>>(), [3, 0], "totals are of what is kept");

    let bytes_of = |these: &[usize]| -> i64 { these.iter().map(|i| kept_bytes(&captures[*i])).sum() };
    let row = |at_us, name: &str, these: &[usize]| Counted {
        at_us,
        group: Some(name.to_owned()),
        captures: these.len() as i64,
        bytes: bytes_of(these),
    };
    let minutes = Report { bucket: Span::Minute, ..all(Some(GroupBy::Endpoint)) };
    let expected = [
        row(NOON_US, "a", &[0, 1]),
        row(NOON_US, "b", &[2]),
        row(NOON_US + MINUTE_US, "a", &[3]),
        row(NOON_US + HOUR_US, "b", &[4]),
        row(NOON_US + DAY_US, "a", &[5]),
    ];
    assert_eq!(counted(&*database, &minutes).await?, expected);
    let hours = Report { bucket: Span::Hour, ..all(None) };
    let expected =
        [row(NOON_US, "", &[0, 1, 2, 3]), row(NOON_US + HOUR_US, "", &[4]), row(NOON_US + DAY_US, "", &[5])];
    assert_eq!(counted(&*database, &hours).await?, expected);
    let some = Report { from_us: NOON_US + MINUTE_US, until_us: NOON_US + HOUR_US, ..minutes };
    assert_eq!(counted(&*database, &some).await?, [row(NOON_US + MINUTE_US, "a", &[3])]);
    let top = Report { top: 1, ..all(Some(GroupBy::Endpoint)) };
    assert_eq!(groups(&*database, &top).await?, [group("a", 3), (None, 2), group("a", 1)]);
    assert_eq!(groups(&*database, &Report { rows_max: 2, ..top }).await?.len(), 2);
    assert_eq!(groups(&*database, &all(Some(GroupBy::Method))).await?, [group("POST", 5), group("POST", 1)]);
    assert_eq!(groups(&*database, &all(Some(GroupBy::Status))).await?, [group("200", 5), group("200", 1)]);
    assert_eq!(groups(&*database, &all(Some(GroupBy::Rule))).await?, [group("", 5), group("", 1)]);

    let busy = |endpoint: Option<&str>, these: &[usize]| Busy {
        endpoint: endpoint.map(str::to_owned),
        captures: these.len() as i64,
        bytes: bytes_of(these),
    };
    let until_us = NOON_US + 2 * DAY_US;
    for by in [BusiestBy::Captures, BusiestBy::Bytes] {
        let one = storage::reports::busiest(&*database, 0, until_us, by, 1).await?;
        assert_eq!(one, [busy(Some("a"), &[0, 1, 3, 5]), busy(None, &[2, 4])], "{by:?}");
    }
    Ok(())
}

pub async fn reports_are_the_same_when_minutes_are_merged(site: &Site) -> TestResult {
    let database = site.open();
    let endpoints = ["a", "b", "c"].iter().cycle();
    let captures: Vec<_> =
        (0..400).zip(endpoints).map(|(i, endpoint)| capture(endpoint, i * 11 * MINUTE_US)).collect();
    appended(&*database, &captures).await?;
    fold_all(&*database, ROWS_MAX).await?;
    let by_day = counted(&*database, &all(Some(GroupBy::Endpoint))).await?;
    let by_hour = Report { bucket: Span::Hour, ..all(Some(GroupBy::Endpoint)) };
    let hours = counted(&*database, &by_hour).await?;
    assert_eq!(rows(&*database).await?, 400);

    assert!(
        !storage::rollups::merge(&*database, Span::Minute, i64::MAX, ROWS_MAX).await?,
        "made from nothing"
    );
    merge_all(&*database, Span::Hour, NOON_US + 2 * DAY_US + MINUTE_US, ROWS_MAX).await?;
    let merged = rows(&*database).await?;
    assert!(merged < 400, "{merged}");
    assert_eq!(counted(&*database, &by_hour).await?, hours);
    const MINUTES: Sql = Sql::same("SELECT count(*) FROM rollups WHERE span_us = 60000000 AND at_us < $1");
    assert_eq!(int(&*database, &MINUTES, &[Value::Int(NOON_US + 2 * DAY_US)]).await?, 0);
    merge_all(&*database, Span::Day, NOON_US + DAY_US, ROWS_MAX).await?;
    assert!(rows(&*database).await? < merged);
    assert_eq!(counted(&*database, &all(Some(GroupBy::Endpoint))).await?, by_day);
    // One that is counted late finds its minute gone, and gets another, which is merged again.
    appended(&*database, &[capture("a", 0)]).await?;
    fold_all(&*database, ROWS_MAX).await?;
    merge_all(&*database, Span::Hour, i64::MAX, ROWS_MAX).await?;
    merge_all(&*database, Span::Day, i64::MAX, ROWS_MAX).await?;
    let mut expected = by_day;
    expected[0].captures += 1;
    expected[0].bytes += kept_bytes(&capture("a", 0));
    assert_eq!(counted(&*database, &all(Some(GroupBy::Endpoint))).await?, expected);
    assert_eq!(rows(&*database).await?, expected.len() as i64);

    assert!(storage::rollups::forget(&*database, NOON_US + DAY_US).await?);
    assert!(!storage::rollups::forget(&*database, NOON_US + DAY_US).await?);
    let gone = expected.iter().filter(|row| row.at_us < NOON_US).count();
    assert_eq!(counted(&*database, &all(Some(GroupBy::Endpoint))).await?, expected[gone..]);
    Ok(())
}

pub async fn what_finds_no_room_is_counted_without_its_endpoint(site: &Site) -> TestResult {
    let database = site.open();
    let many = |round: i64, endpoints: &[&str]| -> Vec<Arc<Capture>> {
        endpoints.iter().map(|endpoint| capture(endpoint, round * MINUTE_US)).collect()
    };
    appended(&*database, &many(0, &["a", "b", "c", "b", "d", "d"])).await?;
    fold_all(&*database, 3).await?;
    appended(&*database, &many(0, &["a", "b", "e", "e", "e"])).await?;
    appended(&*database, &many(1, &["x", "y"])).await?;
    fold_all(&*database, 3).await?;
    let by = Report { bucket: Span::Minute, ..all(Some(GroupBy::Endpoint)) };
    let expected = [group("a", 2), group("b", 3), group("d", 2), (None, 4), group("x", 1), group("y", 1)];
    assert_eq!(groups(&*database, &by).await?, expected, "the largest first, and who is there stays");
    assert_eq!(
        groups(&*database, &all(Some(GroupBy::Method))).await?,
        [group("POST", 13)],
        "all are counted"
    );
    let busy = storage::reports::busiest(&*database, 0, i64::MAX, BusiestBy::Captures, 1).await?;
    assert_eq!((busy[0].endpoint.as_deref(), busy[1].endpoint.as_deref()), (Some("b"), None));
    assert_eq!((busy[0].captures, busy[1].captures), (3, 10));

    merge_all(&*database, Span::Hour, NOON_US + DAY_US, 4).await?;
    let expected = [group("a", 2), group("b", 3), group("d", 2), group("x", 1), (None, 5)];
    assert_eq!(groups(&*database, &by).await?, expected, "an hour has its bound, too");
    let filtered = Report { endpoint: Some(Glob::parse("*")?), ..all(None) };
    assert_eq!(groups(&*database, &filtered).await?, [group("", 8)], "who is not known is in no pattern");
    Ok(())
}

pub async fn no_capture_is_too_strange_to_be_counted(site: &Site) -> TestResult {
    let database = site.open();
    let close = |reason: &str| WebSocketDetail {
        connection: id_at(NOON_US),
        close_code: Some(1000),
        close_reason: Some(reason.to_owned()),
    };
    let strange = |endpoint: &str, method: &'static str, reason: &str, status| {
        Arc::new(Capture {
            method: method.into(),
            host: format!("{reason}\"status\":777"),
            websocket: Some(close(reason)),
            reply: ReplyChoice::of(ReplySource::Nothing, status),
            ..plain_capture(endpoint, NOON_US)
        })
    };
    let captures = [
        strange("\"}]'\\", "PURGE", "a\0b", 201),
        strange("\\u0000", "other", "\",\"status\":999,\"x\":\"", 202),
        strange("'; DROP TABLE rollups; --", "get", "\0\",\"status\":999,\"rule\":{\"name\":\"r\"}", 203),
        strange("é\u{10FFFF}", "PATCH", "\\u0000", 0),
        strange(&"x".repeat(255), "GET", "\\\\u0000\\", 599),
        // What is usual does not stand in a row.
        strange("usual", "GET", "\0", 200),
        strange("as usual", "GET", "", 200),
    ];
    appended(&*database, &captures).await?;
    fold_all(&*database, ROWS_MAX).await?;
    assert_eq!(storage::totals::folded(&*database).await?, 7);
    let by = |by| all(Some(by));
    let statuses = groups(&*database, &by(GroupBy::Status)).await?;
    let expected = [("0", 1), ("200", 2), ("201", 1), ("202", 1), ("203", 1), ("599", 1)];
    assert_eq!(statuses, expected.map(|(status, captures)| group(status, captures)));
    let methods = groups(&*database, &by(GroupBy::Method)).await?;
    assert_eq!(methods, [group("GET", 3), group("PATCH", 1), group("other", 3)]);
    assert_eq!(groups(&*database, &by(GroupBy::Rule)).await?, [group("", 7)]);
    let mut expected: Vec<_> = captures.iter().map(|capture| group(capture.endpoint.as_str(), 1)).collect();
    expected.sort();
    assert_eq!(groups(&*database, &by(GroupBy::Endpoint)).await?, expected);

    // As nodes write it that know rules, and as they might one day.
    const DETAIL: Sql = Sql::same("UPDATE journal SET detail = $2 WHERE seq = $1");
    let details = [
        r#"{"status":418,"rule":{"name":"tea \"pot\""}}"#.to_owned(),
        r#"{"status":418,"rule":null}"#.to_owned(),
        r#"{"rule":{}}"#.to_owned(),
        format!(r#"{{"status":418,"rule":{{"name":"{}"}}}}"#, "r".repeat(300)),
    ];
    for detail in details {
        let seq = appended(&*database, &[capture("ruled", DAY_US)]).await?;
        database.execute(&DETAIL, &[Value::Int(seq), Value::Text(detail)]).await?;
    }
    fold_all(&*database, ROWS_MAX).await?;
    let ruled = Report { from_us: NOON_US + DAY_US, bucket: Span::Minute, ..by(GroupBy::Rule) };
    let long = "r".repeat(255);
    assert_eq!(groups(&*database, &ruled).await?, [group("", 2), group(&long, 1), group("tea \"pot\"", 1)]);
    let ruled = Report { by: Some(GroupBy::Status), ..ruled };
    assert_eq!(groups(&*database, &ruled).await?, [group("200", 1), group("418", 3)]);
    Ok(())
}

pub async fn patterns_choose_endpoints_by_their_letters(site: &Site) -> TestResult {
    let database = site.open();
    let codes = ["ab", "aB", "a%", "a_", "a*", "a?", "[a]", "a\\b", "a", "b"];
    let captures: Vec<_> = codes.iter().map(|endpoint| capture(endpoint, 0)).collect();
    appended(&*database, &captures).await?;
    fold_all(&*database, ROWS_MAX).await?;
    let patterns =
        ["a", "*", "a*", "*b", "a%", "a_", r"a\*", "a?", "[a]", "[ab]", "[*", r"a\\*", "aB", "*a*b*", "none"];
    for pattern in patterns {
        let glob = Glob::parse(pattern)?;
        let report = Report { endpoint: Some(glob.clone()), ..all(Some(GroupBy::Endpoint)) };
        let mut expected: Vec<_> =
            codes.iter().filter(|code| glob.matches(code)).map(|code| group(code, 1)).collect();
        expected.sort();
        assert_eq!(groups(&*database, &report).await?, expected, "{pattern}");
    }
    Ok(())
}

pub async fn every_capture_is_counted_once_whoever_folds(site: &Site) -> TestResult {
    let done = std::sync::atomic::AtomicBool::new(false);
    let writing = async {
        let database = site.open();
        for round in 0..80 {
            let batch: Vec<_> = (0..5).map(|i| capture(["a", "b"][i % 2], round * MINUTE_US / 7)).collect();
            appended(&*database, &batch).await?;
            if round % 9 == 0 {
                storage::removals::remove_all(&*database, &code("a"), id_at(NOON_US), NOON_US, None).await?;
            }
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        TestResult::Ok(())
    };
    let folders = try_join_all((0..3).map(|_| async {
        let database = site.open();
        while !done.load(std::sync::atomic::Ordering::SeqCst) {
            fold_all(&*database, ROWS_MAX).await?;
            storage::rollups::merge(&*database, Span::Hour, NOON_US + HOUR_US, ROWS_MAX).await?;
            tokio::task::yield_now().await;
        }
        TestResult::Ok(())
    }));
    let (written, folded) = tokio::join!(writing, folders);
    written?;
    folded?;
    let database = site.open();
    fold_all(&*database, ROWS_MAX).await?;
    assert_eq!(groups(&*database, &all(Some(GroupBy::Endpoint))).await?, [group("a", 240), group("b", 160)]);
    Ok(())
}

pub async fn nodes_are_there_as_long_as_they_write(site: &Site) -> TestResult {
    const AGE: Sql = Sql::same("UPDATE nodes SET seen_us = seen_us - $2 WHERE id = $1");
    let (database, other) = (site.open(), site.open());
    let state =
        |version: &str| NodeState { version: version.to_owned(), subscribers: 3, ..NodeState::default() };
    let (first, second, third) = (id_at(NOON_US), id_at(NOON_US), id_at(NOON_US));
    storage::nodes::record(&*other, second, NOON_US + 1, &state("2")).await?;
    storage::nodes::record(&*database, first, NOON_US, &state("1")).await?;
    storage::nodes::record(&*database, third, NOON_US + 2, &state("3")).await?;
    storage::nodes::record(&*database, first, NOON_US, &state("1a")).await?;
    let listed = async || -> TestResult<Vec<String>> {
        let nodes = storage::nodes::list(&*other).await?;
        Ok(nodes.into_iter().map(|node| node.state.version).collect())
    };
    assert_eq!(listed().await?, ["1a", "2", "3"]);
    let node = storage::nodes::list(&*database).await?.remove(0);
    assert_eq!((node.id, node.since_us, node.state), (first, NOON_US, state("1a")));
    let now_us = i64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_micros())?;
    assert!((now_us - node.seen_us).abs() < MINUTE_US, "by the database's clock: {}", node.seen_us);

    let age = async |id: Uuid, seconds: i64| {
        database.execute(&AGE, &[Value::Text(id.to_string()), Value::Int(seconds * 1_000_000)]).await
    };
    age(second, 30).await?;
    assert_eq!(listed().await?, ["1a", "3"], "who was not heard of is not shown");
    age(third, 61).await?;
    storage::nodes::record(&*database, first, NOON_US, &state("1b")).await?;
    assert_eq!(
        int(&*database, &Sql::same("SELECT count(*) FROM nodes"), &[]).await?,
        2,
        "and then forgotten"
    );
    storage::nodes::record(&*database, second, NOON_US + 1, &state("2b")).await?;
    assert_eq!(listed().await?, ["1b", "2b"], "who comes back is shown again");
    storage::nodes::remove(&*database, first).await?;
    storage::nodes::remove(&*database, first).await?;
    assert_eq!(listed().await?, ["2b"]);
    Ok(())
}
