//! Bearer tokens. What is kept of a secret is its SHA-256: it is 256 random bits, so that there is nothing to
//! guess, and nothing that a slow hash would make harder.
//!
//! Every change raises the mark `tokens` in the same commit, by which nodes see that they must read anew; and nothing
//! else does, since a node of which no mark was ever raised asks nobody for a token.

use super::configuration;
use crate::database::{Database, DatabaseError, Row, Sql, Value};
use crate::model::limits::TOKENS_MAX;
use crate::model::secret::{digest, fresh_token};
use crate::model::time::id_at;
use crate::model::token::TokenOrder;
use crate::model::{Change, ConfigurationChange, ConfigurationKind, Entry, Glob, Scope};

/// Tokens that are over stay in the list so long.
const SHOWN_AFTERWARDS_US: i64 = 30 * 24 * 3_600_000_000;

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// A UUIDv7 of its making.
    pub id: String,
    /// What people call it.
    pub name: String,
    pub scope: Scope,
    /// The endpoints that it is for; None means all.
    pub pattern: Option<Glob>,
    /// Instants are microseconds since the Unix epoch.
    pub created_us: i64,
    pub expires_us: Option<i64>,
    pub revoked_us: Option<i64>,
}

impl Token {
    /// The token that was asked for, as it is made now.
    pub fn of(order: TokenOrder, now_us: i64) -> Self {
        Self {
            id: id_at(now_us).to_string(),
            name: order.name,
            scope: order.scope,
            pattern: order.pattern,
            created_us: now_us,
            expires_us: order.expires_in_s.map(|seconds| now_us.saturating_add(seconds * 1_000_000)),
            revoked_us: None,
        }
    }
}

/// A token as nodes know it: what is behind a secret.
#[derive(Debug, Clone)]
pub struct LiveToken {
    pub id: String,
    pub hash: Vec<u8>,
    pub scope: Scope,
    pub pattern: Option<Glob>,
    pub expires_us: Option<i64>,
}

/// Why a token is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMade {
    /// As many as may be are in force.
    Full,
    /// The token that it is made with is not in force any more.
    MakerIsOver,
}

/// Makes a token's secret, which is known to nobody but the caller, and keeps the token, as [`create`] does.
pub async fn make(
    database: &dyn Database,
    token: &Token,
    maker: Option<&str>,
) -> Result<Result<String, NotMade>, DatabaseError> {
    let secret = fresh_token();
    Ok(create(database, token, maker, &digest(&secret)).await?.map(|()| secret))
}

/// Has the journal tell that a token was made or revoked, by its id.
pub async fn note(
    database: &dyn Database,
    id: &str,
    change: Change,
    by: Option<&str>,
    at_us: i64,
) -> Result<Entry, DatabaseError> {
    let kind = ConfigurationKind::Token;
    let (name, by) = (id.to_owned(), by.map(str::to_owned));
    configuration::note(database, ConfigurationChange { id: id_at(at_us), at_us, kind, name, change, by })
        .await
}

/// Keeps a token by the SHA-256 of its secret, where the one that it is made with, if there is such (by its id), is in
/// force still. That one's end and this are one after the other, so that nothing it makes outlives it unseen.
pub async fn create(
    database: &dyn Database,
    token: &Token,
    maker: Option<&str>,
    hash: &[u8],
) -> Result<Result<(), NotMade>, DatabaseError> {
    const SWEEP: Sql = Sql::same("DELETE FROM tokens WHERE revoked_us < $1 OR expires_us < $1");
    const INSERT: Sql = Sql::same(
        "INSERT INTO tokens (id, name, hash, scope, pattern, created_us, expires_us) \
         SELECT $1, $2, $3, $4, $5, $6, $7 WHERE $8 > (SELECT count(*) FROM tokens \
           WHERE revoked_us IS NULL AND (expires_us IS NULL OR expires_us > $6)) \
           AND (CAST($9 AS TEXT) IS NULL OR EXISTS (SELECT 1 FROM tokens m WHERE m.id = $9 \
             AND m.revoked_us IS NULL AND (m.expires_us IS NULL OR m.expires_us > $6))) RETURNING id",
    );
    const MAKER: Sql = Sql::same(
        "SELECT count(*) FROM tokens WHERE id = $1 AND revoked_us IS NULL \
           AND (expires_us IS NULL OR expires_us > $2)",
    );
    let values = vec![
        Value::Text(token.id.clone()),
        Value::Text(token.name.clone()),
        Value::Bytes(hash.to_vec().into()),
        Value::Text(token.scope.name().to_owned()),
        pattern_or_null(token.pattern.as_ref()),
        Value::Int(token.created_us),
        token.expires_us.map_or(Value::Null, Value::Int),
        Value::Int(TOKENS_MAX.into()),
        maker.map_or(Value::Null, |id| Value::Text(id.to_owned())),
    ];
    let over = vec![Value::Int(token.created_us - SHOWN_AFTERWARDS_US)];
    let of_maker = vec![Value::Text(maker.unwrap_or_default().to_owned()), Value::Int(token.created_us)];
    const RAISE: Sql = Sql::same(
        "UPDATE marks SET seq = seq + 1 WHERE name = 'tokens' AND EXISTS (SELECT 1 FROM tokens WHERE id = $1)",
    );
    let made = vec![Value::Text(token.id.clone())];
    let statements = [(&LOCK, vec![]), (&SWEEP, over), (&MAKER, of_maker), (&INSERT, values), (&RAISE, made)];
    let results = database.batch(&statements).await?;
    if !results[3].is_empty() {
        return Ok(Ok(()));
    }
    let maker_is_live = results[2].first().map_or(Ok(0), |row| row.int(0))? > 0;
    Ok(Err(if maker.is_none() || maker_is_live { NotMade::Full } else { NotMade::MakerIsOver }))
}

/// Revokes a token, and those of the runs that were opened with it, and so on, also where it is revoked itself already.
/// Returns the ids of those that it has revoked.
pub async fn revoke(database: &dyn Database, id: &str, now_us: i64) -> Result<Vec<String>, DatabaseError> {
    const REVOKE: Sql = Sql::same(
        "WITH RECURSIVE of (id) AS (SELECT t.id FROM tokens t WHERE t.id = $1 \
           UNION SELECT r.token FROM runs r JOIN of ON r.opened_by = of.id WHERE r.token IS NOT NULL) \
         UPDATE tokens SET revoked_us = $2 WHERE id IN (SELECT id FROM of) AND revoked_us IS NULL RETURNING id",
    );
    // One that was revoked in this very microsecond before is no harm.
    const RAISE: Sql = Sql::same(
        "UPDATE marks SET seq = seq + 1 WHERE name = 'tokens' AND EXISTS (SELECT 1 FROM tokens WHERE revoked_us = $1)",
    );
    let values = vec![Value::Text(id.to_owned()), Value::Int(now_us)];
    let statements = [(&LOCK, vec![]), (&REVOKE, values), (&RAISE, vec![Value::Int(now_us)])];
    let results = database.batch(&statements).await?;
    results[1].iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// Comes first: whoever changes tokens waits for the mark, and sees what was done before.
const LOCK: Sql = Sql {
    postgres: "SELECT seq FROM marks WHERE name = 'tokens' FOR UPDATE",
    sqlite: "SELECT seq FROM marks WHERE name = 'tokens'",
};

/// A page of tokens by id, which is by time; those that are over too, for a while.
pub async fn list(
    database: &dyn Database,
    behind: Option<&str>,
    limit: u32,
) -> Result<Vec<Token>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT id, name, scope, pattern, created_us, expires_us, revoked_us FROM tokens \
         WHERE id > $1 ORDER BY id LIMIT $2",
    );
    let values = [Value::Text(behind.unwrap_or_default().to_owned()), Value::Int(limit.into())];
    let rows = database.query(&SQL, &values).await?;
    rows.iter()
        .map(|row| {
            Ok(Token {
                id: row.text(0)?.to_owned(),
                name: row.text(1)?.to_owned(),
                scope: scope(row, 2)?,
                pattern: pattern(row, 3)?,
                created_us: row.int(4)?,
                expires_us: row.int_or_null(5)?,
                revoked_us: row.int_or_null(6)?,
            })
        })
        .collect()
}

/// The number of the last change. Tokens that are read after it are at least as new.
pub async fn version(database: &dyn Database) -> Result<i64, DatabaseError> {
    const SQL: Sql = Sql::same("SELECT seq FROM marks WHERE name = 'tokens'");
    let rows = database.query(&SQL, &[]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}

/// Tokens that are in force at a time.
pub async fn list_live(database: &dyn Database, now_us: i64) -> Result<Vec<LiveToken>, DatabaseError> {
    const SQL: Sql = Sql::same(
        "SELECT id, hash, scope, pattern, expires_us FROM tokens \
         WHERE revoked_us IS NULL AND (expires_us IS NULL OR expires_us > $1) ORDER BY id LIMIT $2",
    );
    let rows = database.query(&SQL, &[Value::Int(now_us), Value::Int(TOKENS_MAX.into())]).await?;
    let tokens = rows.iter().map(|row| {
        Ok(LiveToken {
            id: row.text(0)?.to_owned(),
            hash: row.bytes(1)?.to_vec(),
            scope: scope(row, 2)?,
            pattern: pattern(row, 3)?,
            expires_us: row.int_or_null(4)?,
        })
    });
    // One that this version cannot read opens nothing, and must not keep the others from being known.
    Ok(tokens.filter_map(Result::<_, DatabaseError>::ok).collect())
}

pub(super) fn scope(row: &Row, column: usize) -> Result<Scope, DatabaseError> {
    Scope::parse(row.text(column)?).ok_or_else(|| DatabaseError::Other("a scope is not known".into()))
}

/// A pattern that cannot be read is an error: it never turns into "all endpoints".
pub(super) fn pattern(row: &Row, column: usize) -> Result<Option<Glob>, DatabaseError> {
    let pattern = row.text_or_null(column)?.map(Glob::parse).transpose();
    pattern.map_err(|error| DatabaseError::Other(error.into()))
}

pub(super) fn pattern_or_null(pattern: Option<&Glob>) -> Value {
    pattern.map_or(Value::Null, |pattern| Value::Text(pattern.to_string()))
}
