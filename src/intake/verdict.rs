//! What became of a capture, for the sender that waits for it.
//!
//! A runtime of one thread, as an HTTP worker's, is woken by a system call for each task that another thread wakes. So
//! each thread has a relay, a task that hears for all who wait there: its thread is woken once for a batch, and not for
//! each capture in it.

use std::cell::RefCell;

use tokio::sync::{mpsc, oneshot};

use super::accept::Refusal;
use super::journal::Accepted;

pub type Outcome = Result<Accepted, Refusal>;

/// Waits for what became of a capture; an error where it was let go without a word, as by a panic.
pub type Verdict = oneshot::Receiver<Outcome>;

/// Most that a relay passes on before others have their turn.
const AT_A_TIME: usize = 64;

/// What a relay holds; those who find no room there are told directly.
const HELD_MAX: usize = 1_024;

type Relay = mpsc::Sender<(oneshot::Sender<Outcome>, Outcome)>;

thread_local! {
    static RELAY: RefCell<Option<Relay>> = const { RefCell::new(None) };
}

/// The end that tells.
#[derive(Debug)]
pub struct Teller {
    who: oneshot::Sender<Outcome>,
    relay: Relay,
}

/// For one who waits on this thread, in the runtime that this is called in.
pub fn channel() -> (Teller, Verdict) {
    let (who, verdict) = oneshot::channel();
    let relay = RELAY.with_borrow_mut(|relay| match relay {
        Some(relay) if !relay.is_closed() => relay.clone(),
        _ => relay.insert(start()).clone(),
    });
    (Teller { who, relay }, verdict)
}

impl Teller {
    pub fn tell(self, outcome: Outcome) {
        // It is full, or its runtime has ended, and who waits may be in another.
        if let Err(error) = self.relay.try_send((self.who, outcome)) {
            tell(error.into_inner());
        }
    }
}

fn start() -> Relay {
    let (relay, mut told) = mpsc::channel(HELD_MAX);
    tokio::spawn(async move {
        let mut some = Vec::with_capacity(AT_A_TIME);
        while told.recv_many(&mut some, AT_A_TIME).await > 0 {
            some.drain(..).for_each(tell);
        }
    });
    relay
}

fn tell((who, outcome): (oneshot::Sender<Outcome>, Outcome)) {
    if who.send(outcome).is_err() {
        tracing::trace!("a sender has gone; its capture is kept all the same");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Outcome = Err(Refusal::QueueFull);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    fn is_refused(verdict: &mut Verdict) -> bool {
        matches!(verdict.try_recv(), Ok(Err(Refusal::QueueFull)))
    }

    #[test]
    fn a_thread_is_woken_once_for_all_that_it_hears() {
        let runtime = runtime();
        let mut waiting = runtime.block_on(async {
            let (tellers, waiting): (Vec<_>, Vec<_>) = (0..100).map(|_| channel()).unzip();
            // The relay waits for its first word.
            tokio::task::yield_now().await;
            let told = std::thread::spawn(|| tellers.into_iter().for_each(|teller| teller.tell(REFUSED)));
            told.join().unwrap();
            waiting
        });
        assert_eq!(runtime.metrics().global_queue_depth(), 1, "the relay, and nobody else");
        assert!(!is_refused(&mut waiting[0]), "it has not had its turn");
        for verdict in waiting {
            assert!(matches!(runtime.block_on(verdict), Ok(Err(Refusal::QueueFull))));
        }
    }

    #[test]
    fn whoever_finds_no_room_there_hears_directly() {
        let runtime = runtime();
        let (tellers, waiting): (Vec<_>, Vec<_>) =
            runtime.block_on(async { (0..HELD_MAX + 2).map(|_| channel()).unzip() });
        tellers.into_iter().for_each(|teller| teller.tell(REFUSED));
        let heard = waiting.into_iter().map(|mut verdict| is_refused(&mut verdict));
        assert_eq!(heard.filter(|heard| *heard).count(), 2);
    }

    #[test]
    fn whoever_waits_hears_though_the_relay_has_ended() {
        let (teller, mut verdict) = runtime().block_on(async { channel() });
        teller.tell(REFUSED);
        assert!(is_refused(&mut verdict));
        let (teller, verdict) = runtime().block_on(async { channel() });
        drop(teller);
        assert!(runtime().block_on(verdict).is_err(), "nothing was said");
        let next = runtime();
        let (teller, verdict) = next.block_on(async { channel() });
        teller.tell(REFUSED);
        assert!(matches!(next.block_on(verdict), Ok(Err(Refusal::QueueFull))));
    }
}
