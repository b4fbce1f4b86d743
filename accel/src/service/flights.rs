//! Batches on the device. The jobs stay here, not on the device's thread: whoever takes a flight out answers for its jobs,
//! so that each is answered once whatever becomes of the device and of the thread that waits for it.

use super::Job;
use crate::closing::{Load, Waiting};
use crate::trust::Laden;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// A batch on the device.
pub(super) struct Flight {
    pub(super) laden: Arc<Laden>,
    /// The jobs, without their items, which are in the batch under these numbers.
    pub(super) jobs: Vec<(Waiting<Job>, Range<usize>)>,
    pub(super) load: Load,
    /// When another thread takes it away from a device thread that hangs.
    pub(super) rescue_at: Instant,
}

impl Flight {
    /// The jobs with their items again.
    pub(super) fn into_jobs(self) -> Vec<Waiting<Job>> {
        let laden = self.laden;
        let refill = |(mut waiting, range): (Waiting<Job>, Range<usize>)| {
            waiting.job.items = laden.copies(range);
            waiting
        };
        self.jobs.into_iter().map(refill).collect()
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Flights {
    flying: BTreeMap<u64, Flight>,
    next: u64,
}

impl Flights {
    /// Takes a flight in and names it.
    pub(super) fn insert(&mut self, flight: Flight) -> u64 {
        self.next += 1;
        self.flying.insert(self.next, flight);
        self.next
    }

    /// Takes one out; `None` if somebody else has.
    pub(super) fn remove(&mut self, id: u64) -> Option<Flight> {
        self.flying.remove(&id)
    }

    /// Takes all out, oldest first.
    pub(super) fn take_all(&mut self) -> Vec<Flight> {
        std::mem::take(&mut self.flying).into_values().collect()
    }

    /// When the first must be rescued.
    pub(super) fn rescue_at(&self) -> Option<Instant> {
        self.flying.values().map(|flight| flight.rescue_at).min()
    }
}
