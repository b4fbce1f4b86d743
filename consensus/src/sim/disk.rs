//! A simulated log, state and sign-once guard. In a crash, what is not synced is lost from a random place on, and the
//! record there is torn.
//!
//! Group commits happen at fixed times and are not events: what they had reached is worked out when the power goes.

use crate::checkpoint::Checkpoint;
use crate::recovery::Recovered;
use crate::sim::held::Held;
use crate::sim::rng::Rng;
use crate::sim::scenario::Devices;
use std::collections::BTreeMap;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Digest, Epoch, Height, Round};

/// A record of the log.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Proposed(Arc<BlockHeader>),
    Signed(Arc<BlockHeader>),
    Accepted(Arc<BlockHeader>),
    Commit(CommitRecord, Box<Checkpoint>),
    /// What follows is of this era, counted from 0.
    Era(usize),
}

/// One node's persistent things.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    /// With the time at which each record was appended, in microseconds.
    log: Vec<(u64, Record)>,
    /// Records that a sync of a proposal made durable.
    synced: usize,
    /// Syncs answer and do nothing.
    ignores_syncs: bool,
    /// Highest commit that was durable when the power went: what clients may have been told of.
    promised: Height,
    checkpoint: Option<Checkpoint>,
    /// It took the place of a lost one.
    replaces_lost: bool,
    /// The last epoch in which the lost one may have held own blocks, once that is known.
    lost_until: Option<Epoch>,
    /// The one digest signed in each round of an epoch; synced by itself.
    guard: BTreeMap<(Epoch, Round), Digest>,
    /// Everything accepted, for peers that ask for old blocks.
    headers: Held<Arc<BlockHeader>>,
    /// Position of each commit in the log, behind the base.
    commits: Vec<usize>,
    /// The height behind which the node began: that of a state which it was given, or 0.
    base: Height,
}

impl Disk {
    pub fn new(devices: &Devices) -> Self {
        Self { ignores_syncs: devices.ignore_syncs, ..Self::default() }
    }

    /// A new disk in place of a lost one, beside the same guard.
    pub fn emptied(devices: &Devices, lost: Self) -> Self {
        Self { guard: lost.guard, replaces_lost: true, ..Self::new(devices) }
    }

    /// The node was given the state at this height, with which an era begins: the log begins there, and what it held is
    /// gone.
    pub fn install(&mut self, now_us: u64, base: Height, era: usize) {
        (self.base, self.promised, self.checkpoint) = (base, base, None);
        self.commits.clear();
        self.log = vec![(now_us, Record::Era(era))];
        // The new log takes the old one's place as a whole.
        self.synced = self.log.len();
    }

    /// The height behind which the log begins.
    pub fn base(&self) -> Height {
        self.base
    }

    /// Appends; returns the length that a sync must reach.
    pub fn append(&mut self, now_us: u64, record: Record) -> usize {
        match &record {
            Record::Accepted(header) => self.headers.insert(header.block_ref(), header.clone()),
            Record::Commit(commit, _) if self.place_of(commit.height) == Some(self.commits.len()) => {
                self.commits.push(self.log.len());
            }
            // Recovery emits commits above the checkpoint again; the log has them.
            Record::Commit(..) => return self.log.len(),
            Record::Proposed(_) | Record::Signed(_) | Record::Era(_) => {}
        }
        self.log.push((now_us, record));
        self.log.len()
    }

    /// A sync that began at this length is through.
    pub fn sync(&mut self, length: usize) {
        if !self.ignores_syncs {
            self.synced = self.synced.max(length.min(self.log.len()));
        }
    }

    /// Whether the guard signs this; it never signs another digest for a round.
    pub fn sign(&mut self, header: &BlockHeader) -> bool {
        *self.guard.entry((header.epoch(), header.round())).or_insert(header.digest()) == header.digest()
    }

    /// The guard's file is lost with everything it remembers.
    pub fn lose_guard(&mut self) {
        self.guard.clear();
    }

    /// The power goes. Returns whether everything in the log was kept.
    pub fn crash(&mut self, now_us: u64, devices: &Devices, rng: &mut Rng) -> bool {
        let group_us = devices.group_us.max(1);
        let boundary_us = now_us / group_us * group_us;
        let answered = self.log.partition_point(|(at, _)| *at < boundary_us).max(self.synced);
        self.promised = self.promised.max(self.height_within(answered));
        self.flush(boundary_us, devices, rng);
        let durable = if self.ignores_syncs { self.synced } else { answered };
        let kept = rng.between(durable as u64, self.log.len() as u64) as usize;
        let whole = kept == self.log.len();
        self.log.truncate(kept);
        self.synced = kept;
        self.commits.retain(|position| *position < kept);
        if !whole {
            self.headers = Held::default();
            let Self { log, headers, .. } = self;
            for header in log.iter().filter_map(|(_, record)| accepted(record)) {
                headers.insert(header.block_ref(), header.clone());
            }
        }
        whole
    }

    /// The era that the log ends in, if it says so.
    pub fn era(&self) -> Option<usize> {
        let era = |(_, record): &(u64, Record)| match record {
            Record::Era(era) => Some(*era),
            _ => None,
        };
        self.log.iter().rev().find_map(era)
    }

    /// Whether blocks may have been signed in an epoch that are not here: on a new disk as long as no own block of the
    /// epoch is, up to the last epoch that the node can have been in.
    pub fn own_blocks_lost(&self, epoch: Epoch) -> bool {
        let own = |(_, record): &(u64, Record)| matches!(record, Record::Signed(header) if header.epoch() == epoch);
        let in_question = self.lost_until.is_none_or(|last| epoch <= last);
        self.replaces_lost && in_question && !self.log.iter().any(own)
    }

    /// Peers have said how far the own chain went: no blocks were signed behind this epoch.
    pub fn reclaimed(&mut self, last: Epoch) {
        self.lost_until.get_or_insert(last);
    }

    /// What recovery finds of an epoch that goes on from a height, and the proposal that has to be signed again.
    pub fn recover(&self, gc_depth: u64, epoch: Epoch, from: Height) -> (Recovered, Option<Arc<BlockHeader>>) {
        let checkpoint = self.checkpoint.clone().filter(|checkpoint| checkpoint.height > from);
        let gc_round = checkpoint.as_ref().map_or(Round(0), |c| c.leader.round.saturating_sub(gc_depth));
        let mut commits = Vec::new();
        let (mut last_own, mut proposed): (Option<Arc<BlockHeader>>, Option<Arc<BlockHeader>>) = (None, None);
        for (_, record) in &self.log {
            match record {
                Record::Commit(commit, _) if commit.height <= from => {}
                Record::Commit(commit, _) => {
                    // The log is trimmed as far as recovery allows, so that it is seen to allow it.
                    if commit.leader.round <= gc_round.next() {
                        commits.clear();
                    }
                    commits.push(commit.clone());
                }
                Record::Proposed(header) if header.epoch() == epoch => proposed = Some(header.clone()),
                Record::Signed(header) if header.epoch() == epoch => last_own = Some(header.clone()),
                Record::Proposed(_) | Record::Signed(_) | Record::Accepted(_) | Record::Era(_) => {}
            }
        }
        let accepted = self.log.iter().filter_map(|(_, record)| accepted(record));
        let accepted = accepted.filter(|header| header.epoch() == epoch);
        let headers = accepted.filter(|header| header.round() > gc_round).cloned().collect();
        let unsigned = proposed.filter(|header| last_own.as_ref().is_none_or(|own| own.round() < header.round()));
        let proposed_unsigned_round = unsigned.as_ref().map(|header| header.round());
        let own_blocks_lost = self.own_blocks_lost(epoch);
        (
            Recovered {
                checkpoint,
                headers,
                commits,
                last_own,
                proposed_unsigned_round,
                own_blocks_lost,
                signed_up_to: None,
            },
            unsigned,
        )
    }

    /// Commits from a height on, with their headers.
    pub fn commits_from(&self, height: Height, count: usize) -> Vec<(CommitRecord, Vec<Arc<BlockHeader>>)> {
        let first = self.place_of(height).map_or(self.commits.len(), |place| place.min(self.commits.len()));
        let read = |position: &usize| match &self.log[*position].1 {
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

    /// The highest accepted block of an author in an epoch.
    pub fn highest_of(&self, author: AuthorityIndex, epoch: Epoch) -> Option<&Arc<BlockHeader>> {
        self.headers.highest_of(author, |header| header.epoch() == epoch)
    }

    /// The accepted blocks of a round of an epoch.
    pub fn row(&self, round: Round, epoch: Epoch) -> impl Iterator<Item = &Arc<BlockHeader>> {
        self.headers.row(round).filter(move |header| header.epoch() == epoch)
    }

    /// Whether the log holds this proposal.
    pub fn has_proposal(&self, block: &BlockRef) -> bool {
        let proposed = |record: &Record| matches!(record, Record::Proposed(header) if header.block_ref() == *block);
        self.log.iter().any(|(_, record)| proposed(record))
    }

    /// Highest commit that no crash so far may have taken.
    pub fn promised(&self) -> Height {
        self.promised
    }

    /// Length of the log.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Each group commit stores the state of the last durable commit with some chance; this draws the last one that
    /// did, from the end.
    fn flush(&mut self, boundary_us: u64, devices: &Devices, rng: &mut Rng) {
        if devices.flush_permille == 0 {
            return;
        }
        let mut at_us = boundary_us;
        while !rng.chance(devices.flush_permille) {
            match at_us.checked_sub(devices.group_us.max(1)) {
                Some(before) => at_us = before,
                None => return,
            }
        }
        let height = self.height_within(self.log.partition_point(|(at, _)| *at < at_us));
        if let Some(position) = self.place_of(height).and_then(|index| self.commits.get(index))
            && let Record::Commit(_, checkpoint) = &self.log[*position].1
            && self.checkpoint.as_ref().is_none_or(|older| older.height < checkpoint.height)
        {
            self.checkpoint = Some(Checkpoint::clone(checkpoint));
        }
    }

    /// The highest commit within the first records of the log.
    fn height_within(&self, length: usize) -> Height {
        Height(self.base.0 + self.commits.partition_point(|position| *position < length) as u64)
    }

    /// Which commit behind the base has a height.
    fn place_of(&self, height: Height) -> Option<usize> {
        height.0.checked_sub(self.base.0 + 1).map(|place| place as usize)
    }
}

fn accepted(record: &Record) -> Option<&Arc<BlockHeader>> {
    match record {
        Record::Accepted(header) => Some(header),
        _ => None,
    }
}
