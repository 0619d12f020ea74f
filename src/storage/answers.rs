//! What was answered, kept beside the captures in pages: a batch's answers to one endpoint are one row, and cost one.
//!
//! A page is changed by whoever takes answers out of it, and only while it is as he has read it.

use bytes::Bytes;

use super::answer_pages::{self, Left, PAGE_PLACES_MAX, Unreadable};
use crate::database::{ColumnType, Database, DatabaseError, Row, Sql, Table, Value};
use crate::model::{Answer, EndpointCode};

const PAGES: Table = Table {
    name: "answer_pages",
    columns: &[
        ("first_seq", ColumnType::Int),
        ("last_seq", ColumnType::Int),
        ("endpoint", ColumnType::Text),
        ("content", ColumnType::Bytes),
    ],
};

/// Pages that are read at a time: 8 MiB at most.
const PAGES_AT_A_TIME: i64 = 32;

/// Times that a page is read again because somebody else has changed it meanwhile.
const TRIES: u32 = 100;

/// Pages in one commit: captures wait for it where one connection writes all.
const PAGES_IN_A_COMMIT: usize = 512;

/// Keeps answers, which come in any order, one commit for those of a few endpoints: [`DatabaseError::Conflict`] where a
/// page would begin at the place at which another one does.
pub async fn record<'a>(
    database: &dyn Database,
    answers: impl IntoIterator<Item = &'a Answer>,
) -> Result<(), DatabaseError> {
    let mut rows = answer_pages::pack(answers).into_iter().map(|page| {
        vec![
            Value::Int(page.first_seq),
            Value::Int(page.last_seq),
            Value::Text(page.endpoint.to_string()),
            Value::Bytes(page.content),
        ]
    });
    while rows.len() > 0 {
        database.insert(&PAGES, rows.by_ref().take(PAGES_IN_A_COMMIT).collect()).await?;
    }
    Ok(())
}

/// The answer to the capture at a place, where it was recorded and can be read.
pub async fn find(
    database: &dyn Database,
    endpoint: &EndpointCode,
    seq: i64,
) -> Result<Option<Answer>, DatabaseError> {
    let mut pages = PagesOver::new(database, endpoint, seq);
    while let Some(Kept { first_seq, content }) = pages.next().await? {
        match answer_pages::find(&content, endpoint, seq) {
            Ok(Some(answer)) => return Ok(Some(answer)),
            Ok(None) => {}
            Err(unreadable) => warn(first_seq, &unreadable),
        }
    }
    Ok(None)
}

/// A page as it was read.
struct Kept {
    first_seq: i64,
    content: Bytes,
}

impl TryFrom<&Row> for Kept {
    type Error = DatabaseError;
    fn try_from(row: &Row) -> Result<Self, DatabaseError> {
        Ok(Self { first_seq: row.int(0)?, content: row.bytes(1)?.clone() })
    }
}

/// An endpoint's pages that reach over a place, the last first. There are several, since nodes write theirs at the same
/// time, and since some replies are late.
struct PagesOver<'a> {
    database: &'a dyn Database,
    endpoint: &'a EndpointCode,
    seq: i64,
    /// Those that begin behind this were read.
    upto: i64,
    read: std::vec::IntoIter<Kept>,
}

impl<'a> PagesOver<'a> {
    fn new(database: &'a dyn Database, endpoint: &'a EndpointCode, seq: i64) -> Self {
        Self { database, endpoint, seq, upto: seq, read: Vec::new().into_iter() }
    }

    async fn next(&mut self) -> Result<Option<Kept>, DatabaseError> {
        const SQL: Sql = Sql::same(
            "SELECT first_seq, content FROM answer_pages \
             WHERE endpoint = $1 AND first_seq >= $2 AND first_seq <= $3 AND last_seq >= $4 \
             ORDER BY first_seq DESC LIMIT $5",
        );
        if self.read.as_slice().is_empty() {
            let values = [
                Value::Text(self.endpoint.to_string()),
                Value::Int(self.seq.saturating_sub(PAGE_PLACES_MAX)),
                Value::Int(self.upto),
                Value::Int(self.seq),
                Value::Int(PAGES_AT_A_TIME),
            ];
            let rows = self.database.query(&SQL, &values).await?;
            self.read = rows.iter().map(Kept::try_from).collect::<Result<Vec<_>, _>>()?.into_iter();
        }
        let page = self.read.next();
        self.upto = page.as_ref().map_or(self.upto, |page| page.first_seq.saturating_sub(1));
        Ok(page)
    }
}

/// Removes the answer to the capture at a place.
pub(super) async fn remove_one(
    database: &dyn Database,
    endpoint: &EndpointCode,
    seq: i64,
) -> Result<(), DatabaseError> {
    strip_over(database, endpoint, seq, |place| place == seq).await
}

/// Deletes the pages of an endpoint ($1) that end at or below a place ($2).
pub(super) const PURGE: Sql =
    Sql::same("DELETE FROM answer_pages WHERE endpoint = $1 AND first_seq <= $2 AND last_seq <= $2");

/// Removes all answers of an endpoint that are at or below a place.
pub(super) async fn purge(
    database: &dyn Database,
    endpoint: &EndpointCode,
    upto: i64,
) -> Result<(), DatabaseError> {
    database.execute(&PURGE, &[Value::Text(endpoint.to_string()), Value::Int(upto)]).await?;
    strip_over(database, endpoint, upto, |place| place <= upto).await
}

/// Takes answers out of those pages of an endpoint that reach over a place. One that cannot be read goes as a whole:
/// it shows nothing, and may hold what has to go.
async fn strip_over(
    database: &dyn Database,
    endpoint: &EndpointCode,
    seq: i64,
    is_gone: impl Fn(i64) -> bool,
) -> Result<(), DatabaseError> {
    let mut pages = PagesOver::new(database, endpoint, seq);
    while let Some(page) = pages.next().await? {
        let first_seq = page.first_seq;
        strip(database, page, |content| {
            answer_pages::without(content, &is_gone).unwrap_or_else(|unreadable| {
                warn(first_seq, &unreadable);
                Left::Nothing
            })
        })
        .await?;
    }
    Ok(())
}

/// Leaves of a page what is to be left of it, whoever else changes it at the same time.
async fn strip(
    database: &dyn Database,
    mut page: Kept,
    left: impl Fn(&[u8]) -> Left,
) -> Result<(), DatabaseError> {
    const CHANGE: Sql =
        Sql::same("UPDATE answer_pages SET content = $3 WHERE first_seq = $1 AND content = $2");
    const REMOVE: Sql = Sql::same("DELETE FROM answer_pages WHERE first_seq = $1 AND content = $2");
    const AGAIN: Sql = Sql::same("SELECT first_seq, content FROM answer_pages WHERE first_seq = $1");
    for _ in 0..TRIES {
        let (first_seq, was) = (Value::Int(page.first_seq), Value::Bytes(page.content.clone()));
        let changed = match left(&page.content) {
            Left::All => return Ok(()),
            Left::Some(content) => {
                database.execute(&CHANGE, &[first_seq.clone(), was, Value::Bytes(content)]).await?
            }
            Left::Nothing => database.execute(&REMOVE, &[first_seq.clone(), was]).await?,
        };
        if changed > 0 {
            return Ok(());
        }
        match database.query(&AGAIN, &[first_seq]).await?.first() {
            Some(row) => page = Kept::try_from(row)?,
            None => return Ok(()),
        }
    }
    Err(DatabaseError::Unavailable("too many others remove answers from one page".into()))
}

/// Captures whose answers may not be written yet.
const ANSWERS_ON_THEIR_WAY: i64 = 100_000;

/// Places that one sweep looks at.
const SWEEP_MAX: i64 = 50_000;

/// Removes answers to captures that were removed before their answer was written.
pub async fn sweep(database: &dyn Database) -> Result<(), DatabaseError> {
    const SPAN: Sql = Sql::same(
        "SELECT swept.seq, folded.seq FROM marks swept, marks folded \
         WHERE swept.name = 'answers_swept' AND folded.name = 'folded'",
    );
    const THERE: Sql = Sql::same("SELECT count(*) FROM journal WHERE seq > $1 AND seq <= $2");
    const MARK: Sql = Sql::same("UPDATE marks SET seq = $1 WHERE name = 'answers_swept'");
    let rows = database.query(&SPAN, &[]).await?;
    let Some(row) = rows.first() else { return Ok(()) };
    let (from, folded) = (row.int(0)?, row.int(1)?);
    // Answers come within moments, and this comes seconds apart: the newest are left to the next time.
    let upto = (folded - ANSWERS_ON_THEIR_WAY).min(from + SWEEP_MAX);
    if upto <= from {
        return Ok(());
    }
    let there = database.query(&THERE, &[Value::Int(from), Value::Int(upto)]).await?;
    // Numbers are dense: where none is missing, nothing was removed.
    if there.first().map_or(Ok(0), |row| row.int(0))? < upto - from {
        sweep_span(database, from, upto).await?;
    }
    database.execute(&MARK, &[Value::Int(upto)]).await.map(drop)
}

/// Removes answers to what is missing of the places behind `from` and up to `upto`.
async fn sweep_span(database: &dyn Database, from: i64, upto: i64) -> Result<(), DatabaseError> {
    const PAGES: Sql = Sql::same(
        "SELECT first_seq, content FROM answer_pages \
         WHERE first_seq > $1 AND first_seq <= $3 AND last_seq > $2 ORDER BY first_seq LIMIT $4",
    );
    let gaps = gaps(database, from, upto).await?;
    let is_gone = |place| {
        let behind = gaps.partition_point(|&(first, _)| first <= place);
        behind > 0 && place <= gaps[behind - 1].1
    };
    let mut behind = from.saturating_sub(PAGE_PLACES_MAX + 1);
    loop {
        let values = [behind, from, upto, PAGES_AT_A_TIME].map(Value::Int);
        let pages = database.query(&PAGES, &values).await?;
        for row in &pages {
            let page = Kept::try_from(row)?;
            behind = page.first_seq;
            strip(database, page, |content| {
                answer_pages::without(content, is_gone).unwrap_or_else(|unreadable| {
                    // Most likely it holds nothing that was removed.
                    warn(behind, &unreadable);
                    Left::All
                })
            })
            .await?;
        }
        if pages.is_empty() {
            return Ok(());
        }
    }
}

/// What is missing of the journal behind `from` and up to `upto`, as first and last places, in their order.
async fn gaps(database: &dyn Database, from: i64, upto: i64) -> Result<Vec<(i64, i64)>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT seq + 1, next - 1 FROM ( \
           SELECT seq, lead(seq, 1, CAST($2 AS BIGINT) + 1) OVER (ORDER BY seq) AS next FROM ( \
             SELECT CAST($1 AS BIGINT) AS seq \
             UNION ALL SELECT seq FROM journal WHERE seq > $1 AND seq <= $2) AS there) AS pairs \
         WHERE next > seq + 1 ORDER BY seq",
    );
    let rows = database.query(&SQL, &[Value::Int(from), Value::Int(upto)]).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
}

fn warn(first_seq: i64, unreadable: &Unreadable) {
    tracing::warn!(
        error = unreadable as &dyn std::error::Error,
        first_seq,
        "failed to read what was answered; it counts as not recorded"
    );
}
