//! The ring: one per log, owned by the writer's thread, registered buffers, several groups in flight. Groups up to
//! a size are one `RWF_DSYNC` write where that is the faster way; the others a write with a linked `fdatasync`.
//!
//! A short write breaks the link and the sync is cancelled: what is left is submitted again as a pair. Any error ends
//! the write with a fault; nothing is tried twice. Deliberately absent: polling modes, reads.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, PipeReader, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Instant;

use io_uring::{IoUring, opcode, squeue, types};

use super::super::buffer::PageBuffer;
use super::super::files::Files;
use super::sync_choice::{SyncChoice, SyncWay};
use super::{Completion, LogIo, Write, fault, set_nonblocking};
use crate::log::LogFault;

const WAKE: u64 = u64::MAX;
const SYNC_BIT: u64 = 1;

/// A write that the kernel may be reading from: it keeps buffer and file alive.
struct Operation {
    write: Write,
    file: Arc<File>,
    written: usize,
    /// Completions of the kernel that are still to come for it.
    expected: u8,
    synced: bool,
    error: Option<LogFault>,
    way: SyncWay,
    started: Instant,
}

/// See the module.
pub struct UringIo {
    ring: IoUring,
    files: Arc<Files>,
    wake: PipeReader,
    wake_armed: bool,
    registered: bool,
    dsync_bytes_max: usize,
    choice: SyncChoice,
    operations: Vec<Option<Operation>>,
    refused: Vec<Completion>,
    syncs: u64,
}

impl UringIo {
    /// Sets up a ring for `depth` writes. Without the right to lock memory it works with unregistered buffers.
    pub fn new(
        files: Arc<Files>,
        buffers: &[Arc<PageBuffer>],
        depth: u32,
        dsync_bytes_max: u32,
        wake: PipeReader,
    ) -> io::Result<Self> {
        let dsync_bytes_max = dsync_bytes_max as usize;
        let entries = (2 * depth + 2).next_power_of_two();
        let ring =
            IoUring::builder().setup_single_issuer().setup_defer_taskrun().setup_coop_taskrun().build(entries)?;
        let vectors: Vec<libc::iovec> = buffers
            .iter()
            .map(|buffer| libc::iovec {
                iov_base: buffer.bytes().as_ptr().cast_mut().cast(),
                iov_len: buffer.bytes().len(),
            })
            .collect();
        // SAFETY: the kernel pins the pages itself, so memory it writes from stays valid whatever happens here; the
        // content is read only between submission and completion of a write, while `Operation` holds its buffer.
        let registered = unsafe { ring.submitter().register_buffers(&vectors) };
        if let Err(error) = &registered {
            tracing::warn!(%error, "log buffers are not registered with the ring; raise LimitMEMLOCK");
        }
        let operations = std::iter::repeat_with(|| None).take(depth as usize).collect();
        let registered = registered.is_ok();
        // A poll of the pipe may end although nothing is in it: a writer of the pipe wakes its watchers after it has let
        // go of it, and its byte may have been read by then. To wait for the next one would be to wait for ever where
        // everybody who could write it waits for us.
        set_nonblocking(&wake)?;
        Ok(Self {
            ring,
            files,
            wake,
            wake_armed: false,
            registered,
            dsync_bytes_max,
            choice: SyncChoice::default(),
            operations,
            refused: Vec::new(),
            syncs: 0,
        })
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: memory and file behind an entry are held by its `Operation` until the last completion (`Drop` waits
        // for it too); the entry for the pipe refers to `self.wake`, which outlives the ring's use of it likewise.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            if let Err(error) = self.ring.submit() {
                assert!(
                    matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy),
                    "a ring with room for every operation takes submissions: {error}"
                );
            }
        }
    }

    fn start(&mut self, slot: usize) {
        let Some(operation) = &mut self.operations[slot] else { return };
        let rest = &operation.write.buffer.bytes()[operation.written..operation.write.length];
        let length = u32::try_from(rest.len()).expect("a group fits a segment, whose offsets are 32 bits");
        let offset = u64::from(operation.write.offset) + operation.written as u64;
        let file = types::Fd(operation.file.as_raw_fd());
        let dsync = operation.way == SyncWay::Dsync;
        let flags = if dsync { libc::RWF_DSYNC } else { 0 };
        let entry = match operation.write.buffer.index() {
            Some(index) if self.registered => {
                opcode::WriteFixed::new(file, rest.as_ptr(), length, index).offset(offset).rw_flags(flags).build()
            }
            _ => opcode::Write::new(file, rest.as_ptr(), length).offset(offset).rw_flags(flags).build(),
        };
        let entry = entry.user_data((slot as u64) << 1);
        operation.synced = dsync;
        operation.expected = if dsync { 1 } else { 2 };
        if dsync {
            self.push(&entry);
        } else {
            let sync = opcode::Fsync::new(file).flags(types::FsyncFlags::DATASYNC).build();
            // Two free places, so that no submission can come between the two and break the link.
            let queue = self.ring.submission();
            let free = queue.capacity() - queue.len();
            drop(queue);
            if free < 2 {
                let _ = self.ring.submit();
            }
            self.push(&entry.flags(squeue::Flags::IO_LINK));
            self.push(&sync.user_data(((slot as u64) << 1) | SYNC_BIT));
        }
    }

    fn arm_wake(&mut self) {
        if !self.wake_armed {
            let events = u32::try_from(libc::POLLIN).expect("a small positive constant");
            let entry = opcode::PollAdd::new(types::Fd(self.wake.as_raw_fd()), events).build().user_data(WAKE);
            self.push(&entry);
            self.wake_armed = true;
        }
    }

    /// Takes one completion of the kernel; the slot whose operation has to go on or has ended, if any.
    fn take(&mut self, user_data: u64, result: i32) -> Option<usize> {
        if user_data == WAKE {
            self.wake_armed = false;
            if result > 0 {
                // Nothing there, or an end of the pipe, is no error: this is only the reason why `wait` returned.
                let _ = self.wake.read(&mut [0; 64]);
            }
            return None;
        }
        let slot = usize::try_from(user_data >> 1).ok()?;
        let operation = self.operations.get_mut(slot)?.as_mut()?;
        operation.expected = operation.expected.saturating_sub(1);
        let is_sync = user_data & SYNC_BIT != 0;
        match usize::try_from(result) {
            Ok(0) if !is_sync => {
                // A write of nothing makes no progress and would loop for ever.
                operation.error = Some(LogFault::Io { operation: "write", os: None });
            }
            Ok(written) if !is_sync => operation.written += written,
            Ok(_) => operation.synced = true,
            // The link was broken by a short or failed write, which says itself what is to be done.
            Err(_) if is_sync && -result == libc::ECANCELED => {}
            Err(_) if -result == libc::EINTR || -result == libc::EAGAIN => {
                // Nothing was written and nothing was lost: the write did not start. Not so for a sync.
                if is_sync {
                    operation.error = Some(LogFault::Io { operation: "sync", os: Some(-result) });
                }
            }
            Err(_) => {
                let name = if is_sync { "sync" } else { "write" };
                operation.error.get_or_insert(fault(name, &io::Error::from_raw_os_error(-result)));
            }
        }
        (operation.expected == 0).then_some(slot)
    }

    fn reap(&mut self, completions: &mut Vec<Completion>) {
        let ended: Vec<(u64, i32)> = self.ring.completion().map(|entry| (entry.user_data(), entry.result())).collect();
        for (user_data, result) in ended {
            let Some(slot) = self.take(user_data, result) else { continue };
            let Some(operation) = &self.operations[slot] else { continue };
            let whole = operation.written >= operation.write.length && operation.synced;
            if operation.error.is_none() && !whole {
                self.start(slot);
                continue;
            }
            if let Some(operation) = self.operations[slot].take() {
                self.syncs += 1;
                if operation.write.length <= self.dsync_bytes_max {
                    let time = operation.started.elapsed().as_nanos();
                    self.choice.took(operation.way, u64::try_from(time).unwrap_or(u64::MAX));
                }
                let result = operation.error.map_or(Ok(()), Err);
                completions.push(Completion { sequence: operation.write.sequence, result });
            }
        }
    }
}

impl LogIo for UringIo {
    fn submit(&mut self, write: Write) {
        let file = match self.files.segment(write.segment) {
            Ok(file) => file,
            Err(error) => {
                let result = Err(fault("write", &error));
                self.refused.push(Completion { sequence: write.sequence, result });
                return;
            }
        };
        let slot = self.operations.iter().position(Option::is_none).unwrap_or_else(|| {
            self.operations.push(None);
            self.operations.len() - 1
        });
        let way = if write.length <= self.dsync_bytes_max { self.choice.pick() } else { SyncWay::Linked };
        let started = Instant::now();
        let operation = Operation { write, file, written: 0, expected: 0, synced: false, error: None, way, started };
        self.operations[slot] = Some(operation);
        self.start(slot);
    }

    fn kick(&mut self) {
        // A failure shows again, and is dealt with, in `wait`.
        if !self.ring.submission().is_empty() {
            let _ = self.ring.submit();
        }
    }

    fn wait(&mut self, block: bool, completions: &mut Vec<Completion>) {
        completions.append(&mut self.refused);
        self.arm_wake();
        let want = usize::from(block && completions.is_empty());
        match self.ring.submit_and_wait(want) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ResourceBusy) => {}
            Err(error) => {
                // The ring itself is broken. What is in flight stays held until `Drop`; its fate is unknown.
                let result = Err(fault("write", &error));
                let running = self.operations.iter().flatten();
                completions.extend(running.map(|o| Completion { sequence: o.write.sequence, result }));
                return;
            }
        }
        self.reap(completions);
    }

    fn in_flight(&self) -> usize {
        self.operations.iter().flatten().count()
    }

    fn syncs(&self) -> u64 {
        self.syncs
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for UringIo {
    /// Waits for the kernel to let go of buffers and files.
    fn drop(&mut self) {
        let mut ended = Vec::new();
        while self.in_flight() > 0 {
            if self.ring.submit_and_wait(1).is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // The kernel still owns the memory: leak it rather than free it under its hands.
                for operation in self.operations.drain(..) {
                    std::mem::forget(operation);
                }
                return;
            }
            self.reap(&mut ended);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Waker;
    use super::*;
    use crate::log::files::FileDisk;
    use crate::log::{Backend, LogDisk};
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    #[test]
    fn a_wake_whose_byte_is_gone_does_not_stop_the_writer() {
        // What a writer of the pipe does when it is preempted between its byte and its wake-up: the ring hears of a byte
        // that was read before.
        let dir = tempfile::tempdir().expect("a directory");
        let (done, ended) = channel();
        let disk = FileDisk::open(dir.path(), Backend::IoUring, 0, Duration::ZERO).expect("an empty log");
        std::thread::spawn(move || {
            let (waker, wake) = Waker::new().expect("a pipe");
            let mut thief = wake.try_clone().expect("a handle");
            let mut io = disk.open_io(&[], 1, wake).expect("a ring");
            io.wait(false, &mut Vec::new());
            waker.wake();
            assert_eq!(thief.read(&mut [0; 64]).expect("a byte"), 1);
            io.wait(true, &mut Vec::new());
            done.send(()).expect("the test waits");
        });
        // The time is only for the test that fails: then the thread never ends.
        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok::<_, RecvTimeoutError>(()));
    }
}
