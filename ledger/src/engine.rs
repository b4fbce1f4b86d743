//! Runs the operations of a commit over the shards: in line on the calling thread, or one worker a shard where the
//! commit is large enough to pay for it. Both give the same result, which is why the choice may be a local one.

mod mesh;
mod pool;
mod queues;

use crate::account::Account;
use crate::admission::Operation;
use crate::executed::Work;
use crate::lthash::LtHash;
use crate::rules;
use crate::shard::Shard;
use crate::state::{StateFault, StateReader};
use pool::Pool;
use std::sync::Arc;
use types::{Address, Height, Reject};

/// What the operations of a commit did.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Positions of operations that were rejected; the others were applied.
    pub(crate) rejects: Vec<(u32, Reject)>,
    /// Changed accounts, in rising order of addresses.
    pub(crate) accounts: Vec<(Address, Account)>,
    /// Change to the sum behind the state digest.
    pub(crate) state: LtHash,
    pub(crate) work: Work,
}

impl Effects {
    fn take_in(&mut self, part: queues::Part) {
        self.rejects.extend(part.rejects);
        self.accounts.extend(part.change.accounts);
        self.state.combine(&part.change.state);
        self.work += part.change.work;
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
        height: Height,
        meanwhile: impl FnOnce() -> T,
    ) -> (Result<Effects, StateFault>, T) {
        let large = operations.len() >= self.parallel_min;
        match &mut self.pool {
            Some(pool) if large => {
                pool.start_commit(std::mem::take(&mut self.shards), operations, height);
                let other = meanwhile();
                let (shards, parts) = pool.finish_commit();
                self.shards = shards;
                let effects = parts.map(|parts| {
                    let mut effects = Effects::default();
                    parts.into_iter().for_each(|part| effects.take_in(part));
                    effects.accounts.sort_unstable_by_key(|(address, _)| *address);
                    effects
                });
                (effects, other)
            }
            _ => {
                let other = meanwhile();
                (self.run_in_line(&operations, height), other)
            }
        }
    }

    fn run_in_line(&mut self, operations: &[Operation], height: Height) -> Result<Effects, StateFault> {
        let shards = &mut self.shards;
        shards.iter_mut().for_each(|shard| shard.begin());
        let places: Vec<_> = operations
            .iter()
            .map(|operation| {
                let from = shards[usize::from(operation.sender_shard)].touch(&operation.sender);
                let to = operation.credit.map(|credit| shards[usize::from(credit.shard)].touch(&credit.receiver));
                (from, to)
            })
            .collect();
        let faults: Vec<_> = shards.iter_mut().filter_map(|shard| shard.load(&*self.reader).err()).collect();
        if let Some(fault) = faults.into_iter().next() {
            shards.iter_mut().for_each(|shard| shard.abandon());
            return Err(fault);
        }
        let mut effects = Effects::default();
        for (operation, (from, to)) in operations.iter().zip(places) {
            let sender = usize::from(operation.sender_shard);
            let verdict = match (operation.credit, to) {
                (Some(credit), Some(to)) => {
                    let receiver = usize::from(credit.shard);
                    let values = (shards[sender].value(from), shards[receiver].value(to));
                    rules::transfer(values.0, values.1, credit.amount).map(|(debited, credited)| {
                        shards[sender].set(from, debited);
                        shards[receiver].set(to, credited);
                    })
                }
                _ => rules::certify(shards[sender].value(from)),
            };
            if let Err(reject) = verdict {
                effects.rejects.push((operation.position, reject));
            }
        }
        for shard in shards {
            let change = shard.settle(height);
            effects.take_in(queues::Part { rejects: Vec::new(), change });
        }
        effects.accounts.sort_unstable_by_key(|(address, _)| *address);
        Ok(effects)
    }
}
