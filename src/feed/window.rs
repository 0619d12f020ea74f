//! Pages of the journal for one who catches up: of the endpoints that its filter names, and each no wider than is read
//! in a fraction of the time that a statement has, however few there are of them.

use tokio::time::Instant;

use super::hub::Hub;
use crate::database::DatabaseError;
use crate::model::{Entry, Filter};
use crate::storage::width::{WIDTH_MAX, WIDTH_MIN, next_width};
use crate::storage::{journal, scans};

/// How wide the next page is, in places, where it is of some endpoints alone.
pub struct Window(i64);

pub struct Page {
    /// Those that may pass the filter, oldest first.
    pub entries: Vec<Entry>,
    /// Up to here nothing else passes it.
    pub upto: i64,
}

impl Default for Window {
    fn default() -> Self {
        Self(16 * WIDTH_MIN)
    }
}

impl Window {
    /// The next page behind a place, and no further than the head, which is behind that place.
    ///
    /// # Errors
    /// Where the database does not answer. The next page is then as narrow as can be.
    pub async fn read(
        &mut self,
        hub: &Hub,
        filter: &Filter,
        place: i64,
        head: i64,
    ) -> Result<Page, DatabaseError> {
        let (database, limit) = (hub.database.as_ref(), hub.options.catch_up_page);
        let ended = |entries: &[Entry], upto| match entries.last() {
            Some(newest) if entries.len() >= limit as usize => newest.seq,
            _ => upto,
        };
        let only = filter.narrowed();
        if only.is_of_all() {
            let entries = journal::list_after(database, place, head, limit).await?;
            return Ok(Page { upto: ended(&entries, head), entries });
        }
        let width = std::mem::replace(&mut self.0, WIDTH_MIN);
        // An index leads to the entries of one endpoint, so that those of others are not looked at.
        let is_of_one = only.endpoint.is_some();
        let upto = if is_of_one { head } else { head.min(place.saturating_add(width)) };
        let asked = Instant::now();
        let entries = journal::list_after_of(database, &only, place, upto, limit).await?;
        let mut upto = ended(&entries, upto);
        let full_page = (entries.len() >= limit as usize).then(|| upto.saturating_sub(place));
        self.0 = next_width(width, asked.elapsed(), full_page, WIDTH_MAX);
        if entries.is_empty() && upto < head {
            // Retention leaves wide gaps. What was committed before is there by now, or is gone.
            let next = scans::next_place(database, upto).await?;
            upto = next.map_or(head, |next| head.min(next - 1));
        }
        Ok(Page { entries, upto })
    }
}
