//! From what the log and the state hold after a crash to a running core (CONSENSUS.md §2.10, §0.2).
//!
//! Invariant: the recovered core decides what the crashed one would have decided, and proposes nothing for a round that
//! was proposed before.

use crate::checkpoint::Checkpoint;
use crate::committer::Committer;
use crate::config::Config;
use crate::dag::Dag;
use crate::effect::{AdoptError, Effect};
use crate::engine::Core;
use crate::epoch_end::EpochEnd;
use crate::linearizer::Tip;
use crate::reclaim::Reclaim;
use crate::schedule::LeaderSchedule;
use std::collections::BTreeMap;
use std::sync::Arc;
use thiserror::Error;
use types::{BlockHeader, BlockRef, CommitRecord, Height, Round};

/// What the driver found on disk.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The newest checkpoint that is stored with the state; none at the start of an epoch.
    pub checkpoint: Option<Checkpoint>,
    /// Accepted headers of the epoch in the order of the log, at least all above the checkpoint's garbage collection round that are
    /// there. Duplicates and older ones are skipped.
    pub headers: Vec<Arc<BlockHeader>>,
    /// Every commit record of the epoch that was found, ascending, without gaps. They must reach down to the checkpoint's garbage collection
    /// round. Those above the checkpoint are adopted again and come out as [`Effect::Commit`].
    pub commits: Vec<CommitRecord>,
    /// The last own block that is durable and signed. Transactions of own blocks at or below the garbage collection
    /// round ([`Status::gc_round`](crate::Status) after recovery) that no commit took are the driver's to propose again:
    /// [`Effect::Dropped`] speaks of blocks that this core has held.
    pub last_own: Option<Arc<BlockHeader>>,
    /// A proposal that is durable and was not signed. The driver has the identical statement signed and answers with
    /// [`Input::Proposed`](crate::Input); until then nothing else is proposed.
    pub proposed_unsigned_round: Option<Round>,
    /// Own blocks were signed that are not here: the disk is a new one, or an old copy. Nothing is proposed until peers
    /// have said how far the own chain went ([`Effect::RequestHighest`]), or the operator says so
    /// ([`Input::AcceptLostDisk`](crate::Input)).
    pub own_blocks_lost: bool,
    /// The signer may have signed for rounds up to this one, whatever the disk says: own blocks are of higher ones.
    pub signed_up_to: Option<Round>,
}

/// Why a core cannot start from what was found. All of these mean a damaged disk or a wrong directory.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RecoverError {
    /// The checkpoint's schedule is not of this committee and these parameters.
    #[error("the checkpoint does not fit the committee or the parameters")]
    Schedule,
    /// Records are missing between two that are there, or do not chain.
    #[error("the commit records do not chain at height {0}")]
    CommitChain(Height),
    /// The record at the checkpoint's height differs from the checkpoint.
    #[error("the commit record at height {0} is not the checkpoint's")]
    CheckpointMismatch(Height),
    /// The records do not reach down to the blocks that could be committed twice.
    #[error("the log's first commit record, of height {first}, lies above garbage collection round {gc_round}")]
    CommitGap {
        /// Height of the first record that is there.
        first: Height,
        /// Rounds above this one need their records.
        gc_round: Round,
    },
    /// The header of a committed block is missing.
    #[error("commit {height} cannot be applied: {reason}")]
    Adopt {
        /// Height of the commit.
        height: Height,
        /// Why.
        reason: AdoptError,
    },
    /// A header that is not valid, or the last own block is another validator's.
    #[error("block {0} in the log is not valid")]
    InvalidHeader(BlockRef),
}

impl Core {
    /// A validator that goes on after a crash or a stop. Effects are carried out as those of [`Core::step`].
    ///
    /// # Errors
    /// [`RecoverError`].
    pub fn recover(
        config: Config,
        recovered: Recovered,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, RecoverError> {
        let mut core = Self::new(config, now_ms);
        let Recovered {
            checkpoint,
            headers,
            commits,
            last_own,
            proposed_unsigned_round,
            own_blocks_lost,
            signed_up_to,
        } = recovered;
        core.own_floor = signed_up_to.unwrap_or_default();
        core.reclaim = own_blocks_lost.then(|| Reclaim::new(core.config.me, core.config.committee.size(), now_ms));
        let height = checkpoint.as_ref().map_or(core.tip.height, |checkpoint| checkpoint.height);
        if let Some(checkpoint) = checkpoint {
            core.restore(checkpoint)?;
        }
        core.check_commits(&commits, height)?;
        core.restore_blocks(headers, &commits, now_ms, effects)?;
        for record in commits {
            let height = record.height;
            if core.epoch_end.is_over() {
                // The log went on in the next epoch before the state was lost.
                break;
            }
            if height > core.tip.height {
                core.adopt(record, Vec::new(), effects).map_err(|reason| RecoverError::Adopt { height, reason })?;
            }
        }
        core.restore_own(last_own, proposed_unsigned_round, now_ms, effects)?;
        core.drive(now_ms, effects);
        Ok(core)
    }

    fn restore(&mut self, checkpoint: Checkpoint) -> Result<(), RecoverError> {
        let Checkpoint { height, commit, leader, timestamp, schedule, marked } = checkpoint;
        self.schedule = LeaderSchedule::restore(&self.config, schedule).ok_or(RecoverError::Schedule)?;
        self.epoch_end = EpochEnd::restore(self.config.committee.clone(), &self.config.parameters, marked)
            .ok_or(RecoverError::Schedule)?;
        self.tip = Tip { height, commit, leader, timestamp };
        let committee = self.config.committee.clone();
        let gc_round = leader.round.saturating_sub(self.config.parameters.gc_depth_rounds);
        self.dag = Dag::new(committee.clone(), gc_round);
        self.committer = Committer::new(committee, self.thresholds, leader.round);
        Ok(())
    }

    /// Checks the chain of records, and that it reaches far enough down.
    fn check_commits(&self, commits: &[CommitRecord], height: Height) -> Result<(), RecoverError> {
        for pair in commits.windows(2) {
            let chained = pair[1].height == pair[0].height.next() && pair[1].previous == pair[0].digest();
            if !chained {
                return Err(RecoverError::CommitChain(pair[1].height));
            }
        }
        let taken: Vec<&CommitRecord> = commits.iter().take_while(|record| record.height <= height).collect();
        match taken.last() {
            Some(last) if last.height == height && last.digest() != self.tip.commit => {
                return Err(RecoverError::CheckpointMismatch(height));
            }
            Some(last) if last.height < height => return Err(RecoverError::CommitChain(height)),
            _ => {}
        }
        let (gc_round, start) = (self.dag.gc_round(), self.config.anchor.height);
        let reaches_down = match taken.first() {
            None => height == start,
            Some(first) => first.height == start.next() || first.leader.round <= gc_round.next(),
        };
        if !reaches_down {
            let first = taken.first().or(commits.first().as_ref()).map_or(height, |record| record.height);
            return Err(RecoverError::CommitGap { first, gc_round });
        }
        Ok(())
    }

    /// Puts logged blocks back. One that a commit has ordered goes in whatever its history, as when its commit was
    /// adopted: parts of it may have been garbage when the block was accepted, though they are not behind this older
    /// checkpoint, and all that stands on such a block must not crowd the table of waiting blocks.
    fn restore_blocks(
        &mut self,
        headers: Vec<Arc<BlockHeader>>,
        commits: &[CommitRecord],
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RecoverError> {
        let of_record = |record: &CommitRecord| -> Vec<(BlockRef, Height)> {
            record.blocks.iter().map(|block| (*block, record.height)).collect()
        };
        let ordered: BTreeMap<BlockRef, Height> = commits.iter().flat_map(of_record).collect();
        let mut fetched = Vec::new();
        for header in headers {
            let block = header.block_ref();
            self.validity.check(&header).map_err(|_| RecoverError::InvalidHeader(block))?;
            if self.dag.is_settled(&block) {
                continue;
            }
            let complete = header.ancestors().iter().all(|ancestor| self.dag.is_settled(ancestor));
            let height = ordered.get(&block);
            if complete || height.is_some() {
                self.enter_dag(header);
                if height.is_some_and(|height| *height <= self.tip.height)
                    && let Some(place) = self.dag.find(&block)
                {
                    self.dag.commit(place, true);
                }
            } else {
                fetched.push(header);
            }
        }
        for header in fetched {
            let block = header.block_ref();
            if !self.dag.is_settled(&block) && self.suspended.header(&block).is_none() {
                self.suspended.payload_ready(&block, true);
                self.receive(header, block.author, now_ms, effects);
            }
        }
        Ok(())
    }

    fn restore_own(
        &mut self,
        last_own: Option<Arc<BlockHeader>>,
        proposed_unsigned_round: Option<Round>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), RecoverError> {
        if let Some(header) = last_own {
            let block = header.block_ref();
            if self.validity.check(&header).is_err() || block.author != self.config.me {
                return Err(RecoverError::InvalidHeader(block));
            }
            if let Some(header) = self.take_own(header.clone(), now_ms, effects) {
                self.accept(header, effects);
            }
            self.own.extend(&mut self.dag, block);
            self.pacemaker.enter(block.round, now_ms);
            self.pacemaker.sent(now_ms, false);
            effects.push(Effect::Broadcast { header });
        }
        let last = self.own.last().round;
        self.outstanding = proposed_unsigned_round.filter(|round| *round > last);
        if let Some(round) = self.outstanding {
            self.pacemaker.enter(round, now_ms);
        }
        Ok(())
    }
}
