//! Commits on their way to execution: decided here, found in the log, or fetched from a peer with a certificate.

use crate::execution::{CommitBlock, Job, Order};
use crate::records;
use crate::replica::catch_up;
use crate::replica::contents::Contents;
use crate::replica::driver::{Loop, Replica};
use crate::replica::event::{CertifiedCommit, Failure};
use crate::status::State;
use crate::tables::BlockPlace;
use crate::topology::EXECUTION_LAG_MAX;
use consensus::{Checkpoint, Input};
use std::sync::Arc;
use std::time::Instant;
use types::{BlockHeader, CommitRecord};

/// Commits that this node may be behind before it fetches commits instead of blocks.
const CATCH_UP_LAG: u64 = 48;
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
                self.verify(Arc::clone(&block.contents), header.author());
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
        let job = Job { record, blocks, checkpoint, replay_from, logged: verdicts.is_some() };
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

    /// Commits that a peer sent and a certificate proves: logged and applied as if they had been decided here.
    pub(super) fn adopt(&mut self, commits: Vec<CertifiedCommit>, state: &mut Loop) {
        for commit in commits {
            let mut headers = Vec::with_capacity(commit.blocks.len());
            for (header, received) in commit.blocks {
                let (block, payload) = (header.block_ref(), received.payload.clone());
                self.blocks.put_header(Arc::clone(&header));
                self.blocks.put_payload(received);
                let logged = self.blocks.entry(&block).is_some_and(|entry| entry.position.is_some());
                if !logged {
                    match self.log_block(&header, &payload) {
                        Ok(position) => {
                            if let Some(entry) = self.blocks.entry_mut(&block) {
                                entry.position = Some(position);
                            }
                        }
                        Err(failure) => return tracing::error!(%failure, "a fetched block could not be logged"),
                    }
                }
                headers.push(header);
            }
            self.step(Input::Adopt { record: commit.record, headers });
            if let Err(failure) = self.carry_out(state) {
                tracing::error!(%failure, "a fetched commit could not be applied");
                return;
            }
        }
    }

    pub(super) fn catch_up_if_behind(&mut self, state: &mut Loop) {
        let credible = self.certificates.credible_height();
        if credible.0 > self.tip.0.0 + CATCH_UP_LAG {
            self.catch_up(state);
        } else if !state.halted {
            let linked = self.checker.committee.is_quorum(self.linked.iter().copied().chain([self.me]));
            self.status.set_state(if linked { State::Ready } else { State::NoQuorum });
        }
    }

    pub(super) fn catch_up(&mut self, state: &mut Loop) {
        let early = state.catch_up_after.is_some_and(|after| Instant::now() < after);
        if state.catching_up || state.halted || early {
            return;
        }
        // Execution takes in what was fetched before more is.
        if self.tip.0.0 - state.executed.0 > EXECUTION_LAG_MAX {
            return;
        }
        state.catching_up = true;
        self.status.set_state(State::CatchingUp);
        let peers = self.outbox.peers_in_turn();
        let task = catch_up::run(self.outbox.mesh(), self.checker.clone(), peers, self.tip, self.facts.clone());
        self.outbox.spawn(task);
    }
}
