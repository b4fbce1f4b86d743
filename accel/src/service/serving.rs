//! A device at work: batches go to it while it has a free slot, and its answers are reviewed and handed out. Any fault ends
//! it; the jobs of what was in flight are in [`super::flights`].

use super::config::DeviceConfig;
use super::cost::Side;
use super::flights::Flight;
use super::quarantine::Quarantine;
use super::state::Shared;
use super::{Job, answer};
use crate::closing::{Closed, Load, Waiting};
use crate::device::Ticket;
use crate::engine::DeviceFault;
use crate::trust::{Guarded, Laden, Part, Reviewed, Trust};
use crate::verdicts::Verdicts;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the device is waited for at a time, while it has a free slot for what may come in, and while it has not.
const LOOK: Duration = Duration::from_micros(500);
const LOOK_WHILE_FULL: Duration = Duration::from_millis(20);
/// Times of what a batch was thought to take, before it is given up.
const PATIENCE: u32 = 10;

pub(super) struct Serving<'a> {
    shared: &'a Shared,
    config: &'a DeviceConfig,
    device: &'a mut Guarded,
    trust: &'a mut Trust,
    quarantine: &'a mut Quarantine,
    aboard: Vec<Aboard>,
    /// When the last batch came back.
    landed: Option<Instant>,
}

/// What this thread knows of a flight.
struct Aboard {
    flight: u64,
    ticket: Ticket,
    laden: Arc<Laden>,
    parts: Vec<Part>,
    submitted: Instant,
    give_up_at: Instant,
}

enum Step {
    Take(Closed<Job>),
    Wait(Duration),
    Stop,
}

impl<'a> Serving<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        config: &'a DeviceConfig,
        device: &'a mut Guarded,
        trust: &'a mut Trust,
        quarantine: &'a mut Quarantine,
    ) -> Self {
        Self { shared, config, device, trust, quarantine, aboard: Vec::new(), landed: None }
    }

    /// Serves until the service stops.
    ///
    /// # Errors
    /// The fault that ended it.
    pub(super) fn run(mut self) -> Result<(), DeviceFault> {
        loop {
            match self.next()? {
                Step::Stop => return Ok(()),
                Step::Take(closed) => self.send(closed)?,
                Step::Wait(timeout) => match self.device.wait(timeout)? {
                    Some((ticket, verdicts)) => self.land(ticket, &verdicts)?,
                    None => self.look_for_overdue()?,
                },
            }
        }
    }

    fn next(&self) -> Result<Step, DeviceFault> {
        let (idle, full) = (self.aboard.is_empty(), self.aboard.len() >= self.device.slots());
        let mut state = self.shared.lock();
        loop {
            if state.stopping {
                return Ok(Step::Stop);
            }
            if let Some(fault) = state.device.condemned {
                return Err(fault);
            }
            let now = Instant::now();
            if full {
                return Ok(Step::Wait(LOOK_WHILE_FULL));
            }
            if let Some(closed) = state.close_for_device(now, idle, self.device.items_best()) {
                // What is left may be too little for the device.
                let left = state.queue.items() > 0 && state.cpu_asleep.is_some();
                drop(state);
                if left {
                    self.shared.cpu.notify_one();
                }
                return Ok(Step::Take(closed));
            }
            if !idle {
                return Ok(Step::Wait(LOOK));
            }
            let until = state.next_look(now);
            state.device_asleep = Some(until);
            state = self.shared.sleep(&self.shared.device, state, until);
            state.device_asleep = None;
        }
    }

    fn send(&mut self, closed: Closed<Job>) -> Result<(), DeviceFault> {
        let (mut items, mut load) = (Vec::new(), Load::default());
        let mut jobs: Vec<(Waiting<Job>, Range<usize>)> = Vec::with_capacity(closed.jobs.len());
        for mut waiting in closed.jobs {
            let start = items.len();
            load.add(&waiting.load);
            if items.is_empty() {
                items = std::mem::take(&mut waiting.job.items);
            } else {
                items.append(&mut waiting.job.items);
            }
            jobs.push((waiting, start..items.len()));
        }
        let part =
            |(waiting, range): &(Waiting<Job>, Range<usize>)| Part { origin: waiting.origin, range: range.clone() };
        let parts = jobs.iter().map(part).collect();
        let laden = Arc::new(self.trust.lade(items));
        let timeout = Duration::from_millis(self.config.timeout_ms.into());
        let submitted = Instant::now();
        let mut state = self.shared.lock();
        // Behind what is in flight already, which is in `busy_until`.
        let thought =
            state.device.busy_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(submitted));
        let give_up_at = submitted + timeout + thought * PATIENCE;
        let rescue_at = give_up_at + timeout;
        let flight = Flight { laden: Arc::clone(&laden), jobs, load, rescue_at };
        let flight = state.flights.insert(flight);
        // The CPU's worker is the one that rescues: it must not sleep beyond that.
        let rescuer_sleeps = state.cpu_asleep.is_some_and(|until| until.is_none_or(|until| until > rescue_at));
        drop(state);
        if rescuer_sleeps {
            self.shared.cpu.notify_one();
        }
        let ticket = self.device.submit(laden.batch())?;
        self.aboard.push(Aboard { flight, ticket, laden, parts, submitted, give_up_at });
        Ok(())
    }

    fn land(&mut self, ticket: Ticket, verdicts: &Verdicts) -> Result<(), DeviceFault> {
        let place = self.aboard.iter().position(|aboard| aboard.ticket == ticket).ok_or(DeviceFault::WrongAnswer)?;
        let Aboard { flight, laden, parts, submitted, .. } = self.aboard.swap_remove(place);
        let now = Instant::now();
        // Batches of a device overlap: each is charged from when the one before it was done.
        let took = now - self.landed.map_or(submitted, |landed| landed.max(submitted));
        self.landed = Some(now);
        let reviewed = self.trust.review(&laden, verdicts, &parts, now)?;
        self.quarantine.good();
        self.settle(flight, reviewed, took, now - submitted);
        Ok(())
    }

    /// Hands verdicts out that were found good.
    fn settle(&mut self, flight: u64, reviewed: Reviewed, took: Duration, since: Duration) {
        let Reviewed { verdicts, deferred } = reviewed;
        let mut guard = self.shared.lock();
        let state = &mut *guard;
        state.stats.device.trust = self.trust.counts();
        // Where it was rescued meanwhile, somebody else answers.
        let Some(Flight { laden, jobs, load, .. }) = state.flights.remove(flight) else { return };
        state.cost.observe(Side::Device, &load, took);
        if self.aboard.is_empty() {
            state.device.busy_until = None;
        }
        let now = Instant::now();
        let (mut answers, mut back) = (Vec::with_capacity(jobs.len()), Vec::new());
        let (mut items, mut invalid) = (0, 0);
        for (index, (mut waiting, range)) in jobs.into_iter().enumerate() {
            if deferred.binary_search(&index).is_ok() {
                // Too many rejects to confirm at once: one by one, behind everybody else.
                waiting.job.items = laden.copies(range);
                waiting.suspect = true;
                state.suspects.mark(waiting.origin, now);
                back.push(waiting);
                continue;
            }
            let part = verdicts.slice(range);
            (items, invalid) = (items + part.len(), invalid + part.len() - part.valid_count());
            if !part.all_valid() {
                state.suspects.mark(waiting.origin, now);
            }
            answers.push((waiting.job.done, part));
        }
        let run_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        state.stats.count_batch(true, items, invalid, run_ns);
        if self.config.trust.audit && deferred.is_empty() {
            state.stats.device.audit_skipped += state.audits.push(laden, &verdicts) as u64;
        }
        let for_cpu = !back.is_empty() || self.config.trust.audit;
        state.give_back(now, back);
        drop(guard);
        if for_cpu {
            self.shared.cpu.notify_one();
        }
        answers.into_iter().for_each(|(done, verdicts)| answer(done, Ok(verdicts)));
    }

    fn look_for_overdue(&self) -> Result<(), DeviceFault> {
        let now = Instant::now();
        match self.aboard.iter().find(|aboard| aboard.give_up_at <= now) {
            Some(overdue) => {
                let waited_ms = u32::try_from((now - overdue.submitted).as_millis()).unwrap_or(u32::MAX);
                Err(DeviceFault::TimedOut { waited_ms })
            }
            None => Ok(()),
        }
    }
}
