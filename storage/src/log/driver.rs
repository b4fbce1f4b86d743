//! Two threads around the writer: one hands its groups to the disk and runs callbacks, one makes segments ahead and
//! disposes of released ones. One lock guards the writer; it is held for a copy of a record, never for I/O. A caller that
//! waits may write a group beside them: `lead`.
//!
//! The writer's thread hands its groups to [`LogIo`] to have its hands free meanwhile: for the next group, or to run callbacks.
//! Where there is neither, it would only wait for what others do on its behalf (the ring's synced writes are ended by
//! further threads of the kernel), and writes the group itself, with a blocking call. So a group on a quiet log takes as long
//! as the disk does.

use std::collections::VecDeque;
use std::io::{self, PipeReader};
use std::sync::atomic::AtomicU32;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::format::SegmentHeader;
use super::gate::Keeper;
use super::io::{Completion, LogDisk, LogIo, Waker, Write, fault};
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
    /// Who is to be told, in the order of the log. Callbacks are the business of the writer's thread alone.
    pub(super) finished: Vec<Finished<Done>>,
    /// The writer's thread tells what it took out of `finished`; what came after has to wait for that.
    pub(super) telling: bool,
    /// The writer's thread waits and has to be woken for new work.
    pub(super) asleep: bool,
    pub(super) closing: bool,
    /// Number of the next segment to make.
    pub(super) next_segment: u64,
    pub(super) oldest: u64,
    pub(super) release_before: u64,
}

impl Core {
    /// Whether the writer's thread has to be woken now: it sleeps, and there is something for it to do.
    pub(super) fn rouse(&mut self) -> bool {
        let hands_out = self.writer.has_next() && self.writer.hands_out_more();
        let ends = self.writer.fault().is_some();
        (hands_out || ends || !self.finished.is_empty()) && std::mem::take(&mut self.asleep)
    }

    /// A write has ended after so long.
    pub(super) fn ended(&mut self, completion: Completion, bytes: u64, time: Duration) {
        match completion.result {
            Ok(()) => self.counters.group(bytes, u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            Err(fault) => tracing::error!(%fault, group = completion.sequence, "the log stops"),
        }
        self.writer.completed(completion.sequence, completion.result, &mut self.finished);
    }
}

/// What the threads and the callers share.
pub(super) struct Shared {
    pub(super) core: Mutex<Core>,
    /// Room in the queue, or a fault.
    pub(super) room: Condvar,
    /// Work for the maker of segments.
    pub(super) work: Condvar,
    pub(super) waker: Waker,
    /// Callers that wait until their records are durable.
    pub(super) callers: AtomicU32,
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
        let (position, rouse) = self.append_and(kind, parts, done, |core, _| core.rouse())?;
        self.wake(rouse);
        Ok(position)
    }

    /// Runs `then` while the group of the record still is the open one.
    pub(super) fn append_and<R>(
        &self,
        kind: u8,
        parts: &[&[u8]],
        done: &mut Option<Done>,
        then: impl FnOnce(&mut Core, LogPosition) -> R,
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
        Ok((position, then(&mut core, position)))
    }

    pub(super) fn wake(&self, rouse: bool) {
        if rouse {
            self.waker.wake();
        }
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
        let mut guard = self.0.lock();
        let core = &mut *guard;
        if !core.writer.is_idle() || core.writer.fault().is_none() {
            core.writer.fail(LogFault::Closed, &mut core.finished);
        }
        let finished = std::mem::take(&mut core.finished);
        // From now on, those who end a group tell gates; there are no callbacks any more.
        core.telling = false;
        drop(guard);
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
        let (finished, next) = turn(&shared, io.as_mut(), &mut completions, &mut times);
        for (done, result) in finished {
            done.tell(result);
        }
        match next {
            Next::Wait => io.wait(true, &mut completions),
            Next::Write(write) => {
                let sequence = write.sequence;
                completions.push(Completion { sequence, result: shared.disk.write(write) });
            }
            Next::End => break,
        }
    }
    drop(io);
    drop(epitaph);
}

/// What the writer's thread does once it has run its callbacks.
enum Next {
    /// Waits for a write to end, or for new work.
    Wait,
    /// Writes a group itself.
    Write(Write),
    /// Ends.
    End,
}

/// Takes completions, hands out groups; the callbacks to run, and what to do then.
fn turn(
    shared: &Shared,
    io: &mut dyn LogIo,
    completions: &mut Vec<Completion>,
    times: &mut VecDeque<(u64, u64, Instant)>,
) -> (Vec<Finished<Done>>, Next) {
    let mut writes = Vec::new();
    let now = Instant::now();
    let mut guard = shared.lock();
    let core = &mut *guard;
    let progress = !completions.is_empty();
    for completion in completions.drain(..) {
        let at = times.iter().position(|time| time.0 == completion.sequence);
        let (_, bytes, start) = at.and_then(|at| times.remove(at)).unwrap_or((0, 0, now));
        core.ended(completion, bytes, now.saturating_duration_since(start));
    }
    core.counters.syncs_of_io = io.syncs();
    writes.extend(std::iter::from_fn(|| core.writer.next_write()));
    let finished = std::mem::take(&mut core.finished);
    core.telling = !finished.is_empty();
    if writes.is_empty() && core.writer.fault().is_some() && core.writer.is_idle() {
        if !core.writer.mark_durable() {
            return (finished, Next::End);
        }
        writes.extend(core.writer.next_write());
    }
    let itself = finished.is_empty() && core.writer.waits_for_one();
    let alone = if itself { writes.pop() } else { None };
    core.counters.syncs_of_calls += u64::from(alone.is_some());
    // While it writes it needs no waking: it looks for work when it has written.
    core.asleep = alone.is_none();
    let wants_spare = core.writer.spares() < shared.spares_wanted;
    drop(guard);
    times.extend(alone.iter().chain(&writes).map(|write| (write.sequence, write.length as u64, now)));
    for write in writes {
        io.submit(write);
    }
    io.kick();
    if progress {
        shared.room.notify_all();
    }
    if wants_spare {
        shared.work.notify_one();
    }
    (finished, alone.map_or(Next::Wait, Next::Write))
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
