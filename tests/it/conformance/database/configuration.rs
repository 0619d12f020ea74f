//! Configuration that is changed by compare and set, and states that captures claim with their commit.

use std::collections::BTreeMap;

use creel::database::StateClaim;
use creel::model::{Change, ConfigurationKind, Entry, EntryKind};
use creel::storage::configuration::{self, Item, Seen, Wanted};
use creel::storage::states;
use futures_util::future::{join_all, try_join_all};

use super::*;

const RULE: ConfigurationKind = ConfigurationKind::Rule;

fn wanted(name: &str, document: Option<&str>, seen: Option<&Item>) -> Wanted {
    Wanted {
        kind: RULE,
        name: name.to_owned(),
        document: document.map(str::to_owned),
        seen: seen.map(Seen::from),
    }
}

async fn apply(database: &dyn Database, changes: &[Wanted]) -> Result<Option<Vec<Entry>>, DatabaseError> {
    configuration::apply(database, changes, Some("a test"), NOON_US, || id_at(NOON_US)).await
}

async fn find(database: &dyn Database, name: &str) -> TestResult<Item> {
    Ok(configuration::find(database, RULE, name).await?.ok_or_else(|| format!("no {name}"))?)
}

pub async fn a_change_is_made_whole_or_not_at_all(site: &Site) -> TestResult {
    let database = site.open();
    let made = [wanted("a", Some("1"), None), wanted("b", Some("2"), None)];
    let entries = apply(&*database, &made).await?.ok_or("there was nothing")?;
    assert_eq!(entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 2]);
    let read = storage::journal::list_after(&*database, 0, i64::MAX, 10).await?;
    assert_eq!(read, entries, "the entries are in the journal as they were told");
    let (a, b) = (find(&*database, "a").await?, find(&*database, "b").await?);
    assert_eq!((a.version, a.created_seq, a.changed_seq), (1, 1, 1));
    assert_eq!((b.version, b.created_seq, b.changed_seq), (1, 2, 2));

    // One of the changes is of something that is not as it was seen.
    let mut stale = a.clone();
    stale.etag = "another".to_owned();
    for changes in [
        vec![wanted("b", Some("3"), Some(&b)), wanted("a", Some("3"), Some(&stale))],
        vec![wanted("b", Some("3"), Some(&b)), wanted("a", Some("3"), None)],
        vec![wanted("c", Some("3"), None), wanted("b", None, Some(&stale))],
        vec![wanted("c", Some("3"), Some(&a))],
    ] {
        assert_eq!(apply(&*database, &changes).await?, None, "{changes:?}");
        assert_eq!(storage::journal::head(&*database).await?.seq, 2);
        assert_eq!(find(&*database, "b").await?, b);
        assert_eq!(configuration::find(&*database, RULE, "c").await?, None);
    }

    let changes =
        [wanted("b", None, Some(&b)), wanted("c", Some("3"), None), wanted("a", Some("4"), Some(&a))];
    let entries = apply(&*database, &changes).await?.ok_or("all was as it was seen")?;
    let told: Vec<Change> = entries
        .iter()
        .filter_map(|entry| match &entry.what {
            EntryKind::Configuration(change) => Some(change.change),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Change::Removed, Change::Created, Change::Changed]);
    let head = storage::journal::head(&*database).await?;
    assert_eq!((head.seq, head.config_seq), (5, 5));
    let gone = find(&*database, "b").await?;
    assert_eq!((gone.document, gone.version, gone.changed_seq), (None, 2, 3));
    assert_eq!(find(&*database, "a").await?.created_seq, 1, "what is changed keeps its age");
    let again = apply(&*database, &[wanted("b", Some("5"), Some(&find(&*database, "b").await?))]).await?;
    assert!(again.is_some());
    let again = find(&*database, "b").await?;
    assert_eq!((again.version, again.created_seq), (3, 6), "what is made again is new");
    assert_eq!(configuration::count(&*database, RULE).await?, 3);
    Ok(())
}

pub async fn of_all_that_change_the_same_state_one_does(site: &Site) -> TestResult {
    let database = site.open();
    apply(&*database, &[wanted("a", Some("0"), None), wanted("b", Some("0"), None)]).await?;
    for round in 1..=10 {
        let (a, b) = (find(&*database, "a").await?, find(&*database, "b").await?);
        let tries = (0..6).map(|i| {
            let (a, b, database) = (&a, &b, site.open());
            async move {
                let document = i.to_string();
                // In either order, so that who takes the rows as they come would deadlock.
                let (one, other) = if i % 2 == 0 { (a, b) } else { (b, a) };
                let changes = [one, other].map(|item| wanted(&item.name, Some(&document), Some(item)));
                apply(&*database, &changes).await
            }
        });
        let done = join_all(tries).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        assert_eq!(done.iter().flatten().count(), 1, "round {round}");
        let (a, b) = (find(&*database, "a").await?, find(&*database, "b").await?);
        assert_eq!(a.document, b.document, "both are one change's");
    }
    assert_eq!(storage::journal::head(&*database).await?.seq, 22);
    Ok(())
}

pub async fn what_has_changed_is_read_with_its_version(site: &Site) -> TestResult {
    let database = site.open();
    let nothing = configuration::changed_after(&*database, i64::MIN).await?;
    assert_eq!((nothing.config_seq, nothing.items.len(), nothing.complete), (0, 0, true));
    for name in ["a", "b", "c"] {
        apply(&*database, &[wanted(name, Some("{}"), None)]).await?;
    }
    let b = find(&*database, "b").await?;
    apply(&*database, &[wanted("b", None, Some(&b))]).await?;
    let names = |place: i64| {
        let database = &database;
        async move {
            let changed = configuration::changed_after(&**database, place).await?;
            let names: Vec<(String, bool)> =
                changed.items.into_iter().map(|item| (item.name, item.document.is_some())).collect();
            TestResult::Ok((changed.config_seq, names))
        }
    };
    let named =
        |names: &[(&str, bool)]| names.iter().map(|(n, there)| ((*n).to_owned(), *there)).collect::<Vec<_>>();
    assert_eq!(names(i64::MIN).await?, (4, named(&[("a", true), ("c", true), ("b", false)])));
    assert_eq!(names(3).await?, (4, named(&[("b", false)])));
    assert_eq!(names(4).await?, (4, vec![]));
    // What is forgotten is told.
    configuration::forget(&*database, NOON_US).await?;
    assert_eq!(names(3).await?.1.len(), 1, "it is not older than that");
    configuration::forget(&*database, NOON_US + 1).await?;
    let changed = configuration::changed_after(&*database, 3).await?;
    assert_eq!((changed.items.len(), changed.forgotten_seq, changed.config_seq), (0, 4, 4));
    assert_eq!(configuration::find(&*database, RULE, "b").await?, None);
    Ok(())
}

fn claim(state_seq: i64, writes: &[(&str, &str)]) -> StateClaim {
    let writes = writes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StateClaim { state_seq, writes }
}

async fn read(database: &dyn Database, place: i64) -> TestResult<(i64, BTreeMap<String, String>)> {
    let changed = states::changed_after(database, place).await?;
    Ok((changed.state_seq, changed.states.into_iter().collect()))
}

pub async fn states_are_claimed_with_the_commit(site: &Site) -> TestResult {
    let database = site.open();
    let captures: Vec<_> = (0..3).map(|i| capture("a", i)).collect();
    let under = async |captures: &[Arc<Capture>], claim: &StateClaim| {
        database.append(&JournalBatch { captures, config_seq: 0, states: Some(claim) }).await
    };
    assert_eq!(under(&captures[..1], &claim(1, &[("x", "1")])).await?, Appended::Moved);
    assert_eq!(read(&*database, 0).await?, (0, BTreeMap::new()), "nothing was written");
    assert_eq!(under(&captures[..2], &claim(0, &[("x", "1"), ("y", "2")])).await?, Appended::At { base: 0 });
    let both = BTreeMap::from([("x".to_owned(), "1".to_owned()), ("y".to_owned(), "2".to_owned())]);
    assert_eq!(read(&*database, 0).await?, (2, both));
    // Who only depends on the states moves nothing.
    assert_eq!(under(&captures[2..], &claim(2, &[])).await?, Appended::At { base: 2 });
    assert_eq!(read(&*database, 2).await?, (2, BTreeMap::new()));
    let set = states::set(&*database, "x", "0", Some("a test"), id_at(NOON_US), NOON_US).await?;
    assert_eq!(set.seq, 4);
    assert_eq!(read(&*database, 2).await?, (4, BTreeMap::from([("x".to_owned(), "0".to_owned())])));
    assert_eq!(states::find(&*database, "x").await?.as_deref(), Some("0"));
    assert_eq!(states::list(&*database, "", "y", 10).await?, [("x".to_owned(), "0".to_owned())]);
    assert_eq!(storage::journal::list_after(&*database, 3, 9, 9).await?, [set]);
    // A batch without states is not concerned.
    let fourth = [capture("a", 9)];
    assert_eq!(appended(&*database, &fourth).await?, 5);
    assert_eq!(under(&[capture("a", 10)], &claim(2, &[])).await?, Appended::Moved);
    Ok(())
}

pub async fn a_state_that_many_claim_counts_every_one(site: &Site) -> TestResult {
    const WRITERS: usize = 6;
    const EACH: usize = 15;
    let writers = (0..WRITERS).map(|_| {
        let database = site.open();
        async move {
            let mut done = 0;
            while done < EACH {
                let (state_seq, states) = read(&*database, 0).await?;
                let count: i64 = states.get("n").map_or(Ok(0), |n| n.parse())?;
                let claim = claim(state_seq, &[("n", &(count + 2).to_string())]);
                let captures = [capture("a", 1), capture("a", 2)];
                let batch = JournalBatch { captures: &captures, config_seq: 0, states: Some(&claim) };
                if database.append(&batch).await? != Appended::Moved {
                    done += 1;
                }
                // One that claims nothing between them.
                appended(&*database, &[capture("b", 1)]).await?;
            }
            TestResult::Ok(())
        }
    });
    try_join_all(writers).await?;
    let database = site.open();
    let counted = read(&*database, 0).await?.1;
    assert_eq!(counted.get("n").map(String::as_str), Some((2 * WRITERS * EACH).to_string().as_str()));
    Ok(())
}
