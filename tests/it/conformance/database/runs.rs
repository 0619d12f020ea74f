//! Runs, as nodes share them.

use std::sync::Mutex;

use creel::clock::SystemClock;
use creel::model::run::{AtClosing, RUN_VERIFICATIONS_MAX, Run, RunState, Verification, VerificationKind};
use creel::model::{ConfigurationKind, Cursor, Entry, EntryKind, Glob};
use creel::rules::RuleOptions;
use creel::rules::template::TemplateOptions;
use creel::runs::{Opener, Order, RunOptions, Runs, Turns};
use creel::shutdown::Shutdown;
use creel::storage::configuration::{Item, Wanted};
use creel::storage::run_counts::{Count, Place};
use creel::storage::{configuration, run_counts, runs, states};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use serde_json::json;

use super::*;

pub fn run(number: u8) -> Run {
    Run {
        id: format!("id {number}"),
        name: "a run".to_owned(),
        labels: [("branch".to_owned(), "main".to_owned())].into(),
        prefix: format!("run-{number}-"),
        state: RunState::Open,
        captures: AtClosing::Keep,
        opened_us: NOON_US,
        expires_us: NOON_US + i64::from(number),
        closed_us: None,
        start: Cursor::default(),
        end_seq: None,
        token: Some(format!("token {number}")),
        opened_by: None,
        made: 0,
        passed: 0,
        counts: None,
    }
}

async fn opened(database: &dyn Database, run: Run) -> TestResult<Run> {
    runs::open(database, run, 1_000).await?.ok_or_else(|| "there is room".into())
}

fn ids(runs: &[Run]) -> Vec<&str> {
    runs.iter().map(|run| run.id.as_str()).collect()
}

pub async fn a_run_begins_behind_what_was_caught_before(site: &Site) -> TestResult {
    let database = site.open();
    let first = opened(&*database, run(1)).await?;
    assert_eq!((first.start.seq, first.start.digest), (0, 0), "nothing was there");
    let caught = capture("a", 0);
    let seq = appended(&*database, std::slice::from_ref(&caught)).await?;
    let second = opened(&*database, Run { token: None, opened_by: Some("me".to_owned()), ..run(2) }).await?;
    let epoch = storage::journal::head(&*database).await?.epoch;
    assert_eq!(second.start, Cursor::behind(epoch, seq, caught.id));
    for opened in [&first, &second] {
        assert_eq!(runs::find(&*database, &opened.id).await?.as_ref(), Some(opened));
    }
    assert_eq!(runs::find(&*database, "nothing").await?, None);
    let twice = runs::open(&*database, Run { prefix: first.prefix, ..run(3) }, 1_000).await;
    assert!(matches!(twice, Err(DatabaseError::Conflict(_))), "{twice:?}");
    Ok(())
}

pub async fn no_more_runs_are_open_than_may_be_whoever_opens(site: &Site) -> TestResult {
    let nodes = [site.open(), site.open()];
    let opened = join_all((0..12).map(|n| runs::open(&*nodes[usize::from(n) % 2], run(n), 4))).await;
    let opened: Vec<Run> = opened.into_iter().filter_map(|opened| opened.ok().flatten()).collect();
    assert_eq!(opened.len(), 4);
    assert_eq!(runs::count_open(&*nodes[0]).await?, 4);
    runs::begin_closing(&*nodes[0], &opened[0], None, NOON_US).await?;
    assert_eq!(runs::open(&*nodes[0], run(20), 4).await?, None, "one that is being closed is there still");
    runs::finish(&*nodes[0], &opened[0].id, NOON_US).await?;
    assert!(runs::open(&*nodes[0], run(20), 4).await?.is_some());
    Ok(())
}

/// What whoever opens runs is made of, and a record of what it tells of.
fn keeper(database: Arc<dyn Database>) -> (Arc<Runs>, Arc<Mutex<Vec<Entry>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let announced = told.clone();
    let options = RunOptions {
        open_max: 10,
        kept: Duration::from_secs(60),
        rules_max: 10,
        endpoints_max: 10,
        rules: RuleOptions {
            pattern_bytes_max: 65_536,
            delay_max: Duration::ZERO,
            template: TemplateOptions { strict: false, source_bytes_max: 1_024 },
        },
    };
    let runs = Runs {
        database,
        options,
        clock: Arc::new(SystemClock),
        metrics: Arc::default(),
        announce: Box::new(move |entry| announced.lock().expect("nobody panics").push(entry)),
        node: Uuid::now_v7(),
        turns: Turns::default(),
    };
    (Arc::new(runs), told)
}

pub async fn a_run_that_nobody_waits_for_is_undone(site: &Site) -> TestResult {
    let database = site.open();
    let (keeper, told) = keeper(database.clone());
    let order = || {
        let document = json!({"name": "a", "token": true, "config": {"rules": [{"name": "r", "reply": {}}]}});
        Order::parse(document).map_err(|invalid| invalid.to_string())
    };
    let shutdown = Shutdown::default();
    // Whoever asks goes away as soon as it has begun.
    let opened =
        keeper.open(order()?, Opener::default(), keeper.turns.opening().await, &shutdown).now_or_never();
    assert!(opened.is_none(), "it takes a while");
    shutdown.finish().await;
    let changes = std::mem::take(&mut *told.lock().map_err(|error| error.to_string())?);
    let changes = changes.iter().filter_map(|entry| match &entry.what {
        EntryKind::Configuration(change) => Some(format!("{} {}", change.kind.name(), change.change.name())),
        _ => None,
    });
    let mut changes: Vec<String> = changes.collect();
    changes.sort();
    assert_eq!(changes, ["rule created", "rule removed", "token created", "token removed"]);
    assert_eq!(runs::list(&*database, None, None, None, 10).await?, []);
    // Where it is waited for, it stays.
    let shutdown = Shutdown::default();
    let opened = keeper.open(order()?, Opener::default(), keeper.turns.opening().await, &shutdown).await;
    let opened = opened.map_err(|why| why.to_string())?;
    shutdown.finish().await;
    assert_eq!(runs::list(&*database, None, None, None, 10).await?, [opened.run]);
    Ok(())
}

pub async fn a_run_is_closed_step_by_step_and_each_is_taken_once(site: &Site) -> TestResult {
    let database = site.open();
    let (outer, other) = (opened(&*database, run(1)).await?, opened(&*database, run(2)).await?);
    let inner = opened(&*database, Run { prefix: "run-1-run-3-".to_owned(), ..run(3) }).await?;
    appended(&*database, &[capture("run-1-a", 0)]).await?;
    assert!(runs::closing(&*database, &outer.prefix).await?.is_empty());
    runs::begin_closing(&*database, &outer, Some(AtClosing::Remove), NOON_US + 10).await?;
    appended(&*database, &[capture("run-1-a", 1)]).await?;
    runs::begin_closing(&*database, &outer, Some(AtClosing::Keep), NOON_US + 20).await?;
    let closing = runs::closing(&*database, &outer.prefix).await?;
    assert_eq!(ids(&closing), [&inner.id, &outer.id], "the innermost first");
    assert_eq!(
        (closing[1].end_seq, closing[1].captures),
        (Some(1), AtClosing::Remove),
        "as it was first said"
    );
    assert_eq!(closing[0].captures, AtClosing::Keep, "that was said of the outer one");
    assert_eq!(runs::find(&*database, &other.id).await?, Some(other.clone()));

    let due = async |now_us, before_us| -> TestResult<Vec<String>> {
        Ok(runs::due(&*database, now_us, before_us, 10).await?.into_iter().map(|run| run.id).collect())
    };
    assert_eq!(due(NOON_US + 1, NOON_US).await?, [] as [String; 0]);
    assert_eq!(due(NOON_US + 2, NOON_US).await?, [other.id.as_str()], "its time is over");
    assert_eq!(due(NOON_US, NOON_US + 11).await?, [outer.id.as_str(), &inner.id], "it takes too long");

    for counts in ["first", "second"] {
        runs::keep_counts(&*database, &outer.id, counts).await?;
    }
    runs::keep_counts(&*database, &other.id, "it is open").await?;
    for at_us in [30, 40] {
        runs::finish(&*database, &outer.id, NOON_US + at_us).await?;
    }
    runs::finish(&*database, &other.id, NOON_US).await?;
    let closed = runs::find(&*database, &outer.id).await?.ok_or("it is there")?;
    assert_eq!((closed.state, closed.closed_us), (RunState::Closed, Some(NOON_US + 30)));
    assert_eq!(closed.counts.as_deref(), Some("first"));
    assert_eq!(runs::find(&*database, &other.id).await?, Some(other.clone()));

    assert!(runs::closed_before(&*database, NOON_US + 30, 10).await?.is_empty());
    assert_eq!(ids(&runs::closed_before(&*database, NOON_US + 31, 10).await?), [&outer.id]);
    for run in [&closed, &other] {
        runs::forget(&*database, run).await?;
    }
    assert_eq!(runs::find(&*database, &outer.id).await?, None);
    assert_eq!(runs::find(&*database, &other.id).await?, Some(other), "it is open");
    Ok(())
}

pub async fn a_run_that_cannot_be_read_keeps_no_other_from_being_closed(site: &Site) -> TestResult {
    const SPOIL: Sql = Sql::same("UPDATE runs SET captures = 'burn' WHERE id = $1");
    let database = site.open();
    for number in 1..=3 {
        opened(&*database, run(number)).await?;
    }
    database.execute(&SPOIL, &[Value::Text(run(1).id)]).await?;
    let due = runs::due(&*database, NOON_US + 2, NOON_US, 10).await?;
    assert_eq!(ids(&due), [&run(2).id]);
    for run in runs::list(&*database, None, None, None, 2).await? {
        runs::begin_closing(&*database, &run, None, NOON_US).await?;
        runs::finish(&*database, &run.id, NOON_US).await?;
    }
    database.execute(&SPOIL, &[Value::Text(run(2).id)]).await?;
    let closed = runs::closed_before(&*database, NOON_US + 1, 10).await?;
    assert_eq!(ids(&closed), [&run(3).id]);
    Ok(())
}

pub async fn runs_are_listed_by_page_to_those_who_see_them(site: &Site) -> TestResult {
    let database = site.open();
    let prefixes = ["run-a-", "ci-run-b-", "CI-run-c-", "%-run-d-", "c_-run-e-", "ci-*-run-f-"];
    for (number, prefix) in (0..).zip(prefixes) {
        opened(&*database, Run { prefix: prefix.to_owned(), ..run(number) }).await?;
    }
    let list = async |pattern: Option<&str>, behind: Option<&str>, limit| -> TestResult<Vec<String>> {
        let pattern = pattern.map(Glob::parse).transpose()?;
        let found = runs::list(&*database, pattern.as_ref(), None, behind, limit).await?;
        for run in &found {
            assert!(run.is_within(pattern.as_ref()), "{run:?}");
        }
        Ok(found.into_iter().map(|run| run.prefix).collect())
    };
    let mut newest_first = prefixes;
    newest_first.reverse();
    assert_eq!(list(None, None, 10).await?, newest_first);
    assert_eq!(list(None, Some("id 4"), 2).await?, ["%-run-d-", "CI-run-c-"]);
    for (pattern, expected) in [
        ("*", newest_first.as_slice()),
        ("ci-*", &["ci-*-run-f-", "ci-run-b-"]),
        (r"ci-\*-*", &["ci-*-run-f-"]),
        ("%-*", &["%-run-d-"]),
        ("c_-*", &["c_-run-e-"]),
        ("ci-run-b-*", &["ci-run-b-"]),
        ("ci-run-b-x*", &[]),
        ("*-", &[]),
        ("run-a-", &[]),
    ] {
        assert_eq!(list(Some(pattern), None, 10).await?, expected, "{pattern}");
    }
    runs::begin_closing(&*database, &run(0), None, NOON_US).await?;
    let closing = runs::list(&*database, None, Some(RunState::Closing), None, 10).await?;
    assert_eq!(ids(&closing), [] as [&str; 0], "its prefix is another");
    let first = runs::find(&*database, "id 0").await?.ok_or("it is there")?;
    runs::begin_closing(&*database, &first, None, NOON_US).await?;
    let closing = runs::list(&*database, None, Some(RunState::Closing), None, 10).await?;
    assert_eq!(ids(&closing), ["id 0"]);
    Ok(())
}

pub async fn what_a_run_was_asked_is_recorded_in_its_order_and_within_a_bound(site: &Site) -> TestResult {
    const MADE: Sql = Sql::same("UPDATE runs SET made = $1, passed = $3 WHERE id = $2");
    let nodes = [site.open(), site.open()];
    let run = opened(&*nodes[0], run(1)).await?;
    let asked = |number: i64, passed: bool| Verification {
        name: format!("number {number}"),
        kind: if passed { VerificationKind::Wait } else { VerificationKind::Verify },
        passed,
        why: (!passed).then(|| "it was not so".to_owned()),
        at_us: NOON_US + number,
        took_us: number,
    };
    for number in 1..=4 {
        let node = &nodes[usize::try_from(number)? % 2];
        assert!(runs::record_verification(&**node, &run.id, &asked(number, number != 3)).await?);
    }
    let expected: Vec<Verification> = (1..=4).map(|number| asked(number, number != 3)).collect();
    assert_eq!(runs::verifications(&*nodes[0], &run.id).await?, expected);
    let many = join_all(
        (0..20).map(|n| runs::record_verification(&*nodes[n % 2], &run.id, &expected[0])).collect::<Vec<_>>(),
    )
    .await;
    assert!(many.into_iter().all(|made| matches!(made, Ok(true))));
    let found = runs::find(&*nodes[0], &run.id).await?.ok_or("it is there")?;
    assert_eq!((found.made, found.passed), (24, 23));

    let made = async |made, passed| {
        let values = [Value::Int(made), Value::Text(run.id.clone()), Value::Int(passed)];
        nodes[0].execute(&MADE, &values).await
    };
    made(RUN_VERIFICATIONS_MAX - 1, RUN_VERIFICATIONS_MAX - 2).await?;
    let long = Verification { name: "ä".repeat(300), why: Some("\0".repeat(5_000)), ..asked(1, false) };
    for verification in [&asked(1, true), &asked(2, true), &long] {
        assert!(runs::record_verification(&*nodes[0], &run.id, verification).await?, "it is counted");
    }
    made(3 * RUN_VERIFICATIONS_MAX, 2 * RUN_VERIFICATIONS_MAX).await?;
    assert!(runs::record_verification(&*nodes[0], &run.id, &long).await?, "it is counted");
    let kept = runs::verifications(&*nodes[0], &run.id).await?;
    assert_eq!(kept.len(), 26, "one within the bound, and one that failed beyond it");
    assert_eq!(kept[25].name, "ä".repeat(127));
    assert!(kept[25].why.as_ref().is_some_and(|why| why.len() <= 4_096 && !why.contains('\0')));

    runs::begin_closing(&*nodes[0], &found, None, NOON_US).await?;
    assert!(!runs::record_verification(&*nodes[0], &run.id, &long).await?);
    assert!(!runs::record_verification(&*nodes[0], "nothing", &long).await?);
    runs::finish(&*nodes[0], &run.id, NOON_US).await?;
    runs::forget(&*nodes[0], &run).await?;
    assert!(runs::verifications(&*nodes[0], &run.id).await?.is_empty());
    Ok(())
}

pub async fn what_a_prefix_has_caught_is_counted_in_steps(site: &Site) -> TestResult {
    let database = site.open();
    let answered = |endpoint: &str, number: i64, rule: Option<&str>| {
        let mut capture = plain_capture(endpoint, NOON_US + number);
        capture.reply.rule =
            rule.map(|name| creel::model::RuleChoice { name: name.into(), version: 1, hit: None });
        Arc::new(capture)
    };
    let mut batch =
        vec![answered("run-1", 0, None), answered("run-1.", 0, None), answered("run-2-", 0, None)];
    for number in 0..6_000 {
        batch.push(answered("run-1-a", number, (number % 3 == 0).then_some("run-1-r")));
    }
    for number in 0..10 {
        batch.push(answered("run-1-b", number, Some("everybody's \u{0}\"")));
    }
    for batch in batch.chunks(1_000) {
        appended(&*database, batch).await?;
    }
    let upto = head_seq(&*database).await?;
    appended(&*database, &[answered("run-1-a", 1, None)]).await?;
    let count = async |upto| -> TestResult<(Vec<Count>, usize)> {
        let (mut found, mut steps, mut next) = (Vec::<Count>::new(), 0, Some(Place::start("run-1-")));
        while let Some(place) = next {
            let step = run_counts::step(&*database, "run-1-", upto, &place).await?;
            for count in step.counts {
                match found.iter_mut().find(|f| (&f.endpoint, &f.rule) == (&count.endpoint, &count.rule)) {
                    Some(known) => known.captures += count.captures,
                    None => found.push(count),
                }
            }
            (steps, next) = (steps + 1, step.next);
        }
        Ok((found, steps))
    };
    let shown = |counts: &[Count]| -> Vec<(String, i64)> {
        let mut shown: Vec<_> =
            counts.iter().map(|c| (format!("{} {}", c.endpoint, c.rule.is_empty()), c.captures)).collect();
        shown.sort();
        shown
    };
    let (found, steps) = count(upto).await?;
    assert_eq!(steps, 2);
    let of_b: i64 =
        found.iter().filter(|count| count.endpoint == "run-1-b").map(|count| count.captures).sum();
    assert_eq!(of_b, 10);
    let of_a = shown(&found).into_iter().filter(|(name, _)| name.starts_with("run-1-a")).collect::<Vec<_>>();
    assert_eq!(of_a, [("run-1-a false".to_owned(), 2_000), ("run-1-a true".to_owned(), 4_000)]);
    assert_eq!(count(upto + 1).await?.0.iter().map(|count| count.captures).sum::<i64>(), 6_011);

    // What was removed is not counted, be it purged already or not.
    storage::removals::remove_all(&*database, &code("run-1-a"), id_at(NOON_US), NOON_US, None).await?;
    assert_eq!(count(i64::MAX).await?.0.iter().map(|count| count.captures).sum::<i64>(), 10);
    let mut behind = String::new();
    let mut codes = Vec::new();
    while let Some((endpoint, is_shown)) = run_counts::endpoint_behind(&*database, "run-1-", &behind).await? {
        behind = endpoint.to_string();
        codes.push((behind.clone(), is_shown));
    }
    assert_eq!(codes, [("run-1-a".to_owned(), false), ("run-1-b".to_owned(), true)]);
    Ok(())
}

pub async fn what_stands_behind_a_prefix_is_found_and_forgotten(site: &Site) -> TestResult {
    let database = site.open();
    let wanted = |kind, name: &str| Wanted {
        kind,
        name: name.to_owned(),
        document: Some("{}".to_owned()),
        seen: None,
    };
    let all = [
        wanted(ConfigurationKind::Rule, "run-1-r"),
        wanted(ConfigurationKind::Endpoint, "run-1-e"),
        wanted(ConfigurationKind::Rule, "run-1"),
        wanted(ConfigurationKind::Rule, "run-10-r"),
        wanted(ConfigurationKind::Endpoint, "run-2-e"),
    ];
    configuration::apply(&*database, &all, None, NOON_US, || id_at(NOON_US)).await?.ok_or("it is new")?;
    let behind = configuration::list_behind(&*database, "run-1-", 10).await?;
    let names = |items: &[Item]| items.iter().map(|item| item.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&behind), ["run-1-e", "run-1-r"]);
    assert_eq!(names(&configuration::list_behind(&*database, "run-1-", 1).await?), ["run-1-e"]);

    for name in ["scenario/run-1-a", "scenario/run-1", "scenario/run-10-a", "sequence/run-1-a"] {
        states::set(&*database, name, "full", None, id_at(NOON_US), NOON_US).await?;
    }
    states::forget_behind(&*database, "run-1-").await?;
    let left = states::list(&*database, "", "z", 10).await?;
    let left: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
    assert_eq!(left, ["scenario/run-1", "scenario/run-10-a", "sequence/run-1-a"]);
    Ok(())
}

pub async fn totals_of_which_nothing_is_left_are_forgotten_with_the_run(site: &Site) -> TestResult {
    let database = site.open();
    let run = opened(&*database, run(1)).await?;
    let codes = ["run-1-gone", "run-1-kept", "run-1-late", "run-1-trimmed", "run-1-unpurged", "run-2-gone"];
    let mut seqs = Vec::new();
    for endpoint in codes {
        seqs.push(appended(&*database, &[capture(endpoint, 0)]).await?);
    }
    let clear = async |endpoint: &str| -> TestResult {
        storage::removals::remove_all(&*database, &code(endpoint), id_at(NOON_US), NOON_US, None).await?;
        Ok(())
    };
    clear("run-1-gone").await?;
    clear("run-2-gone").await?;
    fold(&*database).await?;
    let floors = [(code("run-1-trimmed"), seqs[3]), (code("run-1-unpurged"), seqs[4])];
    storage::retention::raise(&*database, &floors).await?;
    // Removed, and neither folded nor purged yet.
    clear("run-1-late").await?;
    for floor in storage::retention::unpurged(&*database).await? {
        if !["run-1-late", "run-1-unpurged"].contains(&floor.0.as_str()) {
            storage::retention::purge(&*database, &floor, 10).await?;
        }
    }
    runs::begin_closing(&*database, &run, None, NOON_US).await?;
    runs::finish(&*database, &run.id, NOON_US).await?;
    runs::forget(&*database, &run).await?;
    const ROWS: Sql = Sql::same("SELECT count(*) FROM endpoint_totals WHERE endpoint = $1");
    let mut left = Vec::new();
    for endpoint in codes {
        if int(&*database, &ROWS, &[Value::Text(endpoint.to_owned())]).await? > 0 {
            left.push(endpoint);
        }
    }
    assert_eq!(left, ["run-1-kept", "run-1-late", "run-1-unpurged", "run-2-gone"]);
    Ok(())
}
