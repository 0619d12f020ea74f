//! Who looks at what is kept, and who waits for it: a few at a time, since each keeps the database busy.

use tokio::sync::SemaphorePermit;

use super::{Inquiries, InquiryError};
use crate::metrics::Metrics;

/// A turn to look. It ends with the value.
pub struct Turn<'a> {
    _looking: SemaphorePermit<'a>,
    _admitted: SemaphorePermit<'a>,
    metrics: &'a Metrics,
}

impl Inquiries {
    /// Waits for a turn, for no longer than a look may take.
    ///
    /// # Errors
    /// [`InquiryError::Busy`] where too many wait already, or it took too long.
    pub async fn turn(&self) -> Result<Turn<'_>, InquiryError> {
        let busy = || {
            self.metrics.inquiries_refused.inc();
            InquiryError::Busy
        };
        let admitted = self.admitted.try_acquire().map_err(|_| busy())?;
        let looking = tokio::time::timeout(self.options.scan_time_max, self.looking.acquire()).await;
        let looking = looking.map_err(|_| busy())?.map_err(|_| busy())?;
        self.metrics.inquiries.inc();
        Ok(Turn { _looking: looking, _admitted: admitted, metrics: &self.metrics })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.metrics.inquiries.dec();
    }
}
