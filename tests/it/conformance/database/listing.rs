//! What the API lists and shows: captures, places by time, large bodies.

use creel::model::Glob;
use creel::storage::journal::{Listing, Order};
use creel::storage::scans::{self, Window};

use super::*;

/// Everything, the oldest first.
pub const ALL: Listing = Listing {
    endpoint: None,
    within: None,
    method: None,
    from_us: None,
    until_us: None,
    order: Order::OldestFirst,
    behind: None,
    limit: 100,
};

/// The places that a listing shows.
async fn places(database: &dyn Database, listing: Listing) -> TestResult<Vec<i64>> {
    let listed = storage::journal::list_captures(database, &listing).await?;
    Ok(listed.into_iter().map(|(seq, _)| seq).collect())
}

/// Twelve captures, a second apart: of `a` and `b` in turn, each third one a GET.
async fn twelve(database: &dyn Database) -> TestResult<Vec<Arc<Capture>>> {
    let captures: Vec<Arc<Capture>> = (0..12)
        .map(|i| {
            let mut capture = plain_capture(if i % 2 == 0 { "a" } else { "b" }, NOON_US + i * 1_000_000);
            capture.method = if i % 3 == 0 { "GET" } else { "POST" }.into();
            Arc::new(capture)
        })
        .collect();
    appended(database, &captures).await?;
    Ok(captures)
}

pub async fn a_listing_shows_what_it_is_asked_for(site: &Site) -> TestResult {
    let database = site.open();
    let captures = twelve(&*database).await?;
    let listed = storage::journal::list_captures(&*database, &ALL).await?;
    assert!(listed.into_iter().eq((1..).zip(captures.iter().cloned())));
    let places = async |listing| places(&*database, listing).await;

    let a = Listing { endpoint: Some(code("a")), ..ALL };
    let get = Listing { method: Some("GET".to_owned()), ..ALL };
    assert_eq!(places(a.clone()).await?, [1, 3, 5, 7, 9, 11]);
    assert_eq!(places(Listing { order: Order::NewestFirst, ..a.clone() }).await?, [11, 9, 7, 5, 3, 1]);
    assert_eq!(places(get.clone()).await?, [1, 4, 7, 10]);
    assert_eq!(places(Listing { endpoint: Some(code("b")), ..get.clone() }).await?, [4, 10]);
    for nothing in [
        Listing { endpoint: Some(code("A")), ..ALL },
        Listing { endpoint: Some(code("c")), ..ALL },
        Listing { method: Some("get".to_owned()), ..ALL },
    ] {
        assert_eq!(places(nothing).await?, [0; 0]);
    }
    // What was removed is not shown, and removals are no captures.
    storage::removals::remove_one(&*database, &code("a"), captures[4].id, id_at(NOON_US), NOON_US, None)
        .await?;
    assert_eq!(places(a.clone()).await?, [1, 3, 7, 9, 11]);
    storage::removals::remove_all(&*database, &code("b"), id_at(NOON_US), NOON_US, None).await?;
    assert_eq!(places(ALL).await?, [1, 3, 7, 9, 11]);
    assert_eq!(places(Listing { order: Order::NewestFirst, ..get }).await?, [7, 1]);
    assert_eq!(storage::journal::find_capture(&*database, captures[1].id).await?, None);
    Ok(())
}

/// Whatever a code is made of, and whatever a database takes for a wildcard.
pub async fn a_pattern_means_in_the_database_what_it_means_here(site: &Site) -> TestResult {
    const CODES: [&str; 18] = [
        "a", "A", "ab", "aB", "a*b", "a%b", "a_b", "a!b", "a?b", "a[b]", "a]b", "a^b", "a\\b", "a'b", "a$1b",
        "\u{e9}", "a\u{e9}", "axxb",
    ];
    let database = site.open();
    let captures: Vec<Arc<Capture>> = (0..).zip(CODES).map(|(i, code)| capture(code, i)).collect();
    appended(&*database, &captures).await?;
    fold(&*database).await?;
    let literal = |code: &str| code.replace('\\', r"\\").replace('*', r"\*");
    let mut patterns: Vec<String> = CODES.iter().map(|code| literal(code)).collect();
    patterns.extend(CODES.iter().map(|code| format!("{}*", literal(code))));
    patterns.extend(
        ["*", "a*b", "*b*", "a_*", "a[*]", "a?*", "*!*", "a%*", "**", r"*\**", "[a]*"].map(str::to_owned),
    );
    for pattern in patterns {
        let glob = Glob::parse(&pattern)?;
        let expected: Vec<&str> = CODES.into_iter().filter(|code| glob.matches(code)).collect();
        let listing = Listing { within: Some(glob.clone()), ..ALL };
        let listed = storage::journal::list_captures(&*database, &listing).await?;
        let listed: Vec<&str> = listed.iter().map(|(_, capture)| capture.endpoint.as_str()).collect();
        assert_eq!(listed, expected, "{pattern}");
        let totals = storage::totals::list(&*database, Some(&glob), None, 100).await?;
        let mut sorted = expected;
        sorted.sort_unstable();
        assert!(totals.iter().map(|totals| totals.endpoint.as_str()).eq(sorted), "{pattern}");
    }
    Ok(())
}

pub async fn a_listing_goes_by_pages_both_ways(site: &Site) -> TestResult {
    let database = site.open();
    twelve(&*database).await?;
    for (order, expected) in
        [(Order::OldestFirst, (1..=12).collect::<Vec<i64>>()), (Order::NewestFirst, (1..=12).rev().collect())]
    {
        for endpoint in [None, Some(code("b"))] {
            let expected: Vec<i64> =
                expected.iter().copied().filter(|seq| endpoint.is_none() || seq % 2 == 0).collect();
            let (mut found, mut behind) = (Vec::<i64>::new(), None);
            loop {
                let page = Listing { endpoint: endpoint.clone(), order, behind, limit: 4, ..ALL };
                let page = places(&*database, page).await?;
                found.extend(&page);
                behind = page.last().copied();
                if page.len() < 4 {
                    break;
                }
            }
            assert_eq!(found, expected, "{order:?} of {endpoint:?}");
        }
    }
    Ok(())
}

pub async fn a_span_of_time_is_exact_to_the_microsecond(site: &Site) -> TestResult {
    let database = site.open();
    let received = [0, 1, 999, 1000, 1001, 1500, 2000, 5000];
    // Not in the order of their times, as nodes overtake each other.
    for after_us in [1000, 0, 1, 5000, 1500, 1001, 999, 2000] {
        appended(&*database, &[capture("a", after_us)]).await?;
    }
    for from in [None, Some(0), Some(1), Some(999), Some(1001), Some(1600), Some(5000), Some(6000)] {
        for until in [None, Some(0), Some(1), Some(1000), Some(1001), Some(1501), Some(5000), Some(5001)] {
            for endpoint in [None, Some(code("a"))] {
                let (from_us, until_us) = (from.map(|us| NOON_US + us), until.map(|us| NOON_US + us));
                let listing = Listing { endpoint, from_us, until_us, ..ALL };
                let listed = storage::journal::list_captures(&*database, &listing).await?;
                let mut found: Vec<i64> =
                    listed.iter().map(|(_, capture)| capture.received_us - NOON_US).collect();
                found.sort_unstable();
                let within =
                    |us: &i64| from.is_none_or(|from| from <= *us) && until.is_none_or(|until| *us < until);
                let expected: Vec<i64> = received.into_iter().filter(within).collect();
                assert_eq!(found, expected, "from {from:?} until {until:?}");
            }
        }
    }
    Ok(())
}

pub async fn a_place_is_found_by_time(site: &Site) -> TestResult {
    let database = site.open();
    let first = async |us| storage::journal::first_place_at(&*database, us).await;
    assert_eq!(first(NOON_US).await?, 1, "behind the head of an empty journal");
    twelve(&*database).await?;
    assert_eq!(first(0).await?, 1);
    assert_eq!(first(NOON_US).await?, 1);
    assert_eq!(first(NOON_US + 1_000_000).await?, 2);
    assert_eq!(first(NOON_US + 1_000_001).await?, 2, "by the millisecond: never too late");
    assert_eq!(first(NOON_US + 1_001_000).await?, 3);
    assert_eq!(first(NOON_US + 11_500_000).await?, 13);
    // One that came late and was received early: nothing after its time may be missed.
    appended(&*database, &[capture("a", 20_000_000)]).await?;
    appended(&*database, &[capture("a", 15_000_000)]).await?;
    assert_eq!(first(NOON_US + 15_000_000).await?, 13);
    assert_eq!(first(NOON_US + 18_000_000).await?, 13);
    assert_eq!(first(i64::MAX).await?, 15);
    Ok(())
}

pub async fn a_large_body_is_kept_in_parts(site: &Site) -> TestResult {
    let database = site.open();
    let id = id_at(NOON_US);
    let parts = [vec![0; 300_000], vec![0xff; 300_000], b"end".to_vec()];
    for (part, content) in (0..).zip(&parts) {
        storage::bodies::record_part(&*database, id, part, content.clone().into()).await?;
    }
    storage::bodies::record_part(&*database, id, 0, Bytes::from_static(b"again")).await?;
    for (part, content) in (0..).zip(&parts) {
        assert_eq!(storage::bodies::find_part(&*database, id, part).await?.as_deref(), Some(&content[..]));
    }
    assert_eq!(storage::bodies::find_part(&*database, id, 3).await?, None);
    storage::bodies::remove(&*database, id).await?;
    assert_eq!(storage::bodies::find_part(&*database, id, 0).await?, None);
    Ok(())
}

pub async fn parts_without_an_entry_are_swept(site: &Site) -> TestResult {
    let database = site.open();
    let kept = capture("a", 10_000);
    let orphans = [id_at(NOON_US + 20_000), id_at(NOON_US + 30_000)];
    for id in [kept.id, orphans[0], orphans[1]] {
        for part in 0..2 {
            storage::bodies::record_part(&*database, id, part, Bytes::from_static(b"part")).await?;
        }
    }
    appended(&*database, std::slice::from_ref(&kept)).await?;
    let sweep = async |after_us| storage::bodies::sweep(&*database, NOON_US + after_us).await;
    assert_eq!(sweep(25_000).await?, 2);
    assert_eq!(sweep(25_000).await?, 0);
    let is_there = async |id| TestResult::Ok(storage::bodies::find_part(&*database, id, 1).await?.is_some());
    assert!(is_there(kept.id).await? && !is_there(orphans[0]).await? && is_there(orphans[1]).await?);
    assert_eq!(sweep(31_000).await?, 2);
    Ok(())
}

pub async fn the_places_of_codes_that_begin_alike_are_found_where_they_are_few(site: &Site) -> TestResult {
    let database = site.open();
    let last = format!("run-a-{}", char::MAX.to_string().repeat(62));
    let codes = ["run-a-1", "run-a", "run-a.", "run-b-1", "run-a-", &last, "run-a-1", "Run-a-1"];
    for endpoint in codes {
        appended(&*database, &[capture(endpoint, 0)]).await?;
    }
    let places = scans::places(&*database, "run-a-", 4).await?.ok_or("they are few")?;
    assert_eq!(places, [1, 5, 6, 7]);
    assert_eq!(scans::places(&*database, "run-a-", 3).await?, None);
    assert_eq!(scans::places(&*database, "x", 3).await?, Some(Vec::new()));

    storage::removals::remove_all(&*database, &code("run-a-"), id_at(NOON_US), NOON_US, None).await?;
    let one = Glob::parse("*1")?;
    let list = async |patterns, behind, order, bodies| -> TestResult<Vec<i64>> {
        let window = Window {
            endpoint: None,
            places: Some(&places),
            patterns,
            behind,
            upto: i64::MAX,
            from_us: 0,
            until_us: i64::MAX,
            order,
            bodies,
            limit: 3,
        };
        Ok(scans::list(&*database, &window).await?.into_iter().map(|(seq, _)| seq).collect())
    };
    for bodies in [false, true] {
        let all = [None, None];
        assert_eq!(
            list(all, 0, Order::OldestFirst, bodies).await?,
            [1, 6, 7],
            "what was removed is not there"
        );
        assert_eq!(list(all, 1, Order::NewestFirst, bodies).await?, [7, 6]);
        assert_eq!(list([None, Some(&one)], 0, Order::OldestFirst, bodies).await?, [1, 7]);
    }
    Ok(())
}
