//! Nodes: each writes a row of its own while it runs. Ages are by the database's clock, so that a node whose own is
//! wrong is not taken for gone.

use uuid::Uuid;

use crate::database::{Database, DatabaseError, Row, Sql, Value, columns};
use crate::model::{Node, NodeState};

/// Nodes shown at most; a cluster has some ten.
const NODES_MAX: i64 = 1_000;

/// Writes a node's row, and removes those that nobody has written for a minute.
pub async fn record(
    database: &dyn Database,
    id: Uuid,
    since_us: i64,
    state: &NodeState,
) -> Result<(), DatabaseError> {
    const PUT: Sql = Sql {
        postgres: "INSERT INTO nodes (id, since_us, seen_us, detail) \
           VALUES ($1, $2, CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT), $3) \
           ON CONFLICT (id) DO UPDATE SET seen_us = excluded.seen_us, detail = excluded.detail",
        sqlite: "INSERT INTO nodes (id, since_us, seen_us, detail) \
           VALUES ($1, $2, CAST(unixepoch('subsec') * 1000000 AS INTEGER), $3) \
           ON CONFLICT (id) DO UPDATE SET seen_us = excluded.seen_us, detail = excluded.detail",
    };
    const GONE: Sql = Sql {
        postgres: "DELETE FROM nodes \
           WHERE seen_us < CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - 60000000",
        sqlite: "DELETE FROM nodes WHERE seen_us < CAST(unixepoch('subsec') * 1000000 AS INTEGER) - 60000000",
    };
    let put =
        vec![Value::Text(id.to_string()), Value::Int(since_us), Value::Text(columns::detail_text(state))];
    database.batch(&[(&PUT, put), (&GONE, vec![])]).await.map(drop)
}

/// Removes a node's row.
pub async fn remove(database: &dyn Database, id: Uuid) -> Result<(), DatabaseError> {
    const SQL: Sql = Sql::same("DELETE FROM nodes WHERE id = $1");
    database.execute(&SQL, &[Value::Text(id.to_string())]).await.map(drop)
}

/// Nodes that were heard of in the last ten seconds, the longest running first.
pub async fn list(database: &dyn Database) -> Result<Vec<Node>, DatabaseError> {
    const SQL: Sql = Sql {
        postgres: "SELECT id, since_us, seen_us, detail FROM nodes \
           WHERE seen_us > CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) - 10000000 \
           ORDER BY since_us, id LIMIT $1",
        sqlite: "SELECT id, since_us, seen_us, detail FROM nodes \
           WHERE seen_us > CAST(unixepoch('subsec') * 1000000 AS INTEGER) - 10000000 \
           ORDER BY since_us, id LIMIT $1",
    };
    database.query(&SQL, &[Value::Int(NODES_MAX)]).await?.iter().map(node).collect()
}

fn node(row: &Row) -> Result<Node, DatabaseError> {
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| DatabaseError::Other(error);
    Ok(Node {
        id: Uuid::parse_str(row.text(0)?).map_err(|error| broken(error.into()))?,
        since_us: row.int(1)?,
        seen_us: row.int(2)?,
        state: serde_json::from_str(row.text(3)?).map_err(|error| broken(error.into()))?,
    })
}
