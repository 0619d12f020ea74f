//! Looks at the journal's head by those for whom the hub's own are not enough: who must know that nothing was
//! committed before now which they have not seen.

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::database::{Database, DatabaseError};
use crate::storage::journal::{self, Head};

/// One look at a time serves all that wait for it, so that a thousand who ask at once cost two queries.
#[derive(Default)]
pub struct Looks(Mutex<Option<(Instant, Head)>>);

impl Looks {
    /// The head, read after this was called.
    pub async fn head(&self, database: &dyn Database) -> Result<Head, DatabaseError> {
        let asked = Instant::now();
        let mut newest = self.0.lock().await;
        if let Some((began, head)) = *newest
            && began >= asked
        {
            return Ok(head);
        }
        let began = Instant::now();
        let head = journal::head(database).await?;
        *newest = Some((began, head));
        Ok(head)
    }
}
