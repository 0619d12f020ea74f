//! What was answered: found where it stands among others, and gone with its capture.

use creel::model::{Answer, HeaderBlock};
use futures_util::future::try_join_all;

use super::*;
use crate::harness::meddled::{Meddled, Meddling};
use crate::harness::pages::is_in_page;

/// An answer to the capture at a place, with a body.
pub fn answer(endpoint: &str, seq: i64, body: &str) -> Answer {
    let mut headers = HeaderBlockBuilder::default();
    headers.push(b"content-type", b"x/\xff");
    Answer {
        seq,
        endpoint: code(endpoint),
        status: 200,
        headers: headers.finish(),
        body: Bytes::copy_from_slice(body.as_bytes()),
        body_bytes: 1 << 40,
        failure: None,
        took_us: 1234,
    }
}

/// The places of those captures, of a number from 1 on, whose answers are found.
async fn answered(database: &dyn Database, endpoint: &str, upto: i64) -> TestResult<Vec<i64>> {
    let mut answered = Vec::new();
    for seq in 1..=upto {
        let found = storage::answers::find(database, &code(endpoint), seq).await?;
        answered.extend(found.map(|answer| answer.seq));
    }
    Ok(answered)
}

/// Whether a text stands anywhere in what is kept of answers.
async fn is_kept(database: &dyn Database, text: &str) -> TestResult<bool> {
    const SQL: Sql = Sql::same("SELECT content FROM answer_pages ORDER BY first_seq");
    for row in database.query(&SQL, &[]).await? {
        if is_in_page(row.bytes(0)?, text)? {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn pages(database: &dyn Database) -> TestResult<i64> {
    int(database, &Sql::same("SELECT count(*) FROM answer_pages"), &[]).await
}

/// Captures of an endpoint, and their places.
async fn caught(database: &dyn Database, endpoint: &str, count: i64) -> TestResult<Vec<(i64, Uuid)>> {
    let captures: Vec<_> = (0..count).map(|i| capture(endpoint, i)).collect();
    let first = appended(database, &captures).await?;
    Ok((first..).zip(captures).map(|(seq, capture)| (seq, capture.id)).collect())
}

async fn remove(database: &dyn Database, endpoint: &str, capture: Uuid) -> TestResult<bool> {
    let (endpoint, removal) = (code(endpoint), id_at(NOON_US));
    let removed = storage::removals::remove_one(database, &endpoint, capture, removal, NOON_US, None).await?;
    Ok(removed.is_some())
}

/// A mark, set to a place: what stands behind it counts as long ago.
async fn set_mark(database: &dyn Database, name: &str, seq: i64) -> TestResult {
    const SQL: Sql = Sql::same("UPDATE marks SET seq = $2 WHERE name = $1");
    assert_eq!(database.execute(&SQL, &[Value::Text(name.to_owned()), Value::Int(seq)]).await?, 1);
    Ok(())
}

pub async fn an_answer_is_kept_once(site: &Site) -> TestResult {
    let database = site.open();
    let first = answer("a", 1, "\0body");
    let empty = Answer {
        headers: HeaderBlock::default(),
        body: Bytes::new(),
        body_bytes: 0,
        failure: Some("broken".to_owned()),
        status: 204,
        ..answer("a", 3, "")
    };
    storage::answers::record(&*database, &[first.clone(), empty.clone()]).await?;
    let again = [answer("a", 2, "x"), answer("a", 1, "x"), answer("b", 4, "x")];
    let again = storage::answers::record(&*database, &again).await;
    assert!(matches!(again, Err(DatabaseError::Conflict(_))), "{again:?}");
    let find = async |endpoint, seq| storage::answers::find(&*database, &code(endpoint), seq).await;
    assert_eq!(find("a", 1).await?, Some(first), "the first one stays");
    assert_eq!(find("a", 2).await?, None, "all of them in one commit, or none");
    assert_eq!(find("b", 4).await?, None);
    assert_eq!(find("a", 3).await?, Some(empty));
    assert_eq!(find("b", 1).await?, None, "each is its endpoint's");
    Ok(())
}

pub async fn answers_are_found_wherever_they_stand(site: &Site) -> TestResult {
    const ENDPOINTS: [&str; 4] = ["a", "ab", "b", "\u{e4}"];
    let database = site.open();
    // Of some endpoints by turns, not in their order, of which each needs several pages; and one that stands far off.
    let mut batch: Vec<Answer> = (1..=400)
        .map(|seq| {
            let endpoint = ENDPOINTS[usize::try_from(seq % 4).expect("0 to 3")];
            answer(endpoint, seq, &format!("{seq} {}", "x".repeat(8_000)))
        })
        .collect();
    batch.push(answer("b", 20_002, "far"));
    batch.sort_by_key(|answer| answer.seq * 7919 % 401);
    storage::answers::record(&*database, &batch).await?;
    assert_eq!(pages(&*database).await?, 4 * 4 + 1, "a hundred answers of 8 KiB fill four pages");
    for answer in &batch {
        for endpoint in ENDPOINTS.map(code) {
            let found = storage::answers::find(&*database, &endpoint, answer.seq).await?;
            let expected = (endpoint == answer.endpoint).then_some(answer);
            assert_eq!(found.as_ref(), expected, "{endpoint} {}", answer.seq);
        }
    }
    for seq in [i64::MIN, 0, 401, 10_000, 20_001, 20_003, i64::MAX] {
        assert_eq!(storage::answers::find(&*database, &code("b"), seq).await?, None, "{seq}");
    }
    Ok(())
}

/// Each node answers what it has caught itself, and some replies come late.
pub async fn pages_of_two_nodes_lie_over_each_other(site: &Site) -> TestResult {
    let nodes = [site.open(), site.open()];
    for (node, database) in (0..).zip(&nodes) {
        for batch in 0..3 {
            let answers = (1..=90).filter(|seq| seq % 2 == node && seq / 2 % 3 == batch);
            let answers: Vec<_> = answers.map(|seq| answer("a", seq, &format!("body {seq};"))).collect();
            storage::answers::record(&**database, &answers).await?;
        }
    }
    assert_eq!(pages(&*nodes[0]).await?, 6);
    for database in &nodes {
        assert_eq!(answered(&**database, "a", 91).await?, (1..=90).collect::<Vec<_>>());
    }
    let captures = caught(&*nodes[0], "a", 90).await?;
    for &(seq, id) in captures.iter().filter(|(seq, _)| seq % 10 == 0) {
        let node = usize::from(seq % 20 == 0);
        assert!(remove(&*nodes[node], "a", id).await?);
        assert!(!is_kept(&*nodes[0], &format!("body {seq};")).await?, "{seq}");
    }
    let left: Vec<i64> = (1..=90).filter(|seq| seq % 10 != 0).collect();
    assert_eq!(answered(&*nodes[1], "a", 91).await?, left);
    storage::removals::remove_all(&*nodes[0], &code("a"), id_at(NOON_US), NOON_US, None).await?;
    for floor in storage::retention::unpurged(&*nodes[1]).await? {
        storage::retention::purge(&*nodes[1], &floor, 1000).await?;
    }
    assert_eq!(pages(&*nodes[1]).await?, 0);
    Ok(())
}

pub async fn of_a_removed_capture_no_answer_is_left(site: &Site) -> TestResult {
    let database = site.open();
    let captures = caught(&*database, "a", 5).await?;
    let batch: Vec<_> = (1..=5).map(|seq| answer("a", seq, &format!("marker-{seq}"))).collect();
    storage::answers::record(&*database, &batch).await?;
    assert!(is_kept(&*database, "marker-1").await?);
    // Long ago: no sweep will come by.
    set_mark(&*database, "answers_swept", 1_000_000).await?;
    // From its beginning, its end and between, until nothing is left.
    let mut left = vec![1, 2, 3, 4, 5];
    for goes in [1, 5, 3, 2, 4] {
        let (_, id) = captures[usize::try_from(goes - 1)?];
        assert!(remove(&*database, "a", id).await?);
        assert!(!remove(&*database, "a", id).await?, "what is gone is not removed again");
        left.retain(|seq| *seq != goes);
        assert!(!is_kept(&*database, &format!("marker-{goes}")).await?, "{goes}");
        assert_eq!(answered(&*database, "a", 6).await?, left, "its neighbours' are there still");
        for seq in &left {
            let found = storage::answers::find(&*database, &code("a"), *seq).await?;
            assert_eq!(found.as_ref(), batch.iter().find(|answer| answer.seq == *seq));
        }
    }
    assert_eq!(pages(&*database).await?, 0, "of an empty page nothing is left");
    Ok(())
}

/// Whoever takes an answer out puts none back that somebody else has taken out meanwhile.
pub async fn answers_of_one_page_are_removed_at_once(site: &Site) -> TestResult {
    let database = site.open();
    let captures = caught(&*database, "a", 24).await?;
    let batch: Vec<_> = (1..=24).map(|seq| answer("a", seq, &format!("marker-{seq};"))).collect();
    storage::answers::record(&*database, &batch).await?;
    let removals = captures.iter().filter(|(seq, _)| seq % 3 != 0).map(|(_, id)| {
        let database = site.open();
        async move { remove(&*database, "a", *id).await }
    });
    assert!(try_join_all(removals).await?.iter().all(|removed| *removed));
    assert_eq!(answered(&*database, "a", 25).await?, [3, 6, 9, 12, 15, 18, 21, 24]);
    for seq in 1..=24 {
        assert_eq!(is_kept(&*database, &format!("marker-{seq};")).await?, seq % 3 == 0, "{seq}");
    }
    Ok(())
}

/// What happens between two steps of a removal: an answer is written, or without one the node dies.
struct Meanwhile(Option<Answer>);

#[async_trait::async_trait]
impl Meddling for Meanwhile {
    async fn batch(&self, inner: &dyn Database) -> Result<(), DatabaseError> {
        let Some(answer) = &self.0 else { return Err(DatabaseError::Unavailable("it died".into())) };
        storage::answers::record(inner, [answer]).await
    }
}

/// Whoever dies in the middle leaves no answer to nothing, where no sweep comes by any more.
pub async fn an_answer_goes_before_its_capture_and_one_that_comes_meanwhile_after_it(
    site: &Site,
) -> TestResult {
    let database = site.open();
    let captures = caught(&*database, "a", 3).await?;
    let batch = [1, 2].map(|seq| answer("a", seq, &format!("marker-{seq};")));
    storage::answers::record(&*database, &batch).await?;
    let dying = Meddled { inner: database.clone(), before: Meanwhile(None) };
    assert!(remove(&dying, "a", captures[0].1).await.is_err());
    assert!(!is_kept(&*database, "marker-1;").await?);
    assert_eq!(storage::journal::find_seq(&*database, captures[0].1).await?, Some(1), "it is there still");
    let late = Meddled { inner: database.clone(), before: Meanwhile(Some(answer("a", 3, "marker-3;"))) };
    assert!(remove(&late, "a", captures[2].1).await?);
    assert!(!is_kept(&*database, "marker-3;").await?);
    assert_eq!(answered(&*database, "a", 3).await?, [2]);
    Ok(())
}

pub async fn an_answer_that_came_after_its_removal_is_swept(site: &Site) -> TestResult {
    let database = site.open();
    let captures = caught(&*database, "a", 100).await?;
    caught(&*database, "b", 20).await?;
    let gone = [1, 2, 50, 99];
    for seq in gone {
        assert!(remove(&*database, "a", captures[usize::try_from(seq - 1)?].1).await?);
    }
    // More pages than are read at a time, some that begin before the span, and one that ends behind it.
    for page in 0..50 {
        let answers: Vec<_> =
            [page + 1, 100 - page].map(|seq| answer("a", seq, &format!("marker-{seq};"))).into();
        storage::answers::record(&*database, &answers).await?;
    }
    storage::answers::record(&*database, &[answer("b", 101, "b")]).await?;
    let swept = Sql::same("SELECT seq FROM marks WHERE name = 'answers_swept'");
    let sweep = async |folded| {
        set_mark(&*database, "folded", folded).await?;
        storage::answers::sweep(&*database).await?;
        int(&*database, &swept, &[]).await
    };
    assert_eq!(sweep(100_000).await?, 0, "it may be on its way still");
    assert_eq!(answered(&*database, "a", 100).await?.len(), 100);
    assert_eq!(sweep(100_049).await?, 49);
    let without = |gone: &[i64]| (1..=100).filter(|seq| !gone.contains(seq)).collect::<Vec<_>>();
    assert_eq!(answered(&*database, "a", 100).await?, without(&[1, 2]), "no further than it was to look");
    assert_eq!(sweep(100_098).await?, 98);
    assert_eq!(answered(&*database, "a", 100).await?, without(&[1, 2, 50]));
    assert_eq!(sweep(100_124).await?, 124, "and the removals themselves are no gaps");
    assert_eq!(answered(&*database, "a", 100).await?, without(&gone));
    for seq in gone {
        assert!(!is_kept(&*database, &format!("marker-{seq};")).await?, "{seq}");
    }
    assert_eq!(answered(&*database, "b", 101).await?, [101]);
    assert_eq!(sweep(200_000).await?, 50_124, "in steps");
    Ok(())
}

pub async fn what_is_purged_leaves_no_answer_in_a_page_that_goes_on(site: &Site) -> TestResult {
    let database = site.open();
    caught(&*database, "a", 10).await?;
    caught(&*database, "b", 2).await?;
    let removal =
        storage::removals::remove_all(&*database, &code("a"), id_at(NOON_US), NOON_US, None).await?;
    assert_eq!(removal.seq, 13);
    caught(&*database, "a", 3).await?;
    // One that ends where the purge's first step does, one between, and two over the floor.
    for page in [vec![1, 2, 3], vec![4, 5], vec![6, 8, 14], vec![7, 9, 10, 15, 16]] {
        let answers: Vec<_> =
            page.into_iter().map(|seq| answer("a", seq, &format!("marker-{seq};"))).collect();
        storage::answers::record(&*database, &answers).await?;
    }
    storage::answers::record(&*database, &[answer("b", 11, "b"), answer("b", 12, "b")]).await?;
    // Long ago: no sweep will come by.
    set_mark(&*database, "answers_swept", 1_000_000).await?;
    let floors = storage::retention::unpurged(&*database).await?;
    assert_eq!(floors, [(code("a"), 13)]);
    assert_eq!(storage::retention::purge(&*database, &floors[0], 4).await?, 4);
    assert!(!is_kept(&*database, "marker-3;").await?, "with its captures");
    while storage::retention::purge(&*database, &floors[0], 4).await? == 4 {}
    assert_eq!(storage::retention::unpurged(&*database).await?, []);
    assert_eq!(answered(&*database, "a", 17).await?, [14, 15, 16], "what came later stays");
    assert_eq!(answered(&*database, "b", 17).await?, [11, 12], "and what is others'");
    for seq in 1..=16 {
        let is_left = seq > 13;
        assert_eq!(is_kept(&*database, &format!("marker-{seq};")).await?, is_left, "{seq}");
    }
    Ok(())
}

pub async fn a_page_that_cannot_be_read_counts_as_not_recorded(site: &Site) -> TestResult {
    const BREAK: Sql = Sql::same("UPDATE answer_pages SET content = $2 WHERE first_seq = $1");
    const CONTENT: Sql = Sql::same("SELECT content FROM answer_pages WHERE first_seq = $1");
    let database = site.open();
    let captures = caught(&*database, "a", 12).await?;
    for page in 0..4 {
        let answers: Vec<_> = (1..=3).map(|n| answer("a", page * 3 + n, "marker")).collect();
        storage::answers::record(&*database, &answers).await?;
    }
    let rows = database.query(&CONTENT, &[Value::Int(1)]).await?;
    let content = rows[0].bytes(0)?;
    let other_format = [&[9], &content[1..]].concat();
    let cut = content[..content.len() - 4].to_vec();
    for (first_seq, broken) in [(1, other_format), (4, Vec::new()), (7, cut)] {
        let values = [Value::Int(first_seq), Value::Bytes(broken.into())];
        assert_eq!(database.execute(&BREAK, &values).await?, 1);
    }
    // The third one has the first one's answers, as far as they can be read, and none to these captures.
    assert_eq!(answered(&*database, "a", 12).await?, [10, 11, 12]);
    set_mark(&*database, "folded", 100_013).await?;
    assert!(remove(&*database, "a", captures[10].1).await?);
    storage::answers::sweep(&*database).await?;
    assert_eq!(pages(&*database).await?, 4, "what may hold nothing that was removed is let be");
    for capture in [0, 3, 6] {
        assert!(remove(&*database, "a", captures[capture].1).await?, "it is removed all the same");
    }
    assert_eq!(pages(&*database).await?, 1, "what may hold what was removed is gone");
    assert_eq!(answered(&*database, "a", 12).await?, [10, 12]);
    Ok(())
}
