//! Commits on their way to execution: decided here, found in the log, or fetched from a peer with a certificate.

use crate::execution::{CommitBlock, Job, Order};
use crate::records;
use crate::replica::certificates::Certificates;
use crate::replica::commit_sync::Standing;
use crate::replica::contents::Contents;
use crate::replica::driver::{Loop, Replica};
use crate::replica::event::{CertifiedCommit, Failure, ReceivedPayload};
use crate::status::State;
use crate::tables::BlockPlace;
use consensus::{Checkpoint, Input};
use std::sync::Arc;
use std::time::{Duration, Instant};
use types::{BlockHeader, BlockRef, CommitRecord, Height};

/// Commits that this node may be behind before it fetches commits instead of blocks.
const CATCH_UP_LAG: u64 = 48;
/// Commits behind at which it is content to go on with blocks.
const CAUGHT_UP_LAG: u64 = 8;
/// The core says every half second that others are out of reach, while they are.
const LAGGING_SAID_MAX: Duration = Duration::from_millis(1_500);
/// After so long without a fetched commit, blocks are asked for again: there may be no certificates to fetch.
const ADOPTION_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Votes for a height come within so many commits of it, or not at all.
const MISSED_VOTES_HEIGHTS: u64 = 1024;
/// Rounds below the last leader for which committed payloads stay in memory.
const PAYLOAD_ROUNDS: u64 = 64;
/// Heights whose way to their certificate is timed at a time.
const TIMED_HEIGHTS_MAX: usize = 4096;

impl Replica {
    pub(super) fn commit(
        &mut self,
        record: CommitRecord,
        headers: &[Arc<BlockHeader>],
        checkpoint: Checkpoint,
        last_of_epoch: bool,
        state: &mut Loop,
    ) -> Result<(), Failure> {
        if state.halted {
            return Ok(());
        }
        let (height, leader) = (record.height, record.leader.round);
        self.tip = (height, record.digest());
        let verdicts = self.replayed.remove(&height);
        let mut blocks = Vec::with_capacity(headers.len());
        let mut first = 0;
        for header in headers {
            let block = self.commit_block(header)?;
            if let Some(verdicts) = &verdicts {
                let count = block.contents.transactions().len();
                block.contents.settle((first..first + count).map(|index| records::verdict(verdicts, index)).collect());
                first += count;
            } else {
                // Blocks that were fetched or read back; the others are being verified since they came.
                self.verify(Arc::clone(&block.contents), block.block);
            }
            blocks.push(block);
        }
        state.ordered_at.insert(height, Instant::now());
        if state.ordered_at.len() > TIMED_HEIGHTS_MAX {
            state.ordered_at.pop_first();
        }
        // What this very commit leaves behind, not what the core has reached since.
        let gc_round = leader.saturating_sub(self.checker.parameters.gc_depth_rounds);
        let replay_from = self.segments.collect(gc_round);
        let (checkpoint, logged) = (Some(checkpoint), verdicts.is_some());
        let job = Job { record, blocks, checkpoint, last_of_epoch, replay_from, logged };
        drop(self.execution.send(Order::Commit(Box::new(job))));
        // Own blocks below garbage collection stay a little longer, until the core has said that they are dropped.
        self.blocks.collect(gc_round.saturating_sub(PAYLOAD_ROUNDS), leader.saturating_sub(PAYLOAD_ROUNDS));
        Ok(())
    }

    /// A block on its way to execution. One that was recovered is read back from the log.
    pub(super) fn commit_block(&mut self, header: &Arc<BlockHeader>) -> Result<CommitBlock, Failure> {
        let block = header.block_ref();
        let missing = |what: &str| Failure::State(format!("block {block} is committed, but {what}"));
        if self.blocks.entry(&block).is_none_or(|entry| entry.position.is_none()) {
            return Err(missing("it is not in the log"));
        }
        let chain = self.checker.chain;
        let entry = self.blocks.entry_mut(&block).ok_or_else(|| missing("it is gone"))?;
        let position = entry.position.ok_or_else(|| missing("it is not in the log"))?;
        entry.committed = true;
        let contents = match entry.contents.take() {
            Some(contents) => contents,
            None => {
                let payload = self.archive.payload_at(position).map_err(|error| Failure::State(error.to_string()))?;
                Arc::new(Contents::parse(&chain, &payload))
            }
        };
        let origins = std::mem::take(&mut entry.origins);
        Ok(CommitBlock { block, contents, origins, place: BlockPlace { block: position, signed: entry.signed } })
    }

    /// Commits that peers sent and a certificate proves: logged and applied as if they had been decided here.
    pub(super) fn adopt(&mut self, commits: Vec<CertifiedCommit>, state: &mut Loop) {
        for commit in commits {
            let CertifiedCommit { record, header: proven, blocks } = commit;
            let height = record.height;
            if state.halted || height <= self.tip.0 {
                continue;
            }
            if height == self.tip.0.next() && record.previous != self.tip.1 {
                return self.halt(self.tip.0, self.tip.1, record.previous, state);
            }
            if height > state.executed {
                self.proven.insert(height, proven);
            }
            let mut headers = Vec::with_capacity(blocks.len());
            for (header, received) in blocks {
                if let Err(failure) = self.keep_fetched(&header, received) {
                    return tracing::error!(%failure, "a fetched block could not be logged");
                }
                self.count_missed_votes(&header, height, state);
                headers.push(header);
            }
            self.step(Input::Adopt { record, headers });
            if let Err(failure) = self.carry_out(state) {
                tracing::error!(%failure, "a fetched commit could not be applied");
                return;
            }
            state.lag.adopted = Some(Instant::now());
        }
    }

    /// A block of a fetched commit goes to the log, unless it is there.
    fn keep_fetched(&mut self, header: &Arc<BlockHeader>, received: ReceivedPayload) -> Result<(), Failure> {
        let (block, payload) = (header.block_ref(), received.payload.clone());
        self.blocks.put_header(Arc::clone(header));
        self.blocks.put_payload(received);
        if self.blocks.entry(&block).is_some_and(|entry| entry.position.is_some()) {
            return Ok(());
        }
        let position = self.log_block(header, &payload)?;
        if let Some(entry) = self.blocks.entry_mut(&block) {
            entry.position = Some(position);
        }
        Ok(())
    }

    /// Votes in fetched blocks make the certificates of the heights that this node missed, so that it can prove them to
    /// clients and serve them to others.
    fn count_missed_votes(&mut self, header: &Arc<BlockHeader>, adopted: Height, state: &mut Loop) {
        let committee = &self.checker.committee;
        let missed = state.lag.votes.get_or_insert_with(|| Certificates::new(Arc::clone(committee), self.tip.0));
        for certificate in missed.count(header) {
            drop(self.execution.send(Order::Certified(Box::new(certificate))));
        }
        missed.certified_up_to(Height(adopted.0.saturating_sub(MISSED_VOTES_HEIGHTS)));
    }

    /// Whether fetched commits are coming in, so that blocks need not be asked for one by one.
    pub(super) fn is_catching_up(&self, state: &Loop) -> bool {
        let coming = state.lag.adopted.is_some_and(|at| at.elapsed() < ADOPTION_PAUSE_MAX);
        coming && state.lag.behind && self.certificates.credible_height().0 > self.tip.0.0 + CATCH_UP_LAG
    }

    /// Whether the core would not take a block in because it lies too far ahead.
    pub(super) fn is_out_of_reach(&self, block: &BlockRef) -> bool {
        let status = self.core.status();
        let reached = status.highest_round.max(status.round);
        block.round.0 > reached.0.saturating_add(self.checker.parameters.gc_depth_rounds)
    }

    /// Compares this node with the others, and tells commit sync and everybody who asks how it stands.
    pub(super) fn note_standing(&mut self, state: &mut Loop) {
        let target = self.certificates.credible_height();
        let gap = target.0.saturating_sub(self.tip.0.0);
        let out_of_reach = state.lag.said.is_some_and(|at| at.elapsed() < LAGGING_SAID_MAX);
        let lag = if state.lag.behind { CAUGHT_UP_LAG } else { CATCH_UP_LAG };
        let epoch_behind = self.is_epoch_behind(state);
        self.status.set_epoch_behind(epoch_behind);
        let behind = gap > lag || out_of_reach || epoch_behind;
        state.lag.behind = !state.halted && behind;
        if state.lag.behind {
            self.status.set_state(State::CatchingUp);
        } else if !state.halted {
            state.lag.votes = None;
            let linked = self.checker.committee.is_quorum(self.linked.iter().copied().chain([self.me]));
            let reclaiming = self.lost_disk.is_some().then(|| self.core.status().reclaiming).flatten();
            self.status.set_state(match reclaiming {
                _ if state.executed < state.replay_to => State::Starting,
                _ if !linked => State::NoQuorum,
                Some(reclaiming) => State::Reclaiming { waiting_for: reclaiming.waiting_for },
                None => State::Ready,
            });
        }
        let standing = Standing { behind: state.lag.behind, tip: self.tip.0, executed: state.executed, target };
        self.standing.send_if_modified(|told| {
            // While this node keeps up nobody waits for its heights.
            let news = *told != standing && (told.behind || standing.behind);
            if news {
                *told = standing;
            }
            news
        });
    }
}
