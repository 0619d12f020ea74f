//! A subscription's queue: what lies between a broker's connection and the subscription's reader.
//!
//! It must never make the writing end wait, hold more than its bounds, or lose a message without a
//! [`Signal::Back`] in its place. It is no tokio channel because a full channel takes no signal either,
//! and knows no bytes.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{SUBSCRIPTION_QUEUE, SUBSCRIPTION_QUEUE_BYTES, Signal};

/// The reading end of a subscription; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    _end: DropGuard,
}

impl Subscription {
    /// The next signal; `None` once the broker is closed and everything held has been read. Dropping
    /// the future loses nothing.
    pub async fn recv(&mut self) -> Option<Signal> {
        loop {
            {
                let mut held = self.queue.lock();
                if let Some(signal) = held.pop() {
                    return Some(signal);
                }
                if held.ended {
                    return None;
                }
            }
            self.queue.news.notified().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut held = self.queue.lock();
        held.signals = VecDeque::new();
        held.ended = true;
    }
}

/// The writing end of a subscription; dropping it lets the reader read to the end.
#[derive(Debug)]
pub(super) struct Inlet {
    queue: Arc<Queue>,
    dropped: Arc<AtomicU64>,
}

impl Inlet {
    /// Makes a subscription whose dropping cancels `end`. Messages that it drops are added to `dropped`.
    pub(super) fn new(end: CancellationToken, dropped: Arc<AtomicU64>) -> (Self, Subscription) {
        let queue = Arc::new(Queue::default());
        let subscription = Subscription { queue: queue.clone(), _end: end.drop_guard() };
        (Self { queue, dropped }, subscription)
    }

    pub(super) fn message(&self, message: Bytes) {
        if !self.queue.lock().put(message) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        self.queue.news.notify_one();
    }

    pub(super) fn back(&self) {
        self.queue.lock().back();
        self.queue.news.notify_one();
    }

    pub(super) fn away(&self) {
        self.queue.lock().away();
        self.queue.news.notify_one();
    }

    /// Whether the reader is gone.
    pub(super) fn is_ended(&self) -> bool {
        self.queue.lock().ended
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.queue.lock().ended = true;
        self.queue.news.notify_one();
    }
}

#[derive(Debug, Default)]
struct Queue {
    held: Mutex<Held>,
    news: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Messages within the bounds, and at most three other signals between any two of them.
#[derive(Debug, Default)]
struct Held {
    signals: VecDeque<Signal>,
    messages: usize,
    bytes: usize,
    /// A bound was reached, and half has not yet been read since. Without the half, a reader that stays
    /// slow would be told `Back` (for which it reads the database) for every single message.
    full: bool,
    ended: bool,
}

impl Held {
    /// Takes a message; `false`: it was dropped.
    fn put(&mut self, message: Bytes) -> bool {
        if self.ended {
            return true;
        }
        if self.full {
            self.full = self.messages > SUBSCRIPTION_QUEUE / 2 || self.bytes > SUBSCRIPTION_QUEUE_BYTES / 2;
        } else if self.messages >= SUBSCRIPTION_QUEUE || self.bytes + message.len() > SUBSCRIPTION_QUEUE_BYTES
        {
            self.full = true;
            self.back();
        }
        if self.full {
            return false;
        }
        self.messages += 1;
        self.bytes += message.len();
        self.signals.push_back(Signal::Message(message));
        true
    }

    fn away(&mut self) {
        if !self.ended && self.signals.back() != Some(&Signal::Away) {
            self.signals.push_back(Signal::Away);
        }
    }

    fn back(&mut self) {
        if self.ended || self.signals.back() == Some(&Signal::Back) {
            return;
        }
        // An absence between two unread `Back`s tells nothing that the first does not.
        let last_two = self.signals.len().checked_sub(2).and_then(|at| self.signals.get(at));
        if self.signals.back() == Some(&Signal::Away) && last_two == Some(&Signal::Back) {
            self.signals.pop_back();
            return;
        }
        self.signals.push_back(Signal::Back);
    }

    fn pop(&mut self) -> Option<Signal> {
        let signal = self.signals.pop_front();
        if let Some(Signal::Message(message)) = &signal {
            self.messages -= 1;
            self.bytes -= message.len();
        }
        signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(byte: u8) -> Bytes {
        Bytes::from(vec![byte])
    }

    #[test]
    fn what_does_not_fit_is_replaced_by_one_back() {
        let mut held = Held::default();
        held.back();
        let taken = (0..SUBSCRIPTION_QUEUE + 500).filter(|_| held.put(message(1))).count();
        assert_eq!(taken, SUBSCRIPTION_QUEUE);
        assert_eq!(held.pop(), Some(Signal::Back));
        for _ in 0..SUBSCRIPTION_QUEUE / 2 {
            assert!(!held.put(message(2)), "half must be read first");
            assert_eq!(held.pop(), Some(Signal::Message(message(1))));
        }
        assert!(held.put(message(3)));
        for _ in 0..SUBSCRIPTION_QUEUE / 2 {
            assert_eq!(held.pop(), Some(Signal::Message(message(1))));
        }
        assert_eq!(held.pop(), Some(Signal::Back));
        assert_eq!(held.pop(), Some(Signal::Message(message(3))));
        assert_eq!(held.pop(), None);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let mut held = Held::default();
        let large = Bytes::from(vec![0; super::super::MESSAGE_BYTES_MAX]);
        let taken = (0..100).filter(|_| held.put(large.clone())).count();
        assert_eq!(taken, SUBSCRIPTION_QUEUE_BYTES / large.len());
        assert_eq!(held.signals.back(), Some(&Signal::Back));
    }

    #[test]
    fn absences_that_nobody_reads_take_no_room() {
        let mut held = Held::default();
        for round in 0..100 {
            held.back();
            if round % 10 == 0 {
                held.put(message(0));
            }
            held.away();
            held.away();
        }
        assert!(held.signals.len() <= 10 * 4);
        assert_eq!(held.signals.back(), Some(&Signal::Away));
    }
}
