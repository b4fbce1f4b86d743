//! Who has marked the end of the epoch in committed blocks, and whether that ends it (CONSENSUS.md §2.11).
//!
//! Ordering does not wait for execution, so it does not ask whether a change was decided: the commit with which the
//! authors of marked blocks reach stake Q is the epoch's last. Marks of liars alone stay below Q, and Q has an honest
//! author, who marks when the decision is executed. Each author counts once, and once for good.

use std::collections::BTreeSet;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, Committee};

/// The authors of committed blocks with the mark.
#[derive(Clone, Debug)]
pub(crate) struct EpochEnd {
    committee: Arc<Committee>,
    marked: BTreeSet<AuthorityIndex>,
}

impl EpochEnd {
    /// Nobody so far.
    pub fn new(committee: Arc<Committee>) -> Self {
        Self { committee, marked: BTreeSet::new() }
    }

    /// As a checkpoint has them. `None` where one is not of the committee.
    pub fn restore(committee: Arc<Committee>, marked: &[AuthorityIndex]) -> Option<Self> {
        let known = marked.iter().all(|author| committee.authority(*author).is_some());
        known.then(|| Self { committee, marked: marked.iter().copied().collect() })
    }

    /// Takes in the blocks of a commit. Whether it is the last of the epoch.
    pub fn note(&mut self, headers: &[Arc<BlockHeader>]) -> bool {
        self.marked.extend(headers.iter().filter(|header| header.body().end_of_epoch).map(|header| header.author()));
        self.is_over()
    }

    /// Whether nothing more is committed in the epoch.
    pub fn is_over(&self) -> bool {
        self.committee.is_quorum(self.marked.iter().copied())
    }

    /// In rising order, as a checkpoint has them.
    pub fn marked(&self) -> Vec<AuthorityIndex> {
        self.marked.iter().copied().collect()
    }
}
