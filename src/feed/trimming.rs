//! What retention takes is soon in no node's ring either.

use std::sync::atomic::Ordering;

use super::hub::Hub;
use crate::database::DatabaseError;
use crate::storage::totals;

/// Endpoints that are read at a time.
const ENDPOINTS: usize = 10_000;

impl Hub {
    /// Forgets what was trimmed since this was last called. Beside the repairs nobody fills the ring with what is old, and
    /// these are made by the same task: what was read before a trim is in the ring by now.
    pub(super) async fn look_at_trims(&self) {
        if !self.database_answers() {
            return;
        }
        if let Err(error) = self.forget_trimmed().await {
            tracing::debug!(error = &error as &dyn std::error::Error, "failed to read what was trimmed");
        }
    }

    async fn forget_trimmed(&self) -> Result<(), DatabaseError> {
        let database = self.database.as_ref();
        let newest = totals::newest_trim(database).await?;
        let mut since = self.trims.load(Ordering::Relaxed);
        while since < newest {
            let floor = self.sequencer().floor();
            let trimmed = totals::trimmed_behind(database, floor, since, ENDPOINTS).await?;
            since = match trimmed.last() {
                Some(trim) if trimmed.len() == ENDPOINTS => trim.number,
                _ => newest,
            };
            self.sequencer().trim(&trimmed.into_iter().map(|trim| (trim.endpoint, trim.upto)).collect());
            self.trims.store(since, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use serde_json::json;
    use uuid::Uuid;

    use crate::feed::sequencer::{Offered, RingLimits, Sequencer};
    use crate::metrics::Way;
    use crate::model::{EndpointCode, Entry, EntryKind};
    use crate::rules::sample::{self, SampleOptions};

    fn entry(seq: i64, code: &str) -> Entry {
        let options =
            SampleOptions { id: Uuid::from_u128(seq.cast_unsigned().into()), now_us: 0, prefix: "r" };
        let capture = sample::capture(&json!({"endpoint": code}), options).unwrap();
        Entry { seq, what: EntryKind::Capture(Arc::new(capture)) }
    }

    #[test]
    fn the_ring_begins_behind_the_newest_that_was_trimmed() {
        let most = usize::MAX;
        let limits = RingLimits { events_max: 10, bytes_max: most, parked_max: 10, parked_bytes_max: most };
        let mut sequencer = Sequencer::new(limits);
        let codes = [(1, "a"), (2, "b"), (3, "a"), (4, "b"), (5, "a")];
        sequencer.offer(codes.map(|(seq, code)| Offered::Entry(entry(seq, code), Way::Local)));
        let mut trim = |code: &str, upto| {
            sequencer.trim(&HashMap::from([(EndpointCode::parse(code).unwrap(), upto)]));
            let from = (0..=5).find(|place| sequencer.behind(*place, 9).is_some()).unwrap();
            let seqs = sequencer.behind(from, 9).unwrap().iter().map(|event| event.entry.seq).collect();
            (from, seqs)
        };
        assert_eq!(trim("c", 5), (0, vec![1, 2, 3, 4, 5]), "nothing of it is here");
        assert_eq!(trim("a", 4), (3, vec![4, 5]));
        assert_eq!(trim("b", 3), (3, vec![4, 5]), "that is gone already");
        assert_eq!(trim("a", 9), (5, vec![]));
    }
}
