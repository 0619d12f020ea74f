//! Endpoints that were declared. Declaring one is a configuration change: it raises the version that
//! every batch is committed under, and is a journal entry, in one commit.

use uuid::Uuid;

use super::journal::id_value;
use crate::database::columns::{self, EntryDetail, detail_text};
use crate::database::{Database, DatabaseError, Dialect, Sql, Value};
use crate::model::{ConfigurationChange, EndpointCode, Entry, EntryKind};

/// Codes that were declared, at most so many.
pub async fn list_codes(database: &dyn Database, limit: u32) -> Result<Vec<EndpointCode>, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT code FROM endpoints ORDER BY code LIMIT $1");
    let rows = database.query(&SQL, &[Value::Int(limit.into())]).await?;
    rows.iter().map(|row| columns::endpoint(row.text(0)?)).collect()
}

/// Whether the endpoint is to be there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Declared,
    Withdrawn,
}

/// Declares or withdraws an endpoint. None where it is so already.
pub async fn change(
    database: &dyn Database,
    code: &EndpointCode,
    wanted: Wanted,
    id: Uuid,
    now_us: i64,
) -> Result<Option<Entry>, DatabaseError> {
    // On Postgres a statement sees the endpoints as they were before it waited for the head. So of two
    // that declare at once one meets the other's row, fails as a conflict, and has written nothing; and who
    // withdraws takes the endpoint's row first, which of two that do so at once one finds gone.
    const DECLARE: Sql = Sql::same(
        "WITH head AS (UPDATE journal_head SET seq = seq + 1, config_seq = seq + 1 WHERE id = 1 \
                         AND NOT EXISTS (SELECT 1 FROM endpoints WHERE code = $3) RETURNING seq), \
              changed AS (INSERT INTO endpoints (code, created_us) SELECT $3, $2 FROM head), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 30, $1, $2, $3, $4 FROM head) \
         SELECT seq FROM head",
    );
    const WITHDRAW: Sql = Sql::same(
        "WITH there AS (SELECT code FROM endpoints WHERE code = $3 FOR UPDATE), \
              head AS (UPDATE journal_head SET seq = seq + 1, config_seq = seq + 1 FROM there WHERE id = 1 \
                       RETURNING seq), \
              changed AS (DELETE FROM endpoints USING head WHERE code = $3), \
              put AS (INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
                      SELECT head.seq, 30, $1, $2, $3, $4 FROM head) \
         SELECT seq FROM head",
    );
    const HEAD_DECLARE: Sql = Sql::same(
        "UPDATE journal_head SET seq = seq + 1, config_seq = seq + 1 WHERE id = 1 \
         AND NOT EXISTS (SELECT 1 FROM endpoints WHERE code = $1) RETURNING seq",
    );
    const HEAD_WITHDRAW: Sql = Sql::same(
        "UPDATE journal_head SET seq = seq + 1, config_seq = seq + 1 WHERE id = 1 \
         AND EXISTS (SELECT 1 FROM endpoints WHERE code = $1) RETURNING seq",
    );
    // The entry of an earlier change stands at config_seq already: then there is nothing to tell.
    const PUT: Sql = Sql::same(
        "INSERT INTO journal (seq, kind, id, received_us, endpoint, detail) \
         SELECT h.seq, 30, $1, $2, $3, $4 FROM journal_head h WHERE h.seq = h.config_seq \
           AND NOT EXISTS (SELECT 1 FROM journal j WHERE j.seq = h.seq) AND h.seq > 0",
    );
    const INSERT: Sql =
        Sql::same("INSERT INTO endpoints (code, created_us) VALUES ($1, $2) ON CONFLICT (code) DO NOTHING");
    const DELETE: Sql = Sql::same("DELETE FROM endpoints WHERE code = $1");

    let change = match wanted {
        Wanted::Declared => "endpoint.declared",
        Wanted::Withdrawn => "endpoint.withdrawn",
    };
    let text = Value::Text(code.to_string());
    let put = vec![
        id_value(id),
        Value::Int(now_us),
        text.clone(),
        Value::Text(detail_text(&EntryDetail::Change(change.to_owned()))),
    ];
    let result = match (database.dialect(), wanted) {
        (Dialect::Postgres, Wanted::Declared) => database.batch(&[(&DECLARE, put)]).await,
        (Dialect::Postgres, Wanted::Withdrawn) => database.batch(&[(&WITHDRAW, put)]).await,
        (Dialect::Sqlite, Wanted::Declared) => {
            let insert = vec![text.clone(), Value::Int(now_us)];
            database.batch(&[(&HEAD_DECLARE, vec![text]), (&PUT, put), (&INSERT, insert)]).await
        }
        (Dialect::Sqlite, Wanted::Withdrawn) => {
            database.batch(&[(&HEAD_WITHDRAW, vec![text.clone()]), (&PUT, put), (&DELETE, vec![text])]).await
        }
    };
    let results = match result {
        Err(DatabaseError::Conflict(_)) => return Ok(None),
        other => other?,
    };
    let Some(row) = results[0].first() else { return Ok(None) };
    let change = ConfigurationChange { id, at_us: now_us, endpoint: code.clone(), change: change.to_owned() };
    Ok(Some(Entry { seq: row.int(0)?, what: EntryKind::Configuration(change) }))
}
