//! Checkpoints: what the write-ahead log holds is copied into the database file beside the writer, so that
//! captures do not wait for it (SQLite manual, "Write-Ahead Logging", section 2.1).
//!
//! A thread of its own copies while the writer goes on, again and again until little is left, and waits until the disk
//! has it. The writer copies that rest between two commits, and the log begins anew: it has the whole file made durable
//! for that, in which little is left to do.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;
use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;

use super::errors::classify;
use super::{Held, writer};
use crate::database::DatabaseError;

/// Pages in the log at which a checkpoint begins: 4 MiB. While they are made durable in the file, a commit waits for
/// the disk: with four times as many, the slowest hundredth of captures took 12 instead of 8 ms.
const PAGES: i32 = 1_000;

/// Pages that the writer copies itself, and times that the thread goes before it does so in any case.
const REST: i32 = 250;
const PASSES_MAX: u32 = 4;

/// Stands for the number of pages that were copied while they are being copied.
const COPYING: i32 = -1;

/// What the writer knows of the log; it looks after each commit.
struct Progress {
    wanted: SyncSender<()>,
    copied: Arc<AtomicI32>,
    /// Passes of the thread in this checkpoint; 0 where there is none.
    passes: u32,
    /// Pages in the log after the last commit, and when it was last copied whole.
    last: i32,
    whole: i32,
}

/// Has checkpoints made for this writer, by a thread that ends when the writer is closed.
pub fn start(writer: &mut Connection, path: &Path, held: Arc<Held>) -> Result<JoinHandle<()>, DatabaseError> {
    let connection = writer::open(path)?;
    let (wanted, wishes) = sync_channel(1);
    let copied = Arc::new(AtomicI32::new(0));
    let mut progress = Progress { wanted, copied: copied.clone(), passes: 0, last: 0, whole: 0 };
    let thread = std::thread::Builder::new()
        .name("creel-checkpoint".into())
        .spawn(move || {
            if let Err(error) = copy(&connection, &held.file, &wishes, &copied) {
                tracing::error!(
                    %error,
                    "the disk has lost a part of the database file; stopping at once, since the write-ahead log has it \
                     still: what is started next copies it again"
                );
                std::process::abort();
            }
            drop(connection);
            drop(held);
        })
        .map_err(|error| DatabaseError::Other(error.into()))?;
    // An error here would be told as the commit's, which has succeeded.
    let hook = move |log: &mut Wal, pages| {
        progress.committed(log, pages);
        Ok(())
    };
    writer.wal_hook(Some(hook)).map_err(classify)?;
    Ok(thread)
}

impl Progress {
    fn committed(&mut self, log: &mut Wal, pages: i32) {
        if pages < self.last {
            self.whole = 0;
        }
        self.last = pages;
        if self.passes == 0 {
            if pages - self.whole >= PAGES {
                self.pass();
            }
            return;
        }
        let copied = self.copied.load(Ordering::Acquire);
        if copied == COPYING {
            return;
        }
        if pages - copied > REST && self.passes < PASSES_MAX {
            return self.pass();
        }
        self.passes = 0;
        match log.checkpoint_v2(CheckpointMode::PASSIVE) {
            Ok(_) => self.whole = pages,
            // It copies what it has copied once more, the next time.
            Err(error) => tracing::warn!(%error, "failed to end a checkpoint"),
        }
    }

    fn pass(&mut self) {
        self.passes += 1;
        self.copied.store(COPYING, Ordering::Release);
        if self.wanted.try_send(()).is_err() {
            self.copied.store(0, Ordering::Release);
        }
    }
}

/// Copies the log whenever that is wanted.
///
/// # Errors
/// Where the disk has failed to take what was copied. SQLite counts it as copied all the same, and the system as written:
/// the log must not begin anew any more. Only who opens it next copies all of it.
fn copy(
    connection: &Connection,
    file: &File,
    wishes: &Receiver<()>,
    copied: &AtomicI32,
) -> std::io::Result<()> {
    while let Ok(()) = wishes.recv() {
        let pages = match connection.wal_checkpoint_v2(Some(rusqlite::MAIN_DB), CheckpointMode::PASSIVE) {
            Ok((_, pages)) => pages.max(0),
            Err(error) => {
                tracing::warn!(%error, "failed to copy the write-ahead log");
                0
            }
        };
        file.sync_data()?;
        copied.store(pages, Ordering::Release);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_has_not_taken_does_not_count_as_copied() {
        let connection = Connection::open_in_memory().unwrap();
        let (wanted, wishes) = sync_channel(1);
        wanted.send(()).unwrap();
        let copied = AtomicI32::new(COPYING);
        // Nothing there can be made durable.
        let device = File::open("/dev/null").unwrap();
        assert!(copy(&connection, &device, &wishes, &copied).is_err());
        assert_eq!(copied.load(Ordering::Acquire), COPYING, "nobody ends this checkpoint");
    }
}
