//! Who has marked the end of the epoch in committed blocks, and whether that ends it (CONSENSUS.md §2.11).
//!
//! Ordering does not wait for execution, so it does not ask whether a change was decided: the commit with which the
//! authors of marked blocks reach stake Q is the epoch's last. Marks of liars alone stay below Q, and Q has an honest
//! author, who marks when the decision is executed.
//!
//! A mark counts for the commits of one schedule window, the one that orders it first. So the end, like the leader table,
//! is a function of the last commits, and a validator that rebuilds its checkpoint from those
//! ([`Checkpoint::rebuild`](crate::Checkpoint::rebuild)) knows of the same marks as one that saw them all. Honest
//! validators mark every block once they begin, so theirs do not run out.

use crate::counted::CountedAuthors;
use std::sync::Arc;
use types::{BlockHeader, Committee, Height, Parameters};

/// Commits for which a mark counts at least: the blocks of a quorum are spread over two.
const COMMITS_MIN: u64 = 2;

/// The marks that count.
#[derive(Clone, Debug)]
pub struct EpochEnd {
    committee: Arc<Committee>,
    /// For how many commits a mark counts.
    window: u64,
    marked: CountedAuthors,
}

impl EpochEnd {
    /// None so far.
    pub fn new(committee: Arc<Committee>, parameters: &Parameters) -> Self {
        Self { committee, window: window(parameters), marked: CountedAuthors::default() }
    }

    /// As a checkpoint has them. `None` where they are not of the committee and the parameters.
    pub fn restore(committee: Arc<Committee>, parameters: &Parameters, marked: CountedAuthors) -> Option<Self> {
        let window = window(parameters);
        marked.fits(&committee, window).then_some(Self { committee, window, marked })
    }

    /// The lowest height from which on commits give all marks that count behind `height`, in an epoch whose first commit
    /// has height `first`.
    pub fn follows_from(parameters: &Parameters, first: Height, height: Height) -> Height {
        Height((height.0 + 1).saturating_sub(window(parameters)).max(first.0))
    }

    /// Takes in the blocks of a commit. Whether it is the last of the epoch.
    pub fn note(&mut self, headers: &[Arc<BlockHeader>]) -> bool {
        let marks = headers.iter().filter(|header| header.body().end_of_epoch);
        self.marked.note(self.window, marks.map(|header| header.author()));
        self.is_over()
    }

    /// Whether nothing more is committed in the epoch.
    pub fn is_over(&self) -> bool {
        self.committee.is_quorum(self.marked.authors())
    }

    /// As a checkpoint has them.
    pub fn marked(&self) -> &CountedAuthors {
        &self.marked
    }
}

fn window(parameters: &Parameters) -> u64 {
    parameters.schedule_window_commits.max(COMMITS_MIN)
}
