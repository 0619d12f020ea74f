//! Events whose body is kept in parts: sent piece by piece, never whole in memory.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::database::{Database, DatabaseError};
use crate::model::json;
use crate::model::wire::AFTER_CONTENT;
use crate::storage;

/// A JSON text in pieces: what stands before the content, the content in base64, what stands behind it.
pub struct LargeEvent {
    database: Arc<dyn Database>,
    capture: Uuid,
    next: Next,
    /// Bytes of a part that did not fill a group of three.
    left: Vec<u8>,
    after: Bytes,
}

enum Next {
    Before(Bytes),
    Part(i64),
    Nothing,
}

impl LargeEvent {
    /// `before` is JSON up to the content; `closing` stands behind the capture's own end.
    pub fn new(database: Arc<dyn Database>, capture: Uuid, before: Bytes, closing: &[u8]) -> Self {
        let after = [AFTER_CONTENT, closing].concat().into();
        Self { database, capture, next: Next::Before(before), left: Vec::new(), after }
    }

    /// The next piece, and whether it is the last. None behind the last. A body that is removed meanwhile
    /// ends early; the JSON stays well-formed, and its content is shorter than it says.
    pub async fn next(&mut self) -> Result<Option<(Bytes, bool)>, DatabaseError> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Nothing => Ok(None),
            Next::Before(before) => {
                self.next = Next::Part(0);
                Ok(Some((before, false)))
            }
            Next::Part(part) => {
                let found = storage::bodies::find_part(self.database.as_ref(), self.capture, part).await?;
                let mut piece = Vec::new();
                if let Some(content) = found {
                    self.next = Next::Part(part + 1);
                    self.left.extend_from_slice(&content);
                    let whole = self.left.len() / 3 * 3;
                    json::base64(&mut piece, &self.left[..whole]);
                    self.left.drain(..whole);
                    Ok(Some((piece.into(), false)))
                } else {
                    json::base64(&mut piece, &self.left);
                    piece.extend_from_slice(&self.after);
                    Ok(Some((piece.into(), true)))
                }
            }
        }
    }
}
