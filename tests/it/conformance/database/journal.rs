//! Appending, and what is read of the journal afterwards.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use creel::model::limits::PREVIEW_BYTES;
use creel::model::{ConfigurationKind, Entry, EntryKind, Filter, Glob, WebSocketDetail};
use creel::storage::configuration;
use futures_util::future::{join_all, try_join_all};

use super::*;

/// Nodes that write at a time, and tasks of each.
const NODES: usize = 3;
const WRITERS: usize = 4;

const DENSE: Sql = Sql::same("SELECT count(*), CAST(COALESCE(max(seq), 0) AS BIGINT) FROM journal");

/// As many entries as the last one's number says; returns how many.
async fn check_dense(database: &dyn Database) -> TestResult<i64> {
    let rows = database.query(&DENSE, &[]).await?;
    let (count, last) = (rows[0].int(0)?, rows[0].int(1)?);
    assert_eq!(count, last, "entries and the last one's number");
    Ok(count)
}

fn some(count: usize) -> Vec<Arc<Capture>> {
    (0..count).map(|i| capture("a", i64::try_from(i).expect("few"))).collect()
}

async fn entries(database: &dyn Database) -> TestResult<Vec<Entry>> {
    Ok(storage::journal::list_after(database, 0, i64::MAX, 1_000_000).await?)
}

fn ids(entries: &[Entry]) -> Vec<Uuid> {
    entries.iter().map(Entry::id).collect()
}

pub async fn numbers_are_dense_and_in_the_batchs_order(site: &Site) -> TestResult {
    let database = site.open();
    assert_eq!(head_seq(&*database).await?, 0);
    let mut sent = Vec::new();
    for size in [1, 512, 3] {
        // Against the order of times, of ids and of endpoints.
        let batch: Vec<Arc<Capture>> = (0..size)
            .map(|i| capture(["z", "a", "m"][i % 3], 1000 - i64::try_from(i).expect("few")))
            .collect();
        let first = appended(&*database, &batch).await?;
        assert_eq!(usize::try_from(first)?, sent.len() + 1);
        sent.extend(batch.iter().map(|capture| capture.id));
    }
    let entries = entries(&*database).await?;
    assert_eq!(ids(&entries), sent);
    assert!(entries.iter().map(|entry| entry.seq).eq(1..=516));
    assert_eq!(head_seq(&*database).await?, 516);
    Ok(())
}

pub async fn concurrent_batches_are_dense_and_in_commit_order(site: &Site) -> TestResult {
    const ROUNDS: usize = 12;
    let committed = AtomicI64::new(0);
    let writers = (0..NODES * WRITERS).map(|writer| {
        let (database, committed) = (site.open(), &committed);
        async move {
            let mut mine = Vec::new();
            for round in 0..ROUNDS {
                let batch = some(1 + (writer * 7 + round * 5) % 40);
                let before = committed.load(Ordering::SeqCst);
                let first = appended(&*database, &batch).await?;
                let last = first - 1 + i64::try_from(batch.len())?;
                assert!(first > before, "{first} was begun when {before} was committed");
                committed.fetch_max(last, Ordering::SeqCst);
                mine.extend((first..=last).zip(batch.iter().map(|capture| capture.id)));
            }
            TestResult::Ok(mine)
        }
    });
    let told: BTreeMap<i64, Uuid> = try_join_all(writers).await?.into_iter().flatten().collect();
    let database = site.open();
    let kept = entries(&*database).await?;
    assert_eq!(i64::try_from(kept.len())?, check_dense(&*database).await?);
    assert!(kept.iter().map(|entry| (entry.seq, entry.id())).eq(told), "each is where its sender was told");
    assert_eq!(head_seq(&*database).await?, kept.last().ok_or("nothing was kept")?.seq);
    Ok(())
}

pub async fn who_sees_an_entry_sees_all_before(site: &Site) -> TestResult {
    let done = AtomicBool::new(false);
    let writers = (0..NODES * WRITERS).map(|writer| {
        let database = site.open();
        async move {
            for round in 0..25 {
                appended(&*database, &some(1 + (writer + round) % 5)).await?;
            }
            TestResult::Ok(())
        }
    });
    let reader = async {
        let database = site.open();
        let (mut looks, mut last) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            let head = head_seq(&*database).await?;
            let seen = check_dense(&*database).await?;
            assert!(last <= head && head <= seen, "{last}, then {head}, then {seen}");
            last = seen;
            looks += 1;
        }
        TestResult::Ok(looks)
    };
    let writing = async {
        let written = try_join_all(writers).await;
        done.store(true, Ordering::SeqCst);
        written
    };
    let (written, looks) = tokio::join!(writing, reader);
    written?;
    assert!(looks? > 3, "it looked while they wrote");
    Ok(())
}

pub async fn a_refused_batch_gives_its_numbers_back(site: &Site) -> TestResult {
    let (database, other) = (site.open(), site.open());
    let first = some(3);
    appended(&*database, &first).await?;
    let mut batch = some(5);
    batch.push(first[1].clone());
    batch.extend(some(5));
    let refused = append(&*database, &batch).await;
    assert!(matches!(refused, Err(DatabaseError::Conflict(_))), "{refused:?}");
    assert_eq!(head_seq(&*other).await?, 3);
    // And within itself.
    let twice = capture("a", 0);
    let refused = append(&*database, &[twice.clone(), capture("a", 1), twice]).await;
    assert!(matches!(refused, Err(DatabaseError::Conflict(_))), "{refused:?}");

    let second = some(2);
    assert_eq!(appended(&*other, &second).await?, 4);
    assert_eq!(appended(&*database, &some(1)).await?, 6);
    assert_eq!(check_dense(&*database).await?, 6);
    let kept = ids(&entries(&*database).await?);
    assert_eq!(kept[..5], [&first[..], &second].concat().iter().map(|c| c.id).collect::<Vec<_>>());
    Ok(())
}

pub async fn a_batch_is_there_once_however_often_it_is_sent(site: &Site) -> TestResult {
    let database = site.open();
    let batch = some(20);
    appended(&*database, &batch).await?;
    let again = append(&*database, &batch).await;
    assert!(matches!(again, Err(DatabaseError::Conflict(_))), "{again:?}");
    // As by a node that does not know whether its first try came through: both are on their way.
    for _ in 0..10 {
        let batch = some(20);
        let tries = (0..NODES).map(|_| {
            let (database, batch) = (site.open(), &batch);
            async move { append(&*database, batch).await }
        });
        let tries = join_all(tries).await;
        let committed = tries.iter().filter(|outcome| matches!(outcome, Ok(Appended::At { .. }))).count();
        let conflicts = tries.iter().filter(|t| matches!(t, Err(DatabaseError::Conflict(_)))).count();
        assert_eq!((committed, conflicts), (1, NODES - 1), "{tries:?}");
        for capture in &batch {
            assert!(storage::journal::find_seq(&*database, capture.id).await?.is_some());
        }
    }
    assert_eq!(check_dense(&*database).await?, 220);
    assert_eq!(storage::journal::find_seq(&*database, id_at(NOON_US)).await?, None);
    Ok(())
}

/// What is to become of an endpoint's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Declared,
    Withdrawn,
}

/// Declares or withdraws an endpoint. None where it is so, or becomes so by somebody else.
pub async fn change(
    database: &dyn Database,
    endpoint: &str,
    wanted: Wanted,
) -> Result<Option<Entry>, DatabaseError> {
    let kind = ConfigurationKind::Endpoint;
    let found = storage::configuration::find(database, kind, endpoint).await?;
    let is_there = found.as_ref().is_some_and(|item| item.document.is_some());
    if is_there == (wanted == Wanted::Declared) {
        return Ok(None);
    }
    let wanted = [storage::configuration::Wanted {
        kind,
        name: endpoint.to_owned(),
        document: (wanted == Wanted::Declared).then(|| "{}".to_owned()),
        seen: found.as_ref().map(storage::configuration::Seen::from),
    }];
    let by = Some("a test");
    let entries = storage::configuration::apply(database, &wanted, by, NOON_US, || id_at(NOON_US)).await?;
    Ok(entries.and_then(|mut entries| entries.pop()))
}

pub async fn a_batch_of_another_configuration_writes_nothing(site: &Site) -> TestResult {
    let (database, other) = (site.open(), site.open());
    let captures = some(3);
    let under = |config_seq| JournalBatch { captures: &captures, config_seq, states: None };
    for wrong in [-1, 1, i64::MAX] {
        assert_eq!(database.append(&under(wrong)).await?, Appended::Moved);
    }
    assert_eq!(check_dense(&*database).await?, 0);
    let declared = change(&*other, "a", Wanted::Declared).await?.ok_or("it was not declared before")?;
    assert_eq!(declared.seq, 1);
    assert_eq!(database.append(&under(0)).await?, Appended::Moved);
    assert_eq!(database.append(&under(1)).await?, Appended::At { base: 1 });
    assert_eq!(check_dense(&*database).await?, 4);
    Ok(())
}

pub async fn no_batch_commits_under_a_configuration_that_has_moved(site: &Site) -> TestResult {
    let done = AtomicBool::new(false);
    let changing = async {
        let database = site.open();
        for round in 0..30 {
            let wanted = if round % 2 == 0 { Wanted::Declared } else { Wanted::Withdrawn };
            change(&*database, "a", wanted).await?.ok_or("nobody else changes it")?;
        }
        done.store(true, Ordering::SeqCst);
        TestResult::Ok(())
    };
    let writers = (0..NODES * WRITERS).map(|_| {
        let (database, done) = (site.open(), &done);
        async move {
            let (mut committed, mut moved) = (Vec::new(), 0);
            while !done.load(Ordering::SeqCst) {
                let config_seq = storage::journal::head(&*database).await?.config_seq;
                match database.append(&JournalBatch { captures: &some(2), config_seq, states: None }).await? {
                    Appended::At { base } => committed.push((config_seq, base)),
                    Appended::Moved => moved += 1,
                }
            }
            TestResult::Ok((committed, moved))
        }
    });
    let (changed, written) = tokio::join!(changing, try_join_all(writers));
    changed?;
    let database = site.open();
    check_dense(&*database).await?;
    let changes: Vec<i64> = entries(&*database)
        .await?
        .iter()
        .filter(|entry| matches!(entry.what, EntryKind::Configuration(_)))
        .map(|entry| entry.seq)
        .collect();
    assert_eq!(changes.len(), 30);
    let written = written?;
    for (config_seq, base) in written.iter().flat_map(|(committed, _)| committed) {
        let in_force = changes.iter().rev().find(|seq| *seq <= base).copied().unwrap_or(0);
        assert_eq!(*config_seq, in_force, "the batch behind {base}");
    }
    Ok(())
}

pub async fn an_endpoint_is_declared_once(site: &Site) -> TestResult {
    let database = site.open();
    for round in 1..=12 {
        let wanted = if round % 2 == 1 { Wanted::Declared } else { Wanted::Withdrawn };
        let tries = (0..NODES).map(|_| {
            let database = site.open();
            async move { change(&*database, "a", wanted).await }
        });
        let tries = join_all(tries).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(tries.iter().flatten().count(), 1, "one of them did it: {tries:?}");
        let head = storage::journal::head(&*database).await?;
        assert_eq!((head.seq, head.config_seq), (round, round), "one entry, one version");
        let items = storage::configuration::changed_after(&*database, i64::MIN).await?.items;
        let item = items.first().ok_or("it is told of, also when it was withdrawn")?;
        assert_eq!((items.len(), item.document.is_some()), (1, wanted == Wanted::Declared));
        assert_eq!((item.version, item.changed_seq), (round, round));
        assert_eq!(tries.into_iter().flatten().next(), entries(&*database).await?.pop());
    }
    Ok(())
}

pub async fn every_column_comes_back(site: &Site) -> TestResult {
    let database = site.open();
    let captures = captures_of_every_sort();
    appended(&*database, &captures).await?;
    let read = site.open();
    for (entry, sent) in entries(&*read).await?.iter().zip(&captures) {
        let EntryKind::Capture(kept) = &entry.what else { return Err(format!("{entry:?}").into()) };
        assert_eq!(kept, sent);
        assert!(kept.headers.iter().eq(sent.headers.iter()));
        let found = storage::journal::find_capture(&*read, sent.id).await?;
        assert_eq!(found, Some((entry.seq, sent.clone())));
    }
    assert_eq!(check_dense(&*read).await?, i64::try_from(captures.len())?);

    // A listing shows the same, but no more of a body than a preview does.
    for ((_, shown), sent) in
        storage::journal::list_captures(&*read, &listing::ALL).await?.iter().zip(&captures)
    {
        let mut preview = Capture::clone(sent);
        let (BodyContent::Inline(content) | BodyContent::Parts { start: content }) =
            &mut preview.body.content;
        content.truncate(PREVIEW_BYTES);
        assert_eq!(**shown, preview);
    }
    Ok(())
}

/// One for each value that a column can have, and for what a hostile sender may choose.
fn captures_of_every_sort() -> Vec<Arc<Capture>> {
    let plain = || plain_capture("a", NOON_US);
    let inline = |bytes: Vec<u8>| Body {
        bytes: bytes.len() as u64,
        content: BodyContent::Inline(bytes.into()),
        ..Body::default()
    };
    let mut headers = HeaderBlockBuilder::default();
    headers.push(b"x-repeated", b"one");
    headers.push(b"x-between", b"");
    headers.push(b"x-repeated", b"two");
    headers.push(b"x-octets", b"\xff\xfe\x80\t caf\xe9");
    headers.push(b"x-colons", b"a: b: c");
    let websocket = |close_code, close_reason: Option<&str>| {
        Some(WebSocketDetail {
            connection: id_at(NOON_US),
            close_code,
            close_reason: close_reason.map(str::to_owned),
        })
    };
    let start = Bytes::from(vec![b'\0'; 8192]);
    let mut all = vec![
        plain(),
        Capture { endpoint: code("\u{1f41f} %2F/?'\"\\ A"), ..plain() },
        Capture { endpoint: code(&"\u{1f41f}".repeat(63)), received_us: 1, ..plain() },
        Capture {
            method: "M-SEARCH~1".into(),
            version: "HTTP/1.0".into(),
            scheme: "https".into(),
            ..plain()
        },
        Capture { target: "http://x/r/a/%ff%00?q=%\u{ff}\0".to_owned(), ..plain() },
        Capture { target: String::new(), host: String::new(), port: 0, ..plain() },
        Capture { host: "\u{fc}.test\0".to_owned(), port: 65_535, ..plain() },
        Capture { headers: headers.finish(), ..plain() },
        Capture { headers: HeaderBlockBuilder::default().finish(), ..plain() },
        Capture {
            peer: "[2001:db8::1]:65535".parse().expect("an address"),
            client: "203.0.113.7".parse().expect("an address"),
            ..plain()
        },
        Capture { body: inline(vec![]), ..plain() },
        Capture { body: inline((0..=255).cycle().take(1 << 20).collect()), ..plain() },
        Capture { body: Body { truncated: true, ..inline(b"cut".to_vec()) }, ..plain() },
        Capture { body: Body { incomplete: true, ..inline(b"\0\x01".to_vec()) }, ..plain() },
        Capture {
            body: Body {
                content: BodyContent::Parts { start },
                bytes: u64::try_from(i64::MAX).expect("positive"),
                truncated: true,
                incomplete: true,
            },
            ..plain()
        },
        Capture { websocket: websocket(None, None), kind: CaptureKind::WebSocketOpen, ..plain() },
        Capture { websocket: websocket(Some(1005), Some("")), kind: CaptureKind::WebSocketClose, ..plain() },
        Capture {
            websocket: websocket(Some(4999), Some("\u{1f41f} \"quoted\\\" \0 \u{7f}")),
            kind: CaptureKind::WebSocketClose,
            ..plain()
        },
    ];
    for kind in [CaptureKind::WebSocketText, CaptureKind::WebSocketBinary] {
        all.push(Capture { kind, body: inline(b"\xff".to_vec()), ..plain() });
    }
    for (source, status) in [
        (ReplySource::Preflight, 204),
        (ReplySource::Limit, 413),
        (ReplySource::WebSocket, 101),
        (ReplySource::Nothing, 0),
        (ReplySource::Default, 999),
    ] {
        all.push(Capture { reply: ReplyChoice::of(source, status), ..plain() });
    }
    let ids = all.into_iter().map(|capture| Capture { id: id_at(NOON_US), ..capture });
    ids.map(Arc::new).collect()
}

pub async fn what_is_written_by_many_is_read_by_page(site: &Site) -> TestResult {
    let database = site.open();
    let writers = (0..NODES).map(|_| {
        let database = site.open();
        async move { appended(&*database, &some(100)).await }
    });
    try_join_all(writers).await?;
    let read = async |after, upto, limit| {
        let page = storage::journal::list_after(&*database, after, upto, limit).await?;
        TestResult::Ok(page.into_iter().map(|entry| entry.seq).collect::<Vec<_>>())
    };
    let mut all = Vec::new();
    loop {
        let page = read(all.last().copied().unwrap_or(0), i64::MAX, 70).await?;
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert!(all.into_iter().eq(1..=300));
    assert_eq!(read(10, 13, 100).await?, [11, 12, 13]);
    assert_eq!(read(10, 13, 2).await?, [11, 12]);
    assert_eq!(read(300, i64::MAX, 2).await?, [0; 0]);
    assert_eq!(read(5, 5, 2).await?, [0; 0]);
    let id = storage::journal::find_id(&*database, 7).await?.ok_or("it is there")?;
    assert_eq!(storage::journal::find_seq(&*database, id).await?, Some(7));
    assert_eq!(storage::journal::find_id(&*database, 301).await?, None);
    Ok(())
}

pub async fn a_page_of_some_endpoints_has_all_that_their_filter_lets_pass(site: &Site) -> TestResult {
    let database = site.open();
    let codes = ["a", "ab", "a-1", "A", "a%", "b*", "é", "éé", "a\u{10FFFF}", "a\u{10FFFF}b"];
    for round in 0..3 {
        let captures: Vec<_> = codes.iter().map(|code| capture(code, round)).collect();
        appended(&*database, &captures).await?;
        let changed = |kind, name: &str| configuration::Wanted {
            kind,
            name: format!("{name}-{round}"),
            document: Some("{}".into()),
            seen: None,
        };
        let changes = [changed(ConfigurationKind::Endpoint, "a"), changed(ConfigurationKind::Rule, "a")];
        configuration::apply(&*database, &changes, None, NOON_US, || id_at(NOON_US)).await?;
        storage::removals::remove_all(&*database, &code("ab"), id_at(NOON_US), NOON_US, None).await?;
    }
    let all = entries(&*database).await?;
    for (endpoints, within) in [
        (&["a"][..], None),
        (&["a*"], None),
        (&["a-*", "ab"], None),
        (&["*"], None),
        (&["*1"], None),
        (&[r"b\*"], None),
        (&["a%*"], None),
        (&["é*"], None),
        (&["a\u{10FFFF}*"], None),
        (&[], Some("a*")),
        (&[], Some("*b")),
        (&["a-*", "ab"], Some("*b")),
        (&["b*"], Some("a*")),
    ] {
        let globs = endpoints.iter().map(|text| Glob::parse(text)).collect::<Result<_, _>>()?;
        let filter = Filter::new(globs, Vec::new()).within(within.map(Glob::parse).transpose()?);
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let only = filter.narrowed();
            let page = storage::journal::list_after_of(&*database, &only, after, i64::MAX, 2).await?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            found.extend(page);
        }
        found.retain(|entry| filter.passes(entry));
        let expected: Vec<Entry> = all.iter().filter(|entry| filter.passes(entry)).cloned().collect();
        assert_eq!(found, expected, "{endpoints:?} within {within:?}");
        assert!(within == Some("a*") && endpoints == ["b*"] || !found.is_empty(), "{endpoints:?}");
    }
    Ok(())
}

pub async fn of_all_that_see_the_head_go_back_one_begins_an_epoch(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &some(5)).await?;
    let old = storage::journal::head(&*database).await?;
    assert!(old.epoch > 0);
    assert_eq!(storage::journal::begin_epoch(&*database, old, 5).await?, old, "it did not go back");
    let nodes = (0..NODES).map(|_| {
        let database = site.open();
        async move { storage::journal::begin_epoch(&*database, old, 9).await }
    });
    let heads = try_join_all(nodes).await?;
    assert!(heads.iter().all(|head| *head == heads[0]), "all go on in the same: {heads:?}");
    assert_ne!(heads[0].epoch, old.epoch);
    assert_eq!((heads[0].seq, heads[0].config_seq), (5, 0));
    Ok(())
}
