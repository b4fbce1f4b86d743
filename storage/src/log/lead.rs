//! Few callers that wait write their groups themselves, with a blocking call each. It costs neither the change to the writer's
//! thread and back, nor a ring, whose synced writes are ended by further threads of the kernel.
//!
//! Few are as many as groups may be on their way: each has one for itself. More of them do better to share groups, for
//! the disk flushes one at a time; and of groups that are shared the writer's thread is the better one, for it hands out the
//! next before it wakes those of the last. Callbacks are always its business: nobody else's code runs on a thread that waits.
//!
//! Nothing waits for ever: whoever takes or ends a group sees, under the lock, whether another one may go, and wakes the
//! writer's thread for it.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use super::driver::{Core, Done, Shared};
use super::gate::{Gate, Keeper};
use super::io::{Completion, Write};
use super::turns;
use super::{LogFault, LogPosition};

impl Shared {
    /// Appends, and waits until the record is durable.
    pub(super) fn append_durable(&self, kind: u8, parts: &[&[u8]]) -> Result<LogPosition, LogFault> {
        let caller = Caller::one_more(&self.callers);
        let few = caller.others < self.groups_in_flight_max;
        let (position, (gate, write, rouse)) = self.append_and(kind, parts, &mut None, |core, position| {
            let gate = core.gate(position);
            let write = if few { core.take() } else { None };
            (gate, write, core.rouse())
        })?;
        self.wake(rouse);
        if let Some(write) = write {
            self.lead(write);
        }
        gate.wait().map(|()| position)
    }

    /// Writes a group on this thread.
    fn lead(&self, write: Write) {
        short_turns();
        let (sequence, bytes, began) = (write.sequence, write.length as u64, Instant::now());
        let mut led = Led { shared: self, sequence, bytes, began, result: Err(LogFault::Closed) };
        // By value: the buffer is let go of before the group has ended, and may be filled again at once.
        led.result = self.disk.write(write);
    }

    /// A group that this thread wrote has ended.
    fn led(&self, led: &Led<'_>) {
        let mut guard = self.lock();
        let core = &mut *guard;
        core.counters.syncs_of_calls += 1;
        let completion = Completion { sequence: led.sequence, result: led.result };
        core.ended(completion, led.bytes, led.began.elapsed());
        // In the order of the log: what comes behind a callback waits for it.
        let is_gate = |(done, _): &(Done, _)| matches!(done, Done::Open(_));
        let gates = if core.telling { 0 } else { core.finished.iter().take_while(|one| is_gate(one)).count() };
        let finished: Vec<_> = core.finished.drain(..gates).collect();
        let rouse = core.rouse();
        let wants_spare = core.writer.spares() < self.spares_wanted;
        drop(guard);
        self.wake(rouse);
        for (done, result) in finished {
            done.tell(result);
        }
        self.room.notify_all();
        if wants_spare {
            self.work.notify_one();
        }
    }
}

impl Core {
    /// The gate for the record that was just taken.
    fn gate(&mut self, position: LogPosition) -> Arc<Gate> {
        if let Some(Done::Open(keeper)) = self.writer.newest_token() {
            return keeper.gate();
        }
        let keeper = Keeper::default();
        let gate = keeper.gate();
        self.writer.add_token(Done::Open(keeper), position);
        gate
    }

    /// The next group, if it may go now and callers wait for it.
    fn take(&mut self) -> Option<Write> {
        let gate = matches!(self.writer.next_token(), Some(Done::Open(_)));
        if gate { self.writer.next_write() } else { None }
    }
}

/// One who waits.
struct Caller<'a> {
    callers: &'a AtomicU32,
    /// How many waited before.
    others: u32,
}

impl<'a> Caller<'a> {
    fn one_more(callers: &'a AtomicU32) -> Self {
        Self { callers, others: callers.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A group on its way by this thread. It ends with what came of it, or, if the thread panics, as lost.
struct Led<'a> {
    shared: &'a Shared,
    sequence: u64,
    bytes: u64,
    began: Instant,
    result: Result<(), LogFault>,
}

impl Drop for Led<'_> {
    fn drop(&mut self) {
        self.shared.led(self);
    }
}

/// Once for each thread: it waits for the disk as the writer's thread does.
fn short_turns() {
    thread_local! {
        static SHORT: Cell<bool> = const { Cell::new(false) };
    }
    if !SHORT.replace(true)
        && let Err(error) = turns::shorten()
    {
        tracing::debug!(%error, "a caller of the log writes with turns of the usual length");
    }
}
