//! Runs the operations of a commit over the shards: in line on the calling thread, or one worker a shard where the
//! commit is large enough to pay for it. Both give the same result, which is why the choice may be a local one.

mod mesh;
mod pool;
mod queues;
mod threads;

use crate::admission::{Action, Operation};
use crate::contracts::{self, View};
use crate::executed::Work;
use crate::lthash::LtHash;
use crate::rules;
use crate::shard::{Changed, NetChange, Shard};
use crate::state::{StateFault, StateReader};
use crate::value::Value;
use pool::Pool;
use std::num::NonZeroU16;
use std::sync::Arc;
use types::{Height, LedgerEvent, Reject, StateKey, TimestampMs, Transaction};

/// The commit that is executed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) height: Height,
    /// BFT time.
    pub(crate) time: TimestampMs,
}

/// What became of operations, by position, apart from those that were applied without a word.
#[derive(Debug, Default)]
struct Verdicts {
    rejects: Vec<(u32, Reject)>,
    events: Vec<(u32, Vec<LedgerEvent>)>,
}

/// What a commit did in one shard.
#[derive(Debug)]
struct Part {
    /// Of operations whose home is this shard.
    verdicts: Verdicts,
    change: NetChange,
}

/// What the operations of a commit did.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Positions of operations that were rejected; the others were applied.
    pub(crate) rejects: Vec<(u32, Reject)>,
    /// Positions of calls that were applied, rising, with their events.
    pub(crate) events: Vec<(u32, Vec<LedgerEvent>)>,
    /// Changed values, in rising order of keys; `None` where one was removed.
    pub(crate) values: Vec<(StateKey, Option<Value>)>,
    /// What those keys held before, in their order.
    pub(crate) before: Vec<Option<Value>>,
    /// Change to the sum behind the state digest.
    pub(crate) state: LtHash,
    pub(crate) work: Work,
}

impl Effects {
    /// From the parts of the shards.
    fn of(parts: impl IntoIterator<Item = Part>) -> Self {
        let (mut effects, mut changed) = (Self::default(), Vec::new());
        for Part { verdicts, change } in parts {
            effects.rejects.extend(verdicts.rejects);
            effects.events.extend(verdicts.events);
            changed.extend(change.values);
            effects.state.combine(&change.state);
            effects.work += change.work;
        }
        effects.events.sort_unstable_by_key(|(position, _)| *position);
        changed.sort_unstable_by_key(|change: &Changed| change.key);
        (effects.values, effects.before) =
            changed.into_iter().map(|Changed { key, before, now }| ((key, now), before)).unzip();
        effects
    }
}

/// All shards, and workers for them.
pub(crate) struct Engine {
    shards: Vec<Shard>,
    pool: Option<Pool>,
    /// Fewest operations that are worth waking the workers for.
    parallel_min: usize,
    reader: Arc<dyn StateReader>,
}

impl Engine {
    pub(crate) fn new(shards: Vec<Shard>, parallel_min: usize, reader: Arc<dyn StateReader>) -> Self {
        // Without threads everything runs in line: slower, and with the same result.
        let pool = if shards.len() > 1 { Pool::start(shards.len(), &reader).ok() } else { None };
        Self { shards, pool, parallel_min, reader }
    }

    pub(crate) fn persisted(&mut self, height: Height) {
        for shard in &mut self.shards {
            shard.persisted(height);
        }
    }

    /// Executes operations in their order, and does something else `meanwhile` where there are workers to wait for.
    /// On a fault no shard has changed.
    pub(crate) fn run<T>(
        &mut self,
        operations: Vec<Operation>,
        at: Moment,
        meanwhile: impl FnOnce() -> T,
    ) -> (Result<Effects, StateFault>, T) {
        let large = operations.len() >= self.parallel_min;
        match &mut self.pool {
            Some(pool) if large => {
                pool.start_commit(std::mem::take(&mut self.shards), operations, at);
                let other = meanwhile();
                let (shards, parts) = pool.finish_commit();
                self.shards = shards;
                (parts.map(Effects::of), other)
            }
            _ => {
                let other = meanwhile();
                (self.run_in_line(&operations, at), other)
            }
        }
    }

    fn run_in_line(&mut self, operations: &[Operation], at: Moment) -> Result<Effects, StateFault> {
        let shards = &mut self.shards;
        let count = u16::try_from(shards.len()).ok().and_then(NonZeroU16::new).expect("1 to 64 shards");
        shards.iter_mut().for_each(|shard| shard.begin());
        // The keys of all operations in their order.
        let mut places = Vec::with_capacity(2 * operations.len());
        for operation in operations {
            operation.for_each_key(count, |_, key, shard| {
                places.push(Place { shard, place: shards[usize::from(shard)].touch(&key) });
            });
        }
        let faults: Vec<_> = shards.iter_mut().filter_map(|shard| shard.load(&*self.reader).err()).collect();
        if let Some(fault) = faults.into_iter().next() {
            shards.iter_mut().for_each(|shard| shard.abandon());
            return Err(fault);
        }
        let (mut verdicts, mut rest) = (Verdicts::default(), &places[..]);
        for operation in operations {
            let verdict = match &operation.action {
                Action::Transfer { credit, .. } => {
                    let (keys, left) = rest.split_at(2);
                    rest = left;
                    rules::transfer(keys[0].account(shards), keys[1].account(shards), credit.amount).map(
                        |(debited, credited)| {
                            keys[0].set(shards, Some(debited.into()));
                            keys[1].set(shards, Some(credited.into()));
                        },
                    )
                }
                Action::Certify { .. } => {
                    let (keys, left) = rest.split_at(1);
                    rest = left;
                    rules::certify(keys[0].account(shards))
                }
                Action::Call(transaction) => {
                    let (keys, left) = rest.split_at(contracts::call(transaction).map_or(0, |call| call.access.len()));
                    rest = left;
                    call(transaction, at.time, keys, shards)
                        .map(|events| verdicts.events.push((operation.position, events)))
                }
            };
            if let Err(reject) = verdict {
                verdicts.rejects.push((operation.position, reject));
            }
        }
        let mut parts: Vec<Part> = shards
            .iter_mut()
            .map(|shard| Part { verdicts: Verdicts::default(), change: shard.settle(at.height) })
            .collect();
        parts.first_mut().expect("there is a shard").verdicts = verdicts;
        Ok(Effects::of(parts))
    }
}

/// Where a key of an operation lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    shard: u16,
    place: u32,
}

impl Place {
    fn account(self, shards: &[Shard]) -> Option<crate::account::Account> {
        shards[usize::from(self.shard)].account(self.place)
    }

    fn value(self, shards: &[Shard]) -> Option<Value> {
        shards[usize::from(self.shard)].value(self.place).cloned()
    }

    fn set(self, shards: &mut [Shard], value: Option<Value>) {
        shards[usize::from(self.shard)].set(self.place, value);
    }
}

/// Runs a call on the values of its keys, which are at hand.
fn call(
    transaction: &Transaction,
    time: TimestampMs,
    keys: &[Place],
    shards: &mut [Shard],
) -> Result<Vec<LedgerEvent>, Reject> {
    let access = contracts::call(transaction).map_or(&[][..], |call| &call.access);
    let mut values: Vec<Option<Value>> = keys.iter().map(|key| key.value(shards)).collect();
    let events = contracts::run(transaction, time, &mut View::new(access, &mut values))?;
    for ((key, access), value) in keys.iter().zip(access).zip(values) {
        if access.write {
            key.set(shards, value);
        }
    }
    Ok(events)
}
