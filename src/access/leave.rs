//! The leave to go on: what an open stream holds, and what ends when a token is revoked or expires.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::gate::Access;
use super::identity::Identity;

/// Asked before each piece that is sent, so it is cheap while nothing changes.
pub struct Leave {
    access: Arc<Access>,
    identity: Arc<Identity>,
    changes: watch::Receiver<()>,
    ends: Option<Instant>,
    is_over: bool,
}

impl Leave {
    pub(super) fn new(access: Arc<Access>, identity: Arc<Identity>, changes: watch::Receiver<()>) -> Self {
        let now_us = access.now_us();
        let ends = identity.expires_us.and_then(|expires_us| {
            let left = u64::try_from(expires_us.saturating_sub(now_us)).unwrap_or_default();
            // One that lies past all clocks does not end.
            Instant::now().checked_add(Duration::from_micros(left))
        });
        let is_over = !access.holds(&identity);
        Self { access, identity, changes, ends, is_over }
    }

    /// Whose it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn is_over(&mut self) -> bool {
        // An error means that the node is stopping, which streams are told otherwise.
        if !self.is_over && self.changes.has_changed().unwrap_or(false) {
            self.changes.mark_unchanged();
            self.is_over = !self.access.holds(&self.identity);
        }
        self.is_over |= self.ends.is_some_and(|ends| ends <= Instant::now());
        self.is_over
    }

    /// Waits until it is over. Safe to cancel.
    pub async fn ended(&mut self) {
        while !self.is_over() {
            let ends = self.ends;
            let expiry = async move {
                match ends {
                    Some(ends) => tokio::time::sleep_until(ends).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.changes.changed() => match changed {
                    Ok(()) => self.is_over = !self.access.holds(&self.identity),
                    Err(_) => std::future::pending().await,
                },
                () = expiry => {}
            }
        }
    }
}
