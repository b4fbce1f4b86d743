//! Two threads around the writer: one hands its groups to the disk and runs callbacks, one makes segments ahead and
//! disposes of released ones. One lock guards the writer; it is held for a copy of a record, never for I/O.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::format::SegmentHeader;
use super::gate::{Gate, Keeper};
use super::io::{Completion, LogDisk, LogIo, Waker, fault};
use super::stats::Counters;
use super::turns;
use super::writer::{Finished, Refusal, Writer};
use super::{LogFault, LogPosition};

/// Released segments that are kept to be written again, instead of zero-filling new ones.
const RECYCLABLE_MAX: u64 = 2;

/// Who is told what became of a record, or of those of a group that are waited for.
pub(super) enum Done {
    Call(Box<dyn FnOnce(Result<LogPosition, LogFault>) + Send>),
    Open(Keeper),
}

impl Done {
    pub(super) fn tell(self, result: Result<LogPosition, LogFault>) {
        match self {
            Self::Call(callback) => callback(result),
            Self::Open(keeper) => keeper.open(result.map(drop)),
        }
    }
}

/// What the lock guards.
pub(super) struct Core {
    pub(super) writer: Writer<Done>,
    pub(super) counters: Counters,
    /// The writer's thread waits and has to be woken for new work.
    pub(super) asleep: bool,
    pub(super) closing: bool,
    /// Number of the next segment to make.
    pub(super) next_segment: u64,
    pub(super) oldest: u64,
    pub(super) release_before: u64,
}

/// What the threads and the callers share.
pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    /// Room in the queue, or a fault.
    pub(super) room: Condvar,
    /// Work for the maker of segments.
    pub(super) work: Condvar,
    pub(super) waker: Waker,
    pub(super) disk: Arc<dyn LogDisk>,
    pub(super) identity: [u8; 32],
    pub(super) segment_bytes: u64,
    pub(super) spares_wanted: usize,
    pub(super) groups_in_flight_max: u32,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // No code that holds the lock runs callbacks; the state is whole even if a thread died.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, waiting for room. The token stays with the caller on a refusal.
    pub(super) fn append(&self, kind: u8, parts: &[&[u8]], done: &mut Option<Done>) -> Result<LogPosition, LogFault> {
        self.append_and(kind, parts, done, |_, _| ()).map(|(position, ())| position)
    }

    /// As [`Shared::append`], for a caller that then waits at the gate, with the others whose records are in the same group.
    pub(super) fn append_gated(&self, kind: u8, parts: &[&[u8]]) -> Result<(LogPosition, Arc<Gate>), LogFault> {
        self.append_and(kind, parts, &mut None, |writer, position| match writer.newest_token() {
            Some(Done::Open(keeper)) => keeper.gate(),
            _ => {
                let keeper = Keeper::default();
                let gate = keeper.gate();
                writer.add_token(Done::Open(keeper), position);
                gate
            }
        })
    }

    /// Runs `then` while the group of the record still is the open one.
    fn append_and<R>(
        &self,
        kind: u8,
        parts: &[&[u8]],
        done: &mut Option<Done>,
        then: impl FnOnce(&mut Writer<Done>, LogPosition) -> R,
    ) -> Result<(LogPosition, R), LogFault> {
        let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
        let bytes: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let mut core = self.lock();
        let position = loop {
            match core.writer.append(kind, parts, crc, done) {
                Ok(position) => break position,
                Err(Refusal::Fault(fault)) => return Err(fault),
                Err(Refusal::Full) => {
                    // The attempt may have closed a group or taken a spare: let both threads look again.
                    self.work.notify_one();
                    if std::mem::take(&mut core.asleep) {
                        self.waker.wake();
                    }
                    core = self.room.wait(core).unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        core.counters.stats.records += 1;
        core.counters.stats.payload_bytes += bytes;
        let then = then(&mut core.writer, position);
        let wake = std::mem::take(&mut core.asleep);
        drop(core);
        if wake {
            self.waker.wake();
        }
        Ok((position, then))
    }

    fn header(&self, segment: u64) -> Vec<u8> {
        SegmentHeader { identity: self.identity, segment, bytes: self.segment_bytes }.to_page()
    }

    /// Stops accepting; what was accepted is still written.
    pub(super) fn refuse(&self, fault: LogFault) {
        let mut core = self.lock();
        core.writer.refuse(fault);
        core.closing |= fault == LogFault::Closed;
        core.asleep = false;
        drop(core);
        self.waker.wake();
        self.room.notify_all();
        self.work.notify_all();
    }
}

/// Ends the log for everybody when the writer's thread ends, even by a panic of a callback.
struct Epitaph(Arc<Shared>);

impl Drop for Epitaph {
    fn drop(&mut self) {
        let mut finished = Vec::new();
        let mut core = self.0.lock();
        if !core.writer.is_idle() || core.writer.fault().is_none() {
            core.writer.fail(LogFault::Closed, &mut finished);
        }
        drop(core);
        self.0.room.notify_all();
        self.0.work.notify_all();
        for (done, result) in finished {
            done.tell(result);
        }
    }
}

/// The writer's thread. Says through `started` which backend it got.
pub(super) fn write_groups(shared: Arc<Shared>, wake: PipeReader, started: &SyncSender<io::Result<&'static str>>) {
    if let Err(error) = turns::shorten() {
        tracing::debug!(%error, "the log writes with turns of the usual length");
    }
    let buffers = shared.lock().writer.buffers().to_vec();
    let opened = shared.disk.open_io(&buffers, shared.groups_in_flight_max, wake);
    drop(buffers);
    let mut io = match opened {
        Ok(io) => io,
        Err(error) => {
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(io.name()));
    let epitaph = Epitaph(Arc::clone(&shared));
    let mut completions = Vec::new();
    let mut times = VecDeque::new();
    loop {
        let (finished, ended) = turn(&shared, io.as_mut(), &mut completions, &mut times);
        for (done, result) in finished {
            done.tell(result);
        }
        if ended {
            break;
        }
        io.wait(true, &mut completions);
    }
    drop(io);
    drop(epitaph);
}

/// Takes completions, hands out groups; the callbacks to run, and whether the end has come.
fn turn(
    shared: &Shared,
    io: &mut dyn LogIo,
    completions: &mut Vec<Completion>,
    times: &mut VecDeque<(u64, u64, Instant)>,
) -> (Vec<Finished<Done>>, bool) {
    let mut finished = Vec::new();
    let mut writes = Vec::new();
    let now = Instant::now();
    let mut core = shared.lock();
    let progress = !completions.is_empty();
    for completion in completions.drain(..) {
        if let Err(fault) = completion.result {
            tracing::error!(%fault, group = completion.sequence, "the log stops");
        }
        if let Some(at) = times.iter().position(|time| time.0 == completion.sequence)
            && let Some((_, bytes, start)) = times.remove(at)
            && completion.result.is_ok()
        {
            let micros = now.saturating_duration_since(start).as_micros();
            core.counters.group(bytes, u64::try_from(micros).unwrap_or(u64::MAX));
        }
        core.writer.completed(completion.sequence, completion.result, &mut finished);
    }
    core.counters.stats.syncs = io.syncs();
    writes.extend(std::iter::from_fn(|| core.writer.next_write()));
    if writes.is_empty() && core.writer.fault().is_some() && core.writer.is_idle() {
        if !core.writer.mark_durable() {
            return (finished, true);
        }
        writes.extend(core.writer.next_write());
    }
    core.asleep = core.writer.hands_out_more();
    let wants_spare = core.writer.spares() < shared.spares_wanted;
    drop(core);
    for write in writes {
        times.push_back((write.sequence, write.length as u64, now));
        io.submit(write);
    }
    io.kick();
    if progress {
        shared.room.notify_all();
    }
    if wants_spare {
        shared.work.notify_one();
    }
    (finished, false)
}

enum Job {
    Make { segment: u64, from: Option<u64> },
    Remove(u64),
}

/// The maker's thread.
pub(super) fn make_segments(shared: &Shared) {
    while let Some(job) = next_job(shared) {
        let result = match job {
            Job::Make { segment, from: None } => {
                shared.disk.create(segment, &shared.header(segment), shared.segment_bytes)
            }
            Job::Make { segment, from: Some(from) } => {
                shared.disk.recycle(from, segment, &shared.header(segment), shared.segment_bytes)
            }
            Job::Remove(segment) => shared.disk.remove(segment),
        };
        match (result, job) {
            (Ok(()), Job::Make { segment, .. }) => {
                shared.lock().writer.segment_ready(segment, shared.segment_bytes);
                shared.room.notify_all();
            }
            (Ok(()), Job::Remove(_)) => {}
            (Err(error), _) => {
                tracing::error!(%error, "no further segment of the log can be made: it stops");
                shared.refuse(fault("make a segment", &error));
                return;
            }
        }
    }
}

fn next_job(shared: &Shared) -> Option<Job> {
    let mut core = shared.lock();
    loop {
        if core.closing || core.writer.fault().is_some() {
            return None;
        }
        if core.writer.spares() < shared.spares_wanted {
            let segment = core.next_segment;
            core.next_segment += 1;
            let from = (core.oldest < core.release_before).then_some(core.oldest);
            core.oldest += u64::from(from.is_some());
            return Some(Job::Make { segment, from });
        }
        if core.oldest + RECYCLABLE_MAX < core.release_before {
            core.oldest += 1;
            return Some(Job::Remove(core.oldest - 1));
        }
        core = shared.work.wait(core).unwrap_or_else(PoisonError::into_inner);
    }
}
