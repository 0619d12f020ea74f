//! What goes by age and by number, how readers are told, and who does it.

use std::collections::BTreeMap;

use creel::storage::totals::Trim;
use futures_util::future::try_join_all;

use super::*;

async fn captures_of(database: &dyn Database) -> TestResult<BTreeMap<String, i64>> {
    let listed = storage::totals::list(database, None, None, 100).await?;
    Ok(listed.into_iter().map(|totals| (totals.endpoint.to_string(), totals.captures)).collect())
}

async fn shown(database: &dyn Database) -> TestResult<Vec<i64>> {
    let entries = storage::journal::list_after(database, 0, i64::MAX, 1000).await?;
    Ok(entries.into_iter().map(|entry| entry.seq).collect())
}

/// Ten captures, a second apart, of `a` and `b` in turn.
async fn ten(database: &dyn Database) -> TestResult<Vec<Arc<Capture>>> {
    let captures: Vec<_> =
        (0..10).map(|i| capture(if i % 2 == 0 { "a" } else { "b" }, i * 1_000_000)).collect();
    appended(database, &captures).await?;
    Ok(captures)
}

pub async fn old_captures_go_by_age(site: &Site) -> TestResult {
    let database = site.open();
    ten(&*database).await?;
    let before_us = NOON_US + 5_000_000;
    let past = async |step| storage::retention::past_age(&*database, before_us, step).await;
    assert_eq!(past(100).await?, [], "what is not counted yet is not taken off");
    fold(&*database).await?;
    assert_eq!(past(3).await?, [(code("a"), 3), (code("b"), 2)], "the three oldest");
    let floors = past(100).await?;
    assert_eq!(floors, [(code("a"), 5), (code("b"), 4)]);
    for _ in 0..2 {
        storage::retention::raise(&*database, &floors).await?;
        assert_eq!(captures_of(&*database).await?, BTreeMap::from([("a".into(), 2), ("b".into(), 3)]));
    }
    assert_eq!(shown(&*database).await?, [6, 7, 8, 9, 10]);
    assert_eq!(past(100).await?, []);
    storage::retention::raise(&*database, &[(code("a"), 3)]).await?;
    assert_eq!(captures_of(&*database).await?["a"], 2, "a floor does not sink");
    storage::retention::raise(&*database, &[(code("a"), 11)]).await?;
    assert_eq!(captures_of(&*database).await?["a"], 2, "nor does it rise above what is counted");
    Ok(())
}

/// Numbers follow commits, and a body may take a quarter of an hour: one that was received long ago stands behind
/// what came and was kept meanwhile.
pub async fn what_was_long_on_its_way_takes_no_younger_one_with_it(site: &Site) -> TestResult {
    let database = site.open();
    let of = |endpoint, seconds: &[i64]| {
        seconds.iter().map(|second| capture(endpoint, second * 1_000_000)).collect::<Vec<_>>()
    };
    let captures = [of("a", &[0, 8, 1, 9, 2]), of("b", &[3, 4]), of("a", &[10])].concat();
    appended(&*database, &captures).await?;
    fold(&*database).await?;
    let past = async |second: i64, step| {
        storage::retention::past_age(&*database, NOON_US + second * 1_000_000, step).await
    };
    let of_a = async |second: i64, step| {
        let before_us = NOON_US + second * 1_000_000;
        storage::retention::past_own_age(&*database, &code("a"), before_us, step).await
    };
    for step in [3, 100] {
        assert_eq!(of_a(5, step).await?, Some((code("a"), 1)), "up to the first that is young");
    }
    assert_eq!(past(5, 3).await?, [(code("a"), 1)]);
    let floors = past(5, 100).await?;
    assert_eq!(floors, [(code("a"), 1), (code("b"), 7)], "and no endpoint waits for another");
    storage::retention::raise(&*database, &floors).await?;
    assert_eq!(captures_of(&*database).await?, BTreeMap::from([("a".into(), 5), ("b".into(), 0)]));
    assert_eq!((past(5, 100).await?, of_a(5, 100).await?), (vec![], None), "and there is nothing more to do");
    assert_eq!(past(9, 100).await?, [(code("a"), 3)]);
    assert_eq!(of_a(9, 100).await?, Some((code("a"), 3)));
    assert_eq!(past(10, 100).await?, [(code("a"), 5)], "in the end it goes");
    assert_eq!(of_a(10, 100).await?, Some((code("a"), 5)));
    Ok(())
}

pub async fn the_oldest_captures_go_by_what_they_weigh(site: &Site) -> TestResult {
    let database = site.open();
    ten(&*database).await?;
    let each = storage::totals::bytes(&*database).await?;
    assert_eq!(each, 0, "nothing is counted yet");
    fold(&*database).await?;
    let all = storage::totals::bytes(&*database).await?;
    let oldest = async |bytes, step| storage::retention::oldest(&*database, bytes, step).await;
    assert_eq!(oldest(0, 100).await?, []);
    assert_eq!(oldest(1, 100).await?, [(code("a"), 1)], "no more than must");
    assert_eq!(oldest(all / 2, 100).await?, [(code("a"), 5), (code("b"), 4)]);
    assert_eq!(oldest(all, 3).await?, [(code("a"), 3), (code("b"), 2)], "in steps");
    assert_eq!(oldest(all * 2, 100).await?, [(code("a"), 9), (code("b"), 10)]);
    storage::retention::raise(&*database, &oldest(all / 2, 100).await?).await?;
    assert_eq!(storage::totals::bytes(&*database).await?, all / 2);
    assert_eq!(oldest(1, 100).await?, [(code("b"), 6)]);
    // One that was received before all of them, and long on its way.
    appended(&*database, &[capture("b", -1_000_000)]).await?;
    fold(&*database).await?;
    assert_eq!(oldest(1, 100).await?, [(code("b"), 6)], "it takes none of those before it along");
    Ok(())
}

pub async fn old_captures_go_by_number(site: &Site) -> TestResult {
    let database = site.open();
    let captures = ten(&*database).await?;
    fold(&*database).await?;
    let past = async |most, step| storage::retention::past_count(&*database, most, step).await;
    assert_eq!(past(5, 100).await?, []);
    assert_eq!(past(2, 100).await?, [(code("a"), 5), (code("b"), 6)]);
    assert_eq!(past(2, 1).await?, [(code("a"), 1), (code("b"), 2)], "in steps");
    // A hole counts for nothing.
    storage::removals::remove_one(&*database, &code("a"), captures[0].id, id_at(NOON_US), NOON_US, None)
        .await?;
    let floors = past(2, 100).await?;
    assert_eq!(floors, [(code("a"), 5), (code("b"), 6)]);
    storage::retention::raise(&*database, &floors).await?;
    assert_eq!(captures_of(&*database).await?, BTreeMap::from([("a".into(), 2), ("b".into(), 2)]));
    assert_eq!(past(2, 100).await?, []);
    Ok(())
}

pub async fn what_is_trimmed_is_told_to_those_behind(site: &Site) -> TestResult {
    let database = site.open();
    ten(&*database).await?;
    fold(&*database).await?;
    let behind = async |seq, since| storage::totals::trimmed_behind(&*database, seq, since, 100).await;
    let newest = async || storage::totals::newest_trim(&*database).await;
    assert_eq!((behind(0, 0).await?, newest().await?), (vec![], 0));
    storage::retention::raise(&*database, &[(code("a"), 5), (code("b"), 8)]).await?;
    let trim = |number, endpoint, upto| Trim { number, endpoint: code(endpoint), upto };
    let both = [trim(1, "a", 5), trim(2, "b", 8)];
    assert_eq!((behind(0, 0).await?, newest().await?), (both.to_vec(), 2));
    assert_eq!(storage::totals::trimmed_behind(&*database, 0, 0, 1).await?, both[..1]);
    assert_eq!(behind(4, 0).await?, both);
    assert_eq!(behind(5, 0).await?, both[1..]);
    assert_eq!(behind(8, 0).await?, []);
    assert_eq!(behind(0, 1).await?, both[1..], "the first is old");
    storage::removals::remove_all(&*database, &code("a"), id_at(NOON_US), NOON_US, None).await?;
    assert_eq!(behind(4, 0).await?, both, "a removal forgets no trim");
    // Lower than the other's, and later.
    storage::retention::raise(&*database, &[(code("b"), 6), (code("b"), 10)]).await?;
    assert_eq!((behind(4, 2).await?, newest().await?), (vec![trim(4, "b", 10)], 4));
    Ok(())
}

pub async fn what_lies_under_a_floor_is_purged_in_steps(site: &Site) -> TestResult {
    const ROWS: Sql = Sql::same("SELECT count(*) FROM journal");
    let database = site.open();
    let captures = ten(&*database).await?;
    for (seq, capture) in (1..).zip(&captures) {
        storage::bodies::record_part(&*database, capture.id, 0, Bytes::from_static(b"part")).await?;
        let answer = super::answers::answer(capture.endpoint.as_str(), seq, "");
        storage::answers::record(&*database, &[answer]).await?;
    }
    fold(&*database).await?;
    storage::retention::raise(&*database, &[(code("a"), 7)]).await?;
    let floors = storage::retention::unpurged(&*database).await?;
    assert_eq!(floors, [(code("a"), 7)]);
    assert_eq!(storage::retention::purge(&*database, &floors[0], 3).await?, 3);
    assert_eq!(int(&*database, &ROWS, &[]).await?, 7);
    assert_eq!(storage::retention::unpurged(&*database).await?, floors, "not all of it yet");
    assert_eq!(storage::retention::purge(&*database, &floors[0], 3).await?, 1);
    assert_eq!(storage::retention::unpurged(&*database).await?, []);
    assert_eq!(shown(&*database).await?, [2, 4, 6, 8, 9, 10]);
    for (seq, capture) in (1..).zip(&captures) {
        let goes = seq % 2 == 1 && seq <= 7;
        let part = storage::bodies::find_part(&*database, capture.id, 0).await?;
        let answer = storage::answers::find(&*database, &capture.endpoint, seq).await?;
        assert_eq!((part.is_none(), answer.is_none()), (goes, goes), "what belongs to {seq}");
    }
    Ok(())
}

pub async fn notices_go_by_age(site: &Site) -> TestResult {
    let database = site.open();
    ten(&*database).await?;
    for second in 0..4 {
        let at_us = NOON_US + second * 1_000_000;
        storage::removals::remove_all(&*database, &code("c"), id_at(at_us), at_us, None).await?;
    }
    let purge = async |second: i64, step| {
        storage::retention::purge_notices(&*database, NOON_US + second * 1_000_000, step).await
    };
    assert_eq!(purge(3, 2).await?, 2);
    assert_eq!(purge(3, 2).await?, 1);
    assert_eq!(purge(3, 2).await?, 0);
    assert_eq!(shown(&*database).await?, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14], "captures stay");
    assert_eq!(head_seq(&*database).await?, 14);
    Ok(())
}

pub async fn a_lease_is_held_by_one(site: &Site) -> TestResult {
    let database = site.open();
    let claim = async |holder: &str, now_us, until_us| {
        storage::leases::claim(&*database, "work", holder, now_us, until_us).await
    };
    assert!(claim("one", 100, 200).await?);
    assert!(!claim("two", 150, 250).await?);
    assert!(!claim("two", 200, 300).await?, "to its last microsecond");
    assert!(claim("one", 150, 300).await?, "it is renewed by its holder");
    assert!(!claim("two", 299, 400).await?);
    assert!(claim("two", 301, 400).await?, "it has run out");
    assert!(!claim("one", 302, 500).await?);
    assert!(storage::leases::claim(&*database, "other work", "one", 302, 500).await?);
    for round in 1..6 {
        let claims = (0..6).map(|holder| {
            let database = site.open();
            async move {
                let (now, until) = (1000 * round, 1000 * round + 500);
                storage::leases::claim(&*database, "work", &format!("holder {holder}"), now, until).await
            }
        });
        let claims = try_join_all(claims).await?;
        assert_eq!(claims.iter().filter(|held| **held).count(), 1, "of six that try at once");
    }
    Ok(())
}
