//! A peer that takes nothing does not hold up a node that stops: after a while its connection is cut. Nothing
//! else would reach it, since nobody asks for what comes next while what was sent is not taken.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::http::state::State;
use crate::http::wire::Wire;

/// How long a peer may take to read the farewell, when all have been told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Goes with what is being sent; dropped with it, nothing is cut.
pub struct Cut(Option<JoinHandle<()>>);

impl Cut {
    pub fn of(wire: Option<&Rc<Wire>>, state: Arc<State>) -> Self {
        Self(wire.map(|wire| actix_web::rt::spawn(when_drained(wire.clone(), state))))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

async fn when_drained(wire: Rc<Wire>, state: Arc<State>) {
    state.shutdown.drained().await;
    tokio::time::sleep(state.pace_of_last() + PATIENCE).await;
    match wire.cut() {
        Ok(()) => tracing::debug!("a socket whose peer took nothing was cut"),
        Err(error) => tracing::debug!(%error, "failed to cut a socket whose peer took nothing"),
    }
}
