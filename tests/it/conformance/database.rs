//! The contract of `Database` and of what `storage` does with it, one function a promise, for every
//! database there is. What only a server can go through is in `outages`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use creel::database::postgres::{PostgresDatabase, PostgresOptions};
use creel::database::sqlite::{SqliteDatabase, SqliteOptions};
use creel::database::{Appended, Database, DatabaseError, JournalBatch, Migrate, Sql, Value};
use creel::model::header_block::HeaderBlockBuilder;
use creel::model::{Body, BodyContent, Capture, CaptureKind, EndpointCode, ReplyChoice, ReplySource};
use creel::storage;
use libtest_mimic::Trial;
use uuid::{ContextV7, Timestamp, Uuid};

use crate::harness::servers::{TestDatabase, shared_postgres};
use crate::harness::{Needs, TestResult, trial, workplace};

mod answers;
mod configuration;
mod journal;
mod listing;
mod outages;
mod reports;
mod retention;
mod runs;
mod statements;
mod subscribers;
mod tallies;
mod tokens;
mod totals;

/// Of most captures here, so that ids and times are the same in each run's order.
const NOON_US: i64 = 1_795_262_400_000_000;

/// An empty database of a test's own, with the schema.
pub struct Site {
    open: Box<dyn Fn() -> Arc<dyn Database> + Send + Sync>,
    _server: Option<TestDatabase>,
}

impl Site {
    /// The database as another node of the cluster opens it: with connections of its own where several
    /// nodes can share it.
    pub fn open(&self) -> Arc<dyn Database> {
        (self.open)()
    }
}

/// The promises, for one database.
macro_rules! conformance {
    ($site:ident, $needs:expr) => {
        conformance! { $site, $needs, statements =>
            values_come_back_as_they_were,
            text_is_compared_by_its_bytes,
            execute_counts_the_rows_that_match,
            a_batch_is_one_commit,
            an_insert_is_of_all_rows_or_none,
            failures_are_told_apart,
            many_statements_run_at_a_time,
            commits_are_durable,
            migrating_again_changes_nothing,
            an_older_schema_is_refused_and_a_newer_one_is_not,
            what_is_closed_is_unavailable,
        }
        .into_iter()
        .chain(conformance! { $site, $needs, journal =>
            numbers_are_dense_and_in_the_batchs_order,
            concurrent_batches_are_dense_and_in_commit_order,
            who_sees_an_entry_sees_all_before,
            a_refused_batch_gives_its_numbers_back,
            a_batch_is_there_once_however_often_it_is_sent,
            a_batch_of_another_configuration_writes_nothing,
            no_batch_commits_under_a_configuration_that_has_moved,
            an_endpoint_is_declared_once,
            every_column_comes_back,
            what_is_written_by_many_is_read_by_page,
            a_page_of_some_endpoints_has_all_that_their_filter_lets_pass,
            of_all_that_see_the_head_go_back_one_begins_an_epoch,
        })
        .chain(conformance! { $site, $needs, listing =>
            a_listing_shows_what_it_is_asked_for,
            a_pattern_means_in_the_database_what_it_means_here,
            a_listing_goes_by_pages_both_ways,
            a_span_of_time_is_exact_to_the_microsecond,
            a_place_is_found_by_time,
            the_places_of_codes_that_begin_alike_are_found_where_they_are_few,
            a_large_body_is_kept_in_parts,
            parts_without_an_entry_are_swept,
        })
        .chain(conformance! { $site, $needs, answers =>
            an_answer_is_kept_once,
            answers_are_found_wherever_they_stand,
            pages_of_two_nodes_lie_over_each_other,
            of_a_removed_capture_no_answer_is_left,
            answers_of_one_page_are_removed_at_once,
            an_answer_goes_before_its_capture_and_one_that_comes_meanwhile_after_it,
            an_answer_that_came_after_its_removal_is_swept,
            what_is_purged_leaves_no_answer_in_a_page_that_goes_on,
            a_page_that_cannot_be_read_counts_as_not_recorded,
        })
        .chain(conformance! { $site, $needs, totals =>
            a_removal_is_an_entry_and_takes_the_capture_away,
            of_all_that_remove_a_capture_one_has_removed_it,
            totals_are_right_whenever_a_capture_is_removed,
            totals_are_right_whenever_an_endpoint_is_cleared,
            what_came_after_a_clearing_stays,
            totals_are_exact_whatever_runs_at_once,
            endpoints_are_listed_by_page,
        })
        .chain(conformance! { $site, $needs, tallies =>
            what_was_counted_is_folded_as_if_it_had_been_read,
            what_was_counted_is_dropped_where_some_of_it_was_removed,
            what_was_counted_is_dropped_where_somebody_else_has_folded,
            what_was_counted_past_the_end_of_the_journal_is_dropped,
        })
        .chain(conformance! { $site, $needs, retention =>
            old_captures_go_by_age,
            what_was_long_on_its_way_takes_no_younger_one_with_it,
            old_captures_go_by_number,
            the_oldest_captures_go_by_what_they_weigh,
            what_is_trimmed_is_told_to_those_behind,
            what_lies_under_a_floor_is_purged_in_steps,
            notices_go_by_age,
            a_lease_is_held_by_one,
        })
        .chain(conformance! { $site, $needs, subscribers =>
            each_trim_is_told_once_whatever_else_was_trimmed,
            however_many_endpoints_were_trimmed_each_is_told,
            who_waited_for_a_turn_hears_of_another_journal_first,
            what_was_committed_to_another_journal_is_passed_over,
            a_journal_that_differs_is_left_when_the_database_lets_it,
        })
        .chain(conformance! { $site, $needs, reports =>
            reports_count_what_was_caught_be_it_removed_or_not,
            reports_are_the_same_when_minutes_are_merged,
            what_finds_no_room_is_counted_without_its_endpoint,
            no_capture_is_too_strange_to_be_counted,
            patterns_choose_endpoints_by_their_letters,
            every_capture_is_counted_once_whoever_folds,
            nodes_are_there_as_long_as_they_write,
        })
        .chain(conformance! { $site, $needs, configuration =>
            a_change_is_made_whole_or_not_at_all,
            of_all_that_change_the_same_state_one_does,
            what_has_changed_is_read_with_its_version,
            states_are_claimed_with_the_commit,
            a_state_that_many_claim_counts_every_one,
        })
        .chain(conformance! { $site, $needs, tokens =>
            a_token_is_live_until_it_is_revoked_or_expires,
            what_changes_no_token_raises_no_mark,
            no_more_tokens_are_made_than_nodes_hold,
            what_is_over_makes_no_token,
            of_all_that_claim_a_ticket_one_has_it,
            no_holder_takes_the_room_of_all_others,
            nodes_that_start_at_once_agree_on_a_key,
        })
        .chain(conformance! { $site, $needs, runs =>
            a_run_begins_behind_what_was_caught_before,
            no_more_runs_are_open_than_may_be_whoever_opens,
            a_run_is_closed_step_by_step_and_each_is_taken_once,
            a_run_that_nobody_waits_for_is_undone,
            runs_are_listed_by_page_to_those_who_see_them,
            what_a_run_was_asked_is_recorded_in_its_order_and_within_a_bound,
            what_a_prefix_has_caught_is_counted_in_steps,
            what_stands_behind_a_prefix_is_found_and_forgotten,
            totals_of_which_nothing_is_left_are_forgotten_with_the_run,
            a_run_that_cannot_be_read_keeps_no_other_from_being_closed,
        })
        .collect::<Vec<Trial>>()
    };
    ($site:ident, $needs:expr, $module:ident => $($property:ident),+ $(,)?) => {
        vec![$(
            trial(
                concat!(module_path!(), "::", stringify!($site), "::", stringify!($property)),
                $needs,
                || async { $module::$property(&$site().await?).await },
            )
        ),+]
    };
}

pub fn trials() -> Vec<Trial> {
    [conformance! { sqlite, Needs::NOTHING }, conformance! { postgres, Needs::POSTGRES }, outages::trials()]
        .into_iter()
        .flatten()
        .collect()
}

async fn sqlite() -> TestResult<Site> {
    let site = empty_sqlite()?;
    site.open().migrate(Migrate::Apply).await?;
    Ok(site)
}

/// Without the schema. One value serves all who open it: SQLite is for one node.
fn empty_sqlite() -> TestResult<Site> {
    let path = workplace::new_folder("sqlite")?.join("creel.db");
    let options = SqliteOptions { path, readers_max: 4, statement_timeout: Duration::from_secs(10) };
    let database: Arc<dyn Database> = Arc::new(SqliteDatabase::open(options)?);
    Ok(Site { open: Box::new(move || database.clone()), _server: None })
}

async fn postgres() -> TestResult<Site> {
    let server = shared_postgres().await?;
    let url = server.url().to_owned();
    let site =
        Site { open: Box::new(move || open_postgres(&url, Duration::from_secs(10))), _server: Some(server) };
    site.open().migrate(Migrate::Apply).await?;
    Ok(site)
}

fn open_postgres(url: &str, statement_timeout: Duration) -> Arc<dyn Database> {
    let options = PostgresOptions {
        url: url.to_owned(),
        pool_max: 4,
        connect_timeout: Duration::from_secs(2),
        statement_timeout,
        append_timeout: statement_timeout,
    };
    Arc::new(PostgresDatabase::open(&options).expect("the settings are right"))
}

/// A small capture, received a while after noon.
fn capture(endpoint: &str, after_us: i64) -> Arc<Capture> {
    Arc::new(plain_capture(endpoint, NOON_US + after_us))
}

fn plain_capture(endpoint: &str, received_us: i64) -> Capture {
    let mut headers = HeaderBlockBuilder::with_capacity(64);
    headers.push(b"host", b"creel.test");
    let body = Bytes::from(format!("caught at {received_us}"));
    Capture {
        id: id_at(received_us),
        endpoint: code(endpoint),
        kind: CaptureKind::Http,
        received_us,
        method: "POST".into(),
        target: format!("/r/{endpoint}"),
        version: "HTTP/1.1".into(),
        scheme: "http".into(),
        host: "creel.test".to_owned(),
        port: 80,
        headers: headers.finish(),
        peer: ([127, 0, 0, 1], 4321).into(),
        client: [127, 0, 0, 1].into(),
        body: Body { bytes: body.len() as u64, content: BodyContent::Inline(body), ..Body::default() },
        websocket: None,
        reply: ReplyChoice::of(ReplySource::Default, 200),
    }
}

/// A UUIDv7 of a time, different each time.
fn id_at(us: i64) -> Uuid {
    let (seconds, left) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let nanoseconds = u32::try_from(left).expect("less than a million") * 1000;
    let seconds = u64::try_from(seconds).expect("after 1970");
    Uuid::new_v7(Timestamp::from_unix(ContextV7::new(), seconds, nanoseconds))
}

fn code(text: &str) -> EndpointCode {
    EndpointCode::parse(text).expect("a code")
}

async fn append(database: &dyn Database, captures: &[Arc<Capture>]) -> Result<Appended, DatabaseError> {
    let config_seq = storage::journal::head(database).await?.config_seq;
    database.append(&JournalBatch { captures, config_seq, states: None }).await
}

/// Appends, and returns the first one's place.
async fn appended(database: &dyn Database, captures: &[Arc<Capture>]) -> TestResult<i64> {
    match append(database, captures).await? {
        Appended::At { base } => Ok(base + 1),
        Appended::Moved => Err("nobody has changed the configuration".into()),
    }
}

async fn int(database: &dyn Database, sql: &Sql, values: &[Value]) -> TestResult<i64> {
    let rows = database.query(sql, values).await?;
    Ok(rows.first().ok_or("no row")?.int(0)?)
}

async fn head_seq(database: &dyn Database) -> TestResult<i64> {
    Ok(storage::journal::head(database).await?.seq)
}

/// Folds everything into the totals.
async fn fold(database: &dyn Database) -> TestResult {
    Ok(storage::totals::fold(database, head_seq(database).await?).await?)
}
