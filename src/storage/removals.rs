//! Removing captures on request: the entry that tells of it and the removal itself are one commit.
//!
//! Removing all of an endpoint raises its floor, under which nothing is shown; the rows are purged
//! afterwards, in small steps. On Postgres each is one statement outside of any transaction block, as
//! everything that touches the journal's head is. The mark and the row are taken before the head, and by
//! nobody who holds the head: captures never wait for them.

use uuid::Uuid;

use super::answers;
use super::journal::{find_seq, id_value};
use crate::database::columns::{EntryDetail, KIND_REMOVAL, detail_text};
use crate::database::{Database, DatabaseError, Dialect, Sql, Value};
use crate::model::{EndpointCode, Entry, EntryKind, Removal, Removed};

/// Removes one capture. None where it is not there (any more).
///
/// Its answer, which stands in a page with others, goes before: whoever dies between the two leaves a capture whose
/// answer is not recorded, and never an answer to nothing behind the mark of what is swept. One that was written
/// meanwhile goes afterwards, and one that comes later is swept.
pub async fn remove_one(
    database: &dyn Database,
    endpoint: &EndpointCode,
    capture: Uuid,
    removal: Uuid,
    now_us: i64,
    by: Option<&str>,
) -> Result<Option<Entry>, DatabaseError> {
    const POSTGRES: Sql = Sql::same(
        "WITH folded AS (SELECT m.seq AS upto FROM marks m WHERE m.name = 'folded' FOR SHARE), \
              there AS (SELECT j.id FROM journal j, folded WHERE j.id = $1 AND j.kind < 20 FOR UPDATE OF j), \
              head AS (UPDATE journal_head h SET seq = h.seq + 1 FROM there WHERE h.id = 1 RETURNING h.seq), \
              gone AS (DELETE FROM journal j USING folded, head WHERE j.id = $1 \
                       RETURNING j.seq, j.endpoint, j.kept_bytes AS bytes, j.seq <= folded.upto AS counted), \
              parts AS (DELETE FROM body_parts p USING gone WHERE p.id = $1), \
              less AS (INSERT INTO endpoint_totals \
                         (endpoint, captures, bytes, last_us, floor_seq, trimmed_seq, purged_seq) \
                       SELECT endpoint, -1, -bytes, NULL, 0, 0, 0 FROM gone WHERE counted \
                       ON CONFLICT (endpoint) DO UPDATE SET \
                         captures = endpoint_totals.captures + excluded.captures, \
                         bytes = endpoint_totals.bytes + excluded.bytes \
                         WHERE endpoint_totals.floor_seq < (SELECT seq FROM gone)), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 20, $2, $3, $4, $5 FROM head) \
         SELECT seq FROM head",
    );
    const LESS: Sql = Sql::same(
        "UPDATE endpoint_totals SET captures = captures - 1, bytes = bytes - \
           (SELECT j.kept_bytes FROM journal j WHERE j.id = $1) \
         WHERE endpoint = (SELECT endpoint FROM journal WHERE id = $1 AND kind < 20 \
                             AND seq <= (SELECT seq FROM marks WHERE name = 'folded') \
                             AND seq > endpoint_totals.floor_seq)",
    );
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT h.seq + 1, 20, $2, $3, $4, $5 FROM journal_head h \
         WHERE EXISTS (SELECT 1 FROM journal WHERE id = $1 AND kind < 20)",
    );
    const HEAD: Sql = Sql::same(
        "UPDATE journal_head SET seq = seq + 1 WHERE EXISTS (SELECT 1 FROM journal WHERE id = $1) RETURNING seq",
    );
    const PARTS: Sql = Sql::same("DELETE FROM body_parts WHERE id = $1");
    const ROW: Sql = Sql::same("DELETE FROM journal WHERE id = $1 AND kind < 20");

    let Some(place) = find_seq(database, capture).await? else { return Ok(None) };
    answers::remove_one(database, endpoint, place).await?;
    let detail = Value::Text(detail_text(&EntryDetail::One { capture, by: by.map(str::to_owned) }));
    let put = vec![
        id_value(capture),
        id_value(removal),
        Value::Int(now_us),
        Value::Text(endpoint.to_string()),
        detail,
    ];
    let one = || vec![id_value(capture)];
    let seq = match database.dialect() {
        Dialect::Postgres => first_int(&database.batch(&[(&POSTGRES, put)]).await?[0])?,
        Dialect::Sqlite => {
            let statements = [
                (&LESS, one()),
                (&PUT, put),
                (&PARTS, one()),
                (&ROW, one()),
                (&HEAD, vec![id_value(removal)]),
            ];
            let results = database.batch(&statements).await?;
            results.last().map(|head| first_int(head)).transpose()?.flatten()
        }
    };
    let Some(seq) = seq else { return Ok(None) };
    if let Err(error) = answers::remove_one(database, endpoint, place).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, "failed to look for an answer that came during a removal; it is swept");
    }
    Ok(Some(entry(seq, removal, now_us, endpoint, Removed::One(capture), by)))
}

/// Removes every capture of an endpoint that was committed before.
pub async fn remove_all(
    database: &dyn Database,
    endpoint: &EndpointCode,
    removal: Uuid,
    now_us: i64,
    by: Option<&str>,
) -> Result<Entry, DatabaseError> {
    const POSTGRES: Sql = Sql::same(
        "WITH folded AS (SELECT 1 FROM marks m WHERE m.name = 'folded' FOR SHARE), \
              head AS (UPDATE journal_head h SET seq = h.seq + 1 FROM folded WHERE h.id = 1 RETURNING h.seq), \
              raised AS (INSERT INTO endpoint_totals \
                           (endpoint, captures, bytes, last_us, floor_seq, trimmed_seq, purged_seq) \
                         SELECT $3, 0, 0, (SELECT j.received_us FROM journal j WHERE j.endpoint = $3 AND j.kind < 20 \
                                           ORDER BY j.seq DESC LIMIT 1), head.seq, 0, 0 FROM head \
                         ON CONFLICT (endpoint) DO UPDATE SET captures = 0, bytes = 0, \
                           floor_seq = excluded.floor_seq), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 20, $1, $2, $3, $4 FROM head) \
         SELECT seq FROM head",
    );
    const HEAD: Sql = Sql::same("UPDATE journal_head SET seq = seq + 1 WHERE id = 1 RETURNING seq");
    const RAISED: Sql = Sql::same(
        "INSERT INTO endpoint_totals \
           (endpoint, captures, bytes, last_us, floor_seq, trimmed_seq, purged_seq) \
         SELECT $1, 0, 0, (SELECT received_us FROM journal WHERE endpoint = $1 AND kind < 20 \
                           ORDER BY seq DESC LIMIT 1), h.seq, 0, 0 FROM journal_head h WHERE true \
         ON CONFLICT (endpoint) DO UPDATE SET captures = 0, bytes = 0, floor_seq = excluded.floor_seq",
    );
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT h.seq, 20, $1, $2, $3, $4 FROM journal_head h",
    );
    let code = Value::Text(endpoint.to_string());
    let put = vec![
        id_value(removal),
        Value::Int(now_us),
        code.clone(),
        Value::Text(detail_text(&EntryDetail::All { by: by.map(str::to_owned) })),
    ];
    let results = match database.dialect() {
        Dialect::Postgres => database.batch(&[(&POSTGRES, put)]).await?,
        Dialect::Sqlite => database.batch(&[(&HEAD, vec![]), (&RAISED, vec![code]), (&PUT, put)]).await?,
    };
    let seq =
        first_int(&results[0])?.ok_or_else(|| DatabaseError::Schema("the journal has no head".into()))?;
    debug_assert_eq!(KIND_REMOVAL, 20, "the statements above say 20");
    Ok(entry(seq, removal, now_us, endpoint, Removed::All, by))
}

fn entry(
    seq: i64,
    id: Uuid,
    at_us: i64,
    endpoint: &EndpointCode,
    removed: Removed,
    by: Option<&str>,
) -> Entry {
    let by = by.map(str::to_owned);
    Entry { seq, what: EntryKind::Removal(Removal { id, at_us, endpoint: endpoint.clone(), removed, by }) }
}

fn first_int(rows: &[crate::database::Row]) -> Result<Option<i64>, DatabaseError> {
    rows.first().map(|row| row.int(0)).transpose()
}
