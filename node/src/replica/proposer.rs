//! Makes own blocks: takes transactions from the pool, adds votes for executed headers, and puts the statement together
//! that the signer will be asked for.

use crate::pool::{Pending, Pool};
use crate::records::Proposal;
use std::collections::VecDeque;
use std::sync::Arc;
use types::{
    AuthorityIndex, BlockBody, BlockHeader, BlockRef, ChainId, Epoch, Evidence, HeaderVote, Height, Parameters,
    Payload, Round, TimestampMs, block,
};

/// Votes that may wait for own blocks. More can only pile up while no block is made, and the oldest are then of no use.
const VOTES_WAITING_MAX: usize = 4096;

/// See the module.
pub struct Proposer {
    chain: ChainId,
    epoch: Epoch,
    me: AuthorityIndex,
    parameters: Parameters,
    pool: Arc<Pool>,
    votes: VecDeque<HeaderVote>,
    voted: Height,
}

/// A proposal with the payload that goes with it, and those transactions of the pool that expired on the way.
pub struct Draft {
    /// What will be logged and signed.
    pub proposal: Proposal,
    /// The payload.
    pub payload: Payload,
    /// Its transactions, in order, and whom to tell.
    pub pending: Vec<Pending>,
    /// Transactions that expired in the pool.
    pub expired: Vec<Pending>,
}

impl Proposer {
    /// Without votes that wait.
    pub fn new(chain: ChainId, epoch: Epoch, me: AuthorityIndex, parameters: Parameters, pool: Arc<Pool>) -> Self {
        Self { chain, epoch, me, parameters, pool, votes: VecDeque::new(), voted: Height(0) }
    }

    /// Own blocks made before a restart carry the votes up to this height.
    pub fn voted_up_to(&mut self, height: Height) {
        self.voted = self.voted.max(height);
    }

    /// Adds a vote for an executed header. Each height is voted for once.
    pub fn vote(&mut self, vote: HeaderVote) {
        if vote.height > self.voted {
            self.voted = vote.height;
            self.votes.push_back(vote);
            if self.votes.len() > VOTES_WAITING_MAX {
                self.votes.pop_front();
            }
        }
    }

    /// Makes the block of a round. With `transactions` off the block carries only ancestors and votes, as it does with
    /// `end_of_epoch` on, which marks it.
    pub fn draft(
        &mut self,
        round: Round,
        ancestors: Vec<BlockRef>,
        misbehaviour: Vec<Evidence>,
        timestamp: TimestampMs,
        transactions: bool,
        end_of_epoch: bool,
    ) -> Draft {
        let (pending, expired) = if transactions && !end_of_epoch {
            let (count, bytes) = (self.parameters.block_transactions_max, self.parameters.block_payload_bytes_max);
            self.pool.take(count as usize, bytes as usize, timestamp)
        } else {
            (Vec::new(), Vec::new())
        };
        let payload = Payload::build(pending.iter().map(|pending| pending.transaction.raw()));
        let votes: Vec<_> = self.votes.drain(..self.votes.len().min(block::VOTES_MAX)).collect();
        let (payload_said, lane_roots) = (payload.descriptor(), Vec::new());
        let body = BlockBody { ancestors, timestamp, payload: payload_said, lane_roots, misbehaviour, end_of_epoch };
        let statement = BlockHeader::statement_for(self.chain, self.epoch, round, self.me, &body, &votes);
        Draft { proposal: Proposal { statement, body, votes }, payload, pending, expired }
    }
}
