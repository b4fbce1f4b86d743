//! What the threads of the service share, under one lock: submitters hold it for one insertion, workers to take a batch and
//! to hand one back. Who takes what is decided here, by the figures of [`super::cost`]; the clock is handed in.

use super::Job;
use super::config::{Placement, VerifierConfig};
use super::cost::{CostModel, Side};
use super::flights::Flights;
use crate::closing::{Closed, Limits, Load, Lot, Queue, Waiting};
use crate::device::DeviceState;
use crate::engine::DeviceFault;
use crate::stats::VerifyStats;
use crate::suspects::Suspects;
use crate::trust::AuditBacklog;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use types::AlgId;

/// How soon a worker looks again at a batch that is ready and that it left to the other.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

pub(super) struct Shared {
    state: Mutex<State>,
    /// Wakes the CPU's worker, and the device's.
    pub(super) cpu: Condvar,
    pub(super) device: Condvar,
    /// The state of the device has changed.
    pub(super) changed: Condvar,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), cpu: Condvar::new(), device: Condvar::new(), changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock leaves the state half changed, so what a panicking thread left is good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until woken or until `until`.
    pub(super) fn sleep<'a>(
        &self,
        on: &Condvar,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match until {
            Some(until) => {
                let wait = until.saturating_duration_since(Instant::now());
                on.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
            }
            None => on.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Answers everything that waits or flies, because nobody will work on it any more.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        let flying = state.flights.take_all();
        let waiting = state.queue.drain();
        drop(state);
        for waiting in flying.into_iter().flat_map(|flight| flight.jobs).map(|(waiting, _)| waiting).chain(waiting) {
            super::answer(waiting.job.done, Err(DeviceFault::Stopped));
        }
    }
}

/// What is known of the device.
pub(super) struct DeviceView {
    pub(super) state: DeviceState,
    /// What it may be given while it serves.
    pub(super) supported: Vec<AlgId>,
    /// Items in a batch at most: as configured, no more than the device's best, halved when it had no memory for one.
    pub(super) items_max: usize,
    /// When it is thought to be done with what it has.
    pub(super) busy_until: Option<Instant>,
    /// What another thread found against it: it is to be quarantined.
    pub(super) condemned: Option<DeviceFault>,
    /// Whether there is no thread for it any more.
    pub(super) ended: bool,
}

pub(super) struct State {
    pub(super) queue: Queue<Job>,
    pub(super) suspects: Suspects,
    pub(super) stats: VerifyStats,
    pub(super) cost: CostModel,
    pub(super) flights: Flights,
    pub(super) audits: AuditBacklog,
    pub(super) device: DeviceView,
    pub(super) cpu_busy_until: Option<Instant>,
    /// When each worker, if it waits, wakes by itself.
    pub(super) cpu_asleep: Option<Option<Instant>>,
    pub(super) device_asleep: Option<Option<Instant>>,
    pub(super) stopping: bool,
    placement: Placement,
    cpu_items_max: usize,
}

/// Who is to have what could go to the device, at one moment.
#[derive(Clone, Copy)]
struct Assignment {
    serving: bool,
    to_device: bool,
    placement: Placement,
    now: Instant,
    /// When the device would be done with all that waits for it, as far as it fits into a batch.
    device_done: Instant,
}

impl State {
    pub(super) fn new(config: &VerifierConfig) -> Self {
        let limits = Limits {
            batch_items_max: config.batch_items_max.max(1),
            linger: Duration::from_micros(config.linger_us.into()),
            queue_items_max: config.queue_items_max,
        };
        Self {
            queue: Queue::new(limits),
            suspects: Suspects::default(),
            stats: VerifyStats::default(),
            cost: CostModel::new(),
            flights: Flights::default(),
            audits: AuditBacklog::new(config.device.trust.audit_items_max),
            device: DeviceView {
                state: DeviceState::Absent,
                supported: Vec::new(),
                items_max: config.device.batch_items_max.max(1),
                busy_until: None,
                condemned: None,
                ended: true,
            },
            cpu_busy_until: None,
            cpu_asleep: None,
            device_asleep: None,
            stopping: false,
            placement: config.device.placement,
            cpu_items_max: limits.batch_items_max,
        }
    }

    /// Whether the device takes these algorithms.
    pub(super) fn device_takes(&self, load: &Load) -> bool {
        self.is_serving() && load.parts().all(|(_, alg, _)| self.device.supported.contains(&alg))
    }

    pub(super) fn is_serving(&self) -> bool {
        self.device.state == DeviceState::Serving && self.device.condemned.is_none()
    }

    /// How long the device is busy with what it has and with what waits for it; `None` while it does not serve.
    pub(super) fn device_backlog(&self, now: Instant) -> Option<Duration> {
        let waiting = self.cost.predict(Side::Device, &self.queue.for_device()).filter(|_| self.is_serving())?;
        let busy = self.device.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        Some(busy + waiting)
    }

    /// The batch that the CPU is to verify now, and whether the device was to have it.
    pub(super) fn close_for_cpu(&mut self, now: Instant) -> Option<(Closed<Job>, bool)> {
        let assignment = self.assignment(now);
        let (cost, items_max) = (&self.cost, self.cpu_items_max);
        let closed = self.queue.close_where(now, |lot| assignment.cpu_may_take(lot, cost, items_max))?;
        let load = load_of(&closed);
        self.cpu_busy_until = cost.predict(Side::Cpu, &load).map(|takes| now + takes);
        let stolen = assignment.to_device && closed.jobs.iter().all(|waiting| waiting.device);
        self.stats.device.stolen_items += if stolen { load.items() as u64 } else { 0 };
        Some((closed, stolen))
    }

    /// The batch that the device is to verify now. While it works on another, a batch waits until it has `full` items or
    /// can linger no longer.
    pub(super) fn close_for_device(&mut self, now: Instant, idle: bool, items_best: usize) -> Option<Closed<Job>> {
        let assignment = self.assignment(now);
        let full = if idle { self.cpu_items_max } else { items_best }.min(self.device.items_max);
        let closed =
            self.queue.close_for_device(now, full, self.device.items_max, |lot| assignment.device_may_take(lot))?;
        let takes = self.cost.predict(Side::Device, &load_of(&closed)).unwrap_or_default();
        self.device.busy_until = Some(self.device.busy_until.map_or(now, |until| until.max(now)) + takes);
        Some(closed)
    }

    /// When a worker that has found nothing is to look again.
    pub(super) fn next_look(&self, now: Instant) -> Option<Instant> {
        self.queue.next_close().map(|next| if next <= now { now + LOOK_AGAIN } else { next })
    }

    /// Which workers sleep longer than they should, now that a job has come in: the CPU's and the device's.
    pub(super) fn sleepers(&mut self, now: Instant) -> (bool, bool) {
        let next = self.queue.next_close();
        let too_long = |asleep: Option<Option<Instant>>, slack: Duration| match (asleep, next) {
            (Some(Some(until)), Some(next)) => next + slack < until && now + slack < until,
            (Some(None), _) => true,
            _ => false,
        };
        let device = self.device_asleep.is_some() && self.is_serving() && {
            let assignment = self.assignment(now);
            (assignment.to_device || !self.suspects.is_empty()) && too_long(self.device_asleep, Duration::ZERO)
        };
        let slack = if self.is_serving() { LOOK_AGAIN } else { Duration::ZERO };
        (too_long(self.cpu_asleep, slack), device)
    }

    /// Quarantines the device and gives what it had to the CPU.
    pub(super) fn condemn(&mut self, now: Instant, fault: DeviceFault) {
        self.device.condemned = Some(fault);
        self.give_up_flights(now);
    }

    /// Gives everything that the device had to the CPU.
    pub(super) fn give_up_flights(&mut self, now: Instant) {
        let jobs: Vec<Waiting<Job>> =
            self.flights.take_all().into_iter().flat_map(super::flights::Flight::into_jobs).collect();
        self.give_back(now, jobs);
        self.device.busy_until = None;
    }

    /// Gives jobs of the device to the CPU.
    pub(super) fn give_back(&mut self, now: Instant, jobs: Vec<Waiting<Job>>) {
        self.stats.device.given_back_items += jobs.iter().map(|waiting| waiting.items as u64).sum::<u64>();
        self.queue.give_back(now, jobs);
    }

    fn assignment(&mut self, now: Instant) -> Assignment {
        let (serving, waiting) = (self.is_serving(), self.queue.for_device());
        let load = waiting.capped(self.device.items_max);
        let cpu_busy = self.cpu_busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        let to_device = serving
            && load.items() > 0
            && (self.placement == Placement::Device || self.cost.prefers_device(&load, cpu_busy));
        let free = self.device.busy_until.map_or(now, |until| until.max(now));
        let device_done = free + self.cost.predict(Side::Device, &load).unwrap_or_default();
        Assignment { serving, to_device, placement: self.placement, now, device_done }
    }
}

impl Assignment {
    /// The CPU takes what is its own, and what the device would be late with if the CPU is done sooner.
    fn cpu_may_take(&self, lot: &Lot, cost: &CostModel, items_max: usize) -> bool {
        if !lot.device || !self.serving {
            return true;
        }
        // Those whose signatures failed buy no time of the CPU.
        if lot.suspect || self.placement == Placement::Device {
            return false;
        }
        let cpu_done = || cost.predict(Side::Cpu, &lot.load.capped(items_max)).map(|takes| self.now + takes);
        !self.to_device || (self.device_done > lot.due && cpu_done().is_some_and(|done| done < self.device_done))
    }

    fn device_may_take(&self, lot: &Lot) -> bool {
        self.serving && (self.to_device || lot.suspect)
    }
}

fn load_of(closed: &Closed<Job>) -> Load {
    let mut load = Load::default();
    closed.jobs.iter().for_each(|waiting| load.add(&waiting.load));
    load
}

#[cfg(test)]
mod tests;
