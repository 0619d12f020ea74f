//! Keys that all nodes share.

use bytes::Bytes;

use crate::database::{Database, DatabaseError, Sql, Value};

/// The key of a name. Where there is none yet, the one that is offered becomes it, unless another node is
/// quicker.
pub async fn find_or_keep(
    database: &dyn Database,
    name: &str,
    offered: &[u8],
) -> Result<Bytes, DatabaseError> {
    const KEEP: Sql =
        Sql::same("INSERT INTO secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING");
    const FIND: Sql = Sql::same("SELECT value FROM secrets WHERE name = $1");
    let name = Value::Text(name.to_owned());
    let offered = Value::Bytes(offered.to_vec().into());
    let results = database.batch(&[(&KEEP, vec![name.clone(), offered]), (&FIND, vec![name])]).await?;
    let row = results[1].first().ok_or_else(|| DatabaseError::Other("a key was not kept".into()))?;
    row.bytes(0).cloned()
}
