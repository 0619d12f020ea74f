//! What a Postgres error means for us, by its SQLSTATE (PostgreSQL manual, appendix A).

use tokio_postgres::error::SqlState;

use crate::database::DatabaseError;

pub fn classify(error: tokio_postgres::Error) -> DatabaseError {
    let Some(state) = error.code().cloned() else {
        // No answer from the server: the connection, or the attempt at one.
        return if error.is_closed() || is_io(&error) {
            DatabaseError::Unavailable(error.into())
        } else {
            DatabaseError::Other(error.into())
        };
    };
    match state.code().get(..2) {
        _ if state == SqlState::UNIQUE_VIOLATION => DatabaseError::Conflict(error.into()),
        // Data, integrity, and program limits: the same values fail again.
        Some("22" | "23" | "54") => DatabaseError::Data(error.into()),
        // Connection, resources, operator intervention, rollbacks that may go through when tried again,
        // locks that were not to be had in time, and a server that only reads (failover).
        Some("08" | "53" | "57" | "40" | "55" | "25" | "58" | "XX") => {
            DatabaseError::Unavailable(error.into())
        }
        _ => DatabaseError::Other(error.into()),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.is::<std::io::Error>() {
            return true;
        }
        source = inner.source();
    }
    error.to_string().contains("timed out") || error.to_string().contains("timeout")
}
