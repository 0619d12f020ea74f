//! Tickets: each opens one stream, once, soon after it was given out, on any node.

use super::tokens;
use crate::database::{Database, DatabaseError, Sql, Value};
use crate::model::{Glob, Scope};

/// Tickets that may be out at a time, in the whole cluster; and of one holder, who must not take the room of
/// all others.
const TICKETS_MAX: i64 = 10_000;
const TICKETS_OF_ONE_MAX: i64 = 1_000;

/// What is behind a ticket.
#[derive(Debug, Clone)]
pub struct Ticket {
    /// Who asked for it: a token's id, or another word for who had none.
    pub holder: String,
    pub scope: Scope,
    pub pattern: Option<Glob>,
}

/// Keeps a ticket by the SHA-256 of its secret, and forgets those that are over. False where too many are
/// out.
pub async fn create(
    database: &dyn Database,
    ticket: &Ticket,
    hash: &[u8],
    now_us: i64,
    expires_us: i64,
) -> Result<bool, DatabaseError> {
    const SWEEP: Sql = Sql::same("DELETE FROM tickets WHERE expires_us <= $1");
    const INSERT: Sql = Sql::same(
        "INSERT INTO tickets (hash, holder, scope, pattern, expires_us) SELECT $1, $2, $3, $4, $5 \
         WHERE $6 > (SELECT count(*) FROM tickets) \
           AND $7 > (SELECT count(*) FROM tickets WHERE holder = $2) RETURNING expires_us",
    );
    let values = vec![
        Value::Bytes(hash.to_vec().into()),
        Value::Text(ticket.holder.clone()),
        Value::Text(ticket.scope.name().to_owned()),
        tokens::pattern_or_null(ticket.pattern.as_ref()),
        Value::Int(expires_us),
        Value::Int(TICKETS_MAX),
        Value::Int(TICKETS_OF_ONE_MAX),
    ];
    let results = database.batch(&[(&SWEEP, vec![Value::Int(now_us)]), (&INSERT, values)]).await?;
    Ok(!results[1].is_empty())
}

/// Takes a ticket out, so that it is good once; None where there is none such, or not any more.
pub async fn claim(
    database: &dyn Database,
    hash: &[u8],
    now_us: i64,
) -> Result<Option<Ticket>, DatabaseError> {
    const CLAIM: Sql =
        Sql::same("DELETE FROM tickets WHERE hash = $1 AND expires_us > $2 RETURNING holder, scope, pattern");
    let values = vec![Value::Bytes(hash.to_vec().into()), Value::Int(now_us)];
    let results = database.batch(&[(&CLAIM, values)]).await?;
    results[0]
        .first()
        .map(|row| {
            Ok(Ticket {
                holder: row.text(0)?.to_owned(),
                scope: tokens::scope(row, 1)?,
                pattern: tokens::pattern(row, 2)?,
            })
        })
        .transpose()
}
