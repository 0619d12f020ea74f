//! The journal's own connection, and the one statement that appends a batch.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement};

use super::connect::Connector;
use super::errors::classify;
use crate::database::columns::{CaptureColumns, columns};
use crate::database::{Appended, DatabaseError, JournalBatch, StateClaim};

macro_rules! put {
    () => {
        concat!(
            "put AS (INSERT INTO journal (seq, ",
            columns!(),
            ") SELECT head.base + t.ord, ",
            columns!(),
            " FROM head, unnest($3::bigint[], $4::bytea[], $5::bigint[], $6::text[], $7::text[], $8::bytea[], \
                $9::bytea[], $10::bytea[], $11::bigint[], $12::text[]) WITH ORDINALITY AS t (",
            columns!(),
            ", ord))"
        )
    };
}

/// The head row is locked from its update to the commit, and its configuration is judged on the locked
/// row. The whole is one statement outside of any transaction block: a node that freezes holds nothing.
const APPEND: &str = concat!(
    "WITH head AS (UPDATE journal_head SET seq = seq + $1 WHERE id = 1 AND config_seq = $2 \
                   RETURNING seq - $1 AS base), ",
    put!(),
    " SELECT base FROM head"
);

/// The same where states are claimed, which are judged on the locked row too.
const APPEND_AND_STATES: &str = concat!(
    "WITH head AS (UPDATE journal_head SET seq = seq + $1, \
                     state_seq = CASE WHEN cardinality($14::text[]) > 0 THEN seq + $1 ELSE state_seq END \
                   WHERE id = 1 AND config_seq = $2 AND state_seq = $13 RETURNING seq - $1 AS base), ",
    put!(),
    ", kept AS (INSERT INTO states (name, value, changed_seq) \
                SELECT s.name, s.value, head.base + $1 FROM head, unnest($14::text[], $15::text[]) AS s (name, value) \
                ON CONFLICT (name) DO UPDATE SET value = excluded.value, changed_seq = excluded.changed_seq) \
      SELECT base FROM head"
);

pub struct JournalConnection {
    connector: Connector,
    timeout: Duration,
    open: Option<Open>,
}

struct Open {
    client: Client,
    append: Statement,
    append_and_states: Statement,
    connection: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl JournalConnection {
    pub fn new(connector: Connector, timeout: Duration) -> Self {
        Self { connector, timeout, open: None }
    }

    /// See [`Database::append`](crate::database::Database::append). A connection that failed, was too
    /// slow, or whose caller has gone in the middle, is dropped; the next call makes a new one.
    pub async fn append(&mut self, batch: &JournalBatch<'_>) -> Result<Appended, DatabaseError> {
        let open = self.take().await?;
        let result = match tokio::time::timeout(self.timeout, insert(&open, batch)).await {
            Ok(result) => result.map_err(classify),
            Err(_) => Err(DatabaseError::timed_out("an append", self.timeout)),
        };
        if !matches!(result, Err(DatabaseError::Unavailable(_) | DatabaseError::Other(_))) {
            self.open = Some(open);
        }
        result
    }

    /// Asks a connection made as any of the journal's. It is not kept: a connection is driven by the
    /// thread that made it, and the journal's own is to be the journal's thread's.
    pub async fn durability(&mut self) -> Result<String, DatabaseError> {
        const SETTINGS: &str = "SELECT 'fsync=' || current_setting('fsync') || ' synchronous_commit=' || \
                                current_setting('synchronous_commit')";
        let open = self.take().await?;
        let row = open.client.query_one(SETTINGS, &[]).await.map_err(classify)?;
        row.try_get(0).map_err(classify)
    }

    pub fn close(&mut self) {
        self.open = None;
    }

    /// Takes the connection out, so that it is put back only where it is known to be sound.
    async fn take(&mut self) -> Result<Open, DatabaseError> {
        if let Some(open) = self.open.take().filter(|open| !open.client.is_closed()) {
            return Ok(open);
        }
        let (client, connection) = self.connector.connect(self.timeout).await?;
        // A server set to lose commits is put right for this connection.
        client.batch_execute("SET synchronous_commit = on").await.map_err(classify)?;
        let append = client.prepare(APPEND).await.map_err(classify)?;
        let append_and_states = client.prepare(APPEND_AND_STATES).await.map_err(classify)?;
        Ok(Open { client, append, append_and_states, connection })
    }
}

async fn insert(open: &Open, batch: &JournalBatch<'_>) -> Result<Appended, tokio_postgres::Error> {
    let captures = batch.captures;
    let columns: Vec<CaptureColumns<'_>> = captures.iter().map(|c| CaptureColumns::of(c)).collect();
    macro_rules! of_capture {
        (|$c:ident| $value:expr) => {
            captures.iter().map(|$c| $value).collect::<Vec<_>>()
        };
    }
    macro_rules! of_columns {
        (|$c:ident| $value:expr) => {
            columns.iter().map(|$c| $value).collect::<Vec<_>>()
        };
    }
    let count = i64::try_from(captures.len()).expect("a batch is small");
    let values: [&(dyn ToSql + Sync); 12] = [
        &count,
        &batch.config_seq,
        &of_columns!(|c| c.kind),
        &of_capture!(|c| c.id.as_bytes().as_slice()),
        &of_capture!(|c| c.received_us),
        &of_capture!(|c| c.endpoint.as_str()),
        &of_capture!(|c| c.method.as_ref()),
        &of_capture!(|c| c.target.as_bytes()),
        &of_capture!(|c| c.headers.as_bytes().as_ref()),
        &of_columns!(|c| c.body),
        &of_columns!(|c| c.kept_bytes),
        &of_columns!(|c| c.detail.as_str()),
    ];
    let rows = match batch.states {
        None => open.client.query(&open.append, &values).await?,
        Some(StateClaim { state_seq, writes }) => {
            let (names, states): (Vec<&str>, Vec<&str>) =
                writes.iter().map(|(name, value)| (name.as_str(), value.as_str())).unzip();
            let claim: [&(dyn ToSql + Sync); 3] = [state_seq, &names, &states];
            open.client.query(&open.append_and_states, &[values.as_slice(), &claim].concat()).await?
        }
    };
    Ok(match rows.first() {
        Some(row) => Appended::At { base: row.try_get(0)? },
        None => Appended::Moved,
    })
}
