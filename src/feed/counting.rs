//! Counts what the feed passes on, while upkeep has a use for it.

use std::sync::Arc;
use std::time::Duration;

use super::hub::Hub;
use crate::shutdown::Shutdown;
use crate::tally::Tallies;

/// Events that are taken from the ring at a time.
const TAKE_MAX: usize = 1_024;

/// How long events gather. The ring holds those of a tenth of a second and more, at any load.
const GATHER: Duration = Duration::from_millis(20);

/// Counts until the node stops.
pub async fn count(hub: Arc<Hub>, tallies: Arc<Tallies>, shutdown: Shutdown) {
    tokio::select! {
        () = keep_counting(&hub, &tallies) => {}
        () = shutdown.stopped() => {}
    }
}

async fn keep_counting(hub: &Hub, tallies: &Tallies) {
    let mut changes = hub.changes();
    let mut generation = hub.sequencer().generation;
    loop {
        let place = tallies.wanted().await;
        changes.mark_unchanged();
        let (now, events) = {
            let sequencer = hub.sequencer();
            (sequencer.generation, sequencer.behind(place, TAKE_MAX))
        };
        let is_of_this_journal = std::mem::replace(&mut generation, now) == now;
        match events.filter(|_| is_of_this_journal) {
            Some(events) if events.is_empty() => {
                if changes.changed().await.is_err() {
                    return;
                }
                tokio::time::sleep(GATHER).await;
            }
            Some(events) => tallies.count(place, events.iter().map(|event| &event.entry)),
            // The ring has gone past it, or the journal is another one.
            None => tallies.end(),
        }
    }
}
