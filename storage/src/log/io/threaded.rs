//! Blocking writes on the writer's own thread: everything that waits is written, then one `fdatasync` per segment.
//! For kernels and containers without io_uring. As fast as the ring with one group in flight, slower with several.

use std::collections::BTreeSet;
use std::io::{PipeReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::files::Files;
use super::{Completion, LogIo, Write, fault};
use crate::log::LogFault;

/// See the module.
pub struct ThreadedIo {
    files: Arc<Files>,
    wake: PipeReader,
    waiting: Vec<Write>,
    syncs: u64,
}

impl ThreadedIo {
    /// Writes to the segments of `files`.
    pub fn new(files: Arc<Files>, wake: PipeReader) -> Self {
        Self { files, wake, waiting: Vec::new(), syncs: 0 }
    }

    fn write(&self, write: &Write) -> Result<(), LogFault> {
        let file = self.files.segment(write.segment).map_err(|error| fault("write", &error))?;
        // `write_all_at` goes on after a short write.
        file.write_all_at(&write.buffer.bytes()[..write.length], write.offset.into())
            .map_err(|error| fault("write", &error))
    }
}

impl LogIo for ThreadedIo {
    fn submit(&mut self, write: Write) {
        self.waiting.push(write);
    }

    fn wait(&mut self, block: bool, completions: &mut Vec<Completion>) {
        if self.waiting.is_empty() {
            if block {
                // An error means that nobody is left to wake us; the writer then finds that it has to end.
                let _ = self.wake.read(&mut [0; 64]);
            }
            return;
        }
        let waiting = std::mem::take(&mut self.waiting);
        let mut result = Ok(());
        let mut touched = BTreeSet::new();
        for write in &waiting {
            result = result.and_then(|()| self.write(write));
            touched.insert(write.segment);
        }
        self.syncs += touched.len() as u64;
        for segment in touched {
            result = result.and_then(|()| {
                let file = self.files.segment(segment).map_err(|error| fault("sync", &error))?;
                file.sync_data().map_err(|error| fault("sync", &error))
            });
        }
        completions.extend(waiting.into_iter().map(|write| Completion { sequence: write.sequence, result }));
    }

    fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }

    fn name(&self) -> &'static str {
        "threaded"
    }
}
