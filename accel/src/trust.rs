//! Trust in a device: nothing that it says leaves before it was checked as far as this page says. What is caught is a
//! [`DeviceFault::WrongAnswer`]; what that leads to is the service's matter.
//!
//! - *Known answers* (`self_test`): after the device was opened, and after every reset, it must give the right verdict on
//!   honest, damaged and adversarial items of each algorithm that it says it takes. One wrong verdict fails all of it.
//! - *Canaries* (`canaries`): every batch carries items of known verdict, c = 2 + n/4096 (at most 16) valid and as many
//!   invalid ones for each algorithm with n items in it, at secret random positions, under keys drawn at each start. They are
//!   stripped from the verdicts.
//! - *Samples*: each accepted item is verified again on the CPU with probability 1/q, q being
//!   [`TrustConfig::sample_one_in`], before the verdicts of its batch leave.
//! - *Confirmations*: a reject that somebody is accountable for ([`Origin::Author`]) is verified again on the CPU before it
//!   leaves, within a budget of items a second. Where the budget does not cover the rejects of a job, the whole job goes to
//!   the CPU, as one of a suspect, behind all other work. A client's reject is checked only by chance and within a small
//!   budget of its own, so that a flood of bad signatures buys no CPU time: its transaction is just refused.
//! - *Audit* (`audit`, off by default): every accept is verified again on cores that idle, from a bounded backlog. By then
//!   the verdict has left: a mismatch is an alarm and a quarantine, not a correction.
//!
//! # What may slip through
//! A device that accepts each invalid item by itself with probability p passes the canaries of B batches of one algorithm
//! with probability (1 − p)^(Bc): one that always accepts is caught by the first batch, one that errs on one item in ten
//! within 1/e after five small batches, and by 22 with 99 %.
//!
//! Of m wrong accepts, whatever their cause and however they are spread, none is sampled with probability (1 − 1/q)^m ≤
//! e^(−m/q), because the samples are drawn after the device has spoken. Together: P(m wrong accepts go unseen) ≤
//! (1 − p)^(Bc) · (1 − 1/q)^m. Before the first is seen, q − 1 wrong accepts have left on average, and more than q·ln 1000
//! (7,074 for q = 1,024) in one case out of a thousand. This holds also for a device that tells canaries from other items,
//! so it is the bound that counts against a malicious one: a single targeted wrong accept is seen with probability 1/q
//! and no more. Who cannot live with that sets `sample_one_in = 1` (every accept is verified on the CPU first, and the
//! device saves nothing), runs the audit (it is seen, afterwards), or forbids the device.
//!
//! A wrong reject of an author's item never leaves. One of a client's leaves if no canary of its batch was rejected as
//! well; the client may send the transaction again.

mod adversarial;
mod audit;
mod budget;
mod canaries;
mod dice;
mod guarded;
mod known;
mod self_test;

pub(crate) use audit::{Audit, AuditBacklog};
pub(crate) use canaries::{Laden, canaries_max};
pub(crate) use guarded::Guarded;
pub(crate) use self_test::run_alone;

use self::budget::Budget;
use self::dice::Dice;
use self::known::Known;
use crate::closing::Origin;
use crate::cpu::{CpuEngine, CpuEngineError};
use crate::engine::{DeviceFault, Engine};
use crate::item::{Batch, Item, Path};
use crate::stats::TrustCounts;
use crate::verdicts::Verdicts;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use types::AlgId;

/// One reject of a client in so many is a candidate for a check.
const CLIENT_CHECK_ONE_IN: u32 = 16;
/// Decoded keys that the checks remember.
const CHECKER_KEYS: usize = 4096;

/// How much of what a device says is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustConfig {
    /// One accept in so many is verified again on the CPU before it leaves; 1 is all of them. Default 1,024.
    pub sample_one_in: u32,
    /// Rejects of authors' items that may be confirmed on the CPU a second. Default 2,000.
    pub confirmations_per_s: u32,
    /// Rejects of clients' items that may be checked on the CPU a second. Default 100.
    pub client_checks_per_s: u32,
    /// Whether every accept is verified again while the CPU idles. Default no.
    pub audit: bool,
    /// Accepts that may wait for their audit; more are let go and counted. About 250 bytes each. Default 262,144.
    pub audit_items_max: usize,
    /// Where chance comes from: `None` for the system. A seed makes canaries and samples predictable: for tests alone.
    pub seed: Option<[u8; 32]>,
}

impl Default for TrustConfig {
    fn default() -> Self {
        Self {
            sample_one_in: 1024,
            confirmations_per_s: 2_000,
            client_checks_per_s: 100,
            audit: false,
            audit_items_max: 262_144,
            seed: None,
        }
    }
}

/// Items of one origin in a batch, by their numbers.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) origin: Origin,
    pub(crate) range: Range<usize>,
}

/// What was found good in a device's answer.
#[derive(Debug)]
pub(crate) struct Reviewed {
    /// The verdicts of the items, without canaries.
    pub(crate) verdicts: Verdicts,
    /// Indices of the parts whose rejects could not be confirmed: their verdicts must not be used.
    pub(crate) deferred: Vec<usize>,
}

/// What checks a device's answers. Lives on the device's thread.
pub(crate) struct Trust {
    config: TrustConfig,
    known: Known,
    dice: Dice,
    checker: CpuEngine,
    confirmations: Budget,
    client_checks: Budget,
    counts: TrustCounts,
}

impl Trust {
    pub(crate) fn new(config: TrustConfig) -> Result<Self, CpuEngineError> {
        let mut dice = Dice::new(config.seed).map_err(CpuEngineError::Randomness)?;
        Ok(Self {
            config,
            known: Known::new(&mut dice),
            dice,
            checker: CpuEngine::new(1, CHECKER_KEYS)?,
            confirmations: Budget::new(config.confirmations_per_s),
            client_checks: Budget::new(config.client_checks_per_s),
            counts: TrustCounts::default(),
        })
    }

    /// The batch with canaries in it.
    pub(crate) fn lade(&mut self, items: Vec<Item>) -> Laden {
        Laden::new(items, Path::Together, &self.known, &mut self.dice)
    }

    /// The counts so far.
    pub(crate) fn counts(&self) -> TrustCounts {
        self.counts
    }

    /// Whether there are known items of an algorithm.
    pub(crate) fn knows(&self, alg: AlgId) -> bool {
        self.known.has(alg)
    }

    /// Valid items under as many keys, for measuring.
    pub(crate) fn fresh(&mut self, alg: AlgId, count: usize) -> Vec<Item> {
        known::fresh(alg, count, &mut self.dice)
    }

    /// The CPU engine of the checks, for measuring.
    pub(crate) fn checker(&mut self) -> &mut CpuEngine {
        &mut self.checker
    }

    /// Looks at a device's answer. The parts cover the items in order.
    ///
    /// # Errors
    /// [`DeviceFault::WrongAnswer`] where anything in it is wrong: then none of it may be used.
    pub(crate) fn review(
        &mut self,
        laden: &Laden,
        verdicts: &Verdicts,
        parts: &[Part],
        now: Instant,
    ) -> Result<Reviewed, DeviceFault> {
        if verdicts.len() != laden.batch().len() {
            return Err(DeviceFault::WrongAnswer);
        }
        self.counts.canaries += laden.canaries() as u64;
        let wrong = laden.wrong(verdicts);
        if wrong > 0 {
            self.counts.canaries_wrong += wrong as u64;
            return Err(DeviceFault::WrongAnswer);
        }
        let verdicts = laden.strip(verdicts);
        let samples = self.sample(&verdicts);
        let sampled = self.check(laden, &samples, true)?;
        self.counts.samples += samples.len() as u64;
        self.counts.samples_wrong += sampled as u64;

        let (mut owned, mut deferred, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        for (index, part) in parts.iter().enumerate() {
            let rejects = part.range.clone().filter(|number| !verdicts.get(*number));
            match part.origin {
                Origin::Author(_) => {
                    let rejects: Vec<usize> = rejects.collect();
                    if self.confirmations.take(rejects.len(), now) {
                        owned.extend(rejects);
                    } else {
                        deferred.push(index);
                    }
                }
                Origin::Client(_) => {
                    let drawn = rejects.filter(|_| self.dice.below(CLIENT_CHECK_ONE_IN as usize) == 0);
                    let drawn: Vec<usize> = drawn.collect();
                    clients.extend(drawn.into_iter().take_while(|_| self.client_checks.take(1, now)));
                }
            }
        }
        let confirmed = self.check(laden, &owned, false)?;
        self.counts.confirmations += owned.len() as u64;
        self.counts.confirmations_wrong += confirmed as u64;
        let checked = self.check(laden, &clients, false)?;
        self.counts.client_checks += clients.len() as u64;
        self.counts.client_checks_wrong += checked as u64;
        self.counts.deferred_jobs += deferred.len() as u64;
        if sampled + confirmed + checked > 0 {
            Err(DeviceFault::WrongAnswer)
        } else {
            Ok(Reviewed { verdicts, deferred })
        }
    }

    /// The numbers of accepts to look at, drawn after the device has spoken.
    fn sample(&mut self, verdicts: &Verdicts) -> Vec<usize> {
        let mut samples = Vec::new();
        let mut skip = self.dice.skip(self.config.sample_one_in);
        for number in (0..verdicts.len()).filter(|number| verdicts.get(*number)) {
            if skip == 0 {
                samples.push(number);
                skip = self.dice.skip(self.config.sample_one_in);
            } else {
                skip -= 1;
            }
        }
        samples
    }

    /// How many of these items the CPU disagrees on.
    fn check(&mut self, laden: &Laden, numbers: &[usize], expected: bool) -> Result<usize, DeviceFault> {
        if numbers.is_empty() {
            return Ok(0);
        }
        let path = if expected { Path::Together } else { Path::Singly };
        let verdicts = run(&mut self.checker, &Batch::new(laden.copies(numbers.iter().copied()), path))?;
        Ok(verdicts.iter().filter(|valid| *valid != expected).count())
    }
}

/// Runs an engine so that a panic is a fault, and so is a wrong number of verdicts.
pub(crate) fn run(engine: &mut dyn Engine, batch: &Batch) -> Result<Verdicts, DeviceFault> {
    // Engines keep only caches between batches; one that panicked may be asked again.
    let verdicts = catch_unwind(AssertUnwindSafe(|| engine.verify(batch))).unwrap_or(Err(DeviceFault::Panicked))?;
    if verdicts.len() == batch.len() { Ok(verdicts) } else { Err(DeviceFault::WrongAnswer) }
}

#[cfg(test)]
mod tests;
