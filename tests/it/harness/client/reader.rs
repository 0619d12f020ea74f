//! A subscriber that reads what comes as it comes.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Subscriber;
use crate::harness::TestResult;

pub struct Reader {
    upto: watch::Sender<i64>,
    reading: JoinHandle<TestResult<Vec<Value>>>,
}

impl Reader {
    pub fn start(mut subscriber: Subscriber) -> Self {
        let (upto, mut last) = watch::channel(i64::MAX);
        let reading = tokio::spawn(async move {
            let (mut messages, mut seq) = (Vec::new(), 0);
            while seq < *last.borrow_and_update() {
                tokio::select! {
                    message = subscriber.next() => {
                        let message = message?.ok_or("the stream ended")?;
                        seq = message["capture"]["seq"].as_i64().unwrap_or(seq);
                        messages.push(message);
                    }
                    Ok(()) = last.changed() => {}
                }
            }
            Ok(messages)
        });
        Self { upto, reading }
    }

    /// Everything that came up to the capture of a number, which must come in time.
    pub async fn read_up_to(self, last: i64, limit: Duration) -> TestResult<Vec<Value>> {
        self.upto.send_replace(last);
        let abort = self.reading.abort_handle();
        match tokio::time::timeout(limit, self.reading).await {
            Ok(read) => read?,
            Err(_) => {
                abort.abort();
                Err(format!("capture {last} has not come within {limit:?}").into())
            }
        }
    }
}
