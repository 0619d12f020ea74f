//! What an SQLite error means for us.

use rusqlite::ErrorCode;

use crate::database::DatabaseError;

pub fn classify(error: rusqlite::Error) -> DatabaseError {
    let code = error.sqlite_error();
    match code.map(|code| (code.code, code.extended_code)) {
        Some((
            ErrorCode::ConstraintViolation,
            rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
        )) => DatabaseError::Conflict(error.into()),
        Some((ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch, _)) => {
            DatabaseError::Data(error.into())
        }
        Some((ErrorCode::DiskFull, _)) => DatabaseError::Full(error.into()),
        Some((
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::OutOfMemory
            | ErrorCode::CannotOpen
            | ErrorCode::OperationInterrupted
            | ErrorCode::ReadOnly,
            _,
        )) => DatabaseError::Unavailable(error.into()),
        _ => DatabaseError::Other(error.into()),
    }
}
