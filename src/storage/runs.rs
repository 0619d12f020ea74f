//! Runs, and what they were asked. Each step of a run's life is judged on its row, so that of several nodes that take
//! it at once one does, and one that was left half done is taken up by another.

use std::collections::BTreeMap;

use super::journal::pattern_value;
use super::totals::LOCK_FOLDED;
use crate::database::{Database, DatabaseError, Row, Sql, Value, columns};
use crate::model::run::{
    AtClosing, RUN_VERIFICATIONS_MAX, Run, RunState, VERIFICATION_NAME_BYTES_MAX, VERIFICATION_WHY_BYTES_MAX,
    Verification, VerificationKind, end_of,
};
use crate::model::{Cursor, Glob};

macro_rules! columns_of_run {
    () => {
        "r.id, r.name, r.labels, r.prefix, r.state, r.captures, r.opened_us, r.expires_us, r.closed_us, r.epoch, \
         r.start_seq, r.start_id, r.end_seq, r.token, r.opened_by, r.made, r.passed, r.counts"
    };
}

/// Keeps a run, and returns it with the place of the journal behind which it begins. None where as many as may be are
/// not closed. A prefix that another has is a [`DatabaseError::Conflict`].
pub async fn open(database: &dyn Database, run: Run, open_max: u64) -> Result<Option<Run>, DatabaseError> {
    const HOLD: Sql = Sql::same("UPDATE marks SET seq = seq + 1 WHERE name = 'runs'");
    const INSERT: Sql = Sql::same(
        "INSERT INTO runs (id, name, labels, prefix, state, captures, opened_us, expires_us, token, opened_by, made, \
           passed, epoch, start_seq, start_id) \
         SELECT $1, $2, $3, $4, 'open', $5, $6, $7, $8, $9, 0, 0, h.epoch, h.seq, \
           (SELECT j.id FROM journal j WHERE j.seq = h.seq) \
         FROM journal_head h WHERE h.id = 1 AND $10 > (SELECT count(*) FROM runs WHERE state <> 'closed') \
         RETURNING epoch, start_seq, start_id",
    );
    let labels = serde_json::to_string(&run.labels).expect("texts are JSON");
    let values = vec![
        Value::Text(run.id.clone()),
        Value::Text(run.name.clone()),
        Value::Text(labels),
        Value::Text(run.prefix.clone()),
        Value::Text(run.captures.name().to_owned()),
        Value::Int(run.opened_us),
        Value::Int(run.expires_us),
        text_or_null(run.token.as_deref()),
        text_or_null(run.opened_by.as_deref()),
        Value::Int(i64::try_from(open_max).unwrap_or(i64::MAX)),
    ];
    let results = database.batch(&[(&HOLD, vec![]), (&INSERT, values)]).await?;
    let Some(row) = results[1].first() else { return Ok(None) };
    Ok(Some(Run { start: start(row, 0)?, ..run }))
}

/// One run.
pub async fn find(database: &dyn Database, id: &str) -> Result<Option<Run>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!("SELECT ", columns_of_run!(), " FROM runs r WHERE r.id = $1"));
    let rows = database.query(&SQL, &[Value::Text(id.to_owned())]).await?;
    rows.first().map(run).transpose()
}

/// A page of runs, the newest first, behind one with this id; with a pattern, of those whose codes all match.
pub async fn list(
    database: &dyn Database,
    within: Option<&Glob>,
    state: Option<RunState>,
    behind: Option<&str>,
    limit: u32,
) -> Result<Vec<Run>, DatabaseError> {
    macro_rules! page {
        ($matches:literal) => {
            concat!(
                "SELECT ",
                columns_of_run!(),
                " FROM runs r WHERE ($1 = '' OR r.id < $1) AND ($2 = '' OR r.state = $2) \
                   AND (CAST($3 AS TEXT) = '' OR ",
                $matches,
                ") ORDER BY r.id DESC LIMIT $4"
            )
        };
    }
    const SQL: Sql =
        Sql { postgres: page!("r.prefix LIKE $3 ESCAPE '!'"), sqlite: page!("r.prefix GLOB $3") };
    // A pattern whose end is given never has all that begins with a prefix.
    if within.is_some_and(|pattern| !pattern.has_open_end()) {
        return Ok(Vec::new());
    }
    let values = [
        Value::Text(behind.unwrap_or_default().to_owned()),
        Value::Text(state.map_or("", RunState::name).to_owned()),
        pattern_value(database.dialect(), within),
        Value::Int(limit.into()),
    ];
    database.query(&SQL, &values).await?.iter().map(run).collect()
}

/// How many are not closed.
pub async fn count_open(database: &dyn Database) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT count(*) FROM runs WHERE state <> 'closed'");
    database.query(&SQL, &[]).await?.first().map_or(Ok(0), |row| row.int(0))
}

/// Begins to close a run that is open, and those that were opened within it: what they were asked and what they have
/// caught up to here is what they come to.
pub async fn begin_closing(
    database: &dyn Database,
    run: &Run,
    captures: Option<AtClosing>,
    now_us: i64,
) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same(
        "UPDATE runs SET state = 'closing', closing_us = $4, \
           captures = CASE WHEN id = $1 THEN COALESCE($5, captures) ELSE captures END, \
           end_seq = (SELECT seq FROM journal_head WHERE journal_head.id = 1) \
         WHERE prefix >= $2 AND prefix < $3 AND state = 'open'",
    );
    let values = [
        Value::Text(run.id.clone()),
        Value::Text(run.prefix.clone()),
        Value::Text(end_of(&run.prefix)),
        Value::Int(now_us),
        text_or_null(captures.map(AtClosing::name)),
    ];
    database.execute(&SQL, &values).await.map(drop)
}

/// A run and those that were opened within it, as far as they are being closed, the innermost first.
pub async fn closing(database: &dyn Database, prefix: &str) -> Result<Vec<Run>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT ",
        columns_of_run!(),
        " FROM runs r WHERE r.prefix >= $1 AND r.prefix < $2 AND r.state = 'closing' ORDER BY r.prefix DESC"
    ));
    let values = [Value::Text(prefix.to_owned()), Value::Text(end_of(prefix))];
    database.query(&SQL, &values).await?.iter().map(run).collect()
}

/// Keeps what a run has caught; the first that keeps it does, since captures are removed afterwards.
pub async fn keep_counts(database: &dyn Database, id: &str, counts: &str) -> Result<(), DatabaseError> {
    const SQL: Sql =
        Sql::same("UPDATE runs SET counts = $2 WHERE id = $1 AND state = 'closing' AND counts IS NULL");
    let values = [Value::Text(id.to_owned()), Value::Text(counts.to_owned())];
    database.execute(&SQL, &values).await.map(drop)
}

/// Says that a run is closed, when all is done.
pub async fn finish(database: &dyn Database, id: &str, now_us: i64) -> Result<(), DatabaseError> {
    const SQL: Sql =
        Sql::same("UPDATE runs SET state = 'closed', closed_us = $2 WHERE id = $1 AND state = 'closing'");
    database.execute(&SQL, &[Value::Text(id.to_owned()), Value::Int(now_us)]).await.map(drop)
}

/// Runs whose time is over, and those whose closing began before a time and is not done, each the oldest first; those
/// that can be read.
pub async fn due(
    database: &dyn Database,
    now_us: i64,
    begun_before_us: i64,
    limit: u32,
) -> Result<Vec<Run>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT ",
        columns_of_run!(),
        " FROM runs r WHERE r.state <> 'closed' AND ((r.state = 'open' AND r.expires_us <= $1) \
           OR (r.state = 'closing' AND r.closing_us < $2)) \
         ORDER BY CASE WHEN r.state = 'open' THEN 0 ELSE 1 END, r.expires_us, r.id LIMIT $3"
    ));
    let values = [Value::Int(now_us), Value::Int(begun_before_us), Value::Int(limit.into())];
    Ok(readable(&database.query(&SQL, &values).await?))
}

/// Runs that were closed before a time, the oldest first; those that can be read.
pub async fn closed_before(
    database: &dyn Database,
    before_us: i64,
    limit: u32,
) -> Result<Vec<Run>, DatabaseError> {
    const SQL: Sql = Sql::same(concat!(
        "SELECT ",
        columns_of_run!(),
        " FROM runs r WHERE r.state = 'closed' AND r.closed_us < $1 ORDER BY r.closed_us, r.id LIMIT $2"
    ));
    let values = [Value::Int(before_us), Value::Int(limit.into())];
    Ok(readable(&database.query(&SQL, &values).await?))
}

/// Forgets a run that is closed, what it was asked, and the totals of codes of which nothing is left, whoever took it:
/// to readers that are as far behind as this, what retention has trimmed of such a code is told no more.
pub async fn forget(database: &dyn Database, run: &Run) -> Result<(), DatabaseError> {
    const RUN: Sql = Sql::same("DELETE FROM runs WHERE id = $1 AND state = 'closed'");
    const ASKED: Sql = Sql::same(
        "DELETE FROM run_verifications WHERE run = $1 AND NOT EXISTS (SELECT 1 FROM runs WHERE id = $1)",
    );
    const TOTALS: Sql = Sql::same(
        "DELETE FROM endpoint_totals WHERE endpoint >= $1 AND endpoint < $2 AND captures = 0 \
           AND trimmed_seq <= purged_seq AND floor_seq <= purged_seq AND floor_seq <= (SELECT seq FROM marks WHERE name = 'folded')",
    );
    let id = || vec![Value::Text(run.id.clone())];
    let codes = vec![Value::Text(run.prefix.clone()), Value::Text(end_of(&run.prefix))];
    // Removals hold the head when they come to the totals, and must not wait for these.
    database.batch(&[(&LOCK_FOLDED, vec![]), (&RUN, id()), (&ASKED, id()), (&TOTALS, codes)]).await.map(drop)
}

/// Records what an open run was asked. Past so many they are counted, and not kept, but for the first failed ones:
/// whoever reads the summary is to find what failed. False where there is no such run, or it is not open.
pub async fn record_verification(
    database: &dyn Database,
    id: &str,
    verification: &Verification,
) -> Result<bool, DatabaseError> {
    const COUNT: Sql = Sql::same(
        "UPDATE runs SET made = made + 1, passed = passed + $2 WHERE id = $1 AND state = 'open' RETURNING made",
    );
    const KEEP: Sql = Sql::same(
        "INSERT INTO run_verifications (run, place, name, kind, passed, why, at_us, took_us) \
         SELECT id, made, $2, $3, $4, $5, $6, $7 FROM runs \
         WHERE id = $1 AND state = 'open' AND (made <= $8 OR ($4 = CAST(0 AS BIGINT) AND made - passed <= $8))",
    );
    let passed = Value::Int(verification.passed.into());
    let why = verification.why.as_deref().map(|why| cut(why, VERIFICATION_WHY_BYTES_MAX));
    let values = vec![
        Value::Text(id.to_owned()),
        Value::Text(cut(&verification.name, VERIFICATION_NAME_BYTES_MAX)),
        Value::Text(verification.kind.name().to_owned()),
        passed.clone(),
        text_or_null(why.as_deref()),
        Value::Int(verification.at_us),
        Value::Int(verification.took_us),
        Value::Int(RUN_VERIFICATIONS_MAX),
    ];
    let count = vec![Value::Text(id.to_owned()), passed];
    let results = database.batch(&[(&COUNT, count), (&KEEP, values)]).await?;
    Ok(!results[0].is_empty())
}

/// What a run was asked, in that order; at most [`RUN_VERIFICATIONS_MAX`] that passed, and as many that failed.
pub async fn verifications(database: &dyn Database, id: &str) -> Result<Vec<Verification>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT name, kind, passed, why, at_us, took_us FROM run_verifications WHERE run = $1 ORDER BY place",
    );
    let rows = database.query(&SQL, &[Value::Text(id.to_owned())]).await?;
    rows.iter()
        .map(|row| {
            Ok(Verification {
                name: row.text(0)?.to_owned(),
                kind: known(row.text(1)?, VerificationKind::named)?,
                passed: row.int(2)? != 0,
                why: row.text_or_null(3)?.map(str::to_owned),
                at_us: row.int(4)?,
                took_us: row.int(5)?,
            })
        })
        .collect()
}

/// The runs of rows: one that this version cannot read is told in the log, and keeps no other from being closed.
fn readable(rows: &[Row]) -> Vec<Run> {
    let readable = |row: &Row| {
        let unreadable = |error: DatabaseError| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, run = row.text(0).unwrap_or_default(), "failed to read a run");
        };
        run(row).map_err(unreadable).ok()
    };
    rows.iter().filter_map(readable).collect()
}

fn run(row: &Row) -> Result<Run, DatabaseError> {
    let text = |column| row.text(column).map(str::to_owned);
    let text_or_null = |column| Ok::<_, DatabaseError>(row.text_or_null(column)?.map(str::to_owned));
    let labels: BTreeMap<String, String> =
        serde_json::from_str(row.text(2)?).map_err(|error| DatabaseError::Other(error.into()))?;
    Ok(Run {
        id: text(0)?,
        name: text(1)?,
        labels,
        prefix: text(3)?,
        state: known(row.text(4)?, RunState::named)?,
        captures: known(row.text(5)?, AtClosing::named)?,
        opened_us: row.int(6)?,
        expires_us: row.int(7)?,
        closed_us: row.int_or_null(8)?,
        start: start(row, 9)?,
        end_seq: row.int_or_null(12)?,
        token: text_or_null(13)?,
        opened_by: text_or_null(14)?,
        made: row.int(15)?,
        passed: row.int(16)?,
        counts: text_or_null(17)?,
    })
}

/// The place behind which a run begins, from its epoch, number and id.
fn start(row: &Row, from: usize) -> Result<Cursor, DatabaseError> {
    let (epoch, seq) = (row.int(from)?, row.int(from + 1)?);
    Ok(match row.bytes_or_null(from + 2)? {
        Some(id) => Cursor::behind(epoch, seq, columns::id(id)?),
        None => Cursor { epoch, seq, digest: 0 },
    })
}

fn known<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, DatabaseError> {
    parse(name).ok_or_else(|| DatabaseError::Other(format!("`{name}` is not known of runs").into()))
}

fn text_or_null(text: Option<&str>) -> Value {
    text.map_or(Value::Null, |text| Value::Text(text.to_owned()))
}

/// A text without NUL, which Postgres does not take, cut to so many bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut text = text.replace('\0', "\u{fffd}");
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}
