//! A simulated log, state and sign-once guard. What is not synced is lost in a crash, from a random place on.

use crate::checkpoint::Checkpoint;
use crate::recovery::Recovered;
use crate::sim::rng::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{BlockHeader, BlockRef, CommitRecord, Digest, Height, Round};

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Proposed(Arc<BlockHeader>),
    Signed(Arc<BlockHeader>),
    Accepted(Arc<BlockHeader>),
    Commit(CommitRecord, Box<Checkpoint>),
}

/// One node's persistent things.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    log: Vec<Record>,
    synced: usize,
    /// Highest commit that is synced: what clients may have been told of.
    durable: Height,
    checkpoint: Option<Checkpoint>,
    /// The one digest signed in each round; synced by itself.
    guard: BTreeMap<Round, Digest>,
    /// Everything accepted, by reference, for peers that ask for old blocks.
    headers: BTreeMap<BlockRef, Arc<BlockHeader>>,
    /// Position of each commit in the log; the first is of height 1.
    commits: Vec<usize>,
}

impl Disk {
    /// Appends; returns the length that a sync must reach.
    pub fn append(&mut self, record: Record) -> usize {
        match &record {
            Record::Accepted(header) => {
                self.headers.insert(header.block_ref(), header.clone());
            }
            Record::Commit(commit, _) if commit.height.0 as usize == self.commits.len() + 1 => {
                self.commits.push(self.log.len());
            }
            // Recovery emits commits above the checkpoint again; the log has them.
            Record::Commit(..) => return self.log.len(),
            Record::Proposed(_) | Record::Signed(_) => {}
        }
        self.log.push(record);
        self.log.len()
    }

    /// A sync that began at this length is through. One that is `ignored` answers all the same, and nothing is safe.
    pub fn sync(&mut self, length: usize, ignored: bool) {
        let length = length.min(self.log.len());
        if !ignored {
            self.synced = self.synced.max(length);
        }
        let durable = self.commits.partition_point(|position| *position < length);
        self.durable = self.durable.max(Height(durable as u64));
    }

    /// Stores the state behind the last durable commit.
    pub fn flush(&mut self) {
        if let Some(position) = (self.durable.0 as usize).checked_sub(1).and_then(|index| self.commits.get(index))
            && let Record::Commit(_, checkpoint) = &self.log[*position]
        {
            self.checkpoint = Some(Checkpoint::clone(checkpoint));
        }
    }

    /// Whether the guard signs this; it never signs another digest for a round.
    pub fn sign(&mut self, block: &BlockRef) -> bool {
        *self.guard.entry(block.round).or_insert(block.digest) == block.digest
    }

    /// The power goes.
    pub fn crash(&mut self, rng: &mut Rng) {
        let kept = rng.between(self.synced as u64, self.log.len() as u64) as usize;
        self.log.truncate(kept);
        self.synced = kept;
        self.commits.retain(|position| *position < kept);
        self.headers = self.accepted().map(|header| (header.block_ref(), header.clone())).collect();
    }

    /// What recovery finds, and the proposal that has to be signed again.
    pub fn recover(&self, gc_depth: u64) -> (Recovered, Option<Arc<BlockHeader>>) {
        let checkpoint = self.checkpoint.clone();
        let gc_round = checkpoint.as_ref().map_or(Round(0), |c| c.leader.round.saturating_sub(gc_depth));
        let mut commits = Vec::new();
        let (mut last_own, mut proposed): (Option<Arc<BlockHeader>>, Option<Arc<BlockHeader>>) = (None, None);
        for record in &self.log {
            match record {
                Record::Commit(commit, _) => {
                    // The log is trimmed as far as recovery allows, so that it is seen to allow it.
                    if commit.leader.round <= gc_round.next() {
                        commits.clear();
                    }
                    commits.push(commit.clone());
                }
                Record::Proposed(header) => proposed = Some(header.clone()),
                Record::Signed(header) => last_own = Some(header.clone()),
                Record::Accepted(_) => {}
            }
        }
        let headers = self.accepted().filter(|header| header.round() > gc_round).cloned().collect();
        let unsigned = proposed.filter(|header| last_own.as_ref().is_none_or(|own| own.round() < header.round()));
        let proposed_unsigned_round = unsigned.as_ref().map(|header| header.round());
        (Recovered { checkpoint, headers, commits, last_own, proposed_unsigned_round }, unsigned)
    }

    /// Commits from a height on, with their headers.
    pub fn commits_from(&self, height: Height, count: usize) -> Vec<(CommitRecord, Vec<Arc<BlockHeader>>)> {
        let first = (height.0 as usize).saturating_sub(1).min(self.commits.len());
        let read = |position: &usize| match &self.log[*position] {
            Record::Commit(commit, _) => {
                let headers = commit.blocks.iter().filter_map(|block| self.headers.get(block).cloned()).collect();
                Some((commit.clone(), headers))
            }
            _ => None,
        };
        self.commits[first..].iter().take(count).filter_map(read).collect()
    }

    /// An accepted block, however old.
    pub fn header(&self, block: &BlockRef) -> Option<&Arc<BlockHeader>> {
        self.headers.get(block)
    }

    /// Whether the log holds this proposal.
    pub fn has_proposal(&self, block: &BlockRef) -> bool {
        let proposed = |record: &Record| matches!(record, Record::Proposed(header) if header.block_ref() == *block);
        self.log.iter().any(proposed)
    }

    /// Highest commit that no crash can take.
    pub fn durable(&self) -> Height {
        self.durable
    }

    /// Length of the log.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    fn accepted(&self) -> impl Iterator<Item = &Arc<BlockHeader>> {
        self.log.iter().filter_map(|record| match record {
            Record::Accepted(header) => Some(header),
            _ => None,
        })
    }
}
