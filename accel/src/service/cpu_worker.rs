//! The CPU's worker: takes the batches that are the CPU's, rescues those of a device thread that hangs, and audits what a
//! device has accepted while there is nothing else to do.

use super::Job;
use super::cost::Side;
use super::state::{Shared, State};
use crate::closing::{Closed, Load, Waiting};
use crate::device::DeviceState;
use crate::engine::{DeviceFault, Engine};
use crate::item::{Batch, Path};
use crate::trust::{Audit, run};
use std::sync::Arc;
use std::time::Instant;

/// Accepts that are audited at a time: a job that comes in meanwhile waits so long.
const AUDIT_ITEMS: usize = 128;

pub(super) struct CpuWorker {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: Box<dyn Engine>,
}

enum Task {
    Batch(Closed<Job>),
    Audit(Audit),
    Stop,
}

impl CpuWorker {
    pub(super) fn run(mut self) {
        loop {
            match self.next() {
                Task::Batch(closed) => self.verify(closed),
                Task::Audit(audit) => self.audit(audit),
                Task::Stop => break,
            }
        }
        self.shared.stop();
    }

    fn next(&self) -> Task {
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return Task::Stop;
            }
            let now = Instant::now();
            if state.flights.rescue_at().is_some_and(|at| at <= now) {
                self.rescue(&mut state, now);
            }
            if let Some((closed, _)) = state.close_for_cpu(now) {
                // What is left may now be the device's, because the CPU is busy.
                if state.device_asleep.is_some() && state.queue.for_device().items() > 0 {
                    self.shared.device.notify_one();
                }
                return Task::Batch(closed);
            }
            if let Some(audit) = state.audits.take(AUDIT_ITEMS) {
                return Task::Audit(audit);
            }
            let until = state.next_look(now).into_iter().chain(state.flights.rescue_at()).min();
            state.cpu_asleep = Some(until);
            state = self.shared.sleep(&self.shared.cpu, state, until);
            state.cpu_asleep = None;
        }
    }

    /// The device's thread should have given up by now: it hangs inside the device.
    fn rescue(&self, state: &mut State, now: Instant) {
        tracing::error!("the device hangs; the CPU takes over what it had");
        let fault = DeviceFault::TimedOut { waited_ms: 0 };
        state.condemn(now, fault);
        state.device.state = DeviceState::Quarantined;
        state.stats.device.state = DeviceState::Quarantined;
        self.shared.changed.notify_all();
    }

    fn verify(&mut self, closed: Closed<Job>) {
        let (mut items, mut load) = (Vec::new(), Load::default());
        let mut parts = Vec::with_capacity(closed.jobs.len());
        for Waiting { origin, mut job, load: part, .. } in closed.jobs {
            let start = items.len();
            load.add(&part);
            if items.is_empty() {
                // Most batches of blocks are one job: its items are taken as they are.
                items = std::mem::take(&mut job.items);
            } else {
                items.append(&mut job.items);
            }
            parts.push((origin, start..items.len(), job.done));
        }
        let path = if closed.suspect { Path::Singly } else { Path::Together };
        let batch = Batch::new(items, path);
        let start = Instant::now();
        let verdicts = run(self.engine.as_mut(), &batch);
        let elapsed = start.elapsed();

        let part = |range| verdicts.as_ref().map(|all| all.slice(range)).map_err(|fault| *fault);
        let answers: Vec<_> = parts.into_iter().map(|(origin, range, done)| (origin, done, part(range))).collect();
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        state.cpu_busy_until = None;
        state.queue.observe(batch.len(), closed.suspect, elapsed);
        if !closed.suspect {
            state.cost.observe(Side::Cpu, &load, elapsed);
        }
        let invalid = verdicts.as_ref().map_or(0, |all| all.len() - all.valid_count());
        let run_ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        state.stats.count_batch(false, batch.len(), invalid, run_ns);
        state.stats.suspect_items += if closed.suspect { batch.len() as u64 } else { 0 };
        (state.stats.key_cache_hits, state.stats.key_cache_misses) = self.engine.key_cache_counts();
        let now = Instant::now();
        for (origin, _, verdicts) in &answers {
            if verdicts.as_ref().is_ok_and(|verdicts| !verdicts.all_valid()) {
                state.suspects.mark(*origin, now);
            }
        }
        drop(guard);
        answers.into_iter().for_each(|(_, done, verdicts)| super::answer(done, verdicts));
    }

    fn audit(&mut self, audit: Audit) {
        let batch = Batch::new(audit.laden.copies(audit.numbers.iter().copied()), Path::Together);
        let Ok(verdicts) = run(self.engine.as_mut(), &batch) else { return };
        let wrong = verdicts.len() - verdicts.valid_count();
        let mut state = self.shared.lock();
        state.stats.device.audited += batch.len() as u64;
        state.stats.device.audit_wrong += wrong as u64;
        if wrong == 0 {
            return;
        }
        tracing::error!(wrong, "an audit found accepts of the device wrong; their verdicts have left");
        state.condemn(Instant::now(), DeviceFault::WrongAnswer);
        drop(state);
        self.shared.device.notify_one();
    }
}
