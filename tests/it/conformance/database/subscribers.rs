//! Subscribers that catch up, page by page, while retention trims and the journal changes under them.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use creel::broker::{Broker as _, LocalBroker};
use creel::clock::SystemClock;
use creel::feed::{Hub, HubOptions, Item, Subscriber, Wakes};
use creel::metrics::Metrics;
use creel::model::wire::BodyForm;
use creel::model::{Cursor, Entry, EntryKind, Filter, Glob, Since};
use creel::shutdown::Shutdown;
use futures_util::FutureExt as _;
use tokio::sync::Semaphore;

use super::*;
use crate::harness::eventually;
use crate::harness::meddled::{Meddled, Meddling};

const PATIENCE: Duration = Duration::from_secs(20);

const OPTIONS: HubOptions = HubOptions {
    ring_events_max: 1,
    ring_bytes_max: 1 << 20,
    parked_max: 16,
    gap_wait: Duration::from_millis(10),
    head_poll: Duration::from_millis(1),
    catch_up_page: 4,
    catch_up_bytes_max: 1 << 20,
    catch_up_readers_max: 1,
};

/// A hub whose ring reaches back to nothing that was there before.
async fn hub(database: Arc<dyn Database>) -> TestResult<Arc<Hub>> {
    hub_with(database, OPTIONS).await
}

async fn hub_with(database: Arc<dyn Database>, options: HubOptions) -> TestResult<Arc<Hub>> {
    let (clock, metrics) = (Arc::new(SystemClock), Arc::new(Metrics::new()));
    Ok(Hub::open(database, options, Uuid::new_v4(), clock, metrics).await?)
}

/// Lets a hub look after itself, until what is returned is stopped.
fn keep(hub: &Arc<Hub>) -> Shutdown {
    let (hub, shutdown) = (hub.clone(), Shutdown::default());
    let stopping = shutdown.clone();
    shutdown.spawn(async move {
        let broker = LocalBroker::new();
        hub.keep(broker.subscribe("t"), stopping).await;
    });
    shutdown
}

/// The journal becomes another one, and the hub has heard of it.
async fn change_the_journal(database: &dyn Database, hub: &Hub) -> TestResult {
    let head = storage::journal::head(database).await?;
    let another = storage::journal::begin_epoch(database, head, i64::MAX).await?;
    eventually(PATIENCE, "the hub knows", async || hub.epoch() == another.epoch).await;
    Ok(())
}

fn filter(patterns: &[&str]) -> Filter {
    Filter::new(patterns.iter().map(|pattern| Glob::parse(pattern).expect("a pattern")).collect(), Vec::new())
}

async fn subscriber(hub: &Arc<Hub>, patterns: &[&str], since: Since) -> TestResult<Subscriber> {
    let filter = filter(patterns);
    Ok(Subscriber::new(hub.clone(), filter, BodyForm::None, since, Wakes::ForAnything).await?)
}

fn from_nothing(hub: &Hub) -> Since {
    Since::Cursor(Cursor { epoch: hub.epoch(), seq: 0, digest: 0 })
}

/// What was sent, in words: a place, or the endpoints that were trimmed.
fn told(items: &[Item]) -> Vec<String> {
    let words = items.iter().map(|item| match item {
        Item::Event(event) => event.seq.to_string(),
        Item::Truncated { endpoints, .. } => format!("truncated {}", endpoints.join(" ")),
        Item::Reset { .. } => "reset".to_owned(),
    });
    words.collect()
}

fn words(first: &str, seqs: std::ops::RangeInclusive<i64>) -> Vec<String> {
    let truncated = (!first.is_empty()).then(|| first.to_owned());
    truncated.into_iter().chain(seqs.map(|seq| seq.to_string())).collect()
}

pub async fn each_trim_is_told_once_whatever_else_was_trimmed(site: &Site) -> TestResult {
    let database = site.open();
    let codes = (0..36).map(|i| if i < 30 { "b" } else { "a" });
    let captures: Vec<_> = codes.zip(0..).map(|(code, i)| capture(code, i * 1_000)).collect();
    appended(&*database, &captures).await?;
    fold(&*database).await?;
    let raise = async |endpoint, seq| storage::retention::raise(&*database, &[(code(endpoint), seq)]).await;
    raise("b", 1).await?;
    // Near the head, and of no concern to who reads `b`.
    raise("a", 34).await?;
    let hub = hub(database.clone()).await?;
    let mut of_b = [
        subscriber(&hub, &["b"], Since::Earliest).await?,
        subscriber(&hub, &["b"], Since::Time(NOON_US)).await?,
        subscriber(&hub, &["b"], from_nothing(&hub)).await?,
    ];
    let mut of_all = subscriber(&hub, &[], from_nothing(&hub)).await?;
    for (reader, first) in of_b.iter_mut().zip(["", "", "truncated b"]) {
        assert_eq!(
            told(&reader.next().await?),
            words(first, 2..=5),
            "what was gone before counts for cursors"
        );
    }
    assert_eq!(told(&of_all.next().await?), words("truncated a b", 2..=5));
    for (floor, pages) in [(10, [11..=14, 15..=18]), (24, [25..=28, 29..=30])] {
        raise("b", floor).await?;
        for reader in &mut of_b {
            assert_eq!(told(&reader.next().await?), words("truncated b", pages[0].clone()));
            assert_eq!(told(&reader.next().await?), words("", pages[1].clone()), "once");
        }
    }
    let head = head_seq(&*database).await?;
    for reader in &mut of_b {
        assert_eq!(told(&reader.next_up_to(head).await?), [""; 0]);
    }
    assert_eq!(told(&of_all.next().await?), ["truncated b", "25", "26", "27", "28"]);
    assert_eq!(told(&of_all.next().await?), ["29", "30", "35", "36"]);
    Ok(())
}

/// More than are read at a time, and all but one of others.
pub async fn however_many_endpoints_were_trimmed_each_is_told(site: &Site) -> TestResult {
    const OTHERS: usize = 10_000;
    let database = site.open();
    let names: Vec<String> = (0..OTHERS).map(|i| format!("a{i:05}")).chain(["z".to_owned()]).collect();
    for chunk in names.chunks(1_000) {
        let captures: Vec<_> = chunk.iter().map(|name| capture(name, 0)).collect();
        appended(&*database, &captures).await?;
    }
    appended(&*database, &[capture("z", 1)]).await?;
    fold(&*database).await?;
    let floors: Vec<_> = names.iter().zip(1..).map(|(name, seq)| (code(name), seq)).collect();
    for chunk in floors.chunks(1_000) {
        storage::retention::raise(&*database, chunk).await?;
    }
    let hub = hub(database).await?;
    let last = (OTHERS + 2).to_string();
    let mut of_one = subscriber(&hub, &["z"], from_nothing(&hub)).await?;
    assert_eq!(told(&of_one.next().await?), ["truncated z", &last]);
    let mut of_all = subscriber(&hub, &[], from_nothing(&hub)).await?;
    let mut named = Vec::new();
    loop {
        let items = of_all.next().await?;
        for item in &items {
            match item {
                Item::Truncated { endpoints, .. } => {
                    assert!(endpoints.len() <= 10_000, "as the protocol says");
                    named.extend(endpoints.iter().cloned());
                }
                _ => assert_eq!(named.len(), names.len(), "all are told before what is left"),
            }
        }
        if items.iter().any(|item| matches!(item, Item::Event(_))) {
            assert_eq!(told(&items).last(), Some(&last));
            break;
        }
    }
    named.sort_unstable();
    assert!(named == names, "each once");
    Ok(())
}

/// Holds up whoever reads a page.
#[derive(Default)]
struct Held {
    readers: AtomicUsize,
    may_read: Option<Semaphore>,
}

#[async_trait::async_trait]
impl Meddling for Held {
    async fn statement(&self, sql: &Sql) -> Result<(), DatabaseError> {
        if let Some(may_read) = self.may_read.as_ref().filter(|_| sql.sqlite.contains("LEFT JOIN")) {
            self.readers.fetch_add(1, Ordering::Relaxed);
            drop(may_read.acquire().await);
        }
        Ok(())
    }
}

pub async fn who_waited_for_a_turn_hears_of_another_journal_first(site: &Site) -> TestResult {
    let inner = site.open();
    let captures: Vec<_> = (0..10).map(|i| capture("a", i * 1_000)).collect();
    appended(&*inner, &captures).await?;
    let before = Held { may_read: Some(Semaphore::new(0)), ..Held::default() };
    let database = Arc::new(Meddled { inner: inner.clone(), before });
    let hub = hub(database.clone()).await?;
    let mut readers =
        [subscriber(&hub, &["a"], Since::Earliest).await?, subscriber(&hub, &["a"], Since::Earliest).await?];
    let [reads, waits] = &mut readers;
    let (mut reading, mut waiting) = (pin!(reads.next()), pin!(waits.next()));
    while database.before.readers.load(Ordering::Relaxed) == 0 {
        assert!(reading.as_mut().now_or_never().is_none(), "it is held up");
    }
    assert!(waiting.as_mut().now_or_never().is_none(), "there is one turn at a time");
    let kept = keep(&hub);
    change_the_journal(&*inner, &hub).await?;
    if let Some(may_read) = &database.before.may_read {
        may_read.add_permits(1);
    }
    assert_eq!([told(&reading.await?), told(&waiting.await?)], [["reset"]; 2]);
    kept.stop();
    kept.finish().await;
    Ok(())
}

fn entry(seq: i64, what: &Arc<Capture>) -> Entry {
    Entry { seq, what: EntryKind::Capture(what.clone()) }
}

pub async fn what_was_committed_to_another_journal_is_passed_over(site: &Site) -> TestResult {
    let database = site.open();
    appended(&*database, &[capture("a", 0), capture("a", 1)]).await?;
    let hub = hub(database.clone()).await?;
    let earlier = hub.epoch();
    let kept = keep(&hub);
    change_the_journal(&*database, &hub).await?;
    kept.stop();
    kept.finish().await;
    let (place, late) = (hub.cursor(), capture("a", 2));
    hub.offer_local(earlier, vec![entry(3, &late)]);
    assert_eq!(hub.cursor(), place, "it may not be there any more");
    hub.offer_local(hub.epoch(), vec![entry(3, &late)]);
    assert_eq!(hub.cursor().seq, 3);
    Ok(())
}

/// Lets no new epoch begin, or not yet.
#[derive(Default)]
struct Refusing {
    is_let: AtomicBool,
    tries: AtomicUsize,
    looks: AtomicUsize,
}

#[async_trait::async_trait]
impl Meddling for Refusing {
    async fn statement(&self, sql: &Sql) -> Result<(), DatabaseError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if !sql.sqlite.starts_with("UPDATE journal_head SET epoch") {
            return Ok(());
        }
        self.tries.fetch_add(1, Ordering::Relaxed);
        match self.is_let.load(Ordering::Relaxed) {
            true => Ok(()),
            false => Err(DatabaseError::Unavailable("not now".into())),
        }
    }
}

pub async fn a_journal_that_differs_is_left_when_the_database_lets_it(site: &Site) -> TestResult {
    let inner = site.open();
    appended(&*inner, &[capture("a", 0)]).await?;
    let an_hour = Duration::from_secs(3_600);
    for gap_wait in [an_hour, OPTIONS.gap_wait] {
        let database = Arc::new(Meddled { inner: inner.clone(), before: Refusing::default() });
        let hub = hub_with(database.clone(), HubOptions { gap_wait, ..OPTIONS }).await?;
        let (epoch, kept, before) = (hub.epoch(), keep(&hub), &database.before);
        hub.offer_local(epoch, vec![entry(1, &capture("a", 5))]);
        let tries = || before.tries.load(Ordering::Relaxed);
        eventually(PATIENCE, "it was tried", async || tries() > 0).await;
        let looks = before.looks.load(Ordering::Relaxed);
        eventually(PATIENCE, "the hub woke often", async || {
            before.looks.load(Ordering::Relaxed) > looks + 50
        })
        .await;
        if gap_wait == an_hour {
            assert_eq!(tries(), 1, "not whenever it wakes");
        } else {
            before.is_let.store(true, Ordering::Relaxed);
            eventually(PATIENCE, "a new epoch began", async || hub.epoch() != epoch).await;
        }
        kept.stop();
        kept.finish().await;
    }
    Ok(())
}
