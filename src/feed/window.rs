//! Pages of the journal for one who catches up: of the endpoints that its filter names, and each no wider than is read
//! in a fraction of the time that a statement has, however few there are of them.

use tokio::time::Instant;

use super::hub::Hub;
use crate::database::DatabaseError;
use crate::model::{Entry, Filter};
use crate::storage::width::{WIDTH_MAX, WIDTH_MIN, next_width};
use crate::storage::{journal, scans};

/// A page ends where its entries weigh so much.
const PAGE_BYTES_MAX: usize = 512 * 1024;

/// Rows that are asked for before it is known what they weigh.
const ROWS_FIRST: usize = 16;

pub struct Window {
    /// How wide the next page is, in places, where it is of some endpoints alone.
    width: i64,
    /// How many rows are asked for next, by what the last ones weighed.
    rows: usize,
}

pub struct Page {
    /// Those that may pass the filter, oldest first.
    pub entries: Vec<Entry>,
    /// Up to here nothing else passes it.
    pub upto: i64,
}

impl Default for Window {
    fn default() -> Self {
        Self { width: 16 * WIDTH_MIN, rows: ROWS_FIRST }
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
        let database = hub.database.as_ref();
        let limit = u32::try_from(self.rows).unwrap_or(u32::MAX).min(hub.options.catch_up_page);
        let only = filter.narrowed();
        if only.is_of_all() {
            let entries = journal::list_after(database, place, head, limit).await?;
            return Ok(self.cut(entries, limit, head));
        }
        let width = std::mem::replace(&mut self.width, WIDTH_MIN);
        // An index leads to the entries of one endpoint, so that those of others are not looked at.
        let is_of_one = only.endpoint.is_some();
        let upto = if is_of_one { head } else { head.min(place.saturating_add(width)) };
        let asked = Instant::now();
        let entries = journal::list_after_of(database, &only, place, upto, limit).await?;
        let took = asked.elapsed();
        let mut page = self.cut(entries, limit, upto);
        let full_page = (page.upto < upto).then(|| page.upto.saturating_sub(place));
        self.width = next_width(width, took, full_page, WIDTH_MAX);
        if page.entries.is_empty() && page.upto < head {
            // Retention leaves wide gaps. What was committed before is there by now, or is gone.
            let next = scans::next_place(database, page.upto).await?;
            page.upto = next.map_or(head, |next| head.min(next - 1));
        }
        Ok(page)
    }

    /// Of what was read up to a place no more than a page may weigh, but one entry at least.
    fn cut(&mut self, mut entries: Vec<Entry>, limit: u32, upto: i64) -> Page {
        let is_full = entries.len() >= limit as usize;
        let (mut fitting, mut weight) = (0, 0);
        for entry in &entries {
            let heavier = weight + entry.weight();
            if fitting > 0 && heavier > PAGE_BYTES_MAX {
                break;
            }
            (fitting, weight) = (fitting + 1, heavier);
        }
        let is_cut = fitting < entries.len();
        entries.truncate(fitting);
        if is_cut {
            self.rows = fitting;
        } else if is_full {
            // What comes may weigh more.
            self.rows = (PAGE_BYTES_MAX.saturating_mul(fitting) / weight.max(1)).min(4 * fitting);
        }
        let upto = match entries.last() {
            Some(newest) if is_full || is_cut => newest.seq,
            _ => upto,
        };
        Page { entries, upto }
    }
}
