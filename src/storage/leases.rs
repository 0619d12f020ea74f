//! Leases: what only one node does at a time. They keep work from being done twice at once; what must
//! be exact is guarded by the rows that it changes.

use crate::database::{Database, DatabaseError, Sql, Value};

/// Takes or renews a lease; whether this holder has it now.
pub async fn claim(
    database: &dyn Database,
    name: &str,
    holder: &str,
    now_us: i64,
    until_us: i64,
) -> Result<bool, DatabaseError> {
    const SQL: Sql = Sql::same(
        "INSERT INTO leases (name, holder, until_us) VALUES ($1, $2, $3) \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until_us = excluded.until_us \
         WHERE leases.holder = excluded.holder OR leases.until_us < $4",
    );
    let values = [
        Value::Text(name.to_owned()),
        Value::Text(holder.to_owned()),
        Value::Int(until_us),
        Value::Int(now_us),
    ];
    Ok(database.execute(&SQL, &values).await? > 0)
}
