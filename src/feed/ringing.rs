//! Holds what the hub passes on against those who sleep.

use std::sync::Arc;

use super::bell::Place;
use super::event::Event;
use super::hub::Hub;
use super::sequencer::Sequencer;
use super::subscriber::TAKE_MAX;
use crate::shutdown::Shutdown;

impl Hub {
    /// The place behind the newest event, by which the bell goes.
    pub(super) fn newest(&self) -> Place {
        place_of(&self.sequencer())
    }

    /// Rings the bell until the node stops, while anybody sleeps. It is rung beside the commits, which wait for nobody.
    pub async fn ring(self: Arc<Self>, shutdown: Shutdown) {
        tokio::select! {
            () = self.keep_ringing() => {}
            () = shutdown.stopped() => {}
        }
    }

    async fn keep_ringing(&self) {
        let mut changes = self.changes();
        loop {
            self.bell.needed().await;
            changes.mark_unchanged();
            while self.ring_once() {
                tokio::task::yield_now().await;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// Holds what is behind the bell against those who sleep, as much as is taken at a time. Whether there was anything.
    fn ring_once(&self) -> bool {
        let from = self.bell.place();
        let sequencer = self.sequencer();
        let newest = place_of(&sequencer);
        if from.generation == newest.generation && from.seq >= newest.seq {
            return false;
        }
        let is_same = from.generation == newest.generation;
        let events = is_same.then(|| sequencer.behind(from.seq, TAKE_MAX)).flatten();
        drop(sequencer);
        match events {
            Some(events) => {
                let of = |event: &Arc<Event>| Place { seq: event.entry.seq, cursor: event.cursor, ..newest };
                let behind = events.last().map_or(newest, of);
                self.bell.pass(events.iter().map(|event| &event.entry), behind);
            }
            None => self.bell.wake_all(newest),
        }
        true
    }
}

fn place_of(sequencer: &Sequencer) -> Place {
    Place { generation: sequencer.generation, seq: sequencer.last(), cursor: sequencer.cursor() }
}
