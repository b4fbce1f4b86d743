//! One simulated validator: a real [`Core`] with a driver around it that keeps the contract of [`Effect`](crate::Effect).

use crate::engine::Core;
use crate::sim::disk::Disk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Height};

/// One validator.
#[derive(Debug)]
pub(crate) struct Node {
    pub me: AuthorityIndex,
    /// None while it is down.
    pub core: Option<Core>,
    /// Counts starts, so that events of an earlier life are ignored.
    pub life: u64,
    pub disk: Disk,
    /// Payloads that are here.
    pub payloads: BTreeSet<BlockRef>,
    /// When each waiting transaction was submitted, in microseconds.
    pub waiting: Vec<u64>,
    /// Transactions of own blocks that no commit has taken.
    pub in_flight: BTreeMap<BlockRef, Vec<u64>>,
    /// A proposal that waits for disk or signer.
    pub proposal: Option<Arc<BlockHeader>>,
    /// Height of the last commit in this life.
    pub height: Height,
    /// When the timer event that is on its way fires.
    pub timer_us: Option<u64>,
    /// Makes blocks differ.
    pub nonce: u64,
    pub equivocator: bool,
    /// From submission to commit, in microseconds, of every committed transaction.
    pub latencies_us: Vec<u64>,
}

impl Node {
    pub fn new(me: AuthorityIndex, core: Core, equivocator: bool) -> Self {
        Self {
            me,
            core: Some(core),
            life: 0,
            disk: Disk::default(),
            payloads: BTreeSet::new(),
            waiting: Vec::new(),
            in_flight: BTreeMap::new(),
            proposal: None,
            height: Height(0),
            timer_us: None,
            nonce: 0,
            equivocator,
            latencies_us: Vec::new(),
        }
    }

    /// A commit took these blocks.
    pub fn settle(&mut self, blocks: &[BlockRef], now_us: u64) {
        for block in blocks.iter().filter(|block| block.author == self.me) {
            let submitted = self.in_flight.remove(block).unwrap_or_default();
            self.latencies_us.extend(submitted.into_iter().map(|at| now_us - at));
        }
    }

    /// An own block will never be committed: its transactions wait again.
    pub fn requeue(&mut self, block: &BlockRef) {
        self.waiting.extend(self.in_flight.remove(block).unwrap_or_default());
    }
}
