//! The last commits below a certified height, without payloads: from them consensus goes on (the schedule, the blocks
//! above garbage collection and which of them are committed). Fetched from the height downward, so that each record is
//! known by the one above it, and the highest by the ledger header.

use crate::replica::intake::{Checker, Refused};
use crate::wire::state::{CommitWithHeaders, parse_history_response};
use bytes::Bytes;
use consensus::Checkpoint;
use std::sync::Arc;
use types::{BlockHeader, CommitRecord, Digest, Height, LedgerHeader, Parameters, Round};

/// A commit with the headers of its blocks, in its order.
pub type Commit = (CommitRecord, Vec<Arc<BlockHeader>>);

/// What is known so far.
#[derive(Debug)]
pub struct History {
    /// From the highest down.
    commits: Vec<Commit>,
    /// Height and digest of the next record downward.
    next: (Height, Digest),
    /// The lowest height that the schedule needs.
    schedule: Height,
    gc_depth: u64,
    /// Height of the epoch's first commit.
    first: Height,
}

impl History {
    /// Nothing yet, below a certified header, in an epoch whose first commit has height `first`.
    pub fn below(header: &LedgerHeader, parameters: &Parameters, first: Height) -> Self {
        Self {
            commits: Vec::new(),
            next: (header.height, header.commit),
            schedule: Checkpoint::rebuilt_from(parameters, first, header.height),
            gc_depth: parameters.gc_depth_rounds,
            first,
        }
    }

    /// The heights to ask for, from the highest to the lowest; `None` when nothing is missing.
    pub fn wanted(&self) -> Option<(Height, Height)> {
        let (next, _) = self.next;
        let reaches_down = self
            .commits
            .last()
            .is_some_and(|(lowest, _)| lowest.height <= self.schedule && lowest.leader.round <= self.gc_round().next());
        let bottom = Height(next.0.saturating_sub(256).max(self.first.0));
        (!reaches_down && next >= self.first).then_some((next, bottom))
    }

    /// All commits at once: no fewer than are needed below a certified header, and no more.
    pub fn whole(
        header: &LedgerHeader,
        first: Height,
        checker: &Checker,
        commits: Vec<CommitWithHeaders>,
    ) -> Result<Vec<Commit>, Refused> {
        let count = commits.len();
        let mut history = Self::below(header, &checker.parameters, first);
        history.take_commits(checker, commits)?;
        if history.wanted().is_some() {
            return Err("history_too_short");
        }
        if history.commits.len() < count { Err("history_too_long") } else { Ok(history.into_commits()) }
    }

    /// Takes a peer's answer in, as far as it goes on downward. It has to bring at least one commit.
    pub fn take(&mut self, checker: &Checker, answer: &Bytes) -> Result<(), Refused> {
        let commits = parse_history_response(answer).map_err(|_| "undecodable_history")?;
        if commits.is_empty() {
            return Err("history_without_commits");
        }
        self.take_commits(checker, commits)
    }

    fn take_commits(&mut self, checker: &Checker, commits: Vec<CommitWithHeaders>) -> Result<(), Refused> {
        for CommitWithHeaders { record, headers } in commits {
            if self.wanted().is_none() {
                return Ok(());
            }
            if (record.height, record.digest()) != self.next {
                return Err("broken_history_chain");
            }
            if headers.len() != record.blocks.len() {
                return Err("history_without_headers");
            }
            let mut checked = Vec::with_capacity(headers.len());
            for (block, raw) in record.blocks.iter().zip(headers) {
                let header = checker.header(raw)?;
                if header.block_ref() != *block {
                    return Err("block_not_of_its_commit");
                }
                checked.push(header);
            }
            self.next = (Height(record.height.0.saturating_sub(1)), record.previous);
            self.commits.push((record, checked));
        }
        Ok(())
    }

    /// The commits in rising order.
    pub fn into_commits(mut self) -> Vec<Commit> {
        self.commits.reverse();
        self.commits
    }

    /// Rounds up to this one are garbage behind the certified height.
    fn gc_round(&self) -> Round {
        let leader = self.commits.first().map_or(Round(0), |(top, _)| top.leader.round);
        leader.saturating_sub(self.gc_depth)
    }
}

#[cfg(test)]
mod tests;
