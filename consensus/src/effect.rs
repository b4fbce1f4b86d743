//! What a core asks of its driver, to be carried out in the order given.

use crate::checkpoint::Checkpoint;
use crate::validity::InvalidHeader;
use std::sync::Arc;
use thiserror::Error;
use types::{AuthorityIndex, BlockHeader, BlockRef, CommitRecord, Evidence, Height, Round, Stake};

/// An order to the driver.
#[derive(Clone, Debug)]
// An effect lives for one step, and few of them are alive at a time.
#[allow(clippy::large_enum_variant)]
pub enum Effect {
    /// Make the own block of `round`: add timestamp, payload and votes, make it durable, sign it, answer
    /// [`Input::Proposed`](crate::Input). At most one is outstanding.
    Propose {
        /// Its round.
        round: Round,
        /// Its ancestors, in order.
        ancestors: Vec<BlockRef>,
        /// Proofs to carry.
        misbehaviour: Vec<Evidence>,
        /// The block carries the mark of the epoch's end, and no transactions.
        end_of_epoch: bool,
    },
    /// Send an own block to everybody: a new one, the last one after a restart, or the last one again in a stall.
    Broadcast {
        /// The block.
        header: Arc<BlockHeader>,
    },
    /// Send history that a peer is not known to have, lowest round first (CONSENSUS.md §2.9.2). The driver does well to
    /// add payloads that are small: the peer would ask for them next.
    Push {
        /// The peer.
        to: AuthorityIndex,
        /// The headers.
        headers: Vec<Arc<BlockHeader>>,
    },
    /// A block entered the DAG; its ancestors did before. Own blocks too. The driver logs header and payload.
    Accepted {
        /// The block.
        header: Arc<BlockHeader>,
    },
    /// A commit, in order of height.
    Commit {
        /// The record.
        record: CommitRecord,
        /// Headers of its blocks, in its order.
        headers: Vec<Arc<BlockHeader>>,
        /// State of consensus behind it, to be stored atomically with the state of execution.
        checkpoint: Checkpoint,
        /// Nothing more is committed in this epoch. The core goes on making blocks, so that votes for the last ledger
        /// header are heard, until the driver replaces it by one of the next epoch.
        last_of_epoch: bool,
    },
    /// An own block with transactions can no longer be committed; they are to be proposed again.
    Dropped {
        /// The block.
        block: BlockRef,
    },
    /// Ask a peer for headers and what lies between them and `frontier`
    /// ([`Core::headers_above`](crate::Core::headers_above) answers).
    RequestHeaders {
        /// The peer.
        from: AuthorityIndex,
        /// What is missing; at most [`REQUEST_REFS_MAX`](crate::REQUEST_REFS_MAX).
        refs: Vec<BlockRef>,
        /// For each author, the highest round accepted here.
        frontier: Vec<Round>,
    },
    /// Ask a peer for payloads.
    RequestPayload {
        /// The peer.
        from: AuthorityIndex,
        /// Whose payloads are missing.
        blocks: Vec<BlockRef>,
    },
    /// The own disk is lost: ask a peer for the highest own block that it has and for its own last block
    /// ([`Core::highest_blocks`](crate::Core::highest_blocks) answers there). Said again until it has answered.
    RequestHighest {
        /// The peer.
        from: AuthorityIndex,
    },
    /// Enough peers have answered, or the operator has accepted the loss: own blocks are made again. A driver starts with
    /// [`Recovered::own_blocks_lost`](crate::Recovered) until an own block is durable.
    Reclaimed {
        /// Own blocks are of higher rounds than this one.
        above: Round,
    },
    /// The own wall clock differs from those of a quorum by more than half a second, so nothing is proposed; or it does no
    /// longer. People should know.
    ClockAlarm {
        /// By how many milliseconds the peers are ahead, or behind if negative; none when the alarm ends.
        offset_ms: Option<i64>,
    },
    /// Peers are so far ahead that their history may be gone: start commit sync. Said again every half second while they are.
    Lagging {
        /// A round that at least one honest validator has reached.
        seen: Round,
        /// The last round decided here.
        decided: Round,
        /// The last height committed here.
        height: Height,
    },
    /// An adopted commit did not fit; nothing was changed.
    AdoptRefused {
        /// Its height.
        height: Height,
        /// Why.
        reason: AdoptError,
    },
    /// A peer broke the protocol.
    Misbehaviour {
        /// Who: the author for what he signed, the sender for what he sent.
        peer: AuthorityIndex,
        /// What.
        what: Misbehaviour,
    },
    /// More than f validators are faulty: two leaders of one slot are committed. Output has stopped for good; reads go
    /// on, evidence is to be dumped.
    Halted {
        /// One leader.
        first: BlockRef,
        /// The other.
        second: BlockRef,
    },
}

/// What a peer did wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Misbehaviour {
    /// Sent a header that no honest validator makes or passes on.
    #[error("invalid header {block}: {reason}")]
    InvalidHeader {
        /// The header.
        block: BlockRef,
        /// What is wrong with it.
        reason: InvalidHeader,
    },
    /// Signed two blocks for one round.
    #[error("equivocation of validator {}", .0.culprit())]
    Equivocation(Box<Evidence>),
    /// Signed a block with a transaction that he could have seen to be invalid.
    #[error("validator {} signed a block with an invalid transaction", .0.culprit())]
    InvalidTransaction(Box<Evidence>),
    /// Signed more blocks than can be held back for their missing history, or a third one for a round. Others may have
    /// passed them on in good faith.
    #[error("flood of blocks without history, {block} among them")]
    Flood {
        /// A block that was not kept.
        block: BlockRef,
    },
    /// Asked for somebody's highest block, answered with another's.
    #[error("answered with {block}, which is another validator's")]
    ForeignBlock {
        /// What it sent.
        block: BlockRef,
    },
}

/// What a validator that has lost its disk still waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaiming {
    /// Stake of the answers that count.
    pub answered: Stake,
    /// Stake that is needed.
    pub needed: Stake,
    /// Peers whose answer is missing, or names a block that is not here yet.
    pub waiting_for: Vec<AuthorityIndex>,
}

/// Why a commit was not adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdoptError {
    /// It is not the next one.
    #[error("height {expected} is next")]
    Height {
        /// What comes next.
        expected: Height,
    },
    /// It does not continue the chain of commits here.
    #[error("it does not continue the last commit")]
    Previous,
    /// A header is neither given nor in the DAG.
    #[error("the header of {0} is missing")]
    MissingHeader(BlockRef),
    /// Its leader is not above the last one, or not among its blocks.
    #[error("its leader does not follow the last one")]
    Leader,
    /// A block's round is not between the garbage collection round and the leader's, or its author is unknown.
    #[error("{0} cannot be part of it")]
    Block(BlockRef),
    /// The core has halted.
    #[error("output has stopped")]
    Halted,
    /// The epoch's last commit is behind.
    #[error("the epoch is over")]
    EpochOver,
}

/// Where a core stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Round that it is in.
    pub round: Round,
    /// Round of the last own block.
    pub last_own_round: Round,
    /// Last height committed.
    pub last_commit_height: Height,
    /// Round of the last committed leader.
    pub last_leader_round: Round,
    /// Last round decided, committed or skipped.
    pub last_decided_round: Round,
    /// Rounds up to this one can no longer be committed.
    pub gc_round: Round,
    /// Highest round with an accepted block.
    pub highest_round: Round,
    /// Blocks held back for their history or payload.
    pub suspended: usize,
    /// Blocks in the DAG.
    pub dag_blocks: usize,
    /// Headers being asked for.
    pub missing_headers: usize,
    /// Payloads being asked for or awaited.
    pub missing_payloads: usize,
    /// Payload notices held for headers that have not come.
    pub early_payloads: usize,
    /// Who is left out of leadership.
    pub excluded: Vec<AuthorityIndex>,
    /// How long a leader is waited for, in milliseconds.
    pub leader_timeout_ms: u64,
    /// Set while no own blocks are made because the wall clock is wrong: by how many milliseconds peers are ahead of it.
    pub clock_alarm_ms: Option<i64>,
    /// Set while no own blocks are made because those made before are not known.
    pub reclaiming: Option<Reclaiming>,
    /// Whether output has stopped for good.
    pub halted: bool,
    /// Whether own blocks carry the mark of the epoch's end.
    pub closing: bool,
    /// Whether the epoch's last commit is behind.
    pub over: bool,
}
