//! Blocking writes. On the writer's own thread, for kernels and containers without io_uring: everything that waits is
//! written, then one `fdatasync` per segment; slower than the ring with several groups in flight. And with any backend on a thread
//! that has nothing to do but wait for it, one group at a time: [`write_and_sync`].

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, IoSlice, PipeReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::{Errno, ReadWriteFlags, pwritev2};

use super::super::files::Files;
use super::{Completion, LogIo, Write, fault};
use crate::log::LogFault;

/// Writes a group and returns when it is durable. Up to `dsync_bytes_max` that is one call: the caller waits for the flush
/// itself, so no worker of the kernel can be late with it, as with the ring.
pub(in super::super) fn write_and_sync(files: &Files, write: &Write, dsync_bytes_max: usize) -> Result<(), LogFault> {
    let file = files.segment(write.segment).map_err(|error| fault("write", &error))?;
    let bytes = &write.buffer.bytes()[..write.length];
    let offset = u64::from(write.offset);
    let written = match bytes.len() <= dsync_bytes_max {
        true => write_dsync(&file, bytes, offset).map_err(|error| fault("write", &error))?,
        false => 0,
    };
    if written < bytes.len() {
        let rest = file.write_all_at(&bytes[written..], offset + written as u64);
        rest.map_err(|error| fault("write", &error))?;
        file.sync_data().map_err(|error| fault("sync", &error))?;
    }
    Ok(())
}

/// How many bytes are written; all of them are durable, fewer need not be.
fn write_dsync(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    match pwritev2(file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
        Ok(written) => Ok(written),
        // It did not start, or there is no such call: nothing was written, and nothing lost.
        Err(Errno::INTR | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

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
